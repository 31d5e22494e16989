//! The pages of the checks in [`super`].

use super::{
    hand_made, intermediate, leaves_chain, own_control_plane, peer_secrets, pinned_node, server_names, trust, users,
    validity,
};
use crate::check::{Check, declare_check};

pub(in super::super) static CHECKS: &[&Check] = &[
    &TRUST,
    &LEAVES_CHAIN,
    &INTERMEDIATE,
    &VALIDITY,
    &SERVER_NAMES,
    &USERS,
    &PEER_SECRETS,
    &PINNED_NODE,
    &OWN_CONTROL_PLANE,
    &HAND_MADE,
];

declare_check! {
    /// ## What it checks
    /// The clusters have one CA, or each trusts the other's by its bundle, or the peer's entry brings the CA along.
    ///
    /// ## Why it matters
    /// KVStoreMesh and agents authenticate the peer's etcd, and it authenticates them. Without common trust nothing
    /// connects.
    ///
    /// ## How it is determined
    /// Fingerprints of `cilium-ca`, of the bundle `cilium-root-ca.crt`, and the configured peers. Key ids are not
    /// enough: two CAs without that extension would compare equal.
    /// Needs `--read-secrets`; only fingerprints, names and dates are kept.
    ///
    /// ## How to fix
    /// Share one CA before the mesh is enabled, or put both CAs into `tls.caBundle` on both sides.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup; cilium/cilium issues 32076, 22872.
    pub static TRUST = {
        code: "CM611",
        slug: "ca-trust",
        title: "The clusters do not trust each other's CA",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the TLS handshake between control planes fails",
        rules: ["clustermesh CP-8"],
        run: Between(trust),
    };
}

declare_check! {
    /// ## What it checks
    /// The control plane's certificates were signed by the CA now in use.
    ///
    /// ## Why it matters
    /// Copying a CA does not issue certificates again: the old ones go on being presented.
    ///
    /// ## How it is determined
    /// Authority key ids of the certificates against subject key ids of `cilium-ca` and the bundle.
    /// Needs `--read-secrets`; only fingerprints, names and dates are kept.
    ///
    /// ## How to fix
    /// Delete the certificate Secrets and run the chart or certgen again.
    ///
    /// ## References
    /// cilium/cilium issue 32076.
    pub static LEAVES_CHAIN = {
        code: "CM612",
        slug: "certificate-chain",
        title: "Certificates were signed by another CA",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "peers that trust the CA in use reject the control plane",
        rules: ["clustermesh CP-9"],
        run: Cluster(leaves_chain),
    };
}

declare_check! {
    /// ## What it checks
    /// The cluster's CA is a root, shared by all.
    ///
    /// ## Why it matters
    /// With one intermediate per cluster the CAs differ; the CLI compares the first certificate only.
    ///
    /// ## How it is determined
    /// Whether the CA in `cilium-ca` is signed by itself.
    /// Needs `--read-secrets`; only fingerprints, names and dates are kept.
    ///
    /// ## How to fix
    /// Bundle root and intermediates everywhere, or share one CA.
    ///
    /// ## References
    /// cilium/cilium issue 43099.
    pub static INTERMEDIATE = {
        code: "CM613",
        slug: "intermediate-ca",
        title: "The CA is an intermediate",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "connect refuses without an override, and bundles must hold the whole chain",
        rules: ["clustermesh CP-10"],
        run: Cluster(intermediate),
    };
}

declare_check! {
    /// ## What it checks
    /// All certificates of the mesh are valid, with margin.
    ///
    /// ## Why it matters
    /// Method helm never renews by itself: a mesh that works today stops on a date nobody watches.
    ///
    /// ## How it is determined
    /// Dates of the CA and the certificates against the moment of judgement: expired or not yet valid fails; less than
    /// 30 days or a tenth of the lifetime, whichever is less, warns.
    /// Needs `--read-secrets`; only fingerprints, names and dates are kept.
    ///
    /// ## How to fix
    /// Run the chart again, or let a CronJob or cert-manager renew them.
    ///
    /// ## References
    /// Cilium upgrade notes 1.20; chart values `tls.auto`.
    pub static VALIDITY = {
        code: "CM614",
        slug: "certificate-validity",
        title: "Certificates expire",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the mesh stops at that moment",
        rules: ["clustermesh CP-12"],
        run: Cluster(validity),
    };
}

declare_check! {
    /// ## What it checks
    /// The control plane's server certificate covers every name under which peers dial it.
    ///
    /// ## Why it matters
    /// A custom `clustermesh.config.domain` or address is not among the default names.
    ///
    /// ## How it is determined
    /// Names of the certificate against the endpoints in the peers' Secrets.
    /// Needs `--read-secrets`; only fingerprints, names and dates are kept.
    ///
    /// ## How to fix
    /// `clustermesh.apiserver.tls.auto.server.extraDnsNames`.
    ///
    /// ## References
    /// Cilium chart, clustermesh-apiserver helpers.
    pub static SERVER_NAMES = {
        code: "CM615",
        slug: "server-certificate-names",
        title: "The server certificate lacks a name that peers dial",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "peers reject the control plane",
        rules: ["clustermesh CP-11"],
        run: Set(server_names),
    };
}

declare_check! {
    /// ## What it checks
    /// Where a cluster presents a user of its own (auth mode cluster), every peer lists that user.
    ///
    /// ## Why it matters
    /// The fault is one-sided: the other direction works, as user `remote` always exists.
    ///
    /// ## How it is determined
    /// Common name of the certificate towards peers against the peers' ConfigMap `clustermesh-remote-users`.
    /// Needs `--read-secrets`; only fingerprints, names and dates are kept.
    ///
    /// ## How to fix
    /// Put both sides on mode migration first and list all peers.
    ///
    /// ## References
    /// Cilium upgrade notes 1.19; chart values `clustermesh.apiserver.tls.authMode`.
    pub static USERS = {
        code: "CM616",
        slug: "etcd-users",
        title: "A peer does not know this cluster's user",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the peer's etcd denies access, one way only",
        rules: ["clustermesh CP-13"],
        run: Between(users),
    };
}

declare_check! {
    /// ## What it checks
    /// Secrets `cilium-clustermesh` and, with KVStoreMesh, `cilium-kvstoremesh` exist once clusters are connected.
    ///
    /// ## Why it matters
    /// Without them nobody is dialled and every status is empty, not red.
    ///
    /// ## How it is determined
    /// Which of the two exist. Before the first connect their absence is only recorded.
    /// Needs `--read-secrets`; only fingerprints, names and dates are kept.
    ///
    /// ## How to fix
    /// Chart value `clustermesh.config.enabled=true`, or create them.
    ///
    /// ## References
    /// cilium/cilium issues 42330, 29632.
    pub static PEER_SECRETS = {
        code: "CM617",
        slug: "peer-secrets",
        title: "The Secrets that name the peers are missing",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "KVStoreMesh shows 0 remote clusters",
        rules: ["clustermesh CP-14"],
        run: Cluster(peer_secrets),
    };
}

declare_check! {
    /// ## What it checks
    /// The node whose address and NodePort a peer was given still exists and is ready.
    ///
    /// ## Why it matters
    /// The CLI stores one address, that of the first node listed.
    ///
    /// ## How it is determined
    /// Endpoints in the peers' Secrets against nodes of the cluster they name.
    /// Needs `--read-secrets`; only fingerprints, names and dates are kept.
    ///
    /// ## How to fix
    /// Give several endpoints, or use a load balancer.
    ///
    /// ## References
    /// cilium-cli `extractAccessInformation`; cilium/cilium issues 34441, 31957.
    pub static PINNED_NODE = {
        code: "CM618",
        slug: "pinned-node",
        title: "A peer is dialled at a node that is not there",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "that cluster loses its peer",
        rules: ["clustermesh CP-17"],
        run: Set(pinned_node),
    };
}

declare_check! {
    /// ## What it checks
    /// The endpoint configured for a peer is not the cluster's own control plane.
    ///
    /// ## Why it matters
    /// Default certificates carry the same names everywhere, so TLS does not notice.
    ///
    /// ## How it is determined
    /// Endpoints of configured peers against the cluster's own nodes with its NodePort and its own load balancer:
    /// address and port fail, the address alone warns.
    /// Needs `--read-secrets`; only fingerprints, names and dates are kept.
    ///
    /// ## How to fix
    /// Give the clusters addresses and ports of their own and connect again.
    ///
    /// ## References
    /// cilium/cilium issues 20375, 24692, 30297.
    pub static OWN_CONTROL_PLANE = {
        code: "CM619",
        slug: "own-control-plane",
        title: "A cluster dials its own control plane as a peer's",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "every status is green and nothing is exchanged",
        rules: ["clustermesh CP-19"],
        run: Set(own_control_plane),
    };
}

declare_check! {
    /// ## What it checks
    /// The certificates that the control plane mounts exist.
    ///
    /// ## Why it matters
    /// With `tls.auto.enabled=false` they have to be supplied.
    ///
    /// ## How it is determined
    /// The four Secrets of the control plane, each with `tls.crt`.
    /// Needs `--read-secrets`; only fingerprints, names and dates are kept.
    ///
    /// ## How to fix
    /// Issue the missing ones.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup.
    pub static HAND_MADE = {
        code: "CM620",
        slug: "control-plane-certificates",
        title: "Certificates of the control plane are missing",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the control plane does not start",
        rules: ["clustermesh CP-20"],
        run: Cluster(hand_made),
    };
}
