use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::agents::objects::KINDS;

fn namespace(annotations: &serde_json::Value) -> Found {
    let object = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": "prejoin-run-a", "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations,
            "labels": { "app.kubernetes.io/part-of": "prejoin", "prejoin.dev/run": "a" },
        },
    });
    let kind = KINDS.into_iter().find(|kind| kind.name == "Namespace").unwrap();
    Found::of(kind, serde_json::from_value(object).unwrap())
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

#[test]
fn a_run_is_a_leftover_after_its_deadline_and_not_before() {
    let run = namespace(&json!({ DEADLINE: "660" }));
    assert!(!is_expired(&run, at("2026-01-01T00:10:00Z")));
    assert!(is_expired(&run, at("2026-01-01T00:12:00Z")));
}

#[test]
fn what_carries_no_deadline_never_is_a_leftover() {
    for annotations in [json!({}), json!({ DEADLINE: "soon" })] {
        assert!(!is_expired(&namespace(&annotations), at("2036-01-01T00:00:00Z")));
    }
}

#[test]
fn what_others_applied_is_left_alone_and_they_are_named() {
    let mut run = namespace(&json!({}));
    run.owner = Owner::OurManifests("helm".to_owned());
    assert_eq!(
        left_alone(&run).as_deref(),
        Some("Namespace prejoin-run-a: it was applied by helm")
    );
    run.owner = Owner::Us;
    assert_eq!(left_alone(&run), None);
}

fn cluster_wide(kind: &str, subjects: &serde_json::Value) -> Found {
    let kind = KINDS.into_iter().find(|known| known.name == kind).unwrap();
    let object = json!({ "metadata": { "name": "prejoin" }, "subjects": subjects });
    Found::of(kind, serde_json::from_value(object).unwrap())
}

#[test]
fn what_agents_of_another_namespace_use_stays() {
    let others = ["tools".to_owned()];
    let class = cluster_wide("PriorityClass", &json!([]));
    assert!(is_shared(&class, "prejoin-system", Some(&others)));
    assert!(!is_shared(&class, "prejoin-system", Some(&[])));
    assert!(is_shared(&class, "prejoin-system", None), "what is not known stays");

    let bound_to = |namespace: &str| cluster_wide("ClusterRoleBinding", &json!([{ "namespace": namespace }]));
    assert!(is_shared(&bound_to("tools"), "prejoin-system", Some(&others)));
    assert!(!is_shared(&bound_to("prejoin-system"), "prejoin-system", Some(&others)));
    assert!(
        !is_shared(&bound_to("gone"), "prejoin-system", Some(&others)),
        "its agents are gone"
    );
}
