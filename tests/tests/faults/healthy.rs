//! Nothing is wrong: nothing is said to be, and nothing is left open.

use prejoin_checks::report::Report;

use super::scenario::{Scenario, assert_only, complaints};

#[track_caller]
fn assert_all_green(report: &Report) {
    assert_only(&complaints(report), &[]);
    let open: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.is_not_asked())
        .map(|finding| format!("{}: {}", finding.code, finding.found))
        .collect();
    assert_eq!(
        report.coverage.flows.known, report.coverage.flows.wanted,
        "flows proven; left open: {open:#?}"
    );
    assert_eq!(report.coverage.checks.known, report.coverage.checks.wanted);
    assert_eq!(report.exit_code, 0);
}

#[test]
fn a_healthy_clustermesh_lab_has_nothing_to_complain_of() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    assert_only(&scenario.complaints(), &[]);
}

#[test]
fn a_healthy_submariner_lab_has_nothing_to_complain_of() {
    let Some(scenario) = Scenario::submariner() else { return };
    assert_only(&scenario.complaints(), &[]);
}

#[test]
fn a_healthy_clustermesh_lab_is_all_green() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    assert_all_green(&scenario.audit());
}

#[test]
fn a_healthy_dual_stack_lab_is_all_green() {
    let Some(scenario) = Scenario::dual_stack() else { return };
    assert_all_green(&scenario.audit());
}

#[test]
fn a_healthy_submariner_lab_is_all_green() {
    let Some(scenario) = Scenario::submariner() else { return };
    assert_all_green(&scenario.audit());
}

#[test]
fn nothing_is_on_the_wire_that_is_not_between_the_sites_nodes_and_never_more_than_the_cap() {
    let Some(mut scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    scenario.set("pace", serde_json::json!({"rate": 200}));
    scenario.lab.traffic().unwrap();
    scenario.audit();
    let traffic = scenario.lab.traffic().unwrap();
    assert!(
        traffic.0.iter().all(|seen| seen.receiver.is_some()),
        "an address outside the plan"
    );
    assert!(
        traffic
            .0
            .iter()
            .all(|seen| seen.ports.is_none_or(|(_, to)| to != 4490) || seen.payload_bytes > 0),
        "an empty datagram to UDP 4490"
    );
    let most = traffic.busiest_second();
    assert!(!traffic.0.is_empty() && most <= 200, "{most} packets in one second");
}
