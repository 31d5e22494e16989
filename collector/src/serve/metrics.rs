//! `/metrics`: what is there, by which names. Dashboard and alert rules in `manifests/monitoring` use these and no others.
//!
//! Labels are names of groups, clusters, checks, profiles and targets, as the configuration has them: never addresses, nodes or pods. Their number is that of
//! what is configured, but for `from` and `to`, which is the square of a group's clusters.

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, as in queries: with `_total` where it is a counter.
    pub name: &'static str,
    /// What it says, with its unit.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Whether it only grows.
    pub counter: bool,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        help,
        labels,
        counter: false,
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        help,
        labels,
        counter: true,
    }
}

/// All metrics, in the order in which they are shown.
///
/// What is known only from an audit says so: it is of the last one, and [`prejoin_audit_last_report_timestamp_seconds`](METRICS) says how old that is. Of a group that
/// never had one there is none of it: absence is no zero.
pub const METRICS: &[Metric] = &[
    gauge("prejoin_build_info", &["version"], "1, for the version that runs"),
    gauge(
        "prejoin_audit_last_report_timestamp_seconds",
        &["group"],
        "when the last audit that came to a report was judged, in seconds since 1970",
    ),
    gauge("prejoin_audit_next_timestamp_seconds", &["group"], "when the next audit is due, in seconds since 1970"),
    gauge("prejoin_audit_duration_seconds", &["group"], "how long the last audit took"),
    counter("prejoin_audits_total", &["group", "result"], "audits that ended: result is done or failed"),
    gauge(
        "prejoin_findings",
        &["group", "profile", "state"],
        "findings of the last audit: state is good, waived, warn, unknown or fail",
    ),
    gauge(
        "prejoin_check_findings",
        &["group", "profile", "code", "state"],
        "findings of one check that are not good: state is waived, warn, unknown or fail",
    ),
    gauge("prejoin_findings_flapping", &["group"], "findings that change so often that single changes say nothing"),
    gauge("prejoin_pairs", &["group", "profile", "verdict"], "pairs of clusters by verdict: pass, warn, unknown or fail"),
    gauge(
        "prejoin_coverage_known",
        &["group", "of"],
        "what was known in the last audit: of is facts, flows or checks",
    ),
    gauge("prejoin_coverage_wanted", &["group", "of"], "what was wanted in the last audit: of is facts, flows or checks"),
    gauge("prejoin_baseline_timestamp_seconds", &["group"], "when the accepted state was judged, in seconds since 1970"),
    gauge(
        "prejoin_drift_changes",
        &["group", "effect"],
        "changes against the accepted state: effect is breaks, weakens, mends or neutral",
    ),
    gauge("prejoin_agents_expected", &["group", "cluster"], "agents that the last audit expected"),
    gauge("prejoin_agents_heard", &["group", "cluster"], "agents that answered to its end"),
    gauge(
        "prejoin_cluster_facts_timestamp_seconds",
        &["group", "cluster"],
        "when the cluster's facts were read, in seconds since 1970",
    ),
    gauge("prejoin_cluster_connected", &["cluster"], "1 if the agent of an enrolled cluster is connected, else 0"),
    gauge(
        "prejoin_path_round_trip_seconds",
        &["group", "from", "to", "stat"],
        "round trips between nodes of two clusters: stat is min, median, p95 or p99",
    ),
    gauge("prejoin_path_samples", &["group", "from", "to"], "how many round trips that is of"),
    gauge("prejoin_path_loss_ratio", &["group", "from", "to"], "datagrams and echoes that went unanswered, of all sent"),
    gauge("prejoin_path_mtu_bytes", &["group", "from", "to"], "the smallest path MTU between nodes of two clusters"),
    gauge("prejoin_path_clock_offset_seconds", &["group", "from", "to"], "the largest offset of clocks, receiver minus sender"),
    gauge(
        "prejoin_path_excursions",
        &["group", "from", "to", "severity"],
        "readings that left the ordinary or the budget: severity is warn or fail",
    ),
    gauge("prejoin_alerts_pending", &["target"], "messages that the target has not taken yet"),
    gauge(
        "prejoin_alerts_oldest_pending_timestamp_seconds",
        &["target"],
        "when the oldest of those was written, in seconds since 1970",
    ),
    gauge("prejoin_alerts_given_up", &["target"], "messages that the target refused until they were given up"),
    counter("prejoin_alerts_delivered_total", &["target"], "messages that the target took"),
    counter("prejoin_alerts_failed_attempts_total", &["target"], "attempts that failed"),
    gauge("prejoin_store_bytes", &[], "the size of the store"),
];

#[cfg(test)]
mod tests {
    use super::METRICS;

    #[test]
    fn names_follow_the_conventions() {
        for metric in METRICS {
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(metric.name.starts_with("prejoin_") && metric.name.chars().all(plain), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.counter, "{}", metric.name);
            assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{}", metric.name);
            for label in metric.labels {
                assert!(!["node", "pod", "address", "ip", "instance", "job"].contains(label), "{}", metric.name);
            }
        }
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
