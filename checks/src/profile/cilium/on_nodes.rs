//! Settings that `CiliumNodeConfig` objects override on some nodes.

use std::collections::BTreeMap;
use std::fmt;

use super::Settings;
use super::keys::CLUSTER_WIDE;
use crate::alike::some_of;
use crate::check::NoVerdict;
use crate::facts::cilium::NodeConfig;
use crate::facts::provenance::{Known, Reason, Source, Unknown};

/// One setting on all nodes of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OnNodes<T> {
    /// What most nodes have: those without an override, or the first group of nodes where all have one.
    pub common: T,
    /// What differs from it, where, and why.
    pub exceptions: Vec<Exception<T>>,
}

/// A setting that differs on some nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exception<T> {
    /// What these nodes have.
    pub value: T,
    /// The nodes, by name.
    pub nodes: Vec<String>,
    /// Where it was read.
    pub source: Source,
}

impl<T> OnNodes<T> {
    /// Whether nodes of one cluster differ.
    pub fn is_mixed(&self) -> bool {
        !self.exceptions.is_empty()
    }

    /// Every value that some node has.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.common).chain(self.exceptions.iter().map(|exception| &exception.value))
    }
}

impl<T: fmt::Display> fmt::Display for OnNodes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.common.fmt(f)?;
        self.exceptions
            .iter()
            .try_for_each(|exception| write!(f, " ({} on {})", exception.value, some_of(&exception.nodes)))
    }
}

/// The nodes that share their overrides, with what those are.
type NodeGroup<'a> = (Vec<&'a NodeConfig>, Vec<String>);

impl<'a> Settings<'a> {
    /// Reads one setting on every node. Nodes to which it does not apply are left out, unless it applies to none.
    pub fn on_all_nodes<T: PartialEq>(
        &self,
        read: impl Fn(&Settings<'a>) -> Result<Known<T>, NoVerdict>,
    ) -> Result<Known<OnNodes<T>>, NoVerdict> {
        let groups = self.node_groups()?;
        let mut result: Option<Known<OnNodes<T>>> = None;
        let mut does_not_apply = None;
        let views = groups
            .into_iter()
            .map(|(overrides, nodes)| (Settings::with_overrides(self.cilium, self.config, overrides), nodes));
        for (settings, nodes) in views {
            let known = match read(&settings) {
                Err(why @ NoVerdict::DoesNotApply(_)) => {
                    does_not_apply.get_or_insert(why);
                    continue;
                }
                other => other?,
            };
            match &mut result {
                None => {
                    result = Some(known.map(|common| OnNodes {
                        common,
                        exceptions: Vec::new(),
                    }));
                }
                Some(all) if all.value.common == known.value => {}
                Some(all) => all.value.exceptions.push(Exception {
                    value: known.value,
                    nodes,
                    source: known.source,
                }),
            }
        }
        result.ok_or_else(|| does_not_apply.unwrap_or_else(|| NoVerdict::does_not_apply("there are no nodes")))
    }

    /// Nodes by the overrides that select them, those without any first. They are left out if it is known that there are none.
    fn node_groups(&self) -> Result<Vec<NodeGroup<'a>>, Unknown> {
        let mut by_node: BTreeMap<&str, Vec<&NodeConfig>> = BTreeMap::new();
        for object in self.node_configs()? {
            for node in &object.nodes {
                by_node.entry(node).or_default().push(object);
            }
        }
        let mut groups: Vec<NodeGroup<'_>> = Vec::new();
        let all_overridden = self.cilium.nodes.ok().is_some_and(|nodes| {
            !nodes.is_empty() && nodes.iter().all(|node| by_node.contains_key(node.name.as_str()))
        });
        if !all_overridden {
            groups.push((Vec::new(), Vec::new()));
        }
        for (node, overrides) in by_node {
            match groups.iter_mut().find(|(of_group, _)| *of_group == overrides) {
                Some((_, nodes)) => nodes.push(node.to_owned()),
                None => groups.push((overrides, vec![node.to_owned()])),
            }
        }
        Ok(groups)
    }

    /// The overriding objects in the order of their names, in which they apply.
    fn node_configs(&self) -> Result<Vec<&'a NodeConfig>, Unknown> {
        let cilium = self.cilium;
        let mut objects: Vec<_> = match cilium.node_configs.get() {
            Ok(objects) => objects.iter().collect(),
            Err(unknown) if unknown.reason == Reason::NotInstalled => Vec::new(),
            Err(unknown) => return Err(unknown),
        };
        objects.sort_by_key(|object| &object.name);
        Ok(objects)
    }

    /// Overrides of keys that should be the same on every node, to another value than the ConfigMap's, with the nodes they select.
    pub fn overrides_of_cluster_wide_keys(&self) -> Result<Vec<(Known<String>, &'a NodeConfig)>, Unknown> {
        let mut found = Vec::new();
        for object in self.node_configs()? {
            for (key, value) in &object.defaults {
                let same = self.shown(key).is_ok_and(|shown| shown.value == value.trim());
                if CLUSTER_WIDE.contains(&key.as_str()) && !object.nodes.is_empty() && !same {
                    let source = self.cilium.node_config_source(object, key);
                    found.push((Known::new(format!("{key}: {value}"), source), object));
                }
            }
        }
        Ok(found)
    }
}
