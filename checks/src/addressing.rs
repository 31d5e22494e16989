//! Which ranges a cluster's pods and Services really use, reconciled from every source that says something about it.

use crate::cidr::Cidr;
use crate::facts::provenance::{Source, Unknown};
use crate::fleet::Cluster;

/// One range with where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The range.
    pub cidr: Cidr,
    /// Where it was read.
    pub source: Source,
}

/// The ranges of a cluster's pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodRanges {
    /// Ranges that blocks are handed out from. A collision that lies only here is a future fault.
    pub pools: Vec<Range>,
    /// Blocks handed out to nodes, or the addresses themselves where there are no blocks. A collision here is a present fault.
    pub allocated: Vec<Range>,
    /// How the ranges were found, for a report: `Cilium cluster-pool`, `node podCIDRs`.
    pub basis: String,
    /// The pool serves only the CNI's internal addresses, pods have theirs from another CNI (chaining).
    pub pool_is_internal: bool,
}

/// The ranges of a cluster's Services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceRanges {
    /// The ranges.
    pub ranges: Vec<Range>,
    /// Concluded from observed ClusterIPs: a lower bound.
    pub is_estimate: bool,
}

impl PodRanges {
    /// Reconciles all sources of a cluster.
    pub fn of(cluster: &Cluster<'_>) -> Result<Self, Unknown> {
        let nodes = cluster.facts.nodes.known_value()?;
        let allocated = nodes.value.iter().flat_map(|node| {
            node.pod_cidrs.iter().map(|cidr| Range {
                cidr: *cidr,
                source: Source::read(format!("Node {}", node.name), "spec.podCIDRs"),
            })
        });
        Ok(Self {
            allocated: allocated.collect(),
            basis: "node podCIDRs".to_owned(),
            ..Self::default()
        })
    }

    /// Pools where there are any, else the blocks handed out: the ranges to print in one column.
    pub fn summary(&self) -> Vec<Cidr> {
        let ranges = if self.pools.is_empty() || self.pool_is_internal {
            &self.allocated
        } else {
            &self.pools
        };
        ranges.iter().map(|range| range.cidr).collect()
    }

    /// Pools and blocks.
    pub fn all(&self) -> impl Iterator<Item = &Range> {
        self.pools.iter().chain(&self.allocated)
    }
}

impl ServiceRanges {
    /// Reconciles all sources of a cluster.
    pub fn of(cluster: &Cluster<'_>) -> Result<Self, Unknown> {
        let known = cluster.facts.service_cidrs.known_value()?;
        let ranges = known.value.iter().map(|cidr| Range {
            cidr: *cidr,
            source: known.source.clone(),
        });
        Ok(Self {
            ranges: ranges.collect(),
            is_estimate: false,
        })
    }
}
