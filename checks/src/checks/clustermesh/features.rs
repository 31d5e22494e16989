//! Features that only work if they are set up alike, or set up at all, in all clusters.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::compare::Groups;
use crate::facts::dns::Dns;
use crate::facts::provenance::{Known, Reason, Source};
use crate::facts::service::Service;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::control_plane::deployment;
use crate::profile::cilium::version::{Version, Versions};
use crate::report::{Evidence, Severity};

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
    /// Where Cilium's MCS API is on, its resource types are served, CoreDNS (1.12.2 or later) answers
    /// `clusterset.local`, and namespaces of exports exist.
    ///
    /// ## Why it matters
    /// An apiserver that starts before the types are there deletes exports silently at the peers; a CoreDNS without the
    /// zone answers NXDOMAIN.
    ///
    /// ## How it is determined
    /// Key `clustermesh-enable-mcs-api`, served versions of `multicluster.x-k8s.io`, CoreDNS image and Corefile, its
    /// role on ServiceImports, namespaces of ServiceExports. Fails if types are not served, or CoreDNS cannot answer
    /// while something is exported somewhere; else warns.
    ///
    /// ## How to fix
    /// Enable the CoreDNS configuration in the chart (`clustermesh.mcsapi.corednsAutoConfigure`), or add `multicluster
    /// clusterset.local` to the Corefile; create the namespaces.
    ///
    /// ## References
    /// Cilium documentation, MCS API; cilium/cilium issue 47793.
    pub static MCS_API = {
        code: "CM705",
        slug: "mcs-api",
        title: "The MCS API does not work everywhere",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "exported services do not resolve or are not exported",
        rules: ["clustermesh FT-5"],
        run: Set(mcs_api),
    };
}

fn mcs_api(audit: &Audit<'_>) -> Vec<Outcome> {
    let exported: BTreeSet<&str> = audit
        .clusters
        .iter()
        .filter_map(|cluster| cluster.facts.mcs.ok()?.exports.ok())
        .flatten()
        .map(|export| export.namespace.as_str())
        .collect();
    let on = audit.clusters_where(|cluster| {
        cluster
            .cilium()
            .and_then(|settings| settings.flag("clustermesh-enable-mcs-api"))
            .is_ok_and(|flag| flag.value)
    });
    audit
        .clusters
        .iter()
        .map(|cluster| {
            mcs_of(audit, cluster, &exported, &on)
                .unwrap_or_else(Outcome::none)
                .about([cluster.id])
        })
        .collect()
}

fn mcs_of(audit: &Audit<'_>, cluster: &Cluster<'_>, exported: &BTreeSet<&str>, on: &[ClusterId]) -> Judged {
    let flag = cluster.cilium()?.flag("clustermesh-enable-mcs-api")?;
    let evidence = Evidence::of(cluster.name(), &flag);
    if !flag.value {
        return match on {
            [] => Err(NoVerdict::does_not_apply("Cilium's MCS API is off everywhere")),
            on => Ok(Outcome::broken_as(Severity::Warn)
                .expected("the MCS API on in all clusters, or in none")
                .found(format!("off here, on on {}", audit.names(on)))
                .remedy("set clustermesh.mcsapi.enabled alike everywhere")
                .evidence(evidence)),
        };
    }
    let served = match cluster.facts.mcs.get() {
        Ok(mcs) => mcs.served_versions.clone(),
        Err(why) if why.reason == Reason::NotInstalled => Vec::new(),
        Err(why) => return Err(why.into()),
    };
    if !served
        .iter()
        .any(|version| matches!(version.as_str(), "v1alpha1" | "v1beta1"))
    {
        return Ok(Outcome::broken()
            .expected("ServiceExport and ServiceImport served")
            .found("the types of multicluster.x-k8s.io are not served")
            .remedy("install them (clustermesh.mcsapi.installCRDs, from 1.19), then restart clustermesh-apiserver")
            .evidence(evidence));
    }
    let namespaces = cluster.facts.namespaces.get()?;
    let missing: Vec<&str> = exported
        .iter()
        .copied()
        .filter(|name| !namespaces.iter().any(|namespace| namespace.name == *name))
        .collect();
    let dns = cluster.facts.dns.get()?;
    let complaint = dns_complaint(dns);
    let (severity, found, remedy) = match (complaint, missing.as_slice()) {
        (Some(text), _) => (
            if exported.is_empty() {
                Severity::Warn
            } else {
                Severity::Fail
            },
            text,
            "let the chart configure CoreDNS (clustermesh.mcsapi.corednsAutoConfigure), or add `multicluster clusterset.local` and the role on serviceimports; CoreDNS 1.12.2 or later",
        ),
        (None, [first, ..]) => (
            Severity::Warn,
            format!("namespace {first} of an export does not exist here"),
            "create the namespaces of exported services",
        ),
        (None, []) => {
            return Ok(Outcome::holds()
                .found(format!(
                    "{} served, CoreDNS answers clusterset.local",
                    served.join(", ")
                ))
                .evidence(evidence));
        }
    };
    Ok(Outcome::broken_as(severity)
        .expected("CoreDNS answers clusterset.local, and the namespaces of exports exist")
        .found(found)
        .remedy(remedy)
        .evidence(evidence))
}

/// Why CoreDNS cannot answer for imported services, if so.
fn dns_complaint(dns: &Dns) -> Option<String> {
    let version: Option<Versions> = dns.coredns_version.parse().ok();
    let zone = dns.corefiles.iter().any(|file| {
        file.text.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("multicluster") && words.any(|word| word.trim_end_matches('.') == "clusterset.local")
        })
    });
    if let Some(version) = version
        && version.newest < Version(1, 12, 2)
    {
        return Some(format!("CoreDNS {} is older than 1.12.2", dns.coredns_version));
    }
    if !zone {
        return Some("no Corefile has `multicluster clusterset.local`".to_owned());
    }
    (dns.coredns_reads_service_imports == Some(false)).then(|| "CoreDNS may not read ServiceImports".to_owned())
}

declare_check! {
    /// ## What it checks
    /// Namespaces with a global service or an export are exported to the mesh.
    ///
    /// ## Why it matters
    /// From 1.19 on a namespace can be local: its pods, identities and services stay unknown to peers.
    ///
    /// ## How it is determined
    /// Key `clustermesh-default-global-namespace` (and the argument of the control plane), annotation
    /// `clustermesh.cilium.io/global` of the namespaces.
    ///
    /// ## How to fix
    /// Annotate the namespaces with `clustermesh.cilium.io/global: "true"` in source and destination.
    ///
    /// ## References
    /// Cilium chart 1.20, `clustermesh.config`; `pkg/clustermesh/namespace`.
    pub static NAMESPACE_EXPORT = {
        code: "CM706",
        slug: "global-namespaces",
        title: "Namespaces of shared services are not exported",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "peers see pods of these namespaces as outsiders",
        rules: ["clustermesh FT-6"],
        run: Cluster(namespace_export),
    };
}

fn namespace_export(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let mut by_default = settings.flag("clustermesh-default-global-namespace")?;
    if let Some(argument) = deployment(cluster)?.and_then(|workload| {
        Some((
            workload,
            workload
                .container("apiserver")?
                .flag("clustermesh-default-global-namespace")?,
        ))
    }) {
        by_default = Known::new(
            argument.1 != "false",
            Source::read(argument.0.object(), "--clustermesh-default-global-namespace"),
        );
    }
    let mut shared: BTreeSet<&str> = cluster
        .facts
        .services
        .get()?
        .iter()
        .filter(|service| is_global(service))
        .map(|service| service.namespace.as_str())
        .collect();
    match cluster.facts.mcs.get() {
        Ok(mcs) => shared.extend(mcs.exports.get()?.iter().map(|export| export.namespace.as_str())),
        Err(why) if why.reason == Reason::NotInstalled => {}
        Err(why) => return Err(why.into()),
    }
    let namespaces = cluster.facts.namespaces.get()?;
    let annotation = |name: &str| {
        namespaces
            .iter()
            .find(|namespace| namespace.name == name)
            .and_then(|namespace| namespace.annotations.get("clustermesh.cilium.io/global"))
    };
    let local: Vec<&&str> = shared
        .iter()
        .filter(|name| annotation(name).map_or(!by_default.value, |value| value != "true"))
        .collect();
    let evidence = Evidence::of(cluster.name(), &by_default);
    Ok(if local.is_empty() {
        Outcome::holds()
            .found(format!("{} namespaces with shared services are exported", shared.len()))
            .evidence(evidence)
    } else {
        Outcome::broken()
            .expected("namespaces with shared services are exported")
            .found(format!(
                "{} are not",
                local.iter().map(|name| **name).collect::<Vec<_>>().join(", ")
            ))
            .evidence(evidence)
            .evidence_all(local.iter().map(|name| {
                Evidence::new(
                    cluster.name(),
                    &annotation(name).map_or("absent", String::as_str),
                    &Source::read(
                        format!("Namespace {name}"),
                        "metadata.annotations clustermesh.cilium.io/global",
                    ),
                )
            }))
            .remedy("annotate these namespaces with clustermesh.cilium.io/global: \"true\", in the peers as well")
    })
}

declare_check! {
    /// ## What it checks
    /// No cluster exports EndpointSlices only while another reads legacy services.
    ///
    /// ## Why it matters
    /// The older reader gets no backends; a mode it does not know makes it refuse the peer.
    ///
    /// ## How it is determined
    /// Key `clustermesh-service-v2` and versions: `only-endpointslice` against absent, `prefer-legacy` or a release
    /// before 1.20.
    ///
    /// ## How to fix
    /// Move all clusters through `prefer-endpointslice` first.
    ///
    /// ## References
    /// Cilium, `pkg/clustermesh/types/option.go`.
    pub static SLICE_EXPORT = {
        code: "CM707",
        slug: "endpoint-slice-export",
        title: "A cluster exports a form that another cannot read",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "it gives no backends to that cluster, with an error in a log only",
        rules: ["clustermesh FT-7"],
        run: Between(slice_export),
    };
}

fn slice_export(audit: &Audit<'_>) -> Vec<Outcome> {
    let groups = Groups::of(audit, |cluster| {
        let settings = cluster.cilium()?;
        // Releases before 1.20 do not know the key and read legacy services.
        let mode = settings.value("clustermesh-service-v2")?;
        let mode = if settings.versions.at_least(Version(1, 20, 0)) == Ok(false) {
            mode.map(|_| "prefer-legacy".to_owned())
        } else {
            mode
        };
        Ok(mode)
    });
    let mut outcomes = groups.outcomes_without();
    let members = |keep: &dyn Fn(&str) -> bool| -> Vec<ClusterId> {
        groups
            .values
            .iter()
            .filter(|(mode, _)| keep(mode))
            .flat_map(|(_, members)| members.iter().map(|(id, _)| *id))
            .collect()
    };
    let only = members(&|mode| mode == "only-endpointslice");
    let legacy = members(&|mode| mode == "prefer-legacy");
    let unknown = members(&|mode| !["only-endpointslice", "prefer-endpointslice", "prefer-legacy"].contains(&mode));
    let all = groups.clusters();
    if all.len() < 2 {
        return outcomes;
    }
    let outcome = if !unknown.is_empty() {
        let others = all.iter().copied().filter(|id| !unknown.contains(id)).collect();
        Outcome::broken()
            .found(format!("{} use a mode that no release knows", audit.names(&unknown)))
            .across([unknown, others])
    } else if !only.is_empty() && !legacy.is_empty() {
        Outcome::broken()
            .found(format!(
                "{} export EndpointSlices only, {} read legacy services",
                audit.names(&only),
                audit.names(&legacy)
            ))
            .across([only, legacy])
    } else {
        Outcome::holds().found(groups.describe(audit))
    };
    let outcome = if outcome.is_broken() {
        outcome.remedy("set prefer-endpointslice everywhere first, then only-endpointslice")
    } else {
        outcome
    };
    outcomes.push(
        outcome
            .expected("modes that every reader understands")
            .evidence_all(groups.evidence(audit))
            .about(all),
    );
    outcomes
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
