//! What `begin` promises when it is stopped half-way and when it returns.

use super::rig::{BOOT, append, incarnation};
use super::sim_disk::SimDisk;
use crate::{AreaConfig, AreaKind, Config, Journal, Recovered};
use protocol::SeqNo;
use std::sync::Arc;

fn open(disk: &SimDisk) -> (Journal, Recovered) {
    let areas = vec![AreaConfig::new(AreaKind::Disk, "/disk/a", 256 << 10)];
    Journal::open(Arc::new(disk.clone()), Config { boot: BOOT, areas }).unwrap()
}

/// A journal of records 1 to 3 of incarnation 1, durable. `None`: the simulated disk was full.
fn first(disk: &SimDisk) -> Option<Journal> {
    let (mut journal, _) = open(disk);
    journal.begin(incarnation(1), SeqNo::new(1)).unwrap();
    let frame = super::rig::frame(1, 1, 100);
    journal.append(&frame, SeqNo::new(1), 1).ok()?;
    append(&mut journal, 2, 100);
    append(&mut journal, 3, 100);
    assert_eq!(journal.syncer().sync().unwrap(), SeqNo::new(3));
    Some(journal)
}

#[test]
fn what_was_begun_and_returned_does_not_go_back() {
    for seed in 1..=60 {
        let disk = SimDisk::new(seed, None);
        let Some(mut journal) = first(&disk) else { continue };
        journal.begin(incarnation(2), SeqNo::new(1)).unwrap();
        drop(journal);
        disk.power_cut();
        let (_, found) = open(&disk);
        assert_eq!((found.incarnation, found.next.get()), (Some(incarnation(2)), 1), "seed {seed}");
    }
}

#[test]
fn a_beginning_that_was_found_once_is_found_again() {
    for seed in 1..=60 {
        let disk = SimDisk::new(seed, None);
        let Some(mut journal) = first(&disk) else { continue };
        // The header is written, the daemon dies before it is synced, and the next one finds it in the page cache.
        disk.stop_after(1);
        assert!(journal.begin(incarnation(2), SeqNo::new(1)).is_err());
        drop(journal);
        disk.restart();
        let (_, found) = open(&disk);
        assert_eq!(found.incarnation, Some(incarnation(2)));
        disk.power_cut();
        let (_, found) = open(&disk);
        assert_eq!(found.incarnation, Some(incarnation(2)), "seed {seed}");
    }
}
