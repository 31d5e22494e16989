//! [`Hub`]: who is connected, and streams to them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use prejoin_agent::dial::streams::{self, Begun, Connection, Stream, Wanted};
use prejoin_agent::dial::wire::Wire;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::serve::store::{Store, StoreError};
use crate::text;
use crate::transport::Unreached;

/// Streams of one connection that wait to be opened.
const WAITING: usize = 64;
/// What a connection gets to end in order.
const FAREWELL: Duration = Duration::from_secs(2);
/// Refusals that are kept to be shown.
const REFUSALS: usize = 200;
/// Whether those who are connected still may be is looked up so often: commands and other replicas revoke in the store alone.
const LOOK: Duration = Duration::from_secs(1);
/// So long after its start a collector waits for clusters that it had: their agents dial again within a minute.
const RETURNING: Duration = Duration::from_secs(90);
/// So much of what an agent says is shown.
const SHOWN_CHARS: usize = 300;

/// Who is connected.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

impl Default for Hub {
    fn default() -> Self {
        Self(Arc::new(Inner {
            started: Instant::now(),
            live: Mutex::default(),
            refusals: Mutex::default(),
            last_id: AtomicU64::default(),
            changed: watch::Sender::default(),
        }))
    }
}

struct Inner {
    started: Instant,
    live: Mutex<BTreeMap<String, Live>>,
    refusals: Mutex<VecDeque<Refusal>>,
    last_id: AtomicU64,
    changed: watch::Sender<()>,
}

/// A cluster whose agent is connected to this collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedCluster {
    /// The name it was enrolled under.
    pub name: String,
    /// Since when.
    pub since: Timestamp,
    /// The agent's version, by its own word; harmless to show.
    pub agent_version: String,
    /// Where the connection comes from: the agent, or the last proxy before this collector.
    pub from: SocketAddr,
}

/// Something that was refused to an agent, or to who would be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// The cluster it is about, where that is known.
    pub cluster: Option<String>,
    /// Where it came from.
    pub from: Option<SocketAddr>,
    /// Why.
    pub why: String,
}

/// Opens a stream.
type Order = oneshot::Sender<Result<yamux::Stream, yamux::ConnectionError>>;
/// The two directions of a stream that has begun.
pub(crate) type Begin = (BufReader<ReadHalf<Stream>>, WriteHalf<Stream>);

struct Live {
    id: u64,
    shown: ConnectedCluster,
    /// What it got in with.
    credential_sha256: String,
    orders: mpsc::Sender<Order>,
    /// Dropped to end it.
    _keeps: oneshot::Sender<()>,
}

impl Hub {
    /// Who is connected, by name.
    pub fn connected(&self) -> Vec<ConnectedCluster> {
        self.live().values().map(|live| live.shown.clone()).collect()
    }

    /// Changes whenever somebody comes or goes, or is refused.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// What was refused lately, the last first.
    pub fn refusals(&self) -> Vec<Refusal> {
        let refusals = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.iter().rev().cloned().collect()
    }

    /// Waits until a cluster is connected, in the first minute and a half of this collector; later, who is not connected is away.
    pub async fn arrival(&self, cluster: &str) {
        let mut changes = self.changes();
        let arriving = async { while !self.live().contains_key(cluster) && changes.changed().await.is_ok() {} };
        // That the time is over says it is away.
        let _ = tokio::time::timeout_at(self.0.started + RETURNING, arriving).await;
    }

    /// Notes, and logs, that something was refused.
    pub fn refuse(&self, cluster: Option<&str>, from: Option<SocketAddr>, why: impl Into<String>) {
        let refusal = Refusal {
            at: Timestamp::now(),
            cluster: cluster.map(str::to_owned),
            from,
            why: text::short(&why.into(), SHOWN_CHARS),
        };
        let who = match (&refusal.cluster, from) {
            (Some(cluster), Some(from)) => format!("cluster {cluster} at {from}"),
            (Some(cluster), None) => format!("cluster {cluster}"),
            (None, Some(from)) => from.to_string(),
            (None, None) => "somebody".to_owned(),
        };
        crate::output::say(&format!("prejoin: {who} was refused: {}", refusal.why));
        let mut refusals = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() == REFUSALS {
            refusals.pop_front();
        }
        refusals.push_back(refusal);
        drop(refusals);
        self.0.changed.send_replace(());
    }

    /// Takes a connection over as that of a cluster; an older one of the same cluster ends.
    pub fn attach<S>(&self, shown: ConnectedCluster, credential_sha256: String, wire: Wire<S>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let id = self.0.last_id.fetch_add(1, Ordering::Relaxed);
        let (orders, to_open) = mpsc::channel(WAITING);
        let (keeps, kept) = oneshot::channel();
        let name = shown.name.clone();
        let live = Live {
            id,
            shown,
            credential_sha256,
            orders,
            _keeps: keeps,
        };
        let older = self.live().insert(name.clone(), live);
        drop(older);
        self.0.changed.send_replace(());
        let hub = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let opened_by_agent = drive(streams::answering(wire), to_open, kept).await;
            if let Some(inner) = Weak::upgrade(&hub) {
                let hub = Self(inner);
                hub.detach(&name, id);
                if opened_by_agent {
                    hub.refuse(Some(&name), None, "its agent opened a stream, which agents do not");
                }
            }
        });
    }

    /// Ends the connection of a cluster. Whether there was one.
    pub fn close(&self, cluster: &str) -> bool {
        let closed = self.live().remove(cluster).is_some();
        if closed {
            self.0.changed.send_replace(());
        }
        closed
    }

    /// Ends all connections.
    pub fn close_all(&self) {
        self.live().clear();
        self.0.changed.send_replace(());
    }

    /// Opens a stream to an agent of a cluster, and asks for it.
    pub(crate) async fn begin(
        &self,
        cluster: &str,
        wanted: &Wanted,
        patience: Duration,
    ) -> Result<(Begun, Begin), Unreached> {
        let not_connected = || Unreached(format!("cluster {cluster} is not connected"));
        let orders = self
            .live()
            .get(cluster)
            .map(|live| live.orders.clone())
            .ok_or_else(not_connected)?;
        let (order, opened) = oneshot::channel();
        let beginning = async {
            orders.send(order).await.map_err(|_| not_connected())?;
            let stream = opened
                .await
                .map_err(|_| not_connected())?
                .map_err(|_| not_connected())?;
            let (input, mut output) = tokio::io::split(streams::stream(stream));
            match streams::ask(wanted, input, &mut output, patience).await {
                Ok((begun, rest)) => Ok((begun, (rest, output))),
                Err(error) => Err(Unreached(text::short(&error.to_string(), SHOWN_CHARS))),
            }
        };
        match tokio::time::timeout(patience, beginning).await {
            Ok(begun) => begun,
            Err(_) => Err(Unreached(format!(
                "no answer of cluster {cluster} within {} s",
                patience.as_secs_f32()
            ))),
        }
    }

    /// Ends connections of clusters that were revoked, or whose credential is another by now, until this is dropped.
    pub async fn watch(&self, store: &Store) {
        loop {
            tokio::time::sleep(LOOK).await;
            if self.live().is_empty() {
                continue;
            }
            // A store that does not answer revokes nobody; it is asked again.
            let _ = self.look(store).await;
        }
    }

    /// Ends connections of clusters that were revoked, or whose credential is another by now.
    pub async fn look(&self, store: &Store) -> Result<(), StoreError> {
        let serving = store.credentials().await?;
        let mut gone = Vec::new();
        self.live().retain(|name, live| {
            let credential = &live.credential_sha256;
            let serves = match serving.get(name) {
                // One that is to be replaced serves until the next is used, by another connection.
                Some((present, _)) => present == credential,
                None => false,
            };
            if !serves {
                gone.push(name.clone());
            }
            serves
        });
        for name in &gone {
            self.refuse(
                Some(name),
                None,
                "its credential serves no more, so its connection was closed",
            );
        }
        Ok(())
    }

    fn detach(&self, cluster: &str, id: u64) {
        let mut live = self.live();
        if live.get(cluster).is_some_and(|live| live.id == id) {
            live.remove(cluster);
        }
        drop(live);
        self.0.changed.send_replace(());
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<String, Live>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.live().keys()).finish()
    }
}

/// Opens streams until the connection ends, by itself or because `kept` is. Whether the agent opened one, which ends it too.
async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<S>,
    mut to_open: mpsc::Receiver<Order>,
    mut kept: oneshot::Receiver<()>,
) -> bool {
    let mut waiting: VecDeque<Order> = VecDeque::new();
    let going_on = poll_fn(|cx| {
        while waiting.len() < WAITING
            && let Poll::Ready(Some(order)) = to_open.poll_recv(cx)
        {
            waiting.push_back(order);
        }
        while !waiting.is_empty() {
            match connection.poll_new_outbound(cx) {
                Poll::Ready(opened) => {
                    let failed = opened.is_err();
                    if let Some(order) = waiting.pop_front() {
                        // Who does not wait any more needs no stream.
                        let _ = order.send(opened);
                    }
                    if failed {
                        return Poll::Ready(false);
                    }
                }
                Poll::Pending => break,
            }
        }
        connection
            .poll_next_inbound(cx)
            .map(|inbound| matches!(inbound, Some(Ok(_))))
    });
    let opened_by_agent = tokio::select! {
        opened = going_on => opened,
        _ = &mut kept => false,
    };
    let ending = poll_fn(|cx| connection.poll_close(cx));
    // It ends when it is dropped, at the latest.
    let _ = tokio::time::timeout(FAREWELL, ending).await;
    opened_by_agent
}
