//! What one end writes, the other reads.

use proptest::prelude::*;

use prejoin_checks::facts::provenance::Reason;
use prejoin_checks::observation::RoundTrip;

use super::*;

fn name() -> impl Strategy<Value = String> {
    // Anything, with what has a meaning in lines and in JSON more often than by chance.
    proptest::collection::vec(
        prop_oneof![any::<char>(), Just('\n'), Just('"'), Just('\\'), Just('\u{1b}')],
        0..12,
    )
    .prop_map(String::from_iter)
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ]
}

fn service() -> impl Strategy<Value = Service> {
    prop_oneof![
        any::<u16>().prop_map(Service::Tcp),
        any::<u16>().prop_map(Service::Udp),
        any::<u8>().prop_map(Service::IpProtocol),
        Just(Service::IcmpEcho),
    ]
}

fn kind() -> impl Strategy<Value = ProbeKind> {
    prop_oneof![
        (any::<u16>(), any::<bool>()).prop_map(|(port, tls)| ProbeKind::Tcp { port, tls }),
        any::<u16>().prop_map(|port| ProbeKind::Udp { port }),
        Just(ProbeKind::Icmp),
        any::<u8>().prop_map(|number| ProbeKind::IpProtocol { number }),
        (any::<u16>(), any::<u16>(), any::<u16>(), any::<Vec<u16>>()).prop_map(|(port, floor, ceiling, candidates)| {
            ProbeKind::PathMtu {
                port,
                floor,
                ceiling,
                candidates,
            }
        }),
        (any::<u16>(), name(), name()).prop_map(|(port, cluster_id, endpoint_id)| ProbeKind::NatDiscovery {
            port,
            cluster_id,
            endpoint_id
        }),
        proptest::collection::vec(name(), 0..4).prop_map(|names| ProbeKind::Resolve { names }),
    ]
}

fn listening() -> impl Strategy<Value = Listening> {
    prop_oneof![Just(Listening::Bound), Just(Listening::Captured)]
}

fn order() -> impl Strategy<Value = ProbeOrder> {
    (
        any::<u32>(),
        proptest::option::of(address()),
        name(),
        kind(),
        proptest::option::of(listening()),
    )
        .prop_map(|(id, address, host, kind, listening)| ProbeOrder {
            id,
            address,
            host,
            kind,
            listening,
        })
}

fn listen_on() -> impl Strategy<Value = ListenOn> {
    (any::<u32>(), address(), service(), any::<u32>()).prop_map(|(id, address, service, answer_rate)| ListenOn {
        id,
        address,
        service,
        answer_rate,
    })
}

fn open() -> impl Strategy<Value = Open> {
    (any::<Vec<u32>>(), name(), name(), name(), any::<u32>()).prop_map(
        |(versions, audit, key, node, deadline_seconds)| Open {
            versions,
            audit,
            key,
            node,
            deadline_seconds,
        },
    )
}

prop_compose! {
    fn probe()(
        probes in proptest::collection::vec(order(), 0..4),
        rate: u32,
        target_rate: u32,
        timeout_millis: u32,
        samples: u32,
    ) -> Ask {
        Ask::Probe { probes, rate, target_rate, timeout_millis, samples }
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        open().prop_map(Ask::Open),
        any::<bool>().prop_map(|read_secrets| Ask::ClusterFacts { read_secrets }),
        (
            proptest::collection::vec(address(), 0..4),
            proptest::collection::vec(name(), 0..4)
        )
            .prop_map(|(peers, names)| Ask::NodeFacts { peers, names }),
        proptest::collection::vec(listen_on(), 0..4).prop_map(|listeners| Ask::Listen { listeners }),
        probe(),
        Just(Ask::Hush {}),
        Just(Ask::Close {}),
    ]
}

fn unknown() -> impl Strategy<Value = Unknown> {
    name().prop_map(|detail| Unknown::new(Reason::RefusedByAgent, detail))
}

fn sent() -> impl Strategy<Value = Sent> {
    (
        proptest::option::of(address()),
        any::<u32>(),
        any::<Vec<u16>>(),
        any::<Vec<u64>>(),
    )
        .prop_map(|(from, sent, silent_ports, round_trips)| Sent {
            from,
            sent,
            silent_ports,
            round_trip: RoundTrip::of(round_trips),
            ..Sent::default()
        })
}

fn answer() -> impl Strategy<Value = Answer> {
    let node_facts =
        (name(), unknown()).prop_map(|(node, why)| Answer::NodeFacts(Box::new(NodeFacts::unread(node, &why))));
    let cluster_facts =
        (name(), unknown()).prop_map(|(name, why)| Answer::ClusterFacts(Box::new(ClusterFacts::unread(name, &why))));
    let probed = (
        any::<u32>(),
        prop_oneof![sent().prop_map(|sent| Ok(Box::new(sent))), unknown().prop_map(Err)],
    );
    prop_oneof![
        node_facts,
        cluster_facts,
        probed.prop_map(|(probe, sent)| Answer::Probed { probe, sent }),
        any::<u64>().prop_map(|packets| Answer::Done { packets }),
        any::<Vec<(u32, u32)>>().prop_map(|foreign| Answer::Heard { heard: vec![], foreign }),
        name().prop_map(|detail| Answer::Failed {
            kind: FailureKind::Malformed,
            detail
        }),
        Just(Answer::Closed {}),
    ]
}

fn one_line(line: &[u8]) -> bool {
    line.iter().position(|&byte| byte == b'\n') == Some(line.len() - 1)
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_written(id: u64, ask in ask()) {
        let request = Request { id, ask };
        let line = line::encode(&request).unwrap();
        prop_assert!(one_line(&line));
        prop_assert_eq!(line::decode::<Request>(&line).unwrap(), request);
    }

    #[test]
    fn an_answer_is_read_as_it_was_written(id: u64, answer in answer()) {
        let reply = Reply { id, answer };
        let line = line::encode(&reply).unwrap();
        prop_assert!(one_line(&line));
        prop_assert_eq!(line::decode::<Reply>(&line).unwrap(), reply);
    }

    #[test]
    fn any_bytes_are_a_request_or_an_error(bytes: Vec<u8>, id: u64, ask in ask(), flip: prop::sample::Index) {
        // Whether it is one or the other does not matter here: neither panics.
        let _ = line::decode::<Request>(&bytes);
        let mut line = line::encode(&Request { id, ask }).unwrap();
        let at = flip.index(line.len());
        line[at] ^= 0x11;
        let _ = line::decode::<Request>(&line);
    }

    #[test]
    fn the_common_version_is_the_highest_that_both_know(theirs in proptest::collection::vec(0_u32..6, 0..6), highest in 1_u32..4) {
        let both_know = |version: &u32| (OLDEST_PROTOCOL_VERSION..=PROTOCOL_VERSION.min(highest)).contains(version) && theirs.contains(version);
        prop_assert_eq!(common_version(&theirs, highest), (0..6).filter(both_know).max());
    }
}

#[test]
fn a_request_of_version_1_is_understood() {
    let line = br#"{"id":1,"probe":{"probes":[{"id":4,"address":"10.0.0.1","kind":{"path_mtu":{"port":8472,"floor":1280,"ceiling":9000}}}],
        "rate":1,"target_rate":1,"timeout_millis":1,"samples":1}}"#;
    let request: Request = line::decode(line).unwrap();
    let Ask::Probe { probes, .. } = request.ask else {
        panic!("{request:?}")
    };
    assert!(matches!(&probes[0].kind, ProbeKind::PathMtu { candidates, .. } if candidates.is_empty()));
}

#[test]
fn members_that_are_not_known_are_ignored_and_requests_are_not() {
    let request: Request = line::decode(br#"{"id":1,"hush":{"softly":true},"since":3}"#).unwrap();
    assert_eq!(
        request,
        Request {
            id: 1,
            ask: Ask::Hush {}
        }
    );
    assert!(line::decode::<Request>(br#"{"id":1,"reboot":{}}"#).is_err());
}
