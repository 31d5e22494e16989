//! kube-proxy: its mode and range, from its ConfigMap or its arguments.

use prejoin_checks::facts::kubernetes::{Container, KubeProxy};
use prejoin_checks::facts::provenance::{Fact, Known, Source, Unknown};
use serde::Deserialize;

use super::config_map::ConfigMap;
use super::control_plane::split_cidrs;
use super::pods::Pods;
use super::reader::Reader;
use super::workloads::Workloads;

/// ConfigMaps and keys that hold its configuration: kubeadm's, then Amazon's.
const CONFIGS: &[(&str, &str)] = &[("kube-proxy", "config.conf"), ("kube-proxy-config", "config")];

pub(crate) async fn read(reader: &Reader<'_>, workloads: &Workloads, pods: &Result<Pods, Unknown>) -> Fact<KubeProxy> {
    let maps = reader.config_maps("kube-system").await;
    let read = || {
        let runs = running(workloads, pods)?;
        let uses_config = runs.container.flag("config").is_some();
        let config = match &maps {
            Ok(maps) => CONFIGS.iter().find_map(|(name, key)| Some((maps.get(name)?, *key))),
            // Without its ConfigMap only flags can tell, unless they point to the ConfigMap.
            Err(unknown) if uses_config => return Err(unknown.clone()),
            Err(_) => None,
        };
        match config {
            Some((map, key)) if uses_config => from_config(map, key),
            _ if uses_config => Err(Unknown::not_found(format!(
                "{}: --config names no ConfigMap that is known",
                runs.object
            ))),
            _ => from_flags(&runs),
        }
    };
    read().into()
}

/// What runs it.
struct Running {
    object: String,
    container: Container,
}

fn running(workloads: &Workloads, pods: &Result<Pods, Unknown>) -> Result<Running, Unknown> {
    let daemon_sets = workloads.daemon_sets.as_ref();
    let daemon_set = daemon_sets.ok().and_then(|all| {
        all.iter().map(|found| &found.workload).find(|workload| {
            workload.namespace == "kube-system"
                && workload.name.starts_with("kube-proxy")
                && workload
                    .node_selector
                    .get("kubernetes.io/os")
                    .is_none_or(|os| os == "linux")
        })
    });
    if let Some(workload) = daemon_set
        && let Some(container) = workload.containers.first()
    {
        return Ok(Running {
            object: workload.object(),
            container: container.clone(),
        });
    }
    match pods {
        Ok(Pods {
            kube_proxy: Some(component),
            ..
        }) => Ok(Running {
            object: component.object.clone(),
            container: component.container.clone(),
        }),
        Err(unknown) => Err(unknown.clone()),
        Ok(_) => {
            daemon_sets.map_err(Unknown::clone)?;
            Err(Unknown::not_found(
                "no DaemonSet or pod kube-proxy is visible: some distributions run it inside another process",
            ))
        }
    }
}

fn from_config(map: &ConfigMap, key: &str) -> Result<Known<KubeProxy>, Unknown> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Configuration {
        #[serde(default)]
        mode: Option<String>,
        #[serde(default, rename = "clusterCIDR")]
        cluster_cidr: Option<String>,
    }
    let configuration: Configuration = map.yaml(key)?;
    let text = configuration.cluster_cidr.unwrap_or_default();
    let cluster_cidrs =
        split_cidrs(&text).map_err(|text| Unknown::unparsable(&map.source(&format!("{key} clusterCIDR")), &text))?;
    Ok(Known::new(
        KubeProxy {
            mode: configuration.mode.unwrap_or_default(),
            cluster_cidrs,
        },
        map.source(key),
    ))
}

fn from_flags(runs: &Running) -> Result<Known<KubeProxy>, Unknown> {
    let source = Source::read(&runs.object, "spec.containers[0].command");
    let text = runs.container.flag("cluster-cidr").unwrap_or_default();
    let cluster_cidrs = split_cidrs(text).map_err(|text| Unknown::unparsable(&source, &text))?;
    Ok(Known::new(
        KubeProxy {
            mode: runs.container.flag("proxy-mode").unwrap_or_default().to_owned(),
            cluster_cidrs,
        },
        source,
    ))
}

#[cfg(test)]
mod tests {
    use prejoin_checks::facts::provenance::Reason;

    use super::*;

    fn running_with(args: &[&str]) -> Running {
        Running {
            object: "DaemonSet kube-system/kube-proxy".to_owned(),
            container: Container {
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                ..Container::default()
            },
        }
    }

    #[test]
    fn the_config_map_tells_mode_and_range() {
        let map: ConfigMap = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
            "data": {"config.conf": "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nclusterCIDR: 10.244.0.0/16,fd00::/56\nmode: ipvs\nipvs: {excludeCIDRs: null}\n",
                     "empty": "mode: \"\"\nclusterCIDR: null\n"},
        }))
        .unwrap();
        let read = from_config(&map, "config.conf").unwrap();
        assert_eq!((read.value.mode.as_str(), read.value.cluster_cidrs.len()), ("ipvs", 2));
        assert_eq!(read.source.to_string(), "ConfigMap kube-system/kube-proxy  config.conf");
        assert_eq!(from_config(&map, "empty").unwrap().value, KubeProxy::default());
    }

    #[test]
    fn flags_tell_where_there_is_no_config_map() {
        let read = from_flags(&running_with(&[
            "kube-proxy",
            "--proxy-mode=nftables",
            "--cluster-cidr",
            "10.0.0.0/8",
        ]));
        let read = read.unwrap().value;
        assert_eq!((read.mode.as_str(), read.cluster_cidrs.len()), ("nftables", 1));
    }

    #[test]
    fn no_kube_proxy_in_sight_is_not_known_rather_than_iptables() {
        let nothing = Workloads {
            daemon_sets: Ok(Vec::new()),
            deployments: Ok(Vec::new()),
        };
        let unknown = running(&nothing, &Ok(Pods::default())).err().unwrap();
        assert_eq!(unknown.reason, Reason::NotFound);
    }
}
