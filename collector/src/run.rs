//! The run of a [`Plan`]: sessions with all agents at once, listeners before senders, results as they come.
//!
//! ```text
//! Agents::open ─▶ node facts ─▶ (plan) ─▶ Agents::run ─▶ Observations ─▶ (another plan) ─▶ … ─▶ Agents::close
//!
//! each agent:  listen ─▶ probe ─────────────────▶ hush
//!                        when all its receivers    when all its senders
//!                        listen, or never will     are done, or never will be
//! ```
//!
//! One agent that dies, hangs or lies costs its own probes: whoever waits for it is told that it is out. Every wait has an end that follows
//! from the plan's pace.

mod board;
mod cancel;
mod open;
mod pace;
mod part;
mod play;
mod progress;
mod results;

use std::time::Duration;

use futures::future::join_all;
use prejoin_checks::facts::kernel::NodeFacts;
use prejoin_checks::observation::{AgentFailure, AgentReport, Observations};
use prejoin_checks::plan::{AgentId, Plan};

use crate::session::Session;
use crate::transport::Route;
pub use cancel::{Cancel, Canceller, cancellation};
pub(crate) use open::random_hex;
pub use pace::Cost;
use part::Part;
use play::Play;
pub use progress::Progress;

/// [`Observations::cut_short`] of a run that the user ended.
pub const INTERRUPTED: &str = "interrupted";

/// How long an agent may take to close: long enough to say so, short enough for who has typed Ctrl-C.
const CLOSING: Duration = Duration::from_secs(2);

/// An agent and the way to it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Who it is to be.
    pub id: AgentId,
    /// The way.
    pub route: Route,
}

/// How agents are spoken with.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long an agent may take until it has said who it is, and the same again to read its node.
    pub opening: Duration,
    /// How long it may take for a short answer after that.
    pub answer: Duration,
    /// Names that every node is to resolve.
    pub names: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            opening: Duration::from_secs(30),
            answer: Duration::from_secs(10),
            names: Vec::new(),
        }
    }
}

/// All agents of an audit: those in session, and those that could not be had, with why.
pub struct Agents<'a> {
    all: Vec<Agent>,
    /// Probes of the plans before.
    asked: u32,
    options: &'a Options,
    progress: &'a Progress,
    cancel: Cancel,
}

struct Agent {
    id: AgentId,
    /// None if it could not be had, or is of no use; the report tells why.
    session: Option<Session>,
    report: AgentReport,
    facts: NodeFacts,
}

impl<'a> Agents<'a> {
    /// Opens a session with every member at once and reads its node.
    pub async fn open(members: Vec<Member>, options: &'a Options, progress: &'a Progress, cancel: Cancel) -> Self {
        let all = open::all(members, options, progress, &cancel).await;
        Self {
            all,
            asked: 0,
            options,
            progress,
            cancel,
        }
    }

    /// Who they are, for the plan. Those that could not be had are among them, so that what they leave open is told.
    pub fn ids(&self) -> Vec<AgentId> {
        self.all.iter().map(|agent| agent.id.clone()).collect()
    }

    /// What their nodes' kernels say, by who they are; of those that could not be had, why not.
    pub fn node_facts(&self) -> impl Iterator<Item = (&AgentId, &NodeFacts)> {
        self.all.iter().map(|agent| (&agent.id, &agent.facts))
    }

    /// Those that could not be had, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&AgentId, &AgentFailure)> {
        self.all
            .iter()
            .filter_map(|agent| Some((&agent.id, agent.report.failure.as_ref()?)))
    }

    /// Ends all sessions.
    pub async fn close(self) {
        let closing = self.all.into_iter().filter_map(|agent| {
            let who = format!("{}/{}", agent.id.cluster, agent.id.node);
            Some((who, agent.session?))
        });
        let progress = self.progress;
        join_all(closing.map(async |(who, session)| {
            progress.waits(&who, "closing");
            session.close(CLOSING).await;
            progress.done(&who);
        }))
        .await;
    }

    /// Does what the plan says, and says of what could not be done why. Sessions stay open for a further plan, but for those
    /// of agents that were of no use.
    pub async fn run(&mut self, plan: Plan) -> Observations {
        let mut left: Vec<&mut Agent> = self.all.iter_mut().collect();
        let cast: Vec<Option<&mut Agent>> = plan.agents.iter().map(|id| take(&mut left, id)).collect();
        drop(left);
        self.progress.probes(plan.probes.len());
        let play = Play::new(&plan, self.asked, self.options, self.progress, &self.cancel);
        let parts = Part::all(&plan);
        let parts_of = plan.agents.iter().zip(cast).zip(&parts);
        let played = join_all(parts_of.map(|((id, agent), part)| play.play(id, agent, part))).await;
        drop(play);
        self.asked = self
            .asked
            .saturating_add(u32::try_from(plan.probes.len()).unwrap_or(u32::MAX));
        let cut_short = self.cancel.is_cancelled().then(|| INTERRUPTED.to_owned());
        results::observations(plan, played, cut_short)
    }
}

/// The agent of this identity, taken from among those that are left.
fn take<'a>(agents: &mut Vec<&'a mut Agent>, id: &AgentId) -> Option<&'a mut Agent> {
    let same = |known: &AgentId| (&known.cluster, &known.node, known.network) == (&id.cluster, &id.node, id.network);
    let place = agents.iter().position(|agent| same(&agent.id))?;
    Some(agents.swap_remove(place))
}

#[cfg(test)]
mod tests;
