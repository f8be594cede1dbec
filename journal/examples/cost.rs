//! What appending costs, in time on the processor: `cargo run --release -p replfs-journal --example cost -- DIR [memory|disk]`. By hand: figures depend on the machine.

use bytes::Bytes;
use journal::{AreaConfig, AreaKind, Config, Journal, RealDisk};
use protocol::{Draft, Frame, Incarnation, Mark, Op, SeqNo};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const RECORDS: u64 = 200_000;

fn frame(seq: u64, payload: usize) -> Frame {
    Draft::new(&Op::Mark(Mark::Barrier), Bytes::from(vec![7; payload])).number(SeqNo::new(seq), seq, false)
}

/// How long this thread has had a processor, in nanoseconds: others use the machine too.
fn on_processor() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().ok_or("no schedstat")?.parse()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("which directory?")?).join("journal-cost");
    let memory = arguments.next().as_deref() == Some("memory");
    let kind = if memory { AreaKind::Memory } else { AreaKind::Disk };
    let config = Config { boot: [1; 16], areas: vec![AreaConfig::new(kind, &dir, 256 << 20)] };
    let (mut journal, _) = Journal::open(Arc::new(RealDisk), config)?;
    let mut incarnation = 0;
    for payload in [200, 4096] {
        let began = on_processor()?;
        for n in 1..=RECORDS {
            std::hint::black_box(frame(n, payload));
        }
        let making = on_processor()? - began;
        for round in ["new files", "files used again"] {
            incarnation += 1;
            journal.begin(Incarnation::from_bytes([incarnation; 16]), SeqNo::new(1))?;
            let began = on_processor()?;
            for n in 1..=RECORDS {
                journal.append(&frame(n, payload), SeqNo::new(n), n)?;
                if n.is_multiple_of(1000) {
                    journal.trim(SeqNo::new(n.saturating_sub(20_000)));
                }
            }
            let ns = (on_processor()? - began).saturating_sub(making) / RECORDS;
            println!("append of {payload} bytes, {round}: {ns} ns");
        }
    }
    let began = Instant::now();
    journal.syncer().sync()?;
    println!("sync of what was not written back: {:?}", began.elapsed());
    let mut reader = journal.reader(journal.oldest());
    let (began, mut read) = (on_processor()?, 0);
    while reader.read()?.is_some() {
        read += 1;
    }
    println!("read back: {} ns", (on_processor()? - began) / read.max(1));
    let began = Instant::now();
    for n in 0..200 {
        let seq = RECORDS + 1 + n;
        journal.append(&frame(seq, 4096), SeqNo::new(seq), n)?;
        journal.syncer().sync()?;
    }
    println!("append of 4096 bytes and sync: {:?}", began.elapsed() / 200);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
