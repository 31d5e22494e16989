use super::super::support::{alone, joined, planned, ready, refused, verdict};
use crate::facts::ClusterFacts;
use crate::facts::cni::PluginKind;
use crate::facts::kernel::{ChosenRoute, LinkAddress, PathTo, Route, Rule};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::report::Verdict;
use crate::samples::{kernel_mut, link_mut, value_mut};

/// What the gateway's kernel answers for 8.8.8.8.
fn answered(mut facts: ClusterFacts, route: Fact<ChosenRoute>) -> ClusterFacts {
    kernel_mut(&mut facts, "east-n2").paths.push(PathTo {
        to: super::OUTSIDE,
        route,
    });
    facts
}

fn from(source: [u8; 4]) -> Fact<ChosenRoute> {
    let chosen = ChosenRoute {
        link: "eth0".to_owned(),
        source: Some(source.into()),
        ..ChosenRoute::default()
    };
    Fact::known(chosen, Source::read("node", "ip route get 8.8.8.8"))
}

fn without_default(mut facts: ClusterFacts, node: &str) -> ClusterFacts {
    value_mut(&mut kernel_mut(&mut facts, node).routes).retain(|route| route.destination != "0.0.0.0/0");
    facts
}

#[test]
fn gateways_need_a_route_outside() {
    assert_eq!(verdict(&ready(), "SM440"), Verdict::Pass);
    assert_eq!(
        verdict(&answered(ready(), from([172, 31, 1, 12])), "SM440"),
        Verdict::Pass
    );
    let none = alone(&without_default(ready(), "east-n2"), "SM440");
    assert_eq!(
        (none.verdict, none.subject.nodes),
        (Verdict::Fail, vec!["east-n2".to_owned()])
    );
    let unreachable = answered(ready(), Fact::unknown(Reason::NotFound, "no route"));
    assert_eq!(verdict(&unreachable, "SM440"), Verdict::Fail);
    // Only gateways open that socket.
    assert_eq!(verdict(&without_default(ready(), "east-n1"), "SM440"), Verdict::Pass);
    assert_eq!(
        verdict(&refused(ready(), |kernel| &mut kernel.routes), "SM440"),
        Verdict::Unknown
    );
}

#[test]
fn a_blackhole_is_no_route_and_policy_routing_is_the_kernels_to_know() {
    let mut hole = without_default(ready(), "east-n2");
    value_mut(&mut kernel_mut(&mut hole, "east-n2").routes).push(Route {
        destination: "0.0.0.0/0".to_owned(),
        table: 254,
        kind: "unreachable".to_owned(),
        ..Route::default()
    });
    assert_eq!(verdict(&hole, "SM440"), Verdict::Fail);
    let mut by_rule = without_default(ready(), "east-n2");
    value_mut(&mut kernel_mut(&mut by_rule, "east-n2").rules).push(Rule {
        priority: 100,
        table: 7,
        ..Rule::default()
    });
    assert_eq!(verdict(&by_rule, "SM440"), Verdict::Unknown);
}

#[test]
fn a_gateways_own_address_is_its_internal_one() {
    assert_eq!(verdict(&ready(), "SM441"), Verdict::Pass);
    let other = alone(&answered(ready(), from([10, 9, 0, 4])), "SM441");
    assert_eq!(
        (other.verdict, other.found.as_str()),
        (Verdict::Warn, "10.9.0.4 instead of 172.31.1.12 on east-n2")
    );
    assert_eq!(verdict(&without_default(ready(), "east-n2"), "SM441"), Verdict::Skip);
    assert_eq!(
        verdict(&refused(ready(), |kernel| &mut kernel.routes), "SM441"),
        Verdict::Unknown
    );
}

#[test]
fn every_node_needs_a_default_route_over_one_device() {
    assert_eq!(verdict(&ready(), "SM442"), Verdict::Pass);
    assert_eq!(
        alone(&without_default(ready(), "east-n1"), "SM442").found,
        "no IPv4 default route on east-n1"
    );
    let mut multipath = ready();
    let route = &mut value_mut(&mut kernel_mut(&mut multipath, "east-n1").routes)[0];
    route.link.clear();
    route.next_hops = 2;
    assert_eq!(verdict(&multipath, "SM442"), Verdict::Fail);
    let mut bare = ready();
    link_mut(kernel_mut(&mut bare, "east-n1"), "eth0").addresses.clear();
    assert_eq!(verdict(&bare, "SM442"), Verdict::Fail);
    value_mut(&mut bare.cni.plugins)[0].kind = PluginKind::OvnKubernetes;
    assert_eq!(verdict(&bare, "SM442"), Verdict::Pass);
    assert_eq!(
        verdict(&refused(ready(), |kernel| &mut kernel.routes), "SM442"),
        Verdict::Unknown
    );
}

#[test]
fn a_virtual_address_before_the_published_one() {
    let with_virtual = |mut facts: ClusterFacts| {
        let address = LinkAddress {
            ip: [172, 31, 1, 100].into(),
            prefix_len: 32,
            scope: "global".to_owned(),
            secondary: false,
        };
        link_mut(kernel_mut(&mut facts, "east-n2"), "eth0")
            .addresses
            .insert(0, address);
        facts
    };
    for facts in [ready(), joined()] {
        assert_eq!(verdict(&facts, "SM443"), Verdict::Pass);
        let found = alone(&with_virtual(facts), "SM443");
        assert_eq!(found.verdict, Verdict::Fail);
        assert_eq!(
            found.found,
            "172.31.1.100 is first on eth0, 172.31.1.12 is published on east-n2"
        );
    }
    let mut single = ready();
    value_mut(&mut single.nodes).remove(0);
    assert_eq!(verdict(&single, "SM443"), Verdict::Skip);
    assert_eq!(
        verdict(&refused(ready(), |kernel| &mut kernel.links), "SM443"),
        Verdict::Unknown
    );
}

#[test]
fn tables_that_submariner_will_use() {
    assert_eq!(verdict(&ready(), "SM474"), Verdict::Pass);
    let mut used = ready();
    value_mut(&mut kernel_mut(&mut used, "east-n2").rules).push(Rule {
        priority: 100,
        table: 150,
        ..Rule::default()
    });
    assert_eq!(alone(&used, "SM474").found, "150 is in use on east-n2");
    let with_cable = planned(&used, "SM474", |plan| plan.cable_driver = Some("vxlan".to_owned()));
    assert_eq!(with_cable.found, "100, 150 is in use on east-n2");
    assert_eq!(verdict(&joined(), "SM474"), Verdict::Skip);
    assert_eq!(
        verdict(&refused(ready(), |kernel| &mut kernel.rules), "SM474"),
        Verdict::Unknown
    );
}
