//! Drift: what changed against what was accepted, and what that does.

use std::sync::Arc;

use axum::extract::{Path, State};
use jiff::Timestamp;
use maud::{Markup, html};
use prejoin_checks::diff::Change;

use super::age::{freshness, is_current, moment, since};
use super::layout::{Layout, Tab};
use super::{Answer, Who, allowed, count, link, show};
use crate::serve::access::{Role, Visitor};
use crate::serve::view::drift::{DriftLine, Effect};
use crate::serve::view::{Actions, DriftView, Reader};

pub(super) async fn page<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path(group): Path<String>,
) -> Answer {
    let view = server.drift(&group).await?;
    let at = view.freshness.shown_at;
    let content = html! {
        section #drift data-live="" {
            div.headline.stale[!is_current(&view.freshness)] {
                h1 { "Drift" }
                (baseline(&view))
                p.facts { (freshness(&view.freshness)) @if let Some(audit) = &view.audit { span { a href=(link::audit(audit)) { "this audit" } } } }
            }
            @if view.baseline.is_some() {
                @if view.lines.is_empty() && view.audit.is_some() { p { "No differences." } }
                @for effect in [Effect::Breaks, Effect::Weakens, Effect::Neutral, Effect::Mends] {
                    (lines(effect, &view, at))
                }
            }
        }
        @if let Some(visitor) = allowed(&who, Role::Operator) { (accept(&view, visitor)) }
    };
    Ok(Layout::new("Drift")
        .of_group(&group, Tab::Drift)
        .shown(at, &who)
        .live(Some(&group), None)
        .page(&content))
}

fn baseline(view: &DriftView) -> Markup {
    html! {
        @match &view.baseline {
            None => p.sentence { "Nothing was accepted as right yet: whether anything has drifted is not known." },
            Some(baseline) => p.sentence {
                "Compared with " a href=(link::audit(&baseline.audit)) { "the audit of " (moment(baseline.as_of)) }
                ", accepted by " b { (show(&baseline.accepted_by)) } " on " (moment(baseline.accepted_at))
                @if !baseline.note.is_empty() { ": " (show(&baseline.note)) }
            },
        }
    }
}

/// What an effect is called, the sign before it, and its colour.
fn words(effect: Effect) -> (&'static str, &'static str, &'static str) {
    match effect {
        Effect::Breaks => ("Breaks a check", "✗", "fail"),
        Effect::Weakens => ("Weakens the evidence", "?", "unknown"),
        Effect::Neutral => ("Changes no verdict", "·", ""),
        Effect::Mends => ("Mends a check", "✓", "pass"),
    }
}

fn lines(effect: Effect, view: &DriftView, at: Timestamp) -> Markup {
    let lines: Vec<&DriftLine> = view.lines.iter().filter(|line| line.effect == effect).collect();
    if lines.is_empty() {
        return html! {};
    }
    let (title, sign, tone) = words(effect);
    html! {
        h2 { span class={ "sign " (tone) } aria-hidden="true" { (sign) } " " (title) span.note { " " (count(lines.len(), "difference")) } }
        div.scroll tabindex="0" role="region" aria-label=(title) {
            table.list.drift {
                thead {
                    tr {
                        th scope="col" { span.unseen { "Change" } } th scope="col" { "Cluster" } th scope="col" { "What" }
                        th scope="col" { "Was" } th scope="col" { "Is" } th scope="col" { "Checks" } th scope="col" { "First seen" }
                    }
                }
                tbody { @for line in lines { (one(&view.group, line, at)) } }
            }
        }
    }
}

fn one(group: &str, line: &DriftLine, at: Timestamp) -> Markup {
    let word = match line.change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Changed => "changed",
    };
    html! {
        tr {
            td.change { span aria-hidden="true" title=(word) { (line.change.sign()) } span.unseen { (word) } }
            td { @if !line.cluster.is_empty() { a href=(link::cluster(group, &line.cluster)) { (show(&line.cluster)) } } }
            th scope="row" { code { (show(&line.path)) } @if !line.object.is_empty() { p.note { (show(&line.object)) } } }
            td.value { (value(line.old.as_deref())) }
            td.value { (value(line.new.as_deref())) }
            td { @for code in &line.codes { a href=(link::query(&link::in_group(group, "findings"), &[("code", Some(code))])) { code { (show(code)) } } " " } }
            td { (since(line.first_seen, at)) }
        }
    }
}

fn value(value: Option<&str>) -> Markup {
    html! { @match value { Some(value) => code { (show(value)) }, None => span.note { "–" } } }
}

fn accept(view: &DriftView, visitor: &Visitor) -> Markup {
    let (Some(csrf), Some(audit)) = (visitor.csrf.as_deref(), view.audit.as_deref()) else {
        return html! {};
    };
    html! {
        details.form #accept {
            summary { "Accept the state of that audit as what is right" }
            form method="post" action={ (link::in_group(&view.group, "baseline")) } {
                input type="hidden" name="csrf" value=(csrf);
                input type="hidden" name="audit" value=(audit);
                label for="note" { "Why" }
                input #note type="text" name="note" maxlength="500" size="60";
                button type="submit" { "Accept" }
            }
        }
    }
}
