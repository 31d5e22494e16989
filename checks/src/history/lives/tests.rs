use proptest::prelude::*;

use super::*;
use crate::profile::Profile::Clustermesh;
use crate::report::{NOT_ASKED, Subject, SubjectKind, Verdict};
use crate::samples::{cilium, report, set_cilium_key};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
}

/// A report on a, b and c that says this of CM302, each about these clusters, and nothing of anything else.
fn says(said: &[(&[&str], Verdict)]) -> Report {
    let mut report = report(Clustermesh, &[cilium("a", 1), cilium("b", 2), cilium("c", 3)]);
    let mut like = report
        .findings
        .iter()
        .find(|finding| finding.code == "CM302")
        .unwrap()
        .clone();
    report.findings = said
        .iter()
        .map(|(clusters, verdict)| {
            like.verdict = *verdict;
            like.found = format!("{verdict} {}", clusters.join(" "));
            like.subject = Subject {
                kind: SubjectKind::Set,
                clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
                nodes: Vec::new(),
                pairs: crate::report::AffectedPairs::default(),
            };
            like.clone()
        })
        .collect();
    report
}

/// The events of audits, one a minute, as `began CM302 clustermesh a b: good -> fail`.
fn told(reports: &[Report]) -> (Lives, Vec<String>) {
    let mut lives = Lives::default();
    let mut told = Vec::new();
    for (minute, report) in (0..).zip(reports) {
        for event in lives.record(at(minute), report) {
            let kind = serde_json::to_value(event.kind).unwrap();
            let kind = kind.as_str().unwrap();
            told.push(format!(
                "{minute} {kind} {}: {} -> {}",
                event.life.key, event.from, event.life.state
            ));
        }
    }
    (lives, told)
}

const ALL: &[&str] = &["a", "b", "c"];
use Verdict::{Fail, Pass, Skip, Unknown};

#[test]
fn a_fault_that_its_check_no_longer_finds_is_resolved() {
    let (lives, told) = told(&[says(&[(ALL, Pass)]), says(&[(&["a", "b"], Fail)]), says(&[(ALL, Pass)])]);
    assert_eq!(
        told,
        [
            "1 began CM302 clustermesh a b: good -> fail",
            "2 resolved CM302 clustermesh a b: fail -> good"
        ]
    );
    assert_eq!(lives.iter().count(), 1);
}

#[test]
fn a_fault_is_not_resolved_by_an_audit_that_did_not_look() {
    let broken = says(&[(&["a", "b"], Fail)]);
    let mut without_b = says(&[(&["a", "c"], Pass)]);
    without_b.clusters.retain(|cluster| cluster.name != "b");
    let mut b_unreachable = says(&[(ALL, Pass)]);
    b_unreachable.clusters[1].unreachable = Some("connection refused".to_owned());
    let mut not_asked = says(&[(ALL, Skip)]);
    not_asked.findings[0].reason = NOT_ASKED.to_owned();
    for (blind, why) in [
        (says(&[]), "CM302 was not judged"),
        (without_b, "b was not part of the audit"),
        (b_unreachable, "b could not be read: connection refused"),
        (not_asked.clone(), "not asked"),
        (says(&[(ALL, Unknown)]), "unknown a b c"),
        (says(&[(&["c"], Pass), (&["b"], Unknown)]), "unknown b"),
    ] {
        let (lives, _) = told(&[broken.clone(), blind]);
        let key = FindingKey::of(&broken.findings[0]);
        let life = lives.get(&key).unwrap();
        assert_eq!(life.state, State::Unknown, "{why}");
        assert_eq!(life.last.found, why);
        assert_eq!(life.broken_since(), Some(at(0)), "{why}");
    }
}

#[test]
fn what_was_never_asked_has_no_life() {
    let mut not_asked = says(&[(ALL, Skip)]);
    not_asked.findings[0].reason = NOT_ASKED.to_owned();
    assert_eq!(told(&[not_asked.clone()]).1, [""; 0]);
    // And what was resolved stays so.
    let (lives, told) = told(&[says(&[(ALL, Fail)]), says(&[(ALL, Pass)]), not_asked]);
    assert_eq!(told.len(), 2);
    assert!(lives.iter().all(|life| !life.is_open()));
}

#[test]
fn what_is_left_open_about_others_holds_nothing_back() {
    let (_, told) = told(&[says(&[(&["a", "b"], Fail)]), says(&[(&["c"], Unknown)])]);
    assert_eq!(
        told,
        [
            "0 began CM302 clustermesh a b: good -> fail",
            "1 resolved CM302 clustermesh a b: fail -> good",
            "1 began CM302 clustermesh c: good -> unknown",
        ]
    );
}

#[test]
fn a_fault_that_spreads_or_shrinks_is_the_same_fault() {
    let (lives, told) = told(&[
        says(&[(&["a", "b"], Fail)]),
        says(&[(ALL, Fail)]),
        says(&[(&["b", "c"], Fail)]),
        says(&[(ALL, Pass)]),
    ]);
    assert_eq!(
        told,
        [
            "0 began CM302 clustermesh a b: good -> fail",
            "1 changed CM302 clustermesh a b c: fail -> fail",
            "2 changed CM302 clustermesh b c: fail -> fail",
            "3 resolved CM302 clustermesh b c: fail -> good",
        ]
    );
    let last = lives.iter().find(|life| life.key.clusters == ["b", "c"]).unwrap();
    assert_eq!((last.first_seen, last.ending), (at(0), Some(Ending::Mended)));
}

#[test]
fn another_pairs_fault_is_another_fault() {
    let (_, told) = told(&[
        says(&[(&["a", "b"], Fail), (&["a", "c"], Fail)]),
        says(&[(&["a", "c"], Fail)]),
    ]);
    assert_eq!(told[2..], ["1 resolved CM302 clustermesh a b: fail -> good"]);
}

#[test]
fn several_findings_of_one_key_count_as_the_worst() {
    let mut both = says(&[(&["a"], Pass), (&["a"], Fail), (&["a"], Fail)]);
    both.findings[1].subject.nodes = vec!["n1".to_owned()];
    both.findings[2].subject.nodes = vec!["n2".to_owned()];
    let (lives, _) = told(&[both]);
    let life = lives.iter().next().unwrap();
    assert_eq!((life.state, life.last.nodes.len()), (State::Fail, 2));
}

#[test]
fn one_open_question_is_told_once_whoever_it_is_about() {
    let (lives, told) = told(&[says(&[(&["a"], Unknown)]), says(&[(ALL, Unknown)])]);
    assert_eq!(
        told,
        [
            "0 began CM302 clustermesh a: good -> unknown",
            "1 began CM302 clustermesh a b c: good -> unknown"
        ]
    );
    assert_eq!(lives.iter().filter(|life| life.is_open()).count(), 1);
}

#[test]
fn findings_of_a_cluster_that_left_the_group_end_with_it() {
    let (mut lives, _) = told(&[says(&[(&["a", "b"], Fail), (&["c"], Fail)])]);
    let kept = BTreeSet::from(["a".to_owned(), "c".to_owned()]);
    let events = lives.keep_clusters(at(1), &kept);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].life.ending, Some(Ending::Left));
    assert_eq!(lives.keep_clusters(at(2), &kept), []);
}

#[test]
fn what_ended_long_ago_can_be_forgotten_and_what_is_open_cannot() {
    let (mut lives, _) = told(&[says(&[(&["a"], Fail), (&["c"], Fail)]), says(&[(&["c"], Fail)])]);
    assert_eq!(lives.forget_before(at(1)), []);
    assert_eq!(lives.forget_before(at(99)).len(), 1);
    assert_eq!(lives.iter().count(), 1);
}

#[test]
fn a_real_report_twice_tells_nothing_new() {
    let mut apart = cilium("west", 2);
    set_cilium_key(&mut apart, "tunnel-protocol", Some("geneve"));
    let broken = report(Clustermesh, &[cilium("east", 1), apart]);
    let (lives, first) = told(std::slice::from_ref(&broken));
    assert!(
        first.contains(&"0 began CM302 clustermesh east west: good -> fail".to_owned()),
        "{first:#?}"
    );
    let (_, both) = told(&[broken.clone(), broken.clone()]);
    assert_eq!(both, first);
    let open = lives.iter().filter(|life| life.is_open()).count();
    let keys: BTreeSet<FindingKey> = broken
        .findings
        .iter()
        .filter(|finding| Sighting::of(finding).is_some_and(|sighting| sighting.state != State::Good))
        .map(FindingKey::of)
        .collect();
    assert_eq!(open, keys.len());
}

fn any_report() -> impl Strategy<Value = Vec<(Vec<&'static str>, Verdict)>> {
    let clusters = proptest::sample::subsequence(ALL.to_vec(), 1..=3);
    let verdict = prop_oneof![Just(Pass), Just(Fail), Just(Unknown), Just(Verdict::Warn), Just(Skip)];
    proptest::collection::vec((clusters, verdict), 0..4)
}

proptest! {
    /// Rows of a store between any two audits change nothing.
    #[test]
    fn lives_are_the_same_in_one_go_and_step_by_step(said in proptest::collection::vec(any_report(), 1..12)) {
        let template = says(&[]);
        let reports: Vec<Report> = said
            .iter()
            .map(|said| {
                let said: Vec<(&[&str], Verdict)> = said.iter().map(|(names, verdict)| (names.as_slice(), *verdict)).collect();
                Report { findings: says(&said).findings, ..template.clone() }
            })
            .collect();
        let mut in_one_go = Lives::default();
        let mut stored: Vec<String> = Vec::new();
        for (minute, report) in (0..).zip(&reports) {
            let expected = in_one_go.record(at(minute), report);
            let mut lives: Lives = stored.iter().rev().map(|row| serde_json::from_str::<Life>(row).unwrap()).collect();
            prop_assert_eq!(lives.record(at(minute), report), expected);
            stored = lives.into_iter().map(|life| serde_json::to_string(&life).unwrap()).collect();
            // What is broken now is an open failure, whatever was before.
            for finding in report.findings.iter().filter(|finding| finding.verdict == Fail) {
                prop_assert!(in_one_go.get(&FindingKey::of(finding)).unwrap().is_open());
            }
        }
        let back: Vec<String> = in_one_go.into_iter().map(|life| serde_json::to_string(&life).unwrap()).collect();
        prop_assert_eq!(back, stored);
    }
}
