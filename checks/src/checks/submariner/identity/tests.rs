use crate::engine::judge;
use crate::facts::ClusterFacts;
use crate::facts::provenance::{Fact, Reason};
use crate::facts::submariner::SubmarinerCluster;
use crate::intent::{Intent, SubmarinerClusterPlan};
use crate::profile::Profile::Submariner;
use crate::report::{Report, SubjectKind, Verdict};
use crate::samples::{
    cilium, findings, flannel, hold_broker, policy, report, submariner, submariner_config_mut, submariner_mut,
    value_mut,
};

/// A cluster under this name in the kubeconfig.
fn named(name: &str, number: u8, in_kubeconfig: &str) -> ClusterFacts {
    let mut facts = flannel(name, number);
    *value_mut(&mut facts.kubeconfig_cluster) = in_kubeconfig.to_owned();
    facts
}

/// Judged with a planned ID for one cluster.
fn with_id(facts: &[ClusterFacts], cluster: &str, id: &str) -> Report {
    let mut intent = Intent::default();
    let plan = SubmarinerClusterPlan {
        cluster_id: Some(id.to_owned()),
        ..SubmarinerClusterPlan::default()
    };
    intent.submariner.clusters.insert(cluster.to_owned(), plan);
    judge(facts, &intent, &policy(Submariner))
}

fn verdict(report: &Report, code: &str) -> Verdict {
    findings(report, code)[0].verdict
}

#[test]
fn a_stated_id_must_be_a_label() {
    let facts = [flannel("east", 1)];
    assert_eq!(verdict(&report(Submariner, &facts), "SM101"), Verdict::Skip);
    assert_eq!(verdict(&with_id(&facts, "east", "east-1"), "SM101"), Verdict::Pass);
    let broken = with_id(&facts, "east", "East.1");
    assert_eq!(verdict(&broken, "SM101"), Verdict::Fail);
    assert!(findings(&broken, "SM101")[0].remedy.ends_with("for example east-1"));
    let mut member = submariner(&[("east", 1)]);
    submariner_config_mut(&mut member[0]).cluster_id = "x".repeat(64);
    assert_eq!(verdict(&report(Submariner, &member), "SM101"), Verdict::Fail);
    submariner_mut(&mut member[0]).config = Fact::unknown(Reason::Forbidden, "list submariners: forbidden");
    for code in ["SM101", "SM102", "SM105", "SM107"] {
        assert_eq!(verdict(&report(Submariner, &member), code), Verdict::Unknown, "{code}");
    }
}

#[test]
fn an_id_that_subctl_makes_is_told_where_it_differs_from_the_name() {
    let told = |name: &str| {
        let report = report(Submariner, &[named("east", 1, name)]);
        let finding = findings(&report, "SM102")[0].clone();
        (finding.verdict, finding.found)
    };
    assert_eq!(told("east"), (Verdict::Pass, "east".to_owned()));
    assert_eq!(
        told("East.prod"),
        (Verdict::Warn, "east-prod, made of `East.prod`".to_owned())
    );
    assert!(told(&"x".repeat(64)).1.ends_with("longer than 63 characters"));
    let planned = with_id(&[named("east", 1, "East.prod")], "east", "east");
    assert_eq!(verdict(&planned, "SM102"), Verdict::Skip);
}

#[test]
fn equal_ids_fail_for_just_these_clusters() {
    let facts = [
        named("east", 1, "prod"),
        named("west", 2, "prod"),
        named("north", 3, "other"),
    ];
    let collided = report(Submariner, &facts);
    let finding = findings(&collided, "SM103")[0];
    assert_eq!(
        (finding.verdict, finding.subject.kind),
        (Verdict::Fail, SubjectKind::Pair)
    );
    assert_eq!(finding.subject.clusters, ["east", "west"]);
    assert_eq!(finding.evidence.len(), 2);
    assert_eq!(verdict(&with_id(&facts, "west", "prod-2"), "SM103"), Verdict::Pass);
}

#[test]
fn an_unknown_name_leaves_uniqueness_open_for_that_cluster() {
    let mut unnamed = flannel("west", 2);
    unnamed.kubeconfig_cluster = Fact::unknown(Reason::NotFound, "facts were read from inside the cluster");
    let report = report(Submariner, &[flannel("east", 1), unnamed]);
    assert!(
        findings(&report, "SM103")
            .iter()
            .any(|finding| finding.verdict == Verdict::Unknown && finding.subject.clusters == ["west"])
    );
}

#[test]
fn an_id_left_on_the_broker_is_taken() {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    hold_broker(&mut facts[0]);
    value_mut(&mut submariner_mut(&mut facts[0]).clusters).push(SubmarinerCluster {
        namespace: "submariner-k8s-broker".to_owned(),
        cluster_id: "north".to_owned(),
        ..SubmarinerCluster::default()
    });
    facts.push(flannel("north", 3));
    let collided = report(Submariner, &facts);
    assert_eq!(findings(&collided, "SM104")[0].verdict, Verdict::Fail);
    assert_eq!(findings(&collided, "SM104")[0].subject.clusters, ["north"]);
    assert_eq!(verdict(&with_id(&facts, "north", "north-2"), "SM104"), Verdict::Pass);
    // What an audited member has is found by comparing the clusters.
    assert_eq!(verdict(&with_id(&facts, "north", "west"), "SM104"), Verdict::Pass);
    assert_eq!(verdict(&with_id(&facts, "north", "west"), "SM103"), Verdict::Fail);
    submariner_mut(&mut facts[0]).clusters = Fact::unknown(Reason::Forbidden, "list clusters: forbidden");
    assert_eq!(verdict(&report(Submariner, &facts), "SM104"), Verdict::Unknown);
    assert_eq!(
        verdict(&report(Submariner, &[flannel("north", 3)]), "SM104"),
        Verdict::Skip
    );
    assert_eq!(
        verdict(&report(Submariner, &submariner(&[("east", 1)])), "SM104"),
        Verdict::Skip
    );
}

#[test]
fn default_names_are_warned_of() {
    for (name, expected) in [
        ("kubernetes", Verdict::Warn),
        ("kind-kind", Verdict::Warn),
        ("east", Verdict::Pass),
    ] {
        assert_eq!(
            verdict(&report(Submariner, &[named("east", 1, name)]), "SM105"),
            expected
        );
    }
}

#[test]
fn another_name_in_cilium_is_recorded() {
    let told = |in_kubeconfig: &str| {
        let mut facts = cilium("east", 1);
        *value_mut(&mut facts.kubeconfig_cluster) = in_kubeconfig.to_owned();
        findings(&report(Submariner, &[facts]), "SM106")[0].found.clone()
    };
    assert_eq!(told("east"), "east");
    assert_eq!(told("prod"), "prod for Submariner, east for Cilium");
    assert_eq!(
        verdict(&report(Submariner, &[flannel("east", 1)]), "SM106"),
        Verdict::Skip
    );
}

#[test]
fn an_id_changed_after_the_join_is_warned_of() {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    assert_eq!(verdict(&report(Submariner, &facts), "SM107"), Verdict::Pass);
    submariner_config_mut(&mut facts[0]).cluster_id = "east-2".to_owned();
    let changed = report(Submariner, &facts);
    assert_eq!(verdict(&changed, "SM107"), Verdict::Warn);
    submariner_config_mut(&mut facts[0]).status_cluster_id.clear();
    assert!(
        findings(&report(Submariner, &facts), "SM107")[0]
            .found
            .contains("Cluster objects for east, west")
    );
}
