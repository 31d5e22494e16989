//! Groups: the fleet, and what changed in it.

use jiff::{SignedDuration, Timestamp};
use prejoin_checks::history::drift as history;
use prejoin_checks::history::life::EventKind;
use prejoin_checks::report::{Coverage, Summary, Verdict};
use serde_json::Value;

use super::latest::{Latest, verdict};
use super::{StoreReader, freshness};
use crate::report;
use crate::serve::config::Group;
use crate::serve::store::audits::{Audit, State};
use crate::serve::store::findings::Happened;
use crate::serve::view::Freshness;
use crate::serve::view::drift::{BaselineView, DriftLine, DriftView, Effect};
use crate::serve::view::fleet::{
    AgentCount, ChangeKind, ClusterRow, Connection, Failure, Group as GroupView, GroupChange,
};
use crate::serve::view::reader::Read;

/// What changed in so long is shown with a group.
const RECENT: SignedDuration = SignedDuration::from_hours(24);
/// More changes are not shown at once.
const CHANGES: u32 = 200;

impl StoreReader {
    /// A group as its last audit found it.
    pub(super) async fn group_view(&self, name: &str, now: Timestamp) -> Read<GroupView> {
        let (current, group) = self.configured(name)?;
        let latest = self.latest(name).await?;
        let last = self.store().latest(name).await?;
        let running = last.as_ref().filter(|last| last.state == State::Running);
        let schedule = group.schedule();
        let next_run = match running {
            Some(_) => None,
            None => Some(schedule.due(last.as_ref().map(|last| last.scheduled_for), now).at),
        };
        let since = now.saturating_sub(RECENT).unwrap_or(now);
        let happened = self.store().events_since(name, since, CHANGES).await?;
        let view = GroupView {
            name: name.to_owned(),
            profiles: group.profiles.clone(),
            freshness: Freshness::never(now),
            audit: None,
            verdict: Verdict::Unknown,
            headline: "no audit has ended with a report yet".to_owned(),
            summary: Summary::default(),
            coverage: Coverage::default(),
            agents: AgentCount::default(),
            clusters: Vec::new(),
            matrices: Vec::new(),
            causes: Vec::new(),
            changes: happened.iter().map(change).collect(),
            schedule: Some(schedule.to_string()),
            next_run,
            running: running.map(|running| running.id.clone()),
            last_failure: last.as_ref().and_then(failure),
        };
        let Some(latest) = latest else { return Ok(view) };
        let clusters = latest.report.clusters.iter().enumerate();
        let clusters = clusters.map(|(place, summary)| ClusterRow {
            summary: summary.clone(),
            verdict: verdict_of(&latest, place),
            agents: agents_of(&latest, &summary.name),
            connection: self.connection(&current.file, &group, &summary.name),
        });
        Ok(GroupView {
            profiles: latest.report.profiles.clone(),
            freshness: freshness(&group, &latest.audit, &latest, now),
            audit: Some(latest.audit.id.clone()),
            verdict: latest.report.verdict,
            headline: report::headlines(&latest.report).join("; "),
            summary: latest.report.summary,
            coverage: latest.report.coverage.clone(),
            agents: AgentCount {
                heard: latest.outline.agents.heard,
                expected: latest.outline.agents.expected,
            },
            clusters: clusters.collect(),
            matrices: latest.matrices.clone(),
            causes: latest.causes(),
            ..view
        })
    }

    /// How a cluster of a group is reached.
    pub(super) fn connection(&self, file: &str, group: &Group, cluster: &str) -> Connection {
        let entry = group.clusters.iter().find(|entry| entry.name == cluster);
        if let Some(entry) = entry {
            return match (&entry.facts, &entry.planned) {
                (Some(facts), _) => Connection::File {
                    path: facts.display().to_string(),
                },
                // All that is known of what is planned stands in the configuration.
                (None, Some(_)) => Connection::File { path: file.to_owned() },
                (None, None) => Connection::Kubeconfig {
                    context: entry.context.clone().unwrap_or_else(|| entry.name.clone()),
                },
            };
        }
        if group.enrolled.iter().any(|name| name == cluster) {
            let connected = self.hub().connected().into_iter().find(|known| known.name == cluster);
            return match connected {
                Some(known) => Connection::Connected {
                    since: known.since,
                    version: known.agent_version,
                },
                None => Connection::Disconnected { last_heard: None },
            };
        }
        Connection::File { path: file.to_owned() }
    }

    /// What changed in a group against its baseline.
    pub(super) async fn drift_view(&self, name: &str) -> Read<DriftView> {
        let now = Timestamp::now();
        let (_, group) = self.configured(name)?;
        let latest = self.latest(name).await?;
        let baseline = match self.store().baseline(name).await? {
            None => None,
            Some(baseline) => {
                let accepted = self.store().audit(&baseline.audit).await?;
                Some(BaselineView {
                    as_of: accepted.and_then(|audit| audit.ended_at).unwrap_or(baseline.at),
                    audit: baseline.audit,
                    accepted_at: baseline.at,
                    accepted_by: baseline.by,
                    note: baseline.note,
                })
            }
        };
        // What was held against an earlier baseline says nothing about this one.
        let drift = self.store().drift(name).await?;
        let drift = drift.filter(|(held, _)| baseline.as_ref().is_some_and(|baseline| baseline.audit == *held));
        let lines = drift.into_iter().flat_map(|(_, drift)| drift.lines).map(drifted);
        Ok(DriftView {
            group: name.to_owned(),
            freshness: latest.as_ref().map_or(Freshness::never(now), |latest| {
                freshness(&group, &latest.audit, latest, now)
            }),
            audit: latest.as_ref().map(|latest| latest.audit.id.clone()),
            baseline,
            lines: lines.collect(),
        })
    }
}

/// The worst verdict of a pair that the cluster at this place is part of; its own in a group of one.
fn verdict_of(latest: &Latest, place: usize) -> Verdict {
    let worst = latest.matrices.iter().filter_map(|matrix| matrix.worst(place)).max();
    worst.unwrap_or(latest.report.verdict)
}

/// A change as it is shown.
fn drifted(line: history::DriftLine) -> DriftLine {
    let shown = |value: Option<Value>| {
        value.map(|value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        })
    };
    DriftLine {
        change: line.change,
        cluster: line.cluster,
        object: line.source.map(|source| source.object).unwrap_or_default(),
        path: line.path,
        old: shown(line.old),
        new: shown(line.new),
        first_seen: line.first_seen,
        effect: match line.effect {
            history::Effect::Breaks => Effect::Breaks,
            history::Effect::Weakens => Effect::Weakens,
            history::Effect::Mends => Effect::Mends,
            history::Effect::Neutral => Effect::Neutral,
        },
        codes: line.codes,
    }
}

/// Agents heard and expected in one cluster.
pub(super) fn agents_of(latest: &Latest, cluster: &str) -> AgentCount {
    let rows = latest.agents.get(cluster).map(Vec::as_slice).unwrap_or_default();
    AgentCount {
        heard: rows.iter().filter(|row| row.heard).count() as u64,
        expected: rows.len() as u64,
    }
}

/// Why the latest attempt gave no report, if it gave none.
fn failure(last: &Audit) -> Option<Failure> {
    (last.state == State::Failed).then(|| Failure {
        at: last.ended_at.unwrap_or(last.started_at),
        audit: last.id.clone(),
        why: last.error.clone().unwrap_or_default(),
    })
}

/// What happened to a finding, in one line.
pub(super) fn change(happened: &Happened) -> GroupChange {
    let event = &happened.event;
    let life = &event.life;
    let clusters = life.key.clusters.join(", ");
    let flaps = match event.kind {
        EventKind::FlappingBegan => ": it began to come and go",
        EventKind::FlappingEnded => ": it no longer comes and goes",
        _ => "",
    };
    GroupChange {
        at: event.at,
        kind: match event.kind {
            EventKind::Began => ChangeKind::Appeared,
            EventKind::Resolved => ChangeKind::Resolved,
            EventKind::Changed | EventKind::FlappingBegan | EventKind::FlappingEnded => ChangeKind::Changed,
        },
        text: format!("{} {}: {clusters}{flaps}", life.key.code, life.last.title),
        before: verdict(event.from),
        after: verdict(life.state),
        finding: Some(life.key.to_string()),
        audit: happened.audit.clone(),
    }
}
