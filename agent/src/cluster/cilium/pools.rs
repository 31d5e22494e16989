//! `CiliumPodIPPool` objects: the ranges of multi-pool IPAM.

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::cilium::PodIpPool;
use prejoin_checks::facts::provenance::{Fact, Reason, Source};
use serde::Deserialize;

use super::Settings;
use crate::cluster::object::{Meta, or_default};
use crate::cluster::permissions::CILIUM_POD_IP_POOLS;
use crate::cluster::reader::{Reader, Scope};

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    ipv4: Family,
    #[serde(deserialize_with = "or_default")]
    ipv6: Family,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Family {
    #[serde(deserialize_with = "or_default")]
    cidrs: Vec<Cidr>,
}

/// Reads the pools, unless another IPAM mode leaves them without use.
pub(super) async fn read(reader: &Reader<'_>, settings: Settings<'_>) -> Fact<Vec<PodIpPool>> {
    if let Ok(Some(ipam)) = settings.get("ipam")
        && ipam != "multi-pool"
    {
        return Fact::unknown(
            Reason::NotInstalled,
            format!("with ipam {ipam} there are no pools to read"),
        );
    }
    let pools = reader
        .list(
            &CILIUM_POD_IP_POOLS,
            Scope::ALL,
            |pools: &mut Vec<PodIpPool>, object: Object| {
                pools.push(reduce(object));
                Ok(())
            },
        )
        .await;
    pools.map_or_else(Fact::Unknown, |mut pools| {
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        Fact::known(pools, Source::read("CiliumPodIPPools", "spec"))
    })
}

fn reduce(object: Object) -> PodIpPool {
    let annotations = &object.metadata.annotations;
    PodIpPool {
        skip_masquerade: annotations
            .get("ipam.cilium.io/skip-masquerade")
            .is_some_and(|value| value == "true"),
        name: object.metadata.name,
        cidrs: object
            .spec
            .ipv4
            .cidrs
            .into_iter()
            .chain(object.spec.ipv6.cidrs)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_ranges_of_both_families() {
        let pool = reduce(
            serde_json::from_str(
                r#"{"metadata":{"name":"default","annotations":{"ipam.cilium.io/skip-masquerade":"true"}},
                    "spec":{"ipv4":{"cidrs":["10.10.0.0/16"],"maskSize":27},"ipv6":{"cidrs":["fd00::/104"],"maskSize":120}}}"#,
            )
            .unwrap(),
        );
        assert_eq!(pool.cidrs.len(), 2);
        assert!(pool.skip_masquerade);
    }
}
