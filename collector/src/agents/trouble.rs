//! [`Trouble`]: what a cluster refused, or why it could not be asked, in words that say what to do.

use kube::core::Status;
use prejoin_agent::cluster::client_failure;

use crate::text;

/// So much of a server's message is shown.
const SHOWN_CHARS: usize = 500;

/// Why something could not be done in a cluster, in one harmless line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

impl Trouble {
    /// A line.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text::short(text.as_ref(), SHOWN_CHARS))
    }

    /// What went wrong with a request, `doing` being `apply DaemonSet prejoin-system/prejoin-agent`.
    pub fn of(doing: &str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::new(format!("{doing}: {}", refusal(status))),
            other => Self::new(format!("{doing}: {}", client_failure(other).detail)),
        }
    }
}

/// A server's refusal, with who it was where its message says so.
fn refusal(status: &Status) -> String {
    let message = &status.message;
    let what = match status.code {
        401 => "unauthorized: the token expired or is not accepted",
        403 if message.contains("exceeded quota") => "refused by a ResourceQuota",
        403 if message.contains("violates PodSecurity") => "refused by Pod Security",
        403 if message.contains("ValidatingAdmissionPolicy") => "refused by an admission policy",
        403 if message.contains("cannot ") => "not permitted (`prejoin agents rbac` says what is missing)",
        409 if status.reason == "Conflict" && message.contains("Apply failed") => {
            "someone else has changed fields of it (--force-conflicts takes them over)"
        }
        500 if message.contains("failed calling webhook") => "an admission webhook did not answer",
        _ if message.contains("admission webhook") => "refused by an admission webhook",
        _ => {
            return if message.is_empty() {
                format!("status {}", status.code)
            } else {
                format!("{}: {message}", status.code)
            };
        }
    };
    format!("{what}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16, reason: &str, message: &str) -> String {
        let status = Status {
            code,
            reason: reason.to_owned(),
            message: message.to_owned(),
            ..Status::default()
        };
        Trouble::of("apply DaemonSet a/b", &kube::Error::Api(Box::new(status))).0
    }

    #[test]
    fn a_refusal_says_who_refused() {
        for (code, message, who) in [
            (403, "User \"u\" cannot patch resource \"daemonsets\"", "not permitted"),
            (
                403,
                "exceeded quota: q, requested: count/daemonsets.apps=1",
                "refused by a ResourceQuota",
            ),
            (
                400,
                "admission webhook \"deny.example\" denied the request: no",
                "refused by an admission webhook",
            ),
            (
                500,
                "Internal error occurred: failed calling webhook \"x\": refused",
                "an admission webhook did not answer",
            ),
            (
                403,
                "daemonsets is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                "refused by an admission policy",
            ),
        ] {
            let said = said(code, "", message);
            assert!(said.starts_with(&format!("apply DaemonSet a/b: {who}")), "{said}");
            assert!(said.contains(message), "{said}");
        }
    }

    #[test]
    fn a_conflict_says_how_to_take_the_fields_over() {
        let said = said(
            409,
            "Conflict",
            "Apply failed with 1 conflict: conflict with \"kubectl-edit\": .spec.x",
        );
        assert!(
            said.contains("--force-conflicts") && said.contains("kubectl-edit"),
            "{said}"
        );
    }
}
