//! What `prejoin.yaml` says of the agents of an audit.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Timeout;
use crate::agents::manifest::Mode;
use crate::cli::UseAgents;

/// Which agents in clusters probe, and how those are to be that an audit starts for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AgentsEntry {
    /// Which: `installed`, `ephemeral` or `none`. Without it: those that are installed, if any are.
    pub which: Option<UseAgents>,
    /// The namespace of the agents. Ephemeral ones make one of their own without it, and need one that is there with it.
    pub namespace: Option<String>,
    /// The image of ephemeral agents. Without it: that of this version.
    pub image: Option<String>,
    /// The Secret in the agents' namespace with which the image is pulled.
    pub image_pull_secret: Option<String>,
    /// Ephemeral agents run only on nodes with these labels.
    pub node_selector: BTreeMap<String, String>,
    /// What ephemeral agents may: `restricted` leaves out root and NET_RAW. Without it: `cluster`.
    pub mode: Option<Mode>,
    /// Ephemeral agents end after this time, as `30m`, whatever happened to the audit.
    pub deadline: Option<Timeout>,
    /// How long ephemeral agents may take to become ready, as `1m`; then the audit goes on with those that are.
    pub timeout: Option<Timeout>,
}
