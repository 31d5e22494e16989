//! Lists of findings.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use maud::{Markup, html};
use prejoin_checks::report::Verdict;
use serde::Deserialize;

use super::age::{freshness, since};
use super::layout::{Layout, Tab};
use super::verdict::{class, sign, symbol, word};
use super::{Answer, Who, count, link, show};
use crate::serve::view::finding::{FindingFilter, LifeState};
use crate::serve::view::{Actions, FindingLine, Life, Reader};

/// So many findings are on a page.
const PAGE: u32 = 100;
/// So many clusters of a finding are named.
const NAMED: usize = 4;

/// Which findings are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    verdict: Option<Verdict>,
    code: Option<String>,
    cluster: Option<String>,
    after: Option<String>,
}

/// The findings of a group.
pub(super) async fn page<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path(group): Path<String>,
    Query(query): Query<ListQuery>,
) -> Answer {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let filter = FindingFilter {
        verdicts: query.verdict.map_or_else(
            || vec![Verdict::Fail, Verdict::Unknown, Verdict::Warn],
            |verdict| vec![verdict],
        ),
        code: some(&query.code),
        cluster: some(&query.cluster),
        states: Vec::new(),
        after: query.after.clone(),
        limit: Some(PAGE),
    };
    let list = server.findings(&group, &filter).await?;
    let address = link::in_group(&group, "findings");
    let with = |verdict: Option<Verdict>, after: Option<&str>| {
        let verdict = verdict.map(|verdict| verdict.to_string());
        link::query(
            &address,
            &[
                ("verdict", verdict.as_deref()),
                ("code", filter.code.as_deref()),
                ("cluster", filter.cluster.as_deref()),
                ("after", after),
            ],
        )
    };
    let at = list.freshness.shown_at;
    let content = html! {
        h1 { "Findings" }
        p.facts { (freshness(&list.freshness)) span { (count(list.total, "finding")) } }
        div.choice {
            nav aria-label="Which findings" {
                a href=(with(None, None)) aria-current=[query.verdict.is_none().then_some("true")] { "All that count" }
                @for verdict in [Verdict::Fail, Verdict::Unknown, Verdict::Warn, Verdict::Pass, Verdict::Skip] {
                    a href=(with(Some(verdict), None)) aria-current=[(query.verdict == Some(verdict)).then_some("true")] {
                        span class={ "sign " (class(verdict)) } aria-hidden="true" { (symbol(verdict)) } " " (word(verdict))
                    }
                }
            }
            form method="get" action=(address) role="search" {
                @if let Some(verdict) = query.verdict { input type="hidden" name="verdict" value=(verdict); }
                label for="code" { "Check" }
                input #code type="search" name="code" value=[filter.code.as_deref()] size="8";
                label for="cluster" { "Cluster" }
                input #cluster type="search" name="cluster" value=[filter.cluster.as_deref()] size="14";
                button type="submit" { "Find" }
            }
        }
        section #findings data-live="" {
            @if list.findings.is_empty() { p.note { "None." } }
            (lines(&group, &list.findings, at))
        }
        @if let Some(next) = &list.next {
            p { a href=(with(query.verdict, Some(next))) { "Next " (PAGE) } }
        }
    };
    Ok(Layout::new("Findings")
        .of_group(&group, Tab::Findings)
        .shown(at, &who)
        .live(Some(&group), None)
        .page(&content))
}

/// Findings in a list.
pub(super) fn lines<'a>(group: &str, findings: impl IntoIterator<Item = &'a FindingLine>, at: Timestamp) -> Markup {
    html! {
        ul.findings {
            @for finding in findings {
                li class=(class(finding.verdict)) {
                    (sign(finding.verdict))
                    div {
                        a href=(link::finding(group, &finding.key)) { code { (show(&finding.code)) } " " (show(title(finding))) }
                        @let text = detail(finding);
                        @if !text.is_empty() { p.detail { (show(text)) } }
                        p.note { (about(finding)) @if let Some(life) = &finding.life { " · " (life_in_short(life, at)) } }
                    }
                }
            }
        }
    }
}

/// Findings in a list, those that are not known for one reason as one item.
pub(super) fn folded(group: &str, findings: &[FindingLine], at: Timestamp) -> Markup {
    let (unknown, known): (Vec<&FindingLine>, Vec<&FindingLine>) =
        findings.iter().partition(|finding| finding.verdict == Verdict::Unknown);
    let mut reasons: Vec<(&str, Vec<&FindingLine>)> = Vec::new();
    for finding in unknown {
        let why = detail(finding);
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, alike)) => alike.push(finding),
            None => reasons.push((why, vec![finding])),
        }
    }
    html! {
        (lines(group, known, at))
        @if !reasons.is_empty() {
            ul.findings {
                @for (why, alike) in &reasons {
                    li.unknown {
                        (sign(Verdict::Unknown))
                        div {
                            b { "Not known: " (show(why)) }
                            p.note {
                                (count(alike.len(), "check")) ": "
                                @for finding in alike {
                                    a href=(link::finding(group, &finding.key)) title={ (show(title(finding))) ", " (show(&finding.clusters.join(", "))) } {
                                        code { (show(&finding.code)) }
                                    }
                                    " "
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What is wrong, or what could not be told.
pub(super) fn title(finding: &FindingLine) -> &str {
    if finding.title.is_empty() {
        &finding.cause
    } else {
        &finding.title
    }
}

fn detail(finding: &FindingLine) -> &str {
    if finding.found.is_empty() {
        &finding.reason
    } else {
        &finding.found
    }
}

fn about(finding: &FindingLine) -> Markup {
    html! {
        (names(&finding.clusters))
        @if !finding.nodes.is_empty() { " · " (count(finding.nodes.len(), "node")) }
        @if finding.clusters.len() > 1 && finding.pairs > 1 { " · " (count(finding.pairs, "pair")) }
        @if let Some(until) = finding.waived_until { " · waived until " (until) }
    }
}

/// The first names, and how many more there are.
pub(super) fn names(names: &[String]) -> Markup {
    html! {
        @for (place, name) in names.iter().take(NAMED).enumerate() {
            @if place > 0 { ", " } (show(name))
        }
        @if names.len() > NAMED { " and " (names.len() - NAMED) " more" }
    }
}

/// What a finding's life is now: `new`, `for 3 h`, `comes and goes`.
pub(super) fn life_in_short(life: &Life, at: Timestamp) -> Markup {
    match life.state {
        LifeState::New => html! { b { "new" } ", " (since(life.first_seen, at)) },
        LifeState::Open | LifeState::Waived => html! { "first seen " (since(life.first_seen, at)) },
        LifeState::Flapping => {
            html! { b { "comes and goes" } ", " (count(life.changes, "change")) ", last seen " (since(life.last_seen, at)) }
        }
        LifeState::Resolved => html! {
            "resolved" @if let Some(resolved_at) = life.resolved_at { " " (since(resolved_at, at)) }
        },
    }
}
