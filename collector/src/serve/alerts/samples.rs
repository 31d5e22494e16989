//! Audits and what they did to findings, for the tests of alerts.

use jiff::Timestamp;
use prejoin_checks::diff::Change;
use prejoin_checks::facts::provenance::Source;
use prejoin_checks::history::drift::{DriftLine, DriftOf, Effect};
use prejoin_checks::history::life::{Event, FindingKey, Life, Sighting, State};
use prejoin_checks::profile::Profile;

use super::notice::{Links, Notice, Round};
use super::target::{Target, TargetKind};

#[derive(Debug)]
struct Pages;

impl Links for Pages {
    fn audit(&self, group: &str, audit: &str) -> Option<String> {
        Some(format!("https://prejoin.example/groups/{group}/audits/{audit}"))
    }

    fn finding(&self, group: &str, key: &FindingKey) -> Option<String> {
        Some(format!("https://prejoin.example/groups/{group}/findings/{}", key.code))
    }
}

/// The time of audit number `round`: they are an hour apart.
pub(super) fn at(round: i64) -> Timestamp {
    let first: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    first + jiff::SignedDuration::from_hours(round)
}

/// A finding of east and west in this state, whose words would do harm if they were taken for more than words.
pub(super) fn sighting(code: &str, state: State) -> Sighting {
    Sighting {
        state,
        title: "Tunnel protocols differ".to_owned(),
        expected: "one tunnel protocol".to_owned(),
        found: format!("geneve on west <!channel> & *bold* ({code}, {state})"),
        why: "each side drops the other's encapsulation: pods never reach pods".to_owned(),
        remedy: "set tunnel-protocol to vxlan on west".to_owned(),
        nodes: vec!["west-n1".to_owned()],
        waived_until: (state == State::Waived).then(|| "2026-12-24".parse().unwrap()),
    }
}

/// The lives after audits that found these states, and what each audit did to them.
pub(super) fn lived(rounds: &[&[(&str, State)]]) -> (Vec<Life>, Vec<Vec<Event>>) {
    let mut lives: Vec<Life> = Vec::new();
    let mut events = Vec::new();
    for (round, found) in (0..).zip(rounds) {
        let mut told = Vec::new();
        for (code, state) in *found {
            let key = FindingKey {
                code: (*code).to_owned(),
                profile: Profile::Clustermesh,
                clusters: vec!["east".to_owned(), "west".to_owned()],
            };
            let sighting = sighting(code, *state);
            if let Some(life) = lives.iter_mut().find(|life| life.key == key) {
                told.extend(life.step(at(round), sighting));
            } else if let Some((life, event)) = Life::begin(key, at(round), sighting) {
                lives.push(life);
                told.push(event);
            }
        }
        events.push(told);
    }
    (lives, events)
}

pub(super) fn round<'a>(events: &'a [Event], lives: &'a [Life]) -> Round<'a> {
    Round {
        group: "prod",
        audit: "019abc",
        at: at(2),
        until: at(26),
        events,
        lives,
        changes: &[],
        links: &Pages,
    }
}

/// A change that does this.
pub(super) fn change(effect: Effect) -> DriftLine {
    DriftLine {
        change: Change::Changed,
        of: DriftOf::Fact,
        cluster: "west".to_owned(),
        path: "cilium.config.tunnel-protocol".to_owned(),
        old: Some("vxlan".into()),
        new: Some("geneve <!channel>".into()),
        source: Some(Source::read("ConfigMap kube-system/cilium-config", "")),
        effect,
        codes: vec!["CM302".to_owned()],
        first_seen: at(2),
    }
}

pub(super) fn target(kind: TargetKind, url: &str) -> Target {
    Target {
        name: "ops".to_owned(),
        kind,
        url: Some(url.to_owned()),
        url_file: None,
        secret_file: None,
        token_file: None,
        ca_file: None,
        groups: Vec::new(),
        states: vec![State::Warn, State::Unknown, State::Fail],
    }
}

/// An audit in which one fault goes on, one begins, one becomes unknown and one ends.
pub(super) fn notice(kind: TargetKind) -> Notice {
    use State::{Fail, Good, Unknown, Warn};
    let (lives, events) = lived(&[
        &[("CM301", Fail), ("CM302", Good), ("CM501", Fail), ("NET302", Warn)],
        &[("CM301", Fail), ("CM302", Good), ("CM501", Fail), ("NET302", Warn)],
        &[("CM301", Fail), ("CM302", Fail), ("CM501", Unknown), ("NET302", Good)],
    ]);
    let changes = [change(Effect::Breaks)];
    let round = Round {
        changes: &changes,
        ..round(&events[2], &lives)
    };
    target(kind, "https://ops.example/hook")
        .notice("019abd", &round)
        .unwrap()
}
