//! Silence where datagrams are lost anyway: a filter, or only more of the same? See [`chance`].
//!

use std::collections::HashMap;

use super::Observations;
use super::failures::{Ends, ends, is_silent};
use super::shown::Shown;
use crate::chance;
use crate::facts::provenance::{Reason, Unknown};
use crate::plan::{PlannedProbe, ProbeKind};

/// Silence that blind loss explains more often than this proves nothing.
const CHANCE: f64 = 1e-6;

/// Datagrams, and how many of them got through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    sent: u32,
    through: u32,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.sent = self.sent.saturating_add(other.sent);
        self.through = self.through.saturating_add(other.through);
    }
}

/// Datagrams of one kind from one cluster to another, over one family of addresses.
type Like<'o> = (String, &'o str, &'o str, bool);

/// Makes unknown what is silent only as far as the loss around it explains; gives the positions of these probes.
pub(super) fn doubt(observations: &Observations, shown: &mut [Shown]) -> Vec<usize> {
    let probes = &observations.plan.probes;
    let mut others: HashMap<Like<'_>, Count> = HashMap::new();
    let mut silent: HashMap<Ends, Count> = HashMap::new();
    for (probe, shown) in probes.iter().zip(&*shown) {
        let Some(count) = count(observations, probe) else {
            continue;
        };
        match shown {
            Shown::Proven(_) => others.entry(like(observations, probe)).or_default().add(count),
            shown if is_silent(shown) => silent.entry(ends(probe)).or_default().add(count),
            Shown::Failed(_) | Shown::Unknown(_) => {}
        }
    }
    let mut doubted = Vec::new();
    for (at, probe) in probes.iter().enumerate().filter(|(at, _)| is_silent(&shown[*at])) {
        let both = others.get(&like(observations, probe)).zip(silent.get(&ends(probe)));
        if let Some((others, own)) = both
            && is_chance(*others, own.sent)
        {
            doubted.push(at);
        }
    }
    for &at in &doubted {
        let others = others
            .get(&like(observations, &probes[at]))
            .copied()
            .unwrap_or_default();
        let lost = u64::from(others.sent - others.through) * 100 / u64::from(others.sent.max(1));
        let why = format!(
            "nothing got through, which may be no more than the loss of {lost} % that such datagrams meet between these clusters"
        );
        shown[at] = Shown::Unknown(Unknown::new(Reason::Unreachable, why));
    }
    doubted
}

/// Whether blind loss makes it likely enough that none of so many got through, as others lose something too.
fn is_chance(others: Count, silent: u32) -> bool {
    others.through < others.sent && chance::of_missing_all(silent, others.sent, others.through) > CHANCE
}

fn like<'o>(observations: &'o Observations, probe: &'o PlannedProbe) -> Like<'o> {
    let from = observations.plan.agents.get(probe.from as usize);
    (
        probe.kind.to_string(),
        from.map_or("", |agent| agent.cluster.as_str()),
        probe.to.cluster.as_str(),
        probe.to.address.is_some_and(|address| address.is_ipv6()),
    )
}

/// What a probe sent, and how much of it got through: what the receiver had, or the sender had answers to.
fn count(observations: &Observations, probe: &PlannedProbe) -> Option<Count> {
    if !matches!(
        probe.kind,
        ProbeKind::Udp { .. } | ProbeKind::Icmp | ProbeKind::IpProtocol { .. }
    ) {
        return None;
    }
    let result = observations.result(probe)?;
    let sent = result.sent.as_ref().ok()?;
    let received = result.heard.iter().flatten().map(|heard| heard.received).next();
    Some(Count {
        sent: sent.sent,
        through: sent.answered.max(received.unwrap_or(0)).min(sent.sent),
    })
}

#[cfg(test)]
mod tests {
    use super::{Count, is_chance};

    #[test]
    fn silence_is_chance_only_where_others_lose_so_much_that_it_may_be() {
        for (sent, through, silent, chance) in [
            // Nothing else is lost.
            (10, 10, 26, false),
            // One in a hundred is, or three in ten.
            (700, 693, 26, false),
            (84, 59, 26, false),
            // A policer let nine of ten fall: that none of a dozen is this pair's is a matter of luck, until it was asked more often.
            (26, 12, 26, true),
            (78, 36, 52, false),
            (182, 18, 26, true),
            (182, 18, 260, false),
        ] {
            assert_eq!(
                is_chance(Count { sent, through }, silent),
                chance,
                "{through} of {sent} got through, {silent} did not"
            );
        }
    }
}
