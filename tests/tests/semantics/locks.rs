//! Locks between programs that use the mount: of a whole file, of a range, by process and by open file.

use replfs_tests::below::{Answer, as_below};
use replfs_tests::child::Child;
use replfs_tests::rig::Commit;
use replfs_tests::wait::{PATIENCE, until};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

/// `fcntl(2)` with a lock of `kind` on `len` bytes from `start`; what came back in the lock.
fn record(file: &File, command: i32, kind: i32, start: i64, len: i64) -> Answer<libc::flock> {
    let kind = libc::c_short::try_from(kind).unwrap();
    let mut lock = libc::flock { l_type: kind, l_whence: 0, l_start: start, l_len: len, l_pid: 0 };
    // SAFETY: `lock` lives through the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    if result == 0 { Ok(lock) } else { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap()) }
}

fn locked(file: &File, command: i32, kind: i32, start: i64, len: i64) -> Answer {
    record(file, command, kind, start, len).map(drop)
}

/// An answer as a number that goes over a line.
fn code(answer: Answer) -> i32 {
    answer.err().map_or(0, Errno::raw_os_error)
}

/// Waits until a process or thread waits for a lock, as /proc/locks has it.
fn until_it_waits(pid: i32) {
    until("the other process to wait for the lock", PATIENCE, || {
        let table = fs::read_to_string("/proc/locks").unwrap();
        let waits = |line: &str| line.contains("->") && line.split_whitespace().any(|word| word.parse() == Ok(pid));
        table.lines().any(waits).then_some(())
    });
}

// claim: A50
#[test]
fn flock_holds_between_processes_and_ends_with_its_holder() {
    as_below(Commit::Sync, |dir| {
        let path = dir.join("file");
        fs::write(&path, "").unwrap();
        let mut holder = Child::start(|line| {
            let file = open(&path);
            line.say(code(flock(&file, FlockOperation::LockExclusive)));
            line.hear();
            // Two descriptors of one open file hold one lock.
            let second = file.try_clone().unwrap();
            drop(file);
            line.say(code(flock(&second, FlockOperation::LockShared)));
            line.hear()
        });
        let file = open(&path);
        let mut seen = vec![holder.line.hear()];
        seen.push(code(flock(&file, FlockOperation::NonBlockingLockExclusive)));
        seen.push(code(flock(&file, FlockOperation::NonBlockingLockShared)));
        holder.line.say(1);
        seen.push(holder.line.hear());
        seen.push(code(flock(&file, FlockOperation::NonBlockingLockShared)));
        seen.push(code(flock(&file, FlockOperation::NonBlockingLockExclusive)));
        // One waits until the holder has gone.
        let mut waiter = Child::start(|line| {
            let file = open(&path);
            let answer = code(flock(&file, FlockOperation::LockExclusive));
            line.say(answer);
            line.hear()
        });
        drop(file);
        until_it_waits(waiter.pid());
        holder.kill();
        seen.push(waiter.line.hear());
        seen.push(code(flock(open(&path), FlockOperation::NonBlockingLockShared)));
        waiter.line.say(7);
        seen.push(waiter.end());
        seen.push(code(flock(open(&path), FlockOperation::NonBlockingLockExclusive)));
        seen
    });
}

// claim: A51
#[test]
fn record_locks_hold_between_processes_and_ranges() {
    as_below(Commit::Sync, |dir| {
        let path = dir.join("file");
        fs::write(&path, "").unwrap();
        let mut holder = Child::start(|line| {
            let file = open(&path);
            line.say(code(locked(&file, libc::F_SETLK, libc::F_WRLCK, 100, 100)));
            line.say(code(locked(&file, libc::F_SETLK, libc::F_RDLCK, 300, 100)));
            line.hear();
            line.say(code(locked(&file, libc::F_SETLK, libc::F_UNLCK, 150, 50)));
            line.hear();
            // Closing any descriptor of the file gives up all its locks.
            drop(open(&path));
            line.say(0);
            line.hear()
        });
        let file = open(&path);
        let mut seen = vec![holder.line.hear(), holder.line.hear()];
        let ask = |kind, start, len| {
            let found = record(&file, libc::F_GETLK, kind, start, len).unwrap();
            (found.l_type, found.l_start, found.l_len, found.l_pid == holder.pid())
        };
        let asked = [
            ask(libc::F_WRLCK, 0, 0),
            ask(libc::F_RDLCK, 250, 100),
            ask(libc::F_WRLCK, 250, 100),
            ask(libc::F_WRLCK, 0, 50),
        ];
        let attempt = |kind, start, len| code(locked(&file, libc::F_SETLK, kind, start, len));
        seen.extend([attempt(libc::F_WRLCK, 0, 100), attempt(libc::F_WRLCK, 199, 1), attempt(libc::F_RDLCK, 350, 10)]);
        seen.extend([attempt(libc::F_RDLCK, 120, 1), attempt(libc::F_WRLCK, 350, 10)]);
        holder.line.say(0);
        seen.push(holder.line.hear());
        seen.extend([attempt(libc::F_WRLCK, 199, 1), attempt(libc::F_WRLCK, 149, 1)]);
        // This process waits in a thread; the holder's close lets it in.
        let last = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| code(locked(&file, libc::F_SETLKW, libc::F_WRLCK, 100, 200)));
            until_it_waits(i32::try_from(std::process::id()).unwrap());
            holder.line.say(0);
            holder.line.hear();
            waiter.join().unwrap()
        });
        seen.push(last);
        holder.line.say(3);
        seen.push(holder.end());
        (seen, asked)
    });
}

// claim: A51
#[test]
fn two_that_wait_for_each_other_are_told_so_and_a_killed_holder_lets_go() {
    as_below(Commit::Sync, |dir| {
        let path = dir.join("file");
        fs::write(&path, "").unwrap();
        let mut other = Child::start(|line| {
            let file = open(&path);
            line.say(code(locked(&file, libc::F_SETLK, libc::F_WRLCK, 1, 1)));
            line.hear();
            // Waits for the test's byte.
            line.say(code(locked(&file, libc::F_SETLKW, libc::F_WRLCK, 0, 1)));
            line.hear()
        });
        let file = open(&path);
        let mut seen = vec![code(locked(&file, libc::F_SETLK, libc::F_WRLCK, 0, 1)), other.line.hear()];
        other.line.say(0);
        until_it_waits(other.pid());
        seen.push(code(locked(&file, libc::F_SETLKW, libc::F_WRLCK, 1, 1)));
        seen.push(code(locked(&file, libc::F_SETLK, libc::F_UNLCK, 0, 1)));
        seen.push(other.line.hear());
        other.kill();
        seen.push(code(locked(&file, libc::F_SETLK, libc::F_WRLCK, 0, 2)));
        seen
    });
}

// claim: A52
#[test]
fn open_file_locks_belong_to_the_open_file() {
    as_below(Commit::Sync, |dir| {
        let path = dir.join("file");
        fs::write(&path, "").unwrap();
        let (first, second) = (open(&path), open(&path));
        let copy = first.try_clone().unwrap();
        let take = |file: &File, kind, start, len| code(locked(file, libc::F_OFD_SETLK, kind, start, len));
        let mut seen = vec![
            take(&first, libc::F_WRLCK, 0, 10),
            take(&second, libc::F_WRLCK, 5, 1),
            take(&second, libc::F_RDLCK, 10, 10),
            take(&copy, libc::F_WRLCK, 0, 10),
        ];
        // A third descriptor's end changes nothing; the end of the last of the open file's does.
        drop(open(&path));
        drop(first);
        seen.push(take(&second, libc::F_WRLCK, 5, 1));
        let found = record(&second, libc::F_OFD_GETLK, libc::F_WRLCK, 0, 5).unwrap();
        let other = Child::start(|_| code(locked(&open(&path), libc::F_SETLK, libc::F_WRLCK, 12, 1)));
        seen.push(other.end());
        drop(copy);
        // A process that another test has just made holds copies of all descriptors until it runs its program.
        let free = || (take(&second, libc::F_WRLCK, 5, 1) == 0).then_some(0);
        seen.push(until("the lock to be free", PATIENCE, free));
        (seen, (found.l_type, found.l_start, found.l_len, found.l_pid))
    });
}
