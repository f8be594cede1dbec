//! A disk with a cache that a power cut empties: what was written since the last flush is there, or not, sector by sector. It is a
//! file of a FUSE file system of the test's own, with ext4 on a loop device over it.

use crate::blocklog::log::{Log, Recorder};
use crate::blocklog::{FileSystem, Layer};
use crate::command::tool;
use crate::disk::admin;
use crate::rig::Rig;
use crate::seed::Random;
use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use std::ffi::OsStr;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// Written whole or not at all, as by disks of this century: ext4 relies on that for its superblock.
const SECTOR: usize = 4096;
const ROOT: u64 = 1;
const DISK: u64 = 2;
const NAME: &str = "disk";
const TTL: Duration = Duration::from_secs(3600);

/// What is on the disk.
#[derive(Debug)]
struct Content {
    /// As it is read.
    now: Vec<u8>,
    /// As it survives whatever happens.
    flushed: Vec<u8>,
    /// Written since the last flush: offset and length.
    cached: Vec<(usize, usize)>,
    flushes: u64,
    /// How long a flush takes.
    flush_takes: Duration,
    /// Everything in order, where that is wanted; `flushed` and `cached` are empty then.
    recorder: Option<Recorder>,
}

#[derive(Debug, Clone)]
struct Server(Arc<Mutex<Content>>);

impl Server {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attr(&self, ino: u64) -> FileAttr {
        let (kind, size) = if ino == ROOT {
            (FileType::Directory, 0)
        } else {
            (FileType::RegularFile, self.content().now.len() as u64)
        };
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Server {
    fn lookup(&self, _req: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME { reply.entry(&TTL, &self.attr(DISK), Generation(0)) } else { reply.error(Errno::ENOENT) }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(ino.0));
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(1), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let content = self.content();
        let end = content.now.len();
        let from = usize::try_from(offset).unwrap_or(end).min(end);
        reply.data(&content.now[from..(from + size as usize).min(end)]);
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut content = self.content();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        match content.now.get_mut(from..from.saturating_add(data.len())) {
            Some(place) => place.copy_from_slice(data),
            None => return reply.error(Errno::ENOSPC),
        }
        match &mut content.recorder {
            Some(recorder) => recorder.write(offset, data),
            None => content.cached.push((from, data.len())),
        }
        reply.written(u32::try_from(data.len()).unwrap_or(0));
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let mut content = self.content();
        let Content { now, flushed, cached, flushes, flush_takes, recorder } = &mut *content;
        if let Some(recorder) = recorder {
            recorder.flush();
        }
        for (from, len) in cached.drain(..) {
            flushed[from..from + len].copy_from_slice(&now[from..from + len]);
        }
        *flushes += 1;
        let takes = *flush_takes;
        drop(content);
        std::thread::sleep(takes);
        reply.ok();
    }

    fn fallocate(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _o: u64, _l: u64, _m: i32, reply: ReplyEmpty) {
        // Discarding: the loop device does without.
        reply.error(Errno::EOPNOTSUPP);
    }
}

/// A disk in memory, with the file system that serves it.
pub struct VolatileDisk {
    content: Arc<Mutex<Content>>,
    at: PathBuf,
    /// It ends when the rig unmounts it: a loop device may stand on it until then.
    _session: ManuallyDrop<BackgroundSession>,
}

impl std::fmt::Debug for VolatileDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VolatileDisk").field("at", &self.at).finish_non_exhaustive()
    }
}

impl VolatileDisk {
    /// A disk of so many MiB with an empty ext4 on it. `name`: of a directory of the rig's, in which the disk is served.
    #[track_caller]
    pub fn format(rig: &mut Rig, name: &str, mib: usize) -> Self {
        let disk = Self::serve(rig, name, vec![0; mib << 20]);
        let words = ["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        crate::command::run(admin("mkfs.ext4").args(words).arg(disk.path())).ok();
        disk
    }

    /// A disk that writes down all that happens to it, with an empty file system on it.
    #[track_caller]
    pub fn recorded(rig: &mut Rig, name: &str, kind: &FileSystem) -> Self {
        let disk = Self::recorded_on(rig, name, vec![0; kind.mib << 20]);
        kind.make(&disk.path());
        disk
    }

    /// A disk with these bytes that writes down all that happens to it from now on.
    #[track_caller]
    pub fn recorded_on(rig: &mut Rig, name: &str, now: Vec<u8>) -> Self {
        let (recorder, flush_takes) = (Some(Recorder::new()), Duration::ZERO);
        let content = Content { now, flushed: Vec::new(), cached: Vec::new(), flushes: 0, flush_takes, recorder };
        Self::serve_content(rig, name, content)
    }

    #[track_caller]
    fn serve(rig: &mut Rig, name: &str, image: Vec<u8>) -> Self {
        let (flushed, cached, flush_takes) = (image.clone(), Vec::new(), Duration::ZERO);
        Self::serve_content(rig, name, Content { now: image, flushed, cached, flushes: 0, flush_takes, recorder: None })
    }

    #[track_caller]
    fn serve_content(rig: &mut Rig, name: &str, content: Content) -> Self {
        let at = rig.home().join(name);
        std::fs::create_dir(&at).unwrap_or_else(|e| panic!("cannot make {}: {e}", at.display()));
        let content = Arc::new(Mutex::new(content));
        let session = fuser::spawn_mount(Server(Arc::clone(&content)), &at, &Config::default());
        let session = session.unwrap_or_else(|e| panic!("cannot serve a disk at {}: {e}", at.display()));
        rig.unmounts(&at);
        Self { content, at, _session: ManuallyDrop::new(session) }
    }

    /// From now on it is as slow as this at flushing: whoever waits for it at the same time is seen to.
    pub fn flush_takes(&self, time: Duration) {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).flush_takes = time;
    }

    /// Where it is served.
    pub fn place(&self) -> &Path {
        &self.at
    }

    fn path(&self) -> PathBuf {
        self.at.join(NAME)
    }

    /// Mounts it. `options`: of ext4, besides.
    #[track_caller]
    pub fn mount(&self, rig: &mut Rig, at: &Path, options: &str) {
        let options = format!("loop{}{options}", if options.is_empty() { "" } else { "," });
        tool(
            rig.home(),
            "mount",
            ["-t".as_ref(), "ext4".as_ref(), "-o".as_ref(), options.as_ref(), self.path().as_os_str(), at.as_os_str()],
        );
        rig.unmounts(at);
    }

    /// What a machine that loses power now finds afterwards: of the sectors that were written since the last flush each is there or not. Of one that was
    /// written several times the last content counts.
    pub fn cut(&self, random: &mut Random) -> Image {
        // All, none, or some.
        let of = *random.pick(&[1, 2, 2, 8, u64::MAX]);
        self.cut_keeping(of, random)
    }

    /// The same where the cache had just been written.
    pub fn cut_keeping_all(&self) -> Image {
        self.cut_keeping(1, &mut Random::new(0))
    }

    /// One sector in `of` is kept; all for 1, none for the largest.
    fn cut_keeping(&self, of: u64, random: &mut Random) -> Image {
        let content = self.held();
        let mut image = content.flushed.clone();
        let mut kept = 0_usize;
        for (from, len) in &content.cached {
            for sector in (*from..from + len).step_by(SECTOR) {
                let end = (sector + SECTOR).min(from + len);
                if of == 1 || (of != u64::MAX && random.below(of) == 0) {
                    image[sector..end].copy_from_slice(&content.now[sector..end]);
                    kept += 1;
                }
            }
        }
        println!(
            "power cut at {}: {} writes in the cache, {kept} sectors kept, {} flushes before",
            self.at.display(),
            content.cached.len(),
            content.flushes
        );
        Image(image)
    }

    fn held(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layer for VolatileDisk {
    fn path(&self) -> PathBuf {
        Self::path(self)
    }

    fn position(&self) -> u64 {
        self.held().recorder.as_ref().map_or(0, Recorder::position)
    }

    fn log(&self) -> Result<Log> {
        let held = self.held();
        let recorder = held.recorder.as_ref().context("this disk does not write down what happens to it")?;
        Log::parse(recorder.bytes().to_vec())
    }

    fn place(&self) -> PathBuf {
        self.at.clone()
    }
}

/// What is left of a disk.
pub struct Image(Vec<u8>);

impl Image {
    /// The disk in a machine that is switched on again.
    #[track_caller]
    pub fn serve(self, rig: &mut Rig, name: &str) -> VolatileDisk {
        VolatileDisk::serve(rig, name, self.0)
    }
}
