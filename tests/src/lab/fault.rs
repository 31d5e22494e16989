//! What can go wrong in a lab, one line each: `lab.fault(drop(udp(8472).from("east").to("west")))`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The router does something to some packets.
    Path {
        /// To which.
        on: Traffic,
        /// What.
        action: Action,
    },
    /// Something is wrong on one node.
    Node {
        /// The node's name.
        node: String,
        /// What.
        fault: NodeFault,
    },
}

/// Which packets a fault is about. Unless it says [`Traffic::inside_sites`], only those that cross from one site to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    protocol: Option<Protocol>,
    port: Option<u16>,
    from: Option<String>,
    to: Option<String>,
    ipv6: Option<bool>,
    inside_sites: bool,
}

/// An IP protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
    /// Any other, by number.
    Ip(u8),
}

/// Every packet between sites.
pub fn everything() -> Traffic {
    Traffic::default()
}

/// UDP to this destination port.
pub fn udp(port: u16) -> Traffic {
    Traffic {
        protocol: Some(Protocol::Udp),
        port: Some(port),
        ..Traffic::default()
    }
}

/// TCP to this destination port.
pub fn tcp(port: u16) -> Traffic {
    Traffic {
        protocol: Some(Protocol::Tcp),
        port: Some(port),
        ..Traffic::default()
    }
}

/// ICMP and ICMPv6, errors of the router's own included.
pub fn icmp() -> Traffic {
    protocol(Protocol::Icmp)
}

/// ESP, IP protocol 50.
pub fn esp() -> Traffic {
    protocol(Protocol::Ip(50))
}

/// All packets of one protocol.
pub fn protocol(protocol: Protocol) -> Traffic {
    Traffic {
        protocol: Some(protocol),
        ..Traffic::default()
    }
}

impl Traffic {
    /// Only what is sent by this node, site or zone.
    #[must_use]
    pub fn from(mut self, name: &str) -> Self {
        self.from = Some(name.to_owned());
        self
    }

    /// Only what is sent to this node, site or zone.
    #[must_use]
    pub fn to(mut self, name: &str) -> Self {
        self.to = Some(name.to_owned());
        self
    }

    /// Only IPv6.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = Some(true);
        self
    }

    /// Only IPv4.
    #[must_use]
    pub fn ipv4(mut self) -> Self {
        self.ipv6 = Some(false);
        self
    }

    /// Packets between nodes of one site as well.
    #[must_use]
    pub fn inside_sites(mut self) -> Self {
        self.inside_sites = true;
        self
    }

    /// The destination port, where it is about one.
    pub(super) fn single_port(&self) -> Option<u16> {
        self.port
    }

    /// Sender and receiver by name, where it names them.
    pub(super) fn ends(&self) -> (Option<&str>, Option<&str>) {
        (self.from.as_deref(), self.to.as_deref())
    }

    /// Whether a packet of this kind is meant, its ends aside.
    pub(super) fn covers(&self, ipv6: bool, protocol: u8, port: Option<u16>, inside_site: bool) -> bool {
        let protocol_fits = match self.protocol {
            None => true,
            Some(Protocol::Tcp) => protocol == 6,
            Some(Protocol::Udp) => protocol == 17,
            Some(Protocol::Icmp) => protocol == 1 || protocol == 58,
            Some(Protocol::Ip(number)) => protocol == number,
        };
        protocol_fits
            && self.ipv6.is_none_or(|wanted| wanted == ipv6)
            && (self.port.is_none() || self.port == port)
            && (self.inside_sites || !inside_site)
    }
}

/// What the router does to packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// They vanish.
    Drop,
    /// They vanish and their sender is told.
    Reject(Rejection),
    /// Larger ones than this many bytes do not fit; `told` says whether the router says so.
    Mtu {
        /// The largest that fits.
        bytes: u32,
        /// Whether "too big" is sent.
        told: bool,
    },
    /// Their source address becomes this one, and their port another where that one is taken.
    SourceNat {
        /// The new source.
        address: IpAddr,
    },
    /// Their source port changes, the address stays.
    SourcePortNat,
    /// A host that is no part of the audit answers in the receiver's place.
    Hijack,
    /// They come this much later, in order.
    Delay {
        /// One way, in milliseconds.
        millis: u32,
    },
    /// This share of them is lost, drawn from a seed and not from chance.
    Lose {
        /// 0 to 100.
        percent: u8,
        /// Other seeds lose others.
        seed: u64,
    },
    /// The first of every (sender, receiver, protocol, destination port) is lost.
    LoseFirst,
    /// Each comes twice.
    Duplicate,
    /// Every second one is overtaken by the next one of the same flow.
    Reorder,
    /// There are this many equal paths, chosen by addresses and ports, and the first of them is dead.
    DeadMember {
        /// Number of paths.
        of: u32,
    },
    /// More than this many a second are lost, after a burst of a tenth of it.
    Police {
        /// Packets a second.
        per_second: u32,
    },
}

/// How the router rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// ICMP 3/3, ICMPv6 1/4.
    PortUnreachable,
    /// ICMP 3/13, ICMPv6 1/1.
    Prohibited,
    /// ICMP 3/1, ICMPv6 1/3.
    HostUnreachable,
    /// ICMP 3/0, ICMPv6 1/0.
    NetworkUnreachable,
    /// A TCP reset in the receiver's name; for other protocols as [`Rejection::PortUnreachable`].
    Reset,
}

/// What can be wrong on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeFault {
    /// Its link takes packets of at most this many bytes; larger ones that come in are lost.
    LinkMtu(u32),
    /// Its link is down.
    LinkDown,
    /// It has no route beyond its own site.
    NoRouteOut,
    /// What other sites send comes in by a second link, and the kernel takes packets only from the link it would answer by (RFC 3704, strict).
    StrictReturnPath,
    /// Some other program has the port.
    PortTaken(Port),
    /// The kernel's VXLAN driver has the UDP port.
    VxlanDevice(u16),
    /// The host's own firewall lets nothing in on the port.
    FirewallDrops(Port),
    /// The host's own firewall rejects what comes in on the port as prohibited.
    FirewallRejects(Port),
    /// Its resolver knows no name of other sites.
    NamesUnknown,
    /// Its connection tracking table is full.
    ConntrackFull,
    /// What its agent does wrong.
    Agent(AgentFault),
}

/// A TCP or UDP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Port {
    /// TCP.
    Tcp(u16),
    /// UDP.
    Udp(u16),
}

/// What an agent can do wrong. Each is a real agent, most of them behind a relay that changes what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentFault {
    /// It is killed when it is asked to probe.
    Dies,
    /// It says nothing more when it is asked to probe.
    Hangs,
    /// It answers a request to probe with what is no JSON.
    Garbage,
    /// It says it heard more than was ever sent to it.
    ClaimsUnheard,
    /// It says it is the node of this name.
    WrongName(String),
    /// It speaks the version of the protocol before this one.
    OlderProtocol,
    /// It knows no version of the protocol that we know.
    UnknownProtocol,
    /// Its clock is three seconds ahead.
    ClockAhead,
}

/// These packets vanish.
pub fn drop(on: Traffic) -> Fault {
    path(on, Action::Drop)
}

/// Packets of more bytes than this do not get through; whoever sends one is told so, or nobody is.
pub fn narrow(on: Traffic, bytes: u32, told: bool) -> Fault {
    path(on, Action::Mtu { bytes, told })
}

/// These packets are rejected.
pub fn reject(on: Traffic, how: Rejection) -> Fault {
    path(on, Action::Reject(how))
}

/// The router does this to these packets.
pub fn path(on: Traffic, action: Action) -> Fault {
    Fault::Path { on, action }
}

/// This is wrong on this node.
pub fn on_node(node: &str, fault: NodeFault) -> Fault {
    Fault::Node {
        node: node.to_owned(),
        fault,
    }
}
