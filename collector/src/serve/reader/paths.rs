//! Paths over time.

use jiff::{SignedDuration, Timestamp};
use prejoin_checks::history::excursion::{Judgement, Pattern, Reading};
use prejoin_checks::history::measure::Direction;
use prejoin_checks::report::{Severity, Verdict};

use super::{StoreReader, freshness};
use crate::serve::config::Group;
use crate::serve::store::measures::Measured;
use crate::serve::view::path::{
    ClockPoint, Excursion, Measure as Quantity, PathBudget, PathFilter, PathLine, PathPoint, PathSeries, RoundTripPoint,
};
use crate::serve::view::reader::Read;
use crate::serve::view::{Freshness, PathsView};

/// So much is shown where no time is asked for.
const SHOWN: SignedDuration = SignedDuration::from_hours(24);

impl StoreReader {
    /// Paths of a group over time.
    pub(super) async fn paths_view(&self, name: &str, filter: &PathFilter) -> Read<PathsView> {
        let (_, group) = self.configured(name)?;
        let now = Timestamp::now();
        let until = filter.until.unwrap_or(now);
        let since = filter
            .since
            .unwrap_or_else(|| until.saturating_sub(SHOWN).unwrap_or(until));
        let latest = self.latest(name).await?;
        let measured = self.store().latest_measures(name).await?;
        let mut pairs: Vec<PathLine> = measured
            .into_iter()
            .filter(|(measured, _)| measured.measure.at >= since && measured.measure.at <= until)
            .map(|(measured, judgement)| PathLine {
                verdict: worst(&judgement),
                latest: point(&measured),
                from: measured.way.from,
                to: measured.way.to,
            })
            .collect();
        pairs.sort_by(|a, b| {
            b.verdict
                .cmp(&a.verdict)
                .then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to)))
        });
        let series = match &filter.pair {
            Some((a, b)) => self.series(&group, (a, b), (since, until)).await?,
            None => Vec::new(),
        };
        Ok(PathsView {
            group: name.to_owned(),
            freshness: latest.map_or(Freshness::never(now), |latest| {
                freshness(&group, &latest.audit, &latest, now)
            }),
            since,
            until,
            pairs,
            series,
        })
    }

    /// The paths between two clusters, both ways; of a direction that was never measured none.
    pub(super) async fn series(
        &self,
        group: &Group,
        (a, b): (&str, &str),
        (since, until): (Timestamp, Timestamp),
    ) -> Read<Vec<PathSeries>> {
        let mut series = Vec::new();
        let latest = self.store().latest_measures(&group.name).await?;
        for (from, to) in [(a, b), (b, a)] {
            let way = Direction {
                from: from.to_owned(),
                to: to.to_owned(),
            };
            let measured = self.store().measures(&group.name, &way, (since, until)).await?;
            let Some(last) = measured.last() else { continue };
            let judged = latest
                .iter()
                .find(|(measured, _)| measured.way == way && measured.measure.at == last.measure.at);
            let readings = judged.map(|(_, judgement)| judgement.readings.iter().map(excursion));
            series.push(PathSeries {
                from: way.from,
                to: way.to,
                points: measured.iter().map(point).collect(),
                budget: budget(group),
                excursions: readings.into_iter().flatten().collect(),
            });
        }
        Ok(series)
    }
}

/// The worst of what a measurement means.
fn worst(judgement: &Judgement) -> Verdict {
    let readings = judgement.readings.iter();
    readings
        .map(|reading| verdict(reading.severity))
        .max()
        .unwrap_or(Verdict::Pass)
}

fn verdict(severity: Severity) -> Verdict {
    match severity {
        Severity::Info => Verdict::Pass,
        Severity::Warn => Verdict::Warn,
        Severity::Fail => Verdict::Fail,
    }
}

/// A measurement as it is drawn.
fn point(measured: &Measured) -> PathPoint {
    let measure = &measured.measure;
    PathPoint {
        at: measure.at,
        node_pairs: measured.node_pairs,
        round_trip: measure.round_trip.map(|trips| RoundTripPoint {
            min_micros: trips.min_micros,
            median_micros: trips.median_micros,
            p95_micros: trips.p95_micros,
            samples: trips.samples,
        }),
        sent: measure.sent,
        lost: measure.sent.saturating_sub(measure.answered),
        path_mtu: measure.path_mtu,
        clock: measure.clock.map(|clock| ClockPoint {
            offset_micros: clock.offset_micros,
            bound_micros: clock.bound_micros,
        }),
    }
}

/// What a measurement means, as it is shown.
fn excursion(reading: &Reading) -> Excursion {
    Excursion {
        measure: match reading.pattern {
            Pattern::BlackHole | Pattern::SmallerMtu => Quantity::PathMtu,
            Pattern::ClockBeyondLimit | Pattern::ClockStep => Quantity::Clock,
            Pattern::HardDown | Pattern::OneDirection | Pattern::IdleFlowDropped | Pattern::LineFault => Quantity::Loss,
            Pattern::RouteChange
            | Pattern::Queueing
            | Pattern::LatencyExcursion
            | Pattern::SlowDrift
            | Pattern::MarginUsed
            | Pattern::BudgetBroken => Quantity::RoundTrip,
        },
        since: reading.since,
        until: None,
        verdict: verdict(reading.severity),
        text: reading.text.clone(),
    }
}

fn budget(group: &Group) -> PathBudget {
    let round_trip = group.round_trip_budget.map(|budget| budget.0.as_micros());
    PathBudget {
        round_trip_micros: round_trip.and_then(|micros| u64::try_from(micros).ok()),
        ..PathBudget::default()
    }
}
