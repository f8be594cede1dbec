//! A source's answers to what connects it to a target: how the target is recognised, and by which key this node shows itself, both as they
//! are while rotations and revocations happen.

use super::door::note;
use super::{Peer, Store, TargetPlace};
use crate::ScmError;
use crate::client::Known;
use crate::key::Fingerprint;
use crate::keyring::{Keyring, Keys};
use parking_lot::Mutex;
use std::sync::Arc;

/// A target that was paired with.
#[derive(Debug)]
pub struct PeerTarget {
    store: Arc<Store>,
    keys: Keys,
    /// The directory there whose address is followed.
    dir: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The last key that it is known to be recognised by.
    key: Fingerprint,
    /// What it was last called.
    name: String,
    /// Keys of ours that it did not know since it last let this node in.
    unknown: Vec<Fingerprint>,
    /// One of ours that it is shown instead of what is written down.
    instead: Option<Fingerprint>,
}

impl PeerTarget {
    /// The target that is known as `peer` and was said to be at `place`.
    pub fn new(store: Arc<Store>, keys: Keys, peer: &Peer, place: &(String, u16)) -> Arc<Self> {
        let there = |known: &&TargetPlace| known.host_and_port().as_ref() == Some(place);
        let dir = peer.places.iter().find(there).map(|known| known.dir.clone());
        let state = State { key: peer.key, name: peer.name.clone(), unknown: Vec::new(), instead: None };
        Arc::new(Self { store, keys, dir, state: Mutex::new(state) })
    }

    /// This node's keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The peer as it is written down now.
    fn peer(&self) -> Option<Peer> {
        let peers = self.store.get().inspect_err(|error| {
            tracing::error!(event = "peers", %error, "who is known cannot be read");
        });
        let mut state = self.state.lock();
        let known = |peer: &&Peer| !peer.places.is_empty() && (peer.has(state.key) || peer.former.contains(&state.key));
        let peer = peers.ok()?.peers.iter().find(known)?.clone();
        state.key = peer.key;
        state.name.clone_from(&peer.name);
        Some(peer)
    }
}

impl Known for PeerTarget {
    fn keyring(&self) -> Arc<Keyring> {
        self.keys.get()
    }

    fn place(&self) -> Option<(String, u16)> {
        let dir = self.dir.as_ref()?;
        self.peer()?.places.iter().find(|place| place.dir == *dir)?.host_and_port()
    }

    fn expected(&self) -> Result<Vec<Fingerprint>, ScmError> {
        match self.peer() {
            Some(peer) => Ok(peer.next.into_iter().chain([peer.key]).collect()),
            None => Err(ScmError::Revoked { target: self.state.lock().name.clone() }),
        }
    }

    fn ours(&self) -> Option<Fingerprint> {
        let instead = self.state.lock().instead;
        instead.or_else(|| self.peer().map(|peer| peer.ours))
    }

    fn met(&self, shown: Fingerprint, next: Option<Fingerprint>) {
        if let Err(error) = note(&self.store, &self.keys, |peers| peers.met(shown, next, None)) {
            tracing::error!(event = "peers", %error, "the new key of the target cannot be written down; it is asked again");
        }
    }

    fn welcomed(&self) -> bool {
        let keyring = self.keyring();
        let (key, instead) = {
            let mut state = self.state.lock();
            state.unknown.clear();
            (state.key, state.instead.take())
        };
        let ours = keyring.fingerprint();
        // One that did not know the present key though it had been told is not told again and again.
        let is_new = instead.is_none() && self.peer().is_some_and(|peer| peer.ours != ours);
        if let Err(error) = note(&self.store, &self.keys, |peers| peers.met(key, None, Some(ours))) {
            tracing::error!(event = "peers", %error, "that the target knows the new key cannot be written down");
            return false;
        }
        is_new
    }

    fn unknown(&self, ours: Fingerprint) -> bool {
        let keyring = self.keyring();
        let mut state = self.state.lock();
        if !state.unknown.contains(&ours) {
            state.unknown.push(ours);
        }
        let other = [Some(keyring.fingerprint()), keyring.previous()].into_iter().flatten();
        state.instead = other.into_iter().find(|key| !state.unknown.contains(key));
        state.instead.is_some()
    }
}
