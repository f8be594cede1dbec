//! FUSE requests as calls of the file system, one each, and results as replies. No policy stands here.

use crate::attrs::Wanted;
use crate::convert::{attributes, caller, errno, generation, kind, nothing, set_time};
use crate::data::{Durable, Manner};
use crate::dirs::DirEntry;
use crate::files::OpenFile;
use crate::flags::Opened;
use crate::fs::{Done, Failed, Fs, name};
use crate::names::New;
use crate::reply::{empty, finish, split, written, xattr};
use bytes::Bytes;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long the kernel may believe names and attributes. Nothing changes SRC but this mount, and the kernel notices what
/// it changes itself.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest write in bytes: what the kernel sends at most by default, and what one record may carry.
const MAX_WRITE_BYTES: u32 = 1 << 20;

/// Requests that the kernel may send ahead of need (read-ahead, writing back).
const MAX_BACKGROUND: u16 = 64;

/// What is asked of the kernel where it has it. Not among them, on purpose: `ATOMIC_O_TRUNC` (truncation comes as a SETATTR),
/// `WRITEBACK_CACHE` unless the mount says so (writes come late and merged: `written_back`), `ASYNC_DIO` (the parts of one write would race).
const WANTED: InitFlags = InitFlags::FUSE_HANDLE_KILLPRIV_V2
    .union(InitFlags::FUSE_POSIX_ACL)
    .union(InitFlags::FUSE_DONT_MASK)
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_READDIRPLUS_AUTO)
    .union(InitFlags::FUSE_EXPLICIT_INVAL_DATA)
    .union(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP)
    .union(InitFlags::FUSE_CACHE_SYMLINKS);

/// The kernel keeps a directory's listing until a name in it changes, and names change by way of this mount only.
const LISTING: FopenFlags = FopenFlags::FOPEN_CACHE_DIR.union(FopenFlags::FOPEN_KEEP_CACHE);

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The file system as fuser sees it.
#[derive(Debug)]
pub(crate) struct Adapter {
    fs: Arc<Fs>,
}

impl Adapter {
    pub(crate) fn new(fs: Arc<Fs>) -> Self {
        Self { fs }
    }

    /// Answers when the commit mode says so.
    fn finish<T: Send + 'static>(
        &self,
        outcome: Result<Done<T>, Failed>,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        finish(&self.fs, outcome, reply);
    }

    fn finish_entry(&self, outcome: Result<Done<crate::fs::Entry>, Failed>, reply: ReplyEntry) {
        self.finish(outcome, move |result| match result {
            Ok(entry) => reply.entry(&TTL, &attributes(&entry.stat), generation(&entry)),
            Err(error) => reply.error(error),
        });
    }

    /// How an opened file is cached.
    fn caching(&self, handle: u64) -> FopenFlags {
        let cached = self.fs.files.get(handle).is_ok_and(|file| file.cached);
        if cached { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::FOPEN_DIRECT_IO }
    }

    fn finish_empty(&self, outcome: Result<Done<()>, Failed>, reply: ReplyEmpty) {
        self.finish(outcome, move |result| empty(result, reply));
    }

    /// A listed name that cannot be looked up. With a time to live of zero the kernel asks again when somebody uses it; fuser
    /// takes one number for the name and the node, and a name with number 0 is passed over by programs.
    fn unreachable(&self, entry: &DirEntry) -> (fuser::FileAttr, Generation) {
        let Some(node) = self.fs.tree.get(entry.ino) else {
            let attributes = fuser::FileAttr { ino: INodeNo(entry.ino), kind: kind(entry.kind), ..nothing() };
            return (attributes, Generation(0));
        };
        // The kernel would take made-up attributes of a known node for its own.
        match self.fs.getattr(entry.ino, None) {
            Ok(stat) => (attributes(&stat), Generation(node.generation())),
            Err(_) => (fuser::FileAttr { kind: kind(entry.kind), ..nothing() }, Generation(0)),
        }
    }

    /// Pages that the kernel writes back. The network is never waited for, it may need the memory they hold (R12). Where the kernel gathers all writes, room
    /// is: it holds back whoever writes more than that, and a target that takes nothing is waited for as long as before any other write (decision 26).
    fn write_back(&self, file: Arc<OpenFile>, offset: u64, data: &[u8], kills: bool, reply: ReplyWrite) {
        let bytes = data.len() as u64;
        let admission = if self.fs.gathers() { self.fs.srm.admit(bytes) } else { None };
        if admission.is_some() || !self.fs.gathers() {
            let result = self.fs.write_back(&file, offset, data, kills);
            drop((file, admission));
            return written(result.map_err(|error| errno(&error)), reply);
        }
        let (fs, data) = (Arc::clone(&self.fs), Bytes::copy_from_slice(data));
        self.fs.srm.when_room(
            bytes,
            Box::new(move || {
                let result = fs.write_back(&file, offset, &data, kills);
                drop(file);
                written(result.map_err(|error| errno(&error)), reply);
            }),
        );
    }

    /// Runs a job that adds at most so many bytes to the backlog, now or when there is room. Nothing is locked yet, and this
    /// thread never waits.
    fn when_room(&self, bytes: u64, job: impl FnOnce() + Send + 'static) {
        match self.fs.srm.admit(bytes) {
            Some(_admission) => job(),
            None => self.fs.srm.when_room(bytes, Box::new(job)),
        }
    }
}

// One line for each operation; what fuser has by default is right where one is missing.
impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = if self.fs.gathers() { WANTED | InitFlags::FUSE_WRITEBACK_CACHE } else { WANTED };
        let supported = wanted & config.capabilities();
        if self.fs.gathers() && !supported.contains(InitFlags::FUSE_WRITEBACK_CACHE) {
            tracing::error!("this kernel cannot gather writes; mount without cache=writeback");
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        if let Err(missing) = config.add_capabilities(supported) {
            tracing::warn!(?missing, "the kernel does not do what it said it does");
        }
        // Both are within fuser's bounds.
        let _previous = config.set_max_write(MAX_WRITE_BYTES);
        let _previous = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn destroy(&mut self) {
        self.fs.close_all();
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.fs.lookup(parent.0, name) {
            Ok(entry) => reply.entry(&TTL, &attributes(&entry.stat), generation(&entry)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                reply.entry(&TTL, &nothing(), Generation(0));
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.fs.forget(ino.0, nlookup);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.fs.getattr(ino.0, fh.map(u64::from)) {
            Ok(stat) => reply.attr(&TTL, &attributes(&stat)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let wanted = Wanted {
            size,
            uid,
            gid,
            mode: mode.map(|mode| mode & 0o7777),
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
        };
        let (caller, fh) = (caller(req), fh.map(u64::from));
        if let Some(stat) = self.fs.has_time(ino.0, fh, &wanted) {
            return reply.attr(&TTL, &attributes(&stat));
        }
        let outcome = self.fs.changing(|| self.fs.setattr(caller, ino.0, fh, &wanted));
        if let Some(written_back) =
            self.fs.written_back.as_ref().filter(|_| fh.is_some() && wanted.time_alone().is_some())
        {
            // The time that the kernel keeps of a file that somebody writes (an application's own request names no open file). Its flusher asks, which waits for it
            // as little as for pages.
            let (result, ticket) = split(outcome);
            written_back.add(ino.0, ticket);
            return self.fs.srm.commit_local(ticket, move || match result {
                Ok(stat) => reply.attr(&TTL, &attributes(&stat)),
                Err(error) => reply.error(error),
            });
        }
        self.finish(outcome, move |result| match result {
            Ok(stat) => reply.attr(&TTL, &attributes(&stat)),
            Err(error) => reply.error(error),
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.fs.readlink(ino.0) {
            Ok(to) => reply.data(&to),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn mknod(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, rdev: u32, reply: ReplyEntry) {
        let new = New { caller: caller(req), mode, umask };
        self.finish_entry(self.fs.changing(|| self.fs.mknod(new, parent.0, name, rdev)), reply);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let new = New { caller: caller(req), mode, umask };
        self.finish_entry(self.fs.changing(|| self.fs.mkdir(new, parent.0, name)), reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.finish_empty(self.fs.changing(|| self.fs.unlink(parent.0, name)), reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.finish_empty(self.fs.changing(|| self.fs.rmdir(parent.0, name)), reply);
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let caller = caller(req);
        let outcome = self.fs.changing(|| self.fs.symlink(caller, parent.0, name, target.as_os_str()));
        self.finish_entry(outcome, reply);
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (caller, from, to) = (caller(req), (parent.0, name), (newparent.0, newname));
        let outcome = self.fs.changing(|| self.fs.rename(caller, from, to, flags.bits()));
        self.finish_empty(outcome, reply);
    }

    fn link(&self, _req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        self.finish_entry(self.fs.changing(|| self.fs.link(ino.0, newparent.0, newname)), reply);
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.fs.open(ino.0, flags.0, caller(req)) {
            Ok(handle) => reply.opened(FileHandle(handle), self.caching(handle)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let new = New { caller: caller(req), mode, umask };
        let outcome = self.fs.changing(|| self.fs.create(new, parent.0, name, flags));
        let caching = outcome.as_ref().map_or(FopenFlags::empty(), |done| self.caching(done.value.1));
        self.finish(outcome, move |result| match result {
            Ok((entry, handle)) => {
                let attributes = attributes(&entry.stat);
                reply.created(&TTL, &attributes, generation(&entry), FileHandle(handle), caching);
            }
            Err(error) => reply.error(error),
        });
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.fs.read(fh.0, offset, &mut buffer[..size]) {
                Ok(len) => reply.data(&buffer[..len]),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn write(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let file = match self.fs.files.get(fh.0) {
            Ok(file) => file,
            Err(error) => return reply.error(errno(&error)),
        };
        let (caller, kills) = (caller(req), write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID));
        if write_flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
            return self.write_back(file, offset, data, kills, reply);
        }
        let manner = Manner { kills, durable: Durable::from_flags(flags.0), written_back: false };
        let bytes = data.len() as u64;
        if let Some(admission) = self.fs.srm.admit(bytes) {
            let outcome = self.fs.changing(|| self.fs.write(caller, &file, offset, data, manner));
            drop((file, admission));
            return self.finish(outcome, move |result| written(result, reply));
        }
        let (fs, data) = (Arc::clone(&self.fs), Bytes::copy_from_slice(data));
        self.fs.srm.when_room(
            bytes,
            Box::new(move || {
                let outcome = fs.changing(|| fs.write(caller, &file, offset, &data, manner));
                drop(file);
                finish(&fs, outcome, move |result| written(result, reply));
            }),
        );
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        let Some(written_back) = &self.fs.written_back else {
            // The kernel does not ask again: closing writes nothing that was not written before.
            return reply.error(Errno::ENOSYS);
        };
        // What was written is here by now, by whomever.
        let Ok(file) = self.fs.files.get(fh.0) else { return reply.ok() };
        let ino = file.node.ino();
        let Some(ticket) = written_back.awaited(ino) else { return reply.ok() };
        let fs = Arc::clone(&self.fs);
        self.fs.srm.commit(ticket, move || {
            if let Some(written_back) = &fs.written_back {
                written_back.answered(ino, ticket);
            }
            reply.ok();
        });
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.fs.release(fh.0);
        reply.ok();
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.finish_empty(self.fs.changing(|| self.fs.fsync(fh.0, datasync)), reply);
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.fs.opendir(ino.0) {
            Ok(handle) => reply.opened(FileHandle(handle), LISTING),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut some = false;
        let result = self.fs.dirs.get(fh.0).and_then(|dir| {
            dir.entries(offset, |entry| {
                let full = reply.add(INodeNo(entry.ino), entry.next, kind(entry.kind), &entry.name);
                some |= !full;
                !full
            })
        });
        match result {
            Err(error) if !some => reply.error(errno(&error)),
            // What is there is handed out; the error comes again at its place.
            _ => reply.ok(),
        }
    }

    fn readdirplus(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let mut some = false;
        let result = self.fs.dirs.get(fh.0).and_then(|dir| {
            dir.entries(offset, |entry| {
                let full = if entry.is_dots() {
                    // The kernel takes neither attributes nor a reference from these two.
                    let attributes = fuser::FileAttr { ino: INodeNo(entry.ino), kind: kind(entry.kind), ..nothing() };
                    reply.add(attributes.ino, entry.next, &entry.name, &TTL, &attributes, Generation(0))
                } else {
                    let found = name(&entry.name).and_then(|name| self.fs.lookup_at(dir.fd.as_fd(), &dir.node, &name));
                    match found {
                        Ok(found) => {
                            let attributes = attributes(&found.stat);
                            let generation = generation(&found);
                            let full =
                                reply.add(attributes.ino, entry.next, &entry.name, &TTL, &attributes, generation);
                            if full {
                                self.fs.forget(attributes.ino.0, 1);
                            }
                            full
                        }
                        // It has just gone.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
                        Err(_) => {
                            let (attributes, generation) = self.unreachable(entry);
                            let ino = attributes.ino;
                            reply.add(ino, entry.next, &entry.name, &Duration::ZERO, &attributes, generation)
                        }
                    }
                };
                some |= !full;
                !full
            })
        });
        match result {
            Err(error) if !some => reply.error(errno(&error)),
            _ => reply.ok(),
        }
    }

    fn releasedir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.fs.releasedir(fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.finish_empty(self.fs.changing(|| self.fs.fsyncdir(fh.0, datasync)), reply);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let bytes32 = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.fs.statfs() {
            Ok(s) => reply.statfs(
                s.f_blocks,
                s.f_bfree,
                s.f_bavail,
                s.f_files,
                s.f_ffree,
                bytes32(s.f_bsize),
                bytes32(s.f_namemax),
                bytes32(s.f_frsize),
            ),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let caller = caller(req);
        self.finish_empty(self.fs.changing(|| self.fs.setxattr(caller, ino.0, name, value, flags)), reply);
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        xattr(self.fs.getxattr(ino.0, name), size, reply);
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        xattr(self.fs.listxattr(caller(req), ino.0), size, reply);
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.finish_empty(self.fs.changing(|| self.fs.removexattr(ino.0, name)), reply);
    }

    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        flags: IoctlFlags,
        cmd: u32,
        in_data: &[u8],
        out_size: u32,
        reply: ReplyIoctl,
    ) {
        let directory = flags.contains(IoctlFlags::FUSE_IOCTL_DIR);
        let opened = if directory { Opened::Directory(fh.0) } else { Opened::File(fh.0) };
        match self.fs.ioctl(opened, cmd, in_data) {
            Ok(data) if data.len() <= out_size as usize => reply.ioctl(0, &data),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn fallocate(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let file = match self.fs.files.get(fh.0) {
            Ok(file) => file,
            Err(error) => return reply.error(errno(&error)),
        };
        let (fs, caller) = (Arc::clone(&self.fs), caller(req));
        self.when_room(0, move || {
            let outcome = fs.changing(|| fs.fallocate(caller, &file, mode, offset, length));
            drop(file);
            finish(&fs, outcome, move |result| empty(result, reply));
        });
    }

    fn lseek(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        if self.fs.gathers() {
            // What the kernel holds back would look like a hole. It does not ask again, and takes all for data.
            return reply.error(Errno::ENOSYS);
        }
        match self.fs.lseek(fh.0, offset, whence) {
            Ok(offset) => reply.offset(offset.cast_signed()),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn copy_file_range(
        &self,
        req: &Request,
        _ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        _ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to) = match (self.fs.files.get(fh_in.0), self.fs.files.get(fh_out.0)) {
            (Ok(from), Ok(to)) => (from, to),
            (Err(error), _) | (_, Err(error)) => return reply.error(errno(&error)),
        };
        let (fs, caller) = (Arc::clone(&self.fs), caller(req));
        self.when_room(protocol::CHUNK_BYTES, move || {
            let outcome = fs.changing(|| fs.copy(caller, &from, offset_in, &to, offset_out, len));
            drop((from, to));
            finish(&fs, outcome, move |result| written(result, reply));
        });
    }
}
