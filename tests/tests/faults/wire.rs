//! What an audit puts on the wire, as the router between the sites counts it: what the plan said, and nothing that could do harm.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::time::Instant;

use prejoin_tests::lab::fault::{NodeFault, Port, drop, everything, on_node};
use prejoin_tests::lab::{Lab, Node, Seen, Traffic};

use super::clusters;
use super::scenario::Scenario;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Of Submariner's NAT discovery, whose listener does not survive everything.
const NAT_DISCOVERY: u16 = 4490;

/// Numbers of the line that says what a plan costs.
#[derive(Debug)]
struct Announced {
    healthy_packets: usize,
    most_packets: usize,
    most_in_a_second: usize,
}

impl Announced {
    /// As `--dry-run` says it.
    fn of(scenario: &Scenario) -> Self {
        let output = scenario.prejoin(&["--dry-run"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.contains("packets a second")).unwrap();
        let numbers: Vec<usize> = line
            .split([' ', ',', ':', ';'])
            .filter_map(|word| word.parse().ok())
            .collect();
        // Probes, agents; packets, kB, seconds; at most packets, kB, seconds; packets a second.
        let [_, _, healthy_packets, _, _, most_packets, _, _, most_in_a_second] = numbers[..] else {
            panic!("another line: {line}")
        };
        Self {
            healthy_packets,
            most_packets,
            most_in_a_second,
        }
    }
}

/// The traffic of one audit. What crosses between nodes is in it once, as it left its sender.
fn wire_of(scenario: &Scenario) -> Traffic {
    scenario.lab.traffic().unwrap();
    scenario.audit();
    scenario.lab.traffic().unwrap()
}

/// Packets by what they are: protocol, destination port of those that have one below the ephemeral ones, type and code of ICMP.
fn kinds(traffic: &Traffic) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for seen in traffic.of_nodes() {
        let port = seen.ports.map(|(from, to)| from.min(to));
        *counts
            .entry(format!("protocol {} port {port:?} ICMP {:?}", seen.protocol, seen.icmp))
            .or_default() += 1;
    }
    counts
}

/// Packets by the two ends that exchanged them, the end that spoke first first.
fn conversations(traffic: &Traffic) -> BTreeMap<(u8, Ends), [Vec<&Seen>; 2]> {
    let mut found: BTreeMap<(u8, Ends), [Vec<&Seen>; 2]> = BTreeMap::new();
    for seen in traffic.of_nodes() {
        let (from, to) = seen.ports.unwrap_or_default();
        let asked = Ends([(seen.source, from), (seen.destination, to)]);
        let answered = Ends([asked.0[1], asked.0[0]]);
        if let Some([_, answers]) = found.get_mut(&(seen.protocol, answered)) {
            answers.push(seen);
        } else {
            found.entry((seen.protocol, asked)).or_default()[0].push(seen);
        }
    }
    found
}

/// Who asks, and who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ends([(IpAddr, u16); 2]);

/// Between two addresses alone it does not show who answers whom: both may ask.
fn tells_who_asked(protocol: u8) -> bool {
    [TCP, UDP].contains(&protocol)
}

#[track_caller]
fn assert_harmless(scenario: &Scenario, traffic: &Traffic) {
    let topology = scenario.lab.topology();
    let planned: Vec<IpAddr> = topology.nodes().flat_map(Node::addresses).collect();
    for seen in traffic.of_nodes() {
        assert!(
            planned.contains(&seen.destination),
            "an address outside the plan: {seen:?}"
        );
        if seen.protocol == UDP && seen.ports.is_some_and(|(_, to)| to == NAT_DISCOVERY) {
            assert!(
                seen.payload_bytes > 0,
                "an empty datagram to the listener of NAT discovery"
            );
            // A message of version 1 whose third field is there is a response; requests are the second.
            assert!(
                !seen.head.starts_with(&[8, 1, 0x1a]),
                "a response to the listener of NAT discovery"
            );
        }
    }
    for ((protocol, ends), [questions, answers]) in conversations(traffic) {
        let bytes = |packets: &[&Seen]| packets.iter().map(|seen| u64::from(seen.bytes)).sum::<u64>();
        if tells_who_asked(protocol) {
            let (asked, answered) = (bytes(&questions), bytes(&answers));
            // What a kernel repeats of a connection that is not confirmed is its own.
            assert!(
                answered <= asked || protocol == TCP,
                "{answered} bytes answer {asked}: {protocol} {ends:?}"
            );
            let longest = |packets: &[&Seen]| packets.iter().map(|seen| seen.bytes).max();
            assert!(
                longest(&answers) <= longest(&questions),
                "an answer larger than any question: {protocol} {ends:?}"
            );
        }
    }
}

/// Nothing of the audit is left in any node or pod: no process, and no socket.
#[track_caller]
fn assert_nothing_left(scenario: &Scenario) {
    for place in scenario.lab.places() {
        let files = [
            "tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6", "icmp", "icmp6", "packet",
        ];
        let files: Vec<String> = files.iter().map(|file| format!("/proc/net/{file}")).collect();
        let cat = format!(
            "for file in {}; do [ ! -e $file ] || tail -n +2 $file; done",
            files.join(" ")
        );
        let command = scenario.lab.command(place, &["/bin/sh", "-c", &cat]).unwrap();
        let output = Command::new(&command[0]).args(&command[1..]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        // What the kernel keeps of a connection that never came about belongs to nobody, and it forgets it by itself.
        let half_open = |line: &&str| line.split_whitespace().nth(3) == Some("03");
        let text = String::from_utf8(output.stdout).unwrap();
        let left: Vec<&str> = text.lines().filter(|line| !half_open(line)).collect();
        assert!(left.is_empty(), "sockets left in {place}: {left:#?}");
        assert!(
            scenario.lab.processes(place).unwrap().is_empty(),
            "processes left in {place}"
        );
    }
}

#[test]
fn the_router_counts_what_the_dry_run_announced() {
    for scenario in [
        Scenario::larger_clustermesh(),
        Scenario::submariner(),
        Scenario::dual_stack(),
    ] {
        let Some(scenario) = scenario else { return };
        let announced = Announced::of(&scenario);
        let traffic = wire_of(&scenario);
        assert_eq!(
            traffic.of_nodes().count(),
            announced.healthy_packets,
            "{announced:?}; {:#?}",
            kinds(&traffic)
        );
        assert!(traffic.busiest_second() <= announced.most_in_a_second, "{announced:?}");
        assert_harmless(&scenario, &traffic);
        assert_nothing_left(&scenario);
    }
}

#[test]
fn where_nothing_answers_no_more_is_sent_than_was_announced_and_nothing_is_left() {
    let Some(scenario) = Scenario::larger_clustermesh() else {
        return;
    };
    scenario.lab.fault(drop(everything().from("east"))).unwrap();
    let announced = Announced::of(&scenario);
    let traffic = wire_of(&scenario);
    let sent = traffic.of_nodes().count();
    assert!(sent <= announced.most_packets, "{sent}; {announced:?}");
    assert!(traffic.busiest_second() <= announced.most_in_a_second, "{announced:?}");
    assert_harmless(&scenario, &traffic);
    assert_nothing_left(&scenario);
}

#[test]
fn a_listener_of_nat_discovery_is_sent_nothing_that_could_stop_it() {
    let Some(scenario) = Scenario::submariner() else { return };
    let taken = NodeFault::PortTaken(Port::Udp(NAT_DISCOVERY));
    for node in ["east-n2", "west-n2"] {
        scenario.lab.fault(on_node(node, taken.clone())).unwrap();
    }
    let traffic = wire_of(&scenario);
    let to_it = |seen: &&Seen| seen.ports.is_some_and(|(_, to)| to == NAT_DISCOVERY);
    let asked: Vec<&Seen> = traffic.of_nodes().filter(to_it).collect();
    assert!(!asked.is_empty(), "it is asked");
    assert_harmless(&scenario, &traffic);
}

/// `cargo test --release -p prejoin-tests --test faults -- --ignored --nocapture fifty`: the figures of docs/performance.md.
#[test]
#[ignore = "a measurement: to be read, on a machine that does nothing else"]
fn fifty_nodes_a_side() {
    let lab = || Lab::new().ipv4_only().site("east", 50).site("west", 50);
    let Some(scenario) = Scenario::of(lab(), "clustermesh", clusters::cilium) else {
        return;
    };
    let announced = Announced::of(&scenario);
    println!("{announced:?}");
    let measure = |what: &str| {
        scenario.lab.traffic().unwrap();
        let begun = Instant::now();
        let report = scenario.audit();
        let took = begun.elapsed();
        let traffic = scenario.lab.traffic().unwrap();
        println!(
            "{what}: {:.2} s, {} packets, {} in the busiest second, flows {:?}, exit code {}",
            took.as_secs_f64(),
            traffic.of_nodes().count(),
            traffic.busiest_second(),
            report.coverage.flows,
            report.exit_code
        );
        let sent = traffic.of_nodes().count();
        if sent != announced.healthy_packets {
            println!("{:?}", kinds(&traffic));
        }
        sent
    };
    for _ in 0..3 {
        // A machine that does something else answers late, and what is late is asked again.
        assert!(measure("healthy") <= announced.most_packets);
    }
    // One link in ten.
    for (site, number) in ["east", "west"]
        .iter()
        .flat_map(|site| (1..=5).map(move |number| (site, 10 * number)))
    {
        let node = format!("{site}-n{number}");
        scenario.lab.fault(drop(everything().from(&node))).unwrap();
        scenario.lab.fault(drop(everything().to(&node))).unwrap();
    }
    for _ in 0..3 {
        assert!(measure("one link in ten dead") <= announced.most_packets);
    }
}
