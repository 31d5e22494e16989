//! The cluster agent: reads a cluster's API with its service account, probes from the pod network.

use std::process::ExitCode;
use std::time::Duration;

use prejoin_agent::arguments::{Dialling, Keep};
use prejoin_agent::cluster::{self, ReadOptions};
use prejoin_agent::dial::Dial;
use prejoin_agent::dial::collector::Collector;
use prejoin_agent::dial::keep::Keeper;
use prejoin_agent::dial::reach::Reach;
use prejoin_agent::program::{self, ClusterApi, Stop};
use prejoin_agent::protocol::Role;
use prejoin_agent::session::Agent;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::provenance::{Reason, Unknown};

/// How long reading the API may take, as [`ReadOptions::timeout`] has it.
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    // Only this one is linked; naming it keeps that true at run time. It fails if one is already named.
    let _ = rustls::crypto::ring::default_provider().install_default();
    program::main(
        "prejoin-cluster-agent",
        Role::Cluster,
        Some(ClusterApi {
            read: Box::new(|name, read_secrets| Box::pin(read(name, read_secrets))),
            remove_namespace: || Box::pin(cluster::remove_own_namespace(TIMEOUT)),
            dial: |agent, dialling, stop| Box::pin(dial(agent, dialling, stop)),
        }),
    )
}

/// Reads the cluster that this runs in. The client reads the service account's token anew when it changes.
async fn read(name: String, read_secrets: bool) -> ClusterFacts {
    let mut config = match cluster::own_config().await {
        Ok(config) => config,
        Err(why) => return ClusterFacts::unread(name, &Unknown::new(Reason::Unreachable, why)),
    };
    cluster::configure(&mut config, TIMEOUT);
    let options = ReadOptions {
        read_secrets,
        timeout: TIMEOUT,
        api_server: Some(config.cluster_url.clone()),
        inside: true,
        ..ReadOptions::default()
    };
    match cluster::connect(config) {
        Ok(client) => cluster::read_cluster(client, name, options).await,
        Err(unknown) => ClusterFacts::unread(name, &unknown),
    }
}

/// Dials out until `stop`.
async fn dial(agent: Agent, dialling: Dialling, stop: Stop) -> Result<&'static str, String> {
    let fingerprint = dialling.fingerprint.as_deref().map(str::parse).transpose();
    let fingerprint = fingerprint.map_err(|error| format!("{error}"))?;
    let collector = Collector::new(&dialling.collector, fingerprint, |name| std::env::var(name).ok())?;
    let own = session_client().await;
    let keeper = match dialling.keep {
        Keep::File(path) => Keeper::File(path),
        Keep::Secret(name) => {
            let (client, namespace) = own.clone()?;
            Keeper::Secret {
                secrets: Box::new(kube::Api::namespaced(client, &namespace)),
                name,
            }
        }
    };
    let dial = Dial {
        agent,
        collector,
        keeper,
        token: dialling.token,
        reach: own.map(|(client, namespace)| Reach::new(client, namespace)),
    };
    Ok(dial.run(stop).await)
}

/// A client whose connections may be silent for as long as sessions are, and the namespace that this runs in.
async fn session_client() -> Result<(kube::Client, String), String> {
    let mut config = cluster::own_config().await?;
    cluster::configure(&mut config, TIMEOUT);
    config.read_timeout = None;
    let namespace = config.default_namespace.clone();
    let client = cluster::connect(config).map_err(|unknown| unknown.detail)?;
    Ok((client, namespace))
}
