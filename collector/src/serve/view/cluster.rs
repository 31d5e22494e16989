//! [`ClusterView`]: one cluster of a group.

use jiff::Timestamp;
use prejoin_checks::profile::Profile;
use prejoin_checks::report::{ClusterSummary, Report, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::RangeView;
use super::fleet::{AgentCount, Connection};
use super::{FindingLine, Freshness, PairMatrix};

/// One cluster of a group as the latest finished audit found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterView {
    /// The group.
    pub group: String,
    /// Of when it is; [`ClusterSummary::collected_at`] says when its facts were read.
    pub freshness: Freshness,
    /// The audit that found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// The cluster as the report's head shows it.
    pub summary: ClusterSummary,
    /// How it is reached.
    pub connection: Connection,
    /// Agents heard and expected.
    pub agents: AgentCount,
    /// Every agent that was expected.
    pub agent_list: Vec<AgentRow>,
    /// Its pairs, worst first.
    pub pairs: Vec<PairLine>,
    /// Its findings that are neither pass nor skip, worst first.
    pub findings: Vec<FindingLine>,
    /// How many rules it keeps.
    pub passed: u64,
    /// Its ranges.
    pub ranges: Vec<RangeView>,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentRow {
    /// The node, or what the agent goes by.
    pub node: String,
    /// Whether it took part in the audit to its end.
    pub heard: bool,
    /// Its version, if it said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Why not, if it did not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When it took part last; absent if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<Timestamp>,
}

/// One pair that a cluster is part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairLine {
    /// The other cluster.
    pub other: String,
    /// The profile.
    pub profile: Profile,
    /// The verdict.
    pub verdict: Verdict,
}

/// The pairs of a cluster, worst first, then by name.
pub fn pairs(report: &Report, cluster: &str) -> Vec<PairLine> {
    let mut lines: Vec<PairLine> = PairMatrix::all(report)
        .into_iter()
        .flat_map(|matrix| {
            let others: Vec<PairLine> = matrix
                .clusters
                .iter()
                .filter_map(|other| {
                    Some(PairLine {
                        verdict: matrix.between(cluster, other)?,
                        other: other.clone(),
                        profile: matrix.profile,
                    })
                })
                .collect();
            others
        })
        .collect();
    lines.sort_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.other.cmp(&b.other)));
    lines
}

#[cfg(test)]
mod tests {
    use prejoin_checks::samples::{cilium, report, set_cilium_key};

    use super::*;

    #[test]
    fn the_worst_pairs_come_first() {
        let mut clusters: Vec<_> = (1..)
            .zip(["a", "b", "c"])
            .map(|(number, name)| cilium(name, number))
            .collect();
        set_cilium_key(&mut clusters[2], "tunnel-protocol", Some("geneve"));
        let report = report(Profile::Clustermesh, &clusters);
        let found = pairs(&report, "a");
        let names: Vec<&str> = found.iter().map(|pair| pair.other.as_str()).collect();
        assert_eq!((names.as_slice(), found[0].verdict), (&["c", "b"][..], Verdict::Fail));
        assert!(found[1].verdict < Verdict::Fail);
        assert!(pairs(&report, "x").is_empty());
    }
}
