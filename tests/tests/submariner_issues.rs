//! What users of Submariner ran into, as far as an API can show it: facts as they were, findings that would have told.
//!
//! `s` is an issue of submariner, `o` of submariner-operator, `c` of subctl, `l` of lighthouse. Each scenario starts from clusters
//! without a complaint, so that the list of complaints is what the fault alone gives.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prejoin_checks::cidr::Cidr;
use prejoin_checks::engine::judge;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::cni::{CalicoPool, Plugin, PluginKind};
use prejoin_checks::facts::kubernetes::OpenShiftNetwork;
use prejoin_checks::facts::provenance::{Fact, Reason, Source};
use prejoin_checks::facts::submariner::Endpoint;
use prejoin_checks::intent::{Intent, SubmarinerClusterPlan, SubmarinerPlan};
use prejoin_checks::profile::Profile::Submariner;
use prejoin_checks::report::{Report, Severity};
use prejoin_checks::samples::{
    cilium, complaints, findings, flannel, hold_broker, policy, set_cilium_key, submariner, submariner_config_mut,
    submariner_mut, value_mut,
};

fn judged(facts: &[ClusterFacts], change: impl FnOnce(&mut SubmarinerPlan)) -> Report {
    let mut intent = Intent::default();
    change(&mut intent.submariner);
    judge(facts, &intent, &policy(Submariner))
}

/// What is complained of: codes with verdicts, worst first.
fn complaints_of(facts: &[ClusterFacts]) -> Vec<String> {
    complaints(&judged(facts, |_| ()))
}

fn found(report: &Report, code: &str) -> String {
    findings(report, code)[0].found.clone()
}

/// Gives Services this range, and the API server its first address.
fn with_services(mut facts: ClusterFacts, cidr: &str) -> ClusterFacts {
    let range: Cidr = cidr.parse().unwrap();
    let first = match range.first() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() + 1).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() + 1).into(),
    };
    *value_mut(&mut facts.service_cidrs) = vec![range];
    value_mut(&mut facts.control_plane.api_server_flags).remove("service-cluster-ip-range");
    value_mut(&mut facts.services)[0].cluster_ips = vec![first];
    facts
}

/// Runs another plugin instead, from this object.
fn with_plugin(mut facts: ClusterFacts, kind: PluginKind, object: &str) -> ClusterFacts {
    facts.cni.flannel = Fact::unknown(Reason::NotInstalled, "Flannel is not there");
    *value_mut(&mut facts.cni.plugins) = vec![Plugin {
        kind,
        source: Source::read(object, ""),
        version: String::new(),
        running: true,
    }];
    facts
}

/// Runs Calico with one pool; without its API server.
fn with_calico(facts: ClusterFacts, vxlan_mode: &str, ipip_mode: &str) -> ClusterFacts {
    let mut facts = with_plugin(facts, PluginKind::Calico, "DaemonSet calico-system/calico-node");
    let cidr = value_mut(&mut facts.nodes)[0].pod_cidrs[0].supernet(16).unwrap();
    let pool = CalicoPool {
        name: "default-ipv4-ippool".to_owned(),
        cidr,
        disabled: false,
        nat_outgoing: true,
        vxlan_mode: vxlan_mode.to_owned(),
        ipip_mode: ipip_mode.to_owned(),
        block_size: Some(26),
        labels: BTreeMap::new(),
    };
    facts.cni.calico_pools = Fact::known(vec![pool], Source::read("IPPools", ""));
    value_mut(&mut facts.served_apis).push("projectcalico.org/v3".to_owned());
    facts
}

fn with_kube_proxy(mut facts: ClusterFacts, mode: &str) -> ClusterFacts {
    mode.clone_into(&mut value_mut(&mut facts.kube_proxy).mode);
    facts
}

fn with_openshift(mut facts: ClusterFacts, network_type: &str) -> ClusterFacts {
    let pods = value_mut(&mut facts.nodes)[0].pod_cidrs[0].supernet(16).unwrap();
    facts.control_plane.openshift_network = Fact::known(
        OpenShiftNetwork {
            network_type: network_type.to_owned(),
            cluster_network: vec![pods],
            service_network: value_mut(&mut facts.service_cidrs).clone(),
        },
        Source::read("Network cluster", "spec"),
    );
    facts
}

/// The endpoint a member tells of.
fn endpoint_mut(facts: &mut ClusterFacts) -> &mut Endpoint {
    value_mut(&mut submariner_mut(facts).gateways)[0]
        .local_endpoint
        .as_mut()
        .unwrap()
}

#[test]
fn clusters_without_a_fault_give_no_complaint() {
    assert_eq!(complaints_of(&[flannel("east", 1), flannel("west", 2)]), [""; 0]);
    assert_eq!(complaints_of(&submariner(&[("east", 1), ("west", 2)])), [""; 0]);
}

#[test]
fn s_1625_two_installations_with_the_installers_default_ranges() {
    let openshift = |name: &str, number: u8| {
        let facts = with_plugin(
            flannel(name, number),
            PluginKind::OvnKubernetes,
            "DaemonSet openshift-ovn-kubernetes/ovnkube-node",
        );
        let mut facts = with_openshift(with_services(facts, "172.30.0.0/16"), "OVNKubernetes");
        for node in value_mut(&mut facts.nodes) {
            node.pod_cidrs = vec!["10.128.0.0/23".parse().unwrap()];
        }
        value_mut(&mut facts.pods).pods.clear();
        value_mut(&mut facts.control_plane.controller_manager_flags).clear();
        let network = value_mut(&mut facts.control_plane.openshift_network);
        network.cluster_network = vec!["10.128.0.0/14".parse().unwrap()];
        facts
    };
    let report = judged(&[openshift("east", 1), openshift("west", 2)], |_| ());
    assert_eq!(complaints(&report), ["NET101 fail", "NET104 fail"]);
    // With Globalnet these ranges may be equal.
    let with_globalnet = judged(&[openshift("east", 1), openshift("west", 2)], |plan| {
        plan.globalnet = Some(true);
    });
    assert!(
        !complaints(&with_globalnet)
            .iter()
            .any(|complaint| complaint.starts_with("NET"))
    );
}

#[test]
fn s_2792_globalnets_range_over_ranges_in_use() {
    let facts = [flannel("east", 1), with_services(flannel("west", 2), "242.8.0.0/16")];
    let report = judged(&facts, |plan| plan.globalnet = Some(true));
    assert_eq!(found(&report, "SM201"), "in 242.0.0.0/8: services 242.8.0.0/16 of west");
}

#[test]
fn s_3614_one_global_network_written_in_two_ways() {
    let given = |cidr: &str| SubmarinerClusterPlan {
        globalnet_cidr: Some(cidr.to_owned()),
        ..SubmarinerClusterPlan::default()
    };
    let report = judged(&[flannel("east", 1), flannel("west", 2)], |plan| {
        plan.globalnet = Some(true);
        plan.clusters.insert("east".to_owned(), given("242.0.1.0/16"));
        plan.clusters.insert("west".to_owned(), given("242.0.2.0/16"));
    });
    assert_eq!(complaints(&report), ["NET109 fail", "SM221 warn", "SM221 warn"]);
    assert_eq!(found(&report, "SM221"), "242.0.1.0/16 is 242.0.0.0/16");
}

#[test]
fn s_1106_node_addresses_inside_the_pod_range() {
    let mut east = flannel("east", 1);
    for (node, host) in value_mut(&mut east.nodes).iter_mut().zip(11..) {
        node.addresses[0].ip = [10, 10, 200, host].into();
    }
    let report = judged(&[east, flannel("west", 2)], |_| ());
    assert_eq!(complaints(&report), ["NET102 fail"]);
}

#[test]
fn c_705_two_clusters_join_with_one_id() {
    let mut west = flannel("west", 2);
    *value_mut(&mut west.kubeconfig_cluster) = "east".to_owned();
    assert_eq!(complaints_of(&[flannel("east", 1), west]), ["SM103 fail"]);
}

#[test]
fn s_761_equal_private_addresses_of_gateways_in_local_set_ups() {
    let mut west = flannel("west", 2);
    let mut east = flannel("east", 1);
    value_mut(&mut west.nodes)[1]
        .addresses
        .clone_from(&value_mut(&mut east.nodes)[1].addresses);
    let report = judged(&[east, west], |plan| plan.cable_driver = Some("vxlan".to_owned()));
    let codes: Vec<String> = complaints(&report);
    assert!(
        codes.contains(&"SM421 fail".to_owned()) && codes.contains(&"SM205 fail".to_owned()),
        "{codes:?}"
    );
}

#[test]
fn s_1559_s_1611_s_3967_kube_proxy_in_ipvs_mode() {
    let east = with_kube_proxy(flannel("east", 1), "ipvs");
    assert_eq!(complaints_of(&[east, flannel("west", 2)]), ["SM020 fail"]);
}

#[test]
fn s_939_ipvs_keeps_exports_from_their_global_address() {
    let east = with_kube_proxy(flannel("east", 1), "ipvs");
    let report = judged(&[east, flannel("west", 2)], |plan| plan.globalnet = Some(true));
    assert_eq!(complaints(&report), ["SM020 fail"]);
    assert!(
        findings(&report, "SM020")[0]
            .why
            .contains("Globalnet's exports never become ready")
    );
}

#[test]
fn s_3266_left_overs_of_ipvs_and_ipip() {
    let east = with_kube_proxy(with_calico(flannel("east", 1), "Never", "Always"), "ipvs");
    assert_eq!(complaints_of(&[east, flannel("west", 2)]), ["SM020 fail", "SM304 warn"]);
}

#[test]
fn s_407_s_3140_calico_masquerades_traffic_to_other_clusters() {
    let mut east = with_calico(flannel("east", 1), "Always", "Never");
    value_mut(&mut east.served_apis).retain(|served| served != "projectcalico.org/v3");
    let report = judged(&[east, flannel("west", 2)], |_| ());
    assert_eq!(complaints(&report), ["SM305 warn"]);
    assert_eq!(
        findings(&report, "SM305")
            .iter()
            .find(|finding| finding.subject.clusters == ["east"])
            .unwrap()
            .found,
        "none for 2 ranges, and projectcalico.org/v3 is not served"
    );
}

#[test]
fn s_1670_calico_with_ipip_across_subnets_on_roks() {
    let east = with_calico(flannel("east", 1), "Never", "CrossSubnet");
    assert_eq!(complaints_of(&[east, flannel("west", 2)]), ["SM304 fail"]);
}

#[test]
fn s_4108_air_gapped_behind_a_load_balancer() {
    let report = judged(&[flannel("east", 1)], |plan| {
        (plan.air_gapped, plan.load_balancer) = (Some(true), Some(true));
    });
    assert_eq!(complaints(&report), ["SM420 warn"]);
}

#[test]
fn s_2901_two_home_clusters_behind_one_address() {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    endpoint_mut(&mut facts[1]).public_ips = vec!["203.0.113.1".to_owned()];
    endpoint_mut(&mut facts[1])
        .backend_config
        .insert("udp-port".to_owned(), "4501".to_owned());
    let report = judged(&facts, |_| ());
    assert_eq!(found(&report, "SM422"), "203.0.113.1 for east and west");
}

#[test]
fn s_1492_gateways_behind_one_nat_need_a_port_each() {
    let mut facts = submariner(&[("east", 1), ("west", 2), ("north", 3)]);
    endpoint_mut(&mut facts[1]).public_ips = vec!["203.0.113.1".to_owned()];
    value_mut(&mut submariner_mut(&mut facts[2]).gateways)[0].connections[1].status = "error".to_owned();
    let report = judged(&facts, |_| ());
    assert_eq!(findings(&report, "SM409")[0].severity, Severity::Fail);
    assert_eq!(found(&report, "SM409"), "203.0.113.1 port 4500 for east and west");
}

#[test]
fn s_1490_ports_annotated_after_the_gateway_started() {
    let mut facts = submariner(&[("east", 1)]);
    value_mut(&mut facts[0].nodes)[1]
        .annotations
        .insert("gateway.submariner.io/udp-port".to_owned(), "4501".to_owned());
    assert_eq!(
        found(&judged(&facts, |_| ()), "SM406"),
        "udp-port=4501, in force 4500 on east-n2"
    );
}

#[test]
fn s_1410_nat_discovery_through_a_load_balancer_of_aws() {
    let mut east = flannel("east", 1);
    value_mut(&mut east.nodes)[0].provider_id = "aws:///eu-west-1a/i-1".to_owned();
    let report = judged(&[east], |plan| plan.load_balancer = Some(true));
    assert_eq!(found(&report, "SM423"), "a load balancer on AWS");
}

#[test]
fn s_866_s_1959_s_1963_helm_labels_no_gateway() {
    let mut east = flannel("east", 1);
    value_mut(&mut east.nodes)[1].labels.remove("submariner.io/gateway");
    let report = judged(&[east], |plan| plan.installer = Some("helm".to_owned()));
    assert_eq!(complaints(&report), ["SM401 fail"]);
}

#[test]
fn o_3627_o_3820_s_3632_s_3676_the_service_range_is_not_found_on_new_releases() {
    let mut east = flannel("east", 1);
    *value_mut(&mut east.kubernetes_version) = "v1.33.1-eks-1".to_owned();
    east.control_plane.api_server_flags = Fact::unknown(Reason::NotFound, "no kube-apiserver pod is visible");
    let of = |version: &str| {
        judged(std::slice::from_ref(&east), |plan| {
            plan.version = Some(version.to_owned());
        })
    };
    assert_eq!(complaints(&of("0.20.1")), ["SM003 fail"]);
    assert_eq!(complaints(&of("0.21.1")), [""; 0]);
}

#[test]
fn o_1730_o_1731_s_1583_s_1642_s_2128_k3s_shows_no_ranges() {
    let mut east = with_plugin(flannel("east", 1), PluginKind::Flannel, "Node east-n1");
    for node in value_mut(&mut east.nodes) {
        node.kubelet_version = "v1.32.5+k3s1".to_owned();
    }
    let report = judged(&[east], |_| ());
    assert_eq!(complaints(&report), ["SM315 warn"]);
    assert!(
        findings(&report, "SM315")[0]
            .remedy
            .contains("--servicecidr 10.101.0.0/16")
    );
}

#[test]
fn s_2775_flannel_in_its_current_namespace_is_not_recognised() {
    let mut east = flannel("east", 1);
    value_mut(&mut east.cni.plugins)[0].source = Source::read("DaemonSet kube-flannel/kube-flannel-ds", "");
    let report = judged(&[east], |_| ());
    assert_eq!(complaints(&report), ["SM303 warn"]);
    assert_eq!(
        findings(&report, "SM303")[0].remedy,
        "join east with --clustercidr 10.10.0.0/16"
    );
}

#[test]
fn l_2001_diagnose_fails_for_flannel_without_a_reason() {
    let report = judged(&submariner(&[("east", 1)]), |_| ());
    assert!(found(&report, "SM302").starts_with("flannel: ignore"));
}

#[test]
fn s_2934_s_3159_s_3168_cilium_goes_past_the_routes() {
    let mut east = cilium("east", 1);
    set_cilium_key(&mut east, "kube-proxy-replacement", Some("true"));
    set_cilium_key(&mut east, "enable-bpf-masquerade", Some("true"));
    let report = judged(&[east], |_| ());
    assert_eq!(found(&report, "SM307"), "eBPF host routing");
    assert_eq!(findings(&report, "SM307")[0].severity, Severity::Fail);
}

#[test]
fn s_2265_s_2917_s_3697_policy_routing_of_the_amazon_vpc_plugin() {
    let east = with_plugin(flannel("east", 1), PluginKind::AwsVpc, "DaemonSet kube-system/aws-node");
    let report = judged(&[east], |_| ());
    assert_eq!(found(&report, "SM312"), "Amazon VPC CNI");
}

#[test]
fn s_3032_wireguard_with_ovn_kubernetes() {
    let east = with_plugin(
        flannel("east", 1),
        PluginKind::OvnKubernetes,
        "DaemonSet ovn-kubernetes/ovnkube-node",
    );
    let report = judged(&[east], |plan| plan.cable_driver = Some("wireguard".to_owned()));
    assert_eq!(found(&report, "SM311"), "wireguard");
    assert_eq!(findings(&report, "SM311")[0].severity, Severity::Fail);
}

#[test]
fn karmada_4538_a_loopback_broker_and_a_control_plane_as_the_gateway() {
    let kind = |name: &str, number: u8| {
        let mut facts = flannel(name, number);
        *value_mut(&mut facts.api_server) = "127.0.0.1:40123".to_owned();
        let nodes = value_mut(&mut facts.nodes);
        nodes.truncate(1);
        nodes[0].provider_id = format!("kind://docker/{name}/{name}-control-plane");
        nodes[0].addresses[0].ip = [172, 18, 0, number].into();
        facts
    };
    let report = judged(&[kind("east", 1), kind("west", 2)], |plan| {
        plan.broker_cluster = Some("east".to_owned());
    });
    // Clusters of kind share a bridge, which proves nothing of other networks.
    let expected = [
        "SM010 fail",
        "SM402 warn",
        "SM402 warn",
        "SM431 warn",
        "SM431 warn",
        "SM433 warn",
    ];
    assert_eq!(complaints(&report), expected);
}

#[test]
fn c_29_uninstalling_a_member_takes_the_broker_along() {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    hold_broker(&mut facts[0]);
    assert_eq!(complaints_of(&facts), ["SM011 warn"]);
}

#[test]
fn s_3411_everything_is_judged_where_submariner_is_absent() {
    let report = judged(&[flannel("east", 1)], |_| ());
    assert!(report.summary.pass > 20, "{:?}", report.summary);
    assert_eq!(report.summary.unknown, 0);
}

#[test]
fn s_1546_a_cluster_of_ipv6_alone() {
    let mut east = with_services(flannel("east", 1), "fd00:101::/112");
    for node in value_mut(&mut east.nodes) {
        node.addresses[0].ip = "fd00::11".parse().unwrap();
    }
    let report = judged(&[east], |_| ());
    assert_eq!(found(&report, "SM006"), "no IPv4 for Services, nodes");
}

#[test]
fn s_3307_source_addresses_are_lost_with_ovn_kubernetes() {
    let east = with_plugin(
        flannel("east", 1),
        PluginKind::OvnKubernetes,
        "DaemonSet openshift-ovn-kubernetes/ovnkube-node",
    );
    assert!(found(&judged(&[east], |_| ()), "SM310").contains("must not rely on addresses of remote pods"));
}

#[test]
fn s_458_globalnet_without_kube_proxy() {
    let mut east = cilium("east", 1);
    set_cilium_key(&mut east, "kube-proxy-replacement", Some("true"));
    let report = judged(&[east], |plan| plan.globalnet = Some(true));
    assert!(findings(&report, "SM021")[0].remedy.contains("externalIPs"));
    assert_eq!(findings(&report, "SM021")[0].severity, Severity::Warn);
}

#[test]
fn c_93_s_1850_a_member_that_looks_for_the_broker_at_itself() {
    let mut facts = submariner(&[("east", 1)]);
    submariner_config_mut(&mut facts[0]).broker_api_server = "127.0.0.1:6443".to_owned();
    assert_eq!(complaints_of(&facts), ["SM010 fail"]);
}
