use super::{is_boolean, public_ip_problem};
use crate::engine::judge;
use crate::facts::ClusterFacts;
use crate::facts::provenance::{Fact, Reason};
use crate::intent::Intent;
use crate::profile::Profile::Submariner;
use crate::report::{Finding, Severity, Verdict};
use crate::samples::{findings, flannel, policy, report, submariner, value_mut};

fn alone(facts: &ClusterFacts, code: &str) -> Finding {
    findings(&report(Submariner, std::slice::from_ref(facts)), code)[0].clone()
}

/// A cluster whose nth node has this annotation; the second is the gateway.
fn annotated(mut facts: ClusterFacts, node: usize, key: &str, value: &str) -> ClusterFacts {
    value_mut(&mut facts.nodes)[node]
        .annotations
        .insert(key.to_owned(), value.to_owned());
    facts
}

#[test]
fn an_unknown_setting_stops_a_gateway_and_is_told_elsewhere() {
    assert_eq!(alone(&flannel("east", 1), "SM405").verdict, Verdict::Pass);
    let mistyped = "gateway.submariner.io/publicip";
    let on_gateway = alone(&annotated(flannel("east", 1), 1, mistyped, "ipv4:203.0.113.1"), "SM405");
    assert_eq!(
        (on_gateway.verdict, on_gateway.subject.nodes),
        (Verdict::Fail, vec!["east-n2".to_owned()])
    );
    let elsewhere = alone(&annotated(flannel("east", 1), 0, mistyped, ""), "SM405");
    assert_eq!(elsewhere.verdict, Verdict::Warn);
    // While none is labelled, any candidate may become one.
    let mut unlabelled = annotated(flannel("east", 1), 0, mistyped, "");
    value_mut(&mut unlabelled.nodes)[1]
        .labels
        .remove("submariner.io/gateway");
    assert_eq!(alone(&unlabelled, "SM405").verdict, Verdict::Fail);
}

#[test]
fn only_libreswan_reads_the_preferred_server_setting() {
    let facts = annotated(flannel("east", 1), 1, "gateway.submariner.io/preferred-server", "yes");
    assert_eq!(alone(&facts, "SM405").verdict, Verdict::Fail);
    let mut intent = Intent::default();
    intent.submariner.cable_driver = Some("wireguard".to_owned());
    let report = judge(&[facts], &intent, &policy(Submariner));
    assert_eq!(findings(&report, "SM405")[0].verdict, Verdict::Pass);
    assert!(is_boolean("True") && !is_boolean("yes"));
}

#[test]
fn a_changed_setting_waits_for_a_restart() {
    let member = submariner(&[("east", 1)]).remove(0);
    assert_eq!(alone(&member, "SM406").verdict, Verdict::Pass);
    let changed = alone(
        &annotated(member.clone(), 1, "gateway.submariner.io/udp-port", "4501"),
        "SM406",
    );
    assert_eq!((changed.verdict, changed.severity), (Verdict::Pass, Severity::Info));
    assert_eq!(changed.found, "udp-port=4501, in force 4500 on east-n2");
    assert_eq!(alone(&flannel("east", 1), "SM406").verdict, Verdict::Skip);
}

#[test]
fn public_ip_items_are_tried_in_order() {
    for (value, air_gapped, expected) in [
        ("ipv4:203.0.113.1", false, None),
        ("ipv4:203.0.113.1,nonsense", false, None),
        ("dns:gw.example.com", false, None),
        ("ftp:x,ipv4:203.0.113.1", false, None),
        ("203.0.113.1", false, Some(Severity::Fail)),
        ("nonsense,ipv4:203.0.113.1", false, Some(Severity::Fail)),
        ("api:https://ip.example.com", false, Some(Severity::Fail)),
        ("ipv4:fd00::1", false, Some(Severity::Fail)),
        ("ipv4:gw", false, Some(Severity::Fail)),
        ("dns:gw.example.com", true, Some(Severity::Warn)),
        ("dns:gw.example.com,ipv4:203.0.113.1", true, None),
    ] {
        assert_eq!(
            public_ip_problem(value, air_gapped).map(|(_, severity)| severity),
            expected,
            "{value}"
        );
    }
    assert_eq!(alone(&flannel("east", 1), "SM407").verdict, Verdict::Skip);
    let mut labelled = flannel("east", 1);
    let labels = &mut value_mut(&mut labelled.nodes)[1].labels;
    labels.insert("gateway.submariner.io/public-ip".to_owned(), "203.0.113.1".to_owned());
    assert_eq!(alone(&labelled, "SM407").verdict, Verdict::Fail);
    let beaten = annotated(labelled, 1, "gateway.submariner.io/public-ip", "ipv4:203.0.113.1");
    assert_eq!(alone(&beaten, "SM407").verdict, Verdict::Pass);
}

#[test]
fn ports_are_ports_and_an_empty_discovery_port_turns_it_off() {
    assert_eq!(alone(&flannel("east", 1), "SM408").verdict, Verdict::Pass);
    for (name, value, expected) in [
        ("udp-port", "4501", Verdict::Pass),
        ("udp-port", "0", Verdict::Fail),
        ("udp-port", "70000", Verdict::Fail),
        ("udp-port", "+4501", Verdict::Fail),
        ("udp-port", "", Verdict::Fail),
        ("natt-discovery-port", "", Verdict::Warn),
        ("natt-discovery-port", "none", Verdict::Fail),
    ] {
        let facts = annotated(flannel("east", 1), 1, &format!("gateway.submariner.io/{name}"), value);
        assert_eq!(alone(&facts, "SM408").verdict, expected, "{name}={value}");
    }
}

#[test]
fn the_clamp_is_a_number_on_every_gateway() {
    const KEY: &str = "submariner.io/tcp-clamp-mss";
    let mut member = submariner(&[("east", 1)]).remove(0);
    assert_eq!(alone(&member, "SM410").verdict, Verdict::Skip);
    assert_eq!(
        alone(&annotated(member.clone(), 1, KEY, "1350"), "SM410").verdict,
        Verdict::Pass
    );
    assert_eq!(
        alone(&annotated(member.clone(), 1, KEY, "auto"), "SM410").verdict,
        Verdict::Warn
    );
    value_mut(&mut member.nodes)[0]
        .labels
        .insert("submariner.io/gateway".to_owned(), "true".to_owned());
    let one_of_two = alone(&annotated(member, 1, KEY, "1350"), "SM410");
    assert_eq!(one_of_two.found, "absent on east-n1");
}

#[test]
fn what_could_not_be_read_is_unknown() {
    let mut facts = submariner(&[("east", 1)]).remove(0);
    facts.nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
    for code in ["SM405", "SM406", "SM407", "SM408", "SM410"] {
        assert_eq!(alone(&facts, code).verdict, Verdict::Unknown, "{code}");
    }
}
