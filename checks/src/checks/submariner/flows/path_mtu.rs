//! What Submariner needs of a path between gateways: what the gateway's own link takes, because TCP is clamped to that.
//! Source: Submariner, `pkg/routeagent_driver/handlers/mtu` (clamping to the local link's MTU) and issues 1774, 2364.

use crate::check::NoVerdict;
use crate::checks::path_mtu_verdict::{Need, Rule};
use crate::fleet::{Audit, Cluster};
use crate::profile::submariner::Mesh;
use crate::report::Severity;

/// Headers of IPv4 and TCP.
const TCP_HEADERS_BYTES: u16 = 40;

pub(super) static RULE: Rule = Rule { need, remedy };

#[expect(clippy::unnecessary_wraps, reason = "the rule's signature")]
fn need(_: &Audit<'_>, cluster: &Cluster<'_>, _: bool, link_mtu: u16) -> Result<Need, NoVerdict> {
    Ok(Need {
        bytes: link_mtu,
        why: format!(
            "TCP is clamped to the card of the gateways of {}, {link_mtu}",
            cluster.name()
        ),
        told: Severity::Warn,
        black_hole: Severity::Fail,
    })
}

fn remedy(audit: &Audit<'_>, cluster: &Cluster<'_>, _: bool, carries: u16) -> Result<String, NoVerdict> {
    // The worst case of each cable; libreswan with AES-CBC, SHA-2 and UDP around it.
    let cable: u16 = match Mesh::of(audit).cable_driver(cluster)?.value.as_str() {
        "wireguard" => 60,
        "vxlan" => 50,
        _ => 85,
    };
    let clamp = carries.saturating_sub(cable + TCP_HEADERS_BYTES);
    Ok(format!(
        "annotate the gateway nodes of {} with submariner.io/tcp-clamp-mss={clamp} and restart the route agents (UDP is not clamped: keep pods' MTU at {} or less)",
        cluster.name(),
        carries.saturating_sub(cable)
    ))
}
