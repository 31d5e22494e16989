//! Calico: its encapsulation, and the pools that keep it from masquerading traffic to other clusters.

use std::collections::BTreeSet;

use super::ranges::{Open, conclude, overlapping};
use crate::address::AddressIndex;
use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::cidr::Cidr;
use crate::facts::cni::{CalicoPool, PluginKind};
use crate::facts::provenance::{Known, Source};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::Mesh;
use crate::profile::submariner::discovery::running;
use crate::profile::submariner::gateways::active;
use crate::profile::submariner::installed;
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[&CALICO_ENCAPSULATION, &CALICO_POOLS, &CALICO_AND_GLOBALNET];

/// The API group that Calico's API server serves; through it the route agent makes pools.
const CALICO_API: &str = "projectcalico.org/v3";

/// The pools of a cluster that runs Calico.
fn pools<'a>(cluster: &Cluster<'a>) -> Result<&'a Known<Vec<CalicoPool>>, NoVerdict> {
    if running(cluster, PluginKind::Calico)?.is_none() {
        return Err(NoVerdict::does_not_apply("Calico does not run"));
    }
    let pools = cluster.facts.cni.calico_pools.known_value();
    Ok(pools.map_err(|why| super::unseen(why, "Calico's pools"))?)
}

fn pool_evidence(cluster: &Cluster<'_>, pool: &CalicoPool, value: &str) -> Evidence {
    Evidence::new(
        cluster.name(),
        &value,
        &Source::read(format!("IPPool {}", pool.name), "spec"),
    )
}

declare_check! {
    /// ## What it checks
    /// Calico's own pools encapsulate with VXLAN, always.
    ///
    /// ## Why it matters
    /// Submariner is validated with that alone. With `CrossSubnet`, or without an overlay, only pods on the gateway node reach other clusters. IPIP always is
    /// not validated, except on IBM's ROKS, where the route agent sets it by itself; there `subctl diagnose cni` fails without a reason.
    ///
    /// ## How it is determined
    /// `vxlanMode` and `ipipMode` of all IPv4 pools that are not disabled; absent means never.
    ///
    /// ## How to fix
    /// Set `vxlanMode: Always` and `ipipMode: Never` on the pool; on ROKS leave it.
    ///
    /// ## References
    /// Submariner documentation, Calico; submariner issues 1670 and 3266;
    /// `submariner`, `pkg/routeagent_driver/handlers/calico/ippool_handler.go`.
    pub static CALICO_ENCAPSULATION = {
        code: "SM304",
        slug: "calico-encapsulation",
        title: "Calico does not always encapsulate with VXLAN",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "only pods on the gateway node reach other clusters",
        rules: ["submariner CNI-04"],
        run: Cluster(calico_encapsulation),
    };
}

fn calico_encapsulation(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let pools = pools(cluster)?;
    let on_roks = is_roks(cluster);
    let mut faults: Vec<(Severity, String, Evidence)> = Vec::new();
    for pool in pools.value.iter().filter(|pool| !pool.disabled && pool.cidr.is_ipv4()) {
        let severity = match (pool.vxlan_mode.as_str(), pool.ipip_mode.as_str()) {
            ("Always", _) => continue,
            (_, "Always") if on_roks => Severity::Info,
            (_, "Always") => Severity::Warn,
            _ => Severity::Fail,
        };
        let found = format!("vxlanMode {}, ipipMode {}", pool.vxlan_mode, pool.ipip_mode);
        faults.push((
            severity,
            format!("{found} on pool {}", pool.name),
            pool_evidence(cluster, pool, &found),
        ));
    }
    let outcome = match faults.iter().map(|(severity, _, _)| *severity).max() {
        None => Outcome::holds().found("VXLAN always"),
        Some(worst) => Outcome::broken_as(worst).found(some_of(faults.iter().map(|(_, found, _)| found))),
    };
    Ok(outcome
        .expected("vxlanMode: Always on every pool in use")
        .evidence_all(faults.into_iter().map(|(_, _, evidence)| evidence))
        .remedy(format!(
            "set vxlanMode: Always and ipipMode: Never on these pools of {}",
            cluster.name()
        )))
}

/// IBM's managed OpenShift: its nodes say so, or the annotation by which the route agent knows it.
fn is_roks(cluster: &Cluster<'_>) -> bool {
    const ANNOTATION: &str = "service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type";
    let services = cluster.facts.services.ok().into_iter().flatten();
    let mut gateways = services.filter(|service| service.name == "submariner-gateway");
    let mut nodes = cluster.facts.nodes.ok().into_iter().flatten();
    gateways.any(|service| service.annotation(ANNOTATION).is_some())
        || nodes.any(|node| node.provider_id.starts_with("ibm://"))
}

declare_check! {
    /// ## What it checks
    /// For each range of other clusters Calico has a disabled pool without `natOutgoing`, or Submariner will be able to make it.
    ///
    /// ## Why it matters
    /// Calico masquerades whatever leaves for addresses outside its pools. Pods then appear in other clusters under a node's address, and answers and network
    /// policies go wrong. Since 0.16 the route agent of the active gateway makes such pools, through Calico's API server; without one it tries
    /// twenty times and gives up. A pool of another kind over the same addresses is in the way: Calico allows no second one.
    ///
    /// ## How it is determined
    /// All pools with `disabled: true` and `natOutgoing: false` against the ranges the other clusters advertise (pods and Services, or Global CIDRs); a
    /// pool that contains the range will do. Before a join it is enough that `projectcalico.org/v3` is served and no other pool lies over the range;
    /// else it is something to do. For connected clusters it fails.
    ///
    /// ## How to fix
    /// Install Calico's API server, or create a pool for each range with `disabled: true` and `natOutgoing: false`. Calico refuses pools narrower than a block (/26
    /// unless changed).
    ///
    /// ## References
    /// Submariner documentation, Calico; submariner issue 407, submariner-website issue 1058;
    /// `submariner`, `pkg/routeagent_driver/handlers/calico/ippool_handler.go`.
    pub static CALICO_POOLS = {
        code: "SM305",
        slug: "calico-pools",
        title: "Calico will masquerade traffic to other clusters",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "pods appear in other clusters under a node's address",
        rules: ["submariner CNI-05", "submariner CNI-06"],
        run: Between(calico_pools),
    };
}

fn calico_pools(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let mut unknown = Open::new();
    let mut advertised: Vec<(Cidr, ClusterId)> = Vec::new();
    for cluster in audit.clusters {
        match mesh.advertised(cluster) {
            Ok(ranges) => advertised.extend(ranges.iter().map(|range| (range.cidr, cluster.id))),
            Err(why) => {
                unknown.entry(why.into()).or_default().insert(cluster.id);
            }
        }
    }
    advertised.sort_unstable();
    advertised.dedup();
    let mut own = vec![0_usize; audit.clusters.len()];
    for (_, id) in &advertised {
        own[*id] += 1;
    }
    let total = advertised.len();
    let index = AddressIndex::new(advertised);
    let mut broken = Vec::new();
    for cluster in audit.clusters {
        match pools_of_one(cluster, &index, total - own[cluster.id]) {
            Ok(outcome) if outcome.is_broken() => broken.push(outcome.about([cluster.id])),
            Ok(_) => {}
            Err(why) => {
                unknown.entry(why).or_default().insert(cluster.id);
            }
        }
    }
    conclude(audit, broken, unknown, "pools are there, or Submariner makes them")
}

fn pools_of_one(cluster: &Cluster<'_>, index: &AddressIndex<ClusterId>, remote: usize) -> Judged {
    let pools = pools(cluster)?;
    let (fit, others): (Vec<&CalicoPool>, Vec<&CalicoPool>) =
        pools.value.iter().partition(|pool| pool.disabled && !pool.nat_outgoing);
    let missing_live = connected_ranges(cluster)?
        .into_iter()
        .filter(|range| !fit.iter().any(|pool| pool.cidr.contains(*range)))
        .collect::<BTreeSet<_>>();
    let expected = "a disabled pool without natOutgoing for each range of other clusters";
    let remedy = format!(
        "install Calico's API server on {}, or create these pools there",
        cluster.name()
    );
    if !missing_live.is_empty() {
        return Ok(Outcome::broken_as(Severity::Fail)
            .expected(expected)
            .found(format!("none for {}", some_of(&missing_live)))
            .evidence(Evidence::new(
                cluster.name(),
                &format!("{} pools", pools.value.len()),
                &pools.source,
            ))
            .remedy(remedy));
    }
    let is_remote = |id: &ClusterId| *id != cluster.id;
    let mut covered: BTreeSet<(Cidr, ClusterId)> = BTreeSet::new();
    for pool in &fit {
        for block in index.within(pool.cidr) {
            covered.extend(block.values().filter(|id| is_remote(id)).map(|id| (block.cidr(), *id)));
        }
    }
    let missing = remote.saturating_sub(covered.len());
    if missing == 0 {
        return Ok(Outcome::holds());
    }
    // A pool over own ranges that others have too is an overlap, which is told as such.
    let in_the_way = others.iter().find(|pool| {
        let mut values = overlapping(index, pool.cidr).peekable();
        values.peek().is_some() && values.all(is_remote)
    });
    let found = match (in_the_way, cluster.facts.serves(CALICO_API)?) {
        (None, true) => return Ok(Outcome::holds()),
        (Some(pool), _) => format!("pool {} {} is in the way of one", pool.name, pool.cidr),
        (None, false) => format!("none for {missing} ranges, and {CALICO_API} is not served"),
    };
    Ok(Outcome::broken()
        .expected(expected)
        .found(found)
        .evidence_all(in_the_way.map(|pool| pool_evidence(cluster, pool, &pool.cidr.to_string())))
        .evidence(Evidence::new(
            cluster.name(),
            &format!("{} pools", pools.value.len()),
            &pools.source,
        ))
        .remedy(remedy))
}

/// The IPv4 ranges of clusters that a member is connected with.
fn connected_ranges(cluster: &Cluster<'_>) -> Result<Vec<Cidr>, NoVerdict> {
    if installed(cluster)?.is_none() {
        return Ok(Vec::new());
    }
    let Some((gateway, _)) = active(cluster)? else {
        return Ok(Vec::new());
    };
    let connected = gateway
        .connections
        .iter()
        .filter(|connection| connection.status == "connected");
    let subnets = connected.flat_map(|connection| &connection.endpoint.subnets);
    Ok(subnets
        .filter_map(|subnet| subnet.parse::<Cidr>().ok())
        .filter(|cidr| cidr.is_ipv4())
        .collect())
}

declare_check! {
    /// ## What it checks
    /// With Calico, Globalnet does not use 242.0.0.0/8.
    ///
    /// ## Why it matters
    /// The documentation says that Calico uses this block internally. It is Globalnet's default.
    ///
    /// ## How it is determined
    /// The cluster's Global CIDRs, or the range they will be taken from.
    ///
    /// ## How to fix
    /// Choose another range with `subctl deploy-broker --globalnet-cidr-range`.
    ///
    /// ## References
    /// Submariner documentation, Calico.
    pub static CALICO_AND_GLOBALNET = {
        code: "SM306",
        slug: "calico-and-globalnet",
        title: "Calico and Globalnet both use 242.0.0.0/8",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the documentation says that Calico uses this block itself",
        rules: ["submariner CNI-06b"],
        run: Cluster(calico_and_globalnet),
    };
}

fn calico_and_globalnet(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if running(cluster, PluginKind::Calico)?.is_none() {
        return Err(NoVerdict::does_not_apply("Calico does not run"));
    }
    let space = Mesh::of(audit).global_space(cluster)?;
    if space.is_empty() {
        return Err(NoVerdict::does_not_apply("Globalnet is off"));
    }
    let reserved: Cidr = crate::profile::submariner::GLOBALNET_RANGE
        .parse()
        .expect("the range is a block");
    let inside = space.iter().find(|range| range.cidr.overlaps(reserved));
    let outcome = match inside {
        None => Outcome::holds().found(some_of(space.iter().map(|range| range.cidr))),
        Some(range) => Outcome::broken()
            .found(range.cidr.to_string())
            .evidence(Evidence::new(cluster.name(), &range.cidr, &range.source))
            .remedy("choose another range: subctl deploy-broker --globalnet --globalnet-cidr-range"),
    };
    Ok(outcome.expected(format!("a range outside of {reserved}")))
}

#[cfg(test)]
mod tests;
