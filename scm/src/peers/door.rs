//! A target daemon's answers to its listener: who is known for its ROOT, by pairing or by the command line.

use super::{Grant, Peers, Store, now};
use crate::door::Door;
use crate::key::Fingerprint;
use crate::keyring::{self, Keyring, Keys};
use std::sync::Arc;

/// What a known node may do with a ROOT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Keys that it had before: what belongs to them belongs to it.
    pub former: Vec<Fingerprint>,
    /// Its directories; `None`: any that nobody else has (a key of the command line).
    pub grants: Option<Vec<Grant>>,
}

/// The door of one ROOT.
#[derive(Debug)]
pub struct PeerDoor {
    /// ROOT, absolute.
    root: String,
    store: Arc<Store>,
    /// Keys of the command line.
    allowed: Vec<Fingerprint>,
    keys: Keys,
}

impl PeerDoor {
    /// Of `root`, for the node with these keys.
    pub fn new(root: String, store: Arc<Store>, allowed: Vec<Fingerprint>, keys: Keys) -> Arc<Self> {
        Arc::new(Self { root, store, allowed, keys })
    }

    /// Who is known.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// ROOT as it is written down.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// This node's keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What the node with this key may do; `None`: nothing.
    pub fn rights(&self, key: Fingerprint) -> Option<Rights> {
        let peers = self.peers();
        let peer = peers.by_key(key);
        // Whoever comes with a new key for the first time still owns by the one before.
        let former = peer.map_or_else(Vec::new, |peer| {
            peer.former.iter().chain([&peer.key]).filter(|had| **had != key).copied().collect()
        });
        if self.allowed.contains(&key) {
            return Some(Rights { former, grants: None });
        }
        let grants: Vec<_> = peer?.grants.iter().filter(|grant| grant.root == self.root).cloned().collect();
        (!grants.is_empty()).then_some(Rights { former, grants: Some(grants) })
    }

    /// What cannot be read lets nobody in.
    fn peers(&self) -> Arc<Peers> {
        self.store.get().unwrap_or_else(|error| {
            tracing::error!(event = "peers", %error, "who is known cannot be read: nobody who was paired is let in");
            Arc::default()
        })
    }
}

impl Door for PeerDoor {
    fn keyring(&self) -> Arc<Keyring> {
        self.keys.get()
    }

    fn knows(&self, key: Fingerprint) -> bool {
        self.rights(key).is_some()
    }

    fn pairs(&self) -> bool {
        let now = now();
        self.peers().invitations.iter().any(|open| open.grant.root == self.root && open.expires > now)
    }

    fn met(&self, peer: Fingerprint, expects: Option<Fingerprint>, next: Option<Fingerprint>) {
        let keyring = self.keyring();
        let expects = expects.filter(|key| *key == keyring.fingerprint() || Some(*key) == keyring.previous());
        if let Err(error) = note(&self.store, &self.keys, |peers| peers.met(peer, next, expects)) {
            tracing::error!(event = "peers", %error, "what a peer announced cannot be written down; it is asked again");
        }
    }
}

/// Writes down what a meeting brought, where it is new; a previous key that nobody needs any more goes.
pub(super) fn note(store: &Store, keys: &Keys, meet: impl Fn(&mut Peers) -> bool) -> Result<(), super::PeersError> {
    // A look first: most meetings bring nothing, and need no lock.
    let mut peers = Peers::clone(&*store.get()?);
    if !meet(&mut peers) {
        return Ok(());
    }
    store.change(|peers| meet(peers))?;
    let keyring = keys.get();
    if keyring.previous().is_some() && store.all_know(keyring.fingerprint())? {
        match keyring::forget_previous(keys.place()) {
            Ok(()) => {
                keys.reload();
                tracing::info!(event = "key-rotated", "every peer knows the new key; the one before is removed");
            }
            Err(error) => {
                tracing::error!(event = "keys", %error, "the key before, which nobody needs any more, cannot be removed");
            }
        }
    }
    Ok(())
}
