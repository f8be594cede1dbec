//! Source Communications Manager: keys, QUIC connections authenticated on both ends, the session that carries what a
//! [`session::Feed`] has to say, the lanes beside it ([`lane::LaneFeed`]), and the network paths under both ([`path`]). It knows the protocol and nothing of files. [`stepped`] is for the simulator: what is sent, without
//! its connection.

mod answer;
pub mod client;
mod datagrams;
pub mod door;
pub mod fetch;
pub mod invite;
mod judge;
pub mod key;
pub mod keyring;
pub mod lane;
pub mod limit;
mod live;
pub mod outlet;
pub mod packing;
pub mod pair;
pub mod path;
pub mod peers;
mod sending;
pub mod server;
pub mod session;
pub mod socket;
pub mod stepped;
mod tls;
pub mod transport;

/// Why a connection could not be made or a listener not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ScmError {
    /// A socket could not be bound.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address.
        addr: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The key cannot be used for TLS.
    #[error("the node's key cannot be used: {0}")]
    Key(String),
    /// The name of a target could not be resolved.
    #[error("cannot resolve {host}: {reason}")]
    Resolve {
        /// As the user gave it.
        host: String,
        /// Why.
        reason: String,
    },
    /// No answer, or the connection broke.
    #[error("cannot reach {target}: {reason}")]
    Unreachable {
        /// Where.
        target: String,
        /// Why.
        reason: String,
    },
    /// The other side is not the one it should be.
    #[error(
        "{target} has key {found}, expected {expected}; either somebody else answers there, or it was set up anew: then pair with it again ('replfs target invite' there), or give its new key as --target-key"
    )]
    WrongKey {
        /// Where.
        target: String,
        /// The fingerprint it showed.
        found: String,
        /// The fingerprint it should have.
        expected: String,
    },
    /// No version of the protocol that both sides speak.
    #[error(
        "{peer} does not speak {ours}, the protocol of this side: it is another version of replfs, or something else; use the same release of replfs on both sides"
    )]
    OtherProtocol {
        /// Who.
        peer: String,
        /// What this side speaks.
        ours: String,
    },
    /// The other side does not know this node.
    #[error(
        "{target} does not know this node's key {ours}, or not any more; 'replfs target invite' there makes them known to each other (or start it with --allow {ours})"
    )]
    NotAllowed {
        /// Where.
        target: String,
        /// This node's fingerprint.
        ours: String,
    },
    /// This node does not know the other side any more.
    #[error(
        "{target} is not known here any more: it was revoked; pair with it again to go on ('replfs target invite' there)"
    )]
    Revoked {
        /// By which name it was known, or where it was.
        target: String,
    },
}

impl ScmError {
    /// Whether somebody has to do something about a key before another attempt makes sense.
    pub fn is_about_keys(&self) -> bool {
        matches!(self, Self::WrongKey { .. } | Self::NotAllowed { .. } | Self::Revoked { .. } | Self::Key(_))
    }
}

/// What a target amounts to that speaks another version of the protocol: this side is the one that stays out.
pub(crate) fn other_version(theirs: u8) -> protocol::Refused {
    let ours = protocol::VERSION;
    let text = format!("the target speaks protocol {theirs}, this source {ours}: use the same release on both sides");
    protocol::Refused { code: protocol::RefusalCode::Version, text }
}
