//! Many streams over one connection, and how each of them begins.
//!
//! The collector opens streams, the agent never does. The first line of each says who is wanted, and is answered by one line; what follows
//! is the session protocol, or nothing.

use std::net::IpAddr;
use std::time::Duration;

use prejoin_checks::facts::kernel::NetworkView;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::time::timeout;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};
use yamux::Mode;

use super::wire::Wire;
use crate::protocol::line::{self, LineError, LineReader};

/// Streams of one connection at the same time: one for each node of a large cluster, and some more.
pub const STREAMS: usize = 1_100;
/// What is on its way on one stream before it is read: the protocol's own first window, which never grows here.
const WINDOW_BYTES: usize = yamux::DEFAULT_CREDIT as usize;
/// The first line and its answer hold no more bytes.
const FIRST_LINE_BYTES: usize = 4 << 10;
/// The same for the answer that lists agents.
const LIST_LINE_BYTES: usize = 4 << 20;
/// The first line must have come after this time.
pub const FIRST_LINE_WITHIN: Duration = Duration::from_secs(10);

/// The connection over a WebSocket.
pub type Connection<S> = yamux::Connection<Wire<S>>;
/// One stream of it.
pub type Stream = Compat<yamux::Stream>;

/// The end that dials, and waits for streams.
pub fn dialling<S: AsyncRead + AsyncWrite + Unpin>(wire: Wire<S>) -> Connection<S> {
    yamux::Connection::new(wire, config(STREAMS), Mode::Server)
}

/// The end that is dialled, and opens streams.
pub fn answering<S: AsyncRead + AsyncWrite + Unpin>(wire: Wire<S>) -> Connection<S> {
    yamux::Connection::new(wire, config(STREAMS), Mode::Client)
}

/// A stream as the rest of the program reads and writes it.
pub fn stream(stream: yamux::Stream) -> Stream {
    stream.compat()
}

fn config(streams: usize) -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(streams);
    config.set_max_connection_receive_window(Some(streams * WINDOW_BYTES));
    config
}

/// The first line of a stream: who is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// The agent of the node with this name.
    Node(String),
    /// The cluster agent itself; always `true`.
    Cluster(bool),
    /// Nobody: which agents there are; always `true`.
    Agents(bool),
}

/// The answer to the first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Begun {
    /// The session may begin; always `true`.
    Ok(bool),
    /// There is no session, for this reason.
    Refused(String),
    /// The agents that run in this cluster.
    Agents(Vec<Present>),
}

/// An agent that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Present {
    /// The node it is on.
    pub node: String,
    /// Whether it is in the node's own network or in that of pods.
    pub network: NetworkView,
    /// Its pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it is the cluster agent, at the other end of this connection.
    pub is_cluster_agent: bool,
}

/// Why a stream did not begin.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// What came is no first line.
    #[error("{0}")]
    Line(#[from] LineError),
    /// The stream ended, or nothing came in time.
    #[error("the stream ended, or nothing came on it in time")]
    Nothing,
    /// The other end refuses, for this reason.
    #[error("{0}")]
    Refused(String),
}

/// The agent's end: who is wanted, and the rest of the stream.
pub async fn who_is_wanted<R: AsyncRead + Unpin>(input: R) -> Result<(Wanted, BufReader<R>), NotBegun> {
    let mut lines = LineReader::new(input, FIRST_LINE_BYTES);
    let wanted = timeout(FIRST_LINE_WITHIN, lines.next()).await;
    match wanted.map_err(|_| NotBegun::Nothing)?? {
        Some(wanted) => Ok((wanted, lines.into_rest())),
        None => Err(NotBegun::Nothing),
    }
}

/// The collector's end: asks for somebody, and gives the answer and the rest of the stream.
pub async fn ask<R, W>(
    wanted: &Wanted,
    input: R,
    output: &mut W,
    patience: Duration,
) -> Result<(Begun, BufReader<R>), NotBegun>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let limit = match wanted {
        Wanted::Agents(_) => LIST_LINE_BYTES,
        Wanted::Node(_) | Wanted::Cluster(_) => FIRST_LINE_BYTES,
    };
    let asking = async {
        line::write(wanted, output).await.map_err(LineError::Stream)?;
        let mut lines = LineReader::new(input, limit);
        match lines.next().await? {
            Some(Begun::Refused(why)) => Err(NotBegun::Refused(why)),
            Some(begun) => Ok((begun, lines.into_rest())),
            None => Err(NotBegun::Nothing),
        }
    };
    timeout(patience, asking).await.map_err(|_| NotBegun::Nothing)?
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn first_lines_and_answers_are_short_objects() {
        let text = |value: &dyn erased::Json| value.json();
        assert_eq!(text(&Wanted::Node("n1".to_owned())), r#"{"node":"n1"}"#);
        assert_eq!(text(&Wanted::Cluster(true)), r#"{"cluster":true}"#);
        assert_eq!(text(&Wanted::Agents(true)), r#"{"agents":true}"#);
        assert_eq!(text(&Begun::Ok(true)), r#"{"ok":true}"#);
        assert_eq!(text(&Begun::Refused("no".to_owned())), r#"{"refused":"no"}"#);
    }

    mod erased {
        pub(super) trait Json {
            fn json(&self) -> String;
        }

        impl<T: serde::Serialize> Json for T {
            fn json(&self) -> String {
                serde_json::to_string(self).unwrap()
            }
        }
    }

    #[tokio::test]
    async fn what_follows_the_first_line_is_left_for_the_session() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (read, mut write) = tokio::io::split(ours);
        let asking = tokio::spawn(async move {
            let begun = ask(&Wanted::Cluster(true), read, &mut write, PATIENCE).await;
            let (begun, mut rest) = begun.unwrap();
            assert_eq!(begun, Begun::Ok(true));
            let mut said = String::new();
            rest.read_to_string(&mut said).await.unwrap();
            said
        });
        let (input, mut output) = tokio::io::split(theirs);
        let (wanted, _rest) = who_is_wanted(input).await.unwrap();
        assert_eq!(wanted, Wanted::Cluster(true));
        output.write_all(b"{\"ok\":true}\nthe session\n").await.unwrap();
        output.shutdown().await.unwrap();
        assert_eq!(asking.await.unwrap(), "the session\n");
    }

    #[tokio::test]
    async fn what_is_no_first_line_is_refused() {
        for (said, error) in [
            ("{\"pod\":\"x\"}\n", "unknown variant"),
            ("hello\n", "not of this protocol"),
            ("{\"node\":\"n1\"}", "ended inside a line"),
            ("", "nothing came"),
            (
                &format!("{{\"node\":\"{}\"}}\n", "n".repeat(FIRST_LINE_BYTES)),
                "longer than",
            ),
        ] {
            let refused = who_is_wanted(said.as_bytes()).await.err().unwrap().to_string();
            assert!(refused.contains(error), "{said}: {refused}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_on_which_nothing_comes_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(64);
        assert!(matches!(who_is_wanted(ours).await, Err(NotBegun::Nothing)));
    }
}
