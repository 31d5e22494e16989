//! The broker's two ConfigMaps, which say who got which part of a range.

use std::collections::BTreeMap;

use prejoin_checks::facts::provenance::{Fact, Known, Reason, Unknown};
use prejoin_checks::facts::submariner::{RangeEntry, RangeInfo};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::config_map::ConfigMap;
use crate::cluster::reader::Reader;

/// What was found of the ranges.
pub(super) struct RangeInfos {
    pub(super) globalnet: Fact<RangeInfo>,
    pub(super) clusterset_ip: Fact<RangeInfo>,
}

/// Name of a ConfigMap and of its keys.
struct Names {
    config_map: &'static str,
    enabled: &'static str,
    range: &'static str,
    cluster_size: &'static str,
}

const GLOBALNET: Names = Names {
    config_map: "submariner-globalnet-info",
    enabled: "globalnetEnabled",
    range: "globalnetCidrRange",
    cluster_size: "globalnetClusterSize",
};

const CLUSTERSET_IP: Names = Names {
    config_map: "submariner-clustersetip-info",
    enabled: "clustersetIPEnabled",
    range: "clustersetIPCidrRange",
    cluster_size: "clustersetIPClusterSize",
};

/// Reads both from the broker's namespaces, or says why those are not known.
pub(super) async fn read(reader: &Reader<'_>, namespaces: &Result<Vec<String>, Unknown>) -> RangeInfos {
    RangeInfos {
        globalnet: info(reader, namespaces, &GLOBALNET).await.into(),
        clusterset_ip: info(reader, namespaces, &CLUSTERSET_IP).await.into(),
    }
}

async fn info(
    reader: &Reader<'_>,
    namespaces: &Result<Vec<String>, Unknown>,
    names: &Names,
) -> Result<Known<RangeInfo>, Unknown> {
    let namespaces = namespaces.as_ref().map_err(Unknown::clone)?;
    for namespace in namespaces {
        if let Some(map) = reader.config_maps(namespace).await?.get(names.config_map) {
            return parse(map, names);
        }
    }
    Err(if namespaces.is_empty() {
        Unknown::new(Reason::NotInstalled, "the broker is not in this cluster")
    } else {
        Unknown::not_found(format!(
            "there is no ConfigMap {}/{}",
            namespaces.join(" or "),
            names.config_map
        ))
    })
}

fn parse(map: &ConfigMap, names: &Names) -> Result<Known<RangeInfo>, Unknown> {
    // Some values are JSON strings, quotes included, others plain text.
    let text = |key: &str| {
        let text = map.data.get(key).map_or("", |text| text.trim().trim_matches('"'));
        (!text.is_empty()).then_some(text)
    };
    let unparsable = |key: &str| Unknown::unparsable(&map.source(key), text(key).unwrap_or_default());
    let enabled = text(names.enabled).map(str::parse).transpose();
    let cluster_size = text(names.cluster_size).map(str::parse).transpose();
    Ok(Known::new(
        RangeInfo {
            namespace: map.metadata.namespace.clone(),
            enabled: enabled.map_err(|_| unparsable(names.enabled))?,
            range: text(names.range).unwrap_or_default().to_owned(),
            cluster_size: cluster_size.map_err(|_| unparsable(names.cluster_size))?,
            clusters: clusters(map)?,
        },
        map.source(""),
    ))
}

/// Who got what. The key of the blocks is `global_cidr` in one ConfigMap and differs in the other.
fn clusters(map: &ConfigMap) -> Result<Vec<RangeEntry>, Unknown> {
    const KEY: &str = "clusterinfo";
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        cluster_id: String,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    if map.data.get(KEY).is_none_or(|text| text.trim().is_empty()) {
        return Ok(Vec::new());
    }
    let entries: Option<Vec<Entry>> = map.json(KEY)?;
    let no_block = || {
        Unknown::new(
            Reason::Unparsable,
            format!("{}: an entry holds no block", map.source(KEY)),
        )
    };
    entries
        .unwrap_or_default()
        .into_iter()
        .map(|entry| {
            let mut cidrs = Vec::new();
            for (_, value) in entry.rest.iter().filter(|(key, _)| key.to_lowercase().contains("cidr")) {
                for block in value.as_array().map_or(&[][..], Vec::as_slice) {
                    cidrs.push(block.as_str().ok_or_else(no_block)?.to_owned());
                }
            }
            Ok(RangeEntry {
                cluster_id: entry.cluster_id,
                cidrs,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(names: &Names, data: Value) -> Result<RangeInfo, Unknown> {
        let mut map = json!({"metadata": {"name": names.config_map, "namespace": "submariner-k8s-broker"}});
        map["data"] = data;
        parse(&serde_json::from_value(map).unwrap(), names).map(|known| known.value)
    }

    #[test]
    fn a_range_and_who_got_which_part_of_it() {
        let info = read(
            &GLOBALNET,
            json!({
                "globalnetEnabled": "true", "globalnetCidrRange": "\"242.0.0.0/8\"", "globalnetClusterSize": "65536",
                "clusterinfo": "[\n\t{\n\t\t\"cluster_id\": \"east\",\n\t\t\"global_cidr\": [\n\t\t\t\"242.0.0.0/16\"\n\t\t]\n\t}\n]",
            }),
        )
        .unwrap();
        assert_eq!(
            (info.enabled, info.range.as_str(), info.cluster_size),
            (Some(true), "242.0.0.0/8", Some(65536))
        );
        assert_eq!(
            (info.clusters[0].cluster_id.as_str(), info.clusters[0].cidrs[0].as_str()),
            ("east", "242.0.0.0/16")
        );
    }

    #[test]
    fn without_globalnet_there_is_hardly_anything_in_it() {
        let info = read(&GLOBALNET, json!({"globalnetEnabled": "false", "clusterinfo": "[]"})).unwrap();
        assert_eq!(
            (info.enabled, info.range.as_str(), info.cluster_size),
            (Some(false), "", None)
        );
    }

    #[test]
    fn the_other_config_map_may_name_its_blocks_otherwise() {
        for key in ["clustersetIPCIDR", "cidrs", "global_cidr"] {
            let entry = json!([{"cluster_id": "west", key: ["243.0.16.0/20"]}]).to_string();
            let info = read(
                &CLUSTERSET_IP,
                json!({"clustersetIPEnabled": "false", "clustersetIPCidrRange": "\"243.0.0.0/8\"", "clustersetIPClusterSize": "0", "clusterinfo": entry}),
            );
            assert_eq!(info.unwrap().clusters[0].cidrs, ["243.0.16.0/20"], "{key}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for data in [
            json!({"globalnetEnabled": "perhaps"}),
            json!({"globalnetClusterSize": "-1"}),
            json!({"clusterinfo": "{"}),
            json!({"clusterinfo": "[1]"}),
            json!({"clusterinfo": "[{\"global_cidr\": [{}]}]"}),
        ] {
            assert_eq!(
                read(&GLOBALNET, data.clone()).unwrap_err().reason,
                Reason::Unparsable,
                "{data}"
            );
        }
        assert!(
            read(&GLOBALNET, json!({"clusterinfo": "null"}))
                .unwrap()
                .clusters
                .is_empty()
        );
    }
}
