//! Packet filters of the host, and its IPsec policies.

use std::collections::BTreeSet;

use super::gateways;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::{Seen, asked, judge, nodes};
use crate::facts::kernel::FilterChain;
use crate::facts::provenance::Unknown;
use crate::fleet::{Audit, Cluster};
use crate::profile::submariner::{Mesh, installed};
use crate::report::Severity;

pub(in crate::checks::submariner) static CHECKS: &[&Check] = &[&MIXED_FILTERS, &FORWARD_POLICY, &FOREIGN_POLICIES];

/// Whether iptables made this chain: nf_tables' own names are in lower case.
fn is_of_iptables(chain: &FilterChain) -> bool {
    ["ip", "ip6"].contains(&chain.family.as_str())
        && ["INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"].contains(&chain.chain.as_str())
}

declare_check! {
    /// ## What it checks
    /// No node has rules of iptables in both of its back ends, legacy and nf_tables.
    ///
    /// ## Why it matters
    /// Submariner's images guess the back end from the rules they find, and may guess wrong: their rules then stand where nobody else's are, and in another order.
    ///
    /// ## How it is determined
    /// Tables of legacy iptables in the kernel, beside chains of iptables with rules in nf_tables. Reading the latter takes CAP_NET_ADMIN on most kernels.
    ///
    /// ## How to fix
    /// Flush the stale legacy tables (`iptables-legacy -F`, and of each table), unload their modules or reboot.
    ///
    /// ## References
    /// kubeovn/kube-ovn issue 2293; submariner issue 1774.
    pub static MIXED_FILTERS = {
        code: "SM022",
        slug: "mixed-iptables",
        title: "A node has rules of legacy iptables beside those of nf_tables",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "Submariner may put its rules where they do not meet the packets",
        rules: ["submariner KP-03"],
        run: Cluster(mixed_filters),
    };
}

fn mixed_filters(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let advice = (
            "rules of iptables in one back end",
            "flush the stale legacy tables (iptables-legacy -F, -t nat -F, -t mangle -F) on these nodes, or reboot them",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let filter = on.kernel.packet_filter.get()?;
            let nft = filter
                .chains
                .iter()
                .any(|chain| is_of_iptables(chain) && chain.rules > 0);
            let legacy = filter.legacy_tables.join(", ");
            let seen = match (nft, filter.legacy_tables.is_empty()) {
                (true, false) => Seen::fault(format!("legacy tables {legacy} beside nf_tables")),
                (false, false) => Seen::fine("legacy alone"),
                (true, true) => Seen::fine("nf_tables alone"),
                (false, true) => Seen::fine("no rules of iptables"),
            };
            let shown = if legacy.is_empty() { "none" } else { legacy.as_str() };
            Ok(seen.evidence(on.evidence(&on.kernel.packet_filter, "legacy tables", &shown)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// No packet filter of a node drops forwarded packets by default.
    ///
    /// ## Why it matters
    /// Packets between the gateway and pods of other nodes are forwarded, with addresses of other clusters. Docker, ufw and hardened hosts drop what no rule
    /// accepts, and nobody makes a rule for these: gateways connect, every diagnosis is green, and pods on other nodes get no answer.
    ///
    /// ## How it is determined
    /// Base chains of nf_tables (those of iptables too) at the forward hook with policy drop. A chain without any rule fails; one with rules warns, as
    /// its rules, which are not read, may accept these packets. So does firewalld, which rejects by rules. With legacy iptables the policy cannot be read.
    ///
    /// ## How to fix
    /// `iptables -P FORWARD ACCEPT`, or rules that accept forwarding from and to `vx-submariner` and the pod and Service ranges of all clusters; firewalld: add
    /// these links to zone trusted. Nodes of kind have this in their own network namespace; the machine below has its own beside.
    ///
    /// ## References
    /// submariner issues 2121 and 3204; Docker documentation, packet filtering and firewalls.
    pub static FORWARD_POLICY = {
        code: "SM320",
        slug: "forward-policy",
        title: "A node drops forwarded packets by default",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "pods on other nodes than the gateway reach nothing",
        rules: ["submariner CNI-06c", "submariner SYS-08", "submariner KIND-09"],
        run: Cluster(forward_policy),
    };
}

fn forward_policy(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let advice = (
            "forwarded packets accepted by default",
            "iptables -P FORWARD ACCEPT, or rules that accept forwarding from and to vx-submariner and all clusters' pod and Service ranges",
        );
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let filter = on.kernel.packet_filter.get()?;
            let mut seen = Seen::fine("accepted");
            let at_forward = filter
                .chains
                .iter()
                .filter(|chain| chain.hook == "forward" && ["ip", "inet"].contains(&chain.family.as_str()));
            for chain in at_forward {
                let name = format!("{} {} {}", chain.family, chain.table, chain.chain);
                let is_firewalld = chain.table == "firewalld" && chain.rules > 0;
                if !chain.drops_by_default && !is_firewalld {
                    continue;
                }
                let fault = match (is_firewalld, chain.rules) {
                    (true, _) => Seen::fault_as(Severity::Warn, "firewalld forwards by its zones"),
                    (_, 0) => Seen::fault(format!("{name} drops everything")),
                    (_, _) => Seen::fault_as(Severity::Warn, format!("{name} drops what its rules do not accept")),
                };
                let value = format!(
                    "policy {}, {} rules",
                    if chain.drops_by_default { "drop" } else { "accept" },
                    chain.rules
                );
                seen = seen.and(fault.evidence(on.evidence(&on.kernel.packet_filter, name, &value)));
            }
            let legacy = filter.legacy_tables.iter().any(|table| table == "ip filter");
            if seen.is_fine() && legacy {
                let why = "legacy iptables filters here, whose policies cannot be read";
                return Err(Unknown::not_found(why).into());
            }
            Ok(seen)
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Gateways have no IPsec policies of others: of a VPN of the host, of strongSwan, of a network plugin that encrypts.
    ///
    /// ## Why it matters
    /// A gateway that loses its role, and an uninstallation of libreswan, delete every policy that selects anything, whoever owns it.
    ///
    /// ## How it is determined
    /// The kernel's policies, which takes CAP_NET_ADMIN on most kernels. On a member with libreswan its own are among them, and not told apart.
    ///
    /// ## How to fix
    /// Keep gateways on nodes of their own, or have one gateway only, so that none loses its role.
    ///
    /// ## References
    /// `submariner`, `pkg/netlink/netlink.go`, `pkg/routeagent_driver/cabledriver/xfrm_cleanup_handler.go`.
    pub static FOREIGN_POLICIES = {
        code: "SM475",
        slug: "foreign-ipsec-policies",
        title: "A gateway has IPsec policies of others",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "Submariner deletes them when the gateway loses its role",
        rules: ["submariner SYS-10"],
        run: Cluster(foreign_policies),
    };
}

fn foreign_policies(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        if installed(cluster)?.is_some() && Mesh::of(audit).cable_driver(cluster)?.value == "libreswan" {
            return Err(NoVerdict::does_not_apply("Submariner's own policies are among them"));
        }
        let advice = (
            "no IPsec policies on gateways before the join",
            "use nodes without a VPN of their own as gateways, or one gateway only",
        );
        judge(audit, cluster, gateways(cluster)?, advice, |on| {
            let policies = on.kernel.xfrm_policies.get()?.iter();
            // What selects everything is left alone.
            let selects = |selector: &str| !["0.0.0.0/0", "::/0", "0/0", ""].contains(&selector);
            let foreign: BTreeSet<String> = policies
                .filter(|policy| selects(&policy.source) || selects(&policy.destination))
                .map(|policy| format!("{} {} to {}", policy.direction, policy.source, policy.destination))
                .collect();
            let evidence: Vec<_> = foreign
                .iter()
                .take(2)
                .map(|policy| on.evidence(&on.kernel.xfrm_policies, "policy", policy))
                .collect();
            let fault = (!foreign.is_empty()).then(|| "policies of others".to_owned());
            Ok(Seen::faults(fault, "none").evidence_all(evidence))
        })
    })
}

#[cfg(test)]
mod tests;
