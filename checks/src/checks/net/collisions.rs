//! Ranges that collide, over all clusters at once, grouped by the largest block that explains them.
//!
//! What an overlap means differs by product and by what overlaps: see [`super::rule`].

mod group;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::rule;
use super::space::{AddressSpace, Claimed};
use crate::address::Claim;
use crate::check::{Check, declare_check};
use crate::facts::RangeKind;
use crate::facts::provenance::Unknown;
use crate::fleet::Audit;
use crate::outcome::{ClusterId, Outcome};

pub(super) static CHECKS: &[&Check] = &[
    &POD_OVERLAP,
    &NODE_IN_PODS,
    &SERVICE_IN_PODS,
    &SERVICE_OVERLAP,
    &NODE_IN_SERVICES,
    &NODE_OVERLAP,
    &LOAD_BALANCER_OVERLAP,
    &EXTERNAL_OVERLAP,
    &GLOBALNET_OVERLAP,
];

/// All collisions that belong to one check, and what could not be told.
fn collisions(audit: &Audit<'_>, code: &'static str) -> Vec<Outcome> {
    let space = audit.space();
    let mut outcomes = Vec::new();
    for same in [true, false] {
        let claim = |claimed: &Claimed| {
            kinds(code).contains(&claimed.class.kind).then(|| Claim {
                owner: owner(audit, claimed),
                kind: claimed.class,
            })
        };
        let groups = space.index.conflicts(claim, |a, b, own| {
            (own == same && rule::code(a.kind, b.kind) == code)
                .then(|| rule::severity(audit.profile, a, b, same))
                .flatten()
        });
        outcomes.extend(groups.iter().flat_map(|found| group::outcomes(audit, found, same)));
    }
    let unknown = unknown(space, code);
    if outcomes.is_empty() {
        let known = audit.clusters_where(|cluster| !unknown.values().flatten().any(|id| *id == cluster.id));
        let ranges = space
            .index
            .ranges()
            .iter()
            .filter(|(_, claimed)| kinds(code).contains(&claimed.class.kind))
            .count();
        if !known.is_empty() {
            outcomes.push(
                Outcome::holds()
                    .expected("no overlap")
                    .found(format!("no overlap among {ranges} ranges"))
                    .about(known),
            );
        }
    }
    outcomes.extend(
        unknown
            .into_iter()
            .map(|(why, clusters)| Outcome::none(why).about(clusters)),
    );
    outcomes
}

/// Whose a range is: a cluster's, or that of the world outside.
fn owner(audit: &Audit<'_>, claimed: &Claimed) -> usize {
    claimed.cluster.unwrap_or(audit.clusters.len())
}

/// The kinds that collisions of a code are made of; the first gives the check its name.
fn kinds(code: &str) -> &'static [RangeKind] {
    use RangeKind::{External, Globalnet, LoadBalancers, Nodes, Pods, Services};
    match code {
        "NET101" => &[Pods],
        "NET102" => &[Nodes, Pods],
        "NET103" => &[Services, Pods],
        "NET104" => &[Services],
        "NET105" => &[Nodes, Services],
        "NET106" => &[Nodes],
        "NET107" => &[LoadBalancers, Pods, Services, Nodes],
        "NET108" => &[External, Pods, Services, LoadBalancers, Globalnet],
        _ => &[Globalnet, Pods, Services, Nodes],
    }
}

/// What could not be told and would be needed, by reason. Checks of many kinds ask for the kind they are named after only.
fn unknown(space: &AddressSpace, code: &str) -> BTreeMap<Unknown, Vec<ClusterId>> {
    let needed = if kinds(code).len() > 2 {
        &kinds(code)[..1]
    } else {
        kinds(code)
    };
    let mut unknown: BTreeMap<_, Vec<ClusterId>> = BTreeMap::new();
    for (cluster, _, why) in space.unknown.iter().filter(|(_, kind, _)| needed.contains(kind)) {
        let clusters = unknown.entry(why.clone()).or_default();
        if !clusters.contains(cluster) {
            clusters.push(*cluster);
        }
    }
    unknown
}

declare_check! {
    /// ## What it checks
    /// The ranges of pods of all clusters share no address: pools, and the blocks handed out from them.
    ///
    /// ## Why it matters
    /// Routes, tunnel maps and policies go by pod address. With ClusterMesh the last writer wins, silently; Submariner skips
    /// the other cluster and says so in a log only.
    ///
    /// ## How it is determined
    /// All ranges of all clusters are laid over each other at once and grouped by the largest block that explains them.
    /// ClusterMesh: blocks handed out are a present fault (fail), a pool over a peer's block as well, since it will be handed
    /// out; pools that overlap only where neither has handed anything out are a future one (warn), but equal pools are handed
    /// out from the same end (fail). Submariner advertises whole ranges: any overlap fails, unless Globalnet is on in both
    /// clusters.
    ///
    /// ## How to fix
    /// Give one cluster a range of its own, best before it has nodes: `ipam.operator.clusterPoolIPv4PodCIDRList` with Cilium,
    /// `podSubnet` with kubeadm and kind. With Submariner, Globalnet is the way out without a rebuild.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup and cluster-pool IPAM; Submariner documentation, prerequisites and Globalnet.
    pub static POD_OVERLAP = {
        code: "NET101",
        slug: "pod-overlap",
        title: "PodCIDRs overlap",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "two pods have one address: traffic between the clusters goes astray or is dropped",
        rules: ["clustermesh ADDR-1", "clustermesh ADDR-2", "clustermesh ADDR-18", "clustermesh LAB-1", "submariner CIDR-01", "submariner CIDR-12", "submariner KIND-01"],
        run: Between(|audit: &Audit<'_>| collisions(audit, "NET101")),
    };
}

declare_check! {
    /// ## What it checks
    /// No node address of any cluster lies in a pod range of any cluster, its own included.
    ///
    /// ## Why it matters
    /// A node inside a pod range is captured by the routes to pods: the tunnel needs the node to reach the pod and the pod
    /// route to reach the node.
    ///
    /// ## How it is determined
    /// InternalIPs of all nodes (ExternalIPs where there are none) against pools and blocks. ClusterMesh: inside a block in
    /// use fails, only inside a pool warns. Submariner: fails, but only warns in the cluster itself where VPC and Azure plugins give pods addresses of
    /// the nodes' subnets and cables are Libreswan's, whose routes make an exception for gateways among the pods (the loop of early releases on Azure is
    /// mended); with Globalnet other clusters' nodes do not matter.
    ///
    /// ## How to fix
    /// Move the pod range away from the node networks, or renumber the nodes.
    ///
    /// ## References
    /// Cilium documentation, cluster-pool IPAM; cilium/cilium issues 20204, 36518; Submariner issue 1106.
    pub static NODE_IN_PODS = {
        code: "NET102",
        slug: "node-in-pods",
        title: "Node addresses lie in pod ranges",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "traffic to these nodes is taken for pod traffic: nodes lose each other",
        rules: ["clustermesh ADDR-4", "submariner CIDR-04", "submariner CNI-14"],
        run: Set(|audit: &Audit<'_>| collisions(audit, "NET102")),
    };
}

declare_check! {
    /// ## What it checks
    /// The service range of each cluster shares no address with pod ranges of any cluster, its own included.
    ///
    /// ## Why it matters
    /// A packet to a ClusterIP is rewritten where it starts. If a pod somewhere has that address, it cannot be reached from
    /// that cluster.
    ///
    /// ## How it is determined
    /// Service ranges from ServiceCIDR objects, flags, kubeadm, or the block around all ClusterIPs (an estimate, which only
    /// warns). ClusterMesh: blocks in use fail, pools alone warn (the default pool 10.0.0.0/8 contains every usual service
    /// range). Submariner: fails, unless Globalnet is on in both.
    ///
    /// ## How to fix
    /// Change the pod pool. A service range normally needs a rebuild.
    ///
    /// ## References
    /// cilium/cilium issues 13766, 30905; Cilium AKS and GKE mesh guides; Submariner documentation, prerequisites.
    pub static SERVICE_IN_PODS = {
        code: "NET103",
        slug: "service-in-pods",
        title: "Service ranges overlap pod ranges",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "traffic to such a pod is load-balanced as if it were a Service",
        rules: ["clustermesh ADDR-6", "clustermesh ADDR-7", "submariner CIDR-02", "submariner CIDR-10"],
        run: Set(|audit: &Audit<'_>| collisions(audit, "NET103")),
    };
}

declare_check! {
    /// ## What it checks
    /// The service ranges of all clusters share no address.
    ///
    /// ## Why it matters
    /// ClusterMesh exchanges backends, not ClusterIPs, so equal ranges work, but every trace and policy becomes ambiguous,
    /// and a control plane exposed as ClusterIP cannot be dialled. Submariner routes service ranges between clusters: there
    /// equal ranges are as fatal as equal pod ranges.
    ///
    /// ## How it is determined
    /// Service ranges of all clusters. ClusterMesh warns, and fails if the mesh control plane of one of them is a ClusterIP;
    /// Submariner fails, unless Globalnet is on in both.
    ///
    /// ## How to fix
    /// Choose different service ranges when clusters are made (`serviceSubnet`); with Submariner, Globalnet needs no rebuild.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup; Submariner documentation, prerequisites.
    pub static SERVICE_OVERLAP = {
        code: "NET104",
        slug: "service-overlap",
        title: "Service ranges overlap",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "a ClusterIP of one cluster means another Service in the other",
        rules: ["clustermesh ADDR-8", "submariner CIDR-02", "submariner KIND-01"],
        run: Between(|audit: &Audit<'_>| collisions(audit, "NET104")),
    };
}

declare_check! {
    /// ## What it checks
    /// No node address of any cluster lies in a service range of any cluster.
    ///
    /// ## Why it matters
    /// What is sent to such a node is taken for a ClusterIP and rewritten or dropped.
    ///
    /// ## How it is determined
    /// InternalIPs of all nodes against service ranges; an estimated service range only warns.
    ///
    /// ## How to fix
    /// Renumber the nodes, or rebuild the cluster with another service range.
    ///
    /// ## References
    /// Cilium AKS and GKE mesh guides; Submariner documentation, prerequisites.
    pub static NODE_IN_SERVICES = {
        code: "NET105",
        slug: "node-in-services",
        title: "Node addresses lie in service ranges",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "these nodes cannot be reached from that cluster",
        rules: ["clustermesh ADDR-6", "clustermesh ADDR-7", "submariner CIDR-04"],
        run: Set(|audit: &Audit<'_>| collisions(audit, "NET105")),
    };
}

declare_check! {
    /// ## What it checks
    /// No two nodes of different clusters have one address.
    ///
    /// ## Why it matters
    /// Everything between clusters is addressed to nodes. With equal addresses a cluster connects to itself, and every status
    /// is green.
    ///
    /// ## How it is determined
    /// InternalIPs of all nodes of all clusters. Submariner looks at gateways only, in a check of its own.
    ///
    /// ## How to fix
    /// Renumber the nodes of one cluster.
    ///
    /// ## References
    /// cilium/cilium issue 20375.
    pub static NODE_OVERLAP = {
        code: "NET106",
        slug: "node-overlap",
        title: "Node addresses are the same",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "each cluster reaches its own node instead of the other's",
        rules: ["clustermesh ADDR-4"],
        run: Between(|audit: &Audit<'_>| collisions(audit, "NET106")),
    };
}

declare_check! {
    /// ## What it checks
    /// Load-balancer pools share no address with each other, nor with pods, Services or nodes.
    ///
    /// ## Why it matters
    /// The mesh control plane is often exposed on such an address; peers must not find something else there.
    ///
    /// ## How it is determined
    /// CiliumLoadBalancerIPPools and pools of other controllers against all ranges of all clusters. A pool inside its own
    /// node network is usual and no finding.
    ///
    /// ## How to fix
    /// Give the pool addresses of its own.
    ///
    /// ## References
    /// Cilium documentation, LB IPAM.
    pub static LOAD_BALANCER_OVERLAP = {
        code: "NET107",
        slug: "load-balancer-overlap",
        title: "Load-balancer pools overlap other ranges",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "a load-balancer address is also something else",
        rules: ["clustermesh 3.4 CiliumLoadBalancerIPPool"],
        run: Set(|audit: &Audit<'_>| collisions(audit, "NET107")),
    };
}

declare_check! {
    /// ## What it checks
    /// No range of a cluster overlaps a network that was declared under `externalNetworks`: on-premises, VPN, other clusters.
    ///
    /// ## Why it matters
    /// Pods reach such a network only as long as its addresses are not routed into a cluster.
    ///
    /// ## How it is determined
    /// The declared networks against pods, Services, load-balancer pools and Globalnet. Nodes usually live in such a network:
    /// that is no finding.
    ///
    /// ## How to fix
    /// Move the cluster's range, or declare the network more exactly.
    ///
    /// ## References
    /// Submariner documentation, Globalnet.
    pub static EXTERNAL_OVERLAP = {
        code: "NET108",
        slug: "external-overlap",
        title: "Ranges collide with a declared network",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "the declared network cannot be reached from these clusters",
        rules: ["submariner CIDR-06", "submariner CIDR-14"],
        run: Set(|audit: &Audit<'_>| collisions(audit, "NET108")),
    };
}

declare_check! {
    /// ## What it checks
    /// The global range of each cluster shares no address with other global ranges, nor with pods, Services, nodes of any
    /// cluster.
    ///
    /// ## Why it matters
    /// Globalnet gives every cluster addresses to be seen by. If they collide, gateways or route agents skip the other
    /// cluster silently.
    ///
    /// ## How it is determined
    /// Global ranges from the Submariner object, the broker's ConfigMap or the plan, against all ranges of all clusters.
    ///
    /// ## How to fix
    /// Choose another range when the broker is deployed (`--globalnet-cidr-range`), or another block for the cluster
    /// (`--globalnet-cidr`).
    ///
    /// ## References
    /// Submariner documentation, Globalnet; Submariner issues 2792, 3614.
    pub static GLOBALNET_OVERLAP = {
        code: "NET109",
        slug: "globalnet-overlap",
        title: "Globalnet ranges collide",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the other cluster is skipped, in a log line only",
        rules: ["submariner CIDR-03", "submariner CIDR-05", "submariner CIDR-06", "submariner CIDR-07"],
        run: Set(|audit: &Audit<'_>| collisions(audit, "NET109")),
    };
}
