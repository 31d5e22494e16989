//! Installing: whose is what is there already, then applied, then waited for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::follow::Followed;
use super::manifest::{self, LABEL, Mode, NOT_OF_A_RUN, RUN, Run, Wanted};
use super::objects::{self, Owner, Scope, Which};
use super::permissions::{self, Access};
use super::rollout::{Expected, NodeState, Rollout};
use super::server;
use super::trouble::Trouble;
use crate::run::Cancel;

/// Nodes on one page.
const PAGE: u32 = 500;

/// How an installation is done.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// The server is asked what it would do, and does nothing.
    pub dry_run: bool,
    /// Fields that others have changed are taken over.
    pub force_conflicts: bool,
}

/// What was applied.
#[derive(Debug, Default)]
pub struct Applied {
    /// What was applied, in words.
    pub objects: Vec<String>,
    /// What was there already and left as it is.
    pub left: Vec<String>,
    /// What could not be tried without doing it.
    pub untried: Vec<String>,
    /// What an earlier installation had and this one has not.
    pub removed: Vec<String>,
}

/// Installs agents that stay. Either nothing of it is refused because of what is there, or nothing is applied.
pub async fn install(client: &kube::Client, wanted: &Wanted, how: How) -> Result<Applied, Trouble> {
    server::require_version(client).await?;
    permissions::require(client, Access::Install, Some(&wanted.namespace)).await?;
    if wanted.collector.is_some() {
        permissions::require(client, Access::Collector, Some(&wanted.namespace)).await?;
    }
    let objects = manifest::installed(wanted);
    let mut done = Applied::default();
    let to_apply = examine(client, &objects, &wanted.namespace, &mut done).await?;
    let namespace_is_new = to_apply.iter().any(|object| manifest::kind(object) == "Namespace");
    let namespace_is_there = !namespace_is_new || objects::existing(client, to_apply[0]).await?.is_some();
    let mut made = Vec::new();
    for object in to_apply {
        let is_inside = object["metadata"]["namespace"].is_string();
        if how.dry_run && is_inside && !namespace_is_there {
            done.untried.push(objects::shown(object));
            continue;
        }
        let is_new = objects::existing(client, object).await?.is_none();
        match objects::apply(client, object, how.dry_run, how.force_conflicts).await {
            Ok(_) => done.objects.push(objects::shown(object)),
            Err(trouble) if how.dry_run => return Err(trouble),
            Err(trouble) => return Err(take_back(client, &made, trouble).await),
        }
        if is_new {
            made.push(object);
        }
    }
    for old in objects::labelled(client, Scope::Namespace(&wanted.namespace), Which::Installed).await? {
        let is_wanted = objects.iter().any(|object| old.is(object));
        if !is_wanted && old.owner == Owner::Us && old.kind.name != "Namespace" {
            old.delete(client, how.dry_run).await?;
            done.removed.push(old.shown());
        }
    }
    Ok(done)
}

/// Removes what was made before something was refused: nothing half installed stays.
async fn take_back(client: &kube::Client, made: &[&Value], trouble: Trouble) -> Trouble {
    let mut left = Vec::new();
    for object in made.iter().rev() {
        if objects::remove(client, object).await.is_err() {
            left.push(objects::shown(object));
        }
    }
    if left.is_empty() {
        Trouble::new(format!("{trouble}; what was made before was removed again"))
    } else {
        Trouble::new(format!("{trouble}; made before, and left: {}", left.join(", ")))
    }
}

/// What is to be applied: not what others have made. What they must not have made is refused.
async fn examine<'a>(
    client: &kube::Client,
    objects: &'a [Value],
    namespace: &str,
    done: &mut Applied,
) -> Result<Vec<&'a Value>, Trouble> {
    let mut to_apply = Vec::new();
    for object in objects {
        let shown = objects::shown(object);
        let Some(existing) = objects::existing(client, object).await? else {
            to_apply.push(object);
            continue;
        };
        let may_be_others = matches!(manifest::kind(object), "Namespace" | "ClusterRole");
        match objects::owner(&existing) {
            Owner::Us => {
                let bound = existing.data["subjects"][0]["namespace"].as_str();
                let is_cluster_wide = manifest::kind(object) == "ClusterRoleBinding";
                if let Some(elsewhere) = bound.filter(|bound| is_cluster_wide && *bound != namespace) {
                    return Err(Trouble::new(format!(
                        "agents are installed in namespace {elsewhere} already (`prejoin agents remove -n {elsewhere}` removes them)"
                    )));
                }
                to_apply.push(object);
            }
            Owner::OurManifests(_) if may_be_others => done.left.push(shown),
            // A namespace may be anybody's.
            Owner::Other if manifest::kind(object) == "Namespace" => done.left.push(shown),
            Owner::OurManifests(managers) => {
                return Err(Trouble::new(format!(
                    "{shown} was applied by {managers}, not by `prejoin agents install`: change it the same way, or remove it first"
                )));
            }
            Owner::Other => {
                return Err(Trouble::new(format!(
                    "{shown} is there already and has no label {}={}: it is someone else's, and nothing was changed",
                    manifest::PART_OF.0,
                    manifest::PART_OF.1
                )));
            }
        }
    }
    Ok(to_apply)
}

/// Fails if the server is too old for agents for one audit, or the user may not start them, with what is missing.
pub async fn may_start_run(client: &kube::Client, wanted: &Wanted, run: &Run) -> Result<(), Trouble> {
    server::require_version(client).await?;
    // In a namespace that is not there yet, what is permitted everywhere is permitted.
    let place = (!run.own_namespace).then_some(wanted.namespace.as_str());
    permissions::require(client, Access::Ephemeral, place).await
}

/// Fails if the user may not make the Services of a run, with what is missing.
pub async fn may_make_services(client: &kube::Client, wanted: &Wanted, run: &Run) -> Result<(), Trouble> {
    let place = (!run.own_namespace).then_some(wanted.namespace.as_str());
    permissions::require(client, Access::Joined, place).await
}

/// What came of starting a run.
#[derive(Debug, Default)]
pub struct Started {
    /// The time by the server's clock.
    pub at: Option<Timestamp>,
    /// The addresses of the run's Services, in their order, or what kept them from being made.
    pub services: Vec<Result<Vec<IpAddr>, Trouble>>,
}

/// Starts agents for one audit. What fails half way is to be taken back with
/// [`remove_run`](super::remove::remove_run).
pub async fn start_run(client: &kube::Client, wanted: &Wanted, run: &Run) -> Result<Started, Trouble> {
    let objects = manifest::for_run(wanted, run);
    let anchor = objects.iter().position(manifest::is_anchor).unwrap_or_default();
    let mut before = Vec::new();
    for object in &objects[..anchor] {
        objects::apply(client, object, false, false).await?;
        before.push(object.clone());
    }
    let applied = objects::apply(client, &objects[anchor], false, false).await?;
    let at = applied.metadata.creation_timestamp.map(|time| time.0);
    let owner = json!([{
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": manifest::name(&objects[anchor]),
        "uid": applied.metadata.uid.unwrap_or_default(),
    }]);
    // Whatever belongs to the Job goes when it goes.
    let belong = |mut object: Value| {
        if object["metadata"]["namespace"].is_string() {
            object["metadata"]["ownerReferences"] = owner.clone();
        }
        object
    };
    let owned: Vec<Value> = before
        .into_iter()
        .chain(objects[anchor + 1..].iter().cloned())
        .map(belong)
        .filter(|object| object["metadata"]["ownerReferences"].is_array())
        .collect();
    let (services, agents): (Vec<Value>, Vec<Value>) = owned
        .into_iter()
        .partition(|object| matches!(manifest::kind(object), "Service" | "ServiceExport"));
    futures::future::try_join_all(agents.iter().map(|object| objects::apply(client, object, false, false))).await?;
    // An audit goes on without what is only tried through a mesh.
    let applying = services.iter().map(|object| async move {
        let applied = objects::apply(client, object, false, false).await;
        (manifest::name(object), applied)
    });
    let applied = futures::future::join_all(applying).await;
    let addresses = |service: &manifest::TestService| -> Result<Vec<IpAddr>, Trouble> {
        let name = service.name(run);
        let mut addresses = Vec::new();
        for (_, applied) in applied.iter().filter(|(applied, _)| *applied == name) {
            let object = applied.as_ref().map_err(Clone::clone)?;
            let ips = object.data["spec"]["clusterIPs"].as_array().into_iter().flatten();
            addresses.extend(ips.filter_map(|ip| ip.as_str()?.parse::<IpAddr>().ok()));
        }
        Ok(addresses)
    };
    Ok(Started {
        at,
        services: run.services.iter().map(addresses).collect(),
    })
}

/// Which agents are looked at.
#[derive(Debug, Clone)]
pub struct Watched<'a> {
    /// Their namespace.
    pub namespace: &'a str,
    /// The run they belong to; those that stay without it.
    pub run: Option<&'a str>,
    /// The labels of nodes that were asked for.
    pub node_selector: &'a BTreeMap<String, String>,
    /// Whether one is in the pod network.
    pub cluster_agent: bool,
    /// Whether one is in a pod on every node.
    pub pods: bool,
}

impl<'a> Watched<'a> {
    /// The agents of an installation.
    pub fn installed(wanted: &'a Wanted) -> Self {
        Self {
            namespace: &wanted.namespace,
            run: None,
            node_selector: &wanted.node_selector,
            cluster_agent: wanted.mode != Mode::Node,
            pods: false,
        }
    }

    /// The agents of a run.
    pub fn of_run(wanted: &'a Wanted, run: &'a Run) -> Self {
        Self {
            run: Some(&run.id),
            cluster_agent: true,
            pods: run.pods || !run.services.is_empty(),
            ..Self::installed(wanted)
        }
    }

    /// The selector of their pods.
    pub fn selector(&self) -> String {
        match self.run {
            Some(id) => format!("{LABEL},{RUN}={id}"),
            None => format!("{LABEL},{NOT_OF_A_RUN}"),
        }
    }
}

/// The nodes of a cluster, in pages.
pub async fn nodes(client: &kube::Client, selector: &BTreeMap<String, String>) -> Result<Vec<NodeState>, Trouble> {
    let api: Api<Node> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut nodes = Vec::new();
    loop {
        let page = api
            .list(&params)
            .await
            .map_err(|error| Trouble::of("list nodes", &error))?;
        nodes.extend(page.items.iter().map(|node| NodeState::of(node, selector)));
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params.continue_token = Some(token),
            _ => break,
        }
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

/// How waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Every agent is ready.
    Complete,
    /// What is not ready will not be by waiting.
    Settled,
    /// The time was over.
    TimedOut,
    /// The user had enough.
    Interrupted,
}

/// Waits until every agent is ready, or nothing that is missing is on its way. `told` hears of every step.
pub async fn until_ready(
    client: &kube::Client,
    watched: &Watched<'_>,
    timeout: Duration,
    cancel: &Cancel,
    mut told: impl FnMut(&Rollout),
) -> Result<(Rollout, Waited), Trouble> {
    let namespace = watched.namespace;
    let nodes = nodes(client, watched.node_selector).await?;
    let mut pods: Followed<Pod> = Followed::new(Api::namespaced(client.clone(), namespace), &watched.selector(), "");
    let mut sets: Followed<DaemonSet> =
        Followed::new(Api::namespaced(client.clone(), namespace), &watched.selector(), "");
    let mut events: Followed<Event> = Followed::new(Api::namespaced(client.clone(), namespace), "", "");
    let mut events_are_allowed = true;
    let expected = Expected {
        cluster_agent: watched.cluster_agent,
        pods: watched.pods,
    };
    let end = tokio::time::sleep(timeout);
    tokio::pin!(end);
    let mut rollout = Rollout::of(&nodes, &[], &[], expected);
    loop {
        let waited = tokio::select! {
            biased;
            () = cancel.cancelled() => Some(Waited::Interrupted),
            () = &mut end => Some(Waited::TimedOut),
            changed = pods.changed_or_refused() => {
                changed.map_err(|error| Trouble::of(&format!("watch pods in {namespace}"), &error))?;
                None
            }
            changed = sets.changed_or_refused() => {
                changed.map_err(|error| Trouble::of(&format!("watch daemonsets in {namespace}"), &error))?;
                None
            }
            changed = events.changed_or_refused(), if events_are_allowed => {
                // They only explain.
                events_are_allowed = changed.is_ok();
                None
            }
        };
        if let Some(waited) = waited {
            return Ok((rollout, waited));
        }
        let now = Rollout::of(&nodes, &pods.objects(), &events.objects(), expected);
        let is_current = sets.objects().iter().all(is_rolled_out);
        if now != rollout {
            told(&now);
            rollout = now;
        }
        if !is_current {
            continue;
        }
        if rollout.is_complete() {
            return Ok((rollout, Waited::Complete));
        }
        if rollout.is_settled() {
            return Ok((rollout, Waited::Settled));
        }
    }
}

/// Whether a DaemonSet's controller has seen its latest change, and no pod of an earlier one is left.
fn is_rolled_out(set: &DaemonSet) -> bool {
    set.status.as_ref().is_some_and(|status| {
        status.observed_generation >= set.metadata.generation
            && status.updated_number_scheduled.unwrap_or_default() >= status.current_number_scheduled
    })
}

/// What is known of agents right now, without waiting.
pub async fn look(client: &kube::Client, watched: &Watched<'_>) -> Result<Rollout, Trouble> {
    let namespace = watched.namespace;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let nodes = nodes(client, watched.node_selector).await?;
    let selector = ListParams::default().labels(&watched.selector());
    let pods = pods.list(&selector).await;
    let pods = pods
        .map_err(|error| Trouble::of(&format!("list pods in {namespace}"), &error))?
        .items;
    // Events only explain.
    let events = events
        .list(&ListParams::default())
        .await
        .map(|list| list.items)
        .unwrap_or_default();
    let expected = Expected {
        cluster_agent: watched.cluster_agent,
        pods: watched.pods,
    };
    Ok(Rollout::of(&nodes, &pods, &events, expected))
}
