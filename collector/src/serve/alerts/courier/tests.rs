//! Delivery to a server on loopback that refuses, hangs, answers 500, and then works.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::outbox::memory::Memory;
use super::super::samples;
use super::*;

const QUICK: Backoff = Backoff {
    first: Duration::from_millis(4),
    most: Duration::from_millis(16),
    give_up: Duration::from_secs(3600),
};

/// What the server does with one request.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Answers with this status.
    Answers(u16),
    /// Answers 429 and asks to be left alone for so many seconds.
    AsksToWait(u64),
    /// Never answers.
    Hangs,
    /// Sends whoever comes elsewhere.
    Redirects,
}

/// A request as it arrived.
struct Arrived {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

struct Script {
    next: Mutex<VecDeque<Does>>,
    arrived: mpsc::UnboundedSender<Arrived>,
}

/// A server that does this with the first requests and answers 200 to all others.
async fn server(script: &[Does]) -> (SocketAddr, mpsc::UnboundedReceiver<Arrived>, JoinHandle<()>) {
    server_on("127.0.0.1:0".parse().unwrap(), script).await
}

async fn server_on(
    address: SocketAddr,
    script: &[Does],
) -> (SocketAddr, mpsc::UnboundedReceiver<Arrived>, JoinHandle<()>) {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let script = Arc::new(Script {
        next: Mutex::new(script.iter().copied().collect()),
        arrived,
    });
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(any(receive)).with_state(script);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, arrivals, serving)
}

async fn receive(State(script): State<Arc<Script>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let does = script.next.lock().unwrap().pop_front().unwrap_or(Does::Answers(200));
    script
        .arrived
        .send(Arrived {
            path: uri.path().to_owned(),
            headers,
            body,
        })
        .ok();
    match does {
        Does::Answers(status) => (StatusCode::from_u16(status).unwrap(), "as told\n\u{1b}[2J").into_response(),
        Does::AsksToWait(seconds) => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
        }
        Does::Hangs => std::future::pending().await,
        Does::Redirects => (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response(),
    }
}

/// A notice with this id, as the outbox has it.
fn stored(kind: TargetKind, id: &str) -> String {
    let notice = Notice {
        id: id.to_owned(),
        ..samples::notice(kind)
    };
    serde_json::to_string(&notice).unwrap()
}

fn outbox(kind: TargetKind, ids: &[&str]) -> Memory {
    let outbox = Memory::default();
    for id in ids {
        outbox.put("ops", Timestamp::now(), stored(kind, id));
    }
    outbox
}

fn courier(outbox: &Memory) -> Courier<Memory> {
    // As `main` does; it is there already for all tests but the first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Courier {
        patience: Duration::from_millis(200),
        ..Courier::new(outbox.clone(), QUICK)
    }
}

fn webhook_at(address: SocketAddr) -> Target {
    samples::target(TargetKind::Webhook, &format!("http://{address}/hook"))
}

/// A collector's courier that runs until it is aborted, as a kill would; and what it said.
fn started(courier: &Courier<Memory>, target: Target) -> (JoinHandle<()>, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let courier = courier.clone();
    let heard = said.clone();
    let running = tokio::spawn(async move {
        courier
            .run(vec![target], |line| heard.lock().unwrap().push(line.to_owned()))
            .await;
    });
    (running, said)
}

fn id(arrived: &Arrived) -> String {
    arrived.headers[webhook::ID_HEADER].to_str().unwrap().to_owned()
}

async fn ids(arrivals: &mut mpsc::UnboundedReceiver<Arrived>, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.push(id(&next(arrivals).await));
    }
    ids
}

/// The next request that arrives. A test that waits for one that never comes is to fail, not to hang.
async fn next(arrivals: &mut mpsc::UnboundedReceiver<Arrived>) -> Arrived {
    let arrived = tokio::time::timeout(Duration::from_secs(60), arrivals.recv()).await;
    arrived.expect("a request within a minute").unwrap()
}

/// Waits until nothing is left to be delivered.
async fn emptied(outbox: &Memory) {
    let empty = async {
        while outbox.rows().iter().any(|row| !row.given_up) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), empty)
        .await
        .expect("all is delivered within a minute");
}

#[tokio::test]
async fn each_message_is_tried_until_it_is_taken_and_the_next_waits_for_it() {
    let script = [Does::Answers(500), Does::Hangs, Does::Answers(503)];
    let (address, mut arrivals, _serving) = server(&script).await;
    let outbox = outbox(TargetKind::Webhook, &["one", "two", "three"]);
    let (running, said) = started(&courier(&outbox), webhook_at(address));
    let order = ids(&mut arrivals, 6).await;
    assert_eq!(order, ["one", "one", "one", "one", "two", "three"]);
    emptied(&outbox).await;
    running.abort();
    let said = said.lock().unwrap();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("alerts: ops: it answered 500 Internal Server Error: as told"),
        "{said:?}"
    );
    assert!(!said[0].contains('\u{1b}'), "{said:?}");
    assert_eq!(said[1], "alerts: ops takes messages again");
}

#[tokio::test]
async fn a_target_that_is_not_there_yet_gets_everything_once_it_is() {
    // A port that was just free, and refuses.
    let (address, _, serving) = server(&[]).await;
    serving.abort();
    let _ = serving.await;
    let outbox = outbox(TargetKind::Webhook, &["one", "two"]);
    let courier = courier(&outbox);
    let Turn::Failed(why) = courier.turn(&webhook_at(address)).await.unwrap() else {
        panic!("nobody is there")
    };
    assert!(why.starts_with("cannot connect: "), "{why}");
    assert_eq!(outbox.rows()[0].message.attempts, 1);
    let (_, mut arrivals, _serving) = server_on(address, &[]).await;
    let (running, _) = started(&courier, webhook_at(address));
    assert_eq!(ids(&mut arrivals, 2).await, ["one", "two"]);
    running.abort();
}

#[tokio::test]
async fn a_collector_that_was_killed_leaves_its_messages_to_the_next() {
    let (address, mut arrivals, _serving) = server(&[Does::Answers(500), Does::Hangs]).await;
    let outbox = outbox(TargetKind::Webhook, &["one", "two"]);
    let (first, _) = started(&courier(&outbox), webhook_at(address));
    // It has failed once and is in the middle of its second attempt when it dies.
    assert_eq!(ids(&mut arrivals, 2).await, ["one", "one"]);
    first.abort();
    let _ = first.await;
    let rows = outbox.rows();
    assert_eq!(
        (rows.len(), rows[0].message.attempts),
        (2, 1),
        "the attempts outlive it"
    );
    // Its claim holds off another collector until it ends.
    let second = courier(&outbox);
    assert!(matches!(second.turn(&webhook_at(address)).await, Ok(Turn::Wait(_))));
    outbox.0.lock().unwrap()[0].not_before = Timestamp::now();
    let (running, _) = started(&second, webhook_at(address));
    assert_eq!(ids(&mut arrivals, 2).await, ["one", "two"]);
    emptied(&outbox).await;
    running.abort();
}

#[tokio::test]
async fn what_comes_while_it_waits_is_delivered_at_once() {
    let (address, mut arrivals, _serving) = server(&[]).await;
    let outbox = Memory::default();
    let courier = courier(&outbox);
    let (running, _) = started(&courier, webhook_at(address));
    outbox.put("ops", Timestamp::now(), stored(TargetKind::Webhook, "new"));
    // As often as it takes to be heard: the courier may not have begun to wait yet.
    let woken = async {
        loop {
            courier.wake();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let heard = tokio::select! {
        heard = next(&mut arrivals) => heard,
        () = woken => panic!("it never ends"),
    };
    assert_eq!(id(&heard), "new");
    running.abort();
}

#[tokio::test]
async fn a_message_that_is_refused_as_such_is_given_up_in_the_end_and_the_rest_goes_on() {
    let (address, mut arrivals, _serving) = server(&[Does::Answers(400), Does::Answers(400)]).await;
    let outbox = Memory::default();
    let long_ago = Timestamp::now() - SignedDuration::from_hours(25);
    outbox.put("ops", Timestamp::now(), stored(TargetKind::Webhook, "young"));
    let young = courier(&outbox);
    assert!(matches!(young.turn(&webhook_at(address)).await, Ok(Turn::Failed(_))));
    outbox.0.lock().unwrap()[0].message.created = long_ago;
    outbox.0.lock().unwrap()[0].not_before = long_ago;
    outbox.put("ops", Timestamp::now(), stored(TargetKind::Webhook, "next"));
    let Turn::GivenUp(why) = young.turn(&webhook_at(address)).await.unwrap() else {
        panic!("it is refused and old")
    };
    assert!(why.starts_with("it answered 400"), "{why}");
    assert_eq!(young.turn(&webhook_at(address)).await, Ok(Turn::Delivered));
    assert_eq!(ids(&mut arrivals, 3).await, ["young", "young", "next"]);
    let rows = outbox.rows();
    assert!(
        rows.len() == 1 && rows[0].given_up && rows[0].why == why,
        "it stays, to be shown"
    );
}

#[tokio::test]
async fn a_target_that_asks_for_time_gets_it() {
    let (address, _arrivals, _serving) = server(&[Does::AsksToWait(120), Does::AsksToWait(999_999)]).await;
    let outbox = outbox(TargetKind::Webhook, &["one"]);
    let courier = courier(&outbox);
    let waits = async || {
        let before = Timestamp::now();
        assert!(matches!(courier.turn(&webhook_at(address)).await, Ok(Turn::Failed(_))));
        let next = outbox.rows()[0].not_before;
        outbox.0.lock().unwrap()[0].not_before = before;
        next.duration_since(before).as_secs()
    };
    assert_eq!(waits().await, 120);
    assert_eq!(waits().await, LONGEST_WAIT.as_secs(), "within reason");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (address, mut arrivals, _serving) = server(&[Does::Redirects]).await;
    let outbox = outbox(TargetKind::Webhook, &["one"]);
    assert!(matches!(
        courier(&outbox).turn(&webhook_at(address)).await,
        Ok(Turn::Failed(_))
    ));
    assert_eq!(next(&mut arrivals).await.path, "/hook");
    assert!(arrivals.try_recv().is_err());
}

#[tokio::test]
async fn a_webhook_is_signed_over_time_and_body() {
    let (address, mut arrivals, _serving) = server(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "s3cret\n").unwrap();
    let target = Target {
        secret_file: Some(key),
        ..webhook_at(address)
    };
    let outbox = outbox(TargetKind::Webhook, &["one"]);
    assert_eq!(courier(&outbox).turn(&target).await, Ok(Turn::Delivered));
    let arrived = next(&mut arrivals).await;
    let header = |name: &str| arrived.headers[name].to_str().unwrap();
    let seconds: i64 = header(webhook::TIMESTAMP_HEADER).parse().unwrap();
    assert!((Timestamp::now().as_second() - seconds).abs() < 60);
    assert_eq!(
        header(webhook::SIGNATURE_HEADER),
        webhook::signature(b"s3cret", seconds, &arrived.body)
    );
    assert_eq!(header("content-type"), "application/json");
    let body: Value = serde_json::from_slice(&arrived.body).unwrap();
    assert_eq!(body["schema"], "prejoin.dev/alert/v1alpha1");
}

#[tokio::test]
async fn alertmanager_and_slack_get_what_they_know() {
    let (address, mut arrivals, _serving) = server(&[]).await;
    for (kind, path) in [
        (TargetKind::Alertmanager, "/am/api/v2/alerts"),
        (TargetKind::Slack, "/am/"),
    ] {
        let outbox = outbox(kind, &["one"]);
        let target = samples::target(kind, &format!("http://{address}/am/"));
        assert_eq!(courier(&outbox).turn(&target).await, Ok(Turn::Delivered));
        let arrived = next(&mut arrivals).await;
        assert_eq!(arrived.path, path);
        assert!(!arrived.headers.contains_key(webhook::SIGNATURE_HEADER));
        let body: Value = serde_json::from_slice(&arrived.body).unwrap();
        let expected = match kind {
            TargetKind::Slack => slack::body(&samples::notice(kind)),
            _ => serde_json::to_value(alertmanager::body(&samples::notice(kind))).unwrap(),
        };
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_no_reason_to_lose_a_message() {
    let outbox = outbox(TargetKind::Webhook, &["one"]);
    let target = Target {
        secret_file: Some("/nowhere/key".into()),
        ..webhook_at("127.0.0.1:9".parse().unwrap())
    };
    let Turn::Failed(why) = courier(&outbox).turn(&target).await.unwrap() else {
        panic!("there is no key")
    };
    assert!(why.contains("/nowhere/key"), "{why}");
    assert_eq!(outbox.rows().len(), 1);
}

#[test]
fn waits_double_up_to_the_most_and_what_failed_together_is_spread() {
    let message = |number: i64, attempts: u32| Message {
        number,
        target: "ops".to_owned(),
        created: Timestamp::now(),
        attempts,
        notice: String::new(),
    };
    let usual = Backoff::default();
    let wait = |number, attempts| usual.wait(&message(number, attempts), None).as_secs();
    assert_eq!([0, 1, 2, 3].map(|attempts| wait(0, attempts)), [5, 10, 20, 40]);
    assert_eq!([8, 60, u32::MAX].map(|attempts| wait(0, attempts)), [600; 3]);
    let spread: std::collections::BTreeSet<u64> = (0..16).map(|number| wait(number, 9)).collect();
    assert!(spread.len() > 10 && *spread.first().unwrap() >= 450, "{spread:?}");
}
