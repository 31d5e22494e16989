//! Both ends' accounts put together: what became of each probe and of each agent.

use std::collections::HashMap;

use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::{
    Abilities, AgentFailure, AgentFailureKind, AgentReport, Heard, Listening, Observations, ProbeResult, Sent,
};
use prejoin_checks::plan::{AgentId, Plan, PlannedProbe, ProbeKind};

use crate::session::HeardAll;

/// What came of one agent.
#[derive(Debug)]
pub(super) struct Played {
    /// As messages call it: `east/e1`.
    who: String,
    pub(super) report: AgentReport,
    /// Its account of each probe that it was to send.
    pub(super) sent: HashMap<u32, Result<Sent, Unknown>>,
    /// How each of its listeners fared.
    pub(super) listening: HashMap<u32, Result<Listening, Unknown>>,
    /// What its listeners heard, once it was asked.
    pub(super) heard: Option<Result<HeardAll, Unknown>>,
    interrupted: bool,
}

impl Played {
    pub(super) fn begin(id: &AgentId, report: AgentReport) -> Self {
        Self {
            who: format!("{}/{}", id.cluster, id.node),
            report,
            sent: HashMap::new(),
            listening: HashMap::new(),
            heard: None,
            interrupted: false,
        }
    }

    /// An agent that the plan names and nobody was asked to open.
    pub(super) fn absent(id: &AgentId) -> Self {
        let failure = AgentFailure {
            kind: AgentFailureKind::Unreachable,
            detail: "there is no way to it".to_owned(),
        };
        let report = AgentReport {
            version: String::new(),
            protocol: None,
            abilities: Abilities::default(),
            failure: Some(failure),
        };
        Self::begin(id, report)
    }

    /// It is of no use any more. What it has said stays, unless it lied.
    pub(super) fn fail(&mut self, failure: AgentFailure) {
        if failure.kind == AgentFailureKind::Lied {
            self.sent.clear();
            self.heard = None;
        }
        self.report.failure = Some(failure);
    }

    /// The user has had enough.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// Why there is nothing more of it, if there should be.
    pub(super) fn why_out(&self) -> Option<Unknown> {
        let failure = self.report.failure.as_ref();
        failure
            .map(|failure| told(&self.who, failure))
            .or_else(|| self.interrupted.then(interrupted))
    }

    fn nothing(&self) -> Unknown {
        self.why_out().unwrap_or_else(|| {
            Unknown::new(
                Reason::NotFound,
                format!("the agent on {} said nothing of it", self.who),
            )
        })
    }

    fn sent(&mut self, probe: u32) -> Result<Sent, Unknown> {
        self.sent.remove(&probe).unwrap_or_else(|| Err(self.nothing()))
    }

    fn heard(&self, listener: u32, probe: u32) -> Result<Heard, Unknown> {
        let how = match self.listening.get(&listener) {
            Some(how) => how.clone()?,
            None => return Err(self.nothing()),
        };
        let all = match &self.heard {
            Some(Ok(all)) => all,
            Some(Err(why)) => return Err(why.clone()),
            None => return Err(self.nothing()),
        };
        let mut of_probe = all
            .heard
            .iter()
            .filter(|one| (one.listener, one.probe) == (listener, probe));
        Ok(of_probe.next().map_or_else(
            || Heard {
                how,
                foreign: all.foreign.get(&listener).copied().unwrap_or(0),
                ..Heard::default()
            },
            |one| one.heard.clone(),
        ))
    }
}

/// Why nothing is known of what was still to come when the user ended the audit.
pub(super) fn interrupted() -> Unknown {
    Unknown::new(Reason::Interrupted, "the audit was interrupted before")
}

/// Why nothing is known from an agent that failed.
pub(super) fn out(id: &AgentId, failure: &AgentFailure) -> Unknown {
    told(&format!("{}/{}", id.cluster, id.node), failure)
}

fn told(who: &str, failure: &AgentFailure) -> Unknown {
    let (reason, what) = match failure.kind {
        AgentFailureKind::Unreachable => (Reason::NoAgent, "could not be reached"),
        AgentFailureKind::Version => (Reason::NoAgent, "speaks another version"),
        AgentFailureKind::Died => (Reason::Unreachable, "died"),
        AgentFailureKind::Hung => (Reason::Unreachable, "hung"),
        AgentFailureKind::Garbage => (Reason::Unparsable, "made no sense"),
        AgentFailureKind::Lied => (Reason::Unparsable, "cannot be trusted"),
    };
    Unknown::new(reason, format!("agent on {who} {what}: {}", failure.detail))
}

/// What became of everything in a plan; `played` in the order of its agents.
pub(super) fn observations(plan: Plan, mut played: Vec<Played>, cut_short: Option<String>) -> Observations {
    for (agent, failure) in liars(&plan, &played) {
        if let Some(liar) = played.get_mut(agent as usize) {
            liar.fail(failure);
        }
    }
    let unplanned = || Unknown::new(Reason::NoAgent, "the plan names no agent for it");
    let results = plan.probes.iter().map(|probe| ProbeResult {
        probe: probe.id,
        sent: match played.get_mut(probe.from as usize) {
            Some(sender) => sender.sent(probe.id),
            None => Err(unplanned()),
        },
        heard: probe.listener.map(|listener| match receiver(&plan, &played, listener) {
            Some((_, receiver)) => receiver.heard(listener, probe.id),
            None => Err(unplanned()),
        }),
    });
    let results = results.collect();
    Observations {
        agents: played.into_iter().map(|played| played.report).collect(),
        results,
        plan,
        cut_short,
    }
}

fn receiver<'a>(plan: &Plan, played: &'a [Played], listener: u32) -> Option<(u32, &'a Played)> {
    let agent = plan.listeners.get(listener as usize)?.agent;
    Some((agent, played.get(agent as usize)?))
}

/// Agents that claim to have heard more of a probe than its sender sent.
fn liars(plan: &Plan, played: &[Played]) -> Vec<(u32, AgentFailure)> {
    let counted = |probe: &&PlannedProbe| {
        matches!(
            probe.kind,
            ProbeKind::Tcp { .. } | ProbeKind::Udp { .. } | ProbeKind::IpProtocol { .. }
        )
    };
    let claims = plan.probes.iter().filter(counted).filter_map(|probe| {
        let listener = probe.listener?;
        let (agent, receiver) = receiver(plan, played, listener)?;
        let heard = receiver.heard(listener, probe.id).ok()?.received;
        let sent = played
            .get(probe.from as usize)?
            .sent
            .get(&probe.id)?
            .as_ref()
            .ok()?
            .sent;
        let detail = format!(
            "it claims to have heard {heard} packets of probe {}, of which {sent} were sent",
            probe.id
        );
        (heard > sent).then_some((
            agent,
            AgentFailure {
                kind: AgentFailureKind::Lied,
                detail,
            },
        ))
    });
    claims.collect()
}
