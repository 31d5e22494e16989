//! What is still to be delivered.

use jiff::Timestamp;
use sqlx::{Row, query, query_scalar};

use super::audits::Taken;
use super::{Store, StoreError, Tx, moment};
use crate::serve::alerts::outbox::{Claim, Message, Outbox, may_be_tried};

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

impl Outbox for Store {
    type Error = StoreError;

    async fn claim(&self, target: &str, now: Timestamp, until: Timestamp) -> Result<Claim, StoreError> {
        let mut tx = self.write().await?;
        let first = query(
            "SELECT number, created_at, attempts, notice, not_before FROM outbox \
             WHERE target = $1 AND given_up_at IS NULL ORDER BY number LIMIT 1",
        )
        .bind(target)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = first else { return Ok(Claim::Empty) };
        let not_before: i64 = row.try_get("not_before")?;
        if !may_be_tried(moment(not_before)?, now) {
            return Ok(Claim::Later(moment(not_before)?));
        }
        let message = Message {
            number: row.try_get("number")?,
            target: target.to_owned(),
            created: moment(row.try_get("created_at")?)?,
            attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(u32::MAX),
            notice: row.try_get("notice")?,
        };
        let claimed = query("UPDATE outbox SET not_before = $1 WHERE number = $2 AND not_before = $3")
            .bind(until.as_millisecond())
            .bind(message.number)
            .bind(not_before)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(match claimed.rows_affected() {
            1 => Claim::Take(message),
            // Another collector was faster.
            _ => Claim::Later(until),
        })
    }

    async fn delivered(&self, message: &Message, _at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("DELETE FROM outbox WHERE number = $1")
            .bind(message.number)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn failed(&self, message: &Message, why: &str, next: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("UPDATE outbox SET attempts = attempts + 1, not_before = $1, why = $2 WHERE number = $3")
            .bind(next.as_millisecond())
            .bind(why)
            .bind(message.number)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn given_up(&self, message: &Message, why: &str, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("UPDATE outbox SET given_up_at = $1, why = $2 WHERE number = $3")
            .bind(at.as_millisecond())
            .bind(why)
            .bind(message.number)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}
