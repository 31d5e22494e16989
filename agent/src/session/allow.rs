//! What an agent's owner lets it do, whatever the collector asks.
//!
//! The owner speaks twice: through the environment (a DaemonSet's, which who starts a session by exec cannot change) and through the
//! arguments. What is allowed must be allowed by both, so that the second can only narrow the first.

use std::net::{IpAddr, Ipv4Addr};
use std::num::ParseIntError;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::plan::{ProbeKind, Service};

use crate::protocol::{AgentLimits, ListenOn, ProbeOrder};

/// Packets a second where the owner names no rate.
pub const DEFAULT_RATE: u32 = 100_000;
/// Length of a session where the owner names none.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(3_600);
/// IP protocols that may be sent and captured: those that carry other packets (IPv4, IPv6, GRE, ESP, AH). Others steer networks (IGMP, OSPF,
/// VRRP) or have probes of their own.
const CARRIERS: [u8; 5] = [4, 41, 47, 50, 51];

/// What is allowed: everything that each of the owner's words allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allow {
    words: Vec<OwnersWord>,
}

/// What the owner allows in one place. Empty lists allow everything that does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnersWord {
    /// Where packets may be sent to.
    pub targets: Vec<Cidr>,
    /// Ports that packets may be sent to and that may be listened on.
    pub ports: Vec<PortRange>,
    /// Packets a second.
    pub rate: Option<u32>,
    /// Length of a session.
    pub deadline: Option<Duration>,
}

/// Ports from one to another, both included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange(RangeInclusive<u16>);

/// Why a text is no range of ports.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no port or range of ports (8472, 4240-4500)")]
pub struct PortRangeError {
    text: String,
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || -> Result<RangeInclusive<u16>, ParseIntError> {
            match text.split_once('-') {
                Some((from, to)) => Ok(from.parse()?..=to.parse()?),
                None => text.parse().map(|port| port..=port),
            }
        };
        match parse() {
            Ok(range) if !range.is_empty() => Ok(Self(range)),
            _ => Err(PortRangeError { text: text.to_owned() }),
        }
    }
}

impl Allow {
    /// What all of these allow.
    pub fn all_of(words: impl IntoIterator<Item = OwnersWord>) -> Self {
        Self {
            words: words.into_iter().collect(),
        }
    }

    /// The most that a session does.
    pub fn limits(&self) -> AgentLimits {
        let rate = self.words.iter().filter_map(|word| word.rate).min();
        let deadline = self.words.iter().filter_map(|word| word.deadline).min();
        AgentLimits {
            rate: rate.unwrap_or(DEFAULT_RATE),
            deadline_seconds: u32::try_from(deadline.unwrap_or(DEFAULT_DEADLINE).as_secs()).unwrap_or(u32::MAX),
        }
    }

    /// Whether packets may be sent to this address.
    ///
    /// Addresses of many hosts and of none are never sent to; the own host only where a target inside the loopback block is named.
    pub fn target(&self, address: IpAddr) -> Result<(), Unknown> {
        let address = address.to_canonical();
        let named = self.words.iter().flat_map(|word| &word.targets);
        let harmful = match address {
            _ if address.is_multicast() => Some("a multicast address"),
            _ if address == IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
            IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("no host's address"),
            IpAddr::V6(v6) if v6.is_unspecified() => Some("no host's address"),
            _ if address.is_loopback() => {
                let mut named = named.filter(|cidr| cidr.contains_addr(address));
                let by_name = named.any(|cidr| cidr.first().is_loopback());
                (!by_name).then_some("this host's own address")
            }
            _ => None,
        };
        if let Some(what) = harmful {
            return Err(refused(format!("{address} is {what}")));
        }
        let everywhere = self.words.iter().all(|word| {
            let mut targets = word.targets.iter();
            targets.len() == 0 || targets.any(|cidr| cidr.contains_addr(address))
        });
        if everywhere {
            Ok(())
        } else {
            Err(refused(format!("{address} is not among the allowed targets")))
        }
    }

    /// Whether packets may be sent to this port, or it may be listened on.
    pub fn port(&self, port: u16) -> Result<(), Unknown> {
        let everywhere = self
            .words
            .iter()
            .all(|word| word.ports.is_empty() || word.ports.iter().any(|range| range.0.contains(&port)));
        if port == 0 {
            Err(refused("port 0 is no port".to_owned()))
        } else if everywhere {
            Ok(())
        } else {
            Err(refused(format!("port {port} is not among the allowed ports")))
        }
    }

    /// Whether this may be listened on.
    pub fn listener(&self, listen: &ListenOn) -> Result<(), Unknown> {
        match listen.service {
            Service::Tcp(port) | Service::Udp(port) => self.port(port),
            Service::IpProtocol(number) => ip_protocol(number),
            Service::IcmpEcho => Ok(()),
        }
    }

    /// Whether this may be sent, as far as the order itself says to where; what a name resolves to is looked at by [`Allow::target`].
    pub fn probe(&self, order: &ProbeOrder) -> Result<(), Unknown> {
        match &order.kind {
            ProbeKind::Tcp { port, .. }
            | ProbeKind::Udp { port }
            | ProbeKind::PathMtu { port, .. }
            | ProbeKind::NatDiscovery { port, .. } => self.port(*port)?,
            ProbeKind::IpProtocol { number } => ip_protocol(*number)?,
            ProbeKind::Icmp => {}
            ProbeKind::Resolve { .. } => return Ok(()),
        }
        order.address.map_or(Ok(()), |address| self.target(address))
    }
}

fn ip_protocol(number: u8) -> Result<(), Unknown> {
    if CARRIERS.contains(&number) {
        Ok(())
    } else {
        Err(refused(format!("IP protocol {number} carries no packets of others")))
    }
}

fn refused(detail: String) -> Unknown {
    Unknown::new(Reason::RefusedByAgent, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(targets: &[&str], ports: &[&str]) -> OwnersWord {
        OwnersWord {
            targets: targets
                .iter()
                .map(|text| Cidr::parse_noting_host_bits(text).unwrap().0)
                .collect(),
            ports: ports.iter().map(|text| text.parse().unwrap()).collect(),
            ..OwnersWord::default()
        }
    }

    fn refusal(allow: &Allow, address: &str) -> Option<String> {
        let refused = allow.target(address.parse().unwrap()).err()?;
        assert_eq!(refused.reason, Reason::RefusedByAgent);
        Some(refused.detail)
    }

    #[test]
    fn without_a_word_every_single_host_but_the_own_is_allowed() {
        let allow = Allow::default();
        for address in ["10.0.0.1", "192.0.2.7", "2001:db8::1", "fd00::1"] {
            assert_eq!(refusal(&allow, address), None);
        }
        for address in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "ff02::1",
            "::ffff:224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(refusal(&allow, address).is_some(), "{address}");
        }
        assert!(allow.port(8472).is_ok());
        assert!(allow.port(0).is_err());
    }

    #[test]
    fn the_own_host_must_be_named_as_such() {
        assert!(refusal(&Allow::all_of([word(&["0.0.0.0/0"], &[])]), "127.0.0.1").is_some());
        assert!(refusal(&Allow::all_of([word(&["127.0.0.0/8"], &[])]), "127.0.0.1").is_none());
        assert!(refusal(&Allow::all_of([word(&["127.0.0.0/8"], &[])]), "::1").is_some());
    }

    #[test]
    fn what_sends_to_many_is_never_allowed() {
        let allow = Allow::all_of([word(&["224.0.0.0/4", "255.255.255.255", "0.0.0.0/0"], &[])]);
        for address in ["224.0.0.1", "255.255.255.255", "0.0.0.0"] {
            assert!(refusal(&allow, address).is_some(), "{address}");
        }
    }

    #[test]
    fn targets_and_ports_are_what_is_named() {
        let allow = Allow::all_of([word(&["10.1.0.0/16", "fd00::/8"], &["8472", "4240-4242"])]);
        assert_eq!(refusal(&allow, "10.1.2.3"), None);
        assert_eq!(refusal(&allow, "fd00::1"), None);
        assert_eq!(
            refusal(&allow, "10.2.0.1").unwrap(),
            "10.2.0.1 is not among the allowed targets"
        );
        assert!(allow.port(8472).is_ok());
        assert!(allow.port(4242).is_ok());
        assert!(allow.port(4243).is_err());
    }

    #[test]
    fn a_second_word_only_narrows_the_first() {
        let environment = OwnersWord {
            rate: Some(500),
            deadline: Some(Duration::from_secs(60)),
            ..word(&["10.1.0.0/16"], &["8472"])
        };
        let arguments = OwnersWord {
            rate: Some(9_000),
            deadline: Some(Duration::from_secs(30)),
            ..word(&["0.0.0.0/0", "127.0.0.0/8"], &["1-65535"])
        };
        let allow = Allow::all_of([environment, arguments]);
        assert!(refusal(&allow, "10.1.0.1").is_none());
        assert!(refusal(&allow, "10.2.0.1").is_some());
        assert!(refusal(&allow, "127.0.0.1").is_some());
        assert!(allow.port(22).is_err());
        assert_eq!(
            allow.limits(),
            AgentLimits {
                rate: 500,
                deadline_seconds: 30
            }
        );
    }

    #[test]
    fn protocols_that_steer_networks_are_refused() {
        for number in [1, 2, 6, 17, 58, 89, 112] {
            assert!(ip_protocol(number).is_err(), "{number}");
        }
        assert!(ip_protocol(50).is_ok());
    }

    #[test]
    fn ranges_of_ports_are_read_strictly() {
        assert!("1-65535".parse::<PortRange>().is_ok());
        for text in ["", "-", "80-", "90-80", "65536", "http", "80 "] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
