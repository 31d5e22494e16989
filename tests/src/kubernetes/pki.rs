//! A cluster's own authority, and everybody's keys and certificates.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// A cluster's authority; what it issues is written into its folder as `NAME.crt` and `NAME.key`.
pub(super) struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Who a certificate is for.
pub(super) struct Subject<'a> {
    /// File name without its ending.
    pub file: &'a str,
    /// The user's name, as Kubernetes reads it.
    pub name: &'a str,
    /// The user's group.
    pub group: Option<&'a str>,
    /// Addresses and names it answers to, if it is a server.
    pub answers_to: Vec<String>,
}

impl Authority {
    /// A new authority (`ca.crt`), and the key that signs service accounts' tokens (`service-account.key` and `.pub`).
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("lab", None);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = Self {
            folder: folder.to_owned(),
            issuer,
        };
        authority.write("ca.crt", &authority.issuer.pem())?;
        let tokens = KeyPair::generate()?;
        authority.write("service-account.key", &tokens.serialize_pem())?;
        authority.write("service-account.pub", &tokens.public_key_pem())?;
        Ok(authority)
    }

    /// Issues a certificate with a new key.
    pub(super) fn issue(&self, subject: Subject<'_>) -> anyhow::Result<()> {
        let mut params = CertificateParams::new(subject.answers_to)?;
        params.distinguished_name = named(subject.name, subject.group);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        self.write(&format!("{}.crt", subject.file), &certificate.pem())?;
        self.write(&format!("{}.key", subject.file), &key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn named(name: &str, group: Option<&str>) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    if let Some(group) = group {
        names.push(DnType::OrganizationName, group);
    }
    names
}
