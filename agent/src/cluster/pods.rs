//! Pods: addresses reduced to blocks, ports taken on nodes, and the few pods whose arguments tell something.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prejoin_checks::cidr::Cidr;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::cni::{Plugin, PluginKind};
use prejoin_checks::facts::kubernetes::{Container, HostPort, PodAddresses};
use prejoin_checks::facts::provenance::{Fact, Known, Source, Unknown};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::blocks::{Blocks, Owned};
use super::object::or_default;
use super::permissions::PODS;
use super::reader::{Reader, Scope};
use super::workloads::{PodContainer, image_version};

/// Ports on nodes that ClusterMesh or Submariner want for themselves.
const MESH_PORTS: &[u16] = &[
    500, 2379, 4240, 4244, 4490, 4500, 4800, 6081, 8472, 32780, 32781, 32782, 51871,
];

/// The flags of control-plane components that are kept: those about addresses, ports and admission.
const API_SERVER_FLAGS: &[&str] = &[
    "admission-control-config-file",
    "advertise-address",
    "bind-address",
    "disable-admission-plugins",
    "enable-admission-plugins",
    "feature-gates",
    "runtime-config",
    "secure-port",
    "service-cluster-ip-range",
    "service-node-port-range",
];
const CONTROLLER_MANAGER_FLAGS: &[&str] = &[
    "allocate-node-cidrs",
    "cluster-cidr",
    "cluster-name",
    "node-cidr-mask-size",
    "node-cidr-mask-size-ipv4",
    "node-cidr-mask-size-ipv6",
    "service-cluster-ip-range",
];

/// What was found of the pods.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    running: u64,
    host_network: u64,
    /// Addresses of running pods that are not on the host network, in their order.
    pub(crate) addresses: Vec<Owned>,
    host_ports: Vec<HostPort>,
    api_server: Option<Component>,
    controller_manager: Option<Component>,
    /// One pod of kube-proxy, static or of a DaemonSet.
    pub(crate) kube_proxy: Option<Component>,
    /// Running agents of Cilium by namespace and version; the version is empty where the image tells none.
    pub(crate) cilium_agents: BTreeMap<(String, String), u32>,
}

/// A pod of Kubernetes itself.
#[derive(Debug)]
pub(crate) struct Component {
    /// As a source: `Pod kube-system/kube-apiserver-n1`.
    pub(crate) object: String,
    pub(crate) container: Container,
}

#[derive(Deserialize)]
struct Object {
    metadata: PodMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodMeta {
    name: String,
    namespace: String,
    #[serde(deserialize_with = "or_default")]
    labels: Labels,
    #[serde(rename = "deletionTimestamp")]
    deleted: Option<IgnoredAny>,
}

/// Of so many pods only these labels are looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Labels {
    component: String,
    #[serde(rename = "k8s-app")]
    k8s_app: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    host_network: bool,
    #[serde(deserialize_with = "or_default")]
    containers: Vec<PodContainer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs", deserialize_with = "or_default")]
    pod_ips: Vec<PodIp>,
}

#[derive(Deserialize)]
struct PodIp {
    #[serde(default)]
    ip: String,
}

pub(crate) async fn read(reader: &Reader<'_>) -> Result<Pods, Unknown> {
    let mut pods = reader.list(&PODS, Scope::ALL, Pods::add).await?;
    pods.addresses.sort_unstable();
    Ok(pods)
}

impl Pods {
    fn add(&mut self, object: Object) -> Result<(), String> {
        let Object { metadata, spec, status } = object;
        if metadata.namespace == "kube-system" {
            self.keep_component(&metadata, &spec);
        }
        if status.phase != "Running" {
            return Ok(());
        }
        self.running += 1;
        let owner = format!("{}/{}", metadata.namespace, metadata.name);
        let is_cilium = metadata.labels.k8s_app == "cilium";
        if is_cilium && metadata.deleted.is_none() {
            self.count_agent(&metadata, &spec);
        }
        for port in spec.containers.iter().flat_map(|container| &container.ports) {
            let on_node = if spec.host_network { port.number } else { port.on_host };
            if MESH_PORTS.contains(&on_node) && !is_cilium {
                self.host_ports.push(HostPort {
                    node: spec.node_name.clone(),
                    pod: owner.clone(),
                    protocol: port.protocol().to_owned(),
                    port: on_node,
                });
            }
        }
        if spec.host_network {
            self.host_network += 1;
            return Ok(());
        }
        let mut ips: Vec<String> = status.pod_ips.into_iter().map(|ip| ip.ip).collect();
        if ips.is_empty() {
            ips.push(status.pod_ip);
        }
        for ip in ips.iter().filter(|ip| !ip.is_empty()) {
            let address: IpAddr = ip.parse().map_err(|_| "status.podIPs holds no address".to_owned())?;
            self.addresses.push((address, owner.as_str().into()));
        }
        Ok(())
    }

    fn keep_component(&mut self, metadata: &PodMeta, spec: &Spec) {
        let is = |name: &str| metadata.labels.component == name || metadata.labels.k8s_app == name;
        let slot = if is("kube-apiserver") {
            &mut self.api_server
        } else if is("kube-controller-manager") {
            &mut self.controller_manager
        } else if is("kube-proxy") {
            &mut self.kube_proxy
        } else {
            return;
        };
        // Several replicas have the same flags; the first by name speaks for them.
        let object = format!("Pod kube-system/{}", metadata.name);
        if slot.as_ref().is_none_or(|component| object < component.object)
            && let Some(container) = spec.containers.first()
        {
            *slot = Some(Component {
                object,
                container: Container {
                    name: container.name.clone(),
                    image: container.image.clone(),
                    args: container.command.iter().chain(&container.args).cloned().collect(),
                    ..Container::default()
                },
            });
        }
    }

    fn count_agent(&mut self, metadata: &PodMeta, spec: &Spec) {
        let agent = spec
            .containers
            .iter()
            .find(|container| container.name == "cilium-agent");
        if let Some(agent) = agent {
            let version = image_version(&agent.image).unwrap_or_default().to_owned();
            *self
                .cilium_agents
                .entry((metadata.namespace.clone(), version))
                .or_default() += 1;
        }
    }

    /// The addresses as the fact, with every single one of them if `exactly`.
    fn fact(&self, exactly: bool) -> PodAddresses {
        let blocks: Blocks = self
            .addresses
            .iter()
            .map(|(address, owner)| (*address, &**owner))
            .collect();
        let mut host_ports = self.host_ports.clone();
        host_ports.sort_by(|a, b| (a.port, &a.node, &a.pod).cmp(&(b.port, &b.node, &b.pod)));
        PodAddresses {
            running: self.running,
            host_network: self.host_network,
            pods: blocks.into_vec(),
            addresses: if exactly {
                let hosts: Vec<Cidr> = self.addresses.iter().map(|(address, _)| Cidr::host(*address)).collect();
                Cidr::aggregate(&hosts)
            } else {
                Vec::new()
            },
            host_ports,
        }
    }
}

/// Whether nothing hands out blocks, so that the pods' own addresses are the pod range.
pub(crate) fn are_the_range(facts: &ClusterFacts) -> bool {
    const WITHOUT_BLOCKS: [&str; 5] = ["eni", "azure", "alibabacloud", "crd", "delegated-plugin"];
    let config = facts.cilium.ok().and_then(|cilium| cilium.config.ok());
    if let Some(config) = config {
        let setting = |key: &str| config.get(key).map(String::as_str);
        let chained = setting("cni-chaining-mode").is_some_and(|mode| !["", "none", "portmap"].contains(&mode));
        return chained || setting("ipam").is_some_and(|ipam| WITHOUT_BLOCKS.contains(&ipam));
    }
    let vpc = |plugin: &Plugin| {
        matches!(
            plugin.kind,
            PluginKind::AwsVpc | PluginKind::AzureCni | PluginKind::GkeNetd
        )
    };
    facts
        .cni
        .plugins
        .ok()
        .is_some_and(|plugins| plugins.iter().any(|plugin| plugin.running && vpc(plugin)))
}

/// Flags without their dashes.
type Flags = BTreeMap<String, String>;

/// The facts that come from pods alone: addresses, flags of kube-apiserver and of kube-controller-manager.
pub(crate) fn facts(pods: &Result<Pods, Unknown>, exactly: bool) -> (Fact<PodAddresses>, Fact<Flags>, Fact<Flags>) {
    match pods {
        Ok(pods) => (
            Fact::known(pods.fact(exactly), Source::read("Pods", "status.podIPs")),
            flags(pods.api_server.as_ref(), "kube-apiserver", API_SERVER_FLAGS),
            flags(
                pods.controller_manager.as_ref(),
                "kube-controller-manager",
                CONTROLLER_MANAGER_FLAGS,
            ),
        ),
        Err(unknown) => (
            Fact::Unknown(unknown.clone()),
            Fact::Unknown(unknown.clone()),
            Fact::Unknown(unknown.clone()),
        ),
    }
}

fn flags(component: Option<&Component>, name: &str, wanted: &[&str]) -> Fact<Flags> {
    let read = || {
        let component = component
            .ok_or_else(|| Unknown::not_found(format!("no pod of kube-system is labelled component={name}")))?;
        let flags = wanted
            .iter()
            .filter_map(|flag| Some(((*flag).to_owned(), component.container.flag(flag)?.to_owned())))
            .collect();
        let source = Source::read(&component.object, "spec.containers[0].command");
        Ok(Known::new(flags, source))
    };
    read().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(objects: &[serde_json::Value]) -> Pods {
        let mut pods = Pods::default();
        for object in objects {
            pods.add(serde_json::from_value(object.clone()).unwrap()).unwrap();
        }
        pods
    }

    fn pod(name: &str, ip: &str, phase: &str) -> serde_json::Value {
        serde_json::json!({
            "metadata": {"name": name, "namespace": "shop", "labels": null},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}, {"ip": "fd00::1"}]},
        })
    }

    #[test]
    fn addresses_of_running_pods_become_blocks() {
        let pods = pods(&[
            pod("a", "10.0.1.7", "Running"),
            pod("b", "10.0.1.9", "Running"),
            pod("done", "10.0.3.1", "Succeeded"),
        ])
        .fact(false);
        assert_eq!((pods.running, pods.host_network, pods.pods.len()), (2, 0, 2));
        assert_eq!((pods.pods[0].count, pods.pods[0].example.as_str()), (2, "shop/a"));
    }

    #[test]
    fn single_addresses_are_kept_only_where_they_are_the_range() {
        let pods = pods(&[pod("a", "10.0.1.6", "Running"), pod("b", "10.0.1.7", "Running")]);
        assert!(pods.fact(false).addresses.is_empty());
        let exact: Vec<_> = pods.fact(true).addresses.iter().map(ToString::to_string).collect();
        assert_eq!(exact, ["10.0.1.6/31", "fd00::1/128"]);
    }

    #[test]
    fn pods_on_the_host_network_count_for_their_ports_and_not_for_their_address() {
        let mut gateway = pod("gw", "172.18.0.2", "Running");
        gateway["spec"]["hostNetwork"] = true.into();
        gateway["spec"]["containers"][0]["ports"] =
            serde_json::json!([{"containerPort": 4500, "protocol": "UDP"}, {"containerPort": 80}]);
        let mut proxy = pod("lb", "10.0.1.8", "Running");
        proxy["spec"]["containers"][0]["ports"] =
            serde_json::json!([{"containerPort": 4500}, {"containerPort": 1, "hostPort": 8472}]);
        let pods = pods(&[gateway, proxy]).fact(false);
        assert_eq!((pods.running, pods.host_network), (2, 1));
        let ports: Vec<_> = pods
            .host_ports
            .iter()
            .map(|p| (p.port, p.protocol.as_str(), p.pod.as_str()))
            .collect();
        assert_eq!(ports, [(4500, "UDP", "shop/gw"), (8472, "TCP", "shop/lb")]);
    }

    #[test]
    fn flags_are_read_in_both_spellings_from_command_and_args() {
        let pods = pods(&[
            serde_json::json!({
                "metadata": {"name": "kube-apiserver-n1", "namespace": "kube-system", "labels": {"component": "kube-apiserver"}},
                "spec": {"containers": [{"name": "kube-apiserver", "image": "i", "command": ["kube-apiserver", "--service-cluster-ip-range=10.96.0.0/16"],
                    "args": ["--service-node-port-range", "30000-32767", "--etcd-keyfile=/x"]}]},
                "status": {"phase": "Running"},
            }),
            // Somebody else's control plane, hosted here.
            serde_json::json!({
                "metadata": {"name": "a", "namespace": "tenant", "labels": {"component": "kube-controller-manager"}},
                "spec": {"containers": [{"command": ["x", "--cluster-cidr=10.0.0.0/8"]}]},
                "status": {"phase": "Running"},
            }),
        ]);
        let (_, api_server, controller_manager) = facts(&Ok(pods), false);
        let flags = api_server.get().unwrap();
        assert_eq!(flags["service-cluster-ip-range"], "10.96.0.0/16");
        assert_eq!(flags["service-node-port-range"], "30000-32767");
        assert_eq!(flags.len(), 2);
        assert!(
            controller_manager
                .why()
                .unwrap()
                .detail
                .contains("component=kube-controller-manager")
        );
    }

    #[test]
    fn agents_of_cilium_are_counted_by_version() {
        let agent = |name: &str, tag: &str| {
            serde_json::json!({
                "metadata": {"name": name, "namespace": "kube-system", "labels": {"k8s-app": "cilium"}},
                "spec": {"hostNetwork": true, "containers": [{"name": "cilium-agent", "image": format!("quay.io/cilium/cilium:{tag}")}]},
                "status": {"phase": "Running"},
            })
        };
        let pods = pods(&[
            agent("a", "v1.18.2"),
            agent("b", "v1.18.2"),
            agent("c", "v1.19.0@sha256:00"),
        ]);
        let key = |version: &str| ("kube-system".to_owned(), version.to_owned());
        assert_eq!(
            (pods.cilium_agents[&key("1.18.2")], pods.cilium_agents[&key("1.19.0")]),
            (2, 1)
        );
    }
}
