//! What probes put on the wire: the numbers that the plan announces, the caps charge and the agents keep to.

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

/// Datagrams that a UDP probe sends where everything answers.
pub fn udp_datagrams(samples: u32) -> u32 {
    samples.max(UDP_LEAST_DATAGRAMS)
}

/// Source ports over which they are spread.
pub fn udp_source_ports(samples: u32) -> u32 {
    udp_datagrams(samples).min(UDP_SOURCE_PORTS)
}

/// Datagrams that a UDP probe sends at most: each further try asks each silent port twice.
pub fn udp_datagrams_at_most(samples: u32) -> u32 {
    udp_datagrams(samples) + (TRIES - 1) * 2 * udp_source_ports(samples)
}
