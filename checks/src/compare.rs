//! Comparing all clusters at once: by grouping equal values, never pair by pair.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::check::NoVerdict;
use crate::facts::provenance::Known;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::report::Evidence;

/// The clusters' values of one thing, grouped.
#[derive(Debug)]
pub struct Groups<T> {
    /// Clusters by value, with where each value was read.
    pub values: BTreeMap<T, Vec<(ClusterId, Known<T>)>>,
    /// Clusters without a value, by why.
    pub without: BTreeMap<NoVerdict, Vec<ClusterId>>,
}

impl<T: Ord + Clone + Display> Groups<T> {
    /// Reads one value of every cluster and groups them.
    pub fn of(audit: &Audit<'_>, read: impl Fn(&Cluster<'_>) -> Result<Known<T>, NoVerdict>) -> Self {
        let mut groups = Self {
            values: BTreeMap::new(),
            without: BTreeMap::new(),
        };
        for cluster in audit.clusters {
            match read(cluster) {
                Ok(known) => groups
                    .values
                    .entry(known.value.clone())
                    .or_default()
                    .push((cluster.id, known)),
                Err(why) => groups.without.entry(why).or_default().push(cluster.id),
            }
        }
        groups
    }

    /// The clusters that have a value.
    pub fn clusters(&self) -> Vec<ClusterId> {
        let mut ids: Vec<_> = self.values.values().flatten().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// The groups' members.
    pub fn parts(&self) -> Vec<Vec<ClusterId>> {
        self.values
            .values()
            .map(|members| members.iter().map(|(id, _)| *id).collect())
            .collect()
    }

    /// Every value with where it was read, in the order of the clusters.
    pub fn evidence(&self, audit: &Audit<'_>) -> Vec<Evidence> {
        let mut members: Vec<_> = self.values.values().flatten().collect();
        members.sort_by_key(|(id, _)| *id);
        members
            .into_iter()
            .map(|(id, known)| Evidence::of(audit.cluster(*id).name(), known))
            .collect()
    }

    /// The groups in words: `vxlan on east, geneve on west`.
    pub fn describe(&self, audit: &Audit<'_>) -> String {
        let parts: Vec<String> = self
            .values
            .iter()
            .map(|(value, members)| {
                let ids: Vec<_> = members.iter().map(|(id, _)| *id).collect();
                format!("{value} on {}", audit.names(&ids))
            })
            .collect();
        parts.join(", ")
    }

    /// One outcome for each reason why clusters have no value.
    pub fn outcomes_without(&self) -> Vec<Outcome> {
        self.without
            .iter()
            .map(|(why, ids)| Outcome::none(why.clone()).about(ids.iter().copied()))
            .collect()
    }

    /// Expects one value everywhere: one outcome about all clusters that have one, and one for each reason why some have none.
    pub fn expect_equal(self, audit: &Audit<'_>, broken: impl FnOnce(Outcome, &Self) -> Outcome) -> Vec<Outcome> {
        let mut outcomes = self.outcomes_without();
        let clusters = self.clusters();
        if clusters.len() >= 2 {
            let evidence = self.evidence(audit);
            let outcome = if self.values.len() == 1 {
                Outcome::holds().found(self.describe(audit))
            } else {
                let outcome = Outcome::broken().found(self.describe(audit)).across(self.parts());
                broken(outcome, &self)
            };
            outcomes.insert(0, outcome.about(clusters).evidence_all(evidence));
        } else if self.without.is_empty() || !clusters.is_empty() {
            outcomes.insert(0, nothing_to_compare(clusters));
        }
        outcomes
    }

    /// Expects a different value everywhere: one outcome for each value that several clusters have, or one that says there is none.
    pub fn expect_distinct(self, audit: &Audit<'_>, broken: impl Fn(Outcome, &T) -> Outcome) -> Vec<Outcome> {
        let clusters = self.clusters();
        let mut outcomes: Vec<Outcome> = self
            .values
            .iter()
            .filter(|(_, members)| members.len() > 1)
            .map(|(value, members)| {
                let ids: Vec<_> = members.iter().map(|(id, _)| *id).collect();
                let outcome = Outcome::broken()
                    .found(format!("{value} on {}", audit.names(&ids)))
                    .evidence_all(
                        members
                            .iter()
                            .map(|(id, known)| Evidence::of(audit.cluster(*id).name(), known)),
                    )
                    .within(ids.clone())
                    .about(ids);
                broken(outcome, value)
            })
            .collect();
        if outcomes.is_empty() && clusters.len() >= 2 {
            outcomes.push(
                Outcome::holds()
                    .found(self.describe(audit))
                    .evidence_all(self.evidence(audit))
                    .about(clusters),
            );
        } else if outcomes.is_empty() && !clusters.is_empty() {
            outcomes.push(nothing_to_compare(clusters));
        }
        outcomes.extend(self.outcomes_without());
        outcomes
    }
}

/// A comparison that only one cluster (or none) has a value for.
pub fn nothing_to_compare(clusters: Vec<ClusterId>) -> Outcome {
    Outcome::does_not_apply("fewer than two clusters have a value to compare").about(clusters)
}
