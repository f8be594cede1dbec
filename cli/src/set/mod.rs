//! `replfs set`: shows, checks, tests and changes the replication set of a mount. The daemon reads the file itself; what
//! rules mean is the SRM's.

mod edit;
mod file;
mod show;
mod test;

use crate::args::StateArgs;
use crate::args::set::{CheckArgs, MountArg, ReloadArgs, SetArgs, SetCommand};
use crate::control::client::no_such_mount;
use crate::control::client::{self, Client, unasked};
use crate::control::{Request, Response, SetInForce};
use crate::exit::{Code, Failure};
use crate::out;
use crate::source::mounts;
use crate::source::set_file;
use crate::state::Places;
use serde::Serialize;
use srm::OnRemove;
use srm::set::Set;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Version of the JSON documents; goes up when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// Does it.
pub fn run(args: &SetArgs) -> Result<(), Failure> {
    let state = args.state();
    match &args.command {
        SetCommand::Show(args) => show::run(args, &state),
        SetCommand::Check(args) => check(args),
        SetCommand::Add(args) => edit::add(args, &state),
        SetCommand::Remove(args) => edit::remove(args, &state),
        SetCommand::Test(args) => test::run(args, &state),
        SetCommand::Reload(args) => reload(args, &state),
    }
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let text = set_file::read(&args.file).map_err(|e| set_file::unreadable(&args.file, &e))?;
    let set = set_file::parse(&args.file, &text)?;
    out::line(&format!("{}: {}", args.file.display(), summary(&set)))
}

fn reload(args: &ReloadArgs, state: &StateArgs) -> Result<(), Failure> {
    print_changes(&Daemon::find(&args.mount, state)?.reload(args.on_remove.on_remove)?)
}

fn print_changes(lines: &[String]) -> Result<(), Failure> {
    match lines {
        [] => out::line("nothing changes"),
        lines => out::line(&lines.join("\n")),
    }
}

fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|e| Failure::new(Code::System, format!("cannot write the document: {e}")))?;
    out::line(&text)
}

/// How many rules, and what holds without one.
fn summary(set: &Set) -> String {
    let rules = match set.rules().len() {
        0 => "no rules".to_owned(),
        1 => "1 rule".to_owned(),
        many => format!("{many} rules"),
    };
    format!("{rules}, default = \"{}\"", set.default_action().word())
}

/// The daemon of a mount.
pub(crate) struct Daemon {
    pub client: Client,
    /// SRC.
    pub source: PathBuf,
    /// MNT.
    pub mnt: PathBuf,
}

/// What is in force there.
struct InForce {
    path: PathBuf,
    text: String,
    set: Set,
}

impl Daemon {
    pub fn find(which: &MountArg, state: &StateArgs) -> Result<Self, Failure> {
        let places = Places::find(state)?;
        let mnt = mounts::locate(Path::new(&which.mnt));
        let (path, name) = (mnt.to_string_lossy(), which.mnt.to_string_lossy());
        let found = std::cell::RefCell::default();
        let client = client::find_source(&places, |source| {
            let is = source.mountpoint == path || source.name == name;
            if is {
                *found.borrow_mut() = (PathBuf::from(&source.source), PathBuf::from(&source.mountpoint));
            }
            is
        })?;
        let (client, _) = client.ok_or_else(|| no_such_mount(&name))?;
        let (source, mnt) = found.into_inner();
        Ok(Self { client, source, mnt })
    }

    fn in_force(&mut self) -> Result<InForce, Failure> {
        let SetInForce { path, text } = match self.client.ask(Request::SetShow)? {
            Response::Set(set) => set,
            Response::Failed(failure) => return Err(failure),
            _ => return Err(unasked()),
        };
        let path = PathBuf::from(OsStr::from_bytes(&path));
        let set = if text.is_empty() { Set::everything() } else { set_file::parse(&path, text.as_bytes())? };
        Ok(InForce { path, text, set })
    }

    fn reload(&mut self, on_remove: OnRemove) -> Result<Vec<String>, Failure> {
        match self.client.ask(Request::SetReload { on_remove })? {
            Response::Changes { lines } => Ok(lines),
            Response::Failed(failure) => Err(failure),
            _ => Err(unasked()),
        }
    }
}
