//! [`Schedule`]: when a group is audited next. Pure: the time is an input.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// When a group is audited.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The moments.
    pub cron: Cron,
    /// The time zone they are in.
    pub zone: TimeZone,
    /// An audit begins up to so much later.
    pub jitter: Duration,
    /// What the jitter is drawn from, so that every replica draws the same.
    pub key: String,
}

/// The next audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The moment of the schedule that it is for.
    pub occurrence: Timestamp,
    /// When it begins; in the past if it is late.
    pub at: Timestamp,
}

impl Schedule {
    /// The audit after the one for the moment `last`; at once if there was none. Of several that were missed only the latest is made up for.
    ///
    /// `last` may lie after `now`, when the clock was set back: then the schedule goes on from now.
    pub fn due(&self, last: Option<Timestamp>, now: Timestamp) -> Due {
        let at_once = Due {
            occurrence: now,
            at: now,
        };
        let Some(last) = last else { return at_once };
        let Some(next) = self.after(last.min(now)) else {
            // Only past the last year that a calendar has.
            return Due {
                occurrence: Timestamp::MAX,
                at: Timestamp::MAX,
            };
        };
        let occurrence = if next > now {
            next
        } else {
            self.latest(now).unwrap_or(next)
        };
        Due {
            occurrence,
            at: occurrence
                .saturating_add(self.jitter_of(occurrence))
                .unwrap_or(occurrence),
        }
    }

    /// The first moment after this one.
    fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let found = self.cron.0.find_next_occurrence(&self.local(moment)?, false).ok()?;
        from_chrono(&found.to_utc())
    }

    /// The last moment that is not after this one.
    fn latest(&self, moment: Timestamp) -> Option<Timestamp> {
        let found = self.cron.0.find_previous_occurrence(&self.local(moment)?, true).ok()?;
        from_chrono(&found.to_utc())
    }

    fn local(&self, moment: Timestamp) -> Option<DateTime<chrono_tz::Tz>> {
        let utc = DateTime::<Utc>::from_timestamp(moment.as_second(), 0)?;
        Some(utc.with_timezone(&self.zone.0))
    }

    /// The same for one group and moment on every machine, and evenly spread over groups and moments.
    fn jitter_of(&self, occurrence: Timestamp) -> SignedDuration {
        let millis = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        let digest = Sha256::digest(format!("{}\n{}", self.key, occurrence.as_second()));
        let drawn = digest
            .iter()
            .take(8)
            .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let drawn = drawn.checked_rem(millis).unwrap_or(0);
        SignedDuration::from_millis(i64::try_from(drawn).unwrap_or(0))
    }
}

impl fmt::Display for Schedule {
    /// In words: `At 17 minutes past the hour. (UTC)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cron.0.describe().trim_end_matches('.'), self.zone)
    }
}

fn from_chrono(moment: &DateTime<Utc>) -> Option<Timestamp> {
    Timestamp::from_second(moment.timestamp()).ok()
}

/// Moments that come again, as five fields: minute, hour, day of month, month, day of week.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Cron(croner::Cron);

impl Default for Cron {
    /// Every hour, not at the full one.
    fn default() -> Self {
        "17 * * * *".parse().expect("it is a schedule: a test reads it")
    }
}

impl FromStr for Cron {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let cron = parser.parse(text.trim()).map_err(|error| {
            format!("`{text}` is no schedule: {error} (minute, hour, day of month, month, day of week)")
        })?;
        // 29 February comes within eight years.
        let start = DateTime::<Utc>::UNIX_EPOCH;
        cron.find_next_occurrence(&start, false)
            .map_err(|_| format!("`{text}` is no schedule: it names no moment that ever comes"))?;
        Ok(Self(cron))
    }
}

impl TryFrom<String> for Cron {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({self})")
    }
}

/// A time zone by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct TimeZone(chrono_tz::Tz);

impl Default for TimeZone {
    fn default() -> Self {
        Self(chrono_tz::UTC)
    }
}

impl TryFrom<String> for TimeZone {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let zone = text.parse();
        zone.map(Self)
            .map_err(|_| format!("`{text}` is no time zone: write its IANA name, as Europe/Berlin"))
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule {
            cron: cron.parse().unwrap(),
            zone: TimeZone::try_from(zone.to_owned()).unwrap(),
            jitter: Duration::ZERO,
            key: "production".to_owned(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_audit_is_due_at_once() {
        let now = at("2026-03-01T12:34:56Z");
        assert_eq!(schedule("0 * * * *", "UTC").due(None, now).at, now);
        assert_eq!(Cron::default().to_string(), "17 * * * *");
    }

    #[test]
    fn the_next_audit_is_the_next_moment_of_the_schedule_in_its_zone() {
        let due =
            schedule("30 9 * * *", "Asia/Kolkata").due(Some(at("2026-03-01T04:00:00Z")), at("2026-03-01T04:00:01Z"));
        assert_eq!(due.at, at("2026-03-02T04:00:00Z"));
        let berlin = schedule("0 12 * * *", "Europe/Berlin");
        let winter = berlin.due(Some(at("2026-03-27T11:00:00Z")), at("2026-03-27T11:00:05Z"));
        assert_eq!(winter.at, at("2026-03-28T11:00:00Z"));
        let summer = berlin.due(Some(winter.at), winter.at);
        assert_eq!(summer.at, at("2026-03-29T10:00:00Z"));
    }

    #[test]
    fn an_hour_that_a_day_leaves_out_or_has_twice_gives_one_audit() {
        let berlin = schedule("30 2 * * *", "Europe/Berlin");
        let mut last = at("2026-03-28T01:30:00Z");
        let mut days = Vec::new();
        for _ in 0..2 {
            last = berlin.due(Some(last), last).at;
            days.push(last.to_string()[..10].to_owned());
        }
        assert_eq!(days, ["2026-03-29", "2026-03-30"]);
        let mut last = at("2026-10-24T00:30:00Z");
        let mut days = Vec::new();
        for _ in 0..2 {
            last = berlin.due(Some(last), last).at;
            days.push(last.to_string()[..10].to_owned());
        }
        assert_eq!(days, ["2026-10-25", "2026-10-26"]);
    }

    #[test]
    fn of_missed_audits_only_the_latest_is_made_up_for() {
        let due = schedule("0 * * * *", "UTC").due(Some(at("2026-03-01T00:00:00Z")), at("2026-03-01T12:34:56Z"));
        assert_eq!(due.occurrence, at("2026-03-01T12:00:00Z"));
        assert_eq!(due.at, due.occurrence);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_the_schedule() {
        let due = schedule("* * * * *", "UTC").due(Some(at("2026-03-01T13:00:00Z")), at("2026-03-01T12:00:30Z"));
        assert_eq!(due.at, at("2026-03-01T12:01:00Z"));
    }

    #[test]
    fn jitter_is_bounded_and_the_same_everywhere() {
        let jittered = Schedule {
            jitter: Duration::from_secs(60),
            ..schedule("0 * * * *", "UTC")
        };
        let mut seen = std::collections::BTreeSet::new();
        let mut last = at("2026-03-01T00:00:00Z");
        for _ in 0..24 {
            let due = jittered.due(Some(last), last);
            assert_eq!(due, jittered.clone().due(Some(last), last));
            let jitter = due.at.duration_since(due.occurrence);
            assert!((0..60_000).contains(&jitter.as_millis()), "{jitter:?}");
            seen.insert(jitter);
            last = due.occurrence;
        }
        assert!(seen.len() > 20, "{seen:?}");
    }
}
