use prejoin_checks::profile::Profile::Clustermesh;
use prejoin_checks::samples::{cilium, report, set_cilium_key};

use super::super::samples;
use super::super::target::TargetKind;
use super::*;

fn regarding() -> ObjectReference {
    ObjectReference {
        api_version: Some("apps/v1".to_owned()),
        kind: Some("Deployment".to_owned()),
        name: Some("prejoin-cluster-agent".to_owned()),
        namespace: Some("prejoin".to_owned()),
        ..ObjectReference::default()
    }
}

#[test]
fn each_change_is_an_event_of_its_own_name() {
    let notice = samples::notice(TargetKind::Webhook);
    let events = events(&notice, "west", &regarding());
    insta::assert_json_snapshot!(events);
    let mut names: Vec<_> = events
        .iter()
        .map(|event| event.metadata.name.clone().unwrap())
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), events.len());
    for name in names {
        assert!(
            name.len() < 253
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.'),
            "{name}"
        );
    }
}

#[test]
fn a_cluster_gets_the_events_that_are_about_it() {
    let notice = samples::notice(TargetKind::Webhook);
    assert_eq!(events(&notice, "north", &regarding()), []);
}

#[test]
fn a_note_is_as_long_as_kubernetes_takes() {
    let mut notice = samples::notice(TargetKind::Webhook);
    notice.alerts[0].found = "ü".repeat(5_000);
    let note = events(&notice, "west", &regarding())[0].note.clone().unwrap();
    assert!(note.len() <= 1_024 && note.ends_with('…'));
}

fn broken() -> Report {
    let mut apart = cilium("west", 2);
    set_cilium_key(&mut apart, "tunnel-protocol", Some("geneve"));
    report(Clustermesh, &[cilium("east", 1), apart, cilium("north", 3)])
}

#[test]
fn a_cluster_report_counts_everything_and_lists_what_counts() {
    let report = broken();
    let made = cluster_report("prod", "west", &report);
    let about_west = |finding: &&Finding| finding.subject.clusters.iter().any(|name| name == "west");
    let all = report.findings.iter().filter(about_west);
    let summary = made.summary;
    assert_eq!(
        summary.pass + summary.fail + summary.warn + summary.error + summary.skip,
        all.clone().count() as u64
    );
    assert_eq!(made.results.len(), all.filter(|finding| finding.counts()).count());
    let tunnel = made.results.iter().find(|result| result.policy == "CM302").unwrap();
    insta::assert_json_snapshot!(tunnel);
    assert_eq!(made.metadata.name, "prejoin-prod");
}

#[test]
fn what_is_waived_is_listed_and_counts_as_skipped() {
    let mut report = broken();
    let finding = report
        .findings
        .iter_mut()
        .find(|finding| finding.code == "CM302")
        .unwrap();
    finding.waived_by = Some(prejoin_checks::report::WaivedBy {
        owner: "me".to_owned(),
        reason: "rebuilt".to_owned(),
        until: "2026-12-24".parse().unwrap(),
    });
    let made = cluster_report("prod", "west", &report);
    let tunnel = made.results.iter().find(|result| result.policy == "CM302").unwrap();
    assert_eq!(tunnel.result, "skip");
    assert_eq!(tunnel.properties["waivedBy"], "me until 2026-12-24: rebuilt");
}

#[test]
fn any_group_gives_a_name_that_kubernetes_takes_and_no_two_give_the_same() {
    let groups = ["prod", "Prod", "pro d", "-prod-", "üñï", "", &"x".repeat(63)];
    let names: std::collections::BTreeSet<String> = groups.iter().map(|group| report_name(group)).collect();
    assert_eq!(names.len(), groups.len());
    for name in names {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(
            name.len() <= 253 && name.chars().all(plain) && !name.ends_with('-'),
            "{name}"
        );
    }
}
