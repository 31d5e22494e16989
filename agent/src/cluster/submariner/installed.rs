//! What runs in the operator's namespace: versions, pods that are not ready, who holds the gateways' lease.

use std::collections::BTreeMap;

use prejoin_checks::facts::provenance::{Fact, Known, Reason, Source, Unknown};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cluster::failure::one_line;
use crate::cluster::object::or_default;
use crate::cluster::permissions::{LEASES, PODS};
use crate::cluster::reader::{Reader, Scope};
use crate::cluster::workloads::{Workloads, image_version};

const LEASE: &str = "submariner-gateway-lock";

/// What was found in the operator's namespace.
pub(super) struct Installed {
    pub(super) versions: Fact<BTreeMap<String, String>>,
    pub(super) unready_pods: Fact<Vec<String>>,
    pub(super) lease_holder: Fact<String>,
}

pub(super) async fn read(reader: &Reader<'_>, workloads: &Workloads, namespace: Option<&str>) -> Installed {
    let Some(namespace) = namespace else {
        let none = Unknown::new(Reason::NotInstalled, "no namespace has a Submariner object or gateway");
        return Installed {
            versions: Fact::Unknown(none.clone()),
            unready_pods: Fact::Unknown(none.clone()),
            lease_holder: Fact::Unknown(none),
        };
    };
    let (unready_pods, lease_holder) = tokio::join!(unready_pods(reader, namespace), lease_holder(reader, namespace));
    Installed {
        versions: versions(workloads, namespace).into(),
        unready_pods: unready_pods.into(),
        lease_holder: lease_holder.into(),
    }
}

fn versions(workloads: &Workloads, namespace: &str) -> Result<Known<BTreeMap<String, String>>, Unknown> {
    workloads.daemon_sets.as_ref().map_err(Unknown::clone)?;
    workloads.deployments.as_ref().map_err(Unknown::clone)?;
    let versions = workloads
        .iter()
        .map(|found| &found.workload)
        .filter(|workload| workload.namespace == namespace)
        .filter_map(|workload| {
            let component = workload.name.strip_prefix("submariner-")?;
            let mut containers = workload.containers.iter();
            let version = containers.find_map(|container| image_version(&container.image))?;
            Some((component.to_owned(), version.to_owned()))
        })
        .collect();
    let source = Source::read(
        format!("workloads in {namespace}"),
        "spec.template.spec.containers[].image",
    );
    Ok(Known::new(versions, source))
}

#[derive(Deserialize)]
struct Pod {
    metadata: PodMeta,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodMeta {
    name: String,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<PodCondition>,
    #[serde(deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
struct PodCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    ready: bool,
    #[serde(deserialize_with = "or_default")]
    state: ContainerState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<StateReason>,
    terminated: Option<StateReason>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StateReason {
    reason: String,
}

async fn unready_pods(reader: &Reader<'_>, namespace: &str) -> Result<Known<Vec<String>>, Unknown> {
    let mut pods = reader
        .list(&PODS, Scope::namespace(namespace), |all: &mut Vec<String>, pod: Pod| {
            all.extend(unready(&pod));
            Ok(())
        })
        .await?;
    pods.sort_unstable();
    Ok(Known::new(pods, Source::read(format!("Pods in {namespace}"), "status")))
}

/// `name: reason` of a pod that should be ready and is not.
fn unready(pod: &Pod) -> Option<String> {
    let status = &pod.status;
    if status.phase == "Succeeded" || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    if ready.is_some_and(|ready| ready.status == "True") {
        return None;
    }
    let of_containers = status
        .container_statuses
        .iter()
        .filter(|container| !container.ready)
        .filter_map(|container| container.state.waiting.as_ref().or(container.state.terminated.as_ref()))
        .map(|state| &state.reason);
    let reason = of_containers
        .chain(ready.map(|ready| &ready.reason))
        .chain([&status.phase])
        .find(|reason| !reason.is_empty());
    Some(one_line(&format!(
        "{}: {}",
        pod.metadata.name,
        reason.map_or("not ready", String::as_str)
    )))
}

async fn lease_holder(reader: &Reader<'_>, namespace: &str) -> Result<Known<String>, Unknown> {
    #[derive(Deserialize)]
    struct Lease {
        #[serde(default, deserialize_with = "or_default")]
        spec: LeaseSpec,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct LeaseSpec {
        #[serde(deserialize_with = "or_default")]
        holder_identity: String,
    }
    let lease: Lease = reader.get(&LEASES, Some(namespace), LEASE).await?;
    let source = Source::read(format!("Lease {namespace}/{LEASE}"), "spec.holderIdentity");
    let holder = lease.spec.holder_identity;
    if holder.is_empty() {
        return Err(Unknown::not_found(format!("{source}: nobody holds it")));
    }
    Ok(Known::new(holder, source))
}

#[cfg(test)]
mod tests {
    use prejoin_checks::facts::kubernetes::{Container, Workload};
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::workloads::Found;

    fn pod(status: Value) -> Option<String> {
        let mut pod = json!({"metadata": {"name": "submariner-gateway-x"}});
        pod["status"] = status;
        unready(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_pod_that_is_not_ready_says_why() {
        let ready = |status: &str| json!([{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": status, "reason": "ContainersNotReady"}]);
        assert_eq!(pod(json!({"phase": "Running", "conditions": ready("True")})), None);
        assert_eq!(pod(json!({"phase": "Succeeded", "conditions": ready("False")})), None);
        let waiting =
            json!([{"ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}}]);
        assert_eq!(
            pod(json!({"phase": "Running", "conditions": ready("False"), "containerStatuses": waiting})).unwrap(),
            "submariner-gateway-x: CrashLoopBackOff"
        );
        assert_eq!(
            pod(json!({"phase": "Running", "conditions": ready("False")})).unwrap(),
            "submariner-gateway-x: ContainersNotReady"
        );
        assert_eq!(
            pod(json!({"phase": "Pending"})).unwrap(),
            "submariner-gateway-x: Pending"
        );
        assert_eq!(pod(json!({})).unwrap(), "submariner-gateway-x: not ready");
    }

    #[test]
    fn versions_are_those_of_the_namespace_alone() {
        let found = |namespace: &str, name: &str, image: &str| Found {
            workload: Workload {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                containers: vec![Container {
                    image: image.to_owned(),
                    ..Container::default()
                }],
                ..Workload::default()
            },
            ..Found::default()
        };
        let workloads = Workloads {
            daemon_sets: Ok(vec![
                found(
                    "mesh",
                    "submariner-gateway",
                    "quay.io/submariner/submariner-gateway:0.21.0",
                ),
                found(
                    "mesh",
                    "submariner-routeagent",
                    "quay.io/submariner/submariner-route-agent:devel",
                ),
            ]),
            deployments: Ok(vec![
                found(
                    "mesh",
                    "submariner-operator",
                    "quay.io/submariner/submariner-operator:0.21.0",
                ),
                found(
                    "other",
                    "submariner-lighthouse-agent",
                    "quay.io/submariner/lighthouse-agent:0.18.0",
                ),
            ]),
        };
        let versions = versions(&workloads, "mesh").unwrap().value;
        assert_eq!(versions.keys().collect::<Vec<_>>(), ["gateway", "operator"]);
        let unread = Workloads {
            deployments: Err(Unknown::new(Reason::Forbidden, "list deployments")),
            ..workloads
        };
        assert!(super::versions(&unread, "mesh").is_err());
    }
}
