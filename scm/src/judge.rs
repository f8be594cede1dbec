//! What the end of a connection says of the keys of both sides.

use crate::client::Known;
use crate::key::Fingerprint;
use crate::live::UNKNOWN;
use crate::{ScmError, tls};
use quinn::ConnectionError;
use std::sync::Arc;

/// Says what the end of a connection means.
pub(crate) struct Judge {
    pub target: String,
    pub alpn: &'static [u8],
    /// The key that was shown.
    pub ours: Fingerprint,
    pub known: Arc<dyn Known>,
}

impl Judge {
    /// Whether a connection was closed because the target does not accept this node's key: by a TLS alert, or later.
    pub fn refusal(&self, error: &ConnectionError) -> Option<ScmError> {
        let spoken = match error {
            ConnectionError::ConnectionClosed(close) => close.error_code != tls::no_protocol(),
            // Found here: the target chose nothing.
            ConnectionError::TransportError(found) => found.code != tls::no_protocol(),
            _ => true,
        };
        if !spoken {
            return Some(ScmError::OtherProtocol { peer: self.target.clone(), ours: tls::protocol(self.alpn) });
        }
        let unknown = match error {
            // RFC 9001, 4.8: a TLS alert arrives as 0x0100 plus the alert.
            ConnectionError::ConnectionClosed(close) => (0x100..0x200).contains(&u64::from(close.error_code)),
            ConnectionError::ApplicationClosed(close) => close.error_code == UNKNOWN,
            _ => false,
        };
        if !unknown {
            // Closed by this side, it is this side that does not know the other one any more.
            return matches!(error, ConnectionError::LocallyClosed).then(|| self.known.expected().err())?;
        }
        if self.known.unknown(self.ours) {
            let reason = "it does not know this key of ours; another one is shown to it".to_owned();
            return Some(ScmError::Unreachable { target: self.target.clone(), reason });
        }
        Some(ScmError::NotAllowed { target: self.target.clone(), ours: self.ours.to_string() })
    }

    /// Why a connection could not be made.
    pub fn broken(&self, error: &ConnectionError) -> ScmError {
        self.refusal(error)
            .unwrap_or_else(|| ScmError::Unreachable { target: self.target.clone(), reason: error.to_string() })
    }
}
