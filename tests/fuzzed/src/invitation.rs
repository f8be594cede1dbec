//! Invitations: a line that a person brings from one node to another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scm::invite::{Invitation, PREFIX};

/// Bit 0 of the first byte: the rest is the line. Otherwise it is what the line encodes, to which prefix, encoding and checksum are made.
pub fn invitation(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    let line = if which & 1 == 1 {
        let Ok(line) = std::str::from_utf8(rest) else { return };
        line.to_owned()
    } else {
        let crc = crc32c::crc32c(rest).to_le_bytes();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([rest, &crc].concat()))
    };
    match Invitation::parse(&line) {
        Ok(invitation) => {
            let written = invitation.to_string();
            let again = Invitation::parse(&written);
            assert!(again.is_ok_and(|again| again == invitation), "written and read again: {written}");
        }
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}
