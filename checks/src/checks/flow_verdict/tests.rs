//! Which links of a node are named where it drops whatever arrives.

use crate::engine::judge_observed;
use crate::facts::ClusterFacts;
use crate::facts::kernel::{ChosenRoute, Link, NodeFacts, PathTo};
use crate::facts::provenance::{Fact, Source, Unknown};
use crate::intent::Intent;
use crate::observation::{Heard, ProbeResult};
use crate::policy::Probe;
use crate::profile::Profile::Clustermesh;
use crate::report::Finding;

use crate::samples::network::{ends, observe, plan, probing, silence};
use crate::samples::{cilium, findings, value_mut, with_agents};

/// Everything that is sent to `west-n2` arrives at its card and no further. It answers by `eth0`, and has a second card with this reverse-path
/// filter; `change` changes what its kernel says.
fn dropped_at_west_n2(filter: &str, change: impl Fn(&mut NodeFacts)) -> Finding {
    dropped(filter, change, |_, to, _| to == "west-n2")
}

fn dropped(filter: &str, change: impl Fn(&mut NodeFacts), drops: fn(&str, &str, &str) -> bool) -> Finding {
    let mut facts = [cilium("east", 1), cilium("west", 2)].map(with_agents);
    let senders: Vec<_> = plan_of(&facts)
        .agents
        .into_iter()
        .flat_map(|agent| agent.addresses)
        .collect();
    let node = facts[1]
        .node_facts
        .iter_mut()
        .find(|kernel| kernel.node == "west-n2")
        .unwrap();
    value_mut(&mut node.links).push(Link {
        index: 9,
        name: "eth1".to_owned(),
        mtu: 1500,
        up: true,
        ..Link::default()
    });
    value_mut(&mut node.sysctls).insert("net.ipv4.conf.eth1.rp_filter".to_owned(), filter.to_owned());
    let by = |link: &str| ChosenRoute {
        link: link.to_owned(),
        link_mtu: 1500,
        ..ChosenRoute::default()
    };
    let paths = senders.into_iter().map(|to| PathTo {
        to,
        route: Fact::known(by("eth0"), Source::read("node west-n2", "ip route get")),
    });
    node.paths = paths.collect();
    change(node);
    let mut seen = observe(plan_of(&facts));
    for (probe, result) in seen.plan.probes.iter().zip(&mut seen.results) {
        let (from, to, what) = ends(&seen.plan, probe);
        if drops(&from, &to, &what) {
            arrive_at_the_card(result);
        }
    }
    let policy = probing(Clustermesh, Probe::Full);
    let report = judge_observed(&facts, Some(&seen), &Intent::default(), &policy);
    findings(&report, "CM501")[0].clone()
}

fn plan_of(facts: &[ClusterFacts]) -> crate::plan::Plan {
    plan(facts, &Intent::default(), &probing(Clustermesh, Probe::Full))
}

fn arrive_at_the_card(result: &mut ProbeResult) {
    silence(result);
    if let Some(heard) = &mut result.heard {
        *heard = Ok(Heard {
            captured: Some(12),
            ..Heard::default()
        });
    }
}

#[test]
fn a_strict_filter_on_a_link_by_which_the_node_does_not_answer_is_named() {
    let finding = dropped_at_west_n2("1", |_| {});
    assert!(
        finding
            .found
            .contains("west/west-n2: arrives at the node and is dropped there: rp_filter is strict on eth1"),
        "{}",
        finding.found
    );
    assert!(
        finding.remedy.contains("net.ipv4.conf.eth1.rp_filter=2"),
        "{}",
        finding.remedy
    );
}

#[test]
fn the_filter_of_all_links_counts_where_it_is_larger_than_the_links_own() {
    let strict = |kernel: &mut NodeFacts| {
        value_mut(&mut kernel.sysctls).insert("net.ipv4.conf.all.rp_filter".to_owned(), "1".to_owned());
    };
    assert!(
        dropped_at_west_n2("0", strict)
            .found
            .contains("rp_filter is strict on eth1")
    );
    assert!(
        !dropped_at_west_n2("2", strict).found.contains("rp_filter"),
        "2 is loose, and larger"
    );
}

/// What is not known, or fits something else, is no reverse-path filter: the remedy then speaks of the node's firewall as well.
#[track_caller]
fn assert_not_named(finding: &Finding) {
    assert!(finding.found.contains("dropped there"), "{}", finding.found);
    assert!(!finding.found.contains("rp_filter is strict"), "{}", finding.found);
}

#[test]
fn a_filter_that_is_off_or_loose_is_not_named() {
    for filter in ["0", "2"] {
        assert_not_named(&dropped_at_west_n2(filter, |_| {}));
    }
}

#[test]
fn the_link_by_which_the_node_answers_may_be_strict() {
    assert_not_named(&dropped_at_west_n2("0", |kernel| {
        value_mut(&mut kernel.sysctls).insert("net.ipv4.conf.eth0.rp_filter".to_owned(), "1".to_owned());
    }));
}

#[test]
fn links_that_are_down_or_made_by_software_take_nothing_in() {
    assert_not_named(&dropped_at_west_n2("1", |kernel| {
        value_mut(&mut kernel.links).last_mut().unwrap().up = false;
    }));
    assert_not_named(&dropped_at_west_n2("1", |kernel| {
        value_mut(&mut kernel.links).last_mut().unwrap().kind = "vxlan".to_owned();
    }));
}

#[test]
fn without_the_way_back_or_the_setting_nothing_is_claimed() {
    assert_not_named(&dropped_at_west_n2("1", |kernel| kernel.paths.clear()));
    assert_not_named(&dropped_at_west_n2("1", |kernel| {
        for path in &mut kernel.paths {
            path.route = Fact::Unknown(Unknown::not_found("no route"));
        }
    }));
    assert_not_named(&dropped_at_west_n2("1", |kernel| {
        kernel.sysctls = Fact::Unknown(Unknown::not_found("not read"));
    }));
}

#[test]
fn a_single_port_that_is_dropped_is_the_nodes_firewall() {
    assert_not_named(&dropped(
        "1",
        |_| {},
        |_, to, what| to == "west-n2" && what == "UDP 8472",
    ));
}
