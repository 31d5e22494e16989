//! The caller's rule as a table: how badly ranges of two kinds conflict, and what explains that.

/// A set of the first 64 kinds; the others are never in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct KindSet(u64);

impl KindSet {
    const CAPACITY: usize = 64;

    pub(super) fn of(kind: usize) -> Self {
        Self(if kind < Self::CAPACITY { 1 << kind } else { 0 })
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What the rule says about an outer range of one kind and an inner one, or one at the same block, of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<S> {
    pub(super) severity: S,
    /// The kinds that would be at least as bad in place of the outer range's, and of the inner one's.
    as_bad_as_outer: KindSet,
    as_bad_as_inner: KindSet,
}

impl<S> Rule<S> {
    /// Whether a larger range explains the conflict, given the kinds that the outer range's owner and the inner one's
    /// have around both.
    pub(super) fn is_explained(&self, outer_owner_above: KindSet, inner_owner_above: KindSet) -> bool {
        self.as_bad_as_outer.meets(outer_owner_above) || self.as_bad_as_inner.meets(inner_owner_above)
    }
}

/// All rules, each asked for once.
#[derive(Debug)]
pub(super) struct Rules<S> {
    kinds: usize,
    /// By outer kind and inner kind.
    between_owners: Vec<Option<Rule<S>>>,
    within_owner: Vec<Option<Rule<S>>>,
}

impl<S: Copy + Ord> Rules<S> {
    pub(super) fn new<K: Copy>(kinds: &[K], severity: impl Fn(K, K, bool) -> Option<S>) -> Self {
        // A rule that is not symmetric by mistake must not hide anything: the worse answer counts.
        let ask = |a: usize, b: usize, same_owner| {
            let (a, b) = (kinds[a], kinds[b]);
            severity(a, b, same_owner).max(severity(b, a, same_owner))
        };
        Self {
            kinds: kinds.len(),
            between_owners: table(kinds.len(), |a, b| ask(a, b, false)),
            within_owner: table(kinds.len(), |a, b| if a == b { None } else { ask(a, b, true) }),
        }
    }

    /// How many kinds there are.
    pub(super) fn kinds(&self) -> usize {
        self.kinds
    }

    pub(super) fn between_owners(&self, outer: usize, inner: usize) -> Option<Rule<S>> {
        self.between_owners[outer * self.kinds + inner]
    }

    pub(super) fn within_owner(&self, outer: usize, inner: usize) -> Option<Rule<S>> {
        self.within_owner[outer * self.kinds + inner]
    }
}

fn table<S: Copy + Ord>(kinds: usize, severity: impl Fn(usize, usize) -> Option<S>) -> Vec<Option<Rule<S>>> {
    let pairs = || (0..kinds).flat_map(|outer| (0..kinds).map(move |inner| (outer, inner)));
    let severities: Vec<Option<S>> = pairs().map(|(outer, inner)| severity(outer, inner)).collect();
    // The kinds that conflict at least as badly with `other`.
    let as_bad = |least: S, other: usize| {
        let as_bad = |kind: &usize| severities[kind * kinds + other] >= Some(least);
        let sets = (0..kinds.min(KindSet::CAPACITY)).filter(as_bad).map(KindSet::of);
        sets.fold(KindSet::default(), KindSet::with)
    };
    let rule = |(outer, inner): (usize, usize)| {
        let severity = severities[outer * kinds + inner]?;
        Some(Rule {
            severity,
            as_bad_as_outer: as_bad(severity, inner),
            as_bad_as_inner: as_bad(severity, outer),
        })
    };
    pairs().map(rule).collect()
}
