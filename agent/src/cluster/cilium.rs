//! Cilium, wherever it runs: configuration, nodes, pools, identities, endpoints and the mesh's own objects.

mod endpoints;
mod identities;
mod mesh;
mod node_configs;
mod nodes;
mod policies;
mod pools;
mod secrets;

use std::collections::BTreeMap;

use prejoin_checks::facts::cilium::{Cilium, IpMasqAgent};
use prejoin_checks::facts::cni::{Plugin, PluginKind};
use prejoin_checks::facts::kubernetes::Workload;
use prejoin_checks::facts::node::Node;
use prejoin_checks::facts::provenance::{Fact, Known, Reason, Source, Unknown};
use serde::Deserialize;

use super::config_map::{ConfigMap, ConfigMaps};
use super::object::pick_by;
use super::plugins::is_cilium_agent;
use super::pods::Pods;
use super::reader::Reader;
use super::workloads::{Found, Workloads, image_version, is_secret_name};
pub(crate) use node_configs::{NodeConfigs, selector_keys};

/// Everything about Cilium that does not depend on the lists of pods and nodes.
pub(crate) struct Gathered {
    cilium: Result<Known<Cilium>, Unknown>,
    endpoints: Result<endpoints::Endpoints, Unknown>,
    identities: Result<identities::Identities, Unknown>,
}

/// Where Cilium was found.
struct Located<'a> {
    namespace: String,
    /// Absent where DaemonSets could not be read and its ConfigMap gave it away.
    agent: Option<&'a Found>,
    /// The object that gave it away.
    source: Source,
}

/// The CiliumNodeConfigs of all namespaces: they decide which labels of nodes are kept.
pub(crate) async fn node_configs(reader: &Reader<'_>) -> Result<NodeConfigs, Unknown> {
    node_configs::read(reader).await
}

/// Reads what there is, once the workloads are known.
pub(crate) async fn gather(reader: &Reader<'_>, workloads: &Workloads) -> Gathered {
    let located = match locate(reader, workloads).await {
        Ok(located) => located,
        Err(unknown) => {
            return Gathered {
                cilium: Err(unknown.clone()),
                endpoints: Err(unknown.clone()),
                identities: Err(unknown),
            };
        }
    };
    let maps = reader.config_maps(&located.namespace).await;
    let config = config(&maps);
    let settings = Settings(&config);
    let (nodes, pod_ip_pools, endpoints, identities, policies, secrets) = tokio::join!(
        nodes::read(reader),
        pools::read(reader, settings),
        endpoints::read(reader, settings),
        identities::read(reader),
        policies::read(reader, settings),
        secrets::read(reader, &located.namespace, &maps),
    );
    let cilium = Cilium {
        versions: versions(&located, workloads).into(),
        agent_pods: Fact::default(),
        node_configs: Fact::default(),
        nodes,
        pod_ip_pools,
        identities: Fact::default(),
        endpoints: Fact::default(),
        ip_masq_agent: ip_masq_agent(&maps).into(),
        policies,
        mesh: mesh::read(&maps, located.agent, workloads),
        secrets,
        config,
        namespace: located.namespace,
    };
    Gathered {
        cilium: Ok(Known::new(cilium, located.source)),
        endpoints,
        identities,
    }
}

impl Gathered {
    /// The trace that Cilium left where it no longer, or not yet, runs.
    pub(crate) fn trace(&self, served_apis: &Fact<Vec<String>>) -> Option<Plugin> {
        let gone = self.cilium.as_ref().err()?.reason == Reason::NotInstalled;
        let served = served_apis.ok()?.iter().any(|group| group.starts_with("cilium.io/"));
        (gone && served).then(|| Plugin {
            kind: PluginKind::Cilium,
            source: Source::read("/apis", "cilium.io"),
            version: String::new(),
            running: false,
        })
    }

    /// Puts together what was gathered with the nodes and pods of the cluster.
    pub(crate) fn into_fact(
        self,
        node_configs: Result<NodeConfigs, Unknown>,
        nodes: &Fact<Vec<Node>>,
        pods: &Result<Pods, Unknown>,
    ) -> Fact<Cilium> {
        let Known {
            value: mut cilium,
            source,
        } = match self.cilium {
            Ok(cilium) => cilium,
            Err(unknown) => return Fact::Unknown(unknown),
        };
        cilium.agent_pods = agent_pods(&cilium.namespace, pods).into();
        cilium.node_configs = node_configs::fact(node_configs, &cilium.namespace, nodes);
        cilium.identities = identities::fact(self.identities, self.endpoints.as_ref());
        cilium.endpoints = endpoints::fact(self.endpoints, pods);
        Fact::known(cilium, source)
    }
}

async fn locate<'a>(reader: &Reader<'_>, workloads: &'a Workloads) -> Result<Located<'a>, Unknown> {
    match &workloads.daemon_sets {
        Ok(daemon_sets) => {
            let mut agents: Vec<&Found> = daemon_sets
                .iter()
                .filter(|found| is_cilium_agent(&found.workload))
                .collect();
            // One that wants pods rather than one that is left over.
            agents.sort_by_key(|found| found.workload.desired == 0);
            let agent = agents
                .first()
                .copied()
                .ok_or_else(|| Unknown::new(Reason::NotInstalled, "no DaemonSet runs Cilium's agent"))?;
            Ok(Located {
                namespace: agent.workload.namespace.clone(),
                source: Source::read(agent.workload.object(), ""),
                agent: Some(agent),
            })
        }
        // Where DaemonSets may not be read, its configuration in the usual place still gives it away.
        Err(unknown) => {
            let maps = reader.config_maps("kube-system").await;
            match maps.as_ref().ok().and_then(|maps| maps.get("cilium-config")) {
                Some(map) => Ok(Located {
                    namespace: "kube-system".to_owned(),
                    agent: None,
                    source: map.source(""),
                }),
                None => Err(unknown.clone()),
            }
        }
    }
}

/// Keys of `cilium-config`, for sources that ask only under a condition.
#[derive(Clone, Copy)]
struct Settings<'a>(&'a Fact<BTreeMap<String, String>>);

impl<'a> Settings<'a> {
    /// The value of a key, `None` if it is absent, or why that is not known.
    fn get(self, key: &str) -> Result<Option<&'a str>, Unknown> {
        match self.0 {
            Fact::Known(known) => Ok(known.value.get(key).map(String::as_str)),
            Fact::Unknown(unknown) => Err(unknown.clone()),
        }
    }

    fn is_true(self, key: &str) -> Result<bool, Unknown> {
        Ok(self.get(key)? == Some("true"))
    }
}

fn map_named<'a>(maps: &'a Result<std::sync::Arc<ConfigMaps>, Unknown>, name: &str) -> Result<&'a ConfigMap, Unknown> {
    let maps = maps.as_ref().map_err(Unknown::clone)?;
    maps.get(name)
        .ok_or_else(|| Unknown::not_found(format!("there is no ConfigMap {name} in Cilium's namespace")))
}

fn config(maps: &Result<std::sync::Arc<ConfigMaps>, Unknown>) -> Fact<BTreeMap<String, String>> {
    let read = || {
        let map = map_named(maps, "cilium-config")?;
        let keys = pick_by(map.data.clone(), |key| !is_secret_name(key));
        Ok(Known::new(keys, map.source("")))
    };
    read().into()
}

fn ip_masq_agent(maps: &Result<std::sync::Arc<ConfigMaps>, Unknown>) -> Result<Known<IpMasqAgent>, Unknown> {
    #[derive(Default, Deserialize)]
    struct Config {
        #[serde(default, rename = "nonMasqueradeCIDRs")]
        non_masquerade_cidrs: Option<Vec<String>>,
    }
    let map = map_named(maps, "ip-masq-agent")?;
    // The agent reads whatever file the volume holds; its documentation and chart call it `config`.
    let key = map
        .data
        .keys()
        .find(|key| key.starts_with("config"))
        .map_or("config", String::as_str);
    let config: Config = map.yaml::<Option<Config>>(key)?.unwrap_or_default();
    let cidrs = config.non_masquerade_cidrs.unwrap_or_default();
    let non_masquerade_cidrs = cidrs
        .iter()
        .map(|cidr| cidr.parse().map_err(|_| Unknown::unparsable(&map.source(key), cidr)))
        .collect::<Result<_, _>>()?;
    Ok(Known::new(IpMasqAgent { non_masquerade_cidrs }, map.source(key)))
}

fn agent_pods(namespace: &str, pods: &Result<Pods, Unknown>) -> Result<Known<BTreeMap<String, u32>>, Unknown> {
    let pods = pods.as_ref().map_err(Unknown::clone)?;
    let counted = pods
        .cilium_agents
        .iter()
        .filter(|((in_namespace, _), _)| in_namespace == namespace)
        .map(|((_, version), count)| {
            let version = if version.is_empty() { "unknown" } else { version };
            (version.to_owned(), *count)
        })
        .collect();
    let source = format!("Pods of {namespace} labelled k8s-app=cilium");
    Ok(Known::new(counted, Source::read(source, "spec.containers[].image")))
}

/// Versions by component. An image that is pinned by digest alone tells none: then the chart's label does, or else the
/// operator, which is always of the same release.
fn versions(located: &Located<'_>, workloads: &Workloads) -> Result<Known<BTreeMap<String, String>>, Unknown> {
    const FIELD: &str = "spec.template.spec.containers[].image";
    let mut versions = BTreeMap::new();
    let of_namespace = |found: &&Found| found.workload.namespace == located.namespace;
    for found in workloads.iter().filter(of_namespace) {
        let workload = &found.workload;
        if let Some(component) = component(workload)
            && let Some(version) = workload.containers.iter().find_map(|container| {
                let is_etcd = container.name == "etcd";
                (!is_etcd).then(|| image_version(&container.image)).flatten()
            })
        {
            versions
                .entry(component.to_owned())
                .or_insert_with(|| version.to_owned());
        }
    }
    let mut source = Source::read(&located.source.object, FIELD);
    if !versions.contains_key("agent") {
        let agent = located.agent.map(|found| &found.workload);
        let labelled = agent.and_then(|workload| {
            let chart = workload
                .labels
                .get("helm.sh/chart")
                .and_then(|chart| chart.strip_prefix("cilium-"));
            let label = chart.or(workload.labels.get("app.kubernetes.io/version").map(String::as_str))?;
            Some(label.strip_prefix('v').unwrap_or(label).to_owned())
        });
        let version = labelled.or_else(|| versions.get("operator").cloned()).ok_or_else(|| {
            Unknown::not_found(format!(
                "{source}: no image tag tells the version, no label and no operator either"
            ))
        })?;
        versions.insert("agent".to_owned(), version);
        source = Source::estimate(source.object, "labels, operator's image");
    }
    Ok(Known::new(versions, source))
}

fn component(workload: &Workload) -> Option<&'static str> {
    let label = |key: &str| workload.labels.get(key).map(String::as_str);
    if is_cilium_agent(workload) {
        Some("agent")
    } else if workload.name.starts_with("cilium-operator") || label("io.cilium/app") == Some("operator") {
        Some("operator")
    } else if workload.name == "clustermesh-apiserver" || label("k8s-app") == Some("clustermesh-apiserver") {
        Some("clustermesh-apiserver")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use prejoin_checks::facts::kubernetes::Container;

    use super::*;

    fn found(kind: &str, name: &str, containers: &[(&str, &str)], labels: &[(&str, &str)]) -> Found {
        Found {
            workload: Workload {
                kind: kind.to_owned(),
                namespace: "cilium".to_owned(),
                name: name.to_owned(),
                desired: 1,
                containers: containers
                    .iter()
                    .map(|(name, image)| Container {
                        name: (*name).to_owned(),
                        image: (*image).to_owned(),
                        ..Container::default()
                    })
                    .collect(),
                labels: labels
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
                ..Workload::default()
            },
            ..Found::default()
        }
    }

    fn versions_of(agent: Found, deployments: Vec<Found>) -> Result<Known<BTreeMap<String, String>>, Unknown> {
        let workloads = Workloads {
            daemon_sets: Ok(vec![agent]),
            deployments: Ok(deployments),
        };
        let agent = &workloads.daemon_sets.as_ref().unwrap()[0];
        let located = Located {
            namespace: "cilium".to_owned(),
            agent: Some(agent),
            source: Source::read(agent.workload.object(), ""),
        };
        versions(&located, &workloads)
    }

    #[test]
    fn every_component_has_the_version_of_its_image() {
        let agent = found(
            "DaemonSet",
            "cilium",
            &[("cilium-agent", "quay.io/cilium/cilium:v1.18.2")],
            &[],
        );
        let operator = found(
            "Deployment",
            "cilium-operator",
            &[("cilium-operator", "x/operator-generic:v1.18.1")],
            &[],
        );
        let mesh = found(
            "Deployment",
            "clustermesh-apiserver",
            &[
                ("etcd", "x/etcd:v3.5.0"),
                ("apiserver", "x/clustermesh-apiserver:v1.18.0"),
            ],
            &[],
        );
        let versions = versions_of(agent, vec![operator, mesh]).unwrap().value;
        assert_eq!(versions["agent"], "1.18.2");
        assert_eq!(versions["operator"], "1.18.1");
        assert_eq!(versions["clustermesh-apiserver"], "1.18.0");
    }

    #[test]
    fn a_digest_leaves_the_version_to_the_label_and_then_to_the_operator() {
        let pinned = [("cilium-agent", "quay.io/cilium/cilium@sha256:0123")];
        let labelled = found("DaemonSet", "cilium", &pinned, &[("helm.sh/chart", "cilium-1.20.0")]);
        assert_eq!(versions_of(labelled, Vec::new()).unwrap().value["agent"], "1.20.0");

        let agent = found("DaemonSet", "cilium", &pinned, &[]);
        let operator = found("Deployment", "cilium-operator", &[("o", "x/operator:v1.17.9")], &[]);
        let known = versions_of(agent.clone(), vec![operator]).unwrap();
        assert_eq!(known.value["agent"], "1.17.9");
        assert!(!known.source.basis.is_read());

        let unknown = versions_of(agent, Vec::new()).unwrap_err();
        assert_eq!(unknown.reason, Reason::NotFound);
    }

    #[test]
    fn an_ip_masq_agent_without_ranges_is_known_to_have_none() {
        let maps = |data: serde_json::Value| {
            let mut maps = ConfigMaps::default();
            let map = serde_json::json!({"metadata": {"name": "ip-masq-agent", "namespace": "cilium"}, "data": data});
            maps.keep(serde_json::from_value(map).unwrap()).unwrap();
            Ok(std::sync::Arc::new(maps))
        };
        let read = |data| ip_masq_agent(&maps(data)).map(|known| known.value.non_masquerade_cidrs.len());
        assert_eq!(
            read(serde_json::json!({"config": "nonMasqueradeCIDRs:\n- 10.0.0.0/8\n"})),
            Ok(1)
        );
        assert_eq!(read(serde_json::json!({"config": ""})), Ok(0));
        assert_eq!(
            read(serde_json::json!({"config": "nonMasqueradeCIDRs: [nonsense]"}))
                .unwrap_err()
                .reason,
            Reason::Unparsable
        );
    }
}
