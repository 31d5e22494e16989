//! What reading a cluster's API gives, over real HTTP: recorded clusters, pages, refusals and faults.

#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

#[path = "cluster_reading/secrets.rs"]
mod secrets;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prejoin_agent::cluster::{ReadOptions, configure, connect, read_cluster};
use prejoin_checks::facts::cni::PluginKind;
use prejoin_checks::facts::provenance::{Fact, Reason};
use prejoin_checks::facts::{ClusterFacts, Read};
use prejoin_tests::api_server::{ApiServer, Failure, Objects, Scope};
use serde_json::{Value, json};

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";

fn options() -> ReadOptions {
    ReadOptions::default()
}

/// For servers that hang: short, so that the test is, but not so short that a busy machine looks like one.
fn impatient() -> ReadOptions {
    ReadOptions {
        timeout: Duration::from_secs(6),
        ..ReadOptions::default()
    }
}

async fn read_with(server: &ApiServer, options: ReadOptions) -> ClusterFacts {
    let mut config = kube::Config::new(server.url().parse().unwrap());
    configure(&mut config, options.timeout);
    read_cluster(connect(config).unwrap(), "east", options).await
}

async fn read(server: &ApiServer) -> ClusterFacts {
    read_with(server, options()).await
}

fn east() -> ApiServer {
    ApiServer::start(Objects::cluster("good/east"))
}

/// The reason and detail of what is not known.
fn why<T>(fact: &Fact<T>) -> (Reason, String) {
    let unknown = fact.why().expect("the fact is not known");
    (unknown.reason, unknown.detail.clone())
}

fn read_of<'a>(facts: &'a ClusterFacts, request: &str) -> &'a Read {
    facts.reads.iter().find(|read| read.request == request).unwrap()
}

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDRs": ["10.0.0.0/24"]}})
}

fn nodes(count: usize) -> Objects {
    (0..count).fold(Objects::new(), |objects, n| objects.with(node(&format!("n{n:03}"))))
}

mod recorded {
    use super::*;

    #[tokio::test]
    async fn every_source_of_a_cluster_is_read() {
        let facts = read(&east()).await;
        assert_eq!(facts.kubernetes_version.get().unwrap(), "v1.36.3");
        assert_eq!(facts.serves("cilium.io/v2"), Ok(true));
        let nodes = facts.nodes.get().unwrap();
        assert_eq!(
            nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(),
            ["c1n1", "c1n2"]
        );
        assert_eq!(facts.namespaces.get().unwrap().len(), 5);
        assert!(!facts.uid.get().unwrap().is_empty());
        assert_eq!(facts.service_cidrs.get().unwrap()[0].to_string(), "10.97.0.0/16");
        assert_eq!(facts.services.get().unwrap().len(), 7);
        assert_eq!(facts.workloads.get().unwrap().len(), 5);
        let pods = facts.pods.get().unwrap();
        assert_eq!((pods.running, pods.host_network, pods.pods.len()), (11, 5, 2));
        assert!(pods.addresses.is_empty(), "Cilium hands out blocks here");
        assert!(facts.load_balancer_pools.get().unwrap().is_empty());
        let plugin = &facts.cni.plugins.get().unwrap()[0];
        assert_eq!(
            (plugin.kind, plugin.version.as_str(), plugin.running),
            (PluginKind::Cilium, "1.20.0", true)
        );
        let failed: Vec<_> = facts.reads.iter().filter(|read| read.failure.is_some()).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[tokio::test]
    async fn cilium_is_read_whole() {
        let facts = read(&east()).await;
        let cilium = facts.cilium.get().unwrap();
        assert_eq!(cilium.namespace, "kube-system");
        let versions = cilium.versions.get().unwrap();
        assert_eq!(
            versions.keys().collect::<Vec<_>>(),
            ["agent", "clustermesh-apiserver", "operator"]
        );
        assert_eq!(cilium.agent_pods.get().unwrap()["1.20.0"], 2);
        assert_eq!(cilium.config.get().unwrap()["cluster-id"], "1");
        assert_eq!(cilium.nodes.get().unwrap()[0].pod_cidrs[0].to_string(), "10.10.0.0/24");
        let identities = cilium.identities.get().unwrap();
        assert_eq!(identities.len(), 1);
        assert_eq!(
            (identities[0].cluster_label.as_deref(), identities[0].in_use),
            (Some("east"), Some(1))
        );
        let endpoints = cilium.endpoints.get().unwrap();
        assert_eq!((endpoints.count, endpoints.without_pod.len()), (3, 0));
        assert!(cilium.mesh.host_aliases.get().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_does_not_apply_says_why() {
        let facts = read(&east()).await;
        let cilium = facts.cilium.get().unwrap();
        assert_eq!(why(&cilium.policies).0, Reason::NotInstalled);
        assert_eq!(why(&cilium.pod_ip_pools).0, Reason::NotInstalled);
        assert_eq!(why(&cilium.secrets).0, Reason::NotAsked);
        assert_eq!(why(&cilium.ip_masq_agent).0, Reason::NotFound);
        assert_eq!(why(&facts.control_plane.openshift_network).0, Reason::NotInstalled);
        assert_eq!(why(&facts.control_plane.api_server_flags).0, Reason::NotFound);
        assert_eq!(why(&facts.kube_proxy).0, Reason::NotFound);
    }

    #[tokio::test]
    async fn what_was_broken_is_seen() {
        let facts = read(&ApiServer::start(Objects::cluster("broken/west"))).await;
        let cilium = facts.cilium.get().unwrap();
        let config = cilium.config.get().unwrap();
        assert_eq!(config["tunnel-protocol"], "geneve");
        assert_eq!(config["cluster-pool-ipv4-cidr"], "10.0.0.0/8");
        assert!(
            cilium
                .nodes
                .get()
                .unwrap()
                .iter()
                .all(|node| !node.wireguard_public_key.is_empty())
        );
    }

    #[tokio::test]
    async fn two_readings_differ_in_nothing_but_their_time() {
        let server = ApiServer::start(Objects::cluster("good/west"));
        let (mut first, mut second) = (read(&server).await, read(&server).await);
        (first.collected_at, second.collected_at) = (None, None);
        assert_eq!(first, second);
    }

    #[tokio::test]
    async fn nothing_is_asked_for_but_by_get() {
        let server = east();
        read(&server).await;
        assert!(server.requests().iter().all(|request| request.method == "GET"));
    }
}

mod paging {
    use super::*;

    #[tokio::test]
    async fn a_list_is_read_page_by_page() {
        let server = ApiServer::start(nodes(25));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let progress = Arc::clone(&seen);
        let options = ReadOptions {
            page_size: 10,
            progress: Some(Arc::new(move |step| {
                if step.request == "list nodes" {
                    progress.lock().unwrap().push((step.objects, step.done));
                }
            })),
            ..options()
        };
        let facts = read_with(&server, options).await;
        assert_eq!(facts.nodes.get().unwrap().len(), 25);
        let asked = server.requests_for("nodes");
        assert_eq!(asked.len(), 3);
        assert!(asked.iter().all(|request| request.query("limit") == Some("10")));
        assert_eq!(*seen.lock().unwrap(), [(10, false), (20, false), (25, true)]);
    }

    #[tokio::test]
    async fn a_list_that_expires_is_begun_anew_once_and_counts_nothing_twice() {
        let server = ApiServer::start(nodes(25));
        server.inject(Failure::Gone.at(NODES).on_page(3).times(1));
        let options = || ReadOptions {
            page_size: 10,
            ..options()
        };
        let facts = read_with(&server, options()).await;
        assert_eq!(facts.nodes.get().unwrap().len(), 25);
        assert_eq!(read_of(&facts, "list nodes").objects, Some(25));

        server.inject(Failure::Gone.at(NODES).on_page(3));
        let facts = read_with(&server, options()).await;
        let (reason, detail) = why(&facts.nodes);
        assert_eq!(
            (reason, detail.contains("expired twice")),
            (Reason::ServerError, true),
            "{detail}"
        );
    }

    #[tokio::test]
    async fn half_a_list_is_not_taken_for_the_whole() {
        let server = ApiServer::start(nodes(25));
        server.inject(Failure::Forbidden.at(NODES).on_page(2));
        let options = ReadOptions {
            page_size: 10,
            ..options()
        };
        let facts = read_with(&server, options).await;
        let (reason, detail) = why(&facts.nodes);
        assert_eq!(
            (reason, detail.contains("after 10 objects")),
            (Reason::Forbidden, true),
            "{detail}"
        );
    }
}

mod refusals {
    use super::*;

    #[tokio::test]
    async fn a_refused_list_is_forbidden_and_the_rest_is_read() {
        let server = east();
        server.inject(Failure::Forbidden.at(NODES));
        let facts = read(&server).await;
        let (reason, detail) = why(&facts.nodes);
        assert_eq!(reason, Reason::Forbidden);
        assert!(detail.starts_with("list nodes: forbidden for user "), "{detail}");
        assert_eq!(read_of(&facts, "list nodes").failure.as_ref(), facts.nodes.why());
        assert!(facts.services.ok().is_some());
        assert!(facts.cilium.get().unwrap().nodes.ok().is_some());
    }

    #[tokio::test]
    async fn who_may_read_nothing_learns_nothing_but_why() {
        let server = east();
        server.inject(Failure::Forbidden.everywhere());
        let facts = read(&server).await;
        let known: Vec<_> = facts.inventory().into_iter().filter(|(_, why)| why.is_none()).collect();
        assert!(known.is_empty(), "{known:?}");
        assert_eq!(why(&facts.cilium).0, Reason::Forbidden);
        let refused = facts.reads.iter().filter_map(|read| read.failure.as_ref());
        assert!(refused.clone().count() > 10);
        assert!(refused.clone().all(|unknown| unknown.reason == Reason::Forbidden));
    }

    #[tokio::test]
    async fn without_pods_neither_flags_nor_endpoints_are_known() {
        let server = east();
        server.inject(Failure::Forbidden.at(PODS));
        let facts = read(&server).await;
        assert_eq!(why(&facts.pods).0, Reason::Forbidden);
        assert_eq!(why(&facts.control_plane.api_server_flags).0, Reason::Forbidden);
        let cilium = facts.cilium.get().unwrap();
        assert_eq!(why(&cilium.endpoints).0, Reason::Forbidden);
        assert_eq!(why(&cilium.agent_pods).0, Reason::Forbidden);
        assert!(cilium.identities.ok().is_some());
    }

    #[tokio::test]
    async fn the_identity_is_known_by_its_own_namespace_where_the_list_is_refused() {
        let server = east();
        server.inject(Failure::Forbidden.at("/api/v1/namespaces"));
        let facts = read(&server).await;
        assert_eq!(why(&facts.namespaces).0, Reason::Forbidden);
        assert!(!facts.uid.get().unwrap().is_empty());
    }

    #[tokio::test]
    async fn where_daemon_sets_are_refused_the_configuration_gives_cilium_away() {
        let server = east();
        server.inject(Failure::Forbidden.of("daemonsets"));
        let facts = read(&server).await;
        assert_eq!(why(&facts.workloads).0, Reason::Forbidden);
        assert_eq!(why(&facts.cni.plugins).0, Reason::Forbidden);
        let cilium = facts.cilium.get().unwrap();
        assert_eq!(cilium.config.get().unwrap()["cluster-name"], "east");
        // The operator is of the same release.
        assert_eq!(cilium.versions.get().unwrap()["agent"], "1.20.0");

        server.inject(Failure::Forbidden.of("configmaps"));
        let facts = read(&server).await;
        assert_eq!(why(&facts.cilium).0, Reason::Forbidden, "not `not installed`");
    }

    #[tokio::test]
    async fn where_discovery_is_refused_the_resources_themselves_are_asked() {
        let server = east();
        server.inject(Failure::Forbidden.at("/apis"));
        server.inject(Failure::Forbidden.at("/apis/cilium.io/v2"));
        let facts = read(&server).await;
        assert_eq!(why(&facts.served_apis).0, Reason::Forbidden);
        assert!(facts.cilium.get().unwrap().nodes.ok().is_some());
        assert!(facts.service_cidrs.ok().is_some());
    }

    #[tokio::test]
    async fn an_expired_token_is_one_line_for_the_whole_cluster() {
        let server = east();
        server.inject(Failure::Unauthorized.everywhere());
        let facts = read(&server).await;
        for (name, why) in facts.inventory() {
            let Some(unknown) = why else { continue };
            if name.starts_with("API server") || name.starts_with("kubeconfig") {
                continue;
            }
            assert_eq!(unknown.reason, Reason::Unreachable, "{name}");
            assert!(
                unknown.detail.ends_with("unauthorized: token expired or not accepted"),
                "{unknown}"
            );
        }
        assert!(facts.inventory().iter().all(|(_, why)| why.is_some()));
        assert_eq!(server.requests().len(), 2, "nothing more is asked");
    }
}

mod faults {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable_at_once() {
        let url = east().url();
        let mut config = kube::Config::new(url.parse().unwrap());
        configure(&mut config, options().timeout);
        let facts = read_cluster(connect(config).unwrap(), "gone", options()).await;
        let (reason, detail) = why(&facts.nodes);
        assert_eq!(reason, Reason::Unreachable);
        assert!(detail.contains("onnection refused"), "{detail}");
    }

    #[tokio::test]
    async fn a_server_that_hangs_costs_no_more_than_the_timeout() {
        let server = east();
        server.inject(Failure::Hang.everywhere());
        let started = tokio::time::Instant::now();
        let facts = read_with(&server, impatient()).await;
        assert!(started.elapsed() < impatient().timeout);
        let (reason, detail) = why(&facts.nodes);
        assert_eq!(reason, Reason::Unreachable);
        assert!(detail.ends_with("no answer within 2 s"), "{detail}");
    }

    #[tokio::test]
    async fn one_list_that_hangs_does_not_cost_the_others() {
        for failure in [Failure::Hang, Failure::HangMidBody] {
            let server = east();
            server.inject(failure.at(NODES));
            let facts = read_with(&server, impatient()).await;
            assert_eq!(
                why(&facts.nodes),
                (Reason::Unreachable, "list nodes: no answer within 2 s".to_owned())
            );
            assert!(facts.cilium.get().unwrap().nodes.ok().is_some());
            assert!(facts.services.ok().is_some());
        }
    }

    #[tokio::test]
    async fn what_passes_is_asked_again() {
        let passing = [
            Failure::InternalError,
            Failure::Unavailable,
            Failure::Reset,
            Failure::ResetMidBody,
            Failure::TooManyRequests { retry_after_seconds: 0 },
        ];
        for failure in passing {
            let server = east();
            server.inject(failure.at(NODES).times(2));
            let facts = read(&server).await;
            assert_eq!(facts.nodes.get().unwrap().len(), 2, "{failure:?}");
            assert_eq!(server.requests_for("nodes").len(), 3, "{failure:?}");
        }
    }

    #[tokio::test]
    async fn what_does_not_pass_is_given_up_with_its_reason() {
        let lasting = [
            (Failure::InternalError, Reason::ServerError),
            (Failure::Unavailable, Reason::ServerError),
            (Failure::Reset, Reason::Unreachable),
            (Failure::ResetMidBody, Reason::Unreachable),
            (Failure::TooManyRequests { retry_after_seconds: 0 }, Reason::ServerError),
            (
                Failure::TooManyRequests {
                    retry_after_seconds: 3600,
                },
                Reason::ServerError,
            ),
            (Failure::Html { code: 200 }, Reason::Unparsable),
            (Failure::Html { code: 502 }, Reason::ServerError),
            (Failure::TruncatedJson, Reason::Unparsable),
            (Failure::WrongShape, Reason::Unparsable),
            (Failure::EndlessBody, Reason::Unparsable),
            (Failure::PlainNotFound, Reason::NotFound),
        ];
        let read_all = lasting.map(|(failure, expected)| async move {
            let server = east();
            server.inject(failure.at(NODES));
            // Time enough for the longest body.
            let options = ReadOptions {
                timeout: Duration::from_secs(60),
                ..options()
            };
            let facts = read_with(&server, options).await;
            let (reason, detail) = why(&facts.nodes);
            assert_eq!(reason, expected, "{failure:?}: {detail}");
            assert!(detail.starts_with("list nodes: "), "{failure:?}: {detail}");
            assert!(server.requests_for("nodes").len() <= 3, "{failure:?}");
            assert!(facts.services.ok().is_some(), "{failure:?}");
        });
        futures::future::join_all(read_all).await;
    }

    #[tokio::test]
    async fn one_object_of_a_wrong_shape_makes_the_list_unparsable_and_is_named() {
        let odd =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "odd"}, "spec": {"podCIDRs": [7e99]}});
        let facts = read(&ApiServer::start(nodes(2).with(odd))).await;
        let (reason, detail) = why(&facts.nodes);
        assert_eq!(reason, Reason::Unparsable);
        assert!(detail.contains("1 of 3 objects cannot be understood: odd:"), "{detail}");
        assert_eq!(read_of(&facts, "list nodes").objects, Some(3));
    }

    #[tokio::test]
    async fn a_proxy_that_answers_everything_with_its_login_page_gives_no_facts() {
        let server = east();
        server.inject(Failure::Html { code: 200 }.everywhere());
        let facts = read(&server).await;
        let (reason, detail) = why(&facts.kubernetes_version);
        assert_eq!(
            (reason, detail.contains("web page")),
            (Reason::Unparsable, true),
            "{detail}"
        );
        let known: Vec<_> = facts.inventory().into_iter().filter(|(_, why)| why.is_none()).collect();
        assert!(known.is_empty(), "{known:?}");
    }
}

mod cilium {
    use super::*;

    const DAEMON_SET: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/cilium";

    #[tokio::test]
    async fn it_is_found_under_another_name_in_another_namespace() {
        let objects = Objects::new()
            .with(json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "anetd", "namespace": "net"},
                "spec": {"template": {"spec": {"containers": [{"name": "cilium-agent", "image": "example.com/cilium@sha256:00"}]}}},
                "status": {"desiredNumberScheduled": 1}}))
            .with(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "cilium-operator", "namespace": "net"},
                "spec": {"template": {"spec": {"containers": [{"name": "operator", "image": "example.com/operator-generic:v1.17.4"}]}}}}))
            .with(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cilium-config", "namespace": "net"},
                "data": {"ipam": "multi-pool", "cluster-name": "gke"}}))
            .with(json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumPodIPPool", "metadata": {"name": "default"},
                "spec": {"ipv4": {"cidrs": ["10.64.0.0/16"], "maskSize": 27}}}));
        let facts = read(&ApiServer::start(objects)).await;
        let cilium = facts.cilium.get().unwrap();
        assert_eq!(
            (
                cilium.namespace.as_str(),
                cilium.config.get().unwrap()["cluster-name"].as_str()
            ),
            ("net", "gke")
        );
        assert_eq!(cilium.versions.get().unwrap()["agent"], "1.17.4");
        assert_eq!(
            cilium.pod_ip_pools.get().unwrap()[0].cidrs[0].to_string(),
            "10.64.0.0/16"
        );
        assert_eq!(why(&cilium.nodes).0, Reason::NotInstalled, "its CRD is not served");
    }

    #[tokio::test]
    async fn resource_types_without_an_agent_are_a_left_over() {
        let facts = read(&ApiServer::start(Objects::cluster("good/east").remove(DAEMON_SET))).await;
        assert_eq!(why(&facts.cilium).0, Reason::NotInstalled);
        let plugin = &facts.cni.plugins.get().unwrap()[0];
        assert_eq!((plugin.kind, plugin.running), (PluginKind::Cilium, false));
    }

    #[tokio::test]
    async fn without_any_trace_it_is_not_installed() {
        let facts = read(&ApiServer::start(nodes(1))).await;
        assert_eq!(why(&facts.cilium).0, Reason::NotInstalled);
        assert!(facts.cni.plugins.get().unwrap().is_empty());
        assert!(facts.load_balancer_pools.get().unwrap().is_empty());
    }

    #[tokio::test]
    async fn policies_are_asked_for_only_where_they_can_matter() {
        let recorded = || Objects::cluster("good/east");
        let server = ApiServer::start(recorded());
        read(&server).await;
        assert!(server.requests_for("ciliumnetworkpolicies").is_empty());

        let on = recorded().edit("/api/v1/namespaces/kube-system/configmaps/cilium-config", |map| {
            map["data"]["mesh-auth-mutual-enabled"] = "true".into();
        });
        // Served, says discovery, but the recording has no such list.
        let facts = read(&ApiServer::start(on.clone())).await;
        assert_eq!(why(&facts.cilium.get().unwrap().policies).0, Reason::NotFound);

        let with_policies = on
            .with(json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "p", "namespace": "default"},
                "spec": {"ingress": [{"authentication": {"mode": "required"}}]}}))
            .kind("cilium.io/v2", "CiliumClusterwideNetworkPolicy", Scope::Cluster);
        let facts = read(&ApiServer::start(with_policies)).await;
        let policies = facts.cilium.get().unwrap().policies.get().unwrap().clone();
        assert_eq!(
            (policies.count, policies.requiring_authentication),
            (1, vec!["default/p".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_node_config_tells_which_nodes_it_overrides() {
        let objects = Objects::cluster("good/east")
            .edit("/api/v1/nodes/c1n2", |node| node["metadata"]["labels"]["io.example/secure"] = "yes".into())
            .with(json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNodeConfig", "metadata": {"name": "wg", "namespace": "kube-system"},
                "spec": {"defaults": {"enable-wireguard": "true"}, "nodeSelector": {"matchLabels": {"io.example/secure": "yes"}}}}));
        let facts = read(&ApiServer::start(objects)).await;
        let configs = facts.cilium.get().unwrap().node_configs.get().unwrap();
        assert_eq!(configs[0].nodes, ["c1n2"]);
        assert_eq!(facts.nodes.get().unwrap()[1].labels["io.example/secure"], "yes");
    }

    #[tokio::test]
    async fn endpoints_are_read_from_slices_where_those_are_on() {
        let objects = Objects::cluster("good/east")
            .edit("/api/v1/namespaces/kube-system/configmaps/cilium-config", |map| {
                map["data"]["enable-cilium-endpoint-slice"] = "true".into();
            })
            .with(json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumEndpointSlice", "metadata": {"name": "ces-1"}, "namespace": "default",
                "endpoints": [{"name": "gone", "id": 75543, "networking": {"addressing": [{"ipv4": "10.10.9.9"}]}}]}));
        let facts = read(&ApiServer::start(objects)).await;
        let cilium = facts.cilium.get().unwrap();
        let endpoints = cilium.endpoints.get().unwrap();
        assert_eq!(
            (endpoints.count, endpoints.without_pod[0].example.as_str()),
            (1, "default/gone")
        );
        assert_eq!(cilium.identities.get().unwrap()[0].example_endpoint, "default/gone");
    }

    #[tokio::test]
    async fn where_addresses_are_the_range_each_is_kept() {
        let objects =
            Objects::cluster("good/east").edit("/api/v1/namespaces/kube-system/configmaps/cilium-config", |map| {
                map["data"]["ipam"] = "eni".into();
            });
        let facts = read(&ApiServer::start(objects)).await;
        assert!(!facts.pods.get().unwrap().addresses.is_empty());
    }
}
