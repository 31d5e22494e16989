//! The report for a person at a terminal: first whether the clusters can be joined, then why not, how we know, and what to change.

mod clusters;
mod drift;
mod findings;
mod layout;
mod matrix;
mod paths;
mod quiet;

use std::io;

use prejoin_checks::report::{Ratio, Report, Verdict};

use self::layout::{Grid, Page, Tone, cell, text_width};
use super::view::View;
use super::{RenderOptions, headline};

/// Lines longer than this are hard to read, however wide the terminal is.
const WIDEST: usize = 140;
/// Columns need some space: a narrower terminal breaks the lines itself.
const NARROWEST: usize = 40;

pub(super) fn render(report: &Report, options: &RenderOptions, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Page::new(options.width.clamp(NARROWEST, WIDEST), options.color);
    let views = View::all(report);
    verdicts(&mut page, &views);
    clusters::write(&mut page, report, options.verbose);
    for view in &views {
        page.blank();
        if views.len() > 1 {
            page.line(
                0,
                [
                    cell(view.profile.name(), Tone::Strong),
                    cell(headline::word(view.verdict), tone(view.verdict)),
                ],
            );
            page.blank();
        }
        matrix::write(&mut page, view);
        paths::write(&mut page, view, options.verbose);
        findings::write(&mut page, view, options.verbose);
        quiet::write(&mut page, view, options.verbose);
    }
    footer(&mut page, report);
    drift::write(&mut page, report, options.verbose);
    hints(&mut page, &views, options);
    out.write_all(page.into_text().as_bytes())
}

fn verdicts(page: &mut Page, views: &[View<'_>]) {
    let mut grid = Grid::new(0);
    for view in views {
        grid.row([
            cell(headline::word(view.verdict), tone(view.verdict)),
            cell(headline::sentence(view), Tone::Strong),
        ]);
    }
    page.grid(&grid);
}

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Pass => Tone::Pass,
        Verdict::Skip => Tone::Faint,
        Verdict::Warn => Tone::Warn,
        Verdict::Unknown => Tone::Unknown,
        Verdict::Fail => Tone::Fail,
    }
}

fn footer(page: &mut Page, report: &Report) {
    let summary = &report.summary;
    let waived = if summary.waived > 0 {
        format!("  {} waived", summary.waived)
    } else {
        String::new()
    };
    let counts = format!(
        "{} pass  {} warn  {} fail  {} unknown  {} skip{waived}",
        summary.pass, summary.warn, summary.fail, summary.unknown, summary.skip
    );
    let coverage = &report.coverage;
    let asked = coverage.flows.known > 0 || report.findings.iter().any(|finding| finding.reason == "no agent");
    let flows = match coverage.flows {
        Ratio { wanted: 0, .. } => String::new(),
        flows if asked => format!("  flows {flows}"),
        flows => format!("  flows {flows} (not asked)"),
    };
    let covered = format!("facts {}{flows}", coverage.facts);
    page.blank();
    let both = [44, 0].map(|pad| format!("{counts:<pad$}  {covered}"));
    match both.into_iter().find(|both| text_width(both) <= page.width()) {
        Some(both) => page.line(0, [both.into()]),
        None => [counts, covered]
            .map(|text| page.line(0, [text.into()]))
            .into_iter()
            .collect(),
    }
}

fn hints(page: &mut Page, views: &[View<'_>], options: &RenderOptions) {
    let Some(command) = &options.command else { return };
    let mut hints = Vec::new();
    if !options.verbose {
        hints.push("Details: -v".to_owned());
    }
    let worst = |view: &View<'_>| {
        let groups = [&view.fails, &view.unknowns, &view.warnings];
        let first = groups.into_iter().find_map(|causes| causes.first());
        first.map(|cause| cause.lead().code.clone())
    };
    if let Some(code) = views.iter().find_map(worst) {
        hints.push(format!("One rule: prejoin explain {code}"));
        let again = format!("Again: {command} --only {code}");
        let short = hints.iter().map(|hint| hint.len() + 5).sum::<usize>() + again.len() > page.width();
        hints.push(if short {
            format!("Re-run one: --only {code}")
        } else {
            again
        });
    }
    page.line(0, [cell(hints.join("     "), Tone::Faint)]);
}
