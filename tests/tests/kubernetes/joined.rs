//! Clusters that are said to be joined: pods on every node, test Services, and nothing of it left. Nothing carries packets between the pod
//! networks of these clusters, and the report has to say so.

use std::collections::BTreeSet;

use prejoin_checks::report::Verdict;
use serde_json::json;

use super::audited::Audited;
use super::snapshot::Snapshot;
use super::suite::{IMAGE, Suite, suite};

const EPHEMERAL: [&str; 4] = ["--agents", "ephemeral", "--image", IMAGE];

fn verdict(audited: &Audited, code: &str) -> Verdict {
    let mut of_code = audited.report.findings.iter().filter(|finding| finding.code == code);
    of_code.next().unwrap().verdict
}

fn from_nodes(audited: &Audited, code: &str) -> BTreeSet<String> {
    let paths = audited.json["paths"].as_array().into_iter().flatten();
    let of_flow = paths.filter(|path| path["codes"].as_array().unwrap().contains(&json!(code)));
    of_flow
        .map(|path| path["from"]["node"].as_str().unwrap().to_owned())
        .collect()
}

fn nodes(suite: &Suite) -> BTreeSet<String> {
    let contexts = suite.contexts().iter();
    contexts.flat_map(|context| suite.names(context, "nodes")).collect()
}

#[test]
fn joined_clusters_are_proven_from_pods_on_every_node_and_left_as_they_were() {
    let Some(suite) = suite() else { return };
    let Some(_lab) = suite.lab() else { return };
    let before = Snapshot::of(&suite);
    let audited = suite.audit(&[&["--phase", "joined"], &EPHEMERAL[..]].concat());
    for code in ["CM510", "CM511", "CM512"] {
        assert_eq!(from_nodes(&audited, code), nodes(&suite), "{code}: {}", audited.stderr);
    }
    // Nothing carries them.
    assert_eq!(verdict(&audited, "CM510"), Verdict::Fail, "{}", audited.stderr);
    assert_eq!(verdict(&audited, "CM512"), Verdict::Fail, "{}", audited.stderr);
    assert_ne!(verdict(&audited, "CM511"), Verdict::Pass);
    // What would say that they are not joined at all are Secrets, which are not read unasked.
    assert_eq!(verdict(&audited, "CM621"), Verdict::Skip);
    assert!(audited.stderr.contains("asking again"), "{}", audited.stderr);
    before.assert_unchanged(&suite);
}

#[test]
fn before_the_join_no_pods_and_no_services_are_made() {
    let Some(suite) = suite() else { return };
    let audited = suite.audit(&EPHEMERAL);
    for code in ["CM510", "CM511", "CM512", "CM621"] {
        assert_eq!(verdict(&audited, code), Verdict::Skip, "{code}");
        assert_eq!(from_nodes(&audited, code), BTreeSet::new());
    }
    // One agent on each node, and one in the pod network of each cluster.
    let ready = format!(
        "{0} of {0} agents ready",
        suite.names(&suite.contexts()[0], "nodes").len() + 1
    );
    assert!(audited.stderr.contains(&ready), "{}", audited.stderr);
}
