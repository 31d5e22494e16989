//! Help that needs no cluster: `checks`, `explain`, `schema`, `completions`.

use serde_json::Value;

use super::command::Place;

#[test]
fn checks_are_listed_for_people_and_programs() {
    let place = Place::new();
    let table = place.run(&["checks", "--width=200"]).exits(0).stdout;
    assert!(table.contains("CM302") && table.contains("tunnel-protocol"), "{table}");
    let list = place.run(&["checks", "-o=json"]).exits(0).json();
    let tunnel = list
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["code"] == "CM302")
        .unwrap();
    assert_eq!(tunnel["severity"], "fail");
    assert_eq!(tunnel["profiles"], serde_json::json!(["clustermesh"]));
    assert_eq!(table.lines().count(), list.as_array().unwrap().len() + 1);
    let submariner = place
        .run(&["checks", "--profile=submariner", "-o=json"])
        .exits(0)
        .json();
    assert!(
        submariner
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["code"] != "CM302")
    );
}

#[test]
fn a_check_is_explained_by_code_or_slug() {
    let place = Place::new();
    let page = place.run(&["explain", "CM302"]).exits(0).stdout;
    assert_eq!(page, place.run(&["explain", "Tunnel-Protocol"]).exits(0).stdout);
    for part in ["CM302", "tunnel-protocol", "Why it matters", "How to fix"] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    let json = place.run(&["explain", "cm302", "-o=json"]).exits(0).json();
    assert!(json["documentation"].as_str().unwrap().contains("## How to fix"));
    place
        .run(&["explain", "CM999"])
        .exits(2)
        .prints_nothing()
        .says("there is no check `CM999`");
}

#[test]
fn pages_keep_to_the_width() {
    let place = Place::new();
    for args in [&["checks", "--width=80"][..], &["explain", "CM302", "--width=60"]] {
        let width = if args[0] == "checks" { 80 } else { 60 };
        for line in place.run(args).exits(0).stdout.lines() {
            assert!(line.chars().count() <= width || !line.trim().contains(' '), "{line}");
        }
    }
}

#[test]
fn every_document_has_a_schema() {
    let place = Place::new();
    for (document, key) in [("report", "findings"), ("facts", "cilium"), ("config", "waivers")] {
        let schema: Value = place.run(&["schema", document]).exits(0).json();
        assert!(schema["properties"][key].is_object(), "{document}");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}

#[test]
fn completions_know_the_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&["completions", shell]).exits(0).stdout;
        assert!(script.contains("explain") && script.contains("kubeconfig"), "{shell}");
    }
}

#[test]
fn help_names_the_exit_codes() {
    let help = Place::new().run(&["--help"]).exits(0).stdout;
    for line in ["2  bad usage, configuration or input", "6  drift"] {
        assert!(help.contains(line), "{help}");
    }
}
