//! What breaks nothing: what someone answers for, what was not asked and, if all is to be shown, what passed or does not apply.

use prejoin_checks::report::{Finding, Verdict, WaivedBy};

use super::findings::{noted, place};
use super::layout::{Cell, Grid, Page, Tone, cell};
use crate::report::evidence;
use crate::report::view::{Cause, View, short_list};

/// So many lines of evidence for what passed.
const LINES: usize = 5;

pub(super) fn write(page: &mut Page, view: &View<'_>, verbose: bool) {
    waived(page, view);
    not_asked(page, view, verbose);
    if verbose {
        passes(page, view);
        skips(page, view);
    }
}

fn waived(page: &mut Page, view: &View<'_>) {
    let mut told: Vec<(&str, &WaivedBy, Vec<&Finding>)> = Vec::new();
    for finding in view.waived() {
        let Some(waiver) = &finding.waived_by else { continue };
        match told
            .iter_mut()
            .find(|(code, by, _)| *code == finding.code && *by == waiver)
        {
            Some((_, _, findings)) => findings.push(finding),
            None => told.push((&finding.code, waiver, vec![finding])),
        }
    }
    page.blank();
    let mut grid = Grid::new(0);
    for (code, waiver, findings) in told {
        let cause = Cause { findings };
        let text = format!(
            "{}: waived by {} until {}, {}",
            cause.lead().title,
            waiver.owner,
            waiver.until,
            waiver.reason
        );
        let where_else: Vec<String> = clusters(view, &cause).into_iter().collect();
        grid.row([cell(format!("~ {code}"), Tone::Faint), noted(text, &where_else)]);
    }
    page.grid(&grid);
}

/// The clusters that something is about, unless it is about all.
fn clusters(view: &View<'_>, cause: &Cause<'_>) -> Option<String> {
    let clusters = cause.clusters();
    (clusters.len() < view.report.clusters.len()).then(|| short_list(&clusters, 3))
}

/// What the user chose not to ask, and what would ask for it.
fn not_asked(page: &mut Page, view: &View<'_>, verbose: bool) {
    page.blank();
    let mut grid = Grid::new(0);
    let groups = grouped(view.not_asked(), |finding| finding.found.as_str());
    for (place, cause) in groups.iter().enumerate() {
        let codes = cause.codes();
        let codes = short_list(&codes, if verbose { codes.len() } else { 8 });
        let head = if place == 0 { "- not asked" } else { "" };
        grid.row([
            cell(head, Tone::Faint),
            format!("{}: {codes}", cause.lead().found).into(),
        ]);
    }
    page.grid(&grid);
}

fn passes(page: &mut Page, view: &View<'_>) {
    page.blank();
    let mut grid = Grid::new(0);
    let passed = view
        .findings
        .iter()
        .copied()
        .filter(|finding| finding.verdict == Verdict::Pass);
    for check in grouped(passed, |finding| finding.code.as_str()) {
        let found = grouped(check.findings.iter().copied(), |finding| finding.found.as_str());
        let lead = check.lead();
        let head = cell(format!("✓ {}", lead.code), Tone::Pass);
        let one = found.len() == 1 && clusters(view, &found[0]).is_none();
        grid.row([
            head,
            if one {
                joined(&[&lead.slug, &lead.found]).into()
            } else {
                lead.slug.clone().into()
            },
        ]);
        for cause in found {
            if !one {
                let clusters = short_list(&cause.clusters(), 3);
                grid.row([Cell::default(), joined(&[&clusters, &cause.lead().found]).into()]);
            }
            for line in evidence::lines(&cause.evidence(), true).into_iter().take(LINES) {
                let words = [line.clusters(), line.value.clone(), place(&line)];
                let words: Vec<&str> = words
                    .iter()
                    .map(String::as_str)
                    .filter(|word| !word.is_empty())
                    .collect();
                grid.row([Cell::default(), cell(words.join("  "), Tone::Faint)]);
            }
        }
    }
    page.grid(&grid);
}

fn skips(page: &mut Page, view: &View<'_>) {
    page.blank();
    let mut grid = Grid::new(0);
    let skipped = |finding: &&Finding| finding.verdict == Verdict::Skip && !finding.is_not_asked();
    let findings = view.findings.iter().copied().filter(skipped);
    for cause in grouped(findings, |finding| {
        (finding.code.as_str(), finding.reason.as_str(), finding.found.as_str())
    }) {
        let lead = cause.lead();
        let found = if lead.found == lead.reason { "" } else { &lead.found };
        let notes: Vec<String> = clusters(view, &cause).into_iter().collect();
        let text = joined(&[&lead.slug, &lead.reason, found]);
        grid.row([cell(format!("- {}", lead.code), Tone::Faint), noted(text, &notes)]);
    }
    page.grid(&grid);
}

/// Findings with equal keys together, in order of appearance.
fn grouped<'a, K: Ord>(findings: impl Iterator<Item = &'a Finding>, key: impl Fn(&'a Finding) -> K) -> Vec<Cause<'a>> {
    let mut groups: Vec<Cause<'a>> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for finding in findings {
        let place = *places.entry(key(finding)).or_insert_with(|| {
            groups.push(Cause { findings: Vec::new() });
            groups.len() - 1
        });
        groups[place].findings.push(finding);
    }
    groups
}

fn joined(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}
