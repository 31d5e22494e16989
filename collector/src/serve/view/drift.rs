//! [`DriftView`]: what changed against what was accepted.

use jiff::Timestamp;
use prejoin_checks::diff::Change;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Freshness;

/// What changed in a group against its baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftView {
    /// The group.
    pub group: String,
    /// Of when the comparison is.
    pub freshness: Freshness,
    /// The audit that was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// What it was compared with; absent where nothing was accepted yet, and then nothing is known to have drifted or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineView>,
    /// The differences, those that break something first.
    pub lines: Vec<DriftLine>,
}

/// What was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineView {
    /// The audit whose state was accepted.
    pub audit: String,
    /// When that audit ended.
    pub as_of: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// By whom: a name, or `first audit that passed`.
    pub accepted_by: String,
    /// Why, if that was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftLine {
    /// What became of it: `+`, `-` or `~`.
    pub change: Change,
    /// The cluster; empty where it is about none alone.
    pub cluster: String,
    /// The object it is in, as a person names it, where that is known: `ConfigMap kube-system/cilium-config`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// What it is: `cilium.config.tunnel-protocol`.
    pub path: String,
    /// What was, in one line; absent for what was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What is, in one line; absent for what was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// The audit that saw it first, by its end.
    pub first_seen: Timestamp,
    /// What it does to the verdict.
    pub effect: Effect,
    /// The codes of the checks it breaks, or whose evidence it weakens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
}

/// What a difference does to the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// A check that held is broken.
    Breaks,
    /// A check that had a verdict has none, or rests on less.
    Weakens,
    /// No verdict changed.
    Neutral,
    /// A check that was broken holds.
    Mends,
}
