//! Which network plugins are there, told from what runs and not from one name in one namespace.
//!
//! A plugin is added as one line of [`PLUGINS`]. What its configuration says is read by its own source.

use prejoin_checks::facts::cni::{Plugin, PluginKind};
use prejoin_checks::facts::kubernetes::Workload;
use prejoin_checks::facts::provenance::{Fact, Source};

use super::workloads::{Workloads, image_version};

/// How a DaemonSet gives a plugin away.
struct Sign {
    kind: PluginKind,
    is: fn(&Workload) -> bool,
}

/// In the order of trust: where two match one DaemonSet, the first is meant.
const PLUGINS: &[Sign] = &[Sign {
    kind: PluginKind::Cilium,
    is: is_cilium_agent,
}];

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

fn recognise(workload: &Workload) -> Option<Plugin> {
    let sign = PLUGINS.iter().find(|sign| (sign.is)(workload))?;
    Some(Plugin {
        kind: sign.kind,
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
}
