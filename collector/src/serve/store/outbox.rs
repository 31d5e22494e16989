//! What is still to be delivered.

use jiff::Timestamp;
use sqlx::{Row, query, query_scalar};

use super::audits::Taken;
use super::{Store, StoreError, Tx};

impl Store {
    /// Puts a message in the outbox, in the transaction of the audit that gave rise to it.
    pub async fn post(
        &self,
        tx: &mut Tx,
        taken: &Taken,
        target: &str,
        at: Timestamp,
        notice: &str,
    ) -> Result<(), StoreError> {
        // Transactions that post wait for each other here, so that numbers are in the order in which messages become visible.
        let number: i64 = query_scalar("UPDATE counters SET value = value + 1 WHERE name = 'outbox' RETURNING value")
            .fetch_one(&mut **tx)
            .await?;
        query(
            "INSERT INTO outbox (number, target, grp, audit, created_at, notice, attempts, not_before) \
             VALUES ($1, $2, $3, $4, $5, $6, 0, $7)",
        )
        .bind(number)
        .bind(target)
        .bind(&taken.group)
        .bind(&taken.id)
        .bind(at.as_millisecond())
        .bind(notice)
        .bind(at.as_millisecond())
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// How many messages wait for each target, and how many were given up.
    pub async fn undelivered(&self) -> Result<Vec<(String, u64, u64)>, StoreError> {
        let rows = query("SELECT target, COUNT(*), COUNT(given_up_at) FROM outbox GROUP BY target ORDER BY target")
            .fetch_all(self.pool())
            .await?;
        let count = |row: &sqlx::any::AnyRow, place: usize| -> Result<u64, StoreError> {
            Ok(u64::try_from(row.try_get::<i64, _>(place)?).unwrap_or(0))
        };
        rows.iter()
            .map(|row| {
                let (all, given_up) = (count(row, 1)?, count(row, 2)?);
                Ok((row.try_get(0)?, all - given_up, given_up))
            })
            .collect()
    }
}
