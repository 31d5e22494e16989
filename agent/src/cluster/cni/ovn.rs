//! OVN-Kubernetes: ConfigMap `ovn-config` beside its node DaemonSet.

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::cni::{Ovn, PluginKind};
use prejoin_checks::facts::provenance::{Fact, Known, Reason, Unknown};

use crate::cluster::config_map::ConfigMap;
use crate::cluster::plugins::kind_of;
use crate::cluster::reader::Reader;
use crate::cluster::workloads::Workloads;

pub(super) async fn read(reader: &Reader<'_>, workloads: &Workloads) -> Fact<Ovn> {
    let read = async {
        let daemon_sets = workloads.daemon_sets.as_ref().map_err(Unknown::clone)?;
        let node = daemon_sets
            .iter()
            .filter(|found| kind_of(&found.workload) == Some(PluginKind::OvnKubernetes))
            .max_by_key(|found| found.workload.desired)
            .ok_or_else(|| Unknown::new(Reason::NotInstalled, "no DaemonSet runs OVN-Kubernetes"))?;
        let namespace = &node.workload.namespace;
        let maps = reader.config_maps(namespace).await?;
        let map = maps
            .get("ovn-config")
            .ok_or_else(|| Unknown::not_found(format!("there is no ConfigMap {namespace}/ovn-config")))?;
        parse(map)
    };
    read.await.into()
}

fn parse(map: &ConfigMap) -> Result<Known<Ovn>, Unknown> {
    let text = |key: &str| map.data.get(key).map_or("", String::as_str).trim();
    let ranges = |key: &str| {
        let items = text(key).split([',', ' ']).filter(|item| !item.is_empty());
        items
            .map(|item| without_host_prefix(item).ok_or_else(|| Unknown::unparsable(&map.source(key), item)))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Known::new(
        Ovn {
            namespace: map.metadata.namespace.clone(),
            net_cidr: text("net_cidr").to_owned(),
            pod_cidrs: ranges("net_cidr")?,
            service_cidrs: ranges("svc_cidr")?,
        },
        map.source(""),
    ))
}

/// `10.128.0.0/14/23` gives each node a /23 of 10.128.0.0/14.
fn without_host_prefix(item: &str) -> Option<Cidr> {
    let mut parts = item.splitn(3, '/');
    let (address, length) = (parts.next()?, parts.next()?);
    if let Some(host) = parts.next() {
        host.parse::<u8>().ok()?;
    }
    format!("{address}/{length}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ovn(net_cidr: &str, svc_cidr: &str) -> Result<Ovn, Unknown> {
        let map = serde_json::json!({
            "metadata": {"name": "ovn-config", "namespace": "ovn-kubernetes"},
            "data": {"k8s_apiserver": "https://172.18.0.3:6443", "mtu": "1400", "net_cidr": net_cidr, "svc_cidr": svc_cidr},
        });
        parse(&serde_json::from_value(map).unwrap()).map(|known| known.value)
    }

    #[test]
    fn host_prefixes_are_stripped_and_the_text_is_kept() {
        let ovn = ovn("10.244.0.0/16/24,fd00:10:244::/48/64", "10.96.0.0/16,fd00:10:96::/112").unwrap();
        assert_eq!(ovn.net_cidr, "10.244.0.0/16/24,fd00:10:244::/48/64");
        let text = |cidrs: &[Cidr]| cidrs.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(&ovn.pod_cidrs), ["10.244.0.0/16", "fd00:10:244::/48"]);
        assert_eq!(text(&ovn.service_cidrs), ["10.96.0.0/16", "fd00:10:96::/112"]);
        assert_eq!(ovn.namespace, "ovn-kubernetes");
    }

    #[test]
    fn a_range_that_is_none_is_told() {
        for text in [
            "10.244.0.0",
            "10.244.0.0/16/24/8",
            "10.244.0.0/16/x",
            "10.244.0.0/",
            "/16",
            "10.244.0.0/33",
        ] {
            let unknown = ovn(text, "").unwrap_err();
            assert_eq!(unknown.reason, Reason::Unparsable, "{text}");
            assert!(unknown.detail.contains("net_cidr"), "{unknown}");
        }
        assert!(ovn("", "").unwrap().pod_cidrs.is_empty());
    }
}
