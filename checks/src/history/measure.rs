//! [`Measure`]: what one audit measured from one cluster to another, over all its pairs of nodes: what is kept of paths for years.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observation::{ClockOffset, Sent};
use crate::report::Report;
use crate::report::paths::{PathOutcome, PathRecord};

/// From which cluster to which.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Direction {
    /// The sending cluster.
    pub from: String,
    /// The receiving one.
    pub to: String,
}

impl Direction {
    /// The way back.
    #[must_use]
    pub fn back(&self) -> Self {
        Self {
            from: self.to.clone(),
            to: self.from.clone(),
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.from, self.to)
    }
}

/// What one audit measured in one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Measure {
    /// When the audit was judged.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Datagrams and echoes sent.
    pub sent: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Round trips of those; absent where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<RoundTrips>,
    /// Probes of several samples.
    pub series: u64,
    /// Those of which the first sample alone was lost.
    pub first_lost: u64,
    /// The smallest path MTU of any pair of nodes, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u16>,
    /// Whether larger packets vanish on some way without a word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub black_hole: bool,
    /// The largest offset between two clocks, receiver minus sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockOffset>,
    /// Of each service that was probed, how it went.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Tally>,
    /// What was done to the network on purpose meanwhile; such a measure is no history to judge by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
}

/// Round trips of several pairs of nodes, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoundTrips {
    /// How many were measured.
    pub samples: u64,
    /// The least of all.
    pub min_micros: u64,
    /// The median of the pairs' medians.
    pub median_micros: u64,
    /// The largest of the pairs' 95th percentiles.
    pub p95_micros: u64,
    /// The largest of the pairs' 99th percentiles.
    pub p99_micros: u64,
}

impl RoundTrips {
    /// How much round trips vary, as RFC 5481 has it: 99th percentile less the least.
    pub fn variation_micros(&self) -> u64 {
        self.p99_micros.saturating_sub(self.min_micros)
    }
}

/// How the probes of a service went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// Got through.
    pub proven: u32,
    /// Did not.
    pub failed: u32,
    /// It could not be told.
    pub unknown: u32,
}

impl Tally {
    /// All that could be told failed.
    pub fn is_down(&self) -> bool {
        self.failed > 0 && self.proven == 0
    }

    /// All that could be told got through.
    pub fn is_up(&self) -> bool {
        self.proven > 0 && self.failed == 0
    }
}

/// What a report's probes measured between clusters.
///
/// Round trips and loss are of echoes and datagrams: connections and the search for the path MTU lose packets by design.
pub fn measures(report: &Report) -> BTreeMap<Direction, Measure> {
    let mut ways: BTreeMap<Direction, Vec<&PathRecord>> = BTreeMap::new();
    for path in &report.paths {
        let (from, to) = (&path.from.cluster, &path.to.cluster);
        if !from.is_empty() && !to.is_empty() && from != to {
            let way = Direction {
                from: from.clone(),
                to: to.clone(),
            };
            ways.entry(way).or_default().push(path);
        }
    }
    ways.into_iter()
        .map(|(way, paths)| (way, measure(report.generated_at, &paths)))
        .collect()
}

fn measure(at: Timestamp, paths: &[&PathRecord]) -> Measure {
    let mut measure = Measure {
        at,
        ..Measure::default()
    };
    let mut medians = Vec::new();
    for path in paths {
        let tally = measure.services.entry(path.service.clone()).or_default();
        *match path.outcome {
            PathOutcome::Proven => &mut tally.proven,
            PathOutcome::Failed => &mut tally.failed,
            PathOutcome::Unknown => &mut tally.unknown,
        } += 1;
        let Some(sent) = &path.sent else { continue };
        // What was not told is not lost.
        if (path.service.starts_with("UDP ") || path.service.starts_with("ICMP"))
            && path.outcome != PathOutcome::Unknown
        {
            add_samples(&mut measure, sent, &mut medians);
        }
        if let Some(found) = &sent.path_mtu {
            measure.black_hole |= found.black_hole;
            let known = (found.largest_confirmed > 0 && !found.left_open).then_some(found.largest_confirmed);
            measure.path_mtu = [measure.path_mtu, known].into_iter().flatten().min();
        }
        if let Some(clock) = sent.clock {
            let worse = measure
                .clock
                .is_none_or(|known| clock.offset_micros.unsigned_abs() > known.offset_micros.unsigned_abs());
            if worse {
                measure.clock = Some(clock);
            }
        }
    }
    medians.sort_unstable();
    if let (Some(trips), Some(median)) = (&mut measure.round_trip, medians.get(medians.len() / 2)) {
        trips.median_micros = *median;
    }
    measure
}

fn add_samples(measure: &mut Measure, sent: &Sent, medians: &mut Vec<u64>) {
    measure.sent += u64::from(sent.sent);
    measure.answered += u64::from(sent.answered.min(sent.sent));
    if sent.sent > 1 {
        measure.series += 1;
        measure.first_lost += u64::from(sent.first_lost && sent.sent - sent.answered.min(sent.sent) == 1);
    }
    let Some(trip) = sent.round_trip else { return };
    medians.push(trip.median_micros);
    let known = measure.round_trip.get_or_insert(RoundTrips {
        samples: 0,
        min_micros: u64::MAX,
        median_micros: 0,
        p95_micros: 0,
        p99_micros: 0,
    });
    known.samples += u64::from(trip.samples);
    known.min_micros = known.min_micros.min(trip.min_micros);
    known.p95_micros = known.p95_micros.max(trip.p95_micros);
    known.p99_micros = known.p99_micros.max(trip.p99_micros);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::RoundTrip;
    use crate::path_mtu::PathMtu;
    use crate::profile::Profile::Clustermesh;
    use crate::report::paths::PathEnd;
    use crate::samples::{cilium, report};

    fn path(from: &str, to: &str, service: &str, outcome: PathOutcome, sent: Sent) -> PathRecord {
        let end = |cluster: &str| PathEnd {
            cluster: cluster.to_owned(),
            node: format!("{cluster}-n1"),
            address: None,
        };
        PathRecord {
            codes: Vec::new(),
            from: end(from),
            to: end(to),
            service: service.to_owned(),
            outcome,
            shown: String::new(),
            sent: Some(sent),
            heard: None,
        }
    }

    fn echoes(answered: u32, micros: &[u64]) -> Sent {
        Sent {
            sent: 10,
            answered,
            round_trip: RoundTrip::of(micros.to_vec()),
            ..Sent::default()
        }
    }

    fn measured(paths: Vec<PathRecord>) -> BTreeMap<Direction, Measure> {
        measures(&Report {
            paths,
            ..report(Clustermesh, &[cilium("a", 1), cilium("b", 2)])
        })
    }

    #[test]
    fn a_measure_is_of_all_pairs_of_nodes_in_one_direction() {
        use PathOutcome::{Failed, Proven, Unknown};
        let mtu = |size, black_hole| Sent {
            path_mtu: Some(PathMtu {
                largest_confirmed: size,
                black_hole,
                ..PathMtu::default()
            }),
            ..Sent::default()
        };
        let all = measured(vec![
            path("a", "b", "ICMP echo", Proven, echoes(10, &[100, 200, 300])),
            path("a", "b", "UDP 8472", Proven, echoes(8, &[400, 500, 600])),
            path("a", "b", "UDP 8472", Unknown, echoes(0, &[])),
            path("a", "b", "TCP 2379", Failed, echoes(1, &[9_999])),
            path("a", "b", "path MTU", Proven, mtu(1_500, false)),
            path("a", "b", "path MTU", Proven, mtu(1_400, true)),
            path("b", "a", "ICMP echo", Proven, echoes(10, &[50])),
            path("a", "", "ICMP echo", Proven, echoes(10, &[50])),
            path("a", "a", "ICMP echo", Proven, echoes(10, &[50])),
        ]);
        assert_eq!(all.len(), 2);
        let there = &all[&Direction {
            from: "a".to_owned(),
            to: "b".to_owned(),
        }];
        assert_eq!(
            (there.sent, there.answered),
            (20, 18),
            "connections and what is not known do not count"
        );
        let trips = there.round_trip.unwrap();
        assert_eq!(
            (trips.samples, trips.min_micros, trips.median_micros, trips.p99_micros),
            (6, 100, 500, 600)
        );
        assert_eq!((there.path_mtu, there.black_hole), (Some(1_400), true));
        assert!(there.services["TCP 2379"].is_down() && there.services["UDP 8472"].is_up());
    }

    #[test]
    fn what_was_answered_by_nobody_has_no_round_trip() {
        let all = measured(vec![path("a", "b", "ICMP echo", PathOutcome::Failed, echoes(0, &[]))]);
        let measure = all.values().next().unwrap();
        assert_eq!((measure.sent, measure.answered, measure.round_trip), (10, 0, None));
    }
}
