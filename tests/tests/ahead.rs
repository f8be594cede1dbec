//! A target that has to wait for its disk reads ahead of what it applies (R16, C4).
#![allow(clippy::unwrap_used)]

use replfs_tests::disk::Disk;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::wait::PATIENCE;
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Instant;

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 1024;

// claim: A285
#[test]
fn a_target_whose_disk_is_waited_for_reads_what_later_operations_need_and_stays_equal() {
    let mut rig = Rig::bare(Commit::Real, Setup::default());
    // Also where /tmp is in memory: what is read of this is read from a device.
    let (disk, root) = (Disk::new(&rig, "disk", 64, &[]), rig.root());
    disk.mount(&mut rig, &root);
    rig.start_target();
    rig.mount();
    let (path, replica) = (rig.mnt().join("file"), rig.replica().join("file"));
    fs::write(&path, vec![7; usize::try_from(BLOCK * BLOCKS).unwrap()]).unwrap();
    rig.settle();
    let file = File::options().write(true).open(&path).unwrap();
    let begun = Instant::now();
    // How long a read takes is the disk's matter; one that belongs to a large write takes long enough on any. What waits behind that is another.
    let large = vec![9; (1 << 20) - 8192];
    for round in 0_u32.. {
        let cold = File::open(&replica).unwrap();
        cold.sync_all().unwrap();
        fadvise(&cold, 0, None, Advice::DontNeed).unwrap();
        file.write_all_at(&large, 100).unwrap();
        for block in 0..BLOCKS {
            // Here and there, as an application would: what lies behind each other the kernel reads by itself.
            let place = (block * 397) % BLOCKS * BLOCK + 100;
            file.write_all_at(&round.to_le_bytes(), place).unwrap();
        }
        rig.settle();
        let replica = rig.replica_status().unwrap();
        if replica["read_ahead"].as_u64().unwrap() > 0 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{replica}");
    }
    drop(file);
    rig.finish();
}
