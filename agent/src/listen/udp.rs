//! Answers datagrams of this audit on a bound port: each with one that is no larger, from the address that was asked.

use std::sync::Arc;

use tokio::io::Interest;

use super::Listener;
use super::bind::UdpListener;
use crate::datagram::{self, Received, clock_micros};
use crate::nonce::{AnswerPart, LONGEST, Message};

/// Listens until it is aborted.
pub(super) async fn serve(bound: UdpListener, listener: Arc<Listener>) {
    let socket = &bound.socket;
    // One byte more than any message, so that a longer datagram does not pass for one.
    let mut buffer = vec![0; LONGEST + 1];
    loop {
        let Ok(ready) = socket.ready(Interest::READABLE | Interest::ERROR).await else {
            return;
        };
        // What became of answers is the sender's to find out; the queue is only kept empty.
        while socket.try_io(Interest::ERROR, || datagram::read_error(socket)).is_ok() {}
        if !ready.is_readable() {
            continue;
        }
        while let Ok(received) = socket.try_io(Interest::READABLE, || datagram::receive(socket, &mut buffer)) {
            if let Some((answer, from)) = judge(&listener, &buffer[..received.length], &received) {
                let from = from.filter(|_| bound.any_address);
                // An answer that cannot leave is lost, as on any other part of the path.
                let _ = datagram::send_from(socket, &answer, received.from, from);
            }
        }
    }
}

/// Writes down what came; the answer, if it is to have one, and the address it leaves from.
fn judge(listener: &Listener, bytes: &[u8], received: &Received) -> Option<(Vec<u8>, Option<std::net::IpAddr>)> {
    let request = listener
        .seal
        .read(bytes)
        .ok()
        .and_then(|request| Some((request, request.kind.answer()?)));
    let Some((request, kind)) = request else {
        listener.ledger().add_foreign();
        return None;
    };
    listener
        .ledger()
        .arrived(request.probe, request.sequence, received.from);
    if !listener.may_answer() {
        return None;
    }
    let answer = Message {
        kind,
        answer: Some(AnswerPart {
            received_micros: received.arrived_micros,
            transmitted_micros: clock_micros(),
            seen: received.from,
        }),
        ..request
    };
    Some((listener.seal.write(&answer).to_vec(), received.to))
}
