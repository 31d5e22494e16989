//! Each fault of the tests' API server, as a client meets it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by unwrapping it"
)]

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::ListParams;
use kube::core::Status;
use kube::{Api, Client, Config};
use prejoin_tests::api_server::{ApiServer, Failure, Objects};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";

fn client(server: &ApiServer) -> Client {
    let mut config = Config::new(server.url().parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// Five nodes and 25 pods.
fn server() -> ApiServer {
    let object = |kind: &str, name: String, namespace: Option<&str>| json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name, "namespace": namespace } });
    let nodes = (0..5).map(|n| object("Node", format!("n{n}"), None));
    let pods = (0..25).map(|n| object("Pod", format!("pod-{n:02}"), Some("default")));
    ApiServer::start(nodes.chain(pods).fold(Objects::new(), Objects::with))
}

/// Sends a GET and gives the connection, from which nothing was read yet.
async fn ask(server: &ApiServer, path: &str) -> TcpStream {
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The head and body of an answer that was sent whole.
async fn get(server: &ApiServer, path: &str) -> (String, String) {
    let mut text = String::new();
    ask(server, path).await.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

async fn status_of_nodes(server: &ApiServer) -> Status {
    let error = Api::<Node>::all(client(server))
        .list(&ListParams::default())
        .await
        .unwrap_err();
    let kube::Error::Api(status) = error else {
        panic!("no answer from the API: {error}")
    };
    *status
}

#[tokio::test]
async fn an_invalid_token_is_401_everywhere() {
    let server = server();
    server.inject(Failure::Unauthorized.everywhere());
    assert_eq!(status_of_nodes(&server).await.code, 401);
    assert!(client(&server).apiserver_version().await.is_err());
}

#[tokio::test]
async fn a_refusal_says_who_may_not_do_what_and_where() {
    let server = server();
    server.inject(Failure::Forbidden.everywhere());
    let client = client(&server);

    let status = status_of_nodes(&server).await;
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        status.message,
        r#"nodes is forbidden: User "auditor" cannot list resource "nodes" in API group "" at the cluster scope"#
    );
    let message = |error: kube::Error| match error {
        kube::Error::Api(status) => status.message,
        other => panic!("{other}"),
    };
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    assert_eq!(
        message(config_maps.get("cilium-config").await.unwrap_err()),
        r#"configmaps "cilium-config" is forbidden: User "auditor" cannot get resource "configmaps" in API group "" in the namespace "kube-system""#
    );
    let daemon_sets: Api<k8s_openapi::api::apps::v1::DaemonSet> = Api::all(client.clone());
    assert_eq!(
        message(daemon_sets.list(&ListParams::default()).await.unwrap_err()),
        r#"daemonsets.apps is forbidden: User "auditor" cannot list resource "daemonsets" in API group "apps" at the cluster scope"#
    );
    assert_eq!(
        message(client.apiserver_version().await.unwrap_err()),
        r#"forbidden: User "auditor" cannot get path "/version""#
    );
}

#[tokio::test]
async fn a_fault_strikes_its_resource_and_spares_the_others() {
    let server = server();
    server.inject(Failure::Forbidden.of("nodes"));
    assert_eq!(status_of_nodes(&server).await.code, 403);
    let pods = Api::<Pod>::all(client(&server))
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(pods.items.len(), 25);
    server.heal();
    assert!(
        Api::<Node>::all(client(&server))
            .list(&ListParams::default())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn the_second_page_can_be_gone_once_or_always() {
    let server = server();
    let api: Api<Pod> = Api::all(client(&server));
    let first = async || {
        api.list(&ListParams::default().limit(10))
            .await
            .unwrap()
            .metadata
            .continue_
            .unwrap()
    };
    let next = async |token: &str| {
        let page = api.list(&ListParams::default().limit(10).continue_token(token)).await;
        page.map(|list| list.items.len()).map_err(|error| match error {
            kube::Error::Api(status) => (status.code, status.reason),
            other => panic!("{other}"),
        })
    };
    let gone = || Err((410, "Expired".to_owned()));

    server.inject(Failure::Gone.at(PODS).on_page(2).times(1));
    assert_eq!(next(&first().await).await, gone());
    assert_eq!(next(&first().await).await, Ok(10));

    server.inject(Failure::Gone.at(PODS).on_page(2));
    assert_eq!(next(&first().await).await, gone());
    assert_eq!(next(&first().await).await, gone());
}

#[tokio::test]
async fn too_many_requests_says_when_to_come_back() {
    let server = server();
    server.inject(Failure::TooManyRequests { retry_after_seconds: 7 }.at(NODES).times(1));
    let (head, body) = get(&server, NODES).await;
    assert!(
        head.starts_with("http/1.1 429") && head.contains("retry-after: 7"),
        "{head}"
    );
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap()["details"]["retryAfterSeconds"],
        7
    );
    assert!(get(&server, NODES).await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn broken_servers_and_portals_answer_in_their_own_way() {
    let server = server();
    server.inject(Failure::InternalError.at(NODES));
    assert_eq!(status_of_nodes(&server).await.reason, "InternalError");
    server.inject(Failure::Unavailable.at(NODES));
    assert_eq!(status_of_nodes(&server).await.code, 503);
    server.inject(Failure::PlainNotFound.at(NODES));
    assert_eq!(status_of_nodes(&server).await.code, 404);
    server.inject(Failure::Html { code: 200 }.at(NODES));
    let (head, body) = get(&server, NODES).await;
    assert!(head.starts_with("http/1.1 200") && head.contains("text/html"), "{head}");
    assert!(body.starts_with("<!DOCTYPE html>"));
}

#[tokio::test]
async fn a_hanging_request_is_taken_and_never_answered() {
    let server = server();
    server.inject(Failure::Hang.at(NODES));
    let mut stream = ask(&server, NODES).await;
    server.until_hanging(1).await;
    assert_eq!(stream.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    // Other requests are still answered, and the end of the server ends the hanging one.
    assert!(get(&server, PODS).await.0.starts_with("http/1.1 200"));
    drop(server);
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_client_that_gives_up_no_longer_counts_as_hanging() {
    let server = server();
    server.inject(Failure::Hang.at(NODES));
    let stream = ask(&server, NODES).await;
    server.until_hanging(1).await;
    drop(stream);
    server.until_none_hang().await;
}

#[tokio::test]
async fn an_answer_can_stop_halfway_and_leave_the_connection_open() {
    let server = server();
    server.inject(Failure::HangMidBody.at(NODES));
    let mut stream = ask(&server, NODES).await;
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("NodeList") {
        assert_ne!(
            stream.read_buf(&mut text).await.unwrap(),
            0,
            "the connection stays open"
        );
    }
    server.until_hanging(1).await;
    assert!(!String::from_utf8_lossy(&text).contains("]}"));
}

#[tokio::test]
async fn a_reset_is_a_reset_before_the_answer_or_amid_it() {
    let server = server();
    server.inject(Failure::Reset.at(NODES));
    let mut nothing = Vec::new();
    let error = ask(&server, NODES).await.read_to_end(&mut nothing).await.unwrap_err();
    assert_eq!((error.kind(), nothing.len()), (ErrorKind::ConnectionReset, 0));

    server.inject(Failure::ResetMidBody.at(NODES));
    let mut half = Vec::new();
    let error = ask(&server, NODES).await.read_to_end(&mut half).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(
        Api::<Node>::all(client(&server))
            .list(&ListParams::default())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn truncated_json_comes_in_a_complete_response() {
    let server = server();
    let (_, whole) = get(&server, NODES).await;
    server.inject(Failure::TruncatedJson.at(NODES));
    let (head, half) = get(&server, NODES).await;
    assert!(
        head.starts_with("http/1.1 200") && head.contains(&format!("content-length: {}", half.len())),
        "{head}"
    );
    assert!(whole.contains(&half));
    assert!(serde_json::from_str::<Value>(&half).unwrap_err().is_eof());
}

#[tokio::test]
async fn json_of_the_wrong_shape_is_still_json() {
    let server = server();
    server.inject(Failure::WrongShape.at(NODES));
    assert!(serde_json::from_str::<Value>(&get(&server, NODES).await.1).is_ok());
    assert!(
        Api::<Node>::all(client(&server))
            .list(&ListParams::default())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_endless_body_goes_on_for_as_long_as_one_reads() {
    let server = server();
    server.inject(Failure::EndlessBody.at(NODES));
    let mut stream = ask(&server, NODES).await.take(16 << 20);
    let mut sink = tokio::io::sink();
    assert_eq!(tokio::io::copy(&mut stream, &mut sink).await.unwrap(), 16 << 20);
}

#[tokio::test]
async fn a_slow_answer_is_right_and_late() {
    let server = server();
    let delay = Duration::from_millis(50);
    server.inject(Failure::Slow(delay).at(PODS).on_page(2));
    let api: Api<Pod> = Api::all(client(&server));
    let first = api.list(&ListParams::default().limit(10)).await.unwrap();
    let asked = Instant::now();
    let token = first.metadata.continue_.unwrap();
    let second = api
        .list(&ListParams::default().limit(10).continue_token(&token))
        .await
        .unwrap();
    assert_eq!(second.items.len(), 10);
    assert!(asked.elapsed() >= delay);
}

#[tokio::test]
async fn this_server_is_only_ever_read() {
    let server = server();
    let api: Api<Node> = Api::all(client(&server));
    let error = api.delete("n0", &kube::api::DeleteParams::default()).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 405));
    assert_eq!(server.requests_for("nodes")[0].method, "DELETE");
}
