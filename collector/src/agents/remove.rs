//! Removing: what carries our label and our field manager, until it is gone, and a look whether anything is left.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use super::follow::Followed;
use super::manifest::{self, DEADLINE, LABEL, NOT_OF_A_RUN, RUN};
use super::objects::{self, Found, Owner, Scope, Which};
use super::trouble::Trouble;

/// What came of a removal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// What is proven gone.
    pub gone: Vec<String>,
    /// The pods among it: so many whose kubelets confirmed that their containers have ended.
    pub pods: usize,
    /// What has our label and was not applied by us: left alone, with who applied it.
    pub left: Vec<String>,
    /// What is still there though it was deleted, and what keeps it.
    pub remains: Vec<String>,
}

impl Removed {
    /// Whether everything that was to go is gone.
    pub fn is_complete(&self) -> bool {
        self.remains.is_empty()
    }
}

/// Removes agents that stay: those of one namespace, and what is cluster-scoped.
pub async fn remove_installed(
    client: &kube::Client,
    namespace: &str,
    dry_run: bool,
    timeout: Duration,
) -> Result<Removed, Trouble> {
    let found = objects::labelled(client, Scope::Namespace(namespace), Which::Installed).await?;
    let found = found
        .into_iter()
        .filter(|found| found.kind.name != "Namespace" || found.name == namespace);
    let found: Vec<Found> = found.collect();
    let others = if found.iter().any(|found| !found.kind.namespaced) {
        installed_elsewhere(client, namespace).await
    } else {
        Ok(Vec::new())
    };
    let (why, others) = match others {
        Ok(others) => (format!("agents in {} use it", others.join(", ")), Some(others)),
        Err(trouble) => (format!("whether agents elsewhere use it is not known: {trouble}"), None),
    };
    let is_of_use = |found: &Found| is_shared(found, namespace, others.as_deref());
    let (shared, own) = found.into_iter().partition::<Vec<Found>, _>(is_of_use);
    let mut removed = remove(client, own, namespace, Which::Installed, dry_run, timeout).await?;
    removed
        .left
        .extend(shared.iter().map(|found| format!("{}: {why}", found.shown())));
    Ok(removed)
}

/// The other namespaces with agents that stay, whoever installed them.
async fn installed_elsewhere(client: &kube::Client, namespace: &str) -> Result<Vec<String>, Trouble> {
    let sets: Api<DaemonSet> = Api::all(client.clone());
    let list = sets
        .list(&ListParams::default().labels(&format!("{LABEL},{NOT_OF_A_RUN}")))
        .await;
    let list = list.map_err(|error| Trouble::of("list daemonsets", &error))?;
    let mut others: Vec<String> = list
        .items
        .into_iter()
        .filter_map(|set| set.metadata.namespace)
        .collect();
    others.retain(|other| other != namespace);
    others.sort();
    others.dedup();
    Ok(others)
}

/// Whether what has no namespace is, or may be, of use to the agents of other namespaces; `others` are those, if they are known.
fn is_shared(found: &Found, namespace: &str, others: Option<&[String]>) -> bool {
    match found.kind.name {
        "PriorityClass" | "ClusterRole" => others.is_none_or(|others| !others.is_empty()),
        "ClusterRoleBinding" => {
            let bound = found.object.data["subjects"][0]["namespace"].as_str();
            let is_theirs = |bound: &str| others.is_none_or(|others| others.iter().any(|other| other == bound));
            bound.is_some_and(|bound| bound != namespace && is_theirs(bound))
        }
        _ => false,
    }
}

/// Removes the agents of one run.
pub async fn remove_run(
    client: &kube::Client,
    namespace: &str,
    id: &str,
    timeout: Duration,
) -> Result<Removed, Trouble> {
    let which = Which::OfRun(id);
    let mut found = objects::labelled(client, Scope::Namespace(namespace), which).await?;
    found.retain(|found| found.kind.namespaced || found.name == namespace);
    remove(client, found, namespace, which, false, timeout).await
}

async fn remove(
    client: &kube::Client,
    found: Vec<Found>,
    namespace: &str,
    which: Which<'_>,
    dry_run: bool,
    timeout: Duration,
) -> Result<Removed, Trouble> {
    let mut removed = Removed::default();
    let (ours, others): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|found| found.owner == Owner::Us);
    removed.left = others.iter().filter_map(left_alone).collect();
    let (namespaces, inside): (Vec<Found>, Vec<Found>) =
        ours.into_iter().partition(|found| found.kind.name == "Namespace");
    // A namespace takes everything in it along; what is in it and not ours is a reason to leave it.
    let mut namespaces_to_go = Vec::new();
    for found in namespaces {
        match stranger(client, &found.name, &inside, which).await? {
            Some(stranger) => removed.left.push(format!("{}: {stranger} is in it", found.shown())),
            None => namespaces_to_go.push(found),
        }
    }
    if dry_run {
        for found in inside.iter().chain(&namespaces_to_go) {
            found.delete(client, true).await?;
            removed.gone.push(found.shown());
        }
        return Ok(removed);
    }
    let mut pods = OwnPods::of(client, namespace, &which.selector()).await?;
    let end = tokio::time::Instant::now() + timeout;
    let selected = |found: Vec<Found>| async move {
        let mut refused = Vec::new();
        let deleting = join_all(found.iter().map(|found| found.delete(client, false))).await;
        for (found, deleted) in found.iter().zip(deleting) {
            if let Err(trouble) = deleted {
                refused.push(format!("{}: {trouble}", found.shown()));
            }
        }
        (found, refused)
    };
    let (inside, mut refused) = selected(inside).await;
    removed.pods = pods.count();
    let waited = tokio::time::timeout_at(end, pods.until_gone()).await;
    if waited.is_err() {
        removed.pods = removed.pods.saturating_sub(pods.count());
        removed.remains.extend(pods.left());
    }
    let (namespaces, refused_too) = selected(namespaces_to_go).await;
    refused.extend(refused_too);
    let waiting = inside.iter().chain(&namespaces).map(|found| async move {
        let gone = tokio::time::timeout_at(end, found.until_gone(client)).await;
        (found, gone)
    });
    for (found, gone) in join_all(waiting).await {
        match gone {
            Ok(Ok(())) => removed.gone.push(found.shown()),
            Ok(Err(trouble)) => removed
                .remains
                .push(format!("{}: whether it is gone is not known: {trouble}", found.shown())),
            Err(_) => removed.remains.push(still_there(client, found).await),
        }
    }
    if !refused.is_empty() {
        removed.remains.splice(..0, refused);
    }
    Ok(removed)
}

/// What has our label and is not ours to delete.
fn left_alone(found: &Found) -> Option<String> {
    match &found.owner {
        Owner::Us => None,
        Owner::OurManifests(managers) => Some(format!("{}: it was applied by {managers}", found.shown())),
        Owner::Other => Some(found.shown()),
    }
}

/// Something in a namespace that is not about to go, and that the cluster itself did not put there: someone's pod, agents of an audit.
async fn stranger(
    client: &kube::Client,
    namespace: &str,
    going: &[Found],
    which: Which<'_>,
) -> Result<Option<String>, Trouble> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let label = format!("{}!={}", manifest::PART_OF.0, manifest::PART_OF.1);
    let list = pods.list(&ListParams::default().labels(&label).limit(1)).await;
    let list = list.map_err(|error| Trouble::of(&format!("list pods in {namespace}"), &error))?;
    let stranger = list.items.first().and_then(|pod| pod.metadata.name.as_deref());
    if let Some(name) = stranger {
        return Ok(Some(format!("Pod {name}")));
    }
    let all = match which {
        Which::Installed | Which::Any => Which::Any,
        // Whatever of ours is in a run's own namespace is of a run.
        Which::OfRun(_) | Which::OfRuns => Which::OfRuns,
    };
    Ok(objects::labelled(client, Scope::Namespace(namespace), all)
        .await?
        .into_iter()
        .find(|found| found.kind.namespaced && !going.iter().any(|going| going.uid == found.uid))
        .map(|found| found.shown()))
}

/// What keeps an object that was deleted.
async fn still_there(client: &kube::Client, found: &Found) -> String {
    let object = found.kind.api(client, &found.namespace).get_opt(&found.name).await;
    let why = match object {
        Ok(None) => "it went just now".to_owned(),
        Ok(Some(object)) => {
            let conditions = object.data["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let remaining = conditions.iter().filter(|condition| condition["status"] == "True");
            let messages: Vec<&str> = remaining
                .filter_map(|condition| condition["message"].as_str())
                .collect();
            let finalizers = object.metadata.finalizers.unwrap_or_default();
            match (messages.is_empty(), finalizers.is_empty()) {
                (false, _) => messages.join("; "),
                (true, false) => format!("it waits for {}", finalizers.join(", ")),
                (true, true) => "nothing says what keeps it".to_owned(),
            }
        }
        Err(error) => Trouble::of("get it", &error).0,
    };
    format!("{} is still there: {why}", found.shown())
}

/// The pods of agents, which are there until their kubelets say that every container has ended.
struct OwnPods {
    pods: Followed<Pod>,
}

impl OwnPods {
    async fn of(client: &kube::Client, namespace: &str, selector: &str) -> Result<Self, Trouble> {
        let api = Api::namespaced(client.clone(), namespace);
        let mut pods = Followed::new(api, &format!("{LABEL},{selector}"), "");
        let read = pods.changed().await;
        read.map_err(|error| Trouble::of(&format!("list pods in {namespace}"), &error))?;
        Ok(Self { pods })
    }

    fn count(&self) -> usize {
        self.pods.objects().len()
    }

    async fn until_gone(&mut self) {
        while !self.pods.objects().is_empty() {
            if self.pods.changed_or_refused().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn left(&self) -> Vec<String> {
        let left = |pod: Pod| {
            let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
            format!(
                "Pod {}: the kubelet of {node} has not said that it ended",
                pod.metadata.name.unwrap_or_default()
            )
        };
        self.pods.objects().into_iter().map(left).collect()
    }
}

/// Removes what earlier runs left whose deadline is over by the server's clock, `now` being a time it gave. Says what was removed.
pub async fn sweep(client: &kube::Client, now: jiff::Timestamp, timeout: Duration) -> Result<Vec<String>, Trouble> {
    let all = objects::labelled(client, Scope::All, Which::OfRuns).await?;
    let expired = all
        .iter()
        .filter(|found| found.owner == Owner::Us && is_expired(found, now));
    let mut swept = Vec::new();
    for anchor in expired {
        let labels = anchor.object.metadata.labels.as_ref();
        let Some(id) = labels.and_then(|labels| labels.get(RUN)) else {
            continue;
        };
        let namespace = if anchor.kind.namespaced {
            &anchor.namespace
        } else {
            &anchor.name
        };
        let removed = remove_run(client, namespace, id, timeout).await?;
        swept.extend(removed.gone);
    }
    Ok(swept)
}

/// Whether a namespace or a Job of a run is older than the deadline it carries.
fn is_expired(found: &Found, now: jiff::Timestamp) -> bool {
    let metadata = &found.object.metadata;
    let annotated = metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(DEADLINE));
    let deadline = annotated.and_then(|seconds| seconds.parse::<i64>().ok());
    let made = metadata.creation_timestamp.as_ref().map(|time| time.0);
    match (deadline, made) {
        (Some(deadline), Some(made)) => now.as_second() - made.as_second() > deadline,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
