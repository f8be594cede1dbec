//! perf, on one daemon each, for some seconds. What it found is counted in `fold`.

use super::fold::Stacks;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Samples per second of each processor; not a divisor of what timers run at.
const FREQUENCY: &str = "499";

/// How callers are found: the daemon has no frame pointers. Bytes of the stack that are copied for each sample.
const CALLERS: &str = "dwarf,16384";

/// A recording that runs.
pub struct Recording {
    perf: Child,
    data: PathBuf,
}

impl Recording {
    /// Begins to look at a process, for so long. `data`: a file for what is seen.
    pub fn begin(pid: u32, data: &Path, time: Duration) -> Result<Self> {
        let mut perf = Command::new("perf");
        // A clock of the kernel's: virtual machines have no counters. Binaries are not copied to the user's home.
        perf.args(["record", "--quiet", "-e", "cpu-clock", "-F", FREQUENCY, "--call-graph", CALLERS, "-N", "-o"])
            .arg(data);
        perf.args(["-p", &pid.to_string(), "--", "sleep", &time.as_secs_f64().to_string()]);
        let perf = perf.stdin(Stdio::null()).spawn().context("cannot start perf")?;
        Ok(Self { perf, data: data.to_owned() })
    }

    /// Whether it looks no more.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.perf.try_wait()?.is_some())
    }

    /// What was seen.
    pub fn end(mut self) -> Result<Stacks> {
        let status = self.perf.wait()?;
        ensure!(status.success(), "perf record ended with {status}");
        let mut script = Command::new("perf");
        // Functions that were inlined are not told apart: that takes minutes.
        script.args(["script", "--no-inline", "-F", "comm,ip,sym", "-i"]).arg(&self.data);
        let output = script.stdin(Stdio::null()).output().context("cannot start perf")?;
        ensure!(output.status.success(), "perf script: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Stacks::of(&String::from_utf8_lossy(&output.stdout)))
    }
}
