//! Which links carry a node's traffic to other nodes, and which belong to products.

use std::net::IpAddr;

use super::OnNode;
use crate::cidr::Cidr;
use crate::facts::kernel::{Link, Route};
use crate::facts::provenance::Unknown;

/// The number of the main routing table.
pub const MAIN_TABLE: u32 = 254;

/// Kinds of links that products make: tunnels, and what stands for pods and Services.
const MADE_KINDS: [&str; 14] = [
    "loopback",
    "vxlan",
    "geneve",
    "wireguard",
    "ipip",
    "sit",
    "ip6tnl",
    "gre",
    "ip6gre",
    "dummy",
    "tun",
    "nlmon",
    "vti",
    "xfrm",
];

/// What the names of links begin with that products make.
const MADE_NAMES: [&str; 24] = [
    "cilium_",
    "lxc",
    "cali",
    "tunl0",
    "vxlan.calico",
    "flannel",
    "cni",
    "kube-",
    "nodelocaldns",
    "veth",
    "docker",
    "br-",
    "virbr",
    "weave",
    "antrea",
    "ovn-",
    "genev_sys",
    "vxlan_sys",
    "vx-submariner",
    "vxlan-tunnel",
    "submariner",
    "nm-br",
    "kube-bridge",
    "lo",
];

/// Bridges of Open vSwitch that carry a card's own address: they begin like Docker's.
const UPLINK_BRIDGES: [&str; 4] = ["br-ex", "br-phy", "br-int-ex", "br-bond"];

/// Whether a product made this link, so that it leads to pods or peers rather than to the network.
pub fn is_made(link: &Link) -> bool {
    if UPLINK_BRIDGES.iter().any(|name| link.name.starts_with(name)) {
        return false;
    }
    // In a node that is itself a container (kind) the uplink is a veth, by the name of a card.
    MADE_KINDS.contains(&link.kind.as_str())
        || MADE_NAMES
            .iter()
            .any(|name| link.name.starts_with(name) && (*name != "lo" || link.name == "lo"))
}

impl<'a> OnNode<'a> {
    /// The link that carries traffic to other nodes: the one with the node's InternalIP or, where that stands on a loopback or dummy
    /// link (announced by BGP), the one of the default route.
    pub fn uplink(&self) -> Result<&'a Link, Unknown> {
        let kernel = self.kernel;
        let links = kernel.links.get()?;
        let with_address = |ip: IpAddr| {
            links
                .iter()
                .find(|link| link.addresses.iter().any(|address| address.ip == ip) && !is_made(link))
        };
        if let Some(link) = self.node.internal_ips().find_map(with_address) {
            return Ok(link);
        }
        let route = self.default_routes(true)?;
        let link = route
            .first()
            .and_then(|route| links.iter().find(|link| link.name == route.link));
        link.ok_or_else(|| {
            Unknown::not_found(format!(
                "{} has no link with its InternalIP and no default route over one link",
                self.node.name
            ))
        })
    }

    /// Default routes of the main table in this family that lead somewhere, the preferred one first.
    pub fn default_routes(&self, ipv4: bool) -> Result<Vec<&'a Route>, Unknown> {
        let destination = if ipv4 { "0.0.0.0/0" } else { "::/0" };
        let kernel = self.kernel;
        let routes = kernel.routes.get()?.iter();
        let mut routes: Vec<&Route> = routes
            .filter(|route| route.table == MAIN_TABLE && route.destination == destination && is_unicast(route))
            .collect();
        routes.sort_by_key(|route| route.metric);
        Ok(routes)
    }

    /// The links over which packets leave for other hosts, by name: those of routes with a next hop in any table, and the
    /// uplink; links of products are left out.
    pub fn ways_out(&self) -> Result<Vec<&'a str>, Unknown> {
        let kernel = self.kernel;
        let links = kernel.links.get()?;
        let mut names: Vec<&str> = vec![self.uplink()?.name.as_str()];
        for route in kernel
            .routes
            .get()?
            .iter()
            .filter(|route| route.gateway.is_some() && is_unicast(route))
        {
            let link = links.iter().find(|link| link.name == route.link);
            if link.is_some_and(|link| link.up && !is_made(link)) {
                names.push(&route.link);
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The reverse-path filter in force on a link: the larger of the link's own and `all`; 1 is strict, 2 loose, 0 off.
    pub fn reverse_path_filter(&self, link: &str) -> Result<u64, Unknown> {
        let all = self.number("net.ipv4.conf.all.rp_filter")?;
        Ok(all.max(self.number(&per_link(link, "rp_filter"))?))
    }
}

/// The IPv4 setting of a link by its dotted name, in which a dot of the link's own name is a slash.
pub fn per_link(link: &str, setting: &str) -> String {
    format!("net.ipv4.conf.{}.{setting}", link.replace('.', "/"))
}

/// Whether a route leads somewhere; a route without a kind is an ordinary one.
pub fn is_unicast(route: &Route) -> bool {
    route.kind.is_empty() || route.kind == "unicast"
}

/// Whether a route's destination holds an address.
pub fn leads_to(route: &Route, ip: IpAddr) -> bool {
    route
        .destination
        .parse::<Cidr>()
        .is_ok_and(|cidr| cidr.contains_addr(ip))
}
