//! The file of a source's replication set: where it is, and reading it with everything checked, at the mount and again when
//! it has been changed. What the rules mean is the SRM's.

use super::resolve::Resolved;
use crate::exit::{Code, Failure};
use crate::paths;
use protocol::{Name, RelPath};
use rustix::fs::OFlags;
use srm::set::{Kind, LONGEST, Set};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the set is.
#[derive(Clone, Debug)]
pub struct SetFile {
    path: PathBuf,
    /// It was named, so it must be there.
    named: bool,
    src: PathBuf,
    /// What lies inside SRC and must be left out.
    apart: Vec<Apart>,
}

/// A place inside SRC that must not be replicated.
#[derive(Clone, Debug)]
struct Apart {
    path: RelPath,
    kind: Kind,
    place: PathBuf,
    /// What it is; what else to do.
    why: &'static str,
}

impl SetFile {
    /// The file that `--set` names, or the one that a mount of this NAME has by convention.
    pub(super) fn find(given: Option<&Path>, name: &Name, resolved: &Resolved) -> Self {
        let path = given.map_or_else(|| resolved.places.set_file(name.as_os_str()), ToOwned::to_owned);
        let path = paths::absolute(&path);
        let mut apart = Vec::new();
        let own =
            (path.clone(), "the file of the replication set lies inside the source; give --set FILE outside of it");
        let places = resolved.apart().into_iter().map(|(place, why)| (place, Kind::Directory, why));
        for (place, kind, why) in places.chain([(own.0, Kind::File, own.1)]) {
            if let Some(below) = paths::below(&place, &resolved.src)
                && let Ok(path) = RelPath::new(below.as_os_str().as_bytes())
            {
                apart.push(Apart { path, kind, place, why });
            }
        }
        Self { path, named: given.is_some(), src: resolved.src.clone(), apart }
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks the set. Where nobody named the file, and it is not there, everything is replicated.
    pub fn load(&self) -> Result<Set, Failure> {
        let (set, there) = match read(&self.path) {
            Ok(text) => (parse(&self.path, &text)?, true),
            Err(e) if !self.named && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename) => {
                (Set::everything(), false)
            }
            Err(e) => return Err(unreadable(&self.path, &e)),
        };
        let replicated =
            |apart: &&Apart| (there || apart.kind == Kind::Directory) && set.takes(&apart.path, apart.kind, 0);
        match self.apart.iter().find(replicated) {
            Some(apart) => Err(Failure::usage(format!(
                "{} and {}: {}, or leave '/{}' out by a rule of the replication set",
                apart.place.display(),
                self.src.display(),
                apart.why,
                apart.path
            ))),
            None => Ok(set),
        }
    }
}

/// Reads a file that may be a set: a regular one, of no more than a set's longest text.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A FIFO must not make anybody wait.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    // One more byte, so that what is too long is seen to be so.
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Parses what was read from a file.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Set, Failure> {
    Set::parse_bytes(bytes).map_err(|error| Failure::new(Code::Set, format!("set {}: {error}", path.display())))
}

/// A file could not be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let what = format!("cannot read the replication set {}", path.display());
    let Failure { code, message } = Failure::io(Code::Set, what, error);
    Failure::new(code, format!("{message}; make it, or name another one"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::args::StateArgs;
    use crate::args::target_name::TargetPlace;
    use crate::state::Places;

    /// The set file of a mount of `/no/s` with a target and a state there.
    fn file(set: Option<&Path>, target: &str, state: &str) -> SetFile {
        let resolved = Resolved {
            src: "/no/s".into(),
            mnt: "/no/m".into(),
            target: TargetPlace::parse(target).unwrap(),
            places: Places::find(&StateArgs { dir: Some(state.into()) }).unwrap(),
        };
        SetFile::find(set, &Name::new(b"no-such-source-of-a-test").unwrap(), &resolved)
    }

    #[test]
    fn what_must_not_be_replicated_lies_outside_of_the_source_or_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        let load = |target: &str, state: &str, rules: &str| {
            std::fs::write(&path, format!("version = 1\n{rules}")).unwrap();
            file(Some(&path), target, state).load()
        };
        for (target, state) in [("/no/s/root", "/no/st"), ("/no/r", "/no/s/state"), ("host", "/no/s/state")] {
            for rules in ["", "[[rule]]\nexclude = '*.tmp'", "default = 'exclude'\n[[rule]]\ninclude = '*.txt'"] {
                let failure = load(target, state, rules).unwrap_err();
                assert_eq!(failure.code, Code::Usage);
                assert!(failure.message.contains("inside the source"), "{failure}");
            }
            load(target, state, "[[rule]]\nexclude = '/root/'\n[[rule]]\nexclude = '/state/'").unwrap();
        }
        load("/no/s", "/no/st", "default = 'exclude'").unwrap_err();
        load("/no/r", "/no/st", "").unwrap();
    }

    #[test]
    fn the_set_file_itself_is_not_replicated() {
        let inside = file(Some(Path::new("/no/s/x.toml")), "host", "/no/st");
        assert_eq!(inside.apart.len(), 1);
        assert_eq!((inside.apart[0].path.to_string(), inside.apart[0].kind), ("x.toml".to_owned(), Kind::File));
    }

    #[test]
    fn a_file_that_was_named_must_be_there_and_another_need_not() {
        assert!(file(None, "host", "/no/st").load().unwrap().is_everything());
        for named in ["/no/x.toml", "/", "/dev/null"] {
            assert_eq!(file(Some(Path::new(named)), "host", "/no/st").load().unwrap_err().code, Code::Set, "{named}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_path_line_and_column() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        std::fs::write(&path, "version = 1\n[[rule]]\nexclude = \"a[\"\n").unwrap();
        let failure = file(Some(&path), "host", "/no/st").load().unwrap_err();
        assert_eq!(failure.code, Code::Set);
        assert!(failure.message.contains("x.toml: line 3, column 11: "), "{failure}");
        std::fs::write(&path, vec![b'#'; LONGEST + 1]).unwrap();
        assert!(file(Some(&path), "host", "/no/st").load().unwrap_err().message.contains("larger than"));
    }
}
