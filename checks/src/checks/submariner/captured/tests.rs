use crate::engine::judge;
use crate::facts::ClusterFacts;
use crate::facts::cni::PluginKind;
use crate::facts::provenance::{Fact, Reason};
use crate::intent::Intent;
use crate::profile::Profile::Submariner;
use crate::report::{Report, Verdict};
use crate::samples::{
    findings, flannel, policy, report, submariner, submariner_config_mut, submariner_mut, turn_globalnet_on, value_mut,
};

fn verdict(report: &Report, code: &str) -> Verdict {
    findings(report, code)[0].verdict
}

fn with_globalnet(facts: &[ClusterFacts]) -> Report {
    let mut intent = Intent::default();
    intent.submariner.globalnet = Some(true);
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
fn with_globalnet_a_peers_gateway_in_the_own_ranges_is_captured() {
    let apart = [flannel("east", 1), flannel("west", 2)];
    assert_eq!(verdict(&with_globalnet(&apart), "SM206"), Verdict::Pass);
    let facts = [flannel("east", 1), with_services("west", 2, "172.31.1.0/24")];
    let report = with_globalnet(&facts);
    let finding = findings(&report, "SM206")[0];
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(
        finding.found,
        "gateway of east 172.31.1.12 in services 172.31.1.0/24 of west"
    );
    assert_eq!(finding.subject.clusters, ["east", "west"]);
}

#[test]
fn without_globalnet_a_node_in_a_range_is_told_by_the_rule_about_nodes_alone() {
    let facts = [flannel("east", 1), with_services("west", 2, "172.31.1.0/24")];
    let report = report(Submariner, &facts);
    assert_eq!(verdict(&report, "SM206"), Verdict::Pass);
    assert!(
        findings(&report, "NET105")
            .iter()
            .any(|finding| finding.verdict == Verdict::Fail)
    );
}

#[test]
fn a_broker_inside_a_range_that_others_route_is_captured() {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    submariner_config_mut(&mut facts[0]).broker_api_server = "10.20.3.4:6443".to_owned();
    let finding = findings(&report(Submariner, &facts), "SM206")[0].clone();
    assert_eq!(
        (finding.verdict, &finding.subject.clusters[..]),
        (Verdict::Fail, &["east".to_owned(), "west".to_owned()][..])
    );
    assert!(finding.found.starts_with("broker 10.20.3.4 in pods "));
    // With Globalnet nobody routes west's pods.
    turn_globalnet_on(&mut facts);
    assert_eq!(verdict(&report(Submariner, &facts), "SM206"), Verdict::Pass);
    submariner_config_mut(&mut facts[0]).broker_api_server = "10.10.3.4:6443".to_owned();
    assert_eq!(verdict(&report(Submariner, &facts), "SM206"), Verdict::Fail);
}

#[test]
fn an_address_in_use_for_a_connection_counts() {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    assert_eq!(verdict(&report(Submariner, &facts), "SM206"), Verdict::Pass);
    let gateways = value_mut(&mut submariner_mut(&mut facts[0]).gateways);
    gateways[0].connections[0].using_ip = "10.10.0.99".to_owned();
    assert_eq!(verdict(&report(Submariner, &facts), "SM206"), Verdict::Fail);
}

#[test]
fn ovn_keeps_its_internal_subnets_to_itself() {
    let mut ovn = flannel("east", 1);
    value_mut(&mut ovn.cni.plugins)[0].kind = PluginKind::OvnKubernetes;
    let judged = |facts: &[ClusterFacts]| verdict(&report(Submariner, facts), "SM207");
    assert_eq!(judged(&[flannel("east", 1), flannel("west", 2)]), Verdict::Skip);
    assert_eq!(judged(&[ovn.clone(), flannel("west", 2)]), Verdict::Pass);
    assert_eq!(
        judged(&[ovn.clone(), with_services("west", 2, "100.64.0.0/10")]),
        Verdict::Warn
    );
    let mut own = ovn;
    *value_mut(&mut own.service_cidrs) = vec!["100.64.0.0/16".parse().unwrap()];
    value_mut(&mut own.control_plane.api_server_flags).remove("service-cluster-ip-range");
    assert_eq!(judged(&[own, flannel("west", 2)]), Verdict::Pass);
}

#[test]
fn what_could_not_be_read_is_unknown() {
    let mut facts = vec![flannel("east", 1), flannel("west", 2)];
    facts[0].nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
    facts[0].cni.plugins = Fact::unknown(Reason::Forbidden, "list daemonsets: forbidden");
    let report = report(Submariner, &facts);
    for code in ["SM206", "SM207"] {
        let unknown = findings(&report, code)
            .into_iter()
            .find(|finding| finding.verdict == Verdict::Unknown);
        assert_eq!(unknown.unwrap().subject.clusters, ["east"], "{code}");
    }
}
