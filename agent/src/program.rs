//! What both binaries are: an agent's verbs on the command line.

use std::io::{self, Write as _};
use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{self, Command, Dialling, Settings};
use crate::protocol::Role;
use crate::session::{self, Agent, Ended, ReadCluster};
use crate::wait::{self, Woken};

/// The session ended otherwise than by `close`.
const CUT_SHORT: u8 = 1;
/// The arguments or the environment make no sense.
const USAGE: u8 = 2;
/// Threads that probe, where the node has so many processors: an agent takes no more of a node, and one alone is slower than a port scanner.
const MOST_THREADS: usize = 2;
/// Beyond the longest session, the kernel ends a process that does not end itself.
const GRACE: Duration = Duration::from_secs(15);

/// What the cluster agent does with its cluster's API.
pub struct ClusterApi {
    /// Reads it.
    pub read: ReadCluster,
    /// Removes the namespace that this runs in, or says why not.
    pub remove_namespace: fn() -> LocalBoxFuture<'static, Result<(), String>>,
    /// Dials out with this agent until the last says what ends it; an error says what was wrong with the arguments.
    pub dial: fn(Agent, Dialling, Stop) -> LocalBoxFuture<'static, Result<&'static str, String>>,
}

/// Comes to its end when the agent is told to stop, and says by what.
pub type Stop = LocalBoxFuture<'static, &'static str>;

/// Runs an agent of this role; one of the cluster role has an API.
pub fn main(name: &str, role: Role, api: Option<ClusterApi>) -> ExitCode {
    match arguments::parse(std::env::args_os().skip(1), std::env::var_os) {
        Ok(Command::Wait(waiting)) => match (wait::wait(waiting.deadline), &api) {
            (Ok(Woken::Deadline), Some(api)) if waiting.remove_namespace => remove_namespace(name, api),
            (Ok(Woken::Deadline), None) if waiting.remove_namespace => {
                fail(name, USAGE, &"this agent has no API to remove a namespace with")
            }
            (Ok(_), _) => ExitCode::SUCCESS,
            (Err(error), _) => fail(name, CUT_SHORT, &error),
        },
        Ok(Command::Session(settings)) => match session(settings, role, api.map(|api| api.read)) {
            Ok(Ended::Closed) => ExitCode::SUCCESS,
            Ok(ended) => fail(name, CUT_SHORT, &ended),
            Err(error) => fail(name, CUT_SHORT, &error),
        },
        Ok(Command::Dial(dialling)) => match api {
            Some(api) => match dial(dialling, api) {
                Ok(_) => ExitCode::SUCCESS,
                Err(error) => fail(name, USAGE, &error),
            },
            None => fail(name, USAGE, &"this agent has no cluster to dial out for"),
        },
        Ok(Command::Help) => say(&format!(
            "{name}: reads this node and probes from it, for `prejoin`\n\n{}",
            arguments::HELP
        )),
        Ok(Command::Version) => say(&format!("{name} {}\n", env!("CARGO_PKG_VERSION"))),
        Err(error) => fail(name, USAGE, &error),
    }
}

fn remove_namespace(name: &str, api: &ClusterApi) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(name, CUT_SHORT, &error),
    };
    match runtime.block_on((api.remove_namespace)()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(name, CUT_SHORT, &why),
    }
}

fn session(settings: Settings, role: Role, cluster: Option<ReadCluster>) -> Result<Ended, session::SessionError> {
    let agent = agent(settings, role, cluster);
    // Whatever hangs: this does not.
    let longest = u64::from(agent.allow.limits().deadline_seconds) + GRACE.as_secs();
    nix::unistd::alarm::set(u32::try_from(longest).unwrap_or(u32::MAX));
    let runtime = runtime()?;
    let ended = runtime
        .block_on(async { session::run(&agent, tokio::io::stdin(), tokio::io::stdout(), told_to_stop()?).await });
    // A thread may still sit in a read of stdin, or in a name's resolution: neither is waited for.
    runtime.shutdown_background();
    ended
}

/// Dials out until a signal ends it.
fn dial(dialling: Dialling, api: ClusterApi) -> Result<&'static str, String> {
    let agent = agent(dialling.settings.clone(), Role::Cluster, Some(api.read));
    let runtime = runtime().map_err(|error| error.to_string())?;
    let ended = runtime.block_on(async {
        let stop = told_to_stop().map_err(|error| error.to_string())?;
        (api.dial)(agent, dialling, Box::pin(stop)).await
    });
    runtime.shutdown_background();
    ended
}

fn agent(settings: Settings, role: Role, cluster: Option<ReadCluster>) -> Agent {
    let node = settings
        .node_name
        .or_else(|| nix::unistd::gethostname().ok()?.into_string().ok());
    Agent {
        role,
        node: node.unwrap_or_default(),
        allow: settings.allow,
        highest_version: settings.highest_version,
        cluster,
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(MOST_THREADS.min(available_parallelism().map_or(1, NonZero::get)))
        .enable_all()
        .build()
}

/// Resolves at the first signal that ends a program.
fn told_to_stop() -> io::Result<impl Future<Output = &'static str>> {
    let (mut terminate, mut interrupt, mut hang_up) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hang_up.recv() => "SIGHUP",
        }
    })
}

fn say(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(CUT_SHORT),
    }
}

fn fail(name: &str, code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    // Nothing is left to be done if stderr is gone as well.
    let _ = writeln!(io::stderr(), "{name}: {error}");
    ExitCode::from(code)
}
