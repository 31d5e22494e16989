//! Whether the peer sees the address and port that the sender sent from.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::measured::{Group, Measured, grouped, measured};
use crate::check::declare_check;
use crate::checks::flow_verdict::probed;
use crate::facts::kernel::NetworkView;
use crate::fleet::Audit;
use crate::outcome::Outcome;
use crate::profile::Profile;
use crate::profile::submariner::Mesh;
use crate::report::Severity;

declare_check! {
    /// ## What it checks
    /// A node's datagrams arrive at the other clusters with the node's own address and source port.
    ///
    /// ## Why it matters
    /// Cilium's nodes know each other by their InternalIPs: tunnels, WireGuard and IPsec peers, health checks and policies all take the outer address for the
    /// node. Behind source NAT they belong to nobody. Submariner's IPsec and WireGuard cables pass NAT (with NAT discovery on the right address), its VXLAN
    /// cable does not.
    ///
    /// ## How it is determined
    /// Every answer of a listening agent carries the address and port that it saw. Pods' datagrams are left out: they may be masqueraded by design.
    ///
    /// ## How to fix
    /// Route between the node networks without source NAT, or exempt the other clusters' node ranges from it. For Submariner: make the gateways reach each
    /// other over public addresses, or keep NAT traversal on.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh requirements (nodes must reach each other's InternalIPs); Submariner documentation, NAT traversal.
    pub(super) static SOURCE_TRANSLATION = {
        code: "NET308",
        slug: "source-translation",
        title: "Source addresses are rewritten on the way",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "a node's packets arrive under a name that its peers do not know",
        rules: ["submariner NAT-02"],
        run: Between(source_translation),
    };
}

/// What became of the source of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rewritten {
    Nothing,
    Port,
    Address,
}

fn seen(audit: &Audit<'_>, one: &Measured<'_>) -> BTreeSet<SocketAddr> {
    let heard = audit
        .observations()
        .and_then(|observations| observations.result(one.probe))
        .and_then(|result| result.heard.as_ref()?.as_ref().ok());
    let heard = heard.into_iter().flat_map(|heard| heard.from.iter().copied());
    one.sent.seen_as.iter().copied().chain(heard).collect()
}

fn rewritten(audit: &Audit<'_>, one: &Measured<'_>) -> Rewritten {
    let Some(own) = one.sent.from else {
        return Rewritten::Nothing;
    };
    let ports: BTreeSet<u16> = one
        .sent
        .answered_ports
        .iter()
        .chain(&one.sent.silent_ports)
        .copied()
        .collect();
    let seen = seen(audit, one);
    if seen.iter().any(|seen| seen.ip().to_canonical() != own.to_canonical()) {
        Rewritten::Address
    } else if !ports.is_empty() && seen.iter().any(|seen| !ports.contains(&seen.port())) {
        Rewritten::Port
    } else {
        Rewritten::Nothing
    }
}

fn source_translation(audit: &Audit<'_>) -> Vec<Outcome> {
    let failures = match probed(audit) {
        Ok(failures) => failures,
        Err(outcome) => return vec![*outcome],
    };
    let from_node = |one: &Measured<'_>| {
        failures
            .agent(one.probe.from)
            .is_some_and(|agent| agent.network == NetworkView::Host)
    };
    let all: Vec<Measured<'_>> = measured(audit)
        .into_iter()
        .filter(|one| from_node(one) && !seen(audit, one).is_empty())
        .collect();
    if all.is_empty() {
        return vec![
            Outcome::does_not_apply("no listener saw where a node's datagrams come from").about(audit.everyone()),
        ];
    }
    let groups = grouped(audit, &all, false, |one| rewritten(audit, one) == Rewritten::Nothing);
    if groups.is_empty() {
        return vec![
            Outcome::holds()
                .found(format!("as sent on {} paths", all.len()))
                .about(audit.everyone()),
        ];
    }
    groups
        .into_iter()
        .map(|group| {
            let address = group.members.iter().any(|one| rewritten(audit, one) == Rewritten::Address);
            let what = if address { "source address" } else { "source port" };
            let place = group.place();
            let to = if address { translated_to(audit, &group) } else { String::new() };
            let outcome = Outcome::broken_as(severity(audit, address))
                .expected("packets arrive with the address and port they were sent from")
                .found(format!("the {what} is rewritten{to} {place}"))
                .cause(format!("{what} rewritten {place}"))
                .remedy("route between the node networks without source NAT, or exempt the other clusters' node ranges from it");
            group.outcome(audit, failures, outcome, |one| {
                let seen: Vec<String> = seen(audit, one).iter().take(3).map(ToString::to_string).collect();
                let own = one.sent.from.map(|ip| ip.to_string()).unwrap_or_default();
                format!("sent from {own}, arrives from {}", seen.join(", "))
            })
        })
        .collect()
}

/// The addresses that stand in the place of the senders': ` to 203.0.113.99`.
fn translated_to(audit: &Audit<'_>, group: &Group<'_>) -> String {
    const SHOWN: usize = 3;
    let foreign = group.members.iter().flat_map(|one| {
        let own = one.sent.from.map(|own| own.to_canonical());
        let seen = seen(audit, one).into_iter().map(|seen| seen.ip().to_canonical());
        seen.filter(move |seen| Some(*seen) != own).collect::<Vec<_>>()
    });
    let foreign: BTreeSet<IpAddr> = foreign.collect();
    let shown: Vec<String> = foreign.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = match foreign.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(" to {}{more}", shown.join(", "))
}

/// What it means: nothing here cares for ports but firewalls that match them.
fn severity(audit: &Audit<'_>, address: bool) -> Severity {
    if !address {
        return Severity::Warn;
    }
    match audit.profile {
        Profile::Clustermesh => Severity::Fail,
        Profile::Submariner => {
            let mesh = Mesh::of(audit);
            let vxlan = |cluster| mesh.cable_driver(cluster).is_ok_and(|driver| driver.value == "vxlan");
            if audit.clusters.iter().any(vxlan) {
                Severity::Fail
            } else {
                Severity::Warn
            }
        }
    }
}
