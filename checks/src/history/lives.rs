//! [`Lives`]: all findings of a group of clusters, and what a further report makes of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::life::{Ending, Event, EventKind, FindingKey, Life, Sighting, State};
use crate::profile::Profile;
use crate::report::{Finding, Report};

/// The lives of the findings of one group of clusters.
///
/// They are rows of a store between audits: [`Lives::from_iter`] takes them, [`Lives::into_iter`] gives them back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lives {
    all: BTreeMap<FindingKey, Life>,
}

impl FromIterator<Life> for Lives {
    fn from_iter<I: IntoIterator<Item = Life>>(lives: I) -> Self {
        Self {
            all: lives.into_iter().map(|life| (life.key.clone(), life)).collect(),
        }
    }
}

impl IntoIterator for Lives {
    type Item = Life;
    type IntoIter = std::collections::btree_map::IntoValues<FindingKey, Life>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_values()
    }
}

impl Lives {
    /// All, by their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Life> {
        self.all.values()
    }

    /// The one with this key.
    pub fn get(&self, key: &FindingKey) -> Option<&Life> {
        self.all.get(key)
    }

    /// Takes in the next report of the group, and tells what happened, in the order of the keys.
    ///
    /// Several findings with one key count as the worst of them. A life that the report says nothing about is
    ///
    /// * `unknown`, if its check left anything open about one of its clusters, could not read one of them, or did not run;
    /// * of other clusters now, if the same check newly complains of more of them or of fewer;
    /// * resolved otherwise: the check looked, and did not complain.
    pub fn record(&mut self, at: Timestamp, report: &Report) -> Vec<Event> {
        let seen = worst(report);
        let mut events = Vec::new();
        let new: Vec<&FindingKey> = seen
            .iter()
            .filter(|(key, sighting)| sighting.state.is_broken() && !self.all.get(*key).is_some_and(Life::is_open))
            .map(|(key, _)| key)
            .collect();
        let mut heirs: BTreeMap<FindingKey, Vec<Life>> = BTreeMap::new();
        let lost: Vec<FindingKey> = self
            .all
            .keys()
            .filter(|key| !seen.contains_key(*key))
            .cloned()
            .collect();
        let ran = Ran::of(report);
        for key in lost {
            let Some(life) = self.all.get_mut(&key) else { continue };
            if !life.is_open() {
                // It counts as an audit in which nothing changed.
                let last = life.last.clone();
                events.extend(life.step(at, last));
                continue;
            }
            if let Some(heir) = new.iter().find(|heir| is_same_fault(&key, heir)) {
                heirs.entry((*heir).clone()).or_default().push(life.clone());
                // Nothing is told: the heir's event is about it.
                life.end(at, Ending::Became);
                continue;
            }
            if life.failure.is_none() && ran.left_open(&key, |state| state == Some(State::Unknown)).is_some() {
                // What was open about these clusters is open about others: that says it already.
                life.end(at, Ending::Became);
                continue;
            }
            events.extend(match ran.says_nothing_because(&key) {
                Some(why) => {
                    let last = Sighting {
                        state: State::Unknown,
                        found: why,
                        waived_until: None,
                        ..life.last.clone()
                    };
                    life.step(at, last)
                }
                None => life.step(at, settled(life)),
            });
        }
        for (key, sighting) in seen {
            let inherited = heirs.remove(&key).unwrap_or_default();
            let told = match self.all.get_mut(&key) {
                Some(life) => life.step(at, sighting),
                None => match Life::begin(key.clone(), at, sighting) {
                    Some((life, event)) => {
                        self.all.insert(key.clone(), life);
                        vec![event]
                    }
                    None => continue,
                },
            };
            match self.all.get_mut(&key) {
                Some(life) if !inherited.is_empty() => events.extend(inherit(life, &inherited, told)),
                _ => events.extend(told),
            }
        }
        events.sort_by(|a, b| (&a.life.key, a.kind).cmp(&(&b.life.key, b.kind)));
        events
    }

    /// Ends the lives of findings about clusters that are not of the group any more.
    pub fn keep_clusters(&mut self, at: Timestamp, clusters: &BTreeSet<String>) -> Vec<Event> {
        let is_of_others =
            |life: &&mut Life| life.is_open() && !life.key.clusters.iter().all(|name| clusters.contains(name));
        let gone = self.all.values_mut().filter(is_of_others);
        gone.flat_map(|life| life.end(at, Ending::Left)).collect()
    }

    /// Takes out lives that ended before this moment, as what is kept of history has its end too.
    pub fn forget_before(&mut self, before: Timestamp) -> Vec<Life> {
        let old: Vec<FindingKey> = self
            .all
            .values()
            .filter(|life| !life.is_open() && life.flapping_since.is_none() && life.since < before)
            .map(|life| life.key.clone())
            .collect();
        old.iter().filter_map(|key| self.all.remove(key)).collect()
    }
}

/// What a report says under each key, the worst of it. What was not asked is not there.
pub(super) fn worst(report: &Report) -> BTreeMap<FindingKey, Sighting> {
    let mut seen: BTreeMap<FindingKey, Sighting> = BTreeMap::new();
    for finding in &report.findings {
        let Some(sighting) = Sighting::of(finding) else {
            continue;
        };
        let nodes = sighting.nodes.clone();
        let kept = seen.entry(FindingKey::of(finding)).or_insert_with(|| sighting.clone());
        if sighting.state > kept.state {
            *kept = sighting;
        } else if sighting.state == kept.state {
            let more: Vec<String> = nodes.into_iter().filter(|node| !kept.nodes.contains(node)).collect();
            kept.nodes.extend(more);
        }
    }
    seen
}

/// A finding that the check no longer has, although it looked.
fn settled(life: &Life) -> Sighting {
    Sighting {
        state: State::Good,
        found: String::new(),
        nodes: Vec::new(),
        waived_until: None,
        ..life.last.clone()
    }
}

/// One check's complaint about more clusters than before, or about fewer.
fn is_same_fault(old: &FindingKey, new: &FindingKey) -> bool {
    let within = |a: &FindingKey, b: &FindingKey| a.clusters.iter().all(|name| b.clusters.contains(name));
    (&old.code, old.profile) == (&new.code, new.profile)
        && !old.clusters.is_empty()
        && !new.clusters.is_empty()
        && (within(old, new) || within(new, old))
}

/// A fault that goes on under another key is as old as it was, and has changed rather than begun.
fn inherit(life: &mut Life, before: &[Life], told: Vec<Event>) -> Vec<Event> {
    let first_seen = before.iter().map(|life| life.first_seen).min();
    let broken_since = before.iter().filter_map(Life::broken_since).min();
    let worst = before.iter().map(|life| life.state).max().unwrap_or(State::Good);
    life.first_seen = first_seen.map_or(life.first_seen, |at| at.min(life.first_seen));
    if let (Some(failure), Some(since)) = (&mut life.failure, broken_since) {
        failure.since = failure.since.min(since);
    }
    let told = told.into_iter().map(|event| match event.kind {
        EventKind::Began => Event {
            kind: EventKind::Changed,
            from: worst,
            life: life.clone(),
            ..event
        },
        _ => Event {
            life: life.clone(),
            ..event
        },
    });
    told.collect()
}

/// A finding with how it stands; none if nobody looked.
type Judged<'r> = (&'r Finding, Option<State>);

/// Which checks came to a verdict in a report, and about which clusters they left something open.
struct Ran<'r> {
    clusters: BTreeMap<&'r str, Option<&'r str>>,
    by_check: BTreeMap<(&'r str, Profile), Vec<Judged<'r>>>,
}

impl<'r> Ran<'r> {
    fn of(report: &'r Report) -> Self {
        let mut by_check: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for finding in &report.findings {
            let all = by_check.entry((finding.code.as_str(), finding.profile)).or_default();
            all.push((finding, Sighting::of(finding).map(|sighting| sighting.state)));
        }
        let unreachable = |cluster: &'r crate::report::ClusterSummary| cluster.unreachable.as_deref();
        Self {
            clusters: report
                .clusters
                .iter()
                .map(|cluster| (cluster.name.as_str(), unreachable(cluster)))
                .collect(),
            by_check,
        }
    }

    /// Why nothing follows from the report's silence about a key; `None` if its check looked and did not complain.
    fn says_nothing_because(&self, key: &FindingKey) -> Option<String> {
        for name in &key.clusters {
            match self.clusters.get(name.as_str()) {
                None => return Some(format!("{name} was not part of the audit")),
                Some(Some(why)) => return Some(format!("{name} could not be read: {why}")),
                Some(None) => {}
            }
        }
        if !self.by_check.contains_key(&(key.code.as_str(), key.profile)) {
            return Some(format!("{} was not judged", key.code));
        }
        let left_open = self.left_open(key, |state| matches!(state, None | Some(State::Unknown)));
        left_open.map(|finding| match Sighting::of(finding) {
            Some(sighting) => sighting.found,
            None => finding.reason.clone(),
        })
    }

    /// What the check left open in such a way about one of these clusters.
    fn left_open(&self, key: &FindingKey, open: impl Fn(Option<State>) -> bool) -> Option<&'r Finding> {
        let concerns = |finding: &Finding| {
            let about = &finding.subject.clusters;
            about.is_empty() || key.clusters.is_empty() || about.iter().any(|name| key.clusters.contains(name))
        };
        let findings = self.by_check.get(&(key.code.as_str(), key.profile))?;
        let found = findings
            .iter()
            .find(|(finding, state)| open(*state) && concerns(finding));
        found.map(|(finding, _)| *finding)
    }
}

#[cfg(test)]
mod tests;
