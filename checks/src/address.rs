//! One index over every range that can collide, all clusters at once.
//!
//! Address blocks are laminar: two of them are nested, equal or disjoint. So all overlaps among `n` ranges are a
//! forest, found with one sort and one sweep, however many pairs overlap: two ranges overlap exactly if they have the
//! same block or one's block is an ancestor of the other's. [`AddressIndex`] is that forest. Families are trees of
//! their own. Its depth is at most 33 (IPv4) or 129 (IPv6), whatever the input.
//!
//! ```
//! use prejoin_checks::address::AddressIndex;
//!
//! let range = |text: &str, owner| (text.parse().unwrap(), owner);
//! let index = AddressIndex::new(vec![
//!     range("10.10.0.0/16", "east pods"),
//!     range("10.0.0.0/8", "west pods"),
//!     range("10.97.0.0/16", "east services"),
//! ]);
//!
//! let wide = index.roots().next().unwrap();
//! assert_eq!(wide.cidr().to_string(), "10.0.0.0/8");
//! let inside: Vec<_> = wide.children().flat_map(|block| block.values()).collect();
//! assert_eq!(inside, [&"east pods", &"east services"]);
//! ```
//!
//! Which overlaps are faults, and which faults are one cause, is the business of [`AddressIndex::conflicts`].

use std::fmt;
use std::iter::successors;
use std::net::IpAddr;

use crate::cidr::Cidr;

mod conflict;
#[cfg(test)]
mod tests;

pub use conflict::{Claim, Group};

/// Address ranges with what the caller knows of each, and how they nest.
///
/// A range keeps the number it had in the list given to [`AddressIndex::new`]; everything that names a range names it
/// by that number. Ranges with the same block are one [`Block`].
#[derive(Debug, Clone)]
pub struct AddressIndex<T> {
    ranges: Vec<(Cidr, T)>,
    /// The numbers of all ranges, by block, then as given.
    order: Vec<u32>,
    /// All blocks that occur, each once, in order: a block comes before everything in it.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    cidr: Cidr,
    /// The smallest block around this one; itself for a root.
    parent: u32,
    /// One behind the last node inside this one.
    end: u32,
    /// One behind its last range in `order`.
    ranges_end: u32,
}

impl<T> AddressIndex<T> {
    /// Indexes `ranges`, in the time it takes to sort them.
    pub fn new(ranges: Vec<(Cidr, T)>) -> Self {
        let mut forest = Forest::with_capacity(ranges.len());
        for_each_in_order(&ranges, |cidr, number| forest.push(cidr, number));
        let (order, nodes) = forest.finish();
        Self { ranges, order, nodes }
    }

    /// The number of ranges.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no range at all.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges as they were given: number `i` is `ranges()[i]`.
    pub fn ranges(&self) -> &[(Cidr, T)] {
        &self.ranges
    }

    /// Every block that occurs, each once, ordered as [`Cidr`] is.
    pub fn blocks(&self) -> impl DoubleEndedIterator<Item = Block<'_, T>> + ExactSizeIterator {
        (0..self.nodes.len()).map(|at| Block { index: self, at })
    }

    /// The blocks that lie in no other.
    pub fn roots(&self) -> impl Iterator<Item = Block<'_, T>> {
        self.siblings(0, self.nodes.len())
    }

    /// The blocks that hold `address`, smallest first.
    pub fn containing(&self, address: IpAddr) -> impl Iterator<Item = Block<'_, T>> {
        self.covering(Cidr::host(address))
    }

    /// The blocks that hold all of `cidr`, itself included, smallest first.
    pub fn covering(&self, cidr: Cidr) -> impl Iterator<Item = Block<'_, T>> {
        // Whatever covers `cidr` sorts before its end and, being nested, is or surrounds the last block that does.
        let at = self.nodes.partition_point(|node| node.cidr <= cidr).checked_sub(1);
        let last = at.map(|at| Block { index: self, at });
        let around = last
            .into_iter()
            .flat_map(|block| successors(Some(block), |block| block.parent()));
        around.skip_while(move |block| !block.cidr().contains(cidr))
    }

    /// The blocks inside `cidr`, itself included, ordered as [`Cidr`] is.
    pub fn within(&self, cidr: Cidr) -> impl Iterator<Item = Block<'_, T>> {
        let start = self.nodes.partition_point(|node| node.cidr < cidr);
        let inside = self.nodes[start..].partition_point(|node| cidr.contains(node.cidr));
        (start..start + inside).map(|at| Block { index: self, at })
    }

    /// The lowest block of `prefix_len` bits inside `within` that overlaps no range at all.
    pub fn first_free(&self, prefix_len: u8, within: Cidr) -> Option<Cidr> {
        if self.covering(within).next().is_some() {
            return None;
        }
        let start = self.nodes.partition_point(|node| node.cidr < within);
        let used = self.siblings(start, self.nodes.len()).map(Block::cidr);
        Cidr::first_free_among(prefix_len, within, used.take_while(|block| within.contains(*block)))
    }

    /// The outermost of the nodes from `start` up to `end`.
    fn siblings(&self, start: usize, end: usize) -> impl Iterator<Item = Block<'_, T>> {
        let block = move |at| (at < end).then_some(Block { index: self, at });
        successors(block(start), move |last| block(self.nodes[last.at].end as usize))
    }
}

/// One block of an [`AddressIndex`], its ranges and its place among the others.
pub struct Block<'a, T> {
    index: &'a AddressIndex<T>,
    at: usize,
}

impl<'a, T> Block<'a, T> {
    /// The addresses.
    pub fn cidr(self) -> Cidr {
        self.node().cidr
    }

    /// The numbers of the ranges that are exactly this block, as given.
    pub fn ranges(self) -> impl ExactSizeIterator<Item = usize> {
        let start = self
            .at
            .checked_sub(1)
            .map_or(0, |before| self.index.nodes[before].ranges_end);
        let numbers = &self.index.order[start as usize..self.node().ranges_end as usize];
        numbers.iter().map(|number| *number as usize)
    }

    /// What the caller knows of these ranges, as given.
    pub fn values(self) -> impl ExactSizeIterator<Item = &'a T> {
        self.ranges().map(|number| &self.index.ranges[number].1)
    }

    /// The smallest block around this one.
    pub fn parent(self) -> Option<Self> {
        let at = self.node().parent as usize;
        (at != self.at).then_some(Self { at, ..self })
    }

    /// The blocks around this one, smallest first.
    pub fn ancestors(self) -> impl Iterator<Item = Self> {
        successors(self.parent(), |block| block.parent())
    }

    /// The largest blocks inside this one.
    pub fn children(self) -> impl Iterator<Item = Self> {
        self.index.siblings(self.at + 1, self.node().end as usize)
    }

    /// This block and all blocks inside it, ordered as [`Cidr`] is.
    pub fn subtree(self) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (self.at..self.node().end as usize).map(move |at| Self { at, ..self })
    }

    fn node(self) -> &'a Node {
        &self.index.nodes[self.at]
    }
}

impl<T> Clone for Block<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Block<'_, T> {}

impl<T> fmt::Debug for Block<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({})", self.cidr())
    }
}

/// Calls `visit` with each block and its number, ordered by block, then as given.
///
/// Sorts compact keys rather than the ranges: an IPv4 block fits one register, and what the caller knows of a range
/// stays where it is.
fn for_each_in_order<T>(ranges: &[(Cidr, T)], mut visit: impl FnMut(Cidr, u32)) {
    let mut v4: Vec<(u64, u32)> = Vec::with_capacity(ranges.len());
    let mut v6: Vec<(u128, u8, u32)> = Vec::new();
    for (position, (cidr, _)) in ranges.iter().enumerate() {
        let number = to_u32(position);
        match cidr.first() {
            IpAddr::V4(first) => v4.push((u64::from(first.to_bits()) << 8 | u64::from(cidr.prefix_len()), number)),
            IpAddr::V6(first) => v6.push((first.to_bits(), cidr.prefix_len(), number)),
        }
    }
    v4.sort_unstable();
    v6.sort_unstable();
    for (key, number) in v4 {
        let [.., prefix_len] = key.to_be_bytes();
        visit(cidr_of_key(true, u128::from(key >> 8), prefix_len), number);
    }
    for (first, prefix_len, number) in v6 {
        visit(cidr_of_key(false, first, prefix_len), number);
    }
}

fn cidr_of_key(ipv4: bool, first: u128, prefix_len: u8) -> Cidr {
    Cidr::from_bits(ipv4, first, prefix_len).expect("the key was made from a block")
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than 2^32 ranges")
}

/// The nodes so far, and those of them that a block coming later may still lie in.
struct Forest {
    order: Vec<u32>,
    nodes: Vec<Node>,
    /// From a root down to the last node.
    open: Vec<u32>,
}

impl Forest {
    fn with_capacity(ranges: usize) -> Self {
        Self {
            order: Vec::with_capacity(ranges),
            nodes: Vec::with_capacity(ranges),
            open: Vec::new(),
        }
    }

    /// Adds a range; they come in order.
    fn push(&mut self, cidr: Cidr, number: u32) {
        self.order.push(number);
        let ranges_end = to_u32(self.order.len());
        if let Some(last) = self.nodes.last_mut().filter(|last| last.cidr == cidr) {
            last.ranges_end = ranges_end;
            return;
        }
        let at = to_u32(self.nodes.len());
        while let Some(innermost) = self.open.last().map(|open| &mut self.nodes[*open as usize]) {
            if innermost.cidr.contains(cidr) {
                break;
            }
            innermost.end = at;
            self.open.pop();
        }
        let parent = self.open.last().copied().unwrap_or(at);
        let end = at; // set when the node is closed
        self.nodes.push(Node {
            cidr,
            parent,
            end,
            ranges_end,
        });
        self.open.push(at);
    }

    fn finish(mut self) -> (Vec<u32>, Vec<Node>) {
        let end = to_u32(self.nodes.len());
        for at in self.open {
            self.nodes[at as usize].end = end;
        }
        (self.order, self.nodes)
    }
}
