//! Given ranges, expect collisions.

use crate::cidr::Cidr;
use crate::engine::judge;
use crate::facts::cni::{Plugin, PluginKind};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::facts::{AddressPool, ClusterFacts, RangeKind};
use crate::intent::{ExternalNetwork, Intent};
use crate::profile::Profile::{self, Clustermesh, Submariner};
use crate::report::{Finding, Report, Severity, Verdict};
use crate::samples::{cilium, cilium_mut, cluster, declared, findings, policy, report, set_cilium_key, value_mut};

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// A cluster whose Cilium hands out blocks of this pool; its nodes keep the blocks of the sample.
fn pooled(name: &str, number: u8, pool: &str) -> ClusterFacts {
    let mut facts = cilium(name, number);
    set_cilium_key(&mut facts, "ipam", Some("cluster-pool"));
    set_cilium_key(&mut facts, "cluster-pool-ipv4-cidr", Some(pool));
    facts
}

fn broken<'a>(report: &'a Report, code: &str) -> Vec<&'a Finding> {
    findings(report, code)
        .into_iter()
        .filter(|finding| matches!(finding.verdict, Verdict::Fail | Verdict::Warn))
        .collect()
}

fn collisions(report: &Report) -> Vec<(&str, Verdict)> {
    report
        .findings
        .iter()
        .filter(|finding| finding.code.starts_with("NET1") && matches!(finding.verdict, Verdict::Fail | Verdict::Warn))
        .map(|finding| (finding.code.as_str(), finding.verdict))
        .collect()
}

#[test]
fn clusters_that_share_nothing_pass() {
    for profile in Profile::ALL {
        let report = report(profile, &[cilium("east", 1), cilium("west", 2)]);
        assert_eq!(collisions(&report), []);
        for code in ["NET101", "NET102", "NET103", "NET104", "NET105"] {
            assert_eq!(findings(&report, code)[0].verdict, Verdict::Pass, "{code} {profile}");
        }
    }
}

#[test]
fn one_supernet_is_one_cause() {
    let clusters = [
        pooled("west", 2, "10.0.0.0/8"),
        cilium("east", 1),
        cilium("north", 3),
        cilium("south", 4),
    ];
    let report = report(Clustermesh, &clusters);
    let pods = broken(&report, "NET101");
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0].verdict, Verdict::Fail);
    assert_eq!(
        pods[0].found,
        "west pods 10.0.0.0/8 contain east pods 10.10.0.0/23, north pods 10.30.0.0/23 and south pods 10.40.0.0/23"
    );
    assert_eq!(
        pods[0].subject.pairs.across,
        [[
            vec!["west".to_owned()],
            vec!["east".into(), "north".into(), "south".into()]
        ]]
    );
    // That the pool also covers everyone's Services is the same cause, and only a warning.
    let services = broken(&report, "NET103");
    assert!(
        !services.is_empty()
            && services
                .iter()
                .all(|finding| finding.verdict == Verdict::Warn && finding.cause == pods[0].cause)
    );
    assert_eq!(report.causes(Verdict::Fail).len(), 1);
}

#[test]
fn the_remedy_names_a_free_block() {
    let report = report(Clustermesh, &[cilium("east", 1), pooled("west", 2, "10.0.0.0/8")]);
    assert!(
        broken(&report, "NET101")[0]
            .remedy
            .contains("free and large enough: 10.0.0.0/16"),
        "{}",
        broken(&report, "NET101")[0].remedy
    );
}

#[test]
fn equal_blocks_of_nodes_fail_as_with_two_default_kind_clusters() {
    let report = report(
        Clustermesh,
        &[cluster_with_ranges_of("east", 1), cluster_with_ranges_of("west", 1)],
    );
    let pods = broken(&report, "NET101");
    assert_eq!((pods.len(), pods[0].verdict), (1, Verdict::Fail));
    assert_eq!(
        pods[0].found,
        "east pods 10.10.0.0/23 and west pods 10.10.0.0/23 are the same addresses"
    );
    assert_eq!(broken(&report, "NET104")[0].verdict, Verdict::Warn);
    assert_eq!(broken(&report, "NET106")[0].verdict, Verdict::Fail);
}

fn cluster_with_ranges_of(name: &str, number: u8) -> ClusterFacts {
    let mut facts = cilium(name, number);
    facts.uid = Fact::known(
        format!("uid of {name}"),
        Source::read("Namespace kube-system", "metadata.uid"),
    );
    facts
}

#[test]
fn pools_that_overlap_where_nobody_has_a_block_warn() {
    let report = report(
        Clustermesh,
        &[
            pooled("east", 1, "10.10.0.0/15 10.200.0.0/16"),
            pooled("west", 2, "10.20.0.0/16 10.200.128.0/17"),
        ],
    );
    assert_eq!(collisions(&report), [("NET101", Verdict::Warn)]);
}

#[test]
fn equal_pools_fail_as_the_first_nodes_collide() {
    let mut clusters = [pooled("east", 1, "10.0.0.0/8"), pooled("west", 2, "10.0.0.0/8")];
    for facts in &mut clusters {
        for node in value_mut(&mut cilium_mut(facts).nodes) {
            node.pod_cidrs.clear();
        }
    }
    let report = report(Clustermesh, &clusters);
    let pods = broken(&report, "NET101");
    assert_eq!((pods.len(), pods[0].verdict), (1, Verdict::Fail));
}

#[test]
fn a_plain_default_install_is_no_failure_by_itself() {
    // Pool 10.0.0.0/8 contains the cluster's own Services: a pool-only overlap, which works.
    let report = report(Clustermesh, &[pooled("east", 1, "10.0.0.0/8")]);
    assert_eq!(collisions(&report), [("NET103", Verdict::Warn)]);
}

#[test]
fn a_node_inside_a_block_fails_and_inside_a_pool_warns() {
    let mut inside_block = cilium("west", 2);
    value_mut(&mut inside_block.nodes)[0].addresses[0].ip = "10.10.0.200".parse().unwrap();
    let block = report(Clustermesh, &[cilium("east", 1), inside_block.clone()]);
    assert_eq!(collisions(&block), [("NET102", Verdict::Fail)]);

    value_mut(&mut inside_block.nodes)[0].addresses[0].ip = "10.11.0.200".parse().unwrap();
    let pool = report(Clustermesh, &[pooled("east", 1, "10.10.0.0/15"), inside_block]);
    assert_eq!(collisions(&pool), [("NET102", Verdict::Warn)]);
}

#[test]
fn equal_service_ranges_warn_for_a_mesh_and_fail_for_submariner() {
    let mut west = cluster("west", 2);
    west.service_cidrs = cluster("east", 1).service_cidrs;
    value_mut(&mut west.services)[0].cluster_ips = vec!["10.101.0.1".parse().unwrap()];
    let mesh = report(Clustermesh, &[cluster("east", 1), west.clone()]);
    assert_eq!(collisions(&mesh), [("NET104", Verdict::Warn)]);
    let submariner = report(Submariner, &[cluster("east", 1), west]);
    assert_eq!(collisions(&submariner), [("NET104", Verdict::Fail)]);
    assert!(broken(&submariner, "NET104")[0].remedy.contains("Globalnet"));
}

#[test]
fn a_control_plane_on_a_cluster_ip_makes_equal_service_ranges_fail() {
    let mut west = cilium("west", 2);
    west.service_cidrs = cilium("east", 1).service_cidrs;
    value_mut(&mut west.services)
        .iter_mut()
        .filter(|service| service.name == "clustermesh-apiserver")
        .for_each(|service| service.kind = "ClusterIP".into());
    let report = report(Clustermesh, &[cilium("east", 1), west]);
    assert_eq!(broken(&report, "NET104")[0].verdict, Verdict::Fail);
}

#[test]
fn with_globalnet_equal_pod_and_service_ranges_are_fine() {
    let mut intent = Intent::default();
    intent.submariner.globalnet = Some(true);
    let clusters = [cluster("east", 1), cluster("west", 1)];
    let report = judge(&clusters, &intent, &policy(Submariner));
    assert_eq!(collisions(&report), []);
}

#[test]
fn a_planned_cluster_collides_with_what_is_there() {
    let planned = ClusterFacts::planned(
        "next",
        vec![
            declared(RangeKind::Pods, "10.10.0.0/16"),
            declared(RangeKind::Services, "10.150.0.0/16"),
        ],
    );
    let report = report(Clustermesh, &[cilium("east", 1), planned]);
    assert_eq!(collisions(&report), [("NET101", Verdict::Fail)]);
}

#[test]
fn a_declared_network_collides_with_pods_but_may_hold_the_nodes() {
    let network = |text: &str| ExternalNetwork {
        name: "office".to_owned(),
        cidr: cidr(text),
        source: Source::declared("externalNetworks[0]"),
    };
    let intent = |text: &str| Intent {
        external_networks: vec![network(text)],
        ..Intent::default()
    };
    let judged = |text: &str| {
        judge(
            &[cilium("east", 1), cilium("west", 2)],
            &intent(text),
            &policy(Clustermesh),
        )
    };
    assert_eq!(collisions(&judged("172.31.0.0/16")), []);
    let report = judged("10.10.1.0/25");
    assert_eq!(collisions(&report), [("NET108", Verdict::Fail)]);
    assert_eq!(broken(&report, "NET108")[0].subject.clusters, ["east"]);
}

#[test]
fn everything_is_one_block() {
    let report = report(Clustermesh, &[pooled("east", 1, "0.0.0.0/0"), cilium("west", 2)]);
    assert_eq!(broken(&report, "NET101").len(), 1);
    assert!(
        broken(&report, "NET101")[0]
            .found
            .starts_with("east pods 0.0.0.0/0 contain west pods")
    );
}

#[test]
fn host_bits_and_mapped_addresses_are_seen_through() {
    let mut east = pooled("east", 1, "10.20.0.77/16");
    set_cilium_key(&mut east, "enable-ipv6", Some("true"));
    assert_eq!(
        broken(&report(Clustermesh, &[east, cilium("west", 2)]), "NET101").len(),
        1
    );

    let mut mapped = pooled("east", 1, "10.99.0.0/16");
    set_cilium_key(&mut mapped, "enable-ipv6", Some("true"));
    set_cilium_key(&mut mapped, "cluster-pool-ipv6-cidr", Some("::ffff:10.20.0.0/112"));
    assert_eq!(
        broken(&report(Clustermesh, &[mapped, cilium("west", 2)]), "NET101").len(),
        1
    );
}

#[test]
fn ipv6_ranges_collide_like_ipv4() {
    let mut clusters = [pooled("east", 1, "10.11.0.0/16"), pooled("west", 2, "10.21.0.0/16")];
    for facts in &mut clusters {
        set_cilium_key(facts, "enable-ipv6", Some("true"));
        set_cilium_key(facts, "cluster-pool-ipv6-cidr", Some("fd00::/104"));
    }
    let report = report(Clustermesh, &clusters);
    let pods = broken(&report, "NET101");
    assert_eq!((pods.len(), pods[0].severity), (1, Severity::Fail));
    assert!(pods[0].found.contains("fd00::/104"));
}

#[test]
fn load_balancer_pools_warn() {
    let mut east = cilium("east", 1);
    let pool = AddressPool {
        name: "mesh".to_owned(),
        cidrs: vec![cidr("172.31.2.0/28")],
        disabled: false,
        source: Source::read("CiliumLoadBalancerIPPool mesh", "spec.blocks"),
    };
    value_mut(&mut east.load_balancer_pools).push(pool);
    assert_eq!(
        collisions(&report(Clustermesh, &[east, cilium("west", 2)])),
        [("NET107", Verdict::Warn)]
    );
}

#[test]
fn what_could_not_be_read_is_unknown_and_the_rest_is_judged() {
    let mut west = cilium("west", 2);
    cilium_mut(&mut west).nodes = Fact::unknown(Reason::Forbidden, "list ciliumnodes: forbidden");
    set_cilium_key(&mut west, "ipam", Some("cluster-pool"));
    let report = report(
        Clustermesh,
        &[pooled("east", 1, "10.0.0.0/8"), west, cilium("north", 3)],
    );
    let verdicts: Vec<_> = findings(&report, "NET101")
        .iter()
        .map(|finding| (finding.verdict, finding.subject.clusters.clone()))
        .collect();
    assert!(verdicts.contains(&(Verdict::Unknown, vec!["west".to_owned()])));
    assert!(verdicts.contains(&(Verdict::Fail, vec!["east".to_owned(), "north".to_owned()])));
}

#[test]
fn five_hundred_clusters_with_one_pool_are_one_finding() {
    let clusters: Vec<ClusterFacts> = (0..500)
        .map(|number| pooled(&format!("c{number}"), 1, "10.0.0.0/8"))
        .collect();
    let report = report(Clustermesh, &clusters);
    assert_eq!(broken(&report, "NET101").len(), 1);
    assert_eq!(broken(&report, "NET101")[0].subject.clusters.len(), 500);
}

#[test]
fn s_1106_azure_nodes_among_their_pods_warn_with_libreswan_and_fail_without() {
    let azure = |addresses: &str, driver: Option<&str>| {
        let mut east = cluster("east", 1);
        let mut intent = Intent::default();
        intent.submariner.cable_driver = driver.map(str::to_owned);
        value_mut(&mut east.cni.plugins).push(Plugin {
            kind: PluginKind::AzureCni,
            source: Source::read("DaemonSet kube-system/azure-cns", ""),
            version: String::new(),
            running: true,
        });
        value_mut(&mut east.pods).addresses = vec![cidr(addresses)];
        collisions(&judge(&[east], &intent, &policy(Submariner)))
            .into_iter()
            .map(|(code, verdict)| (code.to_owned(), verdict))
            .collect::<Vec<_>>()
    };
    // The nodes are 172.31.1.11 and .12.
    let loops = |verdict| [("NET102".to_owned(), verdict)];
    assert_eq!(azure("172.31.1.8/29", None), loops(Verdict::Warn));
    assert_eq!(azure("172.31.1.8/29", Some("libreswan")), loops(Verdict::Warn));
    assert_eq!(azure("172.31.1.8/29", Some("wireguard")), loops(Verdict::Fail));
    assert_eq!(azure("172.31.1.64/29", Some("wireguard")), []);
}

/// A kind cluster with these ranges.
fn kind(name: &str, number: u8, pods: &str, services: &str) -> ClusterFacts {
    let mut facts = cilium(name, number);
    for node in value_mut(&mut facts.nodes) {
        node.provider_id = format!("kind://docker/{name}/{}", node.name);
        node.pod_cidrs = vec![cidr(pods)];
    }
    set_cilium_key(&mut facts, "ipam", Some("cluster-pool"));
    set_cilium_key(&mut facts, "cluster-pool-ipv4-cidr", Some(pods));
    *value_mut(&mut facts.service_cidrs) = vec![cidr(services)];
    facts
}

#[test]
fn for_clusters_of_kind_the_remedy_is_a_setting_of_kind() {
    let clusters = [
        kind("east", 1, "10.244.0.0/16", "10.96.0.0/16"),
        kind("west", 2, "10.244.0.0/16", "10.96.0.0/16"),
    ];
    let report = report(Clustermesh, &clusters);
    let pods = &broken(&report, "NET101")[0].remedy;
    assert!(
        pods.starts_with("set networking.podSubnet in the kind configuration of west"),
        "{pods}"
    );
    assert!(pods.contains("ipam.mode=kubernetes"), "{pods}");
    let services = &broken(&report, "NET104")[0].remedy;
    assert!(
        services.starts_with("set networking.serviceSubnet in the kind configuration of west"),
        "{services}"
    );
}
