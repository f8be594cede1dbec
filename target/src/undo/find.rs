//! Where nodes are, by inode number: in the replica, among the kept ones and the orphans, set aside, or on hold while a log is
//! taken back. Nothing is changed here.

use super::kept::is_dir;
use platform::sys::resolve::open_beneath;
use platform::sys::{attr, dir};
use protocol::{Name, RelPath};
use rustix::fs::{OFlags, Stat};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A directory below which nodes of a replica can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Area {
    /// ROOT/NAME.
    Tree,
    /// What moves out of the way.
    Hold,
    Kept,
    Orphans,
    Aside,
}

pub(super) const ALL: [Area; 5] = [Area::Tree, Area::Hold, Area::Kept, Area::Orphans, Area::Aside];

/// All of them, opened.
#[derive(Debug)]
pub(super) struct Areas {
    pub tree: OwnedFd,
    pub hold: OwnedFd,
    pub kept: OwnedFd,
    pub orphans: OwnedFd,
    pub aside: OwnedFd,
}

/// A place of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub area: Area,
    pub path: RelPath,
    pub is_dir: bool,
}

/// The places of nodes by inode number.
pub(super) type Spots = HashMap<u64, Vec<Spot>>;

impl Areas {
    pub fn fd(&self, area: Area) -> BorrowedFd<'_> {
        match area {
            Area::Tree => self.tree.as_fd(),
            Area::Hold => self.hold.as_fd(),
            Area::Kept => self.kept.as_fd(),
            Area::Orphans => self.orphans.as_fd(),
            Area::Aside => self.aside.as_fd(),
        }
    }

    /// Opens a directory or, `O_PATH`, what else is at a place.
    pub fn open(&self, spot: &Spot) -> io::Result<OwnedFd> {
        open_beneath(self.fd(spot.area), &spot.path, OFlags::PATH)
    }

    /// The directory that holds a place, and the name in it.
    pub fn parent(&self, spot: &Spot) -> io::Result<(OwnedFd, Name)> {
        let none = || io::Error::other("the root of a replica has no name");
        let (dir, name) = spot.path.split_last().ok_or_else(none)?;
        Ok((open_beneath(self.fd(spot.area), &dir, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    /// Looks for nodes in some areas; directories are in the order in which they are entered, the tree's root included.
    pub fn find(&self, areas: &[Area], wanted: &HashSet<u64>) -> io::Result<Spots> {
        let mut spots = Spots::new();
        for area in areas {
            self.visit(*area, &mut |spot, stat| {
                if wanted.contains(&stat.st_ino) {
                    spots.entry(stat.st_ino).or_default().push(spot.clone());
                }
            })?;
        }
        Ok(spots)
    }

    /// Shows everything in an area, the area itself only for the tree.
    pub fn visit(&self, area: Area, each: &mut dyn FnMut(&Spot, &Stat)) -> io::Result<()> {
        let root = RelPath::root();
        if area == Area::Tree {
            each(&Spot { area, path: root.clone(), is_dir: true }, &attr::stat(&self.tree)?);
        }
        let mut dirs = vec![root];
        while let Some(path) = dirs.pop() {
            let fd = open_beneath(self.fd(area), &path, OFlags::PATH | OFlags::DIRECTORY)?;
            for name in dir::names(fd.as_fd())? {
                let stat = attr::stat_at(&fd, name.as_os_str())?;
                let here = path.join(&name).map_err(|e| io::Error::other(e.to_string()))?;
                let spot = Spot { area, path: here, is_dir: is_dir(&stat) };
                each(&spot, &stat);
                if spot.is_dir {
                    dirs.push(spot.path);
                }
            }
        }
        Ok(())
    }
}

/// How deep a path is.
pub(super) fn depth(path: &RelPath) -> usize {
    if path.is_root() { 0 } else { path.as_bytes().split(|byte| *byte == b'/').count() }
}
