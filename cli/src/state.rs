//! Where replfs keeps things on this node, by convention or below `--state`: the key, what is remembered of each source,
//! sockets. What is in the files is known where they are used.

use crate::args::StateArgs;
use crate::exit::{Code, Failure, reason};
use crate::paths;
use rustix::fs::Mode;
use scm::keyring::KeyPlace;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The directories of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// For what survives a boot.
    state: PathBuf,
    /// For sockets.
    run: PathBuf,
}

impl Places {
    /// Those of this user, or those below `--state`.
    pub fn find(args: &StateArgs) -> Result<Self, Failure> {
        if let Some(dir) = &args.dir {
            let state = paths::absolute(dir);
            return Ok(Self { run: state.join("run"), state });
        }
        if rustix::process::geteuid().is_root() {
            return Ok(Self { state: "/var/lib/replfs".into(), run: "/run/replfs".into() });
        }
        let state = env("XDG_STATE_HOME")
            .or_else(|| env("HOME").map(|home| home.join(".local/state")))
            .map(|base| base.join("replfs"))
            .ok_or_else(|| Failure::new(Code::State, "no place for state: HOME is not set; use --state DIR"))?;
        let run = env("XDG_RUNTIME_DIR").map_or_else(|| state.join("run"), |base| base.join("replfs"));
        Ok(Self { state, run })
    }

    /// The directory for what survives a boot.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The node's keys.
    pub fn keys(&self) -> KeyPlace {
        KeyPlace::new(&self.state)
    }

    /// What is remembered of a source.
    pub fn source(&self, name: &OsStr) -> PathBuf {
        self.state.join("sources").join(name)
    }

    /// Where people keep the replication set of a source; with the state for an ordinary user without a home.
    pub fn set_file(&self, name: &OsStr) -> PathBuf {
        let mut file = name.to_owned();
        file.push(".toml");
        if rustix::process::geteuid().is_root() {
            return Path::new("/etc/replfs").join(file);
        }
        let config = env("XDG_CONFIG_HOME").or_else(|| env("HOME").map(|home| home.join(".config")));
        config.map_or_else(|| self.source(name).join("set.toml"), |config| config.join("replfs").join(file))
    }

    /// Where sources' daemons have their sockets.
    pub fn source_sockets(&self) -> &Path {
        &self.run
    }

    /// The part of a source's journal that is in memory, where this system has such a place.
    pub fn journal(&self, name: &OsStr) -> PathBuf {
        self.run.join("journal").join(name)
    }

    /// Where target daemons have theirs.
    pub fn target_sockets(&self) -> PathBuf {
        self.run.join("targets")
    }

    /// The control socket of a source's daemon. A NAME too long for a socket's name is shortened, and told apart by a hash.
    pub fn source_socket(&self, name: &OsStr) -> PathBuf {
        const LONGEST: usize = 64;
        let long = name.len() > LONGEST;
        let mut file = OsStr::from_bytes(&name.as_bytes()[..if long { LONGEST - 17 } else { name.len() }]).to_owned();
        if long {
            file.push(format!("-{}", short_hash(name.as_bytes())));
        }
        file.push(".sock");
        self.run.join(file)
    }

    /// The control socket of the daemon of a ROOT.
    pub fn target_socket(&self, root: &Path) -> PathBuf {
        self.target_sockets().join(format!("{}.sock", short_hash(root.as_os_str().as_bytes())))
    }

    /// Makes the state directory if it is missing.
    pub fn make_state(&self) -> Result<(), Failure> {
        make_private(&self.state)
    }

    /// Makes the state directory of a source, for nobody else to look into.
    pub fn make_source(&self, name: &OsStr) -> Result<PathBuf, Failure> {
        let dir = self.source(name);
        make_private(&self.state)?;
        make_private(&self.state.join("sources"))?;
        make_private(&dir)?;
        close_to_others(&dir)?;
        Ok(dir)
    }
}

/// A directory that the environment names.
fn env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| value.as_bytes().starts_with(b"/")).map(PathBuf::from)
}

fn short_hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

/// Makes a directory and what is missing above it, mode 0700 each.
pub fn make_private(dir: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| state_failure("make the directory", dir, &e))
}

/// Takes a directory of ours from the eyes of others, whatever mode it was made with.
pub fn close_to_others(dir: &Path) -> Result<(), Failure> {
    rustix::fs::chmod(dir, Mode::RWXU).map_err(|e| state_failure("close to others", dir, &e.into()))
}

fn state_failure(what: &str, path: &Path, error: &io::Error) -> Failure {
    let text = format!(
        "state: cannot {what} {}: {}; make room, give it to this user, or use --state DIR",
        path.display(),
        reason(error)
    );
    Failure::new(Code::State, text)
}

/// Reads a JSON file of the state; `None` where there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(state_failure("read", path, &e)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        Failure::new(Code::State, format!("state: {} does not parse: {e}; restore it, or move it away", path.display()))
    })
}

/// Writes a JSON file of the state so that a crash at any moment leaves the old one or the new one.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let fail = |e: io::Error| state_failure("write", path, &e);
    let mut new: OsString = path.into();
    new.push(".new");
    let bytes = serde_json::to_vec(value).map_err(|e| fail(e.into()))?;
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(fail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn below(dir: &Path) -> Places {
        Places::find(&StateArgs { dir: Some(dir.to_owned()) }).unwrap()
    }

    #[test]
    fn everything_is_below_a_given_directory() {
        let places = below(Path::new("/st"));
        assert_eq!(places.keys().current(), Path::new("/st/key.pem"));
        assert_eq!(places.source(OsStr::new("n")), Path::new("/st/sources/n"));
        assert_eq!(places.source_socket(OsStr::new("n")), Path::new("/st/run/n.sock"));
        assert!(places.target_socket(Path::new("/r")).starts_with("/st/run/targets"));
    }

    #[test]
    fn a_long_name_has_a_socket_of_its_own() {
        let places = below(Path::new("/st"));
        let (one, other) = (OsString::from("a".repeat(254) + "1"), OsString::from("a".repeat(254) + "2"));
        assert_ne!(places.source_socket(&one), places.source_socket(&other));
        assert!(places.source_socket(&one).file_name().unwrap().len() <= 70);
    }

    #[test]
    fn the_state_of_a_source_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let made = below(&dir.path().join("a/b")).make_source(OsStr::new("n")).unwrap();
        assert_eq!(std::fs::metadata(made).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn what_was_written_is_read_and_what_is_broken_is_a_state_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &7_u32).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(7));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap_err().code, Code::State);
    }
}
