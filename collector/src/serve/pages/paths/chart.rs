//! Charts over time, drawn here as SVG: a line breaks where nothing was measured, and says how many samples it stands on.

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{Markup, html};

/// Size of a chart, in units of the picture, and the room for its numbers.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;
/// A gap longer than so many times the usual distance of points breaks the line.
const BREAK: f64 = 2.5;
/// Up to so many points have a mark each.
const MARKED: usize = 80;

/// One chart.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    /// The values, oldest first.
    pub(super) points: Vec<Point>,
    /// Values are written with this.
    pub(super) unit: Unit,
    /// Whether the axis begins at zero; else where the values do.
    pub(super) from_zero: bool,
    /// What the values are held against, with its name.
    pub(super) limit: Option<(f64, &'a str)>,
    /// Times that are marked, with what was the matter.
    pub(super) marked: Vec<(Timestamp, Option<Timestamp>, String)>,
}

/// One moment.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) at: Timestamp,
    /// The value; a line goes through these.
    pub(super) value: Option<f64>,
    /// From where to where it spreads.
    pub(super) band: Option<(f64, f64)>,
    /// In words, with the number of samples.
    pub(super) text: String,
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Micros,
    Percent,
    Bytes,
}

impl Unit {
    /// A value with its unit.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Percent => format!("{} %", trim(value)),
            Self::Bytes => format!("{value:.0} B"),
            Self::Micros if value.abs() < 1_000.0 => format!("{} µs", trim(value)),
            Self::Micros if value.abs() < 1_000_000.0 => format!("{} ms", trim(value / 1_000.0)),
            Self::Micros => format!("{} s", trim(value / 1_000_000.0)),
        }
    }
}

/// Three digits at most, and no zeros that say nothing.
fn trim(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Values and moments to places.
struct Scale {
    since: f64,
    span: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn of(chart: &Chart<'_>) -> Self {
        let values = chart.points.iter().flat_map(|point| {
            let band = point.band.map_or([None, None], |(low, high)| [Some(low), Some(high)]);
            [point.value].into_iter().chain(band).flatten()
        });
        let (mut low, mut high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        // A limit far away would flatten what is to be seen.
        if let Some((limit, _)) = chart.limit.filter(|(limit, _)| *limit < 3.0 * high && *limit > 0.0) {
            (low, high) = (low.min(limit), high.max(limit));
        }
        if !low.is_finite() {
            (low, high) = (0.0, 1.0);
        }
        if chart.from_zero {
            low = low.min(0.0);
        }
        let room = if high > low {
            (high - low) * 0.08
        } else {
            high.abs().max(1.0) * 0.1
        };
        Self {
            since: seconds(chart.since),
            span: (seconds(chart.until) - seconds(chart.since)).max(1.0),
            low: if chart.from_zero && low >= 0.0 { 0.0 } else { low - room },
            high: high + room,
        }
    }

    fn x(&self, at: Timestamp) -> f64 {
        let share = (seconds(at) - self.since) / self.span;
        tenth(LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT))
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        tenth(TOP + (1.0 - share.clamp(0.0, 1.0)) * (HEIGHT - TOP - BOTTOM))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

impl Chart<'_> {
    /// The chart with its title.
    pub(super) fn draw(&self) -> Markup {
        let scale = Scale::of(self);
        let runs = self.runs();
        html! {
            figure.chart {
                figcaption { (self.title) @if let Some(last) = self.points.last() { span.note { " " (last.text) } } }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } xmlns="http://www.w3.org/2000/svg" role="img" aria-label={ (self.title) ", " (self.points.len()) " points; the table below has them" } {
                    @for (at, until, text) in &self.marked {
                        @let (x, end) = (scale.x(*at), scale.x(until.unwrap_or(self.until)));
                        rect.marked x=(x) y=(TOP) width=((end - x).max(2.0)) height=(HEIGHT - TOP - BOTTOM) { title { (text) } }
                    }
                    @for value in ticks(scale.low, scale.high) {
                        @let y = scale.y(value);
                        line.grid x1=(LEFT) y1=(y) x2=(WIDTH - RIGHT) y2=(y) {}
                        text x=(LEFT - 6.0) y=(y + 4.0) text-anchor="end" { (self.unit.show(value)) }
                    }
                    @for (at, label) in moments(self.since, self.until) {
                        @let x = scale.x(at);
                        line.tick x1=(x) y1=(HEIGHT - BOTTOM) x2=(x) y2=(HEIGHT - BOTTOM + 4.0) {}
                        text x=(x.min(WIDTH - 2.0)) y=(HEIGHT - 5.0) text-anchor=(if x > WIDTH - RIGHT - 20.0 { "end" } else { "middle" }) { (label) }
                    }
                    @for run in &runs { path.band d=(band(run, &scale)) {} }
                    @if let Some((limit, name)) = self.limit.filter(|(limit, _)| *limit <= scale.high && *limit >= scale.low) {
                        @let y = scale.y(limit);
                        line.limit x1=(LEFT) y1=(y) x2=(WIDTH - RIGHT) y2=(y) {}
                        text.limit x=(WIDTH - RIGHT) y=(y - 4.0) text-anchor="end" { (name) " " (self.unit.show(limit)) }
                    }
                    @for run in &runs { path.line d=(line(run, &scale)) {} }
                    @if self.points.len() <= MARKED || runs.iter().any(|run| run.len() == 1) {
                        @for point in runs.iter().filter(|run| run.len() == 1 || self.points.len() <= MARKED).flatten() {
                            @if let Some(value) = point.value {
                                circle.point cx=(scale.x(point.at)) cy=(scale.y(value)) r="2.2" { title { (point.text) } }
                            }
                        }
                    }
                }
            }
        }
    }

    /// The points that a line may join: those with values, without a gap between them.
    fn runs(&self) -> Vec<Vec<&Point>> {
        let mut distances: Vec<f64> = self
            .points
            .windows(2)
            .map(|pair| seconds(pair[1].at) - seconds(pair[0].at))
            .collect();
        distances.sort_unstable_by(f64::total_cmp);
        let usual = distances.get(distances.len() / 2).copied().unwrap_or(f64::INFINITY);
        let mut runs: Vec<Vec<&Point>> = Vec::new();
        for point in &self.points {
            if point.value.is_none() {
                runs.push(Vec::new());
                continue;
            }
            match runs.last_mut() {
                Some(run)
                    if run
                        .last()
                        .is_none_or(|last| seconds(point.at) - seconds(last.at) <= BREAK * usual) =>
                {
                    run.push(point);
                }
                _ => runs.push(vec![point]),
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }
}

fn line(run: &[&Point], scale: &Scale) -> String {
    let places = run
        .iter()
        .filter_map(|point| Some((scale.x(point.at), scale.y(point.value?))));
    join(places)
}

fn band(run: &[&Point], scale: &Scale) -> String {
    let spread: Vec<(f64, f64, f64)> = run
        .iter()
        .filter_map(|point| {
            point
                .band
                .map(|(low, high)| (scale.x(point.at), scale.y(low), scale.y(high)))
        })
        .collect();
    if spread.len() < 2 {
        return String::new();
    }
    let there = spread.iter().map(|(x, _, high)| (*x, *high));
    let back = spread.iter().rev().map(|(x, low, _)| (*x, *low));
    join(there.chain(back)) + "Z"
}

fn join(places: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (x, y) in places {
        let step = if path.is_empty() { 'M' } else { 'L' };
        // Writing to a String cannot fail.
        let _ = write!(path, "{step}{x} {y}");
    }
    path
}

/// Three to five round numbers between two.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 4.0;
    if !rough.is_finite() || rough <= 0.0 {
        return Vec::new();
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let first = (low / step).ceil();
    (0..8)
        .map(|index| (first + f64::from(index)) * step)
        .take_while(|value| *value <= high)
        .collect()
}

/// Round moments between two, at most seven, with what to call them.
fn moments(since: Timestamp, until: Timestamp) -> Vec<(Timestamp, String)> {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let span = until.duration_since(since).as_secs();
    let steps = [
        MINUTE,
        5 * MINUTE,
        15 * MINUTE,
        HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
        DAY,
        2 * DAY,
        7 * DAY,
        30 * DAY,
        90 * DAY,
    ];
    let Some(step) = steps.into_iter().find(|step| span / step <= 6).filter(|_| span > 0) else {
        return Vec::new();
    };
    let format = if step < DAY { "%H:%M" } else { "%b %-d" };
    let first = since.as_second().div_euclid(step) + 1;
    (first..)
        .map_while(|index| Timestamp::from_second(index * step).ok())
        .take_while(|at| *at <= until)
        .map(|at| (at, at.strftime(format).to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_764_000_000 + minute * 60).unwrap()
    }

    fn chart(points: &[(i64, Option<f64>)]) -> Chart<'static> {
        Chart {
            title: "round trip",
            since: at(0),
            until: at(60),
            points: points
                .iter()
                .map(|(minute, value)| Point {
                    at: at(*minute),
                    value: *value,
                    band: value.map(|value| (value - 1.0, value + 1.0)),
                    text: String::new(),
                })
                .collect(),
            unit: Unit::Micros,
            from_zero: true,
            limit: None,
            marked: Vec::new(),
        }
    }

    #[test]
    fn a_line_breaks_where_nothing_was_measured() {
        let whole = chart(&[(0, Some(5.0)), (5, Some(6.0)), (10, Some(5.0)), (15, Some(5.0))]);
        assert_eq!(whole.runs().len(), 1);
        let unanswered = chart(&[(0, Some(5.0)), (5, None), (10, Some(5.0)), (15, Some(5.0))]);
        assert_eq!(unanswered.runs().iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        let missed = chart(&[(0, Some(5.0)), (5, Some(5.0)), (30, Some(5.0)), (35, Some(5.0))]);
        assert_eq!(missed.runs().iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn no_point_and_one_point_are_charts_too() {
        assert!(!chart(&[]).draw().into_string().contains("NaN"));
        let one = chart(&[(10, Some(7.0))]).draw().into_string();
        assert!(one.contains("<circle") && !one.contains("NaN"), "{one}");
    }

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(ticks(0.0, 10.0), [0.0, 5.0, 10.0]);
        assert_eq!(ticks(0.0, 7.0), [0.0, 2.0, 4.0, 6.0]);
        assert!(ticks(3.0, 3.0).is_empty());
        let hours = moments(at(0), at(360));
        assert!(hours.len() <= 7 && hours.iter().all(|(at, _)| at.as_second() % 3600 == 0));
        assert!(moments(at(5), at(5)).is_empty());
    }

    #[test]
    fn values_are_written_in_the_unit_that_suits_them() {
        let written = [350.0, 1_250.0, 12_000.0, 2_500_000.0, 0.0].map(|value| Unit::Micros.show(value));
        assert_eq!(written, ["350 µs", "1.25 ms", "12 ms", "2.5 s", "0 µs"]);
        assert_eq!(
            (Unit::Percent.show(0.5), Unit::Bytes.show(1450.0)),
            ("0.5 %".to_owned(), "1450 B".to_owned())
        );
    }
}
