//! Network plugins other than Cilium, recognised from what is there.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::provenance::{Fact, Source, Unknown};
use crate::cidr::Cidr;

/// Everything of which some trace was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cni {
    /// Every plugin recognised, Cilium included, with the object that gave it away.
    #[serde(default)]
    pub plugins: Fact<Vec<Plugin>>,
    /// Calico's pools (`crd.projectcalico.org/v1`).
    #[serde(default)]
    pub calico_pools: Fact<Vec<CalicoPool>>,
    /// Flannel's network, from `net-conf.json` in whatever ConfigMap its DaemonSet mounts.
    #[serde(default)]
    pub flannel: Fact<Flannel>,
    /// OVN-Kubernetes, from ConfigMap `ovn-config`.
    #[serde(default)]
    pub ovn: Fact<Ovn>,
    /// Plain settings of other plugins: `POD_SUBNET` (kindnet), `IPALLOC_RANGE` (Weave), as ranges.
    #[serde(default)]
    pub env_ranges: Fact<Vec<EnvRange>>,
}

/// One recognised plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plugin {
    /// Which one.
    pub kind: PluginKind,
    /// The object that gave it away.
    pub source: Source,
    /// Image tag of its main container, without the leading `v`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Whether it is running: its DaemonSet wants pods. A left-over ConfigMap is not running.
    pub running: bool,
}

/// The plugins that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names of the products")]
pub enum PluginKind {
    Cilium,
    Calico,
    Canal,
    Flannel,
    Kindnet,
    OvnKubernetes,
    OpenshiftSdn,
    Weave,
    AwsVpc,
    AzureCni,
    GkeNetd,
    Antrea,
    KubeRouter,
    KubeOvn,
    Other,
}

/// One Calico `IPPool`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CalicoPool {
    /// Name.
    pub name: String,
    /// `spec.cidr`.
    pub cidr: Cidr,
    /// `spec.disabled`.
    pub disabled: bool,
    /// `spec.natOutgoing`.
    pub nat_outgoing: bool,
    /// `spec.vxlanMode`, `Never` if absent.
    pub vxlan_mode: String,
    /// `spec.ipipMode`, `Never` if absent.
    pub ipip_mode: String,
    /// `spec.blockSize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u8>,
    /// Labels, for `submariner.io/ippool`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Flannel's `net-conf.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flannel {
    /// Namespace of the ConfigMap.
    pub namespace: String,
    /// `Network` and `IPv6Network`.
    pub networks: Vec<Cidr>,
    /// `Backend.Type`.
    #[serde(default)]
    pub backend: String,
    /// `Backend.Port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// ConfigMap `ovn-config` and what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ovn {
    /// Namespace of the `ovnkube-node` pods.
    pub namespace: String,
    /// `net_cidr` as written.
    #[serde(default)]
    pub net_cidr: String,
    /// `net_cidr` as ranges, host prefixes stripped.
    #[serde(default)]
    pub pod_cidrs: Vec<Cidr>,
    /// `svc_cidr` as ranges.
    #[serde(default)]
    pub service_cidrs: Vec<Cidr>,
}

/// A range found in an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvRange {
    /// The plugin.
    pub kind: PluginKind,
    /// The ranges.
    pub cidrs: Vec<Cidr>,
    /// The workload and variable.
    pub source: Source,
}

impl std::fmt::Display for PluginKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cilium => "Cilium",
            Self::Calico => "Calico",
            Self::Canal => "Canal",
            Self::Flannel => "Flannel",
            Self::Kindnet => "kindnet",
            Self::OvnKubernetes => "OVN-Kubernetes",
            Self::OpenshiftSdn => "OpenShift SDN",
            Self::Weave => "Weave",
            Self::AwsVpc => "Amazon VPC CNI",
            Self::AzureCni => "Azure CNI",
            Self::GkeNetd => "GKE netd",
            Self::Antrea => "Antrea",
            Self::KubeRouter => "kube-router",
            Self::KubeOvn => "Kube-OVN",
            Self::Other => "other",
        })
    }
}

impl Cni {
    pub(super) fn unread(unknown: &Unknown) -> Self {
        Self {
            plugins: Fact::Unknown(unknown.clone()),
            calico_pools: Fact::Unknown(unknown.clone()),
            flannel: Fact::Unknown(unknown.clone()),
            ovn: Fact::Unknown(unknown.clone()),
            env_ranges: Fact::Unknown(unknown.clone()),
        }
    }

    pub(super) fn inventory(&self) -> Vec<(&'static str, Option<&Unknown>)> {
        vec![
            ("network plugins", self.plugins.why()),
            ("Calico pools", self.calico_pools.why()),
            ("Flannel configuration", self.flannel.why()),
            ("OVN-Kubernetes configuration", self.ovn.why()),
            ("network plugin settings", self.env_ranges.why()),
        ]
    }
}
