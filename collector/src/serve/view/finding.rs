//! [`FindingView`]: one finding with its life; [`FindingLine`]: the same in a list.

use jiff::Timestamp;
use jiff::civil::Date;
use prejoin_checks::profile::Profile;
use prejoin_checks::report::{Finding, Report, Severity, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Freshness;

/// One finding in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingLine {
    /// What it is called in addresses and in the store: the same from audit to audit for the same check on the same subject.
    pub key: String,
    /// The check's code.
    pub code: String,
    /// What is wrong.
    pub title: String,
    /// How much it matters.
    pub severity: Severity,
    /// The verdict.
    pub verdict: Verdict,
    /// The profile it was judged for.
    pub profile: Profile,
    /// The clusters it is about.
    pub clusters: Vec<String>,
    /// The nodes it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// What was found.
    pub found: String,
    /// Why there is no verdict, where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Findings with one cause have one key.
    pub cause: String,
    /// How many pairs of clusters it concerns.
    pub pairs: u64,
    /// Someone answers for it until this day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub waived_until: Option<Date>,
    /// Its life so far; absent where no history is kept (a report by itself).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<Life>,
}

impl FindingLine {
    /// A line of a finding; `key` as the store calls it.
    pub fn of(finding: &Finding, key: impl Into<String>, pairs: u64) -> Self {
        Self {
            key: key.into(),
            code: finding.code.clone(),
            title: finding.title.clone(),
            severity: finding.severity,
            verdict: finding.verdict,
            profile: finding.profile,
            clusters: finding.subject.clusters.clone(),
            nodes: finding.subject.nodes.clone(),
            found: finding.found.clone(),
            reason: finding.reason.clone(),
            cause: finding.cause.clone(),
            pairs,
            waived_until: finding.waived_by.as_ref().map(|waiver| waiver.until),
            life: None,
        }
    }
}

/// The findings of a report that concern both of these clusters (a pair), or this one: `None` for the second.
///
/// What one cluster does alone concerns every pair it is part of, as in [`Matrix`](prejoin_checks::report::matrix::Matrix).
pub fn concerning<'a>(report: &'a Report, cluster: &str, other: Option<&str>) -> Vec<&'a Finding> {
    let concerns = |finding: &&Finding| {
        let subject = &finding.subject;
        let names = |name: &str| subject.clusters.iter().any(|known| known == name);
        let Some(other) = other else { return names(cluster) };
        if subject.pairs.is_empty() {
            return if subject.clusters.len() == 2 {
                names(cluster) && names(other)
            } else {
                names(cluster) || names(other)
            };
        }
        let within = |group: &Vec<String>| {
            [cluster, other]
                .iter()
                .all(|name| group.iter().any(|known| known == name))
        };
        let part_of = |division: &[Vec<String>], name: &str| {
            division.iter().position(|part| part.iter().any(|known| known == name))
        };
        subject.pairs.within.iter().any(within)
            || subject.pairs.across.iter().any(|division| {
                match (part_of(division, cluster), part_of(division, other)) {
                    (Some(a), Some(b)) => a != b,
                    _ => false,
                }
            })
    };
    report.findings.iter().filter(concerns).collect()
}

/// When a finding was seen, by the audits that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Life {
    /// What it is now.
    pub state: LifeState,
    /// The audit that saw it broken first, by its end.
    pub first_seen: Timestamp,
    /// The audit that saw it broken last.
    pub last_seen: Timestamp,
    /// Since when it has its present verdict.
    pub since: Timestamp,
    /// When it was found to hold again, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// How often its verdict changed in the window that is looked at for flapping.
    pub changes: u64,
    /// How many audits saw it broken.
    pub times_seen: u64,
}

/// What a finding is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LifeState {
    /// The latest audit is the first that saw it.
    New,
    /// It was there before and still is.
    Open,
    /// It comes and goes.
    Flapping,
    /// It is there, and someone answers for it.
    Waived,
    /// It holds again.
    Resolved,
}

/// One finding, with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingView {
    /// The group.
    pub group: String,
    /// What it is called: see [`FindingLine::key`].
    pub key: String,
    /// Of when the finding is.
    pub freshness: Freshness,
    /// The audit that saw it so.
    pub audit: String,
    /// The finding: expected, found, evidence, why, remedy, waiver.
    pub finding: Finding,
    /// Its life; absent for a finding that was never broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<Life>,
    /// Its changes, latest first.
    pub history: Vec<LifeEvent>,
    /// Other findings with the same cause.
    pub same_cause: Vec<FindingLine>,
    /// The command that asks just this again: `prejoin audit --context east --context west --only CM302`.
    pub rerun: String,
}

/// One change in the life of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LifeEvent {
    /// When the audit ended that saw it.
    pub at: Timestamp,
    /// The audit.
    pub audit: String,
    /// The verdict from then on; absent where the finding was not there any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What was found then, or who waived it and why.
    pub text: String,
}

/// The findings of a group, some of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingList {
    /// The group.
    pub group: String,
    /// Of when they are.
    pub freshness: Freshness,
    /// How many there are by the filter that was given.
    pub total: u64,
    /// These of them, worst first.
    pub findings: Vec<FindingLine>,
    /// What to give as `after` to get the next ones; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which findings are asked for; an empty list means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FindingFilter {
    /// Of these verdicts. Waived findings are among those of their verdict.
    pub verdicts: Vec<Verdict>,
    /// Of this check.
    pub code: Option<String>,
    /// About this cluster.
    pub cluster: Option<String>,
    /// In these states of life.
    pub states: Vec<LifeState>,
    /// After the last one of an earlier answer.
    pub after: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
}

#[cfg(test)]
mod tests {
    use prejoin_checks::samples::{cilium, report, set_cilium_key};

    use super::*;

    #[test]
    fn a_pair_is_concerned_by_what_its_clusters_do_and_not_by_what_others_do() {
        let mut clusters: Vec<_> = (1..)
            .zip(["a", "b", "c"])
            .map(|(number, name)| cilium(name, number))
            .collect();
        set_cilium_key(&mut clusters[2], "tunnel-protocol", Some("geneve"));
        let report = report(Profile::Clustermesh, &clusters);
        let broken = |cluster, other| {
            let mut found = concerning(&report, cluster, other);
            found.retain(|finding| finding.verdict == Verdict::Fail);
            found.len()
        };
        assert_eq!((broken("a", Some("c")), broken("c", Some("b"))), (1, 1));
        assert_eq!(broken("a", Some("b")), 0, "a and b agree with each other");
        assert_eq!((broken("c", None), broken("x", None)), (1, 0));
    }
}
