//! Strict encryption: what it drops, and what it leaves unprotected.

use std::collections::BTreeSet;

use super::super::addressing::pod_space::PodSpace;
use super::super::setting::{each, evidence};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::provenance::{Reason, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::Settings;
use crate::profile::cilium::values::{Encryption, Family};
use crate::report::ONE_CLUSTER;

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] = &[&STRICT_ENCRYPTION];

declare_check! {
    /// ## What it checks
    /// Strict encryption covers the pods of all clusters, and all of them encrypt.
    ///
    /// ## Why it matters
    /// Strict egress mode drops unencrypted IPv4 traffic between pods whose addresses both lie in its range. Other clusters' pods outside of it are
    /// not protected; those inside are cut off if their cluster does not encrypt. Strict ingress mode drops whatever comes unencrypted.
    ///
    /// ## How it is determined
    /// Up to 1.18 keys `enable-encryption-strict-mode` and `encryption-strict-mode-cidr`; from 1.19 on `enable-encryption-strict-mode-egress`,
    /// `encryption-strict-egress-cidr` and `enable-encryption-strict-mode-ingress`. A key of the other version's name is not read by the
    /// agent: strict mode is off without a word.
    ///
    /// ## How to fix
    /// Widen the range to all clusters' pods, encrypt in all clusters, or turn strict mode off (chart value `encryption.strictMode`). From 1.20 on
    /// set the new chart values: the old ones are ignored.
    ///
    /// ## References
    /// Cilium documentation, "Transparent Encryption", and upgrade notes of 1.20; `bpf/lib/encrypt.h`.
    pub static STRICT_ENCRYPTION = {
        code: "CM408",
        slug: "strict-encryption",
        title: "Strict encryption does not fit the mesh",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "traffic to other clusters is dropped, or leaves unencrypted",
        rules: ["clustermesh ENC-8"],
        run: Set(strict_encryption),
    };
}

fn strict_encryption(audit: &Audit<'_>) -> Vec<Outcome> {
    let space = PodSpace::of(audit, Family::Ipv4);
    let mut unencrypted = BTreeSet::new();
    let mut unknown = None;
    for cluster in audit.clusters {
        match cluster.cilium().and_then(Settings::encryption) {
            Ok(encryption) if encryption.value == Encryption::None => {
                unencrypted.insert(cluster.id);
            }
            Ok(_) => {}
            // No member, or none yet: other checks speak of it.
            Err(why) if matches!(why.reason, Reason::NotInstalled | Reason::NotDeclared) => {}
            Err(why) => unknown = unknown.or(Some(why)),
        }
    }
    let peers = Peers {
        space,
        unencrypted,
        unknown,
    };
    each(audit, |cluster| own_strict_encryption(audit, cluster, &peers))
}

/// What strict mode meets at the other clusters.
struct Peers {
    space: PodSpace,
    unencrypted: BTreeSet<ClusterId>,
    /// Why it is not known whether some cluster encrypts.
    unknown: Option<Unknown>,
}

fn own_strict_encryption(audit: &Audit<'_>, cluster: &Cluster<'_>, peers: &Peers) -> Judged {
    const KEYS: [&str; 5] = [
        "enable-encryption-strict-mode",
        "encryption-strict-mode-cidr",
        "enable-encryption-strict-mode-egress",
        "encryption-strict-egress-cidr",
        "enable-encryption-strict-mode-ingress",
    ];
    let settings = cluster.cilium()?;
    let egress = settings.strict_egress()?;
    let ingress = settings.flag("enable-encryption-strict-mode-ingress")?.value
        && settings.encryption()?.value == Encryption::Wireguard;
    if egress.is_none() && !ingress {
        return Err(NoVerdict::does_not_apply("strict encryption is off"));
    }
    let outcome = |outcome: Outcome, found: String| {
        outcome
            .expected("strict encryption around all clusters' pods, all of which encrypt")
            .found(found)
            .evidence_all(evidence(cluster, settings, &KEYS))
            .remedy("widen the strict range to all clusters' pods and encrypt everywhere, or turn encryption.strictMode off; agents restart")
    };
    if let Some(strict) = egress.as_ref().filter(|strict| strict.ignored) {
        let found = format!(
            "{} is on, but not read by {}: strict mode is off",
            strict.enabled.source.field, settings.versions
        );
        return Ok(outcome(Outcome::broken(), found));
    }
    if audit.clusters.len() < 2 {
        return Err(NoVerdict::does_not_apply(ONE_CLUSTER));
    }
    let others = |ids: &BTreeSet<ClusterId>| ids.iter().copied().filter(|id| *id != cluster.id).collect::<Vec<_>>();
    let mut found = Vec::new();
    if let Some(strict) = &egress {
        let left_out = peers.space.left_out_by(&strict.cidrs.value);
        let unprotected = others(&left_out.present.union(&left_out.future).copied().collect());
        if !unprotected.is_empty() {
            found.push(format!(
                "pods of {} lie outside the strict range and are not protected",
                audit.names(&unprotected)
            ));
        }
        let inside = peers.space.inside(&strict.cidrs.value);
        let dropped = others(&inside.intersection(&peers.unencrypted).copied().collect());
        if !dropped.is_empty() {
            found.push(format!(
                "traffic to {} is dropped, as it does not encrypt",
                audit.names(&dropped)
            ));
        }
    }
    let dropped = others(&peers.unencrypted);
    if ingress && !dropped.is_empty() {
        found.push(format!(
            "traffic from {} is dropped, as it does not encrypt",
            audit.names(&dropped)
        ));
    }
    if !found.is_empty() {
        return Ok(outcome(Outcome::broken(), found.join("; ")));
    }
    let missing = peers
        .space
        .unknown
        .iter()
        .map(|(_, why)| why)
        .filter(|_| egress.is_some());
    if let Some(why) = missing.chain(&peers.unknown).next() {
        return Err(why.clone().into());
    }
    Ok(outcome(
        Outcome::holds(),
        "all clusters' pods are inside and encrypted".to_owned(),
    ))
}
