use std::collections::BTreeMap;

use crate::facts::ClusterFacts;
use crate::facts::cilium::{IpsecKey, MeshSecrets};
use crate::facts::node::Node;
use crate::facts::provenance::{Fact, Reason, Source};
use crate::profile::Profile::Clustermesh;
use crate::report::{Finding, Report, Verdict};
use crate::samples::{cilium, cilium_mut, findings, report, set_cilium_key, value_mut};

fn with_keys(name: &str, number: u8, keys: &[(&str, &str)]) -> ClusterFacts {
    let mut facts = cilium(name, number);
    for (key, value) in keys {
        set_cilium_key(&mut facts, key, Some(value));
    }
    facts
}

fn wireguard(name: &str, number: u8, keys: &[(&str, &str)]) -> ClusterFacts {
    let mut facts = with_keys(name, number, &[&[("enable-wireguard", "true")], keys].concat());
    for node in value_mut(&mut cilium_mut(&mut facts).nodes) {
        node.wireguard_public_key = format!("key of {}", node.name);
    }
    facts
}

/// With IPsec, the nodes showing these key ids.
fn ipsec(name: &str, number: u8, ids: [u32; 2]) -> ClusterFacts {
    let mut facts = with_keys(name, number, &[("enable-ipsec", "true")]);
    let nodes = value_mut(&mut cilium_mut(&mut facts).nodes);
    for (node, id) in nodes.iter_mut().zip(ids) {
        node.encryption_key = Some(id);
    }
    facts
}

fn of_version(mut facts: ClusterFacts, version: &str) -> ClusterFacts {
    let cilium = cilium_mut(&mut facts);
    value_mut(&mut cilium.versions).insert("agent".to_owned(), version.to_owned());
    *value_mut(&mut cilium.agent_pods) = BTreeMap::from([(version.to_owned(), 2)]);
    facts
}

fn unreadable() -> ClusterFacts {
    let mut facts = cilium("north", 3);
    cilium_mut(&mut facts).config = Fact::unknown(Reason::Forbidden, "list configmaps in kube-system: forbidden");
    facts
}

fn of_pair(east: ClusterFacts, west: ClusterFacts, code: &str) -> Finding {
    worst(&report(Clustermesh, &[east, west]), code)
}

fn worst(report: &Report, code: &str) -> Finding {
    findings(report, code)[0].clone()
}

#[test]
fn what_cannot_be_read_is_unknown() {
    let report = report(Clustermesh, &[cilium("east", 1), unreadable()]);
    for code in [
        "CM401", "CM402", "CM403", "CM404", "CM405", "CM406", "CM407", "CM408", "CM409",
    ] {
        let unknown = findings(&report, code)
            .iter()
            .any(|finding| finding.verdict == Verdict::Unknown && finding.subject.clusters == ["north"]);
        assert!(unknown, "{code}");
    }
}

#[test]
fn wireguard_everywhere_or_nowhere_passes() {
    assert_eq!(
        of_pair(cilium("east", 1), cilium("west", 2), "CM401").verdict,
        Verdict::Pass
    );
    assert_eq!(
        of_pair(wireguard("east", 1, &[]), wireguard("west", 2, &[]), "CM401").verdict,
        Verdict::Pass
    );
}

#[test]
fn wireguard_on_one_side_is_one_failure() {
    let report = report(Clustermesh, &[cilium("east", 1), wireguard("west", 2, &[])]);
    let failed: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fail)
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(
        (failed[0].code.as_str(), failed[0].found.as_str()),
        ("CM401", "WireGuard on west, no WireGuard on east")
    );
}

#[test]
fn nodes_whose_keys_do_not_fit_the_configuration_warn() {
    let mut not_restarted = wireguard("east", 1, &[]);
    value_mut(&mut cilium_mut(&mut not_restarted).nodes)[1]
        .wireguard_public_key
        .clear();
    let finding = of_pair(not_restarted, wireguard("west", 2, &[]), "CM401");
    assert_eq!(finding.verdict, Verdict::Warn);
    assert_eq!(finding.found, "WireGuard is on, but no key on east-n2");
    assert_eq!(finding.subject.nodes, ["east-n2"]);

    let mut left_over = wireguard("east", 1, &[]);
    set_cilium_key(&mut left_over, "enable-wireguard", None);
    assert_eq!(of_pair(left_over, cilium("west", 2), "CM401").verdict, Verdict::Warn);

    let mut unread = wireguard("east", 1, &[]);
    cilium_mut(&mut unread).nodes = Fact::unknown(Reason::Forbidden, "list ciliumnodes: forbidden");
    assert_eq!(
        of_pair(unread, wireguard("west", 2, &[]), "CM401").verdict,
        Verdict::Unknown
    );
}

#[test]
fn one_kind_of_encryption_everywhere() {
    let with_ipsec = || ipsec("east", 1, [3, 3]);
    assert_eq!(
        of_pair(with_ipsec(), ipsec("west", 2, [3, 3]), "CM402").verdict,
        Verdict::Pass
    );
    let finding = of_pair(with_ipsec(), cilium("west", 2), "CM402");
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Fail, "no encryption on west, IPsec on east")
    );
    let report = report(Clustermesh, &[with_ipsec(), wireguard("west", 2, &[])]);
    assert_eq!(worst(&report, "CM401").verdict, Verdict::Fail);
    assert!(
        findings(&report, "CM402")
            .iter()
            .all(|finding| finding.verdict == Verdict::Skip)
    );
}

#[test]
fn a_cloned_node_has_anothers_wireguard_key() {
    let judged = report(Clustermesh, &[wireguard("east", 1, &[]), wireguard("west", 2, &[])]);
    assert_eq!(worst(&judged, "CM403").found, "4 different keys");
    let mut clone = wireguard("west", 2, &[]);
    value_mut(&mut cilium_mut(&mut clone).nodes)[0].wireguard_public_key = "key of east-n1".to_owned();
    let finding = of_pair(wireguard("east", 1, &[]), clone, "CM403");
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(finding.found, "one key on east-n1 (east), west-n1 (west)");
    assert_eq!(
        of_pair(cilium("east", 1), cilium("west", 2), "CM403").verdict,
        Verdict::Skip
    );
}

#[test]
fn ipsec_key_ids_are_equal() {
    assert_eq!(
        of_pair(ipsec("east", 1, [3, 3]), ipsec("west", 2, [3, 3]), "CM404").verdict,
        Verdict::Pass
    );
    let finding = of_pair(ipsec("east", 1, [3, 3]), ipsec("west", 2, [4, 4]), "CM404");
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Fail, "key id 3 on east, key id 4 on west")
    );
    // 0 is a node that opted out.
    assert_eq!(
        of_pair(ipsec("east", 1, [3, 0]), ipsec("west", 2, [3, 3]), "CM404").verdict,
        Verdict::Pass
    );
    assert_eq!(
        of_pair(ipsec("east", 1, [0, 0]), ipsec("west", 2, [3, 3]), "CM404").verdict,
        Verdict::Unknown
    );
}

#[test]
fn while_keys_are_rotated_it_is_a_warning() {
    let rotating = || ipsec("east", 1, [3, 4]);
    assert_eq!(
        of_pair(rotating(), ipsec("west", 2, [3, 3]), "CM404").verdict,
        Verdict::Warn
    );
    let finding = of_pair(rotating(), ipsec("west", 2, [4, 3]), "CM404");
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Warn, "key id 3 and 4 on east and west")
    );
}

fn with_secret(mut facts: ClusterFacts, digest: &str, per_tunnel: bool) -> ClusterFacts {
    let key = IpsecKey {
        id: 3,
        algorithm: "rfc4106(gcm(aes))".to_owned(),
        length_bits: Some(128),
        per_tunnel,
        digest: digest.to_owned(),
    };
    let secrets = MeshSecrets {
        ipsec: Some(key),
        ..MeshSecrets::default()
    };
    cilium_mut(&mut facts).secrets = Fact::known(secrets, Source::read("Secrets kube-system", ""));
    facts
}

#[test]
fn ipsec_key_material_is_equal() {
    let east = || with_secret(ipsec("east", 1, [3, 3]), "aaaa", true);
    let west = |digest, per_tunnel| with_secret(ipsec("west", 2, [3, 3]), digest, per_tunnel);
    assert_eq!(of_pair(east(), west("aaaa", true), "CM409").verdict, Verdict::Pass);
    assert_eq!(of_pair(east(), west("bbbb", true), "CM409").verdict, Verdict::Fail);
    assert_eq!(of_pair(east(), west("aaaa", false), "CM409").verdict, Verdict::Fail);
    let rotating = with_secret(ipsec("west", 2, [3, 4]), "bbbb", true);
    assert_eq!(of_pair(east(), rotating, "CM409").verdict, Verdict::Warn);
    let not_asked = of_pair(ipsec("east", 1, [3, 3]), ipsec("west", 2, [3, 3]), "CM409");
    assert!(not_asked.is_not_asked());
}

#[test]
fn ipsec_does_not_go_with_everything() {
    let judged = |keys: &[(&str, &str)]| {
        let facts = with_keys("east", 1, &[&[("enable-ipsec", "true")], keys].concat());
        worst(&report(Clustermesh, &[facts]), "CM405")
    };
    assert_eq!(judged(&[]).verdict, Verdict::Pass);
    assert_eq!(judged(&[("cni-chaining-mode", "portmap")]).verdict, Verdict::Pass);
    for keys in [
        [("cni-chaining-mode", "generic-veth")],
        [("enable-host-firewall", "true")],
        [("enable-wireguard", "true")],
        [("enable-encryption-strict-mode-ingress", "true")],
        [("local-router-ipv4", "169.254.1.1")],
    ] {
        assert_eq!(judged(&keys).verdict, Verdict::Fail, "{keys:?}");
    }
    assert!(
        judged(&[("enable-host-firewall", "true")])
            .found
            .contains("change not yet loaded")
    );
    assert_eq!(
        worst(&report(Clustermesh, &[cilium("east", 1)]), "CM405").verdict,
        Verdict::Skip
    );
}

#[test]
fn ipsec_tells_65535_nodes_apart() {
    let mut large = ipsec("east", 1, [3, 3]);
    let nodes = value_mut(&mut large.nodes);
    nodes.resize(65535, Node::default());
    let finding = of_pair(large, ipsec("west", 2, [3, 3]), "CM405");
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Fail, "65537 nodes")
    );
}

#[test]
fn ipsec_and_tunnel_changed_their_order_in_1_18() {
    let old = || of_version(ipsec("west", 2, [3, 3]), "1.17.18");
    let finding = of_pair(ipsec("east", 1, [3, 3]), old(), "CM406");
    assert_eq!(finding.verdict, Verdict::Warn);
    assert_eq!(
        finding.found,
        "ESP inside the tunnel (before 1.18) on west, tunnel inside ESP (from 1.18 on) on east"
    );
    assert_eq!(
        of_pair(ipsec("east", 1, [3, 3]), ipsec("west", 2, [3, 3]), "CM406").verdict,
        Verdict::Pass
    );
    let mut native = old();
    set_cilium_key(&mut native, "routing-mode", Some("native"));
    assert_eq!(
        of_pair(ipsec("east", 1, [3, 3]), native, "CM406").verdict,
        Verdict::Skip
    );
    let no_version = of_version(ipsec("west", 2, [3, 3]), "latest");
    assert_eq!(
        of_pair(ipsec("east", 1, [3, 3]), no_version, "CM406").verdict,
        Verdict::Unknown
    );
}

#[test]
fn nodes_are_encrypted_alike() {
    let on = [("encrypt-node", "true")];
    assert_eq!(
        of_pair(wireguard("east", 1, &on), wireguard("west", 2, &on), "CM407").verdict,
        Verdict::Pass
    );
    let finding = of_pair(wireguard("east", 1, &on), wireguard("west", 2, &[]), "CM407");
    assert_eq!(finding.verdict, Verdict::Warn);
    let forced = [("encrypt-node", "true"), ("node-encryption-opt-out-labels", "")];
    assert_eq!(
        of_pair(wireguard("east", 1, &on), wireguard("west", 2, &forced), "CM407").verdict,
        Verdict::Warn
    );
    assert_eq!(
        of_pair(cilium("east", 1), cilium("west", 2), "CM407").verdict,
        Verdict::Skip
    );
}

const STRICT: [(&str, &str); 2] = [
    ("enable-encryption-strict-mode-egress", "true"),
    ("encryption-strict-egress-cidr", "10.0.0.0/8"),
];

fn of_east(report: &Report, code: &str) -> Finding {
    let of_code = findings(report, code);
    (*of_code
        .iter()
        .find(|finding| finding.subject.clusters == ["east"])
        .unwrap())
    .clone()
}

#[test]
fn strict_encryption_covers_all_pods_and_all_encrypt() {
    let judged = |east, west| of_east(&report(Clustermesh, &[east, west]), "CM408");
    let east = || wireguard("east", 1, &STRICT);
    assert_eq!(judged(east(), wireguard("west", 2, &[])).verdict, Verdict::Pass);
    let dropped = judged(east(), cilium("west", 2));
    assert_eq!(dropped.found, "traffic to west is dropped, as it does not encrypt");
    let narrow = wireguard(
        "east",
        1,
        &[STRICT[0], ("encryption-strict-egress-cidr", "10.10.0.0/16")],
    );
    let leak = judged(narrow, wireguard("west", 2, &[]));
    assert_eq!(leak.verdict, Verdict::Warn);
    assert_eq!(
        leak.found,
        "pods of west lie outside the strict range and are not protected"
    );
    let ingress = wireguard("east", 1, &[("enable-encryption-strict-mode-ingress", "true")]);
    assert_eq!(
        judged(ingress, cilium("west", 2)).found,
        "traffic from west is dropped, as it does not encrypt"
    );
    assert_eq!(
        judged(wireguard("east", 1, &[]), cilium("west", 2)).verdict,
        Verdict::Skip
    );
    assert_eq!(judged(east(), unreadable()).verdict, Verdict::Unknown);
}

#[test]
fn a_strict_mode_by_a_name_the_version_does_not_know_is_off() {
    let old = [
        ("enable-encryption-strict-mode", "true"),
        ("encryption-strict-mode-cidr", "10.0.0.0/8"),
    ];
    let judged = |version| {
        let east = of_version(wireguard("east", 1, &old), version);
        of_east(&report(Clustermesh, &[east, wireguard("west", 2, &[])]), "CM408")
    };
    assert_eq!(judged("1.18.3").verdict, Verdict::Pass);
    let ignored = judged("1.20.1");
    assert_eq!(ignored.verdict, Verdict::Warn);
    assert_eq!(
        ignored.found,
        "enable-encryption-strict-mode is on, but not read by Cilium 1.20.1: strict mode is off"
    );
}
