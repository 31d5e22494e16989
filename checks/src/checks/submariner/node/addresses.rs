//! Addresses and names of nodes as their kernels have them.

use std::collections::BTreeMap;

use super::{NODE_DEVICE, gateways, pod_link, without_ovn};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::{Seen, asked, judge, nodes, read};
use crate::fleet::{Audit, Cluster};
use crate::profile::submariner::{Mesh, member};
use crate::report::Severity;

pub(in crate::checks::submariner) static CHECKS: &[&Check] = &[&POD_LINK, &DEVICE_MAC, &HOST_NAMES];

declare_check! {
    /// ## What it checks
    /// Every gateway has a link with an IPv4 address inside the cluster's pod range.
    ///
    /// ## Why it matters
    /// Gateways answer health checks, and reach other clusters themselves, with that address. Plugins that only route to pods (kubenet of Azure,
    /// Calico without a tunnel) give the host none: the gateway exits while health checks are on and Globalnet is off.
    ///
    /// ## How it is determined
    /// Addresses of all links of gateways or, while none is labelled, of the nodes that `subctl join` would offer; the pod ranges of the cluster. With
    /// Globalnet, or without health checks, the gateway runs and this warns: the host itself does not reach other clusters.
    ///
    /// ## How to fix
    /// Join with `--health-check=false`.
    ///
    /// ## References
    /// `submariner`, `pkg/endpoint/local_endpoint.go`, `pkg/cni/cni_iface.go`; submariner issue 1892, submariner-charts issue 171.
    pub static POD_LINK = {
        code: "SM321",
        slug: "host-address-in-pod-range",
        title: "A gateway has no address in the pod range",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateway exits, or its node cannot reach other clusters",
        rules: ["submariner CNI-13"],
        run: Cluster(host_address_in_pod_range),
    };
}

fn host_address_in_pod_range(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let mesh = Mesh::of(audit);
        let exits = mesh.health_check(cluster)?.value && !mesh.globalnet(cluster)?.value;
        let pods = cluster.pods()?.summary();
        let advice = (
            "a link with an address in the pod range on gateways",
            "join with --health-check=false, or use a plugin or mode that gives the host an address in the pod range",
        );
        judge(audit, cluster, gateways(cluster)?, advice, |on| {
            Ok(match pod_link(on, &pods)? {
                Some(link) => Seen::fine(link.name.clone()).evidence(on.evidence(
                    &on.kernel.links,
                    "in the pod range",
                    &link.name,
                )),
                None if exits => Seen::fault("none"),
                None => Seen::fault_as(Severity::Warn, "none"),
            })
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Records nodes of a member whose `vx-submariner` have one MAC address.
    ///
    /// ## Why it matters
    /// It was reported, and found to do no harm where addresses are routed; where the network learns MAC addresses it may.
    ///
    /// ## How it is determined
    /// MAC address of the device on every node.
    ///
    /// ## How to fix
    /// Nothing to fix.
    ///
    /// ## References
    /// submariner issue 4024.
    pub static DEVICE_MAC = {
        code: "SM322",
        slug: "device-mac",
        title: "Nodes share a MAC address of Submariner's device",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "networks that learn MAC addresses may send packets to the wrong node",
        rules: ["submariner CNI-18"],
        run: Cluster(device_mac),
    };
}

fn device_mac(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        member(cluster)?;
        without_ovn(cluster)?;
        let all = nodes(cluster)?;
        let mut macs: BTreeMap<String, u32> = BTreeMap::new();
        for (_, on) in read(cluster, all.clone()) {
            if let Ok(Some(link)) = on.and_then(|on| on.kernel.link(NODE_DEVICE)) {
                *macs.entry(link.mac.clone()).or_default() += 1;
            }
        }
        judge(audit, cluster, all, ("a MAC address for each node", ""), |on| {
            let Some(link) = on.kernel.link(NODE_DEVICE)? else {
                return Err(NoVerdict::does_not_apply("Submariner has made no such device"));
            };
            let seen = if macs.get(&link.mac).is_some_and(|count| *count > 1) {
                Seen::fault_as(Severity::Info, format!("{} more than once", link.mac))
            } else {
                Seen::fine("one of its own")
            };
            Ok(seen.evidence(on.evidence(&on.kernel.links, format!("{NODE_DEVICE} mac"), &link.mac)))
        })
    })
}

declare_check! {
    /// ## What it checks
    /// The host names of a cluster's nodes differ and, with Globalnet, can be names of objects.
    ///
    /// ## Why it matters
    /// Gateways elect a leader, and know themselves, by the host's name. Two gateways with one name both believe they lead. With Globalnet it becomes the name
    /// of an object, which upper-case letters and underscores make impossible: the gateway gets no global address.
    ///
    /// ## How it is determined
    /// `uname -n` on every node. The label `kubernetes.io/hostname` may say something else.
    ///
    /// ## How to fix
    /// Rename the host (`hostnamectl set-hostname`) and restart Submariner's pods there.
    ///
    /// ## References
    /// `submariner`, `pkg/gateway/gateway.go`, `pkg/globalnet/controllers/gateway_controller.go`.
    pub static HOST_NAMES = {
        code: "SM444",
        slug: "kernel-host-names",
        title: "Nodes have one host name, or one that cannot name an object",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "two gateways lead at once, or a gateway gets no global address",
        rules: ["submariner NODE-16"],
        run: Cluster(host_names),
    };
}

fn host_names(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let gateways: Vec<&str> = gateways(cluster)?.iter().map(|node| node.name.as_str()).collect();
        let globalnet = Mesh::of(audit).globalnet(cluster)?.value;
        let all = nodes(cluster)?;
        let mut holders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (node, on) in read(cluster, all.clone()) {
            if let Some(name) = on.ok().and_then(|on| on.kernel.host_name.ok()) {
                holders.entry(name).or_default().push(&node.name);
            }
        }
        let advice = (
            "a host name for each node that can name an object",
            "rename the host (hostnamectl set-hostname) and restart Submariner's pods there",
        );
        judge(audit, cluster, all, advice, |on| {
            let name = on.kernel.host_name.get()?;
            let others = holders.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let is_gateway = gateways.contains(&on.node.name.as_str());
            let evidence = on.evidence(&on.kernel.host_name, "host name", name);
            let seen = if others.len() > 1 && others.iter().any(|node| gateways.contains(node)) {
                Seen::fault(format!("host name {name}"))
            } else if others.len() > 1 {
                Seen::fault_as(Severity::Warn, format!("host name {name}"))
            } else if globalnet && is_gateway && !can_name_an_object(name) {
                Seen::fault(format!("host name {name}, which cannot name an object"))
            } else {
                Seen::fine("a name of its own")
            };
            Ok(seen.evidence(evidence))
        })
    })
}

/// Whether this is a DNS subdomain in lower case (RFC 1123), as names of objects are.
fn can_name_an_object(name: &str) -> bool {
    let is_label = |label: &str| {
        let edges = [label.chars().next(), label.chars().last()];
        edges
            .iter()
            .all(|edge| edge.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit()))
            && label
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests;
