//! Verdicts as symbols with words: colour never stands alone.

use maud::{Markup, html};
use prejoin_checks::report::paths::PathOutcome;
use prejoin_checks::report::{Summary, Verdict};

/// The class that gives a verdict its colour.
pub(super) fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Skip => "skip",
        Verdict::Warn => "warn",
        Verdict::Unknown => "unknown",
        Verdict::Fail => "fail",
    }
}

/// The verdict as one word, as reports on a terminal have it.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Skip => "SKIP",
        Verdict::Warn => "WARN",
        Verdict::Unknown => "UNKNOWN",
        Verdict::Fail => "FAIL",
    }
}

/// The verdict as one character.
pub(super) fn symbol(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Skip => "–",
        Verdict::Warn => "!",
        Verdict::Unknown => "?",
        Verdict::Fail => "✗",
    }
}

/// What a verdict means for a pair of clusters.
pub(super) fn of_pair(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fail => "blocked",
        Verdict::Unknown => "not known",
        Verdict::Warn => "warnings",
        Verdict::Pass | Verdict::Skip => "nothing against it",
    }
}

/// Symbol and word.
pub(super) fn badge(verdict: Verdict) -> Markup {
    html! {
        span class={ "badge " (class(verdict)) } { span aria-hidden="true" { (symbol(verdict)) } " " (word(verdict)) }
    }
}

/// The symbol alone, the word for those who do not see it.
pub(super) fn sign(verdict: Verdict) -> Markup {
    html! {
        span class={ "sign " (class(verdict)) } {
            span aria-hidden="true" title=(word(verdict)) { (symbol(verdict)) }
            span.unseen { (word(verdict)) " " }
        }
    }
}

/// The verdict that a probe's outcome looks like.
pub(super) fn of_outcome(outcome: PathOutcome) -> Verdict {
    match outcome {
        PathOutcome::Proven => Verdict::Pass,
        PathOutcome::Unknown => Verdict::Unknown,
        PathOutcome::Failed => Verdict::Fail,
    }
}

/// The word for a probe's outcome.
pub(super) fn outcome_word(outcome: PathOutcome) -> &'static str {
    match outcome {
        PathOutcome::Proven => "proven",
        PathOutcome::Unknown => "not known",
        PathOutcome::Failed => "failed",
    }
}

/// Findings by verdict, as the last line of a report has them.
pub(super) fn summary(summary: &Summary) -> Markup {
    let counts = [
        (Verdict::Fail, summary.fail, "fail"),
        (Verdict::Unknown, summary.unknown, "unknown"),
        (Verdict::Warn, summary.warn, "warn"),
        (Verdict::Pass, summary.pass, "pass"),
    ];
    html! {
        span.counts {
            @for (verdict, number, word) in counts {
                span class=[(number > 0).then(|| class(verdict))] { b { (number) } " " (word) } " "
            }
            @if summary.waived > 0 { span { b { (summary.waived) } " waived" } " " }
            span { b { (summary.skip) } " skip" }
        }
    }
}
