//! How fast a bare quinn stream is here: what is still to be sent when an application ends may take as long as one.

use anyhow::{Context, Result};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, ServerConfig, VarInt};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is sent.
const BYTES: usize = 256 << 20;

/// In pieces of so many.
const PIECE: usize = 64 << 10;

/// The name in the certificate.
const NAME: &str = "bench";

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes per second of one stream with quinn's defaults, both ends on this machine. Errors: the socket's, or it takes too long.
pub fn rate() -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, measured()).await })?
}

async fn measured() -> Result<f64> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?.der().clone();
    let server = server(certificate.clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    let at = server.local_addr()?;
    let received = tokio::spawn(receive(server));
    let client = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    let connection = client.connect_with(trusting(&certificate)?, at, NAME)?.await?;
    let mut stream = connection.open_uni().await?;
    let piece = vec![0x5a; PIECE];
    let start = Instant::now();
    for _ in 0..BYTES / PIECE {
        stream.write_all(&piece).await?;
    }
    stream.finish()?;
    received.await??;
    #[allow(clippy::cast_precision_loss)] // a rate
    let rate = BYTES as f64 / start.elapsed().as_secs_f64();
    connection.close(VarInt::from_u32(0), b"");
    Ok(rate)
}

async fn receive(server: Endpoint) -> Result<()> {
    let connection = server.accept().await.context("nobody connects")?.await?;
    let mut stream = connection.accept_uni().await?;
    let mut buffer = vec![0; PIECE];
    while stream.read(&mut buffer).await?.is_some() {}
    Ok(())
}

fn server(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<Endpoint> {
    let config = ServerConfig::with_single_cert(vec![certificate], key)?;
    Ok(Endpoint::server(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?)
}

fn trusting(certificate: &CertificateDer<'static>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}
