//! One conversation: owns, and closes, everything it opened.
//!
//! Everything that a request starts is a future inside [`run`]: whatever ends the conversation (`close`, the stream's end, the deadline, a
//! signal, a line that is no request) drops them all, and their sockets with them. No task and no socket outlives it.

mod abilities;
pub mod allow;
mod work;

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, LocalBoxFuture};
use futures::stream::FuturesUnordered;
use prejoin_checks::facts::ClusterFacts;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::protocol::line::{self, LineError, LineReader};
use crate::protocol::{Answer, Ask, FailureKind, Reply, Request, Role, limits};
use allow::Allow;
use work::Work;

/// Answers that wait for a slow reader before the work that makes them waits, too.
const ANSWERS_WAITING: usize = 64;
/// What a reader gets to take the last answers before the stream is dropped.
const FAREWELL: Duration = Duration::from_secs(2);
/// Answers that belong to no request carry this id.
const NO_REQUEST: u64 = 0;

/// One agent, as its owner set it up.
pub struct Agent {
    /// What it is there for.
    pub role: Role,
    /// The node's name as it knows it.
    pub node: String,
    /// What its owner allows.
    pub allow: Allow,
    /// The highest protocol version that it speaks.
    pub highest_version: u32,
    /// Reads its cluster's API, for the cluster role.
    pub cluster: Option<ReadCluster>,
}

/// Reads a cluster's API into facts under this name, with or without the few Secrets that are reduced to fingerprints.
pub type ReadCluster = Box<dyn Fn(String, bool) -> BoxFuture<'static, ClusterFacts>>;

/// How a session ended, if nothing was wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By `close`.
    Closed,
    /// The stream ended without it.
    StreamEnded,
    /// Its time was over.
    Deadline,
    /// The agent was told to stop, by this.
    Stopped(&'static str),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::StreamEnded => f.write_str("the stream ended before `close`"),
            Self::Deadline => f.write_str("the session's time is over"),
            Self::Stopped(by) => write!(f, "stopped by {by}"),
        }
    }
}

/// What was wrong with a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// What came is no request.
    #[error("no request: {0}")]
    Line(#[from] LineError),
    /// A request that ends the session.
    #[error("request {id}: {detail}")]
    Request {
        /// The request's id.
        id: u64,
        /// What kind of failure.
        kind: FailureKind,
        /// The particulars.
        detail: String,
    },
    /// The stream does not take answers any more, or there is no runtime to hold a session in.
    #[error("the stream broke: {0}")]
    Stream(#[from] io::Error),
}

/// Holds one session until it ends, for whatever reason. `stop` ends it from outside and says what did.
///
/// When this returns or is dropped, everything that the session opened is closed.
pub async fn run(
    agent: &Agent,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    stop: impl Future<Output = &'static str>,
) -> Result<Ended, SessionError> {
    let (answers, waiting) = mpsc::channel(ANSWERS_WAITING);
    let mut writing = pin!(write_all(waiting, output));
    let (id, ended) = tokio::select! {
        ended = Conversation::new(agent, answers).hold(input, stop) => ended,
        Err(error) = &mut writing => return Err(error.into()),
    };
    // Everything is closed by now. That the reader takes the rest is not worth waiting for long.
    let rest = async {
        let mut output = writing.await?;
        if let Some(answer) = last_words(&ended) {
            line::write(&Reply { id, answer }, &mut output).await?;
        }
        output.shutdown().await
    };
    match timeout(FAREWELL, rest).await {
        Ok(Err(error)) if matches!(ended, Ok(Ended::Closed)) => Err(error.into()),
        _ => ended,
    }
}

/// What is said last; to a stream that has ended, nothing.
fn last_words(ended: &Result<Ended, SessionError>) -> Option<Answer> {
    let (kind, detail) = match ended {
        Ok(Ended::Closed) => return Some(Answer::Closed {}),
        Ok(Ended::StreamEnded) | Err(SessionError::Stream(_) | SessionError::Line(LineError::Stream(_))) => {
            return None;
        }
        Ok(Ended::Deadline) => (FailureKind::Deadline, Ended::Deadline.to_string()),
        Ok(stopped @ Ended::Stopped(_)) => (FailureKind::Stopped, stopped.to_string()),
        Err(SessionError::Line(error)) => (FailureKind::Malformed, error.to_string()),
        Err(SessionError::Request { kind, detail, .. }) => (*kind, detail.clone()),
    };
    Some(Answer::Failed { kind, detail })
}

/// Room for lines that is kept from one write to the next.
const LINES_KEPT_BYTES: usize = 64 << 10;

/// Writes answers as they come, all that wait at once and flushed; gives the stream back when there will be no more.
async fn write_all<O: AsyncWrite + Unpin>(mut waiting: mpsc::Receiver<Reply>, mut output: O) -> io::Result<O> {
    let (mut replies, mut lines) = (Vec::new(), Vec::new());
    while waiting.recv_many(&mut replies, ANSWERS_WAITING).await > 0 {
        // Every write to a standard stream is handed to a thread, which costs more than most probes. The room is kept, unless facts filled it.
        lines.clear();
        lines.shrink_to(LINES_KEPT_BYTES);
        for reply in replies.drain(..) {
            line::append(&reply, &mut lines)?;
        }
        output.write_all(&lines).await?;
        output.flush().await?;
    }
    Ok(output)
}

/// A session under way.
struct Conversation<'a> {
    agent: &'a Agent,
    answers: mpsc::Sender<Reply>,
    /// What `open` began.
    work: Option<Rc<Work<'a>>>,
    running: FuturesUnordered<LocalBoxFuture<'a, ()>>,
    deadline: Instant,
}

impl<'a> Conversation<'a> {
    fn new(agent: &'a Agent, answers: mpsc::Sender<Reply>) -> Self {
        Self {
            agent,
            answers,
            work: None,
            running: FuturesUnordered::new(),
            deadline: Instant::now() + Duration::from_secs(limits::OPEN_WITHIN_SECONDS.into()),
        }
    }

    /// Reads requests and works on them until something ends the session. Never waits for anything but all of that at once, so that nothing,
    /// not even a reader that takes no answers, holds up the end. Gives the id of the request that ended it.
    async fn hold(
        mut self,
        input: impl AsyncRead + Unpin,
        stop: impl Future<Output = &'static str>,
    ) -> (u64, Result<Ended, SessionError>) {
        let mut requests = LineReader::new(input, limits::REQUEST_LINE_BYTES);
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                by = &mut stop => return (NO_REQUEST, Ok(Ended::Stopped(by))),
                () = sleep_until(self.deadline) => return (NO_REQUEST, Ok(Ended::Deadline)),
                Some(()) = self.running.next() => {}
                request = requests.next::<Request>() => match request {
                    Ok(Some(Request { id, ask: Ask::Close {} })) => return (id, Ok(Ended::Closed)),
                    Ok(Some(Request { id, ask })) => {
                        if let Err((kind, detail)) = self.take(id, ask) {
                            return (id, Err(SessionError::Request { id, kind, detail }));
                        }
                    }
                    Ok(None) => return (NO_REQUEST, Ok(Ended::StreamEnded)),
                    Err(error) => return (NO_REQUEST, Err(error.into())),
                },
            }
        }
    }

    /// Begins to work on a request, or says why the session ends with it.
    fn take(&mut self, id: u64, ask: Ask) -> Result<(), (FailureKind, String)> {
        if self.running.len() >= limits::REQUESTS_AT_ONCE {
            let detail = format!("more than {} requests at once", limits::REQUESTS_AT_ONCE);
            return Err((FailureKind::TooMuch, detail));
        }
        let answers = Answers {
            id,
            queue: self.answers.clone(),
        };
        match (ask, &self.work) {
            (Ask::Open(open), None) => {
                let work = Rc::new(Work::begin(self.agent, &open)?);
                self.deadline = Instant::now() + work.longest();
                self.work = Some(Rc::clone(&work));
                self.running.push(Box::pin(
                    async move { answers.send(Answer::Opened(work.opened())).await },
                ));
            }
            (Ask::Open(_), Some(_)) => return Err((FailureKind::OutOfOrder, "`open` came twice".to_owned())),
            (_, None) => return Err((FailureKind::OutOfOrder, "`open` must come first".to_owned())),
            (ask, Some(work)) => {
                let work = Rc::clone(work);
                self.running
                    .push(Box::pin(async move { work.answer(ask, &answers).await }));
            }
        }
        Ok(())
    }
}

/// Where the answers to one request go.
#[derive(Clone)]
struct Answers {
    id: u64,
    queue: mpsc::Sender<Reply>,
}

impl Answers {
    /// Waits while the reader is slow.
    async fn send(&self, answer: Answer) {
        // The queue is read for as long as there is anyone to send: if it is not, the session is over.
        let _ = self.queue.send(Reply { id: self.id, answer }).await;
    }
}
