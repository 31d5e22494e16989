//! Namespaces: the cluster's own identity, and what they share with a mesh.

use prejoin_checks::facts::kubernetes::Namespace;
use prejoin_checks::facts::provenance::{Fact, Source, Unknown};
use serde::Deserialize;

use super::object::{Meta, pick, pick_by};
use super::permissions::NAMESPACES;
use super::reader::{Reader, Scope};

/// What came of reading the namespaces.
pub(crate) struct Namespaces {
    pub(crate) uid: Fact<String>,
    pub(crate) namespaces: Fact<Vec<Namespace>>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
}

#[derive(Default)]
struct Kept {
    kube_system_uid: Option<String>,
    namespaces: Vec<Namespace>,
}

pub(crate) async fn read(reader: &Reader<'_>) -> Namespaces {
    let listed = reader
        .list(&NAMESPACES, Scope::ALL, |kept: &mut Kept, object: Object| {
            if object.metadata.name == "kube-system" {
                kept.kube_system_uid = Some(object.metadata.uid.clone());
            }
            kept.namespaces.push(reduce(object.metadata));
            Ok(())
        })
        .await;
    let (uid, namespaces) = match listed {
        Ok(mut kept) => {
            kept.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
            (
                kept.kube_system_uid
                    .ok_or_else(|| Unknown::not_found("list namespaces: there is no kube-system")),
                Fact::known(kept.namespaces, Source::read("Namespaces", "")),
            )
        }
        // One namespace may be open where the list is not.
        Err(unknown) => (
            reader
                .get(&NAMESPACES, None, "kube-system")
                .await
                .map(|object: Object| object.metadata.uid),
            Fact::Unknown(unknown),
        ),
    };
    let uid = uid.and_then(|uid| {
        if uid.is_empty() {
            Err(Unknown::not_found("Namespace kube-system: it has no UID"))
        } else {
            Ok(uid)
        }
    });
    Namespaces {
        uid: uid.map_or_else(Fact::Unknown, |uid| {
            Fact::known(uid, Source::read("Namespace kube-system", "metadata.uid"))
        }),
        namespaces,
    }
}

fn reduce(meta: Meta) -> Namespace {
    Namespace {
        name: meta.name,
        labels: pick(meta.labels, &["pod-security.kubernetes.io/"]),
        annotations: pick_by(meta.annotations, |key| {
            key.starts_with("clustermesh.cilium.io/") || key.contains("submariner.io/")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_keeps_what_meshes_look_at() {
        let object: Object = serde_json::from_str(
            r#"{"metadata":{"name":"shop","labels":{"team":"a","pod-security.kubernetes.io/enforce":"baseline"},
                "annotations":{"clustermesh.cilium.io/global":"true","note":"x","lighthouse.submariner.io/y":"z"}}}"#,
        )
        .unwrap();
        let namespace = reduce(object.metadata);
        assert_eq!(namespace.labels.len(), 1);
        assert_eq!(namespace.annotations["clustermesh.cilium.io/global"], "true");
        assert_eq!(namespace.annotations.len(), 2);
    }
}
