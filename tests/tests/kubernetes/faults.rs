//! Faults in the network between real clusters: each is named, and nothing else.

use prejoin_tests::lab::fault::{NodeFault, Port, drop, on_node, tcp, udp};

use super::suite::suite;

#[test]
fn each_fault_in_the_path_is_named_and_nothing_else() {
    let Some(suite) = suite() else { return };
    let Some(lab) = suite.lab() else { return };
    let _agents = suite.agents(&[]);
    let well = suite.audit(&[]).complaints();
    let firewall = NodeFault::FirewallDrops(Port::Udp(8472));
    for (fault, named) in [
        (
            drop(udp(8472).from("east").to("west")),
            "CM501 fail: UDP 8472 from east to west: silent",
        ),
        (
            drop(tcp(4240).from("west").to("east")),
            "CM506 warn: TCP 4240 from west to east: silent",
        ),
        (
            on_node("west-n2", firewall),
            "CM501 fail: UDP 8472 from east to west/west-n2",
        ),
    ] {
        let shown = format!("{fault:?}");
        let made = lab.lab().fault(fault).unwrap();
        let complaints = suite.audit(&[]).complaints();
        lab.lab().heal(made).unwrap();
        let new: Vec<&String> = complaints.difference(&well).collect();
        assert!(new.len() == 1 && new[0].starts_with(named), "{shown}: {new:#?}");
    }
    assert_eq!(suite.audit(&[]).complaints(), well, "healed");
}
