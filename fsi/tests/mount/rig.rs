//! A mount for one test, and programs that run in it as processes of their own.

use crate::recorder::Recorder;
use platform::tree::Tree;
use replfs_fsi::{MountOptions, Mounted, mount};
use srm::Srm;
use srm::status::{CacheMode, CommitMode};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

/// An ordinary user.
pub const NOBODY: u32 = 65534;

/// A mount of an empty directory. Dropped, it is unmounted.
pub struct Rig {
    /// The mount point.
    pub mnt: PathBuf,
    /// The backing directory.
    pub src: PathBuf,
    mounted: Option<Mounted>,
    _temp: tempfile::TempDir,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a backing directory that `fill` has filled.
    pub fn with(fill: impl FnOnce(&Path)) -> Self {
        Self::build(fill, Srm::detached).0
    }

    /// With a target that keeps what it is sent.
    pub fn recorded(commit: CommitMode, fill: impl FnOnce(&Path)) -> (Self, Recorder) {
        let (rig, srm) = Self::build(fill, |tree| Recorder::srm(tree, commit));
        (rig, Recorder::connect(srm))
    }

    fn build(fill: impl FnOnce(&Path), start: impl FnOnce(Arc<Tree>) -> Arc<Srm>) -> (Self, Arc<Srm>) {
        let temp = tempfile::Builder::new().permissions(permissions(0o755)).tempdir().unwrap();
        let (src, mnt) = (temp.path().join("src"), temp.path().join("mnt"));
        std::fs::create_dir(&src).unwrap();
        std::fs::create_dir(&mnt).unwrap();
        fill(&src);
        let tree = Arc::new(Tree::new(File::open(&src).unwrap().as_fd()).unwrap());
        let options = MountOptions {
            source_name: src.to_str().unwrap().to_owned(),
            mountpoint: mnt.clone(),
            read_only: false,
            nosuid: false,
            nodev: false,
            noexec: false,
            noatime: false,
            threads: 4,
            cache: CacheMode::Through,
        };
        let srm = start(tree);
        let mounted = mount(Arc::clone(&srm), &options).unwrap();
        (Self { mnt, src, mounted: Some(mounted), _temp: temp }, srm)
    }

    /// A path in the mount.
    pub fn at(&self, name: &str) -> PathBuf {
        self.mnt.join(name)
    }

    /// The same path in the backing directory.
    pub fn below(&self, name: &str) -> PathBuf {
        self.src.join(name)
    }

    /// A shell command in the mount.
    pub fn sh(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).current_dir(&self.mnt);
        command
    }

    /// Runs a shell command in the mount as an ordinary user.
    pub fn as_nobody(&self, script: &str) -> Output {
        self.sh(script).uid(NOBODY).gid(NOBODY).output().unwrap()
    }

    pub fn unmount(&mut self) {
        let mounted = self.mounted.take().unwrap();
        mounted.unmounter()();
        mounted.wait().unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.mounted.is_some() {
            self.unmount();
        }
    }
}

pub fn permissions(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// The number of the error.
pub fn errno<T: std::fmt::Debug>(result: Result<T, impl Into<io::Error>>) -> i32 {
    match result {
        Ok(value) => panic!("succeeded with {value:?}"),
        Err(error) => error.into().raw_os_error().unwrap(),
    }
}

/// Runs one of this program's child jobs (see `sharing`) as a process of its own: one that must not share its memory with
/// the mount's threads.
pub fn child(job: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "sharing::child_jobs", "--nocapture"]).env("FSI_JOB", job).env("FSI_PATH", path);
    command
}
