//! Discovery documents: recorded ones, completed with what was added; derived ones where none was recorded.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::objects::{Objects, Scope};
use super::path::ApiPath;

impl Objects {
    /// The document at `path`, if that is a discovery document of something that is served.
    pub(super) fn document(&self, path: &str) -> Option<Value> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        match segments.as_slice() {
            ["api"] => Some(self.recorded_or(
                path,
                || json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }),
            )),
            ["apis"] => Some(self.groups()),
            ["apis", group] => {
                let mut document = self.groups()["groups"]
                    .as_array()?
                    .iter()
                    .find(|g| g["name"] == **group)?
                    .clone();
                document["kind"] = json!("APIGroup");
                document["apiVersion"] = json!("v1");
                Some(document)
            }
            ["api", version] => self.resources(path, version),
            ["apis", group, version] => self.resources(path, &format!("{group}/{version}")),
            _ => self.documents.get(path).cloned(),
        }
    }

    /// Whether discovery lists this group and version, recorded or not.
    pub(super) fn serves(&self, path: &ApiPath) -> bool {
        let api_version = path.api_version();
        if path.group.is_empty() {
            return api_version == "v1";
        }
        let groups = self.groups();
        let versions = groups["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|g| g["versions"].as_array());
        versions.flatten().any(|v| v["groupVersion"] == *api_version)
    }

    fn recorded_or(&self, path: &str, derive: impl FnOnce() -> Value) -> Value {
        self.documents.get(path).cloned().unwrap_or_else(derive)
    }

    fn groups(&self) -> Value {
        let mut document = self.recorded_or(
            "/apis",
            || json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
        );
        let mut versions_by_group: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for collection in self.collections.values() {
            if let Some((group, version)) = collection.api_version.split_once('/') {
                let versions = versions_by_group.entry(group).or_default();
                if !versions.contains(&version) {
                    versions.push(version);
                }
            }
        }
        let Some(groups) = document["groups"].as_array_mut() else {
            return document;
        };
        for (name, mut versions) in versions_by_group {
            versions.sort_by_key(|v| (v.contains("alpha"), v.contains("beta"), std::cmp::Reverse(*v)));
            let described = |version: &&str| json!({ "groupVersion": format!("{name}/{version}"), "version": version });
            if let Some(group) = groups.iter_mut().find(|g| g["name"] == *name) {
                let listed = group["versions"].as_array_mut().into_iter();
                for listed in listed {
                    for version in &versions {
                        if !listed.iter().any(|v| v["version"] == **version) {
                            listed.push(described(version));
                        }
                    }
                }
            } else {
                let listed: Vec<Value> = versions.iter().map(described).collect();
                groups.push(json!({ "name": name, "preferredVersion": listed[0], "versions": listed }));
            }
        }
        document
    }

    fn resources(&self, path: &str, api_version: &str) -> Option<Value> {
        let mut document = self.recorded_or(
            path,
            || json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": [] }),
        );
        let resources = document["resources"].as_array_mut()?;
        for (key, collection) in self.collections.iter().filter(|(_, c)| c.api_version == api_version) {
            let resource = ApiPath::parse(key)?.resource;
            if !resources.iter().any(|r| r["name"] == *resource) {
                resources.push(json!({
                    "name": resource,
                    "singularName": collection.kind.to_lowercase(),
                    "namespaced": collection.scope == Scope::Namespaced,
                    "kind": collection.kind,
                    "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                }));
            }
        }
        let served = !resources.is_empty();
        served.then_some(document)
    }

    /// Takes a resource, a version or a group out of the recorded documents; tells whether one named it.
    pub(super) fn forget_in_documents(&mut self, path: &str) -> bool {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut forgotten = false;
        let mut retain = |list: Option<&mut Vec<Value>>, keep: &dyn Fn(&Value) -> bool| {
            if let Some(list) = list {
                let before = list.len();
                list.retain(keep);
                forgotten |= list.len() < before;
            }
        };
        match segments.as_slice() {
            ["apis", group] => {
                if let Some(document) = self.documents.get_mut("/apis") {
                    retain(document["groups"].as_array_mut(), &|g| g["name"] != **group);
                }
            }
            ["apis", group, version] => {
                let Some(groups) = self.documents.get_mut("/apis").and_then(|d| d["groups"].as_array_mut()) else {
                    return false;
                };
                for listed in groups.iter_mut().filter(|g| g["name"] == **group) {
                    retain(listed["versions"].as_array_mut(), &|v| v["version"] != **version);
                    if listed["preferredVersion"]["version"] == **version {
                        listed["preferredVersion"] = listed["versions"][0].clone();
                    }
                }
                retain(Some(groups), &|g| {
                    g["versions"].as_array().is_none_or(|v| !v.is_empty())
                });
            }
            _ => {
                if let Some(api_path) = ApiPath::parse(path)
                    && let Some(document) = self.documents.get_mut(&api_path.group_version_path())
                {
                    let subresources = format!("{}/", api_path.resource);
                    retain(document["resources"].as_array_mut(), &|r| {
                        let name = r["name"].as_str().unwrap_or_default();
                        name != api_path.resource && !name.starts_with(&subresources)
                    });
                }
            }
        }
        forgotten
    }
}
