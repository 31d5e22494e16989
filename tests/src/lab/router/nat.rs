//! Addresses and ports that the router changes on the way, and changes back in what returns.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::packet::{Packet, seal_transport};

/// An address with a port, or with the identifier of an echo; 0 for protocols that have neither.
type End = (IpAddr, u16);

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub protocol: u8,
    pub source: End,
    pub destination: End,
}

impl Flow {
    pub(super) fn of(packet: &Packet) -> Self {
        let echo = packet.icmp.map_or(0, |icmp| icmp.identifier);
        let (source, destination) = packet.ports.unwrap_or((echo, echo));
        Self {
            protocol: packet.protocol,
            source: (packet.source, source),
            destination: (packet.destination, destination),
        }
    }

    fn back(self) -> Self {
        Self {
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
        }
    }
}

/// What becomes of the ends of a packet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Change {
    pub source: Option<IpAddr>,
    pub source_port: bool,
    pub destination: Option<IpAddr>,
}

/// All translations, both ways.
#[derive(Debug, Default)]
pub(super) struct Nat {
    there: HashMap<Flow, Flow>,
    back: HashMap<Flow, Flow>,
    /// Flows that passed as they were: what answers them stays as it is.
    untouched: HashSet<Flow>,
    ports_given: u16,
}

impl Nat {
    /// Lets a packet pass as it is, and its answers with it.
    pub(super) fn pass(&mut self, packet: &Packet) {
        let flow = Flow::of(packet);
        if !self.there.contains_key(&flow.back()) {
            self.untouched.insert(flow);
        }
    }

    /// Translates a packet on its way, unless it answers one that was not.
    pub(super) fn translate(&mut self, packet: &mut Packet, change: Change) {
        let flow = Flow::of(packet);
        if self.untouched.contains(&flow.back()) {
            return;
        }
        let translated = match self.there.get(&flow) {
            Some(&known) => known,
            None => self.new_translation(flow, change, packet.ports.is_some()),
        };
        readdress(packet, translated);
    }

    fn new_translation(&mut self, flow: Flow, change: Change, has_ports: bool) -> Flow {
        let mut translated = flow;
        translated.source.0 = change.source.unwrap_or(flow.source.0);
        translated.destination.0 = change.destination.unwrap_or(flow.destination.0);
        // Below Linux's ephemeral ports, so that a changed port shows as one.
        while has_ports
            && (change.source_port && translated.source.1 == flow.source.1
                || self.back.contains_key(&translated.back())
                || self.untouched.contains(&translated))
        {
            translated.source.1 = 20_000 + self.ports_given % 10_000;
            self.ports_given += 1;
        }
        self.there.insert(flow, translated);
        self.back.insert(translated.back(), flow.back());
        translated
    }

    /// Changes back what answers a translated packet, or is an ICMP error about one.
    pub(super) fn restore(&self, packet: &mut Packet) {
        if self.back.is_empty() {
            return;
        }
        if let Some(&flow) = self.back.get(&Flow::of(packet)) {
            readdress(packet, flow);
        } else if packet.is_icmp_error() {
            self.restore_error(packet);
        }
    }

    fn restore_error(&self, packet: &mut Packet) -> Option<()> {
        let quote = packet.header + 8;
        let mut inner = Packet::of_quote(packet.bytes.get(quote..)?)?;
        let original = self.back.get(&Flow::of(&inner).back())?.back();
        readdress(&mut inner, original);
        packet.bytes.truncate(quote);
        packet.bytes.extend(&inner.bytes);
        let source = (packet.source, None);
        packet.readdress(source, (original.source.0, None));
        seal_transport(
            packet.protocol,
            packet.source,
            packet.destination,
            &mut packet.bytes[packet.header..],
        );
        Some(())
    }
}

fn readdress(packet: &mut Packet, flow: Flow) {
    packet.readdress(
        (flow.source.0, Some(flow.source.1)),
        (flow.destination.0, Some(flow.destination.1)),
    );
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::answer::{Error, error, reset};
    use super::super::packet::{Packet, ipv4_around, seal_transport};
    use super::{Change, Nat};
    use crate::lab::fault::Rejection;

    const POD: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 200);
    const NODE: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 11);
    const PEER: Ipv4Addr = Ipv4Addr::new(172, 31, 2, 11);

    fn packet(protocol: u8, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), bytes: usize) -> Packet {
        let mut transport = vec![0; bytes];
        transport[..2].copy_from_slice(&from.1.to_be_bytes());
        transport[2..4].copy_from_slice(&to.1.to_be_bytes());
        if protocol == 6 {
            transport[12..14].copy_from_slice(&[0x50, 0x02]);
        } else {
            transport[4..6].copy_from_slice(&u16::try_from(bytes).unwrap().to_be_bytes());
        }
        seal_transport(protocol, from.0.into(), to.0.into(), &mut transport);
        Packet::of_ip(&ipv4_around(from.0, to.0, protocol, &transport)).unwrap()
    }

    fn as_node() -> Change {
        Change {
            source: Some(NODE.into()),
            ..Change::default()
        }
    }

    #[test]
    fn an_error_about_a_translated_packet_reaches_who_sent_it_and_quotes_what_it_sent() {
        // The larger one is quoted in part.
        for bytes in [20, 1_400] {
            let mut nat = Nat::default();
            let mut sent = packet(17, (POD, 40_000), (PEER, 8472), bytes);
            nat.translate(&mut sent, as_node());
            let gateways = (Ipv4Addr::new(172, 31, 1, 1), "fd31::1".parse().unwrap());
            let mut told = error(&sent, gateways, Error::Rejected(Rejection::Prohibited)).unwrap();
            assert_eq!(told.destination, NODE);
            nat.restore(&mut told);
            assert_eq!(told.destination, POD);
            let quoted = Packet::of_quote(&told.bytes[28..]).unwrap();
            assert_eq!((quoted.source, quoted.ports), (POD.into(), Some((40_000, 8472))));
        }
    }

    #[test]
    fn a_reset_of_a_translated_connection_reaches_who_asked_for_it() {
        let mut nat = Nat::default();
        let mut sent = packet(6, (POD, 40_000), (PEER, 32_379), 20);
        nat.translate(&mut sent, as_node());
        let mut told = reset(&sent).unwrap();
        nat.restore(&mut told);
        assert_eq!((told.destination, told.ports), (POD.into(), Some((32_379, 40_000))));
    }

    #[test]
    fn a_port_that_the_node_itself_uses_is_not_given_to_its_pod() {
        let mut nat = Nat::default();
        nat.pass(&packet(17, (NODE, 40_000), (PEER, 8472), 20));
        let mut sent = packet(17, (POD, 40_000), (PEER, 8472), 20);
        nat.translate(&mut sent, as_node());
        assert_eq!(sent.source, NODE);
        assert_ne!(sent.ports.unwrap().0, 40_000);
        let mut answer = packet(17, (PEER, 8472), (NODE, 40_000), 20);
        nat.restore(&mut answer);
        assert_eq!(answer.destination, NODE, "it answers the node");
    }
}
