//! The lives of findings, what happened in them, and who answers for what.

use jiff::Timestamp;
use jiff::civil::Date;
use prejoin_checks::history::life::{Event, Life};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{Row, query};

use super::audits::Taken;
use super::{Store, StoreError, Tx, damaged, moment};

/// A life, and how many audits found the finding broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The life.
    pub life: Life,
    /// How many audits found it broken.
    pub times_seen: u64,
}

/// Something that happened to a finding, and the audit that found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// The audit.
    pub audit: String,
    /// What happened.
    pub event: Event,
}

/// Someone answers for a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waived {
    /// The finding.
    pub key: String,
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// The last day, UTC.
    pub until: Date,
    /// Since when.
    pub made_at: Timestamp,
}

impl Store {
    /// All lives of a group.
    pub async fn lives(&self, group: &str) -> Result<Vec<Kept>, StoreError> {
        let rows = query("SELECT life, times_seen FROM findings WHERE grp = $1 ORDER BY key")
            .bind(group)
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(kept).collect()
    }

    /// One life.
    pub async fn life(&self, group: &str, key: &str) -> Result<Option<Kept>, StoreError> {
        let row = query("SELECT life, times_seen FROM findings WHERE grp = $1 AND key = $2")
            .bind(group)
            .bind(key)
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(kept).transpose()
    }

    /// Keeps a life as it is after an audit.
    pub async fn put_life(&self, tx: &mut Tx, group: &str, life: &Life) -> Result<(), StoreError> {
        query(
            "INSERT INTO findings (grp, key, is_open, last_seen, times_seen, life) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (grp, key) DO UPDATE SET is_open = excluded.is_open, last_seen = excluded.last_seen, \
             times_seen = findings.times_seen + excluded.times_seen, life = excluded.life",
        )
        .bind(group)
        .bind(life.key.to_string())
        .bind(i64::from(life.is_open()))
        .bind(life.last_seen.as_millisecond())
        .bind(i64::from(life.state.is_broken()))
        .bind(json("a life", life)?)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// Keeps what happened in an audit.
    pub async fn put_events(&self, tx: &mut Tx, taken: &Taken, events: &[Event]) -> Result<(), StoreError> {
        for (place, event) in (0_i64..).zip(events) {
            query("INSERT INTO finding_events (grp, number, place, key, audit, at, event) VALUES ($1, $2, $3, $4, $5, $6, $7)")
                .bind(&taken.group)
                .bind(taken.number)
                .bind(place)
                .bind(event.life.key.to_string())
                .bind(&taken.id)
                .bind(event.at.as_millisecond())
                .bind(json("an event", event)?)
                .execute(&mut **tx)
                .await?;
        }
        Ok(())
    }

    /// What happened in a group since a moment, latest first.
    pub async fn events_since(&self, group: &str, since: Timestamp, limit: u32) -> Result<Vec<Happened>, StoreError> {
        let rows = query(
            "SELECT audit, event FROM finding_events WHERE grp = $1 AND at >= $2 ORDER BY number DESC, place LIMIT $3",
        )
        .bind(group)
        .bind(since.as_millisecond())
        .bind(i64::from(limit))
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(happened).collect()
    }

    /// What happened to a finding, latest first.
    pub async fn events_of(&self, group: &str, key: &str, limit: u32) -> Result<Vec<Happened>, StoreError> {
        let rows = query("SELECT audit, event FROM finding_events WHERE grp = $1 AND key = $2 ORDER BY number DESC, place DESC LIMIT $3")
            .bind(group)
            .bind(key)
            .bind(i64::from(limit))
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(happened).collect()
    }

    /// What one audit found to have happened.
    pub async fn events_in(&self, group: &str, number: i64) -> Result<Vec<Happened>, StoreError> {
        let rows = query("SELECT audit, event FROM finding_events WHERE grp = $1 AND number = $2 ORDER BY place")
            .bind(group)
            .bind(number)
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(happened).collect()
    }

    /// Forgets what happened before a moment, and findings that ended before it.
    pub async fn forget_lives(&self, group: &str, before: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for statement in [
            "DELETE FROM finding_events WHERE grp = $1 AND at < $2",
            "DELETE FROM findings WHERE grp = $1 AND last_seen < $2 AND is_open = 0",
        ] {
            query(statement)
                .bind(group)
                .bind(before.as_millisecond())
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Notes who answers for a finding, from the next audit on.
    pub async fn waive(&self, group: &str, waived: &Waived) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query(
            "INSERT INTO waivers (grp, key, owner, reason, until, made_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (grp, key) DO UPDATE SET owner = excluded.owner, reason = excluded.reason, \
             until = excluded.until, made_at = excluded.made_at",
        )
        .bind(group)
        .bind(&waived.key)
        .bind(&waived.owner)
        .bind(&waived.reason)
        .bind(waived.until.to_string())
        .bind(waived.made_at.as_millisecond())
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Who answers for findings of a group, besides the configuration.
    pub async fn waived(&self, group: &str) -> Result<Vec<Waived>, StoreError> {
        let rows = query("SELECT key, owner, reason, until, made_at FROM waivers WHERE grp = $1 ORDER BY key")
            .bind(group)
            .fetch_all(self.pool())
            .await?;
        let read = |row: &AnyRow| {
            let until: String = row.try_get("until")?;
            Ok(Waived {
                key: row.try_get("key")?,
                owner: row.try_get("owner")?,
                reason: row.try_get("reason")?,
                until: until
                    .parse()
                    .map_err(|error: jiff::Error| damaged("a waiver", &error))?,
                made_at: moment(row.try_get("made_at")?)?,
            })
        };
        rows.iter().map(read).collect()
    }
}

fn kept(row: &AnyRow) -> Result<Kept, StoreError> {
    Ok(Kept {
        life: from_json("a life", &row.try_get::<String, _>(0)?)?,
        times_seen: u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0),
    })
}

fn happened(row: &AnyRow) -> Result<Happened, StoreError> {
    Ok(Happened {
        audit: row.try_get(0)?,
        event: from_json("an event", &row.try_get::<String, _>(1)?)?,
    })
}

/// As JSON in a column.
pub(super) fn json<T: Serialize>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| damaged(what, &error))
}

/// From JSON in a column.
pub(super) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| damaged(what, &error))
}
