//! What is held of names, for the daemon that comes after one that was killed (S3, S6): the steps that would bring the target's names to what the source
//! has, beside the journal. The next daemon takes them behind what is queued, before it compares what changed since; so what was renamed while
//! things were held is renamed on the target too, and not sent. What happened after the file was written is found by that comparison.
//!
//! It is written into the page cache and counts in the boot that wrote it only, as the journal's memory does; and only behind the number that was the newest
//! then: where anything was queued after that, the steps have been taken, or are in the journal.
//!
//! ```text
//!  0  8  magic "RFHELD" and the version of the format, 1, in two bytes
//!  8 16  incarnation
//! 24 16  boot id
//! 40  8  the newest number
//! 48  4  how many steps follow
//! 52  4  their bytes
//! 56  4  CRC-32C of bytes 0 to 56 and of the steps
//! 60  4  zero
//! 64     steps: kind, one byte (1 make a directory, 2 move, 3 set aside, 4 remove, 5 remove a directory), and a path, a move two: length in two bytes, bytes
//! ```
//! All integers are little endian.

use crate::Srm;
use crate::ensure::mtime_of;
use crate::map::{Gate, Step as MapStep, waiting_path};
use crate::names::path_in;
use bytes::Bytes;
use platform::machine;
use platform::tree::{Names, Node};
use protocol::{Draft, Incarnation, Op, RelPath, RenameKind, Replaced, SeqNo, Time};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MAGIC: [u8; 8] = *b"RFHELD\x01\x00";
const HEAD_BYTES: usize = 64;
const CRC_AT: usize = 56;

/// Bound of all steps; what is longer is not written.
const MOST_BYTES: usize = 16 << 20;

/// Between two writes, at least.
const EVERY: Duration = Duration::from_secs(1);
/// So many times as long as one takes, at least.
const SHARE: u32 = 50;
/// How long the namespace lock is waited for.
const PATIENCE: Duration = Duration::from_millis(10);

/// One operation on the target's names, by paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This directory of the source is to exist.
    Make(RelPath),
    Move {
        from: RelPath,
        to: RelPath,
    },
    Aside(RelPath),
    Remove {
        path: RelPath,
        directory: bool,
    },
}

/// Where the steps count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    pub incarnation: Incarnation,
    pub boot: [u8; 16],
    pub newest: SeqNo,
}

fn put(out: &mut Vec<u8>, kind: u8, paths: &[&RelPath]) -> Option<()> {
    out.push(kind);
    for path in paths {
        out.extend_from_slice(&u16::try_from(path.as_bytes().len()).ok()?.to_le_bytes());
        out.extend_from_slice(path.as_bytes());
    }
    (out.len() <= MOST_BYTES).then_some(())
}

/// `None`: it is too long.
pub(crate) fn encode(behind: &Behind, steps: &[Step]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for step in steps {
        match step {
            Step::Make(path) => put(&mut body, 1, &[path])?,
            Step::Move { from, to } => put(&mut body, 2, &[from, to])?,
            Step::Aside(path) => put(&mut body, 3, &[path])?,
            Step::Remove { path, directory } => put(&mut body, if *directory { 5 } else { 4 }, &[path])?,
        }
    }
    let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&behind.incarnation.to_bytes());
    out.extend_from_slice(&behind.boot);
    out.extend_from_slice(&behind.newest.get().to_le_bytes());
    out.extend_from_slice(&u32::try_from(steps.len()).ok()?.to_le_bytes());
    out.extend_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), &body);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&body);
    Some(out)
}

fn take<'a>(from: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(taken)
}

fn path(from: &mut &[u8]) -> Option<RelPath> {
    let len = u16::from_le_bytes(take(from, 2)?.try_into().ok()?);
    RelPath::new(take(from, len.into())?).ok()
}

/// `None`: these are not the bytes of one.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Behind, Vec<Step>)> {
    let (head, mut body) = bytes.split_at_checked(HEAD_BYTES)?;
    let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..CRC_AT]), body);
    if head[..8] != MAGIC || word(CRC_AT)? != crc || usize::try_from(word(52)?).ok()? != body.len() {
        return None;
    }
    let behind = Behind {
        incarnation: Incarnation::from_bytes(head[8..24].try_into().ok()?),
        boot: head[24..40].try_into().ok()?,
        newest: SeqNo::new(u64::from_le_bytes(head[40..48].try_into().ok()?)),
    };
    let mut steps = Vec::new();
    while let Some(kind) = take(&mut body, 1) {
        steps.push(match kind[0] {
            1 => Step::Make(path(&mut body)?),
            2 => Step::Move { from: path(&mut body)?, to: path(&mut body)? },
            3 => Step::Aside(path(&mut body)?),
            kind @ (4 | 5) => Step::Remove { path: path(&mut body)?, directory: kind == 5 },
            _ => return None,
        });
    }
    (steps.len() == usize::try_from(word(48)?).ok()?).then_some((behind, steps))
}

/// The steps that count there; none where there are none that can be believed.
pub(crate) fn read(at: &Path, behind: &Behind) -> Vec<Step> {
    let small = std::fs::metadata(at).is_ok_and(|found| found.len() <= (HEAD_BYTES + MOST_BYTES) as u64);
    let bytes = if small { std::fs::read(at).unwrap_or_default() } else { Vec::new() };
    decode(&bytes).filter(|(written, _)| written == behind).map(|(_, steps)| steps).unwrap_or_default()
}

/// The file of one daemon.
#[derive(Debug)]
pub(crate) struct HeldFile {
    path: PathBuf,
    boot: [u8; 16],
    /// Behind which number, and how much had been absorbed.
    written: Option<(Behind, u64)>,
    not_before: Instant,
}

impl HeldFile {
    pub fn new(path: PathBuf, boot: [u8; 16]) -> Self {
        Self { path, boot, written: None, not_before: machine::now() }
    }

    /// Whoever reads it finds all of it or what was there before.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        std::fs::write(&fresh, bytes)?;
        std::fs::rename(&fresh, &self.path)
    }

    pub fn remove(path: &Path) {
        for path in [path.with_extension("new"), path.to_owned()] {
            // Mostly there is none.
            drop(std::fs::remove_file(path));
        }
    }
}

/// The same by paths; `None`: one of them has none.
fn by_paths(names: &Names, steps: Vec<MapStep<Arc<Node>>>) -> Option<Vec<Step>> {
    let mut out = Vec::with_capacity(steps.len());
    for step in steps {
        match step {
            MapStep::Make(dir) => out.push(Step::Make(dir.path(names)?)),
            MapStep::Move { node, from, to, .. } => {
                let to = match to {
                    Some((dir, name)) => path_in(names, &dir, &name)?,
                    None => waiting_path(&node),
                };
                if from != to {
                    out.push(Step::Move { from, to });
                }
            }
            MapStep::Aside { path, .. } => out.push(Step::Aside(path)),
            MapStep::Remove { path, directory, .. } => out.push(Step::Remove { path, directory }),
        }
    }
    Some(out)
}

impl Srm {
    /// Writes down what is held of names, where that has changed. `last`: nothing more changes; it is not put off.
    pub(crate) fn note_held(&self, last: bool) {
        let mut file = self.held_file.lock();
        let Some(file) = file.as_mut().filter(|file| last || machine::now() >= file.not_before) else { return };
        if !matches!(self.core.lock().gate, Gate::Held(_)) {
            // What was written before counts behind another number.
            return;
        }
        let Some(names) = self.tree.names().try_read_for(PATIENCE) else { return };
        let begun = machine::now();
        let (held, now) = {
            let core = self.core.lock();
            let Gate::Held(held) = &core.gate else { return };
            let newest = core.backlog.newest();
            let now = (Behind { incarnation: core.incarnation, boot: file.boot, newest }, core.absorbed);
            if core.stopped || file.written == Some(now) {
                return;
            }
            (held.clone(), now)
        };
        let steps = held.reshape().and_then(|(steps, _)| by_paths(&names, steps));
        drop(names);
        match steps.and_then(|steps| encode(&now.0, &steps)).map(|bytes| file.write(&bytes)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::debug!(event = "held-file", %error, "what is held is not written down");
                HeldFile::remove(&file.path);
            }
            None => HeldFile::remove(&file.path),
        }
        file.written = Some(now);
        file.not_before = machine::now() + EVERY.max(machine::since(begun) * SHARE);
    }

    /// Takes the steps of the last daemon, at the beginning of a pass over everything. What one does not find any more is found by the pass.
    pub(crate) fn take_again(&self, steps: &[Step]) {
        let names = self.tree.names().read();
        for step in steps {
            let op = match step {
                Step::Make(path) => {
                    let dir = self.node_at(&names, path).filter(|node| node.is_dir());
                    if dir.is_none_or(|dir| self.ensure_directory(&names, &dir).is_err()) {
                        // What comes now may be to go into it.
                        return;
                    }
                    continue;
                }
                Step::Move { from, to } => Op::Rename {
                    from: from.clone(),
                    to: to.clone(),
                    kind: RenameKind::Replace,
                    node: self.tree.fresh_id(),
                    replaced: None,
                    from_parent_mtime: self.time_above(&names, from),
                    to_parent_mtime: self.time_above(&names, to),
                },
                Step::Aside(path) => Op::SetAside { path: path.clone(), parent_mtime: self.time_above(&names, path) },
                Step::Remove { path, directory } => Op::Unlink {
                    path: path.clone(),
                    gone: Replaced { node: self.tree.fresh_id(), orphan: false },
                    directory: *directory,
                    parent_mtime: self.time_above(&names, path),
                },
            };
            let mut core = self.core.lock();
            if !matches!(core.gate, Gate::Pass(_)) {
                return;
            }
            let _no_reply_waits = self.queue(&mut core, Draft::new(&op, Bytes::new()), 0);
        }
    }

    fn node_at(&self, names: &Names, path: &RelPath) -> Option<Arc<Node>> {
        let (dir, name) = self.place_of(names, path)?;
        self.tree.lookup(names, &dir, &name, 0).ok().map(|(node, _)| node)
    }

    /// The time of the directory above a path; one that is gone has none that matters.
    fn time_above(&self, names: &Names, path: &RelPath) -> Time {
        let dir = self.place_of(names, path).map(|(dir, _)| dir);
        dir.and_then(|dir| mtime_of(self, names, &dir).ok()).unwrap_or(Time { secs: 0, nanos: 0 })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn behind(newest: u64) -> Behind {
        Behind { incarnation: Incarnation::from_bytes([3; 16]), boot: [9; 16], newest: SeqNo::new(newest) }
    }

    fn steps() -> Vec<Step> {
        let path = |text: &str| RelPath::new(text.as_bytes()).unwrap();
        vec![
            Step::Make(path("new")),
            Step::Move { from: path("old/a"), to: path("new/b") },
            Step::Aside(path("in the way")),
            Step::Remove { path: path("old/c"), directory: false },
            Step::Remove { path: path("old"), directory: true },
        ]
    }

    #[test]
    fn what_was_written_is_read_behind_the_same_number_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("held");
        assert!(read(&path, &behind(7)).is_empty());
        let bytes = encode(&behind(7), &steps()).unwrap();
        HeldFile::new(path.clone(), [9; 16]).write(&bytes).unwrap();
        assert_eq!(read(&path, &behind(7)), steps());
        assert!(read(&path, &behind(8)).is_empty());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!((CRC_AT + 4..HEAD_BYTES).contains(&at) || decode(&bad).is_none(), "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
        HeldFile::remove(&path);
        assert!(!path.exists());
    }

    #[test]
    fn version_1_is_read_as_it_was_written() {
        let sample = include_bytes!("../tests/samples/held-1");
        assert_eq!(decode(sample), Some((behind(7), steps())));
        assert_eq!(encode(&behind(7), &steps()).unwrap(), sample);
    }

    #[test]
    fn too_much_is_not_written() {
        let long = RelPath::new(&[b'x'; 200]).unwrap();
        let many = vec![Step::Aside(long); MOST_BYTES / 200];
        assert_eq!(encode(&behind(1), &many), None);
    }
}
