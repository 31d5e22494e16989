//! [`Store`]: the only place with SQL. SQLite in one file by default, PostgreSQL by URL, by the same statements.
//!
//! What an audit found becomes visible in one transaction ([`audits::Taken`] is what allows to write it). Times are milliseconds since 1970.

pub mod audit_log;
pub mod audits;
pub mod baselines;
mod copy;
pub mod credentials;
pub mod documents;
pub mod findings;
mod lock;
pub mod measures;
pub mod outbox;
pub mod sessions;
pub mod tokens;

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, AssertSqlSafe, Connection as _, Executor, SqlSafeStr, Transaction};
use uuid::Uuid;

pub use lock::Lock;

/// How long a writer waits for another on one SQLite file.
const BUSY: Duration = Duration::from_secs(10);
/// Connections to the database.
const CONNECTIONS: u32 = 8;

/// The tables, in the order in which they are made; each file is applied once and never changed.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "audits", include_str!("store/migrations/0001_audits.sql")),
    (20, "clusters", include_str!("store/migrations/0020_clusters.sql")),
    (30, "sessions", include_str!("store/migrations/0030_sessions.sql")),
];

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no: it is locked, full, not writable, gone.
    #[error("the store: {0}")]
    Database(#[from] sqlx::Error),
    /// Its tables could not be brought up to date.
    #[error("the store's tables cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// What stands in it cannot be read.
    #[error("the store: {what} cannot be read: {why}")]
    Damaged {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// The file is in use by another collector, or cannot be used.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// Another collector has the audit now: this one took too long to say that it still runs it.
    #[error("the audit was taken over by another collector")]
    Lost,
    /// Something else was written in between.
    #[error("{0}")]
    Conflict(String),
}

/// Where everything is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of SQLite.
    File(PathBuf),
    /// A PostgreSQL server, by URL.
    Postgres(String),
}

impl Place {
    /// What the configuration says; relative paths are relative to `directory`.
    pub fn parse(text: &str, directory: &Path) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Self::Postgres(text.to_owned());
        }
        Self::File(directory.join(text.strip_prefix("sqlite://").unwrap_or(text)))
    }
}

impl fmt::Display for Place {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => f.write_str(url.rsplit_once('@').map_or(url.as_str(), |(_, rest)| rest)),
        }
    }
}

/// Everything that is kept.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    place: Place,
    /// Who this collector is, among those that share the store.
    holder: String,
}

/// What is written together, or not at all.
pub type Tx = Transaction<'static, Any>;

impl Store {
    /// Opens the store, and makes or updates its tables.
    pub async fn open(place: &Place) -> Result<Self, StoreError> {
        Self::open_with(place, BUSY).await
    }

    /// Like [`Store::open`]; writers wait so long for each other.
    pub async fn open_with(place: &Place, busy: Duration) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let options = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            // SQLite ends a transaction by itself when the disk is full, which its driver does not notice: such a connection is of no more use.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .acquire_timeout(busy + Duration::from_secs(5));
        let pool = match place {
            Place::File(path) => {
                let set_up = format!(
                    "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
                    busy.as_millis()
                );
                let options = options.after_connect(move |connection, _| {
                    let set_up = set_up.clone();
                    Box::pin(async move { connection.execute(AssertSqlSafe(set_up)).await.map(drop) })
                });
                options
                    .connect(&sqlite_url(path))
                    .await
                    .map_err(|error| StoreError::File {
                        path: path.display().to_string(),
                        why: error.to_string(),
                    })?
            }
            Place::Postgres(url) => options.connect(url).await?,
        };
        let store = Self {
            pool,
            place: place.clone(),
            holder: Uuid::now_v7().to_string(),
        };
        store.migrate().await?;
        Ok(store)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let migrations = MIGRATIONS.map(|(version, name, sql)| {
            let sql = match self.place {
                Place::File(_) => sql.into_sql_str(),
                // The one type whose name differs.
                Place::Postgres(_) => AssertSqlSafe(sql.replace(" BLOB", " BYTEA")).into_sql_str(),
            };
            Migration::new(version, name.into(), MigrationType::Simple, sql, false)
        });
        Ok(Migrator::with_migrations(migrations.into()).run(&self.pool).await?)
    }

    /// For reading.
    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Begins to write. SQLite's writers queue up here, so that none fails half way because another was faster.
    pub async fn write(&self) -> Result<Tx, StoreError> {
        let begin = match self.place {
            Place::File(_) => "BEGIN IMMEDIATE",
            Place::Postgres(_) => "BEGIN",
        };
        Ok(self.pool.begin_with(begin).await?)
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Who this collector is, among those that share the store.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// The time that leases are held against: one clock for all who share the store.
    pub(crate) async fn clock(&self, tx: &mut Tx) -> Result<i64, StoreError> {
        match self.place {
            Place::File(_) => Ok(Timestamp::now().as_millisecond()),
            Place::Postgres(_) => {
                let now = sqlx::query_scalar("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)");
                Ok(now.fetch_one(&mut **tx).await?)
            }
        }
    }

    /// Ends all connections, after what they are doing.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The path as SQLite's driver takes it.
fn sqlite_url(path: &Path) -> String {
    let mut url = "sqlite://".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => url.push(char::from(*byte)),
            // Writing to a text does not fail.
            other => write!(url, "%{other:02X}").unwrap_or_default(),
        }
    }
    url + "?mode=rwc"
}

/// A moment as it stands in the store.
pub(crate) fn moment(millis: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(millis).map_err(|error| damaged("a time", &error))
}

/// What stands in the store is not what was written.
pub(crate) fn damaged(what: impl Into<String>, why: &impl ToString) -> StoreError {
    StoreError::Damaged {
        what: what.into(),
        why: why.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
