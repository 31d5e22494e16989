//! The mesh's own objects: Service and Deployment `clustermesh-apiserver`, and whose control plane an endpoint is.

use std::collections::{BTreeSet, HashMap};

use crate::facts::cilium::Peer;
use crate::facts::kubernetes::Workload;
use crate::facts::provenance::Unknown;
use crate::facts::service::Service;
use crate::fleet::{Audit, Cluster};
use crate::outcome::ClusterId;

/// The name of the mesh's Service and Deployment.
pub const NAME: &str = "clustermesh-apiserver";
/// The port of etcd behind the Service.
pub const ETCD_PORT: u16 = 2379;

/// The Service that peers dial; `None` if there is none.
pub fn service<'a>(cluster: &Cluster<'a>) -> Result<Option<&'a Service>, Unknown> {
    let namespace = &cluster.facts.cilium.get()?.namespace;
    let mut services = cluster.facts.services.get()?.iter();
    Ok(services.find(|service| service.name == NAME && service.namespace == *namespace))
}

/// The Deployment behind it; `None` if there is none.
pub fn deployment<'a>(cluster: &Cluster<'a>) -> Result<Option<&'a Workload>, Unknown> {
    let namespace = &cluster.facts.cilium.get()?.namespace;
    let mut workloads = cluster.facts.workloads.get()?.iter();
    Ok(workloads.find(|workload| workload.name == NAME && workload.namespace == *namespace))
}

/// Whether KVStoreMesh runs, so that agents dial their own cluster's cache only; `None` if there is no Deployment yet.
pub fn kvstoremesh(cluster: &Cluster<'_>) -> Result<Option<bool>, Unknown> {
    Ok(deployment(cluster)?.map(|workload| workload.container("kvstoremesh").is_some()))
}

/// One address and port that peers dial.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// An IP address or a name.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// `https://west.mesh.cilium.io:32379`, `https://[fd00::1]:2379`; without a port, that of the scheme.
pub fn parse_endpoint(url: &str) -> Option<Endpoint> {
    let (scheme, rest) = url.trim().split_once("://").unwrap_or(("https", url.trim()));
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None if scheme == "http" => 80,
        None => 443,
    };
    (!host.is_empty()).then(|| Endpoint {
        host: host.to_ascii_lowercase(),
        port,
    })
}

/// The endpoints of a configured peer: names that the cluster's own objects map to addresses are replaced by those.
pub fn endpoints(cluster: &Cluster<'_>, peer: &Peer) -> Vec<Endpoint> {
    let aliases = cluster
        .facts
        .cilium
        .ok()
        .and_then(|cilium| cilium.mesh.host_aliases.ok());
    let resolve = |endpoint: Endpoint| match aliases.and_then(|aliases| aliases.get(&endpoint.host)) {
        Some(addresses) => addresses
            .iter()
            .map(|host| Endpoint {
                host: host.clone(),
                port: endpoint.port,
            })
            .collect(),
        None => vec![endpoint],
    };
    let parsed = peer.endpoints.iter().filter_map(|url| parse_endpoint(url));
    parsed.flat_map(resolve).collect()
}

/// Where the control planes of all clusters answer, as far as their Services and nodes show.
#[derive(Debug, Default)]
pub struct Addresses(HashMap<Endpoint, BTreeSet<ClusterId>>);

impl Addresses {
    /// Of all clusters of an audit. What cannot be read is left out.
    pub fn of(audit: &Audit<'_>) -> Self {
        let mut addresses = Self::default();
        for cluster in audit.clusters {
            for endpoint in served(cluster) {
                addresses.0.entry(endpoint).or_default().insert(cluster.id);
            }
        }
        addresses
    }

    /// The clusters whose control plane answers there. More than one if their addresses collide.
    pub fn owners(&self, endpoint: &Endpoint) -> impl Iterator<Item = ClusterId> {
        self.0.get(endpoint).into_iter().flatten().copied()
    }
}

/// Every address and port at which a cluster's control plane answers.
pub fn served(cluster: &Cluster<'_>) -> Vec<Endpoint> {
    let Ok(Some(service)) = service(cluster) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut add = |host: String, port| {
        found.push(Endpoint {
            host: host.to_ascii_lowercase(),
            port,
        });
    };
    for port in &service.ports {
        for host in service.ingress.iter().chain(&service.external_ips) {
            add(host.clone(), port.port);
        }
        for ip in &service.cluster_ips {
            add(ip.to_string(), port.port);
        }
        let Some(node_port) = port.node_port else { continue };
        let nodes = cluster.facts.nodes.ok().into_iter().flatten();
        for address in nodes.flat_map(|node| &node.addresses) {
            add(address.ip.to_string(), node_port);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::provenance::{Fact, Source};
    use crate::intent::Intent;
    use crate::profile::Profile;
    use crate::samples;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn endpoints_are_read_as_etcd_reads_them() {
        assert_eq!(
            parse_endpoint("https://West.mesh.cilium.io:32379"),
            Some(endpoint("west.mesh.cilium.io", 32379))
        );
        assert_eq!(
            parse_endpoint("https://[fd00::1]:2379/"),
            Some(endpoint("fd00::1", 2379))
        );
        assert_eq!(parse_endpoint("https://10.0.0.1"), Some(endpoint("10.0.0.1", 443)));
        for text in ["", "https://", "https://a:b", "https://[fd00::1:2379"] {
            assert_eq!(parse_endpoint(text), None, "{text}");
        }
    }

    #[test]
    fn an_endpoint_belongs_to_the_cluster_that_serves_it() {
        let facts = [samples::cilium("east", 1), samples::cilium("west", 2)];
        let clusters: Vec<Cluster<'_>> = facts
            .iter()
            .enumerate()
            .map(|(id, facts)| Cluster::new(id, facts))
            .collect();
        let (intent, policy) = (Intent::default(), samples::policy(Profile::Clustermesh));
        let audit = Audit::new(Profile::Clustermesh, &clusters, &intent, &policy);
        let addresses = Addresses::of(&audit);
        let owners = |host, port| addresses.owners(&endpoint(host, port)).collect::<Vec<_>>();
        assert_eq!(owners("172.31.2.11", 32379), [1]);
        assert_eq!(owners("10.101.3.9", ETCD_PORT), [0]);
        assert!(owners("172.31.2.11", 32380).is_empty());
    }

    #[test]
    fn names_are_replaced_by_the_addresses_that_the_cluster_maps_them_to() {
        let mut facts = samples::cilium("east", 1);
        let aliases = [("west.mesh.cilium.io".to_owned(), vec!["172.31.2.11".to_owned()])];
        samples::cilium_mut(&mut facts).mesh.host_aliases = Fact::known(
            aliases.into(),
            Source::read("DaemonSet kube-system/cilium", "hostAliases"),
        );
        let peer = Peer {
            endpoints: vec!["https://west.mesh.cilium.io:32379".to_owned()],
            ..Peer::default()
        };
        assert_eq!(
            endpoints(&Cluster::new(0, &facts), &peer),
            [endpoint("172.31.2.11", 32379)]
        );
    }
}
