//! Taking a replica back, step by step. Before the first one nobody believes any more where the replica is in the stream; after the last
//! one it is coherent, in a run of numbers that no source has, so that whoever comes compares everything.

use super::find::{Area, Areas};
use super::log::{self, Entry};
use super::names::{Names, Was};
use super::nodes::{self, Known};
use super::report::{RollBack, RollBackError, VERSION};
use super::{DIR, KEPT, forget, open_dir};
use crate::clean::Clean;
use crate::home::standing;
use crate::owner::Owner;
use crate::position::{Boot, SlotFile, State};
use crate::root::{OWN, Target, open_or_make};
use platform::killpoint::{self, KillPoint};
use platform::sys::{attr, dir};
use protocol::{Incarnation, Name};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Where what is in the way is meanwhile, below `undo`.
const HOLD: &str = "hold";

/// The replica, while no daemon has it.
pub(super) struct Replica {
    name: Name,
    pub meta: OwnedFd,
    tree: OwnedFd,
    state: Option<State>,
}

/// What the log says.
#[derive(Default)]
struct Read {
    begin: Option<(u64, Incarnation, String)>,
    names: Vec<Was>,
    seen: HashSet<(u64, Vec<u8>)>,
    nodes: HashMap<u64, Known>,
    bytes: u64,
    /// A name that is none.
    bad: bool,
}

impl Replica {
    pub fn open(target: &Target, name: &Name) -> Result<Self, RollBackError> {
        let none = || RollBackError::NoReplica { name: name.to_string(), root: target.root().display().to_string() };
        let open = |at: &OwnedFd| match crate::admit::open_dir(at, name.as_bytes()) {
            Ok(fd) => Ok(fd),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Err(none()),
            Err(e) => Err(e.into()),
        };
        let meta = open(&target.own)?;
        let owner = Owner::read(meta.as_fd())?.ok_or_else(none)?;
        let tree = open(&target.root)?;
        if attr::stat(&tree)?.st_ino != owner.inode {
            let why = format!("'{name}' is not the directory that it was: is the disk mounted? Nothing was changed");
            return Err(RollBackError::NotKept(why));
        }
        let here = SlotFile::peek(meta.as_fd(), "position")?;
        let synced = SlotFile::peek(meta.as_fd(), "durable")?;
        let clean = Clean::read(meta.as_fd())?;
        let state = standing(Boot::current()?, here, synced, clean.as_ref());
        Ok(Self { name: name.clone(), meta, tree, state })
    }

    pub fn take_back(&self, dry_run: bool) -> Result<RollBack, RollBackError> {
        let Some(undo) = open_dir(self.meta.as_fd(), DIR)? else {
            let why = if self.is_coherent() { "it is coherent" } else { "the target kept nothing (--keep-image auto)" };
            return Err(RollBackError::NotKept(format!("there is nothing to take '{}' back to: {why}", self.name)));
        };
        let read = read(&undo)?;
        let (number, run, taken) = read.begin.clone().ok_or_else(|| RollBackError::Damaged("no beginning".into()))?;
        let mut report = RollBack {
            version: VERSION,
            name: self.name.to_string(),
            number,
            incarnation: run.to_string(),
            taken,
            dry_run,
            names: read.names.len() as u64,
            nodes: read.nodes.len() as u64,
            bytes: read.bytes,
            aside: None,
        };
        if self.is_coherent() {
            // Repair was over, or taking back was, and the end of the log was not.
            if self.state.is_some_and(|state| state.applied != number) {
                let why = format!("there is nothing to take '{}' back to: it is coherent", self.name);
                return Err(RollBackError::NotKept(why));
            }
            if !dry_run {
                forget(self.meta.as_fd())?;
            }
            return Ok(report);
        }
        let mut segments = HashMap::new();
        for segment in log::segments(undo.as_fd())? {
            segments.insert(segment, log::open(undo.as_fd(), segment)?);
        }
        let make = |at: &OwnedFd, name: &str| open_or_make(at, Path::new(name), 0o700);
        let areas = Areas {
            tree: self.tree.try_clone()?,
            hold: make(&undo, HOLD)?,
            kept: make(&undo, KEPT)?,
            orphans: make(&self.meta, "orphan")?,
            aside: make(&self.meta, "aside")?,
        };
        let names = Names::new(&areas, &read.names);
        names.check()?;
        if dry_run {
            return Ok(report);
        }
        self.believe_nothing(number)?;
        names.take_back()?;
        (report.nodes, report.bytes) = self.nodes(&areas, &read, &segments)?;
        report.aside = self.keep_what_came(&areas)?;
        self.end(number)?;
        Ok(report)
    }

    fn nodes(&self, areas: &Areas, read: &Read, segments: &HashMap<u64, File>) -> Result<(u64, u64), RollBackError> {
        let done = nodes::take_back(areas, &read.nodes, segments)?;
        rustix::fs::syncfs(&self.tree).map_err(io::Error::from)?;
        killpoint::pass(KillPoint::TargetSynced);
        Ok(done)
    }

    fn is_coherent(&self) -> bool {
        self.state.is_some_and(|state| state.coherent && state.damage == 0)
    }

    /// Whoever comes from now on compares everything.
    fn believe_nothing(&self, number: u64) -> io::Result<()> {
        Clean::remove(self.meta.as_fd())?;
        let run = Incarnation::from_bytes(platform::random::bytes()?);
        let state = State::start(Boot::current()?, run, number);
        self.store(&State { damage: number.max(1), ..state })
    }

    /// The replica is what it was, durably, and the log is over.
    fn end(&self, number: u64) -> io::Result<()> {
        rustix::fs::syncfs(&self.tree)?;
        let run = Incarnation::from_bytes(platform::random::bytes()?);
        self.store(&State { coherent: true, ..State::start(Boot::current()?, run, number) })?;
        killpoint::pass(KillPoint::TargetPositioned);
        forget(self.meta.as_fd())
    }

    /// The position that survives a power cut first.
    fn store(&self, state: &State) -> io::Result<()> {
        for name in ["durable", "position"] {
            SlotFile::open(self.meta.as_fd(), name)?.0.store_durably(state)?;
        }
        Ok(())
    }

    /// What had come since, and is in no name of the replica any more, is set aside: nothing is thrown away (I7).
    fn keep_what_came(&self, areas: &Areas) -> io::Result<Option<String>> {
        let held = dir::names(areas.fd(Area::Hold))?;
        if held.is_empty() {
            return Ok(None);
        }
        let place = crate::aside::make_place(areas.fd(Area::Aside), "rolled back", &held)?;
        for name in &held {
            rustix::fs::renameat(&areas.hold, name.as_bytes(), &place.dir, name.as_bytes())?;
        }
        Ok(Some(format!("{OWN}/{}/aside/{}", self.name, place.name)))
    }
}

fn read(undo: &OwnedFd) -> Result<Read, RollBackError> {
    let mut read = Read::default();
    log::read(undo.as_fd(), &mut |segment, at, entry| read.take(segment, at, entry))?;
    if read.bad {
        return Err(RollBackError::Damaged("a name that is none".to_owned()));
    }
    read.seen = HashSet::new();
    Ok(read)
}

impl Read {
    /// What comes first counts.
    fn take(&mut self, segment: u64, at: u64, entry: Entry) {
        match entry {
            Entry::Begin { number, incarnation, taken } => self.begin = Some((number, incarnation, taken)),
            Entry::Node(was) => {
                self.nodes.entry(was.inode).or_insert(Known { was, data: Vec::new(), room: None });
            }
            Entry::Name { dir, name, inode } => match Name::new(&name) {
                Ok(valid) if self.seen.insert((dir, name)) => self.names.push(Was { dir, name: valid, inode }),
                Ok(_) => {}
                Err(_) => self.bad = true,
            },
            Entry::Data { inode, bytes, .. } => {
                self.bytes += bytes.len() as u64;
                self.data(inode, segment, at);
            }
            Entry::Hole { inode, .. } => self.data(inode, segment, at),
            Entry::Room { inode, ranges } => {
                if let Some(known) = self.nodes.get_mut(&inode) {
                    known.room.get_or_insert(ranges);
                }
            }
            Entry::New { .. } => {}
        }
    }

    fn data(&mut self, inode: u64, segment: u64, at: u64) {
        if let Some(known) = self.nodes.get_mut(&inode) {
            known.data.push((segment, at));
        }
    }
}
