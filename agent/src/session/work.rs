//! What a session does when it is asked: reads, listens, probes.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use prejoin_checks::facts::kernel::NetworkView;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::Sent;
use prejoin_checks::plan::{Pace, ProbeKind};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::{Agent, Answers, abilities};
use crate::listen::Listeners;
use crate::node::{self, NodeOptions};
use crate::nonce::Seal;
use crate::probe::{self, ProbeContext};
use crate::protocol::{
    Answer, Ask, FailureKind, ListenOn, ListenerState, Open, Opened, ProbeOrder, Role, common_version, limits,
};

/// How long reading the node's kernel and resolving the names may take.
const NODE_FACTS: Duration = Duration::from_secs(10);

/// Names of targets that are resolved at the same time.
const NAMES_AT_ONCE: usize = 16;

/// Results that wait to become answers: taken one at a time, each would cost a turn of the runtime.
const RESULTS_WAITING: usize = 64;

/// Why a request fails as a whole.
type Failure = (FailureKind, String);

/// What `open` began.
pub(super) struct Work<'a> {
    agent: &'a Agent,
    version: u32,
    node: String,
    longest: Duration,
    seal: Seal,
    /// What each `listen` opened.
    listeners: RefCell<Vec<Listeners>>,
    listener_count: Cell<usize>,
    /// One request at a time probes, so that its rate is the session's.
    probing: Mutex<()>,
    probe_count: Cell<usize>,
}

impl<'a> Work<'a> {
    /// Begins a session, or says why there is none.
    pub(super) fn begin(agent: &'a Agent, open: &Open) -> Result<Self, Failure> {
        let Some(version) = common_version(&open.versions, agent.highest_version) else {
            let detail = format!(
                "versions {} to {} are spoken here",
                crate::protocol::OLDEST_PROTOCOL_VERSION,
                agent.highest_version
            );
            return Err((FailureKind::Version, detail));
        };
        let Some(seal) = Seal::of_hex(&open.audit, &open.key) else {
            let detail = "`audit` is 16 bytes and `key` 32, both in hex".to_owned();
            return Err((FailureKind::Malformed, detail));
        };
        let most = agent.allow.limits().deadline_seconds;
        Ok(Self {
            agent,
            version,
            node: open.node.clone(),
            longest: Duration::from_secs(open.deadline_seconds.min(most).into()),
            seal,
            listeners: RefCell::default(),
            listener_count: Cell::new(0),
            probing: Mutex::new(()),
            probe_count: Cell::new(0),
        })
    }

    /// How long the session may last.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// The answer to `open`.
    pub(super) fn opened(&self) -> Opened {
        Opened {
            version: self.version,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            role: self.agent.role,
            node: self.agent.node.clone(),
            network: node::network_view(&self.node_options()).ok().copied(),
            abilities: abilities::find(),
            limits: (self.version >= 2).then(|| self.agent.allow.limits()),
        }
    }

    /// Does what is asked, and answers.
    pub(super) async fn answer(&self, ask: Ask, answers: &Answers) {
        let result = match ask {
            Ask::ClusterFacts { read_secrets } => self.cluster_facts(read_secrets).await,
            Ask::NodeFacts { peers, names } => self.node_facts(peers, names).await,
            Ask::Listen { listeners } => self.listen(listeners),
            Ask::Probe {
                probes,
                rate,
                target_rate,
                timeout_millis,
                samples,
            } => {
                let pace = Pace {
                    rate: rate.min(self.agent.allow.limits().rate),
                    target_rate,
                    timeout_millis,
                    samples,
                };
                self.probe(probes, pace, answers).await
            }
            Ask::Hush {} => self.hush().await,
            Ask::Open(_) | Ask::Close {} => Err((FailureKind::Internal, "the conversation answers this".to_owned())),
        };
        let answer = result.unwrap_or_else(|(kind, detail)| Answer::Failed { kind, detail });
        answers.send(answer).await;
    }

    async fn cluster_facts(&self, read_secrets: bool) -> Result<Answer, Failure> {
        let Some(read) = &self.agent.cluster else {
            return Err((FailureKind::Unsupported, "a node agent reads no API".to_owned()));
        };
        Ok(Answer::ClusterFacts(Box::new(
            read(self.node.clone(), read_secrets).await,
        )))
    }

    /// Node agents run in the network of their node, cluster agents in that of pods, unless the kernel says otherwise.
    fn node_options(&self) -> NodeOptions {
        NodeOptions {
            network: Some(match self.agent.role {
                Role::Node => NetworkView::Host,
                Role::Cluster => NetworkView::Pod,
            }),
            ..NodeOptions::new(&self.node, NODE_FACTS)
        }
    }

    async fn node_facts(&self, peers: Vec<IpAddr>, names: Vec<String>) -> Result<Answer, Failure> {
        at_most(peers.len(), limits::PEERS, "peers")?;
        reasonable_names(&names)?;
        let options = NodeOptions {
            peers,
            names,
            ..self.node_options()
        };
        Ok(Answer::NodeFacts(Box::new(node::read_node(&options).await)))
    }

    fn listen(&self, wanted: Vec<ListenOn>) -> Result<Answer, Failure> {
        let count = self.listener_count.get() + wanted.len();
        at_most(count, limits::LISTENERS, "listeners")?;
        self.listener_count.set(count);
        let rate = self.agent.allow.limits().rate;
        let mut states = Vec::with_capacity(wanted.len());
        let mut allowed = Vec::with_capacity(wanted.len());
        for mut listen in wanted {
            listen.answer_rate = listen.answer_rate.min(rate);
            match self.agent.allow.listener(&listen) {
                Ok(()) => allowed.push(listen),
                Err(refused) => states.push(ListenerState {
                    id: listen.id,
                    state: Err(refused),
                    captures: false,
                    held_by: String::new(),
                }),
            }
        }
        let (listeners, opened) = Listeners::open(allowed, &self.seal);
        self.listeners.borrow_mut().push(listeners);
        states.extend(opened);
        states.sort_by_key(|state| state.id);
        Ok(Answer::Listening { listeners: states })
    }

    async fn hush(&self) -> Result<Answer, Failure> {
        if self.version < 2 {
            return Err((FailureKind::Unsupported, "version 1 has no `hush`".to_owned()));
        }
        let (mut heard, mut foreign) = (Vec::new(), Vec::new());
        for listeners in self.listeners.take() {
            let (by_probe, by_listener) = listeners.hush().await;
            heard.extend(by_probe);
            foreign.extend(by_listener);
        }
        self.listener_count.set(0);
        Ok(Answer::Heard { heard, foreign })
    }

    async fn probe(&self, orders: Vec<ProbeOrder>, pace: Pace, answers: &Answers) -> Result<Answer, Failure> {
        let count = self.probe_count.get() + orders.len();
        at_most(count, limits::PROBES, "probes")?;
        at_most(pace.samples, limits::SAMPLES, "samples")?;
        at_most(pace.timeout_millis, limits::TIMEOUT_MILLIS, "milliseconds of timeout")?;
        for order in &orders {
            match &order.kind {
                ProbeKind::PathMtu { candidates, .. } => at_most(candidates.len(), limits::CANDIDATES, "candidates")?,
                ProbeKind::Resolve { names } => reasonable_names(names)?,
                _ => {}
            }
        }
        self.probe_count.set(count);
        let _turn = self.probing.lock().await;
        // What is refused is answered before the first packet leaves.
        let mut allowed = Vec::with_capacity(orders.len());
        let resolving = stream::iter(orders)
            .map(|order| self.resolve(order))
            .buffered(NAMES_AT_ONCE);
        let mut resolving = std::pin::pin!(resolving);
        while let Some((probe, result)) = resolving.next().await {
            match result {
                Ok(order) => allowed.push(order),
                Err(unknown) => {
                    let sent = Err(unknown);
                    answers.send(Answer::Probed { probe, sent }).await;
                }
            }
        }
        let (results, mut finished) = mpsc::channel::<(u32, Result<Sent, Unknown>)>(RESULTS_WAITING);
        let context = Arc::new(ProbeContext::new(self.seal.clone(), pace));
        // On the threads that probe: to wake this one for each result would cost more than many a probe.
        let answers = answers.clone();
        let mut running = JoinSet::new();
        running.spawn(async move {
            while let Some((probe, sent)) = finished.recv().await {
                let sent = sent.map(Box::new);
                answers.send(Answer::Probed { probe, sent }).await;
            }
            0
        });
        running.spawn(async move { probe::run(allowed, &context, results).await });
        let packets = running.join_all().await.into_iter().sum();
        Ok(Answer::Done { packets })
    }

    /// The order as it may be carried out: with the address that its name resolves to, if that is allowed.
    async fn resolve(&self, mut order: ProbeOrder) -> (u32, Result<ProbeOrder, Unknown>) {
        if let Err(refused) = self.agent.allow.probe(&order) {
            return (order.id, Err(refused));
        }
        if order.address.is_none() && !order.host.is_empty() {
            match self.address_of(&order.host).await {
                Ok(address) => order.address = Some(address),
                Err(unknown) => return (order.id, Err(unknown)),
            }
        }
        (order.id, Ok(order))
    }

    async fn address_of(&self, host: &str) -> Result<IpAddr, Unknown> {
        at_most(host.len(), limits::NAME_BYTES, "bytes of a name")
            .map_err(|(_, detail)| Unknown::new(Reason::Unparsable, detail))?;
        let mut addresses = match tokio::net::lookup_host((host, 0)).await {
            Ok(addresses) => addresses.map(|address| address.ip()),
            Err(error) => return Err(Unknown::not_found(format!("{host} resolves to nothing: {error}"))),
        };
        let first = addresses
            .next()
            .ok_or_else(|| Unknown::not_found(format!("{host} resolves to nothing")))?;
        self.agent.allow.target(first)?;
        Ok(first)
    }
}

fn reasonable_names(names: &[String]) -> Result<(), Failure> {
    at_most(names.len(), limits::NAMES, "names")?;
    let longest = names.iter().map(String::len).max().unwrap_or_default();
    at_most(longest, limits::NAME_BYTES, "bytes of a name")
}

fn at_most<N: Copy + PartialOrd + std::fmt::Display>(count: N, most: N, what: &str) -> Result<(), Failure> {
    if count <= most {
        Ok(())
    } else {
        Err((FailureKind::TooMuch, format!("{count} {what}, and {most} are the most")))
    }
}
