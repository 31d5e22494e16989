use proptest::prelude::*;

use super::{Cell, End, explain};

const UDP: &str = "UDP 8472";
const TCP: &str = "TCP 4240";
const ICMP: &str = "ICMP echo";

fn end(name: &str) -> End {
    // e1 and e2 are in zone a of east, e3 in zone b; the same for w. A pod of e1 is pod-e1.
    let (pod, name) = name.strip_prefix("pod-").map_or((false, name), |node| (true, node));
    let cluster = if name.starts_with('e') { "east" } else { "west" };
    let zone = if name.ends_with('3') { "b" } else { "a" };
    End {
        cluster: cluster.to_owned(),
        zone: zone.to_owned(),
        node: name.to_owned(),
        pod,
    }
}

/// The mesh, and a pod of the first node of each cluster that connects to the nodes of the other by `service`.
fn with_pods(service: &str, works: impl Fn(&str, &str, &str) -> bool) -> Vec<Cell> {
    let mut cells = mesh(|from, to, service, _| works(from, to, service));
    for (from, to) in [("pod-e1", ["w1", "w2", "w3"]), ("pod-w1", ["e1", "e2", "e3"])] {
        let both = to.iter().flat_map(|to| [(to, false), (to, true)]);
        cells.extend(both.map(|(to, ipv6)| Cell {
            from: end(from),
            to: end(to),
            service: service.to_owned(),
            ipv6,
            two_way: true,
            works: Some(works(from, to, service)),
        }));
    }
    cells
}

/// All nodes of both clusters to all of the other, over all services; `works` decides.
fn mesh(works: impl Fn(&str, &str, &str, bool) -> bool) -> Vec<Cell> {
    let (east, west) = (["e1", "e2", "e3"], ["w1", "w2", "w3"]);
    let pairs = east
        .iter()
        .flat_map(|e| west.iter().flat_map(move |w| [(*e, *w), (*w, *e)]));
    pairs
        .flat_map(|(from, to)| {
            [UDP, TCP, ICMP]
                .into_iter()
                .flat_map(move |service| [false, true].map(|ipv6| (from, to, service, ipv6)))
        })
        .map(|(from, to, service, ipv6)| Cell {
            from: end(from),
            to: end(to),
            service: service.to_owned(),
            ipv6,
            two_way: service != UDP,
            works: Some(works(from, to, service, ipv6)),
        })
        .collect()
}

fn causes(cells: &[Cell]) -> Vec<String> {
    explain(cells).iter().map(|one| one.scope.to_string()).collect()
}

#[test]
fn where_everything_works_there_is_no_cause() {
    assert_eq!(causes(&mesh(|_, _, _, _| true)), Vec::<String>::new());
}

#[test]
fn one_fault_has_one_cause() {
    type Works = fn(&str, &str, &str, bool) -> bool;
    let cases: [(Works, &str); 9] = [
        (|_, _, _, _| false, "everything between all clusters"),
        (|_, _, service, _| service != UDP, "UDP 8472 between all clusters"),
        (
            |from, _, service, _| !(service == UDP && from.starts_with('e')),
            "UDP 8472 from east to west",
        ),
        (
            |_, to, service, _| !(service == UDP && to == "w2"),
            "UDP 8472 from east to west/w2",
        ),
        (
            |from, _, service, _| !(service == UDP && from == "w2"),
            "UDP 8472 from west/w2 to east",
        ),
        (
            |_, to, service, _| !(service == TCP && to.starts_with('w') && !to.ends_with('3')),
            "TCP 4240 from east to zone a of west",
        ),
        (
            |from, to, _, _| from != "e1" && to != "e1",
            "everything to and from east/e1",
        ),
        (|_, _, _, ipv6| !ipv6, "all IPv6 between all clusters"),
        (
            |from, to, service, _| !(service == UDP && from == "e1" && to == "w3"),
            "UDP 8472 from east/e1 to west/w3",
        ),
    ];
    for (works, cause) in cases {
        assert_eq!(causes(&mesh(works)), [cause]);
    }
}

#[test]
fn a_missing_way_back_takes_what_needs_an_answer_with_it() {
    // West cannot send to east: UDP from east still arrives, but neither TCP nor ICMP of either side gets an answer.
    let cells = mesh(|from, _, service, _| from.starts_with('e') && service == UDP);
    assert_eq!(causes(&cells), ["everything from west to east"]);
}

#[test]
fn two_faults_have_two_causes() {
    let cells = mesh(|from, to, service, _| !(service == UDP && from.starts_with('e') || service == TCP && to == "e2"));
    assert_eq!(
        causes(&cells),
        ["UDP 8472 from east to west", "TCP 4240 from west to east/e2"]
    );
}

#[test]
fn two_nodes_that_only_ever_met_each_other_are_both_suspects() {
    let mut cells = mesh(|from, to, _, _| ![from, to].contains(&"e1"));
    cells.retain(|cell| {
        let ends = [cell.from.node.as_str(), cell.to.node.as_str()];
        !ends.contains(&"e1") && !ends.contains(&"w1") || ends.contains(&"e1") && ends.contains(&"w1")
    });
    assert_eq!(causes(&cells), ["everything between east/e1 and west/w1"]);
}

#[test]
fn a_node_takes_its_pods_with_it() {
    let cells = with_pods("TCP 32379", |from, to, _| !from.ends_with("w1") && to != "w1");
    assert_eq!(causes(&cells), ["everything to and from west/w1"]);
}

#[test]
fn pods_that_fail_where_their_node_does_not_are_named() {
    let cells = with_pods(TCP, |from, _, _| from != "pod-w1");
    assert_eq!(causes(&cells), ["TCP 4240 from pods of west/w1 to east"]);
    let only_the_node = with_pods(TCP, |from, _, service| !(from == "w1" && service == TCP));
    assert_eq!(causes(&only_the_node), ["TCP 4240 from west/w1 to east"]);
}

#[test]
fn what_pods_alone_send_fails_for_the_cluster_and_not_for_the_one_pod() {
    let cells = with_pods("TCP 32379", |from, _, _| from != "pod-e1");
    assert_eq!(causes(&cells), ["TCP 32379 from east to west"]);
}

#[test]
fn what_could_not_be_told_is_no_contradiction() {
    let mut cells = mesh(|_, to, service, _| !(service == UDP && to == "w2"));
    for cell in cells.iter_mut().filter(|cell| cell.from.node == "e3") {
        cell.works = None;
    }
    assert_eq!(causes(&cells), ["UDP 8472 from east to west/w2"]);
}

proptest! {
    #[test]
    fn every_failure_is_explained_once_and_no_success_ever(pattern in proptest::collection::vec(any::<bool>(), 128)) {
        let mut cells = mesh(|_, _, _, _| true);
        // Some probes are made twice, and may come out differently.
        let twice: Vec<Cell> = cells.iter().take(20).cloned().collect();
        cells.extend(twice);
        for (cell, works) in cells.iter_mut().zip(&pattern) {
            cell.works = Some(*works);
        }
        let mut explained: Vec<usize> = explain(&cells).into_iter().flat_map(|one| one.cells).collect();
        explained.sort_unstable();
        let failed: Vec<usize> = (0..cells.len()).filter(|at| cells[*at].works == Some(false)).collect();
        prop_assert_eq!(explained, failed);
    }
}
