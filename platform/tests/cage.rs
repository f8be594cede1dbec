//! The cage, from inside: a child closes it around itself and tries to get out, and to do what a target does.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Found, call, errno, in_a_child, io, sys};
use platform::cage::{Plan, close, separate};
use platform::sys::{attr, proc_path, xattr};
use replfs_platform as platform;
use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// ROOT, a place for state, and something outside that must stay as it is.
struct Dirs {
    home: tempfile::TempDir,
}

impl Dirs {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for dir in ["root", "root/a", "root/b", "state", "outside"] {
            fs::create_dir(home.path().join(dir)).unwrap();
        }
        fs::write(home.path().join("outside/canary"), "alive").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { home }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(fs::read_to_string(self.at("outside/canary")).unwrap(), "alive");
        assert_eq!(fs::metadata(self.at("outside/canary")).unwrap().mode() & 0o7777, 0o644);
        assert_eq!(fs::read_dir(self.at("outside")).unwrap().count(), 1);
    }
}

fn enter(dirs: &Dirs, found: &mut Found, namespace: bool) {
    let (root, state) = (dirs.at("root"), dirs.at("state"));
    if namespace {
        let why = found.done("a root of its own", io(separate(&[&root, &state])));
        found.that(why == Some(None), format!("a root of its own: {why:?}"));
    }
    let closed = io(close(&Plan { trees: &[&root], places: &[&state] }));
    if let Some(closed) = found.done("the cage", closed) {
        found.that(closed.missing.is_empty(), format!("missing: {:?}", closed.missing));
        found.that(closed.syscalls && closed.landlock.is_some(), format!("{closed:?}"));
    }
}

fn open(path: &Path, flags: OFlags) -> Result<(), i32> {
    sys(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RUSR)).map(drop)
}

#[test]
fn with_a_root_of_its_own_nothing_else_is_there() {
    let dirs = Dirs::new();
    in_a_child(|found| {
        enter(&dirs, found, true);
        let gone = [libc::ENOENT, libc::EACCES, libc::EROFS];
        let canary = dirs.at("outside/canary");
        found.refused("opening what is outside", open(&canary, OFlags::RDONLY), &gone);
        found.refused("permissions outside", sys(rustix::fs::chmod(&canary, Mode::RWXU)), &gone);
        let owner = sys(rustix::fs::chown(&canary, Some(rustix::fs::Uid::from_raw(7)), None));
        found.refused("an owner outside", owner, &gone);
        let set = sys(rustix::fs::setxattr(&canary, "user.x", b"y", XattrFlags::empty()));
        found.refused("an attribute outside", set, &gone);
        found.refused("opening /etc/passwd", open(Path::new("/etc/passwd"), OFlags::RDONLY), &gone);
        let up = dirs.at("root/../../../../../../../etc/passwd");
        found.refused("opening /etc/passwd from below", open(&up, OFlags::RDONLY), &gone);
        found.refused("opening it by way of init", open(Path::new("/proc/1/root/etc/passwd"), OFlags::RDONLY), &gone);
        let by_parent = format!("/proc/{}/root/etc/passwd", std::os::unix::process::parent_id());
        found.refused("opening it by way of the parent", open(Path::new(&by_parent), OFlags::RDONLY), &gone);
        let memory = format!("/proc/{}/mem", std::os::unix::process::parent_id());
        found.refused("writing to the parent's memory", open(Path::new(&memory), OFlags::RDWR), &gone);
        let core = Path::new("/proc/sys/kernel/core_pattern");
        found.refused("changing the kernel's settings", open(core, OFlags::WRONLY), &gone);
        let new = sys(rustix::fs::mkdirat(CWD, "/x", Mode::RWXU));
        found.refused("making a directory in the new root", new, &gone);
        let disk = dirs.at("root/disk");
        let made = rustix::fs::mknodat(CWD, &disk, FileType::BlockDevice, Mode::RUSR, rustix::fs::makedev(254, 0));
        found.done("a device node", sys(made));
        found.refused("opening the device", open(&disk, OFlags::RDONLY), &[libc::EACCES]);
        let null = dirs.at("root/null");
        let made = rustix::fs::mknodat(CWD, &null, FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3));
        found.done("another device node", sys(made));
        found.refused("opening a harmless device", open(&null, OFlags::RDONLY), &[libc::EACCES]);
    });
    dirs.assert_untouched();
}

#[test]
fn without_it_landlock_keeps_names_and_content() {
    let dirs = Dirs::new();
    in_a_child(|found| {
        enter(&dirs, found, false);
        let refused = [libc::EACCES, libc::EXDEV];
        let (canary, inside, out) = (dirs.at("outside/canary"), dirs.at("root/file"), dirs.at("outside/file"));
        found.done("a file inside", io(fs::write(&inside, "content")));
        found.refused("reading outside", open(&canary, OFlags::RDONLY), &refused);
        found.refused("opening /etc/passwd", open(Path::new("/etc/passwd"), OFlags::RDONLY), &refused);
        found.refused("listing outside", open(&dirs.at("outside"), OFlags::RDONLY | OFlags::DIRECTORY), &refused);
        found.refused("writing outside", open(&canary, OFlags::WRONLY), &refused);
        found.refused("truncating outside", open(&canary, OFlags::WRONLY | OFlags::TRUNC), &refused);
        found.refused("a new file outside", open(&out, OFlags::WRONLY | OFlags::CREATE), &refused);
        found.refused("a rename out", sys(rustix::fs::rename(&inside, &out)), &refused);
        found.refused("a rename in", sys(rustix::fs::rename(&canary, dirs.at("root/stolen"))), &refused);
        found.refused("a link out", sys(rustix::fs::link(&inside, &out)), &refused);
        found.refused("a link in", sys(rustix::fs::link(&canary, dirs.at("root/stolen"))), &refused);
        found.refused("an unlink outside", sys(rustix::fs::unlink(&canary)), &refused);
        found.refused("a directory outside", sys(rustix::fs::mkdir(&out, Mode::RWXU)), &refused);
        found.refused("a link outside", sys(rustix::fs::symlink("x", &out)), &refused);
        let node = rustix::fs::mknodat(CWD, &out, FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3));
        found.refused("a device outside", sys(node), &refused);
        let node = rustix::fs::mknodat(CWD, dirs.at("state/x"), FileType::BlockDevice, Mode::RUSR, 0);
        found.refused("a device among the state", sys(node), &refused);
        found.done("a file among the state", io(fs::write(dirs.at("state/peers.new"), "peers")));
        found.done("its name", sys(rustix::fs::rename(dirs.at("state/peers.new"), dirs.at("state/peers"))));
        // A link that leads out is followed to where it leads, and refused there.
        found.done("a link that leads out", io(symlink(&canary, dirs.at("root/lure"))));
        found.refused("reading through a link", open(&dirs.at("root/lure"), OFlags::RDONLY), &refused);
    });
    dirs.assert_untouched();
}

/// With arguments that would do harm, or at least be accepted, where the call were made.
#[test]
fn system_calls_that_no_target_makes_are_refused() {
    let dirs = Dirs::new();
    in_a_child(|found| {
        enter(&dirs, found, true);
        let refused = [libc::ENOSYS];
        for (what, number) in NEVER {
            found.refused(what, call(*number, [0; 6]), &refused);
        }
        let text = |text: &'static std::ffi::CStr| text.as_ptr() as u64;
        let exec = call(libc::SYS_execve, [text(c"/bin/true"), 0, 0, 0, 0, 0]);
        found.refused("running a program", exec, &refused);
        let parent = u64::from(std::os::unix::process::parent_id());
        found.refused("a signal to the parent", call(libc::SYS_kill, [parent, 0, 0, 0, 0, 0]), &refused);
        found.refused("a signal to everybody", call(libc::SYS_kill, [u64::MAX, 0, 0, 0, 0, 0]), &refused);
        found.done("a signal to itself", call(libc::SYS_kill, [u64::from(std::process::id()), 0, 0, 0, 0, 0]));
        found.refused(
            "a process",
            call(libc::SYS_clone, [libc::SIGCHLD.unsigned_abs().into(), 0, 0, 0, 0, 0]),
            &refused,
        );
        let users = libc::CLONE_NEWUSER.unsigned_abs() | libc::CLONE_THREAD.unsigned_abs();
        found.refused("a thread elsewhere", call(libc::SYS_clone, [users.into(), 0, 0, 0, 0, 0]), &refused);
        let (inet, unix) = (libc::AF_INET.unsigned_abs(), libc::AF_UNIX.unsigned_abs());
        let (stream, datagram, raw) = (1, 2, 3);
        for (what, family, kind) in [
            ("a TCP socket", inet, stream),
            ("a raw socket", inet, raw),
            ("a socket for local programs", unix, stream),
            ("a socket for local datagrams", unix, datagram),
            ("a socket of links", libc::AF_PACKET.unsigned_abs(), raw),
            ("a socket of the kernel", libc::AF_NETLINK.unsigned_abs(), raw),
            ("a socket of virtual machines", libc::AF_VSOCK.unsigned_abs(), stream),
        ] {
            found.refused(what, call(libc::SYS_socket, [family.into(), kind, 0, 0, 0, 0]), &refused);
        }
        found.done("a UDP socket", call(libc::SYS_socket, [inet.into(), datagram, 0, 0, 0, 0]));
        let pages = |protection: u64| call(libc::SYS_mmap, [0, 4096, protection, 0x22, u64::MAX, 0]);
        found.refused("memory that can be run", pages(7), &refused);
        if let Some(memory) = found.done("memory", pages(3)) {
            let run = call(libc::SYS_mprotect, [memory.unsigned_abs(), 4096, 5, 0, 0, 0]);
            found.refused("running what was written", run, &refused);
        }
        // TIOCSTI: typing into the terminal that started it.
        found.refused("typing into a terminal", call(libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]), &refused);
        found.refused("a limit of another process", call(libc::SYS_prlimit64, [parent, 7, 0, 0, 0, 0]), &refused);
        let all = call(libc::SYS_prctl, [u64::from(libc::PR_CAPBSET_READ.unsigned_abs()), 0, 0, 0, 0, 0]);
        found.refused("changes of itself", all, &refused);
    });
    dirs.assert_untouched();
}

const NEVER: &[(&str, libc::c_long)] = &[
    ("execveat", libc::SYS_execveat),
    ("ptrace", libc::SYS_ptrace),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("mount", libc::SYS_mount),
    ("umount2", libc::SYS_umount2),
    ("move_mount", libc::SYS_move_mount),
    ("open_tree", libc::SYS_open_tree),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("fsopen", libc::SYS_fsopen),
    ("fspick", libc::SYS_fspick),
    ("pivot_root", libc::SYS_pivot_root),
    ("chroot", libc::SYS_chroot),
    ("chdir", libc::SYS_chdir),
    ("fchdir", libc::SYS_fchdir),
    ("unshare", libc::SYS_unshare),
    ("setns", libc::SYS_setns),
    ("clone3", libc::SYS_clone3),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("name_to_handle_at", libc::SYS_name_to_handle_at),
    ("bpf", libc::SYS_bpf),
    ("seccomp", libc::SYS_seccomp),
    ("keyctl", libc::SYS_keyctl),
    ("add_key", libc::SYS_add_key),
    ("request_key", libc::SYS_request_key),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("kexec_load", libc::SYS_kexec_load),
    ("init_module", libc::SYS_init_module),
    ("finit_module", libc::SYS_finit_module),
    ("delete_module", libc::SYS_delete_module),
    ("reboot", libc::SYS_reboot),
    ("swapon", libc::SYS_swapon),
    ("swapoff", libc::SYS_swapoff),
    ("acct", libc::SYS_acct),
    ("quotactl", libc::SYS_quotactl),
    ("syslog", libc::SYS_syslog),
    ("settimeofday", libc::SYS_settimeofday),
    ("clock_settime", libc::SYS_clock_settime),
    ("sethostname", libc::SYS_sethostname),
    ("personality", libc::SYS_personality),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_setup", libc::SYS_io_setup),
    ("fanotify_init", libc::SYS_fanotify_init),
    ("memfd_create", libc::SYS_memfd_create),
    ("memfd_secret", 447),
    ("capset", libc::SYS_capset),
    ("setuid", libc::SYS_setuid),
    ("setgid", libc::SYS_setgid),
    ("setgroups", libc::SYS_setgroups),
    ("setfsuid", libc::SYS_setfsuid),
    ("setsid", libc::SYS_setsid),
    ("connect", libc::SYS_connect),
    ("listen", libc::SYS_listen),
    ("shmget", libc::SYS_shmget),
    ("msgget", libc::SYS_msgget),
    ("lookup_dcookie or none", 100_000),
];

/// Everything that a replica is made of.
#[test]
fn what_a_target_does_goes_on_inside() {
    let dirs = Dirs::new();
    in_a_child(|found| {
        enter(&dirs, found, true);
        let at = |path: &str| dirs.at("root").join(path);
        found.done("a file", io(fs::write(at("a/f"), "content")));
        found.done("a rename to another directory", sys(rustix::fs::rename(at("a/f"), at("b/f"))));
        found.done("a hard link", sys(rustix::fs::link(at("b/f"), at("a/l"))));
        found.done("a symbolic link", io(symlink("/etc/passwd", at("a/s"))));
        let exchange = rustix::fs::renameat_with(CWD, at("a"), CWD, at("b"), RenameFlags::EXCHANGE);
        found.done("an exchange", sys(exchange));
        let exchange = rustix::fs::renameat_with(CWD, at("b/s"), CWD, at("a/f"), RenameFlags::EXCHANGE);
        found.done("another one, of file and link", sys(exchange));
        for (name, kind) in
            [("fifo", FileType::Fifo), ("socket", FileType::Socket), ("char", FileType::CharacterDevice)]
        {
            found.done(name, sys(rustix::fs::mknodat(CWD, at(name), kind, Mode::RUSR, 0)));
        }
        // By descriptor, as a target does it.
        let node = rustix::fs::open(at("b/l"), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
        let file = rustix::fs::open(proc_path(node.as_fd()), OFlags::RDWR, Mode::empty());
        if let Some(file) = found.done("a file that is opened once more", sys(file)) {
            found.done("its size", sys(rustix::fs::ftruncate(&file, 1 << 20)));
            found.done("room", sys(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, 4096)));
            found.done("its end", sys(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0))));
            found.done("the disk", sys(rustix::fs::fdatasync(&file)));
            found.done("the whole disk", sys(rustix::fs::syncfs(&file)));
            found.done("a lock", sys(rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)));
            found.done("the file system", sys(rustix::fs::fstatvfs(&file)));
            let clone = fs::File::create(at("clone")).unwrap();
            // Where the file system can.
            let shared = rustix::fs::ioctl_ficlone(&clone, &file);
            found.that(shared != Err(rustix::io::Errno::NOSYS), "sharing data is refused by the cage");
            let mut small = fs::File::open(at("clone")).unwrap();
            let copied = io(std::io::copy(&mut small, &mut fs::File::create(at("copy")).unwrap()));
            found.done("a copy", copied);
        }
        found.done("an owner", io(attr::chown(node.as_fd(), Some(1234), Some(5678))));
        found.done("permissions", io(attr::chmod(node.as_fd(), 0o6755)));
        let mode = io(attr::stat(&node)).map(|stat| attr::perm(&stat));
        found.that(mode == Ok(0o6755), format!("permissions are {mode:?}"));
        found.done("times", io(attr::set_times(node.as_fd(), None, Some(protocol::Time { secs: 1, nanos: 2 }))));
        for name in ["user.x", "trusted.x", "security.x"] {
            found.done(name, io(xattr::set(node.as_fd(), name.as_bytes(), b"value", XattrFlags::empty())));
        }
        let all = io(xattr::all(node.as_fd())).map(|all| all.len());
        found.that(all == Ok(3), format!("attributes: {all:?}"));
        found.done(
            "a thread",
            io(std::thread::Builder::new().name("one".to_owned()).spawn(|| 7)).map(std::thread::JoinHandle::join),
        );
        found.done("random bytes", io(platform::random::bytes::<16>()));
        found.done("names", io(fs::read_dir(at("a"))).map(Iterator::count));
        found.done("a whole tree that goes", io(fs::remove_dir_all(at("a"))));
        let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        found.that(limits.current.is_some(), "limits can be read");
    });
    dirs.assert_untouched();
}

#[test]
fn each_capability_that_is_kept_is_needed() {
    let kept = platform::cage::KEPT_CAPABILITIES.iter().fold(CapabilitySet::empty(), |all, (one, _)| all | *one);
    for (needs, what) in NEEDS {
        assert!(kept.contains(*needs), "{needs:?} is kept");
        for set in [kept, kept - *needs] {
            let dir = tempfile::tempdir().unwrap();
            let works = set == kept;
            in_a_child(|found| {
                let sets = CapabilitySets { effective: set, permitted: set, inheritable: CapabilitySet::empty() };
                prepare(dir.path());
                found.done("fewer capabilities", sys(set_capabilities(None, sets)));
                let outcome = what(dir.path());
                found.that(outcome.is_ok() == works, format!("{needs:?} with {set:?}: {outcome:?}"));
            });
        }
    }
    let needed = NEEDS.iter().fold(CapabilitySet::empty(), |all, (one, _)| all | *one);
    assert_eq!(kept, needed, "nothing is kept that is not needed");
}

/// A file of another user's, closed to himself.
fn prepare(dir: &Path) {
    let file = dir.join("f");
    fs::write(&file, "x").unwrap();
    std::os::unix::fs::chown(&file, Some(4321), Some(4321)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
}

type Attempt = fn(&Path) -> Result<(), i32>;

const NEEDS: &[(CapabilitySet, Attempt)] = &[
    (CapabilitySet::CHOWN, |dir| io(std::os::unix::fs::chown(dir.join("f"), Some(1), Some(1)))),
    (CapabilitySet::DAC_OVERRIDE, |dir| io(fs::read(dir.join("f"))).map(drop)),
    (CapabilitySet::FOWNER, |dir| io(fs::set_permissions(dir.join("f"), fs::Permissions::from_mode(0o600)))),
    (CapabilitySet::FSETID, |dir| {
        io(fs::set_permissions(dir.join("f"), fs::Permissions::from_mode(0o2750)))?;
        match fs::metadata(dir.join("f")) {
            Ok(meta) if meta.mode() & 0o7777 == 0o2750 => Ok(()),
            Ok(_) => Err(0),
            Err(e) => Err(errno(&e)),
        }
    }),
    (CapabilitySet::MKNOD, |dir| {
        sys(rustix::fs::mknodat(CWD, dir.join("n"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3)))
    }),
    (CapabilitySet::SETFCAP, |dir| {
        let mut ping = [0; 20];
        ping[3] = 2;
        ping[5] = 0x20;
        sys(rustix::fs::setxattr(dir.join("f"), "security.capability", &ping, XattrFlags::empty()))
    }),
    (CapabilitySet::SYS_ADMIN, |dir| sys(rustix::fs::setxattr(dir.join("f"), "trusted.x", b"y", XattrFlags::empty()))),
];

#[test]
fn an_ordinary_user_is_caged_too() {
    let dirs = Dirs::new();
    for dir in ["root", "root/a", "state"] {
        std::os::unix::fs::chown(dirs.at(dir), Some(4321), Some(4321)).unwrap();
    }
    fs::set_permissions(dirs.at("outside"), fs::Permissions::from_mode(0o777)).unwrap();
    in_a_child(|found| {
        // The system calls, because the functions of the C library speak to all threads of what was forked.
        found.done("the groups", call(libc::SYS_setgroups, [0; 6]));
        found.done("the group", call(libc::SYS_setresgid, [4321, 4321, 4321, 0, 0, 0]));
        found.done("the user", call(libc::SYS_setresuid, [4321, 4321, 4321, 0, 0, 0]));
        let why = found.done("no root of its own", io(separate(&[&dirs.at("root")])));
        found.that(why.flatten().is_some_and(|why| why.contains("namespace")), "why it has none is said");
        enter(&dirs, found, false);
        found.done("a file inside", io(fs::write(dirs.at("root/f"), "x")));
        found.refused("a file outside", io(fs::write(dirs.at("outside/f"), "x")), &[libc::EACCES]);
        found.refused("reading outside", open(&dirs.at("outside/canary"), OFlags::RDONLY), &[libc::EACCES]);
        let exec = call(libc::SYS_execve, [c"/bin/true".as_ptr() as u64, 0, 0, 0, 0, 0]);
        found.refused("running a program", exec, &[libc::ENOSYS]);
    });
    dirs.assert_untouched();
}

#[test]
fn with_another_thread_it_is_not_closed() {
    let (there, wait) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || wait.recv());
    let root = tempfile::tempdir().unwrap();
    let error = close(&Plan { trees: &[root.path()], places: &[] }).unwrap_err();
    assert!(error.to_string().contains("threads run"), "{error}");
    assert!(separate(&[root.path()]).unwrap_err().to_string().contains("threads run"));
    assert!(fs::read("/etc/passwd").is_ok(), "nothing has happened");
    drop(there);
    assert!(other.join().unwrap().is_err());
}

#[test]
fn where_the_mounts_cannot_be_made_the_process_stays_where_it_was() {
    let dirs = Dirs::new();
    in_a_child(|found| {
        let here = || io(fs::read_link("/proc/self/ns/mnt"));
        let before = here();
        let why = found.done("no root of its own", io(separate(&[&dirs.at("root"), &dirs.at("not there")])));
        found
            .that(why.flatten().is_some_and(|why| why.contains("no such file") || why.contains("No such file")), "why");
        found.that(here() == before, "it is somewhere else");
        found.that(dirs.at("outside/canary").exists(), "nothing is gone");
        enter(&dirs, found, false);
        found.refused("reading outside", open(&dirs.at("outside/canary"), OFlags::RDONLY), &[libc::EACCES]);
    });
    dirs.assert_untouched();
}

#[test]
fn file_systems_below_root_are_there_and_what_goes_outside_goes_inside() {
    let dirs = Dirs::new();
    let below = dirs.at("root/a");
    // Only in a namespace of its own, so that nothing is left behind whatever happens.
    in_a_child(|found| {
        // SAFETY: nobody else is in this process.
        found.done("a namespace", sys(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }));
        let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        found.done("its own mounts", sys(rustix::mount::mount_change("/", private)));
        let flags = rustix::mount::MountFlags::empty();
        found.done("a file system", sys(rustix::mount::mount("x", &below, "tmpfs", flags, c"")));
        found.done("a file there", io(fs::write(below.join("f"), "x")));
        enter(&dirs, found, true);
        found.that(io(fs::read_to_string(below.join("f"))) == Ok("x".to_owned()), "it is not seen");
        let made =
            rustix::fs::mknodat(CWD, below.join("n"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3));
        found.done("a device there", sys(made));
        found.refused("opening it", open(&below.join("n"), OFlags::RDONLY), &[libc::EACCES]);
    });
    dirs.assert_untouched();
}
