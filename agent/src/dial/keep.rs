//! What an agent keeps from one start to the next: its credential, in a Secret of its own namespace or in a file.
//!
//! A credential is made here and only its hash is ever told, before it is of use: whenever this is cut short, the next start finds either the
//! old one that still serves or the new one that serves already.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cluster::client_failure;

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// An enrolment token, put here by whoever installed the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The SHA-256 of the last token that was traded, or that the collector refused for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<String>,
    /// What the agent is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// What it is to be known by next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When the credential was taken into use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Kept {
    /// The token to trade, if it was not traded yet.
    pub fn fresh_token(&self) -> Option<&str> {
        let token = self.token.as_deref().map(str::trim).filter(|token| !token.is_empty())?;
        (self.spent.as_deref() != Some(sha256(token).as_str())).then_some(token)
    }

    /// The next credential is the one from now on.
    pub fn turn(&mut self) {
        if let Some(next) = self.next.take() {
            self.credential = Some(next);
            self.since = Some(Timestamp::now());
        }
    }
}

/// Where it is kept.
#[derive(Clone)]
pub enum Keeper {
    /// In a Secret that is there already.
    Secret {
        /// The Secrets of the agent's namespace.
        secrets: Box<Api<Secret>>,
        /// Its name.
        name: String,
    },
    /// In a file.
    File(PathBuf),
}

impl Keeper {
    /// What is kept; of a file that is not there, nothing.
    pub async fn read(&self) -> Result<Kept, String> {
        match self {
            Self::Secret { secrets, name } => {
                let secret = secrets.get(name).await;
                let secret = secret.map_err(|error| format!("get secret {name}: {}", client_failure(&error).detail))?;
                of_data(secret.data.unwrap_or_default()).map_err(|error| format!("secret {name}: {error}"))
            }
            Self::File(path) => match std::fs::read(path) {
                Ok(text) => serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
                Err(error) => Err(format!("{}: {error}", path.display())),
            },
        }
    }

    /// Keeps this instead.
    pub async fn write(&self, kept: &Kept) -> Result<(), String> {
        match self {
            Self::Secret { secrets, name } => {
                let patch = Patch::Merge(json!({ "data": into_data(kept) }));
                let patched = secrets.patch(name, &PatchParams::default(), &patch).await;
                patched.map_err(|error| format!("patch secret {name}: {}", client_failure(&error).detail))?;
                Ok(())
            }
            Self::File(path) => replace(path, kept).map_err(|error| format!("{}: {error}", path.display())),
        }
    }
}

/// Nobody else may read it, and nobody ever sees half of it.
fn replace(path: &Path, kept: &Kept) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}

fn of_data(data: BTreeMap<String, ByteString>) -> Result<Kept, String> {
    let mut texts = serde_json::Map::new();
    for (key, ByteString(bytes)) in data {
        let text = String::from_utf8(bytes).map_err(|_| format!("`{key}` is not UTF-8"))?;
        texts.insert(key, Value::String(text));
    }
    serde_json::from_value(Value::Object(texts)).map_err(|error| error.to_string())
}

/// Every member, those that are not there as null: so a merge removes them.
fn into_data(kept: &Kept) -> BTreeMap<&'static str, Option<ByteString>> {
    let bytes = |text: &Option<String>| text.clone().map(|text| ByteString(text.into_bytes()));
    BTreeMap::from([
        ("token", bytes(&kept.token)),
        ("spent", bytes(&kept.spent)),
        ("credential", bytes(&kept.credential)),
        ("next", bytes(&kept.next)),
        ("since", bytes(&kept.since.map(|since| since.to_string()))),
    ])
}

/// The hash by which a collector knows a secret, in hex.
pub fn sha256(secret: &str) -> String {
    hex(&Sha256::digest(secret.trim()))
}

/// A secret of 256 bits, after a word that says what it is.
pub fn make_secret(prefix: &str) -> Result<String, String> {
    let mut random = [0; 32];
    let made = SystemRandom::new().fill(&mut random);
    made.map_err(|_| "this machine gives no random numbers".to_owned())?;
    Ok(format!("{prefix}{}", hex(&random)))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn full() -> Kept {
        Kept {
            token: Some("t".to_owned()),
            spent: Some("s".to_owned()),
            credential: Some("c".to_owned()),
            next: Some("n".to_owned()),
            since: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        }
    }

    #[tokio::test]
    async fn a_file_is_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credential.json");
        let keeper = Keeper::File(path.clone());
        assert_eq!(keeper.read().await, Ok(Kept::default()));
        keeper.write(&full()).await.unwrap();
        assert_eq!(keeper.read().await, Ok(full()));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "{").unwrap();
        let error = keeper.read().await.unwrap_err();
        assert!(error.contains("credential.json"), "{error}");
    }

    #[test]
    fn a_secret_has_every_member_so_that_a_merge_removes_what_is_gone() {
        let data: BTreeMap<String, ByteString> = into_data(&full())
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect();
        assert_eq!(data.len(), 5);
        assert_eq!(of_data(data), Ok(full()));
        let nothing = serde_json::to_value(into_data(&Kept::default())).unwrap();
        assert_eq!(nothing["token"], Value::Null);
        assert_eq!(nothing.as_object().unwrap().len(), 5);
    }

    #[test]
    fn a_token_is_fresh_until_it_was_traded() {
        let mut kept = Kept {
            token: Some(" token\n".to_owned()),
            ..Kept::default()
        };
        assert_eq!(kept.fresh_token(), Some("token"));
        kept.spent = Some(sha256("token"));
        assert_eq!(kept.fresh_token(), None);
        kept.token = Some("another".to_owned());
        assert_eq!(kept.fresh_token(), Some("another"));
    }

    #[test]
    fn secrets_differ() {
        let [one, other] = [(), ()].map(|()| make_secret("pja_").unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 4 + 64);
    }
}
