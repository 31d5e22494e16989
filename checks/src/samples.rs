//! Small healthy clusters for tests: take one, break one thing, expect one finding.
#![expect(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "test support: a sample that lacks what a test changes is a wrong test"
)]

pub mod fleet;
mod kernel;
pub mod network;
mod submariner;

use std::collections::BTreeMap;

use crate::engine::judge;
use crate::facts::cilium::{Cilium, CiliumNode, Endpoints, IdentityGroup, Policies};
use crate::facts::cni::{Plugin, PluginKind};
use crate::facts::kubernetes::{KubeProxy, Namespace, ObservedBlock, PodAddresses, Workload};
use crate::facts::node::{Node, NodeAddress};
use crate::facts::provenance::{Fact, Reason, Source, Unknown};
use crate::facts::service::{Service, ServicePort};
use crate::facts::{ClusterFacts, RangeKind};
use crate::intent::Intent;
use crate::policy::{Policy, Probe};
use crate::profile::Profile;
use crate::report::{Finding, Report};

pub use kernel::{add_socket, kernel_mut, link_mut, node_facts, set_feature, set_sysctl, with_agents};
pub use submariner::{flannel, hold_broker, submariner, submariner_config_mut, submariner_mut, turn_globalnet_on};

/// The moment at which samples are judged.
pub const NOW: &str = "2026-11-21T12:00:00Z";

/// A plain healthy cluster of two nodes: pods 10.N0.0.0/16, Services 10.(100+N).0.0/16, nodes 172.31.N.0/24; no CNI product, no mesh.
/// `number` is 1 to 20; clusters of different numbers collide in nothing.
pub fn cluster(name: &str, number: u8) -> ClusterFacts {
    let none = Unknown::new(Reason::NotInstalled, "not installed");
    let mut facts = ClusterFacts::unread(name, &none);
    facts.collected_at = Some(NOW.parse().expect("a timestamp"));
    facts.uid = Fact::known(
        format!("00000000-0000-0000-0000-0000000000{number:02}"),
        Source::read("Namespace kube-system", "metadata.uid"),
    );
    facts.kubernetes_version = Fact::known("v1.36.3".to_owned(), Source::read("server", "version"));
    facts.api_server = Fact::known(format!("172.31.{number}.11:6443"), Source::read("kubeconfig", "server"));
    facts.kubeconfig_cluster = Fact::known(name.to_owned(), Source::read("kubeconfig", "cluster"));
    facts.served_apis = Fact::known(
        vec!["apps/v1".to_owned(), "networking.k8s.io/v1".to_owned()],
        Source::read("server", "apis"),
    );
    let nodes = (0..2).map(|index| Node {
        name: format!("{name}-n{}", index + 1),
        addresses: vec![NodeAddress {
            kind: "InternalIP".to_owned(),
            ip: [172, 31, number, 11 + index].into(),
        }],
        pod_cidrs: vec![
            format!("10.{}.{index}.0/24", u16::from(number) * 10)
                .parse()
                .expect("a block"),
        ],
        kernel: "6.8.0-45-generic".to_owned(),
        os_image: "Ubuntu 24.04 LTS".to_owned(),
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        kubelet_version: "v1.36.3".to_owned(),
        ready: true,
        labels: BTreeMap::from([("kubernetes.io/hostname".to_owned(), format!("{name}-n{}", index + 1))]),
        ..Node::default()
    });
    facts.nodes = Fact::known(nodes.collect(), Source::read("Nodes", ""));
    facts.namespaces = Fact::known(
        ["default", "kube-system"]
            .map(|name| Namespace {
                name: name.to_owned(),
                ..Namespace::default()
            })
            .to_vec(),
        Source::read("Namespaces", ""),
    );
    facts.service_cidrs = Fact::known(
        vec![
            format!("10.{}.0.0/16", 100 + u16::from(number))
                .parse()
                .expect("a block"),
        ],
        Source::read("ServiceCIDR kubernetes", "spec.cidrs"),
    );
    facts.services = Fact::known(
        vec![Service {
            namespace: "default".to_owned(),
            name: "kubernetes".to_owned(),
            kind: "ClusterIP".to_owned(),
            cluster_ips: vec![[10, 100 + number, 0, 1].into()],
            ports: vec![ServicePort {
                name: "https".to_owned(),
                protocol: "TCP".to_owned(),
                port: 443,
                ..ServicePort::default()
            }],
            ..Service::default()
        }],
        Source::read("Services", ""),
    );
    facts.pods = Fact::known(
        PodAddresses {
            running: 2,
            pods: vec![
                observed([10, number * 10, 0, 5], "default/web-1"),
                observed([10, number * 10, 1, 5], "default/web-2"),
            ],
            ..PodAddresses::default()
        },
        Source::read("Pods", "status.podIPs"),
    );
    facts.workloads = Fact::known(Vec::new(), Source::read("DaemonSets and Deployments", ""));
    facts.kube_proxy = Fact::known(
        KubeProxy::default(),
        Source::read("ConfigMap kube-system/kube-proxy", "config.conf"),
    );
    facts.cni.plugins = Fact::known(Vec::new(), Source::read("DaemonSets", ""));
    facts.load_balancer_pools = Fact::known(Vec::new(), Source::read("pools", ""));
    facts
}

fn observed(ip: [u8; 4], example: &str) -> ObservedBlock {
    ObservedBlock {
        count: 1,
        first: ip.into(),
        last: ip.into(),
        example: example.to_owned(),
    }
}

/// [`cluster`] with Cilium 1.20.0 in tunnel mode (VXLAN), IPAM `kubernetes`, cluster id `number`, its mesh enabled on NodePort 32379.
pub fn cilium(name: &str, number: u8) -> ClusterFacts {
    let mut facts = cluster(name, number);
    let config = Source::read("ConfigMap kube-system/cilium-config", "");
    let keys = [
        ("cluster-id", number.to_string()),
        ("cluster-name", name.to_owned()),
        ("routing-mode", "tunnel".to_owned()),
        ("tunnel-protocol", "vxlan".to_owned()),
        ("ipam", "kubernetes".to_owned()),
        ("enable-ipv4", "true".to_owned()),
        ("enable-ipv6", "false".to_owned()),
        ("kube-proxy-replacement", "false".to_owned()),
        ("identity-allocation-mode", "crd".to_owned()),
        ("max-connected-clusters", "255".to_owned()),
        ("policy-default-local-cluster", "true".to_owned()),
    ];
    let nodes = facts.nodes.get().expect("nodes are known").clone();
    let cilium_nodes = nodes.iter().zip(0_u8..).map(|(node, index)| CiliumNode {
        name: node.name.clone(),
        addresses: node
            .addresses
            .iter()
            .cloned()
            .chain([NodeAddress {
                kind: "CiliumInternalIP".to_owned(),
                ip: [10, number * 10, index, 77].into(),
            }])
            .collect(),
        health_ips: vec![[10, number * 10, index, 78].into()],
        pod_cidrs: node.pod_cidrs.clone(),
        encryption_key: Some(0),
        ..CiliumNode::default()
    });
    let identity = IdentityGroup {
        cluster_label: Some(name.to_owned()),
        id_block: u32::from(number) * 2,
        count: 1,
        in_use: Some(1),
        example: u32::from(number) * 65536 + 7,
        example_endpoint: "default/web-1".to_owned(),
    };
    facts.cilium = Fact::known(
        Cilium {
            namespace: "kube-system".to_owned(),
            versions: Fact::known(
                ["agent", "operator", "clustermesh-apiserver"]
                    .map(|part| (part.to_owned(), "1.20.0".to_owned()))
                    .into(),
                Source::read("DaemonSet kube-system/cilium", "image"),
            ),
            agent_pods: Fact::known(
                BTreeMap::from([("1.20.0".to_owned(), 2)]),
                Source::read("Pods kube-system/cilium", "image"),
            ),
            config: Fact::known(keys.map(|(key, value)| (key.to_owned(), value)).into(), config),
            node_configs: Fact::known(Vec::new(), Source::read("CiliumNodeConfigs", "")),
            nodes: Fact::known(cilium_nodes.collect(), Source::read("CiliumNodes", "")),
            pod_ip_pools: Fact::unknown(Reason::NotInstalled, "CiliumPodIPPools are not served"),
            identities: Fact::known(vec![identity], Source::read("CiliumIdentities", "")),
            endpoints: Fact::known(
                Endpoints {
                    count: 2,
                    of_running_pods: facts.observed_pod_blocks().to_vec(),
                    ..Endpoints::default()
                },
                Source::read("CiliumEndpoints", ""),
            ),
            ip_masq_agent: Fact::unknown(Reason::NotFound, "ConfigMap kube-system/ip-masq-agent does not exist"),
            policies: Fact::known(Policies::default(), Source::read("CiliumNetworkPolicies", "")),
            secrets: Fact::unknown(Reason::NotAsked, "Secrets are read only with --read-secrets"),
            ..Cilium::default()
        },
        Source::read("DaemonSet kube-system/cilium", ""),
    );
    facts.cni.plugins = Fact::known(
        vec![Plugin {
            kind: PluginKind::Cilium,
            source: Source::read("DaemonSet kube-system/cilium", ""),
            version: "1.20.0".to_owned(),
            running: true,
        }],
        Source::read("DaemonSets", ""),
    );
    let workload = |kind: &str, name: &str, containers: &[&str]| Workload {
        kind: kind.to_owned(),
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
        desired: 1,
        ready: 1,
        containers: containers
            .iter()
            .map(|container| crate::facts::kubernetes::Container {
                name: (*container).to_owned(),
                image: format!("quay.io/cilium/{container}:v1.20.0"),
                ..Default::default()
            })
            .collect(),
        ..Workload::default()
    };
    facts.workloads = Fact::known(
        vec![
            workload("DaemonSet", "cilium", &["cilium-agent"]),
            workload(
                "Deployment",
                "clustermesh-apiserver",
                &["etcd", "apiserver", "kvstoremesh"],
            ),
        ],
        Source::read("DaemonSets and Deployments", ""),
    );
    if let Fact::Known(services) = &mut facts.services {
        services.value.push(Service {
            namespace: "kube-system".to_owned(),
            name: "clustermesh-apiserver".to_owned(),
            kind: "NodePort".to_owned(),
            cluster_ips: vec![[10, 100 + number, 3, 9].into()],
            ports: vec![ServicePort {
                protocol: "TCP".to_owned(),
                port: 2379,
                node_port: Some(32379),
                ..ServicePort::default()
            }],
            ..Service::default()
        });
    }
    facts
}

/// Sets (or with `None` removes) a key of `cilium-config`.
pub fn set_cilium_key(facts: &mut ClusterFacts, key: &str, value: Option<&str>) {
    let config = &mut cilium_mut(facts).config;
    let Fact::Known(config) = config else {
        panic!("the sample has a configuration")
    };
    match value {
        Some(value) => config.value.insert(key.to_owned(), value.to_owned()),
        None => config.value.remove(key),
    };
}

/// Cilium's facts, to change them.
pub fn cilium_mut(facts: &mut ClusterFacts) -> &mut Cilium {
    match &mut facts.cilium {
        Fact::Known(known) => &mut known.value,
        Fact::Unknown(_) => panic!("the sample runs Cilium"),
    }
}

/// The value of a fact, to change it.
pub fn value_mut<T>(fact: &mut Fact<T>) -> &mut T {
    match fact {
        Fact::Known(known) => &mut known.value,
        Fact::Unknown(unknown) => panic!("the sample does not have it: {unknown}"),
    }
}

/// A policy that asks for no flows and judges at [`NOW`].
pub fn policy(profile: Profile) -> Policy {
    let mut policy = Policy::new(vec![profile], NOW.parse().expect("a timestamp"));
    policy.probe = Probe::None;
    policy
}

/// Judges clusters without plans or flows.
pub fn report(profile: Profile, facts: &[ClusterFacts]) -> Report {
    judge(facts, &Intent::default(), &policy(profile))
}

/// The findings of one check.
pub fn findings<'a>(report: &'a Report, code: &str) -> Vec<&'a Finding> {
    report.findings.iter().filter(|finding| finding.code == code).collect()
}

/// Every finding that is neither pass nor skip, as `CM302 fail`: what a test of one fault expects to be short.
pub fn complaints(report: &Report) -> Vec<String> {
    report
        .findings
        .iter()
        .filter(|finding| finding.counts())
        .map(|finding| format!("{} {}", finding.code, finding.verdict))
        .collect()
}

/// A declared range, for planned clusters.
pub fn declared(kind: RangeKind, cidr: &str) -> crate::facts::DeclaredRange {
    crate::facts::DeclaredRange {
        kind,
        cidr: cidr.parse().expect("a block"),
        source: Source::declared(format!("clusters[].{kind}")),
    }
}
