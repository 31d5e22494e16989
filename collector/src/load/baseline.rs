//! [`Baseline`]: a state of clusters that someone accepted: all that its report was made of, with who accepted it.

use std::path::Path;

use jiff::Timestamp;
use prejoin_checks::engine;
use prejoin_checks::intent::Intent;
use prejoin_checks::policy::Policy;
use prejoin_checks::report::Report;
use serde::{Deserialize, Serialize};

use super::{Bundle, Document, LoadError, at_file, document};

/// The version of the format of baselines.
pub const BASELINE_SCHEMA: &str = "prejoin.dev/baseline/v1alpha1";

/// An accepted state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The format of this document: [`BASELINE_SCHEMA`].
    pub schema: String,
    /// Who accepted it.
    pub accepted: Accepted,
    /// What it is.
    pub bundle: Bundle,
}

/// Who accepted a state, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// When.
    pub at: Timestamp,
    /// Who; empty if nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Why; empty if nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Reads what to hold the present state against: a baseline, an audit's bundle, or facts. `-` is standard input.
pub fn accepted_state(path: &Path) -> Result<Bundle, LoadError> {
    match document(path)? {
        Document::Baseline(baseline) => Ok(baseline.bundle),
        Document::Audit(bundle) => Ok(*bundle),
        Document::Facts(facts) => Ok(Bundle::of_facts(facts)),
        Document::Report(_) => Err(at_file(
            path,
            "this is a report: what changed is found in facts, so name a baseline (`prejoin baseline accept`), an audit's bundle (`--save`) or facts",
        )),
    }
}

impl Bundle {
    /// What was found when it was judged, by the rules of this prejoin. Facts alone, of which nobody says how they were judged, are judged by `otherwise`.
    pub fn report(&self, intent: &Intent, otherwise: &Policy) -> Report {
        let observations = self.observations.as_deref();
        match &self.audit {
            Some(asked) => engine::judge_observed(&self.clusters, observations, &asked.intent, &asked.policy()),
            None => engine::judge_observed(&self.clusters, observations, intent, otherwise),
        }
    }
}
