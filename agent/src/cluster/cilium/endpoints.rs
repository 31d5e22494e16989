//! `CiliumEndpoint` and `CiliumEndpointSlice`, held against the pods.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prejoin_checks::facts::cilium;
use prejoin_checks::facts::provenance::{Fact, Known, Source, Unknown};
use serde::Deserialize;

use super::Settings;
use crate::cluster::blocks::{Blocks, Owned};
use crate::cluster::object::{Meta, or_default};
use crate::cluster::permissions::{CILIUM_ENDPOINT_SLICES, CILIUM_ENDPOINTS};
use crate::cluster::pods::Pods;
use crate::cluster::reader::{Reader, Scope};

/// What was found of the endpoints.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    count: u64,
    /// In their order.
    addresses: Vec<Owned>,
    /// For every identity in use one endpoint that uses it.
    pub(super) identities: BTreeMap<u32, Box<str>>,
    slices: bool,
}

#[derive(Deserialize)]
struct Endpoint {
    metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    identity: Identity,
    #[serde(deserialize_with = "or_default")]
    networking: Networking,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Identity {
    id: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Networking {
    #[serde(deserialize_with = "or_default")]
    addressing: Vec<Pair>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pair {
    ipv4: String,
    ipv6: String,
}

#[derive(Deserialize)]
struct Slice {
    #[serde(default)]
    namespace: String,
    #[serde(default, deserialize_with = "or_default")]
    endpoints: Vec<CoreEndpoint>,
}

#[derive(Deserialize)]
struct CoreEndpoint {
    #[serde(default)]
    name: String,
    /// The identity.
    id: Option<u32>,
    #[serde(default, deserialize_with = "or_default")]
    networking: Networking,
}

/// Reads the slices where they are on, and the single endpoints otherwise.
pub(super) async fn read(reader: &Reader<'_>, settings: Settings<'_>) -> Result<Endpoints, Unknown> {
    let mut endpoints = if settings.is_true("enable-cilium-endpoint-slice") == Ok(true)
        && let Ok(mut endpoints) = read_slices(reader).await
        && endpoints.count > 0
    {
        endpoints.slices = true;
        endpoints
    } else {
        reader
            .list(
                &CILIUM_ENDPOINTS,
                Scope::ALL,
                |all: &mut Endpoints, endpoint: Endpoint| {
                    let Status { identity, networking } = endpoint.status;
                    all.add(&endpoint.metadata.key(), identity.id, &networking)
                },
            )
            .await?
    };
    endpoints.addresses.sort_unstable();
    Ok(endpoints)
}

async fn read_slices(reader: &Reader<'_>) -> Result<Endpoints, Unknown> {
    let reduce = |all: &mut Endpoints, slice: Slice| {
        for endpoint in &slice.endpoints {
            let owner = format!("{}/{}", slice.namespace, endpoint.name);
            all.add(&owner, endpoint.id, &endpoint.networking)?;
        }
        Ok(())
    };
    reader.list(&CILIUM_ENDPOINT_SLICES, Scope::ALL, reduce).await
}

impl Endpoints {
    fn add(&mut self, owner: &str, identity: Option<u32>, networking: &Networking) -> Result<(), String> {
        self.count += 1;
        if let Some(identity) = identity {
            self.identities.entry(identity).or_insert_with(|| owner.into());
        }
        let pairs = networking.addressing.iter();
        for address in pairs
            .flat_map(|pair| [&pair.ipv4, &pair.ipv6])
            .filter(|address| !address.is_empty())
        {
            let address: IpAddr = address
                .parse()
                .map_err(|_| "networking.addressing holds no address".to_owned())?;
            self.addresses.push((address, owner.into()));
        }
        Ok(())
    }
}

/// The fact: which endpoints have a running pod, and which pods have an endpoint.
pub(super) fn fact(endpoints: Result<Endpoints, Unknown>, pods: &Result<Pods, Unknown>) -> Fact<cilium::Endpoints> {
    let read = || {
        let endpoints = endpoints?;
        let pods = pods.as_ref().map_err(Unknown::clone)?;
        let object = if endpoints.slices {
            "CiliumEndpointSlices"
        } else {
            "CiliumEndpoints"
        };
        let fact = correlate(&endpoints, &pods.addresses);
        Ok(Known::new(fact, Source::read(object, "networking.addressing")))
    };
    read().into()
}

fn correlate(endpoints: &Endpoints, pods: &[Owned]) -> cilium::Endpoints {
    let has = |sorted: &[Owned], address: IpAddr| sorted.binary_search_by_key(&address, |(other, _)| *other).is_ok();
    let (mut of_running_pods, mut without_pod) = (Blocks::default(), Blocks::default());
    for (address, owner) in &endpoints.addresses {
        if has(pods, *address) {
            of_running_pods.add(*address, owner);
        } else {
            without_pod.add(*address, owner);
        }
    }
    let without = pods.iter().filter(|(address, _)| !has(&endpoints.addresses, *address));
    let pods_without: Blocks = without.map(|(address, owner)| (*address, &**owner)).collect();
    cilium::Endpoints {
        count: endpoints.count,
        of_running_pods: of_running_pods.into_vec(),
        without_pod: without_pod.into_vec(),
        pods_without: pods_without.into_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_and_pods_are_held_against_each_other() {
        let mut endpoints = Endpoints::default();
        for json in [
            r#"{"metadata":{"name":"web","namespace":"shop"},"status":{"identity":{"id":75543},"networking":{"addressing":[{"ipv4":"10.0.1.7","ipv6":"fd00::7"}]}}}"#,
            r#"{"metadata":{"name":"gone","namespace":"shop"},"status":{"networking":{"addressing":[{"ipv4":"10.0.9.9"}]}}}"#,
            r#"{"metadata":{"name":"new","namespace":"shop"},"status":null}"#,
        ] {
            let endpoint: Endpoint = serde_json::from_str(json).unwrap();
            let Status { identity, networking } = endpoint.status;
            endpoints
                .add(&endpoint.metadata.key(), identity.id, &networking)
                .unwrap();
        }
        endpoints.addresses.sort_unstable();
        let pods: Vec<Owned> = [
            ("10.0.1.7", "shop/web"),
            ("10.0.5.5", "shop/early"),
            ("fd00::7", "shop/web"),
        ]
        .map(|(address, owner)| (address.parse().unwrap(), owner.into()))
        .into();
        let fact = correlate(&endpoints, &pods);
        assert_eq!((fact.count, fact.of_running_pods.len()), (3, 2));
        assert_eq!(fact.without_pod[0].example, "shop/gone");
        assert_eq!(fact.pods_without[0].example, "shop/early");
        assert_eq!(&*endpoints.identities[&75543], "shop/web");
    }
}
