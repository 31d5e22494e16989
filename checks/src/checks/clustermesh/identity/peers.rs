//! The peers that a cluster is already configured with. Reads what Secrets say, where the user asked for that.

use std::collections::BTreeMap;

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::provenance::Source;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::control_plane::{Addresses, endpoints};
use crate::profile::cilium::refused::is_cluster_name;
use crate::report::Evidence;

use super::super::setting::each;

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] = &[&PEER_ENTRY_NAME, &PEER_NOT_AUDITED];

declare_check! {
    /// ## What it checks
    /// Every peer is configured under the name that the peer itself has.
    ///
    /// ## Why it matters
    /// The name of the entry is what the agent looks for on the other side. Under another name the peer's configuration is never found: the
    /// agent connects, waits three minutes, reconnects, and is never ready.
    ///
    /// ## How it is determined
    /// Entries of the Secrets `cilium-clustermesh` and `cilium-kvstoremesh`, read with `--read-secrets` only. An entry belongs to the
    /// audited cluster at whose control plane its endpoints end; its name must be that cluster's `cluster-name`.
    ///
    /// ## How to fix
    /// Name the entry after the peer: `name` in chart value `clustermesh.config.clusters`.
    ///
    /// ## References
    /// Cilium, `pkg/clustermesh/common/remote_cluster.go`; documentation, "Troubleshooting Cluster Mesh".
    pub static PEER_ENTRY_NAME = {
        code: "CM108",
        slug: "peer-entry-name",
        title: "A peer is configured under another name than its own",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the peer's configuration is never found and it never becomes ready",
        rules: ["clustermesh ID-8"],
        run: Set(peer_entry_name),
    };
}

fn peer_entry_name(audit: &Audit<'_>) -> Vec<Outcome> {
    let addresses = Addresses::of(audit);
    each(audit, |cluster| own_entry_names(audit, cluster, &addresses))
}

fn own_entry_names(audit: &Audit<'_>, cluster: &Cluster<'_>, addresses: &Addresses) -> Judged {
    let settings = cluster.cilium()?;
    let secrets = settings.cilium.secrets.get()?;
    let own_name = settings.cluster_name()?.value;
    let mut wrong = Vec::new();
    let mut evidence = Vec::new();
    let mut compared = 0;
    for (name, peer) in secrets.peers.iter().filter(|(name, _)| **name != own_name) {
        let served_by: Vec<ClusterId> = endpoints(cluster, peer)
            .iter()
            .flat_map(|endpoint| addresses.owners(endpoint))
            .filter(|id| *id != cluster.id)
            .collect();
        let owner = match served_by.first() {
            Some(first) if served_by.iter().all(|id| id == first) => Some(audit.cluster(*first)),
            // Nobody's, or several clusters' at one address: other checks look at that.
            _ => None,
        };
        let real_name = owner.map(|owner| owner.cilium()?.cluster_name()).transpose()?;
        let problem = match &real_name {
            _ if !is_cluster_name(name) => format!("`{name}` is no cluster name"),
            Some(real) if real.value != *name => format!("`{name}` is `{}` by its own account", real.value),
            Some(_) => {
                compared += 1;
                continue;
            }
            None => continue,
        };
        let source = Source::read(format!("Secret {}", peer.secrets.join(", ")), name);
        evidence.push(Evidence::new(cluster.name(), &peer.endpoints.join(" "), &source));
        evidence.extend(
            owner
                .zip(real_name)
                .map(|(owner, real)| Evidence::of(owner.name(), &real)),
        );
        wrong.push(problem);
    }
    if !wrong.is_empty() {
        return Ok(Outcome::broken()
            .expected("each peer under its own cluster name")
            .found(wrong.join("; "))
            .evidence_all(evidence)
            .remedy("name the entry in clustermesh.config.clusters after the peer's cluster.name; clustermesh-apiserver restarts"));
    }
    if compared == 0 {
        return Err(NoVerdict::does_not_apply(
            "no audited cluster is configured as its peer",
        ));
    }
    Ok(Outcome::holds().found(format!("{compared} peers")))
}

declare_check! {
    /// ## What it checks
    /// All peers that a cluster is already configured with are part of this audit.
    ///
    /// ## Why it matters
    /// Ids, names and address ranges must not collide over the whole mesh, with members that are connected already too. What is
    /// not looked at can collide unseen.
    ///
    /// ## How it is determined
    /// Entry names of the Secrets `cilium-clustermesh` and `cilium-kvstoremesh`, read with `--read-secrets` only, against the names of the
    /// audited clusters.
    ///
    /// ## How to fix
    /// Audit the missing members together with these: their facts files will do.
    ///
    /// ## References
    /// Cilium documentation, "Setting up Cluster Mesh"; `pkg/clustermesh/idsmgr.go`.
    pub static PEER_NOT_AUDITED = {
        code: "CM154",
        slug: "peer-not-audited",
        title: "Members of the mesh are not part of this audit",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "their ids, names and ranges may collide with these clusters' unseen",
        rules: ["clustermesh ID-4"],
        run: Set(peer_not_audited),
    };
}

fn peer_not_audited(audit: &Audit<'_>) -> Vec<Outcome> {
    let names: BTreeMap<String, ClusterId> = audit
        .clusters
        .iter()
        .filter_map(|cluster| Some((cluster.cilium().ok()?.cluster_name().ok()?.value, cluster.id)))
        .collect();
    each(audit, |cluster| {
        let secrets = cluster.cilium()?.cilium.secrets.known_value()?;
        let missing: Vec<String> = secrets
            .value
            .peers
            .keys()
            .filter(|name| !names.contains_key(*name))
            .cloned()
            .collect();
        let count = secrets.value.peers.len();
        let outcome = if missing.is_empty() {
            Outcome::holds().found(format!("{count} peers, all audited"))
        } else {
            Outcome::broken().found(format!("not audited: {}", some_of(&missing)))
        };
        Ok(outcome
            .expected("every configured peer among the audited clusters")
            .evidence(Evidence::new(
                cluster.name(),
                &format!("{count} peers"),
                &secrets.source,
            ))
            .remedy("audit these members together with the others: their facts files will do"))
    })
}
