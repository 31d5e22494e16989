//! Agents for one audit: started before it, removed after it, and gone after their deadline whatever becomes of the audit.
//!
//! Each run has an id, a namespace of its own unless one is named, and a Job that everything else belongs to. When this tool dies, the Job's
//! pod removes the namespace at the deadline; if that pod does not run, the cluster's controllers end the Job a minute later, and with it all
//! that belongs to it. What is left even then (an empty namespace) the next run removes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::command::{client, say_rollout, teller};
use super::find::Where;
use super::install::{self, Watched};
use super::manifest::{Mode, Run, TestService, Wanted};
use super::remove;
use super::rollout::{CLUSTER_AGENT, Rollout};
use super::trouble::Trouble;
use crate::fleet::Live;
use crate::output;
use crate::run::Cancel;

/// How long removal may take until what is left is told.
const REMOVING: Duration = Duration::from_secs(60);

/// How agents for one audit are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ephemeral {
    /// What is installed; its namespace counts only if it is [`named`](Self::named).
    pub wanted: Wanted,
    /// Whether a namespace was named, which has to be there already. Each run makes one of its own without it.
    pub named: bool,
    /// They end after this time.
    pub deadline: Duration,
    /// So long they may take to become ready.
    pub timeout: Duration,
}

/// What an audit wants in one cluster besides agents on nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Pods of ours on every node.
    pub pods: bool,
    /// Services by which pods of ours are reached through a mesh.
    pub services: Vec<TestService>,
}

/// Agents that run for this audit in one cluster.
pub struct Guests {
    /// The cluster.
    pub live: Live,
    client: kube::Client,
    wanted: Wanted,
    run: Run,
    rollout: Rollout,
    /// Of the Services that were made.
    addresses: Vec<(TestService, Vec<IpAddr>)>,
}

impl Guests {
    /// The Services of the run, each with its addresses in this cluster and its name in `clusterset.local`.
    pub fn services(&self) -> impl Iterator<Item = (&TestService, &[IpAddr], String)> {
        self.addresses.iter().map(move |(service, addresses)| {
            let name = format!(
                "{}.{}.svc.clusterset.local",
                service.name(&self.run),
                self.wanted.namespace
            );
            (service, addresses.as_slice(), name)
        })
    }

    /// The pod that is behind this cluster's own Services.
    pub fn pod_behind(&self) -> Option<&str> {
        let mut places = self.rollout.places.iter();
        places.find(|place| place.agent == CLUSTER_AGENT)?.pod.as_deref()
    }

    /// Where they are.
    pub fn place(&self) -> Where {
        Where {
            namespace: self.wanted.namespace.clone(),
            selector: Watched::of_run(&self.wanted, &self.run).selector(),
            required: false,
        }
    }

    /// How far each has come.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }
}

/// Starts agents in all clusters at once, and waits for them. What cannot be had in one cluster is said, and the others go on.
/// `wishes` are those of clusters, by name.
pub async fn start(
    lives: &[Live],
    ephemeral: &Ephemeral,
    wishes: &BTreeMap<String, Wishes>,
    cancel: &Cancel,
) -> Vec<Guests> {
    // One id everywhere: a Service is one in several clusters by its name and namespace.
    let id = match random_id() {
        Ok(id) => id,
        Err(trouble) => {
            output::say(&format!("prejoin: no agents: {trouble}"));
            return Vec::new();
        }
    };
    let id = id.as_str();
    let starting = lives.iter().map(|live| async move {
        let wishes = wishes.get(&live.name).cloned().unwrap_or_default();
        match start_in(live, id, wishes, ephemeral, cancel).await {
            Ok(guests) => Some(guests),
            Err(trouble) => {
                output::say(&format!("prejoin: {}: no agents: {trouble}", live.name));
                None
            }
        }
    });
    join_all(starting).await.into_iter().flatten().collect()
}

async fn start_in(
    live: &Live,
    id: &str,
    wishes: Wishes,
    ephemeral: &Ephemeral,
    cancel: &Cancel,
) -> Result<Guests, Trouble> {
    let client = client(live).await?;
    let mut run = Run {
        id: id.to_owned(),
        deadline: ephemeral.deadline,
        own_namespace: !ephemeral.named,
        pods: wishes.pods,
        services: wishes.services,
    };
    let mut wanted = ephemeral.wanted.clone();
    if run.own_namespace {
        wanted.namespace = format!("prejoin-run-{}", run.id);
    }
    install::may_start_run(&client, &wanted, &run).await?;
    if !run.services.is_empty()
        && let Err(trouble) = install::may_make_services(&client, &wanted, &run).await
    {
        output::say(&format!("prejoin: {}: no test Services: {trouble}", live.name));
        run.services.clear();
    }
    let mut guests = Guests {
        live: live.clone(),
        client,
        wanted,
        run,
        rollout: Rollout::default(),
        addresses: Vec::new(),
    };
    let begun = Instant::now();
    match bring_up(&mut guests, ephemeral.timeout, cancel).await {
        Ok(()) => {
            let rollout = &guests.rollout;
            output::say(&format!(
                "prejoin: {}: {} of {} agents ready after {:.1} s, in namespace {}",
                live.name,
                rollout.ready(),
                rollout.wanted(),
                begun.elapsed().as_secs_f32(),
                guests.wanted.namespace
            ));
            Ok(guests)
        }
        Err(trouble) => {
            // Nothing half installed stays.
            end(guests).await;
            Err(trouble)
        }
    }
}

async fn bring_up(guests: &mut Guests, timeout: Duration, cancel: &Cancel) -> Result<(), Trouble> {
    let Guests {
        live,
        client,
        wanted,
        run,
        rollout,
        addresses,
    } = guests;
    let started = install::start_run(client, wanted, run).await?;
    for (service, made) in run.services.iter().zip(started.services) {
        match made {
            Ok(made) => addresses.push((service.clone(), made)),
            Err(trouble) => output::say(&format!(
                "prejoin: {}: no test Service of {}: {trouble}",
                live.name, service.of
            )),
        }
    }
    let watched = Watched::of_run(wanted, run);
    let waiting = install::until_ready(client, &watched, timeout, cancel, teller(&live.name));
    let (waited, ()) = tokio::join!(waiting, sweep(live, client, started.at));
    let (reached, waited) = waited?;
    say_rollout(&live.name, &reached, waited);
    *rollout = reached;
    Ok(())
}

/// Removes what earlier runs left; `now` is the server's time. That it cannot be done keeps nothing from this run.
async fn sweep(live: &Live, client: &kube::Client, now: Option<Timestamp>) {
    let Some(now) = now else { return };
    match remove::sweep(client, now, REMOVING).await {
        Ok(swept) if swept.is_empty() => {}
        Ok(swept) => output::say(&format!(
            "prejoin: {}: removed what an earlier audit left: {}",
            live.name,
            swept.join(", ")
        )),
        Err(trouble) => output::say(&format!(
            "prejoin: {}: what earlier audits may have left is not known: {trouble}",
            live.name
        )),
    }
}

/// Removes the agents of this audit, and says what is left if anything is.
pub async fn remove_all(guests: Vec<Guests>) {
    join_all(guests.into_iter().map(end)).await;
}

async fn end(guests: Guests) {
    let Guests {
        live,
        client,
        wanted,
        run,
        ..
    } = guests;
    let say = |text: &str| output::say(&format!("prejoin: {}: {text}", live.name));
    let seconds = run.deadline.as_secs();
    match remove::remove_run(&client, &wanted.namespace, &run.id, REMOVING).await {
        Ok(removed) => {
            for left in removed.left.iter().chain(&removed.remains) {
                say(&format!("left of this audit's agents: {left}"));
            }
            if removed.is_complete() {
                say(&format!(
                    "this audit's agents are gone: {} objects, {} pods",
                    removed.gone.len(),
                    removed.pods
                ));
            } else {
                say(&format!("what is left ends by itself {seconds} s after its start"));
            }
        }
        Err(trouble) => say(&format!(
            "this audit's agents could not be removed, and end by themselves {seconds} s after their start: {trouble}"
        )),
    }
}

fn random_id() -> Result<String, Trouble> {
    let mut random = [0; 4];
    let made = SystemRandom::new().fill(&mut random);
    made.map_err(|_| Trouble::new("this machine gives no random numbers"))?;
    Ok(format!("{:08x}", u32::from_be_bytes(random)))
}

impl Default for Ephemeral {
    fn default() -> Self {
        Self {
            wanted: Wanted {
                mode: Mode::Cluster,
                ..Wanted::default()
            },
            named: false,
            deadline: Duration::from_secs(30 * 60),
            timeout: Duration::from_secs(60),
        }
    }
}
