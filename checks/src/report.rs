//! [`Report`]: what an audit found, complete and in a stable order. Renderers add nothing to it.

pub mod matrix;
pub mod paths;

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::provenance::Source;
use crate::history::drift::Drift;
use crate::profile::Profile;
use crate::report::paths::PathRecord;

/// The version of the report format.
pub const REPORT_SCHEMA: &str = "prejoin.dev/report/v1alpha1";

/// What breaking a rule means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth recording; never changes a verdict.
    Info,
    /// Works in part, degrades, or breaks by a foreseeable change.
    Warn,
    /// The join is refused, or traffic or policy breaks or leaks.
    Fail,
}

/// The outcome of one check on one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The rule holds.
    Pass,
    /// It does not apply, or the user chose not to ask.
    Skip,
    /// Broken, with a defect one can live with.
    Warn,
    /// It could not be determined.
    Unknown,
    /// Broken.
    Fail,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The format of this document: [`REPORT_SCHEMA`].
    pub schema: String,
    /// The moment of judgement, RFC 3339 in UTC.
    pub generated_at: Timestamp,
    /// The worst verdict of all findings that count.
    pub verdict: Verdict,
    /// The clusters, in the order given.
    pub clusters: Vec<ClusterSummary>,
    /// What they were judged for.
    pub profiles: Vec<Profile>,
    /// Findings by verdict; waived ones are counted apart.
    pub summary: Summary,
    /// How much was known.
    pub coverage: Coverage,
    /// Every finding, worst first, then by code and subject.
    pub findings: Vec<Finding>,
    /// Every probe with what it showed, where agents probed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathRecord>,
    /// What changed since the state it was held against, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// The exit code this report gives: 0 pass, 3 fail, 4 warnings with `--fail-on warn`, 5 incomplete, 6 drift.
    pub exit_code: u8,
}

/// One cluster, as the head of a report shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterSummary {
    /// The name it goes by.
    pub name: String,
    /// UID of namespace kube-system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The cluster's id in its mesh: Cilium's number, Submariner's name; empty if it has none or it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mesh_id: String,
    /// Kubernetes version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kubernetes: String,
    /// Network plugin and version: `Cilium 1.20.0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cni: String,
    /// Ranges of pods.
    pub pods: Vec<String>,
    /// Ranges of Services.
    pub services: Vec<String>,
    /// Number of nodes, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<usize>,
    /// A cluster that does not exist yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub planned: bool,
    /// Why nothing could be read of it, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    /// Facts read and wanted.
    pub facts: Ratio,
    /// What could not be read, and why: `list services: forbidden for user x`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// When its facts were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected_at: Option<Timestamp>,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ratio {
    /// What was had.
    pub known: u64,
    /// What was wanted.
    pub wanted: u64,
}

/// Findings by verdict. A waived finding is counted under `waived` only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Rules that hold.
    pub pass: u64,
    /// Defects one can live with.
    pub warn: u64,
    /// Broken rules.
    pub fail: u64,
    /// What could not be determined.
    pub unknown: u64,
    /// What does not apply or was not asked.
    pub skip: u64,
    /// Broken rules that someone answers for.
    pub waived: u64,
}

/// How much was known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Facts read of facts wanted, over all clusters.
    pub facts: Ratio,
    /// Flows proven of flows required.
    pub flows: Ratio,
    /// Judgements reached of judgements wanted: what does not apply is not wanted.
    pub checks: Ratio,
    /// Findings skipped because the user chose not to ask.
    pub not_asked: u64,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// `cluster`, `pair`, `set`, or `node` where single nodes are named.
    pub kind: SubjectKind,
    /// The clusters, by name.
    pub clusters: Vec<String>,
    /// The nodes, by name, if it is about nodes.
    pub nodes: Vec<String>,
    /// Which pairs of those clusters are affected, where it is not all pairs with one of them.
    #[serde(default, skip_serializing_if = "AffectedPairs::is_empty")]
    pub pairs: AffectedPairs,
}

/// The kind of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubjectKind {
    /// One cluster.
    Cluster,
    /// Nodes of one cluster.
    Node,
    /// Two clusters.
    Pair,
    /// More.
    Set,
}

/// Pairs of clusters, without listing each.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AffectedPairs {
    /// Any two clusters of one of these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Vec<String>>,
    /// Any two clusters from different parts of one of these divisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub across: Vec<Vec<Vec<String>>>,
}

impl AffectedPairs {
    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.within.is_empty() && self.across.is_empty()
    }
}

/// A value that was found, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// The cluster it was found in; empty for what was declared for all.
    pub cluster: String,
    /// The value as it reads.
    pub value: String,
    /// Where it was read.
    #[serde(flatten)]
    pub source: Source,
}

/// Who answers for a finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct WaivedBy {
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until when, inclusive.
    #[schemars(with = "String")]
    pub until: Date,
}

/// The outcome of one check on one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The check's code.
    pub code: String,
    /// The check's name.
    pub slug: String,
    /// What is wrong if it is broken.
    pub title: String,
    /// How much breaking it matters here.
    pub severity: Severity,
    /// The verdict.
    pub verdict: Verdict,
    /// The profile it was judged for.
    pub profile: Profile,
    /// What it is about.
    pub subject: Subject,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
    /// Why there is no verdict, for `skip` and `unknown`: `not asked`, `does not apply`, `forbidden`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What happens when the rule is broken.
    pub why: String,
    /// Where the values were read.
    pub evidence: Vec<Evidence>,
    /// What to change.
    pub remedy: String,
    /// Findings with one key have one cause.
    pub cause: String,
    /// Who answers for it, while the waiver holds.
    pub waived_by: Option<WaivedBy>,
    /// A waiver that no longer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver_expired: Option<WaivedBy>,
}

impl Finding {
    /// Whether it counts against the verdict: neither pass, skip nor waived.
    pub fn counts(&self) -> bool {
        self.waived_by.is_none() && matches!(self.verdict, Verdict::Fail | Verdict::Warn | Verdict::Unknown)
    }

    /// The user chose not to ask.
    pub fn is_not_asked(&self) -> bool {
        self.verdict == Verdict::Skip && self.reason == NOT_ASKED
    }
}

/// The reason of a `skip` that the user chose.
pub const NOT_ASKED: &str = "not asked";
/// The reason of a `skip` where the rule has no object.
pub const DOES_NOT_APPLY: &str = "does not apply";
/// The reason of a `skip` of a comparison when there is one cluster only.
pub const ONE_CLUSTER: &str = "only one cluster";

/// The exit code of a report in which something fails.
const FAILS: u8 = 3;
/// The exit code of drift.
const DRIFTED: u8 = 6;

impl Report {
    /// This report with what changed since an accepted state. Drift gives exit code 6, unless something fails: that is worse and stays 3. It goes before
    /// 5 and 4, because who asks for drift compares with a state that was as incomplete, and accepted.
    #[must_use]
    pub fn with_drift(self, drift: Drift) -> Self {
        let exit_code = match self.exit_code {
            FAILS => FAILS,
            _ if !drift.is_empty() => DRIFTED,
            code => code,
        };
        Self {
            exit_code,
            drift: Some(drift),
            ..self
        }
    }

    /// Findings that fail and are not waived, grouped by cause in order of appearance.
    pub fn causes(&self, verdict: Verdict) -> Vec<Vec<&Finding>> {
        let mut causes: Vec<Vec<&Finding>> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for finding in self
            .findings
            .iter()
            .filter(|finding| finding.verdict == verdict && finding.waived_by.is_none())
        {
            let place = *places
                .entry((finding.profile, finding.cause.as_str()))
                .or_insert_with(|| {
                    causes.push(Vec::new());
                    causes.len() - 1
                });
            causes[place].push(finding);
        }
        causes
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.known, self.wanted)
    }
}
