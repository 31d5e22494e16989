//! What the probes proved of one flow.

use std::collections::{BTreeMap, BTreeSet};

use crate::alike::Alike;
use crate::check::NoVerdict;
use crate::checks::net::paths::quality::loss_beside;
use crate::checks::per_node;
use crate::checks::per_node::network::is_made;
use crate::compare::{Groups, nothing_to_compare};
use crate::facts::provenance::{Reason, Source, Unknown};
use crate::fleet::Audit;
use crate::observation::failures::{Cause, Failures};
use crate::observation::shown::Shown;
use crate::observation::{Evidence as Proof, Sent, millis};
use crate::outcome::{ClusterId, Outcome, State};
use crate::plan::PlannedProbe;
use crate::policy::Probe;
use crate::profile::flow::{Flow, Reach};
use crate::report::Evidence;

/// Without an agent: the cause that all flows, and all rules about nodes, then share.
pub(crate) const NO_AGENT: &str = "no agent is there to prove a flow";

/// What to do about it.
pub(crate) const START_AGENTS: &str = "let agents probe: --agents ephemeral starts them for one audit, `prejoin agents install` for many, and `sites` in prejoin.yaml names those \
     of other hosts; or leave flows out with --probe none";

/// What is known of one flow.
pub(crate) fn judge(audit: &Audit<'_>, flow: &Flow) -> Vec<Outcome> {
    let needs = Groups::of(audit, |cluster| (flow.need)(audit, cluster));
    let expected = format!(
        "{} from {} to {}{}: {}",
        needs.describe(audit),
        flow.from,
        flow.to,
        if flow.reach.is_between() { ", both ways" } else { "" },
        flow.purpose
    );
    let mut outcomes = needs.outcomes_without();
    let asked = audit.policy.probe != Probe::None;
    if !asked {
        // What is not asked needs no facts either.
        outcomes.retain(|outcome| matches!(outcome.state, State::NoVerdict(NoVerdict::DoesNotApply(_))));
    }
    let clusters = needs.clusters();
    if clusters.len() < 2 && (asked || !outcomes.is_empty()) {
        if !clusters.is_empty() {
            outcomes.push(nothing_to_compare(clusters));
        }
        return outcomes;
    }
    let evidence = needs.evidence(audit);
    let about = if clusters.is_empty() {
        audit.everyone()
    } else {
        clusters
    };
    let proven = match probed(audit) {
        Ok(failures) => verdicts(audit, flow, failures, &about),
        Err(outcome) => vec![outcome.about(about)],
    };
    outcomes.extend(proven.into_iter().map(|mut outcome| {
        if !matches!(outcome.state, State::NoVerdict(NoVerdict::DoesNotApply(_))) {
            outcome.expected.clone_from(&expected);
            let own = std::mem::take(&mut outcome.evidence);
            outcome.evidence = evidence.iter().cloned().chain(own).collect();
        }
        outcome
    }));
    outcomes
}

/// What the probes showed; where none were asked for, or no agent is there, the outcome that says so.
pub(crate) fn probed<'a, 'o>(audit: &'a Audit<'o>) -> Result<&'a Failures<'o>, Box<Outcome>> {
    let (reason, detail, remedy) = if audit.policy.probe == Probe::None {
        (Reason::NotAsked, "flows are not probed with --probe none", "")
    } else if let Some(failures) = audit.failures() {
        return Ok(failures);
    } else {
        (Reason::NoAgent, NO_AGENT, START_AGENTS)
    };
    let outcome = Outcome::none(NoVerdict::missing(reason, detail))
        .cause(detail)
        .remedy(remedy);
    Err(Box::new(outcome.about(audit.everyone())))
}

fn verdicts(audit: &Audit<'_>, flow: &Flow, failures: &Failures<'_>, about: &[ClusterId]) -> Vec<Outcome> {
    let probes: Vec<(&PlannedProbe, &Shown)> = failures.probes_of(flow.code).collect();
    let mut outcomes = if flow.reach == Reach::AnyPlace {
        any_place(audit, failures, &probes)
    } else {
        let mut outcomes: Vec<Outcome> = failures
            .causes_of(flow.code)
            .into_iter()
            .map(|cause| broken(audit, flow, failures, cause))
            .collect();
        outcomes.extend(unknowns(audit, failures, &probes));
        outcomes
    };
    outcomes.extend(gaps(audit, flow));
    if outcomes.is_empty() && probes.is_empty() {
        outcomes.push(
            Outcome::none(Unknown::new(Reason::NoAgent, "nothing was planned to prove it")).about(about.to_vec()),
        );
    } else if outcomes.is_empty() {
        let all_proven =
            probes.iter().all(|(_, shown)| matches!(shown, Shown::Proven(_))) || flow.reach == Reach::AnyPlace;
        if !all_proven {
            let why = Unknown::new(Reason::CheckFailed, "a failure was left unexplained: please report it");
            return vec![Outcome::none(why).about(about.to_vec())];
        }
        outcomes.push(
            Outcome::holds()
                .found(proofs(&probes))
                .evidence_all(
                    probes
                        .iter()
                        .take(SHOWN)
                        .map(|(probe, shown)| account(failures, probe, shown)),
                )
                .about(about.to_vec()),
        );
    }
    outcomes
}

/// As many probes are named as evidence; the rest is in the observations.
const SHOWN: usize = 5;

/// `9 of 9 delivered`, or by proof if there are several.
fn proofs(probes: &[(&PlannedProbe, &Shown)]) -> String {
    let mut counts: BTreeMap<Proof, usize> = BTreeMap::new();
    for (_, shown) in probes {
        if let Shown::Proven(proof) = shown {
            *counts.entry(*proof).or_default() += 1;
        }
    }
    let of = probes.len();
    let parts: Vec<String> = counts
        .iter()
        .map(|(proof, count)| format!("{count} of {of} {proof}"))
        .collect();
    parts.join(", ")
}

fn broken(audit: &Audit<'_>, flow: &Flow, failures: &Failures<'_>, cause: &Cause) -> Outcome {
    let own: Vec<(&PlannedProbe, &Shown)> = failures.probes_of(flow.code).collect();
    let failed: Vec<(&PlannedProbe, &Shown)> = own
        .iter()
        .copied()
        .filter(|(probe, _)| cause.probes.binary_search(&(probe.id as usize)).is_ok())
        .collect();
    let services: BTreeSet<String> = failed.iter().map(|(probe, _)| probe.kind.to_string()).collect();
    let strict = strict_links(audit, failures, cause, &failed);
    let found = format!(
        "{}: {}; {} of {} probes failed",
        cause.scope,
        how(cause, &failed, &strict),
        failed.len(),
        own.len()
    );
    let (clusters, pairs) = concerned(audit, failures, failed.iter().map(|(probe, _)| *probe));
    Outcome::broken()
        .found(found)
        .remedy(remedy(failures, cause, &services, &failed, &strict))
        .evidence_all(
            failed
                .iter()
                .take(SHOWN)
                .map(|(probe, shown)| account(failures, probe, shown)),
        )
        .cause(cause.to_string())
        .about(clusters)
        .pairs(pairs)
}

/// How they failed, in words.
fn how(cause: &Cause, failed: &[(&PlannedProbe, &Shown)], strict: &[&str]) -> String {
    let Some(symptom) = cause.symptoms.first() else {
        return String::new();
    };
    let host = failed.iter().find(|(probe, _)| !probe.to.host.is_empty());
    match (symptom.evidence, host) {
        (Proof::Unresolved, Some((probe, _))) => format!("{} does not resolve", probe.to.host),
        _ if !strict.is_empty() => format!(
            "{symptom}: rp_filter is strict on {}, by which it does not answer",
            strict.join(", ")
        ),
        _ => symptom.to_string(),
    }
}

/// Where one node drops whatever arrives: its links with a strict reverse-path filter by which it would not answer the sender.
fn strict_links<'a>(
    audit: &Audit<'a>,
    failures: &Failures<'_>,
    cause: &Cause,
    failed: &[(&PlannedProbe, &Shown)],
) -> Vec<&'a str> {
    let dropped_there = cause.symptoms.first().is_some_and(|symptom| symptom.at_receiver);
    let Some(place) = cause.scope.to.as_ref().or(cause.scope.touching.as_ref()) else {
        return Vec::new();
    };
    let cluster = audit.clusters.iter().find(|cluster| cluster.name() == place.cluster);
    let nodes = cluster.and_then(|cluster| Some((cluster, cluster.facts.nodes.ok()?)));
    let Some((cluster, nodes)) = nodes.filter(|_| dropped_there && cause.scope.service.is_none()) else {
        return Vec::new();
    };
    let node = nodes.iter().filter(|node| Some(&node.name) == place.node.as_ref());
    let Some((_, Ok(on))) = per_node::read(cluster, node).pop() else {
        return Vec::new();
    };
    let senders = failed.iter().filter_map(|(probe, _)| failures.agent(probe.from));
    let ways_back: BTreeSet<&str> = senders
        .flat_map(|agent| &agent.addresses)
        .filter_map(|address| Some(on.kernel.path_to(*address)?.ok()?.link.as_str()))
        .collect();
    let links = on.kernel.links.ok().into_iter().flatten();
    links
        .filter(|link| link.up && !is_made(link) && !ways_back.is_empty() && !ways_back.contains(link.name.as_str()))
        .filter(|link| on.reverse_path_filter(&link.name) == Ok(1))
        .map(|link| link.name.as_str())
        .collect()
}

/// The clusters at the ends of these probes, and the pairs they make.
pub(crate) fn concerned<'p>(
    audit: &Audit<'_>,
    failures: &Failures<'_>,
    probes: impl Iterator<Item = &'p PlannedProbe>,
) -> (Vec<ClusterId>, Vec<Vec<Vec<ClusterId>>>) {
    let id = |name: &str| {
        audit
            .clusters
            .iter()
            .find(|cluster| cluster.name() == name)
            .map(|cluster| cluster.id)
    };
    let mut clusters = BTreeSet::new();
    let mut pairs = BTreeSet::new();
    for probe in probes {
        let from = failures.agent(probe.from).and_then(|agent| id(&agent.cluster));
        let to = id(&probe.to.cluster);
        clusters.extend(from.into_iter().chain(to));
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            pairs.insert((from.min(to), from.max(to)));
        }
    }
    let pairs = pairs
        .into_iter()
        .map(|(one, other)| vec![vec![one], vec![other]])
        .collect();
    (clusters.into_iter().collect(), pairs)
}

/// What one probe tells, as evidence.
fn account(failures: &Failures<'_>, probe: &PlannedProbe, shown: &Shown) -> Evidence {
    let sent = failures.result(probe).and_then(|result| result.sent.as_ref().ok());
    let what = match shown {
        Shown::Proven(proof) => proof.to_string(),
        Shown::Failed(symptom) => symptom.to_string(),
        Shown::Unknown(unknown) => unknown.detail.clone(),
    };
    let value = format!("{what}{}", sent.map(numbers).unwrap_or_default());
    evidence(failures, probe, &value, format!("{} at {}", probe.kind, place(probe)))
}

/// A value that a probe gave, of the named thing that was asked or measured.
pub(crate) fn evidence(failures: &Failures<'_>, probe: &PlannedProbe, value: &str, what: String) -> Evidence {
    let (cluster, node) = failures
        .agent(probe.from)
        .map_or(("", "?"), |agent| (agent.cluster.as_str(), agent.node.as_str()));
    let object = format!("probe {node} → {}", probe.to.name);
    Evidence::new(cluster, &value, &Source::read(object, what))
}

fn place(probe: &PlannedProbe) -> String {
    probe
        .to
        .address
        .map_or_else(|| probe.to.host.clone(), |address| address.to_string())
}

fn numbers(sent: &Sent) -> String {
    let mut parts = vec![String::new(), format!("{} sent", sent.sent)];
    if sent.answered > 0 {
        parts.push(format!("{} answered", sent.answered));
    }
    if let Some(round_trip) = sent.round_trip {
        parts.push(format!("round trip {}", millis(round_trip.median_micros)));
    }
    parts.join(", ")
}

fn remedy(
    failures: &Failures<'_>,
    cause: &Cause,
    services: &BTreeSet<String>,
    failed: &[(&PlannedProbe, &Shown)],
    strict: &[&str],
) -> String {
    const NAMED: usize = 4;
    // Those that met it, where some of this flow did.
    let first = cause.symptoms.first();
    let met: Vec<(&PlannedProbe, &Shown)> = failed
        .iter()
        .copied()
        .filter(|(_, shown)| matches!((shown, first), (Shown::Failed(own), Some(first)) if own == first))
        .collect();
    let failed = if met.is_empty() { failed } else { met.as_slice() };
    let what = services.iter().cloned().collect::<Vec<_>>().join(", ");
    let list = |mut addresses: Vec<String>| {
        addresses.sort();
        addresses.dedup();
        let more = addresses.len().saturating_sub(NAMED);
        addresses.truncate(NAMED);
        let list = addresses.join(", ");
        if more > 0 {
            format!("{list} and {more} more")
        } else {
            list
        }
    };
    let senders = list(
        failed
            .iter()
            .map(|(probe, _)| {
                let sent = failures.result(probe).and_then(|result| result.sent.as_ref().ok());
                let agent = failures.agent(probe.from);
                let own = agent.and_then(|agent| agent.addresses.first().copied());
                sent.and_then(|sent| sent.from).or(own).map_or_else(
                    || agent.map_or("?", |agent| agent.node.as_str()).to_owned(),
                    |ip| ip.to_string(),
                )
            })
            .collect(),
    );
    let receivers = list(failed.iter().map(|(probe, _)| place(probe)).collect());
    let way = format!("{what} from {senders} to {receivers}");
    let Some(symptom) = cause.symptoms.first() else {
        return format!("allow {way}");
    };
    if cause.scope.service.is_none() && symptom.evidence == Proof::Silent && !symptom.at_receiver {
        return format!(
            "nothing at all passes ({}): look at links, addresses and routes there, in both directions, before firewalls",
            cause.scope
        );
    }
    match (symptom.evidence, symptom.by) {
        _ if !strict.is_empty() => format!(
            "the packets reach the card of {receivers} and no further: let it answer by the link they come in by ({}), or set \
             net.ipv4.conf.{}.rp_filter=2 there",
            strict.join(", "),
            strict.join(".rp_filter=2 and net.ipv4.conf.")
        ),
        _ if symptom.at_receiver => format!(
            "the packets reach the card of {receivers} and no further: allow {way} in the node's own firewall, and let no strict reverse-path filter \
             (net.ipv4.conf.*.rp_filter=1) drop them"
        ),
        (Proof::Rejected, Some(by)) => format!("{by} rejects it: allow {way} there"),
        (Proof::Rejected, None) => format!("a filter rejects it: allow {way}, also in the sender's own firewall"),
        (Proof::NoRoute, _) => format!("give {senders} a route to {receivers}, and make sure that {receivers} is up"),
        (Proof::Unresolved, _) => format!("make {receivers} resolve on {senders}, or use an address instead"),
        (Proof::Refused, _) => {
            format!("nothing listens at {receivers}: start the service that should answer on {what}")
        }
        (Proof::Foreign, by) => format!(
            "something else{} answers at {receivers}: look for a second holder of the address, a load balancer or a rule that redirects {what}",
            by.map(|by| format!(", {by},")).unwrap_or_default()
        ),
        _ => format!("allow {way}, in every firewall and security group on the way and on the nodes"),
    }
}

/// Probes that could not be made, by why.
fn unknowns(audit: &Audit<'_>, failures: &Failures<'_>, probes: &[(&PlannedProbe, &Shown)]) -> Vec<Outcome> {
    let mut whys: Alike<Reason, &PlannedProbe> = Alike::default();
    for (probe, shown) in probes {
        if let Shown::Unknown(why) = shown {
            whys.add(why.reason, &why.detail, &nodes_of(failures, probe), probe);
        }
    }
    whys.groups()
        .map(|(reason, detail, group)| {
            let probes = group.items;
            let (clusters, pairs) = concerned(audit, failures, probes.iter().copied());
            let outcome = Outcome::none(Unknown::new(reason, detail)).about(clusters).pairs(pairs);
            let lost = probes.iter().find(|probe| failures.may_be_loss(probe));
            match lost.and_then(|probe| loss_beside(audit, probe)) {
                Some(cause) => outcome.cause(cause),
                None => outcome,
            }
        })
        .collect()
}

/// The nodes at both ends of a probe.
pub(crate) fn nodes_of<'a>(failures: &Failures<'a>, probe: &'a PlannedProbe) -> Vec<&'a str> {
    let from = failures.agent(probe.from).map(|agent| agent.node.as_str());
    std::iter::once(probe.to.name.as_str()).chain(from).collect()
}

/// What the plan could not cover.
pub(crate) fn gaps(audit: &Audit<'_>, flow: &Flow) -> Vec<Outcome> {
    let gaps = audit
        .observations()
        .map(|seen| seen.plan.gaps.as_slice())
        .unwrap_or_default();
    let mut whys: Alike<Reason, ClusterId> = Alike::default();
    for gap in gaps.iter().filter(|gap| gap.code == flow.code) {
        let ids = audit
            .clusters
            .iter()
            .filter(|cluster| gap.clusters.iter().any(|name| name == cluster.name()));
        let node: Vec<&str> = match gap.nodes.as_slice() {
            [only] => vec![only],
            _ => Vec::new(),
        };
        for cluster in ids {
            whys.add(gap.why.reason, &gap.why.detail, &node, cluster.id);
        }
    }
    whys.groups()
        .map(|(reason, detail, group)| {
            let clusters: BTreeSet<ClusterId> = group.items.into_iter().collect();
            let remedy = if reason == Reason::NoAgent { START_AGENTS } else { "" };
            Outcome::none(Unknown::new(reason, detail))
                .about(clusters)
                .remedy(remedy)
        })
        .collect()
}

/// Of several places one is enough, for each sender.
fn any_place(audit: &Audit<'_>, failures: &Failures<'_>, probes: &[(&PlannedProbe, &Shown)]) -> Vec<Outcome> {
    let mut by_sender: BTreeMap<u32, Vec<(&PlannedProbe, &Shown)>> = BTreeMap::new();
    for (probe, shown) in probes {
        by_sender.entry(probe.from).or_default().push((probe, shown));
    }
    by_sender
        .into_values()
        .filter(|tried| !tried.iter().any(|(_, shown)| matches!(shown, Shown::Proven(_))))
        .map(|tried| {
            let (clusters, _) = concerned(audit, failures, tried.iter().map(|(probe, _)| *probe));
            if let Some(Shown::Unknown(why)) = tried
                .iter()
                .map(|(_, shown)| *shown)
                .find(|shown| matches!(shown, Shown::Unknown(_)))
            {
                return Outcome::none(why.clone()).about(clusters);
            }
            let places: Vec<&str> = tried.iter().map(|(probe, _)| probe.to.name.as_str()).collect();
            Outcome::broken()
                .found(format!("none of {} answers", places.join(", ")))
                .evidence_all(
                    tried
                        .iter()
                        .take(SHOWN)
                        .map(|(probe, shown)| account(failures, probe, shown)),
                )
                .about(clusters)
        })
        .collect()
}

#[cfg(test)]
mod many_nodes;
#[cfg(test)]
mod tests;
