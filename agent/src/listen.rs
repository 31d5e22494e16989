//! The answering side: listens where the plan says, answers authenticated requests of this audit, and remembers what it heard.
//!
//! A port that is free is bound, without any option that lets two sockets share it. A port that something else holds is left alone: what
//! arrives for it is seen by a packet socket that only receives. The same packet socket watches beside bound ports, so that a host's own
//! firewall can be told from one on the way. Everything is closed when [`Listeners`] is dropped.

mod bind;
mod bpf;
mod capture;
mod holder;
mod ledger;
mod tcp;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::Listening;
use prejoin_checks::plan::Service;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::bind::Bound;
use self::capture::Capture;
use self::ledger::Ledger;
use crate::nonce::Seal;
use crate::probe::pace::Pace;
use crate::protocol::{HeardProbe, ListenOn, ListenerState};

/// Everything of a session that listens.
#[derive(Debug, Default)]
pub struct Listeners {
    all: Vec<Arc<Listener>>,
    tasks: JoinSet<()>,
    capture: Option<Capture>,
}

/// One port or protocol.
#[derive(Debug)]
struct Listener {
    id: u32,
    service: Service,
    /// As ordered; packets to it are this listener's wherever they are captured.
    address: IpAddr,
    how: Listening,
    seal: Seal,
    ledger: Mutex<Ledger>,
    pace: Mutex<Pace>,
    begun: Instant,
}

impl Listener {
    fn new(order: &ListenOn, how: Listening, seal: &Seal) -> Arc<Self> {
        Arc::new(Self {
            id: order.id,
            service: order.service,
            address: order.address,
            how,
            seal: seal.clone(),
            ledger: Mutex::default(),
            pace: Mutex::new(Pace::of_answers(order.answer_rate)),
            begun: Instant::now(),
        })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more answer may leave now.
    fn may_answer(&self) -> bool {
        self.pace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_take(self.begun.elapsed(), 1)
    }
}

impl Listeners {
    /// Listens on all of these; of each, how, or why not. They listen when this returns.
    ///
    /// Must be called within a Tokio runtime.
    pub fn open(orders: Vec<ListenOn>, seal: &Seal) -> (Self, Vec<ListenerState>) {
        let mut opened = Self::default();
        let capture = if orders.iter().any(|order| can_capture(order.service)) {
            Capture::open()
        } else {
            Err(Unknown::new(Reason::NotAsked, "there is nothing to capture"))
        };
        let mut states = Vec::new();
        for order in orders {
            let mut held_by = String::new();
            let state = match order.service {
                Service::Tcp(port) => opened.listen(&order, seal, port, &mut held_by, None),
                Service::Udp(port) => opened.listen(&order, seal, port, &mut held_by, Some(&capture)),
                Service::IpProtocol(_) => capture
                    .as_ref()
                    .map_err(Clone::clone)
                    .map(|_| opened.add(Listener::new(&order, Listening::Captured, seal))),
                Service::IcmpEcho => Err(Unknown::new(
                    Reason::NotAsked,
                    "the kernel answers echoes; no listener is needed",
                )),
            };
            states.push(ListenerState {
                id: order.id,
                captures: state.is_ok() && capture.is_ok() && can_capture(order.service),
                state,
                held_by,
            });
        }
        if let Ok(mut capture) = capture
            && opened.all.iter().any(|listener| can_capture(listener.service))
        {
            capture.start(opened.all.clone());
            opened.capture = Some(capture);
        }
        (opened, states)
    }

    fn add(&mut self, listener: Arc<Listener>) -> Listening {
        let how = listener.how;
        self.all.push(listener);
        how
    }

    /// Binds a port; if something holds it, falls back on the capture, where there can be one.
    fn listen(
        &mut self,
        order: &ListenOn,
        seal: &Seal,
        port: u16,
        held_by: &mut String,
        capture: Option<&Result<Capture, Unknown>>,
    ) -> Result<Listening, Unknown> {
        let failure = match bind::bind(order.service, SocketAddr::new(order.address, port)) {
            Ok(Bound::Tcp(socket)) => {
                let listener = Listener::new(order, Listening::Bound, seal);
                self.tasks.spawn(tcp::serve(socket, Arc::clone(&listener)));
                return Ok(self.add(listener));
            }
            Ok(Bound::Udp(socket)) => {
                let listener = Listener::new(order, Listening::Bound, seal);
                self.tasks.spawn(udp::serve(socket, Arc::clone(&listener)));
                return Ok(self.add(listener));
            }
            Err(failure) => failure,
        };
        if failure.is_taken() {
            *held_by = holder::of(order.service, order.address);
        }
        match capture {
            Some(Ok(_)) if failure.leaves_capture() => Ok(self.add(Listener::new(order, Listening::Captured, seal))),
            Some(Err(why)) if failure.leaves_capture() => Err(Unknown::new(
                why.reason,
                format!("{}; {}", failure.describe(order.service, held_by), why.detail),
            )),
            _ => Err(failure.into_unknown(order.service, held_by)),
        }
    }

    /// Stops listening, and says what was heard: of each probe, and for each listener how many packets were not of this audit. When this has
    /// ended every port is free again.
    pub async fn hush(mut self) -> (Vec<HeardProbe>, Vec<(u32, u32)>) {
        let dropped = self.capture.take().map(Capture::stop);
        self.tasks.shutdown().await;
        let mut heard = Vec::new();
        let mut foreign = Vec::new();
        for listener in &self.all {
            let ledger = listener.ledger();
            let dropped = dropped.filter(|_| can_capture(listener.service));
            heard.extend(
                ledger
                    .heard(listener.how, dropped)
                    .into_iter()
                    .map(|(probe, heard)| HeardProbe {
                        listener: listener.id,
                        probe,
                        heard,
                    }),
            );
            foreign.push((listener.id, ledger.foreign()));
        }
        (heard, foreign)
    }
}

/// Whether what arrives can be authenticated by the packet alone: a TCP connection request carries nothing of ours.
fn can_capture(service: Service) -> bool {
    matches!(service, Service::Udp(_) | Service::IpProtocol(_))
}

/// For fuzzing: whatever a captured packet is, parsing it does not panic.
///
/// # Panics
/// If it does.
pub fn fuzz(packet: &[u8]) {
    capture::fuzz(packet);
}
