//! What Cilium needs of a path: its base MTU, whole. Source: `pkg/mtu/mtu.go`; the route MTU of pods is the base less what is added.

use crate::check::NoVerdict;
use crate::checks::path_mtu_verdict::{Need, Rule};
use crate::fleet::{Audit, Cluster};
use crate::profile::cilium::values::{Encryption, RoutingMode};
use crate::report::Severity;

/// The least that IPv6 asks of a link (RFC 8200).
const IPV6_MINIMUM: u16 = 1280;

pub(super) static RULE: Rule = Rule { need, remedy };

fn need(_: &Audit<'_>, cluster: &Cluster<'_>, ipv6: bool, link_mtu: u16) -> Result<Need, NoVerdict> {
    let settings = cluster.cilium()?;
    let set = settings.number("mtu")?;
    let (bytes, why) = match u16::try_from(set.value) {
        Ok(mtu) if mtu > 0 => (mtu, format!("`mtu` of {} is {mtu}", cluster.name())),
        _ => (
            link_mtu,
            format!("the base MTU of {} is that of its card, {link_mtu}", cluster.name()),
        ),
    };
    let wraps =
        settings.routing_mode()?.value == RoutingMode::Tunnel || settings.encryption()?.value != Encryption::None;
    Ok(Need {
        bytes: if ipv6 { bytes.max(IPV6_MINIMUM) } else { bytes },
        why,
        // In plain native routing senders learn of it and adapt; what is wrapped does not.
        told: if wraps || ipv6 && bytes < IPV6_MINIMUM {
            Severity::Fail
        } else {
            Severity::Warn
        },
        black_hole: Severity::Fail,
    })
}

fn remedy(_: &Audit<'_>, cluster: &Cluster<'_>, ipv6: bool, carries: u16) -> Result<String, NoVerdict> {
    let settings = cluster.cilium()?;
    if ipv6 && carries < IPV6_MINIMUM {
        return Ok(format!(
            "IPv6 needs {IPV6_MINIMUM} bytes: raise the MTU of the link that carries {carries}"
        ));
    }
    let pods = settings.mtu_overhead()?.below(carries.into());
    let pods = pods.start();
    Ok(format!(
        "set chart value MTU={carries} on {} (pods then get {pods}) and restart its pods",
        cluster.name()
    ))
}
