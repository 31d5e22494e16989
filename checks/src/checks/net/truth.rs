//! Whether the ranges read are the true ones: what is really in use must lie inside, and sources must not contradict each other.

use std::net::IpAddr;

use crate::addressing::{Range, Shape};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::facts::kubernetes::ObservedBlock;
use crate::facts::provenance::Source;
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::Profile;
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[&POD_OUTSIDE, &SERVICE_OUTSIDE, &SOURCES_DISAGREE];

declare_check! {
    /// ## What it checks
    /// The addresses of running pods lie in the ranges that were found for the cluster.
    ///
    /// ## Why it matters
    /// If they do not, the ranges are wrong and every comparison of this cluster's ranges is void. It happens where a distribution's
    /// `--cluster-cidr` is not what the plugin hands out.
    ///
    /// ## How it is determined
    /// Addresses of running pods that are not on the host network, against the reconciled ranges. With Cilium, a pod whose address a
    /// CiliumEndpoint confirms fails; one that Cilium does not know (started before it, or another plugin's) warns, and so does an
    /// endpoint that no running pod owns. With Submariner any such pod fails: peers have no route to it. Not applicable where the addresses themselves are
    /// the range (VPC plugins, chaining).
    ///
    /// ## How to fix
    /// Find out which range pods really get (`kubectl get pods -A -o wide`) and set it: Cilium's pool, `--clustercidr` of `subctl join`.
    ///
    /// ## References
    /// cilium/cilium issue 29763, rancher/rke2 issue 891; Submariner issues 1583, 2128.
    pub static POD_OUTSIDE = {
        code: "NET201",
        slug: "pod-outside-ranges",
        title: "Pods have addresses outside the known ranges",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "the ranges found are not the ranges in use: every comparison of them is void",
        rules: ["clustermesh 3.2 sanity sample", "clustermesh ADDR-3"],
        run: Cluster(pod_outside),
    };
}

fn pod_outside(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let ranges = cluster.pods()?;
    if ranges.shape == Shape::Addresses {
        return Err(NoVerdict::does_not_apply(
            "pods' addresses themselves are the range here",
        ));
    }
    let seen = cluster.facts.pods.get()?;
    let within = |block: &&ObservedBlock| inside(block, &|address| ranges.contains(address));
    let outside: Vec<&ObservedBlock> = seen.pods.iter().filter(|block| !within(block)).collect();
    let confirmed = if let Ok(cilium) = cluster.facts.cilium.get() {
        let endpoints = cilium.endpoints.get()?;
        let left_over: Vec<&ObservedBlock> = endpoints.without_pod.iter().filter(|block| !within(block)).collect();
        if outside.is_empty() && !left_over.is_empty() {
            return Ok(complain(
                cluster,
                Severity::Warn,
                &left_over,
                "CiliumEndpoints without a running pod",
            ));
        }
        endpoints.of_running_pods.iter().any(|block| !within(&block))
    } else {
        true
    };
    if outside.is_empty() {
        let count: u64 = seen.pods.iter().map(|block| block.count).sum();
        return Ok(Outcome::holds().found(format!(
            "{count} pod addresses lie in {} ({})",
            join(&ranges.summary()),
            ranges.basis
        )));
    }
    let severity = if confirmed || audit.profile == Profile::Submariner {
        Severity::Fail
    } else {
        Severity::Warn
    };
    Ok(complain(cluster, severity, &outside, "Pods"))
}

fn complain(cluster: &Cluster<'_>, severity: Severity, outside: &[&ObservedBlock], object: &str) -> Outcome {
    const SHOWN: usize = 5;
    let count: u64 = outside.iter().map(|block| block.count).sum();
    let known = cluster.pods().map(|ranges| join(&ranges.summary())).unwrap_or_default();
    Outcome::broken_as(severity)
        .expected(format!("all pod addresses in {known}"))
        .found(format!(
            "{count} addresses outside, for example {} ({})",
            outside[0].first, outside[0].example
        ))
        .evidence_all(outside.iter().take(SHOWN).map(|block| {
            let value = if block.first == block.last {
                block.first.to_string()
            } else {
                format!("{} to {} ({})", block.first, block.last, block.count)
            };
            Evidence::new(
                cluster.name(),
                &value,
                &Source::read(format!("{object} {}", block.example), "status.podIPs"),
            )
        }))
        .remedy(
            "find the range that pods really get and set it where the plugin reads it, or declare it in prejoin.yaml",
        )
}

/// Whether all addresses seen in a block satisfy `known`: its ends do, as ranges are never smaller than what was reduced.
fn inside(block: &ObservedBlock, known: &impl Fn(IpAddr) -> bool) -> bool {
    known(block.first) && known(block.last)
}

declare_check! {
    /// ## What it checks
    /// The ClusterIPs of all Services lie in the service ranges that were found.
    ///
    /// ## Why it matters
    /// A Service outside the known range is invisible to every comparison, and with Submariner not reachable from other clusters.
    ///
    /// ## How it is determined
    /// `spec.clusterIPs` of all Services against the reconciled service ranges. Not applicable where the range is only an estimate made from
    /// these addresses.
    ///
    /// ## How to fix
    /// Find the range the API server uses (`ServiceCIDR` objects, `--service-cluster-ip-range`); with Submariner pass it with `--servicecidr`.
    ///
    /// ## References
    /// Kubernetes documentation, extending service ranges.
    pub static SERVICE_OUTSIDE = {
        code: "NET202",
        slug: "service-outside-ranges",
        title: "Services have addresses outside the known ranges",
        severity: Fail,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "the service range found is not the one in use: every comparison of it is void",
        rules: ["submariner CHK-01"],
        run: Cluster(service_outside),
    };
}

fn service_outside(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let ranges = cluster.services()?;
    if ranges.is_estimate {
        return Err(NoVerdict::does_not_apply(
            "the service range is an estimate made from the Services themselves",
        ));
    }
    let services = cluster.facts.services.get()?;
    let outside: Vec<_> = services
        .iter()
        .filter_map(|service| {
            Some((
                service,
                service.cluster_ips.iter().find(|address| !ranges.contains(**address))?,
            ))
        })
        .collect();
    let known = join(&ranges.ranges.iter().map(|range| range.cidr).collect::<Vec<_>>());
    let Some((first, address)) = outside.first() else {
        return Ok(Outcome::holds().found(format!("{} Services lie in {known}", services.len())));
    };
    Ok(Outcome::broken()
        .expected(format!("all ClusterIPs in {known}"))
        .found(format!(
            "{} Services outside, for example {} ({address})",
            outside.len(),
            first.key()
        ))
        .evidence_all(outside.iter().take(5).map(|(service, address)| {
            Evidence::new(
                cluster.name(),
                address,
                &Source::read(format!("Service {}", service.key()), "spec.clusterIPs"),
            )
        }))
        .remedy("find the range that the API server hands out, and declare it in prejoin.yaml if no object shows it"))
}

declare_check! {
    /// ## What it checks
    /// The sources that say something about pod and service ranges agree.
    ///
    /// ## Why it matters
    /// Tools read different sources. One that reads the stale one plans routes and firewalls for addresses nobody has.
    ///
    /// ## How it is determined
    /// Every other source (kubeadm-config, control-plane flags, kube-proxy, node arguments) against the ranges in use. Where the plugin hands out its own
    /// pool by design (Cilium cluster-pool and multi-pool), a different `--cluster-cidr` is only recorded.
    ///
    /// ## How to fix
    /// Correct the stale source, so that the next reader is not misled.
    ///
    /// ## References
    /// cilium/cilium issue 29763; Submariner, `pkg/discovery/network`.
    pub static SOURCES_DISAGREE = {
        code: "NET203",
        slug: "range-sources-disagree",
        title: "Sources disagree about ranges",
        severity: Warn,
        profiles: [Clustermesh, Submariner],
        since: "0.1.0",
        why: "whoever reads the other source plans for addresses that nobody has",
        rules: ["clustermesh ADDR-3"],
        run: Cluster(sources_disagree),
    };
}

fn sources_disagree(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let (pods, services) = (cluster.pods()?, cluster.services()?);
    let stray = |advisory: &[Range], used: &[Cidr]| -> Vec<Range> {
        advisory
            .iter()
            .filter(|range| {
                !Cidr::uncovered(&[range.cidr], used).is_empty() && !used.iter().any(|used| range.cidr.contains(*used))
            })
            .cloned()
            .collect()
    };
    let pod_ranges: Vec<Cidr> = pods.all().map(|range| range.cidr).collect();
    let service_ranges: Vec<Cidr> = services.ranges.iter().map(|range| range.cidr).collect();
    let (stray_pods, stray_services) = (
        stray(&pods.advisory, &pod_ranges),
        stray(&services.advisory, &service_ranges),
    );
    if stray_pods.is_empty() && stray_services.is_empty() {
        let sources = pods.advisory.len() + services.advisory.len();
        return Ok(Outcome::holds().found(format!("{sources} other sources agree with {}", pods.basis)));
    }
    let by_design = stray_services.is_empty()
        && (pods.shape == Shape::Addresses
            || pods.basis.starts_with("Cilium IPAM") && !pods.basis.ends_with("kubernetes"));
    let evidence = |ranges: &[Range]| {
        ranges
            .iter()
            .map(|range| Evidence::new(cluster.name(), &range.cidr, &range.source))
            .collect::<Vec<_>>()
    };
    let used: Vec<Range> = pods
        .pools
        .iter()
        .take(3)
        .chain(services.ranges.iter().take(2))
        .cloned()
        .collect();
    let severity = if by_design { Severity::Info } else { Severity::Warn };
    Ok(Outcome::broken_as(severity)
        .expected(format!(
            "pods {} ({}), services {}",
            join(&pods.summary()),
            pods.basis,
            join(&service_ranges)
        ))
        .found(join(
            &stray_pods
                .iter()
                .chain(&stray_services)
                .map(|range| range.cidr)
                .collect::<Vec<_>>(),
        ))
        .evidence_all(evidence(&used))
        .evidence_all(evidence(&stray_pods))
        .evidence_all(evidence(&stray_services))
        .remedy("correct the source that is not in use"))
}

/// `10.0.0.0/16, 10.2.0.0/16 and 7 more`.
fn join(cidrs: &[Cidr]) -> String {
    const SHOWN: usize = 3;
    let shown = cidrs
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if cidrs.len() > SHOWN {
        format!("{shown} and {} more", cidrs.len() - SHOWN)
    } else {
        shown
    }
}
