//! Traffic between clusters is encrypted on both sides in the same way, or on neither.

pub mod ipsec;
pub mod strict;

use std::collections::BTreeMap;

use super::setting::{each, expect_equal, is_missing, joined};
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::provenance::Source;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::cilium::values::Encryption;
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &WIREGUARD_ON_ONE_SIDE,
    &ENCRYPTION_TYPE,
    &WIREGUARD_KEY_DUPLICATE,
    &NODE_ENCRYPTION,
];

declare_check! {
    /// ## What it checks
    /// WireGuard is on in all clusters or in none, and every node has published its key where it is on.
    ///
    /// ## Why it matters
    /// Mixed operation is not supported. Packets to nodes without a key leave unencrypted although the cluster promises encryption,
    /// and what a node with WireGuard encrypts another one cannot read.
    ///
    /// ## How it is determined
    /// Key `enable-wireguard`, on every node, and annotation `network.cilium.io/wg-pub-key` of every `CiliumNode`. Where the annotations do not match the
    /// key, agents have not been restarted since it was changed: a warning.
    ///
    /// ## How to fix
    /// Switch WireGuard on everywhere before connecting (chart values `encryption.enabled`, `encryption.type`), or off everywhere. Agents
    /// restart, and the MTU of pods shrinks by 80 to 95 bytes.
    ///
    /// ## References
    /// Cilium documentation, "WireGuard Transparent Encryption", cluster mesh.
    pub static WIREGUARD_ON_ONE_SIDE = {
        code: "CM401",
        slug: "wireguard-on-one-side",
        title: "WireGuard is on in some clusters only",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "traffic between the clusters is unencrypted or lost",
        rules: ["clustermesh ENC-1"],
        run: Set(wireguard_on_one_side),
    };
}

fn wireguard_on_one_side(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut outcomes = expect_equal(
        audit,
        |settings| {
            let encryption = settings.encryption()?;
            let on = encryption.value == Encryption::Wireguard;
            Ok(encryption.map(|_| if on { "WireGuard" } else { "no WireGuard" }))
        },
        |outcome| {
            outcome
                .expected("WireGuard in all clusters or in none")
                .remedy("switch it on everywhere (encryption.enabled, encryption.type=wireguard) or off everywhere; agents restart, pod MTU changes")
        },
    );
    let keys = each(audit, keys_match).into_iter();
    outcomes.extend(keys.filter(|outcome| outcome.is_broken() || is_missing(outcome)));
    joined(outcomes)
}

/// Warns where nodes' keys show another state than the configuration.
fn keys_match(cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    let on = settings.flag("enable-wireguard")?;
    let nodes = match settings.cilium.nodes.get() {
        Err(_) if !on.value => return Err(NoVerdict::does_not_apply("WireGuard is off")),
        nodes => nodes?,
    };
    let odd = nodes
        .iter()
        .filter(|node| node.wireguard_public_key.is_empty() == on.value);
    let odd: Vec<String> = odd.map(|node| node.name.clone()).collect();
    if odd.is_empty() {
        return Ok(Outcome::holds());
    }
    let (state, keys) = if on.value { ("on", "no key") } else { ("off", "a key") };
    let source = Source::read(
        format!("CiliumNode {}", odd[0]),
        "metadata.annotations network.cilium.io/wg-pub-key",
    );
    Ok(Outcome::broken_as(Severity::Warn)
        .expected("a published key on every node exactly where WireGuard is on")
        .found(format!("WireGuard is {state}, but {keys} on {}", some_of(&odd)))
        .evidence(Evidence::of(cluster.name(), &on))
        .evidence(Evidence::new(cluster.name(), &keys, &source))
        .nodes(odd)
        .remedy("restart the Cilium agents on these nodes so that they load the configuration"))
}

declare_check! {
    /// ## What it checks
    /// Clusters without WireGuard use one kind of encryption: none, IPsec or ztunnel.
    ///
    /// ## Why it matters
    /// A node that does not expect encrypted packets drops them, or sends its own in the clear.
    ///
    /// ## How it is determined
    /// Keys `enable-ipsec` and `enable-ztunnel`, on every node. Clusters with WireGuard are compared by CM401.
    ///
    /// ## How to fix
    /// Use one kind everywhere: chart values `encryption.enabled` and `encryption.type`. Agents restart, connections may break.
    ///
    /// ## References
    /// Cilium documentation, "Transparent Encryption".
    pub static ENCRYPTION_TYPE = {
        code: "CM402",
        slug: "encryption-type",
        title: "Clusters encrypt differently",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "traffic between the clusters is unencrypted or lost",
        rules: ["clustermesh ENC-2"],
        run: Between(encryption_type),
    };
}

fn encryption_type(audit: &Audit<'_>) -> Vec<Outcome> {
    expect_equal(
        audit,
        |settings| {
            let encryption = settings.encryption()?;
            if encryption.value == Encryption::Wireguard {
                return Err(NoVerdict::does_not_apply("WireGuard: see CM401"));
            }
            Ok(encryption)
        },
        |outcome| {
            outcome.expected("one kind of encryption in all clusters").remedy(
                "use one kind everywhere (encryption.enabled, encryption.type); agents restart, connections may break",
            )
        },
    )
}

declare_check! {
    /// ## What it checks
    /// No two nodes of the mesh have the same WireGuard key.
    ///
    /// ## Why it matters
    /// An agent refuses a second peer with a key it knows already: traffic to that node is lost. Machines cloned from one image with
    /// Cilium's state on it have one key.
    ///
    /// ## How it is determined
    /// Annotation `network.cilium.io/wg-pub-key` of all `CiliumNode` objects of the clusters with WireGuard.
    ///
    /// ## How to fix
    /// Remove the private key on the clone (`/var/run/cilium/state/cilium_wg0.key`) and restart its agent, which makes a new one.
    ///
    /// ## References
    /// Cilium, `pkg/wireguard/agent/agent.go`.
    pub static WIREGUARD_KEY_DUPLICATE = {
        code: "CM403",
        slug: "wireguard-key-duplicate",
        title: "Nodes share a WireGuard key",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "agents refuse the second node, and traffic to it is lost",
        rules: ["clustermesh ENC-3"],
        run: Set(wireguard_key_duplicate),
    };
}

fn wireguard_key_duplicate(audit: &Audit<'_>) -> Vec<Outcome> {
    let mut owners: BTreeMap<&str, Vec<(ClusterId, &str)>> = BTreeMap::new();
    let judged = each(audit, |cluster| {
        let settings = cluster.cilium()?;
        if !settings.flag("enable-wireguard")?.value {
            return Err(NoVerdict::does_not_apply("WireGuard is off"));
        }
        settings.cilium.nodes.get()?;
        Ok(Outcome::holds())
    });
    let (with, mut outcomes): (Vec<_>, Vec<_>) = judged
        .into_iter()
        .partition(|outcome| outcome.state == Outcome::holds().state);
    let with: Vec<ClusterId> = with.into_iter().flat_map(|outcome| outcome.clusters).collect();
    for id in &with {
        let nodes = audit
            .cluster(*id)
            .facts
            .cilium
            .ok()
            .and_then(|cilium| cilium.nodes.ok());
        for node in nodes
            .into_iter()
            .flatten()
            .filter(|node| !node.wireguard_public_key.is_empty())
        {
            owners
                .entry(&node.wireguard_public_key)
                .or_default()
                .push((*id, &node.name));
        }
    }
    let count = owners.len();
    let duplicates: Vec<Outcome> = owners
        .into_iter()
        .filter(|(_, nodes)| nodes.len() > 1)
        .map(|(key, nodes)| duplicate_key(audit, key, &nodes))
        .collect();
    if duplicates.is_empty() && !with.is_empty() {
        outcomes.push(Outcome::holds().found(format!("{count} different keys")).about(with));
    }
    outcomes.extend(duplicates);
    outcomes
}

fn duplicate_key(audit: &Audit<'_>, key: &str, nodes: &[(ClusterId, &str)]) -> Outcome {
    let mut clusters: Vec<ClusterId> = nodes.iter().map(|(id, _)| *id).collect();
    clusters.dedup();
    let names: Vec<String> = nodes
        .iter()
        .map(|(id, node)| format!("{node} ({})", audit.cluster(*id).name()))
        .collect();
    let evidence = nodes.iter().map(|(id, node)| {
        let source = Source::read(
            format!("CiliumNode {node}"),
            "metadata.annotations network.cilium.io/wg-pub-key",
        );
        Evidence::new(audit.cluster(*id).name(), &key, &source)
    });
    let outcome = Outcome::broken()
        .expected("a key of its own for every node of the mesh")
        .found(format!("one key on {}", some_of(&names)))
        .evidence_all(evidence)
        .remedy("remove the private key on the cloned node and restart its agent, which makes a new one")
        .nodes(nodes.iter().map(|(_, node)| *node))
        .about(clusters.clone());
    if clusters.len() > 1 {
        outcome.within(clusters)
    } else {
        outcome
    }
}

declare_check! {
    /// ## What it checks
    /// Clusters with WireGuard encrypt traffic between nodes alike: all or none, and with the same nodes left out.
    ///
    /// ## Why it matters
    /// A node that encrypts its own traffic talks to nodes that do not. Control-plane nodes opt out by default.
    ///
    /// ## How it is determined
    /// Keys `encrypt-node` and `node-encryption-opt-out-labels`, on every node.
    ///
    /// ## How to fix
    /// Align chart value `encryption.nodeEncryption`; agents restart.
    ///
    /// ## References
    /// Cilium documentation, "WireGuard Transparent Encryption", node-to-node encryption.
    pub static NODE_ENCRYPTION = {
        code: "CM407",
        slug: "node-encryption",
        title: "Node-to-node encryption differs",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "traffic between nodes is encrypted one way only",
        rules: ["clustermesh ENC-7"],
        run: Between(node_encryption),
    };
}

fn node_encryption(audit: &Audit<'_>) -> Vec<Outcome> {
    expect_equal(
        audit,
        |settings| {
            if settings.encryption()?.value != Encryption::Wireguard {
                return Err(NoVerdict::does_not_apply("WireGuard is off"));
            }
            let nodes = settings.flag("encrypt-node")?;
            let labels = settings.value("node-encryption-opt-out-labels")?.value;
            let described = match (nodes.value, labels.is_empty()) {
                (false, _) => "pods only".to_owned(),
                (true, true) => "all nodes".to_owned(),
                (true, false) => format!("all nodes but those labelled {labels}"),
            };
            Ok(nodes.map(|_| described))
        },
        |outcome| {
            outcome
                .expected("the same nodes encrypted in all clusters")
                .remedy("align encryption.nodeEncryption; agents restart")
        },
    )
}

#[cfg(test)]
mod tests;
