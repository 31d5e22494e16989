//! Clusters of other kinds than the recorded ones, built of objects as the real products make them.

use prejoin_tests::api_server::{Objects, Scope};
use serde_json::{Value, json};

/// The operator's namespace.
pub(crate) const OPERATOR: &str = "submariner-operator";
/// The broker's namespace.
pub(crate) const BROKER: &str = "submariner-k8s-broker";

/// A cluster of this many nodes, `n1` and so on, and nothing else.
pub(crate) fn nodes(count: usize, kubelet_version: &str) -> Objects {
    let objects = Objects::new().with(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system", "uid": "7d5f4c1e-0000"}}),
    );
    (1..=count).fold(objects, |objects, n| {
        objects.with(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{n}"), "labels": {"kubernetes.io/os": "linux"}},
            "spec": {"podCIDRs": [format!("10.244.{n}.0/24")]},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("172.18.0.{n}")}], "nodeInfo": {"kubeletVersion": kubelet_version}},
        }))
    })
}

fn workload(kind: &str, namespace: &str, name: &str, container: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": container, "image": image}]}}},
        "status": {"desiredNumberScheduled": 2, "numberReady": 2, "readyReplicas": 1},
    })
}

/// A DaemonSet that runs.
pub(crate) fn daemon_set(namespace: &str, name: &str, container: &str, image: &str) -> Value {
    workload("DaemonSet", namespace, name, container, image)
}

/// A Deployment that runs.
pub(crate) fn deployment(namespace: &str, name: &str, container: &str, image: &str) -> Value {
    workload("Deployment", namespace, name, container, image)
}

/// A ConfigMap.
pub(crate) fn config_map(namespace: &str, name: &str, data: Value) -> Value {
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}});
    map["data"] = data;
    map
}

/// A running, ready pod that is not on the host network.
pub(crate) fn pod(namespace: &str, name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i:1.0"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address}], "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// A kind cluster as it comes.
pub(crate) fn kind() -> Objects {
    nodes(2, "v1.33.1")
        .with(daemon_set(
            "kube-system",
            "kindnet",
            "kindnet-cni",
            "docker.io/kindest/kindnetd:v20250512-df8de77b",
        ))
        .edit("/apis/apps/v1/namespaces/kube-system/daemonsets/kindnet", |object| {
            object["spec"]["template"]["spec"]["containers"][0]["env"] = json!([
                {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                {"name": "POD_SUBNET", "value": "10.244.0.0/16,fd00:10:244::/56"},
            ]);
        })
        .with(daemon_set(
            "kube-system",
            "kube-proxy",
            "kube-proxy",
            "registry.k8s.io/kube-proxy:v1.33.1",
        ))
        .with(deployment(
            "kube-system",
            "coredns",
            "coredns",
            "registry.k8s.io/coredns/coredns:v1.12.0",
        ))
        .with(config_map(
            "kube-system",
            "coredns",
            json!({"Corefile": ".:53 {\n    kubernetes cluster.local\n}\n"}),
        ))
        .with(pod("default", "web", "10.244.1.5"))
}

/// A cluster with OVN-Kubernetes, as its own charts install it.
pub(crate) fn ovn_kubernetes() -> Objects {
    let image = "ghcr.io/ovn-kubernetes/ovn-kubernetes/ovn-kube-ubuntu:1.1.0";
    nodes(1, "v1.33.1")
        .with(daemon_set("ovn-kubernetes", "ovnkube-node", "ovnkube-controller", image))
        .with(daemon_set("ovn-kubernetes", "ovs-node", "ovs-daemons", image))
        .with(config_map(
            "ovn-kubernetes",
            "ovn-config",
            json!({"k8s_apiserver": "https://172.18.0.1:6443", "mtu": "1400", "net_cidr": "10.128.0.0/14/23", "svc_cidr": "172.30.0.0/16"}),
        ))
}

/// A cluster of Amazon's, with pods at 192.168.4.0 and the addresses after it.
pub(crate) fn eks(pods: usize) -> Objects {
    let marks = json!({"eks.amazonaws.com/component": "coredns", "k8s-app": "kube-dns"});
    nodes(2, "v1.33.1-eks-7308294")
        .with(daemon_set(
            "kube-system",
            "aws-node",
            "aws-node",
            "602401143452.dkr.ecr.eu-west-1.amazonaws.com/amazon-k8s-cni:v1.19.5-eksbuild.3",
        ))
        .with(deployment(
            "kube-system",
            "coredns",
            "coredns",
            "602401143452.dkr.ecr.eu-west-1.amazonaws.com/eks/coredns:v1.12.1-eksbuild.2",
        ))
        .with(config_map("kube-system", "coredns", json!({"Corefile": ".:53 {\n}\n"})))
        .edit("/api/v1/namespaces/kube-system/configmaps/coredns", |map| {
            map["metadata"]["labels"] = marks;
        })
        .generate("v1", "Pod", Scope::Namespaced, pods, |n| {
            pod(
                "default",
                &format!("web-{n}"),
                &format!("192.168.{}.{}", 4 + n / 256, n % 256),
            )
            .to_string()
        })
}

/// A kubeadm cluster with Calico that has joined a clusterset with Globalnet and holds its broker.
pub(crate) fn kubeadm_with_submariner() -> Objects {
    let objects = nodes(2, "v1.33.1")
        .with(daemon_set("calico-system", "calico-node", "calico-node", "quay.io/calico/node:v3.30.1"))
        .with(json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool", "metadata": {"name": "default-ipv4-ippool"},
            "spec": {"cidr": "10.244.0.0/16", "blockSize": 26, "ipipMode": "Never", "vxlanMode": "Always", "natOutgoing": true}}))
        .with(json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool",
            "metadata": {"name": "submariner-west-242.1.0.0-16", "labels": {"submariner.io/ippool": "true"}},
            "spec": {"cidr": "242.1.0.0/16", "disabled": true, "natOutgoing": false}}))
        .with(deployment("kube-system", "coredns", "coredns", "registry.k8s.io/coredns/coredns:v1.12.0"))
        .edit("/apis/apps/v1/namespaces/kube-system/deployments/coredns", |object| {
            object["spec"]["template"]["metadata"] = json!({"labels": {"k8s-app": "kube-dns"}});
        })
        .with(config_map("kube-system", "coredns", json!({"Corefile": ".:53 {\n    kubernetes cluster.local\n}\n"})))
        .with(config_map("dns-extra", "mesh-zones", json!({"lighthouse.server": "clusterset.local:53 {\n}\n"})));
    mcs(broker(member(objects)))
}

fn member(objects: Objects) -> Objects {
    let v1alpha1 = |kind: &str, name: &str, spec: Value, status: Value| json!({"apiVersion": "submariner.io/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": OPERATOR}, "spec": spec, "status": status});
    let daemon_sets = json!({"status": {"desiredNumberScheduled": 1, "numberReady": 1}});
    let dns = json!({"configMapName": "mesh-zones", "namespace": "dns-extra"});
    let objects = objects
        .with(v1alpha1("Submariner", "submariner", json!({
            "broker": "k8s", "brokerK8sApiServer": "172.18.0.1:6443", "brokerK8sApiServerToken": "hush-token", "brokerK8sCA": "hush-ca",
            "brokerK8sRemoteNamespace": BROKER, "ceIPSecPSK": "hush-psk", "ceIPSecNATTPort": 4500, "clusterID": "east",
            "clusterCIDR": "", "serviceCIDR": "", "globalCIDR": "242.0.0.0/16", "natEnabled": true, "version": "0.21.0",
            "coreDNSCustomConfig": dns, "serviceDiscoveryEnabled": true,
        }), json!({"clusterID": "east", "clusterCIDR": "10.244.0.0/16", "serviceCIDR": "10.96.0.0/16", "networkPlugin": "calico",
                   "gatewayDaemonSetStatus": daemon_sets})))
        .with(v1alpha1("ServiceDiscovery", "service-discovery", json!({"clusterID": "east", "brokerK8sApiServerToken": "hush-token"}), json!({})))
        .with(json!({"apiVersion": "submariner.io/v1", "kind": "Gateway",
            "metadata": {"name": "n2", "namespace": OPERATOR, "annotations": {"update-timestamp": "1767225600"}},
            "status": {"version": "0.21.0", "haStatus": "active", "localEndpoint": {"cluster_id": "east"}, "connections": [
                {"status": "connected", "usingIP": "172.18.0.9", "endpoint": {"cluster_id": "west", "backend": "libreswan"}}]}}))
        .with(json!({"apiVersion": "submariner.io/v1", "kind": "RouteAgent", "metadata": {"name": "n1", "namespace": OPERATOR},
            "status": {"remoteEndpoints": [{"status": "connected", "spec": {"cluster_id": "west"}}]}}))
        .with(json!({"apiVersion": "submariner.io/v1", "kind": "ClusterGlobalEgressIP", "metadata": {"name": "cluster-egress.submariner.io"},
            "spec": {"numGlobalIPs": 8}, "status": {"allocatedIPs": ["242.0.0.1"]}}))
        .with(json!({"apiVersion": "submariner.io/v1", "kind": "GlobalIngressIP", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"target": "ClusterIPService", "serviceRef": {"name": "web"}}, "status": {"allocatedIP": "242.0.0.9"}}))
        .with(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "submariner-gateway-lock", "namespace": OPERATOR},
            "spec": {"holderIdentity": "n2-submariner-gateway", "leaseDurationSeconds": 10}}))
        .with(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "submariner-ipsec-psk", "namespace": OPERATOR}, "data": {"psk": "hush"}}))
        .with(pod(OPERATOR, "submariner-gateway-x", "10.244.1.2"))
        .with(pod(OPERATOR, "submariner-lighthouse-coredns-x", "10.244.1.3"))
        .edit(&format!("/api/v1/namespaces/{OPERATOR}/pods/submariner-lighthouse-coredns-x"), |pod| {
            pod["status"]["conditions"][0]["status"] = "False".into();
            pod["status"]["containerStatuses"] = json!([{"ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
        })
        .with(deployment(OPERATOR, "submariner-operator", "submariner-operator", "quay.io/submariner/submariner-operator:0.21.0"))
        .with(daemon_set(OPERATOR, "submariner-gateway", "submariner-gateway", "quay.io/submariner/submariner-gateway:0.21.0"));
    with_clusters(objects, OPERATOR)
}

fn broker(objects: Objects) -> Objects {
    let info = |name: &str, prefix: &str, range: &str, key: &str| {
        let entries: Vec<Value> = ["east", "west"]
            .iter()
            .map(|id| json!({"cluster_id": id, key: [range.replace(".0.0.0/8", ".0.0.0/16")]}))
            .collect();
        config_map(
            BROKER,
            name,
            json!({
                format!("{prefix}Enabled"): "true", format!("{prefix}CidrRange"): format!("\"{range}\""),
                format!("{prefix}ClusterSize"): "65536", "clusterinfo": json!(entries).to_string(),
            }),
        )
    };
    let objects = objects
        .with(json!({"apiVersion": "submariner.io/v1alpha1", "kind": "Broker", "metadata": {"name": "submariner-broker", "namespace": BROKER},
            "spec": {"components": ["service-discovery", "connectivity"], "globalnetEnabled": true, "globalnetCIDRRange": "242.0.0.0/8",
                     "defaultGlobalnetClusterSize": 65536, "clustersetIPCIDRRange": "243.0.0.0/8"}}))
        .with(info("submariner-globalnet-info", "globalnet", "242.0.0.0/8", "global_cidr"))
        .with(info("submariner-clustersetip-info", "clustersetIP", "243.0.0.0/8", "cidrs"));
    with_clusters(objects, BROKER)
}

/// The `Cluster` and `Endpoint` objects of both members.
fn with_clusters(objects: Objects, namespace: &str) -> Objects {
    ["east", "west"].iter().zip(0..).fold(objects, |objects, (id, n)| {
        let metadata = json!({"name": id, "namespace": namespace});
        let global = format!("242.{n}.0.0/16");
        objects
            .with(json!({"apiVersion": "submariner.io/v1", "kind": "Cluster", "metadata": metadata, "spec": {"cluster_id": id,
                "color_codes": [], "cluster_cidr": ["10.244.0.0/16"], "service_cidr": ["10.96.0.0/16"], "global_cidr": [global]}}))
            .with(json!({"apiVersion": "submariner.io/v1", "kind": "Endpoint", "metadata": metadata, "spec": {"cluster_id": id,
                "cable_name": format!("submariner-cable-{id}-172-18-0-{n}"), "hostname": "n2", "subnets": [global], "private_ip": format!("172.18.0.{n}"),
                "public_ip": "203.0.113.1", "nat_enabled": true, "backend": "libreswan", "backend_config": {"udp-port": "4500"}}}))
    })
}

fn mcs(objects: Objects) -> Objects {
    let labels =
        json!({"multicluster.kubernetes.io/source-cluster": "west", "multicluster.kubernetes.io/service-name": "web"});
    let slice = |name: &str, labels: Value| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": name, "namespace": "shop", "labels": labels},
               "addressType": "IPv4", "endpoints": [{"addresses": ["242.1.0.9"]}]})
    };
    let definition = |plural: &str| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
               "metadata": {"name": format!("{plural}.multicluster.x-k8s.io")}, "status": {"storedVersions": ["v1alpha1"]}})
    };
    objects
        .with(json!({"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceExport",
            "metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "Valid", "status": "True", "reason": "", "message": ""}]}}))
        .with(json!({"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceImport", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"type": "ClusterSetIP", "ports": [{"port": 80, "protocol": "TCP"}]}, "status": {"clusters": [{"cluster": "west"}]}}))
        .with(slice("web-west", labels))
        .with(slice("web-local", json!({"kubernetes.io/service-name": "web"})))
        .with(definition("serviceexports"))
        .with(definition("serviceimports"))
}
