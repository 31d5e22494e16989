//! Faults between clusters by the names that `prejoin lab break` has for them.

use anyhow::{Context as _, bail};

use super::{DESK, RunningKubernetes};
use crate::lab::FaultId;
use crate::lab::fault::{Action, Fault, Traffic, drop, everything, icmp, narrow, path, tcp, udp};

/// What each does to what goes from one cluster to another. The desk reaches all of them whatever is broken.
const FAULTS: [(&str, MakeFaults); 8] = [
    ("tunnel-port", |way| {
        vec![drop(way.of(udp(8472))), drop(way.of(udp(4500)))]
    }),
    ("mesh-port", |way| {
        [2379, 32379, 32380, 32381].map(|port| drop(way.of(tcp(port)))).to_vec()
    }),
    ("api-port", |way| vec![drop(way.of(tcp(6443)))]),
    ("icmp", |way| vec![drop(way.of(icmp()))]),
    ("mtu", |way| {
        way.to_first()
            .map(|traffic| narrow(traffic, 1400, false))
            .into_iter()
            .collect()
    }),
    ("one-node", |way| way.to_last_node().map(drop).into_iter().collect()),
    ("loss", |way| {
        vec![path(way.of(everything()), Action::Lose { percent: 10, seed: 1 })]
    }),
    ("latency", |way| {
        vec![path(way.of(everything()), Action::Delay { millis: 50 })]
    }),
];

type MakeFaults = fn(&Way) -> Vec<Fault>;

/// From one cluster to another.
struct Way<'a> {
    from: &'a str,
    to: &'a str,
    first: &'a str,
    last: &'a str,
    last_node: &'a str,
}

impl Way<'_> {
    fn of(&self, traffic: Traffic) -> Traffic {
        traffic.from(self.from).to(self.to)
    }

    fn to_first(&self) -> Option<Traffic> {
        (self.to == self.first).then(|| self.of(everything()))
    }

    fn to_last_node(&self) -> Option<Traffic> {
        (self.to == self.last).then(|| everything().from(self.from).to(self.last_node))
    }
}

/// The names of all faults.
pub fn fault_names() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().map(|(name, _)| *name)
}

/// What is broken in a lab.
#[derive(Debug, Default)]
pub struct Broken {
    made: Vec<(String, Vec<FaultId>)>,
}

impl Broken {
    /// Makes the fault of this name.
    ///
    /// # Errors
    /// When there is none of this name, it is made already, or the lab refuses.
    pub fn make(&mut self, kubernetes: &RunningKubernetes, name: &str) -> anyhow::Result<()> {
        let (_, faults) = FAULTS
            .iter()
            .find(|(known, _)| *known == name)
            .with_context(|| format!("no fault is called {name}"))?;
        if self.made.iter().any(|(made, _)| made == name) {
            bail!("{name} is broken already");
        }
        let clusters = kubernetes.contexts();
        let nodes = kubernetes.lab().topology().nodes().filter(|node| node.name != DESK);
        let (Some(first), Some(last), Some(last_node)) = (clusters.first(), clusters.last(), nodes.last()) else {
            bail!("the lab has no cluster");
        };
        let mut ids = Vec::new();
        for from in clusters {
            for to in clusters.iter().filter(|to| *to != from) {
                let way = Way {
                    from,
                    to,
                    first,
                    last,
                    last_node: &last_node.name,
                };
                for fault in faults(&way) {
                    ids.push(kubernetes.lab().fault(fault)?);
                }
            }
        }
        self.made.push((name.to_owned(), ids));
        Ok(())
    }

    /// Undoes the fault of this name, or all of them; gives their names.
    ///
    /// # Errors
    /// When the lab refuses.
    pub fn heal(&mut self, kubernetes: &RunningKubernetes, only: Option<&str>) -> anyhow::Result<Vec<String>> {
        let wanted = |name: &str| only.is_none_or(|only| only == name);
        let (healed, left) = std::mem::take(&mut self.made)
            .into_iter()
            .partition(|(name, _)| wanted(name));
        self.made = left;
        let healed: Vec<(String, Vec<FaultId>)> = healed;
        for id in healed.iter().flat_map(|(_, ids)| ids) {
            kubernetes.lab().heal(*id)?;
        }
        Ok(healed.into_iter().map(|(name, _)| name).collect())
    }
}
