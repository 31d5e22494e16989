//! [`PathSeries`]: what a path between two clusters was like, audit by audit.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prejoin_checks::report::paths::PathRecord;
use prejoin_checks::report::{Report, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Freshness;

/// The paths of a group over a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathsView {
    /// The group.
    pub group: String,
    /// Of when the latest points are.
    pub freshness: Freshness,
    /// The first moment asked for.
    pub since: Timestamp,
    /// The last.
    pub until: Timestamp,
    /// Every ordered pair that was ever measured in that time, with its latest point, worst first.
    pub pairs: Vec<PathLine>,
    /// The series that were asked for.
    pub series: Vec<PathSeries>,
}

/// One ordered pair of clusters in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathLine {
    /// The sending cluster.
    pub from: String,
    /// The receiving cluster.
    pub to: String,
    /// The worst of its excursions that last.
    pub verdict: Verdict,
    /// The latest point; its time says how old it is.
    pub latest: PathPoint,
}

/// One ordered pair of clusters over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathSeries {
    /// The sending cluster.
    pub from: String,
    /// The receiving cluster.
    pub to: String,
    /// One point for each audit that measured, oldest first. An audit that did not measure has none: the line is broken there.
    pub points: Vec<PathPoint>,
    /// What they are held against.
    #[serde(default)]
    pub budget: PathBudget,
    /// What left the ordinary, latest first.
    #[serde(default)]
    pub excursions: Vec<Excursion>,
}

/// What a path is held against; absent where there is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PathBudget {
    /// Round trip, 99th percentile, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_micros: Option<u64>,
    /// The least path MTU in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u16>,
    /// The largest clock offset in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_micros: Option<u64>,
}

/// What one audit measured from one cluster to another, over all its pairs of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathPoint {
    /// When the audit ended.
    pub at: Timestamp,
    /// How many pairs of nodes were measured.
    pub node_pairs: u32,
    /// Round trips; absent where nothing was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<RoundTripPoint>,
    /// Datagrams and echoes sent.
    pub sent: u64,
    /// Those that went unanswered.
    pub lost: u64,
    /// The smallest path MTU in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u16>,
    /// The largest clock offset, receiver minus sender, with its bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockPoint>,
}

/// Round trips in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoundTripPoint {
    /// The least of all.
    pub min_micros: u64,
    /// The median of the pairs' medians.
    pub median_micros: u64,
    /// The largest of the pairs' 95th percentiles.
    pub p95_micros: u64,
    /// How many round trips were measured.
    pub samples: u64,
}

/// A clock offset in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockPoint {
    /// The offset.
    pub offset_micros: i64,
    /// The truth lies within this of it.
    pub bound_micros: u64,
}

/// Something that left the ordinary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Excursion {
    /// What it is about.
    pub measure: Measure,
    /// The first audit that saw it.
    pub since: Timestamp,
    /// The first that did not any more; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How bad it is.
    pub verdict: Verdict,
    /// In one line, with numbers of samples: `median 2.1 ms, 0.4 ms before (12 samples each): route change`.
    pub text: String,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Round trip.
    RoundTrip,
    /// Loss.
    Loss,
    /// Path MTU.
    PathMtu,
    /// Clock offset.
    Clock,
}

/// Which paths are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PathFilter {
    /// The series between these two, both ways; none without.
    pub pair: Option<(String, String)>,
    /// From this moment on; a day before `until` without.
    pub since: Option<Timestamp>,
    /// Up to this moment; now without.
    pub until: Option<Timestamp>,
}

/// What a report's probes measured, by sending and receiving cluster.
///
/// Round trips and loss are those of ICMP echoes where there are any, else of datagrams to our own listeners: TCP connections and the search
/// for the path MTU lose packets by design.
pub fn points(report: &Report) -> BTreeMap<(String, String), PathPoint> {
    let mut pairs: BTreeMap<(String, String), Vec<&PathRecord>> = BTreeMap::new();
    for path in &report.paths {
        let (from, to) = (&path.from.cluster, &path.to.cluster);
        if !from.is_empty() && !to.is_empty() && from != to {
            pairs.entry((from.clone(), to.clone())).or_default().push(path);
        }
    }
    pairs
        .into_iter()
        .filter_map(|(pair, paths)| Some((pair, point(report.generated_at, &paths)?)))
        .collect()
}

/// What these probes between two clusters measured; `None` if nothing.
fn point(at: Timestamp, paths: &[&PathRecord]) -> Option<PathPoint> {
    let of = |service: &str| -> Vec<&PathRecord> {
        let alike = paths.iter().copied().filter(|path| path.service.starts_with(service));
        alike
            .filter(|path| path.sent.as_ref().is_some_and(|sent| sent.sent > 0))
            .collect()
    };
    let mut echoes = of("ICMP");
    if echoes.is_empty() {
        echoes = of("UDP");
    }
    let sent = || paths.iter().filter_map(|path| path.sent.as_ref());
    let path_mtu = sent()
        .filter_map(|sent| sent.path_mtu.as_ref())
        .map(|mtu| mtu.largest_confirmed)
        .filter(|mtu| *mtu > 0)
        .min();
    let clock = sent()
        .filter_map(|sent| sent.clock)
        .max_by_key(|clock| clock.offset_micros.unsigned_abs())
        .map(|clock| ClockPoint {
            offset_micros: clock.offset_micros,
            bound_micros: clock.bound_micros,
        });
    if echoes.is_empty() && path_mtu.is_none() && clock.is_none() {
        return None;
    }
    let tried = || echoes.iter().filter_map(|path| path.sent.as_ref());
    let trips = || tried().filter_map(|sent| sent.round_trip);
    let mut medians: Vec<u64> = trips().map(|trip| trip.median_micros).collect();
    medians.sort_unstable();
    let round_trip = medians.get(medians.len() / 2).map(|median| RoundTripPoint {
        min_micros: trips().map(|trip| trip.min_micros).min().unwrap_or(*median),
        median_micros: *median,
        p95_micros: trips().map(|trip| trip.p95_micros).max().unwrap_or(*median),
        samples: trips().map(|trip| u64::from(trip.samples)).sum(),
    });
    let number =
        |count: fn(&prejoin_checks::observation::Sent) -> u32| tried().map(|sent| u64::from(count(sent))).sum::<u64>();
    let (sent, answered) = (number(|sent| sent.sent), number(|sent| sent.answered));
    Some(PathPoint {
        at,
        node_pairs: u32::try_from(echoes.len()).unwrap_or(u32::MAX),
        round_trip,
        sent,
        lost: sent.saturating_sub(answered),
        path_mtu,
        clock,
    })
}

#[cfg(test)]
mod tests {
    use prejoin_checks::observation::{ClockOffset, RoundTrip, Sent};
    use prejoin_checks::profile::Profile;
    use prejoin_checks::report::paths::{PathEnd, PathOutcome};
    use prejoin_checks::samples::{cilium, report};

    use super::*;

    fn path(from: &str, to: &str, service: &str, sent: Option<Sent>) -> PathRecord {
        let end = |name: &str| PathEnd {
            cluster: name.to_owned(),
            node: format!("{name}1"),
            address: None,
        };
        PathRecord {
            codes: Vec::new(),
            from: end(from),
            to: end(to),
            service: service.to_owned(),
            outcome: PathOutcome::Proven,
            shown: String::new(),
            sent,
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

    #[test]
    fn a_point_is_the_worst_of_its_pairs_of_nodes_and_says_how_many_samples() {
        let mut report = report(Profile::Clustermesh, &[cilium("a", 1), cilium("b", 2)]);
        let clock = |offset_micros| {
            Some(Sent {
                sent: 10,
                clock: Some(ClockOffset {
                    offset_micros,
                    bound_micros: 20,
                }),
                ..Sent::default()
            })
        };
        report.paths = vec![
            path("a", "b", "ICMP echo", Some(echoes(10, &[100, 200, 300]))),
            path("a", "b", "ICMP echo", Some(echoes(8, &[400, 500, 600]))),
            path("a", "b", "UDP 8472", clock(-900)),
            path("a", "b", "UDP 8472", clock(30)),
            path("b", "a", "TCP 2379", Some(echoes(10, &[1]))),
            path("a", "", "ICMP echo", Some(echoes(10, &[1]))),
        ];
        let points = points(&report);
        assert_eq!(
            points.len(),
            1,
            "a connection is no measurement, and neither is a place outside"
        );
        let point = &points[&("a".to_owned(), "b".to_owned())];
        let trip = point.round_trip.unwrap();
        assert_eq!(
            (trip.min_micros, trip.median_micros, trip.p95_micros, trip.samples),
            (100, 500, 600, 6)
        );
        assert_eq!((point.sent, point.lost, point.node_pairs), (20, 2, 2));
        assert_eq!(point.clock.unwrap().offset_micros, -900);
        assert_eq!(point.at, report.generated_at);
    }

    #[test]
    fn nothing_answered_is_all_lost_and_no_round_trip() {
        let mut report = report(Profile::Clustermesh, &[cilium("a", 1), cilium("b", 2)]);
        report.paths = vec![path("a", "b", "ICMP echo", Some(echoes(0, &[])))];
        let points = points(&report);
        let point = points.values().next().unwrap();
        assert_eq!((point.sent, point.lost, point.round_trip), (10, 10, None));
    }
}
