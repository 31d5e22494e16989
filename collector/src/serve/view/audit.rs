//! [`AuditView`]: one audit, running or done.

use jiff::Timestamp;
use prejoin_checks::policy::Probe;
use prejoin_checks::profile::Profile;
use prejoin_checks::report::{Coverage, Summary, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FindingLine;
use super::fleet::{AgentCount, GroupChange};

/// One audit in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditLine {
    /// Its name; names sort by time.
    pub id: String,
    /// The group.
    pub group: String,
    /// How far it is.
    pub state: AuditState,
    /// Who or what asked for it.
    pub trigger: Trigger,
    /// When it began; absent while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Its verdict, once there is a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Findings by verdict, once there is a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Why there is no report, where it ended without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// How far an audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditState {
    /// It is to begin.
    Waiting,
    /// It is running.
    Running,
    /// It ended with a report.
    Done,
    /// It ended without one.
    Failed,
}

/// Who or what asked for an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "by")]
pub enum Trigger {
    /// The schedule.
    Schedule,
    /// A person or program.
    User {
        /// Its name.
        name: String,
    },
}

/// Audits, latest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditList {
    /// The moment of the answer.
    pub shown_at: Timestamp,
    /// These of them.
    pub audits: Vec<AuditLine>,
    /// What to give as `before` to get earlier ones; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which audits are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuditFilter {
    /// Of this group.
    pub group: Option<String>,
    /// Before the last one of an earlier answer.
    pub before: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// One audit, running or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditView {
    /// The audit as a list shows it.
    pub line: AuditLine,
    /// The moment of the answer.
    pub shown_at: Timestamp,
    /// What the clusters were judged for.
    pub profiles: Vec<Profile>,
    /// How much of the required flows was to be probed.
    pub probe: Probe,
    /// How far it is, while it runs; how far it came, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The verdict in words, once there is a report.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub headline: String,
    /// How much was known, once there is a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Agents heard and expected.
    pub agents: AgentCount,
    /// The clusters, with how reading each went.
    pub clusters: Vec<ClusterProgress>,
    /// One finding for each cause, once there is a report.
    pub causes: Vec<FindingLine>,
    /// What changed against the audit before it.
    pub changes: Vec<GroupChange>,
    /// Whether its report is kept: `/api/v1/audits/{id}/report`.
    pub has_report: bool,
    /// Whether facts and observations are kept: `/api/v1/audits/{id}/bundle`.
    pub has_bundle: bool,
}

/// How far an audit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// What it is doing.
    pub step: Step,
    /// Probes to be sent; 0 until that is known.
    pub probes: u64,
    /// Probes that are finished.
    pub finished: u64,
    /// Who is waited for, and why: `east/n1 (ssh)`.
    pub waiting_for: Vec<String>,
}

/// What an audit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Reads the clusters.
    Gather,
    /// Works out who is to probe whom.
    Plan,
    /// Probes.
    Probe,
    /// Judges.
    Judge,
    /// Writes everything down.
    Record,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 5] = [Self::Gather, Self::Plan, Self::Probe, Self::Judge, Self::Record];
}

/// How reading one cluster goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterProgress {
    /// The cluster.
    pub name: String,
    /// How far it is.
    pub state: ReadState,
    /// What could not be read, or why nothing could; empty if nothing is missing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How far reading a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadState {
    /// It has not begun.
    Waiting,
    /// It is being read.
    Reading,
    /// Everything that was wanted was read.
    Read,
    /// Some of it was.
    Partly,
    /// Nothing could be read.
    Unreachable,
}
