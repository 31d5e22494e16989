//! Sends what the plan lists, and nothing else, and says what became of it.
//!
//! As many probes of a run are under way at once as its rate can feed even if all of them stay silent; [`pace`] decides when each packet may
//! leave. What stays silent is tried again from other source ports a third of a timeout later, so that a run takes the slowest round trip, or
//! one timeout and two thirds, and what the caps cost.

mod icmp;
mod ip_protocol;
mod nat_discovery;
pub mod outcome;
pub mod pace;
mod path_mtu;
mod reach;
mod tally;
mod tcp;
mod tls;
mod udp;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prejoin_checks::facts::kernel::ResolvedName;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::{Listening, Sent};
use prejoin_checks::plan::{Pace, ProbeKind, cost};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::pace::Pacers;
use self::reach::Reached;
use crate::nonce::Seal;
use crate::protocol::ProbeOrder;

/// Descriptors that are left to everything but connections.
const OTHER_DESCRIPTORS: u64 = 128;
/// Connections that are open at once at most.
const MOST_CONNECTIONS: u64 = 4_096;

/// Probes that are under way at once, at least: few enough to cost nothing.
const LEAST_AT_ONCE: u64 = 64;
/// The same at most: what they keep of their packets has to fit into the memory of a small agent.
const MOST_AT_ONCE: u64 = 512;

/// How long the node's resolver may take: it tries its servers one after the other.
const RESOLVER_PATIENCE: Duration = Duration::from_secs(10);

/// What all probes of a session share.
#[derive(Debug)]
pub struct ProbeContext {
    seal: Seal,
    pace: Pace,
    pacers: Pacers,
    /// Connections that may be open at once.
    connections: Semaphore,
    packets: AtomicU64,
    begun: Instant,
}

impl ProbeContext {
    /// For the audit of this seal, at this pace.
    pub fn new(seal: Seal, pace: Pace) -> Self {
        Self {
            seal,
            pace,
            pacers: Pacers::new(pace.rate, pace.target_rate),
            connections: Semaphore::new(connections()),
            packets: AtomicU64::new(0),
            begun: Instant::now(),
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.pace.timeout_millis.into())
    }

    /// After so long a silence the next try begins, while answers to the one before are still waited for.
    fn stagger(&self) -> Duration {
        self.timeout() / cost::TRIES
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn count(&self, packets: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
    }
}

/// How many connections may be open at once; asks for as many descriptors as the process may have.
fn connections() -> usize {
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1_024, |(now, most)| {
        // Refused or not: what counts is what holds afterwards.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        getrlimit(Resource::RLIMIT_NOFILE).map_or(now, |(now, _)| now)
    });
    usize::try_from(
        descriptors
            .saturating_sub(OTHER_DESCRIPTORS)
            .clamp(16, MOST_CONNECTIONS),
    )
    .unwrap_or(16)
}

/// Sends all of these probes and gives each one's result as it is finished; how many packets were sent.
///
/// Everything is closed when the returned future is finished or dropped. A dropped receiver of results ends nothing early.
pub async fn run(
    orders: Vec<ProbeOrder>,
    context: &Arc<ProbeContext>,
    results: mpsc::Sender<(u32, Result<Sent, Unknown>)>,
) -> u64 {
    let before = context.packets.load(Ordering::Relaxed);
    let tools = Arc::new(Tools {
        reached: Reached::of(&orders),
        context: Arc::clone(context),
        udp: udp::Sources::new(Arc::clone(context)),
        icmp: icmp::Clients::default(),
    });
    let at_once = at_once(&context.pace).min(orders.len());
    let waiting = Arc::new(Mutex::new(in_turns(orders)));
    // So many tasks take one order after another: a task for each order would cost a tenth of a fast probe's time.
    let mut running = JoinSet::new();
    for _ in 0..at_once {
        let (waiting, tools, results) = (Arc::clone(&waiting), Arc::clone(&tools), results.clone());
        running.spawn(async move {
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(order) = next else { break };
                let id = order.id;
                let result = probe(&tools, order).await;
                // Nobody listens any more: the session is ending.
                let _ = results.send((id, result)).await;
            }
        });
    }
    drop(results);
    while running.join_next().await.is_some() {}
    context.packets.load(Ordering::Relaxed) - before
}

/// How many probes are under way at once: those that the rate lets begin while a silent one takes its timeout and two thirds. More would wait
/// for the cap and not for the network.
fn at_once(pace: &Pace) -> usize {
    let silent_millis = u64::from(pace.timeout_millis) * u64::from(2 * cost::TRIES - 1) / u64::from(cost::TRIES);
    // The cheapest silent probe is one packet in each try.
    let begun = u64::from(pace.rate) * silent_millis / 1_000 / u64::from(cost::TRIES);
    usize::try_from(begun.clamp(LEAST_AT_ONCE, MOST_AT_ONCE)).unwrap_or(usize::MAX)
}

/// One order of each target, then the second of each, and so on: a target whose own cap is low does not hold up the others. Path MTU searches
/// come last, as they wait for what else is sent to their port.
fn in_turns(orders: Vec<ProbeOrder>) -> impl Iterator<Item = ProbeOrder> {
    let mut of_target: HashMap<Option<IpAddr>, u32> = HashMap::new();
    let mut turns: Vec<_> = orders
        .into_iter()
        .map(|order| {
            let turn = of_target.entry(order.address).or_default();
            *turn += 1;
            let waits = matches!(order.kind, ProbeKind::PathMtu { .. });
            ((waits, *turn), order)
        })
        .collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, order)| order)
}

/// What the probes of one run share.
struct Tools {
    context: Arc<ProbeContext>,
    reached: Reached,
    udp: udp::Sources,
    icmp: icmp::Clients,
}

/// Each kind has a future of its own size: the rare large ones are kept apart, so that the many small ones stay small.
async fn probe(tools: &Tools, order: ProbeOrder) -> Result<Sent, Unknown> {
    let context = &tools.context;
    match order.kind {
        ProbeKind::Tcp { port, tls } => {
            let asked = tcp::Order {
                id: order.id,
                target: SocketAddr::new(target(&order).await?, port),
                host: &order.host,
                nonce: order.listening == Some(Listening::Bound),
                tls,
            };
            tcp::probe(context, asked).await
        }
        ProbeKind::Udp { port } => {
            let target = SocketAddr::new(target(&order).await?, port);
            let result = udp::probe(&tools.udp, order.id, target, order.listening).await;
            tools.reached.finished(target, result.as_ref().ok());
            result
        }
        ProbeKind::Resolve { names } => Ok(resolve_all(names).await),
        ProbeKind::Icmp => icmp::probe(context, &tools.icmp, order.id, target(&order).await?).await,
        ProbeKind::IpProtocol { number } => {
            let target = target(&order).await?;
            Box::pin(ip_protocol::probe(context, order.id, target, number)).await
        }
        ProbeKind::PathMtu {
            port,
            floor,
            ceiling,
            ref candidates,
        } => {
            let target = SocketAddr::new(target(&order).await?, port);
            let asked = path_mtu::Order {
                id: order.id,
                target,
                floor,
                ceiling,
                candidates,
                listening: order.listening,
                before: tools.reached.known(target).await,
            };
            Box::pin(path_mtu::probe(context, asked)).await
        }
        ProbeKind::NatDiscovery {
            port,
            ref cluster_id,
            ref endpoint_id,
        } => {
            let asked = nat_discovery::Order {
                target: SocketAddr::new(target(&order).await?, port),
                cluster_id,
                endpoint_id,
            };
            Box::pin(nat_discovery::probe(context, asked)).await
        }
    }
}

/// The address that an order names, or the first that its name resolves to.
async fn target(order: &ProbeOrder) -> Result<IpAddr, Unknown> {
    if let Some(address) = order.address {
        return Ok(address);
    }
    if order.host.is_empty() {
        return Err(Unknown::not_found("the probe names neither an address nor a name"));
    }
    let addresses = resolve(&order.host).await?;
    addresses
        .first()
        .copied()
        .ok_or_else(|| Unknown::not_found(format!("{} has no address", order.host)))
}

/// All names at once.
async fn resolve_all(names: Vec<String>) -> Sent {
    let resolved = names.into_iter().map(async |name| {
        let result = resolve(&name).await;
        ResolvedName { name, result }
    });
    let names = futures::future::join_all(resolved).await;
    let answered = names.iter().filter(|name| name.result.is_ok()).count();
    Sent {
        sent: u32::try_from(names.len()).unwrap_or(u32::MAX),
        answered: u32::try_from(answered).unwrap_or(u32::MAX),
        names,
        ..Sent::default()
    }
}

/// What this node's resolver says of a name: its addresses, in the resolver's order.
async fn resolve(name: &str) -> Result<Vec<IpAddr>, Unknown> {
    let found = tokio::time::timeout(RESOLVER_PATIENCE, tokio::net::lookup_host((name, 0))).await;
    let mut addresses: Vec<_> = found
        .map_err(|_| Unknown::new(Reason::Unreachable, format!("{name}: the resolver did not answer")))?
        .map_err(|error| Unknown::not_found(format!("{name} does not resolve: {error}")))?
        .map(|address| address.ip())
        .collect();
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    Ok(addresses)
}

/// The address from which the kernel sends to a target, if it has a route. Sends nothing.
fn source_address(target: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if target.is_ipv6() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(target).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// A time by chance, on average this one.
fn about(time: Duration) -> Duration {
    // A hasher's keys are random and never the same twice.
    let chance = RandomState::new().hash_one(()) >> 32;
    (time * 2).mul_f64(f64::from(u32::try_from(chance).unwrap_or(0)) / f64::from(u32::MAX))
}

/// The beginning of a text, of at most so many bytes and of whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// Why a probe could not even be tried.
fn local_failure(what: &str, error: &io::Error) -> Unknown {
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied => Reason::Forbidden,
        _ => Reason::ServerError,
    };
    Unknown::new(reason, format!("{what} could not be opened: {error}"))
}

/// For fuzzing: whatever Submariner's NAT discovery answers, parsing it does not panic.
///
/// # Panics
/// If it does.
pub fn fuzz_nat_discovery(datagram: &[u8]) {
    nat_discovery::fuzz(datagram);
}

/// For fuzzing: whatever a TLS service shows as its certificate, describing it does not panic.
///
/// # Panics
/// If it does.
pub fn fuzz_certificate(der: &[u8]) {
    tls::fuzz(der);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: u32, target: [u8; 4]) -> ProbeOrder {
        ProbeOrder {
            id,
            address: Some(target.into()),
            host: String::new(),
            kind: ProbeKind::Icmp,
            listening: None,
        }
    }

    #[test]
    fn targets_take_turns() {
        let (slow, other, third) = ([192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 3]);
        let orders = vec![
            order(1, slow),
            order(2, slow),
            order(3, slow),
            order(4, other),
            order(5, other),
            order(6, third),
        ];
        let ids: Vec<_> = in_turns(orders).map(|order| order.id).collect();
        assert_eq!(ids, [1, 4, 6, 2, 5, 3]);
    }

    #[test]
    fn searches_for_the_path_mtu_wait_for_everything_else() {
        let search = ProbeOrder {
            kind: ProbeKind::PathMtu {
                port: 1,
                floor: 576,
                ceiling: 1_500,
                candidates: Vec::new(),
            },
            ..order(1, [192, 0, 2, 1])
        };
        let orders = vec![search, order(2, [192, 0, 2, 2]), order(3, [192, 0, 2, 2])];
        let ids: Vec<_> = in_turns(orders).map(|order| order.id).collect();
        assert_eq!(ids, [2, 3, 1]);
    }

    #[test]
    fn as_many_are_under_way_as_the_rate_can_feed() {
        let pace = |rate, timeout_millis| Pace {
            rate,
            timeout_millis,
            ..Pace::default()
        };
        assert_eq!(
            at_once(&pace(900, 1_000)),
            499,
            "900 packets a second for 1.666 s, at least three for each"
        );
        assert_eq!(at_once(&pace(1, 1_000)), 64);
        assert_eq!(at_once(&pace(pace::UNLIMITED, 60_000)), 512);
    }
}
