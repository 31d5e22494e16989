//! Clusters that are too old, or of another time: each is named with its reason, nothing is changed in it, and the others are read.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

use std::process::Command;

use prejoin_tests::api_server::{ApiServer, Objects};
use prejoin_tests::kubeconfig::{Kubeconfig, KubeconfigFile, User};
use prejoin_tests::kubernetes::Outcome;
use prejoin_tests::lab;
use serde_json::Value;

fn user() -> User {
    User::Token("t".to_owned())
}

fn prejoin(kubeconfig: &KubeconfigFile, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(lab::program("prejoin").unwrap());
    command.args(arguments).arg("--kubeconfig").arg(kubeconfig.path());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    Outcome::of(command).unwrap()
}

/// Why nothing is known of a cluster, as the report of an audit has it.
fn unknown(outcome: &Outcome, cluster: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let of_cluster = findings.filter(|finding| {
        finding["verdict"] == "unknown"
            && finding["subject"]["clusters"]
                .as_array()
                .unwrap()
                .contains(&cluster.into())
    });
    of_cluster
        .map(|finding| finding["found"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_old_server_is_read_and_gets_no_agents() {
    let old = ApiServer::start(Objects::cluster("good/east").version("v1.19.16"));
    let kubeconfig = Kubeconfig::new().context("old", &old.url(), user()).write();
    for command in [
        &["agents", "install"][..],
        &[
            "audit",
            "--agents",
            "ephemeral",
            "--profile",
            "clustermesh",
            "-o",
            "json",
        ],
    ] {
        let outcome = prejoin(&kubeconfig, &[command, &["--context", "old"]].concat());
        let said = "it runs Kubernetes v1.19.16, and agents need 1.23 or later: nothing was changed";
        assert!(outcome.stderr.contains(said), "{outcome:#?}");
    }
    let changed: Vec<_> = old
        .requests()
        .into_iter()
        .filter(|request| request.method != "GET")
        .collect();
    assert_eq!(changed, []);
    // What its API says is known all the same.
    let facts = prejoin(&kubeconfig, &["facts", "--context", "old"]);
    assert_eq!(facts.code, 0, "{facts:#?}");
    assert!(facts.stdout.contains("v1.19.16"), "{facts:#?}");
}

#[test]
fn a_certificate_of_another_time_says_that_a_clock_may_be_wrong() {
    let early = ApiServer::start_tls_of_the_future(Objects::cluster("good/west"));
    let well = ApiServer::start(Objects::cluster("good/east"));
    let certificate = early.certificate_pem().unwrap();
    let kubeconfig = Kubeconfig::new()
        .context_trusting("early", &early.url(), certificate, user())
        .context("well", &well.url(), user())
        .write();
    let both = ["--context", "early", "--context", "well"];
    let outcome = prejoin(
        &kubeconfig,
        &[&["audit", "--profile", "clustermesh", "-o", "json"][..], &both].concat(),
    );
    assert_ne!(outcome.code, 0, "{outcome:#?}");
    let reasons = unknown(&outcome, "early");
    let of_clock = |reason: &String| reason.contains("certificate not valid yet") && reason.contains("clock right?");
    assert!(reasons.iter().any(of_clock), "{reasons:#?}");
    assert!(early.requests().is_empty() && !well.requests().is_empty());

    let install = prejoin(&kubeconfig, &["agents", "install", "--context", "early"]);
    assert!(
        install.code == 5 && install.stderr.contains("certificate not valid yet"),
        "{install:#?}"
    );
}
