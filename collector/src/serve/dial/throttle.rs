//! Who guesses is made to wait: failures counted by address, in a room that does not grow.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::serve::listener::network;

/// So many failures of one address are nothing.
const FREE: u32 = 10;
/// One failure is forgotten in this time.
const FORGIVEN_AFTER: Duration = Duration::from_secs(6);
/// Addresses that are counted at once. When there are more, those with the fewest failures are forgotten.
const ADDRESSES: usize = 10_000;

/// Counts failures.
#[derive(Debug, Default)]
pub struct Throttle {
    counts: HashMap<IpAddr, Count>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    /// Up to when failures were forgiven.
    as_of: Instant,
}

impl Count {
    fn forgive(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.as_of).as_millis() / FORGIVEN_AFTER.as_millis();
        let forgiven = u32::try_from(passed).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_sub(forgiven);
        self.as_of = if self.failures == 0 {
            now
        } else {
            self.as_of + FORGIVEN_AFTER * forgiven
        };
    }
}

impl Throttle {
    /// Whether an address may try; else, after how long it may.
    pub fn may_try(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let Some(count) = self.counts.get_mut(&network(address)) else {
            return Ok(());
        };
        count.forgive(now);
        if count.failures < FREE {
            return Ok(());
        }
        Err(FORGIVEN_AFTER.saturating_sub(now.saturating_duration_since(count.as_of)))
    }

    /// An address failed.
    pub fn failed(&mut self, address: IpAddr, now: Instant) {
        if self.counts.len() >= ADDRESSES && !self.counts.contains_key(&network(address)) {
            self.make_room(now);
        }
        let count = self.counts.entry(network(address)).or_insert(Count {
            failures: 0,
            as_of: now,
        });
        count.forgive(now);
        count.failures = (count.failures + 1).min(FREE);
    }

    fn make_room(&mut self, now: Instant) {
        for count in self.counts.values_mut() {
            count.forgive(now);
        }
        let mut least = 0;
        while self.counts.len() >= ADDRESSES {
            self.counts.retain(|_, count| count.failures > least);
            least += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_fails_too_often_waits_and_others_do_not() {
        let mut throttle = Throttle::default();
        let (guesser, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let start = Instant::now();
        for _ in 0..FREE {
            assert_eq!(throttle.may_try(guesser, start), Ok(()));
            throttle.failed(guesser, start);
        }
        assert_eq!(throttle.may_try(guesser, start), Err(FORGIVEN_AFTER));
        assert_eq!(throttle.may_try(other, start), Ok(()));
        let later = start + FORGIVEN_AFTER / 2;
        assert_eq!(throttle.may_try(guesser, later), Err(FORGIVEN_AFTER / 2));
        let soon = start + FORGIVEN_AFTER;
        assert_eq!(throttle.may_try(guesser, soon), Ok(()));
        throttle.failed(guesser, soon);
        assert!(throttle.may_try(guesser, soon).is_err());
        assert_eq!(throttle.may_try(guesser, start + FORGIVEN_AFTER * 100), Ok(()));
    }

    /// A thousand tries a second for an hour come to what the rate allows.
    #[test]
    fn guessing_at_speed_is_held_to_the_rate() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let mut tried: u64 = 0;
        for milli in 0..3_600_000_u64 {
            let now = start + Duration::from_millis(milli);
            if throttle.may_try(address("192.0.2.1"), now).is_ok() {
                throttle.failed(address("192.0.2.1"), now);
                tried += 1;
            }
        }
        assert!(tried <= u64::from(FREE) + 600, "{tried}");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_mapped_addresses_as_what_they_are() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for i in 0..FREE {
            throttle.failed(address(&format!("2001:db8::{i}:1")), now);
            throttle.failed(address("::ffff:192.0.2.1"), now);
        }
        assert!(throttle.may_try(address("2001:db8::ffff"), now).is_err());
        assert!(throttle.may_try(address("2001:db8:0:1::1"), now).is_ok());
        assert!(throttle.may_try(address("192.0.2.1"), now).is_err());
    }

    #[test]
    fn addresses_without_number_take_no_more_room() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let guesser = address("192.0.2.1");
        for _ in 0..FREE {
            throttle.failed(guesser, now);
        }
        for i in 0..3 * u32::try_from(ADDRESSES).unwrap() {
            throttle.failed(IpAddr::from((0x0a00_0000 + i).to_be_bytes()), now);
        }
        assert!(throttle.counts.len() <= ADDRESSES);
        assert!(throttle.may_try(guesser, now).is_err(), "who failed most is remembered");
    }
}
