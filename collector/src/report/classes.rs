//! Clusters that stand alike to all others: what makes the pairs of many clusters fit on a page.

use std::collections::HashMap;

use prejoin_checks::report::Verdict;
use prejoin_checks::report::matrix::Matrix;

use super::view::{View, short_list};

/// Clusters with the same verdict towards every other one, by their places in the report.
pub(crate) type Class = Vec<usize>;

/// Sorts clusters into classes that stand alike to all others, and counts those that are fine with everyone, which are in none.
pub(super) fn of(matrix: &Matrix) -> (Vec<Class>, usize) {
    alike(matrix.size(), |a, b| matrix.get(a, b))
}

/// [`of`], for so many clusters with these verdicts.
pub(crate) fn alike(size: usize, get: impl Fn(usize, usize) -> Option<Verdict>) -> (Vec<Class>, usize) {
    let everyone = 0..size;
    let is_fine = |id: usize| {
        everyone
            .clone()
            .all(|other| get(id, other).is_none_or(|verdict| verdict == Verdict::Pass))
    };
    let mut rest: Vec<usize> = everyone.clone().filter(|id| !is_fine(*id)).collect();
    let fine = size - rest.len();
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
                .map(|other| get(*id, other).unwrap_or(between))
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

/// The verdict between two classes, or inside one.
pub(super) fn between(matrix: &Matrix, class: &Class, other: &Class) -> Option<Verdict> {
    let second = if class == other { class.get(1)? } else { other.first()? };
    matrix.get(*class.first()?, *second)
}

/// The first names of a class, and how many more there are.
pub(super) fn class_name(view: &View<'_>, class: &Class, most: usize) -> String {
    let names: Vec<&str> = class.iter().map(|id| view.report.clusters[*id].name.as_str()).collect();
    short_list(&names, most)
}

/// How a verdict on a pair is written in a table.
pub(super) fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fail => "FAIL",
        Verdict::Unknown => "??",
        Verdict::Warn => "!",
        Verdict::Pass | Verdict::Skip => "ok",
    }
}

/// What the marks of these pairs mean.
pub(super) fn legend(matrix: &Matrix) -> String {
    let meanings = [
        (Verdict::Fail, "FAIL blocked"),
        (Verdict::Unknown, "?? not known"),
        (Verdict::Warn, "! warnings"),
        (Verdict::Pass, "ok nothing against it"),
    ];
    let used: Vec<&str> = meanings
        .into_iter()
        .filter(|(verdict, _)| matrix.count(*verdict) > 0)
        .map(|(_, meaning)| meaning)
        .collect();
    used.join("   ")
}

/// A cluster that not all others can be joined with.
pub(super) struct Blocked {
    pub(super) id: usize,
    /// Pairs that fail.
    pub(super) fail: usize,
    /// Pairs that are not known.
    pub(super) unknown: usize,
}

/// The clusters with pairs that fail or are not known, those with most first.
pub(super) fn blocked(matrix: &Matrix) -> Vec<Blocked> {
    let counted = |id: usize, verdict: Verdict| {
        (0..matrix.size())
            .filter(|other| matrix.get(id, *other) == Some(verdict))
            .count()
    };
    let mut rows: Vec<Blocked> = (0..matrix.size())
        .map(|id| Blocked {
            id,
            fail: counted(id, Verdict::Fail),
            unknown: counted(id, Verdict::Unknown),
        })
        .filter(|row| row.fail + row.unknown > 0)
        .collect();
    rows.sort_by_key(|row| (std::cmp::Reverse((row.fail, row.unknown)), row.id));
    rows
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn one_bad_cluster_among_many_makes_two_classes() {
        let mut report = samples::all().remove("forty").unwrap();
        report
            .findings
            .retain(|finding| finding.code == "CM302" && finding.verdict == Verdict::Fail);
        report.clusters[16].unreachable = None;
        let (classes, fine) = of(&Matrix::of(&report, report.profiles[0]));
        assert_eq!((classes.len(), classes[1].as_slice(), fine), (2, &[6][..], 1));
    }

    #[test]
    fn clusters_of_a_class_have_one_verdict_with_every_other() {
        for (name, report) in samples::all() {
            let matrix = Matrix::of(&report, report.profiles[0]);
            let (classes, fine) = of(&matrix);
            assert_eq!(
                classes.iter().map(Vec::len).sum::<usize>() + fine,
                matrix.size(),
                "{name}"
            );
            for class in &classes {
                for other in &classes {
                    for (a, b) in class.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
                        if a != b {
                            assert_eq!(matrix.get(a, b), between(&matrix, class, other), "{name}");
                        }
                    }
                }
            }
        }
    }
}
