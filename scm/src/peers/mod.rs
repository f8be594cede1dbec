//! Who is known to this node, and what for: `peers.json` in the state directory, the only place where that is written down. Here is
//! what is in it; `store` reads and writes it, `door` and `target` answer from it while a daemon runs.
//!
//! One peer is one other node, by its key. It may be a source to this node (grants: which directories below which ROOT are
//! its), a target (where it is, and which directory it gave), or both. An invitation is not yet anybody's.

mod door;
mod store;
mod target;

pub use door::{PeerDoor, Rights};
pub use store::{PeersError, Store};
pub use target::PeerTarget;

use crate::invite::Invitation;
use crate::key::Fingerprint;
use serde::{Deserialize, Serialize};

/// Wrong secrets that an invitation survives, less one.
pub const MOST_TRIES: u32 = 5;

/// The content of `peers.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Nodes that are known.
    pub peers: Vec<Peer>,
    /// Invitations that are open.
    #[serde(default)]
    pub invitations: Vec<Open>,
}

/// A node that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// What it is called here.
    pub name: String,
    /// Its key.
    pub key: Fingerprint,
    /// The key that it has announced; it takes the place of the first when it is shown.
    #[serde(default)]
    pub next: Option<Fingerprint>,
    /// Keys that it had before, oldest first.
    #[serde(default)]
    pub former: Vec<Fingerprint>,
    /// By which of this node's keys it knows this node.
    pub ours: Fingerprint,
    /// When it was made known: seconds since 1970.
    pub paired: u64,
    /// What it may write here.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// What this node may write there.
    #[serde(default)]
    pub places: Vec<TargetPlace>,
}

/// A directory of this node that is a peer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// ROOT, absolute.
    pub root: String,
    /// The directory below it.
    pub dir: String,
    /// How many bytes it may hold; no bound of its own where it is not said.
    #[serde(default)]
    pub quota: Option<u64>,
    /// The replica that is there may have been that of another key.
    #[serde(default)]
    pub take_over: bool,
}

/// A directory of a peer that is this node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetPlace {
    /// HOST:PORT.
    pub address: String,
    /// The directory there: NAME of the mount.
    pub dir: String,
    /// Which directory is replicated to it, once that is known.
    #[serde(default)]
    pub src: Option<String>,
    /// Which invitation it came from.
    pub invitation: u64,
}

impl TargetPlace {
    /// Host, without brackets, and port; `None` where the address is neither `HOST:PORT` nor `[V6]:PORT`.
    pub fn host_and_port(&self) -> Option<(String, u16)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
    }
}

/// An invitation that nobody has used yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Its number.
    pub number: u64,
    /// SHA-256 of its secret.
    pub secret: Fingerprint,
    /// What it is for.
    pub grant: Grant,
    /// What whoever comes with it will be called; chosen by him where it is not said.
    #[serde(default)]
    pub name: Option<String>,
    /// When it dies: seconds since 1970.
    pub expires: u64,
    /// Wrong secrets so far.
    pub tries: u32,
}

/// Why nobody is paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPaired {
    /// It is not there: spent, over, or never given out. Which of them is nobody's business who does not know its secret.
    #[error(
        "this invitation is not open (any more): it is spent, its time is over, or it was withdrawn; 'replfs target invite' on the target gives a new one"
    )]
    NotOpen,
    /// The secret is wrong.
    #[error("this is not the secret of that invitation; copy the whole line that 'replfs target invite' printed")]
    Secret,
    /// It was that once too often.
    #[error(
        "this is not the secret of that invitation, and it was tried too often: it is withdrawn; 'replfs target invite' on the target gives a new one"
    )]
    Withdrawn,
    /// The directory was given to somebody else meanwhile.
    #[error("the directory of this invitation was given to another node meanwhile; invite again for another one")]
    Taken,
}

/// Seconds since 1970.
pub fn now() -> u64 {
    platform::sys::now_ns() / 1_000_000_000
}

/// What tells a secret without giving it away.
fn digest(secret: &[u8]) -> Fingerprint {
    Fingerprint::of_bytes(secret)
}

impl Peer {
    /// Whether it is recognised by this key.
    pub fn has(&self, key: Fingerprint) -> bool {
        self.key == key || self.next == Some(key)
    }

    /// The key it is to have from now on takes the place of the one that it has.
    fn promote(&mut self, key: Fingerprint) {
        if self.next == Some(key) && self.key != key {
            self.former.push(self.key);
            self.key = key;
            self.next = None;
        }
    }
}

impl Peers {
    /// The peer with this name.
    pub fn named(&self, name: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// The peer that is recognised by this key.
    pub fn by_key(&self, key: Fingerprint) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.has(key))
    }

    fn by_key_mut(&mut self, key: Fingerprint) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.has(key))
    }

    /// Who has a directory of this node.
    pub fn owner(&self, root: &str, dir: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.grants.iter().any(|grant| grant.root == root && grant.dir == dir))
    }

    /// A name like `wanted` that nobody has; of what a stranger says only what can be shown is taken.
    pub fn free_name(&self, wanted: &str) -> String {
        let plain: String = wanted
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            .skip_while(|c| !c.is_ascii_alphanumeric())
            .take(64)
            .collect();
        let plain = if plain.is_empty() { "peer".to_owned() } else { plain };
        let numbered = (2..).map(|n: u64| format!("{plain}-{n}"));
        std::iter::once(plain.clone()).chain(numbered).find(|name| self.named(name).is_none()).unwrap_or(plain)
    }

    /// Forgets invitations whose time is over.
    pub fn expire(&mut self, now: u64) {
        self.invitations.retain(|open| open.expires > now);
    }

    /// Opens an invitation.
    pub fn invite(&mut self, number: u64, secret: &[u8; 16], grant: Grant, name: Option<String>, expires: u64) {
        let secret = digest(secret);
        self.invitations.push(Open { number, secret, grant, name, expires, tries: 0 });
    }

    /// Somebody with the key `peer`, who calls himself `name`, comes with an invitation to `root`, and knows this node by `ours`. Where
    /// the secret is right it is spent, and its directory is his. A wrong one is counted, and the fifth withdraws it.
    pub fn pair(
        &mut self,
        root: &str,
        number: u64,
        secret: &[u8; 16],
        (peer, name): (Fingerprint, &str),
        ours: Fingerprint,
        now: u64,
    ) -> Result<Grant, NotPaired> {
        self.expire(now);
        let at = self.invitations.iter().position(|open| open.number == number && open.grant.root == root);
        let at = at.ok_or(NotPaired::NotOpen)?;
        if self.invitations[at].secret != digest(secret) {
            self.invitations[at].tries += 1;
            if self.invitations[at].tries < MOST_TRIES {
                return Err(NotPaired::Secret);
            }
            self.invitations.remove(at);
            return Err(NotPaired::Withdrawn);
        }
        let Open { grant, name: called, .. } = self.invitations.remove(at);
        if self.owner(root, &grant.dir).is_some_and(|owner| !owner.has(peer)) {
            return Err(NotPaired::Taken);
        }
        let free = self.free_name(called.as_deref().unwrap_or(name));
        let known = self.know(peer, free, ours, now);
        known.ours = ours;
        known.grants.retain(|had| (had.root.as_str(), had.dir.as_str()) != (root, grant.dir.as_str()));
        known.grants.push(grant.clone());
        Ok(grant)
    }

    /// This node was let in by an invitation: the target is known, with the name that it has, or a free one.
    pub fn paired_with(
        &mut self,
        invitation: &Invitation,
        name: &str,
        dir: &str,
        ours: Fingerprint,
        now: u64,
    ) -> &Peer {
        let free = self.free_name(name);
        let known = self.know(invitation.target, free, ours, now);
        known.ours = ours;
        known.places.retain(|place| place.dir != dir);
        known.places.push(TargetPlace {
            address: invitation.address.clone(),
            dir: dir.to_owned(),
            src: None,
            invitation: invitation.number,
        });
        known
    }

    fn know(&mut self, key: Fingerprint, name: String, ours: Fingerprint, now: u64) -> &mut Peer {
        let at = self.peers.iter().position(|peer| peer.has(key)).unwrap_or_else(|| {
            let (grants, places, former) = (Vec::new(), Vec::new(), Vec::new());
            self.peers.push(Peer { name, key, next: None, former, ours, paired: now, grants, places });
            self.peers.len() - 1
        });
        &mut self.peers[at]
    }

    /// A known node came with `key`, announced `next`, and expected our key `expects`, of those that this node has. Whether anything is new.
    fn met(&mut self, key: Fingerprint, next: Option<Fingerprint>, expects: Option<Fingerprint>) -> bool {
        let taken = next.is_some_and(|next| self.by_key(next).is_some_and(|other| !other.has(key)));
        let Some(peer) = self.by_key_mut(key) else { return false };
        let before = peer.clone();
        peer.promote(key);
        // The key of another node is not taken over by announcing it.
        if let Some(next) = next.filter(|next| *next != peer.key && !taken && !peer.former.contains(next)) {
            peer.next = Some(next);
        }
        if let Some(ours) = expects {
            peer.ours = ours;
        }
        *peer != before
    }
}

#[cfg(test)]
mod tests;
