//! The mesh's own objects that need no Secret: whom it lets in, and which names it was given addresses for.

use std::collections::BTreeMap;
use std::sync::Arc;

use prejoin_checks::facts::cilium::Mesh;
use prejoin_checks::facts::provenance::{Known, Source, Unknown};
use serde::Deserialize;

use super::{component, map_named};
use crate::cluster::config_map::ConfigMaps;
use crate::cluster::workloads::{Found, Workloads};

pub(super) fn read(maps: &Result<Arc<ConfigMaps>, Unknown>, agent: Option<&Found>, workloads: &Workloads) -> Mesh {
    Mesh {
        remote_users: remote_users(maps).into(),
        host_aliases: host_aliases(agent, workloads).into(),
    }
}

fn remote_users(maps: &Result<Arc<ConfigMaps>, Unknown>) -> Result<Known<Vec<String>>, Unknown> {
    #[derive(Default, Deserialize)]
    struct Users {
        #[serde(default)]
        users: Option<Vec<User>>,
    }
    #[derive(Deserialize)]
    struct User {
        name: String,
    }
    let map = map_named(maps, "clustermesh-remote-users")?;
    let users = map.yaml::<Option<Users>>("users.yaml")?.unwrap_or_default().users;
    let mut names: Vec<String> = users.into_iter().flatten().map(|user| user.name).collect();
    names.sort_unstable();
    Ok(Known::new(names, map.source("users.yaml")))
}

fn host_aliases(agent: Option<&Found>, workloads: &Workloads) -> Result<Known<BTreeMap<String, Vec<String>>>, Unknown> {
    let Some(agent) = agent else {
        return Err(workloads
            .daemon_sets
            .as_ref()
            .err()
            .cloned()
            .unwrap_or_else(|| Unknown::not_found("no agent")));
    };
    let deployments = workloads.deployments.as_ref().map_err(Unknown::clone)?;
    let mesh = deployments.iter().filter(|found| {
        found.workload.namespace == agent.workload.namespace
            && component(&found.workload) == Some("clustermesh-apiserver")
    });
    let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in std::iter::once(agent).chain(mesh) {
        for (name, addresses) in &found.host_aliases {
            let known = aliases.entry(name.clone()).or_default();
            known.extend(addresses.iter().cloned());
            known.sort_unstable();
            known.dedup();
        }
    }
    let source = format!("{} and Deployment clustermesh-apiserver", agent.workload.object());
    Ok(Known::new(
        aliases,
        Source::read(source, "spec.template.spec.hostAliases"),
    ))
}

#[cfg(test)]
mod tests {
    use prejoin_checks::facts::provenance::Reason;

    use super::*;

    fn users(yaml: &str) -> Result<Vec<String>, Unknown> {
        let mut maps = ConfigMaps::default();
        let map = serde_json::json!({"metadata": {"name": "clustermesh-remote-users", "namespace": "kube-system"}, "data": {"users.yaml": yaml}});
        maps.keep(serde_json::from_value(map).unwrap()).unwrap();
        remote_users(&Ok(Arc::new(maps))).map(|known| known.value)
    }

    #[test]
    fn users_are_those_of_listed_peers() {
        let yaml = "users:\n  - name: remote-west\n    role: remote\n  - name: remote-north\n    role: remote\n";
        assert_eq!(users(yaml).unwrap(), ["remote-north", "remote-west"]);
        assert!(users("users:\n").unwrap().is_empty());
        assert_eq!(users("users: 7").unwrap_err().reason, Reason::Unparsable);
    }

    #[test]
    fn without_the_config_map_there_is_no_list() {
        let unknown = remote_users(&Ok(Arc::default())).unwrap_err();
        assert_eq!(unknown.reason, Reason::NotFound);
    }
}
