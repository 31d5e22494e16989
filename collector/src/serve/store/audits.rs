//! Audits: who runs which, and what lists show of those that ended.
//!
//! Of all collectors that share the store one takes an audit: it holds a lease that it renews. A lease that ran out is free to be taken, and
//! who lost it can no longer write.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Row, query};
use uuid::Uuid;

use super::{Place, Store, StoreError, Tx, damaged, moment};

/// Who has not renewed its lease for so long no longer runs the audit.
pub const LEASE: Duration = Duration::from_secs(60);

/// One run of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Its name, which sorts by time.
    pub id: String,
    /// The group.
    pub group: String,
    /// The how manieth of its group, from 1.
    pub number: i64,
    /// How far it is.
    pub state: State,
    /// The moment of the schedule that it is for.
    pub scheduled_for: Timestamp,
    /// When its last attempt began.
    pub started_at: Timestamp,
    /// How many collectors have begun it.
    pub attempt: i64,
    /// Who runs it.
    pub holder: String,
    /// Who wanted it; nobody where the schedule did.
    pub asked_by: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The report's verdict.
    pub verdict: Option<String>,
    /// What lists show of it, JSON.
    pub summary: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    lease_until: i64,
}

/// How far an audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A collector runs it.
    Running,
    /// It ended, with a report.
    Done,
    /// It ended without one.
    Failed,
}

/// What allows to run an audit, and to write what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The audit.
    pub id: String,
    /// Its group.
    pub group: String,
    /// The how manieth of its group.
    pub number: i64,
    /// How many collectors have begun it, this one included.
    pub attempt: i64,
}

/// How an audit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When.
    pub at: Timestamp,
    /// The report's verdict.
    pub verdict: String,
    /// The report's exit code.
    pub exit_code: u8,
    /// What lists show of it, JSON.
    pub summary: String,
}

/// An audit that someone wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The name that it will have.
    pub audit: String,
    /// Who wants it.
    pub by: String,
}

const COLUMNS: &str = "id, grp, number, state, scheduled_for, started_at, attempt, holder, asked_by, ended_at, verdict, summary, error, lease_until";

impl Store {
    /// The last audit of a group that anyone began.
    pub async fn latest(&self, group: &str) -> Result<Option<Audit>, StoreError> {
        self.one("WHERE grp = $1 ORDER BY number DESC LIMIT 1", group).await
    }

    /// The last audit of a group that ended with a report.
    pub async fn latest_done(&self, group: &str) -> Result<Option<Audit>, StoreError> {
        self.one("WHERE grp = $1 AND state = 'done' ORDER BY number DESC LIMIT 1", group)
            .await
    }

    /// The audit of this name.
    pub async fn audit(&self, id: &str) -> Result<Option<Audit>, StoreError> {
        self.one("WHERE id = $1", id).await
    }

    async fn one(&self, condition: &'static str, value: &str) -> Result<Option<Audit>, StoreError> {
        let row = query(select(condition)).bind(value).fetch_optional(self.pool()).await?;
        row.as_ref().map(read).transpose()
    }

    /// Audits of one group or of all, the latest first, those before `before` if it is given.
    pub async fn audits(
        &self,
        group: Option<&str>,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Audit>, StoreError> {
        // Later than any name.
        let before = before.unwrap_or("~");
        let limit = i64::from(limit);
        let rows = if let Some(group) = group {
            let statement = query(select(
                "WHERE grp = $1 AND number < COALESCE((SELECT b.number FROM audits b WHERE b.id = $2), 9223372036854775807) \
                 ORDER BY number DESC LIMIT $3",
            ));
            let statement = statement.bind(group).bind(before).bind(limit);
            statement.fetch_all(self.pool()).await?
        } else {
            let statement = query(select("WHERE id < $1 ORDER BY id DESC LIMIT $2"));
            statement.bind(before).bind(limit).fetch_all(self.pool()).await?
        };
        rows.iter().map(read).collect()
    }

    /// Notes that someone wants an audit of a group as soon as none is running; the name that it will have, or that of the one wanted before.
    pub async fn wish(&self, group: &str, by: &str, now: Timestamp) -> Result<String, StoreError> {
        let mut tx = self.write().await?;
        query("INSERT INTO wishes (grp, audit, asked_by, asked_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
            .bind(group)
            .bind(Uuid::now_v7().to_string())
            .bind(by)
            .bind(now.as_millisecond())
            .execute(&mut *tx)
            .await?;
        let row = query("SELECT audit FROM wishes WHERE grp = $1")
            .bind(group)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(row.try_get(0)?)
    }

    /// The audit of a group that someone wants, or the one that will have this name.
    pub async fn wished(&self, group_or_audit: &str) -> Result<Option<(String, Wish, Timestamp)>, StoreError> {
        let row = query("SELECT grp, audit, asked_by, asked_at FROM wishes WHERE grp = $1 OR audit = $1")
            .bind(group_or_audit)
            .fetch_optional(self.pool())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let wish = Wish {
            audit: row.try_get("audit")?,
            by: row.try_get("asked_by")?,
        };
        Ok(Some((row.try_get("grp")?, wish, moment(row.try_get("asked_at")?)?)))
    }

    /// Takes the audit after `last`, the one wanted if there is one; none if another collector did, or one is still running.
    pub async fn take(
        &self,
        group: &str,
        last: Option<&Audit>,
        scheduled_for: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Taken>, StoreError> {
        let mut tx = self.write().await?;
        let lease_until = self.clock(&mut tx).await? + lease_millis();
        let wish = query("DELETE FROM wishes WHERE grp = $1 RETURNING audit, asked_by")
            .bind(group)
            .fetch_optional(&mut *tx)
            .await?;
        let (id, asked_by): (String, Option<String>) = match wish {
            Some(wish) => (wish.try_get(0)?, wish.try_get(1)?),
            None => (Uuid::now_v7().to_string(), None),
        };
        let taken = Taken {
            id,
            group: group.to_owned(),
            number: last.map_or(0, |last| last.number) + 1,
            attempt: 1,
        };
        let inserted = query(
            "INSERT INTO audits (id, grp, number, state, holder, lease_until, attempt, scheduled_for, started_at, asked_by) \
             VALUES ($1, $2, $3, 'running', $4, $5, 1, $6, $7, $8) ON CONFLICT DO NOTHING",
        )
        .bind(&taken.id)
        .bind(group)
        .bind(taken.number)
        .bind(self.holder())
        .bind(lease_until)
        .bind(scheduled_for.as_millisecond())
        .bind(now.as_millisecond())
        .bind(asked_by)
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() != 1 {
            // The wish stays for the next one.
            tx.rollback().await?;
            return Ok(None);
        }
        tx.commit().await?;
        Ok(Some(taken))
    }

    /// Takes over a running audit whose collector is gone; none if it is not, or another was faster. Call it only for audits that this collector
    /// does not run.
    pub async fn take_over(&self, audit: &Audit, now: Timestamp) -> Result<Option<Taken>, StoreError> {
        if audit.state != State::Running {
            return Ok(None);
        }
        let mut tx = self.write().await?;
        let clock = self.clock(&mut tx).await?;
        let until = audit.lease_until;
        // Nobody grants more than a lease: the clock that granted this one was set back since.
        let ran_out = until <= clock || until > clock + lease_millis();
        // A file has one collector, and this is it.
        let alone = matches!(self.place(), Place::File(_));
        if !(ran_out || alone || audit.holder == self.holder()) {
            return Ok(None);
        }
        let updated = query(
            "UPDATE audits SET holder = $1, lease_until = $2, attempt = attempt + 1, started_at = $3 \
             WHERE id = $4 AND state = 'running' AND holder = $5 AND lease_until = $6",
        )
        .bind(self.holder())
        .bind(clock + lease_millis())
        .bind(now.as_millisecond())
        .bind(&audit.id)
        .bind(&audit.holder)
        .bind(until)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok((updated.rows_affected() == 1).then(|| Taken {
            id: audit.id.clone(),
            group: audit.group.clone(),
            number: audit.number,
            attempt: audit.attempt + 1,
        }))
    }

    /// Says that this collector still runs the audit.
    pub async fn renew(&self, taken: &Taken) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let lease_until = self.clock(&mut tx).await? + lease_millis();
        let updated = query(
            "UPDATE audits SET lease_until = $1 WHERE id = $2 AND state = 'running' AND holder = $3 AND attempt = $4",
        )
        .bind(lease_until)
        .bind(&taken.id)
        .bind(self.holder())
        .bind(taken.attempt)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        if updated.rows_affected() == 1 {
            Ok(())
        } else {
            Err(StoreError::Lost)
        }
    }

    /// Gives an audit back that this collector does not finish, so that it or another takes it up at once.
    pub async fn give_back(&self, taken: &Taken) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("UPDATE audits SET lease_until = 0 WHERE id = $1 AND state = 'running' AND holder = $2 AND attempt = $3")
            .bind(&taken.id)
            .bind(self.holder())
            .bind(taken.attempt)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// The audit ended without a report.
    pub async fn fail(&self, taken: &Taken, at: Timestamp, error: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let updated = query(
            "UPDATE audits SET state = 'failed', ended_at = $1, error = $2 \
             WHERE id = $3 AND state = 'running' AND holder = $4 AND attempt = $5",
        )
        .bind(at.as_millisecond())
        .bind(error)
        .bind(&taken.id)
        .bind(self.holder())
        .bind(taken.attempt)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        if updated.rows_affected() == 1 {
            Ok(())
        } else {
            Err(StoreError::Lost)
        }
    }

    /// The audit ended with a report: the last step of the transaction that holds all it found. Fails if another collector has it by now.
    pub async fn end(&self, tx: &mut Tx, taken: &Taken, ending: &Ending) -> Result<(), StoreError> {
        let updated = query(
            "UPDATE audits SET state = 'done', ended_at = $1, verdict = $2, exit_code = $3, summary = $4 \
             WHERE id = $5 AND state = 'running' AND holder = $6 AND attempt = $7",
        )
        .bind(ending.at.as_millisecond())
        .bind(&ending.verdict)
        .bind(i64::from(ending.exit_code))
        .bind(&ending.summary)
        .bind(&taken.id)
        .bind(self.holder())
        .bind(taken.attempt)
        .execute(&mut **tx)
        .await?;
        if updated.rows_affected() == 1 {
            Ok(())
        } else {
            Err(StoreError::Lost)
        }
    }
}

fn select(condition: &'static str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM audits {condition}"))
}

fn read(row: &AnyRow) -> Result<Audit, StoreError> {
    let state: String = row.try_get("state")?;
    let ended_at: Option<i64> = row.try_get("ended_at")?;
    Ok(Audit {
        id: row.try_get("id")?,
        group: row.try_get("grp")?,
        number: row.try_get("number")?,
        state: match state.as_str() {
            "running" => State::Running,
            "done" => State::Done,
            "failed" => State::Failed,
            other => return Err(damaged("the state of an audit", &format!("`{other}`"))),
        },
        scheduled_for: moment(row.try_get("scheduled_for")?)?,
        started_at: moment(row.try_get("started_at")?)?,
        attempt: row.try_get("attempt")?,
        holder: row.try_get("holder")?,
        asked_by: row.try_get("asked_by")?,
        ended_at: ended_at.map(moment).transpose()?,
        verdict: row.try_get("verdict")?,
        summary: row.try_get("summary")?,
        error: row.try_get("error")?,
        lease_until: row.try_get("lease_until")?,
    })
}

fn lease_millis() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        })
    }
}
