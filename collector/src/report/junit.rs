//! The report as JUnit XML: a suite for each subject (a cluster, a pair, a set), a test case for each check.
//!
//! `fail` is a failure and `unknown` an error, so that neither is ever shown green; what was waived or not asked is skipped, with who
//! answers for it or why. A warning passes with its text as output, unless warnings are to fail.

use std::collections::BTreeMap;
use std::io;

use prejoin_checks::history::drift::Effect;
use prejoin_checks::report::{Finding, Report, Subject, SubjectKind, Verdict};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::view::{View, short_list};
use super::{RenderOptions, change, evidence, headline};

pub(super) fn render(report: &Report, options: &RenderOptions, out: &mut dyn io::Write) -> io::Result<()> {
    let mut suites: BTreeMap<(SubjectKind, String), TestSuite> = BTreeMap::new();
    for finding in &report.findings {
        let name = subject(&finding.subject);
        let suite = suites
            .entry((finding.subject.kind, name.clone()))
            .or_insert_with(|| TestSuite::new(name));
        let case = case(report, finding, options, suite);
        suite.add_test_case(case);
    }
    let mut document = quick_junit::Report::new("prejoin");
    document.add_test_suites(verdicts(report));
    document.add_test_suites(suites.into_values());
    document.add_test_suites(drift(report));
    document.serialize(out).map_err(io::Error::other)
}

/// `east`, `east, west`, `a, b, c, d +36`.
fn subject(subject: &Subject) -> String {
    short_list(&subject.clusters, 4)
}

/// A case for each profile whose verdict no other case shows: nothing was judged, or nothing was read of a cluster.
fn verdicts(report: &Report) -> Option<TestSuite> {
    let mut suite = TestSuite::new("verdict");
    let open = |view: &View<'_>| view.verdict == Verdict::Unknown && view.unknowns.is_empty();
    for view in View::all(report).into_iter().filter(open) {
        let mut status = unknown(report);
        status.set_type(view.verdict.to_string());
        status.set_message(headline::sentence(&view));
        let mut case = TestCase::new("verdict", status);
        case.set_classname(format!("prejoin.{}", view.profile));
        suite.add_test_case(case);
    }
    (suite.tests > 0).then_some(suite)
}

/// A case for each change since an accepted state: one that breaks something is a failure, one that weakens an error, so that drift is never shown green.
fn drift(report: &Report) -> Option<TestSuite> {
    let drift = report.drift.as_ref()?;
    let mut suite = TestSuite::new("drift");
    for line in &drift.lines {
        let mut status = match line.effect {
            Effect::Breaks => TestCaseStatus::non_success(NonSuccessKind::Failure),
            Effect::Weakens => TestCaseStatus::non_success(NonSuccessKind::Error),
            Effect::Mends | Effect::Neutral => TestCaseStatus::success(),
        };
        status.set_type(line.effect.to_string());
        status.set_message(format!("{} {}", line.effect, line.codes.join(" ")).trim_end());
        status.set_description(change::place(line).unwrap_or_default());
        let mut case = TestCase::new(format!("{} {}", line.change.sign(), change::what(line)), status);
        case.set_classname("prejoin.drift");
        suite.add_test_case(case);
    }
    if drift.is_empty() {
        suite.add_test_case(TestCase::new("none", TestCaseStatus::success()));
    }
    Some(suite)
}

/// Not a pass: an error, unless the user takes `unknown` for an answer.
fn unknown(report: &Report) -> TestCaseStatus {
    if report.verdict == Verdict::Unknown && report.exit_code != 5 {
        TestCaseStatus::skipped()
    } else {
        TestCaseStatus::non_success(NonSuccessKind::Error)
    }
}

fn case(report: &Report, finding: &Finding, options: &RenderOptions, suite: &TestSuite) -> TestCase {
    let mut status = status(report, finding, options);
    status.set_type(finding.verdict.to_string());
    status.set_message(message(finding));
    let details = details(finding, options);
    if finding.verdict != Verdict::Skip {
        status.set_description(details.clone());
    }
    let passed = matches!(status, TestCaseStatus::Success { .. });
    let name = format!("{} {}", finding.code, finding.slug);
    let classname = format!("prejoin.{}", finding.profile);
    // Several causes of one check about one subject: each has a name of its own.
    let same = suite.test_cases.iter().filter(|case| {
        let known = case.name.as_str();
        (known == name || known.starts_with(&format!("{name} (")))
            && case.classname.as_ref().is_some_and(|class| class.as_str() == classname)
    });
    let name = match same.count() {
        0 => name,
        others => format!("{name} ({})", others + 1),
    };
    let mut case = TestCase::new(name, status);
    case.set_classname(classname);
    if passed && (finding.verdict != Verdict::Pass || options.verbose) {
        case.set_system_out(format!("{}: {}\n{details}", finding.verdict, message(finding)));
    }
    case
}

fn status(report: &Report, finding: &Finding, options: &RenderOptions) -> TestCaseStatus {
    match finding.verdict {
        _ if finding.waived_by.is_some() => TestCaseStatus::skipped(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Warn if options.fail_on_warn => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Unknown => unknown(report),
        Verdict::Skip => TestCaseStatus::skipped(),
        Verdict::Warn | Verdict::Pass => TestCaseStatus::success(),
    }
}

/// One line: what is wrong, or why there is no verdict.
fn message(finding: &Finding) -> String {
    let what = match (&finding.waived_by, finding.verdict) {
        (Some(waiver), _) => format!("waived by {} until {}: {}", waiver.owner, waiver.until, waiver.reason),
        (None, Verdict::Unknown | Verdict::Skip) => finding.reason.clone(),
        (None, Verdict::Pass) => finding.slug.clone(),
        (None, Verdict::Fail | Verdict::Warn) => finding.title.clone(),
    };
    let parts = [what.as_str(), finding.found.as_str()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

fn details(finding: &Finding, options: &RenderOptions) -> String {
    let mut lines = Vec::new();
    let mut add = |label: &str, text: &str| {
        if !text.is_empty() {
            lines.push(format!("{label}: {text}"));
        }
    };
    add("profile", finding.profile.name());
    add("clusters", &short_list(&finding.subject.clusters, 20));
    add("nodes", &short_list(&finding.subject.nodes, 20));
    add("found", &finding.found);
    add("expected", &finding.expected);
    add("why", &finding.why);
    for line in evidence::lines(&finding.evidence.iter().collect::<Vec<_>>(), true) {
        let parts = [
            line.clusters(),
            line.value,
            line.object,
            line.field.to_owned(),
            line.note,
        ];
        let parts: Vec<&str> = parts
            .iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        add("evidence", &parts.join("  "));
    }
    add("fix", &finding.remedy);
    if let Some(waiver) = &finding.waiver_expired {
        add(
            "waiver",
            &format!("that of {} ended on {}: {}", waiver.owner, waiver.until, waiver.reason),
        );
    }
    if let (Some(command), true) = (&options.command, finding.counts()) {
        add("again", &format!("{command} --only {}", finding.code));
    }
    lines.join("\n")
}
