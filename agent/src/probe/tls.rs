//! What a TLS service shows before it asks who we are: its certificate. Any certificate is looked at, none is trusted, and none of our own
//! is shown.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prejoin_checks::observation::TlsPeek;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// Names of a certificate that are kept.
const NAMES_KEPT: usize = 64;
/// Bytes of one name that are kept.
const NAME_BYTES: usize = 512;

/// Shakes hands with a service by this name, as far as it goes without a client certificate.
pub(super) async fn peek(stream: &mut TcpStream, host: &str, address: IpAddr) -> TlsPeek {
    let seen = Arc::new(Seen::default());
    let config = match config(&seen) {
        Ok(config) => config,
        Err(error) => return failed(error.to_string()),
    };
    let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(address));
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut peek = seen
        .certificate()
        .and_then(|certificate| describe(&certificate))
        .unwrap_or_default();
    peek.asks_client_certificate = seen.asked.load(Ordering::Relaxed);
    match shaken {
        Ok(stream) => {
            let version = stream.get_ref().1.protocol_version();
            peek.version = version
                .and_then(|version| version.as_str())
                .unwrap_or_default()
                .replace("TLSv1_", "TLSv1.");
        }
        // A service that insists on a client certificate ends the handshake after it has shown its own.
        Err(error) if peek.fingerprint.is_empty() || !peek.asks_client_certificate => {
            peek.failure = Some(error.to_string());
        }
        Err(_) => {}
    }
    peek
}

/// No handshake, and why.
pub(super) fn failed(why: impl Into<String>) -> TlsPeek {
    TlsPeek {
        failure: Some(why.into()),
        ..TlsPeek::default()
    }
}

fn config(seen: &Arc<Seen>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(LookOnly {
        seen: Arc::clone(seen),
        provider: Arc::clone(&provider),
    });
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::clone(seen) as Arc<dyn ResolvesClientCert>))
}

/// What the handshake showed.
#[derive(Debug, Default)]
struct Seen {
    certificate: Mutex<Option<Vec<u8>>>,
    asked: AtomicBool,
}

impl Seen {
    fn certificate(&self) -> Option<Vec<u8>> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesClientCert for Seen {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes every certificate, to look at it.
#[derive(Debug)]
struct LookOnly {
    seen: Arc<Seen>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for LookOnly {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(end.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    // That the service holds the certificate's key is verified: otherwise anybody could show it.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What of a certificate is kept; none if it is not one.
fn describe(der: &[u8]) -> Option<TlsPeek> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives
        .into_iter()
        .flat_map(|extension| &extension.value.general_names);
    let authority = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => {
                authority.key_identifier.as_ref().map(|key| hex(key.0))
            }
            _ => None,
        });
    Some(TlsPeek {
        subject: printable(&certificate.subject().to_string()),
        issuer: printable(&certificate.issuer().to_string()),
        names: names.filter_map(name).take(NAMES_KEPT).collect(),
        not_before: time(certificate.validity().not_before),
        not_after: time(certificate.validity().not_after),
        fingerprint: hex(&Sha256::digest(der)),
        authority_key_id: authority.unwrap_or_default(),
        ..TlsPeek::default()
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some(printable(name)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(|bytes| Ipv6Addr::from(bytes).to_string()))
                .ok()
        }
        _ => None,
    }
}

fn printable(text: &str) -> String {
    let text: String = text.chars().filter(|character| !character.is_control()).collect();
    super::cut(&text, NAME_BYTES).to_owned()
}

fn time(time: ASN1Time) -> String {
    jiff::Timestamp::from_second(time.timestamp())
        .map(|time| time.to_string())
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// For fuzzing: whatever a certificate is, describing it does not panic, and keeps no more of it than is meant to be kept.
pub(super) fn fuzz(der: &[u8]) {
    if let Some(peek) = describe(der) {
        assert!(peek.names.len() <= NAMES_KEPT);
        let mut texts = peek.names.iter().chain([&peek.subject, &peek.issuer]);
        assert!(texts.all(|text| text.len() <= NAME_BYTES && !text.chars().any(char::is_control)));
    }
}
