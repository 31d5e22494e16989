//! Agents for one audit: whatever becomes of it, nothing of them stays.

use nix::sys::signal::Signal;
use serde_json::json;

use super::audited::Audited;
use super::running::{SENDS, SLOWLY};
use super::snapshot::Snapshot;
use super::suite::{IMAGE, Suite, suite};

const EPHEMERAL: [&str; 4] = ["--agents", "ephemeral", "--image", IMAGE];
const AUDIT: [&str; 5] = ["audit", "--profile", "clustermesh", "-o", "json"];
/// What the namespaces of runs carry.
const OF_RUNS: &str = "--selector=prejoin.dev/run";
/// Longer than a namespace takes to go on a machine that is busy.
const PATIENCE: &str = "--timeout=120s";

/// The namespace of the only run in a cluster.
fn namespace_of_run(suite: &Suite, context: &str) -> String {
    let names = suite.kubectl(context, &["get", "namespaces", OF_RUNS, "--output=name"]);
    let names: Vec<&str> = names.split_whitespace().collect();
    assert_eq!(names.len(), 1, "runs in {context}: {names:?}");
    names[0].to_owned()
}

#[test]
fn one_run_starts_agents_proves_every_flow_and_leaves_nothing() {
    let Some(suite) = suite() else { return };
    let with_installed_agents = {
        let _agents = suite.agents(&[]);
        suite.audit(&[]).complaints()
    };
    let before = Snapshot::of(&suite);
    let audited = suite.audit(&EPHEMERAL);
    before.assert_unchanged(&suite);
    assert_eq!(audited.complaints(), with_installed_agents);
    for code in ["CM501", "CM506", "CM507", "CM508"] {
        let paths = audited.paths(code);
        let proven = |path: &String| path.contains(": proven, ");
        assert!(!paths.is_empty() && paths.iter().all(proven), "{code}: {paths:#?}");
    }
    for context in suite.contexts() {
        for said in ["agents ready after", "this audit's agents are gone"] {
            let line = |line: &str| line.starts_with(&format!("prejoin: {context}: ")) && line.contains(said);
            assert!(
                audited.stderr.lines().any(line),
                "{context}: {said}: {}",
                audited.stderr
            );
        }
    }
}

#[test]
fn an_interrupted_audit_reports_what_it_knows_and_takes_its_agents_along() {
    let Some(suite) = suite() else { return };
    let before = Snapshot::of(&suite);
    let mut audit = suite.start(&[&AUDIT[..], &EPHEMERAL, &SLOWLY].concat());
    audit.until_it_says(SENDS);
    audit.signal(Signal::SIGINT);
    let outcome = audit.ended();
    before.assert_unchanged(&suite);
    assert_eq!(outcome.code, 5, "what was not asked is not known: {}", outcome.stderr);
    assert!(!Audited::of(&outcome).report.findings.is_empty());
}

#[test]
fn agents_that_are_still_on_their_way_are_taken_back_by_an_interrupt() {
    let Some(suite) = suite() else { return };
    let before = Snapshot::of(&suite);
    let nowhere = ["--agents", "ephemeral", "--image", "192.0.2.1:9/prejoin/agent:none"];
    let mut audit = suite.start(&[&AUDIT[..], &nowhere].concat());
    audit.until_it_says("agents ready; ");
    audit.signal(Signal::SIGINT);
    let outcome = audit.ended();
    before.assert_unchanged(&suite);
    assert_eq!(outcome.code, 5, "{}", outcome.stderr);
}

#[test]
fn agents_of_a_killed_audit_end_at_their_deadline() {
    let Some(suite) = suite() else { return };
    let before = Snapshot::of(&suite);
    let deadline = ["--agents-deadline", "12s"];
    let mut audit = suite.start(&[&AUDIT[..], &EPHEMERAL, &SLOWLY, &deadline].concat());
    audit.until_it_says(SENDS);
    audit.signal(Signal::SIGKILL);
    audit.ended();
    for context in suite.contexts() {
        suite.kubectl(context, &["wait", "--for=delete", "namespace", OF_RUNS, PATIENCE]);
    }
    before.assert_unchanged(&suite);
}

/// What has our labels and was not applied by us is someone else's, however old.
#[test]
fn what_a_killed_audit_left_is_swept_by_the_next_and_what_others_made_is_not() {
    let Some(suite) = suite() else { return };
    let of_others = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": "prejoin-run-00c0ffee",
            "labels": { "app.kubernetes.io/part-of": "prejoin", "prejoin.dev/run": "00c0ffee" },
            "annotations": { "prejoin.dev/deadline-seconds": "0" },
        },
    });
    let contexts = suite.contexts().to_vec();
    let before_all = Snapshot::of(&suite);
    let mut audit = suite.start(&[&AUDIT[..], &EPHEMERAL, &SLOWLY].concat());
    audit.until_it_says(SENDS);
    audit.signal(Signal::SIGKILL);
    audit.ended();
    for context in &contexts {
        let namespace = namespace_of_run(&suite, context);
        if context != &contexts[0] {
            // There, only the namespace is left; in the first, agents still wait.
            let place = namespace.replace("namespace/", "--namespace=");
            suite.kubectl(context, &[&place, "delete", "jobs", "--all", "--cascade=foreground"]);
        }
        let over = "prejoin.dev/deadline-seconds=0";
        suite.kubectl(context, &["annotate", &namespace, over, "--overwrite"]);
    }
    {
        let _of_others = suite.object(&contexts[0], of_others);
        let audited = suite.audit(&[&EPHEMERAL[..], &["--probe", "smoke"]].concat());
        for context in &contexts {
            let swept = format!("prejoin: {context}: removed what an earlier audit left: ");
            assert!(audited.stderr.contains(&swept), "{}", audited.stderr);
        }
        let left = namespace_of_run(&suite, &contexts[0]);
        assert_eq!(left, "namespace/prejoin-run-00c0ffee");
    }
    before_all.assert_unchanged(&suite);
}

#[test]
fn agents_for_one_audit_leave_the_rest_of_a_namespace_that_is_there_alone() {
    let Some(suite) = suite() else { return };
    let labels = json!({ "pod-security.kubernetes.io/enforce": "privileged" });
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "e2e-tools", "labels": labels } });
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "prejoin-agent", "namespace": "e2e-tools" },
    });
    let contexts = suite.contexts();
    let _namespaces: Vec<_> = contexts
        .iter()
        .map(|context| suite.object(context, namespace.clone()))
        .collect();
    let _accounts: Vec<_> = contexts
        .iter()
        .map(|context| suite.object(context, account.clone()))
        .collect();
    suite.until_furnished("e2e-tools");
    let before = Snapshot::of(&suite);
    let audited = suite.audit(&[&EPHEMERAL[..], &["--namespace", "e2e-tools"]].concat());
    before.assert_unchanged(&suite);
    let paths = audited.paths("CM501");
    assert!(
        !paths.is_empty() && paths.iter().all(|path| path.contains(": proven, ")),
        "{paths:#?}"
    );
}
