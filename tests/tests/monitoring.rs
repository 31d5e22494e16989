//! What is in `manifests/monitoring` is what Prometheus and Grafana take, and says what it is meant to say.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prejoin_tests::kubernetes::{Programs, REQUIRE};
use serde_json::Value;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../manifests/monitoring")
        .join(name)
}

/// promtool; none where it cannot be had.
fn promtool() -> Option<PathBuf> {
    if !Programs::can_be_built() {
        assert!(std::env::var_os(REQUIRE).is_none(), "promtool cannot be had here");
        eprintln!("SKIPPED: promtool cannot be had here; set {REQUIRE}=1 to make that a failure");
        return None;
    }
    Some(Programs::promtool().unwrap())
}

/// Whether promtool is content with a file, and what it says.
fn judged(promtool: &Path, verb: &str, path: &Path) -> (bool, String) {
    let output = Command::new(promtool).args([verb, "rules"]).arg(path).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn rules_are_what_prometheus_takes_and_fire_when_they_are_meant_to() {
    let Some(promtool) = promtool() else { return };
    for (verb, name) in [("check", "rules.yaml"), ("test", "rules_test.yaml")] {
        let (content, said) = judged(&promtool, verb, &file(name));
        assert!(content, "{said}");
    }
    // The tests can fail: with another threshold they do.
    let folder = tempfile::tempdir().unwrap();
    let rules = fs::read_to_string(file("rules.yaml")).unwrap();
    let wrong = rules.replace(
        "prejoin_agents_heard < prejoin_agents_expected",
        "prejoin_agents_heard > prejoin_agents_expected",
    );
    assert_ne!(rules, wrong);
    fs::write(folder.path().join("rules.yaml"), wrong).unwrap();
    fs::copy(file("rules_test.yaml"), folder.path().join("rules_test.yaml")).unwrap();
    assert!(!judged(&promtool, "test", &folder.path().join("rules_test.yaml")).0);
}

/// Every rule has a test that it fires, and one that it does not.
#[test]
fn every_rule_is_tested_both_ways() {
    let rules: Value = serde_saphyr::from_str(&fs::read_to_string(file("rules.yaml")).unwrap()).unwrap();
    let tests: Value = serde_saphyr::from_str(&fs::read_to_string(file("rules_test.yaml")).unwrap()).unwrap();
    let alerts = rules["groups"][0]["rules"].as_array().unwrap();
    for rule in alerts {
        let name = rule["alert"].as_str().unwrap();
        let all = tests["tests"].as_array().unwrap().iter();
        let of_it: Vec<&Value> = all
            .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
            .filter(|test| test["alertname"] == name)
            .collect();
        let fires = |test: &&Value| test.get("exp_alerts").is_some();
        assert!(of_it.iter().any(fires), "{name} is never seen to fire");
        assert!(!of_it.iter().all(fires), "{name} is never seen not to fire");
        for key in ["summary", "description"] {
            assert!(rule["annotations"][key].is_string(), "{name} has no {key}");
        }
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()));
    }
}

/// The names of metrics that a text has.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("prejoin_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_are_documented() {
    let known = metrics_in(&fs::read_to_string(file("../../docs/metrics.md")).unwrap());
    assert!(known.len() > 20, "{known:?}");
    for name in ["rules.yaml", "rules_test.yaml", "dashboard.json", "README.md"] {
        let text = fs::read_to_string(file(name)).unwrap();
        let unknown: Vec<String> = metrics_in(&text).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{name} asks for {unknown:?}");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file("dashboard.json")).unwrap()).unwrap();
    assert_eq!(dashboard["uid"], "prejoin");
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel:#}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(!panel["targets"].as_array().unwrap().is_empty());
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(x + w <= 24, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another", panel["title"]);
        }
    }
}
