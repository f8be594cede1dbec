//! TLS 1.3 with both ends known by fingerprint. Names, dates and issuers of certificates mean nothing here.

use crate::ScmError;
use crate::key::{Fingerprint, NodeKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, Mutex};

const ALPN: &[u8] = b"replfs/1";

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

/// Accepts the keys on a list.
#[derive(Debug)]
struct KnownClients {
    allow: Vec<Fingerprint>,
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
        if self.allow.contains(&found) {
            return Ok(ClientCertVerified::assertion());
        }
        tracing::warn!(event = "peer-refused", fingerprint = %found, "a peer with an unknown key was refused");
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    tls13_only!();
}

/// Accepts one key, and remembers which other was shown.
#[derive(Debug)]
pub(crate) struct OneServer {
    expected: Fingerprint,
    found: Mutex<Option<Fingerprint>>,
    provider: Arc<CryptoProvider>,
}

impl OneServer {
    pub(crate) fn new(expected: Fingerprint) -> Arc<Self> {
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
        if found == self.expected {
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

pub(crate) fn server_config(key: &NodeKey, allow: Vec<Fingerprint>) -> Result<rustls::ServerConfig, ScmError> {
    let (certificate, private) = key.certificate().map_err(bad_key)?;
    let verifier = Arc::new(KnownClients { allow, provider: provider() });
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(bad_key)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], private)
        .map_err(bad_key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // No resumption: every connection shows its key (and 0-RTT can be replayed).
    config.send_tls13_tickets = 0;
    Ok(config)
}

pub(crate) fn client_config(key: &NodeKey, server: Arc<OneServer>) -> Result<rustls::ClientConfig, ScmError> {
    let (certificate, private) = key.certificate().map_err(bad_key)?;
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(bad_key)?
        .dangerous()
        .with_custom_certificate_verifier(server)
        .with_client_auth_cert(vec![certificate], private)
        .map_err(bad_key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}
