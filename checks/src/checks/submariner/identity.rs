//! Cluster IDs: valid, unique over the whole set, and the same for good.

use std::collections::BTreeSet;

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::compare::Groups;
use crate::facts::provenance::{Reason, Source};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::id::{problem, sanitise};
use crate::profile::submariner::{Mesh, field, installed, member};
use crate::report::Evidence;

pub(super) static CHECKS: &[&Check] = &[
    &ID_FORM,
    &DERIVED_ID,
    &ID_UNIQUE,
    &ID_TAKEN,
    &COMMON_ID,
    &ID_AND_CILIUM_NAME,
    &ID_CHANGED,
];

declare_check! {
    /// ## What it checks
    /// The cluster's ID is an RFC 1123 label: 1 to 63 lower-case letters, digits and dashes, a letter or digit at both ends.
    ///
    /// ## Why it matters
    /// `subctl join` refuses others. Where objects are written by hand nobody looks: the ID becomes part of object names and of the DNS names
    /// that Lighthouse serves, and both are refused later, one by one.
    ///
    /// ## How it is determined
    /// `spec.clusterID` of a member, or the planned ID. An ID that `subctl` is left to make is judged by check SM102.
    ///
    /// ## How to fix
    /// Choose another ID; a member must be uninstalled and joined again.
    ///
    /// ## References
    /// `subctl`, `pkg/cluster/id.go`; Lighthouse, agent controller.
    pub static ID_FORM = {
        code: "SM101",
        slug: "submariner-id-form",
        title: "The cluster ID is no valid name",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "subctl refuses it; made by hand, objects and DNS names made of it are refused",
        rules: ["submariner ID-01", "submariner ID-05"],
        run: Cluster(id_form),
    };
}

fn id_form(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mesh = Mesh::of(audit);
    let stated = mesh.cluster_plan(cluster).is_some_and(|plan| plan.cluster_id.is_some());
    if installed(cluster)?.is_none() && !stated {
        return Err(NoVerdict::does_not_apply("no ID is planned: subctl makes one"));
    }
    let id = mesh.cluster_id(cluster)?;
    let outcome = match problem(&id.value) {
        None => Outcome::holds().found(&id.value),
        Some(problem) => Outcome::broken()
            .found(format!("`{}`: {problem}", id.value))
            .remedy(format!(
                "join {} with another --clusterid, for example {}",
                cluster.name(),
                suggestion(&id.value)
            )),
    };
    Ok(outcome
        .expected("1 to 63 lower-case letters, digits and dashes")
        .evidence(Evidence::of(cluster.name(), &id)))
}

fn suggestion(id: &str) -> String {
    let valid: String = sanitise(id)
        .chars()
        .take(crate::profile::submariner::id::MAX_LENGTH)
        .collect();
    if valid.is_empty() {
        "cluster-1".to_owned()
    } else {
        sanitise(&valid)
    }
}

declare_check! {
    /// ## What it checks
    /// The ID that `subctl join` makes of the cluster's name in the kubeconfig is that name.
    ///
    /// ## Why it matters
    /// Without `--clusterid` the name is taken, in lower case, other characters replaced by dashes and a dash at either end by `0`. It is not
    /// shortened: an ID of more than 63 characters makes `subctl` ask, which stops a script. An ID cannot be changed later.
    ///
    /// ## How it is determined
    /// The cluster's name in the kubeconfig, changed as `subctl` does it. Does not apply to members, nor where the plan names the ID.
    ///
    /// ## How to fix
    /// Pass `--clusterid`.
    ///
    /// ## References
    /// `subctl`, `pkg/cluster/id.go` and `cmd/subctl/join.go`.
    pub static DERIVED_ID = {
        code: "SM102",
        slug: "submariner-derived-id",
        title: "subctl makes another ID of the cluster's name",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the cluster is joined under a name nobody chose, or the join stops to ask",
        rules: ["submariner ID-02"],
        run: Cluster(derived_id),
    };
}

fn derived_id(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if installed(cluster)?.is_some() {
        return Err(NoVerdict::does_not_apply(format!("{} has joined", cluster.name())));
    }
    let mesh = Mesh::of(audit);
    if mesh.cluster_plan(cluster).is_some_and(|plan| plan.cluster_id.is_some()) {
        return Err(NoVerdict::does_not_apply("the plan names the ID"));
    }
    let name = cluster.facts.kubeconfig_cluster.known_value()?;
    let id = mesh.cluster_id(cluster)?.value;
    let outcome = match problem(&id) {
        Some(problem) => Outcome::broken().found(format!("`{id}`: {problem}")),
        None if id != name.value => Outcome::broken().found(format!("{id}, made of `{}`", name.value)),
        None => Outcome::holds().found(&id),
    };
    Ok(outcome
        .expected("an ID that is the cluster's name as it is, or one that is chosen")
        .evidence(Evidence::of(cluster.name(), name))
        .remedy(format!("join {} with --clusterid", cluster.name())))
}

declare_check! {
    /// ## What it checks
    /// No two clusters have, or will get, the same ID.
    ///
    /// ## Why it matters
    /// Two members with one ID overwrite each other's objects on the broker: now one, now the other is reachable. `subctl join` looks for it
    /// since 0.17; Helm and GitOps never do.
    ///
    /// ## How it is determined
    /// `spec.clusterID` of members, planned IDs, and what `subctl` would make of the names in the kubeconfig.
    ///
    /// ## How to fix
    /// Join one of them with another `--clusterid`; a member must be uninstalled first.
    ///
    /// ## References
    /// `subctl`, `pkg/join/join.go`; subctl issues 705 and 1046.
    pub static ID_UNIQUE = {
        code: "SM103",
        slug: "submariner-id-unique",
        title: "Clusters share one Submariner ID",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "they overwrite each other's objects on the broker, or the second is refused",
        rules: ["submariner ID-03", "submariner KIND-12"],
        run: Between(id_unique),
    };
}

fn id_unique(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    Groups::of(audit, |cluster| Ok(mesh.cluster_id(cluster)?)).expect_distinct(audit, |outcome, id| {
        outcome.expected("an ID of its own for each cluster").remedy(format!(
            "join all but one of them with another --clusterid than {id}; uninstall members first"
        ))
    })
}

declare_check! {
    /// ## What it checks
    /// The broker holds no cluster of the ID with which this cluster is to join.
    ///
    /// ## Why it matters
    /// `subctl join` refuses an ID that the broker knows and the cluster itself does not, be it a member that is not audited here or what an
    /// unclean removal has left behind. Helm and GitOps take it over from whoever has it.
    ///
    /// ## How it is determined
    /// `Cluster` objects (submariner.io) in the broker's namespace of the audited cluster that holds the broker, else the copies that any
    /// audited member has of them.
    ///
    /// ## How to fix
    /// Join with another `--clusterid`, or delete the stale `Cluster` and `Endpoint` objects on the broker.
    ///
    /// ## References
    /// `subctl`, `pkg/join/join.go`; subctl issues 705 and 1046.
    pub static ID_TAKEN = {
        code: "SM104",
        slug: "submariner-id-taken",
        title: "The broker already knows a cluster of this ID",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "subctl join refuses it; other installers take it over from its owner",
        rules: ["submariner ID-03"],
        run: Set(id_taken),
    };
}

fn id_taken(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let mut joining = Vec::new();
    let mut outcomes = Vec::new();
    for cluster in audit.clusters {
        match installed(cluster) {
            Ok(None) => joining.push(cluster),
            Ok(Some(_)) => {}
            Err(why) => outcomes.push(Outcome::none(why).about([cluster.id])),
        }
    }
    if joining.is_empty() {
        if outcomes.is_empty() {
            outcomes.push(Outcome::does_not_apply("all clusters have joined").about(audit.everyone()));
        }
        return outcomes;
    }
    let holder = match mesh.broker() {
        Ok(Some(broker)) => Some(broker.cluster),
        Ok(None) => audit.clusters.iter().find(|cluster| member(cluster).is_ok()),
        Err(why) => {
            outcomes.push(Outcome::none(why).about(joining.iter().map(|cluster| cluster.id)));
            return outcomes;
        }
    };
    let ids = || joining.iter().map(|cluster| cluster.id);
    let Some(holder) = holder else {
        outcomes.push(Outcome::does_not_apply("no broker is seen").about(ids()));
        return outcomes;
    };
    let known = match holder
        .facts
        .submariner
        .get()
        .and_then(|facts| facts.clusters.known_value())
    {
        Ok(known) => known,
        Err(why) if why.reason == Reason::NotInstalled => {
            outcomes.push(Outcome::does_not_apply("no Cluster objects are there").about(ids()));
            return outcomes;
        }
        Err(why) => {
            outcomes.push(Outcome::none(why).about(ids()));
            return outcomes;
        }
    };
    // An audited member's own ID is judged by comparing clusters.
    let members: BTreeSet<&str> = audit
        .clusters
        .iter()
        .filter_map(|cluster| Some(member(cluster).ok()?.value.cluster_id.as_str()))
        .collect();
    let taken: BTreeSet<&str> = known
        .value
        .iter()
        .map(|cluster| cluster.cluster_id.as_str())
        .filter(|id| !members.contains(id))
        .collect();
    let mut free = Vec::new();
    for cluster in &joining {
        match mesh.cluster_id(cluster) {
            Ok(id) if taken.contains(id.value.as_str()) => {
                let object = format!("Cluster (submariner.io) {}", id.value);
                outcomes.push(
                    Outcome::broken()
                        .about([cluster.id])
                        .expected("an ID the broker does not know")
                        .found(format!("{} is known to the broker", id.value))
                        .evidence(Evidence::of(cluster.name(), &id))
                        .evidence(Evidence::new(holder.name(), &id.value, &Source::read(object, "spec.cluster_id")))
                        .remedy(format!(
                            "join {} with another --clusterid, or delete the stale Cluster and Endpoint objects on the broker",
                            cluster.name()
                        )),
                );
            }
            Ok(_) => free.push(cluster.id),
            Err(why) => outcomes.push(Outcome::none(why).about([cluster.id])),
        }
    }
    if !free.is_empty() {
        outcomes.push(
            Outcome::holds()
                .found(format!("{} IDs known to the broker, none of these", known.value.len()))
                .about(free),
        );
    }
    outcomes
}

declare_check! {
    /// ## What it checks
    /// The ID is not a name that many clusters have by default.
    ///
    /// ## Why it matters
    /// kubeadm calls every cluster `kubernetes`, and lab tools have their own default. The second one of the name cannot join, and an ID
    /// cannot be changed later.
    ///
    /// ## How it is determined
    /// The ID against the default names of kubeadm, kind, k3d, K3s, minikube and Docker Desktop.
    ///
    /// ## How to fix
    /// Choose a name that says which cluster it is, with `--clusterid`.
    ///
    /// ## References
    /// subctl issue 93.
    pub static COMMON_ID = {
        code: "SM105",
        slug: "submariner-common-id",
        title: "The ID is a default name",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the next cluster of that default name cannot join",
        rules: ["submariner ID-04"],
        run: Cluster(common_id),
    };
}

/// What cluster tools call a cluster unless told.
const DEFAULT_NAMES: [&str; 9] = [
    "cluster",
    "default",
    "docker-desktop",
    "k3d-k3s-default",
    "kind",
    "kind-kind",
    "kubernetes",
    "local",
    "minikube",
];

fn common_id(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let id = Mesh::of(audit).cluster_id(cluster)?;
    let outcome = if DEFAULT_NAMES.contains(&id.value.as_str()) {
        Outcome::broken().remedy(format!(
            "join {} with a --clusterid that says which cluster it is",
            cluster.name()
        ))
    } else {
        Outcome::holds()
    };
    Ok(outcome
        .expected("a name that no other cluster has by default")
        .found(&id.value)
        .evidence(Evidence::of(cluster.name(), &id)))
}

declare_check! {
    /// ## What it checks
    /// Where Cilium has a name for the cluster, Submariner's ID is the same.
    ///
    /// ## Why it matters
    /// Nothing breaks. But policies, metrics and names of the other tool speak of another cluster than Submariner does.
    ///
    /// ## How it is determined
    /// `cluster-name` of ConfigMap `cilium-config`, unless it is `default`, against the ID.
    ///
    /// ## How to fix
    /// Join with `--clusterid` and Cilium's name.
    ///
    /// ## References
    /// KEP-2149, ClusterId for ClusterSet identification.
    pub static ID_AND_CILIUM_NAME = {
        code: "SM106",
        slug: "submariner-id-and-cilium-name",
        title: "Submariner and Cilium call the cluster by different names",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "two tools speak of one cluster by two names",
        rules: ["submariner ID-06"],
        run: Cluster(id_and_cilium_name),
    };
}

fn id_and_cilium_name(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let name = cluster
        .cilium()?
        .written("cluster-name")
        .filter(|name| name.value != "default");
    let Some(name) = name else {
        return Err(NoVerdict::does_not_apply("Cilium has no name for the cluster"));
    };
    let id = Mesh::of(audit).cluster_id(cluster)?;
    let outcome = if id.value == name.value {
        Outcome::holds().found(&id.value)
    } else {
        Outcome::broken().found(format!("{} for Submariner, {} for Cilium", id.value, name.value))
    };
    Ok(outcome
        .expected("one name")
        .evidence(Evidence::of(cluster.name(), &id))
        .evidence(Evidence::of(cluster.name(), &name))
        .remedy(format!("join {} with --clusterid {}", cluster.name(), name.value)))
}

declare_check! {
    /// ## What it checks
    /// A member's ID is still the one it joined with.
    ///
    /// ## Why it matters
    /// Cable names, imports and conditions keep the old ID: the cluster is there twice, once dead.
    ///
    /// ## How it is determined
    /// `spec.clusterID` against `status.clusterID` of the `Submariner` object, and against the `Cluster` objects (submariner.io) of the member,
    /// its own among them.
    ///
    /// ## How to fix
    /// Uninstall Submariner from the cluster and join it again.
    ///
    /// ## References
    /// `submariner`, `pkg/controllers/datastoresyncer`.
    pub static ID_CHANGED = {
        code: "SM107",
        slug: "submariner-id-changed",
        title: "The cluster ID was changed after the join",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "objects of the old ID stay: the cluster is there twice",
        rules: ["submariner ID-07"],
        run: Cluster(id_changed),
    };
}

fn id_changed(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let config = member(cluster)?;
    let (spec, status) = (&config.value.cluster_id, &config.value.status_cluster_id);
    let clusters = cluster.facts.submariner.get()?.clusters.known_value()?;
    let mut own = clusters
        .value
        .iter()
        .filter(|object| object.namespace == config.value.namespace)
        .peekable();
    let none_yet = own.peek().is_none();
    let is_there = none_yet || own.any(|object| object.cluster_id == *spec);
    let outcome = if !status.is_empty() && status != spec {
        Outcome::broken().found(format!("{spec} in spec, {status} in status"))
    } else if !is_there {
        let others = clusters
            .value
            .iter()
            .filter(|object| object.namespace == config.value.namespace);
        Outcome::broken().found(format!(
            "{spec} in spec, Cluster objects for {}",
            some_of(others.map(|object| &object.cluster_id))
        ))
    } else {
        Outcome::holds().found(spec)
    };
    Ok(outcome
        .expected("one ID in spec, status and the member's own Cluster object")
        .evidence(Evidence::new(cluster.name(), spec, &field(config, "spec.clusterID")))
        .evidence(Evidence::new(
            cluster.name(),
            status,
            &field(config, "status.clusterID"),
        ))
        .remedy(format!(
            "uninstall Submariner from {} and join it again",
            cluster.name()
        )))
}

#[cfg(test)]
mod tests;
