//! [`Failures`]: what every probe of an audit showed, and the fewest causes of what failed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::loss;
use super::shown::{Shown, Symptom, shown};
use super::{Observations, ProbeResult};
use crate::explain::{Cell, End, Explanation, Scope, explain};
use crate::facts::kernel::NetworkView;
use crate::facts::provenance::{Reason, Unknown};
use crate::plan::{AgentId, PlannedProbe, ProbeKind};

/// What every probe showed, and the fewest causes of what failed.
#[derive(Debug)]
pub struct Failures<'o> {
    observations: &'o Observations,
    shown: Vec<Shown>,
    causes: Vec<Cause>,
    /// The cause of each probe that failed, by position.
    cause_of: BTreeMap<usize, usize>,
    /// The probes of which loss alone may be what silences them, by position.
    lost: BTreeSet<usize>,
}

/// One cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What the failures have in common.
    pub scope: Scope,
    /// How they failed, what tells something before silence, and then the most frequent first.
    pub symptoms: Vec<Symptom>,
    /// The probes that failed for it, as positions in the plan, in their order.
    pub probes: Vec<usize>,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.scope)?;
        match self.symptoms.first() {
            Some(symptom) => write!(f, ": {symptom}"),
            None => Ok(()),
        }
    }
}

impl<'o> Failures<'o> {
    /// Of these observations.
    pub fn of(observations: &'o Observations) -> Self {
        let mut shown: Vec<Shown> = observations
            .probes()
            .map(|(probe, result)| result.map_or_else(|| never_ran(observations), |result| shown(probe, result)))
            .collect();
        count_later_answers(observations, &mut shown);
        let lost = loss::doubt(observations, &mut shown).into_iter().collect();
        // Sizes are judged on their own.
        let is_cell =
            |probe: &PlannedProbe| !matches!(probe.kind, ProbeKind::PathMtu { .. } | ProbeKind::Resolve { .. });
        let places: Vec<usize> = (0..shown.len())
            .filter(|at| is_cell(&observations.plan.probes[*at]))
            .collect();
        let cells: Vec<Cell> = places
            .iter()
            .map(|at| cell(observations, &observations.plan.probes[*at], &shown[*at]))
            .collect();
        let causes: Vec<Cause> = explain(&cells)
            .into_iter()
            .map(|Explanation { scope, cells }| {
                let probes: Vec<usize> = cells.into_iter().map(|cell| places[cell]).collect();
                Cause {
                    scope,
                    symptoms: symptoms(&shown, &probes),
                    probes,
                }
            })
            .collect();
        let cause_of = causes
            .iter()
            .enumerate()
            .flat_map(|(number, cause)| cause.probes.iter().map(move |probe| (*probe, number)))
            .collect();
        Self {
            observations,
            shown,
            causes,
            cause_of,
            lost,
        }
    }

    /// What they are failures of.
    pub fn observations(&self) -> &'o Observations {
        self.observations
    }

    /// The probes of a flow, by the code of its check, with what each showed.
    pub fn probes_of(&self, code: &str) -> impl Iterator<Item = (&'o PlannedProbe, &Shown)> {
        self.observations
            .plan
            .probes
            .iter()
            .zip(&self.shown)
            .filter(move |(probe, _)| probe.codes.iter().any(|own| own == code))
    }

    /// The causes that some probe of this flow failed for.
    pub fn causes_of(&self, code: &str) -> Vec<&Cause> {
        let concerned = |cause: &&Cause| {
            cause.probes.iter().any(|probe| {
                self.observations.plan.probes[*probe]
                    .codes
                    .iter()
                    .any(|own| own == code)
            })
        };
        self.causes.iter().filter(concerned).collect()
    }

    /// Whether a probe is silent, and that may be the loss which others like it meet, and nothing else.
    pub fn may_be_loss(&self, probe: &PlannedProbe) -> bool {
        self.lost.contains(&(probe.id as usize))
    }

    /// What each probe of the plan showed, in its order.
    pub fn all(&self) -> &[Shown] {
        &self.shown
    }

    /// All causes.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// The cause of a failed probe between the same two agents over the same family, if there is one: why this one did not get through either.
    pub fn cause_beside(&self, probe: &PlannedProbe) -> Option<&Cause> {
        let ends = |probe: &PlannedProbe| (Some(probe.from), probe.to.agent);
        let ipv6 = |probe: &PlannedProbe| probe.to.address.is_some_and(|address| address.is_ipv6());
        let (from, to) = ends(probe);
        let failed = |ways: (Option<u32>, Option<u32>)| {
            let probes = &self.observations.plan.probes;
            let mut causes = self.cause_of.iter();
            causes.find(|(other, _)| ends(&probes[**other]) == ways && ipv6(&probes[**other]) == ipv6(probe))
        };
        let (_, cause) = failed((from, to)).or_else(|| failed((to, from)))?;
        Some(&self.causes[*cause])
    }

    /// The result of a probe.
    pub fn result(&self, probe: &PlannedProbe) -> Option<&'o ProbeResult> {
        self.observations.result(probe)
    }

    /// The plan's agent with this number.
    pub fn agent(&self, number: u32) -> Option<&'o AgentId> {
        self.observations.plan.agents.get(number as usize)
    }
}

impl Observations {
    /// The probes of the plan with their results; none where the run was cut short before.
    pub fn probes(&self) -> impl Iterator<Item = (&PlannedProbe, Option<&ProbeResult>)> {
        self.plan.probes.iter().map(|probe| (probe, self.result(probe)))
    }

    /// The result of a probe.
    pub fn result(&self, probe: &PlannedProbe) -> Option<&ProbeResult> {
        let at_its_place = self
            .results
            .get(probe.id as usize)
            .filter(|result| result.probe == probe.id);
        at_its_place.or_else(|| self.results.iter().find(|result| result.probe == probe.id))
    }
}

fn never_ran(observations: &Observations) -> Shown {
    let why = observations.cut_short.as_deref().unwrap_or("the probe never ran");
    Shown::Unknown(Unknown::new(Reason::NoAgent, why))
}

/// Between whom a probe is, and what it asks.
pub(super) type Ends = (u32, Option<u32>, Option<IpAddr>, String);

pub(super) fn ends(probe: &PlannedProbe) -> Ends {
    (probe.from, probe.to.agent, probe.to.address, probe.kind.to_string())
}

/// Whether a probe failed and nothing tells how.
pub(super) fn is_silent(shown: &Shown) -> bool {
    matches!(shown, Shown::Failed(symptom) if symptom.tells_nothing())
}

/// Who was silent and answered when asked again is not behind a filter. What was lost at first counts as loss.
fn count_later_answers(observations: &Observations, shown: &mut [Shown]) {
    let probes = &observations.plan.probes;
    let mut silent: HashMap<_, Vec<usize>> = HashMap::new();
    for at in (0..shown.len()).filter(|at| is_silent(&shown[*at])) {
        silent.entry(ends(&probes[at])).or_default().push(at);
    }
    if silent.is_empty() {
        return;
    }
    for (at, probe) in probes.iter().enumerate() {
        let Shown::Proven(evidence) = shown[at] else { continue };
        for earlier in silent
            .get(&ends(probe))
            .into_iter()
            .flatten()
            .filter(|earlier| **earlier < at)
        {
            shown[*earlier] = Shown::Proven(evidence);
        }
    }
}

fn symptoms(shown: &[Shown], probes: &[usize]) -> Vec<Symptom> {
    let mut counts: BTreeMap<&Symptom, usize> = BTreeMap::new();
    for probe in probes {
        if let Shown::Failed(symptom) = &shown[*probe] {
            *counts.entry(symptom).or_default() += 1;
        }
    }
    let mut symptoms: Vec<(&Symptom, usize)> = counts.into_iter().collect();
    symptoms.sort_by_key(|(symptom, count)| (symptom.tells_nothing(), Reverse(*count), *symptom));
    symptoms.into_iter().map(|(symptom, _)| symptom.clone()).collect()
}

/// A probe as the search for causes sees it.
fn cell(observations: &Observations, probe: &PlannedProbe, shown: &Shown) -> Cell {
    let two_way = match probe.kind {
        ProbeKind::Udp { .. } | ProbeKind::IpProtocol { .. } => probe.listener.is_none(),
        _ => true,
    };
    Cell {
        two_way,
        works: match shown {
            Shown::Proven(_) => Some(true),
            Shown::Failed(_) => Some(false),
            Shown::Unknown(_) => None,
        },
        ..between(observations, probe, probe.kind.to_string())
    }
}

/// A cell between the ends of a probe of which nothing is known yet.
pub fn between(observations: &Observations, probe: &PlannedProbe, service: String) -> Cell {
    let end = |agent: &AgentId| End {
        cluster: agent.cluster.clone(),
        zone: agent.zone.clone(),
        node: agent.node.clone(),
        pod: agent.network == NetworkView::Pod,
    };
    let agents = &observations.plan.agents;
    let to = probe.to.agent.and_then(|agent| agents.get(agent as usize));
    Cell {
        from: agents.get(probe.from as usize).map_or_else(
            || End {
                cluster: String::new(),
                zone: String::new(),
                node: String::new(),
                pod: false,
            },
            end,
        ),
        to: to.map_or_else(
            || End {
                cluster: probe.to.cluster.clone(),
                zone: String::new(),
                node: probe.to.name.clone(),
                pod: false,
            },
            end,
        ),
        service,
        ipv6: probe.to.address.is_some_and(|address| address.is_ipv6()),
        two_way: false,
        works: None,
    }
}
