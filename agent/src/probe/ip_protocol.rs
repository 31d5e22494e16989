//! Packets of another IP protocol, such as ESP: sent here, captured there. Nothing answers but errors.
//!
//! As ESP, a message has the SPI with which [`crate::nonce::MAGIC`] begins; no peer has negotiated it, and the receiving kernel drops it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::libc;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::Sent;
use prejoin_checks::plan::cost;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::outcome::Met;
use super::tally::Tally;
use super::{ProbeContext, local_failure};
use crate::datagram::{self, clock_micros};
use crate::nonce::{Kind, Message};
use crate::sys;

/// Sends the samples, a third of them at a time, and waits for errors.
pub(super) async fn probe(context: &ProbeContext, id: u32, target: IpAddr, number: u8) -> Result<Sent, Unknown> {
    let socket = open(target, number).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Unknown::new(
            Reason::Forbidden,
            format!("packets of IP protocol {number} may not be sent: the agent has no CAP_NET_RAW"),
        ),
        _ => local_failure("a raw socket", &error),
    })?;
    let mut tally = Tally::default();
    let count = context.pace.samples.max(cost::TRIES);
    for sequence in 0..count {
        context.pacers.take(target, cost::EXCHANGE_PACKETS).await;
        send(context, &socket, &mut tally, id, target);
        if (sequence + 1) % count.div_ceil(cost::TRIES) == 0 && sequence + 1 < count {
            collect(&socket, &mut tally, Instant::now() + context.stagger()).await;
        }
    }
    collect(&socket, &mut tally, Instant::now() + context.timeout()).await;
    let mut sent = tally.finish();
    // Nobody answers such packets: that they are unanswered says nothing of loss.
    sent.longest_loss = 0;
    sent.from = super::source_address(SocketAddr::new(target, 9));
    Ok(sent)
}

fn open(target: IpAddr, number: u8) -> io::Result<AsyncFd<Socket>> {
    let domain = if target.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::from(i32::from(number))))?;
    // It only sends: what arrives of this protocol is the product's.
    let nothing = u16::try_from(libc::BPF_RET | libc::BPF_K).expect("operations are of 16 bits");
    socket.attach_filter(&[SockFilter::new(nothing, 0, 0, 0)])?;
    datagram::tell_errors(&socket, target.is_ipv6())?;
    socket.connect(&SocketAddr::new(target, 0).into())?;
    sys::watch(socket)
}

fn send(context: &ProbeContext, socket: &AsyncFd<Socket>, tally: &mut Tally, id: u32, target: IpAddr) {
    let message = Message {
        kind: Kind::Request,
        probe: id,
        sequence: tally.send(context.elapsed(), 0),
        sent_micros: clock_micros(),
        answer: None,
    };
    let bytes = context.seal.write(&message);
    let mut failure = None;
    // An error that an earlier packet met is given by the next call, which then sends nothing.
    for _ in 0..4 {
        match socket.get_ref().send(&bytes) {
            Ok(_) => return context.count(1),
            Err(error) => failure = Some(error),
        }
    }
    if let Some(error) = failure {
        tally.errors.add(Met::of_call(target.is_ipv6(), &error));
    }
}

/// Takes errors in until the deadline.
async fn collect(socket: &AsyncFd<Socket>, tally: &mut Tally, deadline: Instant) {
    loop {
        while let Ok(queued) = datagram::read_error(socket) {
            tally.errors.add(queued.met);
        }
        let errors = socket.ready(tokio::io::Interest::ERROR);
        match tokio::time::timeout_at(deadline, errors).await {
            Ok(Ok(mut ready)) => {
                // Otherwise an error that the socket remembers would wake this for ever.
                let _ = socket.get_ref().take_error();
                while let Ok(queued) = datagram::read_error(socket) {
                    tally.errors.add(queued.met);
                }
                ready.clear_ready();
            }
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
