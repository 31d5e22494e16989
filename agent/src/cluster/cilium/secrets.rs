//! The mesh's Secrets, reduced at once to fingerprints, names, dates and ids.
//!
//! Only with `--read-secrets`, only those named in [`SECRET_NAMES`], never a list. Nothing secret outlives this file, and no error here
//! says more than where it arose.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::ByteString;
use prejoin_checks::facts::cilium::{Certificate, IpsecKey, MeshSecrets, Peer};
use prejoin_checks::facts::provenance::{Fact, Reason, Source, Unknown};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

use crate::cluster::config_map::{ConfigMaps, yaml};
use crate::cluster::object::or_default;
use crate::cluster::permissions::{SECRET_NAMES, SECRETS};
use crate::cluster::reader::Reader;

/// The Secrets with one entry per peer, the one whose endpoints count first.
const PEER_SECRETS: [&str; 2] = ["cilium-kvstoremesh", "cilium-clustermesh"];
const CA_BUNDLE: &str = "cilium-root-ca.crt";

#[derive(Deserialize)]
struct Secret {
    #[serde(default, deserialize_with = "or_default")]
    data: BTreeMap<String, ByteString>,
}

pub(super) async fn read(
    reader: &Reader<'_>,
    namespace: &str,
    maps: &Result<Arc<ConfigMaps>, Unknown>,
) -> Fact<MeshSecrets> {
    if !reader.options.read_secrets {
        return Fact::unknown(Reason::NotAsked, "Secrets are read with --read-secrets only");
    }
    let mut secrets = BTreeMap::new();
    for name in SECRET_NAMES {
        match reader.get::<Secret>(&SECRETS, Some(namespace), name).await {
            Ok(secret) => {
                secrets.insert(*name, secret);
            }
            Err(unknown) if unknown.reason == Reason::NotFound => {}
            Err(unknown) => return Fact::Unknown(unknown),
        }
    }
    let reduced = reduce(&secrets, maps).map_err(|flaw| Unknown::new(Reason::Unparsable, flaw));
    reduced.map_or_else(Fact::Unknown, |reduced| {
        Fact::known(reduced, Source::read(format!("Secrets of {namespace}"), ""))
    })
}

fn reduce(secrets: &BTreeMap<&str, Secret>, maps: &Result<Arc<ConfigMaps>, Unknown>) -> Result<MeshSecrets, String> {
    let mut certificates = BTreeMap::new();
    for (name, secret) in secrets {
        for (key, value) in &secret.data {
            if is_pem_certificate(&value.0) {
                let place = format!("{name}/{key}");
                let parsed = certificates_of(&value.0).ok_or_else(|| format!("Secret {place}: no certificate"))?;
                certificates.insert(place, parsed);
            }
        }
    }
    // The bundle of several CAs is public, so it may be a ConfigMap as well.
    if let Some(map) = maps.as_ref().ok().and_then(|maps| maps.get(CA_BUNDLE)) {
        for (key, value) in map
            .data
            .iter()
            .filter(|(_, value)| is_pem_certificate(value.as_bytes()))
        {
            let place = format!("{CA_BUNDLE}/{key}");
            let parsed =
                certificates_of(value.as_bytes()).ok_or_else(|| format!("ConfigMap {place}: no certificate"))?;
            certificates.entry(place).or_insert(parsed);
        }
    }
    let ipsec = match secrets
        .get("cilium-ipsec-keys")
        .and_then(|secret| secret.data.get("keys"))
    {
        Some(keys) => Some(ipsec_key(&keys.0).ok_or("Secret cilium-ipsec-keys/keys: not as Cilium writes it")?),
        None => None,
    };
    Ok(MeshSecrets {
        present: secrets.keys().map(|name| (*name).to_owned()).collect(),
        certificates,
        peers: peers(secrets)?,
        ipsec,
    })
}

fn is_pem_certificate(value: &[u8]) -> bool {
    const MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";
    value.windows(MARK.len()).any(|window| window == MARK)
}

/// All certificates of a PEM text; `None` if one of them is none.
fn certificates_of(pem: &[u8]) -> Option<Vec<Certificate>> {
    let mut all = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.ok()?;
        if block.label == "CERTIFICATE" {
            all.push(certificate(&block.contents)?);
        }
    }
    Some(all)
}

fn certificate(der: &[u8]) -> Option<Certificate> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    let timestamp = |time: x509_parser::time::ASN1Time| jiff::Timestamp::from_second(time.timestamp()).ok();
    let (subject_key_id, authority_key_id) = key_ids(&parsed);
    let names = parsed.subject_alternative_name().ok()?;
    Some(Certificate {
        common_name: common_name(parsed.subject()),
        names: names.map_or_else(Vec::new, |names| {
            names.value.general_names.iter().filter_map(alternative_name).collect()
        }),
        issuer: common_name(parsed.issuer()),
        fingerprint: hex(&Sha256::digest(der)),
        subject_key_id,
        authority_key_id,
        not_before: timestamp(parsed.validity().not_before)?,
        not_after: timestamp(parsed.validity().not_after)?,
        is_ca: parsed.is_ca(),
    })
}

fn common_name(name: &X509Name<'_>) -> String {
    let common_name = name.iter_common_name().next().and_then(|name| name.as_str().ok());
    common_name.unwrap_or_default().to_owned()
}

fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn key_ids(certificate: &X509Certificate<'_>) -> (String, String) {
    let (mut subject, mut authority) = (String::new(), String::new());
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => subject = hex(id.0),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                authority = id.key_identifier.as_ref().map(|id| hex(id.0)).unwrap_or_default();
            }
            _ => {}
        }
    }
    (subject, authority)
}

/// Peers by entry name: a key whose value is an etcd client configuration.
fn peers(secrets: &BTreeMap<&str, Secret>) -> Result<BTreeMap<String, Peer>, String> {
    #[derive(Deserialize)]
    struct Entry {
        endpoints: Vec<String>,
    }
    let mut peers: BTreeMap<String, Peer> = BTreeMap::new();
    for name in PEER_SECRETS {
        let Some(secret) = secrets.get(name) else { continue };
        for (key, value) in &secret.data {
            let Some(text) = std::str::from_utf8(&value.0)
                .ok()
                .filter(|text| text.contains("endpoints:"))
            else {
                continue;
            };
            let entry: Entry = yaml(text).map_err(|flaw| format!("Secret {name}/{key}: {flaw}"))?;
            let peer = peers.entry(key.clone()).or_default();
            peer.secrets.push(name.to_owned());
            peer.own_ca |= secret.data.contains_key(&format!("{key}.etcd-client-ca.crt"));
            if peer.endpoints.is_empty() {
                peer.endpoints = entry.endpoints.iter().map(|endpoint| without_user(endpoint)).collect();
            }
        }
    }
    Ok(peers)
}

/// `https://user:password@host` as `https://host`.
fn without_user(endpoint: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => endpoint.rsplit_once('@').map_or(endpoint, |(_, host)| host).to_owned(),
    }
}

/// The last line, which is the one in force: `3+ rfc4106(gcm(aes)) 0x… 128` or `3 hmac(sha256) 0x… cbc(aes) 0x…`.
fn ipsec_key(keys: &[u8]) -> Option<IpsecKey> {
    let text = std::str::from_utf8(keys).ok()?;
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (id, material) = fields.split_first()?;
    let per_tunnel = id.ends_with('+');
    let id = id
        .trim_end_matches('+')
        .parse()
        .ok()
        .filter(|id| (1..=15).contains(id))?;
    let (algorithm, length_bits) = match material {
        [algorithm, _key, bits] => ((*algorithm).to_owned(), Some(bits.parse().ok()?)),
        [authentication, _, encryption, _] => (format!("{encryption} {authentication}"), None),
        _ => return None,
    };
    let mut digest = Sha256::new();
    digest.update(b"prejoin ipsec key");
    for field in material {
        digest.update([0]);
        digest.update(field.to_ascii_lowercase());
    }
    Some(IpsecKey {
        id,
        algorithm,
        length_bits,
        per_tunnel,
        digest: hex(&digest.finalize()),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(data: &[(&str, &str)]) -> Secret {
        Secret {
            data: data
                .iter()
                .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())))
                .collect(),
        }
    }

    const KEY: &str = "0x00112233445566778899aabbccddeeff00112233";

    #[test]
    fn an_ipsec_key_is_reduced_to_id_algorithm_and_digest() {
        let key = ipsec_key(format!("3+ rfc4106(gcm(aes)) {KEY} 128\n").as_bytes()).unwrap();
        assert_eq!((key.id, key.per_tunnel, key.length_bits), (3, true, Some(128)));
        assert_eq!(key.algorithm, "rfc4106(gcm(aes))");
        assert_eq!(key.digest.len(), 64);
        assert!(!format!("{key:?}").contains("112233"));
        let other_id = ipsec_key(format!("4 rfc4106(gcm(aes)) {KEY} 128").as_bytes()).unwrap();
        assert_eq!(other_id.digest, key.digest, "the key is the same");
        let other_key = ipsec_key(format!("3+ rfc4106(gcm(aes)) {KEY}44 128").as_bytes()).unwrap();
        assert_ne!(other_key.digest, key.digest);
    }

    #[test]
    fn two_algorithms_and_several_lines_are_understood_and_nonsense_is_not() {
        let text = format!("1 hmac(sha256) 0xaa cbc(aes) 0xbb\n2 hmac(sha256) {KEY} cbc(aes) {KEY}\n\n");
        let key = ipsec_key(text.as_bytes()).unwrap();
        assert_eq!((key.id, key.algorithm.as_str()), (2, "cbc(aes) hmac(sha256)"));
        for nonsense in ["", "x", "0 a b 128", "16 a b 128", "3 a b", "3 a b many"] {
            assert!(ipsec_key(nonsense.as_bytes()).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn peers_are_the_entries_and_kvstoremesh_knows_their_real_address() {
        let secrets = BTreeMap::from([
            (
                "cilium-clustermesh",
                secret(&[
                    (
                        "west",
                        "endpoints:\n- https://clustermesh-apiserver.kube-system.svc:2379\n",
                    ),
                    ("west.etcd-client-ca.crt", "-----BEGIN"),
                    ("common-etcd-client.key", "hush"),
                ]),
            ),
            (
                "cilium-kvstoremesh",
                secret(&[(
                    "west",
                    "endpoints:\n- https://u:p@west.mesh.cilium.io:32379\ntrusted-ca-file: /x\n",
                )]),
            ),
        ]);
        let peers = peers(&secrets).unwrap();
        assert_eq!(peers.len(), 1);
        let west = &peers["west"];
        assert_eq!(west.endpoints, ["https://west.mesh.cilium.io:32379"]);
        assert_eq!(west.secrets, ["cilium-kvstoremesh", "cilium-clustermesh"]);
        assert!(west.own_ca);
    }

    /// Made by OpenSSL: a CA and a leaf with names, both without their keys.
    const CA: &str = include_str!("secrets/ca.pem");
    const LEAF: &str = include_str!("secrets/leaf.pem");

    #[test]
    fn certificates_are_reduced_to_names_ids_and_dates() {
        let secrets = BTreeMap::from([
            (
                "cilium-ca",
                secret(&[("ca.crt", CA), ("ca.key", "-----BEGIN PRIVATE KEY-----\nhush")]),
            ),
            (
                "clustermesh-apiserver-server-cert",
                secret(&[("tls.crt", &format!("{LEAF}{CA}"))]),
            ),
        ]);
        let reduced = reduce(&secrets, &Ok(Arc::default())).unwrap();
        let ca = &reduced.certificates["cilium-ca/ca.crt"][0];
        assert!(ca.is_ca && ca.common_name == "Cilium CA" && ca.fingerprint.len() == 64);
        let chain = &reduced.certificates["clustermesh-apiserver-server-cert/tls.crt"];
        let leaf = &chain[0];
        assert_eq!(chain.len(), 2);
        assert_eq!(leaf.issuer, "Cilium CA");
        assert_eq!(leaf.authority_key_id, ca.subject_key_id);
        assert_eq!(
            leaf.names,
            [
                "*.mesh.cilium.io",
                "clustermesh-apiserver.kube-system.svc",
                "127.0.0.1",
                "::1"
            ]
        );
        assert!(leaf.not_before < leaf.not_after && !leaf.is_ca);
        assert!(!serde_json::to_string(&reduced).unwrap().contains("hush"));
        assert_eq!(reduced.present.len(), 2);
    }

    #[test]
    fn a_broken_certificate_is_told_by_its_place_alone() {
        let broken = "-----BEGIN CERTIFICATE-----\naHVzaA==\n-----END CERTIFICATE-----\n";
        let secrets = BTreeMap::from([("cilium-ca", secret(&[("ca.crt", broken)]))]);
        let flaw = reduce(&secrets, &Ok(Arc::default())).unwrap_err();
        assert_eq!(flaw, "Secret cilium-ca/ca.crt: no certificate");
    }
}
