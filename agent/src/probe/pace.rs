//! How fast packets leave: never more of them in any second than the cap, neither of the whole agent nor of one target.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// As good as no cap.
pub const UNLIMITED: u32 = u32::MAX;

/// What counts as one second: a little more, so that a packet that leaves somewhat late does not fall into a full second.
const WINDOW: Duration = Duration::from_millis(1_050);
/// How far sending may lag behind its even pace and catch up: timers tick in milliseconds.
const SLACK: Duration = Duration::from_millis(10);

/// One cap, without a clock: times are given, as spans since any fixed moment, and never go back.
#[derive(Debug, Clone)]
pub struct Pace {
    rate: u32,
    even: bool,
    /// When the even pace allows the next packet.
    next: Duration,
    /// What was taken within the last [`WINDOW`].
    recent: VecDeque<(Duration, u32)>,
    sum: u64,
}

impl Pace {
    /// At most this many packets in any second, evenly spread; at least one.
    pub fn new(rate: u32) -> Self {
        Self {
            rate: rate.max(1),
            even: true,
            next: Duration::ZERO,
            recent: VecDeque::new(),
            sum: 0,
        }
    }

    /// At most this many packets in any second, however they come: what answers cannot choose when it is asked.
    pub fn of_answers(rate: u32) -> Self {
        Self {
            even: false,
            ..Self::new(rate)
        }
    }

    /// The earliest moment, not before `now`, at which so many packets may leave. More packets than the cap wait for a second of their own.
    pub fn earliest(&mut self, now: Duration, packets: u32) -> Duration {
        if self.rate == UNLIMITED {
            return now;
        }
        self.forget(now);
        let mut earliest = if self.even {
            now.max(self.next.saturating_sub(SLACK))
        } else {
            now
        };
        let room = u64::from(self.rate.saturating_sub(packets));
        let mut sum = self.sum;
        for &(taken, count) in &self.recent {
            if sum <= room {
                break;
            }
            sum -= u64::from(count);
            earliest = earliest.max(taken + WINDOW);
        }
        earliest
    }

    /// So many packets leave now.
    pub fn take(&mut self, now: Duration, packets: u32) {
        if self.rate == UNLIMITED {
            return;
        }
        self.forget(now);
        self.next = self.next.max(now) + WINDOW * packets / self.rate;
        self.recent.push_back((now, packets));
        self.sum += u64::from(packets);
    }

    /// Takes so many packets if they may leave now.
    pub fn try_take(&mut self, now: Duration, packets: u32) -> bool {
        let free = self.earliest(now, packets) <= now;
        if free {
            self.take(now, packets);
        }
        free
    }

    fn forget(&mut self, now: Duration) {
        while let Some(&(taken, count)) = self.recent.front()
            && taken + WINDOW <= now
        {
            self.recent.pop_front();
            self.sum -= u64::from(count);
        }
    }
}

/// The caps of one agent and of each of its targets.
#[derive(Debug)]
pub struct Pacers {
    begun: Instant,
    agent: tokio::sync::Mutex<Pace>,
    target_rate: u32,
    targets: Mutex<HashMap<IpAddr, Arc<tokio::sync::Mutex<Pace>>>>,
    unlimited: bool,
}

impl Pacers {
    /// At most `rate` packets a second in all and `target_rate` to and from one target.
    pub fn new(rate: u32, target_rate: u32) -> Self {
        Self {
            begun: Instant::now(),
            agent: tokio::sync::Mutex::new(Pace::new(rate)),
            target_rate,
            targets: Mutex::default(),
            unlimited: rate == UNLIMITED && target_rate == UNLIMITED,
        }
    }

    /// Waits until so many packets to and from the target may be on the wire.
    ///
    /// Who waits for a target waits in line with others of that target only; whose target is ready waits in line for the agent.
    pub async fn take(&self, target: IpAddr, packets: u32) {
        if self.unlimited {
            return;
        }
        let line = Arc::clone(
            self.targets
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(target)
                .or_insert_with(|| Arc::new(tokio::sync::Mutex::new(Pace::new(self.target_rate)))),
        );
        let mut line = line.lock().await;
        self.reach(&mut line, packets).await;
        let mut agent = self.agent.lock().await;
        let now = self.reach(&mut agent, packets).await;
        agent.take(now, packets);
        line.take(now, packets);
    }

    async fn reach(&self, pace: &mut Pace, packets: u32) -> Duration {
        loop {
            let now = self.begun.elapsed();
            let earliest = pace.earliest(now, packets);
            if earliest <= now {
                return now;
            }
            tokio::time::sleep_until(self.begun + earliest).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn most_in_a_second(sent: &[(Duration, u32)]) -> u64 {
        let in_second_from = |start: Duration| {
            let within = |at: Duration| at >= start && at < start + Duration::from_secs(1);
            sent.iter()
                .filter(|(at, _)| within(*at))
                .map(|(_, packets)| u64::from(*packets))
                .sum()
        };
        sent.iter().map(|(at, _)| in_second_from(*at)).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn no_second_ever_holds_more_than_the_cap(
            rate in 1_u32..200,
            asks in proptest::collection::vec((0_u64..200, 1_u32..30), 1..150),
        ) {
            let mut pace = Pace::new(rate);
            let mut now = Duration::ZERO;
            let mut sent = Vec::new();
            for (pause_millis, packets) in asks {
                now = pace.earliest(now + Duration::from_millis(pause_millis), packets);
                pace.take(now, packets);
                sent.push((now, packets));
            }
            // What alone is more than the cap gets a second of its own.
            let largest = sent.iter().map(|(_, packets)| u64::from(*packets)).max().unwrap_or(0);
            prop_assert!(most_in_a_second(&sent) <= u64::from(rate).max(largest));
        }

        #[test]
        fn what_waits_gets_nearly_all_of_the_cap(rate in 50_u32..2_000, packets in 1_u32..4) {
            let mut pace = Pace::new(rate);
            let mut now = Duration::ZERO;
            let mut sent = 0;
            while now < Duration::from_secs(10) {
                now = pace.earliest(now, packets);
                pace.take(now, packets);
                sent += packets;
            }
            prop_assert!(sent >= rate * 9, "{sent} of {}", rate * 10);
        }
    }

    #[test]
    fn packets_leave_evenly_and_not_at_once() {
        let mut pace = Pace::new(100);
        let mut sent = 0;
        while pace.try_take(Duration::from_millis(20), 1) {
            sent += 1;
        }
        assert!((1..=2).contains(&sent), "{sent} at once");
    }

    #[test]
    fn answers_come_in_bunches_up_to_the_cap() {
        let mut pace = Pace::of_answers(100);
        let mut answered = |at: u64| (0..150).filter(|_| pace.try_take(Duration::from_millis(at), 1)).count();
        assert_eq!((answered(0), answered(900), answered(1_100)), (100, 0, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn caps_hold_for_the_agent_and_for_each_target() {
        let pacers = Pacers::new(100, 40);
        let begun = Instant::now();
        let sent = Mutex::new(Vec::new());
        let target = |number: u8| IpAddr::from([192, 0, 2, number]);
        let probe = async |number: u8| {
            for _ in 0..60 {
                pacers.take(target(number), 2).await;
                sent.lock().unwrap().push((number, begun.elapsed()));
            }
        };
        futures::future::join4(probe(1), probe(2), probe(3), probe(4)).await;
        let sent = sent.into_inner().unwrap();
        assert_eq!(sent.len(), 240);
        let of = |numbers: &[u8]| -> Vec<_> {
            sent.iter()
                .filter(|(number, _)| numbers.contains(number))
                .map(|(_, at)| (*at, 2))
                .collect()
        };
        assert!(most_in_a_second(&of(&[1, 2, 3, 4])) <= 100);
        for number in 1..=4 {
            assert!(most_in_a_second(&of(&[number])) <= 40, "target {number}");
        }
        assert!(begun.elapsed() < Duration::from_secs(6), "480 packets at 100 a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_target_does_not_hold_up_the_others() {
        let pacers = Arc::new(Pacers::new(1_000, 1));
        let begun = Instant::now();
        let slow = Arc::clone(&pacers);
        let slow = tokio::spawn(async move {
            for _ in 0..5 {
                slow.take(IpAddr::from([192, 0, 2, 1]), 1).await;
            }
        });
        for number in 2..200 {
            pacers.take(IpAddr::from([192, 0, 2, number]), 1).await;
        }
        assert!(begun.elapsed() < Duration::from_millis(400));
        slow.abort();
    }
}
