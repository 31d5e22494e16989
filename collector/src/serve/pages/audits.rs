//! Audits: a run as it happens, and any past one.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::age::{moment, since, took};
use super::layout::{Layout, Tab};
use super::verdict::{badge, sign, summary};
use super::{Answer, Who, findings, fleet, link, show};
use crate::serve::view::audit::{
    AuditFilter, AuditLine, AuditState, ClusterProgress, Progress, ReadState, Step, Trigger,
};
use crate::serve::view::{Actions, AuditList, AuditView, Reader};
use prejoin_checks::report::Verdict;

/// So many audits are on a page.
const PAGE: u32 = 50;

/// Which audits are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    before: Option<String>,
}

/// Audits of all groups.
pub(super) async fn all<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Query(query): Query<ListQuery>,
) -> Answer {
    list(&*server, &who, None, query).await
}

/// Audits of one group.
pub(super) async fn of_group<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path(group): Path<String>,
    Query(query): Query<ListQuery>,
) -> Answer {
    list(&*server, &who, Some(group), query).await
}

async fn list<S: Reader>(server: &S, who: &Who, group: Option<String>, query: ListQuery) -> Answer {
    let filter = AuditFilter {
        group: group.clone(),
        before: query.before,
        limit: Some(PAGE),
    };
    let list = server.audits(&filter).await?;
    let address = group
        .as_deref()
        .map_or_else(|| "/audits".to_owned(), |group| link::in_group(group, "audits"));
    let content = html! {
        h1 { "Audits" }
        section #audits data-live="" { (table(&list, group.is_none())) }
        @if let Some(next) = &list.next {
            p { a href=(link::query(&address, &[("before", Some(next))])) { "Earlier ones" } }
        }
    };
    let layout = Layout::new("Audits")
        .shown(list.shown_at, who)
        .live(group.as_deref(), None);
    Ok(match &group {
        Some(group) => layout.of_group(group, Tab::Audits).page(&content),
        None => layout.page(&content),
    })
}

fn table(list: &AuditList, groups: bool) -> Markup {
    html! {
        @if list.audits.is_empty() { p.note { "None yet." } } @else {
            div.scroll tabindex="0" role="region" aria-label="Audits" {
                table.list {
                    thead {
                        tr {
                            th scope="col" { "Began" }
                            @if groups { th scope="col" { "Group" } }
                            th scope="col" { "Result" } th scope="col" { "Findings" } th scope="col" { "Took" } th scope="col" { "Asked for by" }
                        }
                    }
                    tbody { @for line in &list.audits { (row(line, groups, list.shown_at)) } }
                }
            }
        }
    }
}

fn row(line: &AuditLine, groups: bool, at: Timestamp) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(link::audit(&line.id)) { @if let Some(started) = line.started_at { (moment(started)) } @else { "not yet" } } }
            @if groups { td { a href=(link::group(&line.group)) { (show(&line.group)) } } }
            td { (result(line)) }
            td { @if let Some(counts) = &line.summary { (summary(counts)) } @else if let Some(why) = &line.failure { (show(why)) } }
            td.number { (duration(line, at)) }
            td { (trigger(&line.trigger)) }
        }
    }
}

fn result(line: &AuditLine) -> Markup {
    match (line.state, line.verdict) {
        (AuditState::Done, Some(verdict)) => badge(verdict),
        (AuditState::Done, None) => html! { "done" },
        (AuditState::Waiting, _) => html! { span.badge { "waiting" } },
        (AuditState::Running, _) => html! { span.badge.running { span aria-hidden="true" { "▸ " } "running" } },
        (AuditState::Failed, _) => html! { span.badge.fail { span aria-hidden="true" { "✗ " } "no report" } },
    }
}

fn duration(line: &AuditLine, at: Timestamp) -> String {
    let end = match line.state {
        AuditState::Running => Some(at),
        _ => line.ended_at,
    };
    line.started_at
        .zip(end)
        .map_or_else(String::new, |(start, end)| took(end.duration_since(start)))
}

fn trigger(trigger: &Trigger) -> Markup {
    html! { @match trigger { Trigger::Schedule => "schedule", Trigger::User { name } => (show(name)) } }
}

/// One audit.
pub(super) async fn one<S: Reader + Actions>(State(server): State<Arc<S>>, who: Who, Path(id): Path<String>) -> Answer {
    let view = server.audit(&id).await?;
    let line = &view.line;
    let at = view.shown_at;
    let open = matches!(line.state, AuditState::Waiting | AuditState::Running);
    let content = html! {
        article #audit data-live="" {
            (head(&view, open))
            @if let Some(progress) = &view.progress { (steps(progress, line.state)) }
            @if let Some(coverage) = &view.coverage {
                p.facts {
                    @if let Some(counts) = &line.summary { (summary(counts)) }
                    span { "facts " (coverage.facts) } span { "flows " (coverage.flows) } span { "checks " (coverage.checks) }
                    span { "agents heard " (fleet::agents(view.agents)) }
                }
            }
            @if view.has_report || view.has_bundle {
                p.facts {
                    @if view.has_report { a href=(link::path(&["api", "v1", "audits", &line.id, "report"])) download { "Report (JSON)" } }
                    @if view.has_bundle { a href=(link::path(&["api", "v1", "audits", &line.id, "bundle"])) download { "Bundle: facts and observations (JSON)" } }
                }
            }
            div.columns.even {
                @if line.state == AuditState::Done {
                    div {
                        h2 { "Causes" }
                        @if view.causes.is_empty() { p.note { "None." } }
                        (findings::lines(&line.group, &view.causes, at))
                    }
                }
                div {
                    h2 { "Clusters" }
                    (clusters(&line.group, &view.clusters))
                    @if !view.changes.is_empty() {
                        h2 { "Against the audit before" }
                        ul.changes { @for change in &view.changes { (fleet::one_change(&line.group, change, at)) } }
                    }
                }
            }
        }
    };
    let layout = Layout::new(format!("Audit of {}", line.group))
        .of_group(&line.group, Tab::Audits)
        .shown(at, &who);
    Ok(if open { layout.live(None, Some(&id)) } else { layout }.page(&content))
}

fn head(view: &AuditView, open: bool) -> Markup {
    let line = &view.line;
    html! {
        div.headline {
            h1 { (result(line)) " Audit of " a href=(link::group(&line.group)) { (show(&line.group)) } }
            @for sentence in view.headline.lines() { p.sentence { (show(sentence)) } }
            @if let Some(why) = &line.failure { p.notice.fail { span aria-hidden="true" { "✗ " } "It ended without a report: " (show(why)) } }
            p.facts {
                @if let Some(started) = line.started_at { span { "began " (moment(started)) ", " (since(started, view.shown_at)) } }
                @if !open { @let took = duration(line, view.shown_at); @if !took.is_empty() { span { "took " (took) } } }
                span { "asked for by " (trigger(&line.trigger)) }
                span { @for profile in &view.profiles { (profile) " " } }
                span { "probes: " (format!("{:?}", view.probe).to_lowercase()) }
                span { code { (show(&line.id)) } }
                @if open { a href="" { "Reload" } }
            }
        }
    }
}

fn steps(progress: &Progress, state: AuditState) -> Markup {
    html! {
        ol.steps {
            @for step in Step::ALL {
                @let past = step < progress.step;
                @let current = step == progress.step;
                li.past[past].current[current] aria-current=[current.then_some("step")] {
                    span aria-hidden="true" { @if past { "✓ " } @else if current && state == AuditState::Failed { "✗ " } @else if current { "▸ " } @else { "· " } }
                    (step_name(step))
                    span.unseen { @if past { ": done" } @else if current { ": now" } @else { ": to come" } }
                }
            }
        }
        @if progress.probes > 0 {
            p {
                label for="probes" { (progress.finished) " of " (progress.probes) " probes finished" } " "
                progress #probes max=(progress.probes) value=(progress.finished.min(progress.probes)) {}
            }
        }
        @if !progress.waiting_for.is_empty() {
            p.note {
                "Waiting for "
                @for (place, who) in progress.waiting_for.iter().take(5).enumerate() { @if place > 0 { ", " } (show(who)) }
                @if progress.waiting_for.len() > 5 { " and " (progress.waiting_for.len() - 5) " more" }
            }
        }
    }
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Gather => "read clusters",
        Step::Plan => "plan probes",
        Step::Probe => "probe",
        Step::Judge => "judge",
        Step::Record => "write down",
    }
}

fn clusters(group: &str, clusters: &[ClusterProgress]) -> Markup {
    html! {
        ul.plain {
            @for cluster in clusters {
                li {
                    @match cluster.state {
                        ReadState::Read => (sign(Verdict::Pass)),
                        ReadState::Partly => (sign(Verdict::Unknown)),
                        ReadState::Unreachable => (sign(Verdict::Fail)),
                        ReadState::Reading => span.sign aria-hidden="true" { "▸" },
                        ReadState::Waiting => span.sign aria-hidden="true" { "·" },
                    }
                    " " a href=(link::cluster(group, &cluster.name)) { (show(&cluster.name)) }
                    span.note {
                        @match cluster.state {
                            ReadState::Read => " read",
                            ReadState::Partly => " read in part",
                            ReadState::Unreachable => " not read",
                            ReadState::Reading => " being read",
                            ReadState::Waiting => " waits",
                        }
                    }
                    @if !cluster.detail.is_empty() { p.note { (show(&cluster.detail)) } }
                }
            }
        }
    }
}
