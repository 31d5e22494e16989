//! Documents without what changes by itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use crate::facts::ClusterFacts;
use crate::facts::kernel::{BoundSocket, NodeFacts};
use crate::facts::kubernetes::ObservedBlock;
use crate::facts::provenance::Fact;
use crate::report::Report;

/// Facts as JSON, without times and without how many of something there happened to be.
pub(super) fn facts(facts: &ClusterFacts) -> Value {
    let mut facts = facts.clone();
    facts.schema = String::new();
    facts.collected_at = None;
    facts.collected_by = String::new();
    for read in &mut facts.reads {
        read.objects = None;
    }
    if let Fact::Known(pods) = &mut facts.pods {
        pods.value.running = 0;
        pods.value.host_network = 0;
        blocks(&mut pods.value.pods);
        for host_port in &mut pods.value.host_ports {
            // Pods are replaced by others of another name that do the same.
            host_port.pod = String::new();
        }
    }
    if let Fact::Known(workloads) = &mut facts.workloads {
        for workload in &mut workloads.value {
            workload.desired = 0;
            workload.ready = 0;
            workload.unobserved = false;
        }
    }
    facts.node_facts.iter_mut().for_each(node);
    if let Fact::Known(mcs) = &mut facts.mcs
        && let Fact::Known(slices) = &mut mcs.value.endpoint_slices
    {
        // Addresses of pods.
        slices.value.iter_mut().for_each(|slice| slice.addresses.clear());
    }
    if let Fact::Known(submariner) = &mut facts.submariner
        && let Fact::Known(gateways) = &mut submariner.value.gateways
    {
        gateways.value.iter_mut().for_each(|gateway| gateway.updated_at = None);
    }
    if let Fact::Known(cilium) = &mut facts.cilium {
        let cilium = &mut cilium.value;
        if let Fact::Known(agents) = &mut cilium.agent_pods {
            // Which versions run is news; how many pods of each follows the nodes.
            agents.value.values_mut().for_each(|count| *count = 0);
        }
        if let Fact::Known(identities) = &mut cilium.identities {
            for group in &mut identities.value {
                group.count = 0;
                group.in_use = None;
                group.example = 0;
                group.example_endpoint = String::new();
            }
        }
        if let Fact::Known(policies) = &mut cilium.policies {
            policies.value.count = 0;
        }
        if let Fact::Known(nodes) = &mut cilium.nodes {
            // Addresses handed to pods, one by one.
            nodes.value.iter_mut().for_each(|node| node.addresses_assigned.clear());
        }
        if let Fact::Known(endpoints) = &mut cilium.endpoints {
            let endpoints = &mut endpoints.value;
            endpoints.count = 0;
            blocks(&mut endpoints.of_running_pods);
            blocks(&mut endpoints.without_pod);
            blocks(&mut endpoints.pods_without);
        }
    }
    serde_json::to_value(facts).unwrap_or_default()
}

/// What a node's kernel says, without what comes and goes with pods and connections.
fn node(node: &mut NodeFacts) {
    node.collected_at = None;
    node.collected_by = String::new();
    node.counters = Fact::default();
    if let Fact::Known(clock) = &mut node.clock {
        (clock.value.max_error_micros, clock.value.estimated_error_micros) = (0, 0);
    }
    if let Fact::Known(sysctls) = &mut node.sysctls {
        sysctls.value.remove("net.netfilter.nf_conntrack_count");
    }
    let mut of_pods = BTreeSet::new();
    if let Fact::Known(links) = &mut node.links {
        links.value.retain(|link| {
            let of_pod = link.kind == "veth" && link.addresses.is_empty() && !link.name.starts_with("cilium");
            if of_pod {
                of_pods.insert(link.name.clone());
            }
            !of_pod
        });
        for link in &mut links.value {
            // A link that is made anew has the next number.
            link.index = 0;
            link.master = link.master.map(|_| 0);
            if let Some(tunnel) = &mut link.tunnel {
                tunnel.lower = tunnel.lower.map(|_| 0);
            }
        }
    }
    if let Fact::Known(routes) = &mut node.routes {
        routes.value.retain(|route| !of_pods.contains(&route.link));
    }
    if let Fact::Known(filter) = &mut node.packet_filter {
        filter.value.chains.iter_mut().for_each(|chain| chain.rules = 0);
    }
    if let Fact::Known(sockets) = &mut node.sockets {
        sockets
            .value
            .retain(|socket| !is_lent(socket) && !socket.is_of_an_agent());
    }
    for name in &mut node.names {
        // Name servers give them in turn.
        if let Ok(addresses) = &mut name.result {
            addresses.sort_unstable();
        }
    }
}

/// The ports that Linux lends to who asks for any (`net.ipv4.ip_local_port_range`).
const LENT: std::ops::RangeInclusive<u16> = 32_768..=60_999;
/// Ports of products among them: WireGuard's own, and Cilium's for it.
const HELD: [u16; 2] = [51_820, 51_871];

/// Whether a socket has a port that it got for the asking, and another one tomorrow.
fn is_lent(socket: &BoundSocket) -> bool {
    LENT.contains(&socket.port) && !HELD.contains(&socket.port)
}

/// Reduces observations to which blocks of 256 addresses are in use.
fn blocks(observed: &mut [ObservedBlock]) {
    for block in observed {
        block.count = 0;
        block.example = String::new();
        block.first = match block.first {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !0xff).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !0xff).into(),
        };
        block.last = block.first;
    }
}

/// A report without its findings and without what follows from them.
pub(super) fn head(report: &Report) -> Value {
    let clusters = report.clusters.iter().map(|cluster| {
        let mut cluster = cluster.clone();
        cluster.collected_at = None;
        cluster.facts = crate::report::Ratio::default();
        cluster
    });
    json!({
        "clusters": clusters.collect::<Vec<_>>(),
        "profiles": report.profiles,
        "verdict": report.verdict,
        "exit_code": report.exit_code,
    })
}
