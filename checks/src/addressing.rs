//! Which ranges a cluster's pods and Services really use, reconciled from every source that says something about it.
//!
//! Sources disagree: a distribution's `--cluster-cidr` means nothing where Cilium hands out its own pool, and a node's `podCIDR` means
//! nothing to a VPC plugin. What decides is which plugin runs and how it hands out addresses; the other sources are kept as
//! [`PodRanges::advisory`], so that a check can say that they disagree.

mod pods;
mod services;

use std::net::IpAddr;

use crate::cidr::Cidr;
use crate::facts::provenance::Source;

/// One range with where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The range.
    pub cidr: Cidr,
    /// Where it was read.
    pub source: Source,
    /// The node it belongs to, if it is one node's.
    pub node: String,
}

/// The ranges of a cluster's pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodRanges {
    /// Ranges that blocks are handed out from. A collision that lies only here is a future fault.
    pub pools: Vec<Range>,
    /// Blocks handed out to nodes, or the addresses themselves where there are no blocks. A collision here is a present fault.
    pub allocated: Vec<Range>,
    /// Pools that serve Cilium's internal addresses only, where pods have theirs from another plugin (chaining).
    pub internal: Vec<Range>,
    /// What other sources say, which does not decide: for comparison only.
    pub advisory: Vec<Range>,
    /// How the ranges were found, for a report: `Cilium IPAM cluster-pool`, `Calico pools`.
    pub basis: String,
    /// What the ranges are made of.
    pub shape: Shape,
}

/// What the ranges of a cluster's pods are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shape {
    /// Pools and blocks: every pod address must lie inside one.
    #[default]
    Blocks,
    /// Single addresses from a network that others may share (VPC plugins, chaining, ENI): they are the range themselves.
    Addresses,
}

/// The ranges of a cluster's Services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceRanges {
    /// The ranges, from the source that is trusted most.
    pub ranges: Vec<Range>,
    /// What the other sources say.
    pub advisory: Vec<Range>,
    /// Concluded from observed ClusterIPs: a lower bound.
    pub is_estimate: bool,
}

impl Range {
    pub(crate) fn new(cidr: Cidr, source: Source) -> Self {
        Self {
            cidr,
            source,
            node: String::new(),
        }
    }

    pub(crate) fn all(cidrs: &[Cidr], source: &Source) -> Vec<Self> {
        cidrs.iter().map(|cidr| Self::new(*cidr, source.clone())).collect()
    }
}

impl PodRanges {
    /// Pools where there are any, else the blocks handed out, joined where they touch: the ranges to print in one column.
    pub fn summary(&self) -> Vec<Cidr> {
        let ranges = if self.pools.is_empty() {
            &self.allocated
        } else {
            &self.pools
        };
        Cidr::aggregate(&ranges.iter().map(|range| range.cidr).collect::<Vec<_>>())
    }

    /// Pools and blocks.
    pub fn all(&self) -> impl Iterator<Item = &Range> {
        self.pools.iter().chain(&self.allocated)
    }

    /// Whether an address lies in a pool or block.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.all().any(|range| range.cidr.contains_addr(address))
    }
}

impl ServiceRanges {
    /// Whether an address lies in a range.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.cidr.contains_addr(address))
    }
}

/// The ranges written under a flag or key, bad items left out: a check of its own complains of them.
fn listed(text: &str, source: &Source) -> Vec<Range> {
    Cidr::split_list(text)
        .into_iter()
        .flatten()
        .map(|(cidr, _)| Range::new(cidr, source.clone()))
        .collect()
}
