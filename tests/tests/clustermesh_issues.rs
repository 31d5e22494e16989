//! What users of ClusterMesh reported, as far as an API shows it: the facts of their clusters, and the findings that would have told them.
//!
//! Named after issues of cilium/cilium, in the order of their subjects.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::collections::BTreeMap;

use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::cilium::{IdentityGroup, IpsecKey, MeshSecrets, Peer};
use prejoin_checks::facts::node::NodeAddress;
use prejoin_checks::facts::provenance::{Fact, Source};
use prejoin_checks::profile::Profile;
use prejoin_checks::report::{Finding, Verdict};
use prejoin_checks::samples::{self, cilium, cilium_mut, set_cilium_key, value_mut};

/// The findings of one check over these clusters that are neither pass nor skip, worst first.
fn complaints(facts: &[ClusterFacts], code: &str) -> Vec<Finding> {
    let report = samples::report(Profile::Clustermesh, facts);
    let of_code = report.findings.into_iter().filter(|finding| finding.code == code);
    of_code.filter(Finding::counts).collect()
}

/// The one complaint of a check, with what it found.
fn complaint(facts: &[ClusterFacts], code: &str) -> (Verdict, String) {
    let found = complaints(facts, code);
    assert_eq!(found.len(), 1, "{found:#?}");
    (found[0].verdict, found[0].found.clone())
}

fn with_keys(mut facts: ClusterFacts, keys: &[(&str, &str)]) -> ClusterFacts {
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

/// Gives every node these addresses, the last octet counted up.
fn with_node_addresses(mut facts: ClusterFacts, addresses: &[(&str, &str)]) -> ClusterFacts {
    let of_node = |index: usize| -> Vec<NodeAddress> {
        let address = |(kind, prefix): &(&str, &str)| NodeAddress {
            kind: (*kind).to_owned(),
            ip: format!("{prefix}.{}", index + 1).parse().unwrap(),
        };
        addresses.iter().map(address).collect()
    };
    for (index, node) in value_mut(&mut facts.nodes).iter_mut().enumerate() {
        node.addresses = of_node(index);
    }
    for (index, node) in value_mut(&mut cilium_mut(&mut facts).nodes).iter_mut().enumerate() {
        node.addresses = of_node(index);
    }
    facts
}

fn native(facts: ClusterFacts, cidr: &str) -> ClusterFacts {
    with_keys(facts, &[("routing-mode", "native"), ("ipv4-native-routing-cidr", cidr)])
}

fn with_secrets(mut facts: ClusterFacts, secrets: MeshSecrets) -> ClusterFacts {
    cilium_mut(&mut facts).secrets = Fact::known(secrets, Source::read("Secrets kube-system", ""));
    facts
}

fn peer(endpoint: &str) -> Peer {
    Peer {
        secrets: vec!["cilium-kvstoremesh".to_owned()],
        endpoints: vec![endpoint.to_owned()],
        own_ca: false,
    }
}

// Identity.

/// An id from 128 on in a cluster on ENI addresses: packets that a policy matched are dropped.
#[test]
fn issue_21330_id_with_bit_7_on_eni() {
    let on_eni = |id| {
        let keys = [("ipam", "eni"), ("routing-mode", "native"), ("cluster-id", id)];
        [of_version(with_keys(cilium("east", 1), &keys), "1.16.4")]
    };
    assert_eq!(
        complaint(&on_eni("170"), "CM110"),
        (Verdict::Fail, "170 with ipam eni".to_owned())
    );
    assert!(complaints(&on_eni("42"), "CM110").is_empty());
}

/// The id of a running cluster was changed; identities made under the old one stayed in use.
#[test]
fn issue_36338_48800_stale_identities_after_an_id_change() {
    let mut renumbered = with_keys(cilium("east", 1), &[("cluster-id", "7")]);
    let identity = |block, in_use, example| IdentityGroup {
        cluster_label: Some("east".to_owned()),
        id_block: block,
        count: 20,
        in_use: Some(in_use),
        example,
        example_endpoint: "shop/cart".to_owned(),
    };
    *value_mut(&mut cilium_mut(&mut renumbered).identities) = vec![identity(14, 5, 458_760), identity(2, 12, 65_543)];
    let (verdict, found) = complaint(&[renumbered], "CM109");
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(found, "20, among them 65543 (east), in use by shop/cart");
}

/// Two remotes with one id: KVStoreMesh only says that a configuration was not found. Neither is the cluster that connects.
#[test]
fn issue_29161_duplicate_id_behind_kvstoremesh() {
    let facts = [
        cilium("hub", 1),
        cilium("east", 2),
        with_keys(cilium("west", 3), &[("cluster-id", "2")]),
    ];
    assert_eq!(
        complaint(&facts, "CM104"),
        (Verdict::Fail, "2 on east and west".to_owned())
    );
}

// Addressing.

/// k3s: nodes with a private InternalIP and a public ExternalIP. The control plane connects, pods do not.
#[test]
fn issue_38406_internal_ip_private_external_ip_public() {
    let home = with_node_addresses(
        cilium("home", 1),
        &[("InternalIP", "192.168.1"), ("ExternalIP", "203.0.113")],
    );
    let hosted = with_node_addresses(
        cilium("hosted", 2),
        &[("InternalIP", "10.0.5"), ("ExternalIP", "198.51.100")],
    );
    let (verdict, found) = complaint(&[home, hosted], "CM209");
    assert_eq!(verdict, Verdict::Warn);
    assert_eq!(found, "10.0.0.0/8 on hosted, 192.168.0.0/16 on home");
}

/// It was taken for granted that tunnels go to the ExternalIP. Where both sites number their nodes alike, only a packet can tell.
#[test]
fn issue_24165_an_external_ip_does_not_help() {
    let site = |name, number, internal, external| {
        with_node_addresses(
            cilium(name, number),
            &[("InternalIP", internal), ("ExternalIP", external)],
        )
    };
    let one = || site("one", 1, "10.0.5", "203.0.113");
    assert_eq!(
        complaint(&[one(), site("other", 2, "172.16.5", "198.51.100")], "CM209").0,
        Verdict::Warn
    );
    assert!(complaints(&[one(), site("other", 2, "10.0.6", "198.51.100")], "CM209").is_empty());
}

/// Each site behind address translation: nodes know themselves by addresses that the other side cannot reach.
#[test]
fn issue_41446_nat_between_clusters() {
    let site = with_node_addresses(cilium("site", 1), &[("InternalIP", "100.64.3")]);
    let cloud = with_node_addresses(cilium("cloud", 2), &[("InternalIP", "172.31.2")]);
    let (verdict, found) = complaint(&[site, cloud], "CM209");
    assert_eq!(
        (verdict, found.as_str()),
        (Verdict::Warn, "100.64.0.0/10 on site, 172.16.0.0/12 on cloud")
    );
}

/// Traffic between clusters arrives as `remote-node` and is dropped: the native routing CIDR holds the own pods only.
#[test]
fn issue_33822_cross_cluster_traffic_masqueraded() {
    let facts = [
        native(cilium("east", 1), "10.10.0.0/16"),
        native(cilium("west", 2), "10.20.0.0/16"),
    ];
    let found = complaints(&facts, "CM210");
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|finding| finding.verdict == Verdict::Fail));
    assert_eq!(
        found[0].found,
        "IPv4 native routing CIDR 10.10.0.0/16 leaves out pods of west, as 10.20.0.0/23"
    );
    let wide = [
        native(cilium("east", 1), "10.0.0.0/8"),
        native(cilium("west", 2), "10.0.0.0/8"),
    ];
    assert!(complaints(&wide, "CM210").is_empty());
}

/// A native routing CIDR around everything: answers to NodePorts never come back.
#[test]
fn issue_25095_native_routing_cidr_too_wide() {
    let facts = [native(cilium("east", 1), "0.0.0.0/0")];
    assert_eq!(complaint(&facts, "CM212"), (Verdict::Warn, "0.0.0.0/0".to_owned()));
}

/// Direct routes to nodes behind a gateway: an agent that crashes, or pods without a route.
#[test]
fn issue_31843_direct_routes_to_nodes_behind_a_gateway() {
    let facts = [with_keys(
        native(cilium("east", 1), "10.0.0.0/8"),
        &[("auto-direct-node-routes", "true")],
    )];
    assert_eq!(complaint(&facts, "CM215").0, Verdict::Warn);
}

// Datapath.

/// Both control planes on NodePort 32379 with kube-proxy replacement: agents talk to their own control plane.
#[test]
fn issue_24692_30297_same_node_port_on_both_sides() {
    let old = |name, number| {
        of_version(
            with_keys(cilium(name, number), &[("kube-proxy-replacement", "true")]),
            "1.15.7",
        )
    };
    let (verdict, found) = complaint(&[old("east", 1), old("west", 2)], "CM308");
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(
        found,
        "TCP 32379 in 2 clusters; east and west would take the others' for its own"
    );
}

/// Host policies, tunnel, kube-proxy replacement and WireGuard: remote control planes are out of reach without KVStoreMesh.
#[test]
fn issue_31209_host_policies_with_wireguard() {
    let keys = [
        ("enable-host-firewall", "true"),
        ("enable-wireguard", "true"),
        ("kube-proxy-replacement", "true"),
    ];
    let mut facts = with_keys(cilium("east", 1), &keys);
    for workload in value_mut(&mut facts.workloads) {
        workload.containers.retain(|container| container.name != "kvstoremesh");
    }
    let (verdict, found) = complaint(&[facts], "CM309");
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(
        found,
        "host policies with tunnel, kube-proxy replacement and WireGuard, without KVStoreMesh"
    );
}

/// A lab that forces node encryption onto control-plane nodes too.
#[test]
fn issue_29872_node_encryption_forced_on_control_planes() {
    let keys = [
        ("enable-wireguard", "true"),
        ("encrypt-node", "true"),
        ("node-encryption-opt-out-labels", ""),
    ];
    let mut facts = with_keys(cilium("kind-a", 1), &keys);
    for workload in value_mut(&mut facts.workloads) {
        workload.containers.retain(|container| container.name != "kvstoremesh");
    }
    assert_eq!(complaint(&[facts], "CM309").0, Verdict::Fail);
}

/// A mesh over etcd directly, with identities as custom resources on one side: the peer dials what holds no identities.
#[test]
fn issue_12125_direct_etcd_and_custom_resources() {
    let keys = [("identity-allocation-mode", "kvstore"), ("kvstore", "etcd")];
    let kvstore = with_keys(cilium("west", 2), &keys);
    let secrets = MeshSecrets {
        peers: BTreeMap::from([("west".to_owned(), peer("https://172.31.2.11:32379"))]),
        ..MeshSecrets::default()
    };
    let east = with_secrets(cilium("east", 1), secrets);
    let (verdict, found) = complaint(&[east, kvstore], "CM306");
    assert_eq!(verdict, Verdict::Fail);
    assert!(
        found.contains("east dials clustermesh-apiserver, which holds none"),
        "{found}"
    );
}

/// The wish for native routing inside and a tunnel between clusters.
#[test]
fn issue_40541_32810_native_inside_tunnel_between() {
    let facts = [native(cilium("east", 1), "10.0.0.0/8"), cilium("west", 2)];
    assert_eq!(
        complaint(&facts, "CM301"),
        (Verdict::Fail, "tunnel on west, native on east".to_owned())
    );
}

// Encryption.

/// IPsec between clusters fails with protocol errors where WireGuard works: keys of their own on each side.
#[test]
fn issue_26626_unlike_ipsec_keys() {
    let with_key = |name, number, digest: &str| {
        let mut facts = with_keys(cilium(name, number), &[("enable-ipsec", "true")]);
        for node in value_mut(&mut cilium_mut(&mut facts).nodes) {
            node.encryption_key = Some(3);
        }
        let key = IpsecKey {
            id: 3,
            algorithm: "rfc4106(gcm(aes))".to_owned(),
            length_bits: Some(128),
            per_tunnel: true,
            digest: digest.to_owned(),
        };
        let secrets = MeshSecrets {
            ipsec: Some(key),
            ..MeshSecrets::default()
        };
        with_secrets(facts, secrets)
    };
    let facts = [with_key("east", 1, "11aa22bb33"), with_key("west", 2, "44cc55dd66")];
    assert!(complaints(&facts, "CM404").is_empty());
    assert_eq!(complaint(&facts, "CM409").0, Verdict::Fail);
}
