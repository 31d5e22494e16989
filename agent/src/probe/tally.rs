//! What became of each datagram or echo of one probe, and what follows from all of them.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use prejoin_checks::observation::{ClockOffset, RoundTrip, Sent};

use crate::nonce::AnswerPart;
use crate::probe::outcome::Errors;

/// Addresses of the sender as the peer saw it that are kept; a peer that invents them cannot fill the memory.
const SEEN_KEPT: usize = 16;

/// One probe's account. Times are spans since any fixed moment.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sent: Vec<One>,
    answered: u32,
    duplicates: u32,
    reordered: u32,
    /// The latest answered of each port: only what left from one port is one flow, whose order counts.
    latest: HashMap<u16, u32>,
    seen_as: Vec<SocketAddr>,
    best: Option<(u64, ClockOffset)>,
    ttl: Option<u8>,
    foreign: u32,
    foreign_from: Option<SocketAddr>,
    /// Errors met.
    pub(super) errors: Errors,
}

#[derive(Debug, Clone, Copy)]
struct One {
    at: Duration,
    port: u16,
    round_trip_micros: Option<u64>,
}

/// An answer that arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// When.
    pub(super) at: Duration,
    /// The own clock then, in microseconds since 1970.
    pub(super) clock_micros: u64,
    /// The own clock when the question was sent, as the answer repeats it.
    pub(super) sent_micros: u64,
    /// Its TTL or hop limit.
    pub(super) ttl: Option<u8>,
}

impl Tally {
    /// Another one leaves from this port, 0 for protocols without ports; its sequence number.
    pub(super) fn send(&mut self, at: Duration, port: u16) -> u32 {
        self.sent.push(One {
            at,
            port,
            round_trip_micros: None,
        });
        u32::try_from(self.sent.len() - 1).unwrap_or(u32::MAX)
    }

    /// How many have no answer yet.
    pub(super) fn unanswered(&self) -> usize {
        self.sent.iter().filter(|one| one.round_trip_micros.is_none()).count()
    }

    /// The round trip of this one begins only now: its connection is there.
    pub(super) fn restart(&mut self, sequence: u32, at: Duration) {
        if let Some(one) = usize::try_from(sequence)
            .ok()
            .and_then(|index| self.sent.get_mut(index))
        {
            one.at = at;
        }
    }

    /// An authenticated answer came to this port. Whether it was the first to one that was sent from there.
    pub(super) fn answer(&mut self, sequence: u32, port: u16, arrival: Arrival, said: Option<&AnswerPart>) -> bool {
        let one = usize::try_from(sequence)
            .ok()
            .and_then(|index| self.sent.get_mut(index));
        let Some(one) = one.filter(|one| one.port == port) else {
            self.foreign += 1;
            return false;
        };
        if one.round_trip_micros.is_some() {
            self.duplicates += 1;
            return false;
        }
        let round_trip_micros = micros(arrival.at.saturating_sub(one.at));
        one.round_trip_micros = Some(round_trip_micros);
        self.answered += 1;
        let latest = self.latest.entry(port).or_insert(sequence);
        if *latest > sequence {
            self.reordered += 1;
        }
        *latest = sequence.max(*latest);
        self.ttl = arrival.ttl.or(self.ttl);
        if let Some(said) = said {
            if !self.seen_as.contains(&said.seen) && self.seen_as.len() < SEEN_KEPT {
                self.seen_as.push(said.seen);
            }
            if self.best.is_none_or(|(best, _)| round_trip_micros < best) {
                self.best = Some((round_trip_micros, clock_offset(&arrival, said, round_trip_micros)));
            }
        }
        true
    }

    /// Something answered that was not asked.
    pub(super) fn foreign(&mut self, from: SocketAddr) {
        self.foreign = self.foreign.saturating_add(1);
        self.foreign_from.get_or_insert(from);
    }

    /// How many were sent.
    pub(super) fn sent(&self) -> u32 {
        u32::try_from(self.sent.len()).unwrap_or(u32::MAX)
    }

    /// How many were answered.
    pub(super) fn answered(&self) -> u32 {
        self.answered
    }

    /// How many are not answered.
    pub(super) fn missing(&self) -> u32 {
        self.sent() - self.answered
    }

    /// Ports from which something was sent and to which nothing was answered, in order.
    pub(super) fn silent_ports(&self) -> Vec<u16> {
        let answered = self.answered_ports();
        let mut silent: Vec<_> = self
            .sent
            .iter()
            .map(|one| one.port)
            .filter(|port| *port != 0 && !answered.contains(port))
            .collect();
        silent.sort_unstable();
        silent.dedup();
        silent
    }

    /// Ports to which something was answered, in order.
    pub(super) fn answered_ports(&self) -> Vec<u16> {
        let mut answered: Vec<_> = self
            .sent
            .iter()
            .filter(|one| one.port != 0 && one.round_trip_micros.is_some())
            .map(|one| one.port)
            .collect();
        answered.sort_unstable();
        answered.dedup();
        answered
    }

    /// Ports to which some were answered and some were not, in order.
    fn lossy_ports(&self) -> Vec<u16> {
        let silent = |one: &&One| one.port != 0 && one.round_trip_micros.is_none();
        let lost: BTreeSet<u16> = self.sent.iter().filter(silent).map(|one| one.port).collect();
        let answered = self.answered_ports();
        lost.into_iter().filter(|port| answered.contains(port)).collect()
    }

    /// The sender's account of it.
    pub(super) fn finish(&self) -> Sent {
        let (mut longest, mut run) = (0, 0);
        for one in &self.sent {
            run = if one.round_trip_micros.is_some() { 0 } else { run + 1 };
            longest = longest.max(run);
        }
        Sent {
            sent: self.sent(),
            answered: self.answered,
            duplicates: self.duplicates,
            reordered: self.reordered,
            longest_loss: longest,
            first_lost: self.answered > 0 && self.sent.first().is_some_and(|first| first.round_trip_micros.is_none()),
            silent_ports: self.silent_ports(),
            answered_ports: self.answered_ports(),
            lossy_ports: self.lossy_ports(),
            round_trip: RoundTrip::of(self.sent.iter().filter_map(|one| one.round_trip_micros).collect()),
            seen_as: self.seen_as.clone(),
            clock: self.best.map(|(_, offset)| offset),
            errors: self.errors.list(),
            foreign_answers: self.foreign,
            foreign_from: self.foreign_from,
            received_ttl: self.ttl,
            ..Sent::default()
        }
    }
}

/// The offset of the four timestamps of an exchange (RFC 5905, section 8), with half of the round trip as its bound.
pub(super) fn clock_offset(arrival: &Arrival, said: &AnswerPart, round_trip_micros: u64) -> ClockOffset {
    let forth = i128::from(said.received_micros) - i128::from(arrival.sent_micros);
    let back = i128::from(said.transmitted_micros) - i128::from(arrival.clock_micros);
    ClockOffset {
        offset_micros: i64::try_from(i128::midpoint(forth, back)).unwrap_or(if forth > 0 {
            i64::MAX
        } else {
            i64::MIN
        }),
        bound_micros: round_trip_micros.div_ceil(2),
    }
}

/// A span in whole microseconds.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn arrival(micros: u64) -> Arrival {
        Arrival {
            at: at(micros),
            clock_micros: micros,
            sent_micros: 0,
            ttl: Some(62),
        }
    }

    #[test]
    fn loss_order_and_duplicates_are_counted() {
        let mut tally = Tally::default();
        for number in 0..6_u16 {
            assert_eq!(tally.send(at(0), 1_000 + number % 2), u32::from(number));
        }
        assert!(tally.answer(4, 1_000, arrival(300), None));
        assert!(tally.answer(2, 1_000, arrival(400), None), "late, but the first to it");
        assert!(!tally.answer(4, 1_000, arrival(500), None), "twice");
        assert!(!tally.answer(9, 1_000, arrival(500), None), "never sent");
        assert!(!tally.answer(1, 1_000, arrival(500), None), "sent from another port");
        let sent = tally.finish();
        assert_eq!(
            (
                sent.sent,
                sent.answered,
                sent.duplicates,
                sent.reordered,
                sent.foreign_answers
            ),
            (6, 2, 1, 1, 2)
        );
        assert_eq!((sent.longest_loss, sent.first_lost), (2, true));
        assert_eq!((sent.silent_ports, sent.answered_ports), (vec![1_001], vec![1_000]));
        assert_eq!(sent.lossy_ports, [1_000]);
        let round_trip = sent.round_trip.unwrap();
        assert_eq!(
            (round_trip.samples, round_trip.min_micros, round_trip.max_micros),
            (2, 300, 400)
        );
        assert_eq!(sent.received_ttl, Some(62));
    }

    #[test]
    fn flows_of_different_ports_may_overtake_each_other() {
        let mut tally = Tally::default();
        for port in [1, 1, 2, 2] {
            tally.send(at(0), port);
        }
        for (sequence, port) in [(2, 2), (0, 1), (1, 1), (3, 2)] {
            assert!(tally.answer(sequence, port, arrival(300), None));
        }
        assert_eq!(tally.finish().reordered, 0);
    }

    #[test]
    fn what_is_silent_throughout_has_not_merely_lost_its_first() {
        let mut tally = Tally::default();
        tally.send(at(0), 1);
        let sent = tally.finish();
        assert_eq!(
            (sent.answered, sent.first_lost, sent.longest_loss, sent.round_trip),
            (0, false, 1, None)
        );
    }

    #[test]
    fn the_clock_comes_from_the_shortest_round_trip() {
        let seen: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let said = |received_micros, transmitted_micros| AnswerPart {
            received_micros,
            transmitted_micros,
            seen,
        };
        let mut tally = Tally::default();
        tally.send(at(0), 1);
        tally.send(at(0), 1);
        // The peer is 3 s ahead; the first exchange was held up on its way back for 80 ms.
        tally.answer(0, 1, arrival(81_000), Some(&said(3_000_500, 3_000_600)));
        tally.answer(1, 1, arrival(1_100), Some(&said(3_000_500, 3_000_600)));
        let sent = tally.finish();
        assert_eq!(
            sent.clock,
            Some(ClockOffset {
                offset_micros: 3_000_000,
                bound_micros: 550
            })
        );
        assert_eq!(sent.seen_as, [seen]);
    }

    #[test]
    fn absurd_clocks_are_survived() {
        let said = AnswerPart {
            received_micros: u64::MAX,
            transmitted_micros: u64::MAX,
            seen: "[::]:0".parse().unwrap(),
        };
        assert_eq!(clock_offset(&arrival(5), &said, 1).offset_micros, i64::MAX);
        let said = AnswerPart {
            received_micros: 0,
            transmitted_micros: 0,
            ..said
        };
        let late = Arrival {
            clock_micros: u64::MAX,
            sent_micros: u64::MAX,
            ..arrival(5)
        };
        assert_eq!(clock_offset(&late, &said, 1).offset_micros, i64::MIN);
    }
}
