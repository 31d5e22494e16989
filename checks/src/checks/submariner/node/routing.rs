//! The default route and the addresses that Submariner takes from it, and the routing tables it needs for itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::{default_link, default_route, gateways, without_ovn};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::network::{MAIN_TABLE, is_unicast, leads_to};
use crate::checks::per_node::{OnNode, Seen, asked, judge, nodes};
use crate::cidr::Cidr;
use crate::facts::kernel::Route;
use crate::facts::provenance::{Reason, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::profile::submariner::discovery::is_ovn_kubernetes;
use crate::profile::submariner::gateways::{first_internal_ipv4, own_endpoint};
use crate::profile::submariner::{Mesh, installed};

pub(in crate::checks::submariner) static CHECKS: &[&Check] = &[
    &OUTSIDE_ROUTE,
    &OUTSIDE_SOURCE,
    &DEFAULT_ROUTE,
    &FIRST_ADDRESS,
    &ROUTING_TABLES,
];

/// The address towards which a gateway opens a socket to learn its own; no packet is sent there.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8));

/// The most specific route of the main table to the outside; what the kernel itself answered comes first.
fn route_outside<'a>(on: &OnNode<'a>) -> Result<Option<&'a Route>, Unknown> {
    let kernel = on.kernel;
    let routes = kernel.routes.get()?.iter();
    let best = routes
        .filter(|route| route.table == MAIN_TABLE && leads_to(route, OUTSIDE))
        .max_by_key(|route| {
            let length = route.destination.parse::<Cidr>().map_or(0, Cidr::prefix_len);
            (length, std::cmp::Reverse(route.metric))
        });
    Ok(best.filter(|route| is_unicast(route)))
}

/// The source address of packets to the outside: what a gateway publishes as its private address. `None` where there is no route.
fn outside_source(on: &OnNode<'_>) -> Result<Option<IpAddr>, Unknown> {
    if let Some(path) = on.kernel.path_to(OUTSIDE) {
        match path.get() {
            Ok(chosen) if chosen.source.is_some() => return Ok(chosen.source),
            Err(why) if why.reason == Reason::NotFound => return Ok(None),
            Err(why) => return Err(why),
            Ok(_) => {}
        }
    }
    let Some(route) = route_outside(on)? else {
        // Other tables may lead there, by rules that only the kernel itself applies.
        let is_plain = on.kernel.rules.get()?.iter().all(|rule| rule.ipv6 || rule.table >= 253);
        return if is_plain {
            Ok(None)
        } else {
            Err(Unknown::not_found(
                "routing rules decide, and the kernel was not asked for its route to 8.8.8.8",
            ))
        };
    };
    if route.source.is_some() {
        return Ok(route.source);
    }
    let links = on.kernel.links.get()?.iter();
    let addresses: Vec<_> = links
        .filter(|link| link.name == route.link)
        .flat_map(|link| &link.addresses)
        .filter(|address| address.ip.is_ipv4() && address.scope != "host" && !address.secondary)
        .collect();
    // The kernel prefers the address whose subnet the next hop is in.
    let beside_next_hop = addresses.iter().find(|address| {
        let subnet = Cidr::new(address.ip, address.prefix_len);
        route
            .gateway
            .is_some_and(|gateway| subnet.is_some_and(|subnet| subnet.contains_addr(gateway)))
    });
    beside_next_hop
        .or(addresses.first())
        .map(|address| Some(address.ip))
        .ok_or_else(|| Unknown::not_found(format!("{} has no IPv4 address: its source is not known", route.link)))
}

declare_check! {
    /// ## What it checks
    /// Every gateway has an IPv4 route to the outside (8.8.8.8).
    ///
    /// ## Why it matters
    /// A gateway learns its own address by opening a socket towards 8.8.8.8. No packet is sent, but without a route it exits.
    ///
    /// ## How it is determined
    /// What the kernel answers for 8.8.8.8, or the routes of the main table that lead there, on gateways or, while none is labelled, on the nodes that
    /// `subctl join` would offer.
    ///
    /// ## How to fix
    /// Give the node a default route; it may lead nowhere.
    ///
    /// ## References
    /// `submariner`, `pkg/endpoint/local_ip.go`.
    pub static OUTSIDE_ROUTE = {
        code: "SM440",
        slug: "gateway-route-outside",
        title: "A gateway has no route to the outside",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateway exits at start",
        rules: ["submariner NODE-11"],
        run: Cluster(outside_route),
    };
}

fn outside_route(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let advice = (
            "an IPv4 route to 8.8.8.8 on gateways",
            "add a default route on these nodes, or label others as gateways",
        );
        judge(audit, cluster, gateways(cluster)?, advice, |on| {
            Ok(match outside_source(on)? {
                Some(source) => {
                    Seen::fine("a route").evidence(on.evidence(&on.kernel.routes, "source to 8.8.8.8", &source))
                }
                None => Seen::fault("no route").evidence(on.evidence(&on.kernel.routes, "to 8.8.8.8", &"none")),
            })
        })
    })
}

declare_check! {
    /// ## What it checks
    /// The source address of a gateway's route to the outside is the node's first IPv4 InternalIP.
    ///
    /// ## Why it matters
    /// A gateway publishes the one as its private address; the other nodes of the cluster, and its own device between nodes, go by the other.
    /// On a host with two cards they may differ, and peers are told an address they cannot reach.
    ///
    /// ## How it is determined
    /// The kernel's answer for 8.8.8.8, or its default route, against `status.addresses` of the Node.
    ///
    /// ## How to fix
    /// Let the default route leave by the card that has the InternalIP, or give the kubelet `--node-ip`.
    ///
    /// ## References
    /// `submariner`, `pkg/endpoint/local_ip.go`, `pkg/routeagent_driver/handlers/kubeproxy/node_handler.go`.
    pub static OUTSIDE_SOURCE = {
        code: "SM441",
        slug: "gateway-address-of-route",
        title: "A gateway's own address is not its InternalIP",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "peers or the cluster's own nodes look for the gateway at another address",
        rules: ["submariner NODE-12"],
        run: Cluster(outside_source_is_internal),
    };
}

fn outside_source_is_internal(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let advice = (
            "the InternalIP as source towards the outside",
            "let the default route leave by the card with the InternalIP, or set the kubelet's --node-ip to the other address",
        );
        judge(audit, cluster, gateways(cluster)?, advice, |on| {
            let Some(source) = outside_source(on)? else {
                return Err(NoVerdict::does_not_apply("there is no route to the outside"));
            };
            let Some(internal) = first_internal_ipv4(on.node) else {
                return Err(Unknown::not_found(format!("{} has no IPv4 InternalIP", on.node.name)).into());
            };
            let seen = if source == IpAddr::V4(internal) {
                Seen::fine("the InternalIP")
            } else {
                Seen::fault(format!("{source} instead of {internal}"))
            };
            Ok(seen.evidence(on.evidence(&on.kernel.routes, "source to 8.8.8.8", &source)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Every node's main table has an IPv4 default route over one device, and (but for OVN-Kubernetes) that device has an IPv4 address.
    ///
    /// ## Why it matters
    /// The route agent takes the device of the default route for the way to the other nodes. A route over several devices names none; without
    /// an address there is nothing to build the tunnel on. The route agent exits.
    ///
    /// ## How it is determined
    /// Routes of the main table, links and addresses of every node.
    ///
    /// ## How to fix
    /// A default route over one device, with an address on that device (not only on loopback).
    ///
    /// ## References
    /// `submariner`, `pkg/netlink/netlink.go`, `pkg/routeagent_driver/handlers/kubeproxy`.
    pub static DEFAULT_ROUTE = {
        code: "SM442",
        slug: "node-default-route",
        title: "A node has no default route over one device with an address",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the route agent exits on these nodes",
        rules: ["submariner NODE-14"],
        run: Cluster(node_default_route),
    };
}

fn node_default_route(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let needs_address = !is_ovn_kubernetes(cluster)?;
        let advice = (
            "one IPv4 default route over one device that has an IPv4 address",
            "give these nodes a default route over a single device, with an address on that device",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let Some(route) = default_route(on)? else {
                return Ok(Seen::fault("no IPv4 default route"));
            };
            if route.link.is_empty() || route.next_hops > 1 {
                return Ok(Seen::fault("a default route over several devices"));
            }
            let link = default_link(on)?;
            let has_address = link.is_some_and(|link| link.addresses.iter().any(|address| address.ip.is_ipv4()));
            let evidence = on.evidence(&on.kernel.routes, "default route", &route.link);
            if needs_address && !has_address {
                let found = format!("{} has the default route and no IPv4 address", route.link);
                return Ok(Seen::fault(found).evidence(evidence));
            }
            Ok(Seen::fine(format!("over {}", route.link)).evidence(evidence))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// The first IPv4 address of a gateway's default-route device is the address that the gateway publishes as its private one.
    ///
    /// ## Why it matters
    /// The gateway makes its address on the device between nodes (240.x) of the first; the other nodes send to the one made of the second. With
    /// a virtual address first, or a `src` in the default route, no pod of another node reaches other clusters.
    ///
    /// ## How it is determined
    /// Order of the device's addresses, against the private address of the member's Endpoint for the active gateway, else the source address
    /// of the route to 8.8.8.8. A cluster of one node, and OVN-Kubernetes, have no such device.
    ///
    /// ## How to fix
    /// Put the address first (virtual addresses as secondary), or drop the `src` of the default route.
    ///
    /// ## References
    /// `submariner`, `pkg/routeagent_driver/handlers/kubeproxy` (vxlan, endpoint handler).
    pub static FIRST_ADDRESS = {
        code: "SM443",
        slug: "gateway-first-address",
        title: "A gateway's first address is not the one it publishes",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "pods on other nodes send to an address that the gateway does not have",
        rules: ["submariner NODE-15"],
        run: Cluster(first_address),
    };
}

fn first_address(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        without_ovn(cluster)?;
        if nodes(cluster)?.len() < 2 {
            return Err(NoVerdict::does_not_apply("the gateway is the only node"));
        }
        let published = match installed(cluster)? {
            Some(_) => own_endpoint(cluster)?.map(|(endpoint, _)| endpoint),
            None => None,
        };
        let advice = (
            "the published private address first on the default-route device",
            "put this address first on the device (virtual addresses as secondary ones), or drop src from the default route",
        );
        judge(audit, cluster, gateways(cluster)?, advice, |on| {
            let Some(link) = default_link(on)? else {
                return Err(NoVerdict::does_not_apply("there is no default route over one device"));
            };
            let first = link.addresses.iter().map(|address| address.ip).find(IpAddr::is_ipv4);
            let Some(first) = first else {
                return Err(NoVerdict::does_not_apply(
                    "the default-route device has no IPv4 address",
                ));
            };
            let of_node = published.filter(|endpoint| on.kernel.host_name.ok() == Some(&endpoint.hostname));
            let private = of_node.and_then(|endpoint| endpoint.private_ips.iter().find_map(|ip| ip.parse().ok()));
            let Some(own) = private.map_or_else(|| outside_source(on), |ip| Ok(Some(ip)))? else {
                return Err(NoVerdict::does_not_apply("there is no route to the outside"));
            };
            let seen = if first == own {
                Seen::fine("the published address is first")
            } else {
                Seen::fault(format!("{first} is first on {}, {own} is published", link.name))
            };
            Ok(seen.evidence(on.evidence(&on.kernel.links, format!("{} first address", link.name), &first)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Before a join nobody uses the routing tables that Submariner will use, nor rules of the same priority: 150 for the host network, 100 with the VXLAN
    /// cable, 149 with OVN-Kubernetes.
    ///
    /// ## Why it matters
    /// Submariner flushes these tables and adds its rules at these priorities: routes of others are lost, or come first.
    ///
    /// ## How it is determined
    /// Routes and rules of gateways and, with OVN-Kubernetes, of all nodes. A member's own entries are there by right, and not told apart.
    ///
    /// ## How to fix
    /// Move the other user to another table and priority.
    ///
    /// ## References
    /// `submariner`, `pkg/routeagent_driver`, `pkg/netlink/netlink.go`.
    pub static ROUTING_TABLES = {
        code: "SM474",
        slug: "submariner-routing-tables",
        title: "Somebody else uses Submariner's routing tables",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "Submariner deletes the other's routes, or the other leads its packets astray",
        rules: ["submariner SYS-09"],
        run: Cluster(routing_tables),
    };
}

fn routing_tables(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        if installed(cluster)?.is_some() {
            return Err(NoVerdict::does_not_apply("Submariner itself uses them here"));
        }
        let has_ovn = is_ovn_kubernetes(cluster)?;
        let mut tables = BTreeSet::from([150]);
        if Mesh::of(audit).cable_driver(cluster)?.value == "vxlan" {
            tables.insert(100);
        }
        if has_ovn {
            tables.insert(149);
        }
        let concerned = if has_ovn { nodes(cluster)? } else { gateways(cluster)? };
        let numbers: Vec<String> = tables.iter().map(ToString::to_string).collect();
        let expected = format!("routing tables and rule priorities {} free", numbers.join(", "));
        let remedy = "move the other user to another table and another priority";
        judge(audit, cluster, concerned, (&expected, remedy), |on| {
            let routes = on.kernel.routes.get()?.iter();
            let mut used: BTreeSet<u32> = routes
                .map(|route| route.table)
                .filter(|table| tables.contains(table))
                .collect();
            for rule in on.kernel.rules.get()? {
                used.extend(
                    [rule.priority, rule.table]
                        .iter()
                        .filter(|number| tables.contains(number)),
                );
            }
            let evidence: Vec<_> = used
                .iter()
                .map(|table| on.evidence(&on.kernel.routes, "table", table))
                .collect();
            let numbers: Vec<String> = used.iter().map(ToString::to_string).collect();
            let fault = (!used.is_empty()).then(|| format!("{} is in use", numbers.join(", ")));
            Ok(Seen::faults(fault, "free").evidence_all(evidence))
        })
    })
}

#[cfg(test)]
mod tests;
