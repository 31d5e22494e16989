//! Who load-balances traffic to Services, and what that does to traffic between clusters.

use std::collections::{BTreeMap, BTreeSet};

use super::super::setting::{evidence, joined};
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::provenance::{Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::control_plane;
use crate::profile::cilium::values::KubeProxyReplacement;
use crate::profile::cilium::version::Version;
use crate::report::{Evidence, Severity};

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] = &[&KUBE_PROXY_REPLACEMENT, &NODE_PORT_COLLISION];

declare_check! {
    /// ## What it checks
    /// Cilium replaces kube-proxy.
    ///
    /// ## Why it matters
    /// kube-proxy knows nothing of other clusters' backends: a global Service that is entered through a NodePort, or by a client on the
    /// host network, goes to local backends only. Pods are not affected.
    ///
    /// ## How it is determined
    /// Key `kube-proxy-replacement` (up to 1.13 also `strict`, `partial`, `probe`, `disabled`), and `bpf-lb-sock` for host clients.
    ///
    /// ## How to fix
    /// Set chart value `kubeProxyReplacement` and remove kube-proxy; for host clients alone socket load balancing is enough
    /// (`socketLB.enabled`). The agents restart, connections through Services may break.
    ///
    /// ## References
    /// Cilium documentation, "Load-balancing & Service Discovery" of Cluster Mesh, limitations.
    pub static KUBE_PROXY_REPLACEMENT = {
        code: "CM307",
        slug: "global-services-behind-kube-proxy",
        title: "NodePorts and host clients reach local backends only",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "kube-proxy knows no backends of other clusters",
        rules: ["clustermesh DP-7"],
        run: Cluster(kube_proxy_replacement),
    };
}

fn kube_proxy_replacement(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let replacement = settings.kube_proxy_replacement()?.value;
    let outcome = if replacement == KubeProxyReplacement::On {
        Outcome::holds()
    } else {
        Outcome::broken()
    };
    let host_clients = settings.flag("bpf-lb-sock")?.value;
    let found = match (replacement, host_clients) {
        (KubeProxyReplacement::On, _) => "Cilium replaces kube-proxy".to_owned(),
        (other, true) => {
            format!("kube-proxy replacement {other}; socket load balancing serves host clients, NodePorts stay local")
        }
        (other, false) => format!("kube-proxy replacement {other}, no socket load balancing"),
    };
    Ok(outcome
        .expected("kube-proxy replacement on")
        .found(found)
        .evidence_all(evidence(cluster, settings, &["kube-proxy-replacement", "bpf-lb-sock"]))
        .remedy("set kubeProxyReplacement and remove kube-proxy, or socketLB.enabled for host clients alone; agents restart"))
}

declare_check! {
    /// ## What it checks
    /// No cluster with Cilium older than 1.18.2 in the place of kube-proxy has a NodePort number in common with another cluster, that of the
    /// mesh's control plane above all.
    ///
    /// ## Why it matters
    /// Before 1.18.2 a connection to a *remote* node's NodePort is taken for one to the same port of the local cluster as soon as remote
    /// nodes are known. 32379 is every chart's default for the control plane: the cluster then talks to its own control plane, and
    /// every status stays green.
    ///
    /// ## How it is determined
    /// NodePort numbers of all Services of all clusters, key `kube-proxy-replacement` and the agents' versions. The version of the side that
    /// opens the connection counts.
    ///
    /// ## How to fix
    /// Give every cluster its own `clustermesh.apiserver.service.nodePort` and tell the peers, expose the control plane through a load
    /// balancer, or upgrade to 1.18.2.
    ///
    /// ## References
    /// cilium/cilium issues 24692 and 30297, pull requests 25033 and 41337; `bpf/bpf_sock.c`, `bpf/lib/lb.h`.
    pub static NODE_PORT_COLLISION = {
        code: "CM308",
        slug: "node-port-collision",
        title: "A remote NodePort is taken for a local one",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "connections to the peer's NodePort end in the cluster itself, its control plane included",
        rules: ["clustermesh DP-8", "clustermesh LAB-4"],
        run: Between(node_port_collision),
    };
}

/// Protocol and number of a NodePort.
type NodePort<'a> = (&'a str, u16);

/// A Service with a NodePort.
struct Exposed<'a> {
    cluster: ClusterId,
    service: String,
    /// Peers dial it: the mesh's control plane, exposed by NodePort.
    is_dialled: bool,
    name: &'a str,
}

/// Whether a cluster takes remote NodePorts for local ones; with an error if that cannot be told.
fn confuses(cluster: &Cluster<'_>) -> Result<bool, Unknown> {
    let settings = cluster.cilium()?;
    if settings.kube_proxy_replacement()?.value == KubeProxyReplacement::Off {
        return Ok(false);
    }
    Ok(!settings.versions.at_least(Version(1, 18, 2))?)
}

fn node_port_collision(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut ports: BTreeMap<NodePort<'_>, Vec<Exposed<'_>>> = BTreeMap::new();
    let mut judged = Vec::new();
    for cluster in audit.clusters {
        match exposed(cluster) {
            Ok(services) => {
                judged.push(cluster.id);
                for (port, service) in services {
                    ports.entry(port).or_default().push(service);
                }
            }
            Err(why) => outcomes.push(Outcome::none(why).about([cluster.id])),
        }
    }
    let mut others = Vec::new();
    for (port, members) in &ports {
        let clusters: BTreeSet<ClusterId> = members.iter().map(|member| member.cluster).collect();
        if clusters.len() < 2 {
            continue;
        }
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for id in &clusters {
            match confuses(audit.cluster(*id)) {
                Ok(true) => old.push(*id),
                Ok(false) => new.push(*id),
                Err(why) => outcomes.push(Outcome::none(why).about([*id])),
            }
        }
        let dialled = |old: &ClusterId| members.iter().any(|member| member.is_dialled && member.cluster != *old);
        if old.iter().any(dialled) {
            outcomes.push(control_plane_collision(audit, *port, members, &old, &new));
        } else if !old.is_empty() {
            others.push((*port, old));
        }
    }
    outcomes.extend(other_collisions(&others));
    if !outcomes.iter().any(Outcome::is_broken) {
        let unknown: BTreeSet<ClusterId> = outcomes.iter().flat_map(|outcome| outcome.clusters.clone()).collect();
        judged.retain(|id| !unknown.contains(id));
        if !judged.is_empty() {
            outcomes.push(
                Outcome::holds()
                    .found("no NodePort that one cluster takes for another's")
                    .about(judged),
            );
        }
    }
    joined(outcomes)
}

fn exposed<'a>(cluster: &Cluster<'a>) -> Result<Vec<(NodePort<'a>, Exposed<'a>)>, NoVerdict> {
    let namespace = &cluster.facts.cilium.get()?.namespace;
    let services = cluster.facts.services.get()?;
    let mut found = Vec::new();
    for service in services {
        let is_control_plane = service.name == control_plane::NAME && service.namespace == *namespace;
        for port in &service.ports {
            let Some(number) = port.node_port else { continue };
            let exposed = Exposed {
                cluster: cluster.id,
                service: service.key(),
                is_dialled: is_control_plane && service.kind == "NodePort",
                name: cluster.facts.name.as_str(),
            };
            found.push(((port.protocol.as_str(), number), exposed));
        }
    }
    Ok(found)
}

fn control_plane_collision(
    audit: &Audit<'_>,
    (protocol, number): NodePort<'_>,
    members: &[Exposed<'_>],
    old: &[ClusterId],
    new: &[ClusterId],
) -> Outcome {
    let services = members.iter().map(|member| {
        let source = Source::read(format!("Service {}", member.service), "spec.ports");
        Evidence::new(member.name, &format!("{protocol} {number}"), &source)
    });
    let outcome = Outcome::broken()
        .expected("a NodePort of its own for each cluster's control plane, or Cilium 1.18.2")
        .found(format!(
            "{protocol} {number} in {} clusters; {} would take the others' for its own",
            old.len() + new.len(),
            audit.names(old)
        ))
        .evidence_all(services)
        .evidence_all(old.iter().flat_map(|id| {
            let cluster = audit.cluster(*id);
            let settings = cluster.cilium().ok();
            settings.map_or_else(Vec::new, |settings| evidence(cluster, settings, &["kube-proxy-replacement"]))
        }))
        .remedy("give each cluster its own clustermesh.apiserver.service.nodePort and update the peers, or upgrade Cilium to 1.18.2")
        .cause(format!("NodePort {number}"))
        .within(old.to_vec());
    let outcome = if new.is_empty() {
        outcome
    } else {
        outcome.across([old.to_vec(), new.to_vec()])
    };
    outcome.about(old.iter().chain(new).copied().collect::<BTreeSet<_>>())
}

fn other_collisions(ports: &[(NodePort<'_>, Vec<ClusterId>)]) -> Option<Outcome> {
    if ports.is_empty() {
        return None;
    }
    let numbers: Vec<String> = ports
        .iter()
        .map(|((protocol, number), _)| format!("{protocol} {number}"))
        .collect();
    let clusters: BTreeSet<ClusterId> = ports.iter().flat_map(|(_, old)| old.clone()).collect();
    Some(
        Outcome::broken_as(Severity::Warn)
            .expected("no NodePort number in two clusters, or Cilium 1.18.2")
            .found(format!("{} also in other clusters", some_of(&numbers)))
            .remedy("reach such Services by another way than a remote node's NodePort, or upgrade Cilium to 1.18.2")
            .about(clusters),
    )
}
