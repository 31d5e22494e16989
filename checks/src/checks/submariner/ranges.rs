//! Ranges that only Submariner knows: Globalnet's, clusterset IPs', those its tunnels derive from node addresses, and what must stay
//! reachable beside the tunnels. Plain overlaps of pods, Services, nodes and Global CIDRs are judged with all other addressing (`NET1xx`).

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{AddressIndex, Block};
use crate::addressing::Range;
use crate::alike::some_of;
use crate::check::{Check, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::facts::RangeKind;
use crate::facts::provenance::{Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::{Mesh, installed};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[&GLOBALNET_RANGE, &CLUSTERSET_RANGE];

/// Why nothing can be said of which clusters.
pub(super) type Open = BTreeMap<NoVerdict, BTreeSet<ClusterId>>;

/// One range of a cluster.
pub(super) struct Own<'c> {
    pub(super) kind: RangeKind,
    pub(super) cidr: Cidr,
    place: Place<'c>,
}

/// Where a range stands, worked out into words only for what is reported.
pub(super) enum Place<'c> {
    Known(&'c Source),
    Node(&'c str),
}

impl Own<'_> {
    pub(super) fn evidence(&self, cluster: &Cluster<'_>) -> Evidence {
        match self.place {
            Place::Known(source) => Evidence::new(cluster.name(), &self.cidr, source),
            Place::Node(node) => {
                let source = Source::read(format!("Node {node}"), "status.addresses");
                Evidence::new(cluster.name(), &self.cidr, &source)
            }
        }
    }

    pub(super) fn describe(&self, cluster: &Cluster<'_>) -> String {
        format!("{} {} of {}", self.kind, self.cidr, cluster.name())
    }
}

/// The ranges of a cluster's pods, Services and nodes, and why some are not known.
pub(super) fn ranges<'c>(cluster: &'c Cluster<'_>) -> (Vec<Own<'c>>, Vec<Unknown>) {
    let mut own = Vec::new();
    let mut unknown = Vec::new();
    let known = |kind, range: &'c Range| Own {
        kind,
        cidr: range.cidr,
        place: Place::Known(&range.source),
    };
    match cluster.pods() {
        Ok(pods) => own.extend(pods.all().map(|range| known(RangeKind::Pods, range))),
        Err(why) => unknown.push(why),
    }
    match cluster.services() {
        Ok(services) => own.extend(services.ranges.iter().map(|range| known(RangeKind::Services, range))),
        Err(why) => unknown.push(why),
    }
    match cluster.facts.nodes.get() {
        Ok(nodes) => own.extend(nodes.iter().flat_map(|node| {
            node.internal_ips().map(|ip| Own {
                kind: RangeKind::Nodes,
                cidr: Cidr::host(ip),
                place: Place::Node(&node.name),
            })
        })),
        Err(why) => unknown.push(why),
    }
    let declared = cluster
        .facts
        .declared
        .iter()
        .filter(|range| range.kind == RangeKind::Nodes);
    own.extend(declared.map(|range| Own {
        kind: range.kind,
        cidr: range.cidr,
        place: Place::Known(&range.source),
    }));
    (own, unknown)
}

/// What an index holds that overlaps a block.
pub(super) fn overlapping<T>(index: &AddressIndex<T>, cidr: Cidr) -> impl Iterator<Item = &T> {
    let around = index.covering(cidr).filter(move |block| block.cidr() != cidr);
    around.chain(index.within(cidr)).flat_map(Block::values)
}

/// What is broken; if nothing is, that the rule holds for those of whom all is known; and why nothing can be said of the others.
pub(super) fn conclude(audit: &Audit<'_>, broken: Vec<Outcome>, unknown: Open, holds: &str) -> Vec<Outcome> {
    let open: BTreeSet<ClusterId> = unknown.values().flatten().copied().collect();
    let known: Vec<ClusterId> = audit
        .clusters
        .iter()
        .map(|cluster| cluster.id)
        .filter(|id| !open.contains(id))
        .collect();
    let mut outcomes = broken;
    if outcomes.is_empty() && !known.is_empty() {
        outcomes.push(Outcome::holds().found(holds).about(known));
    }
    outcomes.extend(unknown.into_iter().map(|(why, ids)| Outcome::none(why).about(ids)));
    outcomes
}

/// Every range of every cluster, and declared networks, that overlap one block, as evidence; unknown ranges are noted.
fn overlaps_of(audit: &Audit<'_>, block: Cidr, unknown: &mut Open) -> (Vec<ClusterId>, Vec<String>, Vec<Evidence>) {
    const SHOWN: usize = 8;
    let (mut ids, mut found, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
    for cluster in audit.clusters {
        let (own, missing) = ranges(cluster);
        for why in missing {
            unknown.entry(why.into()).or_default().insert(cluster.id);
        }
        for range in own.iter().filter(|range| range.cidr.overlaps(block)) {
            if ids.last() != Some(&cluster.id) {
                ids.push(cluster.id);
            }
            found.push(range.describe(cluster));
            if evidence.len() < SHOWN {
                evidence.push(range.evidence(cluster));
            }
        }
    }
    for network in audit
        .intent
        .external_networks
        .iter()
        .filter(|network| network.cidr.overlaps(block))
    {
        found.push(format!("network {} {}", network.name, network.cidr));
        evidence.push(Evidence::new("", &network.cidr, &network.source));
    }
    (ids, found, evidence)
}

declare_check! {
    /// ## What it checks
    /// The range Global CIDRs will be taken from holds no pods, Services, nodes or declared networks.
    ///
    /// ## Why it matters
    /// A cluster that joins with Globalnet gets the first free block of the range; `subctl` looks at other Global CIDRs only. Where the block covers
    /// what is already there, traffic for that goes into the tunnel, or the route agent installs no routes at all.
    ///
    /// ## How it is determined
    /// The range of ConfigMap `submariner-globalnet-info`, else the planned one, else 242.0.0.0/8, as long as a cluster that joins with Globalnet has
    /// no block yet. Blocks that clusters have are judged with all other addressing.
    ///
    /// ## How to fix
    /// Choose another range with `subctl deploy-broker --globalnet-cidr-range`; an existing ConfigMap must be deleted first.
    ///
    /// ## References
    /// Submariner documentation, Globalnet; submariner issue 2792, submariner-website issue 1079.
    pub static GLOBALNET_RANGE = {
        code: "SM201",
        slug: "globalnet-range",
        title: "Globalnet's range is already in use",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "a block taken from it captures traffic for what is there",
        rules: ["submariner CIDR-05", "submariner CIDR-06"],
        run: Set(globalnet_range),
    };
}

fn globalnet_range(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let mut unknown: Open = BTreeMap::new();
    let mut joining = Vec::new();
    for cluster in audit.clusters {
        let needs_block = || Ok(mesh.globalnet(cluster)?.value && mesh.global_cidrs(cluster)?.is_empty());
        match needs_block() {
            Ok(true) => joining.push(cluster.id),
            Ok(false) => {}
            Err::<_, Unknown>(why) => {
                unknown.entry(why.into()).or_default().insert(cluster.id);
            }
        }
    }
    if joining.is_empty() && unknown.is_empty() {
        return vec![Outcome::does_not_apply("no cluster will be given a Global CIDR").about(audit.everyone())];
    }
    let range = match mesh.globalnet_range() {
        Ok(range) => range,
        Err(why) => return vec![Outcome::none(why).about(audit.everyone())],
    };
    if joining.is_empty() {
        return conclude(audit, Vec::new(), unknown, "no Global CIDR is taken from the range");
    }
    let (mut ids, found, evidence) = overlaps_of(audit, range.cidr, &mut unknown);
    if found.is_empty() {
        return conclude(
            audit,
            Vec::new(),
            unknown,
            &format!("nothing else lies in {}", range.cidr),
        );
    }
    if ids.is_empty() {
        ids.clone_from(&joining);
    }
    let outcome = Outcome::broken()
        .expected(format!("{} free for Globalnet", range.cidr))
        .found(format!("in {}: {}", range.cidr, some_of(&found)))
        .evidence(Evidence::new("", &range.cidr, &range.source))
        .evidence_all(evidence)
        .remedy("choose another range: subctl deploy-broker --globalnet --globalnet-cidr-range")
        .about(ids);
    conclude(audit, vec![outcome], unknown, "")
}

declare_check! {
    /// ## What it checks
    /// Clusterset IPs come from a range that nothing else uses.
    ///
    /// ## Why it matters
    /// Every joined cluster is given a block, `subctl` looks at other clusters' blocks only. Where clusterset IPs are used, a Service that has one is
    /// not reached if anything else has the address.
    ///
    /// ## How it is determined
    /// The blocks of members (`spec.clustersetIPCIDR`) and, for clusters that will be given one, the range of ConfigMap
    /// `submariner-clustersetip-info`, else the planned one, else 243.0.0.0/8, against pods, Services, nodes, Global CIDRs, declared networks and each other. It
    /// fails where clusterset IPs are used: `clustersetIPEnabled`, the plan, or an export annotated for it; else it is recorded.
    ///
    /// ## How to fix
    /// Choose another range with `subctl deploy-broker --clustersetip-cidr-range`.
    ///
    /// ## References
    /// `submariner-operator`, `pkg/discovery/clustersetip`.
    pub static CLUSTERSET_RANGE = {
        code: "SM202",
        slug: "clusterset-ip-range",
        title: "The range of clusterset IPs is already in use",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "Services with a clusterset IP are not reached",
        rules: ["submariner CIDR-08"],
        run: Set(clusterset_range),
    };
}

fn clusterset_range(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let mut unknown: Open = BTreeMap::new();
    let mut blocks: Vec<(Cidr, (Option<ClusterId>, Source))> = Vec::new();
    let mut takes_from_range = false;
    let mut used = false;
    for cluster in audit.clusters {
        match mesh.clusterset_cidrs(cluster) {
            Ok(own) if own.is_empty() => takes_from_range |= matches!(installed(cluster), Ok(None)),
            Ok(own) => blocks.extend(
                own.into_iter()
                    .map(|range| (range.cidr, (Some(cluster.id), range.source))),
            ),
            Err(why) => {
                unknown.entry(why.into()).or_default().insert(cluster.id);
            }
        }
        used |= mesh.clusterset_ip(cluster).is_ok_and(|known| known.value) || exports_ask_for_it(cluster);
    }
    if takes_from_range {
        match mesh.clusterset_ip_range() {
            Ok(range) => blocks.push((range.cidr, (None, range.source))),
            Err(why) => return vec![Outcome::none(why).about(audit.everyone())],
        }
    }
    if blocks.is_empty() && unknown.is_empty() {
        return vec![Outcome::does_not_apply("no cluster has clusterset IPs").about(audit.everyone())];
    }
    let severity = if used { Severity::Fail } else { Severity::Info };
    let mut found = Vec::new();
    let mut evidence = Vec::new();
    let mut ids = BTreeSet::new();
    // Blocks of members lie in the range; two members' blocks must not share an address.
    let mut members: Vec<_> = blocks
        .iter()
        .filter_map(|(cidr, (id, source))| Some((*cidr, (*id)?, source)))
        .collect();
    members.sort_unstable_by_key(|(cidr, id, _)| (*cidr, *id));
    for pair in members
        .windows(2)
        .filter(|pair| pair[0].0.overlaps(pair[1].0) && pair[0].1 != pair[1].1)
    {
        found.push(format!(
            "{} and {} share {}",
            audit.cluster(pair[0].1).name(),
            audit.cluster(pair[1].1).name(),
            pair[1].0
        ));
        for (cidr, id, source) in pair {
            ids.insert(*id);
            evidence.push(Evidence::new(audit.cluster(*id).name(), cidr, source));
        }
    }
    let index = AddressIndex::new(blocks);
    for cluster in audit.clusters {
        let (own, missing) = ranges(cluster);
        for why in missing {
            unknown.entry(why.into()).or_default().insert(cluster.id);
        }
        for range in own
            .iter()
            .filter(|range| overlapping(&index, range.cidr).next().is_some())
        {
            ids.insert(cluster.id);
            found.push(range.describe(cluster));
            evidence.push(range.evidence(cluster));
        }
        match mesh.global_space(cluster) {
            Ok(space) => {
                for range in space
                    .iter()
                    .filter(|range| overlapping(&index, range.cidr).next().is_some())
                {
                    ids.insert(cluster.id);
                    found.push(format!("globalnet {} of {}", range.cidr, cluster.name()));
                    evidence.push(Evidence::new(cluster.name(), &range.cidr, &range.source));
                }
            }
            Err(why) => {
                unknown.entry(why.into()).or_default().insert(cluster.id);
            }
        }
    }
    for network in &audit.intent.external_networks {
        if overlapping(&index, network.cidr).next().is_some() {
            found.push(format!("network {} {}", network.name, network.cidr));
            evidence.push(Evidence::new("", &network.cidr, &network.source));
        }
    }
    let shown: Vec<Cidr> = index.roots().map(Block::cidr).collect();
    if found.is_empty() {
        return conclude(
            audit,
            Vec::new(),
            unknown,
            &format!("nothing else lies in {}", some_of(shown)),
        );
    }
    evidence.truncate(8);
    let about = if ids.is_empty() {
        audit.everyone()
    } else {
        ids.into_iter().collect()
    };
    let outcome = Outcome::broken_as(severity)
        .expected(format!("{} for clusterset IPs only", some_of(shown)))
        .found(some_of(&found))
        .evidence_all(evidence)
        .remedy("choose another range: subctl deploy-broker --clustersetip-cidr-range")
        .about(about);
    conclude(audit, vec![outcome], unknown, "")
}

/// Whether some export is annotated to have a clusterset IP.
fn exports_ask_for_it(cluster: &Cluster<'_>) -> bool {
    let exports = cluster.facts.mcs.ok().and_then(|mcs| mcs.exports.ok());
    exports.is_some_and(|exports| {
        exports
            .iter()
            .any(|export| export.use_clusterset_ip.as_deref() == Some("true"))
    })
}

#[cfg(test)]
mod tests;
