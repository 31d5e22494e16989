//! What was accepted as right, and what changed against it.

use jiff::Timestamp;
use prejoin_checks::history::drift::Drift;
use prejoin_checks::history::silence::Roster;
use sqlx::{Row, query};

use super::findings::{from_json, json};
use super::{Store, StoreError, Tx, moment};

/// The state that an audit found, accepted as right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// The audit.
    pub audit: String,
    /// By whom.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, if that was said.
    pub note: String,
}

impl Store {
    /// What was accepted last; none if nothing was.
    pub async fn baseline(&self, group: &str) -> Result<Option<Baseline>, StoreError> {
        let row = query(
            "SELECT audit, accepted_by, accepted_at, note FROM baselines WHERE grp = $1 ORDER BY number DESC LIMIT 1",
        )
        .bind(group)
        .fetch_optional(self.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Baseline {
            audit: row.try_get(0)?,
            by: row.try_get(1)?,
            at: moment(row.try_get(2)?)?,
            note: row.try_get(3)?,
        }))
    }

    /// Accepts what an audit found.
    pub async fn accept(&self, tx: &mut Tx, group: &str, baseline: &Baseline) -> Result<(), StoreError> {
        query(
            "INSERT INTO baselines (grp, number, audit, accepted_by, accepted_at, note) \
             SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $4, $5 FROM baselines WHERE grp = $6",
        )
        .bind(group)
        .bind(&baseline.audit)
        .bind(&baseline.by)
        .bind(baseline.at.as_millisecond())
        .bind(&baseline.note)
        .bind(group)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// What changed against the baseline, as the last audit found it, and which audit was the baseline then.
    pub async fn drift(&self, group: &str) -> Result<Option<(String, Drift)>, StoreError> {
        let row = query("SELECT baseline, body FROM drift WHERE grp = $1")
            .bind(group)
            .fetch_optional(self.pool())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let body: String = row.try_get(1)?;
        Ok(Some((row.try_get(0)?, from_json("what changed", &body)?)))
    }

    /// Keeps what changed against a baseline.
    pub async fn put_drift(&self, tx: &mut Tx, group: &str, baseline: &str, drift: &Drift) -> Result<(), StoreError> {
        query(
            "INSERT INTO drift (grp, baseline, body) VALUES ($1, $2, $3) \
             ON CONFLICT (grp) DO UPDATE SET baseline = excluded.baseline, body = excluded.body",
        )
        .bind(group)
        .bind(baseline)
        .bind(json("what changed", drift)?)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// Which agents of a group were heard, and when last.
    pub async fn roster(&self, group: &str) -> Result<Roster, StoreError> {
        let row = query("SELECT body FROM rosters WHERE grp = $1")
            .bind(group)
            .fetch_optional(self.pool())
            .await?;
        match row {
            Some(row) => from_json("the agents heard", &row.try_get::<String, _>(0)?),
            None => Ok(Roster::default()),
        }
    }

    /// Keeps which agents were heard.
    pub async fn put_roster(&self, tx: &mut Tx, group: &str, roster: &Roster) -> Result<(), StoreError> {
        query("INSERT INTO rosters (grp, body) VALUES ($1, $2) ON CONFLICT (grp) DO UPDATE SET body = excluded.body")
            .bind(group)
            .bind(json("the agents heard", roster)?)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}
