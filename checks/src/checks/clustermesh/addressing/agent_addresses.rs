//! The addresses that Cilium itself has on every node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::address::{AddressIndex, Block};
use crate::alike::some_of;
use crate::check::{Check, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::facts::RangeKind;
use crate::facts::cilium::Cilium;
use crate::facts::provenance::{Fact, Source};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::Settings;
use crate::report::{Evidence, Severity};

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] = &[&AGENT_ADDRESSES];

/// The fixed addresses that all nodes may share, by the key that sets them.
const FIXED_ROUTER_KEYS: [&str; 2] = ["local-router-ipv4", "local-router-ipv6"];

declare_check! {
    /// ## What it checks
    /// No address that Cilium itself has on a node (router, health endpoint, ingress proxy) is on another node as well, in any cluster.
    ///
    /// ## Why it matters
    /// Health checks, replies of host traffic and Ingress go to these addresses. If two nodes have one, the later one in the map wins, for
    /// all agents of the mesh.
    ///
    /// ## How it is determined
    /// `spec.addresses` (CiliumInternalIP), `spec.health` and `spec.ingress` of all CiliumNodes of all clusters, address by address. Left out are
    /// router addresses that are the same on every node by design: `local-router-ipv4`, `local-router-ipv6`, IPAM delegated-plugin. Addresses in
    /// pod ranges that collide themselves are left to the check of those. A warning where Cilium is chained on another plugin: there the
    /// addresses stay on their node.
    ///
    /// ## How to fix
    /// Give each cluster a pod range of its own. Within one cluster: restart the agents of these nodes, or delete the CiliumNode that was left over.
    ///
    /// ## References
    /// Cilium, `pkg/k8s/apis/cilium.io/v2/types.go`; documentation, "Azure Delegated IPAM".
    pub static AGENT_ADDRESSES = {
        code: "CM218",
        slug: "agent-addresses",
        title: "Cilium has one address on several nodes",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "what is meant for one node's agent goes to another's",
        rules: ["clustermesh ADDR-5"],
        run: Set(agent_addresses),
    };
}

/// One address of one node's agent.
struct Holder<'a> {
    cluster: ClusterId,
    node: &'a str,
    field: &'static str,
}

/// An address that several nodes have, with all of them.
type Shared<'h, 'a> = (IpAddr, Vec<&'h Holder<'a>>);

fn agent_addresses(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut holders = Vec::new();
    let mut without: BTreeMap<NoVerdict, Vec<ClusterId>> = BTreeMap::new();
    let mut read = Vec::new();
    for cluster in audit.clusters {
        match addresses(cluster) {
            Ok(own) if own.is_empty() => {
                let why = NoVerdict::does_not_apply("its CiliumNodes show no addresses of Cilium's own");
                without.entry(why).or_default().push(cluster.id);
            }
            Ok(own) => {
                read.push(cluster.id);
                holders.extend(own);
            }
            Err(why) => without.entry(why).or_default().push(cluster.id),
        }
    }
    let count = holders.len();
    let index = AddressIndex::new(holders);
    // Blocks are single addresses: a block with two holders is a collision. Alike collisions are one.
    let mut shared: BTreeMap<(bool, Vec<ClusterId>), Vec<Shared<'_, '_>>> = BTreeMap::new();
    for block in index.blocks().filter(|block| block.ranges().len() > 1) {
        let holders: Vec<&Holder<'_>> = block.values().collect();
        if holders
            .iter()
            .all(|holder| (holder.cluster, holder.node) == (holders[0].cluster, holders[0].node))
        {
            continue;
        }
        let mut clusters: Vec<ClusterId> = holders.iter().map(|holder| holder.cluster).collect();
        clusters.sort_unstable();
        clusters.dedup();
        let explained = clusters.len() > 1 && pods_collide_at(audit, block.cidr());
        shared
            .entry((explained, clusters))
            .or_default()
            .push((block.cidr().first(), holders));
    }
    let mut outcomes: Vec<Outcome> = shared
        .iter()
        .map(|((explained, clusters), collisions)| outcome(audit, *explained, clusters, collisions))
        .collect();
    if outcomes.is_empty() && !read.is_empty() {
        outcomes.push(
            Outcome::holds()
                .found(format!("{count} addresses, each on one node"))
                .about(read),
        );
    }
    outcomes.extend(
        without
            .into_iter()
            .map(|(why, clusters)| Outcome::none(why).about(clusters)),
    );
    outcomes
}

fn outcome(audit: &Audit<'_>, explained: bool, clusters: &[ClusterId], collisions: &[Shared<'_, '_>]) -> Outcome {
    if explained {
        return Outcome::does_not_apply("the pod ranges that hold these addresses collide: see pod-overlap")
            .about(clusters.iter().copied());
    }
    let chained = clusters.iter().any(|id| is_chained(audit.cluster(*id)));
    let outcome = if chained {
        Outcome::broken_as(Severity::Warn)
    } else {
        Outcome::broken()
    };
    let addresses: Vec<String> = collisions.iter().map(|(address, _)| address.to_string()).collect();
    let (first, holders) = &collisions[0];
    let outcome = outcome
        .expected("addresses that one node alone has")
        .found(format!(
            "{} on several nodes of {}",
            some_of(&addresses),
            audit.names(clusters)
        ))
        .evidence_all(holders.iter().map(|holder| {
            let source = Source::read(format!("CiliumNode {}", holder.node), holder.field);
            Evidence::new(audit.cluster(holder.cluster).name(), first, &source)
        }))
        .about(clusters.iter().copied());
    if let [_] = clusters {
        let nodes = collisions
            .iter()
            .flat_map(|(_, holders)| holders.iter().map(|holder| holder.node.to_owned()));
        let mut nodes: Vec<String> = nodes.collect();
        nodes.sort_unstable();
        nodes.dedup();
        return outcome
            .nodes(nodes)
            .remedy("restart the agents of these nodes, or delete the CiliumNode that was left over");
    }
    outcome
        .within(clusters.iter().copied())
        .remedy("give each cluster a pod range of its own, which these addresses come from")
}

/// The addresses of a cluster's agents, but for those that all nodes share by design.
fn addresses<'a>(cluster: &Cluster<'a>) -> Result<Vec<(Cidr, Holder<'a>)>, NoVerdict> {
    let settings = cluster.cilium()?;
    let fixed_router = has_fixed_router(settings)?;
    let cilium: &'a Cilium = match &cluster.facts.cilium {
        Fact::Known(known) => &known.value,
        Fact::Unknown(unknown) => return Err(unknown.clone().into()),
    };
    let nodes = cilium.nodes.get()?;
    let mut found = Vec::new();
    for node in nodes {
        let router = node
            .addresses
            .iter()
            .filter(|address| address.kind == "CiliumInternalIP");
        let router = router
            .filter(|_| !fixed_router)
            .map(|address| ("spec.addresses", address.ip));
        let health = node.health_ips.iter().map(|ip| ("spec.health", *ip));
        let ingress = node.ingress_ips.iter().map(|ip| ("spec.ingress", *ip));
        found.extend(router.chain(health).chain(ingress).map(|(field, ip)| {
            let holder = Holder {
                cluster: cluster.id,
                node: &node.name,
                field,
            };
            (Cidr::host(ip), holder)
        }));
    }
    Ok(found)
}

fn has_fixed_router(settings: &Settings<'_>) -> Result<bool, NoVerdict> {
    for key in FIXED_ROUTER_KEYS {
        if !settings.shown(key)?.value.is_empty() {
            return Ok(true);
        }
    }
    Ok(settings.shown("ipam")?.value == "delegated-plugin")
}

/// Whether another plugin hands out the addresses of pods, so that Cilium's own stay on their node.
fn is_chained(cluster: &Cluster<'_>) -> bool {
    let mode = cluster
        .cilium()
        .and_then(|settings| settings.shown("cni-chaining-mode"));
    mode.is_ok_and(|mode| !matches!(mode.value.as_str(), "" | "none" | "portmap"))
}

/// Whether pod ranges of two clusters hold this address.
fn pods_collide_at(audit: &Audit<'_>, address: Cidr) -> bool {
    let mut clusters: Vec<Option<ClusterId>> = audit
        .space()
        .index
        .covering(address)
        .flat_map(Block::values)
        .filter(|claimed| claimed.class.kind == RangeKind::Pods)
        .map(|claimed| claimed.cluster)
        .collect();
    clusters.sort_unstable();
    clusters.dedup();
    clusters.len() > 1
}

#[cfg(test)]
mod tests {
    use crate::facts::ClusterFacts;
    use crate::facts::provenance::{Fact, Reason};
    use crate::profile::Profile::Clustermesh;
    use crate::report::{Finding, Verdict};
    use crate::samples::{cilium, cilium_mut, findings, report, set_cilium_key, value_mut};

    fn judged(clusters: &[ClusterFacts]) -> Finding {
        findings(&report(Clustermesh, clusters), "CM218")[0].clone()
    }

    /// Gives the first node of a cluster a router and a health address.
    fn with_addresses(mut facts: ClusterFacts, router: &str, health: &str) -> ClusterFacts {
        let node = &mut value_mut(&mut cilium_mut(&mut facts).nodes)[0];
        for address in &mut node.addresses {
            if address.kind == "CiliumInternalIP" {
                address.ip = router.parse().unwrap();
            }
        }
        node.health_ips = vec![health.parse().unwrap()];
        facts
    }

    #[test]
    fn addresses_that_one_node_has_pass() {
        let finding = judged(&[cilium("east", 1), cilium("west", 2)]);
        assert_eq!(finding.verdict, Verdict::Pass);
        assert_eq!(finding.found, "8 addresses, each on one node");
    }

    #[test]
    fn an_address_on_nodes_of_two_clusters_fails_with_both_nodes_as_evidence() {
        let east = with_addresses(cilium("east", 1), "100.64.0.1", "100.64.0.2");
        let west = with_addresses(cilium("west", 2), "100.64.0.1", "100.64.0.2");
        let finding = judged(&[east, west]);
        assert_eq!(finding.verdict, Verdict::Fail);
        assert_eq!(
            finding.found,
            "100.64.0.1, 100.64.0.2 on several nodes of east and west"
        );
        let nodes: Vec<&str> = finding.evidence.iter().map(|one| one.source.object.as_str()).collect();
        assert_eq!(nodes, ["CiliumNode east-n1", "CiliumNode west-n1"]);
    }

    #[test]
    fn two_nodes_of_one_cluster_fail_too() {
        let east = with_addresses(cilium("east", 1), "10.10.1.77", "10.10.0.78");
        let finding = judged(&[east]);
        assert_eq!(finding.verdict, Verdict::Fail);
        assert_eq!(finding.subject.nodes, ["east-n1", "east-n2"]);
    }

    #[test]
    fn router_addresses_that_are_fixed_are_left_out() {
        let fixed = |name, number| {
            let mut facts = with_addresses(cilium(name, number), "169.254.23.0", &format!("10.{number}0.0.78"));
            set_cilium_key(&mut facts, "local-router-ipv4", Some("169.254.23.0"));
            facts
        };
        assert_eq!(judged(&[fixed("east", 1), fixed("west", 2)]).verdict, Verdict::Pass);
    }

    #[test]
    fn chained_clusters_are_warned() {
        let chained = |name, number| {
            let mut facts = with_addresses(cilium(name, number), "100.64.0.1", "100.64.0.2");
            set_cilium_key(&mut facts, "cni-chaining-mode", Some("aws-cni"));
            facts
        };
        assert_eq!(judged(&[chained("east", 1), chained("west", 2)]).verdict, Verdict::Warn);
    }

    #[test]
    fn what_follows_from_colliding_pod_ranges_is_said_once() {
        let pooled = |name| {
            let mut facts = cilium(name, 1);
            set_cilium_key(&mut facts, "ipam", Some("cluster-pool"));
            set_cilium_key(&mut facts, "cluster-pool-ipv4-cidr", Some("10.10.0.0/16"));
            facts
        };
        let report = report(Clustermesh, &[pooled("east"), pooled("west")]);
        assert_eq!(findings(&report, "CM218")[0].verdict, Verdict::Skip);
        assert_eq!(findings(&report, "NET101")[0].verdict, Verdict::Fail);
    }

    #[test]
    fn unread_nodes_are_unknown() {
        let mut east = cilium("east", 1);
        cilium_mut(&mut east).nodes = Fact::unknown(Reason::Forbidden, "list ciliumnodes: forbidden");
        assert_eq!(judged(&[east]).verdict, Verdict::Unknown);
    }
}
