//! What changed since an accepted state.

use prejoin_checks::history::drift::{DriftLine, Effect};
use prejoin_checks::report::Report;

use super::layout::{Grid, Page, Tone, cell};
use crate::report::change;

/// So many changes that do nothing are shown without `-v`.
const NEUTRAL: usize = 10;

pub(super) fn write(page: &mut Page, report: &Report, verbose: bool) {
    let Some(drift) = &report.drift else { return };
    page.blank();
    page.line(0, [cell(change::headline(drift), Tone::Strong)]);
    let mut grid = Grid::new(0);
    let (mut neutral, mut left_out) = (0, 0);
    for line in &drift.lines {
        if line.effect == Effect::Neutral {
            neutral += 1;
            if neutral > NEUTRAL && !verbose {
                left_out += 1;
                continue;
            }
        }
        grid.row([
            cell(line.effect.to_string(), tone(line.effect)),
            cell(format!("{} {}", line.change.sign(), change::what(line)), Tone::Plain),
            cell(codes(line), Tone::Faint),
        ]);
        if let Some(place) = change::place(line).filter(|_| verbose || line.effect != Effect::Neutral) {
            grid.row([cell("", Tone::Plain), cell(place, Tone::Faint), cell("", Tone::Plain)]);
        }
    }
    page.grid(&grid);
    if left_out > 0 {
        page.line(
            0,
            [cell(format!("… and {left_out} more that are neutral: -v"), Tone::Faint)],
        );
    }
}

fn codes(line: &DriftLine) -> String {
    line.codes.join(" ")
}

fn tone(effect: Effect) -> Tone {
    match effect {
        Effect::Breaks => Tone::Fail,
        Effect::Weakens => Tone::Unknown,
        Effect::Mends => Tone::Pass,
        Effect::Neutral => Tone::Faint,
    }
}
