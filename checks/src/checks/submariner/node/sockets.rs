//! Ports that Submariner's processes bind on the nodes.

use super::{NODE_DEVICE, gateways, without_ovn};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::{OnNode, Seen, SeenOn, asked, judge, nodes};
use crate::facts::kernel::BoundSocket;
use crate::facts::node::Node;
use crate::facts::provenance::Unknown;
use crate::fleet::{Audit, Cluster};
use crate::profile::submariner::{Mesh, NAT_DISCOVERY_PORT, TUNNEL_PORT, installed};

pub(in crate::checks::submariner) static CHECKS: &[&Check] = &[
    &GATEWAY_LISTENERS,
    &NODE_TUNNEL_PORT,
    &METRICS_LISTENERS,
    &LOOPBACK_LISTENER,
];

/// Whose a socket is.
enum Owner {
    /// One of Submariner's own processes or devices.
    Submariner,
    /// Somebody else.
    Other(String),
    /// The agent may not see.
    Nobody(String),
}

/// What Submariner's processes are called by the kernel, which cuts names at 15 bytes.
const PROGRAMS: [&str; 3] = ["submariner", "globalnet", "lighthouse"];

/// Whose a socket is, given whether Submariner runs here and what devices of its own hold ports.
fn owner(on: &OnNode<'_>, socket: &BoundSocket, is_member: bool) -> Owner {
    let place = format!("{} {}", socket.protocol.to_uppercase(), socket.port);
    if socket.program.is_empty() {
        let links = on.kernel.links.ok().into_iter().flatten();
        let mut own_devices = links.filter(|link| {
            let is_own = [NODE_DEVICE, super::CABLE_DEVICE].contains(&link.name.as_str())
                || (link.name == "submariner" && link.kind == "wireguard");
            is_own
                && link
                    .tunnel
                    .as_ref()
                    .is_none_or(|tunnel| tunnel.port.is_none_or(|port| port == socket.port))
        });
        return match own_devices.next() {
            Some(_) if socket.protocol == "udp" => Owner::Submariner,
            _ if is_member => Owner::Nobody(place),
            _ => Owner::Other(format!("a program of user {} has {place}", socket.uid)),
        };
    }
    // On a member libreswan's daemon is that of the gateway's own pod.
    let is_own = PROGRAMS.iter().any(|name| socket.program.starts_with(name)) || socket.program == "pluto";
    if is_member && is_own {
        Owner::Submariner
    } else {
        Owner::Other(format!("{} has {place}", socket.program))
    }
}

/// What is said of a node on which these ports are to be Submariner's or nobody's.
fn own_or_free(on: &OnNode<'_>, ports: &[(&str, u16)], is_member: bool, is_running: bool) -> SeenOn {
    let mut faults = Vec::new();
    let mut evidence = Vec::new();
    let mut unnamed = None;
    for socket in on.kernel.holders(ports)? {
        match owner(on, socket, is_member) {
            Owner::Submariner => {}
            Owner::Nobody(place) => unnamed = Some(place),
            Owner::Other(text) => {
                let place = format!("{} {}:{}", socket.protocol, socket.address, socket.port);
                evidence.push(on.evidence(&on.kernel.sockets, place, &socket.program));
                faults.push(text);
            }
        }
    }
    match unnamed {
        Some(place) if faults.is_empty() && !is_running => Err(Unknown::not_found(format!(
            "the agent may not see whose the socket on {place} is, and Submariner is not ready there"
        ))
        .into()),
        _ => Ok(Seen::faults(faults, "free, or Submariner's own").evidence_all(evidence)),
    }
}

/// Whether a DaemonSet of a member is ready everywhere, `n of n ready`: it could not be if somebody else had its ports.
fn is_running(cluster: &Cluster<'_>, daemon_set: &str) -> Result<bool, Unknown> {
    let Some(config) = installed(cluster)? else {
        return Ok(false);
    };
    let state = config.value.daemon_sets.get(daemon_set);
    Ok(state.is_some_and(|state| {
        let numbers: Vec<u32> = state.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [ready, wanted] if wanted > 0 && ready == wanted)
    }))
}

declare_check! {
    /// ## What it checks
    /// On gateways nobody else listens on the tunnel's UDP port (4500), on UDP 4490 and, with libreswan, on UDP 500 and 4500.
    ///
    /// ## Why it matters
    /// A VPN of the host itself is the usual one to have them. The gateway then exits, or negotiates with the wrong peer.
    ///
    /// ## How it is determined
    /// Sockets of gateways or, while none is labelled, of the nodes that `subctl join` would offer. A socket whose program the agent may not
    /// see is taken for Submariner's where its gateway is ready.
    ///
    /// ## How to fix
    /// Use another node as gateway, another port (`--nattport`), or stop the other service.
    ///
    /// ## References
    /// `submariner`, `pkg/natdiscovery/listener.go`, `pkg/cable`.
    pub static GATEWAY_LISTENERS = {
        code: "SM458",
        slug: "gateway-listeners",
        title: "Another program listens on a gateway's port",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateway exits, or the other takes its packets",
        rules: ["submariner PORT-18", "submariner SYS-10"],
        run: Cluster(gateway_listeners),
    };
}

fn gateway_listeners(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let config = installed(cluster)?;
        let chosen = config.and_then(|config| u16::try_from(config.value.nat_t_port?).ok());
        let tunnel = chosen.filter(|port| *port > 0).unwrap_or(TUNNEL_PORT);
        let mut ports = vec![("udp", tunnel), ("udp", NAT_DISCOVERY_PORT)];
        if Mesh::of(audit).cable_driver(cluster)?.value == "libreswan" {
            ports.extend([("udp", 500), ("udp", 4500)]);
        }
        let is_ready = is_running(cluster, "gateway")?;
        let expected = format!("UDP {tunnel} and {NAT_DISCOVERY_PORT} free on gateways, or Submariner's");
        let remedy = "use other nodes as gateways, another port (--nattport), or stop the other service";
        judge(audit, cluster, gateways(cluster)?, (&expected, remedy), |on| {
            own_or_free(on, &ports, config.is_some(), is_ready)
        })
    })
}

declare_check! {
    /// ## What it checks
    /// On every node UDP 4800 is free, or Submariner's.
    ///
    /// ## Why it matters
    /// The tunnel between nodes uses it, and it cannot be changed. The route agent cannot make its device where somebody else has it.
    ///
    /// ## How it is determined
    /// Sockets and VXLAN devices of every node. Not with OVN-Kubernetes, nor with one node.
    ///
    /// ## How to fix
    /// Move the other user to another port.
    ///
    /// ## References
    /// `submariner`, `pkg/port/ports.go`.
    pub static NODE_TUNNEL_PORT = {
        code: "SM455",
        slug: "node-tunnel-port",
        title: "Somebody else has the port of the tunnel between nodes",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "pods on these nodes never reach the gateway",
        rules: ["submariner SYS-10"],
        run: Cluster(node_tunnel_port),
    };
}

const NODE_TUNNEL: u16 = 4800;

fn node_tunnel_port(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        without_ovn(cluster)?;
        let all: Vec<&Node> = nodes(cluster)?;
        if all.len() < 2 {
            return Err(NoVerdict::does_not_apply("the gateway is the only node"));
        }
        let is_member = installed(cluster)?.is_some();
        let is_ready = is_running(cluster, "routeagent")?;
        let advice = (
            "UDP 4800 free, or Submariner's",
            "move the other user of UDP 4800 to another port",
        );
        judge(audit, cluster, all, advice, |on| {
            let mut links = on.kernel.links.get()?.iter();
            let other = links.find(|link| {
                link.name != NODE_DEVICE
                    && link
                        .tunnel
                        .as_ref()
                        .is_some_and(|tunnel| tunnel.port == Some(NODE_TUNNEL))
            });
            match other {
                Some(link) => Ok(
                    Seen::fault(format!("{} has UDP {NODE_TUNNEL}", link.name)).evidence(on.evidence(
                        &on.kernel.links,
                        format!("{} port", link.name),
                        &NODE_TUNNEL,
                    )),
                ),
                None => own_or_free(on, &[("udp", NODE_TUNNEL)], is_member, is_ready),
            }
        })
    })
}

declare_check! {
    /// ## What it checks
    /// No program but Submariner's listens on TCP 32780, 32781 (on gateways) or 32782 (on any node).
    ///
    /// ## Why it matters
    /// Gateway and Globalnet serve their metrics on the first two, the route agent its profiling on the third. A process that cannot bind only logs it.
    ///
    /// ## How it is determined
    /// Sockets that listen, on every node.
    ///
    /// ## How to fix
    /// Give the other program another port, or reserve these (`net.ipv4.ip_local_reserved_ports`) where it took an ephemeral one.
    ///
    /// ## References
    /// `submariner-operator`, `controllers/submariner`.
    pub static METRICS_LISTENERS = {
        code: "SM456",
        slug: "metrics-listeners",
        title: "Another program listens on a port of Submariner's metrics",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "metrics of gateway or Globalnet are missing",
        rules: ["submariner PORT-09"],
        run: Cluster(metrics_listeners),
    };
}

fn metrics_listeners(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let gateways: Vec<&str> = gateways(cluster)?.iter().map(|node| node.name.as_str()).collect();
        let is_member = installed(cluster)?.is_some();
        let is_ready = is_running(cluster, "gateway")? && is_running(cluster, "routeagent")?;
        let advice = (
            "TCP 32780 to 32782 free, or Submariner's",
            "give the other program another port, or reserve these with net.ipv4.ip_local_reserved_ports",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let of_gateways = [("tcp", 32782), ("tcp", 32780), ("tcp", 32781)];
            let ports = if gateways.contains(&on.node.name.as_str()) {
                &of_gateways[..]
            } else {
                &of_gateways[..1]
            };
            own_or_free(on, ports, is_member, is_ready)
        })
    })
}

declare_check! {
    /// ## What it checks
    /// In a cluster that runs Cilium TCP 12379 on loopback is free on every node, or the route agent's.
    ///
    /// ## Why it matters
    /// Newer releases show Cilium's agents the other clusters there, in the way a cluster mesh would. Without it Cilium does not know the remote addresses.
    ///
    /// ## How it is determined
    /// Sockets that listen on loopback or on all addresses, on every node.
    ///
    /// ## How to fix
    /// Free the port, then restart the route agents and Cilium's.
    ///
    /// ## References
    /// submariner pull request 4106.
    pub static LOOPBACK_LISTENER = {
        code: "SM457",
        slug: "loopback-listener-for-cilium",
        title: "Another program has the port on which Cilium is shown the other clusters",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "Cilium does not know the other clusters' addresses",
        rules: ["submariner PORT-16"],
        run: Cluster(loopback_listener),
    };
}

fn loopback_listener(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        cluster.facts.cilium.get()?;
        let is_member = installed(cluster)?.is_some();
        let is_ready = is_running(cluster, "routeagent")?;
        let advice = (
            "TCP 12379 on loopback free, or the route agent's",
            "free the port, then restart the route agents and Cilium's agents",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            own_or_free(on, &[("tcp", 12379)], is_member, is_ready)
        })
    })
}

#[cfg(test)]
mod tests;
