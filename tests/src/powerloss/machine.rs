//! A machine: one disk with a side's directories on it.

use crate::blocklog::FileSystem;
use crate::rig::Rig;
use std::fs;
use std::path::{Path, PathBuf};

/// A machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    name: &'static str,
    /// Directories of the rig that are on the disk.
    dirs: [&'static str; 2],
}

/// With SRC and the source's state.
pub const SOURCE: Machine = Machine { name: "source-machine", dirs: ["src", "source"] };
/// With ROOT and the target's state.
pub const TARGET: Machine = Machine { name: "target-machine", dirs: ["root", "target"] };

impl Machine {
    fn at(self, rig: &Rig) -> PathBuf {
        rig.home().join(self.name)
    }

    /// Its disk is mounted, and what was in its memory is gone.
    #[track_caller]
    pub fn on(self, rig: &mut Rig, disk: &Path, kind: &FileSystem) {
        let at = self.at(rig);
        let made = fs::create_dir_all(&at);
        made.unwrap_or_else(|e| panic!("cannot make {}: {e}", at.display()));
        let options = format!("loop{}{}", if kind.options.is_empty() { "" } else { "," }, kind.options);
        rig.mount_from(disk, &kind.kind, &options, &at);
        for dir in self.dirs {
            let made = fs::create_dir_all(at.join(dir));
            made.unwrap_or_else(|e| panic!("cannot make {dir} in {}: {e}", at.display()));
            rig.mount_from(&at.join(dir), "none", "bind", &rig.home().join(dir));
        }
        let _none = fs::remove_dir_all(at.join("source/run"));
        let _none = fs::remove_dir_all(at.join("target/run"));
    }

    /// Its disk is taken out.
    #[track_caller]
    pub fn off(self, rig: &mut Rig) {
        for dir in self.dirs {
            rig.unmount_now(&rig.home().join(dir));
        }
        rig.unmount_now(&self.at(rig));
    }

    /// Everything on it is durable.
    #[track_caller]
    pub fn sync(self, rig: &Rig) {
        crate::command::tool(rig.home(), "sync", ["-f".as_ref(), self.at(rig).as_os_str()]);
    }
}
