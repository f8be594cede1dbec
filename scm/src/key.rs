//! This node's key pair and fingerprints: who is who.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rcgen::{CertificateParams, KeyPair, PublicKeyData, SanType};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// SHA-256 of a public key's `SubjectPublicKeyInfo`; written as `SHA256:` and base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a public key: its `SubjectPublicKeyInfo`.
    pub(crate) fn of_spki(spki: &[u8]) -> Self {
        Self::of_bytes(spki)
    }

    /// Of any bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        Self(out)
    }

    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, for storage.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// 64 hexadecimal digits, where letters must not depend on case.
    pub(crate) fn to_hex(self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// From what [`Fingerprint::to_hex`] gives.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Not a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a fingerprint; 'replfs key' on the other node prints it (SHA256: and 43 characters)")]
pub struct BadFingerprint(String);

impl std::str::FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadFingerprint(text.to_owned());
        let encoded = text.strip_prefix("SHA256:").ok_or_else(bad)?.trim_end_matches('=');
        let bytes = STANDARD_NO_PAD.decode(encoded).map_err(|_| bad())?;
        Ok(Self(bytes.try_into().map_err(|_| bad())?))
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("key {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it.
    #[error("key {path} can be read by others (mode {mode:o}); run 'chmod 600 {path}'")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a key.
    #[error("key {path} does not parse: {reason}; move it away to have a new one made")]
    Bad {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A node's key pair.
pub struct NodeKey {
    pair: KeyPair,
    fingerprint: Fingerprint,
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl NodeKey {
    /// Reads the key at `path` (PEM, mode 0600), or makes one there on first use. Two processes that do so at once
    /// end up with the same key.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let io_error = |source| KeyError::Io { path: path.to_owned(), source };
        match Self::load(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let bad = |e: rcgen::Error| KeyError::Bad { path: path.to_owned(), reason: e.to_string() };
        let pair = KeyPair::generate().map_err(bad)?;
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let written = (|| {
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(pair.serialize_pem().as_bytes())?;
            file.sync_all()?;
            // A link fails where somebody else was faster; theirs is then the key.
            match std::fs::hard_link(&temporary, path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        })();
        let removed = std::fs::remove_file(&temporary);
        written.and(removed).map_err(io_error)?;
        Self::load(path)
    }

    /// Reads the key at `path`, which must be there.
    pub(crate) fn load(path: &Path) -> Result<Self, KeyError> {
        let io_error = |source| KeyError::Io { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(io_error)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let pem = std::fs::read_to_string(path).map_err(io_error)?;
        let pair =
            KeyPair::from_pem(&pem).map_err(|e| KeyError::Bad { path: path.to_owned(), reason: e.to_string() })?;
        let fingerprint = Fingerprint::of_spki(&pair.subject_public_key_info());
        Ok(Self { pair, fingerprint })
    }

    /// The fingerprint that others know this node by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key with a certificate signed by itself, good for nothing but carrying the key, and one URI.
    pub(crate) fn certified(&self, uri: Option<&str>) -> Result<Arc<CertifiedKey>, rcgen::Error> {
        let mut params = CertificateParams::new(vec!["replfs".to_owned()])?;
        if let Some(uri) = uri {
            params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        }
        let certificate = params.self_signed(&self.pair)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.pair.serialize_der()));
        let signer =
            rustls::crypto::ring::sign::any_supported_type(&private).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signer)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let first = NodeKey::load_or_create(&path).unwrap().fingerprint();
        assert_eq!(NodeKey::load_or_create(&path).unwrap().fingerprint(), first);
        assert_eq!(first.to_string().parse::<Fingerprint>().unwrap(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        NodeKey::load_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(NodeKey::load_or_create(&path), Err(KeyError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn what_is_no_fingerprint_is_refused() {
        for bad in ["", "SHA256:", "SHA256:abc", "MD5:abc", "SHA256:!!!"] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
