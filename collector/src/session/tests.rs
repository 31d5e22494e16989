//! Agents that misbehave, each in its own way, and what the collector makes of them.

use std::time::Duration;

use prejoin_agent::protocol::Role;
use prejoin_checks::observation::{Abilities, Heard, Listening};
use prejoin_checks::plan::Service;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};

use super::*;

/// Long enough never to run out while an agent talks, and passed in no time where the clock is paused.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an agent does next.
enum Step {
    /// Waits for the next request.
    Hear,
    /// Writes this.
    Say(String),
    /// Does nothing any more, with the stream left open.
    Hang,
}

use Step::{Hang, Hear, Say};

fn say(answer: &Value) -> Step {
    Say(format!("{answer}\n"))
}

fn opened(version: u32, node: &str) -> Value {
    let opened = Opened {
        version,
        agent: "0.1.0".to_owned(),
        role: Role::Node,
        node: node.to_owned(),
        network: None,
        abilities: Abilities::default(),
        limits: None,
    };
    json!({ "id": 1, "opened": opened })
}

/// An agent that does these steps, and then ends.
fn agent(steps: Vec<Step>) -> Connection {
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(act(far, steps));
    Connection::over(near)
}

async fn act(stream: impl AsyncRead + AsyncWrite, steps: Vec<Step>) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut requests = BufReader::new(reader).lines();
    for step in steps {
        match step {
            Hear => {
                requests.next_line().await.unwrap();
            }
            // The collector may have had enough.
            Say(text) => drop(writer.write_all(text.as_bytes()).await),
            Hang => std::future::pending().await,
        }
    }
}

fn open_request() -> Open {
    Open {
        versions: vec![2, 1],
        audit: "00".repeat(16),
        key: "11".repeat(32),
        node: "e1".to_owned(),
        deadline_seconds: 60,
    }
}

async fn open(steps: Vec<Step>) -> Result<Opened, AgentFailure> {
    let session = Session::open(agent(steps), open_request(), PATIENCE).await;
    session.map(|(_, opened)| opened)
}

/// A session with an agent that does these steps once it is open.
async fn session(steps: Vec<Step>) -> Session {
    let mut all = vec![Hear, say(&opened(2, "e1"))];
    all.extend(steps);
    Session::open(agent(all), open_request(), PATIENCE).await.unwrap().0
}

#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T, Trouble>, kind: AgentFailureKind, says: &str) {
    let Err(Trouble::Agent(failure)) = result else {
        unreachable!("no failure of the agent: {result:?}")
    };
    assert_eq!(failure.kind, kind, "{failure:?}");
    assert!(failure.detail.contains(says), "{failure:?}");
}

#[tokio::test]
async fn a_conversation_from_the_first_line_to_the_last() {
    let facts = NodeFacts::unread("e1", &Unknown::not_found("nothing"));
    let mut session = session(vec![
        Hear,
        say(&json!({ "id": 2, "node_facts": facts })),
        Hear,
        say(&json!({ "id": 3, "listening": { "listeners": [{ "id": 7, "state": { "Ok": "bound" } }] } })),
        Hear,
        say(&json!({ "id": 4, "probed": { "probe": 5, "sent": { "Ok": { "sent": 3, "answered": 2 } } } })),
        say(&json!({ "id": 4, "done": { "packets": 5 } })),
        Hear,
        say(&json!({ "id": 5, "heard": {
            "heard": [{ "listener": 7, "probe": 9, "heard": { "received": 4 } }], "foreign": [[7, 1]],
        } })),
        Hear,
        say(&json!({ "id": 6, "closed": {} })),
    ])
    .await;
    assert_eq!(
        session.node_facts(Vec::new(), Vec::new(), PATIENCE).await.unwrap(),
        facts
    );
    let states = session.listen(vec![listener(7)], PATIENCE).await.unwrap();
    assert_eq!(states[0].state, Ok(Listening::Bound));
    let mut results = Vec::new();
    let packets = session
        .probe(vec![order(5)], Pace::default(), PATIENCE, |probe, sent| {
            results.push((probe, sent));
        })
        .await;
    assert_eq!(packets, Ok(5));
    let sent = Sent {
        sent: 3,
        answered: 2,
        ..Sent::default()
    };
    assert_eq!(results, [(5, Ok(sent))]);
    let heard = session.hush(&expected(7, 9), 0, PATIENCE).await.unwrap();
    let four = Heard {
        received: 4,
        ..Heard::default()
    };
    assert_eq!(heard.heard[0].heard, four);
    assert_eq!(heard.foreign[&7], 1);
    session.close(PATIENCE).await;
}

fn listener(id: u32) -> ListenOn {
    ListenOn {
        id,
        address: IpAddr::from([127, 0, 0, 1]),
        service: Service::Udp(8472),
        answer_rate: 100,
    }
}

fn order(id: u32) -> ProbeOrder {
    ProbeOrder {
        id,
        address: Some(IpAddr::from([127, 0, 0, 1])),
        host: String::new(),
        kind: ProbeKind::Udp { port: 8472 },
        listening: Some(Listening::Bound),
    }
}

fn expected(listener: u32, probe: u32) -> HashMap<u32, HashSet<u32>> {
    HashMap::from([(listener, HashSet::from([probe]))])
}

#[tokio::test]
async fn an_older_version_is_spoken_and_an_unknown_one_is_not() {
    assert_eq!(open(vec![Hear, say(&opened(1, "e1"))]).await.unwrap().version, 1);
    for version in [0, 3] {
        let failure = open(vec![Hear, say(&opened(version, "e1"))]).await.unwrap_err();
        assert_eq!(failure.kind, AgentFailureKind::Version, "{failure:?}");
    }
    let refused = json!({ "id": 1, "failed": { "kind": "version", "detail": "only 7 is spoken here" } });
    let failure = open(vec![Hear, say(&refused)]).await.unwrap_err();
    assert_eq!(failure.kind, AgentFailureKind::Version);
    assert_eq!(failure.detail, "only 7 is spoken here");
}

#[tokio::test]
async fn who_ends_before_a_word_was_never_reached_and_who_ends_later_died() {
    let failure = open(vec![]).await.unwrap_err();
    assert_eq!(failure.kind, AgentFailureKind::Unreachable, "{failure:?}");
    let mut session = session(vec![Hear, Say("{\"id\":2,\"node_f".to_owned())]).await;
    fails(
        session.node_facts(Vec::new(), Vec::new(), PATIENCE).await,
        AgentFailureKind::Died,
        "ended",
    );
}

#[tokio::test(start_paused = true)]
async fn silence_is_waited_for_so_long_and_no_longer() {
    let before = Instant::now();
    let failure = open(vec![Hear, Hang]).await.unwrap_err();
    assert_eq!(failure.kind, AgentFailureKind::Hung, "{failure:?}");
    assert_eq!(before.elapsed(), PATIENCE);
    // One that does not even read.
    let mut deaf = session(vec![Hang]).await;
    let names = vec!["name.example".repeat(20); 1000];
    fails(
        deaf.node_facts(Vec::new(), names, PATIENCE).await,
        AgentFailureKind::Hung,
        "node_facts",
    );
}

#[tokio::test]
async fn what_is_not_the_protocol_is_garbage_and_shown_harmlessly() {
    for said in [
        "Welcome to \u{1b}[2Jthis machine!\n",
        "\n",
        "{}\n",
        "{\"id\":1}\n",
        "{\"id\":1,\"opened\":{}}\n",
        "[1,2]\n",
        "{\"id\":-1,\"closed\":{}}\n",
    ] {
        let failure = open(vec![Hear, Say(said.to_owned()), Hang]).await.unwrap_err();
        assert_eq!(failure.kind, AgentFailureKind::Garbage, "{said}: {failure:?}");
        assert!(!failure.detail.contains(text::is_hidden), "{failure:?}");
    }
    let deep = format!("{}\n", "[".repeat(100_000));
    let failure = open(vec![Hear, Say(deep), Hang]).await.unwrap_err();
    assert_eq!(failure.kind, AgentFailureKind::Garbage);
}

#[tokio::test]
async fn a_line_without_end_is_not_read_for_ever() {
    let endless = vec![Hear]
        .into_iter()
        .chain((0..300).map(|_| Say("x".repeat(64 << 10))))
        .chain([Hang])
        .collect();
    let failure = open(endless).await.unwrap_err();
    assert_eq!(failure.kind, AgentFailureKind::Garbage);
    assert!(failure.detail.contains("16777216 bytes"), "{failure:?}");
}

#[tokio::test]
async fn an_answer_to_something_else_is_garbage() {
    for answer in [
        json!({ "id": 9, "closed": {} }),
        json!({ "id": 1, "closed": {} }),
        json!({ "id": 2, "heard": { "heard": [], "foreign": [] } }),
        json!({ "id": 1, "node_facts": NodeFacts::unread("e1", &Unknown::not_found("")) }),
    ] {
        let mut session = session(vec![Hear, say(&answer), Hang]).await;
        fails(
            session.node_facts(Vec::new(), Vec::new(), PATIENCE).await,
            AgentFailureKind::Garbage,
            "not asked",
        );
    }
}

#[tokio::test]
async fn a_refusal_ends_the_request_and_not_the_session() {
    let refusal = json!({ "id": 2, "failed": { "kind": "unsupported", "detail": "no\u{1b}" } });
    let listening = json!({ "id": 3, "listening": { "listeners": [] } });
    let mut session = session(vec![Hear, say(&refusal), Hear, say(&listening), Hang]).await;
    assert_eq!(
        session.node_facts(Vec::new(), Vec::new(), PATIENCE).await,
        Err(Trouble::Refused(FailureKind::Unsupported, r"no\u{1b}".to_owned()))
    );
    assert_eq!(session.listen(Vec::new(), PATIENCE).await, Ok(Vec::new()));
}

#[tokio::test]
async fn facts_of_another_node_are_a_lie() {
    let facts = json!({ "id": 2, "node_facts": NodeFacts::unread("w1", &Unknown::not_found("")) });
    let mut session = session(vec![Hear, say(&facts), Hang]).await;
    fails(
        session.node_facts(Vec::new(), Vec::new(), PATIENCE).await,
        AgentFailureKind::Lied,
        "asked for facts of node e1, the agent gave those of w1",
    );
}

#[tokio::test]
async fn texts_of_an_agent_are_harmless_before_anything_sees_them() {
    let mut facts = NodeFacts::unread("e1", &Unknown::not_found("a\u{1b}[31mb\u{202e}"));
    facts.collected_by = "1\u{7}".to_owned();
    let mut session = session(vec![Hear, say(&json!({ "id": 2, "node_facts": facts })), Hang]).await;
    let facts = session.node_facts(Vec::new(), Vec::new(), PATIENCE).await.unwrap();
    assert_eq!(facts.collected_by, r"1\u{7}");
    assert_eq!(facts.links.why().unwrap().detail, r"a\u{1b}[31mb\u{202e}");
}

#[tokio::test]
async fn listeners_are_told_of_once_each_and_all_of_them() {
    let state = |id: u32| json!({ "id": id, "state": { "Ok": "captured" } });
    for (states, kind) in [
        (vec![state(7), state(8)], AgentFailureKind::Lied),
        (vec![state(7), state(7)], AgentFailureKind::Lied),
        (vec![], AgentFailureKind::Garbage),
    ] {
        let answer = json!({ "id": 2, "listening": { "listeners": states } });
        let mut session = session(vec![Hear, say(&answer), Hang]).await;
        fails(session.listen(vec![listener(7)], PATIENCE).await, kind, "listen");
    }
}

#[tokio::test]
async fn results_of_probes_that_were_not_ordered_are_lies_and_missing_ones_garbage() {
    let probed = |probe: u32, sent: u32, answered: u32| {
        let sent = json!({ "sent": sent, "answered": answered });
        say(&json!({ "id": 2, "probed": { "probe": probe, "sent": { "Ok": sent } } }))
    };
    for (answers, kind) in [
        (vec![probed(6, 1, 1)], AgentFailureKind::Lied),
        (vec![probed(5, 1, 1), probed(5, 1, 1)], AgentFailureKind::Lied),
        (vec![probed(5, 1, 2)], AgentFailureKind::Lied),
        (
            vec![say(&json!({ "id": 2, "done": { "packets": 0 } }))],
            AgentFailureKind::Garbage,
        ),
    ] {
        let steps = [Hear].into_iter().chain(answers).chain([Hang]).collect();
        let mut session = session(steps).await;
        let result = session
            .probe(vec![order(5)], Pace::default(), PATIENCE, |_, _| {})
            .await;
        fails(result, kind, "");
    }
}

#[tokio::test]
async fn what_came_before_an_agent_died_counts() {
    let probed = json!({ "id": 2, "probed": { "probe": 5, "sent": { "Ok": { "sent": 1, "answered": 1 } } } });
    let mut session = session(vec![Hear, say(&probed)]).await;
    let mut finished = Vec::new();
    let result = session
        .probe(vec![order(5), order(6)], Pace::default(), PATIENCE, |probe, _| {
            finished.push(probe);
        })
        .await;
    fails(result, AgentFailureKind::Died, "ended");
    assert_eq!(finished, [5]);
}

#[tokio::test]
async fn what_was_heard_of_a_probe_that_was_never_sent_is_a_lie() {
    let heard = |listener: u32, probe: u32| json!({ "listener": listener, "probe": probe, "heard": { "received": 1 } });
    for (heard, foreign) in [
        (vec![heard(7, 10)], json!([])),
        (vec![heard(8, 9)], json!([])),
        (vec![heard(7, 9), heard(7, 9)], json!([])),
        (vec![], json!([[8, 1]])),
    ] {
        let answer = json!({ "id": 2, "heard": { "heard": heard, "foreign": foreign } });
        let mut session = session(vec![Hear, say(&answer), Hang]).await;
        fails(
            session.hush(&expected(7, 9), 0, PATIENCE).await,
            AgentFailureKind::Lied,
            "",
        );
    }
}

#[tokio::test]
async fn what_comes_late_of_an_earlier_look_is_passed_over() {
    let heard = |probe: u32| json!({ "listener": 7, "probe": probe, "heard": { "received": 1 } });
    let answer = json!({ "id": 2, "heard": { "heard": [heard(9), heard(29)], "foreign": [] } });
    let mut session = session(vec![Hear, say(&answer), Hang]).await;
    let told = session.hush(&expected(7, 9), 20, PATIENCE).await.unwrap();
    let probes: Vec<u32> = told.heard.iter().map(|one| one.probe).collect();
    assert_eq!(probes, [9]);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_however_the_agent_takes_it() {
    let chatter = json!({ "id": 7, "done": { "packets": 1 } });
    for steps in [
        vec![Hang],
        vec![Hear, Hang],
        vec![Hear],
        vec![Hear, Say("garbage\n".to_owned()), Hang],
        vec![
            Hear,
            say(&chatter),
            say(&chatter),
            say(&json!({ "id": 2, "closed": {} })),
        ],
    ] {
        let before = Instant::now();
        session(steps).await.close(PATIENCE).await;
        assert!(before.elapsed() <= PATIENCE);
    }
}
