//! Which nodes are, or may become, gateways.

use crate::facts::node::Node;
use crate::facts::provenance::Unknown;
use crate::fleet::Cluster;

/// The label that makes a node a gateway; only the value `true` counts.
pub const GATEWAY_LABEL: &str = "submariner.io/gateway";

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
