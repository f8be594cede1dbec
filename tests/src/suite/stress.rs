//! stress-ng's stressors of the class `filesystem`: each uses some system calls as fast and as oddly as it can.

use super::{Verdict, Verdicts, run_at_most};
use crate::command::{self, Outcome};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long each stressor runs.
const RUN: &str = "2s";

/// Files stay, so that there is something to compare afterwards, and none of them is large.
const OPTIONS: [&str; 10] = [
    "--verify",
    "--keep-files",
    "--hdd-bytes",
    "16m",
    "--iomix-bytes",
    "16m",
    "--fallocate-bytes",
    "64m",
    "--sync-file-bytes",
    "16m",
];

/// The names of all stressors of the class, in the installed version's own words.
#[track_caller]
pub fn stressors() -> Vec<String> {
    let outcome = command::run(Command::new("stress-ng").args(["--class", "filesystem?"]));
    let names = outcome.stdout.split_once("stressors:").map(|(_, names)| names.split_whitespace().map(str::to_owned));
    let names: Vec<String> = names.into_iter().flatten().collect();
    assert!(!names.is_empty(), "no stressors in the class filesystem: {outcome:?}");
    names
}

/// Runs one instance of each stressor in `dir`, one after the other. What they make stays there.
#[track_caller]
pub fn run(stressors: &[String], dir: &Path) -> Verdicts {
    let one = |name: &String| {
        let mut program = Command::new("stress-ng");
        program
            .arg("--temp-path")
            .arg(dir)
            .args([format!("--{name}"), "1".into()])
            .args(["--timeout", RUN])
            .args(OPTIONS);
        program.current_dir(dir);
        let outcome = run_at_most(Duration::from_secs(60), &program);
        (name.clone(), verdict(&outcome))
    };
    let verdicts = stressors.iter().map(one).collect();
    // A stressor that is ended between two calls leaves files immutable, which nobody could remove. Where no flags can be set
    // none are left: this fails then, and that is no matter.
    command::run(Command::new("chattr").args(["-R", "-f", "-ia"]).arg(dir));
    Verdicts(verdicts)
}

/// Exit codes as stress-ng(1) has them: 3 is "no resources", 4 "not implemented". Some stressors that cannot run say so and
/// succeed.
fn verdict(outcome: &Outcome) -> Verdict {
    let text = format!("{}{}", outcome.stdout, outcome.stderr);
    let skips = text.lines().find(|line| line.contains("skipping stress"));
    match (outcome.code, skips) {
        (0 | 3 | 4, Some(line)) => Verdict::Skipped(line.to_owned()),
        (0, None) => Verdict::Passed,
        (code, _) => Verdict::Failed(format!("exit {code}: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: i32, stdout: &str) -> Outcome {
        Outcome { line: String::new(), code, stdout: stdout.to_owned(), stderr: String::new() }
    }

    #[test]
    fn a_stressor_that_cannot_run_is_no_success() {
        let line = "fiemap: FS_IOC_FIEMAP not supported on the file system, skipping stressor, filesystem type: fuse";
        assert_eq!(verdict(&outcome(0, line)), Verdict::Skipped(line.to_owned()));
        assert_eq!(verdict(&outcome(0, "successful run")), Verdict::Passed);
        assert!(matches!(verdict(&outcome(2, line)), Verdict::Failed(_)));
        assert!(matches!(verdict(&outcome(3, "")), Verdict::Failed(_)));
    }
}
