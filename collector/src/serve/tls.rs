//! The listener's certificate: yours, read again when it changes, or one made on first start and kept beside the store.

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use jiff::{Timestamp, ToSpan as _};
use prejoin_agent::dial::trust::Fingerprint;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::output;

/// Files are looked at so often.
const LOOK: Duration = Duration::from_secs(10);
/// A certificate that ends sooner is spoken of.
const SOON_SECONDS: i64 = 30 * 24 * 3600;
/// How long one that is made here serves: agents know it by its fingerprint, so that another means to enrol them again.
const YEARS: i32 = 10;

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// The user's.
    Given {
        /// The certificate and those that issued it, PEM.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
    /// Made here, if they are not there yet.
    Made {
        /// Certificate and key in one, PEM.
        file: PathBuf,
        /// The names and addresses that it is for, besides those of this machine.
        names: Vec<String>,
    },
}

/// Why there is no certificate to serve with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct TlsError {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

/// The certificate in use.
#[derive(Clone)]
pub struct Identity {
    files: Files,
    config: RustlsConfig,
    shown: Arc<Mutex<Shown>>,
}

/// What is known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    pems: (Vec<u8>, Vec<u8>),
    fingerprint: Option<Fingerprint>,
    ends: Timestamp,
}

impl Identity {
    /// Reads the certificate, or makes it.
    pub fn open(files: Files) -> Result<Self, TlsError> {
        if let Files::Made { file, names } = &files
            && !file.exists()
        {
            make(file, names).map_err(|why| TlsError::new(file, &why))?;
        }
        let (config, shown) = load(&files)?;
        warn_of_end(&shown);
        Ok(Self {
            files,
            config: RustlsConfig::from_config(Arc::new(config)),
            shown: Arc::new(Mutex::new(shown)),
        })
    }

    /// By what agents know this collector: the SHA-256 of a certificate that was made here or signed itself, or of the issuer that the user's
    /// file ends with. None where an issuer is not among the files: then agents have to know it.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).fingerprint
    }

    /// For the listener; follows what [`Identity::watch`] finds.
    pub fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Takes new files as they come, until this is dropped. What cannot be used leaves the certificate as it was, and is said once.
    pub async fn watch(&self) {
        let mut said = None;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.look() {
                Ok(true) => output::say("prejoin: the listener's certificate was replaced"),
                Ok(false) => said = None,
                Err(error) if said.as_ref() != Some(&error) => {
                    output::say(&format!("prejoin: the listener's certificate stays as it was: {error}"));
                    said = Some(error);
                }
                Err(_) => {}
            }
        }
    }

    /// Reads the files again; whether there was anything new.
    pub fn look(&self) -> Result<bool, TlsError> {
        let pems = read(&self.files)?;
        if self.shown.lock().unwrap_or_else(PoisonError::into_inner).pems == pems {
            return Ok(false);
        }
        let (config, shown) = load(&self.files)?;
        warn_of_end(&shown);
        self.config.reload_from_config(Arc::new(config));
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(true)
    }
}

impl TlsError {
    fn new(file: &Path, why: &impl ToString) -> Self {
        Self {
            file: file.display().to_string(),
            why: why.to_string(),
        }
    }
}

/// Certificate and key, as they stand in the files.
fn read(files: &Files) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &PathBuf| fs::read(path).map_err(|error| TlsError::new(path, &error));
    match files {
        Files::Given { certificate, key } => Ok((read(certificate)?, read(key)?)),
        Files::Made { file, .. } => {
            let both = read(file)?;
            Ok((both.clone(), both))
        }
    }
}

fn load(files: &Files) -> Result<(ServerConfig, Shown), TlsError> {
    let pems = read(files)?;
    let (certificate, key) = match files {
        Files::Given { certificate, key } => (certificate, key),
        Files::Made { file, .. } => (file, file),
    };
    let chain: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&pems.0).collect();
    let chain = chain.map_err(|error| TlsError::new(certificate, &format!("no certificate in PEM: {error}")))?;
    let first = chain
        .first()
        .ok_or_else(|| TlsError::new(certificate, &"it holds no certificate"))?;
    let (_, parsed) = X509Certificate::from_der(first).map_err(|error| TlsError::new(certificate, &error))?;
    let ends = Timestamp::from_second(parsed.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX);
    let is_own_issuer = parsed.subject() == parsed.issuer();
    // Agents trust it for what it issued, so it has to be one that issues.
    let issuer = chain.last().filter(|_| chain.len() > 1).filter(|last| {
        let parsed = X509Certificate::from_der(last);
        parsed.is_ok_and(|(_, parsed)| parsed.is_ca() && parsed.subject() == parsed.issuer())
    });
    let fingerprint = issuer.or(Some(first).filter(|_| is_own_issuer)).map(Fingerprint::of);
    let private = PrivateKeyDer::from_pem_slice(&pems.1)
        .map_err(|error| TlsError::new(key, &format!("no key in PEM: {error}")))?;
    let chain = chain.into_iter().map(CertificateDer::into_owned).collect();
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new(certificate, &error))?;
    let config = builder.with_no_client_auth().with_single_cert(chain, private);
    let mut config = config.map_err(|error| TlsError::new(key, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((
        config,
        Shown {
            pems,
            fingerprint,
            ends,
        },
    ))
}

fn warn_of_end(shown: &Shown) {
    let left = shown.ends.as_second() - Timestamp::now().as_second();
    if left < 0 {
        output::say(&format!(
            "prejoin: the listener's certificate has expired ({}): agents and browsers refuse it",
            shown.ends
        ));
    } else if left < SOON_SECONDS {
        output::say(&format!("prejoin: the listener's certificate ends {}", shown.ends));
    }
}

/// Makes a certificate that signs itself.
fn make(file: &Path, names: &[String]) -> Result<(), String> {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    all.extend(host.filter(|host| !host.is_empty()));
    all.extend(names.iter().cloned());
    let mut seen = std::collections::BTreeSet::new();
    // A name that fits no certificate is left out: agents go by the fingerprint.
    let usable = |name: &String| {
        name.parse::<IpAddr>().is_ok() || name.chars().all(|c| c.is_ascii_alphanumeric() || ".-*".contains(c))
    };
    all.retain(|name| usable(name) && seen.insert(name.clone()));
    let mut params = CertificateParams::new(all).map_err(|error| error.to_string())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "prejoin collector");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = Timestamp::now();
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    // Clocks of clusters may be behind.
    let from = today.checked_sub(2.days()).map_err(|error| error.to_string())?;
    let until = today.checked_add(YEARS.years()).map_err(|error| error.to_string())?;
    let day = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    params.not_before = day(from);
    params.not_after = day(until);
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    write(file, &format!("{}{}", certificate.pem(), key.serialize_pem())).map_err(|error| error.to_string())
}

/// Nobody else may read it, nobody ever sees half of it, and of two that make it at once one wins.
fn write(file: &Path, pem: &str) -> io::Result<()> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let mut new = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    new.write_all(pem.as_bytes())?;
    new.sync_all()?;
    let linked = fs::hard_link(&temporary, file);
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rcgen::{BasicConstraints, CertifiedIssuer, IsCa};
    use x509_parser::extensions::GeneralName;

    use super::*;

    fn made(file: &Path) -> Identity {
        let names = vec![
            "collector.example".to_owned(),
            "192.0.2.1".to_owned(),
            "not a name".to_owned(),
        ];
        let file = file.to_owned();
        Identity::open(Files::Made { file, names }).unwrap()
    }

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prejoin.pem");
        let first = made(&file).fingerprint();
        assert!(first.is_some());
        assert_eq!(made(&file).fingerprint(), first);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_certificate_made_here_is_for_the_names_of_the_collector() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prejoin.pem");
        let identity = made(&file);
        let chain = CertificateDer::from_pem_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(identity.fingerprint(), Some(Fingerprint::of(&chain)));
        let (_, parsed) = X509Certificate::from_der(&chain).unwrap();
        let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
        let has = |name: &GeneralName<'_>| names.contains(name);
        assert!(has(&GeneralName::DNSName("localhost")) && has(&GeneralName::DNSName("collector.example")));
        assert!(has(&GeneralName::IPAddress(&[192, 0, 2, 1])));
        assert!(!has(&GeneralName::DNSName("not a name")));
        let years = (parsed.validity().not_after.timestamp() - Timestamp::now().as_second()) / 31_536_000;
        assert!((9..=10).contains(&years), "{years}");
    }

    /// Certificate and key of one that an authority issued, with the authority behind it.
    fn issued(folder: &Path) -> (Files, Fingerprint) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["collector.example".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "collector.example");
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let (at, key_at) = (folder.join("tls.crt"), folder.join("tls.key"));
        fs::write(&at, certificate.pem() + &issuer.pem()).unwrap();
        fs::write(&key_at, key.serialize_pem()).unwrap();
        let files = Files::Given {
            certificate: at,
            key: key_at,
        };
        (files, Fingerprint::of(issuer.der()))
    }

    #[test]
    fn agents_are_told_of_the_authority_so_that_a_renewed_certificate_serves_them_too() {
        let folder = tempfile::tempdir().unwrap();
        let (files, authority) = issued(folder.path());
        let identity = Identity::open(files).unwrap();
        assert_eq!(identity.fingerprint(), Some(authority));
    }

    #[test]
    fn new_files_are_taken_and_wrong_ones_leave_the_old_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let (files, first) = issued(folder.path());
        let identity = Identity::open(files.clone()).unwrap();
        assert_eq!(identity.look(), Ok(false));
        let (_, second) = issued(folder.path());
        assert_eq!(identity.look(), Ok(true));
        assert_eq!(identity.fingerprint(), Some(second));
        assert_ne!(first, second);
        // The key of another certificate.
        fs::write(
            folder.path().join("tls.key"),
            KeyPair::generate().unwrap().serialize_pem(),
        )
        .unwrap();
        let error = identity.look().unwrap_err();
        assert!(error.to_string().contains("tls.key"), "{error}");
        assert_eq!(identity.fingerprint(), Some(second));
        fs::write(folder.path().join("tls.crt"), "nothing").unwrap();
        assert!(identity.look().unwrap_err().to_string().contains("tls.crt"));
    }
}
