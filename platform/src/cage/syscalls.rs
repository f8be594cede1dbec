//! Which system calls this process may make: those of a list, some with certain arguments only. All others answer `ENOSYS`,
//! as if the kernel did not have them, and are noted in the kernel's log (audit) where it has one.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::io;

/// Content and names of files, by descriptor and by path.
const FILES: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_umask,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    // fchmodat2, setxattrat, getxattrat, listxattrat, removexattrat: the same numbers everywhere, and libc does not have all.
    452,
    463,
    464,
    465,
    466,
];

/// The older forms, which the C library still uses where they exist.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_create,
    libc::SYS_eventfd,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[libc::c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: &[libc::c_long] = &[];

/// Threads, time, memory that is given back, waiting, signals within the process, who and where it is.
const PROCESS: &[libc::c_long] = &[
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
];

/// Sockets that are there. None is connected: who is served connects, and datagrams are sent to where they came from.
const SOCKETS: &[libc::c_long] = &[
    libc::SYS_bind,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
];

/// What is asked of files beside reading and writing: sharing data (`FICLONE`), where data is (`FIEMAP`), not to block
/// (`FIONBIO`), whether this is a terminal (`TCGETS`).
const REQUESTS: &[u64] = &[0x4004_9409, 0xc020_660b, 0x5421, 0x5401];

/// A new thread of this process, and none of it elsewhere: `CLONE_THREAD`, and none of the namespaces' bits.
const THREAD: u64 = 0x0001_0000;
const NAMESPACES: u64 = 0x7e02_0000 | 0x0000_0080;

/// `PROT_EXEC`.
const EXECUTABLE: u64 = 4;

/// Kinds of sockets are in the lowest four bits.
const KIND: u64 = 0xf;

/// Puts it in force for this thread and those it starts, for good.
pub(super) fn restrict() -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| format!("no list of them was made for {}", std::env::consts::ARCH))?;
    let refuse = |errno: i32| SeccompAction::Errno(errno.unsigned_abs());
    let listed = SeccompFilter::new(allowed()?, refuse(libc::ENOSYS), SeccompAction::Allow, arch).map_err(text)?;
    // Every new thread begins with `clone3`, whose arguments cannot be looked at: the C library falls back to `clone`. It is in a
    // filter of its own because it is not worth a line in the log.
    let quiet = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let quiet = SeccompFilter::new(quiet, SeccompAction::Allow, refuse(libc::ENOSYS), arch).map_err(text)?;
    install(&BpfProgram::try_from(quiet).map_err(text)?, 0)?;
    install(&BpfProgram::try_from(listed).map_err(text)?, libc::SECCOMP_FILTER_FLAG_LOG)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for number in [FILES, OLDER, PROCESS, SOCKETS].into_iter().flatten() {
        rules.insert(*number, Vec::new());
    }
    // The other filter decides.
    rules.insert(libc::SYS_clone3, Vec::new());
    // Within this process only.
    let pid = u64::from(std::process::id());
    let mut only = |number: libc::c_long, conditions: Vec<SeccompCondition>| -> Result<(), String> {
        let rule = SeccompRule::new(conditions).map_err(text)?;
        rules.entry(number).or_default().push(rule);
        Ok(())
    };
    only(libc::SYS_clone, vec![masked(0, THREAD | NAMESPACES, THREAD)?])?;
    for signal in [libc::SYS_kill, libc::SYS_tgkill] {
        only(signal, vec![equal(0, pid)?])?;
    }
    for memory in [libc::SYS_mmap, libc::SYS_mprotect] {
        only(memory, vec![masked(2, EXECUTABLE, 0)?])?;
    }
    for request in REQUESTS {
        only(libc::SYS_ioctl, vec![equal(1, *request)?])?;
    }
    only(libc::SYS_prctl, vec![equal(0, libc::PR_SET_NAME.unsigned_abs().into())?])?;
    // Limits are read, not set.
    let none = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0).map_err(text)?;
    only(libc::SYS_prlimit64, vec![equal(0, 0)?, none])?;
    // Datagrams: QUIC tries what a socket can do on one of its own.
    for family in [libc::AF_INET, libc::AF_INET6] {
        let datagrams = masked(1, KIND, libc::SOCK_DGRAM.unsigned_abs().into())?;
        only(libc::SYS_socket, vec![equal(0, family.unsigned_abs().into())?, datagrams])?;
    }
    // Signals are passed on within the process.
    only(libc::SYS_socketpair, vec![equal(0, libc::AF_UNIX.unsigned_abs().into())?])?;
    Ok(rules)
}

/// An argument of 32 bits that is this.
fn equal(argument: u8, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).map_err(text)
}

/// An argument whose bits of a mask are these.
fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value).map_err(text)
}

/// `seccomp(2)` with flags that the crate does not offer.
fn install(program: &BpfProgram, flags: libc::c_ulong) -> Result<(), String> {
    let len = u16::try_from(program.len()).map_err(|_| "the list is too long".to_owned())?;
    let wanted = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `wanted` points to `len` instructions, which the kernel checks and copies.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const wanted) };
    match answer {
        0 => Ok(()),
        _ => Err(format!("the kernel refuses the filter: {}", io::Error::last_os_error())),
    }
}
