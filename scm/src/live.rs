//! Connections that are open, by the key of the other side: to count them, and to end those of a key that is not known any more.

use crate::key::Fingerprint;
use parking_lot::Mutex;
use quinn::{Connection, VarInt};
use std::collections::HashMap;
use std::sync::Arc;

/// By which a connection ends whose key is not known, or not any more: an application's close code.
pub(crate) const UNKNOWN: VarInt = VarInt::from_u32(1);

/// Those that are open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Open>,
}

#[derive(Clone, Debug)]
struct Open {
    peer: Fingerprint,
    connection: Connection,
    /// It needs to be of somebody known.
    known: bool,
}

/// Notes one as open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Noted {
    live: Live,
    number: u64,
}

impl Live {
    /// Notes a connection of the node `peer`, which is to be `known` or not, unless there are `most` of that node, or of those
    /// that need not be known.
    pub fn note(&self, peer: Fingerprint, connection: &Connection, known: bool, most: usize) -> Option<Noted> {
        let mut table = self.0.lock();
        let alike = |other: &&Open| other.known == known && (other.peer == peer || !known);
        if table.open.values().filter(alike).count() >= most {
            return None;
        }
        table.next += 1;
        let number = table.next;
        table.open.insert(number, Open { peer, connection: connection.clone(), known });
        Some(Noted { live: self.clone(), number })
    }

    /// Ends the connections of nodes that have to be known, for which this does not hold.
    pub fn retain(&self, known: impl Fn(Fingerprint) -> bool) {
        // Asked without the lock: who answers may take his time.
        let open: Vec<_> = self.0.lock().open.values().filter(|open| open.known).cloned().collect();
        for Open { peer, connection, .. } in open {
            if !known(peer) {
                tracing::warn!(event = "peer-ended", fingerprint = %peer, "a connection of a node that is not known any more is ended");
                connection.close(UNKNOWN, b"this key is not known any more");
            }
        }
    }

    /// Ends all connections: each is to begin anew.
    pub fn end_all(&self) {
        for open in self.0.lock().open.values() {
            open.connection.close(VarInt::from_u32(0), b"begin anew");
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.live.0.lock().open.remove(&self.number);
    }
}
