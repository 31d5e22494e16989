//! Clusters that cannot be reached, or not as usual: those that can are audited all the same, and nothing is half installed.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use prejoin_checks::report::Verdict;
use serde_json::json;

use super::audited::Audited;
use super::permissions::Reader;
use super::proxy::Proxy;
use super::snapshot::Snapshot;
use super::suite::{IMAGE, suite};

const EPHEMERAL: [&str; 4] = ["--agents", "ephemeral", "--image", IMAGE];
const AUDIT: [&str; 5] = ["audit", "--profile", "clustermesh", "-o", "json"];
/// What is nowhere (RFC 5737).
const NOWHERE: &str = "https://192.0.2.1:6443";

fn is_proven(paths: &BTreeSet<String>) -> bool {
    !paths.is_empty() && paths.iter().all(|path| path.contains(": proven, "))
}

/// The reasons why something is not known of a cluster.
fn unknown(audited: &Audited, cluster: &str) -> BTreeSet<String> {
    let findings = audited.report.findings.iter();
    let of_cluster = findings.filter(|finding| finding.subject.clusters.iter().any(|name| name == cluster));
    let unknown = of_cluster.filter(|finding| finding.verdict == Verdict::Unknown && finding.counts());
    unknown.map(|finding| finding.found.clone()).collect()
}

#[test]
fn of_three_clusters_one_that_cannot_be_reached_is_unknown_and_the_others_are_proven() {
    let Some(suite) = suite() else { return };
    let mut config = suite.config();
    config.add("away", NOWHERE, &suite.contexts()[0]);
    let path = config.write();
    let with_third = [
        "--kubeconfig",
        path.to_str().unwrap(),
        "--context",
        "away",
        "--timeout",
        "5s",
    ];
    let before = Snapshot::of(&suite);
    let outcome = suite.prejoin_everywhere(&[&AUDIT[..], &EPHEMERAL, &with_third].concat());
    before.assert_unchanged(&suite);
    assert_eq!(outcome.code, 5, "{}", outcome.stderr);
    let audited = Audited::of(&outcome);
    assert!(is_proven(&audited.paths("CM501")), "{:#?}", audited.paths("CM501"));
    let reasons = unknown(&audited, "away");
    assert!(
        reasons.iter().any(|reason| reason.starts_with("get /version: ")),
        "{reasons:#?}"
    );

    let install = [&["agents", "install", "--image", IMAGE][..], &with_third[..4]].concat();
    let installed = suite.prejoin_everywhere(&install);
    let removed = suite.prejoin_everywhere(&["agents", "remove"]);
    before.assert_unchanged(&suite);
    assert_eq!((installed.code, removed.code), (5, 0), "{installed:#?} {removed:#?}");
    let of_third = |line: &&str| line.starts_with("prejoin: away: ");
    assert_eq!(installed.stderr.lines().filter(of_third).count(), 1, "{installed:#?}");
}

#[test]
fn a_context_that_is_not_there_is_refused_before_anything_begins() {
    let Some(suite) = suite() else { return };
    let before = Snapshot::of(&suite);
    for command in [
        &[&AUDIT[..], &EPHEMERAL].concat()[..],
        &["agents", "install", "--image", IMAGE],
    ] {
        let outcome = suite.prejoin_everywhere(&[command, &["--context", "nowhere"]].concat());
        assert_eq!(outcome.code, 2, "{outcome:#?}");
        assert!(outcome.stderr.contains("nowhere"), "{outcome:#?}");
        for context in suite.contexts() {
            assert!(outcome.stderr.contains(context.as_str()), "what there is: {outcome:#?}");
        }
    }
    before.assert_unchanged(&suite);
}

#[test]
fn who_may_only_read_a_cluster_is_told_what_is_missing_and_nothing_is_half_installed() {
    let Some(suite) = suite() else { return };
    let reader = Reader::new(&suite);
    let first = &suite.contexts()[0];
    let mut config = suite.config();
    *config.user(first) = json!({ "token": reader.token });
    let path = config.write();
    let as_reader = ["--kubeconfig", path.to_str().unwrap()];
    let before = Snapshot::of(&suite);
    let outcome = suite.prejoin_everywhere(&[&AUDIT[..], &EPHEMERAL, &as_reader].concat());
    before.assert_unchanged(&suite);
    let said = format!("prejoin: {first}: no agents: not permitted");
    assert!(outcome.stderr.contains(&said), "{outcome:#?}");
    let audited = Audited::of(&outcome);
    assert_eq!(audited.report.clusters.len(), suite.contexts().len());
    assert!(
        !audited.report.clusters[0].kubernetes.is_empty(),
        "it is read all the same"
    );
    let proven: Vec<String> = audited
        .paths("CM501")
        .into_iter()
        .filter(|path| path.contains(": proven, "))
        .collect();
    assert!(proven.is_empty(), "with agents at one end only: {proven:#?}");

    let install = [
        &["agents", "install", "--image", IMAGE, "--context", first][..],
        &as_reader,
    ]
    .concat();
    let installed = suite.prejoin(&install);
    before.assert_unchanged(&suite);
    assert_eq!(installed.code, 5, "{installed:#?}");
    assert!(installed.stderr.contains("not permitted"), "{installed:#?}");
}

/// Names that nobody resolves but the proxy, so that nothing gets there without it.
#[test]
fn clusters_behind_a_proxy_are_read_and_probed_through_it() {
    let Some(suite) = suite() else { return };
    let _agents = suite.agents(&[]);
    let mut config = suite.local_config();
    let proxy = Proxy::start();
    for context in suite.contexts() {
        let cluster = config.cluster(context);
        let server = cluster["server"]
            .as_str()
            .unwrap()
            .trim_start_matches("https://")
            .to_owned();
        let name = server.rsplit_once(':').unwrap().0.to_owned();
        let behind = format!("{context}.invalid:6443");
        cluster["server"] = json!(format!("https://{behind}"));
        cluster["tls-server-name"] = json!(name);
        proxy.lead(&behind, &server);
    }
    let audit = |path: &Path, variables: &[(&str, String)]| {
        let before = proxy.tunnels();
        let installed = ["--agents", "installed", "--kubeconfig", path.to_str().unwrap()];
        let audited = Audited::of(&suite.prejoin_outside(&[&AUDIT[..], &installed].concat(), variables));
        assert!(is_proven(&audited.paths("CM501")), "{}", audited.stderr);
        assert!(proxy.tunnels() > before, "nothing went through the proxy");
    };
    audit(&config.write(), &[("HTTPS_PROXY", proxy.url())]);
    for context in suite.contexts() {
        config.cluster(context)["proxy-url"] = json!(proxy.url());
    }
    audit(&config.write(), &[]);
}

/// A credential plugin whose every token is over by the time it is used again.
#[test]
fn a_token_that_expires_is_asked_for_again_while_the_audit_goes_on() {
    let Some(suite) = suite() else { return };
    let _agents = suite.agents(&[]);
    let mut config = suite.config();
    let (script, calls) = (config.folder().join("plugin"), config.folder().join("calls"));
    let first = suite.contexts()[0].clone();
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "e2e-auditor", "namespace": "default" } });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "e2e-auditor" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": "e2e-auditor", "namespace": "default" }],
    });
    let _account = suite.object(&first, account);
    let _binding = suite.object(&first, binding);
    let token = suite.kubectl(&first, &["create", "token", "e2e-auditor"]);
    // It expires a second from now, and the server takes it all the same: what is tried is who asks for the next.
    let plugin = format!(
        r#"#!/bin/sh
echo call >> {calls}
expires=$(date -u -d @$(($(date +%s) + 1)) +%Y-%m-%dT%H:%M:%SZ)
echo '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"{token}","expirationTimestamp":"'$expires'"}}}}'
"#,
        calls = calls.display(),
        token = token.trim()
    );
    std::fs::write(&script, plugin).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    *config.user(&first) = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": script, "interactiveMode": "Never",
    }});
    let path = config.write();
    let audited = suite.audit(&["--agents", "installed", "--kubeconfig", path.to_str().unwrap()]);
    assert!(is_proven(&audited.paths("CM501")), "{}", audited.stderr);
    let calls = std::fs::read_to_string(calls).unwrap().lines().count();
    // Once for each client that is made, and each of those asks for a token that is not over.
    assert!(calls > 3, "{calls}");
}
