//! The pre-shared key of the tunnels, reduced to a fingerprint.
//!
//! Only with `--read-secrets`: so the `Submariner` object is read once more here rather than its key by everybody. The key is in memory
//! for as long as its fingerprint takes, and no error here says more than where it arose.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU32;

use prejoin_checks::facts::provenance::{Fact, Known, Reason, Source, Unknown};
use prejoin_checks::facts::submariner::PreSharedKey;
use ring::pbkdf2;
use serde::Deserialize;

use super::operator::first;
use crate::cluster::object::{Meta, is_name, or_default};
use crate::cluster::permissions::{SECRETS, SUBMARINERS};
use crate::cluster::reader::Reader;

/// Facts of two clusters may be read by people who share nothing, so the salt is a constant. What keeps a list of likely keys from being
/// tried on a facts file is the price of each: as many rounds as OWASP asks for with stored passwords.
const SALT: &[u8] = b"prejoin submariner pre-shared key";
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("more than none");
/// Enough to tell keys apart, and less than the key.
const FINGERPRINT_BYTES: usize = 8;

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "ceIPSecPSK")]
    key: String,
    #[serde(rename = "ceIPSecPSKSecret")]
    secret: String,
    #[serde(rename = "cableDriver")]
    cable_driver: String,
}

/// Left in Base64: it is in this form that gateways use the key, and that `ceIPSecPSK` holds it.
#[derive(Deserialize)]
struct Secret {
    #[serde(default, deserialize_with = "or_default")]
    data: BTreeMap<String, String>,
}

/// Where a cluster's key is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Field(String),
    Secret(String),
    /// In a Secret whose name is none.
    Unnamed,
    Nowhere,
}

pub(super) async fn read(reader: &Reader<'_>, namespace: Option<&str>) -> Fact<PreSharedKey> {
    let Some(namespace) = namespace else {
        return Fact::unknown(Reason::NotInstalled, "no namespace has a Submariner object or gateway");
    };
    if !reader.options.read_secrets {
        return Fact::unknown(Reason::NotAsked, "Secrets are read with --read-secrets only");
    }
    fingerprint(reader, namespace).await.into()
}

async fn fingerprint(reader: &Reader<'_>, namespace: &str) -> Result<Known<PreSharedKey>, Unknown> {
    let found = first(reader, &SUBMARINERS, |object: Object| {
        (object.metadata.key(), place(object.spec))
    })
    .await?;
    let (object, place) = found.ok_or_else(|| Unknown::new(Reason::NotInstalled, "there is no Submariner object"))?;
    let (key, source) = match place {
        Place::Field(key) => (key, Source::read(format!("Submariner {object}"), "spec.ceIPSecPSK")),
        Place::Secret(name) => {
            let mut secret: Secret = reader.get(&SECRETS, Some(namespace), &name).await?;
            let key = secret
                .data
                .remove("psk")
                .ok_or_else(|| Unknown::not_found(format!("Secret {namespace}/{name} has no key psk")))?;
            (key, Source::read(format!("Secret {namespace}/{name}"), "psk"))
        }
        Place::Unnamed => {
            return Err(Unknown::new(
                Reason::Unparsable,
                format!("Submariner {object}: ceIPSecPSKSecret is no name"),
            ));
        }
        Place::Nowhere => {
            return Err(Unknown::not_found(format!(
                "Submariner {object} names no key that its cable driver uses"
            )));
        }
    };
    // It takes a while, which other reading need not wait for.
    let reduced = tokio::task::spawn_blocking(move || reduce(&key)).await;
    let reduced = reduced.map_err(|_| Unknown::new(Reason::CheckFailed, "the fingerprint of the key was not made"))?;
    Ok(Known::new(reduced, source))
}

/// Libreswan prefers the Secret; WireGuard knows the field alone.
fn place(spec: Spec) -> Place {
    if !spec.secret.is_empty() && spec.cable_driver != "wireguard" {
        if is_name(&spec.secret) {
            Place::Secret(spec.secret)
        } else {
            Place::Unnamed
        }
    } else if spec.key.is_empty() {
        Place::Nowhere
    } else {
        Place::Field(spec.key)
    }
}

fn reduce(key: &str) -> PreSharedKey {
    let mut bytes = [0; FINGERPRINT_BYTES];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, SALT, key.as_bytes(), &mut bytes);
    let mut fingerprint = String::with_capacity(2 * FINGERPRINT_BYTES);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(fingerprint, "{byte:02x}");
    }
    PreSharedKey { fingerprint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(json: &str) -> Place {
        place(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_fingerprint_tells_keys_apart_and_shows_none() {
        let one = reduce("hush");
        assert_ne!(one, reduce("husi"));
        assert_eq!(one.fingerprint.len(), 16);
        assert!(!one.fingerprint.contains("hush"));
    }

    #[test]
    fn the_driver_decides_which_key_counts() {
        let both = |driver: &str| {
            place_of(&format!(
                r#"{{"ceIPSecPSK":"aHVzaA==","ceIPSecPSKSecret":"submariner-ipsec-psk","cableDriver":"{driver}"}}"#
            ))
        };
        assert_eq!(both("libreswan"), Place::Secret("submariner-ipsec-psk".to_owned()));
        assert_eq!(both(""), Place::Secret("submariner-ipsec-psk".to_owned()));
        assert_eq!(both("wireguard"), Place::Field("aHVzaA==".to_owned()));
        assert_eq!(
            place_of(r#"{"ceIPSecPSK":"aHVzaA=="}"#),
            Place::Field("aHVzaA==".to_owned())
        );
        assert_eq!(place_of("{}"), Place::Nowhere);
        assert_eq!(place_of(r#"{"ceIPSecPSKSecret":"."}"#), Place::Unnamed);
    }
}
