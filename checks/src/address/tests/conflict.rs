//! Causes and groups: first as an engineer meets them, then against the oracle.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::oracle::{Kind, Oracle, Range, Severity};
use super::{block, cidr};
use crate::address::{AddressIndex, Claim, Group};
use crate::cidr::Cidr;

/// What a range is used for, as a check would tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    Pool,
    Block,
    Service,
    Node,
}
use Use::{Block, Node, Pool, Service};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Bad {
    Warn,
    Fail,
}
use Bad::{Fail, Warn};

type Entry = (Cidr, (&'static str, Use));

const OWNERS: [&str; 4] = ["east", "west", "north", "site"];

fn range(block: &str, owner: &'static str, used_for: Use) -> Entry {
    (cidr(block), (owner, used_for))
}

/// Pod ranges of two clusters must differ; a pool over a pool only warns. Services and nodes must be apart from all
/// pods, also the cluster's own; blocks lie in their own pool.
fn rule(a: Use, b: Use, same_cluster: bool) -> Option<Bad> {
    match (a, b) {
        (Pool, Block) | (Block, Pool) | (Service, Service) | (Node, Node) if same_cluster => None,
        (Pool | Node | Service, Pool) | (Service, Service) | (Pool, Node | Service) => Some(Warn),
        (Node, Service) | (Service, Node) => None,
        _ => Some(Fail),
    }
}

fn grouped(ranges: Vec<Entry>) -> (AddressIndex<(&'static str, Use)>, Vec<Group<Bad>>) {
    let index = AddressIndex::new(ranges);
    let owner = |name: &str| OWNERS.iter().position(|owner| *owner == name).unwrap();
    let groups = index.conflicts(
        |(name, kind)| {
            Some(Claim {
                owner: owner(name),
                kind: *kind,
            })
        },
        rule,
    );
    (index, groups)
}

/// One line per group: severity, outer ranges, inner ranges.
fn explain(ranges: Vec<Entry>) -> Vec<String> {
    let (index, groups) = grouped(ranges);
    let show = |numbers: &[usize]| {
        let one = |number: &usize| {
            let (cidr, (owner, used_for)) = &index.ranges()[*number];
            format!("{owner} {used_for:?} {cidr}")
        };
        numbers.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let line = |group: &Group<Bad>| format!("{:?}: {} > {}", group.severity, show(&group.outer), show(&group.inner));
    groups
        .iter()
        .map(|group| line(group).trim_end_matches(" > ").to_owned())
        .collect()
}

#[test]
fn disjoint_ranges_and_ranges_that_may_overlap_are_no_conflict() {
    assert!(explain(vec![]).is_empty());
    assert!(
        explain(vec![
            range("10.0.0.0/8", "east", Pool),
            range("11.0.0.0/8", "west", Pool)
        ])
        .is_empty()
    );
    // A block lies in the pool it was cut from; families are apart; so are an IPv4-mapped range and its IPv4 one.
    assert!(
        explain(vec![
            range("10.0.0.0/8", "east", Pool),
            range("10.0.0.0/24", "east", Block)
        ])
        .is_empty()
    );
    assert!(explain(vec![range("0.0.0.0/0", "east", Pool), range("::/0", "west", Pool)]).is_empty());
    assert!(
        explain(vec![
            range("10.0.0.0/8", "east", Pool),
            range("::ffff:10.0.0.0/104", "west", Pool)
        ])
        .is_empty()
    );
}

#[test]
fn a_supernet_is_one_group_with_all_it_covers() {
    let groups = explain(vec![
        range("10.10.0.0/16", "east", Block),
        range("10.97.0.0/16", "east", Service),
        range("10.0.0.0/8", "west", Pool),
        range("172.31.0.0/16", "east", Node),
    ]);
    assert_eq!(
        groups,
        ["Fail: west Pool 10.0.0.0/8 > east Block 10.10.0.0/16, east Service 10.97.0.0/16"]
    );
}

#[test]
fn one_bad_supernet_over_ten_thousand_blocks_is_one_group() {
    let blocks = (0..10_000_u32).map(|i| {
        let owner = if i % 2 == 0 { "east" } else { "north" };
        (
            Cidr::new(std::net::Ipv4Addr::from(0x0a00_0000 + (i << 8)).into(), 24).unwrap(),
            (owner, Block),
        )
    });
    let (_, groups) = grouped(blocks.chain([range("10.0.0.0/8", "west", Pool)]).collect());
    assert_eq!(groups.len(), 1);
    assert_eq!((groups[0].outer.len(), groups[0].inner.len()), (1, 10_000));
}

#[test]
fn one_block_in_several_clusters_is_one_group() {
    let groups = explain(vec![
        range("10.244.0.0/16", "east", Block),
        range("10.244.0.0/16", "west", Block),
        range("10.244.0.0/16", "north", Block),
    ]);
    assert_eq!(
        groups,
        ["Fail: east Block 10.244.0.0/16, west Block 10.244.0.0/16, north Block 10.244.0.0/16"]
    );
}

#[test]
fn every_cluster_with_the_default_pool_is_one_group_whatever_was_cut_from_it() {
    let groups = explain(vec![
        range("10.0.0.0/8", "east", Pool),
        range("10.0.0.0/24", "east", Block),
        range("10.0.1.0/24", "east", Block),
        range("10.0.0.0/8", "west", Pool),
        range("10.0.0.0/24", "west", Block),
    ]);
    // That both were given 10.0.0.0/24 is as bad, and the same thing seen closer.
    let inner = "east Block 10.0.0.0/24, west Block 10.0.0.0/24, east Block 10.0.1.0/24";
    assert_eq!(
        groups,
        [format!("Fail: east Pool 10.0.0.0/8, west Pool 10.0.0.0/8 > {inner}")]
    );
}

#[test]
fn what_is_inside_a_supernet_but_not_its_fault_stays_visible() {
    let groups = explain(vec![
        range("10.0.0.0/8", "site", Node),
        range("10.1.0.0/16", "east", Block),
        range("10.1.2.0/24", "west", Block),
    ]);
    let around = "Fail: site Node 10.0.0.0/8 > east Block 10.1.0.0/16, west Block 10.1.2.0/24";
    assert_eq!(
        groups,
        [around, "Fail: east Block 10.1.0.0/16 > west Block 10.1.2.0/24"]
    );
}

#[test]
fn a_mild_conflict_around_does_not_hide_a_worse_one_inside() {
    let groups = explain(vec![
        range("10.0.0.0/8", "east", Pool),
        range("10.0.0.0/9", "west", Pool),
        range("10.0.7.0/24", "east", Block),
    ]);
    let (mild, worse) = (
        "Warn: east Pool 10.0.0.0/8 > west Pool 10.0.0.0/9",
        "Fail: west Pool 10.0.0.0/9 > east Block 10.0.7.0/24",
    );
    assert_eq!(groups, [mild, worse]);
}

#[test]
fn a_cluster_can_be_in_its_own_way() {
    let groups = explain(vec![
        range("10.0.0.0/8", "east", Pool),
        range("10.96.0.0/12", "east", Service),
    ]);
    assert_eq!(groups, ["Warn: east Pool 10.0.0.0/8 > east Service 10.96.0.0/12"]);
}

#[test]
fn many_equal_blocks_without_a_pool_around_them_are_one_group() {
    let both = |block| [range(block, "east", Block), range(block, "west", Block)];
    let (_, groups) = grouped(
        ["10.1.0.0/24", "10.3.0.0/24", "10.5.0.0/24"]
            .into_iter()
            .flat_map(both)
            .collect(),
    );
    assert_eq!(
        groups,
        [Group {
            severity: Fail,
            outer: vec![0, 1, 2, 3, 4, 5],
            inner: vec![]
        }]
    );
}

#[test]
fn one_foreign_block_in_a_full_subtree_is_found_and_named() {
    let own = (0..5_000_u32).map(|i| {
        let first = std::net::Ipv4Addr::from(0x0a00_0000 + (i << 8));
        (Cidr::new(first.into(), 24).unwrap(), ("east", Block))
    });
    let ranges = own
        .chain([range("10.0.0.0/8", "east", Pool), range("10.7.7.7/32", "west", Node)])
        .collect();
    let (_, groups) = grouped(ranges);
    // West's node is in a block of east's, which is worse than being in its pool.
    let blocked = 7 * 256 + 7;
    let in_pool = Group {
        severity: Warn,
        outer: vec![5_000],
        inner: vec![5_001],
    };
    assert_eq!(
        groups,
        [
            in_pool,
            Group {
                severity: Fail,
                outer: vec![blocked],
                inner: vec![5_001]
            }
        ]
    );
}

#[test]
fn whole_address_spaces_conflict_like_any_block() {
    let groups = explain(vec![
        range("0.0.0.0/0", "east", Pool),
        range("255.255.255.255", "west", Node),
        range("::/0", "east", Pool),
        range("::", "west", Block),
    ]);
    let v4 = "Warn: east Pool 0.0.0.0/0 > west Node 255.255.255.255/32";
    assert_eq!(groups, [v4, "Fail: east Pool ::/0 > west Block ::/128"]);
}

#[test]
fn the_same_range_from_two_sources_is_named_once() {
    let twice = || range("10.0.0.0/16", "east", Pool);
    let groups = explain(vec![twice(), twice(), range("10.0.0.0/16", "west", Pool)]);
    assert_eq!(groups, ["Warn: east Pool 10.0.0.0/16, west Pool 10.0.0.0/16"]);
}

#[test]
fn a_question_leaves_out_what_it_is_not_about() {
    let index = AddressIndex::new(vec![
        range("10.0.0.0/8", "east", Node),
        range("10.0.0.0/8", "west", Pool),
    ]);
    let pods_only = |(_, used_for): &(_, Use)| (*used_for != Node).then_some(Claim { owner: 0, kind: () });
    assert!(index.conflicts(pods_only, |(), (), _| Some(Fail)).is_empty());
}

#[test]
fn a_rule_that_is_not_symmetric_by_mistake_hides_nothing() {
    let index = AddressIndex::new(vec![(cidr("10.0.0.0/8"), 0_usize), (cidr("10.0.0.0/16"), 1)]);
    for asked in [(0, 1), (1, 0)] {
        let claim = |number: &usize| {
            Some(Claim {
                owner: *number,
                kind: *number,
            })
        };
        let groups = index.conflicts(claim, |a, b, _| (asked == (a, b)).then_some(Fail));
        assert_eq!(groups.len(), 1, "{asked:?}");
    }
}

#[test]
fn alike_but_not_equally_bad_is_not_one_group() {
    // At 11.0.0.0/16 the worst is explained: the inner range's owner has 11.0.0.0/8, which is as bad for kind 0.
    let at = |block: &str, owner: usize, kind: Kind| (cidr(block), Claim { owner, kind });
    let index = AddressIndex::new(vec![
        at("10.0.0.0/16", 0, 0),
        at("10.0.0.0/16", 1, 1),
        at("10.0.0.0/24", 2, 2),
        at("11.0.0.0/16", 0, 0),
        at("11.0.0.0/16", 1, 1),
        at("11.0.0.0/24", 2, 2),
        at("11.0.0.0/8", 2, 3),
    ]);
    let groups = index.conflicts(
        |claim| Some(*claim),
        |a, b, _| match (a.min(b), a.max(b)) {
            (0, 2 | 3) => Some(Fail),
            (0 | 1, 1 | 2) => Some(Warn),
            _ => None,
        },
    );
    let group = |severity, outer: &[usize], inner: &[usize]| Group {
        severity,
        outer: outer.to_vec(),
        inner: inner.to_vec(),
    };
    assert_eq!(
        groups,
        [
            group(Fail, &[0, 1], &[2]),
            group(Fail, &[6], &[3]),
            group(Warn, &[3, 4], &[5])
        ]
    );
}

/// Beyond 64 kinds nothing is explained by another kind any more, and still nothing is lost.
#[test]
fn more_kinds_than_fit_a_set_lose_no_conflict() {
    let nest = (0..33).map(|len| cidr(&format!("0.0.0.0/{len}")));
    let ranges: Vec<(Cidr, usize)> = nest.clone().chain(nest.clone()).chain(nest).zip(0..).collect();
    let index = AddressIndex::new(ranges);
    let groups = index.conflicts(
        |number| {
            Some(Claim {
                owner: number % 2,
                kind: *number,
            })
        },
        |_, _, same| (!same).then_some(Fail),
    );
    let named: BTreeSet<usize> = groups
        .iter()
        .flat_map(|group| group.outer.iter().chain(&group.inner))
        .copied()
        .collect();
    assert_eq!(named.len(), 99);
}

const KINDS: u8 = 4;

/// A rule over the kinds: symmetric, between owners and within one; severities from 0 to 2 or no conflict.
fn rule_of(table: &[Option<Severity>]) -> impl Fn(Kind, Kind, bool) -> Option<Severity> {
    move |a, b, same| table[usize::from((a.min(b) * KINDS + a.max(b)) * 2) + usize::from(same)]
}

fn any_table() -> impl Strategy<Value = Vec<Option<Severity>>> {
    vec(proptest::option::weighted(0.6, 0..3_u8), usize::from(KINDS * KINDS) * 2)
}

fn any_ranges() -> impl Strategy<Value = Vec<Range>> {
    let claim = (0..4_usize, 0..KINDS).prop_map(|(owner, kind)| Claim { owner, kind });
    vec((block(), proptest::option::weighted(0.95, claim)), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn groups_are_what_comparing_all_pairs_gives(ranges in any_ranges(), table in any_table()) {
        let oracle = Oracle { ranges: &ranges, rule: rule_of(&table) };
        let groups = AddressIndex::new(ranges.clone()).conflicts(|claim| *claim, rule_of(&table));
        prop_assert_eq!(groups, oracle.groups());
    }

    #[test]
    fn every_conflict_has_one_group_and_every_group_a_conflict(ranges in any_ranges(), table in any_table()) {
        let oracle = Oracle { ranges: &ranges, rule: rule_of(&table) };
        let groups = AddressIndex::new(ranges.clone()).conflicts(|claim| *claim, rule_of(&table));

        for (outer, inner) in oracle.conflicts() {
            let cause = oracle.cause((outer, inner));
            let named = |group: &&Group<Severity>| {
                group.outer.contains(&cause.0) && (group.outer.contains(&cause.1) || group.inner.contains(&cause.1))
            };
            let explaining: Vec<&Group<Severity>> = groups.iter().filter(named).collect();
            prop_assert_eq!(explaining.len(), 1, "{:?}", cause);
            prop_assert!(Some(explaining[0].severity) >= oracle.severity(outer, inner));
            let owners = |pair: (usize, usize)| BTreeSet::from([oracle.owner(pair.0), oracle.owner(pair.1)]);
            prop_assert_eq!(owners(cause), owners((outer, inner)));
        }

        for group in &groups {
            let conflicts = |outer: usize, inner: usize| oracle.severity(outer, inner);
            let named = || group.outer.iter().chain(&group.inner).copied();
            let own_cause = |outer: usize, inner: usize| {
                let pair = if group.inner.contains(&inner) { (outer, inner) } else { (outer.min(inner), outer.max(inner)) };
                conflicts(outer, inner) == Some(group.severity) && oracle.cause(pair) == pair
            };
            prop_assert!(group.outer.iter().any(|outer| named().any(|inner| own_cause(*outer, inner))));
            for range in group.inner.iter().copied() {
                prop_assert!(group.outer.iter().any(|outer| conflicts(*outer, range).is_some()), "{} has no part", range);
            }
            for range in group.outer.iter().copied() {
                prop_assert!(named().any(|other| conflicts(range, other).is_some()), "{} has no part", range);
            }
        }
    }
}
