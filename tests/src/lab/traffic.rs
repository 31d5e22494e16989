//! What was on the wire: every packet that a node sent, as the router saw it come.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One packet, as it left its sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Microseconds since the router began.
    pub at_micros: u64,
    /// The node that sent it; none where the router itself did.
    pub sender: Option<String>,
    /// The node whose address it goes to, if it is one.
    pub receiver: Option<String>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source and destination port of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// Type and code of ICMP.
    pub icmp: Option<(u8, u8)>,
    /// Length of the IP packet in bytes.
    pub bytes: u32,
    /// Length of what UDP carries, of other protocols of what IP carries.
    pub payload_bytes: u32,
    /// The first bytes of that, at most 16.
    pub head: Vec<u8>,
    /// Whether the router lost or rejected it.
    pub lost: bool,
}

/// All packets, in the order they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic(pub Vec<Seen>);

impl Traffic {
    /// The most packets in any stretch of one second, wherever it begins.
    pub fn busiest_second(&self) -> usize {
        let mut first = 0;
        let mut most = 0;
        for (last, packet) in self.0.iter().enumerate() {
            while packet.at_micros - self.0[first].at_micros >= 1_000_000 {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }

    /// Packets by protocol number.
    pub fn by_protocol(&self) -> BTreeMap<u8, usize> {
        let mut counts = BTreeMap::new();
        for packet in &self.0 {
            *counts.entry(packet.protocol).or_default() += 1;
        }
        counts
    }

    /// What nodes sent, without what the router said itself.
    pub fn of_nodes(&self) -> impl Iterator<Item = &Seen> {
        self.0.iter().filter(|packet| packet.sender.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Seen {
        Seen {
            at_micros: micros,
            sender: None,
            receiver: None,
            source: [0, 0, 0, 0].into(),
            destination: [0, 0, 0, 0].into(),
            protocol: 17,
            ports: None,
            icmp: None,
            bytes: 28,
            payload_bytes: 0,
            head: Vec::new(),
            lost: false,
        }
    }

    #[test]
    fn the_busiest_second_may_begin_anywhere() {
        let traffic = Traffic([0, 900_000, 950_000, 1_899_999, 1_900_000].map(at).to_vec());
        assert_eq!(traffic.busiest_second(), 3);
        assert_eq!(Traffic::default().busiest_second(), 0);
    }
}
