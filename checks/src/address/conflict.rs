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
        let mut claims: Vec<Option<(usize, usize)>> = Vec::with_capacity(self.len());
        for (_, value) in &self.ranges {
            claims.push(claim(value).map(|claim| (claim.owner, place_of(&mut kinds, claim.kind))));
        }
        let owners = claims.iter().flatten().map(|claim| claim.0 + 1).max().unwrap_or(0);
        let mut sweep = Sweep::new(owners, Rules::new(&kinds, severity));
        for block in self.blocks() {
            let ranges = block.ranges().filter_map(|range| Some((range, claims[range]?)));
            sweep.enter(block.at, block.node().end as usize, ranges);
        }
        merge_alike(sweep.finish(), &claims)
    }
}

/// The place of `kind` among `kinds`, where it is put if it is new.
fn place_of<K: PartialEq>(kinds: &mut Vec<K>, kind: K) -> usize {
    kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
        kinds.push(kind);
        kinds.len() - 1
    })
}

/// A set of the first 64 kinds; the others are never in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct KindSet(u64);

impl KindSet {
    const CAPACITY: usize = 64;

    fn of(kind: usize) -> Self {
        Self(if kind < Self::CAPACITY { 1 << kind } else { 0 })
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What the rule says about two kinds.
#[derive(Clone, Copy)]
struct Rule<S> {
    severity: S,
    /// The kinds that are at least as bad in place of the first.
    explained_by: KindSet,
}

/// The caller's rule as a table, so that it is asked once for every two kinds.
struct Rules<S> {
    kinds: usize,
    /// By first kind, second kind, and whether it is about one owner.
    table: Vec<[Option<Rule<S>>; 2]>,
}

impl<S: Copy + Ord> Rules<S> {
    fn new<K: Copy>(kinds: &[K], severity: impl Fn(K, K, bool) -> Option<S>) -> Self {
        let count = kinds.len();
        let pairs = (0..count).flat_map(|first| (0..count).map(move |second| (first, second)));
        let asked = pairs.clone().map(|(first, second)| {
            // A rule that is not symmetric by mistake must not hide anything: the worse answer counts.
            let ask =
                |same| severity(kinds[first], kinds[second], same).max(severity(kinds[second], kinds[first], same));
            [ask(false), (first != second).then(|| ask(true)).flatten()]
        });
        let severities: Vec<[Option<S>; 2]> = asked.collect();
        let rule = |first: usize, second: usize, relation: usize| {
            let severity = severities[first * count + second][relation]?;
            let as_bad = |kind: &usize| severities[kind * count + second][relation] >= Some(severity);
            let explained_by = (0..count.min(KindSet::CAPACITY)).filter(as_bad).map(KindSet::of);
            let explained_by = explained_by.fold(KindSet::default(), KindSet::with);
            Some(Rule { severity, explained_by })
        };
        let table = pairs.map(|(first, second)| [0, 1].map(|relation| rule(first, second, relation)));
        Self {
            kinds: count,
            table: table.collect(),
        }
    }

    /// The rule for a range of the first kind around, or at the block of, one of the second.
    fn between_owners(&self, outer: usize, inner: usize) -> Option<Rule<S>> {
        self.table[outer * self.kinds + inner][0]
    }

    /// The same within one owner.
    fn within_owner(&self, outer: usize, inner: usize) -> Option<Rule<S>> {
        self.table[outer * self.kinds + inner][1]
    }
}

/// As much of a set of owners as it takes to know whether one of them is not a given one.
#[derive(Debug, Clone, Copy, Default)]
enum Owners {
    #[default]
    None,
    One(usize),
    Several,
}

impl Owners {
    fn add(&mut self, owner: usize) {
        *self = match *self {
            Self::None => Self::One(owner),
            Self::One(known) if known == owner => return,
            Self::One(_) | Self::Several => Self::Several,
        }
    }

    fn other_than(self, owner: usize) -> bool {
        match self {
            Self::None => false,
            Self::One(known) => known != owner,
            Self::Several => true,
        }
    }
}

/// A range that no larger one of its claim speaks for.
#[derive(Clone, Copy)]
struct Speaker {
    range: usize,
    owner: usize,
    kind: usize,
    /// The camp it belongs to.
    camp: usize,
    /// Whether a range of its own owner conflicts with it here.
    hit_within_owner: bool,
}

/// The speakers at one block that conflict with just the same ranges, but for their own owner's: they have the same
/// kind, and their owners have the same kinds around the block.
struct Camp {
    kind: usize,
    kinds_above: KindSet,
    owners: Owners,
    /// The owners of the ranges that conflict with this camp, here or inside, unexplained.
    hit_by: Owners,
}

/// A block around the current one, or the current one, that has speakers.
struct Level<S> {
    /// The node of the block, and one behind the last node inside it.
    at: usize,
    end: usize,
    speakers: Vec<Speaker>,
    camps: Vec<Camp>,
    /// What has this block as its cause so far.
    worst: Option<S>,
    inner: Vec<usize>,
}

/// Where a claim has its speaker on the way from the root to the current block.
#[derive(Clone, Copy)]
struct Place {
    kind: usize,
    level: usize,
    speaker: usize,
}

/// One walk over all blocks in order.
struct Sweep<S> {
    rules: Rules<S>,
    levels: Vec<Level<S>>,
    /// By owner and kind.
    places: Vec<Option<Place>>,
    /// By owner: the kinds of its speakers around the current block.
    kinds_above: Vec<KindSet>,
    causes: Vec<Cause<S>>,
}

struct Cause<S> {
    at: usize,
    group: Group<S>,
}

impl<S: Copy + Ord> Sweep<S> {
    fn new(owners: usize, rules: Rules<S>) -> Self {
        Self {
            levels: Vec::new(),
            places: vec![None; owners * rules.kinds],
            kinds_above: vec![KindSet::default(); owners],
            causes: Vec::new(),
            rules,
        }
    }

    /// Takes the next block, with its ranges and their owners and kinds.
    fn enter(&mut self, at: usize, end: usize, ranges: impl Iterator<Item = (usize, (usize, usize))>) {
        self.leave_levels_before(at);
        let mut level = Level {
            at,
            end,
            speakers: Vec::new(),
            camps: Vec::new(),
            worst: None,
            inner: Vec::new(),
        };
        for (range, (owner, kind)) in ranges {
            let place = &mut self.places[owner * self.rules.kinds + kind];
            if place.is_none() {
                *place = Some(Place {
                    kind,
                    level: self.levels.len(),
                    speaker: level.speakers.len(),
                });
                let camp = level.join_camp(owner, kind, self.kinds_above[owner]);
                level.speakers.push(Speaker {
                    range,
                    owner,
                    kind,
                    camp,
                    hit_within_owner: false,
                });
            }
        }
        if level.speakers.is_empty() {
            return;
        }
        self.levels.push(level);
        let own = self.levels.len() - 1;
        for position in 0..self.levels[own].speakers.len() {
            self.meet_levels(self.levels[own].speakers[position]);
        }
        for speaker in &self.levels[own].speakers {
            let kinds = &mut self.kinds_above[speaker.owner];
            *kinds = kinds.with(KindSet::of(speaker.kind));
        }
    }

    /// Notes what a speaker of the innermost level conflicts with, at its own block and at each around it.
    fn meet_levels(&mut self, inner: Speaker) {
        let own = self.levels.len() - 1;
        let places = &self.places[inner.owner * self.rules.kinds..][..self.rules.kinds];
        // The kinds that its owner has around the block looked at.
        let mut kinds_above = KindSet::default();
        for (depth, level) in self.levels.iter_mut().enumerate() {
            let mut worst = None;
            for camp in level
                .camps
                .iter_mut()
                .filter(|camp| camp.owners.other_than(inner.owner))
            {
                let rule = self.rules.between_owners(camp.kind, inner.kind);
                let mirrored = self.rules.between_owners(inner.kind, camp.kind);
                let (Some(rule), Some(mirrored)) = (rule, mirrored) else {
                    continue;
                };
                if !rule.explained_by.meets(camp.kinds_above) && !mirrored.explained_by.meets(kinds_above) {
                    camp.hit_by.add(inner.owner);
                    worst = worst.max(Some(rule.severity));
                }
            }
            for place in places.iter().flatten().filter(|place| place.level == depth) {
                let rule = self.rules.within_owner(place.kind, inner.kind);
                let mirrored = self.rules.within_owner(inner.kind, place.kind);
                if let (Some(rule), Some(mirrored)) = (rule, mirrored)
                    && !rule.explained_by.with(mirrored.explained_by).meets(kinds_above)
                {
                    level.speakers[place.speaker].hit_within_owner = true;
                    worst = worst.max(Some(rule.severity));
                }
            }
            for place in places.iter().flatten().filter(|place| place.level == depth) {
                kinds_above = kinds_above.with(KindSet::of(place.kind));
            }
            if worst.is_some() && depth < own {
                level.inner.push(inner.range);
            }
            level.worst = level.worst.max(worst);
        }
    }

    /// Closes the levels that the node `at` does not lie in.
    fn leave_levels_before(&mut self, at: usize) {
        while let Some(level) = self.levels.pop_if(|level| level.end <= at) {
            for speaker in &level.speakers {
                self.places[speaker.owner * self.rules.kinds + speaker.kind] = None;
                let kinds = &mut self.kinds_above[speaker.owner];
                *kinds = kinds.without(KindSet::of(speaker.kind));
            }
            self.causes.extend(level.into_cause());
        }
    }

    fn finish(mut self) -> Vec<Group<S>> {
        self.leave_levels_before(usize::MAX);
        self.causes.sort_unstable_by_key(|cause| cause.at);
        self.causes.into_iter().map(|cause| cause.group).collect()
    }
}

impl<S> Level<S> {
    /// Adds an owner to the camp of this kind and these kinds above, and says which that is.
    fn join_camp(&mut self, owner: usize, kind: usize, kinds_above: KindSet) -> usize {
        let alike = |camp: &Camp| camp.kind == kind && camp.kinds_above == kinds_above;
        let position = self.camps.iter().position(alike).unwrap_or_else(|| {
            self.camps.push(Camp {
                kind,
                kinds_above,
                owners: Owners::None,
                hit_by: Owners::None,
            });
            self.camps.len() - 1
        });
        self.camps[position].owners.add(owner);
        position
    }

    fn into_cause(self) -> Option<Cause<S>> {
        let hit =
            |speaker: &&Speaker| speaker.hit_within_owner || self.camps[speaker.camp].hit_by.other_than(speaker.owner);
        let outer = self.speakers.iter().filter(hit).map(|speaker| speaker.range).collect();
        let group = Group {
            severity: self.worst?,
            outer,
            inner: self.inner,
        };
        Some(Cause { at: self.at, group })
    }
}

/// Joins the groups in which the same claims conflict equally badly with the same claims.
fn merge_alike<S: Copy + Eq + Hash>(groups: Vec<Group<S>>, claims: &[Option<(usize, usize)>]) -> Vec<Group<S>> {
    let claims_of = |ranges: &[usize]| {
        let mut found: Vec<_> = ranges.iter().filter_map(|range| claims[*range]).collect();
        found.sort_unstable();
        found.dedup();
        found
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
