//! Packing what is sent (C3): what a mount wants, whether its target takes blocks and short fronts, and what became of it. When it pays and by what is
//! [`platform::pack`]'s; `packers` has the threads.

mod packers;
mod writer;

pub use packers::Packers;
pub use writer::Goodput;
pub(crate) use writer::writer;

use crate::ScmError;
use crate::session::{Dial, Streams};
use parking_lot::Mutex;
use platform::pack::{Method, Mode};
use protocol::Features;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One mount's.
#[derive(Debug)]
pub struct Packing {
    mode: Mode,
    /// Threads that pack what takes long; without them each stream packs what it sends itself.
    packers: Option<Packers>,
    /// The target of the session takes blocks. A lane is let in beside a session only, so what holds for that holds for it; where another session has begun
    /// meanwhile, the target ends the lane.
    agreed: AtomicBool,
    /// The same of short fronts, whatever the mode is.
    short: AtomicBool,
    raw_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    /// By which name each open stream goes, and what it does now.
    streams: Mutex<BTreeMap<String, Method>>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Bytes that were to be sent in blocks.
    pub raw_bytes: u64,
    /// What they were when they were sent, heads of blocks included.
    pub sent_bytes: u64,
    /// What each open stream does now: `plain`, `lz4`, `zstd:N`.
    pub streams: BTreeMap<String, String>,
}

impl Packing {
    /// As the user wants, by threads of its own where there are any.
    pub fn new(mode: Mode, packers: Option<Packers>) -> Arc<Self> {
        Arc::new(Self {
            mode,
            packers,
            agreed: AtomicBool::new(false),
            short: AtomicBool::new(false),
            raw_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            streams: Mutex::default(),
        })
    }

    /// What became of it until now.
    pub fn now(&self) -> Packed {
        Packed {
            raw_bytes: self.raw_bytes.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            streams: self.streams.lock().iter().map(|(name, method)| (name.clone(), method.to_string())).collect(),
        }
    }

    /// What the greeting has beside these. Where nothing is to be packed no blocks are offered.
    pub(crate) fn offer(&self, features: Features) -> Features {
        let features = features.and(Features::SHORT);
        if self.mode == Mode::Off { features } else { features.and(Features::PACKED) }
    }

    /// What the target of a session says of itself.
    pub(crate) fn agree(&self, theirs: Features) {
        self.agreed.store(self.mode != Mode::Off && theirs.has(Features::PACKED), Ordering::Release);
        self.short.store(theirs.has(Features::SHORT), Ordering::Release);
    }

    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Acquire)
    }

    pub(crate) fn is_agreed(&self) -> bool {
        self.agreed.load(Ordering::Acquire)
    }
}

/// Makes connections on which what is sent is packed, where the target takes it.
pub struct PackingDialer {
    inner: Arc<dyn Dial>,
    packing: Arc<Packing>,
}

impl PackingDialer {
    /// Those of another dialer.
    pub fn new(inner: Arc<dyn Dial>, packing: Arc<Packing>) -> Arc<Self> {
        Arc::new(Self { inner, packing })
    }
}

impl std::fmt::Debug for PackingDialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackingDialer").field("packing", &self.packing).finish_non_exhaustive()
    }
}

impl Dial for PackingDialer {
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Streams, ScmError>> + Send + '_>> {
        self.inner.dial()
    }

    fn packing(&self) -> Option<&Arc<Packing>> {
        Some(&self.packing)
    }
}
