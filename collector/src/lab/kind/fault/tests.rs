use super::*;

/// Two clusters of two nodes.
fn clusters() -> Vec<Vec<Node>> {
    let node = |name: &str, host| Node {
        name: name.to_owned(),
        address: Ipv4Addr::new(172, 18, 0, host),
    };
    vec![
        vec![node("lab-east-control-plane", 2), node("lab-east-worker", 3)],
        vec![node("lab-west-control-plane", 4), node("lab-west-worker", 5)],
    ]
}

/// What the first step reads, or its words if it reads nothing.
fn made(change: &Change) -> String {
    let (command, input) = change.make(Some(1500)).unwrap().remove(0);
    if input.is_empty() { command.join(" ") } else { input }
}

fn undone(change: &Change) -> String {
    let (command, input) = change.undo().remove(0);
    if input.is_empty() { command.join(" ") } else { input }
}

#[test]
fn a_closed_port_is_closed_to_the_other_clusters_on_every_node() {
    let changes = changes(Fault::TunnelPort, &clusters());
    assert_eq!(changes.len(), 4);
    let (node, change) = &changes[1];
    assert_eq!(node, "lab-east-worker");
    assert_eq!(
        made(change),
        "*mangle\n\
         :PREJOIN-tunnel-port - [0:0]\n\
         -A PREJOIN-tunnel-port -s 172.18.0.4/32 -p udp -m multiport --dports 8472,4500 -j DROP\n\
         -A PREJOIN-tunnel-port -s 172.18.0.5/32 -p udp -m multiport --dports 8472,4500 -j DROP\n\
         -I PREROUTING -j PREJOIN-tunnel-port\n\
         COMMIT\n"
    );
    assert_eq!(
        undone(change),
        "*mangle\n-D PREROUTING -j PREJOIN-tunnel-port\n-F PREJOIN-tunnel-port\n-X PREJOIN-tunnel-port\nCOMMIT\n"
    );
}

#[test]
fn one_node_is_the_last_of_the_last_cluster() {
    let changes = changes(Fault::OneNode, &clusters());
    let nodes: Vec<&str> = changes.iter().map(|(node, _)| node.as_str()).collect();
    assert_eq!(nodes, ["lab-west-worker"]);
    assert!(made(&changes[0].1).contains("-A PREJOIN-one-node -s 172.18.0.2/32 -j DROP\n"));
}

#[test]
fn the_first_cluster_gets_a_smaller_mtu_and_its_own_back() {
    let changes = changes(Fault::Mtu, &clusters());
    let nodes: Vec<&str> = changes.iter().map(|(node, _)| node.as_str()).collect();
    assert_eq!(nodes, ["lab-east-control-plane", "lab-east-worker"]);
    assert_eq!(
        made(&changes[0].1),
        "ip link set dev eth0 mtu 1400 alias prejoin-lab-mtu-1500"
    );
    assert!(changes[0].1.make(None).is_err());
    let link = "3: eth0@if9: <UP> mtu 1400 qdisc noqueue\n    alias prejoin-lab-mtu-1500";
    assert_eq!(mtu(link), Some(1400));
    let found = found("", link, "");
    assert_eq!(undone(&found[&Fault::Mtu]), "ip link set dev eth0 mtu 1500 alias ");
}

#[test]
fn what_is_late_is_what_is_for_other_clusters() {
    let changes = changes(Fault::Latency, &clusters());
    assert_eq!(changes.len(), 4);
    let batch = made(&changes[0].1);
    assert!(batch.contains("netem delay 50ms\n"));
    assert!(batch.contains("match ip dst 172.18.0.5/32 flowid 7a7a:4\n") && !batch.contains("172.18.0.3"));
    assert_eq!(undone(&changes[0].1), "tc qdisc del dev eth0 root handle 7a7a:");
}

#[test]
fn faults_are_found_by_what_a_node_says_and_others_rules_are_left_alone() {
    let filters = "*mangle\n:PREROUTING ACCEPT [0:0]\n:PREJOIN-icmp - [0:0]\n:PREJOIN-of-someone - [0:0]\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n";
    let link = "3: eth0@if9: <UP> mtu 1500 qdisc prio\n    alias uplink";
    let queues = "qdisc prio 7a7a: root refcnt 2 bands 4\n";
    let names: Vec<Fault> = found(filters, link, queues).into_keys().collect();
    assert_eq!(names, [Fault::Icmp, Fault::Latency]);
    assert!(found("", link, "qdisc noqueue 0: root refcnt 2").is_empty());
}

/// Names of chains have 28 characters at most.
#[test]
fn every_fault_changes_something_and_has_a_name_that_fits() {
    for fault in Fault::all() {
        let changes = changes(*fault, &clusters());
        assert!(!changes.is_empty(), "{}", fault.name());
        for (_, change) in changes {
            if let Change::Chain { name, rules } = change {
                assert!(name.len() <= 28 && rules.len() == 2, "{name}");
            }
        }
    }
}
