//! Addresses as far as only ClusterMesh cares: node addresses, address families, routes between nodes. What collides with what is
//! judged for all products alike, in [`crate::checks::net`].

pub mod agent_addresses;
pub mod masquerading;
pub mod pod_space;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::setting::{as_warning, each, evidence, expect_equal, is_missing, not_loaded, refused};
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::compare::Groups;
use crate::facts::provenance::{Known, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::Settings;
use crate::profile::cilium::values::{Families, Family, RoutingMode};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[&NODE_NETWORKS, &DIRECT_NODE_ROUTES, &ADDRESS_FAMILIES, &UNDERLAY];

declare_check! {
    /// ## What it checks
    /// The InternalIPs of all clusters' nodes lie in one private network, or at least in one block that private networks are cut from.
    ///
    /// ## Why it matters
    /// Tunnels, WireGuard and health checks all go to the InternalIP of the remote node; an ExternalIP does not help as long as
    /// there is an InternalIP, and address translation between clusters is not supported. The control plane, which may be
    /// reached through a public load balancer, connects all the same: everything looks fine and no pod reaches another.
    ///
    /// ## How it is determined
    /// By the private block (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10) of every IPv4 InternalIP. Different blocks may
    /// well be routed to each other, by peering or VPN, and equal ones need not be: only a packet proves it.
    ///
    /// ## How to fix
    /// Route the node networks to each other (peering, VPN), or make the kubelet register an address that is routable from the other clusters
    /// (`--node-ip`; nodes have to be joined anew).
    ///
    /// ## References
    /// Cilium documentation, "Setting up Cluster Mesh", prerequisites; cilium/cilium issues 24165, 38406 and 41446; `pkg/node/types/node.go`.
    pub static NODE_NETWORKS = {
        code: "CM209",
        slug: "node-networks",
        title: "Nodes of different clusters lie in different private networks",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "unless these networks are routed to each other, no node reaches a node of the other cluster",
        rules: ["clustermesh ADDR-9"],
        run: Between(node_networks),
    };
}

fn node_networks(audit: &Audit<'_>) -> Vec<Outcome> {
    Groups::of(audit, |cluster| {
        cluster.cilium()?;
        let nodes = node_addresses(cluster)?;
        let internal = nodes.iter().flat_map(|node| &node.internal).filter(|ip| ip.is_ipv4());
        let networks: BTreeSet<String> = internal
            .map(|ip| {
                let block = Cidr::host(*ip).private_block();
                block.map_or_else(|| "public addresses".to_owned(), |block| block.to_string())
            })
            .collect();
        if networks.is_empty() {
            return Err(NoVerdict::does_not_apply("its nodes have no IPv4 InternalIP"));
        }
        let networks: Vec<String> = networks.into_iter().collect();
        let source = Source::read("Nodes", "status.addresses InternalIP");
        Ok(Known::new(networks.join(" and "), source))
    })
    .expect_equal(audit, |outcome, _| {
        outcome
            .expected("InternalIPs that all nodes of all clusters reach")
            .remedy("route the node networks to each other (peering, VPN), or register routable addresses with the kubelet's --node-ip")
    })
}

/// The addresses of one node that other nodes may dial.
struct NodeAddresses {
    name: String,
    internal: Vec<IpAddr>,
    /// Of any type but those that Cilium made itself.
    all: Vec<IpAddr>,
}

/// Of every node: as its `CiliumNode` says, which is what peers get, else as Kubernetes says.
fn node_addresses(cluster: &Cluster<'_>) -> Result<Vec<NodeAddresses>, Unknown> {
    let of = |name: &String, addresses: &[crate::facts::node::NodeAddress]| {
        let own = addresses.iter().filter(|address| address.kind != "CiliumInternalIP");
        NodeAddresses {
            name: name.clone(),
            internal: own
                .clone()
                .filter(|address| address.kind == "InternalIP")
                .map(|address| address.ip)
                .collect(),
            all: own.map(|address| address.ip).collect(),
        }
    };
    if let Ok(nodes) = cluster.facts.cilium.get()?.nodes.get()
        && !nodes.is_empty()
    {
        return Ok(nodes.iter().map(|node| of(&node.name, &node.addresses)).collect());
    }
    let nodes = cluster.facts.nodes.get()?;
    Ok(nodes.iter().map(|node| of(&node.name, &node.addresses)).collect())
}

declare_check! {
    /// ## What it checks
    /// The cluster does not rely on nodes of other clusters being on its own network segment.
    ///
    /// ## Why it matters
    /// `auto-direct-node-routes` makes each node route to every other node's pods directly. That works on one segment only: where a remote
    /// node is behind a gateway the route is missing (some versions crash over it), and with `direct-routing-skip-unreachable` it is
    /// left out without a word.
    ///
    /// ## How it is determined
    /// Keys `auto-direct-node-routes` and `direct-routing-skip-unreachable`. No object shows which nodes share a segment or who else routes, so that
    /// it stays a warning. Together with a tunnel, or the second key without the first, the agent refuses to start: a failure.
    ///
    /// ## How to fix
    /// Leave it on only if all nodes of all clusters are on one segment. Otherwise turn it off and let the network route pods (BGP, cloud
    /// routes), or use tunnel mode everywhere.
    ///
    /// ## References
    /// Cilium, `pkg/datapath/linux/node.go`, `daemon/cmd/daemon_main.go`; cilium/cilium issues 24777 and 31843.
    pub static DIRECT_NODE_ROUTES = {
        code: "CM215",
        slug: "direct-node-routes",
        title: "Routes to remote nodes work on one network segment only",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "nodes have no route to pods of clusters behind a gateway",
        rules: ["clustermesh ADDR-15"],
        run: Cluster(direct_node_routes),
    };
}

fn direct_node_routes(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const KEYS: [&str; 3] = [
        "auto-direct-node-routes",
        "direct-routing-skip-unreachable",
        "routing-mode",
    ];
    let settings = cluster.cilium()?;
    let outcome = |outcome: Outcome| {
        outcome
            .expected("auto-direct-node-routes off, or all nodes of all clusters on one segment")
            .evidence_all(evidence(cluster, settings, &KEYS))
            .remedy("turn autoDirectNodeRoutes off and let the network route pod ranges (BGP, cloud routes), or tunnel everywhere; agents restart")
    };
    if settings.refusal(&KEYS[..1]).is_some() {
        let shown = |key| settings.shown(key).map(|known| known.value);
        let found = format!(
            "{} {}{}",
            KEYS[0],
            shown(KEYS[0])?,
            not_loaded(cluster, settings, &KEYS[..1])
        );
        return Ok(outcome(Outcome::broken()).found(found));
    }
    if !settings.flag(KEYS[0])?.value {
        return Ok(outcome(Outcome::holds()).found("auto-direct-node-routes off"));
    }
    let skips = settings.flag(KEYS[1])?.value;
    let found = if skips {
        "auto-direct-node-routes on, nodes behind a gateway silently left out"
    } else {
        "auto-direct-node-routes on"
    };
    Ok(outcome(Outcome::broken_as(Severity::Warn)).found(found))
}

declare_check! {
    /// ## What it checks
    /// All clusters give pods addresses of the same families.
    ///
    /// ## Why it matters
    /// Pods of clusters without a common family never reach each other. With one in common, backends of the other family are of no
    /// use to the cluster that lacks it.
    ///
    /// ## How it is determined
    /// Keys `enable-ipv4` and `enable-ipv6`, on every node.
    ///
    /// ## How to fix
    /// Enable the missing family (chart values `ipv4.enabled`, `ipv6.enabled`; nodes and pod ranges must have it too), or keep
    /// global Services to the common one.
    ///
    /// ## References
    /// cilium/cilium pull request 42145; Cilium documentation, "Setting up Cluster Mesh".
    pub static ADDRESS_FAMILIES = {
        code: "CM216",
        slug: "address-families",
        title: "Address families differ",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "backends of a family that a cluster lacks cannot be reached from it",
        rules: ["clustermesh ADDR-16"],
        run: Between(address_families),
    };
}

fn address_families(audit: &Audit<'_>) -> Vec<Outcome> {
    let groups = Groups::of(audit, |cluster| {
        cluster.cilium()?.on_all_nodes(|settings| Ok(settings.families()?))
    });
    let mut clusters: BTreeMap<Families, BTreeSet<ClusterId>> = BTreeMap::new();
    for (value, members) in &groups.values {
        for families in value.values() {
            clusters
                .entry(*families)
                .or_default()
                .extend(members.iter().map(|(id, _)| *id));
        }
    }
    let single = |ipv4: bool| {
        clusters
            .get(&Families { ipv4, ipv6: !ipv4 })
            .map(ids)
            .unwrap_or_default()
    };
    let (only_ipv4, only_ipv6) = (single(true), single(false));
    let both = clusters
        .get(&Families { ipv4: true, ipv6: true })
        .map(ids)
        .unwrap_or_default();
    if only_ipv4.is_empty() || only_ipv6.is_empty() {
        return expect_equal(audit, |settings| Ok(settings.families()?), families_outcome);
    }
    let about = |outcome: Outcome, parts: [Vec<ClusterId>; 2]| {
        let members: BTreeSet<ClusterId> = parts.iter().flatten().copied().collect();
        let evidence = groups.values.values().flatten().filter(|(id, _)| members.contains(id));
        let evidence = evidence.map(|(id, known)| Evidence::of(audit.cluster(*id).name(), known));
        families_outcome(outcome.found(groups.describe(audit)).evidence_all(evidence))
            .across(parts)
            .about(members)
    };
    let mut outcomes = vec![about(
        Outcome::broken_as(Severity::Fail),
        [only_ipv4.clone(), only_ipv6.clone()],
    )];
    if !both.is_empty() {
        outcomes.push(about(Outcome::broken(), [both, [only_ipv4, only_ipv6].concat()]));
    }
    outcomes.extend(groups.outcomes_without());
    outcomes
}

fn ids(set: &BTreeSet<ClusterId>) -> Vec<ClusterId> {
    set.iter().copied().collect()
}

fn families_outcome(outcome: Outcome) -> Outcome {
    outcome
        .expected("the same address families in all clusters")
        .remedy("enable the missing family (ipv4.enabled, ipv6.enabled; nodes and pod ranges need it too), or keep global Services to the common one")
}

declare_check! {
    /// ## What it checks
    /// Tunnels of all clusters run over one address family, and every node of every cluster has an address of it.
    ///
    /// ## Why it matters
    /// A node sends encapsulated packets to the remote node's address of its *own* underlay family. A node without one is never
    /// reached. Different families on either side have never been tested together, and the larger IPv6 header takes 20 bytes of MTU.
    ///
    /// ## How it is determined
    /// Key `underlay-protocol` (from 1.18; `auto`, and every version before, takes IPv4 where it is enabled), where tunnel routing or another
    /// feature needs a tunnel, against the addresses of all nodes.
    ///
    /// ## How to fix
    /// Set chart value `underlayProtocol` alike in all clusters, to a family that every node has. Agents restart, connections break.
    ///
    /// ## References
    /// Cilium, `pkg/datapath/tunnel/tunnel.go`, `pkg/node/manager/manager.go`; documentation, "Routing".
    pub static UNDERLAY = {
        code: "CM217",
        slug: "underlay",
        title: "Tunnels do not run over one address family",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "nodes without an address of the sender's family are never reached",
        rules: ["clustermesh ADDR-17"],
        run: Set(underlay),
    };
}

fn underlay(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for family in Family::ALL {
        let keys = ["underlay-protocol", family.enable_key()];
        outcomes.extend(refused(audit, &keys, "a family that is enabled"));
    }
    let read = |settings: &Settings<'_>| {
        if settings.tunnel_user()?.is_none() {
            return Err(NoVerdict::does_not_apply("nothing uses a tunnel"));
        }
        Ok(settings.underlay()?)
    };
    let groups = Groups::of(audit, |cluster| cluster.cilium()?.on_all_nodes(read));
    let in_use: BTreeSet<Family> = groups.values.keys().flat_map(|value| value.values().copied()).collect();
    let unreachable = if in_use.is_empty() {
        Vec::new()
    } else {
        each(audit, |cluster| nodes_without(cluster, &in_use))
    };
    outcomes.extend(
        unreachable
            .into_iter()
            .filter(|outcome| outcome.is_broken() || is_missing(outcome)),
    );
    outcomes.extend(expect_equal(audit, read, |outcome| {
        as_warning(outcome)
            .expected("one underlay family in all clusters")
            .remedy("set chart value underlayProtocol alike, to a family that every node has; agents restart, connections break")
    }));
    outcomes
}

/// Broken if nodes of this cluster lack an address of a family that tunnels use.
fn nodes_without(cluster: &Cluster<'_>, in_use: &BTreeSet<Family>) -> Judged {
    let settings = cluster.cilium()?;
    if settings.routing_mode()?.value == RoutingMode::Native && settings.tunnel_user()?.is_none() {
        return Err(NoVerdict::does_not_apply("nothing uses a tunnel"));
    }
    let nodes = node_addresses(cluster)?;
    for family in in_use {
        let has = |node: &NodeAddresses| node.all.iter().any(|ip| family.has(Cidr::host(*ip)));
        let without: Vec<String> = nodes
            .iter()
            .filter(|node| !has(node))
            .map(|node| node.name.clone())
            .collect();
        if !without.is_empty() {
            let source = Source::read(format!("CiliumNode {}", without[0]), "spec.addresses");
            return Ok(Outcome::broken()
                .expected(format!("an {family} address on every node, as tunnels run over {family}"))
                .found(format!("no {family} address on {}", some_of(&without)))
                .evidence(Evidence::new(cluster.name(), &format!("no {family} address"), &source))
                .nodes(without)
                .remedy("give these nodes an address of that family, or set chart value underlayProtocol to one that all nodes have"));
        }
    }
    Ok(Outcome::holds())
}

#[cfg(test)]
mod tests;
