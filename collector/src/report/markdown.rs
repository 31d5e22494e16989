//! The report for a comment on a pull request: the verdict as a heading, a line for each cause with its details folded away.

mod escape;

use std::io;

use prejoin_checks::history::drift::{DriftLine, Effect};
use prejoin_checks::report::{ClusterSummary, Finding, Report, Verdict};

use self::escape::{cell, html, prose};
use super::block::{Block, blocks};
use super::classes::{self, Class, between, class_name};
use super::view::{Cause, View, count, short_list};
use super::{RenderOptions, change, evidence, headline};

/// GitHub takes comments of up to 65,536 characters; what does not fit is counted, not cut.
const LONGEST: usize = 60_000;
/// More clusters or classes than this are not listed.
const LISTED: usize = 16;
/// So many lines of evidence are shown.
const LINES: usize = 20;
/// So many texts of one kind, where a cause has findings that differ.
const TEXTS: usize = 4;

pub(super) fn render(report: &Report, options: &RenderOptions, out: &mut dyn io::Write) -> io::Result<()> {
    let views = View::all(report);
    let mut page = Page::default();
    for view in &views {
        let (word, sentence) = (headline::word(view.verdict), headline::sentence(view));
        page.add(&format!("## {word}: {}", prose(&sentence)));
    }
    page.add(&clusters(report));
    for view in &views {
        if views.len() > 1 {
            page.add(&format!("### {}", view.profile));
        }
        pairs(&mut page, view);
        for block in blocks(&view.fails, options.verbose) {
            page.offer(&broken("✗", &block));
        }
        for cause in &view.unknowns {
            page.offer(&unknown(cause));
        }
        for block in blocks(&view.warnings, options.verbose) {
            page.offer(&broken("!", &block));
        }
        let waived: Vec<String> = view.waived().filter_map(waived).collect();
        page.offer(&waived.join("\n"));
        page.offer(&not_asked(view));
        if options.verbose {
            let passes = view.findings.iter().filter(|finding| finding.verdict == Verdict::Pass);
            let passes: Vec<String> = passes.map(|finding| passed(finding)).collect();
            page.offer(&passes.join("\n"));
        }
    }
    drift(&mut page, report);
    if page.left_out > 0 {
        let left_out = count(page.left_out, "part");
        page.add(&format!(
            "… {left_out} of this report did not fit into a comment: `-o json` has everything."
        ));
    }
    page.add(&footer(report, options));
    out.write_all(page.text.as_bytes())
}

/// What changed since an accepted state: a line each, what does nothing folded away.
fn drift(page: &mut Page, report: &Report) {
    let Some(drift) = &report.drift else { return };
    page.offer(&format!("### {}", prose(&change::headline(drift))));
    let line = |line: &DriftLine| {
        let codes = line.codes.join(" ");
        let sign = line.change.sign();
        format!(
            "- **{}** {} {codes}",
            line.effect,
            escape::code(&format!("{sign} {}", change::what(line)))
        )
    };
    let (neutral, others): (Vec<&DriftLine>, Vec<&DriftLine>) =
        drift.lines.iter().partition(|line| line.effect == Effect::Neutral);
    for other in others {
        page.offer(&line(other));
    }
    if !neutral.is_empty() {
        let lines: Vec<String> = neutral.iter().map(|neutral| line(neutral)).collect();
        let summary = count(neutral.len(), "neutral change");
        page.offer(&format!(
            "<details><summary>{summary}</summary>\n\n{}\n\n</details>",
            lines.join("\n")
        ));
    }
}

/// A document that does not grow beyond what fits.
#[derive(Default)]
struct Page {
    text: String,
    left_out: usize,
}

impl Page {
    /// Adds a part that must be there.
    fn add(&mut self, part: &str) {
        if part.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(part);
        self.text.push('\n');
    }

    /// Adds a part if there is room for it.
    fn offer(&mut self, part: &str) {
        if self.text.len() + part.len() > LONGEST {
            self.left_out += 1;
        } else {
            self.add(part);
        }
    }
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let head_cells: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
    let rule = format!("|{}", " --- |".repeat(head.len()));
    let mut lines = vec![line(&head_cells), rule];
    lines.extend(rows.map(|cells| line(&cells)));
    lines.join("\n")
}

fn clusters(report: &Report) -> String {
    let row = |cluster: &ClusterSummary| {
        let facts = if cluster.unreachable.is_some() {
            "nothing read".to_owned()
        } else {
            cluster.facts.to_string()
        };
        let planned = if cluster.planned { " (planned)" } else { "" };
        vec![
            format!("{}{planned}", cell(&cluster.name)),
            cell(&cluster.mesh_id),
            cell(&cluster.cni),
            cell(&short_list(&cluster.pods, 2)),
            cell(&short_list(&cluster.services, 2)),
            cluster.nodes.map(|nodes| nodes.to_string()).unwrap_or_default(),
            facts,
        ]
    };
    // Where not all can be listed, those of which something is missing come first.
    let mut listed: Vec<&ClusterSummary> = report.clusters.iter().collect();
    if listed.len() > LISTED {
        listed.sort_by_key(|cluster| cluster.facts.known == cluster.facts.wanted);
    }
    let shown = listed.into_iter().take(LISTED).map(row);
    let head = ["cluster", "id", "CNI", "pods", "services", "nodes", "facts"];
    let table = table(&head, shown);
    match report.clusters.len().saturating_sub(LISTED) {
        0 => table,
        more => format!("{table}\n\n… and {more} more clusters"),
    }
}

/// Which pairs may be joined, where there are several.
fn pairs(page: &mut Page, view: &View<'_>) {
    let matrix = &view.matrix;
    if matrix.size() < 3 || matrix.count(Verdict::Pass) == matrix.pairs() {
        return;
    }
    let (classes, fine) = classes::of(matrix);
    if classes.len() > LISTED {
        let rows = classes::blocked(matrix).into_iter().take(LISTED).map(|row| {
            let name = cell(&view.report.clusters[row.id].name);
            vec![name, row.fail.to_string(), row.unknown.to_string()]
        });
        page.add(&table(&["cluster", "blocked", "not known"], rows));
        return;
    }
    let numbers: Vec<String> = (1..=classes.len()).map(|number| format!("({number})")).collect();
    let mut head = vec![""];
    head.extend(numbers.iter().map(String::as_str));
    let row = |(place, class): (usize, &Class)| {
        let mut cells = vec![format!("({}) {}", place + 1, cell(&class_name(view, class, 3)))];
        cells.extend(classes.iter().enumerate().map(|(column, other)| {
            let verdict = between(matrix, class, other).filter(|_| column >= place);
            verdict.map(mark).unwrap_or_default()
        }));
        cells
    };
    page.add(&table(&head, classes.iter().enumerate().map(row)));
    page.add(&classes::legend(matrix));
    if fine > 0 {
        page.add(&format!(
            "{} not shown: ok with every other cluster",
            count(fine, "cluster")
        ));
    }
}

fn mark(verdict: Verdict) -> String {
    let mark = classes::mark(verdict);
    if verdict == Verdict::Fail {
        format!("**{mark}**")
    } else {
        mark.to_owned()
    }
}

/// A broken rule: its title, and the details folded away.
fn broken(symbol: &str, block: &Block<'_>) -> String {
    match block {
        Block::Full { cause, .. } => {
            let titles: Vec<String> = cause
                .checks()
                .iter()
                .map(|finding| format!("{symbol} <b>{}</b> {}", html(&finding.code), html(&finding.title)))
                .collect();
            folded(
                &format!(
                    "{} (<code>{}</code>)",
                    titles.join("; "),
                    html(&short_list(&cause.clusters(), 4))
                ),
                &details(cause),
            )
        }
        Block::More(more) => {
            let lead = more[0].lead();
            let rows = more
                .iter()
                .take(LINES)
                .map(|cause| format!("* {}", prose(&cause.lead().found)));
            let mut list: Vec<String> = rows.collect();
            if more.len() > LINES {
                list.push(format!("* … and {} more", more.len() - LINES));
            }
            let title = format!(
                "{symbol} <b>{}</b> {}: {} more",
                html(&lead.code),
                html(&lead.title),
                more.len()
            );
            folded(&title, &list.join("\n"))
        }
    }
}

fn folded(summary: &str, details: &str) -> String {
    format!("<details><summary>{summary}</summary>\n\n{details}\n\n</details>")
}

fn details(cause: &Cause<'_>) -> String {
    let mut parts = Vec::new();
    let lines = evidence::lines(&cause.evidence(), true);
    if !lines.is_empty() {
        let rows = lines.iter().take(LINES).map(|line| {
            let place = [cell(&line.object), cell(line.field), line.note.replace('|', "")];
            let place: Vec<String> = place.into_iter().filter(|part| !part.is_empty()).collect();
            vec![cell(&line.clusters()), cell(&line.value), place.join(" ")]
        });
        parts.push(table(&["cluster", "value", "read from"], rows));
        if lines.len() > LINES {
            parts.push(format!("… and {} more", lines.len() - LINES));
        }
    }
    let mut say = |label: &str, texts: Vec<&str>| {
        let more = texts.len().saturating_sub(TEXTS);
        parts.extend(
            texts
                .iter()
                .take(TEXTS)
                .map(|text| format!("**{label}** {}", prose(text))),
        );
        if more > 0 {
            parts.push(format!("… and {more} more"));
        }
    };
    let nodes = short_list(&cause.nodes(), 8);
    say("Nodes", if nodes.is_empty() { Vec::new() } else { vec![&nodes] });
    say("Found", cause.found());
    say("Want", cause.texts(|finding| &finding.expected));
    say("Why", cause.texts(|finding| &finding.why));
    say("Fix", cause.texts(|finding| &finding.remedy));
    if let Some(waiver) = cause
        .findings
        .iter()
        .find_map(|finding| finding.waiver_expired.as_ref())
    {
        let text = format!(
            "the waiver of {} ended on {}: it counts again ({})",
            waiver.owner, waiver.until, waiver.reason
        );
        say("Note", vec![&text]);
    }
    parts.join("\n\n")
}

/// What could not be determined, and which checks that cost.
fn unknown(cause: &Cause<'_>) -> String {
    let lead = cause.lead();
    let title = format!(
        "? <b>{}</b> <code>{}</code>: {} without a verdict (<code>{}</code>)",
        html(&lead.reason),
        html(&lead.found),
        count(cause.findings.len(), "check"),
        html(&short_list(&cause.clusters(), 4)),
    );
    let list: Vec<String> = cause
        .checks()
        .iter()
        .map(|finding| {
            format!(
                "* **{}** {}",
                finding.code,
                prose(if finding.expected.is_empty() {
                    &finding.slug
                } else {
                    &finding.expected
                })
            )
        })
        .collect();
    folded(&title, &list.join("\n"))
}

fn waived(finding: &Finding) -> Option<String> {
    let waiver = finding.waived_by.as_ref()?;
    let by = format!("waived by {} until {}: {}", waiver.owner, waiver.until, waiver.reason);
    Some(format!(
        "* ~ **{}** {}: {}",
        finding.code,
        prose(&finding.title),
        prose(&by)
    ))
}

fn not_asked(view: &View<'_>) -> String {
    let mut by_detail: Vec<(&str, Vec<&str>)> = Vec::new();
    for finding in view.not_asked() {
        match by_detail.iter_mut().find(|(detail, _)| *detail == finding.found) {
            Some((_, codes)) => codes.push(&finding.code),
            None => by_detail.push((&finding.found, vec![&finding.code])),
        }
    }
    let lines: Vec<String> = by_detail
        .iter()
        .map(|(detail, codes)| format!("* not asked: {} ({})", prose(detail), short_list(codes, 8)))
        .collect();
    lines.join("\n")
}

fn passed(finding: &Finding) -> String {
    format!(
        "* ✓ **{}** {} {}",
        finding.code,
        prose(&finding.slug),
        prose(&finding.found)
    )
}

fn footer(report: &Report, options: &RenderOptions) -> String {
    let summary = &report.summary;
    let mut text = format!(
        "{} pass, {} warn, {} fail, {} unknown, {} skip, {} waived; facts {}",
        summary.pass, summary.warn, summary.fail, summary.unknown, summary.skip, summary.waived, report.coverage.facts
    );
    if report.coverage.flows.wanted > 0 {
        text = format!("{text}; flows {}", report.coverage.flows);
    }
    match &options.command {
        Some(command) => format!("{text}\n\n{}", escape::code(command)),
        None => text,
    }
}
