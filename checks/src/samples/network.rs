//! What agents would see between sample clusters: everything gets through, until a test says otherwise.

use crate::engine::judge_observed;
use crate::facts::ClusterFacts;
use crate::facts::kernel::NetworkView;
use crate::fleet::{Audit, Cluster};
use crate::intent::Intent;
use crate::observation::{
    Abilities, AgentReport, ClockOffset, Heard, Listening, Observations, ProbeResult, RoundTrip, Sent, TlsPeek,
};
use crate::path_mtu::PathMtu;
use crate::plan::make::{PlanOptions, make};
use crate::plan::{AgentId, Plan, PlannedProbe, ProbeKind};
use crate::policy::{Policy, Probe};
use crate::profile::Profile;
use crate::report::Report;

use super::NOW;

/// An agent on every node of these clusters, and one in each pod network.
pub fn agents(clusters: &[ClusterFacts]) -> Vec<AgentId> {
    let mut agents = Vec::new();
    for (number, facts) in (1_u8..).zip(clusters) {
        for node in facts.nodes.ok().into_iter().flatten() {
            agents.push(AgentId {
                cluster: facts.name.clone(),
                node: node.name.clone(),
                network: NetworkView::Host,
                addresses: node.internal_ips().collect(),
                zone: node.zone.clone(),
            });
        }
        agents.push(AgentId {
            cluster: facts.name.clone(),
            node: "prejoin-cluster-agent".to_owned(),
            network: NetworkView::Pod,
            addresses: vec![[10, number * 10, 0, 200].into()],
            zone: String::new(),
        });
    }
    agents
}

/// A policy that asks for flows at this level.
pub fn probing(profile: Profile, level: Probe) -> Policy {
    let mut policy = Policy::new(vec![profile], NOW.parse().expect("a timestamp"));
    policy.probe = level;
    policy
}

/// The plan for these clusters with an agent everywhere.
pub fn plan(facts: &[ClusterFacts], intent: &Intent, policy: &Policy) -> Plan {
    plan_for(facts, intent, policy, &agents(facts))
}

/// The plan for these clusters with these agents.
pub fn plan_for(facts: &[ClusterFacts], intent: &Intent, policy: &Policy, agents: &[AgentId]) -> Plan {
    plan_by(facts, intent, policy, agents, &PlanOptions::default())
}

/// The plan for these clusters with these agents, made so.
pub fn plan_by(
    facts: &[ClusterFacts],
    intent: &Intent,
    policy: &Policy,
    agents: &[AgentId],
    options: &PlanOptions,
) -> Plan {
    let clusters: Vec<Cluster<'_>> = facts
        .iter()
        .enumerate()
        .map(|(id, facts)| Cluster::new(id, facts))
        .collect();
    let audits: Vec<Audit<'_>> = policy
        .profiles
        .iter()
        .map(|profile| Audit::new(*profile, &clusters, intent, policy))
        .collect();
    make(&audits, agents, options)
}

/// What agents see where everything gets through.
pub fn observe(plan: Plan) -> Observations {
    let agents = plan.agents.iter().map(|_| AgentReport {
        version: "0.1.0".to_owned(),
        protocol: Some(2),
        abilities: Abilities {
            raw: true,
            icmp: true,
            ipv4: true,
            ipv6: true,
        },
        failure: None,
    });
    let agents = agents.collect();
    let results = plan.probes.iter().map(|probe| healthy(&plan, probe)).collect();
    Observations {
        plan,
        agents,
        results,
        cut_short: None,
    }
}

fn healthy(plan: &Plan, probe: &PlannedProbe) -> ProbeResult {
    let from = plan.agents[probe.from as usize].addresses.first().copied();
    let mut sent = Sent {
        from,
        sent: 10,
        answered: 10,
        round_trip: RoundTrip::of((0..10).map(|turn| 350 + turn).collect()),
        ..Sent::default()
    };
    let mut heard = Heard {
        received: 10,
        captured: Some(10),
        ..Heard::default()
    };
    match &probe.kind {
        ProbeKind::Udp { .. } => {
            sent.answered_ports = vec![40_001, 40_002, 40_003, 40_004];
            sent.seen_as = from.map(|from| (from, 40_001).into()).into_iter().collect();
            heard.from.clone_from(&sent.seen_as);
            sent.clock = Some(ClockOffset {
                offset_micros: 40,
                bound_micros: 175,
            });
        }
        ProbeKind::Tcp { tls, .. } => {
            (sent.sent, sent.answered, sent.connected, heard.received) = (1, 1, true, 1);
            sent.tls = tls.then(TlsPeek::default);
        }
        ProbeKind::PathMtu { ceiling, .. } => {
            sent.path_mtu = Some(PathMtu {
                largest_confirmed: 1500.min(*ceiling),
                link_mtu: 1500,
                sent: 1,
                rounds: 1,
                ..PathMtu::default()
            });
        }
        ProbeKind::IpProtocol { .. } => {
            sent.answered = 0;
            heard.how = Listening::Captured;
        }
        ProbeKind::Icmp | ProbeKind::NatDiscovery { .. } | ProbeKind::Resolve { .. } => {}
    }
    ProbeResult {
        probe: probe.id,
        sent: Ok(sent),
        heard: probe.listener.map(|_| Ok(heard)),
    }
}

/// The names of the nodes at both ends of a probe, and what it sends: `("east-n1", "west-n2", "UDP 8472")`.
pub fn ends(plan: &Plan, probe: &PlannedProbe) -> (String, String, String) {
    let from = plan.agents[probe.from as usize].node.clone();
    (from, probe.to.name.clone(), probe.kind.to_string())
}

/// Makes a probe vanish on the way.
pub fn silence(result: &mut ProbeResult) {
    result.sent = Ok(Sent {
        from: result.sent.as_ref().ok().and_then(|sent| sent.from),
        sent: 12,
        silent_ports: vec![40_001, 40_002, 40_003],
        ..Sent::default()
    });
    if let Some(heard) = &mut result.heard {
        *heard = Ok(Heard {
            captured: Some(0),
            ..Heard::default()
        });
    }
}

/// Judges clusters between which everything gets through but for what `change` changes; it is given the ends as [`ends`] names them.
pub fn observed_report(
    profile: Profile,
    facts: &[ClusterFacts],
    intent: &Intent,
    change: impl Fn(&str, &str, &str, &mut ProbeResult),
) -> Report {
    let policy = probing(profile, Probe::Full);
    let mut observations = observe(plan(facts, intent, &policy));
    for (probe, result) in observations.plan.probes.iter().zip(&mut observations.results) {
        let (from, to, what) = ends(&observations.plan, probe);
        change(&from, &to, &what, result);
    }
    judge_observed(facts, Some(&observations), intent, &policy)
}
