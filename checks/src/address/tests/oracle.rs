//! The definition of causes and groups in the words of the module documentation, by comparing every range with every
//! other: slow, and without any idea of trees, sweeps or order.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{Claim, Group};
use crate::cidr::Cidr;

pub(super) type Kind = u8;
pub(super) type Severity = u8;

/// One range with its claim; `None` if the question leaves it out.
pub(super) type Range = (Cidr, Option<Claim<Kind>>);

pub(super) struct Oracle<'a, F> {
    pub(super) ranges: &'a [Range],
    pub(super) rule: F,
}

/// Two ranges in conflict: the first is around the second, or at the same block.
pub(super) type Pair = (usize, usize);

impl<F: Fn(Kind, Kind, bool) -> Option<Severity>> Oracle<'_, F> {
    fn cidr(&self, range: usize) -> Cidr {
        self.ranges[range].0
    }

    pub(super) fn owner(&self, range: usize) -> usize {
        self.ranges[range].1.unwrap().owner
    }

    /// Whether `outer` is around `inner`, larger than it.
    fn around(&self, outer: usize, inner: usize) -> bool {
        self.cidr(outer) != self.cidr(inner) && self.cidr(outer).contains(self.cidr(inner))
    }

    /// How badly two ranges conflict.
    pub(super) fn severity(&self, a: usize, b: usize) -> Option<Severity> {
        let (first, second) = (self.ranges[a].1?, self.ranges[b].1?);
        let overlap = self.cidr(a).overlaps(self.cidr(b));
        (overlap && first != second).then(|| (self.rule)(first.kind, second.kind, first.owner == second.owner))?
    }

    pub(super) fn conflicts(&self) -> BTreeSet<Pair> {
        let all = 0..self.ranges.len();
        let pairs = all.clone().flat_map(|a| all.clone().map(move |b| (a, b)));
        pairs
            .filter(|(a, b)| self.severity(*a, *b).is_some() && self.cidr(*a).contains(self.cidr(*b)))
            .collect()
    }

    /// The range that speaks for this one: the largest, then first, of its claim around it.
    fn speaker(&self, range: usize) -> usize {
        let same_claim = |other: &usize| self.ranges[*other].1 == self.ranges[range].1;
        let speaks = (0..self.ranges.len())
            .filter(same_claim)
            .filter(|o| self.cidr(*o).contains(self.cidr(range)));
        speaks
            .min_by_key(|other| (self.cidr(*other).prefix_len(), *other))
            .unwrap()
    }

    fn ordered(&self, a: usize, b: usize) -> Pair {
        if self.around(b, a) { (b, a) } else { (a, b) }
    }

    /// A conflict of a larger range that makes this one no news.
    fn explanation(&self, (outer, inner): Pair) -> Option<Pair> {
        let spoken_for = (self.speaker(outer), self.speaker(inner));
        if spoken_for != (outer, inner) {
            return Some(self.ordered(spoken_for.0, spoken_for.1));
        }
        let as_bad = |larger: usize, other: usize| self.severity(larger, other) >= self.severity(outer, inner);
        (0..self.ranges.len())
            .filter(|larger| self.around(*larger, outer))
            .find_map(|larger| {
                let larger_claim = self.ranges[larger].1?;
                if larger_claim.owner == self.owner(outer) && as_bad(larger, inner) {
                    Some((larger, inner))
                } else if larger_claim.owner == self.owner(inner) && as_bad(larger, outer) {
                    Some((larger, outer))
                } else {
                    None
                }
            })
    }

    /// The cause of a conflict, which is a conflict itself.
    pub(super) fn cause(&self, pair: Pair) -> Pair {
        self.explanation(pair).map_or(pair, |larger| self.cause(larger))
    }

    pub(super) fn groups(&self) -> Vec<Group<Severity>> {
        let causes: BTreeSet<Pair> = self
            .conflicts()
            .into_iter()
            .filter(|pair| self.explanation(*pair).is_none())
            .collect();
        let mut by_block: BTreeMap<Cidr, Vec<Pair>> = BTreeMap::new();
        for pair in causes {
            by_block.entry(self.cidr(pair.0)).or_default().push(pair);
        }
        let mut groups: Vec<Group<Severity>> = Vec::new();
        for (block, pairs) in by_block {
            let severity = pairs.iter().filter_map(|(a, b)| self.severity(*a, *b)).max().unwrap();
            let (outer, inner) = pairs
                .iter()
                .flat_map(|(a, b)| [*a, *b])
                .partition(|range| self.cidr(*range) == block);
            let (outer, inner) = (self.in_order(outer), self.in_order(inner));
            let alike = |known: &&mut Group<Severity>| {
                let claims = [&known.outer, &known.inner].map(|ranges| self.claims(ranges));
                known.severity == severity && claims == [self.claims(&outer), self.claims(&inner)]
            };
            if let Some(known) = groups.iter_mut().find(alike) {
                known.outer.extend(outer);
                known.inner.extend(inner);
            } else {
                groups.push(Group { severity, outer, inner });
            }
        }
        groups
    }

    fn in_order(&self, ranges: Vec<usize>) -> Vec<usize> {
        let ordered: BTreeSet<(Cidr, usize)> = ranges.into_iter().map(|range| (self.cidr(range), range)).collect();
        ordered.into_iter().map(|(_, range)| range).collect()
    }

    fn claims(&self, ranges: &[usize]) -> BTreeSet<Option<Claim<Kind>>> {
        ranges.iter().map(|range| self.ranges[*range].1).collect()
    }
}
