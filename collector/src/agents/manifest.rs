//! What is installed: the YAML of `manifests/`, embedded, with what was asked for set in it.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use k8s_openapi::ByteString;
use prejoin_agent::dial::trust::Fingerprint;
use prejoin_checks::profile::Profile;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Where agents are installed unless another namespace is named.
pub const NAMESPACE: &str = "prejoin-system";
/// The image that agents run from unless another is named: both agents are in it.
pub const IMAGE: &str = concat!("prejoin/agent:", env!("CARGO_PKG_VERSION"));
/// The label that everything carries which is installed.
pub const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "prejoin");
pub use prejoin_agent::exec::{LABEL, NOT_OF_A_RUN};
/// The label of what is there for one audit only; its value is the run's id.
pub const RUN: &str = "prejoin.dev/run";
/// The annotation of a run's namespace and Job: after so many seconds they are leftovers.
pub const DEADLINE: &str = "prejoin.dev/deadline-seconds";
/// Between the deadline that a run's pod keeps itself and the one that the cluster keeps for it.
const GRACE: Duration = Duration::from_secs(60);

const NAMESPACE_YAML: &str = include_str!("../../../manifests/base/namespace.yaml");
const BASE: [&str; 4] = [
    include_str!("../../../manifests/base/priority-class.yaml"),
    include_str!("../../../manifests/base/service-account.yaml"),
    include_str!("../../../manifests/base/network-policy.yaml"),
    include_str!("../../../manifests/base/node-agent.yaml"),
];
const CLUSTER_AGENT: [&str; 4] = [
    include_str!("../../../manifests/rbac/clusterrole.yaml"),
    include_str!("../../../manifests/components/cluster-agent/service-account.yaml"),
    CLUSTER_AGENT_POLICY,
    include_str!("../../../manifests/components/cluster-agent/cluster-agent.yaml"),
];
const CLUSTER_AGENT_POLICY: &str = include_str!("../../../manifests/components/cluster-agent/network-policy.yaml");
const COLLECTOR: [&str; 2] = [
    include_str!("../../../manifests/components/collector/credential.yaml"),
    include_str!("../../../manifests/components/collector/role.yaml"),
];
const DIALS: &str = include_str!("../../../manifests/components/collector/cluster-agent-patch.yaml");
const RESTRICTED: &str = include_str!("../../../manifests/components/restricted/node-agent-patch.yaml");
const ANCHOR: &str = include_str!("../../../manifests/run/anchor.yaml");
const PODS: &str = include_str!("../../../manifests/run/pods.yaml");
const TEST_SERVICE: &str = include_str!("../../../manifests/run/test-service.yaml");
/// What makes a Service of this name and namespace one in all clusters of a ClusterMesh.
const GLOBAL_SERVICE: &str = "service.cilium.io/global";
/// What makes a namespace one in all clusters of a ClusterMesh, where that is not the default.
const GLOBAL_NAMESPACE: &str = "clustermesh.cilium.io/global";

/// Which agents, and what they may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Node agents alone.
    Node,
    /// Node agents, and the cluster agent in the pod network.
    #[default]
    Cluster,
    /// As `cluster`, for clusters that allow no capability: no root, no NET_RAW.
    Restricted,
}

/// What is to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The namespace.
    pub namespace: String,
    /// The image of both agents.
    pub image: String,
    /// The Secret in that namespace with which the image is pulled.
    pub pull_secret: Option<String>,
    /// Labels of the nodes to run on, besides those that agents can run on at all.
    pub node_selector: BTreeMap<String, String>,
    /// Which agents.
    pub mode: Mode,
    /// The collector that the cluster agent dials out to, if there is one.
    pub collector: Option<DialOut>,
}

/// A collector to dial out to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialOut {
    /// Its URL.
    pub url: String,
    /// The SHA-256 of its certificate, or of the one that issued it; without it, the agent has to know the authority.
    pub fingerprint: Option<Fingerprint>,
    /// The one-time token; without it, the agent has a credential already.
    pub token: Option<String>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            namespace: NAMESPACE.to_owned(),
            image: IMAGE.to_owned(),
            pull_secret: None,
            node_selector: BTreeMap::new(),
            mode: Mode::default(),
            collector: None,
        }
    }
}

/// Agents for one audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id: lower-case letters and digits.
    pub id: String,
    /// The agents end after this time, whatever happened to who started them.
    pub deadline: Duration,
    /// Whether the namespace is the run's own, and ends with it.
    pub own_namespace: bool,
    /// Whether there are pods on every node besides.
    pub pods: bool,
    /// The Services that other clusters are to reach through the mesh.
    pub services: Vec<TestService>,
}

/// A Service of a run, by which one cluster's pod is reached from the others it is joined with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestService {
    /// What joins the clusters.
    pub profile: Profile,
    /// The cluster whose pod is behind it.
    pub of: String,
    /// The number of that cluster, the same wherever the Service is made.
    pub number: usize,
    /// Whether it is that cluster's own; in the others it has nothing behind it.
    pub own: bool,
}

impl TestService {
    /// What the Service is called, in every cluster alike.
    pub fn name(&self, run: &Run) -> String {
        format!("prejoin-{}-{}-{}", self.profile.name(), self.number, run.id)
    }

    fn objects(&self, run: &Run) -> impl Iterator<Item = Value> + use<> {
        let (name, own) = (self.name(run), self.own);
        let is_exported = self.profile == Profile::Submariner;
        let wanted = move |object: &Value| is_exported || kind(object) == "Service";
        documents(TEST_SERVICE)
            .into_iter()
            .filter(wanted)
            .map(move |mut object| {
                object["metadata"]["name"] = json!(name);
                if kind(&object) == "Service" {
                    if !is_exported {
                        object["metadata"]["annotations"] = json!({ GLOBAL_SERVICE: "true" });
                    }
                    if !own {
                        // Nothing of this cluster is behind it.
                        object["spec"]["selector"]["app.kubernetes.io/component"] = json!("none");
                    }
                }
                object
            })
    }
}

/// The objects of agents that stay, in the order in which they are applied: the namespace first.
pub fn installed(wanted: &Wanted) -> Vec<Value> {
    let mut files = vec![NAMESPACE_YAML];
    files.extend(BASE);
    if wanted.mode != Mode::Node {
        files.extend(CLUSTER_AGENT);
        if wanted.collector.is_some() {
            files.extend(COLLECTOR);
        }
    }
    let mut objects: Vec<Value> = files.into_iter().flat_map(documents).collect();
    for object in &mut objects {
        settle(object, wanted);
    }
    objects
}

/// The objects of agents for one audit, in the order in which they are applied: the namespace first if it is the run's own, then the Job that
/// the others belong to with what its pod needs.
pub fn for_run(wanted: &Wanted, run: &Run) -> Vec<Value> {
    let mut objects = Vec::new();
    if run.own_namespace {
        objects.extend(documents(NAMESPACE_YAML));
    }
    objects.extend(documents(ANCHOR).into_iter().filter(|object| {
        let removes_the_namespace = matches!(kind(object), "Role" | "RoleBinding");
        run.own_namespace || !removes_the_namespace
    }));
    let of_nodes = BASE.into_iter().flat_map(documents);
    // Cluster-scoped objects would need an owner that is, too.
    objects.extend(of_nodes.filter(|object| kind(object) != "PriorityClass"));
    objects.extend(documents(CLUSTER_AGENT_POLICY));
    if run.pods || !run.services.is_empty() {
        objects.extend(documents(PODS));
    }
    for object in &mut objects {
        settle(object, wanted);
        of_run(object, run);
    }
    for mut object in run.services.iter().flat_map(|service| service.objects(run)) {
        settle(&mut object, wanted);
        object["metadata"]["labels"][RUN] = json!(run.id);
        if let Some(selector) = object.pointer_mut("/spec/selector") {
            selector[RUN] = json!(run.id);
        }
        objects.push(object);
    }
    objects
}

/// Whether an object is what the others of a run belong to.
pub fn is_anchor(object: &Value) -> bool {
    kind(object) == "Job"
}

/// An object's kind.
pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

/// An object's name.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The objects of a YAML file.
fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).expect("the embedded manifests are YAML")
}

/// Puts what was asked for into an object.
fn settle(object: &mut Value, wanted: &Wanted) {
    let namespace = json!(wanted.namespace);
    if kind(object) == "Namespace" {
        object["metadata"]["name"] = namespace;
    } else {
        if let Some(known) = object.pointer_mut("/metadata/namespace") {
            *known = namespace.clone();
        }
        for subject in subjects(object) {
            subject["namespace"] = namespace.clone();
        }
        let rules = object.get_mut("rules").and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            // The Role of a run, which may remove its namespace.
            if rule["resources"] == json!(["namespaces"]) && rule.get("resourceNames").is_some() {
                rule["resourceNames"] = json!([namespace]);
            }
        }
    }
    if let Some(collector) = &wanted.collector {
        dial_out(object, collector);
    }
    if kind(object) == "DaemonSet" && name(object) == "prejoin-agent" && wanted.mode == Mode::Restricted {
        let patch: json_patch::Patch = serde_saphyr::from_str(RESTRICTED).expect("the embedded patch is one");
        json_patch::patch(object, &patch).expect("the embedded patch fits the embedded DaemonSet");
    }
    let Some(pod) = object.pointer_mut("/spec/template/spec") else {
        return;
    };
    for container in pod["containers"].as_array_mut().into_iter().flatten() {
        container["image"] = json!(wanted.image);
    }
    if let Some(secret) = &wanted.pull_secret {
        pod["imagePullSecrets"] = json!([{ "name": secret }]);
    }
    for (label, value) in &wanted.node_selector {
        pod["nodeSelector"][label] = json!(value);
    }
}

/// Puts the collector into what dials out to it.
fn dial_out(object: &mut Value, collector: &DialOut) {
    match kind(object) {
        "Secret" => {
            if let Some(object) = object.as_object_mut() {
                object.remove("data");
            }
            if let Some(token) = &collector.token {
                object["data"] = json!({ "token": ByteString(token.clone().into_bytes()) });
            }
        }
        "Deployment" => {
            let patch: json_patch::Patch = serde_saphyr::from_str(DIALS).expect("the embedded patch is one");
            json_patch::patch(object, &patch).expect("the embedded patch fits the embedded Deployment");
            let container = &mut object["spec"]["template"]["spec"]["containers"][0];
            for variable in container["env"].as_array_mut().into_iter().flatten() {
                match variable["name"].as_str() {
                    Some("PREJOIN_COLLECTOR") => variable["value"] = json!(collector.url),
                    Some("PREJOIN_COLLECTOR_FINGERPRINT") => {
                        let fingerprint = collector.fingerprint.map(|fingerprint| fingerprint.to_string());
                        variable["value"] = json!(fingerprint.unwrap_or_default());
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Makes an object one of a run: named, labelled and selected by its id.
fn of_run(object: &mut Value, run: &Run) {
    object["metadata"]["labels"][RUN] = json!(run.id);
    if kind(object) == "Namespace" || is_anchor(object) {
        object["metadata"]["annotations"] = json!({ DEADLINE: (run.deadline + GRACE).as_secs().to_string() });
    }
    if kind(object) == "Namespace" {
        if !run.services.is_empty() {
            object["metadata"]["annotations"][GLOBAL_NAMESPACE] = json!("true");
        }
        return;
    }
    let renamed = |name: &Value| json!(format!("{}-{}", name.as_str().unwrap_or_default(), run.id));
    object["metadata"]["name"] = renamed(&object["metadata"]["name"]);
    for place in ["/roleRef/name", "/spec/template/spec/serviceAccountName"] {
        if let Some(name) = object.pointer_mut(place) {
            *name = renamed(name);
        }
    }
    for subject in subjects(object) {
        subject["name"] = renamed(&subject["name"]);
    }
    for labels in [
        "/spec/selector/matchLabels",
        "/spec/podSelector/matchLabels",
        "/spec/template/metadata/labels",
    ] {
        if let Some(labels) = object.pointer_mut(labels) {
            labels[RUN] = json!(run.id);
        }
    }
    if let Some(pod) = object.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut) {
        pod.remove("priorityClassName");
    }
    if is_anchor(object) {
        object["spec"]["activeDeadlineSeconds"] = json!((run.deadline + GRACE).as_secs());
        let pod = &mut object["spec"]["template"]["spec"];
        let seconds = run.deadline.as_secs().to_string();
        let mut command = vec!["/prejoin-cluster-agent", "wait", "--deadline", &seconds];
        if run.own_namespace {
            command.push("--remove-namespace");
        }
        pod["containers"][0]["command"] = json!(command);
        // A token is of use to remove the namespace, and to nothing else.
        pod["automountServiceAccountToken"] = json!(run.own_namespace);
    }
}

/// The subjects of a binding; other objects have none, and must not get the member by being asked for it.
fn subjects(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
    subjects.into_iter().flatten()
}

#[cfg(test)]
mod tests;
