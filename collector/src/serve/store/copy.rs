//! Copies of what is kept: the whole file, or rows as JSON.

use std::path::Path;

use serde_json::{Map, Value};
use sqlx::any::AnyRow;
use sqlx::{Column, Row, TypeInfo, query};

use super::{Store, StoreError, damaged};

/// What an export has besides audits: each kind with the statement that reads it. Nothing secret is among it.
const HISTORY: [(&str, &str); 6] = [
    (
        "finding",
        "SELECT grp, key, is_open, last_seen, times_seen, life FROM findings ORDER BY grp, key",
    ),
    (
        "event",
        "SELECT grp, number, place, key, audit, at, event FROM finding_events ORDER BY grp, number, place",
    ),
    (
        "baseline",
        "SELECT grp, number, audit, accepted_by, accepted_at, note FROM baselines ORDER BY grp, number",
    ),
    (
        "waiver",
        "SELECT grp, key, owner, reason, until, made_at FROM waivers ORDER BY grp, key",
    ),
    (
        "measure",
        "SELECT p.grp, p.from_cluster, p.to_cluster, m.number, m.at, m.node_pairs, m.body AS measure \
         FROM measures m JOIN pairs p ON p.id = m.pair ORDER BY m.pair, m.number",
    ),
    (
        "deed",
        "SELECT at, actor, action, object, origin, outcome FROM audit_log ORDER BY at, id",
    ),
];

impl Store {
    /// Writes the whole file of SQLite to another one, as it is at this moment.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let unfit = || StoreError::File {
            path: path.display().to_string(),
            why: "its name is not UTF-8".to_owned(),
        };
        query("VACUUM INTO $1")
            .bind(path.to_str().ok_or_else(unfit)?)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// What became of findings, what was accepted and by whom: one JSON object for each row.
    pub async fn history(&self) -> Result<Vec<Value>, StoreError> {
        let mut lines = Vec::new();
        for (kind, statement) in HISTORY {
            for row in query(statement).fetch_all(self.pool()).await? {
                lines.push(object(kind, &row)?);
            }
        }
        Ok(lines)
    }
}

/// Columns whose text is JSON.
const DOCUMENTS: [&str; 3] = ["life", "event", "measure"];

fn object(kind: &str, row: &AnyRow) -> Result<Value, StoreError> {
    let mut fields = Map::from_iter([("kind".to_owned(), Value::from(kind))]);
    for column in row.columns() {
        let (name, place) = (column.name(), column.ordinal());
        let value = match column.type_info().name() {
            "BIGINT" => row.try_get::<Option<i64>, _>(place)?.map_or(Value::Null, Value::from),
            _ => match row.try_get::<Option<String>, _>(place)? {
                Some(text) if DOCUMENTS.contains(&name) => {
                    serde_json::from_str(&text).map_err(|error| damaged(name, &error))?
                }
                Some(text) => Value::from(text),
                None => Value::Null,
            },
        };
        let name = if name == "grp" { "group" } else { name };
        fields.insert(name.to_owned(), value);
    }
    Ok(Value::Object(fields))
}
