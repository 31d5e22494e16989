//! Kubeconfigs like the suite's own, with something changed.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::suite::Suite;

/// A kubeconfig of a test's own.
pub(super) struct Config {
    folder: TempDir,
    content: Value,
}

impl Suite {
    /// What `kubectl` knows of all clusters.
    pub(super) fn config(&self) -> Config {
        let content = self.kubectl(&self.contexts()[0], &["config", "view", "--raw", "--output=json"]);
        Config::of(serde_json::from_str(&content).unwrap())
    }

    /// The same, as it serves outside of the lab.
    pub(super) fn local_config(&self) -> Config {
        match self.local_kubeconfig() {
            Some(path) => Config::of(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()),
            None => self.config(),
        }
    }
}

impl Config {
    fn of(content: Value) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            content,
        }
    }

    /// A context's entry of one kind (`cluster`, `user`), to be changed.
    fn entry(&mut self, context: &str, kind: &str) -> &mut Value {
        let contexts = self.content["contexts"].as_array().unwrap();
        let named = contexts.iter().find(|named| named["name"] == context).unwrap();
        let name = named["context"][kind].clone();
        let entries = self.content[format!("{kind}s")].as_array_mut().unwrap();
        let entry = entries.iter_mut().find(|entry| entry["name"] == name).unwrap();
        &mut entry[kind]
    }

    /// How a context's cluster is reached.
    pub(super) fn cluster(&mut self, context: &str) -> &mut Value {
        self.entry(context, "cluster")
    }

    /// As whom.
    pub(super) fn user(&mut self, context: &str) -> &mut Value {
        self.entry(context, "user")
    }

    /// A further context, with the user of another.
    pub(super) fn add(&mut self, context: &str, server: &str, like: &str) {
        let mut cluster = self.cluster(like).clone();
        cluster["server"] = json!(server);
        let user = self.user(like).clone();
        let mut push = |list: &str, entry: Value| self.content[list].as_array_mut().unwrap().push(entry);
        push("clusters", json!({ "name": context, "cluster": cluster }));
        push("users", json!({ "name": context, "user": user }));
        push(
            "contexts",
            json!({ "name": context, "context": { "cluster": context, "user": context } }),
        );
    }

    /// The folder it lies in.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes it, and gives its path.
    pub(super) fn write(&self) -> PathBuf {
        let path = self.folder.path().join("kubeconfig");
        std::fs::write(&path, self.content.to_string()).unwrap();
        path
    }
}
