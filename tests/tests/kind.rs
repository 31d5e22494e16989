//! The configurations of `manifests/kind`: kind takes every one, and prejoin tells those that can be joined from those that cannot.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use prejoin_tests::kubernetes::{Programs, REQUIRE};
use prejoin_tests::lab;
use serde_json::{Value, json};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../manifests/kind")
        .join(name)
}

fn yaml(path: &Path) -> Value {
    let read = serde_saphyr::from_str(&fs::read_to_string(path).unwrap());
    assert!(read.is_ok(), "{}: {read:?}", path.display());
    read.unwrap()
}

/// Those of a folder, by the names of their clusters.
fn configurations(folder: &Path) -> BTreeMap<String, Value> {
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let documents = files
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .map(|path| yaml(&path));
    let clusters = documents.filter(|document| document["kind"] == "Cluster");
    clusters
        .map(|cluster| (cluster["name"].as_str().unwrap().to_owned(), cluster))
        .collect()
}

fn cannot_be_joined() -> Vec<String> {
    let folders = folder("cannot-be-joined").read_dir().unwrap();
    folders
        .map(|entry| format!("cannot-be-joined/{}", entry.unwrap().file_name().display()))
        .collect()
}

/// kind, with a `docker` that takes every word down and whose containers, which are none, fail when something is to be done in them.
struct Kind {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Kind {
    /// None where it cannot be built.
    fn build() -> Option<Self> {
        if !Programs::can_be_built() {
            assert!(std::env::var_os(REQUIRE).is_none(), "there is no Go to build kind with");
            eprintln!("SKIPPED: there is no Go to build kind with; set {REQUIRE}=1 to make that a failure");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let docker = folder.path().join("docker");
        let script = r#"#!/bin/sh
echo "$*" >>"$0.words"
case $1 in
    info) echo '{}' ;;
    logs) echo 'Reached target Multi-User System.' ;;
    exec) exit 1 ;;
esac
"#;
        fs::write(&docker, script).unwrap();
        fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self {
            program: Programs::kind().unwrap(),
            folder,
        })
    }

    /// The containers it would have started, each by the words of `docker run`; or what it says of the configuration.
    fn create(&self, configuration: &Path) -> Result<Vec<String>, String> {
        let words = self.folder.path().join("docker.words");
        let _ = fs::remove_file(&words);
        let output = Command::new(&self.program)
            .args(["create", "cluster", "--config"])
            .arg(configuration)
            .env(
                "PATH",
                format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap()),
            )
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env("KIND_EXPERIMENTAL_PROVIDER", "docker")
            .output()
            .unwrap();
        let words = fs::read_to_string(words).unwrap_or_default();
        let containers: Vec<String> = words
            .lines()
            .filter(|line| line.starts_with("run "))
            .map(str::to_owned)
            .collect();
        if containers.is_empty() {
            return Err(String::from_utf8(output.stderr).unwrap());
        }
        Ok(containers)
    }
}

#[test]
fn kind_takes_every_configuration() {
    let Some(kind) = Kind::build() else { return };
    let mut folders = cannot_be_joined();
    folders.extend(["clustermesh", "submariner"].map(str::to_owned));
    for name in folders {
        let folder = folder(&name);
        for (cluster, configuration) in configurations(&folder) {
            let mut containers = kind.create(&folder.join(format!("{cluster}.yaml"))).unwrap();
            containers.sort_unstable();
            // Gateways and members of a mesh are not control planes: there is a second node for them.
            assert_eq!(containers.len(), 2, "{name}: {containers:?}");
            assert!(
                containers[0].starts_with(&format!("run --name {cluster}-control-plane ")),
                "{containers:?}"
            );
            assert!(
                containers[1].starts_with(&format!("run --name {cluster}-worker ")),
                "{containers:?}"
            );
            if let Some(port) = configuration["networking"]["apiServerPort"].as_u64() {
                let published = format!(" --publish=127.0.0.1:{port}:6443/TCP ");
                assert!(containers[0].contains(&published), "{containers:?}");
            }
        }
    }
}

#[test]
fn kind_refuses_what_it_does_not_know_and_ranges_that_are_none() {
    let Some(kind) = Kind::build() else { return };
    let good = fs::read_to_string(folder("clustermesh/east.yaml")).unwrap();
    let file = kind.folder.path().join("wrong.yaml");
    for (from, to, said) in [
        ("podSubnet", "podSubnets", "field podSubnets not found"),
        ("10.11.0.0/16", "10.11.0.0", "invalid pod subnet"),
    ] {
        fs::write(&file, good.replace(from, to)).unwrap();
        assert!(kind.create(&file).unwrap_err().contains(said));
    }
}

/// What `prejoin.yaml` declares of each cluster is what kind and Cilium are told.
#[test]
fn what_prejoin_judges_is_what_kind_makes() {
    let mut folders = cannot_be_joined();
    folders.extend(["clustermesh", "submariner"].map(str::to_owned));
    for name in folders {
        let folder = folder(&name);
        let clusters = configurations(&folder);
        let declared = yaml(&folder.join("prejoin.yaml"));
        let declared = declared["clusters"].as_array().unwrap();
        assert_eq!(declared.len(), clusters.len(), "{name}");
        for entry in declared {
            let cluster = entry["name"].as_str().unwrap();
            let networking = &clusters[cluster]["networking"];
            let range = |key: &str, default: &str| json!([networking[key].as_str().unwrap_or(default)]);
            assert_eq!(
                entry["planned"]["pods"],
                range("podSubnet", "10.244.0.0/16"),
                "{name} {cluster}"
            );
            assert_eq!(
                entry["planned"]["services"],
                range("serviceSubnet", "10.96.0.0/16"),
                "{name} {cluster}"
            );
            let values = folder.join(format!("values-{cluster}.yaml"));
            assert_eq!(
                values.exists(),
                networking["disableDefaultCNI"] == true,
                "{name} {cluster}: Cilium or kindnet"
            );
            if values.exists() {
                let values = yaml(&values);
                assert_eq!(
                    values["cluster"]["id"], entry["planned"]["clusterId"],
                    "{name} {cluster}"
                );
                assert_eq!(
                    values["cluster"]["name"], entry["planned"]["clusterName"],
                    "{name} {cluster}"
                );
                assert_eq!(values["ipam"]["mode"], "kubernetes", "{name} {cluster}");
            }
        }
    }
}

#[test]
fn clusters_on_one_machine_get_in_no_other_s_way() {
    for name in ["clustermesh", "submariner"] {
        let clusters = configurations(&folder(name));
        let mut ports: Vec<u64> = clusters
            .values()
            .map(|cluster| cluster["networking"]["apiServerPort"].as_u64().unwrap())
            .collect();
        ports.sort_unstable();
        assert_eq!(ports, [6441, 6442, 6443], "{name}");
    }
    let mesh_ports = ["east", "west", "north"].map(|cluster| {
        let values = yaml(&folder(&format!("clustermesh/values-{cluster}.yaml")));
        values["clustermesh"]["apiserver"]["service"]["nodePort"]
            .as_u64()
            .unwrap()
    });
    assert_eq!(mesh_ports, [32379, 32380, 32381]);
}

/// Exit code of `prejoin check` on a folder's declaration, and the codes that fail.
fn judged(name: &str) -> (Option<i32>, Vec<String>) {
    let mut command = Command::new(lab::program("prejoin").unwrap());
    command
        .args(["check", "-o", "json", "-f"])
        .arg(folder(name).join("prejoin.yaml"));
    let output = command.output().unwrap();
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let reports = reports.as_array().map_or(vec![&reports], |all| all.iter().collect());
    let findings = reports.iter().flat_map(|report| report["findings"].as_array().unwrap());
    let failed = findings.filter(|finding| finding["verdict"] == "fail");
    let mut codes: Vec<String> = failed
        .map(|finding| finding["code"].as_str().unwrap().to_owned())
        .collect();
    codes.sort_unstable();
    codes.dedup();
    (output.status.code(), codes)
}

#[test]
fn those_that_can_be_joined_pass() {
    for name in ["clustermesh", "submariner"] {
        assert_eq!(judged(name), (Some(0), vec![]), "{name}");
    }
}

#[test]
fn those_that_cannot_be_joined_fail_for_their_reason_alone() {
    let expected = [
        ("equal-cluster-ids", vec!["CM104"]),
        ("equal-ranges", vec!["NET101", "NET104"]),
        ("loopback-broker", vec!["SM010"]),
        ("pods-over-nodes", vec!["NET102"]),
        ("services-in-pods", vec!["NET103"]),
    ];
    let mut there = cannot_be_joined();
    there.sort_unstable();
    assert_eq!(
        there,
        expected.clone().map(|(name, _)| format!("cannot-be-joined/{name}"))
    );
    for (name, codes) in expected {
        let codes: Vec<String> = codes.into_iter().map(str::to_owned).collect();
        assert_eq!(judged(&format!("cannot-be-joined/{name}")), (Some(3), codes), "{name}");
    }
}
