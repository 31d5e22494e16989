//! The pod ranges of all clusters, to ask which of them a list of blocks leaves out.
//!
//! Every cluster asks for its own blocks, so the question is put to all ranges at once: the cost is that of going once through what is
//! left when adjoining ranges are joined, not through pairs of clusters.

use std::collections::BTreeSet;

use crate::cidr::Cidr;
use crate::facts::provenance::{Reason, Unknown};
use crate::fleet::Audit;
use crate::outcome::ClusterId;
use crate::profile::cilium::values::Family;

/// The pod ranges of one address family.
#[derive(Debug, Default)]
pub(in crate::checks::clustermesh) struct PodSpace {
    /// Handed out, or about to be in a cluster that does not exist yet.
    present: Ranges,
    /// Pools, whether or not anything of them is handed out.
    pools: Ranges,
    /// Clusters whose pod ranges are not known, and why.
    pub(in crate::checks::clustermesh) unknown: Vec<(ClusterId, Unknown)>,
}

#[derive(Debug, Default)]
struct Ranges {
    /// In order.
    of_clusters: Vec<(Cidr, ClusterId)>,
    joined: Vec<Cidr>,
}

/// What some blocks leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::checks::clustermesh) struct LeftOut {
    /// Clusters some of whose present pod ranges are left out.
    pub(in crate::checks::clustermesh) present: BTreeSet<ClusterId>,
    /// Clusters of which some pool is left out, but nothing that is handed out.
    pub(in crate::checks::clustermesh) future: BTreeSet<ClusterId>,
    /// Some of the ranges, with their clusters.
    pub(in crate::checks::clustermesh) examples: Vec<(Cidr, ClusterId)>,
}

impl PodSpace {
    /// The ranges of all clusters of an audit that are, or may become, members: not of those without Cilium, nor of planned ones of which
    /// no range is declared. Other checks speak of these.
    pub(in crate::checks::clustermesh) fn of(audit: &Audit<'_>, family: Family) -> Self {
        let mut space = Self::default();
        let members = audit
            .clusters
            .iter()
            .filter(|cluster| !cluster.facts.cilium.is_not_installed());
        for cluster in members {
            let pods = match cluster.pods() {
                Ok(pods) => pods,
                Err(why) => {
                    if why.reason != Reason::NotDeclared {
                        space.unknown.push((cluster.id, why));
                    }
                    continue;
                }
            };
            let of_family = |ranges: &[crate::addressing::Range]| -> Vec<Cidr> {
                let cidrs = ranges.iter().map(|range| range.cidr);
                Cidr::aggregate(&cidrs.filter(|cidr| family.has(*cidr)).collect::<Vec<_>>())
            };
            let pools = of_family(&pods.pools);
            let present = if cluster.facts.planned {
                pools.clone()
            } else {
                of_family(&pods.allocated)
            };
            space
                .pools
                .of_clusters
                .extend(pools.into_iter().map(|cidr| (cidr, cluster.id)));
            space
                .present
                .of_clusters
                .extend(present.into_iter().map(|cidr| (cidr, cluster.id)));
        }
        space.present.index();
        space.pools.index();
        space
    }

    /// What these blocks leave out of the ranges of all clusters.
    pub(in crate::checks::clustermesh) fn left_out_by(&self, blocks: &[Cidr]) -> LeftOut {
        const EXAMPLES: usize = 3;
        let present = self.present.left_out_by(blocks);
        let pools = self.pools.left_out_by(blocks);
        let clusters = |ranges: &[(Cidr, ClusterId)]| ranges.iter().map(|(_, id)| *id).collect::<BTreeSet<_>>();
        let (of_present, of_pools) = (clusters(&present), clusters(&pools));
        let examples = if present.is_empty() { &pools } else { &present };
        LeftOut {
            examples: examples.iter().take(EXAMPLES).copied().collect(),
            future: of_pools.difference(&of_present).copied().collect(),
            present: of_present,
        }
    }

    /// Clusters whose present ranges overlap one of these blocks.
    pub(in crate::checks::clustermesh) fn inside(&self, blocks: &[Cidr]) -> BTreeSet<ClusterId> {
        self.present
            .overlapping(&Cidr::aggregate(blocks))
            .map(|(_, id)| id)
            .collect()
    }
}

impl Ranges {
    fn index(&mut self) {
        self.of_clusters.sort_unstable();
        self.joined = Cidr::aggregate(&self.of_clusters.iter().map(|(cidr, _)| *cidr).collect::<Vec<_>>());
    }

    fn left_out_by(&self, blocks: &[Cidr]) -> Vec<(Cidr, ClusterId)> {
        let pieces = Cidr::uncovered(&self.joined, blocks);
        if pieces.is_empty() {
            return Vec::new();
        }
        self.overlapping(&pieces).collect()
    }

    /// The ranges that overlap one of these blocks, which are in order and disjoint.
    fn overlapping<'a>(&'a self, blocks: &'a [Cidr]) -> impl Iterator<Item = (Cidr, ClusterId)> + 'a {
        self.of_clusters.iter().copied().filter(move |(range, _)| {
            // Of disjoint blocks in order, one that overlaps is the last that starts before the range ends.
            let next = blocks.partition_point(|block| block.first() <= range.last());
            next > 0 && blocks[next - 1].overlaps(*range)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn space(present: &[(&str, ClusterId)], pools: &[(&str, ClusterId)]) -> PodSpace {
        let ranges = |list: &[(&str, ClusterId)]| {
            let mut ranges = Ranges {
                of_clusters: list.iter().map(|(text, id)| (cidr(text), *id)).collect(),
                joined: Vec::new(),
            };
            ranges.index();
            ranges
        };
        PodSpace {
            present: ranges(present),
            pools: ranges(pools),
            unknown: Vec::new(),
        }
    }

    #[test]
    fn a_common_supernet_leaves_nothing_out() {
        let space = space(&[("10.10.0.0/24", 0), ("10.20.0.0/24", 1)], &[("10.0.0.0/9", 0)]);
        assert_eq!(space.left_out_by(&[cidr("10.0.0.0/8")]), LeftOut::default());
        assert_eq!(
            space.left_out_by(&[cidr("10.0.0.0/10"), cidr("10.64.0.0/10")]),
            LeftOut::default()
        );
    }

    #[test]
    fn what_is_handed_out_is_told_from_what_only_a_pool_has() {
        let space = space(
            &[("10.10.0.0/24", 0), ("10.20.0.0/24", 1)],
            &[("10.10.0.0/16", 0), ("10.20.0.0/16", 1)],
        );
        let left_out = space.left_out_by(&[cidr("10.10.0.0/24")]);
        assert_eq!(left_out.present, BTreeSet::from([1]));
        assert_eq!(left_out.future, BTreeSet::from([0]));
        assert_eq!(left_out.examples, [(cidr("10.20.0.0/24"), 1)]);
    }

    #[test]
    fn a_range_that_is_covered_in_part_is_left_out() {
        let space = space(&[("10.0.0.0/8", 0), ("fd00::/48", 1)], &[]);
        assert_eq!(
            space.left_out_by(&[cidr("10.0.0.0/9"), cidr("fd00::/16")]).present,
            BTreeSet::from([0])
        );
        assert_eq!(space.left_out_by(&[]).present, BTreeSet::from([0, 1]));
    }

    #[test]
    fn ranges_inside_are_found_from_both_sides() {
        let space = space(&[("10.10.0.0/24", 0), ("10.0.0.0/8", 1), ("10.20.0.0/24", 2)], &[]);
        assert_eq!(space.inside(&[cidr("10.10.0.0/16")]), BTreeSet::from([0, 1]));
        assert!(space.inside(&[cidr("192.168.0.0/16")]).is_empty());
    }
}
