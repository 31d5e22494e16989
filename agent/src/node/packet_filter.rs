//! Base chains of nf_tables, and whether legacy tables are in use beside.

use std::time::Instant;

use prejoin_checks::facts::kernel::{FilterChain, KernelFeature, PacketFilter, Presence};
use prejoin_checks::facts::provenance::{Fact, Reason, Unknown};

use crate::node::netlink::{self, Netlink, attributes, big_endian, text};
use crate::node::tree::Tree;

/// `NFNL_SUBSYS_NFTABLES` in the upper byte, `NFT_MSG_GETCHAIN` in the lower.
const GET_CHAIN: u16 = 10 << 8 | 4;
/// `struct nfgenmsg`: family, version, resource.
const HEADER_BYTES: usize = 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_USE: u16 = 6;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NF_DROP: u32 = 0;

pub(super) fn read(tree: &Tree, features: &Fact<Vec<KernelFeature>>, deadline: Instant) -> Fact<PacketFilter> {
    let filter = chains(features, deadline).and_then(|chains| {
        Ok(PacketFilter {
            chains,
            legacy_tables: legacy_tables(tree)?,
        })
    });
    super::fact("nf_tables and /proc/net/ip_tables_names", "", filter)
}

/// A kernel asked about nf_tables would load it, so it is asked only where it is there already.
fn chains(features: &Fact<Vec<KernelFeature>>, deadline: Instant) -> Result<Vec<FilterChain>, Unknown> {
    let presence = features
        .get()?
        .iter()
        .find(|feature| feature.name == "nf_tables")
        .map(|feature| feature.presence);
    match presence {
        Some(Presence::Loaded | Presence::BuiltIn) => ask(deadline),
        Some(Presence::Loadable | Presence::Absent) => Ok(Vec::new()),
        Some(Presence::Unknown) | None => Err(Unknown::not_found(
            "nft list chains: whether nf_tables is there could not be told, and asking could load it",
        )),
    }
}

fn ask(deadline: Instant) -> Result<Vec<FilterChain>, Unknown> {
    let what = "nft list chains";
    let mut netlink = Netlink::open(netlink::NETFILTER, deadline)?;
    let chains = netlink.dump(
        what,
        GET_CHAIN,
        &[0; HEADER_BYTES],
        |chains: &mut Vec<FilterChain>, message| chains.extend(base_chain(message)),
    );
    chains.map_err(|refusal| refusal.into_unknown(what))?.whole(what)
}

/// The chain in an `NFT_MSG_NEWCHAIN` message, if it hangs on a hook.
fn base_chain(message: &[u8]) -> Option<FilterChain> {
    let family = *message.first()?;
    let find = |wanted| {
        attributes(message, HEADER_BYTES)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let hook = attributes(find(NFTA_CHAIN_HOOK)?, 0)
        .find(|(kind, _)| *kind == NFTA_HOOK_HOOKNUM)?
        .1;
    Some(FilterChain {
        family: family_name(family),
        table: text(find(NFTA_CHAIN_TABLE)?),
        chain: text(find(NFTA_CHAIN_NAME)?),
        hook: hook_name(family, big_endian(hook)?),
        drops_by_default: find(NFTA_CHAIN_POLICY).and_then(big_endian) == Some(NF_DROP),
        // Nothing jumps to a base chain, so that its users are its rules.
        rules: find(NFTA_CHAIN_USE).and_then(big_endian).unwrap_or_default(),
    })
}

fn family_name(family: u8) -> String {
    match family {
        1 => "inet".to_owned(),
        2 => "ip".to_owned(),
        3 => "arp".to_owned(),
        5 => "netdev".to_owned(),
        7 => "bridge".to_owned(),
        10 => "ip6".to_owned(),
        other => other.to_string(),
    }
}

fn hook_name(family: u8, hook: u32) -> String {
    let names: &[&str] = match family {
        3 => &["input", "output", "forward"],
        5 => &["ingress", "egress"],
        _ => &["prerouting", "input", "forward", "output", "postrouting", "ingress"],
    };
    let name = usize::try_from(hook).ok().and_then(|hook| names.get(hook));
    name.map_or_else(|| hook.to_string(), |name| (*name).to_owned())
}

/// `ip filter`, `ip6 nat`, ... A kernel without legacy iptables has no such files.
fn legacy_tables(tree: &Tree) -> Result<Vec<String>, Unknown> {
    let mut tables = Vec::new();
    for (file, family) in [("ip_tables_names", "ip"), ("ip6_tables_names", "ip6")] {
        match tree.text(&format!("/proc/net/{file}")) {
            Ok(names) => tables.extend(names.lines().map(|name| format!("{family} {name}"))),
            Err(unknown) if unknown.reason == Reason::NotFound => {}
            Err(unknown) => return Err(unknown),
        }
    }
    Ok(tables)
}

/// For fuzzing: whatever the kernel says, reading it does not panic.
pub(super) fn fuzz(message: &[u8]) {
    let _ = base_chain(message);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::netlink::attribute;

    fn message(family: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        [vec![family, 0, 0, 0], parts.concat()].concat()
    }

    fn hook(number: u32) -> Vec<u8> {
        attribute(
            NFTA_CHAIN_HOOK | 0x8000,
            &attribute(NFTA_HOOK_HOOKNUM, &number.to_be_bytes()),
        )
    }

    #[test]
    fn a_base_chain_that_drops() {
        let parts = [
            attribute(NFTA_CHAIN_TABLE, b"filter\0"),
            attribute(NFTA_CHAIN_NAME, b"FORWARD\0"),
            hook(2),
            attribute(NFTA_CHAIN_POLICY, &0_u32.to_be_bytes()),
            attribute(NFTA_CHAIN_USE, &7_u32.to_be_bytes()),
        ];
        let expected = FilterChain {
            family: "ip".to_owned(),
            table: "filter".to_owned(),
            chain: "FORWARD".to_owned(),
            hook: "forward".to_owned(),
            drops_by_default: true,
            rules: 7,
        };
        assert_eq!(base_chain(&message(2, &parts)), Some(expected));
    }

    #[test]
    fn a_chain_without_a_hook_is_no_base_chain() {
        let parts = [
            attribute(NFTA_CHAIN_TABLE, b"nat\0"),
            attribute(NFTA_CHAIN_NAME, b"KUBE-SERVICES\0"),
        ];
        assert_eq!(base_chain(&message(2, &parts)), None);
    }

    #[test]
    fn a_chain_that_says_nothing_of_a_policy_accepts() {
        let parts = [
            attribute(NFTA_CHAIN_TABLE, b"t\0"),
            attribute(NFTA_CHAIN_NAME, b"c\0"),
            hook(0),
        ];
        let chain = base_chain(&message(5, &parts)).expect("a base chain");
        assert_eq!(
            (chain.family.as_str(), chain.hook.as_str(), chain.drops_by_default),
            ("netdev", "ingress", false)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), family in any::<u8>(), hook in any::<u32>()) {
            let _ = (base_chain(&bytes), hook_name(family, hook), family_name(family));
        }
    }
}
