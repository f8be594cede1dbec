//! Setting aside: what stands in the way of repair moves to ROOT/.replfs/NAME/aside and into its index. Nothing here
//! deletes anything (I7).
//!
//! One directory per session, `aside/<UTC time>[-n]/<n>-<name>`, and one line per item in `aside/index`: time, record,
//! original path, where it is now. Bytes of paths that are not printable ASCII, and backslashes, stand as `\xNN`.

use crate::home::Home;
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
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(Session::begin(self.home.aside.as_fd())?),
        };
        session.items += 1;
        let mut stored = format!("{}-", session.items).into_bytes();
        let bytes = name.as_bytes();
        stored.extend_from_slice(&bytes[..bytes.len().min(KEPT_NAME_BYTES)]);
        // Listed before it moves: a line too many is harmless, a line too few hides somebody's file.
        let when = utc(platform::sys::now_ns() / 1_000_000_000);
        let line = format!("{when} {seq} {} {}/{}\n", escaped(path.as_bytes()), session.name, escaped(&stored));
        session.index.write_all(line.as_bytes())?;
        tracing::info!(name = %self.home.name, %path, "set aside as {}/{}", session.name, escaped(&stored));
        Ok(rustix::fs::renameat_with(dir, name.as_bytes(), &session.dir, &stored[..], RenameFlags::empty())?)
    }
}

impl Session {
    fn begin(aside: BorrowedFd<'_>) -> io::Result<Self> {
        let time = utc(platform::sys::now_ns() / 1_000_000_000);
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

/// How many items the index of a replica lists, by the descriptor of ROOT/.replfs/NAME; zero where it has none.
pub(crate) fn count(meta: BorrowedFd<'_>) -> u64 {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(index) = rustix::fs::openat(meta, "aside/index", flags, Mode::empty()) else { return 0 };
    BufReader::new(File::from(index)).split(b'\n').take_while(Result::is_ok).count() as u64
}

/// Seconds since 1970 as `20261231T235959Z`.
fn utc(secs: u64) -> String {
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days of the Gregorian calendar, counted in eras of 400 years from 0000-03-01.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
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
        assert_eq!(utc(0), "19700101T000000Z");
        assert_eq!(utc(951_782_400), "20000229T000000Z");
        assert_eq!(utc(1_798_761_599), "20261231T235959Z");
    }
}
