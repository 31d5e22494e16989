//! What a lab is made of: sites, nodes, their addresses and links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// MTU of every link and of the WAN unless a lab says otherwise, in bytes.
pub const MTU: u32 = 1500;

/// Sites around one WAN router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// In the order they were named; the first is number 1.
    pub sites: Vec<Site>,
    /// The largest packet that crosses between sites, in bytes of IP packet.
    pub wan_mtu: u32,
    /// Whether nodes have IPv6 addresses beside IPv4.
    pub ipv6: bool,
    /// Whether each site has a pod network with one pod in it.
    pub pods: bool,
}

/// One cluster's place: a /24 and a /64 behind one leg of the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its name; no node or zone has the same.
    pub name: String,
    /// Counts from 1 and is in all of its addresses: 172.31.NUMBER.0/24.
    pub number: u8,
    /// Its nodes.
    pub nodes: Vec<Node>,
}

/// One node: a network namespace with a link to the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `east-n1`.
    pub name: String,
    /// Its site's name.
    pub site: String,
    /// Its zone: `east-a` or `east-b`.
    pub zone: String,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, where the lab has any.
    pub ipv6: Option<Ipv6Addr>,
    /// MTU of its link in bytes.
    pub mtu: u32,
}

impl Node {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> Vec<IpAddr> {
        std::iter::once(self.ipv4.into())
            .chain(self.ipv6.map(IpAddr::from))
            .collect()
    }

    /// Its address of the other's family.
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        if other.is_ipv4() {
            Some(self.ipv4.into())
        } else {
            self.ipv6.map(IpAddr::from)
        }
    }
}

impl Site {
    /// The router's address towards this site.
    pub fn gateway4(&self) -> Ipv4Addr {
        Ipv4Addr::new(172, 31, self.number, 1)
    }

    /// The name of the site's pod, which is behind its first node. Those behind the others are `NAME-pod-2` and so on.
    pub fn pod(&self) -> String {
        format!("{}-pod", self.name)
    }

    /// The pod's address. Beyond its node it is only known as that node's: the node masquerades.
    pub fn pod_address(&self) -> Ipv4Addr {
        self.pod_range(0, 200)
    }

    /// An address in the range of a node's pods, by the node's place in the site.
    pub(super) fn pod_range(&self, node: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number * 10, node, host)
    }

    /// The router's IPv6 address towards this site.
    pub fn gateway6(&self) -> Ipv6Addr {
        address6(self.number, 1)
    }
}

fn address6(site: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd31, 0, 0, u16::from(site), 0, 0, 0, u16::from(host))
}

impl Topology {
    /// Adds a site; its nodes are `NAME-n1`, `NAME-n2`, ... at .11, .12, ..., in its zones `NAME-a` and `NAME-b` by turns.
    pub(super) fn add_site(&mut self, name: &str, nodes: u8) {
        let number = u8::try_from(self.sites.len() + 1).expect("a lab has few sites");
        let node = |index: u8| Node {
            name: format!("{name}-n{}", index + 1),
            site: name.to_owned(),
            zone: format!("{name}-{}", if index.is_multiple_of(2) { 'a' } else { 'b' }),
            ipv4: Ipv4Addr::new(172, 31, number, 11 + index),
            ipv6: self.ipv6.then(|| address6(number, 11 + index)),
            mtu: MTU,
        };
        let nodes = (0..nodes).map(node).collect();
        self.sites.push(Site {
            name: name.to_owned(),
            number,
            nodes,
        });
    }

    /// All nodes in order: [`Topology::select`] counts them like this.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.sites.iter().flat_map(|site| &site.nodes)
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes().find(|node| node.name == name)
    }

    /// Which nodes a name means: a node's, a site's or a zone's. None if it means nothing.
    pub fn select(&self, name: &str) -> Option<Vec<bool>> {
        let chosen: Vec<bool> = self
            .nodes()
            .map(|node| node.name == name || node.site == name || node.zone == name)
            .collect();
        chosen.contains(&true).then_some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_sites() -> Topology {
        let mut topology = Topology {
            sites: Vec::new(),
            wan_mtu: MTU,
            ipv6: true,
            pods: false,
        };
        topology.add_site("east", 3);
        topology.add_site("west", 2);
        topology
    }

    #[test]
    fn names_mean_nodes_sites_and_zones() {
        let topology = two_sites();
        assert_eq!(topology.select("east-n2"), Some(vec![false, true, false, false, false]));
        assert_eq!(topology.select("east-a"), Some(vec![true, false, true, false, false]));
        assert_eq!(topology.select("west"), Some(vec![false, false, false, true, true]));
        assert_eq!(topology.select("north"), None);
    }

    #[test]
    fn addresses_follow_from_site_and_place() {
        let topology = two_sites();
        let node = topology.node("west-n2").expect("the node is there");
        assert_eq!(
            node.addresses(),
            [
                "172.31.2.12".parse::<IpAddr>().unwrap(),
                "fd31::2:0:0:0:c".parse().unwrap()
            ]
        );
        assert_eq!(topology.sites[1].gateway4(), Ipv4Addr::new(172, 31, 2, 1));
    }
}
