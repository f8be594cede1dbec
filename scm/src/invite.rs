//! Invitations: one string that tells a node where a target is, by which key it is recognised, and the secret that makes
//! the two known to each other. Who gave it out and what it is good for is the target's to know (`peers`).
//!
//! The string is `replfs1-` and, in base64 for URLs without padding:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..32 | fingerprint of the target |
//! | 32..40 | number of the invitation, little endian |
//! | 40..56 | secret |
//! | 56..n | where the target is: HOST:PORT as for `--target` |
//! | n..n+4 | CRC-32C of what is before it, little endian |

use crate::key::Fingerprint;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;

/// What every invitation of this version begins with.
pub const PREFIX: &str = "replfs1-";

/// Bytes before the address.
const FIXED: usize = 56;
const CRC_BYTES: usize = 4;
/// Longest address: the longest name of a host and a port.
const LONGEST_ADDRESS: usize = 260;

/// An invitation.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Where the target is: HOST:PORT.
    pub address: String,
    /// By which key it is recognised.
    pub target: Fingerprint,
    /// Which of its invitations this is.
    pub number: u64,
    /// Who knows this is who was invited.
    pub secret: [u8; 16],
}

/// The secret is nobody's business.
impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("address", &self.address)
            .field("target", &self.target)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Why a string is not an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInvitation {
    /// It does not begin like one.
    #[error("not an invitation; 'replfs target invite' on the target prints one (it begins with {PREFIX})")]
    Prefix,
    /// Something is missing or was changed on the way.
    #[error(
        "the invitation was cut short or changed on the way; copy the whole line that 'replfs target invite' printed"
    )]
    Damaged,
}

impl Invitation {
    /// Whether a string is meant to be one: no host is called so.
    pub fn is_meant(text: &str) -> bool {
        text.trim().starts_with(PREFIX)
    }

    /// Reads what [`fmt::Display`] writes; space around it is passed over.
    pub fn parse(text: &str) -> Result<Self, BadInvitation> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(BadInvitation::Prefix)?;
        if encoded.len() > (FIXED + LONGEST_ADDRESS + CRC_BYTES).div_ceil(3) * 4 {
            return Err(BadInvitation::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| BadInvitation::Damaged)?;
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(BadInvitation::Damaged)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(BadInvitation::Damaged);
        }
        let (target, rest) = body.split_first_chunk::<32>().ok_or(BadInvitation::Damaged)?;
        let (number, rest) = rest.split_first_chunk::<8>().ok_or(BadInvitation::Damaged)?;
        let (secret, address) = rest.split_first_chunk::<16>().ok_or(BadInvitation::Damaged)?;
        let address = std::str::from_utf8(address).map_err(|_| BadInvitation::Damaged)?;
        let has_port =
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !has_port || address.len() > LONGEST_ADDRESS {
            return Err(BadInvitation::Damaged);
        }
        Ok(Self {
            address: address.to_owned(),
            target: Fingerprint::from_bytes(*target),
            number: u64::from_le_bytes(*number),
            secret: *secret,
        })
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(FIXED + self.address.len() + CRC_BYTES);
        bytes.extend_from_slice(&self.target.to_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(self.address.as_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn some(address: &str) -> Invitation {
        Invitation {
            address: address.to_owned(),
            target: Fingerprint::from_bytes([7; 32]),
            number: u64::MAX - 1,
            secret: [9; 16],
        }
    }

    #[test]
    fn what_is_printed_is_read_and_fits_into_options_and_shells() {
        for address in ["backup:7420", "[fe80::1%eth0]:1", &format!("{}:65535", "h".repeat(253))] {
            let text = some(address).to_string();
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{text}");
            assert!(Invitation::is_meant(&text));
            assert_eq!(Invitation::parse(&format!(" {text}\n")).unwrap(), some(address));
        }
    }

    #[test]
    fn the_string_of_version_1_is_frozen() {
        let text =
            "replfs1-BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwf-_________wkJCQkJCQkJCQkJCQkJCQliYWNrdXA6NzQyMDUxVak";
        assert_eq!(some("backup:7420").to_string(), text);
        assert_eq!(Invitation::parse(text).unwrap(), some("backup:7420"));
    }

    #[test]
    fn one_letter_more_less_or_other_is_noticed() {
        let text = some("backup:7420").to_string();
        for at in PREFIX.len()..text.len() {
            assert_eq!(Invitation::parse(&text[..at]), Err(BadInvitation::Damaged), "cut at {at}");
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(Invitation::parse(std::str::from_utf8(&other).unwrap()), Err(BadInvitation::Damaged), "at {at}");
        }
        assert_eq!(Invitation::parse(&(text + "A")), Err(BadInvitation::Damaged));
        assert_eq!(Invitation::parse("backup:7420"), Err(BadInvitation::Prefix));
        assert_eq!(Invitation::parse(""), Err(BadInvitation::Prefix));
    }

    #[test]
    fn an_address_without_a_port_is_none() {
        for address in ["", ":", "backup", "backup:", ":7420", "backup:65536"] {
            assert_eq!(Invitation::parse(&some(address).to_string()), Err(BadInvitation::Damaged), "{address}");
        }
    }

    #[test]
    fn the_secret_is_not_in_what_is_logged() {
        let shown = format!("{:?}", some("backup:7420"));
        assert!(shown.contains("backup") && !shown.contains("secret") && !shown.contains("[9"), "{shown}");
    }
}
