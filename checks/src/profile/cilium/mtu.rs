//! What Cilium takes off the MTU of the network, by version and mode. Source: Cilium, `pkg/mtu` and `pkg/wireguard/agent`.

use std::fmt;
use std::ops::RangeInclusive;

use super::Settings;
use super::values::{Encryption, Family, RoutingMode};
use super::version::Version;
use crate::facts::provenance::Unknown;

/// The bytes between the base MTU and the route MTU, which is what pods' packets may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overhead {
    /// From the least to the most that it may be: one number, unless the version or the IPsec key leaves it open.
    pub bytes: RangeInclusive<u32>,
    /// What it is made of: `tunnel 50, WireGuard 95`.
    pub parts: Vec<String>,
}

/// Tunnel header over IPv4: 20 IP, 8 UDP, 8 VXLAN or Geneve, 14 inner Ethernet.
const TUNNEL: u32 = 50;
/// The same over IPv6, taken off from 1.18 on.
const TUNNEL_IPV6: u32 = 70;
/// IPsec with an authentication key of 16 bytes.
const IPSEC: u32 = 77;
/// The smallest and the largest authentication part that a key may have, in bytes.
const IPSEC_KEY: RangeInclusive<u32> = 8..=64;

impl Overhead {
    fn add(&mut self, what: &str, bytes: RangeInclusive<u32>) {
        let (least, most) = (*bytes.start(), *bytes.end());
        self.parts.push(if least == most {
            format!("{what} {least}")
        } else {
            format!("{what} {least} to {most}")
        });
        self.bytes = self.bytes.start() + least..=self.bytes.end() + most;
    }

    /// The route MTU over a base MTU, from the least to the most.
    pub fn below(&self, base: u32) -> RangeInclusive<u32> {
        base.saturating_sub(*self.bytes.end())..=base.saturating_sub(*self.bytes.start())
    }
}

impl fmt::Display for Overhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts.is_empty() {
            f.write_str("nothing")
        } else {
            f.write_str(&self.parts.join(", "))
        }
    }
}

impl Settings<'_> {
    /// What is taken off the base MTU in this cluster.
    pub fn mtu_overhead(&self) -> Result<Overhead, Unknown> {
        let mut overhead = Overhead {
            bytes: 0..=0,
            parts: Vec::new(),
        };
        let tunnels = self.routing_mode()?.value == RoutingMode::Tunnel;
        let encryption = self.encryption()?.value;
        // Up to 1.14 WireGuard's bytes alone were taken off, tunnel or not.
        let counts_both = encryption != Encryption::Wireguard || self.versions.at_least(Version(1, 15, 0))?;
        if (tunnels || self.flag("enable-egress-gateway")?.value) && counts_both {
            let over_ipv6 =
                tunnels && self.underlay()?.value == Family::Ipv6 && self.versions.at_least(Version(1, 18, 0))?;
            let bytes = if over_ipv6 { TUNNEL_IPV6 } else { TUNNEL };
            overhead.add("tunnel", bytes..=bytes);
        }
        match encryption {
            Encryption::Wireguard => overhead.add("WireGuard", self.wireguard_overhead()),
            Encryption::Ipsec => overhead.add("IPsec", self.ipsec_overhead()),
            Encryption::None | Encryption::Ztunnel => {}
        }
        Ok(overhead)
    }

    /// What WireGuard takes: 80 bytes, with padding counted (1.20, 1.19.5 and what was ported back later) 95.
    pub fn wireguard_overhead(&self) -> RangeInclusive<u32> {
        let with_padding = |version: Version| match (version.0, version.1) {
            (1, 18) if version.2 > 11 => None,
            (1, 0..=18) => Some(false),
            (1, 19) => Some(version.2 >= 5),
            _ => Some(true),
        };
        match (with_padding(self.versions.oldest), with_padding(self.versions.newest)) {
            (Some(false), Some(false)) => 80..=80,
            (Some(true), Some(true)) => 95..=95,
            _ => 80..=95,
        }
    }

    /// What IPsec takes: 77 bytes, and what the key's authentication part is longer than 16.
    fn ipsec_overhead(&self) -> RangeInclusive<u32> {
        let of = |key: u32| IPSEC - 16 + key;
        let key = self.cilium.secrets.ok().and_then(|secrets| secrets.ipsec.as_ref());
        match key.and_then(|key| key.length_bits.filter(|_| key.algorithm.contains("gcm"))) {
            Some(bits) => of(bits / 8)..=of(bits / 8),
            None => of(*IPSEC_KEY.start())..=of(*IPSEC_KEY.end()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ClusterFacts;
    use crate::samples::{cilium, cilium_mut, set_cilium_key, value_mut};

    /// The overhead with these keys in this version.
    fn overhead(version: &str, keys: &[(&str, &str)]) -> Overhead {
        let mut facts: ClusterFacts = cilium("east", 1);
        for (key, value) in keys {
            set_cilium_key(&mut facts, key, Some(value));
        }
        let cilium = cilium_mut(&mut facts);
        value_mut(&mut cilium.versions).insert("agent".to_owned(), version.to_owned());
        *value_mut(&mut cilium.agent_pods) = [(version.to_owned(), 2)].into();
        Settings::of(cilium)
            .expect("settings")
            .mtu_overhead()
            .expect("an overhead")
    }

    const NATIVE: (&str, &str) = ("routing-mode", "native");
    const WIREGUARD: (&str, &str) = ("enable-wireguard", "true");
    const IPSEC_ON: (&str, &str) = ("enable-ipsec", "true");

    #[test]
    fn the_table_of_modes() {
        assert_eq!(overhead("1.20.0", &[NATIVE]).bytes, 0..=0);
        assert_eq!(overhead("1.20.0", &[]).bytes, 50..=50);
        assert_eq!(
            overhead("1.20.0", &[NATIVE, ("enable-egress-gateway", "true")]).bytes,
            50..=50
        );
        assert_eq!(overhead("1.20.0", &[NATIVE, WIREGUARD]).bytes, 95..=95);
        assert_eq!(overhead("1.20.0", &[WIREGUARD]).bytes, 145..=145);
        assert_eq!(overhead("1.20.0", &[NATIVE, IPSEC_ON]).bytes, 69..=125);
        assert_eq!(overhead("1.20.0", &[WIREGUARD]).to_string(), "tunnel 50, WireGuard 95");
        assert_eq!(overhead("1.20.0", &[WIREGUARD]).below(1500), 1355..=1355);
    }

    #[test]
    fn ipv6_underlays_count_from_1_18_on() {
        let ipv6 = [("enable-ipv6", "true"), ("underlay-protocol", "ipv6")];
        assert_eq!(overhead("1.18.1", &ipv6).bytes, 70..=70);
        assert_eq!(overhead("1.17.9", &ipv6).bytes, 50..=50);
    }

    #[test]
    fn wireguards_padding_came_late() {
        assert_eq!(overhead("1.19.4", &[NATIVE, WIREGUARD]).bytes, 80..=80);
        assert_eq!(overhead("1.19.5", &[NATIVE, WIREGUARD]).bytes, 95..=95);
        assert_eq!(overhead("1.18.11", &[WIREGUARD]).bytes, 130..=130);
        assert_eq!(overhead("1.18.14", &[WIREGUARD]).bytes, 130..=145);
        assert_eq!(overhead("1.14.5", &[WIREGUARD]).bytes, 80..=80);
    }
}
