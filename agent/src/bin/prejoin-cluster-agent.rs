//! The cluster agent: reads a cluster's API with its service account, probes from the pod network.

use std::process::ExitCode;
use std::time::Duration;

use prejoin_agent::cluster::{self, ReadOptions};
use prejoin_agent::program::{self, ClusterApi};
use prejoin_agent::protocol::Role;
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
        }),
    )
}

/// Reads the cluster that this runs in. The client reads the service account's token anew when it changes.
async fn read(name: String, read_secrets: bool) -> ClusterFacts {
    let mut config = match kube::Config::incluster() {
        Ok(config) => config,
        Err(error) => {
            let unknown = Unknown::new(
                Reason::Unreachable,
                format!("no service account to read the API with: {error}"),
            );
            return ClusterFacts::unread(name, &unknown);
        }
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
