//! The Multi-Cluster Services API: exports, imports, CRDs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::provenance::{Fact, Unknown};
use super::service::ServicePort;

/// What is there of `multicluster.x-k8s.io`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mcs {
    /// Versions served: `v1alpha1`, `v1beta1`.
    pub served_versions: Vec<String>,
    /// `ServiceExport`s.
    #[serde(default)]
    pub exports: Fact<Vec<ServiceExport>>,
    /// `ServiceImport`s.
    #[serde(default)]
    pub imports: Fact<Vec<ServiceImport>>,
    /// CustomResourceDefinitions of the group, by plural name.
    #[serde(default)]
    pub crds: Fact<BTreeMap<String, Crd>>,
    /// EndpointSlices with label `multicluster.kubernetes.io/source-cluster`, addresses reduced.
    #[serde(default)]
    pub endpoint_slices: Fact<Vec<ImportedSlice>>,
}

/// One CustomResourceDefinition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Crd {
    /// `status.storedVersions`.
    pub stored_versions: Vec<String>,
    /// Labels and annotations `multicluster.x-k8s.io/*`, `app.kubernetes.io/*`, `io.cilium.k8s.crd.schema.version`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// One condition of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// `Valid`, `Ready`, `Synced`, `Conflict`, `Allocated`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One `ServiceExport`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceExport {
    /// Namespace, equal to the Service's.
    pub namespace: String,
    /// Name, equal to the Service's.
    pub name: String,
    /// When it was made: the oldest wins conflicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<jiff::Timestamp>,
    /// Annotation `lighthouse.submariner.io/use-clusterset-ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_clusterset_ip: Option<String>,
    /// `status.conditions`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// One `ServiceImport`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceImport {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `ClusterSetIP` or `Headless`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `spec.ips`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// `spec.ports`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// `status.clusters[].cluster`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// Labels that name the source cluster or service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// An EndpointSlice that came from some cluster of the set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportedSlice {
    /// Namespace.
    pub namespace: String,
    /// Label `multicluster.kubernetes.io/service-name`.
    pub service: String,
    /// Label `multicluster.kubernetes.io/source-cluster`.
    pub source_cluster: String,
    /// Label `endpointslice.kubernetes.io/managed-by`.
    #[serde(default)]
    pub managed_by: String,
    /// Whether the export is headless, where the slice says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headless: Option<bool>,
    /// Addresses, at most 64 kept.
    pub addresses: Vec<std::net::IpAddr>,
}

impl Mcs {
    pub(super) fn inventory(&self) -> Vec<(&'static str, Option<&Unknown>)> {
        vec![
            ("ServiceExports", self.exports.why()),
            ("ServiceImports", self.imports.why()),
            ("MCS CRDs", self.crds.why()),
            ("imported EndpointSlices", self.endpoint_slices.why()),
        ]
    }
}
