//! Which products clusters already show signs of, for audits that name no profile.

use super::Profile;
use crate::facts::ClusterFacts;

/// The profiles that at least one cluster shows signs of, in the order of [`Profile::ALL`].
pub fn of(clusters: &[ClusterFacts]) -> Vec<Profile> {
    let shows = |profile: &Profile| {
        clusters.iter().any(|facts| match profile {
            Profile::Clustermesh => has_cluster_mesh(facts),
            Profile::Submariner => facts.submariner.ok().is_some(),
        })
    };
    Profile::ALL.into_iter().filter(shows).collect()
}

/// A mesh control plane, or an id that only a mesh needs. Cilium alone is no sign: it is a network plugin first.
fn has_cluster_mesh(facts: &ClusterFacts) -> bool {
    const CONTROL_PLANE: &str = "clustermesh-apiserver";
    let id = facts
        .cilium
        .ok()
        .and_then(|cilium| cilium.config.ok())
        .and_then(|config| config.get("cluster-id"));
    let deployed = facts
        .workloads
        .ok()
        .is_some_and(|workloads| workloads.iter().any(|workload| workload.name == CONTROL_PLANE));
    let exposed = facts
        .services
        .ok()
        .is_some_and(|services| services.iter().any(|service| service.name == CONTROL_PLANE));
    deployed || exposed || id.is_some_and(|id| id != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::provenance::{Fact, Source};
    use crate::facts::submariner::Submariner;
    use crate::samples;

    #[test]
    fn a_plain_cluster_shows_no_signs() {
        assert_eq!(of(&[samples::cluster("east", 1)]), []);
    }

    #[test]
    fn a_cluster_id_is_a_sign_of_cluster_mesh() {
        assert_eq!(of(&[samples::cilium("east", 1)]), [Profile::Clustermesh]);
    }

    #[test]
    fn one_cluster_with_submariner_is_enough() {
        let mut west = samples::cluster("west", 2);
        west.submariner = Fact::known(Submariner::default(), Source::read("Submariner", ""));
        assert_eq!(of(&[samples::cluster("east", 1), west.clone()]), [Profile::Submariner]);
        assert_eq!(of(&[samples::cilium("east", 1), west]), Profile::ALL);
    }
}
