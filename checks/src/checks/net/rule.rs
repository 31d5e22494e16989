//! How bad it is that two ranges overlap: the tables of both products.

use super::space::{Class, State};
use crate::facts::RangeKind::{self, External, Globalnet, LoadBalancers, Nodes, Pods, Services};
use crate::profile::Profile;
use crate::report::Severity::{self, Fail, Warn};

/// How bad it is that a range of class `a` overlaps one of class `b`, of one cluster (`same`) or of two; `None` if that is no fault.
pub(super) fn severity(profile: Profile, a: Class, b: Class, same: bool) -> Option<Severity> {
    // A pool holds the blocks handed out from it.
    if same && a.kind == b.kind {
        return None;
    }
    // The tables below are written for one order of kinds.
    let (a, b) = if a.kind <= b.kind { (a, b) } else { (b, a) };
    if let Some(severity) = shared(a, b, same) {
        return severity;
    }
    match profile {
        Profile::Clustermesh => clustermesh(a, b, same),
        Profile::Submariner => submariner(a, b, same),
    }
}

/// What does not depend on the product; `None` if it does.
#[expect(clippy::option_option, reason = "no fault is an answer, no answer is another")]
fn shared(a: Class, b: Class, same: bool) -> Option<Option<Severity>> {
    let internal = a.state == State::InternalPool || b.state == State::InternalPool;
    match (a.kind, b.kind) {
        // Addresses that serve a plugin alone never leave their node: equal ones confuse, but break nothing.
        _ if internal => Some((a.kind == Pods && b.kind == Pods && !same).then_some(Warn)),
        // Nodes live in networks outside the clusters, and such networks may nest.
        (Nodes | External, External) => Some(None),
        (LoadBalancers, External) => Some(Some(Warn)),
        (Pods | Services | Globalnet, External) => Some(Some(if is_pool(a) { Warn } else { Fail })),
        // A load balancer's addresses may lie in its own nodes' network.
        (Nodes, LoadBalancers) if same => Some(None),
        (LoadBalancers, _) | (_, LoadBalancers) => Some((a.kind != b.kind || !same).then_some(Warn)),
        _ => None,
    }
}

/// Source: Cilium documentation, cluster mesh setup and IPAM pages; rules ADDR-1, 4, 6, 7, 8 of `docs/rules.md`.
fn clustermesh(a: Class, b: Class, same: bool) -> Option<Severity> {
    let estimate = a.state == State::Estimate || b.state == State::Estimate;
    let pool = is_pool(a) || is_pool(b);
    match (a.kind, b.kind) {
        // A pool over a block that a peer has handed out will hand it out as well.
        (Pods, Pods) => Some(if is_pool(a) && is_pool(b) { Warn } else { Fail }),
        (Pods, Nodes) if same && a.shares_subnets => None,
        (Pods, Nodes | Services) | (Services, Nodes) => Some(if pool || estimate { Warn } else { Fail }),
        (Services, Services) => Some(if a.exposes_cluster_ips || b.exposes_cluster_ips {
            Fail
        } else {
            Warn
        }),
        (Nodes, Nodes) => Some(Fail),
        _ => None,
    }
}

/// Source: Submariner documentation, prerequisites and Globalnet pages; rules CIDR-01 to CIDR-10 of `docs/rules.md`.
fn submariner(a: Class, b: Class, same: bool) -> Option<Severity> {
    let globalnet = a.globalnet && b.globalnet;
    match (a.kind, b.kind) {
        (Pods | Services | Nodes | Globalnet, Globalnet) => Some(Fail),
        (Services, _) | (_, Services) if a.state == State::Estimate || b.state == State::Estimate => {
            (same || !globalnet).then_some(Warn)
        }
        (Pods, Nodes) if same => Some(if a.shares_subnets { Warn } else { Fail }),
        (Pods, Services) | (Services, Nodes) if same => Some(Fail),
        // With Globalnet on both sides pods and Services are reached by other addresses.
        (Pods | Services, Pods | Services | Nodes) => (!globalnet).then_some(Fail),
        _ => None,
    }
}

fn is_pool(class: Class) -> bool {
    class.state == State::Pool
}

/// The check that a collision of these kinds belongs to.
pub(super) fn code(a: RangeKind, b: RangeKind) -> &'static str {
    let (a, b) = if a <= b { (a, b) } else { (b, a) };
    match (a, b) {
        (_, External) => "NET108",
        (Globalnet, _) | (_, Globalnet) => "NET109",
        (LoadBalancers, _) | (_, LoadBalancers) => "NET107",
        (Pods, Pods) => "NET101",
        (Pods, Nodes) => "NET102",
        (Pods, Services) => "NET103",
        (Services, Services) => "NET104",
        (Services, Nodes) => "NET105",
        _ => "NET106",
    }
}
