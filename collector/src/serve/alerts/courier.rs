//! [`Courier`]: takes messages from the outbox to their targets: at least once, in order per target, again and again until they are taken.
//!
//! A message leaves the outbox only after its target answered 2xx. If the collector is killed in between, the message is delivered twice; it is never lost. The
//! number of attempts and the moment of the next one are in the outbox, so a restart neither forgets nor hurries. Targets do not wait for each other.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::sync::Notify;

use super::notice::Notice;
use super::outbox::{Claim, LONGEST_WAIT, Message, Outbox};
use super::target::{Secrets, Target, TargetKind};
use super::{alertmanager, slack, webhook};

/// How long a failed message waits for its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; twice as long after each further one.
    pub first: Duration,
    /// At most.
    pub most: Duration,
    /// A message that its target refuses as such (4xx) is given up once it is this old; one that cannot be delivered for any other reason never is.
    pub give_up: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            most: Duration::from_secs(600),
            give_up: Duration::from_secs(24 * 3600),
        }
    }
}

impl Backoff {
    /// How long a message waits that failed `attempts` times before and has failed again.
    ///
    /// It is up to a quarter less than the doubling says, by the message's number: what failed together is not tried again together.
    fn wait(&self, message: &Message, asked: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(1 << message.attempts.min(20)).min(self.most);
        let quarters = u32::try_from(message.number.rem_euclid(16)).unwrap_or(0);
        let wait = doubled.saturating_sub(doubled / 64 * quarters);
        let longest = LONGEST_WAIT.unsigned_abs();
        wait.max(asked.unwrap_or_default()).min(longest)
    }
}

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a claim holds: longer than an attempt can take.
const CLAIM: SignedDuration = SignedDuration::from_secs(60);
/// How often a queue is looked at without being told to: other collectors put messages there too.
const LOOK: Duration = Duration::from_secs(15);
/// So much of a target's answer is shown where it refuses.
const ANSWER_SHOWN: usize = 200;

/// Takes messages to their targets.
#[derive(Debug, Clone)]
pub struct Courier<O> {
    outbox: O,
    backoff: Backoff,
    patience: Duration,
    wake: Arc<Notify>,
}

/// Why a target did not take a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    /// The message itself is refused: another attempt will hardly fare better.
    #[error("{0}")]
    Message(String),
    /// It may work later, at the earliest after this.
    #[error("{why}")]
    Later { why: String, after: Option<Duration> },
}

fn later(why: impl fmt::Display) -> Refusal {
    Refusal::Later {
        why: why.to_string(),
        after: None,
    }
}

impl<O: Outbox> Courier<O> {
    /// For this outbox.
    pub fn new(outbox: O, backoff: Backoff) -> Self {
        Self {
            outbox,
            backoff,
            patience: PATIENCE,
            wake: Arc::new(Notify::new()),
        }
    }

    /// There may be something in the outbox: to be called after what wrote it was committed.
    pub fn wake(&self) {
        self.wake.notify_waiters();
    }

    /// Delivers what there is for these targets, and what comes, until it is dropped. `say` is told of failures: once when a target begins to fail, and when it
    /// takes messages again.
    pub async fn run(&self, targets: Vec<Target>, say: impl Fn(&str)) {
        futures::future::join_all(targets.iter().map(|target| self.serve(target, &say))).await;
    }

    async fn serve(&self, target: &Target, say: &impl Fn(&str)) {
        let mut failing = false;
        loop {
            // Registered before the outbox is asked, so that no call in between is missed.
            let mut woken = std::pin::pin!(self.wake.notified());
            woken.as_mut().enable();
            let wait = match self.turn(target).await {
                Ok(Turn::Delivered) => {
                    if failing {
                        say(&format!("alerts: {} takes messages again", target.name));
                    }
                    failing = false;
                    continue;
                }
                Ok(Turn::Failed(why)) => {
                    if !failing {
                        say(&format!("alerts: {}: {why}; trying again until it works", target.name));
                    }
                    failing = true;
                    continue;
                }
                Ok(Turn::GivenUp(why)) => {
                    say(&format!("alerts: {}: gave up on a message: {why}", target.name));
                    continue;
                }
                Ok(Turn::Wait(wait)) => wait.min(LOOK),
                Err(error) => {
                    say(&format!("alerts: {}: the store: {error}", target.name));
                    LOOK
                }
            };
            // Until then, or until there is something new.
            let _ = tokio::time::timeout(wait, woken).await;
        }
    }

    /// One look at a target's queue.
    async fn turn(&self, target: &Target) -> Result<Turn, O::Error> {
        let now = Timestamp::now();
        let message = match self.outbox.claim(&target.name, now, now + CLAIM).await? {
            Claim::Empty => return Ok(Turn::Wait(LOOK)),
            Claim::Later(at) => {
                let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                // Never at once: a clock that stands still must not make a loop.
                return Ok(Turn::Wait(wait.max(Duration::from_millis(1))));
            }
            Claim::Take(message) => message,
        };
        let refusal = match self.deliver(target, &message).await {
            Ok(()) => {
                self.outbox.delivered(&message, Timestamp::now()).await?;
                return Ok(Turn::Delivered);
            }
            Err(refusal) => refusal,
        };
        let now = Timestamp::now();
        let why = refusal.to_string();
        let age = Duration::try_from(now.duration_since(message.created)).unwrap_or_default();
        let after = match refusal {
            Refusal::Message(_) if age >= self.backoff.give_up => {
                self.outbox.given_up(&message, &why, now).await?;
                return Ok(Turn::GivenUp(why));
            }
            Refusal::Message(_) => None,
            Refusal::Later { after, .. } => after,
        };
        let wait = self.backoff.wait(&message, after);
        let next = now + SignedDuration::try_from(wait).unwrap_or(LONGEST_WAIT);
        self.outbox.failed(&message, &why, next).await?;
        Ok(Turn::Failed(why))
    }

    async fn deliver(&self, target: &Target, message: &Message) -> Result<(), Refusal> {
        let notice: Notice = serde_json::from_str(&message.notice)
            .map_err(|error| Refusal::Message(format!("the stored message cannot be read: {error}")))?;
        let secrets = target.secrets().map_err(later)?;
        let request = request(target, &secrets, &notice, message, Timestamp::now(), self.patience)?;
        let answer = request.send().await.map_err(|error| later(plain(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let why = match beginning(answer).await {
            text if text.is_empty() => format!("it answered {status}"),
            text => format!("it answered {status}: {text}"),
        };
        // Too early, too many, or out of time: not the message's fault. Nor is a credential that is about to be replaced.
        let of_the_message = status.is_client_error() && ![401, 403, 404, 408, 425, 429].contains(&status.as_u16());
        Err(if of_the_message {
            Refusal::Message(why)
        } else {
            Refusal::Later { why, after }
        })
    }
}

/// What came of a look at a queue.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Delivered,
    Failed(String),
    GivenUp(String),
    Wait(Duration),
}

/// The request that takes a notice to a target.
fn request(
    target: &Target,
    secrets: &Secrets,
    notice: &Notice,
    message: &Message,
    now: Timestamp,
    patience: Duration,
) -> Result<reqwest::RequestBuilder, Refusal> {
    // A new client for each: messages are rare, and files of certificates may have changed.
    let mut client = reqwest::Client::builder()
        .timeout(patience)
        // Where messages go is what the configuration says, and nobody else.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("prejoin/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = &secrets.ca {
        let certificates = reqwest::Certificate::from_pem_bundle(pem);
        for certificate in certificates.map_err(|error| later(format!("caFile: {}", plain(&error))))? {
            client = client.add_root_certificate(certificate);
        }
    }
    let client = client.build().map_err(|error| later(plain(&error)))?;
    let json = |value: Result<Vec<u8>, serde_json::Error>| {
        value.map_err(|error| Refusal::Message(format!("cannot be written as JSON: {error}")))
    };
    let (url, body) = match target.kind {
        // Byte for byte as it was stored: the same in every attempt.
        TargetKind::Webhook => (secrets.url.clone(), message.notice.clone().into_bytes()),
        TargetKind::Slack => (secrets.url.clone(), json(serde_json::to_vec(&slack::body(notice)))?),
        TargetKind::Alertmanager => (
            format!("{}{}", secrets.url.trim_end_matches('/'), alertmanager::PATH),
            json(serde_json::to_vec(&alertmanager::body(notice)))?,
        ),
    };
    let mut request = client.post(url).header(CONTENT_TYPE, "application/json");
    if target.kind == TargetKind::Webhook {
        let seconds = now.as_second();
        request = request
            .header(webhook::ID_HEADER, &notice.id)
            .header(webhook::TIMESTAMP_HEADER, seconds);
        if let Some(key) = &secrets.key {
            request = request.header(webhook::SIGNATURE_HEADER, webhook::signature(key, seconds, &body));
        }
    }
    if let Some(token) = &secrets.token {
        request = request.bearer_auth(token);
    }
    Ok(request.body(body))
}

/// An error without the URL, which may be a secret, and with what lies beneath it.
fn plain(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "cannot be sent"
    };
    let mut deepest = error.source();
    while let Some(source) = deepest.and_then(std::error::Error::source) {
        deepest = Some(source);
    }
    match deepest {
        Some(cause) if !error.is_timeout() => format!("{what}: {cause}"),
        _ => what.to_owned(),
    }
}

/// How the text of an answer begins, in one line.
async fn beginning(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_SHOWN * 4 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    crate::text::sanitise(&line.chars().take(ANSWER_SHOWN).collect::<String>()).into_owned()
}

#[cfg(test)]
mod tests;
