//! Which pairs of clusters may be joined, as a table of clusters by clusters.
//!
//! Few clusters are drawn as they are. Of many, those that are fine with all others are left out, and clusters that stand
//! alike to all others share a row: one bad cluster among 40 makes a table of two rows that says all there is to say.

use std::collections::HashMap;

use prejoin_checks::report::Verdict;
use prejoin_checks::report::matrix::Matrix;

use super::layout::{Cell, Grid, Page, Tone, cell, text_width};
use super::tone;
use crate::report::view::{View, count, short_list};

/// Up to this many clusters are drawn one by one.
const ONE_BY_ONE: usize = 10;
/// Of a list of blocked clusters, so many are named.
const LISTED: usize = 10;

/// Clusters that stand alike to all others, by their places in the report.
type Class = Vec<usize>;

pub(super) fn write(page: &mut Page, view: &View<'_>) {
    let matrix = &view.matrix;
    if matrix.size() < 3 || matrix.count(Verdict::Pass) == matrix.pairs() {
        return;
    }
    page.blank();
    let one_by_one: Vec<Class> = (0..matrix.size()).map(|id| vec![id]).collect();
    let drawn = matrix.size() <= ONE_BY_ONE && draw(page, view, &one_by_one);
    if !drawn {
        let (classes, fine) = classes(matrix);
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

/// Sorts clusters into classes that stand alike to all others, and counts those that are fine with everyone, which are in none.
fn classes(matrix: &Matrix) -> (Vec<Class>, usize) {
    let everyone = 0..matrix.size();
    let is_fine = |id: usize| {
        everyone
            .clone()
            .all(|other| matrix.get(id, other).is_none_or(|verdict| verdict == Verdict::Pass))
    };
    let mut rest: Vec<usize> = everyone.clone().filter(|id| !is_fine(*id)).collect();
    let fine = matrix.size() - rest.len();
    let mut classes = Vec::new();
    // Two clusters stand alike if their rows are equal once each is given, towards itself, what is between the two.
    for between in [
        Verdict::Fail,
        Verdict::Unknown,
        Verdict::Warn,
        Verdict::Pass,
        Verdict::Skip,
    ] {
        let mut alike: HashMap<Vec<Verdict>, Class> = HashMap::new();
        for id in &rest {
            let row = everyone
                .clone()
                .map(|other| matrix.get(*id, other).unwrap_or(between))
                .collect();
            alike.entry(row).or_default().push(*id);
        }
        classes.extend(alike.into_values().filter(|class| class.len() > 1));
        rest.retain(|id| classes.iter().all(|class| !class.contains(id)));
    }
    classes.extend(rest.into_iter().map(|id| vec![id]));
    classes.sort();
    (classes, fine)
}

/// Draws the classes against each other, if that fits.
fn draw(page: &mut Page, view: &View<'_>, classes: &[Class]) -> bool {
    // As many names as there is room for; a class of one is always named in full.
    [3, 2, 1].into_iter().any(|most| draw_with(page, view, classes, most))
}

fn draw_with(page: &mut Page, view: &View<'_>, classes: &[Class], most: usize) -> bool {
    let names: Vec<String> = classes.iter().map(|class| name(view, class, most)).collect();
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

fn name(view: &View<'_>, class: &Class, most: usize) -> String {
    let names: Vec<&str> = class.iter().map(|id| view.report.clusters[*id].name.as_str()).collect();
    short_list(&names, most)
}

/// The verdict between two classes, or inside one.
fn between(matrix: &Matrix, class: &Class, other: &Class) -> Option<Verdict> {
    let second = if class == other { class.get(1)? } else { other.first()? };
    matrix.get(*class.first()?, *second)
}

fn mark(verdict: Option<Verdict>) -> Cell {
    match verdict {
        None => cell(".", Tone::Faint),
        Some(verdict) => cell(
            match verdict {
                Verdict::Fail => "FAIL",
                Verdict::Unknown => "??",
                Verdict::Warn => "!",
                Verdict::Pass | Verdict::Skip => "ok",
            },
            tone(verdict),
        ),
    }
}

fn legend(page: &mut Page, view: &View<'_>, grouped: bool) {
    let meanings = [
        (Verdict::Fail, "FAIL blocked"),
        (Verdict::Unknown, "?? not known"),
        (Verdict::Warn, "! warnings"),
        (Verdict::Pass, "ok nothing against it"),
    ];
    let used: Vec<&str> = meanings
        .into_iter()
        .filter(|(verdict, _)| view.matrix.count(*verdict) > 0)
        .map(|(_, meaning)| meaning)
        .collect();
    page.line(2, [cell(used.join("   "), Tone::Faint)]);
    if grouped {
        page.line(
            2,
            [cell(
                "clusters that share a row have the same verdict with every other",
                Tone::Faint,
            )],
        );
    }
}

/// Too many kinds of clusters to draw: those with most pairs that are not ok.
fn list(page: &mut Page, view: &View<'_>) {
    let matrix = &view.matrix;
    let counted = |id: usize, verdict: Verdict| {
        (0..matrix.size())
            .filter(|other| matrix.get(id, *other) == Some(verdict))
            .count()
    };
    let mut rows: Vec<(usize, usize, usize)> = (0..matrix.size())
        .map(|id| (counted(id, Verdict::Fail), counted(id, Verdict::Unknown), id))
        .filter(|(blocked, open, _)| blocked + open > 0)
        .collect();
    rows.sort_by_key(|(blocked, open, id)| (std::cmp::Reverse((*blocked, *open)), *id));
    let others = matrix.size() - 1;
    let mut grid = Grid::new(2).right([1, 2]);
    grid.push(
        ["cluster", "blocked", "not known"]
            .map(|head| cell(head, Tone::Faint))
            .into(),
    );
    for (blocked, open, id) in rows.iter().take(LISTED) {
        let name = view.report.clusters[*id].name.clone();
        grid.push(vec![
            name.into(),
            number(*blocked, Tone::Fail),
            number(*open, Tone::Unknown),
        ]);
    }
    page.grid(&grid);
    let more = rows.len().saturating_sub(LISTED);
    let and = if more > 0 {
        format!("… and {more} more clusters, ")
    } else {
        String::new()
    };
    page.line(2, [cell(format!("{and}of {others} pairs each"), Tone::Faint)]);
}

fn number(number: usize, tone: Tone) -> Cell {
    if number == 0 {
        cell("-", Tone::Faint)
    } else {
        cell(number.to_string(), tone)
    }
}
