//! Documents without what changes by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use crate::facts::ClusterFacts;
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
    }
    if let Fact::Known(workloads) = &mut facts.workloads {
        for workload in &mut workloads.value {
            workload.desired = 0;
            workload.ready = 0;
        }
    }
    for node in &mut facts.node_facts {
        node.collected_at = None;
        node.collected_by = String::new();
        node.counters = Fact::default();
        if let Fact::Known(clock) = &mut node.clock {
            (clock.value.max_error_micros, clock.value.estimated_error_micros) = (0, 0);
        }
        if let Fact::Known(sysctls) = &mut node.sysctls {
            sysctls.value.remove("net.netfilter.nf_conntrack_count");
        }
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
