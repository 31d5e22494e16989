//! [`AddressSpace`]: every range of every cluster, what collides, and what is free.

use std::collections::{BTreeMap, BTreeSet};

use prejoin_checks::address::{AddressIndex, Block};
use prejoin_checks::checks::net::space::State;
use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::provenance::Source;
use prejoin_checks::facts::{ClusterFacts, RangeKind};
use prejoin_checks::fleet::{Audit, Cluster};
use prejoin_checks::intent::Intent;
use prejoin_checks::policy::Policy;
use prejoin_checks::report::{Finding, Report, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Freshness;

/// Every range of every cluster of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressSpace {
    /// The group.
    pub group: String,
    /// Of when it is.
    pub freshness: Freshness,
    /// The clusters, in the order of the report.
    pub clusters: Vec<String>,
    /// The ranges, by cluster, then kind, then block.
    pub ranges: Vec<RangeView>,
    /// What collides, worst first.
    pub collisions: Vec<Collision>,
    /// What nobody has of the private blocks, largest first in each.
    pub free: Vec<FreeSpace>,
    /// What is not known: such addresses may be anywhere.
    pub unknown: Vec<UnknownRange>,
}

/// Addresses of one cluster used for one thing, joined where they touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RangeView {
    /// The addresses.
    pub cidr: Cidr,
    /// The cluster; empty for a network outside all clusters.
    pub cluster: String,
    /// What they are used for.
    pub kind: RangeKind,
    /// How real that is.
    pub state: RangeState,
    /// How many ranges this stands for.
    pub ranges: u64,
    /// Where the first of them was read.
    pub source: Source,
    /// Who has it, where it is one node's or an external network's: its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
}

/// How real a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RangeState {
    /// In use, or declared.
    InUse,
    /// A pool from which some will be handed out.
    Pool,
    /// A pool for a plugin's internal addresses only.
    InternalPool,
    /// A lower bound concluded from observations.
    Estimate,
}

/// Ranges that share addresses and must not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Collision {
    /// The finding.
    pub key: String,
    /// The check's code.
    pub code: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether someone answers for it.
    pub waived: bool,
    /// What was found, in one line.
    pub found: String,
    /// The clusters.
    pub clusters: Vec<String>,
    /// The shared addresses.
    pub blocks: Vec<Cidr>,
}

/// What is free of a private block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FreeSpace {
    /// The private block.
    pub within: Cidr,
    /// Whether any cluster uses some of it.
    pub used: bool,
    /// How many addresses of it nobody has.
    pub addresses: u64,
    /// The largest free blocks.
    pub largest: Vec<Cidr>,
}

/// A kind of range of a cluster that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnknownRange {
    /// The cluster.
    pub cluster: String,
    /// The kind.
    pub kind: RangeKind,
    /// Why.
    pub why: String,
}

/// The private IPv4 blocks: RFC 1918, and RFC 6598.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"];
/// So many free blocks of each are named.
const FREE_NAMED: usize = 12;

/// Ranges that are joined where they touch.
type Holder = (Option<usize>, RangeKind, RangeState, String);

impl AddressSpace {
    /// The address space of clusters with what their report says about it. `key` is what the store calls a finding.
    ///
    /// Every profile of the report sees the ranges that matter to it; here are those of all.
    pub fn of(
        group: &str,
        freshness: Freshness,
        facts: &[ClusterFacts],
        intent: &Intent,
        report: &Report,
        key: impl Fn(&Finding) -> String,
    ) -> Self {
        let clusters: Vec<Cluster<'_>> = facts
            .iter()
            .enumerate()
            .map(|(id, facts)| Cluster::new(id, facts))
            .collect();
        let policy = Policy::new(report.profiles.clone(), report.generated_at);
        let mut held: BTreeMap<Holder, BTreeMap<Cidr, Source>> = BTreeMap::new();
        let mut unknown: BTreeSet<(usize, RangeKind, String)> = BTreeSet::new();
        for profile in &report.profiles {
            let audit = Audit::new(*profile, &clusters, intent, &policy);
            let space = audit.space();
            for (cidr, claimed) in space.index.ranges() {
                let external = claimed.cluster.is_none();
                let owner = if external {
                    claimed.source.object.clone()
                } else {
                    String::new()
                };
                let holder = (claimed.cluster, claimed.class.kind, state(claimed.class.state), owner);
                held.entry(holder)
                    .or_default()
                    .entry(*cidr)
                    .or_insert_with(|| claimed.source.clone());
            }
            let missed = space.unknown.iter();
            unknown.extend(missed.map(|(id, kind, why)| (*id, *kind, why.to_string())));
        }
        let name = |id: &Option<usize>| id.map_or_else(String::new, |id| facts[id].name.clone());
        let mut ranges: Vec<(Option<usize>, RangeView)> = Vec::new();
        for ((id, kind, state, owner), blocks) in &held {
            for (cidr, inside) in joined(blocks) {
                let view = RangeView {
                    cidr,
                    cluster: name(id),
                    kind: *kind,
                    state: *state,
                    ranges: inside.len() as u64,
                    source: inside[0].clone(),
                    owner: owner.clone(),
                };
                ranges.push((*id, view));
            }
        }
        // Networks outside all clusters come last.
        ranges.sort_by_key(|(id, range)| (id.is_none(), *id, range.kind, range.cidr));
        let ranges: Vec<RangeView> = ranges.into_iter().map(|(_, range)| range).collect();
        let broken = report
            .findings
            .iter()
            .filter(|finding| matches!(finding.verdict, Verdict::Fail | Verdict::Warn) && is_collision(&finding.code));
        let collisions = broken
            .filter_map(|finding| Collision::of(finding, &ranges, key(finding)))
            .collect();
        Self {
            group: group.to_owned(),
            freshness,
            clusters: facts.iter().map(|facts| facts.name.clone()).collect(),
            collisions,
            free: free(&ranges),
            ranges,
            unknown: unknown
                .into_iter()
                .map(|(id, kind, why)| UnknownRange {
                    cluster: facts[id].name.clone(),
                    kind,
                    why,
                })
                .collect(),
        }
    }

    /// The ranges of one cluster.
    pub fn of_cluster(&self, cluster: &str) -> Vec<RangeView> {
        self.ranges
            .iter()
            .filter(|range| range.cluster == cluster)
            .cloned()
            .collect()
    }
}

fn state(state: State) -> RangeState {
    match state {
        State::InUse => RangeState::InUse,
        State::Pool => RangeState::Pool,
        State::InternalPool => RangeState::InternalPool,
        State::Estimate => RangeState::Estimate,
    }
}

/// Blocks joined where they touch, each with the sources of what it was made of.
fn joined(blocks: &BTreeMap<Cidr, Source>) -> Vec<(Cidr, Vec<&Source>)> {
    let whole = Cidr::aggregate(&blocks.keys().copied().collect::<Vec<_>>());
    // Both are in order, and every block lies in exactly one of the whole ones.
    let mut rest = blocks.iter().peekable();
    whole
        .into_iter()
        .map(|whole| {
            let mut inside = Vec::new();
            while let Some((_, source)) = rest.next_if(|(cidr, _)| whole.contains(**cidr)) {
                inside.push(source);
            }
            (whole, inside)
        })
        .filter(|(_, inside)| !inside.is_empty())
        .collect()
}

/// Whether a check is about ranges that collide.
fn is_collision(code: &str) -> bool {
    collides(code, RangeKind::Pods, RangeKind::Pods).is_some()
}

/// Whether ranges of these two kinds are what this check is about; `None` if it is about no collision.
fn collides(code: &str, a: RangeKind, b: RangeKind) -> Option<bool> {
    use RangeKind::{External, Globalnet, LoadBalancers, Nodes, Pods, Services};
    let (a, b) = (a.min(b), a.max(b));
    let either = |kind| a == kind || b == kind;
    Some(match code {
        "NET101" => (a, b) == (Pods, Pods),
        "NET102" => (a, b) == (Pods, Nodes),
        "NET103" => (a, b) == (Pods, Services),
        "NET104" => (a, b) == (Services, Services),
        "NET105" => (a, b) == (Services, Nodes),
        "NET106" => (a, b) == (Nodes, Nodes),
        "NET107" => either(LoadBalancers) && !either(External),
        "NET108" => either(External),
        "NET109" => either(Globalnet),
        _ => return None,
    })
}

impl Collision {
    /// What a finding about a collision is about in these ranges; `None` if they do not show it.
    fn of(finding: &Finding, ranges: &[RangeView], key: String) -> Option<Self> {
        let concerned =
            |range: &&RangeView| range.cluster.is_empty() || finding.subject.clusters.contains(&range.cluster);
        let index = AddressIndex::new(
            ranges
                .iter()
                .filter(concerned)
                .map(|range| (range.cidr, range))
                .collect(),
        );
        let collide = |a: &RangeView, b: &RangeView| {
            let differ = a.cluster != b.cluster || a.kind != b.kind;
            differ && collides(&finding.code, a.kind, b.kind) == Some(true)
        };
        let mut blocks = Vec::new();
        for block in index.blocks() {
            let own: Vec<&RangeView> = block.values().copied().collect();
            let around = || block.ancestors().flat_map(Block::values).copied();
            let among = own
                .iter()
                .enumerate()
                .any(|(place, a)| own[place + 1..].iter().any(|b| collide(a, b)));
            if among || own.iter().any(|a| around().any(|b| collide(a, b))) {
                blocks.push(block.cidr());
            }
        }
        let blocks = Cidr::aggregate(&blocks);
        (!blocks.is_empty()).then(|| Self {
            key,
            code: finding.code.clone(),
            verdict: finding.verdict,
            waived: finding.waived_by.is_some(),
            found: finding.found.clone(),
            clusters: finding.subject.clusters.clone(),
            blocks,
        })
    }
}

fn free(ranges: &[RangeView]) -> Vec<FreeSpace> {
    let used: Vec<Cidr> = ranges.iter().map(|range| range.cidr).collect();
    let used = Cidr::aggregate(&used);
    let blocks = PRIVATE.iter().filter_map(|text| text.parse::<Cidr>().ok());
    blocks
        .map(|within| {
            let mut largest = within.difference(&used);
            let addresses = largest.iter().map(|block| 1_u64 << block.size_log2()).sum();
            largest.sort_by_key(|block| (block.prefix_len(), *block));
            largest.truncate(FREE_NAMED);
            FreeSpace {
                within,
                used: used.iter().any(|block| block.overlaps(within)),
                addresses,
                largest,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use prejoin_checks::profile::Profile;
    use prejoin_checks::samples::fleet::faulty_fleet;
    use prejoin_checks::samples::{cilium, declared, report};

    use super::*;

    fn space(facts: &[ClusterFacts]) -> AddressSpace {
        let report = report(Profile::Clustermesh, facts);
        let never = Freshness::never(report.generated_at);
        AddressSpace::of("g", never, facts, &Intent::default(), &report, |finding| {
            finding.code.clone()
        })
    }

    #[test]
    fn blocks_of_nodes_are_joined_and_kept_apart_by_what_they_are_for() {
        let space = space(&[cilium("a", 1), cilium("b", 2)]);
        let of_a: Vec<String> = space
            .of_cluster("a")
            .iter()
            .map(|range| format!("{} {} {}", range.cidr, range.kind, range.ranges))
            .collect();
        assert_eq!(
            of_a,
            [
                "10.10.0.0/23 pods 2",
                "10.101.0.0/16 services 1",
                "172.31.1.11/32 nodes 1",
                "172.31.1.12/32 nodes 1"
            ]
        );
        assert!(space.collisions.is_empty() && space.unknown.is_empty());
    }

    #[test]
    fn a_collision_names_the_addresses_that_are_shared_and_its_finding() {
        let mut b = cilium("b", 2);
        b.declared = vec![declared(RangeKind::Pods, "10.10.0.0/20")];
        let space = space(&[cilium("a", 1), b, cilium("c", 3)]);
        let collision = space
            .collisions
            .iter()
            .find(|collision| collision.code == "NET101")
            .unwrap();
        assert_eq!(collision.clusters, ["a", "b"]);
        assert_eq!(collision.blocks, ["10.10.0.0/23".parse().unwrap()]);
        assert_eq!((collision.verdict, collision.key.as_str()), (Verdict::Fail, "NET101"));
    }

    #[test]
    fn what_is_free_is_what_nobody_has() {
        let space = space(&[cilium("a", 1), cilium("b", 2)]);
        let ten = &space.free[0];
        assert_eq!((ten.within.to_string(), ten.used), ("10.0.0.0/8".to_owned(), true));
        assert_eq!(ten.addresses, (1 << 24) - 2 * (1 << 9) - 2 * (1 << 16));
        assert!(
            ten.largest
                .iter()
                .all(|free| space.ranges.iter().all(|range| !range.cidr.overlaps(*free)))
        );
        assert_eq!(ten.largest[0].to_string(), "10.128.0.0/9");
        assert!(!space.free[3].used);
    }

    #[test]
    fn a_hundred_clusters_with_one_pool_over_all_are_one_collision_of_many_blocks() {
        let space = space(&faulty_fleet(100, 3));
        let pools = space.collisions.iter().filter(|collision| collision.code == "NET107");
        let pool = pools.max_by_key(|collision| collision.clusters.len()).unwrap();
        let all_pods: Vec<Cidr> = space
            .of_cluster("fleet-060")
            .iter()
            .map(|range| range.cidr)
            .take(1)
            .collect();
        assert!(pool.clusters.len() > 50, "{}", pool.clusters.len());
        assert!(Cidr::uncovered(&all_pods, &pool.blocks).is_empty(), "{:?}", pool.blocks);
        assert!(
            space
                .collisions
                .iter()
                .any(|collision| collision.code == "NET101" && collision.clusters.len() == 2)
        );
    }

    #[test]
    fn what_could_not_be_read_is_said() {
        let mut b = cilium("b", 2);
        b.nodes = prejoin_checks::facts::provenance::Fact::unknown(
            prejoin_checks::facts::provenance::Reason::Forbidden,
            "list nodes: forbidden",
        );
        let space = space(&[cilium("a", 1), b]);
        let nodes: Vec<_> = space
            .unknown
            .iter()
            .filter(|unknown| unknown.kind == RangeKind::Nodes)
            .collect();
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes[0].cluster, "b");
        assert!(nodes[0].why.contains("forbidden"));
    }
}
