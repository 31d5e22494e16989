//! Documents: facts, observations and reports. What does not change from audit to audit is kept once.
//!
//! A document is a JSON object. What is in it besides single values is a part: kept under its digest, and shared by all documents that have it.
//! So are its larger fields, and the larger items of its lists, within that part. A year of audits of clusters that do not change takes the room
//! of what changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::{Row, query};

use super::audits::Taken;
use super::{Store, StoreError, Tx, damaged};

/// A smaller field stays in its document.
const PART_BYTES: usize = 512;
/// The last use of a part is known no better than this: not every audit writes every part again.
const USE_MILLIS: i64 = 24 * 3600 * 1000;
/// So many parts are written in one transaction, so that nobody waits long for the next.
const PARTS_AT_ONCE: usize = 500;
/// Stands for a part.
const KEY: &str = "$part";

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The facts of one cluster.
    Facts,
    /// What agents saw.
    Observations,
    /// What was asked for.
    Asked,
    /// What was found.
    Report,
    /// Who was to probe, and did.
    Agents,
}

/// A document whose parts are kept already.
#[derive(Debug)]
pub struct Prepared {
    kind: Kind,
    name: String,
    body: Vec<u8>,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Observations => "observations",
            Self::Asked => "asked",
            Self::Report => "report",
            Self::Agents => "agents",
        }
    }

    /// Fields that differ from audit to audit, so that nothing is gained by looking for them.
    fn own(self) -> &'static [&'static str] {
        match self {
            Self::Facts | Self::Asked | Self::Agents => &[],
            Self::Observations => &["plan", "agents", "results"],
            Self::Report => &["paths", "coverage", "summary"],
        }
    }
}

impl Store {
    /// Writes the parts of a document, which mean nothing by themselves. `name` is the cluster of facts, and empty for the others.
    pub async fn prepare<T: Serialize>(&self, kind: Kind, name: &str, document: &T) -> Result<Prepared, StoreError> {
        let value = serde_json::to_value(document).map_err(|error| damaged(kind.name(), &error))?;
        let mut parts = BTreeMap::new();
        let rest = taken_apart(value, kind, &mut parts);
        let parts: Vec<(String, Vec<u8>)> = parts.into_iter().collect();
        for parts in parts.chunks(PARTS_AT_ONCE) {
            let mut tx = self.write().await?;
            let now = self.clock(&mut tx).await?;
            for (digest, body) in parts {
                keep_part(&mut tx, digest, body, now).await?;
            }
            tx.commit().await?;
        }
        Ok(Prepared {
            kind,
            name: name.to_owned(),
            body: zipped(rest.to_string().as_bytes()),
        })
    }

    /// Keeps a document of an audit.
    pub async fn put(&self, tx: &mut Tx, taken: &Taken, document: Prepared) -> Result<(), StoreError> {
        query("INSERT INTO documents (audit, kind, name, body) VALUES ($1, $2, $3, $4)")
            .bind(&taken.id)
            .bind(document.kind.name())
            .bind(document.name)
            .bind(document.body)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

    /// A document of an audit that ended; none if it was too old to be kept.
    pub async fn document<T: DeserializeOwned>(
        &self,
        audit: &str,
        kind: Kind,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let row = query(
            "SELECT d.body FROM documents d JOIN audits a ON a.id = d.audit \
             WHERE d.audit = $1 AND d.kind = $2 AND d.name = $3 AND a.state = 'done'",
        )
        .bind(audit)
        .bind(kind.name())
        .bind(name)
        .fetch_optional(self.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let value = self.whole(audit, kind, &row.try_get::<Vec<u8>, _>(0)?).await?;
        let document = serde_json::from_value(value).map_err(|error| damaged(kind.name(), &error))?;
        Ok(Some(document))
    }

    /// The names under which an audit has documents of a kind.
    pub async fn document_names(&self, audit: &str, kind: Kind) -> Result<Vec<String>, StoreError> {
        let rows = query("SELECT name FROM documents WHERE audit = $1 AND kind = $2 ORDER BY name")
            .bind(audit)
            .bind(kind.name())
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn whole(&self, audit: &str, kind: Kind, body: &[u8]) -> Result<Value, StoreError> {
        let unreadable =
            |error: &dyn std::fmt::Display| damaged(format!("{} of audit {audit}", kind.name()), &error.to_string());
        let read = |body: &[u8]| -> Result<Value, StoreError> {
            let text = unzipped(body).map_err(|error| unreadable(&error))?;
            serde_json::from_slice(&text).map_err(|error| unreadable(&error))
        };
        let mut document = read(body)?;
        let Some(fields) = document.as_object_mut() else {
            return Ok(document);
        };
        if let Some(digest) = fields.remove(KEY) {
            let shared = read(&self.part(digest.as_str().unwrap_or_default()).await?)?;
            let Value::Object(shared) = shared else {
                return Err(unreadable(&"its shared part is no object"));
            };
            for (name, mut value) in shared {
                if let Some(digest) = digest_of(&value) {
                    value = read(&self.part(digest).await?)?;
                }
                for item in value.as_array_mut().into_iter().flatten() {
                    if let Some(digest) = digest_of(item) {
                        *item = read(&self.part(digest).await?)?;
                    }
                }
                fields.insert(name, value);
            }
        }
        Ok(document)
    }

    async fn part(&self, digest: &str) -> Result<Vec<u8>, StoreError> {
        let body = query("SELECT body FROM parts WHERE digest = $1").bind(digest);
        Ok(body.fetch_one(self.pool()).await?.try_get(0)?)
    }

    /// Forgets the documents of audits that ended before this moment, except those of `keep`, and the parts that only they had. The audits themselves
    /// stay in lists.
    pub async fn forget_documents(&self, group: &str, before: i64, keep: &[String]) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let rows = query(
            "SELECT DISTINCT a.id FROM audits a JOIN documents d ON d.audit = a.id \
             WHERE a.grp = $1 AND a.state <> 'running' AND a.ended_at < $2",
        )
        .bind(group)
        .bind(before)
        .fetch_all(&mut *tx)
        .await?;
        let mut forgotten = 0;
        for row in rows {
            let audit: String = row.try_get(0)?;
            if keep.contains(&audit) {
                continue;
            }
            query("DELETE FROM documents WHERE audit = $1")
                .bind(&audit)
                .execute(&mut *tx)
                .await?;
            forgotten += 1;
        }
        tx.commit().await?;
        Ok(forgotten)
    }

    /// Forgets parts that no document kept has. Only parts that no audit used for twice the time that their last use may be wrong by are looked at,
    /// so that it costs little to ask often.
    pub async fn forget_parts(&self) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let now = self.clock(&mut tx).await?;
        let oldest: Option<i64> =
            sqlx::query_scalar("SELECT MIN(a.started_at) FROM audits a JOIN documents d ON d.audit = a.id")
                .fetch_one(&mut *tx)
                .await?;
        let before = oldest.unwrap_or(now).min(now) - 2 * USE_MILLIS;
        let gone = query("DELETE FROM parts WHERE last_used < $1")
            .bind(before)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(gone.rows_affected())
    }
}

async fn keep_part(tx: &mut Tx, digest: &str, body: &[u8], now: i64) -> Result<(), StoreError> {
    let known =
        query("UPDATE parts SET last_used = CASE WHEN last_used < $1 THEN $2 ELSE last_used END WHERE digest = $3")
            .bind(now - USE_MILLIS)
            .bind(now)
            .bind(digest)
            .execute(&mut **tx)
            .await?;
    if known.rows_affected() == 0 {
        query("INSERT INTO parts (digest, body, last_used) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(digest)
            .bind(zipped(body))
            .bind(now)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// A document of which only what changes is left; the parts go to `parts`, by digest.
fn taken_apart(document: Value, kind: Kind, parts: &mut BTreeMap<String, Vec<u8>>) -> Value {
    let Value::Object(fields) = document else {
        return document;
    };
    let (mut own, mut shared) = (Map::new(), Map::new());
    for (name, value) in fields {
        if kind.own().contains(&name.as_str()) || !(value.is_object() || value.is_array()) {
            own.insert(name, value);
            continue;
        }
        let value = match value {
            Value::Array(items) => Value::Array(items.into_iter().map(|item| part(item, parts)).collect()),
            other => other,
        };
        shared.insert(name, part(value, parts));
    }
    if !shared.is_empty() {
        let digest = add(&Value::Object(shared).to_string(), parts);
        own.insert(KEY.to_owned(), Value::String(digest));
    }
    Value::Object(own)
}

/// What stands for a value: its digest, if that is shorter.
fn part(value: Value, parts: &mut BTreeMap<String, Vec<u8>>) -> Value {
    let text = value.to_string();
    if text.len() < PART_BYTES {
        return value;
    }
    Value::Object(Map::from_iter([(KEY.to_owned(), Value::String(add(&text, parts)))]))
}

fn add(text: &str, parts: &mut BTreeMap<String, Vec<u8>>) -> String {
    let digest = digest(text.as_bytes());
    parts.insert(digest.clone(), text.as_bytes().to_vec());
    digest
}

/// The digest that stands for a part. Fields of documents and items of their lists are structures, so that none looks like it by chance.
fn digest_of(value: &Value) -> Option<&str> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    fields.get(KEY)?.as_str()
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a text does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

fn unzipped(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text)?;
    Ok(text)
}
