//! The Multi-Cluster Services API: exports of all clusters held against each other, before and after the join.

mod lighthouse;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::mcs::ServiceExport;
use crate::facts::provenance::{Reason, Source};
use crate::facts::service::Service;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::report::{Evidence, Severity};
use lighthouse::{CONFLICTS, CRDS, IMPORTS, ORPHANS, RECORD, SLICES};

pub(super) static CHECKS: &[&Check] = &[
    &TYPES,
    &PORTS,
    &AFFINITY,
    &EXPORT_KIND,
    &SAMENESS,
    &NAMESPACES,
    &FLAT_NAMES,
    &ORPHANS,
    &CONFLICTS,
    &IMPORTS,
    &SLICES,
    &RECORD,
    &CRDS,
];

/// An exported Service of one cluster.
struct Export<'a> {
    cluster: ClusterId,
    declaration: &'a ServiceExport,
    /// The Service itself, if it is there.
    service: Option<&'a Service>,
}

fn key(export: &ServiceExport) -> String {
    format!("{}/{}", export.namespace, export.name)
}

/// The exports of a cluster; none where the API is not installed.
fn exports_of<'a>(cluster: &Cluster<'a>) -> Result<Vec<Export<'a>>, NoVerdict> {
    let mcs = match cluster.facts.mcs.get() {
        Ok(mcs) => mcs,
        Err(why) if why.reason == Reason::NotInstalled => return Ok(Vec::new()),
        Err(why) => return Err(why.into()),
    };
    let exports = mcs.exports.get()?;
    if exports.is_empty() {
        return Ok(Vec::new());
    }
    let services: HashMap<(&str, &str), &Service> = cluster
        .facts
        .services
        .get()?
        .iter()
        .map(|service| ((service.namespace.as_str(), service.name.as_str()), service))
        .collect();
    let found = |export: &'a ServiceExport| Export {
        cluster: cluster.id,
        declaration: export,
        service: services
            .get(&(export.namespace.as_str(), export.name.as_str()))
            .copied(),
    };
    Ok(exports.iter().map(found).collect())
}

fn own_exports<'a>(cluster: &Cluster<'a>) -> Result<Vec<Export<'a>>, NoVerdict> {
    let exports = exports_of(cluster)?;
    if exports.is_empty() {
        Err(NoVerdict::does_not_apply("nothing is exported"))
    } else {
        Ok(exports)
    }
}

/// The exports of all clusters by namespace and name, and why some clusters' could not be read.
fn all_exports<'a>(audit: &Audit<'a>) -> (BTreeMap<String, Vec<Export<'a>>>, Vec<Outcome>) {
    let (mut all, mut outcomes): (BTreeMap<String, Vec<Export<'a>>>, _) = (BTreeMap::new(), Vec::new());
    for cluster in audit.clusters {
        match exports_of(cluster) {
            Ok(exports) => exports
                .into_iter()
                .for_each(|export| all.entry(key(export.declaration)).or_default().push(export)),
            Err(why) => outcomes.push(Outcome::none(why).about([cluster.id])),
        }
    }
    (all, outcomes)
}

fn source(key: &str, field: &str) -> Source {
    Source::read(format!("Service {key}"), field)
}

/// Judges every Service that several clusters export; `judge` gives a complaint with what each cluster has.
fn shared(
    audit: &Audit<'_>,
    expected: &str,
    field: &str,
    judge: impl Fn(&[Export<'_>]) -> Option<(Severity, Vec<String>, &'static str)>,
) -> Vec<Outcome> {
    let (all, mut outcomes) = all_exports(audit);
    let several: Vec<_> = all.iter().filter(|(_, exports)| exports.len() > 1).collect();
    let mut sound: BTreeSet<ClusterId> = BTreeSet::new();
    let mut broken = false;
    for (key, exports) in &several {
        let ids: Vec<ClusterId> = exports.iter().map(|export| export.cluster).collect();
        let Some((severity, values, remedy)) = judge(exports) else {
            sound.extend(ids);
            continue;
        };
        broken = true;
        let evidence = exports
            .iter()
            .zip(&values)
            .map(|(export, value)| Evidence::new(audit.cluster(export.cluster).name(), value, &source(key, field)));
        let distinct: BTreeSet<&String> = values.iter().collect();
        outcomes.push(
            Outcome::broken_as(severity)
                .expected(expected)
                .found(format!(
                    "{key}: {}",
                    distinct.into_iter().cloned().collect::<Vec<_>>().join(" and ")
                ))
                .evidence_all(evidence)
                .remedy(remedy)
                .within(ids.clone())
                .about(ids),
        );
    }
    if several.is_empty() {
        outcomes.push(Outcome::does_not_apply("no Service is exported by several clusters"));
    } else if !broken {
        outcomes.push(
            Outcome::holds()
                .expected(expected)
                .found(format!("{} shared Services", several.len()))
                .about(sound),
        );
    }
    outcomes
}

declare_check! {
    /// ## What it checks
    /// A Service that is exported in several clusters is headless in all of them or in none.
    ///
    /// ## Why it matters
    /// A type conflict cannot be resolved: one of the exports never appears.
    ///
    /// ## How it is determined
    /// Exported Services by namespace and name over all clusters.
    ///
    /// ## How to fix
    /// Use one kind everywhere, or another name.
    ///
    /// ## References
    /// KEP-1645; Lighthouse, `pkg/agent/controller`.
    pub static TYPES = {
        code: "SM701",
        slug: "export-types",
        title: "An exported Service is headless in one cluster only",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the export that comes second is not published",
        rules: ["submariner MCS-01"],
        run: Between(types),
    };
}

fn types(audit: &Audit<'_>) -> Vec<Outcome> {
    shared(audit, "one kind in all clusters", "spec.clusterIP", |exports| {
        let values: Vec<String> = exports
            .iter()
            .filter_map(|export| export.service)
            .map(|service| if service.headless { "headless" } else { "ClusterIP" }.to_owned())
            .collect();
        let differ = values.len() == exports.len() && values.iter().any(|value| *value != values[0]);
        differ.then_some((
            Severity::Fail,
            values,
            "use one kind in all clusters, or export under another name",
        ))
    })
}

declare_check! {
    /// ## What it checks
    /// A Service that is exported in several clusters has the same ports everywhere: name, number, protocol.
    ///
    /// ## Why it matters
    /// Without clusterset IPs Lighthouse serves the intersection only; if it is empty, nothing.
    ///
    /// ## How it is determined
    /// Ports of exported Services by namespace and name; an empty intersection without clusterset IP fails.
    ///
    /// ## How to fix
    /// Align the ports, or use clusterset IPs.
    ///
    /// ## References
    /// KEP-1645; Lighthouse.
    pub static PORTS = {
        code: "SM702",
        slug: "export-ports",
        title: "Ports of an exported Service differ",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "only the ports that all have in common are served",
        rules: ["submariner MCS-02"],
        run: Between(ports),
    };
}

fn ports(audit: &Audit<'_>) -> Vec<Outcome> {
    shared(audit, "the same ports in all clusters", "spec.ports", |exports| {
        let sets: Vec<BTreeSet<(&str, u16, &str)>> = exports
            .iter()
            .filter_map(|export| export.service)
            .map(|service| {
                service
                    .ports
                    .iter()
                    .map(|port| (port.name.as_str(), port.port, port.protocol.as_str()))
                    .collect()
            })
            .collect();
        if sets.len() < exports.len() || sets.iter().all(|set| *set == sets[0]) {
            return None;
        }
        let common = sets.iter().skip(1).fold(sets[0].clone(), |common, set| {
            common.intersection(set).copied().collect()
        });
        let clusterset_ip = exports
            .iter()
            .all(|export| export.declaration.use_clusterset_ip.as_deref() == Some("true"));
        let severity = if common.is_empty() && !clusterset_ip {
            Severity::Fail
        } else {
            Severity::Warn
        };
        let text = |set: &BTreeSet<(&str, u16, &str)>| {
            set.iter()
                .map(|(name, port, protocol)| format!("{name} {port}/{protocol}").trim().to_owned())
                .collect::<Vec<_>>()
                .join(", ")
        };
        Some((
            severity,
            sets.iter().map(text).collect(),
            "align the ports, or use clusterset IPs for this Service",
        ))
    })
}

declare_check! {
    /// ## What it checks
    /// Session affinity and its timeout are the same in all clusters that export a Service.
    ///
    /// ## Why it matters
    /// The oldest export wins; others are marked as conflicting.
    ///
    /// ## How it is determined
    /// Exported Services by namespace and name.
    ///
    /// ## How to fix
    /// Align the Services.
    ///
    /// ## References
    /// KEP-1645.
    pub static AFFINITY = {
        code: "SM703",
        slug: "export-affinity",
        title: "Session affinity of an exported Service differs",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the oldest definition serves",
        rules: ["submariner MCS-03"],
        run: Between(affinity),
    };
}

fn affinity(audit: &Audit<'_>) -> Vec<Outcome> {
    shared(
        audit,
        "the same session affinity in all clusters",
        "spec.sessionAffinity",
        |exports| {
            let text = |service: &Service| match service.session_affinity_timeout_seconds {
                Some(seconds) => format!("{} for {seconds} s", service.session_affinity),
                None if service.session_affinity.is_empty() => "None".to_owned(),
                None => service.session_affinity.clone(),
            };
            let values: Vec<String> = exports.iter().filter_map(|export| export.service).map(text).collect();
            let differ = values.len() == exports.len() && values.iter().any(|value| *value != values[0]);
            differ.then_some((Severity::Warn, values, "align session affinity and its timeout"))
        },
    )
}

declare_check! {
    /// ## What it checks
    /// Only ClusterIP and headless Services are exported.
    ///
    /// ## Why it matters
    /// Lighthouse refuses NodePort, LoadBalancer and ExternalName.
    ///
    /// ## How it is determined
    /// `spec.type` of exported Services.
    ///
    /// ## How to fix
    /// Export a ClusterIP Service in front.
    ///
    /// ## References
    /// Lighthouse, `pkg/agent/controller`.
    pub static EXPORT_KIND = {
        code: "SM704",
        slug: "export-kind",
        title: "A Service of this type cannot be exported",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the export is refused",
        rules: ["submariner MCS-04"],
        run: Cluster(export_kind),
    };
}

fn export_kind(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let exports = own_exports(cluster)?;
    let refused: Vec<_> = exports
        .iter()
        .filter_map(|export| export.service)
        .filter(|service| service.kind != "ClusterIP")
        .collect();
    Ok(match refused.first() {
        None => Outcome::holds().found(format!("{} exports", exports.len())),
        Some(first) => Outcome::broken()
            .found(format!("{} is of type {}", first.key(), first.kind))
            .remedy("export a ClusterIP Service that selects the same pods")
            .evidence_all(
                refused
                    .iter()
                    .map(|service| Evidence::new(cluster.name(), &service.kind, &source(&service.key(), "spec.type"))),
            ),
    }
    .expected("ClusterIP or headless Services"))
}

declare_check! {
    /// ## What it checks
    /// A Service exported by one cluster selects the same pods as its namesakes in other clusters.
    ///
    /// ## Why it matters
    /// Equal namespace and name mean the same Service to everyone.
    ///
    /// ## How it is determined
    /// Selectors of the namesakes, exported or not.
    ///
    /// ## How to fix
    /// Rename the namespace, or do not export.
    ///
    /// ## References
    /// KEP-1645, namespace sameness.
    pub static SAMENESS = {
        code: "SM705",
        slug: "namespace-sameness",
        title: "Equal names may be different applications",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "clients are balanced between different applications",
        rules: ["submariner MCS-05"],
        run: Between(sameness),
    };
}

fn sameness(audit: &Audit<'_>) -> Vec<Outcome> {
    let (all, mut outcomes) = all_exports(audit);
    let names: BTreeSet<&String> = all.keys().collect();
    let mut found: BTreeMap<String, Vec<(ClusterId, &Service)>> = BTreeMap::new();
    for cluster in audit.clusters {
        for service in cluster.facts.services.ok().into_iter().flatten() {
            let name = service.key();
            if names.contains(&name) && !service.selector.is_empty() {
                found.entry(name).or_default().push((cluster.id, service));
            }
        }
    }
    let mut broken = false;
    for (name, services) in found.iter().filter(|(_, services)| {
        services
            .iter()
            .any(|(_, service)| service.selector != services[0].1.selector)
    }) {
        broken = true;
        let ids: Vec<ClusterId> = services.iter().map(|(id, _)| *id).collect();
        let text = |service: &Service| {
            service
                .selector
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        outcomes.push(
            Outcome::broken()
                .expected("namesakes that select the same pods")
                .found(format!("{name} selects different pods on {}", audit.names(&ids)))
                .evidence_all(services.iter().map(|(id, service)| {
                    Evidence::new(
                        audit.cluster(*id).name(),
                        &text(service),
                        &source(name, "spec.selector"),
                    )
                }))
                .remedy("if these are different applications, rename the namespace of one or do not export")
                .within(ids.clone())
                .about(ids),
        );
    }
    if !broken {
        let readable = audit.clusters_where(|cluster| cluster.facts.services.ok().is_some());
        outcomes.push(
            if all.is_empty() {
                Outcome::does_not_apply("nothing is exported")
            } else {
                Outcome::holds().found("namesakes of exports select alike")
            }
            .about(readable),
        );
    }
    outcomes
}

declare_check! {
    /// ## What it checks
    /// Namespaces with exports exist in every cluster.
    ///
    /// ## Why it matters
    /// An import is made in the namespace of the same name; without it there is none.
    ///
    /// ## How it is determined
    /// Namespaces of all exports against namespaces of all clusters.
    ///
    /// ## How to fix
    /// Create the namespace at importers.
    ///
    /// ## References
    /// Lighthouse issues 605, 685, 1562.
    pub static NAMESPACES = {
        code: "SM706",
        slug: "export-namespaces",
        title: "The namespace of an export is missing elsewhere",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "that cluster imports nothing",
        rules: ["submariner MCS-06"],
        run: Between(namespaces),
    };
}

fn namespaces(audit: &Audit<'_>) -> Vec<Outcome> {
    let (all, mut outcomes) = all_exports(audit);
    let wanted: BTreeSet<&str> = all
        .values()
        .flatten()
        .map(|export| export.declaration.namespace.as_str())
        .collect();
    if wanted.is_empty() {
        outcomes.push(Outcome::does_not_apply("nothing is exported"));
        return outcomes;
    }
    for cluster in audit.clusters {
        let judged = || -> Judged {
            let present: BTreeSet<&str> = cluster
                .facts
                .namespaces
                .get()?
                .iter()
                .map(|namespace| namespace.name.as_str())
                .collect();
            let missing: Vec<&&str> = wanted.iter().filter(|name| !present.contains(**name)).collect();
            Ok(if missing.is_empty() {
                Outcome::holds().found(format!("{} namespaces of exports are there", wanted.len()))
            } else {
                let names = some_of(&missing);
                Outcome::broken()
                    .found(format!("{names} missing"))
                    .remedy(format!("create {names} on {}", cluster.name()))
                    .evidence(Evidence::new(cluster.name(), &names, &Source::read("Namespaces", "")))
            }
            .expected("the namespaces of all exports"))
        };
        outcomes.push(judged().unwrap_or_else(Outcome::none).about([cluster.id]));
    }
    outcomes
}

declare_check! {
    /// ## What it checks
    /// No two exports become the same `service-namespace`.
    ///
    /// ## Why it matters
    /// The broker holds all exports in one namespace: `a-b` in `c` and `a` in `b-c` collide.
    ///
    /// ## How it is determined
    /// Names of all exports of all clusters; names over 253 characters with the cluster ID as well.
    ///
    /// ## How to fix
    /// Rename one of the two.
    ///
    /// ## References
    /// Lighthouse issue 957.
    pub static FLAT_NAMES = {
        code: "SM707",
        slug: "flattened-names",
        title: "Two exports have one flattened name",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "one overwrites the other at the broker",
        rules: ["submariner MCS-07", "submariner MCS-08"],
        run: Set(flat_names),
    };
}

fn flat_names(audit: &Audit<'_>) -> Vec<Outcome> {
    const MAX_LENGTH: usize = 253;
    let (all, mut outcomes) = all_exports(audit);
    let mut flat: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for (name, exports) in &all {
        let export = exports[0].declaration;
        flat.entry(format!("{}-{}", export.name, export.namespace))
            .or_default()
            .push(name);
    }
    let twice: Vec<_> = flat
        .iter()
        .filter(|(name, names)| names.len() > 1 || name.len() > MAX_LENGTH)
        .collect();
    outcomes.push(
        match twice.first() {
            _ if all.is_empty() => Outcome::does_not_apply("nothing is exported"),
            None => Outcome::holds().found(format!("{} names", flat.len())),
            Some((name, names)) => Outcome::broken()
                .found(format!("{} both become {name}", some_of(names.iter())))
                .remedy("rename one of the Services or namespaces")
                .evidence_all(names.iter().map(|key| {
                    Evidence::new(
                        audit.cluster(all[*key][0].cluster).name(),
                        key,
                        &Source::read(format!("ServiceExport {key}"), "metadata"),
                    )
                })),
        }
        .expected("a flattened name of its own for each export")
        .about(audit.everyone()),
    );
    outcomes
}

#[cfg(test)]
mod tests;
