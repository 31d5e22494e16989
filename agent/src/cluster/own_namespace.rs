//! The one thing that is ever removed from inside a cluster: the namespace of a run whose deadline has come.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Preconditions};

use super::{client_failure, configure, connect};

/// The label of a namespace that was made for one audit.
const RUN: &str = "prejoin.dev/run";

/// Removes the namespace that this runs in, if it was made for one audit; says in one line why it could not.
pub async fn remove_own_namespace(timeout: Duration) -> Result<(), String> {
    let mut config = kube::Config::incluster().map_err(|error| format!("no service account: {error}"))?;
    let name = config.default_namespace.clone();
    configure(&mut config, timeout);
    let client = connect(config).map_err(|unknown| unknown.detail)?;
    remove(client, &name).await
}

async fn remove(client: kube::Client, name: &str) -> Result<(), String> {
    let failed =
        |doing: &str, error: &kube::Error| format!("{doing} namespace {name}: {}", client_failure(error).detail);
    let namespaces: Api<Namespace> = Api::all(client);
    let namespace = namespaces.get(name).await.map_err(|error| failed("get", &error))?;
    if !is_of_a_run(&namespace) {
        return Err(format!(
            "namespace {name} was not made for one audit (it has no label {RUN})"
        ));
    }
    let params = DeleteParams::background().preconditions(Preconditions {
        uid: namespace.metadata.uid,
        resource_version: None,
    });
    namespaces
        .delete(name, &params)
        .await
        .map_err(|error| failed("delete", &error))?;
    Ok(())
}

fn is_of_a_run(namespace: &Namespace) -> bool {
    let labels = namespace.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(RUN))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_a_namespace_of_a_run_may_go() {
        let mut namespace = Namespace::default();
        assert!(!is_of_a_run(&namespace));
        namespace.metadata.labels = Some(BTreeMap::from([(RUN.to_owned(), "4f2a91c0".to_owned())]));
        assert!(is_of_a_run(&namespace));
    }
}
