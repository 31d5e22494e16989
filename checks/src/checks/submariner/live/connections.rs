//! The connections between gateways: what each side says of the other.

use std::collections::{BTreeMap, BTreeSet};

use super::{Member, joined, members};
use crate::alike::some_of;
use crate::check::{Judged, declare_check};
use crate::facts::provenance::Source;
use crate::facts::submariner::Connection;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::Mesh;
use crate::report::Evidence;

declare_check! {
    /// ## What it checks
    /// Every remote Endpoint of the broker is present in the cluster and among the active gateway's connections.
    ///
    /// ## Why it matters
    /// Gateways do not copy an Endpoint whose ranges overlap their own. No status, event or metric tells.
    ///
    /// ## How it is determined
    /// Clusters and Endpoints of the broker (or, without it, the local copies) against local copies and connections.
    ///
    /// ## How to fix
    /// Run the address checks; if they pass, look at the broker's credentials and the gateway's log.
    ///
    /// ## References
    /// Submariner issues 597, 1399; `pkg/controllers/datastoresyncer`.
    pub(super) static ENDPOINT_SKIPPED = {
        code: "SM905",
        slug: "endpoint-skipped",
        title: "A cluster was skipped",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "that cluster is not connected, and only a log line says why",
        rules: ["submariner CAB-05", "submariner CIDR-01"],
        run: Cluster(endpoint_skipped),
    };
}

fn endpoint_skipped(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mesh = Mesh::of(audit);
    let member = joined(cluster)?;
    let own_namespace = &member.facts.config.get()?.namespace;
    // What should be there: the broker's view where it is in this audit, else the local Cluster objects, which are copied whatever overlaps.
    let expected: BTreeSet<String> = match mesh.broker()? {
        Some(broker) => {
            let namespace = &broker.facts.broker.get()?.namespace;
            broker
                .facts
                .endpoints
                .get()?
                .iter()
                .filter(|endpoint| endpoint.namespace == *namespace)
                .map(|endpoint| endpoint.cluster_id.clone())
                .collect()
        }
        None => member
            .facts
            .clusters
            .get()?
            .iter()
            .filter(|object| object.namespace == *own_namespace)
            .map(|object| object.cluster_id.clone())
            .collect(),
    };
    let local: BTreeSet<&str> = member
        .facts
        .endpoints
        .get()?
        .iter()
        .filter(|endpoint| endpoint.namespace == *own_namespace)
        .map(|endpoint| endpoint.cluster_id.as_str())
        .collect();
    let clusters: BTreeSet<&str> = member
        .facts
        .clusters
        .get()?
        .iter()
        .filter(|object| object.namespace == *own_namespace)
        .map(|object| object.cluster_id.as_str())
        .collect();
    let connected: BTreeSet<&str> = member
        .active_gateway()?
        .connections
        .iter()
        .map(|connection| connection.endpoint.cluster_id.as_str())
        .collect();
    let remote = || expected.iter().map(String::as_str).filter(|id| *id != member.id);
    let skipped: Vec<&str> = remote()
        .filter(|id| !local.contains(id) && clusters.contains(id))
        .collect();
    let lost: Vec<&str> = remote()
        .filter(|id| !local.contains(id) && !clusters.contains(id))
        .collect();
    let waiting: Vec<&str> = remote()
        .filter(|id| local.contains(id) && !connected.contains(id))
        .collect();
    let source = Source::read(format!("Endpoints in {own_namespace}"), "spec.cluster_id");
    Ok(if !skipped.is_empty() {
        Outcome::broken()
            .found(format!(
                "{} skipped: Cluster present, Endpoint absent, as with overlapping ranges",
                some_of(skipped)
            ))
            .remedy("make the ranges disjoint or use Globalnet; see the NET checks of this report")
    } else if !lost.is_empty() {
        Outcome::broken()
            .found(format!("{} not synchronised", some_of(lost)))
            .remedy("look at the broker's credentials and reachability from the gateway pod")
    } else if !waiting.is_empty() {
        Outcome::broken()
            .found(format!("{} known but not tried", some_of(waiting)))
            .remedy("NAT discovery takes up to a minute; after that look at the gateway's log")
    } else {
        Outcome::holds().found(format!("{} remote clusters, all tried", remote().count()))
    }
    .expected("every remote Endpoint here, and among the connections")
    .evidence(Evidence::new(cluster.name(), &some_of(&local), &source)))
}

declare_check! {
    /// ## What it checks
    /// Both ends of every pair report `connected`.
    ///
    /// ## Why it matters
    /// One side alone means a firewall that is open one way.
    ///
    /// ## How it is determined
    /// Connections of the active gateways of all clusters of this audit, both ends.
    ///
    /// ## How to fix
    /// Open the missing direction.
    ///
    /// ## References
    /// Submariner, `pkg/cableengine`.
    pub(super) static CONNECTED = {
        code: "SM906",
        slug: "connected",
        title: "Gateways are not connected",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "no traffic passes between these clusters",
        rules: ["submariner CAB-06"],
        run: Set(connected),
    };
}

/// Connections by pair of clusters, each end with the member that reports it.
type Connections<'m, 'a> = BTreeMap<(ClusterId, ClusterId), Vec<(&'m Member<'a, 'a>, &'a Connection)>>;

/// Every connection between two members of this audit, with what each end says.
fn pairs<'m, 'a>(members: &'m [Member<'a, 'a>]) -> Connections<'m, 'a> {
    let by_id: BTreeMap<&str, &Member<'_, '_>> = members.iter().map(|member| (member.id.as_str(), member)).collect();
    let mut pairs: BTreeMap<(ClusterId, ClusterId), Vec<_>> = BTreeMap::new();
    for member in members {
        let Ok(gateway) = member.active_gateway() else { continue };
        for connection in &gateway.connections {
            if let Some(peer) = by_id.get(connection.endpoint.cluster_id.as_str()) {
                let (a, b) = (
                    member.cluster.id.min(peer.cluster.id),
                    member.cluster.id.max(peer.cluster.id),
                );
                pairs.entry((a, b)).or_default().push((member, connection));
            }
        }
    }
    pairs
}

fn gateway_source(member: &Member<'_, '_>, field: &str) -> Source {
    let name = member
        .active_gateway()
        .map_or_else(|_| "active".to_owned(), |gateway| gateway.name.clone());
    Source::read(format!("Gateway {name}"), field)
}

fn connected(audit: &Audit<'_>) -> Vec<Outcome> {
    let (members, mut outcomes) = members(audit);
    for member in &members {
        if let Err(why) = member.active_gateway() {
            outcomes.push(Outcome::none(why).about([member.cluster.id]));
        }
    }
    let pairs = pairs(&members);
    let mut good = BTreeSet::new();
    for ((a, b), ends) in &pairs {
        if ends.iter().all(|(_, connection)| connection.status == "connected") {
            good.extend([*a, *b]);
            continue;
        }
        let one_sided = ends.iter().any(|(_, connection)| connection.status == "connected");
        outcomes.push(
            Outcome::broken()
                .expected("connected on both ends")
                .found(
                    ends.iter()
                        .map(|(member, connection)| format!("{} on {}", connection.status, member.cluster.name()))
                        .collect::<Vec<_>>()
                        .join(", "),
                )
                .evidence_all(ends.iter().map(|(member, connection)| {
                    Evidence::new(
                        member.cluster.name(),
                        &format!("{} {}", connection.status, connection.message).trim(),
                        &gateway_source(member, "status.connections"),
                    )
                }))
                .remedy(if one_sided {
                    "one direction is blocked: open it, tunnel port and ESP"
                } else {
                    "open the tunnel port between the gateways, both ways; compare cable driver, PSK and addresses"
                })
                .about([*a, *b]),
        );
    }
    if !good.is_empty() {
        outcomes.push(
            Outcome::holds()
                .found(format!("{} pairs seen", pairs.len()))
                .about(good),
        );
    }
    outcomes
}

declare_check! {
    /// ## What it checks
    /// Both ends of a connection use private, or both use public addresses.
    ///
    /// ## Why it matters
    /// An asymmetric choice means that NAT discovery was answered one way only.
    ///
    /// ## How it is determined
    /// `usingIP` of both ends against private and public addresses of the Endpoints.
    ///
    /// ## How to fix
    /// Open UDP 4490 on the private path, or annotate the public address.
    ///
    /// ## References
    /// Submariner, `pkg/natdiscovery`.
    pub(super) static ADDRESS_CHOICE = {
        code: "SM907",
        slug: "address-choice",
        title: "Two gateways use different kinds of address",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "NAT was judged differently on the two sides",
        rules: ["submariner CAB-07"],
        run: Set(address_choice),
    };
}

fn address_choice(audit: &Audit<'_>) -> Vec<Outcome> {
    let (members, mut outcomes) = members(audit);
    let mut alike = BTreeSet::new();
    for ((a, b), ends) in &pairs(&members) {
        let kind = |connection: &Connection| {
            let endpoint = &connection.endpoint;
            if endpoint.private_ips.contains(&connection.using_ip) {
                "private"
            } else {
                "public"
            }
        };
        let kinds: BTreeSet<&str> = ends
            .iter()
            .filter(|(_, connection)| !connection.using_ip.is_empty())
            .map(|(_, connection)| kind(connection))
            .collect();
        if kinds.len() < 2 {
            alike.extend([*a, *b]);
            continue;
        }
        outcomes.push(
            Outcome::broken()
                .expected("private on both ends, or public on both")
                .found(
                    ends.iter()
                        .map(|(member, connection)| {
                            format!("{} uses the {} address", member.cluster.name(), kind(connection))
                        })
                        .collect::<Vec<_>>()
                        .join(", "),
                )
                .evidence_all(ends.iter().map(|(member, connection)| {
                    Evidence::new(
                        member.cluster.name(),
                        &connection.using_ip,
                        &gateway_source(member, "status.connections.usingIP"),
                    )
                }))
                .remedy("open UDP 4490 on the private path, or annotate the right public address")
                .about([*a, *b]),
        );
    }
    if !alike.is_empty() {
        outcomes.push(Outcome::holds().found("both ends chose alike").about(alike));
    }
    outcomes
}
