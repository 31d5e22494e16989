//! Versions, kernels, and what only a lab does.

mod kernel;

use std::collections::BTreeSet;

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::compare::Groups;
use crate::facts::cni::PluginKind;
use crate::facts::provenance::{Known, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::values::RoutingMode;
use crate::profile::cilium::version::Versions;
use crate::report::{Evidence, Severity};
use kernel::KERNEL;

pub(super) static CHECKS: &[&Check] = &[
    &VERSION_SKEW,
    &COMPONENT_VERSIONS,
    &ROTATION_IN_SKEW,
    &KERNEL,
    &OTHER_TUNNEL,
    &ARCHITECTURE,
    &ONE_NETWORK,
    &LOOPBACK_API,
];

declare_check! {
    /// ## What it checks
    /// The Cilium versions of all clusters differ by at most one minor release.
    ///
    /// ## Why it matters
    /// Upgrades of a mesh are tested between neighbouring minor releases only; what the record between clusters holds
    /// changes, and nothing in Cilium compares versions.
    ///
    /// ## How it is determined
    /// Agent image tags, per cluster the oldest and the newest that runs. One minor apart is recorded, two or more
    /// fail.
    ///
    /// ## How to fix
    /// Upgrade the older cluster one minor release at a time.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup (1.20.2).
    pub static VERSION_SKEW = {
        code: "CM901",
        slug: "version-skew",
        title: "Cilium versions are more than one minor release apart",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "a mesh of such versions is unsupported and untested",
        rules: ["clustermesh VS-1", "clustermesh VS-2"],
        run: Between(version_skew),
    };
}

/// The oldest and the newest minor release of a cluster's agents.
fn minors(cluster: &Cluster<'_>) -> Result<Known<Minor>, NoVerdict> {
    let settings = cluster.cilium()?;
    let versions = settings.versions;
    if versions.newest == Versions::ANY.newest {
        return Err(Unknown::not_found(format!(
            "the version of Cilium on {} is not known: {versions}",
            cluster.name()
        ))
        .into());
    }
    let source = settings
        .cilium
        .versions
        .known_value()
        .map_or_else(|_| settings.cilium.config_source(""), |known| known.source.clone());
    Ok(Known::new(
        Minor {
            oldest: (versions.oldest.0, versions.oldest.1),
            newest: (versions.newest.0, versions.newest.1),
        },
        source,
    ))
}

/// A span of minor releases, usually of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Minor {
    oldest: (u32, u32),
    newest: (u32, u32),
}

impl std::fmt::Display for Minor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.oldest.0, self.oldest.1)?;
        if self.newest == self.oldest {
            return Ok(());
        }
        write!(f, " to {}.{}", self.newest.0, self.newest.1)
    }
}

impl Minor {
    /// Minor releases between the far ends of two spans.
    fn apart(&self, other: &Self) -> u32 {
        let distance = |a: (u32, u32), b: (u32, u32)| if a.0 == b.0 { a.1.abs_diff(b.1) } else { u32::MAX };
        distance(self.oldest, other.newest).max(distance(self.newest, other.oldest))
    }
}

fn version_skew(audit: &Audit<'_>) -> Vec<Outcome> {
    let groups = Groups::of(audit, minors);
    let mut outcomes = groups.outcomes_without();
    let clusters = groups.clusters();
    if clusters.len() < 2 {
        return outcomes;
    }
    let ids = |members: &Vec<(ClusterId, Known<Minor>)>| members.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    let mut outcome: Option<Outcome> = None;
    let spans: Vec<_> = groups.values.iter().collect();
    let mut farthest = 0;
    for (place, (span, members)) in spans.iter().enumerate() {
        for (other, others) in &spans[place + 1..] {
            farthest = farthest.max(span.apart(other));
            if span.apart(other) >= 2 {
                outcome = Some(
                    outcome
                        .unwrap_or_else(Outcome::broken)
                        .across([ids(members), ids(others)]),
                );
            }
        }
    }
    let outcome = outcome
        .map(|outcome| outcome.remedy("upgrade the older clusters one minor release at a time, one cluster at a time"));
    let recorded = if farthest == 1 {
        Outcome::broken_as(Severity::Info)
    } else {
        Outcome::holds()
    };
    outcomes.push(
        outcome
            .unwrap_or(recorded)
            .expected("at most one minor release apart")
            .found(groups.describe(audit))
            .evidence_all(groups.evidence(audit))
            .about(clusters),
    );
    outcomes
}

declare_check! {
    /// ## What it checks
    /// Agent, operator and clustermesh-apiserver of a cluster have one version.
    ///
    /// ## Why it matters
    /// An apiserver left on another version writes what agents do not expect.
    ///
    /// ## How it is determined
    /// Image tags; while agents of several versions run, a rollout is under way and this is only recorded.
    ///
    /// ## How to fix
    /// Upgrade all with the chart.
    ///
    /// ## References
    /// Cilium upgrade guide; cilium-cli issue 689.
    pub static COMPONENT_VERSIONS = {
        code: "CM902",
        slug: "component-versions",
        title: "Components of Cilium have different versions",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "parts of one installation expect different things of each other",
        rules: ["clustermesh VS-3"],
        run: Cluster(component_versions),
    };
}

fn component_versions(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let cilium = cluster.facts.cilium.get()?;
    let known = cilium.versions.known_value()?;
    let different: BTreeSet<&String> = known.value.values().collect();
    let rollout = cilium.agent_pods.get().is_ok_and(|pods| pods.len() > 1);
    let evidence = known.value.iter().map(|(component, version)| {
        Evidence::new(
            cluster.name(),
            &format!("{component} {version}"),
            &Source {
                field: "image".to_owned(),
                ..known.source.clone()
            },
        )
    });
    let outcome = match (different.len(), rollout) {
        (0 | 1, _) => Outcome::holds(),
        (_, true) => Outcome::broken_as(Severity::Info).found("a rollout is under way"),
        _ => Outcome::broken().remedy("upgrade agent, operator and clustermesh-apiserver together, with the chart"),
    };
    let outcome = if outcome.found.is_empty() {
        outcome.found(different.into_iter().cloned().collect::<Vec<_>>().join(", "))
    } else {
        outcome
    };
    Ok(outcome.expected("one version").evidence_all(evidence))
}

declare_check! {
    /// ## What it checks
    /// No IPsec key is rotated while Cilium versions differ.
    ///
    /// ## Why it matters
    /// Key handling changed between releases; rotation is supported once all run one version.
    ///
    /// ## How it is determined
    /// Key ids on CiliumNodes (several in one cluster mean a rotation) and versions of all clusters.
    ///
    /// ## How to fix
    /// Finish the upgrade, then rotate.
    ///
    /// ## References
    /// Cilium documentation, IPsec encryption.
    pub static ROTATION_IN_SKEW = {
        code: "CM903",
        slug: "ipsec-rotation-in-skew",
        title: "An IPsec key is being rotated while versions differ",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "nodes may lose the key their peers use",
        rules: ["clustermesh VS-5"],
        run: Between(rotation_in_skew),
    };
}

fn rotation_in_skew(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut rotating = Vec::new();
    let mut outcomes = Vec::new();
    let mut encrypting = Vec::new();
    for cluster in audit.clusters {
        let read = || -> Result<bool, NoVerdict> {
            let settings = cluster.cilium()?;
            if !settings.flag("enable-ipsec")?.value {
                return Err(NoVerdict::does_not_apply("IPsec is off"));
            }
            let ids: BTreeSet<u32> = settings
                .cilium
                .nodes
                .get()?
                .iter()
                .filter_map(|node| node.encryption_key)
                .filter(|key| (1..=15).contains(key))
                .collect();
            Ok(ids.len() > 1)
        };
        match read() {
            Ok(is_rotating) => {
                encrypting.push(cluster.id);
                if is_rotating {
                    rotating.push(cluster.id);
                }
            }
            Err(why) => outcomes.push(Outcome::none(why).about([cluster.id])),
        }
    }
    if !encrypting.is_empty() {
        let versions: BTreeSet<String> = encrypting
            .iter()
            .filter_map(|id| Some(audit.cluster(*id).cilium().ok()?.versions.to_string()))
            .collect();
        outcomes.push(if rotating.is_empty() || versions.len() < 2 {
            Outcome::holds()
                .found(if rotating.is_empty() {
                    "no rotation under way"
                } else {
                    "one version everywhere"
                })
                .about(encrypting)
        } else {
            Outcome::broken()
                .expected("no rotation while versions differ")
                .found(format!(
                    "{} rotate a key; versions: {}",
                    audit.names(&rotating),
                    versions.into_iter().collect::<Vec<_>>().join(", ")
                ))
                .remedy("finish the upgrade in all clusters, then rotate")
                .about(encrypting)
        });
    }
    outcomes
}

declare_check! {
    /// ## What it checks
    /// No other plugin's overlay uses Cilium's tunnel port.
    ///
    /// ## Why it matters
    /// Flannel's VXLAN uses UDP 8472 too; left-overs of another plugin keep the port.
    ///
    /// ## How it is determined
    /// DaemonSets of other plugins and Flannel's port against the tunnel port in tunnel mode. Whether the port is
    /// taken, only an agent sees.
    ///
    /// ## How to fix
    /// Remove the other plugin, or change `tunnelPort` in all clusters.
    ///
    /// ## References
    /// Cilium, `pkg/datapath/tunnel/tunnel.go`.
    pub static OTHER_TUNNEL = {
        code: "CM905",
        slug: "other-tunnel-user",
        title: "Another plugin may use the tunnel port",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "two VXLAN devices cannot share one UDP port",
        rules: ["clustermesh K-8"],
        run: Cluster(other_tunnel),
    };
}

fn other_tunnel(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    if settings.routing_mode()?.value != RoutingMode::Tunnel {
        return Err(NoVerdict::does_not_apply("native routing uses no tunnel port"));
    }
    let port = settings.tunnel_port()?;
    let chained = settings.chained_on_another()?.value;
    // VXLAN plugins and the port each uses unless told otherwise.
    let plugins = cluster
        .facts
        .cni
        .plugins
        .get()?
        .iter()
        .filter(|plugin| plugin.running && !chained);
    let flannel = cluster.facts.cni.flannel.ok().and_then(|flannel| flannel.port);
    let clash = plugins.filter(|plugin| match plugin.kind {
        PluginKind::Flannel | PluginKind::Canal => flannel.unwrap_or(8472) == port.value,
        PluginKind::Calico => port.value == 4789,
        PluginKind::OvnKubernetes | PluginKind::Antrea | PluginKind::KubeOvn => port.value == 6081,
        _ => false,
    });
    let clash: Vec<_> = clash.collect();
    Ok(if clash.is_empty() {
        Outcome::holds().found(format!("no other plugin is known to use UDP {}", port.value))
    } else {
        Outcome::broken()
            .found(format!("{} runs here too", clash[0].kind))
            .remedy("remove the other plugin, or change tunnelPort in all clusters; an agent on the nodes would tell whether the port is taken")
            .evidence_all(clash.iter().map(|plugin| Evidence::new(cluster.name(), &plugin.kind, &plugin.source)))
    }
    .expected("one user of the tunnel port")
    .evidence(Evidence::of(cluster.name(), &port)))
}

declare_check! {
    /// ## What it checks
    /// Records nodes that are neither amd64 nor arm64, or not Linux.
    ///
    /// ## Why it matters
    /// Such nodes have no agent and no part in the mesh.
    ///
    /// ## How it is determined
    /// `status.nodeInfo`.
    ///
    /// ## How to fix
    /// Keep mesh workloads away from them.
    ///
    /// ## References
    /// Cilium documentation, system requirements.
    pub static ARCHITECTURE = {
        code: "CM906",
        slug: "node-architecture",
        title: "Nodes of an architecture that Cilium has no image for",
        severity: Info,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "no agent runs on these nodes",
        rules: ["clustermesh K-9"],
        run: Cluster(architecture),
    };
}

fn architecture(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    cluster.cilium()?;
    let nodes = cluster.facts.nodes.get()?;
    let odd: Vec<_> = nodes
        .iter()
        .filter(|node| {
            !matches!(node.architecture.as_str(), "amd64" | "arm64" | "") || !matches!(node.os.as_str(), "linux" | "")
        })
        .collect();
    Ok(if odd.is_empty() {
        Outcome::holds().found(format!("{} nodes, amd64 or arm64", nodes.len()))
    } else {
        Outcome::broken()
            .found(format!(
                "{} nodes, for example {} ({} {})",
                odd.len(),
                odd[0].name,
                odd[0].os,
                odd[0].architecture
            ))
            .nodes(odd.iter().map(|node| node.name.clone()))
    })
}

declare_check! {
    /// ## What it checks
    /// Clusters whose nodes lie in one /24 or one kind network are recognised as a lab.
    ///
    /// ## Why it matters
    /// On one segment node reachability, direct routes, MTU and open firewalls prove nothing about production.
    ///
    /// ## How it is determined
    /// Provider ids (`kind://`) and node addresses.
    ///
    /// ## How to fix
    /// Repeat the audit where the clusters will live.
    ///
    /// ## References
    /// Cilium documentation, kind.
    pub static ONE_NETWORK = {
        code: "CM911",
        slug: "one-lab-network",
        title: "All nodes share one network",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "what works here may fail between real sites",
        rules: ["clustermesh LAB-5"],
        run: Between(one_network),
    };
}

fn one_network(audit: &Audit<'_>) -> Vec<Outcome> {
    let groups = Groups::of(audit, |cluster| {
        let known = cluster.facts.nodes.known_value()?;
        let addresses: Vec<_> = known
            .value
            .iter()
            .flat_map(crate::facts::node::Node::internal_ips)
            .filter(std::net::IpAddr::is_ipv4)
            .collect();
        let source = Source {
            field: "status.addresses".to_owned(),
            ..known.source.clone()
        };
        if cluster.is_kind() {
            return Ok(Known::new("a kind network".to_owned(), source));
        }
        match Cidr::smallest_covering(&addresses).as_slice() {
            [block] if block.prefix_len() >= 24 => Ok(Known::new(
                Cidr::new(block.first(), 24).unwrap_or(*block).to_string(),
                source,
            )),
            _ => Err(NoVerdict::does_not_apply(
                "the nodes lie in more than one small network",
            )),
        }
    });
    let mut outcomes = Vec::new();
    for (network, members) in groups.values.iter().filter(|(_, members)| members.len() > 1) {
        let ids: Vec<ClusterId> = members.iter().map(|(id, _)| *id).collect();
        outcomes.push(
            Outcome::broken()
                .found(format!("the nodes of {} lie in {network}: a lab, or one site", audit.names(&ids)))
                .evidence_all(members.iter().map(|(id, known)| Evidence::of(audit.cluster(*id).name(), known)))
                .remedy("reachability, MTU and open ports here say nothing about other networks: repeat the audit where the clusters will live")
                .within(ids.clone())
                .about(ids),
        );
    }
    if outcomes.is_empty() && groups.clusters().len() + groups.without.len() > 0 {
        let known = audit.clusters_where(|cluster| cluster.facts.nodes.ok().is_some());
        if known.len() > 1 {
            outcomes.push(
                Outcome::holds()
                    .found("clusters lie in networks of their own")
                    .about(known),
            );
        }
    }
    outcomes.extend(
        groups
            .outcomes_without()
            .into_iter()
            .filter(|outcome| matches!(outcome.state, crate::outcome::State::NoVerdict(NoVerdict::Missing(_)))),
    );
    outcomes
}

declare_check! {
    /// ## What it checks
    /// Records kubeconfigs whose server is a loopback address.
    ///
    /// ## Why it matters
    /// A mesh never uses this address; a collector inside a cluster would.
    ///
    /// ## How it is determined
    /// The server of the kubeconfig context.
    ///
    /// ## How to fix
    /// Nothing for the mesh. For whoever calls it from another cluster, with kind: `kind get kubeconfig --internal --name NAME`, or `networking.apiServerAddress`
    /// in the configuration, which opens it to the network of the machine.
    ///
    /// ## References
    /// Cilium documentation, kind.
    pub static LOOPBACK_API = {
        code: "CM912",
        slug: "loopback-api-server",
        title: "The API server is addressed on loopback",
        severity: Info,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "whoever must call it from elsewhere cannot",
        rules: ["clustermesh LAB-7"],
        run: Cluster(loopback_api),
    };
}

fn loopback_api(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let server = cluster.facts.api_server.known_value()?;
    let host = server
        .value
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let loopback = host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]");
    let outcome = if !loopback {
        Outcome::holds()
    } else if cluster.is_kind() {
        Outcome::broken()
            .remedy("nothing for the mesh; who calls it from another cluster takes `kind get kubeconfig --internal`")
    } else {
        Outcome::broken()
    };
    Ok(outcome
        .found(server.value.clone())
        .evidence(Evidence::of(cluster.name(), server)))
}

#[cfg(test)]
mod tests;
