//! The mount: how it is made, what keeps it going, how it ends.
//!
//! Nothing here looks at the mount point through the file system once something is mounted there: the daemon would wait
//! for itself.

use crate::adapter::Adapter;
use crate::fs::Fs;
use crate::mountinfo;
use fuser::{Config, INodeNo, MountOption, Session, SessionACL};
use protocol::RelPath;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use srm::Srm;
use srm::status::CacheMode;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

/// Read-ahead in KiB where the kernel's is less.
const READ_AHEAD_KIB: u32 = 1024;

/// What of the memory for dirty pages one mount may have where the kernel gathers writes, in percent, where it may have less. The kernel's 1 is some megabytes, and random writes are
/// soon as slow as they are written back. Most stays for the disks that these pages are written to: SRC's, and a target's on this machine (decision 26).
const DIRTY_PERCENT: u32 = 10;

/// Request threads for each core where the options do not say: requests wait for the disk more than they compute.
const THREADS_PER_CORE: usize = 3;

/// What to mount, where and how.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // mount(8)'s options, each of which is given or not
pub struct MountOptions {
    /// Shown as the source of the mount: absolute SRC.
    pub source_name: String,
    /// MNT, absolute, without symbolic links.
    pub mountpoint: PathBuf,
    /// `ro`.
    pub read_only: bool,
    /// `nosuid`; without it setuid and setgid work.
    pub nosuid: bool,
    /// `nodev`; without it device files work.
    pub nodev: bool,
    /// `noexec`.
    pub noexec: bool,
    /// `noatime`.
    pub noatime: bool,
    /// Request threads; 0: as many as suit this machine.
    pub threads: usize,
    /// Who gathers writes.
    pub cache: CacheMode,
}

impl MountOptions {
    fn flags(&self) -> MountFlags {
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, self.read_only);
        flags.set(MountFlags::NOSUID, self.nosuid);
        flags.set(MountFlags::NODEV, self.nodev);
        flags.set(MountFlags::NOEXEC, self.noexec);
        flags.set(MountFlags::NOATIME, self.noatime);
        flags
    }

    fn config(&self) -> Config {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.threads == 0 { cores * THREADS_PER_CORE } else { self.threads };
        let mut config = Config::default();
        config.n_threads = Some(threads.max(2));
        config.clone_fd = true;
        config.acl = SessionACL::All;
        config
    }

    /// For an ordinary user, by way of fusermount3, which allows neither devices nor setuid nor other users.
    fn user_config(&self) -> Config {
        let mut config = self.config();
        config.acl = SessionACL::Owner;
        config.mount_options = vec![
            MountOption::FSName(self.source_name.clone()),
            MountOption::Subtype("replfs".to_owned()),
            MountOption::DefaultPermissions,
            MountOption::NoSuid,
            MountOption::NoDev,
        ];
        for (wanted, option) in [
            (self.read_only, MountOption::RO),
            (self.noexec, MountOption::NoExec),
            (self.noatime, MountOption::NoAtime),
        ] {
            if wanted {
                config.mount_options.push(option);
            }
        }
        config
    }
}

/// A mount in use.
#[derive(Debug)]
pub struct Mounted {
    mountpoint: PathBuf,
    device: Option<String>,
    fs: Weak<Fs>,
    session: JoinHandle<io::Result<()>>,
}

/// Mounts the SRM's tree. When this returns the mount is usable.
///
/// Errors are those of `mount(2)` and of the FUSE device, with the object they are about.
pub fn mount(srm: Arc<Srm>, options: &MountOptions) -> io::Result<Mounted> {
    let fs = Arc::new(Fs::new(srm, options.cache));
    let adapter = Adapter::new(Arc::clone(&fs));
    let session = if rustix::process::geteuid().is_root() {
        mount_as_root(adapter, options)?
    } else {
        // fusermount3 opens it as this user, and does not say why it cannot.
        let _usable = open_device()?;
        Session::new(adapter, &options.mountpoint, &options.user_config())?
    };
    serve(&fs, session, options).inspect_err(|_| {
        // Nobody answers there any more.
        let _gone = rustix::mount::unmount(&options.mountpoint, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    })
}

fn serve(fs: &Arc<Fs>, session: Session<Adapter>, options: &MountOptions) -> io::Result<Mounted> {
    let device = mountinfo::device_at(&options.mountpoint)?;
    if let Some(device) = &device {
        raise(device, "read_ahead_kb", READ_AHEAD_KIB);
        if fs.gathers() {
            raise(device, "max_ratio", DIRTY_PERCENT);
        }
    }
    let notifier = session.notifier();
    fs.on_changed(move |ino| {
        // An offset below zero leaves cached pages alone. A kernel that holds nothing has nothing to forget.
        if let Err(error) = notifier.inval_inode(INodeNo(ino), -1, 0) {
            tracing::debug!(ino, %error, "the kernel did not take a notice");
        }
    });
    let thread = std::thread::Builder::new().name("fuse".to_owned()).spawn(move || session.run())?;
    Ok(Mounted { mountpoint: options.mountpoint.clone(), device, fs: Arc::downgrade(fs), session: thread })
}

fn mount_as_root(adapter: Adapter, options: &MountOptions) -> io::Result<Session<Adapter>> {
    let fd = open_device()?;
    let data = CString::new(format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
        fd.as_raw_fd()
    ))?;
    rustix::mount::mount(
        options.source_name.as_str(),
        &options.mountpoint,
        "fuse.replfs",
        options.flags(),
        data.as_c_str(),
    )
    .map_err(|error| named(error, &format!("cannot mount at {}", options.mountpoint.display())))?;
    greet(adapter, fd, options).inspect_err(|_| {
        // The device is closed by now; without this a dead mount would stay.
        let _gone = rustix::mount::unmount(&options.mountpoint, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    })
}

fn open_device() -> io::Result<OwnedFd> {
    let hint = "/dev/fuse cannot be opened; is the kernel module fuse loaded, and is it open to this user (mode 0666)";
    rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|error| named(error, hint))
}

/// The kernel's first request and the answer to it.
fn greet(adapter: Adapter, fd: OwnedFd, options: &MountOptions) -> io::Result<Session<Adapter>> {
    Session::from_fd(adapter, fd, SessionACL::All, options.config())
}

fn named(error: rustix::io::Errno, what: &str) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Raises a figure of the mount's device that the kernel starts low. A mount with less is slower, not wrong.
fn raise(device: &str, what: &str, wanted: u32) {
    let path = format!("/sys/class/bdi/{device}/{what}");
    let now = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if now.is_none_or(|now| now < wanted)
        && let Err(error) = std::fs::write(&path, wanted.to_string())
    {
        tracing::debug!(path, %error, "the kernel's figure stays as it is");
    }
}

impl Mounted {
    /// Waits until the mount is gone and all its files are closed.
    pub fn wait(self) -> io::Result<()> {
        let ended =
            self.session.join().map_err(|_| io::Error::other("the thread that serves the mount has panicked"))?;
        match ended {
            // A request was on its way to a thread when the mount went: an end as any other.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
            ended => ended,
        }
    }

    /// What tells files that somebody has open for writing, by inode number and path: some of those with numbers beyond the one that it is given, in order; none where there
    /// are no more.
    pub fn writers(&self) -> impl Fn(u64) -> Vec<(u64, RelPath)> + Send + Sync + 'static {
        let fs = Weak::clone(&self.fs);
        move |after| fs.upgrade().map(|fs| fs.writers(after)).unwrap_or_default()
    }

    /// What unmounts: at once if it is not in use, else as soon as nobody uses it any more; new uses find nothing there
    /// either way. What somebody else has mounted there in the meantime stays.
    pub fn unmounter(&self) -> impl Fn() + Send + Clone + 'static {
        let (mountpoint, device) = (self.mountpoint.clone(), self.device.clone());
        move || {
            if let Err(error) = unmount(&mountpoint, device.as_deref()) {
                tracing::error!(mountpoint = %mountpoint.display(), %error, "cannot unmount");
            }
        }
    }
}

fn unmount(mountpoint: &Path, device: Option<&str>) -> io::Result<()> {
    if mountinfo::device_at(mountpoint)?.as_deref() != device {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return unmount_as_user(mountpoint);
    }
    match rustix::mount::unmount(mountpoint, UnmountFlags::NOFOLLOW) {
        Err(rustix::io::Errno::BUSY) => {
            Ok(rustix::mount::unmount(mountpoint, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
        }
        result => Ok(result?),
    }
}

fn unmount_as_user(mountpoint: &Path) -> io::Result<()> {
    let output =
        Command::new("fusermount3").arg("-u").arg("-z").arg("--").arg(mountpoint).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
