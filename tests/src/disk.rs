//! Small disks: a file system in a file on a loop device, for what only a full or special file system shows. They are mounted
//! below the rig's directory and unmounted with it; the loop device goes with the mount.

use crate::command::{run, tool};
use crate::rig::Rig;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in a file, not mounted.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    kind: String,
}

impl Disk {
    /// Makes an ext4 file system of so many MiB; `format`: further words for mkfs.ext4.
    #[track_caller]
    pub fn new(rig: &Rig, name: &str, mib: u64, format: &[&str]) -> Self {
        Self::of_kind("ext4", rig, name, mib, &[&["-F"], format].concat())
    }

    /// Makes a file system of this kind; `format`: words for its mkfs.
    #[track_caller]
    pub fn of_kind(kind: &str, rig: &Rig, name: &str, mib: u64, format: &[&str]) -> Self {
        let image = rig.home().join(format!("{name}.img"));
        let make = std::fs::File::create(&image).and_then(|file| file.set_len(mib << 20));
        make.unwrap_or_else(|e| panic!("cannot make {}: {e}", image.display()));
        run(admin(&format!("mkfs.{kind}")).arg("-q").args(format).arg(&image)).ok();
        Self { image, kind: kind.to_owned() }
    }

    /// Mounts it.
    #[track_caller]
    pub fn mount(&self, rig: &mut Rig, at: &Path) {
        let kind = self.kind.as_ref();
        let words = ["-t".as_ref(), kind, "-o".as_ref(), "loop".as_ref(), self.image.as_os_str(), at.as_os_str()];
        tool(rig.home(), "mount", words);
        rig.unmounts(at);
    }

    /// A copy of what was written to it so far, mounted or not.
    #[track_caller]
    #[must_use]
    pub fn copy(&self, rig: &Rig, name: &str) -> Self {
        let image = rig.home().join(format!("{name}.img"));
        tool(rig.home(), "cp", ["--sparse=always".as_ref(), self.image.as_os_str(), image.as_os_str()]);
        Self { image, kind: self.kind.clone() }
    }

    /// Changes it with debugfs(8) while it is not mounted.
    #[track_caller]
    pub fn edit(&self, request: &str) {
        run(admin("debugfs").args(["-w", "-R", request]).arg(&self.image)).ok();
    }
}

/// A file system on which every change waits until this is dropped, as on a disk that hangs.
#[derive(Debug)]
pub struct Frozen(PathBuf);

impl Frozen {
    /// Freezes what is mounted there (fsfreeze(8)).
    #[track_caller]
    #[must_use]
    pub fn at(mounted: &Path) -> Self {
        run(admin("fsfreeze").arg("-f").arg(mounted)).ok();
        Self(mounted.to_owned())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Nothing but this lets those go on who wait; a test that failed must not leave them.
        let outcome = run(admin("fsfreeze").arg("-u").arg(&self.0));
        if outcome.code != 0 {
            eprintln!("cannot thaw {}: {}", self.0.display(), outcome.stderr);
        }
    }
}

/// A program that is where only an administrator's PATH leads.
pub(crate) fn admin(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}
