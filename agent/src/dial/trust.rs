//! Whom the agent takes for its collector: who has a certificate of a known authority for the name, or the certificate whose fingerprint
//! came with the enrolment.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate's SHA-256, as `openssl x509 -fingerprint -sha256` has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// What is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no SHA-256 fingerprint: 64 hex digits, with or without colons")]
pub struct NoFingerprint(String);

impl Fingerprint {
    /// Of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NoFingerprint(text.to_owned());
        let bare = text.trim().trim_start_matches("sha256:").trim_start_matches("SHA256:");
        let digits: Vec<u8> = bare.bytes().filter(|byte| *byte != b':').collect();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| {
                char::from(digit)
                    .to_digit(16)
                    .and_then(|value| u8::try_from(value).ok())
            };
            *byte = digit(pair[0])
                .zip(digit(pair[1]))
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(wrong)?;
        }
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// How TLS is set up towards the collector: trusting the system's authorities (or those that `SSL_CERT_FILE` names), or one certificate.
pub fn client_config(pinned: Option<Fingerprint>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = match pinned {
        Some(fingerprint) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint, provider })),
        None => builder.with_root_certificates(system_authorities()?),
    }
    .with_no_client_auth();
    // WebSockets begin with a request of HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn system_authorities() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut authorities = RootCertStore::empty();
    let (taken, _) = authorities.add_parsable_certificates(found.certs);
    if taken > 0 {
        return Ok(authorities);
    }
    let why = found
        .errors
        .first()
        .map(|error| format!(" ({error})"))
        .unwrap_or_default();
    Err(format!(
        "this system knows no certificate authority{why}: name one by SSL_CERT_FILE, or give the collector's fingerprint"
    ))
}

/// Trusts one certificate. Where it is the server's own, that it has the key to it says enough, and its names do not matter; where it
/// issued the server's, the server's must be for the name that is dialled.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Fingerprint::of(end) == self.fingerprint {
            return is_valid_at(end, now).map(|()| ServerCertVerified::assertion());
        }
        let pinned = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.fingerprint)
            .ok_or(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))?;
        let mut authority = RootCertStore::empty();
        authority.add(pinned.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(authority), Arc::clone(&self.provider)).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate that is trusted for what it is has a time, too.
fn is_valid_at(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        Err(Error::InvalidCertificate(CertificateError::NotValidYet))
    } else if now > validity.not_after.timestamp() {
        Err(Error::InvalidCertificate(CertificateError::Expired))
    } else {
        Ok(())
    }
}

/// A failure to agree on TLS, in words that say what to do.
pub fn failure(error: &Error, pinned: Option<Fingerprint>) -> String {
    match (error, pinned) {
        (Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure), Some(fingerprint)) => {
            format!(
                "the collector's certificate is not the one of the enrolment (SHA-256 {fingerprint}): enrol again if it was replaced"
            )
        }
        (Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }), _) => {
            format!("the collector's certificate has expired: {error}")
        }
        _ => format!("TLS: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn now() -> UnixTime {
        UnixTime::now()
    }

    fn pinned(fingerprint: Fingerprint) -> Pinned {
        Pinned {
            fingerprint,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        }
    }

    fn verify(
        pinned: &Pinned,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &str,
        now: UnixTime,
    ) -> Result<(), Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        pinned.verify_server_cert(end, chain, &name, &[], now).map(drop)
    }

    fn own(names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_fingerprint_is_read_as_openssl_writes_it() {
        let bare = "00ff".repeat(16);
        let fingerprint: Fingerprint = bare.parse().unwrap();
        assert_eq!(fingerprint.to_string(), bare);
        let colons = vec!["00:FF"; 16].join(":");
        assert_eq!(colons.parse(), Ok(fingerprint));
        assert_eq!(format!("sha256:{bare}").parse(), Ok(fingerprint));
        for wrong in ["", "00ff", &"0g".repeat(32), &"é".repeat(32)] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_very_certificate_is_trusted_under_any_name() {
        let certificate = own(&["elsewhere"]);
        let pinned = pinned(Fingerprint::of(&certificate));
        assert_eq!(verify(&pinned, &certificate, &[], "collector", now()), Ok(()));
        let another = own(&["collector"]);
        let refused = Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ));
        assert_eq!(verify(&pinned, &another, &[], "collector", now()), refused);
    }

    #[test]
    fn the_very_certificate_is_not_trusted_outside_its_time() {
        let mut params = CertificateParams::new(vec!["collector".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        let pinned = pinned(Fingerprint::of(&certificate));
        let at = |year: u64| UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_556_952));
        let refused = |why| Err(Error::InvalidCertificate(why));
        assert_eq!(
            verify(&pinned, &certificate, &[], "collector", at(2019)),
            refused(CertificateError::NotValidYet)
        );
        assert_eq!(
            verify(&pinned, &certificate, &[], "collector", at(2023)),
            refused(CertificateError::Expired)
        );
        let said = failure(&Error::InvalidCertificate(CertificateError::Expired), None);
        assert!(said.contains("expired"), "{said}");
    }

    #[test]
    fn what_a_trusted_issuer_signed_must_be_for_the_name() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let params = CertificateParams::new(vec!["collector".to_owned()]).unwrap();
        let signed = params
            .signed_by(&KeyPair::generate().unwrap(), &issuer)
            .unwrap()
            .der()
            .clone();
        let chain = [issuer.der().clone()];
        let pinned = pinned(Fingerprint::of(&chain[0]));
        assert_eq!(verify(&pinned, &signed, &chain, "collector", now()), Ok(()));
        assert!(verify(&pinned, &signed, &chain, "another", now()).is_err());
        // The issuer shown beside a certificate that it did not sign.
        assert!(verify(&pinned, &own(&["collector"]), &chain, "collector", now()).is_err());
    }
}
