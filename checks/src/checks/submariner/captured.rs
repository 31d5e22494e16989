//! Addresses and subnets that must stay reachable beside the tunnels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use super::ranges::{Open, Own, conclude, ranges};
use crate::address::AddressIndex;
use crate::alike::some_of;
use crate::check::{Check, declare_check};
use crate::cidr::Cidr;
use crate::facts::RangeKind;
use crate::facts::provenance::{Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::discovery::is_ovn_kubernetes;
use crate::profile::submariner::gateways::{active, labelled, private_addresses};
use crate::profile::submariner::{Mesh, field, installed};
use crate::report::Evidence;

pub(super) static CHECKS: &[&Check] = &[&CAPTURED_PEERS, &OVN_INTERNAL_RANGES];

declare_check! {
    /// ## What it checks
    /// The addresses that gateways dial, those of their peers and the broker's, lie in no range that a cluster routes elsewhere.
    ///
    /// ## Why it matters
    /// An address inside a range of pods or Services of another cluster goes into the tunnel that it is needed for, and inside the gateway's own
    /// pod network it never leaves the node.
    ///
    /// ## How it is determined
    /// The addresses of gateways (members' `Endpoint` objects, `usingIP` of their connections, nodes labelled as gateways) and of the broker's API server, where
    /// it is an address, against the ranges of pods and Services. With Globalnet only a cluster's own ranges count, as others do not see them. Node
    /// addresses inside ranges without Globalnet are judged with all other addressing and not told twice.
    ///
    /// ## How to fix
    /// Move the service or the range, use Globalnet, or let peers use the public address.
    ///
    /// ## References
    /// `submariner`, `pkg/routeagent_driver/handlers`.
    pub static CAPTURED_PEERS = {
        code: "SM206",
        slug: "captured-peer-addresses",
        title: "An address the gateways need lies in a cluster's range",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "packets for the peer or the broker go into a tunnel or a pod network",
        rules: ["submariner CIDR-11"],
        run: Set(captured_peers),
    };
}

/// An address that gateways dial.
#[derive(Default)]
struct Dialled {
    /// What it is, in a few words, and where that stands.
    what: Vec<(String, ClusterId, Source)>,
    /// The clusters known to dial it.
    by: BTreeSet<ClusterId>,
    /// The clusters whose gateway it is: their own ranges around it are another rule's.
    of: BTreeSet<ClusterId>,
}

fn captured_peers(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let mut unknown: Open = BTreeMap::new();
    let mut dialled: BTreeMap<IpAddr, Dialled> = BTreeMap::new();
    let mut nodes: HashMap<IpAddr, ClusterId> = HashMap::new();
    for cluster in audit.clusters {
        if let Err(why) = note_dialled(cluster, &mut dialled) {
            unknown.entry(why.into()).or_default().insert(cluster.id);
        }
        for node in cluster.facts.nodes.ok().into_iter().flatten() {
            nodes.extend(node.internal_ips().map(|ip| (ip, cluster.id)));
        }
    }
    let mut globalnet: Vec<Option<bool>> = Vec::new();
    for cluster in audit.clusters {
        let known = mesh.globalnet(cluster).map(|known| known.value);
        globalnet.push(known.as_ref().ok().copied());
        if let Err(why) = known {
            unknown.entry(why.into()).or_default().insert(cluster.id);
        }
    }
    let hosts = dialled.keys().map(|ip| (Cidr::host(*ip), *ip)).collect();
    let index = AddressIndex::new(hosts);
    let mut broken = Vec::new();
    for cluster in audit.clusters {
        let (own, missing) = ranges(cluster);
        for why in missing {
            unknown.entry(why.into()).or_default().insert(cluster.id);
        }
        let mut told = BTreeSet::new();
        for range in own.iter().filter(|range| range.kind != RangeKind::Nodes) {
            for block in index.within(range.cidr) {
                for address in block.values() {
                    let Some(entry) = dialled.get(address) else { continue };
                    let others_route_it = globalnet[cluster.id] == Some(false);
                    let dials_it = entry.by.contains(&cluster.id) || !entry.of.is_empty();
                    let is_captured = !entry.of.contains(&cluster.id) && (others_route_it || dials_it);
                    if is_captured
                        && !is_told_elsewhere(&nodes, &globalnet, cluster.id, *address)
                        && told.insert(*address)
                    {
                        broken.push(captured(audit, cluster, range, *address, entry));
                    }
                }
            }
        }
    }
    conclude(
        audit,
        broken,
        unknown,
        &format!("{} addresses, none in a range of pods or Services", dialled.len()),
    )
}

/// A node's address in a range is judged with all other addressing, except between two clusters with Globalnet.
fn is_told_elsewhere(
    nodes: &HashMap<IpAddr, ClusterId>,
    globalnet: &[Option<bool>],
    owner: ClusterId,
    address: IpAddr,
) -> bool {
    nodes.get(&address).is_some_and(|home| {
        let both = globalnet[*home] == Some(true) && globalnet[owner] == Some(true);
        *home == owner || !both
    })
}

fn captured(audit: &Audit<'_>, cluster: &Cluster<'_>, range: &Own<'_>, address: IpAddr, entry: &Dialled) -> Outcome {
    let (what, id, source) = &entry.what[0];
    let home = audit.cluster(*id).name();
    let mut about: Vec<ClusterId> = entry.by.iter().chain(&entry.of).copied().take(1).collect();
    about.push(cluster.id);
    about.sort_unstable();
    about.dedup();
    Outcome::broken()
        .expected("addresses of gateways and broker outside of all ranges")
        .found(format!("{what} {address} in {}", range.describe(cluster)))
        .evidence(Evidence::new(home, &address, source))
        .evidence(range.evidence(cluster))
        .remedy(format!(
            "move {address} or the range of {}, or use Globalnet",
            cluster.name()
        ))
        .about(about)
}

/// Notes the addresses of a cluster's gateways, and those its gateways dial.
fn note_dialled(cluster: &Cluster<'_>, dialled: &mut BTreeMap<IpAddr, Dialled>) -> Result<(), Unknown> {
    for (address, source) in private_addresses(cluster, labelled(cluster)?)? {
        let entry = dialled.entry(address.into()).or_default();
        entry
            .what
            .push((format!("gateway of {}", cluster.name()), cluster.id, source));
        entry.of.insert(cluster.id);
    }
    let Some(config) = installed(cluster)? else {
        return Ok(());
    };
    let broker = &config.value.broker_api_server;
    if let Some(address) = host_address(broker) {
        let source = field(config, "spec.brokerK8sApiServer");
        let entry = dialled.entry(address).or_default();
        entry.what.push(("broker".to_owned(), cluster.id, source));
        entry.by.insert(cluster.id);
    }
    if let Some((gateway, _)) = active(cluster)? {
        for connection in &gateway.connections {
            if let Ok(address) = connection.using_ip.parse() {
                let source = Source::read(format!("Gateway {}", gateway.name), "status.connections[].usingIP");
                let entry = dialled.entry(address).or_default();
                entry.what.push((
                    format!("gateway of {}", connection.endpoint.cluster_id),
                    cluster.id,
                    source,
                ));
                entry.by.insert(cluster.id);
            }
        }
    }
    Ok(())
}

/// The address in `10.0.0.1:6443/path`, if it is one.
fn host_address(server: &str) -> Option<IpAddr> {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host.trim_matches(['[', ']']).parse().ok()
}

declare_check! {
    /// ## What it checks
    /// What other clusters advertise does not overlap the subnets OVN-Kubernetes uses inside.
    ///
    /// ## Why it matters
    /// OVN-Kubernetes joins its routers with 100.64.0.0/16 and 100.88.0.0/16 unless told otherwise, and takes packets for them as its own.
    ///
    /// ## How it is determined
    /// The default subnets, where OVN-Kubernetes runs, against the advertised ranges of the other clusters: pods and Services, or Global
    /// CIDRs. A changed internal subnet is not seen.
    ///
    /// ## How to fix
    /// Change OVN-Kubernetes' internal subnets, or the other cluster's range.
    ///
    /// ## References
    /// OVN-Kubernetes documentation, join and transit switch subnets.
    pub static OVN_INTERNAL_RANGES = {
        code: "SM207",
        slug: "ovn-internal-ranges",
        title: "A range lies in OVN-Kubernetes' internal subnets",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "OVN-Kubernetes keeps packets for that range to itself",
        rules: ["submariner CIDR-13"],
        run: Between(ovn_internal_ranges),
    };
}

fn ovn_internal_ranges(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let mut unknown: Open = BTreeMap::new();
    let mut ovn = Vec::new();
    for cluster in audit.clusters {
        match is_ovn_kubernetes(cluster) {
            Ok(true) => ovn.push(cluster.id),
            Ok(false) => {}
            Err(why) => {
                unknown.entry(why.into()).or_default().insert(cluster.id);
            }
        }
    }
    if ovn.is_empty() && unknown.is_empty() {
        return vec![Outcome::does_not_apply("no cluster runs OVN-Kubernetes").about(audit.everyone())];
    }
    let internal = [64, 88]
        .map(|octet| Cidr::new(Ipv4Addr::new(100, octet, 0, 0).into(), 16).expect("16 bits are a valid prefix"));
    let mut broken = Vec::new();
    for subnet in internal {
        let (mut offenders, mut evidence) = (Vec::new(), Vec::new());
        for cluster in audit.clusters {
            let ranges = match mesh.advertised(cluster) {
                Ok(ranges) => ranges,
                Err(why) => {
                    unknown.entry(why.into()).or_default().insert(cluster.id);
                    continue;
                }
            };
            if let Some(range) = ranges.iter().find(|range| range.cidr.overlaps(subnet)) {
                offenders.push(cluster.id);
                evidence.push(Evidence::new(cluster.name(), &range.cidr, &range.source));
            }
        }
        let others: Vec<ClusterId> = ovn.iter().copied().filter(|id| offenders != [*id]).collect();
        if offenders.is_empty() || others.is_empty() {
            continue;
        }
        evidence.truncate(8);
        let about: BTreeSet<ClusterId> = offenders.iter().chain(&others).copied().collect();
        broken.push(
            Outcome::broken()
                .expected(format!("nothing of other clusters in {subnet}"))
                .found(format!(
                    "{} of {}",
                    some_of(evidence.iter().map(|known| &known.value)),
                    audit.names(&offenders)
                ))
                .evidence_all(evidence)
                .remedy("change the internal subnets of OVN-Kubernetes")
                .across([offenders.clone(), others])
                .about(about),
        );
    }
    conclude(audit, broken, unknown, "nothing in OVN-Kubernetes' internal subnets")
}

#[cfg(test)]
mod tests;
