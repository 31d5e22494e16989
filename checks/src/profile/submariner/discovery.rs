//! What Submariner's operator takes a cluster's network plugin for.
//!
//! The operator asks one detector after the other and takes the first answer. Source: `submariner-operator`,
//! `pkg/discovery/network`. Releases of 2026 also know the Amazon VPC CNI and Cilium; here these are `generic`, as for all before,
//! and have checks of their own.

use crate::facts::cni::{Plugin, PluginKind};
use crate::facts::provenance::{Known, Source, Unknown};
use crate::fleet::Cluster;

/// The plugin name for a network that no detector knows.
pub const GENERIC: &str = "generic";

/// The names, in lower case, that the route agent's handlers accept; it compares without regard to case.
/// Source: `submariner`, `pkg/cni/plugins.go` and `pkg/routeagent_driver/handlers`.
pub const ROUTED_PLUGINS: [&str; 8] = [
    GENERIC,
    "calico",
    "canal-flannel",
    "flannel",
    "kindnet",
    "openshiftsdn",
    "ovnkubernetes",
    "weave-net",
];

/// The plugin name that the operator would find.
pub fn network_plugin(cluster: &Cluster<'_>) -> Result<Known<String>, Unknown> {
    if let Some(openshift) = openshift(cluster)? {
        return Ok(openshift.map(|network_type| match network_type.as_str() {
            "Calico" => "calico".to_owned(),
            _ => network_type,
        }));
    }
    let plugins = cluster.facts.cni.plugins.known_value()?;
    let detectors = [
        (PluginKind::OvnKubernetes, "OVNKubernetes"),
        (PluginKind::Weave, "weave-net"),
        (PluginKind::Canal, "canal-flannel"),
        (PluginKind::Calico, "calico"),
        (PluginKind::Flannel, "flannel"),
        (PluginKind::Kindnet, "kindnet"),
    ];
    for (kind, name) in detectors {
        if let Some(plugin) = plugins
            .value
            .iter()
            .find(|plugin| plugin.kind == kind && is_found(plugin))
        {
            return Ok(Known::new(name.to_owned(), plugin.source.clone()));
        }
    }
    Ok(Known::new(GENERIC.to_owned(), plugins.source.clone()))
}

/// OpenShift's network type as it is written; `None` elsewhere.
pub fn openshift(cluster: &Cluster<'_>) -> Result<Option<Known<String>>, Unknown> {
    match cluster.facts.control_plane.openshift_network.known_value() {
        Ok(known) => Ok(Some(Known::new(
            known.value.network_type.clone(),
            Source::read(known.source.object.clone(), "spec.networkType"),
        ))),
        Err(why) if super::absent(&why) => Ok(None),
        Err(why) => Err(why),
    }
}

/// The running plugin of a kind.
pub fn running<'a>(cluster: &Cluster<'a>, kind: PluginKind) -> Result<Option<&'a Plugin>, Unknown> {
    let mut plugins = cluster.facts.cni.plugins.get()?.iter();
    Ok(plugins.find(|plugin| plugin.kind == kind && plugin.running))
}

/// Whether OVN-Kubernetes carries the cluster's packets, which changes what Submariner builds on every node.
pub fn is_ovn_kubernetes(cluster: &Cluster<'_>) -> Result<bool, Unknown> {
    if openshift(cluster)?.is_some_and(|network_type| network_type.value == "OVNKubernetes") {
        return Ok(true);
    }
    Ok(running(cluster, PluginKind::OvnKubernetes)?.is_some())
}

/// Whether a detector sees this plugin: some look in kube-system only, and Calico's takes a left-over ConfigMap for the plugin.
fn is_found(plugin: &Plugin) -> bool {
    match plugin.kind {
        PluginKind::Calico => true,
        PluginKind::Canal | PluginKind::Flannel => plugin.running && is_in_kube_system(plugin),
        _ => plugin.running,
    }
}

/// Whether the object that gives the plugin away is in kube-system.
pub fn is_in_kube_system(plugin: &Plugin) -> bool {
    plugin.source.object.contains(" kube-system/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ClusterFacts;
    use crate::facts::kubernetes::OpenShiftNetwork;
    use crate::facts::provenance::{Fact, Reason};
    use crate::samples::{flannel, value_mut};

    fn name(facts: &ClusterFacts) -> String {
        network_plugin(&Cluster::new(0, facts)).unwrap().value
    }

    fn plugin(kind: PluginKind, object: &str, running: bool) -> Plugin {
        Plugin {
            kind,
            source: Source::read(object, ""),
            version: String::new(),
            running,
        }
    }

    #[test]
    fn flannel_is_found_in_kube_system_only() {
        let mut facts = flannel("east", 1);
        assert_eq!(name(&facts), "flannel");
        value_mut(&mut facts.cni.plugins)[0] =
            plugin(PluginKind::Flannel, "DaemonSet kube-flannel/kube-flannel-ds", true);
        assert_eq!(name(&facts), "generic");
    }

    #[test]
    fn a_left_over_calico_config_hides_what_runs() {
        let mut facts = flannel("east", 1);
        value_mut(&mut facts.cni.plugins).push(plugin(
            PluginKind::Calico,
            "ConfigMap kube-system/calico-config",
            false,
        ));
        assert_eq!(name(&facts), "calico");
    }

    #[test]
    fn openshifts_network_type_is_taken_as_it_is() {
        let mut facts = flannel("east", 1);
        for (network_type, plugin) in [
            ("Calico", "calico"),
            ("OVNKubernetes", "OVNKubernetes"),
            ("Kuryr", "Kuryr"),
        ] {
            facts.control_plane.openshift_network = Fact::known(
                OpenShiftNetwork {
                    network_type: network_type.to_owned(),
                    ..OpenShiftNetwork::default()
                },
                Source::read("Network cluster", ""),
            );
            assert_eq!(name(&facts), plugin);
        }
    }

    #[test]
    fn what_could_not_be_read_is_no_generic_network() {
        let mut facts = flannel("east", 1);
        facts.cni.plugins = Fact::unknown(Reason::Forbidden, "list daemonsets: forbidden");
        assert!(network_plugin(&Cluster::new(0, &facts)).is_err());
    }
}
