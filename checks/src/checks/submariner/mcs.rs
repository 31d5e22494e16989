//! The Multi-Cluster Services API: exports of all clusters held against each other, before and after the join.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::mcs::ServiceExport;
use crate::facts::provenance::{Reason, Source};
use crate::facts::service::Service;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::Mesh;
use crate::report::{Evidence, Severity};

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

declare_check! {
    /// ## What it checks
    /// Every ServiceExport has a Service of its name.
    ///
    /// ## Why it matters
    /// The condition says so, nobody else.
    ///
    /// ## How it is determined
    /// ServiceExports against Services.
    ///
    /// ## How to fix
    /// Create the Service, or delete the export.
    ///
    /// ## References
    /// KEP-1645.
    pub static ORPHANS = {
        code: "SM709",
        slug: "orphan-exports",
        title: "An export has no Service",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "nothing is exported",
        rules: ["submariner MCS-09"],
        run: Cluster(orphans),
    };
}

fn orphans(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let exports = own_exports(cluster)?;
    let orphans: Vec<String> = exports
        .iter()
        .filter(|export| export.service.is_none())
        .map(|export| key(export.declaration))
        .collect();
    Ok(if orphans.is_empty() {
        Outcome::holds().found(format!("{} exports with their Services", exports.len()))
    } else {
        Outcome::broken()
            .found(some_of(&orphans))
            .remedy("create the Service, or delete the export")
            .evidence_all(
                orphans.iter().take(5).map(|name| {
                    Evidence::new(cluster.name(), name, &Source::read(format!("ServiceExport {name}"), ""))
                }),
            )
    }
    .expected("a Service for each export"))
}

declare_check! {
    /// ## What it checks
    /// No ServiceExport is marked as conflicting, invalid or not ready.
    ///
    /// ## Why it matters
    /// Before release 0.22 only the loser is marked: all clusters have to be read.
    ///
    /// ## How it is determined
    /// Conditions Valid, Ready (or Synced) and Conflict, in the vocabulary of the standard and of Lighthouse. A type
    /// conflict or an unpublished export fails, others warn.
    ///
    /// ## How to fix
    /// Make the losing definition equal to the oldest.
    ///
    /// ## References
    /// Lighthouse issue 1831.
    pub static CONFLICTS = {
        code: "SM710",
        slug: "export-conflicts",
        title: "An export is in conflict",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the oldest definition serves, or nothing",
        rules: ["submariner MCS-10", "submariner GN-07"],
        run: Cluster(conflicts),
    };
}

fn conflicts(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let exports = own_exports(cluster)?;
    let mut worst = None;
    let mut evidence = Vec::new();
    for export in exports.iter().map(|export| export.declaration) {
        for condition in &export.conditions {
            let severity = match (condition.kind.as_str(), condition.status.as_str()) {
                ("Conflict", "True") if condition.reason.contains("Type") => Severity::Fail,
                ("Valid" | "Ready" | "Synced", "False") => Severity::Fail,
                ("Conflict", "True") => Severity::Warn,
                _ => continue,
            };
            worst = worst.max(Some(severity));
            let text = format!("{} {} {}", condition.kind, condition.status, condition.reason);
            evidence.push(Evidence::new(
                cluster.name(),
                &text.trim(),
                &Source::read(format!("ServiceExport {}", key(export)), "status.conditions"),
            ));
        }
    }
    Ok(match worst {
        None => Outcome::holds().found(format!("{} exports", exports.len())),
        Some(severity) => Outcome::broken_as(severity)
            .found(format!("{} conditions complain", evidence.len()))
            .remedy("make the definition equal to the oldest export of that name; see the reason of each condition"),
    }
    .expected("valid, ready and without conflict")
    .evidence_all(evidence))
}

declare_check! {
    /// ## What it checks
    /// Each ServiceImport lists the clusters whose export is valid.
    ///
    /// ## Why it matters
    /// A missing one means that its agent or its access to the broker is broken.
    ///
    /// ## How it is determined
    /// `status.clusters` of aggregated imports against valid exports of the audited clusters.
    ///
    /// ## How to fix
    /// Look at the Lighthouse agent and broker access of the missing cluster.
    ///
    /// ## References
    /// Lighthouse.
    pub static IMPORTS = {
        code: "SM711",
        slug: "import-clusters",
        title: "An import lacks clusters that export",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "backends of these clusters are missing",
        rules: ["submariner MCS-11"],
        run: Set(imports),
    };
}

fn imports(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let (all, mut outcomes) = all_exports(audit);
    let valid = |export: &ServiceExport| {
        !export.conditions.iter().any(|condition| {
            condition.kind == "Valid" && condition.status == "False"
                || condition.kind == "Conflict" && condition.status == "True" && condition.reason.contains("Type")
        })
    };
    for cluster in audit.clusters {
        let judged = || -> Judged {
            let mcs = cluster.facts.mcs.get()?;
            let mut missing = Vec::new();
            let mut judged = 0;
            for import in mcs.imports.get()? {
                let Some(exports) = all.get(&format!("{}/{}", import.namespace, import.name)) else {
                    continue;
                };
                judged += 1;
                for export in exports.iter().filter(|export| valid(export.declaration)) {
                    let id = mesh.cluster_id(audit.cluster(export.cluster))?.value;
                    if !import.clusters.contains(&id) {
                        missing.push((format!("{}/{}", import.namespace, import.name), id));
                    }
                }
            }
            if judged == 0 {
                return Err(NoVerdict::does_not_apply("nothing is imported from these clusters"));
            }
            Ok(match missing.first() {
                None => Outcome::holds().found(format!("{judged} imports list every cluster that exports")),
                Some((name, id)) => Outcome::broken()
                    .found(format!("{name} lacks {id}"))
                    .remedy("look at the Lighthouse agent and the broker access of the missing cluster")
                    .evidence_all(missing.iter().take(5).map(|(name, id)| {
                        Evidence::new(
                            cluster.name(),
                            &format!("without {id}"),
                            &Source::read(format!("ServiceImport {name}"), "status.clusters"),
                        )
                    })),
            }
            .expected("every cluster with a valid export"))
        };
        outcomes.push(judged().unwrap_or_else(Outcome::none).about([cluster.id]));
    }
    outcomes
}

declare_check! {
    /// ## What it checks
    /// Endpoint addresses imported from a cluster lie in the ranges it advertises.
    ///
    /// ## Why it matters
    /// Catches ranges that changed after the join.
    ///
    /// ## How it is determined
    /// EndpointSlices by source cluster against advertised ranges. Headless exports may list others: these warn.
    ///
    /// ## How to fix
    /// Correct the ranges (SM909).
    ///
    /// ## References
    /// Lighthouse, EndpointSlices.
    pub static SLICES = {
        code: "SM712",
        slug: "import-addresses",
        title: "Imported addresses lie outside the advertised ranges",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "these backends are unreachable",
        rules: ["submariner MCS-12"],
        run: Set(slices),
    };
}

fn slices(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let mut advertised: BTreeMap<String, Vec<crate::cidr::Cidr>> = BTreeMap::new();
    for cluster in audit.clusters {
        if let (Ok(id), Ok(ranges)) = (mesh.cluster_id(cluster), mesh.advertised(cluster)) {
            advertised.insert(id.value, ranges.iter().map(|range| range.cidr).collect());
        }
    }
    let one = |cluster: &Cluster<'_>| -> Judged {
        let slices = cluster.facts.mcs.get()?.endpoint_slices.get()?;
        let (mut judged, mut worst, mut evidence) = (0, None, Vec::new());
        for slice in slices.iter().filter(|slice| slice.managed_by.contains("lighthouse")) {
            let Some(ranges) = advertised.get(&slice.source_cluster) else {
                continue;
            };
            judged += 1;
            let outside = slice
                .addresses
                .iter()
                .find(|address| address.is_ipv4() && !ranges.iter().any(|range| range.contains_addr(**address)));
            if let Some(address) = outside {
                worst = worst.max(Some(if slice.headless == Some(true) {
                    Severity::Warn
                } else {
                    Severity::Fail
                }));
                evidence.push(Evidence::new(
                    cluster.name(),
                    &format!("{address} from {}", slice.source_cluster),
                    &Source::read(
                        format!("EndpointSlice of {}/{}", slice.namespace, slice.service),
                        "endpoints",
                    ),
                ));
            }
        }
        if judged == 0 {
            return Err(NoVerdict::does_not_apply("nothing is imported from these clusters"));
        }
        Ok(match worst {
            None => Outcome::holds().found(format!("{judged} EndpointSlices")),
            Some(severity) => Outcome::broken_as(severity)
                .found(format!("{} of {judged} EndpointSlices", evidence.len()))
                .remedy("correct the advertised ranges of the source cluster, see SM909"),
        }
        .expected("addresses inside the ranges that the source cluster advertises")
        .evidence_all(evidence))
    };
    audit
        .clusters
        .iter()
        .map(|cluster| one(cluster).unwrap_or_else(Outcome::none).about([cluster.id]))
        .collect()
}

declare_check! {
    /// ## What it checks
    /// Records the exports with their age; with Globalnet each headless pod needs a global address of its own.
    ///
    /// ## Why it matters
    /// The oldest export wins conflicts, and an export re-created by automation becomes the youngest.
    ///
    /// ## How it is determined
    /// Creation times of ServiceExports.
    ///
    /// ## How to fix
    /// Keep exports from being re-created.
    ///
    /// ## References
    /// KEP-1645.
    pub static RECORD = {
        code: "SM713",
        slug: "export-record",
        title: "Exports on record",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "re-created exports change which definition is the oldest",
        rules: ["submariner MCS-13", "submariner MCS-14"],
        run: Cluster(record),
    };
}

fn record(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let exports = own_exports(cluster)?;
    let oldest = exports.iter().filter_map(|export| export.declaration.created_at).min();
    let age = oldest
        .map(|oldest| format!(", the oldest from {oldest}"))
        .unwrap_or_default();
    Ok(Outcome::holds().found(format!("{} exports{age}", exports.len())))
}

declare_check! {
    /// ## What it checks
    /// `v1alpha1`, which Lighthouse uses, is served, and stored versions are served ones.
    ///
    /// ## Why it matters
    /// Two implementations share these types: whoever installs last replaces the schema.
    ///
    /// ## How it is determined
    /// Served versions by discovery; stored versions of the CustomResourceDefinitions where they are readable.
    ///
    /// ## How to fix
    /// Install the schema that all controllers accept; migrate stored versions.
    ///
    /// ## References
    /// mcs-api releases; Lighthouse issues 1805, 1813.
    pub static CRDS = {
        code: "SM715",
        slug: "mcs-crds",
        title: "The MCS types are served in a form that someone cannot use",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "one of two controllers fails or drops fields",
        rules: ["submariner MCS-15"],
        run: Cluster(crds),
    };
}

fn crds(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if !Mesh::of(audit).service_discovery(cluster)?.value {
        return Err(NoVerdict::does_not_apply("service discovery is off"));
    }
    let mcs = cluster.facts.mcs.get()?;
    let served = mcs.served_versions.join(", ");
    let source = Source::read("API group multicluster.x-k8s.io", "versions");
    let stale = mcs.crds.ok().into_iter().flatten().find_map(|(name, crd)| {
        let version = crd
            .stored_versions
            .iter()
            .find(|version| !mcs.served_versions.contains(version))?;
        Some(format!("{name} stores {version}, which is not served"))
    });
    Ok(if !mcs.served_versions.iter().any(|version| version == "v1alpha1") {
        Outcome::broken()
            .found(format!("{served} served, without v1alpha1"))
            .remedy("install CRDs that serve v1alpha1 as well, for Lighthouse")
    } else if let Some(stale) = stale {
        Outcome::broken()
            .found(stale)
            .remedy("migrate the stored objects, then drop the version from status.storedVersions")
    } else {
        Outcome::holds().found(format!("{served} served"))
    }
    .expected("v1alpha1 served, stored versions served")
    .evidence(Evidence::new(cluster.name(), &served, &source)))
}

#[cfg(test)]
mod tests;
