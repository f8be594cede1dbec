//! `replfs pair`, and a mount that is given an invitation for its target.

use super::{host_name, is_dir_name};
use crate::args::peers::PairArgs;
use crate::args::target_name::TargetPlace;
use crate::exit::{Code, Failure};
use crate::state::Places;
use crate::{keys, out, peers};
use protocol::{Pair, VERSION};
use scm::client::{Pinned, QuicDialer};
use scm::invite::Invitation;
use scm::pair::PairError;
use scm::peers::{Peer, now};
use serde_json::json;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Longest invitation that is read, in bytes.
const LONGEST: u64 = 4096;

/// Runs the command.
pub fn run(args: &PairArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    let text = if args.invitation == "-" { from_input()? } else { args.invitation.clone() };
    let invitation = parse(&text)?;
    let before = used(&*peers::known(&places)?, &invitation).is_some();
    let peer = ensure(&places, &invitation, args.name.as_deref(), args.connect_timeout)?;
    let dir = peer.places.iter().find(|place| place.invitation == invitation.number).map_or("", |place| &place.dir);
    if args.json {
        return out::line(
            &json!({
                "version": 1, "before": before, "peer": peer.name, "fingerprint": peer.key, "address": invitation.address, "dir": dir,
            })
            .to_string(),
        );
    }
    let what = if before { "this invitation was used here before; it is of" } else { "paired with" };
    out::line(&format!("{what} {} ({}) at {}, directory {dir}", peer.name, peer.key, invitation.address))?;
    out::line(&format!("  mount with: mount.replfs SRC MNT --target {}", peer.name))
}

fn from_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(LONGEST)
        .read_to_string(&mut text)
        .map_err(|e| Failure::io(Code::System, "cannot read standard input", &e))?;
    Ok(text)
}

/// An invitation as it was given.
pub fn parse(text: &str) -> Result<Invitation, Failure> {
    Invitation::parse(text).map_err(|error| Failure::usage(error.to_string()))
}

/// The target that this invitation is of; it is used now, unless it was before.
pub fn ensure(
    places: &Places,
    invitation: &Invitation,
    name: Option<&str>,
    timeout: Duration,
) -> Result<Peer, Failure> {
    if let Some(peer) = used(&*peers::known(places)?, invitation) {
        return Ok(peer);
    }
    let keyring = Arc::new(keys::load(places)?);
    let ours = keyring.fingerprint();
    let TargetPlace::Remote { host, port } = TargetPlace::parse(&invitation.address)? else {
        return Err(Failure::usage("the address in the invitation is none"));
    };
    let dialer = QuicDialer::new(host, port, Pinned::new(invitation.target, keyring), timeout).for_pairing();
    let asked = Pair {
        version: VERSION,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        name: host_name(),
        invitation: invitation.number,
        secret: invitation.secret,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::io(Code::System, "cannot start what talks to the target", &e))?;
    let ack = runtime.block_on(scm::pair::ask(&dialer, asked)).map_err(|error| refused(&invitation.address, &error))?;
    // It says itself what it is called and which directory it gives: nothing is believed that cannot be written down.
    let dir = std::str::from_utf8(ack.dir.as_bytes()).ok().filter(|dir| is_dir_name(dir));
    let dir = dir.ok_or_else(|| Failure::new(Code::NotPaired, "the target gave a directory whose name is none"))?;
    let peer = peers::store(places)?
        .change(|peers| peers.paired_with(invitation, name.unwrap_or(&ack.name), dir, ours, now()).clone());
    let peer = peer.map_err(peers::failure)?;
    peers::tell_daemons(places);
    Ok(peer)
}

/// The peer that an invitation made, where it was used on this node.
pub fn used(peers: &scm::peers::Peers, invitation: &Invitation) -> Option<Peer> {
    let made = |peer: &&Peer| {
        let theirs = peer.has(invitation.target) || peer.former.contains(&invitation.target);
        theirs && peer.places.iter().any(|place| place.invitation == invitation.number)
    };
    peers.peers.iter().find(made).cloned()
}

fn refused(address: &str, error: &PairError) -> Failure {
    let code = match error {
        // A target that lets no stranger in has no invitation open.
        PairError::Scm(scm::ScmError::NotAllowed { .. }) => {
            let text = format!("{address}: {}", scm::peers::NotPaired::NotOpen);
            return Failure::new(Code::NotPaired, text);
        }
        PairError::Scm(scm::ScmError::Resolve { .. } | scm::ScmError::Unreachable { .. }) => Code::Unreachable,
        PairError::Scm(error) if error.is_about_keys() => Code::Key,
        PairError::Scm(_) => Code::System,
        PairError::Refused(_) | PairError::Lost(_) => Code::NotPaired,
    };
    Failure::new(code, format!("{address}: {error}"))
}
