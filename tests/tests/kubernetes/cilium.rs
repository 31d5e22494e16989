//! Cilium in the lab's clusters, as far as an API server knows of it: the recorded cluster's objects, with the lab's nodes. No program of
//! Cilium's runs; where its agents would be, a container waits.

use prejoin_tests::fixtures;
use serde_json::{Value, json};

use super::suite::Suite;

/// The clusters of the lab, and the nodes that the recorded ones of the same names have in their places.
const NODES: [(&str, [(&str, &str); 2]); 2] = [
    ("east", [("c1n1", "east-n1"), ("c1n2", "east-n2")]),
    ("west", [("c2n1", "west-n1"), ("c2n2", "west-n2")]),
];

/// A file of a recorded cluster.
pub(super) fn recorded(cluster: &str, file: &str) -> Value {
    let path = fixtures::path("clusters").join(cluster).join(format!("{file}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Definitions of all kinds that a recorded cluster served in Cilium's group; they take any object.
pub(super) fn definitions(cluster: &str) -> Vec<Value> {
    let served = recorded(cluster, "apis_cilium.io_v2");
    let resources = served["resources"].as_array().unwrap().iter();
    let whole = resources.filter(|resource| !resource["name"].as_str().unwrap().contains('/'));
    whole
        .map(|resource| {
            let plural = resource["name"].as_str().unwrap();
            let scope = if resource["namespaced"] == true { "Namespaced" } else { "Cluster" };
            json!({
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": { "name": format!("{plural}.cilium.io") },
                "spec": {
                    "group": "cilium.io",
                    "scope": scope,
                    "names": { "plural": plural, "singular": resource["singularName"], "kind": resource["kind"] },
                    "versions": [{
                        "name": "v2", "served": true, "storage": true,
                        "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                    }],
                },
            })
        })
        .collect()
}

/// Puts it there, and waits until its agents' pods run.
pub(super) fn install(suite: &Suite) {
    for (cluster, nodes) in NODES {
        let fixture = format!("good/{cluster}");
        suite.apply(cluster, &definitions(&fixture));
        suite.kubectl(
            cluster,
            &["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"],
        );
        let there = suite.names(cluster, "nodes");
        let mut objects = vec![agents()];
        for mut object in items(&recorded(&fixture, "apis_cilium.io_v2_ciliumnodes")) {
            let (_, place) = nodes
                .iter()
                .find(|(node, _)| object["metadata"]["name"] == *node)
                .unwrap();
            object["metadata"] = json!({ "name": place });
            if there.iter().any(|node| node == place) {
                objects.push(object);
            }
        }
        for mut map in items(&recorded(&fixture, "api_v1_namespaces_kube-system_configmaps")) {
            if map["metadata"]["name"] == "cilium-config" {
                map["metadata"] = json!({ "name": "cilium-config", "namespace": "kube-system" });
                objects.push(map);
            }
        }
        objects.extend([mesh_service(&fixture), mesh()]);
        suite.apply(cluster, &objects);
        for what in ["daemonset/cilium", "deployment/clustermesh-apiserver"] {
            let status = ["--namespace=kube-system", "rollout", "status", what, "--timeout=60s"];
            suite.kubectl(cluster, &status);
        }
    }
}

/// The objects of a list, each with its type.
pub(super) fn items(list: &Value) -> Vec<Value> {
    let kind = list["kind"].as_str().unwrap().trim_end_matches("List");
    let with_type = |item: &Value| {
        let mut item = item.clone();
        item["apiVersion"] = list["apiVersion"].clone();
        item["kind"] = json!(kind);
        item
    };
    list["items"].as_array().unwrap().iter().map(with_type).collect()
}

/// The NodePort of the mesh's control plane; nothing answers there yet.
fn mesh_service(fixture: &str) -> Value {
    let services = items(&recorded(fixture, "api_v1_services")).into_iter();
    let mut named = services.filter(|service| service["metadata"]["name"] == "clustermesh-apiserver");
    let mut service = named.next().unwrap();
    service["metadata"] = json!({ "name": "clustermesh-apiserver", "namespace": "kube-system" });
    for given in ["clusterIP", "clusterIPs"] {
        service["spec"].as_object_mut().unwrap().remove(given);
    }
    service.as_object_mut().unwrap().remove("status");
    service
}

/// The mesh's control plane itself.
fn mesh() -> Value {
    let labels = json!({ "k8s-app": "clustermesh-apiserver" });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "clustermesh-apiserver", "namespace": "kube-system", "labels": labels },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "apiserver", "image": IMAGE, "imagePullPolicy": "Never" }] },
            },
        },
    })
}

fn agents() -> Value {
    let labels =
        json!({ "k8s-app": "cilium", "app.kubernetes.io/name": "cilium-agent", "app.kubernetes.io/part-of": "cilium" });
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "cilium", "namespace": "kube-system", "labels": labels },
        "spec": {
            "selector": { "matchLabels": { "k8s-app": "cilium" } },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "hostNetwork": true,
                    "tolerations": [{ "operator": "Exists" }],
                    "containers": [{ "name": "cilium-agent", "image": IMAGE, "imagePullPolicy": "Never" }],
                },
            },
        },
    })
}

/// The name by which versions are told; what is in it only waits.
pub(super) const IMAGE: &str = "quay.io/cilium/cilium:v1.20.0";
