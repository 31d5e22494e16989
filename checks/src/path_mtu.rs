//! The search for the path MTU, as a state machine without input or output: the last answers in, the next sizes out.
//!
//! ```text
//! 1  the sizes that decide something, once each, with the ceiling among them       healthy: done after a round trip
//! 2  if a hop said "too big": what it said and one byte more, twice each            done if the one arrives and the other does not
//! 3  a gap of more than 90 sizes: at most 90 of them, evenly                        1280 to 9000: leaves gaps of 85
//! 4  every size that is left, twice each                                            exact to the byte
//! 5  if datagrams get lost at random: a size by turns with one that arrives, the ceiling first, in the end the next size
//! ```
//!
//! Only the last round needs a whole timeout of silence; the ones before end when what arrives has arrived. What is lost at random costs
//! rounds, never correctness: a size that arrives proves all smaller ones, and where anything is lost a size counts as too big only when it
//! failed beside so many that arrived that no chance would choose so. What is not decided within the datagrams that one search may send is
//! [left open](PathMtu::left_open). What a hop says is a hint, to be confirmed by what arrives and what does not. A path without loss takes at most
//! 20 + 90 + 2 x 90 datagrams; [`Search::MOST_DATAGRAMS`] is never exceeded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chance;

/// What a search for the path MTU found. All sizes are of whole IP packets, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PathMtu {
    /// The largest size that arrived, as the peer confirmed; 0 if none did.
    pub largest_confirmed: u16,
    /// The smallest size that did not; absent where the ceiling itself arrived, or loss leaves it open.
    pub smallest_failed: Option<u16>,
    /// Whether so much is lost that sizes between those two may arrive as well.
    pub left_open: bool,
    /// MTU of the sender's own link: larger sizes never leave.
    pub link_mtu: u16,
    /// The hop that said "too big", and the MTU it gave; absent where nobody said so.
    pub told: Option<TooBig>,
    /// Whether sizes fail and nobody says why: a black hole.
    pub black_hole: bool,
    /// Datagrams sent.
    pub sent: u32,
    /// Rounds of waiting that took.
    pub rounds: u32,
}

/// What a hop said of a packet that was too big.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TooBig {
    /// The hop.
    pub by: IpAddr,
    /// The MTU of its next link, as it said.
    pub mtu: u16,
}

/// Which sizes to send next, and how long to wait for answers to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// Sizes of IP packets in bytes, in the order in which they are to be sent; empty when the search is over.
    pub sizes: Vec<u16>,
    /// How long to wait.
    pub patience: Patience,
}

/// How long to wait for the answers to a round, unless [`Search::is_round_over`] says before that nothing more is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As long as answers take that come: a few round trips; a whole timeout as long as none has come.
    RoundTrips,
    /// A whole timeout: silence decides.
    Timeout,
}

/// The search for one path's MTU in one direction.
#[derive(Debug, Clone)]
pub struct Search {
    ceiling: u16,
    link_mtu: u16,
    candidates: Vec<u16>,
    /// The largest size that arrived; 0 while none did.
    confirmed: u16,
    /// What became of each size that was sent.
    tried: BTreeMap<u16, Tried>,
    /// The sizes of this round.
    round: BTreeSet<u16>,
    /// The latest word of a hop that is neither confirmed nor refuted.
    hint: Option<TooBig>,
    /// How many hints were followed.
    hints: u32,
    /// What a hop said: what turned out to be so, otherwise the latest.
    told: Option<TooBig>,
    /// What became of other datagrams on this way, all of sizes that arrive.
    before: Beside,
    /// What became of what was sent by turns with each size on trial.
    trials: BTreeMap<u16, Beside>,
    stage: Stage,
    sent: u32,
    rounds: u32,
}

/// Datagrams of sizes that arrive.
#[derive(Debug, Clone, Copy, Default)]
struct Beside {
    sent: u32,
    arrived: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tried {
    /// How often it was sent in rounds that are over, and now.
    before: u32,
    now: u32,
    /// How often it arrived.
    arrived: u32,
    /// Whether a round in which it was sent was waited for to the end.
    given_up: bool,
    /// Whether a hop said that it is too big.
    refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Candidates,
    /// Nothing has arrived yet, so many rounds long.
    Silent(u32),
    /// A hint is being confirmed.
    Hint(TooBig),
    Grid,
    Sweep,
    /// Where datagrams get lost: a size, by turns with one that arrives.
    Trial {
        size: u16,
        other: u16,
        /// How many of the other had arrived before.
        arrived: u32,
    },
    Over,
}

impl Search {
    /// The most datagrams that one search sends.
    pub const MOST_DATAGRAMS: u32 = 768;
    /// The smallest size that is ever sent: whether anything arrives at all.
    pub const SMALLEST: u16 = 200;

    /// Sizes in one round of a wide gap, and the widest gap of which every size is sent.
    const WIDTH: u16 = 90;
    /// The most candidates that are taken.
    const CANDIDATES: usize = 64;
    /// Rounds while nothing arrives at all.
    const SILENT_ROUNDS: u32 = 3;
    /// Copies of the smallest size in a further round of silence, each to leave from a source port of its own.
    const SILENT_COPIES: usize = 5;
    /// The most hints that are followed: hops that say something else each time are not believed for ever.
    const HINTS: u32 = 4;
    /// How often a size must fail where nothing else does.
    const COPIES: u32 = 2;
    /// The most copies of a size on trial in one round.
    const TRIAL_COPIES: u32 = 64;
    /// A size on trial fails when chance alone would have it so at most this often.
    const CHANCE: f64 = 1e-5;
    /// So many others must arrive beside it for that.
    const TRIAL_ARRIVALS: u32 = 18;

    /// Between a floor that is worth knowing and a ceiling beyond which nothing is, or the own link's MTU if that is less. Sizes that decide
    /// something, the candidates, are tried first.
    pub fn new(floor: u16, ceiling: u16, candidates: &[u16], link_mtu: u16) -> Self {
        let ceiling = ceiling.min(link_mtu).max(Self::SMALLEST);
        let wanted = candidates
            .iter()
            .copied()
            .filter(|size| (Self::SMALLEST..ceiling).contains(size))
            .take(Self::CANDIDATES);
        let set: BTreeSet<_> = wanted
            .chain([Self::SMALLEST, floor.clamp(Self::SMALLEST, ceiling), ceiling])
            .collect();
        Self {
            ceiling,
            link_mtu,
            // The largest first: if it arrives, nothing else matters.
            candidates: set.into_iter().rev().collect(),
            confirmed: 0,
            tried: BTreeMap::new(),
            round: BTreeSet::new(),
            hint: None,
            hints: 0,
            told: None,
            before: Beside::default(),
            trials: BTreeMap::new(),
            stage: Stage::Candidates,
            sent: 0,
            rounds: 0,
        }
    }

    /// Of so many small datagrams sent on this way before, so many arrived.
    pub fn know_loss(&mut self, sent: u32, arrived: u32) {
        self.before = Beside { sent, arrived };
    }

    /// The round before is over; which sizes to send next. None when the search is over.
    pub fn next_round(&mut self) -> Round {
        let silence_decided = self.end_round();
        let sizes = if self.stage == Stage::Over {
            Vec::new()
        } else {
            self.choose(silence_decided)
        };
        let room = usize::try_from(Self::MOST_DATAGRAMS - self.sent).unwrap_or(0);
        if sizes.is_empty() || sizes.len() > room {
            self.stage = Stage::Over;
            return Round {
                sizes: Vec::new(),
                patience: Patience::RoundTrips,
            };
        }
        for &size in &sizes {
            self.tried.entry(size).or_default().now += 1;
            self.round.insert(size);
        }
        self.sent += u32::try_from(sizes.len()).unwrap_or(u32::MAX);
        self.rounds += 1;
        Round {
            sizes,
            patience: self.patience(),
        }
    }

    /// Whether nothing has arrived yet, after a first round: each datagram of this round is to leave from a source port of its own, as the first
    /// one's may end at the dead member of a bundle.
    pub fn is_silent(&self) -> bool {
        matches!(self.stage, Stage::Silent(_)) && self.confirmed == 0
    }

    /// Whether this round tells a size from loss: its datagrams are to be spread in time, and no more of them are to be sent once one of the
    /// size on trial has arrived.
    pub fn is_trial(&self) -> bool {
        matches!(self.stage, Stage::Trial { .. })
    }

    fn patience(&self) -> Patience {
        match self.stage {
            Stage::Candidates | Stage::Grid => Patience::RoundTrips,
            Stage::Silent(rounds) if rounds + 1 < Self::SILENT_ROUNDS => Patience::RoundTrips,
            Stage::Silent(_) | Stage::Hint(_) | Stage::Sweep | Stage::Trial { .. } | Stage::Over => Patience::Timeout,
        }
    }

    /// A datagram of this size arrived, as the peer confirmed; once for each copy.
    pub fn confirm(&mut self, size: u16) {
        let Some(tried) = self.tried.get_mut(&size) else { return };
        tried.arrived += 1;
        self.confirmed = self.confirmed.max(size);
        if self.hint.is_some_and(|hint| hint.mtu < self.confirmed) {
            // Larger ones do arrive.
            self.hint = None;
        }
    }

    /// A hop said that a packet of ours is too big, and which MTU its next link has; of which size, if its message tells.
    pub fn too_big(&mut self, size: Option<u16>, said: TooBig) {
        if let Some(tried) = size.and_then(|size| self.tried.get_mut(&size)) {
            tried.refused = true;
        }
        let possible = (Self::SMALLEST..self.ceiling).contains(&said.mtu) && said.mtu >= self.confirmed;
        // The narrowest link counts; what was refuted does not come back.
        let refuted = self
            .tried
            .get(&said.mtu)
            .is_some_and(|tried| tried.given_up && tried.arrived == 0);
        if self.told.is_none_or(|told| told.mtu != self.confirmed) {
            self.told = Some(said);
        }
        let narrower = self.hint.is_none_or(|hint| said.mtu < hint.mtu);
        if possible && !refuted && narrower && self.hints < Self::HINTS {
            self.hint = Some(said);
        }
    }

    /// The own kernel refuses this size: larger than the own link's MTU, which it gives, or 0 if it does not.
    pub fn too_big_for_link(&mut self, size: u16, link_mtu: u16) {
        let limit = if (Self::SMALLEST..size).contains(&link_mtu) {
            link_mtu
        } else {
            size.saturating_sub(1)
        };
        self.link_mtu = self.link_mtu.min(limit);
        self.ceiling = self.ceiling.min(limit).max(Self::SMALLEST);
    }

    /// Whether the round can end before its time: no answer to come would change what is sent next.
    pub fn is_round_over(&self) -> bool {
        if self.confirmed >= self.ceiling {
            return true;
        }
        let arrived = |size: &u16| self.tried.get(size).is_some_and(|tried| tried.arrived > 0);
        let refused = |size: &u16| *size > self.ceiling || self.tried.get(size).is_some_and(|tried| tried.refused);
        match (self.stage, self.hint) {
            (Stage::Over, _) => true,
            // Every size up to what the hop said has arrived: the rest fails as it said, or the next round shows that it lied.
            (Stage::Candidates | Stage::Grid, Some(hint)) => self.round.range(..=hint.mtu).all(arrived),
            (Stage::Hint(hint), Some(newer)) if newer.mtu < hint.mtu => true,
            (Stage::Trial { size, .. }, _) => arrived(&size),
            (Stage::Hint(hint), _) => self.confirmed == hint.mtu && refused(&(hint.mtu + 1)),
            _ => self.round.iter().all(|size| arrived(size) || refused(size)),
        }
    }

    /// What was found.
    pub fn finish(&self) -> PathMtu {
        let all_arrives = self.confirmed >= self.ceiling;
        let left_open = !all_arrives && self.confirmed > 0 && self.loses() && !self.is_refuted(self.confirmed + 1);
        let mut above = self.tried.range(self.confirmed + 1..).map(|(&size, _)| size);
        let fails = if all_arrives {
            None
        } else if left_open {
            above.find(|size| self.is_refuted(*size))
        } else {
            Some(above.next().unwrap_or(self.ceiling))
        };
        PathMtu {
            largest_confirmed: self.confirmed,
            smallest_failed: fails,
            left_open,
            link_mtu: self.link_mtu,
            told: self.told.filter(|_| fails.is_some()),
            black_hole: fails.is_some() && self.confirmed > 0 && self.told.is_none(),
            sent: self.sent,
            rounds: self.rounds,
        }
    }

    /// Closes the books of the last round; whether it was waited for to the end.
    fn end_round(&mut self) -> bool {
        let decided = self.patience() == Patience::Timeout;
        for size in std::mem::take(&mut self.round) {
            if let Some(tried) = self.tried.get_mut(&size) {
                tried.before += tried.now;
                tried.now = 0;
                tried.given_up |= decided;
            }
        }
        if let Stage::Trial { size, other, arrived } = self.stage {
            let now = self.tried.get(&other).map_or(0, |tried| tried.arrived);
            if let Some(trial) = self.trials.get_mut(&size) {
                trial.arrived += now.saturating_sub(arrived);
            }
        }
        if let Stage::Hint(hint) = self.stage {
            if self.confirmed == hint.mtu {
                self.told = Some(hint);
            }
            if self.hint == Some(hint) {
                self.hint = None;
            }
        }
        decided
    }

    fn choose(&mut self, silence_decided: bool) -> Vec<u16> {
        if self.stage == Stage::Candidates && self.rounds == 0 {
            return self.candidates_left();
        }
        if self.confirmed >= self.ceiling {
            return Vec::new();
        }
        if self.confirmed == 0 {
            return self.choose_in_silence();
        }
        if matches!(self.stage, Stage::Silent(_)) {
            // What was silent was the port, or a burst of loss: what it lost says nothing of this one.
            self.stage = Stage::Candidates;
            self.tried.clear();
            return self.candidates_left();
        }
        if let Some(hint) = self.hint {
            self.stage = Stage::Hint(hint);
            self.hints += 1;
            return vec![hint.mtu + 1, hint.mtu, hint.mtu + 1, hint.mtu];
        }
        if self.is_decided(silence_decided) {
            return Vec::new();
        }
        if self.loses_much() && !self.is_refuted(self.ceiling) {
            // Where it arrives, no other size matters.
            return self.try_by_turns(self.ceiling);
        }
        let next = self.confirmed + 1;
        if let Some(failed) = self.tried.get(&next).filter(|tried| tried.given_up) {
            // The very next size failed, but not yet often enough to rule out chance.
            if self.loses() {
                return self.try_by_turns(next);
            }
            self.stage = Stage::Sweep;
            return vec![next; Self::COPIES.saturating_sub(failed.before).max(1) as usize];
        }
        let first_failed = self
            .tried
            .range(next..=self.ceiling)
            .next()
            .map_or(self.ceiling, |(&size, _)| size);
        let gap = first_failed - self.confirmed;
        if gap > Self::WIDTH {
            self.stage = Stage::Grid;
            // The size that failed is among them, in case it merely got lost.
            return (1..=Self::WIDTH)
                .map(|step| {
                    self.confirmed
                        + u16::try_from(u32::from(gap) * u32::from(step) / u32::from(Self::WIDTH)).unwrap_or(gap)
                })
                .rev()
                .collect();
        }
        self.stage = Stage::Sweep;
        let every: Vec<_> = (next..=first_failed).rev().collect();
        [every.as_slice(), &every].concat()
    }

    /// Nothing at all has arrived: the smallest size from several ports, twice, then it is silent.
    fn choose_in_silence(&mut self) -> Vec<u16> {
        let silent = match self.stage {
            Stage::Silent(rounds) => rounds + 1,
            _ => 1,
        };
        self.stage = Stage::Silent(silent);
        if silent >= Self::SILENT_ROUNDS {
            return Vec::new();
        }
        vec![Self::SMALLEST; Self::SILENT_COPIES]
    }

    fn candidates_left(&self) -> Vec<u16> {
        let possible = self.candidates.iter().copied();
        possible.filter(|&size| size <= self.ceiling).collect()
    }

    /// As many of a size as are likely to decide about it, each next to one of the largest that arrives: which of the two comes first must not
    /// follow any beat that a policer may have.
    fn try_by_turns(&mut self, size: u16) -> Vec<u16> {
        let other = self.confirmed;
        let arrived = self.tried.get(&other).map_or(0, |tried| tried.arrived);
        self.stage = Stage::Trial { size, other, arrived };
        let Beside { sent, arrived } = self.below();
        let wanted = Self::TRIAL_ARRIVALS * sent.max(1) / arrived.max(1);
        let room = (Self::MOST_DATAGRAMS - self.sent) / 2;
        let copies = wanted.clamp(Self::TRIAL_ARRIVALS, Self::TRIAL_COPIES).min(room);
        self.trials.entry(size).or_default().sent += copies;
        let pairs = (0..copies).flat_map(|turn| {
            // The sequence of Thue and Morse has no period.
            if turn.count_ones() % 2 == 0 {
                [size, other]
            } else {
                [other, size]
            }
        });
        pairs.collect()
    }

    /// Whether the size after the largest that arrived is proven to fail.
    fn is_decided(&self, silence_decided: bool) -> bool {
        let size = self.confirmed + 1;
        let Some(next) = self.tried.get(&size) else {
            return false;
        };
        if self.is_refuted(size) {
            return true;
        }
        !self.loses() && silence_decided && next.given_up && next.before >= Self::COPIES
    }

    /// Whether a size fails for sure, whatever is lost beside: a hop says so and what it says holds, or it failed by turns with one that arrives.
    fn is_refuted(&self, size: u16) -> bool {
        let told = self.told.is_some_and(|told| told.mtu == self.confirmed);
        let refused = |tried: &Tried| told && tried.refused;
        let mut smaller = self.tried.range(self.confirmed + 1..=size);
        let mut trials = self.trials.range(self.confirmed + 1..=size);
        smaller.any(|(_, tried)| refused(tried))
            || trials
                .any(|(_, beside)| chance::of_missing_all(beside.sent, beside.sent, beside.arrived) <= Self::CHANCE)
    }

    /// What became of all that is small enough to arrive.
    fn below(&self) -> Beside {
        let below = self.tried.range(..=self.confirmed).map(|(_, tried)| tried);
        below.fold(self.before, |sum, tried| Beside {
            sent: sum.sent + tried.before + tried.now,
            arrived: sum.arrived + tried.arrived,
        })
    }

    /// Whether anything is lost that is small enough to arrive.
    fn loses(&self) -> bool {
        let Beside { sent, arrived } = self.below();
        arrived < sent
    }

    /// Whether so much is lost that searching on for what may merely have been lost is the longer way.
    fn loses_much(&self) -> bool {
        let Beside { sent, arrived } = self.below();
        sent.saturating_sub(arrived) > sent / 5
    }
}

#[cfg(test)]
mod tests;
