//! `replfs roll-back`: brings a replica back to its last coherent state, while no daemon has its ROOT. How is `target`'s.

use crate::args::RollBackArgs;
use crate::cage::Begun;
use crate::exit::{Code, Failure};
use crate::paths::absolute;
use crate::status::units::bytes;
use crate::{out, serve};
use protocol::Name;
use std::os::unix::ffi::OsStrExt;
use target::{Limits, RollBack, RollBackError, TargetConfig};

/// Runs the command.
pub fn run(args: &RollBackArgs) -> Result<(), Failure> {
    let name = Name::new(args.name.as_bytes())
        .map_err(|error| Failure::usage(format!("'{}' is no name of a replica: {error}", args.name.display())))?;
    let root = absolute(&args.root);
    // What it reads was written for a source, which may be anybody's by now.
    if root.is_dir() {
        let _confined = Begun::of_root(&root)?.close()?;
    }
    let config = TargetConfig { root, software: env!("CARGO_PKG_VERSION").to_owned(), limits: Limits::default() };
    let done = target::roll_back(config, &name, args.dry_run).map_err(|error| failure(&error))?;
    if !args.json {
        return out::text(&text(&done));
    }
    let document = serde_json::to_string(&done)
        .map_err(|error| Failure::new(Code::System, format!("cannot write what was done: {error}")))?;
    out::line(&document)
}

fn text(done: &RollBack) -> String {
    let RollBack { name, number, incarnation, taken, names, nodes, .. } = done;
    let would = if done.dry_run { "would be" } else { "is" };
    let mut text = format!(
        "{name} {would} as it was at {taken}: coherent, all up to {number} of run {incarnation}\n  \
         {names} names, {nodes} nodes, {} of data\n",
        bytes(done.bytes)
    );
    if let Some(aside) = &done.aside {
        text.push_str("  what had come since is in ROOT/");
        text.push_str(aside);
        text.push('\n');
    }
    if !done.dry_run {
        text.push_str("  a source that connects compares everything with it\n");
    }
    text
}

fn failure(error: &RollBackError) -> Failure {
    let code = match error {
        RollBackError::Target(error) => return serve::failure(error),
        RollBackError::NoReplica { .. } => Code::NoReplica,
        RollBackError::NotKept(_) => Code::NotKept,
        RollBackError::Damaged(_) | RollBackError::Missing { .. } => Code::UndoDamaged,
        RollBackError::System(_) => Code::System,
    };
    Failure::new(code, error.to_string())
}
