//! What the checks of this family share: settings compared over all nodes of all clusters, and what is not loaded yet.

use std::fmt::Display;

use crate::check::{Judged, NoVerdict};
use crate::compare::Groups;
use crate::facts::provenance::Known;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome, State};
use crate::profile::cilium::Settings;
use crate::profile::cilium::on_nodes::OnNodes;
use crate::report::{Evidence, ONE_CLUSTER, Severity};

/// Expects one value of a setting on all nodes of all clusters; nodes to which it does not apply are left out. For checks of the set as
/// a whole, too: of one cluster alone nothing is compared.
pub(super) fn expect_equal<T: Ord + Clone + Display>(
    audit: &Audit<'_>,
    read: impl Fn(&Settings<'_>) -> Result<Known<T>, NoVerdict>,
    broken: impl Fn(Outcome) -> Outcome,
) -> Vec<Outcome> {
    if audit.clusters.len() < 2 {
        return vec![Outcome::does_not_apply(ONE_CLUSTER).about(audit.everyone())];
    }
    let groups = Groups::of(audit, |cluster| cluster.cilium()?.on_all_nodes(&read));
    let mixed: Vec<(ClusterId, &OnNodes<T>)> = groups
        .values
        .iter()
        .filter(|(value, _)| value.is_mixed())
        .flat_map(|(value, members)| members.iter().map(move |(id, _)| (*id, value)))
        .collect();
    let overrides: Vec<Evidence> = mixed
        .iter()
        .flat_map(|(id, value)| {
            let name = audit.cluster(*id).name();
            let exceptions = value.exceptions.iter();
            exceptions.map(move |exception| Evidence::new(name, &exception.value, &exception.source))
        })
        .collect();
    if groups.values.len() > 1 || mixed.is_empty() {
        return groups.expect_equal(audit, |outcome, _| broken(outcome.evidence_all(overrides)));
    }
    // All clusters show the same, but nodes of one and the same cluster differ.
    let clusters = groups.clusters();
    let outcome = Outcome::broken()
        .found(groups.describe(audit))
        .evidence_all(groups.evidence(audit))
        .evidence_all(overrides)
        .about(clusters);
    let mut outcomes = vec![broken(outcome)];
    outcomes.extend(groups.outcomes_without());
    outcomes
}

/// Judges every cluster by itself, for checks that work something out about all of them first.
pub(super) fn each<'a>(audit: &Audit<'a>, judge: impl Fn(&Cluster<'a>) -> Judged) -> Vec<Outcome> {
    let judged = audit.clusters.iter().map(|cluster| (cluster.id, judge(cluster)));
    judged
        .map(|(id, judged)| judged.unwrap_or_else(Outcome::none).about([id]))
        .collect()
}

/// The value that the objects show under a key, as evidence.
pub(super) fn evidence(cluster: &Cluster<'_>, settings: &Settings<'_>, keys: &[&str]) -> Vec<Evidence> {
    keys.iter()
        .filter_map(|key| settings.shown(key).ok())
        .map(|known| {
            let value = known.value.clone();
            Evidence::new(cluster.name(), &value, &known.source)
        })
        .collect()
}

/// What to add to what was found, where the agent refuses to start on one of these keys.
pub(super) fn not_loaded(cluster: &Cluster<'_>, settings: &Settings<'_>, keys: &[&str]) -> String {
    let Some(refusal) = settings.refusal(keys) else {
        return String::new();
    };
    let workloads = cluster.facts.workloads.ok().into_iter().flatten();
    let running = workloads
        .filter(|workload| workload.kind == "DaemonSet" && workload.namespace == settings.cilium.namespace)
        .any(|workload| workload.container("cilium-agent").is_some() && workload.ready > 0);
    let state = if running {
        "change not yet loaded: agents that restart now fail"
    } else {
        "the agent refuses to start"
    };
    format!(" ({state}, {})", refusal.why)
}

/// One broken outcome for each cluster whose agent refuses to start on exactly these keys.
pub(super) fn refused(audit: &Audit<'_>, keys: &[&str], expected: &str) -> Vec<Outcome> {
    let judge = |cluster: &Cluster<'_>| -> Judged {
        let settings = cluster.cilium()?;
        if !settings.refusals().iter().any(|refusal| refusal.keys == keys) {
            return Err(NoVerdict::does_not_apply("the agent accepts the value"));
        }
        let values: Vec<String> = keys
            .iter()
            .filter_map(|key| Some(format!("{key} {}", settings.shown(key).ok()?.value)))
            .collect();
        Ok(Outcome::broken()
            .expected(expected)
            .found(values.join(", ") + &not_loaded(cluster, settings, keys))
            .evidence_all(evidence(cluster, settings, keys))
            .remedy("correct the value before an agent restarts: with it none starts"))
    };
    each(audit, judge).into_iter().filter(Outcome::is_broken).collect()
}

/// Outcomes of which those without a verdict are joined where they share their reason.
pub(super) fn joined(outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let mut result: Vec<Outcome> = Vec::new();
    for outcome in outcomes {
        let same = |other: &&mut Outcome| matches!(outcome.state, State::NoVerdict(_)) && other.state == outcome.state;
        match result.iter_mut().find(same) {
            Some(other) => {
                other.clusters.extend(&outcome.clusters);
                other.clusters.sort_unstable();
                other.clusters.dedup();
            }
            None => result.push(outcome),
        }
    }
    result
}

/// The same outcome as a warning.
pub(super) fn as_warning(outcome: Outcome) -> Outcome {
    Outcome {
        state: State::BrokenAs(Severity::Warn),
        ..outcome
    }
}

/// Whether a fact is missing for a verdict.
pub(super) fn is_missing(outcome: &Outcome) -> bool {
    matches!(&outcome.state, State::NoVerdict(NoVerdict::Missing(_)))
}
