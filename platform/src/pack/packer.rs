//! Makes the blocks of one stream: what is decided for each, and what came of it.

use super::choice::{Choice, Method, Mode, PROBE_BYTES};
use super::codec::Codec;
use std::time::Duration;

/// Packs what one stream sends.
pub struct Packer {
    choice: Choice,
    codec: Codec,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("choice", &self.choice).finish_non_exhaustive()
    }
}

impl Packer {
    /// One that knows nothing yet.
    pub fn new(mode: Mode) -> Self {
        Self { choice: Choice::new(mode), codec: Codec::default() }
    }

    /// What it goes by.
    pub fn choice(&mut self) -> &mut Choice {
        &mut self.choice
    }

    /// How a block of these bytes is to be packed. `clock`: the time since whenever.
    pub fn plan(&mut self, raw: &[u8], clock: impl Fn() -> Duration) -> Method {
        if self.choice.wants_probe(raw.len()) {
            let sample = &raw[..raw.len().min(PROBE_BYTES)];
            let results = Method::CANDIDATES.map(|method| {
                let begun = clock();
                let packed = self.codec.shrink(method, sample);
                (packed.unwrap_or(sample.len()), clock().saturating_sub(begun))
            });
            self.choice.probed(sample.len(), results);
        }
        self.choice.decide(raw.len())
    }

    /// Makes a block as it was planned, and says so to [`Choice::packed`]; otherwise as [`Codec::pack`].
    pub fn pack_by(&mut self, method: Method, raw: &[u8], clock: impl Fn() -> Duration) -> bool {
        let begun = clock();
        let packed = self.codec.shrink(method, raw);
        if method != Method::Plain {
            let took = clock().saturating_sub(begun);
            self.choice.packed(method, raw.len(), packed.unwrap_or(raw.len()), took);
        }
        self.codec.make(method, raw.len(), packed)
    }

    /// Both: whether the bytes are in the block.
    pub fn pack(&mut self, raw: &[u8], clock: impl Fn() -> Duration) -> bool {
        let method = self.plan(raw, &clock);
        self.pack_by(method, raw, clock)
    }

    /// What was made last.
    pub fn block(&self) -> &[u8] {
        self.codec.block()
    }
}
