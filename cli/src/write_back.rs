//! What the kernel has gathered of a mount with `--cache writeback` is written back, before a command waits for the target. From outside: the daemon would wait
//! for itself.
//!
//! `syncfs(2)` waits for a FUSE file system's pages as far as the kernel likes. But pages are dirty only of files that somebody has open for writing, or has mapped: those the daemon
//! knows, and `fsync(2)` of each waits.

use crate::control::client::{self, Client};
use crate::control::{Request, Response, Status, Writer};
use crate::exit::{Code, Failure};
use crate::source::mounts;
use platform::sys::resolve;
use protocol::RelPath;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use srm::status::CacheMode;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// How often files are looked for that were renamed between the daemon's answer and their opening.
const ROUNDS: usize = 100;

/// Returns when everything that was written before the call has reached the daemon; at once where nothing is gathered.
pub fn write_back(client: &mut Client) -> Result<(), Failure> {
    let Response::Status { status } = client.ask(Request::Status)? else { return Err(client::unasked()) };
    let Status::Source(source) = *status else { return Ok(()) };
    if source.cache == CacheMode::Through {
        return Ok(());
    }
    let mnt = Path::new(&source.mountpoint);
    let bad = |error: &io::Error| {
        Failure::io(
            Code::System,
            format!("what the kernel has gathered of {} is not written back", mnt.display()),
            error,
        )
    };
    if mounts::replfs_at(mnt).is_none() {
        let text =
            format!("{} is not mounted here; run this where it is, as its writes are gathered there", mnt.display());
        return Err(Failure::new(Code::NoSuchMount, text));
    }
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(mnt, how, Mode::empty()).map_err(|error| bad(&error.into()))?;
    // All begins at once; what has failed is said by the file.
    let _begun = rustix::fs::syncfs(&root);
    let mut done = HashSet::new();
    for _ in 0..ROUNDS {
        let mut renamed = false;
        let mut after = 0;
        loop {
            let Response::Writers { writers } = client.ask(Request::Writers { after })? else {
                return Err(client::unasked());
            };
            let Some(last) = writers.last() else { break };
            after = last.ino;
            for writer in &writers {
                if done.contains(&writer.ino) {
                    continue;
                }
                if sync(root.as_fd(), writer).map_err(|error| of_file(writer, &error))? {
                    done.insert(writer.ino);
                } else {
                    renamed = true;
                }
            }
        }
        if !renamed {
            return Ok(());
        }
    }
    let text = format!(
        "files of {} are renamed faster than they can be opened, so not all is written back; try again",
        mnt.display()
    );
    Err(Failure::new(Code::System, text))
}

fn of_file(writer: &Writer, error: &io::Error) -> Failure {
    let path = String::from_utf8_lossy(&writer.path).into_owned();
    Failure::io(Code::System, format!("{path}: what was written to it has not all reached the source"), error)
}

/// Writes a file back. `false`: it is not there any more under that name.
fn sync(root: BorrowedFd<'_>, writer: &Writer) -> io::Result<bool> {
    let Ok(path) = RelPath::new(&writer.path) else { return Err(Errno::INVAL.into()) };
    let how = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = match resolve::open_beneath(root, &path, how | OFlags::RDONLY) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::ACCESS) => {
            resolve::open_beneath(root, &path, how | OFlags::WRONLY)
        }
        opened => opened,
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_elsewhere(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    if rustix::fs::fstat(&file)?.st_ino != writer.ino {
        return Ok(false);
    }
    rustix::fs::fsync(&file)?;
    Ok(true)
}

fn is_elsewhere(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::ISDIR, Errno::NXIO, Errno::STALE];
    Errno::from_io_error(error).is_some_and(|error| gone.contains(&error))
}
