use std::net::IpAddr;

use crate::facts::ClusterFacts;
use crate::facts::RangeKind;
use crate::facts::cilium::{IpMasqAgent, PodIpPool};
use crate::facts::node::NodeAddress;
use crate::facts::provenance::{Fact, Reason, Source};
use crate::profile::Profile::Clustermesh;
use crate::report::{Finding, Report, Verdict};
use crate::samples::{cilium, cilium_mut, declared, findings, report, set_cilium_key, value_mut};

fn with_keys(name: &str, number: u8, keys: &[(&str, &str)]) -> ClusterFacts {
    let mut facts = cilium(name, number);
    for (key, value) in keys {
        set_cilium_key(&mut facts, key, Some(value));
    }
    facts
}

/// In native routing, with this native routing CIDR if there is one.
fn native(name: &str, number: u8, cidr: &str) -> ClusterFacts {
    with_keys(
        name,
        number,
        &[("routing-mode", "native"), ("ipv4-native-routing-cidr", cidr)],
    )
}

fn unreadable() -> ClusterFacts {
    let mut facts = cilium("north", 3);
    cilium_mut(&mut facts).config = Fact::unknown(Reason::Forbidden, "list configmaps in kube-system: forbidden");
    facts
}

/// Gives every node these addresses, the last octet (or group) counted up.
fn with_node_addresses(mut facts: ClusterFacts, addresses: &[(&str, &str)]) -> ClusterFacts {
    let of_node = |index: usize| -> Vec<NodeAddress> {
        let address = |(kind, prefix): &(&str, &str)| NodeAddress {
            kind: (*kind).to_owned(),
            ip: format!("{prefix}{}", index + 1).parse::<IpAddr>().unwrap(),
        };
        addresses.iter().map(address).collect()
    };
    for (index, node) in value_mut(&mut facts.nodes).iter_mut().enumerate() {
        node.addresses = of_node(index);
    }
    for (index, node) in value_mut(&mut cilium_mut(&mut facts).nodes).iter_mut().enumerate() {
        node.addresses = of_node(index);
    }
    facts
}

fn of_pair(east: ClusterFacts, west: ClusterFacts, code: &str) -> Finding {
    worst(&report(Clustermesh, &[east, west]), code)
}

fn worst(report: &Report, code: &str) -> Finding {
    findings(report, code)[0].clone()
}

fn of_east(report: &Report, code: &str) -> Finding {
    let of_code = findings(report, code);
    let of_east = of_code
        .iter()
        .find(|finding| finding.subject.clusters.iter().any(|name| name == "east"));
    (*of_east.unwrap_or_else(|| panic!("{code} says nothing of east: {of_code:?}"))).clone()
}

#[test]
fn what_cannot_be_read_is_unknown() {
    let report = report(Clustermesh, &[cilium("east", 1), unreadable()]);
    for code in ["CM210", "CM211", "CM212", "CM213", "CM215", "CM216", "CM217"] {
        let unknown = findings(&report, code)
            .iter()
            .any(|finding| finding.verdict == Verdict::Unknown && finding.subject.clusters == ["north"]);
        assert!(unknown, "{code}");
    }
    let mut no_nodes = cilium("north", 3);
    no_nodes.nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
    cilium_mut(&mut no_nodes).nodes = Fact::unknown(Reason::Forbidden, "list ciliumnodes: forbidden");
    let report = crate::samples::report(Clustermesh, &[cilium("east", 1), no_nodes]);
    for code in ["CM209", "CM217"] {
        assert_eq!(worst(&report, code).verdict, Verdict::Unknown, "{code}");
    }
}

#[test]
fn nodes_of_one_private_network_pass_and_of_two_warn() {
    let nodes = |name, number, addresses: &[(&str, &str)]| with_node_addresses(cilium(name, number), addresses);
    let same = of_pair(
        cilium("east", 1),
        nodes("west", 2, &[("InternalIP", "172.20.0.")]),
        "CM209",
    );
    assert_eq!(same.verdict, Verdict::Pass);
    let west = nodes("west", 2, &[("InternalIP", "192.168.1."), ("ExternalIP", "203.0.113.")]);
    let finding = of_pair(cilium("east", 1), west, "CM209");
    assert_eq!(finding.verdict, Verdict::Warn);
    assert_eq!(finding.found, "172.16.0.0/12 on east, 192.168.0.0/16 on west");
    let ipv6 = nodes("west", 2, &[("InternalIP", "fd00::")]);
    assert!(
        findings(&report(Clustermesh, &[cilium("east", 1), ipv6]), "CM209")
            .iter()
            .all(|finding| finding.verdict == Verdict::Skip)
    );
}

#[test]
fn a_native_routing_cidr_around_all_pods_passes() {
    let report = report(
        Clustermesh,
        &[native("east", 1, "10.0.0.0/8"), native("west", 2, "10.0.0.0/8")],
    );
    assert_eq!(of_east(&report, "CM210").verdict, Verdict::Pass);
}

#[test]
fn a_native_routing_cidr_around_the_own_pods_only_fails() {
    let facts = [native("east", 1, "10.10.0.0/16"), native("west", 2, "10.0.0.0/8")];
    let report = report(Clustermesh, &facts);
    let finding = of_east(&report, "CM210");
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(
        finding.found,
        "IPv4 native routing CIDR 10.10.0.0/16 leaves out pods of west, as 10.20.0.0/23"
    );
    assert!(
        findings(&report, "CM210")
            .iter()
            .any(|finding| finding.verdict == Verdict::Pass)
    );
}

#[test]
fn only_the_pairs_with_uncovered_pods_are_affected() {
    let facts = [
        native("east", 1, "10.0.0.0/11"),
        native("west", 2, "10.0.0.0/8"),
        native("south", 4, "10.0.0.0/8"),
    ];
    let pairs = of_east(&report(Clustermesh, &facts), "CM210").subject.pairs;
    assert_eq!(pairs.across, [[["east"], ["south"]]]);
}

#[test]
fn no_native_routing_cidr_covers_nothing() {
    let finding = of_pair(native("east", 1, ""), native("west", 2, "10.0.0.0/8"), "CM210");
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(
        finding
            .found
            .starts_with("no IPv4 native routing CIDR leaves out pods of east and west"),
        "{}",
        finding.found
    );
}

#[test]
fn a_pool_of_which_nothing_is_handed_out_outside_warns() {
    let pool = |name, number, cidr| {
        let mut facts = native(name, number, cidr);
        set_cilium_key(&mut facts, "ipam", Some("cluster-pool"));
        set_cilium_key(
            &mut facts,
            "cluster-pool-ipv4-cidr",
            Some(&format!("10.{}.0.0/16", u16::from(number) * 10)),
        );
        facts
    };
    let report = report(
        Clustermesh,
        &[pool("east", 1, "10.10.0.0/23"), pool("west", 2, "10.0.0.0/8")],
    );
    // The peer's pods are left out for good.
    assert_eq!(of_east(&report, "CM210").verdict, Verdict::Fail);
    let report = crate::samples::report(
        Clustermesh,
        &[pool("east", 1, "10.0.0.0/12"), pool("west", 2, "10.0.0.0/8")],
    );
    assert_eq!(of_east(&report, "CM210").verdict, Verdict::Fail);
    let mut low_blocks_of_a_larger_pool = pool("west", 2, "10.0.0.0/8");
    set_cilium_key(
        &mut low_blocks_of_a_larger_pool,
        "cluster-pool-ipv4-cidr",
        Some("10.20.0.0/10"),
    );
    let report = crate::samples::report(
        Clustermesh,
        &[pool("east", 1, "10.0.0.0/11"), low_blocks_of_a_larger_pool],
    );
    let finding = of_east(&report, "CM210");
    assert_eq!(finding.verdict, Verdict::Warn, "{}", finding.found);
    assert!(
        finding.found.contains("nothing of that is handed out yet"),
        "{}",
        finding.found
    );
}

#[test]
fn planned_ranges_count_as_handed_out() {
    let planned = ClusterFacts::planned("future", vec![declared(RangeKind::Pods, "172.20.0.0/16")]);
    let report = report(Clustermesh, &[native("east", 1, "10.0.0.0/8"), planned]);
    assert_eq!(of_east(&report, "CM210").verdict, Verdict::Fail);
    let silent = ClusterFacts::planned("future", Vec::new());
    let report = crate::samples::report(Clustermesh, &[native("east", 1, "10.0.0.0/8"), silent]);
    assert_eq!(of_east(&report, "CM210").verdict, Verdict::Pass);
}

#[test]
fn pods_that_keep_their_address_in_part_only_warn() {
    let narrow = |keys: &[(&str, &str)]| {
        let mut facts = native("east", 1, "10.10.0.0/16");
        for (key, value) in keys {
            set_cilium_key(&mut facts, key, Some(value));
        }
        facts
    };
    let verdict = |east| of_east(&report(Clustermesh, &[east, native("west", 2, "10.0.0.0/8")]), "CM210").verdict;
    assert_eq!(verdict(narrow(&[])), Verdict::Fail);
    assert_eq!(
        verdict(narrow(&[("egress-masquerade-interfaces", "eth0")])),
        Verdict::Warn
    );
    assert_eq!(verdict(narrow(&[("enable-ipv4-masquerade", "false")])), Verdict::Skip);
    assert_eq!(verdict(narrow(&[("routing-mode", "tunnel")])), Verdict::Skip);
    let mut skipping = narrow(&[]);
    let pool = PodIpPool {
        name: "default".to_owned(),
        skip_masquerade: true,
        ..PodIpPool::default()
    };
    cilium_mut(&mut skipping).pod_ip_pools = Fact::known(vec![pool], Source::read("CiliumPodIPPools", ""));
    assert_eq!(verdict(skipping), Verdict::Warn);
}

#[test]
fn pods_of_a_peer_that_are_not_known_leave_it_open() {
    let report = report(Clustermesh, &[native("east", 1, "10.0.0.0/8"), unreadable()]);
    let finding = of_east(&report, "CM210");
    assert_eq!(
        (finding.verdict, finding.reason.as_str()),
        (Verdict::Unknown, "forbidden")
    );
}

#[test]
fn each_family_has_its_own_cidr() {
    let dual = |cidr6: &str| {
        let mut facts = native("east", 1, "10.0.0.0/8");
        set_cilium_key(&mut facts, "enable-ipv6", Some("true"));
        set_cilium_key(&mut facts, "ipv6-native-routing-cidr", Some(cidr6));
        facts
    };
    let west = || {
        let mut facts = native("west", 2, "10.0.0.0/8");
        value_mut(&mut facts.nodes)[0]
            .pod_cidrs
            .push("fd00:20::/64".parse().unwrap());
        facts
    };
    assert_eq!(
        of_pair(dual("fd00:10::/32"), west(), "CM210").found,
        "IPv6 native routing CIDR fd00:10::/32 leaves out pods of west, as fd00:20::/64"
    );
    assert_eq!(of_pair(dual("fd00::/8"), west(), "CM210").verdict, Verdict::Pass);
}

const WITH_AGENT: [(&str, &str); 3] = [
    ("routing-mode", "native"),
    ("enable-ip-masq-agent", "true"),
    ("enable-bpf-masquerade", "true"),
];

fn with_list(blocks: &[&str]) -> ClusterFacts {
    let mut facts = with_keys("east", 1, &WITH_AGENT);
    let list = IpMasqAgent {
        non_masquerade_cidrs: blocks.iter().map(|block| block.parse().unwrap()).collect(),
    };
    cilium_mut(&mut facts).ip_masq_agent =
        Fact::known(list, Source::read("ConfigMap kube-system/ip-masq-agent", "config"));
    facts
}

#[test]
fn the_masquerading_agents_list_covers_all_pods() {
    let verdict = |east| of_east(&report(Clustermesh, &[east, native("west", 2, "10.0.0.0/8")]), "CM211").verdict;
    assert_eq!(verdict(with_list(&["10.10.0.0/16", "10.20.0.0/16"])), Verdict::Pass);
    assert_eq!(verdict(with_list(&["10.10.0.0/16"])), Verdict::Fail);
    let mut with_cidr = with_list(&["10.10.0.0/16"]);
    set_cilium_key(&mut with_cidr, "ipv4-native-routing-cidr", Some("10.20.0.0/16"));
    assert_eq!(verdict(with_cidr), Verdict::Pass);
}

#[test]
fn no_list_is_the_built_in_one() {
    for facts in [with_keys("east", 1, &WITH_AGENT), with_list(&[])] {
        let report = report(Clustermesh, &[facts, native("west", 2, "10.0.0.0/8")]);
        let finding = of_east(&report, "CM211");
        assert_eq!(
            (finding.verdict, finding.found.as_str()),
            (Verdict::Pass, "ip-masq-agent's built-in list (IPv4)")
        );
        assert_eq!(of_east(&report, "CM210").verdict, Verdict::Skip);
    }
    let mut forbidden = with_keys("east", 1, &WITH_AGENT);
    cilium_mut(&mut forbidden).ip_masq_agent = Fact::unknown(Reason::Forbidden, "get configmaps: forbidden");
    let report = report(Clustermesh, &[forbidden, native("west", 2, "10.0.0.0/8")]);
    assert_eq!(of_east(&report, "CM211").verdict, Verdict::Unknown);
}

#[test]
fn the_masquerading_agent_needs_masquerading_in_bpf() {
    let keys = [("routing-mode", "native"), ("enable-ip-masq-agent", "true")];
    let report = report(Clustermesh, &[with_keys("east", 1, &keys)]);
    let finding = worst(&report, "CM211");
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.found.contains("change not yet loaded"), "{}", finding.found);
}

#[test]
fn a_native_routing_cidr_shorter_than_8_bits_warns() {
    let verdict = |cidr| worst(&report(Clustermesh, &[native("east", 1, cidr)]), "CM212").verdict;
    assert_eq!(verdict("10.0.0.0/8"), Verdict::Pass);
    assert_eq!(verdict("8.0.0.0/7"), Verdict::Warn);
    assert_eq!(verdict("0.0.0.0/0"), Verdict::Warn);
    assert_eq!(verdict(""), Verdict::Skip);
    let tunnel = with_keys("east", 1, &[("ipv4-native-routing-cidr", "0.0.0.0/0")]);
    assert_eq!(worst(&report(Clustermesh, &[tunnel]), "CM212").verdict, Verdict::Skip);
}

fn on_eni(keys: &[(&str, &str)], vpc: &[&str], pods: &str) -> ClusterFacts {
    let mut facts = native("east", 1, "");
    set_cilium_key(&mut facts, "ipam", Some("eni"));
    for (key, value) in keys {
        set_cilium_key(&mut facts, key, Some(value));
    }
    for node in value_mut(&mut cilium_mut(&mut facts).nodes) {
        node.vpc_cidrs = vpc.iter().map(|block| block.parse().unwrap()).collect();
        node.addresses_assigned = vec![pods.parse().unwrap()];
    }
    facts
}

#[test]
fn without_a_cidr_of_its_own_a_vpc_exempts_its_primary_range() {
    let verdict = |east| of_east(&report(Clustermesh, &[east, native("west", 2, "10.0.0.0/8")]), "CM213").verdict;
    assert_eq!(verdict(on_eni(&[], &["10.0.0.0/8"], "10.9.0.0/28")), Verdict::Pass);
    assert_eq!(verdict(on_eni(&[], &["10.9.0.0/16"], "10.9.0.0/28")), Verdict::Fail);
    // Own pods in a secondary range are no concern of the peers.
    assert_eq!(
        verdict(on_eni(&[], &["10.0.0.0/8", "100.64.0.0/16"], "100.64.0.0/28")),
        Verdict::Pass
    );
    assert_eq!(verdict(on_eni(&[], &[], "10.9.0.0/28")), Verdict::Unknown);
    assert_eq!(
        verdict(on_eni(&[("enable-ipv4-masquerade", "false")], &[], "10.9.0.0/28")),
        Verdict::Skip
    );
    assert_eq!(
        verdict(on_eni(
            &[("ipv4-native-routing-cidr", "10.0.0.0/8")],
            &[],
            "10.9.0.0/28"
        )),
        Verdict::Skip
    );
    assert_eq!(verdict(native("east", 1, "10.0.0.0/8")), Verdict::Skip);
}

#[test]
fn direct_routes_between_nodes_warn_and_with_a_tunnel_fail() {
    let judged = |keys: &[(&str, &str)]| worst(&report(Clustermesh, &[with_keys("east", 1, keys)]), "CM215");
    assert_eq!(judged(&[]).verdict, Verdict::Pass);
    let on = [("routing-mode", "native"), ("auto-direct-node-routes", "true")];
    assert_eq!(judged(&on).verdict, Verdict::Warn);
    let skipping = judged(&[&on[..], &[("direct-routing-skip-unreachable", "true")]].concat());
    assert!(skipping.found.contains("silently"), "{}", skipping.found);
    assert_eq!(judged(&on[1..]).verdict, Verdict::Fail);
    let alone = judged(&[("direct-routing-skip-unreachable", "true")]);
    assert_eq!(alone.verdict, Verdict::Fail);
    assert!(alone.found.contains("change not yet loaded"), "{}", alone.found);
}

fn of_families(name: &str, number: u8, ipv4: &str, ipv6: &str) -> ClusterFacts {
    with_keys(name, number, &[("enable-ipv4", ipv4), ("enable-ipv6", ipv6)])
}

#[test]
fn different_families_warn_and_none_in_common_fails() {
    let east = || of_families("east", 1, "true", "false");
    assert_eq!(
        of_pair(east(), of_families("west", 2, "true", "false"), "CM216").verdict,
        Verdict::Pass
    );
    let finding = of_pair(east(), of_families("west", 2, "true", "true"), "CM216");
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Warn, "IPv4 on east, IPv4 and IPv6 on west")
    );
    assert_eq!(
        of_pair(east(), of_families("west", 2, "false", "true"), "CM216").verdict,
        Verdict::Fail
    );
}

#[test]
fn among_many_clusters_only_those_without_a_common_family_fail() {
    let facts = [
        of_families("four", 1, "true", "false"),
        of_families("six", 2, "false", "true"),
        of_families("both", 4, "true", "true"),
    ];
    let report = report(Clustermesh, &facts);
    let found = findings(&report, "CM216");
    assert_eq!(
        (found[0].verdict, &found[0].subject.clusters[..]),
        (Verdict::Fail, &["four".to_owned(), "six".to_owned()][..])
    );
    assert_eq!((found[1].verdict, found[1].subject.clusters.len()), (Verdict::Warn, 3));
}

fn dual_stack(name: &str, number: u8, underlay: &str, addresses: &[(&str, &str)]) -> ClusterFacts {
    let keys = [("enable-ipv6", "true"), ("underlay-protocol", underlay)];
    with_node_addresses(with_keys(name, number, &keys), addresses)
}

#[test]
fn tunnels_run_over_one_family_that_every_node_has() {
    let both = [("InternalIP", "172.31.1."), ("ExternalIP", "2001:db8::")];
    let ipv4_only = [("InternalIP", "172.31.2.")];
    let east = || dual_stack("east", 1, "auto", &both);
    assert_eq!(
        of_pair(east(), dual_stack("west", 2, "ipv4", &ipv4_only), "CM217").verdict,
        Verdict::Pass
    );

    let over_ipv6 = dual_stack("west", 2, "ipv6", &both);
    let finding = of_pair(east(), over_ipv6.clone(), "CM217");
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Warn, "IPv4 on east, IPv6 on west")
    );

    let finding = of_pair(over_ipv6, dual_stack("east", 1, "ipv6", &ipv4_only), "CM217");
    assert_eq!(
        (finding.verdict, &finding.subject.clusters[..]),
        (Verdict::Fail, &["east".to_owned()][..])
    );
    assert_eq!(finding.subject.nodes, ["east-n1", "east-n2"]);
}

#[test]
fn an_underlay_family_that_is_off_fails_and_native_routing_has_none() {
    let west = with_keys("west", 2, &[("underlay-protocol", "ipv6")]);
    let finding = of_pair(cilium("east", 1), west, "CM217");
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.found.contains("change not yet loaded"), "{}", finding.found);

    let report = report(
        Clustermesh,
        &[native("east", 1, "10.0.0.0/8"), native("west", 2, "10.0.0.0/8")],
    );
    assert!(
        findings(&report, "CM217")
            .iter()
            .all(|finding| finding.verdict == Verdict::Skip)
    );
}
