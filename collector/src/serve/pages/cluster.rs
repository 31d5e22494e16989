//! One cluster: what counts against it, its pairs, its agents, its ranges, what could not be read.

use std::sync::Arc;

use axum::extract::{Path, State};
use jiff::Timestamp;
use maud::{Markup, html};
use prejoin_checks::report::Verdict;

use super::age::{freshness, is_current, moment_and_age, since};
use super::layout::{Layout, Tab};
use super::verdict::{class, of_pair, sign, symbol};
use super::{Answer, Who, count, findings, fleet, link, show, space};
use crate::serve::view::cluster::{AgentRow, PairLine};
use crate::serve::view::fleet::Connection;
use crate::serve::view::{Actions, ClusterView, Reader};

pub(super) async fn page<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path((group, cluster)): Path<(String, String)>,
) -> Answer {
    let view = server.cluster(&group, &cluster).await?;
    let at = view.freshness.shown_at;
    let content = html! {
        article #cluster data-live="" {
            (head(&view, at))
            div.columns {
                div.wide {
                    h2 { "Findings" }
                    @if view.findings.is_empty() { p.note { "Nothing counts against it in that audit." } }
                    (findings::folded(&group, &view.findings, at))
                    p.note { (count(view.passed, "rule")) " kept" }
                    h2 { "Ranges" }
                    (space::ranges_table(&group, &view.ranges, false))
                }
                div.side {
                    h2 { "Pairs" }
                    (pairs(&view))
                    h2 { "Agents" }
                    (agents(&view, at))
                    @if !view.summary.missing.is_empty() {
                        h2 { "Not read" }
                        ul { @for missing in &view.summary.missing { li { (show(missing)) } } }
                    }
                }
            }
        }
    };
    Ok(Layout::new(&cluster)
        .of_group(&group, Tab::Overview)
        .shown(at, &who)
        .live(Some(&group), None)
        .page(&content))
}

fn head(view: &ClusterView, at: Timestamp) -> Markup {
    let summary = &view.summary;
    html! {
        div.headline.stale[!is_current(&view.freshness)] {
            h1 { (show(&summary.name)) @if summary.planned { " " span.note { "planned" } } }
            p.facts {
                (freshness(&view.freshness))
                @if let Some(audit) = &view.audit { span { a href=(link::audit(audit)) { "this audit" } } }
            }
            @if let Some(why) = &summary.unreachable {
                p.notice.fail { span aria-hidden="true" { "✗ " } "Nothing could be read of it: " (show(why)) }
            }
            dl.pairs.row {
                dt { "CNI" } dd { (known(&summary.cni)) }
                dt { "Kubernetes" } dd { (known(&summary.kubernetes)) }
                dt { "Id in the mesh" } dd { (known(&summary.mesh_id)) }
                dt { "Nodes" } dd { @if let Some(nodes) = summary.nodes { (nodes) } @else { "not known" } }
                dt { "Facts" } dd { (summary.facts) @if let Some(read) = summary.collected_at { ", read " (since(read, at)) } }
                dt { "Agents heard" } dd { (fleet::agents(view.agents)) }
                dt { "Reached by" } dd { (connection(&view.connection, at)) }
                @if let Some(uid) = &summary.uid { dt { "UID of kube-system" } dd { code { (show(uid)) } } }
            }
        }
    }
}

fn known(text: &str) -> Markup {
    html! { @if text.is_empty() { "not known" } @else { (show(text)) } }
}

fn connection(connection: &Connection, at: Timestamp) -> Markup {
    match connection {
        Connection::Kubeconfig { context } => html! { "kubeconfig, context " (show(context)) },
        Connection::File { path } => html! { "facts file " (show(path)) },
        Connection::Connected { since: from, version } => {
            html! { (sign(Verdict::Pass)) "its agent " (show(version)) ", connected since " (moment_and_age(*from, at)) }
        }
        Connection::Disconnected { last_heard } => html! {
            span.warn {
                span aria-hidden="true" { "! " } "its agent, not connected"
                @match last_heard {
                    Some(last) => { ", heard last " (moment_and_age(*last, at)) }
                    None => ", never heard",
                }
            }
        },
    }
}

fn pairs(view: &ClusterView) -> Markup {
    let fine = |pair: &&PairLine| pair.verdict == Verdict::Pass;
    let (good, bad): (Vec<&PairLine>, Vec<&PairLine>) = view.pairs.iter().partition(fine);
    let line = |pair: &PairLine| {
        html! {
            li {
                span class={ "sign " (class(pair.verdict)) } aria-hidden="true" { (symbol(pair.verdict)) } " "
                a href=(link::pair(&view.group, &view.summary.name, &pair.other)) { (show(&pair.other)) }
                span.note { " " (of_pair(pair.verdict)) ", " (pair.profile) }
            }
        }
    };
    html! {
        @if view.pairs.is_empty() { p.note { "It is the only cluster: nothing was compared." } }
        ul.plain { @for pair in &bad { (line(pair)) } }
        @if !good.is_empty() {
            details #fine-pairs open[bad.is_empty() && good.len() <= 12] {
                summary { "nothing against " (count(good.len(), "pair")) }
                ul.plain { @for pair in &good { (line(pair)) } }
            }
        }
    }
}

fn agents(view: &ClusterView, at: Timestamp) -> Markup {
    let (heard, silent): (Vec<&AgentRow>, Vec<&AgentRow>) = view.agent_list.iter().partition(|agent| agent.heard);
    html! {
        @if view.agent_list.is_empty() { p.note { "None expected: flows from and to it are not proven." } }
        ul.plain {
            @for agent in &silent {
                li {
                    (sign(Verdict::Unknown)) (show(&agent.node)) " silent"
                    @if let Some(last) = agent.last_heard { ", heard last " (since(last, at)) } @else { ", never heard" }
                    @if !agent.why.is_empty() { p.note { (show(&agent.why)) } }
                }
            }
        }
        @if !heard.is_empty() {
            details #heard-agents {
                summary { (heard.len()) " of " (view.agent_list.len()) " heard" }
                ul.plain { @for agent in &heard { li { (show(&agent.node)) span.note { " " (show(&agent.version)) } } } }
            }
        }
    }
}
