//! The pair of real clusters that can be joined, and the same pair after three changes that the vendor's own connect command accepts.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use prejoin_agent::cluster::{ReadOptions, configure, connect, read_cluster};
use prejoin_checks::engine::judge;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::intent::Intent;
use prejoin_checks::policy::{Policy, Probe};
use prejoin_checks::profile::Profile;
use prejoin_checks::report::{Finding, Report, Verdict};
use prejoin_tests::api_server::{ApiServer, Objects};

/// The facts of a bundled example: `good/east`.
fn example(name: &str) -> ClusterFacts {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The facts that reading the recording of the same cluster over HTTP gives.
async fn served(name: &str) -> ClusterFacts {
    let server = ApiServer::start(Objects::cluster(name));
    let mut config = kube::Config::new(server.url().parse().unwrap());
    let options = ReadOptions {
        api_server: Some(server.url().parse().unwrap()),
        ..ReadOptions::default()
    };
    configure(&mut config, options.timeout);
    let (_, short) = name.split_once('/').unwrap();
    let facts = Box::pin(read_cluster(connect(config).unwrap(), short, options)).await;
    assert_eq!(server.requests_for("secrets").len(), 0, "Secrets were asked for");
    facts
}

fn report(pair: &[ClusterFacts], probe: Probe) -> Report {
    let mut policy = Policy::new(vec![Profile::Clustermesh], "2026-11-21T12:00:00Z".parse().unwrap());
    policy.probe = probe;
    judge(pair, &Intent::default(), &policy)
}

fn examples(pair: &str) -> Vec<ClusterFacts> {
    vec![example(&format!("{pair}/east")), example(&format!("{pair}/west"))]
}

fn failures(report: &Report) -> Vec<&Finding> {
    report
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fail)
        .collect()
}

#[test]
fn the_good_pair_passes_without_flows_and_is_incomplete_with_them() {
    let asked_for_nothing = report(&examples("good"), Probe::None);
    assert_eq!((asked_for_nothing.exit_code, asked_for_nothing.summary.unknown), (0, 0));
    let without_agents = report(&examples("good"), Probe::Cover);
    assert_eq!(without_agents.exit_code, 5);
    assert!(
        without_agents
            .findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Unknown)
            .all(|finding| finding.reason == "no agent")
    );
}

#[test]
fn the_broken_pair_fails_for_its_three_causes_and_no_other() {
    let report = report(&examples("broken"), Probe::None);
    assert_eq!((report.exit_code, report.summary.unknown), (3, 0));
    let codes: BTreeSet<&str> = failures(&report).iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, BTreeSet::from(["CM302", "CM401", "NET101"]));
    assert_eq!(report.causes(Verdict::Fail).len(), 3);
    for finding in failures(&report) {
        assert!(
            !finding.evidence.is_empty() && !finding.remedy.is_empty(),
            "{}",
            finding.code
        );
        assert_eq!(
            finding
                .subject
                .clusters
                .iter()
                .map(String::as_str)
                .collect::<BTreeSet<_>>(),
            BTreeSet::from(["east", "west"])
        );
    }
}

#[tokio::test]
async fn reading_the_recordings_over_http_gives_the_findings_of_the_examples() {
    for pair in ["good", "broken"] {
        let live = [
            served(&format!("{pair}/east")).await,
            served(&format!("{pair}/west")).await,
        ];
        let (live, files) = (report(&live, Probe::None), report(&examples(pair), Probe::None));
        let key = |finding: &Finding| (finding.code.clone(), finding.subject.clusters.clone(), finding.verdict);
        let keys = |report: &Report| report.findings.iter().map(key).collect::<BTreeSet<_>>();
        assert_eq!(keys(&live), keys(&files), "{pair}");
        assert_eq!(live.exit_code, files.exit_code);
    }
}
