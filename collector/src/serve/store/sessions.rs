//! Web sessions. What is secret about one is never kept: only its SHA-256 is.

use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use sqlx::any::AnyRow;
use sqlx::{Row, query};

use super::documents::{digest, hex};
use super::{Store, StoreError, damaged};
use crate::serve::access::Role;

/// The bytes drawn for one.
const SECRET_BYTES: usize = 32;
/// A session that nobody used for so long is over.
const IDLE: SignedDuration = SignedDuration::from_hours(8);
/// However much it is used, it is over after so long.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 7);
/// That it was used is written down again after so long: not every page is a write.
const NOTED_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// Who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When they were last seen, as far as that was written down.
    pub last_used_at: Timestamp,
    /// When it is over, however much it is used.
    pub expires_at: Timestamp,
}

impl Session {
    /// Whether it goes on at this moment.
    pub fn goes_on(&self, now: Timestamp) -> bool {
        now < self.expires_at && now.duration_since(self.last_used_at) < IDLE
    }
}

impl Store {
    /// Begins a session, and gives what is secret about it, this once. `token` is the one they came by, in full.
    pub async fn begin_session(
        &self,
        name: &str,
        role: Role,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        let mut secret = [0; SECRET_BYTES];
        let drawn = SystemRandom::new().fill(&mut secret);
        drawn.map_err(|_| StoreError::Conflict("this machine gives no random numbers".to_owned()))?;
        let secret = hex(&secret);
        let mut tx = self.write().await?;
        // Those that are over go when a new one comes.
        query("DELETE FROM sessions WHERE expires_at < $1")
            .bind(now.as_millisecond())
            .execute(&mut *tx)
            .await?;
        query(
            "INSERT INTO sessions (digest, name, role, token, made_at, last_used_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(digest(secret.as_bytes()))
        .bind(name)
        .bind(role.name())
        .bind(token.map(|token| digest(token.as_bytes())).unwrap_or_default())
        .bind(now.as_millisecond())
        .bind(now.as_millisecond())
        .bind(now.checked_add(LONGEST).unwrap_or(now).as_millisecond())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(secret)
    }

    /// The session of this secret, if it goes on; notes from time to time that it was used.
    pub async fn session(&self, secret: &str, now: Timestamp) -> Result<Option<Session>, StoreError> {
        if secret.len() != 2 * SECRET_BYTES {
            return Ok(None);
        }
        // Looked up by its digest: how long that takes says nothing about the secret.
        let key = digest(secret.as_bytes());
        // With the token that it came by, it ends.
        let row = query(
            "SELECT s.name, s.role, s.last_used_at, s.expires_at FROM sessions s \
             LEFT JOIN tokens t ON t.digest = s.token \
             WHERE s.digest = $1 AND (s.token = '' OR \
             (t.digest IS NOT NULL AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2)))",
        )
        .bind(&key)
        .bind(now.as_millisecond())
        .fetch_optional(self.pool())
        .await?;
        let Some(session) = row
            .as_ref()
            .map(read)
            .transpose()?
            .filter(|session| session.goes_on(now))
        else {
            return Ok(None);
        };
        if now.duration_since(session.last_used_at) >= NOTED_EVERY {
            query("UPDATE sessions SET last_used_at = $1 WHERE digest = $2")
                .bind(now.as_millisecond())
                .bind(&key)
                .execute(self.pool())
                .await?;
        }
        Ok(Some(session))
    }

    /// Ends a session.
    pub async fn end_session(&self, secret: &str) -> Result<(), StoreError> {
        query("DELETE FROM sessions WHERE digest = $1")
            .bind(digest(secret.as_bytes()))
            .execute(self.pool())
            .await?;
        Ok(())
    }
}

fn read(row: &AnyRow) -> Result<Session, StoreError> {
    let role: String = row.try_get("role")?;
    let role = Role::ALL.into_iter().find(|known| known.name() == role);
    Ok(Session {
        name: row.try_get("name")?,
        role: role.ok_or_else(|| damaged("a session", &"it has no role"))?,
        last_used_at: super::moment(row.try_get("last_used_at")?)?,
        expires_at: super::moment(row.try_get("expires_at")?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::fresh;
    use super::super::tokens::NewToken;
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_764_000_000 + hour * 3_600).unwrap()
    }

    #[tokio::test]
    async fn a_session_goes_on_while_it_is_used_and_ends_when_it_is_told_to() {
        let (_directory, store) = fresh().await;
        let secret = store.begin_session("kim", Role::Operator, None, at(0)).await.unwrap();
        let session = store.session(&secret, at(7)).await.unwrap().unwrap();
        assert_eq!((session.name.as_str(), session.role), ("kim", Role::Operator));
        assert!(
            store.session(&secret, at(14)).await.unwrap().is_some(),
            "it was used at 7"
        );
        assert!(
            store.session(&secret, at(23)).await.unwrap().is_none(),
            "it was not used for 9 hours"
        );
        let mut wrong = secret.clone();
        wrong.replace_range(0..1, if secret.starts_with('0') { "1" } else { "0" });
        assert!(store.session(&wrong, at(1)).await.unwrap().is_none());
        store.end_session(&secret).await.unwrap();
        assert!(store.session(&secret, at(14)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_session_ends_with_the_token_it_came_by() {
        let (_directory, store) = fresh().await;
        let new = NewToken {
            name: "kim".to_owned(),
            role: Role::Operator,
            expires_at: Some(at(5)),
        };
        let token = store.create_token(&new, "test", at(0)).await.unwrap().unwrap();
        let secret = store
            .begin_session("kim", Role::Operator, Some(&token), at(0))
            .await
            .unwrap();
        assert!(store.session(&secret, at(4)).await.unwrap().is_some());
        assert!(
            store.session(&secret, at(5)).await.unwrap().is_none(),
            "the token has ended"
        );
        store.revoke_token("kim", at(3)).await.unwrap();
        assert!(
            store.session(&secret, at(4)).await.unwrap().is_none(),
            "the token was revoked"
        );
        let forged = store
            .begin_session("kim", Role::Admin, Some("pjn_none"), at(0))
            .await
            .unwrap();
        assert!(
            store.session(&forged, at(1)).await.unwrap().is_none(),
            "there is no such token"
        );
    }

    #[tokio::test]
    async fn however_much_it_is_used_a_session_is_over_after_a_week() {
        let (_directory, store) = fresh().await;
        let secret = store.begin_session("kim", Role::Viewer, None, at(0)).await.unwrap();
        for hour in (0..24 * 7).step_by(6) {
            assert!(store.session(&secret, at(hour)).await.unwrap().is_some(), "{hour}");
        }
        assert!(store.session(&secret, at(24 * 7)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_kept_does_not_let_anyone_in() {
        let (_directory, store) = fresh().await;
        let secret = store.begin_session("kim", Role::Viewer, None, at(0)).await.unwrap();
        let kept: String = sqlx::query_scalar("SELECT digest FROM sessions")
            .fetch_one(store.pool())
            .await
            .unwrap();
        assert_ne!(kept, secret);
        assert!(store.session(&kept, at(1)).await.unwrap().is_none());
    }
}
