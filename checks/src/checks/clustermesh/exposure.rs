//! The mesh's control plane as peers reach it: Deployment, Service, ports, source ranges.

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::facts::provenance::{Known, Source};
use crate::facts::service::Service;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::control_plane::{ETCD_PORT, NAME, deployment, service};
use crate::profile::cilium::values::{IdentityMode, KubeProxyReplacement};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &CONTROL_PLANE_READY,
    &SERVICE_TYPE,
    &NODE_PORT_RANGE,
    &LOAD_BALANCER_ADDRESS,
    &LOAD_BALANCER_SCOPE,
    &SOURCE_RANGES,
    &SESSION_AFFINITY,
    &HOST_ALIASES,
];

/// The Service of the control plane, or why no rule about it applies.
fn exposed<'a>(cluster: &Cluster<'a>) -> Result<&'a Service, NoVerdict> {
    service(cluster)?
        .ok_or_else(|| NoVerdict::does_not_apply("the mesh is not enabled yet: no Service clustermesh-apiserver"))
}

fn source(service: &Service, field: &str) -> Source {
    Source::read(format!("Service {}", service.key()), field)
}

declare_check! {
    /// ## What it checks
    /// Deployment and Service `clustermesh-apiserver` exist and are ready.
    ///
    /// ## Why it matters
    /// Peers read a cluster's state there. `cilium clustermesh connect` refuses without it.
    ///
    /// ## How it is determined
    /// The two objects in Cilium's namespace. If neither exists the mesh has not been enabled yet, which is work to do before the join (warn); if one is
    /// there without the other, or no replica is ready, the join fails. Mode kvstore has no Service of its own and is judged elsewhere.
    ///
    /// ## How to fix
    /// `cilium clustermesh enable` (with `--service-type` outside GKE, AKS and EKS), or chart value `clustermesh.useAPIServer=true`.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup; cilium-cli `clustermesh/clustermesh.go`.
    pub static CONTROL_PLANE_READY = {
        code: "CM601",
        slug: "control-plane-ready",
        title: "The mesh control plane is not ready",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "connect is refused: there is nothing for peers to read",
        rules: ["clustermesh CP-1", "clustermesh LAB-3"],
        run: Cluster(control_plane_ready),
    };
}

fn control_plane_ready(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if cluster.cilium()?.identity_mode()?.value == IdentityMode::Kvstore {
        return Err(NoVerdict::does_not_apply(
            "in mode kvstore peers dial the cluster's own etcd",
        ));
    }
    let (service, deployment) = (service(cluster)?, deployment(cluster)?);
    let enable = "run `cilium clustermesh enable` (with --service-type outside GKE, AKS and EKS) or set chart value clustermesh.useAPIServer=true";
    let outcome = match (service, deployment) {
        (None, None) => Outcome::broken_as(Severity::Warn).found("the mesh is not enabled yet").remedy(enable),
        (None, Some(_)) => Outcome::broken().found("Deployment clustermesh-apiserver has no Service").remedy("create the Service, see chart value clustermesh.apiserver.service"),
        (Some(_), None) => Outcome::broken().found("Service clustermesh-apiserver has no Deployment").remedy(enable),
        (Some(_), Some(workload)) if workload.unobserved => Outcome::broken_as(Severity::Warn)
            .found("Deployment clustermesh-apiserver has no status yet")
            .remedy("wait until it is rolled out, then audit again"),
        (Some(_), Some(workload)) if workload.ready == 0 => Outcome::broken()
            .found(format!("0 of {} replicas ready", workload.desired))
            .remedy("see `kubectl describe` and the logs of the pods of clustermesh-apiserver; with cluster id 0 it refuses to start"),
        (Some(_), Some(workload)) => Outcome::holds().found(format!("{} of {} replicas ready", workload.ready, workload.desired)),
    };
    let evidence = deployment.map(|workload| {
        Evidence::new(
            cluster.name(),
            &format!("{} ready", workload.ready),
            &Source::read(workload.object(), "status"),
        )
    });
    Ok(outcome
        .expected("Deployment and Service clustermesh-apiserver, ready")
        .evidence_all(evidence))
}

declare_check! {
    /// ## What it checks
    /// The control plane is exposed by a load balancer.
    ///
    /// ## Why it matters
    /// A NodePort pins one node's address at connect: when that node goes, so does the mesh. A ClusterIP is reachable for peers only where the network
    /// routes it, or where something else stands in front.
    ///
    /// ## How it is determined
    /// `spec.type` of Service `clustermesh-apiserver`. NodePort and ClusterIP work and only warn.
    ///
    /// ## How to fix
    /// Chart value `clustermesh.apiserver.service.type=LoadBalancer` where there is one; else list several nodes with `--destination-endpoint`.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup; cilium-cli issue 1247; cilium/cilium issue 34441.
    pub static SERVICE_TYPE = {
        code: "CM602",
        slug: "control-plane-service-type",
        title: "The mesh control plane has no load balancer",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "peers pin the address of one node, or of a ClusterIP that the network has to route",
        rules: ["clustermesh CP-2", "clustermesh CP-17"],
        run: Cluster(service_type),
    };
}

fn service_type(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let service = exposed(cluster)?;
    let evidence = Evidence::new(cluster.name(), &service.kind, &source(service, "spec.type"));
    let outcome = match service.kind.as_str() {
        "LoadBalancer" => Outcome::holds(),
        "NodePort" => Outcome::broken().remedy(
            "prefer type LoadBalancer, or connect with several --destination-endpoint addresses; costs a reconnect",
        ),
        _ => Outcome::broken().remedy(
            "prefer type LoadBalancer, or make sure that peers can reach the ClusterIP or what stands in front of it",
        ),
    };
    Ok(outcome
        .expected("LoadBalancer")
        .found(service.kind.clone())
        .evidence(evidence))
}

declare_check! {
    /// ## What it checks
    /// The control plane's NodePort lies in the ranges that the API server and Cilium know as NodePorts.
    ///
    /// ## Why it matters
    /// Outside of the API server's range the Service cannot be created; outside of Cilium's, its kube-proxy replacement does not serve the port.
    ///
    /// ## How it is determined
    /// NodePort of Service `clustermesh-apiserver` against `--service-node-port-range` where the API server's flags are visible, and against key
    /// `node-port-range` where Cilium replaces kube-proxy.
    ///
    /// ## How to fix
    /// Choose another port with `clustermesh.apiserver.service.nodePort`, or widen the range.
    ///
    /// ## References
    /// Cilium documentation, kube-proxy replacement.
    pub static NODE_PORT_RANGE = {
        code: "CM603",
        slug: "control-plane-node-port-range",
        title: "The mesh NodePort is outside the NodePort range",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "nobody serves the port that peers dial",
        rules: ["clustermesh CP-3"],
        run: Cluster(node_port_range),
    };
}

fn node_port_range(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let service = exposed(cluster)?;
    let Some(port) = service.ports.iter().find_map(|port| port.node_port) else {
        return Err(NoVerdict::does_not_apply("the control plane has no NodePort"));
    };
    let settings = cluster.cilium()?;
    let mut ranges = Vec::new();
    if settings.kube_proxy_replacement()?.value != KubeProxyReplacement::Off {
        ranges.push(settings.value("node-port-range")?);
    }
    if let Ok(flags) = cluster.facts.control_plane.api_server_flags.known_value()
        && let Some(range) = flags.value.get("service-node-port-range")
    {
        ranges.push(Known::new(
            range.clone(),
            Source {
                field: "--service-node-port-range".to_owned(),
                ..flags.source.clone()
            },
        ));
    }
    let mut outcome = Outcome::holds().found(port.to_string());
    for range in &ranges {
        let bounds = range
            .value
            .split_once([',', '-'])
            .and_then(|(low, high)| Some((low.trim().parse::<u16>().ok()?, high.trim().parse::<u16>().ok()?)));
        let Some((low, high)) = bounds else {
            return Err(crate::facts::provenance::Unknown::unparsable(&range.source, &range.value).into());
        };
        if !(low..=high).contains(&port) {
            outcome = Outcome::broken()
                .found(format!("{port} is not in {low}-{high}"))
                .remedy(format!("set clustermesh.apiserver.service.nodePort on {} to a port in {low}-{high}; peers must connect again", cluster.name()));
        }
    }
    Ok(outcome
        .expected("a NodePort in every range that applies")
        .evidence(Evidence::new(
            cluster.name(),
            &port,
            &source(service, "spec.ports.nodePort"),
        ))
        .evidence_all(ranges.iter().map(|range| Evidence::of(cluster.name(), range))))
}

declare_check! {
    /// ## What it checks
    /// A load balancer of the control plane has an address.
    ///
    /// ## Why it matters
    /// Without one an empty endpoint is stored at connect. A host name is resolved once, on the operator's workstation, and the addresses are pinned:
    /// when the load balancer moves, the mesh breaks.
    ///
    /// ## How it is determined
    /// `status.loadBalancer.ingress` of the Service: none fails, a host name warns.
    ///
    /// ## How to fix
    /// Find out why the cloud gives no address (events of the Service). For a host name configure the peer's `address` as a DNS name instead of `ips`, with
    /// that name in the server certificate.
    ///
    /// ## References
    /// cilium/cilium issue 21189; cilium-cli issues 1080, 1523, 1539.
    pub static LOAD_BALANCER_ADDRESS = {
        code: "CM604",
        slug: "control-plane-load-balancer-address",
        title: "The mesh load balancer has no fixed address",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "peers store an empty address, or one that moves",
        rules: ["clustermesh CP-4"],
        run: Cluster(load_balancer_address),
    };
}

fn load_balancer_address(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let service = exposed(cluster)?;
    if service.kind != "LoadBalancer" {
        return Err(NoVerdict::does_not_apply("the control plane has no load balancer"));
    }
    let names: Vec<&String> = service
        .ingress
        .iter()
        .filter(|ingress| ingress.parse::<std::net::IpAddr>().is_err())
        .collect();
    let outcome = if service.ingress.is_empty() {
        Outcome::broken()
            .found("no address")
            .remedy("see the events of the Service: the load balancer was not made")
    } else if names.is_empty() {
        Outcome::holds().found(service.ingress.join(", "))
    } else {
        Outcome::broken_as(Severity::Warn)
            .found(format!("host name {}", names[0]))
            .remedy("configure the peers with `address` as a DNS name, not with the addresses it resolves to today, and put the name into the server certificate")
    };
    Ok(outcome.expected("an IP address").evidence(Evidence::new(
        cluster.name(),
        &service.ingress.join(", "),
        &source(service, "status.loadBalancer.ingress"),
    )))
}

declare_check! {
    /// ## What it checks
    /// An internal load balancer of the control plane is reachable from the regions its peers are in.
    ///
    /// ## Why it matters
    /// On GKE an internal load balancer answers only its own region unless global access is allowed.
    ///
    /// ## How it is determined
    /// Load-balancer annotations of the Service, and the region labels of the peers' nodes. Other clouds route internal load balancers through peerings: no finding.
    ///
    /// ## How to fix
    /// Annotate the Service with `networking.gke.io/internal-load-balancer-allow-global-access: "true"`.
    ///
    /// ## References
    /// Cilium documentation, GKE cluster mesh preparation; chart comments of `clustermesh.apiserver.service.annotations`.
    pub static LOAD_BALANCER_SCOPE = {
        code: "CM605",
        slug: "control-plane-load-balancer-scope",
        title: "The mesh load balancer answers one region only",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "peers in other regions get no answer",
        rules: ["clustermesh CP-5"],
        run: Cluster(load_balancer_scope),
    };
}

fn load_balancer_scope(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let service = exposed(cluster)?;
    let annotation = |key: &str| {
        service
            .annotation(key)
            .is_some_and(|value| value.eq_ignore_ascii_case("internal"))
    };
    let internal =
        annotation("networking.gke.io/load-balancer-type") || annotation("cloud.google.com/load-balancer-type");
    if service.kind != "LoadBalancer" || !internal {
        return Err(NoVerdict::does_not_apply(
            "no internal load balancer that is bound to a region",
        ));
    }
    let regions = |cluster: &Cluster<'_>| -> Vec<String> {
        let nodes = cluster.facts.nodes.ok();
        let mut regions: Vec<String> = nodes
            .into_iter()
            .flatten()
            .map(|node| node.region.clone())
            .filter(|region| !region.is_empty())
            .collect();
        regions.sort();
        regions.dedup();
        regions
    };
    let own = regions(cluster);
    let elsewhere: Vec<ClusterId> =
        audit.clusters_where(|peer| peer.id != cluster.id && regions(peer).iter().any(|region| !own.contains(region)));
    let global = service.annotation("networking.gke.io/internal-load-balancer-allow-global-access") == Some("true");
    let outcome = if global || elsewhere.is_empty() {
        Outcome::holds().found(if global {
            "global access allowed"
        } else {
            "all peers are in its region"
        })
    } else {
        Outcome::broken()
            .found(format!(
                "internal to {}, but {} lie elsewhere",
                own.join(", "),
                audit.names(&elsewhere)
            ))
            .remedy("annotate the Service: networking.gke.io/internal-load-balancer-allow-global-access: \"true\"")
    };
    Ok(outcome
        .expected("reachable from the regions of all peers")
        .evidence(Evidence::new(
            cluster.name(),
            &"internal",
            &source(service, "metadata.annotations"),
        )))
}

declare_check! {
    /// ## What it checks
    /// `loadBalancerSourceRanges` of the control plane's Service admit the nodes of every peer.
    ///
    /// ## Why it matters
    /// A peer that is not admitted gets no answer. From objects alone this can only be suspected: the peer may come from a NAT address.
    ///
    /// ## How it is determined
    /// For each peer: whether some range holds an InternalIP or ExternalIP of one of its nodes.
    ///
    /// ## How to fix
    /// Add the peers' node ranges (and their NAT addresses) to the Service's source ranges.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh troubleshooting; cilium/cilium issues 25650, 31712.
    pub static SOURCE_RANGES = {
        code: "CM606",
        slug: "control-plane-source-ranges",
        title: "The mesh load balancer does not admit the peers' nodes",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "peers that are not admitted get no answer",
        rules: ["clustermesh CP-6"],
        run: Cluster(source_ranges),
    };
}

fn source_ranges(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let service = exposed(cluster)?;
    if service.source_ranges.is_empty() {
        return Err(NoVerdict::does_not_apply("the Service admits every source"));
    }
    let ranges: Vec<Cidr> = service
        .source_ranges
        .iter()
        .filter_map(|range| range.parse().ok())
        .collect();
    let admitted = |peer: &Cluster<'_>| {
        let nodes = peer.facts.nodes.ok().into_iter().flatten();
        nodes
            .flat_map(|node| &node.addresses)
            .any(|address| ranges.iter().any(|range| range.contains_addr(address.ip)))
    };
    let shut_out =
        audit.clusters_where(|peer| peer.id != cluster.id && peer.facts.nodes.ok().is_some() && !admitted(peer));
    let outcome = if shut_out.is_empty() {
        Outcome::holds().found("every peer has a node in some range")
    } else {
        Outcome::broken()
            .found(format!("no range holds a node of {}", audit.names(&shut_out)))
            .remedy("add the node ranges of these peers, or the addresses they are translated to, to loadBalancerSourceRanges")
    };
    Ok(outcome
        .expected("ranges that hold the nodes of all peers, or their NAT addresses")
        .evidence(Evidence::new(
            cluster.name(),
            &service.source_ranges.join(", "),
            &source(service, "spec.loadBalancerSourceRanges"),
        )))
}

declare_check! {
    /// ## What it checks
    /// A control plane of several replicas keeps each client at one of them.
    ///
    /// ## Why it matters
    /// Each replica has an etcd of its own: whoever is moved to another replica has to read everything again.
    ///
    /// ## How it is determined
    /// Replicas of Deployment `clustermesh-apiserver` and `spec.sessionAffinity` of the Service.
    ///
    /// ## How to fix
    /// Chart value `clustermesh.apiserver.service.enableSessionAffinity`, or one replica.
    ///
    /// ## References
    /// Cilium chart values; `pkg/clustermesh/common/interceptor.go`.
    pub static SESSION_AFFINITY = {
        code: "CM607",
        slug: "control-plane-session-affinity",
        title: "Replicas of the mesh control plane share clients",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "every switch of replica is a full resynchronisation",
        rules: ["clustermesh CP-7"],
        run: Cluster(session_affinity),
    };
}

fn session_affinity(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let service = exposed(cluster)?;
    let replicas = deployment(cluster)?.map_or(0, |workload| workload.desired);
    if replicas < 2 {
        return Err(NoVerdict::does_not_apply("one replica has nothing to share"));
    }
    let affinity = if service.session_affinity.is_empty() {
        "None"
    } else {
        &service.session_affinity
    };
    let outcome = if affinity == "ClientIP" {
        Outcome::holds()
    } else {
        Outcome::broken().remedy("set clustermesh.apiserver.service.enableSessionAffinity=Always, or run one replica")
    };
    Ok(outcome
        .expected("sessionAffinity ClientIP with several replicas")
        .found(format!("{replicas} replicas, sessionAffinity {affinity}"))
        .evidence(Evidence::new(
            cluster.name(),
            &affinity,
            &source(service, "spec.sessionAffinity"),
        )))
}

declare_check! {
    /// ## What it checks
    /// Records the names of peers that are mapped to fixed addresses.
    ///
    /// ## Why it matters
    /// Up to 1.19 the mapping sits in the pods' `hostAliases`: a changed address needs the pods restarted, and an old one goes on being dialled.
    ///
    /// ## How it is determined
    /// `hostAliases` of the agents and of `clustermesh-apiserver`.
    ///
    /// ## How to fix
    /// Nothing to fix; compare with the peers' present addresses after a change.
    ///
    /// ## References
    /// Cilium charts 1.18 to 1.20, cluster mesh templates.
    pub static HOST_ALIASES = {
        code: "CM608",
        slug: "control-plane-host-aliases",
        title: "Peers' names are pinned to addresses",
        severity: Info,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "a changed address needs the pods restarted",
        rules: ["clustermesh CP-16"],
        run: Cluster(host_aliases),
    };
}

fn host_aliases(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let known = cluster.facts.cilium.get()?.mesh.host_aliases.known_value()?;
    if known.value.is_empty() {
        return Ok(Outcome::holds().found("no name is pinned"));
    }
    let pinned = known.value.iter().map(|(name, addresses)| {
        Evidence::new(
            cluster.name(),
            &format!("{name} {}", addresses.join(", ")),
            &known.source,
        )
    });
    Ok(Outcome::broken()
        .found(format!("{} names are pinned", known.value.len()))
        .evidence_all(pinned))
}

/// The port on which peers reach the control plane of this cluster, with where it was read.
pub(super) fn dialled_port(cluster: &Cluster<'_>) -> Result<Known<u16>, NoVerdict> {
    let Some(service) = service(cluster)? else {
        return Ok(Known::new(
            ETCD_PORT,
            Source::default_of(format!("Service {NAME}"), "spec.ports", "the chart"),
        ));
    };
    let port = service
        .ports
        .iter()
        .find(|port| port.port == ETCD_PORT)
        .or(service.ports.first());
    let number = port.map_or(ETCD_PORT, |port| match port.node_port {
        Some(node_port) if service.kind == "NodePort" => node_port,
        _ => port.port,
    });
    Ok(Known::new(number, source(service, "spec.ports")))
}

#[cfg(test)]
mod tests;
