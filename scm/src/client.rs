//! The source's end: connecting to a target by name and fingerprint.

use crate::key::{Fingerprint, NodeKey};
use crate::session::{Dial, Streams};
use crate::tls::OneServer;
use crate::{ScmError, tls, transport};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Connects to one target.
#[derive(Clone, Debug)]
pub struct QuicDialer {
    host: String,
    port: u16,
    expected: Fingerprint,
    key: Arc<NodeKey>,
    timeout: Duration,
    purpose: transport::Use,
}

impl QuicDialer {
    /// A dialer for the target at `host` (a name or an address) and `port`, which must show the key `expected`.
    /// An attempt ends after `timeout`.
    pub fn new(host: String, port: u16, expected: Fingerprint, key: Arc<NodeKey>, timeout: Duration) -> Self {
        Self { host, port, expected, key, timeout, purpose: transport::Use::Session }
    }

    /// The same for lanes, which have more under way.
    #[must_use]
    pub fn for_lanes(&self) -> Self {
        Self { purpose: transport::Use::Lane, ..self.clone() }
    }

    fn target(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, ScmError> {
        let failed = |reason: String| ScmError::Resolve { host: self.host.clone(), reason };
        let found: Vec<_> = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|e| failed(e.to_string()))?
            .collect();
        if found.is_empty() { Err(failed("no address".to_owned())) } else { Ok(found) }
    }

    async fn connect(&self, addr: SocketAddr) -> Result<(Endpoint, Connection), ScmError> {
        let unreachable = |reason: String| ScmError::Unreachable { target: self.target(), reason };
        let any: SocketAddr =
            if addr.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let endpoint = Endpoint::client(any).map_err(|source| ScmError::Bind { addr: any, source })?;
        let verifier = OneServer::new(self.expected);
        let crypto = QuicClientConfig::try_from(tls::client_config(&self.key, Arc::clone(&verifier))?)
            .map_err(|e| ScmError::Key(e.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport::config(self.purpose));
        let connecting = endpoint.connect_with(config, addr, "replfs").map_err(|e| unreachable(e.to_string()))?;
        match connecting.await {
            Ok(connection) => Ok((endpoint, connection)),
            Err(error) => Err(match verifier.mismatch() {
                Some(found) => ScmError::WrongKey {
                    target: self.target(),
                    found: found.to_string(),
                    expected: self.expected.to_string(),
                },
                None => self.broken(&error),
            }),
        }
    }

    async fn dial_any(&self) -> Result<Streams, ScmError> {
        let mut last = None;
        for addr in self.resolve().await? {
            match self.connect(addr).await {
                Ok((endpoint, connection)) => {
                    let (send, recv) = connection.open_bi().await.map_err(|e| self.broken(&e))?;
                    let probe = connection.clone();
                    let (target, ours) = (self.target(), self.key.fingerprint().to_string());
                    return Ok(Streams {
                        reader: Box::new(recv),
                        writer: Box::new(send),
                        // The server refuses a client's key only after the client believes to be connected.
                        why_closed: Box::new(move || refusal(&probe.close_reason()?, &target, &ours)),
                        held: Box::new((endpoint, connection)),
                    });
                }
                Err(error @ ScmError::WrongKey { .. }) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ScmError::Resolve { host: self.host.clone(), reason: "no address".to_owned() }))
    }

    fn broken(&self, error: &ConnectionError) -> ScmError {
        let (target, ours) = (self.target(), self.key.fingerprint().to_string());
        refusal(error, &target, &ours)
            .unwrap_or_else(|| ScmError::Unreachable { target: self.target(), reason: error.to_string() })
    }
}

/// Whether a connection was closed by a TLS alert: the target does not accept this node's key.
fn refusal(error: &ConnectionError, target: &str, ours: &str) -> Option<ScmError> {
    let ConnectionError::ConnectionClosed(close) = error else { return None };
    // RFC 9001, 4.8: a TLS alert arrives as 0x0100 plus the alert.
    (0x100..0x200)
        .contains(&u64::from(close.error_code))
        .then(|| ScmError::NotAllowed { target: target.to_owned(), ours: ours.to_owned() })
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
