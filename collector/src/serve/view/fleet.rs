//! [`Fleet`]: which clusters can be joined with which, group by group.

use jiff::Timestamp;
use prejoin_checks::profile::Profile;
use prejoin_checks::report::matrix::Matrix;
use prejoin_checks::report::{ClusterSummary, Coverage, Report, Summary, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FindingLine, Freshness};

/// All groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fleet {
    /// The moment of the answer.
    pub shown_at: Timestamp,
    /// The groups, in the order of the configuration.
    pub groups: Vec<Group>,
}

/// One group of clusters as its latest finished audit found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What its clusters are to be joined with.
    pub profiles: Vec<Profile>,
    /// Of when everything below is.
    pub freshness: Freshness,
    /// The audit that found it; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// The verdict of that audit; `unknown` before the first.
    pub verdict: Verdict,
    /// The verdict in words.
    pub headline: String,
    /// Findings by verdict.
    pub summary: Summary,
    /// How much was known.
    pub coverage: Coverage,
    /// Agents heard in that audit, and expected.
    pub agents: AgentCount,
    /// The clusters, in the order of the report; those that no audit saw yet last.
    pub clusters: Vec<ClusterRow>,
    /// The pairs, one matrix for each profile.
    pub matrices: Vec<PairMatrix>,
    /// One finding for each cause that fails, then is unknown, then warns.
    pub causes: Vec<FindingLine>,
    /// What changed in the 24 hours before [`Fleet::shown_at`], latest first.
    pub changes: Vec<GroupChange>,
    /// The schedule in words: `every hour at minute 5 (Europe/Zurich)`; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// When the next audit begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Timestamp>,
    /// The audit that is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// Why the latest attempt gave no report, if so: what is shown is then from an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

/// An attempt at an audit that gave no report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// When it ended.
    pub at: Timestamp,
    /// The audit.
    pub audit: String,
    /// Why, in one line.
    pub why: String,
}

/// Agents heard and expected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentCount {
    /// How many took part to the end.
    pub heard: u64,
    /// How many should have.
    pub expected: u64,
}

/// One cluster in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterRow {
    /// The cluster as the report's head shows it.
    pub summary: ClusterSummary,
    /// The worst verdict of a pair that it is part of, or its own in a group of one.
    pub verdict: Verdict,
    /// Agents heard and expected.
    pub agents: AgentCount,
    /// How it is reached, and whether it is now.
    pub connection: Connection,
}

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Connection {
    /// The collector reads it directly.
    Kubeconfig {
        /// The context.
        context: String,
    },
    /// Its agent dials in and is connected.
    Connected {
        /// Since when.
        since: Timestamp,
        /// The agent's version.
        version: String,
    },
    /// Its agent dials in, and is not connected now.
    Disconnected {
        /// When it was heard last; absent if never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_heard: Option<Timestamp>,
    },
    /// Its facts are a file.
    File {
        /// The file.
        path: String,
    },
}

/// The verdict of every pair of clusters for one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PairMatrix {
    /// The profile.
    pub profile: Profile,
    /// The clusters' names, in the order of rows and columns.
    pub clusters: Vec<String>,
    /// The upper triangle without its diagonal, row by row: for clusters a, b, c the pairs ab, ac, bc.
    pub cells: Vec<Verdict>,
}

impl PairMatrix {
    /// The matrix of a report for one of its profiles.
    pub fn of(report: &Report, profile: Profile) -> Self {
        let matrix = Matrix::of(report, profile);
        let size = matrix.size();
        let pairs = (0..size).flat_map(|row| (row + 1..size).map(move |column| (row, column)));
        Self {
            profile,
            clusters: report.clusters.iter().map(|cluster| cluster.name.clone()).collect(),
            cells: pairs.filter_map(|(row, column)| matrix.get(row, column)).collect(),
        }
    }

    /// The matrices of all profiles of a report.
    pub fn all(report: &Report) -> Vec<Self> {
        report
            .profiles
            .iter()
            .map(|profile| Self::of(report, *profile))
            .collect()
    }

    /// The verdict of two clusters by their places; `None` for a cluster with itself.
    pub fn get(&self, a: usize, b: usize) -> Option<Verdict> {
        let (row, column, size) = (a.min(b), a.max(b), self.clusters.len());
        (row != column && column < size)
            .then(|| row * (2 * size - row - 1) / 2 + column - row - 1)
            .and_then(|place| self.cells.get(place).copied())
    }

    /// The verdict of two clusters by their names.
    pub fn between(&self, a: &str, b: &str) -> Option<Verdict> {
        let place = |name: &str| self.clusters.iter().position(|cluster| cluster == name);
        self.get(place(a)?, place(b)?)
    }

    /// The worst verdict of a pair that the cluster at this place is part of; `None` if there is no pair.
    pub fn worst(&self, place: usize) -> Option<Verdict> {
        (0..self.clusters.len())
            .filter_map(|other| self.get(place, other))
            .max()
    }

    /// How many pairs have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cells.iter().filter(|cell| **cell == verdict).count()
    }
}

/// What happened in a group, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupChange {
    /// When the audit ended that saw it first.
    pub at: Timestamp,
    /// What kind of event.
    pub kind: ChangeKind,
    /// What it is about, in one line: `CM302 Tunnel protocols differ: east and west`.
    pub text: String,
    /// The verdict before; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Verdict>,
    /// The verdict after; absent where there is none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Verdict>,
    /// The finding, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// The audit that saw it.
    pub audit: String,
}

/// What kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A finding that was not there, or was not broken, before.
    Appeared,
    /// A finding that holds again.
    Resolved,
    /// A finding's verdict became another.
    Changed,
    /// A fact drifted from the baseline.
    Drifted,
    /// A cluster was not there before.
    Joined,
    /// A cluster is not there any more, or went silent.
    Left,
}

#[cfg(test)]
mod tests {
    use prejoin_checks::samples::{cilium, report, set_cilium_key};

    use super::*;

    #[test]
    fn the_matrix_of_pairs_is_the_reports_own() {
        let mut clusters: Vec<_> = (1..)
            .zip(["a", "b", "c"])
            .map(|(number, name)| cilium(name, number))
            .collect();
        set_cilium_key(&mut clusters[2], "tunnel-protocol", Some("geneve"));
        let report = report(Profile::Clustermesh, &clusters);
        let matrices = PairMatrix::all(&report);
        let [matrix] = matrices.as_slice() else {
            panic!("one profile")
        };
        assert_eq!(matrix.clusters, ["a", "b", "c"]);
        assert_eq!(matrix.cells.len(), 3);
        assert!(matrix.between("a", "b") < Some(Verdict::Fail));
        assert_eq!(matrix.between("c", "a"), Some(Verdict::Fail));
        assert_eq!((matrix.between("a", "a"), matrix.between("a", "x")), (None, None));
        assert_eq!((matrix.worst(0), matrix.count(Verdict::Fail)), (Some(Verdict::Fail), 2));
        let original = Matrix::of(&report, Profile::Clustermesh);
        for (a, b) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
            assert_eq!(matrix.get(a, b), original.get(a, b));
        }
    }
}
