//! Filters on the way and on hosts: what is dropped, rejected, refused, answered by others.

use prejoin_tests::lab::fault::{
    Action, NodeFault, Port, Rejection, drop, esp, everything, icmp, on_node, path, reject, tcp, udp,
};

use prejoin_checks::report::Verdict;

use super::scenario::{Scenario, assert_only, complaints};

#[test]
fn udp_port_dropped_one_way() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(drop(udp(8472).from("east").to("west")));
    assert_only(&said, &["CM501 fail: UDP 8472 from east to west: silent"]);
}

#[test]
fn udp_port_dropped_both_ways() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(drop(udp(8472)));
    assert_only(&said, &["CM501 fail: UDP 8472 between all clusters: silent"]);
}

#[test]
fn udp_port_dropped_only_towards_one_node() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    let said = scenario.with(drop(udp(8472).to("west-n2")));
    assert_only(&said, &["CM501 fail: UDP 8472 from east to west/west-n2: silent"]);
}

#[test]
fn udp_port_dropped_only_from_one_node() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    let said = scenario.with(drop(udp(8472).from("east-n2")));
    assert_only(&said, &["CM501 fail: UDP 8472 from east/east-n2 to west: silent"]);
}

#[test]
fn udp_port_dropped_only_in_one_zone() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    let said = scenario.with(drop(udp(8472).to("west-a")));
    assert_only(
        &said,
        &["CM501 fail: UDP 8472 from east to zone west-a of west: silent"],
    );
}

#[test]
fn udp_port_rejected_by_the_router() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(reject(udp(8472).from("east"), Rejection::Prohibited));
    assert_only(
        &said,
        &["CM501 fail: UDP 8472 from east to west: rejected by 172.31.1.1"],
    );
}

#[test]
fn udp_port_rejected_by_the_host() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n1", NodeFault::FirewallRejects(Port::Udp(8472))));
    assert_only(
        &said,
        &["CM501 fail: UDP 8472 from east to west/west-n1: rejected by 172.31.2.11"],
    );
}

#[test]
fn tcp_port_closed_is_refused() {
    let Some(mut scenario) = Scenario::clustermesh() else {
        return;
    };
    // Nothing listens where no agent can: a control plane that is not there.
    scenario.without_agent = vec!["west-n1".to_owned(), "west-n2".to_owned()];
    let said = scenario.complaints();
    assert!(
        said.iter()
            .any(|said| said.starts_with("CM505 fail: TCP 32379 from east to west: refused")),
        "{said:#?}"
    );
}

#[test]
fn tcp_port_filtered_is_silent() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(drop(tcp(32379)));
    assert_only(&said, &["CM505 fail: TCP 32379 between all clusters: silent"]);
}

#[test]
fn tcp_port_rejected_by_the_router() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(reject(tcp(32379).from("east"), Rejection::Prohibited));
    assert_only(
        &said,
        &["CM505 fail: TCP 32379 from east to west: rejected by 172.31.1.1"],
    );
}

#[test]
fn tcp_port_reset_by_a_firewall_although_the_listener_is_there() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(reject(tcp(32379).from("east"), Rejection::Reset));
    assert_only(&said, &["CM505 fail: TCP 32379 from east to west: re"]);
}

#[test]
fn firewall_on_the_receiving_host_behind_the_capture_point() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n1", NodeFault::FirewallDrops(Port::Udp(8472))));
    assert_only(
        &said,
        &["CM501 fail: UDP 8472 from east to west/west-n1: arrives at the node and is dropped there"],
    );
}

#[test]
fn port_owned_by_another_process() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n1", NodeFault::PortTaken(Port::Udp(8472))));
    assert_only(&said, &["CM927 fail: a program of user 0 has it on west-n1"]);
}

#[test]
fn port_owned_by_the_kernels_vxlan_device() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(on_node("west-n1", NodeFault::VxlanDevice(8472)));
    assert_only(&said, &["CM927 fail: vxlan0 has it on west-n1"]);
}

#[test]
fn esp_dropped_while_udp_passes() {
    let Some(scenario) = Scenario::submariner() else { return };
    let said = scenario.with(drop(esp()));
    assert_only(
        &said,
        &["SM503 fail: IP protocol 50 (ESP) between all clusters: silent"],
    );
}

#[test]
fn icmp_dropped_while_everything_else_passes_warns_only() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(drop(icmp()));
    assert_only(&said, &["CM507 warn: ICMP echo between all clusters: silent"]);
}

#[test]
fn ipv4_works_and_ipv6_does_not() {
    let Some(scenario) = Scenario::dual_stack() else { return };
    scenario.lab.fault(drop(everything().ipv6())).unwrap();
    let report = scenario.audit();
    assert_only(
        &complaints(&report),
        &["CM506 warn: all IPv6 between", "CM507 warn: all IPv6 between"],
    );
    // What does not arrive at all has no size: that is left open, for this cause and no other.
    let sizes: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.code == "CM508")
        .collect();
    assert!(
        sizes
            .iter()
            .all(|finding| finding.verdict == Verdict::Unknown && finding.cause.starts_with("all IPv6 between")),
        "{sizes:#?}"
    );
    assert_eq!(sizes.len(), 1);
}

#[test]
fn a_third_party_answers_on_the_port() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(path(udp(8472).to("west-n1"), Action::Hijack));
    assert_only(
        &said,
        &["CM501 fail: UDP 8472 from east to west/west-n1: answered by a third party"],
    );
}

#[test]
fn two_faults_at_once() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    scenario.lab.fault(drop(udp(8472).from("east").to("west"))).unwrap();
    let said = scenario.with(drop(tcp(4240).to("east-n2")));
    assert_only(
        &said,
        &[
            "CM501 fail: UDP 8472 from east to west: silent",
            "CM506 warn: TCP 4240 from west to east/east-n2: silent",
        ],
    );
}

#[test]
fn all_links_down() {
    let Some(scenario) = Scenario::clustermesh() else {
        return;
    };
    let said = scenario.with(drop(everything()));
    assert_only(
        &said,
        &[
            "CM501 fail: everything between all clusters: silent",
            "CM505 fail: everything between all clusters: silent",
            "CM506 warn: everything between all clusters: silent",
            "CM507 warn: everything between all clusters: silent",
        ],
    );
}
