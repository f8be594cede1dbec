//! `--low-latency` of both daemons: what keeps cores awake, or why it cannot. When that is is `platform::awake`'s.

use crate::exit::{Code, Failure};
use platform::awake::{Awake, DEVICE, LowLatency};
use std::sync::Arc;

/// Opens what that takes; nothing keeps cores awake before [`Awake::start`].
pub fn open(how: LowLatency) -> Result<Arc<Awake>, Failure> {
    let failed = |e| Failure::io(Code::System, format!("--low-latency on: cannot open {DEVICE}; leave it out"), &e);
    let awake = Awake::new(how).map_err(failed)?;
    if awake.is_in_use() {
        tracing::info!(event = "low-latency", "idle cores stay awake while calls wait");
    }
    Ok(Arc::new(awake))
}
