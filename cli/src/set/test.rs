//! `replfs set test`: verdicts on paths, with their reasons.

use super::{Daemon, VERSION, print_json};
use crate::args::StateArgs;
use crate::args::set::TestArgs;
use crate::exit::Failure;
use crate::{out, paths};
use protocol::RelPath;
use serde::Serialize;
use srm::set::{Explained, Kind, Rule, Verdict};
use std::ffi::OsStr;
use std::fs::FileType;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    version: u32,
    paths: Vec<Tested>,
}

/// The verdict on one path.
#[derive(Serialize)]
struct Tested {
    /// Below SRC.
    path: String,
    kind: Kind,
    /// In bytes.
    size: u64,
    /// It is there.
    exists: bool,
    verdict: Verdict,
    /// The rule that decides.
    rule: Option<Rule>,
    /// The directory above that it matches.
    directory: Option<String>,
    /// The rule that makes a directory visible.
    leads: Option<Rule>,
    /// In words.
    reason: String,
}

pub(super) fn run(args: &TestArgs, state: &StateArgs) -> Result<(), Failure> {
    let mut daemon = Daemon::find(&args.mount, state)?;
    let set = daemon.in_force()?.set;
    let mut paths = Vec::new();
    for word in &args.paths {
        let path = below(word, &daemon)?;
        let (kind, size, exists) = look(word, &daemon.mnt.join(path.as_os_str()));
        let explained = set.explain(&path, kind, size);
        paths.push(Tested::new(&path, kind, size, exists, explained));
    }
    if args.json {
        return print_json(&Document { version: VERSION, paths });
    }
    for tested in paths {
        let note = if tested.exists { "" } else { " (not there)" };
        out::line(&format!("{}{note}: {}", tested.path, tested.reason))?;
    }
    Ok(())
}

impl Tested {
    fn new(path: &RelPath, kind: Kind, size: u64, exists: bool, explained: Explained) -> Self {
        let reason = explained.to_string();
        let Explained { verdict, rule, directory, leads, .. } = explained;
        let path = if path.is_root() { ".".to_owned() } else { path.to_string() };
        Self { path, kind, size, exists, verdict, rule, directory: directory.map(|d| d.to_string()), leads, reason }
    }
}

/// The path below SRC that a word means.
pub(crate) fn below(word: &OsStr, daemon: &Daemon) -> Result<RelPath, Failure> {
    let fail = |why: &str| Failure::usage(format!("path '{}': {why}", word.to_string_lossy()));
    let path = Path::new(word);
    let inside = if path.is_absolute() {
        let places = [&daemon.mnt, &daemon.source];
        let candidates = [path.to_owned(), seen(path)];
        let found = candidates.iter().find_map(|path| places.iter().find_map(|place| path.strip_prefix(place).ok()));
        found.map(Path::to_owned).ok_or_else(|| {
            fail("neither below MNT nor below SRC; give a path below one of them, or one without a '/' in front")
        })?
    } else {
        path.to_owned()
    };
    let parts: Vec<&[u8]> =
        inside.as_os_str().as_bytes().split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    RelPath::new(&parts.join(&b'/')).map_err(|e| fail(&format!("{e}; give it without '..'")))
}

/// The path with links on the way resolved, as far as it exists; its last name is taken as it is.
fn seen(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => paths::absolute(parent).join(name),
        _ => path.to_owned(),
    }
}

/// What is there: kind, size, whether anything is.
fn look(word: &OsStr, place: &Path) -> (Kind, u64, bool) {
    match place.symlink_metadata() {
        Ok(meta) => (kind(meta.file_type()), meta.len(), true),
        Err(_) if word.as_bytes().ends_with(b"/") => (Kind::Directory, 0, false),
        Err(_) => (Kind::File, 0, false),
    }
}

fn kind(of: FileType) -> Kind {
    if of.is_file() {
        Kind::File
    } else if of.is_dir() {
        Kind::Directory
    } else if of.is_symlink() {
        Kind::Symlink
    } else {
        Kind::Special
    }
}
