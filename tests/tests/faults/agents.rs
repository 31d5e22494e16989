//! Agents that die, hang, lie, are old or live in another time.

use prejoin_tests::lab::fault::{AgentFault, NodeFault, on_node};

use super::scenario::{Scenario, assert_only};

/// What is said when this is wrong with the agent on `west-n1`: it comes first, and all else is unknown because of it.
fn said_of(fault: AgentFault) -> Option<Vec<String>> {
    let scenario = Scenario::larger_clustermesh()?;
    let said = scenario.with(on_node("west-n1", NodeFault::Agent(fault)));
    let (agent, rest): (Vec<_>, Vec<_>) = said.iter().cloned().partition(|said| said.starts_with("NET301"));
    assert_eq!(agent.len(), 1, "{said:#?}");
    assert!(agent[0].contains("west-n1"), "{said:#?}");
    assert!(
        rest.iter()
            .all(|said| said.contains(" unknown: ") && said.contains("west-n1")),
        "{said:#?}"
    );
    Some(agent)
}

#[test]
fn an_agent_killed_mid_probe() {
    let Some(said) = said_of(AgentFault::Dies) else { return };
    assert!(said[0].contains("ended"), "{said:?}");
}

#[test]
fn an_agent_that_hangs() {
    let Some(said) = said_of(AgentFault::Hangs) else { return };
    assert!(said[0].contains("answer") || said[0].contains("silent"), "{said:?}");
}

#[test]
fn an_agent_that_answers_garbage() {
    let Some(said) = said_of(AgentFault::Garbage) else {
        return;
    };
    assert!(
        said[0].contains("protocol") || said[0].contains("JSON") || said[0].contains("no answer"),
        "{said:?}"
    );
}

#[test]
fn an_agent_that_claims_a_nonce_it_never_saw() {
    let Some(said) = said_of(AgentFault::ClaimsUnheard) else {
        return;
    };
    assert!(
        said[0].starts_with("NET301 fail") && said[0].contains("claims"),
        "{said:?}"
    );
}

#[test]
fn an_agent_that_reports_another_nodes_name() {
    let Some(said) = said_of(AgentFault::WrongName("east-n1".to_owned())) else {
        return;
    };
    assert!(
        said[0].starts_with("NET301 fail") && said[0].contains("east-n1"),
        "{said:?}"
    );
}

#[test]
fn an_agent_of_an_unknown_protocol_version() {
    let Some(said) = said_of(AgentFault::UnknownProtocol) else {
        return;
    };
    assert!(said[0].contains("version"), "{said:?}");
}

#[test]
fn an_agent_one_protocol_version_older_is_understood() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n1", NodeFault::Agent(AgentFault::OlderProtocol)));
    assert_only(&said, &[]);
}

#[test]
fn a_clock_three_seconds_off() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n1", NodeFault::Agent(AgentFault::ClockAhead)));
    assert_only(&said, &["NET307 "]);
    assert!(said[0].contains("west-n1"), "{said:?}");
}
