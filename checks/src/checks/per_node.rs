//! Rules over the nodes of a cluster, judged by what agents read in each node's kernel.
//!
//! Broken on one node is broken. To hold, a rule must hold on every node it concerns: a node without an agent, or whose agent was refused,
//! leaves it open.

pub mod features;
pub mod network;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use crate::alike::Alike;
use crate::check::{Judged, NoVerdict};
use crate::facts::kernel::{NetworkView, NodeFacts};
use crate::facts::node::Node;
use crate::facts::provenance::{Fact, Reason, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::policy::Probe;
use crate::report::{Evidence, Severity};

/// Pieces of evidence shown of one outcome.
const EVIDENCE_SHOWN: usize = 8;

/// One node as both sides show it.
#[derive(Debug, Clone, Copy)]
pub struct OnNode<'a> {
    /// The cluster it is in.
    pub cluster: &'a str,
    /// As the API shows it.
    pub node: &'a Node,
    /// As its own kernel shows it.
    pub kernel: &'a NodeFacts,
}

impl OnNode<'_> {
    /// A part of a kernel fact as evidence.
    pub fn evidence<T>(&self, fact: &Fact<T>, field: impl Into<String>, value: &impl ToString) -> Evidence {
        let object = fact.known_value().map_or_else(
            |_| format!("node {}", self.node.name),
            |known| known.source.object.clone(),
        );
        Evidence::new(self.cluster, value, &Source::read(object, field))
    }

    /// A kernel setting; `not found` where the kernel has none of that name.
    pub fn sysctl(&self, name: &str) -> Result<&str, Unknown> {
        self.kernel
            .sysctl(name)?
            .ok_or_else(|| Unknown::not_found(format!("the kernel of {} has no setting {name}", self.node.name)))
    }

    /// A kernel setting that is a number.
    pub fn number(&self, name: &str) -> Result<u64, Unknown> {
        let text = self.sysctl(name)?;
        text.trim()
            .parse()
            .map_err(|_| Unknown::unparsable(&Source::read(format!("node {}", self.node.name), name), text))
    }

    /// A kernel setting as evidence.
    pub fn sysctl_evidence(&self, name: &str) -> Evidence {
        let value = self.sysctl(name).map_or("absent", str::trim).to_owned();
        self.evidence(&self.kernel.sysctls, name, &value)
    }
}

/// What a rule says of one node.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What is wrong with how much weight; nothing means that the rule holds. Without a severity it is the check's own.
    faults: Vec<(Option<Severity>, String)>,
    /// What is there where nothing is wrong.
    fine: String,
    evidence: Vec<Evidence>,
}

impl Seen {
    /// The rule holds here, with what is there. Nodes of which the same is said are shown as one.
    pub fn fine(found: impl Into<String>) -> Self {
        Self {
            fine: found.into(),
            ..Self::default()
        }
    }

    /// The rule is broken here.
    pub fn fault(found: impl Into<String>) -> Self {
        Self {
            faults: vec![(None, found.into())],
            ..Self::default()
        }
    }

    /// The rule is broken here, with another severity than the check's own.
    pub fn fault_as(severity: Severity, found: impl Into<String>) -> Self {
        Self {
            faults: vec![(Some(severity), found.into())],
            ..Self::default()
        }
    }

    /// A fault for each of these texts; fine if there is none.
    pub fn faults(found: impl IntoIterator<Item = String>, fine: impl Into<String>) -> Self {
        Self {
            faults: found.into_iter().map(|found| (None, found)).collect(),
            fine: fine.into(),
            evidence: Vec::new(),
        }
    }

    /// Whether nothing is wrong.
    pub fn is_fine(&self) -> bool {
        self.faults.is_empty()
    }

    /// Both together: fine only if both are.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.faults.extend(other.faults);
        self.evidence.extend(other.evidence);
        self
    }

    /// The same faults, each with this severity.
    #[must_use]
    pub fn weighing(mut self, severity: Severity) -> Self {
        for (weight, _) in &mut self.faults {
            *weight = Some(severity);
        }
        self
    }

    /// Adds a piece of evidence.
    #[must_use]
    pub fn evidence(mut self, evidence: Evidence) -> Self {
        self.evidence.push(evidence);
        self
    }

    /// Adds pieces of evidence.
    #[must_use]
    pub fn evidence_all(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }
}

/// What a rule says of one node, or why it says nothing.
pub type SeenOn = Result<Seen, NoVerdict>;

/// Judges a rule that needs what agents read, and some of the cluster's other facts. Where the user asked for no agents, what is missing was
/// not asked for.
pub fn asked(audit: &Audit<'_>, cluster: &Cluster<'_>, judge: impl FnOnce() -> Judged) -> Judged {
    let not_asked = is_not_asked(audit, cluster);
    judge().map_err(|why| match why {
        NoVerdict::Missing(_) if not_asked => not_asked_for(),
        why => why,
    })
}

/// Whether the user asked for no agents, and there were none.
pub fn is_not_asked(audit: &Audit<'_>, cluster: &Cluster<'_>) -> bool {
    audit.policy.probe == Probe::None && cluster.facts.node_facts.is_empty()
}

/// Why there is no verdict where the user asked for no agents.
pub fn not_asked_for() -> NoVerdict {
    NoVerdict::missing(Reason::NotAsked, "the node's kernel is not read with --probe none")
}

/// Why there is no verdict on a node without an agent: one text, so that it is one cause however many rules it costs.
pub fn no_agent() -> Unknown {
    Unknown::new(Reason::NoAgent, "no agent is there to read the node's kernel")
}

/// The Linux nodes of a cluster.
pub fn nodes<'a>(cluster: &Cluster<'a>) -> Result<Vec<&'a Node>, Unknown> {
    let nodes = cluster.facts.nodes.get()?.iter();
    Ok(nodes.filter(|node| node.os != "windows").collect())
}

/// These nodes with what was read on each, or why nothing was.
pub fn read<'a>(
    cluster: &Cluster<'a>,
    nodes: impl IntoIterator<Item = &'a Node>,
) -> Vec<(&'a Node, Result<OnNode<'a>, Unknown>)> {
    let facts = cluster.facts;
    let by_name: HashMap<&str, &NodeFacts> = facts.node_facts.iter().map(|node| (node.node.as_str(), node)).collect();
    nodes
        .into_iter()
        .map(|node| {
            let kernel = by_name.get(node.name.as_str()).copied();
            let seen = kernel.ok_or_else(no_agent).and_then(of_the_host);
            let on_node = seen.map(|kernel| OnNode {
                cluster: &facts.name,
                node,
                kernel,
            });
            (node, on_node)
        })
        .collect()
}

/// An agent in a pod's network sees that pod's links, routes and settings: they say nothing of the node.
fn of_the_host(kernel: &NodeFacts) -> Result<&NodeFacts, Unknown> {
    match kernel.network.ok() {
        Some(NetworkView::Pod) => Err(Unknown::new(
            Reason::NoAgent,
            "the agent is not on the node's own network (hostNetwork)",
        )),
        _ => Ok(kernel),
    }
}

/// Judges a rule on all these nodes: the worst of what is said.
pub fn judge<'a>(
    audit: &Audit<'_>,
    cluster: &Cluster<'a>,
    nodes: impl IntoIterator<Item = &'a Node>,
    (expected, remedy): (&str, &str),
    rule: impl Fn(&OnNode<'a>) -> SeenOn,
) -> Judged {
    let mut broken: Said<'a> = Said::default();
    let mut fine: Said<'a> = Said::default();
    let mut missing: Alike<Reason, &str> = Alike::default();
    let mut unread = 0_usize;
    let mut does_not_apply = None;
    let mut weights: Vec<Option<Severity>> = Vec::new();
    let (mut of_faults, mut of_fine) = (Vec::new(), Vec::new());
    let nodes = read(cluster, nodes);
    let nodes_judged = nodes.len();
    for (node, on_node) in nodes {
        match on_node.map_err(NoVerdict::from).and_then(|on_node| rule(&on_node)) {
            Ok(seen) if seen.faults.is_empty() => {
                fine.add(seen.fine, &node.name);
                of_fine.extend(seen.evidence);
            }
            Ok(seen) => {
                for (of_fault, text) in seen.faults {
                    weights.push(of_fault);
                    broken.add(text, &node.name);
                }
                of_faults.extend(seen.evidence);
            }
            Err(NoVerdict::Missing(why)) => {
                missing.add(why.reason, &why.detail, &[&node.name], &node.name);
                unread += 1;
            }
            Err(why) => {
                does_not_apply.get_or_insert(why);
            }
        }
    }
    // What is only recorded counts as a pass, which nodes that were not read must not become.
    let is_only_recorded = weights.iter().all(|weight| *weight == Some(Severity::Info));
    if !weights.is_empty() && (unread == 0 || !is_only_recorded) {
        let outcome = worst(&weights);
        let open = if unread == 0 {
            String::new()
        } else {
            format!("; not known of {unread} more")
        };
        let nodes: BTreeSet<&str> = broken.by_text.iter().flat_map(|(_, nodes)| nodes).copied().collect();
        return Ok(outcome
            .expected(expected)
            .found(format!("{broken}{open}"))
            .evidence_all(of_faults.into_iter().take(EVIDENCE_SHOWN))
            .remedy(remedy)
            .nodes(nodes));
    }
    if let Some((reason, detail, group)) = missing.groups().next() {
        if is_not_asked(audit, cluster) {
            return Err(not_asked_for());
        }
        let outcome = Outcome::none(Unknown::new(reason, detail.clone()))
            .expected(expected)
            .cause(detail);
        // Where it is not known of any node, the cluster says it all.
        let is_partial = unread < nodes_judged;
        return Ok(if is_partial {
            outcome.nodes(group.items)
        } else {
            outcome
        });
    }
    if fine.by_text.is_empty() {
        return Err(does_not_apply.unwrap_or_else(|| NoVerdict::does_not_apply("it concerns no node here")));
    }
    Ok(Outcome::holds()
        .expected(expected)
        .found(fine.to_string())
        .evidence_all(of_fine.into_iter().take(EVIDENCE_SHOWN)))
}

/// Broken with the worst of these weights. None is the check's own, which nothing but an explicit `fail` is worse than.
fn worst(weights: &[Option<Severity>]) -> Outcome {
    if weights.contains(&Some(Severity::Fail)) {
        return Outcome::broken_as(Severity::Fail);
    }
    let explicit: Option<Vec<Severity>> = weights.iter().copied().collect();
    explicit
        .and_then(|weights| weights.into_iter().max())
        .map_or_else(Outcome::broken, Outcome::broken_as)
}

/// What is said, of which nodes, in order of appearance.
#[derive(Default)]
struct Said<'a> {
    by_text: Vec<(String, Vec<&'a str>)>,
}

impl<'a> Said<'a> {
    fn add(&mut self, text: String, node: &'a str) {
        match self.by_text.iter_mut().find(|(said, _)| *said == text) {
            Some((_, nodes)) => nodes.push(node),
            None => self.by_text.push((text, vec![node])),
        }
    }
}

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 4;
        let parts = self.by_text.iter().take(SHOWN).map(|(text, nodes)| {
            let (named, more) = nodes.split_at(nodes.len().min(3));
            let more = if more.is_empty() {
                String::new()
            } else {
                format!(" and {} more", more.len())
            };
            format!("{text} on {}{more}", named.join(", "))
        });
        f.write_str(&parts.collect::<Vec<_>>().join("; "))?;
        match self.by_text.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
