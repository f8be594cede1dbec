//! What a daemon tells whoever waits for it: usable, or why not.

use crate::exit::Failure;
use crate::logging::LogFile;
use crate::notify;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

/// The one line that a daemon sends.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Report {
    /// The mount is usable.
    Mounted {
        /// Usable, but.
        warning: Option<String>,
    },
    /// It is not, and nothing is left of it.
    Failed(Failure),
}

/// Reports once. Whoever waits sees the end of the daemon as a failure if it never reported.
#[derive(Clone, Debug)]
pub struct Ready(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    listener: Listener,
    log: Option<LogFile>,
}

#[derive(Debug)]
enum Listener {
    /// A process at the other end of this pipe.
    Parent(File),
    /// Whoever reads standard error.
    Terminal,
    /// It has been told.
    Told,
}

impl Ready {
    /// For a daemon that was started by [`super::spawn`]: its standard output is the pipe to the one that waits. From here on
    /// standard output leads nowhere.
    pub fn to_parent() -> io::Result<Self> {
        let pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&null)?;
        Ok(Self::new(Listener::Parent(pipe)))
    }

    /// For a program in front.
    pub fn to_terminal() -> Self {
        Self::new(Listener::Terminal)
    }

    fn new(listener: Listener) -> Self {
        Self(Arc::new(Mutex::new(State { listener, log: None })))
    }

    /// The log that takes standard error over once the mount is usable.
    pub fn set_log(&self, log: LogFile) {
        self.0.lock().log = Some(log);
    }

    /// The mount is usable. The command that waits prints the warning, if any, and ends with success.
    pub fn mounted(&self, warning: Option<String>) {
        if let Some(text) = &warning {
            tracing::warn!(event = "mounted-with-warning", "{text}");
        }
        self.tell(&Report::Mounted { warning });
        notify::ready();
    }

    /// The mount failed. `false`: it was usable before, and whoever waited has gone.
    pub fn failed(&self, failure: &Failure) -> bool {
        self.tell(&Report::Failed(failure.clone()))
    }

    fn tell(&self, report: &Report) -> bool {
        let mut state = self.0.lock();
        match std::mem::replace(&mut state.listener, Listener::Told) {
            Listener::Told => return false,
            Listener::Terminal => match report {
                Report::Mounted { warning: Some(text) } => eprintln!("replfs: {text}"),
                // A failure is printed at the end of the program, as every command's is.
                Report::Mounted { warning: None } | Report::Failed(_) => {}
            },
            Listener::Parent(mut pipe) => {
                let line = serde_json::to_string(report).unwrap_or_default() + "\n";
                // Whoever started this may have gone; the mount stands all the same.
                let _nobody_waits = pipe.write_all(line.as_bytes());
            }
        }
        if let (Report::Mounted { .. }, Some(log)) = (report, &state.log) {
            log.take_stderr();
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::exit::Code;

    #[test]
    fn a_report_survives_the_pipe() {
        let failure = Failure::new(Code::Unreachable, "cannot reach \"x\"\nat all");
        for report in [Report::Mounted { warning: None }, Report::Failed(failure)] {
            let line = serde_json::to_string(&report).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report);
        }
    }

    #[test]
    fn only_the_first_report_counts() {
        let ready = Ready::to_terminal();
        ready.mounted(None);
        assert!(!ready.failed(&Failure::usage("too late")));
    }
}
