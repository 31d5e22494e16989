//! What may be read decides what is known, and what may not be is named.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::suite::{Suite, suite};

const NAMESPACE: &str = "prejoin-e2e-reader";

/// What is asked for only where something else tells that it matters.
const ON_OCCASION: [&str; 7] = [
    "networkpolicies.networking.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "ciliumnetworkpolicies.cilium.io",
    "ciliumclusterwidenetworkpolicies.cilium.io",
    "endpointslices.discovery.k8s.io",
    "leases.coordination.k8s.io",
];

/// A user of one cluster with the reader's role, or a part of it.
pub(super) struct Reader<'a> {
    suite: &'a Suite,
    context: String,
    folder: TempDir,
    role: Value,
    pub(super) token: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(suite: &'a Suite) -> Self {
        let context = suite.contexts()[0].clone();
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests/rbac/clusterrole.yaml");
        let file = manifest.to_str().unwrap();
        let role = suite.kubectl(&context, &["create", "--dry-run=client", "--output=json", "-f", file]);
        let mut role: Value = serde_json::from_str(&role).unwrap();
        role["metadata"] = json!({ "name": NAMESPACE });
        let account = json!({ "name": "reader", "namespace": NAMESPACE });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": NAMESPACE },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAMESPACE },
            "subjects": [{ "kind": "ServiceAccount", "name": "reader", "namespace": NAMESPACE }],
        });
        suite.apply(
            &context,
            &[
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } }),
                json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": account }),
                role.clone(),
                binding,
            ],
        );
        let token = suite.kubectl(&context, &["--namespace", NAMESPACE, "create", "token", "reader"]);
        let token = token.trim().to_owned();
        let config = suite.kubectl(&context, &["config", "view", "--minify", "--raw", "--output=json"]);
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["users"][0]["user"] = json!({ "token": token });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), config.to_string()).unwrap();
        Self {
            suite,
            context,
            folder,
            role,
            token,
        }
    }

    /// What is known with these rules, and what was said.
    fn facts(&self, rules: &[Value], arguments: &[&str]) -> (Value, String) {
        let mut role = self.role.clone();
        role["rules"] = json!(rules);
        self.suite.apply(&self.context, &[role]);
        let kubeconfig = self.folder.path().join("kubeconfig");
        let fixed = [
            "facts",
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
            "--context",
            &self.context,
        ];
        let outcome = self.suite.prejoin(&[&fixed, arguments].concat());
        let facts = serde_json::from_str(&outcome.stdout);
        assert!(facts.is_ok(), "{outcome:#?}");
        (facts.unwrap(), outcome.stderr)
    }

    fn rules(&self) -> Vec<Value> {
        self.role["rules"].as_array().unwrap().clone()
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        for kind in ["clusterrolebinding", "clusterrole", "namespace"] {
            self.suite.try_kubectl(&self.context, &["delete", kind, NAMESPACE]);
        }
    }
}

/// Every rule without one of its resources, with that resource's full name: `ciliumnodes.cilium.io`.
fn with_one_less(rules: &[Value]) -> Vec<(String, Vec<Value>)> {
    let mut less = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let group = rule["apiGroups"][0].as_str().unwrap_or_default();
        for resource in rule["resources"].as_array().into_iter().flatten() {
            let mut fewer = rules.to_vec();
            let resources = fewer[number]["resources"].as_array_mut().unwrap();
            resources.retain(|other| other != resource);
            if resources.is_empty() {
                fewer.remove(number);
            }
            let full = format!("{}.{group}", resource.as_str().unwrap());
            less.push((full.trim_end_matches('.').to_owned(), fewer));
        }
    }
    less
}

#[test]
fn the_reader_s_role_is_enough_and_every_rule_of_it_is_needed() {
    let Some(suite) = suite() else { return };
    let reader = Reader::new(&suite);
    let (all, said) = reader.facts(&reader.rules(), &[]);
    assert!(!all.to_string().contains("forbidden"), "{all:#}\n{said}");
    let served = suite.kubectl(&reader.context, &["api-resources", "--output=name"]);
    let (mut tried, mut unnoticed) = (0, BTreeSet::<String>::new());
    for (resource, rules) in with_one_less(&reader.rules()) {
        if !served.lines().any(|name| name == resource) {
            continue;
        }
        let (facts, _) = reader.facts(&rules, &[]);
        let (plural, text) = (resource.split('.').next().unwrap(), facts.to_string());
        tried += 1;
        if !(text.contains("forbidden") && text.contains(plural)) {
            unnoticed.insert(resource);
        }
    }
    assert!(tried >= 8, "{tried}");
    unnoticed.retain(|resource| !ON_OCCASION.contains(&resource.as_str()));
    assert_eq!(unnoticed, BTreeSet::new(), "not named when forbidden");
}

#[test]
fn secrets_are_refused_to_the_reader_and_that_is_said() {
    let Some(suite) = suite() else { return };
    let reader = Reader::new(&suite);
    let account = format!("system:serviceaccount:{NAMESPACE}:reader");
    for verb in ["get", "list", "watch"] {
        let may = suite.try_kubectl(
            &reader.context,
            &["auth", "can-i", verb, "secrets", "-A", "--as", &account],
        );
        assert_eq!(may.stdout.trim(), "no", "{verb}");
    }
    let (facts, _) = reader.facts(&reader.rules(), &["--read-secrets"]);
    let text = facts.to_string();
    assert!(text.contains("forbidden") && text.contains("secrets"), "{facts:#}");
}
