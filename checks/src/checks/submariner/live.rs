//! Whether an installed Submariner works: what its own objects say, held against each other.

mod connections;

use std::collections::{BTreeMap, BTreeSet};

use crate::addressing::Range;
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::compare::Groups;
use crate::facts::provenance::{Known, Source, Unknown};
use crate::facts::submariner::{Endpoint, Gateway, Submariner};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::{Mesh, installed, split};
use crate::report::{Evidence, Severity};
use connections::{ADDRESS_CHOICE, CONNECTED, ENDPOINT_SKIPPED};

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
