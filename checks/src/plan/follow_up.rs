//! What a second look must tell apart: is it the sender, the receiver, or the way between the two?
//!
//! A cover meets each node once. Where a probe failed and others like it did not, its sender is tried against others, and others against its
//! receiver. Where so much is lost on the way that silence may be that and nothing else, the silent themselves are asked again, several times.
//! Between two of whom nothing at all gets through, one kind of probe stands in for all. That is all: a few probes for each failure, none where
//! everything alike failed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{AgentId, Destination, Listener, Pace, Plan, PlannedProbe, ProbeKind, cost};
use crate::observation::failures::Failures;
use crate::observation::shown::Shown;
use crate::observation::{Observations, ProbeResult};

/// Others that each suspect is tried against.
const OTHERS: usize = 2;
/// How often who may be silent by loss alone is asked again: with as much loss as that takes, once more tells little.
const TIMES: usize = 3;

/// Probes of one kind, between two clusters, over one family of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Like {
    kind: String,
    from: String,
    to: String,
    ipv6: bool,
}

/// The probes that tell more about what failed; `None` if there are none to make.
pub fn follow_up(observations: &Observations) -> Option<Plan> {
    let plan = &observations.plan;
    let failures = Failures::of(observations);
    let mut groups: BTreeMap<Like, Vec<(&PlannedProbe, bool)>> = BTreeMap::new();
    for (probe, shown) in plan.probes.iter().zip(failures.all()) {
        let failed = matches!(shown, Shown::Failed(_)) || is_smaller(observations, probe);
        if matches!(probe.kind, ProbeKind::Resolve { .. }) || probe.to.agent.is_none() {
            continue;
        }
        let Some(agent) = plan.agents.get(probe.from as usize) else {
            continue;
        };
        let like = Like {
            // A path MTU is one whatever the sizes that are tried.
            kind: probe.kind.to_string(),
            from: agent.cluster.clone(),
            to: probe.to.cluster.clone(),
            ipv6: probe.to.address.is_some_and(|address| address.is_ipv6()),
        };
        groups.entry(like).or_default().push((probe, failed));
    }
    let may_be_loss = plan.probes.iter().filter(|probe| failures.may_be_loss(probe));
    let mut wanted: Vec<PlannedProbe> = may_be_loss
        .flat_map(|probe| std::iter::repeat_n(probe.clone(), TIMES))
        .collect();
    let stand_ins = stand_ins(&groups, &plan.pace);
    for (like, group) in &groups {
        let failed = group.iter().filter(|(_, failed)| *failed).count();
        if failed == 0 || failed == group.len() && failed > OTHERS {
            continue;
        }
        let mut known: BTreeSet<(u32, Option<u32>)> =
            group.iter().map(|(probe, _)| (probe.from, probe.to.agent)).collect();
        let suspects = group.iter().filter(|(_, failed)| *failed);
        for (suspect, _) in suspects.filter(|(probe, _)| stand_ins.get(&pair(probe)).is_none_or(|kind| *kind == like)) {
            let receivers = group.iter().filter(|(other, _)| other.to.agent != suspect.to.agent);
            let to_others = receivers.map(|(other, _)| (suspect.from, *other));
            let senders = group.iter().filter(|(other, _)| other.from != suspect.from);
            let from_others = senders.map(|(other, _)| (other.from, *suspect));
            for pairs in [&mut to_others.collect::<Vec<_>>(), &mut from_others.collect::<Vec<_>>()] {
                pairs.retain(|(from, to)| !known.contains(&(*from, to.to.agent)) && Some(*from) != to.to.agent);
                pairs.dedup_by_key(|(from, to)| (*from, to.to.agent));
                for (from, to) in pairs.iter().take(OTHERS) {
                    known.insert((*from, to.to.agent));
                    wanted.push(PlannedProbe {
                        from: *from,
                        ..(*to).clone()
                    });
                }
            }
        }
    }
    (!wanted.is_empty()).then(|| planned(plan, wanted))
}

/// The probes to targets of this name that nothing answered, by their positions, and a plan of them alone.
pub fn unanswered(observations: &Observations, name: &str) -> Option<(Vec<u32>, Plan)> {
    let failures = Failures::of(observations);
    let shown = observations.plan.probes.iter().zip(failures.all());
    let failed = shown.filter(|(probe, shown)| probe.to.name == name && matches!(shown, Shown::Failed(_)));
    let probes: Vec<PlannedProbe> = failed.map(|(probe, _)| probe.clone()).collect();
    let places = probes.iter().map(|probe| probe.id).collect();
    (!probes.is_empty()).then(|| (places, planned(&observations.plan, probes)))
}

/// Who sends, who is to receive, and over which family.
type Pair = (u32, Option<u32>, bool);

fn pair(probe: &PlannedProbe) -> Pair {
    let ipv6 = probe.to.address.is_some_and(|address| address.is_ipv6());
    (probe.from, probe.to.agent, ipv6)
}

/// For each pair between which nothing at all gets through, the kind of probe that costs least: what it shows of others holds for all kinds. Only a
/// kind with which somebody gets through shows anything.
fn stand_ins<'g>(groups: &'g BTreeMap<Like, Vec<(&PlannedProbe, bool)>>, pace: &Pace) -> HashMap<Pair, &'g Like> {
    let mut lively: HashSet<Pair> = HashSet::new();
    let mut cheapest: HashMap<Pair, (u64, &Like)> = HashMap::new();
    for (like, group) in groups {
        let telling = group.iter().any(|(_, failed)| !failed);
        for (probe, failed) in group.iter().filter(|(probe, _)| !is_of_sizes(probe)) {
            if !failed {
                lively.insert(pair(probe));
            } else if telling {
                let cost = cost::at_most(probe, pace).packets;
                let least = cheapest.entry(pair(probe)).or_insert((cost, like));
                if cost < least.0 {
                    *least = (cost, like);
                }
            }
        }
    }
    let dead = cheapest.into_iter().filter(|(pair, _)| !lively.contains(pair));
    dead.map(|(pair, (_, like))| (pair, like)).collect()
}

fn is_of_sizes(probe: &PlannedProbe) -> bool {
    matches!(probe.kind, ProbeKind::PathMtu { .. })
}

/// Whether this path takes less than its sender's own link: the size that another path may take.
fn is_smaller(observations: &Observations, probe: &PlannedProbe) -> bool {
    let sent = observations.result(probe).and_then(|result| result.sent.as_ref().ok());
    sent.and_then(|sent| sent.path_mtu.as_ref()).is_some_and(|found| {
        !found.left_open && found.largest_confirmed > 0 && found.largest_confirmed < found.link_mtu
    })
}

/// A plan of these probes alone, with the agents and listeners they need.
fn planned(first: &Plan, probes: Vec<PlannedProbe>) -> Plan {
    let mut plan = Plan {
        agents: Vec::new(),
        listeners: Vec::new(),
        probes: Vec::new(),
        gaps: Vec::new(),
        ..first.clone()
    };
    let mut agents: HashMap<u32, u32> = HashMap::new();
    let mut listeners: HashMap<u32, u32> = HashMap::new();
    for (id, probe) in (0..).zip(probes) {
        let mut agent = |plan: &mut Plan, old: u32| {
            let known: &AgentId = first.agents.get(old as usize)?;
            Some(*agents.entry(old).or_insert_with(|| {
                plan.agents.push(known.clone());
                last(plan.agents.len())
            }))
        };
        let Some(from) = agent(&mut plan, probe.from) else {
            continue;
        };
        let to = probe.to.agent.and_then(|to| agent(&mut plan, to));
        let listener = probe.listener.and_then(|old| {
            let listener: &Listener = first.listeners.get(old as usize)?;
            let holder = agent(&mut plan, listener.agent)?;
            Some(*listeners.entry(old).or_insert_with(|| {
                plan.listeners.push(Listener {
                    agent: holder,
                    ..listener.clone()
                });
                last(plan.listeners.len())
            }))
        });
        plan.probes.push(PlannedProbe {
            id,
            from,
            to: Destination { agent: to, ..probe.to },
            listener,
            ..probe
        });
    }
    plan
}

/// The position of the last of so many.
fn last(count: usize) -> u32 {
    u32::try_from(count - 1).unwrap_or(u32::MAX)
}

impl Observations {
    /// Puts what probes showed now in the place of what they showed before; `places` are those of the probes of `again`, in their order.
    pub fn replace(&mut self, places: &[u32], again: Self) {
        for result in again.results {
            let place = places.get(result.probe as usize);
            let old = place.and_then(|place| self.results.iter_mut().find(|old| old.probe == *place));
            if let (Some(place), Some(old)) = (place, old) {
                *old = ProbeResult {
                    probe: *place,
                    ..result
                };
            }
        }
    }

    /// Adds what a further plan of some of the same agents showed.
    pub fn add(&mut self, more: Self) {
        let places: Vec<u32> = more
            .plan
            .agents
            .iter()
            .map(|agent| {
                let place = self.plan.agents.iter().position(|own| own == agent);
                place.map_or(u32::MAX, |place| u32::try_from(place).unwrap_or(u32::MAX))
            })
            .collect();
        let place = |agent: u32| places.get(agent as usize).copied().unwrap_or(u32::MAX);
        let probes = u32::try_from(self.plan.probes.len()).unwrap_or(u32::MAX);
        let listeners = u32::try_from(self.plan.listeners.len()).unwrap_or(u32::MAX);
        self.plan
            .listeners
            .extend(more.plan.listeners.into_iter().map(|listener| Listener {
                agent: place(listener.agent),
                ..listener
            }));
        self.plan
            .probes
            .extend(more.plan.probes.into_iter().map(|probe| PlannedProbe {
                id: probe.id + probes,
                from: place(probe.from),
                to: Destination {
                    agent: probe.to.agent.map(place),
                    ..probe.to
                },
                listener: probe.listener.map(|listener| listener + listeners),
                ..probe
            }));
        self.results.extend(more.results.into_iter().map(|mut result| {
            result.probe += probes;
            result
        }));
        for (place, again) in places.into_iter().zip(more.agents) {
            if let Some(agent) = self.agents.get_mut(place as usize) {
                agent.failure = agent.failure.take().or(again.failure);
            }
        }
        self.cut_short = self.cut_short.take().or(more.cut_short);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::follow_up;
    use crate::engine::judge_observed;
    use crate::facts::ClusterFacts;
    use crate::facts::node::{Node, NodeAddress};
    use crate::intent::Intent;
    use crate::observation::Observations;
    use crate::policy::Probe;
    use crate::profile::Profile::Clustermesh;
    use crate::report::{Report, Verdict};
    use crate::samples::network::{ends, observe, plan, probing, silence};
    use crate::samples::{cilium, findings, value_mut};

    /// Two clusters of four nodes each.
    fn clusters() -> [ClusterFacts; 2] {
        [("east", 1_u8), ("west", 2)].map(|(name, number)| {
            let mut facts = cilium(name, number);
            for index in 3..=4_u8 {
                value_mut(&mut facts.nodes).push(Node {
                    name: format!("{name}-n{index}"),
                    addresses: vec![NodeAddress {
                        kind: "InternalIP".to_owned(),
                        ip: [172, 31, number, 10 + index].into(),
                    }],
                    os: "linux".to_owned(),
                    ready: true,
                    ..Node::default()
                });
            }
            facts
        })
    }

    /// What agents see where these probes vanish.
    fn seen(plan: crate::plan::Plan, vanishes: fn(&str, &str, &str) -> bool) -> Observations {
        let mut seen = observe(plan);
        for (probe, result) in seen.plan.probes.iter().zip(&mut seen.results) {
            let (from, to, what) = ends(&seen.plan, probe);
            if vanishes(&from, &to, &what) {
                silence(result);
            }
        }
        seen
    }

    fn cause(vanishes: fn(&str, &str, &str) -> bool) -> (String, usize) {
        let (facts, intent, policy) = (clusters(), Intent::default(), probing(Clustermesh, Probe::Cover));
        let mut first = seen(plan(&facts, &intent, &policy), vanishes);
        let more = follow_up(&first).map_or(0, |more| {
            let count = more.probes.len();
            first.add(seen(more, vanishes));
            count
        });
        let report = judge_observed(&facts, Some(&first), &intent, &policy);
        (findings(&report, "CM501")[0].found.clone(), more)
    }

    #[test]
    fn a_receiver_is_told_from_the_one_sender_that_a_cover_gave_it() {
        let (found, more) = cause(|_, to, what| to == "west-n2" && what == "UDP 8472");
        assert!(found.starts_with("UDP 8472 from east to west/west-n2"), "{found}");
        assert!((2..=4).contains(&more));
    }

    #[test]
    fn a_sender_is_told_from_the_one_receiver_that_a_cover_gave_it() {
        let (found, _) = cause(|from, _, what| from == "east-n3" && what == "UDP 8472");
        assert!(found.starts_with("UDP 8472 from east/east-n3 to west"), "{found}");
    }

    /// East's datagrams to port 8472 are policed, so that three of four are lost, and all of this node's.
    fn police(seen: &mut Observations, silent: &str) {
        for (probe, result) in seen.plan.probes.iter().zip(&mut seen.results) {
            let (from, _, what) = ends(&seen.plan, probe);
            if !from.starts_with("east") || what != "UDP 8472" {
                continue;
            }
            if from == silent {
                silence(result);
            }
            let Ok(sent) = &mut result.sent else { continue };
            sent.sent = 24;
            if from != silent {
                sent.answered = 6;
                sent.lossy_ports = vec![40_001, 40_002, 40_003];
                if let Some(Ok(heard)) = &mut result.heard {
                    heard.received = 6;
                }
            }
        }
    }

    /// The report, and how many probes of a second look it took, where this node is silent in the first look and this one in the second.
    fn policed(first_silent: &str, then_silent: &str) -> (Report, usize) {
        let (facts, intent, policy) = (clusters(), Intent::default(), probing(Clustermesh, Probe::Cover));
        let mut first = observe(plan(&facts, &intent, &policy));
        police(&mut first, first_silent);
        let more = follow_up(&first).map_or(0, |more| {
            let mut more = observe(more);
            police(&mut more, then_silent);
            let count = more.plan.probes.len();
            first.add(more);
            count
        });
        (judge_observed(&facts, Some(&first), &intent, &policy), more)
    }

    #[test]
    fn who_may_be_silent_by_loss_alone_is_asked_again_and_then_counts_as_lossy() {
        let (report, more) = policed("east-n2", "");
        assert_eq!(
            more,
            super::TIMES,
            "others are not asked, which would take from what the policer lets through"
        );
        assert_eq!(findings(&report, "CM501")[0].verdict, Verdict::Pass);
        assert_eq!(findings(&report, "NET302")[0].verdict, Verdict::Fail);
    }

    #[test]
    fn who_stays_silent_beside_loss_is_behind_a_filter() {
        let (report, _) = policed("east-n2", "east-n2");
        let found = &findings(&report, "CM501")[0].found;
        assert!(
            found.starts_with("UDP 8472 from east/east-n2 to west/west-n2: silent"),
            "{found}"
        );
        assert_eq!(findings(&report, "NET302")[0].verdict, Verdict::Fail);
    }

    #[test]
    fn silence_that_loss_may_explain_is_no_second_cause_and_no_proof_either() {
        let (facts, intent, policy) = (clusters(), Intent::default(), probing(Clustermesh, Probe::Cover));
        let mut seen = observe(plan(&facts, &intent, &policy));
        police(&mut seen, "east-n2");
        let report = judge_observed(&facts, Some(&seen), &intent, &policy);
        let (tunnel, loss) = (findings(&report, "CM501")[0], findings(&report, "NET302")[0]);
        assert_eq!((tunnel.verdict, loss.verdict), (Verdict::Unknown, Verdict::Fail));
        assert_eq!(tunnel.cause, loss.cause);
        assert!(tunnel.found.contains("loss of 75 %"), "{}", tunnel.found);
    }

    #[test]
    fn where_nothing_at_all_gets_through_one_kind_of_probe_stands_in_for_all() {
        let vanishes = |from: &str, to: &str, what: &str| {
            (from == "west-n2" || to == "west-n2") && what != "names" && !what.starts_with("resolve")
        };
        let (facts, intent, policy) = (clusters(), Intent::default(), probing(Clustermesh, Probe::Cover));
        let mut first = seen(plan(&facts, &intent, &policy), vanishes);
        let more = follow_up(&first).unwrap();
        let kinds: BTreeSet<String> = more.probes.iter().map(|probe| probe.kind.to_string()).collect();
        let failing = first.plan.probes.iter().filter(|probe| {
            let (from, to, what) = ends(&first.plan, probe);
            vanishes(&from, &to, &what)
        });
        let failing: BTreeSet<String> = failing.map(|probe| probe.kind.to_string()).collect();
        assert!(kinds.len() < failing.len(), "{kinds:?} of {failing:?}");
        first.add(seen(more, vanishes));
        let report = judge_observed(&facts, Some(&first), &intent, &policy);
        let found = &findings(&report, "CM501")[0].found;
        assert!(found.starts_with("everything to and from west/west-n2"), "{found}");
    }

    #[test]
    fn where_everything_alike_failed_or_nothing_did_there_is_nothing_more_to_ask() {
        assert_eq!(
            cause(|from, _, what| from.starts_with("east") && what == "UDP 8472").1,
            0
        );
        assert_eq!(cause(|_, _, _| false).1, 0);
    }
}
