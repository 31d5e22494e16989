//! `exec` in pods: a WebSocket whose channels are the standard streams of a process on this machine.
//!
//! The command that a client names is run as it is, whichever pod it names: what a test wants to find in a pod, it names by its path,
//! or installs there ([`super::ApiServer::install`]).

use std::process::{ExitStatus, Stdio};

use axum::body::Body;
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::connection::Breaker;
use super::{Request, Shared, status};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
/// Of version 5: the channel named by the next byte is at its end.
const CLOSE: u8 = 255;

/// How a server executes commands in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executing {
    /// The newest version of the protocol that it speaks.
    pub version: ExecVersion,
    /// What becomes of what it is asked for.
    pub fate: ExecFate,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecVersion {
    /// `v4.channel.k8s.io`: standard input cannot be closed alone.
    V4,
    /// `v5.channel.k8s.io`.
    V5,
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecFate {
    /// It runs.
    Runs,
    /// 403: the user may not `create` `pods/exec`.
    Forbidden,
    /// 400: the server, or what is before it, knows nothing of WebSockets.
    NoWebSocket,
    /// The connection breaks off when the command has written something for the first time, after that has been passed on.
    BreaksOff,
}

impl ExecVersion {
    fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4.channel.k8s.io",
            Self::V5 => "v5.channel.k8s.io",
        }
    }
}

/// `NAMESPACE` and `POD` of `/api/v1/namespaces/NAMESPACE/pods/POD/exec`.
pub(super) fn pod_of(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/api/v1/namespaces/")?.strip_suffix("/exec")?;
    rest.split_once("/pods/")
}

/// The answer to a request for an exec.
pub(super) fn answer(
    executing: Executing,
    pod: (&str, &str),
    request: &Request,
    parts: &Parts,
    shared: &Shared,
    breaker: Breaker,
) -> Response {
    if executing.fate == ExecFate::Forbidden {
        return status::forbidden_subresource("create", "pods", "exec", pod);
    }
    if executing.fate == ExecFate::NoWebSocket {
        return status::bad_request("unable to upgrade: missing upgrade headers in request");
    }
    let headers = &parts.headers;
    let offered = header(headers, &SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let version = executing.version;
    if !offered.split(',').any(|name| name.trim() == version.name()) {
        return status::bad_request("unable to upgrade: no common subprotocol");
    }
    let Some((key, upgrade)) = header(headers, &SEC_WEBSOCKET_KEY).zip(parts.extensions.get::<OnUpgrade>().cloned())
    else {
        return status::bad_request("you must specify at least 1 of stdin, stdout, stderr over a WebSocket");
    };
    let accept = derive_accept_key(key.as_bytes());
    let command = request.query.iter().filter(|(name, _)| name == "command");
    let mut command: Vec<String> = command.map(|(_, word)| word.clone()).collect();
    if let Some(program) = command.first() {
        let place = (pod.1.to_owned(), program.clone());
        if let Some(words) = shared.state().programs.get(&place) {
            command.splice(..1, words.iter().cloned());
        }
    }
    tokio::spawn(async move {
        // A client that went away before the switch wants nothing any more.
        if let Ok(stream) = upgrade.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None).await;
            execute(socket, &command, version, executing.fate, breaker).await;
        }
    });
    let switching = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, accept)
        .header(SEC_WEBSOCKET_PROTOCOL, version.name());
    switching.body(Body::empty()).expect("these headers are valid")
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn execute(mut socket: Socket, command: &[String], version: ExecVersion, fate: ExecFate, breaker: Breaker) {
    // Real servers begin with an empty message on every channel.
    for channel in [STDOUT, STDERR, STATUS] {
        if send(&mut socket, channel, &[]).await.is_none() {
            return;
        }
    }
    let ended = match start(command) {
        Ok(process) => match converse(&mut socket, process, version, fate).await {
            Some(status) if fate == ExecFate::Runs => end_of(status),
            _ => {
                if fate == ExecFate::BreaksOff {
                    breaker.reset();
                }
                return;
            }
        },
        Err(_) => json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("OCI runtime exec failed: exec: {:?}: executable file not found in $PATH", command.first()),
        }),
    };
    if send(&mut socket, STATUS, ended.to_string().as_bytes()).await.is_some() {
        // The client may have closed already.
        let _ = socket.close(None).await;
    }
}

fn start(command: &[String]) -> std::io::Result<Child> {
    let (program, args) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Passes everything on until the process is over; `None` if the client, or fate, ended it before.
async fn converse(socket: &mut Socket, mut process: Child, version: ExecVersion, fate: ExecFate) -> Option<ExitStatus> {
    let (input, to_process) = mpsc::unbounded_channel();
    tokio::spawn(feed(process.stdin.take()?, to_process));
    // Dropped to close standard input.
    let mut input = Some(input);
    let (output, mut from_process) = mpsc::channel(16);
    tokio::spawn(drain(process.stdout.take()?, STDOUT, output.clone()));
    tokio::spawn(drain(process.stderr.take()?, STDERR, output));
    loop {
        tokio::select! {
            said = from_process.recv() => match said {
                Some((channel, bytes)) => {
                    send(socket, channel, &bytes).await?;
                    if fate == ExecFate::BreaksOff {
                        return None;
                    }
                }
                None => return process.wait().await.ok(),
            },
            message = socket.next() => match message?.ok()? {
                Message::Binary(bytes) => match (bytes.split_first(), version) {
                    (Some((&STDIN, data)), _) => {
                        if let Some(input) = &input {
                            // A process that no longer reads is over soon.
                            let _ = input.send(data.to_vec());
                        }
                    }
                    (Some((&CLOSE, [STDIN])), ExecVersion::V5) => input = None,
                    _ => {}
                },
                Message::Close(_) => return None,
                _ => {}
            },
        }
    }
}

async fn feed(mut stdin: ChildStdin, mut input: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = input.recv().await {
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn drain(mut stream: impl AsyncRead + Unpin, channel: u8, output: mpsc::Sender<(u8, Vec<u8>)>) {
    let mut piece = vec![0; 32 << 10];
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        if output.send((channel, piece[..read].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn send(socket: &mut Socket, channel: u8, data: &[u8]) -> Option<()> {
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel);
    message.extend_from_slice(data);
    socket.send(Message::binary(message)).await.ok()
}

fn end_of(status: ExitStatus) -> Value {
    if status.success() {
        return json!({ "metadata": {}, "status": "Success" });
    }
    // As container runtimes count a signal.
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(1);
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}
