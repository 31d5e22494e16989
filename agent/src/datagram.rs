//! Datagrams with what the kernel knows of them: when they arrived, at which address, with which hop limit; and the errors that met them.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SetSockOpt, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg,
    sendmsg, setsockopt, sockopt,
};

use crate::probe::outcome::Met;

/// This host's clock, in microseconds since 1970.
pub fn clock_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    as_this_clock(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// A time of the kernel, as this host's clock has it: the same, but in a test build that plays a host whose clock is ahead. No process can be given
/// a wall clock of its own.
#[cfg(debug_assertions)]
fn as_this_clock(micros: u64) -> u64 {
    static AHEAD_MICROS: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let ahead = AHEAD_MICROS.get_or_init(|| {
        let millis = std::env::var("PREJOIN_TEST_CLOCK_AHEAD_MILLIS").ok();
        millis.and_then(|millis| millis.parse::<u64>().ok()).unwrap_or(0) * 1_000
    });
    micros.saturating_add(*ahead)
}

#[cfg(not(debug_assertions))]
fn as_this_clock(micros: u64) -> u64 {
    micros
}

/// A datagram that arrived; its bytes are in the buffer that was given.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// How many bytes.
    pub length: usize,
    /// From whom.
    pub from: SocketAddr,
    /// The address it was sent to, where the kernel told.
    pub to: Option<IpAddr>,
    /// The clock when it arrived at the kernel, in microseconds since 1970.
    pub arrived_micros: u64,
    /// Its TTL or hop limit, where the kernel told.
    pub ttl: Option<u8>,
}

/// An error from a socket's error queue.
#[derive(Debug, Clone)]
pub struct Queued {
    /// What it was and who said so.
    pub met: Met,
    /// Whether the own kernel said so.
    pub local: bool,
    /// The MTU that came with "too big".
    pub mtu: u16,
    /// Where the datagram was sent to that met it.
    pub target: Option<SocketAddr>,
    /// The beginning of that datagram's payload, as far as it was quoted.
    pub quoted: Vec<u8>,
}

/// Makes a socket tell of each datagram what [`Received`] holds, and keep errors with who said so.
pub fn tell_all(socket: &impl AsFd, ipv6: bool) -> io::Result<()> {
    set(socket, sockopt::ReceiveTimestampns)?;
    if ipv6 {
        set(socket, sockopt::Ipv6RecvErr)?;
        set(socket, sockopt::Ipv6RecvHopLimit)?;
        set(socket, sockopt::Ipv6RecvPacketInfo)
    } else {
        set(socket, sockopt::Ipv4RecvErr)?;
        set(socket, sockopt::Ipv4RecvTtl)?;
        set(socket, sockopt::Ipv4PacketInfo)
    }
}

/// Makes a socket keep errors with who said so.
pub fn tell_errors(socket: &impl AsFd, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set(socket, sockopt::Ipv6RecvErr)
    } else {
        set(socket, sockopt::Ipv4RecvErr)
    }
}

fn set(socket: &impl AsFd, option: impl SetSockOpt<Val = bool>) -> io::Result<()> {
    Ok(setsockopt(socket, option, &true)?)
}

/// The next datagram, without waiting.
pub fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!(libc::timespec, libc::in6_pktinfo, libc::in_pktinfo, i32, i32);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let from = message.address.as_ref().and_then(socket_address);
    let (mut to, mut arrived_micros, mut ttl) = (None, None, None);
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::ScmTimestampns(time) => {
                arrived_micros = u64::try_from(Duration::from(time).as_micros()).ok().map(as_this_clock);
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => to = Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes())),
            ControlMessageOwned::Ipv6PacketInfo(info) => to = Some(IpAddr::from(info.ipi6_addr.s6_addr)),
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                ttl = u8::try_from(hops).ok();
            }
            _ => {}
        }
    }
    Ok(Received {
        length: message.bytes,
        from: from.ok_or_else(|| io::Error::other("a datagram without a sender"))?,
        to,
        arrived_micros: arrived_micros.unwrap_or_else(clock_micros),
        ttl,
    })
}

/// Sends a datagram from one of this host's addresses, without waiting.
pub fn send_from(socket: &impl AsRawFd, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
    let slices = [IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let v4;
    let v6;
    let control = match from {
        None => None,
        Some(IpAddr::V4(address)) => {
            v4 = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            Some(ControlMessage::Ipv4PacketInfo(&v4))
        }
        Some(IpAddr::V6(address)) => {
            v6 = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: 0,
            };
            Some(ControlMessage::Ipv6PacketInfo(&v6))
        }
    };
    sendmsg(
        socket.as_raw_fd(),
        &slices,
        control.as_slice(),
        flags,
        Some(&SockaddrStorage::from(to)),
    )?;
    Ok(())
}

/// The next error of the socket's queue, without waiting.
pub fn read_error(socket: &impl AsRawFd) -> io::Result<Queued> {
    let mut control = nix::cmsg_space!(
        libc::sock_extended_err,
        libc::sockaddr_in6,
        libc::timespec,
        libc::in6_pktinfo,
        i32
    );
    let mut buffer = [0; 256];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let target = message.address.as_ref().and_then(socket_address);
    let length = message.bytes;
    let mut found = None;
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::Ipv4RecvErr(error, by) => {
                let by = by.map(|by| IpAddr::from(by.sin_addr.s_addr.to_ne_bytes()));
                found = Some((false, error, by));
            }
            ControlMessageOwned::Ipv6RecvErr(error, by) => {
                found = Some((true, error, by.map(|by| IpAddr::from(by.sin6_addr.s6_addr))));
            }
            _ => {}
        }
    }
    let (ipv6, error, by) = found.ok_or_else(|| io::Error::other("an error queue entry without an error"))?;
    let errno = i32::try_from(error.ee_errno).unwrap_or_default();
    let local = !matches!(error.ee_origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
    let met = if local {
        Met::of_call(ipv6, &io::Error::from_raw_os_error(errno))
    } else {
        Met::of_icmp(ipv6, (error.ee_type, error.ee_code), by, Some(errno))
    };
    Ok(Queued {
        met,
        local,
        mtu: u16::try_from(error.ee_info).unwrap_or(u16::MAX),
        target,
        quoted: buffer[..length.min(256)].to_vec(),
    })
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|v4: &SockaddrIn| SocketAddr::new(IpAddr::V4(v4.ip()), v4.port()));
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|v6: &SockaddrIn6| SocketAddr::new(IpAddr::V6(v6.ip()), v6.port()))
    })
}
