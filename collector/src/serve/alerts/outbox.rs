//! [`Outbox`]: what is still to be delivered, as the store keeps it.

use std::fmt;
use std::future::Future;

use jiff::{SignedDuration, Timestamp};

/// A message that waits for its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place in the outbox: those of one target are delivered in this order.
    pub number: i64,
    /// The target's name.
    pub target: String,
    /// When it was put there.
    pub created: Timestamp,
    /// How often it was tried before.
    pub attempts: u32,
    /// A [`Notice`](super::Notice) as JSON.
    pub notice: String,
}

/// What a target's queue holds for who asks now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nothing.
    Empty,
    /// Its first message may be tried at this time: it failed before, or another collector is about it.
    Later(Timestamp),
    /// Its first message, to be tried now, by who asked and nobody else until the claim ends.
    Take(Message),
}

/// The messages that no target took yet. Implemented by the store.
///
/// What writes messages is the transaction that writes the audit, so that there is no audit without its messages and no message of an audit that
/// never was. Several collectors may share an outbox: a claim makes sure that one of them sends, so that order holds.
pub trait Outbox: Clone + Send + Sync + 'static {
    /// Why the store cannot tell.
    type Error: fmt::Display + Send;

    /// The first message of a target that is neither delivered nor given up. If it may be tried now ([`may_be_tried`]), it is claimed until
    /// `until`. A claim that was not answered by then (the collector was killed) counts as never made.
    fn claim(
        &self,
        target: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<Claim, Self::Error>> + Send;

    /// The target took it: the message can go.
    fn delivered(&self, message: &Message, at: Timestamp) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// It did not: to be tried again at `next`, with [`Message::attempts`] one higher. `why` is to be shown.
    fn failed(
        &self,
        message: &Message,
        why: &str,
        next: Timestamp,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// It is never to be tried again. The message stays, with why, to be shown and counted: that it was not delivered is no secret.
    fn given_up(
        &self,
        message: &Message,
        why: &str,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Whether a message that may be tried from `not_before` on (the later of its next attempt and the end of another's claim) may be tried now.
///
/// A clock that was set back must not hold up alerts: no wait is longer than [`LONGEST_WAIT`], so a later moment was written by another clock.
pub fn may_be_tried(not_before: Timestamp, now: Timestamp) -> bool {
    not_before <= now || not_before.duration_since(now) > LONGEST_WAIT
}

/// No attempt is put off for longer, whatever a target asks for.
pub const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(30);

#[cfg(test)]
pub(super) mod memory {
    //! An outbox in memory, which outlives the collectors that use it as a store does.

    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Debug, Clone)]
    pub(in super::super) struct Row {
        pub(in super::super) message: Message,
        pub(in super::super) not_before: Timestamp,
        pub(in super::super) why: String,
        pub(in super::super) given_up: bool,
    }

    #[derive(Debug, Clone, Default)]
    pub(in super::super) struct Memory(pub(in super::super) Arc<Mutex<Vec<Row>>>);

    impl Memory {
        pub(in super::super) fn put(&self, target: &str, created: Timestamp, notice: String) {
            let mut rows = self.0.lock().unwrap();
            let number = rows.iter().map(|row| row.message.number).max().unwrap_or(0) + 1;
            rows.push(Row {
                message: Message {
                    number,
                    target: target.to_owned(),
                    created,
                    attempts: 0,
                    notice,
                },
                not_before: created,
                why: String::new(),
                given_up: false,
            });
        }

        pub(in super::super) fn rows(&self) -> Vec<Row> {
            self.0.lock().unwrap().clone()
        }

        fn change(&self, message: &Message, change: impl FnOnce(&mut Row)) {
            let mut rows = self.0.lock().unwrap();
            change(
                rows.iter_mut()
                    .find(|row| row.message.number == message.number)
                    .unwrap(),
            );
        }
    }

    impl Outbox for Memory {
        type Error = Infallible;

        async fn claim(&self, target: &str, now: Timestamp, until: Timestamp) -> Result<Claim, Infallible> {
            let mut rows = self.0.lock().unwrap();
            let first = rows
                .iter_mut()
                .find(|row| row.message.target == target && !row.given_up);
            Ok(match first {
                None => Claim::Empty,
                Some(row) if !may_be_tried(row.not_before, now) => Claim::Later(row.not_before),
                Some(row) => {
                    row.not_before = until;
                    Claim::Take(row.message.clone())
                }
            })
        }

        async fn delivered(&self, message: &Message, _: Timestamp) -> Result<(), Infallible> {
            self.0
                .lock()
                .unwrap()
                .retain(|row| row.message.number != message.number);
            Ok(())
        }

        async fn failed(&self, message: &Message, why: &str, next: Timestamp) -> Result<(), Infallible> {
            self.change(message, |row| {
                row.message.attempts += 1;
                row.not_before = next;
                why.clone_into(&mut row.why);
            });
            Ok(())
        }

        async fn given_up(&self, message: &Message, why: &str, _: Timestamp) -> Result<(), Infallible> {
            self.change(message, |row| {
                row.given_up = true;
                why.clone_into(&mut row.why);
            });
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_further_off_than_any_wait_was_written_by_a_clock_since_set_back() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        assert!(may_be_tried(now, now));
        assert!(!may_be_tried(now + SignedDuration::from_secs(1), now));
        assert!(!may_be_tried(now + LONGEST_WAIT, now));
        assert!(may_be_tried(now + SignedDuration::from_hours(1), now));
    }
}
