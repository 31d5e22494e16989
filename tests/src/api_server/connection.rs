//! Connections, plain or TLS, that a handler can break off.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;

/// Breaks off the connection it belongs to: nothing more is written, and it ends with a TCP reset.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker(Arc<AtomicBool>);

impl Breaker {
    pub(super) fn reset(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A connection with its [`Breaker`].
pub(super) struct Connection {
    stream: Stream,
    breaker: Breaker,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

impl Connection {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            breaker: Breaker::default(),
        }
    }

    fn io(&mut self) -> Pin<&mut dyn Io> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream),
            Stream::Tls(stream) => Pin::new(stream),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.is_broken() {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        }
    }

    fn is_broken(&self) -> bool {
        self.breaker.0.load(Ordering::Acquire)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_broken() {
            let tcp = match &self.stream {
                Stream::Plain(stream) => stream,
                Stream::Tls(stream) => stream.get_ref().0,
            };
            // Without lingering, closing sends a reset and not an orderly end. If it fails, the peer reset it first.
            let _ = tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        self.io().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        self.io().poll_shutdown(cx)
    }
}

/// Accepts [`Connection`]s; a handshake that takes its time holds up no other.
pub(super) struct Connections {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handshakes: JoinSet<io::Result<(Connection, SocketAddr)>>,
}

impl Connections {
    pub(super) fn new(listener: TcpListener, identity: Option<Identity>) -> Self {
        Self {
            listener,
            tls: identity.map(Identity::into_acceptor),
            handshakes: JoinSet::new(),
        }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            tokio::select! {
                (stream, peer) = Listener::accept(&mut self.listener) => match self.tls.clone() {
                    None => return (Connection::new(Stream::Plain(stream)), peer),
                    Some(tls) => {
                        self.handshakes.spawn(async move {
                            let stream = tls.accept(stream).await?;
                            Ok((Connection::new(Stream::Tls(Box::new(stream))), peer))
                        });
                    }
                },
                // A client that refuses the certificate goes away by itself.
                Some(Ok(Ok(accepted))) = self.handshakes.join_next() => return accepted,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Connections>> for Breaker {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        stream.io().breaker.clone()
    }
}

/// A key made for one server, and its certificate for 127.0.0.1, which vouches for itself.
pub(super) struct Identity(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Identity {
    pub(super) fn new() -> Self {
        let names = [IpAddr::from(Ipv4Addr::LOCALHOST).to_string()];
        Self(rcgen::generate_simple_self_signed(names).expect("a certificate for one address can be made"))
    }

    /// One whose time is yet to come, by a clock that is right.
    pub(super) fn of_the_future() -> Self {
        let name = IpAddr::from(Ipv4Addr::LOCALHOST).to_string();
        let mut params = rcgen::CertificateParams::new([name]).expect("an address is a name");
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2999, 1, 1), rcgen::date_time_ymd(3000, 1, 1));
        let signing_key = rcgen::KeyPair::generate().expect("a key can be made");
        let cert = params
            .self_signed(&signing_key)
            .expect("a certificate for one address can be made");
        Self(rcgen::CertifiedKey { cert, signing_key })
    }

    pub(super) fn certificate_pem(&self) -> String {
        self.0.cert.pem()
    }

    fn into_acceptor(self) -> TlsAcceptor {
        let key = PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|c| {
                c.with_no_client_auth()
                    .with_single_cert(vec![self.0.cert.into()], key.into())
            })
            .expect("key and certificate were made for each other");
        TlsAcceptor::from(Arc::new(config))
    }
}
