//! Kernels that are too old for the installed Cilium.

use crate::check::{Judged, declare_check};
use crate::facts::provenance::{Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::cilium::version::{Version, Versions};
use crate::report::{Evidence, Severity};

declare_check! {
    /// ## What it checks
    /// Every node's kernel is new enough for the cluster's Cilium: 4.19.57 up to 1.15, 5.4 for 1.16 and 1.17, 5.10 from
    /// 1.18 on; RHEL 8 kernels of 8.6 (8.10 from 1.19 on) count as equal.
    ///
    /// ## Why it matters
    /// The agent uses kernel functions that older kernels lack.
    ///
    /// ## How it is determined
    /// `status.nodeInfo.kernelVersion` and `osImage`. Where an agent is Ready on all nodes, distributions carry
    /// backports and this only warns.
    ///
    /// ## How to fix
    /// Upgrade the nodes before Cilium.
    ///
    /// ## References
    /// Cilium documentation, system requirements by version.
    pub(super) static KERNEL = {
        code: "CM904",
        slug: "kernel",
        title: "The kernel is older than Cilium needs",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the agent does not start on these nodes after the next restart or upgrade",
        rules: ["clustermesh K-1"],
        run: Cluster(kernel),
    };
}

/// The kernel that each minor release needs. Source: system requirements of the releases.
const KERNELS: [(Version, [u32; 3]); 3] = [
    (Version(1, 18, 0), [5, 10, 0]),
    (Version(1, 16, 0), [5, 4, 0]),
    (Version(0, 0, 0), [4, 19, 57]),
];

fn kernel(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let newest = settings.versions.newest;
    if newest == Versions::ANY.newest {
        return Err(Unknown::not_found(format!("the version of Cilium is not known: {}", settings.versions)).into());
    }
    let needed = KERNELS
        .iter()
        .find(|(since, _)| newest >= *since)
        .map_or([0; 3], |(_, kernel)| *kernel);
    let nodes = cluster.facts.nodes.get()?;
    let mut old = Vec::new();
    for node in nodes.iter().filter(|node| node.os.is_empty() || node.os == "linux") {
        let Some(kernel) = kernel_number(&node.kernel) else {
            return Err(Unknown::not_found(format!(
                "Node {}: kernel version `{}` makes no sense",
                node.name, node.kernel
            ))
            .into());
        };
        if kernel < needed && !is_rhel_equivalent(&node.kernel, newest) {
            old.push(node);
        }
    }
    let [major, minor, patch] = needed;
    let expected = format!("kernel {major}.{minor}.{patch} or newer for Cilium {newest}");
    if old.is_empty() {
        return Ok(Outcome::holds()
            .expected(expected)
            .found(format!("{} nodes", nodes.len())));
    }
    // An agent that runs has found what it needs: the distribution carries backports.
    let agents = cluster
        .facts
        .workloads
        .get()?
        .iter()
        .find(|workload| workload.kind == "DaemonSet" && workload.container("cilium-agent").is_some());
    let running =
        agents.is_some_and(|agents| !agents.unobserved && agents.desired > 0 && agents.ready == agents.desired);
    Ok(
        Outcome::broken_as(if running { Severity::Warn } else { Severity::Fail })
            .expected(expected)
            .found(format!(
                "{} of {} nodes are older, for example {}",
                old.len(),
                nodes.len(),
                old[0].kernel
            ))
            .nodes(old.iter().map(|node| node.name.clone()))
            .evidence_all(old.iter().take(5).map(|node| {
                Evidence::new(
                    cluster.name(),
                    &format!("{} ({})", node.kernel, node.os_image),
                    &Source::read(format!("Node {}", node.name), "status.nodeInfo.kernelVersion"),
                )
            }))
            .remedy("upgrade the nodes of this cluster before Cilium there"),
    )
}

/// `5.10.0-28-amd64` is [5, 10, 0].
pub(super) fn kernel_number(text: &str) -> Option<[u32; 3]> {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(str::parse::<u32>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some([major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)])
}

/// Kernels of RHEL 8 are 4.18 with what Cilium needs carried back: `4.18.0-372` is 8.6, `4.18.0-553` is 8.10.
pub(super) fn is_rhel_equivalent(kernel: &str, cilium: Version) -> bool {
    let build = if cilium >= Version(1, 19, 0) { 553 } else { 372 };
    let number = kernel
        .strip_prefix("4.18.0-")
        .and_then(|rest| rest.split('.').next())
        .and_then(|number| number.parse::<u32>().ok());
    kernel.contains(".el8") && number.is_some_and(|number| number >= build)
}
