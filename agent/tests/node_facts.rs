//! Reads the kernel of the machine the tests run on, and holds it against what must be true of any.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use prejoin_agent::node::{NodeOptions, read_node};
use prejoin_checks::facts::kernel::NodeFacts;
use prejoin_checks::facts::provenance::Reason;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn options() -> NodeOptions {
    NodeOptions::new("here", Duration::from_secs(60))
}

async fn here() -> NodeFacts {
    read_node(&options()).await
}

#[tokio::test]
async fn the_loopback_link_has_mtu_kind_and_address() {
    let facts = here().await;
    let lo = facts.link("lo").expect("links").expect("a loopback link");
    assert_eq!(lo.kind, "loopback");
    assert!(lo.mtu >= 1280, "{lo:?}");
    assert!(
        lo.addresses
            .iter()
            .any(|address| address.ip == LOOPBACK && address.prefix_len == 8),
        "{lo:?}"
    );
    let indexes: Vec<u32> = facts
        .links
        .get()
        .expect("links")
        .iter()
        .map(|link| link.index)
        .collect();
    assert!(indexes.is_sorted(), "{indexes:?}");
}

#[tokio::test]
async fn sockets_that_are_held_are_found_with_their_program_and_closed_ones_are_not() {
    let tcp = TcpListener::bind((LOOPBACK, 0)).expect("a listener");
    let udp = UdpSocket::bind((LOOPBACK, 0)).expect("a socket");
    let (tcp_port, udp_port) = (
        tcp.local_addr().expect("bound").port(),
        udp.local_addr().expect("bound").port(),
    );
    let holds = |facts: &NodeFacts, protocol: &str, port: u16| {
        let sockets = facts.sockets.get().expect("sockets").clone();
        sockets
            .into_iter()
            .find(|socket| socket.protocol == protocol && socket.port == port && socket.address == LOOPBACK)
    };
    let facts = here().await;
    let comm = std::fs::read_to_string("/proc/self/comm").expect("a name");
    assert_eq!(
        holds(&facts, "tcp", tcp_port).expect("the listener").program,
        comm.trim_end()
    );
    assert_eq!(
        holds(&facts, "udp", udp_port).expect("the socket").program,
        comm.trim_end()
    );

    // A connection holds no port of its own: only what listens counts.
    let client = std::net::TcpStream::connect((LOOPBACK, tcp_port)).expect("a connection");
    let client_port = client.local_addr().expect("bound").port();
    assert_eq!(holds(&here().await, "tcp", client_port), None);
}

#[tokio::test]
async fn the_way_to_the_loopback_address_is_the_loopback_link() {
    let peers = vec![LOOPBACK];
    let facts = read_node(&NodeOptions { peers, ..options() }).await;
    let route = facts.path_to(LOOPBACK).expect("asked").get().expect("a way");
    assert_eq!((route.link.as_str(), route.source), ("lo", Some(LOOPBACK)));
    assert_eq!(Some(route.link_mtu), facts.link("lo").expect("links").map(|lo| lo.mtu));
    assert!(
        facts
            .routes
            .get()
            .expect("routes")
            .iter()
            .any(|route| route.table == 255 && route.destination == "127.0.0.0/8")
    );
    assert!(
        facts
            .rules
            .get()
            .expect("rules")
            .iter()
            .any(|rule| rule.table == 255 && rule.priority == 0)
    );
}

#[tokio::test]
async fn settings_counters_and_names_are_those_of_proc() {
    let names = vec!["127.0.0.1".to_owned()];
    let facts = read_node(&NodeOptions { names, ..options() }).await;
    let forward = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a setting");
    assert_eq!(facts.sysctl("net.ipv4.ip_forward"), Ok(Some(forward.trim_end())));
    assert!(facts.sysctl("net.ipv4.conf.lo.rp_filter").expect("readable").is_some());
    assert_eq!(facts.sysctl("net.ipv4.no_such_setting"), Ok(None));
    assert!(facts.counters.get().expect("counters").contains_key("Udp.NoPorts"));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    assert_eq!(facts.kernel_release.get().map(String::as_str), Ok(release.trim_end()));
    assert_eq!(facts.names[0].result, Ok(vec![LOOPBACK]));
    assert!(facts.collected_at.is_some());
}

#[tokio::test]
async fn every_fact_that_is_not_known_says_why() {
    let facts = here().await;
    for (name, why) in facts.inventory() {
        if let Some(why) = why {
            assert!(!why.detail.is_empty() && !why.detail.contains('\n'), "{name}: {why:?}");
        }
    }
    let again: NodeFacts = serde_json::from_str(&serde_json::to_string(&facts).expect("JSON")).expect("facts");
    assert_eq!(again, facts);
}

#[tokio::test]
async fn after_the_deadline_all_is_unknown_and_nothing_hangs() {
    let deadline = Instant::now();
    let peers = vec![LOOPBACK];
    let names = vec!["localhost".to_owned()];
    let facts = read_node(&NodeOptions {
        deadline,
        peers,
        names,
        ..options()
    })
    .await;
    assert_eq!(facts.links.why().map(|why| why.reason), Some(Reason::Unreachable));
    assert_eq!(facts.sysctls.why().map(|why| why.reason), Some(Reason::Unreachable));
    assert!(facts.names[0].result.is_err());
}

#[tokio::test]
async fn a_root_without_anything_in_it_gives_reasons_and_no_facts_of_this_machine() {
    let root = tempfile::tempdir().expect("a directory");
    let facts = read_node(&NodeOptions {
        root: root.path().to_owned(),
        ..options()
    })
    .await;
    let not_found =
        |why: Option<&prejoin_checks::facts::provenance::Unknown>| why.map(|why| why.reason) == Some(Reason::NotFound);
    assert!(not_found(facts.kernel_release.why()));
    assert!(not_found(facts.sysctls.why()));
    assert!(not_found(facts.sockets.why()));
    assert!(not_found(facts.features.why()));
    assert!(not_found(facts.counters.why()));
}
