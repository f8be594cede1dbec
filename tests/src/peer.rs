//! The other end of a connection, played by the test: over real QUIC, with the key of one side of a rig, in whatever version, saying whatever it likes.
//! It shares the frames with replfs and nothing of its transport.

use crate::rig::{NAME, Rig};
use crate::wait;
use platform::wire::{WireError, read_message, write_message};
use protocol::{Features, Frame, Hello, HelloAck, Incarnation, Message, Name, ReplicaId, SeqNo, VERSION};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use tokio::runtime::Runtime;

/// What a present build speaks.
pub const ALPN: &[u8] = b"replfs/1";

/// How long the other side may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection with its stream.
pub struct Peer {
    runtime: Arc<Runtime>,
    _endpoint: Endpoint,
    /// For what the other side closes it with.
    pub connection: Connection,
    writer: SendStream,
    reader: RecvStream,
}

/// A target that the test plays.
pub struct FakeTarget {
    runtime: Arc<Runtime>,
    endpoint: Endpoint,
    /// Where it listens.
    pub address: SocketAddr,
}

fn runtime() -> Arc<Runtime> {
    Arc::new(Runtime::new().unwrap_or_else(|e| panic!("no runtime: {e}")))
}

/// The key in a state directory, with a certificate for it.
fn identity(state: &Path) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let path = state.join("key.pem");
    let pem = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let key = rcgen::KeyPair::from_pem(&pem).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let named = rcgen::CertificateParams::new(vec!["replfs".to_owned()]);
    let signed = named.and_then(|params| params.self_signed(&key)).unwrap_or_else(|e| panic!("no certificate: {e}"));
    (signed.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

/// Takes any key: who is who is not what these tests are about.
#[derive(Debug)]
struct Anybody;

impl Anybody {
    fn schemes() -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl Peer {
    /// Connects with the key in a state directory, speaking `alpn`.
    pub fn dial(to: SocketAddr, state: &Path, alpn: &[u8]) -> Result<Self, ConnectionError> {
        let runtime = runtime();
        let (certificate, key) = identity(state);
        let made = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map(|config| config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)))
            .and_then(|config| config.with_client_auth_cert(vec![certificate], key));
        let mut tls = made.unwrap_or_else(|e| panic!("no configuration: {e}"));
        tls.alpn_protocols = vec![alpn.to_vec()];
        let crypto = QuicClientConfig::try_from(tls).unwrap_or_else(|e| panic!("no configuration: {e}"));
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let (endpoint, connection, (writer, reader)) = runtime.block_on(async {
            let any = (Ipv4Addr::UNSPECIFIED, 0).into();
            let endpoint = Endpoint::client(any).unwrap_or_else(|e| panic!("no socket: {e}"));
            let attempt = endpoint.connect_with(config, to, "replfs").unwrap_or_else(|e| panic!("no attempt: {e}"));
            let connection = attempt.await?;
            let streams = connection.open_bi().await?;
            Ok::<_, ConnectionError>((endpoint, connection, streams))
        })?;
        Ok(Self { runtime, _endpoint: endpoint, connection, writer, reader })
    }

    /// Says a message.
    pub fn say(&mut self, message: &Message) {
        let _gone = self.runtime.block_on(write_message(&mut self.writer, message));
    }

    /// Sends bytes. That the other side has closed meanwhile is no matter.
    pub fn send(&mut self, bytes: &[u8]) {
        let _gone = self.runtime.block_on(self.writer.write_all(bytes));
    }

    /// Nothing comes after this.
    pub fn finish(&mut self) {
        let _gone = self.writer.finish();
    }

    /// What the other side says next; `None` where it has ended the stream.
    pub fn hear(&mut self) -> Result<Option<Message>, WireError> {
        let hear = async { tokio::time::timeout(PATIENCE, read_message(&mut self.reader)).await };
        self.runtime.block_on(hear).unwrap_or_else(|_| panic!("the other side says nothing"))
    }

    /// What it says until it ends, of one way or another.
    pub fn hear_all(&mut self) -> Vec<Message> {
        let mut heard = Vec::new();
        while let Ok(Some(message)) = self.hear() {
            heard.push(message);
        }
        heard
    }
}

impl FakeTarget {
    /// Listens with the key in a state directory, speaking `alpn`.
    pub fn listen(state: &Path, alpn: &[u8]) -> Self {
        let runtime = runtime();
        let (certificate, key) = identity(state);
        let made = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map(|config| config.with_client_cert_verifier(Arc::new(Anybody)))
            .and_then(|config| config.with_single_cert(vec![certificate], key));
        let mut tls = made.unwrap_or_else(|e| panic!("no configuration: {e}"));
        tls.alpn_protocols = vec![alpn.to_vec()];
        let crypto = QuicServerConfig::try_from(tls).unwrap_or_else(|e| panic!("no configuration: {e}"));
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let listening = runtime.block_on(async { Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()) });
        let endpoint = listening.unwrap_or_else(|e| panic!("no socket: {e}"));
        let address = endpoint.local_addr().unwrap_or_else(|e| panic!("no address: {e}"));
        Self { runtime, endpoint, address }
    }

    /// Lets the source of a rig in, whose target is not started, as one that has these features; the first bytes that it sends after that. It stays mounted.
    pub fn first_bytes(rig: &mut Rig, features: Features, len: usize) -> Vec<u8> {
        let target = Self::listen(&rig.target_state(), ALPN);
        let replica = ReplicaId::from_bytes([7; 16]);
        let (clean, empty, damaged, power_lost) = (false, true, false, false);
        let (software, position) = ("9.9.9".to_owned(), None);
        let ack =
            HelloAck { version: VERSION, software, replica, position, clean, empty, damaged, power_lost, features };
        let came = target.heard_after(bytes_in_version(&Message::HelloAck(ack), VERSION), len);
        let mut words = rig.mount_words();
        let to = words.iter().position(|word| word == "--target").unwrap_or_else(|| panic!("{words:?} name no target"));
        words[to + 1] = target.address.to_string();
        let mut mount = rig.program();
        let outcome = rig.mounted(mount.arg("mount").args(&words));
        outcome.ok();
        came.recv_timeout(wait::PATIENCE).unwrap_or_else(|_| panic!("the source sends less than {len} bytes"))
    }

    /// Answers the next connection with these bytes; what comes after that, so many bytes of it, is received here.
    pub fn heard_after(&self, answer: Vec<u8>, len: usize) -> Receiver<Vec<u8>> {
        let (told, heard) = mpsc::channel();
        let endpoint = self.endpoint.clone();
        self.runtime.spawn(async move {
            let connection = endpoint.accept().await?.await.ok()?;
            let (mut writer, mut reader) = connection.accept_bi().await.ok()?;
            let _greeting = read_message(&mut reader).await;
            writer.write_all(&answer).await.ok()?;
            let mut bytes = vec![0; len];
            reader.read_exact(&mut bytes).await.ok()?;
            told.send(bytes).ok()?;
            connection.closed().await;
            Some(())
        });
        heard
    }

    /// Answers every connection: to its first message, whatever it is, with these bytes. Until the test ends.
    pub fn answer(&self, bytes: Vec<u8>) {
        let endpoint = self.endpoint.clone();
        self.runtime.spawn(async move {
            while let Some(attempt) = endpoint.accept().await {
                let bytes = bytes.clone();
                tokio::spawn(async move {
                    let connection = attempt.await.ok()?;
                    let (mut writer, mut reader) = connection.accept_bi().await.ok()?;
                    let _greeting = read_message(&mut reader).await;
                    writer.write_all(&bytes).await.ok()?;
                    writer.finish().ok()?;
                    connection.closed().await;
                    Some(())
                });
            }
        });
    }
}

/// The bytes of a message, as a build of this version of the frame would send them: with this byte in the head, and its checksum right.
pub fn bytes_in_version(message: &Message, version: u8) -> Vec<u8> {
    let Frame { front, payload } = Frame::encode(message);
    let mut bytes = [front, payload].concat();
    bytes[2] = version;
    let header = bytes.get(8..12).map_or(0, |four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]) as usize);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..44]), &bytes[48..48 + header]);
    bytes[44..48].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The greeting of a source that has nothing yet, in the name of the rig's mount.
#[allow(clippy::missing_panics_doc)] // a constant name
pub fn hello() -> Hello {
    Hello {
        version: VERSION,
        software: "9.9.9".to_owned(),
        name: Name::new(NAME.as_bytes()).expect("a name"),
        incarnation: Incarnation::from_bytes([7; 16]),
        oldest: SeqNo::new(1),
        newest: SeqNo::ZERO,
        replica: None,
        adopt: false,
        retry_ms: None,
        features: Features::default(),
        set: None,
    }
}
