//! The cluster agent's end of a connection that it dials: one WebSocket over TLS to the collector that stays, many streams over it, each a
//! session with this agent or, by exec in its own namespace, with the agent of a node.
//!
//! ```text
//! keep: credential ─▶ collector: TCP, proxy, TLS, WebSocket ─▶ wire: bytes ─▶ streams: who is wanted ─┬─▶ session, here
//!        back_off: when it fails                                                                      └─▶ reach: exec, node agent
//! ```
//!
//! A collector gets no more by dialling than by exec: what its owner does not allow the agent refuses, whoever asks.

pub mod back_off;
pub mod collector;
mod hold;
pub mod keep;
pub mod reach;
pub mod streams;
pub mod trust;
pub mod wire;

use std::time::Duration;

use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::session::Agent;
use back_off::BackOff;
use collector::{Collector, ENROLL_PATH, Failure, ROTATE_PATH};
use keep::{Keeper, Kept};
use reach::Reach;

/// The header that carries the agent's version to the collector.
pub const VERSION_HEADER: &str = "prejoin-agent-version";
/// The header that carries the cluster's enrolled name to the agent.
pub const CLUSTER_HEADER: &str = "prejoin-cluster";
/// A credential is replaced after this time.
const ROTATE_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);
/// What an agent's credential begins with.
const CREDENTIAL: &str = "pja_";

/// What is posted to [`ENROLL_PATH`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enroll {
    /// The one-time token.
    pub token: String,
    /// The SHA-256 of the agent's credential, in hex: the credential itself stays where it was made until it is used.
    pub credential_sha256: String,
}

/// What is posted to [`ROTATE_PATH`], with the present credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotate {
    /// The SHA-256 of the next credential, in hex. The present one serves until the next is first used.
    pub credential_sha256: String,
}

/// The answer to both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The name that the cluster was enrolled under.
    pub cluster: String,
}

/// Everything that dialling takes.
pub struct Dial {
    /// The agent whose sessions are held here.
    pub agent: Agent,
    /// Where to.
    pub collector: Collector,
    /// Where the credential is.
    pub keeper: Keeper,
    /// A token from the command line or environment, beside the one that is kept.
    pub token: Option<String>,
    /// The way to the node agents; an error says why there is none.
    pub reach: Result<Reach, String>,
}

impl Dial {
    /// Dials, holds the connection, and dials again when it ends, until `stop` says what ends it.
    pub async fn run(&self, stop: impl Future<Output = &'static str>) -> &'static str {
        tokio::select! {
            by = stop => by,
            never = self.dial_for_ever() => never,
        }
    }

    async fn dial_for_ever(&self) -> ! {
        let mut back_off = BackOff::default();
        loop {
            let (lasted, failure) = self.dial_once().await;
            let asked = match &failure {
                Some(Failure::Busy { wait, .. }) => *wait,
                _ => None,
            };
            let wait = back_off.after(lasted, asked, random());
            match failure {
                Some(failure) => say(&format!("{failure}; next try in {} s", wait.as_secs_f32().ceil())),
                None => say(&format!(
                    "the collector ended the connection; next try in {} s",
                    wait.as_secs_f32().ceil()
                )),
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Dials once and holds the connection for as long as it lasts: how long that was, and what ended it if not the collector.
    async fn dial_once(&self) -> (Option<Duration>, Option<Failure>) {
        let connecting = async {
            let mut kept = self.keeper.read().await.map_err(Failure::Unreached)?;
            if let Some(token) = &self.token {
                kept.token = Some(token.clone());
            }
            if let Some(token) = kept.fresh_token().map(str::to_owned) {
                self.enroll(&mut kept, &token).await?;
            }
            let (wire, cluster) = self.connect(&mut kept).await?;
            Ok((wire, cluster, kept))
        };
        let (wire, cluster, kept) = match connecting.await {
            Ok(connected) => connected,
            Err(failure) => return (None, Some(failure)),
        };
        say(&format!("connected as cluster {cluster}"));
        let since = Instant::now();
        let ended = tokio::select! {
            ended = hold::hold(&self.agent, self.reach.as_ref(), wire) => ended,
            never = self.rotate_when_due(kept) => never,
        };
        (
            Some(since.elapsed()),
            ended
                .err()
                .map(|error| Failure::Unreached(format!("the connection broke: {error}"))),
        )
    }

    /// Trades a token for a credential. What comes of a token that the collector refuses depends on whether there is a credential already:
    /// tools that apply a Secret again and again bring back tokens that were traded long ago.
    async fn enroll(&self, kept: &mut Kept, token: &str) -> Result<(), Failure> {
        let next = self.next_credential(kept).await?;
        let enroll = Enroll {
            token: token.to_owned(),
            credential_sha256: keep::sha256(&next),
        };
        let enrolled: Result<Enrolled, Failure> = self.collector.post(ENROLL_PATH, None, &enroll).await;
        match enrolled {
            Ok(enrolled) => {
                say(&format!("enrolled as cluster {}", enrolled.cluster));
                kept.turn();
            }
            Err(Failure::Refused(why)) if kept.credential.is_some() => {
                say(&format!(
                    "the enrolment token is of no use ({why}); the credential from before is used"
                ));
                kept.next = None;
            }
            Err(failure) => return Err(failure),
        }
        kept.spent = Some(keep::sha256(token));
        kept.token = None;
        self.keeper.write(kept).await.map_err(Failure::Unreached)
    }

    /// Opens the WebSocket. After a rotation that was cut short it is the next credential that serves, or still the one before.
    async fn connect(&self, kept: &mut Kept) -> Result<(hold::DialledWire, String), Failure> {
        if let Some(next) = kept.next.clone() {
            match self.connect_with(&next).await {
                Err(Failure::Refused(_)) if kept.credential.is_some() => {}
                Ok(connected) => {
                    kept.turn();
                    self.keeper.write(kept).await.map_err(Failure::Unreached)?;
                    return Ok(connected);
                }
                Err(failure) => return Err(failure),
            }
        }
        let credential = kept.credential.as_deref();
        let credential =
            credential.ok_or_else(|| Failure::Refused("there is neither a token nor a credential here".to_owned()))?;
        self.connect_with(credential).await
    }

    async fn connect_with(&self, credential: &str) -> Result<(hold::DialledWire, String), Failure> {
        let about = [(VERSION_HEADER, env!("CARGO_PKG_VERSION").to_owned())];
        let (wire, headers) = self.collector.connect(credential, &about).await?;
        let cluster = headers.get(CLUSTER_HEADER).and_then(|name| name.to_str().ok());
        Ok((wire, cluster.unwrap_or_default().to_owned()))
    }

    /// The next credential, kept before anybody hears of it.
    async fn next_credential(&self, kept: &mut Kept) -> Result<String, Failure> {
        if let Some(next) = &kept.next {
            return Ok(next.clone());
        }
        let next = keep::make_secret(CREDENTIAL).map_err(Failure::Unreached)?;
        kept.next = Some(next.clone());
        self.keeper.write(kept).await.map_err(Failure::Unreached)?;
        Ok(next)
    }

    /// Replaces the credential each time that it has served its time.
    async fn rotate_when_due(&self, mut kept: Kept) -> ! {
        let mut back_off = BackOff::default();
        loop {
            let age = kept.since.map(|since| Timestamp::now().duration_since(since));
            let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
            tokio::time::sleep(ROTATE_AFTER.saturating_sub(age)).await;
            let failure = match self.rotate(&mut kept).await {
                Ok(()) => continue,
                Err(failure) => failure,
            };
            say(&format!(
                "the credential could not be replaced, and serves on: {failure}"
            ));
            tokio::time::sleep(back_off.after(None, Some(Duration::from_secs(60)), random())).await;
        }
    }

    async fn rotate(&self, kept: &mut Kept) -> Result<(), Failure> {
        let next = self.next_credential(kept).await?;
        let rotate = Rotate {
            credential_sha256: keep::sha256(&next),
        };
        let _: Enrolled = self
            .collector
            .post(ROTATE_PATH, kept.credential.as_deref(), &rotate)
            .await?;
        kept.turn();
        self.keeper.write(kept).await.map_err(Failure::Unreached)?;
        say("the credential was replaced");
        Ok(())
    }
}

/// Anything from 0 to 1; where the machine has no randomness, the longest wait.
fn random() -> f64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

/// One line to standard error, where a container's log is.
fn say(text: &str) {
    use std::io::Write as _;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Nothing is left to be done if stderr is gone.
    let _ = writeln!(std::io::stderr(), "prejoin-cluster-agent: {line}");
}
