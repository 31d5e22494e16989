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
