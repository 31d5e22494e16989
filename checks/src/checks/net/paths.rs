//! What probes measured on the way between nodes: loss, round trips, address translation, clocks; and whether the agents held out.

pub mod measured;
pub(crate) mod quality;
mod translation;

use crate::check::{Check, declare_check};
use crate::checks::flow_verdict::probed;
use crate::facts::provenance::{Reason, Source, Unknown};
use crate::fleet::Audit;
use crate::observation::AgentFailureKind;
use crate::outcome::Outcome;
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
    for (agent, report) in observations.plan.agents.iter().zip(&observations.agents) {
        let Some(failure) = &report.failure else { continue };
        let text = format!("the agent on {}/{}: {}", agent.cluster, agent.node, failure.detail);
        let evidence = Evidence::new(
            agent.cluster.clone(),
            &failure.detail,
            &Source::read(format!("agent on {}", agent.node), "session"),
        );
        let outcome = match failure.kind {
            AgentFailureKind::Lied => Outcome::broken()
                .found(text)
                .remedy(format!("find out what runs as prejoin-agent on {}", agent.node)),
            _ => Outcome::none(Unknown::new(Reason::NoAgent, text))
                .remedy(format!("look at the agent on {}, then audit again", agent.node)),
        };
        outcomes.push(
            outcome
                .expected("answers every request, truthfully, in time")
                .evidence(evidence)
                .about(id(&agent.cluster))
                .nodes([agent.node.clone()]),
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
