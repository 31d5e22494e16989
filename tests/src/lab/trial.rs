//! Plain sockets in two nodes: what the lab is tested with, apart from any agent.

use std::io::{self, ErrorKind, IoSliceMut, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use pnet::packet::icmp::IcmpTypes;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::host::Place;
use super::router::seal_transport;
use super::topology::Topology;

/// How long an answer is waited for. Nothing in a lab takes as long unless it is lost.
const PATIENCE: Duration = Duration::from_millis(400);

/// The number of the datagram that tells a listener that the trial is over.
const THE_END: u32 = u32::MAX;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The node that sends.
    pub from: String,
    /// The node that is to receive.
    pub to: String,
    /// Over IPv6.
    pub ipv6: bool,
    /// What.
    pub what: What,
}

/// By which protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Datagrams to a socket of ours, which answers each.
    Udp {
        /// Its port.
        port: u16,
        /// How many, all from one source port.
        count: u32,
        /// Length of each as an IP packet.
        bytes: u32,
    },
    /// A connection to a socket of ours.
    Tcp {
        /// Its port.
        port: u16,
        /// Whether anything listens.
        listen: bool,
    },
    /// ICMP echoes, which the kernel answers.
    Ping {
        /// How many.
        count: u32,
    },
    /// Packets of a protocol by number, which are counted as they arrive.
    Raw {
        /// The number.
        protocol: u8,
        /// How many.
        count: u32,
    },
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Numbers of what arrived, in the order of arrival.
    pub arrived: Vec<u32>,
    /// Numbers of the answers, in the order they came back.
    pub answered: Vec<u32>,
    /// Who the receiver saw, each once.
    pub seen_from: Vec<SocketAddr>,
    /// Who answered the sender, each once.
    pub answered_by: Vec<SocketAddr>,
    /// The shortest round trip.
    pub round_trip_micros: Option<u64>,
    /// What ICMP said: type, code, and who.
    pub told: Vec<(u8, u8, Option<IpAddr>)>,
    /// The kernel's word for why a connection did not come about.
    pub failure: Option<String>,
    /// What was read from a connection.
    pub read: String,
}

/// Does it.
pub(super) fn run<'a>(
    trial: &Trial,
    topology: &Topology,
    place: impl Fn(&str) -> anyhow::Result<&'a Place>,
) -> anyhow::Result<Outcome> {
    let (from, to) = (place(&trial.from)?, place(&trial.to)?);
    let address = |place: &Place| {
        let node = topology.node(&place.node.name).context("the node is in the plan")?;
        let address = if trial.ipv6 {
            node.ipv6.map(IpAddr::from)
        } else {
            Some(node.ipv4.into())
        };
        address.context("the lab has no IPv6")
    };
    let (source, destination) = (address(from)?, address(to)?);
    match trial.what {
        What::Udp { port, count, bytes } => udp(from, to, source, (destination, port).into(), count, bytes),
        What::Tcp { port, listen } => tcp(from, to, (destination, port).into(), listen),
        What::Ping { count } => ping(from, source, destination, count),
        What::Raw { protocol, count } => raw(from, to, destination, protocol, count),
    }
}

fn udp(
    from: &Place,
    to: &Place,
    source: IpAddr,
    target: SocketAddr,
    count: u32,
    bytes: u32,
) -> anyhow::Result<Outcome> {
    // A port that something else has taken is one that nobody answers on.
    let heard = match to.namespace.run(|| Ok(UdpSocket::bind(target)?)) {
        Ok(socket) => Some(listen(to, socket)?),
        Err(_) => None,
    };
    let headers = if target.is_ipv4() { 28 } else { 48 };
    let mut outcome = from.namespace.run(|| {
        let socket = UdpSocket::bind((source, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true).ok();
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true).ok();
        let mut outcome = Outcome::default();
        let begin = Instant::now();
        for number in 0..count {
            let mut datagram = vec![0; (bytes.saturating_sub(headers) as usize).max(4)];
            datagram[..4].copy_from_slice(&number.to_be_bytes());
            // An error of an earlier datagram is reported by a later send, which then did not happen.
            if socket.send_to(&datagram, target).is_err() {
                outcome.told.extend(errors(&socket)?);
                socket.send_to(&datagram, target).ok();
            }
        }
        let mut buffer = [0; 65_536];
        while outcome.answered.len() < count as usize * 2 {
            match socket.recv_from(&mut buffer) {
                Ok((length, by)) => {
                    let micros = u64::try_from(begin.elapsed().as_micros())?;
                    outcome.round_trip_micros.get_or_insert(micros);
                    add(&mut outcome.answered_by, by);
                    outcome.answered.extend(number(&buffer[..length]));
                }
                Err(error) => {
                    let told = errors(&socket)?;
                    // Waited long enough, and nobody said why.
                    if told.is_empty() && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
                        break;
                    }
                    outcome.told.extend(told);
                }
            }
            let all = (0..count).all(|number| outcome.answered.contains(&number));
            if all || outcome.told.len() >= count as usize {
                break;
            }
        }
        Ok(outcome)
    })?;
    // From next to the listener, so that no fault of the path is in its way; a firewall may be, then it ends by itself.
    to.namespace.run(|| {
        let socket = UdpSocket::bind((target.ip(), 0))?;
        Ok(socket.send_to(&THE_END.to_be_bytes(), target).ok())
    })?;
    for (number, by) in heard
        .into_iter()
        .flat_map(|heard| heard.into_iter().collect::<Vec<_>>())
    {
        outcome.arrived.push(number);
        add(&mut outcome.seen_from, by);
    }
    Ok(outcome)
}

/// Answers every datagram with its number until none has come for a while; gives what came.
fn listen(at: &Place, socket: UdpSocket) -> anyhow::Result<Receiver<(u32, SocketAddr)>> {
    let (heard, receiver) = channel();
    socket.set_read_timeout(Some(PATIENCE * 2))?;
    at.namespace.spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let Some(number) = number(&buffer[..length]) else {
                continue;
            };
            if number == THE_END {
                return;
            }
            // The trial may be over, or the way back closed: that is what it is to find out.
            let _ = heard.send((number, from));
            let _ = socket.send_to(&number.to_be_bytes(), from);
        }
    })?;
    Ok(receiver)
}

fn number(datagram: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(datagram.get(..4)?.try_into().ok()?))
}

fn add(list: &mut Vec<SocketAddr>, one: SocketAddr) {
    if !list.contains(&one) {
        list.push(one);
    }
}

/// What the socket's error queue holds.
fn errors(socket: &UdpSocket) -> anyhow::Result<Vec<(u8, u8, Option<IpAddr>)>> {
    let mut told = Vec::new();
    loop {
        let mut data = [0; 2_048];
        let mut space = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in6);
        let mut parts = [IoSliceMut::new(&mut data)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let Ok(message) = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) else {
            return Ok(told);
        };
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::Ipv4RecvErr(error, by) => {
                    let by = by.map(|by| IpAddr::from(by.sin_addr.s_addr.to_ne_bytes()));
                    told.push((error.ee_type, error.ee_code, by));
                }
                ControlMessageOwned::Ipv6RecvErr(error, by) => {
                    let by = by.map(|by| IpAddr::from(by.sin6_addr.s6_addr));
                    told.push((error.ee_type, error.ee_code, by));
                }
                _ => {}
            }
        }
    }
}

fn tcp(from: &Place, to: &Place, target: SocketAddr, listens: bool) -> anyhow::Result<Outcome> {
    let mut heard = None;
    let mut listening = None;
    if listens {
        let listener = to.namespace.run(|| Ok(TcpListener::bind(target)?))?;
        let (accepted, receiver) = channel();
        listening = Some(Socket::from(listener.try_clone()?));
        to.namespace.spawn(move || {
            if let Ok((mut connection, by)) = listener.accept() {
                let _ = connection.write_all(b"welcome");
                let _ = accepted.send(by);
            }
        })?;
        heard = Some(receiver);
    }
    let mut outcome = from.namespace.run(|| {
        let mut outcome = Outcome::default();
        // Time for one lost SYN to be sent again, after one second.
        match TcpStream::connect_timeout(&target, Duration::from_millis(1_500)) {
            Ok(mut connection) => {
                connection.set_read_timeout(Some(PATIENCE))?;
                let mut buffer = [0; 64];
                let length = connection.read(&mut buffer).unwrap_or(0);
                outcome.read = String::from_utf8_lossy(&buffer[..length]).into_owned();
            }
            Err(error) => outcome.failure = Some(error.kind().to_string()),
        }
        Ok(outcome)
    })?;
    if let Some(listener) = listening {
        // Who still waits for a connection waits no longer.
        listener.shutdown(Shutdown::Both)?;
    }
    outcome.seen_from = heard.iter().flat_map(Receiver::try_iter).collect();
    Ok(outcome)
}

fn raw_socket(like: IpAddr, protocol: u8) -> io::Result<Socket> {
    let domain = if like.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn ping(from: &Place, source: IpAddr, target: IpAddr, count: u32) -> anyhow::Result<Outcome> {
    const IDENTIFIER: u16 = 0x6a6c;
    from.namespace.run(|| {
        let (protocol, request) = if target.is_ipv4() {
            (1, IcmpTypes::EchoRequest.0)
        } else {
            (58, 128)
        };
        let mut socket = raw_socket(target, protocol)?;
        let mut outcome = Outcome::default();
        let begin = Instant::now();
        for number in 0..count {
            let [a, b] = IDENTIFIER.to_be_bytes();
            let [c, d] = u16::try_from(number)?.to_be_bytes();
            let mut message = vec![request, 0, 0, 0, a, b, c, d];
            // IPv6's checksum is the kernel's own matter.
            seal_transport(protocol, source, target, &mut message);
            socket.send_to(&message, &SocketAddr::new(target, 0).into())?;
        }
        let mut buffer = [0; 2_048];
        while outcome.answered.len() < count as usize {
            let Ok(length) = socket.read(&mut buffer) else { break };
            let (skip, reply) = if target.is_ipv4() { (20, 0) } else { (0, 129) };
            let message = buffer.get(skip..length).unwrap_or_default();
            if message.first() == Some(&reply) && message.get(4..6) == Some(&IDENTIFIER.to_be_bytes()) {
                let micros = u64::try_from(begin.elapsed().as_micros())?;
                outcome.round_trip_micros.get_or_insert(micros);
                let number = u16::from_be_bytes([message[6], message[7]]);
                outcome.answered.push(number.into());
            }
        }
        Ok(outcome)
    })
}

fn raw(from: &Place, to: &Place, target: IpAddr, protocol: u8, count: u32) -> anyhow::Result<Outcome> {
    let mut receiver = to.namespace.run(|| Ok(raw_socket(target, protocol)?))?;
    from.namespace.run(|| {
        let socket = raw_socket(target, protocol)?;
        for number in 0..count {
            socket.send_to(&number.to_be_bytes(), &SocketAddr::new(target, 0).into())?;
        }
        Ok(())
    })?;
    let mut outcome = Outcome::default();
    let mut buffer = [0; 2_048];
    while outcome.arrived.len() < count as usize {
        let Ok(length) = receiver.read(&mut buffer) else { break };
        let skip = if target.is_ipv4() { 20 } else { 0 };
        outcome.arrived.extend(buffer.get(skip..length).and_then(number));
    }
    Ok(outcome)
}
