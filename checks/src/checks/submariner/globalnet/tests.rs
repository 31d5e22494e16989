use super::unusable;
use crate::engine::judge;
use crate::facts::ClusterFacts;
use crate::facts::provenance::{Fact, Reason};
use crate::facts::submariner::RangeEntry;
use crate::intent::{Intent, SubmarinerClusterPlan, SubmarinerPlan};
use crate::profile::Profile::Submariner;
use crate::report::{Report, Verdict};
use crate::samples::{
    findings, flannel, hold_broker, policy, submariner, submariner_mut, turn_globalnet_on, value_mut,
};

fn verdict(report: &Report, code: &str) -> Verdict {
    findings(report, code)[0].verdict
}

fn planned(facts: &[ClusterFacts], change: impl FnOnce(&mut SubmarinerPlan)) -> Report {
    let mut intent = Intent::default();
    change(&mut intent.submariner);
    judge(facts, &intent, &policy(Submariner))
}

/// A cluster that joins with Globalnet and this `--globalnet-cidr`.
fn joining_with(cidr: &str) -> Report {
    planned(&[flannel("east", 1)], |plan| {
        plan.globalnet = Some(true);
        let own = SubmarinerClusterPlan {
            globalnet_cidr: Some(cidr.to_owned()),
            ..SubmarinerClusterPlan::default()
        };
        plan.clusters.insert("east".to_owned(), own);
    })
}

#[test]
fn a_global_cidr_is_a_plain_block_of_some_size() {
    for (cidr, expected) in [
        ("242.1.0.0/16", Verdict::Pass),
        ("242.1.0.0/30", Verdict::Pass),
        ("242.1.0.0/31", Verdict::Fail),
        ("0.0.0.0/8", Verdict::Fail),
        ("127.0.0.0/16", Verdict::Fail),
        ("169.254.0.0/16", Verdict::Fail),
        ("224.0.0.0/24", Verdict::Fail),
        ("fd00::/64", Verdict::Fail),
        ("242.1/16", Verdict::Fail),
    ] {
        assert_eq!(verdict(&joining_with(cidr), "SM220"), expected, "{cidr}");
    }
    assert_eq!(unusable("169.254.1.0/24".parse().unwrap()), Some("is link-local"));
    let without = planned(&[flannel("east", 1)], |plan| plan.globalnet = Some(true));
    assert_eq!(verdict(&without, "SM220"), Verdict::Skip);
}

#[test]
fn a_global_cidr_lies_in_the_range_and_has_no_host_bits() {
    assert_eq!(verdict(&joining_with("242.1.0.0/16"), "SM221"), Verdict::Pass);
    let host_bits = joining_with("242.0.1.0/16");
    assert_eq!(findings(&host_bits, "SM221")[0].found, "242.0.1.0/16 is 242.0.0.0/16");
    assert_eq!(verdict(&host_bits, "SM221"), Verdict::Warn);
    assert_eq!(verdict(&joining_with("169.250.0.0/16"), "SM221"), Verdict::Warn);
    assert_eq!(verdict(&joining_with("many"), "SM221"), Verdict::Skip);
}

/// Members with the broker in the first, and one more cluster that is to join.
fn growing() -> Vec<ClusterFacts> {
    let mut facts = submariner(&[("east", 1), ("west", 2)]);
    hold_broker(&mut facts[0]);
    facts.push(flannel("north", 3));
    facts
}

#[test]
fn config_map_and_broker_object_must_agree() {
    let mut facts = growing();
    assert_eq!(verdict(&planned(&facts, |_| ()), "SM222"), Verdict::Pass);
    assert_eq!(
        verdict(&planned(&facts, |plan| plan.globalnet = Some(true)), "SM222"),
        Verdict::Warn
    );
    value_mut(&mut submariner_mut(&mut facts[0]).broker).globalnet_enabled = Some(true);
    let apart = planned(&facts, |_| ());
    assert_eq!(verdict(&apart, "SM222"), Verdict::Warn);
    assert_eq!(
        findings(&apart, "SM222")[0].found,
        "off in the ConfigMap, on in the Broker object"
    );
    *value_mut(&mut facts[2].service_cidrs) = vec!["10.101.0.0/16".parse().unwrap()];
    value_mut(&mut facts[2].control_plane.api_server_flags).remove("service-cluster-ip-range");
    assert_eq!(verdict(&planned(&facts, |_| ()), "SM222"), Verdict::Fail);
    submariner_mut(&mut facts[0]).globalnet_info = Fact::unknown(Reason::Forbidden, "list configmaps: forbidden");
    assert_eq!(verdict(&planned(&facts, |_| ()), "SM222"), Verdict::Unknown);
    assert_eq!(verdict(&planned(&facts[1..], |_| ()), "SM222"), Verdict::Skip);
}

#[test]
fn the_range_has_room_for_all() {
    let two = [flannel("east", 1), flannel("west", 2)];
    let in_range = |range: &str| {
        planned(&two, |plan| {
            (plan.globalnet, plan.globalnet_range) = (Some(true), Some(range.parse().unwrap()));
        })
    };
    assert_eq!(verdict(&in_range("242.0.0.0/8"), "SM223"), Verdict::Pass);
    // Half the range is the most that one cluster gets.
    assert_eq!(verdict(&in_range("242.0.0.0/24"), "SM223"), Verdict::Pass);
    let three = [flannel("east", 1), flannel("west", 2), flannel("north", 3)];
    let full = planned(&three, |plan| {
        (plan.globalnet, plan.globalnet_range) = (Some(true), Some("242.0.0.0/15".parse().unwrap()));
    });
    assert_eq!(verdict(&full, "SM223"), Verdict::Fail);
    assert_eq!(
        findings(&full, "SM223")[0].found,
        "3 clusters need 196608 addresses, 131072 of 131072 are free"
    );
    assert_eq!(verdict(&planned(&two, |_| ()), "SM223"), Verdict::Skip);
}

#[test]
fn blocks_of_those_who_left_count_and_are_told() {
    let mut facts = growing();
    turn_globalnet_on(&mut facts[..2]);
    let before = planned(&facts, |_| ());
    assert_eq!(
        (verdict(&before, "SM223"), verdict(&before, "SM224")),
        (Verdict::Pass, Verdict::Pass)
    );
    let info = value_mut(&mut submariner_mut(&mut facts[0]).globalnet_info);
    info.range = "242.0.0.0/14".to_owned();
    info.clusters.push(RangeEntry {
        cluster_id: "gone".to_owned(),
        cidrs: vec!["242.0.0.0/16".to_owned(), "242.3.0.0/16".to_owned()],
    });
    let after = planned(&facts, |_| ());
    assert_eq!(
        (verdict(&after, "SM223"), verdict(&after, "SM224")),
        (Verdict::Fail, Verdict::Warn)
    );
    assert_eq!(findings(&after, "SM224")[0].found, "gone");
    submariner_mut(&mut facts[0]).clusters = Fact::unknown(Reason::Forbidden, "list clusters: forbidden");
    assert_eq!(verdict(&planned(&facts, |_| ()), "SM224"), Verdict::Unknown);
}

#[test]
fn a_join_needs_both_ranges() {
    let mut facts = growing();
    assert_eq!(verdict(&planned(&facts, |_| ()), "SM228"), Verdict::Pass);
    submariner_mut(&mut facts[0]).clusterset_ip_info = Fact::unknown(Reason::NotFound, "no such ConfigMap");
    assert_eq!(verdict(&planned(&facts, |_| ()), "SM228"), Verdict::Fail);
    assert_eq!(
        verdict(&planned(&facts, |plan| plan.service_discovery = Some(false)), "SM228"),
        Verdict::Pass
    );
    value_mut(&mut submariner_mut(&mut facts[0]).globalnet_info)
        .range
        .clear();
    let empty = planned(&facts, |plan| plan.service_discovery = Some(false));
    assert_eq!(
        findings(&empty, "SM228")[0].found,
        "range `` in submariner-globalnet-info"
    );
    submariner_mut(&mut facts[0]).globalnet_info = Fact::unknown(Reason::Forbidden, "list configmaps: forbidden");
    assert_eq!(
        verdict(&planned(&facts, |plan| plan.service_discovery = Some(false)), "SM228"),
        Verdict::Unknown
    );
    assert_eq!(verdict(&planned(&facts[..2], |_| ()), "SM228"), Verdict::Skip);
}

#[test]
fn an_undecided_broker_leaves_blocks_open() {
    let mut facts = growing();
    submariner_mut(&mut facts[0]).globalnet_info = Fact::unknown(Reason::Forbidden, "list configmaps: forbidden");
    let report = planned(&facts, |_| ());
    for code in ["SM220", "SM221", "SM223"] {
        let unknown = findings(&report, code)
            .into_iter()
            .find(|finding| finding.verdict == Verdict::Unknown);
        assert_eq!(unknown.unwrap().subject.clusters, ["north"], "{code}");
    }
}
