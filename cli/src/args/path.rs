//! A network path of a mount (C6), as it is written.

use super::target_name::TargetPlace;
use scm::path::Path;

/// `LOCAL[=TARGET]`.
pub fn path(text: &str) -> Result<Path, String> {
    let (local, target) = match text.split_once('=') {
        Some((local, target)) => (local, Some(target)),
        None => (text, None),
    };
    let local = local.parse()?;
    let target = match target.map(TargetPlace::parse).transpose().map_err(|failure| failure.message)? {
        None => None,
        Some(TargetPlace::Remote { host, port }) => Some((host, port)),
        Some(_) => {
            return Err(format!("path '{text}': what follows '=' is where the target is over this path, HOST[:PORT]"));
        }
    };
    Ok(Path { local, target })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_have_a_place_of_its_own() {
        for (text, local, target) in [
            ("eth1", "eth1", None),
            ("10.0.0.1", "10.0.0.1", None),
            ("10.0.0.1=backup", "10.0.0.1", Some(("backup", 7420))),
            ("fd00::1=[fd00::2]:99", "fd00::1", Some(("fd00::2", 99))),
        ] {
            let path = path(text).unwrap();
            assert_eq!(path.local.to_string(), local);
            assert_eq!(path.target, target.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "=backup", "10.0.0.1=", "10.0.0.1=/srv", "10.0.0.1=none", "10.0.0.1=a:0", "1.2.3", "a b"] {
            assert!(path(text).is_err(), "{text}");
        }
    }
}
