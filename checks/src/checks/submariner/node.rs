//! What agents read on the nodes of a cluster that is, or is to be, a member. Codes: `SM022` packet filters, `SM32x` network plugins,
//! `SM44x` addresses and modules, `SM45x` ports, `SM46x` MTU, `SM47x` settings of the host, `SM92x` what Submariner itself has set.

pub mod addresses;
pub mod filters;
pub mod host;
pub mod modules;
pub mod mtu;
pub mod routing;
pub mod sockets;
pub mod sysctls;

use crate::check::NoVerdict;
use crate::checks::per_node::OnNode;
use crate::cidr::Cidr;
use crate::facts::kernel::{Link, Route};
use crate::facts::node::Node;
use crate::facts::provenance::Unknown;
use crate::fleet::Cluster;
use crate::profile::submariner::discovery::is_ovn_kubernetes;
use crate::profile::submariner::gateways::labelled_or_candidates;

/// The device between the nodes of a member.
const NODE_DEVICE: &str = "vx-submariner";
/// The device of the VXLAN cable.
const CABLE_DEVICE: &str = "vxlan-tunnel";

/// The Linux nodes that are gateways or, while none is labelled, may become one.
fn gateways<'a>(cluster: &Cluster<'a>) -> Result<Vec<&'a Node>, Unknown> {
    let nodes = labelled_or_candidates(cluster)?.into_iter();
    Ok(nodes.filter(|node| node.os != "windows").collect())
}

/// A rule about the devices that OVN-Kubernetes makes Submariner do without.
fn without_ovn(cluster: &Cluster<'_>) -> Result<(), NoVerdict> {
    if is_ovn_kubernetes(cluster)? {
        return Err(NoVerdict::does_not_apply("OVN-Kubernetes carries the packets itself"));
    }
    Ok(())
}

/// The preferred IPv4 default route of the main table, if there is one.
fn default_route<'a>(on: &OnNode<'a>) -> Result<Option<&'a Route>, Unknown> {
    Ok(on.default_routes(true)?.first().copied())
}

/// The link of the default route: what Submariner takes for the way out.
fn default_link<'a>(on: &OnNode<'a>) -> Result<Option<&'a Link>, Unknown> {
    let kernel = on.kernel;
    let links = kernel.links.get()?.iter();
    let route = default_route(on)?;
    Ok(route.and_then(|route| links.into_iter().find(|link| link.name == route.link)))
}

/// The MTU of the default route's link.
fn uplink_mtu(on: &OnNode<'_>) -> Result<u32, Unknown> {
    default_link(on)?
        .map(|link| link.mtu)
        .ok_or_else(|| Unknown::not_found(format!("{} has no IPv4 default route over one link", on.node.name)))
}

/// A link with an address inside the pod ranges: what Submariner takes for the network plugin's.
fn pod_link<'a>(on: &OnNode<'a>, pods: &[Cidr]) -> Result<Option<&'a Link>, Unknown> {
    let kernel = on.kernel;
    let has_pod_address = |link: &&Link| {
        let mut addresses = link.addresses.iter().filter(|address| address.ip.is_ipv4());
        addresses.any(|address| pods.iter().any(|cidr| cidr.contains_addr(address.ip)))
    };
    Ok(kernel.links.get()?.iter().find(has_pod_address))
}

#[cfg(test)]
mod support {
    use crate::engine::judge;
    use crate::facts::ClusterFacts;
    use crate::facts::kernel::NodeFacts;
    use crate::facts::provenance::{Fact, Reason};
    use crate::intent::{Intent, SubmarinerPlan};
    use crate::profile::Profile::Submariner;
    use crate::report::{Finding, Verdict};
    use crate::samples::{findings, flannel, policy, submariner, with_agents};

    /// Ready to join: `east-n1`, and `east-n2`, the gateway; agents on both.
    pub(super) fn ready() -> ClusterFacts {
        with_agents(flannel("east", 1))
    }

    /// A member of a clusterset of two.
    pub(super) fn joined() -> ClusterFacts {
        with_agents(submariner(&[("east", 1), ("west", 2)]).remove(0))
    }

    pub(super) fn planned(facts: &ClusterFacts, code: &str, plan: impl FnOnce(&mut SubmarinerPlan)) -> Finding {
        let mut intent = Intent::default();
        plan(&mut intent.submariner);
        let report = judge(std::slice::from_ref(facts), &intent, &policy(Submariner));
        findings(&report, code)[0].clone()
    }

    pub(super) fn alone(facts: &ClusterFacts, code: &str) -> Finding {
        planned(facts, code, |_| ())
    }

    pub(super) fn verdict(facts: &ClusterFacts, code: &str) -> Verdict {
        alone(facts, code).verdict
    }

    /// The same cluster, whose agents were refused a fact.
    pub(super) fn refused<T>(mut facts: ClusterFacts, fact: fn(&mut NodeFacts) -> &mut Fact<T>) -> ClusterFacts {
        for kernel in &mut facts.node_facts {
            *fact(kernel) = Fact::unknown(Reason::Forbidden, "not permitted");
        }
        facts
    }
}
