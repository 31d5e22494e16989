//! What audits measured between clusters, and what that means.

use jiff::Timestamp;
use prejoin_checks::history::excursion::Judgement;
use prejoin_checks::history::measure::{Direction, Measure};
use sqlx::any::AnyRow;
use sqlx::{Row, query};

use super::audits::Taken;
use super::documents::digest;
use super::findings::{from_json, json};
use super::{Store, StoreError, Tx};

/// What one audit measured from one cluster to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// From which cluster to which.
    pub way: Direction,
    /// Over how many pairs of nodes.
    pub node_pairs: u32,
    /// What.
    pub measure: Measure,
}

impl Store {
    /// Keeps what an audit measured, and what that means.
    pub async fn put_measure(
        &self,
        tx: &mut Tx,
        taken: &Taken,
        measured: &Measured,
        judgement: &Judgement,
    ) -> Result<(), StoreError> {
        let Direction { from, to } = &measured.way;
        // From the names, so that groups that are written at once do not wait for each other.
        let name = digest(format!("{}\n{from}\n{to}", taken.group).as_bytes());
        let pair = i64::from_str_radix(&name[..15], 16).unwrap_or_default();
        query(
            "INSERT INTO pairs (id, grp, from_cluster, to_cluster, judgement) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (id) DO UPDATE SET judgement = excluded.judgement",
        )
        .bind(pair)
        .bind(&taken.group)
        .bind(from)
        .bind(to)
        .bind(json("a judgement of a path", judgement)?)
        .execute(&mut **tx)
        .await?;
        query("INSERT INTO measures (pair, number, at, node_pairs, body) VALUES ($1, $2, $3, $4, $5)")
            .bind(pair)
            .bind(taken.number)
            .bind(measured.measure.at.as_millisecond())
            .bind(i64::from(measured.node_pairs))
            .bind(json("a measurement", &measured.measure)?)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// What was measured in one direction in a time, oldest first.
    pub async fn measures(
        &self,
        group: &str,
        way: &Direction,
        (since, until): (Timestamp, Timestamp),
    ) -> Result<Vec<Measured>, StoreError> {
        let rows = query(
            "SELECT p.from_cluster, p.to_cluster, m.node_pairs, m.body FROM measures m JOIN pairs p ON p.id = m.pair \
             WHERE p.grp = $1 AND p.from_cluster = $2 AND p.to_cluster = $3 AND m.at >= $4 AND m.at <= $5 ORDER BY m.number",
        )
        .bind(group)
        .bind(&way.from)
        .bind(&way.to)
        .bind(since.as_millisecond())
        .bind(until.as_millisecond())
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(read).collect()
    }

    /// The latest measurement of each direction of a group, and what it means.
    pub async fn latest_measures(&self, group: &str) -> Result<Vec<(Measured, Judgement)>, StoreError> {
        let rows = query(
            "SELECT p.from_cluster, p.to_cluster, m.node_pairs, m.body, p.judgement FROM measures m JOIN pairs p ON p.id = m.pair \
             WHERE p.grp = $1 AND m.number = (SELECT MAX(l.number) FROM measures l WHERE l.pair = p.id) \
             ORDER BY p.from_cluster, p.to_cluster",
        )
        .bind(group)
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                let judgement: String = row.try_get(4)?;
                Ok((read(row)?, from_json("a judgement of a path", &judgement)?))
            })
            .collect()
    }

    /// Forgets what was measured before a moment.
    pub async fn forget_measures(&self, group: &str, before: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("DELETE FROM measures WHERE pair IN (SELECT id FROM pairs WHERE grp = $1) AND at < $2")
            .bind(group)
            .bind(before.as_millisecond())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }
}

fn read(row: &AnyRow) -> Result<Measured, StoreError> {
    let body: String = row.try_get(3)?;
    Ok(Measured {
        way: Direction {
            from: row.try_get(0)?,
            to: row.try_get(1)?,
        },
        node_pairs: u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX),
        measure: from_json("a measurement", &body)?,
    })
}
