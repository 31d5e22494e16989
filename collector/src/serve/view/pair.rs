//! [`PairView`]: two clusters, node by node.

use std::collections::{BTreeMap, BTreeSet};

use prejoin_checks::observation::{RoundTrip, millis};
use prejoin_checks::profile::Profile;
use prejoin_checks::report::paths::{PathOutcome, PathRecord};
use prejoin_checks::report::{Report, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FindingLine, Freshness, PathSeries};

/// Two clusters as the latest finished audit of their group found them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PairView {
    /// The group.
    pub group: String,
    /// One cluster.
    pub a: String,
    /// The other.
    pub b: String,
    /// Of when it is.
    pub freshness: Freshness,
    /// The audit that found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// The verdict for each profile.
    pub verdicts: Vec<ProfileVerdict>,
    /// What counts against the pair, worst first.
    pub findings: Vec<FindingLine>,
    /// How many rules it keeps.
    pub passed: u64,
    /// Node by node, from `a` to `b` and from `b` to `a`.
    pub nodes: Vec<NodeMatrix>,
    /// What was sent and what arrived, by direction and service.
    pub flows: Vec<FlowLine>,
    /// The paths over time, one for each direction.
    pub series: Vec<PathSeries>,
}

/// The verdict of something for one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileVerdict {
    /// The profile.
    pub profile: Profile,
    /// The verdict.
    pub verdict: Verdict,
}

/// What went from each node of one cluster to each of another, all services together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeMatrix {
    /// The sending cluster.
    pub from_cluster: String,
    /// The receiving cluster.
    pub to_cluster: String,
    /// The senders, by name: the rows.
    pub from: Vec<String>,
    /// The receivers, by name: the columns.
    pub to: Vec<String>,
    /// The pairs that were probed, by row, then column. A pair that is not there was not probed: nothing is known of it.
    pub cells: Vec<NodeCell>,
}

/// What went from one node to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeCell {
    /// The sender: its place in [`NodeMatrix::from`].
    pub row: u32,
    /// The receiver: its place in [`NodeMatrix::to`].
    pub column: u32,
    /// The worst of its probes.
    pub outcome: PathOutcome,
    /// Probes that got through.
    pub proven: u32,
    /// Probes of which that could not be told.
    pub unknown: u32,
    /// Probes that did not.
    pub failed: u32,
    /// What the worst showed: `UDP 8472: silent`.
    pub shown: String,
}

impl NodeMatrix {
    /// What a report's probes showed from one cluster to another. Rows and columns are the nodes that took part in any probe between the two.
    pub fn between(report: &Report, from_cluster: &str, to_cluster: &str) -> Self {
        let forth = |path: &&PathRecord| path.from.cluster == from_cluster && path.to.cluster == to_cluster;
        let back = |path: &&PathRecord| path.from.cluster == to_cluster && path.to.cluster == from_cluster;
        let (mut from, mut to) = (BTreeSet::new(), BTreeSet::new());
        for path in &report.paths {
            if forth(&path) {
                from.insert(path.from.node.as_str());
                to.insert(path.to.node.as_str());
            } else if back(&path) {
                from.insert(path.to.node.as_str());
                to.insert(path.from.node.as_str());
            }
        }
        let numbered = |names: &BTreeSet<&'_ str>| -> BTreeMap<String, u32> {
            names.iter().map(|name| (*name).to_owned()).zip(0..).collect()
        };
        let (rows, columns) = (numbered(&from), numbered(&to));
        let mut cells: BTreeMap<(u32, u32), NodeCell> = BTreeMap::new();
        for path in report.paths.iter().filter(forth) {
            let (Some(row), Some(column)) = (rows.get(&path.from.node), columns.get(&path.to.node)) else {
                continue;
            };
            let cell = cells.entry((*row, *column)).or_insert_with(|| NodeCell {
                row: *row,
                column: *column,
                outcome: PathOutcome::Proven,
                proven: 0,
                unknown: 0,
                failed: 0,
                shown: String::new(),
            });
            cell.add(path);
        }
        Self {
            from_cluster: from_cluster.to_owned(),
            to_cluster: to_cluster.to_owned(),
            from: rows.into_keys().collect(),
            to: columns.into_keys().collect(),
            cells: cells.into_values().collect(),
        }
    }

    /// What went from the sender in this row to the receiver in this column; `None` where nothing was sent.
    pub fn get(&self, row: usize, column: usize) -> Option<&NodeCell> {
        let place = (u32::try_from(row).ok()?, u32::try_from(column).ok()?);
        self.cells
            .binary_search_by_key(&place, |cell| (cell.row, cell.column))
            .ok()
            .and_then(|found| self.cells.get(found))
    }
}

impl NodeCell {
    fn add(&mut self, path: &PathRecord) {
        match path.outcome {
            PathOutcome::Proven => self.proven += 1,
            PathOutcome::Unknown => self.unknown += 1,
            PathOutcome::Failed => self.failed += 1,
        }
        if self.shown.is_empty() || path.outcome > self.outcome {
            self.shown = format!("{}: {}", path.service, path.shown);
        }
        self.outcome = self.outcome.max(path.outcome);
    }
}

/// One service in one direction between two clusters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowLine {
    /// The sending cluster.
    pub from: String,
    /// The receiving cluster.
    pub to: String,
    /// What was sent: `UDP 8472`.
    pub service: String,
    /// The codes of the checks that needed it.
    pub codes: Vec<String>,
    /// The worst outcome.
    pub outcome: PathOutcome,
    /// Pairs of nodes that it was sent between.
    pub pairs: u32,
    /// Those between which it got through.
    pub proven: u32,
    /// Those of which that could not be told.
    pub unknown: u32,
    /// Those between which it did not.
    pub failed: u32,
    /// What was seen, in one line: `delivered`, or what the worst showed and between which nodes.
    pub shown: String,
}

impl FlowLine {
    /// What a report's probes showed between two clusters, both ways, by direction, then service.
    pub fn between(report: &Report, a: &str, b: &str) -> Vec<Self> {
        let mut groups: BTreeMap<(bool, &str), Vec<&PathRecord>> = BTreeMap::new();
        for path in &report.paths {
            let (from, to) = (path.from.cluster.as_str(), path.to.cluster.as_str());
            if (from, to) == (a, b) || (from, to) == (b, a) {
                groups.entry((from != a, path.service.as_str())).or_default().push(path);
            }
        }
        groups.into_values().filter_map(|paths| Self::of(&paths)).collect()
    }

    fn of(paths: &[&PathRecord]) -> Option<Self> {
        // The first of the worst.
        let worst = paths.iter().rev().max_by_key(|path| path.outcome)?;
        let count = |outcome| {
            let alike = paths.iter().filter(|path| path.outcome == outcome).count();
            u32::try_from(alike).unwrap_or(u32::MAX)
        };
        let codes: BTreeSet<&String> = paths.iter().flat_map(|path| &path.codes).collect();
        let shown = match worst.outcome {
            PathOutcome::Proven => [Some(worst.shown.clone()), extent(paths)]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", "),
            PathOutcome::Unknown | PathOutcome::Failed => {
                format!("{}: {} to {}", worst.shown, worst.from.node, worst.to.node)
            }
        };
        Some(Self {
            from: worst.from.cluster.clone(),
            to: worst.to.cluster.clone(),
            service: worst.service.clone(),
            codes: codes.into_iter().cloned().collect(),
            outcome: worst.outcome,
            pairs: u32::try_from(paths.len()).unwrap_or(u32::MAX),
            proven: count(PathOutcome::Proven),
            unknown: count(PathOutcome::Unknown),
            failed: count(PathOutcome::Failed),
            shown,
        })
    }
}

/// How far apart the ends are, or how large a packet gets through: of all pairs of nodes the worst.
fn extent(paths: &[&PathRecord]) -> Option<String> {
    let sent = || paths.iter().filter_map(|path| path.sent.as_ref());
    let mtu = sent()
        .filter_map(|sent| sent.path_mtu.as_ref())
        .map(|mtu| mtu.largest_confirmed)
        .min();
    let trips: Vec<&RoundTrip> = sent().filter_map(|sent| sent.round_trip.as_ref()).collect();
    mtu.map(|mtu| format!("{mtu} bytes")).or_else(|| {
        let worst = trips.iter().map(|trip| trip.median_micros).max()?;
        Some(format!("median at most {}", millis(worst)))
    })
}

#[cfg(test)]
mod tests {
    use prejoin_checks::profile::Profile;
    use prejoin_checks::report::paths::PathEnd;
    use prejoin_checks::samples::{cilium, report};

    use super::*;

    fn path(from: &str, to: &str, service: &str, outcome: PathOutcome) -> PathRecord {
        let end = |name: &str| PathEnd {
            cluster: name[..1].to_owned(),
            node: name.to_owned(),
            address: None,
        };
        PathRecord {
            codes: vec!["CM501".to_owned()],
            from: end(from),
            to: end(to),
            service: service.to_owned(),
            outcome,
            shown: if outcome == PathOutcome::Proven {
                "delivered"
            } else {
                "silent"
            }
            .to_owned(),
            sent: None,
            heard: None,
        }
    }

    fn probed() -> Report {
        use PathOutcome::{Failed, Proven, Unknown};
        let mut report = report(Profile::Clustermesh, &[cilium("a", 1), cilium("b", 2)]);
        report.paths = vec![
            path("a1", "b1", "UDP 8472", Proven),
            path("a1", "b2", "UDP 8472", Failed),
            path("a1", "b2", "ICMP echo", Proven),
            path("a2", "b1", "ICMP echo", Unknown),
            path("b2", "a2", "UDP 8472", Proven),
            path("b3", "c1", "UDP 8472", Failed),
        ];
        report
    }

    #[test]
    fn a_bad_node_is_a_column_and_what_was_not_sent_is_not_there() {
        let matrix = NodeMatrix::between(&probed(), "a", "b");
        assert_eq!(
            (matrix.from.as_slice(), matrix.to.as_slice()),
            (
                &["a1".to_owned(), "a2".to_owned()][..],
                &["b1".to_owned(), "b2".to_owned()][..]
            )
        );
        let cell = matrix.get(0, 1).unwrap();
        assert_eq!((cell.outcome, cell.failed, cell.proven), (PathOutcome::Failed, 1, 1));
        assert_eq!(cell.shown, "UDP 8472: silent");
        assert_eq!(matrix.get(1, 0).unwrap().outcome, PathOutcome::Unknown);
        assert_eq!(matrix.get(1, 1), None);
        assert_eq!(NodeMatrix::between(&probed(), "b", "a").cells.len(), 1);
    }

    #[test]
    fn flows_are_by_direction_and_service_and_name_where_they_failed() {
        let flows = FlowLine::between(&probed(), "a", "b");
        let lines: Vec<_> = flows
            .iter()
            .map(|flow| {
                format!(
                    "{} {} {} {}/{} {}",
                    flow.from, flow.to, flow.service, flow.proven, flow.pairs, flow.shown
                )
            })
            .collect();
        assert_eq!(
            lines,
            [
                "a b ICMP echo 1/2 silent: a2 to b1",
                "a b UDP 8472 1/2 silent: a1 to b2",
                "b a UDP 8472 1/1 delivered",
            ]
        );
    }
}
