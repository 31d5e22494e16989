//! Cilium is there, its version and configuration are known, and nodes do not go their own way.

use std::collections::BTreeMap;

use super::setting::evidence;
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::provenance::{Reason, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::cilium::control_plane;
use crate::profile::cilium::version::{Version, Versions};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &CILIUM_MISSING,
    &VERSION_UNKNOWN,
    &CONFIGURATION_UNREADABLE,
    &MESH_WITHOUT_ID,
    &NODES_DIFFER,
];

/// The versions whose rules were read in Cilium's own sources.
const KNOWN_VERSIONS: (Version, Version) = (Version(1, 14, 0), Version(1, 20, u32::MAX));

declare_check! {
    /// ## What it checks
    /// The cluster runs Cilium.
    ///
    /// ## Why it matters
    /// ClusterMesh is a feature of Cilium: every member must run it, be it as the only network plugin or chained on another one.
    ///
    /// ## How it is determined
    /// By the DaemonSet that runs the container `cilium-agent`, in whatever namespace. Planned clusters are left out.
    ///
    /// ## How to fix
    /// Install Cilium (replacing a network plugin restarts every pod), or leave the cluster out of the mesh.
    ///
    /// ## References
    /// Cilium documentation, "Setting up Cluster Mesh", prerequisites.
    pub static CILIUM_MISSING = {
        code: "CM001",
        slug: "cilium-missing",
        title: "Cluster does not run Cilium",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "only clusters that run Cilium can be members of a ClusterMesh",
        rules: [],
        run: Cluster(cilium_missing),
    };
}

fn cilium_missing(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    match cluster.facts.cilium.known_value() {
        Ok(known) => Ok(Outcome::holds()
            .found(format!(
                "{} in namespace {}",
                Versions::of(&known.value),
                known.value.namespace
            ))
            .evidence(Evidence::new(cluster.name(), &"Cilium", &known.source))),
        Err(unknown) if unknown.reason == Reason::NotInstalled => {
            let runs = crate::profile::cni_name(cluster);
            Ok(Outcome::broken()
                .expected("Cilium as network plugin")
                .found(if runs.is_empty() {
                    "no Cilium".to_owned()
                } else {
                    format!("no Cilium, but {runs}")
                })
                .remedy("install Cilium (every pod is restarted), or leave the cluster out of the mesh"))
        }
        Err(unknown) => Err(unknown.into()),
    }
}

declare_check! {
    /// ## What it checks
    /// The version of Cilium's agents is known and is one whose behaviour this tool knows: 1.14 to 1.20.
    ///
    /// ## Why it matters
    /// What an absent setting means, which values the agent accepts and which versions go together all depend on it.
    ///
    /// ## How it is determined
    /// By the image tag of the agent's DaemonSet and of its running pods. An image named by digest alone has no tag; rules that
    /// need the version then go by what the configuration's own keys show, or are unknown.
    ///
    /// ## How to fix
    /// Name the image by tag (and digest, if you like): chart value `image.tag`.
    ///
    /// ## References
    /// Cilium documentation, "Setting up Cluster Mesh", version compatibility.
    pub static VERSION_UNKNOWN = {
        code: "CM002",
        slug: "cilium-version",
        title: "Cilium's version is not one whose rules are known",
        severity: Info,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "defaults and behaviour differ from version to version",
        rules: [],
        run: Cluster(version_unknown),
    };
}

fn version_unknown(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let cilium = cluster.facts.cilium.get()?;
    let known = cilium.versions.known_value()?;
    let versions = Versions::of(cilium);
    if versions.inferred {
        let tag = known.value.get("agent").map_or("none", String::as_str);
        return Err(Unknown::unparsable(&known.source, tag).into());
    }
    let (oldest, newest) = KNOWN_VERSIONS;
    let outcome = if versions.oldest >= oldest && versions.newest <= newest {
        Outcome::holds()
    } else {
        Outcome::broken()
            .expected(format!("{oldest} to {newest}"))
            .remedy("read release notes between the versions known here and this one: defaults are taken from the nearest known one")
    };
    Ok(outcome
        .found(versions.to_string())
        .evidence(Evidence::new(cluster.name(), &versions, &known.source)))
}

declare_check! {
    /// ## What it checks
    /// ConfigMap `cilium-config` can be read.
    ///
    /// ## Why it matters
    /// Nearly every rule of this profile looks at it. Without it nothing can be said about identity, addressing, datapath and encryption.
    ///
    /// ## How it is determined
    /// By reading it, in the namespace where the agents run.
    ///
    /// ## How to fix
    /// Allow `list configmaps` there; the ClusterRole that this tool needs says how.
    ///
    /// ## References
    /// Cilium documentation, configuration of the agent.
    pub static CONFIGURATION_UNREADABLE = {
        code: "CM003",
        slug: "cilium-configuration",
        title: "Cilium's configuration cannot be read",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "nearly every other rule depends on it",
        rules: [],
        run: Cluster(configuration_unreadable),
    };
}

fn configuration_unreadable(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let config = cluster.facts.cilium.get()?.config.known_value()?;
    let count = format!("{} keys", config.value.len());
    Ok(Outcome::holds()
        .found(&count)
        .evidence(Evidence::new(cluster.name(), &count, &config.source)))
}

declare_check! {
    /// ## What it checks
    /// A cluster in which ClusterMesh was enabled has a cluster id.
    ///
    /// ## Why it matters
    /// With id 0 the agent does not complain: it leaves out everything that has to do with the mesh and ignores the Secret with the
    /// peers, while clustermesh-apiserver refuses to start.
    ///
    /// ## How it is determined
    /// Key `cluster-id` is 0 or absent while Service or Deployment `clustermesh-apiserver` exists, or Secret `cilium-clustermesh` where
    /// Secrets are read.
    ///
    /// ## How to fix
    /// Set chart value `cluster.id` to a free number from 1 on (and `cluster.name`), then restart Cilium. Identities are allocated
    /// anew: workloads have to be restarted too.
    ///
    /// ## References
    /// Cilium, `pkg/clustermesh/clustermesh.go`, `pkg/clustermesh/types/types.go`.
    pub static MESH_WITHOUT_ID = {
        code: "CM004",
        slug: "mesh-without-id",
        title: "ClusterMesh is enabled but has no cluster id",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "agents silently run without any mesh",
        rules: ["clustermesh ID-2"],
        run: Cluster(mesh_without_id),
    };
}

fn mesh_without_id(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let id = settings.shown("cluster-id")?;
    let has_id = id.value.parse::<u32>().is_ok_and(|id| id != 0);
    let secrets = settings
        .cilium
        .secrets
        .ok()
        .into_iter()
        .flat_map(|secrets| &secrets.present);
    let trace = if control_plane::deployment(cluster)?.is_some() {
        Some(format!("Deployment {}", control_plane::NAME))
    } else if control_plane::service(cluster)?.is_some() {
        Some(format!("Service {}", control_plane::NAME))
    } else {
        let mut names = secrets.filter(|name| name.ends_with("cilium-clustermesh"));
        names.next().map(|name| format!("Secret {name}"))
    };
    let Some(trace) = trace else {
        return Err(NoVerdict::does_not_apply("ClusterMesh is not enabled yet"));
    };
    let outcome = if has_id { Outcome::holds() } else { Outcome::broken() };
    Ok(outcome
        .expected("a cluster id, as the mesh is enabled")
        .found(format!("cluster-id {} with {trace}", id.value))
        .evidence_all(evidence(cluster, settings, &["cluster-id"]))
        .remedy("set chart values cluster.id and cluster.name, restart Cilium and then the workloads (new identities)")
        .cause(format!("cluster identity {}", cluster.name())))
}

declare_check! {
    /// ## What it checks
    /// No `CiliumNodeConfig` object overrides, on some nodes, a setting that a mesh needs to be the same on all of them.
    ///
    /// ## Why it matters
    /// A mesh is made of nodes: one node with another encapsulation or encryption is cut off from the nodes of all other clusters, and
    /// the ConfigMap shows nothing of it.
    ///
    /// ## How it is determined
    /// Objects `CiliumNodeConfig` that select at least one node and set such a key to another value than ConfigMap `cilium-config`.
    /// Rules that compare clusters look at these nodes too and fail where they differ; rules about one cluster go by the ConfigMap.
    ///
    /// ## How to fix
    /// Finish the rollout that the object was made for: move the value into the chart, delete the object, restart the agents.
    ///
    /// ## References
    /// Cilium documentation, "Per-node configuration".
    pub static NODES_DIFFER = {
        code: "CM005",
        slug: "node-overrides",
        title: "Nodes override settings that a mesh needs to be equal",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "some nodes behave differently from what the cluster's configuration shows",
        rules: [],
        run: Cluster(nodes_differ),
    };
}

fn nodes_differ(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let overrides = cluster.cilium()?.overrides_of_cluster_wide_keys()?;
    if overrides.is_empty() {
        return Ok(Outcome::holds());
    }
    let mut by_object: BTreeMap<&str, (Vec<&str>, &[String])> = BTreeMap::new();
    for (known, object) in &overrides {
        let (keys, _) = by_object.entry(&object.name).or_insert((Vec::new(), &object.nodes));
        keys.push(&known.value);
    }
    let found = by_object
        .iter()
        .map(|(name, (keys, nodes))| format!("{name} sets {} on {}", keys.join(", "), some_of(*nodes)));
    let mut nodes: Vec<&String> = overrides.iter().flat_map(|(_, object)| &object.nodes).collect();
    nodes.sort_unstable();
    nodes.dedup();
    Ok(Outcome::broken_as(Severity::Warn)
        .expected("the same settings on every node")
        .found(found.collect::<Vec<_>>().join("; "))
        .nodes(nodes)
        .evidence_all(overrides.iter().map(|(known, _)| Evidence::of(cluster.name(), known)))
        .remedy("move the values into the chart, delete the CiliumNodeConfig objects and restart the agents"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ClusterFacts;
    use crate::facts::cilium::NodeConfig;
    use crate::facts::provenance::{Fact, Source};
    use crate::profile::Profile::Clustermesh;
    use crate::report::{Finding, Verdict};
    use crate::samples::{cilium, cilium_mut, cluster, findings, report, set_cilium_key, value_mut};

    fn judged(facts: ClusterFacts, code: &str) -> Finding {
        let report = report(Clustermesh, &[facts]);
        findings(&report, code)[0].clone()
    }

    #[test]
    fn a_cluster_with_cilium_passes() {
        let finding = judged(cilium("east", 1), "CM001");
        assert_eq!(
            (finding.verdict, finding.found.as_str()),
            (Verdict::Pass, "Cilium 1.20.0 in namespace kube-system")
        );
    }

    #[test]
    fn a_cluster_without_cilium_fails_and_only_that() {
        let report = report(Clustermesh, &[cilium("east", 1), cluster("west", 2)]);
        let failed: Vec<_> = report
            .findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Fail)
            .collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(
            (failed[0].code.as_str(), &failed[0].subject.clusters[..]),
            ("CM001", &["west".to_owned()][..])
        );
    }

    #[test]
    fn a_planned_cluster_is_skipped() {
        let finding = judged(ClusterFacts::planned("future", Vec::new()), "CM001");
        assert_eq!(
            (finding.verdict, finding.reason.as_str()),
            (Verdict::Skip, "not declared")
        );
    }

    #[test]
    fn nothing_complains_of_a_planned_cluster_without_cilium_settings() {
        let facts = [cilium("east", 1), ClusterFacts::planned("future", Vec::new())];
        let report = report(Clustermesh, &facts);
        let about_it = |finding: &&Finding| finding.subject.clusters == ["future"] && finding.code.starts_with("CM");
        let verdicts: Vec<Verdict> = report
            .findings
            .iter()
            .filter(about_it)
            .map(|finding| finding.verdict)
            .collect();
        assert!(verdicts.len() > 20);
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Skip), "{verdicts:?}");
    }

    #[test]
    fn a_cluster_that_could_not_be_asked_is_unknown() {
        let mut facts = cluster("east", 1);
        facts.cilium = Fact::unknown(Reason::Forbidden, "list daemonsets: forbidden");
        assert_eq!(judged(facts, "CM001").verdict, Verdict::Unknown);
    }

    #[test]
    fn a_version_without_a_tag_is_unknown_and_one_beyond_what_is_known_is_told() {
        let with_tag = |tag: &str| {
            let mut facts = cilium("east", 1);
            let cilium = cilium_mut(&mut facts);
            value_mut(&mut cilium.versions).insert("agent".to_owned(), tag.to_owned());
            value_mut(&mut cilium.agent_pods).clear();
            judged(facts, "CM002")
        };
        assert_eq!(with_tag("1.17.4").verdict, Verdict::Pass);
        assert_eq!(with_tag("latest").verdict, Verdict::Unknown);
        let newer = with_tag("1.23.0");
        assert_eq!(
            (newer.verdict, newer.expected.as_str()),
            (Verdict::Pass, "1.14.0 to 1.20")
        );
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_unknown() {
        assert_eq!(judged(cilium("east", 1), "CM003").verdict, Verdict::Pass);
        let mut facts = cilium("east", 1);
        cilium_mut(&mut facts).config = Fact::unknown(Reason::Forbidden, "list configmaps in kube-system: forbidden");
        assert_eq!(judged(facts, "CM003").verdict, Verdict::Unknown);
    }

    #[test]
    fn a_mesh_with_id_0_fails_but_none_without_a_mesh() {
        assert_eq!(judged(cilium("east", 1), "CM004").verdict, Verdict::Pass);
        let mut facts = cilium("east", 1);
        set_cilium_key(&mut facts, "cluster-id", None);
        assert_eq!(judged(facts.clone(), "CM004").verdict, Verdict::Fail);
        value_mut(&mut facts.workloads).clear();
        value_mut(&mut facts.services).clear();
        assert_eq!(judged(facts.clone(), "CM004").verdict, Verdict::Skip);
        facts.workloads = Fact::unknown(Reason::Forbidden, "list deployments: forbidden");
        assert_eq!(judged(facts, "CM004").verdict, Verdict::Unknown);
    }

    #[test]
    fn an_override_of_what_must_be_equal_warns_and_names_the_nodes() {
        let mut facts = cilium("east", 1);
        let objects = [("odd", "tunnel-port"), ("fast", "bpf-lb-acceleration")].map(|(name, key)| NodeConfig {
            name: name.to_owned(),
            defaults: BTreeMap::from([(key.to_owned(), "7".to_owned())]),
            nodes: vec!["east-n2".to_owned()],
        });
        cilium_mut(&mut facts).node_configs = Fact::known(objects.into(), Source::read("CiliumNodeConfigs", ""));
        let finding = judged(facts.clone(), "CM005");
        assert_eq!(finding.verdict, Verdict::Warn);
        assert_eq!(finding.subject.nodes, ["east-n2"]);
        assert_eq!(finding.found, "odd sets tunnel-port: 7 on east-n2");

        assert_eq!(judged(cilium("east", 1), "CM005").verdict, Verdict::Pass);
        cilium_mut(&mut facts).node_configs = Fact::unknown(Reason::Forbidden, "list ciliumnodeconfigs: forbidden");
        assert_eq!(judged(facts, "CM005").verdict, Verdict::Unknown);
    }
}
