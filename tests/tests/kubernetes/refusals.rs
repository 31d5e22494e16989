//! Clusters that do not take agents, or not everywhere: who refused what is said, and nothing of it stays.

use serde_json::{Value, json};

use super::snapshot::Snapshot;
use super::suite::{IMAGE, Suite, suite};

/// Tries to install agents in one cluster, removes what came of it, and gives all that was said.
fn refused(suite: &Suite, context: &str, image: &str) -> String {
    let cluster = ["--context", context];
    let install = ["agents", "install", "--image", image, "--timeout", "15s"];
    let outcome = suite.prejoin(&[&install, &cluster[..]].concat());
    assert_ne!(outcome.code, 0, "{outcome:#?}");
    let removed = suite.prejoin(&[&["agents", "remove"], &cluster[..]].concat());
    assert_eq!(removed.code, 0, "{removed:#?}");
    outcome.stdout + &outcome.stderr
}

fn namespace(labels: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "prejoin-system", "labels": labels } })
}

fn in_namespace(api_version: &str, kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "metadata": { "name": "e2e", "namespace": "prejoin-system" }, "spec": spec,
    })
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let Some(suite) = suite() else { return };
    let before = Snapshot::of(&suite);
    let said = refused(&suite, &suite.contexts()[0], "192.0.2.1:9/prejoin/agent:none");
    assert!(said.contains("the image cannot be pulled"), "{said}");
    before.assert_unchanged(&suite);
}

#[test]
fn what_a_namespace_forbids_is_named() {
    let Some(suite) = suite() else { return };
    let context = suite.contexts()[0].clone();
    let nothing = json!({});
    let quota = json!({ "hard": { "pods": "0" } });
    let limits = json!({ "limits": [{ "type": "Container", "max": { "memory": "4Mi" } }] });
    for (labels, object, says) in [
        (&nothing, in_namespace("v1", "ResourceQuota", &quota), "ResourceQuota"),
        (&nothing, in_namespace("v1", "LimitRange", &limits), "LimitRange"),
    ] {
        let before = Snapshot::of(&suite);
        {
            let _namespace = suite.object(&context, namespace(labels));
            let _object = suite.object(&context, object);
            let said = refused(&suite, &context, IMAGE);
            assert!(said.contains(says), "{says}: {said}");
        }
        before.assert_unchanged(&suite);
    }
}

#[test]
fn a_webhook_that_does_not_answer_is_named() {
    let Some(suite) = suite() else { return };
    let context = suite.contexts()[0].clone();
    let before = Snapshot::of(&suite);
    {
        let _webhook = suite.object(
            &context,
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingWebhookConfiguration",
                "metadata": { "name": "prejoin-e2e" },
                "webhooks": [{
                    "name": "refuses.prejoin.e2e",
                    "clientConfig": { "url": "https://127.0.0.1:1/" },
                    "rules": [{ "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["daemonsets"] }],
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "timeoutSeconds": 2,
                }],
            }),
        );
        let said = refused(&suite, &context, IMAGE);
        assert!(said.contains("refuses.prejoin.e2e"), "{said}");
    }
    before.assert_unchanged(&suite);
}

#[test]
fn a_policy_that_refuses_is_named() {
    let Some(suite) = suite() else { return };
    let context = suite.contexts()[0].clone();
    let before = Snapshot::of(&suite);
    {
        let group = "admissionregistration.k8s.io/v1";
        let _policy = suite.object(
            &context,
            json!({
                "apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": "prejoin-e2e" },
                "spec": {
                    "matchConstraints": { "resourceRules": [{
                        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["daemonsets"],
                    }]},
                    "validations": [{ "expression": "!object.spec.template.spec.hostNetwork", "message": "no host network here" }],
                },
            }),
        );
        let _binding = suite.object(
            &context,
            json!({
                "apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": "prejoin-e2e" },
                "spec": { "policyName": "prejoin-e2e", "validationActions": ["Deny"] },
            }),
        );
        let said = until_refused(&suite, &context);
        assert!(said.contains("no host network here"), "{said}");
    }
    before.assert_unchanged(&suite);
}

/// Asks what installing would come to, until the server, which looks at new policies only after a moment, refuses.
fn until_refused(suite: &Suite, context: &str) -> String {
    let install = [
        "agents",
        "install",
        "--image",
        IMAGE,
        "--timeout",
        "60s",
        "--dry-run",
        "--context",
        context,
    ];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let _namespace = suite.object(
        context,
        namespace(&json!({ "app.kubernetes.io/part-of": "prejoin-e2e" })),
    );
    loop {
        let outcome = suite.prejoin(&install);
        let said = outcome.stdout + &outcome.stderr;
        if outcome.code != 0 || std::time::Instant::now() > deadline {
            return said;
        }
    }
}

#[test]
fn nodes_that_are_cordoned_or_tainted_are_proven_all_the_same() {
    let Some(suite) = suite() else { return };
    let (context, node) = (
        suite.contexts()[0].clone(),
        suite.names(&suite.contexts()[0], "nodes").remove(0),
    );
    let before = Snapshot::of(&suite);
    suite.kubectl(&context, &["cordon", &node]);
    suite.kubectl(&context, &["taint", "node", &node, "e2e=e2e:NoSchedule"]);
    {
        let _agents = suite.agents(&["--mode", "node"]);
        let paths = suite.audit(&[]).paths("CM501");
        let proven = |path: &&String| path.contains(&node) && path.contains(": proven, ");
        assert_eq!(paths.iter().filter(proven).count(), 2, "{paths:#?}");
    }
    suite.kubectl(&context, &["uncordon", &node]);
    suite.kubectl(&context, &["taint", "node", &node, "e2e-"]);
    before.assert_unchanged(&suite);
}

/// What somebody else made under our name is theirs.
#[test]
fn what_others_made_under_our_name_is_left_alone() {
    let Some(suite) = suite() else { return };
    let context = suite.contexts()[0].clone();
    let theirs = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": "prejoin" }, "value": 7,
    });
    let _theirs = suite.object(&context, theirs);
    let before = Snapshot::of(&suite);
    let install = ["agents", "install", "--image", IMAGE, "--context", &context];
    let outcome = suite.prejoin(&install);
    let removed = suite.prejoin(&["agents", "remove", "--context", &context]);
    assert_eq!(removed.code, 0, "{removed:#?}");
    before.assert_unchanged(&suite);
    let said = outcome.stdout + &outcome.stderr;
    assert!(said.contains("PriorityClass") && said.contains("prejoin"), "{said}");
}
