//! Order (I1): records applied one after the other leave what the directory holds, however the operations raced.

use crate::model::Model;
use crate::rig::Rig;
use rustix::fs::{CWD, FallocateFlags, RenameFlags, copy_file_range, fallocate, renameat_with};
use srm::status::CommitMode;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const THREADS: u64 = 6;
const ROUNDS: u64 = 1500;

/// Xorshift: the seed says everything.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Something to a random name. Most of it fails, because another thread was there before; that is the point.
fn play(mnt: &Path, dice: &mut Dice) {
    let mut pick = || {
        let (dir, sub, name) = (dice.roll(3), dice.roll(3), dice.roll(4));
        mnt.join(format!("d{dir}/s{sub}/f{name}"))
    };
    let (a, b) = (pick(), pick());
    let (dir_a, dir_b) = (a.parent().unwrap(), b.parent().unwrap());
    let data = vec![b'a' + u8::try_from(dice.roll(26)).unwrap(); usize::try_from(dice.roll(9000)).unwrap()];
    let _expected_to_fail_now_and_then = match dice.roll(18) {
        0..=2 => fs::write(&a, &data),
        3..=5 => OpenOptions::new().write(true).create(true).truncate(false).open(&a).and_then(|file| {
            // Open across whatever happens to its name.
            file.write_all_at(&data, dice.roll(20_000))?;
            std::thread::yield_now();
            file.set_len(dice.roll(15_000))?;
            file.write_all_at(b"end", dice.roll(20_000))
        }),
        6 | 7 => fs::remove_file(&a),
        8 => fs::rename(&a, &b),
        9 => renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).map_err(Into::into),
        10 => fs::hard_link(&a, &b),
        11 => fs::rename(dir_a, dir_b),
        12 => renameat_with(CWD, dir_a, CWD, dir_b, RenameFlags::EXCHANGE).map_err(Into::into),
        13 => renameat_with(CWD, dir_a.parent().unwrap(), CWD, dir_b.parent().unwrap(), RenameFlags::EXCHANGE)
            .map_err(Into::into),
        14 => fs::remove_dir(dir_a),
        15 => copy(&a, &b, dice),
        16 => OpenOptions::new().write(true).open(&a).and_then(|file| {
            let how = [FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, FallocateFlags::ZERO_RANGE];
            let (offset, len) = (dice.roll(12_000), 1 + dice.roll(9000));
            Ok(fallocate(&file, how[usize::try_from(dice.roll(2)).unwrap()], offset, len)?)
        }),
        _ => fs::create_dir_all(dir_a),
    };
}

fn copy(a: &Path, b: &Path, dice: &mut Dice) -> std::io::Result<()> {
    let (from, to) = (File::open(a)?, OpenOptions::new().write(true).create(true).truncate(false).open(b)?);
    let (mut read_at, mut write_at) = (dice.roll(9000), dice.roll(9000));
    copy_file_range(&from, Some(&mut read_at), &to, Some(&mut write_at), 5000)?;
    Ok(())
}

fn race(commit: CommitMode) {
    let (rig, recorder) = Rig::recorded(commit, |_| {});
    std::thread::scope(|scope| {
        for seed in 1..=THREADS {
            let mnt = &rig.mnt;
            scope.spawn(move || {
                let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                for _ in 0..ROUNDS {
                    play(mnt, &mut dice);
                }
            });
        }
    });
    // Closing is told to the file system after close(2) has returned; unmounting waits for it.
    let mut rig = rig;
    rig.unmount();
    let mut model = Model::default();
    let records = recorder.take();
    for (record, payload) in &records {
        model.apply(&record.op, payload);
    }
    model.assert_same(&rig.src);
    assert!(records.len() > 2000, "only {} operations succeeded", records.len());
}

#[test]
fn racing_operations_are_numbered_as_they_were_carried_out() {
    race(CommitMode::Real);
}

#[test]
fn replies_that_wait_for_the_target_change_nothing_in_that() {
    race(CommitMode::Sync);
}
