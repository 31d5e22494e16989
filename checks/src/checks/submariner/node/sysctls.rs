//! Kernel settings that Submariner relies on, and those that it sets itself.

use super::{CABLE_DEVICE, NODE_DEVICE, default_link, gateways, pod_link, without_ovn};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::network::per_link;
use crate::checks::per_node::{Seen, asked, judge, nodes};
use crate::facts::cni::PluginKind;
use crate::facts::provenance::Unknown;
use crate::fleet::{Audit, Cluster};
use crate::profile::submariner::discovery::running;
use crate::profile::submariner::gateways::is_gateway;
use crate::profile::submariner::{Mesh, installed, member};
use crate::report::Severity;

pub(in crate::checks::submariner) static CHECKS: &[&Check] = &[
    &FORWARDING,
    &REVERSE_PATH,
    &REDIRECTS,
    &MTU_PROBING,
    &DEVICE_REVERSE_PATH,
    &DEVICE_FORWARDING,
];

const IP_FORWARD: &str = "net.ipv4.ip_forward";

declare_check! {
    /// ## What it checks
    /// Every node forwards IPv4 packets.
    ///
    /// ## Why it matters
    /// Submariner takes it for granted: packets from pods to the gateway, and through it, are forwarded packets.
    ///
    /// ## How it is determined
    /// `net.ipv4.ip_forward`.
    ///
    /// ## How to fix
    /// `net.ipv4.ip_forward=1` in `/etc/sysctl.d`, so that it lasts.
    ///
    /// ## References
    /// Kubernetes documentation, container runtimes, network configuration.
    pub static FORWARDING = {
        code: "SM470",
        slug: "ip-forwarding",
        title: "A node does not forward packets",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "nothing from its pods, or through it as a gateway, reaches other clusters",
        rules: ["submariner SYS-01", "submariner KIND-09"],
        run: Cluster(forwarding),
    };
}

fn forwarding(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let advice = (
            "IPv4 forwarding on",
            "set net.ipv4.ip_forward=1 on these nodes, in /etc/sysctl.d so that it lasts",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let fault = (on.number(IP_FORWARD)? == 0).then(|| "net.ipv4.ip_forward=0".to_owned());
            Ok(Seen::faults(fault, "forwards").evidence(on.sysctl_evidence(IP_FORWARD)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// The reverse-path filter of the uplink is not strict where answers may come another way than the question went: on gateways, on GKE, and
    /// on nodes over which packets leave by several links.
    ///
    /// ## Why it matters
    /// A strict filter drops packets whose way back leads over another link. Traffic of other clusters comes out of the tunnel there; only a
    /// counter says that it is dropped.
    ///
    /// ## How it is determined
    /// The larger of `rp_filter` of `all` and of the link of the default route: 1 is strict. Fails on GKE, where it is known to break.
    ///
    /// ## How to fix
    /// `net.ipv4.conf.<uplink>.rp_filter=2` (or of `all`), in a file of `/etc/sysctl.d` that comes last.
    ///
    /// ## References
    /// Submariner documentation, quickstart on GKE; submariner issues 4099 and 2005.
    pub static REVERSE_PATH = {
        code: "SM471",
        slug: "uplink-reverse-path",
        title: "The uplink has a strict reverse-path filter",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "packets from other clusters are dropped without a word",
        rules: ["submariner SYS-02", "submariner KIND-09"],
        run: Cluster(reverse_path),
    };
}

fn reverse_path(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let on_gke = running(cluster, PluginKind::GkeNetd)?.is_some()
            || cluster
                .facts
                .nodes
                .get()?
                .iter()
                .any(|node| node.kubelet_version.contains("-gke."));
        let gateways = gateways(cluster)?;
        let advice = (
            "a loose reverse-path filter on the uplink",
            "set net.ipv4.conf.<uplink>.rp_filter=2 (or that of all) on these nodes, in /etc/sysctl.d so that it lasts",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let Some(link) = default_link(on)? else {
                return Err(Unknown::not_found(format!("{} has no default route over one link", on.node.name)).into());
            };
            let is_concerned =
                on_gke || gateways.iter().any(|node| node.name == on.node.name) || on.ways_out()?.len() > 1;
            if !is_concerned {
                return Err(NoVerdict::does_not_apply("answers come the way the questions went"));
            }
            let seen = match on.reverse_path_filter(&link.name)? {
                1 if on_gke => Seen::fault_as(Severity::Fail, format!("strict on {}", link.name)),
                1 => Seen::fault(format!("strict on {}", link.name)),
                _ => Seen::fine("not strict"),
            };
            Ok(seen
                .evidence(on.sysctl_evidence("net.ipv4.conf.all.rp_filter"))
                .evidence(on.sysctl_evidence(&per_link(&link.name, "rp_filter"))))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// On a member's gateways `net.ipv4.conf.all.send_redirects` is still 0, as the gateway sets it. What the uplink itself is set to is recorded.
    ///
    /// ## Why it matters
    /// The kernel sends redirects if either says so: nodes are then told to leave the gateway out.
    ///
    /// ## How it is determined
    /// `send_redirects` of `all` and of the default route's link. A value of 1 on a running gateway was set after the gateway started.
    ///
    /// ## How to fix
    /// Set both to 0 in `/etc/sysctl.d`, and stop what resets them.
    ///
    /// ## References
    /// `submariner`, `package/submariner.sh`; Linux documentation, `networking/ip-sysctl`.
    pub static REDIRECTS = {
        code: "SM472",
        slug: "send-redirects",
        title: "A gateway sends redirects",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "nodes are told to go past the gateway",
        rules: ["submariner SYS-05"],
        run: Cluster(redirects),
    };
}

fn redirects(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const ALL: &str = "net.ipv4.conf.all.send_redirects";
    asked(audit, cluster, || {
        let is_member = installed(cluster)?.is_some();
        let advice = (
            "no redirects from gateways",
            "set net.ipv4.conf.all.send_redirects=0 and that of the uplink on gateways, and stop what resets them",
        );
        judge(audit, cluster, gateways(cluster)?, advice, |on| {
            let all = on.number(ALL)?;
            let Some(link) = default_link(on)? else {
                return Err(Unknown::not_found(format!("{} has no default route over one link", on.node.name)).into());
            };
            let own = per_link(&link.name, "send_redirects");
            let seen = match (all, on.number(&own)?) {
                (0, 0) => Seen::fine("none"),
                (0, _) => Seen::fault_as(Severity::Info, format!("on by {}", link.name)),
                _ if is_member => Seen::fault("on, although the gateway turned it off"),
                _ => Seen::fault_as(Severity::Info, "on: the gateway will turn it off for all links"),
            };
            Ok(seen
                .evidence(on.sysctl_evidence(ALL))
                .evidence(on.sysctl_evidence(&own)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Records how nodes probe for TCP's segment size.
    ///
    /// ## Why it matters
    /// Probing finds a size that fits where path MTU discovery fails. Gateways set it to 2, from 1024 bytes on, with Globalnet; elsewhere the default is off.
    ///
    /// ## How it is determined
    /// `net.ipv4.tcp_mtu_probing` and `net.ipv4.tcp_base_mss`.
    ///
    /// ## How to fix
    /// Nothing to fix. `net.ipv4.tcp_mtu_probing=1` helps hosts behind a path that swallows large packets.
    ///
    /// ## References
    /// Linux documentation, `networking/ip-sysctl`; RFC 4821.
    pub static MTU_PROBING = {
        code: "SM473",
        slug: "tcp-mtu-probing",
        title: "Probing for TCP's segment size is recorded",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "it hides, or works around, a path that swallows large packets",
        rules: ["submariner SYS-06"],
        run: Cluster(mtu_probing),
    };
}

fn mtu_probing(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const PROBING: &str = "net.ipv4.tcp_mtu_probing";
    const BASE: &str = "net.ipv4.tcp_base_mss";
    asked(audit, cluster, || {
        judge(audit, cluster, nodes(cluster)?, ("recorded", ""), |on| {
            let found = format!("probing {}, from {} bytes", on.number(PROBING)?, on.number(BASE)?);
            Ok(Seen::fine(found)
                .evidence(on.sysctl_evidence(PROBING))
                .evidence(on.sysctl_evidence(BASE)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// On a member's nodes the reverse-path filter of Submariner's devices, and of the link with an address in the pod range, is not strict.
    ///
    /// ## Why it matters
    /// Packets of other clusters come in over these links from addresses to which no route leads back over them. A strict filter drops them all.
    ///
    /// ## How it is determined
    /// The larger of `rp_filter` of `all` and of the link. Submariner sets its devices to 2 when it makes them, and the plugin's link when it starts: 1
    /// means that something (sysctl.d, tuned, systemd-networkd, NetworkManager) set it again later. Off (0) is recorded.
    ///
    /// ## How to fix
    /// Restart the route agent, and keep the tool that resets the value away from these links.
    ///
    /// ## References
    /// `submariner`, `pkg/netlink/netlink.go`; submariner issues 2422 and 2005.
    pub static DEVICE_REVERSE_PATH = {
        code: "SM922",
        slug: "device-reverse-path",
        title: "Something set the reverse-path filter of Submariner's links to strict",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "packets from other clusters are dropped on these nodes",
        rules: ["submariner SYS-03", "submariner SYS-07"],
        run: Cluster(device_reverse_path),
    };
}

fn device_reverse_path(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        member(cluster)?;
        without_ovn(cluster)?;
        let pods = cluster.pods()?.summary();
        let advice = (
            "loose reverse-path filters on Submariner's links and the network plugin's",
            "restart the route agent on these nodes, and keep sysctl.d, tuned or systemd-networkd away from these links",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let mut links: Vec<&str> = Vec::new();
            if is_gateway(on.node) && on.kernel.link(NODE_DEVICE)?.is_some() {
                links.push(NODE_DEVICE);
            }
            if on.kernel.link(CABLE_DEVICE)?.is_some() {
                links.push(CABLE_DEVICE);
            }
            links.extend(pod_link(on, &pods)?.map(|link| link.name.as_str()));
            if links.is_empty() {
                return Err(NoVerdict::does_not_apply("there is no such link"));
            }
            let (mut strict, mut off) = (Vec::new(), Vec::new());
            for link in &links {
                match on.reverse_path_filter(link)? {
                    0 => off.push(*link),
                    1 => strict.push(*link),
                    _ => {}
                }
            }
            let seen = if !strict.is_empty() {
                Seen::fault(format!("strict on {}", strict.join(", ")))
            } else if !off.is_empty() {
                Seen::fault_as(Severity::Info, format!("off on {}", off.join(", ")))
            } else {
                Seen::fine("loose")
            };
            Ok(seen.evidence_all(
                links
                    .iter()
                    .map(|link| on.sysctl_evidence(&per_link(link, "rp_filter"))),
            ))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Submariner's devices on a member's nodes forward packets.
    ///
    /// ## Why it matters
    /// What comes in over them is for pods, or for the other clusters: it must be forwarded.
    ///
    /// ## How it is determined
    /// `forwarding` of `vx-submariner` (not with OVN-Kubernetes) and `vxlan-tunnel`, which Submariner sets to 1 when it makes them.
    ///
    /// ## How to fix
    /// Restart the route agent, and keep the tool that resets the value away from these links.
    ///
    /// ## References
    /// `submariner`, `pkg/netlink/netlink.go`.
    pub static DEVICE_FORWARDING = {
        code: "SM923",
        slug: "device-forwarding",
        title: "A device of Submariner does not forward",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "packets that come in over it go no further",
        rules: ["submariner SYS-04"],
        run: Cluster(device_forwarding),
    };
}

fn device_forwarding(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        member(cluster)?;
        let has_cable = Mesh::of(audit).cable_driver(cluster)?.value == "vxlan";
        if !has_cable {
            without_ovn(cluster)?;
        }
        let advice = (
            "forwarding on for Submariner's devices",
            "restart the route agent on these nodes, and stop what resets the setting",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let mut settings = Vec::new();
            for name in [NODE_DEVICE, CABLE_DEVICE] {
                if on.kernel.link(name)?.is_some() {
                    settings.push((name, per_link(name, "forwarding")));
                }
            }
            if settings.is_empty() {
                return Err(NoVerdict::does_not_apply("Submariner has made no device here"));
            }
            let mut faults = Vec::new();
            for (name, setting) in &settings {
                if on.number(setting)? == 0 {
                    faults.push(format!("{name} does not forward"));
                }
            }
            Ok(
                Seen::faults(faults, "on")
                    .evidence_all(settings.iter().map(|(_, setting)| on.sysctl_evidence(setting))),
            )
        })
    })
}

#[cfg(test)]
mod tests;
