//! Binds a port if nothing else holds it. Neither SO_REUSEADDR nor SO_REUSEPORT is ever set: no bind can take a port from a product.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::plan::Service;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use crate::{datagram, sys};

/// Room for what arrives while the agent does something else; asked for, not insisted upon.
const RECEIVE_BUFFER_BYTES: i32 = 4 << 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A socket that listens.
pub(super) enum Bound {
    Tcp(TcpListener),
    Udp(UdpListener),
}

/// A UDP socket that listens.
pub(super) struct UdpListener {
    pub(super) socket: UdpSocket,
    /// Whether it is bound to all addresses: answers must then be told from which to leave.
    pub(super) any_address: bool,
}

/// Why a port is not bound.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something else holds it.
    Taken,
    /// The process may not bind it: a port below 1024.
    Forbidden,
    /// The family is not there, or anything else.
    Other(io::Error),
}

impl Failure {
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Taken)
    }

    /// Whether packets can still be seen as they arrive.
    pub(super) fn leaves_capture(&self) -> bool {
        matches!(self, Self::Taken | Self::Forbidden)
    }

    pub(super) fn describe(&self, service: Service, held_by: &str) -> String {
        match self {
            Self::Taken if held_by.is_empty() => format!("{service} is in use"),
            Self::Taken => format!("{service} is in use by {held_by}"),
            Self::Forbidden => format!("{service} may not be bound: ports below 1024 need CAP_NET_BIND_SERVICE"),
            Self::Other(error) => format!("{service} could not be bound: {error}"),
        }
    }

    pub(super) fn into_unknown(self, service: Service, held_by: &str) -> Unknown {
        let detail = self.describe(service, held_by);
        match self {
            Self::Taken => Unknown::new(Reason::NotAsked, format!("{detail}: it is asked itself")),
            Self::Forbidden => Unknown::new(Reason::Forbidden, detail),
            Self::Other(_) => Unknown::new(Reason::ServerError, detail),
        }
    }
}

/// Binds this address, or all addresses of its family where this host does not have it.
pub(super) fn bind(service: Service, address: SocketAddr) -> Result<Bound, Failure> {
    match bind_to(service, address) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            let any: IpAddr = if address.is_ipv6() {
                Ipv6Addr::UNSPECIFIED.into()
            } else {
                Ipv4Addr::UNSPECIFIED.into()
            };
            bind_to(service, SocketAddr::new(any, address.port()))
        }
        result => result,
    }
    .map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::Taken,
        io::ErrorKind::PermissionDenied => Failure::Forbidden,
        _ => Failure::Other(error),
    })
}

fn bind_to(service: Service, address: SocketAddr) -> io::Result<Bound> {
    let ipv6 = address.is_ipv6();
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let (kind, protocol) = match service {
        Service::Tcp(_) => (Type::STREAM, Protocol::TCP),
        _ => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(domain, kind.nonblocking(), Some(protocol))?;
    if ipv6 {
        // IPv4 has listeners of its own.
        socket.set_only_v6(true)?;
    }
    if matches!(service, Service::Tcp(_)) {
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        return Ok(Bound::Tcp(TcpListener::from_std(socket.into())?));
    }
    datagram::tell_all(&socket, ipv6)?;
    sys::enlarge_receive_buffer(socket.as_fd(), RECEIVE_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(Bound::Udp(UdpListener {
        socket: UdpSocket::from_std(socket.into())?,
        any_address: address.ip().is_unspecified(),
    }))
}
