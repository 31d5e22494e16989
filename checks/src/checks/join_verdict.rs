//! Which clusters are joined, for who expects them to be, or half is.

use std::collections::BTreeSet;

use crate::fleet::Audit;
use crate::outcome::{ClusterId, Outcome};
use crate::policy::Phase;
use crate::profile::joins::Standing;
use crate::report::{Evidence, Severity};

/// How the clusters of an audit stand to each other. `remedy` says how two are joined.
pub(crate) fn judge(audit: &Audit<'_>, remedy: &str) -> Vec<Outcome> {
    if audit.policy.phase == Phase::Before {
        return vec![Outcome::does_not_apply("judged as before the join (--phase before)").about(audit.everyone())];
    }
    let expected = audit.policy.phase == Phase::Joined;
    let joins = audit.joins();
    let mut joined = BTreeSet::new();
    let mut pairs = 0_usize;
    let mut outcomes = Vec::new();
    for (one, other) in pairs_of(audit) {
        match joins.standing(one, other) {
            Ok(Standing::Joined) => {
                joined.extend([one, other]);
                pairs += 1;
            }
            Ok(standing) => outcomes.extend(apart(audit, one, other, standing, expected, remedy)),
            Err(why) if expected => outcomes.push(Outcome::none(why).about([one, other])),
            Err(_) => {}
        }
    }
    if !joined.is_empty() {
        let evidence = joined.iter().flat_map(|one| joined.iter().map(|other| (*one, *other)));
        let shown = evidence.filter_map(|(one, other)| seen(audit, one, other)).take(SHOWN);
        outcomes.push(
            Outcome::holds()
                .found(format!("{pairs} pairs joined"))
                .evidence_all(shown)
                .about(joined.iter().copied()),
        );
    }
    if outcomes.is_empty() {
        let why = audit
            .clusters
            .iter()
            .find_map(|cluster| joins.peers_of(cluster.id).err());
        outcomes.extend(why.map(|why| Outcome::none(why).about(audit.everyone())));
    }
    outcomes
}

/// As many sources are named as evidence.
const SHOWN: usize = 6;

/// The pairs to look at: all of them where all are to be joined, else those of which one knows the other.
fn pairs_of(audit: &Audit<'_>) -> Vec<(ClusterId, ClusterId)> {
    let count = audit.clusters.len();
    if audit.policy.phase == Phase::Joined {
        return (0..count)
            .flat_map(|one| (one + 1..count).map(move |other| (one, other)))
            .collect();
    }
    let known = (0..count).flat_map(|one| {
        let of = audit.joins().known_to(one);
        of.map(move |other| (one.min(other), one.max(other)))
    });
    known.collect::<BTreeSet<_>>().into_iter().collect()
}

fn seen(audit: &Audit<'_>, of: ClusterId, with: ClusterId) -> Option<Evidence> {
    let source = audit.joins().source(of, with)?;
    Some(Evidence::new(
        audit.cluster(of).name(),
        &audit.cluster(with).name(),
        source,
    ))
}

fn apart(
    audit: &Audit<'_>,
    one: ClusterId,
    other: ClusterId,
    standing: Standing,
    expected: bool,
    remedy: &str,
) -> Option<Outcome> {
    let (first, second) = (audit.cluster(one).name(), audit.cluster(other).name());
    let found = match standing {
        Standing::Joined => return None,
        Standing::Apart if !expected => return None,
        Standing::Apart => format!("{first} and {second} are not joined"),
        Standing::First => format!("{first} is configured with {second}, and {second} not with {first}"),
        Standing::Second => format!("{second} is configured with {first}, and {first} not with {second}"),
    };
    let severity = if expected { Severity::Fail } else { Severity::Warn };
    Some(
        Outcome::broken_as(severity)
            .expected("each cluster configured with the other")
            .found(found)
            .remedy(remedy)
            .evidence_all([seen(audit, one, other), seen(audit, other, one)].into_iter().flatten())
            .about([one, other])
            .across([vec![one], vec![other]]),
    )
}

#[cfg(test)]
mod tests {
    use crate::engine::judge;
    use crate::facts::ClusterFacts;
    use crate::intent::Intent;
    use crate::policy::{Phase, Probe};
    use crate::profile::Profile;
    use crate::profile::Profile::{Clustermesh, Submariner};
    use crate::report::Verdict;
    use crate::samples::{self, findings};

    fn verdict(profile: Profile, phase: Phase, facts: &[ClusterFacts], code: &str) -> Verdict {
        let mut policy = samples::policy(profile);
        (policy.phase, policy.probe) = (phase, Probe::None);
        findings(&judge(facts, &Intent::default(), &policy), code)[0].verdict
    }

    #[test]
    fn clusters_that_should_be_joined_and_are_not_fail() {
        let members = samples::submariner(&[("east", 1), ("west", 2)]);
        assert_eq!(verdict(Submariner, Phase::Auto, &members, "SM915"), Verdict::Pass);
        assert_eq!(verdict(Submariner, Phase::Joined, &members, "SM915"), Verdict::Pass);
        assert_eq!(verdict(Submariner, Phase::Before, &members, "SM915"), Verdict::Skip);
        let apart = [samples::flannel("east", 1), samples::flannel("west", 2)];
        assert_eq!(verdict(Submariner, Phase::Joined, &apart, "SM915"), Verdict::Fail);
        assert_eq!(verdict(Submariner, Phase::Auto, &apart, "SM915"), Verdict::Skip);
    }

    #[test]
    fn what_secrets_would_show_and_was_not_read_is_unknown_only_to_who_asks() {
        let unread = [samples::cilium("east", 1), samples::cilium("west", 2)];
        assert_eq!(verdict(Clustermesh, Phase::Auto, &unread, "CM621"), Verdict::Skip);
        assert_ne!(verdict(Clustermesh, Phase::Joined, &unread, "CM621"), Verdict::Pass);
    }
}
