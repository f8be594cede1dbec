//! `replfs set`: its words.

use super::{STATE_HELP, StateArgs, units};
use clap::{Args, Subcommand};
use srm::OnRemove;
use srm::set::Kind;
use std::ffi::OsString;
use std::path::PathBuf;

const ABOUT: &str = "Rules say what is replicated; they stand in a file, by default /etc/replfs/NAME.toml (for ordinary users \
    $XDG_CONFIG_HOME/replfs/NAME.toml or ~/.config/replfs/NAME.toml):

    version = 1
    default = \"include\"         # or \"exclude\": what no rule matches
    [[rule]]
    exclude = \"*.tmp\"           # or include = \"PATTERN\"
    kind = \"file\"               # optional: file, directory, symlink, special, or a list of them
    extension = [\"iso\", \"img\"]  # optional: the end of the name
    larger = \"1GiB\"             # optional, as is smaller: regular files of that size only

The last rule that matches an entry, or a directory above it, decides. Patterns are those of gitignore: without a slash they \
    match names anywhere, with one inside or in front places below SRC, with one at the end directories only; * and ? do not \
    match a slash, ** does. docs/set.md has everything.";

/// `replfs set`.
#[derive(Debug, Args)]
#[command(after_long_help = ABOUT)]
pub struct SetArgs {
    /// Where state is kept.
    #[arg(long = "state", value_name = "DIR", help = STATE_HELP, global = true)]
    state: Option<PathBuf>,
    /// What to do with it.
    #[command(subcommand)]
    pub command: SetCommand,
}

impl SetArgs {
    /// Where state is kept.
    pub fn state(&self) -> StateArgs {
        StateArgs { dir: self.state.clone() }
    }
}

/// What to do with a set.
#[derive(Debug, Subcommand)]
pub enum SetCommand {
    /// Print the rules in force, and where they are kept
    Show(ShowArgs),
    /// Read FILE and say what is wrong with it, with line and column; touches nothing
    Check(CheckArgs),
    /// Add a rule to the file and put it in force
    Add(AddArgs),
    /// Remove a rule from the file and put that in force
    Remove(RemoveArgs),
    /// Say whether paths are replicated, and by which rule
    Test(TestArgs),
    /// Read the file again and put it in force; a file that is wrong changes nothing
    Reload(ReloadArgs),
}

/// Which mount.
#[derive(Debug, Args)]
pub struct MountArg {
    /// Where the source is mounted, or its NAME
    #[arg(value_name = "MNT")]
    pub mnt: OsString,
}

/// What becomes of what is taken out.
#[derive(Clone, Copy, Debug, Args)]
pub struct OnRemoveArg {
    /// What becomes of the replicas of what is no longer replicated: keep, they stay as they are; delete, they go
    #[arg(long, value_name = "WHAT", default_value = "keep")]
    pub on_remove: OnRemove,
}

/// `replfs set show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Which mount.
    #[command(flatten)]
    pub mount: MountArg,
    /// As a JSON document with a version
    #[arg(long)]
    pub json: bool,
}

/// `replfs set check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file
    pub file: PathBuf,
}

/// `replfs set add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Which mount.
    #[command(flatten)]
    pub mount: MountArg,
    /// Replicate what this pattern matches
    #[arg(long, value_name = "PATTERN", conflicts_with = "exclude", required_unless_present = "exclude")]
    pub include: Option<String>,
    /// Leave out what this pattern matches
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Option<String>,
    /// Only what is of this kind: file, directory, symlink or special; may be repeated [default: all]
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<Kind>,
    /// Only what has this extension, without its dot; may be repeated [default: all]
    #[arg(long, value_name = "EXT")]
    pub extension: Vec<String>,
    /// Only regular files larger than this: bytes, or a number with KiB, MiB, GiB or TiB
    #[arg(long, value_name = "SIZE", value_parser = checked_size)]
    pub larger: Option<String>,
    /// Only regular files smaller than this
    #[arg(long, value_name = "SIZE", value_parser = checked_size)]
    pub smaller: Option<String>,
    /// The number that the rule gets; those from there on move up by one [default: the last]
    #[arg(long, value_name = "N")]
    pub at: Option<usize>,
    /// What becomes of what is taken out.
    #[command(flatten)]
    pub on_remove: OnRemoveArg,
}

/// `replfs set remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Which mount.
    #[command(flatten)]
    pub mount: MountArg,
    /// The rule: its number in 'replfs set show', or its pattern
    #[arg(value_name = "N|PATTERN")]
    pub rule: String,
    /// What becomes of what is taken out.
    #[command(flatten)]
    pub on_remove: OnRemoveArg,
}

/// `replfs set test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Which mount.
    #[command(flatten)]
    pub mount: MountArg,
    /// Below MNT, or beginning with MNT or SRC; what is not there is taken for an empty file, with a '/' at its end for a
    /// directory
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<OsString>,
    /// As a JSON document with a version
    #[arg(long)]
    pub json: bool,
}

/// `replfs set reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Which mount.
    #[command(flatten)]
    pub mount: MountArg,
    /// What becomes of what is taken out.
    #[command(flatten)]
    pub on_remove: OnRemoveArg,
}

/// A size, kept as it was written for the file.
fn checked_size(text: &str) -> Result<String, String> {
    units::size(text).map(|_| text.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_help_shows_a_set_that_parses() {
        let example: Vec<&str> = ABOUT.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        let set = srm::set::Set::parse(&example.join("\n")).unwrap();
        assert_eq!(set.rules().len(), 1);
    }
}
