//! [`Notice`]: what one audit has to tell one target. As JSON it is the body of the webhook, and what the outbox keeps.

use jiff::Timestamp;
use jiff::civil::Date;
use prejoin_checks::history::drift::{DriftLine, Effect};
use prejoin_checks::history::life::{Ending, Event, EventKind, FindingKey, Life, State};
use prejoin_checks::profile::Profile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::target::{Target, TargetKind};
use super::webhook::hex;

/// The version of the format of notices.
pub const ALERT_SCHEMA: &str = "prejoin.dev/alert/v1alpha1";

/// What one audit has to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// The format of this document: [`ALERT_SCHEMA`].
    pub schema: String,
    /// What this notice is known by: the same in every attempt to deliver it.
    pub id: String,
    /// The group of clusters.
    pub group: String,
    /// The audit that found it.
    pub audit: String,
    /// When that audit was judged.
    pub at: Timestamp,
    /// The audit's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What happened, the worst first.
    pub alerts: Vec<Alert>,
    /// What changed in the clusters against the accepted state since the audit before, and does something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<DriftLine>,
    /// All that is open, and until when that is to be believed; for those who forget what they are not told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

/// All that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// Until when it is to be believed without being told again.
    pub until: Timestamp,
    /// What is open.
    pub alerts: Vec<Alert>,
}

/// Something that happened to a finding, or a finding that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// What it is known by from its beginning to its end, and when it comes again: 16 hex digits of group and finding.
    pub fingerprint: String,
    /// What happened; absent where nothing did and it is just still open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventKind>,
    /// How it stands.
    pub state: State,
    /// How it stood before.
    pub previous: State,
    /// The check's code.
    pub code: String,
    /// The profile it was judged for.
    pub profile: Profile,
    /// The clusters it is about.
    pub clusters: Vec<String>,
    /// The nodes it names, where it names some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// What is wrong, in a few words.
    pub title: String,
    /// What should be.
    pub expected: String,
    /// What is, or why that is not known.
    pub found: String,
    /// What happens when the rule is broken.
    pub why: String,
    /// What to change.
    pub remedy: String,
    /// Since when it stands as it does.
    pub since: Timestamp,
    /// Since when it is broken, if it is or was when it could last be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_since: Option<Timestamp>,
    /// How it was broken when it could last be looked at: `warn`, `fail` or `waived`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_as: Option<State>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Until when someone answers for it, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub waived_until: Option<Date>,
    /// Since when it changes so often that single changes are not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flapping_since: Option<Timestamp>,
    /// The finding's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// An audit of a group, as far as alerts follow from it.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// The group.
    pub group: &'a str,
    /// The audit.
    pub audit: &'a str,
    /// When it was judged.
    pub at: Timestamp,
    /// Until when what it found is to be believed: some times as long as audits are apart.
    pub until: Timestamp,
    /// What it did to findings.
    pub events: &'a [Event],
    /// All findings after it.
    pub lives: &'a [Life],
    /// The changes against the accepted state that it saw first: [`Drift::new_since`](prejoin_checks::history::drift::Drift::new_since) the audit before.
    pub changes: &'a [DriftLine],
    /// Pages.
    pub links: &'a dyn Links,
}

/// Where pages are, for who reads an alert elsewhere. `None` where the collector does not know its own address.
pub trait Links: std::fmt::Debug + Sync {
    /// The page of an audit.
    fn audit(&self, group: &str, audit: &str) -> Option<String>;
    /// The page of a finding.
    fn finding(&self, group: &str, key: &FindingKey) -> Option<String>;
}

/// No pages.
#[derive(Debug, Clone, Copy)]
pub struct NoLinks;

impl Links for NoLinks {
    fn audit(&self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn finding(&self, _: &str, _: &FindingKey) -> Option<String> {
        None
    }
}

/// What a finding of a group is known by in alerts.
pub fn fingerprint(group: &str, key: &FindingKey) -> String {
    let digest = Sha256::new()
        .chain_update(group)
        .chain_update([0])
        .chain_update(key.to_string());
    hex(&digest.finalize()[..8])
}

impl Alert {
    /// What happened to a finding.
    pub fn of(event: &Event, round: &Round<'_>) -> Self {
        let life = &event.life;
        Self {
            event: Some(event.kind),
            previous: event.from,
            ..Self::standing(life, round)
        }
    }

    /// A finding as it stands.
    pub fn standing(life: &Life, round: &Round<'_>) -> Self {
        let last = life.last.clone();
        Self {
            fingerprint: fingerprint(round.group, &life.key),
            event: None,
            state: life.state,
            previous: life.state,
            code: life.key.code.clone(),
            profile: life.key.profile,
            clusters: life.key.clusters.clone(),
            nodes: last.nodes,
            title: last.title,
            expected: last.expected,
            found: last.found,
            why: last.why,
            remedy: last.remedy,
            since: life.since,
            broken_since: life.broken_since(),
            broken_as: life.failure.as_ref().map(|failure| failure.state),
            resolved_at: life.resolved,
            ending: life.ending,
            waived_until: life.waived_until(),
            flapping_since: life.flapping_since,
            link: round.links.finding(round.group, &life.key),
        }
    }

    /// What happened, in a word that everyone knows: `FAIL`, `resolved`.
    pub fn headline(&self) -> String {
        match (self.event, self.state) {
            (Some(EventKind::FlappingBegan), _) => "flapping".to_owned(),
            (Some(EventKind::FlappingEnded), state) => format!("no longer flapping: {state}"),
            (_, State::Good) => match self.ending {
                Some(Ending::Left) => "no longer looked at".to_owned(),
                _ => "resolved".to_owned(),
            },
            (_, State::Fail) => "FAIL".to_owned(),
            (_, State::Unknown) if self.broken_since.is_some() => "unknown, was broken when last seen".to_owned(),
            (_, state) => state.to_string(),
        }
    }
}

impl Target {
    /// What this audit has to tell this target; none if there is nothing.
    pub fn notice(&self, id: impl Into<String>, round: &Round<'_>) -> Option<Notice> {
        if !self.hears_of(round.group) {
            return None;
        }
        let mut alerts: Vec<Alert> = round
            .events
            .iter()
            .filter(|event| self.is_told(event))
            .map(|event| Alert::of(event, round))
            .collect();
        alerts.sort_by(|a, b| {
            let order = |alert: &Alert| {
                (
                    std::cmp::Reverse(alert.state),
                    alert.code.clone(),
                    alert.clusters.clone(),
                    alert.event,
                )
            };
            order(a).cmp(&order(b))
        });
        let standing = (self.kind == TargetKind::Alertmanager).then(|| Standing {
            until: round.until,
            alerts: round
                .lives
                .iter()
                .filter(|life| self.states.contains(&life.state))
                .map(|life| Alert::standing(life, round))
                .collect(),
        });
        let changes: Vec<DriftLine> = round
            .changes
            .iter()
            .filter(|line| line.effect != Effect::Neutral)
            .cloned()
            .collect();
        let news = changes.iter().any(|line| self.is_worth_telling(line));
        let nothing = !news && alerts.is_empty() && standing.as_ref().is_none_or(|standing| standing.alerts.is_empty());
        (!nothing).then(|| Notice {
            schema: ALERT_SCHEMA.to_owned(),
            id: id.into(),
            group: round.group.to_owned(),
            audit: round.audit.to_owned(),
            at: round.at,
            link: round.links.audit(round.group, round.audit),
            alerts,
            changes,
            standing,
        })
    }

    /// Whether a change is worth a message of its own, as what it does would be.
    fn is_worth_telling(&self, line: &DriftLine) -> bool {
        match line.effect {
            Effect::Breaks => self.states.contains(&State::Fail),
            Effect::Weakens => self.states.contains(&State::Unknown),
            Effect::Mends | Effect::Neutral => false,
        }
    }

    /// Whether an event is worth telling: a change of state that begins or ends in a state that is. While a finding flaps, none is but the end of that.
    fn is_told(&self, event: &Event) -> bool {
        let concerns = self.states.contains(&event.from) || self.states.contains(&event.life.state);
        concerns && !event.flapping || event.kind == EventKind::FlappingEnded
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn told(kind: TargetKind, states: &[State], events: &[Event], lives: &[Life]) -> Vec<String> {
        let target = Target {
            states: states.to_vec(),
            ..samples::target(kind, "http://127.0.0.1/")
        };
        let notice = target.notice("id", &samples::round(events, lives));
        let Some(notice) = notice else { return Vec::new() };
        let told = notice
            .alerts
            .iter()
            .map(|alert| format!("{} {}", alert.code, alert.headline()));
        let standing = notice.standing.into_iter().flat_map(|standing| standing.alerts);
        told.chain(standing.map(|alert| format!("{} is {}", alert.code, alert.state)))
            .collect()
    }

    const ALL: [State; 3] = [State::Warn, State::Unknown, State::Fail];

    #[test]
    fn what_begins_changes_and_ends_is_told_and_what_stays_is_not() {
        let (lives, rounds) = samples::lived(&[
            &[("CM302", State::Fail), ("NET302", State::Warn)],
            &[("CM302", State::Fail), ("NET302", State::Warn)],
            &[("CM302", State::Unknown), ("NET302", State::Good)],
        ]);
        let webhook = |events: &[Event]| told(TargetKind::Webhook, &ALL, events, &lives);
        assert_eq!(webhook(&rounds[0]), ["CM302 FAIL", "NET302 warn"]);
        assert_eq!(webhook(&rounds[1]), [""; 0]);
        assert_eq!(
            webhook(&rounds[2]),
            ["CM302 unknown, was broken when last seen", "NET302 resolved"]
        );
    }

    #[test]
    fn alertmanager_is_told_all_that_is_open_each_time() {
        let (lives, rounds) = samples::lived(&[&[("CM302", State::Fail)], &[("CM302", State::Fail)]]);
        assert_eq!(
            told(TargetKind::Alertmanager, &ALL, &rounds[1], &lives),
            ["CM302 is fail"]
        );
    }

    #[test]
    fn a_target_hears_of_the_states_it_asked_for() {
        let (lives, rounds) = samples::lived(&[
            &[("CM302", State::Warn)],
            &[("CM302", State::Fail)],
            &[("CM302", State::Waived)],
            &[("CM302", State::Good)],
        ]);
        let told = |round: usize| told(TargetKind::Webhook, &[State::Fail], &rounds[round], &lives);
        assert_eq!(told(0), [""; 0]);
        assert_eq!(told(1), ["CM302 FAIL"]);
        assert_eq!(told(2), ["CM302 waived"]);
        assert_eq!(told(3), [""; 0], "what someone answered for ends without a word");
    }

    #[test]
    fn flapping_is_told_once_and_its_end_once() {
        let mut states = [State::Fail, State::Good].repeat(4);
        states.extend([State::Good; 30]);
        let rounds: Vec<Vec<(&str, State)>> = states.iter().map(|state| vec![("CM302", *state)]).collect();
        let rounds: Vec<&[(&str, State)]> = rounds.iter().map(Vec::as_slice).collect();
        let (lives, events) = samples::lived(&rounds);
        let told: Vec<String> = events
            .iter()
            .flat_map(|events| told(TargetKind::Webhook, &ALL, events, &lives))
            .collect();
        assert_eq!(
            told,
            [
                "CM302 FAIL",
                "CM302 resolved",
                "CM302 FAIL",
                "CM302 resolved",
                "CM302 FAIL",
                "CM302 flapping",
                "CM302 no longer flapping: good"
            ]
        );
    }

    #[test]
    fn a_target_hears_of_its_groups_alone() {
        let (lives, rounds) = samples::lived(&[&[("CM302", State::Fail)]]);
        let mut target = samples::target(TargetKind::Webhook, "http://127.0.0.1/");
        target.groups = vec!["staging".to_owned()];
        assert_eq!(target.notice("id", &samples::round(&rounds[0], &lives)), None);
    }

    #[test]
    fn changes_go_along_and_those_that_break_or_weaken_go_alone() {
        let changes = [samples::change(Effect::Weakens), samples::change(Effect::Neutral)];
        let target = samples::target(TargetKind::Webhook, "http://127.0.0.1/");
        let told = |target: &Target, changes: &[DriftLine]| {
            let round = Round {
                changes,
                ..samples::round(&[], &[])
            };
            target.notice("id", &round).map(|notice| notice.changes.len())
        };
        assert_eq!(told(&target, &changes), Some(1));
        assert_eq!(told(&target, &changes[1..]), None);
        let fails_alone = Target {
            states: vec![State::Fail],
            ..target
        };
        assert_eq!(told(&fails_alone, &changes), None);
    }

    #[test]
    fn the_document_is_what_is_documented() {
        let notice = samples::notice(TargetKind::Webhook);
        insta::assert_json_snapshot!(notice);
        let text = serde_json::to_string(&notice).unwrap();
        assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), notice);
    }

    #[test]
    fn findings_of_different_groups_are_different() {
        let (lives, _) = samples::lived(&[&[("CM302", State::Fail)]]);
        assert_ne!(
            fingerprint("prod", &lives[0].key),
            fingerprint("staging", &lives[0].key)
        );
        assert_eq!(fingerprint("prod", &lives[0].key).len(), 16);
    }
}
