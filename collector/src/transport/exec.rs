//! Agents in pods, by the cluster's own exec: a WebSocket through the API server that is reached already.
//!
//! Both versions of its protocol serve (`v5.channel.k8s.io`, and `v4.channel.k8s.io` of older servers). The older one cannot close
//! standard input alone, so nothing here relies on that: a session ends with a word, and then with the whole WebSocket.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, FusedFuture as _, Shared};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess};
use prejoin_agent::cluster::client_failure;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::OnceCell;

use super::stderr::Tail;
use super::{Carrier, Connection, Unreached};
use crate::{fleet, text};

/// Between the streams and the WebSocket; more than a few lines of the protocol.
const BUFFER_BYTES: usize = 64 << 10;
/// So much of a server's message is shown.
const SHOWN_CHARS: usize = 300;

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
        let failed = |what: &str| Unreached(format!("exec in pod {}/{}: {what}", self.namespace, self.pod));
        let client = self.cluster.client(timeout).await?;
        let pods: kube::Api<Pod> = kube::Api::namespaced(client, &self.namespace);
        let params = AttachParams {
            container: self.container.clone(),
            stdin: true,
            max_stdin_buf_size: Some(BUFFER_BYTES),
            max_stdout_buf_size: Some(BUFFER_BYTES),
            ..AttachParams::default()
        };
        let executing = pods.exec(&self.pod, self.command.iter().cloned(), &params);
        let process = match tokio::time::timeout(timeout, executing).await {
            Ok(Ok(process)) => process,
            Ok(Err(error)) => return Err(failed(&refusal(&error))),
            Err(_) => return Err(failed(&format!("no answer within {} s", timeout.as_secs_f32()))),
        };
        attach(process).ok_or_else(|| failed("the server gave no streams"))
    }
}

/// Why nothing is executed, in one line.
fn refusal(error: &kube::Error) -> String {
    /// What servers say to who asks for a WebSocket and they know of other streams only, or of none.
    const NO_STREAM: [&str; 3] = ["unable to upgrade", "upgrade request required", "websocket"];
    let no_websocket = |why: &str| {
        format!(
            "no WebSocket is to be had, which exec needs ({why}): the API server is too old for it, or something before it does not pass it on"
        )
    };
    match error {
        kube::Error::Api(status) => {
            let said = format!("{}: {}", status.code, text::short(&status.message, SHOWN_CHARS));
            let lower = said.to_lowercase();
            if status.code == 400 && NO_STREAM.iter().any(|words| lower.contains(words)) {
                no_websocket(&said)
            } else {
                said
            }
        }
        kube::Error::UpgradeConnection(error) => no_websocket(&text::short(&error.to_string(), SHOWN_CHARS)),
        other => client_failure(other).detail,
    }
}

fn attach(mut process: AttachedProcess) -> Option<Connection> {
    let stdin = process.stdin()?;
    let stdout = process.stdout()?;
    let stderr = process.stderr()?;
    let ended = process.take_status()?.boxed().shared();
    let ending = |stream| UntilEnd {
        stream,
        ended: ended.clone(),
    };
    Some(Connection {
        reader: Box::new(ending(stdout)),
        writer: Box::new(stdin),
        stderr: Tail::of(ending(stderr)),
        carrier: Carrier::Exec(Box::new(Remote {
            _process: process,
            ended,
        })),
    })
}

/// Resolves when the WebSocket is over: with the status if the server gave one.
type Ended = Shared<BoxFuture<'static, Option<Status>>>;

/// A process in a pod; the WebSocket to it is closed when this is dropped.
pub(super) struct Remote {
    _process: AttachedProcess,
    ended: Ended,
}

impl Remote {
    /// Waits for its end and says how it was.
    pub(super) async fn ended(&mut self) -> Option<String> {
        Some(match self.ended.clone().await {
            None => "the connection to the API server broke off".to_owned(),
            Some(status) => in_words(&status),
        })
    }
}

/// The end of a process as the server's status has it: the exit code is among the causes.
fn in_words(status: &Status) -> String {
    if status.status.as_deref() == Some("Success") {
        return "exit code 0".to_owned();
    }
    let causes = status
        .details
        .iter()
        .flat_map(|details| details.causes.iter().flatten());
    let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = codes.find_map(|cause| cause.message.as_deref()?.parse::<i32>().ok());
    match (code, status.message.as_deref()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(message)) if !message.is_empty() => text::short(message, SHOWN_CHARS),
        (None, _) => "ended without a status".to_owned(),
    }
}

/// One of the process's streams. The client leaves its readers waiting when a connection breaks off: this one comes to its end.
struct UntilEnd<S> {
    stream: S,
    ended: Ended,
}

impl<S: AsyncRead + Unpin> AsyncRead for UntilEnd<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            return Poll::Ready(read);
        }
        if !self.ended.is_terminated() && self.ended.poll_unpin(cx).is_pending() {
            return Poll::Pending;
        }
        // What came before the end is still to be read.
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => Poll::Ready(Ok(())),
            read @ Poll::Ready(_) => read,
        }
    }
}

#[cfg(test)]
mod tests;
