//! `prejoin baseline`, and what `--against` shows.

use prejoin_checks::samples::{cilium, set_cilium_key};
use prejoin_tests::api_server::{ApiServer, Objects};
use prejoin_tests::kubeconfig::{Kubeconfig, User};
use serde_json::{Value, json};

use super::command::{Place, arg, outcome};

/// East and west as they were accepted, and files of what became of them.
fn place() -> Place {
    let place = Place::new();
    place.write_facts("east.json", &cilium("east", 1));
    let mut west = cilium("west", 2);
    place.write_facts("west.json", &west);
    west.collected_at = Some("2031-01-01T00:00:00Z".parse().unwrap());
    place.write_facts("later.json", &west);
    set_cilium_key(&mut west, "debug", Some("true"));
    place.write_facts("neutral.json", &west);
    set_cilium_key(&mut west, "tunnel-protocol", Some("geneve"));
    place.write_facts("broken.json", &west);
    place.write(
        "prejoin.yaml",
        "apiVersion: prejoin.dev/v1alpha1\nprofiles: [clustermesh]\nprobe: none\n",
    );
    place
        .run(&[
            "baseline",
            "accept",
            "east.json",
            "west.json",
            "-f=prejoin.yaml",
            "-o=baseline.json",
        ])
        .exits(0)
        .prints_nothing()
        .says("accepted: 2 clusters for clustermesh: ");
    place
}

const CHECK: [&str; 6] = [
    "check",
    "east.json",
    "-f=prejoin.yaml",
    "--against=baseline.json",
    "--color=never",
    "--allow-unknown",
];

fn drift(report: &Value) -> Vec<String> {
    let lines = report["drift"]["lines"].as_array().unwrap().iter();
    lines
        .map(|line| {
            format!(
                "{} {} {}",
                line["effect"].as_str().unwrap(),
                line["path"].as_str().unwrap(),
                line["codes"]
            )
        })
        .collect()
}

#[test]
fn no_drift_is_no_news() {
    let place = place();
    for file in ["west.json", "later.json"] {
        let report = place.run(&[&CHECK[..], &[file, "-o=json"]].concat()).exits(0).json();
        assert_eq!(drift(&report), [""; 0]);
        assert_eq!(report["exit_code"], 0);
    }
    let shown = place.run(&[&CHECK[..], &["west.json"]].concat()).exits(0);
    assert!(shown.stdout.contains(": none\n"), "{shown:?}");
}

#[test]
fn drift_is_exit_6_and_what_fails_goes_before() {
    let place = place();
    let neutral = place
        .run(&[&CHECK[..], &["neutral.json", "-o=json"]].concat())
        .exits(6)
        .json();
    assert_eq!(drift(&neutral), ["neutral cilium.config.debug null"]);
    let broken = place
        .run(&[&CHECK[..], &["broken.json", "-o=json"]].concat())
        .exits(3)
        .json();
    assert_eq!(
        drift(&broken),
        [
            r#"breaks cilium.config.tunnel-protocol ["CM302"]"#,
            "neutral cilium.config.debug null"
        ]
    );
    assert_eq!(broken["exit_code"], 3);
}

#[test]
fn drift_goes_before_what_is_incomplete() {
    let place = place();
    let args = [
        "check",
        "east.json",
        "neutral.json",
        "--profile=clustermesh",
        "--against=baseline.json",
        "-o=json",
    ];
    place.run(&args).exits(6);
    // Nothing drifted, and flows are still not proven.
    let args = [
        "check",
        "east.json",
        "west.json",
        "--profile=clustermesh",
        "--against=baseline.json",
        "-o=json",
    ];
    assert!([5, 6].contains(&place.run(&args).code));
}

#[test]
fn a_person_sees_what_changed_where_and_what_it_does() {
    let place = place();
    let shown = place
        .run(&[&CHECK[..], &["broken.json", "--width=120"]].concat())
        .exits(3);
    let after = shown.stdout.split("Drift since ").nth(1).unwrap();
    assert!(after.contains("1 breaks, 1 neutral"), "{after}");
    assert!(
        after.contains("breaks   ~ west cilium.config.tunnel-protocol: vxlan -> geneve") && after.contains("CM302"),
        "{after}"
    );
    assert!(
        after.contains("ConfigMap kube-system/cilium-config, first seen "),
        "{after}"
    );
    let markdown = place
        .run(&[&CHECK[..], &["broken.json", "-o=markdown"]].concat())
        .exits(3);
    assert!(
        markdown
            .stdout
            .contains("- **breaks** `~ west cilium.config.tunnel-protocol: vxlan -> geneve` CM302"),
        "{markdown:?}"
    );
    let junit = place.run(&[&CHECK[..], &["broken.json", "-o=junit"]].concat()).exits(3);
    assert!(
        junit.stdout.contains(r#"<testsuite name="drift" tests="2""#),
        "{junit:?}"
    );
}

#[test]
fn a_baseline_says_who_accepted_what_and_when() {
    let place = place();
    let shown = place.run(&["baseline", "show"]).exits(0);
    assert!(shown.stdout.starts_with("accepted 20"), "{shown:?}");
    assert!(
        shown
            .stdout
            .contains("cluster  east, read 2026-11-21T12:00:00Z, facts "),
        "{shown:?}"
    );
    place
        .run(&[
            "baseline",
            "accept",
            "west.json",
            "--profile=clustermesh",
            "--by=me",
            "--note=after the move",
            "-o=mine.json",
        ])
        .exits(0);
    let mine = place.run(&["baseline", "show", "mine.json", "-o=json"]).exits(0).json();
    assert_eq!(mine["accepted"]["by"], "me");
    assert_eq!(mine["accepted"]["note"], "after the move");
    assert_eq!(mine["profiles"], json!(["clustermesh"]));
    place
        .run(&["baseline", "show", "east.json"])
        .exits(2)
        .prints_nothing()
        .says("east.json is no baseline");
}

#[test]
fn a_baseline_is_read_wherever_facts_are() {
    let place = place();
    place
        .run(&[
            "check",
            "baseline.json",
            "--only=CM302",
            "--profile=clustermesh",
            "-o=json",
        ])
        .exits(0);
    place.run(&["diff", "baseline.json", "baseline.json"]).exits(0);
    // And what is no baseline but holds facts can be held against.
    place
        .run(&[
            "check",
            "west.json",
            "-f=prejoin.yaml",
            "--against=neutral.json",
            "--allow-unknown",
        ])
        .exits(6);
}

#[test]
fn what_cannot_be_held_against_is_refused_before_anything_is_asked() {
    let place = place();
    let report = place.run(&["check", "east.json", "-o=json", "--profile=clustermesh"]);
    place.write("report.json", &report.stdout);
    place
        .run(&["audit", "--context=nowhere", "--against=report.json"])
        .exits(2)
        .prints_nothing()
        .says("report.json: this is a report");
    place
        .run(&["audit", "--context=nowhere", "--against=missing.json"])
        .exits(2)
        .prints_nothing()
        .says("missing.json: cannot be read");
}

#[test]
fn the_same_clusters_read_twice_have_not_drifted_and_changed_ones_have() {
    let place = Place::new();
    let audit = |objects: &str, more: &[&str]| {
        let servers = ["east", "west"].map(|name| ApiServer::start(Objects::cluster(&format!("{objects}/{name}"))));
        let kubeconfig = Kubeconfig::new()
            .context("east", &servers[0].url(), User::Token("t".to_owned()))
            .context("west", &servers[1].url(), User::Token("t".to_owned()))
            .write();
        let args = [
            "audit",
            "--context=east",
            "--context=west",
            "--profile=clustermesh",
            "--probe=none",
            "-o=json",
            "--kubeconfig",
            arg(kubeconfig.path()),
        ];
        outcome(&place.command(&[&args[..], more].concat()).output().unwrap())
    };
    audit("good", &["--save=bundle.json"]).exits(0);
    place
        .run(&["baseline", "accept", "bundle.json", "-o=baseline.json"])
        .exits(0);
    // The server is at another port; that is where the cluster is reached, and nothing about it.
    let again = audit("good", &["--against=baseline.json"]).json();
    let lines: Vec<String> = drift(&again)
        .into_iter()
        .filter(|line| !line.contains("api_server"))
        .collect();
    assert_eq!(lines, [""; 0]);
    let broken = audit("broken", &["--against=baseline.json"]).exits(3).json();
    let breaks: Vec<String> = drift(&broken)
        .into_iter()
        .filter(|line| line.starts_with("breaks"))
        .collect();
    assert!(
        breaks.contains(&r#"breaks cilium.config.tunnel-protocol ["CM302"]"#.to_owned()),
        "{breaks:#?}"
    );
    for code in ["CM302", "CM401", "NET101"] {
        assert!(breaks.iter().any(|line| line.contains(code)), "{code} in {breaks:#?}");
    }
}
