//! What probes put on the wire: the numbers that the plan announces, the caps charge and the agents keep to.

use std::net::IpAddr;

use crate::path_mtu::Search;
use crate::plan::{Pace, PlannedProbe, ProbeKind};

/// What is silent is tried so often, each time from other source ports, before it is called silent.
pub const TRIES: u32 = 3;
/// The source ports over which the datagrams of one UDP probe are spread: a dead member of an ECMP group shows as silent ports.
pub const UDP_SOURCE_PORTS: u32 = 8;
/// Datagrams of a UDP probe, whatever the number of samples: fewer could not be spread.
pub const UDP_LEAST_DATAGRAMS: u32 = 4;
/// Echoes sent in each further try of a silent ICMP probe.
pub const ICMP_RETRY_ECHOES: u32 = 3;
/// Bytes of a nonce and of its answer, without headers.
pub const NONCE_BYTES: u32 = 92;

/// Packets of one datagram or echo and its answer.
pub const EXCHANGE_PACKETS: u32 = 2;
/// Packets of a connection that is opened and closed: request, answer, acknowledgement, reset.
pub const CONNECTION_PACKETS: u32 = 4;
/// Packets of a connection with a nonce both ways: four more, as both ends acknowledge.
pub const NONCE_CONNECTION_PACKETS: u32 = 8;
/// Packets of a connection with a TLS handshake: a certificate chain of several segments, and what follows it.
pub const TLS_CONNECTION_PACKETS: u32 = 24;
/// Bytes of a TLS handshake in both directions, about: chains are of a few certificates.
pub const TLS_BYTES: u64 = 12_000;
/// What the kernel repeats of one connection: its request once, and data that goes unacknowledged.
pub const REPEATED_PACKETS: u32 = 6;
/// Bytes of a Submariner NAT discovery request or answer, with the longest names, without headers.
pub const NAT_DISCOVERY_BYTES: u64 = 600;

/// Packets and bytes on the wire, from the IP header on, in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |sum, cost| sum + cost)
    }
}

/// What a probe costs where nothing is lost and everything answers.
pub fn healthy(probe: &PlannedProbe, pace: &Pace) -> Cost {
    let header = header_bytes(probe);
    let exchanges = |count: u32, payload: u64| Cost {
        packets: u64::from(count * EXCHANGE_PACKETS),
        bytes: u64::from(count * EXCHANGE_PACKETS) * (header + 8 + payload),
    };
    match &probe.kind {
        ProbeKind::Tcp { tls: true, .. } if probe.listener.is_none() => {
            connection(TLS_CONNECTION_PACKETS, TLS_BYTES, header)
        }
        ProbeKind::Tcp { .. } if probe.listener.is_none() => connection(CONNECTION_PACKETS, 0, header),
        ProbeKind::Tcp { .. } => connection(NONCE_CONNECTION_PACKETS, u64::from(2 * NONCE_BYTES), header),
        ProbeKind::Udp { .. } => exchanges(udp_datagrams(pace.samples), u64::from(NONCE_BYTES)),
        ProbeKind::Icmp => exchanges(pace.samples.max(1), u64::from(NONCE_BYTES)),
        ProbeKind::IpProtocol { .. } => Cost {
            packets: u64::from(pace.samples.max(TRIES)),
            bytes: u64::from(pace.samples.max(TRIES)) * (header + u64::from(NONCE_BYTES)),
        },
        ProbeKind::PathMtu {
            floor,
            ceiling,
            candidates,
            ..
        } => {
            let sizes = Search::new(*floor, *ceiling, candidates, *ceiling).next_round();
            let sent: u64 = sizes.sizes.iter().map(|&size| u64::from(size)).sum();
            let count = sizes.sizes.len() as u64;
            Cost {
                packets: 2 * count,
                bytes: sent + count * (header + 8 + u64::from(NONCE_BYTES)),
            }
        }
        ProbeKind::NatDiscovery { .. } => exchanges(1, NAT_DISCOVERY_BYTES),
        ProbeKind::Resolve { .. } => Cost::default(),
    }
}

/// The most that a probe can cost: everything is lost, or lost so that it is tried again in vain, or the path MTU hides.
pub fn at_most(probe: &PlannedProbe, pace: &Pace) -> Cost {
    let header = header_bytes(probe);
    let exchanges = |count: u32, payload: u64| Cost {
        packets: u64::from(count * EXCHANGE_PACKETS),
        bytes: u64::from(count * EXCHANGE_PACKETS) * (header + 8 + payload),
    };
    match &probe.kind {
        ProbeKind::Tcp { tls, .. } => {
            let (packets, bytes) = match (probe.listener.is_some(), tls) {
                // A listener that finds the port taken cannot answer: the service is asked.
                (_, true) => (TLS_CONNECTION_PACKETS, 2 * TLS_BYTES),
                (true, false) => (NONCE_CONNECTION_PACKETS, u64::from(4 * NONCE_BYTES)),
                (false, false) => (CONNECTION_PACKETS, 0),
            };
            let one = connection(packets + REPEATED_PACKETS, bytes, header);
            (0..TRIES).map(|_| one).sum()
        }
        ProbeKind::Udp { .. } => exchanges(udp_datagrams_at_most(pace.samples), u64::from(NONCE_BYTES)),
        ProbeKind::Icmp => exchanges(
            pace.samples.max(1) + (TRIES - 1) * ICMP_RETRY_ECHOES,
            u64::from(NONCE_BYTES),
        ),
        // Each may be answered by an ICMP error.
        ProbeKind::IpProtocol { .. } => exchanges(pace.samples.max(TRIES), u64::from(NONCE_BYTES)),
        ProbeKind::PathMtu { ceiling, .. } => Cost {
            packets: u64::from(2 * Search::MOST_DATAGRAMS),
            bytes: u64::from(Search::MOST_DATAGRAMS) * (u64::from(*ceiling) + header + 8 + u64::from(NONCE_BYTES)),
        },
        ProbeKind::NatDiscovery { .. } => exchanges(TRIES, NAT_DISCOVERY_BYTES),
        ProbeKind::Resolve { .. } => Cost::default(),
    }
}

/// Datagrams that a UDP probe sends where everything answers.
pub fn udp_datagrams(samples: u32) -> u32 {
    samples.max(UDP_LEAST_DATAGRAMS)
}

/// Source ports over which they are spread.
pub fn udp_source_ports(samples: u32) -> u32 {
    udp_datagrams(samples).min(UDP_SOURCE_PORTS)
}

/// Datagrams that a UDP probe sends at most: each further try asks each port once.
pub fn udp_datagrams_at_most(samples: u32) -> u32 {
    udp_datagrams(samples) + (TRIES - 1) * udp_source_ports(samples)
}

fn connection(packets: u32, payload: u64, header: u64) -> Cost {
    // 32: a TCP header with the options it usually has.
    Cost {
        packets: u64::from(packets),
        bytes: u64::from(packets) * (header + 32) + payload,
    }
}

/// Bytes of the IP header; where the address is not known yet, of the longer one.
fn header_bytes(probe: &PlannedProbe) -> u64 {
    match probe.to.address {
        Some(IpAddr::V4(_)) => 20,
        Some(IpAddr::V6(_)) | None => 40,
    }
}
