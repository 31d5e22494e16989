use std::collections::BTreeMap;

use crate::facts::ClusterFacts;
use crate::facts::cilium::{MeshSecrets, NodeConfig, Peer};
use crate::facts::provenance::{Fact, Reason, Source};
use crate::facts::service::{Service, ServicePort};
use crate::profile::Profile::Clustermesh;
use crate::report::{Evidence, Finding, Report, SubjectKind, Verdict};
use crate::samples::{cilium, cilium_mut, findings, report, set_cilium_key, value_mut};

fn with_keys(name: &str, number: u8, keys: &[(&str, &str)]) -> ClusterFacts {
    let mut facts = cilium(name, number);
    for (key, value) in keys {
        set_cilium_key(&mut facts, key, Some(value));
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

fn overridden(mut facts: ClusterFacts, key: &str, value: &str, node: &str) -> ClusterFacts {
    let object = NodeConfig {
        name: "odd".to_owned(),
        defaults: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        nodes: vec![node.to_owned()],
    };
    cilium_mut(&mut facts).node_configs = Fact::known(vec![object], Source::read("CiliumNodeConfigs", ""));
    facts
}

fn of_one(facts: ClusterFacts, code: &str) -> Finding {
    let report = report(Clustermesh, &[facts]);
    findings(&report, code)[0].clone()
}

fn of_pair(east: ClusterFacts, west: ClusterFacts, code: &str) -> Finding {
    let report = report(Clustermesh, &[east, west]);
    findings(&report, code)[0].clone()
}

fn is_unknown_for_north(report: &Report, code: &str) -> bool {
    findings(report, code)
        .iter()
        .any(|finding| finding.verdict == Verdict::Unknown && finding.subject.clusters == ["north"])
}

#[test]
fn what_cannot_be_read_is_unknown_in_every_comparison() {
    let report = report(Clustermesh, &[cilium("east", 1), cilium("west", 2), unreadable()]);
    for code in [
        "CM301", "CM302", "CM303", "CM304", "CM305", "CM306", "CM307", "CM309", "CM310", "CM311",
    ] {
        assert!(is_unknown_for_north(&report, code), "{code}");
    }
}

#[test]
fn one_cluster_alone_is_compared_with_nothing() {
    let report = report(Clustermesh, &[cilium("east", 1)]);
    for code in ["CM301", "CM302", "CM303", "CM308", "CM311"] {
        let finding = findings(&report, code)[0];
        assert_eq!(
            (finding.verdict, finding.reason.as_str()),
            (Verdict::Skip, "only one cluster"),
            "{code}"
        );
    }
}

#[test]
fn native_against_tunnel_fails() {
    assert_eq!(
        of_pair(cilium("east", 1), cilium("west", 2), "CM301").verdict,
        Verdict::Pass
    );
    let west = with_keys(
        "west",
        2,
        &[("routing-mode", "native"), ("ipv4-native-routing-cidr", "10.0.0.0/8")],
    );
    let finding = of_pair(cilium("east", 1), west, "CM301");
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Fail, "tunnel on east, native on west")
    );
}

#[test]
fn the_old_key_says_the_routing_mode_of_1_14() {
    let mut west = of_version(cilium("west", 2), "1.14.2");
    set_cilium_key(&mut west, "routing-mode", None);
    set_cilium_key(&mut west, "tunnel", Some("disabled"));
    assert_eq!(
        of_pair(cilium("east", 1), west, "CM301").found,
        "tunnel on east, native on west"
    );
}

#[test]
fn a_routing_mode_that_the_agent_refuses_fails_and_is_not_compared() {
    let west = with_keys("west", 2, &[("routing-mode", "hybrid")]);
    let report = report(Clustermesh, &[cilium("east", 1), west]);
    let found = findings(&report, "CM301");
    assert_eq!(
        (found[0].verdict, &found[0].subject.clusters[..]),
        (Verdict::Fail, &["west".to_owned()][..])
    );
    assert!(found[0].found.contains("change not yet loaded"), "{}", found[0].found);
    assert_eq!(
        (found[1].verdict, found[1].reason.as_str()),
        (Verdict::Unknown, "not in force")
    );
}

#[test]
fn one_node_in_another_mode_is_noticed() {
    let west = overridden(cilium("west", 2), "routing-mode", "native", "west-n2");
    let finding = of_pair(cilium("east", 1), west, "CM301");
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(finding.found, "tunnel on east, tunnel (native on west-n2) on west");
    let read_from_override = |evidence: &Evidence| evidence.source.object == "CiliumNodeConfig kube-system/odd";
    assert!(finding.evidence.iter().any(read_from_override));
}

#[test]
fn one_tunnel_protocol_everywhere_passes() {
    assert_eq!(
        of_pair(cilium("east", 1), cilium("west", 2), "CM302").verdict,
        Verdict::Pass
    );
}

#[test]
fn geneve_against_vxlan_fails_for_the_pair_and_is_one_failure() {
    let west = with_keys("west", 2, &[("tunnel-protocol", "geneve")]);
    let report = report(Clustermesh, &[cilium("east", 1), west]);
    let finding = findings(&report, "CM302")[0];
    assert_eq!(
        (finding.verdict, finding.subject.kind),
        (Verdict::Fail, SubjectKind::Pair)
    );
    assert_eq!(finding.found, "vxlan on east, geneve on west");
    assert_eq!(finding.evidence.len(), 2);
    assert!(
        findings(&report, "CM303")
            .iter()
            .all(|finding| finding.verdict == Verdict::Skip)
    );
}

#[test]
fn native_clusters_have_no_tunnel_to_compare() {
    let native = |name, number, protocol| {
        let keys = [
            ("routing-mode", "native"),
            ("ipv4-native-routing-cidr", "10.0.0.0/8"),
            ("tunnel-protocol", protocol),
        ];
        with_keys(name, number, &keys)
    };
    for code in ["CM302", "CM303"] {
        let finding = of_pair(native("east", 1, "vxlan"), native("west", 2, "geneve"), code);
        assert_eq!(finding.verdict, Verdict::Skip, "{code}");
    }
}

#[test]
fn tunnel_ports_are_compared_with_their_defaults() {
    let explicit = with_keys("west", 2, &[("tunnel-port", "8472")]);
    let finding = of_pair(cilium("east", 1), explicit, "CM303");
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Pass, "vxlan: UDP 8472 on east and west")
    );
    let other = with_keys("west", 2, &[("tunnel-port", "4789")]);
    let finding = of_pair(cilium("east", 1), other, "CM303");
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(finding.found, "vxlan: UDP 4789 on west, UDP 8472 on east");
}

#[test]
fn a_tunnel_hidden_in_native_routing_warns() {
    let native = |more: &[(&str, &str)]| {
        let keys = [
            ("routing-mode", "native"),
            ("ipv4-native-routing-cidr", "10.0.0.0/8"),
            ("kube-proxy-replacement", "true"),
        ];
        of_one(with_keys("east", 1, &[&keys[..], more].concat()), "CM304")
    };
    assert_eq!(native(&[]).verdict, Verdict::Pass);
    assert_eq!(native(&[("enable-egress-gateway", "true")]).verdict, Verdict::Warn);
    let direct_return = native(&[("bpf-lb-mode", "hybrid"), ("bpf-lb-dsr-dispatch", "geneve")]);
    assert_eq!(direct_return.verdict, Verdict::Warn);
    assert_eq!(
        direct_return.found,
        "direct server return with Geneve uses vxlan on UDP 8472"
    );
    assert_eq!(native(&[("bpf-lb-mode", "dsr")]).verdict, Verdict::Pass);
    assert_eq!(of_one(cilium("east", 1), "CM304").verdict, Verdict::Skip);
}

#[test]
fn address_management_allows_certain_routing_modes() {
    let with_ipam = |ipam, mode| of_one(with_keys("east", 1, &[("ipam", ipam), ("routing-mode", mode)]), "CM305");
    let eni = with_ipam("eni", "tunnel");
    assert_eq!(eni.verdict, Verdict::Fail);
    assert!(eni.found.contains("change not yet loaded"), "{}", eni.found);
    assert_eq!(with_ipam("eni", "native").verdict, Verdict::Pass);
    assert_eq!(with_ipam("azure", "tunnel").verdict, Verdict::Warn);
    assert_eq!(with_ipam("crd", "tunnel").verdict, Verdict::Warn);
    assert_eq!(with_ipam("multi-pool", "tunnel").verdict, Verdict::Pass);
}

fn with_entry(name: &str, number: u8, peer: &str, endpoint: &str) -> ClusterFacts {
    let mut facts = cilium(name, number);
    let peer_entry = Peer {
        secrets: vec!["cilium-kvstoremesh".to_owned()],
        endpoints: vec![endpoint.to_owned()],
        own_ca: false,
    };
    let secrets = MeshSecrets {
        peers: BTreeMap::from([(peer.to_owned(), peer_entry)]),
        ..MeshSecrets::default()
    };
    cilium_mut(&mut facts).secrets = Fact::known(secrets, Source::read("Secrets kube-system", ""));
    facts
}

#[test]
fn peers_of_a_kvstore_cluster_dial_its_own_etcd() {
    let kvstore = || {
        with_keys(
            "west",
            2,
            &[("identity-allocation-mode", "kvstore"), ("kvstore", "etcd")],
        )
    };
    let verdict_of_west = |east: ClusterFacts| {
        let report = report(Clustermesh, &[east, kvstore()]);
        let found = findings(&report, "CM306");
        found
            .iter()
            .find(|finding| finding.subject.clusters == ["west"])
            .unwrap()
            .verdict
    };
    assert_eq!(verdict_of_west(cilium("east", 1)), Verdict::Warn);
    assert_eq!(
        verdict_of_west(with_entry("east", 1, "west", "https://172.31.2.11:32379")),
        Verdict::Fail
    );
    assert_eq!(
        verdict_of_west(with_entry("east", 1, "west", "https://etcd.west.example:2379")),
        Verdict::Pass
    );
}

#[test]
fn without_endpoint_objects_there_is_nothing_to_export() {
    assert_eq!(of_one(cilium("east", 1), "CM306").verdict, Verdict::Pass);
    for mode in ["crd", "doublewrite-readkvstore"] {
        let keys = [("identity-allocation-mode", mode), ("disable-endpoint-crd", "true")];
        assert_eq!(
            of_one(with_keys("east", 1, &keys), "CM306").verdict,
            Verdict::Fail,
            "{mode}"
        );
    }
}

#[test]
fn kube_proxy_warns() {
    let replaced = with_keys("east", 1, &[("kube-proxy-replacement", "true")]);
    assert_eq!(of_one(replaced, "CM307").verdict, Verdict::Pass);
    let finding = of_one(with_keys("east", 1, &[("kube-proxy-replacement", "false")]), "CM307");
    assert_eq!(finding.verdict, Verdict::Warn);
    let finding = of_one(
        with_keys(
            "east",
            1,
            &[("kube-proxy-replacement", "false"), ("bpf-lb-sock", "true")],
        ),
        "CM307",
    );
    assert!(finding.found.contains("serves host clients"), "{}", finding.found);
}

fn with_node_port(mut facts: ClusterFacts, number: u16) -> ClusterFacts {
    value_mut(&mut facts.services).push(Service {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        kind: "NodePort".to_owned(),
        ports: vec![ServicePort {
            protocol: "TCP".to_owned(),
            port: 80,
            node_port: Some(number),
            ..ServicePort::default()
        }],
        ..Service::default()
    });
    facts
}

fn without_kube_proxy(mut facts: ClusterFacts) -> ClusterFacts {
    set_cilium_key(&mut facts, "kube-proxy-replacement", Some("true"));
    facts
}

/// The control plane on another NodePort than everybody's default.
fn on_own_port(mut facts: ClusterFacts, number: u16) -> ClusterFacts {
    for service in value_mut(&mut facts.services) {
        for port in service.ports.iter_mut().filter(|port| port.node_port.is_some()) {
            port.node_port = Some(number);
        }
    }
    facts
}

#[test]
fn an_old_cluster_takes_the_peers_control_plane_for_its_own() {
    let old = without_kube_proxy(of_version(cilium("east", 1), "1.18.1"));
    let finding = of_pair(old.clone(), cilium("west", 2), "CM308");
    assert_eq!(finding.verdict, Verdict::Fail);
    assert_eq!(
        finding.found,
        "TCP 32379 in 2 clusters; east would take the others' for its own"
    );
    assert_eq!(finding.subject.clusters, ["east", "west"]);

    assert_eq!(
        of_pair(old.clone(), on_own_port(cilium("west", 2), 32380), "CM308").verdict,
        Verdict::Pass
    );
    assert_eq!(
        of_pair(cilium("east", 1), cilium("west", 2), "CM308").verdict,
        Verdict::Pass
    );
    let mut with_kube_proxy = old;
    set_cilium_key(&mut with_kube_proxy, "kube-proxy-replacement", Some("false"));
    assert_eq!(
        of_pair(with_kube_proxy, cilium("west", 2), "CM308").verdict,
        Verdict::Pass
    );
}

#[test]
fn any_local_service_on_the_peers_control_plane_port_catches_the_connection() {
    let old = with_node_port(
        on_own_port(without_kube_proxy(of_version(cilium("east", 1), "1.16.0")), 32381),
        32379,
    );
    assert_eq!(of_pair(old, cilium("west", 2), "CM308").verdict, Verdict::Fail);
}

#[test]
fn other_common_node_ports_of_an_old_cluster_warn() {
    let old = with_node_port(
        on_own_port(without_kube_proxy(of_version(cilium("east", 1), "1.16.0")), 32381),
        30080,
    );
    let finding = of_pair(old, with_node_port(cilium("west", 2), 30080), "CM308");
    assert_eq!(
        (finding.verdict, finding.found.as_str()),
        (Verdict::Warn, "TCP 30080 also in other clusters")
    );
    assert_eq!(finding.subject.clusters, ["east"]);
}

#[test]
fn a_collision_with_a_version_nobody_knows_is_unknown() {
    let east = without_kube_proxy(of_version(cilium("east", 1), "latest"));
    let finding = of_pair(east, cilium("west", 2), "CM308");
    assert_eq!(
        (finding.verdict, &finding.subject.clusters[..]),
        (Verdict::Unknown, &["east".to_owned()][..])
    );
}

const HOST_POLICIES: [(&str, &str); 3] = [
    ("enable-host-firewall", "true"),
    ("enable-wireguard", "true"),
    ("kube-proxy-replacement", "true"),
];

fn without_kvstoremesh(mut facts: ClusterFacts) -> ClusterFacts {
    for workload in value_mut(&mut facts.workloads) {
        workload.containers.retain(|container| container.name != "kvstoremesh");
    }
    facts
}

#[test]
fn host_policies_and_wireguard_need_kvstoremesh() {
    let facts = with_keys("east", 1, &HOST_POLICIES);
    assert_eq!(of_one(facts.clone(), "CM309").verdict, Verdict::Warn);
    assert_eq!(
        of_one(without_kvstoremesh(facts.clone()), "CM309").verdict,
        Verdict::Fail
    );
    let mut native = without_kvstoremesh(facts);
    set_cilium_key(&mut native, "routing-mode", Some("native"));
    assert_eq!(of_one(native, "CM309").verdict, Verdict::Pass);
    assert_eq!(of_one(cilium("east", 1), "CM309").verdict, Verdict::Skip);
}

#[test]
fn node_encryption_leaves_control_plane_nodes_out() {
    let keys = [("enable-wireguard", "true"), ("encrypt-node", "true")];
    let facts = without_kvstoremesh(with_keys("east", 1, &keys));
    assert_eq!(of_one(facts.clone(), "CM309").verdict, Verdict::Pass);
    let mut forced = facts;
    set_cilium_key(&mut forced, "node-encryption-opt-out-labels", Some(""));
    assert_eq!(of_one(forced, "CM309").verdict, Verdict::Fail);
}

#[test]
fn before_the_mesh_is_enabled_the_charts_default_decides_on_kvstoremesh() {
    let mut facts = with_keys("east", 1, &HOST_POLICIES);
    value_mut(&mut facts.workloads).retain(|workload| workload.name != "clustermesh-apiserver");
    assert_eq!(of_one(facts.clone(), "CM309").verdict, Verdict::Warn);
    assert_eq!(
        of_one(of_version(facts.clone(), "1.15.3"), "CM309").verdict,
        Verdict::Fail
    );
    assert_eq!(of_one(of_version(facts, "latest"), "CM309").verdict, Verdict::Unknown);
}

#[test]
fn features_that_stop_at_the_clusters_border() {
    assert_eq!(of_one(cilium("east", 1), "CM310").verdict, Verdict::Pass);
    assert_eq!(
        of_one(with_keys("east", 1, &[("enable-ztunnel", "true")]), "CM310").verdict,
        Verdict::Fail
    );
    assert_eq!(
        of_one(with_keys("east", 1, &[("enable-egress-gateway", "true")]), "CM310").verdict,
        Verdict::Warn
    );
    // On everywhere up to 1.18, and harmless.
    assert_eq!(
        of_one(with_keys("east", 1, &[("mesh-auth-enabled", "true")]), "CM310").verdict,
        Verdict::Pass
    );

    let mut mutual = with_keys("east", 1, &[("mesh-auth-mutual-enabled", "true")]);
    assert_eq!(of_one(mutual.clone(), "CM310").verdict, Verdict::Warn);
    value_mut(&mut cilium_mut(&mut mutual).policies).requiring_authentication = vec!["shop/db".to_owned()];
    assert_eq!(of_one(mutual.clone(), "CM310").verdict, Verdict::Fail);
    cilium_mut(&mut mutual).policies = Fact::unknown(Reason::Forbidden, "list ciliumnetworkpolicies: forbidden");
    assert_eq!(of_one(mutual, "CM310").verdict, Verdict::Unknown);
}

#[test]
fn different_policy_settings_are_told_but_never_fail() {
    let west = with_keys("west", 2, &[("enable-policy", "always"), ("labels", "k8s:app")]);
    let finding = of_pair(cilium("east", 1), west, "CM311");
    assert_eq!(finding.verdict, Verdict::Pass);
    assert_eq!(
        finding.found,
        "enforcement always with labels k8s:app on west, enforcement default with the default labels on east"
    );
    assert!(!finding.remedy.is_empty());
}
