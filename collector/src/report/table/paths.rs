//! What the probes of each required flow showed: who to whom, how many, how many got through, and how well.
//!
//! For two clusters `-v` adds the nodes against each other: a bad node is a row or a column.

use std::collections::{BTreeMap, BTreeSet};

use prejoin_checks::observation::{Sent, millis};
use prejoin_checks::profile::flow::flows;
use prejoin_checks::report::Verdict;
use prejoin_checks::report::paths::{PathOutcome, PathRecord};

use super::layout::{Cell, Grid, Page, Tone, cell};
use super::tone;
use crate::report::view::View;

/// As many directions are shown one by one; of more, those where something is wrong.
const DIRECTIONS: usize = 6;
/// Up to this many nodes a side, a cell is four characters wide and headed by a name; above, one character.
const WIDE_NODES: usize = 8;
/// Above this many nodes a side the cells would not fit.
const MOST_NODES: usize = 60;

pub(super) fn write(page: &mut Page, view: &View<'_>, verbose: bool) {
    let codes: Vec<&str> = flows(view.profile).iter().map(|flow| flow.code).collect();
    let mut directions: BTreeMap<(&str, &str), Vec<&PathRecord>> = BTreeMap::new();
    let own = |path: &&PathRecord| path.codes.iter().any(|code| codes.contains(&code.as_str()));
    for path in view.report.paths.iter().filter(own) {
        let ends = (path.from.cluster.as_str(), path.to.cluster.as_str());
        directions.entry(ends).or_default().push(path);
    }
    if directions.is_empty() {
        return;
    }
    let many = directions.len() > DIRECTIONS;
    let troubled = |paths: &[&PathRecord]| paths.iter().any(|path| path.outcome != PathOutcome::Proven);
    let mut hidden = 0;
    for ((from, to), paths) in &directions {
        if many && !verbose && !troubled(paths) {
            hidden += 1;
            continue;
        }
        direction(page, view, &codes, (from, to), paths);
    }
    if hidden > 0 {
        page.line(
            2,
            [cell(
                format!("{hidden} more directions where every probe got through"),
                Tone::Faint,
            )],
        );
        page.blank();
    }
    if verbose {
        nodes(page, view, &directions);
    }
}

fn direction(page: &mut Page, view: &View<'_>, codes: &[&str], ends: (&str, &str), paths: &[&PathRecord]) {
    let (from, to) = ends;
    let title = match (from == to, to.is_empty()) {
        (true, _) => format!("Required flows within {from}"),
        (_, true) => format!("Required flows from {from} to the outside"),
        _ => format!("Required flows {from} -> {to}"),
    };
    let mut grid = Grid::new(4).right(2..4);
    grid.row([
        cell("", Tone::Faint),
        cell("", Tone::Faint),
        cell("probes", Tone::Faint),
        cell("proven", Tone::Faint),
        cell("", Tone::Faint),
        cell("", Tone::Faint),
    ]);
    for code in codes {
        let mut services: BTreeMap<&str, Vec<&PathRecord>> = BTreeMap::new();
        for path in paths.iter().filter(|path| path.codes.iter().any(|own| own == code)) {
            services.entry(path.service.as_str()).or_default().push(path);
        }
        for (service, of) in services {
            let proven = of.iter().filter(|path| path.outcome == PathOutcome::Proven).count();
            let verdict = verdict(view, code, ends, &of);
            grid.row([
                cell(*code, Tone::Faint),
                service.into(),
                of.len().to_string().into(),
                proven.to_string().into(),
                cell(word(verdict), tone(verdict)),
                cell(remark(&of), Tone::Faint),
            ]);
        }
    }
    page.line(2, [cell(title, Tone::Strong)]);
    page.grid(&grid);
    page.blank();
}

/// The worst finding of this flow that concerns this direction.
fn verdict(view: &View<'_>, code: &str, (from, to): (&str, &str), paths: &[&PathRecord]) -> Verdict {
    if paths.iter().all(|path| path.outcome == PathOutcome::Proven)
        && paths.iter().all(|path| path.service != "path MTU")
    {
        return Verdict::Pass;
    }
    let open = paths.iter().any(|path| path.outcome == PathOutcome::Unknown);
    let least = if open { Verdict::Unknown } else { Verdict::Pass };
    view.findings
        .iter()
        .filter(|finding| finding.code == code && finding.waived_by.is_none())
        .filter(|finding| {
            let clusters = &finding.subject.clusters;
            let concerns = |name: &str| clusters.iter().any(|own| own == name);
            concerns(from) && (to.is_empty() || concerns(to))
        })
        .map(|finding| finding.verdict)
        .fold(least, Verdict::max)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass | Verdict::Skip => "ok",
        Verdict::Warn => "warn",
        Verdict::Unknown => "??",
        Verdict::Fail => "FAIL",
    }
}

/// How well: by what it was proven, round trips, loss, sizes; else how it failed.
fn remark(paths: &[&PathRecord]) -> String {
    let mut parts = Vec::new();
    // How it failed says more than how the rest got through.
    let mut shown: BTreeMap<(PathOutcome, &str), usize> = BTreeMap::new();
    for path in paths {
        *shown.entry((path.outcome, path.shown.as_str())).or_default() += 1;
    }
    let sizes: Vec<u16> = sent(paths)
        .filter_map(|sent| sent.path_mtu.as_ref())
        .map(|found| found.largest_confirmed)
        .collect();
    if let (Some(least), Some(most)) = (sizes.iter().min(), sizes.iter().max()) {
        parts.push(if least == most {
            format!("{least} bytes")
        } else {
            format!("{least} to {most} bytes")
        });
    } else {
        let mut shown: Vec<((PathOutcome, &str), usize)> = shown.into_iter().collect();
        shown.sort_by_key(|((outcome, text), count)| {
            (*outcome == PathOutcome::Proven, std::cmp::Reverse(*count), *text)
        });
        parts.extend(shown.first().map(|((outcome, text), count)| match outcome {
            PathOutcome::Proven => (*text).to_owned(),
            PathOutcome::Failed => format!("{count} {text}"),
            // Why not is said once, with the findings.
            PathOutcome::Unknown => format!("{count} not known"),
        }));
    }
    if !sizes.is_empty() {
        return parts.join(", ");
    }
    let medians: BTreeSet<u64> = sent(paths)
        .filter_map(|sent| sent.round_trip)
        .map(|round_trip| round_trip.median_micros)
        .collect();
    let slowest = sent(paths)
        .filter_map(|sent| sent.round_trip)
        .map(|of| of.max_micros)
        .max();
    if let (Some(median), Some(slowest)) = (medians.iter().nth(medians.len() / 2), slowest) {
        parts.push(format!("{} (max {})", millis(*median), millis(slowest)));
    }
    let (asked, answered) = sent(paths)
        .filter(|sent| sent.answered > 0 && sent.sent > 1)
        .fold((0, 0), |(asked, answered), sent| {
            (asked + sent.sent, answered + sent.answered)
        });
    if asked > answered {
        parts.push(format!("{} of {asked} lost", asked - answered));
    }
    parts.join(", ")
}

fn sent<'p>(paths: &[&'p PathRecord]) -> impl Iterator<Item = &'p Sent> {
    paths.iter().filter_map(|path| path.sent.as_ref())
}

/// The nodes of two clusters against each other.
fn nodes(page: &mut Page, view: &View<'_>, directions: &BTreeMap<(&str, &str), Vec<&PathRecord>>) {
    if view.report.clusters.len() != 2 {
        return;
    }
    for ((from, to), paths) in directions.iter().filter(|((from, to), _)| from != to && !to.is_empty()) {
        let senders: Vec<&str> = distinct(paths.iter().map(|path| path.from.node.as_str()));
        let receivers: Vec<&str> = distinct(paths.iter().map(|path| path.to.node.as_str()));
        if receivers.len() > MOST_NODES {
            continue;
        }
        let wide = receivers.len() <= WIDE_NODES;
        page.line(2, [cell(format!("Nodes {from} -> {to}"), Tone::Strong)]);
        let mut grid = Grid::new(4);
        if wide {
            let heads = receivers.iter().map(|node| cell(*node, Tone::Faint));
            grid.push(std::iter::once(Cell::default()).chain(heads).collect());
        }
        for sender in senders {
            let marks = receivers.iter().map(|receiver| {
                let of = paths
                    .iter()
                    .filter(|path| path.from.node == sender && path.to.node == *receiver);
                of.map(|path| path.outcome).max()
            });
            let mut cells = vec![cell(sender, Tone::Faint)];
            if wide {
                cells.extend(marks.map(|outcome| mark(outcome, true)));
            } else {
                let text: String = marks.map(|outcome| glyph(outcome, false)).collect();
                cells.push(text.into());
            }
            grid.push(cells);
        }
        page.grid(&grid);
        if !wide {
            columns(page, paths, &receivers);
        }
        page.line(
            4,
            [cell(
                if wide {
                    "ok proven   FAIL failed   ?? not known   . not probed"
                } else {
                    "o proven   X failed   ? not known   . not probed"
                },
                Tone::Faint,
            )],
        );
        page.blank();
    }
}

/// Names the columns that have no head: the ends of the row, and those that mostly fail.
fn columns(page: &mut Page, paths: &[&PathRecord], receivers: &[&str]) {
    const NAMED: usize = 5;
    let (Some(first), Some(last)) = (receivers.first(), receivers.last()) else {
        return;
    };
    let mut line = format!("columns: {first} to {last}, {} in all", receivers.len());
    let fails: Vec<String> = (1..)
        .zip(receivers)
        .filter(|(_, receiver)| {
            let to = paths.iter().filter(|path| path.to.node == **receiver);
            let (all, failed) = to.fold((0, 0), |(all, failed), path| {
                (all + 1, failed + usize::from(path.outcome == PathOutcome::Failed))
            });
            // Each sender tries several services; one of them is enough to call it failing.
            failed * distinct_services(paths) >= all && failed > 0
        })
        .map(|(column, receiver)| format!("{receiver} (column {column})"))
        .collect();
    if !fails.is_empty() {
        let more = fails.len().saturating_sub(NAMED);
        line.push_str("; from most senders fails: ");
        line.push_str(&fails.into_iter().take(NAMED).collect::<Vec<_>>().join(", "));
        if more > 0 {
            line = format!("{line} and {more} more");
        }
    }
    page.line(4, [cell(line, Tone::Faint)]);
}

fn distinct_services(paths: &[&PathRecord]) -> usize {
    distinct(paths.iter().map(|path| path.service.as_str())).len()
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

fn mark(outcome: Option<PathOutcome>, wide: bool) -> Cell {
    let shade = match outcome {
        Some(PathOutcome::Proven) => Tone::Pass,
        Some(PathOutcome::Failed) => Tone::Fail,
        Some(PathOutcome::Unknown) => Tone::Unknown,
        None => Tone::Faint,
    };
    cell(glyph(outcome, wide), shade)
}

fn glyph(outcome: Option<PathOutcome>, wide: bool) -> &'static str {
    match (outcome, wide) {
        (Some(PathOutcome::Proven), true) => "ok",
        (Some(PathOutcome::Proven), false) => "o",
        (Some(PathOutcome::Failed), true) => "FAIL",
        (Some(PathOutcome::Failed), false) => "X",
        (Some(PathOutcome::Unknown), true) => "??",
        (Some(PathOutcome::Unknown), false) => "?",
        (None, _) => ".",
    }
}
