//! Clusters whose agents dial out to a collector at the desk.

use std::process::Command;

use prejoin_collector::serve::store::documents::Kind;
use prejoin_collector::serve::store::{Place, Store};
use prejoin_tests::kubernetes::DESK;
use prejoin_tests::lab;
use prejoin_tests::running::Running;
use serde_json::Value;

use super::snapshot::Snapshot;
use super::suite::{IMAGE, Suite, suite};

/// The flows of a ClusterMesh that start and end at nodes: tunnel, health, echo, path MTU.
const FLOWS: [&str; 4] = ["CM501", "CM506", "CM507", "CM508"];

/// Agents that dial out, in every cluster, until this is dropped.
struct Installed<'a>(&'a Suite);

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        let outcome = self.0.prejoin_everywhere(&["agents", "remove"]);
        if !std::thread::panicking() {
            assert_eq!(outcome.code, 0, "{outcome:#?}");
        }
    }
}

/// The last report that a collector keeps.
fn report(store: &std::path::Path) -> Value {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(async {
        let store = Store::open(&Place::File(store.to_owned())).await.unwrap();
        let audit = store.latest_done("mesh").await.unwrap().unwrap();
        store.document::<Value>(&audit.id, Kind::Report, "").await.unwrap()
    });
    report.unwrap()
}

#[test]
fn agents_that_dial_out_prove_every_flow_until_their_cluster_is_revoked_and_leave_nothing() {
    let Some(suite) = suite() else { return };
    let Some(clusters) = suite.lab() else { return };
    let before = Snapshot::of(&suite);
    let folder = tempfile::tempdir().unwrap();
    let desk = clusters.lab().topology().node(DESK).unwrap().ipv4;
    let config = folder.path().join("server.yaml");
    let enrolled = suite.contexts().join(", ");
    let text = format!(
        "apiVersion: prejoin.dev/v1alpha1\nlisten: {desk}:8443\ngroups:\n- name: mesh\n  profiles: [clustermesh]\n  \
         enrolled: [{enrolled}]\n  schedule: {{cron: '0 0 1 1 *'}}\n"
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let serve = |arguments: &[&str]| -> Command {
        let mut command = suite.command(lab::program("prejoin").unwrap().to_str().unwrap());
        command.arg("serve").args(arguments).args(["-f", config]);
        command
    };
    let mut server = Running::start(serve(&[]));
    server.until("listens on https://");
    let installed = Installed(&suite);
    for context in suite.contexts() {
        let output = serve(&["enroll", context, "-o", "json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let invitation: Value = serde_json::from_slice(&output.stdout).unwrap();
        let said = |key: &str| invitation[key].as_str().unwrap();
        let outcome = suite.prejoin(&[
            "agents",
            "install",
            "--image",
            IMAGE,
            "--context",
            context,
            "--collector",
            said("url"),
            "--enroll",
            said("token"),
            "--collector-fingerprint",
            said("fingerprint"),
        ]);
        assert_eq!(outcome.code, 0, "{outcome:#?}");
    }
    server.until("mesh: audit 1: ");
    let report = report(&folder.path().join("prejoin.db"));
    let nodes = suite
        .contexts()
        .iter()
        .flat_map(|context| suite.names(context, "nodes"));
    for node in nodes {
        for code in FLOWS {
            let paths = report["paths"].as_array().unwrap().iter();
            let proven = |path: &&Value| {
                let is_of = |end: &str| path[end]["node"] == node.as_str();
                let is_flow = path["codes"].as_array().unwrap().iter().any(|known| known == code);
                is_flow && (is_of("from") || is_of("to")) && path["outcome"] == "proven"
            };
            let count = paths.filter(proven).count();
            assert_eq!(count, 2, "{code}: {node} sends and receives: {}", server.heard());
        }
    }
    // The token is gone from the Secret, and a credential is in its place.
    for context in suite.contexts() {
        let keys = [
            "-n",
            "prejoin-system",
            "get",
            "secret",
            "prejoin-collector",
            "-o",
            "jsonpath={.data}",
        ];
        let data: Value = serde_json::from_str(&suite.kubectl(context, &keys)).unwrap();
        assert!(
            data.get("token").is_none() && data.get("credential").is_some(),
            "{context}"
        );
    }
    let revoked = suite.contexts().last().unwrap();
    assert!(serve(&["revoke", revoked]).status().unwrap().success());
    server.until(&format!("cluster {revoked} was refused: its credential serves no more"));
    drop(installed);
    drop(server);
    before.assert_unchanged(&suite);
}
