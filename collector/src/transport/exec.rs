//! Agents in pods, by the cluster's own exec: a WebSocket through the API server that is reached already.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prejoin_agent::exec::{self, Order, Remote};
use tokio::sync::OnceCell;

use super::stderr::Tail;
use super::{Carrier, Connection, Unreached};
use crate::{fleet, text};

/// So much of what a server says is shown: its message, and where it comes from.
const SHOWN_CHARS: usize = 700;

/// A process in a pod.
#[derive(Debug, Clone)]
pub struct Exec {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container; without it, the pod's only one.
    pub container: Option<String>,
    /// The command and its arguments, not passed through a shell.
    pub command: Vec<String>,
}

/// A cluster's API for sessions: one client for all of them, made when the first needs it.
pub struct Cluster {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    client: OnceCell<Result<kube::Client, Unreached>>,
}

impl Cluster {
    /// The cluster of this context, or of the current one; `kubeconfig` as `kubectl` finds it if it is not named.
    pub fn new(kubeconfig: Option<PathBuf>, context: Option<String>) -> Self {
        Self {
            kubeconfig,
            context,
            client: OnceCell::new(),
        }
    }

    /// A client whose connections may be silent for as long as a session is.
    pub async fn client(&self, timeout: Duration) -> Result<kube::Client, Unreached> {
        let make = || async {
            fleet::session_client(self.kubeconfig.as_deref(), self.context.as_deref(), timeout)
                .await
                .map_err(|why| Unreached(text::short(&why.detail, SHOWN_CHARS)))
        };
        self.client.get_or_init(make).await.clone()
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("kubeconfig", &self.kubeconfig)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl Exec {
    pub(super) async fn connect(&self, timeout: Duration) -> Result<Connection, Unreached> {
        let client = self.cluster.client(timeout).await?;
        let order = Order {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            container: self.container.clone(),
            command: self.command.clone(),
        };
        let running = exec::start(client, &order, timeout).await;
        let running = running.map_err(|why| Unreached(text::short(&why.to_string(), SHOWN_CHARS)))?;
        Ok(Connection {
            reader: Box::new(running.stdout),
            writer: running.stdin,
            stderr: Tail::of(running.stderr),
            carrier: Carrier::Exec(Box::new(running.remote)),
        })
    }
}

/// Waits for a process's end and says how it was.
pub(super) async fn ended(remote: &mut Remote) -> Option<String> {
    Some(text::short(&remote.ended().await.to_string(), SHOWN_CHARS))
}

#[cfg(test)]
mod tests;
