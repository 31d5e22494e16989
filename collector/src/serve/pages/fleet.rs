//! The fleet: which clusters can be joined with which, why not, what changed, and how old that is.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use maud::{Markup, html};
use prejoin_checks::report::Verdict;

use super::age::{freshness, is_current, moment, since};
use super::findings;
use super::layout::{Layout, Tab};
use super::matrix::{self, MatrixQuery};
use super::verdict::{badge, class, of_pair, sign, summary, symbol, word};
use super::{Answer, Who, allowed, count, link, show};
use crate::serve::access::{Role, Visitor};
use crate::serve::view::fleet::{AgentCount, ChangeKind, ClusterRow, Connection, Group, GroupChange};
use crate::serve::view::{Actions, Reader};

/// So many causes and changes of each group stand on the page of all groups.
const BRIEF: usize = 5;
/// Up to so many clusters are listed without being asked for.
const FEW: usize = 16;

/// All groups.
pub(super) async fn fleet<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Query(query): Query<MatrixQuery>,
) -> Answer {
    let fleet = server.fleet().await?;
    let several = fleet.groups.len() > 1;
    let content = html! {
        h1.unseen { "Fleet" }
        @if fleet.groups.is_empty() {
            p { "No group of clusters is configured. " code { "groups:" } " in prejoin.yaml names them." }
        }
        @if several { (overview(&fleet.groups, fleet.shown_at)) }
        @for group in &fleet.groups {
            (section(group, fleet.shown_at, &query, several.then_some(BRIEF), allowed(&who, Role::Operator)))
        }
    };
    Ok(Layout::new("Fleet")
        .shown(fleet.shown_at, &who)
        .live(None, None)
        .page(&content))
}

/// One group.
pub(super) async fn group<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path(name): Path<String>,
    Query(query): Query<MatrixQuery>,
) -> Answer {
    let group = server.group(&name).await?;
    let at = group.freshness.shown_at;
    let content = html! {
        h1.unseen { (show(&group.name)) }
        (section(&group, at, &query, None, allowed(&who, Role::Operator)))
    };
    Ok(Layout::new(&name)
        .of_group(&name, Tab::Overview)
        .shown(at, &who)
        .live(Some(&name), None)
        .page(&content))
}

fn overview(groups: &[Group], at: Timestamp) -> Markup {
    html! {
        section #groups data-live="" {
            div.scroll tabindex="0" role="region" aria-label="Groups" {
                table.list {
                    thead {
                        tr {
                            th scope="col" { "Group" } th scope="col" { "Verdict" } th scope="col" { "Clusters" }
                            th scope="col" { "Pairs blocked" } th scope="col" { "Agents heard" } th scope="col" { "Shown is" }
                        }
                    }
                    tbody {
                        @for group in groups {
                            @let pairs: usize = group.matrices.iter().map(|matrix| matrix.cells.len()).sum();
                            @let blocked: usize = group.matrices.iter().map(|matrix| matrix.count(Verdict::Fail)).sum();
                            tr.stale[!is_current(&group.freshness)] {
                                th scope="row" { a href=(link::group(&group.name)) { (show(&group.name)) } }
                                td { (badge(group.verdict)) }
                                td.number { (group.clusters.len()) }
                                td.number { (blocked) " of " (pairs) }
                                td.number { (agents(group.agents)) }
                                td {
                                    @match group.freshness.as_of {
                                        Some(as_of) => {
                                            @if !is_current(&group.freshness) { span.old { "! OLD " } }
                                            (since(as_of, at))
                                        }
                                        None => span.old { "? never audited" },
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Everything about one group; with `brief`, only so many lines of each list.
fn section(
    group: &Group,
    at: Timestamp,
    query: &MatrixQuery,
    brief: Option<usize>,
    operator: Option<&Visitor>,
) -> Markup {
    let address = if brief.is_some() {
        "/".to_owned()
    } else {
        link::group(&group.name)
    };
    let most = brief.unwrap_or(usize::MAX);
    html! {
        section.group id={ "group-" (link::path(&[&group.name])) } data-live="" {
            (head(group, at, brief.is_some(), operator))
            @if group.freshness.as_of.is_some() {
                div.columns {
                    div.wide {
                        @for matrix in &group.matrices {
                            h3 { "Joined with " (matrix.profile) }
                            (matrix::pairs(&group.name, &address, matrix, query))
                        }
                        (causes(group, at, most))
                    }
                    div.side { (changes(&group.name, &group.changes, at, most)) }
                }
                @if brief.is_none() { (clusters(group, at)) }
            }
        }
    }
}

fn head(group: &Group, at: Timestamp, linked: bool, operator: Option<&Visitor>) -> Markup {
    html! {
        div.headline.stale[!is_current(&group.freshness)] {
            h2 {
                (badge(group.verdict)) " "
                @if linked { a href=(link::group(&group.name)) { (show(&group.name)) } } @else { (show(&group.name)) }
            }
            @for line in group.headline.lines() { p.sentence { (show(line)) } }
            p.facts {
                (freshness(&group.freshness))
                @if let Some(audit) = &group.audit { span { a href=(link::audit(audit)) { "this audit" } } }
                @if let Some(running) = &group.running {
                    span.running { a href=(link::audit(running)) { "an audit is running" } }
                } @else if let Some(next) = group.next_run {
                    span { "next " (since(next, at)) }
                }
                @if let Some(schedule) = &group.schedule { span { (show(schedule)) } }
            }
            @if group.freshness.as_of.is_some() {
                p.facts {
                    (summary(&group.summary))
                    span { "facts " (group.coverage.facts) }
                    span { "flows " (group.coverage.flows) }
                    @if group.coverage.not_asked > 0 { span { (group.coverage.not_asked) " not asked" } }
                    span.warn[group.agents.heard < group.agents.expected] { "agents heard " (agents(group.agents)) }
                }
            }
            @if let Some(failure) = &group.last_failure {
                p.notice.fail {
                    span aria-hidden="true" { "✗ " } "The audit of " (moment(failure.at)) " gave no report: " (show(&failure.why)) " "
                    a href=(link::audit(&failure.audit)) { "that audit" }
                }
            }
            @if let Some(csrf) = operator.and_then(|visitor| visitor.csrf.as_deref()) {
                @if group.running.is_none() {
                    form method="post" action=(link::in_group(&group.name, "audits")) {
                        input type="hidden" name="csrf" value=(csrf);
                        button type="submit" { "Run an audit now" }
                    }
                }
            }
        }
    }
}

/// `heard of expected`.
pub(super) fn agents(agents: AgentCount) -> String {
    if agents.expected == 0 {
        "none expected".to_owned()
    } else {
        format!("{} of {}", agents.heard, agents.expected)
    }
}

fn causes(group: &Group, at: Timestamp, most: usize) -> Markup {
    let more = group.causes.len().saturating_sub(most);
    html! {
        h3 { "Causes" }
        @if group.causes.is_empty() {
            @if is_current(&group.freshness) {
                p.note { (sign(Verdict::Pass)) " nothing against it" }
            } @else {
                p.note { "None in that audit, which is old." }
            }
        } @else {
            (findings::lines(&group.name, group.causes.iter().take(most), at))
            @if more > 0 { p.note { a href=(link::in_group(&group.name, "findings")) { (more) " more" } } }
        }
    }
}

/// What changed, latest first.
pub(super) fn changes(group: &str, changes: &[GroupChange], at: Timestamp, most: usize) -> Markup {
    html! {
        h3 { "Changed since yesterday" }
        @if changes.is_empty() {
            p.note { "Nothing." }
        } @else {
            ul.changes {
                @for change in changes.iter().take(most) { (one_change(group, change, at)) }
            }
            @if changes.len() > most { p.note { a href=(link::group(group)) { (changes.len() - most) " more" } } }
        }
    }
}

/// One change in a line.
pub(super) fn one_change(group: &str, change: &GroupChange, at: Timestamp) -> Markup {
    let (sign, word) = match change.kind {
        ChangeKind::Appeared => ("+", "appeared"),
        ChangeKind::Resolved => ("−", "resolved"),
        ChangeKind::Changed => ("~", "changed"),
        ChangeKind::Drifted => ("~", "drifted"),
        ChangeKind::Joined => ("+", "new cluster"),
        ChangeKind::Left => ("−", "cluster gone"),
    };
    let tone = change.after.map_or("", class);
    html! {
        li {
            span class={ "sign " (tone) } aria-hidden="true" { (sign) }
            div {
                @match &change.finding {
                    Some(key) => a href=(link::finding(group, key)) { (show(&change.text)) },
                    None => (show(&change.text)),
                }
                p.note {
                    (word)
                    @if let (Some(before), Some(after)) = (change.before, change.after) { " from " (word_of(before)) " to " (word_of(after)) }
                    ", " a href=(link::audit(&change.audit)) { (since(change.at, at)) }
                }
            }
        }
    }
}

fn word_of(verdict: Verdict) -> &'static str {
    word(verdict)
}

fn clusters(group: &Group, at: Timestamp) -> Markup {
    html! {
        details.clusters id={ "clusters-" (link::path(&[&group.name])) } open[group.clusters.len() <= FEW] {
            summary { (count(group.clusters.len(), "cluster")) }
            div.scroll tabindex="0" role="region" aria-label="Clusters" {
                table.list {
                    thead {
                        tr {
                            th scope="col" { "Cluster" } th scope="col" { "Pairs" } th scope="col" { "Id" } th scope="col" { "CNI" }
                            th scope="col" { "Kubernetes" } th scope="col" { "Pods" } th scope="col" { "Services" }
                            th scope="col" { "Nodes" } th scope="col" { "Facts" } th scope="col" { "Agents" } th scope="col" { "Read" }
                        }
                    }
                    tbody { @for row in &group.clusters { (cluster(group, row, at)) } }
                }
            }
        }
    }
}

fn cluster(group: &Group, row: &ClusterRow, at: Timestamp) -> Markup {
    let summary = &row.summary;
    html! {
        tr {
            th scope="row" {
                a href=(link::cluster(&group.name, &summary.name)) { (show(&summary.name)) }
                @if summary.planned { " " span.note { "planned" } }
            }
            td.number { (pairs(group, row)) }
            td.number { (show(&summary.mesh_id)) }
            td.number { (show(&summary.cni)) }
            td.number { (show(&summary.kubernetes)) }
            td.address { (ranges(&summary.pods)) }
            td.address { (ranges(&summary.services)) }
            td.number { @if let Some(nodes) = summary.nodes { (nodes) } @else { "?" } }
            td.number.warn[summary.facts.known < summary.facts.wanted] { (summary.facts) }
            td.number.warn[row.agents.heard < row.agents.expected] { (agents(row.agents)) }
            td { (read(row, at)) }
        }
    }
}

/// How many pairs of a cluster have its worst verdict.
fn pairs(group: &Group, row: &ClusterRow) -> Markup {
    let number: usize = group
        .matrices
        .iter()
        .filter_map(|matrix| {
            let place = matrix.clusters.iter().position(|name| *name == row.summary.name)?;
            let others = (0..matrix.clusters.len()).filter(|other| matrix.get(place, *other) == Some(row.verdict));
            Some(others.count())
        })
        .sum();
    html! {
        span class=(class(row.verdict)) {
            b.sign aria-hidden="true" { (symbol(row.verdict)) } " "
            @if row.verdict != Verdict::Pass { (number) " " }
            (of_pair(row.verdict))
        }
    }
}

/// The first ranges, and how many more there are.
fn ranges(ranges: &[String]) -> Markup {
    html! {
        @for (place, range) in ranges.iter().take(2).enumerate() {
            @if place > 0 { ", " } (show(range))
        }
        @if ranges.len() > 2 { " +" (ranges.len() - 2) }
    }
}

/// When a cluster was read, or why it was not.
fn read(row: &ClusterRow, at: Timestamp) -> Markup {
    html! {
        @if let Some(why) = &row.summary.unreachable {
            span.fail { span aria-hidden="true" { "✗ " } "not read: " (show(why)) }
        } @else if let Some(collected_at) = row.summary.collected_at {
            (since(collected_at, at))
        } @else if row.summary.planned {
            "declared"
        } @else {
            "never"
        }
        @if let Connection::Disconnected { last_heard } = &row.connection {
            " " span.warn {
                span aria-hidden="true" { "! " } "agent not connected"
                @if let Some(last_heard) = last_heard { ", heard " (since(*last_heard, at)) }
            }
        }
    }
}
