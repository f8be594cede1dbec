//! The last coherent image of a replica (I2, T7): before repair makes the replica something that the source never was, its tree is cloned beside it, sharing all
//! data with it, where the file system can do that (XFS, Btrfs). It goes when the replica is coherent again.
//!
//! `ROOT/.replfs/NAME/image/<number>-<UTC time>/` is the tree as it was when everything up to that number was applied. What is not complete has a name that
//! begins with a dot. How a tree is cloned stands in `tree`.

mod tree;

pub(crate) use tree::Failed;

use crate::root::open_or_make;
use crate::status::ImageStatus;
use platform::sys::{dir, proc_path};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Below ROOT/.replfs/NAME.
const DIR: &str = "image";
/// One that is being made.
const NEW: &str = ".new";

/// Clones `replica`, to which everything up to `applied` is applied, into `meta`, and removes the image that was there before. `go_on` is asked now and then.
pub(crate) fn take(
    meta: BorrowedFd<'_>,
    replica: BorrowedFd<'_>,
    applied: u64,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<ImageStatus, Failed> {
    let images = open_or_make(meta, Path::new(DIR), 0o700)?;
    remove(&images, NEW)?;
    let new = open_or_make(&images, Path::new(NEW), 0o700)?;
    // Data is shared once it has a place on the disk; file by file that would take longer.
    rustix::fs::syncfs(replica)?;
    let cloned = tree::clone(replica, new.as_fd(), go_on);
    // Under its name it is complete, also after a power cut.
    let cloned = cloned.and_then(|()| rustix::fs::syncfs(&images).map_err(|e| Failed::System(e.into())));
    if let Err(failed) = cloned {
        // Why it failed is what matters.
        let _ = remove(&images, NEW);
        return Err(failed);
    }
    let image = ImageStatus { number: applied, taken: platform::sys::utc(platform::sys::now_ns() / 1_000_000_000) };
    let name = image.name();
    for old in dir::names(images.as_fd())? {
        if old.as_bytes() != NEW.as_bytes() {
            remove(&images, old.as_os_str())?;
        }
    }
    rustix::fs::renameat(&images, NEW, &images, name).map_err(io::Error::from)?;
    Ok(image)
}

/// Removes what images there are; none is as good.
pub(crate) fn forget(meta: BorrowedFd<'_>) -> io::Result<()> {
    let Some(images) = open(meta)? else { return Ok(()) };
    for name in dir::names(images.as_fd())? {
        remove(&images, name.as_os_str())?;
    }
    match rustix::fs::unlinkat(meta, DIR, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The image that is there, if there is one.
pub(crate) fn find(meta: BorrowedFd<'_>) -> io::Result<Option<ImageStatus>> {
    let Some(images) = open(meta)? else { return Ok(None) };
    let names = dir::names(images.as_fd())?;
    Ok(names.iter().filter_map(|name| ImageStatus::parse(name.as_bytes())).max_by_key(|image| image.number))
}

fn open(meta: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(meta, DIR, flags, Mode::empty()) {
        Ok(images) => Ok(Some(images)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn remove(images: &OwnedFd, name: impl AsRef<Path>) -> io::Result<()> {
    match std::fs::remove_dir_all(proc_path(images.as_fd()).join(name)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

impl ImageStatus {
    /// The directory's name.
    pub fn name(&self) -> String {
        format!("{}-{}", self.number, self.taken)
    }

    fn parse(name: &[u8]) -> Option<Self> {
        let (number, taken) = std::str::from_utf8(name).ok()?.split_once('-')?;
        Some(Self { number: number.parse().ok()?, taken: taken.to_owned() })
    }
}
