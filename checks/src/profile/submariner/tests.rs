use super::*;
use crate::engine::judge;
use crate::facts::ClusterFacts;
use crate::facts::provenance::Fact;
use crate::facts::submariner::RangeEntry;
use crate::intent::Intent;
use crate::profile::Profile;
use crate::samples::{flannel, hold_broker, policy, submariner, submariner_mut, turn_globalnet_on, value_mut};

/// What the mesh of these clusters says.
fn ask<T>(facts: &[ClusterFacts], plan: SubmarinerPlan, question: impl FnOnce(&Mesh<'_>, &[Cluster<'_>]) -> T) -> T {
    let clusters: Vec<Cluster<'_>> = facts
        .iter()
        .enumerate()
        .map(|(id, facts)| Cluster::new(id, facts))
        .collect();
    let intent = Intent {
        submariner: plan,
        ..Intent::default()
    };
    let policy = policy(Profile::Submariner);
    let audit = Audit::new(Profile::Submariner, &clusters, &intent, &policy);
    question(&Mesh::of(&audit), &clusters)
}

/// Members of which the first holds the broker.
fn with_broker(members: &[(&str, u8)]) -> Vec<ClusterFacts> {
    let mut facts = submariner(members);
    hold_broker(&mut facts[0]);
    facts
}

fn plan(change: impl FnOnce(&mut SubmarinerPlan)) -> SubmarinerPlan {
    let mut plan = SubmarinerPlan::default();
    change(&mut plan);
    plan
}

fn blocks(ranges: Result<Vec<Range>, Unknown>) -> Vec<String> {
    ranges.unwrap().iter().map(|range| range.cidr.to_string()).collect()
}

#[test]
fn a_join_without_a_plan_is_one_without_globalnet_named_after_the_kubeconfig() {
    ask(&[flannel("East_1", 1)], SubmarinerPlan::default(), |mesh, clusters| {
        assert!(!mesh.globalnet(&clusters[0]).unwrap().value);
        assert_eq!(mesh.cluster_id(&clusters[0]).unwrap().value, "east-1");
        assert!(mesh.global_space(&clusters[0]).unwrap().is_empty());
        assert_eq!(mesh.cable_driver(&clusters[0]).unwrap().value, "libreswan");
    });
}

#[test]
fn with_planned_globalnet_addresses_come_from_anywhere_in_the_range() {
    let plan = plan(|plan| plan.globalnet = Some(true));
    ask(&[flannel("east", 1)], plan, |mesh, clusters| {
        assert!(mesh.global_cidrs(&clusters[0]).unwrap().is_empty());
        assert_eq!(blocks(mesh.global_space(&clusters[0])), ["242.0.0.0/8"]);
        assert_eq!(blocks(mesh.advertised(&clusters[0])), ["242.0.0.0/8"]);
    });
}

#[test]
fn the_brokers_config_map_outranks_plan_and_broker_object() {
    let mut facts = with_broker(&[("east", 1), ("west", 2)]);
    value_mut(&mut submariner_mut(&mut facts[0]).broker).globalnet_enabled = Some(true);
    facts.push(flannel("north", 3));
    ask(&facts, plan(|plan| plan.globalnet = Some(true)), |mesh, clusters| {
        let decision = mesh.globalnet(&clusters[2]).unwrap();
        assert!(!decision.value);
        assert_eq!(
            decision.source.object,
            "ConfigMap submariner-k8s-broker/submariner-globalnet-info"
        );
    });
}

#[test]
fn an_unreadable_config_map_leaves_globalnet_unknown_unless_planned() {
    let mut facts = with_broker(&[("east", 1)]);
    submariner_mut(&mut facts[0]).globalnet_info =
        Fact::unknown(Reason::Forbidden, "list configmaps in submariner-k8s-broker: forbidden");
    facts.push(flannel("north", 3));
    ask(&facts, SubmarinerPlan::default(), |mesh, clusters| {
        assert_eq!(mesh.globalnet(&clusters[1]).unwrap_err().reason, Reason::Forbidden);
        assert!(mesh.globalnet_range().is_err());
    });
    ask(&facts, plan(|plan| plan.globalnet = Some(true)), |mesh, clusters| {
        assert!(mesh.globalnet(&clusters[1]).unwrap().value);
    });
}

#[test]
fn members_show_what_a_broker_elsewhere_gives() {
    let mut members = submariner(&[("east", 1), ("west", 2)]);
    turn_globalnet_on(&mut members);
    let facts = [members.remove(1), flannel("north", 3)];
    ask(&facts, SubmarinerPlan::default(), |mesh, clusters| {
        assert!(mesh.globalnet(&clusters[1]).unwrap().value);
        assert_eq!(blocks(mesh.global_cidrs(&clusters[0])), ["242.2.0.0/16"]);
    });
}

#[test]
fn what_the_broker_noted_down_for_an_id_is_kept() {
    let mut facts = with_broker(&[("east", 1)]);
    turn_globalnet_on(&mut facts);
    value_mut(&mut submariner_mut(&mut facts[0]).globalnet_info)
        .clusters
        .push(RangeEntry {
            cluster_id: "north".to_owned(),
            cidrs: vec!["242.9.0.0/16".to_owned()],
        });
    facts.push(flannel("north", 3));
    ask(&facts, SubmarinerPlan::default(), |mesh, clusters| {
        assert_eq!(blocks(mesh.global_cidrs(&clusters[1])), ["242.9.0.0/16"]);
    });
}

#[test]
fn two_brokers_are_ambiguous_until_one_is_named() {
    let mut facts = with_broker(&[("east", 1)]);
    facts.extend(with_broker(&[("west", 2)]));
    facts.push(flannel("north", 3));
    ask(&facts, SubmarinerPlan::default(), |mesh, clusters| {
        assert!(
            mesh.globalnet(&clusters[2])
                .unwrap_err()
                .detail
                .contains("east and west")
        );
    });
    let named = plan(|plan| plan.broker_cluster = Some("west".to_owned()));
    ask(&facts, named, |mesh, clusters| {
        assert_eq!(mesh.broker().unwrap().unwrap().cluster.name(), "west");
        assert!(!mesh.globalnet(&clusters[2]).unwrap().value);
    });
}

#[test]
fn members_advertise_services_and_pods_lists_split_on_commas() {
    let mut facts = submariner(&[("east", 1)]);
    let config = value_mut(&mut submariner_mut(&mut facts[0]).config);
    config.cluster_cidr = "10.10.0.0/16,fd00::/56,10.11.0.0/16".to_owned();
    ask(&facts, SubmarinerPlan::default(), |mesh, clusters| {
        assert_eq!(
            blocks(mesh.advertised(&clusters[0])),
            ["10.101.0.0/16", "10.10.0.0/16", "10.11.0.0/16"]
        );
    });
}

#[test]
fn an_absent_health_check_object_means_on_and_one_without_enabled_off() {
    for (present, enabled, on) in [(false, None, true), (true, None, false), (true, Some(true), true)] {
        let mut facts = submariner(&[("east", 1)]);
        let config = value_mut(&mut submariner_mut(&mut facts[0]).config);
        (config.health_check_present, config.health_check_enabled) = (present, enabled);
        ask(&facts, SubmarinerPlan::default(), |mesh, clusters| {
            assert_eq!(mesh.health_check(&clusters[0]).unwrap().value, on);
        });
    }
}

#[test]
fn samples_give_nothing_to_complain_of() {
    for facts in [
        vec![flannel("east", 1), flannel("west", 2)],
        submariner(&[("east", 1), ("west", 2)]),
        {
            let mut members = submariner(&[("east", 1), ("west", 2)]);
            turn_globalnet_on(&mut members);
            members
        },
    ] {
        let report = judge(&facts, &Intent::default(), &policy(Profile::Submariner));
        assert_eq!(crate::samples::complaints(&report), [""; 0]);
    }
}
