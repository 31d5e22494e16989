use serde_json::{Value, json};

use super::*;

const BOTH: Expected = Expected {
    cluster_agent: true,
    pods: false,
};
const NODES: Expected = Expected {
    cluster_agent: false,
    pods: false,
};

fn node(name: &str, os: &str, architecture: &str, ready: &str) -> NodeState {
    let node = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/os": os, "kubernetes.io/arch": architecture } },
        "status": { "conditions": [{ "type": "Ready", "status": ready }] },
    });
    NodeState::of(&serde_json::from_value(node).unwrap(), &BTreeMap::new())
}

fn linux(name: &str) -> NodeState {
    node(name, "linux", "amd64", "True")
}

fn pod(component: &str, node: &str, status: &Value) -> Pod {
    let pod = json!({
        "metadata": { "name": format!("{component}-{node}"), "uid": format!("uid-{node}"), "labels": { "app.kubernetes.io/component": component } },
        "spec": { "nodeName": node, "containers": [] },
        "status": status,
    });
    serde_json::from_value(pod).unwrap()
}

fn running() -> Value {
    json!({ "phase": "Running", "containerStatuses": [{ "name": "agent", "ready": true, "image": "", "imageID": "", "restartCount": 0, "state": { "running": {} } }] })
}

fn waiting(reason: &str, message: &str) -> Value {
    let state = json!({ "waiting": { "reason": reason, "message": message } });
    json!({ "phase": "Pending", "containerStatuses": [{ "name": "agent", "ready": false, "image": "", "imageID": "", "restartCount": 0, "state": state }] })
}

fn event(kind: &str, reason: &str, message: &str, at: &str) -> Event {
    let event = json!({
        "metadata": { "name": "e" }, "involvedObject": { "kind": kind, "name": "prejoin-agent" },
        "type": "Warning", "reason": reason, "message": message, "lastTimestamp": at,
    });
    serde_json::from_value(event).unwrap()
}

/// The state of the only node's agent.
fn state_of(pods: &[Pod], events: &[Event]) -> AgentState {
    Rollout::of(&[linux("n1")], pods, events, NODES).places[0].state.clone()
}

#[test]
fn all_agents_ready_is_complete() {
    let pods = [
        pod(NODE_AGENT, "n1", &running()),
        pod(NODE_AGENT, "n2", &running()),
        pod(CLUSTER_AGENT, "n1", &running()),
    ];
    let rollout = Rollout::of(&[linux("n1"), linux("n2")], &pods, &[], BOTH);
    assert_eq!((rollout.ready(), rollout.wanted()), (3, 3));
    assert!(rollout.is_complete() && rollout.waiting().is_empty());
}

#[test]
fn nodes_that_cannot_run_an_agent_are_not_waited_for_but_told() {
    let nodes = [
        linux("n1"),
        node("win", "windows", "amd64", "True"),
        node("ibm", "linux", "s390x", "True"),
    ];
    let rollout = Rollout::of(&nodes, &[pod(NODE_AGENT, "n1", &running())], &[], NODES);
    assert!(rollout.is_complete());
    assert_eq!(
        rollout.not_covered(),
        ["ibm: its architecture is s390x", "win: its operating system is windows"]
    );
}

#[test]
fn what_a_node_does_not_say_of_itself_is_unknown() {
    let nothing = json!({
        "bootID": "", "machineID": "", "systemUUID": "", "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "",
        "kubeletVersion": "", "kubeProxyVersion": "", "operatingSystem": "", "architecture": "",
    });
    let untold = json!({ "metadata": { "name": "n" }, "status": { "nodeInfo": nothing } });
    let linux =
        json!({ "metadata": { "name": "n", "labels": { "kubernetes.io/os": "linux", "kubernetes.io/arch": "" } } });
    for (node, why) in [
        (untold, "its operating system is unknown"),
        (linux, "its architecture is unknown"),
    ] {
        let state = NodeState::of(&serde_json::from_value(node).unwrap(), &BTreeMap::new());
        assert_eq!(state.left_out.as_deref(), Some(why));
    }
}

#[test]
fn nodes_that_were_not_selected_say_which_label_they_lack() {
    let node = json!({ "metadata": { "name": "n", "labels": { "kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64" } } });
    let selector = BTreeMap::from([("pool".to_owned(), "edge".to_owned())]);
    let state = NodeState::of(&serde_json::from_value(node).unwrap(), &selector);
    assert_eq!(state.left_out.as_deref(), Some("it has no label pool=edge"));
}

#[test]
fn a_pod_that_is_not_made_yet_is_on_its_way() {
    let rollout = Rollout::of(&[linux("n1")], &[], &[], BOTH);
    assert!(!rollout.is_settled() && !rollout.is_complete());
    assert_eq!(rollout.places.len(), 2);
}

#[test]
fn who_refuses_a_pod_is_named() {
    for (message, who) in [
        (
            "Error creating: pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)",
            "Pod Security refuses its pod",
        ),
        (
            "Error creating: pods \"x\" is forbidden: exceeded quota: q, requested: pods=1",
            "a ResourceQuota refuses its pod",
        ),
        (
            "Error creating: admission webhook \"no.example\" denied the request: no",
            "an admission webhook refuses its pod",
        ),
        (
            "Error creating: Internal error occurred: failed calling webhook \"x.example\": refused",
            "an admission webhook does not answer",
        ),
        (
            "Error creating: pods \"x\" is forbidden: maximum memory usage per Container is 8Mi, but limit is 64Mi",
            "a LimitRange refuses its pod",
        ),
        (
            "Error creating: pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            "an admission policy refuses its pod",
        ),
    ] {
        let state = state_of(
            &[],
            &[event("DaemonSet", "FailedCreate", message, "2026-01-01T00:00:00Z")],
        );
        assert_eq!(state, AgentState::Stuck(format!("{who}: {message}")));
    }
}

#[test]
fn a_refusal_that_is_over_is_not_told() {
    let events = [
        event(
            "DaemonSet",
            "FailedCreate",
            "Error creating: no",
            "2026-01-01T00:00:00Z",
        ),
        event(
            "DaemonSet",
            "SuccessfulCreate",
            "Created pod: x",
            "2026-01-01T00:00:05Z",
        ),
    ];
    assert!(matches!(state_of(&[], &events), AgentState::Starting(_)));
}

#[test]
fn an_image_that_cannot_be_pulled_is_given_a_second_chance() {
    let first = state_of(&[pod(NODE_AGENT, "n1", &waiting("ErrImagePull", "not found"))], &[]);
    assert_eq!(
        first,
        AgentState::Starting("the image cannot be pulled: not found".to_owned())
    );
    for reason in ["ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"] {
        let later = state_of(&[pod(NODE_AGENT, "n1", &waiting(reason, "not found"))], &[]);
        assert!(matches!(later, AgentState::Stuck(_)), "{reason}");
    }
}

#[test]
fn a_pod_that_fits_no_node_says_what_the_scheduler_says() {
    let unscheduled = json!({
        "metadata": { "name": "x", "labels": { "app.kubernetes.io/component": NODE_AGENT } },
        "spec": { "containers": [], "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1"] }] },
        ] } } } },
        "status": { "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient memory." }] },
    });
    let state = state_of(&[serde_json::from_value(unscheduled).unwrap()], &[]);
    assert_eq!(
        state,
        AgentState::Stuck("no node takes it: 0/1 nodes are available: 1 Insufficient memory.".to_owned())
    );
}

#[test]
fn an_agent_on_a_node_that_does_not_answer_is_not_ready_whatever_its_pod_says() {
    let nodes = [node("n1", "linux", "amd64", "Unknown")];
    let rollout = Rollout::of(&nodes, &[pod(NODE_AGENT, "n1", &running())], &[], NODES);
    assert_eq!(
        rollout.places[0].state,
        AgentState::Stuck("node n1 is not ready".to_owned())
    );
    assert!(rollout.is_settled());
}

#[test]
fn a_pod_that_was_evicted_says_so() {
    let state = state_of(
        &[pod(
            NODE_AGENT,
            "n1",
            &json!({ "phase": "Failed", "reason": "Evicted", "message": "low on memory" }),
        )],
        &[],
    );
    assert_eq!(state, AgentState::Stuck("Evicted: low on memory".to_owned()));
}

#[test]
fn reasons_name_the_nodes_that_they_keep() {
    let nodes: Vec<NodeState> = (1..=5).map(|n| linux(&format!("n{n}"))).collect();
    let pods: Vec<Pod> = nodes
        .iter()
        .map(|node| pod(NODE_AGENT, &node.name, &waiting("ImagePullBackOff", "")))
        .collect();
    let rollout = Rollout::of(&nodes, &pods, &[], NODES);
    let kept = ("n1, n2, n3 and 2 more", "not running: the image cannot be pulled");
    assert_eq!(rollout.waiting(), [(kept.0.to_owned(), kept.1.to_owned())]);
}
