//! Services that several clusters share: the Multi-Cluster Services API, and exports of namespaces and slices.

use std::collections::BTreeSet;

use super::is_global;
use crate::check::{Judged, NoVerdict, declare_check};
use crate::compare::Groups;
use crate::facts::dns::Dns;
use crate::facts::provenance::{Known, Reason, Source};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::control_plane::deployment;
use crate::profile::cilium::version::{Version, Versions};
use crate::report::{Evidence, Severity};

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
    pub(super) static MCS_API = {
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
    pub(super) static NAMESPACE_EXPORT = {
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
    pub(super) static SLICE_EXPORT = {
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
