//! What users copy, or get by other tools: the workflow of `examples/github-actions` and the manifest of the kubectl plugin.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prejoin_tests::kubernetes::{Programs, REQUIRE};
use serde_json::Value;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

const WORKFLOW: &str = "examples/github-actions/prejoin.yaml";

#[test]
fn actions_are_pinned_by_commit_with_the_tag_beside_it() {
    let text = fs::read_to_string(file(WORKFLOW)).unwrap();
    let uses: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("uses: "))
        .map(|(_, action)| action)
        .collect();
    assert_eq!(uses.len(), 3, "{uses:?}");
    for action in uses {
        let (name, rest) = action.split_once('@').unwrap();
        let (commit, tag) = rest.split_once(" # v").unwrap();
        assert!(
            commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()),
            "{name}: {commit}"
        );
        assert!(tag.starts_with(|c: char| c.is_ascii_digit()), "{name}: {tag}");
    }
}

/// The version of prejoin that the workflow takes is this one.
#[test]
fn the_workflow_takes_this_version() {
    let text = fs::read_to_string(file(WORKFLOW)).unwrap();
    assert!(text.contains(concat!("ref: v", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn actionlint_has_nothing_to_say() {
    if !Programs::can_be_built() {
        assert!(
            std::env::var_os(REQUIRE).is_none(),
            "there is no Go to build actionlint with"
        );
        eprintln!("SKIPPED: there is no Go to build actionlint with; set {REQUIRE}=1 to make that a failure");
        return;
    }
    let actionlint = Programs::actionlint().unwrap();
    // Neither the shell's linter nor Python's, which a machine may have or not.
    let judge = |path: &Path| {
        let mut command = Command::new(&actionlint);
        command.args(["-no-color", "-shellcheck=", "-pyflakes="]).arg(path);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(judge(&file(WORKFLOW)), (Some(0), String::new()));
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.yaml");
    fs::write(
        &wrong,
        fs::read_to_string(file(WORKFLOW))
            .unwrap()
            .replace("runs-on:", "run-on:"),
    )
    .unwrap();
    assert_eq!(judge(&wrong).0, Some(1));
}

/// As krew-release-bot renders it for a release: `addURIAndSha` gives two lines, the second indented by four.
fn plugin() -> Value {
    let template = fs::read_to_string(file("manifests/krew/prejoin.yaml")).unwrap();
    let tagged = template.replace("{{ .TagName }}", "v1.2.3");
    let lines = tagged.lines().map(|line| match line.split_once("{{addURIAndSha \"") {
        Some((indent, rest)) => {
            let (uri, end) = rest.split_once('"').unwrap();
            assert_eq!(end, " .TagName }}");
            format!("{indent}uri: {uri}\n    sha256: {}", "0a".repeat(32))
        }
        None => line.to_owned(),
    });
    serde_saphyr::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap()
}

/// What krew's own validation asks for.
#[test]
fn the_plugin_s_manifest_is_one_that_krew_takes() {
    let plugin = plugin();
    assert_eq!(plugin["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(plugin["kind"], "Plugin");
    assert_eq!(plugin["metadata"]["name"], "prejoin");
    let spec = &plugin["spec"];
    assert_eq!(spec["version"], "v1.2.3");
    let short = spec["shortDescription"].as_str().unwrap();
    assert!(!short.is_empty() && !short.contains('\n'));
    let platforms = spec["platforms"].as_array().unwrap();
    let mut architectures = Vec::new();
    for platform in platforms {
        let keys: Vec<&String> = platform.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["bin", "selector", "sha256", "uri"]);
        assert_eq!(platform["bin"], "kubectl-prejoin");
        assert_eq!(platform["sha256"].as_str().unwrap().len(), 64);
        let labels = &platform["selector"]["matchLabels"];
        assert_eq!(labels["os"], "linux");
        let architecture = labels["arch"].as_str().unwrap();
        let archive = format!("/v1.2.3/kubectl-prejoin-linux-{architecture}.tar.gz");
        assert!(platform["uri"].as_str().unwrap().ends_with(&archive));
        architectures.push(architecture);
    }
    assert_eq!(architectures, ["amd64", "arm64"]);
}
