//! What every object has, in the least memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// The metadata that sources look at.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Meta {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) uid: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Meta {
    /// `namespace/name`.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// `null` where a list or map should be means none: Go writes nil that way.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The entries whose key starts with one of the prefixes, or is one of them.
pub(crate) fn pick(map: BTreeMap<String, String>, prefixes: &[&str]) -> BTreeMap<String, String> {
    pick_by(map, |key| prefixes.iter().any(|prefix| key.starts_with(prefix)))
}

/// The entries whose key is wanted.
pub(crate) fn pick_by(mut map: BTreeMap<String, String>, is_wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    map.retain(|key, _| is_wanted(key));
    map
}
