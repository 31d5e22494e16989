//! Real agents, real sockets: what dials here is the cluster agent's own code, or something that only looks like it.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use axum_server::Handle;
use futures::FutureExt as _;
use jiff::Timestamp;
use prejoin_agent::dial::collector::{Collector as Url, ENROLL_PATH, Failure, Way};
use prejoin_agent::dial::keep::{Keeper, sha256};
use prejoin_agent::dial::streams::{self, Begun, Wanted};
use prejoin_agent::dial::wire::Wire;
use prejoin_agent::dial::{Dial, Enroll, Enrolled};
use prejoin_agent::protocol::{Answer, Ask, PROTOCOL_VERSION, Reply, Request, Role, line};
use prejoin_agent::session::Agent;
use prejoin_agent::session::allow::Allow;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::samples;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::serve::listener::{self, Limits};
use crate::serve::store::Store;
use crate::serve::store::tests::fresh;
use crate::serve::tls::{Files, Identity};
use crate::transport::{Dialled, Route};

const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// A collector that agents dial in to.
struct Collector {
    folder: TempDir,
    store: Store,
    hub: Hub,
    url: String,
    identity: Option<Identity>,
    handle: Handle<std::net::SocketAddr>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

impl Collector {
    async fn start(with_tls: bool) -> Self {
        let (folder, store) = fresh().await;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let identity = with_tls.then(|| {
            let file = folder.path().join("tls.pem");
            Identity::open(Files::Made {
                file,
                names: Vec::new(),
            })
            .unwrap()
        });
        let (hub, handle) = (Hub::default(), Handle::new());
        let doors = router(hub.clone(), store.clone());
        let serving = (identity.clone(), handle.clone());
        tokio::spawn(async move {
            let (identity, handle) = serving;
            listener::serve(listener, identity.as_ref(), doors, Limits::default(), handle).await
        });
        let scheme = if with_tls { "https" } else { "http" };
        Self {
            folder,
            store,
            hub,
            url: format!("{scheme}://{address}"),
            identity,
            handle,
        }
    }

    fn url(&self) -> Url {
        let pinned = self.identity.as_ref().and_then(Identity::fingerprint);
        Url::new(&self.url, pinned, |_| None).unwrap()
    }

    async fn invite(&self, cluster: &str) -> String {
        self.store.invite(cluster, HOUR, Timestamp::now()).await.unwrap()
    }

    /// Enrols a cluster under a credential of the test's own.
    async fn enroll(&self, cluster: &str, credential: &str) {
        let token = self.invite(cluster).await;
        let enrolled = self.store.enroll(&token, &sha256(credential), Timestamp::now()).await;
        enrolled.unwrap().unwrap();
    }

    /// A connection as an agent has it, and nobody at its end yet.
    async fn connect(&self, credential: &str) -> Result<Wire<Box<dyn Way>>, Failure> {
        Ok(self.url().connect(credential, &[]).await?.0)
    }

    fn keep(&self, cluster: &str) -> PathBuf {
        self.folder.path().join(format!("{cluster}.json"))
    }

    /// The cluster agent, with these facts.
    fn agent(&self, keep: &Path, token: Option<String>, facts: impl Fn(&str) -> ClusterFacts + 'static) -> Dial {
        Dial {
            agent: Agent {
                role: Role::Cluster,
                node: "n1".to_owned(),
                allow: Allow::all_of([]),
                highest_version: PROTOCOL_VERSION,
                cluster: Some(Box::new(move |name, _| std::future::ready(facts(&name)).boxed())),
            },
            collector: self.url(),
            keeper: Keeper::File(keep.to_owned()),
            token,
            reach: Err("there is no cluster".to_owned()),
        }
    }

    /// Waits until this holds of who is connected.
    async fn until(&self, holds: impl Fn(&[ConnectedCluster]) -> bool) {
        let mut changes = self.hub.changes();
        let waiting = async {
            while !holds(&self.hub.connected()) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to hold");
    }

    async fn facts(&self, cluster: &str) -> ClusterFacts {
        Box::pin(facts(&self.hub, &self.store, cluster, false, PATIENCE)).await
    }
}

fn is_connected(name: &str) -> impl Fn(&[ConnectedCluster]) -> bool + '_ {
    move |connected| connected.iter().any(|one| one.name == name)
}

/// Runs a test beside agents, which hold to one thread.
async fn beside<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

fn run(dial: Dial) -> tokio::task::JoinHandle<&'static str> {
    tokio::task::spawn_local(async move { dial.run(std::future::pending()).await })
}

#[tokio::test]
async fn a_cluster_enrols_dials_in_and_is_read_over_tls() {
    let collector = Collector::start(true).await;
    beside(Box::pin(async {
        let token = collector.invite("east").await;
        let keep = collector.keep("east");
        let agent = run(collector.agent(&keep, Some(token.clone()), |name| samples::cluster(name, 1)));
        collector.until(is_connected("east")).await;
        let connected = collector.hub.connected().remove(0);
        assert_eq!(connected.agent_version, env!("CARGO_PKG_VERSION"));
        let read = collector.facts("east").await;
        assert_eq!(
            (read.name.as_str(), read.uid.ok()),
            ("east", samples::cluster("east", 1).uid.ok())
        );
        assert!(read.unreachable().is_none());
        // It starts anew: the credential that it keeps is all that it needs, though the old token is there again.
        agent.abort();
        collector.until(<[_]>::is_empty).await;
        let agent = run(collector.agent(&keep, Some(token), |name| samples::cluster(name, 1)));
        collector.until(is_connected("east")).await;
        assert_eq!(collector.hub.refusals(), []);
        agent.abort();
    }))
    .await;
}

#[tokio::test]
async fn a_collector_with_another_certificate_is_told_nothing() {
    let collector = Collector::start(true).await;
    let other = "00".repeat(32).parse().unwrap();
    let url = Url::new(&collector.url, Some(other), |_| None).unwrap();
    let failure = url.connect("credential", &[]).await.err().unwrap().to_string();
    assert!(failure.contains("is not the one of the enrolment"), "{failure}");
    let unpinned = Url::new(&collector.url, None, |_| None);
    if let Ok(url) = unpinned {
        let failure = url.connect("credential", &[]).await.err().unwrap().to_string();
        assert!(failure.contains("TLS"), "{failure}");
    }
}

#[tokio::test]
async fn a_session_goes_through_the_connection_and_ends_with_it() {
    let collector = Collector::start(false).await;
    beside(Box::pin(async {
        let token = collector.invite("east").await;
        let agent = run(collector.agent(&collector.keep("east"), Some(token), |name| samples::cluster(name, 1)));
        collector.until(is_connected("east")).await;
        let route = |wanted| {
            Route::Dialled(Dialled {
                hub: collector.hub.clone(),
                cluster: "east".to_owned(),
                wanted,
            })
        };
        // Several at once, to the limit of what one agent has.
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(route(Wanted::Cluster(true)).connect(PATIENCE).await.unwrap());
        }
        let refused = route(Wanted::Cluster(true)).connect(PATIENCE).await.err().unwrap();
        assert_eq!(refused.0, "this agent has 4 sessions already");
        let refused = route(Wanted::Node("n7".to_owned()))
            .connect(PATIENCE)
            .await
            .err()
            .unwrap();
        assert_eq!(refused.0, "the agents of nodes cannot be reached: there is no cluster");
        agent.abort();
        let mut rest = Vec::new();
        let mut one = open.remove(0);
        // Whether it ends or breaks, it does not hang.
        let ended = tokio::time::timeout(
            PATIENCE,
            tokio::io::AsyncReadExt::read_to_end(&mut one.reader, &mut rest),
        );
        let _ = ended.await.expect("the stream ends with the connection");
        let gone = route(Wanted::Cluster(true)).connect(PATIENCE).await.err().unwrap();
        assert_eq!(gone.0, "cluster east is not connected");
    }))
    .await;
}

#[tokio::test]
async fn a_new_connection_of_a_cluster_takes_the_place_of_the_old() {
    let collector = Collector::start(false).await;
    collector.enroll("east", "mine").await;
    let first = collector.connect("mine").await.unwrap();
    collector.until(is_connected("east")).await;
    let since = collector.hub.connected()[0].from;
    let _second = collector.connect("mine").await.unwrap();
    collector
        .until(|connected| connected.iter().any(|one| one.from != since))
        .await;
    let mut first = streams::dialling(first);
    let inbound = tokio::time::timeout(PATIENCE, std::future::poll_fn(|cx| first.poll_next_inbound(cx))).await;
    assert!(!matches!(inbound, Ok(Some(Ok(_))) | Err(_)), "the old connection ends");
    assert_eq!(collector.hub.connected().len(), 1);
}

#[tokio::test]
async fn a_revoked_cluster_is_cut_off_and_stays_outside() {
    let collector = Collector::start(false).await;
    collector.enroll("east", "mine").await;
    collector.enroll("west", "another").await;
    let mut east = streams::dialling(collector.connect("mine").await.unwrap());
    let _west = collector.connect("another").await.unwrap();
    collector.until(|connected| connected.len() == 2).await;
    collector.hub.look(&collector.store).await.unwrap();
    assert_eq!(collector.hub.connected().len(), 2);
    // By another process, which knows the store and not the hub.
    collector.store.revoke("east", Timestamp::now()).await.unwrap();
    let watching = tokio::spawn({
        let (hub, store) = (collector.hub.clone(), collector.store.clone());
        async move { hub.watch(&store).await }
    });
    let ended = tokio::time::timeout(PATIENCE, std::future::poll_fn(|cx| east.poll_next_inbound(cx))).await;
    assert!(!matches!(ended, Ok(Some(Ok(_))) | Err(_)), "the connection ends");
    let left: Vec<String> = collector.hub.connected().into_iter().map(|one| one.name).collect();
    assert_eq!(left, ["west"]);
    assert!(matches!(collector.connect("mine").await, Err(Failure::Refused(_))));
    watching.abort();
}

#[tokio::test]
async fn a_replayed_enrolment_is_refused_and_shown() {
    let collector = Collector::start(false).await;
    let token = collector.invite("east").await;
    let enroll = async |credential: &str| -> Result<Enrolled, Failure> {
        let asked = Enroll {
            token: token.clone(),
            credential_sha256: sha256(credential),
        };
        collector.url().post(ENROLL_PATH, None, &asked).await
    };
    assert_eq!(enroll("mine").await.unwrap().cluster, "east");
    let failure = enroll("the thief's").await.unwrap_err();
    assert!(failure.to_string().contains("was used already"), "{failure}");
    let shown = collector.hub.refusals().remove(0);
    assert_eq!(shown.cluster.as_deref(), Some("east"));
    assert!(shown.from.is_some());
    assert!(matches!(
        collector.connect("the thief's").await,
        Err(Failure::Refused(_))
    ));
    collector.connect("mine").await.unwrap();
}

#[tokio::test]
async fn wrong_credentials_at_speed_are_made_to_wait() {
    let collector = Collector::start(false).await;
    let (mut refused, mut waiting) = (0, 0);
    for guess in 0..100 {
        match collector.connect(&format!("guess-{guess}")).await.err().unwrap() {
            Failure::Refused(_) => refused += 1,
            Failure::Busy { wait: Some(_), .. } => waiting += 1,
            other => panic!("{other}"),
        }
    }
    assert!(
        refused >= 10 && waiting >= 70,
        "{refused} refused, {waiting} told to wait"
    );
    assert_eq!(collector.hub.refusals(), [], "who guesses fills no list");
}

#[tokio::test]
async fn facts_of_another_cluster_are_refused_and_shown() {
    let collector = Collector::start(false).await;
    beside(Box::pin(async {
        for (name, facts) in [
            (
                "east",
                Box::new(|_: &str| samples::cluster("west", 1)) as Box<dyn Fn(&str) -> ClusterFacts>,
            ),
            ("twin", Box::new(|name: &str| samples::cluster(name, 2))),
            ("copy", Box::new(|name: &str| samples::cluster(name, 2))),
        ] {
            let token = collector.invite(name).await;
            run(collector.agent(&collector.keep(name), Some(token), facts));
            collector.until(is_connected(name)).await;
        }
        let read = collector.facts("east").await;
        let why = read.unreachable().unwrap().detail.clone();
        assert_eq!(why, "east: refused: its agent gave facts of a cluster called west");
        assert_eq!(collector.hub.refusals()[0].cluster.as_deref(), Some("east"));
        // The same identity under two names: who came first is the cluster.
        assert!(collector.facts("twin").await.unreachable().is_none());
        let why = collector.facts("copy").await.unreachable().unwrap().detail.clone();
        assert!(why.contains("it is the cluster that is enrolled as twin"), "{why}");
    }))
    .await;
}

/// Answers streams as an agent would, up to the facts: those are what `line` gives, again and again.
async fn pretend(wire: Wire<Box<dyn Way>>, piece: &'static [u8]) {
    let mut connection = streams::dialling(wire);
    let inbound = std::future::poll_fn(|cx| connection.poll_next_inbound(cx)).await;
    let (input, mut output) = tokio::io::split(streams::stream(inbound.unwrap().unwrap()));
    let speaking = async {
        let (wanted, rest) = streams::who_is_wanted(input).await.unwrap();
        assert_eq!(wanted, Wanted::Cluster(true));
        line::write(&Begun::Ok(true), &mut output).await.unwrap();
        let mut requests = line::LineReader::new(rest, 1 << 20);
        while let Ok(Some(Request { id, ask })) = requests.next().await {
            match ask {
                Ask::Open(_) => {
                    let opened = serde_json::json!({
                        "version": PROTOCOL_VERSION, "agent": "0", "role": "cluster", "node": "n1",
                        "abilities": { "raw": false, "icmp": false, "ipv4": true, "ipv6": true },
                    });
                    let answer = Answer::Opened(serde_json::from_value(opened).unwrap());
                    line::write(&Reply { id, answer }, &mut output).await.unwrap();
                }
                _ => while output.write_all(piece).await.is_ok() {},
            }
        }
    };
    let passing = std::future::poll_fn(|cx| connection.poll_next_inbound(cx));
    tokio::select! {
        () = speaking => {}
        _ = passing => {}
    }
}

#[tokio::test]
async fn endless_facts_are_refused_at_the_limit() {
    let collector = Collector::start(false).await;
    collector.enroll("east", "mine").await;
    let wire = collector.connect("mine").await.unwrap();
    let pretending = tokio::spawn(pretend(wire, &[b' '; 64 << 10]));
    collector.until(is_connected("east")).await;
    let read = collector.facts("east").await;
    let why = read.unreachable().unwrap().detail.clone();
    assert!(why.contains("a line longer than 67108864 bytes"), "{why}");
    pretending.abort();
}

#[tokio::test]
async fn an_agent_that_opens_streams_itself_is_cut_off() {
    let collector = Collector::start(false).await;
    collector.enroll("east", "mine").await;
    // The end that is dialled is the one that opens streams: here the agent takes that part.
    let mut connection = streams::answering(collector.connect("mine").await.unwrap());
    collector.until(is_connected("east")).await;
    let mut stream = std::future::poll_fn(|cx| connection.poll_new_outbound(cx))
        .await
        .unwrap();
    let speaking = async {
        let _ = futures::AsyncWriteExt::write_all(&mut stream, b"hello").await;
        std::future::pending::<()>().await;
    };
    let passing = std::future::poll_fn(|cx| connection.poll_next_inbound(cx));
    let over = async {
        tokio::select! {
            () = speaking => {}
            _ = passing => {}
        }
    };
    tokio::time::timeout(PATIENCE, over).await.expect("the connection ends");
    collector.until(<[_]>::is_empty).await;
}

/// Tasks are what a connection costs: after each has come and gone, there are as many as before.
#[tokio::test]
async fn an_agent_that_flaps_leaves_nothing_behind() {
    let collector = Collector::start(false).await;
    collector.enroll("east", "mine").await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let flap = async || {
        let wire = collector.connect("mine").await.unwrap();
        collector.until(is_connected("east")).await;
        drop(wire);
        collector.until(<[_]>::is_empty).await;
    };
    flap().await;
    let settled = async |at_most: usize| {
        let settling = async {
            while tasks() > at_most {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, settling).await.is_ok()
    };
    let before = tasks();
    for _ in 0..200 {
        flap().await;
    }
    assert!(settled(before).await, "{} tasks, {before} before", tasks());
}

#[tokio::test]
async fn a_credential_is_replaced_without_a_break() {
    let collector = Collector::start(false).await;
    beside(Box::pin(async {
        let token = collector.invite("east").await;
        let keep = collector.keep("east");
        let dial = Rc::new(collector.agent(&keep, Some(token), |name| samples::cluster(name, 1)));
        let running = tokio::task::spawn_local({
            let dial = Rc::clone(&dial);
            async move { dial.run(std::future::pending()).await }
        });
        collector.until(is_connected("east")).await;
        running.abort();
        collector.until(<[_]>::is_empty).await;
        // Its time is over: the next connection brings another.
        let mut kept = dial.keeper.read().await.unwrap();
        let first = kept.credential.clone().unwrap();
        kept.since = Some("2020-01-01T00:00:00Z".parse().unwrap());
        dial.keeper.write(&kept).await.unwrap();
        let rotated = async {
            let running = run(collector.agent(&keep, None, |name| samples::cluster(name, 1)));
            let keeper = Keeper::File(keep.clone());
            while keeper.read().await.unwrap().credential.as_ref() == Some(&first) {
                tokio::task::yield_now().await;
            }
            // The connection that is there serves on.
            collector.hub.look(&collector.store).await.unwrap();
            assert!(collector.facts("east").await.unreachable().is_none());
            running.abort();
            collector.until(<[_]>::is_empty).await;
            run(collector.agent(&keep, None, |name| samples::cluster(name, 1)));
            collector.until(is_connected("east")).await;
        };
        tokio::time::timeout(PATIENCE, rotated)
            .await
            .expect("the credential is replaced");
        assert!(matches!(collector.connect(&first).await, Err(Failure::Refused(_))));
    }))
    .await;
}

#[tokio::test(start_paused = true)]
async fn clusters_are_waited_for_after_a_start_and_not_later() {
    let hub = Hub::default();
    for seconds in [90, 0] {
        let since = tokio::time::Instant::now();
        hub.arrival("east").await;
        assert_eq!(since.elapsed().as_secs(), seconds);
    }
}
