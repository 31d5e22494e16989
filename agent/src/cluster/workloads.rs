//! DaemonSets and Deployments: what runs, in which version, and how it was told to.

use std::collections::BTreeMap;

use prejoin_checks::facts::kubernetes::{Container, Workload};
use prejoin_checks::facts::provenance::{Fact, Known, Source, Unknown};
use serde::Deserialize;
use serde_json::Value;

use super::object::{Meta, or_default, pick_by};
use super::permissions::{DAEMON_SETS, DEPLOYMENTS, Resource};
use super::reader::{Reader, Scope};

/// Parts of names and images by which networking products are known: their arguments are kept, and their Deployments.
const PRODUCTS: &[&str] = &[
    "anetd",
    "antrea",
    "aws-node",
    "azure-cni",
    "azure-ip-masq-agent",
    "calico",
    "canal",
    "cilium",
    "clustermesh",
    "coredns",
    "dns-default",
    "dns-operator",
    "flannel",
    "hubble",
    "ip-masq-agent",
    "kindnet",
    "konnectivity",
    "kube-dns",
    "kube-ovn",
    "kube-proxy",
    "kube-router",
    "lighthouse",
    "local-dns",
    "localdns",
    "metallb",
    "multus",
    "netd",
    "ovn",
    "ovs",
    "sdn",
    "spire",
    "submariner",
    "tigera",
    "weave",
];

/// Environment variables whose plain values are kept.
const ENV: &[&str] = &["IPALLOC_RANGE", "POD_SUBNET", "CALICO_"];

/// What was found of the workloads.
#[derive(Debug, Clone)]
pub(crate) struct Workloads {
    pub(crate) daemon_sets: Result<Vec<Found>, Unknown>,
    pub(crate) deployments: Result<Vec<Found>, Unknown>,
}

/// One workload, with what sources need of its pod template besides the fact.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) workload: Workload,
    /// `hostAliases`: name to addresses.
    pub(crate) host_aliases: BTreeMap<String, Vec<String>>,
    /// ConfigMaps that are mounted: volume name to ConfigMap name.
    pub(crate) config_maps: BTreeMap<String, String>,
    /// Labels of the pod template.
    pub(crate) pod_labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    replicas: Option<u32>,
    template: Template,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Template {
    #[serde(deserialize_with = "or_default")]
    metadata: TemplateMeta,
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TemplateMeta {
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    #[serde(deserialize_with = "or_default")]
    containers: Vec<PodContainer>,
    host_network: bool,
    #[serde(deserialize_with = "or_default")]
    node_selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    host_aliases: Vec<HostAlias>,
    #[serde(deserialize_with = "or_default")]
    volumes: Vec<Volume>,
}

/// A container of a pod or of a pod template.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodContainer {
    pub(crate) name: String,
    pub(crate) image: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) command: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) args: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    env: Vec<EnvVar>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Vec<ContainerPort>,
}

#[derive(Deserialize)]
struct EnvVar {
    name: String,
    /// Absent where the value comes from elsewhere, a Secret perhaps.
    value: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct ContainerPort {
    #[serde(rename = "containerPort")]
    pub(crate) number: u16,
    #[serde(rename = "hostPort", default)]
    pub(crate) on_host: u16,
    #[serde(default)]
    pub(crate) protocol: String,
}

#[derive(Deserialize)]
struct HostAlias {
    #[serde(default)]
    ip: String,
    #[serde(default, deserialize_with = "or_default")]
    hostnames: Vec<String>,
}

#[derive(Deserialize)]
struct Volume {
    #[serde(default)]
    name: String,
    #[serde(rename = "configMap")]
    config_map: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: Option<i64>,
    desired_number_scheduled: u32,
    number_ready: u32,
    ready_replicas: u32,
}

impl Workloads {
    /// Reads both kinds.
    pub(crate) async fn read(reader: &Reader<'_>) -> Self {
        let (daemon_sets, deployments) = tokio::join!(
            list(reader, &DAEMON_SETS, "DaemonSet"),
            list(reader, &DEPLOYMENTS, "Deployment")
        );
        Self {
            daemon_sets,
            deployments,
        }
    }

    /// As the fact: known if both kinds are.
    pub(crate) fn fact(&self) -> Fact<Vec<Workload>> {
        let both = || -> Result<Known<Vec<Workload>>, Unknown> {
            let found = self.daemon_sets.as_ref().map_err(Unknown::clone)?.iter();
            let found = found.chain(self.deployments.as_ref().map_err(Unknown::clone)?);
            let workloads = found.map(|found| found.workload.clone()).collect();
            Ok(Known::new(workloads, Source::read("DaemonSets and Deployments", "")))
        };
        both().into()
    }

    /// Those of either kind that could be read.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Found> {
        self.daemon_sets.iter().chain(&self.deployments).flatten()
    }
}

async fn list(reader: &Reader<'_>, resource: &Resource, kind: &str) -> Result<Vec<Found>, Unknown> {
    let mut found = reader
        .list(resource, Scope::ALL, |all: &mut Vec<Found>, object: Object| {
            // Of Deployments there may be thousands, and all but a few are the users' own.
            if kind == "DaemonSet" || is_product(&object) {
                all.push(reduce(object, kind));
            }
            Ok(())
        })
        .await?;
    found.sort_by_cached_key(|found| found.workload.object());
    Ok(found)
}

fn is_product(object: &Object) -> bool {
    let template = &object.spec.template.spec;
    let images = template.containers.iter().map(|container| container.image.as_str());
    images
        .map(|image| image.split(['@', ':']).next().unwrap_or_default())
        .chain([object.metadata.name.as_str(), object.metadata.namespace.as_str()])
        .any(|text| PRODUCTS.iter().any(|product| text.contains(product)))
}

fn reduce(object: Object, kind: &str) -> Found {
    let is_product = is_product(&object);
    let Object { metadata, spec, status } = object;
    let pod_labels = spec.template.metadata.labels;
    let template = spec.template.spec;
    let is_daemon_set = kind == "DaemonSet";
    let mut host_aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for alias in template.host_aliases {
        for name in alias.hostnames {
            host_aliases.entry(name).or_default().push(alias.ip.clone());
        }
    }
    Found {
        workload: Workload {
            kind: kind.to_owned(),
            desired: if is_daemon_set {
                status.desired_number_scheduled
            } else {
                spec.replicas.unwrap_or(1)
            },
            ready: if is_daemon_set {
                status.number_ready
            } else {
                status.ready_replicas
            },
            unobserved: status.observed_generation.is_none(),
            namespace: metadata.namespace,
            name: metadata.name,
            labels: pick_by(metadata.labels, |key| {
                ["k8s-app", "app", "component", "name", "helm.sh/chart"].contains(&key)
                    || ["app.kubernetes.io/", "addonmanager.", "io.cilium/", "argocd."]
                        .iter()
                        .any(|prefix| key.starts_with(prefix))
                    || key.contains(".fluxcd.io/")
                    || key.contains("submariner.io/")
            }),
            containers: template
                .containers
                .into_iter()
                .map(|container| container.reduce(is_product))
                .collect(),
            host_network: template.host_network,
            node_selector: template.node_selector,
        },
        host_aliases,
        pod_labels,
        config_maps: template
            .volumes
            .into_iter()
            .filter_map(|volume| {
                let name = volume.config_map?.get("name")?.as_str()?.to_owned();
                Some((volume.name, name))
            })
            .collect(),
    }
}

impl PodContainer {
    fn reduce(self, with_args: bool) -> Container {
        Container {
            args: if with_args {
                self.command.into_iter().chain(self.args).map(without_secret).collect()
            } else {
                Vec::new()
            },
            name: self.name,
            image: self.image,
            env: self
                .env
                .into_iter()
                .filter(|env| ENV.iter().any(|prefix| env.name.starts_with(prefix)))
                .filter_map(|env| Some((env.name, env.value?)))
                .collect(),
            host_ports: self
                .ports
                .iter()
                .filter(|port| port.on_host != 0)
                .map(|port| format!("{}/{}", port.on_host, port.protocol()))
                .collect(),
        }
    }
}

impl ContainerPort {
    /// `TCP` where nothing is said.
    pub(crate) fn protocol(&self) -> &str {
        if self.protocol.is_empty() {
            "TCP"
        } else {
            &self.protocol
        }
    }
}

/// `--token=x` as `--token=`: no product here takes secrets that way, but a facts file must not hold one.
fn without_secret(arg: String) -> String {
    match arg.split_once('=') {
        Some((flag, _)) if is_secret_name(flag) => format!("{flag}="),
        _ => arg,
    }
}

/// Whether a flag or key of this name holds a secret, not a reference to one (`--token-file`, `secrets-namespace`).
pub(crate) fn is_secret_name(name: &str) -> bool {
    ["token", "password", "secret", "psk", "secret-key", "access-key"]
        .iter()
        .any(|end| {
            name.strip_suffix(end)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('-'))
        })
}

/// The last part of an image's repository: `cilium` of `quay.io/cilium/cilium:v1.18.2@sha256:...`.
pub(crate) fn image_name(image: &str) -> &str {
    let path = image.split('@').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

/// The version in an image reference, without the leading `v`: none for a bare digest, `latest` or a build number.
pub(crate) fn image_version(image: &str) -> Option<&str> {
    let tagged = image.split('@').next()?;
    let (_, tag) = tagged.rsplit_once(':')?;
    let version = tag.strip_prefix('v').unwrap_or(tag);
    let is_version = version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.') && !tag.contains('/');
    is_version.then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon_set(json: &str) -> Found {
        reduce(serde_json::from_str(json).unwrap(), "DaemonSet")
    }

    #[test]
    fn versions_are_read_from_tags_and_only_from_them() {
        for (image, version) in [
            ("quay.io/cilium/cilium:v1.18.2", Some("1.18.2")),
            ("quay.io/cilium/cilium:v1.18.2@sha256:0123abcd", Some("1.18.2")),
            ("registry:5000/cilium/cilium:1.18.2-eks.1", Some("1.18.2-eks.1")),
            ("quay.io/cilium/cilium-ci:v1.20.0-rc.1", Some("1.20.0-rc.1")),
            ("quay.io/cilium/cilium@sha256:0123abcd", None),
            ("registry:5000/cilium/cilium", None),
            ("registry.1:5000/cilium", None),
            ("cilium:latest", None),
            ("cilium:20240101", None),
            ("", None),
        ] {
            assert_eq!(image_version(image), version, "{image}");
        }
    }

    #[test]
    fn an_image_is_known_by_the_end_of_its_repository() {
        for image in [
            "registry:5000/a/flannel",
            "flannel",
            "b/flannel:v1",
            "flannel:v1@sha256:0a/b",
            "flannel@sha256:00",
        ] {
            assert_eq!(image_name(image), "flannel", "{image}");
        }
        assert_eq!(image_name(""), "");
    }

    #[test]
    fn arguments_are_kept_of_networking_products_only() {
        let json = |name: &str, image: &str| {
            format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"kube-system"}},"status":{{"desiredNumberScheduled":3,"numberReady":2}},
                   "spec":{{"template":{{"spec":{{"hostNetwork":true,"containers":[{{"name":"c","image":"{image}",
                     "command":["run"],"args":["--mode=x","--token=hush"],
                     "env":[{{"name":"POD_SUBNET","value":"10.244.0.0/16"}},{{"name":"PASSWORD","value":"hush"}},
                            {{"name":"CALICO_KEY","valueFrom":{{"secretKeyRef":{{"name":"s","key":"k"}}}}}}],
                     "ports":[{{"containerPort":53,"hostPort":53,"protocol":"UDP"}},{{"containerPort":80}}]}}],
                     "volumes":[{{"name":"cfg","configMap":{{"name":"kindnet-cfg"}}}},{{"name":"h","hostPath":{{"path":"/"}}}}],
                     "hostAliases":[{{"ip":"10.1.1.1","hostnames":["west.mesh.cilium.io"]}}]}}}}}}}}"#
            )
        };
        let found = daemon_set(&json("kindnet", "docker.io/kindest/kindnetd:v20250512"));
        let container = &found.workload.containers[0];
        assert_eq!(container.args, ["run", "--mode=x", "--token="]);
        assert_eq!(container.env.len(), 1);
        assert_eq!(container.host_ports, ["53/UDP"]);
        assert_eq!((found.workload.desired, found.workload.ready), (3, 2));
        assert_eq!(found.config_maps["cfg"], "kindnet-cfg");
        assert_eq!(found.host_aliases["west.mesh.cilium.io"], ["10.1.1.1"]);

        let found = daemon_set(&json("log-shipper", "example.com/logs:1.0"));
        assert!(found.workload.containers[0].args.is_empty());
    }

    #[test]
    fn names_of_secrets_are_no_secrets() {
        assert!(is_secret_name("--token") && is_secret_name("azure-client-secret"));
        assert!(!is_secret_name("--token-file") && !is_secret_name("policy-secrets-namespace"));
        assert!(!is_secret_name("broken"));
    }
}
