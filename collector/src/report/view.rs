//! A report as one profile sees it, and its findings as one cause sees them: what the renderers for people share.

use prejoin_checks::facts::provenance::Basis;
use prejoin_checks::profile::Profile;
use prejoin_checks::report::matrix::Matrix;
use prejoin_checks::report::{Evidence, Finding, Report, Summary, Verdict};

/// What a report says about one profile.
pub(super) struct View<'a> {
    pub(super) report: &'a Report,
    pub(super) profile: Profile,
    pub(super) verdict: Verdict,
    pub(super) summary: Summary,
    pub(super) findings: Vec<&'a Finding>,
    pub(super) fails: Vec<Cause<'a>>,
    pub(super) warnings: Vec<Cause<'a>>,
    pub(super) unknowns: Vec<Cause<'a>>,
    pub(super) matrix: Matrix,
}

impl<'a> View<'a> {
    /// One view for each profile of the report.
    pub(super) fn all(report: &'a Report) -> Vec<Self> {
        report
            .profiles
            .iter()
            .map(|profile| Self::of(report, *profile))
            .collect()
    }

    fn of(report: &'a Report, profile: Profile) -> Self {
        let findings: Vec<&Finding> = report
            .findings
            .iter()
            .filter(|finding| finding.profile == profile)
            .collect();
        let causes = |verdict| -> Vec<Cause<'a>> {
            let groups = report.causes(verdict).into_iter();
            groups
                .filter(|group| group.iter().all(|finding| finding.profile == profile))
                .map(|findings| Cause { findings })
                .collect()
        };
        let summary = summarise(&findings);
        Self {
            report,
            profile,
            verdict: verdict(report, &summary),
            summary,
            fails: causes(Verdict::Fail),
            warnings: causes(Verdict::Warn),
            unknowns: causes(Verdict::Unknown),
            matrix: Matrix::of(report, profile),
            findings,
        }
    }

    /// Whether clusters were held against each other at all.
    pub(super) fn compares(&self) -> bool {
        self.report.clusters.len() > 1
    }

    /// Findings that someone answers for.
    pub(super) fn waived(&self) -> impl Iterator<Item = &'a Finding> {
        self.findings
            .iter()
            .copied()
            .filter(|finding| finding.waived_by.is_some())
    }

    /// What the user chose not to ask.
    pub(super) fn not_asked(&self) -> impl Iterator<Item = &'a Finding> {
        self.findings.iter().copied().filter(|finding| finding.is_not_asked())
    }

    /// The code of a failed check with this cause, if there is one.
    pub(super) fn fails_for(&self, cause: &str) -> Option<&'a str> {
        let cause = self.fails.iter().find(|fail| fail.lead().cause == cause)?;
        Some(&cause.lead().code)
    }
}

fn summarise(findings: &[&Finding]) -> Summary {
    let mut summary = Summary::default();
    for finding in findings {
        let count = match finding.verdict {
            _ if finding.waived_by.is_some() => &mut summary.waived,
            Verdict::Pass => &mut summary.pass,
            Verdict::Skip => &mut summary.skip,
            Verdict::Warn => &mut summary.warn,
            Verdict::Unknown => &mut summary.unknown,
            Verdict::Fail => &mut summary.fail,
        };
        *count += 1;
    }
    summary
}

/// The report's own verdict if it is about one profile; else the worst of this profile's findings, by the same rule: a cluster
/// of which nothing was read, or nothing judged at all, is never a pass.
fn verdict(report: &Report, summary: &Summary) -> Verdict {
    if report.profiles.len() == 1 {
        report.verdict
    } else if summary.fail > 0 {
        Verdict::Fail
    } else if summary.unknown > 0
        || judged(summary) == 0
        || report.clusters.iter().any(|cluster| cluster.unreachable.is_some())
    {
        Verdict::Unknown
    } else if summary.warn > 0 {
        Verdict::Warn
    } else {
        Verdict::Pass
    }
}

/// How many findings are a judgement.
pub(super) fn judged(summary: &Summary) -> u64 {
    summary.pass + summary.warn + summary.fail + summary.waived
}

/// Findings with one cause; never empty.
#[derive(Clone)]
pub(super) struct Cause<'a> {
    pub(super) findings: Vec<&'a Finding>,
}

impl<'a> Cause<'a> {
    /// The finding that gives it its name.
    pub(super) fn lead(&self) -> &'a Finding {
        self.findings[0]
    }

    /// The first finding of each check.
    pub(super) fn checks(&self) -> Vec<&'a Finding> {
        let mut checks: Vec<&Finding> = Vec::new();
        for finding in &self.findings {
            if checks.iter().all(|known| known.code != finding.code) {
                checks.push(finding);
            }
        }
        checks
    }

    /// The codes of its checks.
    pub(super) fn codes(&self) -> Vec<&'a str> {
        distinct(self.findings.iter().map(|finding| finding.code.as_str()))
    }

    /// The clusters it is about, in order of appearance.
    pub(super) fn clusters(&self) -> Vec<&'a str> {
        distinct(
            self.findings
                .iter()
                .flat_map(|finding| finding.subject.clusters.iter().map(String::as_str)),
        )
    }

    /// The nodes it is about.
    pub(super) fn nodes(&self) -> Vec<&'a str> {
        distinct(
            self.findings
                .iter()
                .flat_map(|finding| finding.subject.nodes.iter().map(String::as_str)),
        )
    }

    /// What its findings say in one of their texts, each once. What another one says too, and more, is left out.
    pub(super) fn texts(&self, text: impl Fn(&'a Finding) -> &'a str) -> Vec<&'a str> {
        /// Comparing each with each is for a few.
        const FEW: usize = 20;
        let all = distinct(
            self.findings
                .iter()
                .map(|finding| text(finding))
                .filter(|text| !text.is_empty()),
        );
        if all.len() > FEW {
            return all;
        }
        let said_by_another = |text: &str| all.iter().any(|other| *other != text && other.contains(text));
        all.iter().copied().filter(|text| !said_by_another(text)).collect()
    }

    /// Its evidence, each piece once.
    pub(super) fn evidence(&self) -> Vec<&'a Evidence> {
        let mut seen = std::collections::HashSet::new();
        let all = self.findings.iter().flat_map(|finding| &finding.evidence);
        all.filter(|evidence| seen.insert((&evidence.cluster, &evidence.value, &evidence.source)))
            .collect()
    }

    /// What was found, unless that only repeats the evidence: `geneve on west, vxlan on east`.
    pub(super) fn found(&self) -> Vec<&'a str> {
        let evidence = self.evidence();
        let mut found = self.texts(|finding| &finding.found);
        found.retain(|text| !repeats(text, &evidence));
        found
    }
}

/// Whether a text says nothing but which of these values is in which of these clusters.
fn repeats(text: &str, evidence: &[&Evidence]) -> bool {
    let known = |word: &str| {
        matches!(word, "on" | "and" | "others")
            || word.bytes().all(|byte| byte.is_ascii_digit())
            || evidence
                .iter()
                .any(|piece| piece.cluster == word || piece.value.split_whitespace().any(|value| value == word))
    };
    !evidence.is_empty() && text.split_whitespace().all(|word| known(word.trim_end_matches(',')))
}

fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = std::collections::HashSet::new();
    texts.filter(|text| seen.insert(*text)).collect()
}

/// Names in a sentence: `east`, `east and west`, `a, b, c and 36 more`.
pub(super) fn names(names: &[&str], most: usize) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [rest @ .., last] if names.len() <= most => format!("{} and {last}", rest.join(", ")),
        _ => {
            let shown = most.saturating_sub(1).max(1);
            format!("{} and {} more", names[..shown].join(", "), names.len() - shown)
        }
    }
}

/// Values in a column: the first ones, and how many more there are: `10.10.0.0/16 +3`.
pub(super) fn short_list<T: AsRef<str>>(values: &[T], most: usize) -> String {
    let shown: Vec<&str> = values.iter().take(most).map(AsRef::as_ref).collect();
    match values.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} +{more}", shown.join(", ")),
    }
}

/// `1 cause`, `3 causes`.
pub(super) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// What stands behind a value that no field says.
pub(super) fn basis_note(basis: &Basis) -> String {
    match basis {
        Basis::Read => String::new(),
        Basis::DefaultOf(version) => format!("(default of {version})"),
        Basis::Declared => "(declared)".to_owned(),
        Basis::Estimate => "(estimate)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use prejoin_checks::facts::provenance::Source;

    use super::*;

    #[test]
    fn what_only_repeats_the_evidence_is_left_out() {
        let source = Source::read("ConfigMap", "key");
        let east = Evidence::new("east", &"vxlan", &source);
        let west = Evidence::new("west", &"geneve", &source);
        let evidence = [&east, &west];
        assert!(repeats("geneve on west, vxlan on east", &evidence));
        assert!(repeats("geneve on west and 12 others, vxlan on east", &evidence));
        assert!(!repeats("geneve on west since yesterday", &evidence));
        assert!(!repeats("on", &[]));
    }

    #[test]
    fn names_and_lists_say_how_many_are_left_out() {
        let many = ["a", "b", "c", "d", "e"];
        assert_eq!(names(&many[..1], 3), "a");
        assert_eq!(names(&many[..3], 3), "a, b and c");
        assert_eq!(names(&many, 3), "a, b and 3 more");
        assert_eq!(short_list(&many, 2), "a, b +3");
        assert_eq!(short_list(&many[..2], 2), "a, b");
        assert_eq!(short_list::<&str>(&[], 2), "");
    }
}
