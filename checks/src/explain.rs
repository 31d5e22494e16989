//! The fewest causes that account for all failures: which node, zone, direction, family or service, alone or together.
//!
//! Every probe is a [`Cell`]. A [`Scope`] is a set of cells given by what they have in common. Scopes that hold a cell that works are out; of
//! the others the one that accounts for most failures is taken, the simpler one first, until nothing is left to explain (greedy set cover).

use std::collections::{BTreeSet, HashMap};

/// One end of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct End {
    /// The cluster; empty for a place outside all of them.
    pub cluster: String,
    /// The zone, empty if there is none.
    pub zone: String,
    /// The node or place.
    pub node: String,
    /// In a pod's network on that node, not in the node's own.
    pub pod: bool,
}

/// One probe, as the search for causes sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Who sent.
    pub from: End,
    /// Who was to receive.
    pub to: End,
    /// `UDP 8472`.
    pub service: String,
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// Whether it takes an answer to succeed, so that the way back is part of it.
    pub two_way: bool,
    /// Whether it worked; absent if that could not be told.
    pub works: Option<bool>,
}

/// A cause: what the failures it accounts for have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What they have in common.
    pub scope: Scope,
    /// The failures, as positions in the list of cells.
    pub cells: Vec<usize>,
}

/// What failures have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The service; absent for all.
    pub service: Option<String>,
    /// IPv6 (`true`) or IPv4 only; absent for both.
    pub ipv6: Option<bool>,
    /// Where they come from; absent for everywhere.
    pub from: Option<Place>,
    /// Where they go; absent for everywhere.
    pub to: Option<Place>,
    /// A node at either end of all of them.
    pub touching: Option<Place>,
    /// Both directions between `from` and `to`.
    pub both_ways: bool,
}

/// A cluster, a zone, a node, or the pods of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The cluster; empty for a place outside all of them.
    pub cluster: String,
    /// The zone, for a zone.
    pub zone: Option<String>,
    /// The node, for a node or its pods.
    pub node: Option<String>,
    /// The node's pods and not the node itself.
    pub pods: bool,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.node, &self.zone) {
            (Some(node), _) if self.cluster.is_empty() => f.write_str(node),
            (Some(node), _) if self.pods => write!(f, "pods of {}/{node}", self.cluster),
            (Some(node), _) => write!(f, "{}/{node}", self.cluster),
            (None, Some(zone)) => write!(f, "zone {zone} of {}", self.cluster),
            (None, None) => f.write_str(&self.cluster),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = match self.ipv6 {
            Some(true) => "IPv6",
            Some(false) => "IPv4",
            None => "",
        };
        match (&self.service, family) {
            (Some(service), "") => f.write_str(service)?,
            (Some(service), family) => write!(f, "{service} over {family}")?,
            (None, "") => f.write_str("everything")?,
            (None, family) => write!(f, "all {family}")?,
        }
        match (&self.touching, &self.from, &self.to) {
            (Some(place), ..) => write!(f, " to and from {place}"),
            (None, Some(one), Some(other)) if self.both_ways => write!(f, " between {one} and {other}"),
            (None, Some(from), Some(to)) => write!(f, " from {from} to {to}"),
            (None, Some(from), None) => write!(f, " from {from}"),
            (None, None, Some(to)) => write!(f, " to {to}"),
            (None, None, None) => f.write_str(" between all clusters"),
        }
    }
}

/// How exact a place is: the less, the simpler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Exactness {
    Anywhere,
    Cluster,
    Zone,
    /// With its pods, whose packets take its links.
    Node,
    /// The node without its pods, or they without it.
    Network,
}

const EXACTNESS: [Exactness; 5] = [
    Exactness::Anywhere,
    Exactness::Cluster,
    Exactness::Zone,
    Exactness::Node,
    Exactness::Network,
];

/// A candidate, with names as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Candidate {
    service: Option<u32>,
    ipv6: Option<bool>,
    from: (Exactness, u32),
    to: (Exactness, u32),
    touching: (Exactness, u32),
}

impl Candidate {
    const ANY: Self = Self {
        service: None,
        ipv6: None,
        from: (Exactness::Anywhere, 0),
        to: (Exactness::Anywhere, 0),
        touching: (Exactness::Anywhere, 0),
    };

    /// How much it says: the less, the simpler.
    fn weight(&self) -> u32 {
        let place = |(exactness, _): (Exactness, u32)| match exactness {
            Exactness::Anywhere => 0,
            Exactness::Cluster => 2,
            Exactness::Zone => 3,
            Exactness::Node => 4,
            Exactness::Network => 5,
        };
        2 * u32::from(self.service.is_some())
            + 2 * u32::from(self.ipv6.is_some())
            + place(self.from)
            + place(self.to)
            // A node that fails in both directions is one thing, and simpler than a direction of it.
            + place(self.touching).saturating_sub(1)
    }
}

/// The fewest causes that account for all cells that failed.
pub fn explain(cells: &[Cell]) -> Vec<Explanation> {
    let failed: BTreeSet<usize> = (0..cells.len()).filter(|at| cells[*at].works == Some(false)).collect();
    if failed.is_empty() {
        return Vec::new();
    }
    let mut names = Names::default();
    let mut scopes: HashMap<Candidate, Vec<usize>> = HashMap::new();
    let mut contradicted: BTreeSet<Candidate> = BTreeSet::new();
    for at in &failed {
        for candidate in names.candidates(&cells[*at]) {
            scopes.entry(candidate).or_default().push(*at);
        }
        for candidate in names.backwards(&cells[*at]) {
            scopes.entry(candidate).or_default().push(*at);
        }
    }
    for cell in cells.iter().filter(|cell| cell.works == Some(true)) {
        contradicted.extend(
            names
                .candidates(cell)
                .into_iter()
                .filter(|one| scopes.contains_key(one)),
        );
    }
    // A direction in which nothing but ways back failed is no cause of its own.
    scopes.retain(|candidate, members| {
        !contradicted.contains(candidate)
            && members
                .iter()
                .any(|at| names.candidates(&cells[*at]).contains(candidate))
    });
    let mut order: Vec<(Candidate, BTreeSet<usize>)> = scopes
        .into_iter()
        .map(|(candidate, members)| (candidate, members.into_iter().collect()))
        .collect();
    order.sort_by_key(|(candidate, _)| (candidate.weight(), *candidate));
    let mut left = failed;
    let mut found = Vec::new();
    while !left.is_empty() {
        let mut best: Option<(usize, usize)> = None;
        for (position, (_, members)) in order.iter().enumerate() {
            let covers = members.intersection(&left).count();
            if covers > best.map_or(0, |(_, most)| most) {
                best = Some((position, covers));
            }
        }
        let Some((position, _)) = best else {
            // The same ends and service both work and fail: no scope tells them apart, and none may be left out.
            let rest: Vec<usize> = std::mem::take(&mut left).into_iter().collect();
            let failures: Vec<&Cell> = rest.iter().map(|at| &cells[*at]).collect();
            found.push(Explanation {
                scope: in_common(&Candidate::ANY, &failures, cells),
                cells: rest,
            });
            break;
        };
        let (candidate, members) = &order[position];
        let explained: Vec<usize> = members.intersection(&left).copied().collect();
        left.retain(|at| !members.contains(at));
        let forwards: Vec<&Cell> = explained
            .iter()
            .map(|at| &cells[*at])
            .filter(|cell| names.candidates(cell).contains(candidate))
            .collect();
        found.push(Explanation {
            scope: in_common(candidate, &forwards, cells),
            cells: explained,
        });
    }
    found
}

/// Says what these failures have in common, as exactly as the failures allow: one node that only ever talked to one other may be either's fault.
fn in_common(candidate: &Candidate, failures: &[&Cell], all: &[Cell]) -> Scope {
    let Some(first) = failures.first() else {
        return Scope::default();
    };
    let family = failures.iter().all(|cell| cell.ipv6 == first.ipv6);
    let both_tried = all.iter().any(|cell| cell.ipv6 != first.ipv6);
    let one_service = failures.iter().all(|cell| cell.service == first.service);
    // What was asked of these services is what there is to compare with.
    let services: BTreeSet<&str> = failures.iter().map(|cell| cell.service.as_str()).collect();
    let all: Vec<&Cell> = all
        .iter()
        .filter(|cell| services.contains(cell.service.as_str()))
        .collect();
    let mut scope = Scope {
        service: one_service.then(|| first.service.clone()),
        ipv6: (candidate.ipv6.is_some() || (family && both_tried)).then_some(first.ipv6),
        ..Scope::default()
    };
    let one_way = failures
        .iter()
        .all(|cell| same(&cell.from, &first.from, Exactness::Cluster));
    if candidate.touching.0 != Exactness::Anywhere && !one_way {
        let touched = |exactness| {
            let in_all = |end: &&End| {
                failures
                    .iter()
                    .all(|cell| same(&cell.from, end, exactness) || same(&cell.to, end, exactness))
            };
            let ends = [&first.from, &first.to].into_iter().filter(in_all);
            ends.map(|end| place(end, exactness)).collect::<Vec<Place>>()
        };
        let asked = candidate.touching.0;
        // One node, if it is one: a zone may hold no other.
        let (exactness, touched) = match touched(Exactness::Node) {
            nodes if asked != Exactness::Network && !nodes.is_empty() => (Exactness::Node, nodes),
            _ => (asked, touched(asked)),
        };
        match touched.as_slice() {
            // Both ends are in all of them: it may be either, or the way between.
            [one, other] if exactness >= Exactness::Node => {
                (scope.from, scope.to) = (Some(one.clone()), Some(other.clone()));
                scope.both_ways = true;
            }
            [one, ..] => scope.touching = Some(one.clone()),
            [] => {}
        }
        return scope;
    }
    let common = |side: fn(&Cell) -> &End, asked: Exactness| {
        let own = side(first);
        let shared = |exactness| failures.iter().all(|cell| same(side(cell), own, exactness));
        let holds_fewer = |than: Exactness, exactness: Exactness| {
            all.iter()
                .any(|cell| same(side(cell), own, than) && !same(side(cell), own, exactness))
        };
        // One node, if they have one in common and its cluster has others, or its pods, if it was tried itself; a zone only if that is what they
        // have in common.
        let exactness = if shared(Exactness::Network) && holds_fewer(Exactness::Node, Exactness::Network) {
            Exactness::Network
        } else if shared(Exactness::Node) && holds_fewer(Exactness::Cluster, Exactness::Node) {
            Exactness::Node
        } else if asked == Exactness::Zone {
            Exactness::Zone
        } else if shared(Exactness::Cluster) {
            Exactness::Cluster
        } else {
            return None;
        };
        // What every cell has in common tells nothing.
        holds_fewer(Exactness::Anywhere, exactness).then(|| place(own, exactness))
    };
    scope.from = common(|cell| &cell.from, candidate.from.0);
    scope.to = common(|cell| &cell.to, candidate.to.0);
    scope
}

fn same(one: &End, other: &End, exactness: Exactness) -> bool {
    match exactness {
        Exactness::Anywhere => true,
        Exactness::Cluster => one.cluster == other.cluster,
        Exactness::Zone => !one.zone.is_empty() && one.cluster == other.cluster && one.zone == other.zone,
        Exactness::Node => one.cluster == other.cluster && one.node == other.node,
        Exactness::Network => same(one, other, Exactness::Node) && one.pod == other.pod,
    }
}

fn place(end: &End, exactness: Exactness) -> Place {
    Place {
        cluster: end.cluster.clone(),
        zone: (exactness == Exactness::Zone).then(|| end.zone.clone()),
        node: (exactness >= Exactness::Node).then(|| end.node.clone()),
        pods: exactness == Exactness::Network && end.pod,
    }
}

/// Names as numbers, so that candidates are small.
#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<(Exactness, String, String, bool), u32>,
    services: HashMap<String, u32>,
}

impl Names {
    fn number(&mut self, exactness: Exactness, end: &End) -> Option<(Exactness, u32)> {
        let name = match exactness {
            Exactness::Anywhere => return Some((exactness, 0)),
            Exactness::Cluster => String::new(),
            Exactness::Zone if end.zone.is_empty() => return None,
            Exactness::Zone => end.zone.clone(),
            Exactness::Node | Exactness::Network => end.node.clone(),
        };
        let pod = exactness == Exactness::Network && end.pod;
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let number = self
            .numbers
            .entry((exactness, end.cluster.clone(), name, pod))
            .or_insert(next);
        Some((exactness, *number))
    }

    fn service(&mut self, name: &str) -> u32 {
        let next = u32::try_from(self.services.len()).unwrap_or(u32::MAX);
        *self.services.entry(name.to_owned()).or_insert(next)
    }

    /// Every scope that this cell is in.
    fn candidates(&mut self, cell: &Cell) -> Vec<Candidate> {
        let service = self.service(&cell.service);
        let services = [None, Some(service)];
        self.between(&cell.from, &cell.to, &services, cell.ipv6)
    }

    /// The scopes of the opposite direction whose failure would take this cell with it.
    fn backwards(&mut self, cell: &Cell) -> Vec<Candidate> {
        if !cell.two_way {
            return Vec::new();
        }
        let mut scopes = self.between(&cell.to, &cell.from, &[None], cell.ipv6);
        scopes.retain(|one| one.from.0 != Exactness::Anywhere || one.to.0 != Exactness::Anywhere);
        scopes
    }

    fn between(&mut self, from: &End, to: &End, services: &[Option<u32>], ipv6: bool) -> Vec<Candidate> {
        let senders: Vec<_> = EXACTNESS
            .iter()
            .filter_map(|exactness| self.number(*exactness, from))
            .collect();
        let receivers: Vec<_> = EXACTNESS
            .iter()
            .filter_map(|exactness| self.number(*exactness, to))
            .collect();
        let mut found = Vec::with_capacity(132);
        for service in services.iter().copied() {
            for family in [None, Some(ipv6)] {
                for from in &senders {
                    for to in &receivers {
                        found.push(Candidate {
                            service,
                            ipv6: family,
                            from: *from,
                            to: *to,
                            ..Candidate::ANY
                        });
                    }
                }
                for place in senders
                    .iter()
                    .chain(&receivers)
                    .filter(|place| place.0 != Exactness::Anywhere)
                {
                    found.push(Candidate {
                        service,
                        ipv6: family,
                        touching: *place,
                        ..Candidate::ANY
                    });
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
