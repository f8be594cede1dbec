//! The target's end: a listener that hands out authenticated connections. What a stranger can make it do is bounded: an address that has
//! not shown that it receives what is sent to it costs one stateless packet (a retry), handshakes are counted by address
//! ([`crate::door`]), and nothing is read from a key that is not known, unless it comes to be paired.

use crate::ScmError;
use crate::answer::Answering;
use crate::door::{Door, Knocks, Pending};
use crate::key::Fingerprint;
use crate::live::{Live, Noted, UNKNOWN};
use crate::{datagrams, keyring, socket, tls, transport};
use bytes::Bytes;
use platform::inlet::Inlet;
use protocol::PAIR_ALPN;
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, Incoming as Attempt, RecvStream, SendStream, ServerConfig, VarInt};
use rustls_pki_types::CertificateDer;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// A peer that connected must open its stream within this time.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection stays after its session ended, so that the last words arrive.
const LINGER: Duration = Duration::from_secs(2);
/// Connections that wait for the daemon to take them.
const READY: usize = 32;
/// Connections of one key at once: a session and 16 lanes for each of a few mounts, and restores.
const MOST_OF_ONE: usize = 128;
/// Connections at once of nodes that want to be known.
const MOST_PAIRING: usize = 8;
/// Attempts that nobody has looked at yet.
const WAITING: usize = 256;
/// What one that has not begun may have sent, and all of them together, in bytes.
const EARLY: u64 = 32 << 10;
const EARLY_ALL: u64 = 2 << 20;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    accepted: mpsc::Receiver<Incoming>,
    local_addr: SocketAddr,
    watch: Watch,
}

/// What connections are there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A session, a lane, reading.
    Work,
    /// A node, known or not, wants to be known.
    Pair,
}

/// A connection of a peer that has proved who it is; for work only of one that is known.
#[derive(Debug)]
pub struct Incoming {
    /// What for.
    pub purpose: Purpose,
    /// Who.
    pub peer: Fingerprint,
    /// Which of this node's keys it expected, where it said so.
    pub expects: Option<Fingerprint>,
    /// Where from.
    pub addr: SocketAddr,
    /// What the peer sends.
    pub reader: Reader,
    /// What goes to the peer.
    pub writer: Writer,
}

/// Ends connections of those who are not known any more.
#[derive(Clone, Debug)]
pub struct Watch {
    door: Arc<dyn Door>,
    live: Live,
}

impl Watch {
    /// Who is known has changed: connections of those who are not end at once.
    pub fn recheck(&self) {
        self.live.retain(|peer| self.door.knows(peer));
    }

    /// This node has another key: all begin anew, and so get to know it.
    pub fn begin_anew(&self) {
        self.live.end_all();
    }
}

/// Keeps the connection until both halves are dropped, and then for the last words.
#[derive(Debug)]
struct Held {
    connection: Connection,
    _noted: Noted,
}

impl Drop for Held {
    fn drop(&mut self) {
        let connection = self.connection.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // The peer closes when it has read; one that does not is closed.
                let _timed_out = tokio::time::timeout(LINGER, connection.closed()).await;
                connection.close(VarInt::from_u32(0), b"done");
            });
        }
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct Reader {
    stream: RecvStream,
    _held: Arc<Held>,
}

/// The sending half.
#[derive(Debug)]
pub struct Writer {
    stream: SendStream,
    _held: Arc<Held>,
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf).map_err(io::Error::other)
    }
}

impl Inlet for Reader {
    fn poll_take(mut self: Pin<&mut Self>, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        // It has no state but the stream's: it may be dropped.
        let chunk = ready!(pin!(self.stream.read_chunk(most, true)).poll(cx)).map_err(io::Error::other)?;
        Poll::Ready(Ok(chunk.map(|chunk| chunk.bytes).unwrap_or_default()))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.stream), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.stream), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.stream), cx)
    }
}

/// Takes `addr` (port 0: any free one), to listen there later: a process that is caged may not take a low port.
pub fn bind(addr: SocketAddr) -> Result<UdpSocket, ScmError> {
    socket::bind(addr).map_err(|source| ScmError::Bind { addr, source })
}

/// Listens on `addr` (port 0: any free one) for peers whose keys are known. Must be called within a tokio runtime.
pub fn listen(addr: SocketAddr, door: Arc<dyn Door>) -> Result<Listener, ScmError> {
    listen_on(bind(addr)?, door)
}

/// As [`listen`], on a socket of [`bind`].
pub fn listen_on(socket: UdpSocket, door: Arc<dyn Door>) -> Result<Listener, ScmError> {
    let tls = tls::server_config(&door)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(|e| ScmError::Key(e.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport::config(transport::Use::Accept));
    config.max_incoming(WAITING).incoming_buffer_size(EARLY).incoming_buffer_size_total(EARLY_ALL);
    let unbound = SocketAddr::from(([0, 0, 0, 0], 0));
    let local_addr = socket.local_addr().map_err(|source| ScmError::Bind { addr: unbound, source })?;
    let fail = |source| ScmError::Bind { addr: local_addr, source };
    let runtime = quinn::default_runtime().ok_or_else(|| fail(io::Error::other("no async runtime")))?;
    let mut socket = datagrams::wrap(socket).map_err(fail)?;
    if local_addr.ip().is_unspecified() {
        socket = Arc::new(Answering::new(socket));
    }
    let taken = transport::endpoint().map_err(|e| fail(io::Error::other(e)))?;
    let endpoint = Endpoint::new_with_abstract_socket(taken, Some(config), socket, runtime);
    let endpoint = endpoint.map_err(fail)?;
    let (sender, accepted) = mpsc::channel(READY);
    let watch = Watch { door, live: Live::default() };
    tokio::spawn(accept_all(endpoint.clone(), watch.clone(), sender));
    Ok(Listener { endpoint, accepted, local_addr, watch })
}

async fn accept_all(endpoint: Endpoint, watch: Watch, accepted: mpsc::Sender<Incoming>) {
    let pending = Pending::default();
    let mut knocks = Knocks::new(Instant::now());
    while let Some(attempt) = endpoint.accept().await {
        if !attempt.remote_address_validated() {
            // Cannot fail: what is not validated may be told to try again.
            let _told = attempt.retry();
            continue;
        }
        let from = attempt.remote_address();
        if !knocks.admit(from.ip(), Instant::now()) {
            tracing::debug!(event = "connect-refused", %from, "too many attempts from there");
            attempt.refuse();
            continue;
        }
        let Some(begun) = pending.begin(from.ip()) else {
            attempt.refuse();
            continue;
        };
        let (accepted, watch) = (accepted.clone(), watch.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(OPEN_WITHIN, open(attempt, &watch)).await {
                // The listener may be gone; then so is the connection.
                Ok(Ok(incoming)) => drop(accepted.send(incoming).await),
                Ok(Err(reason)) => tracing::debug!(event = "connect-failed", %from, reason),
                Err(_) => tracing::debug!(event = "connect-failed", %from, reason = "took too long"),
            }
            drop(begun);
        });
    }
}

async fn open(attempt: Attempt, watch: &Watch) -> Result<Incoming, String> {
    let from = attempt.remote_address();
    let connection = attempt.await.map_err(|e| {
        if matches!(&e, ConnectionError::TransportError(found) if found.code == tls::no_protocol()) {
            let error = ScmError::OtherProtocol { peer: from.to_string(), ours: tls::protocol(tls::ALPN) };
            tracing::warn!(event = "peer-refused", %from, "{error}");
        }
        e.to_string()
    })?;
    let addr = connection.remote_address();
    let identity = connection.peer_identity().ok_or("no certificate")?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| "no certificate")?;
    let certificate = chain.first().ok_or("no certificate")?;
    let peer = tls::fingerprint_of(certificate).map_err(|e| e.to_string())?;
    let said = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let said = said.ok_or("no handshake")?;
    let purpose = if said.protocol.as_deref() == Some(PAIR_ALPN) { Purpose::Pair } else { Purpose::Work };
    if purpose == Purpose::Work && !watch.door.knows(peer) {
        tracing::warn!(event = "peer-refused", fingerprint = %peer, "a peer with an unknown key was refused");
        connection.close(UNKNOWN, b"this key is not known");
        return Err("an unknown key".to_owned());
    }
    let (known, most) = if purpose == Purpose::Work { (true, MOST_OF_ONE) } else { (false, MOST_PAIRING) };
    let Some(noted) = watch.live.note(peer, &connection, known, most) else {
        connection.close(VarInt::from_u32(0), b"too many connections");
        return Err("too many connections".to_owned());
    };
    // Known may have changed before the connection was noted.
    if purpose == Purpose::Work && !watch.door.knows(peer) {
        connection.close(UNKNOWN, b"this key is not known any more");
        return Err("an unknown key".to_owned());
    }
    let (send, recv) = connection.accept_bi().await.map_err(|e| e.to_string())?;
    let expects = said.server_name.as_deref().and_then(tls::expected_by);
    if purpose == Purpose::Work {
        let (door, next) = (Arc::clone(&watch.door), keyring::announced(certificate));
        // What is new is written down.
        let _met = tokio::task::spawn_blocking(move || door.met(peer, expects, next)).await;
    }
    let held = Arc::new(Held { connection, _noted: noted });
    let reader = Reader { stream: recv, _held: Arc::clone(&held) };
    Ok(Incoming { purpose, peer, expects, addr, reader, writer: Writer { stream: send, _held: held } })
}

impl Listener {
    /// The address that peers connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends connections when who is known changes.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// The next connection; `None` once the listener is closed. Cancel-safe.
    pub async fn accept(&mut self) -> Option<Incoming> {
        self.accepted.recv().await
    }

    /// Takes no more connections, and lets those that end say so.
    pub async fn close(self) {
        self.endpoint.close(VarInt::from_u32(0), b"shutdown");
        let _timed_out = tokio::time::timeout(LINGER, self.endpoint.wait_idle()).await;
    }
}
