//! A Kubernetes API server made of recorded or built objects, on loopback, with faults on demand.
//!
//! It answers reads as a real server does: discovery, lists in pages, namespaces, selectors, single objects,
//! metadata only, and the `Status` bodies of refusals. It runs on a thread of its own, so that asynchronous tests and
//! tests that start a binary use it alike.
//!
//! ```
//! # use prejoin_tests::api_server::{ApiServer, Failure, Objects};
//! let server = ApiServer::start(Objects::cluster("good/east"));
//! server.inject(Failure::Forbidden.at("/api/v1/nodes"));
//! // ... let something read from server.url() ...
//! assert!(server.requests_for("secrets").is_empty());
//! ```

mod answer;
mod connection;
mod discovery;
mod exec;
mod fault;
mod objects;
mod page;
mod path;
mod selector;
mod status;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

pub use exec::{ExecFate, ExecVersion, Executing};
pub use fault::{Failure, Fault};
pub use objects::{Objects, Scope};
pub use path::ApiPath;
pub use status::USER;

use connection::{Breaker, Connections, Identity};

/// A running server. It stops when dropped, and whatever hangs in it ends with it.
pub struct ApiServer {
    address: SocketAddr,
    certificate_pem: Option<String>,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the server's thread and its owner both see.
struct Shared {
    objects: Objects,
    state: Mutex<State>,
    /// How many requests hang at this moment.
    hanging: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    faults: Vec<Fault>,
    requests: Vec<Request>,
    /// Continue tokens of another generation have expired.
    generation: u64,
    executing: Option<Executing>,
    /// What is run in place of a program, by pod and program.
    programs: HashMap<(String, String), Vec<String>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// HTTP method.
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// Query parameters, decoded, in the order given.
    pub query: Vec<(String, String)>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

impl Request {
    /// A query parameter.
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// The resource asked for; `None` for discovery.
    pub fn resource(&self) -> Option<String> {
        ApiPath::parse(&self.path).map(|path| path.resource)
    }
}

impl ApiServer {
    /// Serves `objects` over HTTP on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When the machine has no port or thread left.
    pub fn start(objects: Objects) -> Self {
        Self::start_with(objects, None)
    }

    /// Serves `objects` over HTTPS, with a new certificate that nobody knows; see [`Self::certificate_pem`].
    ///
    /// # Panics
    /// When the machine has no port or thread left.
    pub fn start_tls(objects: Objects) -> Self {
        Self::start_with(objects, Some(Identity::new()))
    }

    /// Serves `objects` over HTTPS, with a certificate that is not valid yet.
    ///
    /// # Panics
    /// When the machine has no port or thread left.
    pub fn start_tls_of_the_future(objects: Objects) -> Self {
        Self::start_with(objects, Some(Identity::of_the_future()))
    }

    fn start_with(objects: Objects, identity: Option<Identity>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on loopback");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let certificate_pem = identity.as_ref().map(Identity::certificate_pem);
        let shared = Arc::new(Shared {
            objects,
            state: Mutex::default(),
            hanging: watch::Sender::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(listener, identity, shared, stopped)
        });
        Self {
            address,
            certificate_pem,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Base address, e.g. `http://127.0.0.1:40001`.
    pub fn url(&self) -> String {
        let scheme = if self.certificate_pem.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// What a client has to trust to talk to a server with TLS; `None` without TLS.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate_pem.as_deref()
    }

    /// Adds a fault. The one added last goes first.
    pub fn inject(&self, fault: Fault) {
        self.shared.state().faults.push(fault);
    }

    /// Ends all faults that have not yet struck.
    pub fn heal(&self) {
        self.shared.state().faults.clear();
    }

    /// From now on commands are executed in pods, by processes of this machine; before, there is no such thing.
    pub fn execute(&self, executing: Executing) {
        self.shared.state().executing = Some(executing);
    }

    /// Puts a program into a pod: where a command there begins with `program`, these words are run in its place.
    pub fn install(&self, pod: &str, program: &str, words: Vec<String>) {
        let place = (pod.to_owned(), program.to_owned());
        self.shared.state().programs.insert(place, words);
    }

    /// Makes every continue token given so far too old: its next use is answered with 410.
    pub fn expire_continue_tokens(&self) {
        self.shared.state().generation += 1;
    }

    /// All requests so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// The requests so far for lists and objects of a resource such as `secrets`.
    pub fn requests_for(&self, resource: &str) -> Vec<Request> {
        self.requests()
            .into_iter()
            .filter(|r| r.resource().as_deref() == Some(resource))
            .collect()
    }

    /// Waits until `count` requests hang ([`Failure::Hang`], [`Failure::HangMidBody`]) at the same time.
    pub async fn until_hanging(&self, count: usize) {
        let mut hanging = self.shared.hanging.subscribe();
        // The sender lives as long as `self`.
        let _ = hanging.wait_for(|now| *now >= count).await;
    }

    /// Waits until no request hangs: whoever asked has given up.
    pub async fn until_none_hang(&self) {
        let mut hanging = self.shared.hanging.subscribe();
        let _ = hanging.wait_for(|now| *now == 0).await;
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread is gone already if nobody receives this.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The server's thread. Dropping the runtime at its end drops every connection.
fn serve(listener: TcpListener, identity: Option<Identity>, shared: Arc<Shared>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for one thread needs no more than a file descriptor");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("the socket is non-blocking");
        let service = axum::Router::new()
            .fallback(answer::answer)
            .with_state(shared)
            .into_make_service_with_connect_info::<Breaker>();
        tokio::select! {
            _ = axum::serve(Connections::new(listener, identity), service) => {}
            _ = stopped => {}
        }
    });
}
