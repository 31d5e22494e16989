//! The kernel calls that no crate offers safely: the only `unsafe` code of this crate.
#![expect(
    unsafe_code,
    reason = "system calls without a safe wrapper; each says why it is sound"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;
use socket2::Socket;
use tokio::io::unix::AsyncFd;

/// Sends every datagram whole or not at all, whatever path MTU the kernel has learned: sizes beyond the own link fail with `EMSGSIZE`,
/// larger ones than the path carries get lost on the way (`IP_PMTUDISC_PROBE`).
pub(crate) fn never_fragment(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_int(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        )?;
        // Without it, the kernel would fragment at the source.
        set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)
    } else {
        set_int(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
    }
}

/// How often a TCP connection request is repeated before the kernel gives up.
pub(crate) fn limit_connection_requests(socket: BorrowedFd<'_>, repetitions: u8) -> io::Result<()> {
    set_int(socket, libc::IPPROTO_TCP, libc::TCP_SYNCNT, i32::from(repetitions))
}

/// Asks for a receive buffer of this size: beyond the system's limit where the process may, up to it otherwise.
pub(crate) fn enlarge_receive_buffer(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

/// Prepares the socket of an ICMP client, which shows it by number only: a receive buffer of this size, and no copies of the echo requests that
/// others send to this host.
pub(crate) fn prepare_icmp(client: &surge_ping::Client, ipv6: bool, receive_buffer_bytes: i32) -> io::Result<()> {
    let socket = client.get_socket();
    // SAFETY: `socket` shares the ownership of the descriptor until the end of this function, so that it stays open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(socket.get_native_sock()) };
    // A ping socket has no such filter, and gets no requests either.
    let _ = ignore_echo_requests(borrowed, ipv6);
    enlarge_receive_buffer(borrowed, receive_buffer_bytes)
}

/// Filters of raw ICMP sockets have a bit for each type that is not to be received.
fn ignore_echo_requests(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    // `ICMP_FILTER` and `ICMPV6_FILTER` of linux/icmp.h and linux/icmpv6.h.
    const FILTER: i32 = 1;
    if !ipv6 {
        return set(socket, libc::SOL_RAW, FILTER, &(1_u32 << 8));
    }
    let mut filter = [0_u32; 8];
    filter[128 / 32] = 1 << (128 % 32);
    set(socket, libc::IPPROTO_ICMPV6, FILTER, &filter)
}

/// Binds a packet socket to all interfaces and this protocol, as [`libc::ETH_P_ALL`]; until then it receives nothing.
pub(crate) fn bind_packet_socket(socket: BorrowedFd<'_>, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("address families are small"),
        sll_protocol: protocol.to_be(),
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("socket addresses are small");
    // SAFETY: the pointer is to a `sockaddr_ll` that lives until the call returns, and the length is its own.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })
}

/// Hands a socket to the runtime, to wait for what arrives.
pub(crate) fn watch(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: `Socket` owns an open descriptor, always shows that one, and is itself owned by the result.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}

/// Packets that a packet socket has dropped for want of room since this was last asked.
pub(crate) fn dropped_packets(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tpacket_stats>()).expect("statistics are small");
    // SAFETY: the pointers are to a `tpacket_stats` and its length, which live until the call returns; the kernel writes no more than that.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    })?;
    Ok(statistics.tp_drops)
}

/// What adjtimex(2) tells of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockState {
    /// Whether something keeps it synchronised.
    pub(crate) synchronised: bool,
    /// The bound on its error, in microseconds.
    pub(crate) max_error_micros: u64,
    /// The estimate of its error, in microseconds.
    pub(crate) estimated_error_micros: u64,
}

/// Reads the state of the clock; changes nothing.
pub(crate) fn clock_state() -> io::Result<ClockState> {
    // SAFETY: `timex` is numbers only, for which zero is a value; no mode is set, so that the call only reads.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `timex` that lives until the call returns.
    if unsafe { libc::adjtimex(&raw mut state) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ClockState {
        synchronised: state.status & libc::STA_UNSYNC == 0,
        max_error_micros: u64::try_from(state.maxerror).unwrap_or_default(),
        estimated_error_micros: u64::try_from(state.esterror).unwrap_or_default(),
    })
}

fn set_int(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    set(socket, level, option, &value)
}

fn set<T: Copy>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    // SAFETY: the pointer is to a value that lives until the call returns, and the length is its own.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), length) })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
