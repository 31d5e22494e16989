//! What an audit of clusters that are joined already looks at besides: said aloud, and asked of the agents that it starts.

use std::collections::BTreeMap;

use prejoin_checks::alike::some_of;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::fleet::{Audit, Cluster};
use prejoin_checks::plan::make;
use prejoin_checks::policy::Phase;
use prejoin_checks::profile::Profile;
use prejoin_checks::profile::flow::{self, Flow, Sender, TEST_SERVICE};

use crate::agents::ephemeral::{Guests, Wishes};
use crate::agents::manifest::TestService;
use crate::output;
use crate::run::Member;
use crate::settings::Settings;
use crate::transport::Route;

/// Each profile's judgement of these clusters, before any agent is there.
fn each<T>(facts: &[ClusterFacts], settings: &Settings, mut look: impl FnMut(&Audit<'_>) -> T) -> Vec<T> {
    let clusters: Vec<Cluster<'_>> = (0..).zip(facts).map(|(id, facts)| Cluster::new(id, facts)).collect();
    let profiles = settings.policy.profiles.iter();
    profiles
        .map(|profile| look(&Audit::new(*profile, &clusters, &settings.intent, &settings.policy)))
        .collect()
}

/// Says which clusters are joined, where that decides what is looked at.
pub(super) fn say(facts: &[ClusterFacts], settings: &Settings) {
    if settings.policy.phase != Phase::Auto {
        return;
    }
    each(facts, settings, |audit| {
        let is_joined = |cluster: &&Cluster<'_>| audit.joins().peers_of(cluster.id).is_ok();
        let joined: Vec<&str> = audit.clusters.iter().filter(is_joined).map(Cluster::name).collect();
        if joined.is_empty() {
            return;
        }
        output::say(&format!(
            "prejoin: {}: {} are joined already, and are judged so (--phase before judges as before the join)",
            audit.profile,
            some_of(joined)
        ));
    });
}

/// What is wanted in each cluster besides agents on nodes, by name: pods where flows start and end at pods of every node, and Services by which
/// clusters reach what they are joined with.
pub(super) fn wishes(facts: &[ClusterFacts], settings: &Settings) -> BTreeMap<String, Wishes> {
    let mut wishes: BTreeMap<String, Wishes> = BTreeMap::new();
    each(facts, settings, |audit| {
        let is_selected = |flow: &&Flow| {
            let check = prejoin_checks::catalog::find(flow.code);
            check.is_none_or(|check| audit.policy.selects(check))
        };
        for flow in flow::required(audit).into_iter().filter(is_selected) {
            for cluster in audit.clusters.iter().filter(|cluster| !cluster.facts.planned) {
                let is_of_pods = matches!((flow.sender)(audit, cluster), Ok(Sender::PodsOfEveryNode));
                if !is_of_pods || (flow.need)(audit, cluster).is_err() {
                    continue;
                }
                let wanted = wishes.entry(cluster.name().to_owned()).or_default();
                wanted.pods = true;
                let targets = (flow.targets)(audit, cluster).unwrap_or_default();
                if targets.iter().any(|target| target.name == TEST_SERVICE) {
                    wanted.services.extend(services_in(audit, cluster));
                }
            }
        }
    });
    wishes
}

/// The test Services of a cluster: its own, and for ClusterMesh, which joins Services by their names, those of its peers.
fn services_in(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Vec<TestService> {
    let mut owners = vec![cluster.id];
    if audit.profile == Profile::Clustermesh {
        owners.extend(audit.joins().peers_of(cluster.id).unwrap_or_default());
    }
    let service = |owner: usize| TestService {
        profile: audit.profile,
        of: audit.cluster(owner).name().to_owned(),
        number: owner,
        own: owner == cluster.id,
    };
    owners.into_iter().map(service).collect()
}

/// The test Services that were made, as the plan needs them.
pub(super) fn services(guests: &[Guests], members: &[Member]) -> Vec<make::TestService> {
    let pod_behind = |service: &TestService| {
        let owner = service.of.as_str();
        let guests = guests.iter().find(|guests| guests.live.name == owner)?;
        let is_own = |made: &TestService| made.own && made.profile == service.profile;
        guests.services().find(|(made, _, _)| is_own(made))?;
        let pod = guests.pod_behind()?;
        let is_it = |member: &&Member| {
            member.id.cluster == owner && matches!(&member.route, Route::Exec(exec) if exec.pod == pod)
        };
        members.iter().find(is_it)?.id.addresses.first().copied()
    };
    let mut made = Vec::new();
    for own in guests {
        for (service, addresses, name) in own.services() {
            let Some(pod) = pod_behind(service) else { continue };
            let seen_from = |from: &str, address, host: String| make::TestService {
                profile: service.profile,
                of: service.of.clone(),
                from: from.to_owned(),
                address,
                host,
                port: prejoin_checks::plan::SPARE_UDP_PORT,
                pod,
            };
            match service.profile {
                // Each cluster has an address of its own for it.
                Profile::Clustermesh if !service.own => {
                    let same_family = addresses.iter().find(|address| address.is_ipv4() == pod.is_ipv4());
                    if let Some(address) = same_family {
                        made.push(seen_from(&own.live.name, Some(*address), String::new()));
                    }
                }
                Profile::Clustermesh => {}
                // All clusters but its own know it by one name.
                Profile::Submariner => {
                    let others = guests.iter().filter(|other| other.live.name != own.live.name);
                    made.extend(others.map(|other| seen_from(&other.live.name, None, name.clone())));
                }
            }
        }
    }
    made
}
