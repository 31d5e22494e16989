//! What the index answers: how ranges nest, what holds an address, what is free. Conflicts are in `conflict.rs`.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{AddressIndex, Block};
use crate::cidr::Cidr;

mod conflict;
mod oracle;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// An index of the blocks in `text`, each with its place as value.
fn index(text: &str) -> AddressIndex<usize> {
    let blocks = Cidr::split_list(text).into_iter().map(|item| item.unwrap().0);
    AddressIndex::new(blocks.zip(0..).collect())
}

fn show<'a, T: 'a>(blocks: impl Iterator<Item = Block<'a, T>>) -> String {
    let texts: Vec<String> = blocks.map(|block| block.cidr().to_string()).collect();
    texts.join(" ")
}

#[test]
fn blocks_nest_as_their_addresses_do() {
    let index = index("10.1.2.0/24 10.0.0.0/8 10.1.0.0/16 10.2.0.0/16 192.168.0.0/16 fd00::/8 fd00::/64");
    assert_eq!(show(index.roots()), "10.0.0.0/8 192.168.0.0/16 fd00::/8");

    let wide = index.roots().next().unwrap();
    assert_eq!(show(wide.children()), "10.1.0.0/16 10.2.0.0/16");
    assert_eq!(show(wide.subtree()), "10.0.0.0/8 10.1.0.0/16 10.1.2.0/24 10.2.0.0/16");

    let narrow = wide.subtree().nth(2).unwrap();
    assert_eq!(show(narrow.parent().into_iter()), "10.1.0.0/16");
    assert_eq!(show(narrow.ancestors()), "10.1.0.0/16 10.0.0.0/8");
    assert_eq!(show(narrow.children()), "");
}

#[test]
fn ranges_with_one_block_are_one_block_and_keep_their_numbers() {
    let index = index("10.1.0.0/16 10.0.0.0/8 10.1.0.0/16 10.1.5.5/16");
    assert_eq!(index.len(), 4);
    assert_eq!(show(index.blocks()), "10.0.0.0/8 10.1.0.0/16");
    let shared = index.blocks().next_back().unwrap();
    assert_eq!(shared.ranges().collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(shared.values().copied().collect::<Vec<_>>(), [0, 2, 3]);
}

#[test]
fn queries_by_address_and_by_block() {
    let index = index("0.0.0.0/0 10.0.0.0/8 10.1.0.0/16 10.1.2.3/32 10.2.0.0/16 ::/0 fd00::/8");
    let containing = |address: &str| show(index.containing(address.parse().unwrap()));
    assert_eq!(containing("10.1.2.3"), "10.1.2.3/32 10.1.0.0/16 10.0.0.0/8 0.0.0.0/0");
    assert_eq!(containing("10.1.255.255"), "10.1.0.0/16 10.0.0.0/8 0.0.0.0/0");
    assert_eq!(containing("10.255.255.255"), "10.0.0.0/8 0.0.0.0/0");
    assert_eq!(containing("255.255.255.255"), "0.0.0.0/0");
    assert_eq!(containing("fe00::"), "::/0");

    assert_eq!(
        show(index.covering(cidr("10.1.0.0/17"))),
        "10.1.0.0/16 10.0.0.0/8 0.0.0.0/0"
    );
    assert_eq!(
        show(index.within(cidr("10.0.0.0/14"))),
        "10.1.0.0/16 10.1.2.3/32 10.2.0.0/16"
    );
    assert_eq!(show(index.within(cidr("10.1.0.0/16"))), "10.1.0.0/16 10.1.2.3/32");
    assert_eq!(show(index.within(cidr("11.0.0.0/8"))), "");
    assert_eq!(show(index.within(cidr("::/0"))), "::/0 fd00::/8");
}

#[test]
fn nothing_is_in_an_empty_index() {
    let index = index("");
    assert!(index.is_empty());
    assert_eq!(
        index.roots().count() + index.blocks().count() + index.within(cidr("::/0")).count(),
        0
    );
    assert_eq!(index.containing("10.0.0.1".parse().unwrap()).count(), 0);
    assert_eq!(index.first_free(16, cidr("10.0.0.0/8")), Some(cidr("10.0.0.0/16")));
}

#[test]
fn first_free_sees_all_clusters() {
    let index = index("10.0.0.0/16 10.1.0.0/20 10.1.0.0/16 10.3.7.7/32 172.16.0.0/12 fd00::/64");
    let first_free = |prefix_len, within| index.first_free(prefix_len, cidr(within));
    assert_eq!(first_free(16, "10.0.0.0/8"), Some(cidr("10.2.0.0/16")));
    assert_eq!(first_free(15, "10.0.0.0/8"), Some(cidr("10.4.0.0/15")));
    assert_eq!(first_free(8, "10.0.0.0/8"), None);
    assert_eq!(first_free(16, "172.20.0.0/14"), None);
    assert_eq!(first_free(64, "fd00::/32"), Some(cidr("fd00:0:0:1::/64")));
    assert_eq!(first_free(32, "255.255.255.255/32"), Some(cidr("255.255.255.255/32")));
}

/// Any block, most of them in two small windows, so that nesting and identical blocks are common.
pub(super) fn block() -> impl Strategy<Value = Cidr> {
    let v4 = |bits: u32, len| Cidr::new(IpAddr::V4(bits.into()), len).unwrap();
    let v6 = |bits: u128, len| Cidr::new(IpAddr::V6(bits.into()), len).unwrap();
    prop_oneof![
        8 => (0..16_u32, 28..=32_u8).prop_map(move |(bits, len)| v4(0x0a00_0000 | bits, len)),
        4 => (0..16_u128, 124..=128_u8).prop_map(move |(bits, len)| v6((0xfd << 120) | bits, len)),
        2 => (any::<u32>(), 0..=32_u8).prop_map(move |(bits, len)| v4(bits, len)),
        2 => (any::<u128>(), 0..=128_u8).prop_map(move |(bits, len)| v6(bits, len)),
        1 => (0..=4_u8).prop_map(move |len| v4(u32::MAX, len)),
        1 => (0..=4_u8).prop_map(move |len| v6(0, len)),
    ]
}

proptest! {
    #[test]
    fn the_forest_is_what_comparing_all_pairs_gives(blocks in vec(block(), 0..40)) {
        let index = AddressIndex::new(blocks.iter().copied().zip(0..).collect::<Vec<(Cidr, usize)>>());
        let mut distinct = blocks.clone();
        distinct.sort();
        distinct.dedup();
        prop_assert_eq!(index.blocks().map(Block::cidr).collect::<Vec<_>>(), distinct.clone());

        for block in index.blocks() {
            let own = block.cidr();
            let around = distinct.iter().filter(|other| other.contains(own) && **other != own);
            let parent = around.copied().max_by_key(|other| other.prefix_len());
            prop_assert_eq!(block.parent().map(Block::cidr), parent);
            prop_assert_eq!(block.parent().is_none(), index.roots().any(|root| root.cidr() == own));

            let inside: Vec<Cidr> = distinct.iter().copied().filter(|other| own.contains(*other)).collect();
            prop_assert_eq!(block.subtree().map(Block::cidr).collect::<Vec<_>>(), inside);
            for child in block.children() {
                prop_assert_eq!(child.parent().map(Block::cidr), Some(own));
            }
            let children = index.blocks().filter(|other| other.parent().is_some_and(|parent| parent.cidr() == own));
            prop_assert_eq!(block.children().count(), children.count());

            let ranges: Vec<usize> = (0..blocks.len()).filter(|number| blocks[*number] == own).collect();
            prop_assert_eq!(block.ranges().collect::<Vec<_>>(), ranges);
        }
    }

    #[test]
    fn queries_find_what_trying_every_block_finds(blocks in vec(block(), 0..40), asked in block(), size_log2 in 0..=6_u8) {
        let index = AddressIndex::new(blocks.iter().map(|cidr| (*cidr, ())).collect());
        let mut distinct = blocks.clone();
        distinct.sort();
        distinct.dedup();
        let holding = |held: Cidr| distinct.iter().rev().copied().filter(move |block| block.contains(held));
        let covering: Vec<Cidr> = holding(asked).collect();
        prop_assert_eq!(index.covering(asked).map(Block::cidr).collect::<Vec<_>>(), covering);
        let containing: Vec<Cidr> = holding(Cidr::host(asked.last())).collect();
        prop_assert_eq!(index.containing(asked.last()).map(Block::cidr).collect::<Vec<_>>(), containing);
        let within: Vec<Cidr> = distinct.iter().copied().filter(|block| asked.contains(*block)).collect();
        prop_assert_eq!(index.within(asked).map(Block::cidr).collect::<Vec<_>>(), within);

        let prefix_len = asked.prefix_len().saturating_add(size_log2);
        prop_assert_eq!(index.first_free(prefix_len, asked), Cidr::first_free(prefix_len, asked, &blocks));
    }
}
