//! UDP probes: authenticated datagrams from several source ports, each answered by the peer's listener.
//!
//! All probes of a run share a few unconnected sockets; answers find their probe by the number that they carry, errors by the datagram that
//! they quote.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prejoin_checks::facts::provenance::Unknown;
use prejoin_checks::observation::{Listening, Sent};
use prejoin_checks::plan::cost;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, OnceCell};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::outcome::Met;
use super::tally::{Arrival, Tally};
use super::{ProbeContext, local_failure};
use crate::datagram::{self, Queued, clock_micros};
use crate::nonce::{Kind, Message};
use crate::sys;

/// Unanswered datagrams of one probe after which no more are sent until one is answered or given up: what a receive buffer holds.
const IN_FLIGHT: u32 = 256;
/// Room for answers; asked for, not insisted upon.
const RECEIVE_BUFFER_BYTES: i32 = 4 << 20;

/// The sockets from which a run's UDP probes leave, and the probes that wait for answers.
#[derive(Debug)]
pub(super) struct Sources {
    context: Arc<ProbeContext>,
    waiting: Arc<Waiting>,
    /// One set for each try, by family.
    v4: [OnceCell<Arc<[Source]>>; cost::TRIES as usize],
    v6: [OnceCell<Arc<[Source]>>; cost::TRIES as usize],
    readers: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Source {
    socket: Arc<UdpSocket>,
    port: u16,
}

/// Probes that wait for answers.
#[derive(Debug, Default)]
struct Waiting {
    probes: Mutex<HashMap<u32, Arc<Exchange>>>,
    targets: Mutex<HashMap<SocketAddr, Vec<Arc<Exchange>>>>,
}

/// One probe.
#[derive(Debug)]
struct Exchange {
    target: SocketAddr,
    tally: Mutex<Tally>,
    changed: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sources {
    pub(super) fn new(context: Arc<ProbeContext>) -> Self {
        Self {
            context,
            waiting: Arc::default(),
            v4: Default::default(),
            v6: Default::default(),
            readers: Mutex::default(),
        }
    }

    /// The sockets of one try.
    async fn set(&self, ipv6: bool, number: usize) -> io::Result<Arc<[Source]>> {
        let sets = if ipv6 { &self.v6 } else { &self.v4 };
        sets[number]
            .get_or_try_init(async || self.open_set(ipv6))
            .await
            .map(Arc::clone)
    }

    fn open_set(&self, ipv6: bool) -> io::Result<Arc<[Source]>> {
        (0..cost::udp_source_ports(self.context.pace.samples))
            .map(|_| {
                let socket = Arc::new(open(ipv6)?);
                let port = socket.local_addr()?.port();
                let (context, waiting) = (Arc::clone(&self.context), Arc::clone(&self.waiting));
                lock(&self.readers).spawn(read(Arc::clone(&socket), port, context, waiting));
                Ok(Source { socket, port })
            })
            .collect()
    }
}

/// A socket of a port of its own that tells all it knows.
fn open(ipv6: bool) -> io::Result<UdpSocket> {
    let (domain, any) = if ipv6 {
        (Domain::IPV6, IpAddr::from(Ipv6Addr::UNSPECIFIED))
    } else {
        (Domain::IPV4, IpAddr::from(Ipv4Addr::UNSPECIFIED))
    };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if ipv6 {
        socket.set_only_v6(true)?;
    }
    datagram::tell_all(&socket, ipv6)?;
    sys::enlarge_receive_buffer(std::os::fd::AsFd::as_fd(&socket), RECEIVE_BUFFER_BYTES)?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    UdpSocket::from_std(socket.into())
}

/// Takes answers and errors in until the run ends.
async fn read(socket: Arc<UdpSocket>, port: u16, context: Arc<ProbeContext>, waiting: Arc<Waiting>) {
    let mut buffer = vec![0; crate::nonce::LENGTH + 1];
    loop {
        let Ok(ready) = socket.ready(Interest::READABLE | Interest::ERROR).await else {
            return;
        };
        while let Ok(queued) = socket.try_io(Interest::ERROR, || datagram::read_error(&socket)) {
            waiting.error(&context, &queued);
        }
        if !ready.is_readable() {
            continue;
        }
        while let Ok(received) = socket.try_io(Interest::READABLE, || datagram::receive(&socket, &mut buffer)) {
            waiting.datagram(&context, &buffer[..received.length], port, &received);
        }
    }
}

impl Waiting {
    fn datagram(&self, context: &ProbeContext, bytes: &[u8], port: u16, received: &datagram::Received) {
        let now = context.elapsed();
        let message = context
            .seal
            .read(bytes)
            .ok()
            .filter(|message| message.kind == Kind::Reply);
        let Some(message) = message else {
            for exchange in lock(&self.targets).get(&received.from).into_iter().flatten() {
                lock(&exchange.tally).foreign(received.from);
            }
            return;
        };
        let exchange = lock(&self.probes).get(&message.probe).map(Arc::clone);
        let Some(exchange) = exchange else { return };
        // The kernel saw it somewhat before this process did.
        let since =
            Duration::from_micros(clock_micros().saturating_sub(received.arrived_micros)).min(Duration::from_secs(1));
        let arrival = Arrival {
            at: now.saturating_sub(since),
            clock_micros: received.arrived_micros,
            sent_micros: message.sent_micros,
            ttl: received.ttl,
        };
        lock(&exchange.tally).answer(message.sequence, port, arrival, message.answer.as_ref());
        exchange.changed.notify_one();
    }

    fn error(&self, context: &ProbeContext, queued: &Queued) {
        let quoted = context.seal.quoted(&queued.quoted);
        let exchange = quoted.and_then(|(probe, _)| lock(&self.probes).get(&probe).map(Arc::clone));
        match (exchange, queued.target) {
            (Some(exchange), target) if target.is_none_or(|target| target == exchange.target) => {
                lock(&exchange.tally).errors.add(queued.met);
                exchange.changed.notify_one();
            }
            (_, Some(target)) => {
                for exchange in lock(&self.targets).get(&target).into_iter().flatten() {
                    lock(&exchange.tally).errors.add(queued.met);
                    exchange.changed.notify_one();
                }
            }
            (_, None) => {}
        }
    }

    fn enter(&self, probe: u32, exchange: &Arc<Exchange>) {
        lock(&self.probes).insert(probe, Arc::clone(exchange));
        lock(&self.targets)
            .entry(exchange.target)
            .or_default()
            .push(Arc::clone(exchange));
    }

    fn leave(&self, probe: u32, exchange: &Arc<Exchange>) {
        lock(&self.probes).remove(&probe);
        let mut targets = lock(&self.targets);
        if let Some(here) = targets.get_mut(&exchange.target) {
            here.retain(|other| !Arc::ptr_eq(other, exchange));
            if here.is_empty() {
                targets.remove(&exchange.target);
            }
        }
    }
}

/// Sends one UDP probe and waits for what comes back.
pub(super) async fn probe(
    sources: &Sources,
    id: u32,
    target: SocketAddr,
    listening: Option<Listening>,
) -> Result<Sent, Unknown> {
    let exchange = Arc::new(Exchange {
        target,
        tally: Mutex::default(),
        changed: Notify::new(),
    });
    sources.waiting.enter(id, &exchange);
    let result = if listening == Some(Listening::Bound) {
        ask(sources, id, &exchange).await
    } else {
        tell(sources, id, &exchange).await
    };
    sources.waiting.leave(id, &exchange);
    result.map_err(|error| local_failure("a UDP socket", &error))?;
    let mut sent = lock(&exchange.tally).finish();
    sent.from = super::source_address(target);
    Ok(sent)
}

/// Asks a listener that answers: all samples at once, then what stayed silent again, each at a moment of its own: who is asked in step with
/// others loses all to a policer that lets through whoever comes first.
async fn ask(sources: &Sources, id: u32, exchange: &Exchange) -> io::Result<()> {
    let context = &sources.context;
    let ipv6 = exchange.target.is_ipv6();
    let first = sources.set(ipv6, 0).await?;
    for (source, count) in bunches(cost::udp_datagrams(context.pace.samples) as usize, first.len()) {
        if lock(&exchange.tally).missing() >= IN_FLIGHT {
            let deadline = Instant::now() + context.timeout();
            wait(exchange, deadline, |tally| tally.missing() < IN_FLIGHT).await;
        }
        send(context, id, exchange, &first[source], count).await?;
    }
    let mut begun = Instant::now();
    for attempt in 1..cost::TRIES as usize {
        wait(exchange, begun + context.stagger(), |tally| tally.missing() == 0).await;
        let (silent, answered) = {
            let tally = lock(&exchange.tally);
            (tally.silent_ports(), tally.answered())
        };
        if silent.is_empty() {
            break;
        }
        let others;
        let again: Vec<&Source> = if answered == 0 {
            // Not a single answer: other source ports.
            others = sources.set(ipv6, attempt).await?;
            others.iter().collect()
        } else {
            // Some ports are silent and others are not: is it loss, or is it the ports? Loss spares none that are asked by turns.
            let (silent, answered): (Vec<&Source>, Vec<&Source>) =
                first.iter().partition(|source| silent.contains(&source.port));
            let turns = (0..first.len()).map(|turn| [silent.get(turn), answered.get(turn)]);
            turns.flatten().flatten().copied().collect()
        };
        begun = Instant::now();
        let apart = context.stagger() / 2 / u32::try_from(again.len()).unwrap_or(u32::MAX).max(1);
        for source in again {
            tokio::time::sleep(super::about(apart)).await;
            send(context, id, exchange, source, 1).await?;
        }
    }
    wait(exchange, begun + context.timeout(), |tally| tally.missing() == 0).await;
    Ok(())
}

/// Sends to where nobody of ours answers: the peer captures, or nothing but an error can come back. Spread in time as well, so that a burst
/// of loss does not take all of it.
async fn tell(sources: &Sources, id: u32, exchange: &Exchange) -> io::Result<()> {
    let context = &sources.context;
    let count = cost::udp_datagrams(context.pace.samples);
    let share = count.div_ceil(cost::TRIES);
    let mut left = count;
    for attempt in 0..cost::TRIES as usize {
        let set = sources.set(exchange.target.is_ipv6(), attempt).await?;
        for number in 0..share.min(left) {
            send(context, id, exchange, &set[number as usize % set.len()], 1).await?;
        }
        left = left.saturating_sub(share);
        if left > 0 {
            tokio::time::sleep(context.stagger()).await;
        }
    }
    // Errors may still come.
    tokio::time::sleep(context.timeout()).await;
    Ok(())
}

/// Which source sends next, and how many back to back: as many pairs as there are more datagrams than sources, for only what leaves close
/// together shows whether the way keeps its order.
fn bunches(datagrams: usize, sources: usize) -> impl Iterator<Item = (usize, u32)> {
    let rounds = (0..datagrams).step_by((2 * sources).max(1));
    rounds.flat_map(move |sent| {
        let round = (datagrams - sent).min(2 * sources);
        let pairs = round.saturating_sub(sources);
        (0..round.min(sources)).map(move |source| (source, if source < pairs { 2 } else { 1 }))
    })
}

/// Sends so many datagrams, back to back.
async fn send(context: &ProbeContext, id: u32, exchange: &Exchange, source: &Source, count: u32) -> io::Result<()> {
    let packets = cost::EXCHANGE_PACKETS * count;
    context.pacers.take(exchange.target.ip(), packets).await;
    for _ in 0..count {
        let sequence = lock(&exchange.tally).send(context.elapsed(), source.port);
        let message = Message {
            kind: Kind::Request,
            probe: id,
            sequence,
            sent_micros: clock_micros(),
            answer: None,
        };
        let bytes = context.seal.write(&message);
        // An error that an earlier datagram met, of whichever probe, is given by the next call, which then sends nothing; the queue tells
        // whose it was. What is given again and again is this call's own.
        let mut failure = None;
        for _ in 0..4 {
            match source.socket.send_to(&bytes, exchange.target).await {
                Ok(_) => {
                    context.count(1);
                    failure = None;
                    break;
                }
                Err(error) => failure = Some(error),
            }
        }
        // It counts as tried: the own kernel is part of the path.
        if let Some(error) = failure {
            lock(&exchange.tally)
                .errors
                .add(Met::of_call(exchange.target.is_ipv6(), &error));
        }
    }
    Ok(())
}

async fn wait(exchange: &Exchange, deadline: Instant, enough: impl Fn(&Tally) -> bool) {
    while !enough(&lock(&exchange.tally)) {
        if tokio::time::timeout_at(deadline, exchange.changed.notified())
            .await
            .is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bunches;

    #[test]
    fn datagrams_are_spread_over_all_sources_with_pairs_where_there_are_more() {
        let of = |datagrams, sources| bunches(datagrams, sources).collect::<Vec<_>>();
        assert_eq!(of(4, 4), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(of(6, 4), [(0, 2), (1, 2), (2, 1), (3, 1)]);
        assert_eq!(of(9, 4), [(0, 2), (1, 2), (2, 2), (3, 2), (0, 1)]);
        for datagrams in 1..100 {
            let sent: u32 = bunches(datagrams, 8).map(|(_, count)| count).sum();
            assert_eq!(sent as usize, datagrams);
        }
    }
}
