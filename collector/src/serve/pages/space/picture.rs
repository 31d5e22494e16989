//! The picture of an address space: one lane for each cluster, collisions across all lanes, free space below.

use std::collections::BTreeMap;

use maud::{Markup, html};
use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::RangeKind;
use prejoin_checks::report::Verdict;

use super::axis::{Axis, Segment, parts};
use super::zoomed;
use crate::serve::pages::{count, show, verdict};
use crate::serve::view::AddressSpace;
use crate::serve::view::address::{RangeState, RangeView};

/// The width of the axis, in units of the picture.
pub(super) const WIDTH: f64 = 1000.0;
/// Room for names on its left.
const NAMES: f64 = 130.0;
/// Room for the ruler above the lanes.
const RULER: f64 = 34.0;
/// A range is never drawn narrower: it would not be seen.
const THIN: f64 = 2.0;
/// A letter needs so much room.
const LETTER: f64 = 12.0;
/// Up to so many lanes are high enough for letters.
const FEW: usize = 30;
/// So many characters of a name fit.
const NAME: usize = 18;

/// Where the lanes are.
struct Lanes<'a> {
    names: Vec<&'a str>,
    height: f64,
}

impl<'a> Lanes<'a> {
    /// Lanes for the clusters that have something to show here, in their order; networks outside all clusters last.
    fn of(space: &'a AddressSpace, axis: &Axis) -> Self {
        let seen = |cluster: &str| {
            let mut ranges = space.ranges.iter().filter(|range| range.cluster == cluster);
            ranges.any(|range| axis.places(range.cidr).next().is_some())
        };
        let clusters = space.clusters.iter().map(String::as_str).chain([""]);
        let names: Vec<&str> = clusters.filter(|cluster| seen(cluster)).collect();
        let height = if names.len() <= FEW { 24.0 } else { 11.0 };
        Self { names, height }
    }

    fn top(&self, place: usize) -> f64 {
        RULER + self.height * f64::from(u32::try_from(place).unwrap_or(u32::MAX))
    }

    fn bottom(&self) -> f64 {
        self.top(self.names.len())
    }

    fn tall(&self) -> bool {
        self.names.len() <= FEW
    }
}

/// The picture with its ruler, by which one zooms in.
pub(super) fn picture(address: &str, space: &AddressSpace, axis: &Axis) -> Markup {
    let lanes = Lanes::of(space, axis);
    let height = lanes.bottom() + 26.0;
    html! {
        div.scroll tabindex="0" role="region" aria-label="Picture of the address space" {
            svg.space viewBox={ "0 0 " (NAMES + WIDTH + 4.0) " " (height) } xmlns="http://www.w3.org/2000/svg"
                role="group" aria-label={ "Ranges of " (count(space.clusters.len(), "cluster")) " by address; the table below has the same in words" } {
                defs {
                    pattern #pool width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                        rect.gap width="5" height="5" {}
                        line.stroke x1="0" y1="0" x2="0" y2="5" {}
                    }
                }
                @for segment in &axis.segments { (ruler(address, segment, axis.segments.len() == 1, &lanes)) }
                @for (place, name) in lanes.names.iter().enumerate() { (lane(space, axis, &lanes, place, name)) }
                (collisions(space, axis, &lanes))
                (free(space, axis, &lanes))
            }
        }
        (legend(space))
    }
}

/// The ends of a segment, and the links into its parts.
fn ruler(address: &str, segment: &Segment, zoomed_in: bool, lanes: &Lanes<'_>) -> Markup {
    let left = NAMES + segment.left;
    let whole = [segment.cidr];
    let all = parts(segment.cidr);
    // Zoomed in, the ruler leads into the sixteen parts; else into the island.
    let steps: &[Cidr] = if zoomed_in { &all } else { &whole };
    let width = segment.width / f64::from(u32::try_from(steps.len()).unwrap_or(1).max(1));
    html! {
        rect.ground x=(left) y=(RULER) width=(segment.width) height=(lanes.bottom() - RULER) {}
        @for (step, cidr) in (0_u32..).zip(steps) {
            @let x = left + width * f64::from(step);
            a href=(zoomed(address, *cidr)) aria-label={ "Zoom into " (cidr) } {
                rect.step x=(x) y="2" width=(width) height=(RULER - 8.0) {}
                text.address x=(x + 4.0) y="19" { (step_name(*cidr, width)) }
            }
            line.grid x1=(x) y1=(RULER) x2=(x) y2=(lanes.bottom()) {}
        }
    }
}

/// The block where there is room for it, else its first address, else nothing.
fn step_name(cidr: Cidr, width: f64) -> String {
    const CHARACTER: f64 = 6.1;
    let room = |text: &str| f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX)) * CHARACTER < width - 4.0;
    let (whole, first) = (cidr.to_string(), cidr.first().to_string());
    if room(&whole) {
        whole
    } else if room(&first) {
        first
    } else {
        // The end that differs from part to part.
        let tail: String = first
            .chars()
            .rev()
            .take(5)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        format!("…{tail}")
    }
}

fn lane(space: &AddressSpace, axis: &Axis, lanes: &Lanes<'_>, place: usize, name: &str) -> Markup {
    let top = lanes.top(place);
    let shown = if name.is_empty() { "outside" } else { name };
    let mut ranges: Vec<&RangeView> = space.ranges.iter().filter(|range| range.cluster == name).collect();
    // What is wide is drawn first, so that what lies in it is seen.
    ranges.sort_by_key(|range| (range.cidr.prefix_len(), range.cidr));
    html! {
        @if place % 2 == 1 { rect.stripe x="0" y=(top) width=(NAMES + WIDTH) height=(lanes.height) {} }
        text.name.small[!lanes.tall()] x=(NAMES - 8.0) y=(top + lanes.height * 0.68) text-anchor="end" {
            title { (show(shown)) } (crate::text::short(shown, NAME))
        }
        @for range in ranges { @for (x, width) in axis.places(range.cidr) { (bar(range, lanes, top, NAMES + x, width)) } }
    }
}

fn bar(range: &RangeView, lanes: &Lanes<'_>, top: f64, x: f64, width: f64) -> Markup {
    let inset = if lanes.tall() { 3.0 } else { 1.5 };
    let width = width.max(THIN);
    let pool = matches!(
        range.state,
        RangeState::Pool | RangeState::InternalPool | RangeState::Estimate
    );
    let (letter, class) = kind(range.kind);
    html! {
        g class={ "range " (class) @if pool { " pool" } } {
            rect x=(round(x)) y=(top + inset) width=(round(width)) height=(lanes.height - 2.0 * inset) rx="1.5" {
                title { (range.cidr) " " (range.kind) ", " (super::state(range.state)) ", " (show(if range.cluster.is_empty() { &range.owner } else { &range.cluster })) }
            }
            @if pool { rect.hatch x=(round(x)) y=(top + inset) width=(round(width)) height=(lanes.height - 2.0 * inset) rx="1.5" fill="url(#pool)" {} }
            @if lanes.tall() && width >= LETTER {
                text.letter x=(round(x + 3.5)) y=(top + lanes.height * 0.68) aria-hidden="true" { (letter) }
            }
        }
    }
}

/// The letter and the class of a kind of range.
fn kind(kind: RangeKind) -> (&'static str, &'static str) {
    match kind {
        RangeKind::Pods => ("P", "pods"),
        RangeKind::Services => ("S", "services"),
        RangeKind::Nodes => ("N", "nodes"),
        RangeKind::LoadBalancers => ("L", "balancers"),
        RangeKind::Globalnet => ("G", "globalnet"),
        RangeKind::Clusterset => ("C", "clusterset"),
        RangeKind::External => ("E", "external"),
    }
}

/// What is shared, across all lanes; the worst of what is at one place, and that above the rest.
fn collisions(space: &AddressSpace, axis: &Axis, lanes: &Lanes<'_>) -> Markup {
    let mut worst: BTreeMap<Cidr, Verdict> = BTreeMap::new();
    for collision in space.collisions.iter().filter(|collision| !collision.waived) {
        for block in &collision.blocks {
            let verdict = worst.entry(*block).or_insert(collision.verdict);
            *verdict = (*verdict).max(collision.verdict);
        }
    }
    let mut bands: Vec<(Verdict, Cidr, f64, f64)> = worst
        .into_iter()
        .flat_map(|(block, verdict)| axis.places(block).map(move |(x, width)| (verdict, block, x, width)))
        .collect();
    bands.sort_by_key(|(verdict, block, ..)| (*verdict, *block));
    // Bands that nobody could tell apart are one.
    bands.dedup_by(|next, band| {
        let joined = next.0 == band.0 && next.2 - (band.2 + band.3.max(THIN)) < 0.5;
        if joined {
            band.3 = band.3.max(next.2 + next.3 - band.2);
        }
        joined
    });
    let signs = signs(&bands);
    html! {
        @for (verdict, block, x, width) in &bands {
            g class={ "collision " (verdict::class(*verdict)) } {
                rect x=(round(NAMES + x)) y=(RULER) width=(round(width.max(THIN))) height=(lanes.bottom() - RULER) {
                    title { "from " (block) " on, shared: " (verdict::word(*verdict)) }
                }
            }
        }
        @for (verdict, x) in signs {
            text class={ "collision " (verdict::class(verdict)) } x=(round(NAMES + x)) y=(RULER - 1.0) text-anchor="middle" aria-hidden="true" {
                (verdict::symbol(verdict))
            }
        }
    }
}

/// Where bands have a sign: the worst have theirs, and of the rest those that are not in another's way.
fn signs(bands: &[(Verdict, Cidr, f64, f64)]) -> Vec<(Verdict, f64)> {
    let mut signs: Vec<(Verdict, f64)> = Vec::new();
    for (verdict, _, x, width) in bands.iter().rev() {
        let middle = x + width / 2.0;
        if signs.iter().all(|(_, other)| (middle - other).abs() >= LETTER) {
            signs.push((*verdict, middle));
        }
    }
    signs
}

fn free(space: &AddressSpace, axis: &Axis, lanes: &Lanes<'_>) -> Markup {
    let top = lanes.bottom() + 4.0;
    html! {
        text.name x=(NAMES - 8.0) y=(top + 14.0) text-anchor="end" { "free" }
        @for block in space.free.iter().flat_map(|free| &free.largest) {
            @for (x, width) in axis.places(*block).filter(|(_, width)| *width >= 1.0) {
                g.free {
                    rect x=(round(NAMES + x)) y=(top) width=(round(width)) height="18" rx="1.5" { title { (block) " is free" } }
                    @if width > 90.0 { text.address x=(round(NAMES + x + 4.0)) y=(top + 13.0) { (block) } }
                }
            }
        }
    }
}

fn legend(space: &AddressSpace) -> Markup {
    let mut kinds: Vec<RangeKind> = space.ranges.iter().map(|range| range.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let pools = space.ranges.iter().any(|range| range.state != RangeState::InUse);
    html! {
        p.legend {
            @for range_kind in kinds {
                @let (letter, class) = kind(range_kind);
                span { span class={ "swatch " (class) } { (letter) } " " (range_kind) }
            }
            @if pools { span { span.swatch.hatched {} " hatched: a pool, not all of it in use" } }
            @if !space.collisions.is_empty() { span { b.sign.fail { "✗" } " shared by ranges that must not share" } }
        }
    }
}

/// To a tenth: nobody sees more, and the page is smaller.
fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
