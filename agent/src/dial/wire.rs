//! A WebSocket as a stream of bytes, for either end of a connection that an agent dials.
//!
//! Bytes travel in binary messages whose borders mean nothing. Pings keep what lies between from cutting an idle connection, and a peer of
//! whom nothing is heard for too long is gone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead as TokioRead, AsyncWrite as TokioWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// A message that is sent holds no more.
const SENT_BYTES: usize = 64 << 10;
/// A message that is taken holds no more.
const TAKEN_BYTES: usize = 256 << 10;
/// Kept for every connection, idle or not.
const BUFFER_BYTES: usize = 16 << 10;

/// How a connection is kept, and how it is noticed that it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Whether this end sends pings; the other answers them. One of both suffices.
    pub pings: bool,
    /// Between two pings. Proxies commonly cut what was silent for a minute.
    pub every: Duration,
    /// After so long without a sign of life the peer is gone.
    pub gone_after: Duration,
}

impl KeepAlive {
    /// Of the end that dials.
    pub const DIALS: Self = Self {
        pings: true,
        every: Duration::from_secs(25),
        gone_after: Duration::from_secs(75),
    };
    /// Of the end that is dialled.
    pub const ANSWERS: Self = Self {
        pings: false,
        ..Self::DIALS
    };
}

/// How either end sets up its WebSocket.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(TAKEN_BYTES))
        .max_frame_size(Some(TAKEN_BYTES))
}

/// A WebSocket as a stream of bytes.
pub struct Wire<S> {
    socket: WebSocketStream<S>,
    unread: Bytes,
    keep_alive: KeepAlive,
    heard: Instant,
    ticks: Interval,
}

impl<S: TokioRead + TokioWrite + Unpin> Wire<S> {
    /// Over a WebSocket that is open. Needs a Tokio runtime with a clock.
    pub fn new(socket: WebSocketStream<S>, keep_alive: KeepAlive) -> Self {
        let now = Instant::now();
        let mut ticks = interval_at(now + keep_alive.every, keep_alive.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            socket,
            unread: Bytes::new(),
            keep_alive,
            heard: now,
            ticks,
        }
    }

    /// The dialled end, over a connection whose request was answered with a switch of protocols.
    pub async fn answering(stream: S, keep_alive: KeepAlive) -> Self {
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await;
        Self::new(socket, keep_alive)
    }

    /// Sends the ping that is due, and fails if the peer is gone.
    fn keep_alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.ticks.poll_tick(cx).is_ready() {
            if self.heard.elapsed() >= self.keep_alive.gone_after {
                let silent = self.keep_alive.gone_after.as_secs();
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("nothing was heard of the peer for {silent} s"),
                ));
            }
            // A socket that takes nothing has something on its way already.
            if self.keep_alive.pings && Pin::new(&mut self.socket).poll_ready(cx).map_err(into_io)?.is_ready() {
                Pin::new(&mut self.socket)
                    .start_send(Message::Ping(Bytes::new()))
                    .map_err(into_io)?;
                let _ = Pin::new(&mut self.socket).poll_flush(cx).map_err(into_io)?;
            }
        }
        Ok(())
    }
}

impl<S: TokioRead + TokioWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.keep_alive(cx)?;
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(0)),
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a text message, where bytes are spoken",
                    )));
                }
            }
            self.heard = Instant::now();
        }
        let some = self.unread.len().min(buffer.len());
        buffer[..some].copy_from_slice(&self.unread.split_to(some));
        Poll::Ready(Ok(some))
    }
}

impl<S: TokioRead + TokioWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(into_io)?;
        let some = bytes.len().min(SENT_BYTES);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..some]));
        Pin::new(&mut self.socket).start_send(message).map_err(into_io)?;
        Poll::Ready(Ok(some))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(into_io)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(into_io)
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::ConnectionAborted.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt as _, AsyncWriteExt as _, SinkExt as _, StreamExt as _};
    use tokio::io::DuplexStream;

    use super::*;

    async fn pair(dials: KeepAlive, answers: KeepAlive) -> (Wire<DuplexStream>, Wire<DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(4096);
        let dialled = WebSocketStream::from_raw_socket(ours, Role::Client, Some(config())).await;
        (Wire::new(dialled, dials), Wire::answering(theirs, answers).await)
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_whatever_the_size_of_messages() {
        let (mut here, mut there) = pair(KeepAlive::DIALS, KeepAlive::ANSWERS).await;
        let sent: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        let mut received = vec![0; sent.len()];
        let (written, read) = tokio::join!(
            async {
                here.write_all(&sent).await?;
                here.flush().await
            },
            there.read_exact(&mut received)
        );
        written.unwrap();
        read.unwrap();
        assert!(received == sent);
        there.write_all(b"back").await.unwrap();
        there.flush().await.unwrap();
        let mut back = [0; 4];
        here.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"back");
    }

    #[tokio::test]
    async fn a_closed_socket_is_the_end_of_the_stream() {
        let (mut here, mut there) = pair(KeepAlive::DIALS, KeepAlive::ANSWERS).await;
        let mut rest = Vec::new();
        let (closed, read) = tokio::join!(here.close(), there.read_to_end(&mut rest));
        closed.unwrap();
        read.unwrap();
        assert!(rest.is_empty());
    }

    /// An hour without a byte to pass on: pings and their answers are all that travels.
    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_lives_by_its_pings() {
        let (mut here, mut there) = pair(KeepAlive::DIALS, KeepAlive::ANSWERS).await;
        let (mut at_here, mut at_there) = ([0; 1], [0; 1]);
        let idle = async { tokio::join!(here.read(&mut at_here), there.read(&mut at_there)) };
        let over = tokio::time::timeout(Duration::from_secs(3600), idle).await;
        assert!(over.is_err(), "{over:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_gone_after_its_time_at_either_end() {
        let silent = KeepAlive {
            pings: false,
            ..KeepAlive::DIALS
        };
        for keep_alive in [KeepAlive::DIALS, KeepAlive::ANSWERS] {
            // Nobody polls the peer, so that it neither sends nor answers.
            let (mut here, _there) = pair(keep_alive, silent).await;
            let since = Instant::now();
            let error = here.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(since.elapsed(), keep_alive.gone_after);
        }
    }

    #[tokio::test]
    async fn text_and_messages_beyond_the_limit_are_refused() {
        for message in [Message::text("{}"), Message::binary(vec![0; TAKEN_BYTES + 1])] {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let mut peer = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
            let mut wire = Wire::answering(theirs, KeepAlive::ANSWERS).await;
            peer.send(message).await.unwrap();
            let error = wire.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_pings_without_end_is_answered_and_holds_up_nothing() {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let mut peer = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        let mut wire = Wire::answering(theirs, KeepAlive::ANSWERS).await;
        for _ in 0..1000 {
            peer.send(Message::Ping(Bytes::new())).await.unwrap();
        }
        peer.send(Message::binary(vec![7])).await.unwrap();
        let mut byte = [0; 1];
        wire.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [7]);
        assert!(matches!(peer.next().await, Some(Ok(Message::Pong(_)))));
    }
}
