//! The machine of the source, of the target, or both lose power (S6; R3, R4, R14): what was written since the last flush is there or not, sector by
//! sector. After that the mount holds what its file system kept, the replica is the same, and only what could be lost is compared.
#![allow(clippy::unwrap_used)]

use replfs_tests::command::tool;
use replfs_tests::compare::{self, Class};
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::roam::Roamers;
use replfs_tests::seed::{Random, seed};
use replfs_tests::volatile::{Image, VolatileDisk};
use replfs_tests::wait::{PATIENCE, until};
use replfs_tests::{in_both_modes, tree};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

in_both_modes!(whatever_a_power_cut_leaves_ends_equal);

/// The target may be ahead of the source then.
mod remote_mode {
    #[test]
    fn whatever_a_power_cut_leaves_ends_equal() {
        super::whatever_a_power_cut_leaves_ends_equal(replfs_tests::rig::Commit::Remote);
    }
}

const MIB: usize = 160;

/// A machine with a disk that everything of its side is on.
struct Machine {
    name: &'static str,
    /// Directories of the rig that are on the disk.
    dirs: [&'static str; 2],
    disk: VolatileDisk,
    options: &'static str,
    boots: u64,
}

impl Machine {
    fn source(rig: &mut Rig, options: &'static str) -> Self {
        Self::new(rig, "source-machine", ["src", "source"], options)
    }

    fn target(rig: &mut Rig, options: &'static str) -> Self {
        Self::new(rig, "target-machine", ["root", "target"], options)
    }

    fn new(rig: &mut Rig, name: &'static str, dirs: [&'static str; 2], options: &'static str) -> Self {
        let disk = VolatileDisk::format(rig, &format!("{name}-disk0"), MIB);
        let machine = Self { name, dirs, disk, options, boots: 0 };
        machine.mount(rig);
        machine
    }

    fn at(&self, rig: &Rig) -> PathBuf {
        rig.home().join(self.name)
    }

    fn mount(&self, rig: &mut Rig) {
        let at = self.at(rig);
        fs::create_dir_all(&at).unwrap();
        self.disk.mount(rig, &at, self.options);
        for dir in self.dirs {
            fs::create_dir_all(at.join(dir)).unwrap();
            rig.mount_from(&at.join(dir), "none", "bind", &rig.home().join(dir));
        }
    }

    /// Everything is durable.
    fn sync(&self, rig: &Rig) {
        tool(rig.home(), "sync", ["-f".as_ref(), self.at(rig).as_os_str()]);
    }

    /// Switched on again with what the disk has.
    fn boot(&mut self, rig: &mut Rig, image: Image) {
        for dir in self.dirs {
            rig.unmount_now(&rig.home().join(dir));
        }
        rig.unmount_now(&self.at(rig));
        let before = self.disk.place().to_owned();
        rig.unmount_now(&before);
        self.boots += 1;
        self.disk = image.serve(rig, &format!("{}-disk{}", self.name, self.boots));
        self.mount(rig);
        // What was in memory is gone.
        let _none = fs::remove_dir_all(self.at(rig).join("source/run"));
    }
}

fn cut_source(rig: &mut Rig, machine: &mut Machine, random: &mut Random) {
    let image = machine.disk.cut(random);
    rig.kill_source();
    boot_source(rig, machine, image);
}

fn boot_source(rig: &mut Rig, machine: &mut Machine, image: Image) {
    rustix::mount::unmount(rig.mnt(), rustix::mount::UnmountFlags::DETACH).unwrap();
    machine.boot(rig, image);
    rig.reboot_source(machine.boots);
}

fn boot_target(rig: &mut Rig, machine: &mut Machine, image: Image) {
    machine.boot(rig, image);
    rig.reboot_target(machine.boots);
    rig.start_target();
}

/// Mounts, and sees to it that both sides hold what SRC held before the mount.
fn mounts_what_was_kept(rig: &mut Rig, round: u64) {
    let kept = rig.home().join(format!("kept{round}"));
    tool(rig.home(), "cp", ["-a".as_ref(), rig.src().as_os_str(), kept.as_os_str()]);
    rig.mount();
    rig.settle();
    rig.assert_equal();
    // A copy has no holes where the original has allocated space that was never written.
    let report = compare::trees(&kept, &rig.src()).unwrap();
    let changed: Vec<_> =
        report.differences.iter().filter(|found| !matches!(found.class, Class::Holes | Class::Allocation)).collect();
    assert!(changed.is_empty(), "the mount changed what the disk had kept: {changed:?}");
    fs::remove_dir_all(kept).unwrap();
}

/// Waits until a checkpoint was taken of all that is there now.
fn checkpoint(rig: &Rig) {
    let status = rig.status();
    rig.wait_status("a checkpoint", |now| now.checkpoint.is_some_and(|at| at >= status.sequence));
}

// claim: A190
fn whatever_a_power_cut_leaves_ends_equal(commit: Commit) {
    const OPTIONS: [&str; 4] = ["", "commit=1", "commit=1,data=writeback", "nodelalloc,commit=1"];
    let seed = seed();
    let mut random = Random::new(seed);
    let mut rig = Rig::bare(commit, Setup::default().linked().option(&["--degrade-after", "2s"]));
    let options = *random.pick(&OPTIONS);
    let mut source = Machine::source(&mut rig, options);
    let mut target = Machine::target(&mut rig, options);
    tree::sources(&rig.src(), 100);
    rig.start_target();
    for machine in [&source, &target] {
        machine.sync(&rig);
    }
    rig.mount();
    rig.settle();
    for round in 0..6 {
        if random.once_in(3) {
            checkpoint(&rig);
        }
        let roamers = Roamers::start(&rig.mnt(), 3, seed.wrapping_add(round * 10));
        roamers.roam(50 + random.below(400));
        if random.once_in(3) {
            rig.link().cut();
            roamers.roam(random.below(200));
        }
        let which = random.below(3);
        println!("round {round}: {}", ["source", "target", "both"][usize::try_from(which).unwrap()]);
        let images = (which != 1).then(|| source.disk.cut(&mut random));
        let theirs = (which != 0).then(|| target.disk.cut(&mut random));
        if theirs.is_some() {
            rig.kill_target();
        }
        if let Some(image) = images {
            rig.kill_source();
            roamers.stop();
            if let Some(theirs) = theirs {
                boot_target(&mut rig, &mut target, theirs);
            }
            boot_source(&mut rig, &mut source, image);
            rig.link().mend();
            mounts_what_was_kept(&mut rig, round);
        } else {
            if let Some(theirs) = theirs {
                boot_target(&mut rig, &mut target, theirs);
            }
            rig.link().mend();
            roamers.roam(100);
            roamers.stop();
            rig.settle();
            rig.assert_equal();
        }
    }
    rig.finish();
}

/// A tree that is durable on both sides, with a checkpoint; the source's machine, and the target's.
fn settled() -> (Rig, Machine, Machine) {
    let mut rig = Rig::bare(Commit::Real, Setup::default().linked());
    let source = Machine::source(&mut rig, "nodelalloc,commit=300");
    let target = Machine::target(&mut rig, "");
    tree::sources(&rig.src(), 300);
    fs::write(rig.src().join("old"), Random::new(1).bytes(1 << 20)).unwrap();
    for dir in ["a", "b"] {
        fs::create_dir(rig.src().join(dir)).unwrap();
        fs::write(rig.src().join(dir).join("same"), format!("in {dir}")).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        fs::File::open(rig.src().join(dir).join("same")).unwrap().set_modified(time).unwrap();
    }
    // What was there before is older than any margin of change times.
    let made = fs::metadata(rig.src().join("b/same")).unwrap().ctime();
    let now = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    until("the clock to be past the margin", PATIENCE, || (now() > made + 3).then_some(()));
    rig.start_target();
    for machine in [&source, &target] {
        machine.sync(&rig);
    }
    rig.mount();
    rig.settle();
    checkpoint(&rig);
    (rig, source, target)
}

/// Bytes in both directions since.
fn travelled(rig: &Rig, since: u64) -> u64 {
    rig.link().bytes_there() + rig.link().bytes_back() - since
}

// claim: A191
#[test]
fn what_reached_the_disk_before_its_inode_is_found_and_nothing_else_travels() {
    let (mut rig, mut source, _target) = settled();
    let before = travelled(&rig, 0);
    rig.link().cut();
    let old = OpenOptions::new().write(true).open(rig.mnt().join("old")).unwrap();
    old.write_all_at(&Random::new(2).bytes(100_000), 300 << 10).unwrap();
    drop(old);
    // The data goes to the disk, the inodes do not.
    let data = OpenOptions::new().read(true).open(rig.src().join("old")).unwrap();
    // SAFETY: no memory is involved.
    let early = unsafe { libc::sync_file_range(std::os::fd::AsRawFd::as_raw_fd(&data), 0, 0, 7) };
    assert_eq!(early, 0);
    drop(data);
    let image = source.disk.cut_keeping_all();
    rig.kill_source();
    let before_it = fs::metadata(rig.src().join("old")).unwrap();
    boot_source(&mut rig, &mut source, image);
    let after = fs::metadata(rig.src().join("old")).unwrap();
    assert!(after.ctime() < before_it.ctime(), "its change time was lost");
    assert_eq!(
        &fs::read(rig.src().join("old")).unwrap()[300 << 10..][..100_000],
        Random::new(2).bytes(100_000),
        "its content was not"
    );
    rig.link().mend();
    mounts_what_was_kept(&mut rig, 0);
    assert!(rig.source_log().contains("power-lost"));
    let bytes = travelled(&rig, before);
    assert!(bytes < 300_000, "{bytes} bytes travelled for 100,000 that were changed, in a tree of 300 files and 8 MiB");
    rig.finish();
}

// claim: A191
#[test]
fn a_rename_that_is_lost_is_found_though_all_attributes_are_alike() {
    let (mut rig, mut source, _target) = settled();
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let mnt = rig.mnt();
    // A checkpoint that comes in between keeps it.
    let lost = (0..10).any(|round| {
        rustix::fs::renameat_with(rustix::fs::CWD, mnt.join("a"), rustix::fs::CWD, mnt.join("b"), flags).unwrap();
        rig.wait_status("it to be applied", |status| status.target().lag.operations == 0);
        let there = fs::read(rig.replica().join("a/same")).unwrap();
        cut_source(&mut rig, &mut source, &mut Random::new(4));
        let lost = fs::read(rig.src().join("a/same")).unwrap() != there;
        mounts_what_was_kept(&mut rig, round);
        checkpoint(&rig);
        lost
    });
    assert!(lost, "no cut came before a checkpoint");
    rig.finish();
}

// claim: A192
#[test]
fn a_target_that_loses_power_gets_what_it_may_have_lost() {
    let (mut rig, _source, mut target) = settled();
    let mnt = rig.mnt();
    fs::write(mnt.join("new"), Random::new(5).bytes(500_000)).unwrap();
    fs::remove_dir_all(mnt.join("package000")).unwrap();
    fs::rename(mnt.join("a"), mnt.join("moved")).unwrap();
    rig.wait_status("it to be applied", |status| status.target().lag.operations == 0);
    let before = travelled(&rig, 0);
    let image = target.disk.cut(&mut Random::new(6));
    rig.kill_target();
    boot_target(&mut rig, &mut target, image);
    rig.settle();
    rig.assert_equal();
    assert!(rig.source_log().contains("has lost power"));
    let bytes = travelled(&rig, before);
    assert!(bytes < 3 * 520_000, "{bytes} bytes travelled after 0.5 MB were changed, in a tree of 300 files and 8 MiB");
    rig.finish();
}
