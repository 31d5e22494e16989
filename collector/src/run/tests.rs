//! Runs with agents that are tasks of the test: some do as they are told, some do not.

mod fake;

use std::net::IpAddr;
use std::time::Duration;

use prejoin_checks::facts::kernel::NetworkView;
use prejoin_checks::facts::provenance::Reason;
use prejoin_checks::observation::{AgentFailureKind, Listening};
use prejoin_checks::plan::{Destination, Listener, Pace, PlannedProbe, ProbeKind, Service};

use super::*;
use fake::{Fake, Manner, Wire};

const E1: u32 = 0;
const E2: u32 = 1;
const W1: u32 = 2;

fn id(agent: u32) -> AgentId {
    let (cluster, node) = [("east", "e1"), ("east", "e2"), ("west", "w1")][agent as usize];
    AgentId {
        cluster: cluster.to_owned(),
        node: node.to_owned(),
        network: NetworkView::Host,
        addresses: vec![address(agent)],
        zone: String::new(),
    }
}

fn address(agent: u32) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(agent).unwrap() + 1])
}

/// Both nodes of east to the one of west and back: probe 0 is e1 to w1, 1 is e2 to w1, 2 is w1 to e1, 3 is w1 to e2.
fn plan() -> Plan {
    let probes = [(E1, W1), (E2, W1), (W1, E1), (W1, E2)];
    Plan {
        pace: Pace {
            rate: 100,
            ..Pace::default()
        },
        agents: [E1, E2, W1].map(id).to_vec(),
        listeners: [E1, E2, W1]
            .map(|agent| Listener {
                agent,
                address: address(agent),
                service: Service::Udp(8472),
            })
            .to_vec(),
        probes: (0..).zip(probes).map(|(id, (from, to))| probe(id, from, to)).collect(),
        ..Plan::default()
    }
}

fn probe(number: u32, from: u32, to: u32) -> PlannedProbe {
    let receiver = id(to);
    PlannedProbe {
        id: number,
        codes: vec!["CM501".to_owned()],
        from,
        to: Destination {
            cluster: receiver.cluster,
            name: receiver.node,
            address: Some(address(to)),
            host: String::new(),
            agent: Some(to),
        },
        kind: ProbeKind::Udp { port: 8472 },
        listener: Some(to),
    }
}

/// What comes of each of these plans, one after another, when their three agents behave like this.
async fn outcomes(plans: Vec<Plan>, manners: [Manner; 3], wire: &Wire, cancel: Cancel) -> Vec<Observations> {
    let options = Options::default();
    let progress = Progress::new();
    let agents = [E1, E2, W1].into_iter().zip(manners);
    let invited = agents
        .map(|(agent, manner)| Fake::invited(id(agent), manner, wire))
        .collect();
    let mut agents = Agents {
        all: open::over(invited, &options, &progress, &cancel).await,
        asked: 0,
        options: &options,
        progress: &progress,
        cancel,
    };
    let mut outcomes = Vec::new();
    for plan in plans {
        outcomes.push(agents.run(plan).await);
    }
    agents.close().await;
    outcomes
}

async fn outcome(plan: Plan, manners: [Manner; 3], wire: &Wire, cancel: Cancel) -> Observations {
    outcomes(vec![plan], manners, wire, cancel).await.remove(0)
}

async fn run(manners: [Manner; 3]) -> (Observations, Wire) {
    let wire = Wire::default();
    let (_canceller, cancel) = cancellation();
    (outcome(plan(), manners, &wire, cancel).await, wire)
}

/// For each probe whether both ends gave account of it.
fn proven(observations: &Observations) -> Vec<bool> {
    let results = observations.results.iter();
    results
        .map(|result| result.sent.is_ok() && matches!(result.heard, Some(Ok(_))))
        .collect()
}

fn failure(observations: &Observations, agent: u32) -> Option<AgentFailureKind> {
    let report = &observations.agents[agent as usize];
    report.failure.as_ref().map(|failure| failure.kind)
}

use Manner::{Deaf, Dies, Garbage, Hangs, Honest, Overclaims, Refuses, Unreachable};

#[tokio::test]
async fn every_probe_is_told_by_both_ends_and_nobody_sends_before_the_receiver_listens() {
    let (observations, wire) = run([Honest, Honest, Honest]).await;
    assert_eq!(proven(&observations), [true; 4]);
    assert_eq!(observations.cut_short, None);
    assert_eq!(observations.plan, plan());
    for (number, result) in (0..).zip(&observations.results) {
        assert_eq!(result.probe, number);
        let (sent, heard) = (
            result.sent.as_ref().unwrap(),
            result.heard.as_ref().unwrap().as_ref().unwrap(),
        );
        assert_eq!((sent.sent, heard.received), (10, 10));
        assert_eq!(heard.how, Listening::Bound);
    }
    for report in &observations.agents {
        assert_eq!((report.protocol, report.version.as_str()), (Some(2), "fake"));
        assert_eq!(report.failure, None);
    }
    for probe in &plan().probes {
        let (sender, receiver) = (id(probe.from).node, id(probe.to.agent.unwrap()).node);
        let sends = wire.when(&sender, "probe");
        assert!(wire.when(&receiver, "listen") < sends, "{wire:?}");
        assert!(sends < wire.when(&receiver, "hush"), "{wire:?}");
        assert!(wire.when(&receiver, "hush") < wire.when(&receiver, "close"), "{wire:?}");
    }
}

#[tokio::test]
async fn the_shares_of_all_agents_are_within_the_rate_of_the_plan() {
    let (_, wire) = run([Honest, Honest, Honest]).await;
    let paces = wire.paces();
    assert_eq!(paces.len(), 3);
    assert!(paces.iter().map(|(rate, _)| rate).sum::<u32>() <= 100, "{paces:?}");
    // Two send to w1, whose share of each is half.
    assert!(paces.iter().all(|(_, target_rate)| *target_rate <= 500), "{paces:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_fails_at_any_point_costs_its_own_probes_only() {
    for at in ["open", "node_facts", "listen", "probe", "hush"] {
        for (manner, kind) in [
            (Dies(at), AgentFailureKind::Died),
            (Hangs(at), AgentFailureKind::Hung),
            (Garbage(at), AgentFailureKind::Garbage),
        ] {
            let (observations, _) = run([Honest, manner, Honest]).await;
            let proven = proven(&observations);
            assert!(proven[0] && proven[2], "{manner:?}: {proven:?}");
            assert!(!proven[1] || !proven[3], "{manner:?}: {proven:?}");
            let expected = match (at, kind) {
                ("open", AgentFailureKind::Died) => AgentFailureKind::Unreachable,
                _ => kind,
            };
            assert_eq!(failure(&observations, E2), Some(expected), "{manner:?}");
            assert_eq!((failure(&observations, E1), failure(&observations, W1)), (None, None));
            // Whatever is not known is so for the true reason.
            let result = &observations.results[3];
            let why = match (&result.sent, &result.heard) {
                (Err(why), _) | (_, Some(Err(why))) => why,
                other => unreachable!("{other:?}"),
            };
            assert!(why.detail.contains("agent on east/e2"), "{why:?}");
        }
    }
}

#[tokio::test]
async fn what_was_delivered_before_the_receiver_died_is_still_the_senders_account() {
    let (observations, _) = run([Honest, Dies("hush"), Honest]).await;
    assert!(observations.results[3].sent.is_ok());
    let heard = observations.results[3].heard.as_ref().unwrap();
    assert_eq!(heard.as_ref().unwrap_err().reason, Reason::Unreachable);
}

#[tokio::test]
async fn nothing_is_sent_to_a_port_on_which_nobody_listens() {
    for (manner, says) in [(Unreachable, "no route to its host"), (Deaf, "port in use")] {
        let (observations, wire) = run([Honest, manner, Honest]).await;
        let why = observations.results[3].sent.as_ref().unwrap_err();
        assert!(
            why.detail.starts_with("not sent, for nobody listens on e2") && why.detail.contains(says),
            "{why:?}"
        );
        assert!(!wire.carried(3), "{wire:?}");
        assert!(proven(&observations)[2]);
    }
}

#[tokio::test]
async fn a_service_that_holds_the_port_is_asked_by_tcp_all_the_same() {
    let mut plan = plan();
    plan.probes[3].kind = ProbeKind::Tcp { port: 2379, tls: true };
    let wire = Wire::default();
    let (_canceller, cancel) = cancellation();
    let observations = outcome(plan, [Honest, Deaf, Honest], &wire, cancel).await;
    assert!(observations.results[3].sent.is_ok());
    let heard = observations.results[3].heard.as_ref().unwrap();
    assert!(heard.as_ref().unwrap_err().detail.contains("port in use"));
}

#[tokio::test]
async fn an_agent_that_claims_more_than_was_sent_is_not_believed_in_anything() {
    let (observations, _) = run([Honest, Overclaims, Honest]).await;
    assert_eq!(failure(&observations, E2), Some(AgentFailureKind::Lied));
    assert_eq!(proven(&observations), [true, false, true, false]);
    let why = observations.results[1].sent.as_ref().unwrap_err();
    assert!(why.detail.contains("agent on east/e2 cannot be trusted"), "{why:?}");
    assert!(observations.results[3].sent.is_ok(), "the honest end's account stays");
}

#[tokio::test]
async fn a_refused_request_costs_what_it_was_for_and_the_session_goes_on() {
    for at in ["node_facts", "listen", "probe", "hush"] {
        let (observations, _) = run([Honest, Refuses(at), Honest]).await;
        assert_eq!(failure(&observations, E2), None);
        let proven = proven(&observations);
        assert!(proven[0] && proven[2], "{at}: {proven:?}");
        let expected = match at {
            "node_facts" => [true, true],
            "probe" => [false, true],
            _ => [true, false],
        };
        assert_eq!([proven[1], proven[3]], expected, "{at}");
    }
}

#[tokio::test]
async fn an_agent_of_the_version_before_proves_what_it_sends() {
    let (observations, wire) = run([Honest, Manner::Older, Honest]).await;
    assert_eq!(failure(&observations, E2), None);
    assert_eq!(observations.agents[E2 as usize].protocol, Some(1));
    assert_eq!(proven(&observations), [true, true, true, false]);
    let why = observations.results[3].heard.as_ref().unwrap().as_ref().unwrap_err();
    assert!(why.detail.contains("version 1"), "{why:?}");
    assert_eq!(wire.when("e2", "hush"), None);
}

#[tokio::test]
async fn a_second_look_has_the_same_sessions_and_takes_nothing_late_for_its_own() {
    let wire = Wire::default();
    let (_canceller, cancel) = cancellation();
    // These agents tell of every probe that ever arrived, those of the first look too.
    let looks = outcomes(vec![plan(), plan()], [Honest; 3], &wire, cancel).await;
    for look in &looks {
        assert_eq!(proven(look), [true; 4]);
        assert_eq!(look.plan, plan());
        let numbers: Vec<u32> = look.results.iter().map(|result| result.probe).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
    }
    assert!(wire.carried(7), "the second look's probes have numbers of their own");
    let asked = ["open", "listen", "probe", "hush", "close"].map(|what| wire.count("e1", what));
    assert_eq!(asked, [1, 2, 2, 2, 1]);
}

#[tokio::test]
async fn a_second_look_does_without_those_that_the_first_could_not_keep() {
    let wire = Wire::default();
    let (_canceller, cancel) = cancellation();
    let manners = [Dies("probe"), Manner::Older, Honest];
    let looks = outcomes(vec![plan(), plan()], manners, &wire, cancel).await;
    assert_eq!(failure(&looks[1], E1), Some(AgentFailureKind::Died));
    // One that cannot end its listening was closed, and that is not its fault.
    assert_eq!(failure(&looks[1], E2), None);
    assert_eq!(wire.count("e2", "close"), 1);
    assert_eq!(proven(&looks[1]), [false; 4]);
}

#[tokio::test]
async fn an_agent_that_is_on_another_node_of_the_audit_is_found_out() {
    let (observations, _) = run([Honest, Manner::SaysItIs("w1"), Honest]).await;
    let failure = observations.agents[E2 as usize].failure.as_ref().unwrap();
    assert_eq!(failure.kind, AgentFailureKind::Lied);
    assert_eq!(failure.detail, "it says that it is on node w1");
    // A host may call itself what it likes.
    let (observations, _) = run([Honest, Manner::SaysItIs("host-17.example"), Honest]).await;
    assert_eq!(proven(&observations), [true; 4]);
}

#[tokio::test(start_paused = true)]
async fn whoever_interrupts_gets_what_is_known_by_then_and_every_agent_is_told() {
    let wire = Wire::default();
    let (canceller, cancel) = cancellation();
    let run = outcome(plan(), [Honest, Hangs("probe"), Honest], &wire, cancel);
    let interrupt = async {
        wire.until("e2", "probe").await;
        wire.until("e1", "probe").await;
        canceller.cancel();
    };
    let (observations, ()) = tokio::join!(run, interrupt);
    assert_eq!(observations.cut_short.as_deref(), Some(INTERRUPTED));
    assert_eq!(observations.results.len(), 4);
    let why = observations.results[1].sent.as_ref().unwrap_err();
    assert_eq!(why.reason, Reason::Interrupted);
    for node in ["e1", "w1"] {
        assert!(wire.when(node, "close").is_some(), "{node} was told: {wire:?}");
    }
    assert!(observations.agents.iter().all(|agent| agent.failure.is_none()));
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_while_agents_are_opened_ends_it_at_once() {
    let wire = Wire::default();
    let (canceller, cancel) = cancellation();
    let run = outcome(plan(), [Honest, Hangs("open"), Honest], &wire, cancel);
    let interrupt = async {
        wire.until("e2", "open").await;
        canceller.cancel();
    };
    let before = tokio::time::Instant::now();
    let (observations, ()) = tokio::join!(run, interrupt);
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(observations.cut_short.as_deref(), Some(INTERRUPTED));
    assert_eq!(proven(&observations), [false; 4]);
}

#[tokio::test]
async fn an_agent_that_the_plan_names_and_nobody_opened_is_said_to_be_missing() {
    let mut plan = plan();
    plan.agents[E2 as usize].node = "e9".to_owned();
    let wire = Wire::default();
    let (_canceller, cancel) = cancellation();
    let observations = outcome(plan, [Honest, Honest, Honest], &wire, cancel).await;
    assert_eq!(failure(&observations, E2), Some(AgentFailureKind::Unreachable));
    assert_eq!(proven(&observations), [true, false, true, false]);
    assert!(wire.when("e2", "close").is_some(), "who has no part is sent home");
}
