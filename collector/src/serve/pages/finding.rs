//! One finding: expected, found, where that was read, what to change, how it went, how to ask again.

use std::sync::Arc;

use axum::extract::{Path, State};
use jiff::{Timestamp, ToSpan};
use maud::{Markup, html};
use prejoin_checks::catalog;
use prejoin_checks::facts::provenance::Basis;
use prejoin_checks::report::{Evidence, Finding, Verdict};

use super::age::{freshness, is_current, moment, since};
use super::layout::{Layout, Tab};
use super::verdict::{badge, class, sign, word};
use super::{Answer, Who, allowed, count, findings, link, show};
use crate::catalogue::page::{Block, blocks};
use crate::serve::access::{Role, Visitor};
use crate::serve::view::finding::LifeState;
use crate::serve::view::{Actions, FindingView, Life, Reader};

/// A waiver is proposed for so many days.
const WAIVE_DAYS: i64 = 30;
/// So many pieces of evidence are shown at once; more open in place.
const EVIDENCE: usize = 24;

pub(super) async fn page<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path((group, key)): Path<(String, String)>,
) -> Answer {
    let view = server.finding(&group, &key).await?;
    let at = view.freshness.shown_at;
    let finding = &view.finding;
    let content = html! {
        article #finding data-live="" {
            (head(&view))
            div.columns {
                div.wide {
                    (compared(finding))
                    (evidence(finding))
                    @if !finding.why.is_empty() { h2 { "Why it matters" } p { (show(&finding.why)) } }
                    @if !finding.remedy.is_empty() { h2 { "What to change" } p.remedy { (show(&finding.remedy)) } }
                    h2 { "Ask just this again" }
                    pre tabindex="0" { code { (show(&view.rerun)) } }
                    (rule(&finding.code))
                }
                div.side {
                    (life(&view, at))
                    @if !view.same_cause.is_empty() {
                        h2 { "Same cause" }
                        (findings::lines(&group, &view.same_cause, at))
                    }
                }
            }
        }
        @if let Some(visitor) = allowed(&who, Role::Operator) { (waive(&view, visitor)) }
    };
    let title = if finding.title.is_empty() {
        finding.code.clone()
    } else {
        format!("{} {}", finding.code, finding.title)
    };
    Ok(Layout::new(title)
        .of_group(&group, Tab::Findings)
        .shown(at, &who)
        .live(Some(&group), None)
        .page(&content))
}

fn head(view: &FindingView) -> Markup {
    let finding = &view.finding;
    let subject = &finding.subject;
    html! {
        div.headline.stale[!is_current(&view.freshness)] {
            h1 { (badge(finding.verdict)) " " code { (show(&finding.code)) } " " (show(if finding.title.is_empty() { &finding.slug } else { &finding.title })) }
            p.sentence {
                @for (place, cluster) in subject.clusters.iter().enumerate().take(8) {
                    @if place > 0 { ", " }
                    a href=(link::cluster(&view.group, cluster)) { (show(cluster)) }
                }
                @if subject.clusters.len() > 8 { " and " (subject.clusters.len() - 8) " more" }
                @if let [a, b] = subject.clusters.as_slice() { " (" a href=(link::pair(&view.group, a, b)) { "this pair" } ")" }
                @if !subject.nodes.is_empty() { ", " (count(subject.nodes.len(), "node")) ": " (findings::names(&subject.nodes)) }
            }
            p.facts {
                (freshness(&view.freshness))
                span { a href=(link::audit(&view.audit)) { "this audit" } }
                span { (finding.profile) }
            }
            @if let Some(waiver) = &finding.waived_by {
                p.notice { "Waived by " b { (show(&waiver.owner)) } " until " (waiver.until) ": " (show(&waiver.reason)) }
            }
            @if let Some(waiver) = &finding.waiver_expired {
                p.notice.warn { span aria-hidden="true" { "! " } "A waiver by " b { (show(&waiver.owner)) } " ended on " (waiver.until) ": it counts again" }
            }
        }
    }
}

fn compared(finding: &Finding) -> Markup {
    html! {
        dl.compared {
            @if !finding.expected.is_empty() { dt { "Expected" } dd { (show(&finding.expected)) } }
            @if !finding.found.is_empty() { dt { "Found" } dd class=(class(finding.verdict)) { (show(&finding.found)) } }
            @if !finding.reason.is_empty() { dt { "No verdict" } dd { (show(&finding.reason)) } }
        }
    }
}

fn evidence(finding: &Finding) -> Markup {
    if finding.evidence.is_empty() {
        return html! {};
    }
    let (shown, more) = finding.evidence.split_at(finding.evidence.len().min(EVIDENCE));
    html! {
        h2 #evidence { "How do you know" }
        (evidence_table(shown))
        @if !more.is_empty() {
            details #more-evidence { summary { (more.len()) " more" } (evidence_table(more)) }
        }
    }
}

fn evidence_table(evidence: &[Evidence]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Evidence" {
            table.list.evidence {
                thead { tr { th scope="col" { "Cluster" } th scope="col" { "Value" } th scope="col" { "Read in" } } }
                tbody {
                    @for piece in evidence {
                        tr {
                            th scope="row" { (show(&piece.cluster)) }
                            td.address { (show(&piece.value)) @if piece.value.is_empty() { "\"\"" } }
                            td {
                                (show(&piece.source.object)) " " code { (show(&piece.source.field)) }
                                @match &piece.source.basis {
                                    Basis::Read => "",
                                    Basis::DefaultOf(version) => span.note { " default of " (show(version)) },
                                    Basis::Declared => span.note { " declared" },
                                    Basis::Estimate => span.note { " estimate" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn life(view: &FindingView, at: Timestamp) -> Markup {
    html! {
        h2 { "History" }
        @if let Some(life) = &view.life { (life_table(life, at)) } @else { p.note { "It was never broken in the audits that are kept." } }
        @if !view.history.is_empty() {
            ol.history {
                @for event in &view.history {
                    li {
                        @match event.verdict {
                            Some(verdict) => (sign(verdict)),
                            None => span.sign aria-hidden="true" { "·" },
                        }
                        div {
                            a href=(link::audit(&event.audit)) { (moment(event.at)) }
                            @if let Some(verdict) = event.verdict { " " (word(verdict)) }
                            p.note { (show(&event.text)) }
                        }
                    }
                }
            }
        }
    }
}

fn life_table(life: &Life, at: Timestamp) -> Markup {
    let state = match life.state {
        LifeState::New => "new: the latest audit is the first that saw it",
        LifeState::Open => "open",
        LifeState::Flapping => "comes and goes",
        LifeState::Waived => "waived",
        LifeState::Resolved => "resolved",
    };
    html! {
        dl.pairs {
            dt { "State" } dd { (state) }
            dt { "First seen" } dd { (moment(life.first_seen)) ", " (since(life.first_seen, at)) }
            dt { "Last seen" } dd { (moment(life.last_seen)) ", " (since(life.last_seen, at)) }
            @if let Some(resolved_at) = life.resolved_at { dt { "Resolved" } dd { (moment(resolved_at)) ", " (since(resolved_at, at)) } }
            dt { "Seen by" } dd { (count(life.times_seen, "audit")) }
            dt { "Changed" } dd { (count(life.changes, "time")) }
        }
    }
}

/// What the catalogue says about the rule.
fn rule(code: &str) -> Markup {
    let Some(check) = catalog::find(code) else {
        return html! {};
    };
    html! {
        details #rule {
            summary { "About this rule" }
            div.prose { @for block in blocks(check.documentation) { (prose(&block)) } }
        }
    }
}

fn prose(block: &Block) -> Markup {
    match block {
        Block::Heading(text) => html! { h3 { (text) } },
        Block::Paragraph(text) => html! { p { (text) } },
        Block::Item(mark, text) => html! { p.item { (mark) " " (text) } },
        Block::Verbatim(line) => html! { pre { (line) } },
    }
}

fn waive(view: &FindingView, visitor: &Visitor) -> Markup {
    let Some(csrf) = visitor.csrf.as_deref() else {
        return html! {};
    };
    let waivable = matches!(view.finding.verdict, Verdict::Fail | Verdict::Warn) && view.finding.waived_by.is_none();
    if !waivable {
        return html! {};
    }
    let until = view
        .freshness
        .shown_at
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
        .saturating_add(WAIVE_DAYS.days());
    html! {
        details.form #waive {
            summary { "Answer for it until a day" }
            form method="post" action={ (link::finding(&view.group, &view.key)) "/waive" } {
                input type="hidden" name="csrf" value=(csrf);
                label for="reason" { "Why it may stay as it is" }
                input #reason type="text" name="reason" required maxlength="500" size="60";
                label for="until" { "Last day (UTC)" }
                input #until type="date" name="until" required value=(until);
                button type="submit" { "Waive" }
            }
        }
    }
}
