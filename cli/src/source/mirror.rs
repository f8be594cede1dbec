//! What the daemon does when it is asked to mirror: which paths those are, whether it can be done now, and beginning it. What
//! is compared and sent is the SRM's.

use crate::control::Unfinished;
use crate::exit::{Code, Failure};
use platform::tree::{Names, Node};
use protocol::{Name, RelPath};
use rustix::fs::FileType;
use srm::set::{Kind, Verdict};
use srm::{Again, Readiness, Srm};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the target may take to say whether it has something.
const ANSWER: Duration = Duration::from_secs(5);

/// Begins to compare these paths, or everything where there are none. What runs and cannot be joined is waited for until
/// `timeout` is over.
pub fn begin(srm: &Arc<Srm>, paths: &[Vec<u8>], lanes: Option<u8>, timeout: Duration) -> Result<(), Unfinished> {
    let failed = Unfinished::Failed;
    if srm.is_bypassed() {
        return Err(failed(Failure::usage("this mount has no target, so there is nothing to mirror to")));
    }
    let deadline = Instant::now().checked_add(timeout);
    // Who asks for it waits for it.
    let _sent_meanwhile = srm.let_go_meanwhile();
    loop {
        let rest = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
        match srm.wait_until_ready(rest) {
            Readiness::Ready => {}
            Readiness::Busy => return Err(srm.left().into()),
            Readiness::Bypass => {
                let text = "replication is switched off; 'replfs bypass MNT off' switches it on, which brings over what changed";
                return Err(failed(Failure::new(Code::Unreachable, text)));
            }
            Readiness::Away(reason) => {
                let reason = reason.map(|text| format!(": {text}")).unwrap_or_default();
                let text = format!(
                    "the target is not connected{reason}; what changes is remembered and brought over when it is"
                );
                return Err(failed(Failure::new(Code::Unreachable, text)));
            }
        }
        let again = wanted(srm, paths).map_err(failed)?;
        if let Some(lanes) = lanes {
            srm.lanes().set_limit(lanes.into());
        }
        let names = srm.tree().names().write();
        if srm.look_again(&names, &again, false) {
            srm.let_go();
            return Ok(());
        }
    }
}

/// What is to be looked at again.
fn wanted(srm: &Srm, paths: &[Vec<u8>]) -> Result<Vec<Again>, Failure> {
    let mut again = Vec::new();
    for bytes in paths {
        let path = RelPath::new(bytes)
            .map_err(|e| Failure::usage(format!("path '{}': {e}", String::from_utf8_lossy(bytes))))?;
        if path.is_root() {
            return Ok(vec![Again::All]);
        }
        let (dir, name) = place(srm, &path)?;
        again.push(Again::Name(dir, name));
    }
    Ok(if again.is_empty() { vec![Again::All] } else { again })
}

/// The directory and the name of a path that is on one side at least and not left out.
fn place(srm: &Srm, path: &RelPath) -> Result<(Arc<Node>, Name), Failure> {
    let (place, found) = {
        let names = srm.tree().names().read();
        let Some((dir, name)) = srm.place_of(&names, path) else {
            return Err(Failure::usage(format!(
                "path '{path}': the directory above it is not on the source; give a directory above that is"
            )));
        };
        let found = look(srm, &names, &dir, &name);
        ((dir, name), found)
    };
    if let Some((kind, size)) = found {
        let explained = srm.set().explain(path, kind, size);
        if explained.verdict == Verdict::LeftOut {
            return Err(Failure::usage(format!(
                "path '{path}' is not replicated: {explained}; 'replfs set' changes that"
            )));
        }
    } else if srm.is_on_target(&place.0, &place.1, ANSWER) == Some(false) {
        return Err(Failure::usage(format!("path '{path}' is neither on the source nor on the target")));
    }
    Ok(place)
}

/// What the source has under a name: its kind and size.
fn look(srm: &Srm, names: &Names, dir: &Arc<Node>, name: &Name) -> Option<(Kind, u64)> {
    let (node, stat) = srm.tree().lookup(names, dir, name, 0).ok()?;
    let kind = match node.kind() {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    };
    srm.tree().settle(node);
    Some((kind, stat.st_size.cast_unsigned()))
}
