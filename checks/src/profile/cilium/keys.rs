//! What an absent key of ConfigMap `cilium-config` means, by version, for every key that a rule looks at.
//!
//! These are the defaults of the agent (or of the operator, for the keys it reads), not of the chart: a chart writes its own
//! defaults out, so that a key is absent only where the agent decides. Where no text stands, nothing is set.
//!
//! Source: `Documentation/cmdref/cilium-agent.md`, `pkg/option/config.go` and `pkg/defaults` of Cilium, and the ConfigMaps that the
//! charts 1.14 to 1.20 render.

use super::version::{Version, Versions};

/// One key with what its absence means.
#[derive(Debug)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What it is if absent, in the versions before the first change.
    pub default: &'static str,
    /// Later defaults, each with the version that brought it.
    pub changes: &'static [(Version, &'static str)],
}

const fn key(name: &'static str, default: &'static str) -> Key {
    Key {
        name,
        default,
        changes: &[],
    }
}

const fn changed(name: &'static str, default: &'static str, changes: &'static [(Version, &'static str)]) -> Key {
    Key { name, default, changes }
}

/// The labels that exempt nodes from node encryption unless told otherwise.
pub const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane";

/// Every key that rules look at, in the order of their subjects.
pub static KEYS: &[Key] = &[
    // Identity
    key("cluster-name", "default"),
    key("cluster-id", "0"),
    key("max-connected-clusters", "255"),
    key("allow-unsafe-policy-skb-usage", "false"),
    // How packets travel
    key("routing-mode", "tunnel"),
    key("tunnel", ""),
    key("tunnel-protocol", "vxlan"),
    key("tunnel-port", "0"),
    key("tunnel-source-port-range", "0-0"),
    key("underlay-protocol", "auto"),
    // The chart writes `false` for IPv6; the agent alone would have both.
    key("enable-ipv4", "true"),
    key("enable-ipv6", "true"),
    key("prefer-ipv6", "false"),
    // Addresses
    key("ipam", "cluster-pool"),
    key("cluster-pool-ipv4-cidr", ""),
    key("cluster-pool-ipv4-mask-size", "24"),
    key("cluster-pool-ipv6-cidr", ""),
    key("cluster-pool-ipv6-mask-size", "112"),
    key("auto-create-cilium-pod-ip-pools", ""),
    key("k8s-require-ipv4-pod-cidr", "false"),
    key("k8s-require-ipv6-pod-cidr", "false"),
    key("ipv4-native-routing-cidr", ""),
    key("ipv6-native-routing-cidr", ""),
    key("enable-ipv4-masquerade", "true"),
    key("enable-ipv6-masquerade", "true"),
    key("enable-bpf-masquerade", "false"),
    key("enable-l7-proxy", "true"),
    key("enable-ip-masq-agent", "false"),
    key("egress-masquerade-interfaces", ""),
    key("enable-remote-node-masquerade", "false"),
    key("auto-direct-node-routes", "false"),
    key("direct-routing-skip-unreachable", "false"),
    key("devices", ""),
    key("direct-routing-device", ""),
    key("force-device-detection", "false"),
    key("enable-endpoint-routes", "false"),
    key("cni-chaining-mode", "none"),
    key("local-router-ipv4", ""),
    key("local-router-ipv6", ""),
    // Load balancing
    changed("kube-proxy-replacement", "partial", &[(Version(1, 14, 0), "false")]),
    key("bpf-lb-sock", "false"),
    key("bpf-lb-sock-hostns-only", "false"),
    key("bpf-lb-mode", "snat"),
    key("bpf-lb-mode-annotation", "false"),
    key("bpf-lb-dsr-dispatch", "opt"),
    key("bpf-lb-acceleration", "disabled"),
    key("bpf-lb-algorithm", "random"),
    key("bpf-lb-external-clusterip", "false"),
    key("bpf-lb-map-max", "65536"),
    key("node-port-range", "30000,32767"),
    // Encryption
    key("enable-wireguard", "false"),
    key("enable-ipsec", "false"),
    key("enable-ztunnel", "false"),
    key("encrypt-node", "false"),
    key("node-encryption-opt-out-labels", CONTROL_PLANE_LABEL),
    key("wireguard-persistent-keepalive", "0s"),
    key("ipsec-key-file", ""),
    key("enable-ipsec-key-watcher", "true"),
    key("ipsec-key-rotation-duration", "5m"),
    key("enable-ipsec-encrypted-overlay", "false"),
    key("enable-encryption-strict-mode", "false"),
    key("encryption-strict-mode-cidr", ""),
    key("enable-encryption-strict-mode-egress", "false"),
    key("enable-encryption-strict-mode-ingress", "false"),
    key("encryption-strict-egress-cidr", ""),
    // MTU
    key("mtu", "0"),
    key("enable-pmtu-discovery", "false"),
    changed(
        "packetization-layer-pmtud-mode",
        "disabled",
        &[(Version(1, 19, 0), "blackhole")],
    ),
    key("enable-route-mtu-for-cni-chaining", "false"),
    // Where state is kept. `identity-allocation-mode` is `crd` unless a kvstore is configured: see `Settings::default`.
    key("identity-allocation-mode", "crd"),
    key("kvstore", ""),
    key("kvstore-opt", ""),
    key("disable-endpoint-crd", "false"),
    key("enable-cilium-endpoint-slice", "false"),
    // Policy
    key("enable-policy", "default"),
    key("policy-cidr-match-mode", ""),
    key("labels", ""),
    key("label-prefix-file", ""),
    key("enable-node-selector-labels", "false"),
    changed("policy-default-local-cluster", "false", &[(Version(1, 19, 0), "true")]),
    // The mesh
    key("clustermesh-enable-endpoint-sync", "false"),
    key("clustermesh-enable-mcs-api", "false"),
    changed(
        "clustermesh-mcs-api-install-crds",
        "false",
        &[(Version(1, 19, 0), "true")],
    ),
    key("clustermesh-default-global-namespace", "true"),
    key("clustermesh-cache-ttl", "0s"),
    key("clustermesh-sync-timeout", "1m"),
    key("clustermesh-service-v2", "prefer-legacy"),
    // What does not go with a mesh
    key("enable-host-firewall", "false"),
    key("enable-egress-gateway", "false"),
    key("mesh-auth-mutual-enabled", "false"),
    key("enable-vtep", "false"),
    // Health, Hubble, capacity
    key("enable-health-checking", "true"),
    key("enable-endpoint-health-checking", "true"),
    key("cluster-health-port", "4240"),
    key("enable-hubble", "false"),
    key("hubble-listen-address", ""),
    key("hubble-disable-tls", "false"),
    key("bpf-node-map-max", "16384"),
    key("bpf-policy-map-max", "16384"),
    key("bpf-map-dynamic-size-ratio", "0.0025"),
];

/// Keys whose value must be the same on every node of a cluster for a mesh to work as its ConfigMap says.
pub static CLUSTER_WIDE: &[&str] = &[
    "cluster-name",
    "cluster-id",
    "max-connected-clusters",
    "routing-mode",
    "tunnel",
    "tunnel-protocol",
    "tunnel-port",
    "underlay-protocol",
    "enable-ipv4",
    "enable-ipv6",
    "ipam",
    "ipv4-native-routing-cidr",
    "ipv6-native-routing-cidr",
    "enable-ipv4-masquerade",
    "enable-ipv6-masquerade",
    "enable-ip-masq-agent",
    "auto-direct-node-routes",
    "kube-proxy-replacement",
    "enable-wireguard",
    "enable-ipsec",
    "enable-ztunnel",
    "encrypt-node",
    "node-encryption-opt-out-labels",
    "enable-encryption-strict-mode",
    "enable-encryption-strict-mode-egress",
    "enable-encryption-strict-mode-ingress",
    "identity-allocation-mode",
    "enable-policy",
    "labels",
    "policy-default-local-cluster",
    "enable-host-firewall",
    "enable-egress-gateway",
];

impl Key {
    /// The key of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// What its absence means in these versions; `None` if that depends on which of them it is.
    pub fn default_in(&self, versions: &Versions) -> Option<&'static str> {
        let at = |version| {
            let change = self.changes.iter().rev().find(|(since, _)| *since <= version);
            change.map_or(self.default, |(_, default)| default)
        };
        let (oldest, newest) = (at(versions.oldest), at(versions.newest));
        (oldest == newest).then_some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_named_once_and_their_changes_are_in_order() {
        let names: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), KEYS.len());
        assert!(KEYS.iter().all(|key| key.changes.is_sorted()));
        assert!(CLUSTER_WIDE.iter().all(|name| names.contains(name)));
    }

    #[test]
    fn a_changed_default_is_that_of_the_version() {
        let key = Key::find("policy-default-local-cluster").unwrap();
        let in_version = |tag: &str| key.default_in(&tag.parse().unwrap());
        assert_eq!(in_version("1.16.19"), Some("false"));
        assert_eq!(in_version("1.18.12"), Some("false"));
        assert_eq!(in_version("1.19.0"), Some("true"));
        assert_eq!(key.default_in(&Versions::ANY), None);
    }

    #[test]
    fn a_default_that_never_changed_needs_no_version() {
        let key = Key::find("tunnel-protocol").unwrap();
        assert_eq!(key.default_in(&Versions::ANY), Some("vxlan"));
    }
}
