use super::super::support::{alone, joined, planned, ready, refused, verdict};
use crate::facts::ClusterFacts;
use crate::facts::cni::PluginKind;
use crate::facts::kernel::Link;
use crate::report::Verdict;
use crate::samples::{kernel_mut, link_mut, submariner_config_mut, value_mut};

fn with_uplinks(mut facts: ClusterFacts, mtu: u32) -> ClusterFacts {
    for node in ["east-n1", "east-n2"] {
        link_mut(kernel_mut(&mut facts, node), "eth0").mtu = mtu;
    }
    facts
}

fn with_clamp(mut facts: ClusterFacts, value: &str) -> ClusterFacts {
    let annotations = &mut value_mut(&mut facts.nodes)[1].annotations;
    annotations.insert(super::CLAMP.to_owned(), value.to_owned());
    facts
}

fn blind() -> ClusterFacts {
    refused(ready(), |kernel| &mut kernel.links)
}

#[test]
fn nodes_of_unlike_uplinks() {
    assert_eq!(verdict(&ready(), "SM460"), Verdict::Pass);
    let mut unlike = ready();
    link_mut(kernel_mut(&mut unlike, "east-n2"), "eth0").mtu = 1450;
    assert_eq!(alone(&unlike, "SM460").found, "MTU 1450 on east-n2");
    assert_eq!(verdict(&blind(), "SM460"), Verdict::Unknown);
}

#[test]
fn jumbo_frames_before_the_internet() {
    assert_eq!(verdict(&ready(), "SM461"), Verdict::Pass);
    let jumbo = with_uplinks(ready(), 9001);
    assert_eq!(alone(&jumbo, "SM461").found, "MTU 9001 without a clamp on east-n2");
    assert_eq!(verdict(&with_clamp(jumbo.clone(), "1340"), "SM461"), Verdict::Pass);
    assert_eq!(verdict(&with_clamp(jumbo.clone(), "8000"), "SM461"), Verdict::Warn);
    let private = planned(&jumbo, "SM461", |plan| plan.nat_traversal = Some(false));
    assert_eq!(private.verdict, Verdict::Skip);
    assert_eq!(verdict(&with_uplinks(joined(), 9001), "SM461"), Verdict::Warn);
    assert_eq!(verdict(&blind(), "SM461"), Verdict::Unknown);
}

#[test]
fn wireguard_over_a_small_uplink() {
    let wireguard =
        |facts: &ClusterFacts| planned(facts, "SM462", |plan| plan.cable_driver = Some("wireguard".to_owned())).verdict;
    assert_eq!(wireguard(&ready()), Verdict::Pass);
    assert_eq!(wireguard(&with_uplinks(ready(), 1450)), Verdict::Warn);
    assert_eq!(wireguard(&blind()), Verdict::Unknown);
    assert_eq!(verdict(&ready(), "SM462"), Verdict::Skip);
}

#[test]
fn the_vxlan_cable_with_globalnet_needs_a_clamp_of_its_own() {
    let globalnet = |facts: &ClusterFacts| {
        planned(facts, "SM463", |plan| {
            plan.cable_driver = Some("vxlan".to_owned());
            plan.globalnet = Some(true);
        })
    };
    assert_eq!(globalnet(&ready()).verdict, Verdict::Warn);
    assert_eq!(globalnet(&with_clamp(ready(), "1410")).verdict, Verdict::Pass);
    assert_eq!(
        globalnet(&with_clamp(ready(), "1450")).found,
        "1450 on a link of 1500 on east-n2"
    );
    assert_eq!(globalnet(&with_clamp(blind(), "1410")).verdict, Verdict::Unknown);
    assert_eq!(verdict(&ready(), "SM463"), Verdict::Skip);
}

#[test]
fn large_udp_packets_are_recorded() {
    let found = alone(&ready(), "SM464");
    assert_eq!(
        (found.verdict, found.found.contains("1415 fit")),
        (Verdict::Pass, true),
        "{}",
        found.found
    );
    let small = {
        let mut facts = ready();
        for node in ["east-n1", "east-n2"] {
            link_mut(kernel_mut(&mut facts, node), "cni0").mtu = 1400;
        }
        facts
    };
    assert!(
        alone(&small, "SM464")
            .found
            .starts_with("pods send up to 1400 bytes on")
    );
    let mut unrecognised = ready();
    for kernel in &mut unrecognised.node_facts {
        value_mut(&mut kernel.links).retain(|link| link.name != "cni0");
    }
    assert_eq!(verdict(&unrecognised, "SM464"), Verdict::Skip);
    assert_eq!(verdict(&blind(), "SM464"), Verdict::Unknown);
}

#[test]
fn ovn_kubernetes_leaves_room_for_geneve() {
    let ovn = |mtu: u32| {
        let mut facts = ready();
        value_mut(&mut facts.cni.plugins)[0].kind = PluginKind::OvnKubernetes;
        for kernel in &mut facts.node_facts {
            value_mut(&mut kernel.links).push(Link {
                name: "ovn-k8s-mp0".to_owned(),
                mtu,
                ..Link::default()
            });
        }
        facts
    };
    assert!(alone(&ovn(1400), "SM465").found.starts_with("1400 of 1500"));
    let tight = alone(&ovn(1450), "SM465");
    assert_eq!((tight.verdict, tight.remedy.is_empty()), (Verdict::Pass, false));
    assert_eq!(
        verdict(&refused(ovn(1400), |kernel| &mut kernel.links), "SM465"),
        Verdict::Unknown
    );
    assert_eq!(verdict(&ready(), "SM465"), Verdict::Skip);
}

#[test]
fn a_device_older_than_its_uplinks_mtu() {
    assert_eq!(verdict(&joined(), "SM921"), Verdict::Pass);
    let stale = alone(&with_uplinks(joined(), 9001), "SM921");
    assert_eq!(stale.verdict, Verdict::Warn);
    assert!(
        stale
            .found
            .starts_with("vx-submariner 1450 over eth0 of 9001 on east-n1, east-n2")
    );
    assert_eq!(verdict(&ready(), "SM921"), Verdict::Skip);
    assert_eq!(
        verdict(&refused(joined(), |kernel| &mut kernel.links), "SM921"),
        Verdict::Unknown
    );
    let mut ovn = joined();
    submariner_config_mut(&mut ovn).network_plugin = "OVNKubernetes".to_owned();
    value_mut(&mut ovn.cni.plugins)[0].kind = PluginKind::OvnKubernetes;
    assert_eq!(verdict(&ovn, "SM921"), Verdict::Skip);
}
