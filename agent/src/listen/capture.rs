//! Sees what arrives at this host's cards, before its firewall does: a packet socket that only receives, and only messages of ours.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::{MsgFlags, recv};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::udp::UdpPacket;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::plan::Service;
use socket2::{Domain, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::{Listener, bpf};
use crate::sys;

/// Room for what arrives while the agent does something else; asked for, not insisted upon.
const RECEIVE_BUFFER_BYTES: i32 = 8 << 20;

/// A packet socket, and the task that reads it once there is something to look for.
#[derive(Debug)]
pub(super) struct Capture {
    socket: Arc<AsyncFd<Socket>>,
    task: Option<JoinHandle<()>>,
    listeners: Vec<Arc<Listener>>,
}

/// A packet that a listener may be waiting for.
#[derive(Debug, PartialEq, Eq)]
struct Seen<'a> {
    service: Service,
    from: SocketAddr,
    to: IpAddr,
    /// As much of the payload as was kept.
    payload: &'a [u8],
    /// How long it was.
    length: usize,
}

impl Capture {
    /// Opens the socket; it sees packets from now on.
    pub(super) fn open() -> Result<Self, Unknown> {
        let open = || {
            // Protocol 0: nothing arrives before the filter is in place.
            let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), None)?;
            socket.attach_filter(&bpf::of_messages())?;
            sys::enlarge_receive_buffer(socket.as_fd(), RECEIVE_BUFFER_BYTES)?;
            // All protocols: what a BPF program consumes on arrival is seen by these taps only.
            sys::bind_packet_socket(socket.as_fd(), u16::try_from(libc::ETH_P_ALL).expect("is 3"))?;
            sys::watch(socket)
        };
        let socket = open().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => Unknown::new(
                Reason::Forbidden,
                "packets cannot be captured: the agent has no CAP_NET_RAW",
            ),
            _ => Unknown::new(Reason::ServerError, format!("packets cannot be captured: {error}")),
        })?;
        Ok(Self {
            socket: Arc::new(socket),
            task: None,
            listeners: Vec::new(),
        })
    }

    /// Looks for what these listeners are there for.
    pub(super) fn start(&mut self, listeners: Vec<Arc<Listener>>) {
        self.listeners = listeners;
        let (socket, listeners) = (Arc::clone(&self.socket), self.listeners.clone());
        self.task = Some(tokio::spawn(async move {
            let own = own_addresses();
            loop {
                let Ok(mut ready) = socket.readable().await else { return };
                read_all(&socket, &listeners, &own);
                ready.clear_ready();
            }
        }));
    }

    /// Stops; how many packets were lost for want of room.
    pub(super) fn stop(self) -> u32 {
        // What has arrived already counts.
        read_all(&self.socket, &self.listeners, &own_addresses());
        sys::dropped_packets(self.socket.get_ref().as_fd()).unwrap_or(0)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Reads until nothing is left.
fn read_all(socket: &AsyncFd<Socket>, listeners: &[Arc<Listener>], own: &HashSet<IpAddr>) {
    let mut buffer = [0; bpf::SNAP_BYTES as usize];
    while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
        let Some(seen) = parse(&buffer[..length]) else { continue };
        let same_service = || listeners.iter().filter(|listener| listener.service == seen.service);
        let by_address = same_service().any(|listener| listener.address == seen.to);
        for listener in same_service() {
            // Behind NAT a listener's address is none of this host's. A gateway also sees what it passes on to others.
            let for_this = if by_address {
                listener.address == seen.to
            } else {
                own.contains(&seen.to) && listener.address.is_ipv4() == seen.to.is_ipv4()
            };
            if !for_this {
                continue;
            }
            let message = listener.seal.read_cut(seen.payload, seen.length);
            if let Ok(message) = message
                && message.kind.answer().is_some()
            {
                listener.ledger().captured(message.probe, message.sequence, seen.from);
            }
        }
    }
}

/// The service that a packet is for, and its payload; none of what is neither IP nor whole at the beginning.
fn parse(packet: &[u8]) -> Option<Seen<'_>> {
    let (protocol, from, to, header, total) = match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new(packet)?;
            let header = usize::from(ip.get_header_length()) * 4;
            let (from, to) = (IpAddr::from(ip.get_source()), IpAddr::from(ip.get_destination()));
            (
                ip.get_next_level_protocol(),
                from,
                to,
                header,
                usize::from(ip.get_total_length()),
            )
        }
        6 => {
            let ip = Ipv6Packet::new(packet)?;
            let header = Ipv6Packet::minimum_packet_size();
            let (from, to) = (IpAddr::from(ip.get_source()), IpAddr::from(ip.get_destination()));
            (
                ip.get_next_header(),
                from,
                to,
                header,
                header + usize::from(ip.get_payload_length()),
            )
        }
        _ => return None,
    };
    let kept = packet.get(header..packet.len().min(total))?;
    let length = total.checked_sub(header)?;
    if protocol != IpNextHeaderProtocols::Udp {
        return Some(Seen {
            service: Service::IpProtocol(protocol.0),
            from: SocketAddr::new(from, 0),
            to,
            payload: kept,
            length,
        });
    }
    let udp = UdpPacket::new(kept)?;
    let header = UdpPacket::minimum_packet_size();
    Some(Seen {
        service: Service::Udp(udp.get_destination()),
        from: SocketAddr::new(from, udp.get_source()),
        to,
        length: usize::from(udp.get_length())
            .checked_sub(header)?
            .min(length.checked_sub(header)?),
        payload: kept.get(header..)?,
    })
}

/// The addresses of this host.
fn own_addresses() -> HashSet<IpAddr> {
    let addresses = getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|interface| interface.address);
    addresses
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect()
}

/// For fuzzing: whatever a packet is, parsing it does not panic.
pub(super) fn fuzz(packet: &[u8]) {
    if let Some(seen) = parse(packet) {
        assert!(seen.payload.len() <= packet.len());
    }
}
