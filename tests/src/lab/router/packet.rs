//! What the router needs to know of a packet: views of headers, no more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::tcp::MutableTcpPacket;
use pnet::packet::udp::MutableUdpPacket;
use pnet::packet::{MutablePacket as _, icmp, icmpv6, ipv4, tcp, udp};

/// Length of an Ethernet header.
pub(super) const ETHERNET: usize = 14;

/// An IP packet and what its headers say. Extension headers of IPv6 are not followed: nobody here sends any.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    /// From the IP header on.
    pub bytes: Vec<u8>,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// Source and destination port of TCP and UDP; absent in later fragments.
    pub ports: Option<(u16, u16)>,
    /// Type, code and, for echoes, the identifier of ICMP.
    pub icmp: Option<Icmp>,
    pub ttl: u8,
    /// Whether it must not be fragmented on the way. Always true of IPv6.
    pub whole: bool,
    /// Where the transport header begins.
    pub header: usize,
    /// A fragment other than the first.
    pub later_fragment: bool,
}

/// The first fields of an ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Icmp {
    pub kind: u8,
    pub code: u8,
    /// Of echoes; 0 otherwise.
    pub identifier: u16,
}

impl Packet {
    /// Reads an Ethernet frame; none if it carries no whole IP packet.
    pub(super) fn of_frame(frame: &[u8]) -> Option<Self> {
        let kind = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
        if kind != EtherTypes::Ipv4.0 && kind != EtherTypes::Ipv6.0 {
            return None;
        }
        Self::of_ip(&frame[ETHERNET..])
    }

    /// Reads an IP packet; bytes after its end (Ethernet's padding) are left out.
    pub(super) fn of_ip(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes, true)
    }

    /// Reads what an ICMP error quotes of a packet: its beginning.
    pub(super) fn of_quote(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes, false)
    }

    fn read(bytes: &[u8], to_its_end: bool) -> Option<Self> {
        let end = |total: usize| {
            let there = total.min(bytes.len());
            (there == total || !to_its_end).then_some(there)
        };
        match bytes.first()? >> 4 {
            4 => {
                let view = Ipv4Packet::new(bytes)?;
                let header = usize::from(view.get_header_length()) * 4;
                let total = end(usize::from(view.get_total_length()))?;
                if header < 20 || total < header {
                    return None;
                }
                let later_fragment = view.get_fragment_offset() > 0;
                let protocol = view.get_next_level_protocol().0;
                Some(Self {
                    source: view.get_source().into(),
                    destination: view.get_destination().into(),
                    protocol,
                    ports: ports(protocol, &bytes[header..total]).filter(|_| !later_fragment),
                    icmp: icmp_of(protocol, &bytes[header..total]).filter(|_| !later_fragment),
                    ttl: view.get_ttl(),
                    whole: view.get_flags() & Ipv4Flags::DontFragment != 0,
                    header,
                    later_fragment,
                    bytes: bytes[..total].to_vec(),
                })
            }
            6 => {
                let view = Ipv6Packet::new(bytes)?;
                let total = end(40 + usize::from(view.get_payload_length()))?;
                let protocol = view.get_next_header().0;
                Some(Self {
                    source: view.get_source().into(),
                    destination: view.get_destination().into(),
                    protocol,
                    ports: ports(protocol, &bytes[40..total]),
                    icmp: icmp_of(protocol, &bytes[40..total]),
                    ttl: view.get_hop_limit(),
                    whole: true,
                    header: 40,
                    later_fragment: false,
                    bytes: bytes[..total].to_vec(),
                })
            }
            _ => None,
        }
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// What follows the transport header, of UDP; else what follows the IP header.
    pub(super) fn payload(&self) -> &[u8] {
        let skip = if self.protocol == IpNextHeaderProtocols::Udp.0 && !self.later_fragment {
            8
        } else {
            0
        };
        self.bytes.get(self.header + skip..).unwrap_or_default()
    }

    /// Whether it is an ICMP error: no error is sent about those.
    pub(super) fn is_icmp_error(&self) -> bool {
        self.icmp.is_some_and(|icmp| {
            if self.is_ipv6() {
                icmp.kind < 128
            } else {
                matches!(icmp.kind, 3 | 4 | 5 | 11 | 12)
            }
        })
    }

    /// Lowers TTL or hop limit by one.
    pub(super) fn age(&mut self) {
        self.ttl = self.ttl.saturating_sub(1);
        let place = if self.is_ipv6() { 7 } else { 8 };
        self.bytes[place] = self.ttl;
        self.seal_header();
    }

    /// Changes addresses and ports (or an echo's identifier), checksums with them.
    pub(super) fn readdress(&mut self, source: (IpAddr, Option<u16>), destination: (IpAddr, Option<u16>)) {
        match (source.0, destination.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                if let Some(mut view) = MutableIpv4Packet::new(&mut self.bytes) {
                    view.set_source(from);
                    view.set_destination(to);
                }
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                if let Some(mut view) = MutableIpv6Packet::new(&mut self.bytes) {
                    view.set_source(from);
                    view.set_destination(to);
                }
            }
            _ => return,
        }
        self.source = source.0;
        self.destination = destination.0;
        if let Some(ports) = &mut self.ports {
            *ports = (source.1.unwrap_or(ports.0), destination.1.unwrap_or(ports.1));
            let [a, b] = ports.0.to_be_bytes();
            let [c, d] = ports.1.to_be_bytes();
            self.bytes[self.header..self.header + 4].copy_from_slice(&[a, b, c, d]);
        }
        self.seal_header();
        if !self.later_fragment {
            seal_transport(
                self.protocol,
                self.source,
                self.destination,
                &mut self.bytes[self.header..],
            );
        }
    }

    fn seal_header(&mut self) {
        if self.is_ipv6() {
            return;
        }
        if let Some(mut view) = MutableIpv4Packet::new(&mut self.bytes) {
            let sum = ipv4::checksum(&view.to_immutable());
            view.set_checksum(sum);
        }
    }
}

fn ports(protocol: u8, transport: &[u8]) -> Option<(u16, u16)> {
    if protocol != IpNextHeaderProtocols::Tcp.0 && protocol != IpNextHeaderProtocols::Udp.0 {
        return None;
    }
    let at = |place: usize| Some(u16::from_be_bytes([*transport.get(place)?, *transport.get(place + 1)?]));
    Some((at(0)?, at(2)?))
}

fn icmp_of(protocol: u8, transport: &[u8]) -> Option<Icmp> {
    let kind = *transport.first()?;
    let is_echo = match IpNextHeaderProtocol(protocol) {
        IpNextHeaderProtocols::Icmp => kind == 0 || kind == 8,
        IpNextHeaderProtocols::Icmpv6 => kind == 128 || kind == 129,
        _ => return None,
    };
    let identifier = u16::from_be_bytes([*transport.get(4)?, *transport.get(5)?]);
    Some(Icmp {
        kind,
        code: *transport.get(1)?,
        identifier: if is_echo { identifier } else { 0 },
    })
}

/// Puts the checksum into a transport header.
pub(in crate::lab) fn seal_transport(protocol: u8, source: IpAddr, destination: IpAddr, transport: &mut [u8]) {
    match IpNextHeaderProtocol(protocol) {
        IpNextHeaderProtocols::Udp => {
            if let Some(mut view) = MutableUdpPacket::new(transport) {
                let view_now = view.to_immutable();
                let sum = match (source, destination) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => udp::ipv4_checksum(&view_now, &from, &to),
                    (IpAddr::V6(from), IpAddr::V6(to)) => udp::ipv6_checksum(&view_now, &from, &to),
                    _ => return,
                };
                // Zero would mean that there is none (RFC 768).
                view.set_checksum(if sum == 0 { u16::MAX } else { sum });
            }
        }
        IpNextHeaderProtocols::Tcp => {
            if let Some(mut view) = MutableTcpPacket::new(transport) {
                let view_now = view.to_immutable();
                let sum = match (source, destination) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => tcp::ipv4_checksum(&view_now, &from, &to),
                    (IpAddr::V6(from), IpAddr::V6(to)) => tcp::ipv6_checksum(&view_now, &from, &to),
                    _ => return,
                };
                view.set_checksum(sum);
            }
        }
        IpNextHeaderProtocols::Icmp => {
            if let Some(mut view) = icmp::MutableIcmpPacket::new(transport) {
                let sum = icmp::checksum(&view.to_immutable());
                view.set_checksum(sum);
            }
        }
        IpNextHeaderProtocols::Icmpv6 => {
            if let (Some(mut view), IpAddr::V6(from), IpAddr::V6(to)) =
                (icmpv6::MutableIcmpv6Packet::new(transport), source, destination)
            {
                let sum = icmpv6::checksum(&view.to_immutable(), &from, &to);
                view.set_checksum(sum);
            }
        }
        _ => {}
    }
}

/// An IPv4 packet around a transport message.
pub(super) fn ipv4_around(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20 + transport.len()];
    let length = u16::try_from(bytes.len()).expect("what the router sends itself is small");
    let mut view = MutableIpv4Packet::new(&mut bytes).expect("it is 20 bytes at least");
    view.set_version(4);
    view.set_header_length(5);
    view.set_total_length(length);
    view.set_ttl(64);
    view.set_next_level_protocol(IpNextHeaderProtocol(protocol));
    view.set_source(source);
    view.set_destination(destination);
    view.payload_mut().copy_from_slice(transport);
    let sum = ipv4::checksum(&view.to_immutable());
    view.set_checksum(sum);
    bytes
}

/// An IPv6 packet around a transport message.
pub(super) fn ipv6_around(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40 + transport.len()];
    let length = u16::try_from(transport.len()).expect("what the router sends itself is small");
    let mut view = MutableIpv6Packet::new(&mut bytes).expect("it is 40 bytes at least");
    view.set_version(6);
    view.set_payload_length(length);
    view.set_hop_limit(64);
    view.set_next_header(IpNextHeaderProtocol(protocol));
    view.set_source(source);
    view.set_destination(destination);
    view.payload_mut().copy_from_slice(transport);
    bytes
}

/// Cuts an IPv4 packet into fragments of at most `mtu` bytes each (RFC 791).
pub(super) fn fragments(packet: &Packet, mtu: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.bytes.split_at(packet.header);
    let step = (mtu - header.len()) / 8 * 8;
    let Some(view) = Ipv4Packet::new(header) else {
        return Vec::new();
    };
    let first = usize::from(view.get_fragment_offset()) * 8;
    let more_follow = view.get_flags() & Ipv4Flags::MoreFragments != 0;
    let count = payload.len().div_ceil(step);
    let cut = |(index, piece): (usize, &[u8])| {
        let mut bytes = [header, piece].concat();
        let length = u16::try_from(bytes.len()).expect("a piece is smaller than its packet");
        let mut view = MutableIpv4Packet::new(&mut bytes).expect("it begins with a header");
        view.set_total_length(length);
        let offset = (first + index * step) / 8;
        view.set_fragment_offset(u16::try_from(offset).expect("offsets are below 8,192"));
        let more = more_follow || index + 1 < count;
        view.set_flags(if more { Ipv4Flags::MoreFragments } else { 0 });
        let sum = ipv4::checksum(&view.to_immutable());
        view.set_checksum(sum);
        bytes
    };
    payload.chunks(step).enumerate().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(payload: usize) -> Packet {
        let mut transport = vec![0; 8 + payload];
        let mut view = MutableUdpPacket::new(&mut transport).unwrap();
        view.set_source(40_000);
        view.set_destination(8472);
        view.set_length(u16::try_from(8 + payload).unwrap());
        let (from, to) = (Ipv4Addr::new(172, 31, 1, 11), Ipv4Addr::new(172, 31, 2, 11));
        seal_transport(17, from.into(), to.into(), &mut transport);
        Packet::of_ip(&ipv4_around(from, to, 17, &transport)).unwrap()
    }

    #[test]
    fn a_datagram_is_read_as_it_was_written() {
        let packet = datagram(10);
        assert_eq!((packet.protocol, packet.ports), (17, Some((40_000, 8472))));
        assert_eq!((packet.bytes.len(), packet.payload().len(), packet.ttl), (38, 10, 64));
    }

    #[test]
    fn padding_of_a_frame_is_no_part_of_the_packet() {
        let mut frame = vec![0; 12];
        frame.extend(EtherTypes::Ipv4.0.to_be_bytes());
        frame.extend(&datagram(1).bytes);
        frame.resize(60, 0);
        assert_eq!(Packet::of_frame(&frame).unwrap().bytes.len(), 29);
    }

    #[test]
    fn another_address_keeps_checksums_right() {
        let mut packet = datagram(7);
        packet.readdress(
            ("203.0.113.9".parse().unwrap(), Some(50_000)),
            ("172.31.2.11".parse().unwrap(), None),
        );
        let view = udp::UdpPacket::new(&packet.bytes[20..]).unwrap();
        let sum = udp::ipv4_checksum(&view, &Ipv4Addr::new(203, 0, 113, 9), &Ipv4Addr::new(172, 31, 2, 11));
        assert_eq!(
            (view.get_source(), view.get_destination(), view.get_checksum()),
            (50_000, 8472, sum)
        );
    }

    #[test]
    fn fragments_put_together_are_the_packet() {
        let packet = datagram(3_000);
        let pieces = fragments(&packet, 1_400);
        assert_eq!(pieces.len(), 3);
        let mut whole = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let view = Ipv4Packet::new(piece).unwrap();
            assert!(piece.len() <= 1_400);
            assert_eq!(usize::from(view.get_fragment_offset()) * 8, whole.len());
            assert_eq!(view.get_flags() & Ipv4Flags::MoreFragments != 0, index < 2);
            whole.extend_from_slice(&piece[20..]);
        }
        assert_eq!(whole, packet.bytes[20..]);
    }

    #[test]
    fn what_is_cut_short_is_no_packet() {
        let bytes = datagram(10).bytes;
        assert!((0..bytes.len()).all(|length| Packet::of_ip(&bytes[..length]).is_none()));
    }
}
