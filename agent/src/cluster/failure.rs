//! Turns what can go wrong with a request into one line and a reason.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use prejoin_checks::facts::provenance::{Reason, Unknown};

/// What went wrong with a request, before it is known by whom and for what it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No answer for this long.
    Silent(Duration),
    /// The time for the whole cluster was over.
    OutOfTime(Duration),
    /// The connection could not be made or broke, with the innermost cause.
    Broken(String),
    /// No credential could be had, with the cause.
    Credential(String),
    /// The server answered with this status and message.
    Refused(StatusCode, String),
    /// A continue token was too old twice.
    Expired,
    /// The answer is longer than a page may be.
    TooLong(usize),
    /// The answer is no JSON, or not of the kind that was asked for.
    Garbled(String),
    /// The resource type is not served.
    NotServed(String),
}

impl Failure {
    /// As the reason for a fact, `request` being `list nodes`.
    pub(crate) fn into_unknown(self, request: &str) -> Unknown {
        let (reason, text) = match self {
            Self::Silent(time) | Self::OutOfTime(time) => (
                Reason::Unreachable,
                format!("no answer within {} s", time.as_secs_f32()),
            ),
            Self::Broken(cause) | Self::Credential(cause) => (Reason::Unreachable, cause),
            Self::Refused(status, message) => refusal(status, &message),
            Self::Expired => (
                Reason::ServerError,
                "the list expired twice while it was read".to_owned(),
            ),
            Self::TooLong(bytes) => (
                Reason::Unparsable,
                format!("the answer is longer than {} MiB", bytes >> 20),
            ),
            Self::Garbled(what) => (Reason::Unparsable, what),
            Self::NotServed(what) => (Reason::NotInstalled, what),
        };
        Unknown::new(reason, format!("{request}: {text}"))
    }

    /// Whether asking again may help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Broken(_) => true,
            Self::Refused(status, _) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        }
    }
}

fn refusal(status: StatusCode, message: &str) -> (Reason, String) {
    match status {
        StatusCode::UNAUTHORIZED => (
            Reason::Unreachable,
            "unauthorized: token expired or not accepted".to_owned(),
        ),
        StatusCode::FORBIDDEN => (
            Reason::Forbidden,
            match user_of(message) {
                Some(user) => format!("forbidden for user {user}"),
                None => "forbidden".to_owned(),
            },
        ),
        StatusCode::NOT_FOUND => (Reason::NotFound, "not found".to_owned()),
        StatusCode::TOO_MANY_REQUESTS => (
            Reason::ServerError,
            "429: too many requests, asked again in vain or told to wait too long".to_owned(),
        ),
        _ if message.is_empty() => (Reason::ServerError, status.to_string()),
        _ => (Reason::ServerError, format!("{}: {message}", status.as_u16())),
    }
}

/// The user in `nodes is forbidden: User "x" cannot list ...`.
fn user_of(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("User \"")?;
    let (user, _) = rest.split_once('"')?;
    (!user.is_empty()).then_some(user)
}

/// One line of at most 200 characters, free of control characters: what others wrote goes into reports.
pub(crate) fn one_line(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The innermost cause of an error: `Connection refused (os error 111)` rather than `client error (Connect)`.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    one_line(&cause.to_string())
}

/// Where in a text serde stopped; never what stood there, for that may be a secret.
pub(crate) struct JsonFlaw<'a>(pub(crate) &'a serde_json::Error);

impl fmt::Display for JsonFlaw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.0.classify() {
            serde_json::error::Category::Eof => "the answer ends too early",
            serde_json::error::Category::Data => "a field is not of the expected type",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "the answer is not JSON",
        };
        write!(f, "{what} (line {} column {})", self.0.line(), self.0.column())
    }
}

/// Why a client could not be made or could not send, in one line and without what a credential plugin printed.
pub fn client_failure(error: &kube::Error) -> Unknown {
    sending_failure(error).into_unknown("API server")
}

/// Sorts an error of sending a request. Error statuses are no such error: they come as answers.
pub(crate) fn sending_failure(error: &kube::Error) -> Failure {
    if let Some(auth) = find::<kube::client::AuthError>(error) {
        return Failure::Credential(credential(auth));
    }
    match error {
        kube::Error::InferConfig(_) | kube::Error::InferKubeconfig(_) => {
            Failure::Credential(format!("kubeconfig: {}", innermost(error)))
        }
        _ => Failure::Broken(with_clocks(innermost(error))),
    }
}

/// A certificate that is not valid now may be well, and the clock wrong that says so.
fn with_clocks(cause: String) -> String {
    let is_of_time = ["certificate not valid yet", "certificate expired"]
        .iter()
        .any(|said| cause.contains(said));
    if is_of_time {
        format!("{cause}: is this machine's clock right?")
    } else {
        cause
    }
}

fn credential(error: &kube::client::AuthError) -> String {
    use kube::client::AuthError;
    match error {
        AuthError::AuthExecStart(cause) => format!("credential plugin cannot be run: {}", one_line(&cause.to_string())),
        // Its output may hold a token.
        AuthError::AuthExecRun { cmd, out } => format!("credential plugin `{}` failed: {}", one_line(cmd), out.status),
        AuthError::AuthExecParse(_) => "credential plugin printed no usable credential".to_owned(),
        AuthError::ReadTokenFile(cause, path) => {
            format!(
                "token file {}: {}",
                one_line(&path.display().to_string()),
                one_line(&cause.to_string())
            )
        }
        other => format!("credential: {}", one_line(&other.to_string())),
    }
}

/// The first error of type `T` in a chain of causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_request_and_the_user() {
        let unknown = Failure::Refused(
            StatusCode::FORBIDDEN,
            r#"nodes is forbidden: User "jane" cannot list resource "nodes" in API group """#.to_owned(),
        )
        .into_unknown("list nodes");
        assert_eq!(unknown.reason, Reason::Forbidden);
        assert_eq!(unknown.detail, "list nodes: forbidden for user jane");
    }

    #[test]
    fn an_expired_token_counts_as_not_reached() {
        let unknown =
            Failure::Refused(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()).into_unknown("get /version");
        assert_eq!(unknown.reason, Reason::Unreachable);
        assert_eq!(
            unknown.detail,
            "get /version: unauthorized: token expired or not accepted"
        );
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        assert!(Failure::Broken(String::new()).is_passing());
        assert!(Failure::Refused(StatusCode::SERVICE_UNAVAILABLE, String::new()).is_passing());
        assert!(Failure::Refused(StatusCode::TOO_MANY_REQUESTS, String::new()).is_passing());
        assert!(!Failure::Refused(StatusCode::FORBIDDEN, String::new()).is_passing());
        assert!(!Failure::Silent(Duration::from_secs(10)).is_passing());
    }

    #[test]
    fn a_flaw_in_json_is_located_but_not_quoted() {
        let error = serde_json::from_str::<u32>("\"top secret\"").unwrap_err();
        let text = JsonFlaw(&error).to_string();
        assert!(text.contains("line 1"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn what_others_wrote_becomes_one_short_harmless_line() {
        assert_eq!(one_line("a\n\u{1b}[31mb\t c"), "a [31mb c");
        assert_eq!(one_line(&"x".repeat(1000)).len(), 200);
    }

    #[test]
    fn a_missing_credential_plugin_is_named_without_its_output() {
        let error = kube::Error::Auth(kube::client::AuthError::AuthExecStart(std::io::Error::from(
            std::io::ErrorKind::NotFound,
        )));
        let unknown = client_failure(&error);
        assert_eq!(unknown.reason, Reason::Unreachable);
        assert!(unknown.detail.contains("credential plugin cannot be run"), "{unknown}");
    }
}
