//! Path MTU probes: datagrams that may not be fragmented, each confirmed by a short answer of our listener. What to send next is decided by
//! [`Search`].

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use futures::future::select_all;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::{ErrorKind, Listening, Sent};
use prejoin_checks::path_mtu::{Patience, Search, TooBig};
use prejoin_checks::plan::cost;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::outcome::Met;
use super::reach::Reach;
use super::tally::{Arrival, Tally};
use super::{ProbeContext, local_failure};
use crate::datagram::{self, clock_micros};
use crate::nonce::{self, Kind, Message};
use crate::sys;

/// Answers that come at all come within so many of the longest round trip seen, and a little for the scheduling of both ends.
const ROUND_TRIPS: u32 = 3;
const SCHEDULING: Duration = Duration::from_millis(25);
const RECEIVE_BUFFER_BYTES: i32 = 1 << 20;

/// What to search.
pub(super) struct Order<'a> {
    pub(super) id: u32,
    pub(super) target: SocketAddr,
    pub(super) floor: u16,
    pub(super) ceiling: u16,
    pub(super) candidates: &'a [u16],
    pub(super) listening: Option<Listening>,
    /// What became of the small datagrams to the same port, if there were any.
    pub(super) before: Option<Reach>,
}

/// A socket, and the port it sends from.
struct Source {
    socket: UdpSocket,
    port: u16,
}

struct Driver<'a> {
    context: &'a ProbeContext,
    order: &'a Order<'a>,
    /// The first is the one whose path is measured; others are there only while nothing arrives.
    sources: Vec<Source>,
    search: Search,
    tally: Tally,
    /// The size that each datagram had, by its sequence number.
    sizes: HashMap<u32, u16>,
    longest_round_trip: Option<Duration>,
}

/// Searches the path MTU towards our listener.
pub(super) async fn probe(context: &ProbeContext, order: Order<'_>) -> Result<Sent, Unknown> {
    if order.listening != Some(Listening::Bound) {
        return Err(Unknown::new(
            Reason::NotFound,
            "no listener of ours is bound there, so that nothing confirms what arrives",
        ));
    }
    if order.before.is_some_and(|before| before.answered == 0) {
        return Err(Unknown::new(
            Reason::Unreachable,
            format!(
                "nothing arrives on UDP {}, so that no size was tried",
                order.target.port()
            ),
        ));
    }
    let mut driver = Driver {
        // The link's own MTU is the kernel's to enforce: it refuses what is larger, and says so.
        search: Search::new(order.floor, order.ceiling, order.candidates, order.ceiling),
        context,
        order: &order,
        sources: Vec::new(),
        tally: Tally::default(),
        sizes: HashMap::new(),
        longest_round_trip: None,
    };
    if let Some(before) = order.before {
        driver.search.know_loss(before.sent, before.answered);
    }
    if let Err(error) = driver.run().await {
        let no_route = [io::ErrorKind::NetworkUnreachable, io::ErrorKind::HostUnreachable];
        if !no_route.contains(&error.kind()) {
            return Err(local_failure("a UDP socket", &error));
        }
        // The own kernel is part of the path.
        driver.tally.send(context.elapsed(), 0);
        driver.tally.errors.add(Met::of_call(order.target.is_ipv6(), &error));
    }
    let mut sent = driver.tally.finish();
    sent.path_mtu = Some(driver.search.finish());
    sent.from = super::source_address(order.target);
    Ok(sent)
}

fn open(target: SocketAddr) -> io::Result<Source> {
    let ipv6 = target.is_ipv6();
    let socket = Socket::new(
        if ipv6 { Domain::IPV6 } else { Domain::IPV4 },
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    datagram::tell_all(&socket, ipv6)?;
    sys::never_fragment(socket.as_fd(), ipv6)?;
    sys::enlarge_receive_buffer(socket.as_fd(), RECEIVE_BUFFER_BYTES)?;
    socket.connect(&target.into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    let port = socket.local_addr()?.port();
    Ok(Source { socket, port })
}

impl Driver<'_> {
    /// Searches, and then waits for the answers that are still on their way: a socket that is gone would tell their sender so, by ICMP.
    async fn run(&mut self) -> io::Result<()> {
        self.sources.push(open(self.order.target)?);
        self.rounds().await?;
        let patience = self.longest_round_trip.map(|longest| self.of_round_trips(longest));
        let deadline = Instant::now() + patience.unwrap_or_default();
        while self.tally.unanswered() > 0
            && matches!(tokio::time::timeout_at(deadline, self.readiness()).await, Ok(Ok(())))
        {
            self.take_in();
        }
        Ok(())
    }

    /// How long answers are waited for where some have come, after this round trip at the longest.
    fn of_round_trips(&self, longest: Duration) -> Duration {
        (longest * ROUND_TRIPS + SCHEDULING).min(self.context.timeout())
    }

    async fn rounds(&mut self) -> io::Result<()> {
        loop {
            let round = self.search.next_round();
            if round.sizes.is_empty() {
                return Ok(());
            }
            // One moment of loss, or one beat of a policer, must not decide.
            let apart = if self.search.is_trial() {
                self.context.stagger() / u32::try_from(round.sizes.len()).unwrap_or(u32::MAX)
            } else {
                Duration::ZERO
            };
            for size in round.sizes {
                if self.search.is_trial() {
                    if self.search.is_round_over() {
                        break;
                    }
                    tokio::time::sleep(super::about(apart)).await;
                }
                self.context
                    .pacers
                    .take(self.order.target.ip(), cost::EXCHANGE_PACKETS)
                    .await;
                if self.search.is_silent() {
                    self.sources.insert(0, open(self.order.target)?);
                }
                self.send(size).await;
                self.take_in();
            }
            let sent = Instant::now();
            while !self.search.is_round_over() {
                let patience = match (round.patience, self.longest_round_trip) {
                    (Patience::Timeout, _) => self.context.timeout(),
                    (Patience::RoundTrips, None) => self.context.stagger(),
                    (Patience::RoundTrips, Some(longest)) => self.of_round_trips(longest),
                };
                if !matches!(
                    tokio::time::timeout_at(sent + patience, self.readiness()).await,
                    Ok(Ok(()))
                ) {
                    break;
                }
                self.take_in();
            }
            self.settle();
        }
    }

    async fn readiness(&self) -> io::Result<()> {
        let any = Interest::READABLE | Interest::ERROR;
        let sockets = self.sources.iter().map(|source| Box::pin(source.socket.ready(any)));
        select_all(sockets).await.0.map(|_| ())
    }

    /// Once something has arrived, stays with the port it left from.
    fn settle(&mut self) {
        let answered = self.tally.answered_ports();
        if let Some(place) = self.sources.iter().position(|source| answered.contains(&source.port)) {
            self.sources = vec![self.sources.swap_remove(place)];
        }
    }

    /// Bytes of the headers before a datagram's payload.
    fn headers(&self) -> u16 {
        if self.order.target.is_ipv6() { 48 } else { 28 }
    }

    async fn send(&mut self, size: u16) {
        let sequence = self.tally.send(self.context.elapsed(), self.sources[0].port);
        self.sizes.insert(sequence, size);
        let message = Message {
            kind: Kind::Mtu,
            probe: self.order.id,
            sequence,
            sent_micros: clock_micros(),
            answer: None,
        };
        let bytes = self
            .context
            .seal
            .write_padded(&message, usize::from(size - self.headers()));
        // An error that an earlier datagram met is given by the next call, which then sends nothing.
        for _ in 0..4 {
            match self.sources[0].socket.send(&bytes).await {
                Ok(_) => return self.context.count(1),
                // The queue says whose it was, and how large the own link's packets may be.
                Err(_) => self.take_in(),
            }
        }
    }

    fn take_in(&mut self) {
        for source in &self.sources {
            while let Ok(queued) = source
                .socket
                .try_io(Interest::ERROR, || datagram::read_error(&source.socket))
            {
                let size = self
                    .context
                    .seal
                    .quoted(&queued.quoted)
                    .and_then(|(_, sequence)| self.sizes.get(&sequence).copied());
                match (queued.met.kind, queued.met.by) {
                    (ErrorKind::TooBig, _) if queued.local => {
                        self.search
                            .too_big_for_link(size.unwrap_or(self.order.ceiling), queued.mtu);
                    }
                    (ErrorKind::TooBig, Some(by)) => {
                        self.tally.errors.add(queued.met);
                        self.search.too_big(size, TooBig { by, mtu: queued.mtu });
                    }
                    _ => self.tally.errors.add(queued.met),
                }
            }
            let mut buffer = [0; nonce::LENGTH + 1];
            while let Ok(received) = source
                .socket
                .try_io(Interest::READABLE, || datagram::receive(&source.socket, &mut buffer))
            {
                let message = self.context.seal.read(&buffer[..received.length]);
                let Some(reply) = message
                    .ok()
                    .filter(|reply| reply.kind == Kind::MtuReply && reply.probe == self.order.id)
                else {
                    self.tally.foreign(self.order.target);
                    continue;
                };
                let arrival = Arrival {
                    at: self.context.elapsed(),
                    clock_micros: received.arrived_micros,
                    sent_micros: reply.sent_micros,
                    ttl: received.ttl,
                };
                if self
                    .tally
                    .answer(reply.sequence, source.port, arrival, reply.answer.as_ref())
                    && let Some(&size) = self.sizes.get(&reply.sequence)
                {
                    self.search.confirm(size);
                    let round_trip = Duration::from_micros(clock_micros().saturating_sub(reply.sent_micros));
                    self.longest_round_trip = self.longest_round_trip.max(Some(round_trip));
                }
            }
        }
    }
}
