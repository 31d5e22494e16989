//! `CiliumIdentity` objects, grouped by what peers look at.

use std::collections::BTreeMap;

use prejoin_checks::facts::cilium::IdentityGroup;
use prejoin_checks::facts::provenance::{Fact, Source, Unknown};
use serde::Deserialize;

use super::endpoints::Endpoints;
use crate::cluster::object::{Meta, or_default};
use crate::cluster::permissions::CILIUM_IDENTITIES;
use crate::cluster::reader::{Reader, Scope};

const CLUSTER_LABEL: &str = "k8s:io.cilium.k8s.policy.cluster";
/// Identities of one cluster id in a mesh of 511: the smallest unit by which ranges are told apart.
const BLOCK: u32 = 1 << 15;

/// Numeric identities by the value of the cluster label.
#[derive(Debug, Default)]
pub(super) struct Identities(BTreeMap<Option<String>, Vec<u32>>);

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    #[serde(default, rename = "security-labels", deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

pub(super) async fn read(reader: &Reader<'_>) -> Result<Identities, Unknown> {
    reader.list(&CILIUM_IDENTITIES, Scope::ALL, Identities::add).await
}

impl Identities {
    fn add(&mut self, mut object: Object) -> Result<(), String> {
        let identity = object
            .metadata
            .name
            .parse()
            .map_err(|_| "its name is no number".to_owned())?;
        self.0
            .entry(object.labels.remove(CLUSTER_LABEL))
            .or_default()
            .push(identity);
        Ok(())
    }
}

pub(super) fn fact(
    identities: Result<Identities, Unknown>,
    endpoints: Result<&Endpoints, &Unknown>,
) -> Fact<Vec<IdentityGroup>> {
    identities.map_or_else(Fact::Unknown, |identities| {
        let groups = group(identities, endpoints.ok());
        Fact::known(groups, Source::read("CiliumIdentities", "metadata.name"))
    })
}

fn group(identities: Identities, endpoints: Option<&Endpoints>) -> Vec<IdentityGroup> {
    let mut groups = Vec::new();
    for (cluster_label, mut numbers) in identities.0 {
        numbers.sort_unstable();
        for block in numbers.chunk_by(|a, b| a / BLOCK == b / BLOCK) {
            let used = |number: &&u32| endpoints.is_some_and(|endpoints| endpoints.identities.contains_key(number));
            let example = block.iter().find(used).unwrap_or(&block[0]);
            let user = endpoints.and_then(|endpoints| endpoints.identities.get(example));
            groups.push(IdentityGroup {
                cluster_label: cluster_label.clone(),
                id_block: example / BLOCK,
                count: block.len() as u64,
                in_use: endpoints.is_some().then(|| block.iter().filter(used).count() as u64),
                example: *example,
                example_endpoint: user.map(ToString::to_string).unwrap_or_default(),
            });
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identities() -> Identities {
        let mut identities = Identities::default();
        for (name, label) in [
            ("65540", Some("east")),
            ("65536", Some("east")),
            ("300", Some("east")),
            ("65541", None),
        ] {
            let labels = label.map(|label| serde_json::json!({ CLUSTER_LABEL: label }));
            let object = serde_json::json!({"metadata": {"name": name}, "security-labels": labels});
            identities.add(serde_json::from_value(object).unwrap()).unwrap();
        }
        identities
    }

    #[test]
    fn identities_are_grouped_by_label_and_range() {
        let mut endpoints = Endpoints::default();
        endpoints.identities.insert(65540, "shop/web".into());
        let groups = group(identities(), Some(&endpoints));
        let seen: Vec<_> = groups
            .iter()
            .map(|g| {
                (
                    g.cluster_label.as_deref(),
                    g.id_block,
                    g.count,
                    g.in_use,
                    g.example,
                    g.example_endpoint.as_str(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (None, 2, 1, Some(0), 65541, ""),
                (Some("east"), 0, 1, Some(0), 300, ""),
                (Some("east"), 2, 2, Some(1), 65540, "shop/web"),
            ]
        );
    }

    #[test]
    fn whether_an_identity_is_in_use_is_not_known_without_endpoints() {
        let groups = group(identities(), None);
        assert!(groups.iter().all(|group| group.in_use.is_none()));
    }

    #[test]
    fn an_identity_whose_name_is_no_number_is_told() {
        let object = serde_json::json!({"metadata": {"name": "99999999999"}});
        assert!(
            Identities::default()
                .add(serde_json::from_value(object).unwrap())
                .is_err()
        );
    }
}
