//! What an error number or an ICMP message means. IPv4 and IPv6 differ: a filter's "prohibited" is error 113 there and 13 here.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use nix::libc;
use prejoin_checks::observation::{ErrorKind, NetworkError};

/// What an ICMP message (RFC 792, RFC 1812) or an ICMPv6 message (RFC 4443) says.
pub fn of_icmp(ipv6: bool, kind: u8, code: u8) -> ErrorKind {
    match (ipv6, kind, code) {
        (false, 3, 3) | (true, 1, 4) => ErrorKind::Refused,
        (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5 | 6) => ErrorKind::Prohibited,
        (false, 3, 1 | 7 | 8 | 12) | (true, 1, 2 | 3) => ErrorKind::HostUnreachable,
        (false, 3, 0 | 5 | 6 | 11) | (true, 1, 0) => ErrorKind::NetworkUnreachable,
        (false, 3, 2) | (true, 4, 1) => ErrorKind::ProtocolUnreachable,
        (false, 3, 4) | (true, 2, _) => ErrorKind::TooBig,
        (false, 11, _) | (true, 3, _) => ErrorKind::TimeExceeded,
        _ => ErrorKind::Other,
    }
}

/// What an error number alone says, where no ICMP message came with it.
pub fn of_errno(ipv6: bool, errno: i32) -> ErrorKind {
    match errno {
        libc::ECONNREFUSED => ErrorKind::Refused,
        // An ICMPv6 "administratively prohibited" is EACCES; over IPv4 the same number is a rule of the own host.
        libc::EACCES if ipv6 => ErrorKind::Prohibited,
        libc::EACCES | libc::EPERM => ErrorKind::LocallyForbidden,
        libc::EHOSTUNREACH | libc::EHOSTDOWN => ErrorKind::HostUnreachable,
        // EADDRNOTAVAIL: the kernel has no address of this family to send from.
        libc::ENETUNREACH | libc::ENETDOWN | libc::EADDRNOTAVAIL => ErrorKind::NetworkUnreachable,
        libc::ENOPROTOOPT => ErrorKind::ProtocolUnreachable,
        libc::EMSGSIZE => ErrorKind::TooBig,
        libc::ECONNRESET | libc::ECONNABORTED | libc::EPIPE => ErrorKind::Reset,
        _ => ErrorKind::Other,
    }
}

/// The errors that one probe met, the same ones counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors {
    counts: BTreeMap<Met, u32>,
}

/// One error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Met {
    /// What it was.
    pub kind: ErrorKind,
    /// Who said so.
    pub by: Option<IpAddr>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// The kernel's number.
    pub errno: Option<i32>,
}

impl Met {
    /// What a system call gave.
    pub fn of_call(ipv6: bool, error: &io::Error) -> Self {
        let errno = error.raw_os_error();
        Self {
            kind: errno.map_or(ErrorKind::Other, |errno| of_errno(ipv6, errno)),
            by: None,
            icmp: None,
            errno,
        }
    }

    /// What an ICMP message said.
    pub fn of_icmp(ipv6: bool, icmp: (u8, u8), by: Option<IpAddr>, errno: Option<i32>) -> Self {
        Self {
            kind: of_icmp(ipv6, icmp.0, icmp.1),
            by,
            icmp: Some(icmp),
            errno,
        }
    }
}

impl Errors {
    /// Kinds of errors that are kept apart for one probe; a peer that answers nonsense cannot fill the memory.
    const KEPT: usize = 32;

    /// One more.
    pub fn add(&mut self, met: Met) {
        if self.counts.len() < Self::KEPT || self.counts.contains_key(&met) {
            *self.counts.entry(met).or_default() += 1;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many of this kind.
    pub fn count(&self, kind: ErrorKind) -> u32 {
        self.counts
            .iter()
            .filter(|(met, _)| met.kind == kind)
            .map(|(_, count)| count)
            .sum()
    }

    /// All of them, most frequent first.
    pub fn list(&self) -> Vec<NetworkError> {
        let mut list: Vec<_> = self
            .counts
            .iter()
            .map(|(met, &count)| NetworkError {
                kind: met.kind,
                by: met.by,
                icmp: met.icmp,
                errno: met.errno,
                count,
            })
            .collect();
        list.sort_by_key(|error| std::cmp::Reverse(error.count));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icmp_messages_mean_what_the_standards_say() {
        let table = [
            (false, 3, 3, ErrorKind::Refused),
            (false, 3, 13, ErrorKind::Prohibited),
            (false, 3, 10, ErrorKind::Prohibited),
            (false, 3, 9, ErrorKind::Prohibited),
            (false, 3, 1, ErrorKind::HostUnreachable),
            (false, 3, 0, ErrorKind::NetworkUnreachable),
            (false, 3, 2, ErrorKind::ProtocolUnreachable),
            (false, 3, 4, ErrorKind::TooBig),
            (false, 11, 0, ErrorKind::TimeExceeded),
            (false, 5, 0, ErrorKind::Other),
            (true, 1, 4, ErrorKind::Refused),
            (true, 1, 1, ErrorKind::Prohibited),
            (true, 1, 5, ErrorKind::Prohibited),
            (true, 1, 6, ErrorKind::Prohibited),
            (true, 1, 3, ErrorKind::HostUnreachable),
            (true, 1, 0, ErrorKind::NetworkUnreachable),
            (true, 2, 0, ErrorKind::TooBig),
            (true, 3, 0, ErrorKind::TimeExceeded),
            (true, 4, 1, ErrorKind::ProtocolUnreachable),
            (true, 3, 3, ErrorKind::TimeExceeded),
        ];
        for (ipv6, kind, code, expected) in table {
            assert_eq!(of_icmp(ipv6, kind, code), expected, "IPv6 {ipv6}: {kind}/{code}");
        }
    }

    #[test]
    fn error_numbers_mean_different_things_over_ipv4_and_ipv6() {
        let table = [
            (111, ErrorKind::Refused, ErrorKind::Refused),
            (113, ErrorKind::HostUnreachable, ErrorKind::HostUnreachable),
            (101, ErrorKind::NetworkUnreachable, ErrorKind::NetworkUnreachable),
            (13, ErrorKind::LocallyForbidden, ErrorKind::Prohibited),
            (1, ErrorKind::LocallyForbidden, ErrorKind::LocallyForbidden),
            (90, ErrorKind::TooBig, ErrorKind::TooBig),
            (92, ErrorKind::ProtocolUnreachable, ErrorKind::ProtocolUnreachable),
            (104, ErrorKind::Reset, ErrorKind::Reset),
            (99, ErrorKind::NetworkUnreachable, ErrorKind::NetworkUnreachable),
            (110, ErrorKind::Other, ErrorKind::Other),
        ];
        for (errno, over_ipv4, over_ipv6) in table {
            assert_eq!(of_errno(false, errno), over_ipv4, "IPv4: {errno}");
            assert_eq!(of_errno(true, errno), over_ipv6, "IPv6: {errno}");
        }
    }

    #[test]
    fn the_same_error_is_counted_and_the_most_frequent_comes_first() {
        let router = Some(IpAddr::from([192, 0, 2, 1]));
        let mut errors = Errors::default();
        assert!(errors.is_empty());
        errors.add(Met::of_call(false, &io::Error::from_raw_os_error(1)));
        for _ in 0..3 {
            errors.add(Met::of_icmp(false, (3, 13), router, Some(113)));
        }
        let list = errors.list();
        assert_eq!(
            (list[0].kind, list[0].by, list[0].icmp, list[0].count),
            (ErrorKind::Prohibited, router, Some((3, 13)), 3)
        );
        assert_eq!(
            (list[1].kind, list[1].by, list[1].icmp, list[1].count),
            (ErrorKind::LocallyForbidden, None, None, 1)
        );
        assert_eq!(errors.count(ErrorKind::Prohibited), 3);
    }
}
