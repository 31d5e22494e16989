//! Kubernetes itself: control plane, kube-proxy, namespaces, workloads, observed addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::provenance::{Fact, Unknown};
use crate::cidr::Cidr;

/// What the control plane's own manifests and kubeadm say, each where it is visible.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControlPlane {
    /// Flags of the kube-apiserver pod (`command` and `args`, both spellings), without the leading dashes: only those about
    /// addresses, ports and admission. `not found` where no such pod is visible (managed clusters, K3s).
    #[serde(default)]
    pub api_server_flags: Fact<BTreeMap<String, String>>,
    /// The same for kube-controller-manager.
    #[serde(default)]
    pub controller_manager_flags: Fact<BTreeMap<String, String>>,
    /// ConfigMap kube-system/kubeadm-config, `ClusterConfiguration`.
    #[serde(default)]
    pub kubeadm: Fact<Kubeadm>,
    /// OpenShift's `Network` object `cluster` (config.openshift.io).
    #[serde(default)]
    pub openshift_network: Fact<OpenShiftNetwork>,
}

/// kubeadm's cluster configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kubeadm {
    /// `clusterName`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster_name: String,
    /// `controlPlaneEndpoint`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub control_plane_endpoint: String,
    /// `networking.podSubnet`, split on commas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_subnets: Vec<Cidr>,
    /// `networking.serviceSubnet`, split on commas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_subnets: Vec<Cidr>,
}

/// OpenShift's cluster network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenShiftNetwork {
    /// `spec.networkType`: `OVNKubernetes`, `OpenShiftSDN`, `Calico`, `Cilium`, ...
    pub network_type: String,
    /// `spec.clusterNetwork[].cidr`.
    pub cluster_network: Vec<Cidr>,
    /// `spec.serviceNetwork[]`.
    pub service_network: Vec<Cidr>,
}

/// kube-proxy's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KubeProxy {
    /// `mode` of the ConfigMap or `--proxy-mode`: empty means iptables.
    #[serde(default)]
    pub mode: String,
    /// `clusterCIDR` of the ConfigMap or `--cluster-cidr`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_cidrs: Vec<Cidr>,
}

/// One namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Labels `pod-security.kubernetes.io/*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations `clustermesh.cilium.io/*` and `*.submariner.io/*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// One DaemonSet, Deployment or StatefulSet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// `DaemonSet`, `Deployment`, `StatefulSet`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Replicas wanted.
    pub desired: u32,
    /// Replicas ready.
    pub ready: u32,
    /// No controller has seen it yet: `status.observedGeneration` is absent, so `ready` says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unobserved: bool,
    /// Labels `k8s-app`, `app`, `component`, `app.kubernetes.io/*`, `addonmanager.*`, `*.fluxcd.io/*`, `argocd.*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The pod template's containers, init containers left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// Whether the pods are on the host network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// `nodeSelector` of the pod template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
}

/// One container of a pod template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// Name.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// `command` and `args` of the networking products read here; empty for all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Plain environment values that checks need (`IPALLOC_RANGE`, `POD_SUBNET`, `CALICO_*`); never values from Secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Host ports declared, as `4500/UDP`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<String>,
}

impl Workload {
    /// As a source object: `DaemonSet kube-system/cilium`.
    pub fn object(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// The container of this name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }
}

impl Container {
    /// The value of `--flag=value` or `--flag value`; `Some("")` for a bare flag.
    pub fn flag(&self, name: &str) -> Option<&str> {
        let mut args = self.args.iter().flat_map(|arg| arg.split_whitespace()).peekable();
        while let Some(arg) = args.next() {
            let Some(rest) = arg.strip_prefix("--").and_then(|arg| arg.strip_prefix(name)) else {
                continue;
            };
            if let Some(value) = rest.strip_prefix('=') {
                return Some(value);
            }
            if rest.is_empty() {
                return Some(args.peek().filter(|next| !next.starts_with('-')).copied().unwrap_or(""));
            }
        }
        None
    }
}

/// Addresses of running pods that are not on the host network, reduced to blocks of 256 addresses (IPv4 /24, IPv6 /120).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodAddresses {
    /// Running pods in all.
    pub running: u64,
    /// Running pods on the host network.
    pub host_network: u64,
    /// Addresses of running pods not on the host network.
    pub pods: Vec<ObservedBlock>,
    /// The same addresses exactly, merged where they touch; kept only where no blocks are handed out, so that the addresses themselves are
    /// the range: VPC plugins, Cilium chained on another plugin, Cilium IPAM eni, azure, alibabacloud, crd, delegated-plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Cidr>,
    /// Pods that declare host ports or are on the host network and declare container ports, where those matter to a product.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<HostPort>,
}

/// A block of 256 addresses in which some were seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedBlock {
    /// How many were seen.
    pub count: u64,
    /// The smallest one.
    pub first: IpAddr,
    /// The largest one.
    pub last: IpAddr,
    /// One owner, as `namespace/name`.
    pub example: String,
}

/// A port that some pod takes on its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostPort {
    /// Node.
    pub node: String,
    /// Pod, as `namespace/name`.
    pub pod: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// Port number.
    pub port: u16,
}

impl ControlPlane {
    pub(super) fn unread(unknown: &Unknown) -> Self {
        Self {
            api_server_flags: Fact::Unknown(unknown.clone()),
            controller_manager_flags: Fact::Unknown(unknown.clone()),
            kubeadm: Fact::Unknown(unknown.clone()),
            openshift_network: Fact::Unknown(unknown.clone()),
        }
    }

    pub(super) fn inventory(&self) -> Vec<(&'static str, Option<&Unknown>)> {
        vec![
            ("kube-apiserver flags", self.api_server_flags.why()),
            ("kube-controller-manager flags", self.controller_manager_flags.why()),
            ("kubeadm configuration", self.kubeadm.why()),
            ("OpenShift network", self.openshift_network.why()),
        ]
    }
}
