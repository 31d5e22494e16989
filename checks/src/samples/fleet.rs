//! Fleets: as many clusters as a mesh can have, as large as they are in life. For benchmarks and for tests of growth.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{cilium, cilium_mut, observed, set_cilium_key, value_mut};
use crate::cidr::Cidr;
use crate::facts::cilium::{CiliumNode, Endpoints, IdentityGroup};
use crate::facts::kubernetes::ObservedBlock;
use crate::facts::node::{Node, NodeAddress};
use crate::facts::provenance::{Fact, Source};
use crate::facts::service::{Service, ServicePort};
use crate::facts::{AddressPool, ClusterFacts};

/// The most clusters a mesh can have, and a fleet.
pub const MAX_CLUSTERS: u32 = 511;
/// The most nodes a cluster of a fleet can have: one /24 each of its /17 for pods.
pub const MAX_NODES: u32 = 128;

const SERVICES: u32 = 60;
const IDENTITIES_IN_USE: u32 = 200;

/// Clusters 1 to `clusters` with Cilium, all ready to join each other: pods in 10.0.0.0/8, nodes in 172.16.0.0/12,
/// Services in 100.64.0.0/10, an equal part of each for every cluster.
///
/// # Panics
/// If there are more than [`MAX_CLUSTERS`] clusters or [`MAX_NODES`] nodes.
pub fn fleet(clusters: u32, nodes: u32) -> Vec<ClusterFacts> {
    assert!(clusters <= MAX_CLUSTERS && nodes <= MAX_NODES, "larger than a mesh");
    (1..=clusters).map(|number| member(number, nodes)).collect()
}

/// [`fleet`], where one cluster in sixteen has a fault, each of a kind that a real audit finds: another tunnel protocol,
/// encryption on one side only, a neighbour's pod range, a pool that swallows the whole fleet, a neighbour's id.
pub fn faulty_fleet(clusters: u32, nodes: u32) -> Vec<ClusterFacts> {
    let mut fleet = fleet(clusters, nodes);
    for (number, facts) in (1..).zip(&mut fleet) {
        match number % 80 {
            3 => set_cilium_key(facts, "tunnel-protocol", Some("geneve")),
            19 => set_cilium_key(facts, "enable-wireguard", Some("true")),
            35 => address_pods(facts, number - 1, nodes),
            51 => {
                facts.load_balancer_pools = Fact::known(
                    vec![AddressPool {
                        name: "all".to_owned(),
                        cidrs: vec![block(0x0a00_0000, 8)],
                        disabled: false,
                        source: Source::read("CiliumLoadBalancerIPPool all", "spec.blocks"),
                    }],
                    Source::read("pools", ""),
                );
            }
            67 => set_cilium_key(facts, "cluster-id", Some(&(number - 1).to_string())),
            _ => {}
        }
    }
    fleet
}

/// [`fleet`], where every second cluster has the pod range of the one before it: as many causes as there can be.
pub fn crowded_fleet(clusters: u32, nodes: u32) -> Vec<ClusterFacts> {
    let mut fleet = fleet(clusters, nodes);
    for (number, facts) in (1..).zip(&mut fleet).skip(1).step_by(2) {
        address_pods(facts, number - 1, nodes);
    }
    fleet
}

fn member(number: u32, node_count: u32) -> ClusterFacts {
    let name = format!("fleet-{number:03}");
    let mut facts = cilium(&name, 1);
    facts.uid = Fact::known(
        format!("00000000-0000-0000-0000-{number:012}"),
        Source::read("Namespace kube-system", "metadata.uid"),
    );
    facts.api_server = Fact::known(
        format!("{}:6443", node_address(number, 0)),
        Source::read("kubeconfig", "server"),
    );
    set_cilium_key(&mut facts, "cluster-id", Some(&number.to_string()));
    set_cilium_key(&mut facts, "max-connected-clusters", Some("511"));
    set_cilium_key(&mut facts, "kube-proxy-replacement", Some("true"));
    cilium_mut(&mut facts).mesh.host_aliases = Fact::known(BTreeMap::new(), Source::read("DaemonSet cilium", ""));
    let config = value_mut(&mut cilium_mut(&mut facts).config);
    for (key, value) in recorded_settings() {
        config.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }

    let template = value_mut(&mut facts.nodes)[0].clone();
    *value_mut(&mut facts.nodes) = (0..node_count)
        .map(|index| node(&template, &name, number, index))
        .collect();
    address_pods(&mut facts, number, node_count);
    address_services(&mut facts, number);
    cilium_mut(&mut facts).identities = Fact::known(
        vec![IdentityGroup {
            cluster_label: Some(name),
            id_block: number,
            count: u64::from(IDENTITIES_IN_USE),
            in_use: Some(u64::from(IDENTITIES_IN_USE)),
            example: number * 32_768 + 7,
            example_endpoint: "default/web-0".to_owned(),
        }],
        Source::read("CiliumIdentities", ""),
    );
    facts
}

/// What a real cluster's configuration has beside the keys of the small sample.
fn recorded_settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("cilium-config.txt")
        .lines()
        .filter_map(|line| line.split_once('='))
}

fn node(template: &Node, cluster: &str, number: u32, index: u32) -> Node {
    let name = format!("{cluster}-n{index:03}");
    let zone = format!("zone-{}", index % 3);
    let mut node = Node {
        addresses: vec![NodeAddress {
            kind: "InternalIP".to_owned(),
            ip: node_address(number, index),
        }],
        labels: BTreeMap::from(
            [
                ("beta.kubernetes.io/instance-type", "m"),
                ("kubernetes.io/arch", "amd64"),
                ("kubernetes.io/os", "linux"),
                ("topology.kubernetes.io/region", "region-1"),
                ("topology.kubernetes.io/zone", &zone),
                ("kubernetes.io/hostname", &name),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        ),
        annotations: BTreeMap::from([("network.cilium.io/wg-pub-key".to_owned(), format!("{name:=<44}"))]),
        region: "region-1".to_owned(),
        ..template.clone()
    };
    node.zone = zone;
    node.name = name;
    node
}

/// Gives the nodes and pods the addresses of the cluster with this number.
fn address_pods(facts: &mut ClusterFacts, number: u32, node_count: u32) {
    let pods_of = |index: u32| 0x0a00_0000 + (number << 15) + (index << 8);
    let address = |index: u32, host: u32| IpAddr::V4(Ipv4Addr::from_bits(pods_of(index) + host));
    let seen: Vec<ObservedBlock> = (0..node_count)
        .map(|index| ObservedBlock {
            count: 30,
            last: address(index, 40),
            ..observed(
                Ipv4Addr::from_bits(pods_of(index) + 5).octets(),
                &format!("default/web-{index}"),
            )
        })
        .collect();
    for (index, node) in (0..).zip(value_mut(&mut facts.nodes)) {
        node.pod_cidrs = vec![block(pods_of(index), 24)];
    }
    let cilium_nodes = value_mut(&mut facts.nodes).iter().zip(0..).map(|(node, index)| {
        let mut addresses = node.addresses.clone();
        addresses.push(NodeAddress {
            kind: "CiliumInternalIP".to_owned(),
            ip: address(index, 200),
        });
        CiliumNode {
            name: node.name.clone(),
            addresses,
            health_ips: vec![address(index, 201)],
            pod_cidrs: node.pod_cidrs.clone(),
            encryption_key: Some(0),
            ..CiliumNode::default()
        }
    });
    let cilium_nodes: Vec<CiliumNode> = cilium_nodes.collect();
    *value_mut(&mut cilium_mut(facts).nodes) = cilium_nodes;
    *value_mut(&mut cilium_mut(facts).endpoints) = Endpoints {
        count: u64::from(node_count) * 30,
        of_running_pods: seen.clone(),
        ..Endpoints::default()
    };
    let pods = value_mut(&mut facts.pods);
    pods.running = u64::from(node_count) * 30;
    pods.pods = seen;
}

fn address_services(facts: &mut ClusterFacts, number: u32) {
    let range = 0x6440_0000 + (number << 13);
    *value_mut(&mut facts.service_cidrs) = vec![block(range, 19)];
    let services = value_mut(&mut facts.services);
    for index in 0..SERVICES {
        services.push(Service {
            namespace: format!("team-{}", index % 7),
            name: format!("app-{index}"),
            kind: "ClusterIP".to_owned(),
            ports: vec![ServicePort {
                protocol: "TCP".to_owned(),
                port: 80,
                ..ServicePort::default()
            }],
            selector: BTreeMap::from([("app".to_owned(), format!("app-{index}"))]),
            ..Service::default()
        });
    }
    for (host, service) in (1..).zip(services) {
        service.cluster_ips = vec![IpAddr::V4(Ipv4Addr::from_bits(range + host))];
        if service.name == "clustermesh-apiserver" {
            "LoadBalancer".clone_into(&mut service.kind);
            service.ingress = vec![node_address(number, 1_000).to_string()];
        }
    }
}

fn node_address(number: u32, index: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0xac10_0000 + (number << 11) + 11 + index))
}

fn block(first: u32, prefix_len: u8) -> Cidr {
    Cidr::new(IpAddr::V4(Ipv4Addr::from_bits(first)), prefix_len).expect("a length of IPv4")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;
    use crate::samples::{complaints, findings, report};

    #[test]
    fn a_fleet_has_nothing_to_complain_of() {
        let report = report(Profile::Clustermesh, &fleet(20, 3));
        assert_eq!(complaints(&report), Vec::<String>::new());
    }

    #[test]
    fn a_crowded_fleet_has_one_cause_for_each_pair() {
        let report = report(Profile::Clustermesh, &crowded_fleet(20, 3));
        let overlaps = findings(&report, "NET101");
        assert_eq!(overlaps.len(), 10);
        assert!(overlaps.iter().all(|finding| finding.subject.clusters.len() == 2));
    }

    #[test]
    fn each_fault_of_a_faulty_fleet_is_found() {
        let report = report(Profile::Clustermesh, &faulty_fleet(80, 3));
        let mut found = complaints(&report);
        found.dedup();
        let expected = [
            "CM104 fail",
            "CM109 fail",
            "CM302 fail",
            "CM401 fail",
            "NET101 fail",
            "CM401 warn",
            "NET107 warn",
        ];
        assert_eq!(found, expected);
    }
}
