//! The agents of this cluster, found in the agent's own namespace and reached by exec there.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use prejoin_checks::facts::kernel::NetworkView;

use super::streams::Present;
use crate::cluster::client_failure;
use crate::exec::{self, LABEL, NOT_OF_A_RUN, Order, Running};

/// Asking the API for pods, and starting a process in one, take no longer each.
const STEP: Duration = Duration::from_secs(20);
/// More nodes than a cluster has.
const PODS: u32 = 10_000;
/// The label that tells the two roles apart.
const COMPONENT: &str = "app.kubernetes.io/component";
const CLUSTER_AGENT: &str = "cluster-agent";

/// The way to the agents of this cluster.
#[derive(Clone)]
pub struct Reach {
    client: kube::Client,
    namespace: String,
}

impl Reach {
    /// To the agents in a namespace. `client` must let its connections be silent.
    pub fn new(client: kube::Client, namespace: impl Into<String>) -> Self {
        Self {
            client,
            namespace: namespace.into(),
        }
    }

    /// The agents that run.
    pub async fn agents(&self) -> Result<Vec<Present>, String> {
        let pods = self.pods(ListParams::default()).await?;
        Ok(pods.iter().filter_map(present).collect())
    }

    /// Starts a session with the agent of a node.
    pub async fn node(&self, node: &str) -> Result<Running, String> {
        // It goes into a selector.
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if node.is_empty() || node.len() > 253 || !node.chars().all(is_name) {
            return Err("this is no name of a node".to_owned());
        }
        let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let pods = self.pods(on_node).await?;
        let mut agents: Vec<(&Pod, Present)> = pods.iter().filter_map(|pod| Some((pod, present(pod)?))).collect();
        agents.retain(|(_, agent)| !agent.is_cluster_agent);
        agents.sort_by_key(|(_, agent)| agent.network != NetworkView::Host);
        let (pod, _) = agents.first().ok_or_else(|| format!("no agent runs on node {node}"))?;
        let order = Order {
            namespace: self.namespace.clone(),
            pod: pod.metadata.name.clone().unwrap_or_default(),
            container: None,
            command: exec::session_command(pod),
        };
        let running = exec::start(self.client.clone(), &order, STEP).await;
        running.map_err(|why| why.to_string())
    }

    async fn pods(&self, params: ListParams) -> Result<Vec<Pod>, String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = params.labels(&format!("{LABEL},{NOT_OF_A_RUN}")).limit(PODS);
        match tokio::time::timeout(STEP, pods.list(&params)).await {
            Ok(Ok(list)) => Ok(list.items),
            Ok(Err(error)) => Err(format!(
                "list pods in {}: {}",
                self.namespace,
                client_failure(&error).detail
            )),
            Err(_) => Err(format!(
                "list pods in {}: no answer within {} s",
                self.namespace,
                STEP.as_secs()
            )),
        }
    }
}

/// The agent in a pod, if it runs.
fn present(pod: &Pod) -> Option<Present> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    if status.phase.as_deref() != Some("Running") || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let labels = pod.metadata.labels.as_ref();
    let component = labels.and_then(|labels| labels.get(COMPONENT)).map(String::as_str);
    let addresses = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let addresses: Vec<IpAddr> = addresses.filter_map(|ip| ip.parse().ok()).collect();
    Some(Present {
        node: spec.node_name.clone()?,
        network: if spec.host_network == Some(true) {
            NetworkView::Host
        } else {
            NetworkView::Pod
        },
        addresses,
        is_cluster_agent: component == Some(CLUSTER_AGENT),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(phase: &str, component: &str, host_network: bool) -> Option<Present> {
        let pod = json!({
            "metadata": { "name": "a", "labels": { COMPONENT: component } },
            "spec": { "nodeName": "n1", "hostNetwork": host_network, "containers": [] },
            "status": { "phase": phase, "podIPs": [{ "ip": "10.0.0.7" }, { "ip": "fd00::7" }] },
        });
        present(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn an_agent_is_a_pod_that_runs() {
        let node = pod("Running", "node-agent", true).unwrap();
        assert_eq!(
            (node.node.as_str(), node.network, node.is_cluster_agent),
            ("n1", NetworkView::Host, false)
        );
        assert_eq!(node.addresses.len(), 2);
        assert!(pod("Running", "cluster-agent", false).unwrap().is_cluster_agent);
        assert_eq!(pod("Pending", "node-agent", true), None);
    }

    #[tokio::test]
    async fn what_is_no_name_never_gets_into_a_selector() {
        let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let reach = Reach::new(client, "prejoin-system");
        for name in ["", "n1,metadata.name=x", "n1 ", "../n1", &"n".repeat(254)] {
            let refused = reach.node(name).await.err().unwrap();
            assert_eq!(refused, "this is no name of a node", "{name}");
        }
    }
}
