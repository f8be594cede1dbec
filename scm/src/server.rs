//! The target's end: a listener that hands out authenticated connections.

use crate::ScmError;
use crate::key::{Fingerprint, NodeKey};
use crate::{tls, transport};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, Incoming as Attempt, RecvStream, SendStream, ServerConfig, VarInt};
use rustls_pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// A peer that connected must open its stream within this time.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection stays after its session ended, so that the last words arrive.
const LINGER: Duration = Duration::from_secs(2);
/// Connections whose handshake is under way at once.
const PENDING: usize = 32;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    accepted: mpsc::Receiver<Incoming>,
    local_addr: SocketAddr,
}

/// A connection of a peer that has proved who it is.
#[derive(Debug)]
pub struct Incoming {
    /// Who.
    pub peer: Fingerprint,
    /// Where from.
    pub addr: SocketAddr,
    /// What the peer sends.
    pub reader: Reader,
    /// What goes to the peer.
    pub writer: Writer,
}

/// Keeps the connection until both halves are dropped, and then for the last words.
#[derive(Debug)]
struct Held(Connection);

impl Drop for Held {
    fn drop(&mut self) {
        let connection = self.0.clone();
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

/// Listens on `addr` (port 0: any free one) for peers whose keys are on the list. Must be called within a tokio runtime.
pub fn listen(addr: SocketAddr, key: &NodeKey, allow: Vec<Fingerprint>) -> Result<Listener, ScmError> {
    let tls = tls::server_config(key, allow)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(|e| ScmError::Key(e.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport::config(transport::Use::Accept));
    let bind = |source| ScmError::Bind { addr, source };
    let endpoint = Endpoint::server(config, addr).map_err(bind)?;
    let local_addr = endpoint.local_addr().map_err(bind)?;
    let (sender, accepted) = mpsc::channel(PENDING);
    tokio::spawn(accept_all(endpoint.clone(), sender));
    Ok(Listener { endpoint, accepted, local_addr })
}

async fn accept_all(endpoint: Endpoint, accepted: mpsc::Sender<Incoming>) {
    let pending = Arc::new(tokio::sync::Semaphore::new(PENDING));
    while let Some(attempt) = endpoint.accept().await {
        let Ok(permit) = Arc::clone(&pending).try_acquire_owned() else {
            attempt.refuse();
            continue;
        };
        let accepted = accepted.clone();
        tokio::spawn(async move {
            let from = attempt.remote_address();
            match tokio::time::timeout(OPEN_WITHIN, open(attempt)).await {
                // The listener may be gone; then so is the connection.
                Ok(Ok(incoming)) => drop(accepted.send(incoming).await),
                Ok(Err(reason)) => tracing::debug!(event = "connect-failed", %from, reason),
                Err(_) => tracing::debug!(event = "connect-failed", %from, reason = "took too long"),
            }
            drop(permit);
        });
    }
}

async fn open(attempt: Attempt) -> Result<Incoming, String> {
    let connection = attempt.await.map_err(|e| e.to_string())?;
    let addr = connection.remote_address();
    let identity = connection.peer_identity().ok_or("no certificate")?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| "no certificate")?;
    let peer = tls::fingerprint_of(chain.first().ok_or("no certificate")?).map_err(|e| e.to_string())?;
    let (send, recv) = connection.accept_bi().await.map_err(|e| e.to_string())?;
    let held = Arc::new(Held(connection));
    let reader = Reader { stream: recv, _held: Arc::clone(&held) };
    Ok(Incoming { peer, addr, reader, writer: Writer { stream: send, _held: held } })
}

impl Listener {
    /// The address that peers connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
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
