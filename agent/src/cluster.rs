//! Reads a Kubernetes API into [`ClusterFacts`].
//!
//! [`read_cluster`] never fails as a whole: what could not be read is a [`Fact::Unknown`] that says why, and
//! [`ClusterFacts::reads`] lists every request. It sends nothing but GET requests, and none for a Secret unless
//! [`ReadOptions::read_secrets`] says so.
//!
//! # How to add a source
//!
//! 1. Name the resource and the reason for reading it in [`permissions`]: what is not in that table cannot be asked
//!    for, and the ClusterRole in `manifests/rbac` is made from it (`UPDATE=1 cargo test -p prejoin-agent rbac`).
//! 2. Write one file with minimal serde structs of the fields that matter and one
//!    `pub(crate) async fn read(reader: &Reader<'_>, ...) -> Fact<...>`: [`Reader::list`] pages and reduces,
//!    [`Reader::get`] reads one object, [`Reader::config_maps`] the ConfigMaps of one namespace, [`Reader::serves`]
//!    answers whether a resource is there at all. Turn every failure into the fact with `?`-like conversion
//!    (`Fact::from(result)`); never a default value.
//! 3. Call it in [`read_cluster`], beside the others.
//!
//! `namespaces.rs` is the smallest example, `nodes.rs` one with a reduction of its own.

mod blocks;
mod cilium;
mod cni;
mod config_map;
mod control_plane;
mod dns;
mod failure;
mod kube_proxy;
mod load_balancers;
mod mcs;
mod namespaces;
mod network_policies;
mod nodes;
mod object;
mod own_namespace;
mod page;
pub mod permissions;
mod plugins;
mod pods;
mod reader;
mod service_cidrs;
mod services;
mod submariner;
mod transport;
mod workloads;

use std::sync::Arc;
use std::time::Duration;

use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::dns::Dns;
use prejoin_checks::facts::provenance::{Fact, Reason, Source, Unknown};
use prejoin_checks::facts::submariner::Submariner;

pub use failure::client_failure;
pub use own_namespace::remove_own_namespace;
pub(crate) use reader::Reader;
use workloads::Workloads;

/// What to read and how patiently.
#[derive(Clone)]
pub struct ReadOptions {
    /// Whether the few Secrets with certificates and keys are read, and reduced to fingerprints.
    pub read_secrets: bool,
    /// How long the cluster may take. Every page of a long list that arrives starts the time anew (up to ten times in
    /// all), so that a large cluster is read whole while one that hangs costs no more than this.
    pub timeout: Duration,
    /// Objects per page of a list.
    pub page_size: u32,
    /// The address of the API server, as the client's configuration has it.
    pub api_server: Option<http::Uri>,
    /// Whether that configuration is what a pod is given with its service account, and no kubeconfig.
    pub inside: bool,
    /// The cluster's name in the kubeconfig.
    pub kubeconfig_cluster: Option<String>,
    /// Is told about every answer.
    pub progress: Option<ProgressFn>,
}

/// Is told about every answer; called from the reading task, so it must not block.
pub type ProgressFn = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// One step of reading a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What was asked for, as in [`Read::request`](prejoin_checks::facts::Read::request).
    pub request: &'a str,
    /// Objects read for it so far.
    pub objects: u64,
    /// Whether nothing more will come of this request.
    pub done: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            read_secrets: false,
            timeout: Duration::from_secs(30),
            page_size: 500,
            api_server: None,
            inside: false,
            kubeconfig_cluster: None,
            progress: None,
        }
    }
}

impl ReadOptions {
    /// How long one answer may be silent: a third of the whole, so that one hanging request does not cost the others.
    fn silence(&self) -> Duration {
        self.timeout / 3
    }
}

/// Sets up a client configuration for an audit.
///
/// The client's own retries are off (they repeat for minutes and obey any `Retry-After`), and nothing waits for ever.
pub fn configure(config: &mut kube::Config, timeout: Duration) {
    let silence = timeout / 3;
    config.default_retry = false;
    config.connect_timeout = Some(silence);
    config.read_timeout = Some(silence);
    config.write_timeout = Some(silence);
    config.reset_reader_on_write = true;
}

/// The configuration of the cluster that this runs in: a pod's service account, unless `KUBECONFIG` names a file. Says in one line why there
/// is none.
pub async fn own_config() -> Result<kube::Config, String> {
    if std::env::var_os("KUBECONFIG").is_none_or(|path| path.is_empty()) {
        return kube::Config::incluster().map_err(|error| format!("no service account to read the API with: {error}"));
    }
    let reading = kube::config::Kubeconfig::from_env().map_err(|error| format!("KUBECONFIG: {error}"))?;
    let reading = reading.ok_or_else(|| "KUBECONFIG names no file".to_owned())?;
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(reading, &options).await;
    config.map_err(|error| format!("KUBECONFIG: {error}"))
}

/// Makes a client from a configuration set up by [`configure`], or says in one line why that is not possible.
pub fn connect(config: kube::Config) -> Result<kube::Client, Unknown> {
    kube::Client::try_from(config).map_err(|error| client_failure(&error))
}

/// Reads everything that needs no agent from one cluster.
///
/// `client` should come from a configuration that [`configure`] has set up.
pub async fn read_cluster(client: kube::Client, name: impl Into<String>, options: ReadOptions) -> ClusterFacts {
    // So many sources at once make a large future: callers that hold many clusters get a small one.
    Box::pin(read(client, name.into(), options)).await
}

async fn read(client: kube::Client, name: String, options: ReadOptions) -> ClusterFacts {
    let reader = Reader::new(client, &options);
    let (version, served) = tokio::join!(reader.version(), reader.served_apis());
    if let (Err(version), Err(served)) = (&version, &served)
        && version.reason == Reason::Unreachable
        && served.reason == Reason::Unreachable
    {
        return finish(ClusterFacts::unread(name, version), &reader, &options);
    }
    let unread = Unknown::not_found("not read yet");
    let mut facts = ClusterFacts::unread(name, &unread);
    facts.kubernetes_version = version.map_or_else(Fact::Unknown, |version| {
        Fact::known(version, Source::read("/version", "gitVersion"))
    });
    facts.served_apis = served.map_or_else(Fact::Unknown, |served| Fact::known(served, Source::read("/apis", "")));
    // The long lists of pods and endpoints run side by side; what needs both comes after.
    let workloads_and_plugins = async {
        let workloads = Workloads::read(&reader).await;
        let cilium = Box::pin(cilium::gather(&reader, &workloads));
        let (cilium, cni, (submariner, dns)) = tokio::join!(
            cilium,
            cni::read(&reader, &workloads),
            submariner_and_dns(&reader, &workloads)
        );
        (workloads, cilium, cni, submariner, dns)
    };
    let node_configs_and_nodes = async {
        let node_configs = cilium::node_configs(&reader).await;
        let nodes = nodes::read(&reader, &cilium::selector_keys(&node_configs)).await;
        (node_configs, nodes)
    };
    let (pods, workloads, cilium, (node_configs, nodes), namespaces);
    (
        pods,
        (workloads, cilium, facts.cni, facts.submariner, facts.dns),
        (node_configs, nodes),
        namespaces,
        facts.services,
        facts.service_cidrs,
        facts.control_plane.kubeadm,
        facts.control_plane.openshift_network,
        facts.load_balancer_pools,
        facts.mcs,
    ) = tokio::join!(
        pods::read(&reader),
        workloads_and_plugins,
        node_configs_and_nodes,
        namespaces::read(&reader),
        services::read(&reader),
        service_cidrs::read(&reader),
        control_plane::kubeadm(&reader),
        control_plane::openshift_network(&reader),
        load_balancers::read(&reader),
        mcs::read(&reader),
    );
    facts.kube_proxy = kube_proxy::read(&reader, &workloads, &pods).await;
    facts.uid = namespaces.uid;
    facts.namespaces = namespaces.namespaces;
    facts.nodes = nodes;
    facts.workloads = workloads.fact();
    let traces = [
        cilium.trace(&facts.served_apis),
        plugins::embedded_flannel(&facts.nodes, &workloads),
        plugins::calico_config(&reader).await,
    ];
    facts.cni.plugins = plugins::read(&workloads, traces.into_iter().flatten().collect());
    facts.cilium = cilium.into_fact(node_configs, &facts.nodes, &pods);
    (
        facts.pods,
        facts.control_plane.api_server_flags,
        facts.control_plane.controller_manager_flags,
    ) = pods::facts(&pods, pods::are_the_range(&facts));
    finish(facts, &reader, &options)
}

/// Submariner may have been told to keep its part of the DNS configuration in a ConfigMap of its own.
async fn submariner_and_dns(reader: &Reader<'_>, workloads: &Workloads) -> (Fact<Submariner>, Fact<Dns>) {
    let submariner = Box::pin(submariner::read(reader, workloads)).await;
    let config = submariner.ok().and_then(|submariner| submariner.config.ok());
    let custom = config.map(|config| config.coredns_custom_config.as_str());
    let operator = config.map(|config| config.namespace.as_str());
    let dns = dns::read(reader, workloads, custom, operator).await;
    (submariner, dns)
}

/// Adds what is known without asking the cluster, and the list of requests.
fn finish(mut facts: ClusterFacts, reader: &Reader<'_>, options: &ReadOptions) -> ClusterFacts {
    facts.collected_at = Some(jiff::Timestamp::now());
    env!("CARGO_PKG_VERSION").clone_into(&mut facts.collected_by);
    facts.api_server = options.api_server.as_ref().map_or_else(
        || Fact::unknown(Reason::NotFound, "read without a kubeconfig"),
        |uri| {
            let source = if options.inside {
                Source::read("service account's environment", "KUBERNETES_SERVICE_HOST")
            } else {
                Source::read("kubeconfig", "clusters[].cluster.server")
            };
            Fact::known(host_and_port(uri), source)
        },
    );
    facts.kubeconfig_cluster = options.kubeconfig_cluster.as_ref().map_or_else(
        || Fact::unknown(Reason::NotFound, "read without a kubeconfig"),
        |cluster| {
            Fact::known(
                cluster.clone(),
                Source::read("kubeconfig", "contexts[].context.cluster"),
            )
        },
    );
    facts.reads = reader.reads();
    facts
}

/// `host:port` of an API server's address: no path, no credentials.
fn host_and_port(uri: &http::Uri) -> String {
    let port = uri
        .port_u16()
        .unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    format!("{}:{port}", uri.host().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_server_holds_no_credentials_and_no_path() {
        let uri: http::Uri = "https://user:pass@api.example.com/k8s/clusters/c-1".parse().unwrap();
        assert_eq!(host_and_port(&uri), "api.example.com:443");
        let uri: http::Uri = "https://[fd00::1]:6443".parse().unwrap();
        assert_eq!(host_and_port(&uri), "[fd00::1]:6443");
    }

    #[test]
    fn an_audit_client_neither_retries_by_itself_nor_waits_for_ever() {
        let mut config = kube::Config::new("https://127.0.0.1:1".parse().unwrap());
        configure(&mut config, Duration::from_secs(30));
        assert!(!config.default_retry);
        assert_eq!(config.read_timeout, Some(Duration::from_secs(10)));
        assert_eq!(config.connect_timeout, Some(Duration::from_secs(10)));
    }
}
