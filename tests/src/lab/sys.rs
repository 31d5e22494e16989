//! The lab's only unsafe code: two calls that no crate offers safely.
#![expect(
    unsafe_code,
    reason = "bind of a packet socket to a link, and the driver's offload switch"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd as _;

use nix::libc;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A packet socket that sees every frame that comes in by one link, and sends by it.
pub(super) fn packet_socket(link: u32) -> io::Result<Socket> {
    // Protocol 0 sees nothing until the socket is bound to the link.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    let everything = u16::try_from(libc::ETH_P_ALL).expect("ETH_P_ALL is 3").to_be();
    // SAFETY: `sockaddr_ll` is plain data, fits into `sockaddr_storage`, and the length set is its own.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = u16::try_from(libc::AF_PACKET).expect("AF_PACKET is 17");
            (*address).sll_protocol = everything;
            (*address).sll_ifindex = i32::try_from(link).expect("indexes of links are small");
            *length = u32::try_from(size_of::<libc::sockaddr_ll>()).expect("an address is small");
            Ok(())
        })
    }?;
    let on: libc::c_int = 1;
    // SAFETY: the option takes one int, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            u32::try_from(size_of::<libc::c_int>()).expect("an int is small"),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Has the kernel itself fill in checksums and cut segments for this link: packets are then on the link as they would be on a wire.
pub(super) fn offload_nothing(link: &str) -> io::Result<()> {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    const ETHTOOL_STXCSUM: u32 = 0x17;
    #[repr(C)]
    struct Switch {
        command: u32,
        value: u32,
    }
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let mut switch = Switch {
        command: ETHTOOL_STXCSUM,
        value: 0,
    };
    // SAFETY: an all-zero `ifreq` is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(link.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut switch).cast();
    // SAFETY: the request names a link and points to the switch, both of which live until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
