//! What Submariner asks of Kubernetes, its nodes and the broker's address.

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::compare::Groups;
use crate::facts::provenance::{Basis, Known, Reason, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::discovery::{network_plugin, openshift};
use crate::profile::submariner::release::{FINDS_NEW_SERVICE_RANGES, Release};
use crate::profile::submariner::{Mesh, absent, installed};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &KUBERNETES_VERSION,
    &KUBERNETES_VERSION_FOR_SERVICES,
    &SERVICE_RANGE_DISCOVERY,
    &ARCHITECTURE,
    &WINDOWS_NODES,
    &IPV4,
    &VERSION_SKEW,
];

declare_check! {
    /// ## What it checks
    /// The API server is Kubernetes 1.19 or later.
    ///
    /// ## Why it matters
    /// `subctl join` refuses older servers. Its option `--ignore-requirements` only silences the refusal.
    ///
    /// ## How it is determined
    /// The version the server reports.
    ///
    /// ## How to fix
    /// Upgrade the cluster.
    ///
    /// ## References
    /// `subctl`, `pkg/version/version.go`; Submariner documentation, prerequisites.
    pub static KUBERNETES_VERSION = {
        code: "SM001",
        slug: "submariner-kubernetes-version",
        title: "Kubernetes is too old for Submariner",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "subctl join refuses it",
        rules: ["submariner PLAT-01"],
        run: Cluster(kubernetes_version),
    };
}

fn kubernetes_version(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    at_least(cluster, Release(1, 19, 0))
}

declare_check! {
    /// ## What it checks
    /// Where service discovery (Lighthouse) is wanted, the API server is Kubernetes 1.21 or later.
    ///
    /// ## Why it matters
    /// Lighthouse keeps EndpointSlices of version `v1`, which came with 1.21.
    ///
    /// ## How it is determined
    /// The version the server reports. Service discovery is wanted if the member's `Submariner` object has it enabled, or the plan,
    /// or the `Broker` object lists it among its components; that is the default of `subctl deploy-broker`.
    ///
    /// ## How to fix
    /// Upgrade the cluster, or deploy the broker without service discovery.
    ///
    /// ## References
    /// `subctl`, `pkg/version/version.go`; Submariner documentation, known issues.
    pub static KUBERNETES_VERSION_FOR_SERVICES = {
        code: "SM002",
        slug: "lighthouse-kubernetes-version",
        title: "Kubernetes is too old for Submariner's service discovery",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "subctl join refuses it where the broker has service discovery",
        rules: ["submariner PLAT-02"],
        run: Cluster(kubernetes_version_for_services),
    };
}

fn kubernetes_version_for_services(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if !Mesh::of(audit).service_discovery(cluster)?.value {
        return Err(NoVerdict::does_not_apply("service discovery is not wanted"));
    }
    at_least(cluster, Release(1, 21, 0))
}

fn at_least(cluster: &Cluster<'_>, least: Release) -> Judged {
    let (version, release) = kubernetes(cluster)?;
    let wanted = format!("Kubernetes {} or later", least.minor());
    let outcome = if release >= least {
        Outcome::holds()
    } else {
        Outcome::broken().remedy(format!("upgrade {} to {wanted}", cluster.name()))
    };
    Ok(outcome
        .expected(wanted)
        .found(format!("Kubernetes {}", version.value))
        .evidence(Evidence::of(cluster.name(), version)))
}

/// The server's version as written and as a release.
fn kubernetes<'a>(cluster: &Cluster<'a>) -> Result<(&'a Known<String>, Release), Unknown> {
    let version = cluster.facts.kubernetes_version.known_value()?;
    let release = Release::parse(&version.value).ok_or_else(|| Unknown::unparsable(&version.source, &version.value))?;
    Ok((version, release))
}

declare_check! {
    /// ## What it checks
    /// Submariner's operator can find the Service range of this cluster.
    ///
    /// ## Why it matters
    /// Operators before 0.21.1 ask for a Service with an impossible address and read the range from the refusal. The Service allocator of
    /// Kubernetes 1.33 (earlier on EKS and K3s) words the refusal differently: discovery errs, and the operator stops reconciling even when
    /// the ranges were given by hand. No gateway and no route agent is ever started.
    ///
    /// ## How it is determined
    /// The new allocator is there if the server is 1.33 or later or has `ServiceCIDR` objects. The question is never asked on OpenShift, where a
    /// kube-apiserver pod shows `--service-cluster-ip-range`, and with OVN-Kubernetes, whose ConfigMap names the range; with Weave and
    /// kindnet the error passes once the range is given. The Submariner version is that of the operator that runs, or the planned one.
    ///
    /// ## How to fix
    /// Use Submariner 0.21.1 or later.
    ///
    /// ## References
    /// submariner-operator issues 3627 and 3820, pull requests 3630 and 3631; submariner issues 3632, 3634 and 3676;
    /// `submariner-operator`, `pkg/discovery/network/generic.go`.
    pub static SERVICE_RANGE_DISCOVERY = {
        code: "SM003",
        slug: "service-range-discovery",
        title: "Submariner's operator cannot find the Service range",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the operator stops reconciling: no gateway, no route agent",
        rules: ["submariner PLAT-03", "submariner KIND-13"],
        run: Cluster(service_range_discovery),
    };
}

fn service_range_discovery(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mesh = Mesh::of(audit);
    let (kubernetes, release) = kubernetes(cluster)?;
    let service_cidrs = &cluster.facts.service_cidrs;
    let has_objects = service_cidrs.ok().is_some_and(|cidrs| !cidrs.is_empty());
    let evidence = Evidence::of(cluster.name(), kubernetes);
    let expected =
        format!("Submariner {FINDS_NEW_SERVICE_RANGES} or later on Kubernetes with the new Service allocator");
    if release < Release(1, 33, 0) && !has_objects {
        return Ok(Outcome::holds()
            .found("the Service allocator that every release understands")
            .evidence(evidence));
    }
    let version = mesh.version(cluster)?;
    let too_old = match &version {
        Some(version) => {
            let release =
                Release::parse(&version.value).ok_or_else(|| Unknown::unparsable(&version.source, &version.value))?;
            release < FINDS_NEW_SERVICE_RANGES
        }
        None if installed(cluster)?.is_some() => {
            return Err(Unknown::not_found("no version of the installed Submariner was read").into());
        }
        None => false,
    };
    let name = version
        .as_ref()
        .map_or("the release to be installed", |version| &version.value);
    let shown = version
        .iter()
        .map(|version| Evidence::of(cluster.name(), version))
        .collect::<Vec<_>>();
    let outcome = match (too_old, &version) {
        (false, Some(_)) => Outcome::holds().found(format!("Submariner {name}")),
        (false, None) => Outcome::broken_as(Severity::Info).found("the Submariner release is not planned"),
        (true, _) => match finds_range_otherwise(cluster, &mesh)? {
            Some(how) => Outcome::broken_as(Severity::Info).found(format!("Submariner {name}, which reads {how} here")),
            None => Outcome::broken().found(format!("Submariner {name} on Kubernetes {}", kubernetes.value)),
        },
    };
    Ok(outcome
        .expected(expected)
        .evidence(evidence)
        .evidence_all(shown)
        .remedy(format!(
            "install Submariner {FINDS_NEW_SERVICE_RANGES} or later on {}",
            cluster.name()
        )))
}

/// How an old operator comes to the Service range without asking for an impossible Service, if it does.
fn finds_range_otherwise(cluster: &Cluster<'_>, mesh: &Mesh<'_>) -> Result<Option<&'static str>, Unknown> {
    if openshift(cluster)?.is_some() {
        return Ok(Some("OpenShift's own network object"));
    }
    if let Ok(flags) = cluster.facts.control_plane.api_server_flags.get()
        && flags.contains_key("service-cluster-ip-range")
    {
        return Ok(Some("the flags of the kube-apiserver pod"));
    }
    let plugin = network_plugin(cluster)?.value;
    if plugin == "OVNKubernetes"
        && cluster
            .facts
            .cni
            .ovn
            .ok()
            .is_some_and(|ovn| !ovn.service_cidrs.is_empty())
    {
        return Ok(Some("OVN-Kubernetes' ConfigMap"));
    }
    let outlives_the_error = ["OVNKubernetes", "weave-net", "kindnet"].contains(&plugin.as_str());
    if outlives_the_error && !mesh.stated_service_cidrs(cluster)?.is_empty() {
        return Ok(Some("the range it is given, after one failed attempt,"));
    }
    // Flags that could not be read might be there.
    match cluster.facts.control_plane.api_server_flags.get() {
        Err(why) if !absent(&why) => Err(why),
        _ => Ok(None),
    }
}

declare_check! {
    /// ## What it checks
    /// Every node is x86-64 or ARM64.
    ///
    /// ## Why it matters
    /// The route agent runs on every node, and there are images for these two architectures only.
    ///
    /// ## How it is determined
    /// `status.nodeInfo.architecture` of all nodes.
    ///
    /// ## How to fix
    /// Replace the other nodes, or keep them out of the clusterset's cluster.
    ///
    /// ## References
    /// Submariner documentation, prerequisites.
    pub static ARCHITECTURE = {
        code: "SM004",
        slug: "submariner-architecture",
        title: "Nodes of an architecture without Submariner images",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the route agent cannot run there: these nodes reach no other cluster",
        rules: ["submariner PLAT-04"],
        run: Cluster(architecture),
    };
}

fn architecture(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let nodes = cluster.facts.nodes.known_value()?;
    if let Some(silent) = nodes.value.iter().find(|node| node.architecture.is_empty()) {
        let reason = match nodes.source.basis {
            Basis::Declared => Reason::NotDeclared,
            _ => Reason::NotFound,
        };
        let detail = format!("Node {} does not say its architecture", silent.name);
        return Err(Unknown::new(reason, detail).into());
    }
    let supported = ["amd64", "arm64"];
    let others = nodes
        .value
        .iter()
        .filter(|node| !supported.contains(&node.architecture.as_str()));
    let (names, kinds): (Vec<&str>, Vec<&str>) = others
        .map(|node| (node.name.as_str(), node.architecture.as_str()))
        .unzip();
    let Some(first) = kinds.first() else {
        return Ok(Outcome::holds().found(format!("{} nodes, amd64 or arm64", nodes.value.len())));
    };
    Ok(Outcome::broken()
        .expected("amd64 or arm64 on every node")
        .found(format!("{first} on {}", some_of(&names)))
        .evidence(Evidence::new(
            cluster.name(),
            first,
            &node_source(names[0], "status.nodeInfo.architecture"),
        ))
        .remedy("replace these nodes")
        .nodes(names))
}

declare_check! {
    /// ## What it checks
    /// No node runs Windows.
    ///
    /// ## Why it matters
    /// The route agent's DaemonSet selects no operating system and tolerates all taints: its pod lands on Windows nodes too and fails there.
    /// Workloads on such nodes reach no other cluster.
    ///
    /// ## How it is determined
    /// `status.nodeInfo.operatingSystem` of all nodes.
    ///
    /// ## How to fix
    /// Keep workloads that talk to other clusters on Linux nodes, and expect one pod that never runs on each Windows node.
    ///
    /// ## References
    /// `submariner-operator`, `controllers/submariner/route_agent_resources.go`.
    pub static WINDOWS_NODES = {
        code: "SM005",
        slug: "submariner-windows-nodes",
        title: "Windows nodes take no part in Submariner",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the route agent fails there: these nodes reach no other cluster",
        rules: ["submariner PLAT-05"],
        run: Cluster(windows_nodes),
    };
}

fn windows_nodes(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let nodes = cluster.facts.nodes.known_value()?;
    let windows = nodes.value.iter().filter(|node| node.os == "windows");
    let names: Vec<&str> = windows.map(|node| node.name.as_str()).collect();
    let Some(first) = names.first() else {
        return Ok(Outcome::holds().found("no Windows nodes"));
    };
    Ok(Outcome::broken()
        .expected("Linux on every node")
        .found(format!("Windows on {}", some_of(&names)))
        .evidence(Evidence::new(
            cluster.name(),
            &"windows",
            &node_source(first, "status.nodeInfo.operatingSystem"),
        ))
        .remedy("keep workloads that talk to other clusters on Linux nodes")
        .nodes(names))
}

fn node_source(node: &str, field: &str) -> Source {
    Source::read(format!("Node {node}"), field)
}

declare_check! {
    /// ## What it checks
    /// Pods, Services and nodes have IPv4 addresses.
    ///
    /// ## Why it matters
    /// Submariner connects clusters over IPv4. Of a dual-stack cluster it carries only the IPv4 half: names resolve to IPv4 addresses, and what
    /// insists on IPv6 stays inside its cluster. Releases from 0.20 on have dual stack as a preview, without Globalnet, for libreswan and
    /// OVN-Kubernetes only.
    ///
    /// ## How it is determined
    /// The families of the ranges of pods and Services and of the nodes' InternalIPs.
    ///
    /// ## How to fix
    /// Give the cluster IPv4 ranges; that takes a new cluster.
    ///
    /// ## References
    /// Submariner documentation, known issues; submariner issues 1546, 3267 and 3465.
    pub static IPV4 = {
        code: "SM006",
        slug: "submariner-ipv4",
        title: "Submariner carries IPv4 only",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "there is no route for IPv6 between clusters",
        rules: ["submariner PLAT-06"],
        run: Cluster(ipv4),
    };
}

fn ipv4(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let families = |cidrs: Vec<crate::cidr::Cidr>| {
        let ipv4 = cidrs.iter().filter(|cidr| cidr.is_ipv4()).count();
        (ipv4 > 0, ipv4 < cidrs.len())
    };
    let of_pods = cluster.pods().map(|pods| families(pods.summary()));
    let of_services = cluster
        .services()
        .map(|services| families(services.ranges.iter().map(|range| range.cidr).collect()));
    let of_nodes = cluster.facts.nodes.get().map(|nodes| {
        let addresses: Vec<_> = nodes
            .iter()
            .map(|node| node.internal_ips().collect::<Vec<_>>())
            .collect();
        let all_ipv4 = addresses.iter().all(|ips| ips.iter().any(std::net::IpAddr::is_ipv4));
        (all_ipv4, addresses.iter().flatten().any(std::net::IpAddr::is_ipv6))
    });
    let kinds = [("pods", of_pods), ("Services", of_services), ("nodes", of_nodes)];
    let without: Vec<&str> = kinds
        .iter()
        .filter(|(_, known)| matches!(known, Ok((false, _))))
        .map(|(kind, _)| *kind)
        .collect();
    let expected = "IPv4 for pods, Services and nodes";
    if !without.is_empty() {
        return Ok(Outcome::broken()
            .expected(expected)
            .found(format!("no IPv4 for {}", without.join(", ")))
            .evidence_all(range_evidence(cluster))
            .remedy("build the cluster with IPv4 ranges"));
    }
    let with_ipv6: Vec<&str> = kinds
        .iter()
        .filter(|(_, known)| matches!(known, Ok((_, true))))
        .map(|(kind, _)| *kind)
        .collect();
    for (_, known) in kinds {
        known?;
    }
    if with_ipv6.is_empty() {
        return Ok(Outcome::holds().found("IPv4"));
    }
    Ok(Outcome::broken_as(Severity::Warn)
        .expected(expected)
        .found(format!("IPv6 beside IPv4 for {}", with_ipv6.join(", ")))
        .evidence_all(range_evidence(cluster))
        .remedy("let workloads that talk to other clusters use IPv4"))
}

fn range_evidence(cluster: &Cluster<'_>) -> Vec<Evidence> {
    let pods = cluster.pods().into_iter().flat_map(|pods| pods.pools.iter());
    let services = cluster
        .services()
        .into_iter()
        .flat_map(|services| services.ranges.iter());
    let ranges = pods.chain(services).take(8);
    ranges
        .map(|range| Evidence::new(cluster.name(), &range.cidr, &range.source))
        .collect()
}

declare_check! {
    /// ## What it checks
    /// All members run the same minor version of Submariner.
    ///
    /// ## Why it matters
    /// Members share objects through the broker. Releases change their fields (newer ones write lists of addresses that older ones do not read),
    /// and no release is tested against another.
    ///
    /// ## How it is determined
    /// The version of the operator's image, else of the `Submariner` object.
    ///
    /// ## How to fix
    /// Upgrade the members that lag behind.
    ///
    /// ## References
    /// `submariner`, `pkg/apis/submariner.io/v1/types.go`; `subctl show versions` lists the versions but compares none.
    pub static VERSION_SKEW = {
        code: "SM007",
        slug: "submariner-version-skew",
        title: "Members run different Submariner versions",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "releases are not tested with each other and may not read each other's objects",
        rules: ["submariner PLAT-07"],
        run: Between(version_skew),
    };
}

fn version_skew(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    Groups::of(audit, |cluster| {
        if installed(cluster)?.is_none() {
            return Err(NoVerdict::does_not_apply("not installed"));
        }
        let version = mesh
            .version(cluster)?
            .ok_or_else(|| Unknown::not_found("no version of the installed Submariner was read"))?;
        let release =
            Release::parse(&version.value).ok_or_else(|| Unknown::unparsable(&version.source, &version.value))?;
        Ok(version.map(|_| release.minor()))
    })
    .expect_equal(audit, |outcome, _| {
        outcome
            .expected("one minor version in all members")
            .remedy("upgrade the members that lag behind: subctl upgrade")
    })
}

#[cfg(test)]
mod tests;
