//! What a plan would send, and what that would cost, for who wants to know before.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use prejoin_checks::plan::{Plan, PlannedProbe};

use crate::run::Cost;
use crate::text;

/// So many pairs of a flow are named.
const NAMED: usize = 3;

/// Shows a plan: its flows, their pairs, what they cost, and what it leaves open.
pub(super) fn show(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let mut flows: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
    for probe in &plan.probes {
        let from = plan.agents.get(probe.from as usize);
        let (cluster, node) = from.map_or(("", ""), |agent| (agent.cluster.as_str(), agent.node.as_str()));
        let to = if probe.to.cluster.is_empty() {
            &probe.to.name
        } else {
            &probe.to.cluster
        };
        let flow = (
            probe.codes.join(","),
            probe.kind.to_string(),
            format!("{cluster} to {to}"),
        );
        flows
            .entry(flow)
            .or_default()
            .push(format!("{node} to {}", receiver(probe)));
    }
    for ((codes, kind, between), pairs) in &flows {
        let named = pairs
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let more = match pairs.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(", {more} more"),
        };
        line(out, &format!("{codes}  {kind}, {between}: {named}{more}"))?;
    }
    for gap in &plan.gaps {
        line(
            out,
            &format!(
                "{}  not provable, {}: {}",
                gap.code,
                gap.clusters.join(" to "),
                gap.why.detail
            ),
        )?;
    }
    line(out, &cost_line(plan))
}

/// What a plan costs, in one line.
pub(super) fn cost_line(plan: &Plan) -> String {
    let cost = Cost::of(plan);
    format!(
        "{} probes between {} agents: {} packets, {} kB, about {} s where everything answers; at most {} packets, {} kB, {} s; \
         never more than {} packets a second",
        plan.probes.len(),
        at_work(plan),
        cost.healthy.packets,
        cost.healthy.bytes.div_ceil(1000),
        cost.seconds,
        cost.at_most.packets,
        cost.at_most.bytes.div_ceil(1000),
        cost.seconds_at_most,
        plan.pace.rate
    )
}

/// The agents that send or listen.
fn at_work(plan: &Plan) -> usize {
    let senders = plan.probes.iter().map(|probe| probe.from);
    let listeners = plan.listeners.iter().map(|listener| listener.agent);
    senders.chain(listeners).collect::<BTreeSet<u32>>().len()
}

fn receiver(probe: &PlannedProbe) -> &str {
    if probe.to.name.is_empty() {
        &probe.to.host
    } else {
        &probe.to.name
    }
}

fn line(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "{}", text::sanitise(text))
}
