//! What only works once clusters are joined: pods by their own addresses, full packets among them, a global Service.

use crate::check::{Check, NoVerdict, declare_check};
use crate::checks::flow_verdict::judge;
use crate::checks::join_verdict;
use crate::checks::path_mtu_verdict::{self, Need, Rule};
use crate::facts::provenance::{Known, Source};
use crate::fleet::{Audit, Cluster};
use crate::plan::{SPARE_UDP_PORT, Service};
use crate::profile::cilium::values::RoutingMode;
use crate::profile::flow::{Flow, PODS, Reach, Sender, Target, What};
use crate::report::Severity;

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] =
    &[&PODS_OF_PEERS_FLOW, &POD_PATH_MTU_FLOW, &GLOBAL_SERVICE_FLOW, &JOINED];

/// Whether a cluster is joined with another of the audit, and has Cilium at all.
fn joined(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Result<(), NoVerdict> {
    cluster.cilium()?;
    audit.joins().peers_of(cluster.id).map(|_| ())
}

pub(crate) static PODS_OF_PEERS: Flow = Flow {
    code: "CM510",
    from: "pods on every node",
    to: "pods on every node of the joined clusters",
    purpose: "pod traffic through the mesh",
    sender: |_, _| Ok(Sender::PodsOfEveryNode),
    reach: Reach::JoinedClusters,
    need: |audit, cluster| {
        joined(audit, cluster)?;
        let mode = cluster.cilium()?.routing_mode()?;
        if mode.value == RoutingMode::Native {
            return Err(NoVerdict::does_not_apply(
                "the network routes pods itself, joined or not: CM504 says so",
            ));
        }
        Ok(mode.map(|_| format!("UDP {SPARE_UDP_PORT} between pods, by their own addresses")))
    },
    targets: |_, _| Ok(vec![Target::ours(PODS, What::Service(Service::Udp(SPARE_UDP_PORT)))]),
};

pub(crate) static POD_PATH_MTU: Flow = Flow {
    code: "CM511",
    from: "pods on every node",
    to: "pods on every node of the joined clusters",
    purpose: "full-size packets of pods, inside whatever carries them",
    sender: |_, _| Ok(Sender::PodsOfEveryNode),
    reach: Reach::JoinedClusters,
    need: |audit, cluster| {
        joined(audit, cluster)?;
        let mode = cluster.cilium()?.routing_mode()?;
        Ok(mode.map(|mode| format!("the path MTU that pods have in {mode} routing")))
    },
    targets: |_, _| Ok(vec![Target::ours(PODS, What::PathMtu { port: None })]),
};

/// What pods send whole: their route MTU, which is the base MTU (that of their link) less what is added to packets. Source: `pkg/mtu/mtu.go`.
static POD_RULE: Rule = Rule {
    need: |_, cluster, _, link_mtu| {
        let settings = cluster.cilium()?;
        let base = match u16::try_from(settings.number("mtu")?.value) {
            Ok(mtu) if mtu > 0 => mtu,
            _ => link_mtu,
        };
        // Where the version leaves it open, the least is asked for: what is less is wrong in any case.
        let bytes = *settings.mtu_overhead()?.below(base.into()).start();
        Ok(Need {
            bytes: u16::try_from(bytes).unwrap_or(base),
            why: format!("what pods of {} send with a base MTU of {base}", cluster.name()),
            told: Severity::Warn,
            black_hole: Severity::Fail,
        })
    },
    remedy: |_, cluster, _, carries| {
        let overhead = cluster.cilium()?.mtu_overhead()?;
        let base = u32::from(carries) + overhead.bytes.end();
        Ok(format!(
            "set chart value MTU={base} on {} and restart its pods",
            cluster.name()
        ))
    },
};

pub(crate) static GLOBAL_SERVICE: Flow = Flow {
    code: "CM512",
    from: "pods on every node",
    to: "a global Service whose only backend is in a joined cluster",
    purpose: "what applications use the mesh for",
    sender: |_, _| Ok(Sender::PodsOfEveryNode),
    reach: Reach::JoinedClusters,
    need: |audit, cluster| {
        joined(audit, cluster)?;
        let source = Source::read(
            "Service of this audit",
            "metadata.annotations[service.cilium.io/global]",
        );
        Ok(Known::new(
            "a test Service of this audit, by its ClusterIP".to_owned(),
            source,
        ))
    },
    targets: |_, _| Ok(vec![Target::test_service()]),
};

declare_check! {
    /// ## What it checks
    /// Pods on every node reach pods on every node of the clusters that theirs is joined with, by their own addresses, both ways.
    ///
    /// ## Why it matters
    /// A mesh whose control plane is green may still carry no packet of pods: an open tunnel port is no proof of what comes out of the tunnel.
    ///
    /// ## How it is determined
    /// Short-lived pods of prejoin's own (`--agents ephemeral`) send authenticated datagrams to each other. Asked only between clusters that
    /// are joined: each is configured with the other, or the user says so with `--phase joined`. In native routing CM504 is this very flow.
    ///
    /// ## How to fix
    /// Where CM501 fails as well: open the tunnel port. Else look at network policies, and at `cilium-dbg bpf ipcache list` on the node of the
    /// receiver's cluster for the sender's pod range.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh troubleshooting.
    pub(super) static PODS_OF_PEERS_FLOW = {
        code: "CM510",
        slug: "joined-pods-flow",
        title: "Pods do not reach pods of a joined cluster",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the clusters are joined, and their pods are apart",
        rules: ["clustermesh P1"],
        run: Between(|audit: &Audit<'_>| judge(audit, &PODS_OF_PEERS)),
    };
}

declare_check! {
    /// ## What it checks
    /// The largest packet that a pod sends arrives whole in pods of the joined clusters.
    ///
    /// ## Why it matters
    /// Connections open and then stall on the first full packet.
    ///
    /// ## How it is determined
    /// Short-lived pods of prejoin's own measure the path MTU between each other, inside whatever carries them, and hold it against the MTU that
    /// Cilium gives pods: the base MTU less what encapsulation and encryption add.
    ///
    /// ## How to fix
    /// Lower chart value `MTU` on both sides by what is missing and restart the pods, or raise the MTU of the link in between.
    ///
    /// ## References
    /// Cilium, `pkg/mtu/mtu.go`.
    pub(super) static POD_PATH_MTU_FLOW = {
        code: "CM511",
        slug: "joined-pods-path-mtu",
        title: "Full packets of pods do not reach a joined cluster",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "connections between pods open and then stall",
        rules: ["clustermesh MTU-3"],
        run: Between(|audit: &Audit<'_>| path_mtu_verdict::judge(audit, &POD_PATH_MTU, &POD_RULE)),
    };
}

declare_check! {
    /// ## What it checks
    /// A global Service with its only backend in one cluster answers in every cluster joined with it.
    ///
    /// ## Why it matters
    /// This is what a mesh is for, and it takes everything at once: the state that clusters exchange, the load balancing of the sender's node, the
    /// way there, and the receiver's policies.
    ///
    /// ## How it is determined
    /// `--agents ephemeral` makes a Service in each cluster, global by annotation, behind which a pod of prejoin's own is in one cluster only, and
    /// removes it with the agents. Pods of the others connect to its ClusterIP; the answer is authenticated.
    ///
    /// ## How to fix
    /// Look at `cilium-dbg service list --clustermesh-affinity` in the sender's cluster: a Service without the remote backend means that the
    /// control planes are not connected (CM505), or that the namespace is not global (CM706); one with it, that the way is closed (CM510).
    ///
    /// ## References
    /// Cilium documentation, load-balancing and service discovery.
    pub(super) static GLOBAL_SERVICE_FLOW = {
        code: "CM512",
        slug: "joined-global-service",
        title: "A global Service does not reach its backend",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "applications do not reach the other clusters, whatever else works",
        rules: ["clustermesh FT-3"],
        run: Between(|audit: &Audit<'_>| judge(audit, &GLOBAL_SERVICE)),
    };
}

declare_check! {
    /// ## What it checks
    /// Each of two joined clusters is configured with the other; with `--phase joined` all are joined.
    ///
    /// ## Why it matters
    /// A cluster that alone knows its peer reads the peer's state, and the peer nothing of it: Services and policies work one way.
    ///
    /// ## How it is determined
    /// Entries of the Secrets `cilium-clustermesh` and `cilium-kvstoremesh` where Secrets are read (`--read-secrets`), and what the chart makes
    /// of the same list: `hostAliases` under `mesh.cilium.io`, and the users in ConfigMap `clustermesh-remote-users`. A cluster without a
    /// Service `clustermesh-apiserver` is nobody's peer. Whether agents are connected is told by no object of the API: CM512 shows it.
    ///
    /// ## How to fix
    /// `cilium clustermesh connect`, or name each cluster in the other's chart value `clustermesh.config.clusters`.
    ///
    /// ## References
    /// Cilium documentation, setting up cluster mesh.
    pub(super) static JOINED = {
        code: "CM621",
        slug: "joined",
        title: "Clusters are not joined, or one way only",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "state is read one way or not at all",
        rules: ["clustermesh CP-1"],
        run: Set(|audit: &Audit<'_>| join_verdict::judge(
            audit,
            "join them with `cilium clustermesh connect`, or name each in the other's clustermesh.config.clusters",
        )),
    };
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::engine::judge_observed;
    use crate::facts::ClusterFacts;
    use crate::facts::kernel::NetworkView;
    use crate::fleet::{Audit, Cluster};
    use crate::intent::Intent;
    use crate::observation::{Observations, ProbeResult};
    use crate::path_mtu::PathMtu;
    use crate::plan::make::{PlanOptions, TestService, make};
    use crate::plan::{AgentId, Plan, SPARE_UDP_PORT};
    use crate::policy::{Phase, Probe};
    use crate::profile::Profile::Clustermesh;
    use crate::profile::flow::TEST_SERVICE;
    use crate::report::{Report, Verdict};
    use crate::samples::network::{agents, ends, observe, probing, silence};
    use crate::samples::{cilium, findings, set_cilium_key};

    fn clusters() -> [ClusterFacts; 2] {
        [cilium("east", 1), cilium("west", 2)]
    }

    fn pod(number: u8, node: usize) -> IpAddr {
        [10, number * 10, u8::try_from(node).unwrap(), 200].into()
    }

    /// Agents on all nodes, and in a pod on each.
    fn in_pods_too(facts: &[ClusterFacts]) -> Vec<AgentId> {
        let mut all: Vec<AgentId> = agents(facts);
        all.retain(|agent| agent.network == NetworkView::Host);
        for (number, facts) in (1..).zip(facts) {
            let nodes = facts.nodes.ok().into_iter().flatten().enumerate();
            all.extend(nodes.map(|(place, node)| AgentId {
                cluster: facts.name.clone(),
                node: node.name.clone(),
                network: NetworkView::Pod,
                addresses: vec![pod(number, place)],
                zone: node.zone.clone(),
            }));
        }
        all
    }

    /// West's test Service as east has it, and east's as west has it.
    fn services() -> Vec<TestService> {
        let between = |of: &str, number, from: &str, address: [u8; 4]| TestService {
            profile: Clustermesh,
            of: of.to_owned(),
            from: from.to_owned(),
            address: Some(address.into()),
            host: String::new(),
            port: SPARE_UDP_PORT,
            pod: pod(number, 0),
        };
        vec![
            between("west", 2, "east", [10, 101, 0, 9]),
            between("east", 1, "west", [10, 102, 0, 9]),
        ]
    }

    fn planned(facts: &[ClusterFacts], phase: Phase, agents: &[AgentId], services: Vec<TestService>) -> Plan {
        let clusters: Vec<Cluster<'_>> = facts
            .iter()
            .enumerate()
            .map(|(id, facts)| Cluster::new(id, facts))
            .collect();
        let (intent, mut policy) = (Intent::default(), probing(Clustermesh, Probe::Cover));
        policy.phase = phase;
        let options = PlanOptions {
            services,
            ..PlanOptions::default()
        };
        make(
            &[Audit::new(Clustermesh, &clusters, &intent, &policy)],
            agents,
            &options,
        )
    }

    fn judged(facts: &[ClusterFacts], phase: Phase, observations: &Observations) -> Report {
        let mut policy = probing(Clustermesh, Probe::Cover);
        policy.phase = phase;
        judge_observed(facts, Some(observations), &Intent::default(), &policy)
    }

    /// What is found of joined clusters where everything gets through but for what `change` changes.
    fn report(change: impl Fn(&Plan, &crate::plan::PlannedProbe, &mut ProbeResult)) -> Report {
        let facts = clusters();
        let plan = planned(&facts, Phase::Joined, &in_pods_too(&facts), services());
        let mut seen = observe(plan);
        for (probe, result) in seen.plan.probes.iter().zip(&mut seen.results) {
            change(&seen.plan, probe, result);
        }
        judged(&facts, Phase::Joined, &seen)
    }

    fn verdicts(report: &Report) -> [Verdict; 3] {
        ["CM510", "CM511", "CM512"].map(|code| findings(report, code)[0].verdict)
    }

    #[test]
    fn joined_clusters_are_proven_from_pods_on_every_node() {
        assert_eq!(verdicts(&report(|_, _, _| ())), [Verdict::Pass; 3]);
        let facts = clusters();
        let plan = planned(&facts, Phase::Joined, &in_pods_too(&facts), services());
        for agent in (0..)
            .zip(&plan.agents)
            .filter(|(_, agent)| agent.network == NetworkView::Pod)
        {
            for code in ["CM510", "CM511", "CM512"] {
                let sends = |probe: &&crate::plan::PlannedProbe| {
                    probe.from == agent.0 && probe.codes.iter().any(|of| of == code)
                };
                assert!(
                    plan.probes.iter().any(|probe| sends(&probe)),
                    "{code} from {}",
                    agent.1.node
                );
            }
        }
    }

    #[test]
    fn before_the_join_nothing_of_it_is_asked() {
        let facts = clusters();
        for phase in [Phase::Auto, Phase::Before] {
            let plan = planned(&facts, phase, &in_pods_too(&facts), services());
            assert!(plan.probes.iter().all(|probe| probe.to.name != TEST_SERVICE));
            assert_eq!(verdicts(&judged(&facts, phase, &observe(plan))), [Verdict::Skip; 3]);
        }
    }

    #[test]
    fn a_node_whose_pods_are_not_reached_is_named() {
        let report = report(|plan, probe, result| {
            let (_, to, what) = ends(plan, probe);
            if to == "west-n2" && what == format!("UDP {SPARE_UDP_PORT}") {
                silence(result);
            }
        });
        let found = findings(&report, "CM510")[0];
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(found.found.contains("west/west-n2"), "{}", found.found);
    }

    #[test]
    fn a_global_service_without_its_backend_fails_alone() {
        let report = report(|plan, probe, result| {
            if ends(plan, probe).1 == TEST_SERVICE {
                silence(result);
            }
        });
        assert_eq!(verdicts(&report), [Verdict::Pass, Verdict::Pass, Verdict::Fail]);
    }

    #[test]
    fn pods_need_what_their_route_lets_them_send() {
        let with = |bytes| {
            report(move |_, _, result| {
                if let Ok(sent) = &mut result.sent
                    && let Some(found) = &mut sent.path_mtu
                {
                    *found = PathMtu {
                        largest_confirmed: bytes,
                        smallest_failed: Some(bytes + 1),
                        black_hole: true,
                        ..found.clone()
                    };
                }
            })
        };
        // VXLAN adds 50 to each packet of a base MTU of 1500.
        assert_eq!(findings(&with(1450), "CM511")[0].verdict, Verdict::Pass);
        let short = with(1449);
        let found = findings(&short, "CM511")[0];
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(found.expected.contains("1450 bytes"), "{}", found.expected);
    }

    #[test]
    fn without_pods_or_services_of_ours_nothing_is_taken_for_proven() {
        let facts = clusters();
        let seen = observe(planned(&facts, Phase::Joined, &agents(&facts), Vec::new()));
        assert_eq!(verdicts(&judged(&facts, Phase::Joined, &seen)), [Verdict::Unknown; 3]);
    }

    #[test]
    fn native_routing_is_proven_on_every_node_joined_or_not() {
        let mut facts = clusters();
        for facts in &mut facts {
            set_cilium_key(facts, "routing-mode", Some("native"));
        }
        let verdict = |agents: &[AgentId]| {
            let seen = observe(planned(&facts, Phase::Auto, agents, Vec::new()));
            let report = judged(&facts, Phase::Auto, &seen);
            findings(&report, "CM504")[0].verdict
        };
        assert_eq!(verdict(&in_pods_too(&facts)), Verdict::Pass);
        assert_eq!(verdict(&agents(&facts)), Verdict::Unknown, "one pod proves one node");
    }
}
