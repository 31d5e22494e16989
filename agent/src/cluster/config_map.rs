//! ConfigMaps: text under keys, much of it YAML.

use std::collections::BTreeMap;

use prejoin_checks::facts::provenance::{Reason, Source, Unknown};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::object::{Meta, or_default};

/// Text kept of one namespace's ConfigMaps at most.
const MAX_BYTES: usize = 16 << 20;

/// The ConfigMaps of one namespace.
#[derive(Debug, Default)]
pub(crate) struct ConfigMaps {
    by_name: BTreeMap<String, ConfigMap>,
    bytes: usize,
}

/// One ConfigMap; binary data is left out.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ConfigMap {
    pub(crate) metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) data: BTreeMap<String, String>,
}

impl ConfigMaps {
    /// Keeps one, unless it is none of ours or would take too much memory.
    pub(crate) fn keep(&mut self, map: ConfigMap) -> Result<(), String> {
        if map.metadata.name.starts_with("sh.helm.release.") {
            return Ok(());
        }
        self.bytes += map
            .data
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>();
        if self.bytes > MAX_BYTES {
            return Err(format!("ConfigMaps with more than {} MiB in all", MAX_BYTES >> 20));
        }
        self.by_name.insert(map.metadata.name.clone(), map);
        Ok(())
    }

    /// The ConfigMap of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&ConfigMap> {
        self.by_name.get(name)
    }

    /// All of them in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ConfigMap> {
        self.by_name.values()
    }
}

impl ConfigMap {
    /// As a source, for the key given.
    pub(crate) fn source(&self, key: &str) -> Source {
        Source::read(format!("ConfigMap {}", self.metadata.key()), key)
    }

    /// The text under a key, or that it is not there.
    pub(crate) fn text(&self, key: &str) -> Result<&str, Unknown> {
        self.data
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| Unknown::not_found(format!("{}: no such key", self.source(key))))
    }

    /// The YAML or JSON under a key.
    pub(crate) fn yaml<T: DeserializeOwned>(&self, key: &str) -> Result<T, Unknown> {
        yaml(self.text(key)?).map_err(|flaw| Unknown::new(Reason::Unparsable, format!("{}: {flaw}", self.source(key))))
    }

    /// The JSON under a key: for programs that read nothing else.
    pub(crate) fn json<T: DeserializeOwned>(&self, key: &str) -> Result<T, Unknown> {
        serde_json::from_str(self.text(key)?).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let flaw = format!("not the JSON that is expected (line {line} column {column})");
            Unknown::new(Reason::Unparsable, format!("{}: {flaw}", self.source(key)))
        })
    }
}

/// Parses YAML; the error says where it is wrong, not what stands there.
pub(crate) fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        error.location().map_or_else(
            || "not the YAML that is expected".to_owned(),
            |location| {
                format!(
                    "not the YAML that is expected (line {} column {})",
                    location.line(),
                    location.column()
                )
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map(json: &str) -> ConfigMap {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_missing_key_and_a_broken_one_differ() {
        let map = config_map(r#"{"metadata":{"name":"c","namespace":"ns"},"data":{"bad":"a: [hush","good":"a: 1"}}"#);
        let read = |key| map.yaml::<BTreeMap<String, u32>>(key);
        assert_eq!(read("good").unwrap()["a"], 1);
        assert_eq!(read("none").unwrap_err().reason, Reason::NotFound);
        let bad = read("bad").unwrap_err();
        assert_eq!(bad.reason, Reason::Unparsable);
        assert!(bad.detail.starts_with("ConfigMap ns/c  bad: "), "{bad}");
        assert!(!bad.detail.contains("hush"), "{bad}");
    }

    #[test]
    fn memory_is_bounded_and_helm_releases_are_not_kept() {
        let mut maps = ConfigMaps::default();
        maps.keep(config_map(
            r#"{"metadata":{"name":"sh.helm.release.v1.x"},"data":{"release":"H4s"}}"#,
        ))
        .unwrap();
        assert!(maps.get("sh.helm.release.v1.x").is_none());
        let mut big = config_map(r#"{"metadata":{"name":"big"}}"#);
        big.data.insert("k".to_owned(), "x".repeat(MAX_BYTES));
        assert!(maps.keep(big).is_err());
        assert!(maps.get("big").is_none());
    }
}
