//! TCP probes: a connection, with a nonce both ways where our listener answers.
//!
//! Every try is a connection from a source port of its own. They end with a reset: nothing stays behind in TIME_WAIT, on either side.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use nix::libc;
use prejoin_checks::facts::provenance::Unknown;
use prejoin_checks::observation::{ErrorKind, Sent, TlsPeek};
use prejoin_checks::plan::cost;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::outcome::Met;
use super::tally::{Arrival, Tally};
use super::{ProbeContext, local_failure, tls};
use crate::datagram::{self, clock_micros};
use crate::nonce::{self, Kind, Message};
use crate::sys;

/// Packets that this side sends of a connection: request, acknowledgement, reset; a nonce and the acknowledgement of its answer.
const OWN_CONNECTION_PACKETS: u64 = 3;
const OWN_NONCE_PACKETS: u64 = 2;
/// The same of a TLS handshake, about.
const OWN_TLS_PACKETS: u64 = 6;

/// The kernel repeats a connection request after one second, and again this long after the first. Tries that end before need not be told not to.
const SECOND_REPETITION: Duration = Duration::from_secs(3);

/// What to ask of whom.
pub(super) struct Order<'a> {
    pub(super) id: u32,
    pub(super) target: SocketAddr,
    /// The name it is known by, empty if by its address only.
    pub(super) host: &'a str,
    /// Whether our listener answers there.
    pub(super) nonce: bool,
    /// Whether a service that is not ours is asked for its certificate.
    pub(super) tls: bool,
}

/// One probe and what is known of it so far.
struct Account<'a> {
    order: Order<'a>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    tally: Tally,
    connected: bool,
    from: Option<IpAddr>,
    tls: Option<TlsPeek>,
}

impl Account<'_> {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing that another try could change.
    Final,
    /// Another try may fare better.
    Open,
}

/// Connects, and asks for what there is to ask.
pub(super) async fn probe(context: &ProbeContext, order: Order<'_>) -> Result<Sent, Unknown> {
    let target = order.target;
    let account = Account {
        order,
        seen: Mutex::default(),
    };
    let mut tries = FuturesUnordered::new();
    for attempt in 1..=cost::TRIES {
        let room = context.connections.acquire().await;
        context.pacers.take(target.ip(), account.packets()).await;
        tries.push(one_try(context, &account, room));
        let patience = if attempt == cost::TRIES {
            context.timeout()
        } else {
            context.stagger()
        };
        let mut done = finished(&mut tries, Instant::now() + patience).await?;
        if !done && account.seen().connected && !account.order.nonce {
            // It is there, and its handshake takes its time.
            finished(&mut tries, Instant::now() + context.timeout()).await?;
            done = true;
        }
        if done {
            break;
        }
    }
    drop(tries);
    let mut seen = account.seen();
    let mut sent = seen.tally.finish();
    sent.connected = seen.connected;
    sent.tls = seen.tls.take();
    if sent.tls.is_none() && sent.connected && account.order.tls && !account.order.nonce {
        sent.tls = Some(tls::failed("no handshake in time"));
    }
    sent.from = seen.from.or_else(|| super::source_address(target));
    Ok(sent)
}

impl Account<'_> {
    /// What one connection may put on the wire.
    fn packets(&self) -> u32 {
        match (self.order.nonce, self.order.tls) {
            (true, _) => cost::NONCE_CONNECTION_PACKETS,
            (false, true) => cost::TLS_CONNECTION_PACKETS,
            (false, false) => cost::CONNECTION_PACKETS,
        }
    }
}

/// Waits for the tries until the deadline; whether one of them was final.
async fn finished<T>(tries: &mut FuturesUnordered<T>, deadline: Instant) -> Result<bool, Unknown>
where
    T: Future<Output = io::Result<End>>,
{
    loop {
        match tokio::time::timeout_at(deadline, tries.next()).await {
            Ok(Some(Ok(End::Final))) => return Ok(true),
            Ok(Some(Ok(End::Open))) => {}
            Ok(Some(Err(error))) => return Err(local_failure("a TCP socket", &error)),
            // None is under way any more, or it is time for the next one.
            Ok(None) | Err(_) => return Ok(false),
        }
    }
}

/// A connection that ends with a reset, unless it is over already.
struct Connection {
    stream: TcpStream,
    over: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.over {
            // One that cannot be reset is closed all the same.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

async fn one_try<R>(context: &ProbeContext, account: &Account<'_>, _room: R) -> io::Result<End> {
    let target = account.order.target;
    let ipv6 = target.is_ipv6();
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    datagram::tell_errors(&socket, ipv6)?;
    if 2 * context.timeout() >= SECOND_REPETITION {
        sys::limit_connection_requests(socket.as_fd(), 1)?;
    }
    let begun = context.elapsed();
    let asked = socket.connect(&target.into());
    context.count(OWN_CONNECTION_PACKETS);
    let local = socket.local_addr()?.as_socket();
    let port = local.map_or(0, |address| address.port());
    let sequence = {
        let mut seen = account.seen();
        // Without a route there is none.
        seen.from = local.map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
        seen.tally.send(begun, port)
    };
    if let Err(error) = asked
        && error.raw_os_error() != Some(libc::EINPROGRESS)
    {
        account.seen().tally.errors.add(Met::of_call(ipv6, &error));
        return Ok(End::Final);
    }
    let mut connection = Connection {
        stream: TcpStream::from_std(socket.into())?,
        over: false,
    };
    if let Err(met) = connected(&connection.stream, ipv6).await {
        let Some(met) = met else { return Ok(End::Open) };
        connection.over = met.kind == ErrorKind::Refused;
        account.seen().tally.errors.add(met);
        return Ok(if matches!(met.kind, ErrorKind::Refused | ErrorKind::Prohibited) {
            End::Final
        } else {
            End::Open
        });
    }
    account.seen().connected = true;
    if !account.order.nonce {
        let arrival = Arrival {
            at: context.elapsed(),
            clock_micros: clock_micros(),
            sent_micros: 0,
            ttl: None,
        };
        account.seen().tally.answer(sequence, port, arrival, None);
        if account.order.tls {
            context.count(OWN_TLS_PACKETS);
            // Boxed: most tries never come here, and none should be as large as a handshake.
            let peek = Box::pin(tls::peek(&mut connection.stream, account.order.host, target.ip())).await;
            account.seen().tls = Some(peek);
        }
        return Ok(End::Final);
    }
    exchange(context, account, &mut connection.stream, sequence, port).await;
    Ok(End::Final)
}

/// Waits until the connection is there; otherwise what was met, if it was more than silence.
async fn connected(stream: &TcpStream, ipv6: bool) -> Result<(), Option<Met>> {
    let of_call = |error: &io::Error| match error.raw_os_error() {
        // The kernel repeated its request and gave up: as silent as the network was.
        Some(libc::ETIMEDOUT) => None,
        _ => Some(Met::of_call(ipv6, error)),
    };
    loop {
        let ready = stream
            .ready(Interest::WRITABLE | Interest::ERROR)
            .await
            .map_err(|error| of_call(&error))?;
        // The queue says who said so, and says it even where the kernel would go on asking.
        if let Ok(queued) = stream.try_io(Interest::ERROR, || datagram::read_error(stream))
            && !queued.local
        {
            return Err(Some(queued.met));
        }
        if let Some(error) = stream.take_error().map_err(|error| of_call(&error))? {
            return Err(of_call(&error));
        }
        if ready.is_writable() && stream.peer_addr().is_ok() {
            return Ok(());
        }
    }
}

/// Sends a nonce and judges what comes back.
async fn exchange(context: &ProbeContext, account: &Account<'_>, stream: &mut TcpStream, sequence: u32, port: u16) {
    let message = Message {
        kind: Kind::Request,
        probe: account.order.id,
        sequence,
        sent_micros: clock_micros(),
        answer: None,
    };
    account.seen().tally.restart(sequence, context.elapsed());
    let mut bytes = [0; nonce::LENGTH];
    let answered = async {
        stream.set_nodelay(true)?;
        stream.write_all(&context.seal.write(&message)).await?;
        context.count(OWN_NONCE_PACKETS);
        stream.read_exact(&mut bytes).await
    };
    let answered = answered.await;
    let arrival = Arrival {
        at: context.elapsed(),
        clock_micros: clock_micros(),
        sent_micros: message.sent_micros,
        ttl: None,
    };
    let tally = &mut account.seen().tally;
    match answered.map(|_| context.seal.read(&bytes)) {
        Ok(Ok(reply)) if reply.kind == Kind::Reply && reply.probe == account.order.id => {
            tally.answer(reply.sequence, port, arrival, reply.answer.as_ref());
        }
        Ok(_) => tally.foreign(account.order.target),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => tally.errors.add(Met {
            kind: ErrorKind::Reset,
            by: None,
            icmp: None,
            errno: None,
        }),
        Err(error) => tally.errors.add(Met::of_call(account.order.target.is_ipv6(), &error)),
    }
}
