//! The Multi-Cluster Services API: exports, imports, their CRDs and what came of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prejoin_checks::facts::mcs::{Condition, Crd, ImportedSlice, Mcs, ServiceExport, ServiceImport};
use prejoin_checks::facts::provenance::{Fact, Known, Reason, Source, Unknown};
use prejoin_checks::facts::service::ServicePort;
use serde::Deserialize;

use super::object::{Meta, or_default, pick};
use super::permissions::{CUSTOM_RESOURCE_DEFINITIONS, ENDPOINT_SLICES, SERVICE_EXPORTS, SERVICE_IMPORTS};
use super::reader::{Reader, Scope};

const GROUP: &str = "multicluster.x-k8s.io";
const SOURCE_CLUSTER: &str = "multicluster.kubernetes.io/source-cluster";
/// Addresses kept of one EndpointSlice.
const MAX_ADDRESSES: usize = 64;

#[derive(Deserialize)]
struct Export {
    metadata: ExportMeta,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportMeta {
    name: String,
    namespace: String,
    creation_timestamp: Option<jiff::Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Import {
    metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    spec: ImportSpec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    clusters: Vec<InCluster>,
}

#[derive(Deserialize)]
struct InCluster {
    cluster: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ImportSpec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    ips: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<Port>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    #[serde(default)]
    name: String,
    #[serde(default)]
    protocol: String,
    #[serde(rename = "port")]
    number: u16,
    #[serde(default, deserialize_with = "or_default")]
    app_protocol: String,
}

#[derive(Deserialize)]
struct Definition {
    metadata: Meta,
    #[serde(default)]
    status: DefinitionStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DefinitionStatus {
    #[serde(deserialize_with = "or_default")]
    stored_versions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slice {
    metadata: Meta,
    #[serde(default)]
    address_type: String,
    #[serde(default, deserialize_with = "or_default")]
    endpoints: Vec<SliceEndpoint>,
}

#[derive(Deserialize)]
struct SliceEndpoint {
    #[serde(default, deserialize_with = "or_default")]
    addresses: Vec<String>,
}

pub(crate) async fn read(reader: &Reader<'_>) -> Fact<Mcs> {
    let read = async {
        let served_versions = served_versions(&reader.served_apis().await?);
        if served_versions.is_empty() {
            return Err(Unknown::new(Reason::NotInstalled, format!("{GROUP} is not served")));
        }
        let (exports, imports, crds, endpoint_slices) = tokio::join!(
            reader.list(&SERVICE_EXPORTS, Scope::ALL, |all: &mut Vec<_>, object| {
                all.push(export(object));
                Ok(())
            }),
            reader.list(&SERVICE_IMPORTS, Scope::ALL, |all: &mut Vec<_>, object| {
                all.push(import(object));
                Ok(())
            }),
            definitions(reader),
            reader.list(
                &ENDPOINT_SLICES,
                Scope::ALL.labelled(SOURCE_CLUSTER),
                |all: &mut Vec<_>, object| {
                    all.push(slice(object)?);
                    Ok(())
                }
            ),
        );
        let mcs = Mcs {
            served_versions,
            exports: sorted(exports, "ServiceExports", |export| {
                (export.namespace.clone(), export.name.clone())
            }),
            imports: sorted(imports, "ServiceImports", |import| {
                (import.namespace.clone(), import.name.clone())
            }),
            crds: crds.map_or_else(Fact::Unknown, |crds| {
                Fact::known(crds, Source::read(format!("CustomResourceDefinitions of {GROUP}"), ""))
            }),
            endpoint_slices: sorted(endpoint_slices, "EndpointSlices", |slice: &ImportedSlice| {
                (
                    slice.namespace.clone(),
                    slice.service.clone(),
                    slice.source_cluster.clone(),
                )
            }),
        };
        Ok(Known::new(mcs, Source::read("/apis", GROUP)))
    };
    read.await.into()
}

fn served_versions(served: &[String]) -> Vec<String> {
    let versions = served
        .iter()
        .filter_map(|version| version.strip_prefix(GROUP)?.strip_prefix('/'));
    versions.map(str::to_owned).collect()
}

fn sorted<T, K: Ord>(list: Result<Vec<T>, Unknown>, object: &str, key: impl Fn(&T) -> K) -> Fact<Vec<T>> {
    list.map_or_else(Fact::Unknown, |mut list| {
        list.sort_by_cached_key(key);
        Fact::known(list, Source::read(object, ""))
    })
}

/// The definitions by plural name, each asked for alone: all of a cluster's would be many megabytes.
async fn definitions(reader: &Reader<'_>) -> Result<BTreeMap<String, Crd>, Unknown> {
    let mut crds = BTreeMap::new();
    for plural in ["serviceexports", "serviceimports"] {
        let name = format!("{plural}.{GROUP}");
        match reader.get(&CUSTOM_RESOURCE_DEFINITIONS, None, &name).await {
            Ok(object) => {
                crds.insert(plural.to_owned(), definition(object));
            }
            Err(unknown) if unknown.reason == Reason::NotFound => {}
            Err(unknown) => return Err(unknown),
        }
    }
    if crds.is_empty() {
        return Err(Unknown::not_found(format!(
            "there is no CustomResourceDefinition of {GROUP}"
        )));
    }
    Ok(crds)
}

fn definition(object: Definition) -> Crd {
    const KEPT: [&str; 3] = [
        "multicluster.x-k8s.io/",
        "app.kubernetes.io/",
        "io.cilium.k8s.crd.schema.version",
    ];
    let mut labels = object.metadata.labels;
    labels.extend(object.metadata.annotations);
    Crd {
        stored_versions: object.status.stored_versions,
        labels: pick(labels, &KEPT),
    }
}

fn export(object: Export) -> ServiceExport {
    let mut metadata = object.metadata;
    ServiceExport {
        created_at: metadata.creation_timestamp,
        use_clusterset_ip: metadata
            .annotations
            .remove("lighthouse.submariner.io/use-clusterset-ip"),
        namespace: metadata.namespace,
        name: metadata.name,
        conditions: object.status.conditions,
    }
}

fn import(object: Import) -> ServiceImport {
    const SOURCES: [&str; 3] = [
        "multicluster.kubernetes.io/",
        "lighthouse.submariner.io/",
        "submariner-io/",
    ];
    let port = |port: Port| ServicePort {
        name: port.name,
        protocol: if port.protocol.is_empty() {
            "TCP".to_owned()
        } else {
            port.protocol
        },
        port: port.number,
        app_protocol: port.app_protocol,
        ..ServicePort::default()
    };
    ServiceImport {
        namespace: object.metadata.namespace,
        name: object.metadata.name,
        kind: object.spec.kind,
        ips: object.spec.ips,
        ports: object.spec.ports.into_iter().map(port).collect(),
        clusters: object.status.clusters.into_iter().map(|entry| entry.cluster).collect(),
        labels: pick(object.metadata.labels, &SOURCES),
    }
}

fn slice(object: Slice) -> Result<ImportedSlice, String> {
    let mut labels = object.metadata.labels;
    let mut take = |label: &str| labels.remove(label);
    let addresses = object.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let addresses = if object.address_type == "FQDN" {
        Vec::new()
    } else {
        addresses
            .take(MAX_ADDRESSES)
            .map(|address| address.parse())
            .collect::<Result<Vec<IpAddr>, _>>()
            .map_err(|_| "endpoints[].addresses holds no address")?
    };
    // Lighthouse says it either way, Kubernetes only where it is so.
    let headless = match take("lighthouse.submariner.io/is-headless").as_deref() {
        Some(text) => Some(text == "true"),
        None => take("service.kubernetes.io/headless").map(|_| true),
    };
    Ok(ImportedSlice {
        namespace: object.metadata.namespace,
        service: take("multicluster.kubernetes.io/service-name").unwrap_or_default(),
        source_cluster: take(SOURCE_CLUSTER).unwrap_or_default(),
        managed_by: take("endpointslice.kubernetes.io/managed-by").unwrap_or_default(),
        headless,
        addresses,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_export_keeps_its_age_and_what_was_made_of_it() {
        let export = export(
            serde_json::from_value(json!({
                "metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "2026-03-01T10:00:00Z",
                             "annotations": {"lighthouse.submariner.io/use-clusterset-ip": "true"}},
                "status": {"conditions": [
                    {"type": "Valid", "status": "True", "reason": "", "message": "", "lastTransitionTime": "2026-03-01T10:00:01Z"},
                    {"type": "Conflict", "status": "True", "reason": "ConflictingPorts", "message": "the ports differ"},
                ]},
            }))
            .unwrap(),
        );
        assert_eq!(export.created_at.unwrap().to_string(), "2026-03-01T10:00:00Z");
        assert_eq!(export.use_clusterset_ip.as_deref(), Some("true"));
        assert_eq!(export.conditions[1].reason, "ConflictingPorts");
    }

    #[test]
    fn a_new_export_has_no_status() {
        let object = serde_json::from_str(r#"{"metadata":{"name":"web","namespace":"shop"},"status":null}"#).unwrap();
        assert!(export(object).conditions.is_empty());
    }

    #[test]
    fn an_import_names_the_clusters_behind_it() {
        let import = import(
            serde_json::from_value(json!({
                "metadata": {"name": "web", "namespace": "shop",
                             "labels": {"multicluster.kubernetes.io/source-cluster": "west", "team": "a"}},
                "spec": {"type": "ClusterSetIP", "ips": ["243.0.16.1"], "sessionAffinity": "None",
                         "ports": [{"name": "http", "protocol": "TCP", "port": 80, "appProtocol": null}, {"port": 53}]},
                "status": {"clusters": [{"cluster": "east"}, {"cluster": "west"}]},
            }))
            .unwrap(),
        );
        assert_eq!(
            (import.kind.as_str(), import.ips.len(), import.labels.len()),
            ("ClusterSetIP", 1, 1)
        );
        assert_eq!(import.clusters, ["east", "west"]);
        assert_eq!((import.ports[1].protocol.as_str(), import.ports[1].port), ("TCP", 53));
    }

    #[test]
    fn a_slice_tells_where_its_endpoints_are() {
        let read = |managed: &str, headless: (&str, &str), addresses: serde_json::Value| {
            slice(
                serde_json::from_value(json!({
                    "metadata": {"name": "web-x", "namespace": "shop", "labels": {
                        "multicluster.kubernetes.io/service-name": "web", SOURCE_CLUSTER: "west",
                        "endpointslice.kubernetes.io/managed-by": managed, headless.0: headless.1}},
                    "addressType": "IPv4", "endpoints": [{"addresses": addresses, "conditions": {"ready": true}}],
                }))
                .unwrap(),
            )
        };
        let lighthouse = read(
            "lighthouse-agent.submariner.io",
            ("lighthouse.submariner.io/is-headless", "false"),
            json!(["10.20.1.7"]),
        );
        let lighthouse = lighthouse.unwrap();
        assert_eq!(
            (lighthouse.service.as_str(), lighthouse.source_cluster.as_str()),
            ("web", "west")
        );
        assert_eq!((lighthouse.headless, lighthouse.addresses.len()), (Some(false), 1));
        let cilium = read(
            "endpointslice-mesh-controller.cilium.io",
            ("service.kubernetes.io/headless", ""),
            json!(null),
        );
        assert_eq!(cilium.unwrap().headless, Some(true));
        assert!(read("x", ("a", "b"), json!(["not an address"])).is_err());
        let many: Vec<_> = (0..100).map(|host| format!("10.0.0.{host}")).collect();
        assert_eq!(
            read("x", ("a", "b"), json!(many)).unwrap().addresses.len(),
            MAX_ADDRESSES
        );
    }

    #[test]
    fn a_definition_tells_who_brought_it_and_what_is_stored() {
        let crd = definition(
            serde_json::from_value(json!({
                "metadata": {"name": "serviceexports.multicluster.x-k8s.io",
                             "labels": {"multicluster.x-k8s.io/crd-schema-revision": "4", "io.cilium.k8s.crd.schema.version": "1.31.1"},
                             "annotations": {"controller-gen.kubebuilder.io/version": "v0.17"}},
                "spec": {"versions": [{"name": "v1alpha1", "schema": {}}]},
                "status": {"storedVersions": ["v1alpha1", "v1beta1"]},
            }))
            .unwrap(),
        );
        assert_eq!((crd.stored_versions.len(), crd.labels.len()), (2, 2));
    }

    #[test]
    fn served_versions_are_those_of_the_group_alone() {
        let served = [
            "multicluster.x-k8s.io/v1alpha1",
            "multicluster.x-k8s.io.example/v1",
            "apps/v1",
        ]
        .map(str::to_owned);
        assert_eq!(served_versions(&served), ["v1alpha1"]);
    }
}
