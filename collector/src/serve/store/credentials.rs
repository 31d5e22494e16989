//! Clusters whose agents dial in: enrolment tokens, credentials, and which cluster each name stands for.
//!
//! Only hashes of secrets are here. A token is traded once; a credential serves until another took its place, or the cluster was revoked.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use prejoin_agent::dial::keep::{make_secret, sha256};
use sqlx::any::AnyRow;
use sqlx::{Row, query};

use super::{Store, StoreError, damaged, moment};

/// What an enrolment token begins with.
const TOKEN: &str = "pje_";
/// Tokens that were used or ran out are remembered so long, so that who brings one is told what became of it.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);
/// A cluster's name has no more characters.
const NAME_CHARS: usize = 63;

/// A cluster whose agent may dial in, or could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledCluster {
    /// Its name.
    pub name: String,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// Since when it has its present credential.
    pub credential_since: Timestamp,
    /// Since when it is not let in any more.
    pub revoked_at: Option<Timestamp>,
    /// The UID of its namespace kube-system, once it was seen.
    pub uid: Option<String>,
}

/// Why a token is not traded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEnrolled {
    /// There never was such a token, or its cluster was revoked since.
    #[error("this enrolment token is not known")]
    Unknown,
    /// It was used already, by somebody else.
    #[error("this enrolment token of cluster {cluster} was used already")]
    Replayed {
        /// The cluster that it was for.
        cluster: String,
    },
    /// Its time is over.
    #[error(
        "this enrolment token of cluster {cluster} has expired: make another with `prejoin serve enroll {cluster}`"
    )]
    Expired {
        /// The cluster that it was for.
        cluster: String,
    },
}

/// Why a cluster is not who it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotThisCluster {
    /// Another cluster dials in under the name.
    #[error(
        "its namespace kube-system has UID {uid}, and that of the cluster enrolled as {name} has {first}: it is another cluster \
         (if {name} was built anew: `prejoin serve revoke {name}`, and enrol it again)"
    )]
    Another {
        /// The enrolled name.
        name: String,
        /// What it claims.
        uid: String,
        /// What was seen first.
        first: String,
    },
    /// The cluster is enrolled under another name.
    #[error("it is the cluster that is enrolled as {other} (kube-system has UID {uid} in both)")]
    Twice {
        /// The other name.
        other: String,
        /// The identity of both.
        uid: String,
    },
}

/// Whether a cluster may be called so: letters, digits and `.`, `-`, `_` between them.
pub fn is_cluster_name(name: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= NAME_CHARS
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && ends(name.chars().next())
        && ends(name.chars().last())
}

impl Store {
    /// Makes a token with which one cluster gets in under this name, within this time.
    pub async fn invite(&self, cluster: &str, lifetime: Duration, now: Timestamp) -> Result<String, StoreError> {
        if !is_cluster_name(cluster) {
            return Err(StoreError::Conflict(format!(
                "`{cluster}` is no name of a cluster: up to {NAME_CHARS} letters and digits, with `.`, `-` and `_` between them"
            )));
        }
        let token = make_secret(TOKEN).map_err(|why| damaged("a new token", &why))?;
        let now = now.as_millisecond();
        let mut tx = self.write().await?;
        query("DELETE FROM enrolments WHERE expires_at < $1")
            .bind(now.saturating_sub(millis(REMEMBERED)))
            .execute(&mut *tx)
            .await?;
        query("INSERT INTO enrolments (token_sha256, cluster, created_at, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(sha256(&token))
            .bind(cluster)
            .bind(now)
            .bind(now.saturating_add(millis(lifetime)))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(token)
    }

    /// Trades a token for the credential with this hash: the cluster's name. Asking again with the same hash gives the same answer.
    pub async fn enroll(
        &self,
        token: &str,
        credential_sha256: &str,
        now: Timestamp,
    ) -> Result<Result<String, NotEnrolled>, StoreError> {
        let token = sha256(token);
        let now = now.as_millisecond();
        let mut tx = self.write().await?;
        let row =
            query("SELECT cluster, expires_at, used_at, credential_sha256 FROM enrolments WHERE token_sha256 = $1")
                .bind(&token)
                .fetch_optional(&mut *tx)
                .await?;
        let Some(row) = row else {
            return Ok(Err(NotEnrolled::Unknown));
        };
        let cluster: String = row.try_get("cluster")?;
        let used_at: Option<i64> = row.try_get("used_at")?;
        let traded_for: Option<String> = row.try_get("credential_sha256")?;
        if used_at.is_some() {
            // Its own cluster, revoked since, gets no second life by it.
            let serves = query(
                "SELECT name FROM enrolled_clusters WHERE name = $1 AND credential_sha256 = $2 AND revoked_at IS NULL",
            )
            .bind(&cluster)
            .bind(credential_sha256)
            .fetch_optional(&mut *tx)
            .await?;
            let is_same = traded_for.as_deref() == Some(credential_sha256) && serves.is_some();
            return Ok(if is_same {
                Ok(cluster)
            } else {
                Err(NotEnrolled::Replayed { cluster })
            });
        }
        if row.try_get::<i64, _>("expires_at")? < now {
            return Ok(Err(NotEnrolled::Expired { cluster }));
        }
        // Of two replicas that are asked at once, one trades it.
        let used = query(
            "UPDATE enrolments SET used_at = $1, credential_sha256 = $2 WHERE token_sha256 = $3 AND used_at IS NULL",
        )
        .bind(now)
        .bind(credential_sha256)
        .bind(&token)
        .execute(&mut *tx)
        .await?;
        if used.rows_affected() != 1 {
            return Ok(Err(NotEnrolled::Replayed { cluster }));
        }
        query(
            "INSERT INTO enrolled_clusters (name, credential_sha256, enrolled_at, credential_since) VALUES ($1, $2, $3, $3) \
             ON CONFLICT (name) DO UPDATE SET credential_sha256 = excluded.credential_sha256, next_sha256 = NULL, \
             enrolled_at = excluded.enrolled_at, credential_since = excluded.credential_since, revoked_at = NULL",
        )
        .bind(&cluster)
        .bind(credential_sha256)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Ok(cluster))
    }

    /// Whose credential this is, if it serves. The first use of the next one ends the one before.
    pub async fn whose(&self, credential: &str, now: Timestamp) -> Result<Option<String>, StoreError> {
        let hash = sha256(credential);
        let row = query("SELECT name, next_sha256 FROM enrolled_clusters WHERE (credential_sha256 = $1 OR next_sha256 = $1) AND revoked_at IS NULL")
            .bind(&hash)
            .fetch_optional(self.pool())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let name: String = row.try_get("name")?;
        let next: Option<String> = row.try_get("next_sha256")?;
        if next.as_deref() == Some(hash.as_str()) {
            let mut tx = self.write().await?;
            query(
                "UPDATE enrolled_clusters SET credential_sha256 = $1, next_sha256 = NULL, credential_since = $2 \
                 WHERE name = $3 AND next_sha256 = $1 AND revoked_at IS NULL",
            )
            .bind(&hash)
            .bind(now.as_millisecond())
            .bind(&name)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
        }
        Ok(Some(name))
    }

    /// The credential that a cluster will have after this one: the cluster's name, or nothing if the present one does not serve.
    pub async fn rotate(&self, credential: &str, next_sha256: &str) -> Result<Option<String>, StoreError> {
        let hash = sha256(credential);
        let mut tx = self.write().await?;
        let row = query("SELECT name FROM enrolled_clusters WHERE credential_sha256 = $1 AND revoked_at IS NULL")
            .bind(&hash)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let name: String = row.try_get("name")?;
        query("UPDATE enrolled_clusters SET next_sha256 = $1 WHERE name = $2 AND credential_sha256 = $3")
            .bind(next_sha256)
            .bind(&name)
            .bind(&hash)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Some(name))
    }

    /// Ends what a cluster may, its tokens included, and forgets which cluster the name stood for. Whether there was anything to end.
    pub async fn revoke(&self, cluster: &str, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let tokens = query("DELETE FROM enrolments WHERE cluster = $1")
            .bind(cluster)
            .execute(&mut *tx)
            .await?;
        let revoked = query("UPDATE enrolled_clusters SET revoked_at = $1, next_sha256 = NULL, uid = NULL WHERE name = $2 AND revoked_at IS NULL")
            .bind(now.as_millisecond())
            .bind(cluster)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(tokens.rows_affected() + revoked.rows_affected() > 0)
    }

    /// The hashes of the credentials that serve, by cluster: the present one and the next.
    pub async fn credentials(&self) -> Result<BTreeMap<String, (String, Option<String>)>, StoreError> {
        let rows = query("SELECT name, credential_sha256, next_sha256 FROM enrolled_clusters WHERE revoked_at IS NULL")
            .fetch_all(self.pool())
            .await?;
        let read = |row: &AnyRow| {
            Ok((
                row.try_get("name")?,
                (row.try_get("credential_sha256")?, row.try_get("next_sha256")?),
            ))
        };
        rows.iter().map(read).collect()
    }

    /// Every cluster that ever dialled in, by name.
    pub async fn enrolled(&self) -> Result<Vec<EnrolledCluster>, StoreError> {
        let rows =
            query("SELECT name, enrolled_at, credential_since, revoked_at, uid FROM enrolled_clusters ORDER BY name")
                .fetch_all(self.pool())
                .await?;
        let read = |row: &AnyRow| {
            let revoked_at: Option<i64> = row.try_get("revoked_at")?;
            Ok(EnrolledCluster {
                name: row.try_get("name")?,
                enrolled_at: moment(row.try_get("enrolled_at")?)?,
                credential_since: moment(row.try_get("credential_since")?)?,
                revoked_at: revoked_at.map(moment).transpose()?,
                uid: row.try_get("uid")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Holds a cluster to the identity that was first seen under its name, and notes it if this is the first.
    pub async fn claim(&self, cluster: &str, uid: &str) -> Result<Result<(), NotThisCluster>, StoreError> {
        let first = query("SELECT name, uid FROM enrolled_clusters WHERE name = $1 OR uid = $2")
            .bind(cluster)
            .bind(uid)
            .fetch_all(self.pool())
            .await?;
        for row in &first {
            let name: String = row.try_get("name")?;
            let known: Option<String> = row.try_get("uid")?;
            match known {
                Some(known) if name == cluster && known == uid => return Ok(Ok(())),
                Some(first) if name == cluster => {
                    let (name, uid) = (name, uid.to_owned());
                    return Ok(Err(NotThisCluster::Another { name, uid, first }));
                }
                Some(uid) => return Ok(Err(NotThisCluster::Twice { other: name, uid })),
                None => {}
            }
        }
        let mut tx = self.write().await?;
        query("UPDATE enrolled_clusters SET uid = $1 WHERE name = $2 AND uid IS NULL AND revoked_at IS NULL")
            .bind(uid)
            .bind(cluster)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Ok(()))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::fresh;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A cluster that got in with this credential.
    async fn enrolled(store: &Store, name: &str, credential: &str) {
        let token = store.invite(name, HOUR, at(0)).await.unwrap();
        let cluster = store.enroll(&token, &sha256(credential), at(1)).await.unwrap();
        assert_eq!(cluster, Ok(name.to_owned()));
    }

    #[tokio::test]
    async fn a_token_is_traded_once_for_a_credential_that_serves() {
        let (_directory, store) = fresh().await;
        let token = store.invite("east", HOUR, at(0)).await.unwrap();
        assert_eq!(store.whose("mine", at(0)).await.unwrap(), None);
        let enroll = async |credential: &str| store.enroll(&token, &sha256(credential), at(1)).await.unwrap();
        assert_eq!(enroll("mine").await, Ok("east".to_owned()));
        assert_eq!(store.whose("mine", at(2)).await.unwrap().as_deref(), Some("east"));
        // The answer got lost: the same question has the same answer.
        assert_eq!(enroll("mine").await, Ok("east".to_owned()));
        let replayed = NotEnrolled::Replayed {
            cluster: "east".to_owned(),
        };
        assert_eq!(enroll("another's").await, Err(replayed));
        assert_eq!(store.whose("another's", at(2)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_token_that_is_not_known_or_out_of_date_is_not_traded() {
        let (_directory, store) = fresh().await;
        let token = store.invite("east", HOUR, at(0)).await.unwrap();
        let late = store.enroll(&token, "c", at(3601)).await.unwrap();
        assert_eq!(
            late,
            Err(NotEnrolled::Expired {
                cluster: "east".to_owned()
            })
        );
        assert_eq!(
            store.enroll("pje_made-up", "c", at(1)).await.unwrap(),
            Err(NotEnrolled::Unknown)
        );
        assert_eq!(store.enroll("", "c", at(1)).await.unwrap(), Err(NotEnrolled::Unknown));
    }

    #[tokio::test]
    async fn the_next_credential_serves_beside_the_present_one_until_it_is_used() {
        let (_directory, store) = fresh().await;
        enrolled(&store, "east", "one").await;
        assert_eq!(
            store.rotate("one", &sha256("two")).await.unwrap().as_deref(),
            Some("east")
        );
        assert_eq!(store.whose("one", at(2)).await.unwrap().as_deref(), Some("east"));
        assert_eq!(store.whose("two", at(3)).await.unwrap().as_deref(), Some("east"));
        assert_eq!(store.whose("one", at(4)).await.unwrap(), None);
        assert_eq!(store.rotate("one", &sha256("three")).await.unwrap(), None);
        assert_eq!(store.enrolled().await.unwrap()[0].credential_since, at(3));
    }

    #[tokio::test]
    async fn a_revoked_cluster_is_out_at_once_with_all_its_tokens() {
        let (_directory, store) = fresh().await;
        let spare = store.invite("east", HOUR, at(0)).await.unwrap();
        enrolled(&store, "east", "one").await;
        enrolled(&store, "west", "another").await;
        store.rotate("one", &sha256("two")).await.unwrap();
        assert!(store.revoke("east", at(2)).await.unwrap());
        for credential in ["one", "two"] {
            assert_eq!(store.whose(credential, at(3)).await.unwrap(), None);
        }
        assert_eq!(
            store.enroll(&spare, "c", at(3)).await.unwrap(),
            Err(NotEnrolled::Unknown)
        );
        assert_eq!(store.rotate("one", "c").await.unwrap(), None);
        let serving: Vec<String> = store.credentials().await.unwrap().into_keys().collect();
        assert_eq!(serving, ["west"]);
        assert!(!store.revoke("east", at(3)).await.unwrap());
        // It may be enrolled anew.
        enrolled(&store, "east", "three").await;
        assert_eq!(store.whose("three", at(4)).await.unwrap().as_deref(), Some("east"));
    }

    #[tokio::test]
    async fn a_name_stands_for_the_cluster_that_was_first_seen_under_it() {
        let (_directory, store) = fresh().await;
        enrolled(&store, "east", "one").await;
        enrolled(&store, "west", "two").await;
        for _ in 0..2 {
            assert_eq!(store.claim("east", "uid-1").await.unwrap(), Ok(()));
        }
        let another = store.claim("east", "uid-2").await.unwrap().unwrap_err();
        assert!(another.to_string().contains("it is another cluster"), "{another}");
        let twice = store.claim("west", "uid-1").await.unwrap().unwrap_err();
        assert_eq!(
            twice.to_string(),
            "it is the cluster that is enrolled as east (kube-system has UID uid-1 in both)"
        );
        // Revoked and enrolled again, the name is free for a cluster that was built anew.
        store.revoke("east", at(2)).await.unwrap();
        enrolled(&store, "east", "three").await;
        assert_eq!(store.claim("east", "uid-2").await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn no_secret_stands_in_the_store() {
        let (_directory, store) = fresh().await;
        let token = store.invite("east", HOUR, at(0)).await.unwrap();
        store.enroll(&token, &sha256("mine"), at(1)).await.unwrap().unwrap();
        store.rotate("mine", &sha256("next")).await.unwrap();
        for (table, columns) in [
            (
                "enrolments",
                "token_sha256 || cluster || coalesce(credential_sha256, '')",
            ),
            (
                "enrolled_clusters",
                "name || credential_sha256 || coalesce(next_sha256, '')",
            ),
        ] {
            let all = sqlx::AssertSqlSafe(format!("SELECT {columns} AS texts FROM {table}"));
            for row in query(all).fetch_all(store.pool()).await.unwrap() {
                let texts: String = row.try_get("texts").unwrap();
                assert!(
                    !texts.contains(&token) && !texts.contains("mine") && !texts.contains("next"),
                    "{texts}"
                );
            }
        }
    }

    #[test]
    fn a_clusters_name_fits_everywhere() {
        for name in ["east", "eu-west-1.prod", "a", "A_1"] {
            assert!(is_cluster_name(name), "{name}");
        }
        for name in ["", "-east", "east-", "ea st", "é", "a\nb", &"a".repeat(64)] {
            assert!(!is_cluster_name(name), "{name}");
        }
    }
}
