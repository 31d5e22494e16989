//! Faults in the network between real clusters: each is named as in the network lab, and nothing else.

use prejoin_tests::lab::fault::{
    Fault, NodeFault, Port, Rejection, drop, everything, icmp, narrow, on_node, reject, tcp, udp,
};

use super::snapshot::Snapshot;
use super::suite::suite;

/// What is broken, and how the one complaint begins that an audit has of it.
fn faults() -> Vec<(Fault, &'static str)> {
    vec![
        (
            drop(udp(8472).from("east").to("west")),
            "CM501 fail: UDP 8472 from east to west: silent",
        ),
        (
            reject(udp(8472).to("west-n1"), Rejection::Prohibited),
            "CM501 fail: UDP 8472 from east to west/west-n1: rejected by 172.31.",
        ),
        (
            on_node("west-n2", NodeFault::FirewallDrops(Port::Udp(8472))),
            "CM501 fail: UDP 8472 from east to west/west-n2: arrives at the node and is dropped there",
        ),
        (
            drop(tcp(32379).from("east").to("west")),
            "CM505 fail: TCP 32379 from east to west: silent",
        ),
        (
            drop(tcp(4240).from("west").to("east")),
            "CM506 warn: TCP 4240 from west to east: silent",
        ),
        (drop(icmp()), "CM507 warn: ICMP echo between all clusters: silent"),
        // A kernel that is told remembers for ten minutes: that would be of the next tests' nodes, too.
        (
            narrow(everything().from("east").to("west"), 1400, false),
            "CM508 fail: path MTU from east to west: 1400 bytes of 1500",
        ),
    ]
}

#[test]
fn each_fault_in_the_path_is_named_and_nothing_else() {
    let Some(suite) = suite() else { return };
    let Some(lab) = suite.lab() else { return };
    let before = Snapshot::of(&suite);
    {
        let _agents = suite.agents(&[]);
        let well = suite.audit(&[]).complaints();
        for (fault, named) in faults() {
            let shown = format!("{fault:?}");
            let made = lab.lab().fault(fault).unwrap();
            let complaints = suite.audit(&[]).complaints();
            lab.lab().heal(made).unwrap();
            let new: Vec<&String> = complaints.difference(&well).collect();
            // Without the tunnel's port, what fits into it cannot be told.
            let of_consequence = |said: &&&String| said.starts_with("CM508 unknown: nothing arrives on UDP 8472");
            let (consequences, causes): (Vec<&String>, Vec<&String>) = new.iter().partition(of_consequence);
            assert!(causes.len() == 1 && causes[0].starts_with(named), "{shown}: {new:#?}");
            assert!(
                consequences.is_empty() || named.contains("UDP 8472"),
                "{shown}: {new:#?}"
            );
        }
        assert_eq!(suite.audit(&[]).complaints(), well, "healed");
    }
    before.assert_unchanged(&suite);
}
