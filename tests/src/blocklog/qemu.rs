//! A disk that `qemu-storage-daemon` serves: a file behind its `blklogwrites` driver, exported by FUSE.

use super::log::Log;
use super::{FileSystem, Layer};
use crate::rig::Rig;
use crate::wait::{PATIENCE, until};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The program, in qemu-utils or qemu-system-common.
pub const PROGRAM: &str = "qemu-storage-daemon";

/// The disk. Dropping it ends the daemon.
#[derive(Debug)]
pub struct QemuDisk {
    disk: PathBuf,
    log: PathBuf,
    daemon: Child,
}

impl QemuDisk {
    /// A disk with an empty file system on it. `within`: a directory for its files, which should be in memory.
    #[track_caller]
    pub fn recorded(rig: &mut Rig, within: &Path, name: &str, kind: &FileSystem) -> Self {
        let [image, log, disk] = ["image", "log", "disk"].map(|what| within.join(format!("{name}.{what}")));
        for (file, size) in [(&image, kind.mib << 20), (&log, 0), (&disk, 0)] {
            let made = File::create(file).and_then(|file| file.set_len(size as u64));
            made.unwrap_or_else(|e| panic!("cannot make {}: {e}", file.display()));
        }
        let before = fs::metadata(&disk).map(|meta| meta.len());
        let daemon = Command::new(PROGRAM)
            .args(["--blockdev", &format!("driver=file,node-name=image,filename={}", image.display())])
            .args(["--blockdev", "driver=raw,node-name=raw,file=image"])
            .args(["--blockdev", &format!("driver=file,node-name=log,filename={}", log.display())])
            .args(["--blockdev", "driver=blklogwrites,node-name=disk,file=raw,log=log,log-sector-size=512"])
            .args(["--export", &format!("type=fuse,id=it,node-name=disk,mountpoint={},writable=on", disk.display())])
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {PROGRAM} (Debian: qemu-utils or qemu-system-common): {e}"));
        rig.watch(daemon.id());
        rig.unmounts(&disk);
        let mut served = Self { disk, log, daemon };
        until("qemu's disk to be served", PATIENCE, || {
            let ended = served.daemon.try_wait().unwrap_or_default();
            assert!(ended.is_none(), "{PROGRAM} ended: {ended:?}");
            fs::metadata(&served.disk).ok().filter(|meta| Some(meta.len()) != before.as_ref().ok().copied()).map(|_| ())
        });
        kind.make(&served.disk);
        served
    }
}

impl Layer for QemuDisk {
    fn path(&self) -> PathBuf {
        self.disk.clone()
    }

    fn position(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |meta| meta.len())
    }

    fn log(&self) -> Result<Log> {
        let bytes = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Log::parse(bytes).with_context(|| format!("cannot read {}", self.log.display()))
    }

    fn place(&self) -> PathBuf {
        self.disk.clone()
    }
}

impl Drop for QemuDisk {
    fn drop(&mut self) {
        // Whatever still uses its disk gets errors then; its mounts are the rig's.
        let _gone = self.daemon.kill();
        let _gone = self.daemon.wait();
    }
}
