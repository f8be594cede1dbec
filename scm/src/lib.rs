//! Source Communications Manager: keys, QUIC connections authenticated on both ends, the session that carries what a
//! [`session::Feed`] has to say, and the lanes beside it ([`lane::LaneFeed`]). It knows the protocol and nothing of files.

pub mod client;
pub mod fetch;
pub mod key;
pub mod lane;
pub mod server;
pub mod session;
mod tls;
mod transport;

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
    #[error("{target} has key {found}, expected {expected}; if the target was set up anew, give the new key")]
    WrongKey {
        /// Where.
        target: String,
        /// The fingerprint it showed.
        found: String,
        /// The fingerprint it should have.
        expected: String,
    },
    /// The other side does not know this node.
    #[error("{target} does not know this node's key {ours}; start it with --allow {ours}")]
    NotAllowed {
        /// Where.
        target: String,
        /// This node's fingerprint.
        ours: String,
    },
}
