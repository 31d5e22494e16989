use std::collections::BTreeMap;

use super::*;
use crate::intent::Intent;
use crate::outcome::State;
use crate::profile::Profile::Submariner;
use crate::samples::{cluster, kernel_mut, policy, with_agents};

const ADVICE: (&str, &str) = ("forwarding on", "turn it on");

/// Judges `ip_forward` on every node, with and without agents asked for.
fn forwarding(facts: &crate::facts::ClusterFacts, probe: Probe) -> Result<Outcome, NoVerdict> {
    let clusters = [Cluster::new(0, facts)];
    let intent = Intent::default();
    let mut policy = policy(Submariner);
    policy.probe = probe;
    let audit = Audit::new(Submariner, &clusters, &intent, &policy);
    asked(&audit, &clusters[0], || {
        judge(&audit, &clusters[0], nodes(&clusters[0])?, ADVICE, |on| {
            Ok(match on.sysctl("net.ipv4.ip_forward")? {
                "1" => Seen::fine("on"),
                "2" => Seen::fault_as(Severity::Info, "odd"),
                _ => Seen::fault("off").evidence(on.sysctl_evidence("net.ipv4.ip_forward")),
            })
        })
    })
}

fn set(facts: &mut crate::facts::ClusterFacts, node: &str, value: &str) {
    crate::samples::set_sysctl(kernel_mut(facts, node), "net.ipv4.ip_forward", value);
}

fn reason(outcome: &Outcome) -> Reason {
    match &outcome.state {
        State::NoVerdict(NoVerdict::Missing(why)) => why.reason,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn holds_only_where_every_node_says_so() {
    let mut facts = with_agents(cluster("east", 1));
    let outcome = forwarding(&facts, Probe::Cover).expect("a verdict");
    assert_eq!(
        (outcome.state, outcome.found.as_str()),
        (State::Holds, "on on east-n1, east-n2")
    );
    facts.node_facts.pop();
    let outcome = forwarding(&facts, Probe::Cover).expect("an outcome");
    assert_eq!(
        (reason(&outcome), outcome.nodes.clone()),
        (Reason::NoAgent, vec!["east-n2".to_owned()])
    );
    assert_eq!(
        outcome.cause.as_deref(),
        Some("no agent is there to read the node's kernel")
    );
}

#[test]
fn broken_on_one_node_is_broken_and_says_how_many_are_open() {
    let mut facts = with_agents(cluster("east", 1));
    set(&mut facts, "east-n2", "0");
    let outcome = forwarding(&facts, Probe::Cover).expect("a verdict");
    assert_eq!(
        (&outcome.state, outcome.found.as_str()),
        (&State::Broken, "off on east-n2")
    );
    assert_eq!(
        (outcome.nodes, outcome.remedy.as_str()),
        (vec!["east-n2".to_owned()], "turn it on")
    );
    assert_eq!(outcome.evidence[0].source.field, "net.ipv4.ip_forward");
    facts.node_facts.remove(0);
    let outcome = forwarding(&facts, Probe::Cover).expect("a verdict");
    assert_eq!(outcome.found, "off on east-n2; not known of 1 more");
}

#[test]
fn the_same_fault_on_many_nodes_is_one_outcome() {
    let mut facts = with_agents(cluster("east", 1));
    set(&mut facts, "east-n1", "0");
    set(&mut facts, "east-n2", "0");
    assert_eq!(
        forwarding(&facts, Probe::Cover).expect("a verdict").found,
        "off on east-n1, east-n2"
    );
}

#[test]
fn what_is_only_recorded_does_not_hide_a_node_without_an_agent() {
    let mut facts = with_agents(cluster("east", 1));
    set(&mut facts, "east-n1", "2");
    let outcome = forwarding(&facts, Probe::Cover).expect("a verdict");
    assert_eq!(outcome.state, State::BrokenAs(Severity::Info));
    facts.node_facts.pop();
    assert_eq!(
        reason(&forwarding(&facts, Probe::Cover).expect("an outcome")),
        Reason::NoAgent
    );
}

#[test]
fn a_refused_fact_is_unknown_for_that_reason() {
    let mut facts = with_agents(cluster("east", 1));
    kernel_mut(&mut facts, "east-n1").sysctls = Fact::unknown(Reason::Forbidden, "read /proc/sys: permission denied");
    assert_eq!(
        reason(&forwarding(&facts, Probe::Cover).expect("an outcome")),
        Reason::Forbidden
    );
    let facts = {
        let mut facts = with_agents(cluster("east", 1));
        for kernel in &mut facts.node_facts {
            kernel.sysctls = Fact::known(BTreeMap::new(), Source::read("node", "/proc/sys"));
        }
        facts
    };
    assert_eq!(
        reason(&forwarding(&facts, Probe::Cover).expect("an outcome")),
        Reason::NotFound
    );
}

#[test]
fn without_agents_it_is_unknown_unless_none_were_asked_for() {
    let facts = cluster("east", 1);
    let outcome = forwarding(&facts, Probe::Cover).expect("an outcome");
    assert_eq!((reason(&outcome), outcome.nodes.len()), (Reason::NoAgent, 0));
    let why = forwarding(&facts, Probe::None).expect_err("no verdict");
    assert!(matches!(why, NoVerdict::Missing(why) if why.reason == Reason::NotAsked));
    let mut half = with_agents(facts);
    half.node_facts.pop();
    assert_eq!(
        reason(&forwarding(&half, Probe::None).expect("an outcome")),
        Reason::NoAgent
    );
}

#[test]
fn an_agent_in_a_pods_network_knows_nothing_of_the_node() {
    let mut facts = with_agents(cluster("east", 1));
    for kernel in &mut facts.node_facts {
        kernel.network = Fact::known(NetworkView::Pod, Source::read("node", ""));
    }
    assert_eq!(
        reason(&forwarding(&facts, Probe::Cover).expect("an outcome")),
        Reason::NoAgent
    );
}

#[test]
fn windows_nodes_are_left_out() {
    let mut facts = with_agents(cluster("east", 1));
    "windows".clone_into(&mut crate::samples::value_mut(&mut facts.nodes)[1].os);
    facts.node_facts.pop();
    assert_eq!(
        forwarding(&facts, Probe::Cover).expect("a verdict").found,
        "on on east-n1"
    );
}

mod links {
    use super::*;
    use crate::facts::kernel::{Link, Route};
    use crate::samples::{flannel, link_mut, value_mut};

    fn on_first_node<T>(facts: &crate::facts::ClusterFacts, look: impl FnOnce(&OnNode<'_>) -> T) -> T {
        let clusters = [Cluster::new(0, facts)];
        let all = read(&clusters[0], nodes(&clusters[0]).expect("nodes"));
        look(all[0].1.as_ref().expect("an agent"))
    }

    #[test]
    fn the_uplink_has_the_nodes_address() {
        let mut facts = with_agents(flannel("east", 1));
        assert_eq!(
            on_first_node(&facts, |on| on.uplink().expect("one").name.clone()),
            "eth0"
        );
        // A bond, a VLAN or the bridge of OVN carries it in its stead.
        for name in ["bond0", "bond0.120", "br-ex"] {
            let mut other = facts.clone();
            name.clone_into(&mut link_mut(kernel_mut(&mut other, "east-n1"), "eth0").name);
            assert_eq!(on_first_node(&other, |on| on.uplink().expect("one").name.clone()), name);
        }
        // An address on a dummy link, which routers are told of: the default route's link it is.
        let kernel = kernel_mut(&mut facts, "east-n1");
        let address = link_mut(kernel, "eth0").addresses.remove(0);
        value_mut(&mut kernel.links).push(Link {
            name: "node-ip".to_owned(),
            kind: "dummy".to_owned(),
            addresses: vec![address],
            ..Link::default()
        });
        assert_eq!(
            on_first_node(&facts, |on| on.uplink().expect("one").name.clone()),
            "eth0"
        );
        value_mut(&mut kernel_mut(&mut facts, "east-n1").routes).clear();
        assert_eq!(
            on_first_node(&facts, |on| on.uplink().expect_err("none").reason),
            Reason::NotFound
        );
    }

    #[test]
    fn devices_of_products_lead_nowhere() {
        let mut facts = with_agents(flannel("east", 1));
        let kernel = kernel_mut(&mut facts, "east-n1");
        let via = |link: &str| Route {
            destination: "10.9.0.0/16".to_owned(),
            table: 254,
            gateway: Some([10, 9, 0, 1].into()),
            link: link.to_owned(),
            ..Route::default()
        };
        value_mut(&mut kernel.routes).push(via("flannel.1"));
        assert_eq!(on_first_node(&facts, |on| on.ways_out().expect("some").len()), 1);
        let kernel = kernel_mut(&mut facts, "east-n1");
        value_mut(&mut kernel.links).push(Link {
            name: "ens7".to_owned(),
            up: true,
            ..Link::default()
        });
        value_mut(&mut kernel.routes).push(via("ens7"));
        let ways: Vec<String> = on_first_node(&facts, |on| {
            on.ways_out().expect("some").into_iter().map(str::to_owned).collect()
        });
        assert_eq!(ways, ["ens7", "eth0"]);
    }

    #[test]
    fn a_dot_in_a_links_name_is_a_slash_in_its_settings() {
        assert_eq!(per_link_name("bond0.120"), "net.ipv4.conf.bond0/120.rp_filter");
    }

    fn per_link_name(link: &str) -> String {
        network::per_link(link, "rp_filter")
    }
}
