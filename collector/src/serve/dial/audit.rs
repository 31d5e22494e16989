//! What an audit needs of a cluster that dials in: its facts, and who probes in it.

use std::time::Duration;

use futures::future::join_all;
use prejoin_agent::dial::streams::{Begun, Present, Wanted};
use prejoin_agent::protocol::{OLDEST_PROTOCOL_VERSION, Open, PROTOCOL_VERSION};
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::policy::Probe;

use super::Hub;
use crate::agents;
use crate::load;
use crate::output;
use crate::run::{Member, random_hex};
use crate::serve::store::Store;
use crate::session::Session;
use crate::settings::{Cluster, Origin, Settings};
use crate::text;
use crate::transport::{Dialled, Route};

/// Facts of one cluster are no longer: many times what a thousand nodes come to, and little enough for several at once.
const FACTS_BYTES: usize = 64 << 20;
/// So much of what an agent says of itself is shown.
const SHOWN_CHARS: usize = 200;

/// Adds clusters that dial in to what an audit looks at: their facts, read now, and their agents. What cannot be had is said in the facts.
pub async fn enlist(settings: &mut Settings, hub: &Hub, store: &Store, clusters: &[String]) {
    let (patience, read_secrets) = (settings.reading.timeout.0, settings.reading.read_secrets);
    let probes = settings.policy.probe != Probe::None;
    let reading = clusters.iter().map(|cluster| async move {
        hub.arrival(cluster).await;
        let facts = facts(hub, store, cluster, read_secrets, patience).await;
        let members = if probes && facts.unreachable().is_none() {
            members(hub, &facts, patience).await
        } else {
            Ok(Vec::new())
        };
        (facts, members)
    });
    for (facts, members) in join_all(reading).await {
        match members {
            Ok(members) => settings.probing.members.extend(members),
            Err(why) => output::say(&format!("prejoin: {}: agents cannot be found: {why}", facts.name)),
        }
        settings.clusters.push(Cluster {
            name: None,
            origin: Origin::Loaded {
                facts: vec![facts],
                from: "the agent that dials in".to_owned(),
            },
        });
    }
}

/// Reads a cluster through its agent. What goes wrong is said in the facts; facts of another cluster than was enrolled are refused, and shown
/// as such.
pub async fn facts(hub: &Hub, store: &Store, cluster: &str, read_secrets: bool, patience: Duration) -> ClusterFacts {
    // Facts are large, and wait in it.
    let facts = match Box::pin(read(hub, cluster, read_secrets, patience)).await {
        Ok(facts) => facts,
        Err(why) => return unread(cluster, &why),
    };
    if facts.name != cluster {
        let why = format!(
            "its agent gave facts of a cluster called {}",
            text::short(&facts.name, SHOWN_CHARS)
        );
        return refused(hub, cluster, &why);
    }
    let Some(uid) = facts.uid.ok() else {
        // Nothing says that it is another, and nothing that it is not: what it says is not taken for this cluster's.
        let why = facts.uid.why().map(|unknown| text::short(&unknown.detail, SHOWN_CHARS));
        return unread(
            cluster,
            &format!("which cluster this is cannot be told: {}", why.unwrap_or_default()),
        );
    };
    match store.claim(cluster, uid).await {
        Ok(Ok(())) => load::harmless(facts),
        Ok(Err(why)) => refused(hub, cluster, &why.to_string()),
        Err(error) => unread(
            cluster,
            &format!("which cluster this is could not be looked up: {error}"),
        ),
    }
}

/// The agents of a cluster: those that run, as its cluster agent says, and the cluster agent itself. An error says in one line why that cannot
/// be told.
pub async fn members(hub: &Hub, facts: &ClusterFacts, patience: Duration) -> Result<Vec<Member>, String> {
    let cluster = &facts.name;
    let (begun, _) = hub
        .begin(cluster, &Wanted::Agents(true), patience)
        .await
        .map_err(|why| why.0)?;
    let Begun::Agents(present) = begun else {
        return Err("the agent answers something that was not asked".to_owned());
    };
    let member = |present: Present| {
        let wanted = if present.is_cluster_agent {
            Wanted::Cluster(true)
        } else {
            Wanted::Node(present.node.clone())
        };
        Member {
            id: agents::id(facts, &present.node, present.network, present.addresses),
            route: Route::Dialled(Dialled {
                hub: hub.clone(),
                cluster: cluster.clone(),
                wanted,
            }),
        }
    };
    Ok(present.into_iter().map(member).collect())
}

async fn read(hub: &Hub, cluster: &str, read_secrets: bool, patience: Duration) -> Result<ClusterFacts, String> {
    let route = Route::Dialled(Dialled {
        hub: hub.clone(),
        cluster: cluster.to_owned(),
        wanted: Wanted::Cluster(true),
    });
    let connection = route.connect(patience).await.map_err(|why| why.0)?;
    let (Some(audit), Some(key)) = (random_hex(16), random_hex(32)) else {
        return Err("this machine gives no random numbers".to_owned());
    };
    let open = Open {
        versions: (OLDEST_PROTOCOL_VERSION..=PROTOCOL_VERSION).rev().collect(),
        audit,
        key,
        // Facts get the name that the session has.
        node: cluster.to_owned(),
        deadline_seconds: u32::try_from(2 * patience.as_secs()).unwrap_or(u32::MAX),
    };
    let (mut session, _) = Session::open(connection, open, patience)
        .await
        .map_err(|failure| failure.detail)?;
    let facts = session.cluster_facts(read_secrets, FACTS_BYTES, patience).await;
    session.close(Duration::from_secs(1)).await;
    facts.map_err(|trouble| trouble.to_string())
}

fn refused(hub: &Hub, cluster: &str, why: &str) -> ClusterFacts {
    hub.refuse(Some(cluster), None, format!("its facts: {why}"));
    unread(cluster, &format!("refused: {why}"))
}

fn unread(cluster: &str, why: &str) -> ClusterFacts {
    ClusterFacts::unread(cluster, &Unknown::new(Reason::Unreachable, format!("{cluster}: {why}")))
}
