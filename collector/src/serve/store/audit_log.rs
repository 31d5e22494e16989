//! Who did what.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::{Row, query};
use uuid::Uuid;

use super::{Store, StoreError, moment};

/// Something that someone did, or tried to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Deed {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What, as `audit.run` or `token.create`.
    pub action: String,
    /// With what.
    pub object: String,
    /// From where: an address, or `command line`.
    pub origin: String,
    /// What came of it: `done`, or why not.
    pub outcome: String,
}

impl Store {
    /// Notes what someone did.
    pub async fn note(&self, deed: &Deed) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("INSERT INTO audit_log (id, at, actor, action, object, origin, outcome) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(Uuid::now_v7().to_string())
            .bind(deed.at.as_millisecond())
            .bind(&deed.actor)
            .bind(&deed.action)
            .bind(&deed.object)
            .bind(&deed.origin)
            .bind(&deed.outcome)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// What was done, latest first, before `before` if that is given.
    pub async fn deeds(&self, before: Option<Timestamp>, limit: u32) -> Result<Vec<Deed>, StoreError> {
        let rows = query("SELECT at, actor, action, object, origin, outcome FROM audit_log WHERE at < $1 ORDER BY at DESC, id DESC LIMIT $2")
            .bind(before.map_or(i64::MAX, Timestamp::as_millisecond))
            .bind(i64::from(limit))
            .fetch_all(self.pool())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Deed {
                    at: moment(row.try_get(0)?)?,
                    actor: row.try_get(1)?,
                    action: row.try_get(2)?,
                    object: row.try_get(3)?,
                    origin: row.try_get(4)?,
                    outcome: row.try_get(5)?,
                })
            })
            .collect()
    }
}
