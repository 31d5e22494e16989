//! Tunnel addresses that Submariner makes of node addresses: 240.x inside a cluster, 241.x between gateways with the VXLAN cable driver.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::ranges::{Open, Own, conclude, overlapping, ranges};
use crate::address::AddressIndex;
use crate::addressing::Range;
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::facts::provenance::Source;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::Mesh;
use crate::profile::submariner::discovery::is_ovn_kubernetes;
use crate::profile::submariner::gateways::{first_internal_ipv4, labelled, private_addresses};
use crate::report::Evidence;

pub(super) static CHECKS: &[&Check] = &[&RESERVED_RANGES, &NODE_VTEPS, &GATEWAY_VTEPS];

declare_check! {
    /// ## What it checks
    /// Nothing uses 240.0.0.0/8 and, with the VXLAN cable driver, 241.0.0.0/8.
    ///
    /// ## Why it matters
    /// The agents make tunnel addresses of node addresses by putting 240 (inside a cluster) or 241 (between gateways) in place of the first octet. A
    /// range there is captured by the tunnel devices.
    ///
    /// ## How it is determined
    /// The ranges of pods, Services and nodes and Global CIDRs. 240.0.0.0/8 is free to use where all clusters run OVN-Kubernetes, which
    /// has no such device.
    ///
    /// ## How to fix
    /// Do not use class E addresses there.
    ///
    /// ## References
    /// `submariner`, `pkg/vxlan/vxlan.go`.
    pub static RESERVED_RANGES = {
        code: "SM203",
        slug: "submariner-reserved-ranges",
        title: "A range lies where Submariner makes its tunnel addresses",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the tunnel devices capture its traffic",
        rules: ["submariner CIDR-09"],
        run: Set(reserved_ranges),
    };
}

fn reserved_ranges(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let first_octet = |octet| Cidr::new(Ipv4Addr::new(octet, 0, 0, 0).into(), 8).expect("8 bits are a valid prefix");
    let mut reserved = Vec::new();
    let not_ovn = |cluster: &Cluster<'_>| !is_ovn_kubernetes(cluster).unwrap_or(false);
    if audit.clusters.iter().any(not_ovn) {
        reserved.push((first_octet(240), ()));
    }
    if audit
        .clusters
        .iter()
        .any(|cluster| mesh.cable_driver(cluster).is_ok_and(|known| known.value == "vxlan"))
    {
        reserved.push((first_octet(241), ()));
    }
    let index = AddressIndex::new(reserved);
    let mut unknown: Open = BTreeMap::new();
    let mut broken = Vec::new();
    for cluster in audit.clusters {
        let (own, missing) = ranges(cluster);
        for why in missing {
            unknown.entry(why.into()).or_default().insert(cluster.id);
        }
        let hits: Vec<&Own<'_>> = own
            .iter()
            .filter(|range| overlapping(&index, range.cidr).next().is_some())
            .collect();
        let global = mesh.global_space(cluster).unwrap_or_default();
        let global: Vec<&Range> = global
            .iter()
            .filter(|range| overlapping(&index, range.cidr).next().is_some())
            .collect();
        if hits.is_empty() && global.is_empty() {
            continue;
        }
        let names = hits.iter().map(|range| range.describe(cluster));
        let names = names.chain(
            global
                .iter()
                .map(|range| format!("globalnet {} of {}", range.cidr, cluster.name())),
        );
        broken.push(
            Outcome::broken()
                .expected("nothing in the ranges of Submariner's tunnel addresses")
                .found(some_of(names))
                .evidence_all(hits.iter().take(8).map(|range| range.evidence(cluster)))
                .evidence_all(
                    global
                        .iter()
                        .map(|range| Evidence::new(cluster.name(), &range.cidr, &range.source)),
                )
                .remedy("use other addresses than 240.0.0.0/8 and 241.0.0.0/8")
                .about([cluster.id]),
        );
    }
    conclude(audit, broken, unknown, "nothing lies there")
}

declare_check! {
    /// ## What it checks
    /// No two nodes of a cluster have addresses that agree in their last three octets.
    ///
    /// ## Why it matters
    /// The address of `vx-submariner` on a node is the node's own with 240 in place of the first octet. Of two nodes with the same one only one gets
    /// its packets. OVN-Kubernetes has no such device.
    ///
    /// ## How it is determined
    /// The first IPv4 InternalIP of each node.
    ///
    /// ## How to fix
    /// Give one of the nodes another address.
    ///
    /// ## References
    /// `submariner`, `pkg/vxlan/vxlan.go` and `pkg/routeagent_driver/handlers/kubeproxy`.
    pub static NODE_VTEPS = {
        code: "SM204",
        slug: "node-tunnel-addresses",
        title: "Two nodes get one tunnel address",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "packets for other clusters from one of these nodes are lost",
        rules: ["submariner CIDR-09"],
        run: Cluster(node_vteps),
    };
}

fn node_vteps(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if is_ovn_kubernetes(cluster)? {
        return Err(NoVerdict::does_not_apply("OVN-Kubernetes has no device vx-submariner"));
    }
    let mut by_vtep: BTreeMap<[u8; 3], Vec<(&str, Ipv4Addr)>> = BTreeMap::new();
    for node in cluster.facts.nodes.get()? {
        if let Some(address) = first_internal_ipv4(node) {
            by_vtep
                .entry(last_octets(address))
                .or_default()
                .push((&node.name, address));
        }
    }
    let Some((octets, nodes)) = by_vtep.iter().find(|(_, nodes)| nodes.len() > 1) else {
        return Ok(Outcome::holds().found(format!("{} different tunnel addresses", by_vtep.len())));
    };
    let [a, b, c] = octets;
    let source = |node: &str| Source::read(format!("Node {node}"), "status.addresses[InternalIP]");
    Ok(Outcome::broken()
        .expected("addresses that differ in their last three octets")
        .found(format!(
            "240.{a}.{b}.{c} for {}",
            some_of(nodes.iter().map(|(node, _)| node))
        ))
        .evidence_all(
            nodes
                .iter()
                .take(8)
                .map(|(node, address)| Evidence::new(cluster.name(), address, &source(node))),
        )
        .remedy("give one of these nodes another address")
        .nodes(nodes.iter().map(|(node, _)| *node)))
}

fn last_octets(address: Ipv4Addr) -> [u8; 3] {
    let [_, a, b, c] = address.octets();
    [a, b, c]
}

declare_check! {
    /// ## What it checks
    /// With the VXLAN cable driver, no gateways of two clusters have addresses that agree in their last three octets.
    ///
    /// ## Why it matters
    /// The address of a gateway's `vxlan-tunnel` is its own with 241 in place of the first octet. Two gateways with the same one cannot talk to each
    /// other.
    ///
    /// ## How it is determined
    /// The private address in members' `Endpoint` objects and the first IPv4 InternalIP of nodes labelled as gateways.
    ///
    /// ## How to fix
    /// Give one of the gateways another address, or use another cable driver.
    ///
    /// ## References
    /// `submariner`, `pkg/cable/vxlan/vxlan.go` and `pkg/vxlan/vxlan.go`.
    pub static GATEWAY_VTEPS = {
        code: "SM205",
        slug: "gateway-tunnel-addresses",
        title: "Gateways of different clusters get one tunnel address",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "these gateways cannot talk to each other",
        rules: ["submariner CIDR-09"],
        run: Between(gateway_vteps),
    };
}

fn gateway_vteps(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let mut unknown: Open = BTreeMap::new();
    let mut by_vtep: BTreeMap<[u8; 3], Vec<(ClusterId, Ipv4Addr, Source)>> = BTreeMap::new();
    for cluster in audit.clusters {
        let addresses = || {
            if mesh.cable_driver(cluster)?.value != "vxlan" {
                return Err(NoVerdict::does_not_apply("the cable driver is not vxlan"));
            }
            Ok(private_addresses(cluster, labelled(cluster)?)?)
        };
        match addresses() {
            Ok(addresses) => {
                for (address, source) in addresses {
                    by_vtep
                        .entry(last_octets(address))
                        .or_default()
                        .push((cluster.id, address, source));
                }
            }
            Err(why) => {
                unknown.entry(why).or_default().insert(cluster.id);
            }
        }
    }
    let mut broken = Vec::new();
    for ([a, b, c], gateways) in by_vtep {
        let ids: BTreeSet<ClusterId> = gateways.iter().map(|(id, _, _)| *id).collect();
        if ids.len() < 2 {
            continue;
        }
        let ids: Vec<ClusterId> = ids.into_iter().collect();
        broken.push(
            Outcome::broken()
                .expected("gateway addresses that differ in their last three octets")
                .found(format!("241.{a}.{b}.{c} for {}", audit.names(&ids)))
                .evidence_all(
                    gateways
                        .iter()
                        .map(|(id, address, source)| Evidence::new(audit.cluster(*id).name(), address, source)),
                )
                .remedy("give one of the gateways another address, or use another cable driver")
                .within(ids.clone())
                .about(ids),
        );
    }
    conclude(audit, broken, unknown, "different tunnel addresses")
}

#[cfg(test)]
mod tests;
