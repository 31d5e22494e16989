//! Paths that work, but not well.

use prejoin_tests::lab::fault::{Action, everything, path, udp};
use serde_json::json;

use super::scenario::{Scenario, assert_only};

#[test]
fn five_percent_loss() {
    let Some(mut scenario) = Scenario::clustermesh() else {
        return;
    };
    // Ten samples of each pair need not show one loss in twenty.
    scenario.set("pace", json!({"samples": 200}));
    let said = scenario.with(path(udp(8472), Action::Lose { percent: 5, seed: 3 }));
    assert!(
        !said.is_empty() && said.iter().all(|said| said.starts_with("NET302 warn")),
        "{said:#?}"
    );
}

#[test]
fn thirty_percent_loss() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(path(udp(8472), Action::Lose { percent: 30, seed: 3 }));
    assert!(
        !said.is_empty() && said.iter().all(|said| said.starts_with("NET302 fail")),
        "{said:#?}"
    );
}

#[test]
fn eighty_five_percent_loss() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    // Neither a filter on the pair that happens to lose all, nor a size that happens to be lost more often than another.
    for seed in 1..=3 {
        let fault = scenario
            .lab
            .fault(path(udp(8472), Action::Lose { percent: 85, seed }))
            .unwrap();
        let said = scenario.complaints();
        assert!(
            !said.is_empty() && said.iter().all(|said| said.starts_with("NET302 fail")),
            "seed {seed}: {said:#?}"
        );
        scenario.lab.heal(fault).unwrap();
    }
}

#[test]
fn a_burst_eats_the_first_packet() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(path(udp(8472), Action::LoseFirst));
    assert_only(&said, &["NET303 warn: "]);
}

#[test]
fn duplicate_packets() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(path(udp(8472), Action::Duplicate));
    assert_only(&said, &["NET305 warn: "]);
}

#[test]
fn reordered_packets() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(path(udp(8472), Action::Reorder));
    assert_only(&said, &["NET305 warn: "]);
}

#[test]
fn one_ecmp_member_is_dead() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(path(udp(8472), Action::DeadMember { of: 2 }));
    assert!(
        !said.is_empty() && said.iter().all(|said| said.starts_with("NET304 ")),
        "{said:#?}"
    );
}

#[test]
fn eighty_milliseconds_round_trip_against_the_budget() {
    let Some(mut scenario) = Scenario::clustermesh() else {
        return;
    };
    scenario.set("roundTripBudget", "50ms".into());
    let said = scenario.with(path(everything(), Action::Delay { millis: 40 }));
    // How far beyond 80 ms depends on how busy the machine is.
    assert_only(&said, &["NET306 fail: up to "]);
}

#[test]
fn a_rate_limited_path() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(path(udp(8472).from("east"), Action::Police { per_second: 20 }));
    assert!(
        !said.is_empty() && said.iter().all(|said| said.starts_with("NET302 ")),
        "{said:#?}"
    );
}
