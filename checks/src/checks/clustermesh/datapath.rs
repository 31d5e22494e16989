//! How packets travel between clusters must be the same everywhere.

pub mod features;
pub mod load_balancing;
pub mod state;

use std::collections::{BTreeMap, BTreeSet};

use super::setting::{evidence, expect_equal, not_loaded, refused};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::compare::Groups;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::Settings;
use crate::profile::cilium::values::{RoutingMode, TunnelProtocol, TunnelUser};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &ROUTING_MODE,
    &TUNNEL_PROTOCOL,
    &TUNNEL_PORT,
    &HIDDEN_TUNNEL,
    &IPAM_AND_ROUTING,
];

declare_check! {
    /// ## What it checks
    /// All clusters use one routing mode: all encapsulate pod traffic (tunnel), or none does (native).
    ///
    /// ## Why it matters
    /// A cluster in native routing sends plain packets, which the other side's nodes do not take for pod traffic, and has no tunnel
    /// device for theirs. The control plane connects and every status is green.
    ///
    /// ## How it is determined
    /// Key `routing-mode` of ConfigMap `cilium-config` (up to 1.14 also the old key `tunnel`), on every node.
    ///
    /// ## How to fix
    /// Change one side with chart value `routingMode`. That means new routes or new encapsulation on every node: plan it as a
    /// reinstallation, with all connections of that cluster broken. Native routing inside and a tunnel between clusters is not available.
    ///
    /// ## References
    /// Cilium documentation, "Setting up Cluster Mesh", prerequisites; cilium/cilium issues 9680, 32810 and 40541.
    pub static ROUTING_MODE = {
        code: "CM301",
        slug: "routing-mode",
        title: "Routing modes differ",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "one side encapsulates, the other does not expect it: pods never reach pods",
        rules: ["clustermesh DP-1"],
        run: Set(routing_mode),
    };
}

fn routing_mode(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut outcomes = refused(audit, &["routing-mode"], "tunnel or native");
    outcomes.extend(expect_equal(
        audit,
        |settings| Ok(settings.routing_mode()?),
        |outcome| {
            outcome.expected("tunnel in all clusters, or native in all").remedy(
                "change the routing mode of one side (chart value routingMode): as disruptive as a reinstallation",
            )
        },
    ));
    outcomes
}

declare_check! {
    /// ## What it checks
    /// All clusters that tunnel use one tunnel protocol, VXLAN or Geneve.
    ///
    /// ## Why it matters
    /// A node that receives the other protocol drops it: pods of the two clusters never reach each other, while the control
    /// plane connects and every status is green.
    ///
    /// ## How it is determined
    /// Key `tunnel-protocol` of ConfigMap `cilium-config`, or the default of the version, on every node. Clusters in native routing
    /// mode are left out, as charts write the key there too.
    ///
    /// ## How to fix
    /// Choose one protocol and set it with the chart value `tunnelProtocol`; the Cilium agents restart and running connections break.
    ///
    /// ## References
    /// Cilium, `pkg/datapath/tunnel/tunnel.go`.
    pub static TUNNEL_PROTOCOL = {
        code: "CM302",
        slug: "tunnel-protocol",
        title: "Tunnel protocols differ",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "each side drops the other's encapsulation: pods never reach pods",
        rules: ["clustermesh DP-2"],
        run: Set(tunnel_protocol),
    };
}

fn tunnel_protocol(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut outcomes = refused(audit, &["tunnel-protocol"], "vxlan or geneve");
    outcomes.extend(expect_equal(
        audit,
        |settings| {
            tunnels(settings)?;
            Ok(settings.tunnel_protocol()?)
        },
        |outcome| {
            outcome.expected("one tunnel protocol in all clusters").remedy(
                "choose one for all, chart value tunnelProtocol, and restart the Cilium agents there (connections break)",
            )
        },
    ));
    outcomes
}

/// A rule about tunnels does not apply in native routing.
fn tunnels(settings: &Settings<'_>) -> Result<(), NoVerdict> {
    match settings.routing_mode()?.value {
        RoutingMode::Tunnel => Ok(()),
        RoutingMode::Native => Err(NoVerdict::does_not_apply("native routing uses no tunnel")),
    }
}

declare_check! {
    /// ## What it checks
    /// All clusters that tunnel use one UDP port for it.
    ///
    /// ## Why it matters
    /// A node sends to its own port number. Where the other side listens on another one, every packet is lost; the control plane
    /// does not notice.
    ///
    /// ## How it is determined
    /// Key `tunnel-port`; 0 or absent is the protocol's own port, 8472 for VXLAN and 6081 for Geneve.
    ///
    /// ## How to fix
    /// Set chart value `tunnelPort` alike in all clusters; the Cilium agents restart and running connections break. Open the port in
    /// every firewall between nodes.
    ///
    /// ## References
    /// Cilium, `pkg/datapath/tunnel/tunnel.go`.
    pub static TUNNEL_PORT = {
        code: "CM303",
        slug: "tunnel-port",
        title: "Tunnel ports differ",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "nodes send to a port on which the other side does not listen: pods never reach pods",
        rules: ["clustermesh DP-3"],
        run: Between(tunnel_port),
    };
}

fn tunnel_port(audit: &Audit<'_>) -> Vec<Outcome> {
    let groups = Groups::of(audit, |cluster| {
        cluster.cilium()?.on_all_nodes(|settings| {
            tunnels(settings)?;
            let protocol = settings.tunnel_protocol()?.value;
            Ok(settings.tunnel_port()?.map(|port| Tunnel { protocol, port }))
        })
    });
    // The default port follows the protocol: where protocols differ, that is the fault, and not its port too.
    let mut protocols: BTreeMap<TunnelProtocol, BTreeMap<u16, BTreeSet<ClusterId>>> = BTreeMap::new();
    for (value, members) in &groups.values {
        for tunnel in value.values() {
            let clusters = protocols
                .entry(tunnel.protocol)
                .or_default()
                .entry(tunnel.port)
                .or_default();
            clusters.extend(members.iter().map(|(id, _)| *id));
        }
    }
    let mut outcomes = groups.outcomes_without();
    for (protocol, ports) in protocols {
        let clusters: BTreeSet<ClusterId> = ports.values().flatten().copied().collect();
        let members = groups.values.values().flatten().filter(|(id, _)| clusters.contains(id));
        let evidence = members.map(|(id, known)| Evidence::of(audit.cluster(*id).name(), known));
        let described = ports.iter().map(|(port, clusters)| {
            let clusters: Vec<_> = clusters.iter().copied().collect();
            format!("UDP {port} on {}", audit.names(&clusters))
        });
        let found = format!("{protocol}: {}", described.collect::<Vec<_>>().join(", "));
        let outcome = if ports.len() > 1 {
            let parts = ports.into_values().map(|clusters| clusters.into_iter().collect());
            Outcome::broken()
                .across(parts)
                .remedy("set chart value tunnelPort alike and restart the Cilium agents there (connections break)")
        } else if clusters.len() > 1 {
            Outcome::holds()
        } else {
            Outcome::does_not_apply(format!("no other cluster tunnels with {protocol}"))
        };
        let outcome = outcome.expected("one UDP port in all clusters").found(found);
        outcomes.push(outcome.evidence_all(evidence).about(clusters));
    }
    outcomes
}

/// A tunnel as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tunnel {
    protocol: TunnelProtocol,
    port: u16,
}

impl std::fmt::Display for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on UDP {}", self.protocol, self.port)
    }
}

declare_check! {
    /// ## What it checks
    /// In native routing no feature uses a tunnel after all.
    ///
    /// ## Why it matters
    /// The egress gateway, and direct server return with Geneve dispatch, bring a tunnel device along. Its UDP port must then be open between
    /// nodes although the routing is native, and the egress gateway takes the tunnel's bytes off the MTU of every route.
    ///
    /// ## How it is determined
    /// Keys `enable-egress-gateway`, and `kube-proxy-replacement` with `bpf-lb-mode` (or `bpf-lb-mode-annotation`) and `bpf-lb-dsr-dispatch`.
    ///
    /// ## How to fix
    /// Nothing is broken: open the tunnel port between nodes, count its 50 bytes in the MTU, or do without the feature.
    ///
    /// ## References
    /// Cilium, `pkg/egressgateway/cell.go`, `pkg/loadbalancer/config.go`.
    pub static HIDDEN_TUNNEL = {
        code: "CM304",
        slug: "hidden-tunnel",
        title: "A feature uses a tunnel although routing is native",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "a tunnel port must be open that nobody expects, and routes may lose 50 bytes of MTU",
        rules: ["clustermesh DP-4"],
        run: Cluster(hidden_tunnel),
    };
}

fn hidden_tunnel(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let Some(user) = settings.tunnel_user()? else {
        return Ok(Outcome::holds().found("native routing, no tunnel"));
    };
    if user.value == TunnelUser::Routing {
        return Err(NoVerdict::does_not_apply("routing itself uses the tunnel"));
    }
    let (protocol, port) = (settings.tunnel_protocol()?.value, settings.tunnel_port()?.value);
    Ok(Outcome::broken()
        .expected("no tunnel in native routing")
        .found(format!("{} uses {protocol} on UDP {port}", user.value))
        .evidence(Evidence::of(cluster.name(), &user))
        .remedy(format!(
            "open UDP {port} between all nodes and plan for its bytes in the MTU, or do without the feature"
        )))
}

declare_check! {
    /// ## What it checks
    /// The address management of a cluster goes with its routing mode.
    ///
    /// ## Why it matters
    /// With ENI addresses and a tunnel the agent does not start. Azure's and CRD-backed address management are documented for native routing only.
    ///
    /// ## How it is determined
    /// Keys `ipam` and `routing-mode`. (GKE has no value of its own there: it shows as `kubernetes`.)
    ///
    /// ## How to fix
    /// Choose a routing mode that all clusters' address management allows: native routing, if one of them is on ENI, Azure or CRD.
    ///
    /// ## References
    /// Cilium documentation, "IP Address Management"; `daemon/cmd/daemon_main.go`.
    pub static IPAM_AND_ROUTING = {
        code: "CM305",
        slug: "ipam-and-routing",
        title: "Address management does not go with the routing mode",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the agent does not start, or runs in a way nobody documents",
        rules: ["clustermesh DP-5"],
        run: Cluster(ipam_and_routing),
    };
}

fn ipam_and_routing(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const KEYS: [&str; 2] = ["ipam", "routing-mode"];
    let settings = cluster.cilium()?;
    let ipam = settings.shown("ipam")?.value;
    let refused = settings.refusals().iter().any(|refusal| refusal.keys == KEYS);
    let outcome = if refused {
        Outcome::broken()
    } else if ["crd", "azure"].contains(&ipam.as_str()) && settings.routing_mode()?.value == RoutingMode::Tunnel {
        Outcome::broken_as(Severity::Warn)
    } else {
        Outcome::holds()
    };
    let mode = settings.shown("routing-mode")?.value;
    Ok(outcome
        .expected("native routing with ipam eni, azure and crd")
        .found(format!(
            "ipam {ipam}, routing mode {mode}{}",
            not_loaded(cluster, settings, &KEYS)
        ))
        .evidence_all(evidence(cluster, settings, &KEYS))
        .remedy("set routingMode native, in all clusters of the mesh alike; as disruptive as a reinstallation"))
}

#[cfg(test)]
mod tests;
