//! What a source remembers from one mount to the next: which replica it has, and that it ended clean.

use crate::exit::{Code, Failure};
use crate::state;
use protocol::ReplicaId;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the file.
const VERSION: u32 = 1;

/// Kept in `replica.json` of the source's state directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The replica, once a target has given one.
    pub replica: Option<ReplicaId>,
    /// When this source last ended with everything on the target: seconds since 1970 on this node's clock.
    pub clean_end_secs: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    version: u32,
    /// 32 hexadecimal digits.
    replica: Option<String>,
    clean_end_secs: Option<i64>,
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("replica.json")
}

impl Memory {
    /// What the last mount wrote; nothing where there was none.
    pub fn read(state_dir: &Path) -> Result<Self, Failure> {
        let path = file(state_dir);
        let Some(recorded) = state::read_json::<Recorded>(&path)? else { return Ok(Self::default()) };
        let bad = |what: &str| {
            Failure::new(Code::State, format!("state: {}: {what}; restore it, or move it away", path.display()))
        };
        if recorded.version != VERSION {
            return Err(bad("it is of another version of replfs"));
        }
        let replica = match recorded.replica {
            None => None,
            Some(hex) => Some(ReplicaId::from_hex(&hex).ok_or_else(|| bad("the replica's id does not parse"))?),
        };
        Ok(Self { replica, clean_end_secs: recorded.clean_end_secs })
    }

    /// Writes it, durably.
    pub fn write(&self, state_dir: &Path) -> Result<(), Failure> {
        let recorded = Recorded {
            version: VERSION,
            replica: self.replica.map(|id| id.to_string()),
            clean_end_secs: self.clean_end_secs,
        };
        state::write_json(&file(state_dir), &recorded)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Memory::read(dir.path()).unwrap(), Memory::default());
        let memory = Memory { replica: Some(ReplicaId::from_bytes([7; 16])), clean_end_secs: Some(5) };
        memory.write(dir.path()).unwrap();
        assert_eq!(Memory::read(dir.path()).unwrap(), memory);
    }

    #[test]
    fn another_version_or_a_broken_id_is_a_state_error() {
        let dir = tempfile::tempdir().unwrap();
        for text in [
            r#"{"version":2,"replica":null,"clean_end_secs":null}"#,
            r#"{"version":1,"replica":"xyz","clean_end_secs":null}"#,
        ] {
            std::fs::write(dir.path().join("replica.json"), text).unwrap();
            assert_eq!(Memory::read(dir.path()).unwrap_err().code, Code::State);
        }
    }
}
