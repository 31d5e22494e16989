use crate::facts::ClusterFacts;
use crate::facts::kernel::{Link, Route, Rule};
use crate::facts::provenance::{Fact, Reason};
use crate::profile::Profile::Clustermesh;
use crate::report::{Finding, Verdict};
use crate::samples::{
    cilium, cluster, findings, kernel_mut, report, set_cilium_key, set_sysctl, value_mut, with_agents,
};

fn alone(facts: &ClusterFacts, code: &str) -> Finding {
    findings(&report(Clustermesh, std::slice::from_ref(facts)), code)[0].clone()
}

fn east() -> ClusterFacts {
    with_agents(cilium("east", 1))
}

fn add_route(facts: &mut ClusterFacts, table: u32, link: &str) {
    value_mut(&mut kernel_mut(facts, "east-n1").routes).push(Route {
        destination: "0.0.0.0/0".to_owned(),
        table,
        link: link.to_owned(),
        ..Route::default()
    });
}

fn add_rule(facts: &mut ClusterFacts, table: u32, mark: Option<u32>) {
    value_mut(&mut kernel_mut(facts, "east-n1").rules).push(Rule {
        priority: 9,
        table,
        mark,
        ..Rule::default()
    });
}

#[test]
fn tables_that_cilium_takes_over() {
    let mut facts = east();
    add_route(&mut facts, 2004, "lo");
    add_route(&mut facts, 2005, "cilium_host");
    add_rule(&mut facts, 2004, Some(0x200));
    assert_eq!(alone(&facts, "CM925").verdict, Verdict::Pass);
    add_route(&mut facts, 200, "eth1");
    let found = alone(&facts, "CM925");
    assert_eq!(
        (found.verdict, found.found.as_str()),
        (Verdict::Warn, "table 200 is in use on east-n1")
    );
    set_cilium_key(&mut facts, "enable-ipsec", Some("true"));
    assert_eq!(alone(&facts, "CM925").verdict, Verdict::Pass);
    add_rule(&mut facts, 202, None);
    assert_eq!(alone(&facts, "CM925").found, "table 202 is in use on east-n1");
    let mut blind = east();
    kernel_mut(&mut blind, "east-n1").rules = Fact::unknown(Reason::Forbidden, "list rules: not permitted");
    assert_eq!(alone(&blind, "CM925").verdict, Verdict::Unknown);
    assert_eq!(alone(&with_agents(cluster("east", 1)), "CM925").verdict, Verdict::Skip);
}

#[test]
fn forwarding_of_the_families_in_use() {
    assert_eq!(alone(&east(), "CM926").verdict, Verdict::Pass);
    let mut off = east();
    set_sysctl(kernel_mut(&mut off, "east-n2"), "net.ipv4.ip_forward", "0");
    assert_eq!(alone(&off, "CM926").found, "net.ipv4.ip_forward=0 on east-n2");
    let mut ipv6 = east();
    set_sysctl(kernel_mut(&mut ipv6, "east-n2"), "net.ipv6.conf.all.forwarding", "0");
    assert_eq!(alone(&ipv6, "CM926").verdict, Verdict::Pass);
    set_cilium_key(&mut ipv6, "enable-ipv6", Some("true"));
    assert_eq!(alone(&ipv6, "CM926").verdict, Verdict::Warn);
    let mut unread = east();
    value_mut(&mut kernel_mut(&mut unread, "east-n1").sysctls).remove("net.ipv4.ip_forward");
    assert_eq!(alone(&unread, "CM926").verdict, Verdict::Unknown);
    assert_eq!(alone(&with_agents(cluster("east", 1)), "CM926").verdict, Verdict::Skip);
}

/// As Red Hat sets it: strict on every link.
#[test]
fn a_strict_filter_does_harm_only_with_several_ways_out() {
    let mut facts = east();
    set_cilium_key(&mut facts, "routing-mode", Some("native"));
    for node in ["east-n1", "east-n2"] {
        set_sysctl(kernel_mut(&mut facts, node), "net.ipv4.conf.eth0.rp_filter", "1");
    }
    assert_eq!(alone(&facts, "CM926").verdict, Verdict::Pass);
    let kernel = kernel_mut(&mut facts, "east-n1");
    value_mut(&mut kernel.links).push(Link {
        name: "eth1".to_owned(),
        up: true,
        mtu: 1500,
        ..Link::default()
    });
    let mut route = kernel.routes.get().expect("routes")[0].clone();
    "10.0.0.0/8".clone_into(&mut route.destination);
    "eth1".clone_into(&mut route.link);
    value_mut(&mut kernel.routes).push(route);
    set_sysctl(kernel, "net.ipv4.conf.eth1.rp_filter", "2");
    assert_eq!(
        alone(&facts, "CM926").found,
        "strict reverse-path filter of eth0 on east-n1"
    );
    // Loose for all is loose on each: the larger counts.
    set_sysctl(kernel_mut(&mut facts, "east-n1"), "net.ipv4.conf.all.rp_filter", "2");
    assert_eq!(alone(&facts, "CM926").verdict, Verdict::Pass);
}
