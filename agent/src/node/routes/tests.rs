use prejoin_checks::facts::kernel::Link;
use proptest::prelude::*;

use super::*;

fn links() -> Vec<Link> {
    let link = |index, name: &str, mtu| Link {
        index,
        name: name.to_owned(),
        mtu,
        ..Link::default()
    };
    vec![link(1, "lo", 65536), link(4, "eth0", 1400)]
}

fn message(family: u8, prefix_len: u8, table: u8, kind: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![family, prefix_len, 0, 0, table, 2, 0, kind, 0, 0, 0, 0];
    bytes.extend(parts.concat());
    bytes
}

fn destination(number: u32) -> Vec<u8> {
    let ip = (0x0a00_0000 + number).to_be_bytes();
    message(
        AF_INET,
        32,
        254,
        1,
        &[attribute(RTA_DST, &ip), attribute(RTA_OIF, &4_u32.to_ne_bytes())],
    )
}

#[test]
fn a_default_route_names_hop_link_metric_and_mtu() {
    let mtu = attribute(RTAX_MTU, &1300_u32.to_ne_bytes());
    let parts = [
        attribute(RTA_TABLE, &1000_u32.to_ne_bytes()),
        attribute(RTA_GATEWAY, &[192, 0, 2, 1]),
        attribute(RTA_OIF, &4_u32.to_ne_bytes()),
        attribute(RTA_PRIORITY, &100_u32.to_ne_bytes()),
        attribute(RTA_METRICS, &mtu),
    ];
    let links = links();
    let route = route(&message(AF_INET, 0, 252, 1, &parts), &LinkTable::new(&links)).expect("a route");
    let expected = Route {
        destination: "0.0.0.0/0".to_owned(),
        table: 1000,
        kind: "unicast".to_owned(),
        gateway: Some(IpAddr::from([192, 0, 2, 1])),
        link: "eth0".to_owned(),
        mtu: Some(1300),
        metric: 100,
        protocol: "kernel".to_owned(),
        ..Route::default()
    };
    assert_eq!(route, expected);
}

#[test]
fn a_multipath_route_counts_its_hops_and_names_no_link() {
    let hop = |index: u32| {
        [
            &16_u16.to_ne_bytes()[..],
            &[0, 0],
            &index.to_ne_bytes(),
            &attribute(RTA_GATEWAY, &[192, 0, 2, 1]),
        ]
        .concat()
    };
    let parts = [attribute(RTA_MULTIPATH, &[hop(4), hop(1)].concat())];
    let route = route(&message(AF_INET, 0, 254, 1, &parts), &LinkTable::default()).expect("a route");
    assert_eq!((route.next_hops, route.link.as_str()), (2, ""));
}

#[test]
fn an_ipv4_route_may_go_by_an_ipv6_hop() {
    let via = [&10_u16.to_ne_bytes()[..], &[0xfe; 16]].concat();
    let route = route(
        &message(
            AF_INET,
            8,
            254,
            1,
            &[attribute(RTA_DST, &[10, 0, 0, 0]), attribute(RTA_VIA, &via)],
        ),
        &LinkTable::default(),
    );
    let route = route.expect("a route");
    assert_eq!(
        (route.destination.as_str(), route.gateway),
        ("10.0.0.0/8", Some(IpAddr::from([0xfe; 16])))
    );
}

#[test]
fn an_ipv6_default_route_is_written_as_such() {
    let route = route(&message(AF_INET6, 0, 254, 7, &[]), &LinkTable::default()).expect("a route");
    assert_eq!(
        (route.destination.as_str(), route.kind.as_str()),
        ("::/0", "unreachable")
    );
}

#[test]
fn a_table_of_a_million_routes_is_cut_and_keeps_its_last_default_route() {
    let links = links();
    let table = LinkTable::new(&links);
    let mut kept = Kept::default();
    for number in 0..1_000_000 {
        kept.take(AF_INET, &destination(number), &table);
    }
    kept.take(
        AF_INET,
        &message(AF_INET, 0, 254, 1, &[attribute(RTA_OIF, &4_u32.to_ne_bytes())]),
        &table,
    );
    assert_eq!((kept.routes.len(), kept.cut), (1_001, BTreeSet::from([254])));
    assert_eq!(kept.routes.last().expect("one").destination, "0.0.0.0/0");
}

#[test]
fn a_table_at_the_limit_is_whole() {
    let mut kept = Kept::default();
    for number in 0..ROUTES_OF_A_TABLE {
        kept.take(AF_INET, &destination(number), &LinkTable::default());
    }
    assert_eq!((kept.routes.len(), kept.cut.len()), (1_000, 0));
}

#[test]
fn ten_thousand_tables_are_cut_too() {
    let mut kept = Kept::default();
    for number in 0..100_000_u32 {
        let table = attribute(RTA_TABLE, &(number / 10).to_ne_bytes());
        kept.take(AF_INET, &message(AF_INET, 8, 252, 1, &[table]), &LinkTable::default());
    }
    assert_eq!((kept.routes.len(), kept.cut.len()), (20_000, 8_000));
}

#[test]
fn routes_the_kernel_keeps_for_itself_and_other_families_are_left_out() {
    let mut cloned = destination(1);
    cloned[8..12].copy_from_slice(&RTM_F_CLONED.to_ne_bytes());
    let mut kept = Kept::default();
    kept.take(AF_INET, &cloned, &LinkTable::default());
    kept.take(AF_INET6, &destination(1), &LinkTable::default());
    assert!(kept.routes.is_empty() && kept.cut.is_empty());
}

#[test]
fn the_chosen_route_has_the_learned_mtu_beside_that_of_the_link() {
    let links = links();
    let parts = [
        attribute(RTA_TABLE, &254_u32.to_ne_bytes()),
        attribute(RTA_OIF, &4_u32.to_ne_bytes()),
        attribute(RTA_PREFSRC, &[192, 0, 2, 2]),
        attribute(RTA_METRICS, &attribute(RTAX_MTU, &1280_u32.to_ne_bytes())),
    ];
    let chosen = chosen(
        &message(AF_INET, 32, 254, 1, &parts),
        &LinkTable::new(&links),
        "ip route get",
    )
    .expect("chosen");
    let expected = ChosenRoute {
        link: "eth0".to_owned(),
        source: Some(IpAddr::from([192, 0, 2, 2])),
        gateway: None,
        mtu: Some(1280),
        link_mtu: 1400,
        table: 254,
    };
    assert_eq!(chosen, expected);
}

#[test]
fn no_way_is_not_found_and_a_refusal_to_answer_is_not() {
    use nix::libc::{EACCES, EINVAL, ENETUNREACH, EPERM};
    for errno in [EINVAL, ENETUNREACH, EACCES] {
        assert_eq!(no_route(Refusal::Errno(errno), "ip route get").reason, Reason::NotFound);
    }
    assert_eq!(
        no_route(Refusal::Errno(EPERM), "ip route get").reason,
        Reason::Forbidden
    );
    let unreachable = chosen(
        &message(AF_INET6, 128, 254, 7, &[]),
        &LinkTable::default(),
        "ip route get",
    )
    .unwrap_err();
    assert_eq!(unreachable.reason, Reason::NotFound);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (route(&bytes, &LinkTable::default()), next_hops(&bytes), metrics_mtu(&bytes), via(&bytes));
        let _ = chosen(&bytes, &LinkTable::default(), "");
        Kept::default().take(AF_INET, &bytes, &LinkTable::default());
    }
}
