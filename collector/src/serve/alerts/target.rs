//! [`Target`]: where alerts go, as the configuration says it.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use prejoin_checks::history::life::State;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where alerts go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Target {
    /// What it is called in pages, metrics and the log. What waits for it, waits under this name.
    pub name: String,
    /// What is spoken there.
    pub kind: TargetKind,
    /// Where to: `https://…`; for Alertmanager without `/api/v2/alerts`.
    #[serde(default)]
    pub url: Option<String>,
    /// A file that holds the URL, where the URL itself is a secret, as Slack's is.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// A file that holds the key with which a webhook's body is signed.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// A file that holds a bearer token to send along.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Certificates to trust besides the system's, PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The groups of clusters to tell of. Without it: all.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The states worth telling: `warn`, `unknown`, `fail`. A change is told if it begins or ends in one of them.
    #[serde(default = "all_states")]
    pub states: Vec<State>,
}

/// What a target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// The notice as JSON, signed if there is a key.
    Webhook,
    /// Alertmanager's API v2.
    Alertmanager,
    /// Slack's incoming webhooks, and what accepts the same.
    Slack,
}

fn all_states() -> Vec<State> {
    vec![State::Warn, State::Unknown, State::Fail]
}

/// What is secret about a target, read when it is needed: files are replaced while the collector runs.
#[derive(Clone)]
pub struct Secrets {
    /// Where to.
    pub url: String,
    /// The key that bodies are signed with.
    pub key: Option<Vec<u8>>,
    /// The bearer token.
    pub token: Option<String>,
    /// Certificates, PEM.
    pub ca: Option<Vec<u8>>,
}

/// The largest file of a secret or of certificates that is read.
const MAX_BYTES: u64 = 1 << 20;

impl Target {
    /// What the types alone do not rule out.
    pub fn validate(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.len() > 63 {
            return Err("name has 1 to 63 characters".to_owned());
        }
        match (&self.url, &self.url_file) {
            (Some(url), None) => check_url(url)?,
            (None, Some(_)) => {}
            _ => return Err("one of url and urlFile says where to".to_owned()),
        }
        if self.secret_file.is_some() && self.kind != TargetKind::Webhook {
            return Err("secretFile signs webhooks, and this is none".to_owned());
        }
        if self.states.is_empty() || self.states.iter().any(|state| !state.matters()) {
            return Err("states are warn, unknown and fail".to_owned());
        }
        Ok(())
    }

    /// The same with its files found from this directory.
    #[must_use]
    pub fn located(&self, directory: &Path) -> Self {
        let from = |path: &Option<PathBuf>| path.as_ref().map(|path| directory.join(path));
        Self {
            url_file: from(&self.url_file),
            secret_file: from(&self.secret_file),
            token_file: from(&self.token_file),
            ca_file: from(&self.ca_file),
            ..self.clone()
        }
    }

    /// Whether it is told of this group.
    pub fn hears_of(&self, group: &str) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|name| name == group)
    }

    /// Reads what is secret. What it says when it cannot names the file, never what is in it.
    pub fn secrets(&self) -> Result<Secrets, String> {
        let text = |path: &Path| -> Result<String, String> {
            let bytes = read(path)?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{} is no text", path.display()))?;
            Ok(text.trim().to_owned())
        };
        let url = match (&self.url, &self.url_file) {
            (Some(url), _) => url.clone(),
            (None, Some(path)) => text(path)?,
            (None, None) => return Err("it has no URL".to_owned()),
        };
        check_url(&url)?;
        let key = self.secret_file.as_deref().map(text).transpose()?;
        if key.as_ref().is_some_and(String::is_empty) {
            return Err("the key to sign with is empty".to_owned());
        }
        Ok(Secrets {
            url,
            key: key.map(String::into_bytes),
            token: self.token_file.as_deref().map(text).transpose()?,
            ca: self.ca_file.as_deref().map(read).transpose()?,
        })
    }
}

fn check_url(url: &str) -> Result<(), String> {
    let parsed = reqwest::Url::parse(url).map_err(|_| "url: this is no URL".to_owned())?;
    if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() {
        Ok(())
    } else {
        Err("url: alerts go by http or https".to_owned())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("{} is larger than {MAX_BYTES} bytes", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(yaml: &str) -> Result<Target, String> {
        let target: Target = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        target.validate().map(|()| target)
    }

    #[test]
    fn a_name_a_kind_and_a_place_are_enough() {
        let target = parsed("{name: ops, kind: webhook, url: 'https://ops.example/hook'}").unwrap();
        assert_eq!(target.states, [State::Warn, State::Unknown, State::Fail]);
        assert!(target.hears_of("any"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (yaml, why) in [
            ("{name: ops, kind: webhook}", "one of url and urlFile"),
            (
                "{name: ops, kind: webhook, url: 'https://a', urlFile: b}",
                "one of url and urlFile",
            ),
            ("{name: ops, kind: webhook, url: 'file:///etc/passwd'}", "http or https"),
            ("{name: ops, kind: webhook, url: 'nowhere'}", "no URL"),
            (
                "{name: ops, kind: slack, url: 'https://a', secretFile: b}",
                "signs webhooks",
            ),
            (
                "{name: ops, kind: slack, url: 'https://a', states: [good]}",
                "warn, unknown and fail",
            ),
            ("{name: '', kind: slack, url: 'https://a'}", "1 to 63"),
            (
                "{name: ops, kind: slack, url: 'https://a', colour: red}",
                "unknown field",
            ),
        ] {
            let error = parsed(yaml).unwrap_err();
            assert!(error.contains(why), "{yaml}: {error}");
        }
    }

    #[test]
    fn secrets_come_from_files_and_stay_out_of_errors() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let mut target = parsed("{name: ops, kind: webhook, url: 'https://ops.example/hook'}").unwrap();
        target.url = None;
        target.url_file = Some(file("url", "https://ops.example/T0/B0/xyzzy\n"));
        target.secret_file = Some(file("key", "s3cret\n"));
        target.token_file = Some(file("token", "t0ken"));
        let secrets = target.secrets().unwrap();
        assert_eq!(secrets.url, "https://ops.example/T0/B0/xyzzy");
        assert_eq!(secrets.key.as_deref(), Some(b"s3cret".as_slice()));
        assert_eq!(secrets.token.as_deref(), Some("t0ken"));
        target.url_file = Some(file("url", "xyzzy"));
        let error = target.secrets().err().unwrap();
        assert!(!error.contains("xyzzy"), "{error}");
        target.secret_file = Some(directory.path().join("missing"));
        target.url_file = Some(file("url", "https://ops.example/"));
        assert!(target.secrets().err().unwrap().contains("missing"));
    }
}
