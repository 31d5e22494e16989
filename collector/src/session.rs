//! [`Session`]: one conversation with one agent, as the collector leads it.
//!
//! What an agent says is hostile input. Lines and counts are limited, every answer must be to what was asked, every wait has an end, and
//! every text is made harmless before anything else sees it. What is wrong with an agent ends its session and no other.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use prejoin_agent::protocol::line::{self, LineError, LineReader};
use prejoin_agent::protocol::{
    AgentLimits, Answer, Ask, FailureKind, HeardProbe, ListenOn, ListenerState, OLDEST_PROTOCOL_VERSION, Open, Opened,
    PROTOCOL_VERSION, ProbeOrder, Reply, Request, limits,
};
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::kernel::NodeFacts;
use prejoin_checks::facts::provenance::Unknown;
use prejoin_checks::observation::{AgentFailure, AgentFailureKind, Sent};
use prejoin_checks::plan::{Pace, ProbeKind};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::load;
use crate::text;
use crate::transport::Connection;

/// How long a connection may take to end after its last word.
const ENDING: Duration = Duration::from_secs(2);
/// So much of what an agent says of itself is shown.
const SHOWN_CHARS: usize = 200;

/// Why a request brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The agent is of no use any more; the session is over.
    #[error("{}", .0.detail)]
    Agent(AgentFailure),
    /// The agent refused this one request.
    #[error("{1}")]
    Refused(FailureKind, String),
}

impl From<AgentFailure> for Trouble {
    fn from(failure: AgentFailure) -> Self {
        Self::Agent(failure)
    }
}

/// What was heard at the listeners of one agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeardAll {
    /// Of each probe.
    pub heard: Vec<HeardProbe>,
    /// For each listener: packets on it that carried no valid nonce of this audit.
    pub foreign: HashMap<u32, u32>,
}

/// One conversation with one agent.
pub struct Session {
    connection: Connection,
    answers: LineReader<Box<dyn AsyncRead + Send + Unpin>>,
    /// Requests not yet written to the end.
    outgoing: Vec<u8>,
    written: usize,
    last_id: u64,
    /// The node's name, as facts must carry it.
    node: String,
    version: u32,
    limits: Option<AgentLimits>,
}

impl Session {
    /// Begins the conversation; within `patience` the agent must have said who it is.
    pub async fn open(
        mut connection: Connection,
        open: Open,
        patience: Duration,
    ) -> Result<(Self, Opened), AgentFailure> {
        let reader = std::mem::replace(&mut connection.reader, Box::new(tokio::io::empty()));
        let mut session = Self {
            connection,
            answers: LineReader::new(reader, limits::SHORT_ANSWER_LINE_BYTES),
            outgoing: Vec::new(),
            written: 0,
            last_id: 0,
            node: open.node.clone(),
            version: PROTOCOL_VERSION,
            limits: None,
        };
        let deadline = Instant::now() + patience;
        let opened = match session.ask(Ask::Open(open), deadline).await {
            Ok(Answer::Opened(opened)) => opened,
            Ok(other) => return Err(unasked("open", &other)),
            // Who never said a word was never reached.
            Err(Trouble::Agent(failure)) if failure.kind == AgentFailureKind::Died => {
                return Err(AgentFailure {
                    kind: AgentFailureKind::Unreachable,
                    ..failure
                });
            }
            Err(Trouble::Refused(FailureKind::Version, detail)) => {
                return Err(failure(AgentFailureKind::Version, detail));
            }
            Err(trouble) => return Err(trouble.into_failure("open")),
        };
        if !(OLDEST_PROTOCOL_VERSION..=PROTOCOL_VERSION).contains(&opened.version) {
            return Err(failure(
                AgentFailureKind::Version,
                format!(
                    "agent {} speaks version {} of the protocol, and this prejoin {OLDEST_PROTOCOL_VERSION} to {PROTOCOL_VERSION}",
                    text::short(&opened.agent, SHOWN_CHARS),
                    opened.version
                ),
            ));
        }
        session.version = opened.version;
        session.limits = opened.limits;
        Ok((session, opened))
    }

    /// What the agent does at most, whatever is asked.
    pub fn limits(&self) -> Option<AgentLimits> {
        self.limits
    }

    /// Whether what was heard can be asked for: version 1 of the protocol cannot.
    pub fn tells_what_it_heard(&self) -> bool {
        self.version > 1
    }

    /// What the cluster's API says, under the name that the session has; an answer beyond `at_most_bytes` is refused.
    pub async fn cluster_facts(
        &mut self,
        read_secrets: bool,
        at_most_bytes: usize,
        patience: Duration,
    ) -> Result<ClusterFacts, Trouble> {
        let deadline = Instant::now() + patience;
        self.answers.set_limit(at_most_bytes.min(limits::ANSWER_LINE_BYTES));
        let answer = self.ask(Ask::ClusterFacts { read_secrets }, deadline).await;
        self.answers.set_limit(limits::SHORT_ANSWER_LINE_BYTES);
        match answer? {
            Answer::ClusterFacts(facts) => Ok(*facts),
            other => Err(unasked("cluster_facts", &other).into()),
        }
    }

    /// What the node's kernel says.
    pub async fn node_facts(
        &mut self,
        peers: Vec<IpAddr>,
        names: Vec<String>,
        patience: Duration,
    ) -> Result<NodeFacts, Trouble> {
        let deadline = Instant::now() + patience;
        match self.ask(Ask::NodeFacts { peers, names }, deadline).await? {
            Answer::NodeFacts(facts) if facts.node == self.node => Ok(*facts),
            Answer::NodeFacts(facts) => Err(lied(format!(
                "asked for facts of node {}, the agent gave those of {}",
                self.node,
                text::short(&facts.node, SHOWN_CHARS)
            ))),
            other => Err(unasked("node_facts", &other).into()),
        }
    }

    /// Listens; how each listener fares, in the order asked.
    pub async fn listen(
        &mut self,
        listeners: Vec<ListenOn>,
        patience: Duration,
    ) -> Result<Vec<ListenerState>, Trouble> {
        let asked: Vec<u32> = listeners.iter().map(|listener| listener.id).collect();
        let deadline = Instant::now() + patience;
        let states = match self.ask(Ask::Listen { listeners }, deadline).await? {
            Answer::Listening { listeners } => listeners,
            other => return Err(unasked("listen", &other).into()),
        };
        let mut by_id: HashMap<u32, ListenerState> = HashMap::with_capacity(states.len());
        for state in states {
            if !asked.contains(&state.id) || by_id.insert(state.id, state).is_some() {
                return Err(lied("the agent tells of a listener that was not asked for".to_owned()));
            }
        }
        let states = asked.iter().map(|id| by_id.remove(id)).collect::<Option<Vec<_>>>();
        states.ok_or_else(|| {
            failure(
                AgentFailureKind::Garbage,
                "`listening` leaves out listeners that were asked for",
            )
            .into()
        })
    }

    /// Sends probes and hands over each result as it comes. Gives the packets that the agent says it sent.
    pub async fn probe(
        &mut self,
        probes: Vec<ProbeOrder>,
        pace: Pace,
        patience: Duration,
        mut finished: impl FnMut(u32, Result<Sent, Unknown>),
    ) -> Result<u64, Trouble> {
        let mut open: HashMap<u32, ProbeKind> = probes.iter().map(|order| (order.id, order.kind.clone())).collect();
        let deadline = Instant::now() + patience;
        let ask = Ask::Probe {
            probes,
            rate: pace.rate,
            target_rate: pace.target_rate,
            timeout_millis: pace.timeout_millis,
            samples: pace.samples,
        };
        let id = self.send(ask, "probe", deadline).await?;
        loop {
            match self.answer(id, "probe", deadline).await? {
                Answer::Probed { probe, sent } => {
                    let Some(kind) = open.remove(&probe) else {
                        return Err(lied(format!(
                            "the agent tells of probe {probe}, which it was not to send, or twice"
                        )));
                    };
                    if let Ok(sent) = &sent {
                        plausible(probe, &kind, sent)?;
                    }
                    finished(probe, sent.map(|sent| *sent));
                }
                Answer::Done { packets } if open.is_empty() => return Ok(packets),
                Answer::Done { .. } => {
                    return Err(failure(
                        AgentFailureKind::Garbage,
                        format!("the agent is done without the results of {} probes", open.len()),
                    )
                    .into());
                }
                other => return Err(unasked("probe", &other).into()),
            }
        }
    }

    /// Stops listening; what was heard. `expected` has the probes that are to arrive at each listener, numbered from 0, of which the agents
    /// know the first as `first`: what is heard of those before it was late, and says nothing.
    pub async fn hush(
        &mut self,
        expected: &HashMap<u32, HashSet<u32>>,
        first: u32,
        patience: Duration,
    ) -> Result<HeardAll, Trouble> {
        let deadline = Instant::now() + patience;
        let (mut heard, foreign) = match self.ask(Ask::Hush {}, deadline).await? {
            Answer::Heard { heard, foreign } => (heard, foreign),
            other => return Err(unasked("hush", &other).into()),
        };
        heard.retain(|one| one.probe >= first);
        for one in &mut heard {
            one.probe -= first;
        }
        let mut seen = HashSet::new();
        for one in &heard {
            let sent_there = expected
                .get(&one.listener)
                .is_some_and(|probes| probes.contains(&one.probe));
            if !sent_there || !seen.insert((one.listener, one.probe)) {
                return Err(lied(format!(
                    "the agent claims to have heard probe {} at listener {}, to which it was not sent, or twice",
                    one.probe, one.listener
                )));
            }
        }
        if let Some((listener, _)) = foreign.iter().find(|(listener, _)| !expected.contains_key(listener)) {
            return Err(lied(format!(
                "the agent tells of listener {listener}, which it does not have"
            )));
        }
        Ok(HeardAll {
            heard,
            foreign: foreign.into_iter().collect(),
        })
    }

    /// Ends the conversation: tells the agent, and waits for its last line no longer than `patience`. What it still had to say is passed over.
    pub async fn close(mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        if let Ok(id) = self.send(Ask::Close {}, "close", deadline).await {
            while let Ok(reply) = self.reply("close", deadline).await {
                let last = reply.id == id && matches!(reply.answer, Answer::Closed {} | Answer::Failed { .. });
                // One that never stops talking never lets the wait itself run out.
                if last || Instant::now() >= deadline {
                    break;
                }
            }
        }
        self.connection
            .end(deadline.saturating_duration_since(Instant::now()).min(ENDING))
            .await;
    }

    /// Asks for something that has one short answer.
    async fn ask(&mut self, ask: Ask, deadline: Instant) -> Result<Answer, Trouble> {
        let what = name_of(&ask);
        let id = self.send(ask, what, deadline).await?;
        self.answer(id, what, deadline).await
    }

    /// Writes a request, after what is left of those before it.
    async fn send(&mut self, ask: Ask, what: &str, deadline: Instant) -> Result<u64, AgentFailure> {
        self.last_id += 1;
        let request = Request { id: self.last_id, ask };
        let line = serde_json::to_vec(&request);
        let line = line.map_err(|error| failure(AgentFailureKind::Garbage, format!("`{what}`: {error}")))?;
        self.outgoing.extend_from_slice(&line);
        self.outgoing.push(b'\n');
        match timeout_at(deadline, self.flush()).await {
            Ok(Ok(())) => Ok(self.last_id),
            Ok(Err(_)) => Err(self.post_mortem().await),
            Err(_) => Err(hung(what)),
        }
    }

    /// Dropping this future leaves the rest to be written before the next request.
    async fn flush(&mut self) -> std::io::Result<()> {
        while self.written < self.outgoing.len() {
            self.written += match self.connection.writer.write(&self.outgoing[self.written..]).await? {
                0 => return Err(std::io::ErrorKind::WriteZero.into()),
                written => written,
            };
        }
        self.outgoing.clear();
        self.written = 0;
        self.connection.writer.flush().await
    }

    /// The next answer, which must be to this request.
    async fn answer(&mut self, id: u64, what: &str, deadline: Instant) -> Result<Answer, Trouble> {
        let reply = self.reply(what, deadline).await?;
        match reply.answer {
            Answer::Failed {
                kind: FailureKind::Deadline | FailureKind::Stopped,
                detail,
            } => Err(failure(AgentFailureKind::Died, text::short(&detail, SHOWN_CHARS)).into()),
            // Of a line that it could not read, an agent does not know the number either.
            Answer::Failed { kind, detail } if reply.id == id || reply.id == 0 => {
                Err(Trouble::Refused(kind, text::short(&detail, SHOWN_CHARS)))
            }
            answer if reply.id == id => Ok(answer),
            answer => Err(unasked(what, &answer).into()),
        }
    }

    async fn reply(&mut self, what: &str, deadline: Instant) -> Result<Reply, AgentFailure> {
        let line = match timeout_at(deadline, self.answers.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None) | Err(LineError::CutOff | LineError::Stream(_))) => return Err(self.post_mortem().await),
            Ok(Err(error)) => return Err(failure(AgentFailureKind::Garbage, error.to_string())),
            Err(_) => return Err(hung(what)),
        };
        harmless(line).map_err(|error| {
            let start = text::short(&String::from_utf8_lossy(&line[..line.len().min(400)]), 80);
            failure(
                AgentFailureKind::Garbage,
                text::short(&format!("{error}: {start}"), SHOWN_CHARS),
            )
        })
    }

    /// Why the stream ended.
    async fn post_mortem(&mut self) -> AgentFailure {
        let how = self.connection.end(ENDING).await;
        failure(
            AgentFailureKind::Died,
            how.map_or_else(|| "the agent ended".to_owned(), |how| format!("the agent ended: {how}")),
        )
    }
}

impl Trouble {
    /// As a failure of the agent: it must be able to do what was asked.
    pub fn into_failure(self, what: &str) -> AgentFailure {
        match self {
            Self::Agent(failure) => failure,
            Self::Refused(_, detail) => failure(AgentFailureKind::Garbage, format!("`{what}` was refused: {detail}")),
        }
    }
}

/// What a line says, with every text in it harmless.
fn harmless(line: &[u8]) -> Result<Reply, LineError> {
    if load::is_harmless_json(line) {
        return line::decode(line);
    }
    Ok(serde_json::from_value(load::clean(line::decode(line)?))?)
}

/// What counts cannot say of a probe that was sent.
fn plausible(probe: u32, kind: &ProbeKind, sent: &Sent) -> Result<(), Trouble> {
    let counted = matches!(
        kind,
        ProbeKind::Tcp { .. } | ProbeKind::Udp { .. } | ProbeKind::Icmp | ProbeKind::IpProtocol { .. }
    );
    if counted && sent.answered > sent.sent {
        return Err(lied(format!(
            "the agent claims {} answers to the {} packets of probe {probe}",
            sent.answered, sent.sent
        )));
    }
    Ok(())
}

fn name_of(ask: &Ask) -> &'static str {
    match ask {
        Ask::Open(_) => "open",
        Ask::ClusterFacts { .. } => "cluster_facts",
        Ask::NodeFacts { .. } => "node_facts",
        Ask::Listen { .. } => "listen",
        Ask::Probe { .. } => "probe",
        Ask::Hush {} => "hush",
        Ask::Close {} => "close",
    }
}

fn name_of_answer(answer: &Answer) -> &'static str {
    match answer {
        Answer::Opened(_) => "opened",
        Answer::ClusterFacts(_) => "cluster_facts",
        Answer::NodeFacts(_) => "node_facts",
        Answer::Listening { .. } => "listening",
        Answer::Probed { .. } => "probed",
        Answer::Done { .. } => "done",
        Answer::Heard { .. } => "heard",
        Answer::Closed {} => "closed",
        Answer::Failed { .. } => "failed",
    }
}

fn failure(kind: AgentFailureKind, detail: impl Into<String>) -> AgentFailure {
    AgentFailure {
        kind,
        detail: detail.into(),
    }
}

fn lied(detail: String) -> Trouble {
    failure(AgentFailureKind::Lied, detail).into()
}

fn hung(what: impl Display) -> AgentFailure {
    failure(AgentFailureKind::Hung, format!("`{what}` was not answered in time"))
}

fn unasked(what: &str, answer: &Answer) -> AgentFailure {
    failure(
        AgentFailureKind::Garbage,
        format!(
            "the agent answers `{what}` with `{}`, or something that was not asked",
            name_of_answer(answer)
        ),
    )
}

#[cfg(test)]
mod tests;
