//! [`Gaps`]: what a plan leaves open, each cause once with all nodes that it leaves out.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Gap;
use crate::alike::{self, some_of};
use crate::facts::provenance::{Reason, Unknown};

/// What a node lacks to be probed. `of` is how many nodes its cluster has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lack {
    /// An agent, on the node or in a pod of it; `why` is empty where none was to be had there.
    Agent { in_pod: bool, why: String, of: usize },
    /// An address of a family that senders have.
    Address { of: usize },
}

/// Why something is left open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Open {
    /// Without regard to single nodes.
    All(Unknown),
    /// For what nodes of the last cluster lack, their names left out of the text.
    Nodes(Lack),
}

/// What a plan leaves open.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// By the check's code, the clusters concerned, and why.
    nodes: BTreeMap<(String, Vec<String>, Open), BTreeSet<String>>,
}

impl Gaps {
    /// A flow between, or within, these clusters is left open.
    pub(super) fn add(&mut self, code: &str, clusters: &[&str], why: Unknown) {
        self.nodes.entry(key(code, clusters, Open::All(why))).or_default();
    }

    /// A node of the last of these clusters is left out of a flow.
    pub(super) fn add_node(&mut self, code: &str, clusters: &[&str], node: &str, lack: Lack) {
        let lack = match lack {
            Lack::Agent { in_pod, why, of } => Lack::Agent {
                in_pod,
                why: alike::without_name(&why, node),
                of,
            },
            lack @ Lack::Address { .. } => lack,
        };
        let nodes = self.nodes.entry(key(code, clusters, Open::Nodes(lack))).or_default();
        nodes.insert(node.to_owned());
    }

    /// In the plan's own terms.
    pub(super) fn into_list(self) -> Vec<Gap> {
        let gaps = self.nodes.into_iter().map(|((code, clusters, open), nodes)| Gap {
            why: match open {
                Open::All(why) => why,
                Open::Nodes(lack) => told(clusters.last().map_or("", String::as_str), &lack, &nodes),
            },
            nodes: nodes.into_iter().collect(),
            code,
            clusters,
        });
        gaps.collect()
    }
}

fn key(code: &str, clusters: &[&str], open: Open) -> (String, Vec<String>, Open) {
    let clusters = clusters.iter().map(|name| (*name).to_owned()).collect();
    (code.to_owned(), clusters, open)
}

/// What these nodes lack, in words: of many, how many they are comes first.
fn told(cluster: &str, lack: &Lack, nodes: &BTreeSet<String>) -> Unknown {
    const FEW: usize = 3;
    let names = some_of(nodes);
    let count = nodes.len();
    let (reason, few, many, of, why) = match lack {
        Lack::Agent { in_pod, why, of } => {
            let (on, where_) = if *in_pod {
                ("in a pod on", " in a pod")
            } else {
                ("on", "")
            };
            let why = match (why.as_str(), nodes.first()) {
                ("", _) => String::new(),
                (why, Some(only)) if count == 1 => format!(": {}", alike::with_name(why, only)),
                (why, _) => format!(": {}", alike::with_name(why, "…")),
            };
            let few = format!("{cluster}: no agent {on} {names}");
            (Reason::NoAgent, few, format!("have no agent{where_}"), *of, why)
        }
        Lack::Address { of } => {
            let few = format!("{cluster}: no address of a family that senders have on {names}");
            let many = "have no address of a family that senders have".to_owned();
            (Reason::NotFound, few, many, *of, String::new())
        }
    };
    let detail = if count <= FEW {
        format!("{few}{why}")
    } else {
        // A cluster of which no nodes are known has at least those.
        let of = of.max(count);
        format!("{count} of {of} nodes of {cluster} {many}: {names}{why}")
    };
    Unknown::new(reason, detail)
}
