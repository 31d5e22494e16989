//! Features that do not go with a mesh, or that make clusters behave differently.

use super::super::setting::{evidence, expect_equal, not_loaded};
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::cilium::Settings;
use crate::profile::cilium::control_plane::kvstoremesh;
use crate::profile::cilium::values::{IdentityMode, KubeProxyReplacement, RoutingMode};
use crate::profile::cilium::version::Version;
use crate::report::Severity;

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] = &[
    &CONTROL_PLANE_BEHIND_ENCRYPTION,
    &INCOMPATIBLE_FEATURES,
    &POLICY_SETTINGS,
];

declare_check! {
    /// ## What it checks
    /// Agents can reach the peers' control planes although traffic of nodes is encrypted or filtered.
    ///
    /// ## Why it matters
    /// With host policies, tunnel, kube-proxy replacement and WireGuard together, or with node-to-node WireGuard forced onto control-plane nodes too,
    /// agents cannot connect to a remote clustermesh-apiserver: what they need to encrypt the connection is what they would learn by it.
    /// With KVStoreMesh they dial their own cluster only, which takes the edge off.
    ///
    /// ## How it is determined
    /// Keys `enable-host-firewall`, `identity-allocation-mode`, `routing-mode`, `kube-proxy-replacement`, `enable-wireguard`, `encrypt-node` and
    /// `node-encryption-opt-out-labels` (absent: control-plane nodes opt out; empty: nobody does), and container `kvstoremesh` in Deployment
    /// `clustermesh-apiserver`. Without that Deployment, what the version's chart does by default.
    ///
    /// ## How to fix
    /// Keep KVStoreMesh on (default from 1.16), let control-plane nodes opt out of node encryption, or do without one of the features.
    ///
    /// ## References
    /// Cilium documentation, "Host Policies", known issues; cilium/cilium issues 31209 and 29872.
    pub static CONTROL_PLANE_BEHIND_ENCRYPTION = {
        code: "CM309",
        slug: "control-plane-behind-encryption",
        title: "Agents cannot reach remote control planes",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the connection is encrypted or dropped before peers' keys are known",
        rules: ["clustermesh DP-9", "clustermesh LAB-9"],
        run: Cluster(control_plane_behind_encryption),
    };
}

fn control_plane_behind_encryption(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const KEYS: [&str; 6] = [
        "enable-host-firewall",
        "enable-wireguard",
        "encrypt-node",
        "node-encryption-opt-out-labels",
        "routing-mode",
        "kube-proxy-replacement",
    ];
    let settings = cluster.cilium()?;
    if !settings.flag("enable-wireguard")?.value {
        return Err(NoVerdict::does_not_apply("WireGuard is off"));
    }
    let filtered = settings.flag("enable-host-firewall")?.value
        && settings.identity_mode()?.value == IdentityMode::Crd
        && settings.routing_mode()?.value == RoutingMode::Tunnel
        && settings.kube_proxy_replacement()?.value == KubeProxyReplacement::On;
    let forced =
        settings.flag("encrypt-node")?.value && settings.value("node-encryption-opt-out-labels")?.value.is_empty();
    let reason = match (filtered, forced) {
        (false, false) => return Ok(Outcome::holds().found("WireGuard without either of the two combinations")),
        (true, _) => "host policies with tunnel, kube-proxy replacement and WireGuard",
        (false, true) => "node-to-node WireGuard on all nodes, control-plane nodes too",
    };
    let cached = match kvstoremesh(cluster)? {
        Some(runs) => runs,
        None => settings.versions.at_least(Version(1, 16, 0))?,
    };
    let (outcome, cache) = if cached {
        (Outcome::broken_as(Severity::Warn), "with KVStoreMesh")
    } else {
        (Outcome::broken(), "without KVStoreMesh")
    };
    Ok(outcome
        .expected("KVStoreMesh, and control-plane nodes outside node encryption")
        .found(format!("{reason}, {cache}"))
        .evidence_all(evidence(cluster, settings, &KEYS))
        .remedy("keep KVStoreMesh on and control-plane nodes opted out (encryption.nodeEncryption), or drop one feature; agents restart"))
}

declare_check! {
    /// ## What it checks
    /// No feature is on that does not work across clusters: ztunnel, mutual authentication, egress gateway.
    ///
    /// ## Why it matters
    /// With ztunnel the agent refuses to start in a cluster that has an id. Mutual authentication does not reach over clusters: traffic under
    /// a policy that requires it is dropped. An egress gateway must be in the pod's own cluster.
    ///
    /// ## How it is determined
    /// Keys `enable-ztunnel`, `mesh-auth-mutual-enabled` (not `mesh-auth-enabled`, which used to be on everywhere) and `enable-egress-gateway`, and
    /// policies with `authentication.mode: required`.
    ///
    /// ## How to fix
    /// Turn ztunnel and mutual authentication off before joining, or take traffic between clusters out of the policies that require it.
    /// Keep egress gateways in every cluster that needs one.
    ///
    /// ## References
    /// Cilium documentation, "Mutual Authentication", "Ztunnel Transparent Encryption", "Egress Gateway", limitations.
    pub static INCOMPATIBLE_FEATURES = {
        code: "CM310",
        slug: "incompatible-features",
        title: "Features are on that do not work across clusters",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the agent does not start, or traffic between clusters is dropped",
        rules: ["clustermesh DP-10"],
        run: Cluster(incompatible_features),
    };
}

fn incompatible_features(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const KEYS: [&str; 3] = ["enable-ztunnel", "mesh-auth-mutual-enabled", "enable-egress-gateway"];
    let settings = cluster.cilium()?;
    let mut fails = Vec::new();
    let mut warns = Vec::new();
    if settings.shown("enable-ztunnel")?.value.eq_ignore_ascii_case("true") {
        fails.push(format!("ztunnel{}", not_loaded(cluster, settings, &["enable-ztunnel"])));
    }
    if settings.flag("mesh-auth-mutual-enabled")?.value {
        let required = &settings.cilium.policies.get()?.requiring_authentication;
        if required.is_empty() {
            warns.push("mutual authentication, which no policy requires".to_owned());
        } else {
            fails.push(format!("mutual authentication, required by {}", some_of(required)));
        }
    }
    if settings.flag("enable-egress-gateway")?.value {
        warns.push("egress gateway, which serves its own cluster's pods only".to_owned());
    }
    let outcome = match (fails.is_empty(), warns.is_empty()) {
        (false, _) => Outcome::broken(),
        (true, false) => Outcome::broken_as(Severity::Warn),
        (true, true) => Outcome::holds(),
    };
    fails.extend(warns);
    let found = if fails.is_empty() {
        "none of them".to_owned()
    } else {
        fails.join("; ")
    };
    Ok(outcome
        .expected("no ztunnel, no mutual authentication, no egress gateway across clusters")
        .found(found)
        .evidence_all(evidence(cluster, settings, &KEYS))
        .remedy("turn ztunnel and mutual authentication off (agents restart); keep an egress gateway in each cluster that needs one"))
}

declare_check! {
    /// ## What it checks
    /// Clusters enforce policies in the same mode and make identities from the same labels.
    ///
    /// ## Why it matters
    /// A selector that names a label which one cluster leaves out of identities never matches that cluster's pods; without default
    /// enforcement the same policies mean something else.
    ///
    /// ## How it is determined
    /// Keys `enable-policy`, `labels` and `label-prefix-file`. For information only: which policies look at other clusters cannot be read off.
    ///
    /// ## How to fix
    /// Align chart values `policyEnforcementMode` and `labels`; changing labels gives every pod a new identity.
    ///
    /// ## References
    /// Cilium documentation, "Limiting Identity-Relevant Labels", "Policy Enforcement Modes".
    pub static POLICY_SETTINGS = {
        code: "CM311",
        slug: "policy-settings",
        title: "Policy enforcement or identity labels differ",
        severity: Info,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "one policy selects differently on either side",
        rules: ["clustermesh DP-11"],
        run: Between(policy_settings),
    };
}

fn policy_settings(audit: &Audit<'_>) -> Vec<Outcome> {
    let read = |settings: &Settings<'_>| {
        let mode = settings.value("enable-policy")?;
        let mut filter = settings.value("labels")?.value;
        let file = settings.value("label-prefix-file")?.value;
        if !file.is_empty() {
            filter = format!("{filter} (file {file})");
        }
        let filter = if filter.is_empty() {
            "the default labels".to_owned()
        } else {
            format!("labels {filter}")
        };
        Ok(mode.map(|mode| format!("enforcement {mode} with {filter}")))
    };
    expect_equal(audit, read, |outcome| {
        outcome
            .expected("one enforcement mode and one set of identity labels")
            .remedy("align policyEnforcementMode and labels; changing labels gives every pod a new identity")
    })
}
