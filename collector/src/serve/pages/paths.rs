//! Paths: round trip, loss, path MTU and clock over time, by direction.

mod chart;
mod sample;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;

use super::age::{freshness, is_current, moment, since};
use super::layout::{Layout, Tab};
use super::verdict::{class, sign, word};
use super::{Answer, Who, count, show};
use crate::serve::view::path::{Excursion, Measure, PathFilter, PathLine, PathPoint};
use crate::serve::view::{Actions, PathSeries, PathsView, Reader};

use chart::{Chart, Point, Unit};

/// So many pairs are listed at once: the worst.
const LISTED: usize = 200;
/// So many points are in the table of a series: the latest.
const TABLED: usize = 60;

/// What is looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PathsQuery {
    from: Option<String>,
    to: Option<String>,
    /// How long back: `24h`, `7d`, `30d`, `365d`.
    back: Option<String>,
    all: Option<String>,
}

/// The spans that are offered, in hours.
const SPANS: [(&str, i64); 5] = [
    ("6h", 6),
    ("24h", 24),
    ("7d", 7 * 24),
    ("30d", 30 * 24),
    ("365d", 365 * 24),
];

/// The address of the page that shows two clusters over time.
pub(super) fn link(group: &str, from: &str, to: &str) -> String {
    let address = super::link::in_group(group, "paths");
    super::link::query(&address, &[("from", Some(from)), ("to", Some(to))])
}

pub(super) async fn page<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path(group): Path<String>,
    Query(query): Query<PathsQuery>,
) -> Answer {
    let back = query
        .back
        .as_deref()
        .and_then(|back| SPANS.iter().find(|(name, _)| *name == back));
    let (span, hours) = back.copied().unwrap_or(SPANS[1]);
    let pair = query.from.clone().zip(query.to.clone());
    let filter = PathFilter {
        pair: pair.clone(),
        since: server.now().checked_sub(SignedDuration::from_hours(hours)).ok(),
        until: None,
    };
    let view = server.paths(&group, &filter).await?;
    let content = html! {
        section #paths data-live="" {
            div.headline.stale[!is_current(&view.freshness)] {
                h1 { "Paths" @if let Some((from, to)) = &pair { " between " (show(from)) " and " (show(to)) } }
                p.facts { (freshness(&view.freshness)) }
            }
            (spans(&group, &query, span))
            @if pair.is_some() {
                h2 { "Over time" }
                @if view.series.iter().all(|series| series.points.is_empty()) {
                    p.note { "Nothing was measured between them in that time: nothing is known of it." }
                }
                @for series in &view.series { (self::series(series, Some((view.since, view.until)))) }
            }
            h2 { "All pairs" }
            (pairs(&group, &view, query.all.is_some()))
        }
    };
    Ok(Layout::new("Paths")
        .of_group(&group, Tab::Paths)
        .shown(view.freshness.shown_at, &who)
        .live(Some(&group), None)
        .page(&content))
}

fn spans(group: &str, query: &PathsQuery, current: &str) -> Markup {
    let address = super::link::in_group(group, "paths");
    html! {
        div.choice {
            nav aria-label="How long back" {
                @for (name, _) in SPANS {
                    a href=(super::link::query(&address, &[("from", query.from.as_deref()), ("to", query.to.as_deref()), ("back", Some(name))]))
                        aria-current=[(name == current).then_some("true")] { (name) }
                }
            }
        }
    }
}

fn pairs(group: &str, view: &PathsView, all: bool) -> Markup {
    let most = if all { usize::MAX } else { LISTED };
    html! {
        @if view.pairs.is_empty() { p.note { "Nothing was measured in that time." } } @else {
            div.scroll tabindex="0" role="region" aria-label="Paths" {
                table.list {
                    thead {
                        tr {
                            th scope="col" { "Direction" } th scope="col" { "Round trip, median" } th scope="col" { "95th percentile" }
                            th scope="col" { "Lost" } th scope="col" { "Path MTU" } th scope="col" { "Clock" } th scope="col" { "Measured" }
                        }
                    }
                    tbody { @for line in view.pairs.iter().take(most) { (pair(group, line, view.freshness.shown_at)) } }
                }
            }
            @if view.pairs.len() > most {
                p { a href=(super::link::query(&super::link::in_group(group, "paths"), &[("all", Some("1"))])) { "All " (count(view.pairs.len(), "direction")) } }
            }
        }
    }
}

fn pair(group: &str, line: &PathLine, at: Timestamp) -> Markup {
    let point = &line.latest;
    html! {
        tr {
            th scope="row" { (sign(line.verdict)) a href=(link(group, &line.from, &line.to)) { (show(&line.from)) " → " (show(&line.to)) } }
            (numbers(point))
            td { (since(point.at, at)) }
        }
    }
}

/// The cells of a point.
fn numbers(point: &PathPoint) -> Markup {
    html! {
        @match point.round_trip {
            Some(trip) => {
                td.number { (micros(trip.median_micros)) }
                td.number { (micros(trip.p95_micros)) span.note { " n=" (trip.samples) } }
            }
            None => { td.number { "?" } td.number { "?" } },
        }
        td.number { @if point.sent > 0 { (lost(point)) } @else { "?" } }
        td.number { @if let Some(mtu) = point.path_mtu { (mtu) } @else { "?" } }
        td.number { @if let Some(clock) = point.clock { (signed(clock.offset_micros)) " ± " (micros(clock.bound_micros)) } @else { "?" } }
    }
}

fn lost(point: &PathPoint) -> Markup {
    html! { span.warn[point.lost > 0] { (point.lost) " of " (point.sent) } }
}

/// The four charts of one direction, with what left the ordinary and all numbers in a table.
pub(super) fn series(series: &PathSeries, window: Option<(Timestamp, Timestamp)>) -> Markup {
    let ends = series.points.first().zip(series.points.last());
    let Some((since, until)) = window.or(ends.map(|(first, last)| (first.at, last.at))) else {
        return html! {};
    };
    let (points, per_point) = sample::thin(&series.points);
    html! {
        section.series {
            h3 { (show(&series.from)) " → " (show(&series.to)) span.note { " " (count(series.points.len(), "audit")) @if per_point > 1 { ", up to " (per_point) " in a point" } } }
            @if !series.excursions.is_empty() { (excursions(&series.excursions)) }
            div.charts {
                @for measure in [Measure::RoundTrip, Measure::Loss, Measure::PathMtu, Measure::Clock] {
                    (chart(series, &points, measure, since, until).draw())
                }
            }
            details {
                summary { "In numbers" }
                div.scroll tabindex="0" role="region" aria-label={ "Points from " (show(&series.from)) " to " (show(&series.to)) } {
                    table.list {
                        thead {
                            tr {
                                th scope="col" { "Audit of" } th scope="col" { "Round trip, median" } th scope="col" { "95th percentile" }
                                th scope="col" { "Lost" } th scope="col" { "Path MTU" } th scope="col" { "Clock" }
                            }
                        }
                        tbody { @for point in points.iter().rev().take(TABLED) { tr { th scope="row" { (moment(point.at)) } (numbers(point)) } } }
                    }
                }
                @if points.len() > TABLED { p.note { "The latest " (TABLED) "; the API has all." } }
            }
        }
    }
}

fn excursions(excursions: &[Excursion]) -> Markup {
    html! {
        ul.findings {
            @for excursion in excursions.iter().take(8) {
                li class=(class(excursion.verdict)) {
                    (sign(excursion.verdict))
                    div {
                        (show(&excursion.text))
                        p.note {
                            "from " (moment(excursion.since))
                            @if let Some(until) = excursion.until { " to " (moment(until)) } @else { ", lasting" }
                        }
                    }
                }
            }
        }
    }
}

/// What a measure is called.
fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::RoundTrip => "Round trip: median, minimum to 95th percentile",
        Measure::Loss => "Loss",
        Measure::PathMtu => "Path MTU",
        Measure::Clock => "Clock offset ± bound",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn chart<'a>(
    series: &PathSeries,
    points: &[PathPoint],
    measure: Measure,
    since: Timestamp,
    until: Timestamp,
) -> Chart<'a> {
    let budget = &series.budget;
    let limit = match measure {
        Measure::RoundTrip => budget.round_trip_micros.map(|micros| (micros as f64, "budget")),
        Measure::Loss => None,
        Measure::PathMtu => budget.path_mtu.map(|mtu| (f64::from(mtu), "needed")),
        Measure::Clock => budget.clock_micros.map(|micros| (micros as f64, "limit")),
    };
    let marked = series
        .excursions
        .iter()
        .filter(|excursion| excursion.measure == measure && excursion.since <= until);
    Chart {
        title: name(measure),
        since,
        until,
        points: points.iter().map(|measured| point(measured, measure)).collect(),
        unit: match measure {
            Measure::RoundTrip | Measure::Clock => Unit::Micros,
            Measure::Loss => Unit::Percent,
            Measure::PathMtu => Unit::Bytes,
        },
        from_zero: matches!(measure, Measure::RoundTrip | Measure::Loss),
        limit,
        marked: marked
            .map(|excursion| {
                (
                    excursion.since,
                    excursion.until,
                    format!("{}: {}", word(excursion.verdict), show(&excursion.text)),
                )
            })
            .collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn point(measured: &PathPoint, measure: Measure) -> Point {
    let (value, band, text) = match measure {
        Measure::RoundTrip => measured
            .round_trip
            .map_or((None, None, "not answered".to_owned()), |trip| {
                let text = format!("{}, {} samples", micros(trip.median_micros), trip.samples);
                let band = (trip.min_micros as f64, trip.p95_micros as f64);
                (Some(trip.median_micros as f64), Some(band), text)
            }),
        Measure::Loss if measured.sent == 0 => (None, None, "not measured".to_owned()),
        Measure::Loss => {
            let share = measured.lost as f64 * 100.0 / measured.sent as f64;
            (
                Some(share),
                None,
                format!("{} of {} lost", measured.lost, measured.sent),
            )
        }
        Measure::PathMtu => measured
            .path_mtu
            .map_or((None, None, "not measured".to_owned()), |mtu| {
                (Some(f64::from(mtu)), None, format!("{mtu} bytes"))
            }),
        Measure::Clock => measured.clock.map_or((None, None, "not measured".to_owned()), |clock| {
            let (offset, bound) = (clock.offset_micros as f64, clock.bound_micros as f64);
            let text = format!("{} ± {}", signed(clock.offset_micros), micros(clock.bound_micros));
            (Some(offset), Some((offset - bound, offset + bound)), text)
        }),
    };
    let text = if value.is_some() {
        text
    } else {
        format!("{text} at {}", moment(measured.at))
    };
    Point {
        at: measured.at,
        value,
        band,
        text,
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn micros(micros: u64) -> String {
    Unit::Micros.show(micros as f64)
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn signed(micros: i64) -> String {
    Unit::Micros.show(micros as f64)
}
