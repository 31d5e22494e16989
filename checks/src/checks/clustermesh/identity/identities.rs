//! The numeric identities of workloads: do they still belong to the cluster's id and name, and are there enough.

use crate::check::{Check, Judged, declare_check};
use crate::facts::cilium::IdentityGroup;
use crate::facts::provenance::{Known, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::cilium::Settings;
use crate::report::{Evidence, Severity};

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] =
    &[&FOREIGN_IDENTITIES, &IDENTITY_SPACE, &IDENTITY_CLUSTER_LABEL];

declare_check! {
    /// ## What it checks
    /// Every identity of the cluster lies in the range of its cluster id.
    ///
    /// ## Why it matters
    /// Changing the id of a running cluster leaves old identities behind: they are found again by their labels and go on being used.
    /// Peers throw away identities and addresses outside the range of the id, so that policies drop these pods' traffic.
    ///
    /// ## How it is determined
    /// Names of `CiliumIdentity` objects against the range from id × 65536 (32768 in a mesh of 511 clusters) on, and whether a
    /// `CiliumEndpoint` uses them. Unused ones only wait for the operator to delete them: a warning.
    ///
    /// ## How to fix
    /// Disconnect the cluster first. Change name and id together, delete the stale `CiliumIdentity` objects, restart the agents and then
    /// the workloads.
    ///
    /// ## References
    /// cilium/cilium issues 36338 and 48800, pull request 48801; `pkg/identity/numericidentity.go`, `pkg/identity/cache/allocator.go`.
    pub static FOREIGN_IDENTITIES = {
        code: "CM109",
        slug: "identity-range",
        title: "Identities are outside the range of the cluster id",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "peers throw them away, and policies drop the pods' traffic",
        rules: ["clustermesh ID-9"],
        run: Cluster(foreign_identities),
    };
}

fn foreign_identities(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let id = settings.cluster_id()?;
    let wide = settings.max_connected_clusters()?.value == 511;
    let groups = settings.cilium.identities.known_value()?;
    // Groups are by blocks of 32768: one block for each cluster in a mesh of 511, two in one of 255.
    let own = |group: &IdentityGroup| {
        if wide {
            group.id_block == id.value
        } else {
            group.id_block / 2 == id.value
        }
    };
    let size: u64 = if wide { 32768 } else { 65536 };
    let first = u64::from(id.value) * size;
    let outcome = judge(cluster, settings, groups, |group| !own(group))?;
    Ok(outcome
        .expected(format!("numbers from {first} to {}, those of cluster id {}", first + size - 1, id.value))
        .evidence(Evidence::of(cluster.name(), &id))
        .remedy("disconnect the cluster, delete the stale CiliumIdentity objects, restart the agents and then the workloads"))
}

declare_check! {
    /// ## What it checks
    /// The cluster uses less than 80 % of the identities it can have.
    ///
    /// ## Why it matters
    /// A cluster has room for 65535 identities, 32767 in a mesh of 511 clusters. When they are used up, new pods get none and do not start.
    ///
    /// ## How it is determined
    /// The number of `CiliumIdentity` objects.
    ///
    /// ## How to fix
    /// Leave labels that change with every pod out of identities: chart value `labels`. Agents restart.
    ///
    /// ## References
    /// Cilium documentation, "Setting up Cluster Mesh", scaling limitations.
    pub static IDENTITY_SPACE = {
        code: "CM112",
        slug: "identity-space",
        title: "Identities are running out",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "without a free identity new pods do not start",
        rules: ["clustermesh ID-12"],
        run: Cluster(identity_space),
    };
}

fn identity_space(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let limit: u64 = if settings.max_connected_clusters()?.value == 511 {
        32767
    } else {
        65535
    };
    let groups = settings.cilium.identities.known_value()?;
    let count: u64 = groups.value.iter().map(|group| group.count).sum();
    let outcome = if count * 100 >= limit * 80 {
        Outcome::broken()
    } else {
        Outcome::holds()
    };
    Ok(outcome
        .expected(format!("less than 80 % of {limit}"))
        .found(format!("{count} identities"))
        .evidence(Evidence::new(cluster.name(), &count, &groups.source))
        .remedy("leave labels that change with every pod out of identities (chart value labels); agents restart"))
}

declare_check! {
    /// ## What it checks
    /// Every identity carries the label `io.cilium.k8s.policy.cluster` with the present name of the cluster.
    ///
    /// ## Why it matters
    /// Peers drop identities that lack the label or carry another name: after a rename, or where a filter of identity labels leaves it out.
    ///
    /// ## How it is determined
    /// The security labels of `CiliumIdentity` objects against key `cluster-name`. Unused ones are a warning.
    ///
    /// ## How to fix
    /// After a rename restart the agents and then the workloads. Otherwise put the label back into the filter (chart value `labels`, or
    /// the file of `label-prefix-file`).
    ///
    /// ## References
    /// Cilium, `pkg/identity/cache/allocator.go`, `pkg/labelsfilter/filter.go`.
    pub static IDENTITY_CLUSTER_LABEL = {
        code: "CM113",
        slug: "identity-cluster-label",
        title: "Identities do not carry the cluster's name",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "peers drop them, and policies drop the pods' traffic",
        rules: ["clustermesh ID-13"],
        run: Cluster(identity_cluster_label),
    };
}

fn identity_cluster_label(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let name = settings.cluster_name()?;
    let groups = settings.cilium.identities.known_value()?;
    let outcome = judge(cluster, settings, groups, |group| {
        group.cluster_label.as_deref() != Some(&name.value)
    })?;
    Ok(outcome
        .expected(format!("label io.cilium.k8s.policy.cluster={} on every identity", name.value))
        .evidence(Evidence::of(cluster.name(), &name))
        .remedy("restart the agents and then the workloads; if labels are filtered, let io.cilium.k8s.policy.cluster through"))
}

/// Broken if some identity is `wrong`: with the check's own severity if an endpoint uses it, else as a warning.
fn judge(
    cluster: &Cluster<'_>,
    settings: &Settings<'_>,
    groups: &Known<Vec<IdentityGroup>>,
    wrong: impl Fn(&IdentityGroup) -> bool,
) -> Judged {
    let wrong: Vec<&IdentityGroup> = groups.value.iter().filter(|group| wrong(group)).collect();
    let count: u64 = wrong.iter().map(|group| group.count).sum();
    if count == 0 {
        let total: u64 = groups.value.iter().map(|group| group.count).sum();
        return Ok(Outcome::holds().found(format!("all {total} identities")));
    }
    // One in use decides; where none is seen in use, all of them must be known not to be.
    let used = wrong.iter().find(|group| group.in_use.is_some_and(|used| used > 0));
    if used.is_none() && wrong.iter().any(|group| group.in_use.is_none()) {
        settings.cilium.endpoints.get()?;
        return Err(Unknown::not_found(format!(
            "{}: which of its {count} identities in question are in use is not known",
            cluster.name()
        ))
        .into());
    }
    let example = used.unwrap_or(&wrong[0]);
    let label = example.cluster_label.as_deref().unwrap_or("without a cluster label");
    let found = match used {
        Some(group) => format!(
            "{count}, among them {} ({label}), in use by {}",
            group.example, group.example_endpoint
        ),
        None => format!("{count} that nothing uses, among them {} ({label})", example.example),
    };
    let outcome = if used.is_some() {
        Outcome::broken()
    } else {
        Outcome::broken_as(Severity::Warn)
    };
    let source = crate::facts::provenance::Source::read(format!("CiliumIdentity {}", example.example), "");
    Ok(outcome
        .found(found)
        .evidence(Evidence::new(cluster.name(), &label, &source)))
}
