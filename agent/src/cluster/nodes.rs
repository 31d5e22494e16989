//! Nodes: addresses, PodCIDRs, kernel and what networking products write on them.

use std::collections::BTreeMap;

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::node::{Node, NodeAddress};
use prejoin_checks::facts::provenance::{Fact, Source};
use serde::Deserialize;

use super::object::{Meta, or_default, pick};
use super::permissions::NODES;
use super::reader::{Reader, Scope};

const LABELS: &[&str] = &[
    "alpha.eksctl.io/",
    "cloud.google.com/",
    "eks.amazonaws.com/",
    "gateway.submariner.io/",
    "io.cilium",
    "kubernetes.azure.com/",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "microk8s.io/",
    "node-role.kubernetes.io/",
    "node.kubernetes.io/instance-type",
    "node.openshift.io/",
    "submariner.io/",
    "topology.kubernetes.io/",
];

const ANNOTATIONS: &[&str] = &[
    "flannel.alpha.coreos.com/",
    "gateway.submariner.io/",
    "k3s.io/node-args",
    "k8s.ovn.org/zone-name",
    "network.cilium.io/",
    "projectcalico.org/",
    "rke2.io/node-args",
    "submariner.io/",
];

/// Flags of K3s and RKE2 whose value in the `node-args` annotation is kept: others may hold credentials.
const NODE_ARGS: &[&str] = &[
    "--cluster-cidr",
    "--cluster-dns",
    "--cluster-domain",
    "--cni",
    "--disable",
    "--disable-kube-proxy",
    "--disable-network-policy",
    "--egress-selector-mode",
    "--flannel-backend",
    "--flannel-iface",
    "--flannel-ipv6-masq",
    "--kube-proxy-arg",
    "--node-external-ip",
    "--node-ip",
    "--service-cidr",
    "--service-node-port-range",
];

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, rename = "podCIDRs", deserialize_with = "or_default")]
    pod_cidrs: Vec<String>,
    #[serde(default, rename = "podCIDR")]
    pod_cidr: String,
    #[serde(default, rename = "providerID")]
    provider_id: String,
    #[serde(default)]
    unschedulable: bool,
    #[serde(default, deserialize_with = "or_default")]
    taints: Vec<Taint>,
}

#[derive(Deserialize)]
struct Taint {
    key: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default, deserialize_with = "or_default")]
    addresses: Vec<Address>,
    #[serde(default, deserialize_with = "or_default")]
    conditions: Vec<Condition>,
    #[serde(default)]
    node_info: Info,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Info {
    kernel_version: String,
    os_image: String,
    operating_system: String,
    architecture: String,
    kubelet_version: String,
}

/// Reads all nodes; `label_keys` are further labels to keep, those that CiliumNodeConfigs select by.
pub(crate) async fn read(reader: &Reader<'_>, label_keys: &[String]) -> Fact<Vec<Node>> {
    let nodes = reader
        .list(&NODES, Scope::ALL, |nodes: &mut Vec<Node>, object: Object| {
            nodes.push(reduce(object, label_keys)?);
            Ok(())
        })
        .await;
    nodes.map_or_else(Fact::Unknown, |mut nodes| {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Fact::known(nodes, Source::read("Nodes", ""))
    })
}

fn reduce(object: Object, label_keys: &[String]) -> Result<Node, String> {
    let Object { metadata, spec, status } = object;
    let mut pod_cidrs = spec.pod_cidrs;
    if pod_cidrs.is_empty() && !spec.pod_cidr.is_empty() {
        pod_cidrs.push(spec.pod_cidr);
    }
    let pod_cidrs = pod_cidrs
        .iter()
        .map(|cidr| cidr.parse())
        .collect::<Result<Vec<Cidr>, _>>()
        .map_err(|_| "spec.podCIDRs holds no address block".to_owned())?;
    let label = |key: &str| metadata.labels.get(key).cloned().unwrap_or_default();
    let (zone, region) = (
        label("topology.kubernetes.io/zone"),
        label("topology.kubernetes.io/region"),
    );
    let mut labels = metadata.labels;
    labels.retain(|key, _| LABELS.iter().any(|prefix| key.starts_with(prefix)) || label_keys.contains(key));
    Ok(Node {
        name: metadata.name,
        // Host names are addresses too, of a kind nobody can route to.
        addresses: status
            .addresses
            .into_iter()
            .filter_map(|address| {
                Some(NodeAddress {
                    ip: address.address.parse().ok()?,
                    kind: address.kind,
                })
            })
            .collect(),
        pod_cidrs,
        zone,
        region,
        kernel: status.node_info.kernel_version,
        os_image: status.node_info.os_image,
        os: status.node_info.operating_system,
        architecture: status.node_info.architecture,
        kubelet_version: status.node_info.kubelet_version,
        provider_id: spec.provider_id,
        ready: status
            .conditions
            .iter()
            .any(|condition| condition.kind == "Ready" && condition.status == "True"),
        unschedulable: spec.unschedulable,
        taints: spec.taints.into_iter().map(|taint| taint.key).collect(),
        labels,
        annotations: annotations(metadata.annotations),
    })
}

fn annotations(all: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut kept = pick(all, ANNOTATIONS);
    for key in ["k3s.io/node-args", "rke2.io/node-args"] {
        if let Some(args) = kept.get_mut(key) {
            *args = addressing_args(args);
        }
    }
    kept
}

/// Of a JSON array of arguments those about addresses: `["server","--token","x","--cluster-cidr","10.42.0.0/16"]`.
fn addressing_args(json: &str) -> String {
    let args: Vec<String> = serde_json::from_str(json).unwrap_or_default();
    let mut kept: Vec<String> = Vec::new();
    let mut value_wanted = false;
    for arg in args {
        let name = arg.split('=').next().unwrap_or_default();
        let is_flag = arg.starts_with('-');
        if is_flag && NODE_ARGS.contains(&name) {
            value_wanted = !arg.contains('=');
            kept.push(arg);
        } else {
            if !is_flag && value_wanted {
                kept.push(arg);
            }
            value_wanted = false;
        }
    }
    serde_json::to_string(&kept).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &str) -> Result<Node, String> {
        reduce(serde_json::from_str(json).unwrap(), &["rack".to_owned()])
    }

    #[test]
    fn a_node_is_reduced_to_what_matters() {
        let node = node(
            r#"{"metadata":{"name":"n1","labels":{"topology.kubernetes.io/zone":"a","topology.kubernetes.io/region":"r",
                "rack":"7","colour":"red"},"annotations":{"network.cilium.io/ipv4-pod-cidr":"10.0.0.0/24","x":"y"}},
              "spec":{"podCIDR":"10.0.1.0/24","podCIDRs":["10.0.1.0/24","fd00::/64"],"providerID":"kind://docker/k/n1",
                "taints":[{"key":"t","effect":"NoSchedule"}]},
              "status":{"addresses":[{"type":"InternalIP","address":"172.18.0.2"},{"type":"Hostname","address":"n1"}],
                "conditions":[{"type":"Ready","status":"True"}],"images":[{"names":["a"],"sizeBytes":1}],
                "nodeInfo":{"kernelVersion":"6.1","osImage":"Debian","operatingSystem":"linux","architecture":"amd64",
                  "kubeletVersion":"v1.33.1+k3s1"}}}"#,
        )
        .unwrap();
        assert_eq!(
            node.pod_cidrs,
            ["10.0.1.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()]
        );
        assert_eq!(node.internal_ips().count(), 1);
        assert_eq!(node.addresses.len(), 1);
        assert_eq!((node.zone.as_str(), node.region.as_str()), ("a", "r"));
        assert_eq!(node.labels["rack"], "7");
        assert!(!node.labels.contains_key("colour"));
        assert_eq!(node.annotations.len(), 1);
        assert_eq!(node.taints, ["t"]);
        assert!(node.ready);
    }

    #[test]
    fn an_old_node_has_one_pod_cidr_and_a_new_one_none() {
        let old = node(r#"{"metadata":{"name":"n"},"spec":{"podCIDR":"10.0.1.0/24"}}"#).unwrap();
        assert_eq!(old.pod_cidrs.len(), 1);
        let new = node(r#"{"metadata":{"name":"n"},"spec":{},"status":{"addresses":null}}"#).unwrap();
        assert!(new.pod_cidrs.is_empty() && new.addresses.is_empty() && !new.ready);
    }

    #[test]
    fn a_pod_cidr_that_is_none_makes_the_node_unreadable() {
        let flaw = node(r#"{"metadata":{"name":"n"},"spec":{"podCIDRs":["10.0.0.0/99"]}}"#).unwrap_err();
        assert!(flaw.contains("podCIDRs"));
    }

    #[test]
    fn of_node_args_only_addressing_is_kept() {
        let args = r#"["server","--token","hush","--cluster-cidr","10.42.0.0/16","--service-cidr=10.43.0.0/16","--tls-san","x"]"#;
        assert_eq!(
            addressing_args(args),
            r#"["--cluster-cidr","10.42.0.0/16","--service-cidr=10.43.0.0/16"]"#
        );
        assert_eq!(addressing_args("not json"), "[]");
    }
}
