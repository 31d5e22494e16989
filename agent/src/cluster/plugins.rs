//! Which network plugins are there, told from what runs and not from one name in one namespace.
//!
//! A plugin is added as one line of [`PLUGINS`]. What its configuration says is read by its own source.

use prejoin_checks::facts::cni::{Plugin, PluginKind};
use prejoin_checks::facts::kubernetes::Workload;
use prejoin_checks::facts::node::Node;
use prejoin_checks::facts::provenance::{Fact, Source};

use super::reader::Reader;
use super::workloads::{Workloads, image_name, image_version};

/// How a DaemonSet gives a plugin away.
struct Sign {
    kind: PluginKind,
    is: fn(&Workload) -> bool,
}

/// In the order of trust: where two match one DaemonSet, the first is meant.
const PLUGINS: &[Sign] = &[
    sign(PluginKind::Cilium, is_cilium_agent),
    sign(PluginKind::Canal, |workload| {
        has_container(workload, "calico-node") && runs_flannel(workload)
    }),
    sign(PluginKind::Calico, |workload| has_container(workload, "calico-node")),
    sign(PluginKind::Flannel, runs_flannel),
    sign(PluginKind::Kindnet, |workload| {
        has_container(workload, "kindnet-cni") || has_image(workload, "kindnetd")
    }),
    sign(PluginKind::KubeOvn, |workload| workload.name == "kube-ovn-cni"),
    sign(PluginKind::OvnKubernetes, |workload| {
        workload.name.starts_with("ovnkube-node") || workload.name == "ovnkube-single-node-zone"
    }),
    sign(PluginKind::OpenshiftSdn, |workload| {
        workload.namespace == "openshift-sdn" && workload.name == "sdn"
    }),
    sign(PluginKind::Weave, |workload| {
        workload.name == "weave-net" || has_image(workload, "weave-kube")
    }),
    sign(PluginKind::AwsVpc, |workload| {
        has_container(workload, "aws-node") || has_image(workload, "amazon-k8s-cni")
    }),
    sign(PluginKind::AzureCni, |workload| {
        has_image(workload, "azure-cns") || has_image(workload, "azure-cni")
    }),
    // `anetd`, the other one of GKE, runs Cilium's agent.
    sign(PluginKind::GkeNetd, |workload| {
        workload.name == "anetd" || has_container(workload, "netd")
    }),
    sign(PluginKind::Antrea, |workload| has_container(workload, "antrea-agent")),
    sign(PluginKind::KubeRouter, |workload| {
        has_container(workload, "kube-router") || has_image(workload, "kube-router")
    }),
];

const fn sign(kind: PluginKind, is: fn(&Workload) -> bool) -> Sign {
    Sign { kind, is }
}

fn has_container(workload: &Workload, name: &str) -> bool {
    workload.container(name).is_some()
}

/// Whether a container runs an image of this name, from whatever registry.
fn has_image(workload: &Workload, name: &str) -> bool {
    workload
        .containers
        .iter()
        .any(|container| image_name(&container.image) == name)
}

/// flanneld, alone or beside Calico; distributions name the image `hardened-flannel` or `mirrored-flannelcni-flannel`.
pub(crate) fn runs_flannel(workload: &Workload) -> bool {
    workload
        .containers
        .iter()
        .any(|container| container.name == "kube-flannel" || image_name(&container.image).ends_with("flannel"))
}

/// The container of Cilium's agent, whatever the DaemonSet is called (`anetd` on GKE) and wherever it runs.
pub(crate) fn is_cilium_agent(workload: &Workload) -> bool {
    workload.containers.iter().any(|container| {
        container.name == "cilium-agent"
            || container
                .args
                .first()
                .is_some_and(|command| command.rsplit('/').next() == Some("cilium-agent"))
    })
}

/// Every plugin that a DaemonSet gives away, and the traces that other sources found.
pub(crate) fn read(workloads: &Workloads, traces: Vec<Plugin>) -> Fact<Vec<Plugin>> {
    let daemon_sets = match &workloads.daemon_sets {
        Ok(daemon_sets) => daemon_sets,
        Err(unknown) => return Fact::Unknown(unknown.clone()),
    };
    let mut plugins: Vec<Plugin> = daemon_sets
        .iter()
        .filter_map(|found| recognise(&found.workload))
        .collect();
    for trace in traces {
        // A left-over says nothing where the plugin itself is there.
        if !plugins.iter().any(|plugin| plugin.kind == trace.kind) {
            plugins.push(trace);
        }
    }
    plugins.sort_by(|a, b| (a.kind, &a.source).cmp(&(b.kind, &b.source)));
    Fact::known(plugins, Source::read("DaemonSets", ""))
}

/// The plugin that a DaemonSet gives away.
pub(crate) fn kind_of(workload: &Workload) -> Option<PluginKind> {
    Some(PLUGINS.iter().find(|sign| (sign.is)(workload))?.kind)
}

fn recognise(workload: &Workload) -> Option<Plugin> {
    Some(Plugin {
        kind: kind_of(workload)?,
        source: Source::read(workload.object(), ""),
        version: workload
            .containers
            .iter()
            .find_map(|container| image_version(&container.image))
            .unwrap_or_default()
            .to_owned(),
        running: workload.desired > 0,
    })
}

/// The ConfigMap that Calico's plain manifest leaves behind; Submariner takes the plugin from it all the same.
pub(crate) async fn calico_config(reader: &Reader<'_>) -> Option<Plugin> {
    let maps = reader.config_maps("kube-system").await.ok()?;
    Some(Plugin {
        kind: PluginKind::Calico,
        source: maps.get("calico-config")?.source(""),
        version: String::new(),
        running: false,
    })
}

/// The trace of the Flannel that K3s runs in its own process: it marks the nodes, and no DaemonSet tells of it.
///
/// The marks outlive a change of the plugin, so they count only where no DaemonSet runs another one.
pub(crate) fn embedded_flannel(nodes: &Fact<Vec<Node>>, workloads: &Workloads) -> Option<Plugin> {
    const MARK: &str = "flannel.alpha.coreos.com/backend-type";
    let daemon_sets = workloads.daemon_sets.as_ref().ok()?;
    if daemon_sets
        .iter()
        .any(|found| found.workload.desired > 0 && kind_of(&found.workload).is_some())
    {
        return None;
    }
    let node = nodes
        .ok()?
        .iter()
        .find(|node| node.kubelet_version.contains("+k3s") && node.annotations.contains_key(MARK))?;
    Some(Plugin {
        kind: PluginKind::Flannel,
        source: Source::read(format!("Node {}", node.name), format!("metadata.annotations {MARK}")),
        version: String::new(),
        running: true,
    })
}

#[cfg(test)]
mod tests {
    use prejoin_checks::facts::kubernetes::Container;

    use super::super::workloads::Found;
    use super::*;

    fn daemon_set(name: &str, container: &str, image: &str, desired: u32) -> Found {
        Found {
            workload: Workload {
                kind: "DaemonSet".to_owned(),
                namespace: "net".to_owned(),
                name: name.to_owned(),
                desired,
                containers: vec![Container {
                    name: container.to_owned(),
                    image: image.to_owned(),
                    ..Container::default()
                }],
                ..Workload::default()
            },
            ..Found::default()
        }
    }

    fn plugins(daemon_sets: Vec<Found>, traces: Vec<Plugin>) -> Vec<(PluginKind, String, bool)> {
        let workloads = Workloads {
            daemon_sets: Ok(daemon_sets),
            deployments: Ok(Vec::new()),
        };
        let plugins = read(&workloads, traces).get().unwrap().clone();
        plugins
            .into_iter()
            .map(|plugin| (plugin.kind, plugin.version, plugin.running))
            .collect()
    }

    #[test]
    fn cilium_is_known_by_its_agent_under_any_name() {
        let cilium = (PluginKind::Cilium, "1.18.2".to_owned(), true);
        for name in ["cilium", "anetd"] {
            let found = daemon_set(name, "cilium-agent", "quay.io/cilium/cilium:v1.18.2@sha256:00", 3);
            let envoy = daemon_set("cilium-envoy", "cilium-envoy", "quay.io/cilium/cilium-envoy:v1.34.4", 3);
            assert_eq!(plugins(vec![found, envoy], Vec::new()), std::slice::from_ref(&cilium));
        }
    }

    #[test]
    fn a_left_over_is_told_unless_the_plugin_is_there() {
        let left_over = Plugin {
            kind: PluginKind::Cilium,
            source: Source::read("/apis", "cilium.io"),
            version: String::new(),
            running: false,
        };
        assert_eq!(
            plugins(Vec::new(), vec![left_over.clone()]),
            [(PluginKind::Cilium, String::new(), false)]
        );
        let agent = daemon_set("cilium", "cilium-agent", "cilium:v1.19.0", 0);
        assert_eq!(
            plugins(vec![agent], vec![left_over]),
            [(PluginKind::Cilium, "1.19.0".to_owned(), false)]
        );
    }

    #[test]
    fn plugins_are_told_from_what_runs() {
        use PluginKind::{
            Antrea, AwsVpc, AzureCni, Calico, Flannel, GkeNetd, Kindnet, KubeOvn, KubeRouter, OvnKubernetes, Weave,
        };
        for (name, container, image, kind) in [
            (
                "aws-node",
                "aws-node",
                "602401143452.dkr.ecr.eu-west-1.amazonaws.com/amazon-k8s-cni:v1.19.2",
                AwsVpc,
            ),
            (
                "azure-cns",
                "cns-container",
                "mcr.microsoft.com/containernetworking/azure-cns:v1.6.13",
                AzureCni,
            ),
            ("netd", "netd", "gke.gcr.io/netd:v0.4.4", GkeNetd),
            ("calico-node", "calico-node", "quay.io/calico/node:v3.30.1", Calico),
            (
                "kube-flannel-ds",
                "kube-flannel",
                "ghcr.io/flannel-io/flannel:v0.27.4",
                Flannel,
            ),
            (
                "kube-flannel",
                "flanneld",
                "docker.io/rancher/hardened-flannel:v0.26.7",
                Flannel,
            ),
            (
                "kindnet",
                "kindnet-cni",
                "docker.io/kindest/kindnetd:v20250512-df8de77b",
                Kindnet,
            ),
            (
                "ovnkube-node",
                "ovnkube-controller",
                "ghcr.io/ovn-kubernetes/ovn-kubernetes/ovn-kube-ubuntu:1.1.0",
                OvnKubernetes,
            ),
            ("weave-net", "weave", "weaveworks/weave-kube:2.8.1", Weave),
            (
                "antrea-agent",
                "antrea-agent",
                "antrea/antrea-agent-ubuntu:v2.3.0",
                Antrea,
            ),
            (
                "kube-router",
                "kube-router",
                "docker.io/cloudnativelabs/kube-router:v2.5.0",
                KubeRouter,
            ),
            (
                "kube-ovn-cni",
                "cni-server",
                "docker.io/kubeovn/kube-ovn:v1.13.8",
                KubeOvn,
            ),
        ] {
            let found = plugins(vec![daemon_set(name, container, image, 3)], Vec::new());
            assert_eq!(
                found.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>(),
                [kind],
                "{name}"
            );
        }
    }

    #[test]
    fn helpers_of_plugins_are_no_plugins() {
        for (name, container, image) in [
            ("cilium-envoy", "cilium-envoy", "quay.io/cilium/cilium-envoy:v1.34.4"),
            ("csi-node-driver", "calico-csi", "quay.io/calico/csi:v3.30.1"),
            ("ovs-ovn", "openvswitch", "docker.io/kubeovn/kube-ovn:v1.13.8"),
            (
                "azure-ip-masq-agent",
                "azure-ip-masq-agent",
                "mcr.microsoft.com/aks/ip-masq-agent-v2:v0.1.15",
            ),
            (
                "kube-multus-ds",
                "kube-multus",
                "ghcr.io/k8snetworkplumbingwg/multus-cni:v4.2.0",
            ),
            ("kube-proxy", "kube-proxy", "registry.k8s.io/kube-proxy:v1.33.1"),
        ] {
            assert!(
                plugins(vec![daemon_set(name, container, image, 3)], Vec::new()).is_empty(),
                "{name}"
            );
        }
    }

    #[test]
    fn calico_beside_flannel_in_one_pod_is_canal() {
        let mut canal = daemon_set(
            "rke2-canal",
            "calico-node",
            "docker.io/rancher/hardened-calico:v3.30.1-build20250611",
            1,
        );
        canal.workload.containers.push(Container {
            name: "kube-flannel".to_owned(),
            image: "docker.io/rancher/hardened-flannel:v0.27.0-build20250611".to_owned(),
            ..Container::default()
        });
        assert_eq!(plugins(vec![canal], Vec::new())[0].0, PluginKind::Canal);
    }

    #[test]
    fn the_flannel_inside_k3s_is_told_from_its_nodes_unless_another_plugin_runs() {
        let node = |version: &str| Node {
            name: "n1".to_owned(),
            kubelet_version: version.to_owned(),
            annotations: [("flannel.alpha.coreos.com/backend-type".to_owned(), "vxlan".to_owned())].into(),
            ..Node::default()
        };
        let trace = |version: &str, daemon_sets: Vec<Found>| {
            let nodes = Fact::known(vec![node(version)], Source::read("Nodes", ""));
            let workloads = Workloads {
                daemon_sets: Ok(daemon_sets),
                deployments: Ok(Vec::new()),
            };
            embedded_flannel(&nodes, &workloads)
        };
        let found = trace("v1.33.1+k3s1", Vec::new()).unwrap();
        assert_eq!((found.kind, found.running), (PluginKind::Flannel, true));
        assert_eq!(found.source.object, "Node n1");
        assert_eq!(trace("v1.33.1", Vec::new()), None);
        let cilium = daemon_set("cilium", "cilium-agent", "quay.io/cilium/cilium:v1.18.2", 3);
        assert_eq!(trace("v1.33.1+k3s1", vec![cilium]), None);
    }
}
