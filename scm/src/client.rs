//! The source's end: connecting to a target by name and fingerprint.

use crate::judge::Judge;
use crate::key::Fingerprint;
use crate::keyring::Keyring;
use crate::live::Live;
use crate::outlet::QuicOutlet;
use crate::path::{self, Paths};
use crate::session::{Dial, Streams};
use crate::tls::OneServer;
use crate::{ScmError, datagrams, keyring, socket, tls, transport};
use protocol::PAIR_ALPN;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{AsyncUdpSocket, ClientConfig, Connection, Endpoint};
use rustls_pki_types::CertificateDer;
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What a source knows of a target and a target of a source, as it is now. Called from threads of the runtime; answers at once.
pub trait Known: std::fmt::Debug + Send + Sync + 'static {
    /// This node's keys.
    fn keyring(&self) -> Arc<Keyring>;
    /// Where the target is now: its name or address, and its port. `None`: where it was said to be at first.
    fn place(&self) -> Option<(String, u16)>;
    /// By which keys the target is recognised, the newest first. An error: by none, it is not to be connected to.
    fn expected(&self) -> Result<Vec<Fingerprint>, ScmError>;
    /// By which of this node's keys the target knows it, where that is not the present one.
    fn ours(&self) -> Option<Fingerprint>;
    /// The target showed the key `shown`, and announced `next` as the one that follows it.
    fn met(&self, shown: Fingerprint, next: Option<Fingerprint>);
    /// The target has let this node in, and so has heard of its present key. `true`: that one has not been shown to it yet.
    fn welcomed(&self) -> bool;
    /// The target does not know the key `ours`. `true`: another one is to be shown, at once.
    fn unknown(&self, ours: Fingerprint) -> bool;
}

/// A target that is known by what a command line says.
#[derive(Debug)]
pub struct Pinned {
    expected: Fingerprint,
    keyring: Arc<Keyring>,
}

impl Pinned {
    /// The one with this key.
    pub fn new(expected: Fingerprint, keyring: Arc<Keyring>) -> Arc<Self> {
        Arc::new(Self { expected, keyring })
    }
}

impl Known for Pinned {
    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring)
    }

    fn place(&self) -> Option<(String, u16)> {
        None
    }

    fn expected(&self) -> Result<Vec<Fingerprint>, ScmError> {
        Ok(vec![self.expected])
    }

    fn ours(&self) -> Option<Fingerprint> {
        None
    }

    fn met(&self, _: Fingerprint, next: Option<Fingerprint>) {
        if let Some(next) = next {
            tracing::warn!(event = "key-changes", %next, "the target has a new key and keeps the one of --target-key for a while: give it the new one");
        }
    }

    fn welcomed(&self) -> bool {
        false
    }

    fn unknown(&self, _: Fingerprint) -> bool {
        false
    }
}

/// Connects to one target.
#[derive(Clone, Debug)]
pub struct QuicDialer {
    host: String,
    port: u16,
    known: Arc<dyn Known>,
    timeout: Duration,
    purpose: transport::Use,
    alpn: &'static [u8],
    live: Live,
    /// Which network paths are used; `None`: the one that the system chooses.
    paths: Option<Arc<Paths>>,
}

/// A connection whose target has proved who it is.
pub(crate) struct Made {
    pub endpoint: Endpoint,
    pub connection: Connection,
    pub judge: Judge,
}

impl QuicDialer {
    /// A dialer for the target at `host` (a name or an address) and `port`, unless it is known to be elsewhere by now. An attempt ends after `timeout`.
    pub fn new(host: String, port: u16, known: Arc<dyn Known>, timeout: Duration) -> Self {
        let (purpose, alpn) = (transport::Use::Session, tls::ALPN);
        Self { host, port, known, timeout, purpose, alpn, live: Live::default(), paths: None }
    }

    /// The same for lanes, which have more under way.
    #[must_use]
    pub fn for_lanes(&self) -> Self {
        Self { purpose: transport::Use::Lane, ..self.clone() }
    }

    /// The same to be made known.
    #[must_use]
    pub fn for_pairing(&self) -> Self {
        Self { alpn: PAIR_ALPN, ..self.clone() }
    }

    /// The same over these network paths; [`Self::look_after_paths`] is to run beside it.
    #[must_use]
    pub fn over(&self, paths: Arc<Paths>) -> Self {
        Self { paths: Some(paths), ..self.clone() }
    }

    /// What is known of the network paths, in their order.
    pub fn known_paths(&self) -> Vec<path::Known> {
        self.paths.as_ref().map(|paths| paths.known(&self.place())).unwrap_or_default()
    }

    pub(crate) fn paths(&self) -> Option<&Arc<Paths>> {
        self.paths.as_ref()
    }

    pub(crate) fn is_for_lanes(&self) -> bool {
        self.purpose == transport::Use::Lane
    }

    /// The same as a build that speaks something else (ALPN), for tests of what such a build is told.
    #[doc(hidden)]
    #[must_use]
    pub fn speaking(&self, alpn: &'static [u8]) -> Self {
        Self { alpn, ..self.clone() }
    }

    /// How the target is known has changed: connections that would not be made now end at once.
    pub fn recheck(&self) {
        let expected = self.known.expected().unwrap_or_default();
        self.live.retain(|key| expected.contains(&key));
    }

    /// This node has another key: all connections begin anew, and make it known.
    pub fn begin_anew(&self) {
        self.live.end_all();
    }

    pub(crate) fn place(&self) -> (String, u16) {
        self.known.place().unwrap_or_else(|| (self.host.clone(), self.port))
    }

    fn target(&self) -> String {
        let (host, port) = self.place();
        path::shown(&host, port)
    }

    /// All addresses of a host.
    pub(crate) async fn resolve((host, port): (String, u16)) -> Result<Vec<SocketAddr>, ScmError> {
        let failed = |reason: String| ScmError::Resolve { host: host.clone(), reason };
        let found: Vec<_> =
            tokio::net::lookup_host((host.as_str(), port)).await.map_err(|e| failed(e.to_string()))?.collect();
        if found.is_empty() { Err(failed("no address".to_owned())) } else { Ok(found) }
    }

    async fn connect(&self, addr: SocketAddr) -> Result<Streams, ScmError> {
        let any: SocketAddr =
            if addr.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let failed = |source| ScmError::Bind { addr: any, source };
        let socket = socket::bind(any).and_then(datagrams::wrap).map_err(failed)?;
        self.open(self.handshake(addr, socket, self.target()).await?).await
    }

    /// Makes a connection on a socket to `addr`, which goes by the name `target`.
    pub(crate) async fn handshake(
        &self,
        addr: SocketAddr,
        socket: Arc<dyn AsyncUdpSocket>,
        target: String,
    ) -> Result<Made, ScmError> {
        let unreachable = |reason: String| ScmError::Unreachable { target: target.clone(), reason };
        let runtime = quinn::default_runtime().ok_or_else(|| unreachable("no async runtime".to_owned()))?;
        let config = transport::endpoint().map_err(|e| unreachable(e.to_string()))?;
        let endpoint = Endpoint::new_with_abstract_socket(config, None, socket, runtime)
            .map_err(|e| unreachable(e.to_string()))?;
        let expected = self.known.expected()?;
        let name = tls::name_of(*expected.first().ok_or_else(|| unreachable("no key is known of it".to_owned()))?);
        let (keyring, wanted) = (self.known.keyring(), self.known.ours());
        let ours = keyring.shown(wanted);
        let verifier = OneServer::new(expected.clone());
        let tls = tls::client_config(keyring.certified(wanted), Arc::clone(&verifier), self.alpn)?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|e| ScmError::Key(e.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        let several = self.paths.as_ref().is_some_and(|paths| paths.several());
        config.transport_config(if several {
            transport::config_of_several(self.purpose)
        } else {
            transport::config(self.purpose)
        });
        let connecting = endpoint.connect_with(config, addr, &name).map_err(|e| unreachable(e.to_string()))?;
        let judge = Judge { target: target.clone(), alpn: self.alpn, ours, known: Arc::clone(&self.known) };
        match connecting.await {
            Ok(connection) => Ok(Made { endpoint, connection, judge }),
            Err(error) => Err(match verifier.mismatch() {
                Some(found) => {
                    let expected = expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
                    ScmError::WrongKey { target, found: found.to_string(), expected }
                }
                None => judge.broken(&error),
            }),
        }
    }

    /// Opens the stream of a connection.
    pub(crate) async fn open(&self, made: Made) -> Result<Streams, ScmError> {
        let Made { endpoint, connection, judge } = made;
        let identity = connection.peer_identity().and_then(|id| id.downcast::<Vec<CertificateDer<'static>>>().ok());
        let certificate = identity.and_then(|chain| chain.first().cloned());
        let certificate = certificate.ok_or_else(|| ScmError::Key("the target showed no certificate".to_owned()))?;
        let shown = tls::fingerprint_of(&certificate).map_err(|e| ScmError::Key(e.to_string()))?;
        let next = keyring::announced(&certificate);
        self.known.met(shown, next);
        let noted = self.live.note(shown, &connection, true, usize::MAX);
        let (send, recv) = connection.open_bi().await.map_err(|e| judge.broken(&e))?;
        let (probe, known, live) = (connection.clone(), Arc::clone(&self.known), self.live.clone());
        let path = connection.clone();
        Ok(Streams {
            reader: Box::new(recv),
            writer: Box::new(QuicOutlet(send)),
            // The server refuses a client's key only after the client believes to be connected.
            why_closed: Box::new(move || judge.refusal(&probe.close_reason()?)),
            // A key that follows another one counts when it was shown: that is done at once, and the other one is done with.
            welcomed: Box::new(move || {
                if known.welcomed() || next.is_some_and(|next| known.expected().is_ok_and(|keys| keys.contains(&next)))
                {
                    live.end_all();
                }
            }),
            // A window arrives in each round trip.
            goodput: Box::new(move || {
                let path = path.stats().path;
                let nanos = u64::try_from(path.rtt.as_nanos()).ok().filter(|nanos| *nanos > 0)?;
                Some(path.cwnd.saturating_mul(1_000_000_000) / nanos)
            }),
            held: Box::new((noted, endpoint, connection)),
        })
    }

    async fn dial_any(&self) -> Result<Streams, ScmError> {
        if let Some(paths) = &self.paths {
            return self.dial_over(paths).await;
        }
        let mut last = None;
        for addr in Self::resolve(self.place()).await? {
            match self.connect(addr).await {
                Err(error) if !error.is_about_keys() => last = Some(error),
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| ScmError::Resolve { host: self.place().0, reason: "no address".to_owned() }))
    }
}

impl Dial for QuicDialer {
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Streams, ScmError>> + Send + '_>> {
        Box::pin(async {
            match tokio::time::timeout(self.timeout, self.dial_any()).await {
                Ok(result) => result,
                Err(_) => Err(ScmError::Unreachable {
                    target: self.target(),
                    reason: format!("no answer within {:?}; is 'replfs target' running there?", self.timeout),
                }),
            }
        })
    }
}
