//! What fits into Submariner's tunnels, as far as links say. What the network between carries takes a packet (SM511).

use std::collections::BTreeSet;

use super::{CABLE_DEVICE, NODE_DEVICE, default_link, gateways, uplink_mtu, without_ovn};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::{OnNode, Seen, asked, judge, nodes, read};
use crate::facts::node::Node;
use crate::facts::provenance::{Known, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::discovery::is_ovn_kubernetes;
use crate::profile::submariner::gateways::active;
use crate::profile::submariner::{Mesh, installed, member};
use crate::report::{Evidence, Severity};

pub(in crate::checks::submariner) static CHECKS: &[&Check] = &[
    &UPLINK_MTU,
    &JUMBO_UPLINK,
    &WIREGUARD_UPLINK,
    &VXLAN_CLAMP,
    &UDP_SIZE,
    &OVN_OVERHEAD,
    &STALE_DEVICE,
];

/// The annotation of a node that sets the clamp of TCP's segment size.
const CLAMP: &str = "submariner.io/tcp-clamp-mss";
/// What `vx-submariner` and the VXLAN cable take off: 20 IP, 8 UDP, 8 VXLAN, 14 inner Ethernet.
const VXLAN: u32 = 50;
/// Headers of IPv4 and TCP inside a packet.
const TCP_HEADERS: u32 = 40;

/// The clamp that a node's annotation sets; a text that is no number is ignored, as the route agent does.
fn clamp(node: &Node) -> Option<Known<u32>> {
    let value = node.annotations.get(CLAMP)?.trim().parse().ok()?;
    let source = Source::read(format!("Node {}", node.name), format!("metadata.annotations[{CLAMP}]"));
    Some(Known::new(value, source))
}

fn mtu_evidence(on: &OnNode<'_>, mtu: u32) -> Evidence {
    on.evidence(&on.kernel.links, "mtu of the default route's link", &mtu)
}

declare_check! {
    /// ## What it checks
    /// The default-route links of all nodes of a cluster have one MTU.
    ///
    /// ## Why it matters
    /// Every node sizes its tunnel, and clamps TCP, by its own link. Between unlike nodes full packets are lost, depending on where a pod runs.
    ///
    /// ## How it is determined
    /// MTU of the link of every node's default route.
    ///
    /// ## How to fix
    /// Give all nodes' cards one MTU, the smaller one.
    ///
    /// ## References
    /// `submariner`, `pkg/vxlan/vxlan.go`.
    pub static UPLINK_MTU = {
        code: "SM460",
        slug: "uplink-mtu",
        title: "Nodes of a cluster have different MTUs",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "full-size packets between some nodes are lost",
        rules: ["submariner MTU-03"],
        run: Cluster(uplink_mtu_is_one),
    };
}

fn uplink_mtu_is_one(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let all = nodes(cluster)?;
        let mtus: Vec<u32> = read(cluster, all.clone())
            .into_iter()
            .filter_map(|(_, on)| uplink_mtu(&on.ok()?).ok())
            .collect();
        let count = |mtu: &u32| mtus.iter().filter(|other| *other == mtu).count();
        let usual = mtus.iter().max_by_key(|mtu| (count(mtu), **mtu)).copied();
        let advice = (
            "one MTU on all nodes",
            "give the cards of all nodes one MTU, the smaller one",
        );
        judge(audit, cluster, all, advice, |on| {
            let mtu = uplink_mtu(on)?;
            let fault = (usual != Some(mtu)).then(|| format!("MTU {mtu}"));
            Ok(Seen::faults(fault, format!("MTU {mtu}")).evidence(mtu_evidence(on, mtu)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Gateways whose link has an MTU above 1500 do not reach their peers over the internet, or have a clamp of TCP's segment size of their own.
    ///
    /// ## Why it matters
    /// Submariner clamps TCP by the local link. With jumbo frames at home and 1500 on the way the clamp is useless, and so is path MTU discovery where
    /// ICMP is filtered.
    ///
    /// ## How it is determined
    /// MTU of the default route's link on gateways; annotation `submariner.io/tcp-clamp-mss`. Peers are behind the internet where a member's
    /// connections use NAT or, before a join, where NAT traversal is on (the default).
    ///
    /// ## How to fix
    /// Annotate the gateways of both sides with `submariner.io/tcp-clamp-mss`, path MTU less 120, and restart the route agents.
    ///
    /// ## References
    /// Submariner documentation, NAT traversal; submariner issues 1774 and 2364.
    pub static JUMBO_UPLINK = {
        code: "SM461",
        slug: "jumbo-uplink",
        title: "A gateway with jumbo frames meets its peers over the internet",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "connections open, and stall with the first large answer",
        rules: ["submariner MTU-04"],
        run: Cluster(jumbo_uplink),
    };
}

fn jumbo_uplink(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const INTERNET: u32 = 1500;
    asked(audit, cluster, || {
        if !crosses_the_internet(audit, cluster)? {
            return Err(NoVerdict::does_not_apply("the gateways reach each other without NAT"));
        }
        let advice = (
            "an MTU of at most 1500, or a clamp of TCP's segment size",
            "annotate the gateways with submariner.io/tcp-clamp-mss (path MTU less 120) in all clusters, and restart the route agents",
        );
        judge(audit, cluster, gateways(cluster)?, advice, |on| {
            let mtu = uplink_mtu(on)?;
            let own = clamp(on.node);
            let evidence = own.iter().map(|known| Evidence::of(on.cluster, known));
            let seen = if mtu <= INTERNET {
                Seen::fine(format!("MTU {mtu}"))
            } else if own.as_ref().is_some_and(|clamp| clamp.value <= INTERNET - TCP_HEADERS) {
                Seen::fine("clamped")
            } else {
                Seen::fault(format!("MTU {mtu} without a clamp"))
            };
            Ok(seen.evidence(mtu_evidence(on, mtu)).evidence_all(evidence))
        })
    })
}

/// Whether a member's connections use NAT; before a join, whether they are expected to.
fn crosses_the_internet(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Result<bool, Unknown> {
    if installed(cluster)?.is_some()
        && let Some((gateway, _)) = active(cluster)?
    {
        return Ok(gateway
            .connections
            .iter()
            .any(|connection| connection.using_nat == Some(true)));
    }
    Ok(Mesh::of(audit).nat_traversal(cluster)?.value)
}

declare_check! {
    /// ## What it checks
    /// With the WireGuard cable, the link of every gateway's default route has an MTU of 1480 or more.
    ///
    /// ## Why it matters
    /// The device keeps the kernel's 1420 bytes whatever the link below has, and adds 60. On a smaller link the encrypted packets go in fragments,
    /// and are lost where fragments are filtered.
    ///
    /// ## How it is determined
    /// The cable driver; MTU of the link of the default route on gateways.
    ///
    /// ## How to fix
    /// Raise the MTU of the link, or use another cable driver.
    ///
    /// ## References
    /// WireGuard, `drivers/net/wireguard/device.c`; `submariner`, `pkg/cable/wireguard`.
    pub static WIREGUARD_UPLINK = {
        code: "SM462",
        slug: "wireguard-uplink",
        title: "A gateway's link is too small for WireGuard",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "full-size packets are fragmented, and lost where fragments are",
        rules: ["submariner MTU-05"],
        run: Cluster(wireguard_uplink),
    };
}

fn wireguard_uplink(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const NEEDED: u32 = 1420 + 60;
    asked(audit, cluster, || {
        if Mesh::of(audit).cable_driver(cluster)?.value != "wireguard" {
            return Err(NoVerdict::does_not_apply("the cable driver is not WireGuard"));
        }
        let advice = (
            "an MTU of 1480 or more on gateways",
            "raise the MTU of the link on these nodes, or use another cable driver",
        );
        judge(audit, cluster, gateways(cluster)?, advice, |on| {
            let mtu = uplink_mtu(on)?;
            let fault = (mtu < NEEDED).then(|| format!("MTU {mtu}"));
            Ok(Seen::faults(fault, format!("MTU {mtu}")).evidence(mtu_evidence(on, mtu)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// With the VXLAN cable and Globalnet, gateways have a clamp of TCP's segment size that fits: at most the link's MTU less 90.
    ///
    /// ## Why it matters
    /// Submariner's own clamp is there the MTU less 50, which leaves out the headers of IP and TCP: 1450 on a link of 1500, where 1410 fits. It never
    /// takes effect.
    ///
    /// ## How it is determined
    /// Cable driver and Globalnet of the cluster; MTU of the default route's link and annotation `submariner.io/tcp-clamp-mss` of gateways.
    ///
    /// ## How to fix
    /// Annotate the gateways with `submariner.io/tcp-clamp-mss: "1410"` (MTU less 90) and restart the route agents.
    ///
    /// ## References
    /// `submariner`, `pkg/routeagent_driver/handlers/mtu`.
    pub static VXLAN_CLAMP = {
        code: "SM463",
        slug: "vxlan-cable-clamp",
        title: "Nothing clamps TCP to what the VXLAN cable carries",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "full segments do not fit the cable and depend on path MTU discovery",
        rules: ["submariner MTU-06"],
        run: Cluster(vxlan_clamp),
    };
}

fn vxlan_clamp(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let mesh = Mesh::of(audit);
        if mesh.cable_driver(cluster)?.value != "vxlan" || !mesh.globalnet(cluster)?.value {
            return Err(NoVerdict::does_not_apply("not the VXLAN cable with Globalnet"));
        }
        let gateways = gateways(cluster)?;
        // Without any clamp it is too large, whatever the link: no agent need look.
        let bare: Vec<&str> = gateways
            .iter()
            .filter(|node| clamp(node).is_none())
            .map(|node| node.name.as_str())
            .collect();
        let expected = "a clamp of at most the link's MTU less 90";
        let remedy = "annotate the gateways with submariner.io/tcp-clamp-mss (1410 on links of 1500) and restart the route agents";
        if !bare.is_empty() {
            let source = Source::read(format!("Node {}", bare[0]), format!("metadata.annotations[{CLAMP}]"));
            return Ok(Outcome::broken()
                .expected(expected)
                .found("no clamp but Submariner's own")
                .evidence(Evidence::new(cluster.name(), &"absent", &source))
                .remedy(remedy)
                .nodes(bare));
        }
        judge(audit, cluster, gateways, (expected, remedy), |on| {
            let mtu = uplink_mtu(on)?;
            let own = clamp(on.node).ok_or_else(|| Unknown::not_found("the annotation is absent"))?;
            let fault = (own.value + VXLAN + TCP_HEADERS > mtu).then(|| format!("{} on a link of {mtu}", own.value));
            Ok(Seen::faults(fault, format!("clamped to {}", own.value))
                .evidence(mtu_evidence(on, mtu))
                .evidence(Evidence::of(on.cluster, &own)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Records where pods may send larger packets than the tunnels carry.
    ///
    /// ## Why it matters
    /// Submariner clamps TCP only. UDP (DNS over 512 bytes, QUIC, voice) of full size does not fit, and depends on path MTU discovery.
    ///
    /// ## How it is determined
    /// The largest MTU among the links to pods on each node, against the default route's link less what the tunnel between nodes and the cable add.
    ///
    /// ## How to fix
    /// Nothing is broken for TCP. Lower the network plugin's MTU, or that of the application.
    ///
    /// ## References
    /// `submariner`, `pkg/routeagent_driver/handlers/mtu`.
    pub static UDP_SIZE = {
        code: "SM464",
        slug: "udp-size",
        title: "Pods may send larger UDP packets than the tunnels carry",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "large UDP packets depend on path MTU discovery",
        rules: ["submariner MTU-07"],
        run: Cluster(udp_size),
    };
}

/// What host-side links to pods, and the bridges they hang on, begin with.
const POD_LINKS: [&str; 10] = [
    "cni0",
    "cbr0",
    "kube-bridge",
    "weave",
    "veth",
    "cali",
    "lxc",
    "eni",
    "azv",
    "ovn-k8s-mp0",
];

fn udp_size(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let driver = Mesh::of(audit).cable_driver(cluster)?.value;
        // The largest of libreswan's algorithms, with UDP around it.
        let cable = match driver.as_str() {
            "wireguard" => 60,
            "vxlan" => VXLAN,
            _ => 85,
        };
        let advice = (
            "pods' packets that fit the tunnels",
            "lower the MTU of the network plugin or of applications that send large UDP packets",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let links = on.kernel.links.get()?.iter();
            let pods = links
                .filter(|link| POD_LINKS.iter().any(|name| link.name.starts_with(name)))
                .map(|link| link.mtu)
                .max();
            let Some(pods) = pods else {
                return Err(NoVerdict::does_not_apply("no link to a pod was recognised"));
            };
            let fits = uplink_mtu(on)?.saturating_sub(cable.max(VXLAN));
            let seen = if pods > fits {
                Seen::fault_as(Severity::Info, format!("pods send up to {pods} bytes, {fits} fit"))
            } else {
                Seen::fine(format!("pods send up to {pods} bytes"))
            };
            Ok(seen.evidence(on.evidence(&on.kernel.links, "mtu towards pods", &pods)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// With OVN-Kubernetes, the MTU of pods leaves 100 bytes of the uplink's for Geneve.
    ///
    /// ## Why it matters
    /// OVN-Kubernetes sets the pods' MTU once, at installation. Where it leaves too little, packets to pods on other nodes do not fit, before any cable
    /// adds to them.
    ///
    /// ## How it is determined
    /// MTU of device `ovn-k8s-mp0` against the link of the default route.
    ///
    /// ## How to fix
    /// Migrate the cluster network's MTU, as OpenShift's documentation describes.
    ///
    /// ## References
    /// OVN-Kubernetes documentation, MTU; OpenShift documentation, changing the MTU of the cluster network.
    pub static OVN_OVERHEAD = {
        code: "SM465",
        slug: "ovn-overhead",
        title: "OVN-Kubernetes leaves too little room for Geneve",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "large packets between nodes depend on path MTU discovery",
        rules: ["submariner MTU-10"],
        run: Cluster(ovn_overhead),
    };
}

fn ovn_overhead(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const GENEVE: u32 = 100;
    asked(audit, cluster, || {
        if !is_ovn_kubernetes(cluster)? {
            return Err(NoVerdict::does_not_apply("not OVN-Kubernetes"));
        }
        let advice = (
            "pods' MTU at least 100 below the uplink's",
            "migrate the cluster network's MTU to the uplink's less 100",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let Some(device) = on.kernel.link("ovn-k8s-mp0")? else {
                return Err(Unknown::not_found(format!("{} has no device ovn-k8s-mp0", on.node.name)).into());
            };
            let uplink = uplink_mtu(on)?;
            let seen = if device.mtu + GENEVE > uplink {
                Seen::fault_as(Severity::Info, format!("{} of {uplink}", device.mtu))
            } else {
                Seen::fine(format!("{} of {uplink}", device.mtu))
            };
            Ok(seen.evidence(on.evidence(&on.kernel.links, "ovn-k8s-mp0 mtu", &device.mtu)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// The devices that Submariner has made, `vx-submariner` and with the VXLAN cable `vxlan-tunnel`, have the MTU of their uplink less 50.
    ///
    /// ## Why it matters
    /// The MTU is set when a device is made. When the uplink's changes later the device is kept as it is: too large, and packets are lost; too small,
    /// and throughput is.
    ///
    /// ## How it is determined
    /// MTU of these devices against the link of the default route, on all nodes of a member.
    ///
    /// ## How to fix
    /// Delete the device (`ip link delete vx-submariner`) and restart the route agent; for `vxlan-tunnel` the gateway.
    ///
    /// ## References
    /// `submariner`, `pkg/vxlan/vxlan.go`.
    pub static STALE_DEVICE = {
        code: "SM921",
        slug: "tunnel-device-mtu",
        title: "A device of Submariner has the MTU of another uplink",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "packets sized by the device do not fit the link below",
        rules: ["submariner MTU-12"],
        run: Cluster(stale_device),
    };
}

fn stale_device(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        member(cluster)?;
        without_ovn(cluster)?;
        let advice = (
            "devices of the uplink's MTU less 50",
            "delete the device (ip link delete) and restart the route agent there, for vxlan-tunnel the gateway",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let mut faults = Vec::new();
            let mut evidence = Vec::new();
            let mut seen = BTreeSet::new();
            for name in [NODE_DEVICE, CABLE_DEVICE] {
                let Some(device) = on.kernel.link(name)? else { continue };
                let Some(uplink) = default_link(on)? else {
                    return Err(
                        Unknown::not_found(format!("{} has no default route over one link", on.node.name)).into(),
                    );
                };
                seen.insert(device.mtu);
                evidence.push(on.evidence(&on.kernel.links, format!("{name} mtu"), &device.mtu));
                if device.mtu + VXLAN != uplink.mtu {
                    faults.push(format!("{name} {} over {} of {}", device.mtu, uplink.name, uplink.mtu));
                }
            }
            if seen.is_empty() {
                return Err(NoVerdict::does_not_apply("Submariner has made no such device"));
            }
            Ok(Seen::faults(faults, "the uplink's MTU less 50").evidence_all(evidence))
        })
    })
}

#[cfg(test)]
mod tests;
