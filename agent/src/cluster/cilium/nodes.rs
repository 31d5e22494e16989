//! `CiliumNode` objects: what each node was given and shows to its peers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::cilium::CiliumNode;
use prejoin_checks::facts::node::NodeAddress;
use prejoin_checks::facts::provenance::{Fact, Source};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::object::{Meta, or_default};
use crate::cluster::permissions::CILIUM_NODES;
use crate::cluster::reader::{Reader, Scope};

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<Address>,
    #[serde(deserialize_with = "or_default")]
    health: Pair,
    #[serde(deserialize_with = "or_default")]
    ingress: Pair,
    #[serde(deserialize_with = "or_default")]
    ipam: Ipam,
    #[serde(deserialize_with = "or_default")]
    encryption: Encryption,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    ip: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pair {
    ipv4: String,
    ipv6: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ipam {
    #[serde(rename = "podCIDRs", deserialize_with = "or_default")]
    pod_cidrs: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pool: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    pools: Pools,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pools {
    #[serde(deserialize_with = "or_default")]
    allocated: Vec<Allocated>,
}

#[derive(Deserialize)]
struct Allocated {
    pool: String,
    #[serde(default, deserialize_with = "or_default")]
    cidrs: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Encryption {
    key: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    eni: Cloud,
    #[serde(rename = "alibaba-cloud", deserialize_with = "or_default")]
    alibaba: Cloud,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cloud {
    #[serde(deserialize_with = "or_default")]
    enis: BTreeMap<String, Eni>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Eni {
    #[serde(deserialize_with = "or_default")]
    vpc: Vpc,
    #[serde(deserialize_with = "or_default")]
    prefixes: Vec<String>,
}

/// Amazon's and Alibaba's names for the same.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Vpc {
    #[serde(rename = "primary-cidr", alias = "cidr")]
    primary: String,
    #[serde(rename = "cidrs", alias = "secondary-cidrs", deserialize_with = "or_default")]
    further: Vec<String>,
}

pub(super) async fn read(reader: &Reader<'_>) -> Fact<Vec<CiliumNode>> {
    let nodes = reader
        .list(
            &CILIUM_NODES,
            Scope::ALL,
            |nodes: &mut Vec<CiliumNode>, object: Object| {
                nodes.push(reduce(object)?);
                Ok(())
            },
        )
        .await;
    nodes.map_or_else(Fact::Unknown, |mut nodes| {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Fact::known(nodes, Source::read("CiliumNodes", ""))
    })
}

fn reduce(object: Object) -> Result<CiliumNode, String> {
    let Object {
        mut metadata,
        spec,
        status,
    } = object;
    let enis = || status.eni.enis.values().chain(status.alibaba.enis.values());
    let mut assigned: Vec<Cidr> = Vec::new();
    for address in spec.ipam.pool.keys() {
        let address: IpAddr = address
            .parse()
            .map_err(|_| "spec.ipam.pool holds no address".to_owned())?;
        assigned.push(Cidr::host(address));
    }
    for eni in enis() {
        assigned.extend(cidrs(&eni.prefixes, "status.eni.enis[].prefixes")?);
    }
    let mut vpc_cidrs: Vec<Cidr> = Vec::new();
    for eni in enis() {
        let blocks = [eni.vpc.primary.as_str()].into_iter().filter(|cidr| !cidr.is_empty());
        for block in blocks.chain(eni.vpc.further.iter().map(String::as_str)) {
            let block = block
                .parse()
                .map_err(|_| "status.eni.enis[].vpc holds no address block".to_owned())?;
            if !vpc_cidrs.contains(&block) {
                vpc_cidrs.push(block);
            }
        }
    }
    let mut pools: BTreeMap<String, Vec<Cidr>> = BTreeMap::new();
    for allocated in spec.ipam.pools.allocated {
        let blocks = cidrs(&allocated.cidrs, "spec.ipam.pools.allocated[].cidrs")?;
        pools.entry(allocated.pool).or_default().extend(blocks);
    }
    Ok(CiliumNode {
        name: metadata.name,
        addresses: spec
            .addresses
            .into_iter()
            .filter_map(|address| {
                Some(NodeAddress {
                    ip: address.ip.parse().ok()?,
                    kind: address.kind,
                })
            })
            .collect(),
        health_ips: spec.health.addresses("spec.health")?,
        ingress_ips: spec.ingress.addresses("spec.ingress")?,
        pod_cidrs: cidrs(&spec.ipam.pod_cidrs, "spec.ipam.podCIDRs")?,
        pools,
        addresses_assigned: Cidr::aggregate(&assigned),
        vpc_cidrs,
        encryption_key: spec.encryption.key,
        wireguard_public_key: metadata
            .annotations
            .remove("network.cilium.io/wg-pub-key")
            .unwrap_or_default(),
    })
}

impl Pair {
    fn addresses(&self, field: &str) -> Result<Vec<IpAddr>, String> {
        [&self.ipv4, &self.ipv6]
            .into_iter()
            .filter(|address| !address.is_empty())
            .map(|address| address.parse().map_err(|_| format!("{field} holds no address")))
            .collect()
    }
}

fn cidrs(texts: &[String], field: &str) -> Result<Vec<Cidr>, String> {
    let parse = |text: &String| text.parse().map_err(|_| format!("{field} holds no address block"));
    texts.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &str) -> Result<CiliumNode, String> {
        reduce(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_node_shows_its_blocks_addresses_and_keys() {
        let node = node(
            r#"{"metadata":{"name":"n1","annotations":{"network.cilium.io/wg-pub-key":"K="}},
              "spec":{"addresses":[{"type":"InternalIP","ip":"172.18.0.2"},{"type":"CiliumInternalIP","ip":"10.0.0.5"},{"type":"Hostname","ip":"n1"}],
                "health":{"ipv4":"10.0.0.9"},"ingress":{},"encryption":{"key":255},"eni":{},
                "ipam":{"podCIDRs":["10.0.0.0/24"],"pools":{"allocated":[{"pool":"default","cidrs":["10.9.0.0/26","10.9.0.64/26"]}]}}}}"#,
        )
        .unwrap();
        assert_eq!(node.addresses.len(), 2);
        assert_eq!(node.health_ips.len(), 1);
        assert_eq!(node.pools["default"].len(), 2);
        assert_eq!(
            (node.encryption_key, node.wireguard_public_key.as_str()),
            (Some(255), "K=")
        );
    }

    #[test]
    fn addresses_and_prefixes_of_clouds_are_merged() {
        let node = node(
            r#"{"metadata":{"name":"n1"},"spec":{"ipam":{"pool":{"10.1.0.0":{},"10.1.0.1":{"owner":"a/b"},"10.1.0.5":{"resource":"eni-1"}}}},
              "status":{"eni":{"enis":{"eni-1":{"vpc":{"id":"v","primary-cidr":"10.1.0.0/16","cidrs":["10.2.0.0/16"]},"prefixes":["10.1.4.0/28"]},
                                       "eni-2":{"vpc":{"primary-cidr":"10.1.0.0/16"}}}}}}"#,
        )
        .unwrap();
        let assigned: Vec<_> = node.addresses_assigned.iter().map(ToString::to_string).collect();
        assert_eq!(assigned, ["10.1.0.0/31", "10.1.0.5/32", "10.1.4.0/28"]);
        assert_eq!(node.vpc_cidrs.len(), 2);
    }

    #[test]
    fn a_block_that_is_none_makes_the_node_unreadable() {
        assert!(node(r#"{"metadata":{"name":"n"},"spec":{"ipam":{"podCIDRs":["10.0.0.0/"]}}}"#).is_err());
        assert!(node(r#"{"metadata":{"name":"n"},"spec":{"ipam":null}}"#).is_ok());
    }
}
