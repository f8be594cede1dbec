//! What the kernel has counted for a thread.

use std::mem::MaybeUninit;

/// Blocks of 512 bytes that have been read from disks for this thread so far; zero where the kernel does not count (`getrusage(2)`).
pub fn blocks_read() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: it points to room for what is filled in, for the length of the call.
    let told = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    // SAFETY: a plain structure of numbers: all zero is a value of it too.
    let usage = unsafe { usage.assume_init() };
    if told == 0 { u64::try_from(usage.ru_inblock).unwrap_or(0) } else { 0 }
}
