//! Whether what Submariner tells other clusters is true: what is in use must be advertised.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addressing::Range;
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::facts::provenance::{Source, Unknown};
use crate::facts::submariner::SubmarinerCluster;
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::discovery::network_plugin;
use crate::profile::submariner::{Mesh, field, installed, split};
use crate::report::Evidence;

pub(super) static CHECKS: &[&Check] = &[
    &KUBERNETES_ADDRESS,
    &SERVICES_STATED,
    &PODS_ADVERTISED,
    &NODES_ADVERTISED,
    &PODS_STATED,
    &PLUGIN_FOUND,
];

declare_check! {
    /// ## What it checks
    /// The ClusterIP of `default/kubernetes` is the first address of the first service range.
    ///
    /// ## Why it matters
    /// The API server gives its own Service the first address of the range it really uses.
    ///
    /// ## How it is determined
    /// That Service against the reconciled ranges.
    ///
    /// ## How to fix
    /// Find the range that the API server uses and pass it with `--servicecidr`.
    ///
    /// ## References
    /// Kubernetes, service IP allocation.
    pub static KUBERNETES_ADDRESS = {
        code: "SM602",
        slug: "kubernetes-service-address",
        title: "The kubernetes Service is not first in the service range",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the service range found may not be the one in use",
        rules: ["submariner CHK-02"],
        run: Cluster(kubernetes_address),
    };
}

fn kubernetes_address(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let ranges = cluster.services()?;
    if ranges.is_estimate {
        return Err(NoVerdict::does_not_apply("the service range is an estimate"));
    }
    let services = cluster.facts.services.get()?;
    let service = services
        .iter()
        .find(|service| service.namespace == "default" && service.name == "kubernetes");
    let Some(address) = service.and_then(|service| service.cluster_ips.first()) else {
        return Err(Unknown::not_found("Service default/kubernetes has no ClusterIP").into());
    };
    let firsts: Vec<IpAddr> = ranges
        .ranges
        .iter()
        .filter_map(|range| following(range.cidr.first()))
        .collect();
    let outcome = if firsts.contains(address) {
        Outcome::holds()
    } else {
        Outcome::broken().remedy("find the range that the API server uses and pass it with --servicecidr")
    };
    Ok(outcome
        .expected(firsts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
        .found(address.to_string())
        .evidence(Evidence::new(
            cluster.name(),
            address,
            &Source::read("Service default/kubernetes", "spec.clusterIP"),
        ))
        .evidence_all(
            ranges
                .ranges
                .iter()
                .map(|range| Evidence::new(cluster.name(), &range.cidr, &range.source)),
        ))
}

fn following(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address
            .to_bits()
            .checked_add(1)
            .map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address
            .to_bits()
            .checked_add(1)
            .map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

declare_check! {
    /// ## What it checks
    /// The service ranges that Submariner was told, or will be told, cover the real ones.
    ///
    /// ## Why it matters
    /// Peers route what is stated, whatever is in use.
    ///
    /// ## How it is determined
    /// The Submariner object (spec, else status), the plan, and the broker's Cluster object against the reconciled
    /// ranges. A wider range passes here.
    ///
    /// ## How to fix
    /// Pass the true range with `--servicecidr`, or correct the object and restart operator, gateway and route agents.
    ///
    /// ## References
    /// submariner-operator, `controllers/submariner`.
    pub static SERVICES_STATED = {
        code: "SM603",
        slug: "stated-service-range",
        title: "The stated service range does not cover the real one",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "Services outside it are unreachable from other clusters",
        rules: ["submariner CHK-03", "submariner CAB-09"],
        run: Cluster(services_stated),
    };
}

fn services_stated(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mesh = Mesh::of(audit);
    let stated = mesh.stated_service_cidrs(cluster)?;
    let at_broker = at_broker(&mesh, cluster, |object| &object.service_cidr)?;
    let ranges = cluster.services()?;
    if ranges.is_estimate {
        return Err(NoVerdict::does_not_apply("the service range is an estimate"));
    }
    covered(cluster, &ranges.ranges, &stated, &at_broker, "--servicecidr")
}

/// What the broker's copy of the cluster says; nothing while it has not joined.
fn at_broker(
    mesh: &Mesh<'_>,
    cluster: &Cluster<'_>,
    field: impl Fn(&SubmarinerCluster) -> &Vec<String>,
) -> Result<Vec<Range>, NoVerdict> {
    let Some(broker) = mesh.broker()? else {
        return Ok(Vec::new());
    };
    if installed(cluster)?.is_none() {
        return Ok(Vec::new());
    }
    let namespace = &broker.facts.broker.get()?.namespace;
    let id = mesh.cluster_id(cluster)?.value;
    let clusters = broker.facts.clusters.get()?;
    let Some(object) = clusters
        .iter()
        .find(|object| object.namespace == *namespace && object.cluster_id == id)
    else {
        return Ok(Vec::new());
    };
    let source = Source::read(format!("Cluster {namespace}/{id}"), "spec");
    Ok(split(&field(object).join(","), &source)?)
}

/// Whether each statement covers all true ranges of IPv4.
fn covered(cluster: &Cluster<'_>, real: &[Range], stated: &[Range], at_broker: &[Range], flag: &str) -> Judged {
    if stated.is_empty() && at_broker.is_empty() {
        return Err(NoVerdict::does_not_apply("nothing is stated: discovery decides"));
    }
    let cidrs = |ranges: &[Range]| {
        ranges
            .iter()
            .map(|range| range.cidr)
            .filter(|cidr| cidr.is_ipv4())
            .collect::<Vec<Cidr>>()
    };
    let real_cidrs = cidrs(real);
    let missing = [stated, at_broker]
        .into_iter()
        .filter(|ranges| !ranges.is_empty())
        .map(|ranges| (ranges, Cidr::uncovered(&real_cidrs, &cidrs(ranges))))
        .find(|(_, missing)| !missing.is_empty());
    let evidence = |ranges: &[Range]| {
        ranges
            .iter()
            .take(5)
            .map(|range| Evidence::new(cluster.name(), &range.cidr, &range.source))
            .collect::<Vec<_>>()
    };
    Ok(match missing {
        None => Outcome::holds().found("covers what is in use"),
        Some((_, missing)) => Outcome::broken()
            .found(format!("{} is not covered", some_of(missing)))
            .remedy(format!("pass the true ranges with {flag}, or correct the Submariner object of {} and restart operator, gateway and route agents", cluster.name())),
    }
    .expected(some_of(Cidr::aggregate(&real_cidrs)))
    .evidence_all(evidence(stated))
    .evidence_all(evidence(at_broker))
    .evidence_all(evidence(real)))
}

declare_check! {
    /// ## What it checks
    /// The IPv4 address of every running pod that is not on the host network lies in a pod range that is, or will be,
    /// advertised.
    ///
    /// ## Why it matters
    /// A wrong range that overlaps nothing connects, may pass the health check, and loses every pod outside it.
    ///
    /// ## How it is determined
    /// Pod addresses against the stated pod ranges (spec, else status, else the plan). Where nothing is stated,
    /// discovery decides and the ranges themselves are checked.
    ///
    /// ## How to fix
    /// Pass the true range with `--clustercidr`.
    ///
    /// ## References
    /// Submariner issues 1583, 2128, 1642.
    pub static PODS_ADVERTISED = {
        code: "SM604",
        slug: "advertised-pods",
        title: "Pods have addresses that are not advertised",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "these pods are unreachable from other clusters",
        rules: ["submariner CHK-04"],
        run: Cluster(pods_advertised),
    };
}

fn pods_advertised(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let stated = Mesh::of(audit).stated_pod_cidrs(cluster)?;
    if stated.is_empty() {
        return Err(NoVerdict::does_not_apply("nothing is stated: discovery decides"));
    }
    let known = cluster.facts.pods.known_value()?;
    let inside = |address: IpAddr| address.is_ipv6() || stated.iter().any(|range| range.cidr.contains_addr(address));
    let outside: Vec<_> = known
        .value
        .pods
        .iter()
        .filter(|block| !(inside(block.first) && inside(block.last)))
        .collect();
    let ranges = some_of(stated.iter().map(|range| range.cidr));
    let evidence = stated
        .iter()
        .map(|range| Evidence::new(cluster.name(), &range.cidr, &range.source));
    Ok(match outside.first() {
        None => Outcome::holds().found("every pod is inside"),
        Some(first) => Outcome::broken()
            .found(format!(
                "{} addresses outside, for example {} ({})",
                outside.iter().map(|block| block.count).sum::<u64>(),
                first.first,
                first.example
            ))
            .remedy(format!(
                "pass the true pod ranges of {} with --clustercidr",
                cluster.name()
            )),
    }
    .expected(format!("all pods in {ranges}"))
    .evidence_all(evidence)
    .evidence_all(outside.iter().take(3).map(|block| {
        Evidence::new(
            cluster.name(),
            &block.first,
            &Source::read(format!("Pod {}", block.example), "status.podIP"),
        )
    })))
}

declare_check! {
    /// ## What it checks
    /// Every node's `podCIDR` lies in an advertised range, where the plugin uses it.
    ///
    /// ## Why it matters
    /// Older releases took one node's block for the whole cluster (K3s).
    ///
    /// ## How it is determined
    /// `spec.podCIDRs` of all nodes against the stated pod ranges, with flannel, canal, kindnet and Cilium IPAM
    /// kubernetes.
    ///
    /// ## How to fix
    /// Pass the true range with `--clustercidr`.
    ///
    /// ## References
    /// submariner-operator issues 1730, 1731.
    pub static NODES_ADVERTISED = {
        code: "SM605",
        slug: "advertised-node-blocks",
        title: "Node blocks are not advertised",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "pods of these nodes are unreachable from other clusters",
        rules: ["submariner CHK-05", "submariner CNI-17"],
        run: Cluster(nodes_advertised),
    };
}

fn nodes_advertised(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let stated = Mesh::of(audit).stated_pod_cidrs(cluster)?;
    if stated.is_empty() {
        return Err(NoVerdict::does_not_apply("nothing is stated: discovery decides"));
    }
    let used = cluster
        .pods()?
        .allocated
        .iter()
        .filter(|range| range.source.field == "spec.podCIDRs" && range.cidr.is_ipv4())
        .cloned()
        .collect::<Vec<_>>();
    if used.is_empty() {
        return Err(NoVerdict::does_not_apply("the plugin does not use the nodes' podCIDRs"));
    }
    covered(cluster, &used, &stated, &[], "--clustercidr")
}

declare_check! {
    /// ## What it checks
    /// The pod ranges that Submariner was told, or will be told, cover the real ones.
    ///
    /// ## Why it matters
    /// Peers route what is stated, whatever is in use.
    ///
    /// ## How it is determined
    /// The Submariner object (spec, else status), the plan, and the broker's Cluster object against the reconciled
    /// ranges.
    ///
    /// ## How to fix
    /// Pass the true range with `--clustercidr`, or correct the object and restart operator, gateway and route agents.
    ///
    /// ## References
    /// submariner-operator, `pkg/discovery/network`.
    pub static PODS_STATED = {
        code: "SM606",
        slug: "stated-pod-range",
        title: "The stated pod range does not cover the real one",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "pods outside it are unreachable from other clusters",
        rules: ["submariner CHK-06"],
        run: Cluster(pods_stated),
    };
}

fn pods_stated(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mesh = Mesh::of(audit);
    let stated = mesh.stated_pod_cidrs(cluster)?;
    let at_broker = at_broker(&mesh, cluster, |object| &object.cluster_cidr)?;
    let ranges = cluster.pods()?;
    let real = if ranges.pools.is_empty() {
        &ranges.allocated
    } else {
        &ranges.pools
    };
    covered(cluster, real, &stated, &at_broker, "--clustercidr")
}

declare_check! {
    /// ## What it checks
    /// The plugin that Submariner found is the one that its algorithm would find today.
    ///
    /// ## Why it matters
    /// A left-over ConfigMap, or a plugin changed since the join, makes route agents act for the wrong one.
    ///
    /// ## How it is determined
    /// `status.networkPlugin` against the discovery of the operator, done again from the objects read.
    ///
    /// ## How to fix
    /// Remove left-overs and restart the operator.
    ///
    /// ## References
    /// submariner-operator, `pkg/discovery/network`.
    pub static PLUGIN_FOUND = {
        code: "SM607",
        slug: "network-plugin-found",
        title: "Submariner takes the network plugin for another",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "handlers for the wrong plugin run",
        rules: ["submariner CHK-07", "submariner CNI-01", "submariner KIND-11"],
        run: Cluster(plugin_found),
    };
}

fn plugin_found(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let Some(config) = installed(cluster)? else {
        return Err(NoVerdict::does_not_apply("Submariner is not installed yet"));
    };
    let found = &config.value.network_plugin;
    if found.is_empty() {
        return Err(Unknown::not_found("Submariner status.networkPlugin is empty").into());
    }
    let today = network_plugin(cluster)?;
    let outcome = if found.eq_ignore_ascii_case(&today.value) {
        Outcome::holds()
    } else {
        Outcome::broken().remedy("remove what is left of another plugin, then restart the operator")
    };
    Ok(outcome
        .expected(today.value.clone())
        .found(found.clone())
        .evidence(Evidence::new(
            cluster.name(),
            found,
            &field(config, "status.networkPlugin"),
        ))
        .evidence(Evidence::of(cluster.name(), &today)))
}

#[cfg(test)]
mod tests {
    use crate::facts::ClusterFacts;
    use crate::facts::provenance::{Fact, Reason};
    use crate::profile::Profile::Submariner;
    use crate::report::Verdict;
    use crate::samples::{findings, report, value_mut};
    use crate::samples::{hold_broker, submariner, submariner_config_mut, submariner_mut};

    fn judged(code: &str, change: impl FnOnce(&mut ClusterFacts)) -> Verdict {
        let mut clusters = submariner(&[("east", 1), ("west", 2)]);
        change(&mut clusters[0]);
        let report = report(Submariner, &clusters);
        findings(&report, code)
            .into_iter()
            .find(|finding| finding.subject.clusters == ["east"])
            .unwrap()
            .verdict
    }

    #[test]
    fn members_that_state_the_truth_pass() {
        for code in ["SM602", "SM603", "SM604", "SM605", "SM606", "SM607"] {
            assert_eq!(judged(code, |_| {}), Verdict::Pass, "{code}");
        }
    }

    #[test]
    fn s_2128_the_block_of_one_node_is_taken_for_the_cluster() {
        let one_block = |facts: &mut ClusterFacts| {
            submariner_config_mut(facts).cluster_cidr = "10.10.0.0/24".to_owned();
            submariner_config_mut(facts).status_cluster_cidr = "10.10.0.0/24".to_owned();
        };
        for code in ["SM604", "SM605", "SM606"] {
            assert_eq!(judged(code, one_block), Verdict::Fail, "{code}");
        }
    }

    #[test]
    fn a_service_range_that_grew_is_not_covered() {
        assert_eq!(
            judged("SM603", |facts| value_mut(&mut facts.service_cidrs)
                .push("10.201.0.0/16".parse().unwrap())),
            Verdict::Fail
        );
    }

    #[test]
    fn the_brokers_copy_counts_as_well() {
        let stale = |facts: &mut ClusterFacts| {
            hold_broker(facts);
            for object in value_mut(&mut submariner_mut(facts).clusters) {
                object.service_cidr = vec!["10.99.0.0/16".to_owned()];
            }
        };
        assert_eq!(judged("SM603", stale), Verdict::Fail);
    }

    #[test]
    fn an_api_server_outside_the_range_warns() {
        assert_eq!(
            judged("SM602", |facts| value_mut(&mut facts.services)[0].cluster_ips =
                vec!["10.96.0.1".parse().unwrap()]),
            Verdict::Warn
        );
    }

    #[test]
    fn another_plugin_than_found_warns() {
        assert_eq!(
            judged("SM607", |facts| submariner_config_mut(facts).network_plugin =
                "calico".to_owned()),
            Verdict::Warn
        );
    }

    #[test]
    fn what_could_not_be_read_is_unknown() {
        let forbidden = |what: &str| Reason::Forbidden.to_string() + what;
        assert_eq!(
            judged("SM604", |facts| facts.pods =
                Fact::unknown(Reason::Forbidden, forbidden(": list pods"))),
            Verdict::Unknown
        );
        for code in ["SM603", "SM604", "SM605", "SM606", "SM607"] {
            assert_eq!(
                judged(code, |facts| facts.submariner =
                    Fact::unknown(Reason::Forbidden, forbidden(": list submariners"))),
                Verdict::Unknown,
                "{code}"
            );
        }
        assert_eq!(
            judged("SM602", |facts| facts.services =
                Fact::unknown(Reason::Forbidden, forbidden(": list services"))),
            Verdict::Unknown
        );
    }
}
