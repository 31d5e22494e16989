//! Without a fault everything arrives, and everything is seen by the router.

use std::process::Command;

use prejoin_tests::lab::{Lab, What};

use super::{ALL, DATAGRAMS, two_sites};

#[test]
fn a_healthy_lab_carries_everything_both_ways() {
    let Some(lab) = two_sites() else { return };
    for (from, to) in [("east-n1", "west-n2"), ("west-n2", "east-n1"), ("east-n1", "east-n2")] {
        let datagrams = lab.send(from, to, DATAGRAMS).unwrap();
        assert_eq!(
            (datagrams.arrived.as_slice(), datagrams.answered.as_slice()),
            (&ALL[..], &ALL[..])
        );
        assert_eq!(datagrams.told, []);
        assert_eq!(lab.send6(from, to, DATAGRAMS).unwrap().answered, ALL);
        let connection = What::Tcp {
            port: 2379,
            listen: true,
        };
        assert_eq!(lab.send(from, to, connection.clone()).unwrap().read, "welcome");
        assert_eq!(lab.send6(from, to, connection).unwrap().read, "welcome");
        assert_eq!(lab.send(from, to, What::Ping { count: 3 }).unwrap().answered, [0, 1, 2]);
        assert_eq!(
            lab.send6(from, to, What::Ping { count: 3 }).unwrap().answered,
            [0, 1, 2]
        );
        let esp = What::Raw { protocol: 50, count: 3 };
        assert_eq!(lab.send(from, to, esp).unwrap().arrived, [0, 1, 2]);
    }
}

#[test]
fn the_receiver_sees_the_senders_own_address() {
    let Some(lab) = two_sites() else { return };
    let outcome = lab.send("east-n2", "west-n1", DATAGRAMS).unwrap();
    let seen: Vec<_> = outcome.seen_from.iter().map(|seen| seen.ip().to_string()).collect();
    assert_eq!(seen, ["172.31.1.12"]);
}

#[test]
fn nothing_is_on_the_wire_but_what_was_sent() {
    let Some(lab) = two_sites() else { return };
    assert_eq!(lab.traffic().unwrap().0, []);
    lab.send("east-n1", "west-n1", DATAGRAMS).unwrap();
    let traffic = lab.traffic().unwrap();
    let questions = traffic
        .0
        .iter()
        .filter(|seen| seen.sender.as_deref() == Some("east-n1"));
    assert_eq!(questions.clone().count(), 5);
    assert!(
        questions
            .clone()
            .all(|seen| seen.bytes == 100 && seen.payload_bytes == 72)
    );
    assert!(
        questions
            .clone()
            .all(|seen| seen.receiver.as_deref() == Some("west-n1"))
    );
    assert_eq!(
        traffic.0.len(),
        10,
        "each was answered once, and nobody said anything else"
    );
    assert_eq!(traffic.busiest_second(), 10);
}

#[test]
fn a_full_packet_passes_and_a_larger_one_is_told_so_by_its_own_link() {
    let Some(lab) = two_sites() else { return };
    let full = |bytes| What::Udp {
        port: 4500,
        count: 1,
        bytes,
    };
    assert_eq!(lab.send("east-n1", "west-n1", full(1500)).unwrap().answered, [0]);
    let traffic = lab.traffic().unwrap();
    assert_eq!(traffic.0.iter().map(|seen| seen.bytes).max(), Some(1500));
}

#[test]
fn a_program_started_in_a_node_sees_that_nodes_network() {
    let Some(lab) = two_sites() else { return };
    let command = lab
        .command("west-n2", &["cat", "/proc/net/fib_trie", "/proc/sys/kernel/hostname"])
        .unwrap();
    let output = Command::new(&command[0]).args(&command[1..]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("172.31.2.12") && !text.contains("172.31.2.11"), "{text}");
    assert!(text.trim_end().ends_with("west-n2"), "{text}");
}

#[test]
fn fifty_nodes_a_side_are_up_at_once() {
    let Some(lab) = Lab::new().site("east", 50).site("west", 50).up().unwrap() else {
        return;
    };
    let flood = What::Udp {
        port: 8472,
        count: 2_000,
        bytes: 60,
    };
    let outcome = lab.send("east-n50", "west-n50", flood).unwrap();
    assert!(
        outcome.arrived.len() > 1_000,
        "the rest may have found the receiver's buffer full: {}",
        outcome.arrived.len()
    );
}
