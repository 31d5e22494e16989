//! The agents of a cluster's own DaemonSet, found through its API.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use prejoin_agent::cluster::client_failure;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::kernel::NetworkView;
use prejoin_checks::facts::node::Node;
use prejoin_checks::plan::AgentId;

use super::manifest::{LABEL, NAMESPACE};
use crate::config::ClusterAgents;
use crate::fleet::Live;
use crate::run::Member;
use crate::text;
use crate::transport::{Exec, Route, exec};

/// What is started in them.
const COMMAND: [&str; 2] = ["prejoin-agent", "session"];
/// More nodes than a cluster has.
const PODS: u32 = 10_000;

/// The agents in a cluster; none if none are installed. An error says in one line why that cannot be told.
pub async fn of_cluster(
    live: &Live,
    facts: &ClusterFacts,
    wanted: &ClusterAgents,
    timeout: Duration,
) -> Result<Vec<Member>, String> {
    if wanted.r#use == Some(false) || facts.unreachable().is_some() {
        return Ok(Vec::new());
    }
    let namespace = wanted.namespace.as_deref().unwrap_or(NAMESPACE);
    let cluster = Arc::new(exec::Cluster::new(live.kubeconfig.clone(), live.context.clone()));
    let client = cluster.client(timeout).await.map_err(|why| why.0)?;
    let pods: kube::Api<Pod> = kube::Api::namespaced(client, namespace);
    let params = ListParams::default().labels(LABEL).limit(PODS);
    let list = match tokio::time::timeout(timeout, pods.list(&params)).await {
        Ok(Ok(list)) => list,
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Ok(Vec::new()),
        Ok(Err(kube::Error::Api(status))) => {
            return Err(text::short(&format!("{}: {}", status.code, status.message), 300));
        }
        Ok(Err(error)) => return Err(client_failure(&error).detail),
        Err(_) => return Err(format!("no answer within {} s", timeout.as_secs_f32())),
    };
    let members = list
        .items
        .iter()
        .filter_map(|pod| member(pod, namespace, facts, &cluster));
    let members: Vec<Member> = members.collect();
    if members.is_empty() && wanted.r#use == Some(true) {
        return Err(format!("no pod with label {LABEL} runs in namespace {namespace}"));
    }
    Ok(members)
}

/// The agent in a pod, if that runs.
fn member(pod: &Pod, namespace: &str, facts: &ClusterFacts, cluster: &Arc<exec::Cluster>) -> Option<Member> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    if status.phase.as_deref() != Some("Running") || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let node_name = spec.node_name.as_deref()?;
    let nodes = facts.nodes.ok().into_iter().flatten();
    let node = nodes.into_iter().find(|node| node.name == node_name);
    let own = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let own: Vec<IpAddr> = own.filter_map(|ip| ip.parse().ok()).collect();
    let on_host = spec.host_network == Some(true);
    let of_node: Vec<IpAddr> = node.into_iter().flat_map(Node::internal_ips).collect();
    Some(Member {
        id: AgentId {
            cluster: facts.name.clone(),
            node: text::sanitise(node_name).into_owned(),
            network: if on_host { NetworkView::Host } else { NetworkView::Pod },
            addresses: if on_host && !of_node.is_empty() { of_node } else { own },
            zone: node.map(|node| node.zone.clone()).unwrap_or_default(),
        },
        route: Route::Exec(Exec {
            cluster: Arc::clone(cluster),
            namespace: namespace.to_owned(),
            pod: pod.metadata.name.clone()?,
            container: None,
            command: COMMAND.map(str::to_owned).to_vec(),
        }),
    })
}
