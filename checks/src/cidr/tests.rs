//! What a block is and what arithmetic on blocks gives, first by example, then against naive models.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Cidr;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn cidrs(text: &str) -> Vec<Cidr> {
    let parsed = Cidr::split_list(text).into_iter();
    parsed.map(|item| item.unwrap().0).collect()
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn show(blocks: &[Cidr]) -> String {
    let texts: Vec<String> = blocks.iter().map(Cidr::to_string).collect();
    texts.join(" ")
}

#[test]
fn every_valid_block_parses() {
    for (text, canonical) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        (" 10.0.0.0/8\n", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("10.1.2.3/32", "10.1.2.3/32"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("fd00::1", "fd00::1/128"),
        ("FD00:0:0::/104", "fd00::/104"),
        ("10.1.0.0/255.255.0.0", "10.1.0.0/16"),
        ("::ffff:10.0.0.0/104", "::ffff:10.0.0.0/104"),
        ("255.255.255.255/0", "0.0.0.0/0"),
    ] {
        assert_eq!(cidr(text).to_string(), canonical, "{text}");
    }
}

#[test]
fn host_bits_are_dropped_and_noted() {
    let noted = |text| Cidr::parse_noting_host_bits(text).unwrap();
    assert_eq!(noted("10.1.2.3/16"), (cidr("10.1.0.0/16"), true));
    assert_eq!(noted("10.1.0.0/16"), (cidr("10.1.0.0/16"), false));
    assert_eq!(noted("fd00::1/64"), (cidr("fd00::/64"), true));
    assert_eq!(noted("10.1.2.3"), (cidr("10.1.2.3/32"), false));
}

#[test]
fn what_is_no_block_is_refused_with_the_reason() {
    for (text, reason) in [
        ("010.0.0.0/8", "octal"),
        ("10.0.0.00/8", "octal"),
        ("10.0.0.0/33", "at most 32"),
        ("::/129", "at most 128"),
        ("10.0.0.0/+8", "prefix length"),
        ("10.0.0.0/-1", "prefix length"),
        ("10.0.0.0/", "prefix length"),
        ("10.0.0.0/8/8", "prefix length"),
        ("10.0.0.0/256", "prefix length"),
        ("::/255.0.0.0", "prefix length"),
        ("10.0.0.0/255.0.255.0", "netmask"),
        ("10.0.0/8", "address"),
        ("", "address"),
        ("/8", "address"),
        ("fe80::1%eth0/64", "address"),
        ("10.0.0.0/8,10.1.0.0/16", "prefix length"),
    ] {
        let error = text.parse::<Cidr>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn an_error_shows_hostile_text_harmlessly_and_in_part() {
    let error = format!("\u{1b}[2J{}", "x".repeat(1000))
        .parse::<Cidr>()
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(r"`\u{1b}[2Jxxx"), "{error}");
    assert!(error.len() < 200, "{error}");
}

#[test]
fn a_block_is_a_string_in_json() {
    assert_eq!(serde_json::to_string(&cidr("10.1.2.3/16")).unwrap(), r#""10.1.0.0/16""#);
    assert_eq!(
        serde_json::from_str::<Cidr>(r#""10.1.2.3/16""#).unwrap(),
        cidr("10.1.0.0/16")
    );
    assert!(serde_json::from_str::<Cidr>(r#""010.0.0.0/8""#).is_err());
}

#[test]
fn lists_are_split_at_commas_and_white_space_and_keep_the_bad_items() {
    assert_eq!(cidrs("10.0.0.0/16,10.1.0.0/16 fd00::/104 ,\n10.2.0.0/16,").len(), 4);
    assert!(Cidr::split_list(" , ").is_empty());
    let mixed = Cidr::split_list("10.0.0.1/16 oops");
    assert_eq!(mixed[0], Ok((cidr("10.0.0.0/16"), true)));
    assert_eq!(mixed[1].as_ref().unwrap_err().text, "oops");
    assert_eq!(mixed.len(), 2);
}

#[test]
fn first_last_and_size() {
    for (text, first, last, size_log2) in [
        ("10.1.0.0/16", "10.1.0.0", "10.1.255.255", 16),
        ("10.1.2.3/32", "10.1.2.3", "10.1.2.3", 0),
        ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", 32),
        ("fd00::/120", "fd00::", "fd00::ff", 8),
        ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 128),
    ] {
        let block = cidr(text);
        let expected = (addr(first), addr(last), size_log2);
        assert_eq!((block.first(), block.last(), block.size_log2()), expected);
    }
}

#[test]
fn blocks_nest_or_are_disjoint() {
    let (wide, narrow, other) = (cidr("10.0.0.0/8"), cidr("10.244.0.0/16"), cidr("11.0.0.0/8"));
    assert!(wide.contains(narrow) && !narrow.contains(wide) && wide.contains(wide));
    assert!(wide.overlaps(narrow) && narrow.overlaps(wide) && !wide.overlaps(other));
    assert_eq!(wide.intersection(narrow), Some(narrow));
    assert_eq!(narrow.intersection(wide), Some(narrow));
    assert_eq!(narrow.intersection(other), None);
}

#[test]
fn families_never_overlap() {
    let (all_v4, all_v6) = (cidr("0.0.0.0/0"), cidr("::/0"));
    assert!(!all_v4.overlaps(all_v6) && !all_v6.overlaps(all_v4));
    assert!(!all_v6.contains_addr(addr("10.0.0.1")));
    // An IPv4-mapped block is IPv6, whatever it stands for.
    assert!(!cidr("::ffff:10.0.0.0/104").overlaps(cidr("10.0.0.0/8")));
}

#[test]
fn ipv4_mapped_blocks_say_what_they_stand_for() {
    assert_eq!(cidr("::ffff:10.0.0.0/104").ipv4_mapped(), Some(cidr("10.0.0.0/8")));
    assert_eq!(cidr("::ffff:0:0/96").ipv4_mapped(), Some(cidr("0.0.0.0/0")));
    assert_eq!(cidr("::ffff:10.1.2.3").ipv4_mapped(), Some(cidr("10.1.2.3/32")));
    for other in ["::ffff:0:0/95", "::10.0.0.0/104", "fd00::/104", "10.0.0.0/8", "::/0"] {
        assert_eq!(cidr(other).ipv4_mapped(), None, "{other}");
    }
}

#[test]
fn order_is_family_then_address_then_size() {
    let mut blocks = cidrs("fd00::/8 10.0.0.0/16 10.0.0.0/8 9.0.0.0/8 ::/0 10.1.0.0/16 0.0.0.0/0");
    blocks.sort();
    assert_eq!(
        show(&blocks),
        "0.0.0.0/0 9.0.0.0/8 10.0.0.0/8 10.0.0.0/16 10.1.0.0/16 ::/0 fd00::/8"
    );
}

#[test]
fn private_blocks() {
    for (text, block) in [
        ("10.1.0.0/16", Some("10.0.0.0/8")),
        ("10.0.0.0/8", Some("10.0.0.0/8")),
        ("172.31.0.5", Some("172.16.0.0/12")),
        ("192.168.0.0/16", Some("192.168.0.0/16")),
        ("100.127.0.0/16", Some("100.64.0.0/10")),
        ("fd00::/104", Some("fc00::/7")),
        ("172.32.0.0/16", None),
        ("8.0.0.0/6", None),
        ("0.0.0.0/0", None),
        ("2001:db8::/32", None),
    ] {
        assert_eq!(cidr(text).private_block(), block.map(cidr), "{text}");
    }
}

#[test]
fn smallest_covering_is_one_block_per_family() {
    let covering = |texts: &[&str]| {
        let addresses: Vec<IpAddr> = texts.iter().copied().map(addr).collect();
        show(&Cidr::smallest_covering(&addresses))
    };
    assert_eq!(covering(&[]), "");
    assert_eq!(covering(&["10.0.0.7"]), "10.0.0.7/32");
    assert_eq!(covering(&["10.0.0.7", "10.0.0.8", "10.0.0.7"]), "10.0.0.0/28");
    assert_eq!(covering(&["0.0.0.0", "255.0.0.0"]), "0.0.0.0/0");
    assert_eq!(
        covering(&["fd00::1", "10.0.0.1", "fd00::1:0", "10.0.0.2"]),
        "10.0.0.0/30 fd00::/111"
    );
    assert_eq!(covering(&["::", "8000::"]), "::/0");
}

#[test]
fn aggregate_is_about_addresses_not_notation() {
    let aggregate = |text| show(&Cidr::aggregate(&cidrs(text)));
    assert_eq!(aggregate(""), "");
    assert_eq!(aggregate("10.128.0.0/9 10.0.0.0/9"), "10.0.0.0/8");
    assert_eq!(aggregate("10.0.0.0/8 10.5.0.0/16 10.0.0.0/8"), "10.0.0.0/8");
    // Neighbours that are halves of nothing stay apart.
    assert_eq!(aggregate("10.0.1.0/24 10.0.2.0/24"), "10.0.1.0/24 10.0.2.0/24");
    assert_eq!(aggregate("0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1"), "0.0.0.0/0 ::/0");
}

#[test]
fn difference_leaves_the_rest_in_as_few_blocks_as_possible() {
    let difference = |text: &str, removed| show(&cidr(text).difference(&cidrs(removed)));
    assert_eq!(difference("10.0.0.0/8", "10.0.0.0/9"), "10.128.0.0/9");
    assert_eq!(difference("10.0.0.0/30", "10.0.0.1"), "10.0.0.0/32 10.0.0.2/31");
    assert_eq!(difference("10.0.0.0/8", "11.0.0.0/8 ::/0"), "10.0.0.0/8");
    assert_eq!(difference("10.0.0.0/8", "0.0.0.0/0"), "");
    assert_eq!(difference("0.0.0.0/0", "255.255.255.255 128.0.0.0/1"), "0.0.0.0/1");
    assert_eq!(difference("::/0", "::/1 8000::/2"), "c000::/2");
    assert_eq!(difference("::/0", "fd00::/8").split(' ').count(), 8);
}

#[test]
fn coverage_counts_the_union() {
    let uncovered = |wanted, cover| show(&Cidr::uncovered(&cidrs(wanted), &cidrs(cover)));
    // Does the native routing range cover the pods of all clusters?
    assert_eq!(
        uncovered("10.1.0.0/16 10.2.0.0/16 10.3.0.0/16", "10.2.0.0/15"),
        "10.1.0.0/16"
    );
    assert_eq!(uncovered("10.0.0.0/8", "10.0.0.0/9 10.128.0.0/9"), "");
    assert_eq!(
        uncovered("10.0.0.0/8 fd00::/104", "10.128.0.0/9"),
        "10.0.0.0/9 fd00::/104"
    );
    assert_eq!(uncovered("", "10.0.0.0/8"), "");
    assert_eq!(uncovered("::/0 0.0.0.0/0", ""), "0.0.0.0/0 ::/0");
}

#[test]
fn first_free_is_the_lowest_that_fits() {
    let first_free = |len, within, used| Cidr::first_free(len, cidr(within), &cidrs(used));
    assert_eq!(
        first_free(16, "10.0.0.0/8", "10.0.0.0/12 10.16.0.0/16"),
        Some(cidr("10.17.0.0/16"))
    );
    // A single address is enough to spoil a block.
    assert_eq!(first_free(16, "10.0.0.0/8", "10.0.255.255"), Some(cidr("10.1.0.0/16")));
    assert_eq!(first_free(8, "10.0.0.0/8", ""), Some(cidr("10.0.0.0/8")));
    assert_eq!(first_free(7, "10.0.0.0/8", ""), None);
    assert_eq!(first_free(16, "10.0.0.0/15", "10.0.0.1 10.1.0.1"), None);
    assert_eq!(
        first_free(64, "fd00::/8", "fd00::/64 fd00:0:0:1::/64"),
        Some(cidr("fd00:0:0:2::/64"))
    );
    assert_eq!(first_free(33, "10.0.0.0/8", ""), None);
}

/// Blocks inside two windows of 64 addresses, one per family, at either end of the address space: few enough
/// addresses for every one to be tried.
fn small_block() -> impl Strategy<Value = Cidr> {
    (any::<bool>(), 0..64_u8, 0..=6_u8, any::<bool>()).prop_map(|(ipv4, offset, size_log2, high)| {
        let base = if high { u128::MAX << 6 } else { 0 } | u128::from(offset);
        if ipv4 {
            let address = u32::try_from(base & u128::from(u32::MAX)).unwrap();
            Cidr::new(IpAddr::V4(address.into()), 32 - size_log2).unwrap()
        } else {
            Cidr::new(IpAddr::V6(base.into()), 128 - size_log2).unwrap()
        }
    })
}

/// The naive model of a set of small blocks: its addresses, one by one.
fn addresses(blocks: &[Cidr]) -> BTreeSet<IpAddr> {
    let bits = |block: &Cidr| block.first_bits()..=block.last_bits();
    let address = |ipv4, bits: u128| match u32::try_from(bits) {
        Ok(bits) if ipv4 => IpAddr::V4(bits.into()),
        _ => IpAddr::V6(bits.into()),
    };
    let all = blocks
        .iter()
        .flat_map(|block| bits(block).map(|b| address(block.is_ipv4(), b)));
    all.collect()
}

/// Any block at all, with the ends of the address space and of common blocks well represented.
fn any_block() -> impl Strategy<Value = Cidr> {
    let v4 = (
        prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), Just(0x0aff_ffff)],
        0..=32_u8,
    );
    let v6 = (prop_oneof![any::<u128>(), Just(0), Just(u128::MAX)], 0..=128_u8);
    prop_oneof![
        v4.prop_map(|(bits, len)| Cidr::new(IpAddr::V4(bits.into()), len).unwrap()),
        v6.prop_map(|(bits, len)| Cidr::new(IpAddr::V6(bits.into()), len).unwrap()),
    ]
}

/// Sorted, disjoint, and no two that could be one.
fn assert_minimal(blocks: &[Cidr]) -> Result<(), TestCaseError> {
    for pair in blocks.windows(2) {
        prop_assert!(pair[0] < pair[1] && !pair[0].overlaps(pair[1]), "{}", show(blocks));
        let siblings = pair[0].prefix_len() == pair[1].prefix_len()
            && pair[0].prefix_len() > 0
            && pair[0].supernet(pair[0].prefix_len() - 1) == pair[1].supernet(pair[1].prefix_len() - 1);
        prop_assert!(!siblings, "{} could be joined", show(blocks));
    }
    Ok(())
}

proptest! {
    #[test]
    fn overlap_is_a_shared_address(a in small_block(), b in small_block()) {
        let (a_all, b_all) = (addresses(&[a]), addresses(&[b]));
        let shared: BTreeSet<_> = a_all.intersection(&b_all).copied().collect();
        prop_assert_eq!(a.overlaps(b), !shared.is_empty());
        prop_assert_eq!(a.contains(b), b_all.is_subset(&a_all));
        prop_assert_eq!(a.intersection(b).map_or_else(BTreeSet::new, |both| addresses(&[both])), shared);
    }

    #[test]
    fn aggregate_keeps_the_addresses(blocks in vec(small_block(), 0..24)) {
        let aggregate = Cidr::aggregate(&blocks);
        prop_assert_eq!(addresses(&aggregate), addresses(&blocks));
        assert_minimal(&aggregate)?;
    }

    #[test]
    fn uncovered_is_the_set_difference(wanted in vec(small_block(), 0..12), cover in vec(small_block(), 0..24)) {
        let uncovered = Cidr::uncovered(&wanted, &cover);
        let expected = &addresses(&wanted) - &addresses(&cover);
        prop_assert_eq!(addresses(&uncovered), expected);
        assert_minimal(&uncovered)?;
    }

    #[test]
    fn first_free_is_the_first_that_trial_finds(
        within in small_block(), used in vec(small_block(), 0..12), size_log2 in 0..=6_u8,
    ) {
        let prefix_len = within.address_bits() - size_log2;
        let by_trial = addresses(&[within]).into_iter().find_map(|address| {
            let candidate = Cidr::new(address, prefix_len)?;
            let free = within.contains(candidate) && !used.iter().any(|block| block.overlaps(candidate));
            free.then_some(candidate)
        });
        prop_assert_eq!(Cidr::first_free(prefix_len, within, &used), by_trial);
    }

    /// What small windows cannot show: blocks of every size, judged at every address where something changes.
    #[test]
    fn difference_holds_for_blocks_of_any_size(block in any_block(), removed in vec(any_block(), 0..8)) {
        let rest = block.difference(&removed);
        assert_minimal(&rest)?;
        let all = rest.iter().chain(&removed).chain([&block]);
        for address in all.flat_map(|block| [block.first(), block.last()]) {
            let expected = block.contains_addr(address) && !removed.iter().any(|hole| hole.contains_addr(address));
            prop_assert_eq!(rest.iter().any(|piece| piece.contains_addr(address)), expected, "{}", address);
        }
    }

    #[test]
    fn smallest_covering_is_smallest(blocks in vec(any_block(), 1..6)) {
        let addresses: Vec<IpAddr> = blocks.iter().map(|block| block.last()).collect();
        let covering = Cidr::smallest_covering(&addresses);
        for address in &addresses {
            prop_assert!(covering.iter().any(|block| block.contains_addr(*address)));
        }
        for block in covering {
            let inside = |half: Cidr| addresses.iter().any(|address| half.contains_addr(*address));
            if block.size_log2() > 0 {
                let halves = [block.first(), block.last()].map(|a| Cidr::new(a, block.prefix_len() + 1).unwrap());
                prop_assert!(halves.into_iter().all(inside));
            }
        }
    }

    #[test]
    fn text_round_trips(block in any_block()) {
        prop_assert_eq!(Cidr::parse_noting_host_bits(&block.to_string()), Ok((block, false)));
    }

    #[test]
    fn parsing_never_panics(text in "[0-9a-f.:/,+ é]{0,40}") {
        let _ = Cidr::split_list(&text);
    }
}
