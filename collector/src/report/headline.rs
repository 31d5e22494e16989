//! The verdict in words: the first line of every report for people.

use std::collections::BTreeMap;

use prejoin_checks::report::Verdict;

use super::view::{View, count, judged, names};

/// The verdict as one word.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Skip => "SKIP",
        Verdict::Warn => "WARN",
        Verdict::Unknown => "UNKNOWN",
        Verdict::Fail => "FAIL",
    }
}

/// The verdict in a sentence, without the word.
pub(super) fn sentence(view: &View<'_>) -> String {
    let mut sentence = match view.verdict {
        Verdict::Fail => failed(view),
        Verdict::Unknown => unknown(view),
        Verdict::Warn | Verdict::Pass | Verdict::Skip => passed(view),
    };
    if !view.compares() {
        sentence.push_str("; nothing was compared, there is one cluster only");
    }
    if view.verdict != Verdict::Fail && view.report.exit_code == 4 {
        sentence.push_str("; --fail-on warn does not accept that");
    }
    if view.verdict == Verdict::Unknown && view.report.exit_code == 0 {
        sentence.push_str("; accepted by --allow-unknown");
    }
    sentence
}

fn failed(view: &View<'_>) -> String {
    let profile = view.profile;
    let (blocked, pairs) = (view.matrix.count(Verdict::Fail), view.matrix.pairs());
    let who = match cluster_names(view).as_slice() {
        [one] => format!("{one} is not ready to be joined with {profile}"),
        [a, b] => format!("{a} and {b} cannot be joined with {profile}"),
        _ if blocked == pairs => format!("none of the {pairs} pairs can be joined with {profile}"),
        _ => format!("{blocked} of {pairs} pairs cannot be joined with {profile}"),
    };
    let causes = count(view.fails.len(), "cause");
    match view.unknowns.len() {
        0 => format!("{who}: {causes}"),
        1 => format!("{who}: {causes}, and 1 thing that is not known"),
        open => format!("{who}: {causes}, and {open} things that are not known"),
    }
}

fn unknown(view: &View<'_>) -> String {
    let profile = view.profile;
    let open = view.matrix.count(Verdict::Unknown);
    let who = match cluster_names(view).as_slice() {
        [] => format!("whether anything can be joined with {profile} is not known"),
        [one] => format!("whether {one} is ready to be joined with {profile} is not known"),
        [a, b] => format!("whether {a} and {b} can be joined with {profile} is not known"),
        _ if open == 0 || open == view.matrix.pairs() => {
            format!("which pairs can be joined with {profile} is not known")
        }
        _ => format!(
            "whether {open} of {} pairs can be joined with {profile} is not known",
            view.matrix.pairs()
        ),
    };
    format!("not a pass: {who}, {}", why_unknown(view))
}

/// Why there is no verdict, as the end of a sentence.
fn why_unknown(view: &View<'_>) -> String {
    match view.unknowns.as_slice() {
        [] => {
            let silent: Vec<&str> = view
                .report
                .clusters
                .iter()
                .filter(|cluster| cluster.unreachable.is_some())
                .map(|cluster| cluster.name.as_str())
                .collect();
            if silent.is_empty() && judged(&view.summary) == 0 {
                "because nothing was judged".to_owned()
            } else {
                format!("because nothing was read of {}", names(&silent, 4))
            }
        }
        [one] => {
            let lead = one.lead();
            let (checks, what) = (
                one.codes().len(),
                if lead.found.is_empty() {
                    &lead.reason
                } else {
                    &lead.found
                },
            );
            format!("because {what} ({} without a verdict)", count(checks, "check"))
        }
        many => {
            let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
            for cause in many {
                *reasons.entry(cause.lead().reason.as_str()).or_default() += 1;
            }
            let mut reasons: Vec<_> = reasons.into_iter().collect();
            reasons.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
            let reasons: Vec<String> = reasons
                .iter()
                .map(|(reason, number)| match number {
                    1 => (*reason).to_owned(),
                    _ => format!("{reason} ({number} times)"),
                })
                .collect();
            format!(
                "because {} things could not be determined: {}",
                many.len(),
                reasons.join(", ")
            )
        }
    }
}

fn passed(view: &View<'_>) -> String {
    let profile = view.profile;
    let who = match cluster_names(view).as_slice() {
        [one] => format!("{one} breaks no rule of {profile}"),
        [a, b] => format!("{a} and {b} can be joined with {profile}"),
        _ => format!("all {} pairs can be joined with {profile}", view.matrix.pairs()),
    };
    let (waived, not_asked) = (view.waived().count(), view.not_asked().count());
    let as_far = if not_asked > 0 { ", as far as was asked" } else { "" };
    let passes = usize::try_from(view.summary.pass).unwrap_or(usize::MAX);
    let mut score = vec![format!("{} passed", count(passes, "check"))];
    if !view.warnings.is_empty() {
        score.push(count(view.warnings.len(), "warning"));
    }
    if waived > 0 {
        score.push(format!("{waived} waived"));
    }
    if not_asked > 0 {
        score.push(format!("{not_asked} not asked"));
    }
    format!("{who}{as_far}: {}", score.join(", "))
}

fn cluster_names<'a>(view: &View<'a>) -> Vec<&'a str> {
    view.report
        .clusters
        .iter()
        .map(|cluster| cluster.name.as_str())
        .collect()
}
