//! Globalnet's plan: the blocks given, the range they come from, and what the broker has noted down.

use std::collections::BTreeSet;

use super::ranges::{Open, conclude};
use crate::address::{AddressIndex, Claim};
use crate::addressing::PodRanges;
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::facts::provenance::{Fact, Known, Source, Unknown};
use crate::facts::submariner::RangeInfo;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::{BrokerCluster, Mesh, absent, declared_for, field, installed};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &GLOBAL_CIDR_FORM,
    &GLOBAL_CIDR_PLACE,
    &GLOBALNET_DECISION,
    &GLOBALNET_ROOM,
    &GLOBALNET_LEFT_OVERS,
    &RANGE_CONFIG_MAPS,
];

/// The Global CIDRs given to a cluster, as written; the rules do not apply where none is.
fn given(mesh: &Mesh<'_>, cluster: &Cluster<'_>) -> Result<Known<String>, NoVerdict> {
    if !mesh.globalnet(cluster)?.value {
        return Err(NoVerdict::does_not_apply("Globalnet is off"));
    }
    if let Some(config) = installed(cluster)? {
        return Ok(Known::new(
            config.value.global_cidr.clone(),
            field(config, "spec.globalCIDR"),
        ));
    }
    let planned = mesh.cluster_plan(cluster).and_then(|plan| plan.globalnet_cidr.clone());
    planned
        .map(|cidr| Known::new(cidr, declared_for(cluster, "globalnetCidr")))
        .ok_or_else(|| NoVerdict::does_not_apply("subctl takes a block from the range"))
}

declare_check! {
    /// ## What it checks
    /// A Global CIDR that is given is an IPv4 block of /30 or more, and none of the special ones: unspecified, loopback, link-local, multicast.
    ///
    /// ## Why it matters
    /// `subctl join` refuses these (but for the size). A pool of less than four addresses can serve nobody: eight are taken for egress by default, one for
    /// each gateway, and one for each exported Service or pod behind a headless one. With Globalnet pods reach other clusters through exported
    /// Services only, never by pod addresses, and latency cannot be measured with `subctl benchmark`.
    ///
    /// ## How it is determined
    /// `--globalnet-cidr` of the plan, or `spec.globalCIDR` of a member.
    ///
    /// ## How to fix
    /// Choose a block from Globalnet's range.
    ///
    /// ## References
    /// `submariner-operator`, `pkg/cidr/cidr.go` and `pkg/discovery/globalnet/globalnet.go`.
    pub static GLOBAL_CIDR_FORM = {
        code: "SM220",
        slug: "global-cidr-form",
        title: "The Global CIDR cannot be used",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "subctl refuses it, or no address can be given out",
        rules: ["submariner GN-01", "submariner GN-09"],
        run: Cluster(global_cidr_form),
    };
}

fn global_cidr_form(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let given = given(&Mesh::of(audit), cluster)?;
    let problems: Vec<String> = Cidr::split_list(&given.value)
        .into_iter()
        .filter_map(|item| match item {
            Ok((cidr, _)) => Some(format!("{cidr} {}", unusable(cidr)?)),
            Err(error) => Some(error.to_string()),
        })
        .collect();
    let outcome = if problems.is_empty() {
        Outcome::holds().found(&given.value)
    } else {
        Outcome::broken()
            .found(some_of(&problems))
            .remedy("choose a block from Globalnet's range")
    };
    Ok(outcome
        .expected("an IPv4 block of /30 or more that is no special one")
        .evidence(Evidence::of(cluster.name(), &given)))
}

/// Why no addresses can be given out from a block.
fn unusable(cidr: Cidr) -> Option<&'static str> {
    let std::net::IpAddr::V4(first) = cidr.first() else {
        return Some("is IPv6");
    };
    if first.is_unspecified() {
        Some("is unspecified")
    } else if first.is_loopback() {
        Some("is loopback")
    } else if first.is_link_local() || first.octets()[..3] == [224, 0, 0] {
        Some("is link-local")
    } else if cidr.prefix_len() > 30 {
        Some("is smaller than /30")
    } else {
        None
    }
}

declare_check! {
    /// ## What it checks
    /// A Global CIDR that is given lies inside Globalnet's range and is written as the block it is.
    ///
    /// ## Why it matters
    /// `subctl` checks neither. A block outside the range is not kept free by anybody; and of 242.0.1.0/16 and 242.0.2.0/16, which are one block, it
    /// sees two.
    ///
    /// ## How it is determined
    /// The block as written against itself without host bits, and against the range of ConfigMap `submariner-globalnet-info`, else the planned
    /// one, else 242.0.0.0/8. Whether blocks overlap is judged with all other addressing.
    ///
    /// ## How to fix
    /// Give each cluster a block of its own inside the range, written without host bits.
    ///
    /// ## References
    /// submariner issue 3614; `submariner-operator`, `pkg/discovery/globalnet/globalnet.go`.
    pub static GLOBAL_CIDR_PLACE = {
        code: "SM221",
        slug: "global-cidr-place",
        title: "The Global CIDR is not a block of the range",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "nothing keeps it free of other clusters",
        rules: ["submariner GN-02"],
        run: Cluster(global_cidr_place),
    };
}

fn global_cidr_place(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mesh = Mesh::of(audit);
    let given = given(&mesh, cluster)?;
    let Ok(blocks) = Cidr::split_list(&given.value)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
    else {
        return Err(NoVerdict::does_not_apply("the Global CIDR is no block"));
    };
    let range = mesh.globalnet_range()?;
    let mut problems = Vec::new();
    for (cidr, has_host_bits) in blocks {
        if has_host_bits {
            problems.push(format!("{} is {cidr}", given.value));
        }
        if !range.cidr.contains(cidr) {
            problems.push(format!("{cidr} lies outside {}", range.cidr));
        }
    }
    let outcome = if problems.is_empty() {
        Outcome::holds().found(&given.value)
    } else {
        Outcome::broken().found(some_of(&problems)).remedy(format!(
            "give {} a block of its own inside {}, without host bits",
            cluster.name(),
            range.cidr
        ))
    };
    Ok(outcome
        .expected(format!("a block inside {}", range.cidr))
        .evidence(Evidence::of(cluster.name(), &given))
        .evidence(Evidence::new("", &range.cidr, &range.source)))
}

declare_check! {
    /// ## What it checks
    /// The broker gives Globalnet if it is meant to: its ConfigMap, its `Broker` object and the plan agree.
    ///
    /// ## Why it matters
    /// The ConfigMap decides, and it is never changed once it is there: a second `subctl deploy-broker --globalnet` alters the `Broker` object alone. A
    /// cluster then joins without Globalnet, and nothing says so.
    ///
    /// ## How it is determined
    /// `globalnetEnabled` of ConfigMap `submariner-globalnet-info`, `spec.globalnetEnabled` of the `Broker` object, and the plan. Wanted but off, it fails if
    /// ranges of pods or Services overlap, as then nothing else helps; otherwise it is a warning.
    ///
    /// ## How to fix
    /// Delete or edit the ConfigMap, run `subctl deploy-broker --globalnet` again, and join the clusters again.
    ///
    /// ## References
    /// `submariner-operator`, `pkg/discovery/globalnet`.
    pub static GLOBALNET_DECISION = {
        code: "SM222",
        slug: "globalnet-decision",
        title: "The broker does not give Globalnet as it is meant to",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "clusters join without Globalnet, and nothing says so",
        rules: ["submariner GN-03"],
        run: Set(globalnet_decision),
    };
}

fn globalnet_decision(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    about_broker(audit, &mesh, |broker| decision(audit, &mesh, broker))
}

/// The audited cluster that holds the broker, or why there is no verdict.
fn broker_of<'a>(mesh: &Mesh<'a>) -> Result<BrokerCluster<'a>, NoVerdict> {
    mesh.broker()?
        .ok_or_else(|| NoVerdict::does_not_apply("no audited cluster holds the broker"))
}

/// One verdict about the broker, or why there is none.
fn about_broker(audit: &Audit<'_>, mesh: &Mesh<'_>, judge: impl FnOnce(BrokerCluster<'_>) -> Judged) -> Vec<Outcome> {
    vec![match broker_of(mesh) {
        Ok(broker) => judge(broker).unwrap_or_else(Outcome::none).about([broker.cluster.id]),
        Err(why) => Outcome::none(why).about(audit.everyone()),
    }]
}

fn decision(audit: &Audit<'_>, mesh: &Mesh<'_>, broker: BrokerCluster<'_>) -> Judged {
    let info = match broker.facts.globalnet_info.known_value() {
        Ok(info) => info,
        Err(why) if absent(&why) => return Err(NoVerdict::does_not_apply("the ConfigMap is not there")),
        Err(why) => return Err(why.into()),
    };
    let on = info.value.enabled.unwrap_or(false);
    let of_object = broker.facts.broker.known_value().ok();
    let object = of_object.and_then(|known| known.value.globalnet_enabled);
    let wanted = object == Some(true) || mesh.plan().globalnet == Some(true);
    let agrees = object.is_none_or(|object| object == on) && (on || !wanted);
    let source = Source::read(info.source.object.clone(), "globalnetEnabled");
    let evidence = of_object.zip(object).map(|(known, object)| {
        let source = Source::read(known.source.object.clone(), "spec.globalnetEnabled");
        Evidence::new(broker.cluster.name(), &object, &source)
    });
    let word = |on| if on { "on" } else { "off" };
    let outcome = if agrees {
        Outcome::holds()
    } else if wanted && !on && ranges_overlap(audit) {
        Outcome::broken_as(Severity::Fail)
    } else {
        Outcome::broken()
    };
    let planned = mesh
        .plan()
        .globalnet
        .map(|planned| format!(", {} in the plan", word(planned)));
    Ok(outcome
        .expected("ConfigMap, Broker object and plan that agree")
        .found(format!(
            "{} in the ConfigMap{}{}",
            word(on),
            object
                .map(|object| format!(", {} in the Broker object", word(object)))
                .unwrap_or_default(),
            planned.unwrap_or_default()
        ))
        .evidence(Evidence::new(broker.cluster.name(), &on, &source))
        .evidence_all(evidence)
        .remedy("delete the ConfigMap, run subctl deploy-broker --globalnet again, and join the clusters again"))
}

/// Whether ranges of pods or Services of two clusters overlap, as far as they are known.
fn ranges_overlap(audit: &Audit<'_>) -> bool {
    let mut ranges: Vec<(Cidr, ClusterId)> = Vec::new();
    for cluster in audit.clusters {
        ranges.extend(
            cluster
                .pods()
                .into_iter()
                .flat_map(PodRanges::summary)
                .map(|cidr| (cidr, cluster.id)),
        );
        let services = cluster.services().into_iter().flat_map(|services| &services.ranges);
        ranges.extend(services.map(|range| (range.cidr, cluster.id)));
    }
    let claim = |owner: &ClusterId| {
        Some(Claim {
            owner: *owner,
            kind: (),
        })
    };
    !AddressIndex::new(ranges)
        .conflicts(claim, |(), (), same| (!same).then_some(()))
        .is_empty()
}

declare_check! {
    /// ## What it checks
    /// Globalnet's range has room for all clusters.
    ///
    /// ## Why it matters
    /// `subctl join` fails once the range is exhausted. With the defaults there is room for 256 clusters.
    ///
    /// ## How it is determined
    /// The blocks the broker has noted down, or members have, and one of the default size for each cluster that joins with Globalnet, against the
    /// size of the range. The default is 65536 addresses, rounded up to a power of two and at most half the range.
    ///
    /// ## How to fix
    /// Choose a larger range or a smaller size: `subctl deploy-broker --globalnet-cidr-range`, `--globalnet-cluster-size`.
    ///
    /// ## References
    /// `submariner-operator`, `pkg/discovery/globalnet`.
    pub static GLOBALNET_ROOM = {
        code: "SM223",
        slug: "globalnet-room",
        title: "Globalnet's range has no room for all clusters",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the last clusters cannot join",
        rules: ["submariner GN-04"],
        run: Set(globalnet_room),
    };
}

/// How many addresses a cluster gets by default.
const DEFAULT_CLUSTER_SIZE: u64 = 65536;

fn globalnet_room(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let mut unknown = Open::new();
    let mut own_blocks: Vec<Cidr> = Vec::new();
    let mut joining = Vec::new();
    let mut members = Vec::new();
    for cluster in audit.clusters {
        let blocks = || Ok((mesh.globalnet(cluster)?.value, mesh.global_cidrs(cluster)?));
        match blocks() {
            Ok((false, _)) => {}
            Ok((true, blocks)) if blocks.is_empty() => joining.push(cluster.id),
            Ok((true, blocks)) => {
                members.push(cluster.id);
                own_blocks.extend(blocks.iter().map(|range| range.cidr));
            }
            Err::<_, Unknown>(why) => {
                unknown.entry(why.into()).or_default().insert(cluster.id);
            }
        }
    }
    if joining.is_empty() {
        if unknown.is_empty() {
            return vec![Outcome::does_not_apply("no cluster will be given a Global CIDR").about(audit.everyone())];
        }
        return conclude(audit, Vec::new(), unknown, "no cluster will be given a Global CIDR");
    }
    let range = match mesh.globalnet_range() {
        Ok(range) => range,
        Err(why) => return vec![Outcome::none(why).about(audit.everyone())],
    };
    let info = mesh
        .broker()
        .ok()
        .flatten()
        .and_then(|broker| broker.facts.globalnet_info.ok());
    let noted = info
        .into_iter()
        .flat_map(|info| &info.clusters)
        .flat_map(|entry| &entry.cidrs);
    own_blocks.extend(noted.filter_map(|cidr| cidr.parse::<Cidr>().ok()));
    let size = info
        .and_then(|info| info.cluster_size)
        .filter(|size| *size > 0)
        .unwrap_or(DEFAULT_CLUSTER_SIZE);
    let room = addresses(range.cidr);
    let block = size.next_power_of_two().min(room / 2).max(1);
    let taken: u64 = Cidr::aggregate(&own_blocks)
        .into_iter()
        .filter(|cidr| range.cidr.contains(*cidr))
        .map(addresses)
        .sum();
    let needed = block.saturating_mul(joining.len() as u64);
    let found = format!(
        "{} clusters need {needed} addresses, {} of {room} are free",
        joining.len(),
        room.saturating_sub(taken)
    );
    let outcome = if needed.saturating_add(taken) > room {
        Outcome::broken().remedy("choose a larger range: subctl deploy-broker --globalnet --globalnet-cidr-range")
    } else {
        Outcome::holds()
    };
    let outcome = outcome
        .expected(format!("room in {} for all clusters", range.cidr))
        .found(found)
        .evidence(Evidence::new("", &range.cidr, &range.source))
        .about(joining);
    let mut outcomes = vec![outcome];
    outcomes.extend(unknown.into_iter().map(|(why, ids)| Outcome::none(why).about(ids)));
    outcomes
}

/// How many addresses a block has; more than a number holds only for IPv6.
fn addresses(cidr: Cidr) -> u64 {
    1_u64.checked_shl(u32::from(cidr.size_log2())).unwrap_or(u64::MAX)
}

declare_check! {
    /// ## What it checks
    /// Every block the broker has noted down belongs to a cluster it knows.
    ///
    /// ## Why it matters
    /// Entries of clusters that left keep their block: the range fills up, and the ID comes back with the old block.
    ///
    /// ## How it is determined
    /// `clusterinfo` of ConfigMap `submariner-globalnet-info` against the `Cluster` objects in the broker's namespace.
    ///
    /// ## How to fix
    /// Edit the ConfigMap while no cluster is joining.
    ///
    /// ## References
    /// `submariner-operator`, `pkg/discovery/globalnet`.
    pub static GLOBALNET_LEFT_OVERS = {
        code: "SM224",
        slug: "globalnet-left-overs",
        title: "The broker keeps Global CIDRs of clusters that are gone",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the range fills up",
        rules: ["submariner GN-05"],
        run: Set(globalnet_left_overs),
    };
}

fn globalnet_left_overs(audit: &Audit<'_>) -> Vec<Outcome> {
    about_broker(audit, &Mesh::of(audit), left_overs)
}

fn left_overs(broker: BrokerCluster<'_>) -> Judged {
    let info = match broker.facts.globalnet_info.known_value() {
        Ok(info) if !info.value.clusters.is_empty() => info,
        Ok(_) => return Err(NoVerdict::does_not_apply("no blocks are noted down")),
        Err(why) if absent(&why) => return Err(NoVerdict::does_not_apply("the ConfigMap is not there")),
        Err(why) => return Err(why.into()),
    };
    let clusters = broker.facts.clusters.get()?;
    let known: BTreeSet<&str> = clusters
        .iter()
        .filter(|cluster| cluster.namespace == info.value.namespace)
        .map(|cluster| cluster.cluster_id.as_str())
        .collect();
    let gone: Vec<&str> = info
        .value
        .clusters
        .iter()
        .map(|entry| entry.cluster_id.as_str())
        .filter(|id| !known.contains(id))
        .collect();
    let outcome = if gone.is_empty() {
        Outcome::holds().found(format!("{} blocks, all of known clusters", info.value.clusters.len()))
    } else {
        Outcome::broken()
            .found(some_of(&gone))
            .remedy("edit the ConfigMap, while no cluster is joining")
    };
    let source = Source::read(info.source.object.clone(), "clusterinfo");
    Ok(outcome
        .expected("blocks of clusters that the broker knows")
        .evidence(Evidence::new(broker.cluster.name(), &some_of(&gone), &source)))
}

declare_check! {
    /// ## What it checks
    /// The broker's two ConfigMaps with ranges are there and can be read.
    ///
    /// ## Why it matters
    /// `subctl join` stops without `submariner-globalnet-info` (unless it is given `--globalnet=false`), and without `submariner-clustersetip-info` where the broker
    /// has service discovery. A broker of an older release lacks the second, or gets an empty range into it by an upgrade.
    ///
    /// ## How it is determined
    /// Both ConfigMaps of the broker's namespace, where a cluster is to join and an audited one holds the broker.
    ///
    /// ## How to fix
    /// Upgrade the broker, set `clustersetIPCIDRRange` in the `Broker` object, and delete a ConfigMap whose range is empty.
    ///
    /// ## References
    /// `subctl`, `pkg/join/join.go`; `submariner-operator`, `controllers/submariner/broker_controller.go`.
    pub static RANGE_CONFIG_MAPS = {
        code: "SM228",
        slug: "broker-range-config-maps",
        title: "The broker lacks a range that a join asks for",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "subctl join stops",
        rules: ["submariner GN-11"],
        run: Set(range_config_maps),
    };
}

fn range_config_maps(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let joining: Vec<&Cluster<'_>> = audit
        .clusters
        .iter()
        .filter(|cluster| matches!(installed(cluster), Ok(None)))
        .collect();
    if joining.is_empty() {
        return vec![Outcome::does_not_apply("all clusters have joined").about(audit.everyone())];
    }
    let asks_for_globalnet = joining
        .iter()
        .any(|cluster| mesh.cluster_plan(cluster).and_then(|plan| plan.globalnet) != Some(false));
    let discovers = joining
        .iter()
        .any(|cluster| mesh.service_discovery(cluster).is_ok_and(|known| known.value));
    about_broker(audit, &mesh, |broker| {
        let maps = [
            (
                "submariner-globalnet-info",
                asks_for_globalnet,
                &broker.facts.globalnet_info,
            ),
            (
                "submariner-clustersetip-info",
                discovers,
                &broker.facts.clusterset_ip_info,
            ),
        ];
        both_ranges(broker, &maps)
    })
}

fn both_ranges(broker: BrokerCluster<'_>, maps: &[(&str, bool, &Fact<RangeInfo>)]) -> Judged {
    let mut problems = Vec::new();
    let mut evidence = Vec::new();
    let mut unread = None;
    for (name, _, fact) in maps.iter().filter(|(_, needed, _)| *needed) {
        match fact.known_value() {
            Ok(info) => {
                if info.value.range.parse::<Cidr>().is_err() {
                    problems.push(format!("range `{}` in {name}", info.value.range));
                }
                evidence.push(Evidence::new(broker.cluster.name(), &info.value.range, &info.source));
            }
            Err(why) if absent(&why) => problems.push(format!("no ConfigMap {name}")),
            Err(why) => unread = Some(why),
        }
    }
    let outcome = match (problems.is_empty(), unread) {
        (true, Some(why)) => return Err(why.into()),
        (true, None) => Outcome::holds().found("both ranges can be read"),
        (false, _) => Outcome::broken()
            .found(some_of(&problems))
            .remedy("upgrade the broker, set clustersetIPCIDRRange in the Broker object, delete a ConfigMap whose range is empty"),
    };
    Ok(outcome.expected("ConfigMaps with a range each").evidence_all(evidence))
}

#[cfg(test)]
mod tests;
