//! Sockets that hold a port, from `/proc/net`: those of the whole network namespace, the kernel's own among them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prejoin_checks::facts::kernel::BoundSocket;
use prejoin_checks::facts::provenance::{Reason, Unknown};

use crate::node::programs;
use crate::node::tree::Tree;

/// `TCP_LISTEN`
const LISTEN: &str = "0A";

/// TCP sockets that listen and UDP sockets that are bound; several that share a port and an owner are one.
pub(super) fn read(tree: &Tree) -> Result<Vec<BoundSocket>, Unknown> {
    let mut inodes: BTreeMap<BoundSocket, u64> = BTreeMap::new();
    for (file, protocol) in [("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp")] {
        let path = format!("/proc/net/{file}");
        let mut broken = None;
        let mut first = true;
        let read = tree.lines(&path, |line| {
            if !std::mem::take(&mut first) {
                match socket(line, protocol) {
                    Some(Row::Holds(socket, inode)) => {
                        inodes.entry(socket).or_insert(inode);
                    }
                    Some(Row::HoldsNone) => {}
                    None => {
                        broken = broken
                            .take()
                            .or_else(|| Some(line.chars().take(80).collect::<String>()));
                    }
                }
            }
        });
        match read {
            // A kernel without IPv6 has no such file.
            Err(unknown) if unknown.reason == Reason::NotFound && file.ends_with('6') => continue,
            read => read?,
        }
        if let Some(line) = broken {
            return Err(Unknown::new(
                Reason::Unparsable,
                format!("{path}: `{line}` makes no sense"),
            ));
        }
    }
    let wanted: BTreeSet<u64> = inodes.values().copied().filter(|inode| *inode != 0).collect();
    let programs = programs::of_sockets(tree, &wanted);
    let named = inodes.into_iter().map(|(socket, inode)| BoundSocket {
        program: programs.get(&inode).cloned().unwrap_or_default(),
        ..socket
    });
    Ok(named.collect())
}

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Row {
    /// A socket that holds a port, and its inode; 0 for one of the kernel.
    Holds(BoundSocket, u64),
    /// A connection, or no port.
    HoldsNone,
}

/// A line but the first: number, local address, remote address, state, queues, timer, retransmissions, user id, timeout, inode, ...
fn socket(line: &str, protocol: &str) -> Option<Row> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    let (address, port) = (self::address(address)?, u16::from_str_radix(port, 16).ok()?);
    let state = words.nth(1)?;
    let uid = words.nth(3)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    if port == 0 || (protocol == "tcp" && state != LISTEN) {
        return Some(Row::HoldsNone);
    }
    let socket = BoundSocket {
        protocol: protocol.to_owned(),
        address,
        port,
        uid,
        program: String::new(),
    };
    Some(Row::Holds(socket, inode))
}

/// Groups of four bytes, each written as a number of this machine. A mapped IPv4 address is one of IPv4.
fn address(digits: &str) -> Option<IpAddr> {
    let group = |start: usize| {
        Some(
            u32::from_str_radix(digits.get(start..start + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    match digits.len() {
        8 => Some(Ipv4Addr::from(group(0)?).into()),
        32 => {
            let mut octets = [0; 16];
            for (index, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&group(index * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())
        }
        _ => None,
    }
}

/// For fuzzing: whatever the kernel says, reading it does not panic.
pub(super) fn fuzz(line: &str) {
    let _ = (socket(line, "tcp"), address(line));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    const HEADER: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn read_files(files: &[(&str, String)]) -> Result<Vec<BoundSocket>, Unknown> {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("proc/net")).expect("made");
        for (name, text) in files {
            fs::write(root.path().join("proc/net").join(name), text).expect("written");
        }
        read(&Tree::new(root.path(), Instant::now() + Duration::from_secs(60)))
    }

    fn held(protocol: &str, address: &str, port: u16, uid: u32) -> BoundSocket {
        BoundSocket {
            protocol: protocol.to_owned(),
            address: address.parse().expect("an address"),
            port,
            uid,
            program: String::new(),
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_and_bound_sockets_of_both_families() {
        let tcp = "   0: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17021 1 0000000000000000 100 0 0 10 0\n   1: 020200C0:8F4E 010200C0:01BB 01 00000000:00000000 00:00000000 00000000  1000        0 20 1 0000000000000000 20 4 30 10 -1\n";
        let tcp6 = "   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 17022 1 0000000000000000 100 0 0 10 0\n   1: 0000000000000000FFFF00000100007F:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17023 1 0000000000000000 100 0 0 10 0\n";
        let udp = "  912: 00000000:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0000000000000000 0\n";
        let files = [("tcp", tcp), ("tcp6", tcp6), ("udp", udp), ("udp6", "")]
            .map(|(name, text)| (name, format!("{HEADER}{text}")));
        let expected = vec![
            held("tcp", "127.0.0.1", 631, 0),
            held("tcp", "127.0.0.1", 8081, 0),
            held("tcp", "::1", 8080, 101),
            held("udp", "0.0.0.0", 8472, 0),
        ];
        assert_eq!(read_files(&files), Ok(expected));
    }

    #[test]
    fn a_kernel_without_ipv6_has_its_sockets_all_the_same() {
        let files = [("tcp", HEADER.to_owned()), ("udp", HEADER.to_owned())];
        assert_eq!(read_files(&files), Ok(Vec::new()));
        assert_eq!(read_files(&files[..1]).unwrap_err().reason, Reason::NotFound);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_not_left_out_in_silence() {
        let cut = "   0: 0100007F:0277 00000000:0000 0A 0000";
        let files = [("tcp", format!("{HEADER}{cut}")), ("udp", HEADER.to_owned())];
        let unknown = read_files(&files).unwrap_err();
        assert_eq!(unknown.reason, Reason::Unparsable);
        assert!(unknown.detail.contains("/proc/net/tcp"), "{unknown}");
    }

    #[test]
    fn workers_that_share_a_port_are_one() {
        let line = |inode| {
            format!(
                "   0: 00000000:1194 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 {inode} 2 0 0\n"
            )
        };
        let files = [
            ("tcp", HEADER.to_owned()),
            ("udp", format!("{HEADER}{}{}", line(7), line(8))),
        ];
        assert_eq!(read_files(&files).map(|sockets| sockets.len()), Ok(1));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC{0,80}", digits in "[0-9A-F:é ]{0,70}") {
            let _ = (socket(&line, "tcp"), socket(&digits, "udp"), address(&digits), address(&line));
        }
    }
}
