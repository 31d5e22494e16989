//! The recorded pair of Cilium clusters, put into real API servers.

use std::collections::BTreeSet;
use std::path::Path;

use prejoin_tests::fixtures;
use prejoin_tests::kubernetes::{Kubernetes, Outcome, RunningKubernetes};
use prejoin_tests::lab;
use serde_json::{Value, json};

use super::audited::Audited;
use super::cilium::{definitions, items, recorded};

/// What is put there, in this order; what the server itself makes is not among it.
const FILES: [&str; 12] = [
    "api_v1_namespaces",
    "api_v1_nodes",
    "api_v1_namespaces_kube-system_configmaps",
    "apis_apps_v1_daemonsets",
    "apis_apps_v1_deployments",
    "api_v1_pods",
    "api_v1_services",
    "apis_cilium.io_v2_ciliumnodes",
    "apis_cilium.io_v2_ciliumidentities",
    "apis_cilium.io_v2_ciliumendpoints",
    "apis_cilium.io_v2_ciliumloadbalancerippools",
    "apis_cilium.io_v2_ciliumnodeconfigs",
];

fn put(kubernetes: &RunningKubernetes, cluster: &str, objects: &[Value]) {
    let file = kubernetes.folder().join("objects.json");
    std::fs::write(
        &file,
        json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string(),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", file];
    kubernetes.kubectl(cluster, &apply).unwrap();
    let with_status: Vec<&Value> = objects.iter().filter(|object| has_status(object)).collect();
    if !with_status.is_empty() {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": with_status });
        std::fs::write(file, list.to_string()).unwrap();
        kubernetes
            .kubectl(cluster, &[&apply[..], &["--subresource=status"]].concat())
            .unwrap();
    }
}

fn has_status(object: &Value) -> bool {
    let served = ["Node", "Pod", "DaemonSet", "Deployment", "Service"];
    object.get("status").is_some() && served.iter().any(|kind| object["kind"] == *kind)
}

/// As it was before a server took it.
fn fresh(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for of_server in [
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "managedFields",
            "ownerReferences",
        ] {
            metadata.remove(of_server);
        }
    }
    object
}

fn findings(outcome: &Outcome) -> BTreeSet<(String, Vec<String>, String)> {
    let findings = Audited::of(outcome).report.findings.into_iter();
    findings
        .map(|finding| (finding.code, finding.subject.clusters, finding.verdict.to_string()))
        .collect()
}

#[test]
fn the_recorded_pairs_have_the_findings_of_their_files() {
    for pair in ["good", "broken"] {
        let lab = Kubernetes::new()
            .cluster("east", 1)
            .cluster("west", 1)
            .api_servers_only();
        let Some(kubernetes) = lab.up().unwrap() else { return };
        for cluster in ["east", "west"] {
            let fixture = format!("{pair}/{cluster}");
            put(&kubernetes, cluster, &definitions(&fixture));
            let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
            kubernetes.kubectl(cluster, &established).unwrap();
            for file in FILES {
                let path = fixtures::path("clusters").join(&fixture).join(format!("{file}.json"));
                let objects: Vec<Value> = if path.exists() {
                    items(&recorded(&fixture, file)).into_iter().map(fresh).collect()
                } else {
                    Vec::new()
                };
                let made_by_server = |object: &Value| {
                    object["kind"] == "Service" && object["metadata"]["name"] == "kubernetes"
                        || object["metadata"]["name"] == "extension-apiserver-authentication"
                };
                let objects: Vec<Value> = objects.into_iter().filter(|object| !made_by_server(object)).collect();
                if !objects.is_empty() {
                    put(&kubernetes, cluster, &objects);
                }
            }
        }
        let fixed = ["--profile", "clustermesh", "--probe", "none", "-o", "json"];
        let prejoin = lab::program("prejoin").unwrap();
        let mut live = kubernetes.at_desk(&prejoin).unwrap();
        live.args(["audit", "--context", "east", "--context", "west"])
            .args(fixed);
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(pair);
        let mut files = kubernetes.at_desk(&prejoin).unwrap();
        files
            .arg("check")
            .args(["east.json", "west.json"].map(|file| examples.join(file)))
            .args(fixed);
        let (live, files) = (Outcome::of(live).unwrap(), Outcome::of(files).unwrap());
        assert_eq!(findings(&live), findings(&files), "{pair}");
        assert_eq!(live.code, files.code, "{pair}");
    }
}
