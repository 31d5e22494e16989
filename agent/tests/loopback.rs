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

fn heard_once(listeners: Listeners) -> HeardProbe {
    let (mut heard, _) = listeners.hush();
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
        let heard = heard_once(listeners);
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
        let heard = heard_once(listeners);
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
            let heard = heard_once(listeners);
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
    let (heard, foreign) = listeners.hush();
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
    let heard = heard_once(listeners);
    assert_eq!(heard.heard.received, sent.sent, "what is not answered is still heard");
}
