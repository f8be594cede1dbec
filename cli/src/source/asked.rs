//! What the words of a mount command say together, without a look at the system.

use super::resolve;
use crate::args::target_name::TargetPlace;
use crate::args::{KeepImage, MountArgs};
use crate::exit::Failure;
use crate::keys;
use protocol::Name;
use scm::key::Fingerprint;
use std::os::unix::ffi::OsStrExt;

/// What the words say, without a look at the system.
#[derive(Debug)]
pub(super) struct Asked {
    /// NAME.
    pub name: Name,
    /// Where the replica is, as it was given.
    pub target: TargetPlace,
    /// The same in the user's words.
    pub target_text: String,
    /// Of the target; `None` for a local one only.
    pub target_key: Option<Fingerprint>,
}

impl Asked {
    /// Reads them together.
    pub fn read(args: &MountArgs) -> Result<Self, Failure> {
        let replication = &args.replication;
        let text = match replication.target.as_slice() {
            [one] => one,
            [] => return Err(Failure::usage("no target; give --target HOST[:7420] or --target DIRECTORY/ (or none)")),
            _ => return Err(Failure::usage("more than one target does not exist yet; give one")),
        };
        if let Some(missing) = replication.journal_extend.iter().find(|area| !area.dir.is_dir()) {
            let dir = missing.dir.display();
            let text = format!("--journal-extend: {dir} is not a directory; make one for this journal alone");
            return Err(Failure::usage(text));
        }
        let target = TargetPlace::parse(text)?;
        let target_key =
            replication.target_key.as_deref().map(|key| keys::fingerprint("target-key", key)).transpose()?;
        match (&target, &target_key) {
            (TargetPlace::Remote { host, .. }, None) => Err(Failure::usage(format!(
                "no target-key; run 'replfs key' on {host} and give what it prints as --target-key"
            ))),
            (TargetPlace::None, Some(_)) => Err(Failure::usage("target 'none' has no key; leave --target-key out")),
            (TargetPlace::Local(_), Some(_)) => Err(Failure::usage(format!(
                "target '{text}' is a directory of this machine and has no key; leave --target-key out, or name a host"
            ))),
            (TargetPlace::Remote { .. } | TargetPlace::None, _) if replication.keep_image == KeepImage::Auto => Err(
                Failure::usage("--keep-image is for a target that is a directory; give it to 'replfs target' there"),
            ),
            _ if replication.backlog < srm::MIN_BACKLOG_BYTES => {
                Err(Failure::usage("the backlog is too small; give at least 8MiB"))
            }
            _ => Ok(Self { name: name(args)?, target, target_text: text.clone(), target_key }),
        }
    }
}

/// NAME as it was given, or the last part of SRC.
fn name(args: &MountArgs) -> Result<Name, Failure> {
    let given = match &args.replication.name {
        Some(name) => name.clone(),
        None => std::path::absolute(&args.src)
            .ok()
            .and_then(|src| resolve::without_dots(&src).file_name().map(ToOwned::to_owned))
            .ok_or_else(|| Failure::usage("SRC has no last part to take as NAME; give --name NAME"))?,
    };
    let shown = given.to_string_lossy().into_owned();
    if given.as_bytes().starts_with(b".replfs") {
        return Err(Failure::usage(format!(
            "name '{shown}': names that begin with '.replfs' are kept; give --name NAME"
        )));
    }
    Name::new(given.as_bytes())
        .map_err(|e| Failure::usage(format!("name '{shown}': {e}; give 1 to 255 bytes without '/'")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::args::{Command, Invocation, parse};
    use std::ffi::OsString;

    const KEY: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

    fn asked(line: &str) -> Result<Asked, Failure> {
        let words: Vec<_> = format!("replfs mount {line}").split(' ').map(OsString::from).collect();
        match parse(&words) {
            Ok(Invocation::Run(Command::Mount(args), _)) => Asked::read(&args),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_name_is_the_last_part_of_src_unless_given() {
        for (line, name) in [
            ("/srv/data /mnt --target /r/", "data"),
            ("/srv/data/ /mnt --target /r/", "data"),
            ("/srv/data/x/.. /mnt --target /r/", "data"),
            ("/srv/data/. /mnt --target /r/", "data"),
            ("/srv/data /mnt --target /r/ --name other", "other"),
        ] {
            assert_eq!(asked(line).unwrap().name.as_bytes(), name.as_bytes(), "{line}");
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let long = format!("/s /m --target /r/ --name {}", "x".repeat(256));
        for line in [
            "/ /mnt --target /r/",
            "/s /m --target /r/ --name a/b",
            "/s /m --target /r/ --name ..",
            "/s /m --target /r/ --name .",
            "/s /m --target /r/ --name=",
            "/s /m --target /r/ --name .replfs",
            "/s /m --target /r/ --name .replfs-x",
            &long,
        ] {
            assert!(
                asked(line).unwrap_err().message.contains("NAME") || asked(line).unwrap_err().message.contains("name")
            );
        }
    }

    #[test]
    fn one_target_is_needed_and_no_more_than_one_exists_yet() {
        assert!(asked("/s /m").unwrap_err().message.contains("--target"));
        let two = asked("/s /m --target a --target b").unwrap_err();
        assert!(two.message.contains("does not exist yet"), "{two}");
    }

    #[test]
    fn a_host_needs_a_key_and_a_directory_has_none() {
        assert!(asked("/s /m --target host").unwrap_err().message.contains("replfs key"));
        assert!(asked(&format!("/s /m --target host --target-key {KEY}")).unwrap().target_key.is_some());
        assert!(asked("/s /m --target host --target-key SHA256:abc").unwrap_err().message.contains("SHA256:abc"));
        assert!(asked(&format!("/s /m --target /r/ --target-key {KEY}")).is_err());
    }

    #[test]
    fn images_are_asked_for_where_the_replica_is() {
        let text = format!("/s /m --target host --target-key {KEY} --keep-image auto");
        assert!(asked(&text).unwrap_err().message.contains("'replfs target'"));
        assert!(asked("/s /m --target /r/ --keep-image auto").is_ok());
    }

    #[test]
    fn a_backlog_that_holds_nothing_is_refused() {
        assert!(asked("/s /m --target /r/ --backlog 8191KiB").unwrap_err().message.contains("8MiB"));
        assert!(asked("/s /m --target /r/ --backlog 8MiB").is_ok());
    }
}
