//! `prejoin serve`: the collector that stays. It audits groups of clusters on a schedule and keeps what it finds.
//!
//! ```text
//! config ─▶ schedule ─▶ rounds ─▶ (the audit of `prejoin audit`) ─▶ record ─▶ store ─▶ view ─▶ pages, API, metrics
//! ```

pub mod access;
pub mod alerts;
pub mod api;
mod command;
pub mod config;
pub mod dial;
mod enroll;
pub mod listener;
pub mod metrics;
pub mod pages;
pub mod reader;
pub mod record;
pub mod rounds;
pub mod schedule;
pub mod store;
pub mod tls;
pub mod view;
pub mod web;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::cli::{Serve, ServeAt};
use crate::error::{Error, exit_code};
use crate::output;
use crate::run::{Canceller, cancellation};
use alerts::{Backoff, Courier};
use config::ServerConfig;
use dial::Hub;
use listener::Limits;
use reader::StoreReader;
use rounds::Rounds;
use store::{Lock, Place, Store};

/// Open connections get so long to end.
const ENDING: Duration = Duration::from_secs(5);

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Current {
    /// What it says.
    pub config: Arc<ServerConfig>,
    /// What sources call the file.
    pub file: String,
    /// What relative paths are relative to.
    pub directory: PathBuf,
}

impl Current {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Self {
            config: Arc::new(ServerConfig::read(path)?),
            file: name.to_string_lossy().into_owned(),
            directory: path.parent().map(Path::to_owned).unwrap_or_default(),
        })
    }

    /// Where everything is kept.
    pub fn place(&self, at: &ServeAt) -> Place {
        match &at.store {
            Some(given) => Place::parse(given, Path::new("")),
            None => Place::parse(&self.config.store, &self.directory),
        }
    }
}

/// Serves until it is told to end, or does what else was asked for.
pub fn run(args: &Serve) -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::Internal(format!("cannot start: {error}")))?;
    if let Some(command) = &args.command {
        return command::run(&runtime, &args.at, command);
    }
    let current = Current::read(&args.at.config)?;
    let served = runtime.block_on(serve(args, current));
    // A credential plugin that hangs must not hold up the end.
    runtime.shutdown_background();
    served.map(|()| exit_code::PASS)
}

async fn serve(args: &Serve, current: Current) -> Result<(), Error> {
    let place = current.place(&args.at);
    let _lock = Lock::take(&place)?;
    let store = Store::open(&place).await?;
    let identity = enroll::identity(&current.config, &current.directory, &place)?;
    let listen = args.listen.unwrap_or(current.config.listen);
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| Error::Internal(format!("cannot listen on {listen}: {error}")))?;
    let address = listener.local_addr().map_or(listen, |address| address);
    // Before anybody is told that it runs, so that whoever is told can end it.
    let signals = Signals::new()?;
    let (canceller, stop) = cancellation();
    let (config, changes) = watch::channel(current);
    let wished = Arc::new(Notify::new());
    let hub = Hub::default();
    let changes_of_alerts = changes.clone();
    let reader = StoreReader::new(store.clone(), hub.clone(), changes.clone(), Arc::clone(&wished));
    let rounds = Rounds::new(
        store.clone(),
        hub.clone(),
        reader.clone(),
        changes,
        wished,
        stop.clone(),
    );
    let rounds = tokio::spawn(rounds.run());
    let delivering = tokio::spawn(deliver(store.clone(), changes_of_alerts));
    let router = web::router(&reader).merge(dial::router(hub.clone(), store.clone()));
    let handle = axum_server::Handle::new();
    let scheme = if identity.is_some() { "https" } else { "http" };
    let pages = tokio::spawn({
        let (identity, handle) = (identity.clone(), handle.clone());
        async move { listener::serve(listener, identity.as_ref(), router, Limits::default(), handle).await }
    });
    let watching = tokio::spawn({
        let (hub, store) = (hub.clone(), store.clone());
        async move {
            let certificate = async {
                match &identity {
                    Some(identity) => identity.watch().await,
                    None => std::future::pending().await,
                }
            };
            tokio::join!(hub.watch(&store), certificate)
        }
    });
    say(
        "",
        &format!("listens on {scheme}://{address}, keeps everything in {place}"),
    );
    obey(&args.at.config, &config, signals, canceller).await;
    handle.graceful_shutdown(Some(ENDING));
    let audits = rounds.await;
    watching.abort();
    delivering.abort();
    // Agents dial again when there is a collector again.
    hub.close_all();
    // What is still open then was told to end.
    let _ = tokio::time::timeout(ENDING, pages).await;
    store.close().await;
    audits.map_err(|error| Error::Internal(format!("audits ended: {error}")))
}

/// What the collector is told.
struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::Internal(format!("cannot be told to end: {error}")));
        Ok(Self {
            hang_up: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }
}

/// Reloads on SIGHUP; returns on SIGTERM or SIGINT, when all was told to end.
async fn obey(path: &Path, config: &watch::Sender<Current>, mut signals: Signals, canceller: Canceller) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hang_up.recv() => reload(path, config),
        }
    }
    say("", "ends");
    canceller.cancel();
}

/// Takes alerts to their targets, those of the configuration that is in force.
async fn deliver(store: Store, mut config: watch::Receiver<Current>) {
    loop {
        let current = config.borrow_and_update().clone();
        let targets = current.config.alerts.iter();
        let targets = targets.map(|target| target.located(&current.directory)).collect();
        let courier = Courier::new(store.clone(), Backoff::default());
        tokio::select! {
            () = async {
                courier.run(targets, |message| say("", message)).await;
                // Without targets there is nothing to do until there are some.
                std::future::pending::<()>().await;
            } => {}
            changed = config.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Takes the file as it is now, if it can be used.
fn reload(path: &Path, config: &watch::Sender<Current>) {
    match Current::read(path) {
        Ok(new) => {
            let old = config.borrow().config.clone();
            if (old.listen, &old.store, &old.tls) != (new.config.listen, &new.config.store, &new.config.tls) {
                say("", "listen, tls and store take effect when it is started again");
            }
            config.send_replace(new);
            say("", "the configuration was read again");
        }
        Err(error) => say("", &format!("the configuration stays as it was: {error}")),
    }
}

/// A line for whoever reads the log; `group` is what it is about.
pub(crate) fn say(group: &str, message: &str) {
    let about = if group.is_empty() {
        String::new()
    } else {
        format!("{group}: ")
    };
    output::say(&format!("prejoin: {about}{message}"));
}
