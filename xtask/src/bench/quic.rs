//! Two ends of bare QUIC on this machine, set up as quinn comes or as replfs sets it up. What is said over them is elsewhere.

use anyhow::Result;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use scm::transport::{self, Use};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// The name in the certificate.
pub const NAME: &str = "bench";

/// How ends are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As quinn comes.
    Plain,
    /// As replfs's ordered stream (`scm/src/transport.rs`, `scm/src/socket.rs`).
    Ordered,
    /// As one of its lanes.
    Lane,
}

/// A certificate that both ends know.
pub struct Ends {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Ends {
    /// A new one.
    pub fn new() -> Result<Self> {
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?.der().clone();
        Ok(Self { certificate, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() })
    }

    /// An end that accepts, on a free port; within a runtime. Errors: the socket's.
    pub fn server(&self, manner: Manner) -> Result<Endpoint> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        if manner != Manner::Plain {
            config.transport_config(transport::config(Use::Accept));
        }
        endpoint(manner, Some(config))
    }

    /// An end that connects to [`NAME`]; within a runtime. Errors: the socket's.
    pub fn client(&self, manner: Manner) -> Result<Endpoint> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let purpose = match manner {
            Manner::Plain => None,
            Manner::Ordered => Some(Use::Session),
            Manner::Lane => Some(Use::Lane),
        };
        if let Some(purpose) = purpose {
            config.transport_config(transport::config(purpose));
        }
        let mut endpoint = endpoint(manner, None)?;
        endpoint.set_default_client_config(config);
        Ok(endpoint)
    }
}

fn endpoint(manner: Manner, config: Option<ServerConfig>) -> Result<Endpoint> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = if manner == Manner::Plain { UdpSocket::bind(any)? } else { scm::socket::bind(any)? };
    let runtime = quinn::default_runtime().ok_or_else(|| anyhow::anyhow!("there is no runtime here"))?;
    let taken = if manner == Manner::Plain { EndpointConfig::default() } else { transport::endpoint()? };
    Ok(Endpoint::new(taken, config, socket, runtime)?)
}
