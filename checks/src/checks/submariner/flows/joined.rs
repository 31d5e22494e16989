//! What only works once clusters are joined: pods by their own addresses, full packets among them, an exported Service.

use super::needs::joined;
use crate::check::{Check, NoVerdict, declare_check};
use crate::checks::flow_verdict::judge;
use crate::checks::join_verdict;
use crate::checks::path_mtu_verdict::{self, Need, Rule};
use crate::facts::provenance::Known;
use crate::fleet::{Audit, Cluster};
use crate::profile::flow::{Flow, PODS, Reach, Sender, Target, What};
use crate::profile::submariner::Mesh;
use crate::report::Severity;

pub(in crate::checks::submariner) static CHECKS: &[&Check] = &[&POD_PATH_MTU_FLOW, &EXPORTED_SERVICE_FLOW, &JOINED];

/// Whether pods of this cluster are reached by their own addresses from others: not with Globalnet, which gives none of its own to them.
pub(super) fn own_addresses(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Result<(), NoVerdict> {
    joined(cluster)?;
    audit.joins().peers_of(cluster.id)?;
    if Mesh::of(audit).globalnet(cluster)?.value {
        return Err(NoVerdict::does_not_apply(
            "with Globalnet pods have no address that other clusters reach: SM514 looks at exported Services",
        ));
    }
    Ok(())
}

pub(crate) static POD_PATH_MTU: Flow = Flow {
    code: "SM513",
    from: "pods on every node",
    to: "pods on every node of the joined clusters",
    purpose: "full-size packets of pods, inside the cable",
    sender: |_, _| Ok(Sender::PodsOfEveryNode),
    reach: Reach::JoinedClusters,
    need: |audit, cluster| {
        own_addresses(audit, cluster)?;
        let driver = Mesh::of(audit).cable_driver(cluster)?;
        Ok(driver.map(|driver| format!("the path MTU that a {driver} cable leaves to pods")))
    },
    targets: |_, _| Ok(vec![Target::ours(PODS, What::PathMtu { port: None })]),
};

/// Pods keep the MTU of their link, and the cable takes its part of it: TCP is clamped to the rest by the route agents, anything else has to be
/// told. Source: Submariner, `pkg/routeagent_driver/handlers/mtu`.
static POD_RULE: Rule = Rule {
    need: |_, cluster, _, link_mtu| {
        Ok(Need {
            bytes: link_mtu,
            why: format!("the links of pods of {} take {link_mtu}", cluster.name()),
            told: Severity::Info,
            black_hole: Severity::Warn,
        })
    },
    remedy: |_, cluster, _, carries| {
        Ok(format!(
            "lower the MTU of the pods of {} to {carries} where applications send large UDP packets; for TCP, annotate gateway nodes with \
             submariner.io/tcp-clamp-mss={} if connections stall",
            cluster.name(),
            carries.saturating_sub(40)
        ))
    },
};

pub(crate) static EXPORTED_SERVICE: Flow = Flow {
    code: "SM514",
    from: "pods on every node",
    to: "an exported Service of a joined cluster, by its name in clusterset.local",
    purpose: "what applications use the clusterset for",
    sender: |_, _| Ok(Sender::PodsOfEveryNode),
    reach: Reach::JoinedClusters,
    need: |audit, cluster| {
        joined(cluster)?;
        audit.joins().peers_of(cluster.id)?;
        let discovery = Mesh::of(audit).service_discovery(cluster)?;
        if !discovery.value {
            return Err(NoVerdict::does_not_apply("service discovery is off"));
        }
        Ok(Known::new(
            "a test Service of this audit, by its name".to_owned(),
            discovery.source,
        ))
    },
    targets: |_, _| Ok(vec![Target::test_service()]),
};

declare_check! {
    /// ## What it checks
    /// The largest packet that the link of a pod takes arrives whole in pods of the joined clusters, or its sender is told.
    ///
    /// ## Why it matters
    /// The cable takes its part of every packet. TCP is clamped by the route agents, large UDP packets are lost without a word where ICMP is filtered.
    ///
    /// ## How it is determined
    /// Short-lived pods of prejoin's own (`--agents ephemeral`) measure the path MTU between each other. A path that says what it takes is in
    /// order; one that does not is a warning. Not asked with Globalnet.
    ///
    /// ## How to fix
    /// Lower the MTU of the pods, or annotate gateway nodes with `submariner.io/tcp-clamp-mss`.
    ///
    /// ## References
    /// Submariner issues 1774, 2364.
    pub(super) static POD_PATH_MTU_FLOW = {
        code: "SM513",
        slug: "gateway-joined-pods-path-mtu",
        title: "Full packets of pods vanish on the way to a joined cluster",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "large packets are lost, and nobody tells their sender",
        rules: ["submariner MTU-01"],
        run: Between(|audit: &Audit<'_>| path_mtu_verdict::judge(audit, &POD_PATH_MTU, &POD_RULE)),
    };
}

declare_check! {
    /// ## What it checks
    /// An exported Service answers in every joined cluster under its name in `clusterset.local`.
    ///
    /// ## Why it matters
    /// This is what a clusterset is for, and it takes everything at once: the export through the broker, Lighthouse and cluster DNS, the cable, the
    /// receiver's policies.
    ///
    /// ## How it is determined
    /// `--agents ephemeral` makes a Service with a ServiceExport in each cluster, behind which is a pod of prejoin's own, and removes both with
    /// the agents. Pods of the other clusters resolve its name and connect; the answer is authenticated.
    ///
    /// ## How to fix
    /// Where the name does not resolve, see SM507 and the SM8xx checks of service discovery; where it does and nothing answers, SM510 and the SM9xx checks
    /// of the cables.
    ///
    /// ## References
    /// Submariner documentation, service discovery.
    pub(super) static EXPORTED_SERVICE_FLOW = {
        code: "SM514",
        slug: "joined-exported-service",
        title: "An exported Service is not reached",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "applications do not reach the other clusters, whatever else works",
        rules: ["submariner PORT-15", "submariner PORT-12"],
        run: Between(|audit: &Audit<'_>| judge(audit, &EXPORTED_SERVICE)),
    };
}

declare_check! {
    /// ## What it checks
    /// Each of two members of a clusterset has heard of the other; with `--phase joined` all clusters are members of one.
    ///
    /// ## Why it matters
    /// Who has not heard of a member has no route to it.
    ///
    /// ## How it is determined
    /// `Cluster` and `Endpoint` objects in each member, which it copies from the broker. Whether the cables are up is SM906's.
    ///
    /// ## How to fix
    /// `subctl join` with the broker's file; where it was done, look at the gateway's credentials for the broker (SM905).
    ///
    /// ## References
    /// Submariner, `pkg/controllers/datastoresyncer`.
    pub(super) static JOINED = {
        code: "SM915",
        slug: "members",
        title: "Clusters are not members of one clusterset, or one has not heard of the other",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "there is no way between them",
        rules: ["submariner CAB-05"],
        run: Set(|audit: &Audit<'_>| join_verdict::judge(audit, "join each with `subctl join` and the same broker's file")),
    };
}

#[cfg(test)]
mod tests {
    use crate::engine::judge_observed;
    use crate::facts::ClusterFacts;
    use crate::facts::kernel::NetworkView;
    use crate::facts::provenance::Unknown;
    use crate::fleet::{Audit, Cluster};
    use crate::intent::Intent;
    use crate::plan::make::{PlanOptions, TestService, make};
    use crate::plan::{AgentId, SPARE_UDP_PORT};
    use crate::policy::Probe;
    use crate::profile::Profile::Submariner;
    use crate::profile::flow::TEST_SERVICE;
    use crate::report::{Report, Verdict};
    use crate::samples::network::{agents, observe, probing};
    use crate::samples::{findings, flannel, submariner, turn_globalnet_on};

    /// Agents on all nodes, and in a pod on each.
    fn in_pods_too(facts: &[ClusterFacts]) -> Vec<AgentId> {
        let mut all: Vec<AgentId> = agents(facts);
        all.retain(|agent| agent.network == NetworkView::Host);
        for (number, facts) in (1_u8..).zip(facts) {
            let nodes = facts.nodes.ok().into_iter().flatten();
            all.extend((0_u8..).zip(nodes).map(|(place, node)| AgentId {
                cluster: facts.name.clone(),
                node: node.name.clone(),
                network: NetworkView::Pod,
                addresses: vec![[10, number * 10, place, 200].into()],
                zone: node.zone.clone(),
            }));
        }
        all
    }

    /// What is found where everything gets through; with `resolves`, names of exported Services among it.
    fn report(facts: &[ClusterFacts], resolves: bool) -> Report {
        let clusters: Vec<Cluster<'_>> = facts
            .iter()
            .enumerate()
            .map(|(id, facts)| Cluster::new(id, facts))
            .collect();
        let (intent, policy) = (Intent::default(), probing(Submariner, Probe::Cover));
        let exported = |of: &str, number: u8, from: &str| TestService {
            profile: Submariner,
            of: of.to_owned(),
            from: from.to_owned(),
            address: None,
            host: format!("test.{of}.svc.clusterset.local"),
            port: SPARE_UDP_PORT,
            pod: [10, number * 10, 0, 200].into(),
        };
        let options = PlanOptions {
            services: vec![exported("west", 2, "east"), exported("east", 1, "west")],
            ..PlanOptions::default()
        };
        let audit = Audit::new(Submariner, &clusters, &intent, &policy);
        let mut seen = observe(make(&[audit], &in_pods_too(facts), &options));
        for (probe, result) in seen.plan.probes.iter().zip(&mut seen.results) {
            if probe.to.name == TEST_SERVICE && !resolves {
                result.sent = Err(Unknown::not_found("resolves to nothing"));
                result.heard = None;
            }
        }
        judge_observed(facts, Some(&seen), &intent, &policy)
    }

    fn verdicts(report: &Report) -> [Verdict; 3] {
        ["SM510", "SM513", "SM514"].map(|code| findings(report, code)[0].verdict)
    }

    #[test]
    fn members_are_proven_from_pods_on_every_node() {
        let members = submariner(&[("east", 1), ("west", 2)]);
        assert_eq!(verdicts(&report(&members, true)), [Verdict::Pass; 3]);
    }

    #[test]
    fn before_the_join_nothing_of_it_is_asked() {
        let strangers = [flannel("east", 1), flannel("west", 2)];
        assert_eq!(verdicts(&report(&strangers, true)), [Verdict::Skip; 3]);
    }

    #[test]
    fn a_name_that_does_not_resolve_is_a_service_that_is_not_reached() {
        let members = submariner(&[("east", 1), ("west", 2)]);
        let report = report(&members, false);
        assert_eq!(verdicts(&report), [Verdict::Pass, Verdict::Pass, Verdict::Fail]);
        let found = &findings(&report, "SM514")[0].found;
        assert!(found.contains("does not resolve"), "{found}");
    }

    #[test]
    fn with_globalnet_pods_are_not_reached_by_their_own_addresses() {
        let mut members = submariner(&[("east", 1), ("west", 2)]);
        turn_globalnet_on(&mut members);
        assert_eq!(
            verdicts(&report(&members, true)),
            [Verdict::Skip, Verdict::Skip, Verdict::Pass]
        );
    }
}
