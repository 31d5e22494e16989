//! Where a cluster keeps the state that peers read.

use std::collections::BTreeMap;

use super::super::setting::{each, evidence};
use crate::check::{Check, Judged, declare_check};
use crate::facts::provenance::Source;
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::cilium::control_plane::{Addresses, Endpoint, endpoints};
use crate::profile::cilium::values::IdentityMode;
use crate::report::{Evidence, Severity};

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] = &[&STATE_STORE];

declare_check! {
    /// ## What it checks
    /// Peers find the cluster's state where they look for it: in clustermesh-apiserver, which reads it from custom resources, or in the
    /// cluster's own etcd.
    ///
    /// ## Why it matters
    /// With identities in an etcd (`kvstore`) clustermesh-apiserver exports nothing: its Service holds only the cache of the peers, and a
    /// peer that dials it sees no pod and no identity of this cluster. With `disable-endpoint-crd` there is nothing to export.
    ///
    /// ## How it is determined
    /// Keys `identity-allocation-mode`, `kvstore` and `disable-endpoint-crd`. Where Secrets are read, the entries that peers have for a
    /// kvstore cluster, against the addresses of its Service. Without an entry to look at it is a warning, as the vendor's connect
    /// command would enter that Service.
    ///
    /// ## How to fix
    /// Enter the endpoints of the cluster's own etcd by hand in the peers' `clustermesh.config.clusters`. Leave `disable-endpoint-crd` off.
    ///
    /// ## References
    /// Cilium documentation, "Cluster Mesh" introduction; chart, `validate.yaml`; cilium/cilium issue 12125, pull request 39523.
    pub static STATE_STORE = {
        code: "CM306",
        slug: "state-store",
        title: "Peers would not find the cluster's state",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "peers see no pods and no identities of the cluster, and policies drop its traffic",
        rules: ["clustermesh DP-6"],
        run: Set(state_store),
    };
}

/// The entries that other clusters have for one, by its name: who has it, and where it leads.
type Entries<'a> = BTreeMap<&'a str, Vec<(&'a Cluster<'a>, Vec<Endpoint>)>>;

fn state_store(audit: &Audit<'_>) -> Vec<Outcome> {
    let addresses = Addresses::of(audit);
    let mut entries: Entries<'_> = BTreeMap::new();
    for cluster in audit.clusters {
        let secrets = cluster.facts.cilium.ok().and_then(|cilium| cilium.secrets.ok());
        for (name, peer) in secrets.into_iter().flat_map(|secrets| &secrets.peers) {
            let entry = (cluster, endpoints(cluster, peer));
            entries.entry(name).or_default().push(entry);
        }
    }
    each(audit, |cluster| own_state_store(cluster, &entries, &addresses))
}

fn own_state_store(cluster: &Cluster<'_>, entries: &Entries<'_>, addresses: &Addresses) -> Judged {
    let settings = cluster.cilium()?;
    let mode = settings.identity_mode()?;
    if mode.value != IdentityMode::Kvstore {
        let disabled = settings.flag("disable-endpoint-crd")?;
        let outcome = if disabled.value {
            Outcome::broken()
        } else {
            Outcome::holds()
        };
        return Ok(outcome
            .expected("endpoints as custom resources, for clustermesh-apiserver to export")
            .found(format!(
                "identities in mode {}, disable-endpoint-crd {}",
                mode.value, disabled.value
            ))
            .evidence_all(evidence(
                cluster,
                settings,
                &["identity-allocation-mode", "disable-endpoint-crd"],
            ))
            .remedy("remove disable-endpoint-crd from the configuration; agents restart"));
    }
    let outcome = |outcome: Outcome| {
        outcome
            .expected("peers that dial the cluster's own etcd")
            .evidence_all(evidence(cluster, settings, &["identity-allocation-mode", "kvstore"]))
            .remedy("enter the endpoints of this cluster's own etcd in the peers' clustermesh.config.clusters, by hand")
    };
    let name = settings.cluster_name()?.value;
    let seen: Vec<_> = entries
        .get(name.as_str())
        .into_iter()
        .flatten()
        .filter(|(peer, _)| peer.id != cluster.id)
        .collect();
    if seen.is_empty() {
        return Ok(outcome(Outcome::broken_as(Severity::Warn))
            .found("identities in the cluster's own etcd, and no entry of a peer to look at"));
    }
    let wrong: Vec<_> = seen
        .iter()
        .filter(|(_, endpoints)| {
            endpoints
                .iter()
                .any(|endpoint| addresses.owners(endpoint).any(|owner| owner == cluster.id))
        })
        .collect();
    if wrong.is_empty() {
        return Ok(outcome(Outcome::holds()).found(format!(
            "{} peers dial something else than clustermesh-apiserver",
            seen.len()
        )));
    }
    let names: Vec<String> = wrong.iter().map(|(peer, _)| peer.name().to_owned()).collect();
    let entries = wrong.iter().map(|(peer, endpoints)| {
        let hosts: Vec<String> = endpoints.iter().map(|to| format!("{}:{}", to.host, to.port)).collect();
        let source = Source::read("Secret cilium-kvstoremesh", &name);
        Evidence::new(peer.name(), &hosts.join(" "), &source)
    });
    let entries: Vec<Evidence> = entries.collect();
    Ok(outcome(Outcome::broken())
        .found(format!(
            "identities in the cluster's own etcd, but {} dials clustermesh-apiserver, which holds none",
            crate::alike::some_of(&names)
        ))
        .evidence_all(entries))
}
