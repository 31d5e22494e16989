//! [`Joins`]: which clusters of an audit are joined with each other already, as their own objects show.
//!
//! Two clusters are joined where each is configured with the other. Source of what shows it: for ClusterMesh the entries of the Secrets
//! `cilium-clustermesh` and `cilium-kvstoremesh`, and what the chart makes of the same list where Secrets are not read (`hostAliases`, the users
//! of ConfigMap `clustermesh-remote-users`); for Submariner the `Cluster` and `Endpoint` objects that members copy from their broker.

use std::collections::{BTreeMap, HashMap};

use crate::check::NoVerdict;
use crate::facts::provenance::{Reason, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::ClusterId;
use crate::policy::Phase;
use crate::profile::Profile;
use crate::profile::cilium::control_plane;
use crate::profile::submariner::installed;

/// The end of the names under which the chart gives agents the addresses of their peers.
const MESH_DOMAIN: &str = ".mesh.cilium.io";
/// The beginning of the names of the users that peers are, in the etcd of a cluster.
const REMOTE_USER: &str = "remote-";

/// How two clusters stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// Neither is configured with the other.
    Apart,
    /// The first alone is configured with the second.
    First,
    /// The second alone is configured with the first.
    Second,
    /// Each is configured with the other.
    Joined,
}

/// Which clusters are joined with each other.
#[derive(Debug)]
pub struct Joins {
    phase: Phase,
    /// By cluster.
    peers: Vec<Peers>,
}

/// The clusters of the audit that one of them is configured with.
#[derive(Debug, Default)]
struct Peers {
    known: BTreeMap<ClusterId, Source>,
    /// Why there may be others that are not known.
    hidden: Option<Unknown>,
    /// Why others cannot be configured with this one, whatever they hide.
    cannot_be_one: bool,
}

impl Joins {
    /// What the objects of these clusters show.
    pub fn of(audit: &Audit<'_>) -> Self {
        let read: fn(&Cluster<'_>, &HashMap<String, Vec<ClusterId>>) -> Peers = match audit.profile {
            Profile::Clustermesh => mesh_peers,
            Profile::Submariner => members_known,
        };
        let mut names: HashMap<String, Vec<ClusterId>> = HashMap::new();
        for cluster in audit.clusters {
            if let Some(name) = name_in_mesh(audit.profile, cluster) {
                names.entry(name).or_default().push(cluster.id);
            }
        }
        let peers = audit.clusters.iter().map(|cluster| {
            let mut peers = if cluster.facts.planned {
                Peers {
                    cannot_be_one: true,
                    ..Peers::default()
                }
            } else {
                read(cluster, &names)
            };
            peers.known.remove(&cluster.id);
            peers
        });
        Self {
            phase: audit.policy.phase,
            peers: peers.collect(),
        }
    }

    /// How two clusters stand to each other by what their objects show, whatever the user says of it.
    pub fn standing(&self, first: ClusterId, second: ClusterId) -> Result<Standing, Unknown> {
        Ok(match (self.knows(first, second), self.knows(second, first)) {
            (Ok(true), Ok(true)) => Standing::Joined,
            (Ok(true), Ok(false)) => Standing::First,
            (Ok(false), Ok(true)) => Standing::Second,
            (Ok(false), _) | (_, Ok(false)) => Standing::Apart,
            (Err(why), _) | (_, Err(why)) => return Err(why),
        })
    }

    /// Where a cluster is seen to be configured with another.
    pub fn source(&self, of: ClusterId, with: ClusterId) -> Option<&Source> {
        self.peers.get(of)?.known.get(&with)
    }

    /// The clusters of the audit that one is seen to be configured with.
    pub fn known_to(&self, one: ClusterId) -> impl Iterator<Item = ClusterId> {
        let peers = self.peers.get(one).into_iter();
        peers.flat_map(|peers| peers.known.keys().copied())
    }

    fn knows(&self, one: ClusterId, other: ClusterId) -> Result<bool, Unknown> {
        let (Some(own), Some(others)) = (self.peers.get(one), self.peers.get(other)) else {
            return Ok(false);
        };
        match &own.hidden {
            _ if own.known.contains_key(&other) => Ok(true),
            Some(why) if !others.cannot_be_one => Err(why.clone()),
            _ => Ok(false),
        }
    }

    /// Whether two clusters are to be judged as joined: as the user says, else as their objects show.
    pub fn are_joined(&self, one: ClusterId, other: ClusterId) -> Result<bool, Unknown> {
        match self.phase {
            Phase::Before => Ok(false),
            Phase::Joined => Ok(one != other),
            Phase::Auto => Ok(self.standing(one, other)? == Standing::Joined),
        }
    }

    /// The other clusters that one is to be judged as joined with; where there is none, why not.
    pub fn peers_of(&self, cluster: ClusterId) -> Result<Vec<ClusterId>, NoVerdict> {
        let candidates: Vec<ClusterId> = match self.phase {
            Phase::Before => return Err(NoVerdict::does_not_apply("judged as before the join (--phase before)")),
            Phase::Joined => (0..self.peers.len()).filter(|other| *other != cluster).collect(),
            Phase::Auto => {
                let known = self.peers.get(cluster).map(|peers| peers.known.keys().copied());
                let both = known.into_iter().flatten();
                both.filter(|other| self.are_joined(cluster, *other) == Ok(true))
                    .collect()
            }
        };
        if !candidates.is_empty() {
            return Ok(candidates);
        }
        let hidden = self.peers.get(cluster).and_then(|peers| peers.hidden.as_ref());
        Err(match hidden {
            Some(why) => NoVerdict::does_not_apply(format!(
                "whether it is joined is not known ({}): judged as before the join; --phase joined judges as after it",
                why.detail
            )),
            None => NoVerdict::does_not_apply("it is joined with no cluster of this audit yet"),
        })
    }
}

/// What a cluster is called among its peers.
fn name_in_mesh(profile: Profile, cluster: &Cluster<'_>) -> Option<String> {
    match profile {
        Profile::Clustermesh => Some(cluster.cilium().ok()?.cluster_name().ok()?.value),
        Profile::Submariner => Some(installed(cluster).ok()??.value.cluster_id.clone()),
    }
}

/// The peers of a cluster of ClusterMesh.
fn mesh_peers(cluster: &Cluster<'_>, names: &HashMap<String, Vec<ClusterId>>) -> Peers {
    let mut peers = Peers {
        // Who has no control plane to dial is nobody's peer.
        cannot_be_one: matches!(control_plane::service(cluster), Ok(None)),
        ..Peers::default()
    };
    let mut add = |name: &str, source: &Source| {
        for id in names.get(name).into_iter().flatten() {
            peers.known.entry(*id).or_insert_with(|| source.clone());
        }
    };
    let cilium = match cluster.facts.cilium.get() {
        Ok(cilium) => cilium,
        Err(why) => {
            peers.cannot_be_one = why.reason == Reason::NotInstalled;
            peers.hidden = (!peers.cannot_be_one).then_some(why);
            return peers;
        }
    };
    if let Ok(aliases) = cilium.mesh.host_aliases.known_value() {
        for name in aliases.value.keys().filter_map(|host| host.strip_suffix(MESH_DOMAIN)) {
            add(name, &aliases.source);
        }
    }
    if let Ok(users) = cilium.mesh.remote_users.known_value() {
        for name in users.value.iter().filter_map(|user| user.strip_prefix(REMOTE_USER)) {
            add(name, &users.source);
        }
    }
    match cilium.secrets.get() {
        Ok(secrets) => {
            for (name, peer) in &secrets.peers {
                add(name, &Source::read(format!("Secret {}", peer.secrets.join(", ")), name));
            }
        }
        Err(why) => peers.hidden = Some(why),
    }
    peers
}

/// The members that a member of a clusterset has heard of.
fn members_known(cluster: &Cluster<'_>, names: &HashMap<String, Vec<ClusterId>>) -> Peers {
    let mut peers = Peers::default();
    match installed(cluster) {
        Ok(Some(_)) => {}
        Ok(None) => {
            peers.cannot_be_one = true;
            return peers;
        }
        Err(why) => {
            peers.hidden = Some(why);
            return peers;
        }
    }
    let Ok(facts) = cluster.facts.submariner.get() else {
        return peers;
    };
    let mut add = |id: &str, object: &str| {
        for known in names.get(id).into_iter().flatten() {
            let source = || Source::read(format!("{object} {id}"), "spec.cluster_id");
            peers.known.entry(*known).or_insert_with(source);
        }
    };
    match facts.clusters.get() {
        Ok(clusters) => clusters.iter().for_each(|object| add(&object.cluster_id, "Cluster")),
        Err(why) => peers.hidden = Some(why),
    }
    // Whom a gateway has a tunnel with it has heard of, too.
    if let Ok(endpoints) = facts.endpoints.get() {
        endpoints.iter().for_each(|object| add(&object.cluster_id, "Endpoint"));
    }
    peers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ClusterFacts;
    use crate::facts::cilium::{MeshSecrets, Peer};
    use crate::facts::provenance::Fact;
    use crate::intent::Intent;
    use crate::samples;

    fn standing(profile: Profile, facts: &[ClusterFacts]) -> Result<Standing, Unknown> {
        with(profile, Phase::Auto, facts, |joins| joins.standing(0, 1))
    }

    fn with<T>(profile: Profile, phase: Phase, facts: &[ClusterFacts], ask: impl Fn(&Joins) -> T) -> T {
        let clusters: Vec<Cluster<'_>> = facts
            .iter()
            .enumerate()
            .map(|(id, facts)| Cluster::new(id, facts))
            .collect();
        let (intent, mut policy) = (Intent::default(), samples::policy(profile));
        policy.phase = phase;
        ask(Audit::new(profile, &clusters, &intent, &policy).joins())
    }

    /// East and west with Cilium, each configured with these peers.
    fn meshes(of_east: &[&str], of_west: &[&str]) -> [ClusterFacts; 2] {
        [("east", 1, of_east), ("west", 2, of_west)].map(|(name, number, names)| {
            let mut facts = samples::cilium(name, number);
            let peers = names.iter().map(|name| ((*name).to_owned(), Peer::default()));
            samples::cilium_mut(&mut facts).secrets = Fact::known(
                MeshSecrets {
                    peers: peers.collect(),
                    ..MeshSecrets::default()
                },
                Source::read("Secrets", ""),
            );
            facts
        })
    }

    #[test]
    fn clusters_are_joined_where_each_is_configured_with_the_other() {
        let of = |east: &[&str], west: &[&str]| standing(Profile::Clustermesh, &meshes(east, west)).unwrap();
        assert_eq!(of(&["west"], &["east"]), Standing::Joined);
        assert_eq!(of(&["west"], &[]), Standing::First);
        assert_eq!(of(&[], &["east", "north"]), Standing::Second);
        assert_eq!(of(&["east"], &["north"]), Standing::Apart);
    }

    #[test]
    fn what_the_chart_makes_of_the_peers_shows_them_without_secrets() {
        let mut facts = [samples::cilium("east", 1), samples::cilium("west", 2)];
        assert!(standing(Profile::Clustermesh, &facts).is_err(), "Secrets were not read");
        let source = Source::read("DaemonSet cilium", "hostAliases");
        let aliases = BTreeMap::from([("west.mesh.cilium.io".to_owned(), vec!["172.31.2.11".to_owned()])]);
        samples::cilium_mut(&mut facts[0]).mesh.host_aliases = Fact::known(aliases, source.clone());
        assert!(standing(Profile::Clustermesh, &facts).is_err());
        let users = vec!["admin".to_owned(), "remote-east".to_owned()];
        samples::cilium_mut(&mut facts[1]).mesh.remote_users = Fact::known(users, source);
        assert_eq!(standing(Profile::Clustermesh, &facts), Ok(Standing::Joined));
    }

    #[test]
    fn nobody_is_the_peer_of_a_cluster_without_a_control_plane() {
        let mut facts = [samples::cilium("east", 1), samples::cilium("west", 2)];
        samples::value_mut(&mut facts[1].services).clear();
        assert_eq!(standing(Profile::Clustermesh, &facts), Ok(Standing::Apart));
        assert_eq!(
            standing(
                Profile::Clustermesh,
                &[samples::cluster("east", 1), samples::cilium("west", 2)]
            ),
            Ok(Standing::Apart)
        );
    }

    #[test]
    fn members_of_one_clusterset_are_joined() {
        let mut members = samples::submariner(&[("east", 1), ("west", 2)]);
        assert_eq!(standing(Profile::Submariner, &members), Ok(Standing::Joined));
        let of_east = samples::submariner_mut(&mut members[0]);
        samples::value_mut(&mut of_east.clusters).retain(|object| object.cluster_id == "east");
        samples::value_mut(&mut of_east.endpoints).retain(|object| object.cluster_id == "east");
        assert_eq!(standing(Profile::Submariner, &members), Ok(Standing::Second));
        let strangers = [samples::flannel("east", 1), samples::flannel("west", 2)];
        assert_eq!(standing(Profile::Submariner, &strangers), Ok(Standing::Apart));
    }

    #[test]
    fn the_user_has_the_last_word() {
        let joined = meshes(&["west"], &["east"]);
        let apart = meshes(&[], &[]);
        let peers = |phase, facts: &[ClusterFacts]| {
            with(Profile::Clustermesh, phase, facts, |joins| {
                joins.peers_of(0).unwrap_or_default()
            })
        };
        assert_eq!(peers(Phase::Auto, &joined), [1]);
        assert_eq!(peers(Phase::Before, &joined), [] as [ClusterId; 0]);
        assert_eq!(peers(Phase::Auto, &apart), [] as [ClusterId; 0]);
        assert_eq!(peers(Phase::Joined, &apart), [1]);
    }
}
