//! One group of collisions in words: what collides, where it was read, what to change.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::owner;
use crate::address::Group;
use crate::checks::net::rule;
use crate::checks::net::space::{Claimed, Class, State};
use crate::cidr::Cidr;
use crate::facts::RangeKind;
use crate::facts::provenance::Source;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::Profile;
use crate::report::{Evidence, Severity};

/// Ranges of one owner and class that collide with something, joined for a report.
struct Side {
    owner: usize,
    class: Class,
    cidrs: Vec<Cidr>,
    sources: Vec<Source>,
    /// How bad the worst of its collisions with the outer ranges is.
    severity: Option<Severity>,
}

/// One outcome for each severity that a group holds.
pub(super) fn outcomes(audit: &Audit<'_>, group: &Group<Severity>, same: bool) -> Vec<Outcome> {
    let rule = Rule::of(audit, group, same);
    let outer = rule.judge(sides(audit, &group.outer), true);
    let inner = rule.judge(sides(audit, &group.inner), false);
    let ranges = audit.space().index.ranges();
    let block = group
        .outer
        .iter()
        .map(|range| ranges[*range].0)
        .min_by_key(|cidr| cidr.prefix_len());
    let cause = format!(
        "overlap {} {}",
        block.map(|block| block.to_string()).unwrap_or_default(),
        audit.names(&clusters(audit, &outer))
    );
    [Severity::Fail, Severity::Warn, Severity::Info]
        .into_iter()
        .filter_map(|severity| outcome(audit, &outer, &inner, severity, same))
        .map(|outcome| outcome.cause(cause.clone()))
        .collect()
}

fn outcome(audit: &Audit<'_>, outer: &[Side], inner: &[Side], severity: Severity, same: bool) -> Option<Outcome> {
    let inside: Vec<&Side> = inner.iter().filter(|side| side.severity == Some(severity)).collect();
    let among_outer = outer.iter().filter(|side| side.severity == Some(severity)).count() > 1;
    if inside.is_empty() && !among_outer {
        return None;
    }
    let around: Vec<&Side> = outer
        .iter()
        .filter(|side| !inside.is_empty() || side.severity == Some(severity))
        .collect();
    let (outer_clusters, inner_clusters) = (
        clusters(audit, around.iter().copied()),
        clusters(audit, inside.iter().copied()),
    );
    let mut all = [outer_clusters.clone(), inner_clusters.clone()].concat();
    all.sort_unstable();
    all.dedup();
    let mut outcome = Outcome::broken_as(severity)
        .expected("ranges that share no address")
        .found(found(audit, &around, &inside))
        .evidence_all(around.iter().chain(&inside).map(|side| evidence(audit, side)))
        .remedy(remedy(audit, &around, &inside))
        .about(all.iter().copied());
    if !same && all.len() > 2 {
        if among_outer {
            outcome = outcome.within(outer_clusters.iter().copied());
        }
        if !inner_clusters.is_empty() {
            outcome = outcome.across([outer_clusters, inner_clusters]);
        }
    }
    Some(outcome)
}

/// The clusters that own these sides, each once, in order.
fn clusters<'s>(audit: &Audit<'_>, sides: impl IntoIterator<Item = &'s Side>) -> Vec<ClusterId> {
    let mut ids: Vec<ClusterId> = sides
        .into_iter()
        .map(|side| side.owner)
        .filter(|owner| *owner < audit.clusters.len())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Joins ranges of one owner and class.
fn sides(audit: &Audit<'_>, ranges: &[usize]) -> Vec<Side> {
    let mut sides: Vec<Side> = Vec::new();
    let mut places = HashMap::new();
    for range in ranges {
        let (cidr, claimed): &(Cidr, Claimed) = &audit.space().index.ranges()[*range];
        let owner = owner(audit, claimed);
        let place = *places.entry((owner, claimed.class)).or_insert_with(|| {
            sides.push(Side {
                owner,
                class: claimed.class,
                cidrs: Vec::new(),
                sources: Vec::new(),
                severity: None,
            });
            sides.len() - 1
        });
        sides[place].cidrs.push(*cidr);
        sides[place].sources.push(claimed.source.clone());
    }
    for side in &mut sides {
        side.cidrs = Cidr::aggregate(&side.cidrs);
    }
    sides
}

/// How badly something collides with the outer ranges of a group: by their classes, never one by one.
struct Rule {
    profile: Profile,
    same: bool,
    outer: HashMap<Class, Outer>,
}

/// The outer ranges of one class.
#[derive(Default)]
struct Outer {
    owners: Owners,
    /// How many owners have a pool at each block.
    blocks: HashMap<Cidr, u32>,
}

/// Owners of one class of ranges: all of them where one's own matter, else just enough to know that one is not a given one.
#[derive(Default)]
struct Owners(Vec<usize>);

impl Rule {
    fn of(audit: &Audit<'_>, group: &Group<Severity>, same: bool) -> Self {
        let mut outer: HashMap<Class, Outer> = HashMap::new();
        for range in &group.outer {
            let (cidr, claimed) = &audit.space().index.ranges()[*range];
            let class = outer.entry(claimed.class).or_default();
            class.owners.add(owner(audit, claimed), same);
            *class.blocks.entry(*cidr).or_default() += 1;
        }
        Self {
            profile: audit.profile,
            same,
            outer,
        }
    }

    fn judge(&self, mut sides: Vec<Side>, are_outer: bool) -> Vec<Side> {
        for side in &mut sides {
            for (class, outer) in &self.outer {
                if !outer.owners.have(side.owner, self.same) {
                    continue;
                }
                let mut severity = rule::severity(self.profile, *class, side.class, self.same);
                // Pools that are the same block are handed out from the same end: the first nodes already collide.
                let pools = class.state == State::Pool && side.class.state == State::Pool;
                let shared = |cidr: &Cidr| outer.blocks.get(cidr).is_some_and(|owners| *owners > 1);
                if are_outer && pools && severity.is_some() && side.cidrs.iter().any(shared) {
                    severity = Some(Severity::Fail);
                }
                side.severity = side.severity.max(severity);
            }
        }
        sides
    }
}

impl Owners {
    fn add(&mut self, owner: usize, same: bool) {
        if (same || self.0.len() < 2) && self.0.last() != Some(&owner) {
            self.0.push(owner);
        }
    }

    /// Whether one of them is this owner (`same`), or is another.
    fn have(&self, owner: usize, same: bool) -> bool {
        self.0.iter().any(|known| (*known == owner) == same)
    }
}

fn name(audit: &Audit<'_>, side: &Side) -> String {
    audit
        .clusters
        .get(side.owner)
        .map_or_else(|| "outside".to_owned(), |cluster| cluster.name().to_owned())
}

/// `10.10.0.0/23`, `10.0.0.0/16, 10.2.0.0/16 and 7 more`.
fn blocks(cidrs: &[Cidr]) -> String {
    const SHOWN: usize = 3;
    let mut text = cidrs
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if cidrs.len() > SHOWN {
        let _ = write!(text, " and {} more", cidrs.len() - SHOWN);
    }
    text
}

fn describe(audit: &Audit<'_>, sides: &[&Side]) -> String {
    const SHOWN: usize = 3;
    let one = |side: &&Side| match side.class.kind {
        RangeKind::External => format!("{} {}", side.sources[0].object, blocks(&side.cidrs)),
        kind => format!("{} {kind} {}", name(audit, side), blocks(&side.cidrs)),
    };
    let mut parts: Vec<String> = sides.iter().take(SHOWN).map(one).collect();
    if sides.len() > SHOWN {
        parts.push(format!("{} more", sides.len() - SHOWN));
    }
    match parts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => parts.concat(),
    }
}

fn found(audit: &Audit<'_>, outer: &[&Side], inner: &[&Side]) -> String {
    if inner.is_empty() {
        return format!("{} are the same addresses", describe(audit, outer));
    }
    format!("{} contain {}", describe(audit, outer), describe(audit, inner))
}

fn evidence(audit: &Audit<'_>, side: &Side) -> Evidence {
    let pool = match side.class.state {
        State::Pool => " (pool)",
        State::InternalPool => " (internal pool)",
        State::InUse | State::Estimate => "",
    };
    let value = format!("{} {}{pool}", blocks(&side.cidrs), side.class.kind);
    let first = &side.sources[0];
    let others = side
        .sources
        .iter()
        .filter(|source| source.object != first.object)
        .count();
    // `CiliumNode east-n1` and its like are one line: `CiliumNodes (24)`.
    let kind = first.object.split(' ').next().unwrap_or(&first.object);
    let object = if others == 0 {
        first.object.clone()
    } else {
        format!("{kind}s ({})", others + 1)
    };
    let cluster = if side.class.kind == RangeKind::External {
        String::new()
    } else {
        name(audit, side)
    };
    Evidence::new(
        cluster,
        &value,
        &Source {
            object,
            ..first.clone()
        },
    )
}

/// Who has to move, where to, and what it costs. The widest claim moves; among equals the one that came last.
fn remedy(audit: &Audit<'_>, outer: &[&Side], inner: &[&Side]) -> String {
    let Some(moved) = outer
        .iter()
        .rev()
        .find(|side| side.owner < audit.clusters.len())
        .or_else(|| inner.last())
    else {
        return "give one side ranges of its own".to_owned();
    };
    let who = name(audit, moved);
    let free = free_block(audit, moved)
        .map(|cidr| format!("; free and large enough: {cidr}"))
        .unwrap_or_default();
    let of_kind = audit.clusters.get(moved.owner).filter(|cluster| cluster.is_kind());
    let mut text = match (moved.class.kind, of_kind) {
        (RangeKind::Pods, Some(cluster)) => format!(
            "set networking.podSubnet in the kind configuration of {who}{free}{}. kind applies it when it makes the cluster: delete {who} and create it again",
            of_own_pool(cluster)
        ),
        (RangeKind::Services, Some(_)) => format!(
            "set networking.serviceSubnet in the kind configuration of {who}{free}. kind applies it when it makes the cluster: delete {who} and create it again"
        ),
        (RangeKind::Pods, None) => {
            format!(
                "give {who} pod ranges of its own{free}. A pool cannot be changed in place on running nodes: new nodes or a rebuild of {who}"
            )
        }
        (RangeKind::Services, None) => format!(
            "give {who} a service range of its own{free}. It is set when the cluster is made: usually a rebuild of {who}"
        ),
        (RangeKind::Nodes, _) => format!("renumber the nodes of {who}, or move the other range away from them"),
        (RangeKind::LoadBalancers, _) => format!("give the load-balancer pool of {who} addresses of its own{free}"),
        (RangeKind::Globalnet | RangeKind::Clusterset, _) => {
            format!("choose another global range for {who} and join it again")
        }
        (RangeKind::External, _) => "declare the network more exactly, or move the cluster's range".to_owned(),
    };
    let between_clusters = outer
        .iter()
        .chain(inner)
        .any(|side| side.owner != moved.owner && side.owner < audit.clusters.len());
    let globalnet_helps = matches!(moved.class.kind, RangeKind::Pods | RangeKind::Services) && between_clusters;
    if audit.profile == Profile::Submariner && globalnet_helps && !moved.class.globalnet {
        text.push_str(". Or use Globalnet in all clusters, which needs no change of ranges");
    }
    text
}

/// What else it takes where Cilium hands out addresses of a pool of its own, whatever the cluster was made with.
fn of_own_pool(cluster: &Cluster<'_>) -> &'static str {
    let mode = cluster.cilium().and_then(|settings| settings.value("ipam"));
    if mode.is_ok_and(|mode| mode.value != "kubernetes") {
        ", and ipam.mode=kubernetes in the values of Cilium, which otherwise has a pool of its own"
    } else {
        ""
    }
}

/// A block for the ranges of `moved` that collides with nothing else.
fn free_block(audit: &Audit<'_>, moved: &Side) -> Option<Cidr> {
    /// 256 nodes of a /24 each, or 65,536 Services: what installers hand out unless told.
    const USUAL_LENGTH: u8 = 16;
    if !moved.cidrs.iter().all(|cidr| cidr.is_ipv4()) {
        return None;
    }
    let nodes = audit
        .clusters
        .get(moved.owner)?
        .facts
        .nodes
        .ok()
        .map_or(1, Vec::len)
        .max(1);
    // Four times the /24 that each node has today.
    let room = u8::try_from((nodes * 1024).next_power_of_two().ilog2()).unwrap_or(u8::MAX);
    let length = if moved.class.kind == RangeKind::Pods {
        USUAL_LENGTH.min(32_u8.saturating_sub(room))
    } else {
        USUAL_LENGTH
    };
    let holder = (Some(moved.owner), moved.class.kind);
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]
        .iter()
        .filter_map(|private| private.parse().ok())
        .filter(|within: &Cidr| within.prefix_len() <= length)
        .find_map(|within| audit.space().first_free(length, within, holder))
}
