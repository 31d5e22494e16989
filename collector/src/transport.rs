//! How a session reaches an agent: a stream of bytes to it and from it, what it says on standard error, and an end that leaves nothing
//! running.
//!
//! Whatever carries the stream, it ends with its [`Connection`]: processes are killed and waited for, WebSockets closed. An agent ends by
//! itself when its input does, so nothing is left on the other side either.

pub mod dialled;
pub mod exec;
pub mod local;
pub mod ssh;
mod stderr;

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

pub use dialled::Dialled;
pub use exec::Exec;
pub use local::Local;
pub use ssh::Ssh;
use stderr::Tail;

/// The way to one agent.
#[derive(Debug, Clone)]
pub enum Route {
    /// A process on this machine.
    Local(Local),
    /// A process on another machine, by the system's OpenSSH client.
    Ssh(Ssh),
    /// A process in a pod, by the cluster's own exec.
    Exec(Exec),
    /// A stream over a connection that the cluster's agent dialled.
    Dialled(Dialled),
    /// None: there is to be an agent, and it does not run, for this reason.
    Absent(String),
}

/// Why an agent could not be reached, in one harmless line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreached(pub String);

impl Route {
    /// Starts an agent; gives up after `timeout`. That it was started says little: its first answer does.
    pub async fn connect(&self, timeout: Duration) -> Result<Connection, Unreached> {
        match self {
            Self::Local(local) => local.connect(),
            Self::Ssh(ssh) => ssh.connect(timeout),
            Self::Exec(exec) => exec.connect(timeout).await,
            Self::Dialled(dialled) => dialled.connect(timeout).await,
            Self::Absent(why) => Err(Unreached(why.clone())),
        }
    }

    /// Whether the agent is told its node's name by something else than the plan, so that the two must agree.
    pub fn names_its_node(&self) -> bool {
        matches!(self, Self::Exec(_) | Self::Dialled(_))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(_) => f.write_str("local process"),
            Self::Ssh(ssh) => write!(f, "ssh {}", ssh.destination),
            Self::Exec(exec) => write!(f, "exec {}/{}", exec.namespace, exec.pod),
            Self::Dialled(dialled) => dialled.fmt(f),
            Self::Absent(_) => f.write_str("none"),
        }
    }
}

/// A stream to an agent and from it. What carries it ends when this is dropped.
pub struct Connection {
    /// From the agent.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// To the agent.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    carrier: Carrier,
    stderr: Tail,
}

/// What carries a stream and ends with it.
enum Carrier {
    Process(local::Process),
    Exec(Box<prejoin_agent::exec::Remote>),
    Stream,
}

impl Connection {
    /// A connection over a stream that needs nothing else.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
            carrier: Carrier::Stream,
            stderr: Tail::empty(),
        }
    }

    /// Closes the stream towards the agent and waits for what carries it to end, so long and no longer; what has not ended by then is
    /// ended when this is dropped. Says how it ended, where that is known: `exit code 127: sh: prejoin-agent: not found`.
    pub async fn end(&mut self, patience: Duration) -> Option<String> {
        self.writer = Box::new(tokio::io::sink());
        let ended = tokio::time::timeout(patience, async {
            match &mut self.carrier {
                Carrier::Process(process) => process.ended().await,
                Carrier::Exec(remote) => exec::ended(remote).await,
                Carrier::Stream => None,
            }
        });
        let how = ended.await.unwrap_or(None);
        let said = self.stderr.last_lines(patience).await;
        match (how, said) {
            (Some(how), Some(said)) => Some(format!("{how}: {said}")),
            (how, said) => how.or(said),
        }
    }
}

#[cfg(test)]
mod tests;
