//! [`Intent`]: what the user plans, beyond what the clusters' own facts say. Comes from `prejoin.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use crate::facts::provenance::Source;

/// What the user plans.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Intent {
    /// Networks outside all clusters that must not collide with any: on-premises, VPN.
    pub external_networks: Vec<ExternalNetwork>,
    /// How Submariner is to be joined; what is not said is what `subctl join` does by default.
    pub submariner: SubmarinerPlan,
    /// The longest round trip between clusters, in milliseconds, that what runs across them can afford.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_budget_millis: Option<u32>,
}

/// A network outside all clusters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExternalNetwork {
    /// What the user calls it.
    pub name: String,
    /// Its range.
    pub cidr: Cidr,
    /// Where it was declared.
    pub source: Source,
}

/// How Submariner is to be joined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SubmarinerPlan {
    /// The Submariner release, as `0.21.1`.
    pub version: Option<String>,
    /// Who installs it: `subctl` (default), `helm`, `gitops`.
    pub installer: Option<String>,
    /// Whether the broker has Globalnet on. `subctl deploy-broker` leaves it off unless told.
    pub globalnet: Option<bool>,
    /// Globalnet's range, 242.0.0.0/8 unless told.
    pub globalnet_range: Option<Cidr>,
    /// The range clusterset IPs are taken from, 243.0.0.0/8 unless told.
    pub clusterset_ip_range: Option<Cidr>,
    /// Whether clusterset IPs are used.
    pub clusterset_ip: Option<bool>,
    /// `libreswan` (default), `wireguard`, `vxlan`.
    pub cable_driver: Option<String>,
    /// Whether the broker runs service discovery (default yes).
    pub service_discovery: Option<bool>,
    /// `--natt` (default yes).
    pub nat_traversal: Option<bool>,
    /// `--air-gapped` (default no).
    pub air_gapped: Option<bool>,
    /// `--health-check` (default yes).
    pub health_check: Option<bool>,
    /// `--load-balancer` (default no).
    pub load_balancer: Option<bool>,
    /// `--force-udp-encaps` (default no).
    pub force_udp_encaps: Option<bool>,
    /// The broker's API server as members dial it.
    pub broker_url: Option<String>,
    /// The name of the cluster that holds the broker, as it goes by in this audit.
    pub broker_cluster: Option<String>,
    /// Extra DNS domains.
    pub custom_domains: Vec<String>,
    /// What is planned for single clusters, by the name each goes by in this audit.
    pub clusters: BTreeMap<String, SubmarinerClusterPlan>,
}

/// What is planned for one cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SubmarinerClusterPlan {
    /// `--clusterid`.
    pub cluster_id: Option<String>,
    /// `--clustercidr`.
    pub cluster_cidr: Vec<Cidr>,
    /// `--servicecidr`.
    pub service_cidr: Vec<Cidr>,
    /// `--globalnet-cidr`, as written.
    pub globalnet_cidr: Option<String>,
    /// `--globalnet=false` for this cluster.
    pub globalnet: Option<bool>,
    /// `--coredns-custom-configmap`, as `namespace/name`.
    pub coredns_custom_config: Option<String>,
}
