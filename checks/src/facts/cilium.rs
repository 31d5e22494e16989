//! Cilium: configuration, nodes, pools, identities, endpoints and the mesh's own objects.
//!
//! Configuration is kept as the keys of ConfigMap `cilium-config`; the ClusterMesh profile says what they mean in which version.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kubernetes::ObservedBlock;
use super::node::NodeAddress;
use super::provenance::{Basis, Fact, Source, Unknown};
use crate::cidr::Cidr;

/// Everything read about Cilium in one cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cilium {
    /// The namespace it runs in.
    pub namespace: String,
    /// Version by component (`agent`, `operator`, `clustermesh-apiserver`), from image tags, without the leading `v`.
    #[serde(default)]
    pub versions: Fact<BTreeMap<String, String>>,
    /// Versions of the agent's running pods with their number, which differ during a rollout.
    #[serde(default)]
    pub agent_pods: Fact<BTreeMap<String, u32>>,
    /// All keys of ConfigMap `cilium-config`, the last of duplicate keys.
    #[serde(default)]
    pub config: Fact<BTreeMap<String, String>>,
    /// `CiliumNodeConfig` objects, which override keys on the nodes they select.
    #[serde(default)]
    pub node_configs: Fact<Vec<NodeConfig>>,
    /// `CiliumNode` objects.
    #[serde(default)]
    pub nodes: Fact<Vec<CiliumNode>>,
    /// `CiliumPodIPPool` objects (multi-pool IPAM).
    #[serde(default)]
    pub pod_ip_pools: Fact<Vec<PodIpPool>>,
    /// `CiliumIdentity` objects, counted by what peers look at.
    #[serde(default)]
    pub identities: Fact<Vec<IdentityGroup>>,
    /// `CiliumEndpoint` and `CiliumEndpointSlice` objects, counted.
    #[serde(default)]
    pub endpoints: Fact<Endpoints>,
    /// ConfigMap `ip-masq-agent`: `nonMasqueradeCIDRs`; `not found` means the built-in list.
    #[serde(default)]
    pub ip_masq_agent: Fact<IpMasqAgent>,
    /// Cilium network policies, as far as mesh rules look at them.
    #[serde(default)]
    pub policies: Fact<Policies>,
    /// The mesh's control plane objects.
    #[serde(default)]
    pub mesh: Mesh,
    /// What Secrets say, reduced to fingerprints, names and dates; `not asked` unless the user said so.
    #[serde(default)]
    pub secrets: Fact<MeshSecrets>,
}

/// One `CiliumNodeConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeConfig {
    /// Name.
    pub name: String,
    /// `spec.defaults`: the keys it overrides.
    pub defaults: BTreeMap<String, String>,
    /// The nodes its selector picks.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// One `CiliumNode`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumNode {
    /// Name, equal to the Node's.
    pub name: String,
    /// `spec.addresses`: InternalIP, ExternalIP, CiliumInternalIP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    /// `spec.health` addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_ips: Vec<std::net::IpAddr>,
    /// `spec.ingress` addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress_ips: Vec<std::net::IpAddr>,
    /// `spec.ipam.podCIDRs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<Cidr>,
    /// `spec.ipam.pools.allocated[]`: pool name and its blocks (multi-pool).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, Vec<Cidr>>,
    /// `spec.ipam.pool` addresses and ENI or Azure prefixes, exactly, merged where they touch (eni, azure, alibabacloud, crd).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses_assigned: Vec<Cidr>,
    /// VPC blocks of the cloud status (`status.eni.enis[].vpc`): primary first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vpc_cidrs: Vec<Cidr>,
    /// `spec.encryption.key`: 0 none, 255 WireGuard node encryption, 1 to 15 the IPsec key id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<u32>,
    /// Annotation `network.cilium.io/wg-pub-key`: a public key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wireguard_public_key: String,
}

/// One `CiliumPodIPPool`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodIpPool {
    /// Name.
    pub name: String,
    /// `spec.ipv4.cidrs` and `spec.ipv6.cidrs`.
    pub cidrs: Vec<Cidr>,
    /// Annotation `ipam.cilium.io/skip-masquerade`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_masquerade: bool,
}

/// Identities that peers would treat alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityGroup {
    /// The value of label `k8s:io.cilium.k8s.policy.cluster`; absent where the label is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_label: Option<String>,
    /// The numeric identity divided by 32768: the cluster id of a 511-cluster mesh, twice that of a 255-cluster mesh (plus 0 or 1).
    pub id_block: u32,
    /// How many there are.
    pub count: u64,
    /// How many of them some endpoint uses; absent if endpoints could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<u64>,
    /// One of them, one in use if there is one.
    pub example: u32,
    /// An endpoint that uses the example, as `namespace/name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub example_endpoint: String,
}

/// `CiliumEndpoint`s, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoints {
    /// How many there are.
    pub count: u64,
    /// Addresses of endpoints whose running pod (not on the host network) has that very address.
    pub of_running_pods: Vec<ObservedBlock>,
    /// Addresses of endpoints without such a pod.
    #[serde(default)]
    pub without_pod: Vec<ObservedBlock>,
    /// Running pods, not on the host network, whose address no endpoint has.
    #[serde(default)]
    pub pods_without: Vec<ObservedBlock>,
}

/// ConfigMap `ip-masq-agent`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IpMasqAgent {
    /// `nonMasqueradeCIDRs`.
    pub non_masquerade_cidrs: Vec<Cidr>,
}

/// What Cilium's policies ask for, as far as mesh rules look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policies {
    /// Policies read.
    pub count: u64,
    /// Policies with `authentication.mode: required`, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requiring_authentication: Vec<String>,
}

/// The mesh's own objects that need no Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mesh {
    /// ConfigMap `clustermesh-remote-users`: etcd users of listed peers; `not found` in legacy mode.
    #[serde(default)]
    pub remote_users: Fact<Vec<String>>,
    /// `hostAliases` of the agent DaemonSet and the clustermesh-apiserver Deployment: name to addresses.
    #[serde(default)]
    pub host_aliases: Fact<BTreeMap<String, Vec<String>>>,
}

/// What the mesh's Secrets say, without what is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeshSecrets {
    /// Names of the Secrets that exist among those looked for.
    pub present: Vec<String>,
    /// Certificates by Secret and key: `cilium-ca/ca.crt`.
    pub certificates: BTreeMap<String, Vec<Certificate>>,
    /// Peers configured in `cilium-clustermesh` and `cilium-kvstoremesh`, by entry name.
    #[serde(default)]
    pub peers: BTreeMap<String, Peer>,
    /// The `cilium-ipsec-keys` Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipsec: Option<IpsecKey>,
}

/// What can be told of a certificate without keeping it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// Subject common name.
    pub common_name: String,
    /// Subject alternative names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Issuer common name.
    pub issuer: String,
    /// SHA-256 of the DER form, in hex.
    pub fingerprint: String,
    /// Subject key id, in hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject_key_id: String,
    /// Authority key id, in hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authority_key_id: String,
    /// First moment of validity.
    pub not_before: jiff::Timestamp,
    /// Last moment of validity.
    pub not_after: jiff::Timestamp,
    /// Whether it may sign others.
    pub is_ca: bool,
}

/// One configured peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// The Secrets with an entry of this name.
    pub secrets: Vec<String>,
    /// `endpoints:` of the entry that KVStoreMesh dials, or of the agents' entry where there is no other.
    pub endpoints: Vec<String>,
    /// Whether the entry brings a CA of its own.
    #[serde(default)]
    pub own_ca: bool,
}

/// The IPsec key in force, without the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IpsecKey {
    /// Key id, 1 to 15.
    pub id: u32,
    /// Algorithm name.
    pub algorithm: String,
    /// Length of the authentication part in bits, where the algorithm states one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_bits: Option<u32>,
    /// Whether the id carries `+`: per-tunnel keys.
    pub per_tunnel: bool,
    /// SHA-256 of a fixed label and the key material: equal keys have equal digests.
    pub digest: String,
}

impl Cilium {
    /// Cilium in a cluster that does not exist yet: the keys that the user declared, and nothing else.
    pub fn planned(config: BTreeMap<String, String>, declared: &Source, unknown: &Unknown) -> Self {
        fn all<T>(unknown: &Unknown) -> Fact<T> {
            Fact::Unknown(unknown.clone())
        }
        Self {
            namespace: String::new(),
            versions: all(unknown),
            agent_pods: all(unknown),
            config: Fact::known(config, declared.clone()),
            node_configs: all(unknown),
            nodes: all(unknown),
            pod_ip_pools: all(unknown),
            identities: all(unknown),
            endpoints: all(unknown),
            ip_masq_agent: all(unknown),
            policies: all(unknown),
            mesh: Mesh {
                remote_users: all(unknown),
                host_aliases: all(unknown),
            },
            secrets: all(unknown),
        }
    }

    /// Where the configuration was declared, for a cluster that does not exist yet.
    pub fn declared(&self) -> Option<&Source> {
        let source = &self.config.known_value().ok()?.source;
        (source.basis == Basis::Declared).then_some(source)
    }

    /// ConfigMap `cilium-config` as a source, for the key given; the declaration, if the cluster does not exist yet.
    pub fn config_source(&self, key: &str) -> Source {
        match self.declared() {
            Some(declared) => Source::declared(format!("{} {key}", declared.field)),
            None => Source::read(format!("ConfigMap {}/cilium-config", self.namespace), key),
        }
    }

    /// A `CiliumNodeConfig` as a source, for the key given.
    pub fn node_config_source(&self, object: &NodeConfig, key: &str) -> Source {
        Source::read(
            format!("CiliumNodeConfig {}/{}", self.namespace, object.name),
            format!("spec.defaults.{key}"),
        )
    }

    pub(super) fn inventory(&self) -> Vec<(&'static str, Option<&Unknown>)> {
        vec![
            ("Cilium versions", self.versions.why()),
            ("Cilium agent pods", self.agent_pods.why()),
            ("Cilium configuration", self.config.why()),
            ("CiliumNodeConfigs", self.node_configs.why()),
            ("CiliumNodes", self.nodes.why()),
            ("CiliumPodIPPools", self.pod_ip_pools.why()),
            ("CiliumIdentities", self.identities.why()),
            ("CiliumEndpoints", self.endpoints.why()),
            ("ip-masq-agent", self.ip_masq_agent.why()),
            ("Cilium policies", self.policies.why()),
            ("mesh remote users", self.mesh.remote_users.why()),
            ("mesh host aliases", self.mesh.host_aliases.why()),
            ("mesh Secrets", self.secrets.why()),
        ]
    }
}
