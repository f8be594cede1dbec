//! System calls on descriptors, with the arguments that replfs needs and nothing left to chance.

pub mod attr;
pub mod content;
pub mod creds;
pub mod cut;
pub mod dir;
pub mod extent;
pub mod flags;
pub mod handle;
pub mod mount;
pub mod resolve;
pub mod usage;
pub mod xattr;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The path under which the kernel shows this descriptor: for calls that take a path only. It also works for a
/// descriptor opened with `O_PATH`, a symbolic link's included, which it names itself and not what it points to.
pub fn proc_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Nanoseconds since 1970 on this machine's clock; zero for a clock before 1970.
pub fn now_ns() -> u64 {
    if let Some(simulated) = crate::machine::wall_ns() {
        return simulated;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// What the clocks on the wall of this machine's time zone say: minutes since midnight. `None`: nobody knows.
pub fn minute_of_day() -> Option<u32> {
    let now = libc::time_t::try_from(now_ns() / 1_000_000_000).ok()?;
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both point to what they are to point to, for the length of the call; what localtime_r fills in is a plain structure of numbers.
    let told = unsafe { libc::localtime_r(&raw const now, parts.as_mut_ptr()) };
    if told.is_null() {
        return None;
    }
    // SAFETY: it was filled in, and before that all zero, which is a value of it too.
    let parts = unsafe { parts.assume_init() };
    u32::try_from(parts.tm_hour * 60 + parts.tm_min).ok()
}

/// Seconds since 1970 as `20261231T235959Z`.
pub fn utc(secs: u64) -> String {
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days of the Gregorian calendar, counted in eras of 400 years from 0000-03-01.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Names another boot than the kernel does: for machines that are none (a container restarts and its host does not), and for tests.
const BOOT: &str = "REPLFS_BOOT_ID";

/// The id of this boot of the machine: what was not durable before another boot is lost. It is read once: a process that is
/// caged (`crate::cage`) cannot open the file any more.
pub fn boot() -> io::Result<[u8; 16]> {
    static KNOWN: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(simulated) = crate::machine::boot() {
        return Ok(simulated);
    }
    if let Some(id) = KNOWN.get() {
        return Ok(*id);
    }
    let id = read_boot()?;
    Ok(*KNOWN.get_or_init(|| id))
}

fn read_boot() -> io::Result<[u8; 16]> {
    let text = std::env::var(BOOT).or_else(|_| std::fs::read_to_string("/proc/sys/kernel/random/boot_id"))?;
    let text = text.trim().replace('-', "");
    let id = u128::from_str_radix(&text, 16).map_err(|_| io::Error::other("unreadable boot id"))?;
    Ok(id.to_le_bytes())
}

/// How many descriptors this process may have open.
pub fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many descriptors this process has open; 0 where they cannot be counted.
pub fn open_descriptors() -> u64 {
    // One of them is the directory that is being read.
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64)
}

/// All threads of this process take memory from one place. With a place for each of them, what one has freed is not there for the
/// others, and a daemon whose nodes come and go grows with every round. To be called before threads are started.
pub fn share_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer; no other thread runs yet.
    let _as_before_if_refused = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives memory that is not used any more back to the system, where the allocator does not do so by itself.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer and may be called at any time by any thread.
    let _gave_some_back = unsafe { libc::malloc_trim(0) };
}

/// Takes as many descriptors as a process may have at all (`fs.nr_open`), or as this one may have; without success it stays
/// with those it has. All files that programs have open in a mount are open here.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let raised = most.filter(|most| limit.maximum.is_some_and(|maximum| maximum < *most)).is_some_and(|most| {
        // Only root may.
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).is_ok()
    });
    if !raised {
        let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let _as_before = setrlimit(Resource::Nofile, all);
    }
}

/// Turns the result of a raw system call that answers -1 on failure into a result.
pub(crate) fn check_long(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Turns the result of a libc call that answers -1 on failure into a result.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "19700101T000000Z");
        assert_eq!(utc(951_782_400), "20000229T000000Z");
        assert_eq!(utc(1_798_761_599), "20261231T235959Z");
    }
}
