//! Nodes and their routes, tables and names.

use prejoin_tests::lab::fault::{Action, NodeFault, everything, on_node, path, udp};

use super::scenario::{Scenario, assert_only};

#[test]
#[ignore = "the lab also translates answers to masqueraded pods, as no stateful NAT does"]
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
#[ignore = "the pod behind the node is taken for a cause of its own"]
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
            .any(|said| said.contains("rp_filter") || said.contains("arrives at the node")),
        "{said:#?}"
    );
}

#[test]
#[ignore = "the cause is taken to be the peers of the node without a route"]
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
#[ignore = "the cause is called a zone where it is one node"]
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
#[ignore = "the report does not name this cause yet"]
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
