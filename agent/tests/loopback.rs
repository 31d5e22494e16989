//! Probes and listeners against each other over this host's loopback.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use prejoin_agent::listen::Listeners;
use prejoin_agent::nonce::Seal;
use prejoin_agent::probe::{ProbeContext, run};
use prejoin_agent::protocol::{HeardProbe, ListenOn, ProbeOrder};
use prejoin_checks::facts::provenance::Unknown;
use prejoin_checks::observation::{ErrorKind, Listening, Sent};
use prejoin_checks::plan::{Pace, ProbeKind, Service, cost};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn seal() -> Seal {
    Seal::new([1; 16], &[2; 32])
}

fn pace(timeout_millis: u32) -> Pace {
    Pace {
        rate: u32::MAX,
        target_rate: u32::MAX,
        timeout_millis,
        samples: 10,
    }
}

/// One probe's result.
async fn send(
    kind: ProbeKind,
    address: IpAddr,
    listening: Option<Listening>,
    timeout_millis: u32,
) -> Result<Sent, Unknown> {
    let order = ProbeOrder {
        id: 7,
        address: Some(address),
        host: String::new(),
        kind,
        listening,
    };
    let context = Arc::new(ProbeContext::new(seal(), pace(timeout_millis)));
    let (results, mut received) = tokio::sync::mpsc::channel(1);
    run(vec![order], &context, results).await;
    let (id, result) = received.recv().await.unwrap();
    assert_eq!(id, 7);
    result
}

/// A port that is free for UDP and TCP on every address of this host.
fn free_port() -> u16 {
    loop {
        let udp = std::net::UdpSocket::bind("[::]:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        if std::net::TcpListener::bind(("::", port)).is_ok() {
            return port;
        }
    }
}

fn listen(service: Service, address: IpAddr) -> (Listeners, Result<Listening, Unknown>, String) {
    let order = ListenOn {
        id: 3,
        address,
        service,
        answer_rate: 10_000,
    };
    let (listeners, mut states) = Listeners::open(vec![order], &seal());
    let state = states.remove(0);
    (listeners, state.state, state.held_by)
}

async fn heard_once(listeners: Listeners) -> HeardProbe {
    let (mut heard, _) = listeners.hush().await;
    assert_eq!(heard.len(), 1);
    heard.remove(0)
}

#[tokio::test]
async fn datagrams_are_answered_from_a_free_port() {
    for address in ["127.0.0.1", "::1"] {
        let address = address.parse().unwrap();
        let port = free_port();
        let (listeners, state, held_by) = listen(Service::Udp(port), address);
        assert_eq!((state, held_by), (Ok(Listening::Bound), String::new()));
        let sent = send(ProbeKind::Udp { port }, address, Some(Listening::Bound), 2_000)
            .await
            .unwrap();
        assert_eq!((sent.sent, sent.answered, sent.foreign_answers), (10, 10, 0));
        assert_eq!((sent.duplicates, sent.longest_loss, sent.first_lost), (0, 0, false));
        assert_eq!(sent.answered_ports.len(), cost::UDP_SOURCE_PORTS as usize);
        assert!(sent.silent_ports.is_empty() && sent.errors.is_empty());
        assert_eq!(sent.from, Some(address));
        assert!(
            sent.seen_as
                .iter()
                .all(|seen| seen.ip() == address && sent.answered_ports.contains(&seen.port()))
        );
        assert_eq!(sent.round_trip.unwrap().samples, 10);
        assert!(sent.received_ttl.is_some());
        let clock = sent.clock.unwrap();
        assert!(
            clock.offset_micros.unsigned_abs() <= clock.bound_micros + 1,
            "the same clock at both ends: {clock:?}"
        );
        let heard = heard_once(listeners).await;
        assert_eq!((heard.listener, heard.probe, heard.heard.received), (3, 7, 10));
        assert_eq!(heard.heard.from.len(), cost::UDP_SOURCE_PORTS as usize);
        assert_eq!(heard.heard.how, Listening::Bound);
    }
}

#[tokio::test]
async fn connections_carry_a_nonce_both_ways() {
    for address in ["127.0.0.1", "::1"] {
        let address = address.parse().unwrap();
        let port = free_port();
        let (listeners, state, _) = listen(Service::Tcp(port), address);
        assert_eq!(state, Ok(Listening::Bound));
        let sent = send(
            ProbeKind::Tcp { port, tls: false },
            address,
            Some(Listening::Bound),
            2_000,
        )
        .await
        .unwrap();
        assert_eq!((sent.sent, sent.answered, sent.connected), (1, 1, true));
        assert_eq!(sent.seen_as, [SocketAddr::new(address, sent.answered_ports[0])]);
        assert!(sent.clock.is_some() && sent.round_trip.is_some());
        let heard = heard_once(listeners).await;
        assert_eq!((heard.heard.received, heard.heard.captured), (1, None));
    }
}

#[tokio::test]
async fn closed_ports_refuse() {
    for (address, icmp) in [("127.0.0.1", (3, 3)), ("::1", (1, 4))] {
        let address = address.parse().unwrap();
        let port = free_port();
        let sent = send(
            ProbeKind::Tcp { port, tls: false },
            address,
            Some(Listening::Bound),
            2_000,
        )
        .await
        .unwrap();
        assert_eq!((sent.sent, sent.answered, sent.connected), (1, 0, false));
        assert_eq!((sent.errors[0].kind, sent.errors[0].count), (ErrorKind::Refused, 1));

        let sent = send(ProbeKind::Udp { port }, address, Some(Listening::Bound), 50)
            .await
            .unwrap();
        assert_eq!(sent.answered, 0);
        assert_eq!(sent.errors.len(), 1, "{:?}", sent.errors);
        let error = &sent.errors[0];
        assert_eq!(
            (error.kind, error.by, error.icmp),
            (ErrorKind::Refused, Some(address), Some(icmp))
        );
    }
}

#[tokio::test]
async fn silence_is_tried_again_from_other_ports() {
    let silent = std::net::UdpSocket::bind((HERE, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let sent = send(ProbeKind::Udp { port }, HERE, Some(Listening::Bound), 60)
        .await
        .unwrap();
    assert_eq!((sent.answered, sent.first_lost), (0, false));
    assert_eq!(sent.silent_ports.len(), (cost::TRIES * cost::UDP_SOURCE_PORTS) as usize);
    assert!(sent.sent <= cost::udp_datagrams_at_most(10));
    assert!(sent.errors.is_empty());
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_connected_and_not_answered() {
    let mute = std::net::TcpListener::bind((HERE, 0)).unwrap();
    let port = mute.local_addr().unwrap().port();
    let sent = send(ProbeKind::Tcp { port, tls: false }, HERE, Some(Listening::Bound), 60)
        .await
        .unwrap();
    assert_eq!((sent.sent, sent.answered, sent.connected), (cost::TRIES, 0, true));
    let sent = send(ProbeKind::Tcp { port, tls: false }, HERE, None, 2_000)
        .await
        .unwrap();
    assert_eq!(
        (sent.sent, sent.answered, sent.connected),
        (1, 1, true),
        "a service that is not ours: connecting is its answer"
    );
}

#[tokio::test]
async fn a_third_party_that_answers_is_told_from_the_listener() {
    let stranger = tokio::net::UdpSocket::bind((HERE, 0)).await.unwrap();
    let address = stranger.local_addr().unwrap();
    let echo = tokio::spawn(async move {
        let mut buffer = [0; 2_000];
        while let Ok((length, from)) = stranger.recv_from(&mut buffer).await {
            let _ = stranger.send_to(&buffer[..length], from).await;
        }
    });
    let kind = ProbeKind::Udp { port: address.port() };
    let sent = send(kind, HERE, Some(Listening::Bound), 60).await.unwrap();
    assert_eq!(
        (sent.answered, sent.foreign_from),
        (0, Some(address)),
        "an echo is no answer"
    );
    assert!(sent.foreign_answers > 0);
    echo.abort();

    let stranger = tokio::net::TcpListener::bind((HERE, 0)).await.unwrap();
    let address = stranger.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = stranger.accept().await {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    let kind = ProbeKind::Tcp {
        port: address.port(),
        tls: false,
    };
    let sent = send(kind, HERE, Some(Listening::Bound), 2_000).await.unwrap();
    assert_eq!((sent.answered, sent.connected, sent.foreign_answers), (0, true, 1));
    assert_eq!(sent.foreign_from, Some(address));
}

#[tokio::test]
async fn a_port_in_use_is_left_alone_and_its_holder_named() {
    let product = std::net::UdpSocket::bind((HERE, 0)).unwrap();
    let port = product.local_addr().unwrap().port();
    let (listeners, state, held_by) = listen(Service::Udp(port), HERE);
    assert!(held_by.contains(&format!("(pid {})", std::process::id())), "{held_by}");
    match state {
        Ok(how) => {
            assert_eq!(how, Listening::Captured);
            let sent = send(ProbeKind::Udp { port }, HERE, Some(Listening::Captured), 60)
                .await
                .unwrap();
            assert_eq!((sent.sent, sent.answered), (10, 0));
            let heard = heard_once(listeners).await;
            assert_eq!((heard.heard.how, heard.heard.received), (Listening::Captured, 10));
            product.set_nonblocking(true).unwrap();
            assert!(
                product.recv(&mut [0; 1]).is_ok(),
                "the product still has its port, and got what came"
            );
        }
        Err(why) => assert!(why.detail.contains("CAP_NET_RAW"), "{why}"),
    }

    let product = std::net::TcpListener::bind((HERE, 0)).unwrap();
    let port = product.local_addr().unwrap().port();
    let (_, state, held_by) = listen(Service::Tcp(port), HERE);
    let why = state.unwrap_err();
    assert!(why.detail.contains("in use") && why.detail.contains(&held_by), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_free_again_when_its_listener_has_said_what_it_heard() {
    let port = free_port();
    for _ in 0..50 {
        let (listeners, state, held_by) = listen(Service::Tcp(port), HERE);
        assert_eq!((state, held_by), (Ok(Listening::Bound), String::new()));
        // One that asks nothing is waited for until then.
        let asks_nothing = tokio::net::TcpStream::connect((HERE, port)).await.unwrap();
        listeners.hush().await;
        drop(asks_nothing);
    }
}

#[tokio::test]
async fn nothing_stays_open_when_listeners_are_dropped() {
    let port = free_port();
    let orders = [Service::Tcp(port), Service::Udp(port)].map(|service| ListenOn {
        id: 1,
        address: HERE,
        service,
        answer_rate: 1,
    });
    let (listeners, states) = Listeners::open(orders.to_vec(), &seal());
    assert!(
        states.iter().all(|state| state.state == Ok(Listening::Bound)),
        "{states:?}"
    );
    drop(listeners);
    // Aborted tasks end when they are next scheduled.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert!(std::net::UdpSocket::bind((HERE, port)).is_ok());
    assert!(tokio::net::TcpListener::bind((HERE, port)).await.is_ok());
}

#[tokio::test]
async fn an_address_that_this_host_does_not_have_binds_all_of_its_family() {
    let port = free_port();
    let (listeners, state, _) = listen(Service::Udp(port), "198.51.100.1".parse().unwrap());
    assert_eq!(state, Ok(Listening::Bound));
    let sent = send(
        ProbeKind::Udp { port },
        "127.0.0.9".parse().unwrap(),
        Some(Listening::Bound),
        2_000,
    )
    .await
    .unwrap();
    assert_eq!(
        (sent.answered, sent.foreign_answers),
        (10, 0),
        "answers leave from the address that was asked"
    );
    drop(listeners);
}

#[tokio::test]
async fn another_audits_probes_are_not_answered() {
    let port = free_port();
    let order = ListenOn {
        id: 3,
        address: HERE,
        service: Service::Udp(port),
        answer_rate: 100,
    };
    let (listeners, _) = Listeners::open(vec![order], &Seal::new([9; 16], &[2; 32]));
    let sent = send(ProbeKind::Udp { port }, HERE, Some(Listening::Bound), 60)
        .await
        .unwrap();
    assert_eq!((sent.answered, sent.foreign_answers), (0, 0));
    let (heard, foreign) = listeners.hush().await;
    assert_eq!((heard.len(), foreign), (0, vec![(3, sent.sent)]));
}

#[tokio::test]
async fn answers_keep_to_their_rate() {
    let port = free_port();
    let order = ListenOn {
        id: 3,
        address: HERE,
        service: Service::Udp(port),
        answer_rate: 2,
    };
    let (listeners, _) = Listeners::open(vec![order], &seal());
    let sent = send(ProbeKind::Udp { port }, HERE, Some(Listening::Bound), 60)
        .await
        .unwrap();
    assert!((1..=2).contains(&sent.answered), "{}", sent.answered);
    let heard = heard_once(listeners).await;
    assert_eq!(heard.heard.received, sent.sent, "what is not answered is still heard");
}

#[tokio::test]
async fn a_path_that_carries_all_is_found_in_one_round() {
    for address in ["127.0.0.1", "::1"] {
        let address = address.parse().unwrap();
        let port = free_port();
        let (listeners, _, _) = listen(Service::Udp(port), address);
        let kind = ProbeKind::PathMtu {
            port,
            floor: 1_280,
            ceiling: 9_000,
            candidates: vec![1_400, 1_450, 1_500],
        };
        let sent = send(kind.clone(), address, Some(Listening::Bound), 2_000)
            .await
            .unwrap();
        let found = sent.path_mtu.unwrap();
        assert_eq!(
            (found.largest_confirmed, found.smallest_failed, found.rounds),
            (9_000, None, 1)
        );
        assert!(!found.black_hole);
        drop(listeners);

        let why = send(kind, address, Some(Listening::Captured), 2_000).await.unwrap_err();
        assert!(why.detail.contains("no listener"), "{why}");
    }
}

/// Whether the error says that a capability is missing; then the test says so, and passes only where that is allowed.
fn lacks_capability(why: &Unknown) -> bool {
    assert_eq!(
        why.reason,
        prejoin_checks::facts::provenance::Reason::Forbidden,
        "{why}"
    );
    assert!(std::env::var_os("PREJOIN_REQUIRE_RAW").is_none(), "{why}");
    eprintln!("skipped: {why}");
    true
}

#[tokio::test]
async fn echoes_are_answered() {
    for address in ["127.0.0.1", "::1"] {
        let address: IpAddr = address.parse().unwrap();
        match send(ProbeKind::Icmp, address, None, 2_000).await {
            Ok(sent) => {
                assert_eq!((sent.sent, sent.answered, sent.longest_loss), (10, 10, 0), "{address}");
                assert_eq!(sent.round_trip.unwrap().samples, 10);
                assert!(sent.answered_ports.is_empty() && sent.silent_ports.is_empty());
            }
            Err(why) => assert!(lacks_capability(&why)),
        }
    }
}

#[tokio::test]
async fn packets_of_other_protocols_are_captured() {
    for address in ["127.0.0.1", "::1"] {
        let address: IpAddr = address.parse().unwrap();
        let (listeners, state, _) = listen(Service::IpProtocol(50), address);
        if let Err(why) = &state {
            assert!(lacks_capability(why));
            continue;
        }
        assert_eq!(state, Ok(Listening::Captured));
        let sent = send(ProbeKind::IpProtocol { number: 50 }, address, state.ok(), 60)
            .await
            .unwrap();
        assert_eq!((sent.sent, sent.answered), (10, 0));
        let heard = heard_once(listeners).await;
        assert_eq!(
            (heard.heard.received, heard.heard.how),
            (10, Listening::Captured),
            "{address}"
        );
    }
}

#[tokio::test]
async fn a_capture_beside_the_socket_sees_what_the_socket_gets() {
    let port = free_port();
    let order = ListenOn {
        id: 3,
        address: HERE,
        service: Service::Udp(port),
        answer_rate: 1_000,
    };
    let (listeners, states) = Listeners::open(vec![order], &seal());
    send(ProbeKind::Udp { port }, HERE, Some(Listening::Bound), 2_000)
        .await
        .unwrap();
    let heard = heard_once(listeners).await.heard;
    assert_eq!((heard.received, heard.captured), (10, states[0].captures.then_some(10)));
}

#[tokio::test]
async fn submariners_nat_discovery_is_asked_politely() {
    let gateway = tokio::net::UdpSocket::bind((HERE, 0)).await.unwrap();
    let port = gateway.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        let (length, from) = gateway.recv_from(&mut buffer).await.unwrap();
        // UNKNOWN_DST_CLUSTER, to request number 1.
        gateway
            .send_to(&[26, 12, 8, 1, 16, 2, 26, 6, 10, 4, b'w', b'e', b's', b't'], from)
            .await
            .unwrap();
        buffer[..length].to_vec()
    });
    let kind = ProbeKind::NatDiscovery {
        port,
        cluster_id: "west".into(),
        endpoint_id: "cable".into(),
    };
    let sent = send(kind, HERE, None, 2_000).await.unwrap();
    assert_eq!((sent.sent, sent.answered), (1, 1));
    let answer = sent.nat_discovery.unwrap();
    assert_eq!(
        (answer.result.as_str(), answer.cluster_id.as_str()),
        ("UNKNOWN_DST_CLUSTER", "west")
    );
    let asked = asked.await.unwrap();
    assert_eq!(asked[..3], [8, 1, 18], "version 1, then the request form");
}

#[tokio::test]
async fn a_services_certificate_is_looked_at() {
    use tokio_rustls::rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};

    let own = rcgen::generate_simple_self_signed(vec!["mesh.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let service = tokio::net::TcpListener::bind((HERE, 0)).await.unwrap();
    let port = service.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = service.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let sent = send(ProbeKind::Tcp { port, tls: true }, HERE, None, 5_000)
        .await
        .unwrap();
    assert!(sent.connected);
    let peek = sent.tls.unwrap();
    assert_eq!((peek.failure, peek.version.as_str()), (None, "TLSv1.3"));
    assert_eq!(peek.names, ["mesh.example"]);
    assert_eq!((peek.fingerprint.len(), peek.asks_client_certificate), (64, false));
    assert!(peek.not_before < peek.not_after);

    let mute = std::net::TcpListener::bind((HERE, 0)).unwrap();
    let port = mute.local_addr().unwrap().port();
    let sent = send(ProbeKind::Tcp { port, tls: true }, HERE, None, 60).await.unwrap();
    assert_eq!((sent.sent, sent.connected), (1, true));
    assert!(sent.tls.unwrap().failure.is_some());
}

#[tokio::test]
async fn names_are_resolved_by_the_nodes_resolver() {
    let names = vec!["localhost".to_owned(), "no-such-name.invalid".to_owned()];
    let sent = send(ProbeKind::Resolve { names }, HERE, None, 2_000).await.unwrap();
    assert_eq!((sent.sent, sent.answered), (2, 1));
    assert!(sent.names[0].result.as_ref().unwrap().iter().all(IpAddr::is_loopback));
    assert!(sent.names[1].result.is_err());
}

#[tokio::test]
async fn a_run_stays_within_what_the_plan_says_it_costs() {
    let pace = pace(60);
    let port = free_port();
    for (kind, silent) in [
        (ProbeKind::Udp { port }, false),
        (ProbeKind::Udp { port: 0 }, true),
        (ProbeKind::Icmp, false),
    ] {
        let holder = std::net::UdpSocket::bind((HERE, 0)).unwrap();
        let kind = match kind {
            ProbeKind::Udp { .. } if silent => ProbeKind::Udp {
                port: holder.local_addr().unwrap().port(),
            },
            kind => kind,
        };
        let planned = prejoin_checks::plan::PlannedProbe {
            id: 7,
            codes: Vec::new(),
            from: 0,
            to: prejoin_checks::plan::Destination {
                cluster: String::new(),
                name: String::new(),
                address: Some(HERE),
                host: String::new(),
                agent: None,
            },
            kind: kind.clone(),
            listener: Some(0),
        };
        let (_listeners, _, _) = listen(Service::Udp(port), HERE);
        let Ok(sent) = send(kind, HERE, Some(Listening::Bound), 60).await else {
            continue;
        };
        let (healthy, most) = (cost::healthy(&planned, &pace), cost::at_most(&planned, &pace));
        let packets = u64::from(sent.sent + sent.answered);
        assert!(packets <= most.packets, "{packets} of {}", most.packets);
        if !silent {
            assert_eq!(packets, healthy.packets);
        }
    }
}
