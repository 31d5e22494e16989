//! `CiliumNodeConfig`: keys of the configuration that some nodes override.

use std::collections::BTreeMap;

use prejoin_checks::facts::cilium::NodeConfig;
use prejoin_checks::facts::node::Node;
use prejoin_checks::facts::provenance::{Fact, Known, Source, Unknown};
use serde::Deserialize;

use crate::cluster::object::{Meta, or_default, pick_by};
use crate::cluster::permissions::CILIUM_NODE_CONFIGS;
use crate::cluster::reader::{Reader, Scope};
use crate::cluster::workloads::is_secret_name;

/// All of them, in all namespaces, with the selectors that nodes are still to be held against.
pub(crate) type NodeConfigs = Vec<Object>;

#[derive(Deserialize)]
pub(crate) struct Object {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    defaults: BTreeMap<String, String>,
    node_selector: Option<Selector>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    #[serde(deserialize_with = "or_default")]
    match_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    match_expressions: Vec<Expression>,
}

#[derive(Deserialize)]
struct Expression {
    key: String,
    operator: Operator,
    #[serde(default, deserialize_with = "or_default")]
    values: Vec<String>,
}

#[derive(Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

pub(super) async fn read(reader: &Reader<'_>) -> Result<NodeConfigs, Unknown> {
    reader
        .list(
            &CILIUM_NODE_CONFIGS,
            Scope::ALL,
            |all: &mut NodeConfigs, object: Object| {
                all.push(object);
                Ok(())
            },
        )
        .await
}

/// The labels by which nodes are selected, so that nodes keep them.
pub(crate) fn selector_keys(configs: &Result<NodeConfigs, Unknown>) -> Vec<String> {
    let selectors = configs
        .iter()
        .flatten()
        .filter_map(|config| config.spec.node_selector.as_ref());
    selectors
        .flat_map(|selector| {
            let expressions = selector.match_expressions.iter().map(|expression| &expression.key);
            selector.match_labels.keys().chain(expressions).cloned()
        })
        .collect()
}

/// Those that the agents of `namespace` look at, with the nodes each picks.
pub(super) fn fact(
    configs: Result<NodeConfigs, Unknown>,
    namespace: &str,
    nodes: &Fact<Vec<Node>>,
) -> Fact<Vec<NodeConfig>> {
    let read = || {
        let mut all = Vec::new();
        for config in configs?
            .into_iter()
            .filter(|config| config.metadata.namespace == namespace)
        {
            // Which nodes it overrides is the point of it.
            let nodes = nodes.get()?;
            let picked = nodes.iter().filter(|node| config.picks(&node.labels));
            all.push(NodeConfig {
                nodes: picked.map(|node| node.name.clone()).collect(),
                name: config.metadata.name,
                defaults: pick_by(config.spec.defaults, |key| !is_secret_name(key)),
            });
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Known::new(all, Source::read("CiliumNodeConfigs", "spec.defaults")))
    };
    read().into()
}

impl Object {
    /// Without a selector no node, with an empty one every node: as Kubernetes' label selectors have it.
    fn picks(&self, labels: &BTreeMap<String, String>) -> bool {
        self.spec.node_selector.as_ref().is_some_and(|selector| {
            selector
                .match_labels
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
                && selector
                    .match_expressions
                    .iter()
                    .all(|expression| expression.holds(labels))
        })
    }
}

impl Expression {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use prejoin_checks::facts::provenance::Reason;

    use super::*;

    fn configs(selector: &str) -> NodeConfigs {
        let json = format!(
            r#"[{{"metadata":{{"name":"wg","namespace":"kube-system"}},"spec":{{"defaults":{{"enable-wireguard":"true"}},"nodeSelector":{selector}}}}},
               {{"metadata":{{"name":"x","namespace":"elsewhere"}},"spec":{{"nodeSelector":{{}}}}}}]"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn nodes() -> Fact<Vec<Node>> {
        let node = |name: &str, rack: &str| Node {
            name: name.to_owned(),
            labels: BTreeMap::from([("rack".to_owned(), rack.to_owned())]),
            ..Node::default()
        };
        Fact::known(vec![node("n1", "1"), node("n2", "2")], Source::read("Nodes", ""))
    }

    fn picked(selector: &str) -> Vec<String> {
        let fact = fact(Ok(configs(selector)), "kube-system", &nodes());
        let all = fact.get().unwrap();
        assert_eq!(all.len(), 1);
        all[0].nodes.clone()
    }

    #[test]
    fn selectors_pick_nodes_as_kubernetes_does() {
        assert_eq!(picked(r#"{"matchLabels":{"rack":"1"}}"#), ["n1"]);
        let expression = |operator: &str, values: &str| {
            format!(r#"{{"matchExpressions":[{{"key":"rack","operator":"{operator}","values":{values}}}]}}"#)
        };
        assert_eq!(picked(&expression("In", r#"["2","3"]"#)), ["n2"]);
        assert_eq!(picked(&expression("NotIn", r#"["2"]"#)), ["n1"]);
        assert_eq!(picked(&expression("Exists", "null")), ["n1", "n2"]);
        assert!(picked(&expression("DoesNotExist", "[]")).is_empty());
        assert_eq!(picked("{}"), ["n1", "n2"]);
        assert!(picked("null").is_empty());
        assert_eq!(selector_keys(&Ok(configs(r#"{"matchLabels":{"rack":"1"}}"#))), ["rack"]);
    }

    #[test]
    fn without_nodes_it_is_not_known_what_is_overridden() {
        let unread = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
        let fact = fact(Ok(configs("{}")), "kube-system", &unread);
        assert_eq!(fact.why().unwrap().reason, Reason::Forbidden);
    }
}
