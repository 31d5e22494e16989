//! What changed between two documents: facts of one cluster at two times, or two reports.
//!
//! Lists are matched by what their items are called, never by position. What changes by itself is left out: times,
//! numbers of pods and endpoints, which address of a block was seen, what belongs to single pods, counters, and ports that were lent for a while.

mod steady;
mod walk;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::facts::ClusterFacts;
use crate::facts::provenance::Source;
use crate::report::{Finding, Report, WaivedBy};

/// The version of the format of a list of differences.
pub const DIFF_SCHEMA: &str = "prejoin.dev/diff/v1alpha1";

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// What became of it.
    pub change: Change,
    /// What it is about: `nodes[east-n1].kernel`.
    pub path: String,
    /// What was; absent for what was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What is; absent for what was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// Where the fact was read; absent for what is no fact of a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Whether it could be read before and not now, or now and not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<Reading>,
}

/// What became of the reading of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// It was known, and is not any more.
    Lost,
    /// It was not known, and is now.
    Gained,
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is no longer there.
    Removed,
    /// It is something else now.
    Changed,
}

/// Two sets of facts that cannot be held against each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{old} and {new} are different clusters (kube-system has UID {old_uid} and {new_uid}): a diff is of one cluster at two times"
)]
pub struct DifferentClusters {
    /// The name in the older facts.
    pub old: String,
    /// The name in the newer facts.
    pub new: String,
    /// The identity in the older facts.
    pub old_uid: String,
    /// The identity in the newer facts.
    pub new_uid: String,
}

impl Change {
    /// The sign that plans put before a line.
    pub fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}

/// What changed in the facts of clusters: of one and one, whatever they are called, or of several, matched by name.
pub fn facts(old: &[ClusterFacts], new: &[ClusterFacts]) -> Result<Vec<Difference>, DifferentClusters> {
    if let ([old], [new]) = (old, new) {
        same_cluster(old, new)?;
        return Ok(walk::differences("", &steady::facts(old), &steady::facts(new)));
    }
    let by_name = |clusters: &[ClusterFacts]| -> BTreeMap<String, Value> {
        let named = clusters.iter().map(|facts| (facts.name.clone(), steady::facts(facts)));
        named.collect()
    };
    for old in old {
        if let Some(new) = new.iter().find(|new| new.name == old.name) {
            same_cluster(old, new)?;
        }
    }
    Ok(walk::named("clusters", by_name(old), by_name(new)))
}

/// What changed in the facts of one cluster, whatever its identity: that of a cluster that was made anew is one of the differences.
pub(crate) fn of_cluster(old: &ClusterFacts, new: &ClusterFacts) -> Vec<Difference> {
    walk::differences("", &steady::facts(old), &steady::facts(new))
}

/// What changed in what audits found.
pub fn reports(old: &Report, new: &Report) -> Vec<Difference> {
    let mut differences = walk::differences("", &steady::head(old), &steady::head(new));
    differences.extend(walk::named("", findings(old), findings(new)));
    differences
}

fn same_cluster(old: &ClusterFacts, new: &ClusterFacts) -> Result<(), DifferentClusters> {
    match (old.uid.ok(), new.uid.ok()) {
        (Some(old_uid), Some(new_uid)) if old_uid != new_uid => Err(DifferentClusters {
            old: old.name.clone(),
            new: new.name.clone(),
            old_uid: old_uid.clone(),
            new_uid: new_uid.clone(),
        }),
        _ => Ok(()),
    }
}

/// Every finding in one line, by what it is about.
fn findings(report: &Report) -> BTreeMap<String, Value> {
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    let mut lines = BTreeMap::new();
    for finding in &report.findings {
        let about = about(finding);
        let nth = alike.entry(about.clone()).or_default();
        *nth += 1;
        let about = if *nth == 1 { about } else { format!("{about} #{nth}") };
        lines.insert(about, Value::String(result(finding)));
    }
    lines
}

fn about(finding: &Finding) -> String {
    let subject = finding.subject.clusters.iter().chain(&finding.subject.nodes);
    let names: Vec<&str> = subject.map(String::as_str).collect();
    format!("{} {} {}", finding.code, finding.profile, names.join(" "))
}

fn result(finding: &Finding) -> String {
    let waiver = |by: &WaivedBy, still: &str| format!("(waived by {} until {}{still})", by.owner, by.until);
    let mut parts = vec![finding.verdict.to_string()];
    parts.extend(finding.waived_by.as_ref().map(|by| waiver(by, "")));
    parts.extend(finding.waiver_expired.as_ref().map(|by| waiver(by, ", which is over")));
    let verdict = parts.join(" ");
    if finding.found.is_empty() {
        verdict
    } else {
        format!("{verdict}: {}", finding.found)
    }
}

#[cfg(test)]
mod tests;
