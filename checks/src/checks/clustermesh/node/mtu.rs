//! Which packets fit: what Cilium takes the network for, and what the nodes' links and routes say.

use std::collections::BTreeSet;
use std::fmt;

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::network::{is_made, is_unicast, leads_to};
use crate::checks::per_node::{OnNode, Seen, asked, is_not_asked, judge, no_agent, nodes, not_asked_for, read};
use crate::compare::Groups;
use crate::facts::provenance::{Known, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::cilium::Settings;
use crate::profile::cilium::values::Encryption;
use crate::report::Severity;

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] = &[
    &NODE_MTU,
    &ROUTE_MTU,
    &NODE_ENCRYPTION_MTU,
    &BASE_MTU_DIFFERS,
    &IPV6_MTU,
    &HOST_ROUTE_MTU,
];

/// What Cilium takes a node's network for: what its own device says or, where there is none, key `mtu`, else the uplink.
fn base_mtu(settings: &Settings<'_>, on: &OnNode<'_>) -> Result<u32, Unknown> {
    if let Some(device) = on.kernel.link("cilium_host")? {
        return Ok(device.mtu);
    }
    let set = settings.number("mtu").map_or(0, |known| known.value);
    match u32::try_from(set) {
        Ok(set) if set > 0 => Ok(set),
        _ => Ok(on.uplink()?.mtu),
    }
}

declare_check! {
    /// ## What it checks
    /// Every node of a cluster has the same base MTU, and the link that carries traffic between nodes takes packets of that size.
    ///
    /// ## Why it matters
    /// Pods send packets up to the base MTU less what tunnel and encryption add. Where the link between nodes takes less (a public card of
    /// 1500 beside a private one of 1450), full packets are dropped: connections open, and stall with the first large answer.
    ///
    /// ## How it is determined
    /// MTU of device `cilium_host`, which is what the agent took the network for; before there is one, key `mtu`, else the MTU of the link
    /// with the node's InternalIP. It is held against that link.
    ///
    /// ## How to fix
    /// Set chart value `MTU` to what the smallest link takes, and restart the pods: their MTU is set when they are made.
    ///
    /// ## References
    /// Cilium, `pkg/mtu`; hcloud-k8s/terraform-hcloud-kubernetes issue 450.
    pub static NODE_MTU = {
        code: "CM351",
        slug: "node-mtu",
        title: "Nodes of a cluster disagree on the MTU",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "full-size packets between some nodes are lost without a word",
        rules: ["clustermesh MTU-1"],
        run: Cluster(node_mtu),
    };
}

fn node_mtu(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let settings = cluster.cilium()?;
        let all = nodes(cluster)?;
        // What most nodes have, of those whose link takes it, is what the others are held against.
        let bases: Vec<u32> = read(cluster, all.clone())
            .into_iter()
            .filter_map(|(_, on)| {
                let on = on.ok()?;
                let (base, uplink) = (base_mtu(settings, &on).ok()?, on.uplink().ok()?);
                (base <= uplink.mtu).then_some(base)
            })
            .collect();
        let count = |mtu: &u32| bases.iter().filter(|base| *base == mtu).count();
        let usual = bases.iter().max_by_key(|mtu| (count(mtu), **mtu)).copied();
        let advice = (
            "one base MTU on all nodes, and links between nodes that take it",
            "set chart value MTU to what the smallest link between nodes takes, and restart the pods",
        );
        judge(audit, cluster, all, advice, |on| {
            let base = base_mtu(settings, on)?;
            let uplink = on.uplink()?;
            let mut faults = Vec::new();
            if base > uplink.mtu {
                faults.push(format!("base MTU {base}, but {} takes {}", uplink.name, uplink.mtu));
            } else if usual.is_some_and(|usual| usual != base) {
                faults.push(format!("base MTU {base}"));
            }
            let evidence = [
                on.evidence(&on.kernel.links, format!("{} mtu", uplink.name), &uplink.mtu),
                on.evidence(&on.kernel.links, "cilium_host mtu", &base),
            ];
            let has_device = on.kernel.link("cilium_host")?.is_some();
            Ok(Seen::faults(faults, format!("base MTU {base}"))
                .evidence_all(evidence.into_iter().take(if has_device { 2 } else { 1 })))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// The MTU of Cilium's routes to pods on other nodes is the base MTU less what this version takes off for tunnel and encryption.
    ///
    /// ## Why it matters
    /// A version that counts too little (WireGuard's padding: 80 bytes where 95 are needed) makes pods send packets that do not fit.
    ///
    /// ## How it is determined
    /// MTU of the routes over `cilium_host`, and of `cilium_wg0`, against the base MTU and the table of versions and modes. In native routing
    /// without encryption nothing is taken off; chained plugins keep their own routes.
    ///
    /// ## How to fix
    /// Restart the agent where the routes are older than the setting; upgrade Cilium (1.19.5 and 1.20 count the padding).
    ///
    /// ## References
    /// Cilium, `pkg/mtu`; cilium/cilium issue 23917, pull request 45940.
    pub static ROUTE_MTU = {
        code: "CM352",
        slug: "route-mtu",
        title: "Routes to pods have another MTU than their mode calls for",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "pods send packets that do not fit once they are wrapped",
        rules: ["clustermesh MTU-2"],
        run: Cluster(route_mtu),
    };
}

fn route_mtu(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    /// What WireGuard really takes at most: headers over IPv6 and padding.
    const WIREGUARD_NEEDS: u32 = 95;
    asked(audit, cluster, || {
        let settings = cluster.cilium()?;
        if settings.chained_on_another()?.value {
            return Err(NoVerdict::does_not_apply(
                "chained plugins keep the routes of the other plugin",
            ));
        }
        let overhead = settings.mtu_overhead()?;
        if *overhead.bytes.end() == 0 {
            return Err(NoVerdict::does_not_apply(
                "native routing without encryption takes nothing off",
            ));
        }
        let wireguard = settings.encryption()?.value == Encryption::Wireguard;
        let counts_too_little = wireguard && *settings.wireguard_overhead().end() < WIREGUARD_NEEDS;
        let expected = format!("routes to pods of the base MTU less {overhead}");
        let advice = (
            expected.as_str(),
            "restart the Cilium agents of these nodes; with WireGuard upgrade to a release that counts its padding (1.19.5, 1.20)",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let Some(device) = on.kernel.link("cilium_host")? else {
                return Err(NoVerdict::does_not_apply("Cilium has made no device yet"));
            };
            let routes = on.kernel.routes.get()?.iter();
            let of_cilium = routes.filter(|route| route.link == "cilium_host" && is_unicast(route));
            let mtus: BTreeSet<u32> = of_cilium.filter_map(|route| route.mtu).collect();
            let tunnel = on.kernel.link("cilium_wg0")?.filter(|_| wireguard);
            if mtus.is_empty() && tunnel.is_none() {
                return Err(NoVerdict::does_not_apply(
                    "no route of the host shows what pods are given",
                ));
            }
            let fits = overhead.below(device.mtu);
            let mut faults: Vec<String> = mtus
                .iter()
                .filter(|mtu| !fits.contains(mtu))
                .map(|mtu| format!("routes of MTU {mtu} over a base of {}", device.mtu))
                .collect();
            if counts_too_little && faults.is_empty() {
                faults.push(format!(
                    "WireGuard is given {} bytes, {WIREGUARD_NEEDS} are needed",
                    settings.wireguard_overhead().end()
                ));
            }
            let mut evidence: Vec<_> = mtus
                .iter()
                .map(|mtu| on.evidence(&on.kernel.routes, "routes over cilium_host mtu", mtu))
                .collect();
            evidence.extend(tunnel.map(|link| on.evidence(&on.kernel.links, "cilium_wg0 mtu", &link.mtu)));
            evidence.push(on.evidence(&on.kernel.links, "cilium_host mtu", &device.mtu));
            Ok(Seen::faults(faults, format!("{overhead} taken off {}", device.mtu)).evidence_all(evidence))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Where WireGuard also encrypts traffic of the nodes themselves, the nodes' own routes leave room for it.
    ///
    /// ## Why it matters
    /// Pods' routes are made smaller; those of the host are not. Packets of the API server, the kubelet or a host-network pod fill the card's
    /// MTU and do not fit once encrypted: they are sent in fragments, and lost where a network between the clusters drops those.
    ///
    /// ## How it is determined
    /// Key `encrypt-node`; the MTU of the host's routes that lead to other nodes, against the card's MTU less WireGuard's and the tunnel's bytes. A
    /// clamp of TCP's segment size is not seen here, so this warns at most.
    ///
    /// ## How to fix
    /// Give the routes between nodes a smaller MTU (`ip route change … mtu`), or clamp the segment size; `net.ipv4.tcp_mtu_probing=1` helps TCP.
    ///
    /// ## References
    /// cilium/cilium issues 37919, 47176 and 46100.
    pub static NODE_ENCRYPTION_MTU = {
        code: "CM353",
        slug: "node-encryption-mtu",
        title: "Encrypted traffic of the nodes themselves has no room",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "large packets of the nodes themselves are fragmented, and lost where fragments are",
        rules: ["clustermesh MTU-4"],
        run: Cluster(node_encryption_mtu),
    };
}

fn node_encryption_mtu(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let settings = cluster.cilium()?;
        if settings.encryption()?.value != Encryption::Wireguard || !settings.flag("encrypt-node")?.value {
            return Err(NoVerdict::does_not_apply(
                "traffic of the nodes themselves is not encrypted",
            ));
        }
        let overhead = *settings.mtu_overhead()?.bytes.end();
        let peers = peer_nodes(audit, cluster);
        let expected = format!("routes between nodes that leave {overhead} bytes free");
        let remedy = "give the routes to other nodes a smaller MTU, or clamp TCP's segment size there; net.ipv4.tcp_mtu_probing=1 helps TCP";
        judge(audit, cluster, nodes(cluster)?, (&expected, remedy), |on| {
            let uplink = on.uplink()?;
            let limit = uplink.mtu.saturating_sub(overhead);
            let own = peers
                .iter()
                .map(|peer| host_mtu(on, *peer))
                .collect::<Result<Vec<_>, _>>()?;
            let most = own.into_iter().flatten().max().unwrap_or(uplink.mtu);
            let seen = if most > limit {
                Seen::fault(format!(
                    "packets of {most} bytes over {} of {}",
                    uplink.name, uplink.mtu
                ))
            } else {
                Seen::fine(format!("at most {most} bytes over {}", uplink.mtu))
            };
            Ok(seen.evidence(on.evidence(&on.kernel.links, format!("{} mtu", uplink.name), &uplink.mtu)))
        })
    })
}

/// The InternalIPs of other nodes that this one would send to: those of other clusters, or of its own where it is alone.
fn peer_nodes(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Vec<std::net::IpAddr> {
    /// More would tell nothing new: routes go by prefixes.
    const ENOUGH: usize = 64;
    let of = |id_is_own: bool| {
        let clusters = audit
            .clusters
            .iter()
            .filter(move |other| (other.id == cluster.id) == id_is_own);
        let nodes = clusters.filter_map(|other| other.facts.nodes.ok()).flatten();
        nodes
            .flat_map(|node| node.internal_ips().take(1))
            .take(ENOUGH)
            .collect::<Vec<_>>()
    };
    let others = of(false);
    if others.is_empty() { of(true) } else { others }
}

/// The largest packet that the host itself sends to an address, if a route says: what the kernel answered, else the most specific route.
fn host_mtu(on: &OnNode<'_>, peer: std::net::IpAddr) -> Result<Option<u32>, Unknown> {
    if let Some(path) = on.kernel.path_to(peer)
        && let Ok(chosen) = path.get()
    {
        return Ok(Some(chosen.mtu.filter(|mtu| *mtu > 0).unwrap_or(chosen.link_mtu)));
    }
    let links = on.kernel.links.get()?;
    let best = on
        .kernel
        .routes
        .get()?
        .iter()
        .filter(|route| route.table == crate::checks::per_node::network::MAIN_TABLE && is_unicast(route))
        .filter(|route| leads_to(route, peer))
        .max_by_key(|route| {
            let length = route
                .destination
                .rsplit('/')
                .next()
                .and_then(|length| length.parse::<u8>().ok());
            (length, std::cmp::Reverse(route.metric))
        });
    Ok(best.and_then(|route| {
        let link = links.iter().find(|link| link.name == route.link);
        route.mtu.or_else(|| link.map(|link| link.mtu))
    }))
}

declare_check! {
    /// ## What it checks
    /// All clusters have the same base MTU.
    ///
    /// ## Why it matters
    /// Both ends of a TCP connection tell each other what they take. UDP, QUIC and large DNS answers do not: what one cluster sends in full size
    /// the other's network may not carry, and unless the network says so (packet too big) it is lost.
    ///
    /// ## How it is determined
    /// Base MTU of every node, as Cilium took it or, before that, as its uplink has it. Whether the network between really carries full packets
    /// takes a packet: see CM508.
    ///
    /// ## How to fix
    /// Set chart value `MTU` alike, to the smaller one; enable `pmtuDiscovery` and let ICMP through.
    ///
    /// ## References
    /// Cilium, `pkg/mtu`; cilium/cilium issue 41478.
    pub static BASE_MTU_DIFFERS = {
        code: "CM354",
        slug: "base-mtu-between-clusters",
        title: "Clusters have different base MTUs",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "large UDP packets from the cluster with the larger MTU depend on path MTU discovery",
        rules: ["clustermesh MTU-5"],
        run: Between(base_mtu_differs),
    };
}

/// The base MTUs of a cluster's nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Bases(BTreeSet<u32>);

impl fmt::Display for Bases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mtus: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&mtus.join(" and "))
    }
}

fn bases(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Result<Known<Bases>, NoVerdict> {
    let read_all = || -> Result<Known<Bases>, NoVerdict> {
        let settings = cluster.cilium()?;
        let mut bases = BTreeSet::new();
        for (_, on) in read(cluster, nodes(cluster)?) {
            bases.insert(base_mtu(settings, &on?)?);
        }
        if bases.is_empty() {
            return Err(no_agent().into());
        }
        Ok(Known::new(
            Bases(bases),
            Source::read(format!("nodes of {}", cluster.name()), "base MTU"),
        ))
    };
    read_all().map_err(|why| match why {
        NoVerdict::Missing(_) if is_not_asked(audit, cluster) => not_asked_for(),
        why => why,
    })
}

fn base_mtu_differs(audit: &Audit<'_>) -> Vec<Outcome> {
    Groups::of(audit, |cluster| bases(audit, cluster)).expect_equal(audit, |outcome, _| {
        outcome
            .expected("one base MTU in all clusters")
            .remedy("set chart value MTU alike, to the smaller one, or enable pmtuDiscovery and let ICMP (packet too big) through")
    })
}

declare_check! {
    /// ## What it checks
    /// With IPv6 on, what tunnel and encryption leave of the base MTU is 1280 bytes or more.
    ///
    /// ## Why it matters
    /// IPv6 needs links that carry 1280 bytes. The kernel takes no IPv6 route of less.
    ///
    /// ## How it is determined
    /// Key `enable-ipv6`, each node's base MTU, and what this version and mode take off.
    ///
    /// ## How to fix
    /// Raise the MTU of the network below (1445 is enough for tunnel and WireGuard over IPv6), or do without one of them.
    ///
    /// ## References
    /// RFC 8200, section 5; Cilium, `pkg/mtu`.
    pub static IPV6_MTU = {
        code: "CM355",
        slug: "ipv6-mtu",
        title: "The MTU left for pods is too small for IPv6",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "pods on these nodes have no working IPv6",
        rules: ["clustermesh MTU-6"],
        run: Cluster(ipv6_mtu),
    };
}

fn ipv6_mtu(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const IPV6_MINIMUM: u32 = 1280;
    asked(audit, cluster, || {
        let settings = cluster.cilium()?;
        if !settings.families()?.value.ipv6 {
            return Err(NoVerdict::does_not_apply("pods have no IPv6"));
        }
        let overhead = settings.mtu_overhead()?;
        let advice = (
            "1280 bytes or more left for pods",
            "raise the MTU of the network between nodes, or do without tunnel or encryption",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let base = base_mtu(settings, on)?;
            let left = overhead.below(base);
            let evidence = on.evidence(&on.kernel.links, "base MTU", &base);
            if *left.end() < IPV6_MINIMUM {
                let found = format!("{} bytes are left of {base} ({overhead})", left.end());
                return Ok(Seen::fault(found).evidence(evidence));
            }
            if *left.start() < IPV6_MINIMUM {
                let open = format!("{overhead} off {base}: whether 1280 are left is not known");
                return Err(Unknown::not_found(open).into());
            }
            Ok(Seen::fine(format!("{} bytes are left of {base}", left.start())).evidence(evidence))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// No route of a node towards the nodes of other clusters has an MTU of its own that is smaller than what Cilium took the network for.
    ///
    /// ## Why it matters
    /// Such a route tells of a narrower path (a VPN, a transit gateway). The host honours it for its own packets; pods are not told, and send
    /// what does not fit.
    ///
    /// ## How it is determined
    /// What the kernel answers for the other clusters' node addresses, or its routes to them, against the node's base MTU.
    ///
    /// ## How to fix
    /// Set chart value `MTU` to the smallest of these routes, in all clusters, and restart the pods.
    ///
    /// ## References
    /// cilium/cilium issue 41478.
    pub static HOST_ROUTE_MTU = {
        code: "CM356",
        slug: "host-route-mtu",
        title: "The route to another cluster is narrower than pods know",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "full-size packets of pods do not fit on the way to the other cluster",
        rules: ["clustermesh MTU-5"],
        run: Cluster(host_route_mtu),
    };
}

fn host_route_mtu(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let settings = cluster.cilium()?;
        if audit.clusters.len() < 2 {
            return Err(NoVerdict::does_not_apply("there is no other cluster"));
        }
        let peers = peer_nodes(audit, cluster);
        if peers.is_empty() {
            return Err(Unknown::not_found("the nodes of the other clusters are not known").into());
        }
        let advice = (
            "routes to the other clusters' nodes that carry the base MTU",
            "set chart value MTU to the smallest of these routes in all clusters, and restart the pods",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let base = base_mtu(settings, on)?;
            let mut narrowest: Option<u32> = None;
            for peer in &peers {
                if let Some(mtu) = host_mtu(on, *peer)? {
                    narrowest = Some(narrowest.map_or(mtu, |least| least.min(mtu)));
                }
            }
            let Some(narrowest) = narrowest else {
                // That nothing gets there at all is what its flows say.
                return Err(NoVerdict::does_not_apply("no route leads to the other clusters' nodes"));
            };
            // A link too small for the base on this very node is another check's finding.
            let links = on.kernel.links.get()?.iter();
            let is_link = links.filter(|link| !is_made(link)).any(|link| link.mtu == narrowest);
            let evidence = on.evidence(&on.kernel.routes, "to the other clusters' nodes, mtu", &narrowest);
            let seen = if narrowest < base && !is_link {
                Seen::fault(format!("a route of MTU {narrowest} below a base of {base}"))
            } else if narrowest < base {
                Seen::fault_as(
                    Severity::Info,
                    format!("a link of MTU {narrowest} below a base of {base}"),
                )
            } else {
                Seen::fine(format!("routes of MTU {narrowest}"))
            };
            Ok(seen.evidence(evidence))
        })
    })
}

#[cfg(test)]
mod tests;
