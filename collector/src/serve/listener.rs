//! The listener: TLS, and limits on who only holds connections.
//!
//! A connection has to begin TLS at once and send the head of a request soon after; there are so many of them at most, and of one address
//! fewer. What is beyond that is closed as it comes, before it costs more than a file descriptor.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum_server::accept::{Accept, DefaultAcceptor};
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

use super::tls::Identity;

/// How much connections may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// Of one address, or one /64 of IPv6: enough for all agents behind one NAT.
    pub of_an_address: usize,
    /// Of one address, those on which TLS has not begun yet.
    pub beginning_of_an_address: usize,
    /// How long TLS may take to begin.
    pub handshake: Duration,
    /// How long the head of a request may take, the first and every other.
    pub request_head: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            of_an_address: 2048,
            beginning_of_an_address: 128,
            handshake: Duration::from_secs(5),
            request_head: Duration::from_secs(15),
        }
    }
}

/// Serves until `handle` ends it; without an identity, without TLS.
pub async fn serve(
    listener: TcpListener,
    identity: Option<&Identity>,
    router: Router,
    limits: Limits,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    raise_open_files();
    let gate = Gate::new(limits);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request_head);
    let server = Server::<SocketAddr>::from_listener(listener).handle(handle);
    if let Some(identity) = identity {
        let tls = RustlsAcceptor::new(identity.config()).handshake_timeout(limits.handshake);
        let mut server = server.acceptor(Gated { inner: tls, gate });
        *server.http_builder() = http;
        return server.serve(service).await;
    }
    let inner = DefaultAcceptor::new();
    let mut server = server.acceptor(Gated { inner, gate });
    *server.http_builder() = http;
    server.serve(service).await
}

/// As many open files as this process may have: connections are files.
fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Fewer connections then: the kernel says so when it comes to that.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Counts connections.
#[derive(Clone)]
struct Gate {
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, OfAddress>,
}

#[derive(Default)]
struct OfAddress {
    open: usize,
    beginning: usize,
}

impl Gate {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            counts: Arc::default(),
        }
    }

    /// Lets a connection in, if there is room for it.
    fn enter(&self, from: IpAddr) -> Option<Entry> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= self.limits.connections {
            return None;
        }
        let from = network(from);
        let of_address = counts.by_address.entry(from).or_default();
        if of_address.open >= self.limits.of_an_address || of_address.beginning >= self.limits.beginning_of_an_address {
            return None;
        }
        of_address.open += 1;
        of_address.beginning += 1;
        counts.all += 1;
        Some(Entry {
            gate: self.clone(),
            from,
            is_beginning: true,
        })
    }
}

/// A connection's place, given back when this is dropped.
struct Entry {
    gate: Gate,
    from: IpAddr,
    is_beginning: bool,
}

impl Entry {
    fn has_begun(&mut self) {
        let mut counts = self.gate.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut self.is_beginning)
            && let Some(of_address) = counts.by_address.get_mut(&self.from)
        {
            of_address.beginning -= 1;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.has_begun();
        let mut counts = self.gate.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(of_address) = counts.by_address.get_mut(&self.from) {
            of_address.open -= 1;
            if of_address.open == 0 {
                counts.by_address.remove(&self.from);
            }
        }
    }
}

/// Whoever has one address of IPv6 has all of its /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.into(),
            None => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        },
    }
}

/// Lets connections in through the gate, and on to `inner`.
#[derive(Clone)]
struct Gated<A> {
    inner: A,
    gate: Gate,
}

type Accepting<S, V> = Pin<Box<dyn Future<Output = io::Result<(S, V)>> + Send>>;

impl<A, V> Accept<TcpStream, V> for Gated<A>
where
    A: Accept<TcpStream, V>,
    A::Future: Send + 'static,
    V: Send + 'static,
{
    type Stream = Kept<A::Stream>;
    type Service = A::Service;
    type Future = Accepting<Self::Stream, Self::Service>;

    fn accept(&self, stream: TcpStream, service: V) -> Self::Future {
        let from = stream.peer_addr().map(|address| address.ip());
        let entry = from.ok().and_then(|from| self.gate.enter(from));
        let Some(mut entry) = entry else {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        };
        // Lines are short, and each waits for its answer.
        let _ = stream.set_nodelay(true);
        let accepting = self.inner.accept(stream, service);
        let patience = self.gate.limits.request_head;
        Box::pin(async move {
            let (stream, service) = accepting.await?;
            entry.has_begun();
            let first = Some((Box::pin(tokio::time::sleep(patience)), FIRST_BYTES));
            let kept = Kept {
                stream,
                first,
                _entry: entry,
            };
            Ok((kept, service))
        })
    }
}

/// The server looks at so many bytes to tell which HTTP is spoken, and waits for them without end.
const FIRST_BYTES: usize = 24;

/// A connection with its place, on which the first bytes have to come in time.
struct Kept<S> {
    stream: S,
    /// Until when, and how many are still to come.
    first: Option<(Pin<Box<Sleep>>, usize)>,
    _entry: Entry,
}

impl<S: AsyncRead + Unpin> AsyncRead for Kept<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        self.first = match self.first.take() {
            Some((mut end, missing)) if came < missing => {
                if read.is_pending() && end.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Some((end, missing - came))
            }
            _ => None,
        };
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Kept<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
