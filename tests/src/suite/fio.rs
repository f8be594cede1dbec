//! fio: data written in several ways, with a checksum in each block that is checked when it is read back.

use super::{Verdict, Verdicts, run_at_most};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What all jobs have: the checksum, a size, and randomness that is the same each time.
const COMMON: [&str; 6] =
    ["--size=32m", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--randseed=20261121", "--allrandrepeat=1"];

/// Each job with its name: system calls, mappings, `O_DIRECT` with many requests at once; sequential, at random, and
/// overwriting what is checked meanwhile.
const JOBS: [(&str, &[&str]); 6] = [
    ("psync", &["--ioengine=psync", "--rw=randwrite", "--bsrange=512-64k", "--fdatasync=64"]),
    ("psync-overwrite", &["--ioengine=psync", "--rw=randrw", "--bs=4k", "--norandommap", "--verify_backlog=512"]),
    ("sequential", &["--ioengine=psync", "--rw=write", "--bs=1m", "--end_fsync=1"]),
    ("mmap", &["--ioengine=mmap", "--rw=randwrite", "--bs=4k", "--fsync=256"]),
    ("direct", &["--ioengine=libaio", "--direct=1", "--iodepth=16", "--rw=randwrite", "--bsrange=4k-128k"]),
    (
        "direct-overwrite",
        &["--ioengine=libaio", "--direct=1", "--iodepth=8", "--rw=randrw", "--bs=8k", "--verify_backlog=256"],
    ),
];

/// Runs all jobs, one after the other, each on a file of its own in `dir` that stays; fio's own files go to `beside`.
#[track_caller]
pub fn run(dir: &Path, beside: &Path) -> Verdicts {
    let one = |(name, options): &(&str, &[&str])| {
        let mut program = Command::new("fio");
        program.arg(format!("--name={name}")).arg(format!("--directory={}", dir.display()));
        program.args(COMMON).args(*options).current_dir(beside);
        let outcome = run_at_most(Duration::from_secs(100), &program);
        let verdict = match outcome.code {
            0 => Verdict::Passed,
            code => Verdict::Failed(format!("exit {code}: {}{}", outcome.stdout, outcome.stderr)),
        };
        ((*name).to_owned(), verdict)
    };
    Verdicts(JOBS.iter().map(one).collect())
}
