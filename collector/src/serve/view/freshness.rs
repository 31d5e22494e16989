//! [`Freshness`]: of when something is, and whether that is still recent enough to be relied on.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Of when something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Freshness {
    /// The moment it tells of; absent if there never was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// The moment the question was answered.
    pub shown_at: Timestamp,
    /// Later than this it is no longer current: when the next result was due, with grace. Absent where none is ever due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_until: Option<Timestamp>,
}

/// Whether something may be taken for what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Currency {
    /// It is the latest, and the next is not due yet.
    Current,
    /// A newer result should be there and is not.
    Old,
    /// There never was any.
    Never,
}

impl Freshness {
    /// Something that never was.
    pub fn never(shown_at: Timestamp) -> Self {
        Self {
            as_of: None,
            shown_at,
            current_until: None,
        }
    }

    /// Whether it may be taken for what is. A moment that lies ahead of the one of the question is not trusted.
    pub fn currency(&self) -> Currency {
        match self.as_of {
            None => Currency::Never,
            Some(as_of) if as_of > self.shown_at => Currency::Old,
            Some(_) if self.current_until.is_some_and(|until| until < self.shown_at) => Currency::Old,
            Some(_) => Currency::Current,
        }
    }

    /// How old it is; `None` if there never was one. Negative where the clock was set back since.
    pub fn age(&self) -> Option<SignedDuration> {
        self.as_of.map(|as_of| self.shown_at.duration_since(as_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i8) -> Timestamp {
        format!("2026-11-21T12:{minute:02}:00Z").parse().unwrap()
    }

    #[test]
    fn a_result_is_current_until_the_next_is_overdue() {
        let fresh = Freshness {
            as_of: Some(at(0)),
            shown_at: at(5),
            current_until: Some(at(10)),
        };
        assert_eq!(fresh.currency(), Currency::Current);
        assert_eq!(fresh.age().map(|age| age.as_secs()), Some(300));
        let old = Freshness {
            shown_at: at(11),
            ..fresh
        };
        assert_eq!(old.currency(), Currency::Old);
        let unscheduled = Freshness {
            current_until: None,
            ..old
        };
        assert_eq!(unscheduled.currency(), Currency::Current);
    }

    #[test]
    fn what_never_was_is_not_current_and_neither_is_what_lies_ahead() {
        assert_eq!(Freshness::never(at(0)).currency(), Currency::Never);
        assert_eq!(Freshness::never(at(0)).age(), None);
        let ahead = Freshness {
            as_of: Some(at(30)),
            shown_at: at(5),
            current_until: Some(at(50)),
        };
        assert_eq!(ahead.currency(), Currency::Old);
    }
}
