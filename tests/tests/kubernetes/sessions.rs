//! The exec transport on real API servers and kubelets.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use prejoin_agent::protocol::{OLDEST_PROTOCOL_VERSION, Open, PROTOCOL_VERSION};
use prejoin_collector::session::Session;
use prejoin_collector::transport::exec::Cluster;
use prejoin_collector::transport::{Exec, Route};

use super::snapshot::Snapshot;
use super::suite::{STREAMING_IDLE, Suite, suite};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The ways to all node agents, with the names of their nodes.
pub(super) fn routes(suite: &Suite) -> Vec<(String, Route)> {
    let mut routes = Vec::new();
    for context in suite.contexts() {
        let cluster = Arc::new(Cluster::new(suite.local_kubeconfig(), Some(context.clone())));
        let pods = suite.kubectl(
            context,
            &[
                "--namespace=prejoin-system",
                "get",
                "pods",
                "--selector=app.kubernetes.io/component=node-agent",
                "--output=jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name}{\"\\n\"}{end}",
            ],
        );
        for line in pods.lines() {
            let (node, pod) = line.split_once(' ').unwrap();
            let exec = Exec {
                cluster: Arc::clone(&cluster),
                namespace: "prejoin-system".to_owned(),
                pod: pod.to_owned(),
                container: None,
                command: ["/prejoin-agent", "session"].map(str::to_owned).to_vec(),
            };
            routes.push((node.to_owned(), Route::Exec(exec)));
        }
    }
    routes
}

pub(super) async fn open(node: &str, route: &Route) -> Session {
    let connection = route.connect(PATIENCE).await.unwrap();
    let open = Open {
        versions: (OLDEST_PROTOCOL_VERSION..=PROTOCOL_VERSION).collect(),
        audit: "00".repeat(16),
        key: "00".repeat(32),
        node: node.to_owned(),
        deadline_seconds: 120,
    };
    let (session, opened) = Session::open(connection, open, PATIENCE).await.unwrap();
    assert_eq!(opened.node, node);
    session
}

#[test]
fn a_hundred_sessions_at_once_work_and_end() {
    let Some(suite) = suite() else { return };
    let _agents = suite.agents(&[]);
    let before = Snapshot::of(&suite);
    let routes = routes(&suite);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut sessions = join_all(routes.iter().cycle().take(100).map(|(node, route)| open(node, route))).await;
        // All are open now.
        let asking = sessions
            .iter_mut()
            .map(|session| session.node_facts(Vec::new(), Vec::new(), PATIENCE));
        for facts in join_all(asking).await {
            facts.unwrap();
        }
        join_all(sessions.into_iter().map(|session| session.close(PATIENCE))).await;
    });
    before.assert_unchanged(&suite);
}

/// An audit may wait for long on one agent while it works with others.
#[test]
fn a_session_may_be_silent_for_longer_than_kubelets_let_streams_be() {
    let Some(suite) = suite() else { return };
    if suite.lab().is_none() {
        return;
    }
    let _agents = suite.agents(&[]);
    let (node, route) = routes(&suite).remove(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut session = open(&node, &route).await;
        // It is this time that is tried.
        tokio::time::sleep(STREAMING_IDLE * 2).await;
        session.node_facts(Vec::new(), Vec::new(), PATIENCE).await.unwrap();
        session.close(PATIENCE).await;
    });
}
