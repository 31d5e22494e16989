//! [`Outcome`]: what one check found about one subject, before the engine makes a finding of it.

use crate::check::NoVerdict;
use crate::facts::provenance::{Known, Source};
use crate::report::{Evidence, Severity};

/// The number of a cluster within one audit.
pub type ClusterId = usize;

/// What one check found about one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether the rule holds.
    pub state: State,
    /// The clusters it is about; the engine fills it in for checks that look at one cluster.
    pub clusters: Vec<ClusterId>,
    /// The nodes it is about, by name, if it is about nodes.
    pub nodes: Vec<String>,
    /// Which pairs of clusters are affected; nothing means: every pair that one of `clusters` is part of.
    pub pairs: Pairs,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
    /// Where that was read.
    pub evidence: Vec<Evidence>,
    /// What to change, on which cluster, and what it costs.
    pub remedy: String,
    /// Outcomes with one key have one cause and are shown as one; nothing means a cause of its own.
    pub cause: Option<String>,
}

/// Whether a rule holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It holds.
    Holds,
    /// It is broken, with the check's own severity.
    Broken,
    /// It is broken, with another severity than the check's own.
    BrokenAs(Severity),
    /// It cannot be told, or does not apply.
    NoVerdict(NoVerdict),
}

/// Pairs of clusters, without listing each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Any two clusters of one of these groups.
    pub within: Vec<Vec<ClusterId>>,
    /// Any two clusters from different parts of one of these divisions.
    pub across: Vec<Vec<Vec<ClusterId>>>,
}

impl Outcome {
    fn new(state: State) -> Self {
        Self {
            state,
            clusters: Vec::new(),
            nodes: Vec::new(),
            pairs: Pairs::default(),
            expected: String::new(),
            found: String::new(),
            evidence: Vec::new(),
            remedy: String::new(),
            cause: None,
        }
    }

    /// The rule holds.
    pub fn holds() -> Self {
        Self::new(State::Holds)
    }

    /// The rule is broken.
    pub fn broken() -> Self {
        Self::new(State::Broken)
    }

    /// The rule is broken, with another severity than the check's own.
    pub fn broken_as(severity: Severity) -> Self {
        Self::new(State::BrokenAs(severity))
    }

    /// No verdict, for this reason.
    pub fn none(why: impl Into<NoVerdict>) -> Self {
        Self::new(State::NoVerdict(why.into()))
    }

    /// The rule does not apply, for this reason.
    pub fn does_not_apply(reason: impl Into<String>) -> Self {
        Self::none(NoVerdict::does_not_apply(reason))
    }

    /// Names the clusters it is about.
    #[must_use]
    pub fn about(mut self, clusters: impl IntoIterator<Item = ClusterId>) -> Self {
        self.clusters = clusters.into_iter().collect();
        self
    }

    /// Names the nodes it is about.
    #[must_use]
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.nodes = nodes.into_iter().map(Into::into).collect();
        self
    }

    /// Any two clusters of this group are affected.
    #[must_use]
    pub fn within(mut self, clusters: impl IntoIterator<Item = ClusterId>) -> Self {
        self.pairs.within.push(clusters.into_iter().collect());
        self
    }

    /// Any two clusters of different parts are affected.
    #[must_use]
    pub fn across(mut self, parts: impl IntoIterator<Item = Vec<ClusterId>>) -> Self {
        self.pairs.across.push(parts.into_iter().collect());
        self
    }

    /// Pairs that are affected, each as the division it lies across.
    #[must_use]
    pub fn pairs(mut self, across: Vec<Vec<Vec<ClusterId>>>) -> Self {
        self.pairs.across.extend(across);
        self
    }

    /// What should be.
    #[must_use]
    pub fn expected(mut self, text: impl Into<String>) -> Self {
        self.expected = text.into();
        self
    }

    /// What is.
    #[must_use]
    pub fn found(mut self, text: impl Into<String>) -> Self {
        self.found = text.into();
        self
    }

    /// Adds a piece of evidence.
    #[must_use]
    pub fn evidence(mut self, evidence: Evidence) -> Self {
        self.evidence.push(evidence);
        self
    }

    /// Adds pieces of evidence.
    #[must_use]
    pub fn evidence_all(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    /// What to change.
    #[must_use]
    pub fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedy = text.into();
        self
    }

    /// Shares its cause with all outcomes of this key.
    #[must_use]
    pub fn cause(mut self, key: impl Into<String>) -> Self {
        self.cause = Some(key.into());
        self
    }

    /// Whether the rule is broken, whatever the severity.
    pub fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken | State::BrokenAs(_))
    }
}

impl Evidence {
    /// A value read from a source in a cluster.
    pub fn new(cluster: impl Into<String>, value: &impl ToString, source: &Source) -> Self {
        Self {
            cluster: cluster.into(),
            value: value.to_string(),
            source: source.clone(),
        }
    }

    /// A known value of a cluster.
    pub fn of<T: ToString>(cluster: impl Into<String>, known: &Known<T>) -> Self {
        Self::new(cluster, &known.value, &known.source)
    }
}
