//! Features that only work if they are set up alike, or set up at all, in all clusters.

mod exports;

use std::collections::BTreeMap;

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::compare::Groups;
use crate::facts::provenance::Source;
use crate::facts::service::Service;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::report::Evidence;
use exports::{MCS_API, NAMESPACE_EXPORT, SLICE_EXPORT};

pub(super) static CHECKS: &[&Check] = &[
    &POLICY_DEFAULT,
    &GLOBAL_SERVICES,
    &ENDPOINT_SYNC,
    &MCS_API,
    &NAMESPACE_EXPORT,
    &SLICE_EXPORT,
    &CACHE_TTL,
    &HUBBLE_TLS,
    &HEADLESS_NAMES,
];

declare_check! {
    /// ## What it checks
    /// Selectors without a cluster label match the same pods in all clusters.
    ///
    /// ## Why it matters
    /// With `policy-default-local-cluster` a selector means the local cluster only; without it, all clusters. A mixed
    /// mesh admits one way and drops the other.
    ///
    /// ## How it is determined
    /// Key `policy-default-local-cluster` or the default of the version (false before 1.19, true from then on). Whether
    /// a policy relies on it cannot be read: never a failure.
    ///
    /// ## How to fix
    /// Add `io.cilium.k8s.policy.cluster` to selectors that cross clusters, then align the key.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh policy; upgrade notes 1.19.
    pub static POLICY_DEFAULT = {
        code: "CM701",
        slug: "policy-default-local-cluster",
        title: "Policies mean different things in different clusters",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the same policy admits peers in one cluster and not in the other",
        rules: ["clustermesh FT-1"],
        run: Between(policy_default),
    };
}

fn policy_default(audit: &Audit<'_>) -> Vec<Outcome> {
    equal_key(
        audit,
        "policy-default-local-cluster",
        "add io.cilium.k8s.policy.cluster to selectors that cross clusters, then set clustermesh.policyDefaultLocalCluster alike everywhere",
    )
}

/// One key, the same in all clusters.
fn equal_key(audit: &Audit<'_>, key: &str, remedy: &str) -> Vec<Outcome> {
    Groups::of(audit, |cluster| Ok(cluster.cilium()?.value(key)?)).expect_equal(audit, |outcome, _| {
        outcome
            .expected(format!("{key} the same in all clusters"))
            .remedy(remedy)
    })
}

declare_check! {
    /// ## What it checks
    /// A Service that one cluster marks as global exists under the same name and namespace, also marked, in some other.
    ///
    /// ## Why it matters
    /// Backends are merged by namespace and name. A service that nobody else has, or has without the mark, stays local
    /// and nobody says so. Policies are not replicated either: each cluster needs its own.
    ///
    /// ## How it is determined
    /// Services with annotation `service.cilium.io/global: "true"` (old prefix `io.cilium/` included) over all
    /// clusters.
    ///
    /// ## How to fix
    /// Create or annotate the Service in the other clusters, and deploy its policies there.
    ///
    /// ## References
    /// Cilium documentation, global services.
    pub static GLOBAL_SERVICES = {
        code: "CM703",
        slug: "global-services",
        title: "A global service exists in one cluster only",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "it has the backends of one cluster only",
        rules: ["clustermesh FT-2", "clustermesh FT-3"],
        run: Between(global_services),
    };
}

/// Both prefixes of the annotation are understood, the old one with a slash only.
fn is_global(service: &Service) -> bool {
    ["service.cilium.io/global", "io.cilium/global-service"]
        .iter()
        .any(|key| {
            service
                .annotation(key)
                .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        })
}

/// The clusters that mark each Service as global, and those that have it without the mark.
#[derive(Default)]
struct Sharing {
    marked: Vec<ClusterId>,
    plain: Vec<ClusterId>,
}

/// All Services that some cluster marks as global. Clusters whose Services could not be read are returned with the reason.
fn shared_services(audit: &Audit<'_>) -> (BTreeMap<String, Sharing>, Vec<Outcome>) {
    let mut shared: BTreeMap<String, Sharing> = BTreeMap::new();
    let mut unread = Vec::new();
    for cluster in audit.clusters {
        match cluster.facts.services.get() {
            Ok(services) => services
                .iter()
                .filter(|service| is_global(service))
                .for_each(|service| shared.entry(service.key()).or_default().marked.push(cluster.id)),
            Err(why) => unread.push(Outcome::none(why).about([cluster.id])),
        }
    }
    for cluster in audit.clusters {
        for service in cluster
            .facts
            .services
            .ok()
            .into_iter()
            .flatten()
            .filter(|service| !is_global(service))
        {
            if let Some(sharing) = shared.get_mut(&service.key()) {
                sharing.plain.push(cluster.id);
            }
        }
    }
    (shared, unread)
}

fn global_services(audit: &Audit<'_>) -> Vec<Outcome> {
    let (shared, mut outcomes) = shared_services(audit);
    let readable = audit.clusters_where(|cluster| cluster.facts.services.ok().is_some());
    if readable.len() < 2 {
        return outcomes;
    }
    let lonely: Vec<(&String, &Sharing)> = shared.iter().filter(|(_, sharing)| sharing.marked.len() < 2).collect();
    if lonely.is_empty() {
        outcomes.push(
            Outcome::holds()
                .found(format!("{} global services, each in several clusters", shared.len()))
                .about(readable),
        );
    }
    let mut by_cluster: BTreeMap<ClusterId, Vec<(&String, &Sharing)>> = BTreeMap::new();
    for (key, sharing) in lonely {
        by_cluster.entry(sharing.marked[0]).or_default().push((key, sharing));
    }
    for (id, services) in by_cluster {
        let name = audit.cluster(id).name();
        let describe = |(key, sharing): &(&String, &Sharing)| {
            let elsewhere = if sharing.plain.is_empty() {
                String::new()
            } else {
                format!(", not marked on {}", audit.names(&sharing.plain))
            };
            Evidence::new(
                name,
                &format!("{key}{elsewhere}"),
                &Source::read(
                    format!("Service {key}"),
                    "metadata.annotations service.cilium.io/global",
                ),
            )
        };
        outcomes.push(
            Outcome::broken()
                .expected("each global service, with its annotation, in several clusters")
                .found(format!("{} global services of {name} are in no other cluster", services.len()))
                .evidence_all(services.iter().take(10).map(describe))
                .remedy("create the Service in the other clusters under the same name and namespace, with the annotation; deploy its policies there")
                .about([id]),
        );
    }
    outcomes
}

declare_check! {
    /// ## What it checks
    /// `clustermesh-enable-endpoint-sync` is the same everywhere.
    ///
    /// ## Why it matters
    /// EndpointSlices of remote backends are what third-party controllers and headless services look at.
    ///
    /// ## How it is determined
    /// The key in all clusters.
    ///
    /// ## How to fix
    /// Enable it everywhere or nowhere.
    ///
    /// ## References
    /// Cilium documentation, global services.
    pub static ENDPOINT_SYNC = {
        code: "CM704",
        slug: "endpoint-sync",
        title: "Endpoint synchronisation differs",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "controllers and headless global services see remote endpoints in some clusters only",
        rules: ["clustermesh FT-4"],
        run: Between(endpoint_sync),
    };
}

fn endpoint_sync(audit: &Audit<'_>) -> Vec<Outcome> {
    equal_key(
        audit,
        "clustermesh-enable-endpoint-sync",
        "set clustermesh.enableEndpointSliceSynchronization alike everywhere; the operators restart",
    )
}

declare_check! {
    /// ## What it checks
    /// Records how long the state of an unreachable peer is kept.
    ///
    /// ## Why it matters
    /// With `0s` (the default) backends of a dead cluster stay in every service.
    ///
    /// ## How it is determined
    /// Key `clustermesh-cache-ttl`.
    ///
    /// ## How to fix
    /// Set for example `15m`.
    ///
    /// ## References
    /// Cilium documentation, global services.
    pub static CACHE_TTL = {
        code: "CM708",
        slug: "cache-ttl",
        title: "Dead peers' backends are kept for ever",
        severity: Info,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "traffic goes to backends of a cluster that is gone",
        rules: ["clustermesh FT-8"],
        run: Cluster(cache_ttl),
    };
}

fn cache_ttl(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let ttl = cluster.cilium()?.value("clustermesh-cache-ttl")?;
    let for_ever = ttl
        .value
        .trim_end_matches(char::is_alphabetic)
        .trim_matches('0')
        .is_empty();
    let outcome = if for_ever {
        Outcome::broken().remedy("set clustermesh.cacheTTL, for example to 15m")
    } else {
        Outcome::holds()
    };
    Ok(outcome
        .found(ttl.value.clone())
        .evidence(Evidence::of(cluster.name(), &ttl)))
}

declare_check! {
    /// ## What it checks
    /// Hubble is on everywhere or nowhere, and uses TLS alike.
    ///
    /// ## Why it matters
    /// Relay of one cluster connects to the nodes of all.
    ///
    /// ## How it is determined
    /// Keys `enable-hubble` and `hubble-disable-tls`.
    ///
    /// ## How to fix
    /// Align them, and share the CA.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup; `pkg/hubble/peer`.
    pub static HUBBLE_TLS = {
        code: "CM709",
        slug: "hubble-tls",
        title: "Hubble differs between clusters",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "Relay cannot show flows of the other clusters",
        rules: ["clustermesh FT-9"],
        run: Between(hubble_tls),
    };
}

fn hubble_tls(audit: &Audit<'_>) -> Vec<Outcome> {
    Groups::of(audit, |cluster| {
        let settings = cluster.cilium()?;
        let enabled = settings.flag("enable-hubble")?;
        let plain = settings.flag("hubble-disable-tls")?.value;
        Ok(enabled.map(|enabled| match (enabled, plain) {
            (false, _) => "off".to_owned(),
            (true, false) => "on, with TLS".to_owned(),
            (true, true) => "on, without TLS".to_owned(),
        }))
    })
    .expect_equal(audit, |outcome, _| {
        outcome
            .expected("Hubble alike in all clusters")
            .remedy("set hubble.enabled and hubble.tls.enabled alike, and share the CA")
    })
}

declare_check! {
    /// ## What it checks
    /// Headless global services with endpoint synchronisation are backed by StatefulSets of different names.
    ///
    /// ## Why it matters
    /// Host names of all clusters are merged without conflict handling: `db-0` is whichever came last.
    ///
    /// ## How it is determined
    /// Headless Services marked global in several clusters that synchronise endpoints. StatefulSets are not read: the
    /// finding says what to verify.
    ///
    /// ## How to fix
    /// Put the cluster's name into the StatefulSet's.
    ///
    /// ## References
    /// Cilium documentation, global services.
    pub static HEADLESS_NAMES = {
        code: "CM710",
        slug: "headless-global-services",
        title: "A headless global service merges host names",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "pods of different clusters answer to one host name",
        rules: ["clustermesh FT-10"],
        run: Between(headless_names),
    };
}

fn headless_names(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut headless: BTreeMap<String, Vec<ClusterId>> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for cluster in audit.clusters {
        let mut read = || -> Result<(), NoVerdict> {
            let syncs = cluster.cilium()?.flag("clustermesh-enable-endpoint-sync")?.value;
            for service in cluster
                .facts
                .services
                .get()?
                .iter()
                .filter(|service| syncs && service.headless && is_global(service))
            {
                headless.entry(service.key()).or_default().push(cluster.id);
            }
            Ok(())
        };
        if let Err(why) = read() {
            outcomes.push(Outcome::none(why).about([cluster.id]));
        }
    }
    let merged: Vec<_> = headless
        .into_iter()
        .filter(|(_, clusters)| clusters.len() > 1)
        .collect();
    for (key, clusters) in &merged {
        let evidence = clusters.iter().map(|id| {
            Evidence::new(
                audit.cluster(*id).name(),
                key,
                &Source::read(format!("Service {key}"), "spec.clusterIP None"),
            )
        });
        outcomes.push(
            Outcome::broken()
                .expected("StatefulSets of different names behind a headless global service")
                .found(format!("{key} is headless and global on {}: host names are merged", audit.names(clusters)))
                .evidence_all(evidence)
                .remedy("make sure that the StatefulSets behind it have different names, for example with the cluster's name in them")
                .within(clusters.iter().copied())
                .about(clusters.iter().copied()),
        );
    }
    let readable = audit.clusters_where(|cluster| cluster.cilium().is_ok() && cluster.facts.services.ok().is_some());
    if merged.is_empty() && !readable.is_empty() {
        outcomes.push(Outcome::holds().found("no headless service is merged").about(readable));
    }
    outcomes
}

#[cfg(test)]
mod tests;
