//! Pods must keep their address on the way to other clusters: what is masqueraded in native routing, and what is not.

use std::collections::{BTreeMap, BTreeSet};

use super::super::setting::{evidence, joined, refused};
use super::pod_space::{LeftOut, PodSpace};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::facts::provenance::{Reason, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::cilium::Settings;
use crate::profile::cilium::values::{Family, RoutingMode};
use crate::report::{Evidence, ONE_CLUSTER, Severity};

pub(in crate::checks::clustermesh) static CHECKS: &[&Check] = &[
    &NATIVE_ROUTING_CIDR,
    &IP_MASQ_AGENT,
    &NATIVE_ROUTING_CIDR_TOO_WIDE,
    &CLOUD_NATIVE_RANGE,
];

declare_check! {
    /// ## What it checks
    /// In native routing with masquerading, the native routing CIDR of every cluster covers the pod ranges of all clusters.
    ///
    /// ## Why it matters
    /// Packets to pods outside of it get the node's address. They still arrive, but as coming from a node: policies do not match,
    /// encryption and visibility are lost.
    ///
    /// ## How it is determined
    /// Keys `ipv4-native-routing-cidr` and `ipv6-native-routing-cidr` (one prefix each), `enable-ipv4-masquerade` and `enable-ipv6-masquerade`, against
    /// the pod ranges of all clusters. A pool of which nothing outside is handed out yet is a warning, as is everything where only some interfaces
    /// or pools are masqueraded. What the chart derives from the own pool, and what GKE sets, covers the own cluster only.
    ///
    /// ## How to fix
    /// Widen the prefix to one that holds all clusters' pods (chart values `ipv4NativeRoutingCIDR`, `ipv6NativeRoutingCIDR`), turn masquerading off
    /// where the network does without it, or list the ranges for ip-masq-agent. Agents restart.
    ///
    /// ## References
    /// Cilium documentation, "Setting up Cluster Mesh" and "Masquerading"; `bpf/lib/nat.h`; cilium/cilium issues 24000 and 33822.
    pub static NATIVE_ROUTING_CIDR = {
        code: "CM210",
        slug: "native-routing-cidr",
        title: "Native routing CIDR does not cover all clusters' pods",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "pods reach the other cluster as their node: policy, encryption and visibility break",
        rules: ["clustermesh ADDR-10"],
        run: Between(native_routing_cidr),
    };
}

/// The destinations that a cluster does not masquerade.
struct Exempt {
    blocks: Vec<Cidr>,
    /// What they are, in words.
    what: String,
    evidence: Vec<Evidence>,
    severity: Severity,
    /// Own pods outside are a fault too.
    own_pods: bool,
}

fn native_routing_cidr(audit: &Audit<'_>) -> Vec<Outcome> {
    let exempt = |cluster: &Cluster<'_>, family: Family| {
        let settings = cluster.cilium()?;
        masquerades_natively(settings, family)?;
        if settings.flag("enable-ip-masq-agent")?.value {
            return Err(NoVerdict::does_not_apply("ip-masq-agent decides: see CM211"));
        }
        let cidr = settings.native_routing_cidr(family)?;
        if cidr.value.is_none() && has_vpc_range(settings)? {
            return Err(NoVerdict::does_not_apply("the VPC range decides: see CM213"));
        }
        let partly = !settings.value("egress-masquerade-interfaces")?.value.is_empty() || skips_pools(settings);
        Ok(Exempt {
            what: match cidr.value {
                Some(cidr) => format!("{family} native routing CIDR {cidr}"),
                None => format!("no {family} native routing CIDR"),
            },
            blocks: cidr.value.into_iter().collect(),
            evidence: evidence(
                cluster,
                settings,
                &[family.native_routing_key(), family.masquerade_key()],
            ),
            severity: if partly { Severity::Warn } else { Severity::Fail },
            own_pods: true,
        })
    };
    judge(
        audit,
        exempt,
        "a native routing CIDR around the pod ranges of all clusters",
        "widen ipv4NativeRoutingCIDR / ipv6NativeRoutingCIDR to all clusters' pods, turn masquerading off, or use ip-masq-agent; agents restart",
    )
}

/// Native routing with masquerading of this family, or why it is something else.
fn masquerades_natively(settings: &Settings<'_>, family: Family) -> Result<(), NoVerdict> {
    if !settings.families()?.value.has(family) {
        return Err(NoVerdict::does_not_apply(format!("{family} is off")));
    }
    if settings.routing_mode()?.value == RoutingMode::Tunnel {
        return Err(NoVerdict::does_not_apply(
            "traffic to other clusters' pods is tunnelled, not masqueraded",
        ));
    }
    if !settings.masquerades(family)?.value {
        return Err(NoVerdict::does_not_apply(format!("{family} masquerading is off")));
    }
    Ok(())
}

/// The agent takes the primary range of the VPC where no native routing CIDR is set.
fn has_vpc_range(settings: &Settings<'_>) -> Result<bool, Unknown> {
    Ok(["eni", "alibabacloud"].contains(&settings.value("ipam")?.value.as_str()))
}

/// Whether pods of some pool are not masqueraded.
fn skips_pools(settings: &Settings<'_>) -> bool {
    let pools = settings.cilium.pod_ip_pools.ok().into_iter().flatten();
    pools.into_iter().any(|pool| pool.skip_masquerade)
}

/// Judges every cluster's exemptions against the pods of all clusters, for each family.
fn judge(
    audit: &Audit<'_>,
    exempt: impl Fn(&Cluster<'_>, Family) -> Result<Exempt, NoVerdict>,
    expected: &str,
    remedy: &str,
) -> Vec<Outcome> {
    let spaces = Family::ALL.map(|family| PodSpace::of(audit, family));
    let mut answers: [BTreeMap<Vec<Cidr>, LeftOut>; 2] = Default::default();
    let mut outcomes = Vec::new();
    for cluster in audit.clusters {
        let mut reasons = Vec::new();
        let mut judged = false;
        for (index, family) in Family::ALL.into_iter().enumerate() {
            let exempt = match exempt(cluster, family) {
                Ok(exempt) => exempt,
                Err(why) => {
                    reasons.push(why);
                    continue;
                }
            };
            judged = true;
            let answer = answers[index].entry(exempt.blocks.clone());
            let left_out = answer.or_insert_with(|| spaces[index].left_out_by(&exempt.blocks));
            let outcome = compare(audit, cluster, &exempt, left_out, &spaces[index]);
            outcomes.push(outcome.expected(expected).evidence_all(exempt.evidence).remedy(remedy));
        }
        // One reason is enough where no family is concerned; a missing fact is told in any case.
        reasons.sort_by_key(|why| matches!(why, NoVerdict::DoesNotApply(_)));
        if let Some(why) = reasons.into_iter().next()
            && (!judged || matches!(why, NoVerdict::Missing(_)))
        {
            outcomes.push(Outcome::none(why).about([cluster.id]));
        }
    }
    joined(outcomes)
}

fn compare(audit: &Audit<'_>, cluster: &Cluster<'_>, exempt: &Exempt, left_out: &LeftOut, space: &PodSpace) -> Outcome {
    let counts = |id: &usize| exempt.own_pods || *id != cluster.id;
    let present: Vec<usize> = left_out.present.iter().copied().filter(counts).collect();
    let future: Vec<usize> = left_out.future.iter().copied().filter(counts).collect();
    let examples = left_out.examples.iter().filter(|(_, id)| counts(id));
    let examples = examples
        .map(|(cidr, id)| (audit.cluster(*id).name(), *cidr))
        .collect::<Vec<_>>();
    let shown = examples
        .iter()
        .map(|(_, cidr)| cidr.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let (outcome, clusters) = if !present.is_empty() {
        let outcome = Outcome::broken_as(exempt.severity);
        let names = audit.names(&present);
        (
            outcome.found(format!("{} leaves out pods of {names}, as {shown}", exempt.what)),
            present,
        )
    } else if !future.is_empty() {
        let outcome = Outcome::broken_as(Severity::Warn);
        let names = audit.names(&future);
        (
            outcome.found(format!(
                "{} leaves out pools of {names}, as {shown}; nothing of that is handed out yet",
                exempt.what
            )),
            future,
        )
    } else if let Some((id, why)) = space.unknown.iter().find(|(id, _)| counts(id)) {
        let detail = format!(
            "pod ranges of {} are not known: {}",
            audit.cluster(*id).name(),
            why.detail
        );
        return Outcome::none(Unknown::new(why.reason, detail)).about([cluster.id]);
    } else {
        (Outcome::holds().found(exempt.what.clone()), Vec::new())
    };
    let outcome = outcome
        .evidence_all(examples.iter().map(|(name, cidr)| {
            let source = Source::read("pod ranges", "");
            Evidence::new(*name, cidr, &source)
        }))
        .about([cluster.id]);
    let others: Vec<usize> = clusters.into_iter().filter(|id| *id != cluster.id).collect();
    // Without pairs the outcome counts for every pair of the cluster.
    let all = others.is_empty() || others.len() + 1 == audit.clusters.len();
    if all {
        outcome
    } else {
        outcome.across([vec![cluster.id], others])
    }
}

declare_check! {
    /// ## What it checks
    /// With ip-masq-agent in native routing, what it exempts from masquerading covers the pod ranges of all clusters.
    ///
    /// ## Why it matters
    /// Packets to pods outside of it get the node's address: they arrive as coming from a node, and policies do not match.
    ///
    /// ## How it is determined
    /// `nonMasqueradeCIDRs` of ConfigMap `ip-masq-agent`, plus the native routing CIDR where one is set. A missing or empty list is the built-in
    /// one: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 and the reserved test ranges. Without `enable-bpf-masquerade` the
    /// agent refuses to start.
    ///
    /// ## How to fix
    /// Add the other clusters' pod ranges to `nonMasqueradeCIDRs`; agents pick the change up by themselves.
    ///
    /// ## References
    /// Cilium documentation, "Masquerading"; `pkg/ipmasq/ipmasq.go`.
    pub static IP_MASQ_AGENT = {
        code: "CM211",
        slug: "ip-masq-agent",
        title: "ip-masq-agent masquerades traffic to other clusters' pods",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "pods reach the other cluster as their node: policy, encryption and visibility break",
        rules: ["clustermesh ADDR-11"],
        run: Set(ip_masq_agent),
    };
}

/// What is exempt where the ConfigMap lists nothing.
const BUILT_IN: [&str; 11] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
];

fn ip_masq_agent(audit: &Audit<'_>) -> Vec<Outcome> {
    let keys = ["enable-ip-masq-agent", "enable-bpf-masquerade"];
    let mut outcomes = refused(audit, &keys, "ip-masq-agent with enable-bpf-masquerade");
    if audit.clusters.len() < 2 {
        outcomes.push(Outcome::does_not_apply(ONE_CLUSTER).about(audit.everyone()));
        return outcomes;
    }
    let exempt = |cluster: &Cluster<'_>, family: Family| {
        let settings = cluster.cilium()?;
        masquerades_natively(settings, family)?;
        if !settings.flag("enable-ip-masq-agent")?.value {
            return Err(NoVerdict::does_not_apply("ip-masq-agent is off"));
        }
        let (mut blocks, source) = match settings.cilium.ip_masq_agent.known_value() {
            Ok(known) => (known.value.non_masquerade_cidrs.clone(), known.source.clone()),
            Err(unknown) if unknown.reason == Reason::NotFound => {
                let object = format!("ConfigMap {}/ip-masq-agent", settings.cilium.namespace);
                let source = Source::default_of(object, "nonMasqueradeCIDRs", settings.versions.to_string());
                (Vec::new(), source)
            }
            Err(unknown) => return Err(unknown.into()),
        };
        let built_in = blocks.is_empty();
        if built_in {
            blocks = BUILT_IN.iter().filter_map(|text| text.parse().ok()).collect();
        }
        blocks.extend(settings.native_routing_cidr(family)?.value);
        blocks.retain(|block| family.has(*block));
        let what = if built_in {
            "ip-masq-agent's built-in list"
        } else {
            "ip-masq-agent's list"
        };
        let mut shown = evidence(
            cluster,
            settings,
            &["enable-ip-masq-agent", family.native_routing_key()],
        );
        let list: Vec<String> = blocks.iter().map(ToString::to_string).collect();
        shown.push(Evidence::new(cluster.name(), &list.join(" "), &source));
        Ok(Exempt {
            blocks,
            what: format!("{what} ({family})"),
            evidence: shown,
            severity: Severity::Fail,
            own_pods: true,
        })
    };
    outcomes.extend(judge(
        audit,
        exempt,
        "the pod ranges of all clusters among what is not masqueraded",
        "add the other clusters' pod ranges to nonMasqueradeCIDRs in ConfigMap ip-masq-agent; nothing restarts",
    ));
    outcomes
}

declare_check! {
    /// ## What it checks
    /// The IPv4 native routing CIDR is not shorter than a /8.
    ///
    /// ## Why it matters
    /// What lies inside is never masqueraded, also where it would have to be: networks behind a VPN, NodePorts of other clusters, the
    /// internet. Answers then never find their way back.
    ///
    /// ## How it is determined
    /// Key `ipv4-native-routing-cidr`. 10.0.0.0/8, which the vendor's guide proposes, is no finding, although it often holds the nodes too.
    ///
    /// ## How to fix
    /// Narrow it to a prefix around the pods of all clusters (chart value `ipv4NativeRoutingCIDR`), or list the ranges for ip-masq-agent.
    /// Agents restart.
    ///
    /// ## References
    /// cilium/cilium issue 25095; Cilium documentation, "Masquerading".
    pub static NATIVE_ROUTING_CIDR_TOO_WIDE = {
        code: "CM212",
        slug: "native-routing-cidr-too-wide",
        title: "Native routing CIDR swallows destinations that need masquerading",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "packets leave with a pod's address for networks that cannot answer to it",
        rules: ["clustermesh ADDR-12"],
        run: Cluster(native_routing_cidr_too_wide),
    };
}

fn native_routing_cidr_too_wide(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let settings = cluster.cilium()?;
    masquerades_natively(settings, Family::Ipv4)?;
    let Some(cidr) = settings.native_routing_cidr(Family::Ipv4)?.value else {
        return Err(NoVerdict::does_not_apply("no IPv4 native routing CIDR is set"));
    };
    let outcome = if cidr.prefix_len() < 8 {
        Outcome::broken()
    } else {
        Outcome::holds()
    };
    Ok(outcome
        .expected("a /8 or longer")
        .found(cidr.to_string())
        .evidence_all(evidence(cluster, settings, &[Family::Ipv4.native_routing_key()]))
        .remedy("narrow ipv4NativeRoutingCIDR to the pods of all clusters, or use ip-masq-agent; agents restart"))
}

declare_check! {
    /// ## What it checks
    /// A cluster on AWS ENIs or Alibaba Cloud without a native routing CIDR does not masquerade traffic to pods outside its own VPC.
    ///
    /// ## Why it matters
    /// There the agent takes the VPC's primary range for the native routing CIDR. Pods of a peer in another VPC lie outside, and traffic to
    /// them gets the node's address.
    ///
    /// ## How it is determined
    /// Keys `ipam`, `ipv4-native-routing-cidr` (absent) and `enable-ipv4-masquerade` (the chart turns it off for ENI from 1.18 on), and the
    /// first VPC range in the status of `CiliumNode` objects, against the other clusters' pods.
    ///
    /// ## How to fix
    /// Turn masquerading off, or set `ipv4NativeRoutingCIDR` around all clusters' pods. It must overlap a range of the VPC or the
    /// agent stops; agents 1.20.0 and 1.20.1 on ENI also crash where it matches only a secondary range.
    ///
    /// ## References
    /// Cilium documentation, "Masquerading"; `pkg/ipam/eni.go`, `pkg/ipam/crd.go`; upgrade notes of 1.18, change log of 1.20.2.
    pub static CLOUD_NATIVE_RANGE = {
        code: "CM213",
        slug: "cloud-native-range",
        title: "Traffic to pods outside the own VPC is masqueraded",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "pods reach the other cluster as their node: policy, encryption and visibility break",
        rules: ["clustermesh ADDR-13"],
        run: Between(cloud_native_range),
    };
}

fn cloud_native_range(audit: &Audit<'_>) -> Vec<Outcome> {
    let exempt = |cluster: &Cluster<'_>, family: Family| {
        let settings = cluster.cilium()?;
        if !has_vpc_range(settings)? || family == Family::Ipv6 {
            return Err(NoVerdict::does_not_apply("addresses are not a cloud's"));
        }
        masquerades_natively(settings, family)?;
        if settings.native_routing_cidr(family)?.value.is_some() || settings.flag("enable-ip-masq-agent")?.value {
            return Err(NoVerdict::does_not_apply(
                "a native routing CIDR or ip-masq-agent decides: see CM210 and CM211",
            ));
        }
        let nodes = settings.cilium.nodes.get()?;
        let primary: BTreeSet<Cidr> = nodes
            .iter()
            .filter_map(|node| node.vpc_cidrs.first().copied())
            .collect();
        if primary.is_empty() {
            return Err(NoVerdict::missing(
                Reason::NotFound,
                format!("no CiliumNode of {} names its VPC's ranges", cluster.name()),
            ));
        }
        let ranges: Vec<String> = primary.iter().map(ToString::to_string).collect();
        let mut shown = evidence(
            cluster,
            settings,
            &["ipam", family.native_routing_key(), family.masquerade_key()],
        );
        shown.push(Evidence::new(
            cluster.name(),
            &ranges.join(" "),
            &Source::read("CiliumNodes", "status.eni.enis[].vpc"),
        ));
        Ok(Exempt {
            blocks: primary.into_iter().collect(),
            what: format!("VPC range {}", ranges.join(", ")),
            evidence: shown,
            severity: Severity::Fail,
            own_pods: false,
        })
    };
    judge(
        audit,
        exempt,
        "all other clusters' pods inside the VPC's primary range, or no masquerading",
        "turn enableIPv4Masquerade off, or set ipv4NativeRoutingCIDR around all clusters' pods (it must overlap the VPC); agents restart",
    )
}
