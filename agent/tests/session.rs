//! `prejoin-agent session` as a collector meets it: a process, its pipes, real packets on the loopback block.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by unwrapping it"
)]

#[path = "session/process.rs"]
mod process;

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use prejoin_agent::protocol::{
    Answer, Ask, FailureKind, HeardProbe, ListenOn, Open, PROTOCOL_VERSION, ProbeOrder, Role, limits,
};
use prejoin_checks::facts::provenance::{Reason, Unknown};
use prejoin_checks::observation::{Listening, Sent};
use prejoin_checks::plan::{ProbeKind, Service};
use process::{Agent, is_free, open, own_address};

/// Lets an agent send to this host.
const LOOPBACK: [&str; 2] = ["--allow-target", "127.0.0.0/8"];
/// VXLAN as Cilium has it.
const PORT: u16 = 8472;

fn listen_on(id: u32, address: Ipv4Addr, service: Service) -> ListenOn {
    ListenOn {
        id,
        address: address.into(),
        service,
        answer_rate: 1_000,
    }
}

fn order(id: u32, address: impl Into<IpAddr>, kind: ProbeKind, listening: Option<Listening>) -> ProbeOrder {
    ProbeOrder {
        id,
        address: Some(address.into()),
        host: String::new(),
        kind,
        listening,
    }
}

fn probe(probes: Vec<ProbeOrder>) -> Ask {
    Ask::Probe {
        probes,
        rate: 5_000,
        target_rate: 5_000,
        timeout_millis: 1_000,
        samples: 3,
    }
}

/// Probes that nobody answers, and that are waited for until the session ends.
fn endless_probe(silent: &UdpSocket) -> Ask {
    let target = silent.local_addr().unwrap();
    Ask::Probe {
        probes: vec![order(
            1,
            target.ip(),
            ProbeKind::Udp { port: target.port() },
            Some(Listening::Bound),
        )],
        rate: 100,
        target_rate: 100,
        timeout_millis: limits::TIMEOUT_MILLIS,
        samples: 3,
    }
}

fn states(answer: Answer) -> Vec<(u32, Result<Listening, Unknown>)> {
    match answer {
        Answer::Listening { listeners } => listeners.into_iter().map(|state| (state.id, state.state)).collect(),
        other => panic!("{other:?}"),
    }
}

fn sent(answers: &[Answer]) -> Vec<(u32, &Result<Box<Sent>, Unknown>)> {
    let probed = answers.iter().filter_map(|answer| match answer {
        Answer::Probed { probe, sent } => Some((*probe, sent)),
        _ => None,
    });
    let mut sent: Vec<_> = probed.collect();
    sent.sort_by_key(|(probe, _)| *probe);
    sent
}

fn heard(agent: &mut Agent) -> Vec<HeardProbe> {
    match agent.ask(Ask::Hush {}) {
        Answer::Heard { mut heard, .. } => {
            heard.sort_by_key(|heard| heard.probe);
            heard
        }
        other => panic!("{other:?}"),
    }
}

/// Expects the agent to end for this reason, with this as its last line.
fn expect_end(mut agent: Agent, kind: FailureKind, detail: &str) {
    let end = agent.end();
    match end.last.last().map(|reply| &reply.answer) {
        Some(Answer::Failed {
            kind: said,
            detail: in_words,
        }) => {
            assert_eq!(*said, kind, "{end:?}");
            assert!(in_words.contains(detail), "{end:?}");
        }
        other => panic!("{other:?}: {end:?}"),
    }
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    assert!(!end.stderr.contains("panicked"), "{end:?}");
}

#[test]
fn two_agents_prove_udp_and_tcp_both_ways() {
    let addresses = [own_address(), own_address()];
    let mut agents = [Agent::open(&LOOPBACK), Agent::open(&LOOPBACK)];
    for (agent, address) in agents.iter_mut().zip(addresses) {
        let services = vec![
            listen_on(0, address, Service::Udp(PORT)),
            listen_on(1, address, Service::Tcp(PORT)),
        ];
        let answer = agent.ask(Ask::Listen { listeners: services });
        assert_eq!(states(answer), [(0, Ok(Listening::Bound)), (1, Ok(Listening::Bound))]);
    }
    for (from, to) in [(0, 1), (1, 0)] {
        let bound = Some(Listening::Bound);
        let id = agents[from].send(probe(vec![
            order(7, addresses[to], ProbeKind::Udp { port: PORT }, bound),
            order(8, addresses[to], ProbeKind::Tcp { port: PORT, tls: false }, bound),
        ]));
        let answers = agents[from].answers_to(id);
        for (probe, sent) in sent(&answers) {
            let sent = sent.as_ref().unwrap();
            assert!(
                sent.answered > 0 && sent.answered == sent.sent,
                "probe {probe}: {sent:?}"
            );
        }
        assert!(
            matches!(answers.last(), Some(Answer::Done { packets }) if *packets > 0),
            "{answers:?}"
        );
        let heard = heard(&mut agents[to]);
        let received: Vec<_> = heard
            .iter()
            .map(|heard| (heard.listener, heard.probe, heard.heard.received > 0))
            .collect();
        assert_eq!(received, [(0, 7, true), (1, 8, true)], "{heard:?}");
    }
    for (mut agent, address) in agents.into_iter().zip(addresses) {
        assert_eq!(agent.ask(Ask::Close {}), Answer::Closed {});
        let end = agent.end();
        assert!(
            end.status.success() && end.last.is_empty() && end.stderr.is_empty(),
            "{end:?}"
        );
        assert!(is_free(address, PORT));
    }
}

#[test]
fn an_agent_says_who_it_is() {
    let mut agent = Agent::start(&["--max-rate", "700", "--max-deadline", "90"]);
    let opened = agent.opened(open());
    assert_eq!(opened.version, PROTOCOL_VERSION);
    assert_eq!((opened.role, opened.node.as_str()), (Role::Node, "here"));
    assert_eq!(opened.agent, env!("CARGO_PKG_VERSION"));
    let limits = opened.limits.unwrap();
    assert_eq!((limits.rate, limits.deadline_seconds), (700, 90));
    assert!(opened.abilities.ipv4);
}

#[test]
fn the_highest_common_version_is_spoken() {
    let opened = |versions: &[u32], options: &[&str]| {
        let versions = versions.to_vec();
        Agent::start(options).opened(Open { versions, ..open() })
    };
    assert_eq!(opened(&[1, 2, 3, 99], &[]).version, 2);
    assert_eq!(opened(&[1], &[]).version, 1);
    assert_eq!(opened(&[1], &[]).limits, None);
    assert_eq!(opened(&[2, 1], &["--highest-version", "1"]).version, 1);
}

#[test]
fn version_1_has_no_hush() {
    let mut agent = Agent::start(&[]);
    agent.opened(Open {
        versions: vec![1],
        ..open()
    });
    let answer = agent.ask(Ask::Hush {});
    assert!(
        matches!(
            answer,
            Answer::Failed {
                kind: FailureKind::Unsupported,
                ..
            }
        ),
        "{answer:?}"
    );
    assert_eq!(agent.ask(Ask::Close {}), Answer::Closed {});
}

#[test]
fn without_a_common_version_there_is_no_session() {
    for versions in [vec![], vec![0], vec![3]] {
        let mut agent = Agent::start(&[]);
        agent.send(Ask::Open(Open { versions, ..open() }));
        expect_end(agent, FailureKind::Version, "versions 1 to 2 are spoken here");
    }
}

#[test]
fn a_key_that_is_none_opens_nothing() {
    let mut agent = Agent::start(&[]);
    agent.send(Ask::Open(Open {
        key: "00".to_owned(),
        ..open()
    }));
    expect_end(agent, FailureKind::Malformed, "hex");
}

#[test]
fn open_comes_first_and_once() {
    let mut agent = Agent::start(&[]);
    agent.send(Ask::Hush {});
    expect_end(agent, FailureKind::OutOfOrder, "must come first");

    let mut agent = Agent::open(&[]);
    agent.send(Ask::Open(open()));
    expect_end(agent, FailureKind::OutOfOrder, "twice");
}

#[test]
fn a_line_that_is_no_request_ends_the_session() {
    let lines: [&[u8]; 9] = [
        b"\n",
        b"hello\n",
        b"{}\n",
        b"{\"id\":7}\n",
        b"{\"id\":7,\"reboot\":{}}\n",
        b"{\"id\":-1,\"hush\":{}}\n",
        b"[1,2]\n",
        b"{\"id\":7,\"hush\":{}\n",
        b"\xff\xfe\n",
    ];
    for line in lines {
        let mut agent = Agent::open(&[]);
        agent.say(line);
        expect_end(agent, FailureKind::Malformed, "");
    }
}

#[test]
fn a_line_is_read_no_further_than_its_limit() {
    let mut agent = Agent::open(&[]);
    agent.say(&vec![b' '; 2 << 20]);
    expect_end(agent, FailureKind::Malformed, "longer than 1048576 bytes");
}

#[test]
fn deep_nesting_is_no_request() {
    let mut agent = Agent::open(&[]);
    let deep = "[".repeat(100_000);
    agent.say(format!("{{\"id\":7,\"hush\":{deep}\n").as_bytes());
    expect_end(agent, FailureKind::Malformed, "inside each other");
}

#[test]
fn half_a_request_is_not_carried_out() {
    let address = own_address();
    let mut agent = Agent::open(&[]);
    agent.say(b"{\"id\":7,\"hush\":{}}");
    agent.hang_up();
    expect_end(agent, FailureKind::Malformed, "inside a line");
    assert!(is_free(address, PORT));
}

#[test]
fn beyond_a_limit_the_request_fails_and_the_session_goes_on() {
    let address = own_address();
    let mut agent = Agent::open(&LOOPBACK);
    let too_much = |answer: Answer| {
        matches!(
            answer,
            Answer::Failed {
                kind: FailureKind::TooMuch,
                ..
            }
        )
    };
    let listener = |id| listen_on(id, address, Service::Udp(10_000 + u16::try_from(id).unwrap()));
    let listeners = (0..=u32::try_from(limits::LISTENERS).unwrap()).map(listener).collect();
    assert!(too_much(agent.ask(Ask::Listen { listeners })));
    assert!(is_free(address, 10_000));
    let names = vec!["a".to_owned(); limits::NAMES + 1];
    assert!(too_much(agent.ask(Ask::NodeFacts { peers: vec![], names })));
    let names = vec!["a".repeat(limits::NAME_BYTES + 1)];
    assert!(too_much(agent.ask(probe(vec![order(
        1,
        address,
        ProbeKind::Resolve { names },
        None
    )]))));
    let samples = limits::SAMPLES + 1;
    let timeout_millis = limits::TIMEOUT_MILLIS;
    assert!(too_much(agent.ask(Ask::Probe {
        probes: vec![],
        rate: 1,
        target_rate: 1,
        timeout_millis,
        samples
    })));
    let answer = agent.ask(Ask::Listen {
        listeners: vec![listener(0)],
    });
    assert_eq!(states(answer), [(0, Ok(Listening::Bound))]);
    assert_eq!(agent.ask(Ask::Close {}), Answer::Closed {});
}

#[test]
fn what_the_owner_does_not_allow_is_refused_one_by_one() {
    let address = own_address();
    let (allowed, elsewhere) = (format!("{address}/32"), own_address());
    let mut agent = Agent::open(&["--allow-target", &allowed, "--allow-port", "8000-8999"]);
    let refused = |result: Result<(), &Unknown>| result.is_err_and(|unknown| unknown.reason == Reason::RefusedByAgent);

    let listeners = vec![
        listen_on(0, address, Service::Udp(22)),
        listen_on(1, address, Service::Udp(PORT)),
        listen_on(2, address, Service::IpProtocol(89)),
    ];
    let states = states(agent.ask(Ask::Listen { listeners }));
    assert_eq!(states[1], (1, Ok(Listening::Bound)));
    assert!(
        refused(states[0].1.as_ref().map(drop)) && refused(states[2].1.as_ref().map(drop)),
        "{states:?}"
    );

    let bound = Some(Listening::Bound);
    let id = agent.send(probe(vec![
        order(0, elsewhere, ProbeKind::Udp { port: PORT }, bound),
        order(1, address, ProbeKind::Udp { port: PORT }, bound),
        order(2, address, ProbeKind::Tcp { port: 22, tls: false }, bound),
        order(3, Ipv4Addr::BROADCAST, ProbeKind::Icmp, None),
    ]));
    let answers = agent.answers_to(id);
    let sent = sent(&answers);
    assert_eq!(sent.len(), 4);
    assert!(sent[1].1.as_ref().is_ok_and(|sent| sent.answered > 0), "{sent:?}");
    for other in [0, 2, 3] {
        assert!(refused(sent[other].1.as_ref().map(drop)), "{:?}", sent[other]);
    }
}

#[test]
fn a_name_is_not_sent_to_where_its_address_is_not_allowed() {
    let mut agent = Agent::open(&[]);
    let by_name = ProbeOrder {
        address: None,
        host: "localhost".to_owned(),
        ..order(1, Ipv4Addr::LOCALHOST, ProbeKind::Tcp { port: PORT, tls: false }, None)
    };
    let id = agent.send(probe(vec![by_name]));
    let answers = agent.answers_to(id);
    let sent = sent(&answers);
    assert!(
        sent[0]
            .1
            .as_ref()
            .is_err_and(|unknown| unknown.reason == Reason::RefusedByAgent),
        "{sent:?}"
    );
}

#[test]
fn a_node_agent_reads_its_kernel_and_no_api() {
    let mut agent = Agent::open(&[]);
    match agent.ask(Ask::NodeFacts {
        peers: vec![Ipv4Addr::LOCALHOST.into()],
        names: vec!["localhost".to_owned()],
    }) {
        Answer::NodeFacts(facts) => {
            assert_eq!(facts.node, "node-1", "as the plan calls it");
            assert!(
                facts
                    .links
                    .ok()
                    .is_some_and(|links| links.iter().any(|link| link.name == "lo")),
                "{facts:?}"
            );
            assert_eq!((facts.paths.len(), facts.names.len()), (1, 1));
        }
        other => panic!("{other:?}"),
    }
    let answer = agent.ask(Ask::ClusterFacts { read_secrets: false });
    assert!(
        matches!(
            answer,
            Answer::Failed {
                kind: FailureKind::Unsupported,
                ..
            }
        ),
        "{answer:?}"
    );
}

#[test]
fn a_port_in_use_is_not_taken() {
    let address = own_address();
    let product = (
        UdpSocket::bind((address, PORT)).unwrap(),
        TcpListener::bind((address, PORT)).unwrap(),
    );
    let mut agent = Agent::open(&LOOPBACK);
    let listeners = vec![
        listen_on(0, address, Service::Udp(PORT)),
        listen_on(1, address, Service::Tcp(PORT)),
    ];
    for (_, state) in states(agent.ask(Ask::Listen { listeners })) {
        assert_ne!(state, Ok(Listening::Bound));
    }
    drop(product);
}

/// An agent that listens on its own address and probes something that does not answer.
fn busy_agent(options: &[&str], open: Open) -> (Agent, Ipv4Addr, UdpSocket) {
    let (address, silent) = (own_address(), UdpSocket::bind((own_address(), PORT)).unwrap());
    let mut agent = Agent::start(&[&LOOPBACK, options].concat());
    agent.opened(open);
    let listeners = vec![
        listen_on(0, address, Service::Udp(PORT)),
        listen_on(1, address, Service::Tcp(PORT)),
    ];
    let answer = agent.ask(Ask::Listen { listeners });
    assert_eq!(states(answer), [(0, Ok(Listening::Bound)), (1, Ok(Listening::Bound))]);
    assert!(!is_free(address, PORT));
    agent.send(endless_probe(&silent));
    // It is under way when its first datagram is here.
    silent.set_read_timeout(Some(process::PATIENCE)).unwrap();
    silent.recv(&mut [0; 2_048]).unwrap();
    (agent, address, silent)
}

#[test]
fn the_deadline_ends_a_session_and_its_probes() {
    let (agent, address, _silent) = busy_agent(
        &[],
        Open {
            deadline_seconds: 2,
            ..open()
        },
    );
    expect_end(agent, FailureKind::Deadline, "time is over");
    assert!(is_free(address, PORT));
}

#[test]
fn the_owners_deadline_counts_if_it_is_sooner() {
    let (agent, address, _silent) = busy_agent(&["--max-deadline", "2"], open());
    expect_end(agent, FailureKind::Deadline, "time is over");
    assert!(is_free(address, PORT));
}

#[test]
fn the_end_of_the_stream_ends_everything() {
    let (mut agent, address, _silent) = busy_agent(&[], open());
    agent.hang_up();
    let end = agent.end();
    assert!(end.last.is_empty(), "{end:?}");
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    assert!(end.stderr.contains("the stream ended before `close`"), "{end:?}");
    assert!(is_free(address, PORT));
}

#[test]
fn close_does_not_wait_for_what_is_under_way() {
    let (mut agent, address, _silent) = busy_agent(&[], open());
    assert_eq!(agent.ask(Ask::Close {}), Answer::Closed {});
    let end = agent.end();
    assert!(end.status.success(), "{end:?}");
    assert!(is_free(address, PORT));
}

#[test]
fn a_signal_ends_everything_and_is_told() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let (agent, address, _silent) = busy_agent(&[], open());
        agent.signal(signal);
        expect_end(agent, FailureKind::Stopped, signal.as_str());
        assert!(is_free(address, PORT));
    }
}

#[test]
fn a_slow_reader_gets_every_answer() {
    const PROBES: u32 = 2_000;
    let address = own_address();
    let mut agent = Agent::open(&LOOPBACK);
    let orders = (0..PROBES)
        .map(|id| order(id, address, ProbeKind::Tcp { port: PORT, tls: false }, None))
        .collect();
    let id = agent.send(probe(orders));
    // More than a pipe holds: the agent has to wait for the reader, which only begins when another session is through.
    two_requests_at_once();
    let answers = agent.answers_to(id);
    let probes: Vec<u32> = sent(&answers).into_iter().map(|(probe, _)| probe).collect();
    assert_eq!(probes, (0..PROBES).collect::<Vec<_>>());
}

fn two_requests_at_once() {
    let mut agent = Agent::open(&[]);
    let ids = [agent.send(probe(vec![])), agent.send(Ask::Hush {})];
    let mut answered = [agent.answer().id, agent.answer().id];
    answered.sort_unstable();
    assert_eq!(answered, ids);
}

#[test]
fn a_reader_that_never_reads_does_not_outlast_the_deadline() {
    let address = own_address();
    let mut agent = Agent::start(&LOOPBACK);
    agent.opened(Open {
        deadline_seconds: 3,
        ..open()
    });
    let orders = (0..20_000)
        .map(|id| order(id, address, ProbeKind::Tcp { port: PORT, tls: false }, None))
        .collect();
    agent.send(probe(orders));
    assert_eq!(agent.end_unread().code(), Some(1));
    assert!(is_free(address, PORT));
}

#[test]
fn more_requests_at_once_than_allowed_end_the_session() {
    let (mut agent, address, _silent) = busy_agent(&[], open());
    for _ in 0..=limits::REQUESTS_AT_ONCE {
        agent.send(probe(vec![]));
    }
    expect_end(agent, FailureKind::TooMuch, "at once");
    assert!(is_free(address, PORT));
}

#[test]
fn wrong_arguments_are_a_usage_error() {
    for arguments in [vec![], vec!["serve"], vec!["session", "--allow-target", "nowhere"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_prejoin-agent"))
            .args(&arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && output.stderr.starts_with(b"prejoin-agent: "),
            "{arguments:?}"
        );
    }
}

#[test]
fn waiting_buries_orphans_and_ends_at_once_when_told() {
    // The shell's child becomes the agent's: an orphan as a container's first process gets them.
    let script = "sleep 0.2 & exec \"$0\" wait";
    let mut waiting = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_prejoin-agent")])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid = waiting.id();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let begun = std::time::Instant::now();
    // A child that has ended stays listed until it is buried.
    while !read("comm").starts_with("prejoin-agent") || !read(&format!("task/{pid}/children")).trim().is_empty() {
        assert!(begun.elapsed() < process::PATIENCE, "the orphan is still there");
        std::thread::yield_now();
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(waiting.wait().unwrap().success());
}
