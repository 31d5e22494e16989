//! Nodes that are, or may become, gateways.

use std::collections::BTreeMap;

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::node::Node;
use crate::facts::provenance::Source;
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::gateways::{GATEWAY_LABEL, candidates, labelled};
use crate::profile::submariner::{Mesh, installed};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &GATEWAY_LABELLED,
    &GATEWAY_CANDIDATES,
    &GATEWAY_FAILOVER,
    &GATEWAY_READY,
    &HOST_NAMES,
];

declare_check! {
    /// ## What it checks
    /// A node is labelled `submariner.io/gateway=true`, or `subctl join` will find one to label.
    ///
    /// ## Why it matters
    /// Without a labelled node no gateway is scheduled, and nothing says so: the join succeeds, no tunnel is ever built.
    ///
    /// ## How it is determined
    /// Labels of all nodes; only the value `true` counts. `subctl join` labels the only candidate or asks; it just warns if there is none.
    /// Helm and GitOps never label.
    ///
    /// ## How to fix
    /// `kubectl label node NAME submariner.io/gateway=true`, better on two nodes.
    ///
    /// ## References
    /// `subctl`, `cmd/subctl/join.go`; submariner issues 866, 1959 and 1963.
    pub static GATEWAY_LABELLED = {
        code: "SM401",
        slug: "gateway-labelled",
        title: "No node is labelled as a gateway",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "no gateway is scheduled: no tunnel is ever built",
        rules: ["submariner NODE-01"],
        run: Cluster(gateway_labelled),
    };
}

fn gateway_labelled(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let expected = format!("a node labelled {GATEWAY_LABEL}=true");
    let gateways = labelled(cluster)?;
    if let Some(first) = gateways.first() {
        return Ok(Outcome::holds()
            .expected(expected)
            .found(some_of(gateways.iter().map(|node| &node.name)))
            .evidence(Evidence::new(cluster.name(), &"true", &label_source(first))));
    }
    let nodes = cluster.facts.nodes.get()?;
    let written = nodes
        .iter()
        .find_map(|node| Some((node, node.labels.get(GATEWAY_LABEL)?)));
    let candidates = candidates(cluster)?;
    let by_subctl = installed(cluster)?.is_none() && Mesh::of(audit).joined_by_subctl();
    if by_subctl && !candidates.is_empty() {
        return Ok(Outcome::broken_as(Severity::Info).expected(expected).found(format!(
            "none yet: subctl join offers {}",
            some_of(candidates.iter().map(|node| &node.name))
        )));
    }
    let found = match written {
        Some((node, value)) => format!("`{value}` on {}, and only `true` counts", node.name),
        None if by_subctl => "none, and no node that subctl join would offer".to_owned(),
        None => "none".to_owned(),
    };
    let example = candidates
        .first()
        .copied()
        .or(nodes.first())
        .map_or("NAME", |node| &node.name);
    Ok(Outcome::broken()
        .expected(expected)
        .found(found)
        .evidence_all(written.map(|(node, value)| Evidence::new(cluster.name(), value, &label_source(node))))
        .remedy(format!("kubectl label --overwrite node {example} {GATEWAY_LABEL}=true")))
}

fn label_source(node: &Node) -> Source {
    Source::read(
        format!("Node {}", node.name),
        format!("metadata.labels[{GATEWAY_LABEL}]"),
    )
}

declare_check! {
    /// ## What it checks
    /// While no node is labelled, `subctl join` finds exactly one node to make a gateway, and it is not of the control plane.
    ///
    /// ## Why it matters
    /// With more than one candidate `subctl` asks, which blocks a script. On clusters of kubeadm or kind the control plane counts as a worker,
    /// because its label is `control-plane` and `subctl` looks for `master`: it may become the gateway that carries all traffic between clusters.
    ///
    /// ## How it is determined
    /// Candidates are nodes labelled `node-role.kubernetes.io/worker`, else all without `node-role.kubernetes.io/master`.
    ///
    /// ## How to fix
    /// Label the gateways before the join.
    ///
    /// ## References
    /// `subctl`, `cmd/subctl/join.go`; karmada issue 4538.
    pub static GATEWAY_CANDIDATES = {
        code: "SM402",
        slug: "gateway-candidates",
        title: "subctl chooses the gateway",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the join stops to ask, or makes a control plane node the gateway",
        rules: ["submariner NODE-02"],
        run: Cluster(gateway_candidates),
    };
}

fn gateway_candidates(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if installed(cluster)?.is_some() || !Mesh::of(audit).joined_by_subctl() {
        return Err(NoVerdict::does_not_apply("subctl does not choose"));
    }
    if !labelled(cluster)?.is_empty() {
        return Err(NoVerdict::does_not_apply("gateways are labelled"));
    }
    let candidates = candidates(cluster)?;
    let names = some_of(candidates.iter().map(|node| &node.name));
    let outcome = match candidates.as_slice() {
        [] => return Err(NoVerdict::does_not_apply("there is no candidate")),
        [only] if only.is_control_plane() => Outcome::broken().found(format!("{names}, of the control plane")),
        [_] => Outcome::holds().found(names),
        _ => Outcome::broken().found(format!("{} candidates: {names}", candidates.len())),
    };
    Ok(outcome
        .expected("gateways labelled before the join, or one candidate that is a worker")
        .remedy(format!("kubectl label node NAME {GATEWAY_LABEL}=true before the join")))
}

declare_check! {
    /// ## What it checks
    /// Two or more gateways are ready to take over from each other.
    ///
    /// ## Why it matters
    /// One gateway is active, the others wait. With a single one its loss cuts the cluster off until the node is back.
    ///
    /// ## How it is determined
    /// Nodes labelled `submariner.io/gateway=true` that are ready and schedulable.
    ///
    /// ## How to fix
    /// Label a second node.
    ///
    /// ## References
    /// Submariner documentation, architecture of the gateway engine.
    pub static GATEWAY_FAILOVER = {
        code: "SM403",
        slug: "gateway-failover",
        title: "There is no second gateway",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "losing the node cuts the cluster off",
        rules: ["submariner NODE-03"],
        run: Cluster(gateway_failover),
    };
}

fn gateway_failover(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let gateways = labelled(cluster)?;
    let serving = gateways.iter().filter(|node| node.ready && !node.unschedulable).count();
    let outcome = if serving >= 2 {
        Outcome::holds()
    } else {
        Outcome::broken()
    };
    Ok(outcome
        .expected("two gateways that are ready and schedulable")
        .found(serving.to_string())
        .remedy(format!("kubectl label node NAME {GATEWAY_LABEL}=true on a second node")))
}

declare_check! {
    /// ## What it checks
    /// The nodes labelled as gateways are ready.
    ///
    /// ## Why it matters
    /// If none is ready no gateway runs; if some are not there is less to fall back on.
    ///
    /// ## How it is determined
    /// Condition `Ready` of the labelled nodes. Taints do not matter: the gateway tolerates all.
    ///
    /// ## How to fix
    /// Repair the node, or label another.
    ///
    /// ## References
    /// `submariner-operator`, `controllers/submariner`.
    pub static GATEWAY_READY = {
        code: "SM404",
        slug: "gateway-ready",
        title: "A gateway node is not ready",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "no gateway runs there",
        rules: ["submariner NODE-04"],
        run: Cluster(gateway_ready),
    };
}

fn gateway_ready(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let gateways = labelled(cluster)?;
    if gateways.is_empty() {
        return Err(NoVerdict::does_not_apply("no node is labelled as a gateway"));
    }
    let down: Vec<&&Node> = gateways.iter().filter(|node| !node.ready).collect();
    let Some(first) = down.first() else {
        return Ok(Outcome::holds().found(format!("{} of {} ready", gateways.len(), gateways.len())));
    };
    let outcome = if down.len() == gateways.len() {
        Outcome::broken()
    } else {
        Outcome::broken_as(Severity::Warn)
    };
    let source = Source::read(format!("Node {}", first.name), "status.conditions[Ready]");
    Ok(outcome
        .expected("every gateway node ready")
        .found(format!("not ready: {}", some_of(down.iter().map(|node| &node.name))))
        .evidence(Evidence::new(cluster.name(), &"not True", &source))
        .remedy("repair the node, or label another as a gateway")
        .nodes(down.iter().map(|node| &node.name)))
}

declare_check! {
    /// ## What it checks
    /// No two nodes of the cluster have one host name.
    ///
    /// ## Why it matters
    /// The lease, the `Gateway` object and the test whether a node is the gateway go by the host name. Two gateways of one name both believe that
    /// they lead.
    ///
    /// ## How it is determined
    /// Label `kubernetes.io/hostname`, which is a hint: what counts is the name the operating system has, and that takes an agent.
    ///
    /// ## How to fix
    /// Rename one of the hosts.
    ///
    /// ## References
    /// `submariner`, `pkg/gateway/gateway.go` and `pkg/event/controller`.
    pub static HOST_NAMES = {
        code: "SM411",
        slug: "gateway-host-names",
        title: "Nodes share one host name",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "gateways of one host name both believe that they lead",
        rules: ["submariner NODE-16"],
        run: Cluster(host_names),
    };
}

fn host_names(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const LABEL: &str = "kubernetes.io/hostname";
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in cluster.facts.nodes.get()? {
        if let Some(name) = node.labels.get(LABEL) {
            by_name.entry(name).or_default().push(&node.name);
        }
    }
    let Some((name, nodes)) = by_name.iter().find(|(_, nodes)| nodes.len() > 1) else {
        return Ok(Outcome::holds().found(format!("{} different names", by_name.len())));
    };
    let source = |node: &&str| Source::read(format!("Node {node}"), format!("metadata.labels[{LABEL}]"));
    Ok(Outcome::broken()
        .expected("a host name of its own for each node")
        .found(format!("{name} on {}", some_of(nodes)))
        .evidence_all(
            nodes
                .iter()
                .take(4)
                .map(|node| Evidence::new(cluster.name(), name, &source(node))),
        )
        .remedy("rename one of the hosts")
        .nodes(nodes.iter().copied()))
}

#[cfg(test)]
mod tests {
    use crate::engine::judge;
    use crate::facts::ClusterFacts;
    use crate::facts::provenance::{Fact, Reason};
    use crate::intent::Intent;
    use crate::profile::Profile::Submariner;
    use crate::report::{Finding, Report, Severity, Verdict};
    use crate::samples::{findings, flannel, policy, report, submariner, value_mut};

    fn alone(facts: &ClusterFacts, code: &str) -> Finding {
        findings(&report(Submariner, std::slice::from_ref(facts)), code)[0].clone()
    }

    fn by_helm(facts: &ClusterFacts) -> Report {
        let mut intent = Intent::default();
        intent.submariner.installer = Some("helm".to_owned());
        judge(std::slice::from_ref(facts), &intent, &policy(Submariner))
    }

    /// Two nodes, the first of the control plane, none labelled as a gateway.
    fn unlabelled() -> ClusterFacts {
        let mut facts = flannel("east", 1);
        value_mut(&mut facts.nodes)[1].labels.remove("submariner.io/gateway");
        facts
    }

    #[test]
    fn a_gateway_is_labelled_or_subctl_finds_one() {
        assert_eq!(alone(&flannel("east", 1), "SM401").verdict, Verdict::Pass);
        let offered = alone(&unlabelled(), "SM401");
        assert_eq!((offered.verdict, offered.severity), (Verdict::Pass, Severity::Info));
        assert_eq!(findings(&by_helm(&unlabelled()), "SM401")[0].verdict, Verdict::Fail);
        let mut mistyped = unlabelled();
        value_mut(&mut mistyped.nodes)[1]
            .labels
            .insert("submariner.io/gateway".to_owned(), "yes".to_owned());
        let report = by_helm(&mistyped);
        assert!(findings(&report, "SM401")[0].found.contains("only `true` counts"));
        let mut member = submariner(&[("east", 1)]).remove(0);
        value_mut(&mut member.nodes)[1].labels.remove("submariner.io/gateway");
        assert_eq!(alone(&member, "SM401").verdict, Verdict::Fail);
    }

    #[test]
    fn a_cluster_of_old_masters_alone_has_no_candidate() {
        let mut facts = unlabelled();
        for node in value_mut(&mut facts.nodes) {
            node.labels
                .insert("node-role.kubernetes.io/master".to_owned(), String::new());
        }
        assert_eq!(alone(&facts, "SM401").verdict, Verdict::Fail);
        assert_eq!(alone(&facts, "SM402").verdict, Verdict::Skip);
    }

    #[test]
    fn what_could_not_be_read_is_unknown() {
        let mut facts = flannel("east", 1);
        facts.nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
        for code in ["SM401", "SM402", "SM403", "SM404", "SM411"] {
            assert_eq!(alone(&facts, code).verdict, Verdict::Unknown, "{code}");
        }
    }

    #[test]
    fn more_than_one_candidate_or_a_control_plane_is_warned_of() {
        assert_eq!(alone(&flannel("east", 1), "SM402").verdict, Verdict::Skip);
        let asks = alone(&unlabelled(), "SM402");
        assert_eq!(
            (asks.verdict, asks.found.as_str()),
            (Verdict::Warn, "2 candidates: east-n1, east-n2")
        );
        let mut one_worker = unlabelled();
        let nodes = value_mut(&mut one_worker.nodes);
        nodes[1]
            .labels
            .insert("node-role.kubernetes.io/worker".to_owned(), String::new());
        assert_eq!(alone(&one_worker, "SM402").verdict, Verdict::Pass);
        let mut single = unlabelled();
        value_mut(&mut single.nodes).truncate(1);
        assert_eq!(alone(&single, "SM402").found, "east-n1, of the control plane");
    }

    #[test]
    fn a_single_gateway_is_recorded() {
        assert_eq!(alone(&flannel("east", 1), "SM403").found, "1");
        let mut two = flannel("east", 1);
        value_mut(&mut two.nodes)[0]
            .labels
            .insert("submariner.io/gateway".to_owned(), "true".to_owned());
        assert_eq!(alone(&two, "SM403").found, "2");
    }

    #[test]
    fn no_ready_gateway_fails_and_one_of_two_warns() {
        let mut facts = flannel("east", 1);
        assert_eq!(alone(&facts, "SM404").verdict, Verdict::Pass);
        value_mut(&mut facts.nodes)[1].ready = false;
        assert_eq!(alone(&facts, "SM404").verdict, Verdict::Fail);
        value_mut(&mut facts.nodes)[0]
            .labels
            .insert("submariner.io/gateway".to_owned(), "true".to_owned());
        let finding = alone(&facts, "SM404");
        assert_eq!(
            (finding.verdict, finding.subject.nodes),
            (Verdict::Warn, vec!["east-n2".to_owned()])
        );
        assert_eq!(alone(&unlabelled(), "SM404").verdict, Verdict::Skip);
    }

    #[test]
    fn equal_host_names_are_warned_of() {
        let mut facts = flannel("east", 1);
        assert_eq!(alone(&facts, "SM411").verdict, Verdict::Pass);
        let nodes = value_mut(&mut facts.nodes);
        nodes[1]
            .labels
            .insert("kubernetes.io/hostname".to_owned(), "east-n1".to_owned());
        assert_eq!(alone(&facts, "SM411").found, "east-n1 on east-n1, east-n2");
    }
}
