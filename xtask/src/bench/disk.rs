//! A file system of its own for a rig, in memory: what others do with the disk of this machine then does not show.

use anyhow::Result;
use replfs_tests::command;
use replfs_tests::rig::Rig;
use std::fs::{self, File};

/// Size of the image; it takes memory only where it is written.
const IMAGE_BYTES: u64 = 4 << 30;

/// The directories that the figures depend on: source, bare directory, replica.
const MOVED: [&str; 3] = ["src", "bare", "root"];

/// Puts the directories of a rig where nothing runs yet on an ext4 file system in memory. They go with the rig.
pub fn put_in_memory(rig: &mut Rig) -> Result<()> {
    let (memory, disk) = (rig.home().join("memory"), rig.home().join("disk"));
    fs::create_dir(&memory)?;
    fs::create_dir(&disk)?;
    rig.mount_other("tmpfs", "size=5g", &memory);
    let image = memory.join("image");
    File::create(&image)?.set_len(IMAGE_BYTES)?;
    let words = ["-q".as_ref(), "-E".as_ref(), "lazy_itable_init=0,lazy_journal_init=0".as_ref(), image.as_os_str()];
    command::tool(&memory, "mkfs.ext4", words);
    rig.mount_from(&image, "ext4", "loop", &disk);
    for name in MOVED {
        let (from, at) = (disk.join(name), rig.home().join(name));
        fs::create_dir(&from)?;
        fs::create_dir_all(&at)?;
        rig.mount_from(&from, "none", "bind", &at);
    }
    Ok(())
}
