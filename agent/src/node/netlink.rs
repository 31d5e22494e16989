//! Questions to the kernel over netlink: one socket, one question at a time, answers handed on message by message.
//!
//! Answers are reduced as they come, so that a million routes need no more memory than the thousand that are kept. Attributes nobody asked
//! about are skipped, whatever a newer kernel puts into them.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NlasIterator};
use nix::libc;
use nix::sys::socket::NetlinkAddr;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use socket2::{Domain, Protocol, Socket, Type};

use crate::node::tree::{in_time, reason};

/// `NETLINK_ROUTE`
pub(super) const ROUTE: i32 = 0;
/// `NETLINK_XFRM`
pub(super) const XFRM: i32 = 6;
/// `NETLINK_NETFILTER`
pub(super) const NETFILTER: i32 = 12;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: what is dumped changed meanwhile.
const INTERRUPTED: u16 = 0x10;
const HEADER_BYTES: usize = 16;
/// The kernel fills at most 32 KiB at once.
const BUFFER_BYTES: usize = 64 << 10;
/// How often a dump is begun anew when what is dumped changes meanwhile.
const ATTEMPTS: u32 = 3;

/// A socket to one part of the kernel.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    deadline: Instant,
    sequence: u32,
    buffer: Vec<u8>,
}

/// All messages of an answer, reduced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dump<T> {
    pub(super) value: T,
    /// What was dumped changed during each attempt: something may be missing or there twice.
    pub(super) interrupted: bool,
}

impl<T> Dump<T> {
    /// The value, unless something may be missing.
    pub(super) fn whole(self, what: &str) -> Result<T, Unknown> {
        if self.interrupted {
            let detail = format!("{what}: changed each of {ATTEMPTS} times while it was read");
            return Err(Unknown::new(Reason::ServerError, detail));
        }
        Ok(self.value)
    }
}

/// Why the kernel gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It said so, by this error number.
    Errno(i32),
    /// It could not be asked.
    Unasked(Unknown),
}

impl Refusal {
    /// Whether the kernel has nothing of the kind that was asked about.
    pub(super) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Errno(errno) if unsupported(*errno))
    }

    pub(super) fn into_unknown(self, what: &str) -> Unknown {
        match self {
            Self::Errno(errno) => {
                let error = io::Error::from_raw_os_error(errno);
                let reason = if unsupported(errno) {
                    Reason::NotFound
                } else {
                    reason(&error)
                };
                let needs = if errno == libc::EPERM {
                    ", needs CAP_NET_ADMIN"
                } else {
                    ""
                };
                Unknown::new(reason, format!("{what}: {error}{needs}"))
            }
            Self::Unasked(unknown) => unknown,
        }
    }
}

fn unsupported(errno: i32) -> bool {
    matches!(errno, libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)
}

impl Netlink {
    /// A socket to one part of the kernel, connected so that nobody but the kernel can answer on it.
    pub(super) fn open(protocol: i32, deadline: Instant) -> Result<Self, Unknown> {
        let open = || {
            let socket = Socket::new(
                Domain::from(libc::AF_NETLINK),
                Type::RAW,
                Some(Protocol::from(protocol)),
            )?;
            nix::sys::socket::connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = open().map_err(|error: io::Error| {
            let reason = if error.raw_os_error().is_some_and(unsupported) {
                Reason::NotFound
            } else {
                reason(&error)
            };
            Unknown::new(reason, format!("open a netlink socket of protocol {protocol}: {error}"))
        })?;
        Ok(Self {
            socket,
            deadline,
            sequence: 0,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Everything of one kind, each message reduced into a value that begins anew when the dump was disturbed.
    pub(super) fn dump<T: Default>(
        &mut self,
        what: &str,
        kind: u16,
        body: &[u8],
        mut each: impl FnMut(&mut T, &[u8]),
    ) -> Result<Dump<T>, Refusal> {
        let mut value = T::default();
        for _ in 1..ATTEMPTS {
            let interrupted = self.request(what, kind, NLM_F_REQUEST | NLM_F_DUMP, body, &mut |message| {
                each(&mut value, message);
            })?;
            if !interrupted {
                return Ok(Dump { value, interrupted });
            }
            value = T::default();
        }
        let interrupted = self.request(what, kind, NLM_F_REQUEST | NLM_F_DUMP, body, &mut |message| {
            each(&mut value, message);
        })?;
        Ok(Dump { value, interrupted })
    }

    /// One question with one answer.
    pub(super) fn ask(&mut self, what: &str, kind: u16, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut answer = None;
        self.request(what, kind, NLM_F_REQUEST, body, &mut |message| {
            answer = Some(message.to_vec());
        })?;
        answer.ok_or_else(|| {
            Refusal::Unasked(Unknown::not_found(format!(
                "{what}: the kernel acknowledged, and said nothing"
            )))
        })
    }

    /// Sends a request and hands on the payload of each message that answers it; whether it was interrupted.
    fn request(
        &mut self,
        what: &str,
        kind: u16,
        flags: u16,
        body: &[u8],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Refusal> {
        self.sequence += 1;
        let unasked = |error: &io::Error| Refusal::Unasked(Unknown::new(reason(error), format!("{what}: {error}")));
        self.socket
            .send(&request(kind, flags, self.sequence, body))
            .map_err(|error| unasked(&error))?;
        let mut interrupted = false;
        loop {
            in_time(self.deadline, what).map_err(Refusal::Unasked)?;
            let left = self.deadline.saturating_duration_since(Instant::now());
            self.socket
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .map_err(|error| unasked(&error))?;
            let length = match (&self.socket).read(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unasked(&error)),
            };
            let multiple = flags & NLM_F_DUMP != 0;
            match messages(&self.buffer[..length], self.sequence, multiple, &mut interrupted, each) {
                Ok(true) => return Ok(interrupted),
                Ok(false) => {}
                Err(Ended::Errno(errno)) => return Err(Refusal::Errno(errno)),
                Err(Ended::Malformed) => {
                    return Err(Refusal::Unasked(Unknown::new(
                        Reason::Unparsable,
                        format!("{what}: the kernel's answer is cut off"),
                    )));
                }
            }
        }
    }
}

/// Why the messages end before their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Errno(i32),
    Malformed,
}

/// Hands on the messages in one read; `true` when they were the last.
fn messages(
    mut bytes: &[u8],
    sequence: u32,
    multiple: bool,
    interrupted: &mut bool,
    each: &mut dyn FnMut(&[u8]),
) -> Result<bool, Ended> {
    while !bytes.is_empty() {
        let message = NetlinkBuffer::new_checked(bytes).map_err(|_| Ended::Malformed)?;
        let length = message.length() as usize;
        if message.sequence_number() == sequence {
            *interrupted |= message.flags() & INTERRUPTED != 0;
            match message.message_type() {
                kind @ (NLMSG_DONE | NLMSG_ERROR) => {
                    return match number(message.payload(), 0).map_or(0, u32::cast_signed) {
                        0 => Ok(true),
                        _ if kind == NLMSG_ERROR && message.payload().len() < 4 => Err(Ended::Malformed),
                        errno => Err(Ended::Errno(errno.saturating_neg())),
                    };
                }
                _ => each(message.payload()),
            }
            if !multiple {
                return Ok(true);
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + body.len()).expect("requests are a few bytes");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// The attributes in a message behind a header of so many bytes, up to the first that makes no sense.
pub(super) fn attributes(message: &[u8], header_bytes: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let attributes = message.get(header_bytes..).unwrap_or_default();
    NlasIterator::new(attributes).map_while(|attribute| {
        let attribute = attribute.ok()?;
        Some((
            attribute.kind(),
            attribute.into_inner().get(4..usize::from(attribute.length()))?,
        ))
    })
}

/// One attribute, for a request.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("attributes of requests are a few bytes");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A number in the machine's byte order at an offset.
pub(super) fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A number in network byte order.
pub(super) fn big_endian(bytes: &[u8]) -> Option<u32> {
    match *bytes {
        [a, b] => Some(u32::from(u16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    }
}

/// An address of either family; the unspecified one counts as none.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let ip = if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        IpAddr::V4(Ipv4Addr::from(octets))
    } else {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
    };
    (!ip.is_unspecified()).then_some(ip)
}

/// Text up to its first zero byte.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// For fuzzing: whatever the kernel says, reading it does not panic.
pub(super) fn fuzz(bytes: &[u8], each: &mut dyn FnMut(&[u8])) {
    let _ = messages(bytes, 1, true, &mut false, each);
    for (_, value) in attributes(bytes, 0) {
        let _ = (address(value), text(value), big_endian(value), number(value, 0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = request(kind, flags, sequence, payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn run(bytes: &[u8], multiple: bool) -> (Result<bool, Ended>, bool, Vec<Vec<u8>>) {
        let (mut interrupted, mut seen) = (false, Vec::new());
        let end = messages(bytes, 7, multiple, &mut interrupted, &mut |payload| {
            seen.push(payload.to_vec());
        });
        (end, interrupted, seen)
    }

    #[test]
    fn a_dump_ends_with_done_and_strangers_are_skipped() {
        let bytes = [
            message(24, 2, 7, b"one"),
            message(24, 2, 6, b"of another question"),
            message(NLMSG_DONE, 2, 7, &[0; 4]),
        ]
        .concat();
        assert_eq!(run(&bytes, true), (Ok(true), false, vec![b"one".to_vec()]));
    }

    #[test]
    fn a_dump_that_was_disturbed_says_so() {
        let bytes = [
            message(24, 2 | INTERRUPTED, 7, b"one"),
            message(NLMSG_DONE, 2, 7, &[0; 4]),
        ]
        .concat();
        assert_eq!(run(&bytes, true), (Ok(true), true, vec![b"one".to_vec()]));
    }

    #[test]
    fn an_error_is_an_error_number_in_a_dump_too() {
        let minus_one = (-1_i32).to_ne_bytes();
        assert_eq!(
            run(&message(NLMSG_ERROR, 0, 7, &minus_one), false).0,
            Err(Ended::Errno(libc::EPERM))
        );
        assert_eq!(
            run(&message(NLMSG_DONE, 0, 7, &minus_one), true).0,
            Err(Ended::Errno(libc::EPERM))
        );
    }

    #[test]
    fn half_a_message_is_no_message() {
        let bytes = message(24, 2, 7, b"12345678");
        assert_eq!(run(&bytes[..20], true).0, Err(Ended::Malformed));
        assert_eq!(run(&message(24, 2, 7, b"x"), true).0, Ok(false));
    }

    #[test]
    fn what_is_refused_for_want_of_privilege_is_forbidden() {
        let unknown = Refusal::Errno(libc::EPERM).into_unknown("ip xfrm policy");
        assert_eq!(unknown.reason, Reason::Forbidden);
        assert!(unknown.detail.starts_with("ip xfrm policy: "), "{unknown}");
        assert_eq!(
            Refusal::Errno(libc::EAFNOSUPPORT).into_unknown("").reason,
            Reason::NotFound
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = run(&bytes, true);
            for (_, value) in attributes(&bytes, 12) {
                let _ = (address(value), text(value), big_endian(value), number(value, 0));
            }
        }
    }
}
