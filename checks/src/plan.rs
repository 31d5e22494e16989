//! [`Plan`]: the flows of the profiles made concrete for these clusters: who listens, who probes whom, how often, at what cost.

pub mod choice;
pub mod cost;
pub mod follow_up;
pub mod make;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::kernel::NetworkView;
use crate::facts::provenance::Unknown;
use crate::policy::Probe;

/// The UDP port on which path MTUs are measured, and pods probed, where no port of the product's own is free. Outside the range of NodePorts
/// and of ephemeral ports.
pub const SPARE_UDP_PORT: u16 = 18472;

/// Who listens, who probes whom, how often, at what cost. Lists refer to each other by position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// What the choice of pairs was drawn from: the same seed gives the same pairs.
    pub seed: u64,
    /// How much was to be proven.
    pub level: Probe,
    /// How it was to be sent.
    pub pace: Pace,
    /// The agents there are.
    pub agents: Vec<AgentId>,
    /// Who is to listen on what.
    pub listeners: Vec<Listener>,
    /// Who is to send what to whom.
    pub probes: Vec<PlannedProbe>,
    /// What the plan cannot prove, and why: a node without an agent, an address that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

/// How probes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pace {
    /// Packets a second on the wire that the whole audit never exceeds, answers included.
    pub rate: u32,
    /// Packets a second that one target never gets more of, its answers included.
    pub target_rate: u32,
    /// How long an answer is waited for, in milliseconds.
    pub timeout_millis: u32,
    /// Datagrams or echoes of each probe that has samples.
    pub samples: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rate: 5_000,
            target_rate: 500,
            timeout_millis: 1_000,
            samples: 10,
        }
    }
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AgentId {
    /// The cluster or site, by its name in this audit.
    pub cluster: String,
    /// The node it runs on, or the name it goes by in a pod network.
    pub node: String,
    /// The network namespace it is in.
    pub network: NetworkView,
    /// The addresses it is reached at, the preferred one of each family first.
    pub addresses: Vec<IpAddr>,
    /// The node's zone, empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
}

/// What a listener holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// [`Plan::agents`] by position.
    pub agent: u32,
    /// The address to bind; where the agent has no such address (NAT), all of its family.
    pub address: IpAddr,
    /// On what.
    pub service: Service,
}

/// A port or protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// A TCP port.
    Tcp(u16),
    /// A UDP port.
    Udp(u16),
    /// An IP protocol by number: 50 is ESP.
    IpProtocol(u8),
    /// ICMP echo: the kernel answers.
    IcmpEcho,
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "TCP {port}"),
            Self::Udp(port) => write!(f, "UDP {port}"),
            Self::IpProtocol(50) => f.write_str("IP protocol 50 (ESP)"),
            Self::IpProtocol(number) => write!(f, "IP protocol {number}"),
            Self::IcmpEcho => f.write_str("ICMP echo"),
        }
    }
}

/// One probe of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedProbe {
    /// Its number: its position in [`Plan::probes`].
    pub id: u32,
    /// The codes of the checks that need it, as `CM501`; sorted.
    pub codes: Vec<String>,
    /// The sender: [`Plan::agents`] by position.
    pub from: u32,
    /// Who is to receive it.
    pub to: Destination,
    /// What is sent.
    pub kind: ProbeKind,
    /// [`Plan::listeners`] by position, where an agent is to listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<u32>,
}

/// Who is to receive a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Destination {
    /// The cluster or site it belongs to, empty for neither.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The node, or what it is: `load balancer of clustermesh-apiserver`, `broker`.
    pub name: String,
    /// The address; absent where `host` is to be resolved by the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The name to resolve.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// [`Plan::agents`] by position, where an agent is on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<u32>,
}

/// What a probe sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// A connection: a nonce both ways if our listener answers, else just opened and closed.
    Tcp {
        /// The port.
        port: u16,
        /// Whether a service that is not our listener is asked for its TLS certificate.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tls: bool,
    },
    /// Authenticated datagrams, each answered by our listener; also measures round trips, loss, NAT and clocks.
    Udp {
        /// The port.
        port: u16,
    },
    /// ICMP echoes.
    Icmp,
    /// Authenticated packets of an IP protocol, seen by the peer's capture.
    IpProtocol {
        /// The protocol's number: 50 is ESP.
        number: u8,
    },
    /// The largest packet that arrives whole, over UDP to our listener.
    PathMtu {
        /// The listener's port.
        port: u16,
        /// Sizes of IP packets to search between, in bytes: the least that is worth knowing.
        floor: u16,
        /// The largest that is worth knowing; the own link's MTU if that is less.
        ceiling: u16,
        /// Sizes that decide something, tried first.
        #[serde(default)]
        candidates: Vec<u16>,
    },
    /// Submariner's own NAT discovery, spoken to a gateway that runs.
    NatDiscovery {
        /// The port.
        port: u16,
        /// The receiver's cluster ID.
        cluster_id: String,
        /// The receiver's cable name.
        endpoint_id: String,
    },
    /// Names resolved with the node's own resolver. No packet of ours.
    Resolve {
        /// The names.
        names: Vec<String>,
    },
}

impl std::fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { port, .. } => write!(f, "{}", Service::Tcp(*port)),
            Self::Udp { port } => write!(f, "{}", Service::Udp(*port)),
            Self::Icmp => write!(f, "{}", Service::IcmpEcho),
            Self::IpProtocol { number } => write!(f, "{}", Service::IpProtocol(*number)),
            Self::PathMtu { .. } => f.write_str("path MTU"),
            Self::NatDiscovery { port, .. } => write!(f, "NAT discovery on UDP {port}"),
            Self::Resolve { .. } => f.write_str("name resolution"),
        }
    }
}

/// What the plan cannot prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// The code of the check.
    pub code: String,
    /// The clusters it concerns, by name.
    pub clusters: Vec<String>,
    /// The nodes it concerns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// Why.
    pub why: Unknown,
}
