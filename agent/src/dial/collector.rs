//! The way to the collector: TCP, directly or through the proxy that the environment names, TLS, and what is asked over it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::error::Error as SocketError;
use tokio_tungstenite::tungstenite::{Bytes, client::IntoClientRequest as _};

use super::trust::{self, Fingerprint};
use super::wire::{self, KeepAlive, Wire};
use crate::proxy;

/// Where agents are let in.
pub const CONNECT_PATH: &str = "/agents/v1/connect";
/// Where enrolment tokens are traded.
pub const ENROLL_PATH: &str = "/agents/v1/enroll";
/// Where a credential is replaced.
pub const ROTATE_PATH: &str = "/agents/v1/rotate";
/// Each step to the collector takes no longer.
const STEP: Duration = Duration::from_secs(15);
/// An answer of the collector holds no more.
const ANSWER_BYTES: usize = 64 << 10;
/// The head of a proxy's answer holds no more.
const PROXY_HEAD_BYTES: usize = 8 << 10;
/// So much of what a collector says is told.
const TOLD_CHARS: usize = 300;

/// A byte stream to the collector.
pub trait Way: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Way for T {}

/// The collector, as the agent was told of it.
#[derive(Debug, Clone)]
pub struct Collector {
    host: String,
    port: u16,
    /// None for plain HTTP, which is for this machine alone.
    tls: Option<Arc<ClientConfig>>,
    pinned: Option<Fingerprint>,
    proxy: Option<Uri>,
}

/// Why the collector could not be reached, or what it answered instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It was not reached, or not understood.
    #[error("{0}")]
    Unreached(String),
    /// It knows the token or credential not, or not any more.
    #[error("the collector refuses: {0}")]
    Refused(String),
    /// It will not now.
    #[error("the collector asks to wait: {why}")]
    Busy {
        /// Its reason.
        why: String,
        /// For how long, if it says so.
        wait: Option<Duration>,
    },
}

impl Collector {
    /// The collector at a URL, `https` (or `wss`); `http` for loopback alone. `variable` looks up an environment variable.
    pub fn new(
        url: &str,
        pinned: Option<Fingerprint>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no URL: {error}"))?;
        let host = uri.host().map(|host| host.trim_matches(['[', ']']).to_owned());
        let host = host
            .filter(|host| !host.is_empty())
            .ok_or_else(|| format!("`{url}` names no host"))?;
        if uri.path() != "/" && !uri.path().is_empty() || uri.query().is_some() {
            return Err(format!("`{url}`: a collector has no path"));
        }
        let address: Option<IpAddr> = host.parse().ok();
        let is_local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let (tls, port) = match uri.scheme_str() {
            Some("https" | "wss") => (Some(Arc::new(trust::client_config(pinned)?)), 443),
            Some("http" | "ws") if is_local => (None, 80),
            Some("http" | "ws") => {
                return Err(format!(
                    "`{url}`: without TLS only a collector on this machine is spoken to"
                ));
            }
            _ => return Err(format!("`{url}` does not begin with https://")),
        };
        let port = uri.port_u16().unwrap_or(port);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let server: Option<Uri> = format!("{scheme}://{bracketed}:{port}").parse().ok();
        let proxy = server.and_then(|server| proxy::from_environment(&server, variable));
        Ok(Self {
            host,
            port,
            tls,
            pinned,
            proxy,
        })
    }

    /// `host:port`.
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// A stream to it, on which HTTP is spoken.
    async fn way(&self) -> Result<Box<dyn Way>, Failure> {
        let tcp = match &self.proxy {
            None => {
                in_time(
                    &format!("connect to {}", self.authority()),
                    TcpStream::connect((self.host.as_str(), self.port)),
                )
                .await?
            }
            Some(proxy) => {
                let what = format!(
                    "connect to {} through proxy {}",
                    self.authority(),
                    proxy.host().unwrap_or_default()
                );
                in_time(&what, self.through(proxy)).await?
            }
        };
        // Lines are short, and each waits for its answer.
        let _ = tcp.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|_| Failure::Unreached(format!("`{}` is no name of a server", self.host)))?;
        let shaking = TlsConnector::from(Arc::clone(tls)).connect(name, tcp);
        match tokio::time::timeout(STEP, shaking).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => {
                let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                let said = tls.map_or_else(|| format!("TLS: {error}"), |tls| trust::failure(tls, self.pinned));
                Err(Failure::Unreached(format!("{}: {said}", self.authority())))
            }
            Err(_) => Err(Failure::Unreached(format!(
                "{}: no TLS within {} s",
                self.authority(),
                STEP.as_secs()
            ))),
        }
    }

    async fn through(&self, proxy: &Uri) -> io::Result<TcpStream> {
        if proxy.scheme_str() != Some("http") {
            return Err(io::Error::other(
                "only proxies that are spoken to by http:// are understood",
            ));
        }
        let host = proxy.host().unwrap_or_default().trim_matches(['[', ']']);
        let mut tcp = TcpStream::connect((host, proxy.port_u16().unwrap_or(80))).await?;
        let to = self.authority();
        let credentials = proxy
            .authority()
            .and_then(|authority| authority.as_str().rsplit_once('@'));
        let authorization = credentials.map(|(credentials, _)| {
            let credentials = ByteString(percent_decoded(credentials));
            let encoded = serde_json::to_value(credentials).unwrap_or_default();
            format!(
                "Proxy-Authorization: Basic {}\r\n",
                encoded.as_str().unwrap_or_default()
            )
        });
        let request = format!(
            "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n",
            authorization.unwrap_or_default()
        );
        tcp.write_all(request.as_bytes()).await?;
        // Byte by byte: what follows the head is the collector's already.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == PROXY_HEAD_BYTES {
                return Err(io::Error::other("the proxy's answer does not end"));
            }
            head.push(tcp.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head);
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
            Ok(tcp)
        } else {
            Err(io::Error::other(format!("the proxy answers: {}", start_of(status))))
        }
    }

    /// Posts a JSON document and takes one.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        bearer: Option<&str>,
        body: &impl serde::Serialize,
    ) -> Result<T, Failure> {
        let way = self.way().await?;
        let unreached =
            |error: &dyn std::fmt::Display| Failure::Unreached(format!("{}{path}: {error}", self.authority()));
        let asking = async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(way))
                .await
                .map_err(|error| unreached(&error))?;
            let body = serde_json::to_vec(body).map_err(|error| unreached(&error))?;
            let mut request = Request::new(Full::new(Bytes::from(body)));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = path.parse().map_err(|error| unreached(&error))?;
            self.headers(bearer, request.headers_mut())?;
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let answering = async {
                let answer = sender.send_request(request).await.map_err(|error| unreached(&error))?;
                let (parts, body) = answer.into_parts();
                let body = Limited::new(body, ANSWER_BYTES)
                    .collect()
                    .await
                    .map_err(|error| unreached(&error))?;
                Ok((parts, body.to_bytes()))
            };
            // The connection's own end is no news once there is an answer.
            tokio::select! {
                biased;
                answer = answering => answer,
                ended = connection => Err(unreached(&ended.err().map_or_else(|| "closed without an answer".to_owned(), |error| error.to_string()))),
            }
        };
        let (parts, body) = match tokio::time::timeout(STEP, asking).await {
            Ok(answer) => answer?,
            Err(_) => return Err(unreached(&format!("no answer within {} s", STEP.as_secs()))),
        };
        if parts.status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| unreached(&error));
        }
        Err(self.refusal(parts.status, &parts.headers, &body))
    }

    /// Opens the WebSocket with this credential; `about` is said of the agent.
    pub async fn connect(
        &self,
        bearer: &str,
        about: &[(&'static str, String)],
    ) -> Result<(Wire<Box<dyn Way>>, HeaderMap), Failure> {
        let way = self.way().await?;
        let unreached = |error: &dyn std::fmt::Display| Failure::Unreached(format!("{}: {error}", self.authority()));
        let url = format!("ws://{}{CONNECT_PATH}", self.authority());
        let mut request = url.into_client_request().map_err(|error| unreached(&error))?;
        self.headers(Some(bearer), request.headers_mut())?;
        for (name, value) in about {
            if let Ok(value) = HeaderValue::from_str(value) {
                request.headers_mut().insert(*name, value);
            }
        }
        let opening = tokio_tungstenite::client_async_with_config(request, way, Some(wire::config()));
        match tokio::time::timeout(STEP, opening).await {
            Ok(Ok((socket, answer))) => Ok((Wire::new(socket, KeepAlive::DIALS), answer.into_parts().0.headers)),
            Ok(Err(SocketError::Http(answer))) => {
                let (parts, body) = answer.into_parts();
                Err(self.refusal(parts.status, &parts.headers, body.as_deref().unwrap_or_default()))
            }
            Ok(Err(error)) => Err(unreached(&error)),
            Err(_) => Err(unreached(&format!("no WebSocket within {} s", STEP.as_secs()))),
        }
    }

    fn headers(&self, bearer: Option<&str>, headers: &mut HeaderMap) -> Result<(), Failure> {
        let value = |text: String| {
            HeaderValue::from_str(&text).map_err(|_| Failure::Unreached("a credential that fits no header".to_owned()))
        };
        headers.insert(HOST, value(self.authority())?);
        if let Some(bearer) = bearer {
            let mut bearer = value(format!("Bearer {bearer}"))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(())
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
        // Problem details (RFC 9457), if it is a collector that answers.
        let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let detail = problem
            .as_ref()
            .and_then(|problem| problem["detail"].as_str())
            .map(start_of);
        let said = match detail {
            Some(detail) => format!("{status}: {detail}"),
            None => status.to_string(),
        };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::GONE => {
                Failure::Refused(said)
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let wait = headers
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                Failure::Busy {
                    why: said,
                    wait: wait.map(Duration::from_secs),
                }
            }
            _ => Failure::Unreached(format!(
                "{} is no collector, or another version of one: {said}",
                self.authority()
            )),
        }
    }
}

async fn in_time<T>(what: &str, doing: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(STEP, doing).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failure::Unreached(format!("{what}: {error}"))),
        Err(_) => Err(Failure::Unreached(format!(
            "{what}: no answer within {} s",
            STEP.as_secs()
        ))),
    }
}

fn start_of(text: &str) -> String {
    text.chars().take(TOLD_CHARS).collect()
}

/// User and password of a URL may hold escapes.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_collector_is_spoken_to_by_tls_unless_it_is_on_this_machine() {
        let pinned = Some("00".repeat(32).parse().unwrap());
        let new = |url: &str| {
            Collector::new(url, pinned, nothing).map(|collector| (collector.authority(), collector.tls.is_some()))
        };
        assert_eq!(
            new("https://collector.example"),
            Ok(("collector.example:443".to_owned(), true))
        );
        assert_eq!(
            new("wss://collector.example:8443/"),
            Ok(("collector.example:8443".to_owned(), true))
        );
        assert_eq!(new("https://[fd00::1]:8443"), Ok(("[fd00::1]:8443".to_owned(), true)));
        assert_eq!(new("http://127.0.0.1:8080"), Ok(("127.0.0.1:8080".to_owned(), false)));
        for (url, why) in [
            ("http://collector.example", "without TLS"),
            ("ftp://collector.example", "https://"),
            ("collector.example", "https://"),
            ("https://collector.example/prejoin", "no path"),
            ("https://", "no URL"),
        ] {
            let error = new(url).unwrap_err();
            assert!(error.contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn the_environments_proxy_is_used_for_a_collector_elsewhere() {
        let pinned = Some("00".repeat(32).parse().unwrap());
        let proxy = |name: &str| (name == "HTTPS_PROXY").then(|| "http://proxy.example:3128".to_owned());
        let through = |url: &str| Collector::new(url, pinned, proxy).unwrap().proxy;
        assert!(through("https://collector.example").is_some());
        assert!(through("https://127.0.0.1:8443").is_none());
    }

    /// What one connection is asked, answered with this.
    async fn answering(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Read to the end, so that what was written is not cut off.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            String::from_utf8(head).unwrap()
        });
        (port, asked)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_to_connect_with_its_user_and_password() {
        let (port, asked) = answering("HTTP/1.1 200 OK\r\n\r\n").await;
        let proxy = format!("http://al%40ice:secret@127.0.0.1:{port}");
        let variable = move |name: &str| (name == "HTTPS_PROXY").then(|| proxy.clone());
        let pinned = Some("00".repeat(32).parse().unwrap());
        let collector = Collector::new("https://collector.example:8443", pinned, variable).unwrap();
        let tcp = collector.through(collector.proxy.as_ref().unwrap()).await.unwrap();
        drop(tcp);
        assert_eq!(
            asked.await.unwrap(),
            "CONNECT collector.example:8443 HTTP/1.1\r\nHost: collector.example:8443\r\n\
             Proxy-Authorization: Basic YWxAaWNlOnNlY3JldA==\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_quoted() {
        let (port, _asked) = answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let variable = move |name: &str| (name == "HTTPS_PROXY").then(|| format!("http://127.0.0.1:{port}"));
        let pinned = Some("00".repeat(32).parse().unwrap());
        let collector = Collector::new("https://collector.example", pinned, variable).unwrap();
        let failure = collector.connect("c", &[]).await.err().unwrap().to_string();
        assert!(failure.contains("407 Proxy Authentication Required"), "{failure}");
        assert!(failure.contains("through proxy 127.0.0.1"), "{failure}");
    }

    #[tokio::test]
    async fn what_a_collector_answers_tells_refusals_from_delays_and_strangers() {
        let problem = "{\"detail\":\"this token was used already\"}";
        let cases = [
            (
                "401 Unauthorized",
                Failure::Refused("401 Unauthorized: this token was used already".to_owned()),
            ),
            (
                "429 Too Many Requests\r\nRetry-After: 7",
                Failure::Busy {
                    why: "429 Too Many Requests: this token was used already".to_owned(),
                    wait: Some(Duration::from_secs(7)),
                },
            ),
        ];
        for (status, expected) in cases {
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{problem}",
                problem.len()
            );
            for posts in [true, false] {
                let (port, _asked) = answering(Box::leak(answer.clone().into_boxed_str())).await;
                let collector = Collector::new(&format!("http://127.0.0.1:{port}"), None, nothing).unwrap();
                let failure = if posts {
                    let posted: Result<serde_json::Value, Failure> = collector.post(ENROLL_PATH, None, &()).await;
                    posted.unwrap_err()
                } else {
                    collector.connect("c", &[]).await.err().unwrap()
                };
                assert_eq!(failure, expected, "posts: {posts}");
            }
        }
        let (port, _asked) = answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        let collector = Collector::new(&format!("http://127.0.0.1:{port}"), None, nothing).unwrap();
        let failure = collector.connect("c", &[]).await.err().unwrap();
        assert!(
            matches!(&failure, Failure::Unreached(why) if why.contains("is no collector")),
            "{failure}"
        );
    }
}
