//! Who is let in: what a Hello must be for its source to get its replica.

use crate::error::{means_unwritable, text};
use crate::home::{Directories, Home};
use crate::owner::Owner;
use crate::peer::Peer;
use crate::quota::Quota;
use crate::root::{OWN, Target, open_or_make};
use protocol::{Hello, MAX_NUMBER, Name, RefusalCode, Refused, ReplicaId, VERSION};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

pub(crate) fn refused(code: RefusalCode, text: impl Into<String>) -> Refused {
    Refused { code, text: text.into() }
}

/// Whether this build speaks the protocol of a peer's greeting.
pub(crate) fn speaks(peer: &str, version: u8) -> Result<(), Refused> {
    if version == VERSION {
        return Ok(());
    }
    let why =
        format!("the {peer} speaks protocol {version}, this target {VERSION}: use the same release on both sides");
    Err(refused(RefusalCode::Version, why))
}

/// What can be told from the Hello and the owner file alone: before the session that has the replica is ended.
pub(crate) fn check(target: &Target, hello: &Hello, peer: &Peer) -> Result<(), Refused> {
    let name = &hello.name;
    speaks("source", hello.version)?;
    if let Some(bits) = hello.features.unknown_demands() {
        let why = format!(
            "the source demands what this target does not know (feature {bits}; it is replfs {}, this target {}): use the same release on both sides",
            hello.software, target.software
        );
        return Err(refused(RefusalCode::Version, why));
    }
    if name.as_bytes().starts_with(OWN.as_bytes()) {
        return Err(refused(RefusalCode::Other, format!("'{name}' is replfs's own: choose another name")));
    }
    if hello.oldest.get().max(hello.newest.get()) > MAX_NUMBER {
        return Err(refused(RefusalCode::Protocol, "hello with numbers that nobody gives out"));
    }
    if !peer.may(name) {
        return Err(not_given(peer, name));
    }
    // Not the number after the newest: there need not be one.
    if hello.oldest.prev() > hello.newest {
        return Err(refused(RefusalCode::Protocol, "hello with its oldest number after its newest"));
    }
    let meta = match open_dir(&target.own, name.as_bytes()) {
        Ok(meta) => meta,
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
        Err(e) => return Err(failed(hello, &e)),
    };
    match Owner::read(meta.as_fd()).map_err(|e| failed(hello, &e))? {
        Some(owner) if !peer.owns(name, &owner.source) => Err(owned(peer, name, &owner)),
        _ => Ok(()),
    }
}

/// Which directories a source may have was decided when it was paired.
pub(crate) fn not_given(peer: &Peer, name: &Name) -> Refused {
    let why = format!(
        "'{name}' was not given to this source, which has {}: mount under that NAME, or invite it on the target ('replfs target invite --dir {name}')",
        peer.dirs()
    );
    refused(RefusalCode::Unknown, why)
}

/// It is the replica of another key.
pub(crate) fn owned(peer: &Peer, name: &Name, owner: &Owner) -> Refused {
    let what = if peer.dirs.is_some() {
        "if that source is gone for good, invite this one on the target with --take-over"
    } else {
        "choose another name"
    };
    refused(RefusalCode::Owned, format!("'{name}' belongs to another source ({}): {what}", owner.source))
}

/// Opens the replica, or makes it where the source never had one.
pub(crate) fn open(target: &Target, hello: &Hello, peer: &Peer) -> Result<Home, Refused> {
    let fail = |e: io::Error| failed(hello, &e);
    let name = hello.name.as_bytes();
    let meta = match (open_dir(&target.own, name), hello.replica) {
        (Ok(meta), _) => meta,
        (Err(e), Some(_)) if e.raw_os_error() == Some(libc::ENOENT) => return Err(changed(hello, "nothing is there")),
        (Err(e), None) if e.raw_os_error() == Some(libc::ENOENT) => {
            refuse_foreign(target, hello)?;
            open_or_make(&target.own, Path::new(hello.name.as_os_str()), 0o700).map_err(fail)?
        }
        (Err(e), _) => return Err(fail(e)),
    };
    let orphans = open_or_make(&meta, Path::new("orphan"), 0o700).map_err(fail)?;
    let aside = open_or_make(&meta, Path::new("aside"), 0o700).map_err(fail)?;
    let stages = open_or_make(&meta, Path::new("stage"), 0o700).map_err(fail)?;
    let (tree, replica) = match Owner::read(meta.as_fd()).map_err(fail)? {
        Some(mut owner) => {
            let known = known(target, hello, &owner)?;
            // It has another key since, or was given the directory.
            if owner.source != peer.key {
                owner.source.clone_from(&peer.key);
                owner.write(meta.as_fd()).map_err(fail)?;
            }
            known
        }
        None if hello.replica.is_some() => return Err(changed(hello, "it belongs to nobody")),
        None => found(target, hello, &peer.key, &meta)?,
    };
    let empty = platform::sys::dir::is_empty(tree.as_fd()).map_err(fail)?;
    let device = |fd: &OwnedFd| platform::sys::attr::stat(fd).map(|s| s.st_dev);
    let whole = device(&tree).map_err(fail)?;
    if device(&orphans).map_err(fail)? != whole || device(&stages).map_err(fail)? != whole {
        let why = format!("'{}' is a file system of its own: it and {OWN} must be on one", hello.name);
        return Err(refused(RefusalCode::Other, why));
    }
    let mut home = Home::open(hello.name.clone(), replica, Directories { tree, meta, orphans, aside, stages }, empty)
        .map_err(fail)?;
    home.keeps_images = target.keeps_images();
    home.awake = target.awake();
    home.limits = target.limits_of(peer, &hello.name);
    home.quota = Quota::new(&hello.name, home.limits);
    home.finish_syncs().map_err(fail)?;
    Ok(home)
}

/// The replica that this source has.
fn known(target: &Target, hello: &Hello, owner: &Owner) -> Result<(OwnedFd, ReplicaId), Refused> {
    let replica = owner.replica().map_err(|e| failed(hello, &e))?;
    if hello.replica.is_some_and(|wanted| wanted != replica) {
        return Err(changed(hello, "another replica is there"));
    }
    let tree = match open_dir(&target.root, hello.name.as_bytes()) {
        Ok(tree) => tree,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {
            return Err(changed(hello, "its directory is missing"));
        }
        Err(e) => return Err(failed(hello, &e)),
    };
    let inode = platform::sys::attr::stat(&tree).map_err(|e| failed(hello, &e))?.st_ino;
    if inode != owner.inode {
        return Err(changed(hello, &format!("its directory has inode {inode}, it was {}", owner.inode)));
    }
    Ok((tree, replica))
}

/// A directory that belongs to nobody becomes this source's.
fn found(target: &Target, hello: &Hello, peer: &str, meta: &OwnedFd) -> Result<(OwnedFd, ReplicaId), Refused> {
    let fail = |e: io::Error| failed(hello, &e);
    refuse_foreign(target, hello)?;
    match rustix::fs::mkdirat(&target.root, hello.name.as_bytes(), Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(fail(e.into())),
    }
    let tree = open_dir(&target.root, hello.name.as_bytes()).map_err(fail)?;
    let stat = platform::sys::attr::stat(&tree).map_err(fail)?;
    let replica = ReplicaId::from_bytes(platform::random::bytes().map_err(fail)?);
    Owner::new(peer, replica, stat.st_dev, stat.st_ino).write(meta.as_fd()).map_err(fail)?;
    for dir in [&target.own, &target.root] {
        rustix::fs::fsync(dir).map_err(|e| fail(e.into()))?;
    }
    Ok((tree, replica))
}

/// Refuses what stands at ROOT/NAME unless it is nothing, an empty directory, or a directory that may be adopted.
fn refuse_foreign(target: &Target, hello: &Hello) -> Result<(), Refused> {
    let name = hello.name.as_bytes();
    let stat = match rustix::fs::statat(&target.root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(failed(hello, &e.into())),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        let why = format!("'{}' on the target is not a directory: move it away or choose another name", hello.name);
        return Err(refused(RefusalCode::NotEmpty, why));
    }
    let tree = open_dir(&target.root, name).map_err(|e| failed(hello, &e))?;
    if hello.adopt || platform::sys::dir::is_empty(tree.as_fd()).map_err(|e| failed(hello, &e))? {
        return Ok(());
    }
    let why =
        format!("'{}' on the target is not empty and belongs to nobody: empty it, or mount with adopt", hello.name);
    Err(refused(RefusalCode::NotEmpty, why))
}

pub(crate) fn open_dir(at: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

fn changed(hello: &Hello, why: &str) -> Refused {
    refused(
        RefusalCode::Changed,
        format!("the replica that the source had of '{}' is not there ({why}): is the disk mounted?", hello.name),
    )
}

fn failed(hello: &Hello, error: &io::Error) -> Refused {
    let code = if means_unwritable(error) { RefusalCode::Unwritable } else { RefusalCode::Other };
    refused(code, format!("cannot open the replica '{}': {}", hello.name, text(error)))
}
