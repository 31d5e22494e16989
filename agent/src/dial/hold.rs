//! A connection that is up: streams come in, each is answered until it ends, and all end with the connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::io;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::collector::Way;
use super::reach::Reach;
use super::say;
use super::streams::{self, Begun, Stream, Wanted};
use super::wire::Wire;
use crate::exec::Running;
use crate::protocol::{Answer, FailureKind, Reply, line};
use crate::session::{self, Agent};

/// The connection as it was dialled.
pub(super) type DialledWire = Wire<Box<dyn Way>>;

/// Sessions with one agent at the same time: those of audits that overlap. The agent's own rate holds for each of them, so a collector
/// that opens more would multiply it.
const SESSIONS_OF_AN_AGENT: usize = 4;
/// Of what a process in a pod says on standard error, the end is told.
const STDERR_BYTES: usize = 1024;

/// Answers streams until the connection ends; an error says how it broke.
pub(super) async fn hold<S: AsyncRead + AsyncWrite + Unpin>(
    agent: &Agent,
    reach: Result<&Reach, &String>,
    wire: Wire<S>,
) -> Result<(), yamux::ConnectionError> {
    let mut connection = streams::dialling(wire);
    let counts = Counts::default();
    let mut answering = FuturesUnordered::new();
    loop {
        tokio::select! {
            inbound = poll_fn(|cx| connection.poll_next_inbound(cx)) => match inbound {
                Some(Ok(stream)) => {
                    let (input, output) = tokio::io::split(streams::stream(stream));
                    answering.push(Box::pin(answer(agent, reach, &counts, input, output)));
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            Some(()) = answering.next() => {}
        }
    }
}

type Input = tokio::io::ReadHalf<Stream>;
type Output = tokio::io::WriteHalf<Stream>;

/// Answers one stream to its end. What goes wrong on it is the end of it and of nothing else.
async fn answer(agent: &Agent, reach: Result<&Reach, &String>, counts: &Counts, input: Input, mut output: Output) {
    let Ok((wanted, rest)) = streams::who_is_wanted(input).await else {
        return;
    };
    let begun = match begin(reach, counts, &wanted).await {
        Ok(begun) => begun,
        Err(why) => {
            // A collector that does not wait for the answer needs none.
            let _ = line::write(&Begun::Refused(why), &mut output).await;
            let _ = output.shutdown().await;
            return;
        }
    };
    let said = match begun {
        Begin::Agents(agents) => {
            let _ = line::write(&Begun::Agents(agents), &mut output).await;
            output.shutdown().await
        }
        Begin::Here(_place) => match line::write(&Begun::Ok(true), &mut output).await {
            Ok(()) => {
                if let Err(error) = session::run(agent, rest, output, pending()).await {
                    say(&format!("a session ended: {error}"));
                }
                Ok(())
            }
            Err(error) => Err(error),
        },
        Begin::There(running, _place) => match line::write(&Begun::Ok(true), &mut output).await {
            Ok(()) => relay(*running, rest, output).await,
            Err(error) => Err(error),
        },
    };
    // Streams break when collectors go away: no news.
    drop(said);
}

/// What a stream is to be.
enum Begin<'a> {
    Agents(Vec<streams::Present>),
    Here(Place<'a>),
    There(Box<Running>, Place<'a>),
}

async fn begin<'a>(reach: Result<&Reach, &String>, counts: &'a Counts, wanted: &Wanted) -> Result<Begin<'a>, String> {
    let reach = || reach.map_err(|why| format!("the agents of nodes cannot be reached: {why}"));
    match wanted {
        Wanted::Cluster(true) => Ok(Begin::Here(counts.take(wanted)?)),
        Wanted::Node(name) => {
            let place = counts.take(wanted)?;
            Ok(Begin::There(Box::new(reach()?.node(name).await?), place))
        }
        Wanted::Agents(true) => Ok(Begin::Agents(reach()?.agents().await?)),
        Wanted::Cluster(false) | Wanted::Agents(false) => Err("nobody is wanted".to_owned()),
    }
}

/// Passes bytes between a stream and a process in a pod until either ends. If the process ended badly, a last line says how.
async fn relay(mut running: Running, mut input: impl AsyncRead + Unpin, mut output: Output) -> io::Result<()> {
    let mut said = Vec::new();
    let passing = async {
        let (stdin, stdout, stderr) = (&mut running.stdin, &mut running.stdout, &mut running.stderr);
        tokio::select! {
            // The collector is gone, or has nothing more to ask: the process ends with the connection to it.
            _ = tokio::io::copy(&mut input, stdin) => None,
            (passed, ()) = async { tokio::join!(tokio::io::copy(stdout, &mut output), end_of(stderr, &mut said)) } => Some(passed),
        }
    };
    if let Some(passed) = passing.await {
        passed?;
        let end = running.remote.ended().await;
        if !end.is_success() {
            let said = String::from_utf8_lossy(&said);
            let said = said.lines().map(str::trim).rfind(|line| !line.is_empty());
            let detail = match said {
                Some(said) => format!("{end}: {said}"),
                None => end.to_string(),
            };
            let answer = Answer::Failed {
                kind: FailureKind::Stopped,
                detail,
            };
            line::write(&Reply { id: 0, answer }, &mut output).await?;
        }
    }
    output.shutdown().await
}

/// Reads a stream to its end and keeps the last of it.
async fn end_of(stream: &mut (impl AsyncRead + Unpin), kept: &mut Vec<u8>) {
    let mut piece = [0; STDERR_BYTES];
    // An error of reading is the end as well.
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        kept.extend_from_slice(&piece[..read]);
        let excess = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..excess);
    }
}

/// How many sessions each agent has.
#[derive(Default)]
struct Counts(RefCell<HashMap<Wanted, usize>>);

/// One session's place among those of its agent.
struct Place<'a> {
    counts: &'a Counts,
    of: Wanted,
}

impl Counts {
    fn take(&self, of: &Wanted) -> Result<Place<'_>, String> {
        let mut counts = self.0.borrow_mut();
        let count = counts.entry(of.clone()).or_default();
        if *count >= SESSIONS_OF_AN_AGENT {
            return Err(format!("this agent has {SESSIONS_OF_AN_AGENT} sessions already"));
        }
        *count += 1;
        Ok(Place {
            counts: self,
            of: of.clone(),
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.counts.0.borrow_mut();
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_few_sessions_at_a_time_and_places_come_back() {
        let counts = Counts::default();
        let node = Wanted::Node("n1".to_owned());
        let places: Vec<Place<'_>> = (0..SESSIONS_OF_AN_AGENT).map(|_| counts.take(&node).unwrap()).collect();
        assert!(counts.take(&node).is_err());
        assert!(counts.take(&Wanted::Node("n2".to_owned())).is_ok());
        drop(places);
        assert!(counts.take(&node).is_ok());
        assert!(counts.0.borrow().is_empty());
    }
}
