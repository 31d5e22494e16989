//! [`drift`]: what changed between the state that was accepted and the present one, and what that does.
//!
//! Changes are found as [`diff`](crate::diff) finds them, in facts, so that each names the object it was read from. What a change does is found out by trying:
//! the present facts are judged again with the change undone, and the accepted ones with it done alone. Findings that come or go with it are its doing. A
//! finding that changed without any fact (a flow that is blocked, a certificate that ran out) is a line of its own.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::life::{Event, FindingKey, State};
use super::lives::{Lives, worst};
use crate::diff::{self, Change, Difference, Reading};
use crate::engine;
use crate::facts::ClusterFacts;
use crate::facts::provenance::Source;
use crate::intent::Intent;
use crate::observation::Observations;
use crate::policy::Policy;
use crate::report::{Ratio, Report};

/// The version of the format of drift.
pub const DRIFT_SCHEMA: &str = "prejoin.dev/drift/v1alpha1";

/// A state of clusters: what was read, and what was found.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The facts of all clusters.
    pub clusters: &'a [ClusterFacts],
    /// What was found.
    pub report: &'a Report,
}

/// How the present state was judged.
#[derive(Debug, Clone, Copy)]
pub struct Judging<'a> {
    /// What agents saw.
    pub observations: Option<&'a Observations>,
    /// What the user plans.
    pub intent: &'a Intent,
    /// Which checks were run.
    pub policy: &'a Policy,
}

/// What changed since a state was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// The format of this document: [`DRIFT_SCHEMA`].
    pub schema: String,
    /// When the accepted state was judged.
    pub since: Timestamp,
    /// When the present one was.
    pub at: Timestamp,
    /// The changes, those that break something first.
    pub lines: Vec<DriftLine>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftLine {
    /// What became of it.
    pub change: Change,
    /// What kind of thing changed.
    pub of: DriftOf,
    /// The cluster; empty where it is about none alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// What changed: `cilium.config.tunnel-protocol`, `CM501 clustermesh east west`, `coverage.flows`.
    pub path: String,
    /// What was; absent for what was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What is; absent for what was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// Where it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What it does.
    pub effect: Effect,
    /// The codes of the checks it does that to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
    /// The audit that saw it first, as far as audits in between are known: see [`Drift::carry`].
    pub first_seen: Timestamp,
}

/// What kind of thing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriftOf {
    /// A cluster came or went.
    Cluster,
    /// A fact.
    Fact,
    /// What a check found, where no change of a fact accounts for it.
    Finding,
    /// How much was looked at.
    Coverage,
}

/// What a change does; the worst is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// A check that held, or was not known to be broken, is broken now.
    Breaks,
    /// What was known is not known any more.
    Weakens,
    /// A check that was broken, or not known to hold, holds now.
    Mends,
    /// Neither.
    Neutral,
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Breaks => "breaks",
            Self::Weakens => "weakens",
            Self::Mends => "mends",
            Self::Neutral => "neutral",
        })
    }
}

/// So many changed parts of facts are tried one by one. Of more (an upgrade of a hundred clusters), evidence alone tells what they do.
const MOST_TRIALS: usize = 48;

/// What changed between the accepted state and the present one.
pub fn drift(accepted: Side<'_>, now: Side<'_>, judging: Judging<'_>) -> Drift {
    let mut lines = of_clusters(accepted, now);
    let mut lives = Lives::default();
    lives.record(accepted.report.generated_at, accepted.report);
    let events = lives.record(now.report.generated_at, now.report);
    let causes = Causes { accepted, now, judging };
    let events: Vec<Event> = events.into_iter().filter(|event| !is_flapping_alone(event)).collect();
    let explained = causes.attribute(&mut lines, &events);
    let alone = events.iter().zip(explained).filter(|(_, explained)| !explained);
    lines.extend(alone.map(|(event, _)| of_finding(event)));
    lines.extend(no_longer_judged(accepted.report, now.report));
    lines.extend(of_coverage(accepted.report, now.report));
    for line in &mut lines {
        line.first_seen = now.report.generated_at;
    }
    lines.sort_by(|a, b| {
        let order = |line: &DriftLine| {
            (
                line.effect,
                line.of,
                line.cluster.clone(),
                line.path.clone(),
                line.change,
            )
        };
        order(a).cmp(&order(b))
    });
    Drift {
        schema: DRIFT_SCHEMA.to_owned(),
        since: accepted.report.generated_at,
        at: now.report.generated_at,
        lines,
    }
}

impl Drift {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The worst that any change does; none if there is no change.
    pub fn worst(&self) -> Option<Effect> {
        self.lines.iter().map(|line| line.effect).min()
    }

    /// How many changes do this.
    pub fn count(&self, effect: Effect) -> usize {
        self.lines.iter().filter(|line| line.effect == effect).count()
    }

    /// Takes over since when changes are there from the drift of the audit before, against the same accepted state.
    pub fn carry(&mut self, before: &Self) {
        for line in &mut self.lines {
            let same = before.lines.iter().find(|old| old.is_same_change(line));
            line.first_seen = same.map_or(line.first_seen, |same| same.first_seen.min(line.first_seen));
        }
    }

    /// The changes that the audit before, against the same accepted state, did not have.
    pub fn new_since<'d>(&'d self, before: &'d Self) -> impl Iterator<Item = &'d DriftLine> {
        let is_new = |line: &&DriftLine| !before.lines.iter().any(|old| old.is_same_change(line));
        self.lines.iter().filter(is_new)
    }
}

impl DriftLine {
    fn is_same_change(&self, other: &Self) -> bool {
        let what = |line: &Self| (line.of, line.cluster.clone(), line.path.clone(), line.change);
        // What a finding says changes with each audit: how many packets, until when. That it is broken is the change.
        what(self) == what(other) && (self.of == DriftOf::Finding || self.new == other.new)
    }

    fn new(of: DriftOf, change: Change, path: impl Into<String>) -> Self {
        Self {
            change,
            of,
            cluster: String::new(),
            path: path.into(),
            old: None,
            new: None,
            source: None,
            effect: Effect::Neutral,
            codes: Vec::new(),
            first_seen: Timestamp::UNIX_EPOCH,
        }
    }
}

/// Flapping is no matter of two states.
fn is_flapping_alone(event: &Event) -> bool {
    use super::life::EventKind;
    matches!(event.kind, EventKind::FlappingBegan | EventKind::FlappingEnded)
}

fn of_clusters(accepted: Side<'_>, now: Side<'_>) -> Vec<DriftLine> {
    let mut lines = Vec::new();
    for old in accepted.clusters {
        let about = |change| DriftLine {
            cluster: old.name.clone(),
            effect: Effect::Weakens,
            ..DriftLine::new(DriftOf::Cluster, change, format!("clusters[{}]", old.name))
        };
        let Some(new) = find(now.clusters, &old.name) else {
            lines.push(about(Change::Removed));
            continue;
        };
        // That nothing at all could be read is one change, not one of each fact.
        if let (None, Some(why)) = (old.unreachable(), new.unreachable()) {
            lines.push(DriftLine {
                old: Some(Value::String("read".to_owned())),
                new: Some(Value::String(format!("unreachable: {}", why.detail))),
                ..about(Change::Changed)
            });
            continue;
        }
        let differences = diff::of_cluster(old, new).into_iter();
        lines.extend(differences.map(|difference| of_fact(&old.name, difference)));
    }
    let added = now
        .clusters
        .iter()
        .filter(|new| find(accepted.clusters, &new.name).is_none());
    lines.extend(added.map(|new| DriftLine {
        cluster: new.name.clone(),
        ..DriftLine::new(DriftOf::Cluster, Change::Added, format!("clusters[{}]", new.name))
    }));
    lines
}

fn find<'c>(clusters: &'c [ClusterFacts], name: &str) -> Option<&'c ClusterFacts> {
    clusters.iter().find(|facts| facts.name == name)
}

fn of_fact(cluster: &str, difference: Difference) -> DriftLine {
    // What an agent read of a node, where there is none to read it any more.
    let node_unread = difference.change == Change::Removed && difference.path.starts_with("node_facts[");
    let lost = difference.reading == Some(Reading::Lost) || node_unread;
    DriftLine {
        cluster: cluster.to_owned(),
        old: difference.old,
        new: difference.new,
        source: difference.source,
        effect: if lost { Effect::Weakens } else { Effect::Neutral },
        ..DriftLine::new(DriftOf::Fact, difference.change, difference.path)
    }
}

/// What an event does.
fn effect_of(event: &Event) -> Effect {
    match (event.from, event.life.state) {
        (_, State::Good) | (State::Fail, State::Warn) => Effect::Mends,
        (_, State::Unknown) => Effect::Weakens,
        (_, State::Waived) => Effect::Neutral,
        (_, State::Warn | State::Fail) => Effect::Breaks,
    }
}

fn of_finding(event: &Event) -> DriftLine {
    let state = |state: State, found: &str| match (state, found) {
        (State::Good, _) => "good".to_owned(),
        (state, "") => state.to_string(),
        (state, found) => format!("{state}: {found}"),
    };
    let key = &event.life.key;
    DriftLine {
        cluster: match key.clusters.as_slice() {
            [one] => one.clone(),
            _ => String::new(),
        },
        old: Some(Value::String(state(event.from, ""))),
        new: Some(Value::String(state(event.life.state, &event.life.last.found))),
        effect: effect_of(event),
        codes: vec![key.code.clone()],
        ..DriftLine::new(DriftOf::Finding, Change::Changed, key.to_string())
    }
}

/// Checks that came to a verdict and do not now, because nobody asks them any more.
fn no_longer_judged(accepted: &Report, now: &Report) -> Vec<DriftLine> {
    let judged = |report: &Report| -> BTreeSet<(String, String)> {
        let keys = worst(report)
            .into_iter()
            .filter(|(_, sighting)| sighting.state != State::Unknown);
        keys.map(|(key, _)| (key.code, key.profile.to_string())).collect()
    };
    let is_known: BTreeSet<(String, String)> = worst(now)
        .into_keys()
        .map(|key| (key.code, key.profile.to_string()))
        .collect();
    judged(accepted)
        .difference(&is_known)
        .map(|(code, profile)| DriftLine {
            old: Some(Value::String("judged".to_owned())),
            new: Some(Value::String("not judged".to_owned())),
            effect: Effect::Weakens,
            codes: vec![code.clone()],
            ..DriftLine::new(DriftOf::Finding, Change::Changed, format!("{code} {profile}"))
        })
        .collect()
}

/// Coverage that went down: more is missing than was. That less was asked for is no less coverage.
fn of_coverage(accepted: &Report, now: &Report) -> Vec<DriftLine> {
    let missing = |ratio: &Ratio| ratio.wanted.saturating_sub(ratio.known);
    let (old, new) = (&accepted.coverage, &now.coverage);
    [
        ("facts", old.facts, new.facts),
        ("flows", old.flows, new.flows),
        ("checks", old.checks, new.checks),
    ]
    .into_iter()
    .filter(|(_, old, new)| missing(new) > missing(old))
    .map(|(name, old, new)| DriftLine {
        old: Some(Value::String(old.to_string())),
        new: Some(Value::String(new.to_string())),
        effect: Effect::Weakens,
        ..DriftLine::new(DriftOf::Coverage, Change::Changed, format!("coverage.{name}"))
    })
    .collect()
}

/// What it takes to find out which change does what.
struct Causes<'a> {
    accepted: Side<'a>,
    now: Side<'a>,
    judging: Judging<'a>,
}

/// A part of the facts that changed: a cluster as a whole, or one field of its document.
type Part = (String, Option<String>);

impl Causes<'_> {
    /// Says of each line what it does, and of each event whether some line accounts for it.
    fn attribute(&self, lines: &mut [DriftLine], events: &[Event]) -> Vec<bool> {
        let mut parts: BTreeMap<Part, Vec<usize>> = BTreeMap::new();
        for (place, line) in lines.iter().enumerate() {
            let field = (line.of == DriftOf::Fact).then(|| field_of(&line.path).to_owned());
            parts.entry((line.cluster.clone(), field)).or_default().push(place);
        }
        let mut explained = vec![false; events.len()];
        if events.is_empty() || parts.is_empty() || parts.len() > MOST_TRIALS {
            return explained;
        }
        let codes: BTreeSet<&str> = events.iter().map(|event| event.life.key.code.as_str()).collect();
        let policy = Policy {
            only: codes.into_iter().map(str::to_owned).collect(),
            skip: Vec::new(),
            ..self.judging.policy.clone()
        };
        let states = |clusters: &[ClusterFacts]| -> BTreeMap<FindingKey, State> {
            let report = engine::judge_observed(clusters, self.judging.observations, self.judging.intent, &policy);
            worst(&report)
                .into_iter()
                .map(|(key, sighting)| (key, sighting.state))
                .collect()
        };
        let (before, after) = (states(self.accepted.clusters), states(self.now.clusters));
        let (mut present, mut then) = (self.now.clusters.to_vec(), self.accepted.clusters.to_vec());
        for (part, places) in &parts {
            let undone = with_part_of(&mut present, self.accepted.clusters, part, states);
            let alone = with_part_of(&mut then, self.now.clusters, part, states);
            for (number, event) in events.iter().enumerate() {
                let key = &event.life.key;
                let differ = |a: &BTreeMap<FindingKey, State>, b: &BTreeMap<FindingKey, State>| {
                    let state = |states: &BTreeMap<FindingKey, State>| states.get(key).copied().unwrap_or(State::Good);
                    state(a) != state(b)
                };
                if !differ(&undone, &after) && !differ(&alone, &before) {
                    continue;
                }
                explained[number] = true;
                for place in self.those_that_show(key, lines, places) {
                    let line = &mut lines[place];
                    line.effect = line.effect.min(effect_of(event));
                    if !line.codes.contains(&key.code) {
                        line.codes.push(key.code.clone());
                        line.codes.sort();
                    }
                }
            }
        }
        explained
    }

    /// Of the changes in one part of the facts, those that the finding's evidence names; all of them if it names none.
    fn those_that_show(&self, key: &FindingKey, lines: &[DriftLine], places: &[usize]) -> Vec<usize> {
        let findings = [self.now.report, self.accepted.report];
        let evidence: Vec<&crate::report::Evidence> = findings
            .into_iter()
            .flat_map(|report| &report.findings)
            .filter(|finding| FindingKey::of(finding) == *key)
            .flat_map(|finding| &finding.evidence)
            .collect();
        let shows = |place: &&usize| {
            let line = &lines[**place];
            evidence
                .iter()
                .any(|evidence| evidence.cluster == line.cluster && names(&evidence.source, line))
        };
        let shown: Vec<usize> = places.iter().filter(shows).copied().collect();
        if shown.is_empty() { places.to_vec() } else { shown }
    }
}

/// Whether what evidence was read from is what changed.
fn names(evidence: &Source, line: &DriftLine) -> bool {
    let same_object = line
        .source
        .as_ref()
        .is_some_and(|source| source.object == evidence.object);
    let last_word = |text: &str| text.rsplit(['.', ' ']).next().unwrap_or_default().to_owned();
    if same_object {
        return evidence.field.is_empty() || last_word(&line.path) == last_word(&evidence.field);
    }
    // `Node east-n1` is an item of a list that was read as a whole.
    let item = last_word(&evidence.object);
    !item.is_empty() && line.path.contains(&format!("[{item}]"))
}

/// The field of a cluster's document that a path begins with.
fn field_of(path: &str) -> &str {
    path.split(['.', '[', ' ']).next().unwrap_or_default()
}

/// What comes of these clusters with one part as it is among others. They are what they were afterwards: facts are large, and copied once.
fn with_part_of<T>(
    clusters: &mut Vec<ClusterFacts>,
    others: &[ClusterFacts],
    (name, field): &Part,
    judge: impl Fn(&[ClusterFacts]) -> T,
) -> T {
    let place = clusters.iter().position(|facts| facts.name == *name);
    match (place, find(others, name), field) {
        (Some(place), Some(other), field) => {
            let swapped = match field {
                Some(field) => with_field_of(&clusters[place], other, field),
                None => Some(other.clone()),
            };
            let Some(swapped) = swapped else {
                return judge(clusters);
            };
            let kept = std::mem::replace(&mut clusters[place], swapped);
            let judged = judge(clusters);
            clusters[place] = kept;
            judged
        }
        (Some(place), None, _) => {
            let kept = clusters.remove(place);
            let judged = judge(clusters);
            clusters.insert(place, kept);
            judged
        }
        (None, Some(other), _) => {
            clusters.push(other.clone());
            let judged = judge(clusters);
            clusters.pop();
            judged
        }
        (None, None, _) => judge(clusters),
    }
}

/// A cluster's facts with one field of its document taken from others; none if they do not fit together.
fn with_field_of(facts: &ClusterFacts, other: &ClusterFacts, field: &str) -> Option<ClusterFacts> {
    let (mut document, other) = (serde_json::to_value(facts).ok()?, serde_json::to_value(other).ok()?);
    let fields = document.as_object_mut()?;
    match other.get(field) {
        Some(value) => fields.insert(field.to_owned(), value.clone()),
        None => fields.remove(field),
    };
    serde_json::from_value(document).ok()
}

#[cfg(test)]
mod tests;
