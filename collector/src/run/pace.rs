//! How the rate of the whole audit is shared out, and how long an agent may take.
//!
//! Agents know nothing of each other, so the caps of the plan are kept by giving each its share: the shares of all senders that send at the
//! same time add up to no more than [`Pace::rate`], and those of all senders to one target to no more than [`Pace::target_rate`]. A sender's
//! share is as large as its part of the packets, and at least one packet a second; where there are more senders than packets a second,
//! they take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prejoin_checks::plan::{Pace, Plan, PlannedProbe, cost};

/// An agent may take so many timeouts for what it was told to send: silent probes are tried again.
const TIMEOUTS: u32 = 12;
/// And so much longer than the rate alone would have it take.
const LEEWAY: Duration = Duration::from_secs(10);

/// The parts of all senders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shares {
    /// So many may send at the same time.
    pub(super) at_once: usize,
    /// The pace of each sender, by its place among the plan's agents.
    pub(super) paces: BTreeMap<u32, Pace>,
}

impl Shares {
    /// Shares a plan's pace out among those who send its probes.
    pub(super) fn of(pace: Pace, probes: &[PlannedProbe]) -> Self {
        let mut work: BTreeMap<u32, u64> = BTreeMap::new();
        let mut targets: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for probe in probes {
            *work.entry(probe.from).or_default() += cost::healthy(probe, &pace).packets.max(1);
            targets.entry(target(probe)).or_default().insert(probe.from);
        }
        // What was sent evenly may arrive in bunches: a tenth is left for that, so that no second sees more than the cap anywhere on the way.
        let spared = |rate: u32| (rate - rate / 10).max(1);
        let (rate, target_rate) = (spared(pace.rate), spared(pace.target_rate));
        let at_once = work.len().min(count(rate)).min(count(target_rate)).max(1);
        let senders = u32::try_from(at_once).unwrap_or(u32::MAX);
        // Whoever takes turns has an equal part: any of them may be at work together.
        let take_turns = work.len() > at_once;
        let total: u64 = work.values().sum();
        let spare = u64::from(rate.saturating_sub(senders));
        let paces = work.iter().map(|(sender, packets)| {
            let share = if take_turns {
                rate / senders
            } else {
                // Rounded down, so that the sum is never more.
                1 + u32::try_from(spare * packets / total).unwrap_or(rate)
            };
            let crowd = targets.values().filter(|senders| senders.contains(sender));
            let crowd = crowd.map(BTreeSet::len).max().unwrap_or(1).min(at_once);
            let target_share = target_rate / u32::try_from(crowd).unwrap_or(u32::MAX).max(1);
            let paced = Pace {
                rate: share,
                target_rate: target_share.max(1),
                ..pace
            };
            (*sender, paced)
        });
        Self {
            at_once,
            paces: paces.collect(),
        }
    }
}

/// How long an agent may take for these probes at this pace, before it counts as hung.
pub(super) fn patience<'a>(pace: Pace, probes: impl IntoIterator<Item = &'a PlannedProbe>) -> Duration {
    let mut all: u64 = 0;
    let mut by_target: BTreeMap<String, u64> = BTreeMap::new();
    for probe in probes {
        let packets = cost::at_most(probe, &pace).packets;
        all += packets;
        *by_target.entry(target(probe)).or_default() += packets;
    }
    let busiest = by_target.values().max().copied().unwrap_or(0);
    let seconds = (all / u64::from(pace.rate.max(1))).max(busiest / u64::from(pace.target_rate.max(1)));
    Duration::from_secs(2 * seconds) + Duration::from_millis(u64::from(pace.timeout_millis)) * TIMEOUTS + LEEWAY
}

fn target(probe: &PlannedProbe) -> String {
    match probe.to.address {
        Some(address) => address.to_string(),
        None => probe.to.host.clone(),
    }
}

fn count(rate: u32) -> usize {
    usize::try_from(rate).unwrap_or(usize::MAX)
}

/// What a plan costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// On the wire where everything answers: packets and bytes, answers included.
    pub healthy: cost::Cost,
    /// The same where nothing does, repetitions included.
    pub at_most: cost::Cost,
    /// How long it takes where everything answers, in seconds.
    pub seconds: u64,
    /// How long it takes at most, in seconds.
    pub seconds_at_most: u64,
}

impl Cost {
    /// What this plan costs.
    pub fn of(plan: &Plan) -> Self {
        let sum = |of: fn(&PlannedProbe, &Pace) -> cost::Cost| -> cost::Cost {
            plan.probes.iter().map(|probe| of(probe, &plan.pace)).sum()
        };
        let (healthy, at_most) = (sum(cost::healthy), sum(cost::at_most));
        let timeouts = Duration::from_millis(u64::from(plan.pace.timeout_millis)) * cost::TRIES;
        Self {
            healthy,
            at_most,
            seconds: seconds(plan, cost::healthy),
            seconds_at_most: seconds(plan, cost::at_most) + timeouts.as_secs().max(1),
        }
    }
}

/// How long the rates alone make a plan take, rounded up.
fn seconds(plan: &Plan, of: fn(&PlannedProbe, &Pace) -> cost::Cost) -> u64 {
    let mut all = 0;
    let mut by_target: BTreeMap<String, u64> = BTreeMap::new();
    for probe in &plan.probes {
        let packets = of(probe, &plan.pace).packets;
        all += packets;
        *by_target.entry(target(probe)).or_default() += packets;
    }
    let busiest = by_target.into_values().max().unwrap_or(0);
    let by_rate = all.div_ceil(u64::from(plan.pace.rate.max(1)));
    by_rate.max(busiest.div_ceil(u64::from(plan.pace.target_rate.max(1))))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use prejoin_checks::plan::{Destination, ProbeKind};
    use proptest::prelude::*;

    use super::*;

    fn probe((from, to, heavy): (u32, u8, bool)) -> PlannedProbe {
        PlannedProbe {
            id: 0,
            codes: Vec::new(),
            from,
            to: Destination {
                cluster: String::new(),
                name: String::new(),
                address: Some(IpAddr::from([10, 0, 0, to])),
                host: String::new(),
                agent: None,
            },
            kind: if heavy {
                ProbeKind::Udp { port: 1 }
            } else {
                ProbeKind::Resolve { names: Vec::new() }
            },
            listener: None,
        }
    }

    proptest! {
        /// Whoever sends at the same time: no more than the plan's rate together, nor to one target more than its own.
        #[test]
        fn shares_never_add_up_to_more_than_the_whole(
            rate in 1_u32..300,
            target_rate in 1_u32..300,
            wanted in prop::collection::vec((0_u32..60, 0_u8..20, any::<bool>()), 1..200),
        ) {
            let pace = Pace { rate, target_rate, ..Pace::default() };
            let probes: Vec<PlannedProbe> = wanted.into_iter().map(probe).collect();
            let shares = Shares::of(pace, &probes);
            let largest = |pick: fn(&Pace) -> u32, senders: &BTreeSet<u32>| {
                let mut rates: Vec<u32> = senders.iter().map(|sender| pick(&shares.paces[sender])).collect();
                rates.sort_unstable_by(|a, b| b.cmp(a));
                rates.iter().take(shares.at_once).sum::<u32>()
            };
            let everyone: BTreeSet<u32> = shares.paces.keys().copied().collect();
            prop_assert!(largest(|pace| pace.rate, &everyone) <= rate);
            let mut targets: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
            for probe in &probes {
                targets.entry(target(probe)).or_default().insert(probe.from);
            }
            for senders in targets.values() {
                prop_assert!(largest(|pace| pace.target_rate, senders) <= target_rate);
            }
            prop_assert!(shares.paces.values().all(|pace| pace.rate > 0 && pace.target_rate > 0));
        }
    }

    #[test]
    fn who_has_more_to_send_gets_more() {
        let probes: Vec<PlannedProbe> = [(0, 1, true), (0, 1, true), (0, 2, true), (1, 2, true)]
            .map(probe)
            .to_vec();
        let shares = Shares::of(
            Pace {
                rate: 402,
                ..Pace::default()
            },
            &probes,
        );
        assert_eq!(shares.at_once, 2);
        // Of 402, a tenth is left over.
        assert_eq!((shares.paces[&0].rate, shares.paces[&1].rate), (271, 91));
        // 10.0.0.2 has two senders.
        assert_eq!((shares.paces[&0].target_rate, shares.paces[&1].target_rate), (225, 225));
    }

    #[test]
    fn patience_follows_the_pace() {
        let probes: Vec<PlannedProbe> = vec![probe((0, 1, true)); 100];
        let at = |rate| {
            let pace = Pace {
                rate,
                ..Pace::default()
            };
            patience(pace, &probes)
        };
        assert!(at(10) > at(1000));
        assert!(at(1000) >= Duration::from_secs(10));
    }
}
