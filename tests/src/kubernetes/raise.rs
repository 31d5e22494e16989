//! How clusters come up: keys first, then control planes and containerd, then kubelets, then pods' networks.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::components::PAUSE;
use super::handle::NodeHandle;
use super::orders::{Component, NodeSpec, Order};
use super::pki::{Authority, Subject};
use super::{Kubernetes, Outcome, RunningKubernetes};
use crate::lab::{Node, RunningLab, Site};

const API_PORT: u16 = 6443;
/// Longer than a cluster takes to get ready, on a machine that is busy.
const PATIENCE_SECONDS: u64 = 180;

impl RunningKubernetes {
    pub(super) fn raise(&mut self, wanted: &Kubernetes) -> anyhow::Result<()> {
        let pause = self.folder().join("pause.tar");
        self.programs.pack(PAUSE, &[&self.programs.path("pause")], &pause)?;
        let images = [&[pause], wanted.images.as_slice()].concat();

        let sites = self.lab.topology().sites.clone();
        let sites: Vec<Site> = sites
            .into_iter()
            .filter(|site| self.contexts.contains(&site.name))
            .collect();
        for site in &sites {
            let ranges = Ranges::of(site, wanted.dual_stack);
            self.make_keys(site, &ranges)?;
            for node in &site.nodes {
                let spec = self.spec(site, node, &ranges, wanted);
                let program = self.folder.program.to_str().context("the path is not UTF-8")?;
                let command = self.lab.command(&node.name, &[program, "node"])?;
                self.nodes.push(NodeHandle::start(spec, &command)?);
            }
        }
        let servers: Vec<String> = sites
            .iter()
            .map(|site| Ok(api_server(&self.lab, &site.name)?.to_string()))
            .collect::<anyhow::Result<_>>()?;
        write_kubeconfig(
            &self.kubeconfig(),
            self.folder(),
            &self.contexts.iter().zip(&servers).collect::<Vec<_>>(),
        )?;

        let is_first = |name: &str| sites.iter().any(|site| site.nodes[0].name == name);
        self.on_all_nodes(|node| {
            if is_first(node.name()) {
                node.ask(&Order::Start(Component::Etcd))?;
                node.ask(&Order::Start(Component::ApiServer))?;
            }
            if !wanted.kubelets {
                return Ok(());
            }
            node.ask(&Order::Start(Component::Containerd))?;
            node.ask(&Order::Import(images.clone()))
        })?;
        for context in &self.contexts {
            self.until_ready(context)?;
        }
        if !wanted.kubelets {
            return Ok(());
        }
        self.on_all_nodes(|node| {
            if is_first(node.name()) {
                node.ask(&Order::Start(Component::ControllerManager))?;
                node.ask(&Order::Start(Component::Scheduler))?;
            }
            node.ask(&Order::Start(Component::Kubelet))?;
            let site = sites
                .iter()
                .find(|site| site.nodes.iter().any(|of_site| of_site.name == node.name()));
            let context = &site.context("a node is of a site")?.name;
            node.ask(&Order::Network(self.pod_ranges(context, node.name())?))
        })?;
        let patience = format!("--timeout={PATIENCE_SECONDS}s");
        for context in &self.contexts {
            self.kubectl(context, &["wait", "--for=condition=Ready", "node", "--all", &patience])?;
            // What pods need before they are let in.
            for needed in ["serviceaccount/default", "configmap/kube-root-ca.crt"] {
                self.kubectl(
                    context,
                    &["wait", "--for=create", needed, "--namespace=default", &patience],
                )?;
            }
        }
        Ok(())
    }

    fn on_all_nodes(&self, what: impl Fn(&NodeHandle) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            let at_work: Vec<_> = self.nodes.iter().map(|node| scope.spawn(|| what(node))).collect();
            at_work
                .into_iter()
                .try_for_each(|thread| thread.join().expect("what is done on nodes does not panic"))
        })
    }

    /// Waits until the API server is ready for everything; nothing can be watched before.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn until_ready(&self, context: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(PATIENCE_SECONDS);
        loop {
            let mut command = self.at_desk("kubectl")?;
            command.args(["--context", context, "get", "--raw", "/readyz"]);
            let outcome = Outcome::of(command)?;
            if outcome.code == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the API server of {context} does not get ready: {}", outcome.stderr);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The ranges that the controllers gave a node for its pods.
    fn pod_ranges(&self, context: &str, node: &str) -> anyhow::Result<Vec<String>> {
        let (node, patience) = (format!("node/{node}"), format!("--timeout={PATIENCE_SECONDS}s"));
        self.kubectl(context, &["wait", "--for=create", &node, &patience])?;
        self.kubectl(context, &["wait", "--for=jsonpath={.spec.podCIDR}", &node, &patience])?;
        let found = self.kubectl(context, &["get", &node, "--output=jsonpath={.spec.podCIDRs[*]}"])?;
        Ok(found.split_whitespace().map(str::to_owned).collect())
    }

    fn make_keys(&self, site: &Site, ranges: &Ranges) -> anyhow::Result<()> {
        let authority = Authority::new(&self.folder().join(&site.name))?;
        let first = site.nodes.first().context("a cluster has a node")?;
        let mut names: Vec<String> = first.addresses().iter().map(ToString::to_string).collect();
        names.extend(["127.0.0.1".to_owned(), ranges.kubernetes_service.to_string()]);
        let service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        names.extend(service.map(str::to_owned));
        let issue = |file: &str, name: &str, group: Option<&str>, answers_to: Vec<String>| {
            authority.issue(Subject {
                file,
                name,
                group,
                answers_to,
            })
        };
        let masters = Some("system:masters");
        issue("api-server", "kube-apiserver", None, names)?;
        issue(
            "api-server-kubelet-client",
            "kube-apiserver-kubelet-client",
            masters,
            Vec::new(),
        )?;
        issue("controller-manager", "system:kube-controller-manager", None, Vec::new())?;
        issue("scheduler", "system:kube-scheduler", None, Vec::new())?;
        issue("admin", "admin", masters, Vec::new())?;
        for node in &site.nodes {
            let name = format!("system:node:{}", node.name);
            let addresses = node.addresses().iter().map(ToString::to_string).collect();
            issue(&node.name, &name, Some("system:nodes"), addresses)?;
        }
        Ok(())
    }

    fn spec(&self, site: &Site, node: &Node, ranges: &Ranges, wanted: &Kubernetes) -> NodeSpec {
        let addresses: Vec<String> = node.addresses().iter().map(ToString::to_string).collect();
        NodeSpec {
            name: node.name.clone(),
            addresses: addresses.join(","),
            zone: node.zone.clone(),
            api_server: SocketAddr::from((site.nodes[0].ipv4, API_PORT)).to_string(),
            pod_ranges: ranges.pods.clone(),
            service_ranges: ranges.services.clone(),
            kubernetes_service: ranges.kubernetes_service,
            streaming_idle: wanted.streaming_idle,
            controlled: wanted.kubelets,
            cgroup: format!("{}/{}", self.folder.name, node.name),
            pki: self.folder().join(&site.name),
            logs: self.folder().join("logs"),
            programs: self.programs.clone(),
        }
    }
}

/// The ranges of a cluster, apart from those of all others, and as the recorded clusters have them.
struct Ranges {
    pods: String,
    services: String,
    kubernetes_service: Ipv4Addr,
}

impl Ranges {
    fn of(site: &Site, dual_stack: bool) -> Self {
        let number = site.number;
        let both = |v4: String, v6: String| if dual_stack { format!("{v4},{v6}") } else { v4 };
        Self {
            pods: both(format!("10.{}.0.0/16", 10 * number), format!("fd10:{number}::/48")),
            services: both(format!("10.{}.0.0/16", 96 + number), format!("fd20:{number}::/112")),
            kubernetes_service: Ipv4Addr::new(10, 96 + number, 0, 1),
        }
    }
}

/// Where a cluster's API server is.
pub(super) fn api_server(lab: &RunningLab, cluster: &str) -> anyhow::Result<SocketAddr> {
    let site = lab.topology().sites.iter().find(|site| site.name == cluster);
    let node = site.and_then(|site| site.nodes.first());
    let node = node.with_context(|| format!("there is no cluster {cluster}"))?;
    Ok((node.ipv4, API_PORT).into())
}

/// Writes a kubeconfig with a context for each cluster, as its administrator.
pub(super) fn write_kubeconfig(path: &Path, folder: &Path, clusters: &[(&String, &String)]) -> anyhow::Result<()> {
    let file = |cluster: &str, name: &str| folder.join(cluster).join(name).display().to_string();
    let named = |name: &str, kind: &str, what: Value| json!({ "name": name, kind: what });
    let servers = clusters.iter().map(|(name, server)| {
        let cluster = json!({
            "server": format!("https://{server}"),
            "certificate-authority": file(name, "ca.crt"),
        });
        named(name, "cluster", cluster)
    });
    let users = clusters.iter().map(|(name, _)| {
        let user = json!({
            "client-certificate": file(name, "admin.crt"),
            "client-key": file(name, "admin.key"),
        });
        named(&format!("{name}-admin"), "user", user)
    });
    let contexts = clusters.iter().map(|(name, _)| {
        let context = json!({ "cluster": name, "user": format!("{name}-admin") });
        named(name, "context", context)
    });
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": servers.collect::<Vec<_>>(),
        "users": users.collect::<Vec<_>>(),
        "contexts": contexts.collect::<Vec<_>>(),
        "current-context": clusters.first().map(|(name, _)| name),
    });
    Ok(std::fs::write(path, serde_json::to_string_pretty(&config)?)?)
}
