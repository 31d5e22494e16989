use crate::facts::ClusterFacts;
use crate::facts::kernel::{Link, Tunnel};
use crate::facts::provenance::{Fact, Reason};
use crate::profile::Profile::Clustermesh;
use crate::report::{Finding, Verdict};
use crate::samples::{
    add_socket, cilium, cluster, findings, kernel_mut, report, set_cilium_key, value_mut, with_agents,
};

fn alone(facts: &ClusterFacts, code: &str) -> Finding {
    findings(&report(Clustermesh, std::slice::from_ref(facts)), code)[0].clone()
}

fn east() -> ClusterFacts {
    with_agents(cilium("east", 1))
}

fn blind(mut facts: ClusterFacts) -> ClusterFacts {
    for kernel in &mut facts.node_facts {
        kernel.sockets = Fact::unknown(Reason::Forbidden, "list sockets: not permitted");
    }
    facts
}

#[test]
fn a_leftover_of_flannel_has_the_tunnels_port() {
    assert_eq!(alone(&east(), "CM927").found, "Cilium's own on east-n1, east-n2");
    let mut facts = east();
    value_mut(&mut kernel_mut(&mut facts, "east-n1").links).push(Link {
        name: "flannel.1".to_owned(),
        kind: "vxlan".to_owned(),
        tunnel: Some(Tunnel {
            port: Some(8472),
            ..Tunnel::default()
        }),
        ..Link::default()
    });
    let found = alone(&facts, "CM927");
    assert_eq!(
        (found.verdict, found.found.as_str()),
        (Verdict::Fail, "flannel.1 has it on east-n1")
    );
    set_cilium_key(&mut facts, "tunnel-port", Some("8473"));
    assert_eq!(alone(&facts, "CM927").verdict, Verdict::Pass);
    set_cilium_key(&mut facts, "routing-mode", Some("native"));
    assert_eq!(alone(&facts, "CM927").verdict, Verdict::Skip);
}

#[test]
fn a_program_has_the_tunnels_port() {
    let mut facts = east();
    set_cilium_key(&mut facts, "tunnel-protocol", Some("geneve"));
    assert_eq!(alone(&facts, "CM927").verdict, Verdict::Pass);
    add_socket(kernel_mut(&mut facts, "east-n2"), "udp", 6081, "");
    assert_eq!(alone(&facts, "CM927").found, "a program of user 0 has it on east-n2");
    add_socket(kernel_mut(&mut facts, "east-n1"), "udp", 6081, "nsx-agent");
    assert!(alone(&facts, "CM927").found.starts_with("nsx-agent has it on east-n1"));
    assert_eq!(alone(&blind(east()), "CM927").verdict, Verdict::Unknown);
}

/// Two audits at once: the agents of one find what those of the other listen on.
#[test]
fn an_agent_of_another_audit_holds_a_port_only_for_a_while() {
    let mut facts = east();
    set_cilium_key(&mut facts, "tunnel-protocol", Some("geneve"));
    add_socket(kernel_mut(&mut facts, "east-n1"), "udp", 6081, "prejoin-agent");
    add_socket(kernel_mut(&mut facts, "east-n1"), "tcp", 4240, "prejoin-agent");
    add_socket(kernel_mut(&mut facts, "east-n2"), "tcp", 4240, "prejoin-cluster");
    assert_eq!(alone(&facts, "CM927").verdict, Verdict::Pass);
    assert_eq!(alone(&facts, "CM928").verdict, Verdict::Pass);
}

#[test]
fn ports_of_ciliums_own_processes() {
    let mut facts = east();
    for (port, program) in [(4240, "cilium-agent"), (9878, "cilium-envoy"), (8080, "nginx")] {
        add_socket(kernel_mut(&mut facts, "east-n1"), "tcp", port, program);
    }
    assert_eq!(alone(&facts, "CM928").verdict, Verdict::Pass);
    add_socket(kernel_mut(&mut facts, "east-n1"), "tcp", 9879, "java");
    let found = alone(&facts, "CM928");
    assert_eq!(
        (found.verdict, found.found.as_str()),
        (Verdict::Warn, "java has TCP 9879 on east-n1")
    );
    assert_eq!(alone(&blind(east()), "CM928").verdict, Verdict::Unknown);
    assert_eq!(alone(&with_agents(cluster("east", 1)), "CM928").verdict, Verdict::Skip);
}

#[test]
fn a_port_of_a_function_that_is_off_may_be_anyones() {
    let mut facts = east();
    add_socket(kernel_mut(&mut facts, "east-n1"), "tcp", 9962, "exporter");
    assert_eq!(alone(&facts, "CM928").verdict, Verdict::Pass);
    set_cilium_key(&mut facts, "prometheus-serve-addr", Some(":9962"));
    assert_eq!(alone(&facts, "CM928").verdict, Verdict::Warn);
}

#[test]
fn a_socket_without_a_name_is_ciliums_where_its_agents_are_ready() {
    let mut facts = east();
    add_socket(kernel_mut(&mut facts, "east-n1"), "tcp", 4240, "");
    assert_eq!(alone(&facts, "CM928").verdict, Verdict::Pass);
    value_mut(&mut facts.workloads)[0].ready = 0;
    assert_eq!(alone(&facts, "CM928").verdict, Verdict::Unknown);
}
