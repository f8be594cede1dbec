//! The socket of a listener that has several addresses: a peer is answered from the one that it last sent to. QUIC's own memory of that is the address where
//! the connection began, which is a wrong one as soon as the peer has moved to another network path (decision 28).

use parking_lot::Mutex;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Peers that are remembered at most. Of two that share a slot the one that was heard of last has it; the other one is answered as QUIC would.
const SLOTS: usize = 1024;

type Slot = Option<(SocketAddr, IpAddr)>;

/// See the module.
pub(crate) struct Answering {
    inner: Arc<dyn AsyncUdpSocket>,
    heard: Mutex<Heard>,
}

impl Answering {
    pub fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        Self { inner, heard: Mutex::new(Heard::new()) }
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// To which address each peer sent last.
struct Heard {
    slots: Box<[Slot]>,
    hasher: RandomState,
}

impl Heard {
    fn new() -> Self {
        Self { slots: vec![None; SLOTS].into_boxed_slice(), hasher: RandomState::new() }
    }

    fn slot(&mut self, peer: SocketAddr) -> &mut Slot {
        // Less than 1024.
        let at = usize::try_from(self.hasher.hash_one(peer) % SLOTS as u64).unwrap_or_default();
        &mut self.slots[at]
    }

    fn note(&mut self, peer: SocketAddr, at: IpAddr) {
        *self.slot(peer) = Some((peer, at));
    }

    fn of(&mut self, peer: SocketAddr) -> Option<IpAddr> {
        self.slot(peer).filter(|(known, _)| *known == peer).map(|(_, at)| at)
    }
}

impl AsyncUdpSocket for Answering {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let from = self.heard.lock().of(transmit.destination).or(transmit.src_ip);
        self.inner.try_send(&Transmit { src_ip: from, ..transmit.clone() })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.inner.poll_recv(cx, bufs, meta))?;
        let mut heard = self.heard.lock();
        for meta in meta.iter().take(received) {
            if let Some(at) = meta.dst_ip {
                heard.note(meta.addr, at);
            }
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_answered_from_where_it_sent_to_last() {
        let peer = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 1, 1]));
        let mut heard = Heard::new();
        assert_eq!(heard.of(peer(1)), None);
        heard.note(peer(1), one);
        assert_eq!(heard.of(peer(1)), Some(one));
        heard.note(peer(1), other);
        assert_eq!(heard.of(peer(1)), Some(other));
        // However many there are, none is answered from an address that another one sent to.
        for port in 2..5000 {
            heard.note(peer(port), one);
        }
        assert_ne!(heard.of(peer(1)), Some(one));
        assert_eq!(heard.slots.len(), SLOTS);
    }
}
