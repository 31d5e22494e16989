use crate::engine::judge;
use crate::facts::ClusterFacts;
use crate::facts::mcs::{Mcs, ServiceExport};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::intent::{ExternalNetwork, Intent, SubmarinerPlan};
use crate::profile::Profile::Submariner;
use crate::report::{Report, Severity, Verdict};
use crate::samples::{
    findings, flannel, hold_broker, policy, submariner, submariner_config_mut, turn_globalnet_on, value_mut,
};

fn verdict(report: &Report, code: &str) -> Verdict {
    findings(report, code)[0].verdict
}

fn planned(facts: &[ClusterFacts], change: impl FnOnce(&mut SubmarinerPlan)) -> Report {
    let mut intent = Intent::default();
    change(&mut intent.submariner);
    judge(facts, &intent, &policy(Submariner))
}

/// A cluster whose Services have this range.
fn with_services(name: &str, number: u8, cidr: &str) -> ClusterFacts {
    let mut facts = flannel(name, number);
    *value_mut(&mut facts.service_cidrs) = vec![cidr.parse().unwrap()];
    value_mut(&mut facts.control_plane.api_server_flags).remove("service-cluster-ip-range");
    facts
}

#[test]
fn a_range_that_blocks_will_be_taken_from_must_be_free() {
    let globalnet = |plan: &mut SubmarinerPlan| plan.globalnet = Some(true);
    let plain = [flannel("east", 1), flannel("west", 2)];
    assert_eq!(verdict(&planned(&plain, |_| ()), "SM201"), Verdict::Skip);
    assert_eq!(verdict(&planned(&plain, globalnet), "SM201"), Verdict::Pass);
    let used = [flannel("east", 1), with_services("west", 2, "242.7.0.0/16")];
    let report = planned(&used, globalnet);
    let finding = findings(&report, "SM201")[0];
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(finding.found, "in 242.0.0.0/8: services 242.7.0.0/16 of west");
    let elsewhere = planned(&used, |plan| {
        (plan.globalnet, plan.globalnet_range) = (Some(true), Some("169.250.0.0/16".parse().unwrap()));
    });
    assert_eq!(verdict(&elsewhere, "SM201"), Verdict::Pass);
}

#[test]
fn a_declared_network_in_the_range_is_found_too() {
    let mut intent = Intent::default();
    intent.submariner.globalnet = Some(true);
    intent.external_networks.push(ExternalNetwork {
        name: "datacentre".to_owned(),
        cidr: "242.128.0.0/16".parse().unwrap(),
        source: Source::declared("externalNetworks[0]"),
    });
    let report = judge(&[flannel("east", 1)], &intent, &policy(Submariner));
    assert_eq!(verdict(&report, "SM201"), Verdict::Fail);
}

#[test]
fn members_with_blocks_take_nothing_from_the_range() {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    turn_globalnet_on(&mut facts);
    assert_eq!(verdict(&planned(&facts, |_| ()), "SM201"), Verdict::Skip);
}

#[test]
fn unread_ranges_leave_both_ranges_open() {
    let mut unread = flannel("west", 2);
    unread.nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
    let report = planned(&[flannel("east", 1), unread], |plan| plan.globalnet = Some(true));
    for code in ["SM201", "SM202"] {
        let found = findings(&report, code);
        let unknown = found
            .iter()
            .find(|finding| finding.verdict == Verdict::Unknown)
            .unwrap();
        assert_eq!(unknown.subject.clusters, ["west"], "{code}");
        assert!(found.iter().any(|finding| finding.verdict == Verdict::Pass), "{code}");
    }
}

#[test]
fn a_used_clusterset_range_fails_and_an_unused_one_is_recorded() {
    let plain = [flannel("east", 1), flannel("west", 2)];
    assert_eq!(verdict(&planned(&plain, |_| ()), "SM202"), Verdict::Pass);
    let mut collided = vec![flannel("east", 1), with_services("west", 2, "243.7.0.0/16")];
    let unused = planned(&collided, |_| ());
    assert_eq!(findings(&unused, "SM202")[0].severity, Severity::Info);
    assert_eq!(findings(&unused, "SM202")[0].found, "services 243.7.0.0/16 of west");
    assert_eq!(
        verdict(&planned(&collided, |plan| plan.clusterset_ip = Some(true)), "SM202"),
        Verdict::Fail
    );
    collided[0].mcs = Fact::known(
        Mcs {
            exports: Fact::known(
                vec![ServiceExport {
                    use_clusterset_ip: Some("true".to_owned()),
                    ..ServiceExport::default()
                }],
                Source::read("ServiceExports", ""),
            ),
            ..Mcs::default()
        },
        Source::read("CustomResourceDefinitions", ""),
    );
    assert_eq!(verdict(&planned(&collided, |_| ()), "SM202"), Verdict::Fail);
}

#[test]
fn members_clusterset_blocks_must_differ() {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    hold_broker(&mut facts[0]);
    assert_eq!(verdict(&planned(&facts, |_| ()), "SM202"), Verdict::Pass);
    for member in &mut facts {
        let config = submariner_config_mut(member);
        config.clusterset_ip_cidr = "243.0.0.0/20".to_owned();
        config.clusterset_ip_enabled = Some(true);
    }
    let report = planned(&facts, |_| ());
    assert_eq!(verdict(&report, "SM202"), Verdict::Fail);
    assert_eq!(findings(&report, "SM202")[0].found, "east and west share 243.0.0.0/20");
    submariner_config_mut(&mut facts[0]).clusterset_ip_cidr = "many".to_owned();
    let unreadable = planned(&facts, |_| ());
    assert!(
        findings(&unreadable, "SM202")
            .iter()
            .any(|finding| finding.verdict == Verdict::Unknown)
    );
}
