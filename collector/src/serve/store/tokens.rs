//! Tokens of people and programs that use the API. What is secret about one is never kept: only its SHA-256 is.

use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{Row, query};

use super::documents::{digest, hex};
use super::{Store, StoreError, damaged, moment};
use crate::serve::access::Role;

/// How tokens begin, so that scanners for leaked secrets know them.
const PREFIX: &str = "pjn_";
/// The bytes drawn for one.
const SECRET_BYTES: usize = 24;

/// A token that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is called in the log: 1 to 63 characters.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it ends; never without.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A token, without what is secret about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// What it is called.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl Token {
    /// Whether it allows anything at this moment.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

const COLUMNS: &str = "name, role, made_by, made_at, expires_at, revoked_at";

impl Store {
    /// Makes a token and gives what is secret about it, this once; none if there is one of this name that is not revoked.
    pub async fn create_token(&self, new: &NewToken, by: &str, now: Timestamp) -> Result<Option<String>, StoreError> {
        if new.name.is_empty() || new.name.chars().count() > 63 || new.name.chars().any(char::is_control) {
            return Err(StoreError::Conflict("a token's name has 1 to 63 characters".to_owned()));
        }
        let mut secret = [0; SECRET_BYTES];
        let drawn = SystemRandom::new().fill(&mut secret);
        drawn.map_err(|_| StoreError::Conflict("this machine gives no random numbers".to_owned()))?;
        let token = format!("{PREFIX}{}", hex(&secret));
        let mut tx = self.write().await?;
        query("DELETE FROM tokens WHERE name = $1 AND revoked_at IS NOT NULL")
            .bind(&new.name)
            .execute(&mut *tx)
            .await?;
        let made = query(
            "INSERT INTO tokens (name, role, digest, made_by, made_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT DO NOTHING",
        )
        .bind(&new.name)
        .bind(new.role.name())
        .bind(digest(token.as_bytes()))
        .bind(by)
        .bind(now.as_millisecond())
        .bind(new.expires_at.map(Timestamp::as_millisecond))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok((made.rows_affected() == 1).then_some(token))
    }

    /// The token of these characters, valid or not.
    pub async fn token(&self, secret: &str) -> Result<Option<Token>, StoreError> {
        if !secret.starts_with(PREFIX) || secret.len() > 256 {
            return Ok(None);
        }
        // Looked up by its digest: how long that takes says nothing about the token.
        let row = query(select("WHERE digest = $1"))
            .bind(digest(secret.as_bytes()))
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// All tokens, by name.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let rows = query(select("ORDER BY name")).fetch_all(self.pool()).await?;
        rows.iter().map(read).collect()
    }

    /// Revokes a token; none if there is none of this name.
    pub async fn revoke_token(&self, name: &str, now: Timestamp) -> Result<Option<Token>, StoreError> {
        let mut tx = self.write().await?;
        query("UPDATE tokens SET revoked_at = $1 WHERE name = $2 AND revoked_at IS NULL")
            .bind(now.as_millisecond())
            .bind(name)
            .execute(&mut *tx)
            .await?;
        let row = query(select("WHERE name = $1"))
            .bind(name)
            .fetch_optional(&mut *tx)
            .await?;
        tx.commit().await?;
        row.as_ref().map(read).transpose()
    }
}

fn select(condition: &'static str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM tokens {condition}"))
}

fn read(row: &AnyRow) -> Result<Token, StoreError> {
    let time = |name: &str| -> Result<Option<Timestamp>, StoreError> {
        row.try_get::<Option<i64>, _>(name)?.map(moment).transpose()
    };
    let role: String = row.try_get("role")?;
    let role = Role::ALL.into_iter().find(|known| known.name() == role);
    Ok(Token {
        name: row.try_get("name")?,
        role: role.ok_or_else(|| damaged("a token", &"it has no role"))?,
        made_by: row.try_get("made_by")?,
        made_at: moment(row.try_get("made_at")?)?,
        expires_at: time("expires_at")?,
        revoked_at: time("revoked_at")?,
    })
}
