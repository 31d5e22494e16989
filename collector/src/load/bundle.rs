//! [`Bundle`]: several clusters' facts in one document, and where an audit left it, all that its report was made of.

use jiff::Timestamp;
use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::intent::Intent;
use prejoin_checks::observation::Observations;
use prejoin_checks::policy::{Phase, Policy, Probe, Waiver};
use prejoin_checks::profile::Profile;
use serde::{Deserialize, Serialize};

use super::{BUNDLE_SCHEMA, clean, is_harmless_json};

/// Several clusters' facts, and what an audit saw of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// The format of this document: [`BUNDLE_SCHEMA`].
    pub schema: String,
    /// The clusters.
    pub clusters: Vec<ClusterFacts>,
    /// What was asked for, where an audit wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Box<Asked>>,
    /// What agents saw, where there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observations: Option<Box<Observations>>,
}

/// What an audit was asked for, as far as its report depends on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The moment of judgement.
    pub evaluated_at: Timestamp,
    /// The profiles judged.
    pub profiles: Vec<Profile>,
    /// How much of the required flows was to be proven.
    pub probe: Probe,
    /// Whether the clusters were taken to be joined.
    #[serde(default)]
    pub phase: Phase,
    /// Checks to run; all if empty.
    #[serde(default)]
    pub only: Vec<String>,
    /// Checks not to run.
    #[serde(default)]
    pub skip: Vec<String>,
    /// Findings that someone answers for.
    #[serde(default)]
    pub waivers: Vec<Waiver>,
    /// Whether what is unknown leaves the exit code alone.
    #[serde(default)]
    pub allow_unknown: bool,
    /// Whether warnings change the exit code.
    #[serde(default)]
    pub fail_on_warn: bool,
    /// What was planned.
    #[serde(default)]
    pub intent: Intent,
    /// The command as typed, for the report's hints how to ask again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Asked {
    /// What this policy, intent and command line ask for.
    pub fn of(policy: &Policy, intent: &Intent, command: Option<String>) -> Self {
        Self {
            evaluated_at: policy.evaluated_at,
            profiles: policy.profiles.clone(),
            probe: policy.probe,
            phase: policy.phase,
            only: policy.only.clone(),
            skip: policy.skip.clone(),
            waivers: policy.waivers.clone(),
            allow_unknown: policy.allow_unknown,
            fail_on_warn: policy.fail_on_warn,
            intent: intent.clone(),
            command,
        }
    }

    /// The policy that asks for it.
    pub fn policy(&self) -> Policy {
        Policy {
            profiles: self.profiles.clone(),
            only: self.only.clone(),
            skip: self.skip.clone(),
            waivers: self.waivers.clone(),
            probe: self.probe,
            phase: self.phase,
            allow_unknown: self.allow_unknown,
            fail_on_warn: self.fail_on_warn,
            evaluated_at: self.evaluated_at,
        }
    }
}

impl Bundle {
    /// Facts alone.
    pub fn of_facts(clusters: Vec<ClusterFacts>) -> Self {
        Self {
            schema: BUNDLE_SCHEMA.to_owned(),
            clusters,
            audit: None,
            observations: None,
        }
    }

    /// A bundle in which every text is harmless, so that it can be read back by anyone.
    ///
    /// # Panics
    /// Never: bundles can be written as JSON and read back.
    #[must_use]
    pub fn harmless(self) -> Self {
        let written = serde_json::to_vec(&self).expect("bundles are JSON");
        if is_harmless_json(&written) {
            return self;
        }
        let cleaned = serde_json::to_value(&self).map(clean).and_then(serde_json::from_value);
        cleaned.expect("bundles are JSON, and cleaning changes no keys, numbers or shapes that their types know")
    }
}
