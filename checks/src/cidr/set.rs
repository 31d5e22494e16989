//! Arithmetic on sets of blocks: what they hold together, what one lacks of another, what is free.
//!
//! Everything is about addresses, not about how they are written down: `10.0.0.0/9` and `10.128.0.0/9` are
//! `10.0.0.0/8`. Results are sorted, disjoint and as few blocks as possible. The cost is that of sorting the input.

use super::Cidr;

impl Cidr {
    /// The fewest blocks that hold exactly the addresses of `blocks`, in order.
    pub fn aggregate(blocks: &[Self]) -> Vec<Self> {
        let mut sorted = blocks.to_vec();
        sorted.sort_unstable();
        let mut result: Vec<Self> = Vec::new();
        for mut block in sorted {
            if result.last().is_some_and(|last| last.contains(block)) {
                continue;
            }
            // Two halves make a whole, which may be the second half of a larger whole.
            while let Some(whole) = result.last().and_then(|last| joined(*last, block)) {
                result.pop();
                block = whole;
            }
            result.push(block);
        }
        result
    }

    /// The addresses of this block that are in none of `removed`.
    pub fn difference(self, removed: &[Self]) -> Vec<Self> {
        without(self, &Self::aggregate(removed))
    }

    /// The addresses of `wanted` that no block of `cover` holds; empty when all of `wanted` is covered.
    ///
    /// The union counts: `10.0.0.0/8` is covered by its two halves.
    pub fn uncovered(wanted: &[Self], cover: &[Self]) -> Vec<Self> {
        let cover = Self::aggregate(cover);
        let wanted = Self::aggregate(wanted);
        let pieces = wanted.into_iter().flat_map(|block| without(block, &cover));
        // Pieces are maximal within each wanted block, and no two of those join: nothing is left to merge.
        pieces.collect()
    }

    /// The lowest block of `prefix_len` bits inside `within` that shares no address with any of `used`.
    pub fn first_free(prefix_len: u8, within: Self, used: &[Self]) -> Option<Self> {
        let mut used = used.to_vec();
        used.sort_unstable();
        Self::first_free_among(prefix_len, within, used)
    }

    /// As [`Cidr::first_free`], with `used` in order; stops at the first that lies behind the free block.
    pub(crate) fn first_free_among(prefix_len: u8, within: Self, used: impl IntoIterator<Item = Self>) -> Option<Self> {
        let candidate_at = |first| Self::from_bits(within.is_ipv4(), first, prefix_len).filter(|c| within.contains(*c));
        let mut candidate = candidate_at(within.first_bits())?;
        for block in used.into_iter().filter(|block| block.overlaps(within)) {
            if block.overlaps(candidate) {
                // The end of the larger of the two is a boundary for the smaller one too.
                let taken = block.last_bits().max(candidate.last_bits());
                candidate = candidate_at(taken.checked_add(1)?)?;
            } else if candidate < block {
                break;
            }
        }
        Some(candidate)
    }
}

/// The block that has these two as its halves, if they are halves of one.
fn joined(low: Cidr, high: Cidr) -> Option<Cidr> {
    let whole = low.supernet(low.prefix_len().checked_sub(1)?)?;
    (low != high && low.prefix_len() == high.prefix_len() && whole.contains(high)).then_some(whole)
}

/// `block` without `holes`, which are sorted and disjoint.
fn without(block: Cidr, holes: &[Cidr]) -> Vec<Cidr> {
    // Those that overlap `block` are neighbours: either one that contains it, or all that lie inside.
    let start = holes.partition_point(|hole| hole.is_ipv4() && !block.is_ipv4() || precedes(*hole, block));
    let mut gap_start = Some(block.first_bits());
    let mut pieces = Vec::new();
    for hole in holes[start..].iter().take_while(|hole| hole.overlaps(block)) {
        if hole.contains(block) {
            return Vec::new();
        }
        if let (Some(first), Some(last)) = (gap_start, hole.first_bits().checked_sub(1)) {
            push_range(&mut pieces, block.is_ipv4(), first, last);
        }
        gap_start = hole.last_bits().checked_add(1);
    }
    if let Some(first) = gap_start {
        push_range(&mut pieces, block.is_ipv4(), first, block.last_bits());
    }
    pieces
}

/// Whether `hole` ends before `block` starts, both of one family.
fn precedes(hole: Cidr, block: Cidr) -> bool {
    hole.is_ipv4() == block.is_ipv4() && hole.last_bits() < block.first_bits()
}

/// Appends the fewest blocks that make up the addresses from `first` to `last`, both included; none if `first` is larger.
fn push_range(pieces: &mut Vec<Cidr>, ipv4: bool, first: u128, last: u128) {
    let mut next = Some(first);
    while let Some(first) = next.filter(|first| *first <= last) {
        let Some(block) = largest_block(ipv4, first, last) else {
            return;
        };
        pieces.push(block);
        next = block.last_bits().checked_add(1);
    }
}

/// The largest block that starts at `first` and does not reach beyond `last`.
fn largest_block(ipv4: bool, first: u128, last: u128) -> Option<Cidr> {
    let host = Cidr::from_bits(ipv4, first, if ipv4 { 32 } else { 128 })?;
    // As large as the room allows (the whole IPv6 space has no count: its room is one more than a number can say),
    // and no larger than `first` is aligned to.
    let room_log2 = (last - first).checked_add(1).map_or(128, u128::ilog2);
    let size_log2 = room_log2
        .min(first.trailing_zeros())
        .min(u32::from(host.address_bits()));
    host.supernet(host.address_bits() - u8::try_from(size_log2).ok()?)
}
