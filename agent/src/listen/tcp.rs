//! Answers connections on a bound port: one nonce, one answer, then a reset, so that nothing stays behind in TIME_WAIT.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Listener;
use crate::datagram::clock_micros;
use crate::nonce::{AnswerPart, Kind, LENGTH, Message};

/// Connections that are served at once; more wait.
const AT_ONCE: usize = 64;
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Listens until it is aborted; connections end with it.
pub(super) async fn serve(socket: TcpListener, listener: Arc<Listener>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= AT_ONCE {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, from)) => {
                    let listener = Arc::clone(&listener);
                    connections.spawn(async move {
                        // Whoever takes longer is left.
                        let _ = tokio::time::timeout(PATIENCE, answer(stream, from, &listener)).await;
                    });
                }
                // Out of descriptors, or the connection is gone already: others may end meanwhile.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
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
