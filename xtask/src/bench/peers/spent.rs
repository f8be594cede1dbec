//! Processor time of processes and of all that they started, those that have ended included.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// What is known of a process (proc(5), `stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    /// In ticks, of itself and of children that were waited for.
    ticks: u64,
}

/// Processor time so far. What the kernel does later on its own (writing back) is not in it.
pub fn so_far(roots: &[u32]) -> Duration {
    let all = all();
    let ticks: u64 = within(&all, roots).iter().map(|pid| all[pid].ticks).sum();
    // SAFETY: sysconf takes no pointer and changes nothing.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1);
    Duration::from_secs(ticks) / u32::try_from(per_second).unwrap_or(100)
}

/// These and their living descendants.
pub fn family(roots: &[u32]) -> Vec<u32> {
    within(&all(), roots).into_iter().collect()
}

/// Processes whose name begins so.
pub fn named(prefix: &str) -> Vec<u32> {
    let is_named =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(prefix));
    all().into_keys().filter(is_named).collect()
}

fn all() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // One may end meanwhile.
    pids.filter_map(|pid| Some((pid, parsed(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

fn within(all: &BTreeMap<u32, Process>, roots: &[u32]) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = roots.iter().copied().filter(|pid| all.contains_key(pid)).collect();
    loop {
        let more = all.iter().filter(|(pid, process)| !found.contains(pid) && found.contains(&process.parent));
        let more: Vec<u32> = more.map(|(pid, _)| *pid).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// The second field is a name in brackets, which may itself contain brackets; the fourth is the parent, and from the fourteenth on there are the times
/// of user and system, then those of children that were waited for.
fn parsed(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let times = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok());
    Some(Process { parent: fields.get(1)?.parse().ok()?, ticks: times.sum::<Option<u64>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_line_is_read() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1 0 99 0";
        assert_eq!(parsed(line), Some(Process { parent: 7, ticks: 110 }));
        assert_eq!(parsed("42 (a) S 7"), None);
    }

    #[test]
    fn descendants_count_wherever_they_stand() {
        let process = |parent| Process { parent, ticks: 1 };
        let all = BTreeMap::from([(2, process(9)), (5, process(1)), (9, process(5)), (7, process(1))]);
        assert_eq!(within(&all, &[5, 99]), BTreeSet::from([2, 5, 9]));
    }

    #[test]
    fn the_time_of_a_child_that_has_ended_counts() {
        let before = so_far(&[std::process::id()]);
        let work = "end=$((SECONDS + 1)); while ((SECONDS <= end)); do :; done";
        assert!(Command::new("bash").args(["-c", work]).status().unwrap().success());
        assert!(so_far(&[std::process::id()]) > before);
    }
}
