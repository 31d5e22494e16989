//! The flows a profile needs between clusters: who must reach whom, on what, and why.
//!
//! A [`Flow`] is data; numbers of ports come from each cluster's own configuration. [`crate::plan`] makes probes of flows, and a check of
//! the flow's code says what the probes proved. Without agents nothing is proven: a required flow is then `unknown`, or `not asked` if
//! the user said so, and never a pass.

use std::net::IpAddr;

use crate::check::NoVerdict;
use crate::compare::Groups;
use crate::facts::node::Node;
use crate::facts::provenance::Known;
use crate::fleet::{Audit, Cluster};
use crate::plan::{SPARE_UDP_PORT, Service};
use crate::profile::Profile;

/// One kind of traffic that a profile needs between clusters.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// The code of the check that judges it.
    pub code: &'static str,
    /// Who sends, in words: `every node`.
    pub from: &'static str,
    /// Who must receive it, in words: `every node of the other clusters`.
    pub to: &'static str,
    /// What it carries.
    pub purpose: &'static str,
    /// Who sends.
    pub sender: fn(&Audit<'_>, &Cluster<'_>) -> Result<Sender, NoVerdict>,
    /// Where it goes.
    pub reach: Reach,
    /// What a cluster must be reached on, in words (`UDP 8472`), with where the number was read; or why it needs no such flow.
    pub need: fn(&Audit<'_>, &Cluster<'_>) -> Result<Known<String>, NoVerdict>,
    /// The same as addresses: of the receiving cluster, or of the sending one where [`Reach`] is not another cluster.
    pub targets: fn(&Audit<'_>, &Cluster<'_>) -> Result<Vec<Target>, NoVerdict>,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Every node, from its own network.
    Nodes,
    /// The nodes that are gateways or may become one.
    Gateways,
    /// Pods, wherever they are.
    Pods,
    /// The pods of every node: each node has a range of its own to be reached at.
    PodsOfEveryNode,
}

impl Sender {
    /// Whether it sends from a pod.
    pub fn is_pod(self) -> bool {
        matches!(self, Self::Pods | Self::PodsOfEveryNode)
    }
}

/// Where a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// From every cluster to every other.
    OtherClusters,
    /// From every cluster to every other that it is joined with already.
    JoinedClusters,
    /// Within each cluster.
    OwnCluster,
    /// From each cluster to fixed places.
    Places,
    /// From each cluster to fixed places of which one is enough.
    AnyPlace,
}

impl Reach {
    /// Whether it is from clusters to others.
    pub fn is_between(self) -> bool {
        matches!(self, Self::OtherClusters | Self::JoinedClusters)
    }
}

/// What must be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The node, or what it is: `load balancer of clustermesh-apiserver`.
    pub name: String,
    /// Whether it is a node, by `name`, so that an agent there can listen.
    pub is_node: bool,
    /// Its addresses; one of each family is probed.
    pub addresses: Vec<IpAddr>,
    /// The name to resolve, where there is no address.
    pub host: String,
    /// On what.
    pub what: What,
    /// The address of the pod of ours behind it, where it is reached at another address than that.
    pub behind: Option<IpAddr>,
}

/// What pods are called as a target: the agents in the pod network take their place.
pub const PODS: &str = "pods";
/// What the Service of ours is called as a target, which others reach through the mesh.
pub const TEST_SERVICE: &str = "test service";

/// What is reached, or measured on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A port or protocol.
    Service(Service),
    /// A TCP port that speaks TLS.
    Tls(u16),
    /// The path MTU; on this UDP port if nothing holds it, else on a spare one.
    PathMtu {
        /// The port.
        port: Option<u16>,
    },
    /// A running Submariner gateway's NAT discovery.
    NatDiscovery {
        /// The port.
        port: u16,
        /// The gateway's cluster ID.
        cluster_id: String,
        /// The gateway's cable name.
        endpoint_id: String,
    },
}

impl Target {
    /// A node at these addresses.
    pub fn node(node: &Node, addresses: impl IntoIterator<Item = IpAddr>, what: What) -> Self {
        Self {
            name: node.name.clone(),
            is_node: true,
            addresses: addresses.into_iter().collect(),
            host: String::new(),
            what,
            behind: None,
        }
    }

    /// What stands for something of ours that only the plan knows: [`PODS`], [`TEST_SERVICE`].
    pub fn ours(name: &str, what: What) -> Self {
        Self {
            name: name.to_owned(),
            is_node: false,
            addresses: Vec::new(),
            host: String::new(),
            what,
            behind: None,
        }
    }

    /// [`TEST_SERVICE`], on the port that it and the pod behind it have.
    pub fn test_service() -> Self {
        Self::ours(TEST_SERVICE, What::Service(Service::Tcp(SPARE_UDP_PORT)))
    }

    /// A place by address or name, as a URL or a Service has it.
    pub fn place(name: impl Into<String>, host: &str, what: What) -> Self {
        let address = host.parse::<IpAddr>().ok();
        Self {
            name: name.into(),
            is_node: false,
            addresses: address.into_iter().collect(),
            host: if address.is_some() {
                String::new()
            } else {
                host.to_owned()
            },
            what,
            behind: None,
        }
    }
}

/// All flows of a profile.
pub fn flows(profile: Profile) -> &'static [&'static Flow] {
    match profile {
        Profile::Clustermesh => crate::checks::clustermesh::FLOWS,
        Profile::Submariner => crate::checks::submariner::FLOWS,
    }
}

/// The flows that these clusters need for this profile.
pub fn required<'f>(audit: &Audit<'_>) -> Vec<&'f Flow> {
    let needed = |flow: &&&Flow| {
        let with = Groups::of(audit, |cluster| (flow.need)(audit, cluster))
            .clusters()
            .len();
        with >= if flow.reach.is_between() { 2 } else { 1 } && audit.clusters.len() >= 2
    };
    flows(audit.profile).iter().filter(needed).copied().collect()
}

/// The nodes that run Linux: no product here runs on others.
pub fn linux_nodes<'a>(cluster: &Cluster<'a>) -> Result<Vec<&'a Node>, NoVerdict> {
    let nodes = cluster.facts.nodes.get()?;
    Ok(nodes
        .iter()
        .filter(|node| node.os.is_empty() || node.os == "linux")
        .collect())
}

/// The same thing on every Linux node of a cluster, on its InternalIPs of the families that `keep` keeps.
pub fn on_nodes(cluster: &Cluster<'_>, keep: impl Fn(IpAddr) -> bool, what: &What) -> Result<Vec<Target>, NoVerdict> {
    Ok(linux_nodes(cluster)?
        .into_iter()
        .map(|node| Target::node(node, node.internal_ips().filter(|ip| keep(*ip)), what.clone()))
        .collect())
}
