use super::super::support::{alone, joined, ready, refused, verdict};
use crate::facts::ClusterFacts;
use crate::report::Verdict;
use crate::samples::{kernel_mut, set_sysctl, value_mut};

fn with(mut facts: ClusterFacts, node: &str, setting: &str, value: &str) -> ClusterFacts {
    set_sysctl(kernel_mut(&mut facts, node), setting, value);
    facts
}

fn blind(facts: ClusterFacts) -> ClusterFacts {
    refused(facts, |kernel| &mut kernel.sysctls)
}

#[test]
fn nodes_forward() {
    assert_eq!(verdict(&ready(), "SM470"), Verdict::Pass);
    let off = alone(&with(ready(), "east-n1", "net.ipv4.ip_forward", "0"), "SM470");
    assert_eq!(
        (off.verdict, off.subject.nodes),
        (Verdict::Fail, vec!["east-n1".to_owned()])
    );
    assert_eq!(off.evidence[0].value, "0");
    assert_eq!(verdict(&blind(ready()), "SM470"), Verdict::Unknown);
}

#[test]
fn a_strict_uplink_matters_on_gateways() {
    const UPLINK: &str = "net.ipv4.conf.eth0.rp_filter";
    assert_eq!(verdict(&ready(), "SM471"), Verdict::Pass);
    assert_eq!(
        alone(&with(ready(), "east-n2", UPLINK, "1"), "SM471").found,
        "strict on eth0 on east-n2"
    );
    assert_eq!(verdict(&with(ready(), "east-n1", UPLINK, "1"), "SM471"), Verdict::Pass);
    // The larger of both counts: strict for all makes an uplink strict that has none, and leaves a loose one loose.
    let off = with(ready(), "east-n2", UPLINK, "0");
    assert_eq!(
        verdict(&with(off, "east-n2", "net.ipv4.conf.all.rp_filter", "1"), "SM471"),
        Verdict::Warn
    );
    let loose = with(ready(), "east-n2", "net.ipv4.conf.all.rp_filter", "1");
    assert_eq!(verdict(&loose, "SM471"), Verdict::Pass);
    let mut gke = with(ready(), "east-n1", UPLINK, "1");
    for node in value_mut(&mut gke.nodes) {
        node.kubelet_version = "v1.33.4-gke.1134000".to_owned();
    }
    assert_eq!(verdict(&gke, "SM471"), Verdict::Fail);
    assert_eq!(verdict(&blind(ready()), "SM471"), Verdict::Unknown);
}

#[test]
fn redirects_that_came_back() {
    const ALL: &str = "net.ipv4.conf.all.send_redirects";
    assert_eq!(verdict(&ready(), "SM472"), Verdict::Pass);
    // As the kernel comes: the gateway will see to it.
    assert_eq!(verdict(&with(ready(), "east-n2", ALL, "1"), "SM472"), Verdict::Pass);
    assert_eq!(verdict(&with(joined(), "east-n2", ALL, "1"), "SM472"), Verdict::Warn);
    let own = alone(
        &with(joined(), "east-n2", "net.ipv4.conf.eth0.send_redirects", "1"),
        "SM472",
    );
    assert_eq!(
        (own.verdict, own.found.as_str()),
        (Verdict::Pass, "on by eth0 on east-n2")
    );
    assert_eq!(verdict(&blind(joined()), "SM472"), Verdict::Unknown);
}

#[test]
fn mtu_probing_is_recorded() {
    assert_eq!(
        alone(&ready(), "SM473").found,
        "probing 0, from 1024 bytes on east-n1, east-n2"
    );
    assert_eq!(
        verdict(&with(ready(), "east-n1", "net.ipv4.tcp_mtu_probing", "?"), "SM473"),
        Verdict::Unknown
    );
}

#[test]
fn filters_that_something_set_to_strict_again() {
    const DEVICE: &str = "net.ipv4.conf.vx-submariner.rp_filter";
    assert_eq!(alone(&joined(), "SM922").found, "loose on east-n1, east-n2");
    assert_eq!(
        alone(&with(joined(), "east-n2", DEVICE, "1"), "SM922").found,
        "strict on vx-submariner on east-n2"
    );
    // Other nodes than gateways do not need it.
    assert_eq!(verdict(&with(joined(), "east-n1", DEVICE, "1"), "SM922"), Verdict::Pass);
    assert_eq!(
        verdict(
            &with(joined(), "east-n1", "net.ipv4.conf.flannel/1.rp_filter", "1"),
            "SM922"
        ),
        Verdict::Fail
    );
    assert_eq!(verdict(&with(joined(), "east-n2", DEVICE, "0"), "SM922"), Verdict::Pass);
    assert_eq!(verdict(&ready(), "SM922"), Verdict::Skip);
    assert_eq!(verdict(&blind(joined()), "SM922"), Verdict::Unknown);
}

#[test]
fn devices_forward() {
    const DEVICE: &str = "net.ipv4.conf.vx-submariner.forwarding";
    assert_eq!(verdict(&joined(), "SM923"), Verdict::Pass);
    assert_eq!(verdict(&with(joined(), "east-n1", DEVICE, "0"), "SM923"), Verdict::Fail);
    assert_eq!(verdict(&ready(), "SM923"), Verdict::Skip);
    assert_eq!(verdict(&blind(joined()), "SM923"), Verdict::Unknown);
}
