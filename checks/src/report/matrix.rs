//! [`Matrix`]: which pairs of clusters may be joined.

use std::collections::HashMap;

use super::{Finding, Report, SubjectKind, Verdict};
use crate::profile::Profile;

/// The verdict of every pair of clusters for one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    size: usize,
    /// The upper triangle, row by row.
    cells: Vec<Verdict>,
}

impl Matrix {
    /// Works out the pairs from a report's findings. A cluster of which nothing could be read is fine with none.
    pub fn of(report: &Report, profile: Profile) -> Self {
        let counts = |finding: &&Finding| finding.profile == profile && finding.counts();
        let mut matrix = Self::over(report, report.findings.iter().filter(counts));
        for (id, _) in report
            .clusters
            .iter()
            .enumerate()
            .filter(|(_, cluster)| cluster.unreachable.is_some())
        {
            for other in 0..matrix.size {
                matrix.raise(id, other, Verdict::Unknown);
            }
        }
        matrix
    }

    /// Works out the pairs that these findings concern. What one cluster does alone concerns every pair it is part of.
    pub fn over<'a>(report: &Report, findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let size = report.clusters.len();
        let mut matrix = Self {
            size,
            cells: vec![Verdict::Pass; size * size.saturating_sub(1) / 2],
        };
        let ids: HashMap<&str, usize> = report
            .clusters
            .iter()
            .enumerate()
            .map(|(id, cluster)| (cluster.name.as_str(), id))
            .collect();
        let look_up = |names: &[String]| -> Vec<usize> {
            names
                .iter()
                .filter_map(|name| ids.get(name.as_str()).copied())
                .collect()
        };
        let mut alone = vec![Verdict::Pass; size];
        for finding in findings {
            matrix.apply(finding, &look_up, &mut alone);
        }
        for (id, verdict) in alone
            .into_iter()
            .enumerate()
            .filter(|(_, verdict)| *verdict != Verdict::Pass)
        {
            for other in 0..size {
                matrix.raise(id, other, verdict);
            }
        }
        matrix
    }

    fn apply(&mut self, finding: &Finding, look_up: &impl Fn(&[String]) -> Vec<usize>, alone: &mut [Verdict]) {
        let verdict = finding.verdict;
        let pairs = &finding.subject.pairs;
        if pairs.is_empty() {
            let clusters = look_up(&finding.subject.clusters);
            match (finding.subject.kind, clusters.as_slice()) {
                (SubjectKind::Pair, [a, b]) => self.raise(*a, *b, verdict),
                _ => clusters.iter().for_each(|id| alone[*id] = alone[*id].max(verdict)),
            }
            return;
        }
        for group in &pairs.within {
            let group = look_up(group);
            for (place, a) in group.iter().enumerate() {
                for b in &group[place + 1..] {
                    self.raise(*a, *b, verdict);
                }
            }
        }
        for division in &pairs.across {
            let parts: Vec<Vec<usize>> = division.iter().map(|part| look_up(part)).collect();
            for (place, part) in parts.iter().enumerate() {
                for b in parts[place + 1..].iter().flatten() {
                    for a in part {
                        self.raise(*a, *b, verdict);
                    }
                }
            }
        }
    }

    fn place(&self, a: usize, b: usize) -> Option<usize> {
        let (row, column) = (a.min(b), a.max(b));
        (row != column && column < self.size).then(|| row * (2 * self.size - row - 1) / 2 + column - row - 1)
    }

    fn raise(&mut self, a: usize, b: usize, verdict: Verdict) {
        if let Some(place) = self.place(a, b) {
            self.cells[place] = self.cells[place].max(verdict);
        }
    }

    /// The verdict of two clusters, by their places in the report; `None` for a cluster with itself.
    pub fn get(&self, a: usize, b: usize) -> Option<Verdict> {
        self.place(a, b).map(|place| self.cells[place])
    }

    /// The number of clusters.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many pairs have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cells.iter().filter(|cell| **cell == verdict).count()
    }

    /// How many pairs there are.
    pub fn pairs(&self) -> usize {
        self.cells.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile::Clustermesh;
    use crate::report::{AffectedPairs, Subject};
    use crate::samples::{cilium, report};

    fn three() -> Report {
        report(Clustermesh, &[cilium("a", 1), cilium("b", 2), cilium("c", 3)])
    }

    /// The verdicts of a-b, a-c and b-c once a finding about these clusters has this verdict.
    fn pairs(verdict: Verdict, kind: SubjectKind, clusters: &[&str], pairs: AffectedPairs) -> Vec<Option<Verdict>> {
        let mut report = three();
        let mut finding = report.findings[0].clone();
        finding.verdict = verdict;
        finding.subject = Subject {
            kind,
            clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
            nodes: Vec::new(),
            pairs,
        };
        report.findings = vec![finding];
        let matrix = Matrix::of(&report, Clustermesh);
        [(0, 1), (0, 2), (1, 2)].map(|(a, b)| matrix.get(b, a)).into()
    }

    #[test]
    fn what_one_cluster_does_concerns_every_pair_it_is_part_of() {
        assert_eq!(
            pairs(Verdict::Unknown, SubjectKind::Cluster, &["b"], AffectedPairs::default()),
            [Some(Verdict::Unknown), Some(Verdict::Pass), Some(Verdict::Unknown)]
        );
    }

    #[test]
    fn a_pair_concerns_itself_and_named_pairs_go_before_clusters() {
        let pass = Some(Verdict::Pass);
        let fail = Some(Verdict::Fail);
        assert_eq!(
            pairs(Verdict::Fail, SubjectKind::Pair, &["a", "c"], AffectedPairs::default()),
            [pass, fail, pass]
        );
        let across = AffectedPairs {
            within: Vec::new(),
            across: vec![vec![vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()]]],
        };
        assert_eq!(
            pairs(Verdict::Fail, SubjectKind::Set, &["a", "b", "c"], across),
            [fail, fail, pass]
        );
        let within = AffectedPairs {
            within: vec![vec!["b".to_owned(), "c".to_owned()]],
            across: Vec::new(),
        };
        assert_eq!(
            pairs(Verdict::Fail, SubjectKind::Set, &["a", "b", "c"], within),
            [pass, pass, fail]
        );
    }

    #[test]
    fn nothing_is_known_of_pairs_with_a_cluster_that_could_not_be_read() {
        let mut report = three();
        report.findings.clear();
        report.clusters[0].unreachable = Some("connection refused".to_owned());
        let matrix = Matrix::of(&report, Clustermesh);
        assert_eq!((matrix.count(Verdict::Unknown), matrix.count(Verdict::Pass)), (2, 1));
        assert_eq!(matrix.get(0, 0), None);
    }
}
