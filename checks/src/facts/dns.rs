//! Cluster DNS as its configuration shows it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::network_policy::NetworkPolicy;
use super::provenance::{Fact, Source};

/// What serves cluster DNS and what it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dns {
    /// Every Corefile found: kube-system/coredns, its renamed forms, node-local-dns, custom ConfigMaps.
    #[serde(default)]
    pub corefiles: Vec<Corefile>,
    /// CoreDNS image version, without the leading `v`; empty if no CoreDNS workload is there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub coredns_version: String,
    /// ConfigMap kube-system/kube-dns `stubDomains`, where kube-dns runs: domain to servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_dns_stub_domains: Option<BTreeMap<String, Vec<String>>>,
    /// Whether the NodeLocal DNSCache DaemonSet runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub node_local_cache: bool,
    /// OpenShift's DNS operator `default`: server name to zones and upstreams.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub openshift_servers: BTreeMap<String, DnsServer>,
    /// What marks the CoreDNS ConfigMap as managed by someone who overwrites edits (label or annotation text).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_by: Vec<String>,
    /// Whether CoreDNS' ClusterRole may read ServiceImports; absent if roles were not readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coredns_reads_service_imports: Option<bool>,
    /// The pods that answer: those of cluster DNS, and Submariner's Lighthouse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<DnsPods>,
    /// NetworkPolicies of cluster DNS' namespaces and of the one Submariner's operator is or will be in.
    #[serde(default)]
    pub policies: Fact<Vec<NetworkPolicy>>,
}

/// Pods of one workload that answers names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsPods {
    /// Namespace of the workload.
    pub namespace: String,
    /// Name of the workload.
    pub name: String,
    /// Labels of its pod template.
    pub labels: BTreeMap<String, String>,
    /// Whether the pods are on the host network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
}

/// One Corefile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Corefile {
    /// ConfigMap and key.
    pub source: Source,
    /// The text as it stands.
    pub text: String,
}

/// One server entry of OpenShift's DNS operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsServer {
    /// Zones it answers for.
    pub zones: Vec<String>,
    /// Where it forwards to.
    pub upstreams: Vec<String>,
}
