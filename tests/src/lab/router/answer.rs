//! What the router says itself: ICMP errors, echo replies and forged TCP resets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::tcp::{MutableTcpPacket, TcpFlags, TcpPacket};

use super::packet::{Packet, ipv4_around, ipv6_around, seal_transport};
use crate::lab::fault::Rejection;

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Error {
    Rejected(Rejection),
    TooBig(u32),
    TimeExceeded,
    NoRoute,
}

impl Error {
    /// Type and code of ICMP (RFC 792, RFC 1812) or ICMPv6 (RFC 4443), and what stands in bytes 4 to 7.
    #[expect(
        clippy::match_same_arms,
        reason = "the same number means another thing in the other family"
    )]
    fn code(self, ipv6: bool) -> (u8, u8, u32) {
        match (self, ipv6) {
            (Self::Rejected(Rejection::PortUnreachable | Rejection::Reset), false) => (3, 3, 0),
            (Self::Rejected(Rejection::PortUnreachable | Rejection::Reset), true) => (1, 4, 0),
            (Self::Rejected(Rejection::Prohibited), false) => (3, 13, 0),
            (Self::Rejected(Rejection::Prohibited), true) => (1, 1, 0),
            (Self::Rejected(Rejection::HostUnreachable), false) => (3, 1, 0),
            (Self::Rejected(Rejection::HostUnreachable), true) => (1, 3, 0),
            (Self::Rejected(Rejection::NetworkUnreachable) | Self::NoRoute, false) => (3, 0, 0),
            (Self::Rejected(Rejection::NetworkUnreachable) | Self::NoRoute, true) => (1, 0, 0),
            (Self::TooBig(mtu), false) => (3, 4, mtu & 0xffff),
            (Self::TooBig(mtu), true) => (2, 0, mtu),
            (Self::TimeExceeded, false) => (11, 0, 0),
            (Self::TimeExceeded, true) => (3, 0, 0),
        }
    }
}

/// The error about a packet, from the router's address; none about what no error may be sent about (RFC 1122, 3.2.2).
pub(super) fn error(about: &Packet, from: (Ipv4Addr, Ipv6Addr), error: Error) -> Option<Packet> {
    if about.is_icmp_error() || about.later_fragment {
        return None;
    }
    let (kind, code, rest) = error.code(about.is_ipv6());
    // As much of the packet as fits into 576 bytes, or into 1,280 of IPv6.
    let quoted = if about.is_ipv6() { 1280 - 48 } else { 576 - 28 };
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(&about.bytes[..about.bytes.len().min(quoted)]);
    let bytes = match about.source {
        IpAddr::V4(to) => {
            seal_transport(1, from.0.into(), to.into(), &mut message);
            ipv4_around(from.0, to, 1, &message)
        }
        IpAddr::V6(to) => {
            seal_transport(58, from.1.into(), to.into(), &mut message);
            ipv6_around(from.1, to, 58, &message)
        }
    };
    Packet::of_ip(&bytes)
}

/// The answer to an echo request that was sent to the router itself.
pub(super) fn echo_reply(request: &Packet) -> Option<Packet> {
    let kind = match (request.icmp?.kind, request.is_ipv6()) {
        (8, false) => 0,
        (128, true) => 129,
        _ => return None,
    };
    let mut message = request.bytes[request.header..].to_vec();
    message[0] = kind;
    Packet::of_ip(&reply(request, request.protocol, message))
}

/// A TCP reset in the name of the one the packet was sent to; none to what is itself a reset.
pub(super) fn reset(to: &Packet) -> Option<Packet> {
    let asked = TcpPacket::new(&to.bytes[to.header..]).filter(|_| to.protocol == 6 && !to.later_fragment)?;
    if asked.get_flags() & TcpFlags::RST != 0 {
        return None;
    }
    let mut message = vec![0; 20];
    let mut view = MutableTcpPacket::new(&mut message)?;
    view.set_source(asked.get_destination());
    view.set_destination(asked.get_source());
    view.set_data_offset(5);
    // RFC 9293, 3.10.7.1: what it acknowledges is what was sent, its SYN counted.
    let sent = to.bytes.len() - to.header - usize::from(asked.get_data_offset()) * 4;
    let syn = u32::from(asked.get_flags() & TcpFlags::SYN != 0);
    let length = u32::try_from(sent).expect("a packet is shorter than 64 KiB") + syn;
    if asked.get_flags() & TcpFlags::ACK == 0 {
        view.set_flags(TcpFlags::RST | TcpFlags::ACK);
        view.set_acknowledgement(asked.get_sequence().wrapping_add(length));
    } else {
        view.set_flags(TcpFlags::RST);
        view.set_sequence(asked.get_acknowledgement());
    }
    Packet::of_ip(&reply(to, 6, message))
}

fn reply(to: &Packet, protocol: u8, mut message: Vec<u8>) -> Vec<u8> {
    seal_transport(protocol, to.destination, to.source, &mut message);
    match (to.destination, to.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4_around(from, to, protocol, &message),
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6_around(from, to, protocol, &message),
        _ => Vec::new(),
    }
}
