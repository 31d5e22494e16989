//! What agents saw: the results of a [`Plan`](crate::plan::Plan)'s probes, from both ends.
//!
//! A result holds what was measured, not what follows from it: the sender's account and, where an agent listened, the receiver's. Which
//! evidence that makes ([`Evidence`]) is worked out here, so that a saved audit is judged again by better rules.

pub mod failures;
mod loss;
pub mod shown;

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::provenance::Unknown;
use crate::path_mtu::PathMtu;
use crate::plan::Plan;

/// Everything the agents of one audit saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observations {
    /// What was to be done.
    pub plan: Plan,
    /// What became of each agent of the plan, in the order of [`Plan::agents`].
    #[serde(default)]
    pub agents: Vec<AgentReport>,
    /// What became of each probe of the plan, in the order of [`Plan::probes`].
    #[serde(default)]
    pub results: Vec<ProbeResult>,
    /// Why the run ended before its plan did, if so: `interrupted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_short: Option<String>,
}

/// What became of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentReport {
    /// The agent's own version, empty if it never said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The protocol version spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
    /// What it can do, as it found by trying.
    #[serde(default)]
    pub abilities: Abilities,
    /// Why it could not be used, or not to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<AgentFailure>,
}

/// What an agent found that it can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "abilities are independent of each other")]
pub struct Abilities {
    /// Packet sockets and raw sockets: capture, IP protocols (CAP_NET_RAW).
    pub raw: bool,
    /// ICMP echo, by raw or by ping socket.
    pub icmp: bool,
    /// IPv4 sockets.
    pub ipv4: bool,
    /// IPv6 sockets.
    pub ipv6: bool,
}

/// Why an agent could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentFailure {
    /// What kind of failure.
    pub kind: AgentFailureKind,
    /// The particulars in one line, harmless to show.
    pub detail: String,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentFailureKind {
    /// It could not be started or reached.
    Unreachable,
    /// It speaks no protocol version that this prejoin speaks.
    Version,
    /// It ended before the session did.
    Died,
    /// It did not answer in time.
    Hung,
    /// What it said is not the protocol, or is beyond its limits.
    Garbage,
    /// It claims what it cannot know or be: another node's name, a nonce that was never sent.
    Lied,
}

/// What became of one probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeResult {
    /// [`PlannedProbe::id`](crate::plan::PlannedProbe::id).
    pub probe: u32,
    /// The sender's account, or why there is none.
    pub sent: Result<Sent, Unknown>,
    /// The receiver's account, where an agent listened; absent where none was to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Result<Heard, Unknown>>,
}

/// The sender's account of one probe.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sent {
    /// The address it was sent from, as the kernel chose.
    pub from: Option<IpAddr>,
    /// Datagrams, echoes or connections tried.
    pub sent: u32,
    /// How many of them were answered by what was asked (for our own listener: with a valid authenticator).
    pub answered: u32,
    /// Answers that came twice.
    pub duplicates: u32,
    /// Answers that came after that to a later one from the same source port.
    pub reordered: u32,
    /// The most in a row that went unanswered, and whether the run began with the first.
    pub longest_loss: u32,
    /// Whether the very first went unanswered although a later one was answered.
    pub first_lost: bool,
    /// Source ports on which nothing was answered, and those on which something was; for protocols with ports.
    pub silent_ports: Vec<u16>,
    /// See [`Sent::silent_ports`].
    pub answered_ports: Vec<u16>,
    /// Those of the answered ports on which not everything was answered.
    pub lossy_ports: Vec<u16>,
    /// Round trips of what was answered.
    pub round_trip: Option<RoundTrip>,
    /// Who the answering listener says the sender is: its address as the peer saw it. Differs from the own one behind NAT.
    pub seen_as: Vec<SocketAddr>,
    /// The peer's clock minus the own one.
    pub clock: Option<ClockOffset>,
    /// Errors the network or the kernel gave, with who said so, most frequent first.
    pub errors: Vec<NetworkError>,
    /// Answers that were not from whom was asked: wrong authenticator, wrong nonce, wrong protocol.
    pub foreign_answers: u32,
    /// Who answered in the listener's place, where something did.
    pub foreign_from: Option<SocketAddr>,
    /// TCP only: a connection came about (even if what answers is not our listener).
    pub connected: bool,
    /// The search for the path MTU.
    pub path_mtu: Option<PathMtu>,
    /// What the service showed of its TLS.
    pub tls: Option<TlsPeek>,
    /// What Submariner's NAT discovery answered.
    pub nat_discovery: Option<NatDiscoveryAnswer>,
    /// What names resolved to.
    pub names: Vec<crate::facts::kernel::ResolvedName>,
    /// Received TTL or hop limit of the answers, where the kernel told.
    pub received_ttl: Option<u8>,
}

/// Round trips, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoundTrip {
    /// How many were measured.
    pub samples: u32,
    /// The least.
    pub min_micros: u64,
    /// The median.
    pub median_micros: u64,
    /// 95th percentile; says little below 200 samples.
    pub p95_micros: u64,
    /// 99th percentile; says little below 1,000 samples.
    pub p99_micros: u64,
    /// The most.
    pub max_micros: u64,
}

impl RoundTrip {
    /// Of these round trips in microseconds; none of no samples.
    pub fn of(mut micros: Vec<u64>) -> Option<Self> {
        micros.sort_unstable();
        let (&min_micros, &max_micros) = (micros.first()?, micros.last()?);
        // Nearest rank: the smallest sample that the share does not exceed.
        let rank = |percent: usize| micros[(micros.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self {
            samples: u32::try_from(micros.len()).unwrap_or(u32::MAX),
            min_micros,
            median_micros: rank(50),
            p95_micros: rank(95),
            p99_micros: rank(99),
            max_micros,
        })
    }

    /// Delay variation as RFC 5481 has it: p99 − min.
    pub fn jitter_micros(&self) -> u64 {
        self.p99_micros - self.min_micros
    }
}

/// A duration in microseconds as a person reads it: `0.35 ms`, `12.0 ms`.
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub fn millis(micros: u64) -> String {
    let millis = micros as f64 / 1000.0;
    if millis < 10.0 {
        format!("{millis:.2} ms")
    } else {
        format!("{millis:.1} ms")
    }
}

/// The peer's clock minus the own one, from the exchange with the shortest round trip (RFC 5905, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockOffset {
    /// The offset in microseconds.
    pub offset_micros: i64,
    /// The truth lies within this many microseconds: half the round trip.
    pub bound_micros: u64,
}

/// An error that a packet met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkError {
    /// What it was.
    pub kind: ErrorKind,
    /// Who said so: the router or host that sent the ICMP message; absent where the own kernel did, or where a TCP reset did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<IpAddr>,
    /// ICMP type and code, where it was ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<(u8, u8)>,
    /// The kernel's error number, where it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// How often.
    pub count: u32,
}

/// What kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Nothing listens: TCP reset, or ICMP port unreachable.
    Refused,
    /// A filter says so: ICMP administratively prohibited.
    Prohibited,
    /// ICMP host unreachable, or no answer to ARP or neighbour discovery.
    HostUnreachable,
    /// ICMP network unreachable, or no route on this host.
    NetworkUnreachable,
    /// ICMP protocol unreachable.
    ProtocolUnreachable,
    /// ICMP packet too big, or larger than the own link.
    TooBig,
    /// ICMP time exceeded.
    TimeExceeded,
    /// This host's own packet filter, or a missing capability.
    LocallyForbidden,
    /// The other side ended the connection without an answer.
    Reset,
    /// Anything else.
    Other,
}

/// The receiver's account of one probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Heard {
    /// How it listened.
    pub how: Listening,
    /// Distinct nonces of this probe that arrived with a valid authenticator.
    pub received: u32,
    /// Where they came from, as seen here.
    pub from: Vec<SocketAddr>,
    /// Beside a bound socket: distinct nonces of this probe that a capture saw at the card, whether or not the host's firewall let them
    /// pass; absent where the agent may not capture. More than `received` means that this host itself drops them.
    pub captured: Option<u32>,
    /// Packets on the port that carried no valid nonce of this audit.
    pub foreign: u32,
    /// Packets that the capture lost for want of room.
    pub dropped: u32,
}

/// How an agent listens on a port or protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Listening {
    /// The port was free and is bound: what arrives has passed the host's firewall.
    #[default]
    Bound,
    /// The port is in use by something else: what arrives at the card is seen, whether or not the host's firewall lets it pass.
    Captured,
}

/// What a TLS service showed before it asked for a client certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TlsPeek {
    /// Protocol version: `TLSv1.3`.
    pub version: String,
    /// The end certificate's subject.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// Its subject alternative names.
    pub names: Vec<String>,
    /// Not valid before, RFC 3339.
    pub not_before: String,
    /// Not valid after, RFC 3339.
    pub not_after: String,
    /// SHA-256 of the end certificate, hex.
    pub fingerprint: String,
    /// Key identifier of the authority, hex.
    pub authority_key_id: String,
    /// Whether the server asks for a client certificate.
    pub asks_client_certificate: bool,
    /// Why there was no handshake.
    pub failure: Option<String>,
}

/// What Submariner's NAT discovery answered (`pkg/natdiscovery/proto/natdiscovery.proto`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NatDiscoveryAnswer {
    /// `OK`, `NAT_DETECTED`, `UNKNOWN_DST_CLUSTER`, `UNKNOWN_DST_ENDPOINT`, `MALFORMED`, or a number.
    pub result: String,
    /// The responder's cluster ID.
    pub cluster_id: String,
    /// The responder's cable name.
    pub endpoint_id: String,
    /// The sender as the responder saw it.
    pub received_src: String,
    /// The responder says that the source address was changed.
    pub src_ip_nat: bool,
    /// The responder says that the source port was changed.
    pub src_port_nat: bool,
    /// The responder says that the destination was changed.
    pub dst_ip_nat: bool,
}

/// What a probe proved, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The peer's socket got our authenticated nonce.
    Delivered,
    /// The real service replied in its own protocol.
    Answered,
    /// Seen on the peer's wire; its host firewall is not proven.
    Captured,
    /// A third party answered in the peer's place.
    Foreign,
    /// Nothing listens there: the host itself refused.
    Refused,
    /// ICMP said so, or a firewall did.
    Rejected,
    /// There is no route.
    NoRoute,
    /// The name has no address on the sender's node.
    Unresolved,
    /// Nothing came back and nothing was seen.
    Silent,
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Delivered => "delivered",
            Self::Answered => "answered",
            Self::Captured => "captured",
            Self::Foreign => "answered by a third party",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::NoRoute => "no route",
            Self::Unresolved => "the name does not resolve",
            Self::Silent => "silent",
        })
    }
}
