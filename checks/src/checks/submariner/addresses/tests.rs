use crate::engine::judge;
use crate::facts::ClusterFacts;
use crate::facts::node::NodeAddress;
use crate::facts::provenance::{Fact, Reason};
use crate::facts::submariner::Endpoint;
use crate::intent::{Intent, SubmarinerPlan};
use crate::profile::Profile::Submariner;
use crate::report::{Report, Verdict};
use crate::samples::{findings, flannel, policy, report, submariner, submariner_config_mut, submariner_mut, value_mut};

fn verdict(report: &Report, code: &str) -> Verdict {
    findings(report, code)[0].verdict
}

fn planned(facts: &[ClusterFacts], change: impl FnOnce(&mut SubmarinerPlan)) -> Report {
    let mut intent = Intent::default();
    change(&mut intent.submariner);
    judge(facts, &intent, &policy(Submariner))
}

/// The endpoint a member tells of, to change it.
fn endpoint_mut(facts: &mut ClusterFacts) -> &mut Endpoint {
    let gateways = value_mut(&mut submariner_mut(facts).gateways);
    gateways[0].local_endpoint.as_mut().unwrap()
}

/// Three members of which the first two are behind one address.
fn behind_one_address() -> Vec<ClusterFacts> {
    let mut facts = submariner(&[("east", 1), ("west", 2), ("north", 3)]);
    endpoint_mut(&mut facts[1]).public_ips = vec!["203.0.113.1".to_owned()];
    facts
}

#[test]
fn one_port_behind_one_address_warns_while_all_are_connected() {
    assert_eq!(
        verdict(&report(Submariner, &submariner(&[("east", 1), ("west", 2)])), "SM409"),
        Verdict::Pass
    );
    let mut facts = behind_one_address();
    let shared = report(Submariner, &facts);
    let finding = findings(&shared, "SM409")[0];
    assert_eq!(
        (finding.verdict, &finding.subject.clusters[..]),
        (Verdict::Warn, &["east".to_owned(), "west".to_owned()][..])
    );
    endpoint_mut(&mut facts[1])
        .backend_config
        .insert("udp-port".to_owned(), "4501".to_owned());
    let own_ports = report(Submariner, &facts);
    assert_eq!(verdict(&own_ports, "SM409"), Verdict::Pass);
    assert_eq!(verdict(&own_ports, "SM422"), Verdict::Warn);
}

#[test]
fn one_port_behind_one_address_fails_for_who_cannot_connect() {
    let mut facts = behind_one_address();
    let gateways = value_mut(&mut submariner_mut(&mut facts[2]).gateways);
    gateways[0].connections[1].status = "connecting".to_owned();
    assert_eq!(verdict(&report(Submariner, &facts), "SM409"), Verdict::Fail);
    endpoint_mut(&mut facts[2])
        .backend_config
        .insert("preferred-server".to_owned(), "true".to_owned());
    assert_eq!(verdict(&report(Submariner, &facts), "SM409"), Verdict::Warn);
}

#[test]
fn clusters_that_have_not_joined_publish_nothing() {
    let report = report(Submariner, &[flannel("east", 1), flannel("west", 2)]);
    for code in ["SM409", "SM422", "SM424", "SM425"] {
        assert_eq!(verdict(&report, code), Verdict::Skip, "{code}");
    }
}

#[test]
fn unread_gateways_are_unknown() {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    submariner_mut(&mut facts[0]).gateways = Fact::unknown(Reason::Forbidden, "list gateways: forbidden");
    for code in ["SM409", "SM421", "SM422", "SM424", "SM425"] {
        let report = report(Submariner, &facts);
        assert!(
            findings(&report, code)
                .iter()
                .any(|finding| finding.verdict == Verdict::Unknown && finding.subject.clusters == ["east"]),
            "{code}"
        );
    }
}

#[test]
fn an_air_gapped_gateway_behind_a_load_balancer_needs_an_annotation() {
    let mut facts = vec![flannel("east", 1)];
    assert_eq!(verdict(&report(Submariner, &facts), "SM420"), Verdict::Skip);
    let air_gapped = |plan: &mut SubmarinerPlan| plan.air_gapped = Some(true);
    assert_eq!(verdict(&planned(&facts, air_gapped), "SM420"), Verdict::Pass);
    let both = |plan: &mut SubmarinerPlan| (plan.air_gapped, plan.load_balancer) = (Some(true), Some(true));
    assert_eq!(verdict(&planned(&facts, both), "SM420"), Verdict::Warn);
    value_mut(&mut facts[0].nodes)[1].annotations.insert(
        "gateway.submariner.io/public-ip".to_owned(),
        "ipv4:203.0.113.1".to_owned(),
    );
    assert_eq!(verdict(&planned(&facts, both), "SM420"), Verdict::Pass);
    facts[0].nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
    assert_eq!(verdict(&planned(&facts, both), "SM420"), Verdict::Unknown);
}

/// Two clusters whose gateway nodes have one address.
fn twins() -> Vec<ClusterFacts> {
    let mut facts = vec![flannel("east", 1), flannel("west", 2)];
    let own = value_mut(&mut facts[0].nodes)[1].addresses.clone();
    value_mut(&mut facts[1].nodes)[1].addresses = own;
    facts
}

#[test]
fn equal_private_addresses_warn_before_a_join_and_fail_with_vxlan() {
    assert_eq!(
        verdict(&report(Submariner, &[flannel("east", 1), flannel("west", 2)]), "SM421"),
        Verdict::Pass
    );
    let twins = twins();
    let warned = report(Submariner, &twins);
    let finding = findings(&warned, "SM421")[0];
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Warn, "172.31.1.12 on east and west")
    );
    let driver = |name: &str| planned(&twins, |plan| plan.cable_driver = Some(name.to_owned()));
    assert_eq!(verdict(&driver("vxlan"), "SM421"), Verdict::Fail);
    assert_eq!(verdict(&driver("wireguard"), "SM421"), Verdict::Warn);
    assert_eq!(
        verdict(&planned(&twins, |plan| plan.load_balancer = Some(true)), "SM421"),
        Verdict::Fail
    );
}

#[test]
fn members_of_one_private_address_fail_without_a_public_one() {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    endpoint_mut(&mut facts[1]).private_ips = vec!["172.31.1.12".to_owned()];
    assert_eq!(verdict(&report(Submariner, &facts), "SM421"), Verdict::Warn);
    submariner_config_mut(&mut facts[1]).preferred_server = Some(true);
    assert_eq!(verdict(&report(Submariner, &facts), "SM421"), Verdict::Fail);
    submariner_config_mut(&mut facts[1]).preferred_server = None;
    endpoint_mut(&mut facts[1]).public_ips.clear();
    assert_eq!(verdict(&report(Submariner, &facts), "SM421"), Verdict::Fail);
}

#[test]
fn a_load_balancer_on_aws_is_recorded() {
    let mut facts = flannel("east", 1);
    value_mut(&mut facts.nodes)[0].provider_id = "aws:///eu-west-1a/i-1".to_owned();
    let facts = [facts];
    assert_eq!(verdict(&report(Submariner, &facts), "SM423"), Verdict::Skip);
    let balanced = planned(&facts, |plan| plan.load_balancer = Some(true));
    assert_eq!(findings(&balanced, "SM423")[0].found, "a load balancer on AWS");
    let mut unreadable = facts;
    unreadable[0].nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
    let unknown = planned(&unreadable, |plan| plan.load_balancer = Some(true));
    assert_eq!(verdict(&unknown, "SM423"), Verdict::Unknown);
}

#[test]
fn an_ipv6_public_address_stops_the_peers_gateways() {
    let mut facts = submariner(&[("east", 1)]);
    assert_eq!(verdict(&report(Submariner, &facts), "SM424"), Verdict::Pass);
    endpoint_mut(&mut facts[0]).public_ips = vec!["2001:db8::1".to_owned()];
    assert_eq!(verdict(&report(Submariner, &facts), "SM424"), Verdict::Fail);
    endpoint_mut(&mut facts[0]).public_ips.push("203.0.113.1".to_owned());
    assert_eq!(verdict(&report(Submariner, &facts), "SM424"), Verdict::Pass);
}

#[test]
fn a_public_address_that_is_not_the_nodes_is_warned_of() {
    let mut facts = submariner(&[("east", 1)]);
    assert_eq!(verdict(&report(Submariner, &facts), "SM425"), Verdict::Skip);
    value_mut(&mut facts[0].nodes)[1].addresses.push(NodeAddress {
        kind: "ExternalIP".to_owned(),
        ip: "203.0.113.1".parse().unwrap(),
    });
    assert_eq!(verdict(&report(Submariner, &facts), "SM425"), Verdict::Pass);
    endpoint_mut(&mut facts[0]).public_ips = vec!["198.51.100.7".to_owned()];
    assert_eq!(verdict(&report(Submariner, &facts), "SM425"), Verdict::Warn);
}
