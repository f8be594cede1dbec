//! Setting aside: what stands in the way of repair moves to ROOT/.replfs/NAME/aside and into its index. Nothing here
//! deletes anything (I7).
//!
//! One directory per session, `aside/<UTC time>[-n]/<n>-<name>`, and one line per item in `aside/index`: time, record,
//! original path, where it is now. Bytes of paths that are not printable ASCII, and backslashes, stand as `\xNN`.

use crate::home::Home;
use crate::quota::bytes_of;
use protocol::{Name, RelPath};
use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

const INDEX: &str = "index";
/// So that a number before it still makes a name.
const KEPT_NAME_BYTES: usize = 200;

/// Where this session sets things aside.
#[derive(Debug)]
pub(crate) struct Aside {
    home: Arc<Home>,
    /// Made with the first item.
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    dir: OwnedFd,
    name: String,
    items: u64,
    index: File,
}

impl Aside {
    pub fn new(home: Arc<Home>) -> Self {
        Self { home, session: None }
    }

    /// Moves `name` in `dir`, which is `path` in the replica, with everything in it, because of record `seq`.
    pub fn take(&mut self, dir: BorrowedFd<'_>, name: &Name, path: &RelPath, seq: u64) -> io::Result<()> {
        let before = self.takes();
        let taken = self.move_there(dir, name, path, seq);
        let (bytes, files) = self.takes();
        self.home.quota.add(bytes - before.0, files - before.1);
        taken
    }

    /// Bytes and inodes of the index and the session's directory.
    fn takes(&self) -> (i64, i64) {
        if !self.home.quota.is_set() {
            return (0, 0);
        }
        let index = platform::sys::attr::stat_at(&self.home.aside, INDEX).ok();
        let dir = self.session.as_ref().and_then(|session| platform::sys::attr::stat(&session.dir).ok());
        [index, dir].iter().flatten().fold((0, 0), |(bytes, files), stat| (bytes + bytes_of(stat), files + 1))
    }

    fn move_there(&mut self, dir: BorrowedFd<'_>, name: &Name, path: &RelPath, seq: u64) -> io::Result<()> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(Session::begin(self.home.aside.as_fd())?),
        };
        session.items += 1;
        let mut stored = format!("{}-", session.items).into_bytes();
        let bytes = name.as_bytes();
        stored.extend_from_slice(&bytes[..bytes.len().min(KEPT_NAME_BYTES)]);
        // Listed before it moves: a line too many is harmless, a line too few hides somebody's file.
        let when = platform::sys::utc(platform::sys::now_ns() / 1_000_000_000);
        let line = format!("{when} {seq} {} {}/{}\n", escaped(path.as_bytes()), session.name, escaped(&stored));
        session.index.write_all(line.as_bytes())?;
        tracing::info!(name = %self.home.name, %path, "set aside as {}/{}", session.name, escaped(&stored));
        Ok(rustix::fs::renameat_with(dir, name.as_bytes(), &session.dir, &stored[..], RenameFlags::empty())?)
    }
}

impl Session {
    fn begin(aside: BorrowedFd<'_>) -> io::Result<Self> {
        let time = platform::sys::utc(platform::sys::now_ns() / 1_000_000_000);
        let mut name = time.clone();
        for again in 1.. {
            match rustix::fs::mkdirat(aside, &name, Mode::RWXU) {
                Err(Errno::EXIST) => name = format!("{time}-{again}"),
                result => {
                    result?;
                    break;
                }
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let dir = rustix::fs::openat(aside, &name, flags, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let index = File::from(rustix::fs::openat(aside, INDEX, flags, Mode::RUSR | Mode::WUSR)?);
        Ok(Self { dir, name, items: 0, index })
    }
}

/// A directory of its own for these things, which are listed in the index as `path`; they are still to move there.
pub(crate) fn make_place(aside: BorrowedFd<'_>, path: &str, names: &[Name]) -> io::Result<Place> {
    let mut session = Session::begin(aside)?;
    let when = platform::sys::utc(platform::sys::now_ns() / 1_000_000_000);
    for name in names {
        let line = format!("{when} 0 {} {}/{}\n", escaped(path.as_bytes()), session.name, escaped(name.as_bytes()));
        session.index.write_all(line.as_bytes())?;
    }
    Ok(Place { dir: session.dir, name: session.name })
}

/// See [`make_place`].
pub(crate) struct Place {
    pub dir: OwnedFd,
    /// Below the directory for what is set aside.
    pub name: String,
}

/// How many items the index of a replica lists, by the descriptor of ROOT/.replfs/NAME; zero where it has none.
pub(crate) fn count(meta: BorrowedFd<'_>) -> u64 {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(index) = rustix::fs::openat(meta, "aside/index", flags, Mode::empty()) else { return 0 };
    BufReader::new(File::from(index)).split(b'\n').take_while(Result::is_ok).count() as u64
}

fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'\\' {
            out.push(char::from(*byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_lines_hold_any_path() {
        assert_eq!(escaped(b"a b\n\\\xff/c"), "a\\x20b\\x0a\\x5c\\xff/c");
    }
}
