//! Measurements of paths, put down to the fewest causes.

use crate::checks::flow_verdict::{concerned, evidence};
use crate::explain::{Cell, Scope, explain};
use crate::fleet::Audit;
use crate::observation::Sent;
use crate::observation::failures::{Failures, between};
use crate::outcome::Outcome;
use crate::plan::{PlannedProbe, ProbeKind};

/// One probe that was answered, at least in part.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'o> {
    /// The probe.
    pub probe: &'o PlannedProbe,
    /// What its sender measured.
    pub sent: &'o Sent,
}

/// All probes of several samples between different clusters that were answered at least in part: what got no answer at all is a flow that
/// does not get through.
pub fn measured<'o>(audit: &Audit<'o>) -> Vec<Measured<'o>> {
    let Some(observations) = audit.observations() else {
        return Vec::new();
    };
    observations
        .probes()
        .filter(|(probe, _)| matches!(probe.kind, ProbeKind::Udp { .. } | ProbeKind::Icmp))
        .filter(|(probe, _)| {
            let from = observations.plan.agents.get(probe.from as usize);
            from.is_some_and(|agent| agent.cluster != probe.to.cluster)
        })
        .filter_map(|(probe, result)| {
            let result = result?;
            // A listener that went while it was asked loses answers of its own.
            if matches!(result.heard, Some(Err(_))) {
                return None;
            }
            let sent = result.sent.as_ref().ok()?;
            (sent.answered > 0).then_some(Measured { probe, sent })
        })
        .collect()
}

/// The two clusters of a measurement, in one order for both directions.
pub fn clusters_of(audit: &Audit<'_>, one: &Measured<'_>) -> (String, String) {
    clusters_of_probe(audit, one.probe)
}

/// The two clusters of a probe, in one order for both directions.
pub fn clusters_of_probe(audit: &Audit<'_>, probe: &PlannedProbe) -> (String, String) {
    let agents = audit
        .observations()
        .map(|seen| seen.plan.agents.as_slice())
        .unwrap_or_default();
    let from = agents
        .get(probe.from as usize)
        .map_or_else(String::new, |agent| agent.cluster.clone());
    let to = probe.to.cluster.clone();
    if from <= to { (from, to) } else { (to, from) }
}

/// Measurements that are not as they should be, by cause.
pub struct Group<'o> {
    /// What they have in common.
    pub scope: Scope,
    /// The measurements.
    pub members: Vec<Measured<'o>>,
}

/// Groups the measurements for which `is_good` does not hold. What is measured over the round trip belongs to both directions.
pub fn grouped<'o>(
    audit: &Audit<'o>,
    all: &[Measured<'o>],
    two_way: bool,
    is_good: impl Fn(&Measured<'o>) -> bool,
) -> Vec<Group<'o>> {
    let Some(observations) = audit.observations() else {
        return Vec::new();
    };
    let cells: Vec<Cell> = all
        .iter()
        .map(|one| Cell {
            works: Some(is_good(one)),
            two_way,
            ..between(observations, one.probe, one.probe.kind.to_string())
        })
        .collect();
    let several = cells.iter().any(|cell| cell.service != cells[0].service);
    explain(&cells)
        .into_iter()
        .map(|explanation| Group {
            scope: Scope {
                // What all of them share tells nothing.
                service: explanation.scope.service.filter(|_| several),
                ..explanation.scope
            },
            members: explanation.cells.iter().map(|at| all[*at]).collect(),
        })
        .collect()
}

impl Group<'_> {
    /// Where, in words: `between all clusters`, `to east/e1`, `UDP 8472 from east to west`.
    pub fn place(&self) -> String {
        let text = self.scope.to_string();
        text.strip_prefix("everything ").unwrap_or(&text).to_owned()
    }

    /// Fills in whom it concerns, and evidence in the words of `tell`.
    pub fn outcome(
        &self,
        audit: &Audit<'_>,
        failures: &Failures<'_>,
        outcome: Outcome,
        tell: impl Fn(&Measured<'_>) -> String,
    ) -> Outcome {
        const SHOWN: usize = 5;
        let (clusters, pairs) = concerned(audit, failures, self.members.iter().map(|one| one.probe));
        outcome
            .evidence_all(
                self.members
                    .iter()
                    .take(SHOWN)
                    .map(|one| evidence(failures, one.probe, &tell(one), one.probe.kind.to_string())),
            )
            .about(clusters)
            .pairs(pairs)
    }
}
