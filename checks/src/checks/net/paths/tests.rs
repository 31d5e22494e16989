use crate::facts::ClusterFacts;
use crate::intent::Intent;
use crate::observation::{AgentFailure, AgentFailureKind, ClockOffset, ProbeResult, RoundTrip, Sent};
use crate::policy::Probe;
use crate::profile::Profile::Clustermesh;
use crate::report::{Report, Verdict};
use crate::samples::network::{observe, observed_report, plan, probing, silence};
use crate::samples::{cilium, findings};

fn pair() -> [ClusterFacts; 2] {
    [cilium("east", 1), cilium("west", 2)]
}

fn sent(result: &mut ProbeResult) -> &mut Sent {
    result.sent.as_mut().unwrap()
}

/// What fails or warns because of what was measured or did not get through: not what the samples lack (agents' facts of nodes).
fn complaints(report: &Report) -> Vec<String> {
    report
        .findings
        .iter()
        .filter(|finding| matches!(finding.verdict, Verdict::Fail | Verdict::Warn))
        .filter(|finding| finding.code.starts_with("NET3") || finding.code.starts_with("CM5"))
        .map(|finding| format!("{} {}: {}", finding.code, finding.verdict, finding.found))
        .collect()
}

fn report(change: impl Fn(&str, &str, &str, &mut ProbeResult)) -> Report {
    observed_report(Clustermesh, &pair(), &Intent::default(), change)
}

#[test]
fn where_everything_gets_through_every_required_flow_is_proven() {
    let report = report(|_, _, _, _| {});
    assert_eq!(complaints(&report), Vec::<String>::new());
    assert_eq!(report.coverage.flows.known, report.coverage.flows.wanted);
    assert!(report.coverage.flows.wanted >= 5);
    for code in [
        "NET301", "NET302", "NET303", "NET304", "NET305", "NET306", "NET307", "NET308", "CM501", "CM508",
    ] {
        assert_eq!(findings(&report, code)[0].verdict, Verdict::Pass, "{code}");
    }
}

#[test]
fn a_port_dropped_one_way_is_named_with_its_direction() {
    let report = report(|from, _, what, result| {
        if what == "UDP 8472" && from.starts_with("east") {
            silence(result);
        }
    });
    assert_eq!(
        complaints(&report),
        ["CM501 fail: UDP 8472 from east to west: silent; 4 of 8 probes failed"]
    );
    let tunnel = findings(&report, "CM501")[0];
    assert!(
        tunnel.remedy.contains("allow UDP 8472 from 172.31.1.11"),
        "{}",
        tunnel.remedy
    );
    assert_eq!(report.exit_code, 3);
}

#[test]
fn loss_is_named_with_its_share_and_not_as_a_closed_port() {
    let report = report(|from, _, what, result| {
        if from.starts_with("east") && (what == "UDP 8472" || what == "ICMP echo") {
            let sent = sent(result);
            (sent.answered, sent.longest_loss) = (7, 2);
        }
    });
    assert_eq!(
        complaints(&report),
        ["NET302 fail: 24 of 80 lost (30 %) from east to west"]
    );
}

#[test]
fn a_single_lost_packet_is_no_loss() {
    let report = report(|from, to, what, result| {
        if (from, to, what) == ("east-n1", "west-n1", "ICMP echo") {
            sent(result).answered = 9;
        }
    });
    assert_eq!(complaints(&report), Vec::<String>::new());
}

#[test]
fn a_burst_that_eats_the_first_packet_is_that() {
    let report = report(|_, _, what, result| {
        if what == "UDP 8472" || what == "ICMP echo" {
            let sent = sent(result);
            (sent.answered, sent.first_lost, sent.longest_loss) = (9, true, 1);
        }
    });
    assert_eq!(
        complaints(&report),
        ["NET303 warn: the first packet alone is lost on 16 paths between all clusters"]
    );
}

#[test]
fn a_dead_member_of_a_bundle_shows_by_source_port() {
    let report = report(|_, _, what, result| {
        if what == "UDP 8472" {
            let sent = sent(result);
            sent.silent_ports = vec![40_003, 40_004];
            sent.answered_ports = vec![40_001, 40_002];
            (sent.answered, sent.longest_loss) = (6, 1);
        }
    });
    assert_eq!(
        complaints(&report),
        ["NET304 fail: 16 of 32 source ports never get an answer between all clusters"]
    );
}

#[test]
fn loss_that_spares_no_port_is_loss_although_some_ports_got_no_answer() {
    let report = report(|_, _, what, result| {
        if what == "UDP 8472" {
            let sent = sent(result);
            sent.silent_ports = vec![40_003, 40_004];
            (sent.answered_ports, sent.lossy_ports) = (vec![40_001, 40_002], vec![40_002]);
            (sent.answered, sent.longest_loss) = (4, 4);
        }
    });
    assert_eq!(
        complaints(&report),
        ["NET302 fail: 48 of 80 lost (60 %) UDP 8472 between all clusters"]
    );
}

#[test]
fn duplicates_and_reordering_are_counted() {
    let report = report(|_, _, what, result| {
        if what == "UDP 8472" {
            (sent(result).duplicates, sent(result).reordered) = (3, 2);
        }
    });
    assert_eq!(
        complaints(&report),
        ["NET305 warn: 24 twice, 16 out of order: between all clusters"]
    );
}

#[test]
fn round_trips_are_held_against_the_budget_if_there_is_one() {
    let slow = |_: &str, _: &str, what: &str, result: &mut ProbeResult| {
        if what == "UDP 8472" || what == "ICMP echo" {
            sent(result).round_trip = RoundTrip::of(vec![80_000, 81_000, 82_000]);
        }
    };
    assert_eq!(complaints(&report(slow)), Vec::<String>::new());
    let intent = Intent {
        round_trip_budget_millis: Some(50),
        ..Intent::default()
    };
    assert_eq!(
        complaints(&observed_report(Clustermesh, &pair(), &intent, slow)),
        ["NET306 fail: up to 81.0 ms between all clusters"]
    );
}

#[test]
fn a_clock_three_seconds_off_is_the_node_that_has_it() {
    let report = report(|from, to, what, result| {
        let sign = i64::from(to == "east-n1") - i64::from(from == "east-n1");
        if what == "UDP 8472" && sign != 0 {
            sent(result).clock = Some(ClockOffset {
                offset_micros: sign * 3_000_000,
                bound_micros: 200,
            });
        }
    });
    assert_eq!(
        complaints(&report),
        ["NET307 warn: 2999.8 ms apart to and from east/east-n1"]
    );
}

#[test]
fn source_addresses_rewritten_on_the_way_are_seen_by_the_peer() {
    let nat = |address: [u8; 4], port: u16| {
        report(move |from, _, what, result| {
            if what == "UDP 8472" && from.starts_with("east") {
                let own = sent(result).from.unwrap();
                let seen = if address == [0; 4] { own } else { address.into() };
                sent(result).seen_as = vec![(seen, port).into()];
                result.heard.as_mut().unwrap().as_mut().unwrap().from = vec![(seen, port).into()];
            }
        })
    };
    assert_eq!(
        complaints(&nat([192, 0, 2, 1], 40_001)),
        ["NET308 fail: the source address is rewritten to 192.0.2.1 from east to west"]
    );
    assert_eq!(
        complaints(&nat([0; 4], 61_000)),
        ["NET308 warn: the source port is rewritten from east to west"]
    );
}

#[test]
fn an_agent_that_ended_leaves_its_probes_open_and_one_that_lied_fails() {
    let judged = |kind: AgentFailureKind| {
        let (facts, intent, policy) = (pair(), Intent::default(), probing(Clustermesh, Probe::Full));
        let mut observations = observe(plan(&facts, &intent, &policy));
        observations.agents[0].failure = Some(AgentFailure {
            kind,
            detail: "says what it cannot know".to_owned(),
        });
        crate::engine::judge_observed(&facts, Some(&observations), &intent, &policy)
    };
    assert_eq!(
        findings(&judged(AgentFailureKind::Died), "NET301")[0].verdict,
        Verdict::Unknown
    );
    let lied = judged(AgentFailureKind::Lied);
    assert_eq!(findings(&lied, "NET301")[0].verdict, Verdict::Fail);
    assert_eq!(findings(&lied, "NET301")[0].subject.nodes, ["east-n1"]);
}

#[test]
fn without_agents_nothing_is_known_of_paths_and_with_probe_none_nothing_asked() {
    let judged = |level| {
        let policy = probing(Clustermesh, level);
        crate::engine::judge(&pair(), &Intent::default(), &policy)
    };
    for code in ["NET301", "NET302", "NET308"] {
        assert_eq!(findings(&judged(Probe::Cover), code)[0].reason, "no agent");
        assert_eq!(findings(&judged(Probe::None), code)[0].reason, "not asked");
    }
}
