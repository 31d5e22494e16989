//! Everything known about one cluster.
//!
//! Facts are raw: what an object says, where it says so, or why it could not be read. What follows from them
//! (which range pods really use, what an absent key means in that version) is worked out by the checks, so that a
//! facts file stays true when the rules get better. Several sources of one value are kept side by side.
//!
//! A facts file never holds a secret: certificates and keys are reduced to fingerprints, ids, names and dates.

pub mod cilium;
pub mod cni;
pub mod dns;
pub mod kernel;
pub mod kubernetes;
pub mod mcs;
pub mod network_policy;
pub mod node;
pub mod provenance;
pub mod service;
pub mod submariner;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use cilium::Cilium;
use cni::Cni;
use dns::Dns;
use kernel::NodeFacts;
use kubernetes::{ControlPlane, KubeProxy, Namespace, ObservedBlock, PodAddresses, Workload};
use mcs::Mcs;
use node::Node;
use provenance::{Fact, Reason, Source, Unknown};
use service::Service;
use submariner::Submariner;

/// The version of the facts file format that this library reads and writes.
pub const FACTS_SCHEMA: &str = "prejoin.dev/facts/v1alpha1";

/// Everything known about one cluster, as one portable document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterFacts {
    /// The format of this document: [`FACTS_SCHEMA`].
    pub schema: String,
    /// The name the cluster goes by in reports: the kubeconfig context, or what the user called it.
    pub name: String,
    /// When the facts were read, RFC 3339 in UTC; absent for a planned cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected_at: Option<jiff::Timestamp>,
    /// The prejoin version that read them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub collected_by: String,
    /// A cluster that does not exist yet: its facts are what the user declared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub planned: bool,
    /// Every source that was asked and what came of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Read>,
    /// The address of the API server as the reader used it (host and port, no credentials).
    #[serde(default)]
    pub api_server: Fact<String>,
    /// The UID of namespace `kube-system`: the cluster's own identity, whatever it is called.
    #[serde(default)]
    pub uid: Fact<String>,
    /// The cluster's name in the kubeconfig, from which `subctl join` makes the cluster ID.
    #[serde(default)]
    pub kubeconfig_cluster: Fact<String>,
    /// The server version, as `v1.36.3`.
    #[serde(default)]
    pub kubernetes_version: Fact<String>,
    /// API groups with the versions served, as `cilium.io/v2`.
    #[serde(default)]
    pub served_apis: Fact<Vec<String>>,
    /// The nodes.
    #[serde(default)]
    pub nodes: Fact<Vec<Node>>,
    /// What agents read on the nodes themselves, one for each node that has one; sorted by node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_facts: Vec<NodeFacts>,
    /// The namespaces with what matters of their labels and annotations.
    #[serde(default)]
    pub namespaces: Fact<Vec<Namespace>>,
    /// What the control plane's own manifests and kubeadm say.
    #[serde(default)]
    pub control_plane: ControlPlane,
    /// The ranges of `ServiceCIDR` objects (networking.k8s.io, Kubernetes 1.31 and later).
    #[serde(default)]
    pub service_cidrs: Fact<Vec<Cidr>>,
    /// All Services, reduced.
    #[serde(default)]
    pub services: Fact<Vec<Service>>,
    /// The addresses of running pods that are not on the host network, reduced to blocks.
    #[serde(default)]
    pub pods: Fact<PodAddresses>,
    /// All DaemonSets, and the Deployments that matter.
    #[serde(default)]
    pub workloads: Fact<Vec<Workload>>,
    /// Every network plugin of which something is there, except Cilium.
    #[serde(default)]
    pub cni: Cni,
    /// kube-proxy's configuration.
    #[serde(default)]
    pub kube_proxy: Fact<KubeProxy>,
    /// Cilium; `not installed` where there is none.
    #[serde(default)]
    pub cilium: Fact<Cilium>,
    /// Load-balancer address pools of any product.
    #[serde(default)]
    pub load_balancer_pools: Fact<Vec<AddressPool>>,
    /// Cluster DNS.
    #[serde(default)]
    pub dns: Fact<Dns>,
    /// The Multi-Cluster Services API.
    #[serde(default)]
    pub mcs: Fact<Mcs>,
    /// Submariner; `not installed` where there is none.
    #[serde(default)]
    pub submariner: Fact<Submariner>,
    /// Ranges the user declared for this cluster (a planned cluster, or what no API shows).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declared: Vec<DeclaredRange>,
}

/// One source that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Read {
    /// What was asked for: `list nodes`, `get namespaces/kube-system`.
    pub request: String,
    /// The number of objects read, if it worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// Why it did not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Unknown>,
}

/// What a range of addresses is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RangeKind {
    /// Pods.
    Pods,
    /// Services (ClusterIPs).
    Services,
    /// Nodes.
    Nodes,
    /// Load-balancer addresses.
    LoadBalancers,
    /// Submariner's Globalnet.
    Globalnet,
    /// Submariner's clusterset IPs.
    Clusterset,
    /// A network outside all clusters: on-premises, VPN.
    External,
}

impl std::fmt::Display for RangeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pods => "pods",
            Self::Services => "services",
            Self::Nodes => "nodes",
            Self::LoadBalancers => "load balancers",
            Self::Globalnet => "globalnet",
            Self::Clusterset => "clusterset IPs",
            Self::External => "external network",
        })
    }
}

/// A range that the user declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeclaredRange {
    /// What it is used for.
    pub kind: RangeKind,
    /// The range.
    pub cidr: Cidr,
    /// Where it was declared: `prejoin.yaml clusters[2].pods`.
    pub source: Source,
}

/// A pool of addresses that some controller hands out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressPool {
    /// The pool's name.
    pub name: String,
    /// Its blocks; a start-stop range is written as the blocks that make it up.
    pub cidrs: Vec<Cidr>,
    /// Whether the controller hands out none of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// The object that defines it.
    pub source: Source,
}

impl ClusterFacts {
    /// A cluster of which nothing is known yet, for the given reason.
    pub fn unread(name: impl Into<String>, unknown: &Unknown) -> Self {
        fn all<T>(unknown: &Unknown) -> Fact<T> {
            Fact::Unknown(unknown.clone())
        }
        Self {
            schema: FACTS_SCHEMA.to_owned(),
            name: name.into(),
            collected_at: None,
            collected_by: String::new(),
            planned: false,
            reads: Vec::new(),
            api_server: all(unknown),
            uid: all(unknown),
            kubeconfig_cluster: all(unknown),
            kubernetes_version: all(unknown),
            served_apis: all(unknown),
            nodes: all(unknown),
            node_facts: Vec::new(),
            namespaces: all(unknown),
            control_plane: ControlPlane::unread(unknown),
            service_cidrs: all(unknown),
            services: all(unknown),
            pods: all(unknown),
            workloads: all(unknown),
            cni: Cni::unread(unknown),
            kube_proxy: all(unknown),
            cilium: all(unknown),
            load_balancer_pools: all(unknown),
            dns: all(unknown),
            mcs: all(unknown),
            submariner: all(unknown),
            declared: Vec::new(),
        }
    }

    /// A cluster that does not exist yet: nothing is known but what is declared.
    pub fn planned(name: impl Into<String>, declared: Vec<DeclaredRange>) -> Self {
        let name = name.into();
        let unknown = Unknown::new(
            Reason::NotDeclared,
            format!("{name} is planned and this is not declared"),
        );
        Self {
            planned: true,
            declared,
            ..Self::unread(name, &unknown)
        }
    }

    /// Every fact by name with why it is not known, if it is not: what coverage counts.
    pub fn inventory(&self) -> Vec<(&'static str, Option<&Unknown>)> {
        let mut facts = vec![
            ("API server address", self.api_server.why()),
            ("cluster identity", self.uid.why()),
            ("kubeconfig cluster name", self.kubeconfig_cluster.why()),
            ("Kubernetes version", self.kubernetes_version.why()),
            ("served APIs", self.served_apis.why()),
            ("nodes", self.nodes.why()),
            ("namespaces", self.namespaces.why()),
            ("ServiceCIDRs", self.service_cidrs.why()),
            ("services", self.services.why()),
            ("pods", self.pods.why()),
            ("workloads", self.workloads.why()),
            ("kube-proxy", self.kube_proxy.why()),
            ("load-balancer pools", self.load_balancer_pools.why()),
            ("cluster DNS", self.dns.why()),
            ("MCS API", self.mcs.why()),
            ("Cilium", self.cilium.why()),
            ("Submariner", self.submariner.why()),
        ];
        facts.extend(self.control_plane.inventory());
        facts.extend(self.cni.inventory());
        for node in &self.node_facts {
            facts.extend(node.inventory());
        }
        if let Some(dns) = self.dns.ok() {
            facts.push(("policies of cluster DNS", dns.policies.why()));
        }
        if let Some(cilium) = self.cilium.ok() {
            facts.extend(cilium.inventory());
        }
        if let Some(mcs) = self.mcs.ok() {
            facts.extend(mcs.inventory());
        }
        if let Some(submariner) = self.submariner.ok() {
            facts.extend(submariner.inventory());
        }
        facts
    }

    /// Why nothing at all was read from the cluster, if so; what its kubeconfig says of it does not count.
    pub fn unreachable(&self) -> Option<&Unknown> {
        const FROM_KUBECONFIG: [&str; 2] = ["API server address", "kubeconfig cluster name"];
        let answered = self.inventory().iter().any(|(name, why)| {
            !FROM_KUBECONFIG.contains(name)
                && why.is_none_or(|why| matches!(why.reason, Reason::NotFound | Reason::NotInstalled))
        });
        self.uid.why().filter(|_| !self.planned && !answered)
    }

    /// What the agent on this node read, if there is one.
    pub fn node_facts_of(&self, node: &str) -> Option<&NodeFacts> {
        self.node_facts.iter().find(|facts| facts.node == node)
    }

    /// Whether an API group with this version is served, or why that is not known.
    pub fn serves(&self, group_version: &str) -> Result<bool, Unknown> {
        Ok(self.served_apis.get()?.iter().any(|served| served == group_version))
    }

    /// The blocks in which addresses of running pods were seen, empty if they could not be read.
    pub fn observed_pod_blocks(&self) -> &[ObservedBlock] {
        self.pods.ok().map_or(&[], |pods| &pods.pods)
    }
}
