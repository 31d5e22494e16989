use crate::facts::ClusterFacts;
use crate::facts::kernel::{ChosenRoute, PathTo};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::profile::Profile::Clustermesh;
use crate::report::{Finding, Verdict};
use crate::samples::{
    cilium, cluster, findings, kernel_mut, link_mut, report, set_cilium_key, set_sysctl, value_mut, with_agents,
};

fn alone(facts: &ClusterFacts, code: &str) -> Finding {
    findings(&report(Clustermesh, std::slice::from_ref(facts)), code)[0].clone()
}

fn east() -> ClusterFacts {
    with_agents(cilium("east", 1))
}

fn with_keys(mut facts: ClusterFacts, keys: &[(&str, &str)]) -> ClusterFacts {
    for (key, value) in keys {
        set_cilium_key(&mut facts, key, Some(value));
    }
    facts
}

/// Nobody may list the links of the nodes.
fn blind(mut facts: ClusterFacts) -> ClusterFacts {
    for kernel in &mut facts.node_facts {
        kernel.links = Fact::unknown(Reason::Forbidden, "list links: not permitted");
    }
    facts
}

/// Sets what Cilium took the network for, and its routes.
fn took(mut facts: ClusterFacts, node: &str, base: u32, routes: u32) -> ClusterFacts {
    let kernel = kernel_mut(&mut facts, node);
    link_mut(kernel, "cilium_host").mtu = base;
    for route in value_mut(&mut kernel.routes) {
        route.mtu = route.mtu.map(|_| routes);
    }
    facts
}

#[test]
fn nodes_with_one_mtu_that_their_links_take() {
    assert_eq!(alone(&east(), "CM351").verdict, Verdict::Pass);
    let jumbo = took(east(), "east-n2", 9000, 8950);
    let found = alone(&jumbo, "CM351");
    assert_eq!(
        (found.verdict, found.subject.nodes),
        (Verdict::Warn, vec!["east-n2".to_owned()])
    );
    assert_eq!(found.found, "base MTU 9000, but eth0 takes 1500 on east-n2");
    let smaller = took(east(), "east-n1", 1400, 1350);
    assert_eq!(alone(&smaller, "CM351").found, "base MTU 1400 on east-n1");
    assert_eq!(alone(&blind(east()), "CM351").reason, "forbidden");
    assert_eq!(alone(&with_agents(cluster("east", 1)), "CM351").verdict, Verdict::Skip);
    assert_eq!(alone(&cilium("east", 1), "CM351").reason, "not asked");
}

#[test]
fn before_cilium_runs_the_uplink_says_what_it_will_take() {
    let mut facts = east();
    for node in ["east-n1", "east-n2"] {
        value_mut(&mut kernel_mut(&mut facts, node).links).retain(|link| !link.name.starts_with("cilium"));
    }
    assert_eq!(alone(&facts, "CM351").found, "base MTU 1500 on east-n1, east-n2");
    let set = with_keys(facts.clone(), &[("mtu", "8950")]);
    assert_eq!(alone(&set, "CM351").verdict, Verdict::Warn);
    assert_eq!(alone(&facts, "CM352").verdict, Verdict::Skip);
}

#[test]
fn routes_to_pods_have_the_mtu_of_their_mode() {
    assert_eq!(alone(&east(), "CM352").verdict, Verdict::Pass);
    let stale = took(east(), "east-n1", 1500, 1500);
    let found = alone(&stale, "CM352");
    assert_eq!(
        (found.verdict, found.found.as_str()),
        (Verdict::Warn, "routes of MTU 1500 over a base of 1500 on east-n1")
    );
    let wireguard = [("enable-wireguard", "true")];
    let right = took(
        took(with_keys(east(), &wireguard), "east-n1", 1500, 1355),
        "east-n2",
        1500,
        1355,
    );
    assert_eq!(alone(&right, "CM352").verdict, Verdict::Pass);
    assert_eq!(
        alone(&with_keys(east(), &[("routing-mode", "native")]), "CM352").verdict,
        Verdict::Skip
    );
    assert_eq!(
        alone(&with_keys(east(), &[("cni-chaining-mode", "aws-cni")]), "CM352").verdict,
        Verdict::Skip
    );
    assert_eq!(alone(&blind(east()), "CM352").verdict, Verdict::Unknown);
}

#[test]
fn encrypted_traffic_of_nodes_needs_room() {
    let keys = [("enable-wireguard", "true"), ("encrypt-node", "true")];
    let facts = with_keys(east(), &keys);
    let found = alone(&facts, "CM353");
    assert_eq!(found.verdict, Verdict::Warn);
    assert_eq!(
        found.found,
        "packets of 1500 bytes over eth0 of 1500 on east-n1, east-n2"
    );
    let mut roomy = facts.clone();
    for (node, peer) in [("east-n1", [172, 31, 1, 12]), ("east-n2", [172, 31, 1, 11])] {
        let kernel = kernel_mut(&mut roomy, node);
        for route in value_mut(&mut kernel.routes)
            .iter_mut()
            .filter(|route| route.link == "eth0")
        {
            route.mtu = Some(1350);
        }
        kernel.paths.push(PathTo {
            to: peer.into(),
            route: Fact::known(
                ChosenRoute {
                    link: "eth0".to_owned(),
                    mtu: Some(1350),
                    link_mtu: 1500,
                    ..ChosenRoute::default()
                },
                Source::read("node", "ip route get"),
            ),
        });
    }
    assert_eq!(alone(&roomy, "CM353").verdict, Verdict::Pass);
    assert_eq!(alone(&east(), "CM353").verdict, Verdict::Skip);
    assert_eq!(alone(&blind(facts), "CM353").verdict, Verdict::Unknown);
}

#[test]
fn clusters_of_unlike_networks() {
    let pair = |west: ClusterFacts| report(Clustermesh, &[east(), west]);
    let same = pair(with_agents(cilium("west", 2)));
    assert_eq!(findings(&same, "CM354")[0].verdict, Verdict::Pass);
    let jumbo = took(
        took(with_agents(cilium("west", 2)), "west-n1", 9001, 8951),
        "west-n2",
        9001,
        8951,
    );
    let differs = pair(jumbo);
    assert_eq!(findings(&differs, "CM354")[0].verdict, Verdict::Warn);
    assert_eq!(findings(&differs, "CM354")[0].found, "1500 on east, 9001 on west");
    let open = pair(cilium("west", 2));
    assert!(
        findings(&open, "CM354")
            .iter()
            .any(|finding| finding.reason == "not asked")
    );
    let blind = pair(blind(with_agents(cilium("west", 2))));
    assert!(
        findings(&blind, "CM354")
            .iter()
            .any(|finding| finding.verdict == Verdict::Unknown)
    );
    assert_eq!(alone(&east(), "CM354").verdict, Verdict::Skip);
}

#[test]
fn ipv6_needs_1280_bytes() {
    let ipv6 = [("enable-ipv6", "true"), ("enable-wireguard", "true")];
    assert_eq!(alone(&with_keys(east(), &ipv6), "CM355").verdict, Verdict::Pass);
    let narrow = took(with_keys(east(), &ipv6), "east-n1", 1400, 1255);
    let found = alone(&narrow, "CM355");
    assert_eq!(found.verdict, Verdict::Fail);
    assert_eq!(
        found.found,
        "1255 bytes are left of 1400 (tunnel 50, WireGuard 95) on east-n1"
    );
    assert_eq!(alone(&east(), "CM355").verdict, Verdict::Skip);
    assert_eq!(
        alone(&blind(with_keys(east(), &ipv6)), "CM355").verdict,
        Verdict::Unknown
    );
    // With an IPsec key that is not known the bytes lie in a span.
    let ipsec = with_keys(east(), &[("enable-ipv6", "true"), ("enable-ipsec", "true")]);
    assert_eq!(
        alone(&took(ipsec, "east-n1", 1420, 1293), "CM355").verdict,
        Verdict::Unknown
    );
}

#[test]
fn a_narrow_route_to_the_other_cluster() {
    let west = with_agents(cilium("west", 2));
    let pair = |east: ClusterFacts| findings(&report(Clustermesh, &[east, west.clone()]), "CM356")[0].clone();
    assert_eq!(pair(east()).verdict, Verdict::Pass);
    let mut narrow = east();
    let kernel = kernel_mut(&mut narrow, "east-n1");
    let mut route = kernel.routes.get().expect("routes")[0].clone();
    "172.31.2.0/24".clone_into(&mut route.destination);
    route.mtu = Some(1400);
    value_mut(&mut kernel.routes).push(route);
    let found = pair(narrow);
    assert_eq!(
        (found.verdict, found.found.as_str()),
        (Verdict::Warn, "a route of MTU 1400 below a base of 1500 on east-n1")
    );
    assert_eq!(pair(blind(east())).verdict, Verdict::Unknown);
    assert_eq!(alone(&east(), "CM356").verdict, Verdict::Skip);
    let mut settings_only = east();
    set_sysctl(
        kernel_mut(&mut settings_only, "east-n1"),
        "net.ipv4.tcp_mtu_probing",
        "1",
    );
    assert_eq!(pair(settings_only).verdict, Verdict::Pass);
}
