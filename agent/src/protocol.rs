//! The session protocol: one JSON object per line over any byte stream. The collector asks, the agent answers.
//!
//! `docs/protocol.md` describes it for those who write another end; its JSON Schema is generated from these types. Both ends take what the
//! other says for hostile input: lines, nesting and counts are limited (see [`limits`]).

use std::net::IpAddr;

use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::kernel::{NetworkView, NodeFacts};
use prejoin_checks::facts::provenance::Unknown;
use prejoin_checks::observation::{Abilities, Heard, Listening, Sent};
use prejoin_checks::plan::{ProbeKind, Service};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod line;
#[cfg(test)]
mod tests;

/// The version of the protocol that this library speaks; it understands the one before as well.
///
/// Version 1 has no `hush` (so what a listener heard stays untold), no `candidates` of a path MTU search and no `limits` in `opened`.
pub const PROTOCOL_VERSION: u32 = 2;
/// The oldest version that is understood.
pub const OLDEST_PROTOCOL_VERSION: u32 = 1;

/// The version that two ends speak: the highest that both know, if there is one. `highest` is the own end's.
pub fn common_version(theirs: &[u32], highest: u32) -> Option<u32> {
    let ours = OLDEST_PROTOCOL_VERSION..=highest.min(PROTOCOL_VERSION);
    theirs.iter().copied().filter(|version| ours.contains(version)).max()
}

/// What either end accepts from the other.
pub mod limits {
    /// The longest line in bytes, from the collector to an agent.
    pub const REQUEST_LINE_BYTES: usize = 1 << 20;
    /// The longest line in bytes, from an agent to the collector: facts of a large cluster, the answer to `cluster_facts`.
    pub const ANSWER_LINE_BYTES: usize = 256 << 20;
    /// The same for every other answer.
    pub const SHORT_ANSWER_LINE_BYTES: usize = 16 << 20;
    /// Listeners of one session.
    pub const LISTENERS: usize = 256;
    /// Probes of one session.
    pub const PROBES: usize = 65_536;
    /// How deep objects and lists may lie in each other, on either side.
    pub const NESTING: usize = 64;
    /// Requests that an agent works on at the same time; it reads the next one when one of them is finished.
    pub const REQUESTS_AT_ONCE: usize = 16;
    /// Addresses of one `node_facts` to which the kernel is asked for its route.
    pub const PEERS: usize = 4_096;
    /// Names that one request may have resolved, and the longest of them in bytes (RFC 1035).
    pub const NAMES: usize = 256;
    /// See [`NAMES`].
    pub const NAME_BYTES: usize = 253;
    /// Datagrams or echoes of one probe.
    pub const SAMPLES: u32 = 10_000;
    /// Sizes that one path MTU search is told to try first.
    pub const CANDIDATES: usize = 64;
    /// The longest that an answer to a probe is waited for, in milliseconds.
    pub const TIMEOUT_MILLIS: u32 = 60_000;
    /// `open` must have come after this many seconds.
    pub const OPEN_WITHIN_SECONDS: u32 = 30;
}

/// One line from the collector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Chosen by the collector; answers carry it.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Begin. Must come first, and once.
    Open(Open),
    /// Read this cluster's API; for the cluster role.
    ClusterFacts {
        /// Whether the few Secrets with certificates and keys are read, and reduced to fingerprints.
        #[serde(default)]
        read_secrets: bool,
    },
    /// Read this node's kernel.
    NodeFacts {
        /// Addresses to which the kernel is asked for its route.
        #[serde(default)]
        peers: Vec<IpAddr>,
        /// Names to resolve.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Listen.
    Listen {
        /// On what; answered by [`Answer::Listening`] when all of them do, or say why not.
        listeners: Vec<ListenOn>,
    },
    /// Send probes, all at once within the pace. Each is answered by one [`Answer::Probed`] when it is finished, all by [`Answer::Done`].
    Probe {
        /// Which.
        probes: Vec<ProbeOrder>,
        /// Packets a second that this agent may put on the wire, answers to them included.
        rate: u32,
        /// The same for one target.
        target_rate: u32,
        /// How long an answer is waited for, in milliseconds.
        timeout_millis: u32,
        /// Datagrams or echoes of each probe that has samples.
        samples: u32,
    },
    /// Stop listening and say what was heard: [`Answer::Heard`].
    Hush {},
    /// End the session: everything is closed, then [`Answer::Closed`] is the last line.
    Close {},
}

/// The beginning of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Open {
    /// The protocol versions that the collector speaks.
    pub versions: Vec<u32>,
    /// The audit: 16 bytes, hex. Nonces carry it.
    pub audit: String,
    /// The audit's key: 32 bytes, hex. Nonces are authenticated with it.
    pub key: String,
    /// The node as the plan calls it; facts carry it.
    pub node: String,
    /// After this many seconds the agent ends the session whatever happens.
    pub deadline_seconds: u32,
}

/// A port or protocol to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenOn {
    /// [`Plan::listeners`](prejoin_checks::plan::Plan::listeners) by position.
    pub id: u32,
    /// The address to bind; where the agent has no such address, all of its family.
    pub address: IpAddr,
    /// What.
    pub service: Service,
    /// The most packets a second that are answered.
    pub answer_rate: u32,
}

/// A probe to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeOrder {
    /// [`PlannedProbe::id`](prejoin_checks::plan::PlannedProbe::id).
    pub id: u32,
    /// To where; absent for probes that send nothing themselves, or where `host` is to be resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The name to resolve and send to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// What.
    pub kind: ProbeKind,
    /// How the peer listens: bound ports answer, captured ones do not, and a service answers in its own way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listening: Option<Listening>,
}

/// One line from an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// The request's.
    pub id: u64,
    /// What is answered.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `open`.
    Opened(Opened),
    /// To `cluster_facts`.
    ClusterFacts(Box<ClusterFacts>),
    /// To `node_facts`.
    NodeFacts(Box<NodeFacts>),
    /// To `listen`.
    Listening {
        /// One of each that was asked for.
        listeners: Vec<ListenerState>,
    },
    /// One probe is finished.
    Probed {
        /// Its id.
        probe: u32,
        /// The sender's account, or why there is none.
        sent: Result<Box<Sent>, Unknown>,
    },
    /// All probes of the request are finished.
    Done {
        /// Packets sent in all.
        packets: u64,
    },
    /// To `hush`.
    Heard {
        /// What each probe looked like from here, by listener.
        heard: Vec<HeardProbe>,
        /// For each listener: packets on it that carried no valid nonce of this audit.
        foreign: Vec<(u32, u32)>,
    },
    /// To `close`; the last line.
    Closed {},
    /// The request failed as a whole.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// The particulars in one line.
        detail: String,
    },
}

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Opened {
    /// The protocol version to be spoken: the highest that both know.
    pub version: u32,
    /// The agent's own version.
    pub agent: String,
    /// Its role.
    pub role: Role,
    /// The node's name as the agent knows it itself (`--node-name`, or `uname -n`).
    pub node: String,
    /// Which network namespace it sees, as far as it can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkView>,
    /// What it can do.
    pub abilities: Abilities,
    /// What it does at most, whatever is asked; absent in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<AgentLimits>,
}

/// What an agent does at most: its owner's word, not the collector's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentLimits {
    /// Packets a second; a probe request that allows more is sent at this rate.
    pub rate: u32,
    /// Seconds from `open` after which it ends the session, if the asked-for deadline is not sooner.
    pub deadline_seconds: u32,
}

/// What an agent is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads a node's kernel and probes from it.
    Node,
    /// Reads a cluster's API and probes from the pod network.
    Cluster,
}

/// How one listener fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerState {
    /// Its id.
    pub id: u32,
    /// How it listens, or why it does not.
    pub state: Result<Listening, Unknown>,
    /// Whether arriving packets are captured as well, beside the socket or in its stead: what a capture did not see did not arrive.
    #[serde(default)]
    pub captures: bool,
    /// What holds the port, where something does and the agent may see it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub held_by: String,
}

/// What was heard of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeardProbe {
    /// The listener.
    pub listener: u32,
    /// The probe.
    pub probe: u32,
    /// What was heard of it.
    pub heard: Heard,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The line is no request.
    Malformed,
    /// No common protocol version.
    Version,
    /// Not now: `open` must come first, and once.
    OutOfOrder,
    /// Beyond a limit of the protocol.
    TooMuch,
    /// This agent cannot do that: a node agent reads no API.
    Unsupported,
    /// The agent itself failed.
    Internal,
    /// The session's time is over. Comes with id 0 and is the last line.
    Deadline,
    /// The agent was told to stop by its own system. Comes with id 0 and is the last line.
    Stopped,
}
