//! Address space: every range of every cluster on one axis, what collides and what is free.

mod axis;
mod picture;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use prejoin_checks::cidr::Cidr;
use serde::Deserialize;

use super::age::{freshness, is_current};
use super::error::PageError;
use super::layout::{Layout, Tab};
use super::verdict::sign;
use super::{Answer, Who, count, findings, link, show};
use crate::serve::view::address::{Collision, FreeSpace, RangeState, RangeView};
use crate::serve::view::{Actions, AddressSpace, Reader};

use axis::Axis;

/// So many ranges are listed at once; all of them with `all=1`.
const LISTED: usize = 60;

/// What is looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SpaceQuery {
    /// This block, whole; without it, everything in use.
    #[serde(rename = "in")]
    within: Option<String>,
    /// Every range in the list.
    all: Option<String>,
}

pub(super) async fn page<S: Reader + Actions>(
    State(server): State<Arc<S>>,
    who: Who,
    Path(group): Path<String>,
    Query(query): Query<SpaceQuery>,
) -> Answer {
    let asked = query.within.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let within = asked.map(str::parse::<Cidr>).transpose();
    let within = within.map_err(|error| PageError::BadAddress(error.to_string()))?;
    let space = server.addresses(&group).await?;
    let address = link::in_group(&group, "addresses");
    let axis = if let Some(cidr) = within {
        Axis::of(cidr, picture::WIDTH)
    } else {
        let used: Vec<Cidr> = space.ranges.iter().map(|range| range.cidr).collect();
        Axis::overview(&used, picture::WIDTH)
    };
    let content = html! {
        section #space data-live="" {
            div.headline.stale[!is_current(&space.freshness)] {
                h1 { "Address space" }
                p.facts { (freshness(&space.freshness)) span { (count(space.clusters.len(), "cluster")) } span { (count(space.ranges.len(), "range")) } }
            }
            @if space.freshness.as_of.is_some() {
                (zoom(&address, within, &axis))
                (picture::picture(&address, &space, &axis))
                div.columns.even {
                    div { h2 { "Collisions" } (collisions(&group, &address, &space.collisions)) (unknown(&space)) }
                    div { h2 { "Free private space" } (free(&address, &space.free)) }
                }
                h2 #ranges { "Ranges" @if let Some(cidr) = within { " in " code { (cidr) } } }
                (listed(&group, &address, &space, within, query.all.is_some()))
            }
        }
    };
    Ok(Layout::new("Address space")
        .of_group(&group, Tab::Addresses)
        .shown(space.freshness.shown_at, &who)
        .live(Some(&group), None)
        .page(&content))
}

/// The address of the page that shows one block.
fn zoomed(address: &str, cidr: Cidr) -> String {
    link::query(address, &[("in", Some(&cidr.to_string()))])
}

/// Where one is, and the ways in and out.
fn zoom(address: &str, within: Option<Cidr>, axis: &Axis) -> Markup {
    html! {
        div.choice {
            nav aria-label="Zoom" {
                a href=(address) aria-current=[within.is_none().then_some("true")] { "Everything in use" }
                @if let Some(cidr) = within {
                    @for around in surroundings(cidr) { a href=(zoomed(address, around)) { "⊃ " (around) } }
                    a href=(zoomed(address, cidr)) aria-current="true" { (cidr) }
                }
                @for cidr in &axis.left_out { a href=(zoomed(address, *cidr)) { (cidr) } }
            }
            form method="get" action=(address) role="search" {
                label for="in" { "Block" }
                input #in type="text" name="in" value=[within] size="18" placeholder="10.0.0.0/8";
                button type="submit" { "Show" }
            }
        }
    }
}

/// The blocks around one, each sixteen times the next, the largest first; at most three.
fn surroundings(cidr: Cidr) -> Vec<Cidr> {
    let lengths = (1..=3_u8).rev().map(|step| cidr.prefix_len().saturating_sub(4 * step));
    let mut around: Vec<Cidr> = lengths
        .filter_map(|length| cidr.supernet(length))
        .filter(|outer| *outer != cidr)
        .collect();
    around.dedup();
    around
}

fn collisions(group: &str, address: &str, collisions: &[Collision]) -> Markup {
    html! {
        @if collisions.is_empty() { p.note { "None among the ranges that are known." } }
        ul.findings {
            @for collision in collisions {
                li class=(super::verdict::class(collision.verdict)) {
                    (sign(collision.verdict))
                    div {
                        a href=(link::finding(group, &collision.key)) { code { (show(&collision.code)) } " " (findings::names(&collision.clusters)) }
                        @if collision.waived { span.note { " waived" } }
                        p.detail { (show(&collision.found)) }
                        p.note {
                            "shared: "
                            @for (place, block) in collision.blocks.iter().take(4).enumerate() {
                                @if place > 0 { ", " } a.address href=(zoomed(address, *block)) { (block) }
                            }
                            @if collision.blocks.len() > 4 { " and " (collision.blocks.len() - 4) " more" }
                        }
                    }
                }
            }
        }
    }
}

fn unknown(space: &AddressSpace) -> Markup {
    if space.unknown.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Not known" }
        p { "These may lie anywhere, and may collide:" }
        ul.plain {
            @for range in &space.unknown {
                li { (sign(prejoin_checks::report::Verdict::Unknown)) (range.kind) " of " (show(&range.cluster)) p.note { (show(&range.why)) } }
            }
        }
    }
}

fn free(address: &str, free: &[FreeSpace]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Free private space" {
            table.list {
                thead { tr { th scope="col" { "Of" } th scope="col" { "Free" } th scope="col" { "Largest free blocks" } } }
                tbody {
                    @for space in free {
                        tr {
                            th.address scope="row" { a href=(zoomed(address, space.within)) { (space.within) } }
                            td.number { (share(space)) }
                            td.address {
                                @if !space.used { "all of it" } @else {
                                    @for (place, block) in space.largest.iter().take(4).enumerate() {
                                        @if place > 0 { ", " } a href=(zoomed(address, *block)) { (block) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        p.note { "Free means that no cluster of this group uses it: other networks may." }
    }
}

/// How much is free, rounded down: what is not all free never reads 100 %.
fn share(space: &FreeSpace) -> String {
    let all = 1_u64 << space.within.size_log2().min(63);
    format!("{} %", space.addresses.saturating_mul(100) / all)
}

fn listed(group: &str, address: &str, space: &AddressSpace, within: Option<Cidr>, all: bool) -> Markup {
    let mut ranges: Vec<RangeView> = space
        .ranges
        .iter()
        .filter(|range| within.is_none_or(|cidr| range.cidr.overlaps(cidr)))
        .cloned()
        .collect();
    let found = ranges.len();
    if !all {
        ranges.truncate(LISTED);
    }
    let within = within.map(|cidr| cidr.to_string());
    html! {
        (ranges_table(group, &ranges, true))
        @if ranges.len() < found {
            p { a href=(link::query(address, &[("in", within.as_deref()), ("all", Some("1"))])) { "All " (found) " ranges" } }
        }
    }
}

/// Ranges in a table, with whose they are where that is not said elsewhere.
pub(super) fn ranges_table(group: &str, ranges: &[RangeView], owners: bool) -> Markup {
    let address = link::in_group(group, "addresses");
    html! {
        @if ranges.is_empty() { p.note { "None." } } @else {
            div.scroll tabindex="0" role="region" aria-label="Ranges" {
                table.list {
                    thead {
                        tr {
                            th scope="col" { "Addresses" }
                            @if owners { th scope="col" { "Cluster" } }
                            th scope="col" { "For" } th scope="col" { "State" } th scope="col" { "Read in" }
                        }
                    }
                    tbody { @for range in ranges { (range_row(group, &address, range, owners)) } }
                }
            }
        }
    }
}

fn range_row(group: &str, address: &str, range: &RangeView, owners: bool) -> Markup {
    html! {
        tr {
            th.address scope="row" { a href=(zoomed(address, range.cidr)) { (range.cidr) } }
            @if owners {
                td {
                    @if range.cluster.is_empty() { (show(&range.owner)) } @else {
                        a href=(link::cluster(group, &range.cluster)) { (show(&range.cluster)) }
                    }
                }
            }
            td { (range.kind) @if range.ranges > 1 { span.note { " (" (range.ranges) " ranges)" } } }
            td { (state(range.state)) }
            td { (show(&range.source.to_string())) @if range.ranges > 1 { " …" } }
        }
    }
}

fn state(state: RangeState) -> &'static str {
    match state {
        RangeState::InUse => "in use",
        RangeState::Pool => "pool",
        RangeState::InternalPool => "internal pool",
        RangeState::Estimate => "estimate",
    }
}
