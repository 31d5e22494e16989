//! Two clusters: what stands between them, node by node.

use std::sync::Arc;

use axum::extract::{Path, State};
use maud::{Markup, html};

use super::age::{freshness, is_current};
use super::layout::{Layout, Tab};
use super::verdict::{badge, of_outcome, sign};
use super::{Answer, Who, count, findings, link, nodes, paths, show};
use crate::serve::view::{Actions, FlowLine, PairView, Reader};

pub(super) async fn page<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path((group, a, b)): Path<(String, String, String)>,
) -> Answer {
    let view = server.pair(&group, &a, &b).await?;
    let at = view.freshness.shown_at;
    let content = html! {
        article #pair data-live="" {
            (head(&view))
            h2 { "Findings" }
            @if view.findings.is_empty() { p.note { "Nothing counts against this pair in that audit." } }
            (findings::folded(&group, &view.findings, at))
            p.note { (count(view.passed, "rule")) " kept" }
            h2 { "Flows" }
            (flows(&view.flows))
            @if view.nodes.iter().any(|matrix| !matrix.cells.is_empty()) {
                h2 { "Node by node" }
                div.columns.even { @for matrix in &view.nodes { div { (nodes::matrix(matrix)) } } }
            }
            @if view.series.iter().any(|series| !series.points.is_empty()) {
                h2 { "Paths over time" }
                @for series in &view.series { (paths::series(series, None)) }
                p.note { a href=(paths::link(&group, &view.a, &view.b)) { "Another time" } }
            }
        }
    };
    Ok(Layout::new(format!("{a} and {b}"))
        .of_group(&group, Tab::Overview)
        .shown(at, &who)
        .live(Some(&group), None)
        .page(&content))
}

fn head(view: &PairView) -> Markup {
    html! {
        div.headline.stale[!is_current(&view.freshness)] {
            h1 {
                a href=(link::cluster(&view.group, &view.a)) { (show(&view.a)) } " and "
                a href=(link::cluster(&view.group, &view.b)) { (show(&view.b)) }
            }
            p.sentence { @for verdict in &view.verdicts { span { (badge(verdict.verdict)) " joined with " (verdict.profile) } " " } }
            p.facts {
                (freshness(&view.freshness))
                @if let Some(audit) = &view.audit { span { a href=(link::audit(audit)) { "this audit" } } }
            }
        }
    }
}

/// What was sent, what arrived, what was seen.
fn flows(flows: &[FlowLine]) -> Markup {
    if flows.is_empty() {
        return html! { p.note { "None were probed: whether packets get through is not known." } };
    }
    html! {
        div.scroll tabindex="0" role="region" aria-label="Flows" {
            table.list {
                thead {
                    tr {
                        th scope="col" { "Direction" } th scope="col" { "Sent" } th scope="col" { "Got through" }
                        th scope="col" { "Seen" } th scope="col" { "Needed by" }
                    }
                }
                tbody {
                    @for flow in flows {
                        tr {
                            td { (show(&flow.from)) " → " (show(&flow.to)) }
                            th scope="row" { (show(&flow.service)) }
                            td.number {
                                (sign(of_outcome(flow.outcome))) (flow.proven) " of " (count(flow.pairs, "node pair"))
                                @if flow.unknown > 0 { ", " (flow.unknown) " not known" }
                            }
                            td { (show(&flow.shown)) }
                            td { @for code in &flow.codes { code { (show(code)) } " " } }
                        }
                    }
                }
            }
        }
    }
}
