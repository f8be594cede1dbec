//! pjdfstest: what POSIX says of each system call on names and attributes, case by case.

use super::{Verdict, Verdicts, run_at_most, tools};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What is asked of a run.
#[derive(Clone, Copy, Debug)]
pub enum Cases {
    /// All but those that remount the file system.
    All,
    /// Those that remount the file system read-only (`EROFS`). By themselves, because other cases leave files open, and a
    /// disk with a deleted file that is open cannot be remounted.
    ReadOnly,
}

/// All features that a local file system of Linux has; others are of FreeBSD.
const FEATURES: &str = "[features]\nposix_fallocate = {}\nrename_ctime = {}\nutime_now = {}\nutimensat = {}\n";

/// Users that every Debian has, each with a group of its name.
const USERS: &str = "[dummy_auth]\nentries = [[\"daemon\", \"daemon\"], [\"bin\", \"bin\"]]\n";

/// mount(8) hands a remount of type `fuse.replfs` to mount.fuse(8), which runs `replfs`, which refuses: the kernel does it by
/// itself when no helper is asked.
const WITHOUT_HELPER: &str = "#!/bin/sh\nexec /bin/mount --internal-only \"$@\"\n";

/// Runs pjdfstest in `dir`; its configuration goes to `beside`. `other`: a directory on another file system.
#[track_caller]
pub fn run(cases: Cases, dir: &Path, beside: &Path, other: &Path) -> Verdicts {
    let remount = matches!(cases, Cases::ReadOnly);
    let config = beside.join("pjdfstest.toml");
    write(&config, &format!("{FEATURES}\n[settings]\nnaptime = 0.01\nallow_remount = {remount}\n\n{USERS}"));
    let mut program = Command::new(tools::path("pjdfstest"));
    program.arg("-c").arg(&config).arg("-p").arg(dir).arg("-s").arg(other).env("NO_COLOR", "1");
    // A backtrace of this program's own stack says nothing about the file system.
    program.env("RUST_BACKTRACE", "0");
    if remount {
        program.arg("erofs").env("PATH", path_with_mount(beside));
    }
    let outcome = run_at_most(Duration::from_secs(200), &program);
    let verdicts = parse(&outcome.stdout, remount);
    let summary = outcome.stdout.lines().rfind(|line| line.starts_with("Summary:")).unwrap_or_default();
    let counted = summary.split_whitespace().rev().nth(1).and_then(|total| total.parse().ok());
    let all = parse(&outcome.stdout, true).0.len();
    assert!(counted == Some(all), "{all} cases read, but: {summary:?}\n{outcome:#?}");
    verdicts
}

#[track_caller]
fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
}

/// A `PATH` whose `mount` asks no helper.
#[track_caller]
fn path_with_mount(beside: &Path) -> std::ffi::OsString {
    use std::os::unix::fs::PermissionsExt;
    let mount = beside.join("mount");
    write(&mount, WITHOUT_HELPER);
    std::fs::set_permissions(&mount, std::fs::Permissions::from_mode(0o755))
        .unwrap_or_else(|e| panic!("cannot make {} executable: {e}", mount.display()));
    let mut path = beside.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// Reads `NAME ok`, `NAME skipped` and `NAME FAILED`, each followed by indented lines that say why. `with_remounts`: also those
/// that were skipped because they would remount.
fn parse(text: &str, with_remounts: bool) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, word] = words[..] else { continue };
        let mut why = Vec::new();
        while let Some(more) = lines.next_if(|next| next.starts_with('\t')) {
            why.push(more.trim());
        }
        let why = why.join("; ");
        let verdict = match word {
            "ok" => Verdict::Passed,
            "skipped" if !with_remounts && why.contains("allow_remount") => continue,
            "skipped" => Verdict::Skipped(why),
            "FAILED" => Verdict::Failed(why),
            _ => continue,
        };
        verdicts.0.insert(name.to_owned(), verdict);
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints_is_read() {
        let text = "link::a      ok\nlink::b   skipped\n\tRemounts (allow_remount) are not allowed\nlink::c   skipped\n\tno limit\n\
                    chmod::d  FAILED\n\tassertion failed\n\tEIO\n\nSummary: 1 failed, 2 skipped, 1 passed, 0 expected failures, 4 total\n";
        let verdicts = parse(text, false);
        let expected = [
            ("chmod::d".to_owned(), Verdict::Failed("assertion failed; EIO".into())),
            ("link::a".to_owned(), Verdict::Passed),
            ("link::c".to_owned(), Verdict::Skipped("no limit".into())),
        ];
        assert_eq!(verdicts.0.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(parse(text, true).0.len(), 4);
    }
}
