//! What fits into the maps of fixed size that every agent keeps of the whole mesh.

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::provenance::Known;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[&NODE_MAP, &IPCACHE, &LOAD_BALANCER_MAP, &CLUSTER_COUNT, &SYNC_TIMEOUT];

declare_check! {
    /// ## What it checks
    /// The node addresses of all clusters together fit the node map of every cluster.
    ///
    /// ## Why it matters
    /// Every agent keeps every node of the mesh in a map of fixed size.
    ///
    /// ## How it is determined
    /// Nodes times address families, summed over all clusters, against the smallest `bpf-node-map-max` (absent =
    /// 16384): more fails, more than 80 % warns.
    ///
    /// ## How to fix
    /// Raise `bpf.nodeMapMax` in every cluster; the agents restart.
    ///
    /// ## References
    /// Cilium, `pkg/maps/nodemap`.
    pub static NODE_MAP = {
        code: "CM801",
        slug: "node-map",
        title: "The mesh has more nodes than the node map holds",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "nodes beyond the map are unreachable",
        rules: ["clustermesh CAP-1"],
        run: Set(node_map),
    };
}

fn node_map(audit: &Audit<'_>) -> Vec<Outcome> {
    // A cluster is counted with the families of its nodes' addresses.
    let count = sum(audit, |cluster| {
        let nodes = cluster.facts.nodes.get()?;
        Ok(nodes.iter().map(|node| node.internal_ips().count().max(1) as u64).sum())
    });
    within(
        audit,
        count,
        "bpf-node-map-max",
        "node addresses",
        "raise bpf.nodeMapMax in every cluster; the agents restart",
    )
}

/// Adds one number of all clusters up; clusters that cannot say are returned with the reason.
fn sum(
    audit: &Audit<'_>,
    read: impl Fn(&Cluster<'_>) -> Result<u64, NoVerdict>,
) -> (u64, Vec<Outcome>, Vec<ClusterId>) {
    let (mut total, mut outcomes, mut counted) = (0, Vec::new(), Vec::new());
    for cluster in audit.clusters {
        match read(cluster) {
            Ok(number) => {
                total += number;
                counted.push(cluster.id);
            }
            Err(why) => outcomes.push(Outcome::none(why).about([cluster.id])),
        }
    }
    (total, outcomes, counted)
}

/// The smallest limit that some cluster sets under a key.
fn smallest_limit(audit: &Audit<'_>, key: &str) -> Option<(ClusterId, Known<u64>)> {
    let limits = audit
        .clusters
        .iter()
        .filter_map(|cluster| Some((cluster.id, cluster.cilium().ok()?.number(key).ok()?)));
    limits.min_by_key(|(_, limit)| limit.value)
}

fn within(
    audit: &Audit<'_>,
    (total, mut outcomes, counted): (u64, Vec<Outcome>, Vec<ClusterId>),
    key: &str,
    what: &str,
    remedy: &str,
) -> Vec<Outcome> {
    let Some((id, limit)) = smallest_limit(audit, key) else {
        return outcomes;
    };
    if !counted.is_empty() {
        let evidence = Evidence::of(audit.cluster(id).name(), &limit);
        outcomes.push(
            filled(total, limit.value, what)
                .remedy(remedy)
                .evidence(evidence)
                .about(counted),
        );
    }
    outcomes
}

/// So many of so many: more is broken, more than four fifths a warning.
fn filled(total: u64, limit: u64, what: &str) -> Outcome {
    let found = format!("{total} {what}, limit {limit}");
    let outcome = if total > limit {
        Outcome::broken()
    } else if total * 5 > limit * 4 {
        Outcome::broken_as(Severity::Warn)
    } else {
        Outcome::holds()
    };
    outcome.expected(format!("at most {limit}")).found(found)
}

declare_check! {
    /// ## What it checks
    /// The pods and nodes of all clusters together fit the ipcache (512,000 entries).
    ///
    /// ## Why it matters
    /// Every agent keeps every address of the mesh.
    ///
    /// ## How it is determined
    /// CiliumEndpoints (running pods where they cannot be read) and nodes, summed: more fails, more than 80 % warns.
    ///
    /// ## How to fix
    /// Fewer clusters in one mesh, or local namespaces.
    ///
    /// ## References
    /// Cilium, `pkg/maps/ipcache`.
    pub static IPCACHE = {
        code: "CM802",
        slug: "ipcache",
        title: "The mesh has more addresses than the ipcache holds",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "pods beyond the map are outsiders to policy",
        rules: ["clustermesh CAP-2"],
        run: Set(ipcache),
    };
}

fn ipcache(audit: &Audit<'_>) -> Vec<Outcome> {
    const ENTRIES: u64 = 512_000;
    let (total, mut outcomes, counted) = sum(audit, |cluster| {
        let nodes = cluster.facts.nodes.get()?.len() as u64;
        Ok(nodes + pods(cluster)?)
    });
    if !counted.is_empty() {
        outcomes.push(
            filled(total, ENTRIES, "pod and node addresses")
                .remedy("split the mesh, or keep namespaces local to their cluster")
                .about(counted),
        );
    }
    outcomes
}

/// Pods that peers learn of.
fn pods(cluster: &Cluster<'_>) -> Result<u64, NoVerdict> {
    let endpoints = cluster.facts.cilium.get()?.endpoints.get();
    match endpoints {
        Ok(endpoints) => Ok(endpoints.count),
        Err(_) => Ok(cluster.facts.pods.get()?.running),
    }
}

declare_check! {
    /// ## What it checks
    /// The backends of global services fit `bpf-lb-map-max`.
    ///
    /// ## Why it matters
    /// Backends of all clusters land in one map on every node.
    ///
    /// ## How it is determined
    /// A rough bound: if all pods of the mesh backed global services. Warns only where there are global services and
    /// the pods of all clusters exceed the smallest `bpf-lb-map-max`.
    ///
    /// ## How to fix
    /// Raise `bpf.lbMapMax`.
    ///
    /// ## References
    /// Cilium, command reference of the agent.
    pub static LOAD_BALANCER_MAP = {
        code: "CM803",
        slug: "load-balancer-map",
        title: "Global services may not fit the load-balancer map",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "services beyond the map have no backends",
        rules: ["clustermesh CAP-3"],
        run: Set(load_balancer_map),
    };
}

fn load_balancer_map(audit: &Audit<'_>) -> Vec<Outcome> {
    let global = |cluster: &Cluster<'_>| {
        let services = cluster.facts.services.ok().into_iter().flatten();
        services
            .filter(|service| service.annotation("service.cilium.io/global") == Some("true"))
            .count()
    };
    if audit.clusters.iter().map(global).sum::<usize>() == 0 {
        let readable = audit.clusters_where(|cluster| cluster.facts.services.ok().is_some());
        return vec![Outcome::does_not_apply("there are no global services").about(readable)];
    }
    within(
        audit,
        sum(audit, pods),
        "bpf-lb-map-max",
        "pods that could back global services",
        "raise bpf.lbMapMax if that many back global services",
    )
}

declare_check! {
    /// ## What it checks
    /// There are no more clusters than `max-connected-clusters` allows.
    ///
    /// ## Why it matters
    /// Ids are taken from that range.
    ///
    /// ## How it is determined
    /// The number of clusters against the smallest limit.
    ///
    /// ## How to fix
    /// Install all clusters with 511, or split the mesh.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup.
    pub static CLUSTER_COUNT = {
        code: "CM804",
        slug: "cluster-count",
        title: "The mesh has more clusters than it can have",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "clusters beyond the limit cannot have an id",
        rules: ["clustermesh CAP-4"],
        run: Set(cluster_count),
    };
}

fn cluster_count(audit: &Audit<'_>) -> Vec<Outcome> {
    let counted = sum(audit, |cluster| {
        cluster.cilium()?;
        Ok(1)
    });
    within(
        audit,
        counted,
        "max-connected-clusters",
        "clusters",
        "install all clusters with max-connected-clusters 511, or split the mesh",
    )
}

declare_check! {
    /// ## What it checks
    /// Records how long an agent waits for peers when it starts.
    ///
    /// ## Why it matters
    /// A dead peer in the configuration slows every restart by that time.
    ///
    /// ## How it is determined
    /// Key `clustermesh-sync-timeout` (absent = 1m).
    ///
    /// ## How to fix
    /// Remove peers that are gone.
    ///
    /// ## References
    /// Cilium, `pkg/clustermesh/wait`.
    pub static SYNC_TIMEOUT = {
        code: "CM805",
        slug: "sync-timeout",
        title: "Agents wait for unreachable peers at start",
        severity: Info,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "an unreachable peer slows every restart",
        rules: ["clustermesh CAP-5"],
        run: Cluster(sync_timeout),
    };
}

fn sync_timeout(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let timeout = cluster.cilium()?.value("clustermesh-sync-timeout")?;
    Ok(Outcome::holds()
        .found(timeout.value.clone())
        .evidence(Evidence::of(cluster.name(), &timeout)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::provenance::{Fact, Reason};
    use crate::profile::Profile::Clustermesh;
    use crate::report::Verdict;
    use crate::samples::{cilium, cilium_mut, findings, report, set_cilium_key, value_mut};

    fn verdicts(code: &str, clusters: &[crate::facts::ClusterFacts]) -> Vec<Verdict> {
        findings(&report(Clustermesh, clusters), code)
            .iter()
            .map(|finding| finding.verdict)
            .collect()
    }

    #[test]
    fn what_fits_passes_and_four_fifths_warn() {
        let state = |total| filled(total, 100, "things").state;
        assert_eq!(state(80), crate::outcome::State::Holds);
        assert_eq!(state(81), crate::outcome::State::BrokenAs(Severity::Warn));
        assert_eq!(state(101), crate::outcome::State::Broken);
    }

    #[test]
    fn the_smallest_map_counts_for_all() {
        let mut west = cilium("west", 2);
        assert_eq!(verdicts("CM801", &[cilium("east", 1), west.clone()]), [Verdict::Pass]);
        set_cilium_key(&mut west, "bpf-node-map-max", Some("3"));
        assert_eq!(verdicts("CM801", &[cilium("east", 1), west.clone()]), [Verdict::Fail]);
        west.nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
        assert!(verdicts("CM801", &[cilium("east", 1), west]).contains(&Verdict::Unknown));
    }

    #[test]
    fn pods_of_all_clusters_fill_one_ipcache() {
        let mut east = cilium("east", 1);
        assert_eq!(verdicts("CM802", &[east.clone(), cilium("west", 2)]), [Verdict::Pass]);
        value_mut(&mut cilium_mut(&mut east).endpoints).count = 450_000;
        assert_eq!(verdicts("CM802", &[east.clone(), cilium("west", 2)]), [Verdict::Warn]);
        value_mut(&mut cilium_mut(&mut east).endpoints).count = 600_000;
        assert_eq!(verdicts("CM802", &[east, cilium("west", 2)]), [Verdict::Fail]);
    }

    #[test]
    fn global_services_are_held_against_the_load_balancer_map() {
        let mut east = cilium("east", 1);
        assert_eq!(verdicts("CM803", &[east.clone(), cilium("west", 2)]), [Verdict::Skip]);
        value_mut(&mut east.services)[0]
            .annotations
            .insert("service.cilium.io/global".to_owned(), "true".to_owned());
        assert_eq!(verdicts("CM803", &[east.clone(), cilium("west", 2)]), [Verdict::Pass]);
        set_cilium_key(&mut east, "bpf-lb-map-max", Some("2"));
        assert_eq!(verdicts("CM803", &[east, cilium("west", 2)]), [Verdict::Warn]);
    }

    #[test]
    fn there_are_no_more_clusters_than_ids() {
        assert_eq!(
            verdicts("CM804", &[cilium("east", 1), cilium("west", 2)]),
            [Verdict::Pass]
        );
        let many: Vec<_> = (0..256).map(|number| cilium(&format!("c{number}"), 1)).collect();
        assert_eq!(verdicts("CM804", &many), [Verdict::Fail]);
    }
}
