use crate::facts::ClusterFacts;
use crate::facts::kernel::Presence::{Absent, Loadable, Unknown};
use crate::facts::provenance::{Fact, Reason};
use crate::profile::Profile::Clustermesh;
use crate::report::{Finding, Verdict};
use crate::samples::{
    cilium, cluster, findings, kernel_mut, report, set_cilium_key, set_feature, value_mut, with_agents,
};

fn alone(facts: &ClusterFacts, code: &str) -> Finding {
    findings(&report(Clustermesh, std::slice::from_ref(facts)), code)[0].clone()
}

/// Two nodes on which Cilium has made no device yet.
fn east(keys: &[(&str, &str)]) -> ClusterFacts {
    let mut facts = with_agents(cilium("east", 1));
    for (key, value) in keys {
        set_cilium_key(&mut facts, key, Some(value));
    }
    for kernel in &mut facts.node_facts {
        value_mut(&mut kernel.links).retain(|link| !link.name.starts_with("cilium"));
    }
    facts
}

/// A rule about modules: holds, is broken by one that is absent, unknown if nobody could look.
fn follows(code: &str, keys: &[(&str, &str)], module: &str, broken: Verdict) {
    let change = |presence| {
        let mut facts = east(keys);
        set_feature(kernel_mut(&mut facts, "east-n2"), module, presence);
        alone(&facts, code)
    };
    assert_eq!(change(Loadable).verdict, Verdict::Pass, "{code}");
    let absent = change(Absent);
    assert_eq!(
        (absent.verdict, absent.subject.nodes),
        (broken, vec!["east-n2".to_owned()]),
        "{code}"
    );
    assert!(absent.found.contains(module), "{}", absent.found);
    assert_eq!(change(Unknown).verdict, Verdict::Unknown, "{code}");
    let mut refused = east(keys);
    for kernel in &mut refused.node_facts {
        kernel.features = Fact::unknown(Reason::Forbidden, "read /proc/modules: permission denied");
    }
    assert_eq!(alone(&refused, code).reason, "forbidden", "{code}");
}

#[test]
fn the_tunnels_module() {
    follows("CM921", &[], "vxlan", Verdict::Fail);
    follows("CM921", &[("tunnel-protocol", "geneve")], "geneve", Verdict::Fail);
    // The other protocol's module is nobody's concern.
    let mut facts = east(&[]);
    set_feature(kernel_mut(&mut facts, "east-n1"), "geneve", Absent);
    assert_eq!(alone(&facts, "CM921").verdict, Verdict::Pass);
    assert_eq!(
        alone(&east(&[("routing-mode", "native")]), "CM921").verdict,
        Verdict::Skip
    );
    value_mut(&mut kernel_mut(&mut facts, "east-n1").rules).clear();
    assert_eq!(alone(&facts, "CM921").found, "no policy routing on east-n1");
}

#[test]
fn a_device_proves_its_module() {
    let mut facts = with_agents(cilium("east", 1));
    set_feature(kernel_mut(&mut facts, "east-n1"), "vxlan", Unknown);
    assert_eq!(alone(&facts, "CM921").verdict, Verdict::Pass);
}

#[test]
fn wireguards_module() {
    follows("CM922", &[("enable-wireguard", "true")], "wireguard", Verdict::Fail);
    assert_eq!(alone(&east(&[]), "CM922").verdict, Verdict::Skip);
    assert_eq!(alone(&with_agents(cluster("east", 1)), "CM922").verdict, Verdict::Skip);
}

#[test]
fn nodes_of_kind_have_their_modules_from_the_machine_below() {
    let mut facts = east(&[("enable-wireguard", "true")]);
    for node in value_mut(&mut facts.nodes) {
        "kind://docker/east/east-n1".clone_into(&mut node.provider_id);
    }
    set_feature(kernel_mut(&mut facts, "east-n1"), "wireguard", Absent);
    assert!(alone(&facts, "CM922").remedy.contains("load them there"));
}

#[test]
fn ipsecs_modules() {
    let keys = [("enable-ipsec", "true")];
    for module in ["xfrm_user", "esp4", "gcm"] {
        follows("CM923", &keys, module, Verdict::Fail);
    }
    assert_eq!(alone(&east(&[]), "CM923").verdict, Verdict::Skip);
}

#[test]
fn netfilters_modules() {
    for module in ["xt_set", "ip_set_hash_ip", "xt_TPROXY"] {
        follows("CM924", &[], module, Verdict::Warn);
    }
    let mut facts = east(&[("enable-bpf-masquerade", "true")]);
    set_feature(kernel_mut(&mut facts, "east-n1"), "xt_set", Absent);
    assert_eq!(alone(&facts, "CM924").verdict, Verdict::Pass);
    let off = [("enable-bpf-masquerade", "true"), ("enable-l7-proxy", "false")];
    assert_eq!(alone(&east(&off), "CM924").verdict, Verdict::Skip);
}
