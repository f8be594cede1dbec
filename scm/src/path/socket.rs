//! The sockets of paths. A connection knows its target by one address, whatever path it is on: its socket gives datagrams the address that the target has
//! over that path, and takes it off again. No connection and no policy here.

use super::Local;
use crate::socket;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

/// Takes a free port on a path for datagrams to `remote`.
pub(super) fn bind(local: &Local, remote: SocketAddr) -> io::Result<UdpSocket> {
    match local {
        Local::Address(address) => socket::bind((*address, 0).into()),
        Local::Interface(name) => {
            let any: SocketAddr =
                if remote.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
            let socket = socket::bind(any)?;
            socket2::SockRef::from(&socket).bind_device(Some(name.as_bytes()))?;
            Ok(socket)
        }
    }
}

/// Whether a path can begin there now.
pub(super) fn begins(local: &Local) -> io::Result<()> {
    bind(local, (Ipv4Addr::LOCALHOST, 0).into()).map(drop)
}

/// The socket of a connection on one path.
pub(super) struct Way {
    inner: Arc<dyn AsyncUdpSocket>,
    /// Where the target is over this path.
    real: SocketAddr,
    /// Where the connection believes it to be.
    logical: SocketAddr,
    /// Bytes sent over this path.
    sent: Arc<AtomicU64>,
    /// Nothing leaves any more.
    mute: AtomicBool,
}

/// Silences the socket of a connection that is given up while it is made, unless [`Self::over`] is called. QUIC would answer whatever still comes with its farewell, and a
/// target that sends such strangers away (a retry) would answer that: for seconds, as fast as the line is.
pub(super) struct Attempt(Option<Arc<Way>>);

impl Attempt {
    /// One begins on this socket.
    pub fn on(way: &Arc<Way>) -> Self {
        Self(Some(Arc::clone(way)))
    }

    /// It has come to an end.
    pub fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(way) = &self.0 {
            way.mute.store(true, Ordering::Relaxed);
        }
    }
}

impl Way {
    pub fn new(inner: Arc<dyn AsyncUdpSocket>, real: SocketAddr, logical: SocketAddr, sent: Arc<AtomicU64>) -> Self {
        Self { inner, real, logical, sent, mute: AtomicBool::new(false) }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("real", &self.real).field("logical", &self.logical).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Way {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.mute.load(Ordering::Relaxed) {
            return Ok(());
        }
        // The source address is this socket's own: the connection remembers one of another path.
        self.inner.try_send(&Transmit { destination: self.real, src_ip: None, ..transmit.clone() })?;
        self.sent.fetch_add(transmit.contents.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.inner.poll_recv(cx, bufs, meta))?;
        for meta in meta.iter_mut().take(received) {
            // A target may answer from another address than the one it was asked at. Whoever else sends here does not have the connection's keys.
            meta.addr = self.logical;
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
