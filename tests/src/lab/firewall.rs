//! A host's own firewall: one nf_tables chain on the way in, behind the place where packet sockets look.
//!
//! The few netlink messages that takes are written here, so that no `nft` needs to be installed.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, bail};
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use super::fault::Port;

/// What the firewall does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Says nothing.
    Drop,
    /// Says that it is prohibited.
    Reject,
}

const TABLE: &str = "lab";
const CHAIN: &str = "input";

// linux/netfilter/nfnetlink.h and nf_tables.h.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 10 << 8;
const DELETE_TABLE: u16 = (10 << 8) | 2;
const NEW_CHAIN: u16 = (10 << 8) | 3;
const NEW_RULE: u16 = (10 << 8) | 6;
const FAMILY_INET: u8 = 1;
const NLA_NESTED: u16 = 0x8000;

/// Closes a port of the host whose namespace this runs in.
pub(super) fn close(port: Port, way: Way) -> anyhow::Result<()> {
    let (protocol, port) = match port {
        Port::Tcp(port) => (6, port),
        Port::Udp(port) => (17, port),
    };
    let hook = nested(4, &[number(1, libc::NF_INET_LOCAL_IN.cast_unsigned()), number(2, 0)]);
    let verdict = match way {
        Way::Drop => expression("immediate", &[number(1, 0), nested(2, &[nested(2, &[number(1, 0)])])]),
        // ICMPX: the code fits whichever family the packet is of; 3 is "administratively prohibited".
        Way::Reject => expression("reject", &[number(1, 2), attribute(2, &[3])]),
    };
    let matches = [
        expression("meta", &[number(1, 1), number(2, 16)]),
        equals(&[protocol]),
        // Two bytes at offset 2 of the transport header: the destination port.
        expression("payload", &[number(1, 1), number(2, 2), number(3, 2), number(4, 2)]),
        equals(&port.to_be_bytes()),
    ];
    let expressions = nested(4, &[&matches[..], &[verdict]].concat());
    send(&[
        (NEW_TABLE, text(1, TABLE)),
        (
            NEW_CHAIN,
            [text(1, TABLE), text(3, CHAIN), hook, text(7, "filter")].concat(),
        ),
        (NEW_RULE, [text(1, TABLE), text(2, CHAIN), expressions].concat()),
    ])
}

/// Takes the firewall away.
pub(super) fn open() -> anyhow::Result<()> {
    send(&[(DELETE_TABLE, text(1, TABLE))])
}

/// Sends what comes in by this link, and goes out by another, with that other's address: pods are their node to everybody else.
pub(crate) fn masquerade(from: &str) -> anyhow::Result<()> {
    const TABLE: &str = "masquerade";
    const CHAIN: &str = "postrouting";
    // NFT_META_IIFNAME and NFT_META_OIFNAME; names are compared as 16 bytes.
    const CAME_BY: u32 = 6;
    const GOES_BY: u32 = 7;
    let mut name = from.as_bytes().to_vec();
    name.resize(16, 0);
    let link = |key| expression("meta", &[number(1, 1), number(2, key)]);
    let is_not = expression("cmp", &[number(1, 1), number(2, 1), nested(3, &[attribute(1, &name)])]);
    let rule = [
        link(CAME_BY),
        equals(&name),
        link(GOES_BY),
        is_not,
        expression("masq", &[]),
    ];
    let hook = nested(
        4,
        &[number(1, libc::NF_INET_POST_ROUTING.cast_unsigned()), number(2, 100)],
    );
    send(&[
        (NEW_TABLE, text(1, TABLE)),
        (
            NEW_CHAIN,
            [text(1, TABLE), text(3, CHAIN), hook, text(7, "nat")].concat(),
        ),
        (NEW_RULE, [text(1, TABLE), text(2, CHAIN), nested(4, &rule)].concat()),
    ])
}

/// Sends all as one batch: all of it counts, or nothing.
fn send(messages: &[(u16, Vec<u8>)]) -> anyhow::Result<()> {
    let mut bytes = message(BATCH_BEGIN, 0, 0, &[]);
    for (kind, attributes) in messages {
        bytes.extend(message(
            *kind,
            FAMILY_INET,
            libc::NLM_F_ACK | libc::NLM_F_CREATE,
            attributes,
        ));
    }
    bytes.extend(message(BATCH_END, 0, 0, &[]));
    let protocol = Protocol::from(libc::NETLINK_NETFILTER);
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))
        .context("this kernel has no nf_tables")?;
    socket.write_all(&bytes)?;
    let mut answers = vec![0; 65_536];
    let mut outstanding = messages.len();
    while outstanding > 0 {
        let length = socket.read(&mut answers)?;
        let mut rest = &answers[..length];
        while rest.len() >= 20 {
            let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let error = i32::from_ne_bytes([rest[16], rest[17], rest[18], rest[19]]);
            if error != 0 {
                bail!("nf_tables: {}", std::io::Error::from_raw_os_error(-error));
            }
            outstanding = outstanding.saturating_sub(1);
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(())
}

fn message(kind: u16, family: u8, flags: i32, attributes: &[u8]) -> Vec<u8> {
    let flags = u16::try_from(flags | libc::NLM_F_REQUEST).expect("flags are 16 bits");
    let length = u32::try_from(20 + attributes.len()).expect("a message is small");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    // nfgenmsg: the resource is the subsystem, 10, for the ends of a batch.
    let resource: u16 = if kind == BATCH_BEGIN || kind == BATCH_END {
        10
    } else {
        0
    };
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("an attribute is small");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NLA_NESTED, &attributes.concat())
}

fn expression(name: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, attributes)])
}

fn equals(value: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, 1), number(2, 0), nested(3, &[attribute(1, value)])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_not_counted_so() {
        assert_eq!(attribute(2, &[3]), [[5, 0], [2, 0], [3, 0], [0, 0]].concat());
        assert_eq!(text(1, "lab"), [[8, 0], [1, 0], *b"la", *b"b\0"].concat());
    }
}
