//! How far agents have come: which nodes have one that is ready, and what keeps the others.
//!
//! Pure: what is known of nodes, pods and events in, a state out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{ContainerState, Event, Node, Pod};
use serde::Serialize;

use crate::text;

/// The architectures that the image has.
pub const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
/// So much of a message is shown.
const SHOWN_CHARS: usize = 300;

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Why agents cannot run there, or are not wanted there.
    pub left_out: Option<String>,
    /// Whether its kubelet answers.
    pub ready: bool,
}

impl NodeState {
    /// What a node says of itself; `selector` are the labels that were asked for.
    pub fn of(node: &Node, selector: &BTreeMap<String, String>) -> Self {
        let empty = BTreeMap::new();
        let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        let or_info = |label: &str, told: Option<&str>| {
            let labelled = labels.get(label).map(String::as_str);
            // A node that no kubelet has told of yet has labels and texts that are empty.
            let known = [labelled, told].into_iter().flatten().find(|value| !value.is_empty());
            text::short(known.unwrap_or("unknown"), 60)
        };
        let os = or_info("kubernetes.io/os", info.map(|info| info.operating_system.as_str()));
        let architecture = or_info("kubernetes.io/arch", info.map(|info| info.architecture.as_str()));
        let unselected = selector.iter().find(|(label, value)| labels.get(*label) != Some(value));
        let left_out = if os != "linux" {
            Some(format!("its operating system is {os}"))
        } else if !ARCHITECTURES.contains(&architecture.as_str()) {
            Some(format!("its architecture is {architecture}"))
        } else {
            unselected.map(|(label, value)| format!("it has no label {label}={value}"))
        };
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            left_out,
            ready: ready.any(|condition| condition.status == "True"),
        }
    }
}

/// Whether an agent can be had, and if not, what keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "detail")]
pub enum AgentState {
    /// Its container runs.
    Ready,
    /// It is on its way: what it waits for.
    Starting(String),
    /// It will not come by waiting: why.
    Stuck(String),
    /// No agent is to be there: why.
    NotCovered(String),
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Starting(what) => write!(f, "starting: {what}"),
            Self::Stuck(why) => write!(f, "not running: {why}"),
            Self::NotCovered(why) => write!(f, "not covered: {why}"),
        }
    }
}

/// One place for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The node; the one it is on, or none yet, for the cluster agent.
    pub node: String,
    /// Which agent.
    pub agent: &'static str,
    /// The pod, if there is one.
    pub pod: Option<String>,
    /// How far it has come.
    #[serde(flatten)]
    pub state: AgentState,
}

/// How far all agents of a cluster have come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// Every place for an agent.
    pub places: Vec<Place>,
}

/// Which agents there are to be.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Whether there is to be one in the pod network.
    pub cluster_agent: bool,
    /// Whether there is to be one in a pod on every node.
    pub pods: bool,
}

/// The label that tells agents apart, and its values.
const COMPONENT: &str = "app.kubernetes.io/component";
/// What node agents are called in that label.
pub const NODE_AGENT: &str = "node-agent";
/// What the cluster agent is called in that label.
pub const CLUSTER_AGENT: &str = "cluster-agent";

/// What agents in pods on every node are called in that label.
pub const POD_AGENT: &str = "pod-agent";

/// Which agent a pod is.
pub fn component(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(COMPONENT).map(String::as_str)
}

impl Rollout {
    /// Puts together what is known. `events` are those of our objects, in any order.
    pub fn of(nodes: &[NodeState], pods: &[Pod], events: &[Event], expected: Expected) -> Self {
        let alive = || pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let ready: BTreeSet<&str> = nodes
            .iter()
            .filter(|node| node.ready)
            .map(|node| node.name.as_str())
            .collect();
        let state = |pod: &Pod| pod_state(pod, &|node| ready.contains(node), events);
        let on_every_node = |agent: &'static str| {
            let of_nodes: BTreeMap<&str, &Pod> = alive()
                .filter(|pod| component(pod) == Some(agent))
                .filter_map(|pod| Some((node_of(pod)?, pod)))
                .collect();
            let places = nodes.iter().map(|node| {
                let pod = of_nodes.get(node.name.as_str());
                Place {
                    node: node.name.clone(),
                    agent,
                    pod: pod.and_then(|pod| pod.metadata.name.clone()),
                    state: match (pod, &node.left_out) {
                        (Some(pod), _) => state(pod),
                        (None, Some(why)) => AgentState::NotCovered(why.clone()),
                        (None, None) => without_pod("DaemonSet", events),
                    },
                }
            });
            places.collect::<Vec<Place>>()
        };
        let mut places = on_every_node(NODE_AGENT);
        if expected.pods {
            places.extend(on_every_node(POD_AGENT));
        }
        if expected.cluster_agent {
            let mut own: Vec<&Pod> = alive().filter(|pod| component(pod) == Some(CLUSTER_AGENT)).collect();
            own.sort_by_key(|pod| state(pod) != AgentState::Ready);
            let pod = own.first();
            places.push(Place {
                node: pod.and_then(|pod| node_of(pod)).unwrap_or_default().to_owned(),
                agent: CLUSTER_AGENT,
                pod: pod.and_then(|pod| pod.metadata.name.clone()),
                state: pod.map_or_else(|| without_pod("", events), |pod| state(pod)),
            });
        }
        Self { places }
    }

    /// The agents that are ready.
    pub fn ready(&self) -> usize {
        self.count(|state| *state == AgentState::Ready)
    }

    /// The places where an agent is to be.
    pub fn wanted(&self) -> usize {
        self.count(|state| !matches!(state, AgentState::NotCovered(_)))
    }

    fn count(&self, which: impl Fn(&AgentState) -> bool) -> usize {
        self.places.iter().filter(|place| which(&place.state)).count()
    }

    /// Whether every agent is ready.
    pub fn is_complete(&self) -> bool {
        self.ready() == self.wanted()
    }

    /// Whether waiting any longer is of no use: nothing is on its way.
    pub fn is_settled(&self) -> bool {
        !self
            .places
            .iter()
            .any(|place| matches!(place.state, AgentState::Starting(_)))
    }

    /// What keeps those that are not ready, the most frequent first: the nodes that it keeps, and what it is.
    pub fn waiting(&self) -> Vec<(String, String)> {
        // Messages differ in details, as ports and names of pods: their beginnings say what it is.
        let mut reasons: BTreeMap<String, (String, Vec<&str>)> = BTreeMap::new();
        for place in &self.places {
            if let AgentState::Starting(_) | AgentState::Stuck(_) = &place.state {
                let who = if matches!(place.agent, NODE_AGENT | POD_AGENT) {
                    place.node.as_str()
                } else {
                    place.agent
                };
                let reason = place.state.to_string();
                let beginning: Vec<&str> = reason.splitn(3, ": ").take(2).collect();
                let entry = reasons.entry(beginning.join(": "));
                entry.or_insert_with(|| (reason.clone(), Vec::new())).1.push(who);
            }
        }
        let mut reasons: Vec<(String, Vec<&str>)> = reasons.into_values().collect();
        reasons.sort_by_key(|(_, nodes)| std::cmp::Reverse(nodes.len()));
        reasons
            .into_iter()
            .map(|(reason, nodes)| (some_of(&nodes), reason))
            .collect()
    }

    /// The nodes that are left out, by why.
    pub fn not_covered(&self) -> Vec<String> {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for place in &self.places {
            if let AgentState::NotCovered(why) = &place.state {
                reasons.entry(why).or_default().push(&place.node);
            }
        }
        reasons
            .into_iter()
            .map(|(why, nodes)| format!("{}: {why}", some_of(&nodes)))
            .collect()
    }
}

/// Three names, and how many there are besides.
fn some_of(names: &[&str]) -> String {
    const NAMED: usize = 3;
    let named = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The node that a pod is on, or is to be on: the pods of a DaemonSet are made for one each.
fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = &spec.node_name {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?
        .node_selector_terms;
    let mut fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let name = fields.find(|field| field.key == "metadata.name")?;
    name.values.as_ref()?.first().map(String::as_str)
}

fn pod_state(pod: &Pod, node_is_ready: &dyn Fn(&str) -> bool, events: &[Event]) -> AgentState {
    let Some(status) = &pod.status else {
        return AgentState::Starting("its pod was made just now".to_owned());
    };
    let shown = |text: &str| text::short(text, SHOWN_CHARS);
    let scheduled = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    if let Some(node) = scheduled.filter(|node| !node_is_ready(node)) {
        return AgentState::Stuck(format!("node {node} is not ready"));
    }
    let container = status.container_statuses.iter().flatten().next();
    let running = container.is_some_and(|container| {
        container.ready && container.state.as_ref().is_some_and(|state| state.running.is_some())
    });
    if status.phase.as_deref() == Some("Running") && running {
        return AgentState::Ready;
    }
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        let why = status
            .reason
            .iter()
            .chain(&status.message)
            .cloned()
            .collect::<Vec<_>>()
            .join(": ");
        let why = if why.is_empty() {
            "its pod has ended".to_owned()
        } else {
            shown(&why)
        };
        return AgentState::Stuck(why);
    }
    if scheduled.is_none() {
        let mut conditions = status.conditions.iter().flatten();
        let refused = conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
        return match refused {
            Some(refused) => AgentState::Stuck(format!(
                "no node takes it: {}",
                shown(refused.message.as_deref().unwrap_or("no reason given"))
            )),
            None => AgentState::Starting("it waits for the scheduler".to_owned()),
        };
    }
    if let Some(state) = container.and_then(|container| container.state.as_ref())
        && let Some(state) = container_state(state)
    {
        return state;
    }
    // What keeps a sandbox from being made is told by events alone.
    let uid = pod.metadata.uid.as_deref();
    let own = events
        .iter()
        .filter(|event| uid.is_some() && event.involved_object.uid.as_deref() == uid);
    let failed = |event: &&Event| {
        event
            .reason
            .as_deref()
            .is_some_and(|reason| reason.starts_with("Failed"))
    };
    let warning = latest(own.filter(failed));
    AgentState::Starting(match warning.and_then(|event| event.message.as_deref()) {
        Some(message) => shown(message),
        None => "its container is being made".to_owned(),
    })
}

fn container_state(state: &ContainerState) -> Option<AgentState> {
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let message = text::short(waiting.message.as_deref().unwrap_or_default(), SHOWN_CHARS);
        let with_message = |what: &str| {
            if message.is_empty() {
                what.to_owned()
            } else {
                format!("{what}: {message}")
            }
        };
        return match reason {
            "ErrImageNeverPull" => Some(AgentState::Stuck(with_message(
                "the image is not on the node and is not to be pulled",
            ))),
            "InvalidImageName" => Some(AgentState::Stuck(with_message("the image's name is none"))),
            // The first failure may be the registry's mood; the kubelet tries again at once.
            "ErrImagePull" | "RegistryUnavailable" => {
                Some(AgentState::Starting(with_message("the image cannot be pulled")))
            }
            "ImagePullBackOff" => Some(AgentState::Stuck(with_message("the image cannot be pulled"))),
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                Some(AgentState::Stuck(with_message("the container cannot be made")))
            }
            "CrashLoopBackOff" => Some(AgentState::Stuck(with_message(
                "the agent ends as soon as it is started",
            ))),
            "" | "ContainerCreating" | "PodInitializing" => None,
            other => Some(AgentState::Starting(with_message(&text::short(other, 60)))),
        };
    }
    let ended = state.terminated.as_ref()?;
    let message = ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or_default();
    Some(AgentState::Starting(format!(
        "the agent ended with exit code {}: {}",
        ended.exit_code,
        text::short(message, SHOWN_CHARS)
    )))
}

/// Why there is no pod: what the controller that is to make it says last. `controller` is its kind; any but a DaemonSet if that is empty.
fn without_pod(controller: &str, events: &[Event]) -> AgentState {
    let of_controller = events.iter().filter(|event| {
        let kind = event.involved_object.kind.as_deref().unwrap_or_default();
        if controller.is_empty() {
            matches!(kind, "Job" | "ReplicaSet")
        } else {
            kind == controller
        }
    });
    let of_pods =
        of_controller.filter(|event| matches!(event.reason.as_deref(), Some("FailedCreate" | "SuccessfulCreate")));
    let last = latest(of_pods).filter(|event| event.reason.as_deref() == Some("FailedCreate"));
    match last.and_then(|event| event.message.as_deref()) {
        None => AgentState::Starting("its pod is not made yet".to_owned()),
        Some(message) => AgentState::Stuck(format!(
            "{}: {}",
            refused_by(message),
            text::short(message, SHOWN_CHARS)
        )),
    }
}

/// Who refused to let a pod be made, as far as the message tells.
fn refused_by(message: &str) -> &'static str {
    if message.contains("exceeded quota") || message.contains("failed quota") {
        "a ResourceQuota refuses its pod"
    } else if message.contains("violates PodSecurity") {
        "Pod Security refuses its pod"
    } else if message.contains("ValidatingAdmissionPolicy") {
        "an admission policy refuses its pod"
    } else if message.contains("admission webhook") && message.contains("denied") {
        "an admission webhook refuses its pod"
    } else if message.contains("failed calling webhook") {
        "an admission webhook does not answer"
    } else if message.contains("unable to validate against any security context constraint") {
        "SecurityContextConstraints refuse its pod"
    } else if message.contains("maximum") && message.contains("per Container")
        || message.contains("minimum") && message.contains("per Container")
    {
        "a LimitRange refuses its pod"
    } else {
        "its pod cannot be made"
    }
}

fn latest<'a>(events: impl Iterator<Item = &'a Event>) -> Option<&'a Event> {
    events.max_by_key(|event| {
        let series = event
            .series
            .as_ref()
            .and_then(|series| series.last_observed_time.as_ref())
            .map(|time| time.0);
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        let at = event.event_time.as_ref().map(|time| time.0);
        let made = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
        series.max(last).max(at).max(made)
    })
}

#[cfg(test)]
mod tests;
