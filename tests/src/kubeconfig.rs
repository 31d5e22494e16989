//! Kubeconfig files that lead to the servers of a test, or astray.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A kubeconfig under construction: one context per cluster, each with a user of its own.
///
/// ```
/// # use prejoin_tests::kubeconfig::{Kubeconfig, User};
/// let file = Kubeconfig::new()
///     .context("east", "http://127.0.0.1:40001", User::Token("t".into()))
///     .context("west", "http://127.0.0.1:40002", User::ExecPlugin { command: "no-such-plugin".into() })
///     .write();
/// assert!(file.path().exists());
/// ```
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    clusters: Vec<Value>,
    users: Vec<Value>,
    contexts: Vec<Value>,
    current: Option<String>,
    certificates: Vec<(String, String)>,
}

/// How a context authenticates.
#[derive(Clone, Debug)]
pub enum User {
    /// A bearer token.
    Token(String),
    /// A bearer token in a file.
    TokenFile(PathBuf),
    /// A credential plugin: a command that prints an `ExecCredential`.
    ExecPlugin {
        /// Name or path of the command.
        command: String,
    },
    /// A user without credentials.
    Anonymous,
    /// A user that the context names and the file does not define.
    Undefined,
    /// Anything else, as the `user` of a kubeconfig has it.
    Other(Value),
}

impl Default for Kubeconfig {
    fn default() -> Self {
        Self::new()
    }
}

impl Kubeconfig {
    /// One without any context.
    pub fn new() -> Self {
        Self {
            clusters: Vec::new(),
            users: Vec::new(),
            contexts: Vec::new(),
            current: None,
            certificates: Vec::new(),
        }
    }

    /// Adds a context, with a cluster of the same name at `url` and a user `NAME-user`.
    #[must_use]
    pub fn context(self, name: &str, url: &str, user: User) -> Self {
        self.context_with_cluster(name, &json!({ "server": url }), user)
    }

    /// Adds a context that trusts only this certificate, which is written beside the file.
    #[must_use]
    pub fn context_trusting(mut self, name: &str, url: &str, certificate_pem: &str, user: User) -> Self {
        let file = format!("{name}-ca.crt");
        let cluster = json!({ "server": url, "certificate-authority": file });
        self.certificates.push((file, certificate_pem.to_owned()));
        self.context_with_cluster(name, &cluster, user)
    }

    /// Adds a context whose `cluster` says more than its server, e.g. `insecure-skip-tls-verify`.
    #[must_use]
    pub fn context_with_cluster(mut self, name: &str, cluster: &Value, user: User) -> Self {
        self.clusters.push(json!({ "name": name, "cluster": cluster }));
        self.context_of_undefined_cluster(name, user)
    }

    /// Adds a context that names a cluster of the same name, which stays undefined.
    #[must_use]
    pub fn context_of_undefined_cluster(mut self, name: &str, user: User) -> Self {
        let user_name = format!("{name}-user");
        self.contexts
            .push(json!({ "name": name, "context": { "cluster": name, "user": user_name } }));
        let user = match user {
            User::Token(token) => json!({ "token": token }),
            User::TokenFile(file) => json!({ "tokenFile": file }),
            User::ExecPlugin { command } => json!({ "exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never",
            } }),
            User::Anonymous => json!({}),
            User::Undefined => return self,
            User::Other(user) => user,
        };
        self.users.push(json!({ "name": user_name, "user": user }));
        self
    }

    /// Names the current context, which need not exist. Without this there is none.
    #[must_use]
    pub fn current(mut self, name: &str) -> Self {
        self.current = Some(name.to_owned());
        self
    }

    /// The file's content: JSON, and thereby YAML.
    pub fn to_json(&self) -> Value {
        let mut config = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": self.clusters, "users": self.users, "contexts": self.contexts,
        });
        if let Some(current) = &self.current {
            config["current-context"] = json!(current);
        }
        config
    }

    /// Writes the file into a new temporary directory, which is removed when the result is dropped.
    ///
    /// # Panics
    /// When the temporary directory cannot be written to.
    pub fn write(&self) -> KubeconfigFile {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("kubeconfig.yaml");
        for (file, pem) in &self.certificates {
            std::fs::write(directory.path().join(file), pem).expect("a temporary file can be written");
        }
        std::fs::write(&path, format!("{:#}\n", self.to_json())).expect("a temporary file can be written");
        KubeconfigFile {
            path,
            _directory: directory,
        }
    }
}

/// A kubeconfig on disk for as long as this lives.
#[derive(Debug)]
pub struct KubeconfigFile {
    path: PathBuf,
    _directory: TempDir,
}

impl KubeconfigFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
