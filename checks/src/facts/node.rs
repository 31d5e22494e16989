//! Nodes as the API shows them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;

/// One node, reduced to what checks and flows need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// The object's name.
    pub name: String,
    /// `status.addresses` that are IP addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    /// `spec.podCIDRs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<Cidr>,
    /// Label `topology.kubernetes.io/zone`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Label `topology.kubernetes.io/region`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// `status.nodeInfo.kernelVersion`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kernel: String,
    /// `status.nodeInfo.osImage`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub os_image: String,
    /// `status.nodeInfo.operatingSystem`: `linux`, `windows`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// `status.nodeInfo.architecture`: `amd64`, `arm64`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub architecture: String,
    /// `status.nodeInfo.kubeletVersion`, which names distributions (`v1.33.1+k3s1`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kubelet_version: String,
    /// `spec.providerID`, which names the platform (`aws:///…`, `kind://…`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_id: String,
    /// Condition `Ready` is `True`.
    pub ready: bool,
    /// `spec.unschedulable`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unschedulable: bool,
    /// Taint keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<String>,
    /// The labels that matter: roles, topology, host name, `submariner.io/`, `gateway.submariner.io/`, distribution marks,
    /// and those that a CiliumNodeConfig selects by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The annotations that matter: `submariner.io/`, `gateway.submariner.io/`, `network.cilium.io/`, `k8s.ovn.org/zone-name`,
    /// `flannel.alpha.coreos.com/`, `k3s.io/node-args`, `rke2.io/node-args`, `projectcalico.org/`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// One address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, or what a CiliumNode adds: `CiliumInternalIP`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub ip: IpAddr,
}

impl Node {
    /// The addresses of type `InternalIP`.
    pub fn internal_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .filter(|address| address.kind == "InternalIP")
            .map(|address| address.ip)
    }

    /// The addresses of type `ExternalIP`.
    pub fn external_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .filter(|address| address.kind == "ExternalIP")
            .map(|address| address.ip)
    }

    /// Whether the node carries one of the control-plane role labels.
    pub fn is_control_plane(&self) -> bool {
        [
            "node-role.kubernetes.io/control-plane",
            "node-role.kubernetes.io/master",
        ]
        .iter()
        .any(|label| self.labels.contains_key(*label))
    }
}
