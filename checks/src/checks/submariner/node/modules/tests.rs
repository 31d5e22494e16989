use super::super::support::{alone, planned, ready, refused, verdict};
use crate::facts::ClusterFacts;
use crate::facts::cni::PluginKind;
use crate::facts::kernel::Presence::{self, Absent, Unknown};
use crate::report::{Finding, Verdict};
use crate::samples::{kernel_mut, set_feature, set_sysctl, value_mut};

/// Nodes without a device that would prove its module.
fn fresh() -> ClusterFacts {
    let mut facts = ready();
    for kernel in &mut facts.node_facts {
        value_mut(&mut kernel.links).retain(|link| link.kind != "vxlan");
    }
    facts
}

fn with(node: &str, module: &str, presence: Presence) -> ClusterFacts {
    let mut facts = fresh();
    set_feature(kernel_mut(&mut facts, node), module, presence);
    facts
}

fn blind() -> ClusterFacts {
    refused(fresh(), |kernel| &mut kernel.features)
}

#[test]
fn vxlan_on_every_node() {
    assert_eq!(verdict(&fresh(), "SM445"), Verdict::Pass);
    assert_eq!(
        alone(&with("east-n1", "vxlan", Absent), "SM445").found,
        "no vxlan on east-n1"
    );
    assert_eq!(verdict(&with("east-n1", "vxlan", Unknown), "SM445"), Verdict::Unknown);
    assert_eq!(verdict(&blind(), "SM445"), Verdict::Unknown);
    let mut ovn = with("east-n1", "vxlan", Absent);
    value_mut(&mut ovn.cni.plugins)[0].kind = PluginKind::OvnKubernetes;
    assert_eq!(verdict(&ovn, "SM445"), Verdict::Skip);
}

fn driven(facts: &ClusterFacts, driver: &str, code: &str) -> Finding {
    planned(facts, code, |plan| plan.cable_driver = Some(driver.to_owned()))
}

#[test]
fn what_the_cable_driver_needs_on_gateways() {
    assert_eq!(verdict(&fresh(), "SM446"), Verdict::Pass);
    assert_eq!(
        alone(&with("east-n2", "esp4", Absent), "SM446").found,
        "no esp4 on east-n2"
    );
    assert_eq!(verdict(&with("east-n1", "esp4", Absent), "SM446"), Verdict::Pass);
    let without = with("east-n2", "wireguard", Absent);
    assert_eq!(verdict(&without, "SM446"), Verdict::Pass);
    assert_eq!(driven(&without, "wireguard", "SM446").verdict, Verdict::Fail);
    assert_eq!(driven(&fresh(), "teleport", "SM446").verdict, Verdict::Skip);
    assert_eq!(verdict(&blind(), "SM446"), Verdict::Unknown);
}

#[test]
fn modules_of_the_packet_filters() {
    assert_eq!(verdict(&fresh(), "SM447"), Verdict::Pass);
    let mut without = with("east-n1", "xt_set", Absent);
    // With nf_tables a newer release does without.
    assert_eq!(verdict(&without, "SM447"), Verdict::Warn);
    set_feature(kernel_mut(&mut without, "east-n1"), "nf_tables", Absent);
    assert_eq!(verdict(&without, "SM447"), Verdict::Fail);
    let no_nat = with("east-n1", "nf_nat", Absent);
    assert_eq!(verdict(&no_nat, "SM447"), Verdict::Pass);
    assert_ne!(
        planned(&no_nat, "SM447", |plan| plan.globalnet = Some(true)).verdict,
        Verdict::Pass
    );
    assert_eq!(verdict(&blind(), "SM447"), Verdict::Unknown);
}

#[test]
fn fips_mode_and_wireguard() {
    let mut fips = fresh();
    assert_eq!(driven(&fips, "wireguard", "SM448").verdict, Verdict::Pass);
    set_sysctl(kernel_mut(&mut fips, "east-n2"), "crypto.fips_enabled", "1");
    assert_eq!(driven(&fips, "wireguard", "SM448").verdict, Verdict::Warn);
    assert_eq!(verdict(&fips, "SM448"), Verdict::Skip);
    let blind = refused(fresh(), |kernel| &mut kernel.sysctls);
    assert_eq!(driven(&blind, "wireguard", "SM448").verdict, Verdict::Unknown);
}
