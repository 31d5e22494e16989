//! Flannel's network, from the ConfigMap its DaemonSet mounts, whatever both are called and wherever they are.

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::cni::Flannel;
use prejoin_checks::facts::provenance::{Fact, Known, Reason, Unknown};
use serde::Deserialize;

use crate::cluster::config_map::{ConfigMap, ConfigMaps};
use crate::cluster::object::or_default;
use crate::cluster::plugins::runs_flannel;
use crate::cluster::reader::Reader;
use crate::cluster::workloads::{Found, Workloads};

const KEY: &str = "net-conf.json";

pub(super) async fn read(reader: &Reader<'_>, workloads: &Workloads) -> Fact<Flannel> {
    let read = async {
        let found = daemon_set(workloads)?;
        let maps = reader.config_maps(&found.workload.namespace).await?;
        parse(mounted(found, &maps)?)
    };
    read.await.into()
}

/// The DaemonSet that runs flanneld: there may be one per architecture, of which most want no pods.
fn daemon_set(workloads: &Workloads) -> Result<&Found, Unknown> {
    let daemon_sets = workloads.daemon_sets.as_ref().map_err(Unknown::clone)?;
    daemon_sets
        .iter()
        .find(|found| found.workload.desired > 0 && runs_flannel(&found.workload))
        .ok_or_else(|| {
            Unknown::new(
                Reason::NotInstalled,
                "no DaemonSet runs Flannel (K3s runs it inside its own process)",
            )
        })
}

/// The ConfigMap with [`KEY`] among those that the DaemonSet mounts.
fn mounted<'a>(found: &Found, maps: &'a ConfigMaps) -> Result<&'a ConfigMap, Unknown> {
    found
        .config_maps
        .values()
        .filter_map(|name| maps.get(name))
        .find(|map| map.data.contains_key(KEY))
        .ok_or_else(|| {
            let object = found.workload.object();
            Unknown::not_found(format!("{object} mounts no ConfigMap with {KEY} that is there"))
        })
}

fn parse(map: &ConfigMap) -> Result<Known<Flannel>, Unknown> {
    /// Field names as `pkg/subnet/config.go` of Flannel has them.
    #[derive(Deserialize)]
    struct NetConf {
        #[serde(rename = "EnableIPv4")]
        enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6", default)]
        enable_ipv6: bool,
        #[serde(rename = "Network", default)]
        network: String,
        #[serde(rename = "IPv6Network", default)]
        ipv6_network: String,
        #[serde(rename = "Backend", default, deserialize_with = "or_default")]
        backend: Backend,
    }
    #[derive(Default, Deserialize)]
    struct Backend {
        #[serde(rename = "Type", default)]
        kind: String,
        #[serde(rename = "Port")]
        port: Option<u16>,
    }
    let conf: NetConf = map.json(KEY)?;
    let mut networks = Vec::new();
    for (enabled, field, text) in [
        (conf.enable_ipv4.unwrap_or(true), "Network", &conf.network),
        (conf.enable_ipv6, "IPv6Network", &conf.ipv6_network),
    ] {
        if enabled && !text.is_empty() {
            let source = map.source(&format!("{KEY} {field}"));
            networks.push(text.parse::<Cidr>().map_err(|_| Unknown::unparsable(&source, text))?);
        }
    }
    Ok(Known::new(
        Flannel {
            namespace: map.metadata.namespace.clone(),
            networks,
            backend: conf.backend.kind,
            port: conf.backend.port,
        },
        map.source(KEY),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net_conf(text: &str) -> Result<Known<Flannel>, Unknown> {
        let map = serde_json::json!({
            "metadata": {"name": "kube-flannel-cfg", "namespace": "kube-flannel"}, "data": {KEY: text},
        });
        parse(&serde_json::from_value(map).unwrap())
    }

    #[test]
    fn the_network_of_a_plain_manifest() {
        let known = net_conf("{\n  \"Network\": \"10.244.0.0/16\",\n  \"EnableNFTables\": false,\n  \"Backend\": {\n    \"Type\": \"vxlan\"\n  }\n}\n").unwrap();
        assert_eq!(
            known.source.to_string(),
            "ConfigMap kube-flannel/kube-flannel-cfg  net-conf.json"
        );
        assert_eq!(known.value.networks, ["10.244.0.0/16".parse().unwrap()]);
        assert_eq!((known.value.backend.as_str(), known.value.port), ("vxlan", None));
    }

    #[test]
    fn a_family_that_is_off_has_no_network() {
        let dual = net_conf(
            r#"{"EnableIPv6":true,"Network":"10.244.0.0/16","IPv6Network":"fd00:10:244::/56","Backend":{"Type":"vxlan","Port":8473,"VNI":1}}"#,
        );
        let dual = dual.unwrap().value;
        assert_eq!((dual.networks.len(), dual.port), (2, Some(8473)));
        let one = net_conf(r#"{"Network":"10.244.0.0/16","IPv6Network":"fd00:10:244::/56","Backend":null}"#).unwrap();
        assert_eq!((one.value.networks.len(), one.value.backend.as_str()), (1, ""));
        let six =
            net_conf(r#"{"EnableIPv4":false,"EnableIPv6":true,"Network":"10.244.0.0/16","IPv6Network":"fd00::/56"}"#);
        assert_eq!(six.unwrap().value.networks, ["fd00::/56".parse().unwrap()]);
    }

    #[test]
    fn what_makes_no_sense_is_not_taken_for_no_network() {
        for text in [
            "",
            "{",
            "[]",
            r#"{"Network":"10.244.0.0"#,
            r#"{"Network":"10.244/16"}"#,
            r#"{"Backend":{"Port":70000}}"#,
        ] {
            let unknown = net_conf(text).unwrap_err();
            assert_eq!(unknown.reason, Reason::Unparsable, "{text}");
        }
    }

    #[test]
    fn only_a_config_map_that_is_mounted_counts() {
        let mut maps = ConfigMaps::default();
        for (name, key) in [
            ("canal-config", KEY),
            ("kube-flannel-cfg", KEY),
            ("other", "cni-conf.json"),
        ] {
            let map = serde_json::json!({"metadata": {"name": name, "namespace": "kube-system"}, "data": {key: "{}"}});
            maps.keep(serde_json::from_value(map).unwrap()).unwrap();
        }
        let mut found = Found::default();
        let volumes = [
            ("ca", "kube-root-ca.crt"),
            ("cni", "other"),
            ("flannel-cfg", "canal-config"),
        ];
        found.config_maps = volumes
            .map(|(volume, name)| (volume.to_owned(), name.to_owned()))
            .into();
        assert_eq!(mounted(&found, &maps).unwrap().metadata.name, "canal-config");
        found.config_maps.remove("flannel-cfg");
        assert_eq!(mounted(&found, &maps).unwrap_err().reason, Reason::NotFound);
    }
}
