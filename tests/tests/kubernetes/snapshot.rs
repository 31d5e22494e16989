//! All objects of all clusters, and what can be seen on their nodes: what an audit leaves would be in it.

use std::collections::BTreeMap;

use prejoin_tests::kubernetes::Trace;
use serde_json::Value;

use super::suite::Suite;

/// Kinds that clusters themselves change at any time.
const RESTLESS: [&str; 3] = ["events", "events.events.k8s.io", "componentstatuses"];

/// What is there.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot {
    /// By cluster, kind, namespace and name.
    objects: BTreeMap<String, Value>,
    /// By node, where nodes can be looked at.
    nodes: BTreeMap<String, Trace>,
}

impl Snapshot {
    pub(super) fn of(suite: &Suite) -> Self {
        let mut snapshot = Self {
            objects: BTreeMap::new(),
            nodes: BTreeMap::new(),
        };
        for context in suite.contexts() {
            let kinds = suite.kubectl(context, &["api-resources", "--verbs=list", "--output=name"]);
            let kinds: Vec<&str> = kinds.lines().filter(|kind| !RESTLESS.contains(kind)).collect();
            let list = suite.kubectl(
                context,
                &[
                    "get",
                    &kinds.join(","),
                    "--all-namespaces",
                    "--output=json",
                    "--chunk-size=0",
                ],
            );
            let mut list: Value = serde_json::from_str(&list).unwrap();
            for object in list["items"].as_array_mut().unwrap() {
                let metadata = &object["metadata"];
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let name = format!(
                    "{context} {} {}/{}",
                    text(&object["kind"]),
                    text(&metadata["namespace"]),
                    text(&metadata["name"])
                );
                snapshot.objects.insert(name, at_rest(object.take()));
            }
        }
        if let Some(lab) = suite.lab() {
            for node in lab.lab().topology().nodes() {
                if suite.contexts().contains(&node.site) {
                    snapshot.nodes.insert(node.name.clone(), lab.trace(&node.name).unwrap());
                }
            }
        }
        snapshot
    }

    /// Says what is different now.
    pub(super) fn assert_unchanged(&self, suite: &Suite) {
        let now = Self::of(suite);
        let other = |this: &Self, that: &Self| -> Vec<String> {
            let objects = this
                .objects
                .iter()
                .filter(|(name, object)| that.objects.get(*name) != Some(object));
            objects.map(|(name, object)| format!("{name}: {object}")).collect()
        };
        assert_eq!(other(self, &now), other(&now, self), "objects before and after");
        assert_eq!(self.nodes, now.nodes, "nodes before and after");
    }
}

/// What of an object stays as it is while nobody touches it.
fn at_rest(mut object: Value) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if let Some(members) = object.as_object_mut() {
        members.remove("status");
        // A heartbeat.
        if kind == "Lease" {
            members.remove("spec");
        }
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for restless in ["resourceVersion", "managedFields", "generation"] {
            metadata.remove(restless);
        }
    }
    object
}
