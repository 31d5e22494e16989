//! Network plugins: what Submariner takes them for, and whether it has a handler for them.

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::cni::{Plugin, PluginKind};
use crate::facts::provenance::{Known, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::discovery::{
    GENERIC, ROUTED_PLUGINS, is_in_kube_system, network_plugin, openshift, running,
};
use crate::profile::submariner::{Mesh, absent, field, installed, member};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &PLUGIN_KNOWN,
    &FLANNEL_FALSE_ALARM,
    &FLANNEL_NAMESPACE,
    &VPC_PLUGIN,
    &WEAVE_RANGE,
    &EMBEDDED_FLANNEL,
    &ROUTED_PLUGIN,
];

fn plugin_evidence(cluster: &Cluster<'_>, plugin: &Plugin) -> Evidence {
    let value = format!("{} {}", plugin.kind, plugin.version);
    Evidence::new(cluster.name(), &value.trim_end(), &plugin.source)
}

fn has_daemon_set(plugin: &Plugin) -> bool {
    plugin.source.object.starts_with("DaemonSet ")
}

declare_check! {
    /// ## What it checks
    /// Submariner recognises the cluster's network plugin.
    ///
    /// ## Why it matters
    /// What it does not recognise is `generic`: it may work, but nobody has tested it, no handler knows its ways, and the pod range is found only if
    /// the control plane's flags show it. `subctl diagnose` warns.
    ///
    /// ## How it is determined
    /// The detectors of the operator, one after the other, asked of the same objects. Flannel outside of kube-system, K3s, Cilium and the Amazon VPC
    /// CNI have checks of their own.
    ///
    /// ## How to fix
    /// Prove the data path with `subctl verify`, and pass `--clustercidr` and `--servicecidr`.
    ///
    /// ## References
    /// `submariner-operator`, `pkg/discovery/network`; `subctl`, `pkg/diagnose/cni.go`.
    pub static PLUGIN_KNOWN = {
        code: "SM301",
        slug: "network-plugin-known",
        title: "Submariner does not know the network plugin",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "it is taken for a generic one, which nobody has tested",
        rules: ["submariner CNI-01"],
        run: Cluster(plugin_known),
    };
}

fn plugin_known(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let found = network_plugin(cluster)?;
    if found.value != GENERIC {
        return Ok(Outcome::holds()
            .found(&found.value)
            .evidence(Evidence::of(cluster.name(), &found)));
    }
    for kind in [PluginKind::Cilium, PluginKind::AwsVpc, PluginKind::Flannel] {
        if running(cluster, kind)?.is_some() {
            return Err(NoVerdict::does_not_apply(format!("{kind} has a check of its own")));
        }
    }
    if k3s_node(cluster)?.is_some() {
        return Err(NoVerdict::does_not_apply("K3s has a check of its own"));
    }
    let plugins = cluster.facts.cni.plugins.get()?;
    let others: Vec<&Plugin> = plugins.iter().filter(|plugin| plugin.running).collect();
    let names = if others.is_empty() {
        "no known plugin".to_owned()
    } else {
        some_of(others.iter().map(|plugin| plugin.kind))
    };
    Ok(Outcome::broken()
        .expected(
            "a plugin that Submariner knows: Calico, Canal, Flannel, kindnet, OVN-Kubernetes, OpenShift SDN, Weave",
        )
        .found(names)
        .evidence_all(others.iter().map(|plugin| plugin_evidence(cluster, plugin)))
        .remedy("prove the data path with subctl verify, and pass --clustercidr and --servicecidr"))
}

/// The first node that K3s runs, with its version.
fn k3s_node(cluster: &Cluster<'_>) -> Result<Option<Known<String>>, Unknown> {
    let nodes = cluster.facts.nodes.get()?;
    let node = nodes.iter().find(|node| node.kubelet_version.contains("k3s"));
    Ok(node.map(|node| {
        let source = Source::read(format!("Node {}", node.name), "status.nodeInfo.kubeletVersion");
        Known::new(node.kubelet_version.clone(), source)
    }))
}

declare_check! {
    /// ## What it checks
    /// Whether `subctl diagnose cni` will fail for Flannel although nothing is wrong.
    ///
    /// ## Why it matters
    /// Its list of supported plugins lacks plain `flannel`, which the documentation and the operator support. The failure it reports is a false
    /// alarm, and nobody should change a network because of it.
    ///
    /// ## How it is determined
    /// `status.networkPlugin` of the `Submariner` object.
    ///
    /// ## How to fix
    /// Ignore that failure.
    ///
    /// ## References
    /// `subctl`, `pkg/diagnose/cni.go`; Lighthouse issue 2001.
    pub static FLANNEL_FALSE_ALARM = {
        code: "SM302",
        slug: "flannel-false-alarm",
        title: "subctl diagnose fails for Flannel without a reason",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "subctl's list of plugins lacks flannel",
        rules: ["submariner CNI-02"],
        run: Cluster(flannel_false_alarm),
    };
}

fn flannel_false_alarm(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let config = member(cluster)?;
    let plugin = &config.value.network_plugin;
    if plugin != "flannel" {
        return Ok(Outcome::holds().found(plugin));
    }
    Ok(Outcome::broken()
        .found("flannel: ignore that subctl diagnose cni fails for it")
        .evidence(Evidence::new(
            cluster.name(),
            plugin,
            &field(config, "status.networkPlugin"),
        )))
}

declare_check! {
    /// ## What it checks
    /// Flannel is where Submariner looks for it, or the pod range is given.
    ///
    /// ## Why it matters
    /// The operator looks for Flannel's DaemonSet in kube-system only. The current manifest puts it into namespace `kube-flannel`: it is taken for a
    /// generic plugin, and the pod range may not be found.
    ///
    /// ## How it is determined
    /// The namespace of the DaemonSet that runs Flannel, and `--clustercidr` of the plan or `spec.clusterCIDR` of a member.
    ///
    /// ## How to fix
    /// Pass `--clustercidr`.
    ///
    /// ## References
    /// `submariner-operator`, `pkg/discovery/network/flannel.go`; submariner issue 2775.
    pub static FLANNEL_NAMESPACE = {
        code: "SM303",
        slug: "flannel-namespace",
        title: "Submariner does not find Flannel",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "it is taken for a generic plugin, and the pod range may be unknown",
        rules: ["submariner CNI-03"],
        run: Cluster(flannel_namespace),
    };
}

fn flannel_namespace(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let Some(flannel) = running(cluster, PluginKind::Flannel)?.filter(|plugin| has_daemon_set(plugin)) else {
        return Err(NoVerdict::does_not_apply("Flannel does not run as a DaemonSet"));
    };
    let stated = Mesh::of(audit).stated_pod_cidrs(cluster)?;
    let outcome = if is_in_kube_system(flannel) {
        Outcome::holds().found("in kube-system")
    } else if stated.is_empty() {
        Outcome::broken().found(&flannel.source.object)
    } else {
        Outcome::holds().found(format!(
            "pod range {} is given",
            some_of(stated.iter().map(|range| range.cidr))
        ))
    };
    let pods = cluster.pods().map(|pods| some_of(pods.summary())).unwrap_or_default();
    Ok(outcome
        .expected("Flannel in kube-system, or a pod range that is given")
        .evidence(plugin_evidence(cluster, flannel))
        .remedy(format!("join {} with --clustercidr {pods}", cluster.name())))
}

declare_check! {
    /// ## What it checks
    /// The cluster does not run the Amazon VPC CNI.
    ///
    /// ## Why it matters
    /// Pods on secondary network interfaces follow policy routing of their interface, which lacks the routes to other clusters. The gateway also needs
    /// EC2's check of source and destination off, and security groups that let remote pod ranges in.
    ///
    /// ## How it is determined
    /// The DaemonSet `aws-node`.
    ///
    /// ## How to fix
    /// Turn the check of source and destination off for gateways, add rules for the remote ranges on every node, or keep pods on the primary
    /// interface; or use another plugin.
    ///
    /// ## References
    /// submariner issues 2265, 2917, 3697 and 4100; submariner-website issue 1315.
    pub static VPC_PLUGIN = {
        code: "SM312",
        slug: "amazon-vpc-plugin",
        title: "Pods of the Amazon VPC CNI do not reach other clusters",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "policy routing of secondary interfaces lacks the routes to other clusters",
        rules: ["submariner CNI-12"],
        run: Cluster(vpc_plugin),
    };
}

fn vpc_plugin(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let Some(plugin) = running(cluster, PluginKind::AwsVpc)? else {
        return Err(NoVerdict::does_not_apply("no Amazon VPC CNI"));
    };
    Ok(Outcome::broken()
        .expected("a plugin whose pods follow the node's main routing table")
        .found("Amazon VPC CNI")
        .evidence(plugin_evidence(cluster, plugin))
        .remedy(
            "turn EC2's source and destination check off on gateways, and add rules for remote ranges on every node",
        ))
}

declare_check! {
    /// ## What it checks
    /// Weave is told its pod range.
    ///
    /// ## Why it matters
    /// Submariner reads the range from the variable `IPALLOC_RANGE`. Without it the flags of the control plane are asked, which may say something
    /// else than Weave's default, 10.32.0.0/12.
    ///
    /// ## How it is determined
    /// `IPALLOC_RANGE` of Weave's DaemonSet.
    ///
    /// ## How to fix
    /// Set the variable, or pass `--clustercidr`.
    ///
    /// ## References
    /// `submariner-operator`, `pkg/discovery/network/weavenet.go`.
    pub static WEAVE_RANGE = {
        code: "SM314",
        slug: "weave-range",
        title: "Weave does not say its pod range",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the range is taken from elsewhere",
        rules: ["submariner CNI-16"],
        run: Cluster(weave_range),
    };
}

fn weave_range(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let Some(plugin) = running(cluster, PluginKind::Weave)? else {
        return Err(NoVerdict::does_not_apply("Weave does not run"));
    };
    let ranges = match cluster.facts.cni.env_ranges.get() {
        Ok(ranges) => ranges.iter().find(|range| range.kind == PluginKind::Weave),
        Err(why) if absent(&why) => None,
        Err(why) => return Err(why.into()),
    };
    let outcome = match ranges {
        Some(range) => Outcome::holds().found(some_of(&range.cidrs)).evidence(Evidence::new(
            cluster.name(),
            &some_of(&range.cidrs),
            &range.source,
        )),
        None => Outcome::broken()
            .found("IPALLOC_RANGE is not set")
            .evidence(plugin_evidence(cluster, plugin)),
    };
    Ok(outcome
        .expected("IPALLOC_RANGE set")
        .remedy("set IPALLOC_RANGE, or pass --clustercidr"))
}

declare_check! {
    /// ## What it checks
    /// With the Flannel inside K3s, the ranges of pods and Services are given.
    ///
    /// ## Why it matters
    /// It has no DaemonSet, so that it is taken for a generic plugin, and K3s shows no flags of the control plane: the pod range is asked for, or on old
    /// releases the block of one node is taken for that of the cluster, and most pods are never reached.
    ///
    /// ## How it is determined
    /// `k3s` in the kubelet's version, no other plugin running; `--clustercidr` and `--servicecidr` of the plan, or the ranges in a member's object.
    ///
    /// ## How to fix
    /// Pass both.
    ///
    /// ## References
    /// submariner issues 1583, 1642 and 2128; submariner-operator issues 1730 and 1731.
    pub static EMBEDDED_FLANNEL = {
        code: "SM315",
        slug: "k3s-embedded-flannel",
        title: "Submariner does not find the ranges of K3s",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the join stops to ask, or takes one node's block for the cluster's",
        rules: ["submariner CNI-17"],
        run: Cluster(embedded_flannel),
    };
}

fn embedded_flannel(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let Some(k3s) = k3s_node(cluster)? else {
        return Err(NoVerdict::does_not_apply("not K3s"));
    };
    let plugins = cluster.facts.cni.plugins.get()?;
    // The one inside K3s is told from its nodes; any other has a DaemonSet.
    if plugins.iter().any(|plugin| plugin.running && has_daemon_set(plugin)) {
        return Err(NoVerdict::does_not_apply("K3s runs with another plugin"));
    }
    let mesh = Mesh::of(audit);
    let (pods, services) = (mesh.stated_pod_cidrs(cluster)?, mesh.stated_service_cidrs(cluster)?);
    let outcome = if pods.is_empty() || services.is_empty() {
        Outcome::broken().found("not given")
    } else {
        Outcome::holds().found("given")
    };
    let real_pods = cluster.pods().map(|pods| some_of(pods.summary())).unwrap_or_default();
    let real_services = cluster
        .services()
        .map(|services| some_of(services.ranges.iter().map(|range| range.cidr)))
        .unwrap_or_default();
    Ok(outcome
        .expected("ranges of pods and Services that are given")
        .evidence(Evidence::of(cluster.name(), &k3s))
        .remedy(format!(
            "join {} with --clustercidr {real_pods} --servicecidr {real_services}",
            cluster.name()
        )))
}

declare_check! {
    /// ## What it checks
    /// The route agent has a handler for the name under which it knows the network plugin.
    ///
    /// ## Why it matters
    /// On OpenShift the name is the network type as it is written there, and handlers accept a fixed list. With another name (Cilium, Kuryr, NSX) route
    /// agents run and route nothing; no field of Submariner's object overrides it.
    ///
    /// ## How it is determined
    /// `status.networkPlugin` of a member; before a join `spec.networkType` of OpenShift's network object. The list is that of all releases; releases of
    /// 2026 accept more.
    ///
    /// ## How to fix
    /// Use a plugin of the list, or a release whose list has it.
    ///
    /// ## References
    /// `submariner`, `pkg/routeagent_driver/handlers/kubeproxy/kp_packetfilter.go` and `pkg/event/registry.go`;
    /// `submariner-operator`, `pkg/discovery/network/openshift4.go`.
    pub static ROUTED_PLUGIN = {
        code: "SM316",
        slug: "network-plugin-routed",
        title: "No handler of the route agent accepts the network plugin",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "route agents run and route nothing",
        rules: ["submariner CNI-19"],
        run: Cluster(routed_plugin),
    };
}

fn routed_plugin(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let of_openshift = openshift(cluster)?;
    let name = match installed(cluster)? {
        Some(config) if !config.value.network_plugin.is_empty() => Known::new(
            config.value.network_plugin.clone(),
            field(config, "status.networkPlugin"),
        ),
        _ if of_openshift.is_some() => network_plugin(cluster)?,
        _ => {
            return Err(NoVerdict::does_not_apply(
                "outside OpenShift every name found has a handler",
            ));
        }
    };
    let lower = name.value.to_ascii_lowercase();
    // Only a release that knows such a plugin finds it, except on OpenShift, where any name is taken.
    let of_newer_release = of_openshift.is_none() && !lower.is_empty();
    let outcome = if ROUTED_PLUGINS.contains(&lower.as_str()) {
        Outcome::holds()
    } else if of_newer_release {
        Outcome::broken_as(Severity::Info)
    } else {
        Outcome::broken()
            .remedy("use OVN-Kubernetes or another plugin of the list, or a release whose handlers accept it")
    };
    Ok(outcome
        .expected(format!("one of {}", ROUTED_PLUGINS.join(", ")))
        .found(&name.value)
        .evidence(Evidence::of(cluster.name(), &name)))
}

#[cfg(test)]
mod tests {
    use crate::engine::judge;
    use crate::facts::ClusterFacts;
    use crate::facts::cni::{EnvRange, Plugin, PluginKind};
    use crate::facts::kubernetes::OpenShiftNetwork;
    use crate::facts::provenance::{Fact, Reason, Source};
    use crate::intent::{Intent, SubmarinerClusterPlan};
    use crate::profile::Profile::Submariner;
    use crate::report::{Finding, Severity, Verdict};
    use crate::samples::{cilium, findings, flannel, policy, report, submariner, submariner_config_mut, value_mut};

    fn alone(facts: &ClusterFacts, code: &str) -> Finding {
        findings(&report(Submariner, std::slice::from_ref(facts)), code)[0].clone()
    }

    /// Judged with both ranges given.
    fn with_ranges(facts: &ClusterFacts, code: &str) -> Verdict {
        let mut intent = Intent::default();
        let plan = SubmarinerClusterPlan {
            cluster_cidr: vec!["10.10.0.0/16".parse().unwrap()],
            service_cidr: vec!["10.101.0.0/16".parse().unwrap()],
            ..SubmarinerClusterPlan::default()
        };
        intent.submariner.clusters.insert("east".to_owned(), plan);
        let report = judge(std::slice::from_ref(facts), &intent, &policy(Submariner));
        findings(&report, code)[0].verdict
    }

    fn running(kind: PluginKind, object: &str) -> ClusterFacts {
        let mut facts = flannel("east", 1);
        *value_mut(&mut facts.cni.plugins) = vec![Plugin {
            kind,
            source: Source::read(object, ""),
            version: String::new(),
            running: true,
        }];
        facts
    }

    fn k3s() -> ClusterFacts {
        let mut facts = running(PluginKind::Flannel, "Node east-n1");
        for node in value_mut(&mut facts.nodes) {
            node.kubelet_version = "v1.33.1+k3s1".to_owned();
        }
        facts
    }

    #[test]
    fn an_unknown_plugin_is_generic() {
        assert_eq!(alone(&flannel("east", 1), "SM301").verdict, Verdict::Pass);
        let antrea = alone(
            &running(PluginKind::Antrea, "DaemonSet kube-system/antrea-agent"),
            "SM301",
        );
        assert_eq!((antrea.verdict, antrea.found.as_str()), (Verdict::Warn, "Antrea"));
        assert_eq!(alone(&cilium("east", 1), "SM301").verdict, Verdict::Skip);
        assert_eq!(alone(&k3s(), "SM301").verdict, Verdict::Skip);
        let mut unread = flannel("east", 1);
        unread.cni.plugins = Fact::unknown(Reason::Forbidden, "list daemonsets: forbidden");
        for code in ["SM301", "SM303", "SM312", "SM314"] {
            assert_eq!(alone(&unread, code).verdict, Verdict::Unknown, "{code}");
        }
    }

    #[test]
    fn diagnoses_false_alarm_for_flannel_is_told() {
        let mut member = submariner(&[("east", 1)]).remove(0);
        assert!(alone(&member, "SM302").found.starts_with("flannel: ignore"));
        submariner_config_mut(&mut member).network_plugin = "calico".to_owned();
        assert_eq!(alone(&member, "SM302").found, "calico");
        assert_eq!(alone(&flannel("east", 1), "SM302").verdict, Verdict::Skip);
        member.submariner = Fact::unknown(Reason::Forbidden, "list submariners: forbidden");
        assert_eq!(alone(&member, "SM302").verdict, Verdict::Unknown);
    }

    #[test]
    fn flannel_of_the_current_manifest_is_not_found() {
        assert_eq!(alone(&flannel("east", 1), "SM303").verdict, Verdict::Pass);
        let current = running(PluginKind::Flannel, "DaemonSet kube-flannel/kube-flannel-ds");
        assert_eq!(alone(&current, "SM303").verdict, Verdict::Warn);
        assert_eq!(alone(&current, "SM301").verdict, Verdict::Skip);
        assert_eq!(with_ranges(&current, "SM303"), Verdict::Pass);
    }

    #[test]
    fn amazons_plugin_fails() {
        assert_eq!(alone(&flannel("east", 1), "SM312").verdict, Verdict::Skip);
        assert_eq!(
            alone(&running(PluginKind::AwsVpc, "DaemonSet kube-system/aws-node"), "SM312").verdict,
            Verdict::Fail
        );
    }

    #[test]
    fn weave_without_its_variable_is_recorded() {
        let mut weave = running(PluginKind::Weave, "DaemonSet kube-system/weave-net");
        assert_eq!(alone(&weave, "SM314").found, "IPALLOC_RANGE is not set");
        weave.cni.env_ranges = Fact::known(
            vec![EnvRange {
                kind: PluginKind::Weave,
                cidrs: vec!["10.32.0.0/12".parse().unwrap()],
                source: Source::read("DaemonSet kube-system/weave-net", "env IPALLOC_RANGE"),
            }],
            Source::read("DaemonSets", ""),
        );
        assert_eq!(alone(&weave, "SM314").found, "10.32.0.0/12");
    }

    #[test]
    fn k3s_needs_its_ranges_given() {
        assert_eq!(alone(&flannel("east", 1), "SM315").verdict, Verdict::Skip);
        assert_eq!(alone(&k3s(), "SM315").verdict, Verdict::Warn);
        assert_eq!(with_ranges(&k3s(), "SM315"), Verdict::Pass);
        let mut with_calico = k3s();
        value_mut(&mut with_calico.cni.plugins).push(Plugin {
            kind: PluginKind::Calico,
            source: Source::read("DaemonSet calico-system/calico-node", ""),
            version: String::new(),
            running: true,
        });
        assert_eq!(alone(&with_calico, "SM315").verdict, Verdict::Skip);
        let mut unread = k3s();
        unread.nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
        assert_eq!(alone(&unread, "SM315").verdict, Verdict::Unknown);
    }

    #[test]
    fn openshift_passes_on_names_no_handler_accepts() {
        let openshift = |network_type: &str| {
            let mut facts = flannel("east", 1);
            facts.control_plane.openshift_network = Fact::known(
                OpenShiftNetwork {
                    network_type: network_type.to_owned(),
                    ..OpenShiftNetwork::default()
                },
                Source::read("Network cluster", ""),
            );
            facts
        };
        for (network_type, expected) in [
            ("OVNKubernetes", Verdict::Pass),
            ("Calico", Verdict::Pass),
            ("Cilium", Verdict::Fail),
            ("Kuryr", Verdict::Fail),
        ] {
            assert_eq!(
                alone(&openshift(network_type), "SM316").verdict,
                expected,
                "{network_type}"
            );
        }
        assert_eq!(alone(&flannel("east", 1), "SM316").verdict, Verdict::Skip);
        let mut unread = flannel("east", 1);
        unread.control_plane.openshift_network = Fact::unknown(Reason::Forbidden, "get networks: forbidden");
        assert_eq!(alone(&unread, "SM316").verdict, Verdict::Unknown);
    }

    #[test]
    fn a_members_plugin_must_have_a_handler() {
        let mut member = submariner(&[("east", 1)]).remove(0);
        assert_eq!(alone(&member, "SM316").verdict, Verdict::Pass);
        submariner_config_mut(&mut member).network_plugin = "cilium".to_owned();
        let newer = alone(&member, "SM316");
        assert_eq!((newer.verdict, newer.severity), (Verdict::Pass, Severity::Info));
    }
}
