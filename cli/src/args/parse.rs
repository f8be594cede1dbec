//! From the words of a command line to a command: by which name the program was called, what `-o` adds, and errors as one
//! line each.

use super::mount_options::{self, MountFlags};
use super::{Command, HelpArgs, Line, MountArgs, MountLine, UmountLine};
use crate::exit::{self, Failure};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// What was asked for.
#[derive(Debug)]
pub enum Invocation {
    /// A command; the flags are those of a mount.
    Run(Command, MountFlags),
    /// A text to print: help, version.
    Print(String),
}

/// The name that the program was called by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Called {
    Replfs,
    Mount,
    Umount,
}

impl Called {
    fn by(program: &OsStr) -> Self {
        match Path::new(program).file_name().and_then(OsStr::to_str) {
            Some("mount.replfs" | "mount.fuse.replfs") => Self::Mount,
            Some("umount.replfs" | "umount.fuse.replfs") => Self::Umount,
            _ => Self::Replfs,
        }
    }
}

/// Parses a whole command line, the program's name included. An unknown mount option is said on standard error where `-s`
/// passes over it.
pub fn parse(words: &[OsString]) -> Result<Invocation, Failure> {
    let called = Called::by(words.first().map_or(OsStr::new("replfs"), OsString::as_os_str));
    let command = match once(called, words) {
        Ok(command) => command,
        Err(error) => return unusual(called, &error),
    };
    match command {
        Command::Mount(args) => with_options(called, words, &args),
        Command::Help(args) => help(&args),
        other => Ok(Invocation::Run(other, MountFlags::default())),
    }
}

fn once(called: Called, words: &[OsString]) -> Result<Command, clap::Error> {
    Ok(match called {
        Called::Replfs => Line::try_parse_from(words)?.command,
        Called::Mount => Command::Mount(Box::new(MountLine::try_parse_from(words)?.args)),
        Called::Umount => Command::Umount(UmountLine::try_parse_from(words)?.args),
    })
}

/// Parses again with what `-o` says in front of everything, so that the command line's own options count more.
fn with_options(called: Called, words: &[OsString], args: &MountArgs) -> Result<Invocation, Failure> {
    let known = MountLine::command();
    let is_own =
        |key: &str| known.get_arguments().any(|arg| arg.get_long() == Some(key) && !matches!(key, "help" | "version"));
    let options = mount_options::parse(&args.options, is_own, args.sloppy)?;
    // A daemon is started with the same words, after they were read once.
    for unknown in options.unknown.iter().filter(|_| !crate::daemon::is_daemon()) {
        eprintln!("replfs: passing over unknown mount option '{unknown}'");
    }
    let at = if called == Called::Mount { 1 } else { 2 };
    let mut words = words.to_vec();
    words.splice(at..at, options.own);
    match once(called, &words) {
        Ok(command) => Ok(Invocation::Run(command, options.flags)),
        Err(error) => unusual(called, &error),
    }
}

/// Help and version are errors to the parser; all others are usage.
fn unusual(called: Called, error: &clap::Error) -> Result<Invocation, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Invocation::Print(error.render().to_string())),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Failure::usage("no command; 'replfs --help' lists the commands"))
        }
        _ => {
            let help = match called {
                Called::Replfs => "replfs --help",
                Called::Mount => "mount.replfs --help",
                Called::Umount => "umount.replfs --help",
            };
            let rendered = error.render().to_string();
            let text = first_paragraph(rendered.strip_prefix("error: ").unwrap_or(&rendered));
            Err(Failure::usage(format!("{text}; see '{help}'")))
        }
    }
}

/// The text up to the first empty line, as one line.
fn first_paragraph(text: &str) -> String {
    let words: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    words.join(" ")
}

fn help(args: &HelpArgs) -> Result<Invocation, Failure> {
    let mut line = Line::command();
    line.build();
    let text = match args.topic.as_deref() {
        None => line.render_long_help().to_string(),
        Some("exit-codes") => exit::table(),
        Some(topic) => match line.find_subcommand_mut(topic) {
            Some(command) => command.render_long_help().to_string(),
            None => {
                return Err(Failure::usage(format!(
                    "no help on '{topic}'; 'replfs help' lists the commands, 'replfs help exit-codes' the exit codes"
                )));
            }
        },
    };
    Ok(Invocation::Print(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::exit::Code;
    use srm::status::CommitMode;
    use std::time::Duration;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn mount(line: &str) -> (Box<MountArgs>, MountFlags) {
        match parse(&words(line)) {
            Ok(Invocation::Run(Command::Mount(args), flags)) => (args, flags),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        let failure = parse(&words(line)).unwrap_err();
        assert_eq!(failure.code, Code::Usage);
        assert!(!failure.message.contains('\n'), "one line: {failure}");
        failure.message
    }

    #[test]
    fn the_definition_is_consistent() {
        Line::command().debug_assert();
        MountLine::command().debug_assert();
        UmountLine::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let (args, flags) = mount("replfs mount /src /mnt --target host");
        let replication = &args.replication;
        assert_eq!(replication.commit, CommitMode::Sync);
        assert_eq!(replication.degrade_after, Duration::from_secs(5));
        assert_eq!(replication.connect_timeout, Duration::from_secs(5));
        assert_eq!(replication.drain_timeout, Duration::from_secs(60));
        assert_eq!((replication.backlog, replication.journal_size), (64 << 20, 1 << 30));
        assert_eq!(replication.lanes, 4);
        assert!(!replication.adopt && !replication.foreground && !args.fake);
        assert_eq!(flags, MountFlags::default());
    }

    #[test]
    fn every_long_option_works_as_a_mount_option() {
        let (args, flags) = mount(
            "/sbin/mount.replfs /src /mnt -o ro,target=h:1,target-key=K,commit=real,name=N,degrade-after=500ms,\
             connect-timeout=2m,drain-timeout=3s,backlog=2MiB,lanes=16,adopt,accept-changed-source,foreground,state=/s,set=/x.toml,_netdev",
        );
        let replication = &args.replication;
        assert_eq!(replication.target, ["h:1"]);
        assert_eq!(replication.target_key.as_deref(), Some("K"));
        assert_eq!(replication.commit, CommitMode::Real);
        assert_eq!(replication.name.as_deref(), Some(OsStr::new("N")));
        assert_eq!(replication.degrade_after, Duration::from_millis(500));
        assert_eq!(replication.connect_timeout, Duration::from_secs(120));
        assert_eq!(replication.drain_timeout, Duration::from_secs(3));
        assert_eq!(replication.backlog, 2 << 20);
        assert_eq!(replication.lanes, 16);
        assert!(replication.adopt && replication.accept_changed_source && replication.foreground);
        assert_eq!(replication.state.dir.as_deref(), Some(Path::new("/s")));
        assert_eq!(replication.set.as_deref(), Some(Path::new("/x.toml")));
        assert!(flags.read_only);
    }

    #[test]
    fn the_flags_of_mount_are_taken_together_and_anywhere() {
        let (args, flags) = mount("mount.fuse.replfs /src /mnt -sfnv -N 12 -t fuse.replfs -o rw,noatime,nonsense");
        assert!(args.sloppy && args.fake && args.no_mtab && args.verbose && flags.noatime);
        assert_eq!(args.kind.as_deref(), Some("fuse.replfs"));
    }

    #[test]
    fn an_option_of_the_command_line_counts_more_than_a_mount_option() {
        let (args, _) = mount("replfs mount /src /mnt --commit real -o commit=sync,degrade-after=1s,degrade-after=2s");
        assert_eq!(args.replication.commit, CommitMode::Real);
        assert_eq!(args.replication.degrade_after, Duration::from_secs(2));
    }

    #[test]
    fn every_target_is_seen_however_it_was_given() {
        let (args, _) = mount("replfs mount /src /mnt --target a -o target=b");
        assert_eq!(args.replication.target.len(), 2);
    }

    #[test]
    fn wrong_lines_are_refused_in_one_line_that_names_the_word() {
        assert!(refused("replfs mount /src /mnt -o frobnicate").contains("'frobnicate'"));
        assert!(refused("replfs mount /src /mnt -o help").contains("'help'"));
        assert!(refused("replfs mount /src /mnt --frobnicate").contains("--frobnicate"));
        assert!(refused("replfs mount /src").contains("<MNT>"));
        assert!(refused("replfs mount /src /mnt --backlog 1.5GiB").contains("256MiB"));
        for lanes in ["0", "17", "many"] {
            assert!(refused(&format!("replfs mount /src /mnt --lanes {lanes}")).contains(lanes));
        }
        assert!(refused("mount.replfs /src /mnt -o degrade-after=soon").contains("'soon'"));
        assert!(refused("replfs target").contains("--root"));
        assert!(refused("replfs frobnicate").contains("frobnicate"));
        assert!(refused("replfs").contains("--help"));
        assert!(refused("replfs help frobnicate").contains("exit-codes"));
    }

    #[test]
    fn commit_modes_are_known_by_name_and_others_are_said_to_be_unknown() {
        for mode in ["sync", "near", "real", "local", "remote"] {
            let (args, _) = mount(&format!("mount.replfs /src /mnt -o commit={mode},remote-timeout=3s"));
            assert_eq!(args.replication.commit.to_string(), mode);
            assert_eq!(args.replication.remote_timeout, Duration::from_secs(3));
        }
        assert!(refused("replfs mount /src /mnt --commit sideways").contains("unknown commit mode 'sideways'"));
        assert!(refused("replfs mount /src /mnt --remote-timeout 0s").contains("no time to wait"));
    }

    #[test]
    fn help_shows_exit_codes_and_every_command() {
        for line in ["replfs --help", "replfs help", "replfs help exit-codes", "mount.replfs --help"] {
            let Ok(Invocation::Print(text)) = parse(&words(line)) else { panic!("{line}") };
            assert!(text.contains("44  There is no such mount."), "{line}: {text}");
        }
        for command in ["target", "mount", "umount", "sync", "bypass", "restore", "status", "set", "set add", "key"] {
            let Ok(Invocation::Print(text)) = parse(&words(&format!("replfs {command} --help"))) else {
                panic!("{command}")
            };
            assert!(text.contains("--state <DIR>"), "{command}: {text}");
        }
    }

    #[test]
    fn umount_is_known_by_its_own_name() {
        let parsed = parse(&words("/sbin/umount.fuse.replfs /mnt -l -t fuse.replfs")).unwrap();
        assert!(matches!(parsed, Invocation::Run(Command::Umount(args), _) if args.lazy));
    }
}
