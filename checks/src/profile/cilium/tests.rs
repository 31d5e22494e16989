use super::*;
use crate::check::NoVerdict;
use crate::facts::ClusterFacts;
use crate::facts::cilium::CiliumNode;
use crate::facts::provenance::{Basis, Fact};
use crate::samples;

/// A Cilium of this version with these keys and no other.
fn cilium(version: &str, keys: &[(&str, &str)]) -> Cilium {
    let pairs = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    Cilium {
        namespace: "kube-system".to_owned(),
        versions: Fact::known(
            pairs(&[("agent", version)]),
            Source::read("DaemonSet kube-system/cilium", "image"),
        ),
        config: Fact::known(pairs(keys), Source::read("ConfigMap kube-system/cilium-config", "")),
        node_configs: Fact::known(Vec::new(), Source::read("CiliumNodeConfigs", "")),
        ..Cilium::default()
    }
}

/// Name, keys and nodes of a `CiliumNodeConfig`.
type Override<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

fn overriding(mut cilium: Cilium, objects: &[Override<'_>]) -> Cilium {
    let objects = objects.iter().map(|(name, defaults, nodes)| NodeConfig {
        name: (*name).to_owned(),
        defaults: defaults
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
    });
    cilium.node_configs = Fact::known(objects.collect(), Source::read("CiliumNodeConfigs", ""));
    cilium
}

#[test]
fn a_written_key_is_read_where_it_stands() {
    let cilium = cilium("1.20.0", &[("cluster-name", "east")]);
    let value = Settings::of(&cilium).unwrap().value("cluster-name").unwrap();
    assert_eq!(value.value, "east");
    assert_eq!(
        value.source.to_string(),
        "ConfigMap kube-system/cilium-config  cluster-name"
    );
}

#[test]
fn an_absent_key_is_the_default_of_that_version() {
    for (version, expected) in [("1.17.3", "false"), ("1.18.2", "false"), ("1.20.0", "true")] {
        let cilium = cilium(version, &[]);
        let value = Settings::of(&cilium)
            .unwrap()
            .value("policy-default-local-cluster")
            .unwrap();
        assert_eq!(value.value, expected, "{version}");
        assert_eq!(value.source.basis, Basis::DefaultOf(format!("Cilium {version}")));
    }
}

#[test]
fn without_a_version_only_a_default_that_changed_is_unknown() {
    let cilium = cilium("latest", &[]);
    let settings = Settings::of(&cilium).unwrap();
    assert_eq!(settings.value("tunnel-protocol").unwrap().value, "vxlan");
    let unknown = settings.value("policy-default-local-cluster").unwrap_err();
    assert_eq!(unknown.reason, Reason::NotFound);
    assert!(unknown.detail.contains("`true` from 1.19.0 on"), "{}", unknown.detail);
}

#[test]
fn the_old_tunnel_key_says_mode_and_protocol_up_to_1_14() {
    let old = cilium("1.14.3", &[("tunnel", "geneve")]);
    let settings = Settings::of(&old).unwrap();
    assert_eq!(settings.routing_mode().unwrap().value, RoutingMode::Tunnel);
    assert_eq!(settings.tunnel_protocol().unwrap().value, TunnelProtocol::Geneve);
    assert_eq!(settings.tunnel_port().unwrap().value, 6081);

    let native = cilium("1.13.9", &[("tunnel", "disabled")]);
    let settings = Settings::of(&native).unwrap();
    assert_eq!(settings.routing_mode().unwrap().value, RoutingMode::Native);

    let left_over = cilium("1.16.1", &[("tunnel", "disabled")]);
    let settings = Settings::of(&left_over).unwrap();
    assert_eq!(settings.routing_mode().unwrap().value, RoutingMode::Tunnel);
}

#[test]
fn ports_follow_the_protocol_unless_set() {
    for (keys, expected) in [
        (&[][..], 8472),
        (&[("tunnel-protocol", "geneve")], 6081),
        (&[("tunnel-port", "0")], 8472),
        (&[("tunnel-port", "4789")], 4789),
    ] {
        let cilium = cilium("1.20.0", keys);
        assert_eq!(Settings::of(&cilium).unwrap().tunnel_port().unwrap().value, expected);
    }
}

#[test]
fn kube_proxy_replacement_has_old_and_new_words() {
    use KubeProxyReplacement::{Off, On, Partial};
    for (word, expected) in [
        ("true", On),
        ("strict", On),
        ("probe", Partial),
        ("partial", Partial),
        ("disabled", Off),
        ("false", Off),
    ] {
        let cilium = cilium("1.13.4", &[("kube-proxy-replacement", word)]);
        let value = Settings::of(&cilium).unwrap().kube_proxy_replacement().unwrap().value;
        assert_eq!(value, expected, "{word}");
    }
}

#[test]
fn identities_are_in_the_kvstore_only_where_one_is_configured() {
    let mode = |keys| {
        let cilium = cilium("1.18.0", keys);
        Settings::of(&cilium).unwrap().identity_mode().unwrap().value
    };
    assert_eq!(mode(&[]), IdentityMode::Crd);
    assert_eq!(mode(&[("kvstore", "etcd")]), IdentityMode::Kvstore);
    assert_eq!(
        mode(&[("identity-allocation-mode", "doublewrite-readcrd"), ("kvstore", "etcd")]),
        IdentityMode::DoubleWrite
    );
}

#[test]
fn strict_egress_goes_by_the_names_of_its_version() {
    let old = [
        ("enable-encryption-strict-mode", "true"),
        ("encryption-strict-mode-cidr", "10.0.0.0/8"),
    ];
    let new = [
        ("enable-encryption-strict-mode-egress", "true"),
        ("encryption-strict-egress-cidr", "10.0.0.0/8"),
    ];
    for (version, keys, ignored) in [
        ("1.18.1", &old, false),
        ("1.19.1", &old, false),
        ("1.20.0", &old, true),
        ("1.20.0", &new, false),
        ("1.18.1", &new, true),
    ] {
        let cilium = cilium(version, keys);
        let strict = Settings::of(&cilium).unwrap().strict_egress().unwrap().unwrap();
        assert_eq!(strict.ignored, ignored, "{version} {keys:?}");
        assert_eq!(strict.cidrs.value.len(), 1);
    }
    let off = cilium("1.20.0", &[]);
    assert_eq!(Settings::of(&off).unwrap().strict_egress(), Ok(None));
}

#[test]
fn a_value_on_which_the_agent_refuses_to_start_is_shown_but_not_in_force() {
    for (keys, poisoned) in [
        (&[("cluster-id", "300"), ("cluster-name", "a")][..], "cluster-id"),
        (&[("cluster-name", "East")], "cluster-name"),
        (&[("cluster-id", "3")], "cluster-name"),
        (&[("max-connected-clusters", "300")], "max-connected-clusters"),
        (&[("ipam", "eni")], "routing-mode"),
        (
            &[
                ("ipam", "eni"),
                ("routing-mode", "native"),
                ("cluster-id", "128"),
                ("cluster-name", "a"),
            ],
            "cluster-id",
        ),
        (&[("auto-direct-node-routes", "true")], "auto-direct-node-routes"),
        (
            &[("underlay-protocol", "ipv6"), ("enable-ipv6", "false")],
            "underlay-protocol",
        ),
        (
            &[("enable-ipsec", "true"), ("enable-wireguard", "true")],
            "enable-wireguard",
        ),
        (
            &[("enable-ipsec", "true"), ("enable-host-firewall", "true")],
            "enable-ipsec",
        ),
        (&[("enable-ip-masq-agent", "true")], "enable-ip-masq-agent"),
        (
            &[("enable-ztunnel", "true"), ("cluster-id", "3"), ("cluster-name", "a")],
            "enable-ztunnel",
        ),
    ] {
        let cilium = cilium("1.20.0", keys);
        let settings = Settings::of(&cilium).unwrap();
        assert!(settings.shown(poisoned).is_ok(), "{keys:?}");
        assert_eq!(
            settings.value(poisoned).unwrap_err().reason,
            Reason::NotInForce,
            "{keys:?}"
        );
    }
}

#[test]
fn what_the_agent_accepts_is_not_refused() {
    for keys in [
        &[][..],
        &[("cluster-id", "255"), ("cluster-name", "east")],
        &[
            ("ipam", "eni"),
            ("routing-mode", "native"),
            ("cluster-id", "127"),
            ("cluster-name", "a"),
        ],
        &[
            ("cni-chaining-mode", "aws-cni"),
            ("cluster-id", "200"),
            ("cluster-name", "a"),
            ("allow-unsafe-policy-skb-usage", "true"),
        ],
        &[("enable-ipsec", "true"), ("cni-chaining-mode", "portmap")],
        &[("auto-direct-node-routes", "true"), ("routing-mode", "native")],
    ] {
        let cilium = cilium("1.20.0", keys);
        assert_eq!(Settings::of(&cilium).unwrap().refusals(), [], "{keys:?}");
    }
    let before_the_guard = [
        ("cni-chaining-mode", "aws-cni"),
        ("cluster-id", "200"),
        ("cluster-name", "a"),
    ];
    let cilium = cilium("1.16.4", &before_the_guard);
    assert_eq!(Settings::of(&cilium).unwrap().refusals(), []);
}

#[test]
fn names_are_what_the_agent_accepts() {
    for name in ["a", "east-1", "0", &"x".repeat(32)] {
        assert!(refused::is_cluster_name(name), "{name}");
    }
    for name in [
        "",
        "-east",
        "east-",
        "East",
        "east.1",
        "east_1",
        &"x".repeat(33),
        "ëast",
    ] {
        assert!(!refused::is_cluster_name(name), "{name}");
    }
}

#[test]
fn an_override_on_some_nodes_is_seen_with_its_nodes() {
    let cilium = overriding(
        cilium("1.20.0", &[("tunnel-protocol", "vxlan")]),
        &[("odd", &[("tunnel-protocol", "geneve")], &["n2", "n3"])],
    );
    let settings = Settings::of(&cilium).unwrap();
    let all = settings
        .on_all_nodes(|settings| Ok(settings.tunnel_protocol()?))
        .unwrap()
        .value;
    assert_eq!(all.to_string(), "vxlan (geneve on n2, n3)");
    assert!(all.is_mixed());
    assert_eq!(
        all.exceptions[0].source.to_string(),
        "CiliumNodeConfig kube-system/odd  spec.defaults.tunnel-protocol"
    );
    assert_eq!(settings.overrides_of_cluster_wide_keys().unwrap().len(), 1);
}

#[test]
fn of_several_overrides_the_last_by_name_wins() {
    let cilium = overriding(
        cilium("1.20.0", &[]),
        &[
            ("b", &[("tunnel-port", "2")], &["n1"]),
            ("a", &[("tunnel-port", "1")], &["n1", "n2"]),
        ],
    );
    let all = Settings::of(&cilium)
        .unwrap()
        .on_all_nodes(|settings| Ok(settings.tunnel_port()?))
        .unwrap();
    assert_eq!(all.value.to_string(), "8472 (2 on n1) (1 on n2)");
}

#[test]
fn an_override_on_all_nodes_is_what_the_cluster_has() {
    let mut cilium = overriding(
        cilium("1.20.0", &[]),
        &[("all", &[("routing-mode", "native")], &["n1"])],
    );
    let node = CiliumNode {
        name: "n1".to_owned(),
        ..CiliumNode::default()
    };
    cilium.nodes = Fact::known(vec![node], Source::read("CiliumNodes", ""));
    let all = Settings::of(&cilium)
        .unwrap()
        .on_all_nodes(|settings| Ok(settings.routing_mode()?))
        .unwrap();
    assert_eq!(all.value.common, RoutingMode::Native);
    assert!(!all.value.is_mixed());
}

#[test]
fn overrides_that_cannot_be_read_leave_every_comparison_open() {
    let mut cilium = cilium("1.20.0", &[]);
    cilium.node_configs = Fact::unknown(Reason::Forbidden, "list ciliumnodeconfigs: forbidden");
    let read = |cilium: &Cilium| {
        let settings = Settings::of(cilium).unwrap();
        settings.on_all_nodes(|settings| Ok(settings.tunnel_protocol()?))
    };
    assert!(matches!(read(&cilium), Err(NoVerdict::Missing(unknown)) if unknown.reason == Reason::Forbidden));
    cilium.node_configs = Fact::unknown(Reason::NotInstalled, "CiliumNodeConfigs are not served");
    assert!(read(&cilium).is_ok());
}

#[test]
fn every_setting_of_the_sample_is_answered() {
    let facts: ClusterFacts = samples::cilium("east", 1);
    let settings = Settings::of(facts.cilium.get().unwrap()).unwrap();
    for key in keys::KEYS {
        settings.value(key.name).unwrap();
    }
}
