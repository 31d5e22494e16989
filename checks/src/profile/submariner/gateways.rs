//! Which nodes are, or may become, gateways.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{absent, installed, member};
use crate::facts::node::Node;
use crate::facts::provenance::{Source, Unknown};
use crate::facts::submariner::{Endpoint, Gateway};
use crate::fleet::Cluster;

/// The label that makes a node a gateway; only the value `true` counts.
pub const GATEWAY_LABEL: &str = "submariner.io/gateway";

/// What the keys of gateway settings start with.
pub const SETTING_PREFIX: &str = "gateway.submariner.io/";

/// Whether a node carries the gateway label.
pub fn is_gateway(node: &Node) -> bool {
    node.labels.get(GATEWAY_LABEL).is_some_and(|value| value == "true")
}

/// The nodes that carry the gateway label.
pub fn labelled<'a>(cluster: &Cluster<'a>) -> Result<Vec<&'a Node>, Unknown> {
    Ok(cluster
        .facts
        .nodes
        .get()?
        .iter()
        .filter(|node| is_gateway(node))
        .collect())
}

/// The nodes that `subctl join` offers as gateways: those with the worker role, else all without the old label `master`.
///
/// A control plane labelled in the current way (`control-plane`) is among the latter. Source: `subctl`, `cmd/subctl/join.go`.
pub fn candidates<'a>(cluster: &Cluster<'a>) -> Result<Vec<&'a Node>, Unknown> {
    let nodes = cluster.facts.nodes.get()?;
    let workers: Vec<&Node> = nodes
        .iter()
        .filter(|node| node.labels.contains_key("node-role.kubernetes.io/worker"))
        .collect();
    if !workers.is_empty() {
        return Ok(workers);
    }
    let others = nodes
        .iter()
        .filter(|node| !node.labels.contains_key("node-role.kubernetes.io/master"));
    Ok(others.collect())
}

/// The nodes that are gateways or, while none is labelled, may become one.
pub fn labelled_or_candidates<'a>(cluster: &Cluster<'a>) -> Result<Vec<&'a Node>, Unknown> {
    let labelled = labelled(cluster)?;
    if labelled.is_empty() {
        return candidates(cluster);
    }
    Ok(labelled)
}

/// A setting of a node with where it stands: an annotation beats a label.
pub fn setting<'a>(node: &'a Node, name: &str) -> Option<(&'a str, Source)> {
    let key = format!("{SETTING_PREFIX}{name}");
    let source = |place: &str| Source::read(format!("Node {}", node.name), format!("metadata.{place}[{key}]"));
    let annotation = node
        .annotations
        .get(&key)
        .map(|value| (value.as_str(), source("annotations")));
    annotation.or_else(|| node.labels.get(&key).map(|value| (value.as_str(), source("labels"))))
}

/// Whether a node's setting fixes its public address: an `ipv4:` item.
pub fn has_fixed_public_ip(node: &Node) -> bool {
    let fixes = |item: &str| {
        item.trim()
            .strip_prefix("ipv4:")
            .is_some_and(|ip| ip.parse::<Ipv4Addr>().is_ok())
    };
    setting(node, "public-ip").is_some_and(|(value, _)| value.split(',').any(fixes))
}

/// The active gateway of a member with its own endpoint; `None` while there is none.
pub fn active<'a>(cluster: &Cluster<'a>) -> Result<Option<(&'a Gateway, &'a Endpoint)>, Unknown> {
    let gateways = cluster.facts.submariner.get()?.gateways.get()?;
    let active = gateways.iter().find(|gateway| gateway.ha_status == "active");
    Ok(active.and_then(|gateway| Some((gateway, gateway.local_endpoint.as_ref()?))))
}

/// What a member tells others about its active gateway, with where it says so; `None` while there is none.
pub fn own_endpoint<'a>(cluster: &Cluster<'a>) -> Result<Option<(&'a Endpoint, Source)>, Unknown> {
    let config = member(cluster)?;
    let gateway = match active(cluster) {
        Ok(active) => active,
        Err(why) if absent(&why) => None,
        Err(why) => return Err(why),
    };
    if let Some((gateway, endpoint)) = gateway {
        let source = Source::read(format!("Gateway {}", gateway.name), "status.localEndpoint");
        return Ok(Some((endpoint, source)));
    }
    let endpoints = cluster.facts.submariner.get()?.endpoints.get()?;
    let own = endpoints
        .iter()
        .find(|endpoint| endpoint.cluster_id == config.value.cluster_id);
    Ok(own.map(|endpoint| {
        (
            endpoint,
            Source::read(format!("Endpoint {}", endpoint.cable_name), "spec"),
        )
    }))
}

/// A node's first IPv4 InternalIP: what other nodes route to.
pub fn first_internal_ipv4(node: &Node) -> Option<Ipv4Addr> {
    node.internal_ips().find_map(|ip| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    })
}

/// The private addresses of a member's gateway and of these nodes, with where each stands.
pub fn private_addresses(cluster: &Cluster<'_>, nodes: Vec<&Node>) -> Result<BTreeMap<Ipv4Addr, Source>, Unknown> {
    let mut addresses = BTreeMap::new();
    if installed(cluster)?.is_some()
        && let Some((endpoint, source)) = own_endpoint(cluster)?
        && let Some(address) = endpoint.private_ips.iter().find_map(|ip| ip.parse().ok())
    {
        addresses.insert(address, source);
    }
    for node in nodes {
        if let Some(address) = first_internal_ipv4(node) {
            let source = Source::read(format!("Node {}", node.name), "status.addresses[InternalIP]");
            addresses.entry(address).or_insert(source);
        }
    }
    Ok(addresses)
}
