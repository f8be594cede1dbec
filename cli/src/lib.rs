//! The `replfs` program, which is also `mount.replfs` and `umount.replfs`: the only place where the layers meet. It is a library with one
//! function, and `main.rs` calls it, so that what is parsed here can be tried with any bytes (`edge`).
//!
//! Here: which command, and how it ends. `args` reads the words; `source` mounts, `serve` is the target daemon, `control`
//! is how commands talk to daemons; `restore`, `roll_back`, `status`, `umount`, `sync`, `bypass`, `commit`, `mirror`, `verify`, `set`, `peers`, `pairing` and `keys` are commands; `write_back` is what `sync` does first where the kernel gathers writes; `reach` finds targets; `cage` confines what holds replicas; `progress`
//! shows how far something is; `exit` knows the exit codes.

mod args;
mod bypass;
mod cage;
mod commit;
mod control;
mod daemon;
#[doc(hidden)]
pub mod edge;
mod exit;
mod keys;
mod limit;
mod logging;
mod low_latency;
mod mirror;
mod namespace;
mod notify;
mod out;
mod pairing;
mod paths;
mod peers;
mod progress;
mod reach;
mod restore;
mod roll_back;
mod send;
mod serve;
mod set;
mod source;
mod state;
mod status;
mod sync;
mod umount;
mod verify;
mod write_back;

use args::mount_options::MountFlags;
use args::peers::TargetCommand;
use args::{Command, Invocation};
use exit::Failure;
use std::process::ExitCode;

/// The program: reads the words of the command line, does it, says how it ended.
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let outcome = match args::parse(&words) {
        Ok(Invocation::Run(command, flags)) => run(command, flags),
        Ok(Invocation::Print(text)) => out::text(&text),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A daemon has told the process that started it, which prints it.
            if !daemon::is_daemon() {
                out::error(&failure.to_string());
            }
            ExitCode::from(failure.code.number())
        }
    }
}

fn run(command: Command, flags: MountFlags) -> Result<(), Failure> {
    if matches!(command, Command::Target(_) | Command::Mount(_) | Command::RollBack(_)) {
        arm_kill_point()?;
    }
    match command {
        Command::Target(args) => match &args.command {
            Some(TargetCommand::Invite(args)) => pairing::invite::run(args),
            None => serve::run(&args),
        },
        Command::Mount(args) => source::mount(&args, flags),
        Command::Umount(args) => umount::run(&args),
        Command::Sync(args) => sync::run(&args),
        Command::Bypass(args) => bypass::run(&args),
        Command::Commit(args) => commit::run(&args),
        Command::Limit(args) => limit::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::RollBack(args) => roll_back::run(&args),
        Command::Mirror(args) => mirror::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Set(args) => set::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Key(args) => keys::run(&args),
        Command::Pair(args) => pairing::pair::run(&args),
        Command::Peers(args) => peers::run(&args),
        // Answered where words are read.
        Command::Help(_) => Ok(()),
    }
}

/// Tests let daemons die at a certain place (`platform::killpoint`).
fn arm_kill_point() -> Result<(), Failure> {
    if let Some(armed) = platform::killpoint::arm_from_environment().map_err(Failure::usage)? {
        eprintln!("replfs: this process kills itself at {armed}");
    }
    Ok(())
}
