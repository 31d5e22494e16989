use std::collections::BTreeSet;

use crate::facts::ClusterFacts;
use crate::facts::kernel::NetworkView;
use crate::facts::provenance::Reason;
use crate::intent::Intent;
use crate::plan::{Plan, PlannedProbe, ProbeKind, SPARE_UDP_PORT, Service};
use crate::policy::Probe;
use crate::profile::Profile::{Clustermesh, Submariner};
use crate::samples::network::{agents, plan, plan_for, probing};
use crate::samples::{cilium, flannel, set_cilium_key, with_agents};

fn pair() -> [ClusterFacts; 2] {
    [cilium("east", 1), cilium("west", 2)]
}

fn of<'p>(plan: &'p Plan, code: &str) -> Vec<&'p PlannedProbe> {
    plan.probes
        .iter()
        .filter(|probe| probe.codes.iter().any(|own| own == code))
        .collect()
}

fn cover(facts: &[ClusterFacts]) -> Plan {
    plan(facts, &Intent::default(), &probing(Clustermesh, Probe::Cover))
}

#[test]
fn every_node_sends_and_receives_on_the_ports_that_the_clusters_use() {
    let mut facts = pair();
    set_cilium_key(&mut facts[1], "tunnel-port", Some("8473"));
    let plan = cover(&facts);
    let tunnel = of(&plan, "CM501");
    assert_eq!(tunnel.len(), 4);
    for probe in &tunnel {
        let port = if probe.to.cluster == "west" { 8473 } else { 8472 };
        assert_eq!(probe.kind, ProbeKind::Udp { port });
        let listener = &plan.listeners[probe.listener.unwrap() as usize];
        assert_eq!(Some(listener.agent), probe.to.agent);
        assert_eq!(
            (listener.service, Some(listener.address)),
            (Service::Udp(port), probe.to.address)
        );
    }
    let senders: BTreeSet<u32> = tunnel.iter().map(|probe| probe.from).collect();
    let receivers: BTreeSet<_> = tunnel.iter().map(|probe| probe.to.agent).collect();
    assert_eq!((senders.len(), receivers.len()), (4, 4));
    assert!(plan.gaps.is_empty(), "{:?}", plan.gaps);
}

#[test]
fn the_control_plane_is_dialled_from_pods_and_the_tunnel_from_nodes() {
    let plan = cover(&pair());
    let network = |code: &str| -> BTreeSet<NetworkView> {
        of(&plan, code)
            .iter()
            .map(|probe| plan.agents[probe.from as usize].network)
            .collect()
    };
    assert_eq!(network("CM505"), BTreeSet::from([NetworkView::Pod]));
    assert_eq!(network("CM501"), BTreeSet::from([NetworkView::Host]));
    assert!(
        of(&plan, "CM505")
            .iter()
            .all(|probe| probe.kind == ProbeKind::Tcp { port: 32379, tls: true })
    );
}

#[test]
fn the_same_seed_gives_the_same_plan_and_the_next_another_pairing() {
    let facts = pair();
    assert_eq!(cover(&facts), cover(&facts));
}

#[test]
fn a_node_without_an_agent_is_a_gap_not_a_hole() {
    let (facts, intent, policy) = (pair(), Intent::default(), probing(Clustermesh, Probe::Cover));
    let mut agents = agents(&facts);
    agents.retain(|agent| agent.node != "west-n2");
    let plan = plan_for(&facts, &intent, &policy, &agents);
    let gaps: Vec<_> = plan.gaps.iter().filter(|gap| gap.code == "CM501").collect();
    assert!(!gaps.is_empty());
    assert!(
        gaps.iter()
            .all(|gap| gap.why.reason == Reason::NoAgent && gap.nodes == ["west-n2"]),
        "{gaps:?}"
    );
}

#[test]
fn without_an_agent_in_the_pod_network_what_starts_there_is_open() {
    let (facts, intent, policy) = (pair(), Intent::default(), probing(Clustermesh, Probe::Cover));
    let mut agents = agents(&facts);
    agents.retain(|agent| agent.network == NetworkView::Host);
    let plan = plan_for(&facts, &intent, &policy, &agents);
    assert!(of(&plan, "CM505").is_empty());
    assert!(plan.gaps.iter().any(|gap| gap.code == "CM505"));
}

#[test]
fn the_path_mtu_is_measured_on_the_tunnel_port_only_where_nothing_holds_it() {
    let ports = |facts: &[ClusterFacts]| -> BTreeSet<u16> {
        of(&cover(facts), "CM508")
            .iter()
            .map(|probe| match probe.kind {
                ProbeKind::PathMtu { port, .. } => port,
                _ => 0,
            })
            .collect()
    };
    assert_eq!(ports(&pair()), BTreeSet::from([SPARE_UDP_PORT]));
    let known = pair().map(with_agents);
    assert_eq!(ports(&known).len(), 1);
}

#[test]
fn submariner_is_proven_between_gateways_and_from_nodes_to_their_own() {
    let facts = [flannel("east", 1), flannel("west", 2)];
    let plan = plan(&facts, &Intent::default(), &probing(Submariner, Probe::Cover));
    assert!(
        of(&plan, "SM501")
            .iter()
            .all(|probe| probe.kind == ProbeKind::Udp { port: 4500 })
    );
    assert!(
        of(&plan, "SM503")
            .iter()
            .all(|probe| probe.kind == ProbeKind::IpProtocol { number: 50 })
    );
    for probe in of(&plan, "SM504") {
        assert_eq!(plan.agents[probe.from as usize].cluster, probe.to.cluster);
    }
    assert!(!of(&plan, "SM504").is_empty());
}

#[test]
fn what_two_profiles_need_is_sent_once() {
    let facts = pair();
    let mut policy = probing(Clustermesh, Probe::Cover);
    let one = plan(&facts, &Intent::default(), &policy).probes.len();
    policy.profiles = vec![Clustermesh, Clustermesh];
    assert_eq!(plan(&facts, &Intent::default(), &policy).probes.len(), one);
}

#[test]
fn what_is_not_asked_is_not_planned() {
    let facts = pair();
    let none = plan(&facts, &Intent::default(), &probing(Clustermesh, Probe::None));
    assert_eq!((none.probes.len(), none.listeners.len()), (0, 0));
    let mut policy = probing(Clustermesh, Probe::Cover);
    policy.only = vec!["CM501".to_owned()];
    let only = plan(&facts, &Intent::default(), &policy);
    assert!(only.probes.iter().all(|probe| probe.codes == ["CM501"]));
}
