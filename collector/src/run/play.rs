//! [`Play`]: each agent plays its part, together with the others.

use prejoin_agent::protocol::{ListenOn, ListenerState, ProbeOrder, limits};
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::AgentFailure;
use prejoin_checks::plan::{AgentId, Pace, Plan, PlannedProbe, ProbeKind};
use tokio::sync::Semaphore;

use super::board::{Board, Step};
use super::pace::{self, Shares};
use super::part::Part;
use super::results::Played;
use super::{Agent, CLOSING, Cancel, Options, Progress};
use crate::session::{Session, Trouble};

/// Orders of one request: well below what a line may hold.
const REQUEST_BYTES: usize = limits::REQUEST_LINE_BYTES / 2;

/// What all agents of a run share.
pub(super) struct Play<'a> {
    plan: &'a Plan,
    /// What agents know the plan's first probe by. They keep what they were asked before, and what was sent then may still arrive.
    first: u32,
    board: Board,
    shares: Shares,
    turns: Semaphore,
    options: &'a Options,
    progress: &'a Progress,
    cancel: &'a Cancel,
}

impl<'a> Play<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        first: u32,
        options: &'a Options,
        progress: &'a Progress,
        cancel: &'a Cancel,
    ) -> Self {
        let shares = Shares::of(plan.pace, &plan.probes);
        Self {
            plan,
            first,
            board: Board::new(plan),
            turns: Semaphore::new(shares.at_once),
            shares,
            options,
            progress,
            cancel,
        }
    }

    /// One agent's part, to its end or until it or the user has had enough. One that is of no use any more has no session after that.
    pub(super) async fn play(&self, id: &AgentId, agent: Option<&mut Agent>, part: &Part) -> Played {
        let Some(agent) = agent else {
            let played = Played::absent(id);
            self.board.out(part.agent, played.why_out());
            return played;
        };
        let mut played = Played::begin(id, agent.report.clone());
        let Some(session) = &mut agent.session else {
            self.board.out(part.agent, played.why_out());
            return played;
        };
        let who = format!("{}/{}", id.cluster, id.node);
        let ended = tokio::select! {
            biased;
            () = self.cancel.cancelled() => {
                played.interrupt();
                Ok(())
            }
            ended = self.perform(session, part, &who, &mut played) => ended,
        };
        if let Err(failure) = ended {
            played.fail(failure);
            agent.session = None;
            agent.report.clone_from(&played.report);
        } else if !session.tells_what_it_heard()
            && let Some(session) = agent.session.take()
        {
            // It listens until it is closed.
            session.close(CLOSING).await;
        }
        self.board.out(part.agent, played.why_out());
        self.progress.done(&who);
        played
    }

    async fn perform(
        &self,
        session: &mut Session,
        part: &Part,
        who: &str,
        played: &mut Played,
    ) -> Result<(), AgentFailure> {
        if !part.listeners.is_empty() {
            self.progress.waits(who, "begins to listen");
            self.listen(session, part, played).await?;
        }
        self.board.reach(part.agent, Step::Listening);
        self.progress.done(who);
        if !part.probes.is_empty() {
            self.board.until(&part.receivers, Step::Listening).await;
            // The semaphore is never closed.
            let _turn = self.turns.acquire().await;
            self.progress.waits(who, format!("sends {} probes", part.probes.len()));
            self.probe(session, part, played).await?;
            self.progress.done(who);
        }
        self.board.reach(part.agent, Step::Sent);
        if !part.listeners.is_empty() {
            self.board.until(&part.senders, Step::Sent).await;
            self.progress.waits(who, "says what it heard");
            if !session.tells_what_it_heard() {
                let why = "the agent speaks version 1 of the protocol, which does not tell what was heard";
                played.heard = Some(Err(Unknown::new(Reason::NoAgent, why)));
                return Ok(());
            }
            let heard = session.hush(&part.expected, self.first, self.options.answer);
            played.heard = Some(match heard.await {
                Ok(heard) => Ok(heard),
                Err(Trouble::Refused(_, why)) => Err(refused("hush", &why)),
                Err(Trouble::Agent(failure)) => return Err(failure),
            });
        }
        Ok(())
    }

    async fn listen(&self, session: &mut Session, part: &Part, played: &mut Played) -> Result<(), AgentFailure> {
        let (some, beyond) = part.listeners.split_at(part.listeners.len().min(limits::LISTENERS));
        let listeners = some.iter().filter_map(|id| {
            let listener = self.plan.listeners.get(*id as usize)?;
            Some(ListenOn {
                id: *id,
                address: listener.address,
                service: listener.service,
                answer_rate: self.plan.pace.target_rate,
            })
        });
        let mut states = match session.listen(listeners.collect(), self.options.answer).await {
            Ok(states) => states,
            Err(Trouble::Refused(_, why)) => some.iter().map(|id| deaf(*id, refused("listen", &why))).collect(),
            Err(Trouble::Agent(failure)) => return Err(failure),
        };
        let too_many = Unknown::new(
            Reason::NotAsked,
            format!("an agent has no more than {} listeners", limits::LISTENERS),
        );
        states.extend(beyond.iter().map(|id| deaf(*id, too_many.clone())));
        let how = |state: &ListenerState| (state.id, state.state.clone());
        played.listening = states.iter().map(how).collect();
        self.board.listening(part.agent, states);
        Ok(())
    }

    async fn probe(&self, session: &mut Session, part: &Part, played: &mut Played) -> Result<(), AgentFailure> {
        let pace = self.shares.paces.get(&part.agent).copied().unwrap_or(self.plan.pace);
        let mut orders = Vec::with_capacity(part.probes.len());
        for probe in part.probes.iter().filter_map(|id| self.plan.probes.get(*id as usize)) {
            match self.order(probe) {
                Ok(order) => orders.push(order),
                Err(why) => {
                    played.sent.insert(probe.id, Err(why));
                    self.progress.finished();
                }
            }
        }
        for orders in requests(orders) {
            let ids: Vec<u32> = orders.iter().map(|order| order.id - self.first).collect();
            let planned = ids.iter().filter_map(|id| self.plan.probes.get(*id as usize));
            let most = session.limits().map_or(pace.rate, |limits| limits.rate.min(pace.rate));
            let slowest = Pace { rate: most, ..pace };
            let patience = pace::patience(slowest, planned) + self.options.answer;
            let sent = &mut played.sent;
            let result = session.probe(orders, pace, patience, |probe, result| {
                sent.insert(probe - self.first, result);
                self.progress.finished();
            });
            match result.await {
                Ok(_) => {}
                Err(Trouble::Refused(_, why)) => {
                    for id in ids {
                        played.sent.entry(id).or_insert_with(|| Err(refused("probe", &why)));
                    }
                }
                Err(Trouble::Agent(failure)) => return Err(failure),
            }
        }
        Ok(())
    }

    /// What is sent to the agent for a probe, or why it is not sent: to a port on which nobody listens, only what the service behind it would
    /// answer itself.
    fn order(&self, probe: &PlannedProbe) -> Result<ProbeOrder, Unknown> {
        let listening = match probe.listener.map(|listener| self.board.listener(listener)) {
            None => None,
            Some(Ok(listening)) => Some(listening),
            Some(Err((_, true))) if matches!(probe.kind, ProbeKind::Tcp { .. }) => None,
            Some(Err((why, _))) => {
                let detail = format!("not sent, for nobody listens on {}: {}", probe.to.name, why.detail);
                return Err(Unknown::new(why.reason, detail));
            }
        };
        Ok(ProbeOrder {
            id: self.first + probe.id,
            address: probe.to.address,
            host: probe.to.host.clone(),
            kind: probe.kind.clone(),
            listening,
        })
    }
}

/// Orders in as few requests as lines have room for.
fn requests(orders: Vec<ProbeOrder>) -> Vec<Vec<ProbeOrder>> {
    let mut requests: Vec<Vec<ProbeOrder>> = Vec::new();
    let mut room = 0;
    for order in orders {
        let size = serde_json::to_vec(&order).map_or(REQUEST_BYTES, |line| line.len() + 1);
        match requests.last_mut() {
            Some(request) if size <= room => {
                room -= size;
                request.push(order);
            }
            _ => {
                room = REQUEST_BYTES.saturating_sub(size);
                requests.push(vec![order]);
            }
        }
    }
    requests
}

fn deaf(id: u32, why: Unknown) -> ListenerState {
    ListenerState {
        id,
        state: Err(why),
        captures: false,
        held_by: String::new(),
    }
}

fn refused(what: &str, why: &str) -> Unknown {
    Unknown::new(Reason::ServerError, format!("the agent refused `{what}`: {why}"))
}
