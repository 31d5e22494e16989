//! A cluster of very many nodes, on all but two of which no agent could be had: one cause, said once, and everything left open counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::judge_observed;
use crate::facts::ClusterFacts;
use crate::facts::kernel::{NetworkView, NodeFacts};
use crate::facts::provenance::{Reason, Unknown};
use crate::intent::Intent;
use crate::observation::{AgentFailure, AgentFailureKind, Observations};
use crate::plan::make::PlanOptions;
use crate::plan::{AgentId, Plan};
use crate::policy::Probe;
use crate::profile::Profile::Clustermesh;
use crate::report::{Finding, Report, Verdict};
use crate::samples::network::{agents, observe, plan_by, probing};
use crate::samples::{cilium, findings, value_mut, with_agents};

const MANY: usize = 998;
const WHY: &str = "not covered: its operating system is unknown";

/// What becomes of the nodes that lack an agent.
#[derive(Clone, Copy, PartialEq)]
enum Lacking {
    /// An agent was to be there and could not be had.
    Absent,
    /// The same, on nodes that have addresses.
    AbsentWithAddress,
    /// Nobody looked for one.
    NeverThere,
}

/// Two clusters of two nodes with agents; `east` has very many more.
fn clusters(lacking: Lacking) -> [ClusterFacts; 2] {
    let mut facts = [cilium("east", 1), cilium("west", 2)].map(with_agents);
    let nodes = value_mut(&mut facts[0].nodes);
    let like = nodes[0].clone();
    nodes.extend((0..MANY).map(|number| {
        let mut node = like.clone();
        node.name = format!("fake-{number:04}");
        match (lacking, u8::try_from(number % 250), u8::try_from(number / 250)) {
            (Lacking::AbsentWithAddress, Ok(low), Ok(high)) => {
                node.addresses.truncate(1);
                node.addresses[0].ip = [172, 30, high, low + 1].into();
            }
            _ => node.addresses.clear(),
        }
        node
    }));
    if lacking != Lacking::NeverThere {
        let unread = (0..MANY).map(|number| {
            let node = format!("fake-{number:04}");
            let why = Unknown::new(
                Reason::NoAgent,
                format!("agent on east/{node} could not be reached: {WHY}"),
            );
            NodeFacts::unread(&node, &why)
        });
        facts[0].node_facts.extend(unread);
    }
    facts
}

fn is_fake(agent: &AgentId) -> bool {
    agent.node.starts_with("fake-")
}

fn planned(facts: &[ClusterFacts], lacking: Lacking, level: Probe) -> Plan {
    let mut agents = agents(facts);
    let mut absent = BTreeMap::new();
    if lacking == Lacking::NeverThere {
        agents.retain(|agent| !is_fake(agent));
    } else {
        absent.extend(
            agents
                .iter()
                .filter(|agent| is_fake(agent))
                .map(|agent| (agent.clone(), WHY.to_owned())),
        );
    }
    let options = PlanOptions {
        absent,
        ..PlanOptions::default()
    };
    plan_by(
        facts,
        &Intent::default(),
        &probing(Clustermesh, level),
        &agents,
        &options,
    )
}

fn seen(facts: &[ClusterFacts], lacking: Lacking) -> Observations {
    let mut seen = observe(planned(facts, lacking, Probe::Cover));
    for (agent, report) in seen.plan.agents.iter().zip(&mut seen.agents) {
        if is_fake(agent) {
            report.failure = Some(AgentFailure {
                kind: AgentFailureKind::Unreachable,
                detail: WHY.to_owned(),
            });
        }
    }
    seen
}

fn report(lacking: Lacking) -> Report {
    let facts = clusters(lacking);
    let policy = probing(Clustermesh, Probe::Cover);
    judge_observed(&facts, Some(&seen(&facts, lacking)), &Intent::default(), &policy)
}

/// What a flow's check, or another one, says of the nodes without agents.
fn complaints<'r>(report: &'r Report, code: &str) -> Vec<&'r Finding> {
    let all = findings(report, code).into_iter();
    all.filter(|finding| finding.counts()).collect()
}

#[test]
fn one_cause_is_one_complaint_of_each_check() {
    for lacking in [Lacking::Absent, Lacking::AbsentWithAddress] {
        let report = report(lacking);
        for code in ["NET301", "CM501", "CM506", "CM507", "CM508"] {
            let said = complaints(&report, code);
            assert_eq!(said.len(), 1, "{code}: {said:#?}");
            assert_eq!(said[0].verdict, Verdict::Unknown, "{code}");
            assert_eq!(
                said[0].found,
                format!("998 of 1000 nodes of east have no agent: fake-0000, fake-0001, fake-0002 and 995 more: {WHY}"),
                "{code}"
            );
        }
        assert_eq!(complaints(&report, "NET301")[0].subject.nodes.len(), MANY);
        assert!(report.findings.len() < 300, "{} findings", report.findings.len());
    }
}

#[test]
fn what_no_agent_covers_is_open_and_never_a_pass() {
    for lacking in [Lacking::Absent, Lacking::AbsentWithAddress, Lacking::NeverThere] {
        let report = report(lacking);
        for code in ["CM501", "CM506", "CM507", "CM508"] {
            let found = findings(&report, code);
            assert!(
                found.iter().all(|finding| finding.verdict == Verdict::Unknown),
                "{code}: {found:#?}"
            );
        }
        assert!(report.coverage.flows.known < report.coverage.flows.wanted);
        assert_eq!(report.exit_code, 5);
    }
}

#[test]
fn nodes_without_agents_of_which_nobody_could_know_are_one_complaint_as_well() {
    let report = report(Lacking::NeverThere);
    let all = "fake-0000, fake-0001, fake-0002 and 995 more";
    let no_agent = format!("998 of 1000 nodes of east have no agent: {all}");
    // What answers by itself needs an address alone.
    let no_address = format!("998 of 1000 nodes of east have no address of a family that senders have: {all}");
    for (code, expected) in [
        ("CM501", vec![&no_agent]),
        ("CM506", vec![&no_agent, &no_address]),
        ("CM508", vec![&no_agent]),
    ] {
        let said: Vec<&String> = complaints(&report, code).iter().map(|finding| &finding.found).collect();
        assert_eq!(said, expected, "{code}");
    }
}

#[test]
fn every_node_that_is_not_read_counts() {
    let (many, few) = (report(Lacking::Absent), report(Lacking::NeverThere));
    let (of_many, of_few) = (&many.clusters[0].facts, &few.clusters[0].facts);
    let each = NodeFacts::unread("", &Unknown::not_found("")).inventory().len();
    assert_eq!(of_many.wanted - of_few.wanted, (MANY * each) as u64);
    assert_eq!(of_many.known, of_few.known);
    assert_eq!(
        many.clusters[0].missing,
        [format!(
            "agent on east/fake-0000, fake-0001, fake-0002 and 995 more could not be reached: {WHY}"
        )]
    );
}

#[test]
fn nothing_is_planned_for_agents_that_are_not_there() {
    for lacking in [Lacking::Absent, Lacking::AbsentWithAddress] {
        let facts = clusters(lacking);
        for level in [Probe::Full, Probe::Cover, Probe::Smoke] {
            let plan = planned(&facts, lacking, level);
            let is_absent = |agent: u32| is_fake(&plan.agents[agent as usize]);
            assert!(!plan.probes.is_empty());
            assert!(
                plan.probes
                    .iter()
                    .all(|probe| !is_absent(probe.from) && !probe.to.agent.is_some_and(is_absent)),
                "{level:?}"
            );
            assert!(
                plan.probes.iter().all(|probe| !probe.to.name.starts_with("fake-")),
                "{level:?}"
            );
            assert!(
                plan.listeners.iter().all(|listener| !is_absent(listener.agent)),
                "{level:?}"
            );
        }
        let small = [cilium("east", 1), cilium("west", 2)].map(with_agents);
        let (many, few) = (
            planned(&facts, lacking, Probe::Cover),
            planned(&small, lacking, Probe::Cover),
        );
        assert_eq!(many.probes.len(), few.probes.len());
        let open: BTreeSet<&str> = many.gaps.iter().map(|gap| gap.code.as_str()).collect();
        assert!(open.contains("CM501") && many.gaps.len() < 30, "{:#?}", many.gaps);
        let of_tunnel = many.gaps.iter().filter(|gap| gap.code == "CM501");
        assert!(of_tunnel.into_iter().all(|gap| gap.nodes.len() == MANY));
    }
}

#[test]
fn agents_that_end_on_the_way_are_one_complaint_too() {
    let facts = clusters(Lacking::AbsentWithAddress);
    let policy = probing(Clustermesh, Probe::Cover);
    let intent = Intent::default();
    let mut seen = observe(plan_by(
        &facts,
        &intent,
        &policy,
        &agents(&facts),
        &PlanOptions::default(),
    ));
    let died = |node: &str| {
        Unknown::new(
            Reason::Unreachable,
            format!("agent on east/{node} died: node {node} went away"),
        )
    };
    let plan = &seen.plan;
    for (probe, result) in plan.probes.iter().zip(&mut seen.results) {
        let from = &plan.agents[probe.from as usize];
        if is_fake(from) {
            result.sent = Err(died(&from.node));
        } else if probe.to.name.starts_with("fake-") {
            result.heard = Some(Err(died(&probe.to.name)));
            if let Ok(sent) = &mut result.sent {
                (sent.answered, sent.connected, sent.path_mtu) = (0, false, None);
            }
        }
    }
    let report = judge_observed(&facts, Some(&seen), &intent, &policy);
    for code in ["CM501", "CM508"] {
        let said = complaints(&report, code);
        assert!(said.len() <= 2, "{code}: {} findings: {:#?}", said.len(), &said[..2]);
        assert!(
            said.iter().any(|finding| finding.found
                == "agent on east/fake-0000, fake-0001, fake-0002 and 995 more died: node … went away"),
            "{said:#?}"
        );
    }
}

#[test]
fn an_agent_in_the_pod_network_that_could_not_be_had_leaves_open_what_starts_there() {
    let facts = [cilium("east", 1), cilium("west", 2)];
    let agents = agents(&facts);
    let in_pods = agents
        .iter()
        .filter(|agent| agent.network == NetworkView::Pod && agent.cluster == "east");
    let options = PlanOptions {
        absent: in_pods.map(|agent| (agent.clone(), "403".to_owned())).collect(),
        ..PlanOptions::default()
    };
    let policy = probing(Clustermesh, Probe::Cover);
    let plan = plan_by(&facts, &Intent::default(), &policy, &agents, &options);
    let told: Vec<&str> = plan
        .gaps
        .iter()
        .filter(|gap| gap.code == "CM505")
        .map(|gap| gap.why.detail.as_str())
        .collect();
    assert_eq!(told, ["east: no agent is in the pod network: 403"]);
}

#[test]
fn rules_about_nodes_name_those_that_were_not_read_once() {
    let report = report(Lacking::Absent);
    let unread = format!("agent on east/fake-0000, fake-0001, fake-0002 and 995 more could not be reached: {WHY}");
    let said: Vec<&Finding> = report
        .findings
        .iter()
        .filter(|finding| finding.found == unread)
        .collect();
    assert!(!said.is_empty());
    for finding in said {
        assert_eq!(
            (finding.verdict, &finding.cause),
            (Verdict::Unknown, &unread),
            "{}",
            finding.code
        );
        assert_eq!(finding.subject.nodes.len(), MANY, "{}", finding.code);
    }
}
