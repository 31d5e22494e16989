//! Kubeconfig files, found and joined as kubectl does it.

use std::io;
use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};
use prejoin_agent::proxy;
use prejoin_checks::facts::provenance::{Reason, Unknown};

/// Why a kubeconfig, or a context in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// There is none.
    #[error(
        "no kubeconfig: there is none in KUBECONFIG or ~/.kube/config, and this is no pod; name one with --kubeconfig, \
         or facts files with --facts"
    )]
    None,
    /// It cannot be read.
    #[error("kubeconfig {}: {message}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What went wrong, without anything that stands in the file.
        message: String,
    },
    /// It has no context of this name.
    #[error("there is no context `{context}` in the kubeconfig; there are: {available}")]
    NoSuchContext {
        /// The name asked for.
        context: String,
        /// The names that there are.
        available: String,
    },
    /// No context was asked for, and none is the current one.
    #[error("no --context was given and the kubeconfig has no current one; there are: {available}")]
    NoCurrentContext {
        /// The names that there are.
        available: String,
    },
}

/// The kubeconfig at `path`, or else the one that kubectl would find; `None` if there is none.
///
/// KUBECONFIG may name several files: they are joined, the first one to say something wins, and files that are not there
/// are passed over.
pub(super) fn find(path: Option<&Path>) -> Result<Option<Kubeconfig>, KubeconfigError> {
    if let Some(path) = path {
        return read(path).map(Some);
    }
    let listed: Vec<PathBuf> = std::env::var_os("KUBECONFIG")
        .map(|list| {
            std::env::split_paths(&list)
                .filter(|path| !path.as_os_str().is_empty())
                .collect()
        })
        .unwrap_or_default();
    let paths = if listed.is_empty() {
        std::env::home_dir()
            .map(|home| home.join(".kube/config"))
            .into_iter()
            .collect()
    } else {
        listed
    };
    let mut joined: Option<Kubeconfig> = None;
    for path in paths {
        let next = match path.try_exists() {
            Ok(false) => continue,
            _ => read(&path)?,
        };
        joined = Some(match joined {
            None => next,
            Some(first) => first.merge(next).map_err(|error| unreadable(&path, &error))?,
        });
    }
    Ok(joined)
}

fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    Kubeconfig::read_from(path).map_err(|error| unreadable(path, &error))
}

/// What is wrong with a kubeconfig, without showing what stands in it: that may be a key.
fn unreadable(path: &Path, error: &kube::config::KubeconfigError) -> KubeconfigError {
    use kube::config::KubeconfigError as E;
    let message = match error {
        E::ReadConfig(source, _) if source.kind() == io::ErrorKind::NotFound => "there is no such file".to_owned(),
        E::ReadConfig(source, _) => source.to_string(),
        E::Parse(error) => error.location().map_or_else(
            || "is no kubeconfig".to_owned(),
            |at| format!("is no kubeconfig: line {}, column {}", at.line(), at.column()),
        ),
        E::KindMismatch | E::ApiVersionMismatch => error.to_string(),
        _ => "is no kubeconfig".to_owned(),
    };
    KubeconfigError::Unreadable {
        file: path.to_owned(),
        message,
    }
}

/// The name of the context asked for, or of the current one.
pub(super) fn context(kubeconfig: &Kubeconfig, wanted: Option<&str>) -> Result<String, KubeconfigError> {
    let names = || {
        let names: Vec<&str> = kubeconfig
            .contexts
            .iter()
            .map(|context| context.name.as_str())
            .collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let Some(name) = wanted.or(current) else {
        return Err(KubeconfigError::NoCurrentContext { available: names() });
    };
    if kubeconfig.contexts.iter().any(|context| context.name == name) {
        Ok(name.to_owned())
    } else {
        Err(KubeconfigError::NoSuchContext {
            context: name.to_owned(),
            available: names(),
        })
    }
}

/// What a kubeconfig says of one context: those of hundreds of clusters are large, and each cluster takes its own.
pub(super) fn only(kubeconfig: &Kubeconfig, context: &str) -> Kubeconfig {
    let contexts = kubeconfig.contexts.iter().filter(|named| named.name == context);
    let named: Vec<_> = contexts.cloned().collect();
    let uses = |pick: fn(&kube::config::Context) -> Option<&String>, name: &String| {
        named
            .iter()
            .filter_map(|named| named.context.as_ref())
            .any(|context| pick(context) == Some(name))
    };
    let clusters = kubeconfig.clusters.iter();
    let users = kubeconfig.auth_infos.iter();
    Kubeconfig {
        clusters: clusters
            .filter(|cluster| uses(|context| Some(&context.cluster), &cluster.name))
            .cloned()
            .collect(),
        auth_infos: users
            .filter(|user| uses(|context| context.user.as_ref(), &user.name))
            .cloned()
            .collect(),
        contexts: named,
        ..Kubeconfig::default()
    }
}

/// Whether this runs in a pod that has a service account.
pub(super) fn in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// The client configuration of the pod's service account.
pub(super) fn in_cluster_config() -> Result<kube::Config, Unknown> {
    kube::Config::incluster().map_err(|error| unreachable(&error))
}

/// The client configuration of a context, and the name of its cluster entry.
pub(super) async fn client_config(
    kubeconfig: Kubeconfig,
    context: String,
) -> Result<(kube::Config, Option<String>), Unknown> {
    let cluster = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == context)
        .and_then(|named| named.context.as_ref())
        .map(|context| context.cluster.clone());
    let has_proxy = kubeconfig
        .clusters
        .iter()
        .filter_map(|named| named.cluster.as_ref())
        .any(|cluster| cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()));
    let options = KubeConfigOptions {
        context: Some(context),
        ..KubeConfigOptions::default()
    };
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| unreachable(&error))?;
    if !has_proxy {
        config.proxy_url = proxy::from_environment(&config.cluster_url, |name| std::env::var(name).ok());
    }
    Ok((config, cluster))
}

/// One line: the outermost message and the innermost cause.
fn unreachable(error: &dyn std::error::Error) -> Unknown {
    Unknown::new(Reason::Unreachable, format!("kubeconfig: {error}"))
}

/// For fuzzing: whatever stands in a kubeconfig, choosing a context of it does not panic.
pub(super) fn fuzz(text: &str) {
    let read = Kubeconfig::from_yaml(text).map_err(|error| unreadable(Path::new("fuzz"), &error));
    if let Ok(kubeconfig) = read
        && let Ok(context) = context(&kubeconfig, None)
    {
        let one = only(&kubeconfig, &context);
        assert!(
            one.contexts.iter().all(|named| named.name == context),
            "the context asked for and no other"
        );
    }
}
