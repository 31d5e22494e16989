//! [`Life`]: since when one finding is what it is, from one audit to the next.
//!
//! ```text
//!            fail, warn                     pass, does not apply
//!   (none) ────────────▶ broken ───────────────────────────────▶ resolved
//!      │                  ▲   │ unknown, not asked                  │ fail, warn
//!      │ unknown          │   ▼                                     │
//!      └─────────────▶ unknown: an open failure stays open  ◀────────┘
//! ```
//!
//! What is unknown resolves nothing: a failure that can no longer be looked at keeps the moment it began, until an audit finds that the rule holds.
//! A life begins with the first audit that finds something other than a pass; what always passed has none.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::provenance::Reason;
use crate::profile::Profile;
use crate::report::{DOES_NOT_APPLY, Finding, Verdict};

/// Over how many audits changes are counted to tell whether a finding flaps.
pub const FLAPPING_WINDOW: u32 = 20;
/// So many changes of state within the window, and a finding flaps.
pub const FLAPPING_BEGINS: u32 = 5;
/// So few, and it no longer does. The gap between the two keeps flapping from flapping.
pub const FLAPPING_ENDS: u32 = 2;

const WINDOW_MASK: u32 = (1 << FLAPPING_WINDOW) - 1;

/// What a finding is recognised by from audit to audit: check, profile and clusters. The nodes it names come and go without making it another one.
///
/// As text: `CM302 clustermesh east west`, with the clusters sorted. Names of clusters hold no spaces; if one does, it is in quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct FindingKey {
    /// The check's code.
    pub code: String,
    /// The profile it was judged for.
    pub profile: Profile,
    /// The clusters it is about, sorted.
    pub clusters: Vec<String>,
}

impl FindingKey {
    /// Of a finding.
    pub fn of(finding: &Finding) -> Self {
        let mut clusters = finding.subject.clusters.clone();
        clusters.sort();
        clusters.dedup();
        Self {
            code: finding.code.clone(),
            profile: finding.profile,
            clusters,
        }
    }
}

impl fmt::Display for FindingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.profile)?;
        for cluster in &self.clusters {
            let plain =
                !cluster.is_empty() && !cluster.contains([' ', '"', '\\']) && !cluster.contains(char::is_control);
            if plain {
                write!(f, " {cluster}")?;
            } else {
                write!(f, " {cluster:?}")?;
            }
        }
        Ok(())
    }
}

/// How a finding stands; the worst is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The rule holds, or does not apply.
    Good,
    /// It is broken, and someone answers for that until a date.
    Waived,
    /// Broken, with a defect one can live with.
    Warn,
    /// It cannot be told.
    Unknown,
    /// Broken.
    Fail,
}

impl State {
    /// Whether it is known to be broken, waived or not.
    pub fn is_broken(self) -> bool {
        matches!(self, Self::Waived | Self::Warn | Self::Fail)
    }

    /// Whether someone should know: neither good nor waived.
    pub fn matters(self) -> bool {
        matches!(self, Self::Warn | Self::Unknown | Self::Fail)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Waived => "waived",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        })
    }
}

/// What one audit found under one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sighting {
    /// How it stands.
    pub state: State,
    /// What is wrong if it is broken: the check's title.
    pub title: String,
    /// What should be.
    pub expected: String,
    /// What is, or why that is not known.
    pub found: String,
    /// What happens when the rule is broken.
    pub why: String,
    /// What to change.
    pub remedy: String,
    /// The nodes it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// Until when someone answers for it, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub waived_until: Option<Date>,
}

impl Sighting {
    /// Of a finding; none if nobody looked, because it was not asked: what was not asked is neither there nor mended.
    pub fn of(finding: &Finding) -> Option<Self> {
        let state = match finding.verdict {
            _ if finding.waived_by.is_some() => State::Waived,
            Verdict::Pass => State::Good,
            Verdict::Warn => State::Warn,
            Verdict::Fail => State::Fail,
            Verdict::Unknown => State::Unknown,
            Verdict::Skip if nothing_to_break(&finding.reason) => State::Good,
            Verdict::Skip => return None,
        };
        Some(Self {
            state,
            title: finding.title.clone(),
            expected: finding.expected.clone(),
            found: finding.found.clone(),
            why: finding.why.clone(),
            remedy: finding.remedy.clone(),
            nodes: finding.subject.nodes.clone(),
            waived_until: finding.waived_by.as_ref().map(|by| by.until),
        })
    }
}

/// Whether a rule was skipped because there is no object that could break it.
fn nothing_to_break(reason: &str) -> bool {
    reason == DOES_NOT_APPLY || reason == Reason::NotInstalled.to_string()
}

/// A failure that no audit has found mended yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The first audit that found it.
    pub since: Timestamp,
    /// The last one that did.
    pub last_seen: Timestamp,
    /// How it stood then: `warn`, `fail` or `waived`.
    pub state: State,
    /// What was found then.
    pub found: String,
}

/// How a finding came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// An audit found that the rule holds.
    Mended,
    /// The same fault is about other clusters now and lives on there.
    Became,
    /// A cluster that it is about was taken out of the group.
    Left,
}

/// The life of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Life {
    /// What it is recognised by.
    pub key: FindingKey,
    /// How it stands.
    pub state: State,
    /// The first audit that found something other than a pass.
    pub first_seen: Timestamp,
    /// The last audit that looked.
    pub last_seen: Timestamp,
    /// Since when it stands as it does.
    pub since: Timestamp,
    /// The failure that is open, even while nobody can look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Since when it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<Timestamp>,
    /// When it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Timestamp>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Since when it flaps: [`FLAPPING_BEGINS`] changes of state within [`FLAPPING_WINDOW`] audits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flapping_since: Option<Timestamp>,
    /// Of the last [`FLAPPING_WINDOW`] audits, the newest in the lowest bit: which found another state than the one before.
    pub changes: u32,
    /// What the last audit found.
    pub last: Sighting,
}

/// What happened to a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It is there, and was not.
    Began,
    /// It is there still, in another state.
    Changed,
    /// It is no longer there.
    Resolved,
    /// It changes so often that single changes say nothing.
    FlappingBegan,
    /// It has come to rest.
    FlappingEnded,
}

/// Something that happened to a finding: what alerts are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When: the time of the audit that found it.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// How it stood before.
    pub from: State,
    /// It happened while the finding flaps: worth keeping, not worth waking anyone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flapping: bool,
    /// The life after it.
    pub life: Life,
}

impl Life {
    /// The life of a finding that is first seen now. What is good has none.
    pub fn begin(key: FindingKey, at: Timestamp, sighting: Sighting) -> Option<(Self, Event)> {
        if sighting.state == State::Good {
            return None;
        }
        let mut life = Self {
            key,
            state: State::Good,
            first_seen: at,
            last_seen: at,
            since: at,
            failure: None,
            unknown_since: None,
            resolved: None,
            ending: None,
            flapping_since: None,
            changes: 0,
            last: sighting.clone(),
        };
        let event = life.step(at, sighting).into_iter().next()?;
        Some((life, event))
    }

    /// Takes in what the next audit found, and tells what happened: at most one change of state, and then flapping that began or ended.
    ///
    /// Audits are taken in the order they are fed. Where a clock was set back between two of them, the later counts as of the same time as the
    /// earlier, so that no span is ever negative.
    pub fn step(&mut self, at: Timestamp, sighting: Sighting) -> Vec<Event> {
        self.take(at, sighting, Ending::Mended)
    }

    /// Ends it without an audit that found the rule to hold.
    pub fn end(&mut self, at: Timestamp, ending: Ending) -> Vec<Event> {
        let last = Sighting {
            state: State::Good,
            ..self.last.clone()
        };
        self.take(at, last, ending)
    }

    fn take(&mut self, at: Timestamp, sighting: Sighting, ending: Ending) -> Vec<Event> {
        let at = at.max(self.last_seen);
        let (from, to) = (self.state, sighting.state);
        let changed = from != to;
        self.last_seen = at;
        self.state = to;
        self.changes = ((self.changes << 1) | u32::from(changed)) & WINDOW_MASK;
        if changed {
            self.since = at;
        }
        if to.is_broken() {
            let since = self.failure.as_ref().map_or(at, |failure| failure.since);
            self.failure = Some(Failure {
                since,
                last_seen: at,
                state: to,
                found: sighting.found.clone(),
            });
        }
        self.unknown_since = (to == State::Unknown).then(|| self.unknown_since.unwrap_or(at));
        if to == State::Good {
            self.failure = None;
            if changed {
                (self.resolved, self.ending) = (Some(at), Some(ending));
            }
        } else {
            (self.resolved, self.ending) = (None, None);
        }
        self.last = sighting;
        self.events(at, from, changed)
    }

    /// What to tell of the step just taken.
    fn events(&mut self, at: Timestamp, from: State, changed: bool) -> Vec<Event> {
        let mut kinds = Vec::new();
        if changed {
            kinds.push(match (from, self.state) {
                (_, State::Good) => EventKind::Resolved,
                (State::Good, _) => EventKind::Began,
                _ => EventKind::Changed,
            });
        }
        let count = self.changes.count_ones();
        let was_flapping = self.flapping_since.is_some();
        if !was_flapping && count >= FLAPPING_BEGINS {
            self.flapping_since = Some(at);
            kinds.push(EventKind::FlappingBegan);
        } else if was_flapping && count <= FLAPPING_ENDS {
            self.flapping_since = None;
            kinds.push(EventKind::FlappingEnded);
        }
        let event = |kind| Event {
            at,
            kind,
            from,
            flapping: was_flapping && !matches!(kind, EventKind::FlappingEnded),
            life: self.clone(),
        };
        kinds.into_iter().map(event).collect()
    }

    /// Whether it is there: broken, or not to be told.
    pub fn is_open(&self) -> bool {
        self.state != State::Good
    }

    /// Since when it is broken, if it is or was when it was last looked at.
    pub fn broken_since(&self) -> Option<Timestamp> {
        self.failure.as_ref().map(|failure| failure.since)
    }

    /// Until when someone answers for it, inclusive.
    pub fn waived_until(&self) -> Option<Date> {
        self.last.waived_until
    }
}

#[cfg(test)]
mod tests;
