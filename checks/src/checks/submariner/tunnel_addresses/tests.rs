use crate::engine::judge;
use crate::facts::ClusterFacts;
use crate::facts::cni::PluginKind;
use crate::facts::provenance::{Fact, Reason};
use crate::intent::Intent;
use crate::profile::Profile::Submariner;
use crate::report::{Report, Verdict};
use crate::samples::{findings, flannel, policy, report, value_mut};

fn verdict(report: &Report, code: &str) -> Verdict {
    findings(report, code)[0].verdict
}

fn with_vxlan(facts: &[ClusterFacts]) -> Report {
    let mut intent = Intent::default();
    intent.submariner.cable_driver = Some("vxlan".to_owned());
    judge(facts, &intent, &policy(Submariner))
}

fn ovn(mut facts: ClusterFacts) -> ClusterFacts {
    value_mut(&mut facts.cni.plugins)[0].kind = PluginKind::OvnKubernetes;
    facts
}

/// A cluster whose nodes have these addresses; the second is the gateway.
fn with_nodes(name: &str, number: u8, addresses: [[u8; 4]; 2]) -> ClusterFacts {
    let mut facts = flannel(name, number);
    for (node, address) in value_mut(&mut facts.nodes).iter_mut().zip(addresses) {
        node.addresses[0].ip = address.into();
    }
    facts
}

#[test]
fn class_e_is_for_tunnels() {
    assert_eq!(
        verdict(&report(Submariner, &[flannel("east", 1)]), "SM203"),
        Verdict::Pass
    );
    let nodes = |octet| with_nodes("east", 1, [[octet, 0, 0, 1], [octet, 0, 0, 2]]);
    let inside = report(Submariner, &[nodes(240)]);
    assert_eq!(verdict(&inside, "SM203"), Verdict::Fail);
    assert_eq!(
        findings(&inside, "SM203")[0].found,
        "nodes 240.0.0.1/32 of east, nodes 240.0.0.2/32 of east"
    );
    // 241 belongs to the VXLAN cable driver, and OVN-Kubernetes has no tunnel inside the cluster.
    assert_eq!(verdict(&report(Submariner, &[nodes(241)]), "SM203"), Verdict::Pass);
    assert_eq!(verdict(&with_vxlan(&[nodes(241)]), "SM203"), Verdict::Fail);
    assert_eq!(verdict(&report(Submariner, &[ovn(nodes(240))]), "SM203"), Verdict::Pass);
}

#[test]
fn nodes_of_a_cluster_differ_in_more_than_the_first_octet() {
    assert_eq!(
        verdict(&report(Submariner, &[flannel("east", 1)]), "SM204"),
        Verdict::Pass
    );
    let alike = with_nodes("east", 1, [[10, 1, 2, 3], [192, 1, 2, 3]]);
    let finding = findings(&report(Submariner, std::slice::from_ref(&alike)), "SM204")[0].clone();
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Fail, "240.1.2.3 for east-n1, east-n2")
    );
    assert_eq!(verdict(&report(Submariner, &[ovn(alike)]), "SM204"), Verdict::Skip);
}

#[test]
fn gateways_with_the_vxlan_driver_differ_in_more_than_the_first_octet() {
    let facts = [
        with_nodes("east", 1, [[10, 1, 2, 3], [10, 1, 2, 4]]),
        with_nodes("west", 2, [[172, 1, 2, 3], [172, 1, 2, 4]]),
    ];
    assert_eq!(verdict(&report(Submariner, &facts), "SM205"), Verdict::Skip);
    let report = with_vxlan(&facts);
    let found = findings(&report, "SM205");
    // The first nodes are no gateways.
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].verdict, found[0].found.as_str()),
        (Verdict::Fail, "241.1.2.4 for east and west")
    );
    assert_eq!(
        verdict(&with_vxlan(&[flannel("east", 1), flannel("west", 2)]), "SM205"),
        Verdict::Pass
    );
}

#[test]
fn unread_nodes_are_unknown() {
    let mut facts = flannel("east", 1);
    facts.nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
    let report = with_vxlan(&[facts, flannel("west", 2)]);
    for code in ["SM203", "SM204", "SM205"] {
        let unknown = findings(&report, code)
            .into_iter()
            .find(|finding| finding.verdict == Verdict::Unknown);
        assert_eq!(unknown.unwrap().subject.clusters, ["east"], "{code}");
    }
}
