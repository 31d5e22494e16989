//! What the probes found of the path MTU, against what a product's encapsulation needs.

use super::flow_verdict::{concerned, evidence, gaps, judge as judge_flow, nodes_of, probed};
use super::net::paths::quality::loss_beside;
use crate::alike::Alike;
use crate::check::NoVerdict;
use crate::explain::{Cell, explain};
use crate::facts::provenance::{Reason, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::observation::failures::{Failures, between};
use crate::outcome::{Outcome, State};
use crate::path_mtu::PathMtu;
use crate::plan::PlannedProbe;
use crate::profile::flow::Flow;
use crate::report::{Evidence, Severity};

/// What one product needs of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    /// The largest IP packet that the sender puts on the wire, in bytes.
    pub(crate) bytes: u16,
    /// Why: `base MTU of Cilium, 1500`.
    pub(crate) why: String,
    /// What breaking it means, where the path says that packets are too big.
    pub(crate) told: Severity,
    /// What breaking it means in a black hole.
    pub(crate) black_hole: Severity,
}

/// What a product needs, and what to change where the path is too small.
pub(crate) struct Rule {
    /// What a sender of this cluster needs, over IPv6 or IPv4, with a link of this MTU.
    pub(crate) need: fn(&Audit<'_>, &Cluster<'_>, ipv6: bool, link_mtu: u16) -> Result<Need, NoVerdict>,
    /// What to change for a path that carries this many bytes, in a cluster.
    pub(crate) remedy: fn(&Audit<'_>, &Cluster<'_>, ipv6: bool, carries: u16) -> Result<String, NoVerdict>,
}

/// One measured path.
struct Path<'p> {
    probe: &'p PlannedProbe,
    found: &'p PathMtu,
    need: Need,
}

impl Path<'_> {
    fn fits(&self) -> bool {
        self.found.largest_confirmed >= self.need.bytes
    }

    /// Whether loss leaves open if what is needed fits.
    fn is_open(&self) -> bool {
        let fails = self.found.smallest_failed.is_some_and(|size| size <= self.need.bytes);
        self.found.left_open && !self.fits() && !fails
    }
}

/// What is known of the path MTU between clusters.
pub(crate) fn judge(audit: &Audit<'_>, flow: &Flow, rule: &Rule) -> Vec<Outcome> {
    let Ok(failures) = probed(audit) else {
        return judge_flow(audit, flow);
    };
    let mut paths = Vec::new();
    let mut unknown: Alike<(Option<Reason>, Option<String>), &PlannedProbe> = Alike::default();
    for (probe, _) in failures.probes_of(flow.code) {
        match path(audit, failures, rule, probe) {
            Ok(path) => paths.push(path),
            Err((why, cause)) => {
                let (reason, text) = match &why {
                    NoVerdict::Missing(why) => (Some(why.reason), why.detail.as_str()),
                    NoVerdict::DoesNotApply(why) => (None, why.as_str()),
                };
                unknown.add((reason, cause), text, &nodes_of(failures, probe), probe);
            }
        }
    }
    let mut outcomes: Vec<Outcome> = broken(audit, failures, rule, &paths);
    for ((reason, cause), text, group) in unknown.groups() {
        let (clusters, pairs) = concerned(audit, failures, group.items.into_iter());
        let why = match reason {
            Some(reason) => NoVerdict::missing(reason, text),
            None => NoVerdict::DoesNotApply(text),
        };
        let outcome = Outcome::none(why).about(clusters).pairs(pairs);
        outcomes.push(match cause {
            Some(cause) => outcome.cause(cause),
            None => outcome,
        });
    }
    outcomes.extend(gaps(audit, flow));
    if outcomes.is_empty() && paths.is_empty() {
        // Nothing was planned: the flow says why.
        return judge_flow(audit, flow);
    }
    if outcomes.is_empty() {
        let (clusters, _) = concerned(audit, failures, paths.iter().map(|path| path.probe));
        let least = paths.iter().map(|path| path.found.largest_confirmed).min().unwrap_or(0);
        outcomes.push(
            Outcome::holds()
                .found(format!("at least {least} bytes on all {} paths", paths.len()))
                .evidence_all(paths.iter().take(SHOWN).map(|path| account(failures, path)))
                .about(clusters),
        );
    }
    for outcome in &mut outcomes {
        if !matches!(outcome.state, State::NoVerdict(NoVerdict::DoesNotApply(_))) && outcome.expected.is_empty() {
            let needs: std::collections::BTreeSet<String> = paths
                .iter()
                .map(|path| format!("{} bytes ({})", path.need.bytes, path.need.why))
                .collect();
            outcome.expected = format!(
                "every path carries what its sender sends whole: {}",
                needs.into_iter().collect::<Vec<_>>().join(", ")
            );
        }
    }
    outcomes
}

const SHOWN: usize = 5;

/// What this probe measured, or why that is not known; with the cause, where the way is closed altogether.
fn path<'p>(
    audit: &Audit<'_>,
    failures: &Failures<'p>,
    rule: &Rule,
    probe: &'p PlannedProbe,
) -> Result<Path<'p>, (NoVerdict, Option<String>)> {
    let missing = |reason, detail: &str| (NoVerdict::missing(reason, detail), None);
    let result = failures
        .result(probe)
        .ok_or_else(|| missing(Reason::NoAgent, "the probe never ran"))?;
    let nothing_arrives = |why: &Unknown| match &result.heard {
        // Nobody may have been there to confirm anything.
        Some(Err(lost)) if lost.reason != Reason::NotAsked => (lost.clone().into(), None),
        _ => {
            let beside = failures.cause_beside(probe).map(ToString::to_string);
            (why.clone().into(), beside.or_else(|| loss_beside(audit, probe)))
        }
    };
    let sent = match &result.sent {
        Ok(sent) => sent,
        Err(why) if why.reason == Reason::Unreachable => return Err(nothing_arrives(why)),
        Err(why) => return Err((why.clone().into(), None)),
    };
    let found = sent
        .path_mtu
        .as_ref()
        .ok_or_else(|| missing(Reason::NoAgent, "the agent did not measure it"))?;
    let cluster = failures
        .agent(probe.from)
        .and_then(|agent| audit.clusters.iter().find(|cluster| cluster.name() == agent.cluster))
        .ok_or_else(|| missing(Reason::NoAgent, "the sender is of no cluster of this audit"))?;
    if found.largest_confirmed == 0 {
        let what = format!(
            "the path MTU could not be measured: nothing arrives on {}",
            service(probe)
        );
        return Err(nothing_arrives(&Unknown::new(Reason::Unreachable, what)));
    }
    let need = (rule.need)(audit, cluster, is_ipv6(probe), found.link_mtu).map_err(|why| (why, None))?;
    let path = Path { probe, found, need };
    if path.is_open() {
        let what = format!(
            "{} bytes arrive, and too many datagrams are lost to tell whether {} do",
            found.largest_confirmed, path.need.bytes
        );
        let why = Unknown::new(Reason::Unreachable, what);
        return Err((why.into(), loss_beside(audit, probe)));
    }
    Ok(path)
}

fn service(probe: &PlannedProbe) -> String {
    match probe.kind {
        crate::plan::ProbeKind::PathMtu { port, .. } => format!("UDP {port}"),
        _ => probe.kind.to_string(),
    }
}

fn is_ipv6(probe: &PlannedProbe) -> bool {
    probe.to.address.is_some_and(|address| address.is_ipv6())
}

/// The paths that are too small, by the fewest causes.
fn broken(audit: &Audit<'_>, failures: &Failures<'_>, rule: &Rule, paths: &[Path<'_>]) -> Vec<Outcome> {
    let Some(observations) = audit.observations() else {
        return Vec::new();
    };
    let cells: Vec<Cell> = paths
        .iter()
        .map(|path| Cell {
            works: Some(path.fits()),
            ..between(observations, path.probe, "path MTU".to_owned())
        })
        .collect();
    explain(&cells)
        .into_iter()
        .map(|explanation| {
            let members: Vec<&Path<'_>> = explanation.cells.iter().map(|at| &paths[*at]).collect();
            let least = members
                .iter()
                .map(|path| path.found.largest_confirmed)
                .min()
                .unwrap_or(0);
            let told = members.iter().find_map(|path| path.found.told);
            let black_hole = members.iter().any(|path| path.found.black_hole);
            let who = match told {
                Some(hop) if !black_hole => format!("{} says so", hop.by),
                _ => "packets that are too big vanish without a word: a black hole".to_owned(),
            };
            let scope = crate::explain::Scope {
                service: Some("path MTU".to_owned()),
                ..explanation.scope
            };
            let severity = members
                .iter()
                .map(|path| {
                    if black_hole {
                        path.need.black_hole
                    } else {
                        path.need.told
                    }
                })
                .max()
                .unwrap_or(Severity::Fail);
            let (clusters, pairs) = concerned(audit, failures, members.iter().map(|path| path.probe));
            let mut remedies: Vec<String> = Vec::new();
            for id in &clusters {
                let ipv6 = members.iter().all(|path| is_ipv6(path.probe));
                if let Ok(remedy) = (rule.remedy)(audit, audit.cluster(*id), ipv6, least)
                    && !remedies.contains(&remedy)
                {
                    remedies.push(remedy);
                }
            }
            let needed = members.iter().map(|path| path.need.bytes).max().unwrap_or(0);
            Outcome::broken_as(severity)
                .found(format!("{scope}: {least} bytes of {needed}; {who}"))
                .remedy(format!(
                    "{}, or raise the MTU of the link in between",
                    remedies.join("; ")
                ))
                .evidence_all(members.iter().take(SHOWN).map(|path| account(failures, path)))
                .cause(format!("{scope}: {least} bytes"))
                .about(clusters)
                .pairs(pairs)
        })
        .collect()
}

fn account(failures: &Failures<'_>, path: &Path<'_>) -> Evidence {
    let found = path.found;
    let failed = found.smallest_failed.map(|size| format!(", {size} do not"));
    let told = found.told.map(|told| format!("; {} says {}", told.by, told.mtu));
    let value = format!(
        "{} bytes arrive{}{}",
        found.largest_confirmed,
        failed.unwrap_or_default(),
        told.unwrap_or_default()
    );
    evidence(
        failures,
        path.probe,
        &format!("{value}; own link {}", found.link_mtu),
        format!("path MTU over {}", service(path.probe)),
    )
}

#[cfg(test)]
mod tests;
