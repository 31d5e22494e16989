//! Agents at work for an audit: found, opened, given a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::join_all;
use prejoin_checks::alike::{Alike, some_of};
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::kernel::NetworkView;
use prejoin_checks::fleet::{Audit, Cluster};
use prejoin_checks::observation::Observations;
use prejoin_checks::plan::follow_up::{follow_up, unanswered};
use prejoin_checks::plan::make::{self, PlanOptions, TestService};
use prejoin_checks::plan::{AgentId, Plan};
use prejoin_checks::profile::flow::TEST_SERVICE;

use super::{dry_run, joined};
use crate::agents::{self, ephemeral::Guests};
use crate::fleet::Live;
use crate::output;
use crate::run::{Agents, Cancel, Member, Options, Progress};
use crate::settings::Settings;

/// After so long a Service that was made for this audit is known to all clusters, or will not be.
const KNOWN_AFTER: Duration = Duration::from_secs(30);
/// One turn of asking test Services begins no sooner after the one before.
const BETWEEN_TURNS: Duration = Duration::from_secs(2);

/// What came of it.
pub(super) enum Probed {
    /// There are no agents.
    Nothing,
    /// What would be sent.
    Planned(Plan),
    /// What agents saw.
    Seen(Box<Observations>),
}

/// Opens sessions with all agents, adds what their nodes say to the clusters' facts, and lets them probe what a plan of these facts asks for.
pub(super) async fn probe(
    facts: &mut [ClusterFacts],
    live: &[Live],
    guests: &[Guests],
    settings: &Settings,
    dry_run: bool,
    cancel: &Cancel,
) -> Probed {
    if dry_run && settings.probing.ephemeral.is_some() {
        // Nothing is installed to say what would be done.
        let with_api = facts
            .iter()
            .filter(|facts| live.iter().any(|live| live.name == facts.name));
        let members = settings.probing.members.iter().map(|member| member.id.clone());
        let wishes = joined::wishes(facts, settings);
        let in_pods = |facts: &ClusterFacts| wishes.get(&facts.name).is_some_and(|wishes| wishes.pods);
        let imagined = with_api.flat_map(|facts| agents::imagined(facts, in_pods(facts)));
        let ids: Vec<AgentId> = imagined.chain(members).collect();
        return Probed::Planned(plan(facts, settings, &ids, BTreeMap::new(), Vec::new()));
    }
    let members = members(facts, live, guests, settings).await;
    if members.is_empty() {
        return Probed::Nothing;
    }
    let services = joined::services(guests, &members);
    let options = Options {
        opening: settings.reading.timeout.0,
        ..Options::default()
    };
    let progress = Progress::new();
    let mut agents = Agents::open(members, &options, &progress, cancel.clone()).await;
    let failures = agents.failures();
    let absent: Vec<(&AgentId, &str)> = failures.map(|(id, failure)| (id, failure.detail.as_str())).collect();
    for line in who_is_absent(&absent) {
        output::say(&line);
    }
    add_node_facts(facts, &agents);
    let absent = absent
        .into_iter()
        .map(|(id, why)| (id.clone(), why.to_owned()))
        .collect();
    let plan = plan(facts, settings, &agents.ids(), absent, services);
    if dry_run {
        agents.close().await;
        return Probed::Planned(plan);
    }
    if !cancel.is_cancelled() {
        output::say(&format!("prejoin: {}", dry_run::cost_line(&plan)));
    }
    let mut observations = agents.run(plan).await;
    until_services_answer(&mut observations, &mut agents, cancel).await;
    if let Some(more) = follow_up(&observations).filter(|_| !cancel.is_cancelled()) {
        output::say(&format!(
            "prejoin: to tell senders from receivers, once more: {}",
            dry_run::cost_line(&more)
        ));
        observations.add(agents.run(more).await);
    }
    agents.close().await;
    Probed::Seen(Box::new(observations))
}

/// Asks test Services again that do not answer yet: what is made just now takes clusters some seconds to tell each other. No object of theirs says
/// when it is done, so answers are asked for until there are some, or the time is over.
async fn until_services_answer(observations: &mut Observations, agents: &mut Agents<'_>, cancel: &Cancel) {
    let end = Instant::now() + KNOWN_AFTER;
    let mut told = false;
    while let Some((places, again)) = unanswered(observations, TEST_SERVICE) {
        if cancel.is_cancelled() || Instant::now() >= end {
            return;
        }
        if !told {
            output::say("prejoin: test Services are not known everywhere yet: asking again");
            told = true;
        }
        let turn = Instant::now() + BETWEEN_TURNS;
        observations.replace(&places, agents.run(again).await);
        tokio::select! {
            () = tokio::time::sleep_until(turn.into()) => {}
            () = cancel.cancelled() => {}
        }
    }
}

/// The agents of sites, and those found in clusters.
async fn members(facts: &[ClusterFacts], live: &[Live], guests: &[Guests], settings: &Settings) -> Vec<Member> {
    let by_name: BTreeMap<&str, &ClusterFacts> = facts.iter().map(|facts| (facts.name.as_str(), facts)).collect();
    let mut members = settings.probing.members.clone();
    for member in &mut members {
        if let Some(facts) = by_name.get(member.id.cluster.as_str()) {
            complete(&mut member.id, facts);
        }
    }
    let timeout = settings.reading.timeout.0;
    let looking = live.iter().filter_map(|live| {
        let facts = *by_name.get(live.name.as_str())?;
        let place = match guests.iter().find(|guests| guests.live == *live) {
            Some(guests) => guests.place(),
            None => settings.probing.installed(&live.name)?,
        };
        Some(async move { (live, agents::of_cluster(live, facts, &place, timeout).await) })
    });
    for (live, found) in join_all(looking).await {
        match found {
            Ok(found) => members.extend(found),
            Err(why) => output::say(&format!("prejoin: {}: its agents are not known: {why}", live.name)),
        }
    }
    for guests in guests {
        if let Some(facts) = by_name.get(guests.live.name.as_str()) {
            members.extend(agents::absent(facts, guests.rollout()));
        }
    }
    members
}

/// What the configuration leaves to the facts: where a node is, and how it is reached.
fn complete(id: &mut AgentId, facts: &ClusterFacts) {
    let mut nodes = facts.nodes.ok().into_iter().flatten();
    let Some(node) = nodes.find(|node| node.name == id.node) else {
        return;
    };
    if id.zone.is_empty() {
        id.zone.clone_from(&node.zone);
    }
    if id.addresses.is_empty() && id.network == NetworkView::Host {
        id.addresses = node.internal_ips().collect();
    }
}

/// What nodes say now instead of what a facts file has of them. What an agent sees from inside a pod is not the node's.
fn add_node_facts(facts: &mut [ClusterFacts], agents: &Agents<'_>) {
    let on_hosts = agents.node_facts().filter(|(id, _)| id.network == NetworkView::Host);
    for (id, node) in on_hosts {
        let Some(cluster) = facts.iter_mut().find(|facts| facts.name == id.cluster) else {
            continue;
        };
        match cluster.node_facts.iter_mut().find(|known| known.node == node.node) {
            Some(known) => known.clone_from(node),
            None => cluster.node_facts.push(node.clone()),
        }
    }
}

/// A line for each cluster and reason.
fn who_is_absent(absent: &[(&AgentId, &str)]) -> Vec<String> {
    let mut alike: Alike<&str, &AgentId> = Alike::default();
    for (id, why) in absent {
        alike.add(&id.cluster, why, &[&id.node], *id);
    }
    let lines = alike.groups().map(|(cluster, why, group)| {
        let nodes: BTreeSet<&String> = group.items.iter().map(|id| &id.node).collect();
        match group.items.as_slice() {
            [only] => format!("prejoin: {cluster}/{}: no agent: {why}", only.node),
            _ => format!("prejoin: {cluster}: no agent on {}: {why}", some_of(nodes)),
        }
    });
    lines.collect()
}

fn plan(
    facts: &[ClusterFacts],
    settings: &Settings,
    agents: &[AgentId],
    absent: BTreeMap<AgentId, String>,
    services: Vec<TestService>,
) -> Plan {
    let clusters: Vec<Cluster<'_>> = (0..).zip(facts).map(|(id, facts)| Cluster::new(id, facts)).collect();
    let profiles = settings.policy.profiles.iter();
    let audits: Vec<Audit<'_>> = profiles
        .map(|profile| Audit::new(*profile, &clusters, &settings.intent, &settings.policy))
        .collect();
    // Another moment, another pairing: in time all pairs are met.
    let moment = settings.policy.evaluated_at.as_second().unsigned_abs();
    let options = PlanOptions {
        seed: settings.probing.seed.unwrap_or(moment),
        pace: settings.probing.pace,
        services,
        absent,
    };
    make::make(&audits, agents, &options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_that_could_not_be_had_are_a_line_for_each_cluster_and_reason() {
        let absent = |cluster: &str, node: &str| AgentId {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            network: NetworkView::Host,
            addresses: Vec::new(),
            zone: String::new(),
        };
        let mut absent: Vec<(AgentId, String)> = (0..998)
            .map(|number| absent("east", &format!("n{number:03}")))
            .chain([absent("west", "w1")])
            .map(|id| (id, "not covered: its operating system is unknown".to_owned()))
            .collect();
        absent[7].1 = "not running: node n007 is not ready".to_owned();
        absent[8].1 = "not running: node n008 is not ready".to_owned();
        let absent: Vec<(&AgentId, &str)> = absent.iter().map(|(id, why)| (id, why.as_str())).collect();
        assert_eq!(
            who_is_absent(&absent),
            [
                "prejoin: east: no agent on n000, n001, n002 and 993 more: not covered: its operating system is unknown",
                "prejoin: east: no agent on n007, n008: not running: node n007, n008 is not ready",
                "prejoin: west/w1: no agent: not covered: its operating system is unknown",
            ]
        );
    }
}
