//! fsx: random operations on one file, each read checked against what was written.

use super::{Verdict, Verdicts, run_at_most, tools};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Every operation that fsx has, with the frequency of each. `invalidate` and what flushes is rare, so that pages stay dirty
/// for a while.
const CONFIG: &str = "flen = 1048576
[opsize]
max = 131072
[weights]
close_open = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 1
truncate = 2
fsync = 1
fdatasync = 1
posix_fallocate = 3
punch_hole = 3
sendfile = 5
posix_fadvise = 2
copy_file_range = 5
";

/// Runs fsx on a file in `dir`, which stays; its configuration, and what it writes down about a failure, go to `beside`.
#[track_caller]
pub fn run(seed: u64, operations: u64, dir: &Path, beside: &Path) -> Verdicts {
    let config = beside.join("fsx.toml");
    std::fs::write(&config, CONFIG).unwrap_or_else(|e| panic!("cannot write {}: {e}", config.display()));
    let mut program = Command::new(tools::path("fsx"));
    program.arg("-f").arg(&config).arg("-P").arg(beside);
    program.args(["-S", &seed.to_string(), "-N", &operations.to_string()]).arg(dir.join("fsx"));
    // Each operation may take 10 ms on a loaded machine, most of them much less.
    let outcome = run_at_most(Duration::from_secs(60 + operations / 100), &program);
    let verdict = match outcome.code {
        0 => Verdict::Passed,
        code => Verdict::Failed(format!("exit {code}: {}{}", outcome.stdout, outcome.stderr)),
    };
    Verdicts([(format!("seed {seed}"), verdict)].into())
}
