//! Roaming: operations at random on whatever names there are, deep in a tree, directories included. What fails because of
//! another process, or because a daemon was killed, is passed over; only what is left in the end counts.

use crate::seed::Random;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// How deep a walk goes.
const DEPTH: u32 = 8;
/// Files kept open, some of them deleted meanwhile.
const HELD: usize = 8;

/// Threads that roam until they are stopped.
pub struct Roamers {
    stop: Arc<AtomicBool>,
    tried: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Roamers {
    /// Starts `threads` threads below `root`.
    pub fn start(root: &Path, threads: u64, seed: u64) -> Self {
        let (stop, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..threads)
            .map(|n| {
                let (root, stop, tried) = (root.to_owned(), Arc::clone(&stop), Arc::clone(&tried));
                let mut random = Random::new(seed.wrapping_add(n));
                std::thread::spawn(move || {
                    let mut held = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        // Whatever it was: the operation was refused, and changed nothing.
                        let refused = step(&root, &mut random, &mut held);
                        if refused.is_err_and(|error| error.kind() == io::ErrorKind::NotConnected) {
                            // Nobody serves this mount: asking faster takes the machine from who is about to.
                            std::thread::sleep(std::time::Duration::from_millis(1));
                        }
                        tried.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        Self { stop, tried, threads }
    }

    /// Operations tried so far.
    pub fn tried(&self) -> u64 {
        self.tried.load(Ordering::SeqCst)
    }

    /// Waits until so many operations more were tried, however long that takes: only that none is, is a hang.
    pub fn roam(&self, operations: u64) {
        let mut tried = self.tried();
        let goal = tried + operations;
        while tried < goal {
            tried = crate::wait::until("the roamers to advance", crate::wait::PATIENCE, || {
                Some(self.tried()).filter(|now| *now > tried)
            });
        }
    }

    /// Asks all threads to end after what they do just now, and does not wait for them.
    pub fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Stops all threads and closes their files.
    pub fn stop(self) {
        self.ask_to_stop();
        for thread in self.threads {
            assert!(thread.join().is_ok(), "a roamer panicked");
        }
    }
}

/// A name at random, somewhere below `root` or `root` itself.
fn walk(root: &Path, random: &mut Random) -> PathBuf {
    let mut path = root.to_owned();
    for _ in 0..DEPTH {
        let Ok(entries) = fs::read_dir(&path) else { return path };
        let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        if names.is_empty() || random.once_in(7) {
            return path;
        }
        path.push(random.pick(&names));
    }
    path
}

fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

fn number(random: &mut Random, bound: u64) -> i64 {
    i64::try_from(random.below(bound)).unwrap_or(0)
}

/// One operation. The root itself stays where it is.
fn step(root: &Path, random: &mut Random, held: &mut Vec<File>) -> io::Result<()> {
    let (one, two) = (walk(root, random), walk(root, random));
    let dir = if is_dir(&two) { two.clone() } else { two.parent().unwrap_or(root).to_owned() };
    let new = dir.join(format!("n{:x}", random.below(1 << 20)));
    let kind = random.below(19);
    if (one == root || two == root) && matches!(kind, 4..=6 | 9 | 14) {
        return Ok(());
    }
    match kind {
        0 => fs::create_dir(&new)?,
        1..=3 => {
            let len = *random.pick(&[0, 10, 5000, 70_000]);
            fs::write(&new, random.bytes(len))?;
        }
        4 => fs::rename(&one, &new)?,
        5 => fs::rename(&one, &two)?,
        6 => rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE)?,
        7 | 8 if !is_dir(&one) => rustix::fs::link(&one, &new)?,
        9 if is_dir(&one) => fs::remove_dir(&one)?,
        9 | 10 => fs::remove_file(&one)?,
        11 => std::os::unix::fs::symlink(format!("x{}", random.below(9)), &new)?,
        12 | 13 => overwrite(&one, random, held)?,
        14 => chmod(&one, random)?,
        15 => truncate(&one, random)?,
        16 => {
            if let Some(file) = held.first() {
                file.write_all_at(&random.bytes(100), random.below(1000))?;
            }
        }
        17 => rustix::fs::lsetxattr(&one, "user.roam", &random.bytes(3), XattrFlags::empty())?,
        _ => {
            let mut time = || Timespec { tv_sec: number(random, 1 << 31), tv_nsec: number(random, 1_000_000_000) };
            let times = Timestamps { last_access: time(), last_modification: time() };
            rustix::fs::utimensat(CWD, &one, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn overwrite(path: &Path, random: &mut Random, held: &mut Vec<File>) -> io::Result<()> {
    let file = open(path)?;
    let len = *random.pick(&[1, 4096, 100_000]);
    file.write_all_at(&random.bytes(len), random.below(300_000))?;
    if random.once_in(3) {
        if held.len() == HELD {
            held.remove(0);
        }
        held.push(file);
    }
    Ok(())
}

fn truncate(path: &Path, random: &mut Random) -> io::Result<()> {
    open(path)?.set_len(random.below(100_000))
}

fn chmod(path: &Path, random: &mut Random) -> io::Result<()> {
    let mode = *random.pick(&[0o644, 0o755, 0o700]);
    if fs::symlink_metadata(path)?.is_symlink() {
        return Ok(());
    }
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}
