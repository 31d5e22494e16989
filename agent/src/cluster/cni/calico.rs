//! Calico's `IPPool` objects.

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::cni::CalicoPool;
use prejoin_checks::facts::provenance::{Fact, Reason, Source, Unknown};
use serde::Deserialize;

use crate::cluster::object::{Meta, or_default, pick};
use crate::cluster::permissions::{CALICO_POOLS, CALICO_POOLS_V3, Resource};
use crate::cluster::reader::{Reader, Scope};

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    cidr: Cidr,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    nat_outgoing: bool,
    #[serde(default, deserialize_with = "or_default")]
    vxlan_mode: String,
    #[serde(default, deserialize_with = "or_default")]
    ipip_mode: String,
    block_size: Option<u8>,
}

/// Reads the pools where Calico stores them; where it stores none there, from its own API.
pub(super) async fn read(reader: &Reader<'_>) -> Fact<Vec<CalicoPool>> {
    let stored = list(reader, &CALICO_POOLS).await;
    let pools = match stored {
        // Newer releases can do without the group of the stored objects.
        Err(unknown) if unknown.reason == Reason::NotInstalled => {
            list(reader, &CALICO_POOLS_V3).await.map_err(|own| match own.reason {
                Reason::NotInstalled => unknown,
                _ => own,
            })
        }
        other => other,
    };
    pools.map_or_else(Fact::Unknown, |mut pools| {
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        Fact::known(pools, Source::read("IPPools", "spec"))
    })
}

async fn list(reader: &Reader<'_>, resource: &Resource) -> Result<Vec<CalicoPool>, Unknown> {
    reader
        .list(resource, Scope::ALL, |pools: &mut Vec<CalicoPool>, object: Object| {
            pools.push(reduce(object));
            Ok(())
        })
        .await
}

fn reduce(Object { metadata, spec }: Object) -> CalicoPool {
    let never_if_absent = |mode: String| {
        if mode.is_empty() { "Never".to_owned() } else { mode }
    };
    CalicoPool {
        name: metadata.name,
        cidr: spec.cidr,
        disabled: spec.disabled,
        nat_outgoing: spec.nat_outgoing,
        vxlan_mode: never_if_absent(spec.vxlan_mode),
        ipip_mode: never_if_absent(spec.ipip_mode),
        block_size: spec.block_size,
        labels: pick(metadata.labels, &["submariner.io/"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_how_it_is_carried_and_whether_it_is_masqueraded() {
        let pool = reduce(
            serde_json::from_str(
                r#"{"apiVersion":"crd.projectcalico.org/v1","kind":"IPPool","metadata":{"name":"default-ipv4-ippool","annotations":{"projectcalico.org/metadata":"{}"}},
                    "spec":{"allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic","blockSize":26,"cidr":"10.244.0.0/16","ipipMode":"Never",
                            "natOutgoing":true,"nodeSelector":"all()","vxlanMode":"Always"}}"#,
            )
            .unwrap(),
        );
        assert_eq!((pool.vxlan_mode.as_str(), pool.ipip_mode.as_str()), ("Always", "Never"));
        assert!(pool.nat_outgoing && !pool.disabled);
        assert_eq!(
            (pool.cidr.to_string().as_str(), pool.block_size),
            ("10.244.0.0/16", Some(26))
        );
    }

    #[test]
    fn a_pool_that_submariner_made_is_told_by_its_label() {
        let pool = reduce(
            serde_json::from_str(
                r#"{"metadata":{"name":"submariner-west-10.245.0.0-16","labels":{"submariner.io/ippool":"true","team":"net"}},
                    "spec":{"cidr":"10.245.0.0/16","disabled":true,"disableBGPExport":true}}"#,
            )
            .unwrap(),
        );
        assert_eq!((pool.vxlan_mode.as_str(), pool.ipip_mode.as_str()), ("Never", "Never"));
        assert!(pool.disabled && !pool.nat_outgoing);
        assert_eq!(pool.labels.keys().collect::<Vec<_>>(), ["submariner.io/ippool"]);
    }

    #[test]
    fn a_pool_without_a_block_is_no_pool() {
        for spec in [
            r#"{"cidr":"10.0.0.0/99"}"#,
            r#"{"cidr":""}"#,
            "{}",
            "null",
            r#"{"cidr":["10.0.0.0/8"]}"#,
        ] {
            let json = format!(r#"{{"metadata":{{"name":"p"}},"spec":{spec}}}"#);
            assert!(serde_json::from_str::<Object>(&json).is_err(), "{spec}");
        }
    }
}
