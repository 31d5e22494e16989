//! What an installed Lighthouse has made of the exports.

use std::collections::BTreeMap;

use super::{all_exports, key, own_exports};
use crate::alike::some_of;
use crate::check::{Judged, NoVerdict, declare_check};
use crate::facts::mcs::ServiceExport;
use crate::facts::provenance::Source;
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::Mesh;
use crate::report::{Evidence, Severity};

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
    pub(super) static ORPHANS = {
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
    pub(super) static CONFLICTS = {
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
    pub(super) static IMPORTS = {
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
    pub(super) static SLICES = {
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
    pub(super) static RECORD = {
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
    pub(super) static CRDS = {
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
