//! [`PathRecord`]: every probe of an audit with what it showed, for those who want to see for themselves.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observation::failures::Failures;
use crate::observation::shown::Shown;
use crate::observation::{Heard, Sent};

/// One probe with what it showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathRecord {
    /// The codes of the checks that needed it.
    pub codes: Vec<String>,
    /// Who sent.
    pub from: PathEnd,
    /// Who was to receive.
    pub to: PathEnd,
    /// What was sent: `UDP 8472`, `ICMP echo`, `path MTU`.
    pub service: String,
    /// Whether it got through.
    pub outcome: PathOutcome,
    /// What it proved (`delivered`), how it failed (`rejected by 192.0.2.1`), or why that is not known.
    pub shown: String,
    /// The sender's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// The receiver's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
}

/// One end of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PathEnd {
    /// The cluster or site; empty for a place outside all of them.
    pub cluster: String,
    /// The node or place.
    pub node: String,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

/// Whether a probe got through; the worst is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathOutcome {
    /// It did.
    Proven,
    /// That could not be told.
    Unknown,
    /// It did not.
    Failed,
}

/// The records of all probes, in the order of the plan.
pub(crate) fn records(failures: &Failures<'_>) -> Vec<PathRecord> {
    failures
        .observations()
        .probes()
        .zip(failures.all())
        .map(|((probe, result), shown)| {
            let (outcome, text) = match shown {
                Shown::Proven(evidence) => (PathOutcome::Proven, evidence.to_string()),
                Shown::Failed(symptom) => (PathOutcome::Failed, symptom.to_string()),
                Shown::Unknown(why) => (PathOutcome::Unknown, why.detail.clone()),
            };
            let sent = result.and_then(|result| result.sent.as_ref().ok()).cloned();
            let agent = failures.agent(probe.from);
            PathRecord {
                codes: probe.codes.clone(),
                from: PathEnd {
                    cluster: agent.map_or_else(String::new, |agent| agent.cluster.clone()),
                    node: agent.map_or_else(String::new, |agent| agent.node.clone()),
                    address: sent.as_ref().and_then(|sent| sent.from),
                },
                to: PathEnd {
                    cluster: probe.to.cluster.clone(),
                    node: probe.to.name.clone(),
                    address: probe.to.address,
                },
                service: probe.kind.to_string(),
                outcome,
                shown: text,
                sent,
                heard: result.and_then(|result| result.heard.as_ref()?.as_ref().ok()).cloned(),
            }
        })
        .collect()
}
