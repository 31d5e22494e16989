//! Forwarding, reverse-path filters, and the routing tables that Cilium takes over.

use std::collections::BTreeSet;

use crate::check::{Check, Judged, declare_check};
use crate::checks::per_node::network::{is_made, per_link};
use crate::checks::per_node::{OnNode, Seen, asked, judge, nodes};
use crate::facts::kernel::Route;
use crate::facts::provenance::Unknown;
use crate::fleet::{Audit, Cluster};
use crate::profile::cilium::values::{Encryption, Families, RoutingMode};

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] = &[&ROUTING_TABLES, &FORWARDING];

declare_check! {
    /// ## What it checks
    /// Nobody but Cilium uses the routing tables 200, 202, 2004 and 2005.
    ///
    /// ## Why it matters
    /// The agent treats them as its own, whether or not the features that use them are on: it replaces and deletes what is in them. Table 200 is
    /// a favourite of guides to hosts with two cards.
    ///
    /// ## How it is determined
    /// Routes in these tables over links that are not Cilium's, and rules that lead there without one of Cilium's packet marks. With IPsec on, routes
    /// of table 200 are Cilium's own.
    ///
    /// ## How to fix
    /// Give the other user another table.
    ///
    /// ## References
    /// Cilium documentation, system requirements; `pkg/datapath/linux/linux_defaults`.
    pub static ROUTING_TABLES = {
        code: "CM925",
        slug: "routing-tables-taken",
        title: "Somebody else uses Cilium's routing tables",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "Cilium deletes the other's routes, or the other leads Cilium's packets astray",
        rules: ["clustermesh K-6"],
        run: Cluster(routing_tables),
    };
}

/// Tables of IPsec (200, 202) and of the proxy (2004, 2005).
const TABLES: [u32; 4] = [200, 202, 2004, 2005];

/// Marks by which Cilium's own rules choose a table: to and from the proxy, decrypt and encrypt.
const MARKS: [u32; 4] = [0x200, 0xa00, 0xd00, 0xe00];

fn routing_tables(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let has_ipsec = cluster.cilium()?.encryption()?.value == Encryption::Ipsec;
        let advice = (
            "routing tables 200, 202, 2004 and 2005 left to Cilium",
            "give the other user of the table another number",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let is_own = |route: &Route| {
                let link = route.link.as_str();
                link.is_empty() && route.next_hops == 0
                    || link == "lo"
                    || link.starts_with("cilium_")
                    || link.starts_with("lxc")
                    || (has_ipsec && [200, 202].contains(&route.table))
            };
            let routes = on.kernel.routes.get()?.iter();
            let foreign: BTreeSet<u32> = routes
                .filter(|route| TABLES.contains(&route.table) && !is_own(route))
                .map(|route| route.table)
                .collect();
            let rules = on.kernel.rules.get()?.iter();
            let led: BTreeSet<u32> = rules
                .filter(|rule| TABLES.contains(&rule.table) && !rule.mark.is_some_and(|mark| MARKS.contains(&mark)))
                .map(|rule| rule.table)
                .collect();
            let evidence = foreign
                .iter()
                .map(|table| on.evidence(&on.kernel.routes, "routes of others in table", table));
            let evidence: Vec<_> = evidence
                .chain(
                    led.iter()
                        .map(|table| on.evidence(&on.kernel.rules, "rules of others to table", table)),
                )
                .collect();
            let tables: Vec<String> = foreign.union(&led).map(ToString::to_string).collect();
            let fault = (!tables.is_empty()).then(|| format!("table {} is in use", tables.join(", ")));
            Ok(Seen::faults(fault, "none is in use by others").evidence_all(evidence))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Every node forwards packets of the families its pods have, and no card over which pods' packets may come on another way than they went
    /// drops them by a strict reverse-path filter.
    ///
    /// ## Why it matters
    /// With native routing a pod's packet from another cluster comes in over whatever card the network chose. If the route back leads over another
    /// one, a strict filter drops it, without a word but a counter.
    ///
    /// ## How it is determined
    /// `net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding`. The filter in force is the larger of the link's own value and `all`; it can do harm
    /// only where packets may leave over more than one link, so that nodes with one are fine with any. The agent sets `all` to 0, and the card's own value decides.
    ///
    /// ## How to fix
    /// `net.ipv4.ip_forward=1`; `net.ipv4.conf.<link>.rp_filter=2` (loose), in a file of `/etc/sysctl.d` that comes last.
    ///
    /// ## References
    /// Cilium documentation, routing; Linux documentation, `networking/ip-sysctl`.
    pub static FORWARDING = {
        code: "CM926",
        slug: "forwarding-and-reverse-path",
        title: "A node does not forward, or filters by the way back",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "packets of pods are dropped on these nodes",
        rules: ["clustermesh K-7"],
        run: Cluster(forwarding),
    };
}

fn forwarding(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let settings = cluster.cilium()?;
        let families = settings.families()?.value;
        let native = settings.routing_mode()?.value == RoutingMode::Native;
        let advice = (
            "forwarding on; with native routing no strict reverse-path filter where packets have several ways out",
            "set net.ipv4.ip_forward=1 (IPv6: net.ipv6.conf.all.forwarding=1), and net.ipv4.conf.<link>.rp_filter=2 on the links named, in /etc/sysctl.d",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let mut faults = Vec::new();
            let mut evidence = Vec::new();
            for setting in forwarding_settings(families) {
                evidence.push(on.sysctl_evidence(setting));
                if on.number(setting)? == 0 {
                    faults.push(format!("{setting}=0"));
                }
            }
            if native && families.ipv4 {
                let strict = strict_links(on)?;
                evidence.extend(
                    strict
                        .iter()
                        .map(|link| on.sysctl_evidence(&per_link(link, "rp_filter"))),
                );
                faults.extend(
                    strict
                        .into_iter()
                        .map(|link| format!("strict reverse-path filter of {link}")),
                );
            }
            Ok(Seen::faults(faults, "forwards").evidence_all(evidence))
        })
    })
}

fn forwarding_settings(families: Families) -> Vec<&'static str> {
    let ipv4 = families.ipv4.then_some("net.ipv4.ip_forward");
    let ipv6 = families.ipv6.then_some("net.ipv6.conf.all.forwarding");
    ipv4.into_iter().chain(ipv6).collect()
}

/// The links with a strict reverse-path filter, where packets have several ways out.
fn strict_links<'a>(on: &OnNode<'a>) -> Result<Vec<&'a str>, Unknown> {
    let ways = on.ways_out()?;
    if ways.len() < 2 {
        return Ok(Vec::new());
    }
    let links = on.kernel.links.get()?;
    let mut strict = Vec::new();
    for name in ways {
        let is_cards = links.iter().any(|link| link.name == name && !is_made(link));
        if is_cards && on.reverse_path_filter(name)? == 1 {
            strict.push(name);
        }
    }
    Ok(strict)
}

#[cfg(test)]
mod tests;
