//! What nobody knows costs little: floods of handshakes, of addresses that are not their sender's, of rubbish, of slowness
//! (docs/security.md). A node that is known comes in meanwhile.
#![allow(clippy::unwrap_used)]

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use replfs_scm::client::{Pinned, QuicDialer};
use replfs_scm::door::Door;
use replfs_scm::key::{Fingerprint, NodeKey};
use replfs_scm::keyring::Keyring;
use replfs_scm::server::{Listener, listen};
use replfs_scm::session::Dial;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A second address of this machine, so that what is counted by address does not count for the node that is known.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const PATIENCE: Duration = Duration::from_secs(20);

fn key() -> Arc<Keyring> {
    let dir = tempfile::tempdir().unwrap();
    Arc::new(Keyring::of(NodeKey::load_or_create(&dir.path().join("key.pem")).unwrap()).unwrap())
}

/// Knows one key, and counts handshakes: those that began, and those that came as far as a key.
#[derive(Debug)]
struct Counting {
    keyring: Arc<Keyring>,
    known: Fingerprint,
    begun: AtomicUsize,
    strangers: AtomicUsize,
}

impl Door for Counting {
    fn keyring(&self) -> Arc<Keyring> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.keyring)
    }

    fn knows(&self, key: Fingerprint) -> bool {
        if key != self.known {
            self.strangers.fetch_add(1, Ordering::Relaxed);
        }
        key == self.known
    }

    fn pairs(&self) -> bool {
        false
    }

    fn met(&self, _: Fingerprint, _: Option<Fingerprint>, _: Option<Fingerprint>) {}
}

struct Rig {
    door: Arc<Counting>,
    at: SocketAddr,
    friend: QuicDialer,
    _echo: tokio::task::JoinHandle<()>,
}

fn rig() -> Rig {
    let (target, source) = (key(), key());
    let (begun, strangers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let door = Arc::new(Counting { keyring: Arc::clone(&target), known: source.fingerprint(), begun, strangers });
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), Arc::clone(&door) as Arc<_>).unwrap();
    let at = listener.local_addr();
    let known = Pinned::new(target.fingerprint(), source);
    let friend = QuicDialer::new("127.0.0.1".into(), at.port(), known, PATIENCE);
    Rig { door, at, friend, _echo: tokio::spawn(echo(listener)) }
}

async fn echo(mut listener: Listener) {
    while let Some(mut incoming) = listener.accept().await {
        let mut word = [0; 5];
        if incoming.reader.read_exact(&mut word).await.is_ok() {
            let _gone = incoming.writer.write_all(&word).await;
        }
    }
}

/// The node that is known comes in and is answered; it tries again, as a session does, where the machine is too busy.
async fn comes_in(friend: &QuicDialer) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = is_answered(friend).await {
        assert!(Instant::now() < deadline, "not let in: {error}");
    }
}

async fn is_answered(friend: &QuicDialer) -> Result<(), String> {
    let mut streams = friend.dial().await.map_err(|e| e.to_string())?;
    streams.writer.write_all(b"hello").await.map_err(|e| e.to_string())?;
    let mut back = [0; 5];
    streams.reader.read_exact(&mut back).await.map_err(|e| e.to_string())?;
    assert_eq!(&back, b"hello");
    Ok(())
}

/// Shows no key, and takes any.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A client without a key.
fn stranger(alpn: &[u8]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

// claim: A250
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handshakes_from_one_address_is_bounded_and_a_known_node_comes_in_meanwhile() {
    let rig = rig();
    let since = Instant::now();
    let endpoint = Endpoint::client((STRANGER, 0).into()).unwrap();
    let mut attempts = tokio::task::JoinSet::new();
    for alpn in [&b"replfs/1"[..], b"replfs-pair/1", b"h3"].iter().cycle().take(600) {
        let (endpoint, at, config) = (endpoint.clone(), rig.at, stranger(alpn));
        attempts.spawn(async move {
            let Ok(connection) = endpoint.connect_with(config, at, "replfs").unwrap().await else { return false };
            // Without a key the client may believe to be connected until the target has said no.
            let closed = tokio::time::timeout(PATIENCE, connection.closed()).await;
            assert!(closed.is_ok(), "a stranger without a key stays connected");
            true
        });
    }
    comes_in(&rig.friend).await;
    while let Some(ended) = attempts.join_next().await {
        ended.unwrap();
    }
    comes_in(&rig.friend).await;
    // 128 at once, 32 in a second, and the known node's.
    let bound = 128 + 32 * (usize::try_from(since.elapsed().as_secs()).unwrap() + 1) + 32;
    let begun = rig.door.begun.load(Ordering::Relaxed);
    assert!(begun <= bound, "{begun} handshakes began, {bound} are allowed");
    assert_eq!(rig.door.strangers.load(Ordering::Relaxed), 0, "nobody without a key came as far as being asked for");
}

// claim: A251
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_does_not_answer_costs_one_small_packet_and_no_handshake() {
    let rig = rig();
    // What the client sends arrives; what comes back does not reach it: as if the address were not its own.
    let outside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let inside = UdpSocket::bind((STRANGER, 0)).unwrap();
    for socket in [&outside, &inside] {
        socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    }
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = endpoint.connect_with(stranger(b"replfs/1"), outside.local_addr().unwrap(), "replfs").unwrap();
    let at = rig.at;
    let counted = tokio::task::spawn_blocking(move || {
        let (mut sent, mut back, mut packets) = (0, 0, 0);
        let mut buffer = [0; 2000];
        while packets < 3 {
            let Ok(len) = outside.recv(&mut buffer) else { break };
            inside.send_to(&buffer[..len], at).unwrap();
            sent += len;
            packets += 1;
            let len = inside.recv(&mut buffer).unwrap();
            assert!(len < 200, "an answer of {len} bytes to an address that has shown nothing");
            back += len;
        }
        (sent, back, packets)
    });
    let (sent, back, packets) = counted.await.unwrap();
    drop(connecting);
    assert!(packets >= 2 && back * 5 < sent, "{packets} packets, {sent} bytes sent, {back} bytes came back");
    assert_eq!(rig.door.begun.load(Ordering::Relaxed), 0, "no handshake began");
    comes_in(&rig.friend).await;
}

// claim: A252
#[tokio::test(flavor = "multi_thread")]
async fn rubbish_is_passed_over() {
    let rig = rig();
    let socket = UdpSocket::bind((STRANGER, 0)).unwrap();
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[5]
    };
    for n in 0..20_000_usize {
        let mut packet: Vec<u8> = (0..n % 1400).map(|_| next()).collect();
        // Half of them look like the first packet of a connection of QUIC version 1.
        if let Some(front) = packet.first_chunk_mut::<5>().filter(|_| n % 2 == 0) {
            *front = [0xc3, 0, 0, 0, 1];
        }
        // A full buffer drops it.
        let _dropped = socket.send_to(&packet, rig.at);
    }
    assert_eq!(rig.door.begun.load(Ordering::Relaxed), 0, "no handshake began");
    comes_in(&rig.friend).await;
}
