//! Paths and links that carry less than a full packet.

use prejoin_tests::lab::Lab;
use prejoin_tests::lab::fault::{NodeFault, everything, narrow, on_node};

use super::clusters;
use super::scenario::{Scenario, assert_only};

#[test]
fn path_mtu_1400_with_icmp() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(narrow(everything(), 1400, true));
    assert_only(&said, &["CM508 fail: "]);
    assert!(
        said[0].contains("1400") && said[0].contains("172.31."),
        "the size and the hop that said so: {said:?}"
    );
}

#[test]
fn path_mtu_1400_without_icmp_is_a_black_hole() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(narrow(everything(), 1400, false));
    assert_only(&said, &["CM508 fail: "]);
    assert!(said[0].contains("1400") && said[0].contains("black hole"), "{said:?}");
}

#[test]
fn path_mtu_1400_in_one_direction_only() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(narrow(everything().from("east"), 1400, true));
    assert_only(&said, &["CM508 fail: "]);
    assert!(
        said[0].contains("from east to west") && said[0].contains("1400"),
        "{said:?}"
    );
}

#[test]
fn one_nodes_nic_is_smaller() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n1", NodeFault::LinkMtu(1400)));
    assert!(
        said.iter()
            .any(|said| said.contains("west-n1") && said.contains("1400")),
        "{said:#?}"
    );
    assert!(said.iter().all(|said| said.contains("1400")), "{said:#?}");
}

#[test]
fn mtu_below_1280_with_ipv6() {
    let Some(scenario) = Scenario::dual_stack() else { return };
    let said = scenario.with(narrow(everything().ipv6(), 1200, true));
    assert_only(&said, &["CM508 fail: "]);
    assert!(
        said.iter().any(|said| said.contains("IPv6") && said.contains("1200")),
        "{said:#?}"
    );
}

#[test]
fn jumbo_frames_on_one_side() {
    let lab = Lab::new().ipv4_only().site("east", 2).site("west", 2).mtu("east", 9000);
    let Some(scenario) = Scenario::of(lab, "clustermesh", clusters::cilium) else {
        return;
    };
    let said = scenario.complaints();
    assert!(
        !said.is_empty() && said.iter().all(|said| said.contains("9000") || said.contains("1500")),
        "{said:#?}"
    );
}
