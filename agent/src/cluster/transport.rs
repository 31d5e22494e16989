//! One request and its answer: bounded in time, in length and in repetitions.

use std::sync::Mutex;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::failure::{Failure, one_line, sending_failure};

/// No page of 500 objects comes near this (an object may have 1.5 MiB at most, and lists of such are not read).
const MAX_BODY_BYTES: usize = 64 << 20;
/// What an error's body may have before it is cut off.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// A request that may pass is made this often in all.
const ATTEMPTS: u32 = 3;
/// Waiting before the first repetition; four times that before the next.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Requests under way at a time to one server.
const CONCURRENT_REQUESTS: usize = 6;
/// A cluster that keeps answering may take this many times its timeout.
const MAX_EXTENSION: u32 = 10;

const UNPOISONED: &str = "nothing panics while it holds the lock";

/// Sends GET requests to one API server.
pub(crate) struct Transport {
    client: kube::Client,
    slots: Semaphore,
    timeout: Duration,
    silence: Duration,
    last_moment: Instant,
    deadline: Mutex<Instant>,
}

impl Transport {
    pub(crate) fn new(client: kube::Client, timeout: Duration, silence: Duration) -> Self {
        let now = Instant::now();
        Self {
            client,
            slots: Semaphore::new(CONCURRENT_REQUESTS),
            timeout,
            silence,
            last_moment: now + timeout * MAX_EXTENSION,
            deadline: Mutex::new(now + timeout),
        }
    }

    /// Starts the cluster's time anew: a page of a long list has come.
    pub(crate) fn extend(&self) {
        *self.deadline.lock().expect(UNPOISONED) = (Instant::now() + self.timeout).min(self.last_moment);
    }

    fn deadline(&self) -> Instant {
        *self.deadline.lock().expect(UNPOISONED)
    }

    /// The body of the answer to `GET path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let _slot = match timeout_at(self.deadline(), self.slots.acquire()).await {
            Ok(slot) => slot.expect("the semaphore is never closed"),
            Err(_) => return Err(Failure::OutOfTime(self.timeout)),
        };
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        loop {
            let (failure, wish) = match self.attempt(path).await {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            attempts += 1;
            // A wish for longer than there is time for ends the matter: asking sooner would only add to the load.
            let wait = wish.unwrap_or(pause);
            if attempts == ATTEMPTS || !failure.is_passing() || Instant::now() + wait >= self.deadline() {
                return Err(failure);
            }
            sleep(wait).await;
            pause *= 4;
        }
    }

    /// One try; with a failure comes how long the server wants to be left alone.
    async fn attempt(&self, path: &str) -> Result<Vec<u8>, (Failure, Option<Duration>)> {
        let request = Request::get(path)
            .header(ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|error| (Failure::Broken(one_line(&error.to_string())), None))?;
        let response = self
            .in_time(self.client.send(request))
            .await
            .map_err(|failure| (failure, None))?
            .map_err(|error| (sending_failure(&error), None))?;
        let status = response.status();
        if status == StatusCode::OK {
            return self.success(response).await.map_err(|failure| (failure, None));
        }
        let wish = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let failure = if status.is_success() || status.is_redirection() || status.is_informational() {
            Failure::Garbled(format!("the answer is {status}, not that of a Kubernetes API"))
        } else {
            // A message that does not come whole is no more than a missing one.
            let (_, body) = response.into_parts();
            let body = self.body(body, MAX_ERROR_BYTES).await.unwrap_or_default();
            Failure::Refused(status, status_message(&body))
        };
        Err((failure, wish))
    }

    async fn success(&self, response: Response<Body>) -> Result<Vec<u8>, Failure> {
        let (head, body) = response.into_parts();
        let html = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/html"));
        if html {
            return Err(Failure::Garbled(
                "the answer is a web page, not JSON: a proxy or login page in between?".to_owned(),
            ));
        }
        self.body(body, MAX_BODY_BYTES).await
    }

    async fn body(&self, mut body: Body, max: usize) -> Result<Vec<u8>, Failure> {
        let hint = usize::try_from(http_body::Body::size_hint(&body).lower()).unwrap_or(usize::MAX);
        if hint > max {
            return Err(Failure::TooLong(max));
        }
        let mut bytes = Vec::with_capacity(hint);
        while let Some(frame) = self.in_time(body.frame()).await? {
            let frame = frame.map_err(|error| sending_failure(&error))?;
            let data = frame.data_ref().map_or(&[][..], |data| &data[..]);
            if bytes.len() + data.len() > max {
                return Err(Failure::TooLong(max));
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes)
    }

    /// What `future` gives, unless it is silent for too long or the cluster's time is over.
    async fn in_time<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        let deadline = self.deadline();
        let silence = Instant::now() + self.silence;
        timeout_at(deadline.min(silence), future).await.map_err(|_| {
            if deadline <= silence {
                Failure::OutOfTime(self.timeout)
            } else {
                Failure::Silent(self.silence)
            }
        })
    }
}

/// The message of a `Status` object, empty if the body is something else.
fn status_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        message: String,
    }
    serde_json::from_slice::<Status>(body).map_or_else(|_| String::new(), |status| one_line(&status.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_status_is_taken_and_a_web_page_is_not() {
        assert_eq!(status_message(br#"{"kind":"Status","message":"no\nway"}"#), "no way");
        assert_eq!(status_message(b"<html>503</html>"), "");
    }
}
