//! Answers connections on a bound port: one nonce, one answer, then a reset, so that nothing stays behind in TIME_WAIT.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::Listener;
use crate::datagram::clock_micros;
use crate::nonce::{AnswerPart, Kind, LENGTH, Message};

/// Connections that are served at once; more wait.
const AT_ONCE: usize = 64;
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Listens until it is aborted; connections are of the same task, so that they end with it.
pub(super) async fn serve(socket: TcpListener, listener: Arc<Listener>) {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = socket.accept(), if connections.len() < AT_ONCE => match accepted {
                // Whoever takes longer is left.
                Ok((stream, from)) => connections.push(timeout(PATIENCE, answer(stream, from, &listener))),
                // Out of descriptors, or the connection is gone already: others may end meanwhile.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.next() => {}
        }
    }
}

async fn answer(mut stream: TcpStream, from: SocketAddr, listener: &Listener) {
    // Whatever happens, the connection ends with a reset.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    let _ = stream.set_nodelay(true);
    let mut bytes = [0; LENGTH];
    if stream.read_exact(&mut bytes).await.is_err() {
        listener.ledger().add_foreign();
        return;
    }
    let received_micros = clock_micros();
    let Some(request) = listener
        .seal
        .read(&bytes)
        .ok()
        .filter(|request| request.kind == Kind::Request)
    else {
        listener.ledger().add_foreign();
        return;
    };
    listener.ledger().arrived(request.probe, request.sequence, from);
    if !listener.may_answer() {
        return;
    }
    let reply = Message {
        kind: Kind::Reply,
        answer: Some(AnswerPart {
            received_micros,
            transmitted_micros: clock_micros(),
            seen: from,
        }),
        ..request
    };
    if stream.write_all(&listener.seal.write(&reply)).await.is_ok() {
        // The sender ends the connection when it has read the answer.
        let _ = stream.read(&mut bytes).await;
    }
}
