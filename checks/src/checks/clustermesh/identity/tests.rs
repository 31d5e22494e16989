use std::collections::BTreeMap;

use crate::facts::ClusterFacts;
use crate::facts::cilium::{IdentityGroup, MeshSecrets, Peer};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::profile::Profile::Clustermesh;
use crate::report::{Finding, Report, Verdict};
use crate::samples::{cilium, cilium_mut, findings, report, set_cilium_key, value_mut};

fn with_keys(keys: &[(&str, Option<&str>)]) -> ClusterFacts {
    let mut facts = cilium("east", 1);
    for (key, value) in keys {
        set_cilium_key(&mut facts, key, *value);
    }
    facts
}

fn of_one(facts: ClusterFacts, code: &str) -> Finding {
    let report = report(Clustermesh, &[facts]);
    findings(&report, code)[0].clone()
}

/// The verdicts of a check, with the clusters each is about.
fn verdicts(report: &Report, code: &str) -> Vec<(Verdict, Vec<String>)> {
    let findings = findings(report, code).into_iter();
    findings
        .map(|finding| (finding.verdict, finding.subject.clusters.clone()))
        .collect()
}

fn unreadable() -> ClusterFacts {
    let mut facts = cilium("north", 3);
    cilium_mut(&mut facts).config = Fact::unknown(Reason::Forbidden, "list configmaps in kube-system: forbidden");
    facts
}

#[test]
fn an_id_is_a_number_from_1_on() {
    for (id, verdict, found) in [
        (Some("1"), Verdict::Pass, "1"),
        (Some("0"), Verdict::Fail, "0: no mesh"),
        (None, Verdict::Fail, "0: no mesh"),
    ] {
        let finding = of_one(with_keys(&[("cluster-id", id)]), "CM101");
        assert_eq!((finding.verdict, finding.found.as_str()), (verdict, found));
    }
    let text = of_one(with_keys(&[("cluster-id", Some("one"))]), "CM101");
    assert_eq!(text.verdict, Verdict::Fail);
    assert!(text.found.contains("change not yet loaded"), "{}", text.found);
    assert_eq!(of_one(unreadable(), "CM101").verdict, Verdict::Unknown);
}

#[test]
fn an_id_above_the_maximum_fails() {
    let verdict = |id, max| {
        of_one(
            with_keys(&[("cluster-id", Some(id)), ("max-connected-clusters", max)]),
            "CM103",
        )
        .verdict
    };
    assert_eq!(verdict("255", None), Verdict::Pass);
    assert_eq!(verdict("256", None), Verdict::Fail);
    assert_eq!(verdict("256", Some("511")), Verdict::Pass);
    assert_eq!(verdict("512", Some("511")), Verdict::Fail);
    assert_eq!(verdict("one", None), Verdict::Skip);
    assert_eq!(of_one(unreadable(), "CM103").verdict, Verdict::Unknown);
}

#[test]
fn ids_are_compared_over_the_whole_set_at_once() {
    let facts = [cilium("east", 1), cilium("west", 2), cilium("south", 2), unreadable()];
    let report = report(Clustermesh, &facts);
    assert_eq!(
        verdicts(&report, "CM104"),
        [
            (Verdict::Fail, vec!["west".to_owned(), "south".to_owned()]),
            (Verdict::Unknown, vec!["north".to_owned()]),
        ]
    );
    assert_eq!(findings(&report, "CM104")[0].found, "2 on west and south");
}

#[test]
fn different_ids_pass_and_missing_ones_are_not_compared() {
    let none = |name: &str| {
        let mut facts = cilium(name, 4);
        set_cilium_key(&mut facts, "cluster-id", None);
        facts
    };
    let report = report(
        Clustermesh,
        &[cilium("east", 1), cilium("west", 2), none("a"), none("b")],
    );
    let expected = [
        (Verdict::Skip, vec!["a".to_owned(), "b".to_owned()]),
        (Verdict::Pass, vec!["east".to_owned(), "west".to_owned()]),
    ];
    assert_eq!(verdicts(&report, "CM104"), expected);
}

#[test]
fn an_id_that_no_agent_can_have_is_not_compared() {
    let mut west = cilium("west", 2);
    set_cilium_key(&mut west, "cluster-id", Some("300"));
    let mut south = cilium("south", 3);
    set_cilium_key(&mut south, "cluster-id", Some("300"));
    let report = report(Clustermesh, &[cilium("east", 1), west, south]);
    assert!(
        findings(&report, "CM104")
            .iter()
            .all(|finding| finding.verdict != Verdict::Fail)
    );
    let unknown = findings(&report, "CM104")
        .into_iter()
        .find(|finding| finding.verdict == Verdict::Unknown)
        .unwrap();
    assert_eq!(unknown.reason, "not in force");
}

#[test]
fn a_name_has_lower_case_letters_digits_and_hyphens() {
    let verdict = |name| of_one(with_keys(&[("cluster-name", name)]), "CM105").verdict;
    assert_eq!(verdict(Some("east-1")), Verdict::Pass);
    assert_eq!(verdict(Some("")), Verdict::Pass);
    for name in ["East", "east.example", "kind_east", "-east", "east-", &"x".repeat(33)] {
        assert_eq!(verdict(Some(name)), Verdict::Fail, "{name}");
    }
    assert_eq!(of_one(unreadable(), "CM105").verdict, Verdict::Unknown);
}

#[test]
fn the_default_name_is_no_name() {
    let verdict = |name| of_one(with_keys(&[("cluster-name", name)]), "CM106").verdict;
    assert_eq!(verdict(Some("east")), Verdict::Pass);
    for name in [Some("default"), Some(""), None] {
        assert_eq!(verdict(name), Verdict::Fail, "{name:?}");
    }
    assert_eq!(of_one(unreadable(), "CM106").verdict, Verdict::Unknown);
}

#[test]
fn a_cluster_without_id_and_name_has_one_cause_not_three() {
    let mut facts = with_keys(&[("cluster-name", None), ("cluster-id", None)]);
    value_mut(&mut cilium_mut(&mut facts).identities).clear();
    let report = report(Clustermesh, &[facts]);
    let failed = report.causes(Verdict::Fail);
    assert_eq!(failed.len(), 1);
    let codes: Vec<&str> = failed[0].iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["CM004", "CM101", "CM106"]);
}

#[test]
fn equal_names_fail_and_default_ones_are_left_to_another_check() {
    let named = |number, name| {
        let mut facts = cilium("x", number);
        facts.name = format!("context-{number}");
        set_cilium_key(&mut facts, "cluster-name", name);
        facts
    };
    let facts = [
        named(1, Some("prod")),
        named(2, Some("prod")),
        named(3, Some("test")),
        named(4, None),
    ];
    let judged = report(Clustermesh, &facts);
    assert_eq!(findings(&judged, "CM107")[0].found, "prod on context-1 and context-2");
    assert_eq!(findings(&judged, "CM107")[0].verdict, Verdict::Fail);
    let judged = report(Clustermesh, &[cilium("east", 1), cilium("west", 2)]);
    assert_eq!(findings(&judged, "CM107")[0].verdict, Verdict::Pass);
    let judged = report(Clustermesh, &[cilium("east", 1), unreadable()]);
    assert!(verdicts(&judged, "CM107").contains(&(Verdict::Unknown, vec!["north".to_owned()])));
}

#[test]
fn an_id_with_bit_7_does_not_go_with_the_address_management_of_some_clouds() {
    let on_eni = |id, more: &[(&str, Option<&str>)]| {
        let keys = [
            ("cluster-id", Some(id)),
            ("ipam", Some("eni")),
            ("routing-mode", Some("native")),
        ];
        of_one(with_keys(&[&keys[..], more].concat()), "CM110")
    };
    assert_eq!(on_eni("127", &[]).verdict, Verdict::Pass);
    let refused = on_eni("128", &[]);
    assert_eq!(refused.verdict, Verdict::Fail);
    assert!(refused.found.contains("change not yet loaded"), "{}", refused.found);
    let overridden = on_eni("128", &[("allow-unsafe-policy-skb-usage", Some("true"))]);
    assert_eq!(overridden.verdict, Verdict::Warn);
    let chained = with_keys(&[("cluster-id", Some("200")), ("cni-chaining-mode", Some("aws-cni"))]);
    assert_eq!(of_one(chained, "CM110").verdict, Verdict::Fail);
    assert_eq!(
        of_one(with_keys(&[("cluster-id", Some("200"))]), "CM110").verdict,
        Verdict::Skip
    );
    assert_eq!(of_one(unreadable(), "CM110").verdict, Verdict::Unknown);
}

#[test]
fn the_mesh_size_is_255_or_511_and_equal() {
    let with_max = |name, number, max: Option<&str>| {
        let mut facts = cilium(name, number);
        set_cilium_key(&mut facts, "max-connected-clusters", max);
        facts
    };
    let judged = report(
        Clustermesh,
        &[with_max("east", 1, None), with_max("west", 2, Some("255"))],
    );
    assert_eq!(findings(&judged, "CM111")[0].verdict, Verdict::Pass);
    let judged = report(
        Clustermesh,
        &[with_max("east", 1, None), with_max("west", 2, Some("511"))],
    );
    let finding = findings(&judged, "CM111")[0];
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Fail, "255 on east, 511 on west")
    );
    let judged = report(Clustermesh, &[with_max("east", 1, Some("400"))]);
    assert_eq!(
        findings(&judged, "CM111")[0].found,
        "`400` (change not yet loaded: agents that restart now fail, max-connected-clusters is `400`, neither 255 nor 511)"
    );
    let judged = report(Clustermesh, &[cilium("east", 1), unreadable()]);
    assert!(verdicts(&judged, "CM111").contains(&(Verdict::Unknown, vec!["north".to_owned()])));
}

#[test]
fn cilium_1_14_has_no_other_mesh_size() {
    let mut old = cilium("east", 1);
    set_cilium_key(&mut old, "max-connected-clusters", None);
    let cilium_facts = cilium_mut(&mut old);
    value_mut(&mut cilium_facts.versions).insert("agent".to_owned(), "1.14.19".to_owned());
    value_mut(&mut cilium_facts.agent_pods).clear();
    let report = report(Clustermesh, &[old, cilium("west", 2)]);
    assert_eq!(findings(&report, "CM111")[0].verdict, Verdict::Pass);
}

#[test]
fn clustermesh_apiserver_must_be_told_the_same_mesh_size() {
    let mut facts = cilium("east", 1);
    let deployment = value_mut(&mut facts.workloads)
        .iter_mut()
        .find(|workload| workload.name == "clustermesh-apiserver")
        .unwrap();
    let container = deployment
        .containers
        .iter_mut()
        .find(|container| container.name == "apiserver")
        .unwrap();
    container.args = vec!["--max-connected-clusters=511".to_owned()];
    let finding = of_one(facts, "CM111");
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(finding.found, "255 for the agents, 511 for clustermesh-apiserver");
}

fn with_identities(groups: &[(Option<&str>, u32, u64, Option<u64>)]) -> ClusterFacts {
    let mut facts = cilium("east", 1);
    let groups = groups.iter().map(|(label, id_block, count, in_use)| IdentityGroup {
        cluster_label: label.map(str::to_owned),
        id_block: *id_block,
        count: *count,
        in_use: *in_use,
        example: id_block * 32768 + 5,
        example_endpoint: if in_use.is_some_and(|used| used > 0) {
            "default/web-1".to_owned()
        } else {
            String::new()
        },
    });
    cilium_mut(&mut facts).identities = Fact::known(groups.collect(), Source::read("CiliumIdentities", ""));
    facts
}

#[test]
fn identities_of_an_old_id_fail_where_they_are_used_and_warn_where_not() {
    let own = (Some("east"), 2, 10, Some(9));
    assert_eq!(
        of_one(with_identities(&[own, (Some("east"), 3, 1, Some(1))]), "CM109").verdict,
        Verdict::Pass
    );
    let used = of_one(with_identities(&[own, (Some("east"), 0, 4, Some(1))]), "CM109");
    assert_eq!(
        (used.verdict, used.found.as_str()),
        (Verdict::Fail, "4, among them 5 (east), in use by default/web-1")
    );
    let unused = of_one(with_identities(&[own, (Some("east"), 0, 4, Some(0))]), "CM109");
    assert_eq!(unused.verdict, Verdict::Warn);
}

#[test]
fn whether_a_stale_identity_is_used_must_be_known() {
    let mut facts = with_identities(&[(Some("east"), 0, 4, None)]);
    cilium_mut(&mut facts).endpoints = Fact::unknown(Reason::Forbidden, "list ciliumendpoints: forbidden");
    let finding = of_one(facts.clone(), "CM109");
    assert_eq!(
        (finding.verdict, finding.reason.as_str()),
        (Verdict::Unknown, "forbidden")
    );
    cilium_mut(&mut facts).identities = Fact::unknown(Reason::Forbidden, "list ciliumidentities: forbidden");
    assert_eq!(of_one(facts, "CM109").verdict, Verdict::Unknown);
}

#[test]
fn in_a_mesh_of_511_each_cluster_has_half_the_identities() {
    let mut facts = with_identities(&[(Some("east"), 1, 1, Some(1))]);
    set_cilium_key(&mut facts, "max-connected-clusters", Some("511"));
    assert_eq!(of_one(facts, "CM109").verdict, Verdict::Pass);
    let mut facts = with_identities(&[(Some("east"), 2, 1, Some(1))]);
    set_cilium_key(&mut facts, "max-connected-clusters", Some("511"));
    let finding = of_one(facts, "CM109");
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(finding.expected, "numbers from 32768 to 65535, those of cluster id 1");
}

#[test]
fn many_identities_warn_from_80_percent_on() {
    let verdict = |count, max: &str| {
        let mut facts = with_identities(&[(Some("east"), 2, count, Some(1))]);
        set_cilium_key(&mut facts, "max-connected-clusters", Some(max));
        of_one(facts, "CM112").verdict
    };
    assert_eq!(verdict(52_427, "255"), Verdict::Pass);
    assert_eq!(verdict(52_428, "255"), Verdict::Warn);
    assert_eq!(verdict(26_214, "511"), Verdict::Warn);
    assert_eq!(of_one(unreadable(), "CM112").verdict, Verdict::Unknown);
}

#[test]
fn identities_carry_the_present_name_of_the_cluster() {
    assert_eq!(of_one(cilium("east", 1), "CM113").verdict, Verdict::Pass);
    let renamed = of_one(with_identities(&[(Some("old"), 2, 3, Some(2))]), "CM113");
    assert_eq!(renamed.verdict, Verdict::Fail);
    let filtered = of_one(with_identities(&[(None, 2, 3, Some(2))]), "CM113");
    assert!(filtered.found.contains("without a cluster label"), "{}", filtered.found);
    assert_eq!(
        of_one(with_identities(&[(Some("old"), 2, 3, Some(0))]), "CM113").verdict,
        Verdict::Warn
    );
    assert_eq!(of_one(unreadable(), "CM113").verdict, Verdict::Unknown);
}

fn with_peers(name: &str, number: u8, peers: &[(&str, &str)]) -> ClusterFacts {
    let mut facts = cilium(name, number);
    let peers = peers.iter().map(|(name, endpoint)| {
        let peer = Peer {
            secrets: vec!["cilium-kvstoremesh".to_owned()],
            endpoints: vec![(*endpoint).to_owned()],
            own_ca: false,
        };
        ((*name).to_owned(), peer)
    });
    let secrets = MeshSecrets {
        peers: peers.collect::<BTreeMap<_, _>>(),
        ..MeshSecrets::default()
    };
    cilium_mut(&mut facts).secrets = Fact::known(secrets, Source::read("Secrets kube-system", ""));
    facts
}

#[test]
fn a_peer_goes_by_the_name_it_has_itself() {
    let west = "https://172.31.2.11:32379";
    let right = [
        with_peers("east", 1, &[("west", west), ("east", "https://172.31.1.11:32379")]),
        cilium("west", 2),
    ];
    let judged = report(Clustermesh, &right);
    assert!(verdicts(&judged, "CM108").contains(&(Verdict::Pass, vec!["east".to_owned()])));

    let wrong = [with_peers("east", 1, &[("west-1", west)]), cilium("west", 2)];
    let judged = report(Clustermesh, &wrong);
    let finding = findings(&judged, "CM108")[0];
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Fail, "`west-1` is `west` by its own account")
    );

    let no_name = [
        with_peers("east", 1, &[("West", "https://somewhere:2379")]),
        cilium("west", 2),
    ];
    assert_eq!(
        findings(&report(Clustermesh, &no_name), "CM108")[0].verdict,
        Verdict::Fail
    );
}

#[test]
fn peers_are_judged_only_where_secrets_are_read() {
    let judged = report(Clustermesh, &[cilium("east", 1), cilium("west", 2)]);
    for code in ["CM108", "CM154"] {
        assert!(
            findings(&judged, code).iter().all(|finding| finding.is_not_asked()),
            "{code}"
        );
    }
    let mut refused = cilium("east", 1);
    cilium_mut(&mut refused).secrets = Fact::unknown(Reason::Forbidden, "get secrets: forbidden");
    let judged = report(Clustermesh, &[refused]);
    for code in ["CM108", "CM154"] {
        assert_eq!(findings(&judged, code)[0].verdict, Verdict::Unknown, "{code}");
    }
    let judged = report(Clustermesh, &[with_peers("east", 1, &[])]);
    assert_eq!(findings(&judged, "CM108")[0].verdict, Verdict::Skip);
}

#[test]
fn a_member_outside_the_audit_is_a_warning() {
    let facts = [
        with_peers("east", 1, &[("west", "https://a:1"), ("north", "https://b:1")]),
        cilium("west", 2),
    ];
    let judged = report(Clustermesh, &facts);
    let finding = findings(&judged, "CM154")[0];
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Warn, "not audited: north")
    );
    let facts = [with_peers("east", 1, &[("west", "https://a:1")]), cilium("west", 2)];
    let judged = report(Clustermesh, &facts);
    assert!(verdicts(&judged, "CM154").contains(&(Verdict::Pass, vec!["east".to_owned()])));
}
