//! What probes measured on the way between nodes: loss, round trips, address translation, clocks; and whether the agents held out.

pub mod measured;
pub(crate) mod quality;
mod translation;

use std::collections::BTreeSet;

use crate::alike::{Alike, some_of};
use crate::check::{Check, declare_check};
use crate::checks::flow_verdict::probed;
use crate::facts::kernel::NetworkView;
use crate::facts::provenance::{Reason, Source, Unknown};
use crate::fleet::Audit;
use crate::observation::{AgentFailure, AgentFailureKind};
use crate::outcome::Outcome;
use crate::plan::AgentId;
use crate::report::Evidence;

pub(super) static CHECKS: &[&Check] = &[
    &AGENTS,
    &quality::PACKET_LOSS,
    &quality::FIRST_PACKET,
    &quality::PORT_SENSITIVE_LOSS,
    &quality::DUPLICATES,
    &quality::ROUND_TRIP,
    &quality::CLOCK_OFFSET,
    &translation::SOURCE_TRANSLATION,
];

declare_check! {
    /// ## What it checks
    /// Every agent that was to probe could be reached, and spoke the session protocol truthfully to the end.
    ///
    /// ## Why it matters
    /// What an agent did not do is not proven. An agent that claims what it cannot know, or to be on another node, is not the one that was asked.
    ///
    /// ## How it is determined
    /// By the session itself. An agent that is unreachable, dies, hangs or is too old leaves its probes `unknown`; one that lies is a failure.
    ///
    /// ## How to fix
    /// See the agent's own words in the evidence. Of an agent that lied: find out what runs in its place.
    ///
    /// ## References
    /// `docs/protocol.md`.
    pub static AGENTS = {
        code: "NET301",
        slug: "agents-held-out",
        title: "An agent cannot be relied on",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "what it was to prove is not proven",
        rules: [],
        run: Set(agents),
    };
}

/// `998 of 1002 nodes of east`, as far as its nodes are known.
fn nodes_of(audit: &Audit<'_>, cluster: &str, count: usize) -> String {
    let known = audit.clusters.iter().find(|known| known.name() == cluster);
    let of = known.and_then(|known| known.facts.nodes.ok()).map_or(0, Vec::len);
    format!("{count} of {} nodes of {cluster}", of.max(count))
}

/// As many agents of one kind of failure are evidence.
const SHOWN: usize = 5;

fn agents(audit: &Audit<'_>) -> Vec<Outcome> {
    if let Err(outcome) = probed(audit) {
        return vec![*outcome];
    }
    let Some(observations) = audit.observations() else {
        return Vec::new();
    };
    let id = |name: &str| {
        audit
            .clusters
            .iter()
            .find(|cluster| cluster.name() == name)
            .map(|cluster| cluster.id)
    };
    let mut outcomes = Vec::new();
    let mut alike: Alike<(&str, NetworkView, AgentFailureKind), (&AgentId, &AgentFailure)> = Alike::default();
    for (agent, report) in observations.plan.agents.iter().zip(&observations.agents) {
        let Some(failure) = &report.failure else { continue };
        let key = (agent.cluster.as_str(), agent.network, failure.kind);
        alike.add(key, &failure.detail, &[&agent.node], (agent, failure));
    }
    for ((cluster, network, kind), detail, group) in alike.groups() {
        let nodes: BTreeSet<&String> = group.items.iter().map(|(agent, _)| &agent.node).collect();
        let (text, place) = if let [(agent, _)] = group.items.as_slice() {
            (
                format!("the agent on {cluster}/{}: {detail}", agent.node),
                agent.node.clone(),
            )
        } else {
            let count = group.items.len();
            let names = some_of(nodes.iter().copied());
            let text = match kind {
                AgentFailureKind::Unreachable | AgentFailureKind::Version if network == NetworkView::Host => {
                    format!("{} have no agent: {names}: {detail}", nodes_of(audit, cluster, count))
                }
                _ => format!("the agents on {count} nodes of {cluster}: {names}: {detail}"),
            };
            (text, names)
        };
        let evidence = group.items.iter().take(SHOWN).map(|(agent, failure)| {
            let source = Source::read(format!("agent on {}", agent.node), "session");
            Evidence::new(cluster, &failure.detail, &source)
        });
        let outcome = match kind {
            AgentFailureKind::Lied => Outcome::broken()
                .found(text)
                .remedy(format!("find out what runs as prejoin-agent on {place}")),
            _ => Outcome::none(Unknown::new(Reason::NoAgent, text))
                .remedy(format!("look at the agent on {place}, then audit again")),
        };
        outcomes.push(
            outcome
                .expected("answers every request, truthfully, in time")
                .evidence_all(evidence)
                .about(id(cluster))
                .nodes(nodes),
        );
    }
    if let Some(why) = &observations.cut_short {
        outcomes.push(Outcome::none(Unknown::new(
            Reason::NoAgent,
            format!("the audit was cut short: {why}"),
        )));
    }
    if outcomes.is_empty() {
        let count = observations.plan.agents.len();
        outcomes.push(
            Outcome::holds()
                .found(format!("{count} agents answered to the end"))
                .about(audit.everyone()),
        );
    }
    outcomes
}

#[cfg(test)]
mod tests;
