use crate::engine::judge;
use crate::facts::ClusterFacts;
use crate::facts::node::NodeAddress;
use crate::facts::provenance::{Fact, Reason};
use crate::intent::{Intent, SubmarinerPlan};
use crate::profile::Profile::Submariner;
use crate::report::{Finding, Report, Severity, Verdict};
use crate::samples::{findings, flannel, policy, report, submariner, submariner_mut, value_mut};

/// The only finding of a check about a cluster before it joins.
fn alone(facts: ClusterFacts, code: &str) -> Finding {
    findings(&report(Submariner, &[facts]), code)[0].clone()
}

fn planned(facts: &[ClusterFacts], change: impl FnOnce(&mut SubmarinerPlan)) -> Report {
    let mut intent = Intent::default();
    change(&mut intent.submariner);
    judge(facts, &intent, &policy(Submariner))
}

fn of_version(version: &str) -> ClusterFacts {
    let mut facts = flannel("east", 1);
    *value_mut(&mut facts.kubernetes_version) = version.to_owned();
    facts
}

fn forbidden<T>() -> Fact<T> {
    Fact::unknown(Reason::Forbidden, "list: forbidden")
}

#[test]
fn kubernetes_must_be_1_19_and_1_21_for_service_discovery() {
    for (version, connectivity, services) in [
        ("v1.18.20", Verdict::Fail, Verdict::Fail),
        ("v1.20+", Verdict::Pass, Verdict::Fail),
        ("v1.21.0", Verdict::Pass, Verdict::Pass),
        ("devel", Verdict::Unknown, Verdict::Unknown),
    ] {
        assert_eq!(alone(of_version(version), "SM001").verdict, connectivity, "{version}");
        assert_eq!(alone(of_version(version), "SM002").verdict, services, "{version}");
    }
    let without = planned(&[of_version("v1.20.0")], |plan| plan.service_discovery = Some(false));
    assert_eq!(findings(&without, "SM002")[0].verdict, Verdict::Skip);
}

/// A cluster whose control plane nobody sees, with the new Service allocator.
fn hidden_control_plane() -> ClusterFacts {
    let mut facts = of_version("v1.33.1+k3s1");
    facts.control_plane.api_server_flags = Fact::unknown(Reason::NotFound, "no kube-apiserver pod is visible");
    facts
}

#[test]
fn an_old_operator_does_not_find_the_range_where_it_must_ask() {
    let judged = |facts: ClusterFacts, version: &str| {
        let report = planned(&[facts], |plan| plan.version = Some(version.to_owned()));
        findings(&report, "SM003")[0].verdict
    };
    assert_eq!(judged(hidden_control_plane(), "0.20.1"), Verdict::Fail);
    assert_eq!(judged(hidden_control_plane(), "0.21.1"), Verdict::Pass);
    // kubeadm and kind show the flag.
    assert_eq!(judged(of_version("v1.33.1"), "0.20.1"), Verdict::Pass);
    let mut old_allocator = hidden_control_plane();
    old_allocator.service_cidrs = Fact::unknown(Reason::NotInstalled, "ServiceCIDRs are not served");
    *value_mut(&mut old_allocator.kubernetes_version) = "v1.30.4".to_owned();
    assert_eq!(judged(old_allocator, "0.20.1"), Verdict::Pass);
    let mut eks = hidden_control_plane();
    *value_mut(&mut eks.kubernetes_version) = "v1.31.3-eks-1".to_owned();
    assert_eq!(judged(eks, "0.20.1"), Verdict::Fail);
    let mut unreadable = hidden_control_plane();
    unreadable.control_plane.api_server_flags = forbidden();
    assert_eq!(judged(unreadable, "0.20.1"), Verdict::Unknown);
}

#[test]
fn without_a_planned_release_the_limit_is_only_told() {
    let finding = alone(hidden_control_plane(), "SM003");
    assert_eq!((finding.verdict, finding.severity), (Verdict::Pass, Severity::Info));
}

#[test]
fn other_architectures_and_windows_are_named_by_node() {
    let mut facts = flannel("east", 1);
    value_mut(&mut facts.nodes)[1].architecture = "s390x".to_owned();
    value_mut(&mut facts.nodes)[1].os = "windows".to_owned();
    let architecture = alone(facts.clone(), "SM004");
    assert_eq!(architecture.verdict, Verdict::Fail);
    assert_eq!(architecture.subject.nodes, ["east-n2"]);
    assert_eq!(alone(facts, "SM005").verdict, Verdict::Warn);
    assert_eq!(alone(flannel("east", 1), "SM004").verdict, Verdict::Pass);
    assert_eq!(alone(flannel("east", 1), "SM005").verdict, Verdict::Pass);
    let mut unreadable = flannel("east", 1);
    unreadable.nodes = forbidden();
    assert_eq!(alone(unreadable.clone(), "SM004").verdict, Verdict::Unknown);
    assert_eq!(alone(unreadable, "SM005").verdict, Verdict::Unknown);
}

#[test]
fn ipv6_alone_fails_and_beside_ipv4_warns() {
    assert_eq!(alone(flannel("east", 1), "SM006").verdict, Verdict::Pass);
    let mut dual = flannel("east", 1);
    value_mut(&mut dual.service_cidrs).push("fd00:1::/112".parse().unwrap());
    assert_eq!(alone(dual, "SM006").verdict, Verdict::Warn);
    let mut ipv6 = flannel("east", 1);
    for node in value_mut(&mut ipv6.nodes) {
        node.addresses = vec![NodeAddress {
            kind: "InternalIP".to_owned(),
            ip: "fd00::1".parse().unwrap(),
        }];
    }
    let finding = alone(ipv6, "SM006");
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Fail, "no IPv4 for nodes")
    );
    let mut unreadable = flannel("east", 1);
    unreadable.nodes = forbidden();
    assert_eq!(alone(unreadable, "SM006").verdict, Verdict::Unknown);
}

#[test]
fn members_share_one_minor_version() {
    let skew = |version: Option<&str>| {
        let mut facts = submariner(&[("east", 1), ("west", 2)]);
        let own = submariner_mut(&mut facts[1]);
        if let Some(version) = version {
            value_mut(&mut own.versions).insert("operator".to_owned(), version.to_owned());
        } else {
            own.versions = forbidden();
            value_mut(&mut own.config).version.clear();
        }
        findings(&report(Submariner, &facts), "SM007")
            .iter()
            .map(|finding| finding.verdict)
            .max()
            .unwrap()
    };
    assert_eq!(skew(Some("0.23.9")), Verdict::Pass);
    assert_eq!(skew(Some("0.19.0")), Verdict::Warn);
    assert_eq!(skew(None), Verdict::Unknown);
    assert_eq!(
        findings(&report(Submariner, &[flannel("east", 1), flannel("west", 2)]), "SM007")[0].verdict,
        Verdict::Skip
    );
}
