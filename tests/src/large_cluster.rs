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
        let node = node_template(&recorded);
        let cilium_node = cilium_node_template(&recorded);
        let pod = pod_template(&recorded);
        let make_node = move |n| node.fill(&of_node(n));
        let make_cilium_node = move |n| cilium_node.fill(&of_node(n));
        let make_pod = move |n| pod.fill(&of_pod(n, nodes, pods));
        (0..NAMESPACES)
            .map(|n| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace_name(n) } }))
            .fold(recorded, Objects::with)
            .generate("v1", "Node", Scope::Cluster, nodes, make_node)
            .generate("cilium.io/v2", "CiliumNode", Scope::Cluster, nodes, make_cilium_node)
            .generate("v1", "Pod", Scope::Namespaced, pods, make_pod)
            // Those of the recorded pods would be strangers here.
            .remove("/apis/cilium.io/v2/ciliumendpoints")
            .kind("cilium.io/v2", "CiliumEndpoint", Scope::Namespaced)
    }
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

/// The part of a UID that tells objects of one kind apart.
fn id(n: usize) -> String {
    format!("0000-4000-8000-{n:012x}")
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

/// The first recorded object of a list.
fn first(recorded: &Objects, list_path: &str) -> Value {
    let mut items = recorded.list(list_path).expect("the recording has the list");
    items.next().expect("the recording has an object of this kind")
}

fn node_template(recorded: &Objects) -> Template {
    let mut node = first(recorded, "/api/v1/nodes");
    let metadata = &mut node["metadata"];
    metadata["name"] = json!("{{name}}");
    metadata["uid"] = json!("00000001-{{id}}");
    metadata["labels"]["kubernetes.io/hostname"] = json!("{{name}}");
    metadata["labels"]["topology.kubernetes.io/region"] = json!("region-1");
    metadata["labels"]["topology.kubernetes.io/zone"] = json!("{{zone}}");
    metadata["managedFields"] = managed_fields(&["kube-controller-manager", "kubelet", "cilium-operator"]);
    node["spec"]["podCIDR"] = json!("{{pod-cidr}}");
    node["spec"]["podCIDRs"] = json!(["{{pod-cidr}}"]);
    let status = &mut node["status"];
    status["addresses"] = json!([
        { "type": "InternalIP", "address": "{{address}}" },
        { "type": "Hostname", "address": "{{name}}" },
    ]);
    for id in ["machineID", "systemUUID", "bootID"] {
        status["nodeInfo"][id] = json!("00000002-{{id}}");
    }
    status["images"] = images();
    Template::new(&node)
}

fn cilium_node_template(recorded: &Objects) -> Template {
    let mut node = first(recorded, "/apis/cilium.io/v2/ciliumnodes");
    node["metadata"]["name"] = json!("{{name}}");
    node["metadata"]["uid"] = json!("00000003-{{id}}");
    node["metadata"]["labels"]["kubernetes.io/hostname"] = json!("{{name}}");
    let spec = &mut node["spec"];
    spec["addresses"] = json!([
        { "type": "InternalIP", "ip": "{{address}}" },
        { "type": "CiliumInternalIP", "ip": "{{router}}" },
    ]);
    spec["bootid"] = json!("00000002-{{id}}");
    spec["health"]["ipv4"] = json!("{{health}}");
    spec["ipam"]["podCIDRs"] = json!(["{{pod-cidr}}"]);
    Template::new(&node)
}

fn pod_template(recorded: &Objects) -> Template {
    let mut pod = first(recorded, "/api/v1/namespaces/default/pods");
    let metadata = &mut pod["metadata"];
    metadata["name"] = json!("{{name}}");
    metadata["namespace"] = json!("{{namespace}}");
    metadata["uid"] = json!("00000004-{{id}}");
    metadata["managedFields"] = managed_fields(&["kube-controller-manager", "kubelet"]);
    pod["spec"]["nodeName"] = json!("{{node}}");
    let status = &mut pod["status"];
    status["hostIP"] = json!("{{address}}");
    status["hostIPs"] = json!([{ "ip": "{{address}}" }]);
    status["podIP"] = json!("{{pod-ip}}");
    status["podIPs"] = json!([{ "ip": "{{pod-ip}}" }]);
    Template::new(&pod)
}

fn of_node(n: usize) -> [(&'static str, String); 7] {
    [
        ("name", node_name(n)),
        ("id", id(n)),
        ("zone", format!("zone-{}", n % 3)),
        ("address", node_address(n)),
        ("pod-cidr", format!("{}/24", address(POD_BASE, n * 256))),
        ("router", address(POD_BASE, n * 256 + 1)),
        ("health", address(POD_BASE, n * 256 + 2)),
    ]
}

fn of_pod(n: usize, nodes: usize, pods: usize) -> [(&'static str, String); 6] {
    let (node, slot) = (n % nodes, n / nodes);
    [
        ("name", format!("web-5cbd487b87-{n:06}")),
        // One namespace after the other, so that the list is sorted by namespace and name.
        ("namespace", namespace_name(n * NAMESPACES / pods)),
        ("id", id(n)),
        ("node", node_name(node)),
        ("address", node_address(node)),
        ("pod-ip", address(POD_BASE, node * 256 + 3 + slot)),
    ]
}

/// JSON text with gaps: much faster to fill than an object is to copy, change and write.
struct Template {
    /// A literal, and the name of the gap behind it.
    pieces: Vec<(String, String)>,
    end: String,
}

impl Template {
    /// Every `{{name}}` in `object` becomes a gap.
    fn new(object: &Value) -> Self {
        let text = object.to_string();
        let mut parts = text.split("{{");
        let mut literal = parts.next().unwrap_or_default().to_owned();
        let mut pieces = Vec::new();
        for part in parts {
            let (gap, next) = part.split_once("}}").expect("a gap that begins ends");
            pieces.push((std::mem::replace(&mut literal, next.to_owned()), gap.to_owned()));
        }
        Self { pieces, end: literal }
    }

    /// The text with `values`, which need no escaping in JSON, in its gaps.
    fn fill(&self, values: &[(&str, String)]) -> String {
        let mut text =
            String::with_capacity(self.end.len() + self.pieces.iter().map(|(l, _)| l.len() + 40).sum::<usize>());
        for (literal, gap) in &self.pieces {
            let (_, value) = values
                .iter()
                .find(|(name, _)| name == gap)
                .expect("there is a value for each gap");
            text.push_str(literal);
            text.push_str(value);
        }
        text.push_str(&self.end);
        text
    }
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
        let namespaces = all("/api/v1/namespaces");
        let exists = |pod: &Value| {
            namespaces
                .iter()
                .any(|n| n["metadata"]["name"] == pod["metadata"]["namespace"])
        };
        assert!(pods.iter().all(exists));
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
