//! What Cilium's encapsulation and encryption add to a packet. Source: `pkg/mtu/mtu.go` and `pkg/wireguard/agent`, per release.

use super::Settings;
use super::values::{Encryption, Family};
use super::version::Version;
use crate::facts::provenance::Unknown;

/// Bytes that are added to each packet between pods of different nodes, as Cilium itself reckons them.
pub fn overhead_bytes(settings: &Settings<'_>) -> Result<u16, Unknown> {
    let tunnel = match settings.tunnel_user()? {
        None => 0,
        // Before 1.18 the outer header is taken for IPv4's.
        Some(_) if settings.underlay()?.value == Family::Ipv6 && settings.versions.at_least(Version(1, 18, 0))? => 70,
        Some(_) => 50,
    };
    let encryption = match settings.encryption()?.value {
        Encryption::None | Encryption::Ztunnel => 0,
        Encryption::Wireguard if pads(settings)? => 95,
        Encryption::Wireguard => 80,
        Encryption::Ipsec => 77,
    };
    Ok(tunnel + encryption)
}

/// WireGuard's padding is reckoned with since 1.19.5 and 1.20.
fn pads(settings: &Settings<'_>) -> Result<bool, Unknown> {
    settings.versions.at_least(Version(1, 19, 5))
}
