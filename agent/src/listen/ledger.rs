//! What one listener heard of each probe; bounded, whatever arrives.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use prejoin_checks::observation::{Heard, Listening};

/// Probes that are remembered.
const PROBES_KEPT: usize = 16_384;
/// Sequence numbers that are told apart; a probe has far fewer.
const SEQUENCES_KEPT: u32 = 65_536;
/// Senders that are remembered of each probe.
const SENDERS_KEPT: usize = 16;

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    probes: BTreeMap<u32, OfProbe>,
    foreign: u32,
}

#[derive(Debug, Default)]
struct OfProbe {
    socket: Numbers,
    capture: Numbers,
    from: Vec<SocketAddr>,
}

/// A set of sequence numbers.
#[derive(Debug, Default)]
struct Numbers {
    bits: Vec<u64>,
    count: u32,
}

impl Numbers {
    fn insert(&mut self, number: u32) {
        if number >= SEQUENCES_KEPT {
            return;
        }
        let (index, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.bits.len() <= index {
            self.bits.resize(index + 1, 0);
        }
        if self.bits[index] & bit == 0 {
            self.bits[index] |= bit;
            self.count += 1;
        }
    }
}

impl Ledger {
    /// A valid nonce came to the socket.
    pub(super) fn arrived(&mut self, probe: u32, sequence: u32, from: SocketAddr) {
        if let Some(of_probe) = self.of(probe, from) {
            of_probe.socket.insert(sequence);
        }
    }

    /// A valid nonce was seen by the capture.
    pub(super) fn captured(&mut self, probe: u32, sequence: u32, from: SocketAddr) {
        if let Some(of_probe) = self.of(probe, from) {
            of_probe.capture.insert(sequence);
        }
    }

    /// Something came that is not of this audit.
    pub(super) fn add_foreign(&mut self) {
        self.foreign = self.foreign.saturating_add(1);
    }

    /// How much came that is not of this audit.
    pub(super) fn foreign(&self) -> u32 {
        self.foreign
    }

    fn of(&mut self, probe: u32, from: SocketAddr) -> Option<&mut OfProbe> {
        if self.probes.len() >= PROBES_KEPT && !self.probes.contains_key(&probe) {
            return None;
        }
        let of_probe = self.probes.entry(probe).or_default();
        if of_probe.from.len() < SENDERS_KEPT && !of_probe.from.contains(&from) {
            of_probe.from.push(from);
        }
        Some(of_probe)
    }

    /// What was heard of each probe; `dropped` by the capture, where there was one.
    pub(super) fn heard(&self, how: Listening, dropped: Option<u32>) -> Vec<(u32, Heard)> {
        let heard = |of_probe: &OfProbe| {
            let (received, captured) = match how {
                Listening::Bound => (of_probe.socket.count, dropped.map(|_| of_probe.capture.count)),
                Listening::Captured => (of_probe.capture.count, None),
            };
            Heard {
                how,
                received,
                from: of_probe.from.clone(),
                captured,
                foreign: self.foreign,
                dropped: dropped.unwrap_or(0),
            }
        };
        self.probes
            .iter()
            .map(|(&probe, of_probe)| (probe, heard(of_probe)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn the_same_nonce_counts_once() {
        let mut ledger = Ledger::default();
        for sequence in [0, 1, 1, 64, 0, 70_000] {
            ledger.arrived(5, sequence, from(1_000));
        }
        let heard = ledger.heard(Listening::Bound, None);
        assert_eq!((heard[0].0, heard[0].1.received, heard[0].1.captured), (5, 3, None));
        assert_eq!(heard[0].1.from, [from(1_000)]);
    }

    #[test]
    fn what_the_capture_saw_is_told_from_what_the_socket_got() {
        let mut ledger = Ledger::default();
        ledger.captured(5, 0, from(1));
        ledger.captured(5, 1, from(1));
        ledger.arrived(5, 1, from(1));
        ledger.add_foreign();
        let (_, bound) = &ledger.heard(Listening::Bound, Some(7))[0];
        assert_eq!(
            (bound.received, bound.captured, bound.foreign, bound.dropped),
            (1, Some(2), 1, 7)
        );
        let (_, captured) = &ledger.heard(Listening::Captured, Some(0))[0];
        assert_eq!((captured.received, captured.captured), (2, None));
    }

    #[test]
    fn a_flood_does_not_fill_the_memory() {
        let mut ledger = Ledger::default();
        for probe in 0..20_000 {
            ledger.arrived(probe, u32::MAX, from(1));
        }
        for port in 0..100 {
            ledger.arrived(3, 0, from(port));
        }
        let heard = ledger.heard(Listening::Bound, None);
        assert_eq!((heard.len(), heard[3].1.from.len()), (PROBES_KEPT, SENDERS_KEPT));
    }
}
