//! The values that settings take, as types.

use std::fmt;

use crate::cidr::Cidr;
use crate::facts::provenance::Known;

/// How packets between nodes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoutingMode {
    /// Encapsulated.
    Tunnel,
    /// As they are: the network knows where pods are.
    Native,
}

/// The encapsulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names of the protocols")]
pub enum TunnelProtocol {
    Vxlan,
    Geneve,
}

/// What puts packets into a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TunnelUser {
    /// All traffic between nodes: the routing mode is `tunnel`.
    Routing,
    /// Traffic towards egress gateways.
    EgressGateway,
    /// Load-balanced traffic whose answer goes straight to the client (DSR with Geneve dispatch).
    DirectServerReturn,
}

/// How much of kube-proxy Cilium replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KubeProxyReplacement {
    /// Nothing.
    Off,
    /// What the kernel or single options allow (up to 1.13).
    Partial,
    /// All of it.
    On,
}

/// Where identities are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdentityMode {
    /// In custom resources.
    Crd,
    /// In an etcd of the cluster's own.
    Kvstore,
    /// In both, on the way from one to the other.
    DoubleWrite,
}

/// How traffic between nodes is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names of the protocols")]
pub enum Encryption {
    None,
    Wireguard,
    Ipsec,
    Ztunnel,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names of the families")]
pub enum Family {
    Ipv4,
    Ipv6,
}

/// The address families that pods have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names of the families")]
pub struct Families {
    pub ipv4: bool,
    pub ipv6: bool,
}

/// Strict encryption of outgoing traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrictEgress {
    /// The key that switches it on.
    pub enabled: Known<bool>,
    /// The blocks between whose addresses nothing leaves unencrypted.
    pub cidrs: Known<Vec<Cidr>>,
    /// This version does not know the key: nothing is enforced.
    pub ignored: bool,
}

impl RoutingMode {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "tunnel" => Some(Self::Tunnel),
            "native" => Some(Self::Native),
            _ => None,
        }
    }
}

impl TunnelProtocol {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "vxlan" => Some(Self::Vxlan),
            "geneve" => Some(Self::Geneve),
            _ => None,
        }
    }

    /// The UDP port unless told otherwise.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Vxlan => 8472,
            Self::Geneve => 6081,
        }
    }
}

impl KubeProxyReplacement {
    /// `true` and `false`; up to 1.13 also `strict`, `partial`, `probe` and `disabled`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "strict" => Some(Self::On),
            "partial" | "probe" => Some(Self::Partial),
            "disabled" => Some(Self::Off),
            _ => switch(text).map(|on| if on { Self::On } else { Self::Off }),
        }
    }
}

impl IdentityMode {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "crd" => Some(Self::Crd),
            "kvstore" => Some(Self::Kvstore),
            "doublewrite-readcrd" | "doublewrite-readkvstore" => Some(Self::DoubleWrite),
            _ => None,
        }
    }
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The key that gives pods addresses of it.
    pub fn enable_key(self) -> &'static str {
        match self {
            Self::Ipv4 => "enable-ipv4",
            Self::Ipv6 => "enable-ipv6",
        }
    }

    /// The key that masquerades it.
    pub fn masquerade_key(self) -> &'static str {
        match self {
            Self::Ipv4 => "enable-ipv4-masquerade",
            Self::Ipv6 => "enable-ipv6-masquerade",
        }
    }

    /// The key of its native routing CIDR.
    pub fn native_routing_key(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4-native-routing-cidr",
            Self::Ipv6 => "ipv6-native-routing-cidr",
        }
    }

    /// Whether a block is of it.
    pub fn has(self, cidr: Cidr) -> bool {
        cidr.is_ipv4() == (self == Self::Ipv4)
    }
}

impl Families {
    /// Whether this family is among them.
    pub fn has(self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }
}

/// A switch as Go's option parser reads it.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" | "" => Some(false),
        _ => None,
    }
}

/// An empty name is the agent's own default.
pub(super) fn name_or_default(name: String) -> String {
    if name.is_empty() { "default".to_owned() } else { name }
}

impl fmt::Display for RoutingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tunnel => "tunnel",
            Self::Native => "native",
        })
    }
}

impl fmt::Display for TunnelUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routing => "tunnel routing",
            Self::EgressGateway => "the egress gateway",
            Self::DirectServerReturn => "direct server return with Geneve",
        })
    }
}

impl fmt::Display for TunnelProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
        })
    }
}

impl fmt::Display for KubeProxyReplacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Partial => "partial",
            Self::On => "on",
        })
    }
}

impl fmt::Display for IdentityMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crd => "crd",
            Self::Kvstore => "kvstore",
            Self::DoubleWrite => "doublewrite",
        })
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no encryption",
            Self::Wireguard => "WireGuard",
            Self::Ipsec => "IPsec",
            Self::Ztunnel => "ztunnel",
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.ipv4, self.ipv6) {
            (true, true) => "IPv4 and IPv6",
            (true, false) => "IPv4",
            (false, true) => "IPv6",
            (false, false) => "no address family",
        })
    }
}
