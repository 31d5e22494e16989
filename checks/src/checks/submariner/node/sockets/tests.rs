use super::super::support::{alone, joined, ready, refused, verdict};
use crate::facts::ClusterFacts;
use crate::facts::kernel::{Link, Tunnel};
use crate::report::Verdict;
use crate::samples::{add_socket, cilium, kernel_mut, submariner_config_mut, value_mut, with_agents};

fn with(mut facts: ClusterFacts, node: &str, protocol: &str, port: u16, program: &str) -> ClusterFacts {
    add_socket(kernel_mut(&mut facts, node), protocol, port, program);
    facts
}

fn blind(facts: ClusterFacts) -> ClusterFacts {
    refused(facts, |kernel| &mut kernel.sockets)
}

#[test]
fn a_vpn_of_the_host_on_a_gateway() {
    assert_eq!(verdict(&ready(), "SM458"), Verdict::Pass);
    let charon = alone(&with(ready(), "east-n2", "udp", 4500, "charon"), "SM458");
    assert_eq!(
        (charon.verdict, charon.found.as_str()),
        (Verdict::Fail, "charon has UDP 4500 on east-n2")
    );
    assert_eq!(
        verdict(&with(ready(), "east-n2", "udp", 500, "pluto"), "SM458"),
        Verdict::Fail
    );
    assert_eq!(
        verdict(&with(ready(), "east-n2", "udp", 4490, ""), "SM458"),
        Verdict::Fail
    );
    assert_eq!(
        verdict(&with(ready(), "east-n1", "udp", 4500, "charon"), "SM458"),
        Verdict::Pass
    );
    assert_eq!(verdict(&blind(ready()), "SM458"), Verdict::Unknown);
}

#[test]
fn a_members_own_processes_may_listen() {
    let own = with(joined(), "east-n2", "udp", 4500, "pluto");
    let own = with(own, "east-n2", "udp", 4490, "submariner-gate");
    assert_eq!(verdict(&own, "SM458"), Verdict::Pass);
    // The agent may not see whose it is; a gateway that is ready could not be so without its ports.
    let mut unnamed = with(joined(), "east-n2", "udp", 4490, "");
    unnamed
        .node_facts
        .iter_mut()
        .for_each(|kernel| value_mut(&mut kernel.links).retain(|link| link.kind != "vxlan"));
    assert_eq!(verdict(&unnamed, "SM458"), Verdict::Pass);
    let daemon_sets = &mut submariner_config_mut(&mut unnamed).daemon_sets;
    daemon_sets.insert("gateway".to_owned(), "0 of 1 ready".to_owned());
    assert_eq!(verdict(&unnamed, "SM458"), Verdict::Unknown);
}

#[test]
fn the_port_between_nodes() {
    assert_eq!(verdict(&ready(), "SM455"), Verdict::Pass);
    assert_eq!(verdict(&joined(), "SM455"), Verdict::Pass);
    let mut taken = ready();
    value_mut(&mut kernel_mut(&mut taken, "east-n1").links).push(Link {
        name: "vxlan.other".to_owned(),
        kind: "vxlan".to_owned(),
        tunnel: Some(Tunnel {
            port: Some(4800),
            ..Tunnel::default()
        }),
        ..Link::default()
    });
    assert_eq!(alone(&taken, "SM455").found, "vxlan.other has UDP 4800 on east-n1");
    assert_eq!(
        verdict(&with(ready(), "east-n1", "udp", 4800, "game"), "SM455"),
        Verdict::Fail
    );
    value_mut(&mut taken.nodes).truncate(1);
    assert_eq!(verdict(&taken, "SM455"), Verdict::Skip);
    assert_eq!(verdict(&blind(ready()), "SM455"), Verdict::Unknown);
}

#[test]
fn ports_of_metrics() {
    assert_eq!(verdict(&ready(), "SM456"), Verdict::Pass);
    assert_eq!(
        verdict(&with(ready(), "east-n2", "tcp", 32780, "java"), "SM456"),
        Verdict::Warn
    );
    assert_eq!(
        verdict(&with(ready(), "east-n1", "tcp", 32780, "java"), "SM456"),
        Verdict::Pass
    );
    assert_eq!(
        alone(&with(ready(), "east-n1", "tcp", 32782, "java"), "SM456").found,
        "java has TCP 32782 on east-n1"
    );
    assert_eq!(
        verdict(&with(joined(), "east-n2", "tcp", 32780, "submariner-gate"), "SM456"),
        Verdict::Pass
    );
    assert_eq!(verdict(&blind(ready()), "SM456"), Verdict::Unknown);
}

#[test]
fn the_loopback_port_for_cilium() {
    assert_eq!(verdict(&ready(), "SM457"), Verdict::Skip);
    let facts = with_agents(cilium("east", 1));
    assert_eq!(verdict(&facts, "SM457"), Verdict::Pass);
    assert_eq!(
        verdict(&with(facts.clone(), "east-n1", "tcp", 12379, "etcd"), "SM457"),
        Verdict::Fail
    );
    assert_eq!(verdict(&blind(facts), "SM457"), Verdict::Unknown);
}
