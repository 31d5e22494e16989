//! Nodes that are not as the others: with an older agent, with a kubelet that is gone, without any agent.

use std::time::{Duration, Instant};

use prejoin_checks::report::{Finding, Verdict};
use prejoin_tests::kubernetes::{Component, Way};
use serde_json::{Value, json};

use super::snapshot::Snapshot;
use super::suite::suite;

const IN_NAMESPACE: &str = "--namespace=prejoin-system";
const PATIENCE: &str = "--timeout=120s";

#[test]
fn agents_one_protocol_version_older_are_understood() {
    let Some(suite) = suite() else { return };
    let _agents = suite.agents(&[]);
    let well = suite.audit(&[]);
    let older = "PREJOIN_HIGHEST_VERSION=1";
    let second = &suite.contexts()[1];
    suite.kubectl(second, &[IN_NAMESPACE, "set", "env", "daemonset/prejoin-agent", older]);
    suite.kubectl(
        second,
        &[IN_NAMESPACE, "rollout", "status", "daemonset/prejoin-agent", PATIENCE],
    );
    let audited = suite.audit(&[]);
    assert_eq!(audited.complaints(), well.complaints());
    let paths = audited.paths("CM501");
    assert!(
        !paths.is_empty() && paths.iter().all(|path| path.contains(": proven, ")),
        "{paths:#?}"
    );
}

/// The kubelet is gone, as the cluster knows a minute later by itself, and here at once.
#[test]
fn a_node_that_is_not_ready_is_unknown_and_the_others_are_proven() {
    let Some(suite) = suite() else { return };
    let Some(lab) = suite.lab() else { return };
    let before = Snapshot::of(&suite);
    {
        let _agents = suite.agents(&["--mode", "node"]);
        lab.stop("west-n2", Component::Kubelet, Way::Kill).unwrap();
        let gone = json!({ "status": { "conditions": [{
            "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status.",
        }]}});
        let patch = format!("--patch={gone}");
        suite.kubectl("west", &["patch", "node", "west-n2", "--subresource=status", &patch]);
        let audited = suite.audit(&[]);
        let paths = audited.paths("CM501");
        let (of_node, others): (Vec<_>, Vec<_>) = paths.iter().partition(|path| path.contains("west-n2"));
        assert!(
            !others.is_empty() && others.iter().all(|path| path.contains(": proven, ")),
            "{paths:#?}"
        );
        assert!(!of_node.iter().any(|path| path.contains(": proven, ")), "{paths:#?}");
        let findings = audited.report.findings.iter();
        let failing: Vec<_> = findings.filter(|finding| finding.verdict == Verdict::Fail).collect();
        assert!(failing.iter().all(|finding| finding.code != "CM501"), "{failing:#?}");
        let lost = audited
            .report
            .findings
            .iter()
            .filter(|finding| finding.code == "NET301" && finding.counts());
        let lost: Vec<_> = lost.flat_map(|finding| &finding.subject.nodes).collect();
        assert_eq!(lost, ["west-n2"]);
        let status = suite.prejoin_everywhere(&["agents", "status"]);
        assert!(status.stdout.contains("node west-n2 is not ready"), "{status:#?}");

        lab.start("west-n2", Component::Kubelet).unwrap();
        suite.kubectl("west", &["wait", "--for=condition=Ready", "node", "west-n2", PATIENCE]);
    }
    let deadline = Instant::now() + Duration::from_secs(120);
    let taints = ["get", "node", "west-n2", "--output=jsonpath={.spec.taints}"];
    while !suite.kubectl("west", &taints).is_empty() {
        assert!(Instant::now() < deadline, "the node's taints are not taken away");
    }
    before.assert_unchanged(&suite);
}

/// So many that a report which named each would be of no use.
const MANY: usize = 1000;

fn fake_node(number: usize) -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": format!("fake-{number:04}"), "labels": { "e2e": "fake" } } })
}

#[test]
fn a_thousand_nodes_without_agents_are_said_to_be_not_covered() {
    let Some(suite) = suite() else { return };
    let context = suite.contexts()[0].clone();
    let before = Snapshot::of(&suite);
    let nodes: Vec<Value> = (0..MANY).map(fake_node).collect();
    suite.apply(&context, &nodes);
    let audited = suite.audit(&["--agents", "ephemeral", "--image", super::suite::IMAGE]);
    suite.kubectl(&context, &["delete", "nodes", "--selector=e2e=fake"]);
    before.assert_unchanged(&suite);
    let said = "not covered by agents: fake-0000, fake-0001, fake-0002 and 997 more: its operating system is unknown";
    assert!(audited.stderr.contains(said), "{}", audited.stderr);
    // The nodes that have agents are proven, and nothing that the others lack counts as proven.
    let paths = audited.paths("CM501");
    let (of_fakes, others): (Vec<_>, Vec<_>) = paths.iter().partition(|path| path.contains("fake-"));
    assert!(
        others.len() >= 4 && others.iter().all(|path| path.contains(": proven, ")),
        "{others:#?}"
    );
    assert!(
        !of_fakes.iter().any(|path| path.contains(": proven, ")),
        "{of_fakes:#?}"
    );
    let tunnel = |of: &&Finding| of.code == "CM501" && of.verdict == Verdict::Unknown && of.counts();
    let unknown: Vec<&Finding> = audited.report.findings.iter().filter(tunnel).collect();
    assert!(!unknown.is_empty(), "{:#?}", audited.complaints());
    // One cause is told once, and not a thousand times.
    assert!(
        audited.report.findings.len() < MANY,
        "{} findings",
        audited.report.findings.len()
    );
}
