//! [`Part`]: what one agent has to do in a plan.

use std::collections::{BTreeSet, HashMap, HashSet};

use prejoin_checks::plan::Plan;

/// What one agent has to do, and who waits for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// The agent: [`Plan::agents`] by position.
    pub(super) agent: u32,
    /// What it listens on: [`Plan::listeners`] by position.
    pub(super) listeners: Vec<u32>,
    /// What it sends: [`Plan::probes`] by position.
    pub(super) probes: Vec<u32>,
    /// Who must listen before it sends.
    pub(super) receivers: BTreeSet<u32>,
    /// Who must have sent before it stops listening.
    pub(super) senders: BTreeSet<u32>,
    /// The probes that are to arrive at each of its listeners.
    pub(super) expected: HashMap<u32, HashSet<u32>>,
}

impl Part {
    /// The parts of all agents, in the order of the plan.
    pub(super) fn all(plan: &Plan) -> Vec<Self> {
        let agents = 0..number(plan.agents.len());
        let mut parts: Vec<Self> = agents
            .map(|agent| Self {
                agent,
                ..Self::default()
            })
            .collect();
        for (id, listener) in (0..).zip(&plan.listeners) {
            let Some(part) = parts.get_mut(listener.agent as usize) else {
                continue;
            };
            part.listeners.push(id);
            part.expected.insert(id, HashSet::new());
        }
        for (id, probe) in (0..).zip(&plan.probes) {
            let listener = probe
                .listener
                .and_then(|listener| plan.listeners.get(listener as usize).zip(Some(listener)));
            if let Some(part) = parts.get_mut(probe.from as usize) {
                part.probes.push(id);
                part.receivers.extend(listener.map(|(listener, _)| listener.agent));
            }
            if let Some((listener, place)) = listener
                && let Some(part) = parts.get_mut(listener.agent as usize)
            {
                part.senders.insert(probe.from);
                part.expected.entry(place).or_default().insert(id);
            }
        }
        parts
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
