use super::*;
use crate::facts::provenance::{Fact, Reason};
use crate::profile::Profile::Clustermesh;
use crate::samples::{cilium, cilium_mut, findings, report, set_cilium_key, value_mut, with_agents};

/// The differences as a plan shows them.
fn lines(differences: &[Difference]) -> Vec<String> {
    let text = |value: &Option<Value>| match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(_) | Value::Array(_)) => "...".to_owned(),
        Some(other) => other.to_string(),
    };
    differences
        .iter()
        .map(|difference| {
            format!(
                "{} {}: {} -> {}",
                difference.change.sign(),
                difference.path,
                text(&difference.old),
                text(&difference.new)
            )
        })
        .collect()
}

fn changes(change: impl FnOnce(&mut ClusterFacts)) -> Vec<String> {
    let old = cilium("east", 1);
    let mut new = old.clone();
    change(&mut new);
    lines(&facts(&[old], &[new]).unwrap())
}

#[test]
fn nothing_differs_from_itself() {
    assert_eq!(changes(|_| ()), [""; 0]);
}

#[test]
fn what_changes_by_itself_is_no_drift() {
    let same = changes(|facts| {
        facts.collected_at = Some("2030-01-01T00:00:00Z".parse().unwrap());
        facts.collected_by = "9.9.9".to_owned();
        let pods = value_mut(&mut facts.pods);
        pods.running += 7;
        pods.pods[0].count += 7;
        pods.pods[0].last = "10.10.0.99".parse().unwrap();
        value_mut(&mut cilium_mut(facts).endpoints).count += 7;
        value_mut(&mut cilium_mut(facts).identities)[0].count += 7;
    });
    assert_eq!(same, [""; 0]);
}

#[test]
fn what_comes_and_goes_with_pods_and_connections_is_no_drift() {
    use crate::facts::kernel::{BoundSocket, Link, Route};
    let old = with_agents(cilium("east", 1));
    let mut new = old.clone();
    let node = &mut new.node_facts[0];
    node.collected_at = Some("2030-01-01T00:00:00Z".parse().unwrap());
    value_mut(&mut node.links).push(Link {
        index: 99,
        name: "lxc0123456789ab".to_owned(),
        kind: "veth".to_owned(),
        ..Link::default()
    });
    value_mut(&mut node.routes).push(Route {
        destination: "10.10.0.99/32".to_owned(),
        link: "lxc0123456789ab".to_owned(),
        ..Route::default()
    });
    let socket = |port: u16| BoundSocket {
        protocol: "udp".to_owned(),
        address: [0, 0, 0, 0].into(),
        port,
        uid: 0,
        program: "resolver".to_owned(),
    };
    value_mut(&mut node.sockets).push(socket(45_678));
    assert_eq!(
        lines(&facts(std::slice::from_ref(&old), &[new.clone()]).unwrap()),
        [""; 0]
    );
    // A port that is somebody's is.
    value_mut(&mut new.node_facts[0].sockets).push(socket(51_871));
    let drift = facts(&[old], &[new]).unwrap();
    assert_eq!(lines(&drift), ["+ node_facts[east-n1].sockets:  -> ..."]);
}

#[test]
fn a_difference_says_where_it_was_read() {
    let old = cilium("east", 1);
    let mut new = old.clone();
    set_cilium_key(&mut new, "tunnel-protocol", Some("geneve"));
    new.services = Fact::unknown(Reason::Forbidden, "list services: forbidden");
    let drift = facts(std::slice::from_ref(&old), &[new.clone()]).unwrap();
    let read: Vec<_> = drift
        .iter()
        .map(|difference| (difference.source.as_ref().unwrap().object.as_str(), difference.reading))
        .collect();
    assert_eq!(
        read,
        [
            ("ConfigMap kube-system/cilium-config", None),
            ("Services", Some(Reading::Lost))
        ]
    );
    let back = facts(&[new], &[old]).unwrap();
    assert_eq!(back[1].reading, Some(Reading::Gained));
}

#[test]
fn a_block_that_comes_into_use_is_drift() {
    let drift = changes(|facts| {
        let pods = value_mut(&mut facts.pods);
        let mut block = pods.pods[0].clone();
        block.first = "10.99.0.7".parse().unwrap();
        block.last = block.first;
        pods.pods.push(block);
    });
    assert_eq!(drift, ["+ pods.pods:  -> ..."]);
}

#[test]
fn lists_are_matched_by_name_not_by_position() {
    assert_eq!(changes(|facts| value_mut(&mut facts.nodes).reverse()), [""; 0]);
    let drift = changes(|facts| {
        let nodes = value_mut(&mut facts.nodes);
        let mut third = nodes[0].clone();
        third.name = "east-n0".to_owned();
        nodes.insert(0, third);
        nodes[1].kernel = "6.9.0".to_owned();
        nodes.pop();
    });
    assert_eq!(
        drift,
        [
            "+ nodes[east-n0]:  -> ...",
            "~ nodes[east-n1].kernel: 6.8.0-45-generic -> 6.9.0",
            "- nodes[east-n2]: ... -> ",
        ]
    );
}

#[test]
fn a_key_is_added_changed_and_removed() {
    let drift = changes(|facts| {
        set_cilium_key(facts, "tunnel-protocol", Some("geneve"));
        set_cilium_key(facts, "enable-wireguard", Some("true"));
        set_cilium_key(facts, "cluster-id", None);
    });
    assert_eq!(
        drift,
        [
            "- cilium.config.cluster-id: 1 -> ",
            "+ cilium.config.enable-wireguard:  -> true",
            "~ cilium.config.tunnel-protocol: vxlan -> geneve",
        ]
    );
}

#[test]
fn a_fact_that_can_no_longer_be_read_says_why() {
    let drift = changes(|facts| {
        facts.services = Fact::unknown(Reason::Forbidden, "list services: forbidden");
        facts.kubernetes_version = Fact::unknown(Reason::Unreachable, "no answer");
    });
    assert_eq!(
        drift,
        [
            "~ kubernetes_version: v1.36.3 -> unknown: no answer",
            "~ services: known -> unknown: list services: forbidden",
        ]
    );
}

#[test]
fn another_order_of_plain_values_is_drift() {
    let drift = changes(|facts| value_mut(&mut facts.served_apis).reverse());
    assert_eq!(drift, ["~ served_apis: ... -> ..."]);
}

#[test]
fn facts_of_different_clusters_are_refused() {
    let error = facts(&[cilium("east", 1)], &[cilium("west", 2)]).unwrap_err();
    assert!(
        error.to_string().starts_with("east and west are different clusters"),
        "{error}"
    );
    // One cluster that goes by another name now is still that cluster.
    assert_eq!(
        changes(|facts| facts.name = "first".to_owned()),
        ["~ name: east -> first"]
    );
}

#[test]
fn several_clusters_are_matched_by_name() {
    let mut changed = cilium("east", 1);
    set_cilium_key(&mut changed, "tunnel-protocol", Some("geneve"));
    let old = [cilium("east", 1), cilium("west", 2)];
    let new = [cilium("north", 3), changed];
    assert_eq!(
        lines(&facts(&old, &new).unwrap()),
        [
            "~ clusters[east].cilium.config.tunnel-protocol: vxlan -> geneve",
            "+ clusters[north]:  -> ...",
            "- clusters[west]: ... -> ",
        ]
    );
}

#[test]
fn reports_differ_in_verdicts_and_what_was_found() {
    let mut apart = cilium("west", 2);
    let before = report(Clustermesh, &[cilium("east", 1), apart.clone()]);
    assert_eq!(reports(&before, &before), []);
    let mut later = before.clone();
    later.generated_at = "2030-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(reports(&before, &later), []);
    set_cilium_key(&mut apart, "tunnel-protocol", Some("geneve"));
    let after = report(Clustermesh, &[cilium("east", 1), apart]);
    let drift = lines(&reports(&before, &after));
    let has = |start: &str, end: &str| drift.iter().any(|line| line.starts_with(start) && line.ends_with(end));
    assert!(has("~ exit_code: ", " -> 3"), "{drift:#?}");
    assert!(has("~ verdict: ", " -> fail"), "{drift:#?}");
    let found = &findings(&after, "CM302")[0].found;
    assert!(
        has("~ CM302 clustermesh east west: pass: ", &format!(" -> fail: {found}")),
        "{drift:#?}"
    );
}
