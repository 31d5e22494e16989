//! Nodes and their routes, tables and names.

use prejoin_tests::lab::fault::{Action, NodeFault, everything, on_node, path, udp};

use super::scenario::{Scenario, assert_only};

#[test]
fn nat_rewrites_the_source() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let address = "203.0.113.99".parse().unwrap();
    let said = scenario.with(path(everything().from("east"), Action::SourceNat { address }));
    assert_only(&said, &["NET308 "]);
    assert!(said[0].contains("203.0.113.99"), "{said:?}");
}

#[test]
fn nat_rewrites_the_source_port() {
    let Some(scenario) = Scenario::submariner() else { return };
    let said = scenario.with(path(udp(4500).from("east"), Action::SourcePortNat));
    assert_only(&said, &["NET308 "]);
    assert!(said[0].contains("port"), "{said:?}");
}

#[test]
fn asymmetric_return_path_with_strict_rp_filter() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n1", NodeFault::StrictReturnPath));
    assert!(
        !said.is_empty() && said.iter().all(|said| said.contains("west-n1")),
        "{said:#?}"
    );
    assert!(
        said.iter()
            .any(|said| said.contains("arrives at the node") && said.contains("rp_filter is strict on eth1")),
        "{said:#?}"
    );
}

#[test]
fn missing_return_route() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n1", NodeFault::NoRouteOut));
    assert!(
        !said.is_empty() && said.iter().all(|said| said.contains("west-n1")),
        "{said:#?}"
    );
    assert!(said.iter().any(|said| said.contains("no route")), "{said:#?}");
}

#[test]
fn a_nodes_link_is_down() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n2", NodeFault::LinkDown));
    assert!(
        !said.is_empty() && said.iter().all(|said| said.contains("west-n2")),
        "{said:#?}"
    );
}

#[test]
fn conntrack_table_full() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n1", NodeFault::ConntrackFull));
    assert_only(&said, &["NET402 "]);
    assert!(said[0].contains("west-n1"), "{said:?}");
}

#[test]
fn dns_name_of_the_peer_unresolvable() {
    let Some(scenario) = Scenario::named_broker() else {
        return;
    };
    assert_only(&scenario.complaints(), &[]);
    let said = scenario.with(on_node("west-n2", NodeFault::NamesUnknown));
    assert!(
        !said.is_empty() && said.iter().all(|said| said.contains("broker.example")),
        "{said:#?}"
    );
}
