//! Ports on the nodes that Cilium needs for itself.

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::{OnNode, Seen, SeenOn, asked, judge, nodes};
use crate::facts::kernel::BoundSocket;
use crate::facts::provenance::Unknown;
use crate::fleet::{Audit, Cluster};
use crate::profile::cilium::Settings;
use crate::profile::cilium::values::Encryption;

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] = &[&TUNNEL_PORT_TAKEN, &LOCAL_PORTS];

declare_check! {
    /// ## What it checks
    /// On every node the tunnel's UDP port is Cilium's alone.
    ///
    /// ## Why it matters
    /// Two tunnels on one port cannot be: the agent fails to make its device, or packets go to the other one's. Flannel's default is Cilium's, 8472;
    /// Geneve's 6081 is OVN's and NSX's too. Leftovers of a plugin that was replaced keep the port.
    ///
    /// ## How it is determined
    /// Links of kind vxlan and geneve with this port that are not Cilium's, and UDP sockets on it that no such link accounts for.
    ///
    /// ## How to fix
    /// Delete the other's link (`ip link delete flannel.1`) where it is a leftover; else set chart value `tunnelPort` to a free port, in all clusters alike.
    ///
    /// ## References
    /// Cilium, `pkg/datapath/tunnel/tunnel.go`.
    pub static TUNNEL_PORT_TAKEN = {
        code: "CM927",
        slug: "tunnel-port-taken",
        title: "Somebody else has the tunnel's port",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the agent cannot make its tunnel, or the other takes its packets",
        rules: ["clustermesh K-8"],
        run: Cluster(tunnel_port_taken),
    };
}

fn tunnel_port_taken(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let settings = cluster.cilium()?;
        if settings.tunnel_user()?.is_none() {
            return Err(NoVerdict::does_not_apply("nothing uses a tunnel"));
        }
        let port = settings.tunnel_port()?.value;
        let expected = format!("UDP {port} for Cilium alone");
        let remedy = "delete the other's link if it is a leftover, or set chart value tunnelPort to a free port in all clusters alike";
        judge(audit, cluster, nodes(cluster)?, (&expected, remedy), |on| {
            tunnel_port_on(on, port)
        })
    })
}

fn tunnel_port_on(on: &OnNode<'_>, port: u16) -> SeenOn {
    let links = on.kernel.links.get()?.iter();
    let tunnels: Vec<_> = links
        .filter(|link| link.tunnel.as_ref().is_some_and(|tunnel| tunnel.port == Some(port)))
        .filter(|link| ["vxlan", "geneve"].contains(&link.kind.as_str()))
        .collect();
    let others: Vec<_> = tunnels
        .iter()
        .filter(|link| !link.name.starts_with("cilium_"))
        .collect();
    if !others.is_empty() {
        let evidence: Vec<_> = others
            .iter()
            .map(|link| on.evidence(&on.kernel.links, format!("{} port", link.name), &port))
            .collect();
        let names: Vec<&str> = others.iter().map(|link| link.name.as_str()).collect();
        return Ok(Seen::fault(format!("{} has it", names.join(", "))).evidence_all(evidence));
    }
    let ports = [("udp", port)];
    let mut holders = on.kernel.holders(&ports)?;
    let holder = holders.find(|socket| !socket.program.is_empty() || tunnels.is_empty());
    Ok(match holder {
        Some(socket) => Seen::fault(format!("{} has it", named(socket))).evidence(socket_evidence(on, socket)),
        None if tunnels.is_empty() => Seen::fine("free"),
        None => Seen::fine("Cilium's own"),
    })
}

fn named(socket: &BoundSocket) -> String {
    if socket.program.is_empty() {
        format!("a program of user {}", socket.uid)
    } else {
        socket.program.clone()
    }
}

fn socket_evidence(on: &OnNode<'_>, socket: &BoundSocket) -> crate::report::Evidence {
    let place = format!("{} {}:{}", socket.protocol, socket.address, socket.port);
    on.evidence(&on.kernel.sockets, place, &named(socket))
}

declare_check! {
    /// ## What it checks
    /// The ports that Cilium's own processes bind on every node are theirs, or free: health 4240, 9878, 9879, 9890 and 9891 always, and where the
    /// configuration switches them on Hubble 4244, mutual authentication 4250, profiling 6060, metrics 9962 to 9964 and WireGuard UDP 51871.
    ///
    /// ## Why it matters
    /// A port that is taken makes the agent exit, or its function fail.
    ///
    /// ## How it is determined
    /// Sockets that listen, with their programs where the agent may see those. A socket without a name is taken for Cilium's where all Cilium
    /// agents of the cluster are ready: they could not be if somebody else had it.
    ///
    /// ## How to fix
    /// Stop the other program or give it another port; most of Cilium's ports can be moved too (`healthPort`, `hubble.listenAddress`, `prometheus.port`).
    ///
    /// ## References
    /// Cilium documentation, system requirements, ports.
    pub static LOCAL_PORTS = {
        code: "CM928",
        slug: "cilium-local-ports",
        title: "Somebody else has a port of Cilium's own processes",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the agent does not start on these nodes, or a function of it is missing",
        rules: ["clustermesh 2 local ports"],
        run: Cluster(local_ports),
    };
}

/// The ports in use, by the configuration.
fn ports_in_use(settings: &Settings<'_>) -> Result<Vec<(&'static str, u16)>, NoVerdict> {
    let is_set = |key: &str| {
        settings
            .written(key)
            .is_some_and(|known| !["", "false", "0"].contains(&known.value.as_str()))
    };
    let mut ports: Vec<(&str, u16)> = [4240, 9878, 9879, 9890, 9891].map(|port| ("tcp", port)).to_vec();
    for (key, port) in [
        ("enable-hubble", 4244),
        ("mesh-auth-mutual-enabled", 4250),
        ("pprof", 6060),
        ("prometheus-serve-addr", 9962),
        ("operator-prometheus-serve-addr", 9963),
        ("proxy-prometheus-port", 9964),
    ] {
        if is_set(key) {
            ports.push(("tcp", port));
        }
    }
    if settings.encryption()?.value == Encryption::Wireguard {
        ports.push(("udp", 51871));
    }
    Ok(ports)
}

fn local_ports(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let settings = cluster.cilium()?;
        let ports = ports_in_use(settings)?;
        let all_ready = cluster.facts.workloads.ok().is_some_and(|workloads| {
            workloads.iter().any(|workload| {
                workload.kind == "DaemonSet"
                    && workload.container("cilium-agent").is_some()
                    && workload.desired > 0
                    && workload.ready >= workload.desired
            })
        });
        let advice = (
            "Cilium's local ports its own or free",
            "stop the other program or give it another port, or move Cilium's",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let mut faults = Vec::new();
            let mut evidence = Vec::new();
            let mut nameless = None;
            for socket in on.kernel.holders(&ports)? {
                if is_ciliums(on, socket)? {
                    continue;
                }
                let (protocol, port) = (&socket.protocol, socket.port);
                if socket.program.is_empty() {
                    nameless = Some(format!("{protocol} {port}"));
                } else {
                    faults.push(format!("{} has {} {port}", socket.program, protocol.to_uppercase()));
                    evidence.push(socket_evidence(on, socket));
                }
            }
            match nameless {
                Some(place) if faults.is_empty() && !all_ready => Err(Unknown::not_found(format!(
                    "the agent may not see whose the socket on {place} is, and not all Cilium agents are ready"
                ))
                .into()),
                _ => Ok(Seen::faults(faults, "no other program has one").evidence_all(evidence)),
            }
        })
    })
}

/// Whether a socket is one of Cilium's own processes, or of its WireGuard device.
fn is_ciliums(on: &OnNode<'_>, socket: &BoundSocket) -> Result<bool, Unknown> {
    const PROGRAMS: [&str; 4] = ["cilium", "hubble", "envoy", "operator-generic"];
    if socket.protocol == "udp" && socket.program.is_empty() {
        return Ok(on.kernel.link("cilium_wg0")?.is_some());
    }
    Ok(PROGRAMS.iter().any(|own| socket.program.starts_with(own)))
}

#[cfg(test)]
mod tests;
