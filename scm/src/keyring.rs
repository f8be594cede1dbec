//! The keys of this node: the one it shows, and, while not everybody has heard of that, the one before. A key that was
//! replaced announces its successor in the certificate that it still signs (a URI among its names), so that whoever knows the one gets
//! to know the other, without being paired again. Certificates mean nothing else here.

use crate::key::{Fingerprint, KeyError, NodeKey};
use parking_lot::RwLock;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the URI of a successor begins with; its fingerprint in hexadecimal follows.
const NEXT: &str = "replfs-next:";
/// More lines than anybody changes keys; older ones are not read.
const MOST_FORMER: usize = 1000;

/// Where a node's keys are: its state directory.
#[derive(Clone, Debug)]
pub struct KeyPlace(PathBuf);

impl KeyPlace {
    /// Those in a state directory.
    pub fn new(state: &Path) -> Self {
        Self(state.to_owned())
    }

    /// The key that this node shows.
    pub fn current(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    /// The one before, as long as somebody knows this node only by it.
    pub fn previous(&self) -> PathBuf {
        self.0.join("key.previous.pem")
    }

    /// Fingerprints of all that were before, one a line, oldest first.
    fn former(&self) -> PathBuf {
        self.0.join("key.former")
    }
}

/// The keys of this node.
#[derive(Debug)]
pub struct Keyring {
    current: NodeKey,
    previous: Option<NodeKey>,
    former: Vec<Fingerprint>,
    /// Certificate and key as TLS wants them: of the current key, and of the previous one, which announces it.
    shown: (Arc<CertifiedKey>, Option<Arc<CertifiedKey>>),
}

impl Keyring {
    /// Reads the keys; the first is made on first use.
    pub fn load(place: &KeyPlace) -> Result<Self, KeyError> {
        let current = NodeKey::load_or_create(&place.current())?;
        let previous = match NodeKey::load(&place.previous()) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            // A rotation that was interrupted before the new key was in its place.
            Ok(key) if key.fingerprint() == current.fingerprint() => None,
            other => Some(other?),
        };
        let former = read_former(&place.former())?;
        let bad = |e: &dyn std::fmt::Display| KeyError::Bad { path: place.current(), reason: e.to_string() };
        let next = format!("{NEXT}{}", current.fingerprint().to_hex());
        let shown = (
            current.certified(None).map_err(|e| bad(&e))?,
            previous.as_ref().map(|key| key.certified(Some(&next))).transpose().map_err(|e| bad(&e))?,
        );
        Ok(Self { current, previous, former, shown })
    }

    /// A node with one key.
    pub fn of(key: NodeKey) -> Result<Self, KeyError> {
        let bad = |e: rcgen::Error| KeyError::Bad { path: PathBuf::new(), reason: e.to_string() };
        let shown = (key.certified(None).map_err(bad)?, None);
        Ok(Self { current: key, previous: None, former: Vec::new(), shown })
    }

    /// What this node is known by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.current.fingerprint()
    }

    /// What it was known by before, as long as that key is kept.
    pub fn previous(&self) -> Option<Fingerprint> {
        self.previous.as_ref().map(NodeKey::fingerprint)
    }

    /// Everything it was ever known by, oldest first.
    pub fn former(&self) -> &[Fingerprint] {
        &self.former
    }

    /// The key with this fingerprint if it is there, else the current one.
    pub(crate) fn certified(&self, wanted: Option<Fingerprint>) -> &Arc<CertifiedKey> {
        match &self.shown.1 {
            Some(previous) if wanted.is_some() && wanted == self.previous() => previous,
            _ => &self.shown.0,
        }
    }

    /// The fingerprint of what [`Keyring::certified`] gives.
    pub(crate) fn shown(&self, wanted: Option<Fingerprint>) -> Fingerprint {
        match self.previous() {
            Some(previous) if wanted == Some(previous) => previous,
            _ => self.fingerprint(),
        }
    }
}

/// The keys of a node whose commands may change them while it runs.
#[derive(Debug)]
pub struct Keys {
    place: KeyPlace,
    ring: RwLock<Arc<Keyring>>,
}

impl Keys {
    /// Those in `place`, as they were read.
    pub fn new(place: KeyPlace, ring: Keyring) -> Self {
        Self { place, ring: RwLock::new(Arc::new(ring)) }
    }

    /// Where they are.
    pub fn place(&self) -> &KeyPlace {
        &self.place
    }

    /// As they were last read.
    pub fn get(&self) -> Arc<Keyring> {
        Arc::clone(&self.ring.read())
    }

    /// Reads them again. Whether this node has another key now.
    pub fn reload(&self) -> bool {
        match Keyring::load(&self.place) {
            Ok(new) => {
                let now = new.fingerprint();
                let before = std::mem::replace(&mut *self.ring.write(), Arc::new(new));
                before.fingerprint() != now
            }
            Err(error) => {
                tracing::error!(event = "keys", %error, "the keys cannot be read again; those of before stay");
                false
            }
        }
    }
}

/// Makes a new key and keeps the present one as the previous; the new fingerprint. A crash at any moment leaves a node that
/// has one of the two. The caller has made sure that there is no previous one that is still needed.
pub fn rotate(place: &KeyPlace) -> Result<Fingerprint, KeyError> {
    let now = NodeKey::load_or_create(&place.current())?;
    let fail = |path: PathBuf| move |source| KeyError::Io { path, source };
    let former = place.former();
    let append = || -> io::Result<()> {
        let mut file = File::options().append(true).create(true).mode(0o600).open(&former)?;
        writeln!(file, "{}", now.fingerprint())?;
        file.sync_all()
    };
    append().map_err(fail(former.clone()))?;
    let previous = place.previous();
    match std::fs::remove_file(&previous) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(previous)(e)),
        _ => {}
    }
    std::fs::hard_link(place.current(), &previous).map_err(fail(previous))?;
    let new = place.0.join("key.new.pem");
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(new)(e)),
        _ => {}
    }
    let key = NodeKey::load_or_create(&new)?;
    std::fs::rename(&new, place.current()).map_err(fail(new))?;
    sync_dir(&place.0).map_err(fail(place.0.clone()))?;
    Ok(key.fingerprint())
}

/// Everybody knows the new key: the one before is not kept any longer.
pub fn forget_previous(place: &KeyPlace) -> Result<(), KeyError> {
    let path = place.previous();
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(KeyError::Io { path, source: e }),
        _ => sync_dir(&place.0).map_err(|source| KeyError::Io { path, source }),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn read_former(path: &Path) -> Result<Vec<Fingerprint>, KeyError> {
    let fail = |source| KeyError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(fail)?,
    };
    let mut former = Vec::new();
    for line in BufReader::new(file).lines().take(MOST_FORMER) {
        // A line torn by a crash belongs to a rotation that did not happen.
        if let Ok(fingerprint) = line.map_err(fail)?.parse() {
            former.push(fingerprint);
        }
    }
    Ok(former)
}

/// The successor that a certificate announces. Only for one whose key has proved itself in a handshake: that covers every byte of it.
pub(crate) fn announced(certificate: &CertificateDer<'_>) -> Option<Fingerprint> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    parsed.valid_uri_names().find_map(|uri| Fingerprint::from_hex(uri.strip_prefix(NEXT)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn announced_by(key: &CertifiedKey) -> Option<Fingerprint> {
        announced(&key.cert[0])
    }

    #[test]
    fn a_replaced_key_announces_its_successor_and_the_new_one_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = KeyPlace::new(dir.path());
        let first = Keyring::load(&place).unwrap();
        let old = first.fingerprint();
        assert_eq!((first.previous(), announced_by(first.certified(None))), (None, None));
        let new = rotate(&place).unwrap();
        let second = Keyring::load(&place).unwrap();
        assert_eq!((second.fingerprint(), second.previous(), second.former()), (new, Some(old), &[old][..]));
        assert_eq!(announced_by(second.certified(Some(old))), Some(new));
        assert_eq!(announced_by(second.certified(Some(new))), None);
        let stranger = Fingerprint::from_bytes([1; 32]);
        assert_eq!(second.shown(Some(stranger)), new, "whoever expects neither is shown the present one");
        forget_previous(&place).unwrap();
        let third = Keyring::load(&place).unwrap();
        assert_eq!((third.fingerprint(), third.previous(), third.former()), (new, None, &[old][..]));
        for file in [place.current(), place.former()] {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_rotation_that_was_cut_anywhere_leaves_a_node_with_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let place = KeyPlace::new(dir.path());
        let old = Keyring::load(&place).unwrap().fingerprint();
        // As far as the previous key, and a new one that is not in its place.
        std::fs::hard_link(place.current(), place.previous()).unwrap();
        NodeKey::load_or_create(&dir.path().join("key.new.pem")).unwrap();
        let ring = Keyring::load(&place).unwrap();
        assert_eq!((ring.fingerprint(), ring.previous()), (old, None));
        let new = rotate(&place).unwrap();
        let ring = Keyring::load(&place).unwrap();
        assert_eq!((ring.fingerprint(), ring.previous()), (new, Some(old)));
    }

    #[test]
    fn keys_that_others_can_read_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = KeyPlace::new(dir.path());
        Keyring::load(&place).unwrap();
        rotate(&place).unwrap();
        std::fs::set_permissions(place.previous(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Keyring::load(&place), Err(KeyError::Exposed { mode: 0o644, .. })));
    }
}
