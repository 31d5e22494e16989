//! [`Audit`]: what a check may look at, all clusters at once.

use std::sync::OnceLock;

use crate::addressing::{PodRanges, ServiceRanges};
use crate::check::NoVerdict;
use crate::checks::net::space::AddressSpace;
use crate::facts::ClusterFacts;
use crate::facts::provenance::Unknown;
use crate::intent::Intent;
use crate::observation::Observations;
use crate::observation::failures::Failures;
use crate::outcome::ClusterId;
use crate::policy::Policy;
use crate::profile::Profile;
use crate::profile::cilium::Settings;
use crate::profile::joins::Joins;

/// One profile's judgement of a set of clusters: everything a check may look at.
#[derive(Debug)]
pub struct Audit<'a> {
    /// What the clusters are to be joined with.
    pub profile: Profile,
    /// The clusters; [`Cluster::id`] is the place in this list.
    pub clusters: &'a [Cluster<'a>],
    /// What the user plans beyond the clusters' own facts.
    pub intent: &'a Intent,
    /// What the user asked for.
    pub policy: &'a Policy,
    failures: Option<&'a Failures<'a>>,
    space: OnceLock<AddressSpace>,
    joins: OnceLock<Joins>,
}

/// One cluster, with what follows from its facts worked out once.
#[derive(Debug)]
pub struct Cluster<'a> {
    /// Its number in this audit.
    pub id: ClusterId,
    /// Its facts.
    pub facts: &'a ClusterFacts,
    pods: OnceLock<Result<PodRanges, Unknown>>,
    services: OnceLock<Result<ServiceRanges, Unknown>>,
    cilium: OnceLock<Result<Settings<'a>, Unknown>>,
}

impl<'a> Cluster<'a> {
    /// The cluster of these facts.
    pub fn new(id: ClusterId, facts: &'a ClusterFacts) -> Self {
        Self {
            id,
            facts,
            pods: OnceLock::new(),
            services: OnceLock::new(),
            cilium: OnceLock::new(),
        }
    }

    /// The name it goes by.
    pub fn name(&self) -> &'a str {
        &self.facts.name
    }

    /// Whether its nodes are containers of kind (`spec.providerID` of `kind://…`); not where its nodes are unknown.
    pub fn is_kind(&self) -> bool {
        let nodes = self.facts.nodes.ok();
        nodes.is_some_and(|nodes| nodes.iter().any(|node| node.provider_id.starts_with("kind://")))
    }

    /// The ranges its pods use, reconciled from all sources.
    pub fn pods(&self) -> Result<&PodRanges, Unknown> {
        self.pods
            .get_or_init(|| PodRanges::of(self))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The ranges its Services use, reconciled from all sources.
    pub fn services(&self) -> Result<&ServiceRanges, Unknown> {
        self.services
            .get_or_init(|| ServiceRanges::of(self))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Cilium's settings with the defaults of its version; `not installed` where there is no Cilium.
    pub fn cilium(&self) -> Result<&Settings<'a>, Unknown> {
        self.cilium
            .get_or_init(|| self.facts.cilium.get().and_then(Settings::of))
            .as_ref()
            .map_err(Clone::clone)
    }
}

impl<'a> Audit<'a> {
    /// The judgement of these clusters for this profile.
    pub fn new(profile: Profile, clusters: &'a [Cluster<'a>], intent: &'a Intent, policy: &'a Policy) -> Self {
        Self {
            profile,
            clusters,
            intent,
            policy,
            failures: None,
            space: OnceLock::new(),
            joins: OnceLock::new(),
        }
    }

    /// The same, with what agents saw.
    #[must_use]
    pub fn observed(self, failures: Option<&'a Failures<'a>>) -> Self {
        Self { failures, ..self }
    }

    /// What the probes showed; absent where no agent was asked to probe.
    pub fn failures(&self) -> Option<&'a Failures<'a>> {
        self.failures
    }

    /// What agents saw; absent where no agent was asked to probe.
    pub fn observations(&self) -> Option<&'a Observations> {
        self.failures.map(Failures::observations)
    }

    /// Every range of every cluster that can collide.
    pub fn space(&self) -> &AddressSpace {
        self.space.get_or_init(|| AddressSpace::of(self))
    }

    /// Which of these clusters are joined with each other already.
    pub fn joins(&self) -> &Joins {
        self.joins.get_or_init(|| Joins::of(self))
    }

    /// The cluster with this number.
    pub fn cluster(&self, id: ClusterId) -> &'a Cluster<'a> {
        &self.clusters[id]
    }

    /// The names of these clusters, joined for a sentence: `east, west and 3 others`.
    pub fn names(&self, ids: &[ClusterId]) -> String {
        const SHOWN: usize = 4;
        let names: Vec<&str> = ids.iter().take(SHOWN).map(|id| self.cluster(*id).name()).collect();
        match (ids.len(), names.split_last()) {
            (_, None) => String::new(),
            (1, Some((last, _))) => (*last).to_owned(),
            (count, Some(_)) if count > SHOWN => format!("{} and {} others", names.join(", "), count - SHOWN),
            (_, Some((last, rest))) => format!("{} and {last}", rest.join(", ")),
        }
    }

    /// The ids of all clusters.
    pub fn everyone(&self) -> Vec<ClusterId> {
        self.clusters.iter().map(|cluster| cluster.id).collect()
    }

    /// The ids of all clusters for which `keep` holds.
    pub fn clusters_where(&self, keep: impl Fn(&Cluster<'a>) -> bool) -> Vec<ClusterId> {
        self.clusters
            .iter()
            .filter(|cluster| keep(cluster))
            .map(|cluster| cluster.id)
            .collect()
    }

    /// A rule that needs Cilium everywhere does not apply where it is missing; [`crate::checks::clustermesh`] has a check for that.
    pub fn without_cilium(cluster: &Cluster<'_>) -> NoVerdict {
        NoVerdict::does_not_apply(format!("{} does not run Cilium", cluster.name()))
    }
}
