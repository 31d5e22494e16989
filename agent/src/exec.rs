//! A process in a pod, by the cluster's own exec: a WebSocket through the API server, and the standard streams over it.
//!
//! Both versions of its protocol serve (`v5.channel.k8s.io`, and `v4.channel.k8s.io` of older servers). The older one cannot close
//! standard input alone, so nothing here relies on that: a session ends with a word, and then with the whole WebSocket.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, FusedFuture as _, Shared};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::cluster::client_failure;

/// Between the streams and the WebSocket; more than a few lines of the protocol.
const BUFFER_BYTES: usize = 64 << 10;
/// So much of a server's message is told.
const TOLD_CHARS: usize = 300;

/// What the pods of agents are labelled with.
pub const LABEL: &str = "app.kubernetes.io/name=prejoin-agent";
/// Leaves out pods that are there for one audit only.
pub const NOT_OF_A_RUN: &str = "!prejoin.dev/run";
/// What is started in pods that do not say where an agent is in them.
const PROGRAM: &str = "prejoin-agent";
/// What agents are called.
const PROGRAMS: [&str; 2] = [PROGRAM, "prejoin-cluster-agent"];

/// The command of a session in a pod: the agent that its container idles with.
pub fn session_command(pod: &Pod) -> Vec<String> {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let idles = container.and_then(|container| container.command.as_ref()?.first());
    let is_agent = |path: &&String| PROGRAMS.contains(&path.rsplit('/').next().unwrap_or_default());
    let program = idles.filter(is_agent).map_or(PROGRAM, String::as_str);
    vec![program.to_owned(), "session".to_owned()]
}

/// What is to run, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container; without it, the pod's only one.
    pub container: Option<String>,
    /// The command and its arguments, not passed through a shell.
    pub command: Vec<String>,
}

/// Why nothing runs, in words that may hold a server's own: not harmless yet to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("exec in pod {place}: {why}")]
pub struct NotStarted {
    place: String,
    why: String,
}

/// A process in a pod.
pub struct Running {
    /// Its standard input.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output, which comes to its end whatever ends the process or the way to it.
    pub stdout: UntilEnd,
    /// Its standard error, the same.
    pub stderr: UntilEnd,
    /// What holds the WebSocket, and knows how the process ended.
    pub remote: Remote,
}

/// Starts a process; gives up after `timeout`. `client` must let its connections be silent for as long as the process may be.
pub async fn start(client: kube::Client, order: &Order, timeout: Duration) -> Result<Running, NotStarted> {
    let failed = |why: String| NotStarted {
        place: format!("{}/{}", order.namespace, order.pod),
        why,
    };
    let pods: kube::Api<Pod> = kube::Api::namespaced(client, &order.namespace);
    let params = AttachParams {
        container: order.container.clone(),
        stdin: true,
        max_stdin_buf_size: Some(BUFFER_BYTES),
        max_stdout_buf_size: Some(BUFFER_BYTES),
        ..AttachParams::default()
    };
    let executing = pods.exec(&order.pod, order.command.iter().cloned(), &params);
    let process = match tokio::time::timeout(timeout, executing).await {
        Ok(Ok(process)) => process,
        Ok(Err(error)) => return Err(failed(refusal(&error))),
        Err(_) => return Err(failed(format!("no answer within {} s", timeout.as_secs_f32()))),
    };
    attach(process).ok_or_else(|| failed("the server gave no streams".to_owned()))
}

/// Why nothing is executed, in words.
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
            let said = format!("{}: {}", status.code, start_of(&status.message));
            let lower = said.to_lowercase();
            if status.code == 400 && NO_STREAM.iter().any(|words| lower.contains(words)) {
                no_websocket(&said)
            } else {
                said
            }
        }
        kube::Error::UpgradeConnection(error) => no_websocket(&start_of(&error.to_string())),
        other => client_failure(other).detail,
    }
}

fn attach(mut process: AttachedProcess) -> Option<Running> {
    let stdin = process.stdin()?;
    let stdout = process.stdout()?;
    let stderr = process.stderr()?;
    let ended = process.take_status()?.boxed().shared();
    let until_end = |stream| UntilEnd {
        stream,
        ended: ended.clone(),
    };
    Some(Running {
        stdin: Box::new(stdin),
        stdout: until_end(Box::new(stdout)),
        stderr: until_end(Box::new(stderr)),
        remote: Remote {
            _process: process,
            ended,
        },
    })
}

/// Resolves when the WebSocket is over: with the status if the server gave one.
type Ended = Shared<BoxFuture<'static, Option<Status>>>;

/// Holds the WebSocket to a process in a pod, which is closed when this is dropped.
pub struct Remote {
    _process: AttachedProcess,
    ended: Ended,
}

impl Remote {
    /// Waits for the process's end, and says how it was.
    pub async fn ended(&mut self) -> End {
        End(self.ended.clone().await)
    }
}

/// How a process ended: shown in words that may hold a server's own, not harmless yet.
#[derive(Debug, Clone, PartialEq)]
pub struct End(Option<Status>);

impl End {
    /// Whether it ended by itself, with exit code 0.
    pub fn is_success(&self) -> bool {
        let status = self.0.as_ref().and_then(|status| status.status.as_deref());
        status == Some("Success")
    }
}

impl std::fmt::Display for End {
    /// The exit code is among the causes of the server's status.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(status) = &self.0 else {
            return f.write_str("the connection to the API server broke off");
        };
        if self.is_success() {
            return f.write_str("exit code 0");
        }
        let causes = status
            .details
            .iter()
            .flat_map(|details| details.causes.iter().flatten());
        let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
        let code = codes.find_map(|cause| cause.message.as_deref()?.parse::<i32>().ok());
        match (code, status.message.as_deref()) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(message)) if !message.is_empty() => f.write_str(&start_of(message)),
            (None, _) => f.write_str("ended without a status"),
        }
    }
}

fn start_of(text: &str) -> String {
    text.chars().take(TOLD_CHARS).collect()
}

/// One of a process's streams. The client leaves its readers waiting when a connection breaks off: this one comes to its end.
pub struct UntilEnd {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    ended: Ended,
}

impl AsyncRead for UntilEnd {
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
mod tests {
    use serde_json::json;

    use super::*;

    fn started_in(command: Option<&[&str]>) -> String {
        let pod = json!({ "spec": { "containers": [{ "name": "agent", "command": command }] } });
        session_command(&serde_json::from_value(pod).unwrap()).join(" ")
    }

    #[test]
    fn a_session_is_the_agent_that_the_container_idles_with() {
        assert_eq!(started_in(Some(&["/prejoin-agent", "wait"])), "/prejoin-agent session");
        for idles in [
            &["/prejoin-cluster-agent", "wait", "--deadline", "9"][..],
            &["/prejoin-cluster-agent", "dial"],
        ] {
            assert_eq!(started_in(Some(idles)), "/prejoin-cluster-agent session");
        }
    }

    #[test]
    fn a_container_that_idles_with_something_else_has_the_agent_on_its_path() {
        assert_eq!(started_in(None), "prejoin-agent session");
        assert_eq!(
            started_in(Some(&["/bin/sh", "-c", "prejoin-agent wait"])),
            "prejoin-agent session"
        );
    }
}
