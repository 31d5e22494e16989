//! What reading gives of everything but Cilium: other network plugins, Submariner, DNS and the Multi-Cluster Services API.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

#[path = "other_sources_reading/built.rs"]
mod built;

use prejoin_agent::cluster::{ReadOptions, configure, connect, read_cluster};
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::cni::PluginKind;
use prejoin_checks::facts::provenance::{Fact, Reason};
use prejoin_tests::api_server::{ApiServer, Failure, Fault, Objects};
use serde_json::json;

use built::{
    BROKER, OPERATOR, config_map, daemon_set, deployment, eks, kind, kubeadm_with_submariner, nodes, ovn_kubernetes,
    pod,
};

async fn read(server: &ApiServer) -> ClusterFacts {
    read_as(server, ReadOptions::default()).await
}

async fn read_secrets(server: &ApiServer) -> ClusterFacts {
    let options = ReadOptions {
        read_secrets: true,
        ..ReadOptions::default()
    };
    read_as(server, options).await
}

async fn read_as(server: &ApiServer, options: ReadOptions) -> ClusterFacts {
    let mut config = kube::Config::new(server.url().parse().unwrap());
    configure(&mut config, options.timeout);
    read_cluster(connect(config).unwrap(), "east", options).await
}

async fn read_with(objects: Objects, faults: &[Fault]) -> ClusterFacts {
    let server = ApiServer::start(objects);
    for fault in faults {
        server.inject(fault.clone());
    }
    read(&server).await
}

/// The reason and detail of what is not known.
fn why<T>(fact: &Fact<T>) -> (Reason, String) {
    let unknown = fact.why().expect("the fact is not known");
    (unknown.reason, unknown.detail.clone())
}

fn text<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// The plugins found, with whether they run.
fn plugins(facts: &ClusterFacts) -> Vec<(PluginKind, bool)> {
    let plugins = facts.cni.plugins.get().unwrap();
    plugins.iter().map(|plugin| (plugin.kind, plugin.running)).collect()
}

mod plugin {
    use super::*;

    #[tokio::test]
    async fn calico_is_read_with_its_pools() {
        let facts = read_with(kubeadm_with_submariner(), &[]).await;
        assert_eq!(plugins(&facts), [(PluginKind::Calico, true)]);
        let pools = facts.cni.calico_pools.get().unwrap();
        assert_eq!(pools[0].vxlan_mode, "Always");
        assert_eq!((pools[1].disabled, pools[1].labels.len()), (true, 1));
        assert!(facts.cni.flannel.is_not_installed() && facts.cni.ovn.is_not_installed());
        assert!(facts.cni.env_ranges.get().unwrap().is_empty());
    }

    #[tokio::test]
    async fn calico_without_its_stored_objects_is_asked_by_its_own_api() {
        let pool = json!({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "p"}, "spec": {"cidr": "10.244.0.0/16"}});
        let facts = read_with(nodes(1, "v1.35.0").with(pool), &[]).await;
        assert_eq!(facts.cni.calico_pools.get().unwrap()[0].name, "p");
    }

    #[tokio::test]
    async fn flannel_is_found_in_its_own_namespace_by_what_it_mounts() {
        let objects = nodes(2, "v1.33.1")
            .with(daemon_set("kube-flannel", "kube-flannel-ds", "kube-flannel", "ghcr.io/flannel-io/flannel:v0.27.4"))
            .edit("/apis/apps/v1/namespaces/kube-flannel/daemonsets/kube-flannel-ds", |object| {
                object["spec"]["template"]["spec"]["volumes"] =
                    json!([{"name": "run", "hostPath": {"path": "/run"}}, {"name": "flannel-cfg", "configMap": {"name": "renamed"}}]);
            })
            .with(config_map(
                "kube-flannel",
                "renamed",
                json!({"net-conf.json": "{\"Network\": \"10.244.0.0/16\", \"Backend\": {\"Type\": \"vxlan\"}}"}),
            ));
        let facts = read_with(objects.clone(), &[]).await;
        assert_eq!(plugins(&facts), [(PluginKind::Flannel, true)]);
        let flannel = facts.cni.flannel.known_value().unwrap();
        assert_eq!(text(&flannel.value.networks), ["10.244.0.0/16"]);
        assert_eq!(flannel.source.object, "ConfigMap kube-flannel/renamed");

        let refused = Failure::Forbidden.at("/api/v1/namespaces/kube-flannel/configmaps");
        let (reason, detail) = why(&read_with(objects, &[refused]).await.cni.flannel);
        assert_eq!(reason, Reason::Forbidden);
        assert!(
            detail.starts_with("list configmaps in kube-flannel: forbidden"),
            "{detail}"
        );
    }

    #[tokio::test]
    async fn flannel_inside_k3s_has_marks_on_nodes_and_no_configuration() {
        let objects = nodes(2, "v1.33.1+k3s1")
            .edit("/api/v1/nodes/n2", |node| {
                node["metadata"]["annotations"] = json!({"flannel.alpha.coreos.com/backend-type": "vxlan",
                    "k3s.io/node-args": "[\"server\",\"--cluster-cidr\",\"10.42.0.0/16\"]"});
            })
            .with(deployment(
                "kube-system",
                "coredns",
                "coredns",
                "rancher/mirrored-coredns-coredns:1.12.1",
            ))
            .with(config_map("kube-system", "coredns", json!({"Corefile": ".:53 {\n}\n"})))
            .edit("/api/v1/namespaces/kube-system/configmaps/coredns", |map| {
                map["metadata"]["annotations"] = json!({"objectset.rio.cattle.io/owner-name": "coredns"});
            });
        let facts = read_with(objects, &[]).await;
        assert_eq!(plugins(&facts), [(PluginKind::Flannel, true)]);
        assert_eq!(facts.cni.plugins.get().unwrap()[0].source.object, "Node n2");
        assert!(facts.cni.flannel.is_not_installed());
        assert_eq!(
            facts.dns.get().unwrap().managed_by,
            ["objectset.rio.cattle.io/owner-name=coredns"]
        );
        assert_eq!(facts.dns.get().unwrap().coredns_version, "1.12.1");
        assert_eq!(why(&facts.kube_proxy).0, Reason::NotFound);
    }

    #[tokio::test]
    async fn kindnet_tells_its_range_by_a_variable() {
        let facts = read_with(kind(), &[]).await;
        assert_eq!(plugins(&facts), [(PluginKind::Kindnet, true)]);
        let ranges = facts.cni.env_ranges.get().unwrap();
        assert_eq!(text(&ranges[0].cidrs), ["10.244.0.0/16", "fd00:10:244::/56"]);
        assert!(facts.pods.get().unwrap().addresses.is_empty());
    }

    #[tokio::test]
    async fn ovn_tells_its_ranges_in_its_own_namespace() {
        let facts = read_with(ovn_kubernetes(), &[]).await;
        assert_eq!(plugins(&facts), [(PluginKind::OvnKubernetes, true)]);
        let ovn = facts.cni.ovn.get().unwrap();
        assert_eq!(
            (text(&ovn.pod_cidrs), ovn.namespace.as_str()),
            (vec!["10.128.0.0/14".to_owned()], "ovn-kubernetes")
        );
        assert_eq!(ovn.net_cidr, "10.128.0.0/14/23");
        let without = ovn_kubernetes().remove("/api/v1/namespaces/ovn-kubernetes/configmaps/ovn-config");
        assert_eq!(why(&read_with(without, &[]).await.cni.ovn).0, Reason::NotFound);
    }

    #[tokio::test]
    async fn where_addresses_come_from_the_vpc_each_of_them_is_kept() {
        let facts = read_with(eks(300), &[]).await;
        assert_eq!(plugins(&facts), [(PluginKind::AwsVpc, true)]);
        let pods = facts.pods.get().unwrap();
        assert_eq!(pods.running, 300);
        // 192.168.4.0 to 192.168.5.43, merged.
        assert_eq!(
            text(&pods.addresses),
            ["192.168.4.0/24", "192.168.5.0/27", "192.168.5.32/29", "192.168.5.40/30"]
        );
        assert_eq!(
            facts.dns.get().unwrap().managed_by,
            ["eks.amazonaws.com/component=coredns"]
        );
    }

    #[tokio::test]
    async fn without_daemon_sets_no_plugin_is_known_rather_than_none() {
        let facts = read_with(kind(), &[Failure::Forbidden.of("daemonsets")]).await;
        for (reason, detail) in [
            why(&facts.cni.plugins),
            why(&facts.cni.flannel),
            why(&facts.cni.ovn),
            why(&facts.cni.env_ranges),
            why(&facts.dns),
        ] {
            assert_eq!(reason, Reason::Forbidden);
            assert!(detail.starts_with("list daemonsets.apps: forbidden"), "{detail}");
        }
    }

    #[tokio::test]
    async fn what_calico_left_behind_is_a_trace() {
        let objects = kind().with(config_map(
            "kube-system",
            "calico-config",
            json!({"calico_backend": "vxlan"}),
        ));
        let facts = read_with(objects, &[]).await;
        assert_eq!(
            plugins(&facts),
            [(PluginKind::Calico, false), (PluginKind::Kindnet, true)]
        );
    }
}

mod submariner {
    use super::*;

    #[tokio::test]
    async fn a_member_that_holds_the_broker_is_read_whole() {
        let server = ApiServer::start(kubeadm_with_submariner());
        let facts = read(&server).await;
        let known = facts.submariner.get().unwrap();
        let unknown: Vec<_> = facts
            .inventory()
            .into_iter()
            .filter(|(name, why)| {
                why.is_some_and(|why| why.reason != Reason::NotAsked)
                    && (name.contains("Submariner")
                        || name.contains("lobal")
                        || name.contains("MCS")
                        || name.contains("Service"))
            })
            .collect();
        assert!(unknown.is_empty(), "{unknown:#?}");

        let config = known.config.known_value().unwrap();
        assert_eq!(config.source.object, format!("Submariner {OPERATOR}/submariner"));
        assert_eq!(
            (config.value.cluster_id.as_str(), config.value.network_plugin.as_str()),
            ("east", "calico")
        );
        assert_eq!(config.value.daemon_sets["gateway"], "1 of 1 ready");
        assert_eq!(known.broker.get().unwrap().globalnet_enabled, Some(true));
        assert_eq!(known.broker.get().unwrap().namespace, BROKER);
        let namespaces: Vec<_> = known
            .clusters
            .get()
            .unwrap()
            .iter()
            .map(|cluster| cluster.namespace.as_str())
            .collect();
        assert_eq!(namespaces, [BROKER, BROKER, OPERATOR, OPERATOR]);
        assert_eq!(known.endpoints.get().unwrap()[0].subnets, ["242.0.0.0/16"]);
        let gateway = &known.gateways.get().unwrap()[0];
        assert_eq!(
            (gateway.ha_status.as_str(), gateway.connections[0].status.as_str()),
            ("active", "connected")
        );
        assert_eq!(known.route_agents.get().unwrap()[0].remotes[0].cluster_id, "west");
        assert_eq!(known.cluster_global_egress_ips.get().unwrap()[0].number, Some(8));
        assert_eq!(known.global_ingress_ips.get().unwrap()[0].allocated, "242.0.0.9");
        let ranges = known.globalnet_info.get().unwrap();
        assert_eq!((ranges.enabled, ranges.range.as_str()), (Some(true), "242.0.0.0/8"));
        assert_eq!(ranges.clusters.len(), 2);
        assert_eq!(known.clusterset_ip_info.get().unwrap().range, "243.0.0.0/8");
        assert_eq!(known.gateway_lease_holder.get().unwrap(), "n2-submariner-gateway");
        assert_eq!(known.versions.get().unwrap()["operator"], "0.21.0");
        assert_eq!(
            known.unready_pods.get().unwrap(),
            &["submariner-lighthouse-coredns-x: CrashLoopBackOff"]
        );
        assert_eq!(
            known.service_discovery.get().unwrap().as_ref().unwrap().cluster_id,
            "east"
        );

        let written = serde_json::to_string(&facts).unwrap();
        assert!(!written.contains("hush"), "a secret was kept");
        assert_eq!(why(&known.psk).0, Reason::NotAsked);
        assert!(server.requests_for("secrets").is_empty());
    }

    #[tokio::test]
    async fn its_key_is_the_same_wherever_it_is_kept() {
        let path = format!("/apis/submariner.io/v1alpha1/namespaces/{OPERATOR}/submariners/submariner");
        let of_field = kubeadm_with_submariner().edit(&path, |object| object["spec"]["ceIPSecPSK"] = "hush".into());
        let of_secret = kubeadm_with_submariner().edit(&path, |object| {
            object["spec"]["ceIPSecPSKSecret"] = "submariner-ipsec-psk".into();
        });
        let mut fingerprints = Vec::new();
        for (objects, source) in [
            (of_field, format!("Submariner {OPERATOR}/submariner  spec.ceIPSecPSK")),
            (of_secret, format!("Secret {OPERATOR}/submariner-ipsec-psk  psk")),
        ] {
            let facts = read_secrets(&ApiServer::start(objects)).await;
            let psk = facts.submariner.get().unwrap().psk.known_value().unwrap();
            assert_eq!(psk.source.to_string(), source);
            fingerprints.push(psk.value.fingerprint.clone());
            assert!(
                !serde_json::to_string(&facts).unwrap().contains("hush"),
                "a key was kept"
            );
        }
        assert_eq!(fingerprints[0], fingerprints[1]);
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_read_is_unknown() {
        let path = format!("/apis/submariner.io/v1alpha1/namespaces/{OPERATOR}/submariners/submariner");
        let objects = |secret: &str| {
            kubeadm_with_submariner().edit(&path, |object| object["spec"]["ceIPSecPSKSecret"] = secret.into())
        };
        let psk = async |server: &ApiServer| why(&read_secrets(server).await.submariner.get().unwrap().psk);

        let server = ApiServer::start(objects("submariner-ipsec-psk"));
        server.inject(Failure::Forbidden.of("secrets"));
        let (reason, detail) = psk(&server).await;
        assert_eq!(reason, Reason::Forbidden, "{detail}");

        let (reason, detail) = psk(&ApiServer::start(objects("another"))).await;
        assert_eq!(reason, Reason::NotFound, "{detail}");
    }

    #[tokio::test]
    async fn its_custom_dns_configuration_is_read_where_it_says() {
        let facts = read_with(kubeadm_with_submariner(), &[]).await;
        let corefiles = &facts.dns.get().unwrap().corefiles;
        let sources: Vec<_> = corefiles.iter().map(|corefile| corefile.source.to_string()).collect();
        assert_eq!(
            sources,
            [
                "ConfigMap dns-extra/mesh-zones  lighthouse.server",
                "ConfigMap kube-system/coredns  Corefile",
            ]
        );
    }

    #[tokio::test]
    async fn policies_are_read_where_cluster_dns_and_lighthouse_are() {
        let policy = |namespace: &str, n: usize| {
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": format!("p{n}"), "namespace": namespace},
                "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": []}})
        };
        let objects = (0..5).fold(kubeadm_with_submariner(), |objects, n| {
            objects
                .with(policy("kube-system", n))
                .with(policy(OPERATOR, n))
                .with(policy("shop", n))
        });
        let options = ReadOptions {
            page_size: 2,
            ..ReadOptions::default()
        };
        let server = ApiServer::start(objects);
        let facts = read_as(&server, options).await;
        let dns = facts.dns.get().unwrap();
        let policies = dns.policies.get().unwrap();
        assert_eq!(policies.len(), 10, "{policies:?}");
        assert!(policies.iter().all(|policy| policy.namespace != "shop"));
        assert_eq!(dns.pods[0].labels["k8s-app"], "kube-dns");

        server.inject(Failure::Forbidden.of("networkpolicies"));
        let facts = read(&server).await;
        let (reason, detail) = why(&facts.dns.get().unwrap().policies);
        assert_eq!(reason, Reason::Forbidden);
        assert!(detail.contains("networkpolicies"), "{detail}");
    }

    #[tokio::test]
    async fn a_list_of_policies_that_is_not_found_is_not_known() {
        let server = ApiServer::start(kubeadm_with_submariner());
        server.inject(Failure::PlainNotFound.of("networkpolicies"));
        let facts = read(&server).await;
        assert_eq!(why(&facts.dns.get().unwrap().policies).0, Reason::NotFound);
    }

    #[tokio::test]
    async fn a_namespace_that_is_no_name_is_not_asked_for() {
        let path = format!("/apis/submariner.io/v1alpha1/namespaces/{OPERATOR}/submariners/submariner");
        let objects = kubeadm_with_submariner().edit(&path, |object| {
            object["spec"]["coreDNSCustomConfig"]["namespace"] = "../../secrets?x=".into();
        });
        let server = ApiServer::start(objects);
        let facts = read(&server).await;
        assert_eq!(facts.dns.get().unwrap().corefiles.len(), 1);
        assert!(
            server
                .requests()
                .iter()
                .all(|request| !request.path.contains("secrets"))
        );
    }

    #[tokio::test]
    async fn without_its_apis_it_is_not_installed() {
        let facts = read_with(kind(), &[]).await;
        assert!(facts.submariner.is_not_installed() && facts.mcs.is_not_installed());
    }

    #[tokio::test]
    async fn left_over_definitions_are_no_member() {
        let path = format!("/apis/submariner.io/v1alpha1/namespaces/{OPERATOR}/submariners/submariner");
        let facts = read_with(kubeadm_with_submariner().remove(&path), &[]).await;
        let submariner = facts.submariner.get().unwrap();
        assert!(submariner.config.is_not_installed());
        // Its gateways still tell where it is.
        assert!(submariner.gateway_lease_holder.ok().is_some());
    }

    #[tokio::test]
    async fn a_definition_that_is_missing_is_not_installed() {
        let objects = kubeadm_with_submariner().remove("/apis/submariner.io/v1/globalingressips");
        let facts = read_with(objects, &[]).await;
        let submariner = facts.submariner.get().unwrap();
        assert!(submariner.global_ingress_ips.is_not_installed());
        assert!(submariner.cluster_global_egress_ips.ok().is_some());
    }

    #[tokio::test]
    async fn each_refusal_costs_its_own_facts_and_names_verb_and_resource() {
        let faults = [
            Failure::Forbidden.of("submariners"),
            Failure::Forbidden.of("routeagents"),
            Failure::Forbidden.of("leases"),
            Failure::Forbidden.of("serviceimports"),
            Failure::Forbidden.of("customresourcedefinitions"),
            Failure::Forbidden.of("ippools"),
            Failure::Forbidden.at(&format!("/api/v1/namespaces/{BROKER}/configmaps")),
            Failure::Forbidden.at(&format!("/api/v1/namespaces/{OPERATOR}/pods")),
        ];
        let facts = read_with(kubeadm_with_submariner(), &faults).await;
        let submariner = facts.submariner.get().unwrap();
        let mcs = facts.mcs.get().unwrap();
        for ((reason, detail), request) in [
            (why(&submariner.config), "list submariners.submariner.io"),
            (why(&submariner.route_agents), "list routeagents.submariner.io"),
            (
                why(&submariner.gateway_lease_holder),
                "get leases.coordination.k8s.io/submariner-gateway-lock in",
            ),
            (
                why(&submariner.globalnet_info),
                "list configmaps in submariner-k8s-broker",
            ),
            (
                why(&submariner.clusterset_ip_info),
                "list configmaps in submariner-k8s-broker",
            ),
            (why(&submariner.unready_pods), "list pods in submariner-operator"),
            (why(&mcs.imports), "list serviceimports.multicluster.x-k8s.io"),
            (why(&mcs.crds), "get customresourcedefinitions.apiextensions.k8s.io/"),
            (why(&facts.cni.calico_pools), "list ippools.crd.projectcalico.org"),
        ] {
            assert_eq!(reason, Reason::Forbidden, "{request}");
            assert!(detail.starts_with(request) && detail.contains("forbidden"), "{detail}");
        }
        assert!(submariner.gateways.ok().is_some() && submariner.versions.ok().is_some());
        assert!(mcs.exports.ok().is_some() && facts.dns.ok().is_some());
    }

    #[tokio::test]
    async fn a_resource_that_discovery_lists_and_the_server_does_not_find_is_not_found() {
        let fault = Failure::PlainNotFound.at("/apis/submariner.io/v1/gateways");
        let facts = read_with(kubeadm_with_submariner(), &[fault]).await;
        assert_eq!(why(&facts.submariner.get().unwrap().gateways).0, Reason::NotFound);
    }

    #[tokio::test]
    async fn objects_of_a_wrong_shape_are_unparsable_and_nothing_else_is() {
        for (path, field) in [
            (
                "/apis/submariner.io/v1/namespaces/submariner-operator/gateways/n2",
                "status",
            ),
            (
                "/apis/submariner.io/v1/namespaces/submariner-operator/endpoints/east",
                "spec",
            ),
            ("/apis/submariner.io/v1/namespaces/shop/globalingressips/web", "spec"),
            (
                "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/shop/serviceimports/web",
                "spec",
            ),
            ("/apis/crd.projectcalico.org/v1/ippools/default-ipv4-ippool", "spec"),
            (
                "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-west",
                "endpoints",
            ),
        ] {
            let objects = kubeadm_with_submariner().edit(path, |object| object[field] = json!("\u{1b}[31mhush"));
            let facts = read_with(objects, &[]).await;
            let unknown: Vec<_> = facts
                .inventory()
                .into_iter()
                .filter_map(|(name, why)| Some((name, why?)))
                .filter(|(_, why)| why.reason == Reason::Unparsable)
                .collect();
            assert_eq!(unknown.len(), 1, "{path}: {unknown:#?}");
            assert!(!unknown[0].1.detail.contains("hush"), "{unknown:?}");
        }
    }
}

mod services {
    use super::*;

    #[tokio::test]
    async fn exports_imports_and_what_came_of_them() {
        let server = ApiServer::start(kubeadm_with_submariner());
        let facts = read(&server).await;
        let mcs = facts.mcs.get().unwrap();
        assert_eq!(mcs.served_versions, ["v1alpha1"]);
        assert_eq!(mcs.exports.get().unwrap()[0].conditions[0].kind, "Valid");
        assert_eq!(mcs.imports.get().unwrap()[0].clusters, ["west"]);
        assert_eq!(mcs.crds.get().unwrap()["serviceexports"].stored_versions, ["v1alpha1"]);
        // Of all EndpointSlices only those from other clusters are asked for.
        let slices = mcs.endpoint_slices.get().unwrap();
        assert_eq!((slices.len(), slices[0].source_cluster.as_str()), (1, "west"));
        let asked = server.requests_for("endpointslices");
        assert_eq!(
            asked[0].query("labelSelector"),
            Some("multicluster.kubernetes.io/source-cluster")
        );
    }

    #[tokio::test]
    async fn a_corefile_that_serves_the_clusterset_itself_needs_a_right() {
        let corefile =
            json!({"Corefile": ".:53 {\n    multicluster clusterset.local\n    kubernetes cluster.local\n}\n"});
        let rules = |resource: &str| {
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:coredns"},
                   "rules": [{"apiGroups": ["multicluster.x-k8s.io"], "resources": [resource], "verbs": ["list", "watch"]}]})
        };
        let with = |resource: &str| {
            nodes(1, "v1.33.1")
                .with(config_map("kube-system", "coredns", corefile.clone()))
                .with(rules(resource))
        };
        let reads = |facts: &ClusterFacts| facts.dns.get().unwrap().coredns_reads_service_imports;
        assert_eq!(reads(&read_with(with("serviceimports"), &[]).await), Some(true));
        assert_eq!(reads(&read_with(with("endpointslices"), &[]).await), Some(false));
        let refused = [Failure::Forbidden.of("clusterroles")];
        assert_eq!(reads(&read_with(with("serviceimports"), &refused).await), None);
        let server = ApiServer::start(kind());
        read(&server).await;
        assert!(server.requests_for("clusterroles").is_empty());
    }

    #[tokio::test]
    async fn openshift_tells_its_dns_by_its_operator() {
        let objects = nodes(1, "v1.33.1")
            .with(daemon_set("openshift-dns", "dns-default", "dns", "quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:00"))
            .with(config_map("openshift-dns", "dns-default", json!({"Corefile": ".:5353 {\n}\n"})))
            .with(json!({"apiVersion": "operator.openshift.io/v1", "kind": "DNS", "metadata": {"name": "default"},
                "spec": {"servers": [{"name": "lighthouse", "zones": ["clusterset.local"], "forwardPlugin": {"upstreams": ["172.30.5.7"]}}]}}));
        let facts = read_with(objects.clone(), &[]).await;
        let dns = facts.dns.get().unwrap();
        assert_eq!(dns.openshift_servers["lighthouse"].zones, ["clusterset.local"]);
        assert_eq!(dns.corefiles[0].source.object, "ConfigMap openshift-dns/dns-default");
        assert_eq!(
            why(&read_with(objects, &[Failure::Forbidden.of("dnses")]).await.dns).0,
            Reason::Forbidden
        );
    }

    #[tokio::test]
    async fn dns_is_not_known_where_config_maps_may_not_be_read() {
        let facts = read_with(
            kind(),
            &[Failure::Forbidden.at("/api/v1/namespaces/kube-system/configmaps")],
        )
        .await;
        let (reason, detail) = why(&facts.dns);
        assert_eq!(reason, Reason::Forbidden);
        assert!(detail.starts_with("list configmaps in kube-system"), "{detail}");
    }

    #[tokio::test]
    async fn a_pod_is_counted_once_however_many_sources_ask_for_it() {
        let facts = read_with(kubeadm_with_submariner().with(pod("shop", "web", "10.244.1.9")), &[]).await;
        assert_eq!(facts.pods.get().unwrap().running, 3);
    }
}
