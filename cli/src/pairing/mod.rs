//! Two nodes become known to each other: `invite` opens an invitation on a target, `pair` uses one on a source, `admit` is what a
//! target daemon answers to whoever comes with one.

pub mod admit;
pub mod invite;
pub mod pair;

use protocol::Name;

/// What this machine is called.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A directory below ROOT: a NAME that can be written down and shown.
fn is_dir_name(text: &str) -> bool {
    Name::new(text.as_bytes()).is_ok() && !text.starts_with(".replfs") && !text.chars().any(char::is_control)
}
