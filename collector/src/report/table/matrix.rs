//! Which pairs of clusters may be joined, as a table of clusters by clusters.
//!
//! Few clusters are drawn as they are. Of many, those that are fine with all others are left out, and clusters that stand
//! alike to all others share a row: one bad cluster among 40 makes a table of two rows that says all there is to say.

use prejoin_checks::report::Verdict;

use super::layout::{Cell, Grid, Page, Tone, cell, text_width};
use super::tone;
use crate::report::classes::{self, Class, between, class_name};
use crate::report::view::{View, count};

/// Up to this many clusters are drawn one by one.
const ONE_BY_ONE: usize = 10;
/// Of a list of blocked clusters, so many are named.
const LISTED: usize = 10;

pub(super) fn write(page: &mut Page, view: &View<'_>) {
    let matrix = &view.matrix;
    if matrix.size() < 3 || matrix.count(Verdict::Pass) == matrix.pairs() {
        return;
    }
    page.blank();
    let one_by_one: Vec<Class> = (0..matrix.size()).map(|id| vec![id]).collect();
    let drawn = matrix.size() <= ONE_BY_ONE && draw(page, view, &one_by_one);
    if !drawn {
        let (classes, fine) = classes::of(matrix);
        if !draw(page, view, &classes) {
            list(page, view);
        }
        if fine > 0 {
            let text = format!("{} not shown: ok with every other cluster", count(fine, "cluster"));
            page.line(2, [cell(text, Tone::Faint)]);
        }
    }
    page.blank();
}

/// Draws the classes against each other, if that fits.
fn draw(page: &mut Page, view: &View<'_>, classes: &[Class]) -> bool {
    // As many names as there is room for; a class of one is always named in full.
    [3, 2, 1].into_iter().any(|most| draw_with(page, view, classes, most))
}

fn draw_with(page: &mut Page, view: &View<'_>, classes: &[Class], most: usize) -> bool {
    let names: Vec<String> = classes.iter().map(|class| class_name(view, class, most)).collect();
    let widest = names.iter().map(|name| text_width(name)).max().unwrap_or(0);
    let fits = |heads: &mut dyn Iterator<Item = usize>, margin: usize| {
        2 + margin + widest + heads.map(|width| width.max(4) + 2).sum::<usize>() <= page.width()
    };
    let named = classes.iter().all(|class| class.len() == 1) && fits(&mut names.iter().map(|name| text_width(name)), 0);
    if !named && !fits(&mut names.iter().map(|_| 4), 4) {
        return false;
    }
    let offset = if named { 1 } else { 2 };
    let mut grid = Grid::new(2).right(offset..offset + classes.len());
    let heads = (0..classes.len()).map(|at| {
        if named {
            names[at].clone()
        } else {
            format!("({})", at + 1)
        }
    });
    let margin = std::iter::repeat_n(Cell::default(), offset);
    grid.push(margin.chain(heads.map(|head| cell(head, Tone::Faint))).collect());
    for (row, class) in classes.iter().enumerate() {
        let mut cells = Vec::new();
        if !named {
            cells.push(cell(format!("({})", row + 1), Tone::Faint));
        }
        cells.push(names[row].clone().into());
        for (column, other) in classes.iter().enumerate() {
            cells.push(if column < row {
                Cell::default()
            } else {
                mark(between(&view.matrix, class, other))
            });
        }
        grid.push(cells);
    }
    page.grid(&grid);
    legend(page, view, classes.iter().any(|class| class.len() > 1));
    true
}

fn mark(verdict: Option<Verdict>) -> Cell {
    match verdict {
        None => cell(".", Tone::Faint),
        Some(verdict) => cell(classes::mark(verdict), tone(verdict)),
    }
}

fn legend(page: &mut Page, view: &View<'_>, grouped: bool) {
    page.line(2, [cell(classes::legend(&view.matrix), Tone::Faint)]);
    if grouped {
        let text = "clusters that share a row have the same verdict with every other";
        page.line(2, [cell(text, Tone::Faint)]);
    }
}

/// Too many kinds of clusters to draw: those with most pairs that are not ok.
fn list(page: &mut Page, view: &View<'_>) {
    let rows = classes::blocked(&view.matrix);
    let mut grid = Grid::new(2).right([1, 2]);
    grid.row(["cluster", "blocked", "not known"].map(|head| cell(head, Tone::Faint)));
    for row in rows.iter().take(LISTED) {
        let name = view.report.clusters[row.id].name.clone();
        grid.row([
            name.into(),
            number(row.fail, Tone::Fail),
            number(row.unknown, Tone::Unknown),
        ]);
    }
    page.grid(&grid);
    let more = match rows.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!("… and {more} more clusters, "),
    };
    page.line(
        2,
        [cell(
            format!("{more}of {} pairs each", view.matrix.size() - 1),
            Tone::Faint,
        )],
    );
}

fn number(number: usize, tone: Tone) -> Cell {
    if number == 0 {
        cell("-", Tone::Faint)
    } else {
        cell(number.to_string(), tone)
    }
}
