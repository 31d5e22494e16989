//! [`Roster`]: which agents were heard, and when last, so that one that is missing is missed.
//!
//! What an agent was planned to prove and did not is `unknown` already (NET301 and each flow's check): that needs no history. But an agent that
//! is not planned for any more, because its pod is gone, its DaemonSet was removed or its cluster's list of pods is empty, leaves no trace in a report but a
//! smaller one. Who was heard in an earlier audit and belongs to a node that is still there is expected until it is heard again, or the node is gone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::alike::some_of;
use crate::catalog;
use crate::facts::ClusterFacts;
use crate::facts::kernel::NetworkView;
use crate::facts::provenance::{Reason, Source};
use crate::observation::Observations;
use crate::plan::AgentId;
use crate::profile::Profile;
use crate::report::{AffectedPairs, Evidence, Finding, Report, Subject, SubjectKind, Verdict};

/// The agents of a group that were heard, by cluster: rows of a store between audits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Roster {
    /// By cluster and name.
    pub clusters: BTreeMap<String, BTreeMap<String, Heard>>,
}

/// When an agent was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heard {
    /// The node it is on; absent for one of the cluster as a whole, which is expected as long as the cluster is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// First.
    pub first: Timestamp,
    /// Last.
    pub last: Timestamp,
    /// Since when it is silent, if it is: the first audit that expected it and did not hear it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Timestamp>,
    /// Why, as far as that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// How many agents of a cluster were expected, and how many heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attendance {
    /// The cluster.
    pub cluster: String,
    /// Agents that the audit planned for, and those heard before whose nodes are still there.
    pub expected: u64,
    /// Those that answered to the end.
    pub heard: u64,
    /// Those that did not, longest silent first.
    pub silent: Vec<Silent>,
}

/// An agent that was expected and not heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Silent {
    /// What it is called: its node, and whether it is in a pod there.
    pub agent: String,
    /// The node it is on, or the name it goes by.
    pub node: String,
    /// The first audit that did not hear it.
    pub since: Timestamp,
    /// When it was heard last; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<Timestamp>,
    /// Why, as far as that is known.
    pub why: String,
}

impl Attendance {
    /// `expected 12 agents, heard 11`.
    pub fn shown(&self) -> String {
        format!("expected {} agents, heard {}", self.expected, self.heard)
    }
}

impl Roster {
    /// Takes in who an audit heard, and tells of each cluster of the group how many were expected and how many came, by name of the cluster.
    ///
    /// Of an audit that was not to probe (`observations` absent) nobody is expected, and nothing is told. A node is gone when the cluster's list of nodes
    /// could be read and does not have it.
    pub fn record(
        &mut self,
        at: Timestamp,
        clusters: &[ClusterFacts],
        observations: Option<&Observations>,
    ) -> Vec<Attendance> {
        let Some(observations) = observations else {
            return Vec::new();
        };
        self.clusters
            .retain(|name, _| clusters.iter().any(|facts| facts.name == *name));
        clusters
            .iter()
            .filter_map(|facts| self.attend(at, facts, observations))
            .collect()
    }

    fn attend(&mut self, at: Timestamp, facts: &ClusterFacts, observations: &Observations) -> Option<Attendance> {
        let known = self.clusters.entry(facts.name.clone()).or_default();
        let nodes = facts.nodes.ok();
        let nodes: Option<BTreeSet<&str>> = nodes.map(|nodes| nodes.iter().map(|node| node.name.as_str()).collect());
        let is_there = |heard: &Heard| match (&heard.node, &nodes) {
            (Some(node), Some(nodes)) => nodes.contains(node.as_str()),
            _ => true,
        };
        known.retain(|_, heard| is_there(heard));
        let mut missing: BTreeMap<String, String> = known
            .keys()
            .map(|agent| (agent.clone(), "no agent was found there".to_owned()))
            .collect();
        let mut heard = 0;
        let agents = observations.plan.agents.iter().enumerate();
        for (place, agent) in agents.filter(|(_, agent)| agent.cluster == facts.name) {
            let report = observations.agents.get(place);
            let why = match report.map(|report| &report.failure) {
                Some(None) => None,
                Some(Some(failure)) => Some(failure.detail.clone()),
                None => Some("the audit ended before it was its turn".to_owned()),
            };
            let name = name_of(agent);
            if let Some(why) = why {
                missing.insert(name, why);
                continue;
            }
            heard += 1;
            missing.remove(&name);
            let first = known.get(&name).map_or(at, |heard| heard.first);
            let of_node = agent.network == NetworkView::Host
                || nodes.as_ref().is_some_and(|nodes| nodes.contains(agent.node.as_str()));
            let entry = Heard {
                node: of_node.then(|| agent.node.clone()),
                first,
                last: at,
                silent_since: None,
                why: String::new(),
            };
            known.insert(name, entry);
        }
        let mut silent: Vec<Silent> = Vec::new();
        for (agent, why) in missing {
            let before = known.get_mut(&agent);
            let since = before.as_ref().and_then(|heard| heard.silent_since).unwrap_or(at);
            let last_heard = before.as_ref().map(|heard| heard.last);
            if let Some(heard) = before {
                heard.silent_since = Some(since);
                heard.why.clone_from(&why);
            }
            silent.push(Silent {
                node: agent.strip_suffix(IN_A_POD).unwrap_or(&agent).to_owned(),
                agent,
                since,
                last_heard,
                why,
            });
        }
        silent.sort_by(|a, b| (a.since, &a.agent).cmp(&(b.since, &b.agent)));
        let expected = heard + silent.len() as u64;
        (expected > 0).then(|| Attendance {
            cluster: facts.name.clone(),
            expected,
            heard,
            silent,
        })
    }
}

/// The check that says whether agents can be relied on.
const HELD_OUT: &str = "NET301";

/// A finding for each cluster with agents that were heard before and of which a report says nothing: NET301, as for those that were asked in vain. Add them to the
/// report with [`engine::with_findings`](crate::engine::with_findings).
pub fn findings(attendance: &[Attendance], report: &Report) -> Vec<Finding> {
    let Some(check) = catalog::find(HELD_OUT) else {
        return Vec::new();
    };
    let told = |profile: Profile, cluster: &str, node: &str| {
        report.findings.iter().any(|finding| {
            finding.code == HELD_OUT
                && finding.profile == profile
                && finding.verdict != Verdict::Pass
                && finding.subject.clusters.iter().any(|name| name == cluster)
                && finding.subject.nodes.iter().any(|name| name == node)
        })
    };
    let mut findings = Vec::new();
    for profile in report
        .profiles
        .iter()
        .copied()
        .filter(|profile| check.profiles.contains(profile))
    {
        for of in attendance {
            let missed: Vec<&Silent> = of
                .silent
                .iter()
                .filter(|silent| !told(profile, &of.cluster, &silent.node))
                .collect();
            if missed.is_empty() {
                continue;
            }
            let nodes: Vec<String> = missed.iter().map(|silent| silent.node.clone()).collect();
            let names = some_of(nodes.iter());
            let found = format!("{}: nothing of {names}: {}", of.shown(), missed[0].why);
            findings.push(Finding {
                code: check.code.to_owned(),
                slug: check.slug.to_owned(),
                title: check.title.to_owned(),
                severity: check.severity,
                verdict: Verdict::Unknown,
                profile,
                subject: Subject {
                    kind: SubjectKind::Node,
                    clusters: vec![of.cluster.clone()],
                    nodes,
                    pairs: AffectedPairs::default(),
                },
                expected: format!("{} agents, as before", of.expected),
                cause: found.clone(),
                found,
                reason: Reason::NoAgent.to_string(),
                why: check.why.to_owned(),
                evidence: missed
                    .iter()
                    .take(SHOWN)
                    .map(|silent| Evidence {
                        cluster: of.cluster.clone(),
                        value: match silent.last_heard {
                            Some(last) => format!("last heard {last}"),
                            None => "never heard".to_owned(),
                        },
                        source: Source::read(format!("agent on {}", silent.agent), "session"),
                    })
                    .collect(),
                remedy: format!("look for the agent on {names}: `prejoin agents status`"),
                waived_by: None,
                waiver_expired: None,
            });
        }
    }
    findings
}

/// As many agents are evidence.
const SHOWN: usize = 5;

/// What tells the agent in a pod from that of the node itself.
const IN_A_POD: &str = " (pod)";

/// What an agent is called: a node may have one of its own and one in a pod.
fn name_of(agent: &AgentId) -> String {
    match agent.network {
        NetworkView::Host => agent.node.clone(),
        NetworkView::Pod => format!("{}{IN_A_POD}", agent.node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Intent;
    use crate::observation::{AgentFailure, AgentFailureKind};
    use crate::policy::Probe;
    use crate::profile::Profile::Clustermesh;
    use crate::samples::network::{agents, observe, plan_for, probing};
    use crate::samples::{cilium, value_mut, with_agents};

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hour * 3_600).unwrap()
    }

    fn pair() -> Vec<ClusterFacts> {
        [cilium("east", 1), cilium("west", 2)].map(with_agents).into()
    }

    /// An audit in which these agents are not even planned for.
    fn without(facts: &[ClusterFacts], gone: &[&str]) -> Observations {
        let mut all = agents(facts);
        all.retain(|agent| !gone.contains(&agent.node.as_str()));
        observe(plan_for(
            facts,
            &Intent::default(),
            &probing(Clustermesh, Probe::Cover),
            &all,
        ))
    }

    fn shown(attendance: &[Attendance]) -> Vec<String> {
        attendance
            .iter()
            .map(|of| {
                let silent: Vec<&str> = of.silent.iter().map(|silent| silent.agent.as_str()).collect();
                format!("{}: {}: {}", of.cluster, of.shown(), silent.join(" "))
            })
            .collect()
    }

    #[test]
    fn an_agent_that_is_no_longer_planned_for_is_missed_while_its_node_is_there() {
        let facts = pair();
        let mut roster = Roster::default();
        let all = roster.record(at(0), &facts, Some(&without(&facts, &[])));
        assert_eq!(
            shown(&all),
            [
                "east: expected 3 agents, heard 3: ",
                "west: expected 3 agents, heard 3: "
            ]
        );
        let gone = without(&facts, &["west-n2"]);
        roster.record(at(1), &facts, Some(&gone));
        let later = roster.record(at(2), &facts, Some(&gone));
        assert_eq!(shown(&later)[1], "west: expected 3 agents, heard 2: west-n2");
        let silent = &later[1].silent[0];
        assert_eq!((silent.since, silent.last_heard), (at(1), Some(at(0))));
        // It is back.
        let back = roster.record(at(3), &facts, Some(&without(&facts, &[])));
        assert_eq!(shown(&back)[1], "west: expected 3 agents, heard 3: ");
        assert_eq!(roster.clusters["west"]["west-n2"].silent_since, None);
        // Its node leaves the cluster: nobody expects it.
        let mut smaller = facts.clone();
        value_mut(&mut smaller[1].nodes).retain(|node| node.name != "west-n2");
        let left = roster.record(at(4), &smaller, Some(&gone));
        assert_eq!(shown(&left)[1], "west: expected 2 agents, heard 2: ");
    }

    #[test]
    fn all_agents_of_a_cluster_that_vanish_at_once_are_missed() {
        let facts = pair();
        let mut roster = Roster::default();
        roster.record(at(0), &facts, Some(&without(&facts, &[])));
        let mut none = without(&facts, &[]);
        none.plan.agents.retain(|agent| agent.cluster == "east");
        none.agents.truncate(none.plan.agents.len());
        let told = roster.record(at(1), &facts, Some(&none));
        assert_eq!(told[1].shown(), "expected 3 agents, heard 0");
    }

    #[test]
    fn an_agent_that_is_missed_is_a_finding_and_one_that_the_report_names_is_not_another() {
        use crate::engine;
        let facts = pair();
        let policy = probing(Clustermesh, Probe::Cover);
        let mut roster = Roster::default();
        roster.record(at(0), &facts, Some(&without(&facts, &[])));
        let mut seen = without(&facts, &["west-n2"]);
        seen.agents[0].failure = Some(AgentFailure {
            kind: AgentFailureKind::Hung,
            detail: "no answer in 10 s".to_owned(),
        });
        let attendance = roster.record(at(1), &facts, Some(&seen));
        let report = engine::judge_observed(&facts, Some(&seen), &Intent::default(), &policy);
        let missed = findings(&attendance, &report);
        assert_eq!(missed.len(), 1, "east's own is in the report: {missed:#?}");
        assert_eq!(
            (
                missed[0].subject.clusters.as_slice(),
                missed[0].subject.nodes.as_slice()
            ),
            (["west".to_owned()].as_slice(), ["west-n2".to_owned()].as_slice())
        );
        assert_eq!(
            missed[0].found,
            "expected 3 agents, heard 2: nothing of west-n2: no agent was found there"
        );
        let before = report.summary.unknown;
        let whole = engine::with_findings(report, missed, &policy);
        assert_eq!((whole.summary.unknown, whole.exit_code), (before + 1, 5));
        assert!(findings(&attendance, &whole).is_empty(), "it is told once");
    }

    #[test]
    fn an_agent_that_was_asked_and_failed_says_why() {
        let facts = pair();
        let mut seen = without(&facts, &[]);
        seen.agents[0].failure = Some(AgentFailure {
            kind: AgentFailureKind::Hung,
            detail: "no answer in 10 s".to_owned(),
        });
        let told = Roster::default().record(at(0), &facts, Some(&seen));
        let silent = &told[0].silent[0];
        assert_eq!((silent.why.as_str(), silent.last_heard), ("no answer in 10 s", None));
    }

    #[test]
    fn a_list_of_nodes_that_could_not_be_read_lets_nobody_go() {
        let facts = pair();
        let mut roster = Roster::default();
        roster.record(at(0), &facts, Some(&without(&facts, &[])));
        let mut blind = facts.clone();
        blind[1].nodes = crate::facts::provenance::Fact::unknown(Reason::Unreachable, "no answer");
        let told = roster.record(at(1), &blind, Some(&without(&blind, &["west-n1", "west-n2"])));
        assert!(shown(&told)[1].contains("expected 3 agents, heard 1"), "{told:#?}");
    }

    #[test]
    fn an_audit_that_was_not_to_probe_expects_nobody() {
        let facts = pair();
        let mut roster = Roster::default();
        roster.record(at(0), &facts, Some(&without(&facts, &[])));
        let before = roster.clone();
        assert_eq!(roster.record(at(1), &facts, None), []);
        assert_eq!(roster, before);
    }
}
