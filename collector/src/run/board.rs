//! [`Board`]: how far each agent is, where the others see it.

use std::collections::BTreeSet;

use prejoin_agent::protocol::ListenerState;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::Listening;
use prejoin_checks::plan::Plan;
use tokio::sync::watch;

/// How far an agent is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// It does not listen yet.
    #[default]
    Start,
    /// It listens, on what it can.
    Listening,
    /// It has sent everything, and waited for the answers.
    Sent,
    /// Nothing more comes of it.
    Out,
}

/// How far all agents are, and how their listeners fare.
pub(super) struct Board(watch::Sender<State>);

#[derive(Debug)]
struct State {
    steps: Vec<Step>,
    /// Why each listener does not listen, or how it does; by the plan's position.
    listeners: Vec<Option<ListenerState>>,
    /// Why each agent is out, if before it listened.
    out: Vec<Option<Unknown>>,
    /// Whose each listener is.
    owners: Vec<u32>,
}

impl Board {
    pub(super) fn new(plan: &Plan) -> Self {
        Self(watch::Sender::new(State {
            steps: vec![Step::Start; plan.agents.len()],
            listeners: vec![None; plan.listeners.len()],
            out: vec![None; plan.agents.len()],
            owners: plan.listeners.iter().map(|listener| listener.agent).collect(),
        }))
    }

    /// An agent is this far.
    pub(super) fn reach(&self, agent: u32, step: Step) {
        self.0.send_modify(|state| {
            if let Some(reached) = state.steps.get_mut(agent as usize) {
                *reached = step;
            }
        });
    }

    /// An agent listens, on what it can.
    pub(super) fn listening(&self, agent: u32, states: Vec<ListenerState>) {
        self.0.send_modify(|state| {
            for listener in states {
                if let Some(place) = state.listeners.get_mut(listener.id as usize) {
                    *place = Some(listener);
                }
            }
        });
        self.reach(agent, Step::Listening);
    }

    /// Nothing more comes of an agent, for a reason if that was not to be expected.
    pub(super) fn out(&self, agent: u32, why: Option<Unknown>) {
        self.0.send_modify(|state| {
            if let Some(place) = state.out.get_mut(agent as usize) {
                *place = why;
            }
        });
        self.reach(agent, Step::Out);
    }

    /// Waits until all these agents are at least this far.
    pub(super) async fn until(&self, agents: &BTreeSet<u32>, step: Step) {
        let there = |state: &State| {
            agents
                .iter()
                .all(|agent| state.steps.get(*agent as usize).is_none_or(|reached| *reached >= step))
        };
        // The sender is `self`.
        let _ = self.0.subscribe().wait_for(there).await;
    }

    /// How a listener listens, or why it does not and whether something else holds its port. To be asked when its agent has said so.
    pub(super) fn listener(&self, id: u32) -> Result<Listening, (Unknown, bool)> {
        let state = self.0.borrow();
        if let Some(Some(listener)) = state.listeners.get(id as usize) {
            let held = !listener.held_by.is_empty();
            return listener.state.clone().map_err(|why| (why, held));
        }
        let owner = state.owners.get(id as usize);
        let out = owner.and_then(|owner| state.out.get(*owner as usize)?.clone());
        let nobody = || Unknown::new(Reason::NoAgent, "no agent listens there");
        Err((out.unwrap_or_else(nobody), false))
    }
}
