//! Pools of load-balancer addresses, of Cilium and of MetalLB.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::AddressPool;
use prejoin_checks::facts::provenance::{Fact, Known, Reason, Source, Unknown};
use serde::Deserialize;

use super::object::{Meta, or_default};
use super::permissions::{CILIUM_LOAD_BALANCER_POOLS, METALLB_POOLS};
use super::reader::{Reader, Scope};

#[derive(Deserialize)]
struct CiliumPool {
    metadata: Meta,
    #[serde(default)]
    spec: CiliumSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CiliumSpec {
    #[serde(deserialize_with = "or_default")]
    blocks: Vec<Block>,
    /// The name of `blocks` before Cilium 1.15.
    #[serde(deserialize_with = "or_default")]
    cidrs: Vec<Block>,
    disabled: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Block {
    cidr: String,
    start: String,
    stop: String,
}

#[derive(Deserialize)]
struct MetalLbPool {
    metadata: Meta,
    #[serde(default)]
    spec: MetalLbSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetalLbSpec {
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<String>,
}

pub(crate) async fn read(reader: &Reader<'_>) -> Fact<Vec<AddressPool>> {
    let (cilium, metallb) = tokio::join!(
        reader.list(&CILIUM_LOAD_BALANCER_POOLS, Scope::ALL, |pools: &mut Vec<_>, pool| {
            pools.push(reduce_cilium(pool)?);
            Ok(())
        }),
        reader.list(&METALLB_POOLS, Scope::ALL, |pools: &mut Vec<_>, pool| {
            pools.push(reduce_metallb(pool)?);
            Ok(())
        })
    );
    join(cilium, metallb).into()
}

/// Pools of whatever is installed; not known if one that is installed could not be read.
fn join(
    cilium: Result<Vec<AddressPool>, Unknown>,
    metallb: Result<Vec<AddressPool>, Unknown>,
) -> Result<Known<Vec<AddressPool>>, Unknown> {
    let mut pools = Vec::new();
    for read in [cilium, metallb] {
        match read {
            Ok(more) => pools.extend(more),
            // Who hands out no addresses can collide with nobody.
            Err(unknown) if unknown.reason == Reason::NotInstalled => {}
            Err(unknown) => return Err(unknown),
        }
    }
    pools.sort_by(|a: &AddressPool, b| a.source.cmp(&b.source));
    Ok(Known::new(pools, Source::read("load-balancer address pools", "")))
}

fn reduce_cilium(pool: CiliumPool) -> Result<AddressPool, String> {
    let mut cidrs = Vec::new();
    for block in pool.spec.blocks.iter().chain(&pool.spec.cidrs) {
        if block.cidr.is_empty() {
            let stop = if block.stop.is_empty() {
                &block.start
            } else {
                &block.stop
            };
            cidrs.extend(range(&block.start, stop).ok_or("spec.blocks holds no range of addresses")?);
        } else {
            cidrs.push(block.cidr.parse().map_err(|_| "spec.blocks holds no address block")?);
        }
    }
    Ok(AddressPool {
        cidrs,
        disabled: pool.spec.disabled,
        source: Source::read(
            format!("CiliumLoadBalancerIPPool {}", pool.metadata.name),
            "spec.blocks",
        ),
        name: pool.metadata.name,
    })
}

fn reduce_metallb(pool: MetalLbPool) -> Result<AddressPool, String> {
    let mut cidrs = Vec::new();
    for text in &pool.spec.addresses {
        match text.split_once('-') {
            Some((first, last)) => cidrs.extend(range(first, last).ok_or("spec.addresses holds no range")?),
            None => cidrs.push(text.parse().map_err(|_| "spec.addresses holds no address block")?),
        }
    }
    Ok(AddressPool {
        cidrs,
        disabled: false,
        source: Source::read(format!("IPAddressPool {}", pool.metadata.key()), "spec.addresses"),
        name: pool.metadata.name,
    })
}

/// The fewest blocks that make up a range, both ends included; `None` if it is none.
fn range(first: &str, last: &str) -> Option<Vec<Cidr>> {
    let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let (mut next, last, bits) = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (u128::from(first.to_bits()), u128::from(last.to_bits()), 32),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits(), 128),
        _ => return None,
    };
    let mut blocks = Vec::new();
    while next <= last {
        // The largest block that starts here and does not pass the end.
        let aligned = next.trailing_zeros().min(bits);
        let room = (last - next).checked_add(1).map_or(bits, u128::ilog2);
        let size = aligned.min(room);
        let address = match bits {
            32 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(next).ok()?)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(next)),
        };
        blocks.push(Cidr::new(address, u8::try_from(bits - size).ok()?)?);
        match 1_u128.checked_shl(size).and_then(|step| next.checked_add(step)) {
            Some(after) => next = after,
            None => break,
        }
    }
    (!blocks.is_empty()).then_some(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(first: &str, last: &str) -> Vec<String> {
        range(first, last).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_range_is_written_as_its_blocks() {
        assert_eq!(blocks("10.0.0.0", "10.0.0.255"), ["10.0.0.0/24"]);
        assert_eq!(blocks("10.0.0.10", "10.0.0.15"), ["10.0.0.10/31", "10.0.0.12/30"]);
        assert_eq!(blocks("10.0.0.1", " 10.0.0.1"), ["10.0.0.1/32"]);
        assert_eq!(blocks("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(blocks("255.255.255.254", "255.255.255.255"), ["255.255.255.254/31"]);
        assert_eq!(blocks("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["::/0"]);
        assert_eq!(blocks("fd00::1", "fd00::2"), ["fd00::1/128", "fd00::2/128"]);
        assert!(range("10.0.0.2", "10.0.0.1").is_none());
        assert!(range("10.0.0.2", "fd00::").is_none());
    }

    #[test]
    fn pools_of_both_products_are_read() {
        let cilium = reduce_cilium(
            serde_json::from_str(
                r#"{"metadata":{"name":"blue"},"spec":{"blocks":[{"cidr":"192.168.5.0/24"},{"start":"192.168.6.4","stop":"192.168.6.7"}],"disabled":true}}"#,
            )
            .unwrap(),
        )
        .unwrap();
        assert_eq!((cilium.cidrs.len(), cilium.disabled), (2, true));
        let metallb = reduce_metallb(
            serde_json::from_str(
                r#"{"metadata":{"name":"p","namespace":"metallb-system"},"spec":{"addresses":["172.18.255.200-172.18.255.207","fd00::/120"]}}"#,
            )
            .unwrap(),
        )
        .unwrap();
        assert_eq!(metallb.cidrs[0].to_string(), "172.18.255.200/29");
        assert_eq!(metallb.source.object, "IPAddressPool metallb-system/p");
    }

    #[test]
    fn pools_that_may_not_be_read_are_not_taken_for_none() {
        let not_installed = || Err(Unknown::new(Reason::NotInstalled, "metallb.io is not served"));
        let forbidden = Err(Unknown::new(Reason::Forbidden, "list"));
        assert_eq!(join(Ok(Vec::new()), not_installed()).unwrap().value, []);
        assert_eq!(join(forbidden, not_installed()).unwrap_err().reason, Reason::Forbidden);
        assert_eq!(join(not_installed(), not_installed()).unwrap().value, []);
    }
}
