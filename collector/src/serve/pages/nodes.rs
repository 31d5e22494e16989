//! Node by node: a bad node is a row or a column.

use std::cmp::Reverse;

use maud::{Markup, html};
use prejoin_checks::report::paths::PathOutcome;

use super::verdict::{class, of_outcome, outcome_word, symbol};
use super::{count, show};
use crate::serve::view::NodeMatrix;

/// So many rows and columns are shown: the worst.
const SHOWN: usize = 60;

/// One direction between two clusters.
pub(super) fn matrix(matrix: &NodeMatrix) -> Markup {
    let title = html! { (show(&matrix.from_cluster)) " → " (show(&matrix.to_cluster)) };
    if matrix.cells.is_empty() {
        return html! { h3 { (title) } p.note { "Nothing was sent this way: nothing is known of it." } };
    }
    let rows = worst_first(matrix.from.len(), |row| {
        (0..matrix.to.len())
            .filter_map(|to| Some(matrix.get(row, to)?.outcome))
            .collect()
    });
    let columns = worst_first(matrix.to.len(), |to| {
        (0..matrix.from.len())
            .filter_map(|row| Some(matrix.get(row, to)?.outcome))
            .collect()
    });
    let hidden = matrix.from.len() - rows.len() + matrix.to.len() - columns.len();
    html! {
        h3 { (title) }
        div.scroll tabindex="0" role="region" aria-label={ "Nodes of " (show(&matrix.from_cluster)) " to nodes of " (show(&matrix.to_cluster)) } {
            table.matrix.signs {
                caption.unseen { "Rows send, columns receive" }
                thead {
                    tr { td {} @for column in &columns { th scope="col" title=(show(&matrix.to[*column])) { span { (show(&matrix.to[*column])) } } } }
                }
                tbody {
                    @for row in &rows {
                        tr {
                            th scope="row" { (show(&matrix.from[*row])) }
                            @for column in &columns { (cell(matrix, *row, *column)) }
                        }
                    }
                }
            }
        }
        p.legend {
            @for outcome in [PathOutcome::Failed, PathOutcome::Unknown, PathOutcome::Proven] {
                @let number = matrix.cells.iter().filter(|cell| cell.outcome == outcome).count();
                @if number > 0 {
                    span { b class={ "sign " (class(of_outcome(outcome))) } { (symbol(of_outcome(outcome))) } " " (outcome_word(outcome)) ": " (count(number, "pair")) }
                }
            }
            @let open = matrix.from.len() * matrix.to.len() - matrix.cells.len();
            @if open > 0 { span { b.sign { "∘" } " not probed this time: " (count(open, "pair")) } }
        }
        @if hidden > 0 { p.note { (count(hidden, "node")) " with nothing worse not shown" } }
    }
}

/// The rows, in their order, of which at most [`SHOWN`] are kept: those with most that failed.
fn worst_first(number: usize, outcomes: impl Fn(usize) -> Vec<PathOutcome>) -> Vec<usize> {
    let mut all: Vec<usize> = (0..number).collect();
    if number > SHOWN {
        all.sort_by_cached_key(|place| {
            let outcomes = outcomes(*place);
            let of = |outcome| outcomes.iter().filter(|other| **other == outcome).count();
            (Reverse((of(PathOutcome::Failed), of(PathOutcome::Unknown))), *place)
        });
        all.truncate(SHOWN);
        all.sort_unstable();
    }
    all
}

fn cell(matrix: &NodeMatrix, row: usize, column: usize) -> Markup {
    let Some(cell) = matrix.get(row, column) else {
        return html! { td.open { span title="not probed this time" { "∘" } } };
    };
    let verdict = of_outcome(cell.outcome);
    let number = cell.proven + cell.unknown + cell.failed;
    html! {
        td class=(class(verdict)) {
            span title={ (outcome_word(cell.outcome)) ": " (cell.proven) " of " (number) " got through; " (show(&cell.shown)) } { (symbol(verdict)) }
        }
    }
}
