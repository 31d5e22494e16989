//! Agents of the clusters' own DaemonSets: found through an API server, started by its exec, and real from there on. The recorded clusters
//! have the nodes and addresses of a lab of two sites, so the agents of their pods run in its nodes.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod exec_agents {
    mod dialled;
}

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use prejoin_tests::api_server::{ApiServer, ExecFate, ExecVersion, Executing, Failure, Objects};
use prejoin_tests::kubeconfig::{Kubeconfig, KubeconfigFile, User};
use prejoin_tests::lab::{self, Lab, RunningLab};
use serde_json::{Value, json};

/// The recorded clusters, their nodes, and what the lab calls those.
const CLUSTERS: [(&str, [(&str, &str); 2]); 2] = [
    ("east", [("c1n1", "east-n1"), ("c1n2", "east-n2")]),
    ("west", [("c2n1", "west-n1"), ("c2n2", "west-n2")]),
];
/// Longer than an audit of four nodes takes, on a machine that is busy.
const PATIENCE_SECONDS: &str = "120";

struct Fleet {
    lab: RunningLab,
    servers: Vec<ApiServer>,
    kubeconfig: KubeconfigFile,
}

impl Fleet {
    /// Two clusters with an agent on every node; none where no lab can be made.
    fn up(version: ExecVersion, fates: [ExecFate; 2]) -> Option<Self> {
        let lab = Lab::new().ipv4_only().site("east", 2).site("west", 2).up().unwrap()?;
        let agent = lab::program("prejoin-agent").unwrap();
        let mut kubeconfig = Kubeconfig::new();
        let mut servers = Vec::new();
        for ((cluster, nodes), fate) in CLUSTERS.into_iter().zip(fates) {
            let mut objects = Objects::cluster(&format!("good/{cluster}")).with(json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "prejoin-system" },
            }));
            for (node, place) in nodes {
                let address = lab.topology().node(place).unwrap().ipv4.to_string();
                objects = objects.with(agent_pod(node, &address));
            }
            let server = ApiServer::start(with_pods_of_no_use(objects, nodes[0].0));
            server.execute(Executing { version, fate });
            for (node, place) in nodes {
                // As the DaemonSet tells its containers.
                let name = format!("PREJOIN_NODE_NAME={node}");
                let words = lab.command(place, &["env", &name, agent.to_str().unwrap()]).unwrap();
                server.install(&format!("prejoin-agent-{node}"), "prejoin-agent", words);
            }
            kubeconfig = kubeconfig.context(cluster, &server.url(), User::Token("t".to_owned()));
            servers.push(server);
        }
        Some(Self {
            lab,
            servers,
            kubeconfig: kubeconfig.write(),
        })
    }

    fn audit(&self, more: &[&str]) -> Audited {
        let kubeconfig = self.kubeconfig.path().to_str().unwrap();
        let fixed = [
            "audit",
            "--kubeconfig",
            kubeconfig,
            "--profile",
            "clustermesh",
            "-o",
            "json",
        ];
        let prejoin = lab::program("prejoin").unwrap();
        let output = Command::new("timeout")
            .arg(PATIENCE_SECONDS)
            .arg(prejoin)
            .args([&fixed, more].concat())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Audited::of(output)
    }

    fn audit_both(&self) -> Audited {
        self.audit(&["--context", "east", "--context", "west"])
    }

    /// The pods that something was executed in.
    fn executed_in(&self) -> BTreeSet<String> {
        let requests = self.servers.iter().flat_map(ApiServer::requests);
        let pod = |path: &str| Some(path.strip_suffix("/exec")?.rsplit('/').next()?.to_owned());
        requests.filter_map(|request| pod(&request.path)).collect()
    }

    /// Waits until no process is left in any node.
    fn until_empty(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        for node in self.lab.topology().nodes() {
            while let left @ 1.. = self.lab.processes(&node.name).unwrap().len() {
                assert!(Instant::now() < deadline, "{left} processes are left in {}", node.name);
                std::thread::yield_now();
            }
        }
    }
}

fn agent_pod(node: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("prejoin-agent-{node}"), "namespace": "prejoin-system",
            "labels": { "app.kubernetes.io/name": "prejoin-agent" },
        },
        "spec": { "nodeName": node, "hostNetwork": true, "containers": [{ "name": "agent", "image": "prejoin-agent" }] },
        "status": { "phase": "Running", "hostIP": address, "podIP": address, "podIPs": [{ "ip": address }] },
    })
}

/// Pods of the same namespace in which there is no agent: not running yet, about to go, something else.
fn with_pods_of_no_use(objects: Objects, node: &str) -> Objects {
    let pod = |name: &str, change: fn(&mut Value)| {
        let mut pod = agent_pod(node, "172.31.1.250");
        pod["metadata"]["name"] = json!(name);
        change(&mut pod);
        pod
    };
    objects
        .with(pod("pending", |pod| pod["status"]["phase"] = json!("Pending")))
        .with(pod("going", |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }))
        .with(pod("other", |pod| {
            pod["metadata"]["labels"] = json!({ "app.kubernetes.io/name": "other" });
        }))
}

#[derive(Debug)]
struct Audited {
    report: Value,
    stderr: String,
}

impl Audited {
    fn of(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        let report = serde_json::from_slice(&output.stdout);
        assert!(report.is_ok(), "{stderr}");
        Self {
            report: report.unwrap(),
            stderr,
        }
    }

    /// What came of every probe of a flow: `c1n1 to c2n1: proven, delivered`.
    fn paths(&self, code: &str) -> BTreeSet<String> {
        // Without any, there is no list.
        let paths = self.report["paths"].as_array().into_iter().flatten();
        let of_flow = paths.filter(|path| path["codes"].as_array().unwrap().contains(&json!(code)));
        of_flow
            .map(|path| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let (from, to) = (text(&path["from"]["node"]), text(&path["to"]["node"]));
                let (outcome, shown) = (text(&path["outcome"]), text(&path["shown"]));
                format!("{from} to {to}: {outcome}, {shown}")
            })
            .collect()
    }

    /// The finding of a check that is not passed or skipped.
    fn found(&self, code: &str) -> Vec<&Value> {
        let findings = self.report["findings"].as_array().unwrap().iter();
        let of_check = findings.filter(|finding| finding["code"] == code);
        of_check
            .filter(|finding| !["pass", "skip"].map(Value::from).contains(&finding["verdict"]))
            .collect()
    }
}

#[test]
fn agents_of_a_daemon_set_prove_paths_in_both_versions_of_the_exec_protocol() {
    for version in [ExecVersion::V5, ExecVersion::V4] {
        let Some(fleet) = Fleet::up(version, [ExecFate::Runs; 2]) else {
            return;
        };
        let audited = fleet.audit_both();
        assert!(!audited.stderr.contains("no agent"), "{version:?}: {}", audited.stderr);
        assert!(
            audited.found("NET301").is_empty(),
            "{version:?}: {:#?}",
            audited.found("NET301")
        );
        // Every node as sender and as receiver: tunnel, health, echo, path MTU.
        for code in ["CM501", "CM506", "CM507", "CM508"] {
            let paths = audited.paths(code);
            assert_eq!(paths.len(), 4, "{version:?}: {code}: {paths:#?}");
            for node in ["c1n1", "c1n2", "c2n1", "c2n2"] {
                let proven = |path: &&String| path.contains(node) && path.contains(": proven, ");
                assert_eq!(
                    paths.iter().filter(proven).count(),
                    2,
                    "{version:?}: {code}: {paths:#?}"
                );
            }
        }
        let pods = ["c1n1", "c1n2", "c2n1", "c2n2"].map(|node| format!("prejoin-agent-{node}"));
        assert_eq!(fleet.executed_in(), BTreeSet::from(pods), "{version:?}");
        fleet.until_empty();
    }
}

#[test]
fn a_cluster_that_forbids_exec_has_no_agents_and_says_what_is_missing() {
    let Some(fleet) = Fleet::up(ExecVersion::V5, [ExecFate::Runs, ExecFate::Forbidden]) else {
        return;
    };
    let audited = fleet.audit_both();
    for node in ["c2n1", "c2n2"] {
        let begin = format!("prejoin: west/{node}: no agent: exec in pod prejoin-system/prejoin-agent-{node}: 403: ");
        let said: Vec<_> = audited.stderr.lines().filter(|line| line.starts_with(&begin)).collect();
        assert_eq!(said.len(), 1, "{}", audited.stderr);
        assert!(said[0].contains(r#"cannot create resource "pods/exec""#), "{said:?}");
    }
    assert!(!audited.stderr.contains("east/"), "{}", audited.stderr);
    // Nothing is asked of agents that are not there, and nothing is proven.
    assert_eq!(audited.paths("CM501"), BTreeSet::new());
    let tunnel = audited.found("CM501");
    assert!(
        !tunnel.is_empty() && tunnel.iter().all(|finding| finding["verdict"] == "unknown"),
        "{tunnel:#?}"
    );
    fleet.until_empty();
}

#[test]
fn a_cluster_without_websockets_has_no_agents_and_that_is_said() {
    let Some(fleet) = Fleet::up(ExecVersion::V5, [ExecFate::Runs, ExecFate::NoWebSocket]) else {
        return;
    };
    // What a proxy may do that does not know what it passes on.
    let of_c2n2 = "/api/v1/namespaces/prejoin-system/pods/prejoin-agent-c2n2/exec";
    fleet.servers[1].inject(Failure::Html { code: 200 }.at(of_c2n2));
    let audited = fleet.audit_both();
    for node in ["c2n1", "c2n2"] {
        let begin = format!("prejoin: west/{node}: no agent: ");
        let said: Vec<_> = audited.stderr.lines().filter(|line| line.starts_with(&begin)).collect();
        assert_eq!(said.len(), 1, "{}", audited.stderr);
        assert!(
            said[0].contains("no WebSocket is to be had, which exec needs"),
            "{said:?}"
        );
    }
    assert!(!audited.stderr.contains("east/"), "{}", audited.stderr);
    fleet.until_empty();
}

#[test]
fn agents_that_are_not_wanted_are_not_started() {
    let Some(fleet) = Fleet::up(ExecVersion::V5, [ExecFate::Runs; 2]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prejoin.yaml");
    let cluster = |name: &str, agents: &str| format!("  - {{name: {name}, context: {name}, agents: {agents}}}\n");
    let clusters = cluster("east", "{use: false}") + &cluster("west", "{use: true, namespace: elsewhere}");
    std::fs::write(
        &config,
        format!("apiVersion: prejoin.dev/v1alpha1\nclusters:\n{clusters}"),
    )
    .unwrap();
    let audited = fleet.audit(&["-f", config.to_str().unwrap()]);
    let missing = "no pod with label app.kubernetes.io/name=prejoin-agent runs in namespace elsewhere";
    assert!(
        audited
            .stderr
            .contains(&format!("prejoin: west: its agents are not known: {missing}")),
        "{audited:?}"
    );
    assert_eq!(fleet.executed_in(), BTreeSet::new());
}
