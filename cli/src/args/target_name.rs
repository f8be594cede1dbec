//! Where a replica is kept, as users write it: a directory of this machine, or a host and a port.

use crate::exit::Failure;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// The port of a target where none is given.
pub const PORT: u16 = 7420;

/// Said instead of a target: nothing is replicated.
pub const NONE: &str = "none";

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPlace {
    /// Nowhere: the mount is the file system layer alone.
    None,
    /// ROOT on this machine.
    Local(PathBuf),
    /// A target daemon.
    Remote {
        /// Name or address, an IPv6 address without its brackets.
        host: String,
        /// UDP port.
        port: u16,
    },
}

impl TargetPlace {
    /// Reads what `--target` says: with a `/` in it a directory, `none`, else `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        if text == NONE {
            return Ok(Self::None);
        }
        if text.contains('/') {
            return Ok(Self::Local(PathBuf::from(text)));
        }
        let bad = |why: &str| {
            Failure::usage(format!(
                "target '{text}': {why}; write HOST, HOST:PORT, [V6]:PORT, or a directory with a '/'"
            ))
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| bad("the bracket is not closed"))?;
                // A zone ("fe80::1%eth0") is part of where an address leads, not of the address.
                let address = host.split('%').next().unwrap_or(host);
                address.parse::<Ipv6Addr>().map_err(|_| bad("not an IPv6 address"))?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err(bad("something follows the bracket")),
                }
            }
            None if text.matches(':').count() > 1 => return Err(bad("an IPv6 address needs brackets")),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(bad("not the name of a host"));
        }
        let port = match port {
            None => PORT,
            Some(port) => port.parse().ok().filter(|p| *p != 0).ok_or_else(|| bad("not a port"))?,
        };
        Ok(Self::Remote { host: host.to_owned(), port })
    }
}

impl fmt::Display for TargetPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(NONE),
            Self::Local(root) => root.display().fmt(f),
            Self::Remote { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Remote { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_target_with_a_slash_is_a_directory() {
        for text in ["/backup", "backup/", "./x"] {
            assert_eq!(TargetPlace::parse(text).unwrap(), TargetPlace::Local(text.into()));
        }
    }

    #[test]
    fn none_is_no_target_and_no_host() {
        assert_eq!(TargetPlace::parse("none").unwrap(), TargetPlace::None);
        assert_eq!(TargetPlace::parse("none:7420").unwrap().to_string(), "none:7420");
    }

    #[test]
    fn a_target_without_a_slash_is_a_host() {
        for (text, shown) in [
            ("backup", "backup:7420"),
            ("backup.example.org:99", "backup.example.org:99"),
            ("10.0.0.2", "10.0.0.2:7420"),
            ("[::1]", "[::1]:7420"),
            ("[fe80::1%eth0]:7421", "[fe80::1%eth0]:7421"),
        ] {
            assert_eq!(TargetPlace::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", ":7420", "::1", "[::1", "[::1]x", "[host]:1", "host:", "host:0", "host:65536", "host:x", "a b"]
        {
            assert!(TargetPlace::parse(text).is_err(), "{text}");
        }
    }
}
