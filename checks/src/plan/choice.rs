//! Which pairs are probed: everything, an edge cover, or one pair for each pair of zones.

use std::collections::BTreeMap;

use crate::policy::Probe;

/// Someone who sends or receives, as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party<'a> {
    /// The node's name; the same at both ends is never a pair.
    pub name: &'a str,
    /// Its zone, empty if it has none.
    pub zone: &'a str,
}

/// The pairs to probe, as positions in both lists, sorted.
///
/// * `full`: every sender to every receiver;
/// * `cover`: every sender and every receiver is in at least one pair, with `max(senders, receivers)` pairs. `turn` moves the pairing on by
///   one, so that all pairs are met in as many audits;
/// * `smoke`: one pair for each pair of zones, moving on with `turn` as well.
pub fn pairs(level: Probe, senders: &[Party<'_>], receivers: &[Party<'_>], turn: u64) -> Vec<(usize, usize)> {
    if senders.is_empty() || receivers.is_empty() {
        return Vec::new();
    }
    let mut pairs = match level {
        Probe::None => Vec::new(),
        Probe::Full => (0..senders.len())
            .flat_map(|from| (0..receivers.len()).map(move |to| (from, to)))
            .collect(),
        Probe::Cover => cover(senders.len(), receivers.len(), turn),
        Probe::Smoke => smoke(senders, receivers, turn),
    };
    // Within one cluster a node need not reach itself; then it reaches the next.
    for (from, to) in &mut pairs {
        if senders[*from].name == receivers[*to].name {
            *to = (*to + 1) % receivers.len();
        }
    }
    pairs.retain(|(from, to)| senders[*from].name != receivers[*to].name);
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

fn cover(senders: usize, receivers: usize, turn: u64) -> Vec<(usize, usize)> {
    let rounds = senders.max(receivers);
    let shift = usize::try_from(turn % receivers as u64).unwrap_or(0);
    (0..rounds)
        .map(|index| (index % senders, (index + shift) % receivers))
        .collect()
}

fn smoke(senders: &[Party<'_>], receivers: &[Party<'_>], turn: u64) -> Vec<(usize, usize)> {
    let by_zone = |parties: &[Party<'_>]| {
        let mut zones: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (position, party) in parties.iter().enumerate() {
            zones.entry(party.zone.to_owned()).or_default().push(position);
        }
        zones.into_values().collect::<Vec<_>>()
    };
    let pick = |zone: &Vec<usize>| zone[usize::try_from(turn % zone.len() as u64).unwrap_or(0)];
    let receivers = by_zone(receivers);
    by_zone(senders)
        .iter()
        .flat_map(|from| receivers.iter().map(|to| (pick(from), pick(to))).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Party, pairs};
    use crate::policy::Probe;

    fn parties(names: &[String]) -> Vec<Party<'_>> {
        names.iter().map(|name| Party { name, zone: "" }).collect()
    }

    fn named(prefix: &str, count: usize) -> Vec<String> {
        (0..count).map(|index| format!("{prefix}{index}")).collect()
    }

    proptest! {
        #[test]
        fn a_cover_meets_every_sender_and_every_receiver_once_at_least(senders in 1_usize..40, receivers in 1_usize..40, turn: u64) {
            let (from, to) = (named("e", senders), named("w", receivers));
            let pairs = pairs(Probe::Cover, &parties(&from), &parties(&to), turn);
            prop_assert_eq!(pairs.len(), senders.max(receivers));
            for sender in 0..senders {
                prop_assert!(pairs.iter().any(|(from, _)| *from == sender));
            }
            for receiver in 0..receivers {
                prop_assert!(pairs.iter().any(|(_, to)| *to == receiver));
            }
        }

        #[test]
        fn in_as_many_turns_as_there_are_receivers_all_pairs_are_met(senders in 1_usize..12, receivers in 1_usize..12) {
            let (from, to) = (named("e", senders), named("w", receivers));
            let mut met: Vec<(usize, usize)> = (0..receivers as u64)
                .flat_map(|turn| pairs(Probe::Cover, &parties(&from), &parties(&to), turn))
                .collect();
            met.sort_unstable();
            met.dedup();
            prop_assert_eq!(met.len(), senders * receivers);
        }
    }

    #[test]
    fn smoke_takes_one_pair_for_each_pair_of_zones() {
        let zones = ["a", "a", "b"];
        let names = named("n", 3);
        let senders: Vec<Party<'_>> = names
            .iter()
            .zip(zones)
            .map(|(name, zone)| Party { name, zone })
            .collect();
        let others = named("w", 2);
        assert_eq!(pairs(Probe::Smoke, &senders, &parties(&others), 0), [(0, 0), (2, 0)]);
    }

    #[test]
    fn a_node_never_probes_itself() {
        let names = named("n", 3);
        let all = parties(&names);
        for turn in 0..3 {
            for (from, to) in pairs(Probe::Cover, &all, &all, turn) {
                assert_ne!(from, to);
            }
        }
        assert!(pairs(Probe::Full, &all[..1], &all[..1], 0).is_empty());
    }
}
