//! The files in `fixtures/`.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Path of a file or folder in `fixtures/`.
pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(relative)
}

/// What Cilium's chart of one version puts into a cluster for one set of values.
#[derive(Clone, Debug, PartialEq)]
pub struct CiliumConfig {
    /// Cilium's version, e.g. `1.18.12`.
    pub version: String,
    /// What was set, e.g. `geneve`; `default` if nothing was.
    pub variant: String,
    /// The objects, as a `v1` `List`.
    pub objects: Value,
}

/// All recorded configurations of Cilium, by version and variant.
///
/// # Panics
/// When the repository lacks them.
pub fn cilium_configs() -> Vec<CiliumConfig> {
    let names = |folder: &Path| {
        let entries = folder.read_dir().expect("the repository holds the folder");
        let mut names: Vec<String> = entries
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .filter(|n| n != "README.md")
            .collect();
        names.sort();
        names
    };
    let folder = path("cilium-config");
    let mut configs = Vec::new();
    for version in names(&folder) {
        for file in names(&folder.join(&version)) {
            let text = std::fs::read(folder.join(&version).join(&file)).expect("the file was just listed");
            let objects = serde_json::from_slice(&text).expect("the repository holds JSON");
            let variant = file.trim_end_matches(".json").to_owned();
            configs.push(CiliumConfig {
                version: version.clone(),
                variant,
                objects,
            });
        }
    }
    configs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_server::Objects;

    #[test]
    fn every_recorded_configuration_can_be_put_into_a_cluster() {
        let configs = cilium_configs();
        assert_eq!(configs.len(), 166);
        for CiliumConfig {
            version,
            variant,
            objects,
        } in configs
        {
            let cluster = Objects::new().with(objects);
            let mut config_maps = cluster.list("/api/v1/namespaces/kube-system/configmaps").unwrap();
            let config = config_maps.next().unwrap();
            assert_eq!(config["metadata"]["name"], "cilium-config", "{version} {variant}");
            assert_eq!(config["data"]["cluster-name"], "east", "{version} {variant}");
        }
    }
}
