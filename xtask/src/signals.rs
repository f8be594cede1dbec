//! Ctrl-C and SIGTERM: noted, so that what was mounted and started is taken down in order. Each command looks at its own
//! intervals.

use std::sync::atomic::{AtomicBool, Ordering};

/// Ctrl-C or SIGTERM came.
static ENOUGH: AtomicBool = AtomicBool::new(false);

/// Whether the user wants this to end.
pub fn enough() -> bool {
    ENOUGH.load(Ordering::SeqCst)
}

/// From here on the first signal is noted, and a second one ends this program at once: what it then leaves behind is removed
/// by the next run.
pub fn note() {
    extern "C" fn noted(signal: libc::c_int) {
        ENOUGH.store(true, Ordering::SeqCst);
        // SAFETY: signal(2) may be called in a handler (signal-safety(7)), and SIG_DFL is no pointer.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let handler: extern "C" fn(libc::c_int) = noted;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic and calls signal(2), which are safe at any point of the program.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}
