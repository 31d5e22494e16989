//! Clusters to facts: all at once, each with its own deadline, partial results kept.
//!
//! What the user got wrong (no such context, a file that is none, one cluster twice) ends the command before a cluster
//! is asked. What clusters get wrong ends up in their facts, and the others are still read.

mod kubeconfig;
mod progress;
mod side_by_side;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use kube::config::Kubeconfig;
use prejoin_agent::cluster::{self, ReadOptions};
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::facts::{ClusterFacts, DeclaredRange};

use crate::load::{self, LoadError};
use crate::run::Cancel;
use crate::settings::{Cluster, Origin, Reading};
pub use kubeconfig::KubeconfigError;
use progress::{Line, Progress};
pub(crate) use side_by_side::side_by_side;

/// Why the clusters asked for cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A facts file cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A kubeconfig, or a context in it, cannot be used.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// A file holds other clusters than the one that it is to give.
    #[error("{file} holds {count} clusters, and none of them is called {name}")]
    NotInFile {
        /// The file.
        file: String,
        /// How many clusters it holds.
        count: usize,
        /// The name wanted.
        name: String,
    },
    /// Two clusters go by one name.
    #[error("two clusters are called {name}: {first} and {second}; a report needs names that differ")]
    SameName {
        /// The name.
        name: String,
        /// Where the first comes from.
        first: String,
        /// Where the second comes from.
        second: String,
    },
    /// One cluster was given twice.
    #[error("{first} and {second} are the same cluster: kube-system has UID {uid} in both")]
    SameCluster {
        /// The cluster's own identity.
        uid: String,
        /// Where the first comes from, with its name.
        first: String,
        /// Where the second comes from, with its name.
        second: String,
    },
}

/// Facts and where they came from, in words.
struct Member {
    facts: ClusterFacts,
    from: String,
}

/// A cluster as it stands before any is asked.
enum Pending {
    Known(Vec<Member>),
    Live(Box<Target>),
}

/// One cluster to ask.
struct Target {
    live: Live,
    access: Access,
}

/// How a cluster is reached.
enum Access {
    Context {
        kubeconfig: Box<Kubeconfig>,
        context: String,
    },
    InCluster,
}

/// A cluster that is read through its API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The name it goes by.
    pub name: String,
    /// The kubeconfig context; without it, the current one.
    pub context: Option<String>,
    /// The kubeconfig that has it; without it, as kubectl finds it.
    pub kubeconfig: Option<PathBuf>,
}

/// The facts of all clusters, and which of them have an API.
#[derive(Debug)]
pub struct Gathered {
    /// The facts, in the order asked for.
    pub facts: Vec<ClusterFacts>,
    /// The clusters with an API.
    pub live: Vec<Live>,
}

/// The clusters of these contexts, or of the current one if there are none: checked to be in the kubeconfig, and not asked yet.
pub fn contexts(contexts: &[String], kubeconfig: Option<&Path>) -> Result<Vec<Live>, FleetError> {
    let origin = |context| Cluster {
        origin: Origin::Context {
            context,
            kubeconfig: kubeconfig.map(Path::to_owned),
        },
        name: None,
    };
    let mut clusters: Vec<Cluster> = contexts.iter().cloned().map(Some).map(origin).collect();
    if clusters.is_empty() {
        clusters.push(origin(None));
    }
    let live = |pending| match pending {
        Pending::Live(target) => Some(target.live),
        Pending::Known(_) => None,
    };
    Ok(prepare(clusters)?.into_iter().filter_map(live).collect())
}

/// The names of all contexts.
pub fn context_names(kubeconfig: Option<&Path>) -> Result<Vec<String>, FleetError> {
    let found = kubeconfig::find(kubeconfig)?;
    let contexts = found.into_iter().flat_map(|kubeconfig| kubeconfig.contexts);
    Ok(contexts.map(|context| context.name).collect())
}

/// Reads all clusters. Needs a Tokio runtime. Those that are not read when it is cancelled say so.
pub async fn gather(
    clusters: Vec<Cluster>,
    declared: &BTreeMap<String, Vec<DeclaredRange>>,
    reading: Reading,
    cancel: &Cancel,
) -> Result<Gathered, FleetError> {
    let pending = prepare(clusters)?;
    let live = pending.iter().filter_map(|pending| match pending {
        Pending::Live(target) => Some(target.live.clone()),
        Pending::Known(_) => None,
    });
    let live = live.collect();
    let progress = Progress::new(pending.iter().filter_map(|pending| match pending {
        Pending::Live(target) => Some(target.live.name.as_str()),
        Pending::Known(_) => None,
    }));
    let members = join_all(pending.into_iter().map(|pending| async {
        match pending {
            Pending::Known(members) => members,
            Pending::Live(target) => {
                let line = progress.line(&target.live.name);
                let name = target.live.name.clone();
                let facts = tokio::select! {
                    biased;
                    () = cancel.cancelled() => {
                        let why = Unknown::new(Reason::Interrupted, format!("{name}: the audit was interrupted before it was read"));
                        ClusterFacts::unread(name, &why)
                    }
                    facts = Box::pin(read(*target, reading, &line)) => facts,
                };
                line.finish(&facts);
                let from = format!("context {}", facts.name);
                vec![Member { facts, from }]
            }
        }
    }))
    .await;
    let mut members: Vec<Member> = members.into_iter().flatten().collect();
    distinct_uids(&members)?;
    for member in &mut members {
        if let Some(ranges) = declared.get(&member.facts.name) {
            // An audit's bundle has them already.
            let new = ranges.iter().filter(|range| !member.facts.declared.contains(range));
            let new: Vec<DeclaredRange> = new.cloned().collect();
            member.facts.declared.extend(new);
        }
    }
    Ok(Gathered {
        facts: members.into_iter().map(|member| member.facts).collect(),
        live,
    })
}

/// Everything that can go wrong before a cluster is asked.
fn prepare(clusters: Vec<Cluster>) -> Result<Vec<Pending>, FleetError> {
    let mut kubeconfigs: HashMap<Option<PathBuf>, Option<Kubeconfig>> = HashMap::new();
    let mut pending = Vec::with_capacity(clusters.len());
    let files = side_by_side(&clusters, |cluster| match &cluster.origin {
        Origin::File(path) => from_file(path, cluster.name.as_deref()),
        _ => Ok(Vec::new()),
    });
    for (cluster, file) in clusters.into_iter().zip(files) {
        pending.push(match cluster.origin {
            Origin::Planned(facts) => Pending::Known(members(vec![*facts], "planned in the configuration")),
            Origin::Site(facts) => Pending::Known(members(vec![*facts], "a site of the configuration")),
            Origin::Loaded { facts, from } => Pending::Known(members(facts, &from)),
            Origin::File(_) => Pending::Known(file?),
            Origin::Context { context, kubeconfig } => {
                let found = match kubeconfigs.entry(kubeconfig.clone()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(kubeconfig::find(kubeconfig.as_deref())?),
                };
                let access = access(found.as_ref(), context.as_deref())?;
                let given = match &access {
                    Access::Context { context, .. } => context.clone(),
                    Access::InCluster => "in-cluster".to_owned(),
                };
                let live = Live {
                    name: cluster.name.unwrap_or(given),
                    context,
                    kubeconfig,
                };
                Pending::Live(Box::new(Target { live, access }))
            }
        });
    }
    distinct_names(&pending)?;
    Ok(pending)
}

fn from_file(path: &Path, name: Option<&str>) -> Result<Vec<Member>, FleetError> {
    let mut facts = load::facts(path)?;
    if let Some(name) = name {
        let count = facts.len();
        if count > 1 {
            facts.retain(|facts| facts.name == name);
        }
        match facts.first_mut() {
            Some(facts) => name.clone_into(&mut facts.name),
            None => {
                return Err(FleetError::NotInFile {
                    file: load::shown(path),
                    count,
                    name: name.to_owned(),
                });
            }
        }
    }
    Ok(members(facts, &load::shown(path)))
}

fn members(facts: Vec<ClusterFacts>, from: &str) -> Vec<Member> {
    let member = |facts| Member {
        facts,
        from: from.to_owned(),
    };
    facts.into_iter().map(member).collect()
}

fn access(kubeconfig: Option<&Kubeconfig>, context: Option<&str>) -> Result<Access, KubeconfigError> {
    let Some(kubeconfig) = kubeconfig else {
        return match context {
            None if kubeconfig::in_cluster() => Ok(Access::InCluster),
            _ => Err(KubeconfigError::None),
        };
    };
    let context = kubeconfig::context(kubeconfig, context)?;
    Ok(Access::Context {
        kubeconfig: Box::new(kubeconfig::only(kubeconfig, &context)),
        context,
    })
}

fn distinct_names(pending: &[Pending]) -> Result<(), FleetError> {
    let mut seen: HashMap<&str, String> = HashMap::new();
    let named = pending.iter().flat_map(|pending| match pending {
        Pending::Live(target) => vec![(target.live.name.as_str(), target.origin())],
        Pending::Known(members) => members
            .iter()
            .map(|member| (member.facts.name.as_str(), member.from.clone()))
            .collect(),
    });
    for (name, from) in named {
        if let Some(first) = seen.insert(name, from.clone()) {
            return Err(FleetError::SameName {
                name: name.to_owned(),
                first,
                second: from,
            });
        }
    }
    Ok(())
}

fn distinct_uids(members: &[Member]) -> Result<(), FleetError> {
    let mut seen: HashMap<&str, &Member> = HashMap::new();
    for member in members {
        let Some(uid) = member.facts.uid.ok() else { continue };
        if let Some(first) = seen.insert(uid, member) {
            let shown = |member: &Member| format!("{} ({})", member.facts.name, member.from);
            return Err(FleetError::SameCluster {
                uid: uid.clone(),
                first: shown(first),
                second: shown(member),
            });
        }
    }
    Ok(())
}

impl Target {
    fn origin(&self) -> String {
        match &self.access {
            Access::Context { context, .. } => format!("context {context}"),
            Access::InCluster => "the cluster that this runs in".to_owned(),
        }
    }
}

/// Reads one cluster; whatever goes wrong is said in its facts.
async fn read(target: Target, reading: Reading, line: &Line) -> ClusterFacts {
    let timeout = reading.timeout.0;
    let name = target.live.name.clone();
    let facts = match connect(target.access, timeout, Use::Reading).await {
        Ok((client, options)) => {
            let options = ReadOptions {
                read_secrets: reading.read_secrets,
                timeout,
                progress: line.listener(),
                ..options
            };
            Box::pin(cluster::read_cluster(client, name, options)).await
        }
        Err(unknown) => ClusterFacts::unread(name, &unknown),
    };
    load::harmless(facts)
}

/// What a client is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Requests with an answer each.
    Reading,
    /// Streams that may be silent.
    Sessions,
}

/// A client for sessions with agents in a cluster: its streams may be silent, and making one takes no longer than `timeout`.
pub(crate) async fn session_client(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
    timeout: Duration,
) -> Result<kube::Client, Unknown> {
    let unusable = |error: KubeconfigError| Unknown::new(Reason::Unreachable, error.to_string());
    let found = kubeconfig::find(kubeconfig).map_err(unusable)?;
    let access = access(found.as_ref(), context).map_err(unusable)?;
    let (client, _) = connect(access, timeout, Use::Sessions).await?;
    Ok(client)
}

/// Makes a client, which may run a credential plugin: that blocks, and it gets no longer than the cluster itself.
async fn connect(access: Access, timeout: Duration, purpose: Use) -> Result<(kube::Client, ReadOptions), Unknown> {
    let (mut config, kubeconfig_cluster) = match access {
        Access::Context { kubeconfig, context } => kubeconfig::client_config(*kubeconfig, context).await?,
        Access::InCluster => (kubeconfig::in_cluster_config()?, None),
    };
    cluster::configure(&mut config, timeout);
    if purpose == Use::Sessions {
        config.read_timeout = None;
    }
    let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
    let by_plugin = |mut unknown: Unknown| {
        if let Some(plugin) = &plugin {
            unknown.detail = format!("{} (credential plugin {plugin})", unknown.detail);
        }
        unknown
    };
    let options = ReadOptions {
        api_server: Some(config.cluster_url.clone()),
        kubeconfig_cluster,
        ..ReadOptions::default()
    };
    let connecting = tokio::task::spawn_blocking(move || cluster::connect(config));
    let client = match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(client)) => client.map_err(by_plugin)?,
        Ok(Err(_)) => return Err(Unknown::new(Reason::Unreachable, "making a client failed")),
        Err(_) => {
            return Err(Unknown::new(
                Reason::Unreachable,
                format!(
                    "the credential plugin gave no answer within {} s",
                    timeout.as_secs_f32()
                ),
            ));
        }
    };
    Ok((client, options))
}

/// For fuzzing: whatever stands in a kubeconfig, choosing a context of it does not panic.
///
/// # Panics
/// If it does.
pub fn fuzz_kubeconfig(text: &str) {
    kubeconfig::fuzz(text);
}

#[cfg(test)]
mod tests;
