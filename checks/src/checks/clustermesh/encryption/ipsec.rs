//! IPsec: one key everywhere, and nothing it does not go with.

use std::collections::BTreeSet;

use super::super::setting::{as_warning, each, evidence, not_loaded};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::compare::Groups;
use crate::facts::provenance::{Known, Reason, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::Settings;
use crate::profile::cilium::values::{Encryption, RoutingMode};
use crate::profile::cilium::version::Version;
use crate::report::Evidence;

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] =
    &[&IPSEC_KEY_ID, &IPSEC_LIMITS, &IPSEC_ORDER, &IPSEC_KEY_MATERIAL];

/// Settings of a cluster with IPsec, or why a rule about IPsec says nothing about it.
fn with_ipsec<'c, 'a>(cluster: &'c Cluster<'a>) -> Result<&'c Settings<'a>, NoVerdict> {
    let settings = cluster.cilium()?;
    if settings.encryption()?.value != Encryption::Ipsec {
        return Err(NoVerdict::does_not_apply("IPsec is off"));
    }
    Ok(settings)
}

/// The key ids that nodes have published. More than one while keys are rotated.
fn key_ids(cluster: &Cluster<'_>, settings: &Settings<'_>) -> Result<BTreeSet<u32>, Unknown> {
    let nodes = settings.cilium.nodes.get()?;
    // 0 is no key or a node that opted out, 255 WireGuard.
    let keys = nodes.iter().filter_map(|node| node.encryption_key);
    let ids: BTreeSet<u32> = keys.filter(|id| (1..=15).contains(id)).collect();
    if ids.is_empty() {
        return Err(Unknown::not_found(format!(
            "no node of {} shows an IPsec key id",
            cluster.name()
        )));
    }
    Ok(ids)
}

declare_check! {
    /// ## What it checks
    /// All clusters with IPsec use the key with the same id.
    ///
    /// ## Why it matters
    /// The id in a packet tells the receiver which key to use. With another id, or another key under the same id (CM409), packets are dropped.
    ///
    /// ## How it is determined
    /// `spec.encryption.key` of every `CiliumNode`: 1 to 15. Two ids in one cluster mean that its keys are being rotated: a warning.
    ///
    /// ## How to fix
    /// Copy Secret `cilium-ipsec-keys` to every cluster. Rotate in all clusters at once, with a longer `ipsec-key-rotation-duration` than the default
    /// of five minutes.
    ///
    /// ## References
    /// Cilium documentation, "IPsec Transparent Encryption", key rotation; cilium/cilium issue 26626.
    pub static IPSEC_KEY_ID = {
        code: "CM404",
        slug: "ipsec-key-id",
        title: "IPsec key ids differ",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "packets arrive under a key id that the receiver does not use, and are dropped",
        rules: ["clustermesh ENC-4"],
        run: Between(ipsec_key_id),
    };
}

fn ipsec_key_id(audit: &Audit<'_>) -> Vec<Outcome> {
    let groups = Groups::of(audit, |cluster| {
        let ids = key_ids(cluster, with_ipsec(cluster)?)?;
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        Ok(Known::new(
            format!("key id {}", ids.join(" and ")),
            Source::read("CiliumNodes", "spec.encryption.key"),
        ))
    });
    let rotating = !rotating(audit).is_empty();
    let alone = groups.values.len() == 1;
    let outcomes = groups.expect_equal(audit, |outcome, _| {
        outcome
            .expected("one key id on all nodes of all clusters")
            .remedy("copy Secret cilium-ipsec-keys to every cluster and rotate in all of them at once, with a longer ipsec-key-rotation-duration")
    });
    outcomes
        .into_iter()
        .map(|outcome| match outcome {
            outcome if outcome.is_broken() && rotating => as_warning(outcome),
            // All clusters show the same two ids.
            outcome if rotating && alone && outcome.state == Outcome::holds().state => as_warning(outcome)
                .expected("one key id on all nodes of all clusters")
                .remedy("let the rotation finish in all clusters"),
            outcome => outcome,
        })
        .collect()
}

/// Clusters whose keys are being rotated.
fn rotating(audit: &Audit<'_>) -> Vec<ClusterId> {
    audit.clusters_where(|cluster| {
        let ids = with_ipsec(cluster)
            .ok()
            .and_then(|settings| key_ids(cluster, settings).ok());
        ids.is_some_and(|ids| ids.len() > 1)
    })
}

declare_check! {
    /// ## What it checks
    /// IPsec is not combined with what it does not work with, and the mesh has no more nodes than it can tell apart.
    ///
    /// ## Why it matters
    /// With host policies, WireGuard, strict ingress encryption or a fixed router address the agent refuses to start. On top of another network
    /// plugin packets leave unencrypted. More than 65535 nodes in the whole mesh have no number of their own.
    ///
    /// ## How it is determined
    /// Keys `enable-ipsec`, `cni-chaining-mode` (portmap is the other way round, and fine), `enable-host-firewall`, `enable-wireguard`,
    /// `enable-encryption-strict-mode-ingress`, `local-router-ipv4`, `local-router-ipv6`; the nodes of all clusters.
    ///
    /// ## How to fix
    /// Use WireGuard instead, in all clusters, or drop the other feature. Agents restart.
    ///
    /// ## References
    /// Cilium documentation, "IPsec Transparent Encryption", limitations; `daemon/cmd/daemon.go`.
    pub static IPSEC_LIMITS = {
        code: "CM405",
        slug: "ipsec-limits",
        title: "IPsec is combined with what it does not work with",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the agent does not start, or traffic is not encrypted",
        rules: ["clustermesh ENC-5"],
        run: Set(ipsec_limits),
    };
}

const MAX_NODES: usize = 65535;

fn ipsec_limits(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut outcomes = each(audit, ipsec_combinations);
    let users: Vec<ClusterId> = audit.clusters_where(|cluster| with_ipsec(cluster).is_ok());
    let nodes = audit.clusters.iter().filter_map(|cluster| cluster.facts.nodes.ok());
    let count: usize = nodes.map(Vec::len).sum();
    if !users.is_empty() && count > MAX_NODES {
        outcomes.push(
            Outcome::broken()
                .expected(format!("at most {MAX_NODES} nodes in the mesh with IPsec"))
                .found(format!("{count} nodes"))
                .evidence(Evidence::new("", &count, &Source::read("Nodes", "")))
                .remedy("use WireGuard, or divide the mesh")
                .about(users),
        );
    }
    outcomes
}

fn ipsec_combinations(cluster: &Cluster<'_>) -> Judged {
    const KEYS: [&str; 7] = [
        "enable-ipsec",
        "cni-chaining-mode",
        "enable-host-firewall",
        "enable-wireguard",
        "enable-encryption-strict-mode-ingress",
        "local-router-ipv4",
        "local-router-ipv6",
    ];
    let settings = cluster.cilium()?;
    let refused = settings.refusal(&KEYS[..1]).is_some();
    if !refused && !settings.flag(KEYS[0])?.value {
        return Err(NoVerdict::does_not_apply("IPsec is off"));
    }
    let chaining = settings.value("cni-chaining-mode")?.value;
    let mut found = Vec::new();
    if settings.chained_on_another()?.value {
        found.push(format!(
            "IPsec on top of another network plugin (cni-chaining-mode {chaining})"
        ));
    }
    if refused {
        let reasons = settings
            .refusals()
            .iter()
            .filter(|refusal| refusal.keys.contains(&KEYS[0]));
        let reasons: Vec<&str> = reasons.map(|refusal| refusal.why.as_str()).collect();
        found.push(reasons.join(", ") + &not_loaded(cluster, settings, &KEYS[..1]));
    }
    let outcome = if found.is_empty() {
        Outcome::holds().found("IPsec by itself")
    } else {
        Outcome::broken().found(found.join("; "))
    };
    Ok(outcome
        .expected("IPsec without chaining, host policies, WireGuard, strict ingress and fixed router addresses")
        .evidence_all(evidence(cluster, settings, &KEYS))
        .remedy("use WireGuard in all clusters instead, or drop the other feature; agents restart"))
}

declare_check! {
    /// ## What it checks
    /// Clusters with IPsec and a tunnel are all older than Cilium 1.18, or none is.
    ///
    /// ## Why it matters
    /// Until 1.17 encrypted packets travelled inside the tunnel; from 1.18 on the tunnel travels inside the encryption, and firewalls see IP
    /// protocol 50 where they saw UDP. Only the last 1.17 patch releases understand both.
    ///
    /// ## How it is determined
    /// Versions of the agents, keys `enable-ipsec` and `routing-mode`.
    ///
    /// ## How to fix
    /// Upgrade every 1.17 cluster to its last patch release first, open IP protocol 50 (ESP) between all nodes, then upgrade one cluster after
    /// the other.
    ///
    /// ## References
    /// Cilium documentation, "IPsec Transparent Encryption" and upgrade notes of 1.18.
    pub static IPSEC_ORDER = {
        code: "CM406",
        slug: "ipsec-and-tunnel-order",
        title: "IPsec and tunnel are nested differently",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "older releases do not understand the new order, and firewalls may not let ESP through",
        rules: ["clustermesh ENC-6"],
        run: Between(ipsec_order),
    };
}

fn ipsec_order(audit: &Audit<'_>) -> Vec<Outcome> {
    Groups::of(audit, |cluster| {
        let settings = with_ipsec(cluster)?;
        if settings.routing_mode()?.value == RoutingMode::Native {
            return Err(NoVerdict::does_not_apply("native routing uses no tunnel"));
        }
        let order = if settings.versions.at_least(Version(1, 18, 0))? {
            "tunnel inside ESP (from 1.18 on)"
        } else {
            "ESP inside the tunnel (before 1.18)"
        };
        let source = match settings.cilium.versions.known_value() {
            Ok(known) if !settings.versions.inferred => known.source.clone(),
            _ => settings.cilium.config_source(""),
        };
        Ok(Known::new(order, source))
    })
    .expect_equal(audit, |outcome, _| {
        outcome
            .expected("one order in all clusters")
            .remedy("upgrade 1.17 clusters to their last patch release, open ESP between nodes, then upgrade cluster by cluster")
    })
}

declare_check! {
    /// ## What it checks
    /// All clusters with IPsec have the same key material, id, algorithm and kind of keys (`+`: one for each tunnel).
    ///
    /// ## Why it matters
    /// Nodes of different clusters derive their keys from the same Secret. With unlike material every packet is dropped, and only counters in
    /// the kernel tell.
    ///
    /// ## How it is determined
    /// Secret `cilium-ipsec-keys`, read with `--read-secrets` only and reduced to a digest at once. Clusters whose nodes show two key ids are
    /// rotating: a warning.
    ///
    /// ## How to fix
    /// Copy the Secret to every cluster, and rotate in all of them at once.
    ///
    /// ## References
    /// Cilium documentation, "IPsec Transparent Encryption"; cilium/cilium issue 26626.
    pub static IPSEC_KEY_MATERIAL = {
        code: "CM409",
        slug: "ipsec-key-material",
        title: "IPsec keys differ",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "packets between the clusters cannot be decrypted and are dropped",
        rules: ["clustermesh ENC-4"],
        run: Between(ipsec_key_material),
    };
}

fn ipsec_key_material(audit: &Audit<'_>) -> Vec<Outcome> {
    /// Digits of the digest: enough to tell keys apart.
    const SHOWN: usize = 8;
    let rotating = !rotating(audit).is_empty();
    Groups::of(audit, |cluster| {
        let settings = with_ipsec(cluster)?;
        let secrets = settings.cilium.secrets.known_value()?;
        let Some(key) = &secrets.value.ipsec else {
            return Err(NoVerdict::missing(Reason::NotFound, format!("{} shows no Secret cilium-ipsec-keys", cluster.name())));
        };
        let digest: String = key.digest.chars().take(SHOWN).collect();
        let kind = if key.per_tunnel { ", one for each tunnel" } else { "" };
        let length = key.length_bits.map(|bits| format!("/{bits}")).unwrap_or_default();
        let text = format!("id {} {}{length} digest {digest}{kind}", key.id, key.algorithm);
        Ok(Known::new(text, Source::read(format!("Secret {}/cilium-ipsec-keys", settings.cilium.namespace), "keys")))
    })
    .expect_equal(audit, |outcome, _| {
        let outcome = outcome
            .expected("one key, id, algorithm and kind of keys in all clusters")
            .remedy("copy Secret cilium-ipsec-keys to every cluster; agents pick it up, connections break for the time of the rotation");
        if rotating { as_warning(outcome) } else { outcome }
    })
}
