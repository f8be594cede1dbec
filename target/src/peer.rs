//! Who is on the other side of a connection, and which directories are its: what a session is told by whoever has checked the key.

use protocol::Name;

/// A source, as a target knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Fingerprint of its key.
    pub key: String,
    /// Those that it had before, oldest first: what belongs to them belongs to it.
    pub former: Vec<String>,
    /// Its directories; `None`: any that nobody else has.
    pub dirs: Option<Vec<PeerDir>>,
}

/// A directory that was given to a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerDir {
    /// NAME.
    pub name: Name,
    /// How many bytes it may hold.
    pub quota: Option<u64>,
    /// Whatever key it belonged to, it is this source's now.
    pub take_over: bool,
}

impl From<&str> for Peer {
    /// The node with this key and with nothing else that is known of it.
    fn from(key: &str) -> Self {
        Self { key: key.to_owned(), former: Vec::new(), dirs: None }
    }
}

impl From<String> for Peer {
    fn from(key: String) -> Self {
        Self { key, former: Vec::new(), dirs: None }
    }
}

impl Peer {
    /// What stays the same when its key changes.
    pub(crate) fn identity(&self) -> &str {
        self.former.first().unwrap_or(&self.key)
    }

    /// Whether this directory may be its, if it is nobody else's.
    pub(crate) fn may(&self, name: &Name) -> bool {
        self.dirs.is_none() || self.dir(name).is_some()
    }

    /// Whether what belongs to the key `owner` is this peer's.
    pub(crate) fn owns(&self, name: &Name, owner: &str) -> bool {
        let given = self.dir(name).is_some_and(|dir| dir.take_over);
        given || self.key == owner || self.former.iter().any(|former| former == owner)
    }

    /// What was said of this directory when it was given, if it was.
    pub(crate) fn dir(&self, name: &Name) -> Option<&PeerDir> {
        self.dirs.as_ref()?.iter().find(|dir| dir.name == *name)
    }

    /// The names of its directories, for people.
    pub(crate) fn dirs(&self) -> String {
        let names = self.dirs.iter().flatten().map(|dir| format!("'{}'", dir.name));
        names.collect::<Vec<_>>().join(", ")
    }
}
