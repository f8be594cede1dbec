//! A disk in memory that forgets in a power cut what was not synced: each page of 4 KiB may be as it was at the last sync, as it is, as it was in
//! between, or a mixture of two by sectors of 512 bytes; each name in a directory may be as it was or is; files may have their old length.
//! What is below `/memory` is gone. All from a seed.

use super::rng::Rng;
use super::sim_node::{Node, PAGE};
use crate::disk::{Disk, DiskFile};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Deliberate bugs of the journal, played by the disk: what it asked for is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// No fsync of directories.
    NoDirSync,
    /// No fdatasync of records; that of headers is done.
    NoSync,
    /// Records are written behind a header that is not durable.
    LateHeader,
    /// All segments have the same salt.
    NoSalt,
    /// A segment is given up before its last records are done with (played by the rig).
    TrimTooMuch,
}

#[derive(Default)]
struct Dir {
    now: BTreeMap<String, usize>,
    lasting: BTreeMap<String, usize>,
    /// Names that changed since the last sync, and what they meant in between.
    between: BTreeMap<String, Vec<Option<usize>>>,
}

struct World {
    rng: Rng,
    nodes: Vec<Node>,
    dirs: BTreeMap<PathBuf, Dir>,
    /// Everything fails from this call on.
    ends_in: Option<u64>,
    dead: bool,
    /// One of so many creations finds the disk full.
    full_one_in: u64,
    /// Some writes of headers fail, half done.
    fails: bool,
    bug: Option<Bug>,
}

#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<World>>);

struct SimFile {
    disk: SimDisk,
    node: usize,
}

fn gone() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

impl World {
    /// Counts a call that changes something. An error: the machine stopped before it, or half through it.
    fn step(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(gone());
        }
        match &mut self.ends_in {
            Some(0) => {
                self.dead = true;
                Err(gone())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        self.dirs.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn parent(&mut self, path: &Path) -> io::Result<(&mut Dir, String)> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok((self.dir(path.parent().unwrap())?, name))
    }
}

impl SimDisk {
    pub fn new(seed: u64, bug: Option<Bug>) -> Self {
        let rng = Rng::new(seed);
        let (nodes, dirs) = (Vec::new(), BTreeMap::new());
        Self(Arc::new(Mutex::new(World {
            rng,
            nodes,
            dirs,
            ends_in: None,
            dead: false,
            full_one_in: 40,
            fails: false,
            bug,
        })))
    }

    /// From now on some writes of headers fail, half done.
    pub fn fail_sometimes(&self) {
        self.0.lock().fails = true;
    }

    /// The machine stops at the call after so many that change something.
    pub fn stop_after(&self, calls: u64) {
        self.0.lock().ends_in = Some(calls);
    }

    pub fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// The daemon starts again; everything that was written is there.
    pub fn restart(&self) {
        let mut world = self.0.lock();
        (world.dead, world.ends_in) = (false, None);
    }

    /// The machine starts again; what was not durable may be lost.
    pub fn power_cut(&self) {
        let mut guard = self.0.lock();
        let world = &mut *guard;
        (world.dead, world.ends_in) = (false, None);
        world.dirs.retain(|path, _| !path.starts_with("/memory"));
        for node in &mut world.nodes {
            node.power_cut(&mut world.rng);
        }
        for dir in world.dirs.values_mut() {
            for (name, meant) in std::mem::take(&mut dir.between) {
                let any = world.rng.below(meant.len() as u64 + 1);
                let meaning = match usize::try_from(any).unwrap() {
                    0 => dir.lasting.get(&name).copied(),
                    n => meant[n - 1],
                };
                dir.lasting.remove(&name);
                dir.lasting.extend(meaning.map(|node| (name, node)));
            }
            dir.now.clone_from(&dir.lasting);
        }
    }
}

impl Disk for SimDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step()?;
        world.dirs.entry(dir.to_owned()).or_default();
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.0.lock().dir(dir)?.now.keys().cloned().collect())
    }

    fn create(&self, path: &Path, bytes: u64, _written: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.0.lock();
        world.step()?;
        let (rng, one_in) = (world.full_one_in, world.rng.below(1 << 30));
        if one_in % rng == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let node = world.nodes.len();
        let now = vec![vec![0; PAGE]; usize::try_from(bytes).unwrap() / PAGE];
        world.nodes.push(Node { now, ..Node::default() });
        let (dir, name) = world.parent(path)?;
        if dir.now.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        dir.now.insert(name.clone(), node);
        dir.between.entry(name).or_default().push(Some(node));
        Ok(Arc::new(SimFile { disk: self.clone(), node }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.0.lock();
        if world.dead {
            return Err(gone());
        }
        let (dir, name) = world.parent(path)?;
        let node = *dir.now.get(&name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), node }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step()?;
        let (dir, name) = world.parent(path)?;
        dir.now.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        dir.between.entry(name).or_default().push(None);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step()?;
        if world.bug == Some(Bug::NoDirSync) {
            return Ok(());
        }
        let dir = world.dir(dir)?;
        dir.lasting.clone_from(&dir.now);
        dir.between.clear();
        Ok(())
    }

    fn random(&self) -> io::Result<u64> {
        let mut world = self.0.lock();
        let salt = world.rng.below(u64::MAX);
        Ok(if world.bug == Some(Bug::NoSalt) { 7 } else { salt })
    }
}

impl DiskFile for SimFile {
    fn write(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let mut guard = self.disk.0.lock();
        let world = &mut *guard;
        let mut bytes = parts.iter().map(|part| &**part).collect::<Vec<&[u8]>>().concat();
        let stopped = !world.dead && world.ends_in == Some(0);
        if stopped {
            // Half through it.
            bytes.truncate(usize::try_from(world.rng.below(bytes.len() as u64 + 1)).unwrap());
            world.nodes[self.node].write(usize::try_from(offset).unwrap(), &bytes);
        }
        world.step()?;
        let headers = offset < 2 * PAGE as u64;
        let fails = headers && world.fails && world.rng.one_in(50);
        if fails {
            bytes.truncate(usize::try_from(world.rng.below(bytes.len() as u64 + 1)).unwrap());
        }
        world.nodes[self.node].write(usize::try_from(offset).unwrap(), &bytes);
        if fails { Err(io::Error::other("simulated write error")) } else { Ok(()) }
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let world = self.disk.0.lock();
        let node = &world.nodes[self.node];
        let mut at = usize::try_from(offset).unwrap();
        let mut done = 0;
        while done < buffer.len() && at / PAGE < node.now.len() {
            let from = &node.now[at / PAGE][at % PAGE..];
            let piece = from.len().min(buffer.len() - done);
            buffer[done..done + piece].copy_from_slice(&from[..piece]);
            done += piece;
            at += piece;
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.0.lock();
        world.step()?;
        let bug = world.bug;
        let node = &mut world.nodes[self.node];
        let header = std::mem::take(&mut node.header_written);
        if bug == Some(Bug::NoSync) && !header || bug == Some(Bug::LateHeader) && header {
            return Ok(());
        }
        node.lasting.clone_from(&node.now);
        node.between.clear();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok((self.disk.0.lock().nodes[self.node].now.len() * PAGE) as u64)
    }
}
