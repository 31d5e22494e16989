//! Facts of clusters that are the sites of a lab: healthy samples with the lab's own nodes and addresses.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::cilium::CiliumNode;
use prejoin_checks::facts::kubernetes::ObservedBlock;
use prejoin_checks::facts::node::{Node, NodeAddress};
use prejoin_checks::facts::provenance::{Fact, Source};
use prejoin_checks::samples::{self, cilium_mut, set_cilium_key, value_mut};
use prejoin_tests::lab::{Site, Topology};

/// Cilium in tunnel mode, its mesh on NodePort 32379.
pub(crate) fn cilium(topology: &Topology, site: &Site) -> ClusterFacts {
    let mut facts = samples::cilium(&site.name, site.number);
    place_nodes(topology, site, &mut facts);
    let nodes = value_mut(&mut facts.nodes).clone();
    let pods = facts.observed_pod_blocks().to_vec();
    let cilium = cilium_mut(&mut facts);
    *value_mut(&mut cilium.nodes) = nodes
        .iter()
        .zip(0..)
        .map(|(node, index)| cilium_node(site, node, index))
        .collect();
    *value_mut(&mut cilium.agent_pods) = BTreeMap::from([("1.20.0".to_owned(), u32::try_from(nodes.len()).unwrap())]);
    cilium.mesh.host_aliases = Fact::known(
        BTreeMap::new(),
        Source::read("DaemonSet kube-system/cilium", "hostAliases"),
    );
    let endpoints = value_mut(&mut cilium.endpoints);
    endpoints.count = pods.len() as u64;
    endpoints.of_running_pods = pods;
    if topology.ipv6 {
        set_cilium_key(&mut facts, "enable-ipv6", Some("true"));
    }
    facts
}

/// Flannel, ready for Submariner, the second node labelled as the gateway.
pub(crate) fn flannel(topology: &Topology, site: &Site) -> ClusterFacts {
    let mut facts = samples::flannel(&site.name, site.number);
    let labels: Vec<BTreeMap<String, String>> = value_mut(&mut facts.nodes)
        .iter()
        .map(|node| node.labels.clone())
        .collect();
    place_nodes(topology, site, &mut facts);
    for (node, labels) in value_mut(&mut facts.nodes).iter_mut().zip(labels) {
        node.labels.extend(labels);
    }
    facts
}

fn place_nodes(topology: &Topology, site: &Site, facts: &mut ClusterFacts) {
    facts.collected_at = Some(Timestamp::now());
    let sample = value_mut(&mut facts.nodes)[0].clone();
    *value_mut(&mut facts.nodes) = site
        .nodes
        .iter()
        .zip(0_u8..)
        .map(|(node, index)| {
            let mut pod_cidrs = vec![format!("10.{}.{index}.0/24", site.number * 10).parse().unwrap()];
            if topology.ipv6 {
                pod_cidrs.push(format!("fd10:{}:0:{index}::/64", site.number).parse().unwrap());
            }
            Node {
                name: node.name.clone(),
                zone: node.zone.clone(),
                addresses: node
                    .addresses()
                    .into_iter()
                    .map(|ip| NodeAddress {
                        kind: "InternalIP".to_owned(),
                        ip,
                    })
                    .collect(),
                pod_cidrs,
                labels: BTreeMap::from([("kubernetes.io/hostname".to_owned(), node.name.clone())]),
                ..sample.clone()
            }
        })
        .collect();
    let pods = value_mut(&mut facts.pods);
    pods.running = site.nodes.len() as u64;
    pods.pods = (0..)
        .zip(&site.nodes)
        .map(|(index, node)| {
            let ip = [10, site.number * 10, index, 5].into();
            ObservedBlock {
                count: 1,
                first: ip,
                last: ip,
                example: format!("default/web-{}", node.name),
            }
        })
        .collect();
}

fn cilium_node(site: &Site, node: &Node, index: u8) -> CiliumNode {
    let own = [10, site.number * 10, index, 77].into();
    CiliumNode {
        name: node.name.clone(),
        addresses: node
            .addresses
            .iter()
            .cloned()
            .chain([NodeAddress {
                kind: "CiliumInternalIP".to_owned(),
                ip: own,
            }])
            .collect(),
        health_ips: vec![[10, site.number * 10, index, 78].into()],
        pod_cidrs: node.pod_cidrs.clone(),
        encryption_key: Some(0),
        ..CiliumNode::default()
    }
}
