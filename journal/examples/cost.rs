//! What appending costs: `cargo run --release -p replfs-journal --example cost -- DIR [memory|disk]`. By hand: figures depend on the machine.

use bytes::Bytes;
use journal::{AreaConfig, AreaKind, Config, Journal, RealDisk};
use protocol::{Draft, Incarnation, Mark, Op, SeqNo};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const RECORDS: u64 = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("which directory?")?).join("journal-cost");
    let memory = arguments.next().as_deref() == Some("memory");
    let kind = if memory { AreaKind::Memory } else { AreaKind::Disk };
    let config = Config { boot: [1; 16], areas: vec![AreaConfig::new(kind, &dir, 256 << 20)] };
    let (mut journal, _) = Journal::open(Arc::new(RealDisk), config)?;
    let mut incarnation = 0;
    for payload in [200, 4096] {
        for round in ["new files", "files used again"] {
            incarnation += 1;
            journal.begin(Incarnation::from_bytes([incarnation; 16]), SeqNo::new(1))?;
            let mut draft_ns = 0;
            let began = Instant::now();
            for n in 1..=RECORDS {
                let making = Instant::now();
                let payload = Bytes::from(vec![7; payload]);
                let frame = Draft::new(&Op::Mark(Mark::Barrier), payload).number(SeqNo::new(n), n, false);
                draft_ns += making.elapsed().as_nanos();
                journal.append(&frame, SeqNo::new(n), n)?;
                if n.is_multiple_of(1000) {
                    journal.trim(SeqNo::new(n.saturating_sub(20_000)));
                }
            }
            let ns = (began.elapsed().as_nanos() - draft_ns) / u128::from(RECORDS);
            println!("append of {payload} bytes, {round}: {ns} ns");
        }
    }
    let began = Instant::now();
    journal.syncer().sync()?;
    println!("sync of what was not written back: {:?}", began.elapsed());
    let mut reader = journal.reader(journal.oldest());
    let (began, mut read) = (Instant::now(), 0);
    while reader.read()?.is_some() {
        read += 1;
    }
    println!("read back: {} ns", began.elapsed().as_nanos() / read.max(1));
    let began = Instant::now();
    for n in 0..200 {
        let seq = SeqNo::new(RECORDS + 1 + n);
        let frame = Draft::new(&Op::Mark(Mark::Barrier), Bytes::from(vec![7; 4096])).number(seq, n, false);
        journal.append(&frame, seq, n)?;
        journal.syncer().sync()?;
    }
    println!("append of 4096 bytes and sync: {:?}", began.elapsed() / 200);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
