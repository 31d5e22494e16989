//! Who holds a port that could not be bound, as far as `/proc` shows it to this process.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use prejoin_checks::plan::Service;

/// The holder as `cilium-agent (pid 812)`; empty where it cannot be seen: a kernel's own socket, another PID namespace.
pub(super) fn of(service: Service, address: IpAddr) -> String {
    let (tables, port) = match service {
        Service::Tcp(port) => (["tcp", "tcp6"], port),
        Service::Udp(port) => (["udp", "udp6"], port),
        Service::IpProtocol(_) | Service::IcmpEcho => return String::new(),
    };
    let inodes: Vec<_> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok())
        .flat_map(|table| sockets_on(&table, port, address))
        .collect();
    if inodes.is_empty() {
        String::new()
    } else {
        process_with(&inodes).unwrap_or_default()
    }
}

/// Inodes of the sockets of a `/proc/net` table that hold this port, on this address or on all.
fn sockets_on(table: &str, port: u16, address: IpAddr) -> Vec<u64> {
    let holds = |line: &str| {
        let mut fields = line.split_whitespace();
        let (local, held) = fields.nth(1)?.split_once(':')?;
        let state = fields.nth(1)?;
        let inode: u64 = fields.nth(5)?.parse().ok()?;
        let local = parse_address(local)?;
        let here = local.is_unspecified() || local == address || address.is_unspecified();
        // 0A: a TCP socket that listens; 07: a UDP socket.
        (here && u16::from_str_radix(held, 16).ok()? == port && matches!(state, "0A" | "07") && inode != 0)
            .then_some(inode)
    };
    table.lines().skip(1).filter_map(holds).collect()
}

/// An address as `/proc/net` writes it: words in the host's byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = text
        .as_bytes()
        .chunks(8)
        .map(|word| {
            Some(
                u32::from_str_radix(std::str::from_utf8(word).ok()?, 16)
                    .ok()?
                    .to_ne_bytes(),
            )
        })
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [word] => Some(Ipv4Addr::from(*word).into()),
        [_, _, _, _] => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?)).to_canonical()),
        _ => None,
    }
}

fn process_with(inodes: &[u64]) -> Option<String> {
    let names: Vec<_> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let holds = |descriptor: &Path| {
            fs::read_link(descriptor)
                .is_ok_and(|link| link.to_str().is_some_and(|link| names.iter().any(|name| name == link)))
        };
        // A process of somebody else, or one that has just ended.
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        if descriptors.flatten().any(|descriptor| holds(&descriptor.path())) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  10: 0100007F:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4001 2 0 0
  11: 00000000:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4002 2 0 0
  12: 00000000:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0 0
  13: 00000000:2119 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4003 2 0 0
  junk
";

    #[test]
    #[cfg(target_endian = "little")]
    fn holders_are_found_by_port_and_address() {
        let on = |address: &str| sockets_on(TABLE, 8472, address.parse().unwrap());
        assert_eq!(on("127.0.0.1"), [4001, 4002]);
        assert_eq!(
            on("192.0.2.1"),
            [4002],
            "0.0.0.0 holds every address; the kernel's own socket has no inode"
        );
        assert_eq!(
            parse_address("B80D0120000000000000000001000000"),
            "2001:db8::1".parse().ok()
        );
        assert_eq!(
            parse_address("0000000000000000FFFF00000100007F"),
            "127.0.0.1".parse().ok()
        );
        assert_eq!(parse_address("é"), None);
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let holder = of(Service::Udp(port), "127.0.0.1".parse().unwrap());
        assert!(holder.contains(&format!("(pid {})", std::process::id())), "{holder}");
        drop(socket);
        assert_eq!(of(Service::Udp(port), "127.0.0.1".parse().unwrap()), "");
    }
}
