//! The API server of the tests, as a real Kubernetes client sees it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by unwrapping it"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Config, ResourceExt as _, discovery};
use prejoin_tests::api_server::{ApiServer, Objects, Scope};
use prejoin_tests::large_cluster::LargeCluster;
use serde_json::{Value, json};

fn client(server: &ApiServer) -> Client {
    let mut config = Config::new(server.url().parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": "web" } },
        "spec": { "nodeName": "n1" },
    })
}

/// 25 pods in two namespaces: 15 in `a`, 10 in `b`.
fn pods() -> Objects {
    (0..25).fold(Objects::new(), |objects, n| {
        objects.with(pod(if n % 5 < 3 { "a" } else { "b" }, &format!("pod-{n:02}")))
    })
}

fn code(error: &kube::Error) -> u16 {
    let kube::Error::Api(status) = error else {
        panic!("no answer from the API: {error}")
    };
    status.code
}

/// Reads a list to its end; gives the sizes of its pages and the names, in order.
async fn read_pages(api: &Api<Pod>, limit: u32) -> kube::Result<(Vec<usize>, Vec<String>)> {
    let (mut sizes, mut names, mut params) = (Vec::new(), Vec::new(), ListParams::default().limit(limit));
    loop {
        let page = api.list(&params).await?;
        sizes.push(page.items.len());
        names.extend(page.items.iter().map(kube::ResourceExt::name_any));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok((sizes, names)),
        }
    }
}

#[tokio::test]
async fn a_list_comes_in_pages_and_each_object_once() {
    let server = ApiServer::start(pods());
    let (sizes, names) = read_pages(&Api::all(client(&server)), 10).await.unwrap();

    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(names, (0..25).map(|n| format!("pod-{n:02}")).collect::<Vec<_>>());
    let requests = server.requests_for("pods");
    assert_eq!(requests.len(), 3);
    assert!(
        requests
            .iter()
            .all(|r| r.method == "GET" && r.path == "/api/v1/pods" && r.query("limit") == Some("10"))
    );
    assert_eq!(requests[0].query("continue"), None);
    assert!(requests[1].query("continue").is_some());
}

#[tokio::test]
async fn a_page_says_how_much_is_left_unless_objects_were_selected() {
    let server = ApiServer::start(pods());
    let api: Api<Pod> = Api::all(client(&server));
    let first = api.list(&ListParams::default().limit(10)).await.unwrap().metadata;
    assert_eq!(
        (first.remaining_item_count, first.resource_version.as_deref()),
        (Some(15), Some("1000"))
    );

    let all = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(
        (
            all.items.len(),
            all.metadata.remaining_item_count,
            all.metadata.continue_
        ),
        (25, None, None)
    );

    let selected = api
        .list(&ListParams::default().labels("app=web").limit(10))
        .await
        .unwrap()
        .metadata;
    assert_eq!(selected.remaining_item_count, None);
    assert!(selected.continue_.is_some());
}

#[tokio::test]
async fn pages_of_a_selection_are_full_and_end_where_it_ends() {
    let server = ApiServer::start(pods());
    let (sizes, _) = read_pages(&Api::namespaced(client(&server), "a"), 5).await.unwrap();
    assert_eq!(sizes, [5, 5, 5]);
    let (sizes, _) = read_pages(&Api::namespaced(client(&server), "nowhere"), 5)
        .await
        .unwrap();
    assert_eq!(sizes, [0]);
}

#[tokio::test]
async fn an_expired_token_is_gone_and_the_list_can_begin_anew() {
    let server = ApiServer::start(pods());
    let api: Api<Pod> = Api::all(client(&server));
    let token = api
        .list(&ListParams::default().limit(10))
        .await
        .unwrap()
        .metadata
        .continue_
        .unwrap();
    server.expire_continue_tokens();
    let error = api
        .list(&ListParams::default().limit(10).continue_token(&token))
        .await
        .unwrap_err();
    assert_eq!(code(&error), 410);
    assert_eq!(read_pages(&api, 10).await.unwrap().0, [10, 10, 5]);

    let error = api
        .list(&ListParams::default().continue_token("made-up"))
        .await
        .unwrap_err();
    assert_eq!(code(&error), 400);
}

#[tokio::test]
async fn a_recorded_cluster_reads_like_the_real_one() {
    for pair in ["good", "broken"] {
        for name in ["east", "west"] {
            let server = ApiServer::start(Objects::cluster(&format!("{pair}/{name}")));
            let client = client(&server);
            assert_eq!(client.apiserver_version().await.unwrap().git_version, "v1.36.3");

            let nodes = Api::<Node>::all(client.clone())
                .list(&ListParams::default())
                .await
                .unwrap();
            assert_eq!(nodes.items.len(), 2);
            let ranges = Api::<ServiceCIDR>::all(client.clone())
                .list(&ListParams::default())
                .await
                .unwrap();
            assert_eq!(ranges.items[0].name_any(), "kubernetes");

            // Recorded as a list; a single object and a namespace's part of a list are derived.
            let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
            let config = config_maps.get("cilium-config").await.unwrap();
            assert_eq!(config.data.unwrap()["cluster-name"], name);
            assert_eq!(code(&config_maps.get("absent").await.unwrap_err()), 404);
            let services = Api::<Service>::namespaced(client.clone(), "default")
                .list(&ListParams::default())
                .await;
            assert!(
                services
                    .unwrap()
                    .items
                    .iter()
                    .all(|s| s.namespace().as_deref() == Some("default"))
            );

            let kind = GroupVersionKind::gvk("cilium.io", "v2", "CiliumNode");
            let (resource, _) = discovery::pinned_kind(&client, &kind).await.unwrap();
            let cilium_nodes: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let cilium_nodes = cilium_nodes.list(&ListParams::default()).await.unwrap();
            assert_eq!(cilium_nodes.items.len(), 2);
        }
    }
}

#[tokio::test]
async fn what_was_not_recorded_is_not_found() {
    let server = ApiServer::start(Objects::cluster("good/east"));
    let client = client(&server);
    let listed_by_discovery = Api::<k8s_openapi::api::core::v1::Event>::all(client.clone());
    let error = listed_by_discovery.list(&ListParams::default()).await.unwrap_err();
    let kube::Error::Api(status) = error else {
        panic!("{error}")
    };
    assert_eq!((status.code, status.reason.as_str()), (404, "NotFound"));

    // Nor is a namespace that was not recorded; one that does not exist is empty.
    let config_maps = async |namespace| {
        let list = Api::<ConfigMap>::namespaced(client.clone(), namespace)
            .list(&ListParams::default())
            .await;
        list.map(|l| l.items.len()).map_err(|e| code(&e))
    };
    assert_eq!(config_maps("default").await, Err(404));
    assert_eq!(config_maps("submariner-operator").await, Ok(0));

    // A group that is not served at all gets no Status, but the plain text of its HTTP server.
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("submariner.io", "v1", "Endpoint"));
    let error = Api::<DynamicObject>::all_with(client, &resource)
        .list(&ListParams::default())
        .await
        .unwrap_err();
    assert_eq!(code(&error), 404);
}

#[tokio::test]
async fn discovery_follows_the_objects() {
    let server = ApiServer::start(
        Objects::new()
            .version("v1.31.4")
            .with(json!({ "apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": { "name": "n1" } }))
            .kind("cilium.io/v2alpha1", "CiliumPodIPPool", Scope::Cluster)
            .remove("/apis/networking.k8s.io/v1/servicecidrs"),
    );
    let client = client(&server);
    assert_eq!(client.apiserver_version().await.unwrap().minor, "31");

    let found = discovery::Discovery::new(client.clone()).run().await.unwrap();
    let cilium = found.get("cilium.io").unwrap();
    let kinds: Vec<_> = cilium
        .recommended_resources()
        .into_iter()
        .map(|(r, _)| r.plural)
        .collect();
    assert_eq!(kinds, ["ciliumnodes"]);
    assert_eq!(cilium.versions().collect::<Vec<_>>(), ["v2", "v2alpha1"]);
    assert!(found.has_group("apps"));

    let ranges = Api::<ServiceCIDR>::all(client).list(&ListParams::default()).await;
    assert_eq!(code(&ranges.unwrap_err()), 404);
}

#[tokio::test]
async fn a_recording_can_be_changed_before_it_is_served() {
    let server = ApiServer::start(
        Objects::cluster("good/east")
            .edit("/api/v1/namespaces/kube-system/configmaps/cilium-config", |config| {
                config["data"]["tunnel-protocol"] = json!("geneve");
            })
            .with(json!({
                "apiVersion": "submariner.io/v1", "kind": "Endpoint",
                "metadata": { "name": "east-1", "namespace": "submariner-operator" },
            }))
            .remove("/apis/networking.k8s.io"),
    );
    let client = client(&server);
    let config = Api::<ConfigMap>::namespaced(client.clone(), "kube-system")
        .get("cilium-config")
        .await
        .unwrap();
    assert_eq!(config.data.unwrap()["tunnel-protocol"], "geneve");
    let groups = client.list_api_groups().await.unwrap().groups;
    assert!(groups.iter().any(|g| g.name == "submariner.io"));
    assert!(groups.iter().any(|g| g.name == "cilium.io"));
    assert!(!groups.iter().any(|g| g.name == "networking.k8s.io"));
    let ranges = Api::<ServiceCIDR>::all(client).list(&ListParams::default()).await;
    assert_eq!(code(&ranges.unwrap_err()), 404);
}

#[tokio::test]
async fn metadata_alone_is_served_where_it_is_asked_for() {
    let server = ApiServer::start(pods());
    let api: Api<Pod> = Api::all(client(&server));
    let list = api.list_metadata(&ListParams::default().limit(3)).await.unwrap();
    assert_eq!(list.items.len(), 3);
    assert_eq!(list.items[0].labels()["app"], "web");
}

#[tokio::test]
async fn of_generated_objects_only_those_of_the_page_are_made() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let server = ApiServer::start(
        Objects::new().generate("v1", "Pod", Scope::Namespaced, 1_000_000, move |n| {
            counter.fetch_add(1, Ordering::Relaxed);
            pod("a", &format!("pod-{n:07}")).to_string()
        }),
    );
    let api: Api<Pod> = Api::all(client(&server));
    let first = api.list(&ListParams::default().limit(500)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(999_500));
    let params = ListParams::default()
        .limit(500)
        .continue_token(&first.metadata.continue_.unwrap());
    let second = api.list(&params).await.unwrap();
    assert_eq!(second.items[0].name_any(), "pod-0000500");
    assert_eq!(made.load(Ordering::Relaxed), 1_000);
}

#[tokio::test]
async fn a_large_cluster_is_read_in_pages() {
    let server = ApiServer::start(LargeCluster { nodes: 40, pods: 1_200 }.objects());
    let (sizes, names) = read_pages(&Api::all(client(&server)), 500).await.unwrap();
    assert_eq!(sizes, [500, 500, 200]);
    assert_eq!(names.last().unwrap(), "web-5cbd487b87-001199");
    let node = Api::<Node>::all(client(&server)).get("node-00039").await.unwrap();
    assert_eq!(node.spec.unwrap().pod_cidr.as_deref(), Some("10.0.39.0/24"));
}
