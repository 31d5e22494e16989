//! `/metrics`: what the collector knows as OpenMetrics. `docs/metrics.md` says what each name means.
//!
//! Labels are bounded by the configuration and the catalogue: group, cluster, check, verdict. Nodes, pods and addresses are never among them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prejoin_checks::report::Verdict;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::view::Fleet;
use super::view::fleet::{Connection, Group};
use super::view::freshness::Currency;
use super::view::path::PathLine;

/// What Prometheus is told that it gets.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// More paths of a group are not told apart: 100 clusters have 9,900.
const PATHS: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGroup {
    group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCluster {
    group: String,
    cluster: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVerdict {
    group: String,
    verdict: Shown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFinding {
    group: String,
    code: String,
    verdict: Shown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPath {
    group: String,
    from: String,
    to: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTarget {
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBuild {
    version: String,
}

/// A verdict, or that someone answers for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Shown {
    Of(Verdict),
    Waived,
}

impl EncodeLabelValue for Shown {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Of(verdict) => EncodeLabelValue::encode(&verdict.to_string().as_str(), encoder),
            Self::Waived => EncodeLabelValue::encode(&"waived", encoder),
        }
    }
}

/// What is known of a group besides its view.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Findings that are neither pass nor skip: check, verdict, whether someone answers for it, how many.
    pub findings: BTreeMap<(String, Verdict, bool), u64>,
    /// Differences against the baseline, by effect; none where nothing was accepted.
    pub drift: Option<BTreeMap<String, u64>>,
    /// The latest measurements.
    pub paths: Vec<PathLine>,
}

/// Messages that wait for a target, and those given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The target.
    pub target: String,
    /// How many wait.
    pub waiting: u64,
    /// How many were given up.
    pub given_up: u64,
}

/// The metrics as text.
pub fn text(fleet: &Fleet, counted: &BTreeMap<String, Counted>, queues: &[Queue]) -> String {
    let mut registry = Registry::with_prefix("prejoin");
    let build = Family::<OfBuild, Gauge>::default();
    registry.register("build", "The version of the collector: always 1", build.clone());
    let version = env!("CARGO_PKG_VERSION").to_owned();
    build.get_or_create(&OfBuild { version }).set(1);
    of_groups(&mut registry, fleet);
    of_clusters(&mut registry, fleet);
    of_findings(&mut registry, counted);
    of_paths(&mut registry, counted);
    of_alerts(&mut registry, queues);
    let mut text = String::new();
    // Writing to a text does not fail.
    let _ = encode(&mut text, &registry);
    text
}

fn of_groups(registry: &mut Registry, fleet: &Fleet) {
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: &dyn Fn(&Group) -> Option<i64>| {
        let family = Family::<OfGroup, Gauge>::default();
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, family.clone()),
            None => registry.register(name, help, family.clone()),
        }
        for group in &fleet.groups {
            if let Some(value) = value(group) {
                let labels = OfGroup {
                    group: group.name.clone(),
                };
                family.get_or_create(&labels).set(value);
            }
        }
    };
    let at = |moment: Option<Timestamp>| moment.map(Timestamp::as_second);
    let count = |number: u64| i64::try_from(number).ok();
    gauge(
        "audit_timestamp",
        "When the last audit was judged that ended with a report, in Unix time",
        Some(Unit::Seconds),
        &|group| at(group.freshness.as_of),
    );
    gauge(
        "audit_next_timestamp",
        "When the next audit begins, in Unix time",
        Some(Unit::Seconds),
        &|group| at(group.next_run),
    );
    gauge(
        "audit_current",
        "Whether the last report is still current (1), or a newer one is overdue or there never was one (0)",
        None,
        &|group| Some(i64::from(group.freshness.currency() == Currency::Current)),
    );
    gauge(
        "audit_failed",
        "Whether the last attempt ended without a report (1)",
        None,
        &|group| Some(i64::from(group.last_failure.is_some())),
    );
    gauge("audit_running", "Whether an audit is running (1)", None, &|group| {
        Some(i64::from(group.running.is_some()))
    });
    for (name, of) in [("facts", "Facts"), ("flows", "Flows"), ("checks", "Judgements")] {
        let ratio = move |group: &Group| {
            let coverage = &group.coverage;
            match name {
                "facts" => coverage.facts,
                "flows" => coverage.flows,
                _ => coverage.checks,
            }
        };
        gauge(
            &format!("{name}_wanted"),
            &format!("{of} that were wanted"),
            None,
            &|group| count(ratio(group).wanted),
        );
        gauge(
            &format!("{name}_known"),
            &format!("{of} that were had"),
            None,
            &|group| count(ratio(group).known),
        );
    }
    let verdicts = Family::<OfVerdict, Gauge>::default();
    registry.register(
        "verdict",
        "The verdict of the last report: 1 for the one that it is, 0 for the others",
        verdicts.clone(),
    );
    for group in &fleet.groups {
        for verdict in [Verdict::Pass, Verdict::Warn, Verdict::Unknown, Verdict::Fail] {
            let labels = OfVerdict {
                group: group.name.clone(),
                verdict: Shown::Of(verdict),
            };
            // An old green is no green.
            let shown = match group.freshness.currency() {
                Currency::Current => group.verdict,
                Currency::Old | Currency::Never => Verdict::Unknown,
            };
            verdicts.get_or_create(&labels).set(i64::from(shown == verdict));
        }
    }
    let pairs = Family::<OfVerdict, Gauge>::default();
    registry.register(
        "pairs",
        "Pairs of clusters by their verdict, over all profiles",
        pairs.clone(),
    );
    for group in &fleet.groups {
        for verdict in [Verdict::Pass, Verdict::Warn, Verdict::Unknown, Verdict::Fail] {
            let number: usize = group.matrices.iter().map(|matrix| matrix.count(verdict)).sum();
            let labels = OfVerdict {
                group: group.name.clone(),
                verdict: Shown::Of(verdict),
            };
            pairs
                .get_or_create(&labels)
                .set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}

fn of_clusters(registry: &mut Registry, fleet: &Fleet) {
    let mut gauge = |name: &str, help: &str| {
        let family = Family::<OfCluster, Gauge>::default();
        registry.register(name, help, family.clone());
        family
    };
    let reachable = gauge("cluster_reachable", "Whether anything could be read of the cluster (1)");
    let expected = gauge("agents_expected", "Agents that were to probe in the last audit");
    let heard = gauge("agents_heard", "Agents that did, to its end");
    let connected = gauge(
        "cluster_connected",
        "Whether the cluster's agent is connected now (1); only of clusters that dial in",
    );
    for group in &fleet.groups {
        for row in &group.clusters {
            let labels = OfCluster {
                group: group.name.clone(),
                cluster: row.summary.name.clone(),
            };
            let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            reachable
                .get_or_create(&labels)
                .set(i64::from(row.summary.unreachable.is_none()));
            expected.get_or_create(&labels).set(count(row.agents.expected));
            heard.get_or_create(&labels).set(count(row.agents.heard));
            match row.connection {
                Connection::Connected { .. } => {
                    connected.get_or_create(&labels).set(1);
                }
                Connection::Disconnected { .. } => {
                    connected.get_or_create(&labels).set(0);
                }
                Connection::Kubeconfig { .. } | Connection::File { .. } => {}
            }
        }
    }
}

fn of_findings(registry: &mut Registry, counted: &BTreeMap<String, Counted>) {
    let findings = Family::<OfFinding, Gauge>::default();
    registry.register(
        "findings",
        "Findings of the last report that neither pass nor are skipped",
        findings.clone(),
    );
    let drift = Family::<OfEffect, Gauge>::default();
    registry.register(
        "drift",
        "Differences against the baseline; absent where nothing was accepted",
        drift.clone(),
    );
    for (group, counted) in counted {
        for ((code, verdict, waived), number) in &counted.findings {
            let labels = OfFinding {
                group: group.clone(),
                code: code.clone(),
                verdict: if *waived { Shown::Waived } else { Shown::Of(*verdict) },
            };
            findings
                .get_or_create(&labels)
                .inc_by(i64::try_from(*number).unwrap_or(i64::MAX));
        }
        for (effect, number) in counted.drift.iter().flatten() {
            let labels = OfEffect {
                group: group.clone(),
                effect: effect.clone(),
            };
            drift
                .get_or_create(&labels)
                .set(i64::try_from(*number).unwrap_or(i64::MAX));
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEffect {
    group: String,
    effect: String,
}

fn of_paths(registry: &mut Registry, counted: &BTreeMap<String, Counted>) {
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>| {
        let family = Family::<OfPath, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, family.clone()),
            None => registry.register(name, help, family.clone()),
        }
        family
    };
    let median = gauge(
        "path_round_trip_median",
        "Round trip from one cluster to another: the median over pairs of nodes",
        Some(Unit::Seconds),
    );
    let p95 = gauge(
        "path_round_trip_p95",
        "Round trip from one cluster to another: the largest 95th percentile of a pair of nodes",
        Some(Unit::Seconds),
    );
    let loss = gauge(
        "path_loss",
        "Share of datagrams that went unanswered",
        Some(Unit::Ratios),
    );
    let mtu = gauge(
        "path_mtu",
        "The smallest path MTU between two clusters",
        Some(Unit::Bytes),
    );
    let clock = gauge(
        "path_clock_offset",
        "The largest clock offset between two clusters",
        Some(Unit::Seconds),
    );
    for (group, counted) in counted {
        for path in counted.paths.iter().take(PATHS) {
            let labels = OfPath {
                group: group.clone(),
                from: path.from.clone(),
                to: path.to.clone(),
            };
            let point = &path.latest;
            if let Some(trip) = &point.round_trip {
                median.get_or_create(&labels).set(seconds(trip.median_micros));
                p95.get_or_create(&labels).set(seconds(trip.p95_micros));
            }
            if point.sent > 0 {
                loss.get_or_create(&labels).set(ratio(point.lost, point.sent));
            }
            if let Some(bytes) = point.path_mtu {
                mtu.get_or_create(&labels).set(f64::from(bytes));
            }
            if let Some(offset) = &point.clock {
                let seconds = seconds(offset.offset_micros.unsigned_abs());
                clock
                    .get_or_create(&labels)
                    .set(if offset.offset_micros < 0 { -seconds } else { seconds });
            }
        }
    }
}

fn of_alerts(registry: &mut Registry, queues: &[Queue]) {
    let waiting = Family::<OfTarget, Gauge>::default();
    registry.register(
        "alerts_waiting",
        "Alerts that their target has not taken yet",
        waiting.clone(),
    );
    let given_up = Family::<OfTarget, Gauge>::default();
    registry.register(
        "alerts_given_up",
        "Alerts that their target refused for good",
        given_up.clone(),
    );
    for queue in queues {
        let labels = OfTarget {
            target: queue.target.clone(),
        };
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        waiting.get_or_create(&labels).set(count(queue.waiting));
        given_up.get_or_create(&labels).set(count(queue.given_up));
    }
}

#[expect(clippy::cast_precision_loss, reason = "no round trip takes 2^53 microseconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "shown as a share")]
fn ratio(some: u64, all: u64) -> f64 {
    some as f64 / all as f64
}
