//! What `kubectl kustomize`, `helm template` and `prejoin agents install --print` render are the same objects.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use prejoin_tests::kubernetes::{Programs, REQUIRE};
use prejoin_tests::lab;
use serde_json::Value;

/// Objects by kind, namespace and name.
type Objects = BTreeMap<String, Value>;

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

/// kubectl and helm, built from Go modules; none where there is no Go.
fn tools() -> Option<(PathBuf, PathBuf)> {
    let go = Command::new("go").arg("version").stdout(Stdio::null()).status();
    if !go.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os(REQUIRE).is_none(),
            "there is no Go to build kubectl and helm with"
        );
        eprintln!("SKIPPED: there is no Go to build kubectl and helm with; set {REQUIRE}=1 to make that a failure");
        return None;
    }
    let kubectl = Programs::build().unwrap().path("kubectl");
    Some((kubectl, Programs::helm().unwrap()))
}

fn rendered(mut command: Command) -> Objects {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let yaml = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    let by_name = objects.into_iter().filter(|object| !object.is_null()).map(|object| {
        let metadata = &object["metadata"];
        (
            format!("{} {}/{}", object["kind"], metadata["namespace"], metadata["name"]),
            object,
        )
    });
    by_name.collect()
}

fn printed(arguments: &[&str]) -> Objects {
    let mut command = Command::new(lab::program("prejoin").unwrap());
    command.args(["agents", "install", "--print"]).args(arguments);
    rendered(command)
}

fn templated(helm: &Path, namespace: &str, values: &[&str]) -> Objects {
    let mut command = Command::new(helm);
    command.args([
        "template",
        "prejoin",
        "--namespace",
        namespace,
        "--set",
        "createNamespace=true",
    ]);
    for value in values {
        command.args(["--set", value]);
    }
    command.arg(manifests().join("chart/prejoin"));
    rendered(command)
}

#[track_caller]
fn assert_same(one: &Objects, other: &Objects) {
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    for (name, object) in one {
        assert_eq!(object, &other[name], "{name}");
    }
}

#[test]
fn kustomize_helm_and_print_give_the_same_objects_in_every_mode() {
    let Some((kubectl, helm)) = tools() else { return };
    for (mode, count) in [("node", 5), ("cluster", 10), ("restricted", 10)] {
        let printed = printed(&["--mode", mode]);
        assert_eq!(printed.len(), count, "{mode}");
        let mut kustomize = Command::new(&kubectl);
        kustomize.arg("kustomize").arg(manifests().join("overlays").join(mode));
        assert_same(&printed, &rendered(kustomize));
        assert_same(
            &printed,
            &templated(&helm, "prejoin-system", &[&format!("mode={mode}")]),
        );
    }
}

#[test]
fn a_collector_to_dial_out_to_is_in_all_three_alike() {
    let Some((kubectl, helm)) = tools() else { return };
    let printed_with = printed(&[
        "--collector",
        "https://collector.example:8443",
        "--enroll",
        "replace-me",
    ]);
    assert_eq!(printed_with.len(), 13);
    let mut kustomize = Command::new(&kubectl);
    kustomize.arg("kustomize").arg(manifests().join("overlays/collector"));
    assert_same(&printed_with, &rendered(kustomize));
    let values = [
        "collector.url=https://collector.example:8443",
        "collector.token=replace-me",
    ];
    assert_same(&printed_with, &templated(&helm, "prejoin-system", &values));

    let fingerprint = "0f".repeat(32);
    let printed_with = printed(&[
        "-n",
        "tools",
        "--collector",
        "https://collector.example",
        "--collector-fingerprint",
        &fingerprint,
    ]);
    let fingerprint = format!("collector.fingerprint={fingerprint}");
    let values = ["collector.url=https://collector.example", fingerprint.as_str()];
    assert_same(&printed_with, &templated(&helm, "tools", &values));
}

#[test]
fn helm_and_print_understand_the_same_options() {
    let Some((_, helm)) = tools() else { return };
    let printed = printed(&[
        "-n",
        "tools",
        "--image",
        "registry.example/agent:1",
        "--image-pull-secret",
        "pull",
        "--node-selector",
        "pool=edge,zone=a",
    ]);
    let values = [
        "image=registry.example/agent:1",
        "imagePullSecret=pull",
        "nodeSelector.pool=edge",
        "nodeSelector.zone=a",
    ];
    assert_same(&printed, &templated(&helm, "tools", &values));
}

#[test]
fn the_chart_is_clean() {
    let Some((_, helm)) = tools() else { return };
    let mut lint = Command::new(helm);
    lint.args(["lint", "--strict"]).arg(manifests().join("chart/prejoin"));
    let output = lint.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
