//! What reading a cluster's API gives, over real HTTP: recorded clusters, pages, refusals and faults.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::time::Duration;

use prejoin_agent::cluster::{ReadOptions, configure, connect, read_cluster};
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::provenance::{Fact, Reason};
use prejoin_tests::api_server::{ApiServer, Failure, Objects};

/// Short, so that tests of servers that hang are short too.
const TIMEOUT: Duration = Duration::from_secs(3);

async fn read_with(server: &ApiServer, options: ReadOptions) -> ClusterFacts {
    let mut config = kube::Config::new(server.url().parse().unwrap());
    configure(&mut config, options.timeout);
    read_cluster(connect(config).unwrap(), "east", options).await
}

async fn read(server: &ApiServer) -> ClusterFacts {
    let options = ReadOptions {
        timeout: TIMEOUT,
        ..ReadOptions::default()
    };
    read_with(server, options).await
}

/// The reason and detail of what is not known.
fn why<T>(fact: &Fact<T>) -> (Reason, String) {
    let unknown = fact.why().expect("the fact is not known");
    (unknown.reason, unknown.detail.clone())
}

#[tokio::test]
async fn a_recorded_cluster_is_read() {
    let server = ApiServer::start(Objects::cluster("good/east"));
    let facts = read(&server).await;
    assert_eq!(facts.kubernetes_version.get().unwrap(), "v1.36.3");
    assert_eq!(facts.serves("cilium.io/v2"), Ok(true));
    let nodes = facts.nodes.get().unwrap();
    assert_eq!(
        nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(),
        ["c1n1", "c1n2"]
    );
    assert_eq!(facts.namespaces.get().unwrap().len(), 5);
    assert!(!facts.uid.get().unwrap().is_empty());
    assert_eq!(facts.service_cidrs.get().unwrap()[0].to_string(), "10.97.0.0/16");
    assert_eq!(facts.services.get().unwrap().len(), 7);
    assert_eq!(facts.workloads.get().unwrap().len(), 5);
    let failed: Vec<_> = facts.reads.iter().filter(|read| read.failure.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn a_server_that_hangs_costs_no_more_than_the_timeout() {
    let server = ApiServer::start(Objects::cluster("good/east"));
    server.inject(Failure::Hang.everywhere());
    let started = tokio::time::Instant::now();
    let facts = read(&server).await;
    assert!(started.elapsed() < 2 * TIMEOUT);
    let (reason, detail) = why(&facts.nodes);
    assert_eq!(reason, Reason::Unreachable);
    assert!(detail.contains("no answer within"), "{detail}");
}

#[tokio::test]
async fn a_refused_list_is_forbidden_and_the_rest_is_read() {
    let server = ApiServer::start(Objects::cluster("good/east"));
    server.inject(Failure::Forbidden.at("/api/v1/nodes"));
    let facts = read(&server).await;
    let (reason, detail) = why(&facts.nodes);
    assert_eq!(reason, Reason::Forbidden);
    assert!(detail.starts_with("list nodes: forbidden for user "), "{detail}");
    assert!(facts.services.ok().is_some());
}
