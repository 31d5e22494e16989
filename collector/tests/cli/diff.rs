//! `prejoin diff`: drift between two documents.

use prejoin_checks::profile::Profile::Clustermesh;
use prejoin_checks::samples::{cilium, report, set_cilium_key};

use super::command::Place;

fn place() -> Place {
    let place = Place::new();
    let mut later = cilium("east", 1);
    place.write_facts("old.json", &later);
    later.collected_at = Some("2031-01-01T00:00:00Z".parse().unwrap());
    place.write_facts("same.json", &later);
    set_cilium_key(&mut later, "tunnel-protocol", Some("geneve\u{1b}[2J"));
    // Written by hand: what `prejoin facts` writes holds no such text.
    let hostile = serde_json::to_string(&later).unwrap();
    place.write("hostile.json", hostile);
    set_cilium_key(&mut later, "tunnel-protocol", Some("geneve"));
    place.write_facts("new.json", &later);
    place.write_facts("west.json", &cilium("west", 2));
    place
}

#[test]
fn documents_that_agree_give_exit_0() {
    let same = place().run(&["diff", "old.json", "same.json"]).exits(0);
    assert_eq!(same.stdout, "no differences\n");
}

#[test]
fn documents_that_differ_give_exit_6_and_a_plan() {
    let place = place();
    let drift = place.run(&["diff", "old.json", "new.json"]).exits(6);
    assert_eq!(
        drift.stdout,
        "~ cilium.config.tunnel-protocol: vxlan -> geneve\n\n0 added, 1 changed, 0 removed\n"
    );
    let json = place.run(&["diff", "old.json", "new.json", "-o=json"]).exits(6).json();
    assert_eq!(
        json["differences"],
        serde_json::json!([{
            "change": "changed",
            "path": "cilium.config.tunnel-protocol",
            "old": "vxlan",
            "new": "geneve",
            "source": { "object": "ConfigMap kube-system/cilium-config" }
        }])
    );
    let colored = place.run(&["diff", "old.json", "new.json", "--color=always"]).exits(6);
    assert!(colored.stdout.starts_with("\u{1b}[33m~\u{1b}[0m cilium"), "{colored:?}");
}

#[test]
fn two_reports_are_compared() {
    let place = place();
    let east = cilium("east", 1);
    let mut west = cilium("west", 2);
    for (name, protocol) in [("before.json", "vxlan"), ("after.json", "geneve")] {
        set_cilium_key(&mut west, "tunnel-protocol", Some(protocol));
        let report = report(Clustermesh, &[east.clone(), west.clone()]);
        place.write(name, serde_json::to_string(&report).unwrap());
    }
    let drift = place.run(&["diff", "before.json", "after.json"]).exits(6);
    assert!(
        drift
            .stdout
            .contains("~ CM302 clustermesh east west: pass: vxlan on east and west -> fail: "),
        "{drift:?}"
    );
    place.run(&["diff", "before.json", "before.json"]).exits(0);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let place = place();
    place
        .run(&["diff", "old.json", "west.json"])
        .exits(2)
        .prints_nothing()
        .says("east and west are different clusters");
    let report = report(Clustermesh, &[cilium("east", 1)]);
    place.write("report.json", serde_json::to_string(&report).unwrap());
    place
        .run(&["diff", "old.json", "report.json"])
        .exits(2)
        .prints_nothing()
        .says("one of old.json and report.json is a report and the other is not");
    place
        .run(&["diff", "old.json", "hostile.json"])
        .exits(2)
        .prints_nothing()
        .says("hostile.json:1:");
}
