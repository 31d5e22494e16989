//! The walk that finds causes: every range looks at the blocks around it, which say by camps what they hold.

use std::mem;

use super::rules::{KindSet, Rules};
use super::{Claim, Group};

/// One walk over all blocks in order.
pub(super) struct Sweep<S> {
    rules: Rules<S>,
    /// The blocks that the current one lies in, outermost first, and the current one: so many of these, the rest is
    /// kept for its memory.
    levels: Vec<Level<S>>,
    depth: usize,
    /// By owner and kind: who speaks for that claim at one of these levels. Only one can: the larger range speaks for
    /// the smaller.
    places: Vec<Option<Place>>,
    /// By owner: the kinds it has around the current block.
    kinds_above: Vec<KindSet>,
    /// With the block that is the cause.
    causes: Vec<(usize, Group<S>)>,
}

/// A block that has speakers.
struct Level<S> {
    at: usize,
    /// One behind the last block inside this one.
    end: usize,
    speakers: Vec<Speaker>,
    camps: Vec<Camp>,
    /// The worst conflict that this block is the cause of, so far.
    worst: Option<S>,
    /// The ranges inside that take part in one.
    inner: Vec<usize>,
}

/// A range that no larger one of its claim speaks for.
#[derive(Clone, Copy)]
struct Speaker {
    range: usize,
    claim: Claim<usize>,
    /// The place of its camp.
    camp: usize,
    /// Whether it conflicts with a range of its own owner, here or inside, unexplained.
    hit_within_owner: bool,
}

/// Speakers of one block that are alike to every range of another owner: they are of one kind, and their owners have
/// the same kinds around the block. However many they are, a range looks at them once.
struct Camp {
    kind: usize,
    kinds_above: KindSet,
    owners: Owners,
    /// The owners of the ranges that conflict with one of them, here or inside, unexplained.
    hit_by: Owners,
}

/// As much of a set of owners as it takes to tell whether any is not a given one.
#[derive(Clone, Copy)]
enum Owners {
    None,
    One(usize),
    Several,
}

impl Owners {
    fn add(&mut self, owner: usize) {
        *self = match *self {
            Self::None => Self::One(owner),
            Self::One(known) if known == owner => Self::One(owner),
            Self::One(_) | Self::Several => Self::Several,
        }
    }

    fn any_but(self, owner: usize) -> bool {
        match self {
            Self::None => false,
            Self::One(known) => known != owner,
            Self::Several => true,
        }
    }
}

/// Where a claim has its speaker.
#[derive(Clone, Copy)]
struct Place {
    kind: usize,
    level: usize,
    speaker: usize,
}

impl<S: Copy + Ord> Sweep<S> {
    /// Owners are numbered below `owners`, kinds as in `rules`.
    pub(super) fn new(owners: usize, rules: Rules<S>) -> Self {
        Self {
            levels: Vec::new(),
            depth: 0,
            places: vec![None; owners * rules.kinds()],
            kinds_above: vec![KindSet::default(); owners],
            causes: Vec::new(),
            rules,
        }
    }

    /// Takes the next block, one behind the last block inside it, and its ranges.
    pub(super) fn enter(&mut self, at: usize, end: usize, ranges: impl Iterator<Item = (usize, Claim<usize>)>) {
        self.leave_levels_before(at);
        if self.depth == self.levels.len() {
            self.levels.push(Level::new());
        }
        let level = &mut self.levels[self.depth];
        (level.at, level.end) = (at, end);
        for (range, claim) in ranges {
            let place = &mut self.places[claim.owner * self.rules.kinds() + claim.kind];
            if place.is_none() {
                let speaker = level.add(range, claim, self.kinds_above[claim.owner]);
                *place = Some(Place {
                    kind: claim.kind,
                    level: self.depth,
                    speaker,
                });
            }
        }
        let speakers = level.speakers.len();
        if speakers == 0 {
            return;
        }
        self.depth += 1;
        for speaker in 0..speakers {
            self.look_around(self.levels[self.depth - 1].speakers[speaker]);
        }
        for Speaker { claim, .. } in &self.levels[self.depth - 1].speakers {
            let above = &mut self.kinds_above[claim.owner];
            *above = above.with(KindSet::of(claim.kind));
        }
    }

    /// Notes what a speaker of the current block conflicts with, at its own block and at each around it, unless a
    /// larger range explains it.
    fn look_around(&mut self, inner: Speaker) {
        let Claim { owner, kind } = inner.claim;
        let places = &self.places[owner * self.rules.kinds()..][..self.rules.kinds()];
        let relatives: Vec<Place> = places
            .iter()
            .flatten()
            .copied()
            .filter(|place| place.kind != kind)
            .collect();
        let current = self.depth - 1;
        // The kinds that its owner has around the level looked at.
        let mut above = KindSet::default();
        for (depth, level) in self.levels[..self.depth].iter_mut().enumerate() {
            let mut worst = None;
            for camp in level.camps.iter_mut().filter(|camp| camp.owners.any_but(owner)) {
                let rule = self.rules.between_owners(camp.kind, kind);
                if let Some(rule) = rule.filter(|rule| !rule.is_explained(camp.kinds_above, above)) {
                    camp.hit_by.add(owner);
                    worst = worst.max(Some(rule.severity));
                }
            }
            let mut here = KindSet::default();
            for relative in relatives.iter().filter(|relative| relative.level == depth) {
                let rule = self.rules.within_owner(relative.kind, kind);
                if let Some(rule) = rule.filter(|rule| !rule.is_explained(above, above)) {
                    level.speakers[relative.speaker].hit_within_owner = true;
                    worst = worst.max(Some(rule.severity));
                }
                here = here.with(KindSet::of(relative.kind));
            }
            above = above.with(here);
            if worst.is_some() && depth < current {
                level.inner.push(inner.range);
            }
            level.worst = level.worst.max(worst);
        }
    }

    /// Closes the levels that the block `at` does not lie in.
    fn leave_levels_before(&mut self, at: usize) {
        while self.depth > 0 && self.levels[self.depth - 1].end <= at {
            self.depth -= 1;
            let level = &mut self.levels[self.depth];
            for Speaker { claim, .. } in &level.speakers {
                self.places[claim.owner * self.rules.kinds() + claim.kind] = None;
                let above = &mut self.kinds_above[claim.owner];
                *above = above.without(KindSet::of(claim.kind));
            }
            self.causes.extend(level.take_cause());
            level.clear();
        }
    }

    /// One group per block that is a cause, ordered by block.
    pub(super) fn finish(mut self) -> Vec<Group<S>> {
        self.leave_levels_before(usize::MAX);
        self.causes.sort_unstable_by_key(|(at, _)| *at);
        self.causes.into_iter().map(|(_, group)| group).collect()
    }
}

impl<S: Copy> Level<S> {
    fn new() -> Self {
        Self {
            at: 0,
            end: 0,
            speakers: Vec::new(),
            camps: Vec::new(),
            worst: None,
            inner: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.speakers.clear();
        self.camps.clear();
        self.inner.clear();
        self.worst = None;
    }

    /// Adds a speaker whose owner has these kinds around the block, and gives its place.
    fn add(&mut self, range: usize, claim: Claim<usize>, kinds_above: KindSet) -> usize {
        let alike = |camp: &Camp| camp.kind == claim.kind && camp.kinds_above == kinds_above;
        let camp = self.camps.iter().position(alike).unwrap_or_else(|| {
            self.camps.push(Camp {
                kind: claim.kind,
                kinds_above,
                owners: Owners::None,
                hit_by: Owners::None,
            });
            self.camps.len() - 1
        });
        self.camps[camp].owners.add(claim.owner);
        self.speakers.push(Speaker {
            range,
            claim,
            camp,
            hit_within_owner: false,
        });
        self.speakers.len() - 1
    }

    fn take_cause(&mut self) -> Option<(usize, Group<S>)> {
        let severity = self.worst?;
        let hit = |speaker: &&Speaker| {
            speaker.hit_within_owner || self.camps[speaker.camp].hit_by.any_but(speaker.claim.owner)
        };
        let outer = self.speakers.iter().filter(hit).map(|speaker| speaker.range).collect();
        Some((
            self.at,
            Group {
                severity,
                outer,
                inner: mem::take(&mut self.inner),
            },
        ))
    }
}
