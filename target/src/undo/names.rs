//! Taking names back: what has come under a name since moves out of the way (`hold`), then every node goes back to its name. Each step can be done
//! again, whatever was interrupted: what is under a name, and where a node is, is looked up.

use super::find::{ALL, Area, Areas, Spot, Spots, depth};
use super::report::RollBackError;
use platform::killpoint::{self, KillPoint};
use platform::sys::attr;
use protocol::{Name, RelPath};
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A name as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Was {
    pub dir: u64,
    pub name: Name,
    /// Zero for nothing.
    pub inode: u64,
}

/// Takes names back.
pub(super) struct Names<'a> {
    areas: &'a Areas,
    names: &'a [Was],
}

impl<'a> Names<'a> {
    pub fn new(areas: &'a Areas, names: &'a [Was]) -> Self {
        Self { areas, names }
    }

    /// The nodes that are spoken of.
    fn wanted(&self) -> HashSet<u64> {
        self.names.iter().flat_map(|was| [was.dir, was.inode]).collect()
    }

    /// Whether everything is there that is to go back. Changes nothing.
    pub fn check(&self) -> Result<(), RollBackError> {
        let spots = self.areas.find(&ALL, &self.wanted())?;
        let gone = |inode: &u64| *inode != 0 && !spots.contains_key(inode);
        let missing: Vec<_> = self.names.iter().filter(|was| gone(&was.inode) && !gone(&was.dir)).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let at = spots.get(&first.dir).and_then(|spots| spots.first()).and_then(|dir| dir.path.join(&first.name).ok());
        let at = at.map_or_else(|| first.name.to_string(), |path| path.to_string());
        Err(RollBackError::Missing { count: missing.len() as u64, first: at })
    }

    pub fn take_back(&self) -> Result<(), RollBackError> {
        self.clear()?;
        self.flatten()?;
        self.place_others()?;
        self.place_dirs()?;
        self.drop_second_names()?;
        let spots = self.areas.find(&[Area::Tree], &self.names.iter().map(|was| was.dir).collect())?;
        match self.missing(&spots)?.first() {
            Some((dir, was)) => {
                Err(RollBackError::Damaged(format!("there is no way back for '{}' in '{}'", was.name, dir.path)))
            }
            None => Ok(()),
        }
    }

    /// Each name whose directory is at hand, deepest first.
    fn by_depth<'b>(&self, spots: &'b Spots) -> Vec<(&'b Spot, &'a Was)> {
        let dir = |was: &Was| spots.get(&was.dir).and_then(|spots| spots.iter().find(|spot| spot.is_dir));
        let mut out: Vec<_> = self.names.iter().filter_map(|was| Some((dir(was)?, was))).collect();
        out.sort_by_key(|(spot, _)| std::cmp::Reverse(depth(&spot.path)));
        out
    }

    /// What is under a name and does not belong there is put on hold. Deepest first: the paths of what is still to do stay.
    fn clear(&self) -> io::Result<()> {
        let spots = self.areas.find(&ALL, &self.names.iter().map(|was| was.dir).collect())?;
        for (spot, was) in self.by_depth(&spots) {
            let dir = self.areas.open(spot)?;
            let there = inode_at(dir.as_fd(), &was.name)?;
            if there != 0 && there != was.inode {
                step();
                self.hold(dir.as_fd(), &was.name, there)?;
            }
        }
        Ok(())
    }

    fn hold(&self, dir: BorrowedFd<'_>, name: &Name, inode: u64) -> io::Result<()> {
        let held = inode.to_string();
        if inode_at(self.areas.hold.as_fd(), &as_name(&held)?)? == inode {
            // Another name of it is there already; a rename would do nothing.
            return Ok(rustix::fs::unlinkat(dir, name.as_bytes(), AtFlags::empty())?);
        }
        Ok(rustix::fs::renameat(dir, name.as_bytes(), &self.areas.hold, held)?)
    }

    /// Names that still have to get their node.
    fn missing(&self, spots: &Spots) -> io::Result<Vec<(Spot, &'a Was)>> {
        let mut out = Vec::new();
        for (spot, was) in self.by_depth(spots) {
            if was.inode != 0 && inode_at(self.areas.open(spot)?.as_fd(), &was.name)? != was.inode {
                out.push((spot.clone(), was));
            }
        }
        Ok(out)
    }

    /// Directories that are to go back are side by side on hold: wherever else they are, others are in or around them that go elsewhere.
    fn flatten(&self) -> io::Result<()> {
        let spots = self.areas.find(&ALL, &self.wanted())?;
        let mut inodes: HashSet<u64> = HashSet::new();
        let mut moving = Vec::new();
        for (_, was) in self.missing(&spots)? {
            if let Some(spot) = spots.get(&was.inode).and_then(|spots| spots.iter().find(|spot| spot.is_dir))
                && inodes.insert(was.inode)
            {
                moving.push((spot, was.inode));
            }
        }
        moving.sort_by_key(|(spot, _)| std::cmp::Reverse(depth(&spot.path)));
        for (spot, inode) in moving {
            if (spot.area, spot.path.as_bytes()) == (Area::Hold, inode.to_string().as_bytes()) {
                continue;
            }
            step();
            let (dir, name) = self.areas.parent(spot)?;
            rustix::fs::renameat(&dir, name.as_bytes(), &self.areas.hold, inode.to_string())?;
        }
        Ok(())
    }

    /// Everything but directories goes back; no directory moves meanwhile. A node keeps the name that it is found under: that may be its own, too.
    fn place_others(&self) -> io::Result<()> {
        let spots = self.areas.find(&ALL, &self.wanted())?;
        for (dir, was) in self.missing(&spots)? {
            let Some(spot) = spots.get(&was.inode).and_then(|spots| spots.first()).filter(|spot| !spot.is_dir) else {
                continue;
            };
            step();
            let (to, (from, name)) = (self.areas.open(&dir)?, self.areas.parent(spot)?);
            let (from_name, to_name) = (name.as_bytes(), was.name.as_bytes());
            match rustix::fs::linkat(&from, from_name, &to, to_name, AtFlags::empty()) {
                // It cannot have one more name, or not by this user.
                Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {
                    rustix::fs::renameat(&from, from_name, &to, to_name)?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Directories go back from the top down: once in the tree they do not move any more.
    fn place_dirs(&self) -> io::Result<()> {
        let spots = self.areas.find(&ALL, &self.wanted())?;
        let mut placed: HashSet<u64> = HashSet::new();
        let mut ready = Vec::new();
        // By the directory on hold that they wait for.
        let mut waiting: HashMap<u64, Vec<(RelPath, &Was)>> = HashMap::new();
        for (dir, was) in self.missing(&spots)? {
            match dir.area {
                Area::Tree => ready.push((dir.path, was)),
                Area::Hold => {
                    let (top, rest) = below_hold(&dir.path)?;
                    waiting.entry(top).or_default().push((rest, was));
                }
                // It is not of the coherent state.
                Area::Kept | Area::Orphans | Area::Aside => {}
            }
        }
        while let Some((path, was)) = ready.pop() {
            // A directory has one name; the first that it is known to have had counts.
            if !placed.insert(was.inode) {
                continue;
            }
            step();
            let dir = self.areas.open(&Spot { area: Area::Tree, path: path.clone(), is_dir: true })?;
            let (held, flags) = (was.inode.to_string(), RenameFlags::NOREPLACE);
            rustix::fs::renameat_with(&self.areas.hold, &held, &dir, was.name.as_bytes(), flags).or_else(
                |e| match e {
                    Errno::INVAL => rustix::fs::renameat(&self.areas.hold, &held, &dir, was.name.as_bytes()),
                    e => Err(e),
                },
            )?;
            let at = path.join(&was.name).map_err(|e| io::Error::other(e.to_string()))?;
            for (rest, was) in waiting.remove(&was.inode).unwrap_or_default() {
                ready.push((concat(&at, &rest)?, was));
            }
        }
        Ok(())
    }

    /// A node that is back in the replica has no names elsewhere: they would count.
    fn drop_second_names(&self) -> io::Result<()> {
        let mut several = HashSet::new();
        self.areas.visit(Area::Tree, &mut |spot, stat| {
            if !spot.is_dir && stat.st_nlink > 1 {
                several.insert(stat.st_ino);
            }
        })?;
        if several.is_empty() {
            return Ok(());
        }
        let spots = self.areas.find(&[Area::Hold, Area::Kept, Area::Orphans, Area::Aside], &several)?;
        for spot in spots.values().flatten() {
            let (dir, name) = self.areas.parent(spot)?;
            rustix::fs::unlinkat(&dir, name.as_bytes(), AtFlags::empty())?;
        }
        Ok(())
    }
}

/// A node moves.
fn step() {
    killpoint::pass(KillPoint::TargetApplied);
}

fn inode_at(dir: BorrowedFd<'_>, name: &Name) -> io::Result<u64> {
    match attr::stat_at(dir, name.as_os_str()) {
        Ok(stat) => Ok(stat.st_ino),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

fn as_name(text: &str) -> io::Result<Name> {
    Name::new(text.as_bytes()).map_err(|e| io::Error::other(e.to_string()))
}

/// The directory on hold that a path there begins with, and what follows.
fn below_hold(path: &RelPath) -> io::Result<(u64, RelPath)> {
    let bytes = path.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'/').unwrap_or(bytes.len());
    let top = std::str::from_utf8(&bytes[..at]).ok().and_then(|top| top.parse().ok());
    let top = top.ok_or_else(|| io::Error::other(format!("'{path}' on hold is not from here")))?;
    let rest = RelPath::new(bytes.get(at + 1..).unwrap_or_default()).map_err(|e| io::Error::other(e.to_string()))?;
    Ok((top, rest))
}

fn concat(above: &RelPath, below: &RelPath) -> io::Result<RelPath> {
    if below.is_root() {
        return Ok(above.clone());
    }
    let bytes = [above.as_bytes(), b"/", below.as_bytes()].concat();
    RelPath::new(&bytes).map_err(|e| io::Error::other(e.to_string()))
}
