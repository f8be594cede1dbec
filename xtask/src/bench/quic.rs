//! Two ends of bare QUIC on this machine, set up as quinn comes or as replfs sets it up. What is said over them is elsewhere.

use anyhow::Result;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig};
use quinn::{ServerConfig, TransportConfig, VarInt};
use rustix::net::sockopt;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

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

/// Room of replfs's sockets, each way, in bytes.
const ROOM_BYTES: usize = 4 << 20;

/// Bytes under way on replfs's ordered stream, and on any one stream.
const WINDOW: u32 = 4 << 20;

/// And on the connection of a lane; an end that accepts allows so much to all.
const LANE_WINDOW: u32 = 16 << 20;

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
            config.transport_config(transport(Manner::Ordered, true));
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
        if manner != Manner::Plain {
            config.transport_config(transport(manner, false));
        }
        let mut endpoint = endpoint(manner, None)?;
        endpoint.set_default_client_config(config);
        Ok(endpoint)
    }
}

fn endpoint(manner: Manner, config: Option<ServerConfig>) -> Result<Endpoint> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    if manner != Manner::Plain {
        // As root, which the bench is.
        sockopt::set_socket_recv_buffer_size_force(&socket, ROOM_BYTES)?;
        sockopt::set_socket_send_buffer_size_force(&socket, ROOM_BYTES)?;
    }
    let runtime = quinn::default_runtime().ok_or_else(|| anyhow::anyhow!("there is no runtime here"))?;
    Ok(Endpoint::new(EndpointConfig::default(), config, socket, runtime)?)
}

fn transport(manner: Manner, accepts: bool) -> Arc<TransportConfig> {
    let window = if manner == Manner::Lane || accepts { LANE_WINDOW } else { WINDOW };
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(6_500);
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(3_000))))
        .keep_alive_interval(Some(Duration::from_secs(1)))
        .mtu_discovery_config(Some(mtu))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(window))
        .send_window(u64::from(window));
    Arc::new(config)
}
