//! Which clusters can be joined with which: a table that reads for two clusters and for a hundred.
//!
//! Few clusters have words in their cells. Many have signs, the worst clusters first; or clusters that stand alike to all others share a
//! row, which is how a person would say it. Only what is not fine is a link, and of many cells none is a stop for the tabulator key:
//! rows begin with links to their clusters, which list the pairs.

use maud::{Markup, html};
use prejoin_checks::report::Verdict;
use serde::Deserialize;

use super::verdict::{class, of_pair, symbol, word};
use super::{count, link, show};
use crate::report::classes::{Class, alike};
use crate::serve::view::PairMatrix;

/// Up to so many clusters have words in their cells.
const WORDS: usize = 16;
/// Up to so many names stand for a class.
const NAMED: usize = 2;

/// How a matrix is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct MatrixQuery {
    /// Every cluster in a row of its own (`all`), or those that stand alike in one (`alike`).
    pub(super) rows: Option<Rows>,
    /// Only clusters with a pair of this verdict.
    pub(super) only: Option<Verdict>,
    /// Only clusters whose name contains this.
    pub(super) name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rows {
    All,
    Alike,
}

/// The matrix of a group with what its reader may choose.
pub(super) fn pairs(group: &str, address: &str, matrix: &PairMatrix, query: &MatrixQuery) -> Markup {
    let size = matrix.clusters.len();
    if size < 2 {
        return html! { p.note { "There is one cluster only: nothing was compared." } };
    }
    let (classes, fine) = classes(matrix);
    let chosen = chosen(matrix, query);
    let filtered = chosen.len() < size;
    let saves = classes.len() * 2 <= size;
    let rows = query.rows.unwrap_or(if size > WORDS && saves && !filtered {
        Rows::Alike
    } else {
        Rows::All
    });
    html! {
        @if size > WORDS { (choice(address, matrix, query, rows)) }
        @if chosen.is_empty() {
            p.note { "No cluster is like that." }
        } @else if rows == Rows::Alike {
            (grouped(group, address, matrix, &classes, fine))
        } @else {
            @if filtered { p.note { (chosen.len()) " of " (count(size, "cluster")) " shown." } }
            (table(group, matrix, &chosen))
        }
        (legend(matrix, size <= WORDS || rows == Rows::Alike))
    }
}

/// Clusters that stand alike, those that are fine with everyone as the last class; and how many these are.
fn classes(matrix: &PairMatrix) -> (Vec<Class>, usize) {
    let size = matrix.clusters.len();
    let (mut classes, fine) = alike(size, |a, b| matrix.get(a, b));
    let in_class: Vec<usize> = classes.iter().flatten().copied().collect();
    let rest: Class = (0..size).filter(|id| !in_class.contains(id)).collect();
    classes.sort_by_key(|class| {
        (
            std::cmp::Reverse(worst(matrix, class)),
            class.len(),
            class.first().copied(),
        )
    });
    if !rest.is_empty() {
        classes.push(rest);
    }
    (classes, fine)
}

fn worst(matrix: &PairMatrix, class: &Class) -> Option<(Verdict, usize)> {
    let id = *class.first()?;
    let verdict = matrix.worst(id)?;
    Some((verdict, pairs_of(matrix, id, verdict)))
}

/// With how many others a cluster has this verdict.
fn pairs_of(matrix: &PairMatrix, id: usize, verdict: Verdict) -> usize {
    (0..matrix.clusters.len())
        .filter(|other| matrix.get(id, *other) == Some(verdict))
        .count()
}

/// The clusters that were asked for. Few are in the report's order, many by how bad they are.
fn chosen(matrix: &PairMatrix, query: &MatrixQuery) -> Vec<usize> {
    let name = query.name.as_deref().unwrap_or_default().to_lowercase();
    let mut chosen: Vec<usize> = (0..matrix.clusters.len())
        .filter(|id| matrix.clusters[*id].to_lowercase().contains(&name))
        .filter(|id| query.only.is_none_or(|verdict| pairs_of(matrix, *id, verdict) > 0))
        .collect();
    if matrix.clusters.len() > WORDS {
        chosen.sort_by_cached_key(|id| {
            let worst = matrix.worst(*id);
            let pairs = worst.map_or(0, |verdict| pairs_of(matrix, *id, verdict));
            (std::cmp::Reverse((worst, pairs)), *id)
        });
    }
    chosen
}

fn choice(address: &str, matrix: &PairMatrix, query: &MatrixQuery, rows: Rows) -> Markup {
    let to = |rows: Option<&str>, only: Option<Verdict>| {
        let only = only.map(|verdict| verdict.to_string());
        link::query(
            address,
            &[
                ("rows", rows),
                ("only", only.as_deref()),
                ("name", query.name.as_deref()),
            ],
        )
    };
    let filtered = query.only.is_some() || query.name.as_deref().is_some_and(|name| !name.is_empty());
    let current = |is: bool| is.then_some("true");
    html! {
        div.choice {
            nav aria-label="What the matrix shows" {
                a href=(to(Some("alike"), None)) aria-current=[current(rows == Rows::Alike)] { "Alike together" }
                a href=(to(Some("all"), None)) aria-current=[current(rows == Rows::All && !filtered)] { "Every cluster" }
                @for verdict in [Verdict::Fail, Verdict::Unknown, Verdict::Warn] {
                    @let pairs = matrix.count(verdict);
                    @if pairs > 0 {
                        a href=(to(Some("all"), Some(verdict))) aria-current=[current(query.only == Some(verdict))] {
                            span class={ "sign " (class(verdict)) } aria-hidden="true" { (symbol(verdict)) }
                            " " (of_pair(verdict)) " (" (count(pairs, "pair")) ")"
                        }
                    }
                }
            }
            form method="get" action=(address) role="search" {
                input type="hidden" name="rows" value="all";
                label for={ "name-" (matrix.profile) } { "Cluster" }
                input id={ "name-" (matrix.profile) } type="search" name="name" value=[query.name.as_deref()] size="14";
                button type="submit" { "Find" }
            }
        }
    }
}

fn table(group: &str, matrix: &PairMatrix, chosen: &[usize]) -> Markup {
    let words = matrix.clusters.len() <= WORDS;
    html! {
        div.scroll tabindex="0" role="region" aria-label={ "Pairs of clusters, " (matrix.profile) } {
            table.matrix.words[words].signs[!words] {
                caption.unseen { "Which clusters can be joined with " (matrix.profile) }
                thead {
                    tr {
                        td {}
                        @for column in chosen {
                            th scope="col" title=[(!words).then(|| show(&matrix.clusters[*column]))] {
                                span { (show(&matrix.clusters[*column])) }
                            }
                        }
                    }
                }
                tbody {
                    @for row in chosen {
                        tr {
                            th scope="row" { a href=(link::cluster(group, &matrix.clusters[*row])) { (show(&matrix.clusters[*row])) } }
                            @for column in chosen { (cell(group, matrix, *row, *column, words)) }
                        }
                    }
                }
            }
        }
    }
}

fn cell(group: &str, matrix: &PairMatrix, row: usize, column: usize, words: bool) -> Markup {
    let Some(verdict) = matrix.get(row, column) else {
        return html! { td.self {} };
    };
    let (a, b) = (&matrix.clusters[row], &matrix.clusters[column]);
    html! {
        td class=(class(verdict)) {
            @if words {
                a href=(link::pair(group, a, b)) { (mark(verdict)) }
            } @else if verdict == Verdict::Pass {
                span title="ok" { "·" }
            } @else {
                a href=(link::pair(group, a, b)) tabindex="-1" title={ (show(a)) " – " (show(b)) ": " (word(verdict)) } {
                    (symbol(verdict))
                }
            }
        }
    }
}

/// How a verdict on a pair is written where there is room: as the matrix of a terminal has it.
fn mark(verdict: Verdict) -> Markup {
    match verdict {
        Verdict::Fail => html! { "FAIL" },
        Verdict::Unknown => html! { span aria-hidden="true" { "??" } span.unseen { "not known" } },
        Verdict::Warn => html! { span aria-hidden="true" { "!" } span.unseen { "warnings" } },
        Verdict::Pass | Verdict::Skip => html! { "ok" },
    }
}

fn grouped(group: &str, address: &str, matrix: &PairMatrix, classes: &[Class], fine: usize) -> Markup {
    let name = |class: &Class| {
        let names: Vec<&str> = class
            .iter()
            .take(NAMED)
            .map(|id| matrix.clusters[*id].as_str())
            .collect();
        (names.join(", "), class.len().saturating_sub(names.len()))
    };
    html! {
        div.scroll tabindex="0" role="region" aria-label={ "Classes of clusters, " (matrix.profile) } {
            table.matrix.words.classes {
                caption.unseen { "Clusters that stand alike to all others, " (matrix.profile) }
                thead {
                    tr {
                        td {}
                        @for class in classes {
                            @let (names, more) = name(class);
                            th scope="col" { span { (show(&names)) @if more > 0 { b { " +" (more) } } } }
                        }
                    }
                }
                tbody {
                    @for (place, class) in classes.iter().enumerate() {
                        tr {
                            th scope="row" { (class_name(group, matrix, class, fine > 0 && place + 1 == classes.len())) }
                            @for other in classes { (class_cell(group, matrix, class, other)) }
                        }
                    }
                }
            }
        }
        @if fine > 0 {
            p.note {
                (count(fine, "cluster")) " can be joined with every other. "
                a href=(link::query(address, &[("rows", Some("all"))])) { "Every cluster in a row of its own" }
            }
        }
    }
}

fn class_name(group: &str, matrix: &PairMatrix, class: &Class, fine: bool) -> Markup {
    let cluster =
        |id: usize| html! { a href=(link::cluster(group, &matrix.clusters[id])) { (show(&matrix.clusters[id])) } };
    html! {
        @for (place, id) in class.iter().take(NAMED).enumerate() {
            @if place > 0 { ", " }
            (cluster(*id))
        }
        @if class.len() > NAMED {
            details.more {
                summary { "and " (class.len() - NAMED) " more" @if fine { ", all fine" } }
                @for id in class.iter().skip(NAMED) { (cluster(*id)) " " }
            }
        }
    }
}

fn class_cell(group: &str, matrix: &PairMatrix, one: &Class, other: &Class) -> Markup {
    let second = if one == other { one.get(1) } else { other.first() };
    let pair = one.first().copied().zip(second.copied());
    let Some((verdict, (a, b))) = pair.and_then(|(a, b)| Some((matrix.get(a, b)?, (a, b)))) else {
        return html! { td.self {} };
    };
    let single = one.len() == 1 && other.len() == 1;
    html! {
        td class=(class(verdict)) {
            @if single && verdict != Verdict::Pass {
                a href=(link::pair(group, &matrix.clusters[a], &matrix.clusters[b])) { (mark(verdict)) }
            } @else {
                (mark(verdict))
            }
        }
    }
}

/// What the signs mean, and how many pairs have each.
fn legend(matrix: &PairMatrix, words: bool) -> Markup {
    let counts = [Verdict::Fail, Verdict::Unknown, Verdict::Warn, Verdict::Pass]
        .into_iter()
        .map(|verdict| (verdict, matrix.count(verdict)))
        .filter(|(_, pairs)| *pairs > 0);
    html! {
        p.legend {
            @for (verdict, pairs) in counts {
                span {
                    b class={ "sign " (class(verdict)) } {
                        @if words { (mark(verdict)) } @else if verdict == Verdict::Pass { "·" } @else { (symbol(verdict)) }
                    }
                    " " (of_pair(verdict)) ": " (count(pairs, "pair"))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prejoin_checks::profile::Profile;
    use prejoin_checks::samples::fleet::faulty_fleet;
    use prejoin_checks::samples::report;

    use super::*;

    fn hundred() -> PairMatrix {
        PairMatrix::of(
            &report(Profile::Clustermesh, &faulty_fleet(100, 1)),
            Profile::Clustermesh,
        )
    }

    #[test]
    fn a_hundred_clusters_fit_in_a_few_classes_that_hold_each_once() {
        let matrix = hundred();
        let (classes, fine) = classes(&matrix);
        assert!(classes.len() < 20, "{}", classes.len());
        let mut all: Vec<usize> = classes.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert!(fine == 0 || classes.last().is_some_and(|class| class.len() == fine));
    }

    #[test]
    fn every_cell_of_a_large_matrix_says_its_verdict_in_words() {
        let matrix = hundred();
        let query = MatrixQuery {
            rows: Some(Rows::All),
            ..MatrixQuery::default()
        };
        let page = pairs("g", "/groups/g", &matrix, &query).into_string();
        assert_eq!(page.matches("<td class=\"self\">").count(), 100);
        assert_eq!(page.matches(": FAIL\"").count(), 2 * matrix.count(Verdict::Fail));
        assert_eq!(page.matches("title=\"ok\"").count(), 2 * matrix.count(Verdict::Pass));
    }

    #[test]
    fn a_filter_says_how_many_are_left() {
        let matrix = hundred();
        let query = MatrixQuery {
            name: Some("FLEET-00".to_owned()),
            ..MatrixQuery::default()
        };
        let page = pairs("g", "/groups/g", &matrix, &query).into_string();
        assert!(page.contains("9 of 100 clusters shown"));
        let nothing = MatrixQuery {
            name: Some("no such".to_owned()),
            ..MatrixQuery::default()
        };
        assert!(
            pairs("g", "/groups/g", &matrix, &nothing)
                .into_string()
                .contains("No cluster is like that")
        );
    }
}
