//! Whether an installed Submariner works: what its own objects say, held against each other.

use std::collections::{BTreeMap, BTreeSet};

use super::some_of;
use crate::addressing::Range;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::compare::Groups;
use crate::facts::provenance::{Known, Source, Unknown};
use crate::facts::submariner::{Connection, Endpoint, Gateway, Submariner};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::{Mesh, installed, split};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &CABLE_DRIVER,
    &PREFERRED_SERVER,
    &ONE_ENDPOINT,
    &ENDPOINT_SKIPPED,
    &CONNECTED,
    &ADDRESS_CHOICE,
    &GATEWAY_FRESH,
    &SUBNETS,
    &VXLAN_PORT,
    &ROUTE_AGENTS,
    &READY_PODS,
];

/// A cluster that has joined, with what its rules need.
struct Member<'c, 'a> {
    cluster: &'c Cluster<'a>,
    facts: &'a Submariner,
    id: String,
}

fn joined<'c, 'a>(cluster: &'c Cluster<'a>) -> Result<Member<'c, 'a>, NoVerdict> {
    let Some(config) = installed(cluster)? else {
        return Err(NoVerdict::does_not_apply("Submariner is not installed yet"));
    };
    Ok(Member {
        cluster,
        facts: cluster.facts.submariner.get()?,
        id: config.value.cluster_id.clone(),
    })
}

impl<'a> Member<'_, 'a> {
    fn active_gateway(&self) -> Result<&'a Gateway, Unknown> {
        let gateways = self.facts.gateways.get()?;
        gateways
            .iter()
            .find(|gateway| gateway.ha_status == "active")
            .ok_or_else(|| Unknown::not_found(format!("no Gateway of {} is active", self.cluster.name())))
    }

    /// The own Endpoint as the members' namespaces show it.
    fn endpoint(&self) -> Result<&'a Endpoint, Unknown> {
        let endpoints = self.facts.endpoints.get()?;
        endpoints
            .iter()
            .find(|endpoint| endpoint.cluster_id == self.id)
            .ok_or_else(|| Unknown::not_found(format!("{} has no Endpoint of its own", self.cluster.name())))
    }
}

/// All members of the audit, and why the other clusters are none.
fn members<'a>(audit: &Audit<'a>) -> (Vec<Member<'a, 'a>>, Vec<Outcome>) {
    let (mut members, mut outcomes) = (Vec::new(), Vec::new());
    for cluster in audit.clusters {
        match joined(cluster) {
            Ok(member) => members.push(member),
            Err(why) => outcomes.push(Outcome::none(why).about([cluster.id])),
        }
    }
    (members, outcomes)
}

fn endpoint_source(endpoint: &Endpoint, field: &str) -> Source {
    Source::read(format!("Endpoint {}", endpoint.cable_name), field)
}

declare_check! {
    /// ## What it checks
    /// All clusters use one cable driver.
    ///
    /// ## Why it matters
    /// Each side speaks its own protocol on the same port.
    ///
    /// ## How it is determined
    /// `backend` of the Endpoints; before the join the plan and the default.
    ///
    /// ## How to fix
    /// Join the odd cluster again with the same `--cable-driver`.
    ///
    /// ## References
    /// Submariner, `pkg/cable`.
    pub static CABLE_DRIVER = {
        code: "SM901",
        slug: "cable-driver",
        title: "Cable drivers differ",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the tunnel never comes up",
        rules: ["submariner CAB-01"],
        run: Between(cable_driver),
    };
}

fn cable_driver(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    Groups::of(audit, |cluster| match joined(cluster) {
        Ok(member) => {
            let endpoint = member.endpoint()?;
            Ok(Known::new(
                endpoint.backend.clone(),
                endpoint_source(endpoint, "spec.backend"),
            ))
        }
        Err(NoVerdict::DoesNotApply(_)) => Ok(mesh.cable_driver(cluster)?),
        Err(why) => Err(why),
    })
    .expect_equal(audit, |outcome, _| {
        outcome
            .expected("one cable driver in all clusters")
            .remedy("join the odd cluster again with the same --cable-driver")
    })
}

declare_check! {
    /// ## What it checks
    /// Of two clusters whose gateways are behind NAT, one is a preferred server or has its ports forwarded.
    ///
    /// ## Why it matters
    /// It may work as long as the routers keep source ports.
    ///
    /// ## How it is determined
    /// Endpoints with NAT and without the preferred-server mark, libreswan only; fails where the two are not connected.
    ///
    /// ## How to fix
    /// Forward the ports on one side, or set `--preferred-server` on the reachable one.
    ///
    /// ## References
    /// Submariner documentation, NAT traversal.
    pub static PREFERRED_SERVER = {
        code: "SM903",
        slug: "preferred-server",
        title: "No gateway can be reached from outside",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "two gateways behind NAT wait for each other",
        rules: ["submariner CAB-03"],
        run: Between(preferred_server),
    };
}

fn preferred_server(audit: &Audit<'_>) -> Vec<Outcome> {
    let (members, mut outcomes) = members(audit);
    let mut hidden = Vec::new();
    let mut read = Vec::new();
    for member in &members {
        match member.endpoint() {
            Ok(endpoint) => {
                read.push(member.cluster.id);
                let preferred = endpoint
                    .backend_config
                    .get("preferred-server")
                    .is_some_and(|value| value == "true");
                let behind_nat = endpoint.nat_enabled == Some(true)
                    && endpoint.public_ips != endpoint.private_ips
                    && endpoint.backend == "libreswan";
                if behind_nat && !preferred {
                    hidden.push((member, endpoint));
                }
            }
            Err(why) => outcomes.push(Outcome::none(why).about([member.cluster.id])),
        }
    }
    // Connected ones have proven that they reach each other.
    let unconnected: Vec<_> = hidden
        .iter()
        .filter(|(member, _)| {
            let others = hidden.iter().filter(|(other, _)| other.id != member.id);
            let connections = member.active_gateway().map(|gateway| &gateway.connections);
            others.clone().any(|(other, _)| {
                connections.as_ref().is_ok_and(|list| {
                    !list
                        .iter()
                        .any(|one| one.endpoint.cluster_id == other.id && one.status == "connected")
                })
            })
        })
        .collect();
    if read.len() < 2 {
        return outcomes;
    }
    let outcome = if unconnected.len() < 2 {
        Outcome::holds()
            .found("no two gateways wait for each other")
            .about(read)
    } else {
        let ids: Vec<ClusterId> = unconnected.iter().map(|(member, _)| member.cluster.id).collect();
        Outcome::broken_as(Severity::Fail)
            .found(format!("{} are behind NAT, not preferred servers and not connected", audit.names(&ids)))
            .remedy("forward UDP 4500 and 4490 to the gateway on one side, or join the reachable one with --preferred-server")
            .evidence_all(unconnected.iter().map(|(member, endpoint)| Evidence::new(member.cluster.name(), &"preferred-server false", &endpoint_source(endpoint, "spec.backend_config"))))
            .within(ids.clone())
            .about(ids)
    };
    outcomes.push(outcome.expected("one side that can be reached"));
    outcomes
}

declare_check! {
    /// ## What it checks
    /// The broker holds exactly one Endpoint per cluster.
    ///
    /// ## Why it matters
    /// A stale one, or a second cluster of the same ID, misleads all others.
    ///
    /// ## How it is determined
    /// Endpoints in the broker's namespace by cluster ID.
    ///
    /// ## How to fix
    /// Delete the stale Endpoint at the broker; look for a duplicate ID.
    ///
    /// ## References
    /// subctl, `pkg/diagnose/deployments.go`.
    pub static ONE_ENDPOINT = {
        code: "SM904",
        slug: "one-endpoint",
        title: "A cluster has several Endpoints at the broker",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "peers connect to the one that is gone",
        rules: ["submariner CAB-04"],
        run: Set(one_endpoint),
    };
}

fn one_endpoint(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let judged = || -> Judged {
        let Some(broker) = mesh.broker()? else {
            return Err(NoVerdict::does_not_apply("the broker is not among these clusters"));
        };
        let namespace = &broker.facts.broker.get()?.namespace;
        let known = broker.facts.endpoints.known_value()?;
        let mut by_id: BTreeMap<&str, Vec<&Endpoint>> = BTreeMap::new();
        for endpoint in known.value.iter().filter(|endpoint| endpoint.namespace == *namespace) {
            by_id.entry(&endpoint.cluster_id).or_default().push(endpoint);
        }
        let several: Vec<_> = by_id.iter().filter(|(_, list)| list.len() > 1).collect();
        Ok(match several.first() {
            None => Outcome::holds().found(format!("{} Endpoints, one per cluster", by_id.len())),
            Some((id, list)) => Outcome::broken()
                .found(format!("{} Endpoints of {id}", list.len()))
                .remedy("delete the stale Endpoint in the broker's namespace; two live ones mean that two clusters have one ID")
                .evidence_all(several.iter().flat_map(|(_, list)| list.iter()).map(|endpoint| Evidence::new(broker.cluster.name(), &endpoint.cable_name, &endpoint_source(endpoint, "spec.cluster_id")))),
        }
        .expected("one Endpoint per cluster"))
    };
    vec![judged().unwrap_or_else(Outcome::none).about(audit.everyone())]
}

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
    pub static ENDPOINT_SKIPPED = {
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
    pub static CONNECTED = {
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
    pub static ADDRESS_CHOICE = {
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

declare_check! {
    /// ## What it checks
    /// The active gateway refreshed its status within the last minute before the facts were read.
    ///
    /// ## Why it matters
    /// It does so every five seconds; what is older is a dead gateway's last word.
    ///
    /// ## How it is determined
    /// `update-timestamp` of the active Gateway against the moment the facts were read: over a minute warns, over five
    /// fails. None active fails.
    ///
    /// ## How to fix
    /// Restart the gateway pod; look at the lease.
    ///
    /// ## References
    /// Submariner, `pkg/cableengine/syncer`.
    pub static GATEWAY_FRESH = {
        code: "SM908",
        slug: "gateway-fresh",
        title: "The gateway does not report",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "what it said last may no longer hold",
        rules: ["submariner CAB-08"],
        run: Cluster(gateway_fresh),
    };
}

fn gateway_fresh(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const WARN_SECONDS: i64 = 60;
    const FAIL_SECONDS: i64 = 300;
    let member = joined(cluster)?;
    let Some(gateway) = member
        .facts
        .gateways
        .get()?
        .iter()
        .find(|gateway| gateway.ha_status == "active")
    else {
        return Ok(Outcome::broken()
            .expected("one active gateway")
            .found("no gateway is active")
            .remedy("label a node with submariner.io/gateway=true and look at the gateway pods"));
    };
    let (Some(updated), Some(read)) = (gateway.updated_at, cluster.facts.collected_at) else {
        return Err(Unknown::not_found(format!("Gateway {} says nothing of its last update", gateway.name)).into());
    };
    let age = read.as_second() - updated.as_second();
    let outcome = match age {
        age if age > FAIL_SECONDS => Outcome::broken(),
        age if age > WARN_SECONDS => Outcome::broken_as(Severity::Warn),
        _ => Outcome::holds(),
    };
    let outcome = if outcome.is_broken() {
        outcome.remedy(
            "restart the gateway pod and look at lease submariner-gateway-lock; clocks that disagree look the same",
        )
    } else {
        outcome
    };
    let failure = match gateway.failure.as_str() {
        "" => String::new(),
        text => format!(", says: {text}"),
    };
    Ok(outcome
        .expected("refreshed within a minute")
        .found(format!("{age} seconds old{failure}"))
        .evidence(Evidence::new(
            cluster.name(),
            &updated,
            &Source::read(format!("Gateway {}", gateway.name), "annotation update-timestamp"),
        )))
}

declare_check! {
    /// ## What it checks
    /// The cluster's own Endpoint advertises its present ranges.
    ///
    /// ## Why it matters
    /// A range added after the join is unreachable until operator and gateway restart.
    ///
    /// ## How it is determined
    /// `subnets` of the own Endpoint, as a set of addresses, against Services and pods as stated (or the global range).
    ///
    /// ## How to fix
    /// Correct the ranges in the Submariner object and restart operator and gateway.
    ///
    /// ## References
    /// Submariner, `pkg/endpoint/local_endpoint.go`.
    pub static SUBNETS = {
        code: "SM909",
        slug: "advertised-subnets",
        title: "The cluster advertises other ranges than it has",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "peers route what is no longer there",
        rules: ["submariner CAB-09"],
        run: Cluster(subnets),
    };
}

fn subnets(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mesh = Mesh::of(audit);
    let member = joined(cluster)?;
    let endpoint = member.endpoint()?;
    let source = endpoint_source(endpoint, "spec.subnets");
    let blocks = |ranges: Vec<Range>| Cidr::aggregate(&ranges.iter().map(|range| range.cidr).collect::<Vec<_>>());
    let advertised = blocks(split(&endpoint.subnets.join(","), &source)?);
    let wanted = blocks(mesh.advertised(cluster)?);
    let outcome = if advertised == wanted {
        Outcome::holds()
    } else {
        Outcome::broken().remedy("correct the ranges in the Submariner object, then restart operator and gateway")
    };
    Ok(outcome
        .expected(some_of(&wanted))
        .found(some_of(&advertised))
        .evidence(Evidence::new(cluster.name(), &endpoint.subnets.join(", "), &source)))
}

declare_check! {
    /// ## What it checks
    /// With the VXLAN cable all Endpoints have one UDP port.
    ///
    /// ## Why it matters
    /// The local device's port is also the destination; the peer's value is not read.
    ///
    /// ## How it is determined
    /// `udp-port` of all Endpoints with backend vxlan.
    ///
    /// ## How to fix
    /// One `--nattport` for all, no per-node ports.
    ///
    /// ## References
    /// Submariner, `pkg/cable/vxlan`.
    pub static VXLAN_PORT = {
        code: "SM911",
        slug: "vxlan-port",
        title: "VXLAN cables use different ports",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "each side sends where the other does not listen",
        rules: ["submariner CAB-11"],
        run: Between(vxlan_port),
    };
}

fn vxlan_port(audit: &Audit<'_>) -> Vec<Outcome> {
    Groups::of(audit, |cluster| {
        let member = joined(cluster)?;
        let endpoint = member.endpoint()?;
        if endpoint.backend != "vxlan" {
            return Err(NoVerdict::does_not_apply("no VXLAN cable"));
        }
        let port = endpoint
            .backend_config
            .get("udp-port")
            .cloned()
            .unwrap_or_else(|| "4500".to_owned());
        Ok(Known::new(
            port,
            endpoint_source(endpoint, "spec.backend_config udp-port"),
        ))
    })
    .expect_equal(audit, |outcome, _| {
        outcome
            .expected("one UDP port in all clusters")
            .remedy("join all with one --nattport and remove per-node udp-port annotations")
    })
}

declare_check! {
    /// ## What it checks
    /// Where the gateway is connected, no route agent of another node reports `error`.
    ///
    /// ## Why it matters
    /// Route agents skip a remote whose ranges overlap the cluster's own pods or Services, although the gateway is
    /// connected; or UDP 4800 is blocked.
    ///
    /// ## How it is determined
    /// RouteAgents against the active gateway's connections; status `none` is normal on the gateway's node.
    ///
    /// ## How to fix
    /// Run the address checks (Globalnet ranges too) and open UDP 4800 between nodes.
    ///
    /// ## References
    /// Submariner, `pkg/routeagent_driver`.
    pub static ROUTE_AGENTS = {
        code: "SM912",
        slug: "route-agents",
        title: "Nodes have no way to a connected cluster",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "pods on these nodes do not reach that cluster",
        rules: ["submariner CAB-12"],
        run: Cluster(route_agents),
    };
}

fn route_agents(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let member = joined(cluster)?;
    let gateway = member.active_gateway()?;
    let connected: BTreeSet<&str> = gateway
        .connections
        .iter()
        .filter(|connection| connection.status == "connected")
        .map(|connection| connection.endpoint.cluster_id.as_str())
        .collect();
    let agents = member.facts.route_agents.get()?;
    let failing: Vec<_> = agents
        .iter()
        .filter(|agent| agent.name != gateway.name)
        .flat_map(|agent| agent.remotes.iter().map(move |remote| (agent, remote)))
        .filter(|(_, remote)| remote.status == "error" && connected.contains(remote.cluster_id.as_str()))
        .collect();
    let nodes: BTreeSet<&str> = failing.iter().map(|(agent, _)| agent.name.as_str()).collect();
    let remotes: BTreeSet<&str> = failing.iter().map(|(_, remote)| remote.cluster_id.as_str()).collect();
    Ok(if failing.is_empty() {
        Outcome::holds().found(format!("{} route agents", agents.len()))
    } else {
        Outcome::broken()
            .found(format!("{} of {} nodes do not reach {}", nodes.len(), agents.len(), some_of(remotes)))
            .nodes(nodes.iter().copied())
            .remedy("look at the NET checks of this report (route agents skip overlapping ranges); else open UDP 4800 between all nodes of the cluster")
            .evidence_all(failing.iter().take(5).map(|(agent, remote)| Evidence::new(cluster.name(), &format!("{}: {} {}", remote.cluster_id, remote.status, remote.message).trim_end(), &Source::read(format!("RouteAgent {}", agent.name), "status.remoteEndpoints"))))
    }
    .expected("no route agent in error towards a connected cluster"))
}

declare_check! {
    /// ## What it checks
    /// All pods of Submariner are ready.
    ///
    /// ## Why it matters
    /// A gateway without a label has no pod, a pod without an image waits for ever; `subctl diagnose` counts scheduled,
    /// not ready.
    ///
    /// ## How it is determined
    /// Pods of the operator's namespace.
    ///
    /// ## How to fix
    /// See the reason given: image, label, security level.
    ///
    /// ## References
    /// subctl, `pkg/diagnose/deployments.go`; Lighthouse issue 2001.
    pub static READY_PODS = {
        code: "SM913",
        slug: "components-ready",
        title: "Components of Submariner are not ready",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "parts of the connection are missing",
        rules: ["submariner PLAT-15", "submariner DNS-07"],
        run: Cluster(ready_pods),
    };
}

fn ready_pods(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let member = joined(cluster)?;
    let known = member.facts.unready_pods.known_value()?;
    Ok(if known.value.is_empty() {
        Outcome::holds().found("all pods are ready")
    } else {
        Outcome::broken()
            .found(some_of(&known.value))
            .remedy("see the reason given for each pod, with `kubectl describe`")
            .evidence_all(
                known
                    .value
                    .iter()
                    .take(5)
                    .map(|pod| Evidence::new(cluster.name(), pod, &known.source)),
            )
    }
    .expected("all pods of Submariner ready"))
}

#[cfg(test)]
mod tests;
