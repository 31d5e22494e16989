//! Clusters too large to record: the same objects every time, made one by one while they are read.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::api_server::{Objects, Scope};

/// Base of the pod range; node n has the n-th /24 in it.
const POD_BASE: u32 = u32::from_be_bytes([10, 0, 0, 0]);
/// Base of the node addresses; node n has the n-th address after it.
const NODE_BASE: u32 = u32::from_be_bytes([172, 24, 0, 0]);
/// The recorded service range, 10.97.0.0/16, stays outside the pod range up to here.
const MAX_NODES: usize = 97 * 256;
/// Addresses of a /24 but its network, broadcast, router and health addresses.
const MAX_PODS_PER_NODE: usize = 252;
/// Real nodes list the images they hold, 50 unless told otherwise; it makes most of their size.
const IMAGES_PER_NODE: usize = 50;
const NAMESPACES: usize = 50;

/// The size of a cluster like the recorded `good/east` (its configuration, service range, Cilium) but with other
/// nodes and pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeCluster {
    /// Number of Nodes, and of CiliumNodes; at most 24,832.
    pub nodes: usize,
    /// Number of running Pods, spread evenly; at most 252 per node.
    pub pods: usize,
}

impl LargeCluster {
    /// Its objects. Nodes, CiliumNodes and Pods are modelled on recorded ones and as large as real ones (with managed
    /// fields, and images on nodes); they are in the order in which a real server lists them.
    ///
    /// # Panics
    /// When the cluster is larger than its ranges.
    pub fn objects(self) -> Objects {
        let Self { nodes, pods } = self;
        assert!(nodes <= MAX_NODES, "{nodes} nodes");
        assert!(pods <= nodes * MAX_PODS_PER_NODE, "{pods} pods on {nodes} nodes");

        let recorded = Objects::cluster("good/east");
        let mut node = template(&recorded, "/api/v1/nodes");
        node["metadata"]["managedFields"] = managed_fields(&["kube-controller-manager", "kubelet", "cilium-operator"]);
        node["status"]["images"] = images();
        let cilium_node = template(&recorded, "/apis/cilium.io/v2/ciliumnodes");
        let mut pod = template(&recorded, "/api/v1/namespaces/default/pods");
        pod["metadata"]["managedFields"] = managed_fields(&["kube-controller-manager", "kubelet"]);
        (0..NAMESPACES.min(pods))
            .map(|n| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace_name(n) } }))
            .fold(recorded, Objects::with)
            .generate("v1", "Node", Scope::Cluster, nodes, move |n| make_node(&node, n))
            .generate("cilium.io/v2", "CiliumNode", Scope::Cluster, nodes, move |n| {
                make_cilium_node(&cilium_node, n)
            })
            .generate("v1", "Pod", Scope::Namespaced, pods, move |n| {
                make_pod(&pod, n, nodes, pods)
            })
            // Those of the recorded pods would be strangers here.
            .generate("cilium.io/v2", "CiliumEndpoint", Scope::Namespaced, 0, |_| Value::Null)
    }
}

/// The first recorded object of a list.
fn template(recorded: &Objects, list_path: &str) -> Value {
    recorded
        .list(list_path)
        .and_then(|mut items| items.next())
        .expect("the recording has an object of this kind")
}

fn node_name(n: usize) -> String {
    format!("node-{n:05}")
}

fn namespace_name(n: usize) -> String {
    format!("team-{n:02}")
}

fn address(base: u32, offset: usize) -> String {
    let offset = u32::try_from(offset).expect("the size of the cluster was checked");
    Ipv4Addr::from_bits(base + offset).to_string()
}

fn node_address(n: usize) -> String {
    address(NODE_BASE, n + 1)
}

fn pod_cidr(node: usize) -> String {
    format!("{}/24", address(POD_BASE, node * 256))
}

/// A UID that differs for every kind and number.
fn uid(kind: u32, n: usize) -> String {
    format!("{kind:08x}-0000-4000-8000-{n:012x}")
}

/// What server-side apply notes about each writer: as much text as on a real object, and nothing to read from it.
fn managed_fields(managers: &[&str]) -> Value {
    let fields = json!({
        "f:metadata": { "f:annotations": { ".": {} }, "f:labels": { ".": {}, "f:app": {}, "f:kubernetes.io/os": {} } },
        "f:status": { "f:conditions": { "k:{\"type\":\"Ready\"}": {
            ".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {},
        } } },
    });
    managers
        .iter()
        .map(|manager| {
            json!({
                "manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-11-21T06:26:17Z",
                "fieldsType": "FieldsV1", "fieldsV1": fields,
            })
        })
        .collect()
}

/// The images that every node holds.
fn images() -> Value {
    (0..IMAGES_PER_NODE)
        .map(|image| {
            let repository = format!("registry.example/team/service-{image:02}");
            let digest = format!("{image:064x}");
            json!({
                "names": [format!("{repository}@sha256:{digest}"), format!("{repository}:v1.{image}.0")],
                "sizeBytes": 20_000_000 + image,
            })
        })
        .collect()
}

fn make_node(template: &Value, n: usize) -> Value {
    let mut node = template.clone();
    let name = node_name(n);
    let metadata = &mut node["metadata"];
    metadata["name"] = json!(name);
    metadata["uid"] = json!(uid(1, n));
    metadata["labels"]["kubernetes.io/hostname"] = json!(name);
    metadata["labels"]["topology.kubernetes.io/region"] = json!("region-1");
    metadata["labels"]["topology.kubernetes.io/zone"] = json!(format!("zone-{}", n % 3));
    node["spec"]["podCIDR"] = json!(pod_cidr(n));
    node["spec"]["podCIDRs"] = json!([pod_cidr(n)]);
    let status = &mut node["status"];
    status["addresses"] = json!([
        { "type": "InternalIP", "address": node_address(n) },
        { "type": "Hostname", "address": name },
    ]);
    for id in ["machineID", "systemUUID", "bootID"] {
        status["nodeInfo"][id] = json!(uid(2, n));
    }
    node
}

fn make_cilium_node(template: &Value, n: usize) -> Value {
    let mut node = template.clone();
    node["metadata"]["name"] = json!(node_name(n));
    node["metadata"]["uid"] = json!(uid(3, n));
    node["metadata"]["labels"]["kubernetes.io/hostname"] = json!(node_name(n));
    let spec = &mut node["spec"];
    spec["addresses"] = json!([
        { "type": "InternalIP", "ip": node_address(n) },
        { "type": "CiliumInternalIP", "ip": address(POD_BASE, n * 256 + 1) },
    ]);
    spec["bootid"] = json!(uid(2, n));
    spec["health"]["ipv4"] = json!(address(POD_BASE, n * 256 + 2));
    spec["ipam"]["podCIDRs"] = json!([pod_cidr(n)]);
    node
}

fn make_pod(template: &Value, n: usize, nodes: usize, pods: usize) -> Value {
    let mut pod = template.clone();
    let (node, slot) = (n % nodes, n / nodes);
    let pod_ip = address(POD_BASE, node * 256 + 3 + slot);
    let metadata = &mut pod["metadata"];
    metadata["name"] = json!(format!("web-5cbd487b87-{n:06}"));
    // Namespaces in order, so that the list is sorted by namespace and name.
    metadata["namespace"] = json!(namespace_name(n * NAMESPACES / pods));
    metadata["uid"] = json!(uid(4, n));
    pod["spec"]["nodeName"] = json!(node_name(node));
    let status = &mut pod["status"];
    status["hostIP"] = json!(node_address(node));
    status["hostIPs"] = json!([{ "ip": node_address(node) }]);
    status["podIP"] = json!(pod_ip);
    status["podIPs"] = json!([{ "ip": pod_ip }]);
    pod
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SMALL: LargeCluster = LargeCluster {
        nodes: 300,
        pods: 1_200,
    };

    fn all(path: &str) -> Vec<Value> {
        SMALL.objects().list(path).expect("the cluster serves it").collect()
    }

    #[test]
    fn pods_run_on_its_nodes_with_addresses_of_their_own() {
        let nodes = all("/api/v1/nodes");
        let pods = all("/api/v1/pods");
        assert_eq!((nodes.len(), pods.len()), (300, 1_200));
        assert_eq!(nodes[299]["spec"]["podCIDR"], "10.1.43.0/24");
        assert_eq!(nodes[299]["status"]["addresses"][0]["address"], "172.24.1.44");

        let mut seen = HashSet::new();
        for pod in &pods {
            let node = nodes
                .iter()
                .find(|n| n["metadata"]["name"] == pod["spec"]["nodeName"])
                .unwrap();
            let prefix = node["spec"]["podCIDR"].as_str().unwrap().strip_suffix("0/24").unwrap();
            let ip = pod["status"]["podIP"].as_str().unwrap();
            assert!(ip.starts_with(prefix), "{ip} in {prefix}");
            assert_eq!(pod["status"]["hostIP"], node["status"]["addresses"][0]["address"]);
            assert!(seen.insert(ip), "{ip} twice");
        }
    }

    #[test]
    fn a_list_is_in_the_order_of_a_real_server() {
        let pods = all("/api/v1/pods");
        let key = |pod: &Value| {
            let text = |field: &str| pod["metadata"][field].as_str().unwrap().to_owned();
            (text("namespace"), text("name"))
        };
        assert!(pods.is_sorted_by_key(key));
        assert_eq!(pods.last().unwrap()["metadata"]["namespace"], "team-49");
    }

    #[test]
    fn it_is_the_same_every_time_and_as_large_as_real_ones() {
        let again = all("/api/v1/nodes");
        assert_eq!(all("/api/v1/nodes"), again);
        assert!(again[0].to_string().len() > 10_000, "50 images weigh on a real node");
        assert!(all("/api/v1/pods")[0].to_string().len() > 2_500);
    }
}
