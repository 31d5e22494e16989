use proptest::prelude::*;

use super::*;
use crate::observation::ClockOffset;

const HOUR: i64 = 3_600;

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hour * HOUR).unwrap()
}

/// What one audit measures on a good day: 0.4 ms, a little noise that depends on the hour, 60 round trips.
fn usual(hour: i64) -> Measure {
    let noise = u64::try_from(hour * 7 % 13).unwrap();
    Measure {
        at: at(hour),
        sent: 60,
        answered: 60,
        round_trip: Some(RoundTrips {
            samples: 60,
            min_micros: 380 + noise,
            median_micros: 400 + noise,
            p95_micros: 430 + noise,
            p99_micros: 450 + noise * 2,
        }),
        series: 6,
        path_mtu: Some(1_500),
        clock: Some(ClockOffset {
            offset_micros: 150,
            bound_micros: 200,
        }),
        services: [("ICMP echo", 3), ("UDP 8472", 3)]
            .map(|(service, proven)| {
                let tally = Tally {
                    proven,
                    ..Tally::default()
                };
                (service.to_owned(), tally)
            })
            .into(),
        ..Measure::default()
    }
}

/// So many good hours, and then so many in which something is different.
fn then(good: i64, bad: i64, change: impl Fn(&mut Measure)) -> Vec<Measure> {
    let mut measures: Vec<Measure> = (0..good).map(usual).collect();
    measures.extend((good..good + bad).map(|hour| {
        let mut measure = usual(hour);
        change(&mut measure);
        measure
    }));
    measures
}

fn slower(measure: &mut Measure, micros: u64) {
    if let Some(trips) = &mut measure.round_trip {
        trips.min_micros += micros;
        trips.median_micros += micros;
        trips.p95_micros += micros;
        trips.p99_micros += micros;
    }
}

fn found(measures: &[Measure], budget: &Budget) -> Vec<(Pattern, Severity)> {
    let judgement = judge(measures, &[], budget).unwrap();
    judgement
        .readings
        .iter()
        .map(|reading| (reading.pattern, reading.severity))
        .collect()
}

const NO_BUDGET: Budget = Budget {
    round_trip_micros: None,
    path_mtu: None,
    clock_micros: None,
};
/// As many hours as make a past, with those that are judged.
const WEEK: i64 = 24 * 7 + 3;

use Severity::{Fail, Warn};

#[test]
fn a_month_of_good_audits_means_nothing() {
    let measures = then(24 * 30, 0, |_| ());
    let judgement = judge(&measures, &[], &NO_BUDGET).unwrap();
    assert_eq!((judgement.readings, judgement.no_history), (Vec::new(), None));
    assert_eq!(judge(&[], &[], &NO_BUDGET), None);
}

#[test]
fn another_way_shows_in_the_least_round_trip() {
    let measures = then(24 * 8, 3, |measure| slower(measure, 2_000));
    let judgement = judge(&measures, &[], &NO_BUDGET).unwrap();
    let reading = &judgement.readings[0];
    assert_eq!((reading.pattern, reading.severity), (Pattern::RouteChange, Warn));
    assert_eq!(reading.since, at(24 * 8), "the first of the three");
    assert_eq!(reading.samples, 60);
    assert!(
        reading
            .text
            .contains("of 60; 0.39 ms ± 0.05 ms before (192 audits, 11520 samples)"),
        "{}",
        reading.text
    );
    assert_eq!(
        judgement.readings.len(),
        1,
        "a route change is no latency excursion as well"
    );
    let budget = Budget {
        round_trip_micros: Some(1_000),
        ..NO_BUDGET
    };
    assert_eq!(
        found(&measures, &budget),
        [(Pattern::RouteChange, Fail), (Pattern::BudgetBroken, Fail)]
    );
    // A shorter way is another way too.
    let shorter = then(24 * 8, 3, |measure| {
        slower(measure, 2_000);
        if let Some(trips) = &mut measure.round_trip {
            *trips = RoundTrips {
                samples: 60,
                min_micros: 80,
                median_micros: 100,
                p95_micros: 120,
                p99_micros: 150,
            };
        }
    });
    assert_eq!(found(&shorter, &NO_BUDGET), [(Pattern::RouteChange, Warn)]);
}

#[test]
fn one_bad_audit_is_no_excursion_and_neither_are_two() {
    for bad in [1, 2] {
        let measures = then(24 * 8, bad, |measure| slower(measure, 2_000));
        assert_eq!(found(&measures, &NO_BUDGET), []);
    }
    // Nor are three with a good one between.
    let mut measures = then(24 * 8, 2, |measure| slower(measure, 2_000));
    measures.push(usual(24 * 8 + 2));
    let mut last = usual(24 * 8 + 3);
    slower(&mut last, 2_000);
    measures.push(last);
    assert_eq!(found(&measures, &NO_BUDGET), []);
}

#[test]
fn waiting_on_the_way_shows_in_the_variation() {
    let measures = then(24 * 8, 3, |measure| {
        if let Some(trips) = &mut measure.round_trip {
            trips.median_micros += 300;
            trips.p99_micros += 9_000;
        }
    });
    assert_eq!(found(&measures, &NO_BUDGET), [(Pattern::Queueing, Warn)]);
}

#[test]
fn a_longer_median_alone_is_a_latency_excursion() {
    let measures = then(24 * 8, 3, |measure| {
        if let Some(trips) = &mut measure.round_trip {
            trips.median_micros += 450;
            trips.p99_micros += 450;
        }
    });
    assert_eq!(found(&measures, &NO_BUDGET), [(Pattern::LatencyExcursion, Warn)]);
}

#[test]
fn little_steps_are_seen_by_their_sum() {
    // Half a per cent an hour for four days, after a week of calm.
    let measures: Vec<Measure> = (0..24 * 11)
        .map(|hour| {
            let mut measure = usual(hour);
            let steps = u64::try_from((hour - 24 * 7).max(0)).unwrap();
            slower(&mut measure, steps);
            measure
        })
        .collect();
    let judgement = judge(&measures, &[], &NO_BUDGET).unwrap();
    assert_eq!(judgement.readings.len(), 1, "{judgement:#?}");
    let reading = &judgement.readings[0];
    assert_eq!(reading.pattern, Pattern::SlowDrift);
    assert!(
        reading.since > at(24 * 7) && reading.since < at(24 * 9),
        "{}",
        reading.since
    );
}

#[test]
fn loss_on_the_same_way_is_a_line_fault() {
    let lossy = |lost: u64| then(24 * 8, 3, move |measure| measure.answered -= lost);
    assert_eq!(found(&lossy(6), &NO_BUDGET), [(Pattern::LineFault, Warn)]);
    assert_eq!(found(&lossy(2), &NO_BUDGET), [], "two of sixty may be chance");
    let text = &judge(&lossy(6), &[], &NO_BUDGET).unwrap().readings[0].text;
    assert_eq!(text, "6 of 60 lost; 0 of 11520 before");
    // Where so much was always lost, it is how it is.
    let always: Vec<Measure> = (0..24 * 9)
        .map(|hour| Measure {
            answered: 54,
            ..usual(hour)
        })
        .collect();
    assert_eq!(found(&always, &NO_BUDGET), []);
}

#[test]
fn larger_packets_that_vanish_are_a_black_hole() {
    let smaller = |black_hole| {
        then(24 * 8, 1, move |measure| {
            measure.path_mtu = Some(1_400);
            measure.black_hole = black_hole;
        })
    };
    assert_eq!(found(&smaller(true), &NO_BUDGET), [(Pattern::BlackHole, Fail)]);
    assert_eq!(found(&smaller(false), &NO_BUDGET), [(Pattern::SmallerMtu, Warn)]);
    let needed = Budget {
        path_mtu: Some(1_450),
        ..NO_BUDGET
    };
    assert_eq!(found(&smaller(false), &needed), [(Pattern::SmallerMtu, Fail)]);
    // What is needed is needed without any history.
    assert_eq!(found(&smaller(false)[24 * 8..], &needed), [(Pattern::SmallerMtu, Fail)]);
    assert_eq!(found(&smaller(false)[24 * 8..], &NO_BUDGET), []);
}

#[test]
fn the_first_packet_that_is_lost_again_and_again_is_an_idle_flow_that_was_dropped() {
    let measures = then(24 * 8, 1, |measure| {
        measure.first_lost = 5;
        measure.answered -= 5;
    });
    assert_eq!(found(&measures, &NO_BUDGET), [(Pattern::IdleFlowDropped, Warn)]);
    let once = then(24 * 8, 1, |measure| measure.first_lost = 1);
    assert_eq!(found(&once, &NO_BUDGET), []);
}

/// Sets how the probes of a service went.
fn tally(measure: &mut Measure, service: &str, proven: u32, failed: u32) {
    let tally = Tally {
        proven,
        failed,
        unknown: 0,
    };
    measure.services.insert(service.to_owned(), tally);
}

#[test]
fn nothing_through_on_several_services_is_down_and_needs_no_history() {
    let mut dead = usual(0);
    tally(&mut dead, "ICMP echo", 0, 3);
    assert_eq!(
        found(std::slice::from_ref(&dead), &NO_BUDGET),
        [],
        "one service is not all"
    );
    tally(&mut dead, "UDP 8472", 0, 3);
    assert_eq!(found(&[dead.clone()], &NO_BUDGET), [(Pattern::HardDown, Fail)]);
    let mut unknown = usual(0);
    for tally in unknown.services.values_mut() {
        *tally = Tally {
            unknown: 3,
            ..Tally::default()
        };
    }
    assert_eq!(found(&[unknown], &NO_BUDGET), [], "what is not known is not down");
}

#[test]
fn a_service_that_works_one_way_only_is_an_asymmetric_fault() {
    let mut there = usual(0);
    tally(&mut there, "UDP 8472", 0, 3);
    let back = [usual(0)];
    let judged =
        |there: &Measure, back: &[Measure]| judge(std::slice::from_ref(there), back, &NO_BUDGET).unwrap().readings;
    let readings = judged(&there, &back);
    assert_eq!(
        (readings[0].pattern, readings[0].severity),
        (Pattern::OneDirection, Fail)
    );
    assert_eq!(
        readings[0].text,
        "UDP 8472 gets through the other way alone (3 probes failed)"
    );
    assert_eq!(
        judged(&there, &[usual(5)]),
        [],
        "the way back was measured another time"
    );
    let mut echo = usual(0);
    tally(&mut echo, "ICMP echo", 0, 3);
    assert_eq!(judged(&echo, &back)[0].severity, Warn);
}

#[test]
fn budgets_are_judged_without_history_by_the_quantile_that_the_samples_allow() {
    let with = |samples: u64| {
        let mut measure = usual(0);
        measure.round_trip = Some(RoundTrips {
            samples,
            min_micros: 100,
            median_micros: 900,
            p95_micros: 2_000,
            p99_micros: 9_000,
        });
        vec![measure]
    };
    let budget = |micros| Budget {
        round_trip_micros: Some(micros),
        ..NO_BUDGET
    };
    assert_eq!(found(&with(60), &budget(1_000)), [(Pattern::MarginUsed, Warn)]);
    assert_eq!(found(&with(60), &budget(899)), [(Pattern::BudgetBroken, Fail)]);
    assert_eq!(found(&with(200), &budget(1_000)), [(Pattern::BudgetBroken, Fail)]);
    assert_eq!(found(&with(200), &budget(5_000)), []);
    assert_eq!(found(&with(1_000), &budget(5_000)), [(Pattern::BudgetBroken, Fail)]);
    let few = judge(&with(19), &[], &budget(1)).unwrap();
    assert_eq!(few.readings, []);
    assert_eq!(
        few.no_budget.unwrap(),
        "19 round trips are too few to hold against the budget: 20 tell a median"
    );
    let text = &judge(&with(1_000), &[], &budget(5_000)).unwrap().readings[0].text;
    assert_eq!(
        text,
        "99th percentile 9.00 ms of 1000 round trips; the budget is 5.00 ms"
    );
}

#[test]
fn clocks_are_judged_by_what_is_certain() {
    let apart = |offset_micros, bound_micros| {
        let mut measure = usual(0);
        measure.clock = Some(ClockOffset {
            offset_micros,
            bound_micros,
        });
        vec![measure]
    };
    let limit = Budget {
        clock_micros: Some(50_000),
        ..NO_BUDGET
    };
    assert_eq!(
        found(&apart(-60_000, 1_000), &limit),
        [(Pattern::ClockBeyondLimit, Fail)]
    );
    assert_eq!(found(&apart(60_000, 20_000), &limit), []);
    let stepped = then(24 * 8, 3, |measure| {
        measure.clock = Some(ClockOffset {
            offset_micros: 30_000,
            bound_micros: 200,
        });
    });
    assert_eq!(found(&stepped, &NO_BUDGET), [(Pattern::ClockStep, Warn)]);
}

#[test]
fn too_little_history_is_said_and_nothing_is_judged_by_it() {
    let short = then(24, 3, |measure| slower(measure, 2_000));
    let judgement = judge(&short, &[], &NO_BUDGET).unwrap();
    assert_eq!(judgement.readings, []);
    assert_eq!(
        judgement.no_history.unwrap(),
        "24 earlier audits over 26 hours are too little to judge by: 20 over 7 days are enough"
    );
    // Seven days of one audit a day are long, and few.
    let few: Vec<Measure> = (0..10).map(|day| usual(day * 24)).collect();
    assert!(judge(&few, &[], &NO_BUDGET).unwrap().no_history.is_some());
    assert_eq!(judge(&then(WEEK, 0, |_| ()), &[], &NO_BUDGET).unwrap().no_history, None);
}

#[test]
fn what_is_slow_every_monday_at_nine_is_ordinary_then() {
    let busy = |hour: i64| hour.rem_euclid(168) == 9;
    let measures: Vec<Measure> = (0..168 * 4 + 10)
        .map(|hour| {
            let mut measure = usual(hour);
            if busy(hour) {
                slower(&mut measure, 3_000);
            }
            measure
        })
        .collect();
    assert!(busy(i64::try_from(measures.len()).unwrap() - 1));
    let past = Past::of(&measures);
    let baseline = past.baseline(Quantity::MedianRoundTrip).unwrap();
    assert!(baseline.same_hour && baseline.median_micros > 3_000, "{baseline:?}");
}

#[test]
fn experiments_are_neither_faults_nor_history() {
    let mut measures = then(24 * 8, 3, |measure| {
        slower(measure, 2_000);
        measure.experiment = Some("latency injected".to_owned());
    });
    assert_eq!(found(&measures, &NO_BUDGET), []);
    measures.extend((24 * 8 + 3..24 * 8 + 9).map(usual));
    assert_eq!(found(&measures, &NO_BUDGET), []);
}

proptest! {
    /// Noise of a quarter around any round trip is no excursion, and the same made three times as long for three audits is one.
    #[test]
    fn noise_is_no_excursion_and_a_step_is(
        base in 1_000_u64..200_000,
        noise in proptest::collection::vec(0_u64..25, 24 * 8 + 3),
    ) {
        let measures = |step: u64| -> Vec<Measure> {
            (0..).zip(&noise).map(|(hour, noise)| {
                let mut measure = usual(hour);
                let late = if hour >= 24 * 8 { step } else { 1 };
                let micros = (base + base * noise / 400) * late;
                measure.round_trip = Some(RoundTrips {
                    samples: 60,
                    min_micros: micros,
                    median_micros: micros + 20,
                    p95_micros: micros + 40,
                    p99_micros: micros + 60,
                });
                measure
            }).collect()
        };
        prop_assert_eq!(found(&measures(1), &NO_BUDGET), []);
        let stepped = found(&measures(3), &NO_BUDGET);
        prop_assert_eq!(stepped, [(Pattern::RouteChange, Warn)]);
    }
}
