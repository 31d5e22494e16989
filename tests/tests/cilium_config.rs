//! Cilium's configuration as the charts of seven minor versions render it, for 24 sets of values: everything that rules look at is
//! answered, and two clusters of one kind never fail against each other in anything but what they deliberately share.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::collections::{BTreeMap, BTreeSet};

use prejoin_checks::catalog;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::cilium::Cilium;
use prejoin_checks::facts::kubernetes::{Container, Workload};
use prejoin_checks::facts::mcs::Mcs;
use prejoin_checks::facts::provenance::{Fact, Source};
use prejoin_checks::facts::service::{Service, ServicePort};
use prejoin_checks::profile::Profile;
use prejoin_checks::profile::cilium::Settings;
use prejoin_checks::profile::cilium::keys::KEYS;
use prejoin_checks::profile::cilium::values::{
    Encryption, Families, Family, IdentityMode, KubeProxyReplacement, RoutingMode, TunnelProtocol,
};
use prejoin_checks::profile::cilium::version::Versions;
use prejoin_checks::report::Verdict;
use prejoin_checks::samples::{self, cilium_mut, value_mut};
use prejoin_tests::fixtures::{CiliumConfig, cilium_configs};
use serde_json::Value;

/// The keys of the ConfigMap.
fn keys(config: &CiliumConfig) -> BTreeMap<String, String> {
    let data = object(config, "ConfigMap").unwrap()["data"].as_object().unwrap();
    let pairs = data
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()));
    pairs.collect()
}

fn object<'a>(config: &'a CiliumConfig, kind: &str) -> Option<&'a Value> {
    let items = config.objects["items"].as_array().unwrap();
    items.iter().find(|item| item["kind"] == kind)
}

/// Cilium with this configuration; its version is known only if images say so.
fn cilium(config: &CiliumConfig, with_version: bool) -> Cilium {
    let read = |object: &str| Source::read(object, "");
    let mut cilium = Cilium {
        namespace: "kube-system".to_owned(),
        config: Fact::known(keys(config), read("ConfigMap kube-system/cilium-config")),
        node_configs: Fact::known(Vec::new(), read("CiliumNodeConfigs")),
        ..Cilium::default()
    };
    if with_version {
        let versions = BTreeMap::from([("agent".to_owned(), config.version.clone())]);
        cilium.versions = Fact::known(versions, read("DaemonSet kube-system/cilium"));
    }
    cilium
}

fn minor(version: &str) -> &str {
    version.rsplit_once('.').unwrap().0
}

#[test]
fn every_key_is_answered_with_and_without_a_version() {
    for config in cilium_configs() {
        for with_version in [true, false] {
            let cilium = cilium(&config, with_version);
            let settings = Settings::of(&cilium).unwrap();
            for key in KEYS {
                if let Err(unknown) = settings.value(key.name) {
                    panic!("{} {}: {unknown}", config.version, config.variant);
                }
            }
            assert_eq!(settings.refusals(), [], "{} {}", config.version, config.variant);
        }
    }
}

#[test]
fn the_keys_alone_tell_the_version() {
    for config in cilium_configs() {
        let inferred = Versions::of(&cilium(&config, false));
        let known = Versions::of(&cilium(&config, true));
        assert!(inferred.inferred && !known.inferred);
        assert!(inferred.oldest <= known.oldest && known.newest <= inferred.newest);
        let text = inferred.to_string();
        assert!(
            text.contains(minor(&config.version)),
            "{} {}: {text}",
            config.version,
            config.variant
        );
    }
}

#[test]
fn a_default_is_that_of_the_version_even_where_only_the_keys_tell_it() {
    for config in cilium_configs() {
        for with_version in [true, false] {
            let cilium = cilium(&config, with_version);
            let local = Settings::of(&cilium)
                .unwrap()
                .flag("policy-default-local-cluster")
                .unwrap()
                .value;
            let expected = ["1.19", "1.20"].contains(&minor(&config.version));
            assert_eq!(local, expected, "{} {}", config.version, config.variant);
        }
    }
}

/// What a variant's name says was set, in every version.
#[derive(Debug, PartialEq)]
struct Meaning {
    routing: RoutingMode,
    protocol: TunnelProtocol,
    port: u16,
    encryption: Encryption,
    families: Families,
    identities: IdentityMode,
    replacement: KubeProxyReplacement,
    max_clusters: u32,
    strict: bool,
    masquerades_ipv4: bool,
}

#[test]
fn settings_mean_what_was_set() {
    for config in cilium_configs() {
        let (variant, version) = (config.variant.as_str(), minor(&config.version));
        let is = |names: &[&str]| names.contains(&variant);
        let native = is(&[
            "native",
            "native-dual",
            "multi-pool",
            "eni",
            "azure",
            "gke",
            "aws-cni-chaining",
        ]);
        let expected = Meaning {
            routing: if native {
                RoutingMode::Native
            } else {
                RoutingMode::Tunnel
            },
            protocol: if is(&["geneve"]) {
                TunnelProtocol::Geneve
            } else {
                TunnelProtocol::Vxlan
            },
            port: if is(&["geneve"]) { 6082 } else { 8472 },
            encryption: match variant {
                "wireguard" | "policy-strict" => Encryption::Wireguard,
                "ipsec" => Encryption::Ipsec,
                _ => Encryption::None,
            },
            families: Families {
                ipv4: true,
                ipv6: is(&["native-dual", "dual-clusterpool"]),
            },
            identities: if is(&["kvstore"]) {
                IdentityMode::Kvstore
            } else {
                IdentityMode::Crd
            },
            replacement: if is(&["kube-proxy-free", "multi-pool"]) {
                KubeProxyReplacement::On
            } else {
                KubeProxyReplacement::Off
            },
            max_clusters: if is(&["mesh-511"]) && version != "1.14" {
                511
            } else {
                255
            },
            // Not there yet in 1.14, and the chart of 1.20 ignores the old values.
            strict: is(&["policy-strict"]) && !["1.14", "1.20"].contains(&version),
            masquerades_ipv4: !(is(&["aws-cni-chaining"])
                || is(&["eni"]) && !["1.14", "1.15", "1.16", "1.17"].contains(&version)),
        };
        for with_version in [true, false] {
            let cilium = cilium(&config, with_version);
            let settings = Settings::of(&cilium).unwrap();
            let found = Meaning {
                routing: settings.routing_mode().unwrap().value,
                protocol: settings.tunnel_protocol().unwrap().value,
                port: settings.tunnel_port().unwrap().value,
                encryption: settings.encryption().unwrap().value,
                families: settings.families().unwrap().value,
                identities: settings.identity_mode().unwrap().value,
                replacement: settings.kube_proxy_replacement().unwrap().value,
                max_clusters: settings.max_connected_clusters().unwrap().value,
                strict: settings.strict_egress().unwrap().is_some_and(|strict| !strict.ignored),
                masquerades_ipv4: settings.masquerades(Family::Ipv4).unwrap().value,
            };
            assert_eq!(found, expected, "{} {variant}", config.version);
        }
    }
}

/// A cluster of healthy nodes with this configuration, under a name and id of its own.
fn cluster(config: &CiliumConfig, name: &str, number: u8) -> ClusterFacts {
    let mut facts = samples::cilium(name, number);
    let mut keys = keys(config);
    keys.insert("cluster-name".to_owned(), name.to_owned());
    keys.insert("cluster-id".to_owned(), number.to_string());
    let wireguard = keys.contains_key("enable-wireguard");
    let ipsec = keys.contains_key("enable-ipsec");
    let wide = keys.get("max-connected-clusters").is_some_and(|max| max == "511");
    let node_blocks: Vec<_> = facts
        .nodes
        .get()
        .unwrap()
        .iter()
        .map(|node| node.pod_cidrs.clone())
        .collect();
    let cilium = cilium_mut(&mut facts);
    for (component, version) in value_mut(&mut cilium.versions) {
        assert!(!component.is_empty());
        version.clone_from(&config.version);
    }
    *value_mut(&mut cilium.agent_pods) = BTreeMap::from([(config.version.clone(), 2)]);
    *value_mut(&mut cilium.config) = keys;
    if wide {
        for group in value_mut(&mut cilium.identities) {
            group.id_block = u32::from(number);
        }
    }
    for (node, blocks) in value_mut(&mut cilium.nodes).iter_mut().zip(node_blocks) {
        node.vpc_cidrs.clone_from(&blocks);
        node.pools = BTreeMap::from([("default".to_owned(), blocks.clone())]);
        node.addresses_assigned = blocks;
        node.encryption_key = Some(if ipsec { 3 } else { 0 });
        if wireguard {
            node.wireguard_public_key = format!("key of {}", node.name);
        }
    }
    cilium.pod_ip_pools = Fact::known(Vec::new(), Source::read("CiliumPodIPPools", ""));
    cilium.mesh.host_aliases = Fact::known(
        BTreeMap::new(),
        Source::read("DaemonSet kube-system/cilium", "hostAliases"),
    );
    let read = |object: &str| Source::read(object, "");
    // The types of the MCS API are there before the feature is switched on.
    let mcs = Mcs {
        served_versions: vec!["v1alpha1".to_owned()],
        exports: Fact::known(Vec::new(), read("ServiceExports")),
        imports: Fact::known(Vec::new(), read("ServiceImports")),
        ..Mcs::default()
    };
    facts.mcs = Fact::known(mcs, read("multicluster.x-k8s.io"));
    replace_mesh(&mut facts, config);
    facts
}

/// The mesh's objects as recorded, or none.
fn replace_mesh(facts: &mut ClusterFacts, config: &CiliumConfig) {
    const NAME: &str = "clustermesh-apiserver";
    value_mut(&mut facts.services).retain(|service| service.name != NAME);
    value_mut(&mut facts.workloads).retain(|workload| workload.name != NAME);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    if let Some(recorded) = object(config, "Service") {
        let ports = recorded["spec"]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| ServicePort {
                protocol: "TCP".to_owned(),
                port: number(&port["port"]).unwrap(),
                node_port: number(&port["nodePort"]),
                ..ServicePort::default()
            });
        value_mut(&mut facts.services).push(Service {
            namespace: "kube-system".to_owned(),
            name: NAME.to_owned(),
            kind: text(&recorded["spec"]["type"]),
            ports: ports.collect(),
            ingress: vec![facts.nodes.get().unwrap()[0].addresses[0].ip.to_string()],
            session_affinity: text(&recorded["spec"]["sessionAffinity"]),
            ..Service::default()
        });
    }
    if let Some(recorded) = object(config, "Deployment") {
        let containers = recorded["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        let containers = containers.iter().map(|container| Container {
            name: text(&container["name"]),
            image: text(&container["image"]),
            args: container["args"].as_array().into_iter().flatten().map(text).collect(),
            ..Container::default()
        });
        value_mut(&mut facts.workloads).push(Workload {
            kind: "Deployment".to_owned(),
            namespace: "kube-system".to_owned(),
            name: NAME.to_owned(),
            desired: 1,
            ready: 1,
            containers: containers.collect(),
            ..Workload::default()
        });
    }
}

/// Whether a rule is about address ranges, which two clusters of one chart's values share.
fn is_about_ranges(code: &str) -> bool {
    let rules = catalog::find(code).unwrap().rules;
    code.starts_with("NET") || rules.iter().any(|rule| rule.contains("ADDR-"))
}

#[test]
fn two_clusters_of_one_kind_do_not_fail_against_each_other() {
    let mut wrong = Vec::new();
    for config in cilium_configs() {
        let report = samples::report(
            Profile::Clustermesh,
            &[cluster(&config, "east", 1), cluster(&config, "west", 2)],
        );
        for finding in report.findings {
            let counts = match finding.verdict {
                Verdict::Fail => !is_about_ranges(&finding.code),
                verdict => verdict == Verdict::Unknown,
            };
            if counts {
                let (version, variant) = (&config.version, &config.variant);
                wrong.push(format!(
                    "{version} {variant}: {} {}: {}",
                    finding.code, finding.verdict, finding.found
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn as_recorded_they_share_name_and_id_and_nothing_else_is_wrong() {
    for config in cilium_configs() {
        let mut west = cluster(&config, "east", 1);
        west.name = "west".to_owned();
        west.uid = samples::cilium("west", 2).uid;
        let report = samples::report(Profile::Clustermesh, &[cluster(&config, "east", 1), west]);
        let failed = report
            .findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Fail);
        let codes: BTreeSet<&str> = failed
            .map(|finding| finding.code.as_str())
            .filter(|code| !is_about_ranges(code))
            .collect();
        // WireGuard keys are the nodes' names here, which are equal too.
        let mut expected = BTreeSet::from(["CM104", "CM107"]);
        if keys(&config).contains_key("enable-wireguard") {
            expected.insert("CM403");
        }
        assert_eq!(codes, expected, "{} {}", config.version, config.variant);
    }
}
