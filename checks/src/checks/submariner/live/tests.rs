//! Given a clusterset that was sound, break one thing, expect one finding.

use crate::facts::ClusterFacts;
use crate::facts::provenance::{Fact, Reason};
use crate::profile::Profile::Submariner;
use crate::report::Verdict;
use crate::samples::{findings, report, value_mut};
use crate::samples::{flannel, hold_broker, submariner, submariner_mut};

const CODES: [&str; 11] = [
    "SM901", "SM903", "SM904", "SM905", "SM906", "SM907", "SM908", "SM909", "SM911", "SM912", "SM913",
];

/// The worst verdict of a check after a change to two sound members, the first of which holds the broker.
fn judged(code: &str, change: impl FnOnce(&mut ClusterFacts, &mut ClusterFacts)) -> Verdict {
    let mut clusters = submariner(&[("east", 1), ("west", 2)]);
    hold_broker(&mut clusters[0]);
    let (east, west) = clusters.split_at_mut(1);
    change(&mut east[0], &mut west[0]);
    findings(&report(Submariner, &clusters), code)[0].verdict
}

#[test]
fn a_sound_clusterset_passes() {
    for code in CODES {
        let expected = if code == "SM911" { Verdict::Skip } else { Verdict::Pass };
        assert_eq!(judged(code, |_, _| {}), expected, "{code}");
    }
}

#[test]
fn before_the_join_there_is_nothing_to_judge() {
    let report = report(Submariner, &[flannel("east", 1), flannel("west", 2)]);
    for code in CODES {
        let verdict = findings(&report, code)[0].verdict;
        assert!(
            verdict == Verdict::Skip || (code == "SM901" && verdict == Verdict::Pass),
            "{code} {verdict}"
        );
    }
}

#[test]
fn what_was_refused_is_unknown() {
    for code in CODES {
        let verdict = judged(code, |_, west| {
            west.submariner = Fact::unknown(Reason::Forbidden, "list submariners: forbidden");
        });
        assert!(verdict == Verdict::Unknown || code == "SM904", "{code} {verdict}");
    }
    let verdict = judged("SM904", |east, _| {
        submariner_mut(east).endpoints = Fact::unknown(Reason::Forbidden, "list endpoints: forbidden");
    });
    assert_eq!(verdict, Verdict::Unknown);
}

#[test]
fn one_member_with_another_cable_driver_fails() {
    let other = |_: &mut ClusterFacts, west: &mut ClusterFacts| {
        for endpoint in value_mut(&mut submariner_mut(west).endpoints)
            .iter_mut()
            .filter(|endpoint| endpoint.cluster_id == "west")
        {
            endpoint.backend = "wireguard".to_owned();
        }
    };
    assert_eq!(judged("SM901", other), Verdict::Fail);
}

#[test]
fn two_gateways_behind_nat_that_do_not_connect_fail() {
    let stuck = |east: &mut ClusterFacts, west: &mut ClusterFacts| {
        for facts in [east, west] {
            value_mut(&mut submariner_mut(facts).gateways)[0].connections[0].status = "connecting".to_owned();
        }
    };
    assert_eq!(judged("SM903", stuck), Verdict::Fail);
}

#[test]
fn a_stale_endpoint_at_the_broker_fails() {
    let stale = |east: &mut ClusterFacts, _: &mut ClusterFacts| {
        let endpoints = value_mut(&mut submariner_mut(east).endpoints);
        let mut old = endpoints
            .iter()
            .rev()
            .find(|endpoint| endpoint.cluster_id == "west")
            .unwrap()
            .clone();
        old.cable_name = "submariner-cable-west-172-31-2-11".to_owned();
        endpoints.push(old);
    };
    assert_eq!(judged("SM904", stale), Verdict::Fail);
}

#[test]
fn s_597_an_endpoint_skipped_for_its_ranges_fails() {
    let skipped = |_: &mut ClusterFacts, west: &mut ClusterFacts| {
        value_mut(&mut submariner_mut(west).endpoints).retain(|endpoint| endpoint.cluster_id != "east");
        value_mut(&mut submariner_mut(west).gateways)[0].connections.clear();
    };
    assert_eq!(judged("SM905", skipped), Verdict::Fail);
}

#[test]
fn s_2724_one_side_connected_and_the_other_in_error_fails() {
    let one_way = |_: &mut ClusterFacts, west: &mut ClusterFacts| {
        value_mut(&mut submariner_mut(west).gateways)[0].connections[0].status = "error".to_owned();
    };
    assert_eq!(judged("SM906", one_way), Verdict::Fail);
}

#[test]
fn one_side_private_and_the_other_public_warns() {
    let mixed = |_: &mut ClusterFacts, west: &mut ClusterFacts| {
        let connection = &mut value_mut(&mut submariner_mut(west).gateways)[0].connections[0];
        connection.using_ip = connection.endpoint.private_ips[0].clone();
    };
    assert_eq!(judged("SM907", mixed), Verdict::Warn);
}

#[test]
fn a_gateway_that_went_silent_warns_then_fails() {
    let silent = |seconds: i64| {
        judged("SM908", |_, west| {
            let read = west.collected_at.unwrap();
            value_mut(&mut submariner_mut(west).gateways)[0].updated_at =
                jiff::Timestamp::from_second(read.as_second() - seconds).ok();
        })
    };
    assert_eq!(
        [silent(30), silent(90), silent(900)],
        [Verdict::Pass, Verdict::Warn, Verdict::Fail]
    );
    assert_eq!(
        judged("SM908", |_, west| value_mut(&mut submariner_mut(west).gateways).clear()),
        Verdict::Fail
    );
}

#[test]
fn ranges_that_changed_after_the_join_fail() {
    let changed = |_: &mut ClusterFacts, west: &mut ClusterFacts| {
        for endpoint in value_mut(&mut submariner_mut(west).endpoints)
            .iter_mut()
            .filter(|endpoint| endpoint.cluster_id == "west")
        {
            endpoint.subnets.pop();
        }
    };
    assert_eq!(judged("SM909", changed), Verdict::Fail);
}

#[test]
fn vxlan_cables_need_one_port() {
    let vxlan = |port: &'static str| {
        move |east: &mut ClusterFacts, west: &mut ClusterFacts| {
            for facts in [east, west] {
                for endpoint in value_mut(&mut submariner_mut(facts).endpoints) {
                    endpoint.backend = "vxlan".to_owned();
                    let own = if endpoint.cluster_id == "west" { port } else { "4500" };
                    endpoint.backend_config.insert("udp-port".to_owned(), own.to_owned());
                }
            }
        }
    };
    assert_eq!(judged("SM911", vxlan("4500")), Verdict::Pass);
    assert_eq!(judged("SM911", vxlan("4501")), Verdict::Fail);
}

#[test]
fn route_agents_in_error_beside_a_connected_gateway_fail() {
    let skipping = |_: &mut ClusterFacts, west: &mut ClusterFacts| {
        value_mut(&mut submariner_mut(west).route_agents)[0].remotes[0].status = "error".to_owned();
    };
    assert_eq!(judged("SM912", skipping), Verdict::Fail);
}

#[test]
fn l_2001_a_pod_that_cannot_start_fails() {
    let waiting = |_: &mut ClusterFacts, west: &mut ClusterFacts| {
        value_mut(&mut submariner_mut(west).unready_pods)
            .push("submariner-lighthouse-coredns-1: CrashLoopBackOff".to_owned());
    };
    assert_eq!(judged("SM913", waiting), Verdict::Fail);
}
