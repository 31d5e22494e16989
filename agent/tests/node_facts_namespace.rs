//! Reads a node whose links, routes and rules are known because the test made them, in a network namespace of its own.
//!
//! Where no namespace can be made the test says so and passes, unless `PREJOIN_REQUIRE_LAB` is set.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures::TryStreamExt;
use nix::sched::{CloneFlags, unshare};
use prejoin_agent::node::{NodeOptions, read_node};
use prejoin_checks::facts::kernel::{NetworkView, NodeFacts, Tunnel};
use prejoin_checks::facts::provenance::Reason;
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder};

const REQUIRE: &str = "PREJOIN_REQUIRE_LAB";

/// The routes of a table that is larger than what is kept of one.
const LARGE_TABLE: u32 = 2005;
const LARGE_TABLE_ROUTES: u32 = 1_200;

fn main() {
    let own =
        unshare(CloneFlags::CLONE_NEWNET).or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET));
    if let Err(error) = own {
        assert!(
            std::env::var_os(REQUIRE).is_none(),
            "no network namespace can be made: {error}"
        );
        eprintln!("SKIPPED: no network namespace can be made here ({error}); set {REQUIRE}=1 to make that a failure");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        make_node().await.expect("a node");
        let peers = ["10.1.0.7", "10.77.0.1", "10.78.0.1", "192.0.2.9"].map(|ip| ip.parse().expect("an address"));
        let options = NodeOptions {
            peers: peers.to_vec(),
            ..NodeOptions::new("made", Duration::from_secs(60))
        };
        let facts = read_node(&options).await;
        links_have_the_mtu_kind_and_addresses_they_were_given(&facts);
        a_tunnel_tells_port_identifier_and_what_is_below(&facts);
        routes_and_ways_are_those_that_were_made(&facts);
        a_table_too_large_is_cut_and_named(&facts);
        settings_of_a_link_with_a_dot_in_its_name(&facts);
        the_kernels_own_sockets_hold_their_ports(&facts);
        the_namespace_is_not_guessed_and_the_users_word_counts(&facts).await;
    });
    println!("node_facts_namespace: ok");
}

async fn make_node() -> Result<(), rtnetlink::Error> {
    let (connection, handle, _) = rtnetlink::new_connection().expect("a netlink socket");
    tokio::spawn(connection);
    handle
        .link()
        .set(LinkUnspec::new_with_name("lo").up().build())
        .execute()
        .await?;
    handle
        .link()
        .add(LinkVeth::new("up.100", "far").mtu(1450).build())
        .execute()
        .await?;
    let (near, far) = (index(&handle, "up.100").await?, index(&handle, "far").await?);
    handle
        .link()
        .set(LinkUnspec::new_with_index(far).up().build())
        .execute()
        .await?;
    handle
        .link()
        .set(LinkUnspec::new_with_index(near).mtu(1450).up().build())
        .execute()
        .await?;
    for last in [1, 2] {
        handle
            .address()
            .add(near, IpAddr::from([10, 1, 0, last]), 24)
            .execute()
            .await?;
    }
    let vxlan = LinkVxlan::new("vx", 100)
        .dev(near)
        .port(4800)
        .local(Ipv4Addr::new(10, 1, 0, 1))
        .mtu(1380)
        .up();
    handle.link().add(vxlan.build()).execute().await?;

    let route = || RouteMessageBuilder::<Ipv4Addr>::new();
    let hop = Ipv4Addr::new(10, 1, 0, 9);
    handle
        .route()
        .add(
            route()
                .destination_prefix(Ipv4Addr::new(10, 77, 0, 0), 16)
                .kind(RouteType::BlackHole)
                .build(),
        )
        .execute()
        .await?;
    handle
        .route()
        .add(
            route()
                .destination_prefix(Ipv4Addr::new(10, 78, 0, 0), 16)
                .gateway(hop)
                .output_interface(near)
                .build(),
        )
        .execute()
        .await?;
    for number in 0..LARGE_TABLE_ROUTES {
        let destination = Ipv4Addr::from(0x0b00_0000 + number);
        let route = route()
            .destination_prefix(destination, 32)
            .gateway(hop)
            .output_interface(near)
            .table_id(LARGE_TABLE);
        handle.route().add(route.build()).execute().await?;
    }
    handle
        .rule()
        .add()
        .v4()
        .priority(2005)
        .fw_mark(0x200)
        .table_id(LARGE_TABLE)
        .execute()
        .await
}

async fn index(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let link = handle
        .link()
        .get()
        .match_name(name.to_owned())
        .execute()
        .try_next()
        .await?;
    Ok(link.expect("a link just made").header.index)
}

fn links_have_the_mtu_kind_and_addresses_they_were_given(facts: &NodeFacts) {
    let link = facts.link("up.100").expect("links").expect("the link");
    assert_eq!(
        (link.kind.as_str(), link.mtu, link.up, link.oper_state.as_str()),
        ("veth", 1450, true, "up")
    );
    let addresses: Vec<_> = link
        .addresses
        .iter()
        .filter(|address| address.ip.is_ipv4())
        .map(|address| (address.ip, address.secondary))
        .collect();
    assert_eq!(
        addresses,
        [
            (IpAddr::from([10, 1, 0, 1]), false),
            (IpAddr::from([10, 1, 0, 2]), true)
        ]
    );
}

fn a_tunnel_tells_port_identifier_and_what_is_below(facts: &NodeFacts) {
    let below = facts.link("up.100").expect("links").expect("the link").index;
    let link = facts.link("vx").expect("links").expect("the tunnel");
    let expected = Tunnel {
        port: Some(4800),
        id: Some(100),
        local: Some(IpAddr::from([10, 1, 0, 1])),
        remote: None,
        lower: Some(below),
    };
    assert_eq!(
        (link.kind.as_str(), link.mtu, link.tunnel.as_ref()),
        ("vxlan", 1380, Some(&expected))
    );
}

fn routes_and_ways_are_those_that_were_made(facts: &NodeFacts) {
    let routes = facts.routes.get().expect("routes");
    let blackhole = routes
        .iter()
        .find(|route| route.destination == "10.77.0.0/16")
        .expect("the route");
    assert_eq!((blackhole.kind.as_str(), blackhole.table), ("blackhole", 254));

    let way = |ip: [u8; 4]| facts.path_to(IpAddr::from(ip)).expect("asked");
    let near = way([10, 1, 0, 7]).get().expect("a way");
    assert_eq!(
        (near.link.as_str(), near.link_mtu, near.gateway),
        ("up.100", 1450, None)
    );
    let far = way([10, 78, 0, 1]).get().expect("a way");
    assert_eq!(
        (far.gateway, far.source),
        (Some(IpAddr::from([10, 1, 0, 9])), Some(IpAddr::from([10, 1, 0, 1])))
    );
    for nowhere in [[10, 77, 0, 1], [192, 0, 2, 9]] {
        assert_eq!(way(nowhere).why().map(|why| why.reason), Some(Reason::NotFound));
    }
    let rules = facts.rules.get().expect("rules");
    assert!(
        rules
            .iter()
            .any(|rule| (rule.priority, rule.table, rule.mark) == (2005, LARGE_TABLE, Some(0x200))),
        "{rules:?}"
    );
}

fn a_table_too_large_is_cut_and_named(facts: &NodeFacts) {
    let kept = facts
        .routes
        .get()
        .expect("routes")
        .iter()
        .filter(|route| route.table == LARGE_TABLE)
        .count();
    assert_eq!((kept, facts.cut_tables.as_slice()), (1_000, &[LARGE_TABLE][..]));
}

fn settings_of_a_link_with_a_dot_in_its_name(facts: &NodeFacts) {
    let setting = facts.sysctl("net.ipv4.conf.up/100.rp_filter").expect("readable");
    assert!(
        setting.is_some_and(|value| ["0", "1", "2"].contains(&value)),
        "{setting:?}"
    );
}

fn the_kernels_own_sockets_hold_their_ports(facts: &NodeFacts) {
    let sockets = facts.sockets.get().expect("sockets");
    let vxlan = sockets
        .iter()
        .find(|socket| socket.protocol == "udp" && socket.port == 4800)
        .expect("the tunnel's socket");
    assert_eq!(vxlan.program, "", "no program holds it");
}

async fn the_namespace_is_not_guessed_and_the_users_word_counts(facts: &NodeFacts) {
    // In a container that the kubelet started this is known, whichever it is.
    let known = std::fs::read_to_string("/etc/hosts").is_ok_and(|hosts| hosts.starts_with("# Kubernetes-managed"));
    if !known {
        assert_eq!(facts.network.why().map(|why| why.reason), Some(Reason::NotFound));
    }
    let network = Some(NetworkView::Host);
    let told = read_node(&NodeOptions {
        network,
        ..NodeOptions::new("made", Duration::from_secs(60))
    })
    .await;
    assert!(known || told.network.ok() == network.as_ref(), "{:?}", told.network);
}
