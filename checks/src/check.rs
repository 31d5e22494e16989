//! [`Check`]: one rule, as data plus a function.
//!
//! The doc comment of a check is the page that `prejoin explain` shows, with the headings `## What it checks`,
//! `## Why it matters`, `## How it is determined`, `## How to fix`, `## References`. Codes are never reused.

use crate::facts::provenance::{Reason, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::Profile;
use crate::report::Severity;

/// One rule.
#[derive(Debug)]
pub struct Check {
    /// Stable code, as `CM301`.
    pub code: &'static str,
    /// Stable name, as `tunnel-protocol`.
    pub slug: &'static str,
    /// What is wrong when it is broken, in a few words: `Tunnel protocols differ`.
    pub title: &'static str,
    /// What breaking it means unless the outcome says otherwise.
    pub severity: Severity,
    /// The profiles it belongs to.
    pub profiles: &'static [Profile],
    /// The prejoin version it came with.
    pub since: &'static str,
    /// One line: what happens when it is broken.
    pub why: &'static str,
    /// The rule ids of the product references that it implements: `clustermesh DP-2`. See `docs/rules.md`.
    pub rules: &'static [&'static str],
    /// The page that `explain` shows, in Markdown.
    pub documentation: &'static str,
    /// The judgement.
    pub run: Run,
}

/// What a check looks at, and how.
#[derive(Debug, Clone, Copy)]
pub enum Run {
    /// Each cluster by itself.
    Cluster(fn(&Audit<'_>, &Cluster<'_>) -> Judged),
    /// The clusters against each other: does not apply to one alone. Must not go over all pairs: see [`crate::compare`].
    Between(fn(&Audit<'_>) -> Vec<Outcome>),
    /// The set as a whole, even of one.
    Set(fn(&Audit<'_>) -> Vec<Outcome>),
}

impl Run {
    /// The scope in a word, for the catalogue.
    pub fn scope(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "cluster",
            Self::Between(_) => "between clusters",
            Self::Set(_) => "set",
        }
    }
}

/// What a check finds about one cluster. `Err` is the way out when a fact is missing or the rule does not apply.
pub type Judged = Result<Outcome, NoVerdict>;

/// Why a check comes to no verdict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoVerdict {
    /// A fact it needs is missing. What that means (`unknown` or `skip`) follows from the reason.
    Missing(Unknown),
    /// The rule does not apply, for the reason given.
    DoesNotApply(String),
}

impl NoVerdict {
    /// The rule does not apply, for this reason.
    pub fn does_not_apply(reason: impl Into<String>) -> Self {
        Self::DoesNotApply(reason.into())
    }

    /// A fact is missing for this reason.
    pub fn missing(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Missing(Unknown::new(reason, detail))
    }
}

impl From<Unknown> for NoVerdict {
    fn from(unknown: Unknown) -> Self {
        Self::Missing(unknown)
    }
}

/// Declares a [`Check`] as a static; the doc comment becomes its page.
///
/// ```ignore
/// declare_check! {
///     /// ## What it checks
///     /// ...
///     pub static TUNNEL_PROTOCOL = {
///         code: "CM301",
///         slug: "tunnel-protocol",
///         title: "Tunnel protocols differ",
///         severity: Fail,
///         profiles: [Clustermesh],
///         since: "0.1.0",
///         why: "each side drops the other's encapsulation: pods never reach pods",
///         rules: ["clustermesh DP-2"],
///         run: Between(tunnel_protocol),
///     };
/// }
/// ```
macro_rules! declare_check {
    (
        $(#[doc = $doc:literal])+
        $vis:vis static $name:ident = {
            code: $code:literal,
            slug: $slug:literal,
            title: $title:literal,
            severity: $severity:ident,
            profiles: [$($profile:ident),+ $(,)?],
            since: $since:literal,
            why: $why:literal,
            rules: [$($rule:literal),* $(,)?],
            run: $run:ident($function:expr) $(,)?
        };
    ) => {
        $(#[doc = $doc])+
        $vis static $name: $crate::check::Check = $crate::check::Check {
            code: $code,
            slug: $slug,
            title: $title,
            severity: $crate::report::Severity::$severity,
            profiles: &[$($crate::profile::Profile::$profile),+],
            since: $since,
            why: $why,
            rules: &[$($rule),*],
            documentation: concat!($($doc, "\n"),+),
            run: $crate::check::Run::$run($function),
        };
    };
}

pub(crate) use declare_check;
