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
                || self.back.contains_key(&translated.back()))
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
        let mut inner = Packet::of_ip(packet.bytes.get(quote..)?)?;
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
