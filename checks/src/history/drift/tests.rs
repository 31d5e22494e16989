use super::*;
use crate::facts::provenance::{Fact, Reason};
use crate::policy::Probe;
use crate::profile::Profile::Clustermesh;
use crate::samples::network::{observe, plan, probing};
use crate::samples::{cilium, policy, report, set_cilium_key, value_mut, with_agents};

/// The drift from one state to another, judged without flows.
fn between(accepted: &[ClusterFacts], now: &[ClusterFacts]) -> Drift {
    let side = |clusters| report(Clustermesh, clusters);
    let (before, after) = (side(accepted), side(now));
    drift(
        Side {
            clusters: accepted,
            report: &before,
        },
        Side {
            clusters: now,
            report: &after,
        },
        Judging {
            observations: None,
            intent: &Intent::default(),
            policy: &policy(Clustermesh),
        },
    )
}

/// Each line as `breaks ~ west cilium.config.tunnel-protocol CM302`.
fn lines(drift: &Drift) -> Vec<String> {
    drift
        .lines
        .iter()
        .map(|line| {
            let words = [
                line.effect.to_string(),
                line.change.sign().to_string(),
                line.cluster.clone(),
                line.path.clone(),
                line.codes.join(","),
            ];
            words
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

fn pair() -> Vec<ClusterFacts> {
    vec![cilium("east", 1), cilium("west", 2)]
}

#[test]
fn nothing_drifts_from_itself_and_time_alone_is_no_drift() {
    let mut later = pair();
    later[0].collected_at = Some("2026-12-01T00:00:00Z".parse().unwrap());
    value_mut(&mut later[0].pods).running += 9;
    assert!(between(&pair(), &later).is_empty());
    assert_eq!(between(&pair(), &later).worst(), None);
}

#[test]
fn a_change_that_breaks_a_check_says_which_and_the_rest_is_neutral() {
    let mut now = pair();
    set_cilium_key(&mut now[1], "tunnel-protocol", Some("geneve"));
    set_cilium_key(&mut now[1], "debug", Some("true"));
    value_mut(&mut now[0].nodes)[0].kernel = "6.9.0".to_owned();
    let drift = between(&pair(), &now);
    assert_eq!(
        lines(&drift),
        [
            "breaks ~ west cilium.config.tunnel-protocol CM302",
            "neutral ~ east nodes[east-n1].kernel",
            "neutral + west cilium.config.debug",
        ]
    );
    assert_eq!(
        drift.lines[0].source.as_ref().unwrap().object,
        "ConfigMap kube-system/cilium-config"
    );
    assert_eq!((drift.count(Effect::Breaks), drift.worst()), (1, Some(Effect::Breaks)));
}

#[test]
fn the_way_back_mends() {
    let mut broken = pair();
    set_cilium_key(&mut broken[1], "tunnel-protocol", Some("geneve"));
    assert_eq!(
        lines(&between(&broken, &pair())),
        ["mends ~ west cilium.config.tunnel-protocol CM302"]
    );
}

#[test]
fn a_change_on_both_sides_that_agrees_breaks_nothing() {
    let mut both = pair();
    for facts in &mut both {
        set_cilium_key(facts, "tunnel-protocol", Some("geneve"));
    }
    let drift = between(&pair(), &both);
    assert_eq!(drift.lines.len(), 2);
    assert!(
        drift.lines.iter().all(|line| line.effect == Effect::Neutral),
        "{:#?}",
        lines(&drift)
    );
}

#[test]
fn two_changes_that_each_break_the_same_check_are_both_named() {
    let mut three = pair();
    three.push(cilium("north", 3));
    let mut now = three.clone();
    set_cilium_key(&mut now[1], "tunnel-protocol", Some("geneve"));
    set_cilium_key(&mut now[2], "tunnel-protocol", Some("geneve"));
    let breaks: Vec<String> = lines(&between(&three, &now));
    assert_eq!(
        breaks,
        [
            "breaks ~ north cilium.config.tunnel-protocol CM302",
            "breaks ~ west cilium.config.tunnel-protocol CM302"
        ]
    );
}

#[test]
fn what_can_no_longer_be_read_weakens_and_names_what_it_was_evidence_for() {
    let mut now = pair();
    now[1].service_cidrs = Fact::unknown(Reason::Forbidden, "list servicecidrs: forbidden");
    now[1].services = Fact::unknown(Reason::Forbidden, "list services: forbidden");
    let drift = between(&pair(), &now);
    let first = &drift.lines[0];
    assert_eq!(
        (first.effect, first.of),
        (Effect::Weakens, DriftOf::Fact),
        "{:#?}",
        lines(&drift)
    );
    let lost: Vec<&DriftLine> = drift.lines.iter().filter(|line| line.path == "services").collect();
    assert!(!lost[0].codes.is_empty(), "{:#?}", lines(&drift));
    assert!(
        drift
            .lines
            .iter()
            .any(|line| line.path == "coverage.facts" && line.effect == Effect::Weakens)
    );
    assert!(
        drift.lines.iter().all(|line| line.effect != Effect::Breaks),
        "{:#?}",
        lines(&drift)
    );
}

#[test]
fn a_cluster_that_is_gone_weakens_and_one_that_came_is_named() {
    let mut three = pair();
    three.push(cilium("north", 3));
    let drift = between(&three, &pair());
    assert!(
        lines(&drift)[0].starts_with("weakens - north clusters[north]"),
        "{:#?}",
        lines(&drift)
    );
    let mut colliding = pair();
    colliding.push(cilium("north", 1));
    let drift = between(&pair(), &colliding);
    let came = drift.lines.iter().find(|line| line.of == DriftOf::Cluster).unwrap();
    assert_eq!((came.change, came.effect), (Change::Added, Effect::Breaks));
    assert!(
        came.codes.contains(&"CM101".to_owned()) || came.codes.len() > 1,
        "{:?}",
        came.codes
    );
}

#[test]
fn a_cluster_that_was_made_anew_is_drift_and_no_error() {
    let mut now = pair();
    *value_mut(&mut now[0].uid) = "another".to_owned();
    let drift = between(&pair(), &now);
    assert!(
        lines(&drift).contains(&"neutral ~ east uid".to_owned()),
        "{:#?}",
        lines(&drift)
    );
}

#[test]
fn a_cluster_that_cannot_be_read_any_more_is_one_line_that_names_what_it_costs() {
    use crate::facts::provenance::Unknown;
    let mut now = pair();
    now[1] = ClusterFacts::unread("west", &Unknown::new(Reason::Unreachable, "connection refused"));
    let drift = between(&pair(), &now);
    let of_west: Vec<&DriftLine> = drift.lines.iter().filter(|line| line.cluster == "west").collect();
    assert_eq!(of_west.len(), 1, "{:#?}", lines(&drift));
    let line = of_west[0];
    assert_eq!(
        (line.effect, line.of, line.change),
        (Effect::Weakens, DriftOf::Cluster, Change::Changed)
    );
    assert_eq!(
        line.new,
        Some(Value::String("unreachable: connection refused".to_owned()))
    );
    assert!(line.codes.contains(&"CM302".to_owned()), "{:?}", line.codes);
    assert_eq!(drift.worst(), Some(Effect::Weakens));
}

#[test]
fn a_node_that_no_agent_reads_any_more_weakens() {
    let accepted: Vec<ClusterFacts> = pair().into_iter().map(with_agents).collect();
    let mut now = accepted.clone();
    now[0].node_facts.remove(0);
    let drift = between(&accepted, &now);
    let line = drift
        .lines
        .iter()
        .find(|line| line.path == "node_facts[east-n1]")
        .unwrap();
    assert_eq!((line.change, line.effect), (Change::Removed, Effect::Weakens));
}

#[test]
fn a_flow_that_is_blocked_is_a_line_of_its_own() {
    let facts: Vec<ClusterFacts> = pair().into_iter().map(with_agents).collect();
    let policy = probing(Clustermesh, Probe::Cover);
    let intent = Intent::default();
    let seen = observe(plan(&facts, &intent, &policy));
    let mut blocked = seen.clone();
    let service = "UDP 8472";
    for (probe, result) in seen.plan.probes.iter().zip(&mut blocked.results) {
        if probe.kind.to_string() == service
            && let Ok(sent) = &mut result.sent
        {
            sent.answered = 0;
            sent.round_trip = None;
            sent.answered_ports.clear();
            if let Some(Ok(heard)) = &mut result.heard {
                heard.received = 0;
            }
        }
    }
    let judge = |observations: &Observations| engine::judge_observed(&facts, Some(observations), &intent, &policy);
    let (before, after) = (judge(&seen), judge(&blocked));
    let drift = drift(
        Side {
            clusters: &facts,
            report: &before,
        },
        Side {
            clusters: &facts,
            report: &after,
        },
        Judging {
            observations: Some(&blocked),
            intent: &intent,
            policy: &policy,
        },
    );
    let breaks: Vec<&DriftLine> = drift
        .lines
        .iter()
        .filter(|line| line.effect == Effect::Breaks)
        .collect();
    assert!(!breaks.is_empty(), "{:#?}", lines(&drift));
    assert!(
        breaks.iter().all(|line| line.of == DriftOf::Finding),
        "{:#?}",
        lines(&drift)
    );
    assert!(
        drift
            .lines
            .iter()
            .any(|line| line.path == "coverage.flows" && line.effect == Effect::Weakens),
        "{:#?}",
        lines(&drift)
    );
}

#[test]
fn what_nobody_asks_any_more_weakens() {
    let facts = pair();
    let before = report(Clustermesh, &facts);
    let narrow = Policy {
        skip: vec!["CM302".to_owned()],
        ..policy(Clustermesh)
    };
    let after = engine::judge(&facts, &Intent::default(), &narrow);
    let drift = drift(
        Side {
            clusters: &facts,
            report: &before,
        },
        Side {
            clusters: &facts,
            report: &after,
        },
        Judging {
            observations: None,
            intent: &Intent::default(),
            policy: &narrow,
        },
    );
    assert_eq!(lines(&drift), ["weakens ~ CM302 clustermesh CM302"]);
}

#[test]
fn since_when_a_change_is_there_is_carried_from_audit_to_audit() {
    let mut now = pair();
    set_cilium_key(&mut now[1], "tunnel-protocol", Some("geneve"));
    let first = between(&pair(), &now);
    let mut second = first.clone();
    let later: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    second.lines[0].first_seen = later;
    second.carry(&first);
    assert_eq!(second.lines[0].first_seen, first.lines[0].first_seen);
    assert_eq!(second.new_since(&first).count(), 0);
    // It is another value now: another change.
    set_cilium_key(&mut now[1], "tunnel-protocol", Some("other"));
    let mut third = between(&pair(), &now);
    third.lines.iter_mut().for_each(|line| line.first_seen = later);
    third.carry(&first);
    let is_protocol = |line: &&DriftLine| line.path == "cilium.config.tunnel-protocol";
    assert_eq!(third.lines.iter().find(is_protocol).unwrap().first_seen, later);
    assert_eq!(third.new_since(&first).filter(is_protocol).count(), 1);
}

#[test]
fn a_document_of_drift_reads_back() {
    let mut now = pair();
    set_cilium_key(&mut now[1], "tunnel-protocol", Some("geneve"));
    let drift = between(&pair(), &now);
    let text = serde_json::to_string(&drift).unwrap();
    assert_eq!(serde_json::from_str::<Drift>(&text).unwrap(), drift);
}
