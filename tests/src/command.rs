//! Running other programs: what they printed, how they ended, and a clear failure when one is not installed.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    /// Exit code; 128 and the signal where one ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Panics with everything that was printed unless the exit code is `code`.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Self {
        assert!(
            self.code == code,
            "{} ended with {} instead of {code}\nstdout: {}\nstderr: {}",
            self.line,
            self.code,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        );
        self
    }

    /// Panics unless it succeeded; gives standard output without the last line feed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        self.expect(0).stdout.trim_end()
    }
}

/// Runs a command to its end, with nothing on its standard input.
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    let line = format!("{command:?}");
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("{line}: the program is not installed; `cargo xtask test` installs what the tests need")
        }
        Err(error) => panic!("{line}: cannot be started: {error}"),
    };
    outcome(line, &output)
}

fn outcome(line: String, output: &Output) -> Outcome {
    use std::os::unix::process::ExitStatusExt;
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { line, code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Runs a program with arguments in a directory; panics unless it succeeds; gives its standard output.
#[track_caller]
pub fn tool<A: AsRef<OsStr>>(dir: &Path, program: &str, args: impl IntoIterator<Item = A>) -> String {
    run(Command::new(program).args(args).current_dir(dir)).ok().to_owned()
}

/// Copies a program to where it is to be run. By another process: a descriptor of this one's that is open for writing
/// would be copied into whatever another thread just starts, and the program be busy until that has ended or runs its
/// own.
#[track_caller]
pub fn copy_program(from: &Path, to: &Path) {
    tool(Path::new("/"), "cp", [from, to]);
}

/// Runs a shell script with `set -e` in a directory; panics unless it succeeds; gives its standard output.
#[track_caller]
pub fn shell(dir: &Path, script: &str) -> String {
    tool(dir, "bash", ["-c", &format!("set -eu; {script}")])
}
