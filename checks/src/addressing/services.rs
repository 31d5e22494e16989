//! The ranges of Services: `ServiceCIDR` objects, OpenShift, flags, kubeadm, distribution marks, and last the ClusterIPs themselves.

use std::net::IpAddr;

use super::{Range, ServiceRanges, listed};
use crate::cidr::Cidr;
use crate::facts::provenance::{Source, Unknown};
use crate::facts::{ClusterFacts, RangeKind};
use crate::fleet::Cluster;

impl ServiceRanges {
    /// Reconciles all sources of a cluster, most trusted first.
    pub fn of(cluster: &Cluster<'_>) -> Result<Self, Unknown> {
        let facts = cluster.facts;
        let mut sources = sources(facts).into_iter().filter(|ranges| !ranges.is_empty());
        if let Some(ranges) = sources.next() {
            return Ok(Self {
                ranges,
                advisory: sources.flatten().collect(),
                is_estimate: false,
            });
        }
        if facts.planned {
            return Err(facts
                .service_cidrs
                .why()
                .cloned()
                .unwrap_or_else(|| Unknown::not_found("no service range is declared")));
        }
        let services = facts.services.known_value()?;
        let addresses: Vec<IpAddr> = services
            .value
            .iter()
            .flat_map(|service| service.cluster_ips.iter().copied())
            .collect();
        if addresses.is_empty() {
            return Err(Unknown::not_found(
                "no source tells the service range and no Service has a ClusterIP",
            ));
        }
        let source = Source::estimate(format!("{} ClusterIPs", addresses.len()), "smallest block around them");
        let ranges = Cidr::smallest_covering(&addresses)
            .into_iter()
            .map(|cidr| Range::new(cidr, source.clone()))
            .collect();
        Ok(Self {
            ranges,
            advisory: Vec::new(),
            is_estimate: true,
        })
    }
}

/// What each source says, most trusted first.
fn sources(facts: &ClusterFacts) -> Vec<Vec<Range>> {
    let control_plane = &facts.control_plane;
    let declared = facts.declared.iter().filter(|range| range.kind == RangeKind::Services);
    let mut sources = vec![
        declared
            .map(|range| Range::new(range.cidr, range.source.clone()))
            .collect(),
    ];
    if let Ok(known) = facts.service_cidrs.known_value() {
        sources.push(Range::all(&known.value, &known.source));
    }
    if let Ok(known) = control_plane.openshift_network.known_value() {
        sources.push(Range::all(
            &known.value.service_network,
            &field(&known.source, "spec.serviceNetwork"),
        ));
    }
    for flags in [&control_plane.api_server_flags, &control_plane.controller_manager_flags] {
        if let Ok(known) = flags.known_value()
            && let Some(text) = known.value.get("service-cluster-ip-range")
        {
            sources.push(listed(text, &field(&known.source, "--service-cluster-ip-range")));
        }
    }
    if let Ok(known) = control_plane.kubeadm.known_value() {
        sources.push(Range::all(
            &known.value.service_subnets,
            &field(&known.source, "networking.serviceSubnet"),
        ));
    }
    sources.push(node_args(facts, "--service-cidr"));
    if let Ok(known) = facts.cni.ovn.known_value() {
        sources.push(Range::all(
            &known.value.service_cidrs,
            &field(&known.source, "svc_cidr"),
        ));
    }
    sources
}

pub(super) fn field(source: &Source, field: &str) -> Source {
    Source {
        field: field.to_owned(),
        ..source.clone()
    }
}

/// K3s and RKE2 leave their arguments on the node as a JSON list: `["server","--cluster-cidr","10.42.0.0/16"]`.
pub(super) fn node_args(facts: &ClusterFacts, flag: &str) -> Vec<Range> {
    let Some(nodes) = facts.nodes.ok() else {
        return Vec::new();
    };
    for node in nodes {
        for key in ["k3s.io/node-args", "rke2.io/node-args"] {
            let Some(text) = node.annotations.get(key) else {
                continue;
            };
            let Ok(args) = serde_json::from_str::<Vec<String>>(text) else {
                continue;
            };
            let source = Source::read(format!("Node {}", node.name), format!("annotation {key} {flag}"));
            let ranges: Vec<Range> = args
                .iter()
                .enumerate()
                .filter_map(|(place, arg)| match arg.strip_prefix(flag)? {
                    "" => args.get(place + 1).map(String::as_str),
                    rest => rest.strip_prefix('='),
                })
                .flat_map(|value| listed(value, &source))
                .collect();
            if !ranges.is_empty() {
                return ranges;
            }
        }
    }
    Vec::new()
}
