//! What the words of a mount command say together, without a look at anything but who is known.

use super::resolve;
use crate::args::target_name::TargetPlace;
use crate::args::{KeepImage, MountArgs};
use crate::exit::{Failure, reason};
use crate::pairing::pair;
use crate::peers;
use crate::reach::{self, Found, Trust};
use crate::state::Places;
use protocol::Name;
use scm::invite::Invitation;
use srm::sending::NotHeld;
use srm::status::{CacheMode, CommitMode};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the words say, with what is known of peers.
#[derive(Debug)]
pub(super) struct Asked {
    /// NAME.
    pub name: Name,
    /// Where the replica is, as it was given.
    pub target: TargetPlace,
    /// The same in the user's words; of a peer its name.
    pub target_text: String,
    /// By what the target is recognised; `None` for a local one only.
    pub trust: Option<Trust>,
}

impl Asked {
    /// Reads them together.
    pub fn read(args: &MountArgs) -> Result<Self, Failure> {
        let replication = &args.replication;
        let text = target_text(args)?;
        if let Some(missing) = replication.journal_extend.iter().find(|area| !area.dir.is_dir()) {
            let dir = missing.dir.display();
            let text = format!("--journal-extend: {dir} is not a directory; make one for this journal alone");
            return Err(Failure::usage(text));
        }
        if replication.backlog < srm::MIN_BACKLOG_BYTES {
            return Err(Failure::usage("the backlog is too small; give at least 8MiB"));
        }
        NotHeld::check(replication.commit, &replication.send)
            .map_err(|refused| Failure::usage(format!("--send: {refused}; mount with --commit real or local")))?;
        check_cache(replication.cache, replication.commit)?;
        let places = Places::find(&replication.state)?;
        let (src, given) = (crate::paths::absolute(&args.src), replication.name.as_deref().and_then(|n| n.to_str()));
        let ours = |place: &scm::peers::TargetPlace| match given {
            Some(name) => place.dir == name,
            None => place.src.as_deref().is_some_and(|bound| Path::new(bound) == src),
        };
        let Found { place: target, trust, dir } = reach::find(&places, &text, replication.target_key.as_deref(), ours)?;
        let is_local = matches!(target, TargetPlace::Local(_));
        if matches!(target, TargetPlace::None) && !replication.send.is_empty() {
            return Err(Failure::usage("a mount without a target sends nothing; leave --send out"));
        }
        if replication.keep_image == KeepImage::Auto && !is_local {
            return Err(Failure::usage(
                "--keep-image is for a target that is a directory; give it to 'replfs target' there",
            ));
        }
        let target_text = match &trust {
            Some(Trust::Peer(peer)) => peer.name.clone(),
            _ => text,
        };
        Ok(Self { name: name(args, dir.as_deref())?, target, target_text, trust })
    }
}

/// Whether a commit mode can be kept where writes are gathered so.
pub(super) fn check_cache(cache: CacheMode, mode: CommitMode) -> Result<(), Failure> {
    if (cache, mode) == (CacheMode::Writeback, CommitMode::Remote) {
        let text = "commit=remote asks the target before a write returns, and with cache=writeback that is long over when it gets there; take sync, or mount with \
            cache=through";
        return Err(Failure::usage(text));
    }
    Ok(())
}

/// What `--target` says, or the file that stands for it.
fn target_text(args: &MountArgs) -> Result<String, Failure> {
    let replication = &args.replication;
    match (replication.target.as_slice(), &replication.target_file) {
        ([one], None) => Ok(one.clone()),
        ([], Some(file)) => {
            let text = std::fs::read_to_string(file)
                .map_err(|e| Failure::usage(format!("--target-file {}: {}", file.display(), reason(&e))))?;
            Ok(text.trim().to_owned())
        }
        ([], None) => Err(Failure::usage("no target; give --target PEER, INVITE, HOST[:7420] or DIRECTORY/ (or none)")),
        ([_], Some(_)) => Err(Failure::usage("--target and --target-file say the same thing; give one of them")),
        _ => Err(Failure::usage("more than one target does not exist yet; give one")),
    }
}

/// Whether the target is an invitation that was not used here yet.
pub(super) fn is_unused_invitation(args: &MountArgs) -> Result<bool, Failure> {
    let text = target_text(args)?;
    let places = Places::find(&args.replication.state)?;
    Ok(Invitation::is_meant(&text) && pair::used(&*peers::known(&places)?, &pair::parse(&text)?).is_none())
}

/// A mount whose target is an invitation uses it, if that was not done before.
pub(super) fn use_invitation(args: &MountArgs) -> Result<(), Failure> {
    let text = target_text(args)?;
    if !Invitation::is_meant(&text) {
        return Ok(());
    }
    let replication = &args.replication;
    let places = Places::find(&replication.state)?;
    let peer = pair::ensure(&places, &pair::parse(&text)?, None, replication.connect_timeout)?;
    eprintln!("replfs: the target is known as '{}' ({}); --target {0} will do from now on", peer.name, peer.key);
    Ok(())
}

/// NAME as it was given, or the directory that the target gave, or the last part of SRC.
fn name(args: &MountArgs, dir: Option<&str>) -> Result<Name, Failure> {
    let given = match (&args.replication.name, dir) {
        (Some(name), _) => name.clone(),
        (None, Some(dir)) => dir.into(),
        (None, None) => std::path::absolute(&args.src)
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
        let state = std::env::temp_dir().join(format!("replfs-asked-{}", std::process::id()));
        let words: Vec<_> =
            format!("replfs mount {line} --state {}", state.display()).split(' ').map(OsString::from).collect();
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
        assert!(asked("/s /m --target host").unwrap_err().message.contains("replfs target invite"));
        assert!(asked(&format!("/s /m --target host --target-key {KEY}")).unwrap().trust.is_some());
        assert!(asked("/s /m --target host --target-key SHA256:abc").unwrap_err().message.contains("SHA256:abc"));
        assert!(asked(&format!("/s /m --target /r/ --target-key {KEY}")).is_err());
    }

    #[test]
    fn nothing_is_held_where_an_application_would_wait_for_it() {
        for mode in ["sync", "near", "remote"] {
            for line in ["--send size=1MiB", "--send age=5m", "--send 22:00-06:00", "--send age=5m --send 22:00-06:00"]
            {
                let told = asked(&format!("/s /m --target /r/ --commit {mode} {line}")).unwrap_err().message;
                assert!(told.contains("--send") && told.contains(mode) && told.contains("--commit real"), "{told}");
            }
            assert!(asked(&format!("/s /m --target /r/ --commit {mode} --send now")).is_ok());
        }
        assert!(asked("/s /m --target /r/ --commit local --send age=5m --send 22:00-06:00").is_ok());
        assert!(asked("/s /m --target none --commit real --send age=5m").unwrap_err().message.contains("--send"));
    }

    #[test]
    fn images_are_asked_for_where_the_replica_is() {
        let text = format!("/s /m --target host --target-key {KEY} --keep-image auto");
        assert!(asked(&text).unwrap_err().message.contains("'replfs target'"));
        assert!(asked("/s /m --target /r/ --keep-image auto").is_ok());
    }

    #[test]
    fn what_is_gathered_cannot_be_proposed() {
        let error = asked("/s /m --target /r/ --cache writeback --commit remote").unwrap_err();
        assert!(error.message.contains("cache=through"), "{error}");
        assert!(asked("/s /m --target /r/ --cache writeback").is_ok());
        assert!(asked("/s /m --target /r/ --cache through --commit remote").is_ok());
    }

    #[test]
    fn a_backlog_that_holds_nothing_is_refused() {
        assert!(asked("/s /m --target /r/ --backlog 8191KiB").unwrap_err().message.contains("8MiB"));
        assert!(asked("/s /m --target /r/ --backlog 8MiB").is_ok());
    }
}
