//! TLS 1.3 with both ends known by fingerprint. Names, dates and issuers of certificates mean nothing here.

use crate::ScmError;
use crate::door::Door;
use crate::key::Fingerprint;
use protocol::PAIR_ALPN;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, Mutex};

/// What every connection but those for pairing speaks.
pub(crate) const ALPN: &[u8] = b"replfs/1";

/// What a side speaks, for people.
pub(crate) fn protocol(alpn: &[u8]) -> String {
    String::from_utf8_lossy(alpn).into_owned()
}

/// The TLS alert `no_application_protocol` (RFC 7301): nothing that one side speaks is spoken by the other.
pub(crate) fn no_protocol() -> quinn::TransportErrorCode {
    quinn::TransportErrorCode::crypto(120)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn fingerprint_of(certificate: &CertificateDer<'_>) -> Result<Fingerprint, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(Fingerprint::of_spki(&parsed.subject_public_key_info()))
}

fn not_for_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken".to_owned())
}

/// The part of a verifier that is the same on both sides: TLS 1.3 signatures by the provider's algorithms, no TLS 1.2.
macro_rules! tls13_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(not_for_tls12())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

/// Accepts the keys that are known, and any while somebody may be paired: what a stranger may say then is the listener's to see to.
#[derive(Debug)]
struct KnownClients {
    door: Arc<dyn Door>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for KnownClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let found = fingerprint_of(end_entity)?;
        if self.door.knows(found) || self.door.pairs() {
            return Ok(ClientCertVerified::assertion());
        }
        tracing::warn!(event = "peer-refused", fingerprint = %found, "a peer with an unknown key was refused");
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    tls13_only!();
}

/// Shows the key that the client says it expects, where this node has it, else the present one.
#[derive(Debug)]
struct Shown(Arc<dyn Door>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.0.keyring().certified(hello.server_name().and_then(expected_by))))
    }
}

/// Shows one key.
#[derive(Debug)]
struct Ours(Arc<CertifiedKey>);

impl ResolvesClientCert for Ours {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The server name by which a client says which key it expects: two labels of 32 hexadecimal digits.
pub(crate) fn name_of(expected: Fingerprint) -> String {
    let hex = expected.to_hex();
    format!("{}.{}.replfs", &hex[..32], &hex[32..])
}

/// What [`name_of`] was made from.
pub(crate) fn expected_by(name: &str) -> Option<Fingerprint> {
    let (first, rest) = name.split_once('.')?;
    let (second, _) = rest.split_once('.')?;
    Fingerprint::from_hex(&format!("{first}{second}"))
}

/// Accepts some keys, and remembers which other was shown.
#[derive(Debug)]
pub(crate) struct OneServer {
    expected: Vec<Fingerprint>,
    found: Mutex<Option<Fingerprint>>,
    provider: Arc<CryptoProvider>,
}

impl OneServer {
    pub(crate) fn new(expected: Vec<Fingerprint>) -> Arc<Self> {
        Arc::new(Self { expected, found: Mutex::new(None), provider: provider() })
    }

    /// The key that was shown and is not the expected one.
    pub(crate) fn mismatch(&self) -> Option<Fingerprint> {
        self.found.lock().map_or(None, |found| *found)
    }
}

impl ServerCertVerifier for OneServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = fingerprint_of(end_entity)?;
        if self.expected.contains(&found) {
            return Ok(ServerCertVerified::assertion());
        }
        if let Ok(mut place) = self.found.lock() {
            *place = Some(found);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    tls13_only!();
}

fn bad_key(reason: impl std::fmt::Display) -> ScmError {
    ScmError::Key(reason.to_string())
}

pub(crate) fn server_config(door: &Arc<dyn Door>) -> Result<rustls::ServerConfig, ScmError> {
    let verifier = Arc::new(KnownClients { door: Arc::clone(door), provider: provider() });
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(bad_key)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Shown(Arc::clone(door))));
    config.alpn_protocols = vec![ALPN.to_vec(), PAIR_ALPN.to_vec()];
    // No resumption: every connection shows its key (and 0-RTT can be replayed).
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// `alpn`: [`ALPN`] or [`PAIR_ALPN`].
pub(crate) fn client_config(
    shown: &Arc<CertifiedKey>,
    server: Arc<OneServer>,
    alpn: &[u8],
) -> Result<rustls::ClientConfig, ScmError> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(bad_key)?
        .dangerous()
        .with_custom_certificate_verifier(server)
        .with_client_cert_resolver(Arc::new(Ours(Arc::clone(shown))));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_key_is_read_from_the_name_and_nothing_else_is_one() {
        let some = Fingerprint::from_bytes(std::array::from_fn(|i| u8::try_from(i * 7 % 256).unwrap()));
        assert_eq!(expected_by(&name_of(some)), Some(some));
        assert!(ServerName::try_from(name_of(some)).is_ok(), "it is a name by the rules of DNS");
        for name in ["replfs", "a.b.replfs", "", "..", &name_of(some)[1..]] {
            assert_eq!(expected_by(name), None, "{name}");
        }
    }
}
