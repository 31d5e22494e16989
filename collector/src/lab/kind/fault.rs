//! What a fault is on the nodes of kind: rules in a chain of our own, an MTU, a queue. Each bears our name, by which it is found and undone.
//!
//! `kindest/node` has iptables and iproute2 (`images/base/Dockerfile` of kind). Rules are in the table `mangle` before routing, where what is for
//! pods and NodePorts passes as well, and name the other clusters' nodes: nothing inside a cluster is touched. IPv4, as kind's clusters
//! are unless told otherwise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::super::{Fault, LabError};

/// Chains are called this and the fault's name.
const CHAIN: &str = "PREJOIN-";
/// The link's alias, with the MTU it had.
const ALIAS: &str = "prejoin-lab-mtu-";
/// The queue's number, which no one else uses.
const QUEUE: &str = "7a7a";
const SMALL_MTU_BYTES: u32 = 1400;

/// A node's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
}

/// What is changed on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A chain of this name, with these rules.
    Chain { name: String, rules: Vec<String> },
    /// The link's MTU in bytes: that which is made, or that which was there before.
    Mtu(u32),
    /// Packets to these addresses leave later.
    Queue { to: Vec<Ipv4Addr> },
}

/// A command inside the node, and what it reads.
type Step = (Vec<String>, String);

/// What a fault is on each node that it concerns.
pub(super) fn changes(fault: Fault, clusters: &[Vec<Node>]) -> Vec<(String, Change)> {
    let mut changes = Vec::new();
    for (number, nodes) in clusters.iter().enumerate() {
        let others = clusters.iter().enumerate().filter(|(other, _)| *other != number);
        let peers: Vec<Ipv4Addr> = others.flat_map(|(_, nodes)| nodes).map(|node| node.address).collect();
        for (place, node) in nodes.iter().enumerate() {
            let last = number + 1 == clusters.len() && place + 1 == nodes.len();
            let change = match fault {
                Fault::Mtu if number > 0 => continue,
                Fault::Mtu => Change::Mtu(SMALL_MTU_BYTES),
                Fault::Latency => Change::Queue { to: peers.clone() },
                Fault::OneNode if !last => continue,
                _ => Change::Chain {
                    name: format!("{CHAIN}{}", fault.name()),
                    rules: peers.iter().map(|peer| rule(fault, *peer)).collect(),
                },
            };
            changes.push((node.name.clone(), change));
        }
    }
    changes
}

fn rule(fault: Fault, peer: Ipv4Addr) -> String {
    let kind = match fault {
        Fault::TunnelPort => "-p udp -m multiport --dports 8472,4500 ",
        Fault::MeshPort => "-p tcp -m multiport --dports 2379,32379:32381 ",
        Fault::ApiPort => "-p tcp -m tcp --dport 6443 ",
        Fault::Icmp => "-p icmp ",
        Fault::Loss => "-m statistic --mode random --probability 0.1 ",
        Fault::OneNode | Fault::Mtu | Fault::Latency => "",
    };
    format!("-s {peer}/32 {kind}-j DROP")
}

/// What of ours is on a node, by what it says of itself.
pub(super) fn found(filters: &str, link: &str, queues: &str) -> BTreeMap<Fault, Change> {
    let chains = filters
        .lines()
        .filter_map(|line| line.strip_prefix(':')?.split(' ').next());
    let ours = chains.filter_map(|name| {
        let fault = Fault::by_name(name.strip_prefix(CHAIN)?)?;
        let rules = Vec::new();
        Some((
            fault,
            Change::Chain {
                name: name.to_owned(),
                rules,
            },
        ))
    });
    let mut found: BTreeMap<Fault, Change> = ours.collect();
    let before = link
        .split_whitespace()
        .find_map(|word| word.strip_prefix(ALIAS)?.parse().ok());
    if let Some(before) = before {
        found.insert(Fault::Mtu, Change::Mtu(before));
    }
    if queues
        .split_whitespace()
        .any(|word| word.strip_suffix(':') == Some(QUEUE))
    {
        found.insert(Fault::Latency, Change::Queue { to: Vec::new() });
    }
    found
}

/// A link's MTU in bytes, as `ip link show` has it.
pub(super) fn mtu(link: &str) -> Option<u32> {
    let mut words = link.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1)?.parse().ok()
}

impl Change {
    /// Makes it; `mtu` is the link's as it is.
    pub(super) fn make(&self, mtu: Option<u32>) -> Result<Vec<Step>, LabError> {
        Ok(match self {
            Self::Chain { name, rules } => {
                let mut table = format!("*mangle\n:{name} - [0:0]\n");
                for rule in rules {
                    // Writing to a String cannot fail.
                    let _ = writeln!(table, "-A {name} {rule}");
                }
                let _ = writeln!(table, "-I PREROUTING -j {name}\nCOMMIT");
                vec![(words("iptables-restore --noflush --wait"), table)]
            }
            Self::Mtu(bytes) => {
                let before = mtu.ok_or_else(|| LabError::Cannot("the link eth0 says no MTU".to_owned()))?;
                vec![(
                    words(&format!("ip link set dev eth0 mtu {bytes} alias {ALIAS}{before}")),
                    String::new(),
                )]
            }
            Self::Queue { to } => {
                // Half of the fault on the way there, half on the way back.
                let mut lines = format!(
                    "qdisc add dev eth0 root handle {QUEUE}: prio bands 4\nqdisc add dev eth0 parent {QUEUE}:4 netem delay 50ms\n"
                );
                for peer in to {
                    let _ = writeln!(
                        lines,
                        "filter add dev eth0 parent {QUEUE}: protocol ip prio 1 u32 match ip dst {peer}/32 flowid {QUEUE}:4"
                    );
                }
                vec![(words("tc -batch -"), lines)]
            }
        })
    }

    /// Takes it away.
    pub(super) fn undo(&self) -> Vec<Step> {
        match self {
            Self::Chain { name, .. } => {
                let table = format!("*mangle\n-D PREROUTING -j {name}\n-F {name}\n-X {name}\nCOMMIT\n");
                vec![(words("iptables-restore --noflush --wait"), table)]
            }
            Self::Mtu(before) => {
                let mut command = words(&format!("ip link set dev eth0 mtu {before} alias"));
                command.push(String::new());
                vec![(command, String::new())]
            }
            Self::Queue { .. } => vec![(
                words(&format!("tc qdisc del dev eth0 root handle {QUEUE}:")),
                String::new(),
            )],
        }
    }
}

fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
