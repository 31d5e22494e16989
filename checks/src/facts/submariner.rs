//! Submariner's objects, named fields only: `Submariner` itself holds the IPsec PSK and a broker token, which are never read into facts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mcs::Condition;
use super::provenance::{Fact, Unknown};

/// Everything read about Submariner in one cluster, broker objects included where this cluster holds the broker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Submariner {
    /// The `Submariner` object; `not installed` where only a broker or CRDs are there.
    #[serde(default)]
    pub config: Fact<SubmarinerConfig>,
    /// `ServiceDiscovery` objects.
    #[serde(default)]
    pub service_discovery: Fact<Option<ServiceDiscovery>>,
    /// `Broker` object; `not installed` where there is none.
    #[serde(default)]
    pub broker: Fact<Broker>,
    /// `Cluster` objects by namespace: members' copies and, in the broker namespace, the broker's own.
    #[serde(default)]
    pub clusters: Fact<Vec<SubmarinerCluster>>,
    /// `Endpoint` objects by namespace.
    #[serde(default)]
    pub endpoints: Fact<Vec<Endpoint>>,
    /// `Gateway` objects.
    #[serde(default)]
    pub gateways: Fact<Vec<Gateway>>,
    /// `RouteAgent` objects.
    #[serde(default)]
    pub route_agents: Fact<Vec<RouteAgent>>,
    /// `ClusterGlobalEgressIP` objects.
    #[serde(default)]
    pub cluster_global_egress_ips: Fact<Vec<GlobalEgressIp>>,
    /// `GlobalIngressIP` objects.
    #[serde(default)]
    pub global_ingress_ips: Fact<Vec<GlobalIngressIp>>,
    /// ConfigMap `submariner-globalnet-info` of the broker namespace.
    #[serde(default)]
    pub globalnet_info: Fact<RangeInfo>,
    /// ConfigMap `submariner-clustersetip-info` of the broker namespace.
    #[serde(default)]
    pub clusterset_ip_info: Fact<RangeInfo>,
    /// Holder of Lease `submariner-gateway-lock`.
    #[serde(default)]
    pub gateway_lease_holder: Fact<String>,
    /// Component versions from image tags.
    #[serde(default)]
    pub versions: Fact<BTreeMap<String, String>>,
    /// Pods in the operator namespace that are not ready, as `name: reason`.
    #[serde(default)]
    pub unready_pods: Fact<Vec<String>>,
    /// The pre-shared key of the tunnels, reduced; `not asked` unless Secrets may be read.
    #[serde(default)]
    pub psk: Fact<PreSharedKey>,
}

/// The pre-shared key, without the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreSharedKey {
    /// The first 8 bytes of PBKDF2 with a constant salt, in hex: equal keys have equal fingerprints.
    pub fingerprint: String,
}

/// Named fields of `Submariner` spec and status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SubmarinerConfig {
    /// Namespace of the object.
    pub namespace: String,
    /// `spec.clusterID`.
    pub cluster_id: String,
    /// `status.clusterID`.
    pub status_cluster_id: String,
    /// `spec.clusterCIDR`, a comma list.
    pub cluster_cidr: String,
    /// `spec.serviceCIDR`, a comma list.
    pub service_cidr: String,
    /// `spec.globalCIDR`, a comma list.
    pub global_cidr: String,
    /// `spec.clustersetIPCIDR`.
    pub clusterset_ip_cidr: String,
    /// `status.clusterCIDR`.
    pub status_cluster_cidr: String,
    /// `status.serviceCIDR`.
    pub status_service_cidr: String,
    /// `status.globalCIDR`.
    pub status_global_cidr: String,
    /// `status.networkPlugin`.
    pub network_plugin: String,
    /// `spec.version` or `status.version`.
    pub version: String,
    /// `spec.brokerK8sApiServer`.
    pub broker_api_server: String,
    /// `spec.brokerK8sRemoteNamespace`.
    pub broker_namespace: String,
    /// `spec.brokerK8sInsecure`.
    pub broker_insecure: Option<bool>,
    /// `spec.cableDriver`; empty means libreswan.
    pub cable_driver: String,
    /// `spec.ceIPSecNATTPort`; absent or 0 is invalid.
    pub nat_t_port: Option<i64>,
    /// `spec.ceIPSecForceUDPEncaps`.
    pub force_udp_encaps: Option<bool>,
    /// `spec.ceIPSecPreferredServer`.
    pub preferred_server: Option<bool>,
    /// `spec.natEnabled`.
    pub nat_enabled: Option<bool>,
    /// `spec.airGappedDeployment`.
    pub air_gapped: Option<bool>,
    /// `spec.loadBalancerEnabled`.
    pub load_balancer_enabled: Option<bool>,
    /// `spec.serviceDiscoveryEnabled`.
    pub service_discovery_enabled: Option<bool>,
    /// `spec.clustersetIPEnabled`.
    pub clusterset_ip_enabled: Option<bool>,
    /// `spec.coreDNSCustomConfig`: namespace/name; empty if absent.
    pub coredns_custom_config: String,
    /// `spec.customDomains`.
    pub custom_domains: Vec<String>,
    /// `spec.connectionHealthCheck.enabled`; absent object = on.
    pub health_check_enabled: Option<bool>,
    /// Whether `spec.connectionHealthCheck` is there at all.
    pub health_check_present: bool,
    /// `spec.repository`.
    pub repository: String,
    /// `spec.ciliumNamespace` (newer releases).
    pub cilium_namespace: String,
    /// `status.*DaemonSetStatus` as `gateway: 1 of 1 ready`.
    pub daemon_sets: BTreeMap<String, String>,
    /// `metadata.labels` and annotations that tell who installed it (Helm, Argo, Flux).
    pub managed_by: Vec<String>,
}

/// Named fields of `ServiceDiscovery`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceDiscovery {
    /// `spec.clusterID`.
    pub cluster_id: String,
    /// `spec.customDomains`.
    pub custom_domains: Vec<String>,
    /// `spec.coreDNSCustomConfig`: namespace/name; empty if absent.
    pub coredns_custom_config: String,
    /// `spec.brokerK8sApiServer`.
    pub broker_api_server: String,
}

/// Named fields of `Broker`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Broker {
    /// Namespace.
    pub namespace: String,
    /// `spec.components`.
    pub components: Vec<String>,
    /// `spec.globalnetEnabled`.
    pub globalnet_enabled: Option<bool>,
    /// `spec.globalnetCIDRRange`.
    pub globalnet_cidr_range: String,
    /// `spec.defaultGlobalnetClusterSize`.
    pub globalnet_cluster_size: Option<u64>,
    /// `spec.clustersetIPEnabled`.
    pub clusterset_ip_enabled: Option<bool>,
    /// `spec.clustersetIPCIDRRange`.
    pub clusterset_ip_cidr_range: String,
    /// `spec.defaultCustomDomains`.
    pub custom_domains: Vec<String>,
}

/// One `Cluster` object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SubmarinerCluster {
    /// Namespace: the member's operator namespace or the broker's.
    pub namespace: String,
    /// `spec.cluster_id`.
    pub cluster_id: String,
    /// `spec.cluster_cidr[]`, as written.
    pub cluster_cidr: Vec<String>,
    /// `spec.service_cidr[]`, as written.
    pub service_cidr: Vec<String>,
    /// `spec.global_cidr[]`, as written.
    pub global_cidr: Vec<String>,
}

/// One `Endpoint` object (submariner.io, not the core one).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Endpoint {
    /// Namespace; empty inside a Gateway connection.
    pub namespace: String,
    /// `spec.cluster_id`.
    pub cluster_id: String,
    /// `spec.cable_name`.
    pub cable_name: String,
    /// `spec.hostname`.
    pub hostname: String,
    /// `spec.subnets[]`, as written.
    pub subnets: Vec<String>,
    /// `spec.privateIPs[]`, or `private_ip` where that is all there is.
    pub private_ips: Vec<String>,
    /// `spec.publicIPs[]`, or `public_ip`.
    pub public_ips: Vec<String>,
    /// `spec.healthCheckIPs[]`, or `healthCheckIP`.
    pub health_check_ips: Vec<String>,
    /// `spec.nat_enabled`.
    pub nat_enabled: Option<bool>,
    /// `spec.backend`: the cable driver.
    pub backend: String,
    /// `spec.backend_config` without keys that change by themselves; public keys kept.
    pub backend_config: BTreeMap<String, String>,
}

/// One `Gateway` object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gateway {
    /// Name: the gateway's host name.
    pub name: String,
    /// `status.version`.
    pub version: String,
    /// `status.haStatus`: `active`, `passive`.
    pub ha_status: String,
    /// `status.statusFailure`.
    pub failure: String,
    /// Annotation `update-timestamp`.
    pub updated_at: Option<jiff::Timestamp>,
    /// Annotation `submariner.io/globalIp`.
    pub global_ip: String,
    /// `status.localEndpoint`.
    pub local_endpoint: Option<Endpoint>,
    /// `status.connections[]`.
    pub connections: Vec<Connection>,
}

/// One connection of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Connection {
    /// `connecting`, `connected`, `error`, `none`.
    pub status: String,
    /// `statusMessage`.
    pub message: String,
    /// The remote endpoint.
    pub endpoint: Endpoint,
    /// `usingIP`.
    pub using_ip: String,
    /// `usingNAT`.
    pub using_nat: Option<bool>,
}

/// One `RouteAgent` object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RouteAgent {
    /// Name: the node.
    pub name: String,
    /// `status.version`.
    pub version: String,
    /// `status.statusFailure`.
    pub failure: String,
    /// `status.remoteEndpoints[]`.
    pub remotes: Vec<RemoteEndpoint>,
}

/// What a route agent says of one remote endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RemoteEndpoint {
    /// Remote cluster ID.
    pub cluster_id: String,
    /// `none`, `connected`, `error`.
    pub status: String,
    /// `statusMessage`.
    pub message: String,
}

/// One `ClusterGlobalEgressIP` or `GlobalEgressIP`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GlobalEgressIp {
    /// Name.
    pub name: String,
    /// `spec.numGlobalIPs` (`numberOfIPs`); absent = 1.
    pub number: Option<i64>,
    /// `status.allocatedIPs`.
    pub allocated: Vec<String>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// One `GlobalIngressIP`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GlobalIngressIp {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.target`: `ClusterIPService`, `HeadlessServicePod`, ...
    pub target: String,
    /// `spec.serviceRef.name`.
    pub service: String,
    /// `status.allocatedIP`.
    pub allocated: String,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// One of the broker's two range ConfigMaps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RangeInfo {
    /// Namespace of the ConfigMap.
    pub namespace: String,
    /// `globalnetEnabled` / `clustersetIPEnabled`.
    pub enabled: Option<bool>,
    /// `globalnetCidrRange` / `clustersetIPCidrRange`, as written.
    pub range: String,
    /// `globalnetClusterSize` / `clustersetIPClusterSize`.
    pub cluster_size: Option<u64>,
    /// `clusterinfo`: cluster ID and its blocks, as written.
    pub clusters: Vec<RangeEntry>,
}

/// One cluster's part of a range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RangeEntry {
    /// Cluster ID.
    pub cluster_id: String,
    /// Its blocks, as written.
    pub cidrs: Vec<String>,
}

impl Submariner {
    pub(super) fn inventory(&self) -> Vec<(&'static str, Option<&Unknown>)> {
        vec![
            ("Submariner", self.config.why()),
            ("ServiceDiscovery", self.service_discovery.why()),
            ("Broker", self.broker.why()),
            ("Submariner Clusters", self.clusters.why()),
            ("Submariner Endpoints", self.endpoints.why()),
            ("Submariner Gateways", self.gateways.why()),
            ("Submariner RouteAgents", self.route_agents.why()),
            ("ClusterGlobalEgressIPs", self.cluster_global_egress_ips.why()),
            ("GlobalIngressIPs", self.global_ingress_ips.why()),
            ("Globalnet ranges", self.globalnet_info.why()),
            ("clusterset IP ranges", self.clusterset_ip_info.why()),
            ("gateway lease", self.gateway_lease_holder.why()),
            ("Submariner versions", self.versions.why()),
            ("Submariner pods", self.unready_pods.why()),
            ("Submariner pre-shared key", self.psk.why()),
        ]
    }
}
