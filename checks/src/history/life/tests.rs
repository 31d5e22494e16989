use proptest::prelude::*;

use super::*;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
}

fn sighting(state: State) -> Sighting {
    Sighting {
        state,
        title: "Tunnel protocols differ".to_owned(),
        expected: "one".to_owned(),
        found: format!("{state}"),
        why: String::new(),
        remedy: String::new(),
        nodes: Vec::new(),
        waived_until: None,
    }
}

fn key() -> FindingKey {
    FindingKey {
        code: "CM302".to_owned(),
        profile: Profile::Clustermesh,
        clusters: vec!["east".to_owned(), "west".to_owned()],
    }
}

/// The life and its events after audits, one a minute, that found these states.
fn lived(states: &[State]) -> (Option<Life>, Vec<Event>) {
    let mut life: Option<Life> = None;
    let mut events = Vec::new();
    for (minute, state) in (0..).zip(states) {
        match &mut life {
            Some(life) => events.extend(life.step(at(minute), sighting(*state))),
            None => {
                if let Some((begun, event)) = Life::begin(key(), at(minute), sighting(*state)) {
                    life = Some(begun);
                    events.push(event);
                }
            }
        }
    }
    (life, events)
}

fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).collect()
}

use EventKind::{Began, Changed, FlappingBegan, FlappingEnded, Resolved};
use State::{Fail, Good, Unknown, Waived, Warn};

#[test]
fn what_always_passed_has_no_life() {
    assert_eq!(lived(&[Good, Good]), (None, Vec::new()));
}

#[test]
fn a_failure_begins_goes_on_and_is_resolved() {
    let (life, events) = lived(&[Good, Fail, Fail, Good, Good]);
    let life = life.unwrap();
    assert_eq!(kinds(&events), [Began, Resolved]);
    assert_eq!((events[0].at, events[1].at), (at(1), at(3)));
    assert_eq!((life.first_seen, life.last_seen, life.since), (at(1), at(4), at(3)));
    assert_eq!((life.resolved, life.ending), (Some(at(3)), Some(Ending::Mended)));
    assert_eq!(life.failure, None);
}

#[test]
fn what_is_unknown_resolves_nothing_and_keeps_the_failures_beginning() {
    let (life, events) = lived(&[Fail, Unknown, Unknown]);
    let life = life.unwrap();
    assert_eq!(kinds(&events), [Began, Changed]);
    assert_eq!((life.state, life.unknown_since), (Unknown, Some(at(1))));
    let failure = life.failure.clone().unwrap();
    assert_eq!((failure.since, failure.last_seen, failure.state), (at(0), at(0), Fail));
    assert_eq!(life.resolved, None);

    let (life, events) = lived(&[Fail, Unknown, Fail]);
    assert_eq!(kinds(&events), [Began, Changed, Changed]);
    assert_eq!(life.unwrap().broken_since(), Some(at(0)));
}

#[test]
fn a_failure_that_comes_again_after_it_was_mended_is_a_new_one() {
    let (life, _) = lived(&[Fail, Good, Fail]);
    let life = life.unwrap();
    assert_eq!((life.first_seen, life.broken_since()), (at(0), Some(at(2))));
    assert_eq!((life.resolved, life.ending), (None, None));
}

#[test]
fn getting_worse_is_a_change_and_being_waived_is_one() {
    let (life, events) = lived(&[Warn, Fail, Waived]);
    assert_eq!(kinds(&events), [Began, Changed, Changed]);
    assert_eq!(life.unwrap().broken_since(), Some(at(0)));
}

#[test]
fn a_finding_flaps_after_five_changes_in_twenty_audits_until_two_are_left_of_them() {
    let (life, events) = lived(&[Fail, Good, Fail, Good, Fail]);
    assert_eq!(life.unwrap().flapping_since, Some(at(4)));
    assert_eq!(kinds(&events), [Began, Resolved, Began, Resolved, Began, FlappingBegan]);
    assert!(events.iter().all(|event| !event.flapping), "the first of it is told");

    let restless = [Fail, Good, Fail, Good, Fail, Good];
    let (_, events) = lived(&restless);
    assert!(events.last().unwrap().flapping, "what comes while it flaps is not");

    let calm = |audits: usize| [restless.as_slice(), &vec![Good; audits]].concat();
    // Six changes, one an audit; the window has left four of them behind after this many audits of calm.
    let after = usize::try_from(FLAPPING_WINDOW).unwrap() - 2;
    assert!(lived(&calm(after - 1)).0.unwrap().flapping_since.is_some());
    let (life, events) = lived(&calm(after));
    assert_eq!(life.unwrap().flapping_since, None);
    let last = events.last().unwrap();
    assert_eq!(
        (last.kind, last.flapping, last.life.state),
        (FlappingEnded, false, Good)
    );
}

#[test]
fn a_clock_that_is_set_back_makes_no_span_negative() {
    let (mut life, _) = Life::begin(key(), at(60), sighting(Fail)).unwrap();
    let events = life.step(at(0), sighting(Good));
    assert_eq!(events[0].at, at(60));
    assert_eq!((life.last_seen, life.resolved), (at(60), Some(at(60))));
}

#[test]
fn a_life_that_is_ended_from_outside_says_how() {
    let (mut life, _) = Life::begin(key(), at(0), sighting(Fail)).unwrap();
    let events = life.end(at(1), Ending::Left);
    assert_eq!(kinds(&events), [Resolved]);
    assert_eq!(life.ending, Some(Ending::Left));
    // No audit follows from that.
    assert_eq!(life.step(at(2), sighting(Good)), []);
    assert_eq!(life.ending, Some(Ending::Left));
}

#[test]
fn keys_are_told_apart_as_text() {
    assert_eq!(key().to_string(), "CM302 clustermesh east west");
    let odd = FindingKey {
        clusters: vec!["east west".to_owned(), "a\"b".to_owned()],
        ..key()
    };
    assert_eq!(odd.to_string(), r#"CM302 clustermesh "east west" "a\"b""#);
}

fn any_state() -> impl Strategy<Value = State> {
    prop_oneof![Just(Good), Just(Waived), Just(Warn), Just(Unknown), Just(Fail)]
}

proptest! {
    /// Stored between any two audits, a life is what it would have been in memory.
    #[test]
    fn a_life_survives_being_stored(states in proptest::collection::vec(any_state(), 1..60)) {
        let (life, events) = lived(&states);
        let mut stored: Option<String> = None;
        let mut told = Vec::new();
        for (minute, state) in (0..).zip(&states) {
            let life = match stored.as_deref().map(|text| serde_json::from_str::<Life>(text).unwrap()) {
                Some(mut life) => {
                    told.extend(life.step(at(minute), sighting(*state)));
                    life
                }
                None => match Life::begin(key(), at(minute), sighting(*state)) {
                    Some((life, event)) => {
                        told.push(event);
                        life
                    }
                    None => continue,
                },
            };
            stored = Some(serde_json::to_string(&life).unwrap());
        }
        prop_assert_eq!(stored, life.map(|life| serde_json::to_string(&life).unwrap()));
        prop_assert_eq!(told, events);
    }

    /// Whatever the order of verdicts: only a good one resolves, times are in order, and an open failure is as old as its first sighting.
    #[test]
    fn only_what_was_seen_to_be_good_is_resolved(states in proptest::collection::vec(any_state(), 1..60)) {
        let (life, events) = lived(&states);
        let Some(life) = life else { return Ok(()) };
        prop_assert_eq!(life.is_open(), *states.last().unwrap() != Good);
        prop_assert_eq!(life.resolved.is_some(), !life.is_open());
        prop_assert!(life.first_seen <= life.since && life.since <= life.last_seen);
        let last_good = states.iter().rposition(|state| *state == Good).map_or(0, |place| place + 1);
        let first_broken = states[last_good..].iter().position(|state| state.is_broken());
        let expected = first_broken.map(|place| at(i64::try_from(last_good + place).unwrap()));
        prop_assert_eq!(life.broken_since(), expected);
        // Beginnings and ends take turns.
        let turns: Vec<EventKind> = kinds(&events).into_iter().filter(|kind| matches!(kind, Began | Resolved)).collect();
        for (place, kind) in turns.iter().enumerate() {
            prop_assert_eq!(*kind, if place % 2 == 0 { Began } else { Resolved });
        }
        // And so do those of flapping.
        let turns: Vec<EventKind> = kinds(&events).into_iter().filter(|kind| matches!(kind, FlappingBegan | FlappingEnded)).collect();
        for (place, kind) in turns.iter().enumerate() {
            prop_assert_eq!(*kind, if place % 2 == 0 { FlappingBegan } else { FlappingEnded });
        }
    }
}
