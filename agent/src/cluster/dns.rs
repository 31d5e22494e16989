//! Cluster DNS: what serves it and what it is told, whatever the distribution calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prejoin_checks::facts::dns::{Corefile, Dns, DnsPods, DnsServer};
use prejoin_checks::facts::kubernetes::Workload;
use prejoin_checks::facts::provenance::{Fact, Known, Reason, Source, Unknown};
use serde::Deserialize;

use super::config_map::{ConfigMap, ConfigMaps};
use super::network_policies;
use super::object::{is_name, managers, or_default};
use super::permissions::{CLUSTER_ROLES, OPENSHIFT_DNS};
use super::reader::Reader;
use super::workloads::{Workloads, image_name, image_version};

/// Where cluster DNS runs everywhere but on OpenShift.
const SYSTEM: &str = "kube-system";
const OPENSHIFT: &str = "openshift-dns";
const LIGHTHOUSE: &str = "submariner-lighthouse-coredns";
const COREFILE: &str = "Corefile";

/// Where `subctl` installs Submariner's operator.
const SUBMARINER: &str = "submariner-operator";

/// Reads DNS configuration; `custom` is the ConfigMap that a mesh was told to use, as `namespace/name`, `operator` the namespace that
/// Submariner's operator is in.
pub(crate) async fn read(
    reader: &Reader<'_>,
    workloads: &Workloads,
    custom: Option<&str>,
    operator: Option<&str>,
) -> Fact<Dns> {
    let read = async {
        let running = running(workloads)?;
        let custom = custom.and_then(|key| key.split_once('/')).filter(|(namespace, name)| {
            // What stands in an object becomes part of a request only if it is a name.
            is_name(namespace) && is_name(name)
        });
        let mut namespaces = BTreeSet::from([SYSTEM]);
        namespaces.extend(custom.map(|(namespace, _)| namespace));
        if running.iter().any(|workload| workload.namespace == OPENSHIFT) {
            namespaces.insert(OPENSHIFT);
        }
        let of_policies = namespaces
            .iter()
            .copied()
            .filter(|namespace| in_cluster_dns(namespace))
            .chain([operator.unwrap_or(SUBMARINER)])
            .collect::<BTreeSet<_>>();
        let mut maps = BTreeMap::new();
        for namespace in namespaces {
            maps.insert(namespace, reader.config_maps(namespace).await?);
        }
        let mut dns = from_config(&maps, &running, custom)?;
        dns.openshift_servers = openshift_servers(reader).await?;
        if dns.corefiles.iter().any(|corefile| uses_multicluster(&corefile.text)) {
            dns.coredns_reads_service_imports = may_read_imports(reader, &running).await;
        }
        dns.pods = pods(workloads);
        dns.policies = network_policies::read(reader, of_policies).await.into();
        let source = maps[SYSTEM].get("coredns").map_or_else(
            || Source::read(format!("ConfigMaps of {SYSTEM}"), ""),
            |map| map.source(""),
        );
        Ok(Known::new(dns, source))
    };
    read.await.into()
}

/// The pods of cluster DNS and of Lighthouse.
fn pods(workloads: &Workloads) -> Vec<DnsPods> {
    workloads
        .iter()
        .filter(|found| {
            let workload = &found.workload;
            let is_ours = in_cluster_dns(&workload.namespace)
                && (workload
                    .containers
                    .iter()
                    .any(|container| is_coredns_image(&container.image))
                    || is_kube_dns(workload));
            workload.desired > 0 && (is_ours || workload.name == LIGHTHOUSE)
        })
        .map(|found| DnsPods {
            namespace: found.workload.namespace.clone(),
            name: found.workload.name.clone(),
            labels: found.pod_labels.clone(),
            host_network: found.workload.host_network,
        })
        .collect()
}

/// The workloads that serve cluster DNS, or may: all must be readable, since an absent one means something.
fn running(workloads: &Workloads) -> Result<Vec<&Workload>, Unknown> {
    let daemon_sets = workloads.daemon_sets.as_ref().map_err(Unknown::clone)?;
    let deployments = workloads.deployments.as_ref().map_err(Unknown::clone)?;
    Ok(daemon_sets
        .iter()
        .chain(deployments)
        .map(|found| &found.workload)
        .filter(|workload| workload.desired > 0 && [SYSTEM, OPENSHIFT].contains(&workload.namespace.as_str()))
        .collect())
}

fn from_config(
    maps: &BTreeMap<&str, Arc<ConfigMaps>>,
    running: &[&Workload],
    custom: Option<(&str, &str)>,
) -> Result<Dns, Unknown> {
    let mut dns = Dns {
        coredns_version: coredns_version(running),
        node_local_cache: running.iter().any(|workload| is_node_local_cache(workload)),
        ..Dns::default()
    };
    for map in maps.values().flat_map(|maps| maps.iter()) {
        let meta = &map.metadata;
        let is_custom = meta.name.ends_with("coredns-custom") || custom == Some((&meta.namespace, &meta.name));
        // Lighthouse has a Corefile of its own, wherever it runs.
        let is_ours = in_cluster_dns(&meta.namespace) && !meta.name.contains("lighthouse");
        if !(is_custom || is_ours) {
            continue;
        }
        let is_corefile = |key: &str| {
            key == COREFILE || is_custom && [".server", ".override"].iter().any(|suffix| key.ends_with(suffix))
        };
        for (key, text) in map.data.iter().filter(|(key, _)| is_corefile(key)) {
            dns.corefiles.push(Corefile {
                source: map.source(key),
                text: text.clone(),
            });
        }
        if map.data.contains_key(COREFILE) && ["coredns", "dns-default"].iter().any(|name| meta.name.contains(name)) {
            dns.managed_by.extend(managers(meta));
        }
    }
    if running.iter().any(|workload| is_kube_dns(workload)) {
        dns.kube_dns_stub_domains = Some(maps[SYSTEM].get("kube-dns").map_or(Ok(BTreeMap::new()), stub_domains)?);
    }
    Ok(dns)
}

fn in_cluster_dns(namespace: &str) -> bool {
    [SYSTEM, OPENSHIFT].contains(&namespace)
}

/// CoreDNS in any packaging, but not Lighthouse, which is built from it.
fn is_coredns_image(image: &str) -> bool {
    let name = image_name(image);
    name.ends_with("coredns") && !name.contains("lighthouse")
}

fn coredns_version(running: &[&Workload]) -> String {
    let labelled = |workload: &Workload| workload.labels.get("app.kubernetes.io/version").cloned();
    running
        .iter()
        .find_map(|workload| {
            let container = workload
                .containers
                .iter()
                .find(|container| is_coredns_image(&container.image))?;
            image_version(&container.image)
                .map(str::to_owned)
                .or_else(|| labelled(workload))
        })
        .unwrap_or_default()
}

fn is_kube_dns(workload: &Workload) -> bool {
    workload.name == "kube-dns" && workload.container("kubedns").is_some()
}

fn is_node_local_cache(workload: &Workload) -> bool {
    workload.kind == "DaemonSet"
        && workload
            .containers
            .iter()
            .any(|container| image_name(&container.image).ends_with("k8s-dns-node-cache"))
}

fn stub_domains(map: &ConfigMap) -> Result<BTreeMap<String, Vec<String>>, Unknown> {
    if map.data.get("stubDomains").is_none_or(|text| text.trim().is_empty()) {
        return Ok(BTreeMap::new());
    }
    map.json("stubDomains")
}

/// The server entries of OpenShift's DNS operator; none elsewhere.
async fn openshift_servers(reader: &Reader<'_>) -> Result<BTreeMap<String, DnsServer>, Unknown> {
    match reader.get::<Operator>(&OPENSHIFT_DNS, None, "default").await {
        Ok(operator) => Ok(operator.servers()),
        Err(unknown) if matches!(unknown.reason, Reason::NotInstalled | Reason::NotFound) => Ok(BTreeMap::new()),
        Err(unknown) => Err(unknown),
    }
}

#[derive(Deserialize)]
struct Operator {
    #[serde(default)]
    spec: OperatorSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OperatorSpec {
    #[serde(deserialize_with = "or_default")]
    servers: Vec<Server>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    zones: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    forward_plugin: Forward,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Forward {
    #[serde(deserialize_with = "or_default")]
    upstreams: Vec<String>,
}

impl Operator {
    fn servers(self) -> BTreeMap<String, DnsServer> {
        let server = |server: Server| DnsServer {
            zones: server.zones,
            upstreams: server.forward_plugin.upstreams,
        };
        let servers = self.spec.servers.into_iter();
        servers.map(|entry| (entry.name.clone(), server(entry))).collect()
    }
}

/// Whether a Corefile has CoreDNS answer for the clusterset itself, for which it needs a right of its own.
fn uses_multicluster(corefile: &str) -> bool {
    corefile
        .lines()
        .any(|line| line.split_whitespace().next() == Some("multicluster"))
}

/// Whether CoreDNS' ClusterRole lets it list ServiceImports; `None` where roles cannot be read.
async fn may_read_imports(reader: &Reader<'_>, running: &[&Workload]) -> Option<bool> {
    let workloads = running.iter().filter(|workload| {
        let mut containers = workload.containers.iter();
        containers.any(|container| is_coredns_image(&container.image))
    });
    // kubeadm's name for the role; charts call it as they call the Deployment.
    let names = ["system:coredns"]
        .into_iter()
        .chain(workloads.map(|workload| workload.name.as_str()));
    for name in names {
        match reader.get::<Role>(&CLUSTER_ROLES, None, name).await {
            Ok(role) => return Some(role.reads_imports()),
            Err(unknown) if unknown.reason == Reason::NotFound => {}
            Err(_) => return None,
        }
    }
    None
}

#[derive(Deserialize)]
struct Role {
    #[serde(default, deserialize_with = "or_default")]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Rule {
    #[serde(deserialize_with = "or_default")]
    api_groups: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    resources: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    verbs: Vec<String>,
}

impl Role {
    fn reads_imports(&self) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == wanted || item == "*");
        self.rules.iter().any(|rule| {
            has(&rule.api_groups, "multicluster.x-k8s.io")
                && has(&rule.resources, "serviceimports")
                && has(&rule.verbs, "list")
        })
    }
}

#[cfg(test)]
mod tests;
