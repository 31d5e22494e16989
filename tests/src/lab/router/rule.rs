//! One fault of the path: which packets it is about, and what becomes of each.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::STRANGER;
use super::nat::{Change, Flow};
use super::packet::Packet;
use crate::lab::fault::{Action, Rejection, Traffic};
use crate::lab::topology::Topology;

/// How long a packet is held back for another one to overtake it.
pub(super) const LONGEST_HOLD: Duration = Duration::from_millis(50);

/// A fault at work.
pub(super) struct Rule {
    pub id: u64,
    on: Traffic,
    from: Option<Vec<bool>>,
    to: Option<Vec<bool>>,
    action: Action,
    counts: HashMap<Stream, u64>,
    held: HashMap<Flow, (u64, usize, Packet)>,
    holds: u64,
    budget: f64,
    filled: Option<Instant>,
}

/// What belongs together for a sender, whichever source port it uses.
type Stream = (IpAddr, IpAddr, u8, Option<u16>);

/// What a rule says of one packet.
pub(super) enum Verdict {
    Pass,
    Lose,
    Reject(Rejection),
    Narrow {
        bytes: u32,
        told: bool,
    },
    Change(Change),
    Delay(Duration),
    Twice,
    /// Keep it under this number until another one overtakes it.
    Hold(u64),
    /// Let it pass, and after it what is held under this number.
    Overtake(u64),
}

impl Rule {
    /// Names are looked up once, here.
    ///
    /// # Errors
    /// When the lab has nothing of a name.
    pub(super) fn new(id: u64, on: Traffic, action: Action, topology: &Topology) -> anyhow::Result<Self> {
        let select = |name: Option<&str>| {
            name.map(|name| topology.select(name).with_context(|| format!("the lab has no {name}")))
                .transpose()
        };
        let (from, to) = on.ends();
        Ok(Self {
            id,
            from: select(from)?,
            to: select(to)?,
            on,
            action,
            counts: HashMap::new(),
            held: HashMap::new(),
            // Numbers of different rules differ.
            holds: id << 32,
            budget: 0.0,
            filled: None,
        })
    }

    /// Whether a packet is meant; what the router says itself comes from no node.
    pub(super) fn covers(&self, from: Option<usize>, to: usize, packet: &Packet, inside: bool) -> bool {
        let chosen = |nodes: &Option<Vec<bool>>, node: Option<usize>| match (nodes, node) {
            (None, _) => true,
            (Some(nodes), Some(node)) => nodes.get(node).copied().unwrap_or(false),
            (Some(_), None) => false,
        };
        let port = packet.ports.map(|(_, destination)| destination);
        self.on.covers(packet.is_ipv6(), packet.protocol, port, inside)
            && chosen(&self.from, from)
            && chosen(&self.to, Some(to))
    }

    /// What becomes of a packet that is meant.
    pub(super) fn judge(&mut self, packet: &Packet, now: Instant) -> Verdict {
        match &self.action {
            Action::Drop => Verdict::Lose,
            Action::Reject(how) => Verdict::Reject(*how),
            Action::Mtu { bytes, told } => Verdict::Narrow {
                bytes: *bytes,
                told: *told,
            },
            Action::SourceNat { address } if address.is_ipv4() == packet.source.is_ipv4() => Verdict::Change(Change {
                source: Some(*address),
                ..Change::default()
            }),
            Action::SourceNat { .. } => Verdict::Pass,
            Action::SourcePortNat => Verdict::Change(Change {
                source_port: true,
                ..Change::default()
            }),
            Action::Hijack => Verdict::Change(Change {
                destination: STRANGER
                    .into_iter()
                    .find(|address| address.is_ipv4() == packet.source.is_ipv4()),
                ..Change::default()
            }),
            Action::Delay { millis } => Verdict::Delay(Duration::from_millis(u64::from(*millis))),
            &Action::Lose { percent, seed } => {
                let stream = stream(packet);
                let nth = self.count(stream);
                lose_if(draw(&(seed, stream, nth)) % 100 < u64::from(percent))
            }
            Action::LoseFirst => lose_if(self.count(stream(packet)) == 0),
            Action::Duplicate => Verdict::Twice,
            Action::Reorder => self.reorder(packet),
            &Action::DeadMember { of } => lose_if(draw(&Flow::of(packet)).is_multiple_of(u64::from(of))),
            &Action::Police { per_second } => self.police(f64::from(per_second), now),
        }
    }

    fn count(&mut self, stream: Stream) -> u64 {
        let count = self.counts.entry(stream).or_default();
        *count += 1;
        *count - 1
    }

    fn reorder(&mut self, packet: &Packet) -> Verdict {
        if let Some(&(held, ..)) = self.held.get(&Flow::of(packet)) {
            return Verdict::Overtake(held);
        }
        self.holds += 1;
        Verdict::Hold(self.holds)
    }

    /// Keeps a packet back.
    pub(super) fn hold(&mut self, number: u64, to: usize, packet: Packet) {
        self.held.insert(Flow::of(&packet), (number, to, packet));
    }

    /// Gives back what is held under a number, if it still is.
    pub(super) fn release(&mut self, number: u64) -> Option<(usize, Packet)> {
        let flow = *self.held.iter().find(|(_, (held, ..))| *held == number)?.0;
        let (_, to, packet) = self.held.remove(&flow)?;
        Some((to, packet))
    }

    fn police(&mut self, per_second: f64, now: Instant) -> Verdict {
        let burst = (per_second / 10.0).max(1.0);
        let since = self
            .filled
            .map(|filled| now.saturating_duration_since(filled).as_secs_f64());
        self.budget = since.map_or(burst, |since| (self.budget + since * per_second).min(burst));
        self.filled = Some(now);
        if self.budget < 1.0 {
            return Verdict::Lose;
        }
        self.budget -= 1.0;
        Verdict::Pass
    }
}

fn stream(packet: &Packet) -> Stream {
    let port = packet.ports.map(|(_, destination)| destination);
    (packet.source, packet.destination, packet.protocol, port)
}

fn lose_if(lost: bool) -> Verdict {
    if lost { Verdict::Lose } else { Verdict::Pass }
}

/// A number that follows from what is given and from nothing else.
fn draw(from: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    from.hash(&mut hasher);
    hasher.finish()
}
