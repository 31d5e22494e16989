//! What the router does to packets.

use std::net::SocketAddr;

use prejoin_tests::lab::fault::{Action, Rejection, drop, esp, everything, icmp, path, reject, tcp, udp};
use prejoin_tests::lab::{MTU, What};

use super::{ALL, DATAGRAMS, NONE, two_sites};

const CONNECTION: What = What::Tcp {
    port: 2379,
    listen: true,
};

#[test]
fn a_port_dropped_one_way_still_passes_the_other_way_and_elsewhere() {
    let Some(lab) = two_sites() else { return };
    let fault = lab.fault(drop(udp(8472).from("east").to("west-n1"))).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().arrived, NONE);
    assert_eq!(lab.send("west-n1", "east-n1", DATAGRAMS).unwrap().answered, ALL);
    assert_eq!(lab.send("east-n1", "west-n2", DATAGRAMS).unwrap().answered, ALL);
    assert_eq!(lab.send("east-n1", "east-n2", DATAGRAMS).unwrap().answered, ALL);
    lab.heal(fault).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().answered, ALL);
}

#[test]
fn a_rejection_names_the_router_and_its_reason() {
    let Some(lab) = two_sites() else { return };
    let gateway = lab.topology().sites[0].gateway4().into();
    let gateway6 = lab.topology().sites[0].gateway6().into();
    for (how, v4, v6) in [
        (Rejection::PortUnreachable, (3, 3), (1, 4)),
        (Rejection::Prohibited, (3, 13), (1, 1)),
        (Rejection::HostUnreachable, (3, 1), (1, 3)),
        (Rejection::NetworkUnreachable, (3, 0), (1, 0)),
    ] {
        let fault = lab.fault(reject(udp(8472).to("west"), how)).unwrap();
        let told = lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().told;
        assert!(
            !told.is_empty() && told.iter().all(|&said| said == (v4.0, v4.1, Some(gateway))),
            "{told:?}"
        );
        let told = lab.send6("east-n1", "west-n1", DATAGRAMS).unwrap().told;
        assert!(
            !told.is_empty() && told.iter().all(|&said| said == (v6.0, v6.1, Some(gateway6))),
            "{told:?}"
        );
        lab.heal(fault).unwrap();
    }
}

#[test]
fn connections_are_refused_filtered_or_reset() {
    let Some(lab) = two_sites() else { return };
    let closed = What::Tcp {
        port: 2379,
        listen: false,
    };
    let refused = lab.send("east-n1", "west-n1", closed).unwrap();
    assert_eq!(refused.failure.as_deref(), Some("connection refused"));
    let fault = lab.fault(reject(tcp(2379), Rejection::Reset)).unwrap();
    assert_eq!(
        lab.send("east-n1", "west-n1", CONNECTION).unwrap().failure.as_deref(),
        Some("connection refused")
    );
    assert_eq!(
        lab.send6("east-n1", "west-n1", CONNECTION).unwrap().failure.as_deref(),
        Some("connection refused")
    );
    lab.heal(fault).unwrap();
    lab.fault(drop(tcp(2379))).unwrap();
    let filtered = lab.send("east-n1", "west-n1", CONNECTION).unwrap();
    assert_eq!(filtered.failure.as_deref(), Some("timed out"));
}

#[test]
fn a_narrow_path_says_so_or_does_not_and_is_exact_to_the_byte() {
    let Some(lab) = two_sites() else { return };
    let sized = |bytes| What::Udp {
        port: 4500,
        count: 1,
        bytes,
    };
    let gateway = lab.topology().sites[0].gateway4().into();
    let fault = lab
        .fault(path(
            everything().from("east"),
            Action::Mtu {
                bytes: 1400,
                told: true,
            },
        ))
        .unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", sized(1400)).unwrap().answered, [0]);
    assert_eq!(
        lab.send("east-n1", "west-n1", sized(1401)).unwrap().told,
        [(3, 4, Some(gateway))]
    );
    assert_eq!(
        lab.send("west-n1", "east-n1", sized(1500)).unwrap().arrived,
        [0],
        "the other direction is wide"
    );
    lab.heal(fault).unwrap();
    lab.fault(path(
        everything().to("east"),
        Action::Mtu {
            bytes: 1400,
            told: false,
        },
    ))
    .unwrap();
    let black_hole = lab.send("west-n2", "east-n2", sized(1401)).unwrap();
    assert_eq!((black_hole.arrived, black_hole.told), (vec![], vec![]));
    assert_eq!(lab.send("west-n2", "east-n2", sized(1400)).unwrap().answered, [0]);
    assert_eq!(lab.send6("west-n2", "east-n2", sized(1401)).unwrap().arrived, NONE);
    assert_eq!(MTU, 1500);
}

#[test]
fn a_protocol_is_dropped_while_others_pass() {
    let Some(lab) = two_sites() else { return };
    let ping = What::Ping { count: 2 };
    let raw = What::Raw { protocol: 50, count: 2 };
    let fault = lab.fault(drop(esp())).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", raw.clone()).unwrap().arrived, NONE);
    assert_eq!(lab.send("east-n1", "west-n1", ping.clone()).unwrap().answered, [0, 1]);
    lab.heal(fault).unwrap();
    let fault = lab.fault(drop(icmp())).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", ping.clone()).unwrap().answered, NONE);
    assert_eq!(lab.send6("east-n1", "west-n1", ping.clone()).unwrap().answered, NONE);
    assert_eq!(lab.send("east-n1", "west-n1", raw).unwrap().arrived, [0, 1]);
    lab.heal(fault).unwrap();
    lab.fault(drop(everything().ipv6())).unwrap();
    assert_eq!(lab.send6("east-n1", "west-n1", ping.clone()).unwrap().answered, NONE);
    assert_eq!(lab.send("east-n1", "west-n1", ping).unwrap().answered, [0, 1]);
}

#[test]
fn nat_changes_what_the_receiver_sees_and_answers_come_back() {
    let Some(lab) = two_sites() else { return };
    let shared = "203.0.113.99".parse().unwrap();
    let fault = lab
        .fault(path(everything().from("east"), Action::SourceNat { address: shared }))
        .unwrap();
    for node in ["east-n1", "east-n2"] {
        let outcome = lab.send(node, "west-n1", DATAGRAMS).unwrap();
        assert_eq!(outcome.answered, ALL);
        assert_eq!(
            outcome.seen_from.iter().map(SocketAddr::ip).collect::<Vec<_>>(),
            [shared]
        );
        assert_eq!(lab.send(node, "west-n1", CONNECTION).unwrap().read, "welcome");
        assert_eq!(
            lab.send(node, "west-n1", What::Ping { count: 2 }).unwrap().answered,
            [0, 1]
        );
    }
    // Nothing is changed of what answers the other direction.
    assert_eq!(lab.send("west-n1", "east-n1", DATAGRAMS).unwrap().answered, ALL);
    assert_eq!(lab.send("west-n1", "east-n1", CONNECTION).unwrap().read, "welcome");
    lab.heal(fault).unwrap();
    lab.fault(path(udp(8472).from("east"), Action::SourcePortNat)).unwrap();
    let outcome = lab.send("east-n1", "west-n1", DATAGRAMS).unwrap();
    assert_eq!(outcome.answered, ALL);
    let seen = outcome.seen_from[0];
    assert_eq!((seen.ip().to_string().as_str(), seen.port()), ("172.31.1.11", 20_000));
}

#[test]
fn a_closed_port_behind_nat_is_told_to_the_real_sender() {
    let Some(lab) = two_sites() else { return };
    let shared = "203.0.113.99".parse().unwrap();
    lab.fault(path(everything().from("east"), Action::SourceNat { address: shared }))
        .unwrap();
    let closed = What::Tcp {
        port: 2379,
        listen: false,
    };
    assert_eq!(
        lab.send("east-n1", "west-n1", closed).unwrap().failure.as_deref(),
        Some("connection refused")
    );
}

#[test]
fn a_third_party_answers_in_the_receivers_name() {
    let Some(lab) = two_sites() else { return };
    lab.fault(path(udp(4490).to("west-n1"), Action::Hijack)).unwrap();
    let hijacked = What::Udp {
        port: 4490,
        count: 2,
        bytes: 100,
    };
    let outcome = lab.send("east-n1", "west-n1", hijacked).unwrap();
    assert_eq!((outcome.arrived, outcome.answered), (vec![], vec![0, 1]));
    assert_eq!(outcome.answered_by[0].to_string(), "172.31.2.11:4490");
    lab.fault(path(tcp(2379).to("west-n1"), Action::Hijack)).unwrap();
    let read = lab.send("east-n1", "west-n1", CONNECTION).unwrap().read;
    assert!(read.starts_with("220 "), "{read}");
}

#[test]
fn delay_keeps_order_and_adds_up() {
    let Some(lab) = two_sites() else { return };
    lab.fault(path(everything(), Action::Delay { millis: 40 })).unwrap();
    let outcome = lab.send("east-n1", "west-n1", DATAGRAMS).unwrap();
    assert_eq!((outcome.arrived, outcome.answered), (ALL.to_vec(), ALL.to_vec()));
    assert!(
        outcome.round_trip_micros >= Some(80_000),
        "{:?}",
        outcome.round_trip_micros
    );
}

#[test]
fn loss_is_of_the_share_it_says_and_the_same_each_time() {
    let Some(lab) = two_sites() else { return };
    let many = What::Udp {
        port: 8472,
        count: 200,
        bytes: 60,
    };
    let lost = |percent| {
        let lose = Action::Lose { percent, seed: 7 };
        let fault = lab.fault(path(udp(8472), lose)).unwrap();
        let arrived = lab.send("east-n1", "west-n1", many.clone()).unwrap().arrived;
        lab.heal(fault).unwrap();
        arrived
    };
    let (few, most) = (lost(30), lost(5));
    assert!((120..=160).contains(&few.len()), "{}", few.len());
    assert!((182..=198).contains(&most.len()), "{}", most.len());
    assert_eq!(lost(30), few);
}

#[test]
fn the_first_packet_of_a_flow_is_eaten() {
    let Some(lab) = two_sites() else { return };
    lab.fault(path(udp(8472), Action::LoseFirst)).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().arrived, [1, 2, 3, 4]);
    assert_eq!(lab.send("east-n2", "west-n1", DATAGRAMS).unwrap().arrived, [1, 2, 3, 4]);
}

#[test]
fn packets_come_twice_or_out_of_order() {
    let Some(lab) = two_sites() else { return };
    let fault = lab.fault(path(udp(8472), Action::Duplicate)).unwrap();
    let twice = lab
        .send(
            "east-n1",
            "west-n1",
            What::Udp {
                port: 8472,
                count: 2,
                bytes: 60,
            },
        )
        .unwrap();
    assert_eq!(twice.arrived, [0, 0, 1, 1]);
    lab.heal(fault).unwrap();
    lab.fault(path(udp(8472), Action::Reorder)).unwrap();
    assert_eq!(
        lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().arrived,
        [1, 0, 3, 2, 4]
    );
}

#[test]
fn one_dead_member_of_two_takes_some_source_ports_whole() {
    let Some(lab) = two_sites() else { return };
    lab.fault(path(udp(8472), Action::DeadMember { of: 2 })).unwrap();
    let outcomes: Vec<_> = (0..12)
        .map(|_| lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().arrived)
        .collect();
    assert!(outcomes.iter().all(|arrived| arrived.is_empty() || *arrived == ALL));
}

#[test]
fn a_policed_path_lets_the_burst_through_and_little_more() {
    let Some(lab) = two_sites() else { return };
    lab.fault(path(udp(8472), Action::Police { per_second: 100 })).unwrap();
    let many = What::Udp {
        port: 8472,
        count: 200,
        bytes: 60,
    };
    let arrived = lab.send("east-n1", "west-n1", many).unwrap().arrived.len();
    assert!((10..200).contains(&arrived), "{arrived}");
}

#[test]
fn a_name_the_lab_does_not_have_is_refused() {
    let Some(lab) = two_sites() else { return };
    let error = lab.fault(drop(everything().to("north"))).unwrap_err();
    assert_eq!(error.to_string(), "the lab has no north");
}
