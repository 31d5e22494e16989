//! [`Latest`]: what the last audit of a group found, as pages need it.

use std::collections::BTreeMap;

use prejoin_checks::history::life::{FindingKey, Life, State};
use prejoin_checks::report::matrix::Matrix;
use prejoin_checks::report::{Finding, Report, Verdict};
use tokio::sync::OnceCell;

use crate::serve::record::Outline;
use crate::serve::store::audits::Audit;
use crate::serve::store::documents::Kind;
use crate::serve::store::findings::Kept;
use crate::serve::store::{Store, StoreError, damaged};
use crate::serve::view::cluster::AgentRow;
use crate::serve::view::finding::{self, LifeState};
use crate::serve::view::{AddressSpace, FindingLine, PairMatrix};

/// What the last audit of a group found.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) audit: Audit,
    pub(super) report: Report,
    pub(super) outline: Outline,
    pub(super) matrices: Vec<PairMatrix>,
    /// The lives of findings, by their keys.
    pub(super) lives: BTreeMap<String, Kept>,
    /// Agents that were to probe, by cluster.
    pub(super) agents: BTreeMap<String, Vec<AgentRow>>,
    /// Worked out when someone looks: it takes the facts of all clusters.
    pub(super) space: OnceCell<AddressSpace>,
}

impl Latest {
    /// Reads it.
    pub(super) async fn read(store: &Store, audit: Audit) -> Result<Self, StoreError> {
        let report: Option<Report> = store.document(&audit.id, Kind::Report, "").await?;
        let report = report.ok_or_else(|| damaged("the last report", &"it is not there"))?;
        let outline = outline(&audit)?;
        let lives = store.lives(&audit.group).await?;
        let agents: Option<BTreeMap<String, Vec<AgentRow>>> = store.document(&audit.id, Kind::Agents, "").await?;
        Ok(Self {
            matrices: PairMatrix::all(&report),
            audit,
            report,
            outline,
            lives: lives
                .into_iter()
                .map(|kept| (kept.life.key.to_string(), kept))
                .collect(),
            agents: agents.unwrap_or_default(),
            space: OnceCell::new(),
        })
    }

    /// A finding of the report as a line.
    pub(super) fn line(&self, finding: &Finding) -> FindingLine {
        let key = key(finding);
        FindingLine {
            life: self.lives.get(&key).map(life),
            ..FindingLine::of(finding, key, pairs(&self.report, finding))
        }
    }

    /// One line for each cause that fails, then is unknown, then warns.
    pub(super) fn causes(&self) -> Vec<FindingLine> {
        let verdicts = [Verdict::Fail, Verdict::Unknown, Verdict::Warn];
        let causes = verdicts.into_iter().flat_map(|verdict| self.report.causes(verdict));
        causes
            .filter_map(|cause| cause.first().map(|finding| self.line(finding)))
            .collect()
    }
}

/// What lists show of an audit that ended with a report.
pub(super) fn outline(audit: &Audit) -> Result<Outline, StoreError> {
    let text = audit.summary.as_deref().unwrap_or_default();
    serde_json::from_str(text).map_err(|error| damaged(format!("the outline of audit {}", audit.id), &error))
}

/// What a finding is called.
pub(super) fn key(finding: &Finding) -> String {
    FindingKey::of(finding).to_string()
}

/// How many pairs of clusters a finding concerns.
pub(super) fn pairs(report: &Report, finding: &Finding) -> u64 {
    let matrix = Matrix::over(report, std::iter::once(finding));
    (matrix.pairs() - matrix.count(Verdict::Pass)) as u64
}

/// A life as it is shown.
pub(super) fn life(kept: &Kept) -> finding::Life {
    let life = &kept.life;
    finding::Life {
        state: life_state(life),
        first_seen: life.first_seen,
        last_seen: life
            .failure
            .as_ref()
            .map_or(life.last_seen, |failure| failure.last_seen),
        since: life.since,
        resolved_at: life.resolved,
        changes: u64::from(life.changes.count_ones()),
        times_seen: kept.times_seen,
    }
}

/// How a life is shown.
pub(super) fn life_state(life: &Life) -> LifeState {
    match life.state {
        State::Good => LifeState::Resolved,
        _ if life.flapping_since.is_some() => LifeState::Flapping,
        State::Waived => LifeState::Waived,
        _ if life.since == life.last_seen => LifeState::New,
        _ => LifeState::Open,
    }
}

/// The verdict that a state of a life stands for; none where nothing is wrong.
pub(super) fn verdict(state: State) -> Option<Verdict> {
    match state {
        State::Good => None,
        State::Waived | State::Warn => Some(Verdict::Warn),
        State::Unknown => Some(Verdict::Unknown),
        State::Fail => Some(Verdict::Fail),
    }
}
