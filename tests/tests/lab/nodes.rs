//! What is wrong on a node itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use prejoin_tests::lab::What;
use prejoin_tests::lab::fault::{NodeFault, Port, on_node};

use super::{ALL, DATAGRAMS, NONE, two_sites};

#[test]
fn a_smaller_link_loses_what_is_larger_without_a_word() {
    let Some(lab) = two_sites() else { return };
    let sized = |bytes| What::Udp {
        port: 4500,
        count: 1,
        bytes,
    };
    let fault = lab.fault(on_node("west-n1", NodeFault::LinkMtu(1400))).unwrap();
    let large = lab.send("east-n1", "west-n1", sized(1401)).unwrap();
    assert_eq!((large.arrived, large.told), (vec![], vec![]));
    assert_eq!(lab.send("east-n1", "west-n1", sized(1400)).unwrap().answered, [0]);
    assert_eq!(lab.send("east-n1", "west-n2", sized(1500)).unwrap().answered, [0]);
    lab.heal(fault).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", sized(1500)).unwrap().answered, [0]);
}

#[test]
fn a_link_goes_down_and_comes_back() {
    let Some(lab) = two_sites() else { return };
    let fault = lab.fault(on_node("west-n1", NodeFault::LinkDown)).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().arrived, NONE);
    lab.heal(fault).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().answered, ALL);
    assert_eq!(lab.send6("west-n1", "east-n1", DATAGRAMS).unwrap().answered, ALL);
}

#[test]
fn without_a_route_back_packets_arrive_and_no_answer_leaves() {
    let Some(lab) = two_sites() else { return };
    let fault = lab.fault(on_node("west-n1", NodeFault::NoRouteOut)).unwrap();
    let outcome = lab.send("east-n1", "west-n1", DATAGRAMS).unwrap();
    assert_eq!((outcome.arrived, outcome.answered), (ALL.to_vec(), vec![]));
    assert_eq!(
        lab.send("west-n2", "west-n1", DATAGRAMS).unwrap().answered,
        ALL,
        "its own site is next to it"
    );
    lab.heal(fault).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().answered, ALL);
}

#[test]
fn a_strict_kernel_takes_nothing_from_the_other_link() {
    let Some(lab) = two_sites() else { return };
    let fault = lab.fault(on_node("west-n1", NodeFault::StrictReturnPath)).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().arrived, NONE);
    assert_eq!(lab.send("west-n2", "west-n1", DATAGRAMS).unwrap().answered, ALL);
    lab.heal(fault).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().answered, ALL);
}

#[test]
fn a_port_can_belong_to_a_program_or_to_the_kernel() {
    let Some(lab) = two_sites() else { return };
    for taken in [NodeFault::PortTaken(Port::Udp(8472)), NodeFault::VxlanDevice(8472)] {
        let fault = lab.fault(on_node("west-n1", taken)).unwrap();
        assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().arrived, NONE);
        lab.heal(fault).unwrap();
        assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().answered, ALL);
    }
}

#[test]
fn a_hosts_own_firewall_drops_or_rejects_in_its_own_name() {
    let Some(lab) = two_sites() else { return };
    let fault = lab
        .fault(on_node("west-n1", NodeFault::FirewallDrops(Port::Udp(8472))))
        .unwrap();
    let outcome = lab.send("east-n1", "west-n1", DATAGRAMS).unwrap();
    assert_eq!((outcome.arrived, outcome.told), (vec![], vec![]));
    assert_eq!(lab.send("east-n1", "west-n2", DATAGRAMS).unwrap().answered, ALL);
    lab.heal(fault).unwrap();
    let fault = lab
        .fault(on_node("west-n1", NodeFault::FirewallRejects(Port::Udp(8472))))
        .unwrap();
    let told = lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().told;
    let host = "172.31.2.11".parse().unwrap();
    assert!(
        !told.is_empty() && told.iter().all(|&said| said == (3, 13, Some(host))),
        "{told:?}"
    );
    lab.heal(fault).unwrap();
    assert_eq!(lab.send("east-n1", "west-n1", DATAGRAMS).unwrap().answered, ALL);
    lab.fault(on_node("west-n1", NodeFault::FirewallRejects(Port::Tcp(2379))))
        .unwrap();
    let connection = What::Tcp {
        port: 2379,
        listen: true,
    };
    let failure = lab.send("east-n1", "west-n1", connection).unwrap().failure;
    assert_eq!(failure.as_deref(), Some("host unreachable"));
}

#[test]
fn the_processes_of_a_node_are_known_and_those_of_others_are_not_among_them() {
    let Some(lab) = two_sites() else { return };
    let words = lab.command("east-n1", &["cat"]).unwrap();
    let mut cat = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, from) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    to.write_all(b"there\n").unwrap();
    let mut said = String::new();
    BufReader::new(from).read_line(&mut said).unwrap();
    // It has answered, so it is there.
    assert!(lab.processes("east-n1").unwrap().contains(&cat.id()));
    assert!(lab.processes("west-n1").unwrap().is_empty());
    drop(to);
    cat.wait().unwrap();
    assert!(lab.processes("east-n1").unwrap().is_empty());
}
