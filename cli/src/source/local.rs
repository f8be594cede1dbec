//! Single-server: the target is a directory of this machine, served within this process by the same sessions as over a
//! network (C2).

use scm::ScmError;
use scm::session::{Dial, Streams};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use target::Target;

/// Bytes under way in each direction.
const PIPE_BYTES: usize = 1 << 20;

/// Connects to a target in this process.
pub struct LocalDialer {
    target: Arc<Target>,
    /// This node's fingerprint: the owner of the replica.
    peer: String,
}

impl LocalDialer {
    /// A dialer to `target` for the node `peer`.
    pub fn new(target: Arc<Target>, peer: String) -> Self {
        Self { target, peer }
    }
}

impl Dial for LocalDialer {
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Streams, ScmError>> + Send + '_>> {
        let (target, peer) = (Arc::clone(&self.target), self.peer.clone());
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            let (reader, writer) = tokio::io::split(theirs);
            let served = tokio::spawn(async move {
                if let Err(error) = target.serve(&peer, reader, writer).await {
                    tracing::warn!(event = "session-failed", "{error}");
                }
            });
            let (reader, writer) = tokio::io::split(ours);
            Ok(Streams {
                reader: Box::new(reader),
                writer: Box::new(writer),
                why_closed: Box::new(|| None),
                held: Box::new(served),
            })
        })
    }
}
