//! Clusters in which something ends while they are audited. What cannot be known any more is unknown, and everything else is still told.

use std::process::Stdio;
use std::time::{Duration, Instant};

use prejoin_tests::kubernetes::{Component, Outcome, RunningKubernetes, Way};

use super::audited::Audited;
use super::suite::{Suite, suite};

/// Begins an audit that takes a while, does something when its agents are at work, and gives what came of the audit.
fn audit_while(suite: &Suite, lab: &RunningKubernetes, node: &str, what: impl FnOnce()) -> Audited {
    let slowly = [
        "audit",
        "--profile",
        "clustermesh",
        "-o",
        "json",
        "--rate",
        "400",
        "--samples",
        "100",
    ];
    let mut command = suite.prejoin_command(&[&slowly, suite.context_arguments().as_slice()].concat());
    let audit = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let at_work = |process: &String| process.contains("prejoin-agent session");
    while !lab.trace(node).unwrap().processes.iter().any(at_work) {
        assert!(Instant::now() < deadline, "no session began on {node}");
        std::thread::yield_now();
    }
    what();
    let output = audit.wait_with_output().unwrap();
    let outcome = Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert_ne!(outcome.code, 0, "what is not known is no pass");
    Audited::of(&outcome)
}

/// The nodes whose agents were lost, as the report has them.
fn lost(audited: &Audited) -> Vec<String> {
    let findings = audited.report.findings.iter();
    let of_agents = findings.filter(|finding| finding.code == "NET301" && finding.counts());
    of_agents.flat_map(|finding| finding.subject.nodes.clone()).collect()
}

#[test]
fn an_api_server_that_is_killed_takes_its_own_cluster_s_agents_with_it() {
    let Some(suite) = suite() else { return };
    let Some(lab) = suite.lab() else { return };
    let _agents = suite.agents(&[]);
    let audited = audit_while(&suite, lab, "west-n2", || {
        lab.stop("west-n1", Component::ApiServer, Way::Kill).unwrap();
        lab.start("west-n1", Component::ApiServer).unwrap();
        lab.until_ready("west").unwrap();
    });
    let lost = lost(&audited);
    assert!(
        !lost.is_empty() && lost.iter().all(|node| node.starts_with("west-")),
        "{lost:?}"
    );
}

#[test]
fn a_kubelet_that_is_restarted_takes_its_own_agent_with_it() {
    let Some(suite) = suite() else { return };
    let Some(lab) = suite.lab() else { return };
    let _agents = suite.agents(&["--mode", "node"]);
    let audited = audit_while(&suite, lab, "west-n2", || {
        lab.stop("west-n2", Component::Kubelet, Way::Kill).unwrap();
        lab.start("west-n2", Component::Kubelet).unwrap();
    });
    assert_eq!(lost(&audited), ["west-n2"]);
    suite.kubectl(
        "west",
        &["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"],
    );
}

#[test]
fn a_pod_that_is_deleted_takes_its_own_agent_with_it() {
    let Some(suite) = suite() else { return };
    let Some(lab) = suite.lab() else { return };
    let _agents = suite.agents(&["--mode", "node"]);
    let audited = audit_while(&suite, lab, "east-n2", || {
        let of_node = "--field-selector=spec.nodeName=east-n2";
        suite.kubectl(
            "east",
            &["--namespace=prejoin-system", "delete", "pod", of_node, "--now"],
        );
    });
    assert_eq!(lost(&audited), ["east-n2"]);
}
