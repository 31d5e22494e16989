//! [`Policy`]: which checks run, what was asked for, what is waived.

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::profile::Profile;

/// What the user asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The profiles to judge.
    pub profiles: Vec<Profile>,
    /// Codes or slugs to run; empty means all.
    pub only: Vec<String>,
    /// Codes or slugs not to run.
    pub skip: Vec<String>,
    /// Findings that someone answers for.
    pub waivers: Vec<Waiver>,
    /// How much of the required flows is to be probed.
    pub probe: Probe,
    /// Whether the clusters are joined already.
    pub phase: Phase,
    /// `unknown` does not change the exit code.
    pub allow_unknown: bool,
    /// Warnings change the exit code.
    pub fail_on_warn: bool,
    /// The moment of judgement: certificates, waivers and ages are held against it.
    pub evaluated_at: Timestamp,
}

/// How much of the required flows is to be probed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// Every node as sender and as receiver towards every other cluster.
    #[default]
    Cover,
    /// One pair of nodes for each pair of zones.
    Smoke,
    /// Every node to every node.
    Full,
    /// Nothing: flows are not asked.
    None,
}

/// Whether the clusters are joined already: what only works, and can only be proven, after the join is judged where they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Each pair as its own objects show.
    #[default]
    Auto,
    /// No pair, whatever their objects show.
    Before,
    /// Every pair: one that is not joined is a fault.
    Joined,
}

/// A finding that someone answers for until a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// The check's code.
    pub code: String,
    /// The clusters it is waived for: a finding is waived if all its clusters are named. Empty means all clusters.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// The last day it holds, UTC.
    #[schemars(with = "String")]
    pub until: Date,
}

impl Policy {
    /// All checks of these profiles, judged at this moment, nothing waived.
    pub fn new(profiles: Vec<Profile>, evaluated_at: Timestamp) -> Self {
        Self {
            profiles,
            only: Vec::new(),
            skip: Vec::new(),
            waivers: Vec::new(),
            probe: Probe::default(),
            phase: Phase::default(),
            allow_unknown: false,
            fail_on_warn: false,
            evaluated_at,
        }
    }

    /// Whether this check is to run.
    pub fn selects(&self, check: &Check) -> bool {
        let named = |list: &[String]| {
            list.iter()
                .any(|name| name.eq_ignore_ascii_case(check.code) || name.eq_ignore_ascii_case(check.slug))
        };
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }

    /// The day of judgement, UTC.
    pub fn today(&self) -> Date {
        self.evaluated_at.to_zoned(jiff::tz::TimeZone::UTC).date()
    }

    /// The waiver that matches a finding, in force or not; one in force is preferred.
    pub fn waiver(&self, code: &str, clusters: &[String]) -> Option<&Waiver> {
        let today = self.today();
        let matching = || {
            self.waivers.iter().filter(|waiver| {
                waiver.code.eq_ignore_ascii_case(code)
                    && (waiver.clusters.is_empty() || clusters.iter().all(|name| waiver.clusters.contains(name)))
            })
        };
        matching()
            .find(|waiver| waiver.until >= today)
            .or_else(|| matching().next())
    }
}
