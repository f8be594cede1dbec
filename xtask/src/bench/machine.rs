//! Where figures come from: the machine, the program, the date.

use crate::run;
use serde::Serialize;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine and the program.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub kernel: String,
    /// Type, device and options of the file system that everything lies on.
    pub file_system: String,
    /// Processes that wanted to run during the minute before; many mean that others used the machine.
    pub load_before: String,
    /// Commit of this repository, with `+` if it was changed since.
    pub commit: String,
    pub binary: String,
}

impl Machine {
    /// This one.
    pub fn here(binary: &Path, in_memory: bool) -> Self {
        let field = |file: &str, name: &str| -> String {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let mut findmnt = Command::new("findmnt");
        findmnt.args(["-nro", "FSTYPE,SOURCE,OPTIONS", "-T", replfs_tests::rig::PARENT]);
        let changed = !output(Command::new("git").args(["status", "--porcelain", "-uno"])).is_empty();
        let commit = output(Command::new("git").args(["rev-parse", "--short=10", "HEAD"]));
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_mib: memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 10,
            kernel: output(Command::new("uname").arg("-sr")),
            file_system: if in_memory { "ext4 in memory".to_owned() } else { output(&mut findmnt) },
            load_before: load.split(' ').next().unwrap_or_default().to_owned(),
            commit: format!("{commit}{}", if changed { "+" } else { "" }),
            binary: binary.display().to_string(),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processor, cores, memory_mib, kernel, file_system, load_before, commit, .. } = self;
        write!(
            f,
            "{processor}, {cores} cores, {memory_mib} MiB, {kernel}, {file_system}, load {load_before}, commit {commit}"
        )
    }
}

/// What a program prints, without the last line feed; nothing where it fails: it is for information only.
fn output(command: &mut Command) -> String {
    let output = command.current_dir(run::root()).output();
    output.map(|out| String::from_utf8_lossy(&out.stdout).trim_end().to_owned()).unwrap_or_default()
}

/// Today in UTC, `YYYY-MM-DD`.
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    date(seconds / 86_400)
}

/// The day so many days after 1970-01-01.
fn date(mut days: u64) -> String {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_778), "2026-11-21");
        assert_eq!(date(20_818), "2026-12-31");
    }
}
