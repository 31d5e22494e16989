//! Routes of all tables, cut where a table has very many, and the route the kernel would take to an address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use prejoin_checks::facts::kernel::{ChosenRoute, PathTo, Route};
use prejoin_checks::facts::provenance::{Known, Reason, Source, Unknown};

use crate::node::links::LinkTable;
use crate::node::netlink::{Netlink, Refusal, address, attribute, attributes, number};

const RTM_GETROUTE: u16 = 26;
/// `struct rtmsg`: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
const HEADER_BYTES: usize = 12;
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

/// A route that the kernel keeps for itself, as one with an MTU learned from ICMP.
const RTM_F_CLONED: u32 = 0x200;
/// Ask for the table in which the route was found.
const RTM_F_LOOKUP_TABLE: u32 = 0x1000;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTAX_MTU: u16 = 2;

/// The most routes of one table and family that are kept.
const ROUTES_OF_A_TABLE: u32 = 1_000;
/// The most routes of all tables of a family that are kept: ten thousand tables are as bad as one with a million routes.
const ROUTES_OF_A_FAMILY: usize = 20_000;
/// The most default routes of one table and family that are kept, wherever in the table they stand.
const DEFAULTS_OF_A_TABLE: u32 = 64;

/// The routes that are kept, and the tables that have more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Routes {
    pub(super) routes: Vec<Route>,
    pub(super) cut_tables: Vec<u32>,
}

pub(super) fn read(netlink: &mut Netlink, links: &LinkTable<'_>) -> Result<Routes, Unknown> {
    let mut all = Routes::default();
    for family in [AF_INET, AF_INET6] {
        let what = if family == AF_INET {
            "list IPv4 routes"
        } else {
            "list IPv6 routes"
        };
        let mut header = [0; HEADER_BYTES];
        header[0] = family;
        let dump = netlink.dump(what, RTM_GETROUTE, &header, |kept: &mut Kept, message| {
            kept.take(family, message, links);
        });
        let dump = match dump {
            Err(refusal) if family == AF_INET6 && refusal.is_unsupported() => continue,
            dump => dump.map_err(|refusal| refusal.into_unknown(what))?,
        };
        let kept = dump.value;
        let cut = if dump.interrupted {
            kept.counts.into_keys().collect()
        } else {
            kept.cut
        };
        all.routes.extend(kept.routes);
        all.cut_tables.extend(cut);
    }
    all.cut_tables.sort_unstable();
    all.cut_tables.dedup();
    Ok(all)
}

/// What is kept of one family.
#[derive(Debug, Default)]
struct Kept {
    routes: Vec<Route>,
    /// Routes of each table that are kept, and default routes among them.
    counts: BTreeMap<u32, (u32, u32)>,
    cut: BTreeSet<u32>,
}

impl Kept {
    fn take(&mut self, family: u8, message: &[u8], links: &LinkTable<'_>) {
        // Without a dump of its own for the family the kernel answers with all families.
        if message.first() != Some(&family) || number(message, 8).is_none_or(|flags| flags & RTM_F_CLONED != 0) {
            return;
        }
        let table = table(message);
        let is_default = message.get(1) == Some(&0);
        let (routes, defaults) = self.counts.entry(table).or_default();
        let room = if is_default {
            *defaults < DEFAULTS_OF_A_TABLE
        } else {
            *routes < ROUTES_OF_A_TABLE && self.routes.len() < ROUTES_OF_A_FAMILY
        };
        if !room {
            self.cut.insert(table);
            return;
        }
        *(if is_default { defaults } else { routes }) += 1;
        self.routes.extend(route(message, links));
    }
}

/// The table is a byte in the header, and an attribute for those above 255.
fn table(message: &[u8]) -> u32 {
    let attribute = attributes(message, HEADER_BYTES).find(|(kind, _)| *kind == RTA_TABLE);
    let header = || message.get(4).copied().unwrap_or_default().into();
    attribute.and_then(|(_, value)| number(value, 0)).unwrap_or_else(header)
}

/// The route in an `RTM_NEWROUTE` message.
fn route(message: &[u8], links: &LinkTable<'_>) -> Option<Route> {
    let &[family, prefix_len, _, _, _, protocol, _, kind, ..] = message else {
        return None;
    };
    let mut destination = if family == AF_INET {
        IpAddr::from([0; 4])
    } else {
        IpAddr::from([0; 16])
    };
    let mut route = Route {
        table: table(message),
        kind: kind_name(kind),
        protocol: protocol_name(protocol),
        ..Route::default()
    };
    for (kind, value) in attributes(message, HEADER_BYTES) {
        match kind {
            RTA_DST => destination = address(value).unwrap_or(destination),
            RTA_OIF => route.link = links.name(number(value, 0)?),
            RTA_GATEWAY => route.gateway = address(value),
            RTA_VIA => route.gateway = via(value),
            RTA_PRIORITY => route.metric = number(value, 0)?,
            RTA_PREFSRC => route.source = address(value),
            RTA_METRICS => route.mtu = metrics_mtu(value),
            RTA_MULTIPATH => route.next_hops = next_hops(value),
            _ => {}
        }
    }
    route.destination = format!("{destination}/{prefix_len}");
    Some(route)
}

/// A next hop of the other family: the family in two bytes, then the address.
fn via(value: &[u8]) -> Option<IpAddr> {
    address(value.get(2..)?)
}

fn metrics_mtu(metrics: &[u8]) -> Option<u32> {
    attributes(metrics, 0)
        .find(|(kind, _)| *kind == RTAX_MTU)
        .and_then(|(_, value)| number(value, 0))
}

/// Each next hop begins with its own length.
fn next_hops(mut value: &[u8]) -> u32 {
    let mut count = 0;
    while let Some(length) = value.first_chunk().map(|bytes| usize::from(u16::from_ne_bytes(*bytes))) {
        if length < 8 || length > value.len() {
            break;
        }
        count += 1;
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    count
}

/// Asks the kernel how it would send to each address; nothing is sent.
pub(super) fn paths_to(netlink: &mut Result<Netlink, Unknown>, peers: &[IpAddr], links: &LinkTable<'_>) -> Vec<PathTo> {
    let path = |to: &IpAddr| {
        let route = super::with(netlink, |netlink| path_to(netlink, *to, links));
        let route = route.map(|route| Known::new(route, Source::read(format!("ip route get {to}"), "")));
        PathTo {
            to: *to,
            route: route.into(),
        }
    };
    peers.iter().map(path).collect::<Vec<PathTo>>()
}

fn path_to(netlink: &mut Netlink, to: IpAddr, links: &LinkTable<'_>) -> Result<ChosenRoute, Unknown> {
    let what = format!("ip route get {to}");
    let (family, octets) = match to {
        IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
    };
    let mut body = vec![0; HEADER_BYTES];
    body[0] = family;
    body[1] = u8::try_from(octets.len() * 8).expect("an address has 32 or 128 bits");
    body[8..12].copy_from_slice(&RTM_F_LOOKUP_TABLE.to_ne_bytes());
    body.extend(attribute(RTA_DST, &octets));
    let answer = netlink
        .ask(&what, RTM_GETROUTE, &body)
        .map_err(|refusal| no_route(refusal, &what))?;
    chosen(&answer, links, &what)
}

/// That there is no way is an answer: the kernel gives it as an error.
fn no_route(refusal: Refusal, what: &str) -> Unknown {
    use nix::libc::{EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH};
    match refusal {
        // A blackhole, an unreachable and a prohibiting route, in this order, and none at all.
        Refusal::Errno(EINVAL) => Unknown::not_found(format!("{what}: the route drops what is sent")),
        Refusal::Errno(errno @ (EHOSTUNREACH | EACCES | ENETUNREACH)) => {
            Unknown::not_found(format!("{what}: {}", std::io::Error::from_raw_os_error(errno)))
        }
        refusal => refusal.into_unknown(what),
    }
}

fn chosen(message: &[u8], links: &LinkTable<'_>, what: &str) -> Result<ChosenRoute, Unknown> {
    let unparsable = || {
        Unknown::new(
            Reason::Unparsable,
            format!("{what}: the answer names no link with an MTU"),
        )
    };
    let found = route(message, links).ok_or_else(unparsable)?;
    if matches!(found.kind.as_str(), "blackhole" | "unreachable" | "prohibit" | "throw") {
        return Err(Unknown::not_found(format!("{what}: the route is `{}`", found.kind)));
    }
    let link = attributes(message, HEADER_BYTES)
        .find(|(kind, _)| *kind == RTA_OIF)
        .and_then(|(_, value)| number(value, 0));
    Ok(ChosenRoute {
        link: found.link,
        source: found.source,
        gateway: found.gateway,
        mtu: found.mtu,
        link_mtu: link.and_then(|index| links.mtu(index)).ok_or_else(unparsable)?,
        table: found.table,
    })
}

fn kind_name(kind: u8) -> String {
    const NAMES: [&str; 11] = [
        "unspec",
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
        "nat",
    ];
    NAMES
        .get(usize::from(kind))
        .map_or_else(|| kind.to_string(), |name| (*name).to_owned())
}

/// As `ip route` shows it.
fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        17 => "mrouted",
        18 => "keepalived",
        42 => "babel",
        99 => "openr",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// For fuzzing: whatever the kernel says, reading it does not panic.
pub(super) fn fuzz(message: &[u8]) {
    let links = LinkTable::default();
    let _ = (
        table(message),
        route(message, &links),
        next_hops(message),
        chosen(message, &links, ""),
    );
}

#[cfg(test)]
mod tests;
