//! What each product needs: as data, with sources.

pub mod cilium;
pub mod flow;
pub mod joins;
pub mod signs;
pub mod submariner;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fleet::Cluster;

/// What clusters are to be joined with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Cilium ClusterMesh.
    Clustermesh,
    /// Submariner.
    Submariner,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 2] = [Self::Clustermesh, Self::Submariner];

    /// The name as it is typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clustermesh => "clustermesh",
            Self::Submariner => "submariner",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no profile: there are clustermesh and submariner")]
pub struct NoSuchProfile(String);

impl FromStr for Profile {
    type Err = NoSuchProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == text)
            .ok_or_else(|| NoSuchProfile(text.to_owned()))
    }
}

/// The cluster's id in the mesh of this profile, as the head of a report shows it; empty if it has none or it is not known.
pub fn mesh_id(cluster: &Cluster<'_>, profile: Profile) -> String {
    match profile {
        Profile::Clustermesh => cluster
            .cilium()
            .and_then(|settings| settings.value("cluster-id"))
            .map(|known| known.value),
        Profile::Submariner => cluster
            .facts
            .submariner
            .get()
            .and_then(|submariner| submariner.config.get().map(|config| config.cluster_id.clone())),
    }
    .unwrap_or_default()
}

/// The running network plugins with their versions, as the head of a report shows them.
pub fn cni_name(cluster: &Cluster<'_>) -> String {
    let Some(plugins) = cluster.facts.cni.plugins.ok() else {
        return String::new();
    };
    let names: Vec<String> = plugins
        .iter()
        .filter(|plugin| plugin.running)
        .map(|plugin| format!("{} {}", plugin.kind, plugin.version).trim_end().to_owned())
        .collect();
    names.join(" + ")
}
