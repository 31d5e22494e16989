//! The flows a profile needs between clusters: who must reach whom, on what, and why.
//!
//! A [`Flow`] is data; the number of its port comes from each cluster's own configuration. A check of the same code says whether it was
//! proven. Without agents nothing is: a required flow is then `unknown`, or `not asked` if the user said so, and never a pass.

use crate::check::NoVerdict;
use crate::compare::{Groups, nothing_to_compare};
use crate::facts::provenance::{Known, Reason};
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome, State};
use crate::policy::Probe;
use crate::profile::Profile;

/// One kind of traffic that a profile needs between clusters.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// The code of the check that judges it.
    pub code: &'static str,
    /// Who sends: `every node`.
    pub from: &'static str,
    /// Who must receive it: `every node of the other clusters`.
    pub to: &'static str,
    /// What it carries.
    pub purpose: &'static str,
    /// What this cluster must be reached on, in words (`UDP 8472`), with where the number was read; or why it needs no such flow.
    pub need: fn(&Audit<'_>, &Cluster<'_>) -> Result<Known<String>, NoVerdict>,
}

/// All flows of a profile.
pub fn flows(profile: Profile) -> &'static [&'static Flow] {
    match profile {
        Profile::Clustermesh => crate::checks::clustermesh::FLOWS,
        Profile::Submariner => crate::checks::submariner::FLOWS,
    }
}

/// How many flows these clusters need for this profile: for coverage.
pub fn required(audit: &Audit<'_>) -> u64 {
    let needed = |flow: &&&Flow| {
        Groups::of(audit, |cluster| (flow.need)(audit, cluster))
            .clusters()
            .len()
            >= 2
    };
    flows(audit.profile).iter().filter(needed).count() as u64
}

/// What is known of one flow.
pub fn judge(audit: &Audit<'_>, flow: &Flow) -> Vec<Outcome> {
    let needs = Groups::of(audit, |cluster| (flow.need)(audit, cluster));
    let clusters = needs.clusters();
    let (reason, detail) = match audit.policy.probe {
        Probe::None => (Reason::NotAsked, "flows are not probed with --probe none"),
        _ => (Reason::NoAgent, "no agent is there to prove a flow"),
    };
    let mut outcomes = needs.outcomes_without();
    // What is not asked needs no facts either.
    outcomes.retain(|outcome| {
        reason != Reason::NotAsked || matches!(outcome.state, State::NoVerdict(NoVerdict::DoesNotApply(_)))
    });
    if clusters.len() >= 2 || (reason == Reason::NotAsked && outcomes.is_empty()) {
        let outcome = Outcome::none(NoVerdict::missing(reason, detail))
            .expected(format!(
                "{} from {} to {}, both ways: {}",
                needs.describe(audit),
                flow.from,
                flow.to,
                flow.purpose
            ))
            .evidence_all(needs.evidence(audit))
            .cause(detail)
            .about(if clusters.is_empty() { everyone(audit) } else { clusters });
        outcomes.push(outcome);
    } else if !clusters.is_empty() {
        outcomes.push(nothing_to_compare(clusters));
    }
    outcomes
}

fn everyone(audit: &Audit<'_>) -> Vec<ClusterId> {
    audit.clusters.iter().map(|cluster| cluster.id).collect()
}
