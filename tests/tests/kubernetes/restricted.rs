//! Clusters that do not allow agents everything: they do what they can, and the report says what is unknown and why.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::audited::Audited;
use super::snapshot::Snapshot;
use super::suite::{Applied, IMAGE, Suite, suite};

const EPHEMERAL: [&str; 4] = ["--agents", "ephemeral", "--image", IMAGE];
const POLICIES: &str = "admissionregistration.k8s.io/v1";

/// Why the agents of nodes are not there, by node.
fn without_agent(audited: &Audited) -> Vec<(String, String)> {
    let findings = audited.report.findings.iter();
    let of_agents = findings.filter(|finding| finding.code == "NET301" && finding.counts());
    let nodes = of_agents.flat_map(|finding| {
        let why = format!("{}{}", finding.found, finding.reason);
        finding
            .subject
            .nodes
            .iter()
            .map(move |node| (node.clone(), why.clone()))
    });
    nodes.collect()
}

fn all_nodes(suite: &Suite) -> Vec<String> {
    let contexts = suite.contexts().iter();
    contexts.flat_map(|context| suite.names(context, "nodes")).collect()
}

fn assert_every_node_says(suite: &Suite, audited: &Audited, why: &str) {
    let said = without_agent(audited);
    for node in all_nodes(suite) {
        let says = |(of, text): &(String, String)| *of == node && text.contains(why);
        assert!(said.iter().any(says), "{node}: {why}: {said:#?}");
    }
    let paths = audited.paths("CM501");
    assert!(!paths.iter().any(|path| path.contains(": proven, ")), "{paths:#?}");
}

#[test]
fn where_pod_security_is_restricted_each_node_says_why_it_has_no_agent() {
    let Some(suite) = suite() else { return };
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": "e2e-restricted", "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
    });
    let contexts = suite.contexts();
    let _namespaces: Vec<_> = contexts
        .iter()
        .map(|context| suite.object(context, namespace.clone()))
        .collect();
    suite.until_furnished("e2e-restricted");
    let before = Snapshot::of(&suite);
    for mode in ["cluster", "restricted"] {
        let there = ["--namespace", "e2e-restricted", "--agents-mode", mode];
        let audited = suite.audit(&[&EPHEMERAL[..], &there].concat());
        before.assert_unchanged(&suite);
        assert_eq!(audited.report.exit_code, 5, "what no agent proves is unknown");
        assert_every_node_says(&suite, &audited, "Pod Security refuses its pod");
    }
}

/// A policy that lets no pod have NET_RAW, in force.
fn without_raw_sockets<'a>(suite: &'a Suite, context: &str) -> [Applied<'a>; 2] {
    let expression = "object.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.capabilities) || \
                      !has(c.securityContext.capabilities.add) || !('NET_RAW' in c.securityContext.capabilities.add))";
    let policy = suite.object(
        context,
        json!({
            "apiVersion": POLICIES, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": "e2e-no-raw" },
            "spec": {
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
                }]},
                "validations": [{ "expression": expression, "message": "nobody has NET_RAW here" }],
            },
        }),
    );
    let binding = suite.object(
        context,
        json!({
            "apiVersion": POLICIES, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": "e2e-no-raw" },
            "spec": { "policyName": "e2e-no-raw", "validationActions": ["Deny"] },
        }),
    );
    let overrides: Value = json!({ "spec": { "containers": [{
        "name": "e2e", "image": IMAGE, "securityContext": { "capabilities": { "add": ["NET_RAW"] } },
    }]}});
    let overrides = format!("--overrides={overrides}");
    let try_it = ["run", "e2e", "--image", IMAGE, "--dry-run=server", &overrides];
    let deadline = Instant::now() + Duration::from_secs(60);
    // The server looks at new policies only after a moment.
    while suite.try_kubectl(context, &try_it).code == 0 {
        assert!(Instant::now() < deadline, "the policy is not in force");
    }
    [policy, binding]
}

#[test]
fn where_no_capability_is_allowed_agents_without_any_prove_what_they_can() {
    let Some(suite) = suite() else { return };
    let contexts = suite.contexts();
    let _policies: Vec<_> = contexts
        .iter()
        .map(|context| without_raw_sockets(&suite, context))
        .collect();
    let before = Snapshot::of(&suite);
    let audited = suite.audit(&EPHEMERAL);
    assert_every_node_says(&suite, &audited, "an admission policy refuses its pod");
    let audited = suite.audit(&[&EPHEMERAL[..], &["--agents-mode", "restricted"]].concat());
    before.assert_unchanged(&suite);
    assert_eq!(without_agent(&audited), [], "{}", audited.stderr);
    for code in ["CM501", "CM505", "CM506", "CM508"] {
        let paths = audited.paths(code);
        assert!(
            !paths.is_empty() && paths.iter().all(|path| path.contains(": proven, ")),
            "{code}: {paths:#?}"
        );
    }
    let complaints = audited.complaints();
    let echo: Vec<_> = complaints.iter().filter(|said| said.starts_with("CM507 ")).collect();
    assert!(
        !echo.is_empty()
            && echo
                .iter()
                .all(|said| said.starts_with("CM507 unknown: ") && said.contains("NET_RAW")),
        "{complaints:#?}"
    );
}
