//! Which overlaps are faults, and which faults are one cause.
//!
//! Two ranges **conflict** if their blocks overlap and the caller's rule says how badly two such ranges may not. What
//! an engineer wants to read is not the pairs (one wide pool can make ten thousand) but what to change:
//!
//! 1. *A larger range speaks for the smaller ones of the same claim in it.* A [`Claim`] is whose a range is and what
//!    for. A pool and the blocks cut from it, both entered as `east`'s pods, are the pool; ranges of one claim never
//!    conflict with each other.
//! 2. *The largest block explains.* A conflict is explained by a larger range of the same owner, around the larger of
//!    the two ranges, that conflicts with the other side at least as badly: `west`'s nodes lie in `east`'s pool, so
//!    that they also lie in a block cut from it is no news. What nothing larger explains is a **cause**. Following
//!    explanations never changes the two owners and never makes the conflict milder, so each conflicting pair has
//!    exactly one cause, which names its owners and is at least as severe: no verdict about two clusters is lost.
//! 3. *One group per block that causes conflicts.* It holds the ranges at that block, and each range inside that
//!    conflicts with one of them. Owners that conflict inside on their own account, whatever lies around them, have
//!    a group of their own: shrinking the outer range would not help them.
//! 4. *Alike is one group.* Blocks at which the same claims conflict equally badly with the same claims are listed
//!    together: two clusters whose nodes were given the same thousand blocks have one problem.
//!
//! So 10.0.0.0/8 over ten thousand blocks is one group, and so is one block that five hundred clusters share.
//!
//! One sweep over the forest in which every block looks at the blocks around it: the time is at most ranges × depth of
//! the nesting (at most 33 or 129) × kinds, and the groups list a range at most once per block around it. How many
//! ranges share a block does not matter: they are kept by kind, not one by one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::AddressIndex;

mod rules;
mod sweep;

use rules::Rules;
use sweep::Sweep;

/// Whose a range is and what it is used for: what the rule about conflicts sees of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim<K> {
    /// Whose: a small number, such as the place of the cluster in the list of clusters. Memory grows with the largest.
    pub owner: usize,
    /// What for: one of a handful of values that the rule distinguishes. Ranges of the same owner and kind are
    /// interchangeable, so kinds should differ where the rule does, and only there.
    pub kind: K,
}

/// Conflicts with one cause; the numbers are those of the ranges in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<S> {
    /// How bad the worst of these conflicts is.
    pub severity: S,
    /// The ranges that are the cause, by block, then as given: at one block, or at several that are alike. They
    /// conflict with each other, with an inner range, or both. Of ranges with the same claim and block, the first.
    pub outer: Vec<usize>,
    /// The largest ranges of each claim that lie inside an outer range and conflict with it, by block, then as given.
    pub inner: Vec<usize>,
}

impl<T> AddressIndex<T> {
    /// Groups all conflicts by cause; see the module documentation of `address/conflict.rs` for what a cause is.
    ///
    /// `claim` says how the question at hand sees a range; ranges for which it gives `None` are left out.
    /// `severity` says how bad it is that ranges of two kinds overlap, within one owner (`true`) or between two
    /// (`false`); `None` if that is no conflict. Which of the two kinds comes first means nothing: if the answers
    /// differ, the worse one counts. It is not asked about one kind within one owner.
    ///
    /// Groups are ordered by their first outer block. Kinds beyond the 64th distinct one are never explained by or
    /// for other kinds, which may give more groups but loses no conflict.
    ///
    /// ```
    /// use prejoin_checks::address::{AddressIndex, Claim};
    ///
    /// let pods = |text: &str, owner: usize| (text.parse().unwrap(), owner);
    /// let index = AddressIndex::new(vec![pods("10.0.0.0/8", 0), pods("10.1.0.0/16", 1), pods("10.2.0.0/16", 2)]);
    /// let groups = index.conflicts(|owner| Some(Claim { owner: *owner, kind: () }), |(), (), same| (!same).then_some(()));
    /// assert_eq!(groups.len(), 1);
    /// assert_eq!((&groups[0].outer[..], &groups[0].inner[..]), (&[0][..], &[1, 2][..]));
    /// ```
    pub fn conflicts<K, S>(
        &self,
        claim: impl Fn(&T) -> Option<Claim<K>>,
        severity: impl Fn(K, K, bool) -> Option<S>,
    ) -> Vec<Group<S>>
    where
        K: Copy + PartialEq,
        S: Copy + Ord + Hash,
    {
        let mut kinds = Vec::new();
        let claims = self.ranges.iter().map(|(_, value)| {
            let Claim { owner, kind } = claim(value)?;
            let kind = place_of(&mut kinds, kind);
            Some(Claim { owner, kind })
        });
        let claims: Vec<Option<Claim<usize>>> = claims.collect();
        let owners = claims.iter().flatten().map(|claim| claim.owner + 1).max().unwrap_or(0);
        let mut sweep = Sweep::new(owners, Rules::new(&kinds, severity));
        for block in self.blocks() {
            let ranges = block.ranges().filter_map(|range| Some((range, claims[range]?)));
            sweep.enter(block.at, block.node().end as usize, ranges);
        }
        merge_alike(sweep.finish(), |range| {
            claims[range].map(|claim| claim.owner * kinds.len() + claim.kind)
        })
    }
}

/// The place of `kind` among `kinds`, where it is put if it is new.
fn place_of<K: PartialEq>(kinds: &mut Vec<K>, kind: K) -> usize {
    kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
        kinds.push(kind);
        kinds.len() - 1
    })
}

/// Joins the groups in which the same claims conflict equally badly with the same claims; `claim` numbers them.
fn merge_alike<S: Copy + Eq + Hash>(groups: Vec<Group<S>>, claim: impl Fn(usize) -> Option<usize>) -> Vec<Group<S>> {
    let claims_of = |ranges: &[usize]| {
        let mut claims: Vec<usize> = ranges.iter().filter_map(|range| claim(*range)).collect();
        claims.sort_unstable();
        claims.dedup();
        claims
    };
    let mut merged: Vec<Group<S>> = Vec::new();
    let mut places = HashMap::new();
    for group in groups {
        match places.entry((group.severity, claims_of(&group.outer), claims_of(&group.inner))) {
            Entry::Occupied(place) => {
                let known: &mut Group<S> = &mut merged[*place.get()];
                known.outer.extend(group.outer);
                known.inner.extend(group.inner);
            }
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(group);
            }
        }
    }
    merged
}
