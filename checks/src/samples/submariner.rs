//! Clusters for Submariner: ready to join, and joined.

use std::collections::BTreeMap;

use super::{NOW, cluster, value_mut};
use crate::facts::ClusterFacts;
use crate::facts::cni::{Flannel, Plugin, PluginKind};
use std::net::IpAddr;

use crate::facts::dns::{Corefile, Dns, DnsPods};
use crate::facts::kubernetes::Namespace;
use crate::facts::mcs::Condition;
use crate::facts::provenance::{Fact, Reason, Source};
use crate::facts::service::Service;
use crate::facts::submariner::{
    Broker, Connection, Endpoint, Gateway, RangeInfo, RemoteEndpoint, RouteAgent, ServiceDiscovery, Submariner,
    SubmarinerCluster, SubmarinerConfig,
};

const MEMBER_NAMESPACE: &str = "submariner-operator";
const BROKER_NAMESPACE: &str = "submariner-k8s-broker";

/// [`cluster`] as kubeadm makes it, with Flannel in kube-system and its second node labelled as a gateway: ready to join, nothing to complain of.
pub fn flannel(name: &str, number: u8) -> ClusterFacts {
    let mut facts = cluster(name, number);
    let daemon_set = Source::read("DaemonSet kube-system/kube-flannel-ds", "");
    facts.cni.plugins = Fact::known(
        vec![Plugin {
            kind: PluginKind::Flannel,
            source: daemon_set.clone(),
            version: "0.27.4".to_owned(),
            running: true,
        }],
        Source::read("DaemonSets", ""),
    );
    facts.cni.flannel = Fact::known(
        Flannel {
            namespace: "kube-system".to_owned(),
            networks: vec![
                format!("10.{}.0.0/16", u16::from(number) * 10)
                    .parse()
                    .expect("a block"),
            ],
            backend: "vxlan".to_owned(),
            port: None,
        },
        Source::read("ConfigMap kube-system/kube-flannel-cfg", "net-conf.json"),
    );
    facts.control_plane.api_server_flags = Fact::known(
        BTreeMap::from([
            (
                "service-cluster-ip-range".to_owned(),
                format!("10.{}.0.0/16", 100 + u16::from(number)),
            ),
            ("enable-admission-plugins".to_owned(), "NodeRestriction".to_owned()),
        ]),
        Source::read(format!("Pod kube-system/kube-apiserver-{name}-n1"), "command"),
    );
    facts.control_plane.controller_manager_flags = Fact::known(
        BTreeMap::from([(
            "cluster-cidr".to_owned(),
            format!("10.{}.0.0/16", u16::from(number) * 10),
        )]),
        Source::read(format!("Pod kube-system/kube-controller-manager-{name}-n1"), "command"),
    );
    facts.dns = Fact::known(
        Dns {
            corefiles: vec![Corefile {
                source: Source::read("ConfigMap kube-system/coredns", "Corefile"),
                text: ".:53 {\n    kubernetes cluster.local\n    forward . /etc/resolv.conf\n}\n".to_owned(),
            }],
            coredns_version: "1.12.1".to_owned(),
            pods: vec![DnsPods {
                namespace: "kube-system".to_owned(),
                name: "coredns".to_owned(),
                labels: BTreeMap::from([("k8s-app".to_owned(), "kube-dns".to_owned())]),
                host_network: false,
            }],
            policies: Fact::known(
                Vec::new(),
                Source::read("NetworkPolicies of kube-system, submariner-operator", ""),
            ),
            ..Dns::default()
        },
        Source::read("ConfigMap kube-system/coredns", ""),
    );
    let nodes = value_mut(&mut facts.nodes);
    nodes[0]
        .labels
        .insert("node-role.kubernetes.io/control-plane".to_owned(), String::new());
    nodes[1]
        .labels
        .insert("submariner.io/gateway".to_owned(), "true".to_owned());
    facts
}

/// Clusters that have joined by `subctl`, healthy and connected with each other; the broker is elsewhere, Globalnet is off.
pub fn submariner(members: &[(&str, u8)]) -> Vec<ClusterFacts> {
    let endpoints: Vec<Endpoint> = members.iter().map(|(name, number)| endpoint(name, *number)).collect();
    let clusters: Vec<SubmarinerCluster> = members
        .iter()
        .map(|(name, number)| SubmarinerCluster {
            namespace: MEMBER_NAMESPACE.to_owned(),
            cluster_id: (*name).to_owned(),
            cluster_cidr: vec![format!("10.{}.0.0/16", u16::from(*number) * 10)],
            service_cidr: vec![format!("10.{}.0.0/16", 100 + u16::from(*number))],
            global_cidr: Vec::new(),
        })
        .collect();
    members
        .iter()
        .map(|(name, number)| member(name, *number, &endpoints, &clusters))
        .collect()
}

/// Submariner's facts, to change them.
pub fn submariner_mut(facts: &mut ClusterFacts) -> &mut Submariner {
    value_mut(&mut facts.submariner)
}

/// The fields of the `Submariner` object, to change them.
pub fn submariner_config_mut(facts: &mut ClusterFacts) -> &mut SubmarinerConfig {
    value_mut(&mut submariner_mut(facts).config)
}

fn endpoint(name: &str, number: u8) -> Endpoint {
    Endpoint {
        namespace: MEMBER_NAMESPACE.to_owned(),
        cluster_id: name.to_owned(),
        cable_name: format!("submariner-cable-{name}-172-31-{number}-12"),
        hostname: format!("{name}-n2"),
        subnets: vec![
            format!("10.{}.0.0/16", 100 + u16::from(number)),
            format!("10.{}.0.0/16", u16::from(number) * 10),
        ],
        private_ips: vec![format!("172.31.{number}.12")],
        public_ips: vec![format!("203.0.113.{number}")],
        health_check_ips: vec![format!("10.{}.1.1", u16::from(number) * 10)],
        nat_enabled: Some(true),
        backend: "libreswan".to_owned(),
        backend_config: [
            ("natt-discovery-port", "4490"),
            ("preferred-server", "false"),
            ("udp-port", "4500"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
    }
}

fn member(name: &str, number: u8, endpoints: &[Endpoint], clusters: &[SubmarinerCluster]) -> ClusterFacts {
    let mut facts = flannel(name, number);
    let remotes = || endpoints.iter().filter(|endpoint| endpoint.cluster_id != name);
    let own = endpoints.iter().find(|endpoint| endpoint.cluster_id == name).cloned();
    let pods = format!("10.{}.0.0/16", u16::from(number) * 10);
    let services = format!("10.{}.0.0/16", 100 + u16::from(number));
    let config = SubmarinerConfig {
        namespace: MEMBER_NAMESPACE.to_owned(),
        cluster_id: name.to_owned(),
        status_cluster_id: name.to_owned(),
        cluster_cidr: pods.clone(),
        service_cidr: services.clone(),
        clusterset_ip_cidr: format!("243.0.{}.0/20", u16::from(number) * 16 % 256),
        status_cluster_cidr: pods,
        status_service_cidr: services,
        network_plugin: "flannel".to_owned(),
        version: "0.23.1".to_owned(),
        broker_api_server: "172.31.0.11:6443".to_owned(),
        broker_namespace: BROKER_NAMESPACE.to_owned(),
        broker_insecure: Some(false),
        cable_driver: "libreswan".to_owned(),
        nat_t_port: Some(4500),
        force_udp_encaps: Some(false),
        preferred_server: Some(false),
        nat_enabled: Some(true),
        air_gapped: Some(false),
        load_balancer_enabled: Some(false),
        service_discovery_enabled: Some(true),
        clusterset_ip_enabled: Some(false),
        health_check_enabled: Some(true),
        health_check_present: true,
        repository: "quay.io/submariner".to_owned(),
        daemon_sets: [("gateway", "1 of 1 ready"), ("routeagent", "2 of 2 ready")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..SubmarinerConfig::default()
    };
    let route_agent = |node: &str, status: &str| RouteAgent {
        name: node.to_owned(),
        version: "0.23.1".to_owned(),
        remotes: remotes()
            .map(|remote| RemoteEndpoint {
                cluster_id: remote.cluster_id.clone(),
                status: status.to_owned(),
                ..RemoteEndpoint::default()
            })
            .collect(),
        ..RouteAgent::default()
    };
    let gateway = Gateway {
        name: format!("{name}-n2"),
        version: "0.23.1".to_owned(),
        ha_status: "active".to_owned(),
        updated_at: Some(NOW.parse().expect("a timestamp")),
        local_endpoint: own,
        connections: remotes()
            .map(|remote| Connection {
                status: "connected".to_owned(),
                using_ip: remote.public_ips.first().cloned().unwrap_or_default(),
                using_nat: Some(true),
                endpoint: Endpoint {
                    namespace: String::new(),
                    ..remote.clone()
                },
                ..Connection::default()
            })
            .collect(),
        ..Gateway::default()
    };
    let none = |what: &str| format!("{what} are not there");
    facts.submariner = Fact::known(
        Submariner {
            config: Fact::known(
                config,
                Source::read(format!("Submariner {MEMBER_NAMESPACE}/submariner"), ""),
            ),
            service_discovery: Fact::known(
                Some(ServiceDiscovery {
                    cluster_id: name.to_owned(),
                    broker_api_server: "172.31.0.11:6443".to_owned(),
                    ..ServiceDiscovery::default()
                }),
                Source::read(format!("ServiceDiscovery {MEMBER_NAMESPACE}/service-discovery"), ""),
            ),
            broker: Fact::unknown(Reason::NotInstalled, "no Broker object is there"),
            clusters: Fact::known(clusters.to_vec(), Source::read("Clusters (submariner.io)", "")),
            endpoints: Fact::known(endpoints.to_vec(), Source::read("Endpoints (submariner.io)", "")),
            gateways: Fact::known(vec![gateway], Source::read("Gateways", "")),
            route_agents: Fact::known(
                vec![
                    route_agent(&format!("{name}-n1"), "connected"),
                    route_agent(&format!("{name}-n2"), "none"),
                ],
                Source::read("RouteAgents", ""),
            ),
            cluster_global_egress_ips: Fact::known(Vec::new(), Source::read("ClusterGlobalEgressIPs", "")),
            global_ingress_ips: Fact::known(Vec::new(), Source::read("GlobalIngressIPs", "")),
            globalnet_info: Fact::unknown(Reason::NotInstalled, none("the broker's ConfigMaps")),
            clusterset_ip_info: Fact::unknown(Reason::NotInstalled, none("the broker's ConfigMaps")),
            gateway_lease_holder: Fact::known(
                format!("{name}-n2-submariner-gateway"),
                Source::read(
                    format!("Lease {MEMBER_NAMESPACE}/submariner-gateway-lock"),
                    "spec.holderIdentity",
                ),
            ),
            versions: Fact::known(
                [
                    "operator",
                    "gateway",
                    "routeagent",
                    "lighthouse-agent",
                    "lighthouse-coredns",
                ]
                .map(|part| (part.to_owned(), "0.23.1".to_owned()))
                .into(),
                Source::read(format!("workloads in {MEMBER_NAMESPACE}"), "image"),
            ),
            unready_pods: Fact::known(Vec::new(), Source::read(format!("Pods in {MEMBER_NAMESPACE}"), "")),
            psk: Fact::unknown(Reason::NotAsked, "Secrets are read with --read-secrets only"),
        },
        Source::read("CustomResourceDefinitions submariner.io", ""),
    );
    let lighthouse: IpAddr = [10, 100 + number, 53, 53].into();
    let corefile = &mut value_mut(&mut facts.dns).corefiles[0].text;
    *corefile = format!("{corefile}clusterset.local:53 {{\n    forward . {lighthouse}\n}}\n");
    value_mut(&mut facts.services).push(Service {
        namespace: MEMBER_NAMESPACE.to_owned(),
        name: "submariner-lighthouse-coredns".to_owned(),
        kind: "ClusterIP".to_owned(),
        cluster_ips: vec![lighthouse],
        ..Service::default()
    });
    value_mut(&mut facts.namespaces).push(Namespace {
        name: MEMBER_NAMESPACE.to_owned(),
        labels: BTreeMap::from([("pod-security.kubernetes.io/enforce".to_owned(), "privileged".to_owned())]),
        ..Namespace::default()
    });
    facts
}

/// Makes a member hold the broker of its clusterset, with the copies of all Clusters and Endpoints there.
pub fn hold_broker(facts: &mut ClusterFacts) {
    let submariner = submariner_mut(facts);
    submariner.broker = Fact::known(
        Broker {
            namespace: BROKER_NAMESPACE.to_owned(),
            components: ["service-discovery", "connectivity"].map(str::to_owned).to_vec(),
            globalnet_enabled: Some(false),
            globalnet_cidr_range: "242.0.0.0/8".to_owned(),
            globalnet_cluster_size: Some(65536),
            clusterset_ip_enabled: Some(false),
            clusterset_ip_cidr_range: "243.0.0.0/8".to_owned(),
            custom_domains: Vec::new(),
        },
        Source::read(format!("Broker {BROKER_NAMESPACE}/submariner-broker"), ""),
    );
    submariner.globalnet_info = Fact::known(
        RangeInfo {
            namespace: BROKER_NAMESPACE.to_owned(),
            enabled: Some(false),
            range: "242.0.0.0/8".to_owned(),
            cluster_size: Some(65536),
            clusters: Vec::new(),
        },
        Source::read(format!("ConfigMap {BROKER_NAMESPACE}/submariner-globalnet-info"), ""),
    );
    submariner.clusterset_ip_info = Fact::known(
        RangeInfo {
            namespace: BROKER_NAMESPACE.to_owned(),
            enabled: Some(false),
            range: "243.0.0.0/8".to_owned(),
            cluster_size: Some(0),
            clusters: Vec::new(),
        },
        Source::read(format!("ConfigMap {BROKER_NAMESPACE}/submariner-clustersetip-info"), ""),
    );
    let endpoints = value_mut(&mut submariner.endpoints);
    let mut copies = endpoints.clone();
    for endpoint in &mut copies {
        BROKER_NAMESPACE.clone_into(&mut endpoint.namespace);
    }
    endpoints.extend(copies);
    let clusters = value_mut(&mut submariner.clusters);
    let mut copies = clusters.clone();
    for cluster in &mut copies {
        BROKER_NAMESPACE.clone_into(&mut cluster.namespace);
    }
    clusters.extend(copies);
}

/// Turns Globalnet on for these members, with block 242.N.0.0/16 for the Nth of them, from 1.
pub fn turn_globalnet_on(members: &mut [ClusterFacts]) {
    let blocks: Vec<(String, String)> = (1..)
        .zip(members.iter())
        .map(|(number, facts)| (facts.name.clone(), format!("242.{number}.0.0/16")))
        .collect();
    let block_of = |id: &str| {
        let block = blocks.iter().find(|(name, _)| name == id);
        vec![block.expect("a member of this set").1.clone()]
    };
    let gateway_address = |block: &str| block.replace(".0.0/16", ".255.254");
    for (facts, (_, own)) in members.iter_mut().zip(&blocks) {
        let submariner = submariner_mut(facts);
        let config = value_mut(&mut submariner.config);
        config.global_cidr.clone_from(own);
        config.status_global_cidr.clone_from(own);
        for endpoint in value_mut(&mut submariner.endpoints) {
            endpoint.subnets = block_of(&endpoint.cluster_id);
            endpoint.health_check_ips = vec![gateway_address(&endpoint.subnets[0])];
        }
        for cluster in value_mut(&mut submariner.clusters) {
            cluster.global_cidr = block_of(&cluster.cluster_id);
        }
        for gateway in value_mut(&mut submariner.gateways) {
            for endpoint in gateway.local_endpoint.iter_mut().chain(
                gateway
                    .connections
                    .iter_mut()
                    .map(|connection| &mut connection.endpoint),
            ) {
                endpoint.subnets = block_of(&endpoint.cluster_id);
                endpoint.health_check_ips = vec![gateway_address(&endpoint.subnets[0])];
            }
            gateway.global_ip = gateway_address(own);
        }
        value_mut(&mut submariner.cluster_global_egress_ips).push(crate::facts::submariner::GlobalEgressIp {
            name: "cluster-egress.submariner.io".to_owned(),
            number: Some(8),
            allocated: (1..=8)
                .map(|host| own.replace(".0.0/16", &format!(".0.{host}")))
                .collect(),
            conditions: vec![Condition {
                kind: "Allocated".to_owned(),
                status: "True".to_owned(),
                reason: "Success".to_owned(),
                message: String::new(),
            }],
        });
        if let Fact::Known(info) = &mut submariner.globalnet_info {
            info.value.enabled = Some(true);
            info.value.clusters = blocks
                .iter()
                .map(|(id, cidr)| crate::facts::submariner::RangeEntry {
                    cluster_id: id.clone(),
                    cidrs: vec![cidr.clone()],
                })
                .collect();
        }
        if let Fact::Known(broker) = &mut submariner.broker {
            broker.value.globalnet_enabled = Some(true);
        }
    }
}
