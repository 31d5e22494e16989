//! What is not as it should be, worst first: a block for each cause, a line for each warning.

use std::collections::BTreeMap;

use prejoin_checks::report::Verdict;
use prejoin_checks::report::matrix::Matrix;

use super::layout::{Cell, Grid, NO_BREAK, Page, Tone, cell};
use crate::report::block::{Block, blocks};
use crate::report::evidence;
use crate::report::view::{Cause, View, count, short_list};

/// So many lines of evidence, or of further causes, are shown without `-v`.
const LINES: usize = 10;
/// Texts stand this far to the right under the title of their block.
const INDENT: usize = 4;

pub(super) fn write(page: &mut Page, view: &View<'_>, verbose: bool) {
    let section = Section { view, verbose };
    section.fails(page);
    section.unknowns(page);
    section.warnings(page);
}

/// A grid under the title of a block: `Found` is the longest label.
fn details_grid() -> Grid {
    Grid::new(INDENT).first("Found".len())
}

struct Section<'v, 'a> {
    view: &'v View<'a>,
    verbose: bool,
}

impl Section<'_, '_> {
    fn fails(&self, page: &mut Page) {
        for block in blocks(&self.view.fails, self.verbose) {
            page.blank();
            match block {
                Block::Full { causes, cause } => self.fail(page, &cause, causes),
                Block::More(more) => more_causes(page, ("✗", Tone::Fail), &more),
            }
        }
    }

    fn fail(&self, page: &mut Page, cause: &Cause<'_>, causes: usize) {
        self.titles(page, ("✗", Tone::Fail), cause, causes);
        self.details(page, cause);
    }

    /// The titles of all checks that a cause breaks, one per line.
    fn titles(&self, page: &mut Page, (symbol, tone): (&str, Tone), cause: &Cause<'_>, causes: usize) {
        for (place, finding) in cause.checks().into_iter().enumerate() {
            let about = if place == 0 {
                self.about(cause, causes)
            } else {
                String::new()
            };
            page.title(
                cell(format!("{symbol} {}", finding.code), tone),
                cell(finding.title.clone(), Tone::Strong),
                cell(about, Tone::Faint),
            );
        }
    }

    /// Where a cause is, as far as that is not plain: clusters, how many pairs of many, how many causes read alike.
    fn about(&self, cause: &Cause<'_>, causes: usize) -> String {
        let all = self.view.report.clusters.len();
        let clusters = cause.clusters();
        let who = match clusters.len() {
            number if number < all => short_list(&clusters, 4),
            number if number > 2 => format!("all {all} clusters"),
            2 if causes > 1 => "both clusters".to_owned(),
            _ => String::new(),
        };
        let mut how_many: Vec<String> = self.pairs(cause).into_iter().collect();
        if causes > 1 {
            how_many.push(count(causes, "cause"));
        }
        let parts = [who, how_many.join(", ")];
        let parts: Vec<&str> = parts
            .iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        parts.join(": ")
    }

    /// How many pairs of clusters a cause concerns, if not all.
    fn pairs(&self, cause: &Cause<'_>) -> Option<String> {
        let matrix = Matrix::over(self.view.report, cause.findings.iter().copied());
        let pairs = matrix.pairs() - matrix.count(Verdict::Pass);
        (matrix.pairs() > 1 && pairs < matrix.pairs()).then(|| format!("{pairs} of {}", count(matrix.pairs(), "pair")))
    }

    fn details(&self, page: &mut Page, cause: &Cause<'_>) {
        self.evidence(page, cause);
        let mut grid = details_grid();
        let mut add = |label: &str, texts: Vec<&str>| {
            let several = texts.len() > 1;
            for (place, text) in texts.into_iter().enumerate() {
                let text = if several { format!("- {text}") } else { text.to_owned() };
                grid.row([cell(if place == 0 { label } else { "" }, Tone::Faint), text.into()]);
            }
        };
        let nodes = cause.nodes();
        if !nodes.is_empty() {
            add(
                "Nodes",
                vec![&short_list(&nodes, if self.verbose { usize::MAX } else { 4 })],
            );
        }
        add("Found", self.capped(cause.found()));
        add("Want", self.capped(cause.texts(|finding| &finding.expected)));
        add("Why", cause.texts(|finding| &finding.why));
        add("Fix", self.capped(cause.texts(|finding| &finding.remedy)));
        let expired = cause
            .findings
            .iter()
            .find_map(|finding| finding.waiver_expired.as_ref());
        if let Some(waiver) = expired {
            add(
                "Note",
                vec![&format!(
                    "the waiver of {} ended on {}: it counts again ({})",
                    waiver.owner, waiver.until, waiver.reason
                )],
            );
        }
        page.grid(&grid);
    }

    fn capped<'t>(&self, mut texts: Vec<&'t str>) -> Vec<&'t str> {
        const TEXTS: usize = 3;
        if !self.verbose && texts.len() > TEXTS {
            texts.truncate(TEXTS);
            texts.push("… (all with -v or -o json)");
        }
        texts
    }

    fn evidence(&self, page: &mut Page, cause: &Cause<'_>) {
        let lines = evidence::lines(&cause.evidence(), !self.verbose);
        let shown = if self.verbose {
            lines.len()
        } else {
            lines.len().min(LINES)
        };
        let mut columns = details_grid();
        let mut compact = details_grid();
        for line in &lines[..shown] {
            let clusters = || line.clusters().into();
            let value = || cell(line.value.clone(), Tone::Strong);
            let faint = |text: &str| cell(text, Tone::Faint);
            columns.row([
                clusters(),
                value(),
                faint(&line.object),
                faint(line.field),
                faint(&line.note),
            ]);
            compact.row([clusters(), value(), faint(&place(line))]);
        }
        let fits = columns.fits(page.width());
        page.grid(if fits { &columns } else { &compact });
        if shown < lines.len() {
            more(page, lines.len() - shown);
        }
    }

    /// What could not be determined: what was missing, and which checks that cost. One missing thing is one block.
    fn unknowns(&self, page: &mut Page) {
        // Things that are missing for the same reason and cost the same checks are told together.
        let mut groups: Vec<Vec<&Cause<'_>>> = Vec::new();
        let mut places = BTreeMap::new();
        for cause in &self.view.unknowns {
            let codes: Vec<&str> = cause.checks().iter().map(|finding| finding.code.as_str()).collect();
            let place = *places.entry((cause.lead().reason.as_str(), codes)).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[place].push(cause);
        }
        for group in groups {
            page.blank();
            self.unknown(page, &group);
        }
        self.unread(page);
    }

    fn unknown(&self, page: &mut Page, group: &[&Cause<'_>]) {
        let all = Cause {
            findings: group.iter().flat_map(|cause| cause.findings.iter().copied()).collect(),
        };
        let cost = format!("{} no verdict", have(all.codes().len(), "check"));
        page.title(
            cell(format!("? {}", all.lead().reason), Tone::Unknown),
            cell(cost, Tone::Strong),
            cell(self.pairs(&all).unwrap_or_default(), Tone::Faint),
        );
        let mut grid = details_grid();
        let shown = if self.verbose {
            group.len()
        } else {
            group.len().min(LINES)
        };
        for cause in &group[..shown] {
            grid.row([
                short_list(&cause.clusters(), 3).into(),
                cause.lead().found.clone().into(),
            ]);
        }
        page.grid(&grid);
        if shown < group.len() {
            more(page, group.len() - shown);
        }
        let mut grid = details_grid();
        let checks = all.checks();
        let wanted = checks.iter().all(|finding| !finding.expected.is_empty());
        if wanted && (self.verbose || checks.len() <= LINES) {
            for finding in &checks {
                grid.row([
                    cell(finding.code.clone(), Tone::Unknown),
                    finding.expected.clone().into(),
                ]);
            }
        } else if self.verbose {
            for finding in &checks {
                grid.row([cell(finding.code.clone(), Tone::Unknown), finding.slug.clone().into()]);
            }
        } else {
            let codes: Vec<&str> = checks.iter().map(|finding| finding.code.as_str()).collect();
            grid.row([cell("Costs", Tone::Faint), codes.join(" ").into()]);
        }
        for (place, remedy) in self
            .capped(all.texts(|finding| &finding.remedy))
            .into_iter()
            .enumerate()
        {
            grid.row([cell(if place == 0 { "Fix" } else { "" }, Tone::Faint), remedy.into()]);
        }
        page.grid(&grid);
    }

    /// What could not be read and no check has asked for.
    fn unread(&self, page: &mut Page) {
        let told: Vec<&str> = self.view.unknowns.iter().flat_map(Cause::found).collect();
        let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for cluster in &self.view.report.clusters {
            for what in cluster.unreachable.iter().chain(&cluster.missing) {
                if !told.iter().any(|told| told.contains(what.as_str())) {
                    let clusters = missing.entry(what).or_default();
                    clusters.push(&cluster.name);
                    clusters.dedup();
                }
            }
        }
        if missing.is_empty() {
            return;
        }
        page.blank();
        page.line(
            0,
            [cell("? not read", Tone::Unknown), "what else could not be read".into()],
        );
        let mut grid = details_grid();
        let shown = if self.verbose { missing.len() } else { LINES };
        for (what, clusters) in missing.iter().take(shown) {
            grid.row([short_list(clusters, 3).into(), (*what).into()]);
        }
        page.grid(&grid);
        if missing.len() > shown {
            more(page, missing.len() - shown);
        }
    }

    fn warnings(&self, page: &mut Page) {
        page.blank();
        if self.verbose {
            for cause in &self.view.warnings {
                page.blank();
                self.titles(page, ("!", Tone::Warn), cause, 1);
                self.details(page, cause);
            }
            return;
        }
        let mut by_code: Vec<Vec<&Cause<'_>>> = Vec::new();
        for cause in &self.view.warnings {
            match by_code
                .iter_mut()
                .find(|group| group[0].lead().code == cause.lead().code)
            {
                Some(group) => group.push(cause),
                None => by_code.push(vec![cause]),
            }
        }
        let mut grid = Grid::new(0);
        for group in by_code {
            let lead = group[0].lead();
            let all = Cause {
                findings: group.iter().flat_map(|cause| cause.findings.iter().copied()).collect(),
            };
            let found = all.texts(|finding| &finding.found);
            let text = match found.len() {
                0 => lead.title.clone(),
                1 | 2 => format!("{}: {}", lead.title, found.join("; ")),
                more => format!("{}: {}; {} more", lead.title, found[0], more - 1),
            };
            let mut notes = vec![self.about(&all, group.len())];
            notes.extend(
                self.view
                    .fails_for(&lead.cause)
                    .map(|code| format!("same cause as {code}")),
            );
            notes.extend(
                lead.waiver_expired
                    .as_ref()
                    .map(|waiver| format!("waiver of {} ended on {}", waiver.owner, waiver.until)),
            );
            notes.retain(|note| !note.is_empty());
            grid.row([cell(format!("! {}", lead.code), Tone::Warn), noted(text, &notes)]);
        }
        page.grid(&grid);
    }
}

pub(super) fn noted(text: String, notes: &[String]) -> Cell {
    if notes.is_empty() {
        text.into()
    } else {
        format!("{text} ({})", notes.join("; ")).into()
    }
}

/// Further causes of one check: where, and what was found.
fn more_causes(page: &mut Page, (symbol, tone): (&str, Tone), causes: &[Cause<'_>]) {
    let lead = causes[0].lead();
    page.line(
        0,
        [
            cell(format!("{symbol} {}", lead.code), tone),
            cell(
                format!(
                    "{}: {} more {}",
                    lead.title,
                    causes.len(),
                    if causes.len() == 1 { "cause" } else { "causes" }
                ),
                Tone::Strong,
            ),
        ],
    );
    let mut grid = details_grid();
    for cause in causes.iter().take(LINES) {
        grid.row([
            short_list(&cause.clusters(), 3).into(),
            cause.lead().found.clone().into(),
        ]);
    }
    page.grid(&grid);
    if causes.len() > LINES {
        more(page, causes.len() - LINES);
    }
}

/// Where a value was read, as one text; what stands behind it is not broken.
pub(super) fn place(line: &evidence::Line<'_>) -> String {
    let note = line.note.replace(' ', &NO_BREAK.to_string());
    let parts = [line.object.as_str(), line.field, &note];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("  ")
}

/// `1 check has`, `3 checks have`.
fn have(number: usize, thing: &str) -> String {
    format!("{} {}", count(number, thing), if number == 1 { "has" } else { "have" })
}

fn more(page: &mut Page, number: usize) {
    page.line(
        INDENT,
        [cell(format!("… and {number} more (-v or -o json)"), Tone::Faint)],
    );
}
