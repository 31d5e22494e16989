//! Clusters of kind: what works with them in a lab and proves nothing elsewhere.

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::compare::Groups;
use crate::facts::node::Node;
use crate::facts::provenance::{Known, Source};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::gateways::first_internal_ipv4;
use crate::report::Evidence;

pub(super) static CHECKS: &[&Check] = &[&KIND_NETWORK, &KIND_SINGLE_NODE, &KIND_SHARED_NETWORK];

/// The nodes of a cluster of kind.
fn kind_nodes<'a>(cluster: &Cluster<'a>) -> Result<&'a [Node], NoVerdict> {
    let nodes = cluster.facts.nodes.get()?;
    if cluster.is_kind() {
        return Ok(nodes);
    }
    Err(NoVerdict::does_not_apply("not a cluster of kind"))
}

declare_check! {
    /// ## What it checks
    /// The nodes of all kind clusters are in one container network.
    ///
    /// ## Why it matters
    /// Networks of Docker and Podman do not reach each other: gateways in two of them never connect.
    ///
    /// ## How it is determined
    /// The /16 block of a node's address in each cluster whose nodes are kind's. Whether packets pass takes an agent.
    ///
    /// ## How to fix
    /// Create the clusters in one network (`KIND_EXPERIMENTAL_DOCKER_NETWORK`), or connect the containers to a second one.
    ///
    /// ## References
    /// Submariner documentation, quickstart with kind; submariner issues 1264 and 1281.
    pub static KIND_NETWORK = {
        code: "SM430",
        slug: "kind-network",
        title: "Clusters of kind are in different container networks",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "gateways do not reach each other",
        rules: ["submariner KIND-03"],
        run: Between(kind_network),
    };
}

/// The container networks of all clusters of kind.
fn container_networks(audit: &Audit<'_>) -> Groups<Cidr> {
    Groups::of(audit, |cluster| {
        let nodes = kind_nodes(cluster)?;
        let first = nodes.iter().find_map(|node| Some((node, first_internal_ipv4(node)?)));
        let (node, address) = first.ok_or_else(|| NoVerdict::does_not_apply("no node has an IPv4 address"))?;
        let network = Cidr::new(address.into(), 16).expect("16 bits are a valid prefix");
        let source = Source::read(format!("Node {}", node.name), "status.addresses[InternalIP]");
        Ok(Known::new(network, source))
    })
}

fn kind_network(audit: &Audit<'_>) -> Vec<Outcome> {
    container_networks(audit).expect_equal(audit, |outcome, _| {
        outcome
            .expected("one container network")
            .remedy("create the clusters in one network")
    })
}

declare_check! {
    /// ## What it checks
    /// A kind cluster has more than one node.
    ///
    /// ## Why it matters
    /// With a single node the control plane is the gateway, nothing crosses UDP 4800, and `subctl diagnose` reports its checks of the path inside
    /// the cluster and of metrics as passed without having done them: such a lab proves less than it seems to.
    ///
    /// ## How it is determined
    /// The number of nodes of a cluster whose nodes are kind's.
    ///
    /// ## How to fix
    /// Give the cluster a worker.
    ///
    /// ## References
    /// `subctl`, `pkg/diagnose`; karmada issue 4538.
    pub static KIND_SINGLE_NODE = {
        code: "SM431",
        slug: "kind-single-node",
        title: "A kind cluster has a single node",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "half of the data path is not there, and subctl diagnose calls it passed",
        rules: ["submariner KIND-07"],
        run: Cluster(kind_single_node),
    };
}

fn kind_single_node(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let nodes = kind_nodes(cluster)?;
    let outcome = if nodes.len() > 1 {
        Outcome::holds()
    } else {
        Outcome::broken()
    };
    let source = Source::read("Nodes", "");
    Ok(outcome
        .expected("two nodes or more")
        .found(nodes.len().to_string())
        .evidence(Evidence::new(cluster.name(), &nodes.len(), &source))
        .remedy("add a worker to the kind configuration"))
}

declare_check! {
    /// ## What it checks
    /// Clusters of kind do not share one container network, as they do unless told otherwise.
    ///
    /// ## Why it matters
    /// On one bridge of one machine there is no firewall, no NAT and no smaller MTU between gateways: that everything passes there proves nothing about
    /// the networks between real sites.
    ///
    /// ## How it is determined
    /// The /16 block of a node's address in each cluster whose nodes are kind's.
    ///
    /// ## How to fix
    /// Nothing in a lab, where they cannot be joined otherwise. Repeat the audit where the clusters will live; `prejoin lab break` makes such faults here.
    ///
    /// ## References
    /// kind documentation, networking; Submariner documentation, quickstart with kind.
    pub static KIND_SHARED_NETWORK = {
        code: "SM433",
        slug: "kind-shared-network",
        title: "Clusters of kind share one bridge",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "ports and MTU that pass here may fail between real sites",
        rules: ["clustermesh LAB-5"],
        run: Between(kind_shared_network),
    };
}

fn kind_shared_network(audit: &Audit<'_>) -> Vec<Outcome> {
    let groups = container_networks(audit);
    let shared = groups.values.iter().filter(|(_, members)| members.len() > 1);
    let mut outcomes: Vec<Outcome> = shared
        .map(|(network, members)| {
            let ids: Vec<ClusterId> = members.iter().map(|(id, _)| *id).collect();
            Outcome::broken()
                .expected("clusters in the networks they will live in")
                .found(format!("the nodes of {} are containers in {network}", audit.names(&ids)))
                .evidence_all(members.iter().map(|(id, known)| Evidence::of(audit.cluster(*id).name(), known)))
                .remedy("ports, NAT and MTU here say nothing about other networks: repeat the audit where the clusters will live")
                .within(ids.clone())
                .about(ids)
        })
        .collect();
    if outcomes.is_empty() && !groups.clusters().is_empty() {
        outcomes.push(Outcome::holds().found("not one network").about(groups.clusters()));
    }
    outcomes.extend(groups.outcomes_without());
    outcomes
}

#[cfg(test)]
mod tests {
    use crate::facts::ClusterFacts;
    use crate::facts::provenance::{Fact, Reason};
    use crate::profile::Profile::Submariner;
    use crate::report::{Report, Verdict};
    use crate::samples::{findings, flannel, report, value_mut};

    /// A cluster of kind with nodes 172.N.0.11 and 172.N.0.12.
    fn kind(name: &str, network: u8) -> ClusterFacts {
        let mut facts = flannel(name, network);
        for (node, host) in value_mut(&mut facts.nodes).iter_mut().zip(11..) {
            node.provider_id = format!("kind://docker/{name}/{}", node.name);
            node.addresses[0].ip = [172, network, 0, host].into();
        }
        facts
    }

    fn verdict(report: &Report, code: &str) -> Verdict {
        findings(report, code)[0].verdict
    }

    #[test]
    fn different_container_networks_are_warned_of() {
        let mut one = kind("west", 2);
        for node in value_mut(&mut one.nodes) {
            node.addresses[0].ip = [172, 1, 0, 21].into();
        }
        assert_eq!(
            verdict(&report(Submariner, &[kind("east", 1), one]), "SM430"),
            Verdict::Pass
        );
        let apart = report(Submariner, &[kind("east", 1), kind("west", 2)]);
        assert_eq!(
            findings(&apart, "SM430")[0].found,
            "172.1.0.0/16 on east, 172.2.0.0/16 on west"
        );
        assert_eq!(verdict(&apart, "SM430"), Verdict::Warn);
        assert_eq!(verdict(&apart, "SM433"), Verdict::Pass);
        let elsewhere = report(Submariner, &[flannel("east", 1), flannel("west", 2)]);
        assert_eq!(verdict(&elsewhere, "SM430"), Verdict::Skip);
    }

    #[test]
    fn a_single_node_proves_little() {
        let mut facts = kind("east", 1);
        assert_eq!(
            verdict(&report(Submariner, std::slice::from_ref(&facts)), "SM431"),
            Verdict::Pass
        );
        value_mut(&mut facts.nodes).truncate(1);
        assert_eq!(
            verdict(&report(Submariner, std::slice::from_ref(&facts)), "SM431"),
            Verdict::Warn
        );
        facts.nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
        assert_eq!(
            verdict(&report(Submariner, std::slice::from_ref(&facts)), "SM431"),
            Verdict::Unknown
        );
        let both = report(Submariner, &[facts, kind("west", 2)]);
        assert!(
            findings(&both, "SM430")
                .iter()
                .any(|finding| finding.verdict == Verdict::Unknown)
        );
    }

    #[test]
    fn one_bridge_proves_nothing_about_real_sites() {
        let mut west = kind("west", 2);
        for (node, host) in value_mut(&mut west.nodes).iter_mut().zip(21_u8..) {
            node.addresses[0].ip = [172, 1, 0, host].into();
        }
        let together = report(Submariner, &[kind("east", 1), west]);
        let finding = findings(&together, "SM433")[0];
        assert_eq!(finding.verdict, Verdict::Warn);
        assert_eq!(
            finding.found,
            "the nodes of east and west are containers in 172.1.0.0/16"
        );
        let elsewhere = report(Submariner, &[flannel("east", 1), flannel("west", 2)]);
        assert_eq!(verdict(&elsewhere, "SM433"), Verdict::Skip);
        let mut unseen = kind("west", 1);
        unseen.nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
        let partly = report(Submariner, &[kind("east", 1), unseen]);
        assert!(
            findings(&partly, "SM433")
                .iter()
                .any(|finding| finding.verdict == Verdict::Unknown)
        );
    }
}
