//! What a target daemon answers to a node that comes with an invitation.

use super::{host_name, is_dir_name};
use protocol::{Name, Pair, PairAck, RefusalCode, Refused, VERSION};
use scm::door::Door;
use scm::key::Fingerprint;
use scm::pair;
use scm::peers::{PeerDoor, now};
use scm::server::Incoming;
use std::sync::Arc;

/// Serves a connection for pairing.
pub async fn serve(door: Arc<PeerDoor>, incoming: Incoming, software: &'static str) {
    let Incoming { peer, addr, expects, reader, writer, .. } = incoming;
    let judged = pair::answer(reader, writer, move |asked| judge(&door, peer, expects, &asked, software)).await;
    match judged {
        Ok(()) => tracing::info!(event = "paired", %peer, %addr, "a node was paired"),
        Err(reason) => tracing::warn!(event = "pair-refused", %peer, %addr, reason, "a node was not paired"),
    }
}

fn judge(
    door: &PeerDoor,
    peer: Fingerprint,
    expects: Option<Fingerprint>,
    asked: &Pair,
    software: &str,
) -> Result<PairAck, Refused> {
    let no = |code: RefusalCode, text: String| Refused { code, text };
    let keyring = door.keyring();
    let ours = expects.filter(|key| Some(*key) == keyring.previous()).unwrap_or_else(|| keyring.fingerprint());
    let paired = door
        .store()
        .change(|peers| peers.pair(door.root(), asked.invitation, &asked.secret, (peer, &asked.name), ours, now()));
    let grant = paired
        .map_err(|error| {
            tracing::error!(event = "peers", %error, "nobody can be paired");
            no(RefusalCode::Other, "the target cannot write down who is known; its log says why".to_owned())
        })?
        .map_err(|error| no(RefusalCode::Unknown, error.to_string()))?;
    let dir = Name::new(grant.dir.as_bytes()).ok().filter(|_| is_dir_name(&grant.dir));
    let dir = dir.ok_or_else(|| no(RefusalCode::Other, "the directory of this invitation is no name".to_owned()))?;
    Ok(PairAck { version: VERSION, software: software.to_owned(), name: host_name(), dir })
}
