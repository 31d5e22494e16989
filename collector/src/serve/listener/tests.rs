use std::net::Ipv4Addr;
use std::time::Instant;

use axum::routing::get;
use prejoin_agent::dial::collector::{Collector, Failure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::*;
use crate::serve::tls::Files;

const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
    identity: Option<Identity>,
    _folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

async fn start(limits: Limits, with_tls: bool) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let identity = with_tls.then(|| {
        let file = folder.path().join("tls.pem");
        Identity::open(Files::Made {
            file,
            names: Vec::new(),
        })
        .unwrap()
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let handle = Handle::new();
    let router = Router::new().route("/", get(|| async { "here" }));
    let serving = (identity.clone(), handle.clone());
    tokio::spawn(async move { serve(listener, serving.0.as_ref(), router, limits, serving.1).await });
    Server {
        address,
        handle,
        identity,
        _folder: folder,
    }
}

/// A connection from an address of this machine.
async fn connect(from: Ipv4Addr, server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// What a request is answered with; nothing if the connection was closed.
async fn asked(stream: &mut TcpStream) -> String {
    let asking = async {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("an end")
        .unwrap_or_default()
}

/// Waits for the server to close a connection.
async fn until_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let closed = stream.read_to_end(&mut rest);
    let _ = tokio::time::timeout(PATIENCE, closed)
        .await
        .expect("the server closes it");
}

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[tokio::test]
async fn who_says_nothing_is_closed_before_tls_and_before_a_request() {
    let limits = Limits {
        handshake: Duration::from_millis(100),
        request_head: Duration::from_millis(100),
        ..Limits::default()
    };
    for with_tls in [true, false] {
        let server = start(limits, with_tls).await;
        let since = Instant::now();
        until_closed(&mut connect(HERE, &server).await).await;
        assert!(since.elapsed() >= Duration::from_millis(100), "{with_tls}");
    }
}

#[tokio::test]
async fn half_a_request_does_not_hold_a_connection() {
    let limits = Limits {
        request_head: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start(limits, false).await;
    // The second could still become another version of HTTP.
    for half in ["GET / HTTP/1.1\r\nHost:", "PRI * HT"] {
        let mut slow = connect(HERE, &server).await;
        slow.write_all(half.as_bytes()).await.unwrap();
        until_closed(&mut slow).await;
    }
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_gets_places_back() {
    let limits = Limits {
        of_an_address: 4,
        ..Limits::default()
    };
    let server = start(limits, false).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(connect(HERE, &server).await);
    }
    assert_eq!(asked(&mut connect(HERE, &server).await).await, "");
    assert!(asked(&mut connect(ELSEWHERE, &server).await).await.ends_with("here"));
    let mut last = held.pop().unwrap();
    assert!(asked(&mut last).await.ends_with("here"));
    drop(last);
    let answered = async { while !asked(&mut connect(HERE, &server).await).await.ends_with("here") {} };
    tokio::time::timeout(PATIENCE, answered).await.expect("a place is free");
}

/// While they are held open, somebody else is served at once.
#[tokio::test]
async fn ten_thousand_connections_that_send_nothing_keep_nobody_out() {
    raise_open_files();
    let server = start(Limits::default(), true).await;
    let mut silent = Vec::with_capacity(10_000);
    while silent.len() < 10_000 {
        silent.push(connect(ELSEWHERE, &server).await);
    }
    let pinned = server.identity.as_ref().and_then(Identity::fingerprint);
    let client = Collector::new(&format!("https://{}", server.address), pinned, |_| None).unwrap();
    let answer: Result<(), Failure> = client.post("/nothing-is-here", None, &()).await;
    let answer = answer.unwrap_err().to_string();
    assert!(answer.contains("404"), "{answer}");
}

#[test]
fn places_come_back_when_connections_end() {
    let gate = Gate::new(Limits {
        connections: 3,
        beginning_of_an_address: 2,
        ..Limits::default()
    });
    let (one, other) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
    let mut first = gate.enter(one).unwrap();
    let second = gate.enter(one).unwrap();
    assert!(gate.enter(one).is_none(), "two begin already");
    first.has_begun();
    let third = gate.enter(one).unwrap();
    assert!(gate.enter(other).is_none(), "there are three");
    drop((first, second, third));
    let counts = gate.counts.lock().unwrap();
    assert_eq!((counts.all, counts.by_address.len()), (0, 0));
}
