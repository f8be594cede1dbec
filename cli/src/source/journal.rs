//! Where a mount's journal is: which directories, of which sizes. What is in them is the journal's.

use crate::args::ReplicationArgs;
use crate::exit::{Code, Failure};
use crate::paths;
use crate::state::Places;
use protocol::Name;
use srm::{AreaConfig, AreaKind, JournalConfig};
use std::path::Path;

/// The file in a source's state directory that says what may be half-written after a power cut.
pub const HOT: &str = "hot";

/// The journal that the arguments ask for. `may_resume`: SRC is the directory that it was.
pub fn plan(
    replication: &ReplicationArgs,
    places: &Places,
    name: &Name,
    state_dir: &Path,
    may_resume: bool,
) -> Result<JournalConfig, Failure> {
    let dir = match &replication.journal_memory {
        Some(dir) => paths::absolute(dir).join(name.as_os_str()),
        None => places.journal(name.as_os_str()),
    };
    let mut areas = vec![AreaConfig { dir: dir.join("memory"), bytes: replication.backlog, kind: AreaKind::Memory }];
    if replication.journal_size > 0 {
        let (dir, bytes) = (state_dir.join("journal"), replication.journal_size);
        areas.push(AreaConfig { dir, bytes, kind: AreaKind::Disk });
    }
    for extension in &replication.journal_extend {
        let dir = paths::absolute(&extension.dir).join(name.as_os_str());
        areas.push(AreaConfig { dir, bytes: extension.bytes, kind: AreaKind::Extension });
    }
    let boot =
        platform::sys::boot().map_err(|e| Failure::io(Code::System, "cannot read this machine's boot id", &e))?;
    Ok(JournalConfig { dir, areas, boot, may_resume, hot: state_dir.join(HOT) })
}
