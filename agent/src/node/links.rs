//! Links and their addresses, as rtnetlink dumps them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use prejoin_checks::facts::kernel::{Link, LinkAddress, Tunnel};
use prejoin_checks::facts::provenance::Unknown;

use crate::node::netlink::{Netlink, address, attributes, big_endian, number, text};

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
/// `struct ifinfomsg`: family, padding, type (16 bits), index, flags, change.
const LINK_HEADER_BYTES: usize = 16;
/// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
const ADDRESS_HEADER_BYTES: usize = 8;

const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_SECONDARY: u8 = 1;
const AF_INET: u8 = 2;

/// All links in index order, each with its addresses in the kernel's order.
pub(super) fn read(netlink: &mut Netlink) -> Result<Vec<Link>, Unknown> {
    let what = "list links";
    let links = netlink.dump(
        what,
        RTM_GETLINK,
        &[0; LINK_HEADER_BYTES],
        |links: &mut Vec<Link>, message| links.extend(link(message)),
    );
    let mut links = links.map_err(|refusal| refusal.into_unknown(what))?.whole(what)?;
    links.sort_by_key(|link| link.index);

    let what = "list addresses";
    let addresses = netlink.dump(
        what,
        RTM_GETADDR,
        &[0; ADDRESS_HEADER_BYTES],
        |addresses: &mut BTreeMap<u32, Vec<LinkAddress>>, message| {
            if let Some((index, address)) = link_address(message) {
                addresses.entry(index).or_default().push(address);
            }
        },
    );
    let mut addresses = addresses.map_err(|refusal| refusal.into_unknown(what))?.whole(what)?;
    for link in &mut links {
        link.addresses = addresses.remove(&link.index).unwrap_or_default();
    }
    Ok(links)
}

/// One link of an `RTM_NEWLINK` message; none if the message has no name in it.
fn link(message: &[u8]) -> Option<Link> {
    let index = number(message, 4)?;
    let flags = number(message, 8)?;
    let mut link = Link {
        index,
        up: flags & IFF_UP != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(message, LINK_HEADER_BYTES) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = number(value, 0)?,
            IFLA_ADDRESS => link.mac = mac(value),
            IFLA_MASTER => link.master = number(value, 0).filter(|index| *index != 0),
            IFLA_OPERSTATE => oper_state(value.first().copied().unwrap_or_default()).clone_into(&mut link.oper_state),
            IFLA_LINKINFO => {
                let info = |wanted| {
                    attributes(value, 0)
                        .find(|(kind, _)| *kind == wanted)
                        .map(|(_, value)| value)
                };
                link.kind = info(IFLA_INFO_KIND).map(text).unwrap_or_default();
                link.tunnel = tunnel(&link.kind, info(IFLA_INFO_DATA).unwrap_or_default());
            }
            _ => {}
        }
    }
    if link.kind.is_empty() && flags & IFF_LOOPBACK != 0 {
        "loopback".clone_into(&mut link.kind);
    }
    (!link.name.is_empty()).then_some(link)
}

/// Where a kind of tunnel has its settings, as attribute numbers: `IFLA_VXLAN_*`, `IFLA_GENEVE_*`, `IFLA_IPTUN_*`, `IFLA_GRE_*`, ...
#[derive(Debug, Default)]
struct TunnelAttributes {
    lower: Option<u16>,
    id: Option<u16>,
    local: &'static [u16],
    remote: &'static [u16],
    port: Option<u16>,
    /// Set when identifier and peers come with each packet.
    by_metadata: Option<u16>,
    /// Whether the identifier is in network byte order.
    big_endian: bool,
}

fn tunnel(kind: &str, data: &[u8]) -> Option<Tunnel> {
    let numbers = match kind {
        "vxlan" => TunnelAttributes {
            lower: Some(3),
            id: Some(1),
            local: &[4, 17],
            remote: &[2, 16],
            port: Some(15),
            by_metadata: Some(25),
            big_endian: false,
        },
        "geneve" => TunnelAttributes {
            id: Some(1),
            remote: &[2, 7],
            port: Some(5),
            by_metadata: Some(6),
            ..TunnelAttributes::default()
        },
        "ipip" | "sit" | "ip6tnl" => TunnelAttributes {
            lower: Some(1),
            local: &[2],
            remote: &[3],
            by_metadata: Some(19),
            ..TunnelAttributes::default()
        },
        "gre" | "gretap" | "ip6gre" | "ip6gretap" | "erspan" | "ip6erspan" => TunnelAttributes {
            lower: Some(1),
            id: Some(5),
            local: &[6],
            remote: &[7],
            by_metadata: Some(18),
            big_endian: true,
            ..TunnelAttributes::default()
        },
        "vti" | "vti6" => TunnelAttributes {
            lower: Some(1),
            id: Some(3),
            local: &[4],
            remote: &[5],
            big_endian: true,
            ..TunnelAttributes::default()
        },
        "xfrm" => TunnelAttributes {
            lower: Some(1),
            id: Some(2),
            ..TunnelAttributes::default()
        },
        // Port, keys and peers of WireGuard are behind another door, for CAP_NET_ADMIN only.
        "wireguard" => TunnelAttributes::default(),
        _ => return None,
    };
    let mut tunnel = Tunnel::default();
    let mut by_metadata = false;
    for (kind, value) in attributes(data, 0) {
        let is = |wanted: Option<u16>| wanted == Some(kind);
        if is(numbers.lower) {
            tunnel.lower = number(value, 0).filter(|index| *index != 0);
        } else if is(numbers.id) {
            tunnel.id = if numbers.big_endian {
                big_endian(value)
            } else {
                number(value, 0)
            };
        } else if is(numbers.port) {
            tunnel.port = big_endian(value).and_then(|port| u16::try_from(port).ok());
        } else if is(numbers.by_metadata) {
            // A flag without a value in some kinds, a byte in others.
            by_metadata = value.first() != Some(&0);
        } else if numbers.local.contains(&kind) {
            tunnel.local = tunnel.local.or(address(value));
        } else if numbers.remote.contains(&kind) {
            tunnel.remote = tunnel.remote.or(address(value));
        }
    }
    if by_metadata {
        tunnel.id = None;
    }
    Some(tunnel)
}

/// One address of an `RTM_NEWADDR` message with the index of its link.
fn link_address(message: &[u8]) -> Option<(u32, LinkAddress)> {
    let &[family, prefix_len, flags, scope, ..] = message else {
        return None;
    };
    let index = number(message, 4)?;
    let find = |wanted| {
        attributes(message, ADDRESS_HEADER_BYTES)
            .find(|(kind, _)| *kind == wanted)
            .and_then(|(_, value)| address(value))
    };
    // Between two ends the other attribute is the other end's address.
    let ip: IpAddr = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
    let address = LinkAddress {
        ip,
        prefix_len,
        scope: scope_name(scope),
        // IPv6 has another meaning for the same bit: a temporary address.
        secondary: family == AF_INET && flags & IFA_F_SECONDARY != 0,
    };
    Some((index, address))
}

fn scope_name(scope: u8) -> String {
    match scope {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        other => other.to_string(),
    }
}

fn oper_state(state: u8) -> &'static str {
    match state {
        1 => "notpresent",
        2 => "down",
        3 => "lowerlayerdown",
        4 => "testing",
        5 => "dormant",
        6 => "up",
        _ => "unknown",
    }
}

/// `aa:bb:cc:dd:ee:ff`; a tunnel has an IP address in its place and a loopback zeros, which count as none.
fn mac(bytes: &[u8]) -> String {
    if bytes.len() != 6 || bytes.iter().all(|byte| *byte == 0) {
        return String::new();
    }
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

/// Names and MTUs of links by index.
#[derive(Debug, Default)]
pub(super) struct LinkTable<'a>(BTreeMap<u32, &'a Link>);

impl<'a> LinkTable<'a> {
    pub(super) fn new(links: &'a [Link]) -> Self {
        Self(links.iter().map(|link| (link.index, link)).collect())
    }

    /// The name; a link that is not in the list is called `if7`, as iproute2 does.
    pub(super) fn name(&self, index: u32) -> String {
        self.0
            .get(&index)
            .map_or_else(|| format!("if{index}"), |link| link.name.clone())
    }

    pub(super) fn mtu(&self, index: u32) -> Option<u32> {
        self.0.get(&index).map(|link| link.mtu)
    }

    /// Which kinds of links there are.
    pub(super) fn kinds(&self) -> BTreeSet<String> {
        let kinds = self.0.values().map(|link| &link.kind);
        kinds.filter(|kind| !kind.is_empty()).cloned().collect()
    }
}

/// For fuzzing: whatever the kernel says, reading it does not panic.
pub(super) fn fuzz(message: &[u8]) {
    let _ = (link(message), link_address(message));
    for kind in ["vxlan", "geneve", "gre", "ipip", "xfrm", "vti"] {
        let _ = tunnel(kind, message);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::netlink::attribute;

    fn header(index: u32, flags: u32) -> Vec<u8> {
        let mut bytes = vec![0; LINK_HEADER_BYTES];
        bytes[4..8].copy_from_slice(&index.to_ne_bytes());
        bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
        bytes
    }

    fn vxlan(data: &[Vec<u8>]) -> Option<Tunnel> {
        let info = [
            attribute(IFLA_INFO_KIND, b"vxlan\0"),
            attribute(IFLA_INFO_DATA | 0x8000, &data.concat()),
        ]
        .concat();
        let message = [
            header(9, IFF_UP),
            attribute(IFLA_IFNAME, b"vx-submariner\0"),
            attribute(IFLA_LINKINFO, &info),
        ]
        .concat();
        link(&message).expect("a link").tunnel
    }

    #[test]
    fn a_vxlan_link_tells_port_id_ends_and_what_is_below() {
        let tunnel = vxlan(&[
            attribute(1, &100_u32.to_ne_bytes()),
            attribute(3, &2_u32.to_ne_bytes()),
            attribute(4, &[240, 0, 0, 1]),
            attribute(15, &4800_u16.to_be_bytes()),
        ]);
        let expected = Tunnel {
            port: Some(4800),
            id: Some(100),
            local: Some(IpAddr::from([240, 0, 0, 1])),
            remote: None,
            lower: Some(2),
        };
        assert_eq!(tunnel, Some(expected));
    }

    #[test]
    fn an_identifier_that_comes_with_each_packet_is_none() {
        let tunnel = vxlan(&[attribute(1, &0_u32.to_ne_bytes()), attribute(25, &[1])]).expect("a tunnel");
        assert_eq!(tunnel.id, None);
        let tunnel = vxlan(&[attribute(1, &0_u32.to_ne_bytes()), attribute(25, &[0])]).expect("a tunnel");
        assert_eq!(tunnel.id, Some(0));
    }

    #[test]
    fn the_loopback_link_has_its_kind_and_no_mac() {
        let message = [
            header(1, IFF_UP | IFF_LOOPBACK),
            attribute(IFLA_IFNAME, b"lo\0"),
            attribute(IFLA_ADDRESS, &[0; 6]),
            attribute(IFLA_MTU, &65536_u32.to_ne_bytes()),
        ];
        let link = link(&message.concat()).expect("a link");
        assert_eq!(
            (
                link.name.as_str(),
                link.kind.as_str(),
                link.mac.as_str(),
                link.mtu,
                link.up
            ),
            ("lo", "loopback", "", 65536, true)
        );
    }

    #[test]
    fn an_odd_name_stays_what_it_is() {
        let message = [header(3, 0), attribute(IFLA_IFNAME, b"eth0.100@\xff\0")].concat();
        assert_eq!(link(&message).expect("a link").name, "eth0.100@\u{fffd}");
    }

    #[test]
    fn between_two_ends_the_local_address_counts() {
        let message = [
            vec![AF_INET, 32, IFA_F_SECONDARY, 253, 5, 0, 0, 0],
            attribute(IFA_ADDRESS, &[10, 0, 0, 2]),
            attribute(IFA_LOCAL, &[10, 0, 0, 1]),
        ]
        .concat();
        let (_, address) = link_address(&message).expect("an address");
        assert_eq!(
            (address.ip, address.scope.as_str(), address.secondary),
            (IpAddr::from([10, 0, 0, 1]), "link", true)
        );
    }

    #[test]
    fn a_temporary_ipv6_address_is_not_secondary() {
        let message = [
            vec![10, 64, IFA_F_SECONDARY, 0, 5, 0, 0, 0],
            attribute(IFA_ADDRESS, &[0xfd; 16]),
        ]
        .concat();
        assert!(!link_address(&message).expect("an address").1.secondary);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in "vxlan|geneve|gre|ipip|xfrm|vti|x") {
            let _ = (link(&bytes), link_address(&bytes), tunnel(&kind, &bytes));
        }

        #[test]
        fn a_message_cut_anywhere_does_not_panic(cut in 0_usize..120) {
            let message = [header(3, 1), attribute(IFLA_IFNAME, b"eth0\0"), attribute(IFLA_MTU, &[1, 2, 3, 4]), attribute(IFLA_LINKINFO, &attribute(1, b"vxlan\0"))].concat();
            let _ = link(&message[..cut.min(message.len())]);
        }
    }
}
