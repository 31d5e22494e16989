//! The agents that run in a cluster, found through its API.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use prejoin_agent::cluster::client_failure;
use prejoin_agent::exec::session_command;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::kernel::NetworkView;
use prejoin_checks::facts::node::Node;
use prejoin_checks::plan::AgentId;

use super::manifest::{LABEL, NAMESPACE, NOT_OF_A_RUN};
use super::rollout::{AgentState, NODE_AGENT, POD_AGENT, Rollout, component};
use crate::config::ClusterAgents;
use crate::fleet::Live;
use crate::run::Member;
use crate::text;
use crate::transport::{Exec, Route, exec};

/// More nodes than a cluster has.
const PODS: u32 = 10_000;

/// Where agents of a cluster are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where {
    /// The namespace.
    pub namespace: String,
    /// The selector of their pods.
    pub selector: String,
    /// Whether it is an error if there are none.
    pub required: bool,
}

impl Where {
    /// Where installed agents are, as the configuration has it; nowhere if they are not to be used.
    pub fn installed(wanted: &ClusterAgents, use_them: Option<bool>) -> Option<Self> {
        let use_them = use_them.or(wanted.r#use);
        (use_them != Some(false)).then(|| Self {
            namespace: wanted.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned()),
            selector: format!("{LABEL},{NOT_OF_A_RUN}"),
            required: use_them == Some(true),
        })
    }
}

/// The agents in a cluster; none if there are none. An error says in one line why that cannot be told.
pub async fn of_cluster(
    live: &Live,
    facts: &ClusterFacts,
    place: &Where,
    timeout: Duration,
) -> Result<Vec<Member>, String> {
    if facts.unreachable().is_some() {
        return Ok(Vec::new());
    }
    let namespace = place.namespace.as_str();
    let cluster = Arc::new(exec::Cluster::new(live.kubeconfig.clone(), live.context.clone()));
    let client = cluster.client(timeout).await.map_err(|why| why.0)?;
    let pods: kube::Api<Pod> = kube::Api::namespaced(client, namespace);
    let params = ListParams::default().labels(&place.selector).limit(PODS);
    let list = match tokio::time::timeout(timeout, pods.list(&params)).await {
        Ok(Ok(list)) => list,
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Ok(Vec::new()),
        Ok(Err(kube::Error::Api(status))) => {
            return Err(text::short(&format!("{}: {}", status.code, status.message), 300));
        }
        Ok(Err(error)) => return Err(client_failure(&error).detail),
        Err(_) => return Err(format!("no answer within {} s", timeout.as_secs_f32())),
    };
    // Of two in the pods of one node one is enough: the one that Services lead to, where it is among them.
    let mut pods = list.items;
    pods.sort_by_key(|pod| component(pod) == Some(POD_AGENT));
    let mut met = BTreeSet::new();
    let members = pods.iter().filter_map(|pod| member(pod, namespace, facts, &cluster));
    let members: Vec<Member> = members
        .filter(|member| {
            let place = (member.id.network == NetworkView::Pod).then(|| member.id.node.clone());
            place.is_none_or(|node| met.insert(node))
        })
        .collect();
    if members.is_empty() && place.required {
        return Err(format!("no pod with label {LABEL} runs in namespace {namespace}"));
    }
    Ok(members)
}

/// Those of an installation that are not ready, as members that cannot be reached: the report then says why.
pub fn absent(facts: &ClusterFacts, rollout: &Rollout) -> Vec<Member> {
    let absent = rollout.places.iter().filter(|place| place.agent == NODE_AGENT);
    absent
        .filter(|place| place.state != AgentState::Ready)
        .map(|place| Member {
            id: id(facts, &place.node, NetworkView::Host, Vec::new()),
            route: Route::Absent(text::short(&place.state.to_string(), 300)),
        })
        .collect()
}

/// The agents that there would be: one on every node, one in the pod network or, with `pods`, in pods of every node. For plans that are not
/// carried out.
pub fn imagined(facts: &ClusterFacts, pods: bool) -> Vec<AgentId> {
    let names = || facts.nodes.ok().into_iter().flatten().map(|node| node.name.as_str());
    let on_nodes = names().map(|name| id(facts, name, NetworkView::Host, Vec::new()));
    let in_pods: Vec<&str> = if pods { names().collect() } else { vec![""] };
    let in_pods = in_pods
        .into_iter()
        .map(|name| id(facts, name, NetworkView::Pod, Vec::new()));
    on_nodes.chain(in_pods).collect()
}

/// Who an agent on a node is; one in the host's network has the node's addresses, where those are known.
pub(crate) fn id(facts: &ClusterFacts, node_name: &str, network: NetworkView, own: Vec<IpAddr>) -> AgentId {
    let nodes = facts.nodes.ok().into_iter().flatten();
    let node = nodes.into_iter().find(|node| node.name == node_name);
    let of_node: Vec<IpAddr> = node.into_iter().flat_map(Node::internal_ips).collect();
    AgentId {
        cluster: facts.name.clone(),
        node: text::sanitise(node_name).into_owned(),
        network,
        addresses: if network == NetworkView::Host && !of_node.is_empty() {
            of_node
        } else {
            own
        },
        zone: node.map(|node| node.zone.clone()).unwrap_or_default(),
    }
}

/// The agent in a pod, if that runs.
fn member(pod: &Pod, namespace: &str, facts: &ClusterFacts, cluster: &Arc<exec::Cluster>) -> Option<Member> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    if status.phase.as_deref() != Some("Running") || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let node_name = spec.node_name.as_deref()?;
    let own = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let own: Vec<IpAddr> = own.filter_map(|ip| ip.parse().ok()).collect();
    let network = if spec.host_network == Some(true) {
        NetworkView::Host
    } else {
        NetworkView::Pod
    };
    Some(Member {
        id: id(facts, node_name, network, own),
        route: Route::Exec(Exec {
            cluster: Arc::clone(cluster),
            namespace: namespace.to_owned(),
            pod: pod.metadata.name.clone()?,
            container: None,
            command: session_command(pod),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_outrank_the_configuration() {
        let said = ClusterAgents {
            r#use: Some(false),
            namespace: Some("tools".to_owned()),
        };
        assert_eq!(Where::installed(&said, None), None);
        let place = Where::installed(&said, Some(true)).unwrap();
        assert_eq!((place.namespace.as_str(), place.required), ("tools", true));
        let unsaid = Where::installed(&ClusterAgents::default(), None).unwrap();
        assert_eq!((unsaid.namespace.as_str(), unsaid.required), (NAMESPACE, false));
    }
}
