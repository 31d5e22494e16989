//! When to dial again: later and later, and at a moment of one's own.
//!
//! Full jitter: any moment from now to the end of a time that doubles. Where a collector comes back, hundreds of agents then do not.

use std::time::Duration;

/// The first wait is at most this.
const FIRST: Duration = Duration::from_secs(1);
/// Each wait is at most this.
const LONGEST: Duration = Duration::from_secs(60);
/// A connection that lasted so long was none of those that fail.
pub const SOUND_AFTER: Duration = Duration::from_secs(60);

/// Counts what failed in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackOff {
    failures: u32,
}

impl BackOff {
    /// The wait after a connection that lasted so long, or never came to be. `random` is anything from 0 to 1; `asked` is what the
    /// collector asked to wait at least.
    pub fn after(&mut self, lasted: Option<Duration>, asked: Option<Duration>, random: f64) -> Duration {
        if lasted.is_some_and(|lasted| lasted >= SOUND_AFTER) {
            self.failures = 0;
        }
        let at_most = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        asked.unwrap_or_default().min(LONGEST) + at_most.mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut back_off = BackOff::default();
        let waits: Vec<u64> = (0..9).map(|_| back_off.after(None, None, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_wait_is_any_moment_of_its_time() {
        for (random, millis) in [(0.0, 0), (0.25, 250), (1.0, 1000), (7.0, 1000), (-1.0, 0)] {
            let wait = BackOff::default().after(None, None, random);
            assert_eq!(wait, Duration::from_millis(millis), "{random}");
        }
    }

    #[test]
    fn a_connection_that_lasted_begins_anew_and_a_short_one_does_not() {
        let mut back_off = BackOff::default();
        for _ in 0..4 {
            back_off.after(Some(Duration::from_secs(1)), None, 1.0);
        }
        assert_eq!(back_off.after(Some(Duration::from_secs(59)), None, 1.0).as_secs(), 16);
        assert_eq!(back_off.after(Some(SOUND_AFTER), None, 1.0).as_secs(), 1);
    }

    #[test]
    fn what_the_collector_asks_for_is_waited_besides_but_not_for_ever() {
        let asked = |seconds| BackOff::default().after(None, Some(Duration::from_secs(seconds)), 0.5);
        assert_eq!(asked(10), Duration::from_millis(10_500));
        assert_eq!(asked(u64::MAX), Duration::from_millis(60_500));
    }

    #[test]
    fn failures_without_number_do_no_harm() {
        let mut back_off = BackOff { failures: u32::MAX };
        assert_eq!(back_off.after(None, None, 1.0), LONGEST);
    }
}
