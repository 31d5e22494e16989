use std::collections::BTreeMap;

use crate::engine::judge;
use crate::facts::ClusterFacts;
use crate::facts::cni::{CalicoPool, Plugin, PluginKind};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::facts::service::Service;
use crate::intent::Intent;
use crate::profile::Profile::Submariner;
use crate::report::{Finding, Severity, Verdict};
use crate::samples::{findings, flannel, policy, report, submariner, value_mut};

fn pool(name: &str, cidr: &str) -> CalicoPool {
    CalicoPool {
        name: name.to_owned(),
        cidr: cidr.parse().unwrap(),
        disabled: false,
        nat_outgoing: true,
        vxlan_mode: "Always".to_owned(),
        ipip_mode: "Never".to_owned(),
        block_size: Some(26),
        labels: BTreeMap::new(),
    }
}

/// A pool that keeps Calico from masquerading.
fn remote_pool(cidr: &str) -> CalicoPool {
    CalicoPool {
        disabled: true,
        nat_outgoing: false,
        ..pool(&format!("remote-{cidr}"), cidr)
    }
}

/// Runs Calico with one pool for the cluster's pods, and without its API server.
fn with_calico(mut facts: ClusterFacts) -> ClusterFacts {
    let pods = value_mut(&mut facts.nodes)[0].pod_cidrs[0].supernet(16).unwrap();
    facts.cni.plugins = Fact::known(
        vec![Plugin {
            kind: PluginKind::Calico,
            source: Source::read("DaemonSet calico-system/calico-node", ""),
            version: "3.30.0".to_owned(),
            running: true,
        }],
        Source::read("DaemonSets", ""),
    );
    facts.cni.calico_pools = Fact::known(
        vec![pool("default-ipv4-ippool", &pods.to_string())],
        Source::read("IPPools", ""),
    );
    facts
}

fn calico(name: &str, number: u8) -> ClusterFacts {
    with_calico(flannel(name, number))
}

fn alone(facts: &ClusterFacts, code: &str) -> Finding {
    findings(&report(Submariner, std::slice::from_ref(facts)), code)[0].clone()
}

#[test]
fn vxlan_always_passes_and_cross_subnet_fails() {
    assert_eq!(alone(&calico("east", 1), "SM304").verdict, Verdict::Pass);
    for (vxlan, ipip, expected) in [
        ("CrossSubnet", "Never", Verdict::Fail),
        ("Never", "CrossSubnet", Verdict::Fail),
        ("Never", "Never", Verdict::Fail),
        ("Never", "Always", Verdict::Warn),
    ] {
        let mut facts = calico("east", 1);
        let pools = value_mut(&mut facts.cni.calico_pools);
        (pools[0].vxlan_mode, pools[0].ipip_mode) = (vxlan.to_owned(), ipip.to_owned());
        assert_eq!(alone(&facts, "SM304").verdict, expected, "{vxlan} {ipip}");
        // What is disabled hands out no addresses.
        value_mut(&mut facts.cni.calico_pools)[0].disabled = true;
        assert_eq!(alone(&facts, "SM304").verdict, Verdict::Pass, "{vxlan} {ipip}");
    }
}

#[test]
fn ipip_is_what_the_agent_sets_on_roks() {
    let mut facts = calico("east", 1);
    let pools = value_mut(&mut facts.cni.calico_pools);
    (pools[0].vxlan_mode, pools[0].ipip_mode) = ("Never".to_owned(), "Always".to_owned());
    value_mut(&mut facts.services).push(Service {
        name: "submariner-gateway".to_owned(),
        annotations: BTreeMap::from([(
            "service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type".to_owned(),
            "public".to_owned(),
        )]),
        ..Service::default()
    });
    let finding = alone(&facts, "SM304");
    assert_eq!((finding.verdict, finding.severity), (Verdict::Pass, Severity::Info));
}

#[test]
fn pools_that_could_not_be_read_are_unknown() {
    for reason in [Reason::Forbidden, Reason::NotInstalled] {
        let mut facts = calico("east", 1);
        facts.cni.calico_pools = Fact::unknown(reason, "list ippools");
        assert_eq!(alone(&facts, "SM304").verdict, Verdict::Unknown);
        let both = report(Submariner, &[facts, flannel("west", 2)]);
        let mut found = findings(&both, "SM305").into_iter();
        assert!(found.any(|finding| finding.verdict == Verdict::Unknown && finding.subject.clusters == ["east"]));
    }
    assert_eq!(alone(&flannel("east", 1), "SM304").verdict, Verdict::Skip);
}

/// What is said of east, which runs Calico, beside west, which does not.
fn beside(east: &ClusterFacts, west: &ClusterFacts) -> (Verdict, String) {
    let report = report(Submariner, &[east.clone(), west.clone()]);
    let found = findings(&report, "SM305");
    let finding = found
        .iter()
        .find(|finding| finding.subject.clusters == ["east"])
        .unwrap();
    (finding.verdict, finding.found.clone())
}

fn pools_of(east: &ClusterFacts) -> (Verdict, String) {
    beside(east, &flannel("west", 2))
}

#[test]
fn before_a_join_pools_are_made_by_hand_or_by_submariner() {
    assert_eq!(
        pools_of(&calico("east", 1)),
        (
            Verdict::Warn,
            "none for 2 ranges, and projectcalico.org/v3 is not served".to_owned()
        )
    );
    let mut served = calico("east", 1);
    value_mut(&mut served.served_apis).push("projectcalico.org/v3".to_owned());
    assert_eq!(pools_of(&served).0, Verdict::Pass);
    let mut by_hand = calico("east", 1);
    value_mut(&mut by_hand.cni.calico_pools).extend([remote_pool("10.20.0.0/16"), remote_pool("10.96.0.0/11")]);
    assert_eq!(pools_of(&by_hand).0, Verdict::Pass);
    // An enabled pool would be the cluster's own range, and an overlap.
    value_mut(&mut served.cni.calico_pools).push(CalicoPool {
        disabled: true,
        ..pool("old", "10.20.0.0/15")
    });
    assert_eq!(
        pools_of(&served),
        (Verdict::Warn, "pool old 10.20.0.0/15 is in the way of one".to_owned())
    );
    let mut unread = calico("east", 1);
    unread.served_apis = Fact::unknown(Reason::Unreachable, "get /apis: timed out");
    assert_eq!(pools_of(&unread).0, Verdict::Unknown);
}

#[test]
fn a_connected_cluster_without_a_pool_fails_whatever_is_served() {
    let mut members = submariner(&[("east", 1), ("west", 2)]);
    let west = members.remove(1);
    let mut east = with_calico(members.remove(0));
    value_mut(&mut east.served_apis).push("projectcalico.org/v3".to_owned());
    assert_eq!(beside(&east, &west).0, Verdict::Fail);
    value_mut(&mut east.cni.calico_pools).extend([remote_pool("10.20.0.0/16"), remote_pool("10.102.0.0/16")]);
    assert_eq!(beside(&east, &west).0, Verdict::Pass);
}

#[test]
fn globalnets_default_range_is_calicos_too() {
    let judged = |range: Option<&str>| {
        let mut intent = Intent::default();
        intent.submariner.globalnet = Some(true);
        intent.submariner.globalnet_range = range.map(|range| range.parse().unwrap());
        let report = judge(&[calico("east", 1)], &intent, &policy(Submariner));
        findings(&report, "SM306")[0].verdict
    };
    assert_eq!(judged(None), Verdict::Warn);
    assert_eq!(judged(Some("169.250.0.0/16")), Verdict::Pass);
    assert_eq!(alone(&calico("east", 1), "SM306").verdict, Verdict::Skip);
    let mut unread = calico("east", 1);
    unread.cni.plugins = Fact::unknown(Reason::Forbidden, "list daemonsets: forbidden");
    assert_eq!(alone(&unread, "SM306").verdict, Verdict::Unknown);
}
