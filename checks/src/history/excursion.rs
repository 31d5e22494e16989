//! What measurements of a path mean, held against a budget and against their own past.
//!
//! | pattern | reading | severity |
//! |---|---|---|
//! | several services, and none gets through | hard down | fail |
//! | a service gets through one way only | one direction | fail; warn where it is no port that is needed |
//! | larger packets vanish without a word | black hole | fail |
//! | path MTU smaller than it was | smaller MTU | warn; fail below what is needed |
//! | only the first packet after a rest is lost | idle flow dropped | warn |
//! | the least round trip is another, its variation the same | route change | warn; fail above the budget |
//! | the least round trip is the same, its variation grew | queueing | warn |
//! | round trips are the same, loss grew | line fault or policer | warn |
//! | the median is 1.5 times what it was, or 5 ms more | latency excursion | warn |
//! | the median has moved by little steps for long | slow drift | warn |
//! | the best quantile that the samples allow is above 80 % of the budget, or above it | margin used, budget broken | warn, fail |
//! | clocks are certainly further apart than the limit, or than they were | clock | fail, warn |
//!
//! What is held against the past needs [`LASTING`] audits in a row, so that one bad audit is no excursion, and a past of at least [`LEAST_DAYS`] days in at least
//! [`LEAST_AUDITS`] audits: with less, nothing is judged by it, and that is said. The past is the median and the median deviation of the last [`MOST_DAYS`] days;
//! of the same hour of the week alone, where there are enough of it. Budgets are judged always, by the quantile that the number of samples allows.
//!
//! A shift of round trips together with changes of leaders is not judged: no agent reads leaders.

mod baseline;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measure::{Measure, RoundTrips, Tally};
use crate::observation::millis;
use crate::report::Severity;
pub use baseline::Baseline;
use baseline::{Past, Quantity};

/// An excursion is one that so many audits in a row have seen.
pub const LASTING: usize = 3;
/// The past is long enough to be judged by from so many days on.
pub const LEAST_DAYS: i64 = 7;
/// And from so many audits on.
pub const LEAST_AUDITS: usize = 20;
/// What is longer ago is not how it is.
pub const MOST_DAYS: i64 = 28;

/// What a path is held against; what is absent has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Budget {
    /// The longest round trip that what runs across can afford, in microseconds.
    pub round_trip_micros: Option<u64>,
    /// The least path MTU in bytes.
    pub path_mtu: Option<u16>,
    /// How far clocks may be apart, in microseconds.
    pub clock_micros: Option<u64>,
}

/// What measurements mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Nothing gets through, whatever is tried.
    HardDown,
    /// One way only.
    OneDirection,
    /// Larger packets vanish without a word.
    BlackHole,
    /// The path MTU is smaller than it was, or than is needed.
    SmallerMtu,
    /// The first packet after a rest is lost.
    IdleFlowDropped,
    /// Packets go another way.
    RouteChange,
    /// Packets wait on the way.
    Queueing,
    /// Packets are lost on a way that is the same.
    LineFault,
    /// Round trips take longer.
    LatencyExcursion,
    /// Round trips take longer by and by.
    SlowDrift,
    /// Most of the budget is used.
    MarginUsed,
    /// Round trips take longer than the budget allows.
    BudgetBroken,
    /// Clocks are too far apart.
    ClockBeyondLimit,
    /// Clocks are further apart than they were.
    ClockStep,
}

/// One reading of measurements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reading {
    /// What it is.
    pub pattern: Pattern,
    /// How much it matters.
    pub severity: Severity,
    /// The first audit of those in a row that saw it.
    pub since: Timestamp,
    /// In one line, with the numbers of samples.
    pub text: String,
    /// How many samples the present measurement has.
    pub samples: u64,
    /// What it was held against, where that is the past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

/// What the measurements of a path mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// The readings, the worst first.
    pub readings: Vec<Reading>,
    /// Why nothing was held against the past, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_history: Option<String>,
    /// Why the budget for round trips could not be judged, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_budget: Option<String>,
}

/// Judges the last of these measures, which are in order of time; `back` are those of the other direction.
///
/// `None` if there is no measure.
pub fn judge(measures: &[Measure], back: &[Measure], budget: &Budget) -> Option<Judgement> {
    let now = measures.last()?;
    let past = Past::of(measures);
    let mut readings = reachability(measures, back);
    readings.extend(sizes(measures, &past, budget));
    readings.extend(idle_flows(measures));
    readings.extend(clock(measures, &past, budget));
    let (of_budget, no_budget) = against_budget(measures, budget);
    readings.extend(of_budget);
    readings.extend(against_past(measures, &past, budget));
    readings.sort_by(|a, b| (b.severity, a.pattern).cmp(&(a.severity, b.pattern)));
    if now.experiment.is_some() {
        // What was done on purpose is no fault.
        readings.clear();
    }
    Some(Judgement {
        readings,
        no_history: past.too_little(),
        no_budget,
    })
}

/// Since when this has held in all measures up to the last, if it holds in that and in `least` in a row.
fn lasting(measures: &[Measure], least: usize, holds: impl Fn(&Measure) -> bool) -> Option<Timestamp> {
    let run = measures.iter().rev().take_while(|measure| holds(measure)).count();
    (run >= least.max(1)).then(|| measures[measures.len() - run].at)
}

fn reading(pattern: Pattern, severity: Severity, since: Timestamp, now: &Measure, text: String) -> Reading {
    Reading {
        pattern,
        severity,
        since,
        text,
        samples: now.round_trip.map_or(now.sent, |trips| trips.samples),
        baseline: None,
    }
}

/// What gets through at all. One audit is enough: its probes were repeated.
fn reachability(measures: &[Measure], back: &[Measure]) -> Vec<Reading> {
    let Some(now) = measures.last() else { return Vec::new() };
    let is_down = |measure: &Measure| {
        let told = || {
            measure
                .services
                .values()
                .filter(|tally| tally.proven + tally.failed > 0)
        };
        told().count() > 1 && told().all(Tally::is_down)
    };
    if let Some(since) = lasting(measures, 1, is_down) {
        let services: Vec<&str> = now.services.keys().map(String::as_str).collect();
        let text = format!("nothing gets through: {}", services.join(", "));
        return vec![reading(Pattern::HardDown, Severity::Fail, since, now, text)];
    }
    let Some(reverse) = back.last().filter(|reverse| reverse.at == now.at) else {
        return Vec::new();
    };
    let one_way = now
        .services
        .iter()
        .filter(|(service, tally)| tally.is_down() && reverse.services.get(*service).is_some_and(Tally::is_up));
    one_way
        .filter_map(|(service, tally)| {
            let since = lasting(measures, 1, |measure| {
                measure.services.get(service).is_some_and(Tally::is_down)
            })?;
            // Echoes and sizes are asked to learn something; ports are needed.
            let needed = !service.starts_with("ICMP") && service != "path MTU";
            let severity = if needed { Severity::Fail } else { Severity::Warn };
            let text = format!(
                "{service} gets through the other way alone ({} probes failed)",
                tally.failed
            );
            Some(reading(Pattern::OneDirection, severity, since, now, text))
        })
        .collect()
}

fn sizes(measures: &[Measure], past: &Past<'_>, budget: &Budget) -> Option<Reading> {
    let now = measures.last()?;
    let mtu = now.path_mtu?;
    let needed = budget.path_mtu.filter(|needed| mtu < *needed);
    let usual = past.usual_mtu().filter(|usual| mtu < *usual);
    let below = needed.or(usual)?;
    let since = lasting(measures, 1, |measure| measure.path_mtu.is_some_and(|mtu| mtu < below))?;
    let (pattern, severity) = match (now.black_hole, needed) {
        (true, _) => (Pattern::BlackHole, Severity::Fail),
        (false, Some(_)) => (Pattern::SmallerMtu, Severity::Fail),
        (false, None) => (Pattern::SmallerMtu, Severity::Warn),
    };
    let than = match needed {
        Some(needed) => format!("{needed} are needed"),
        None => format!("{below} got through before"),
    };
    let silent = if now.black_hole { ", and nobody says so" } else { "" };
    let text = format!("packets of {mtu} bytes get through, {than}{silent}");
    Some(reading(pattern, severity, since, now, text))
}

fn idle_flows(measures: &[Measure]) -> Option<Reading> {
    let now = measures.last()?;
    // One here and there is chance.
    let drops = |measure: &Measure| measure.first_lost >= 2 && measure.first_lost * 2 >= measure.series;
    let since = lasting(measures, 1, drops)?;
    let text = format!(
        "the first packet alone is lost in {} of {} series",
        now.first_lost, now.series
    );
    Some(reading(Pattern::IdleFlowDropped, Severity::Warn, since, now, text))
}

fn clock(measures: &[Measure], past: &Past<'_>, budget: &Budget) -> Option<Reading> {
    let now = measures.last()?;
    let offset = now.clock?;
    let at_least = |measure: &Measure| {
        let clock = measure.clock?;
        Some(clock.offset_micros.unsigned_abs().saturating_sub(clock.bound_micros))
    };
    let shown = format!(
        "clocks are {} apart, give or take {}",
        millis(offset.offset_micros.unsigned_abs()),
        millis(offset.bound_micros)
    );
    if let Some(limit) = budget.clock_micros
        && let Some(since) = lasting(measures, 1, |measure| {
            at_least(measure).is_some_and(|apart| apart > limit)
        })
    {
        let text = format!("{shown}; {} are allowed", millis(limit));
        return Some(reading(Pattern::ClockBeyondLimit, Severity::Fail, since, now, text));
    }
    let baseline = past.baseline(Quantity::Clock)?;
    let above = |measure: &Measure| at_least(measure).is_some_and(|apart| baseline.is_exceeded_by(apart));
    let since = lasting(measures, LASTING, above)?;
    let text = format!("{shown}; {}", baseline.shown());
    Some(Reading {
        baseline: Some(baseline),
        ..reading(Pattern::ClockStep, Severity::Warn, since, now, text)
    })
}

/// The best quantile that so many samples allow, by ten samples beyond it.
fn quantile(trips: &RoundTrips) -> Option<(&'static str, u64)> {
    match trips.samples {
        1_000.. => Some(("99th percentile", trips.p99_micros)),
        200.. => Some(("95th percentile", trips.p95_micros)),
        20.. => Some(("median", trips.median_micros)),
        _ => None,
    }
}

fn against_budget(measures: &[Measure], budget: &Budget) -> (Option<Reading>, Option<String>) {
    let (Some(now), Some(allowed)) = (measures.last(), budget.round_trip_micros) else {
        return (None, None);
    };
    let Some(trips) = &now.round_trip else {
        return (None, Some("no round trip was measured".to_owned()));
    };
    let Some((name, value)) = quantile(trips) else {
        let too_few = format!(
            "{} round trips are too few to hold against the budget: 20 tell a median",
            trips.samples
        );
        return (None, Some(too_few));
    };
    let above = |limit: u64| {
        lasting(measures, 1, |measure| {
            let trips = measure.round_trip.as_ref();
            trips.and_then(quantile).is_some_and(|(_, value)| value > limit)
        })
    };
    let shown = format!(
        "{name} {} of {} round trips; the budget is {}",
        millis(value),
        trips.samples,
        millis(allowed)
    );
    let found = if let Some(since) = above(allowed) {
        Some(reading(Pattern::BudgetBroken, Severity::Fail, since, now, shown))
    } else {
        above(allowed / 10 * 8).map(|since| reading(Pattern::MarginUsed, Severity::Warn, since, now, shown))
    };
    (found, None)
}

/// Round trips and loss held against the past.
fn against_past(measures: &[Measure], past: &Past<'_>, budget: &Budget) -> Vec<Reading> {
    let Some(now) = measures.last() else { return Vec::new() };
    let (Some(least), Some(median), Some(variation)) = (
        past.baseline(Quantity::LeastRoundTrip),
        past.baseline(Quantity::MedianRoundTrip),
        past.baseline(Quantity::Variation),
    ) else {
        return Vec::new();
    };
    let trips = |measure: &Measure, holds: &dyn Fn(&RoundTrips) -> bool| measure.round_trip.as_ref().is_some_and(holds);
    let mut found = Vec::new();
    let mut say = |pattern, severity, since, text: String, baseline: Baseline| {
        found.push(Reading {
            baseline: Some(baseline),
            ..reading(pattern, severity, since, now, text)
        });
    };
    let Some(present) = now.round_trip else {
        return loss(measures, past, &median);
    };
    let rerouted = |trips: &RoundTrips| {
        least.differs_from(trips.min_micros) && !variation.is_exceeded_by(trips.variation_micros())
    };
    let queued = |trips: &RoundTrips| {
        !least.differs_from(trips.min_micros) && variation.is_exceeded_by(trips.variation_micros())
    };
    let slow = |trips: &RoundTrips| {
        let was = median.median_micros;
        trips.median_micros.saturating_mul(2) > was.saturating_mul(3) && median.is_exceeded_by(trips.median_micros)
            || trips.median_micros > was.saturating_add(5_000)
    };
    if let Some(since) = lasting(measures, LASTING, |measure| trips(measure, &rerouted)) {
        let broken = budget
            .round_trip_micros
            .is_some_and(|allowed| present.min_micros > allowed);
        let severity = if broken { Severity::Fail } else { Severity::Warn };
        let text = format!(
            "least round trip {} of {}; {}",
            millis(present.min_micros),
            present.samples,
            least.shown()
        );
        say(Pattern::RouteChange, severity, since, text, least);
    } else if let Some(since) = lasting(measures, LASTING, |measure| trips(measure, &queued)) {
        let text = format!(
            "round trips vary by {} ({} of them); {}",
            millis(present.variation_micros()),
            present.samples,
            variation.shown()
        );
        say(Pattern::Queueing, Severity::Warn, since, text, variation);
    } else if let Some(since) = lasting(measures, LASTING, |measure| trips(measure, &slow)) {
        let text = format!(
            "median round trip {} of {}; {}",
            millis(present.median_micros),
            present.samples,
            median.shown()
        );
        say(Pattern::LatencyExcursion, Severity::Warn, since, text, median.clone());
    } else if let Some(since) = past.crept_since() {
        let text = format!(
            "median round trip {} of {}, a little more each time; {}",
            millis(present.median_micros),
            present.samples,
            median.shown()
        );
        say(Pattern::SlowDrift, Severity::Warn, since, text, median.clone());
    }
    found.extend(loss(measures, past, &median));
    found
}

/// Loss that is more than it was on a way that is the same.
fn loss(measures: &[Measure], past: &Past<'_>, median: &Baseline) -> Vec<Reading> {
    let Some(now) = measures.last() else { return Vec::new() };
    let usual = past.loss();
    let lossy = |measure: &Measure| {
        let same_way = measure
            .round_trip
            .is_none_or(|trips| !median.is_exceeded_by(trips.median_micros));
        same_way && measure.answered > 0 && usual.is_exceeded_by(measure)
    };
    let Some(since) = lasting(measures, LASTING, lossy) else {
        return Vec::new();
    };
    let text = format!("{} of {} lost; {}", now.sent - now.answered, now.sent, usual.shown());
    vec![Reading {
        samples: now.sent,
        ..reading(Pattern::LineFault, Severity::Warn, since, now, text)
    }]
}

/// A span in days, or in hours where that says more.
fn shown_span(span: SignedDuration) -> String {
    let hours = span.as_hours();
    if hours >= 48 {
        format!("{} days", hours / 24)
    } else if hours >= 2 {
        format!("{hours} hours")
    } else {
        format!("{} minutes", span.as_mins())
    }
}

#[cfg(test)]
mod tests;
