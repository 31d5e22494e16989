//! Who a cluster is in the mesh: its id and name.

pub mod identities;
pub mod peers;

use super::setting::{each, evidence, expect_equal, not_loaded};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::compare::Groups;
use crate::facts::provenance::{Known, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::cilium::Settings;
use crate::profile::cilium::control_plane;
use crate::profile::cilium::refused::{is_cluster_name, is_unsafe_id};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &ID_MISSING,
    &ID_OUT_OF_RANGE,
    &ID_DUPLICATE,
    &NAME_FORM,
    &NAME_DEFAULT,
    &NAME_DUPLICATE,
    &UNSAFE_ID,
    &MAX_CONNECTED_CLUSTERS,
];

declare_check! {
    /// ## What it checks
    /// The cluster has a cluster id: a number from 1 on.
    ///
    /// ## Why it matters
    /// The id is part of every identity number and tells peers whose pods they talk to. 0, which is the default, means "no mesh".
    ///
    /// ## How it is determined
    /// Key `cluster-id` of ConfigMap `cilium-config`; absent means 0.
    ///
    /// ## How to fix
    /// Set chart values `cluster.id` to a free number and `cluster.name`, roll the agents out and restart the workloads: every pod
    /// gets a new identity. Do it before the first connect.
    ///
    /// ## References
    /// Cilium documentation, "Setting up Cluster Mesh", "Specify the Cluster Name and ID"; `pkg/clustermesh/types/option.go`.
    pub static ID_MISSING = {
        code: "CM101",
        slug: "cluster-id-missing",
        title: "Cluster has no cluster id",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "with id 0 a cluster takes no part in a mesh",
        rules: ["clustermesh ID-1"],
        run: Cluster(id_missing),
    };
}

fn id_missing(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let shown = settings.shown("cluster-id")?;
    let (outcome, found) = match shown.value.parse::<u32>() {
        Ok(0) => (Outcome::broken(), "0: no mesh".to_owned()),
        Ok(id) => (Outcome::holds(), id.to_string()),
        Err(_) => (Outcome::broken(), format!("`{}`, no number", shown.value)),
    };
    Ok(outcome
        .expected("a number from 1 to 255 (511 where all clusters are built for it)")
        .found(found + &not_loaded(cluster, settings, &["cluster-id"]))
        .evidence_all(evidence(cluster, settings, &["cluster-id"]))
        .remedy("set chart values cluster.id and cluster.name, restart Cilium and then the workloads (new identities)")
        .cause(format!("cluster identity {}", cluster.name())))
}

declare_check! {
    /// ## What it checks
    /// The cluster id is not above `max-connected-clusters`.
    ///
    /// ## Why it matters
    /// The agent refuses to start with such an id, and peers refuse the cluster.
    ///
    /// ## How it is determined
    /// Keys `cluster-id` and `max-connected-clusters` (absent: 255).
    ///
    /// ## How to fix
    /// Choose an id in range. Only if there are to be more than 255 clusters: build all of them with `clustermesh.maxConnectedClusters`
    /// 511, which cannot be changed in a running cluster.
    ///
    /// ## References
    /// Cilium, `pkg/clustermesh/types/option.go`, `types.go`.
    pub static ID_OUT_OF_RANGE = {
        code: "CM103",
        slug: "cluster-id-range",
        title: "Cluster id is out of range",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the agent does not start with it and peers refuse the cluster",
        rules: ["clustermesh ID-3"],
        run: Cluster(id_out_of_range),
    };
}

fn id_out_of_range(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const KEYS: [&str; 2] = ["cluster-id", "max-connected-clusters"];
    let settings = cluster.cilium()?;
    let number = |key| -> Result<u32, Unknown> {
        let shown = settings.shown(key)?;
        shown
            .value
            .parse()
            .map_err(|_| Unknown::unparsable(&shown.source, &shown.value))
    };
    let (Ok(id), max) = (number("cluster-id"), number("max-connected-clusters")?) else {
        return Err(NoVerdict::does_not_apply("the id is no number: see CM101"));
    };
    let outcome = if id > max { Outcome::broken() } else { Outcome::holds() };
    Ok(outcome
        .expected(format!("at most {max}"))
        .found(format!("{id}{}", not_loaded(cluster, settings, &KEYS)))
        .evidence_all(evidence(cluster, settings, &KEYS))
        .remedy(format!(
            "choose a free id up to {max} before the first connect: chart value cluster.id; workloads restart"
        )))
}

declare_check! {
    /// ## What it checks
    /// No two clusters have the same cluster id.
    ///
    /// ## Why it matters
    /// Of two peers with one id an agent accepts the first and refuses the second; with the agents' own id it refuses the peer. Where
    /// KVStoreMesh is on, all that shows is that a configuration "was not found".
    ///
    /// ## How it is determined
    /// Key `cluster-id` of every cluster, all clusters at once: the vendor's connect command compares the local cluster with each
    /// remote one only, not the remotes with each other, nor with members that are connected already.
    ///
    /// ## How to fix
    /// Renumber one cluster before it is connected for the first time: name and id together, then delete its old identities and restart
    /// its agents and workloads (see CM109).
    ///
    /// ## References
    /// Cilium documentation, "Setting up Cluster Mesh"; `pkg/clustermesh/idsmgr.go`; cilium/cilium issue 29161.
    pub static ID_DUPLICATE = {
        code: "CM104",
        slug: "cluster-id-duplicate",
        title: "Clusters share a cluster id",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "agents refuse a peer whose id is taken",
        rules: ["clustermesh ID-4"],
        run: Between(id_duplicate),
    };
}

fn id_duplicate(audit: &Audit<'_>) -> Vec<Outcome> {
    Groups::of(audit, |cluster| {
        let id = cluster.cilium()?.cluster_id()?;
        if id.value == 0 {
            return Err(NoVerdict::does_not_apply("there is no id yet: see CM101"));
        }
        Ok(id)
    })
    .expect_distinct(audit, |outcome, id| {
        outcome
            .expected("an id of its own for every cluster of the mesh")
            .remedy("renumber all but one before connecting: chart values cluster.id and cluster.name together; agents and workloads restart")
            .cause(format!("cluster id {id}"))
    })
}

declare_check! {
    /// ## What it checks
    /// The cluster name has 1 to 32 lower-case letters, digits and hyphens, and neither starts nor ends with a hyphen.
    ///
    /// ## Why it matters
    /// The agent and the chart refuse any other name. Names made from a kubeconfig or a cloud's cluster name often have dots,
    /// underscores or more characters.
    ///
    /// ## How it is determined
    /// Key `cluster-name` of ConfigMap `cilium-config`.
    ///
    /// ## How to fix
    /// Set chart value `cluster.name` before the first connect: identities carry the name, so that workloads have to be restarted.
    ///
    /// ## References
    /// Cilium, `pkg/clustermesh/types/types.go`; the chart's `validate.yaml`.
    pub static NAME_FORM = {
        code: "CM105",
        slug: "cluster-name-form",
        title: "Cluster name is not allowed",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the agent does not start with it and peers refuse its entry",
        rules: ["clustermesh ID-5", "clustermesh LAB-8"],
        run: Cluster(name_form),
    };
}

fn name_form(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let name = settings.shown("cluster-name")?.value;
    // Empty is `default`: the next check.
    let outcome = if name.is_empty() || is_cluster_name(&name) {
        Outcome::holds()
    } else {
        Outcome::broken()
    };
    Ok(outcome
        .expected("1 to 32 lower-case letters, digits and hyphens, no hyphen at the ends")
        .found(format!("`{name}`{}", not_loaded(cluster, settings, &["cluster-name"])))
        .evidence_all(evidence(cluster, settings, &["cluster-name"]))
        .remedy(
            "set chart value cluster.name before the first connect; workloads have to be restarted (new identities)",
        ))
}

declare_check! {
    /// ## What it checks
    /// The cluster has a name of its own: not `default`, not empty.
    ///
    /// ## Why it matters
    /// `default` is the name of every cluster that was never given one. The agent refuses it together with an id.
    ///
    /// ## How it is determined
    /// Key `cluster-name` of ConfigMap `cilium-config`; absent or empty means `default`.
    ///
    /// ## How to fix
    /// Set chart value `cluster.name`, together with `cluster.id`, before the first connect.
    ///
    /// ## References
    /// Cilium, `pkg/clustermesh/types/option.go`.
    pub static NAME_DEFAULT = {
        code: "CM106",
        slug: "cluster-name-default",
        title: "Cluster still has the default name",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "a member of a mesh needs a name of its own",
        rules: ["clustermesh ID-6"],
        run: Cluster(name_default),
    };
}

fn name_default(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const KEYS: [&str; 2] = ["cluster-name", "cluster-id"];
    let settings = cluster.cilium()?;
    let name = settings.shown("cluster-name")?.value;
    let outcome = if ["", "default"].contains(&name.as_str()) {
        Outcome::broken()
    } else {
        Outcome::holds()
    };
    Ok(outcome
        .expected("a name of its own")
        .found(format!("`{name}`{}", not_loaded(cluster, settings, &KEYS)))
        .evidence_all(evidence(cluster, settings, &KEYS))
        .remedy("set chart values cluster.name and cluster.id, restart Cilium and then the workloads (new identities)")
        .cause(format!("cluster identity {}", cluster.name())))
}

declare_check! {
    /// ## What it checks
    /// No two clusters have the same cluster name.
    ///
    /// ## Why it matters
    /// An agent takes a peer with its own name for itself and skips it, saying so only in its debug log: the two are never connected
    /// and nothing looks wrong. Policies that name a cluster mean both.
    ///
    /// ## How it is determined
    /// Key `cluster-name` of every cluster. A list of peers that names the cluster itself is no fault: one list may serve all.
    ///
    /// ## How to fix
    /// Rename one cluster before it is connected: chart value `cluster.name`, together with the id; workloads restart.
    ///
    /// ## References
    /// Cilium, `pkg/clustermesh/common/clustermesh.go`.
    pub static NAME_DUPLICATE = {
        code: "CM107",
        slug: "cluster-name-duplicate",
        title: "Clusters share a cluster name",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "an agent silently skips a peer with its own name",
        rules: ["clustermesh ID-7"],
        run: Between(name_duplicate),
    };
}

fn name_duplicate(audit: &Audit<'_>) -> Vec<Outcome> {
    Groups::of(audit, |cluster| {
        let name = cluster.cilium()?.cluster_name()?;
        if name.value == "default" {
            return Err(NoVerdict::does_not_apply("there is no name yet: see CM106"));
        }
        Ok(name)
    })
    .expect_distinct(audit, |outcome, name| {
        outcome
            .expected("a name of its own for every cluster of the mesh")
            .remedy("rename all but one before connecting: chart values cluster.name and cluster.id together; agents and workloads restart")
            .cause(format!("cluster name {name}"))
    })
}

declare_check! {
    /// ## What it checks
    /// A cluster whose pod addresses come from AWS ENIs, Alibaba Cloud or the AWS CNI has an id without bit 7: 1 to 127, or 256 to 383.
    ///
    /// ## Why it matters
    /// There the kernel's packet mark carries the id next to a bit that address management uses. With bit 7 set, packets that a policy
    /// has looked at are dropped.
    ///
    /// ## How it is determined
    /// Keys `cluster-id`, `ipam` (eni, alibabacloud) and `cni-chaining-mode` (aws-cni). From 1.17 on the agent refuses such an id
    /// unless `allow-unsafe-policy-skb-usage` is set, which only turns the failure into a warning.
    ///
    /// ## How to fix
    /// Use an id from 1 to 127 in clusters on AWS and Alibaba Cloud. Renumbering restarts agents and workloads.
    ///
    /// ## References
    /// cilium/cilium issue 21330, pull requests 35349 and 36602; `pkg/clustermesh/types/option.go`.
    pub static UNSAFE_ID = {
        code: "CM110",
        slug: "cluster-id-unsafe",
        title: "Cluster id clashes with packet marks of the cloud's address management",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "packets that match a policy are dropped",
        rules: ["clustermesh ID-10"],
        run: Cluster(unsafe_id),
    };
}

fn unsafe_id(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const KEYS: [&str; 3] = ["cluster-id", "ipam", "cni-chaining-mode"];
    let settings = cluster.cilium()?;
    let (ipam, chaining) = (
        settings.shown("ipam")?.value,
        settings.shown("cni-chaining-mode")?.value,
    );
    if !["eni", "alibabacloud"].contains(&ipam.as_str()) && chaining != "aws-cni" {
        return Err(NoVerdict::does_not_apply(format!(
            "ipam {ipam} leaves the packet mark alone"
        )));
    }
    let shown = settings.shown("cluster-id")?;
    let Ok(id) = shown.value.parse::<u32>() else {
        return Err(Unknown::unparsable(&shown.source, &shown.value).into());
    };
    let outcome = if !is_unsafe_id(id) {
        Outcome::holds()
    } else if settings.flag("allow-unsafe-policy-skb-usage")?.value {
        Outcome::broken_as(Severity::Warn)
    } else {
        Outcome::broken()
    };
    let mode = if chaining == "aws-cni" {
        format!("cni-chaining-mode {chaining}")
    } else {
        format!("ipam {ipam}")
    };
    Ok(outcome
        .expected("an id from 1 to 127")
        .found(format!("{id} with {mode}{}", not_loaded(cluster, settings, &KEYS)))
        .evidence_all(evidence(cluster, settings, &KEYS))
        .remedy(
            "choose a free id from 1 to 127 (chart value cluster.id); agents and workloads restart (new identities)",
        ))
}

declare_check! {
    /// ## What it checks
    /// `max-connected-clusters` is 255 or 511 and the same in every cluster, and clustermesh-apiserver is told the same.
    ///
    /// ## Why it matters
    /// The number decides how many bits of an identity are the cluster's id. A cluster built for 255 accepts a peer built for 511 and then
    /// throws its identities away: policies drop the traffic.
    ///
    /// ## How it is determined
    /// Key `max-connected-clusters` (absent: 255; Cilium 1.14 knows nothing else) and the argument of the same name of container
    /// `apiserver` in Deployment `clustermesh-apiserver`. The vendor's connect command, where one cluster lacks the key, takes the value
    /// of the cluster it looked at before.
    ///
    /// ## How to fix
    /// Rebuild the cluster that differs: the number is fixed at installation (chart value `clustermesh.maxConnectedClusters`). Never
    /// change it in a running cluster.
    ///
    /// ## References
    /// Cilium documentation, "Setting up Cluster Mesh"; `pkg/clustermesh/types/types.go`.
    pub static MAX_CONNECTED_CLUSTERS = {
        code: "CM111",
        slug: "max-connected-clusters",
        title: "Clusters are built for different mesh sizes",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "identities are split into bits differently, and the peer's are thrown away",
        rules: ["clustermesh ID-11"],
        run: Set(max_connected_clusters),
    };
}

const MAX_KEY: &str = "max-connected-clusters";

fn max_connected_clusters(audit: &Audit<'_>) -> Vec<Outcome> {
    let wrong = each(audit, own_max_connected_clusters)
        .into_iter()
        .filter(Outcome::is_broken);
    let mut outcomes: Vec<Outcome> = wrong.collect();
    let equal = expect_equal(
        audit,
        |settings| Ok(settings.max_connected_clusters()?),
        |outcome| {
            outcome
                .expected("255 in all clusters, or 511 in all")
                .remedy("rebuild the clusters that differ: clustermesh.maxConnectedClusters is fixed at installation")
        },
    );
    outcomes.extend(equal);
    outcomes
}

/// The value by itself, and the two places where it stands against each other.
fn own_max_connected_clusters(cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let shown = settings.shown(MAX_KEY)?;
    let outcome = |outcome: Outcome| {
        outcome
            .expected("255 or 511, alike for agents and clustermesh-apiserver")
            .evidence_all(evidence(cluster, settings, &[MAX_KEY]))
            .remedy("set clustermesh.maxConnectedClusters to what the cluster was installed with")
    };
    if !["255", "511"].contains(&shown.value.as_str()) {
        let found = format!("`{}`{}", shown.value, not_loaded(cluster, settings, &[MAX_KEY]));
        return Ok(outcome(Outcome::broken()).found(found));
    }
    match apiserver_argument(cluster, settings) {
        Some(argument) if argument.value != shown.value => Ok(outcome(Outcome::broken())
            .found(format!(
                "{} for the agents, {} for clustermesh-apiserver",
                shown.value, argument.value
            ))
            .evidence(Evidence::of(cluster.name(), &argument))),
        _ => Ok(outcome(Outcome::holds()).found(shown.value)),
    }
}

fn apiserver_argument(cluster: &Cluster<'_>, settings: &Settings<'_>) -> Option<Known<String>> {
    let deployment = control_plane::deployment(cluster).ok()??;
    // From 1.15 on the argument is written out; before, there is nothing to disagree with.
    settings.written(MAX_KEY)?;
    let value = deployment.container("apiserver")?.flag(MAX_KEY)?;
    let source = Source::read(deployment.object(), format!("container apiserver --{MAX_KEY}"));
    Some(Known::new(value.to_owned(), source))
}

#[cfg(test)]
mod tests;
