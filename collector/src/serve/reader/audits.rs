//! Audits, past and running.

use jiff::Timestamp;
use prejoin_checks::policy::Probe;
use prejoin_checks::report::Report;

use super::StoreReader;
use super::group::change;
use super::latest::{Latest, key, outline};
use crate::load::Asked;
use crate::report;
use crate::serve::store::audits::{Audit, State};
use crate::serve::store::documents::Kind;
use crate::serve::view::audit::{AuditFilter, AuditState, ClusterProgress, ReadState, Trigger};
use crate::serve::view::fleet::AgentCount;
use crate::serve::view::reader::Read;
use crate::serve::view::{AuditLine, AuditList, AuditView, FindingLine, ReadError};
use crate::text;

/// So many audits are given where no number is asked for, and at most.
const GIVEN: u32 = 50;
const MOST: u32 = 500;

impl StoreReader {
    /// Audits, latest first.
    pub(super) async fn audit_list(&self, filter: &AuditFilter) -> Read<AuditList> {
        if let Some(group) = &filter.group {
            self.configured(group)?;
        }
        let limit = filter.limit.unwrap_or(GIVEN).clamp(1, MOST);
        let audits = self
            .store()
            .audits(filter.group.as_deref(), filter.before.as_deref(), limit + 1)
            .await?;
        let more = audits.len() > limit as usize;
        let shown = &audits[..audits.len().min(limit as usize)];
        let mut lines: Vec<AuditLine> = Vec::new();
        if filter.before.is_none() {
            for group in &self.current().config.groups {
                let is_wanted = filter.group.as_ref().is_none_or(|wanted| *wanted == group.name);
                if is_wanted && let Some((group, wish, _)) = self.store().wished(&group.name).await? {
                    lines.push(waiting(wish.audit, group, wish.by));
                }
            }
        }
        for audit in shown {
            lines.push(line(audit)?);
        }
        Ok(AuditList {
            shown_at: Timestamp::now(),
            next: shown.last().filter(|_| more).map(|last| last.id.clone()),
            audits: lines,
        })
    }

    /// One audit.
    pub(super) async fn audit_view(&self, id: &str) -> Read<AuditView> {
        let shown_at = Timestamp::now();
        let mut begun = self.store().audit(id).await?;
        if begun.is_none() {
            let wished = self.store().wished(id).await?;
            if let Some((group, wish, _)) = wished.filter(|(_, wish, _)| wish.audit == id) {
                return Ok(empty(waiting(id.to_owned(), group, wish.by), shown_at));
            }
            // It may have been taken in between.
            begun = self.store().audit(id).await?;
        }
        let audit = begun.ok_or_else(|| ReadError::NotFound(format!("audit {}", text::short(id, 60))))?;
        let view = empty(line(&audit)?, shown_at);
        if audit.state != State::Done {
            let configured = self.configured(&audit.group).ok();
            return Ok(AuditView {
                profiles: configured
                    .as_ref()
                    .map(|(_, group)| group.profiles.clone())
                    .unwrap_or_default(),
                probe: configured.and_then(|(_, group)| group.policy.probe).unwrap_or_default(),
                ..view
            });
        }
        let outline = outline(&audit)?;
        let latest = self
            .latest(&audit.group)
            .await?
            .filter(|latest| latest.audit.id == audit.id);
        let report: Option<Report> = match &latest {
            Some(_) => None,
            None => self.store().document(&audit.id, Kind::Report, "").await?,
        };
        let asked: Option<Asked> = self.store().document(&audit.id, Kind::Asked, "").await?;
        let changes = self.store().events_in(&audit.group, audit.number).await?;
        let report = latest.as_ref().map(|latest| &latest.report).or(report.as_ref());
        Ok(AuditView {
            profiles: outline.profiles,
            probe: asked.as_ref().map_or(Probe::default(), |asked| asked.probe),
            headline: report.map_or_else(String::new, |report| report::headlines(report).join("; ")),
            coverage: Some(outline.coverage),
            agents: AgentCount {
                heard: outline.agents.heard,
                expected: outline.agents.expected,
            },
            clusters: report.map(clusters).unwrap_or_default(),
            causes: latest.as_ref().map_or_else(
                || report.map(causes).unwrap_or_default(),
                |latest| Latest::causes(latest),
            ),
            changes: changes.iter().map(change).collect(),
            has_report: report.is_some(),
            has_bundle: asked.is_some(),
            ..view
        })
    }
}

/// An audit as a list shows it.
fn line(audit: &Audit) -> Read<AuditLine> {
    let outline = match audit.state {
        State::Done => Some(outline(audit)?),
        State::Running | State::Failed => None,
    };
    Ok(AuditLine {
        id: audit.id.clone(),
        group: audit.group.clone(),
        state: match audit.state {
            State::Running => AuditState::Running,
            State::Done => AuditState::Done,
            State::Failed => AuditState::Failed,
        },
        trigger: trigger(audit.asked_by.clone()),
        started_at: Some(audit.started_at),
        ended_at: audit.ended_at,
        verdict: outline.as_ref().map(|outline| outline.verdict),
        summary: outline.map(|outline| outline.summary),
        failure: audit.error.clone(),
    })
}

fn waiting(id: String, group: String, by: String) -> AuditLine {
    AuditLine {
        id,
        group,
        state: AuditState::Waiting,
        trigger: trigger(Some(by)),
        started_at: None,
        ended_at: None,
        verdict: None,
        summary: None,
        failure: None,
    }
}

fn trigger(by: Option<String>) -> Trigger {
    by.map_or(Trigger::Schedule, |name| Trigger::User { name })
}

fn empty(line: AuditLine, shown_at: Timestamp) -> AuditView {
    AuditView {
        line,
        shown_at,
        profiles: Vec::new(),
        probe: Probe::default(),
        progress: None,
        headline: String::new(),
        coverage: None,
        agents: AgentCount::default(),
        clusters: Vec::new(),
        causes: Vec::new(),
        changes: Vec::new(),
        has_report: false,
        has_bundle: false,
    }
}

/// How reading each cluster went.
fn clusters(report: &Report) -> Vec<ClusterProgress> {
    let of = report.clusters.iter().map(|cluster| ClusterProgress {
        name: cluster.name.clone(),
        state: match (&cluster.unreachable, cluster.missing.is_empty()) {
            (Some(_), _) => ReadState::Unreachable,
            (None, true) => ReadState::Read,
            (None, false) => ReadState::Partly,
        },
        detail: cluster
            .unreachable
            .clone()
            .unwrap_or_else(|| cluster.missing.join("; ")),
    });
    of.collect()
}

/// One finding for each cause, of a report whose lives are not known any more.
fn causes(report: &Report) -> Vec<FindingLine> {
    use prejoin_checks::report::Verdict::{Fail, Unknown, Warn};
    let causes = [Fail, Unknown, Warn]
        .into_iter()
        .flat_map(|verdict| report.causes(verdict));
    let line = |cause: Vec<&prejoin_checks::report::Finding>| {
        let first = cause.first()?;
        Some(FindingLine::of(first, key(first), super::latest::pairs(report, first)))
    };
    causes.filter_map(line).collect()
}
