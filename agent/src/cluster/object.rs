//! What every object has, in the least memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::failure::one_line;

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

/// Whether a text is an RFC 1123 subdomain as far as a path is concerned: what stands in an object becomes part of a request only if it
/// is a name.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
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

/// Marks of tools that write an object anew whenever it differs from what they want, as `key=value`.
pub(crate) fn managers(meta: &Meta) -> Vec<String> {
    const KEYS: &[&str] = &[
        "addon.kops.k8s.io/name",
        "app.kubernetes.io/managed-by",
        "argocd.argoproj.io/instance",
        "argocd.argoproj.io/tracking-id",
        "eks.amazonaws.com/component",
        "meta.helm.sh/release-name",
        "objectset.rio.cattle.io/owner-name",
    ];
    let is_mark = |key: &str, value: &str| {
        KEYS.contains(&key)
            || key.ends_with(".toolkit.fluxcd.io/name")
            // The other mode is `EnsureExists`, which leaves changes alone.
            || key == "addonmanager.kubernetes.io/mode" && value == "Reconcile"
    };
    meta.labels
        .iter()
        .chain(&meta.annotations)
        .filter(|(key, value)| is_mark(key, value))
        .map(|(key, value)| one_line(&format!("{key}={value}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_overwrites_an_object_is_told_from_its_marks() {
        let meta: Meta = serde_json::from_str(
            r#"{"name":"coredns","labels":{"addonmanager.kubernetes.io/mode":"Reconcile","k8s-app":"kube-dns"},
                "annotations":{"kustomize.toolkit.fluxcd.io/name":"infra\n\u001b[31m","objectset.rio.cattle.io/applied":"H4sIA"}}"#,
        )
        .unwrap();
        assert_eq!(
            managers(&meta),
            [
                "addonmanager.kubernetes.io/mode=Reconcile",
                "kustomize.toolkit.fluxcd.io/name=infra [31m"
            ]
        );
        let meta: Meta =
            serde_json::from_str(r#"{"labels":{"addonmanager.kubernetes.io/mode":"EnsureExists"}}"#).unwrap();
        assert!(managers(&meta).is_empty());
    }
}
