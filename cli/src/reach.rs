//! How a target on the network is reached and recognised: what `--target`, `--from` and `--target-key` say, together with who is known.

use crate::args::target_name::TargetPlace;
use crate::exit::Failure;
use crate::pairing::pair;
use crate::state::Places;
use crate::{keys, peers};
use parking_lot::Mutex;
use scm::client::{Known, Pinned, QuicDialer};
use scm::invite::Invitation;
use scm::key::Fingerprint;
use scm::keyring::{Keyring, Keys};
use scm::path::Paths;
use scm::peers::{Peer, PeerTarget, Store};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// By what a target is recognised.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The fingerprint that the words give.
    Key(Fingerprint),
    /// What is known of a peer.
    Peer(Box<Peer>),
}

/// A target as the words name it.
#[derive(Debug)]
pub struct Found {
    /// Where it is.
    pub place: TargetPlace,
    /// Of one on the network.
    pub trust: Option<Trust>,
    /// The directory that is ours there, where that is known.
    pub dir: Option<String>,
}

/// Reads a target: an invitation that was used here, the name or the address of a peer, a host with its key, a directory.
/// `wanted` picks among several directories of one peer.
pub fn find(
    places: &Places,
    text: &str,
    key: Option<&str>,
    wanted: impl Fn(&scm::peers::TargetPlace) -> bool,
) -> Result<Found, Failure> {
    let key = key.map(|key| keys::fingerprint("target-key", key)).transpose()?;
    if Invitation::is_meant(text) {
        let invitation = pair::parse(text)?;
        let peers = peers::known(places)?;
        let peer = pair::used(&peers, &invitation).ok_or_else(|| {
            Failure::usage("this invitation was not used here yet; 'replfs pair INVITE' or a mount with it does")
        })?;
        return of_peer(peer, |place| place.invitation == invitation.number);
    }
    let place = TargetPlace::parse(text)?;
    match (&place, key) {
        (TargetPlace::Remote { .. }, Some(key)) => Ok(Found { place, trust: Some(Trust::Key(key)), dir: None }),
        (TargetPlace::Remote { .. }, None) => {
            let peers = peers::known(places)?;
            let address = place.to_string();
            let named = peers.named(text).filter(|peer| !peer.places.is_empty());
            let at = || peers.peers.iter().find(|peer| peer.places.iter().any(|place| place.address == address));
            match named.or_else(at) {
                Some(peer) => of_peer(peer.clone(), wanted),
                None => Err(Failure::usage(format!(
                    "target '{text}' is not known here; 'replfs target invite' on it prints what to give as --target once (or give \
                     --target-key: 'replfs key' there prints it)"
                ))),
            }
        }
        (TargetPlace::None, Some(_)) => Err(Failure::usage("target 'none' has no key; leave --target-key out")),
        (TargetPlace::Local(_), Some(_)) => Err(Failure::usage(format!(
            "target '{text}' is a directory of this machine and has no key; leave --target-key out, or name a host"
        ))),
        (TargetPlace::None | TargetPlace::Local(_), None) => Ok(Found { place, trust: None, dir: None }),
    }
}

/// A directory of a peer: the one that is wanted, else the only one, else none in particular.
fn of_peer(peer: Peer, wanted: impl Fn(&scm::peers::TargetPlace) -> bool) -> Result<Found, Failure> {
    let free: Vec<_> = peer.places.iter().filter(|place| place.src.is_none()).collect();
    let picked = peer.places.iter().find(|place| wanted(place));
    let picked = picked.or(if free.len() == 1 { free.first().copied() } else { None });
    let Some(place) = picked.or(peer.places.last()) else {
        return Err(Failure::usage(format!(
            "'{}' is no target of this node; 'replfs target invite' on it makes it one",
            peer.name
        )));
    };
    let (address, dir) = (TargetPlace::parse(&place.address)?, picked.map(|place| place.dir.clone()));
    Ok(Found { place: address, trust: Some(Trust::Peer(Box::new(peer))), dir })
}

/// What connects to a target on the network.
pub struct Reach {
    /// For sessions and for reading.
    pub dialer: QuicDialer,
    /// The same target, where it is a peer.
    peer: Option<Arc<PeerTarget>>,
    /// Where it was when that was last looked at.
    place: Mutex<Option<(String, u16)>>,
    /// Network paths that could not begin where they should, and why.
    pub missing: Vec<(String, String)>,
}

impl Reach {
    /// The target at `host` and `port`.
    pub fn new(
        (host, port): (String, u16),
        trust: &Trust,
        places: &Places,
        keyring: Keyring,
        timeout: Duration,
    ) -> Self {
        let (known, peer): (Arc<dyn Known>, _) = match trust {
            Trust::Key(key) => (Pinned::new(*key, Arc::new(keyring)), None),
            Trust::Peer(peer) => {
                let store = Arc::new(Store::new(places.state()));
                let at = (host.clone(), port);
                let target = PeerTarget::new(store, Keys::new(places.keys(), keyring), peer, &at);
                (Arc::clone(&target) as Arc<_>, Some(target))
            }
        };
        let place = Mutex::new(known.place());
        Self { dialer: QuicDialer::new(host, port, known, timeout), peer, place, missing: Vec::new() }
    }

    /// The same over these network paths; none: over the one that the system chooses.
    #[must_use]
    pub fn over(mut self, paths: &[scm::path::Path]) -> Self {
        if !paths.is_empty() {
            let paths = Paths::new(paths.to_vec());
            self.missing = paths.missing();
            self.dialer = self.dialer.over(paths);
        }
        self
    }

    /// Who is known, where they are, or this node's key, may have changed.
    pub fn peers_changed(&self) {
        if let Some(peer) = &self.peer {
            let place = peer.place();
            let moved = std::mem::replace(&mut *self.place.lock(), place.clone()) != place;
            if peer.keys().reload() || moved {
                self.dialer.begin_anew();
            }
        }
        self.dialer.recheck();
    }
}

/// From now on this is what is replicated to that directory of the peer.
pub fn bind(places: &Places, trust: &Trust, dir: &str, src: &Path) -> Result<(), Failure> {
    let (Trust::Peer(peer), Some(src)) = (trust, src.to_str()) else { return Ok(()) };
    let bound = peers::store(places)?.change(|peers| {
        let places = peers.peers.iter_mut().filter(|known| known.name == peer.name).flat_map(|known| &mut known.places);
        for place in places.filter(|place| place.dir == dir) {
            place.src = Some(src.to_owned());
        }
    });
    bound.map_err(peers::failure)
}
